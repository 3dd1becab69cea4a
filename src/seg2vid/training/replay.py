"""A diverged step once more: from the batch and the state that a stopped run kept."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from seg2vid.labels.space import LabelSpace
from seg2vid.models.config import ModelConfig, from_dict
from seg2vid.structures import Clip, Motion
from seg2vid.tools.errors import DivergenceError, TrainingError
from seg2vid.training.config import STAGE_NAMES
from seg2vid.training.stage import Stage
from seg2vid.training.stages import make_stage


@dataclass(frozen=True)
class Replay:
    """What a step came to when it was computed again."""

    step: int
    terms: dict[str, float]
    gradient_norms: dict[str, float]
    """Of each part, before clipping."""
    cause: str
    """The operation that gave the first number that is none, empty where all were finite."""


def replay(run: Path, *, judges: Path | None = None, process: int = 0) -> Replay:
    """Compute the step at which ``run`` diverged again, in single precision, and find the cause.

    ``judges`` is the folder of LPIPS and VGG weights that the run was given; ``process`` the number
    of the process whose batch is taken. Raises ``TrainingError`` for a folder that kept nothing.
    """
    kept = run / "diverged"
    if not (kept / f"batch_{process}.safetensors").is_file():
        what, got = f"a kept batch in {kept}", "none"
        fix = "replay a run that stopped because it diverged"
        raise TrainingError(what, got=got, fix=fix)
    resolved = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
    kind = next(kind for kind, name in STAGE_NAMES.items() if name == resolved["stage"])
    config = from_dict(ModelConfig, resolved["model"])
    space = LabelSpace.from_dict(config.label_space)
    training: Any = replace(from_dict(kind, resolved["training"]), accumulate=1)
    stage = make_stage(training, config, space, judges)
    stage.load_state_dict(load_file(kept / "state.safetensors"))
    clip = read_batch(kept / f"batch_{process}.safetensors")
    return _take_step(stage.train(), clip)


def _take_step(stage: Stage, clip: Clip) -> Replay:
    """Let the stage take the step with every operation watched."""
    stage.measures_gradients = True
    step, cause = int(stage.step), ""
    optimizers = stage.make_optimizers()
    try:
        with torch.autograd.set_detect_anomaly(True):
            terms = stage.take_turns(clip, optimizers, torch.Tensor.backward)
        values = {name: float(term) for name, term in terms.items()}
    except DivergenceError as error:
        values, cause = error.terms, str(error)
    except RuntimeError as error:
        # Anomaly detection names the operation.
        values, cause = {}, str(error).splitlines()[0]
    if not values:
        with torch.no_grad():
            values = {name: float(term) for name, term in stage(clip).items()}
    return Replay(step, values, dict(stage.gradient_norms), cause)


def read_batch(path: Path) -> Clip:
    """Read a batch that a stopped run kept."""
    found = load_file(path)
    motion = {
        name.removeprefix("motion."): value
        for name, value in found.items()
        if name.startswith("motion.")
    }
    plain: dict[str, Any] = {name: value for name, value in found.items() if "." not in name}
    return Clip(**plain, motion=Motion(**motion) if motion else None)
