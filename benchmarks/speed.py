"""What label map → first frame + 8 frames costs, beside the design's numbers.

    python benchmarks/speed.py                 # the bundled model, 2 threads
    python benchmarks/speed.py --model DIR --threads 1 --runs 20

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
Seg2VidPipeline.from_pretrained(sys.argv[1])(sys.argv[3], seed=1)
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

    from seg2vid import Seg2VidPipeline

    torch.set_num_threads(threads)
    pipe = Seg2VidPipeline.from_pretrained(model)
    ids = pipe(STREET, num_frames=0, seed=1).label_map

    def count(function: Callable[[], object]) -> float:
        with FlopCounterMode(display=False) as counter:
            function()
        return counter.get_total_flops() / 1e9

    still = pipe(ids, num_frames=0, seed=1).first_frame
    objects = pipe.find_objects(ids, None)
    look = pipe.first_frame.draw(1, torch.Generator().manual_seed(1))
    z = pipe.animator.flow_decoder.draw(objects, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        first = count(lambda: pipe.first_frame(ids, objects, look))
        motion = count(lambda: pipe.animator(still, ids, z, objects))
    whole = median_milliseconds(lambda: pipe(ids, seed=1), runs)
    one_pass = median_milliseconds(lambda: pipe(ids, seed=1, first_frame=still), runs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    peak = subprocess.run(
        [sys.executable, "-c", PEAK, model, str(threads), str(STREET)],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    frames = pipe.num_frames
    return [
        ("first frame [GFLOP]", first, "<= 5"),
        ("one generated frame [GFLOP]", motion / frames, "<= 1.5"),
        (f"label map -> first frame + {frames} frames [ms]", whole, "<= 150"),
        (f"  of which motion of {frames} frames [ms]", one_pass, ""),
        ("generated frames per second in a long video", frames / one_pass * 1000, ""),
        ("peak memory of one call, PyTorch included [GiB]", float(peak.stdout), "<= 1.2"),
    ]


def main() -> None:
    """Print the table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="toycity")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = measure(options.model, options.threads, options.runs)
    print(f"model {options.model}, 256x128, {options.threads} threads, {platform.machine()}")
    for what, figure, wanted in rows:
        print(f"  {what:<52} {figure:9.2f}   {wanted}")
    if options.output is not None:
        figures = {what.strip(): figure for what, figure, _ in rows}
        options.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
