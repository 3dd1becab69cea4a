"""What goes on beside the steps of a run: files, log, best weights, signals, and what stops it."""

import csv
import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import get_worker_info

from seg2vid.models.checkpoint import load_checkpoint
from seg2vid.structures import Clip
from seg2vid.tools.errors import DivergenceError, MediaError, TrainingError
from seg2vid.training import keeper, validation
from seg2vid.training import run as train
from seg2vid.training.config import FirstFrameTrainingConfig, RunConfig
from seg2vid.training.curves import write_curves
from seg2vid.training.failures import read_batch
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.folder import read_state
from seg2vid.training.motion import MotionStage
from seg2vid.training.recipes import read_recipe
from seg2vid.training.stage import Stage, Terms
from tests.tiny import FIRST_FRAME_TRAINING, MOTION_TRAINING, QUIET
from tests.training.test_folder import Rendered, files
from tests.training.test_stage import SMALL, backward

PLAIN = replace(FIRST_FRAME_TRAINING, adversarial_start=100)
"""The cheapest training there is: no discriminator."""


@pytest.fixture(scope="module")
def source() -> Rendered:
    return Rendered()


def start(
    output: Path,
    source: Rendered,
    settings: RunConfig = QUIET,
    training: Any = PLAIN,
    validation: Rendered | None = None,
    prepare: Callable[[Stage], None] | None = None,
) -> Stage:
    """Run, or go on with, a tiny training; return the stage."""
    torch.manual_seed(0)
    kind = FirstFrameStage if isinstance(training, FirstFrameTrainingConfig) else MotionStage
    stage = kind(SMALL, training)
    if prepare is not None:
        prepare(stage)
    held_out = [] if validation is None else [validation]
    train.run(stage, [(source, 1.0)], output, settings, held_out)
    return stage


def after_step(step: int, action: Callable[[], None]) -> Callable[[Stage], None]:
    """Do something within the last batch of the step after so many."""

    def prepare(stage: Stage) -> None:
        real = stage.follow

        def follow() -> None:
            real()
            if int(stage.step) == step:
                action()

        stage.follow = follow  # type: ignore[method-assign]

    return prepare


def breaks_at(step: int, value: float) -> Callable[[Stage], None]:
    """Let a term come to ``value`` at a step."""

    def prepare(stage: Stage) -> None:
        real = stage.turns

        def turns(clip: Clip) -> Iterator[Terms]:
            for terms in real(clip):
                broken = terms["kl"] * value if int(stage.step) == step else terms["kl"]
                yield terms | {"kl": broken}

        stage.turns = turns  # type: ignore[method-assign]

    return prepare


def figures(stage: Stage, clip: Clip) -> dict[str, float]:
    """A figure that is cheap."""
    return {"L1, posterior": 1 / (1 + int(stage.step)), "accuracy": float(stage.step)}


def same_weights(one: Path, other: Path) -> bool:
    states = [read_state(folder) for folder in (one, other)]
    a, b = (state.tensors for state in states if state is not None)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# What a run leaves.


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, source: Rendered
) -> tuple[Path, list[dict[str, float]]]:
    """A motion run of three steps, two batches each, and the terms of every batch."""
    seen: list[dict[str, float]] = []
    real = MotionStage.take_turns

    def watched(stage: MotionStage, *given: Any, **options: Any) -> Terms:
        terms = real(stage, *given, **options)
        seen.append({name: float(term) for name, term in terms.items()})
        return terms

    folder = tmp_path_factory.mktemp("run")
    settings = replace(QUIET, validate_every=2, sheet_every=3, save_every=2)
    settings = replace(settings, log_every=2, max_steps=3)
    training = replace(MOTION_TRAINING, steps=4, batch_size=1, accumulate=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(validation.FIGURES, MotionStage, figures)
        patch.setattr(MotionStage, "take_turns", watched)
        patch.setattr(keeper, "write_curves", write_curves)
        start(folder, source, settings, training, validation=source)
    return folder, seen


def test_run_leaves_exactly_what_is_documented(run: tuple[Path, Any]) -> None:
    folder, _ = run
    found = files(folder)
    events = {name for name in found if "events.out.tfevents" in name}
    assert len(events) == 1 and next(iter(events)).startswith("log/version_0/")
    assert found - events == {
        *("config.yaml", "starts.json", "summary.json", "curves.png"),
        *("state.safetensors", "state.older.safetensors"),
        *("model.safetensors", "best.safetensors"),
        *("log/version_0/metrics.csv", "log/version_0/hparams.yaml"),
        *("sheets/step_000003.png", "videos/step_000003.mp4"),
    }
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["steps"], summary["is_done"]) == (3, True)
    assert summary["best"] == {"figure": "L1, posterior", "value": 0.25, "step": 3}
    assert summary["seconds"] > 0 and summary["peak_memory_bytes"] > 1e6
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert summary["disk_bytes"] == pytest.approx(size, rel=0.05)
    recipe = read_recipe(folder / "config.yaml")
    assert recipe.training == replace(MOTION_TRAINING, steps=4, batch_size=1, accumulate=2)
    provenance = load_checkpoint(folder / "model.safetensors").provenance
    assert provenance["steps_done"] == 3 and provenance["clips"] == 3
    assert provenance["best"]["step"] == 3


def test_log_holds_means_over_the_steps_since_the_last_line(
    run: tuple[Path, list[dict[str, float]]],
) -> None:
    folder, seen = run
    text = (folder / "log" / "version_0" / "metrics.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(steps) and set(steps) == {2, 3}
    logged = [row for row in rows if row["loss"]]
    assert [int(row["step"]) for row in logged] == [2]
    assert len(seen) == 6, "three steps of two batches"
    row = logged[0]
    for name in seen[0]:
        mean = sum(terms[name] for terms in seen[:4]) / 4
        assert float(row[f"train/{name}"]) == pytest.approx(mean, rel=1e-5), name
    total = sum(sum(terms.values()) for terms in seen[:4]) / 4
    assert float(row["loss"]) == pytest.approx(total, rel=1e-5)
    groups = {name.partition("/")[0] for name in row} - {"epoch"}
    assert groups == {"step", "loss", "train", "gradient", "rate", "pace", "validation"}
    parts = {name.partition("/")[2] for name in row if name.startswith("gradient/")}
    assert parts == {"motion_encoder", "flow_decoder", "refiner"}
    assert all(float(row[f"gradient/{part}"]) > 0 for part in parts)
    assert float(row["rate/motion_encoder"]) == pytest.approx(6e-4)
    assert float(row["pace/steps a second"]) > 0
    shown = [float(row["validation/accuracy"]) for row in rows if row["validation/accuracy"]]
    assert shown == [2.0, 3.0]


@pytest.mark.parametrize(("seconds", "wanted"), [(60, [4]), (0, [2, 4])])
def test_curves_are_drawn_at_the_end_and_at_savings_some_time_apart(
    tmp_path: Path,
    source: Rendered,
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    wanted: list[int],
) -> None:
    titles: list[str] = []
    monkeypatch.setattr(keeper, "CURVES_EVERY", seconds)
    monkeypatch.setattr(keeper, "write_curves", lambda _, title, **__: titles.append(title))
    stage = FirstFrameStage(SMALL, replace(FIRST_FRAME_TRAINING, steps=4))
    train.run(stage, [(source, 1.0)], tmp_path, replace(QUIET, save_every=2))
    assert titles == [f"FirstFrameStage, step {step}" for step in wanted]


# The best weights.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choose_by", "values", "best"),
    [
        ("L1, own look", [3.0, 1.0, 2.0, 2.0], 2),
        ("pixel accuracy", [0.2, 0.3, 0.9, 0.8], 3),
        ("", [5.0, 4.0, 4.5, 3.0], 4),
    ],
)
def test_best_weights_are_those_of_the_best_figure_over_all_starts(
    tmp_path: Path,
    source: Rendered,
    monkeypatch: pytest.MonkeyPatch,
    choose_by: str,
    values: list[float],
    best: int,
) -> None:
    def known(stage: Stage, clip: Clip) -> dict[str, float]:
        value = values[int(stage.step) - 1]
        return {"L1, own look": value, "pixel accuracy": value, "other": -value}

    monkeypatch.setitem(validation.FIGURES, FirstFrameStage, known)
    settings = replace(QUIET, validate_every=1, choose_by=choose_by)
    weights = {}
    for end in (1, 2, 3, 4):  # Each step in a start of its own.
        start(tmp_path, source, replace(settings, max_steps=end), validation=source)
        weights[end] = load_checkpoint(tmp_path / "model.safetensors").weights
    kept = load_checkpoint(tmp_path / "best.safetensors")
    assert kept.provenance["steps_done"] == best
    figure = choose_by or "L1, own look"
    wanted = {"figure": figure, "value": values[best - 1], "step": best}
    assert kept.provenance["best"] == wanted
    assert all(torch.equal(kept.weights[name], weights[best][name]) for name in kept.weights)
    assert json.loads((tmp_path / "summary.json").read_text())["best"] == wanted


def test_unknown_figure_is_refused_and_those_there_are_named(
    tmp_path: Path, source: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(validation.FIGURES, FirstFrameStage, figures)
    settings = replace(QUIET, validate_every=1, choose_by="beauty")
    wanted = r"--choose-by: L1, posterior; accuracy; got 'beauty'; name one of them\.$"
    with pytest.raises(TrainingError, match=wanted):
        start(tmp_path, source, settings, validation=source)
    assert not (tmp_path / "best.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("training", [FIRST_FRAME_TRAINING, MOTION_TRAINING])
def test_looking_at_a_run_does_not_change_it(
    tmp_path: Path, source: Rendered, training: Any
) -> None:
    looking = replace(QUIET, validate_every=1, sheet_every=1, measured_steps=1, log_every=3)
    start(tmp_path / "seen", source, looking, training, validation=Rendered(2, first=7))
    start(tmp_path / "unseen", source, replace(QUIET, save_every=4), training)
    assert same_weights(tmp_path / "seen", tmp_path / "unseen")


# Signals.


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_step_saves_and_the_same_command_finishes(
    tmp_path: Path, source: Rendered, number: int
) -> None:
    settings = replace(QUIET, save_every=100)
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    stopping = after_step(1, lambda: os.kill(os.getpid(), number))
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "stopped", source, settings, prepare=stopping)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    state = read_state(tmp_path / "stopped")
    assert state is not None and int(state.tensors["step"]) == 2, "the step was finished"
    summary = json.loads((tmp_path / "stopped" / "summary.json").read_text())
    assert (summary["steps"], summary["is_done"]) == (2, False)
    start(tmp_path / "stopped", source, settings)
    start(tmp_path / "whole", source, settings)
    assert same_weights(tmp_path / "stopped", tmp_path / "whole")
    assert json.loads((tmp_path / "stopped" / "summary.json").read_text())["is_done"]


@pytest.mark.slow
def test_second_signal_stops_at_once(tmp_path: Path, source: Rendered) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the step went on")

    before = signal.getsignal(signal.SIGINT)
    # Lightning turns the interrupt into an exit of the program.
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        start(tmp_path, source, prepare=after_step(1, twice))
    assert signal.getsignal(signal.SIGINT) is before
    state = read_state(tmp_path)
    assert state is not None and int(state.tensors["step"]) == 1


# What stops a run.


def test_diverged_run_keeps_its_evidence_and_its_state(tmp_path: Path, source: Rendered) -> None:
    before = signal.getsignal(signal.SIGINT)
    training = replace(PLAIN, steps=3)
    with pytest.raises(DivergenceError, match=r"at step 2; got kl = nan, .*diverged") as caught:
        start(tmp_path, source, training=training, prepare=breaks_at(2, float("nan")))
    assert "\n" not in str(caught.value)
    assert signal.getsignal(signal.SIGINT) is before, "an error gives the signals back, too"
    kept = tmp_path / "diverged"
    assert files(kept) == {"batch_0.safetensors", "state.safetensors", "what_0.json"}
    what = json.loads((kept / "what_0.json").read_text())
    assert what["step"] == 2 and math.isnan(what["terms"]["kl"])
    state = read_state(tmp_path)
    assert state is not None and int(state.tensors["step"]) == 2
    assert all(torch.isfinite(tensor).all() for tensor in state.tensors.values())
    start(tmp_path, source, training=training)
    state = read_state(tmp_path)
    assert state is not None and int(state.tensors["step"]) == 3


@pytest.mark.slow
def test_resumed_run_forgets_that_it_diverged(tmp_path: Path, source: Rendered) -> None:
    with pytest.raises(DivergenceError):
        start(tmp_path / "broken", source, prepare=breaks_at(2, float("inf")))
    start(tmp_path / "broken", source)
    start(tmp_path / "whole", source)
    assert same_weights(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("training", [PLAIN, replace(MOTION_TRAINING, exact_motion=False)])
def test_evidence_diverges_again(tmp_path: Path, source: Rendered, training: Any) -> None:
    training = replace(training, learning_rate=1e25)
    with pytest.raises(DivergenceError, match="finite losses and gradients at step") as caught:
        start(tmp_path, source, training=training)
    kept = tmp_path / "diverged"
    kind = FirstFrameStage if isinstance(training, FirstFrameTrainingConfig) else MotionStage
    stage = kind(SMALL, training)
    stage.load_state_dict(load_file(kept / "state.safetensors"))
    clip = read_batch(kept / "batch_0.safetensors")
    with pytest.raises(DivergenceError) as again:
        stage.take_turns(clip, stage.make_optimizers(), backward)
    assert str(again.value).partition(";")[0] == str(caught.value).partition(";")[0]
    for name, value in caught.value.terms.items():
        repeated = again.value.terms[name]
        assert math.isnan(value) == math.isnan(repeated)
        assert math.isnan(value) or repeated == pytest.approx(value, rel=1e-4)


class Unreadable(Rendered):
    """Clips that a process of their own cannot read."""

    def read_still(self, index: int, time: int, /) -> Clip:
        if get_worker_info() is not None:
            raise MediaError("Expected a clip: a good one; got a bad one; fetch it again.")
        return super().read_still(index, time)


@pytest.mark.slow
def test_error_of_a_reading_process_is_one_line(tmp_path: Path) -> None:
    wanted = r"^Expected a clip: a good one; got a bad one; fetch it again\.$"
    with pytest.raises(MediaError, match=wanted) as caught:
        start(tmp_path, Unreadable(), replace(QUIET, workers=1))
    assert "\n" not in str(caught.value)
