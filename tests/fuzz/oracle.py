"""What a command may do, however bad its input: end soon, in one clear line, and touch nothing."""

import hashlib
import json
import math
import os
import re
import shutil
import signal
import sys
import tarfile
import time
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from safetensors.numpy import load_file

SECONDS = 20.0
"""After so much time of the processor, or so long without any, a command hangs."""
TICK = 2.0
MEGABYTES = 2048
"""What a command may take beyond what the program has before: four pictures of the largest size."""
LONGEST_LINE = 2000
HALVES = re.compile(r"\.partial|\.older$|^\.tmp\w{6}$|\.tmp$")
"""Names of files that are being written."""
TERM = re.compile(
    r"^(  (term|gradient of) \S+ +nan|step \d+: .* (returned nan values in|= nan;) .*|"
    r"  \w+: .* → nan|wrote nan\b.*)$",
    re.M,
)
"""What a replay of a diverged step is for, where a report was made, and what a place is called."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    *(
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.mkdir",
        "os.symlink",
        "os.link",
        "os.chmod",
        "os.chown",
    ),
    *("os.truncate", "os.utime", "shutil.rmtree", "shutil.move"),
}
NETWORK = (
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "urllib.Request",
)
EXECUTION = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty")
HARMLESS = ("git", "uname")
"""Programs that are asked for the commit and the machine."""


class Hang(BaseException):
    """A command that takes too long; no ``Exception``, so that nothing swallows it."""


@dataclass
class Outcome:
    """What a command did."""

    status: int | None = None
    out: str = ""
    err: str = ""
    error: BaseException | None = None
    """What came out of it instead of a status."""
    where: str = ""
    """The line of seg2vid that raised it."""
    trace: str = ""
    seconds: float = 0.0
    """Of the processor."""
    megabytes: float = 0.0
    warned: list[str] = field(default_factory=list)
    trespasses: list[str] = field(default_factory=list)


class Guard:
    """Sees what this process opens, runs and connects to, while it ``watches``.

    Python calls it for everything of that kind; what libraries do in C is seen by its traces.
    """

    def __init__(self, allowed: tuple[Path, ...]) -> None:
        self.allowed = tuple(f"{path.resolve()}/" for path in allowed)
        self.seen: list[str] | None = None
        self.inner = ""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.seen is None:
            return
        if event == "open":
            path, mode, flags = arguments
            is_writing = bool(flags & WRITES) if isinstance(flags, int) else False
            if is_writing or (isinstance(mode, str) and set(mode) & set("wax+")):
                self._check(event, path)
        elif event in CHANGES:
            for path in arguments[: 2 if event in ("os.rename", "shutil.move") else 1]:
                self._check(event, path)
        elif event in NETWORK:
            self.seen.append(f"network: {event} {arguments!r}"[:200])
            raise OSError(101, "the fuzzer allows no network")
        elif event in EXECUTION and str(arguments[0]) not in HARMLESS:
            self.seen.append(f"execution: {event} {arguments!r}"[:200])

    def _check(self, event: str, path: Any) -> None:
        if isinstance(path, int) or path is None or self.seen is None:
            return
        name = os.path.abspath(os.fsdecode(path)) + "/"
        if not name.startswith((self.inner, *self.allowed)) and not name.startswith("/dev/"):
            self.seen.append(f"writes outside: {event} {name}")

    @contextmanager
    def watches(self, folder: Path) -> Iterator[list[str]]:
        """Collect what happens outside ``folder`` and the allowed ones."""
        self.seen, self.inner = [], f"{folder.resolve()}/"
        try:
            yield self.seen
        finally:
            self.seen = None


@contextmanager
def _captured(folder: Path) -> Iterator[Callable[[], tuple[str, str]]]:
    """Catch what is written to both outputs, by C code too."""
    saved = [os.dup(number) for number in (1, 2)]
    streams = sys.stdout, sys.stderr
    paths = [folder / name for name in ("stdout", "stderr")]
    files = [open(path, "w+b", buffering=0) for path in paths]  # noqa: SIM115
    try:
        for number, file in enumerate(files, 1):
            os.dup2(file.fileno(), number)
        # As a terminal has them.
        lines: dict[str, Any] = {"mode": "w", "encoding": "utf-8", "closefd": False, "buffering": 1}
        sys.stdout = open(1, **lines)  # noqa: SIM115
        sys.stderr = open(2, **lines, errors="backslashreplace")  # noqa: SIM115

        def read() -> tuple[str, str]:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            out, err = (path.read_bytes().decode("utf-8", "surrogateescape") for path in paths)
            return out, err

        yield read
    finally:
        sys.stdout, sys.stderr = streams
        for number, one in enumerate(saved, 1):
            os.dup2(one, number)
            os.close(one)
        for file in files:
            file.close()


def observe(call: Callable[[], int], folder: Path, scratch: Path, guard: Guard) -> Outcome:
    """Run a command in ``folder``; say all that it did."""
    found, before = Outcome(), Path.cwd()
    handler = signal.signal(signal.SIGALRM, _Alarm())
    _reset_peak()
    start, memory = time.process_time(), _memory("VmRSS")
    os.chdir(folder)
    with (
        warnings.catch_warnings(record=True) as warned,
        _captured(scratch) as read,
        guard.watches(folder) as found.trespasses,
    ):
        warnings.simplefilter("default")
        for hidden in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", hidden)  # as without a test around it
        try:
            signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
            found.status = call()
        except (Exception, Hang, SystemExit) as error:  # what must never come out
            found.error = error
            frames = traceback.extract_tb(error.__traceback__)
            own = [one for one in frames if "/seg2vid/" in one.filename] or frames
            found.where = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}"
            found.trace = traceback.format_exc()[-3000:]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.chdir(before)
            signal.signal(signal.SIGALRM, handler)
            found.out, found.err = read()
    found.seconds = time.process_time() - start
    if found.status == 1:  # an error of ours, caught by the last net
        found.trace = _reported(found.err)
        places = re.findall(r'/seg2vid/(\S+)", line (\d+), in (\w+)', found.trace)
        own = [one for one in places if not one[0].startswith("cli/main")] or [("?", "", "")]
        kind = (re.findall(r"^(\w[\w.]*)(?::|$)", found.trace, re.MULTILINE) or ["?"])[-1]
        found.where = f"{kind} at {own[-1][0]}:{own[-1][1]} {own[-1][2]}"
    found.megabytes = _memory("VmHWM") - memory
    found.warned = [f"{one.category.__name__}: {one.message}" for one in warned]
    return found


def _reported(line: str) -> str:
    """Return, and delete, what the program wrote down of its own mistake."""
    if not (match := re.search(r"attach (\S+?)\.?$", line.strip())):
        return ""
    text = Path(match[1]).read_text("utf-8", "replace")
    Path(match[1]).unlink()
    return text[-3000:]


class _Alarm:
    """Ends what works or waits too long; on a busy machine the clock alone says nothing."""

    def __init__(self) -> None:
        self.start = self.last = time.process_time()
        self.idle = 0.0

    def __call__(self, number: int, frame: object) -> None:
        now = time.process_time()
        self.idle = self.idle + TICK if now - self.last < 0.01 else 0.0
        self.last = now
        if self.idle >= SECONDS or now - self.start > SECONDS:
            raise Hang("waiting" if self.idle else "working")


def _memory(name: str) -> float:
    """Return the resident memory now (VmRSS) or at its peak (VmHWM), in megabytes."""
    status = Path("/proc/self/status").read_text()
    match = re.search(rf"{name}:\s+(\d+) kB", status)
    return int(match[1]) / 1024 if match else 0.0


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


Snapshot = dict[str, tuple[Any, ...]]


def snapshot(folder: Path) -> Snapshot:
    """Return kind, permissions and content of all that is in a folder."""
    found: Snapshot = {}
    for path in sorted(folder.rglob("*")):
        name, status = (
            os.fsencode(path.relative_to(folder)).decode("utf-8", "surrogateescape"),
            path.lstat(),
        )
        content: Any = os.readlink(path) if path.is_symlink() else None
        if content is None and path.is_file():
            content = hashlib.blake2b(path.read_bytes()).digest()
        found[name] = (status.st_mode, content)
    return found


def complaints(
    outcome: Outcome,
    folder: Path,
    before: Snapshot,
    *,
    outputs: list[str],
    resumes: bool = False,
    chatters: bool = False,
    must_fail: bool = False,
) -> list[str]:
    """Return all that is wrong with what a command did, none if nothing is.

    ``outputs`` are the places it may write to, where it succeeds or ``resumes``; a command that
    ``chatters`` reports progress on standard error.
    """
    wrong = list(_complaints_of_speech(outcome, chatters=chatters))
    places = [os.path.normpath(place) for place in outputs]
    # The command line may name places outside; what is being written has a dot before its name.
    told = [os.path.normpath(folder / place) for place in places]
    theirs = [
        re.compile(rf" {re.escape(os.path.dirname(place))}/\.?{re.escape(Path(place).stem)}\b")
        for place in told
        if not place.startswith(f"{folder}/")
    ]
    wrong += [one for one in outcome.trespasses if not any(name.search(one) for name in theirs)]
    # What was asked for may be right and too large for this machine, where that is said.
    if outcome.megabytes > MEGABYTES and "Expected enough memory" not in outcome.err:
        wrong.append(f"memory: {outcome.megabytes:.0f} MB")
    if must_fail and outcome.status == 0:
        wrong.append("silent: damage that must be seen was not")
    after = snapshot(folder)
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    for name in changed:
        is_ours = any(
            one.startswith(f"{name}/")
            or name == one
            or name.startswith((f"{one}/", f"{os.path.splitext(one)[0]}_"))
            # In the folder of the case itself lie a user's files, which stay.
            or (one == "." and name not in before)
            for one in places
        )
        if (
            "escaped" in Path(name).parts
        ):  # but not in "a;touch escaped", which a place may be called
            wrong.append(f"execution: it made {name!r}")
        elif HALVES.search(Path(name).name):
            wrong.append("partial: a half-written file is left")
        elif not is_ours or Path(name).name == "mine.txt":
            wrong.append("changed: a file of the user")
        elif outcome.status != 0 and not resumes:
            wrong.append("left: a failed command wrote something")
        elif outcome.status == 0 and name in after:
            wrong += [f"output: {Path(name).suffix} {one}" for one in _look(folder / name)]
    if "escaped" in os.listdir("/tmp"):
        remove = shutil.rmtree if os.path.isdir("/tmp/escaped") else os.remove
        remove("/tmp/escaped")
        if "/tmp/escaped" not in told:
            wrong.append("execution: it made /tmp/escaped")
    return list(dict.fromkeys(wrong))


def _complaints_of_speech(outcome: Outcome, *, chatters: bool) -> Iterator[str]:
    error, lines = outcome.error, outcome.err.splitlines()
    if isinstance(error, Hang) or outcome.seconds > SECONDS:
        yield f"hang: {outcome.where}"
    elif error is not None:
        yield f"traceback: {type(error).__name__} at {outcome.where}"
    elif outcome.status == 1:
        yield f"mistake: {outcome.where}"
    elif outcome.status not in (0, 2):
        yield f"status {outcome.status}"
    elif outcome.status:
        said = [line for line in lines if line.startswith("seg2vid: ")]
        others = [one for one in lines if not one.startswith(("seg2vid: ", "warning: "))]
        if len(said) != 1 or lines[-1] != said[0]:
            yield f"speech: {len(said)} lines of error at the end"
        elif len(said[0]) > LONGEST_LINE:
            yield f"speech: a line of {len(said[0]) // 1000} thousand letters"
        elif not re.fullmatch(r"seg2vid: .*Expected .+; got .*; .+\.", said[0]):
            yield f"speech: an error that does not say what to do: {said[0][:80]}"
        if others and not chatters:
            yield f"speech: more than errors and warnings: {others[0][:80]}"
    elif not chatters and any(not line.startswith("warning: ") for line in lines):
        yield f"speech: on standard error of a success: {outcome.err[:80]!r}"
    if "Traceback" in outcome.err:
        yield "speech: a traceback that was printed"
    # Progress is shown by libraries, with control characters.
    shown = (
        [one for one in lines if one.startswith(("seg2vid: ", "warning: "))] if chatters else lines
    )
    text = outcome.out.replace("\r", "") + "\n".join(shown)
    odd = sorted(
        {repr(one) for one in text if unicodedata.category(one) in ("Cc", "Cs") and one != "\n"}
    )
    if odd:
        yield f"speech: control characters {', '.join(odd)[:60]}"
    if re.search(r"(?<![\w./'-])nan(?![\w./'-])", TERM.sub("", outcome.out)):
        yield "nan: printed"
    for one in [] if chatters else outcome.warned:
        yield f"warning of Python: {one[:100]}"


def _look(path: Path) -> Iterator[str]:
    """Yield what is wrong with a file that was written."""
    if path.is_symlink() or not path.is_file():
        return
    try:
        ending = path.suffix.lower()
        if ending in (".png", ".jpg", ".gif", ".webp"):
            with Image.open(path) as image:
                image.load()
        elif ending in (".mp4", ".webm"):
            with av.open(str(path)) as container:
                next(container.decode(video=0))
        elif ending == ".json":
            json.loads(path.read_text("utf-8"), parse_constant=_no_number)
        elif ending == ".safetensors":
            for name, array in load_file(path).items():
                # The sky is infinitely far.
                if name != "depth" and array.dtype.kind == "f" and not np.isfinite(array).all():
                    yield f"with nan or inf in {name}"
        elif ending == ".flo":
            if not np.isfinite(np.frombuffer(path.read_bytes()[12:], "<f4")).all():
                yield "with nan or inf"
        elif ending == ".tar":
            with tarfile.open(path) as archive:
                archive.getnames()
    except Exception as error:
        yield f"that cannot be read: {type(error).__name__}"


def _no_number(name: str) -> float:
    raise ValueError(f"{name} in JSON, {math.nan}")
