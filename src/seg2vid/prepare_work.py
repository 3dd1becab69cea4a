"""The processes that prepare recordings: all cores, a progress bar, and no crash ends the run."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch
from tqdm import tqdm

from seg2vid.data.preparation import Teachers, prepare_recording, write_unreadable
from seg2vid.errors import expected
from seg2vid.labels import LabelSpace
from seg2vid.prepare_plan import Job, Plan, load_teachers

_STATE: dict[str, Any] = {}


def _set_up(plan: Plan, counter: Any, threads: int) -> None:
    """Load the teachers once in each process; Ctrl-C is left to the main one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _STATE.update(plan=plan, counter=counter, teachers=load_teachers(plan))


def _end_with_parent() -> None:
    """End this process when the main one was killed: nobody waits for its work any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work_on(number: int) -> None:
    """Prepare one recording."""
    plan: Plan = _STATE["plan"]
    job = plan.jobs[number]

    def seen(count: int) -> None:
        with _STATE["counter"].get_lock():
            _STATE["counter"].value += count

    prepare_recording(
        job.recording,
        plan.options.clip,
        _STATE["teachers"],
        plan.parts,
        rate=job.rate,
        seen=seen,
    )


def work(plan: Plan, jobs: Sequence[Job], workers: int) -> None:
    """Prepare recordings in ``workers`` processes, with a progress bar over their frames.

    A recording that brings a process down (a decoder's crash, memory) is tried once more alone and
    then reported as unreadable.
    """
    numbers = {job.recording.name: number for number, job in enumerate(plan.jobs)}
    left = [numbers[job.recording.name] for job in jobs]
    total = sum(job.frames for job in jobs)
    with tqdm(total=total, unit="frame", disable=None, file=sys.stderr) as bar:
        crashed = _in_processes(plan, left, workers, bar)
        for number in crashed:
            if _in_processes(plan, [number], 1, bar):
                _report_crash(plan, plan.jobs[number])


def _in_processes(plan: Plan, numbers: Sequence[int], workers: int, bar: Any) -> list[int]:
    """Prepare recordings; return those that were not finished when a process died."""
    if not numbers:
        return []
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    executor = ProcessPoolExecutor(
        workers, context, initializer=_set_up, initargs=(plan, counter, threads)
    )
    waiting = {executor.submit(_work_on, number): number for number in numbers}
    shown = 0
    try:
        while waiting:
            done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            bar.update(counter.value - shown)
            shown = counter.value
            for future in done:
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    return [n for n in waiting.values() if not plan.is_done(plan.jobs[n])]
                if error is not None:
                    raise error
                del waiting[future]
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)
    return []


def _report_crash(plan: Plan, job: Job) -> None:
    """Write the part of a recording that no process survives: no clips, but a reason."""
    teachers = Teachers(LabelSpace.from_dict(plan.space))
    what, got = f"a recording that can be decoded at {job.recording.source}", "a crash"
    write_unreadable(
        job.recording,
        teachers,
        plan.parts,
        error=expected(what, got=got, fix="decode it with another tool and give frames"),
        rate=job.rate,
    )
