"""How a dataset is made part by part, by one job or several at once, that may stop and go on."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import replacing, sharing
from seg2vid.tools.plain import read_plain

PARTS, SETTINGS = "parts", "settings.json"
"""The folder of the parts while a dataset is made, and the settings that it was begun with."""
UNTOLD = {"command", "version"}
"""Settings that may be others when the work goes on."""


def check_same(settings: Mapping[str, Any], before: Any) -> None:
    """Raise ``MediaError`` where a dataset was begun with others."""
    plain = json.loads(json.dumps(settings))
    before = before if isinstance(before, dict) else {}
    changed = sorted(name for name in plain.keys() - UNTOLD if plain[name] != before.get(name))
    if changed:
        what, got = "the settings that the dataset was begun with", f"other {', '.join(changed)}"
        fix = "use the same to go on, or another output folder"
        raise MediaError(what, got=got, fix=fix)


@contextmanager
def claimed(output: Path, settings: Mapping[str, Any], share: tuple[int, int]) -> Iterator[None]:
    """Hold the parts of a dataset while doing a share of it, and what killed jobs left is removed.

    Raises ``MediaError`` for a place that cannot be written and for other settings than before,
    ``Seg2VidError`` where another job is at this share.
    """
    parts, path = output / PARTS, output / SETTINGS
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what, got = f"a folder that can be written at {output}", str(error)
        raise MediaError(what, got=got, fix="choose another place") from None
    with sharing(parts, share):
        if path.is_file():
            check_same(settings, read_plain(path, "settings", error=MediaError))
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(settings, indent=1, sort_keys=True), "utf-8")
        for leftover in chain(parts.glob(".*.partial*"), output.glob(".*.partial*")):
            # Another job's file is younger, or gone by now; what a killed one left is not touched.
            with suppress(FileNotFoundError):
                if share == (1, 1) or time.time() - leftover.stat().st_mtime > 3600:
                    leftover.unlink()
        yield


def work_through(
    left: list[int],
    workers: int,
    *,
    attempt: Callable[[list[int], int], list[int]],
    is_done: Callable[[int], bool],
    give_up: Callable[[int], None],
) -> None:
    """Make parts in ``workers`` processes, whatever becomes of these.

    ``attempt`` makes parts in so many processes and returns, where one died, those that were begun
    and not finished; then others are left too. Each is tried once more alone, then given up.
    """
    while left:
        for number in attempt(left, workers):
            if attempt([number], 1):
                give_up(number)
        left = [number for number in left if not is_done(number)]


def remove_parts(output: Path) -> None:
    """Delete what is needed no longer when the dataset is made."""
    shutil.rmtree(output / PARTS, ignore_errors=True)
    (output / SETTINGS).unlink(missing_ok=True)
