"""Long objects of a first frame told apart: rows of cars that nobody told apart before."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from seg2vid.geometry import rays_of
from seg2vid.models.depth import Depth
from seg2vid.models.layers import MAX_OBJECTS, pool_rows
from seg2vid.models.objects import COUNT, Companions, cells_beside, is_long_row, rows_of
from seg2vid.models.traffic import LANE
from seg2vid.structures import InverseDepth, Labels, Objects

CLEARLY = 0.1
"""How much nearer to a pixel, in the logarithm, another part is that it goes with."""
WIDE = 2.5
"""Metres across up to which what hangs together is one thing, also where it is half in the lane."""
STEP = 1.25
"""How many times as far the next column may be that hangs together with one."""
MOST_PARTS = 16
"""Parts of a row of things at most, on each side."""

Column = Float[Tensor, " column"]


def tell_apart(
    objects: Objects,
    label_map: Labels,
    depth: Depth,
    foreground: tuple[int, ...],
    spacings: tuple[float, ...],
) -> tuple[Objects, Labels, Companions]:
    """Return objects with long ones parted, each pixel's, and the row that each part goes with.

    ``spacings`` are those of classes. What stands in a row is parked, or queues: it moves alike.
    """
    rows = rows_of(objects, label_map, foreground)
    lanes = part_objects(objects, rows, depth, rows.new_zeros(len(rows), COUNT).float())
    rows = rows if torch.equal(lanes, objects) else rows_of(lanes, label_map, foreground)
    metres = depth.inverse_depth.new_tensor(spacings)[label_map].unsqueeze(1)
    parted = part_objects(lanes, rows, depth, pool_rows(metres, rows, COUNT).squeeze(2))
    if not torch.equal(parted, objects):
        rows = rows_of(parted, label_map, foreground)
        rows = mend_outlines(rows, parted, objects, depth.inverse_depth)
    return parted, rows, (_origins(parted, lanes)[:, 1:] - 1)


def _origins(parted: Objects, whole: Objects) -> Int[Tensor, "batch row"]:
    """Return which number each one was before objects were parted; its own, where there is none."""
    own = torch.arange(COUNT, device=parted.device).expand(len(parted), -1)
    found = own.scatter(1, parted.flatten(1), whole.flatten(1))
    return found.index_fill(1, found.new_tensor([0]), 0)


def part_objects(
    objects: Objects, rows: Labels, depth: Depth, spacings: Float[Tensor, "batch row"]
) -> Objects:
    """Tell apart what stands to the left of the camera's lane, in it and to the right of it, where
    all of that is one long object, and there one from the next.

    Without an instance map the parked cars of both sides may be one, with those ahead. ``spacings``
    are the metres from one to the next in a row of each number, 0 where it is never cut. The
    largest part keeps its number, as do all others. What is a single cell, or no number is left
    for, goes with the part that is as far.
    """
    cell = rows.shape[2] // objects.shape[2]
    across = rays_of(depth.camera, *rows.shape[1:])[:, 0].view_as(depth.inverse_depth)
    is_object = (rows > 0).float()
    about = torch.stack((is_object, across * is_object, depth.inverse_depth * is_object), 1)
    about = F.avg_pool2d(about, cell)
    parted = objects.clone()
    for sample, number in is_long_row(depth.inverse_depth, rows).nonzero().tolist():
        cells, free = objects[sample] == number, int(parted[sample].max()) + 1
        # What stands upright is as far in all of a column.
        share, x, away = (about[sample] * cells).sum(1)
        x, ahead = x / away.clamp(min=1e-6), share / away.clamp(min=1e-6)
        column = cells.nonzero()[:, 1]
        parts = _parts_of(x, ahead, share > 0, float(spacings[sample, number]))[column]
        count, distance = parts.bincount(), parts.bincount(ahead[column])
        distance /= count.clamp(min=1)
        largest = count.argsort(descending=True, stable=True)
        kept = largest[: max(1, min(int((count > 1).sum()), MAX_OBJECTS - free + 2))]
        nearest = (distance[:, None] - distance[kept]).abs().argmin(1)
        nearest[kept] = torch.arange(len(kept), device=kept.device)
        numbers = torch.arange(free - 1, free - 1 + len(kept), device=kept.device)
        numbers[0] = number
        parted[sample][cells] = numbers[nearest[parts]]
    return parted


def _parts_of(
    x: Column, ahead: Column, is_there: Bool[Tensor, " column"], spacing: float
) -> Int[Tensor, " column"]:
    """Return which part each column of an object belongs to: its side, and there its place in the
    row, the nearest being the first. What is no wider than one thing is on one side.
    """
    side = _side_of(x)
    piece = F.pad((ahead[1:].log() - ahead[:-1].log()).abs() > math.log(STEP), (1, 0)).cumsum(0)
    for one in piece[is_there].unique().tolist():
        own = is_there & (piece == one)
        if x[own].amax() - x[own].amin() <= WIDE:
            side[own] = _side_of(x[own].mean())
    place = torch.zeros_like(side)
    for one in side[is_there].unique().tolist() if spacing > 0 else ():
        own = is_there & (side == one)
        place[own] = ((ahead[own] - ahead[own].min()) / spacing).long()
    return side * MOST_PARTS + place.clamp(max=MOST_PARTS - 1)


def _side_of(x: Float[Tensor, "*column"]) -> Int[Tensor, "*column"]:
    """Return 0 to the left of the camera's lane, 1 in it, 2 to the right of it."""
    return (x > LANE).long() - (x < -LANE).long() + 1


def mend_outlines(
    rows: Labels, objects: Objects, whole: Objects, inverse_depth: InverseDepth
) -> Labels:
    """Let the pixels of objects that were parted go with a part in a cell beside that is as far as
    they are: cells are coarse. ``whole`` are the objects before.
    """
    origin = _origins(objects, whole)
    logarithm = inverse_depth.clamp(min=1e-3).log()
    means = pool_rows(logarithm.unsqueeze(1), rows, COUNT).squeeze(2)

    def of(table: Shaped[Tensor, "batch row"], numbers: Labels) -> Shaped[Tensor, "batch _ _"]:
        return table.gather(1, numbers.flatten(1)).view_as(numbers)

    found, least = rows, (of(means, rows) - logarithm).abs() - CLEARLY
    own, factor = of(origin, rows), rows.shape[2] // objects.shape[2]
    for near in cells_beside(objects, factor):
        off = (of(means, near) - logarithm).abs()
        is_better = (near > 0) & (of(origin, near) == own) & (off < least)
        found, least = torch.where(is_better, near, found), torch.where(is_better, off, least)
    return found
