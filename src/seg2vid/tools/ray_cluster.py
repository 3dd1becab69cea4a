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

LEAST_STORE = 80_000_000
"""Bytes of memory for objects that a cluster of our own sets aside: hardly any travel."""
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


class RayCluster:
    """A cluster of others by its address, or one of our own, started when it is first needed."""

    def __init__(self, address: str | None, *, on_gpus: bool) -> None:
        """Without an address RAY_ADDRESS counts; ``on_gpus`` gives each worker a share of one.

        Raises ``Seg2VidError`` without the extra ``scale``.
        """
        # Before Ray is imported: it reports to its makers else.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
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
        ray, errors = self._ray, self._ray.exceptions
        share = {"num_cpus": 1, "num_gpus": self._share_of_gpu(workers)}
        kind = ray.remote(max_restarts=0, concurrency_groups={"beside": 1}, **share)(_Worker)
        home, wishes = Path.cwd(), {k: v for k, v in os.environ.items() if k.startswith("SEG2VID_")}
        left, died, has_begun = deque(items), [], False
        waiting: dict[Any, tuple[Any, tuple[Item, ...]]] = {}
        counts: Counter[Any] = Counter()
        asked: dict[Any, Any] = {}
        numbers: dict[Any, int] = {}

        def hire() -> None:
            worker = kind.remote()
            first = worker.begin.remote(home, __version__, wishes, threads, begin, begin_with)
            waiting[first] = (worker, ())
            ask(worker)

        def ask(worker: Any) -> None:
            asked[worker.ticks.options(concurrency_group="beside").remote()] = worker

        def count() -> int:
            for answer in ray.wait(list(asked), num_returns=len(asked), timeout=0)[0]:
                worker = asked.pop(answer)
                with suppress(errors.RayError):  # a dead one is not asked again
                    counts[worker] = max(counts[worker], ray.get(answer))
                    ask(worker)
            return counts.total()

        def take(answer: Any) -> None:
            """Note what a worker has done, or that it died, and find more for it to do."""
            nonlocal has_begun
            worker, given = waiting.pop(answer)
            try:
                result = ray.get(answer)
            except errors.RayTaskError as error:
                raise error.cause from None
            except errors.RayError:
                ray.kill(worker)
                died.extend(given)
                if left and given:
                    hire()
                elif left and not waiting:
                    raise WorkerDied(died, has_begun=has_begun) from None
                return
            if given:
                result, counts[worker] = result
                done(given[0], result)
            else:
                numbers[worker] = result
            if left:
                has_begun, item = True, left.popleft()
                waiting[worker.do.remote(function, item)] = (worker, (item,))

        try:
            for _ in range(min(workers, len(left))):
                hire()
            while left or any(given for _, given in waiting.values()):
                answers, _ = ray.wait(list(waiting), timeout=0.5)
                poll(count())
                for answer in answers:
                    take(answer)
            poll(counts.total())
            if died:
                raise WorkerDied(died, has_begun=True)
        except BaseException:
            with suppress(Exception):
                ends = [w.end.options(concurrency_group="beside").remote() for w in numbers]
                ray.wait(ends, num_returns=len(ends), timeout=PATIENCE)
            stopped(list(numbers.values()))
            raise
        finally:
            with suppress(Exception):
                for worker in {worker for worker, _ in waiting.values()} | numbers.keys():
                    ray.kill(worker)

    def close(self) -> None:
        """Let go of the cluster, and end one of our own."""
        if self._is_ours:
            self._ray.shutdown()

    def _connect(self, workers: int) -> None:
        if self._ray.is_initialized():
            return
        self._is_ours, fix = True, "start one with `ray start --head`, or leave --ray-address out"
        logging.getLogger("ray").setLevel(logging.ERROR)
        how: dict[str, Any] = {"address": self._address}
        if self._address is None:
            fix = "see what Ray says"
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
            return 0
        if not (gpus := int(self._ray.cluster_resources().get("GPU", 0))):
            what, fix = "a Ray cluster with GPUs, as here", "use --device cpu"
            raise Seg2VidError(what, got="one without", fix=fix)
        return 1 / math.ceil(workers / gpus)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what is done at SIGTERM: Ray would take it over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
