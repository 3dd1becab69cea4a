"""What is to be made, in order: a bounded queue, and one thread that works it off."""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from seg2vid.media.generated import GeneratedVideo
from seg2vid.tools.errors import Seg2VidError

LOGGER = logging.getLogger(__name__)
State = Literal["waiting", "working", "done", "failed", "cancelled"]
OVER = ("done", "failed", "cancelled")
LONGEST_WAIT = 3600.0
"""Seconds after which what was made is forgotten, and a job that nobody watches cancelled."""


class StudioError(Seg2VidError):
    """A request that cannot be served now, or at all."""


@dataclass(frozen=True)
class Limits:
    """What one server takes upon itself."""

    waiting: int = 64
    """Jobs in the queue."""
    seconds: float = 120.0
    """A job may take."""
    kept_bytes: int = 512 << 20
    """Of finished results; the oldest are forgotten first."""
    kept_jobs: int = 1000
    """Of which it is known how they ended."""
    upload_bytes: int = 32 << 20
    upload_seconds: float = 30.0
    pixels: int = 1 << 24
    """Of an uploaded picture, 4096x4096."""


@dataclass
class Job:
    """One thing to be made, step by step: a step is a pass of a video, or anything else's all."""

    steps: Iterator[Any]
    about: Any = None
    """What it is made from."""
    total: int = 1
    """Frames, or steps."""
    in_background: bool = False
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = "waiting"
    results: list[Any] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0
    """Since its turn came."""
    made: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in OVER

    @property
    def ready(self) -> int:
        """Frames that are there, or steps."""
        videos = [one for one in list(self.results) if isinstance(one, GeneratedVideo)]
        if not videos:
            return len(self.results)
        return 1 + sum(one.frames.shape[1] for one in videos)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that its results hold."""
        total = 0

        def count(tensor: Any) -> Any:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        for one in list(self.results):
            if isinstance(one, GeneratedVideo):
                one.map(count)
        return total


class Workshop:
    """The queue and its one worker: the networks are used by one job at a time.

    ``changed`` is called, in any thread, whenever a job began, went on, ended or moved up.
    """

    def __init__(self, limits: Limits, changed: Callable[[], None] = lambda: None) -> None:
        self.limits, self.changed = limits, changed
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._behind: deque[Job] = deque()
        self._condition = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._work, name="studio worker", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Cancel all jobs and wait for the worker, which ends after its step."""
        with self._condition:
            self._is_stopping = True
            for job in self._jobs.values():
                if not job.is_over:
                    job.state = "cancelled"
            self._waiting.clear()
            self._behind.clear()
            self._condition.notify_all()
        self.changed()
        if self._thread.is_alive():
            self._thread.join(self.limits.seconds)

    def add(self, job: Job) -> None:
        """Put a job at the end of the queue; raise ``StudioError`` where that is full."""
        with self._condition:
            count = len(self._waiting) + len(self._behind)
            if count >= self.limits.waiting or self._is_stopping:
                what = f"fewer than {self.limits.waiting} jobs in the queue"
                raise StudioError(what, got=f"{count} that wait", fix="try again in a few seconds")
            self._jobs[job.id] = job
            (self._behind if job.in_background else self._waiting).append(job)
            self._forget()
            self._condition.notify()
        self.changed()

    def find(self, job_id: str) -> Job | None:
        """Return a job that is known."""
        with self._condition:
            return self._jobs.get(job_id)

    def place(self, job: Job) -> int:
        """Return how many jobs are done before it and with it: 0 has begun, 1 is the next."""
        with self._condition:
            order = [*self._waiting, *self._behind]
            return order.index(job) + 1 if job in order else 0

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        with self._condition:
            return len(self._waiting) + len(self._behind)

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue, or stop it after its step; forget one that is over."""
        with self._condition:
            for queue in (self._waiting, self._behind):
                if job in queue:
                    queue.remove(job)
            if job.is_over:
                self._jobs.pop(job.id, None)
            else:
                job.state = "cancelled"
                job.results = []
        self.changed()

    def _forget(self) -> None:
        """Drop the results of the oldest jobs that are over, beyond what is kept."""
        over = [job for job in self._jobs.values() if job.is_over]
        held = sum(job.nbytes for job in over)
        now = time.monotonic()
        for number, job in enumerate(over):
            is_old = now - job.made > LONGEST_WAIT
            # The last one that is over stays, however large: somebody has just made it.
            is_much = held > self.limits.kept_bytes and number < len(over) - 1
            if is_old or is_much or len(over) - number > self.limits.kept_jobs:
                held -= job.nbytes
                del self._jobs[job.id]

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._behind or self._is_stopping)
                if self._is_stopping:
                    return
                job = (self._waiting or self._behind).popleft()
                job.state = "working"
            self.changed()
            self._do(job)
            with self._condition:
                self._forget()
            self.changed()

    def _do(self, job: Job) -> None:
        begin = time.monotonic()
        try:
            for result in job.steps:
                job.seconds = time.monotonic() - begin
                with self._condition:
                    if job.state != "working":
                        return
                    job.results.append(result)
                self.changed()
                if job.seconds > self.limits.seconds:
                    what = f"a job of at most {self.limits.seconds:g} seconds"
                    got = f"{job.ready} of {job.total} frames by then"
                    raise StudioError(what, got=got, fix="ask for fewer frames")
            error = ""
        except Seg2VidError as problem:
            error = str(problem)
        except MemoryError:
            error = str(StudioError("enough memory", got="too little", fix="ask for fewer frames"))
        except Exception as problem:
            LOGGER.exception("a job failed")
            what, got = "no mistake in seg2vid itself", f"{type(problem).__name__}: {problem}"
            error = str(StudioError(what, got=got, fix="report what the terminal shows"))
        finally:
            job.seconds = time.monotonic() - begin
            job.steps = iter(())
        with self._condition:
            if job.state == "working":
                job.state, job.error = ("failed", error) if error else ("done", "")
