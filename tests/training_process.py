"""One process of a training, as launchers start it: ``python -m tests.training_process JOB.json``.

It goes through ``train.run``. Lightning starts its other processes by the same command line, so
what a test wants to be different from a user's run must be done here, in each of them.
"""

import json
import os
import signal
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from seg2vid.data.clips import ClipFolder
from seg2vid.training import run as train
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.recipes import make_stage
from seg2vid.training.stage import Stage
from tests.tiny import CONFIG, FIRST_FRAME_TRAINING, MOTION_TRAINING, QUIET

TRAININGS: dict[str, Any] = {"first-frame": FIRST_FRAME_TRAINING, "motion": MOTION_TRAINING}


@dataclass(frozen=True)
class Job:
    """What one process is to do."""

    stage: str
    clips: str
    output: str
    report: str
    """Folder in which each process leaves the weights it ended with."""
    training: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    is_silent: bool = False
    """Without dice, batch statistics and Adam's division by small numbers: see ``silence``."""
    die_at: tuple[str, str, int] | None = None
    """When the process that saves kills itself: see ``prepare_death``."""


def main(path: str) -> None:
    """Do the job in the file and leave the weights, whole, for the test to compare."""
    torch.set_num_threads(1)
    job = Job(**json.loads(Path(path).read_text()))
    stage = make_stage(replace(TRAININGS[job.stage], **job.training), CONFIG)
    if job.is_silent:
        silence(stage)
    if job.die_at:
        prepare_death(*job.die_at)
    clips, settings = ClipFolder(Path(job.clips)), replace(QUIET, **job.settings)
    train.run(stage, [(clips, 1.0)], Path(job.output), settings, [clips])
    report = Path(job.report)
    report.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in stage.state_dict().items()}
    save_file(tensors, report / f"rank_{stage.global_rank}.safetensors")


def silence(stage: Stage) -> None:
    """Make the gradient of a batch the mean of the gradients of its halves.

    Noise is zero, for each process draws its own; batch norm uses its running figures, for each
    process would use those of its half; and Adam does not divide by much less than 1, for that
    makes a whole step of a gradient that is rounding only.
    """

    def zeros(*size: Any, **_: Any) -> torch.Tensor:
        """Draw nothing."""
        return torch.zeros(*size)

    def quarter(*_: Any, **__: Any) -> torch.Tensor:
        """Draw the same number always."""
        return torch.tensor(0.25)

    torch.randn, torch.randn_like, torch.rand = zeros, torch.zeros_like, quarter
    FirstFrameStage.norms_are_frozen = True  # type: ignore[assignment, method-assign]
    make_optimizers = stage.make_optimizers

    def tamed() -> list[torch.optim.Optimizer]:
        """Make them with a large epsilon."""
        optimizers = make_optimizers()
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["eps"] = 1.0
        return optimizers

    stage.make_optimizers = tamed  # type: ignore[method-assign]


def prepare_death(name: str, place: str, time: int) -> None:
    """Let the process be killed, as by ``kill -9``, the ``time``-th time a file is saved.

    ``place`` says when: "before" the whole new file ``name`` takes its place, or "after" it did.
    """
    move, passed = os.replace, 0

    def moving(path: Any, target: Any) -> None:
        """Move a file, and end without a word before it or after it."""
        nonlocal passed
        passed += Path(target).name == name
        is_time = passed == time and Path(target).name == name
        if is_time and place == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        move(path, target)
        if is_time:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = moving


if __name__ == "__main__":
    main(sys.argv[1])
