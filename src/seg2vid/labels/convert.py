"""The ways between ids, one-hot maps, colours, raw ids and instance ids of a label space.

Inside seg2vid a label map holds ids 0 ... number of classes, where the last one is void; in files
void is ``file_value`` (255).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, Integer, UInt8
from torch import Tensor

from seg2vid.labels.space import Ids, LabelSpace, Values
from seg2vid.tools.errors import LabelMapError

SPAN = 1 << 24
"""Numbers of 8-bit colours, and pixels that are counted at once."""
COLOUR_TOLERANCE = 32.0
"""Euclidean RGB distance up to which a pixel has a class colour: JPEG noise is well below."""


def one_hot(
    label_maps: Int[Tensor, "*batch height width"], num_channels: int
) -> Float[Tensor, "*batch class height width"]:
    """Return one plane of 0 and 1 per id; raise ``LabelMapError`` for ids out of range."""
    lowest, highest = (int(bound) for bound in label_maps.aminmax())
    if lowest < 0 or highest >= num_channels:
        raise LabelMapError(
            f"a label map of ids 0 ... {num_channels - 1}",
            got=f"ids from {lowest} to {highest}",
            fix="convert it with from_raw_ids or from_file_ids (seg2vid labels convert)",
        )
    ids = torch.arange(num_channels, device=label_maps.device)
    return (rearrange(label_maps, "... h w -> ... 1 h w") == rearrange(ids, "c -> c 1 1")).float()


def colourise(
    ids: Integer[np.ndarray, "*batch height width"], space: LabelSpace
) -> UInt8[np.ndarray, "*batch height width 3"]:
    """Return the map in RGB colours; raise ``LabelMapError`` for ids outside the space."""
    _check_ids(ids, space)
    return np.take(space.colours, ids, axis=0)


def _check_ids(ids: Integer[np.ndarray, "*shape"], space: LabelSpace) -> None:
    unknown = [int(value) for value in distinct(ids)[0] if not 0 <= value <= space.void_id]
    if unknown:
        raise LabelMapError(
            f"ids 0 ... {space.void_id} of label space {space.name}",
            got=f"ids {listed(unknown)}",
            fix="convert the map first (command: seg2vid labels convert)",
        )


def listed(values: Sequence[object], limit: int = 8) -> str:
    """Write values as "1, 2, 3 and 4 more"."""
    text = ", ".join(map(str, values[:limit]))
    return text if len(values) <= limit else f"{text} and {len(values) - limit} more"


def distinct(
    values: Integer[np.ndarray, "*shape"],
) -> tuple[Int[np.ndarray, " value"], Int[np.ndarray, " value"]]:
    """Return the values that occur, in order, and how often each does.

    Values that lie close together are counted, for sorting a large picture takes minutes; few that
    lie far apart, such as the colours of a small one, are sorted.
    """
    if not values.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    low, high = int(values.min()), int(values.max())
    if high - low >= min(SPAN, 16 * values.size):
        found, counts = np.unique(values, return_counts=True)
        return found.astype(np.int64), counts
    counts = np.zeros(high - low + 1, dtype=np.int64)
    flat = values.reshape(-1)
    for start in range(0, flat.size, SPAN):
        part = flat[start : start + SPAN].astype(np.int64) - low
        counts += np.bincount(part, minlength=counts.size)
    found = np.flatnonzero(counts)
    return found + low, counts[found]


def _look_up(values: Values, table: Mapping[int, int], what: str, fix: str) -> Ids:
    found, _ = distinct(values)
    unknown = [int(value) for value in found if int(value) not in table]
    if unknown:
        raise LabelMapError(what, got=f"also {listed(unknown)}", fix=fix)
    low = int(found.min(initial=0))
    ids = np.zeros(int(found.max(initial=0)) - low + 1, dtype=np.int64)
    ids[found - low] = [table[int(value)] for value in found]
    return ids[values.astype(np.int64) - low]


def from_file_ids(values: Values, space: LabelSpace) -> Ids:
    """Turn class ids, ``file_value`` or ``void_id`` into ids; others are a ``LabelMapError``."""
    table = {channel.id: channel.id for channel in space.channels}
    table[space.file_value] = space.void_id
    what = f"only ids 0 ... {space.void_id - 1} of {space.name} and {space.file_value} for void"
    return _look_up(values, table, what, "run `seg2vid labels check` on the file")


def to_file_ids(
    ids: Integer[np.ndarray, "*batch height width"], space: LabelSpace
) -> UInt8[np.ndarray, "*batch height width"]:
    """Turn ids into what label map files hold: the class ids, and ``file_value`` for void."""
    _check_ids(ids, space)
    return np.take(np.array([*range(space.void_id), space.file_value], dtype=np.uint8), ids)


def from_raw_ids(raw: Values, space: LabelSpace) -> Ids:
    """Turn raw ids into ids (``file_value`` stays void); others are a ``LabelMapError``."""
    what = f"only raw ids of {space.name}"
    table = {space.file_value: space.void_id} | space.raw_to_id
    return _look_up(raw, table, what, "run `seg2vid labels check` on the file")


def from_instance_ids(instance_ids: Values, space: LabelSpace) -> tuple[Ids, Ids]:
    """Split raw ids and raw id * 1000 + number into ids and instance map, 0 where no object is.

    Others are a ``LabelMapError``.
    """
    values = instance_ids.astype(np.int64)
    is_object = values >= 1000
    ids = from_raw_ids(np.where(is_object, values // 1000, values), space)
    return ids, np.where(is_object, values, 0)


def pack(rgb: UInt8[np.ndarray, "height width 3"]) -> Int[np.ndarray, "height width"]:
    """Return each colour as one number, which sorts and compares at once."""
    return rgb.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)


def unpack(packed: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape 3"]:
    """Return the colours that ``pack`` made into numbers."""
    return np.stack([packed >> 16, (packed >> 8) & 255, packed & 255], axis=-1)


class ColourMatch(NamedTuple):
    """Ids found by colour, and how well the colours fitted."""

    ids: Ids
    inexact: int
    """Pixels whose colour is not exactly that of a class."""
    beyond_tolerance: int
    """Those of them too far from every class colour: they took a neighbour's class, or void."""


def from_colours(rgb: UInt8[np.ndarray, "height width 3"], space: LabelSpace) -> ColourMatch:
    """Give every pixel the class of the nearest colour, at most 32 (Euclidean) away.

    Pixels beyond, such as mixed colours on JPEG edges, take the class of a neighbour.
    """
    pairs = [(c.id, colour) for c in space.channels for colour in (c.colour, *c.other_colours)]
    owners = np.array([owner for owner, _ in pairs])
    palette = np.array([colour for _, colour in pairs], dtype=np.float32)
    packed = pack(rgb)
    found, counts = distinct(packed)
    colours = unpack(found).astype(np.float32)
    squares = (colours**2).sum(1)[:, None] - 2 * colours @ palette.T + (palette**2).sum(1)
    nearest = squares.argmin(axis=1)
    distance = np.sqrt(np.maximum(squares.min(axis=1), 0))
    is_far = distance > COLOUR_TOLERANCE
    owner, is_near = np.zeros(SPAN, dtype=np.int64), np.zeros(SPAN, dtype=bool)
    owner[found], is_near[found] = owners[nearest], ~is_far
    ids = _fill_from_neighbours(owner[packed], is_near[packed], space.void_id)
    return ColourMatch(ids, int(counts[distance > 0.5].sum()), int(counts[is_far].sum()))


def _fill_from_neighbours(ids: Ids, is_known: Bool[np.ndarray, "height width"], fill: int) -> Ids:
    """Grow the known pixels over the others, at most eight steps; the rest becomes ``fill``."""
    height, width = ids.shape
    ids = np.where(is_known, ids, fill)
    for _ in range(8):
        if is_known.all():
            break
        before, was_known = np.pad(ids, 1), np.pad(is_known, 1)
        for row, column in ((0, 1), (2, 1), (1, 0), (1, 2)):
            neighbour = np.s_[row : row + height, column : column + width]
            takes = ~is_known & was_known[neighbour]
            ids = np.where(takes, before[neighbour], ids)
            is_known = is_known | takes
    return ids


class Translated(NamedTuple):
    """A label map in the classes of another label space."""

    ids: Ids
    lost: tuple[str, ...]
    """Names of the classes in the map that the other space has no place for: they are void."""


def translate_ids(ids: Ids, source: LabelSpace, target: LabelSpace) -> Translated:
    """Turn ids of one space into those of another by class name, else by ``same_as``.

    Raises ``LabelMapError`` for classes in the map of which neither is known in ``target``.
    """
    named = {channel.same_as.casefold(): channel.id for channel in reversed(target.channels)}
    named |= {channel.name.casefold(): channel.id for channel in target.channels}
    table = np.full(source.num_channels, -1)
    for label in source.classes:
        other = named.get(label.same_as.casefold(), -1) if label.same_as else -1
        table[label.id] = named.get(label.name.casefold(), other)
    table[source.void_id] = target.void_id
    present, _ = distinct(ids)
    if lacking := [source.names[value] for value in present if table[value] < 0]:
        raise LabelMapError(
            f"classes that label space {target.name} has too",
            got=f"{', '.join(map(repr, lacking))} of {source.name}",
            fix=f"give each a same_as in its .yaml file, one of: {', '.join(target.names)}",
        )
    is_lost = (table[present] == target.void_id) & (present != source.void_id)
    return Translated(table[ids], tuple(source.names[value] for value in present[is_lost]))
