"""Label maps and instance maps of any kind, read from picture files."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from PIL import Image

from seg2vid.labels.diagnosis import Diagnosis, Encoding, Palette, Picture
from seg2vid.labels.doctor import diagnose
from seg2vid.labels.space import LabelSpace
from seg2vid.media.pictures import EIGHT_BIT_MODES, FORMATS, image_name, open_picture
from seg2vid.tools.errors import LabelMapError, MediaError

_SIXTEEN_BIT_MODES = {"I;16", "I;16B", "I;16L", "I"}


def read_picture(given: Path | Image.Image) -> Picture:
    """Read a label map's pixels as they are stored, with palette, or raise ``MediaError``."""
    image = open_picture(given, "a label map picture")
    path = image_name(given)
    if image.mode not in EIGHT_BIT_MODES | _SIXTEEN_BIT_MODES or image.mode == "CMYK":
        got = f"{path} with pixels of mode {image.mode}"
        raise MediaError("whole ids or RGB colours", got=got, fix="export it as 8-bit PNG")
    palette = None
    if image.mode == "P" and image.palette is not None:
        entries = image.palette.getdata()[1] if image.palette.rawmode else image.palette.palette
        width = 4 if image.palette.mode == "RGBA" else 3
        whole = len(entries) // width * width  # a damaged one may end within a colour
        palette = np.frombuffer(bytes(entries[:whole]), np.uint8).reshape(-1, width)[:, :3]
    pixels = np.asarray(image.convert("L") if image.mode == "LA" else image)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    is_jpeg = image.format in {"JPEG", "MPO"}
    return Picture(pixels, image.mode, palette, path, is_jpeg)


class LabelMapFile(NamedTuple):
    """A label map read from a file."""

    ids: Int[np.ndarray, "height width"]
    """Ids of the label space, void = number of classes."""
    diagnosis: Diagnosis


def read_label_map(
    given: Path | Image.Image,
    *,
    space: LabelSpace,
    encoding: Encoding = "auto",
    palette: Palette = "known",
) -> LabelMapFile:
    """Read a label map of any kind the doctor recognises; ``encoding`` forces a reading, and
    ``palette`` "nearest" takes the colours of a drawing for the nearest classes.

    Raises ``MediaError`` for what is no picture, ``LabelMapError`` for what is no label map.
    """
    picture = read_picture(given)
    diagnosis = diagnose(picture, space=space, encoding=encoding, palette=palette)
    if diagnosis.ids is None:
        raise LabelMapError(f"{picture.name}: {diagnosis.problems[0]}")
    return LabelMapFile(diagnosis.ids, diagnosis)


def label_maps_in(folder: Path) -> dict[Path, Path | None]:
    """Return the label maps of a folder, in the order of their names, each with its instance map.

    ``A_instances.png`` belongs to ``A.png``, ``A_instanceIds.png`` to ``A_labelIds.png``. Without
    its label map an instance map may be one: instance ids tell classes. Raises ``MediaError`` for a
    folder without pictures.
    """
    places = folder.iterdir() if folder.is_dir() else ()
    files = {one.stem: one for one in sorted(places) if one.suffix.lower() in FORMATS}
    if not files:
        what, fix = f"a folder of label maps ({', '.join(FORMATS)})", "name another one"
        raise MediaError(what, got=f"{folder} with none", fix=fix)
    found = dict.fromkeys(files.values(), None) | {
        path: files[own]
        for name, path in files.items()
        for own in (f"{name}_instances", name.replace("labelIds", "instanceIds"))
        if own in files and own != name
    }
    return {path: own for path, own in found.items() if path not in found.values()}


def read_instance_map(given: Path | Image.Image) -> Int[np.ndarray, "height width"]:
    """Read the object number of every pixel, 0 = no object: Cityscapes instance ids or own numbers.

    In Cityscapes files plain class ids (below 1000) are no objects; elsewhere 0 and 255 are none.
    Raises ``MediaError`` for a file with more than one channel.
    """
    picture = read_picture(given)
    if picture.pixels.ndim != 2:
        what, got = "one channel of object numbers", f"{picture.name} with mode {picture.mode}"
        raise MediaError(what, got=got, fix="export it as 8-bit or 16-bit grey PNG")
    numbers = picture.pixels.astype(np.int64)
    if numbers.max() >= 1000:
        return np.where(numbers >= 1000, numbers, 0)
    return np.where(numbers == 255, 0, numbers)
