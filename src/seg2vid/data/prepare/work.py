"""The processes that prepare recordings: all cores, a progress bar, and no crash ends the run."""

import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from tqdm import tqdm

from seg2vid.data.prepare.part import PartFigures, prepare_recording
from seg2vid.data.prepare.plan import Plan, load_teachers
from seg2vid.data.recordings.recording import Recording
from seg2vid.data.shares import work_through
from seg2vid.tools.errors import Seg2VidError, expected
from seg2vid.tools.processes import available_cores, work_in_processes

_STATE: dict[str, Any] = {}


def _set_up(plan: Plan, counter: Any, begun: Any) -> None:
    """Load the teachers once in each process."""
    _STATE.update(plan=plan, counter=counter, begun=begun, teachers=load_teachers(plan))


def _work_on(number: int) -> None:
    plan, teachers = _STATE["plan"], _STATE["teachers"]
    _STATE["begun"][number] = 1

    def seen() -> None:
        with _STATE["counter"].get_lock():
            _STATE["counter"].value += 1

    prepare_recording(plan.recordings[number], plan.options.clip, teachers, plan.parts, seen)


def work(plan: Plan, recordings: Sequence[Recording], workers: int) -> None:
    """Prepare recordings in ``workers`` processes, with a progress bar over their frames.

    A recording that brings a process down (a decoder's crash, memory) is tried once more alone and
    then reported as unreadable; the others go on. Raises ``Seg2VidError`` where no process starts.
    """
    names = [recording.name for recording in plan.recordings]
    left = [names.index(recording.name) for recording in recordings]
    total = sum(plan.frames[recording.name] for recording in recordings)
    with tqdm(total=total, unit="frame", disable=None, file=sys.stderr) as bar:
        work_through(
            left,
            workers,
            attempt=partial(_in_processes, plan, bar),
            is_done=lambda number: plan.is_done(plan.recordings[number]),
            give_up=partial(_give_up, plan),
        )


def _give_up(plan: Plan, number: int) -> None:
    recording, figures = plan.recordings[number], PartFigures.of(plan.space)
    what = f"a recording that can be decoded at {recording.source}"
    fix = "decode it with another tool and give frames"
    figures.error = expected(what, got="a crash", fix=fix)
    figures.write(plan.parts, recording)


def _in_processes(plan: Plan, bar: Any, numbers: Sequence[int], workers: int) -> list[int]:
    """Prepare recordings; return those that were begun and not finished when a process died.

    If one did, all others are then left too.
    """
    context = multiprocessing.get_context("spawn")
    counter, begun = context.Value("q", 0), context.Array("b", len(plan.recordings))
    shown = bar.n

    def remove_partial_files(processes: list[int]) -> None:
        for number in processes:
            for leftover in plan.parts.glob(f".*.{number}.partial*"):
                leftover.unlink(missing_ok=True)

    try:
        work_in_processes(
            _work_on,
            numbers,
            workers=workers,
            done=lambda number, nothing: None,
            threads=max(1, available_cores() // workers),
            begin=_set_up,
            begin_with=(plan, counter, begun),
            poll=lambda: bar.update(shown + counter.value - bar.n),
            stopped=remove_partial_files,
        )
    except BrokenProcessPool:
        if not any(begun[number] for number in numbers):
            what, fix = "processes that can start", "see above; --workers 1 needs the least memory"
            raise Seg2VidError(what, got="one that ended before its work", fix=fix) from None
        return [n for n in numbers if begun[n] and not plan.is_done(plan.recordings[n])]
    return []
