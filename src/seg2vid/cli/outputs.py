"""What may be written: nothing over an input or another output, nothing unasked over a file."""

import os
import sys
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from seg2vid.media.pictures import FORMATS
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import check_place, remove_strays


def check_apart(outputs: Sequence[Path], inputs: Iterable[str | Path | None]) -> None:
    """Raise ``MediaError`` where an output is, or as a folder holds, an input or another output."""
    for output in outputs:
        for read in (Path(one) for one in inputs if one is not None):
            if _is_within(read, output):
                holds = "" if _is_within(output, read) else f", which holds {read}"
                what, fix = "an output that is not an input", "choose another name"
                raise MediaError(what, got=f"{output}{holds}, which is read", fix=fix)
    for one, other in combinations(outputs, 2):
        if _is_within(one, other) or _is_within(other, one):
            inner, outer = (one, other) if _is_within(one, other) else (other, one)
            got = f"{inner} twice" if _is_within(outer, inner) else f"{inner} within {outer}"
            what, fix = "a place of its own for each output", "choose another name"
            raise MediaError(what, got=got, fix=fix)


def _is_within(inner: Path, outer: Path) -> bool:
    # Path.resolve raises where links lead round in a circle.
    if Path(os.path.realpath(inner)).is_relative_to(os.path.realpath(outer)):
        return True
    return inner.exists() and outer.exists() and inner.samefile(outer)


def check_picture_place(path: Path, *, endings: Iterable[str] = FORMATS) -> None:
    """Raise ``MediaError`` for a picture of another ending, or where it cannot be written."""
    if path.suffix.lower() not in endings:
        what, got = f"a picture ending in {', '.join(endings)}", repr(path.name)
        raise MediaError(what, got=got, fix="change the ending")
    check_place(path)


def check_replaced(outputs: Iterable[Path], *, overwrite: bool) -> None:
    """Raise ``MediaError`` for files that exist, unless ``overwrite`` or a person allows it.

    Folders are not asked about: only one that seg2vid wrote is ever replaced (``check_place``).
    """
    for path in (outputs := list(outputs)):
        remove_strays(path)
    found = [path for path in outputs if os.path.lexists(path) and not path.is_dir()]
    if overwrite or not found:
        return
    names = ", ".join(map(str, found))
    plural = "" if len(found) > 1 else "s"
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        print(f"{names} exist{plural}. Replace? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in {"y", "yes"}:
            return
    fix = "add --overwrite to replace, or choose another name"
    raise MediaError("new files to write", got=f"{names}, which exist{plural}", fix=fix)
