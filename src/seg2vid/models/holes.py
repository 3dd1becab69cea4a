"""Holes of a frame: what lies around them, and how what is painted in them fits that."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.geometry import AROUND, dilate, fill_in_rows, pull_and_push
from seg2vid.structures import Labels, Mask, Pictures

CELL = 8
"""Pixels of a cell, whose mean colour what is painted takes from around."""
ALIKE = 0.3
"""What colours of a class that is alike count for a hole's, beside those of its own: light and
shade are near, its own class may be on the other side of the street.
"""
SHADE = 0.15
"""By how much lighter or darker than what is around it may stay: shade is none of its colour."""
TORN = 2.5
"""Pixels of the key frame by which neighbours differ that were none there."""
SOFT = 0.75
"""Share in an outline of what is around."""


def grow_into_objects(
    is_object: Bool[Tensor, "height width"],
    label_map: Int[Tensor, "height width"],
    bare: Bool[Tensor, "height width"],
    reach: int,
) -> tuple[Int[Tensor, "height width"], Bool[Tensor, "height width"]]:
    """Let a hole grow into objects beside it; return the labels, and what is hidden then."""
    # The pixel of the hole, counted from 1, whose label each takes.
    own = torch.arange(1, bare.numel() + 1, device=bare.device)
    origin = torch.where(bare, own.view_as(bare), 0)
    for _ in range(reach):
        origin = torch.where((origin == 0) & is_object, dilate(origin, 1, 1), origin)
    labels = label_map.flatten()[(origin - 1).clamp(min=0)]
    return torch.where(origin > 0, labels, label_map), origin > 0


def spread_colours(
    pictures: Pictures,
    label_maps: Labels,
    visible: Mask,
    alike: tuple[int, ...] = (),
    skies: tuple[int, ...] = (),
) -> Pictures:
    """Return pictures in which what is hidden has the colours that its class has around.

    A refiner may trust what it is told to be hidden; and what a warped frame shows there may be the
    very thing that has left. Classes that are ``alike`` lend each other colours. ``skies`` are lit
    by their height: what is beside in the row counts. Where nothing of a class is ``visible`` (1)
    its colours stay.
    """
    shown = visible > 0
    filled = pictures
    is_alike = torch.isin(label_maps, label_maps.new_tensor(alike, dtype=torch.long)).unsqueeze(1)
    for class_id in label_maps[~shown[:, 0]].unique().tolist():
        own = (label_maps == class_id).unsqueeze(1)
        weight = (own & shown).to(pictures.dtype)
        if class_id in alike:
            weight = torch.maximum(weight, ALIKE * (is_alike & shown).to(pictures.dtype))
        wanted = own & ~shown & (weight.amax((2, 3), keepdim=True) > 0)
        spread = fill_in_rows if class_id in skies else pull_and_push
        filled = torch.where(wanted, spread(pictures * weight, weight), filled)
    return filled


def match_colours(painted: Pictures, guess: Pictures, hidden: Mask) -> Pictures:
    """Return what was painted with the colours of a ``guess``, but for what is finer than cells.

    A refiner knows the colours of the streets that it has seen, and others lie around a hole.
    """
    size = painted.shape[2:]
    about = F.avg_pool2d(torch.cat(((guess - painted) * hidden, hidden), 1), CELL)
    about = F.avg_pool2d(about, 3, 1, 1)
    off, weight = F.interpolate(about, size, mode="bilinear").split((3, 1), 1)
    off = off / weight.clamp(min=1e-6)
    lighter = off.mean(1, keepdim=True)
    return (painted + off - lighter.clamp(-SHADE, SHADE)).clamp(0, 1)


def fill_specks(
    frame: Float[Tensor, "3 height width"],
    label_map: Int[Tensor, "height width"],
    bare: Bool[Tensor, "height width"],
) -> tuple[Float[Tensor, "3 height width"], Int[Tensor, "height width"]]:
    """Fill a few bare pixels with the mean of what is around, and the label of one of these."""
    height, width = bare.shape
    # A border that is never known, so that every pixel has eight neighbours.
    known = F.pad(~bare, (1, 1, 1, 1)).flatten()
    colours, labels = (
        F.pad(frame, (1, 1, 1, 1)).flatten(1),
        F.pad(label_map, (1, 1, 1, 1)).flatten(),
    )
    row, column = bare.nonzero().unbind(1)
    pixels = (row + 1) * (width + 2) + column + 1
    steps = pixels.new_tensor([down * (width + 2) + right for down, right in AROUND])
    while len(pixels):
        near = pixels.unsqueeze(1) + steps
        share = known[near]
        ready = share.any(1)
        if not ready.any():
            break
        near, share, filled = near[ready], share[ready], pixels[ready]
        colours[:, filled] = (colours[:, near] * share).sum(2) / share.sum(1)
        labels[filled] = torch.where(share, labels[near], -1).amax(1)
        known[filled] = True
        pixels = pixels[~ready]
    inner = (slice(1, -1), slice(1, -1))
    shape = (height + 2, width + 2)
    return colours.unflatten(1, shape)[:, *inner], labels.unflatten(0, shape)[inner]


def soften_outlines(
    frames: Pictures, source: Int[Tensor, "time height width"], factor: int
) -> Pictures:
    """Mix colours across outlines as a camera does, where two parts of a key frame now meet."""
    _, height, width = source.shape
    # Two of what is hidden are neighbours; it and what is seen are none.
    own = torch.where(source < 0, -8 * factor * width, source).int()
    torn = torch.zeros_like(source, dtype=torch.bool)
    for place in (own // width, own % width):
        for axis in (1, 2):
            size = source.shape[axis] - 1
            gap = place.diff(dim=axis).abs() > TORN * factor
            torn.narrow(axis, 0, size).logical_or_(gap)
            torn.narrow(axis, 1, size).logical_or_(gap)
    time, row, column = torn.nonzero().unbind(1)
    pixels, mean = frames.transpose(0, 1), torch.zeros(3, len(time), device=frames.device)
    for step, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
        y = (row + step).clamp(0, height - 1)
        for beside, share in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            x = (column + beside).clamp(0, width - 1)
            mean += weight * share * pixels[:, time, y, x]
    soft = torch.lerp(pixels[:, time, row, column].float(), mean, SOFT).to(frames.dtype)
    softened = pixels.clone()
    softened[:, time, row, column] = soft
    return softened.transpose(0, 1)
