"""Drawings: few flat colours that are not those of the classes, and the classes nearest to them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from seg2vid.labels.convert import distinct, pack, unpack
from seg2vid.labels.space import Colour, LabelClass, LabelSpace

FLAT_SHARE = 0.6
"""Share of pixels that equal their right and lower neighbours, those of the commonest colour (a
margin, a blank sky) left out: drawings > 0.7, as JPEG too; photos < 0.15, squeezed ones < 0.55."""
MOST_COLOURS, COVERED = 64, 0.6
"""Colours that cover at least this share: drawings > 0.8, photos < 0.4, squeezed ones < 0.7."""
FEW_COLOURS, ALL_COVERED = 32, 0.98
"""With so few colours a picture is a drawing even where nothing is flat, as thin lines."""
SMALLEST_SHARE = 0.001
"""Share of the flat pixels that a colour must have where there are more than ``MOST_COLOURS``: less
is what compression or smoothing left."""
SPREAD = 24.0
"""Distance (Euclidean RGB) up to which a rare colour is a trace of a common one."""

PLAIN_COLOURS: dict[str, tuple[Colour, ...]] = {
    "road": ((128, 128, 128), (105, 105, 105)),
    "sidewalk": ((192, 192, 192),),
    "building": ((165, 42, 42), (139, 69, 19), (185, 122, 87)),
    "vegetation": ((0, 128, 0), (34, 139, 34), (0, 255, 0)),
    "sky": ((135, 206, 235), (0, 191, 255), (173, 216, 230), (0, 0, 255)),
    "person": ((255, 224, 189),),
    "car": ((255, 0, 0),),
}
"""What people paint things with who do not know the class colours."""


class FlatColour(NamedTuple):
    """A colour of a drawing."""

    colour: Colour
    share: float
    """Share of the picture, 0 ... 1."""
    nearest: str
    """The class whose colour, or plain colour, is nearest."""
    distance: float
    """How far (Euclidean RGB) the nearest class colour is; plain colours do not count."""

    def __str__(self) -> str:
        return f"{self.colour} {self.share:.0%} (nearest: {self.nearest})"


def find_flat_colours(
    rgb: UInt8[np.ndarray, "height width 3"],
    space: LabelSpace,
    plain: Mapping[str, Sequence[Colour]],
    *,
    forced: bool = False,
) -> tuple[FlatColour, ...]:
    """Return the colours of a drawing, the largest first; none for a photo unless ``forced``.

    The classes are those of ``space`` that ``name_colour`` finds.
    """
    packed = pack(rgb)
    inner = packed[:-1, :-1]
    is_flat = (inner == packed[1:, :-1]) & (inner == packed[:-1, 1:])
    values, counts = distinct(packed)
    covered = np.sort(counts)[::-1].cumsum() / packed.size
    is_other = inner != values[counts.argmax()]
    is_drawing = (
        covered[:MOST_COLOURS][-1] >= COVERED
        and is_flat[is_other].sum() >= FLAT_SHARE * is_other.sum()
    )
    if not (is_drawing or forced or covered[:FEW_COLOURS][-1] >= ALL_COVERED):
        return ()
    is_exact = covered[:MOST_COLOURS][-1] == 1
    if is_drawing:  # what smoothing mixed lies along the edges, never flat
        flat, flat_counts = distinct(inner[is_flat])
        counts = counts[np.searchsorted(values, flat)] if is_exact else flat_counts
        values = flat
    order = counts.argsort()[::-1]
    smallest = 0.0 if is_exact else SMALLEST_SHARE
    merged = _merge(unpack(values[order]), counts[order] / counts.sum(), smallest)
    return tuple(name_colour(*one, space, plain) for one in merged)


def _merge(colours: np.ndarray, shares: np.ndarray, smallest: float) -> list[tuple[Colour, float]]:
    """Add rare colours, and those past the limits, to the common ones that they are traces of."""
    kept: list[tuple[Colour, float]] = []
    for colour, share in zip(colours, shares, strict=True):
        if share < smallest or len(kept) == MOST_COLOURS:
            break
        far = [np.linalg.norm(colour - np.array(other)) for other, _ in kept]
        if not kept or min(far) > SPREAD or share > kept[int(np.argmin(far))][1] / 20:
            kept.append((tuple(colour.tolist()), float(share)))
    return kept


def name_colour(
    colour: Colour, share: float, space: LabelSpace, plain: Mapping[str, Sequence[Colour]]
) -> FlatColour:
    """Find the nearest class; of equal ones that of a ``plain`` colour: red is a car, no rider."""
    candidates = [
        (float(np.linalg.norm(np.subtract(own, colour))), is_class, channel.id)
        for channel in space.channels
        for is_class, colours in (
            (False, plain.get(channel.name.casefold(), ())),
            (True, (channel.colour, *channel.other_colours)),
        )
        for own in colours
    ]
    distance = min(found for found, is_class, _ in candidates if is_class)
    return FlatColour(colour, share, space.names[min(candidates)[2]], distance)


def drawn_space(colours: Sequence[FlatColour], space: LabelSpace) -> LabelSpace:
    """Return a label space with a class for each colour, the same as the nearest of ``space``."""
    own = [flat for flat in colours if flat.colour != space.void.colour]
    classes = [
        LabelClass(number, f"colour {number + 1}", flat.colour, same_as=flat.nearest)
        for number, flat in enumerate(own)
    ]
    void = LabelClass(len(classes), space.void.name, space.void.colour)
    return LabelSpace("drawing", tuple(classes), void)
