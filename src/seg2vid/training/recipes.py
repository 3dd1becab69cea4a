"""Recipes: one YAML file says which networks are trained and with which objective; then the stage.

Keys, none of them required: ``stage`` says what is trained; ``preset`` names networks and ``model``
what differs from them (fields of ``ModelConfig``); ``objective`` names weights of the losses of the
motion stage (by default those for its networks) and ``training`` what differs from them. ``data``
is a record and not read. ``recipes/`` holds one for each published experiment, and ``config.yaml``
of a run is one.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.models.checkpoint import check_sizes
from seg2vid.models.config import ModelConfig, preset, to_dict
from seg2vid.models.judges.perceptual import load_perceptual_networks
from seg2vid.tools.errors import ModelError, TrainingError
from seg2vid.tools.plain import build, read_plain
from seg2vid.tools.ranges import check_ranges
from seg2vid.training.config import (
    OBJECTIVES,
    STAGE_NAMES,
    FirstFrameTrainingConfig,
    MotionTrainingConfig,
    RefinerTrainingConfig,
    SegmenterTrainingConfig,
)
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.motion import MotionStage
from seg2vid.training.refiner import RefinerStage
from seg2vid.training.segmenter import SegmenterStage
from seg2vid.training.stage import Stage

STAGES: dict[type, Any] = {
    FirstFrameTrainingConfig: FirstFrameStage,
    MotionTrainingConfig: MotionStage,
    RefinerTrainingConfig: RefinerStage,
    SegmenterTrainingConfig: SegmenterStage,
}
"""What each configuration trains."""


@dataclass(frozen=True)
class _File:
    """What stands in a recipe's file."""

    stage: str | None = None
    preset: str = "geometry"
    model: dict[str, Any] | None = None
    objective: str | None = None
    training: dict[str, Any] | None = None
    data: Any = None


_PACKAGE = Path(__file__).parents[1]
FOLDERS = (_PACKAGE / "recipes", _PACKAGE.parents[1] / "recipes")
"""Where recipes lie in an installed wheel, and in a clone."""


@dataclass(frozen=True)
class Recipe:
    """What a recipe says of networks and training."""

    model: ModelConfig
    training: Any
    """The configuration of the stage it is for."""


def read_recipe(path: Path, kind: type = MotionTrainingConfig) -> Recipe:
    """Read a recipe of the stage that ``kind`` configures; ``ModelError`` says what is wrong.

    ``NAME`` and ``recipes/NAME.yaml``, where there is no such file, come with seg2vid.
    """
    if path.parent.name in ("", "recipes"):
        places = (path, *(folder / f"{path.stem}.yaml" for folder in FOLDERS))
        path = next(filter(Path.is_file, places), path)
    fix = "see the files in recipes/"
    values = read_plain(path, "a recipe", error=ModelError, fix=fix)
    told = build(_File, values, str(path), error=ModelError, fix=fix)
    stage = told.stage or STAGE_NAMES[kind]
    if stage != STAGE_NAMES[kind]:
        what, fix = f"a recipe of stage {STAGE_NAMES[kind]} in {path}", f"seg2vid train {stage}"
        raise ModelError(what, got=f"one of stage {stage}", fix=f"use it with {fix}")
    model = change(preset(told.preset), told.model, path)
    objective = told.objective or model.architecture
    if objective not in OBJECTIVES:
        what = f"an objective, one of: {', '.join(OBJECTIVES)}"
        raise ModelError(what, got=repr(objective), fix="choose one of them")
    base = OBJECTIVES[objective] if kind is MotionTrainingConfig else kind()
    return Recipe(model, change(base, told.training, path))


def change(base: Any, changes: dict[str, Any] | None, path: Path | str) -> Any:
    """Return a configuration with some fields changed, nested ones field by field.

    ``path`` says where ``changes`` were read. Raises ``ModelError`` for what does not fit.
    """
    values = _merged(to_dict(base), changes or {})
    config = build(type(base), values, str(path), error=ModelError)
    if isinstance(config, ModelConfig):
        check_sizes(config, str(path))
    return config


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Lay ``changes`` over ``base``, dictionaries into dictionaries."""
    both = {
        name: _merged(base[name], value)
        for name, value in changes.items()
        if isinstance(value, dict) and isinstance(base.get(name), dict)
    }
    return {**base, **changes, **both}


def make_stage(
    training: Any,
    model: str | ModelConfig = "geometry",
    *,
    space: LabelSpace | None = None,
    judges: Path | None = None,
    vgg19: Path | None = None,
) -> Stage:
    """Build the stage that ``training`` configures, with fresh weights that the seed alone decides.

    ``model`` is a configuration or the name of a preset; ``space`` is by default that of
    Cityscapes; ``judges`` is the folder of LPIPS and VGG weights (default: ``SEG2VID_JUDGES``), for
    the terms that need them; ``vgg19`` is a file to compare features of instead of VGG-16. Raises
    ``ModelError`` for an unknown preset and missing weights, and ``TrainingError`` for numbers
    outside their range.
    """
    check_ranges(training, TrainingError)
    config = preset(model) if isinstance(model, str) else model
    config = replace(config, label_space=(space or get_label_space("cityscapes")).to_dict())
    networks = load_perceptual_networks(
        judges,
        perceptual=getattr(training, "perceptual", 0) > 0,
        features=getattr(training, "features", 0) > 0,
        vgg19=vgg19,
    )
    torch.manual_seed(training.seed)
    stage: Stage = STAGES[type(training)](config, training, networks)
    return stage
