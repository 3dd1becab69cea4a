"""What each pixel of a moment shows: the search for its nearest surface and what lies behind it."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from seg2vid.geometry.moments import LOW_WORD, NEAREST, REACH, Indices, Landed, Moments, depth_key
from seg2vid.geometry.surroundings import dilate, is_most

Cells = list[Int[Tensor, "time _ _"]]
AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
CELLS = 3
"""Times that cells double in which a surface is looked for that the camera has torn apart."""
BEHIND_CELLS = 6
"""The same, where what lies behind a hole is looked for."""
NOTHING = torch.iinfo(torch.long).max
"""Key of no surface where the least is sought."""
GROWN = (1.3, 64.0)
"""Times that a pixel has grown from which on all is marked that it may cover, and at most."""
WALKS = 3
"""Looks at a candidate surface before a pixel gives it up, each at where the last one led."""


def find_sources(
    moments: Moments,
    start: Indices,
    depth: Float[Tensor, " pixel"],
    is_before: Bool[Tensor, " pixel"],
    detail: int,
) -> tuple[Indices, Indices, Indices, Landed]:
    """Return the nearest surface that each pixel of a moment shows, -1 where none is.

    Also returns, for every pixel that shows nothing, the surface that lies behind; and the surface
    that each began with and where its ray landed there.

    Each pixel of the first frame is put where its centre falls. From what fell on a pixel, or else
    around it, its ray walks to the surface in whose footprint it lands. Where surfaces that fell
    nearby are no neighbours in the first frame, or the walk is lost, all of them are tried, and the
    nearest that fits is shown.
    """
    buffer, cells = _splat(moments, depth, is_before)
    first, apart = _first_candidates(moments, buffer, cells)
    began = moments.land(moments.rays, start + first)
    best, landed = moments.judge(began, first)
    query = (best < 0).nonzero().squeeze(1)
    # The last surfaces that each ray was followed to, and where that led.
    trail: tuple[Indices, ...] = (first[query], landed[query])
    for _ in range(WALKS - 1):
        fits, landed = moments.visit(query, start[query], trail[-1])
        best[query] = fits
        lost = (fits < 0).nonzero().squeeze(1)
        query, trail = query[lost], tuple(one[lost] for one in (*trail[-2:], landed))
    best[query] = moments.bridge(query, start[query], *trail)
    hard = ((best < 0) | apart).nonzero().squeeze(1)
    candidates = _candidates(moments, buffer, cells, hard, first[hard])
    # Each candidate once, and the first of all was walked from already.
    is_new = torch.ones_like(candidates, dtype=torch.bool)
    is_new[0] = False
    for one in range(1, len(candidates)):
        is_new[one] = (candidates[one] != candidates[:one]).all(0)
    candidate, number = is_new.nonzero().unbind(1)
    trail, found = (candidates[candidate, number],), best[hard]
    for _ in range(WALKS - 1):
        query = hard[number]
        fits, landed = moments.visit(query, start[query], trail[-1])
        found = found.scatter_reduce(0, number, fits, "amax")
        lost = (fits < 0).nonzero().squeeze(1)
        number, trail = number[lost], tuple(one[lost] for one in (*trail[-2:], landed))
    query = hard[number]
    fits = moments.bridge(query, start[query], *trail)
    found = found.scatter_reduce(0, number, fits, "amax")
    best[hard] = found
    own = torch.where(best < 0, -1, best & LOW_WORD)
    for _ in range(1 + detail // 2):
        own = _close_cracks(moments, start, own, detail // 2)
    behind = _look_behind(moments, start, own, first, depth, is_before)
    return own, behind, first, began


def _look_behind(
    moments: Moments,
    start: Indices,
    own: Indices,
    first: Indices,
    depth: Float[Tensor, " pixel"],
    is_before: Bool[Tensor, " pixel"],
) -> Indices:
    """Return what each pixel shows or, where it shows nothing, what lies behind.

    That is the sky, where there is more of it around, or else the farthest of what is around and
    not ``is_before`` something; but the nearest ground, where a ray meets the ground first. If
    there is nothing, what the search began with.
    """
    hole = (own < 0).nonzero().squeeze(1)
    if not len(hole):
        return own
    behind, shown = own.clone(), own.clamp(min=0)
    is_out = (own < 0) | is_before[shown]
    keys, sky = depth_key(depth[shown], own), (depth == 0).nonzero().squeeze(1)
    far = hole
    if len(sky):
        # The farthest of all would be sky wherever there is any, in steps as large as cells.
        size, is_sky = (-1, 1, moments.height, moments.width), depth[shown] == 0
        near = is_most(is_sky.view(size), ~is_out.view(size)).flatten()[hole]
        behind[hole[near]], far = sky[0], hole[~near]
        keys = keys.masked_fill(is_sky, NOTHING)
    behind[far] = _first_around(moments, keys.masked_fill(is_out, NOTHING), far, first)
    sunk = hole[moments.rays[1, hole] > 0]
    if len(sunk):
        # The nearest ground is known best.
        keys = depth_key(1 / depth[shown].clamp(min=NEAREST), own)
        is_out |= ~moments.is_level(start + shown)
        ground = _first_around(moments, keys.masked_fill(is_out, NOTHING), sunk, behind)
        rays = moments.rays.index_select(1, sunk)
        distance, other = (
            moments.land(rays, start[sunk] + one)[1] for one in (behind[sunk], ground)
        )
        is_level = moments.is_level(start[sunk] + behind[sunk])
        behind[sunk] = torch.where(is_level | (other > distance), ground, behind[sunk])
    return behind


def _first_around(
    moments: Moments, keys: Int[Tensor, " every"], hole: Indices, first: Int[Tensor, " every"]
) -> Indices:
    """Return for each ``hole`` the surface with the least of the ``keys`` of what is shown around:
    within a cell or beside it, of the smallest cells where anything is; if nowhere, the ``first``.
    """
    height, width = moments.height, moments.width
    time, pixel = hole // (height * width), hole % (height * width)
    row, column = pixel // width, pixel % width
    behind, missing = first[hole], torch.arange(len(hole), device=hole.device)
    level = keys.view(-1, height, width)
    for size in range(1, BEHIND_CELLS + 1):
        odd = (0, level.shape[2] % 2, 0, level.shape[1] % 2)
        level = F.pad(level, odd, value=NOTHING) if any(odd) else level
        level = torch.minimum(level[:, ::2], level[:, 1::2])
        level = torch.minimum(level[..., ::2], level[..., 1::2])
        found = torch.full_like(missing, NOTHING)
        for down, right in ((0, 0), *AROUND):
            near_row = ((row >> size) + down).clamp(0, level.shape[1] - 1)
            near_column = ((column >> size) + right).clamp(0, level.shape[2] - 1)
            found = torch.minimum(found, level[time, near_row, near_column])
        is_found = found < NOTHING
        behind[missing[is_found]] = found[is_found] & LOW_WORD
        missing, time, row, column = (one[~is_found] for one in (missing, time, row, column))
    return behind


def _splat(
    moments: Moments, depth: Float[Tensor, " pixel"], is_before: Bool[Tensor, " pixel"]
) -> tuple[Int[Tensor, "time height width"], Cells]:
    """Return the pixel of the first frame that is nearest of all that fell on each pixel of the
    moments, -1 where none did; and the same for cells of 2, 4, ... pixels.

    A pixel falls where its centre does. What stands before something and has come nearer falls on
    all that it may cover: nothing else would show there.
    """
    height, width, pixels = moments.height, moments.width, moments.grid.shape[1]
    column, row = moments.place.round()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & moments.shown
    fell = inside.nonzero().squeeze(1)
    own = fell % pixels
    target = (row[fell] * width + column[fell]).long() + (fell - own)
    key = depth_key(moments.inverse_depth[fell], own)
    buffer = torch.full_like(inside, -1, dtype=torch.long).scatter_reduce(0, target, key, "amax")
    buffer = _cover(moments, depth, is_before, buffer)
    levels = [buffer.view(-1, height, width)]
    for _ in range(CELLS):
        above = levels[-1]
        odd = (0, above.shape[2] % 2, 0, above.shape[1] % 2)
        above = F.pad(above, odd, value=-1) if any(odd) else above
        pairs = torch.maximum(above[:, ::2], above[:, 1::2])
        levels.append(torch.maximum(pairs[..., ::2], pairs[..., 1::2]))
    buffer, *cells = (torch.where(level < 0, level, level & LOW_WORD) for level in levels)
    return buffer, cells


def _cover(
    moments: Moments,
    depth: Float[Tensor, " pixel"],
    is_before: Bool[Tensor, " pixel"],
    buffer: Indices,
) -> Indices:
    """Put what has grown on all pixels that it may cover: as large as it has grown, and as wide as
    its neighbours have come apart.
    """
    height, width, pixels = moments.height, moments.width, moments.grid.shape[1]
    growth = (moments.inverse_depth.view(-1, pixels) / depth).flatten()
    grown = is_before.repeat(len(moments.pitch)) & moments.shown & (growth > GROWN[0])
    source = grown.nonzero().squeeze(1)
    own, place = source % pixels, moments.place.index_select(1, source)
    tall = wide = growth[source]
    for step, is_edge in ((-1, own % width == 0), (1, own % width == width - 1)):
        beside = torch.where(is_edge, 0, step)
        gap = (moments.place[0, source + beside] - place[0]).abs()
        is_same = moments.surfaces[own + beside] == moments.surfaces[own]
        wide = torch.maximum(wide, torch.where(is_same & moments.shown[source + beside], gap, 0))
    half = torch.stack((wide, tall)).clamp(max=GROWN[1]) / 2
    which, covered = pixels_within(place, half, height, width)
    target = covered + (source - own)[which]
    key = depth_key(moments.inverse_depth[source], own)[which]
    return buffer.scatter_reduce(0, target, key, "amax")


def pixels_within(
    place: Float[Tensor, "2 query"], half: Float[Tensor, "2 query"], height: int, width: int
) -> tuple[Int[Tensor, " pair"], Int[Tensor, " pair"]]:
    """Return all pairs of a place, by its number, and a pixel within ``half`` beside and above."""
    (left, top), (right, bottom) = (place - half).ceil().clamp(min=0), (place + half).floor()
    right, bottom = right.clamp(max=width - 1), bottom.clamp(max=height - 1)
    wide, tall = ((1 + one).clamp(min=0).long() for one in (right - left, bottom - top))
    count = wide * tall
    which = torch.arange(len(count), device=count.device).repeat_interleave(count)
    within = torch.arange(len(which), device=count.device) - (count.cumsum(0) - count)[which]
    corner = top.long() * width + left.long()
    wide = wide[which]
    return which, corner[which] + within // wide * width + within % wide


def _first_candidates(
    moments: Moments, buffer: Int[Tensor, "time height width"], cells: Cells
) -> tuple[Indices, Bool[Tensor, " query"]]:
    """Return the surface that each pixel begins with, and where those around are no neighbours."""
    height, width = moments.height, moments.width
    first = buffer
    for level, cell in enumerate(cells, start=1):
        first = torch.where(first < 0, _spread(cell, level, height, width), first)
    own = torch.arange(height * width, device=first.device).view(height, width)
    first = torch.where(first < 0, own, first)
    # Whole numbers of two bytes: half the memory to go through.
    grid = moments.grid.short()
    place = grid.index_select(1, first.flatten()).view(2, *first.shape)
    # Between a pixel and its neighbour: a moving camera may take two surface points apart.
    apart = torch.zeros_like(first, dtype=torch.bool)
    for axis in (2, 3):
        gap = (place.diff(dim=axis).abs() > REACH).any(0)
        apart.narrow(axis - 1, 0, gap.shape[axis - 1]).logical_or_(gap)
        apart.narrow(axis - 1, 1, gap.shape[axis - 1]).logical_or_(gap)
    # Between two pixels of another surface, whose rows or columns have come apart.
    surface = moments.surfaces.int().index_select(0, first.flatten()).view_as(first)
    for axis, size in ((1, height), (2, width)):
        before, own, after = (surface.narrow(axis, step, size - 2) for step in range(3))
        apart.narrow(axis, 1, size - 2).logical_or_((before == after) & (own != before))
    for level, cell in enumerate(cells, start=1):
        there = grid.index_select(1, cell.clamp(min=0).flatten()).view(2, *cell.shape)
        there = _spread(there.flatten(0, 1), level, height, width).view_as(place)
        far = ((there - place).abs_() > 1.5 * (2**level + 1)).any(0)
        apart |= far & _spread(cell >= 0, level, height, width)
    return first.flatten(), apart.flatten()


def _spread(
    cells: Shaped[Tensor, "time tall wide"], level: int, height: int, width: int
) -> Shaped[Tensor, "time height width"]:
    """Give each pixel what its cell has."""
    fine = cells.repeat_interleave(2**level, 1).repeat_interleave(2**level, 2)
    return fine[:, :height, :width]


def _candidates(
    moments: Moments,
    buffer: Int[Tensor, "time height width"],
    cells: Cells,
    query: Indices,
    first: Indices,
) -> Int[Tensor, "candidate query"]:
    """Return the surfaces that fell on each pixel of ``query``, its neighbours and its cells.

    The first one is what the pixel began with, and stands in where nothing fell.
    """
    height, width = moments.height, moments.width
    time, pixel = query // (height * width), query % (height * width)
    row, column = pixel // width, pixel % width
    found = [first]
    for down, right in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        near = (row + down).clamp(0, height - 1), (column + right).clamp(0, width - 1)
        found.append(buffer[time, near[0], near[1]])
    for level, cell in enumerate(cells, start=1):
        found.append(cell[time, row >> level, column >> level])
    candidates = torch.stack(found)
    return torch.where(candidates < 0, found[0], candidates)


def _close_cracks(moments: Moments, start: Indices, own: Indices, reach: int) -> Indices:
    """Give a pixel that shows nothing, while nearly all around do, the best of their planes.

    Depth that is a little rough tears a surface as it comes near; what was really hidden is wider.
    Cracks that are wider than a pixel, by up to twice ``reach``, are closed from their sides.
    """
    height, width = moments.height, moments.width
    shows = (own >= 0).view(-1, height, width)
    padded = F.pad(shows.to(torch.uint8), (1, 1, 1, 1))
    tall = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    around = (tall[..., :-2] + tall[..., 1:-1] + tall[..., 2:]).flatten()
    is_crack = around > 5
    if reach:
        closed = ~dilate(~dilate(shows, reach, reach), reach, reach)
        is_crack |= closed.flatten() & (around > 0)
    crack = ((own < 0) & is_crack).nonzero().squeeze(1)
    pixel = crack % (height * width)
    row, column = pixel // width, pixel % width
    rays, begin = moments.rays.index_select(1, crack), start[crack]
    best, nearest = own[crack], torch.full_like(rays[0], torch.inf)
    for down, right in AROUND:
        inside = (row + down >= 0) & (row + down < height)
        inside &= (column + right >= 0) & (column + right < width)
        source = own[(crack + down * width + right).clamp(0, len(own) - 1)].where(inside, -1)
        plane = source.clamp(min=0)
        landed, distance = moments.land(rays, begin + plane)
        off = (landed - moments.grid.index_select(1, plane)).abs().amax(0)
        is_better = (source >= 0) & (distance >= 0) & (off < nearest)
        best, nearest = torch.where(is_better, source, best), torch.where(is_better, off, nearest)
    return own.index_put((crack,), best)


def still_seen(moments: Moments, start: Indices, source: Indices) -> Bool[Tensor, " query"]:
    """Return which pixels of the first frame are still in view and not hidden."""
    height, width, pitch = moments.height, moments.width, moments.pitch
    x, y = moments.place
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1) & moments.shown
    column, row = x.round().clamp(0, width - 1), y.round().clamp(0, height - 1)
    there = source[start + (row * width + column).long()]
    # Whatever is shown there in place of the pixel itself may hide it.
    own = torch.arange(height * width, device=there.device).repeat(len(pitch))
    query = (inside & (there >= 0) & (there != own)).nonzero().squeeze(1)
    # The ray to each pixel's own place, through the plane of what is shown there.
    place = moments.place.index_select(1, query)
    x, y = (place - moments.centre) / moments.focal_length
    turned = pitch[query // (height * width)]
    up, level = turned.sin(), turned.cos()
    rays = torch.stack((x, level * y - up, up * y + level))
    landed, distance = moments.land(rays, start[query] + there[query])
    off = (landed - moments.grid.index_select(1, own[query])).abs().amax(0)
    inside[query] = (off <= 1) | (moments.inverse_depth[query] >= distance)
    return inside
