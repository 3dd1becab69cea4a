"""The work: nothing is done twice, whatever ends it, and more processes give the same figures."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from seg2vid.data.stills import StillFolder
from seg2vid.evaluation.cases import Cases, digest_of
from seg2vid.evaluation.output import Candidate, Output
from seg2vid.evaluation.protocol import Protocol, get_protocol
from seg2vid.evaluation.run import run
from seg2vid.evaluation.work import Setup, work
from seg2vid.structures import Clip
from seg2vid.tools.devices import choose_device, fast_arithmetic
from seg2vid.tools.errors import MediaError, ModelError, Seg2VidError
from tests.data.test_stills import write_still
from tests.evaluation_runs import SPACE, TINY, quick_setup, still_protocol, write_model

PLAIN = replace(TINY, baselines=("truth", "repeat"))


def files(folder: Path) -> dict[str, int]:
    """All files below a folder and when they were last written."""
    every = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in every}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """Two clips, measured."""
    setup = quick_setup(tmp_path_factory.mktemp("run") / "work", PLAIN)
    assert setup.missing(0)
    assert work(setup, workers=1, threads=1) > 50e6, "bytes"
    return setup


def test_every_unit_has_its_files(done: Setup) -> None:
    names = [f"toycity_{number}" for number in range(2)]
    units = {f"units/{n}/{k}.safetensors" for n in names for k in ("truth", "repeat")}
    pictures = {f"strips/{n}/{k}.jpg" for n in names for k in ("truth", "repeat")}
    assert set(files(done.work)) == units | pictures | {f"units/{n}/digest" for n in names}
    with Image.open(done.strips / "toycity_1" / "truth.jpg") as strip:
        assert strip.size == (128, 4 * 64), "four frames, one below the other"
    clip = done.cases.read(1)
    assert done.read_digests()[1] == digest_of(clip)
    units_of = done.read_units("repeat")
    assert len(units_of) == 2 and units_of[0]["psnr"].shape == (1, 3)
    assert "psnr" not in done.read_units("truth")[0]


def test_what_is_there_is_not_done_again(done: Setup) -> None:
    before = files(done.work)
    again = quick_setup(done.output, PLAIN)
    assert not again.numbers_left()
    work(again, workers=2, threads=1)
    assert files(done.work) == before


def test_a_missing_unit_is_measured_alone(done: Setup) -> None:
    path = done.unit_file("toycity_1", "repeat")
    unit, before = load_file(path), files(done.work)
    path.unlink()
    assert not done.missing(0) and done.missing(1)
    work(quick_setup(done.output, PLAIN), workers=1, threads=1)
    after = files(done.work)
    written = {name for name in after if after[name] != before[name]}
    changed = {"units/toycity_1/repeat.safetensors", "strips/toycity_1/repeat.jpg"}
    assert written == changed | {"units/toycity_1/digest"}
    again = load_file(path)
    assert all(torch.equal(unit[name], again[name]) for name in unit)


def test_another_candidate_is_measured_beside_the_others(done: Setup) -> None:
    more = quick_setup(done.output, replace(PLAIN, baselines=("truth", "repeat", "extrapolated")))
    before = files(done.work)
    assert more.missing(0)
    more.do(0)
    assert not more.missing(0) and more.missing(1)
    written = {name for name, when in files(done.work).items() if before.get(name) != when}
    assert {Path(name).stem for name in written} == {"extrapolated", "digest"}


def candidate(make: Callable[[Clip, int], Output]) -> Candidate:
    return Candidate("repeat", "slow", "baseline", "never ends", make)


def lose_patience(clip: Clip, number: int) -> Output:
    """Stop as Ctrl-C does."""
    raise KeyboardInterrupt


def test_an_interrupt_leaves_whole_units_only(tmp_path: Path) -> None:
    setup = quick_setup(tmp_path / "work", PLAIN)
    setup.__dict__["candidates"] = (setup.candidates[0], candidate(lose_patience))
    with pytest.raises(KeyboardInterrupt):
        work(setup, workers=1, threads=1)
    left = {"units/toycity_0/truth.safetensors", "strips/toycity_0/truth.jpg"}
    assert set(files(setup.work)) == left | {"units/toycity_0/digest"}
    again = quick_setup(setup.output, PLAIN)
    assert again.numbers_left() == [0, 1]
    work(again, workers=1, threads=1)
    assert not again.numbers_left()


def test_a_unit_that_cannot_be_written_is_no_unit(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seg2vid.evaluation.work.save_file", fail)
    setup = quick_setup(tmp_path / "work", PLAIN)
    with pytest.raises(MediaError, match=r"can be written; got .*: No space left on device"):
        setup.do(0)
    assert setup.missing(0) and not list(setup.work.rglob("*.safetensors"))


@pytest.mark.parametrize(("precision", "is_fast"), [("float32", False), ("bfloat16", True)])
def test_networks_compute_as_the_protocol_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Any, is_fast: bool
) -> None:
    monkeypatch.setattr("seg2vid.tools.devices.has_fast_bfloat16", lambda device: True)
    setup = quick_setup(tmp_path / "work", replace(PLAIN, clips=1, precision=precision))
    seen: list[bool] = []

    def watch(clip: Clip, number: int) -> Output:
        with fast_arithmetic(torch.device("cpu")):
            seen.append(torch.is_autocast_enabled("cpu"))
        assert torch.is_inference_mode_enabled()
        return Output(clip.first_frame.unsqueeze(1).repeat(1, 4, 1, 1, 1))

    setup.__dict__["candidates"] = (candidate(watch),)
    setup.do(0)
    assert seen == [is_fast]


def test_candidates_come_in_order(tmp_path: Path) -> None:
    name = write_model(tmp_path / "tiny")
    setup = quick_setup(tmp_path, TINY, model=name, against=(name, name))
    keys = [candidate.key for candidate in setup.candidates]
    assert keys == ["truth", "repeat", "extrapolated", "posterior", "model", "other_1", "other_2"]
    assert [c.role for c in setup.candidates][-3:] == ["model", "other", "other"]
    with pytest.raises(ModelError, match=r"'dragon'"):
        _ = quick_setup(tmp_path, TINY, model="dragon").candidates


def test_photos_are_looked_up_for_stills(tmp_path: Path) -> None:
    for folder, names in (("val", ("a.png",)), ("train", ("b.png", "c.png"))):
        for name in names:
            write_still(tmp_path / folder, name, height=64, width=128)
    setup = quick_setup(tmp_path / "work", still_protocol(), data=tmp_path)
    assert [c.key for c in setup.candidates] == ["nearest", "mean_colour", "truth"]
    work(setup, workers=1, threads=1)
    nearest, mean = (setup.read_units(key)[0] for key in ("nearest", "mean_colour"))
    assert (nearest["psnr"] == 100).all(), "the training photo is the same"
    assert (mean["psnr"] == 100).all(), "each class has one colour in these photos"
    stills = StillFolder(tmp_path / "val", SPACE, height=64, width=128)
    assert setup.read_digests() == [digest_of(stills.read(0))]
    (tmp_path / "train" / "labels" / "b.png").unlink()
    with pytest.raises(MediaError, match=r"a label map for each of 2 photos; got 1 without"):
        work(quick_setup(tmp_path / "again", still_protocol(), data=tmp_path), workers=1, threads=1)


# Real processes.


def compare_units(first: Setup, second: Setup, tolerance: float = 0.0) -> None:
    """Check that two works came to the same arrays, but for time."""
    assert first.read_digests() == second.read_digests()
    for candidate in first.candidates:
        pairs = zip(first.read_units(candidate.key), second.read_units(candidate.key), strict=True)
        for one, other in pairs:
            assert set(one) == set(other)
            for name in set(one) - {"seconds"}:
                torch.testing.assert_close(
                    one[name], other[name], rtol=tolerance, atol=tolerance, equal_nan=True
                )


@pytest.mark.slow
@pytest.mark.timeout(600)  # on a machine with other work a process takes a minute to begin
def test_two_processes_come_to_the_same(tmp_path: Path) -> None:
    name = write_model(tmp_path / "tiny")
    protocol = replace(TINY, clips=3)
    alone = Setup(protocol, tmp_path / "one", model=name)
    work(alone, workers=1, threads=1)
    both = Setup(protocol, tmp_path / "two", model=name)
    assert work(both, workers=2, threads=1) > 50e6, "bytes"
    compare_units(alone, both)


class Deadly(Setup):
    """Work that no process survives."""

    def do(self, number: int) -> int:
        """End at once."""
        os._exit(1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_process_that_dies_is_reported(tmp_path: Path) -> None:
    message = r"processes that live; got one that ended; run the same command with --workers 1"
    with pytest.raises(Seg2VidError, match=message):
        work(Deadly(PLAIN, tmp_path / "work"), workers=2, threads=1)


def whole_units(folder: Path) -> list[Path]:
    """The units below a folder; hidden files are still being written."""
    return [path for path in folder.rglob("*.safetensors") if path.name[0] != "."]


ALONE = {"SEG2VID_JUDGES": "nowhere", "GIT_DIR": "nowhere"}
"""Without git: a commit in the meantime would be another setting."""


class Command:
    """``seg2vid evaluate`` as a process of its own, in a session of its own."""

    def __init__(self, protocol: Path, model: str, output: Path, *words: str) -> None:
        given = ("--model", model, "--protocol", protocol, "-o", output, "--threads", 1, *words)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "seg2vid.cli.main", "evaluate", *map(str, given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | ALONE,
        )
        self.output = output

    def wait_for(self, units: int) -> None:
        """Wait until so many units lie there."""
        until = time.monotonic() + 500
        while len(whole_units(self.output)) < units:
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.02)

    def end(self) -> str:
        """Return what was said, once it has ended."""
        return self.process.communicate(timeout=500)[0]

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind, whatever failed."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def own_protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips in a file."""
    path = tmp_path_factory.mktemp("protocol") / "own.yaml"
    fields = asdict(replace(TINY, name="own-v1", clips=5))
    del fields["sha256"]
    path.write_text(yaml.safe_dump(json.loads(json.dumps(fields))))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


def evaluate_here(protocol: Path, model: str, output: Path) -> Any:
    """Evaluate, or go on, in this process; return the report."""
    setup = Setup(get_protocol(protocol), output, model=model, device=str(choose_device("auto")))
    with pytest.MonkeyPatch.context() as patch:
        for name in ALONE:
            patch.setenv(name, ALONE[name])
        said = list(run(setup, workers=1, threads=1))
    assert said[-1].startswith("wrote") and not (output / "work").exists()
    return json.loads((output / "report.json").read_text())


@pytest.fixture(scope="module")
def undisturbed(own_protocol: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of a run that nobody stopped."""
    return evaluate_here(own_protocol, model, tmp_path_factory.mktemp("whole") / "report")


def kill(process: subprocess.Popen[str]) -> None:
    """Kill the main process alone; workers must notice."""
    os.kill(process.pid, signal.SIGKILL)


def interrupt(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C: the whole group of processes gets it."""
    os.killpg(process.pid, signal.SIGINT)


def is_group_alive(number: int) -> bool:
    """Say whether any process of a group lives."""
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("stop", [kill, interrupt])
def test_a_stopped_evaluation_goes_on_to_the_same_figures(
    own_protocol: Path,
    model: str,
    tmp_path: Path,
    undisturbed: Any,
    stop: Callable[[Any], None],
    workers: str,
) -> None:
    output = tmp_path / "report"
    with Command(own_protocol, model, output, "--workers", workers) as command:
        command.wait_for(12)
        stop(command.process)
        said = command.end()
        until = time.monotonic() + 60
        while is_group_alive(command.process.pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert not is_group_alive(command.process.pid), "no worker is left behind"
    units = whole_units(output)
    assert 12 <= len(units) < 25 and all(load_file(path) for path in units)
    if stop is interrupt:
        assert command.process.returncode == 130 and said.count("Traceback") == 0, said
        assert "seg2vid: stopped; no partial file is left" in said
        assert not list(output.rglob("*.partial*"))
    compare_reports(evaluate_here(own_protocol, model, output), undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_of_two_at_once_one_goes_on(
    own_protocol: Path, model: str, tmp_path: Path, undisturbed: Any
) -> None:
    words = (own_protocol, model, tmp_path / "report", "--workers", "1")
    with Command(*words) as first, Command(*words) as second:
        said = [one.end() for one in (first, second)]
        codes = [one.process.returncode for one in (first, second)]
    assert sorted(codes) == [0, 2], said
    line = said[codes.index(2)].splitlines()[-1]
    assert re.fullmatch(
        r"seg2vid: Expected .*report to be free; got another seg2vid at work in it; wait .*", line
    )
    assert not any("Traceback" in one for one in said)
    compare_reports(json.loads((tmp_path / "report" / "report.json").read_text()), undisturbed)


def compare_reports(found: Any, wanted: Any) -> None:
    """Hold all figures of two reports against one another, but how long things took."""
    for name in ("figures", "curves", "classes", "clips"):
        rows = [
            [row for row in report[name] if not is_time(row)] if name != "clips" else report[name]
            for report in (found, wanted)
        ]
        assert rows[0] == rows[1], name


def is_time(row: Any) -> bool:
    """Say whether an entry tells how long it took."""
    return row.get("metric") == "seconds"


def test_a_protocol_travels_to_processes(own_protocol: Path) -> None:
    """What processes read from the file is what was written."""
    protocol: Protocol = get_protocol(own_protocol)
    assert replace(protocol, sha256="") == replace(TINY, name="own-v1", clips=5)
    assert Cases(protocol).names[-1] == "toycity_4"
