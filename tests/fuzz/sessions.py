"""Many cases, one after another, in one process that another one watches: it may hang or die."""

import contextlib
import logging
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

PATIENCE = 90.0
"""Seconds after which a process that does not even see its alarm is ended."""
ADDRESS_SPACE = 3 << 30
"""Bytes a process may take beyond its own start: so no case can take the machine's memory."""


class Finding(NamedTuple):
    """One case that went wrong."""

    number: int
    border: str
    causes: tuple[str, ...]
    case: str
    details: str


class Run(NamedTuple):
    """One case, whatever came of it."""

    border: str
    status: str
    seconds: float
    """Of the processor."""


@dataclass
class Tally:
    """What a session came to."""

    seed: int
    cases: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    borders: Counter[str] = field(default_factory=Counter)
    work: Counter[str] = field(default_factory=Counter)
    """Seconds of the processor by border."""
    statuses: Counter[str] = field(default_factory=Counter)
    slowest: list[tuple[float, int]] = field(default_factory=list)

    def __str__(self) -> str:
        by_cause: dict[str, list[Finding]] = {}
        for finding in self.findings:
            for cause in finding.causes:
                by_cause.setdefault(cause, []).append(finding)
        lines = [
            f"seed {self.seed}: {self.cases} cases in {self.seconds / 60:.1f} minutes, "
            f"{len(self.findings)} failures of {len(by_cause)} causes",
            f"statuses {dict(self.statuses)}, slowest {max(self.slowest, default=None)}",
            ", ".join(f"{n} {c} ({self.work[n]:.0f} s)" for n, c in self.borders.most_common()),
        ]
        for cause, found in sorted(by_cause.items(), key=lambda item: -len(item[1])):
            first = min(found, key=lambda one: len(one.case))
            numbers = " ".join(str(one.number) for one in found[:8])
            lines += [
                f"\n{len(found)} x {cause}",
                f"  {first.border}, case {first.number}: {first.case[:600]}",
            ]
            lines += [
                f"  numbers {numbers}",
                *(f"  | {line}" for line in first.details.splitlines()[-8:]),
            ]
        return "\n".join(lines)


class Fuzzer:
    """Makes and runs cases in this process."""

    def __init__(self, root: Path) -> None:
        from tests.fuzz.oracle import Guard
        from tests.fuzz.seeds import make_seeds

        self.root, self.seeds, self.scratch = root, root / "seeds", root / "scratch"
        self.scratch.mkdir(parents=True)
        if not self.seeds.is_dir():
            with (
                open(os.devnull, "w") as quiet,
                contextlib.redirect_stdout(quiet),
                contextlib.redirect_stderr(quiet),
            ):
                make_seeds(self.seeds)
        # Lasting files of libraries, such as shared memory, belong here.
        tempfile.tempdir = str(self.scratch)
        self.guard = Guard((self.scratch,))

    def run(
        self, seed: int, number: int, border: str = "", *, keep: bool = False
    ) -> tuple[Finding | None, Run]:
        """Run one case; return what went wrong, if anything did, and its status."""
        import torch

        from seg2vid.cli import main as cli
        from tests.fuzz.cases import RESUMES, describe, make_case
        from tests.fuzz.oracle import complaints, observe, snapshot
        from tests.fuzz.seeds import light

        folder = self.root / f"case{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        name, case = make_case(self.seeds, folder, seed, number, border)
        before = snapshot(folder)
        torch.set_num_threads(1)  # evaluate takes all cores
        logging.getLogger().handlers.clear()  # the verbs that train set them up
        with light():
            outcome = observe(lambda: cli.main(list(case.words)), folder, self.scratch, self.guard)
        first = case.words[0] if case.words else ""
        causes = complaints(
            outcome,
            folder,
            before,
            outputs=case.outputs,
            resumes=first in RESUMES,
            chatters=first in ("train", "toycity", "prepare", "evaluate"),
            must_fail=case.must_fail,
        )
        if not keep:
            shutil.rmtree(folder)
        finding = None
        if causes:
            details = "\n".join(
                [outcome.trace, f"status {outcome.status}", outcome.out[-600:], outcome.err[-900:]]
            )
            finding = Finding(number, name, tuple(causes), describe(case), details)
        return finding, Run(name, str(outcome.status), outcome.seconds)


def limit_memory() -> None:
    """Take no more than so much from now on: the machine is not the fuzzer's alone."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESS_SPACE, size + ADDRESS_SPACE))


def _serve(connection: Connection, root: Path) -> None:
    """Run the cases that the other end asks for, until it hangs up."""
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "MPLCONFIGDIR": str(root / "matplotlib"),
    }
    import torch

    torch.set_num_threads(1)
    # Commands may start processes, which what is to end with its parent is not allowed to.
    multiprocessing.process.current_process()._config["daemon"] = False
    fuzzer = Fuzzer(root)
    limit_memory()
    connection.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            connection.send(fuzzer.run(*connection.recv()))


class _Worker:
    """The process that runs the cases."""

    def __init__(self, root: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, root), daemon=True)
        self.process.start()
        theirs.close()
        if not self.connection.poll(600) or self.connection.recv() != "ready":
            raise RuntimeError("the process of the fuzzer did not start")

    def run(self, seed: int, number: int, border: str) -> tuple[Finding | None, Run]:
        """Have a case run; a process that dies or hangs is a finding too, and is ended."""
        self.connection.send((seed, number, border))
        with contextlib.suppress(EOFError, ConnectionResetError):
            if self.connection.poll(PATIENCE):
                result: tuple[Finding | None, Run] = self.connection.recv()
                return result
        self.process.join(2)
        died = self.process.exitcode
        cause = (
            f"crash: the process ended with {died}"
            if died is not None
            else "hang: outside of Python"
        )
        self.end()
        return Finding(number, border, (cause,), "see by replaying", ""), Run(
            border, "none", PATIENCE
        )

    def end(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.kill()
        self.process.join()


def run_cases(
    root: Path, seed: int, count: int, *, first: int = 0, minutes: float = 60.0, border: str = ""
) -> Iterator[Tally]:
    """Run ``count`` cases of a seed, or as many as there is time for; yield the tally after each.

    ``root`` is a folder for them.
    """
    tally, start, worker = Tally(seed), time.perf_counter(), None
    try:
        for number in range(first, first + count):
            if time.perf_counter() - start > minutes * 60:
                break
            if worker is None or not worker.process.is_alive():
                shutil.rmtree(root / "scratch", ignore_errors=True)
                worker = _Worker(root)
            finding, run = worker.run(seed, number, border)
            tally.cases += 1
            tally.statuses[run.status] += 1
            tally.borders[run.border] += 1
            tally.work[run.border] += run.seconds
            tally.slowest = sorted([*tally.slowest, (run.seconds, number)])[-5:]
            tally.seconds = time.perf_counter() - start
            if finding is not None:
                tally.findings.append(finding)
            yield tally
    finally:
        if worker is not None:
            worker.end()
