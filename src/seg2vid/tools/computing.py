"""Where a verb computes and in which arithmetic: the options; ``devices`` says what they mean."""

from dataclasses import dataclass
from typing import Literal

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class Computing:
    """What every verb that runs networks is told."""

    device: DeviceName = "auto"
    """What computes: auto takes a GPU where there is one (cuda, then mps), else the processor."""
    precision: PrecisionName = "auto"
    """What networks compute in: auto takes bfloat16 where it is fast (GPUs of CUDA, processors with
    AVX-512 BF16 or AMX), else float32. Weights and geometry stay in float32.
    """
