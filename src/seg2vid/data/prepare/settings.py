"""What decides the content of every clip of a prepared dataset."""

from dataclasses import dataclass
from typing import Literal

Windows = Literal["sliding", "labelled"]


@dataclass(frozen=True)
class ClipSettings:
    """What decides the content of every clip; it stands in the index."""

    height: int = 128
    width: int = 256
    num_frames: int = 8
    """Frames after the first one."""
    frames_per_second: float = 12.0
    """Wanted rate: of each recording every n-th frame is taken, n such that it comes nearest."""
    step: int | None = None
    """Take every n-th frame with this n, whatever the rate."""
    stride: int | None = None
    """Frames from one clip's start to the next, in taken frames; by default they do not overlap."""
    windows: Windows = "sliding"
    """``labelled``: clips begin at labelled frames only; ``sliding``: they follow one another."""
    aspect: Literal["crop", "pad"] = "crop"
    """How other proportions are brought to the size, never stretched."""
    least_visible: float = 0.05
    """Share of the first frame that the last one still shows at least: less is a cross-fade or
    nothing to learn motion from.
    """
    keep_flow: bool = False
    """Store flow and visibility with the clip, as supervision."""
    lossless: bool = False
    """PNG instead of JPEG."""
    flip: bool = False
    """Label the mirrored frames too, and take the mean: twice the time, a little better."""
    smooth: float = 0.5
    """Weight of the neighbouring frames, along the flow, in a frame's labels."""
    adapt: float = 0.0
    """Share of the segmenter's batch statistics that is taken from the clip."""
    min_confidence: float = 0.0
    """Pixels less sure than this become void."""


def choose_step(recording_rate: float, settings: ClipSettings) -> int:
    """Return of how many frames one is taken."""
    return settings.step or max(1, round(recording_rate / settings.frames_per_second))
