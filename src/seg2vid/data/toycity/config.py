"""Configuration and result type of the toy city."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt16

from seg2vid.tools.errors import Seg2VidError


@dataclass(frozen=True)
class ToyCityConfig:
    """What a clip looks like; raises ``ValueError`` if a field is outside its range."""

    height: int = 128
    """Rows of a frame in pixels, 16 to 2048."""
    width: int = 256
    """Columns of a frame in pixels, 16 to 4096."""
    num_frames: int = 8
    """Number of frames AFTER the first frame, 1 to 1000."""
    frames_per_second: float = 12.0
    """Frames per second, 1 to 120."""

    def __post_init__(self) -> None:
        """Check every field."""
        limits = {"height": (16, 2048), "width": (16, 4096), "num_frames": (1, 1000)}
        for name, (low, high) in limits.items():
            check_whole(f"ToyCityConfig.{name}", getattr(self, name), low, high)
        rate = self.frames_per_second
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 1 <= rate <= 120:
            what = "a number from 1 to 120 as ToyCityConfig.frames_per_second"
            raise Seg2VidError(what, got=repr(rate), fix="12 is the usual rate")


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """Raise a ``ValueError`` unless ``value`` is a whole number from ``low`` to ``high``."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not low <= value <= high:  # type: ignore[operator]
        what = f"a whole number from {low} to {high} as {name}"
        raise Seg2VidError(what, got=repr(value), fix="choose a value in that range")


@dataclass(frozen=True)
class ToyCityClip:
    """One rendered clip with its exact truth; ``time`` counts the frames after the first.

    Flow is in pixels, channel 0 is dx (right), channel 1 is dy (down), and always connects the
    FIRST frame with frame t. Integer pixel (x, y) has its centre at coordinate (x, y).
    """

    frames: UInt8[np.ndarray, "time_plus_one height width 3"]
    """RGB pictures, 0 to 255."""
    label_maps: UInt8[np.ndarray, "time_plus_one height width"]
    """Cityscapes train ids 0 to 18, and 19 for void."""
    instance_maps: UInt16[np.ndarray, "time_plus_one height width"]
    """0 where no instance, else raw class id * 1000 + number; stable over time."""
    depth: Float32[np.ndarray, "time_plus_one height width"]
    """Metres along the optical axis; infinity on the sky."""
    forward_flow: Float32[np.ndarray, "time 2 height width"]
    """On the grid of frame 0: where each of its pixels goes in frame t."""
    backward_flow: Float32[np.ndarray, "time 2 height width"]
    """On the grid of frame t: where to read in frame 0."""
    forward_visible: Bool[np.ndarray, "time height width"]
    """Whether each pixel of frame 0 is still visible in frame t."""
    backward_visible: Bool[np.ndarray, "time height width"]
    """Whether each pixel of frame t was visible in frame 0."""
    ego_motion: Float32[np.ndarray, "time 3"]
    """Forward metres, rightward metres and yaw (radians, positive = right) since frame 0."""
    frames_per_second: float
    """Frame rate of the clip."""
    seed: int
    """The seed that made the clip."""
    description: dict[str, str]
    """Weather, time of day, street kind and camera behaviour in words."""
