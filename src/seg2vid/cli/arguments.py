"""From a plain function to a command: its signature is the syntax, its docstring is the help.

Positional parameters become positional arguments, keyword-only ones become ``--options`` (with
dashes), ``bool`` ones become switches, ``Literal`` lists the choices, ``tuple[str, ...]`` takes
words joined by commas, ``list[str]`` one word each time it is given, ``tuple[int, int]`` takes
``256x128``; ``*rest`` takes what is left over.
"""

import argparse
import ast
import dataclasses
import inspect
import itertools
import math
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from seg2vid.tools.errors import Seg2VidError

Configuration = TypeVar("Configuration")

Verb = Callable[..., None]
"""A command of the command line: prints for people, raises ``Seg2VidError`` for their mistakes."""

SHORT_NAMES = {"output": "-o"}


class _Parser(argparse.ArgumentParser):
    """Argparse that raises one line instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise ``Seg2VidError`` with argparse's finding."""
        fix = f"see `{self.prog} --help`"
        raise Seg2VidError(f"the arguments of `{self.prog}`", got=message, fix=fix)

    def format_help(self) -> str:
        """Return argparse's text and, below it, the fields of the verb's configurations."""
        return super().format_help() + self.fields

    fields = ""


def call(name: str, verb: Verb, arguments: list[str]) -> None:
    """Call ``verb`` with what ``arguments`` say; raise ``Seg2VidError`` for what does not fit."""
    parameters = inspect.signature(verb).parameters.values()
    parser = _build(name, verb)
    rest: list[str] = []
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        values, rest = parser.parse_known_args(arguments)
    else:
        values = parser.parse_args(arguments)
    positional, named = [], {}
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        value = getattr(values, parameter.name)
        if isinstance(value, str):
            value = convert(value, parameter.annotation, _label(parameter))
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = value
        else:
            positional.append(value)
    verb(*positional, *rest, **named)


def build(
    kind: type[Configuration], options: Sequence[str], base: Configuration | None = None
) -> Configuration:
    """Build a configuration from ``--field value`` words; what they do not say is as in ``base``.

    The fields and their types are the dataclass's own, read by jsonargparse. Raises
    ``Seg2VidError`` for a word that is not a field, or a value of another type.
    """
    import jsonargparse

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, as_group=False)
    if base is not None:
        parser.set_defaults(vars(base))
    words = [re.sub(r"^--[\w-]+", lambda m: "--" + m[0][2:].replace("-", "_"), o) for o in options]
    try:
        return kind(**vars(parser.parse_args(words)))
    except jsonargparse.ArgumentError as error:
        got = str(error)
        fix = f"see --help for the fields of {kind.__name__}"
        raise Seg2VidError("known options with fitting values", got=got, fix=fix) from None


def build_all(bases: Sequence[Any], options: Sequence[str]) -> list[Any]:
    """Build several configurations from ``--field value`` words, each word for the one that has the
    field; what they do not say is as in ``bases``. A switch (a ``bool`` field) needs no value.

    Raises ``Seg2VidError`` as ``build`` does.
    """
    words: list[list[str]] = [[] for _ in bases]
    fields = [{field.name: field.type for field in dataclasses.fields(base)} for base in bases]
    for name, value in _pairs(options):
        owners = [number for number, own in enumerate(fields) if name in own]
        owner = owners[0] if owners else 0
        if value is None and fields[owner].get(name) in (bool, "bool"):
            value = "true"
        words[owner] += [f"--{name}", *([] if value is None else [value])]
    return [build(type(base), own, base) for base, own in zip(bases, words, strict=True)]


def split_dotted(options: Sequence[str], prefix: str) -> tuple[list[str], dict[str, Any]]:
    """Take ``--prefix.a.b value`` out of ``--field value`` words; return the others, and the taken
    ones as nested dictionaries of YAML values.
    """
    import yaml

    plain: list[str] = []
    nested: dict[str, Any] = {}
    for name, value in _pairs(options):
        if not name.startswith(f"{prefix}."):
            plain += [f"--{name}", *([] if value is None else [value])]
            continue
        *path, last = name.removeprefix(f"{prefix}.").split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = yaml.safe_load(value or "")
    return plain, nested


def _pairs(options: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield names, with underscores, and values of ``--name value`` and ``--name=value`` words."""
    waiting: str | None = None
    for word in options:
        if word.startswith("--"):
            if waiting is not None:
                yield waiting, None
            waiting, is_joined, value = word[2:].partition("=")
            waiting = waiting.replace("-", "_")
            if is_joined:
                yield waiting, value
                waiting = None
        elif waiting is not None:
            yield waiting, word
            waiting = None
        else:
            what, fix = "options as --name value", "see --help"
            raise Seg2VidError(what, got=word, fix=fix)
    if waiting is not None:
        yield waiting, None


def summary(verb: Verb) -> str:
    """Return the first line of a verb's docstring."""
    return (inspect.getdoc(verb) or "").partition("\n")[0]


def _label(parameter: inspect.Parameter) -> str:
    """Return the name a user knows: --first-frame, or LABELS."""
    if parameter.kind is parameter.KEYWORD_ONLY:
        return "--" + parameter.name.replace("_", "-")
    return parameter.name.upper()


def _build(name: str, verb: Verb) -> _Parser:
    """Build the parser of one verb; values stay text until ``convert``, whose errors speak."""
    text, _, _ = (inspect.getdoc(verb) or "").partition("\nArgs:\n")
    parser = _Parser(prog=f"seg2vid {name}", description=text, allow_abbrev=False)
    helps = _argument_helps(verb)
    for parameter in inspect.signature(verb).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            kinds = getattr(parameter.annotation, "__metadata__", ())
            parser.fields = "".join(_describe_fields(kind) for kind in kinds)
            continue
        label, default = _label(parameter), parameter.default
        help_text = helps.get(parameter.name, "").replace("%", "%%")
        if parameter.kind is not parameter.KEYWORD_ONLY:
            parser.add_argument(parameter.name, metavar=label, help=help_text)
            continue
        names = [label, *filter(None, [SHORT_NAMES.get(parameter.name)])]
        if parameter.annotation is bool:
            parser.add_argument(*names, action="store_true", help=help_text)
            continue
        is_list = typing.get_origin(_plain(parameter.annotation)) is list
        is_required = default is parameter.empty
        if not is_required and default not in (None, ()):
            help_text += f" (default: {default})"
        parser.add_argument(
            *names,
            dest=parameter.name,
            action="append" if is_list else "store",
            required=is_required,
            default=None if is_required else default,
            metavar=_metavar(parameter.annotation),
            help=help_text,
        )
    return parser


def _describe_fields(kind: type) -> str:
    """Return the fields of a configuration as lines of help: name, meaning, default."""
    helps = field_helps(kind)
    lines = [f"\nfields of {kind.__name__}:"]
    for field in dataclasses.fields(kind):
        text = f"{helps.get(field.name, '')} (default: {field.default!r})".strip()
        name = f"  --{field.name.replace('_', '-')}"
        broken = textwrap.wrap(text, 100, initial_indent=" " * 26, subsequent_indent=" " * 26)
        is_short = len(name) < 25
        lines += [name.ljust(26) + broken[0].strip(), *broken[1:]] if is_short else [name, *broken]
    return "\n".join(lines) + "\n"


def field_helps(kind: type) -> dict[str, str]:
    """Read what stands below each field of a dataclass (and of its bases) in its source."""
    helps: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = getattr(definition, "body", [])
        for field, text in itertools.pairwise(body):
            value = getattr(text, "value", None)
            if isinstance(field, ast.AnnAssign) and isinstance(value, ast.Constant):
                helps[ast.unparse(field.target)] = " ".join(str(value.value).split()).rstrip(".")
    return helps


def _argument_helps(verb: Verb) -> dict[str, str]:
    """Read the ``Args:`` section of a Google-style docstring."""
    _, _, section = (inspect.getdoc(verb) or "").partition("\nArgs:\n")
    section = section.partition("\n\n")[0]
    entries = re.split(r"^ {4}(\w+): ", section, flags=re.MULTILINE)[1:]
    pairs = zip(entries[::2], entries[1::2], strict=True)
    return {name: " ".join(text.split()).rstrip(".") for name, text in pairs}


def _plain(annotation: Any) -> Any:
    """Return X for ``X | None``."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return next(a for a in typing.get_args(annotation) if a is not type(None))
    return annotation


def _metavar(annotation: Any) -> str:
    kind = _plain(annotation)
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(map(str, typing.get_args(kind)))
    if kind == list[str]:
        return "PATH"
    if typing.get_origin(kind) is tuple:
        return "NAME,NAME" if typing.get_args(kind)[-1] is ... else "WIDTHxHEIGHT"
    return {int: "N", float: "X", Path: "PATH"}.get(kind, "NAME")


def convert(text: str, annotation: Any, label: str) -> Any:
    """Turn text into what ``annotation`` asks for; raise ``Seg2VidError`` that names ``label``."""
    kind = _plain(annotation)
    if typing.get_origin(kind) is typing.Literal:
        choices = [str(choice) for choice in typing.get_args(kind)]
        if text not in choices:
            what = f"one of {', '.join(choices)} for {label}"
            raise Seg2VidError(what, got=repr(text), fix="choose one of them")
        return text
    if typing.get_origin(kind) is tuple:
        if typing.get_args(kind)[-1] is ...:
            return tuple(word.strip() for word in text.split(",") if word.strip())
        if not (match := re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", text)):
            what = f"WIDTHxHEIGHT for {label}"
            raise Seg2VidError(what, got=repr(text), fix="write it like 256x128")
        return int(match[1]), int(match[2])
    if kind in (int, float):
        return _number(text, kind, label)
    return kind(text)


def _number(text: str, kind: type[int] | type[float], label: str) -> int | float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        what = f"a {'whole ' if kind is int else ''}number for {label}"
        raise Seg2VidError(what, got=repr(text), fix="write it in digits")
    return value
