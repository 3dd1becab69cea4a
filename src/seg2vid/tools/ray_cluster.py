"""Work on a Ray cluster, as ``processes.work_in_processes`` does it here.

Every worker is an actor that is given one item at a time, so it is known what a dead one was at.
"""

import logging
import math
import multiprocessing
import os
import platform
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seg2vid import __version__
from seg2vid.tools.environment import import_extra
from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.processes import SHARED, Item, Result, WorkerDied, available_cores, set_up

TIME_TO_START = {"RAY_raylet_start_wait_time_s": "120"}
"""A busy machine needs more than Ray's own limit; what a user sets counts."""
LEAST_STORE = 80_000_000
"""Bytes of memory for objects that a cluster of our own sets aside: hardly any travel."""
BESIDE = "beside"
"""The queue of calls that are answered beside the work."""
PATIENCE = 10.0
"""Seconds that workers have to end."""


class _Worker:
    """Works in a process of the cluster; ``ticks`` and ``end`` are answered beside the work."""

    def begin(self, home: Path, version: str, wishes: dict[str, str], *how: Any) -> int:
        """Make ready as in the main process; return the number of this one."""
        host = platform.node()
        if version != __version__:
            what, fix = f"seg2vid {version} on all machines of the cluster", "install it there"
            raise Seg2VidError(what, got=f"{__version__} on {host}", fix=fix)
        try:
            os.chdir(home)
        except OSError:
            what, fix = f"the folder {home} on all machines of the cluster", "share it"
            raise Seg2VidError(what, got=f"none on {host}", fix=fix) from None
        os.environ.update(wishes)
        SHARED["ticks"] = multiprocessing.Value("q", 0)
        set_up(*how)
        return os.getpid()

    def do(self, function: Callable[[Item], Result], item: Item) -> tuple[Result, int]:
        return function(item), self.ticks()

    def ticks(self) -> int:
        return SHARED["ticks"].value if SHARED else 0

    def end(self) -> None:
        os._exit(1)


class _Crew:
    """The workers of one piece of work, and what each of them is at."""

    def __init__(
        self,
        ray: Any,
        hire: Callable[[], Any],
        how: tuple[Any, ...],
        function: Callable[[Any], Any],
        items: Iterable[Any],
        done: Callable[[Any, Any], object],
    ) -> None:
        self._ray, self._errors = ray, ray.exceptions
        self._hire, self._how, self._function, self._done = hire, how, function, done
        self.left, self.died, self.has_begun = deque(items), list[Any](), False
        self.workers: list[Any] = []
        self.numbers: dict[Any, int] = {}
        """Of the processes of workers that have begun."""
        self._waiting: dict[Any, tuple[Any, tuple[Any, ...]]] = {}
        """Worker and item, by the answer that is waited for; without an item it begins."""
        self._asked: dict[Any, Any] = {}
        self._ticks: Counter[Any] = Counter()

    def work(self, workers: int, poll: Callable[[int], object]) -> None:
        """Do all items; raise ``WorkerDied`` afterwards if a worker did."""
        for _ in range(min(workers, len(self.left))):
            self._take_on()
        while self.left or any(given for _, given in self._waiting.values()):
            answers, _ = self._ray.wait(list(self._waiting), timeout=0.5)
            poll(self._count())
            for answer in answers:
                self._take(answer)
        poll(self._ticks.total())
        if self.died:
            raise WorkerDied(self.died, has_begun=True)

    def end(self) -> None:
        """Let the workers end at once, and wait for it."""
        with suppress(Exception):
            ends = [one.end.options(concurrency_group=BESIDE).remote() for one in self.numbers]
            self._ray.wait(ends, num_returns=len(ends), timeout=PATIENCE)

    def dismiss(self) -> None:
        """Give the processes back to the cluster."""
        with suppress(Exception):
            for worker in self.workers:
                self._ray.kill(worker)

    def _take_on(self) -> None:
        worker = self._hire()
        self.workers.append(worker)
        self._waiting[worker.begin.remote(*self._how)] = (worker, ())
        self._ask(worker)

    def _take(self, answer: Any) -> None:
        """Note what a worker has done, or that it died, and find more for it to do."""
        worker, given = self._waiting.pop(answer)
        try:
            result = self._ray.get(answer)
        except self._errors.RayTaskError as error:
            raise error.cause from None
        except self._errors.RayError:
            self._ray.kill(worker)
            self.died += given
            if self.left and given:
                self._take_on()
            elif self.left and not self._waiting:
                raise WorkerDied(self.died, has_begun=self.has_begun) from None
            return
        if given:
            result, self._ticks[worker] = result
            self._done(given[0], result)
        else:
            self.numbers[worker] = result
        if self.left:
            self.has_begun, item = True, self.left.popleft()
            self._waiting[worker.do.remote(self._function, item)] = (worker, (item,))

    def _ask(self, worker: Any) -> None:
        self._asked[worker.ticks.options(concurrency_group=BESIDE).remote()] = worker

    def _count(self) -> int:
        """Return the ticks of all workers, as far as they have told."""
        asked = self._asked
        for answer in self._ray.wait(list(asked), num_returns=len(asked), timeout=0)[0]:
            worker = asked.pop(answer)
            with suppress(self._errors.RayError):  # a dead one is not asked again
                self._ticks[worker] = max(self._ticks[worker], self._ray.get(answer))
                self._ask(worker)
        return self._ticks.total()


class RayCluster:
    """A cluster of others by its address, or one of our own, started when it is first needed."""

    def __init__(self, address: str | None, *, on_gpus: bool) -> None:
        """Without an address RAY_ADDRESS counts; ``on_gpus`` gives each worker a share of one.

        Raises ``Seg2VidError`` without the extra ``scale``.
        """
        # Before Ray is imported, or it reports to its makers.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        for name, text in TIME_TO_START.items():
            os.environ.setdefault(name, text)
        self._ray = import_extra("ray", "scale")
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self._on_gpus = on_gpus
        self._is_ours = False

    def cores(self) -> int:
        """Return how many workers there are unless told."""
        if self._address is None:
            return available_cores()
        self._connect(0)
        return max(1, int(self._ray.cluster_resources().get("CPU", 0)))

    def threads(self, workers: int) -> int:
        """Return how many threads each of so many workers has: it takes one processor core."""
        return 1

    def work(
        self,
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
        """Do as ``work_in_processes`` does.

        Where a worker dies, another takes its place and all other items are done before
        ``WorkerDied`` is raised.
        """
        self._connect(workers)
        share = {"num_cpus": 1, "num_gpus": self._share_of_gpu(workers)}
        kind = self._ray.remote(max_restarts=0, concurrency_groups={BESIDE: 1}, **share)(_Worker)
        wishes = {name: text for name, text in os.environ.items() if name.startswith("SEG2VID_")}
        how = (Path.cwd(), __version__, wishes, threads, begin, begin_with)
        crew = _Crew(self._ray, lambda: kind.remote(), how, function, items, done)
        try:
            crew.work(workers, poll)
        except BaseException:
            crew.end()
            stopped(list(crew.numbers.values()))
            raise
        finally:
            crew.dismiss()

    def close(self) -> None:
        """Let go of the cluster, and end one of our own."""
        if self._is_ours:
            self._ray.shutdown()

    def _connect(self, workers: int) -> None:
        if self._ray.is_initialized():
            return
        self._is_ours, fix = True, "start it; one with a token needs RAY_AUTH_MODE=token"
        logging.getLogger("ray").setLevel(logging.ERROR)
        how: dict[str, Any] = {"address": self._address}
        if self._address is None:
            fix = "run the same command again: what is done stays done"
            how = {"address": "local", "num_cpus": workers, "object_store_memory": LEAST_STORE}
            how |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        try:
            with _own_signals():
                self._ray.init(logging_level=logging.ERROR, log_to_driver=False, **how)
        except Exception as error:
            what = f"a Ray cluster at {self._address or 'this machine'}"
            lines = str(error).splitlines() or [type(error).__name__]
            raise Seg2VidError(what, got=lines[0], fix=fix) from None

    def _share_of_gpu(self, workers: int) -> float:
        if not self._on_gpus:
            return 0.0
        if not (gpus := int(self._ray.cluster_resources().get("GPU", 0))):
            what, fix = "a Ray cluster with GPUs, as here", "use --device cpu"
            raise Seg2VidError(what, got="one without", fix=fix)
        return 1 / math.ceil(workers / gpus)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray replaces by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
