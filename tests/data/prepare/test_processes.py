"""Preparation with real processes that are killed, stopped or crash: what is left, what goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from seg2vid.data.prepare import work as prepare_work
from seg2vid.data.recordings.recording import Recording
from seg2vid.tools.engines import Processes
from tests.data.prepare.test_prepare import content, films, make_plan, write_film

__all__ = ["films"]

pytestmark = pytest.mark.slow


class Deadly(Recording):
    """A recording whose decoder brings the process down."""

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1
    ) -> Iterator[np.ndarray]:
        yield np.zeros((32, 64, 3), np.uint8)
        os._exit(1)


def test_a_recording_that_no_process_survives_is_reported(films: Path, tmp_path: Path) -> None:
    recordings = [
        Recording("a", video=films / "a.mp4"),
        Deadly("b", video=films / "b.mp4"),
        Recording("c", video=films / "c.mp4"),
    ]
    plan = make_plan(films, tmp_path / "d", recordings)
    prepare_work.work(plan, plan.recordings, 2, Processes())
    parts = {name: json.loads((plan.parts / f"{name}.json").read_text()) for name in "abc"}
    assert [len(parts[name]["clips"]) for name in "abc"] == [4, 0, 4]
    assert "got a crash" in parts["b"]["error"]
    assert parts["a"]["error"] is None and parts["c"]["error"] is None


@pytest.fixture(scope="module")
def long_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six films that take a process about half a second each."""
    folder = tmp_path_factory.mktemp("long")
    for seed in range(6):
        write_film(folder / f"film{seed}.mp4", seed, count=100)
    return folder


class Command:
    """``seg2vid prepare`` as a process of its own, in a session of its own."""

    def __init__(self, source: Path, folder: Path, *more: str) -> None:
        folder.mkdir(exist_ok=True)
        self.output = folder / "dataset"
        words = ["prepare", str(source), "-o", "dataset", "--size", "64x32", "--frames", "3"]
        words += ["--labels", "none", "--workers", "2", "--lossless", "true", *more]
        code = "import sys; from seg2vid.cli.main import main; sys.exit(main())"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, is_true: Callable[[], bool]) -> None:
        """Wait until something is so; fail when the process ends before."""
        while not is_true():
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.005)

    def parts(self, pattern: str = "*.json") -> list[Path]:
        return sorted((self.output / "parts").glob(pattern))

    def end(self) -> tuple[str, str]:
        """Wait for the end; return output and errors."""
        return self.process.communicate(timeout=100)

    def wait_until_gone(self) -> None:
        """Wait until no process of the session is alive; fail where one stays."""
        start = time.monotonic()
        while time.monotonic() - start < 20:
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
        raise AssertionError("processes outlive the command")


@pytest.fixture(scope="module")
def undisturbed(long_films: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The dataset of a run that nobody stopped."""
    command = Command(long_films, tmp_path_factory.mktemp("undisturbed"))
    _, errors = command.end()
    assert command.process.returncode == 0, errors
    return content(command.output)


def test_a_killed_run_goes_on_and_ends_like_an_undisturbed_one(
    long_films: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    killed = Command(long_films, tmp_path / "run")
    killed.wait_for(lambda: bool(killed.parts()))
    killed.process.kill()
    killed.end()
    killed.wait_until_gone()
    done = {path: path.stat().st_mtime_ns for path in killed.parts()}
    assert 1 <= len(done) < 6 and not (killed.output / "index.json").exists()

    again = Command(long_films, tmp_path / "run")
    again.wait_for(lambda: len(again.parts()) > len(done))
    assert {path: path.stat().st_mtime_ns for path in done} == done, "what is done stays done"
    output, errors = again.end()
    assert again.process.returncode == 0, errors
    assert f"({len(done)} done before)" in output
    assert content(again.output) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["starting", "writing"])
def test_a_stopped_run_leaves_no_partial_file(
    long_films: Path, tmp_path: Path, number: int, moment: str
) -> None:
    command = Command(long_films, tmp_path / "run")
    if moment == "writing":
        command.wait_for(lambda: bool(command.parts()) and bool(command.parts(".*.partial*")))
    else:
        command.wait_for(lambda: (command.output / "settings.json").exists())
        time.sleep(0.7)
        assert not command.parts()
    # Ctrl-C reaches every process of the terminal, kill only one.
    if number == signal.SIGINT:
        os.killpg(command.process.pid, number)
    else:
        command.process.send_signal(number)
    _, errors = command.end()
    assert command.process.returncode == 130
    assert "seg2vid: stopped; no partial file is left" in errors and "Traceback" not in errors
    command.wait_until_gone()
    assert [path for path in command.output.rglob("*") if ".partial" in path.name] == []


def test_of_two_at_once_one_goes_on(
    long_films: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    both = [Command(long_films, tmp_path / "run") for _ in range(2)]
    said = [one.end() for one in both]
    codes = [one.process.returncode for one in both]
    assert sorted(codes) == [0, 2], said
    lines = said[codes.index(2)][1].splitlines()
    assert re.fullmatch(
        r"seg2vid: Expected .*parts to be free; got another seg2vid at work in it; wait .*",
        lines[-1],
    )
    assert not any("Traceback" in errors for _, errors in said)
    assert content(both[0].output) == undisturbed
