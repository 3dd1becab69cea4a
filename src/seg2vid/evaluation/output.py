"""What travels between candidates and measurement: the outputs, and who makes them."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.structures import Carrier, Clip, Motion

Role = Literal["model", "other", "baseline", "oracle", "ceiling"]
"""``other`` is another model in the same run; an oracle is shown more than the models are."""
Unit = dict[str, Tensor]
"""Arrays by name; their axes are told in ``unit.ARRAYS``."""


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


@runtime_checkable
class Candidate(Protocol):
    """Anything that can be judged."""

    @property
    def key(self) -> str:
        """Its name in the report and in files."""

    @property
    def title(self) -> str:
        """Its name for people."""

    @property
    def role(self) -> Role:
        """How it stands to the others."""

    @property
    def about(self) -> str:
        """What it sees and does, in a line."""

    @property
    def sha256(self) -> str:
        """SHA-256 of its weights; empty where it has none."""

    def make(self, clip: Clip, number: int) -> Output:
        """Make its frames for clip ``number``, which is looked at as far as its role allows."""
