"""Configuration and result type of the toy city, and the safetensors file that holds a clip."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt16
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from seg2vid.tools.errors import Seg2VidError, expected
from seg2vid.tools.files import replacing


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
    camera: Float32[np.ndarray, " 4"]
    """Focal length, column and row of the optical axis in pixels; metres above the ground."""
    frames_per_second: float
    seed: int
    description: dict[str, str]
    """Weather, time of day, street kind and camera behaviour in words."""


CLIP_VERSION = "2"
CLIP_ARRAYS = tuple(field.name for field in fields(ToyCityClip))[:-3]
"""The fields of a clip that are arrays: all but the last three."""


def save_clip(clip: ToyCityClip, path: str | Path) -> None:
    """Write a clip to one safetensors file; the file appears only when it is complete.

    Raises ``ValueError`` if the file cannot be written.
    """
    arrays = {name: np.ascontiguousarray(getattr(clip, name)) for name in CLIP_ARRAYS}
    tensors = {n: a.view(np.uint8) if a.dtype == bool else a for n, a in arrays.items()}
    metadata = {
        "format": "toycity clip",
        "version": CLIP_VERSION,
        "frames_per_second": repr(float(clip.frames_per_second)),
        "seed": str(clip.seed),
        "description": json.dumps(clip.description, sort_keys=True),
    }
    with replacing(Path(path)) as unfinished:
        unfinished.write_bytes(_sorted_header(save(tensors, metadata)))


def _sorted_header(content: bytes) -> bytes:
    """Sort the header of a safetensors file, whose order of metadata is random otherwise."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]


def load_clip(path: str | Path) -> ToyCityClip:
    """Read a clip that ``save_clip`` wrote.

    Raises ``FileNotFoundError`` for no file, ``ValueError`` for one damaged or of another version.
    """
    what, fix = f"a toy city clip at {path}", "write it again with write_dataset"
    if not Path(path).is_file():
        raise FileNotFoundError(expected(what, got="no file", fix="check the path"))
    try:
        with safe_open(path, "numpy") as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in CLIP_ARRAYS}
    except SafetensorError as error:
        raise Seg2VidError(what, got=f"a damaged file ({error})", fix=fix) from error
    if (metadata.get("format"), metadata.get("version")) != ("toycity clip", CLIP_VERSION):
        raise Seg2VidError(what, got=f"a file with metadata {metadata}", fix=fix)
    for name in ("forward_visible", "backward_visible"):
        tensors[name] = tensors[name].astype(bool)
    try:
        return ToyCityClip(
            **tensors,
            frames_per_second=float(metadata["frames_per_second"]),
            seed=int(metadata["seed"]),
            description=json.loads(metadata["description"]),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise Seg2VidError(what, got=f"damaged metadata ({error!r})", fix=fix) from None
