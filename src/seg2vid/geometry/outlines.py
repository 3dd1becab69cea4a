"""Outlines of surfaces between pixels: smooth curves, which stay so when they come near."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.geometry.scene import Scene
from seg2vid.geometry.surroundings import dilate
from seg2vid.structures import Labels

SPOTS = 4
"""Spots in a row of a pixel; each of them belongs to one surface."""

Owners = Int[Tensor, "batch tall wide"]


def owners_of(scene: Scene) -> Owners:
    """Return the scene's owners of spots; pixels that are finer themselves need fewer."""
    if scene.owners is not None:
        return scene.owners
    return find_owners(scene.surfaces, max(1, SPOTS // scene.detail))


@torch.no_grad()
def find_owners(surfaces: Labels, spots: int = SPOTS) -> Owners:
    """Return which pixel (row-major index) owns each of ``spots`` by ``spots`` spots of every one.

    A spot is of the surface that has most of what is around it, by a quadratic B-spline (the own
    pixel's among equals), and there of the nearest pixel: a staircase becomes a slope, and what is
    a pixel wide stays so. ``surfaces`` are ids as in ``Scene``; ``spots`` is 1, 2 or 4.
    """
    batch, height, width = surfaces.shape
    device = surfaces.device
    own = torch.arange(height * width, device=device, dtype=torch.int32).view(height, width)
    owners = own.repeat_interleave(spots, 0).repeat_interleave(spots, 1).repeat(batch, 1, 1)
    is_edge = torch.zeros_like(surfaces, dtype=torch.bool)
    for axis, size in ((1, height), (2, width)):
        differs = surfaces.diff(dim=axis) != 0
        is_edge.narrow(axis, 0, size - 1).logical_or_(differs)
        is_edge.narrow(axis, 1, size - 1).logical_or_(differs)
    # Where neighbours are alike, those across a corner may not be.
    sample, row, column = dilate(is_edge, 1, 1).nonzero().unbind(1)
    if spots == 1 or not len(sample):
        return owners
    steps = torch.arange(-1, 2, device=device)
    rows = (row[:, None] + steps).clamp(0, height - 1)
    columns = (column[:, None] + steps).clamp(0, width - 1)
    around = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    ids = surfaces.flatten(1)[sample[:, None], around]
    weights, distances = _around_spots(spots, device)
    # Whole numbers below 2^24, which are exact: votes first, then the nearest, then the first.
    rank = distances.argsort(dim=0, stable=True).argsort(dim=0)
    nearest = torch.zeros(len(ids), spots**2, dtype=torch.long, device=device)
    most = torch.full_like(nearest, -1, dtype=weights.dtype)
    for one in range(9):
        same = (ids == ids[:, one : one + 1]).float()
        votes = 2 * (same @ weights) + same[:, 4:5]
        score = 16 * votes - rank[one]
        nearest = torch.where(score > most, one, nearest)
        most = torch.maximum(score, most)
    of_row = torch.arange(spots, device=device)
    tall = (spots * row[:, None] + of_row)[:, :, None].expand(-1, -1, spots)
    wide = (spots * column[:, None] + of_row)[:, None, :].expand(-1, spots, -1)
    owner = around.gather(1, nearest).int()
    owners[sample[:, None], tall.flatten(1), wide.flatten(1)] = owner
    return owners


def _around_spots(
    spots: int, device: torch.device
) -> tuple[Float[Tensor, "around spot"], Float[Tensor, "around spot"]]:
    """Return what the nine pixels around weigh in each spot of one, and how far they are.

    Weights are whole numbers, 2^14 in all: exact, so that the web page makes the same outlines.
    """
    place = (torch.arange(spots, device=device) + 0.5) / spots - 0.5
    gaps = (place[:, None] - torch.arange(-1, 2, device=device)).abs()
    line = 128 * torch.where(gaps < 0.5, 0.75 - gaps**2, 0.5 * (1.5 - gaps) ** 2)
    weights = torch.einsum("yi,xj->ijyx", line, line)
    distances = gaps.t()[:, None, :, None] ** 2 + gaps.t()[None, :, None, :] ** 2
    return weights.flatten(2).flatten(0, 1), distances.flatten(2).flatten(0, 1)
