"""What label map → first frame + 8 frames costs, beside the design's numbers.

    python benchmarks/speed.py                 # the bundled model, 2 threads
    python benchmarks/speed.py --model DIR --threads 1 --runs 20
    python benchmarks/speed.py --presets       # networks of `geometry` and `paper`, side by side

Operations are counted by PyTorch (a multiply-add is two). Times are medians over ``--runs`` calls
after a warm-up, in this process; peak memory is the resident maximum of a fresh process that
generates once, PyTorch included.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

STREET = Path(__file__).resolve().parents[1] / "examples" / "street.png"

PEAK = """
import resource, sys, torch
torch.set_num_threads(int(sys.argv[2]))
from seg2vid import Seg2VidPipeline
pipe = Seg2VidPipeline.from_pretrained(sys.argv[1])
pipe(sys.argv[3], num_frames=pipe.num_frames + 1, seed=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024)
"""


def median_milliseconds(function: Callable[[], object], runs: int) -> float:
    """Return the median wall time of a call in milliseconds, after two calls that do not count."""
    seconds = []
    for run in range(runs + 2):
        start = time.perf_counter()
        function()
        if run >= 2:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1000


def measure(model: str, threads: int, runs: int) -> list[tuple[str, float, str]]:
    """Return (what, figure, the design's number) for each line of the table."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from seg2vid.pipeline import Seg2VidPipeline

    torch.set_num_threads(threads)
    pipe = Seg2VidPipeline.from_pretrained(model)
    ids = pipe(STREET, num_frames=1, seed=1).label_map

    def count(function: Callable[[], object]) -> float:
        with FlopCounterMode(display=False) as counter:
            function()
        return counter.get_total_flops() / 1e9

    still = pipe(ids, num_frames=1, seed=1).first_frame
    objects = pipe.find_objects(ids, None)
    look = pipe.first_frame.draw(ids, objects, torch.Generator().manual_seed(1))
    z = pipe.animator.flow_decoder.draw(objects, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        first = count(lambda: pipe.first_frame(ids, objects, look))
        motion = count(lambda: pipe.animator(still, ids, z, objects))
    frames = pipe.num_frames
    asked = {"num_frames": frames + 1, "seed": 1}
    whole = median_milliseconds(lambda: pipe(ids, **asked), runs)
    one_pass = median_milliseconds(lambda: pipe(ids, **asked, first_frame=still), runs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    peak = subprocess.run(
        [sys.executable, "-c", PEAK, model, str(threads), str(STREET)],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    return [
        ("first frame [GFLOP]", first, "<= 5"),
        ("one generated frame [GFLOP]", motion / frames, "<= 1.5"),
        (f"label map -> first frame + {frames} frames [ms]", whole, "<= 150"),
        (f"  of which motion of {frames} frames [ms]", one_pass, ""),
        ("generated frames per second in a long video", frames / one_pass * 1000, ""),
        ("peak memory of one call, PyTorch included [GiB]", float(peak.stdout), "<= 1.2"),
    ]


def measure_preset(name: str, runs: int) -> dict[str, float]:
    """Return size, operations and times of a preset's motion networks, weights untrained."""
    from dataclasses import replace

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from seg2vid.labels.space import get_label_space
    from seg2vid.models.config import preset
    from seg2vid.structures import Clip
    from seg2vid.training.config import OBJECTIVES
    from seg2vid.training.motion import MotionStage

    config = replace(preset(name), label_space=get_label_space("cityscapes").to_dict())
    stage = MotionStage(config, replace(OBJECTIVES[name], features=0.0, perceptual=0.0))
    frames, size = config.num_frames, (config.height, config.width)
    clip = Clip(
        torch.rand(1, 3, *size), torch.rand(1, frames, 3, *size), torch.randint(19, (1, *size))
    )

    def train_step() -> None:
        stage.train().zero_grad()
        sum(stage.compute_losses(clip).values(), start=torch.zeros(())).backward()

    step = median_milliseconds(train_step, max(1, runs // 5))
    stage.eval()
    objects = torch.zeros(1, size[0] // 8, size[1] // 8, dtype=torch.long)
    z = stage.animator.flow_decoder.draw(objects, None)

    def generate() -> None:
        stage.animator(clip.first_frame, clip.label_map, z, objects)

    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            generate()
        seconds = median_milliseconds(generate, runs)
    boxes = (stage.motion_encoder, stage.animator.flow_decoder, stage.animator.refiner)
    return {
        f"{box} [M parameters]": sum(p.numel() for p in module.parameters()) / 1e6
        for box, module in zip(("motion_encoder", "flow_decoder", "refiner"), boxes, strict=True)
    } | {
        "one generated frame [GFLOP]": counter.get_total_flops() / 1e9 / frames,
        "one generated frame [ms]": seconds / frames,
        "training step of one clip, without judges [ms]": step,
    }


def print_presets(threads: int, runs: int) -> None:
    """Print the motion networks of both presets side by side."""
    import torch

    torch.set_num_threads(threads)
    names = ("geometry", "paper")
    figures = [measure_preset(name, runs) for name in names]
    print(f"128x256, {threads} threads, {platform.machine()}; medians of {runs} calls")
    print(f"  {'':<48}" + "".join(f"{name:>12}" for name in names) + "   paper / geometry")
    for what in figures[0]:
        one, other = (found[what] for found in figures)
        print(f"  {what:<48}{one:12.2f}{other:12.2f}   {other / one:9.1f}")


def main() -> None:
    """Print the table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="toycity")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--presets", action="store_true", help="compare geometry and paper")
    options = parser.parse_args()
    if options.presets:
        print_presets(options.threads, options.runs)
        return
    rows = measure(options.model, options.threads, options.runs)
    print(f"model {options.model}, 256x128, {options.threads} threads, {platform.machine()}")
    for what, figure, wanted in rows:
        print(f"  {what:<52} {figure:9.2f}   {wanted}")
    if options.output is not None:
        figures = {what.strip(): figure for what, figure, _ in rows}
        options.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
