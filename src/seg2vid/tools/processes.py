"""Work in several processes: the one pool of the project, and what every worker process needs."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any, TypeVar

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")


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
