"""One toy city clip in one safetensors file."""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from seg2vid.data.toycity.config import ToyCityClip
from seg2vid.tools.errors import Seg2VidError, expected
from seg2vid.tools.files import replacing

FORMAT_VERSION = "1"
CLIP_ARRAYS = (
    "frames", "label_maps", "instance_maps", "depth", "forward_flow", "backward_flow",
    "forward_visible", "backward_visible", "ego_motion",
)  # fmt: skip
"""The fields of a clip that are arrays."""


def save_clip(clip: ToyCityClip, path: str | Path) -> None:
    """Write a clip to one safetensors file; the file appears only when it is complete.

    Raises ``ValueError`` if the file cannot be written.
    """
    arrays = {name: np.ascontiguousarray(getattr(clip, name)) for name in CLIP_ARRAYS}
    tensors = {n: a.view(np.uint8) if a.dtype == bool else a for n, a in arrays.items()}
    metadata = {
        "format": "toycity clip",
        "version": FORMAT_VERSION,
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

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or is not a toy city clip of this version.
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
    if (metadata.get("format"), metadata.get("version")) != ("toycity clip", FORMAT_VERSION):
        raise Seg2VidError(what, got=f"a file with metadata {metadata}", fix=fix)
    for name in ("forward_visible", "backward_visible"):
        tensors[name] = tensors[name].astype(bool)
    return ToyCityClip(
        **tensors,
        frames_per_second=float(metadata["frames_per_second"]),
        seed=int(metadata["seed"]),
        description=json.loads(metadata["description"]),
    )
