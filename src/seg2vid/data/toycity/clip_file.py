"""Stores one clip in one safetensors file."""

import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from seg2vid.data.toycity.config import ToyCityClip

FORMAT_VERSION = "1"
_TRUTH_VALUES = ("forward_visible", "backward_visible")
CLIP_ARRAYS = (
    "frames",
    "label_maps",
    "instance_maps",
    "depth",
    "forward_flow",
    "backward_flow",
    *_TRUTH_VALUES,
    "ego_motion",
)


def save_clip(clip: ToyCityClip, path: str | Path) -> None:
    """Write a clip to one safetensors file; the file appears only when it is complete.

    Raises:
        OSError: if the file cannot be written.
    """
    path = Path(path)
    tensors = {name: np.ascontiguousarray(getattr(clip, name)) for name in CLIP_ARRAYS}
    for name in _TRUTH_VALUES:
        tensors[name] = tensors[name].astype(np.uint8)
    metadata = {
        "format": "toycity clip",
        "version": FORMAT_VERSION,
        "frames_per_second": repr(float(clip.frames_per_second)),
        "seed": str(clip.seed),
        "description": json.dumps(clip.description, sort_keys=True),
    }
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_bytes(save(tensors, metadata))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_clip(path: str | Path) -> ToyCityClip:
    """Read a clip that `save_clip` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or is not a toy city clip.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"toy city clip {path}: expected a file, found none; "
            "check the path or write the clip first with save_clip or write_dataset."
        )
    try:
        with safe_open(path, "numpy") as stored:
            metadata = stored.metadata() or {}
            present = set(stored.keys())
            tensors = {name: stored.get_tensor(name) for name in CLIP_ARRAYS if name in present}
    except SafetensorError as error:
        raise ValueError(
            f"toy city clip {path}: expected a complete safetensors file, got: {error}; "
            "delete it and write it again."
        ) from error
    missing = [name for name in CLIP_ARRAYS if name not in tensors]
    if metadata.get("format") != "toycity clip" or missing:
        raise ValueError(
            f"toy city clip {path}: expected a file written by save_clip, got format "
            f"{metadata.get('format')!r} without {missing or 'nothing'}; choose another file."
        )
    if metadata.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"toy city clip {path}: expected format version {FORMAT_VERSION}, got "
            f"{metadata.get('version')!r}; write the dataset again with this version."
        )
    for name in _TRUTH_VALUES:
        tensors[name] = tensors[name].astype(bool)
    return ToyCityClip(
        **tensors,
        frames_per_second=float(metadata["frames_per_second"]),
        seed=int(metadata["seed"]),
        description=json.loads(metadata["description"]),
    )
