"""How a dataset is made part by part, by one job or several at once, that may stop and go on."""

import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import partial_files, replacing, sharing
from seg2vid.tools.plain import read_plain
from seg2vid.tools.processes import WorkerDied

PARTS, SETTINGS = "parts", "settings.json"
"""The folder of the parts while a dataset is made, and the settings that it was begun with."""
MAY_DIFFER = {"command", "version"}
"""Settings that need not be the same when the work goes on."""


def check_same(settings: Mapping[str, Any], before: Any) -> None:
    """Raise ``MediaError`` where a dataset was begun with other settings."""
    plain = json.loads(json.dumps(settings))
    before = before if isinstance(before, dict) else {}
    changed = sorted(name for name in plain.keys() - MAY_DIFFER if plain[name] != before.get(name))
    if changed:
        what, got = "the settings that the dataset was begun with", f"other {', '.join(changed)}"
        fix = "use the same to go on, or another output folder"
        raise MediaError(what, got=got, fix=fix)


@contextmanager
def claimed(output: Path, settings: Mapping[str, Any], share: tuple[int, int]) -> Iterator[None]:
    """Hold the parts of a dataset while doing a share of it; remove what killed jobs left.

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
        for leftover in (*partial_files(parts), *partial_files(output)):
            # Another job's file is younger, or gone by now; what a killed one left is not touched.
            with suppress(FileNotFoundError):
                if share == (1, 1) or time.time() - leftover.stat().st_mtime > 3600:
                    leftover.unlink()
        yield


def work_through(
    left: list[int],
    workers: int,
    *,
    attempt: Callable[[list[int], int], None],
    is_done: Callable[[int], bool],
    give_up: Callable[[int], None],
) -> None:
    """Make parts in ``workers`` processes, whatever becomes of these.

    ``attempt`` makes parts in so many processes and raises ``WorkerDied`` where one died; what was
    begun and not finished is tried once more alone, then given up. Raises it where none starts, and
    ``MediaError`` where parts do not appear that were made.
    """

    def lost(numbers: Sequence[int], workers: int) -> list[int]:
        try:
            attempt(list(numbers), workers)
        except WorkerDied as death:
            if not death.has_begun:
                raise
            return [number for number in death.at_work if not is_done(number)]
        if not all(map(is_done, numbers)):
            what, fix = "one output folder for all machines", "share it among them"
            raise MediaError(what, got="parts that were made elsewhere", fix=fix)
        return []

    while left:
        for number in lost(left, workers):
            if lost([number], 1):
                give_up(number)
        left = [number for number in left if not is_done(number)]


def check_shared(parts: Path) -> None:
    """Raise ``MediaError`` where a worker does not see the folder of the parts."""
    if not parts.is_dir():
        what, fix = f"the folder {parts} on all machines", "share it among them"
        raise MediaError(what, got=f"none on {platform.node()}", fix=fix)


def remove_parts(output: Path) -> None:
    """Delete what is needed no longer when the dataset is made."""
    shutil.rmtree(output / PARTS, ignore_errors=True)
    (output / SETTINGS).unlink(missing_ok=True)
