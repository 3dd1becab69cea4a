"""Recordings are prepared in processes: all cores, a progress bar, and no crash ends the run."""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from tqdm import tqdm

from seg2vid.data.prepare.part import PartFigures, prepare_recording
from seg2vid.data.prepare.plan import Plan, load_teachers
from seg2vid.data.recordings.recording import Recording
from seg2vid.data.shares import check_shared, work_through
from seg2vid.tools.engines import Engine
from seg2vid.tools.errors import expected
from seg2vid.tools.processes import tick

_STATE: dict[str, Any] = {}


def _set_up(plan: Plan) -> None:
    """Load the teachers once in each process."""
    check_shared(plan.parts)
    _STATE.update(plan=plan, teachers=load_teachers(plan))


def _work_on(number: int) -> None:
    plan, teachers = _STATE["plan"], _STATE["teachers"]
    prepare_recording(plan.recordings[number], plan.options.clip, teachers, plan.parts, tick)


def work(plan: Plan, recordings: Sequence[Recording], workers: int, engine: Engine) -> None:
    """Prepare recordings in ``workers`` processes of an engine, with a bar over their frames.

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
            attempt=partial(_prepare, plan, engine, bar),
            is_done=lambda number: plan.is_done(plan.recordings[number]),
            give_up=partial(_give_up, plan),
        )


def _give_up(plan: Plan, number: int) -> None:
    recording, figures = plan.recordings[number], PartFigures.of(plan.space)
    what = f"a recording that can be decoded at {recording.source}"
    fix = "decode it with another tool and give frames"
    figures.error = expected(what, got="a crash", fix=fix)
    figures.write(plan.parts, recording)


def _prepare(plan: Plan, engine: Engine, bar: Any, numbers: Sequence[int], workers: int) -> None:
    shown = bar.n

    def remove_partial_files(processes: list[int]) -> None:
        for number in processes:
            for leftover in plan.parts.glob(f".*.{number}.partial*"):
                leftover.unlink(missing_ok=True)

    engine.work(
        _work_on,
        numbers,
        workers=workers,
        done=lambda number, nothing: None,
        threads=engine.threads(workers),
        begin=_set_up,
        begin_with=(plan,),
        poll=lambda frames: bar.update(shown + frames - bar.n),
        stopped=remove_partial_files,
    )
