"""Work in several processes or threads: the pools of the project, and what a worker needs."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from seg2vid.tools.errors import Seg2VidError

Item = TypeVar("Item")
Result = TypeVar("Result")
Job = Callable[[threading.Event], list[str]]
"""Stops when the event is set; returns lines for a person."""

SHARED: dict[str, Any] = {}
"""What a worker shares with the main process: ``ticks`` and what was ``begun``."""


class WorkerDied(Seg2VidError):
    """A worker ended before its work: a crash, too little memory, or somebody ended it.

    ``at_work`` are the items that were begun and not finished; ``has_begun`` says whether any was.
    """

    def __init__(self, at_work: Sequence[Any], *, has_begun: bool) -> None:
        what, got, fix = "processes that can start", "one that ended before its work", "see above, "
        if has_begun:
            what, got, fix = "processes that live", "one that ended", ""
        fix += "run the same command with --workers 1: less memory"
        super().__init__(what, got=got, fix=fix)
        self.at_work, self.has_begun = list(at_work), has_begun


def available_cores() -> int:
    """Return the processor cores that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def work_in_processes(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    done: Callable[[Item, Result], object],
    threads: int | None = None,
    begin: Callable[..., None] | None = None,
    begin_with: tuple[Any, ...] = (),
    poll: Callable[[int], object] = lambda ticks: None,
    stopped: Callable[[list[int]], None] = lambda numbers: None,
) -> None:
    """Call ``function`` on every item in ``workers`` new processes, ``done`` here with each result.

    A process computes on ``threads`` threads of PyTorch (None: it does without) and first calls
    ``begin(*begin_with)``. ``poll`` is called here twice a second with how often all of them have
    called ``tick``. After an error or Ctrl-C all processes are ended and ``stopped`` is told their
    numbers. Raises what ``function`` raises, and ``WorkerDied`` where a process dies.
    """
    items, context = list(items), multiprocessing.get_context("spawn")
    shared: dict[str, Any] = {
        "ticks": context.Value("q", 0),
        "begun": context.Array("b", max(1, len(items))),
    }
    begun = shared["begun"]
    executor = ProcessPoolExecutor(
        workers, context, initializer=_begin_worker, initargs=(shared, threads, begin, begin_with)
    )
    # Processes inherit the mask: Ctrl-C while they still import would make each print a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        try:
            waiting = {
                executor.submit(_do, function, number, item): number
                for number, item in enumerate(items)
            }
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while waiting:
            finished, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            poll(shared["ticks"].value)
            for future in finished:
                result = future.result()
                done(items[waiting.pop(future)], result)
    except BaseException as error:
        processes = multiprocessing.active_children()
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        stopped([process.pid for process in processes if process.pid is not None])
        if isinstance(error, BrokenProcessPool):
            at_work = [items[number] for number in waiting.values() if begun[number]]
            raise WorkerDied(at_work, has_begun=any(begun)) from None
        raise
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def in_order(workers: int) -> Iterator[Callable[..., Iterator[str]]]:
    """Give a function that takes a job and yields the lines of earlier ones, in their order.

    Up to ``workers`` jobs are worked on, each in a thread; without a job it waits for all. Jobs are
    told to stop after an error of another or Ctrl-C. One worker works in the caller's thread.
    """
    stopped, waiting = threading.Event(), deque[Future[list[str]]]()

    def work(job: Job | None = None) -> Iterator[str]:
        if job is not None and workers == 1:
            yield from job(stopped)
        elif job is not None:
            waiting.append(pool.submit(job, stopped))
        while waiting and (job is None or len(waiting) > workers or waiting[0].done()):
            yield from waiting.popleft().result()

    with ThreadPoolExecutor(workers) as pool:
        try:
            yield work
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def tick() -> None:
    """Tell the main process, from within a worker, that a step of an item is done."""
    if (ticks := SHARED.get("ticks")) is not None:
        with ticks.get_lock():
            ticks.value += 1


def _do(function: Callable[[Item], Result], number: int, item: Item) -> Result:
    SHARED["begun"][number] = 1
    return function(item)


def _begin_worker(
    shared: dict[str, Any],
    threads: int | None,
    begin: Callable[..., None] | None,
    begin_with: tuple[Any, ...],
) -> None:
    """Leave Ctrl-C to the main process, end at once by SIGTERM, and with the parent."""
    SHARED.update(shared)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_up(threads, begin, begin_with)


def set_up(
    threads: int | None, begin: Callable[..., None] | None, begin_with: tuple[Any, ...]
) -> None:
    """Make a worker ready, as ``work_in_processes`` tells."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    if begin is not None:
        begin(*begin_with)


def _end_with_parent() -> None:
    """End this process when the main one was killed: nobody waits for its work any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
