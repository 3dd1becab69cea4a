"""Where a verb computes, in which arithmetic and on how many processes: the options.

``devices`` and ``engines`` say what they mean.
"""

from dataclasses import dataclass
from typing import Literal

from seg2vid.tools.ranges import MOST_PROCESSES, ranged

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class Computing:
    """Options of every verb that runs networks."""

    device: DeviceName = "auto"
    """What computes: auto takes a GPU where there is one (cuda, then mps), else the processor."""
    precision: PrecisionName = "auto"
    """What networks compute in: auto takes bfloat16 where it is fast (GPUs of CUDA, processors with
    AMX, AMD's with AVX-512 BF16), else float32. Weights and geometry stay in float32.
    """


@dataclass(frozen=True, kw_only=True)
class Working(Computing):
    """Options of every verb that makes a dataset part by part."""

    workers: int | None = ranged(None, 1, MOST_PROCESSES)
    """Processes (default: one for each processor core, of this machine or of the cluster)."""
    engine: Literal["processes", "ray"] = "processes"
    """What they run on: this machine alone, or a Ray cluster (extra `scale`)."""
    ray_address: str | None = None
    """The cluster's, as in HOST:6379 (default: RAY_ADDRESS; else one is started here for the run).
    """
