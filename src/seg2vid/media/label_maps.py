"""Label maps and instance maps of any kind, read from picture files."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from seg2vid.labels.doctor import Diagnosis, Encoding, Picture, diagnose
from seg2vid.labels.space import LabelSpace
from seg2vid.media.pictures import EIGHT_BIT_MODES, open_picture
from seg2vid.tools.errors import LabelMapError, MediaError

_SIXTEEN_BIT_MODES = {"I;16", "I;16B", "I;16L", "I"}


def read_picture(path: Path) -> Picture:
    """Read a label map file's pixels as they are stored, with palette, or raise ``MediaError``."""
    image = open_picture(path, "a label map picture")
    if image.mode not in EIGHT_BIT_MODES | _SIXTEEN_BIT_MODES or image.mode == "CMYK":
        got = f"{path} with pixels of mode {image.mode}"
        raise MediaError("whole ids or RGB colours", got=got, fix="export it as 8-bit PNG")
    palette = None
    if image.mode == "P" and image.palette is not None:
        entries = image.palette.getdata()[1] if image.palette.rawmode else image.palette.palette
        width = 4 if image.palette.mode == "RGBA" else 3
        palette = np.frombuffer(bytes(entries), np.uint8).reshape(-1, width)[:, :3]
    pixels = np.asarray(image.convert("L") if image.mode == "LA" else image)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    is_jpeg = image.format in {"JPEG", "MPO"}
    return Picture(pixels, image.mode, palette, str(path), is_jpeg)


class LabelMapFile(NamedTuple):
    """A label map read from a file."""

    ids: Int[np.ndarray, "height width"]
    """Ids of the label space, void = number of classes."""
    diagnosis: Diagnosis


def read_label_map(path: Path, *, space: LabelSpace, encoding: Encoding = "auto") -> LabelMapFile:
    """Read a label map of any kind the doctor recognises; ``encoding`` forces a reading.

    Raises ``MediaError`` for what is no picture, ``LabelMapError`` for what is no label map.
    """
    diagnosis = diagnose(read_picture(path), space=space, encoding=encoding)
    if diagnosis.ids is None:
        raise LabelMapError(f"{path}: {diagnosis.problems[0]}")
    return LabelMapFile(diagnosis.ids, diagnosis)


def read_instance_map(path: Path) -> Int[np.ndarray, "height width"]:
    """Read the object number of every pixel, 0 = no object: Cityscapes instance ids or own numbers.

    In Cityscapes files plain class ids (below 1000) are no objects; elsewhere 0 and 255 are none.
    Raises ``MediaError`` for a file with more than one channel.
    """
    picture = read_picture(path)
    if picture.pixels.ndim != 2:
        what, got = "one channel of object numbers", f"{path} with mode {picture.mode}"
        raise MediaError(what, got=got, fix="export it as 8-bit or 16-bit grey PNG")
    numbers = picture.pixels.astype(np.int64)
    if numbers.max() >= 1000:
        return np.where(numbers >= 1000, numbers, 0)
    return np.where(numbers == 255, 0, numbers)
