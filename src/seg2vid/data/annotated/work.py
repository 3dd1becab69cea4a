"""The processes that make clips: all cores, one thread each, and no crash ends the run."""

import shutil
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from tqdm import tqdm

from seg2vid.data.annotated.clip import make_part, tell
from seg2vid.data.annotated.plan import Job, load_model
from seg2vid.data.shares import work_through
from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.processes import work_in_processes

_STATE: dict[str, Any] = {}


def work(job: Job, left: Sequence[int], workers: int) -> None:
    """Make clips in ``workers`` processes, with a progress bar.

    One that brings a process down is tried once more alone and then reported; the others go on.
    Raises ``Seg2VidError`` where no process starts.
    """
    for number in left:
        shutil.rmtree(job.part(number).with_suffix(""), ignore_errors=True)
    with tqdm(total=len(left), unit="clip", disable=None, file=sys.stderr) as bar:
        work_through(
            list(left),
            workers,
            attempt=partial(_in_processes, job, bar),
            is_done=lambda number: not job.left([number]),
            give_up=partial(_give_up, job),
        )


def _give_up(job: Job, number: int) -> None:
    path = job.maps[number % len(job.maps)]
    error = f"{path}: the process that made it ended, twice"
    facts = {"name": f"{number:06d}", "number": number, "error": error}
    tell(job, facts | {"split": job.splits[path.name], "label_map": path.name})


def _in_processes(job: Job, bar: Any, numbers: Sequence[int], workers: int) -> list[int]:
    """Make clips; return those that were begun and not finished when a process died."""
    try:
        work_in_processes(
            _work_on,
            numbers,
            workers=min(workers, len(numbers)),
            done=lambda *_: bar.update(),
            threads=1,
            begin=_set_up,
            begin_with=(job,),
        )
    except BrokenProcessPool:
        left = job.left(numbers)
        begun = [number for number in left if job.part(number).with_suffix("").is_dir()]
        if not begun and len(left) == len(numbers):
            what, fix = "processes that can start", "take fewer --workers"
            raise Seg2VidError(what, got="one that ended before its work", fix=fix) from None
        return begun
    return []


def _set_up(job: Job) -> None:
    _STATE.update(job=job, pipe=load_model(job.model, job.options))


def _work_on(number: int) -> None:
    make_part(_STATE["job"], _STATE["pipe"], number)
