"""The processes that make clips: all cores, one thread each, and no crash ends the run."""

import shutil
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tqdm import tqdm

from seg2vid.data.annotated.clip import make_part, tell
from seg2vid.data.annotated.plan import Job
from seg2vid.pipeline import Seg2VidPipeline
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
    total = len(left)
    with tqdm(total=total, unit="clip", disable=None, file=sys.stderr) as bar:
        while left and not _survives(job, left, workers, bar):
            begun = [one for one in job.left(left) if job.part(one).with_suffix("").is_dir()]
            if not begun:
                what, fix = "processes that can start", "take fewer --workers"
                raise Seg2VidError(what, got="one that ended before its work", fix=fix)
            for number in begun:
                if not _survives(job, [number], 1, bar) and job.left([number]):
                    path = job.maps[number % len(job.maps)]
                    error = f"{path}: the process that made it ended, twice"
                    facts = {"name": f"{number:06d}", "number": number, "error": error}
                    tell(job, facts | {"split": job.splits[path.name], "label_map": path.name})
            left = job.left(left)
            bar.update(total - len(left) - bar.n)


def _survives(job: Job, numbers: Sequence[int], workers: int, bar: Any) -> bool:
    """Make clips; say whether every process lived on."""
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
        return False
    return True


def _set_up(job: Job) -> None:
    _STATE.update(job=job, pipe=Seg2VidPipeline.from_pretrained(job.model))


def _work_on(number: int) -> None:
    make_part(_STATE["job"], _STATE["pipe"], number)
