"""What a user of Python gives, as the tensors that the networks take.

A *picture* is a file's path, a Pillow image or 8-bit RGB of shape (height, width, 3): it is
cropped and scaled to the size of the video. *Numbers* are a NumPy array, a tensor or nested lists:
they have that size already. Either stands for one sample; a batch is an array with one axis more,
or a list of them.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from seg2vid.labels.fit import fit_image, fit_label_map
from seg2vid.labels.space import Ids, LabelSpace
from seg2vid.media.label_maps import read_instance_map, read_label_map
from seg2vid.media.pictures import image_name, read_image
from seg2vid.structures import Labels, Pictures
from seg2vid.tools.errors import LabelMapError, ModelError

GivenPicture = str | Path | Image.Image | np.ndarray | Tensor
GivenMaps = GivenPicture | Sequence[Any]
GivenFrames = GivenMaps | Callable[[Tensor], GivenPicture]
Size = tuple[int, int]

PROPORTIONS = 0.02
"""By how much the proportions of photo and label map may differ and still lie on one another."""


class GivenInputs(NamedTuple):
    """The inputs of the pipeline, batch first, all of one size."""

    label_map: Labels
    instance_map: Labels | None
    first_frame: Pictures | None


def take_inputs(
    label_map: GivenMaps,
    instance_map: GivenMaps | None,
    first_frame: GivenFrames | None,
    *,
    space: LabelSpace,
    height: int,
    width: int,
) -> GivenInputs:
    """Turn what a user gives into tensors; label maps that are pictures become height x width.

    255 is void. A callable ``first_frame`` is called with each label map, (height, width), and
    returns its picture. Raises ``LabelMapError``, ``MediaError`` or ``ModelError`` for what cannot
    be read or does not fit together, and warns of what the label-map doctor warns of.
    """
    maps, objects, sources = [], [], []
    for given in _samples(label_map, 2, "label_map"):
        ids, numbers = _take_ids(given, space)
        objects.append(numbers)
        sources.append(ids.shape)
        if _is_picture(given):
            ids = fit_label_map(ids, height=height, width=width, fill=space.void_id).ids
        maps.append(torch.from_numpy(ids))
    labels = _stack(maps, "label_map")
    size = (labels.shape[1], labels.shape[2])
    if instance_map is None and all(numbers is not None for numbers in objects):
        instance_map = objects  # pictures of instance ids tell both
    if callable(first_frame):
        first_frame = [first_frame(ids) for ids in labels]

    def take(given: Any, axes: int, name: str, one: Callable[..., Tensor]) -> Tensor | None:
        if given is None:
            return None
        samples = _samples(given, axes, name)
        beside = sources if len(samples) == len(sources) else sources[:1] * len(samples)
        return _stack([one(*pair, size) for pair in zip(samples, beside, strict=True)], name)

    return GivenInputs(
        labels,
        take(instance_map, 2, "instance_map", _take_instances),
        take(first_frame, 3, "first_frame", _take_frame),
    )


def check_inputs(
    label_map: Labels,
    instance_map: Labels | None,
    first_frame: Pictures | None,
    *,
    space: LabelSpace,
    scale: int = 1,
) -> None:
    """Raise ``LabelMapError`` or ``ModelError`` for inputs that do not fit."""
    height, width = label_map.shape[1:]
    if height % (32 * scale) or width % (32 * scale) or not label_map.numel():
        what = f"a label map whose width and height are multiples of {32 * scale}"
        fix = "give its path or Pillow image, which are fitted, or use labels.fit.fit_label_map"
        raise LabelMapError(what, got=f"{width}x{height}", fix=fix)
    low, high = int(label_map.min()), int(label_map.max())
    if low < 0 or high > space.void_id:
        what = f"ids 0 ... {space.void_id} of {space.name}"
        fix = "see what the map holds with: seg2vid labels check FILE"
        raise LabelMapError(what, got=f"{low} ... {high}", fix=fix)
    if instance_map is not None and instance_map.shape[1:] != label_map.shape[1:]:
        what = f"an instance map of the label map's size {width}x{height}"
        size = "x".join(map(str, instance_map.shape[:0:-1]))
        raise LabelMapError(what, got=size, fix="fit both in the same way")
    if first_frame is None:
        return
    shape = (label_map.shape[0], 3, *label_map.shape[1:])
    if first_frame.shape != shape:
        what, got = f"a first frame of shape {shape}", tuple(first_frame.shape)
        raise ModelError(what, got=got, fix="fit it with seg2vid.labels.fit.fit_image")
    darkest, brightest = (float(bound) for bound in first_frame.detach().aminmax())
    if not 0 <= darkest <= brightest <= 1:
        got_range = f"{darkest:.3g} ... {brightest:.3g}"
        raise ModelError("colours in [0, 1]", got=got_range, fix="divide by 255")


def _is_picture(given: Any) -> bool:
    is_rgb = isinstance(given, np.ndarray) and given.dtype == np.uint8 and given.ndim == 3
    return isinstance(given, str | Path | Image.Image) or (is_rgb and given.shape[2] in (3, 4))


def _samples(given: Any, axes: int, name: str) -> list[Any]:
    """Split what is given into samples: pictures, or arrays and tensors of so many ``axes``."""
    if _is_picture(given):
        return [given]
    got = ""
    if isinstance(given, list | tuple):
        if any(isinstance(one, str | Path | Image.Image | np.ndarray | Tensor) for one in given):
            return [sample for one in given for sample in _samples(one, axes, name)]
        try:
            given = np.array(given)
        except ValueError:
            got = "lists of different lengths"
    if isinstance(given, np.ndarray | Tensor):
        if given.ndim in (axes, axes + 1) and 0 not in given.shape:
            return list(given) if given.ndim > axes else [given]
        got = f"shape {tuple(given.shape)}"
    what = f"{name} as a path, a Pillow image, an array, a tensor or lists, one sample or a batch"
    kind = LabelMapError if axes == 2 else ModelError
    raise kind(what, got=got or type(given).__name__, fix="give one of them")


def _take_ids(given: Any, space: LabelSpace) -> tuple[Ids, Ids | None]:
    """Return ids and, where the picture tells them, the numbers of objects."""
    if _is_picture(given):
        try:
            read = read_label_map(_file_or_image(given), space=space)
        except LabelMapError as error:
            raise LabelMapError(_in_python(str(error))) from None
        for warning in read.diagnosis.warnings:
            warnings.warn(_in_python(warning), stacklevel=2)
        return read.ids, read.diagnosis.instance_map
    ids = _whole_numbers(given)
    return np.where(ids == space.file_value, space.void_id, ids), None


def _in_python(text: str) -> str:
    """Name the arguments of Python where the doctor names options of the command line."""
    return re.sub(r"(?<!generate )--([a-z-]+)", lambda match: match[1].replace("-", "_"), text)


def _file_or_image(given: Any) -> Path | Image.Image:
    if isinstance(given, np.ndarray):
        return Image.fromarray(given)
    return given if isinstance(given, Image.Image) else Path(given)


def _whole_numbers(given: np.ndarray | Tensor) -> Ids:
    values = given.detach().cpu().numpy() if isinstance(given, Tensor) else given
    if values.dtype.kind not in "iu":
        what, fix = "a map of whole numbers", "convert it, or give its file's path"
        raise LabelMapError(what, got=str(values.dtype), fix=fix)
    return values.astype(np.int64)


def _take_instances(given: Any, source: Size, size: Size) -> Tensor:
    is_picture = _is_picture(given)
    numbers = read_instance_map(_file_or_image(given)) if is_picture else _whole_numbers(given)
    if numbers.shape == source != size:
        numbers = fit_label_map(numbers, height=size[0], width=size[1], fill=0).ids
    if numbers.shape != size:
        what = f"an instance map of the label map's size {size_text(source)}"
        raise LabelMapError(what, got=size_text(numbers.shape), fix="give both at one size")
    return torch.from_numpy(numbers)


def _take_frame(given: Any, source: Size, size: Size) -> Tensor:
    if not _is_picture(given):
        frame = torch.as_tensor(given)
        if frame.shape != (3, *size) or not frame.is_floating_point():
            what, got = f"a first frame of floats of shape {(3, *size)}", tuple(frame.shape)
            fix = "give its path, a Pillow image or 8-bit RGB (height, width, 3): those are fitted"
            raise ModelError(what, got=f"{frame.dtype} of shape {got}", fix=fix)
        return frame.float()
    picture = _file_or_image(given)
    pixels = read_image(picture)
    check_proportions(pixels.shape[:2], source, image_name(picture))
    return to_planes(fit_image(pixels, height=size[0], width=size[1]))


def check_proportions(photo: Size, label_map: Size, name: str) -> None:
    """Raise ``ModelError`` where photo and labels, (height, width), would not lie on each other."""
    share = photo[1] / photo[0] * label_map[0] / label_map[1]
    if abs(share - 1) > PROPORTIONS:
        what = f"a photo with the proportions of the labels ({size_text(label_map)})"
        fix = "cut photo and labels to the same part of the scene"
        raise ModelError(what, got=f"{name} with {size_text(photo)}", fix=fix)


def to_planes(pixels: np.ndarray) -> Tensor:
    """Turn 8-bit RGB (..., height, width, 3) into floats in [0, 1] (..., 3, height, width)."""
    return rearrange(torch.from_numpy(pixels), "... h w rgb -> ... rgb h w").float() / 255


def _stack(samples: list[Tensor], name: str) -> Tensor:
    sizes = {tuple(sample.shape[-2:]): None for sample in samples}
    if len(sizes) > 1:
        got = " and ".join(map(size_text, sizes))
        raise LabelMapError(f"{name} of one size", got=got, fix="give them one after the other")
    return torch.stack(samples)


def size_text(size: tuple[int, ...]) -> str:
    """Return a size, (..., height, width), as it is written: WIDTHxHEIGHT."""
    return f"{size[-1]}x{size[-2]}"
