"""Work in several processes or threads: the pools of the project, and what a worker needs."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")
Job = Callable[[threading.Event], list[str]]
"""Is told by the event to stop; returns lines for a person."""


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
    poll: Callable[[], object] = lambda: None,
    stopped: Callable[[list[int]], None] = lambda numbers: None,
) -> None:
    """Call ``function`` on every item in ``workers`` new processes, ``done`` here with each result.

    A process computes on ``threads`` threads of PyTorch (None: it does without) and first calls
    ``begin(*begin_with)``. ``poll`` is called here twice a second. After an error or Ctrl-C all
    processes are ended and ``stopped`` is told their numbers. Raises what ``function`` raises, and
    ``BrokenProcessPool`` where a process dies.
    """
    executor = ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(threads, begin, begin_with),
    )
    # Processes inherit the mask: Ctrl-C while they still import would make each print a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        try:
            waiting = {executor.submit(function, item): item for item in items}
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while waiting:
            finished, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            poll()
            for future in finished:
                done(waiting.pop(future), future.result())
    except BaseException:
        processes = multiprocessing.active_children()
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        stopped([process.pid for process in processes if process.pid is not None])
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


def _begin_worker(
    threads: int | None, begin: Callable[..., None] | None, begin_with: tuple[Any, ...]
) -> None:
    """Leave Ctrl-C to the main process, end at once by SIGTERM, and with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
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
