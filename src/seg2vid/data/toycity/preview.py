"""Contact sheets of toy city clips."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from seg2vid.data.toycity.config import ToyCityClip

LABEL_COLOURS = np.array(
    [
        [128, 64, 128], [244, 35, 232], [70, 70, 70], [102, 102, 156], [190, 153, 153],
        [153, 153, 153], [250, 170, 30], [220, 220, 0], [107, 142, 35], [152, 251, 152],
        [70, 130, 180], [220, 20, 60], [255, 0, 0], [0, 0, 142], [0, 0, 70],
        [0, 60, 100], [0, 80, 100], [0, 0, 230], [119, 11, 32], [0, 0, 0],
    ],
    np.uint8,
)  # fmt: skip
"""Cityscapes colours of the train ids 0 to 18 and of void, shape (20, 3)."""


def contact_sheet(clips: Sequence[ToyCityClip]) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return a picture with one column per clip: first frame, last frame, labels."""
    columns = []
    for clip in clips:
        labels = LABEL_COLOURS[clip.label_maps[0]]
        tiles = [clip.frames[0], clip.frames[-1], labels]
        columns.append(np.concatenate([_pad(tile) for tile in tiles]))
    return np.concatenate(columns, 1)


def _pad(tile: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "rows columns 3"]:
    """Leave a white gap below and to the right of a tile."""
    return np.pad(tile, ((0, 2), (0, 2), (0, 0)), constant_values=255)


def write_preview(clips: Sequence[ToyCityClip], path: str | Path) -> None:
    """Write a contact sheet as PNG, replacing an older one only when complete."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.unfinished")
    Image.fromarray(contact_sheet(clips)).save(unfinished, format="PNG")
    unfinished.replace(path)
