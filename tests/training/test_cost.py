"""What a run is said to cost before it starts, and that asking costs the run nothing."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seg2vid.data.clips import TrainingBatches
from seg2vid.structures import Clip
from seg2vid.tools.errors import TrainingError
from seg2vid.training import cost as train_cost
from seg2vid.training import fine_tune, keeper, validation
from seg2vid.training import run as train
from seg2vid.training.config import RunConfig
from seg2vid.training.cost import (
    count_parameters,
    describe,
    forecast_run,
    format_time,
    measure_cost,
    seconds_of_steps,
    settings_end,
)
from seg2vid.training.curves import write_curves
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.folder import read_state
from seg2vid.training.stage import Stage
from seg2vid.training.validation import pick_clips
from tests.tiny import FIRST_FRAME_TRAINING, QUIET
from tests.training.test_folder import Rendered, files
from tests.training.test_stage import first_frame, motion, weights

CPU = torch.device("cpu")
GIB = 2**30


@pytest.fixture(scope="module")
def source() -> Rendered:
    return Rendered()


def figures(stage: Stage, clip: Clip) -> dict[str, float]:
    """A figure that is cheap."""
    assert not stage.training and not torch.is_grad_enabled()
    return {"L1, own look": 1.0}


def batches(stage: Stage, source: Rendered, settings: RunConfig = QUIET) -> TrainingBatches:
    config = stage.training_config
    return TrainingBatches(
        [(source, 1.0)],
        batch_size=config.batch_size,
        steps=settings_end(stage, settings),
        start=int(stage.step),
        seed=config.seed,
        stills=stage.stills,
        accumulate=config.accumulate,
    )


@pytest.mark.parametrize("make", [motion, first_frame])
def test_memory_of_a_batch_is_foretold_from_two_of_its_clips(
    make: Callable[..., Stage], source: Rendered
) -> None:
    stage = make(batch_size=6).train()
    clip = batches(stage, source)[0]
    kept = []
    for count in (2, 6):
        few = clip.map(lambda tensor, count=count: tensor[:count])
        kept.append(train_cost._kept_for_gradient(stage, few, QUIET))
    assert kept[0] > clip.first_frame[:2].nbytes
    assert 3 * kept[0] == pytest.approx(kept[1], rel=0.15)


def test_a_batch_that_does_not_fit_is_refused_before_it_is_tried(
    source: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = motion(batch_size=6, accumulate=2)
    monkeypatch.setattr(train_cost, "_kept_for_gradient", lambda *_: 2 * GIB)
    monkeypatch.setattr(train_cost, "_step", lambda *_: pytest.fail("it was tried"))
    for free, fix in (
        (3.5, "set --batch-size 3 --accumulate 4, or --recompute true"),
        (0.5, "set --batch-size 1 --accumulate 12 and --recompute true"),
    ):
        monkeypatch.setattr(train_cost, "free_memory", lambda _, free=free: free * GIB)
        wanted = f"about 6.00 GiB of memory for a step of 6 samples; got {free:.2f} GiB free; {fix}"
        with pytest.raises(TrainingError, match=re.escape(wanted)):
            measure(stage, source)
    monkeypatch.setattr(train_cost, "free_memory", lambda _: 7.0 * GIB)
    with pytest.raises(pytest.fail.Exception, match="it was tried"):
        measure(stage, source)


def measure(stage: Stage, source: Rendered, **changes: Any) -> dict[str, Any]:
    settings = replace(QUIET, measured_steps=1, **changes)
    picked = pick_clips([source], 2, stills=stage.stills)
    given = batches(stage, source, settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(validation.FIGURES, type(stage), figures)
        return measure_cost(stage, given, settings, picked, device=CPU)


def ask(stage: Stage, source: Rendered, world: int = 1) -> dict[str, Any]:
    given = batches(stage, source)
    picked = pick_clips([source], 1, stills=stage.stills)
    return forecast_run(stage, given, picked, QUIET, world=world, device=CPU)


# What is trained.


@pytest.mark.parametrize("make", [first_frame, motion])
def test_parameters_are_counted_part_by_part(make: Callable[[], Stage], source: Rendered) -> None:
    stage = make()
    counts = count_parameters(stage)
    assert counts == {
        name: sum(p.numel() for p in part.parameters()) for name, part in stage.parts().items()
    }
    trained = sum(p.numel() for p in stage.parameters() if p.requires_grad)
    assert sum(counts.values()) == trained, "no part is missed and none counts twice"
    optimized = sum(
        p.numel() for o in stage.make_optimizers() for g in o.param_groups for p in g["params"]
    )
    assert optimized == trained


def test_frozen_parameters_are_counted_apart(source: Rendered) -> None:
    stage = motion()
    before = count_parameters(stage)
    fine_tune.freeze(stage, ["motion_encoder"])
    forecast = ask(stage, source)
    assert forecast["parameters"] == before | {"motion_encoder": 0}
    assert forecast["frozen_parameters"] == before["motion_encoder"]
    assert f", {before['motion_encoder'] / 1e6:.2f} M frozen" in describe(forecast)


def test_forecast_is_told_in_a_few_lines(source: Rendered) -> None:
    stage = motion(accumulate=2)
    stage.step.fill_(1)
    told = ask(stage, source, world=3)
    lines = describe(told).splitlines()
    assert [line.split()[0] for line in lines] == [
        *("what", "clips", "classes", "batch", "where", "steps"),
    ]
    assert "motion, " in lines[0]
    assert "3 from clips; 1 held out" in lines[1]
    assert "batch  2 clips x 2 parts x 3 processes, 64x32, 1 + 3 frames" in lines[3]
    assert "1 to 4" in lines[5]
    looks = [batches(stage, source)[i].label_map.unique() for i in range(4)]
    seen = set(torch.cat(looks).tolist())
    names = stage.space.names
    assert told["classes_seen"] == [name for id_, name in enumerate(names) if id_ in seen]
    absent = [name for id_, name in enumerate(names[:-1]) if id_ not in seen]
    assert told["classes_absent"] == absent, "void is none that could be missing"
    assert f"{len(seen)} of {len(names)} in some clips; not {', '.join(absent)}" in lines[2]
    cost = {"flops_per_step": 2e9, "seconds_per_step": 0.5, "seconds": 100.0}
    cost |= {"memory_bytes": 2**30, "disk_bytes": 3 << 20}
    wanted = "2 GFLOP and 0.50 s a step, 2 min in all, 1.00 GiB of memory, 3 MiB on disk"
    assert f"cost  {wanted}" in describe(told | cost)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89.0, "89 s"), (90.0, "2 min"), (5399.0, "90 min"), (5400.0, "1.5 h")],
)
def test_time_is_written_as_people_say_it(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


# What it costs.


@pytest.fixture(scope="module")
def measured(source: Rendered) -> tuple[FirstFrameStage, dict[str, Any], dict[str, Any]]:
    stage = first_frame(batch_size=1, adversarial_start=2, steps=100).eval()
    stage.discriminator.requires_grad_(False)
    next(stage.discriminator.parameters()).requires_grad_(True)
    stage.step.fill_(3)
    before = weights(stage)
    asked = {"validate_every": 10, "sheet_every": 10, "save_every": 50}
    return stage, before, measure(stage, source, **asked)


def test_stage_is_as_it_was_after_it_was_measured(
    measured: tuple[FirstFrameStage, dict[str, Any], dict[str, Any]],
) -> None:
    stage, before, cost = measured
    now = stage.state_dict()
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)
    assert not any(module.training for module in stage.modules())
    assert sum(p.requires_grad for p in stage.discriminator.parameters()) == 1
    assert all(p.requires_grad and p.grad is None for p in stage.first_frame.parameters())
    assert min(cost.values()) > 0 and cost["seconds"] > 97 * cost["seconds_per_step"]


@pytest.mark.slow
def test_operations_double_with_the_batch_and_with_the_parts(
    source: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_cost, "_measure_keeping", lambda *given: (0.0, 0))
    flops = [
        measure(first_frame(batch_size=size, accumulate=parts), source)["flops_per_step"]
        for size, parts in ((1, 1), (2, 1), (1, 2))
    ]
    assert flops[0] > 1e6
    assert flops[1] == pytest.approx(2 * flops[0], rel=0.01)
    assert flops[2] == pytest.approx(2 * flops[0], rel=0.01)


@pytest.mark.slow
def test_all_that_is_left_of_a_run_is_counted(
    source: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every action is said to take a second, each step included."""

    def time(function: Callable[[], Any]) -> float:
        function()
        return 1.0

    monkeypatch.setattr(train_cost, "_time", time)
    stage = first_frame(steps=1000, batch_size=1, adversarial_start=600)
    asked = {"validate_every": 100, "sheet_every": 250, "save_every": 500}
    assert measure(stage, source, **asked)["seconds"] == 1000 + 10 * 2 + 4 + 2
    stage.step.fill_(700)
    assert measure(stage, source, **asked)["seconds"] == 300 + 3 * 2 + 2 + 1
    assert measure(stage, source, **asked, max_steps=800)["seconds"] == 100 + 1 * 2 + 1 + 1


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (0, 1000, 600 * 1 + 400 * 3),
        (0, 500, 500 * 1),
        (0, 600, 600 * 1),
        (200, 1000, 400 * 1 + 400 * 3),
        (700, 1000, 300 * 3),
        (1000, 1000, 0),
    ],
)
def test_seconds_are_summed_phase_by_phase(start: int, end: int, wanted: float) -> None:
    stage = first_frame(steps=1000, adversarial_start=600)
    stage.step.fill_(start)
    assert seconds_of_steps(stage, [1.0, 3.0], end) == pytest.approx(wanted)


def test_end_is_that_of_the_steps_or_of_the_settings() -> None:
    stage = first_frame(steps=10)
    ends = [settings_end(stage, replace(QUIET, max_steps=most)) for most in (0, 4, 40)]
    assert ends == [10, 4, 10]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["first-frame", "motion"])
def test_disk_is_foretold(tmp_path: Path, source: Rendered, kind: str) -> None:
    stage: Stage = first_frame(adversarial_start=2) if kind == "first-frame" else motion()
    settings = replace(QUIET, measured_steps=1, sheet_every=1, validate_every=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(validation.FIGURES, type(stage), figures)
        patch.setattr(keeper, "write_curves", write_curves)
        train.run(stage, [(source, 1.0)], tmp_path, settings, [source])
    foretold = json.loads((tmp_path / "starts.json").read_text())[0]["forecast"]["disk_bytes"]
    logs = 4 * train_cost.LOG_LINE
    kept = [name for name in files(tmp_path) if not name.startswith("log/")]
    written = sum((tmp_path / name).stat().st_size for name in kept)
    curves = (tmp_path / "curves.png").stat().st_size  # Of one size, however large the networks.
    assert foretold - logs == pytest.approx(written - curves, rel=0.15)


# Asking alone.


@pytest.mark.parametrize("steps_done", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_dry_run_writes_nothing(tmp_path: Path, source: Rendered, steps_done: int) -> None:
    training = replace(FIRST_FRAME_TRAINING, adversarial_start=100)

    def start(settings: RunConfig) -> None:
        torch.manual_seed(0)
        stage = FirstFrameStage(first_frame().model, training)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(validation.FIGURES, FirstFrameStage, figures)
            train.run(stage, [(source, 1.0)], tmp_path / "run", settings, [source])

    if steps_done:
        start(replace(QUIET, max_steps=steps_done))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    start(replace(QUIET, dry_run=True, measured_steps=1, validate_every=1, sheet_every=1))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert bool(before) == bool(steps_done)
    state = read_state(tmp_path / "run")
    assert (0 if state is None else int(state.tensors["step"])) == steps_done


def test_forecast_of_a_motion_stage_names_its_frames(source: Rendered) -> None:
    assert re.search(r"64x32, 1 \+ 3 frames$", describe(ask(motion(), source)), re.MULTILINE)
    assert re.search(r"2 frames, 64x32$", describe(ask(first_frame(), source)), re.MULTILINE)
