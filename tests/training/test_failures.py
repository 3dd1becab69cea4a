"""What stops a run in one line; a diverged step is kept and can be computed again."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from seg2vid.cli import main as cli
from seg2vid.data.clips import TrainingBatches
from seg2vid.structures import Camera, Clip
from seg2vid.tools.errors import DivergenceError, MediaError, TrainingError
from seg2vid.training import losses
from seg2vid.training import run as train
from seg2vid.training.failures import keep_evidence, read_batch, replay, told_in_one_line
from seg2vid.training.recipes import make_stage
from tests.tiny import MOTION_TRAINING, QUIET
from tests.training.test_folder import Rendered
from tests.training.test_stage import SMALL, first_frame


@pytest.fixture(scope="module")
def source() -> Rendered:
    return Rendered()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, source: Rendered) -> Path:
    """A run that divided by nothing at step 1."""
    folder = tmp_path_factory.mktemp("diverged")
    calls = []

    def broken(*given: torch.Tensor, scale: float) -> torch.Tensor:
        calls.append(1)
        good = real(*given, scale=scale)
        return good if len(calls) == 1 else torch.log(good * 0 - 1)

    real = losses.flow_loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "flow_loss", broken)
        with pytest.raises(DivergenceError) as raised:
            train.run(make_stage(MOTION_TRAINING, SMALL), [(source, 1.0)], folder / "run", QUIET)
    line = str(raised.value)
    assert "finite losses and gradients at step 1; got flow = nan" in line
    assert line.count("\n") == 0 and f"train replay {folder / 'run'}`" in line
    assert len(calls) == 2
    return folder / "run"


def as_dict(clip: Clip) -> dict[str, torch.Tensor]:
    """Every tensor of a clip by name."""
    motion = {} if clip.motion is None else vars(clip.motion)
    camera = {} if clip.camera is None else vars(clip.camera)
    every = {**vars(clip), **motion, **camera}
    return {name: value for name, value in every.items() if isinstance(value, torch.Tensor)}


def test_the_batch_that_was_kept_is_the_one_of_that_step(run: Path, source: Rendered) -> None:
    batches = TrainingBatches([(source, 1.0)], batch_size=2, steps=2, start=1, seed=0, stills=False)
    kept = as_dict(read_batch(run / "diverged" / "batch_0.safetensors"))
    drawn = as_dict(batches[0])
    assert kept.keys() == drawn.keys() and "forward_flow" in kept
    assert all(torch.equal(kept[name], drawn[name]) for name in drawn)


def test_a_camera_is_kept_with_the_batch(tmp_path: Path) -> None:
    stage = first_frame()
    camera = Camera(torch.tensor([80.0]), torch.tensor([[32.0, 16.0]]))
    picture = torch.rand(1, 3, 32, 64)
    label_map = torch.zeros(1, 32, 64, dtype=torch.long)
    stage.batch = Clip(picture, picture[:, None].clone(), label_map, camera=camera)
    error = DivergenceError("finite losses", got="nan", terms={}, norm=1.0)
    kept = read_batch(keep_evidence(tmp_path, stage, error) / "batch_0.safetensors")
    assert kept.camera is not None and torch.equal(kept.camera.centre, camera.centre)
    assert as_dict(kept).keys() == as_dict(stage.batch).keys() and kept.motion is None


def test_replay_of_a_healthy_step_says_that_it_was_finite(run: Path) -> None:
    found = replay(run)
    assert found.step == 1 and found.cause == ""
    assert found.terms["flow"] > 0 and set(found.gradient_norms) == {
        *("motion_encoder", "flow_decoder", "refiner"),
    }


def test_replay_names_the_operation(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = losses.flow_loss
    # A square root has no slope at 0: what is finite going forward is not going back.
    broken = lambda *given, **more: torch.sqrt(real(*given, **more) * 0) * 0 + 1  # noqa: E731
    monkeypatch.setattr(losses, "flow_loss", broken)
    found = replay(run)
    assert "SqrtBackward0" in found.cause and found.terms["flow"] == 1
    assert cli.main(["train", "replay", str(run)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("step 1: ") and "term flow" in printed and "SqrtBackward0" in printed


@pytest.mark.slow
def test_replay_takes_the_step_that_the_run_took(
    run: Path, source: Rendered, tmp_path: Path
) -> None:
    """Terms are those that a run logs at that step: the same weights, batch and dice."""
    settings = replace(QUIET, max_steps=2)
    train.run(make_stage(MOTION_TRAINING, SMALL), [(source, 1.0)], tmp_path, settings)
    rows = (tmp_path / "log" / "version_0" / "metrics.csv").read_text().splitlines()
    logged = dict(zip(rows[0].split(","), rows[2].split(","), strict=True))
    for name, value in replay(run).terms.items():
        assert float(logged[f"train/{name}"]) == pytest.approx(value, rel=1e-6)


def test_a_run_that_kept_nothing_cannot_be_replayed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"a kept batch in .*diverged; got none; replay a run"):
        replay(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", "\ufffe".encode(), "the configuration of a run in .*; got "),
        ("config.yaml", b"stage: [motion]", r"in .*; got stage \['motion'\]; fetch"),
        ("config.yaml", b"- motion", "in .*; got stage None; fetch"),
        ("diverged/state.safetensors", b"cut", "the state and batch of this run in .*; got "),
        ("diverged/batch_0.safetensors", b"cut", "the state and batch of this run in .*; got "),
    ],
)
def test_a_damaged_run_cannot_be_replayed(
    run: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / name).write_bytes(content)
    with pytest.raises(TrainingError, match=message):
        replay(copy)


def test_a_pipe_in_place_of_the_state_is_not_waited_for(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    state = copy / "diverged" / "state.safetensors"
    state.unlink()
    os.mkfifo(state)
    with pytest.raises(TrainingError, match="which is a pipe or device; copy it to a file first"):
        replay(copy)


def test_a_kept_batch_of_other_classes_is_refused(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / "diverged" / "batch_0.safetensors"
    batch = load_file(path)
    batch["label_map"][0, 0, 0] = 10**12
    save_file(batch, path)
    with pytest.raises(TrainingError, match=f"got class {10**12} in it; fetch the folder again"):
        replay(copy)


def test_full_memory_comes_with_advice(tmp_path: Path) -> None:
    stage = first_frame()
    wanted = r"^Expected memory .*; lower --batch-size .*\.$"
    with pytest.raises(TrainingError, match=wanted), told_in_one_line(stage, tmp_path):
        raise MemoryError("Unable to allocate 3 TiB")
    with pytest.raises(TrainingError, match="--recompute"), told_in_one_line(stage, tmp_path):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    with pytest.raises(RuntimeError, match="shapes") as other, told_in_one_line(stage, tmp_path):
        raise RuntimeError("shapes do not match")
    assert not isinstance(other.value, TrainingError)
    with pytest.raises(MediaError, match=r"^as it is$"), told_in_one_line(stage, tmp_path):
        raise MediaError("as it is")
    assert not any(tmp_path.iterdir())
