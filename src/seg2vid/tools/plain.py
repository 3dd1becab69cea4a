"""Files that others wrote: YAML and JSON → plain values → dataclasses; misfits are named."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import yaml

from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.files import check_regular
from seg2vid.tools.ranges import check_ranges

Kind = TypeVar("Kind")
MOST_VALUES = 100_000
"""Values that YAML may hold, each alias counted with all that it stands for."""
MOST_BYTES = 1 << 20
"""The largest YAML file: its parser takes a minute for ten times as much."""
DAMAGES = (
    *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
    yaml.YAMLError,
)
"""What the parsers raise: PyYAML fails in many ways at dates and tags that are none."""
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
"""What msgspec calls the types, in words."""


def read_plain(
    path: Path, what: str, *, error: type[Seg2VidError] = Seg2VidError, fix: str = "repair the file"
) -> Any:
    """Read a .json file, or any other as YAML; raise ``error`` where it is not ``what``."""
    check_regular(path, what, error)
    try:
        is_json = path.suffix == ".json"
        if not is_json and path.stat().st_size > MOST_BYTES:
            raise error(what, got=f"{path} of more than {MOST_BYTES >> 20} MiB", fix=fix)
        content = path.read_bytes()
    except OSError as problem:
        got = f"{path}: {problem.strerror or problem}"
        raise error(what, got=got, fix="check the file") from None
    return parse_plain(content, f"{what} in {path}", is_json=is_json, error=error, fix=fix)


def parse_plain(
    content: bytes | str,
    what: str,
    *,
    is_json: bool = False,
    error: type[Seg2VidError] = Seg2VidError,
    fix: str = "repair it",
) -> Any:
    """Return the plain values that a text stands for; raise ``error`` where there are none."""
    try:
        if is_json:
            return json.loads(content)
        values = yaml.safe_load(content)
        _check_count(values)
    except DAMAGES as problem:
        mark = getattr(problem, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        text = "nested too deeply" if isinstance(problem, RecursionError) else problem
        form = "JSON" if is_json else "YAML"
        got = f"no {form}: {getattr(problem, 'problem', None) or text}{place}"
        raise error(what, got=got, fix=fix) from None
    return values


def _check_count(values: Any) -> None:
    # A few lines of aliases of aliases may stand for more than any memory holds.
    left, count = [values], 0
    while left:
        value = left.pop()
        count += 1
        if count > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values, aliases written out")
        left += value.values() if isinstance(value, dict) else value if type(value) is list else ()


def build(
    kind: type[Kind],
    values: Any,
    where: str,
    *,
    is_open: bool = False,
    error: type[Seg2VidError] = Seg2VidError,
    fix: str = "correct it",
) -> Kind:
    """Return the dataclass ``kind`` that plain values from ``where`` make up.

    Raises ``error`` for a value of another type or outside the range that its field declares, and
    for a field that ``kind`` does not have, unless it ``is_open``.
    """
    try:
        _check_fields(kind, values, "", is_open)
        made = msgspec.convert(values, kind)
    except UnicodeError:
        raise error(f"letters in {where}", got="half of a surrogate pair", fix=fix) from None
    except (msgspec.ValidationError, RecursionError) as problem:
        # As in: Expected `int`, got `str` - at `$.first_frame.width`
        text = re.sub(r"`(\w+)( \| null)?`", lambda word: WORDS.get(word[1], word[1]), str(problem))
        text, _, place = text.partition(" - at ")
        text = text.replace("Object missing required field", "Expected the field")
        wanted, _, got = text.removeprefix("Expected ").partition(", got ")
        name = place.strip("`").removeprefix("$").removeprefix(".")
        what = f"{wanted}{f' as {name}' if name else ''} in {where}"
        raise error(what, got=got or "none", fix=fix) from None
    check_ranges(made, error, where=f" in {where}")
    return made


def _check_fields(kind: Any, values: Any, place: str, is_open: bool) -> None:
    """Raise for fields that ``kind`` does not have, and choices that are none."""
    if get_origin(kind) is Literal and values not in get_args(kind):
        choices = ", ".join(map(str, get_args(kind)))
        raise msgspec.ValidationError(f"Expected one of {choices}, got {values!r} - at ${place}")
    if get_origin(kind) is tuple and isinstance(values, list):
        for number, value in enumerate(values):
            _check_fields(get_args(kind)[0], value, f"{place}[{number}]", is_open)
    if not dataclasses.is_dataclass(kind) or not isinstance(values, Mapping):
        return
    hints = get_type_hints(kind)
    for name, value in values.items():
        if name in hints:
            _check_fields(hints[name], value, f"{place}.{name}", is_open)
        elif not is_open:
            known = ", ".join(field.name for field in dataclasses.fields(kind))
            raise msgspec.ValidationError(f"Expected only {known}, got {name} - at ${place}")
