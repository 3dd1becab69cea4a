"""What is evaluated: candidates, and what each makes of a clip."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.models.depth import Depth
from seg2vid.structures import Carrier, Clip, Motion

Role = Literal["model", "other", "baseline", "oracle", "ceiling"]
"""``other`` is another model in the same run; an oracle is shown more than the models are."""


@dataclass(frozen=True)
class Output(Carrier):
    """What a candidate makes of one clip, the first frame included in ``frames``."""

    frames: Float[Tensor, "samples frame 3 height width"]
    """RGB in [0, 1]."""
    label_maps: Int[Tensor, "samples frame height width"] | None = None
    """The candidate's own labels of its frames."""
    motion: Motion | None = None
    """Relative to the first frame; the batch axis counts samples."""
    seconds: float = 0.0
    depth: Depth | None = None
    """What the model sees of the first frame; the batch axis counts samples."""


@dataclass(frozen=True)
class Candidate:
    """Anything that can be evaluated."""

    key: str
    """Its name in the report and in files."""
    title: str
    role: Role
    about: str
    """What it sees and does, in a line."""
    make: Callable[[Clip, int], Output]
    """Makes its output for a clip of that number, looked at as far as its role allows."""
    sha256: str = ""
    """Of its weights."""


def with_first(first: Tensor, rest: Tensor) -> Tensor:
    """Put the first of time, (batch, ...), before the others, (batch, time, ...)."""
    return torch.cat((first.unsqueeze(1), rest), 1)
