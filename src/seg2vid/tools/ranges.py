"""Ranges of numbers in a configuration, told where its fields are declared."""

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any

from seg2vid.tools.errors import Seg2VidError

LARGEST_SEED = (1 << 63) - 1
MOST_PROCESSES = 512


def ranged(default: Any, least: int | float, most: int | float | None = None) -> Any:
    """Return a field of a dataclass whose number is ``least`` ... ``most``, or None if that is."""
    return field(default=default, metadata={"range": (least, most)})


def check_range(
    label: str,
    value: Any,
    metadata: Mapping[Any, Any],
    error: type[Seg2VidError] = Seg2VidError,
) -> None:
    """Raise ``error`` where ``value`` lies outside the range that a field's metadata may hold."""
    least, most = metadata.get("range", (None, None))
    if least is None or value is None or (least <= value and (most is None or value <= most)):
        return
    if most is None:
        raise error(f"{label} of at least {least}", got=value, fix="leave it out, or raise it")
    raise error(f"{label} from {least} to {most}", got=value, fix="choose a number in between")


def check_ranges(config: Any, error: type[Seg2VidError] = Seg2VidError) -> None:
    """Raise ``error`` for the first field of a dataclass that lies outside its range."""
    for one in fields(config):
        label = f"--{one.name.replace('_', '-')}"
        check_range(label, getattr(config, one.name), one.metadata, error)
