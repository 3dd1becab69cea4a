"""The folder of a run survives damage, a full disk and a wrong configuration."""

import errno
import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from seg2vid.models.config import to_dict
from seg2vid.tools.errors import TrainingError
from seg2vid.training import folder as run_folder
from seg2vid.training import run as train
from seg2vid.training.config import FirstFrameTrainingConfig, MotionTrainingConfig
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.folder import RunState, claim, note_start, read_state, room_for, write_state
from seg2vid.training.keeper import RunKeeper
from seg2vid.training.recipes import read_recipe
from seg2vid.training.stage import Stage
from tests.tiny import FIRST_FRAME_TRAINING, MOTION_TRAINING, QUIET, InMemory
from tests.training.test_stage import SMALL, backward, first_frame, rendered


class Rendered(InMemory):
    """Clips of the toy city."""

    def __init__(self, count: int = 3, first: int = 0) -> None:
        super().__init__([rendered(first + seed) for seed in range(count)])


@pytest.fixture(scope="module")
def source() -> Rendered:
    return Rendered()


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """No file can grow beyond so many bytes: the system itself refuses, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def state(step: int, numbers: int = 50_000) -> RunState:
    """A state of about 200 kB that says which step it is of."""
    tensors = {"weight": torch.full((numbers,), float(step)), "step": torch.tensor(step)}
    optimizer = {"state": {0: {"step": torch.tensor(float(step))}}, "param_groups": [{"lr": 0.1}]}
    return RunState(tensors, [optimizer], {"seconds": 1.5, "step": step})


def step_in(folder: Path) -> int:
    found = read_state(folder)
    assert found is not None
    return int(found.tensors["step"])


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# The state.


def test_state_comes_back_to_the_bit(tmp_path: Path, source: Rendered) -> None:
    stage = first_frame()
    optimizers = stage.make_optimizers()
    clip = source.read(0)
    for _ in range(2):
        stage.take_turns(clip, optimizers, backward)
    given = [optimizer.state_dict() for optimizer in optimizers]
    assert all(one["state"] for one in given), "both have taken steps"
    write_state(tmp_path, RunState(dict(stage.state_dict()), given, {"seconds": 2.5}))
    found = read_state(tmp_path)
    assert found is not None and found.notes == {"seconds": 2.5}
    assert found.tensors.keys() == stage.state_dict().keys()
    assert all(same(found.tensors[n], tensor) for n, tensor in stage.state_dict().items())
    for old, new in zip(given, found.optimizers, strict=True):
        assert new["param_groups"] == json.loads(json.dumps(old["param_groups"]))
        assert new["state"].keys() == old["state"].keys()
        for index, values in old["state"].items():
            assert new["state"][index].keys() == values.keys()
            assert all(same(new["state"][index][name], values[name]) for name in values)
    resumed = first_frame(seed=1)
    resumed.load_state_dict(found.tensors)
    resumed.optimizer_states = found.optimizers
    resumed.training_config = stage.training_config
    again = resumed.configure_optimizers()
    for one, its in ((stage, optimizers), (resumed, again)):
        one.take_turns(clip, its, backward)
    after = resumed.state_dict()
    assert all(same(after[name], tensor) for name, tensor in stage.state_dict().items())


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def test_older_state_is_the_one_before(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    assert read_state(tmp_path / "nowhere") is None
    for step in (1, 2, 3):
        write_state(tmp_path, state(step))
    assert files(tmp_path) == {"state.safetensors", "state.older.safetensors"}
    assert step_in(tmp_path) == 3
    (tmp_path / "state.safetensors").unlink()  # Killed between the two renamings.
    assert step_in(tmp_path) == 2
    write_state(tmp_path, state(4))
    assert step_in(tmp_path) == 4


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def scramble(path: Path) -> None:
    path.write_bytes(bytes(torch.randint(256, (5000,)).tolist()))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def swap(path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path, {"format": "seg2vid-1"})


@pytest.mark.parametrize("damage", [cut, scramble, empty, swap])
def test_damaged_state_is_passed_over(tmp_path: Path, damage: Any) -> None:
    for step in (1, 2):
        write_state(tmp_path, state(step))
    damage(tmp_path / "state.safetensors")
    assert step_in(tmp_path) == 1
    damage(tmp_path / "state.older.safetensors")
    wanted = rf"^Expected a whole state in {tmp_path}; got a damaged file; delete it .*\.$"
    with pytest.raises(TrainingError, match=wanted):
        read_state(tmp_path)


def test_a_state_with_other_settings_is_refused(tmp_path: Path) -> None:
    stage = first_frame()
    given = [optimizer.state_dict() for optimizer in stage.make_optimizers()]
    for wrong in ([5], [{**given[0]["param_groups"][0], "betas": 0.9}], [{"params": [0]}]):
        write_state(tmp_path, RunState({}, [{"state": {}, "param_groups": wrong}], {}))
        found = read_state(tmp_path)
        assert found is not None
        stage.optimizer_states = found.optimizers
        with pytest.raises(TrainingError, match=r"state of a run; got settings .* start anew"):
            stage.configure_optimizers()
    about = {"format": run_folder.FORMAT, "optimizers": "5", "notes": "{}"}
    for name in ("state", "state.older"):
        run_folder.save_tensors({}, tmp_path / f"{name}.safetensors", about)
    with pytest.raises(TrainingError, match="got a damaged file"):
        read_state(tmp_path)


def test_a_state_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    for name in ("state", "state.older"):
        about = {"format": run_folder.FORMAT, "optimizers": "[]", "notes": "{}"}
        tensors = {"animator.a": torch.tensor([1.0, torch.inf])}
        run_folder.save_tensors(tensors, tmp_path / f"{name}.safetensors", about)
    with pytest.raises(TrainingError, match=r"a whole state in .*; got a damaged file"):
        read_state(tmp_path)


# A full disk.


def test_full_disk_leaves_the_state_that_was_there(tmp_path: Path) -> None:
    write_state(tmp_path, state(1))
    before = (tmp_path / "state.safetensors").read_bytes()
    wanted = rf"^Expected room on the disk for the state .* in {tmp_path}; got .*; free some .*\.$"
    with full_disk(len(before) // 2), pytest.raises(TrainingError, match=wanted):
        write_state(tmp_path, state(2))
    assert files(tmp_path) == {"state.safetensors"}, "no part of a file stays"
    assert (tmp_path / "state.safetensors").read_bytes() == before
    write_state(tmp_path, state(2))
    assert step_in(tmp_path) == 2


def test_full_disk_leaves_the_text_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    run_folder.write_text(path, "before")
    with full_disk(100_000), pytest.raises(TrainingError, match=r"room on the disk for summary"):
        run_folder.write_text(path, "x" * 200_000)
    assert files(tmp_path) == {"summary.json"}
    assert path.read_text() == "before"


def test_full_disk_is_told_from_other_errors() -> None:
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with pytest.raises(TrainingError, match=os.strerror(number)), room_for("it", Path()):
            raise OSError(number, os.strerror(number))
    for number in (errno.EACCES, errno.ENOENT, errno.EIO):
        with pytest.raises(OSError, match="no") as caught, room_for("it", Path()):
            raise OSError(number, "no")
        assert not isinstance(caught.value, TrainingError)
    # Its library tells no number: in writing, it can be nothing but the disk.
    with pytest.raises(TrainingError, match="got I/O error"), room_for("it", Path()):
        raise SafetensorError("I/O error")


@pytest.mark.slow
def test_run_on_a_full_disk_goes_on_once_there_is_room(tmp_path: Path, source: Rendered) -> None:
    def start(name: str) -> Path:
        torch.manual_seed(0)
        stage = FirstFrameStage(SMALL, FIRST_FRAME_TRAINING)
        return train.run(stage, [(source, 1.0)], tmp_path / name, QUIET)

    def save(keeper: RunKeeper, stage: Stage) -> None:
        """From the third step on, the disk is full."""
        if int(stage.step) < 3:
            real(keeper, stage)
        else:
            size = (tmp_path / "full" / "state.safetensors").stat().st_size
            with full_disk(size // 2):
                real(keeper, stage)

    start("whole")
    real = RunKeeper.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunKeeper, "save", save)
        with pytest.raises(TrainingError, match=r"room on the disk .* the same command again"):
            start("full")
    assert step_in(tmp_path / "full") == 2
    assert not [name for name in files(tmp_path / "full") if Path(name).name.startswith(".")]
    start("full")
    for name in ("state.safetensors", "model.safetensors"):
        pair = [load_file(tmp_path / run / name) for run in ("whole", "full")]
        for key in pair[0]:
            assert torch.equal(pair[0][key], pair[1][key]), key


# The configuration.


def resolved(**changes: Any) -> dict[str, Any]:
    training = replace(FIRST_FRAME_TRAINING, **changes)
    about = {"clips": 3, "processes": 1, "origin": {}}
    model = to_dict(SMALL)
    return {"stage": "first-frame", "model": model, "training": to_dict(training), "data": about}


def test_folder_belongs_to_one_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    claim(folder, resolved())
    text = (folder / "config.yaml").read_text()
    claim(folder, resolved())
    assert (folder / "config.yaml").read_text() == text
    wanted = r"another training.learning_rate, training.steps; give the same options .*\.$"
    with pytest.raises(TrainingError, match=wanted):
        claim(folder, resolved(steps=9, learning_rate=1.0))
    other = resolved()
    other["data"] = {"clips": 4, "processes": 1, "origin": {}}
    with pytest.raises(TrainingError, match=r"got another data.clips; "):
        claim(folder, other)
    wanted = r"another training\.\w+, training\.\w+, training\.\w+, training\.\w+ and more; "
    with pytest.raises(TrainingError, match=wanted):
        claim(folder, resolved(steps=9, kl=2.0, seed=1, warm_up=1, batch_size=1))
    assert (folder / "config.yaml").read_text() == text
    assert files(folder) == {"config.yaml"}


def test_configuration_of_a_run_is_a_recipe(tmp_path: Path) -> None:
    claim(tmp_path, resolved())
    recipe = read_recipe(tmp_path / "config.yaml", FirstFrameTrainingConfig)
    assert (recipe.model, recipe.training) == (SMALL, FIRST_FRAME_TRAINING)
    motion = resolved() | {"stage": "motion", "training": to_dict(MOTION_TRAINING)}
    claim(tmp_path / "motion", motion)
    recipe = read_recipe(tmp_path / "motion" / "config.yaml", MotionTrainingConfig)
    assert (recipe.model, recipe.training) == (SMALL, MOTION_TRAINING)


# What a result came from.


def test_every_start_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2, 3):
        monkeypatch.setattr("sys.argv", ["/usr/bin/seg2vid", "train", f"--steps={number}"])
        note_start(tmp_path, forecast={"steps": number})
    starts = json.loads((tmp_path / "starts.json").read_text())
    assert [start["command"][1:] for start in starts] == [
        ["train", f"--steps={number}"] for number in (1, 2, 3)
    ]
    assert [start["forecast"]["steps"] for start in starts] == [1, 2, 3]
    for start in starts:
        assert start["command"][0] == "seg2vid"
        assert {"time", "commit", "python", "packages", "platform", "threads"} <= set(start)
        assert start["packages"]["torch"].startswith(torch.__version__.split("+")[0])


@pytest.mark.parametrize("content", ["model: 'cut", "2001-99-99", "[" * 9000])
def test_a_damaged_configuration_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(
        TrainingError, match=r"the configuration of a run.*; got .*; choose another"
    ):
        claim(tmp_path, {"model": 1})
    assert (tmp_path / "config.yaml").read_text() == content


@pytest.mark.parametrize("content", ["{}", "[", "[" * 9000])
def test_damaged_starts_are_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "starts.json").write_text(content)
    with pytest.raises(TrainingError, match=r"a list of the starts of a run.*; got .*; delete it"):
        note_start(tmp_path)
    assert (tmp_path / "starts.json").read_text() == content
