"""Objects of a first frame in its scene: what moves together, where, and how far its parts are."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.geometry import AROUND, Scene, rays_of
from seg2vid.models.depth import Coarse, Depth
from seg2vid.models.layers import MAX_OBJECTS, enlarge_labels, pool_rows, spread_rows
from seg2vid.structures import Carrier, Hints, InverseDepth, Labels, Objects, ScenePaths
from seg2vid.warp import pixel_grid

TALL = 1.3
"""How many times taller than wide an object is that is seen as flat."""
UNEVEN = 1.03
"""How many times nearer or farther than its plane, or its column, any part of an object may be."""
LENGTHS = 1.4
"""How many times nearer or farther than its middle the ends of an object may be."""
LONG = 0.1
"""Share of an object's pixels beyond these lengths from which on it is a long one: a row of parked
cars, a bus alongside. Each of its columns has a distance of its own."""
REACH = 1 / 40
"""Share of the picture's width by which columns to either side count for that distance."""
SHADOW = 1.0
"""Metres of ground before an object's foot that its shadow takes."""
GOES = 2.5
"""Metres that an object goes in all, from which on it takes its shadow along."""
ABOVE = 1.03
"""How many times nearer than the ground a shadow lies, so that it shows where it comes to."""
TOUCHES = 2
"""Pairs of pixels side by side from which on a rider sits on a cycle."""
COUNT = MAX_OBJECTS + 1

Companions = Int[Tensor, "batch object"]


@dataclass(frozen=True)
class SceneFeatures(Carrier):
    """What the decoder sees of a first frame, its labels and hints."""

    features: Coarse
    depth: Depth
    label_map: Labels
    rows: Labels
    """The number of each pixel's object, 0 for the background."""
    middle: Float[Tensor, "batch object 3"]
    """Where each object, or what it sits on, is: see ``middles``."""
    seats: Companions
    """What each object sits on: see ``seats_of``."""
    companions: Companions
    """What each object goes with, too, where nothing else is known: see ``parting``."""
    objects: Objects
    hints: Hints

    def go_along(self, paths: ScenePaths) -> ScenePaths:
        """Let what stands in a row go one way."""
        objects = of_others(paths.objects.flatten(2), self.companions).view_as(paths.objects)
        return replace(paths, objects=objects, pivots=of_others(paths.pivots, self.companions))


def of_others(
    table: Float[Tensor, "batch object number"], others: Companions
) -> Float[Tensor, "batch object number"]:
    """Return for each object the row of another."""
    return table.gather(1, others.unsqueeze(-1).expand_as(table))


def rows_of(objects: Objects, label_map: Labels, foreground: tuple[int, ...]) -> Labels:
    """Return the number of each pixel's object, 0 for the background.

    Cells of ``objects`` are coarse: a pixel in one of another class's object goes with an object of
    its own class in a cell beside, if there is any.
    """
    factor, things = label_map.shape[2] // objects.shape[2], label_map.new_tensor(foreground)
    if not foreground:
        return torch.zeros_like(label_map)
    is_class = label_map.unsqueeze(1) == things.view(1, -1, 1, 1)
    is_thing = is_class.any(1)
    found = torch.where(is_thing, enlarge_labels(objects, factor), 0)
    # An object is of the class that all its cells hold, of several of the one they were named for.
    held = pool_rows(F.max_pool2d(is_class.float(), factor), objects, COUNT)
    last = len(foreground) - 1 - held.flip(2).argmax(2)
    kinds = things[last]

    def fits(numbers: Labels) -> Bool[Tensor, "batch height width"]:
        same = kinds.gather(1, numbers.flatten(1)).view_as(numbers) == label_map
        return same & (numbers > 0) | ~is_thing

    fitting = fits(found)
    if bool(fitting.all()):
        return found
    for near in cells_beside(objects, factor):
        is_better = ~fitting & fits(near)
        found, fitting = torch.where(is_better, near, found), fitting | is_better
    return found


def cells_beside(objects: Objects, factor: int) -> Iterator[Labels]:
    """Yield for each pixel the object of each cell around its own, 0 beyond the border."""
    padded, (tall, wide) = F.pad(objects, (1, 1, 1, 1)), objects.shape[1:]
    for down, right in AROUND:
        beside = padded[:, 1 + down : 1 + down + tall, 1 + right : 1 + right + wide]
        yield enlarge_labels(beside, factor)


def middles(depth: Depth, rows: Labels) -> Float[Tensor, "batch object 3"]:
    """Return where each object is, in units of the camera to the right and down, and 1 / m away."""
    rays = rays_of(depth.camera, *rows.shape[1:]).unflatten(-1, rows.shape[1:])
    place = torch.cat((rays[:, :2], depth.inverse_depth.unsqueeze(1)), 1)
    return pool_rows(place, rows, COUNT)[:, 1:]


def pivots_of(middle: Float[Tensor, "batch object 3"]) -> Float[Tensor, "batch object 2"]:
    """Return the metres ahead and to the right of what ``middles`` says."""
    ahead = 1 / middle[..., 2].clamp(min=1e-3)
    return torch.stack((ahead, middle[..., 0] * ahead), -1)


def seats_of(
    rows: Labels, label_map: Labels, riders: tuple[int, ...], cycles: tuple[int, ...]
) -> Companions:
    """Return which object each sits on, counted from 0: a rider on the cycle that touches it most,
    all others on themselves.
    """
    is_rider, is_cycle = (torch.isin(label_map, rows.new_tensor(ids)) for ids in (riders, cycles))
    touches = rows.new_zeros(len(rows), COUNT * COUNT)
    for axis in (1, 2):
        size = rows.shape[axis] - 1
        pairs = [
            (one.narrow(axis, 0, size), one.narrow(axis, 1, size))
            for one in (rows, is_rider, is_cycle)
        ]
        for here, there in ((0, 1), (1, 0)):
            number, rides, carries = pairs[0], pairs[1][here], pairs[2][there]
            touch = (rides & carries & (number[here] > 0) & (number[there] > 0)).long()
            pair = number[here] * COUNT + number[there]
            touches.scatter_add_(1, pair.flatten(1), touch.flatten(1))
    most, seat = touches.view(len(rows), COUNT, COUNT)[:, 1:, 1:].max(2)
    alone = torch.arange(MAX_OBJECTS, device=rows.device).expand_as(seat)
    return torch.where(most >= TOUCHES, seat, alone)


def seat_riders(inverse_depth: InverseDepth, rows: Labels, seats: Companions) -> InverseDepth:
    """Let riders be as far as what carries them: they would part as it comes near."""
    mean = pool_rows(inverse_depth.unsqueeze(1), rows, COUNT).squeeze(2)
    carried = mean[:, 1:].gather(1, seats)
    ratio = torch.where(carried > 0, carried / mean[:, 1:].clamp(min=1e-6), 1.0)
    ratio = F.pad(ratio, (1, 0), value=1.0)
    return inverse_depth * ratio.gather(1, rows.flatten(1)).view_as(inverse_depth)


def add_shadows(
    scene: Scene, label_map: Labels, ground: tuple[int, ...]
) -> tuple[Labels, InverseDepth]:
    """Return the rows of a ``scene`` with the ground before the foot of each object that goes far,
    where its shadow lies, and the depth with that a little above the ground.

    A shadow that stayed on the road would be drawn out, and what is painted behind an object that
    drives ahead would be as dark.
    """
    rows, inverse_depth = scene.rows, scene.inverse_depth
    goes = scene.paths.objects[:, :, -1, :2].norm(dim=-1) > GOES
    is_ground = torch.isin(label_map, label_map.new_tensor(ground)) & (rows == 0)
    row = torch.arange(rows.shape[1], device=rows.device).view(1, -1, 1).expand_as(rows)
    # The last row above a pixel that is no ground, and the one below that. Under a car one may see
    # farther than it is.
    above = row.masked_fill(is_ground, 0).cummax(1).values
    below = (above + 1).clamp(max=rows.shape[1] - 1)
    away = 1 / inverse_depth.clamp(min=1e-3)
    foot = torch.minimum(away.gather(1, above), away.gather(1, below))
    is_near = foot - away < SHADOW
    owner = rows.gather(1, above)
    goes = F.pad(goes, (1, 0)).gather(1, owner.flatten(1)).view_as(owner)
    shaded = torch.where(is_ground & is_near & goes, owner, rows)
    return shaded, torch.where(shaded == rows, inverse_depth, ABOVE * inverse_depth)


def hold_together(inverse_depth: InverseDepth, rows: Labels) -> InverseDepth:
    """Keep each object near an upright plane: stray pixels fly off when it moves, and it tears.

    What is taller than wide, as people are, is flat and faces the camera; no end of the others is
    more than ``LENGTHS`` nearer or farther than the middle, but for ``LONG`` ones, which recede.
    """
    grid = pixel_grid(*rows.shape[1:], like=inverse_depth)
    own = spread_rows(pool_rows(inverse_depth.unsqueeze(1), rows, COUNT), rows)
    depth = inverse_depth.unsqueeze(1).clamp(own / LENGTHS, own * LENGTHS)
    grid = grid.expand(len(rows), -1, -1, -1)
    across = grid[:, :1]
    about = torch.cat((depth, grid, grid.square(), across * depth), 1)
    mean, x, y, xx, yy, xd = pool_rows(about, rows, COUNT).unbind(2)
    wide, tall = xx - x.square(), yy - y.square()
    is_flat = tall > TALL**2 * wide
    slope = torch.where(is_flat, 0.0, (xd - x * mean) / (wide + 1))
    depths = torch.where(is_flat, 1.0, UNEVEN)
    is_long = (is_long_row(inverse_depth, rows) & ~is_flat).float()
    table = spread_rows(torch.stack((mean, x, slope, depths, is_long), 2), rows)
    mean, x, slope, depths, is_long = table.unsqueeze(2).unbind(1)
    plane = (mean + slope * (across - x)).clamp(mean / LENGTHS, mean * LENGTHS)
    held = depth.clamp(plane / depths, plane * depths).squeeze(1)
    if is_long.any():
        column = _columns(inverse_depth, rows)
        receding = inverse_depth.clamp(column / UNEVEN, column * UNEVEN)
        held = torch.where(is_long.squeeze(1) > 0, receding, held)
    return torch.where(rows > 0, held, inverse_depth)


def is_long_row(inverse_depth: InverseDepth, rows: Labels) -> Bool[Tensor, "batch row"]:
    """Return which objects are ``LONG`` ones; the background is none."""
    depth = inverse_depth.detach().unsqueeze(1)
    middle = spread_rows(pool_rows(depth, rows, COUNT), rows)
    beyond = (depth > middle * LENGTHS) | (depth < middle / LENGTHS)
    share = pool_rows(beyond.float(), rows, COUNT).squeeze(2)
    return (share > LONG).index_fill(1, rows.new_tensor([0]), False)


def _columns(inverse_depth: InverseDepth, rows: Labels) -> InverseDepth:
    """Return for each pixel the mean of its object in its column and those beside."""
    batch, _, width = rows.shape
    index = (rows * width + torch.arange(width, device=rows.device)).flatten(1)
    sums = inverse_depth.new_zeros(2, batch, COUNT * width)
    sums[0].scatter_add_(1, index, inverse_depth.flatten(1))
    sums[1].scatter_add_(1, index, torch.ones_like(inverse_depth).flatten(1))
    reach = max(1, round(REACH * width))
    smooth = F.avg_pool1d(sums.view(-1, COUNT, width), 2 * reach + 1, 1, reach)
    total, count = smooth.view_as(sums)
    return (total / count.clamp(min=1e-6)).gather(1, index).view_as(inverse_depth)
