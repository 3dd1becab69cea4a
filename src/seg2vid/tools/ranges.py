"""Ranges of numbers in a configuration, declared with its fields."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any

from seg2vid.tools.errors import MediaError, Seg2VidError

LARGEST_SEED = (1 << 63) - 1
MOST_PROCESSES = 512


def ranged(default: Any, least: int | float, most: int | float | None = None) -> Any:
    """Return a field of a dataclass whose number is ``least`` ... ``most``, or None if that is."""
    return field(default=default, metadata={"range": (least, most)})


def check_range(
    label: str, value: Any, metadata: Mapping[Any, Any], error: type[Seg2VidError] = Seg2VidError
) -> None:
    """Raise ``error`` where ``value`` lies outside the range that a field's metadata may hold."""
    least, most = metadata.get("range", (None, None))
    if least is None or value is None or (least <= value and (most is None or value <= most)):
        return
    if most is None:
        raise error(f"{label} of at least {least}", got=value, fix="leave it out, or raise it")
    raise error(f"{label} from {least} to {most}", got=value, fix="choose a number in between")


def check_ranges(
    config: Any, error: type[Seg2VidError] = Seg2VidError, *, where: str | None = None
) -> None:
    """Raise ``error`` for the first field of a dataclass, or within it, outside its range.

    ``where`` says in which file it stands; else it is named as the option of the command line.
    """
    for one in fields(config):
        value = getattr(config, one.name)
        label = f"--{one.name.replace('_', '-')}" if where is None else f"{one.name}{where}"
        # What a mapping of anything holds is checked by whoever knows what it is.
        is_known = "range" in one.metadata or not isinstance(value, Mapping)
        for part in _parts(value) if is_known else ():
            if is_dataclass(part):
                check_ranges(part, error, where=where)
            elif isinstance(part, float) and not math.isfinite(part):
                raise error(f"a finite number as {label}", got=part, fix="correct it")
            else:
                check_range(label, part, one.metadata, error)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list | Mapping):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _parts(part)
    else:
        yield value


def read_share(text: str, command: str) -> tuple[int, int]:
    """Return i and N of "i/N", a share of the work; raise ``MediaError`` for other text."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        what, fix = "--shard-of i/N with i from 1 to N", f"see seg2vid {command} --help"
        raise MediaError(what, got=text, fix=fix)
    return int(number), int(count)
