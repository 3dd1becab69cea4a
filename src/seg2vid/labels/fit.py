"""Label maps and photos of any size to the size of a model: crop or pad, no silent stretching."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from seg2vid.labels.space import Ids
from seg2vid.tools.errors import LabelMapError

Aspect = Literal["crop", "pad"]
Box = tuple[int, int, int, int]
"""Top, left, height and width."""

MINIMUM_SIDE = 8
"""Pixels a label map must have on each side: below that nothing can be recognised."""


@dataclass(frozen=True)
class Fit:
    """A window of the source and where it comes to lie in the target, each in its own pixels."""

    source_height: int
    source_width: int
    height: int
    width: int
    window: Box
    """The part of the source that is kept."""
    place: Box
    """That part in the target; around it is padding."""

    @property
    def sentence(self) -> str:
        """What is done, in words a person can check."""
        source, target = (self.source_height, self.source_width), (self.height, self.width)
        text = f"{self.source_width}x{self.source_height} -> {self.width}x{self.height}: "
        height, width = self.window[2:]
        if (height, width) != source:
            share = 1 - height * width / (self.source_height * self.source_width)
            cut = _margins(*source, self.window)
            return f"{text}cropped to {width}x{height} ({cut} left out, {share:.0%} of the picture)"
        height, width = self.place[2:]
        if (height, width) != target:
            added = _margins(*target, self.place)
            return f"{text}scaled to {width}x{height} and padded ({added})"
        return text + ("kept as it is" if source == target else "scaled, nothing cropped")


def _margins(height: int, width: int, box: Box) -> str:
    """Say how much of ``height`` x ``width`` pixels lies on both sides of ``box``."""
    top, left, inner_height, inner_width = box
    if inner_height != height:
        return f"{top} rows above and {height - top - inner_height} below"
    return f"{left} columns on the left and {width - left - inner_width} on the right"


def _slices(box: Box) -> tuple[slice, slice]:
    top, left, height, width = box
    return slice(top, top + height), slice(left, left + width)


class FittedLabelMap(NamedTuple):
    """A label map at the wanted size, and a sentence that says what was done to it."""

    ids: Ids
    sentence: str


def plan_fit(
    source_height: int, source_width: int, *, height: int, width: int, aspect: Aspect
) -> Fit:
    """Plan how a picture comes to ``height`` x ``width`` without changing its proportions.

    ``crop`` keeps the largest centred window of the target's proportions; ``pad`` keeps everything
    and centres it. Rounding to whole pixels is the only change of proportions. Raises
    ``LabelMapError`` for a source below 8 pixels on a side, or so narrow that less than a pixel of
    it would be left.
    """
    if min(source_height, source_width) < MINIMUM_SIDE:
        raise LabelMapError(
            f"a picture of at least {MINIMUM_SIDE}x{MINIMUM_SIDE} pixels",
            got=f"{source_width}x{source_height}",
            fix="give one with more pixels",
        )
    if aspect == "crop":
        kept_height = min(source_height, round(source_width * height / width))
        kept_width = min(source_width, round(source_height * width / height))
        inner_height, inner_width = height, width
    else:
        kept_height, kept_width = source_height, source_width
        inner_height = min(height, round(source_height * width / source_width))
        inner_width = min(width, round(source_width * height / source_height))
    if min(kept_height, kept_width, inner_height, inner_width) < 1:
        raise LabelMapError(
            f"proportions nearer to {width}x{height}",
            got=f"{source_width}x{source_height}, of which less than a pixel would be left",
            fix="cut the picture yourself or choose another size or aspect",
        )
    top, left = (source_height - kept_height) // 2, (source_width - kept_width) // 2
    window = (top, left, kept_height, kept_width)
    place = ((height - inner_height) // 2, (width - inner_width) // 2, inner_height, inner_width)
    return Fit(source_height, source_width, height, width, window, place)


def fit_label_map(
    ids: Integer[np.ndarray, "source_height source_width"],
    *,
    height: int,
    width: int,
    aspect: Aspect = "crop",
    fill: int,
) -> FittedLabelMap:
    """Bring a map of ids to ``height`` x ``width`` pixels; padding gets the id ``fill``.

    The geometry is that of ``plan_fit``. Shrinking takes the most frequent id of each block of
    source pixels, growing the nearest id, so no id appears that was not there.
    """
    fit = plan_fit(*ids.shape, height=height, width=width, aspect=aspect)
    result = np.full((height, width), fill, dtype=np.int64)
    result[_slices(fit.place)] = _resize_ids(ids[_slices(fit.window)], *fit.place[2:])
    return FittedLabelMap(result, fit.sentence)


def _resize_ids(
    ids: Integer[np.ndarray, "source_height source_width"], height: int, width: int
) -> Ids:
    """Take the majority of each block; of equals the highest id, usually the smaller thing."""
    source_height, source_width = ids.shape
    if height >= source_height:
        ids = ids[(np.arange(height) * 2 + 1) * source_height // (2 * height)]
    if width >= source_width:
        ids = ids[:, (np.arange(width) * 2 + 1) * source_width // (2 * width)]
    if ids.shape == (height, width):
        return ids.astype(np.int64)
    rows = np.arange(height) * ids.shape[0] // height
    columns = np.arange(width) * ids.shape[1] // width
    best = np.zeros((height, width), dtype=np.int32)
    result = np.zeros((height, width), dtype=np.int64)
    for value in np.unique(ids):
        counts = np.add.reduceat(ids == value, rows, axis=0, dtype=np.int32)
        votes = np.add.reduceat(counts, columns, axis=1)
        wins = votes >= np.maximum(best, 1)
        result[wins], best[wins] = value, votes[wins]
    return result


def fit_image(
    image: UInt8[np.ndarray, "source_height source_width 3"],
    *,
    height: int,
    width: int,
    aspect: Aspect = "crop",
) -> UInt8[np.ndarray, "height width 3"]:
    """Bring an RGB picture to ``height`` x ``width`` as ``plan_fit`` says; padding is black."""
    fit = plan_fit(*image.shape[:2], height=height, width=width, aspect=aspect)
    kept = Image.fromarray(image[_slices(fit.window)])
    inner_height, inner_width = fit.place[2:]
    if kept.size != (inner_width, inner_height):
        kept = kept.resize((inner_width, inner_height), Image.Resampling.LANCZOS)
    result = np.zeros((height, width, 3), dtype=np.uint8)
    result[_slices(fit.place)] = np.asarray(kept)
    return result
