"""From a frozen dataclass to a command: its fields are the options, its docstrings are the help.

A field becomes an ``--option`` with dashes. ``bool`` makes a switch, ``Literal`` lists the choices,
``tuple[str, ...]`` takes words joined by commas, ``list[str]`` one word each time it is given,
``tuple[int, int]`` takes ``256x128``. The metadata of a field may say more: it ``is_positional``;
it holds what is given of the ``fields_of`` a configuration, each an option of its own, ``without``
some; it ``is_dotted``: ``--field.a.b VALUE`` sets b in a, VALUE is YAML; a ``range`` of numbers.
"""

import argparse
import inspect
import itertools
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, NoReturn

from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.ranges import check_range

POSITIONAL = {"is_positional": True}
SHORT_NAMES = {"output": ["-o"]}
BOOLEANS = {"true": True, "false": False}
NUMBERS = {int: "a whole number", float: "a number"}
LARGEST = 10**40
"""No number is larger: what counts has narrower ranges, seeds have 19 digits."""
METAVARS: dict[Any, str] = {int: "N", float: "X", bool: "true|false", Path: "PATH"}
METAVARS |= {list[str]: "PATH", tuple[str, ...]: "NAME,NAME"}
METAVARS |= {tuple[float, ...]: "X,X", tuple[int, int]: "WIDTHxHEIGHT"}


class _Parser(argparse.ArgumentParser):
    """Argparse that raises one line instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        what, fix = f"the arguments of `{self.prog}`", f"see `{self.prog} --help`"
        raise Seg2VidError(what, got=message, fix=fix)


def parse(name: str, kind: Any, words: Sequence[str]) -> Any:
    """Return the options, a ``kind``, that ``words`` mean for the verb ``name``.

    Raises ``Seg2VidError`` for what does not fit, and ``SystemExit`` after ``--help``.
    """
    parser = _Parser(
        prog=f"seg2vid {name}",
        description=inspect.getdoc(kind),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    declared = list(_declare(parser, kind, words))
    needed = [
        " ".join([*action.option_strings[-1:], str(action.metavar)])
        for action, _, _ in declared
        if action.required
    ]
    needed.sort(key=lambda word: word.startswith("-"))
    parser.usage = " ".join([parser.prog, *needed, "[options]"])
    switches = [_label(action) for action, option, _ in declared if option is bool]
    # A switch may stand alone: then it must not take the next word for its value.
    words = [
        f"{word}=true" if word in switches and following.lower() not in BOOLEANS else word
        for word, following in itertools.pairwise([*words, ""])
    ]
    given = vars(parser.parse_args(words))
    options: dict[str, Any] = {f.name: {} for f in fields(kind) if f.type == dict[str, Any]}
    # Fields before those within them, which are laid over them.
    for action, option, metadata in sorted(declared, key=lambda pair: pair[0].dest.count(".")):
        if action.dest in given:
            *parents, last = action.dest.split(".")
            inner = options
            for parent in parents:
                inner = inner.setdefault(parent, {})
                if not isinstance(inner, dict):
                    what, fix = f"fields for {_label(action)} to be among", "leave one of them out"
                    raise Seg2VidError(what, got=f"{inner!r} in their place", fix=fix)
            inner[last] = convert(given[action.dest], option, _label(action))
            check_range(_label(action), inner[last], metadata)
    return kind(**options)


def _declare(
    container: Any, kind: Any, words: Sequence[str], prefix: str = "", without: Sequence[str] = ()
) -> Iterator[tuple[argparse.Action, Any, Mapping[Any, Any]]]:
    """Add an argument for each field; yield it with its type and the field's metadata."""
    helps = field_helps(kind)
    for field in fields(kind):
        if field.name in without:
            continue
        dest, text = prefix + field.name, helps.get(field.name, "")
        if (part := field.metadata.get("fields_of")) is not None:
            group = container.add_argument_group(f"fields of {part.__name__}")
            yield from _declare(group, part, words, f"{dest}.", field.metadata.get("without", ()))
        elif "is_dotted" in field.metadata:
            given = (word.partition("=")[0] for word in words if word.startswith(f"--{dest}."))
            for name in dict.fromkeys([f"--{dest}.FIELD", *given]):
                own = name.removeprefix("--").replace("-", "_")
                shown = text if name.endswith(".FIELD") else argparse.SUPPRESS
                yield container.add_argument(name, dest=own, metavar="VALUE", help=shown), Any, {}
        else:
            yield _add(container, field, dest, text), _plain(field.type), field.metadata


def _add(container: Any, field: Field[Any], dest: str, text: str) -> argparse.Action:
    """Add the argument of one field; its value stays text until ``convert``, whose errors speak."""
    default, kind = field.default, _plain(field.type)
    if default not in (MISSING, None, (), ""):
        shown = "x".join(map(str, default)) if isinstance(default, tuple) else str(default)
        text += f" (default: {shown.lower() if kind is bool else shown})"
    text = text.replace("%", "%%")
    if "is_positional" in field.metadata:
        nargs = "+" if typing.get_origin(kind) is list else None
        return container.add_argument(dest, metavar=dest.upper(), nargs=nargs, help=text)
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    return container.add_argument(
        f"--{field.name.replace('_', '-')}",
        *SHORT_NAMES.get(field.name, []),
        dest=dest,
        action="append" if typing.get_origin(kind) is list else "store",
        nargs="?" if kind is bool else None,
        required=default is MISSING,
        metavar=field.metadata.get("metavar") or "|".join(choices) or METAVARS.get(kind, "NAME"),
        help=text,
    )


def field_helps(kind: type) -> dict[str, str]:
    """Return what stands below each field of a dataclass, and of its bases, in its source."""
    from docstring_parser import parse_from_object

    bases = kind.__mro__[-2::-1]
    found = [field for base in bases for field in parse_from_object(base).params]
    texts = {field.arg_name: " ".join(str(field.description).split()) for field in found}
    return {name: text.replace("``", "").rstrip(".") for name, text in texts.items()}


def _label(action: argparse.Action) -> str:
    """Return the name a user knows: --first-frame, or LABELS."""
    return action.option_strings[0] if action.option_strings else str(action.metavar)


def _plain(annotation: Any) -> Any:
    """Return X for ``X | None``."""
    if typing.get_origin(annotation) is types.UnionType:
        return next(kind for kind in typing.get_args(annotation) if kind is not type(None))
    return annotation


def convert(text: Any, kind: Any, label: str) -> Any:
    """Turn text into what the type ``kind`` asks for; raise ``Seg2VidError`` naming ``label``."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if type(text) not in (str, list) or text == []:  # of `--option=--`, as argparse reads it
        raise Seg2VidError(f"a value for {label}", got="none", fix="write it after the option")
    if origin is list:
        return [convert(word, inner[0], label) for word in text]
    if origin is tuple and inner[-1] is ...:
        words = [word.strip() for word in text.split(",")]
        return tuple(convert(word, inner[0], label) for word in words if word)
    if origin is tuple:
        if not (match := re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", text)):
            what = f"WIDTHxHEIGHT for {label}"
            raise Seg2VidError(what, got=repr(text), fix="write it like 256x128")
        return int(match[1]), int(match[2])
    if kind is bool or origin is typing.Literal:
        choices = BOOLEANS if kind is bool else dict(zip(inner, inner, strict=True))
        if (word := text.lower() if kind is bool else text) not in choices:
            what = f"one of {', '.join(choices)} for {label}"
            raise Seg2VidError(what, got=repr(text), fix="choose one of them")
        return choices[word]
    if kind is Any:
        from seg2vid.tools.plain import parse_plain

        return parse_plain(text, f"YAML for {label}", fix="quote it")
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if kind in NUMBERS and isinstance(value, float) and not math.isfinite(value):
        raise Seg2VidError(f"{NUMBERS[kind]} for {label}", got=repr(text), fix="write it in digits")
    if kind is int and abs(value) >= LARGEST:
        what = f"a whole number of at most {len(str(LARGEST)) - 1} digits for {label}"
        raise Seg2VidError(what, got=repr(text[:99]), fix="choose a smaller one")
    return value
