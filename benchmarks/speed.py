"""What videos cost on this machine: both sides of every comparison, in one run.

    python benchmarks/speed.py                  # the bundled model on all cores
    python benchmarks/speed.py --model street --threads 1 --runs 5 --long 200
    python benchmarks/speed.py --readme         # also writes the table into README.md
    python benchmarks/speed.py --presets        # networks of `geometry` and `paper`, side by side

Sides of a comparison take turns; figures are medians over ``--runs`` turns after one that does not
count. AVX2 is forced in a process of its own, on a processor that has more. Operations are counted
by PyTorch (a multiply-add is two). Peak memory is the resident maximum of a fresh process, PyTorch
included. Other work beside makes all of it slower: the load is told.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STREET = ROOT / "examples" / "street.png"
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
MARKS = ("<!-- made by benchmarks/speed.py --readme -->", "<!-- end of what it made -->")

PEAK = """
import sys, torch
torch.set_num_threads(int(sys.argv[2]))
from seg2vid import Seg2VidPipeline
pipe = Seg2VidPipeline.from_pretrained(sys.argv[1])
for _ in pipe.stream(sys.argv[3], num_frames=int(sys.argv[4]), seed=1):
    pass
from seg2vid.tools.environment import peak_memory
print(peak_memory() / 2**30)
"""

Row = tuple[str, str, str]
"""What, figure, and what it is compared with or to reach."""


def take_turns(sides: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Return the wall times of each side in milliseconds, turn by turn."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for run in range(runs + 1):
        for name, function in sides.items():
            start = time.perf_counter()
            function()
            if run:
                taken[name].append(1000 * (time.perf_counter() - start))
    return taken


def medians(sides: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Return the median time of each side in milliseconds."""
    return {name: statistics.median(times) for name, times in take_turns(sides, runs).items()}


def describe(threads: int) -> str:
    """Say what the figures are of: processor, instruction set, threads, load."""
    import torch

    from seg2vid.tools.devices import has_fast_bfloat16
    from seg2vid.tools.environment import describe_machine

    name, isa = describe_machine()["processor"], torch.backends.cpu.get_cpu_capability()
    bfloat16 = " with bfloat16" if has_fast_bfloat16(torch.device("cpu")) else ""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    about = f"{name}, {isa}{bfloat16}{gpu}; {threads} threads, PyTorch {torch.__version__}"
    return f"{about}; load {load:.1f} before the run"


def convolution_rate(precision: str, runs: int) -> float:
    """Return the GFLOP/s of the fastest of some plain 3x3 convolutions, which is what there is."""
    import torch

    from seg2vid.tools.devices import fast_arithmetic

    best = 0.0
    for channels, height, width in ((64, 64, 128), (128, 32, 64), (256, 32, 64)):
        layer = torch.nn.Conv2d(channels, channels, 3, 1, 1).eval()
        seen = torch.randn(1, channels, height, width).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), fast_arithmetic(seen.device, precision):  # type: ignore[arg-type]
            once = min(take_turns({"": lambda layer=layer, x=seen: layer(x)}, 5 * runs)[""])
        best = max(best, 2 * 9 * channels**2 * height * width / once / 1e6)
    return best


def networks(pipe: Any, video: Any) -> dict[str, Callable[[], object]]:
    """Return a call of each network of a pipeline, as for ``video``."""
    import torch

    ids, first, refiner = video.label_map, video.first_frame, pipe.animator.refiner
    objects, seen = pipe.find_objects(ids, None), torch.ones_like(first[:, :1])
    return {
        "first frame": lambda: pipe.first_frame(ids, objects, video.look),
        "depth": lambda: pipe.animator.flow_decoder.depth.see(first, ids),
        "refiner": lambda: refiner(first, seen, ids, first),
    }


def measure_sides(
    model: str, precisions: tuple[str, ...], runs: int
) -> dict[str, dict[str, float]]:
    """Return what first frame, video, further frame and networks take, for each precision [ms]."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from seg2vid.pipeline import Seg2VidPipeline

    pipes: dict[str, Any] = {
        name: Seg2VidPipeline.from_pretrained(model).to("cpu", precision=name)  # type: ignore[arg-type]
        for name in precisions
    }
    found: dict[str, dict[str, float]] = {name: {} for name in precisions}
    still = {name: pipe(STREET, num_frames=1, seed=1) for name, pipe in pipes.items()}
    for count in (1, 9, 25):
        sides = {
            name: lambda pipe=pipe, ids=still[name].label_map, n=count: pipe(
                ids, num_frames=n, seed=1, progress=False
            )
            for name, pipe in pipes.items()
        }
        for name, taken in medians(sides, runs).items():
            found[name][f"{count} frames"] = taken
    for name, pipe in pipes.items():
        own = found[name]
        own["further frame"] = (own["25 frames"] - own["9 frames"]) / 16
        calls = networks(pipe, still[name])
        with torch.inference_mode(), pipe.arithmetic():
            own["networks"] = sum(medians(calls, runs).values())
            with FlopCounterMode(display=False) as counter:
                for call in calls.values():
                    call()
        own["operations"] = counter.get_total_flops() / 1e9
        own["rate"] = convolution_rate(name, runs)
        own["share"] = own["operations"] / own["networks"] * 1000 / own["rate"]
    return found


def fresh(code: list[str], threads: int, **more: str) -> tuple[str, float]:
    """Run a fresh interpreter; return what it printed and its wall time in seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **more}
    start = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, *code], capture_output=True, text=True, check=True, env=environment
    )
    return ended.stdout, time.perf_counter() - start


def measure_starts(model: str, threads: int, runs: int) -> list[Row]:
    """Return how long it takes from nothing, and how much memory videos of two lengths take."""
    with TemporaryDirectory() as folder:
        words = ["-m", "seg2vid", "generate", str(STREET), "--model", model, "--frames", "9"]
        words += ["--overwrite", "-o", f"{folder}/s.mp4"]
        starts = (
            ("`import seg2vid`", ["-c", "import seg2vid"], "0.3 s"),
            ("`seg2vid --help`", ["-m", "seg2vid", "--help"], "0.3 s"),
            ("first video of 9 frames from a cold start", words, "2.5 s"),
        )
        return [
            (what, f"{min(fresh(code, threads)[1] for _ in range(runs)):.2f} s", f"<= {wanted}")
            for what, code, wanted in starts
        ]


def measure_memory(model: str, threads: int, long: int) -> list[Row]:
    """Return the peak memory of a short and a long video."""
    rows = []
    for count in (25, long):
        printed, _ = fresh(["-c", PEAK, model, str(threads), str(STREET), str(count)], threads)
        rows.append((f"peak memory of {count} frames", f"{float(printed):.2f} GiB", "<= 1.2 GB"))
    return rows


def measure_session(model: str, steps: int) -> list[Row]:
    """Return how long a step of a session takes under control that changes at each."""
    from seg2vid import Control, Seg2VidPipeline

    session = Seg2VidPipeline.from_pretrained(model).start(STREET, seed=1)
    taken = []
    for number in range(steps):
        control = Control.read(camera=f"forward={6 + number % 3},turn={number % 5}")
        start = time.perf_counter()
        session.step(control)
        taken.append(1000 * (time.perf_counter() - start))
    told = f"{statistics.median(taken):.1f} ms, at most {max(taken[1:]):.1f} (a new key frame)"
    return [("a step of a session, control changing", told, "")]


def measure_scaling(model: str, threads: int, runs: int) -> list[Row]:
    """Return how cost grows with batch, length, size and cores."""
    import torch
    import torch.nn.functional as F

    from seg2vid.pipeline import Seg2VidPipeline

    pipe, rows = Seg2VidPipeline.from_pretrained(model), []
    still = pipe(STREET, num_frames=1, seed=1)
    ids, first = still.label_map, still.first_frame

    def video(count: int = 9, batch: int = 1) -> None:
        pipe(ids, num_frames=count, seed=list(range(batch)), progress=False)

    sides = {f"batch {n}": lambda n=n: video(batch=n) for n in (1, 2, 4)}
    taken = medians(sides, runs)
    each = ", ".join(f"{taken[f'batch {n}'] / n:.0f} ms" for n in (1, 2, 4))
    rows.append(("a video of 9 frames in a batch of 1, 2, 4", each, ""))
    taken = medians({f"{n}": lambda n=n: video(n) for n in (9, 25, 97)}, runs)
    each = ", ".join(f"{int(n) * 1000 / ms:.1f}" for n, ms in taken.items())
    rows.append(("frames a second in videos of 9, 25, 97 frames", each, ""))
    each = []
    for scale in (1, 2, 4):
        maps = ids.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
        photo = F.interpolate(first, scale_factor=scale, mode="bicubic").clamp(0, 1)
        given: dict[str, Any] = {"first_frame": photo, "scale": scale, "seed": 1}
        ms = medians({"": lambda m=maps, g=given: pipe(m, num_frames=9, **g)}, runs)[""]
        each.append(f"{8000 / ms:.1f}")
    wanted = "1024x512: >= 10"
    rows.append(
        ("frames a second of a photo at 256x128, 512x256, 1024x512", ", ".join(each), wanted)
    )
    each = []
    for count in range(1, threads + 1):
        torch.set_num_threads(count)
        each.append(f"{medians({'': video}, runs)['']:.0f} ms")
    rows.append((f"a video of 9 frames on 1 ... {threads} threads", ", ".join(each), ""))
    return rows


def measure_all(options: argparse.Namespace) -> list[tuple[str, ...]]:
    """Return the table: what, the fastest precision, float32, float32 of AVX2, what to reach."""
    import torch

    from seg2vid.tools.devices import choose_precision

    torch.set_num_threads(options.threads)
    best = choose_precision("auto", torch.device("cpu"))
    names = tuple(dict.fromkeys((best, "float32")))
    found = measure_sides(options.model, names, options.runs)
    paper = measure_preset("paper", options.runs, trains=False)["one generated frame [ms]"]
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        side = ["--side", "float32", "--model", options.model]
        numbers = ["--threads", str(options.threads), "--runs", str(options.runs)]
        printed, _ = fresh([__file__, *side, *numbers], options.threads, **AVX2)
        found["float32, AVX2"] = json.loads(printed)
    columns = list(found)
    lines = (
        ("first frame", "1 frames", "{:.0f} ms", ""),
        ("first frame and 8 frames", "9 frames", "{:.0f} ms", "bfloat16 <= 100, AVX2 <= 220 ms"),
        ("a further frame", "further frame", "{:.1f} ms", "bfloat16 <= 5, AVX2 <= 10 ms"),
        ("its networks' operations", "operations", "{:.1f} GFLOP", ""),
        ("a plain convolution, the fastest of three", "rate", "{:.0f} GFLOP/s", ""),
        ("what the networks reach of that", "share", "{:.0%}", ">= 50%"),
    )
    table = [("", *columns, "to reach")]
    for what, key, form, wanted in lines:
        table.append((what, *(form.format(found[name][key]) for name in columns), wanted))
    times = [f"{paper / found[name]['further frame']:.0f} times" for name in names]
    blank = [""] * (len(columns) - len(names))
    what = f"how much longer a frame of the paper's network takes, {paper:.0f} ms in float32"
    table.append((what, *times, *blank, ">= 50 times"))
    rows = [
        *measure_session(options.model, 48),
        *measure_scaling(options.model, options.threads, max(1, options.runs // 2)),
        *measure_memory(options.model, options.threads, options.long),
        *measure_starts(options.model, options.threads, min(3, options.runs)),
    ]
    blank = [""] * (len(columns) - 1)
    return table + [(what, figure, *blank, wanted) for what, figure, wanted in rows]


def measure_preset(name: str, runs: int, *, trains: bool = True) -> dict[str, float]:
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

    step = medians({"": train_step}, max(1, runs // 5))[""] if trains else 0.0
    stage.eval()
    objects = torch.zeros(1, size[0] // 8, size[1] // 8, dtype=torch.long)
    z = stage.animator.flow_decoder.draw(objects, None)

    def generate() -> None:
        stage.animator(clip.first_frame, clip.label_map, z, objects)

    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            generate()
        seconds = medians({"": generate}, runs)[""]
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


def as_markdown(about: str, table: list[tuple[str, ...]]) -> str:
    """Return the table for a document."""
    lines = [" | ".join(["", *row, ""]).strip() for row in table]
    return "\n".join([about, "", lines[0], "|---" * len(table[0]) + "|", *lines[1:]])


def write_readme(text: str) -> None:
    """Put the table between its marks in README.md."""
    path = ROOT / "README.md"
    before, _, rest = path.read_text("utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    path.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", "utf-8")


def main() -> None:
    """Print the table, and write it to where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="toycity")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--long", type=int, default=2000, help="frames of the longest video")
    parser.add_argument("--output", type=Path, help="a .json for the table")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--presets", action="store_true", help="compare geometry and paper")
    parser.add_argument("--side", help=argparse.SUPPRESS)  # one precision of a process of its own
    options = parser.parse_args()
    if options.presets:
        print_presets(options.threads, options.runs)
        return
    if options.side is not None:
        import torch

        torch.set_num_threads(options.threads)
        found = measure_sides(options.model, (options.side,), options.runs)
        print(json.dumps(found[options.side]))
        return
    about = f"Model {options.model}, 256x128; {describe(options.threads)}."
    table = measure_all(options)
    text = as_markdown(about, table)
    print(text)
    if options.readme:
        write_readme(text)
    if options.output is not None:
        options.output.write_text(json.dumps({"about": about, "table": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
