"""Recipes: one YAML file says which networks are trained and with which objective; then the stage.

Keys, none of them required: ``stage`` says what is trained; ``preset`` names networks and ``model``
what differs from them (fields of ``ModelConfig``); ``objective`` names weights of the losses of the
motion stage and ``training`` what differs from them (fields of the stage's configuration). ``data``
is a record and not read. ``recipes/`` holds one for each published experiment, and ``config.yaml``
of a run is one.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.models.config import ModelConfig, from_dict, preset, to_dict
from seg2vid.models.judges.perceptual import load_perceptual_networks
from seg2vid.tools.errors import ModelError, TrainingError
from seg2vid.tools.ranges import check_ranges
from seg2vid.training.config import (
    OBJECTIVES,
    STAGE_NAMES,
    FirstFrameTrainingConfig,
    MotionTrainingConfig,
    SegmenterTrainingConfig,
)
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.motion import MotionStage
from seg2vid.training.segmenter import SegmenterStage
from seg2vid.training.stage import Stage

STAGES: dict[type, Any] = {
    FirstFrameTrainingConfig: FirstFrameStage,
    MotionTrainingConfig: MotionStage,
    SegmenterTrainingConfig: SegmenterStage,
}
"""What each configuration trains."""
KEYS = ("stage", "preset", "model", "objective", "training", "data")


@dataclass(frozen=True)
class Recipe:
    """What a recipe says of networks and training."""

    model: ModelConfig
    training: Any
    """The configuration of the stage it is for."""


def read_recipe(path: Path, kind: type = MotionTrainingConfig) -> Recipe:
    """Read a recipe of the stage that ``kind`` configures; ``ModelError`` says what is wrong."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        what, got = f"a recipe (YAML) at {path}", str(error).replace("\n", " ")
        raise ModelError(what, got=got, fix="see the files in recipes/") from None
    if not isinstance(values, dict) or set(values) - set(KEYS):
        what = f"a recipe with the keys {', '.join(KEYS)} in {path}"
        got = ", ".join(map(str, values)) if isinstance(values, dict) else repr(values)
        raise ModelError(what, got=got, fix="see the files in recipes/")
    stage = values.get("stage", STAGE_NAMES[kind])
    if stage != STAGE_NAMES[kind]:
        what, fix = f"a recipe of stage {STAGE_NAMES[kind]} in {path}", f"seg2vid train {stage}"
        raise ModelError(what, got=f"one of stage {stage}", fix=f"use it with {fix}")
    objective = values.get("objective", "compact")
    if objective not in OBJECTIVES:
        what = f"an objective, one of: {', '.join(OBJECTIVES)}"
        raise ModelError(what, got=repr(objective), fix="choose one of them")
    model = change(preset(values.get("preset", "compact")), values.get("model"), path)
    base = OBJECTIVES[objective] if kind is MotionTrainingConfig else kind()
    return Recipe(model, change(base, values.get("training"), path))


def change(base: Any, changes: Any, path: Path | str) -> Any:
    """Return a configuration with some fields changed, nested ones field by field.

    ``path`` says where ``changes`` were read. Raises ``ModelError`` for what does not fit.
    """
    if changes is None:
        return base
    if not isinstance(changes, dict):
        what = f"fields of {type(base).__name__} in {path}"
        raise ModelError(what, got=repr(changes), fix="write them as name: value")
    return from_dict(type(base), _merged(to_dict(base), changes, path))


def _merged(base: dict[str, Any], changes: dict[str, Any], path: Path | str) -> dict[str, Any]:
    """Lay ``changes`` over ``base``, dictionaries into dictionaries; types must be the same."""
    # A label space is open: it has no fields before the data name it.
    if base and (unknown := sorted(set(changes) - set(base))):
        what = f"fields in {path} out of: {', '.join(base)}"
        raise ModelError(what, got=", ".join(unknown), fix="correct it")
    merged = dict(base)
    for name, value in changes.items():
        kind = type(base.get(name, value))
        if kind is float and type(value) is int:
            value = float(value)
        elif kind is tuple and isinstance(value, list):
            value = tuple(value)
        elif kind is dict and isinstance(value, dict):
            value = _merged(base.get(name, {}), value, path)
        if type(value) is not kind:
            what = f"a value of type {kind.__name__} for {name} in {path}"
            raise ModelError(what, got=repr(value), fix="correct it")
        merged[name] = value
    return merged


def make_stage(
    training: Any,
    model: str | ModelConfig = "compact",
    *,
    space: LabelSpace | None = None,
    judges: Path | None = None,
) -> Stage:
    """Build the stage that ``training`` configures, with fresh weights that the seed alone decides.

    ``model`` is a configuration or the name of a preset; ``space`` is by default that of
    Cityscapes; ``judges`` is the folder of LPIPS and VGG weights, without which the terms that need
    them are left out. Raises ``ModelError`` for an unknown preset and missing weights, and
    ``TrainingError`` for numbers outside their range.
    """
    check_ranges(training, TrainingError)
    config = preset(model) if isinstance(model, str) else model
    config = replace(config, label_space=(space or get_label_space("cityscapes")).to_dict())
    networks = load_perceptual_networks(
        judges,
        perceptual=getattr(training, "perceptual", 0) > 0,
        features=getattr(training, "features", 0) > 0,
    )
    torch.manual_seed(training.seed)
    stage: Stage = STAGES[type(training)](config, training, networks)
    return stage
