"""Golden curves: every loss term of thirty steps of each stage, as they were when last approved.

A changed weight, sign, schedule, seed or order of dice changes them, whether it was meant or not.
Whoever means it writes them anew and commits the difference, which shows reviewers what changed::

    PYTHONPATH=src python -m tests.training.test_golden_curves        # writes tests/golden/*.csv
    git diff --stat tests/golden                             # only the stages that were meant?

The change log then says why: weights trained before are no longer what the same command trains. A
pull request that says it changes no training leaves these files alone.

How close a run must come: another number of threads, or kernels of another machine, change the
order of sums, so the last bit, which Adam makes larger, for it divides a gradient by its size. With
two threads, and without oneDNN, terms differed by 3e-4 of themselves within three steps, 6e-3
within ten and 1e-2 within thirty, the divergence (small, and all noise) by ten times that; at the
usual learning rate they would by 5e-1, so it is lower here. A loss weight changed by a tenth
changes its term by a tenth at its first step.
"""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from seg2vid.data.clips import ClipSource, render_toycity
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.training import run as train
from seg2vid.training.config import FirstFrameTrainingConfig, MotionTrainingConfig, RunConfig
from seg2vid.training.recipes import make_stage
from tests.tiny import (
    CONFIG,
    FIRST_FRAME_TRAINING,
    HEIGHT,
    MOTION_TRAINING,
    NUM_FRAMES,
    WIDTH,
    InMemory,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
STEPS = 30
Training = FirstFrameTrainingConfig | MotionTrainingConfig
Row = dict[str, float]

MOTION = replace(MOTION_TRAINING, steps=STEPS, warm_up=5, learning_rate=1e-4, kl_warm_up=10)
TRAININGS: dict[str, Training] = {
    "first_frame": replace(
        FIRST_FRAME_TRAINING,
        steps=STEPS,
        warm_up=5,
        learning_rate=1e-4,
        discriminator_learning_rate=1e-4,
        adversarial_start=10,
        prior_share=0.5,
    ),
    "motion": MOTION,
    "motion_from_pictures": replace(MOTION, exact_motion=False),
}
"""What is trained: every schedule moves within thirty steps; the discriminator joins at step 10."""

TOLERANCES = ((3, 1e-3), (10, 2e-2), (STEPS, 5e-2))
"""Up to which step a term may be off by which share of itself."""
LOOSER = {"kl": 5.0}
"""Terms that may be off by so many times that."""


def render_clips() -> InMemory:
    """Toy-city clips rendered on the spot: the golden curves need no file but their own."""
    city = ToyCityConfig(height=HEIGHT, width=WIDTH, num_frames=NUM_FRAMES)
    return InMemory([render_toycity(seed, city) for seed in range(6)])


@pytest.fixture(scope="module")
def source() -> ClipSource:
    return render_clips()


def train_steps(training: Training, source: ClipSource, steps: int = STEPS) -> list[Row]:
    """Take the first steps of a training as ``train.run`` does; return the terms of each."""
    stage = make_stage(training, CONFIG).train()
    alone = SimpleNamespace(global_rank=0, world_size=1)
    batches = train.make_batches(stage, [(source, 1.0)], RunConfig(), alone)
    optimizers = stage.make_optimizers()
    rows = []
    for index in range(steps):
        terms = stage.take_turns(batches[index], optimizers, torch.Tensor.backward)
        rates = {f"rate_{n}": one.param_groups[0]["lr"] for n, one in enumerate(optimizers)}
        norms = {f"norm_{n}": float(stage.typical_norm[n]) for n in range(len(optimizers))}
        rows.append({name: float(term) for name, term in terms.items()} | rates | norms)
    return rows


def read_golden(name: str) -> list[Row]:
    with (GOLDEN / f"{name}.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    return [{key: float(value) for key, value in row.items() if value} for row in read]


def find_differences(rows: list[Row], golden: list[Row]) -> list[str]:
    """Say where rows are further from the golden ones than the tolerance allows."""
    found = []
    for step, (row, wanted) in enumerate(zip(rows, golden, strict=True)):
        share = next(share for end, share in TOLERANCES if step < end)
        for name in sorted({*row, *wanted} - {"step"}):
            if name not in row or name not in wanted:
                found.append(f"step {step}: {name} is in one of them only")
                continue
            allowed = 1e-6 if name.startswith("rate") else share * LOOSER.get(name, 1)
            if abs(row[name] - wanted[name]) > allowed * abs(wanted[name]):
                found.append(f"step {step}: {name} {row[name]:.7g}, golden {wanted[name]:.7g}")
    return found


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        *(pytest.param(name, STEPS, marks=pytest.mark.slow) for name in TRAININGS),
        *(("first_frame", 12), ("motion", 12)),
    ],
)
def test_training_follows_its_golden_curve(name: str, steps: int, source: ClipSource) -> None:
    rows = train_steps(TRAININGS[name], source, steps)
    differences = find_differences(rows, read_golden(name)[:steps])
    advice = "meant? see the head of this file"
    assert not differences, f"{len(differences)} differences, {advice}: {differences[:5]}"


@pytest.mark.parametrize("name", TRAININGS)
def test_golden_curve_holds_every_term_and_moves(name: str) -> None:
    golden = read_golden(name)
    assert len(golden) == STEPS
    assert {"kl", "rate_0", "norm_0"} <= set(golden[0])
    assert ("reconstruction" in golden[0]) == (name != "motion")
    if name == "first_frame":
        assert "discriminator_mixing" not in golden[9] and golden[10]["discriminator_mixing"] > 0
        assert golden[9]["norm_1"] == 0 < golden[10]["norm_1"]
    else:
        assert ("flow" in golden[0]) == (name == "motion")
    rates = [row["rate_0"] for row in golden]
    assert max(rates) > 2 * max(rates[0], rates[-1]), "the rate rises and falls"


def write_golden(name: str, rows: list[Row]) -> None:
    keys = ["step", *dict.fromkeys(key for row in rows for key in row)]
    with (GOLDEN / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, keys, lineterminator="\n")
        writer.writeheader()
        for step, row in enumerate(rows):
            writer.writerow({"step": step} | {key: f"{value:.7g}" for key, value in row.items()})


def main() -> None:
    """Write all golden curves anew."""
    torch.set_num_threads(1)
    GOLDEN.mkdir(exist_ok=True)
    source = render_clips()
    for name, training in TRAININGS.items():
        write_golden(name, train_steps(training, source))
        print(f"wrote {GOLDEN / name}.csv")


if __name__ == "__main__":
    main()
