"""The label-map doctor: what a file is, which classes it holds, what is wrong, how to repair it.

Recognition goes by evidence, in this order: a palette or colours that are those of the classes, or
of another label space that comes with seg2vid; values that only one numbering has (raw ids above
the last class, 255 for void, class * 1000 + number); the name of the file; and, where that is
silent, whether ground lies at the bottom and sky at the top. What rests on the last two is
reported. Few flat colours of no class are a drawing, anything else a photo.
"""

from dataclasses import replace
from pathlib import PurePath
from shlex import quote

import numpy as np
from jaxtyping import UInt8

from seg2vid.labels import convert
from seg2vid.labels.by_colour import find_by_colours
from seg2vid.labels.diagnosis import Diagnosis, Encoding, Palette, Picture, photo_found, unknown
from seg2vid.labels.fit import MINIMUM_SIDE
from seg2vid.labels.flat_colours import FEW_COLOURS, FlatColour, find_flat_colours
from seg2vid.labels.space import Ids, LabelSpace, Values, list_label_spaces
from seg2vid.tools.errors import LabelMapError

BLENDED_SHARE = 0.25
"""Share of changes from one id to another that go over an id in between: maps < 0.1, maps that were
resized like photos > 0.4."""

_GROUND = frozenset({"road", "sidewalk", "terrain"})
_ABOVE = frozenset({"sky", "building", "vegetation"})


def diagnose(
    picture: Picture, *, space: LabelSpace, encoding: Encoding = "auto", palette: Palette = "known"
) -> Diagnosis:
    """Find out what ``picture`` is as a label map of ``space``; ``encoding`` forces the reading.

    With ``palette`` "nearest" a drawing's colours stand for the nearest classes. Never raises for
    the content: what is wrong is listed in the result.
    """
    finding = _find(picture, space, encoding, palette)
    if finding.ids is None:
        return finding
    shares = _class_shares(finding.ids, space)
    repaired = PurePath(picture.name).stem + "_train_ids.png"
    command = f"seg2vid labels convert {quote(picture.name)} -o {quote(repaired)}"
    if encoding != "auto":
        command += f" --encoding {encoding}"
    if palette != "known":
        command += f" --palette {palette}"
    common = _common_warnings(finding.ids, shares, space)
    if _blended_share(picture.pixels) > BLENDED_SHARE:
        common += ("ids in between lie along the edges: resized like a photo; export it again",)
    is_plain = np.array_equal(convert.to_file_ids(finding.ids, space), picture.pixels)
    return replace(
        finding,
        class_shares=shares,
        warnings=finding.warnings + common,
        repair=command if finding.warnings and not is_plain else None,
    )


def _find(picture: Picture, space: LabelSpace, encoding: Encoding, palette: Palette) -> Diagnosis:
    height, width = picture.pixels.shape[:2]
    if min(height, width) < MINIMUM_SIDE:
        what = f"a label map of at least {MINIMUM_SIDE}x{MINIMUM_SIDE} pixels"
        return unknown("too small", what, f"{width}x{height}", "give one with more pixels")
    if picture.pixels.ndim == 3:
        return _find_in_channels(picture, space, encoding, palette)
    if encoding == "colour" and picture.palette is None:
        what, got = "a colour-coded picture (RGB or palette) for encoding colour", picture.mode
        return unknown("one channel", what, f"one channel ({got})", "leave --encoding out")
    if picture.is_jpeg and encoding == "auto":
        if not _flat_colours(picture, space):
            return photo_found(space, "grey values of no ids")
        what, got = "ids in a lossless file", "a one-channel JPEG, whose compression changes ids"
        fix = "export it as PNG, or force a reading with --encoding"
        return unknown("JPEG of ids", what, got, fix)
    if encoding in {"auto", "colour"} and picture.palette is not None:
        finding = _find_by_palette(picture, picture.palette, space, encoding, palette)
        if finding is not None:
            return finding
    if encoding == "auto":
        return _find_by_values(picture, space)
    return _read_as(encoding, picture.pixels, space, "as asked")


def _flat_colours(picture: Picture, space: LabelSpace) -> tuple[FlatColour, ...]:
    return find_flat_colours(np.repeat(picture.pixels[..., None], 3, axis=-1), space, {})


def _read_as(encoding: str, values: Values, space: LabelSpace, why: str) -> Diagnosis:
    try:
        if encoding == "train":
            return Diagnosis("train ids", why, convert.from_file_ids(values, space))
        if encoding == "raw":
            return Diagnosis("raw ids", why, convert.from_raw_ids(values, space))
        return Diagnosis("instance ids", why, *convert.from_instance_ids(values, space))
    except LabelMapError as error:
        return Diagnosis("unknown", f"not {encoding} ids", problems=(str(error),))


def _find_in_channels(
    picture: Picture, space: LabelSpace, encoding: Encoding, palette: Palette
) -> Diagnosis:
    rgb = picture.pixels[..., :3]
    is_grey = bool((rgb == rgb[..., :1]).all())
    greys = {c.colour[0] for c in space.channels if len(set(c.colour)) == 1}
    is_coloured = encoding == "colour" or palette == "nearest"
    if is_grey and not is_coloured and not set(convert.distinct(rgb)[0].tolist()) <= greys:
        single = replace(picture, pixels=rgb[..., 0], mode="L", palette=None)
        finding = _find(single, space, encoding, palette)
        note = "three equal channels; the first was read as ids"
        return replace(finding, detail=f"{finding.detail}; three equal channels", warnings=(note,))
    if encoding not in {"auto", "colour"}:
        what = f"one channel of ids for encoding {encoding}"
        return unknown("colours", what, f"{picture.mode} colours", "use --encoding colour")
    finding = find_by_colours(rgb, space, palette)
    is_clear = (picture.pixels[..., 3:] < 128).any(axis=-1)
    if finding.ids is None or not is_clear.any():
        return finding
    note = f"{is_clear.sum()} transparent pixels were read as void"
    ids = np.where(is_clear, space.void_id, finding.ids)
    return replace(finding, ids=ids, warnings=(*finding.warnings, note))


def _find_by_palette(
    picture: Picture,
    entries: UInt8[np.ndarray, "entry 3"],
    space: LabelSpace,
    encoding: Encoding,
    palette: Palette,
) -> Diagnosis | None:
    """Read a palette picture by its colours; None where its indices are to be read instead."""
    indices, forced = picture.pixels, encoding == "colour" or palette == "nearest"
    used, _ = convert.distinct(indices)
    if used.max() >= len(entries):
        return None
    owner_of = {colour: c.id for c in space.channels for colour in (c.colour, *c.other_colours)}
    owners = {int(i): owner_of.get(tuple(entries[i].tolist())) for i in used}
    file_ids = {label.id: label.id for label in space.classes} | {space.file_value: space.void_id}
    for name, numbering in (("train", file_ids), ("raw", space.raw_to_id)):
        if not forced and all(owner == numbering.get(i, -1) for i, owner in owners.items()):
            detail = f"palette of the classes, indices are {name} ids"
            return replace(_read_as(name, indices, space, detail), kind="palette")
    is_grey = bool((entries[used] == entries[used][:, :1]).all())
    if is_grey and not forced:
        return None
    finding = find_by_colours(entries[indices], space, palette)
    if finding.ids is not None and finding.kind == "colours":
        detail = f"the palette's colours tell the classes ({finding.detail}), its indices do not"
        return replace(finding, kind="palette", detail=detail)
    if finding.ids is not None or forced:
        return finding
    by_values = _find_by_values(picture, space)
    # Programs that make files small keep only the colours in use, in any order.
    is_trimmed = len(np.unique(entries, axis=0)) <= len(np.unique(entries[used], axis=0)) + 1
    if by_values.ids is None or is_trimmed:
        return finding
    note = (
        "its palette has colours of no class, so its indices were read as ids; "
        "if the colours are what counts, add --palette nearest"
    )
    return replace(by_values, warnings=(*by_values.warnings, note))


def _find_by_values(picture: Picture, space: LabelSpace) -> Diagnosis:
    values = [int(value) for value in convert.distinct(picture.pixels)[0]]
    name = PurePath(picture.name).name.lower()
    if values[-1] > 255 or picture.pixels.dtype != np.uint8:
        return _find_in_wide_values(picture.pixels, values, space)
    if "instanceid" in name:
        what = "instance ids (class * 1000 + number) in a file named instanceIds"
        got = f"values {values[0]} ... {values[-1]}, which tell objects but no classes"
        fix = "give the label map as LABELS and this file with --instances, or force --encoding"
        return unknown("instance numbers", what, got, fix)
    train_values = {channel.id for channel in space.channels} | {space.file_value}
    raw_values = set(space.raw_to_id) | {space.file_value}
    is_train = set(values) <= train_values
    is_raw = bool(space.raw_to_id) and set(values) <= raw_values
    if is_raw and space.file_value in set(values) & set(space.raw_to_id):
        is_train = False  # a mask of 0 and 255, where 255 is a class
    if is_train and is_raw and space.file_value not in values:
        return _decide(picture.pixels, name, space)
    if is_train:
        void = ", 255 is void" if space.file_value in values else ""
        return _read_as("train", picture.pixels, space, f"ids 0 ... {space.void_id - 1}{void}")
    if is_raw:
        only_raw = [value for value in values if value not in train_values]
        why = f"values {convert.listed(only_raw or values)} exist only among raw ids"
        return _read_as("raw", picture.pixels, space, why)
    strange = [value for value in values if value not in train_values | raw_values]
    what = f"ids 0 ... {space.void_id - 1} and {space.file_value}, or raw ids, of {space.name}"
    if len(values) > FEW_COLOURS and not _flat_colours(picture, space):
        return photo_found(space, f"{len(values)} different grey values")
    fix = (
        f"name the classes with --label-space ({', '.join(list_label_spaces())}, or a .yaml file "
        "of your own); if it is a photo: seg2vid generate --photo"
    )
    return unknown("no known numbering", what, f"values {convert.listed(strange)}", fix)


def _find_in_wide_values(pixels: Values, values: list[int], space: LabelSpace) -> Diagnosis:
    if values[-1] >= 1000 and space.raw_to_id:
        finding = _read_as("instance", pixels, space, "class * 1000 + number")
        if finding.ids is not None:
            return finding
    what = "8-bit ids, or 16-bit instance ids (raw id * 1000 + number)"
    fix = "give it with --instances if it tells objects, or force --encoding train, raw or instance"
    return unknown("16-bit values", what, f"16-bit values {convert.listed(values)}", fix)


def _decide(values: Values, name: str, space: LabelSpace) -> Diagnosis:
    """Choose between train and raw ids where every value exists in both numberings."""
    if "trainid" in name:
        encoding, why = "train", "the name says train ids"
    elif "labelid" in name:
        encoding, why = "raw", "the name says label ids, which are raw ids"
    else:
        train_score = _street_likeness(convert.from_file_ids(values, space), space)
        raw_score = _street_likeness(convert.from_raw_ids(values, space), space)
        encoding = "raw" if raw_score > train_score else "train"
        why = "ground at the bottom and sky or buildings at the top"
        if abs(raw_score - train_score) < 0.25:
            encoding = "raw" if space.void_id in values else encoding
            why = "a guess: nothing in the map tells"
    other = "train" if encoding == "raw" else "raw"
    warning = (
        f"every value exists among train ids and raw ids; read as {encoding} ids ({why}); "
        f"if that is wrong, add --encoding {other}"
    )
    return replace(_read_as(encoding, values, space, why), warnings=(warning,))


def _blended_share(values: np.ndarray) -> float:
    """Return the share of changes along the rows that go up or down over a value in between."""
    if values.ndim != 2 or values.shape[1] < 3:
        return 0.0
    steps = np.sign(np.diff(values.astype(np.int64), axis=1))
    is_between = (steps[:, 1:] == steps[:, :-1]) & (steps[:, 1:] != 0)
    return 2 * float(is_between.sum()) / max(1, int((steps != 0).sum()))


def _street_likeness(ids: Ids, space: LabelSpace) -> float:
    third = len(ids) // 3
    ground = [c.id for c in space.channels if {c.name, c.same_as} & _GROUND]
    above = [c.id for c in space.channels if {c.name, c.same_as} & _ABOVE]
    return float(np.isin(ids[-third:], ground).mean() + np.isin(ids[:third], above).mean())


def _class_shares(ids: Ids, space: LabelSpace) -> tuple[tuple[str, float], ...]:
    counts = np.bincount(ids.ravel(), minlength=space.num_channels)
    order = np.argsort(-counts, kind="stable")
    return tuple((space.names[i], float(counts[i] / ids.size)) for i in order if counts[i])


def _common_warnings(
    ids: Ids, shares: tuple[tuple[str, float], ...], space: LabelSpace
) -> tuple[str, ...]:
    warnings: tuple[str, ...] = ()
    if (void := dict(shares).get(space.void.name, 0.0)) > 0.5:
        warnings += (f"{void:.0%} of the map is void",)
    if len(shares) <= 2 < space.void_id:
        names = " and ".join(name for name, _ in shares)
        warnings += (f"only {names} in it: is this the right --label-space?",)
    inner = ids[1:-1, 1:-1]
    neighbours = (ids[:-2, 1:-1], ids[2:, 1:-1], ids[1:-1, :-2], ids[1:-1, 2:])
    lonely = float(np.logical_and.reduce([inner != other for other in neighbours]).mean())
    if lonely > 0.05:
        text = f"{lonely:.0%} of the pixels differ from all neighbours: noise, or a wrong resize"
        warnings += (text,)
    return warnings
