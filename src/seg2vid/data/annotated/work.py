"""Clips are made in processes: all cores, one thread each, and no crash ends the run."""

import shutil
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from tqdm import tqdm

from seg2vid.data.annotated.clip import make_part, tell
from seg2vid.data.annotated.plan import Job, load_model
from seg2vid.data.shares import check_shared, work_through
from seg2vid.tools.engines import Engine

_STATE: dict[str, Any] = {}


def work(job: Job, left: Sequence[int], workers: int, engine: Engine) -> None:
    """Make clips in ``workers`` processes of an engine, with a progress bar.

    One that brings a process down is tried once more alone and then reported; the others go on.
    Raises ``Seg2VidError`` where no process starts.
    """
    for number in left:
        shutil.rmtree(job.part(number).with_suffix(""), ignore_errors=True)
    with tqdm(total=len(left), unit="clip", disable=None, file=sys.stderr) as bar:
        work_through(
            list(left),
            workers,
            attempt=partial(_make, job, engine, bar),
            is_done=lambda number: not job.left([number]),
            give_up=partial(_give_up, job),
        )


def _give_up(job: Job, number: int) -> None:
    path = job.maps[number % len(job.maps)]
    error = f"{path}: the process that made it ended, twice"
    facts = {"name": f"{number:06d}", "number": number, "error": error}
    tell(job, facts | {"split": job.splits[path.name], "label_map": path.name})


def _make(job: Job, engine: Engine, bar: Any, numbers: Sequence[int], workers: int) -> None:
    engine.work(
        _work_on,
        numbers,
        workers=min(workers, len(numbers)),
        done=lambda *_: bar.update(),
        threads=1,
        begin=_set_up,
        begin_with=(job,),
    )


def _set_up(job: Job) -> None:
    check_shared(job.parts)
    _STATE.update(job=job, pipe=load_model(job.model, job.options))


def _work_on(number: int) -> None:
    make_part(_STATE["job"], _STATE["pipe"], number)
