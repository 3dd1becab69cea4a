"""What objects hide of one another: the rest of one that stands half behind another.

Without it a strip of a parked car stays alone in the road when the car before it has passed.
(Amodal completion: Zhu et al., "Semantic Amodal Segmentation", CVPR 2017.)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.geometry import Scene, fill_in_rows, pull_and_push
from seg2vid.structures import Carrier, InverseDepth, Labels, Pictures

WIDTHS = (0.4, 1.2)
"""How many times its height a thing, and a car, is wide at least: as seen from behind."""
NEARER = 1.03
"""How many times nearer than an object is what hides it."""
HIDDEN = 0.4
"""Share of an object's rows that has to end at what is nearer, for that side to be hidden."""
LOWEST = 8
"""Pixels that an object is high at least of which anything is made up, at the networks' size."""

Plane = Float[Tensor, "height width"]
Rows = Int[Tensor, "height width"]
Shape = Bool[Tensor, "height width"]


@dataclass(frozen=True)
class Amodal(Carrier):
    """A frame with what would be seen of objects where others hide them, one sample."""

    picture: Pictures
    label_map: Labels
    rows: Labels
    """Number of the object that is hidden there, 0 where none is."""
    inverse_depth: InverseDepth
    """Its own, in 1/m."""


def complete_objects(
    scene: Scene, picture: Pictures, label_map: Labels, cars: tuple[int, ...], factor: int
) -> Amodal:
    """Complete what stands half behind another object, until it is as wide as its like are.

    What is hidden is what a mirror in the middle would show, or else as what is around. The grid
    is ``factor`` times finer than the networks'; ``cars`` are classes. Of one sample.
    """
    rows, inverse_depth = scene.rows[0], scene.inverse_depth[0]
    none = torch.zeros_like(scene.rows)
    whole = Amodal(picture.clone(), label_map.clone(), none, torch.zeros_like(scene.inverse_depth))
    numbers = rows[rows > 0].unique().tolist()
    nearness = [float(inverse_depth[rows == number].mean()) for number in numbers]
    # The nearest last: it hides the others there, too.
    for _, number in sorted(zip(nearness, numbers, strict=True)):
        kind = int(label_map[0][rows == number].mode().values)
        lines = _hidden_part(
            rows == number, rows, inverse_depth, WIDTHS[kind in cars], LOWEST * factor
        )
        if lines is not None:
            _complete(whole, picture, rows, inverse_depth, number, *lines)
            whole.label_map[whole.rows == number] = kind
    return whole


def _hidden_part(
    own: Shape, rows: Rows, inverse_depth: Plane, times: float, lowest: int
) -> tuple[slice, int, int] | None:
    """Return the rows of an object, and the first and last column that it would have.

    None where it is too low, as wide as its like, or hidden on no side, or on both: then nothing
    tells where its middle is.
    """
    high, wide = own.any(1).nonzero().flatten(), own.any(0).nonzero().flatten()
    top, bottom, first, last = (int(one) for one in (*high[[0, -1]], *wide[[0, -1]]))
    more = round(times * (bottom + 1 - top)) - (last + 1 - first)
    if bottom + 1 - top < lowest or more < 1:
        return None
    width = rows.shape[1]
    ends = (own.int().argmax(1), width - 1 - own.flip(1).int().argmax(1))
    is_hidden = []
    for step, end in zip((-1, 1), ends, strict=True):
        at, beside = end[high], (end[high] + step).clamp(0, width - 1)
        is_nearer = inverse_depth[high, beside] > NEARER * inverse_depth[high, at]
        is_hidden.append(_mean(is_nearer & (rows[high, beside] > 0)) >= HIDDEN)
    hides_left, hides_right = is_hidden
    if hides_left == hides_right:
        return None
    span = (first - more, last) if hides_left else (first, last + more)
    return slice(top, bottom + 1), *span


def _complete(
    whole: Amodal,
    picture: Pictures,
    rows: Rows,
    inverse_depth: Plane,
    number: int,
    lines: slice,
    first: int,
    last: int,
) -> None:
    """Put what is hidden of one object into the ``whole``."""
    width = rows.shape[1]
    columns = torch.arange(max(first, 0), min(last + 1, width), device=rows.device)
    mirrored = first + last - columns
    is_inside = (mirrored >= 0) & (mirrored < width)
    mirrored = mirrored.clamp(0, width - 1)
    own, pictures = rows[lines] == number, picture[:, :, lines]
    seen, reflected = own[:, columns], own[:, mirrored] & is_inside
    known = seen | reflected
    colours = torch.where(seen, pictures[..., columns], pictures[..., mirrored])
    weight = known[None, None].to(colours.dtype)
    colours = fill_in_rows(colours * weight, weight)[0]
    depth, weight = inverse_depth[lines][:, columns], seen[None, None].to(inverse_depth.dtype)
    own_depth = pull_and_push(depth * weight, weight)[0, 0]
    hides = (rows[lines][:, columns] > 0) & ~seen & (depth > NEARER * own_depth)
    hidden = hides & _span(seen, known, hides)
    row, column = hidden.nonzero().unbind(1)
    place = (row + lines.start, columns[column])
    whole.rows[0][place] = number
    whole.inverse_depth[0][place] = own_depth[row, column]
    whole.picture[0][:, *place] = colours[:, row, column]


def _span(seen: Shape, known: Shape, hides: Shape) -> Shape:
    """Return how far up and down each column goes: as far as it is ``known``, or all along where
    nothing is known of it, and on where what is ``seen`` of it ends at what ``hides``.
    """
    above, below = known.cumsum(0) > 0, known.flip(0).cumsum(0).flip(0) > 0
    last, none = len(known) - 1, ~known.any(0)
    top, bottom = (~above).sum(0, keepdim=True), below.sum(0, keepdim=True) - 1

    def goes_on(end: Tensor, step: int) -> Tensor:
        own, beyond = end.clamp(0, last), (end + step).clamp(0, last)
        return none | seen.gather(0, own) & hides.gather(0, beyond)

    return (above | goes_on(top, -1)) & (below | goes_on(bottom, 1))


def _mean(mask: Bool[Tensor, " pixel"]) -> float:
    return float(mask.float().mean())
