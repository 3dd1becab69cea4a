"""Measures how fast toy city renders on one core, and that it is deterministic."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import hashlib
import statistics
import time

from seg2vid.data.toycity.clip import CLIP_ARRAYS, ToyCityClip, ToyCityConfig
from seg2vid.data.toycity.render import render_clip


def clip_digest(clip: ToyCityClip) -> str:
    """Return the sha256 of all arrays of a clip."""
    digest = hashlib.sha256()
    for name in CLIP_ARRAYS:
        digest.update(name.encode())
        digest.update(getattr(clip, name).tobytes())
    return digest.hexdigest()


def measure_speed(clips: int) -> list[float]:
    """Return frames per second of each of `clips` clips, everything included."""
    config = ToyCityConfig()
    render_clip(0, config)
    rates = []
    for seed in range(clips):
        started = time.perf_counter()
        render_clip(seed, config)
        rates.append((config.num_frames + 1) / (time.perf_counter() - started))
    return rates


def check_determinism(clips: int) -> bool:
    """Render `clips` clips twice and print whether their digests agree."""
    first = [clip_digest(render_clip(seed)) for seed in range(clips)]
    second = [clip_digest(render_clip(seed)) for seed in range(clips)]
    together = hashlib.sha256("".join(first).encode()).hexdigest()
    same = first == second
    print(f"determinism: {clips} clips rendered twice, equal: {same}, sha256 {together}")
    return same


def main() -> None:
    """Run the measurements asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=24, help="clips to time, at least 20")
    parser.add_argument(
        "--determinism", type=int, default=0, help="clips to render twice and compare"
    )
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if options.clips > 0:
        rates = measure_speed(options.clips)
        print(
            f"speed: {statistics.median(rates):.1f} frames/s on one core at 256x128, median of "
            f"{len(rates)} clips (slowest {min(rates):.1f}, fastest {max(rates):.1f})"
        )
    if options.determinism > 0 and not check_determinism(options.determinism):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
