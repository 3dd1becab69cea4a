"""Label maps told by their colours: of the classes, of another label space, of a drawing."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8

from seg2vid.labels import convert
from seg2vid.labels.diagnosis import Diagnosis, Palette, photo_found, unknown
from seg2vid.labels.flat_colours import (
    PLAIN_COLOURS,
    FlatColour,
    drawn_space,
    find_flat_colours,
    name_colour,
)
from seg2vid.labels.space import Ids, LabelSpace, get_label_space, list_label_spaces
from seg2vid.tools.errors import LabelMapError

FOREIGN_SHARE = 0.25
"""Share of pixels in foreign colours from which it is no map: photos > 0.45, JPEG maps < 0.1."""
FOREIGN_FLAT_SHARE = 0.002
"""The same of flat areas, which compression does not make."""
KNOWN_SHARE, KNOWN_DISTANCE, KNOWN_CLASSES = 0.95, 6.0, 3
"""Another label space is recognised where so much of the drawing has its colours, of as many
classes, and half of it has a counterpart: primary colours may be those of anything."""
EXACT_SHARE = 0.99
"""With so many pixels exactly of class colours each of them is what it says."""


def find_by_colours(
    rgb: UInt8[np.ndarray, "height width 3"], space: LabelSpace, palette: Palette
) -> Diagnosis:
    """Read the colours of the classes, else of another known label space, else of a drawing."""
    ids, inexact, far = convert.from_colours(rgb, space)
    is_blank = (rgb == np.array(space.void.colour)).all(axis=-1)  # as the bars beside a photo
    is_mostly_foreign = far > FOREIGN_SHARE * (ids.size - is_blank.sum())
    plain = PLAIN_COLOURS if is_mostly_foreign else {}
    forced = palette == "nearest"
    flat = find_flat_colours(rgb, space, plain, forced=forced) if far else ()
    foreign = [one for one in flat if one.distance > convert.COLOUR_TOLERANCE]
    if not is_mostly_foreign and sum(one.share for one in foreign) <= FOREIGN_FLAT_SHARE:
        warning = (
            f"{inexact} of {ids.size} pixels ({inexact / ids.size:.1%}) are not exactly of a class "
            f"colour and took the nearest; {far} of them were far from all and took a neighbour's "
            "class"
        )
        warnings = (warning,) if inexact else ()
        return Diagnosis("colours", f"{space.name} colours", ids, warnings=warnings)
    if not flat:
        return photo_found(space, f"{far / ids.size:.0%} of the pixels in colours of no class")
    if forced:
        ids = _read_drawing(rgb, flat, space)
        detail = f"the nearest class of each colour: {convert.listed(flat, 6)}"
        return Diagnosis("drawing", detail, ids, colours=flat)
    for other in map(get_label_space, list_label_spaces() if is_mostly_foreign else ()):
        if other.names != space.names:
            finding = _find_by_other_space(rgb, flat, other, space)
            if finding is not None:
                return finding
    what = f"the class colours of {space.name}"
    fix = (
        "take the nearest classes with --palette nearest, or name your own with --label-space "
        "(`seg2vid labels check` prints a file to begin with); "
        "if it is a photo: seg2vid generate --photo"
    )
    plural = "s" if len(foreign) > 1 else ""
    listed = convert.listed(foreign, 6)
    got = f"a drawing with {len(foreign)} flat colour{plural} of no class: {listed}"
    found = unknown("a drawing", what, got, fix, kind="drawing")
    return replace(found, colours=flat)


def _read_drawing(
    rgb: UInt8[np.ndarray, "height width 3"], colours: Sequence[FlatColour], space: LabelSpace
) -> Ids:
    """Give every pixel the class that is nearest to the one of ``colours`` it has."""
    drawn = drawn_space(colours, space)
    return convert.translate_ids(convert.from_colours(rgb, drawn).ids, drawn, space).ids


def _find_by_other_space(
    rgb: UInt8[np.ndarray, "height width 3"],
    colours: tuple[FlatColour, ...],
    other: LabelSpace,
    space: LabelSpace,
) -> Diagnosis | None:
    """Read the flat ``colours`` of a picture as classes of ``other``; None where they are not."""
    named = [name_colour(one.colour, one.share, other, plain={}) for one in colours]
    known = [one for one in named if one.distance <= KNOWN_DISTANCE]
    if len(known) < KNOWN_CLASSES or sum(one.share for one in known) < KNOWN_SHARE:
        return None
    match = convert.from_colours(rgb, other)
    ids = match.ids
    if match.inexact > (1 - EXACT_SHARE) * ids.size:
        # Many classes fill the space of colours: what compression mixed would be of some of them.
        ids = _read_drawing(rgb, known, other)
    try:
        ids, lost = convert.translate_ids(ids, other, space)
    except LabelMapError:
        return None
    if (ids == space.void_id).mean() > 0.5:
        return None
    note = f"{', '.join(lost)}: no such class in {space.name}, read as void"
    detail = f"{other.name} colours, by the name of each class"
    return Diagnosis("colours", detail, ids, warnings=(note,) if lost else ())
