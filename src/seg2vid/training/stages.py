"""Every configuration of a training and the stage that it belongs to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from seg2vid.labels.space import LabelSpace
from seg2vid.models.config import ModelConfig, preset
from seg2vid.models.judges.perceptual import load_perceptual_networks
from seg2vid.training.config import (
    FirstFrameTrainingConfig,
    MotionTrainingConfig,
    SegmenterTrainingConfig,
)
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.motion import MotionStage
from seg2vid.training.segmenter import SegmenterStage
from seg2vid.training.stage import Stage

AnyTraining = FirstFrameTrainingConfig | MotionTrainingConfig | SegmenterTrainingConfig

STAGES: dict[type, Any] = {
    FirstFrameTrainingConfig: FirstFrameStage,
    MotionTrainingConfig: MotionStage,
    SegmenterTrainingConfig: SegmenterStage,
}
"""The stage that each configuration belongs to."""


def make_stage(
    training: AnyTraining, model: str | ModelConfig, space: LabelSpace, judges: Path | None
) -> Stage:
    """Build the stage with fresh weights, which depend on the seed alone."""
    config = preset(model) if isinstance(model, str) else model
    config = replace(config, label_space=space.to_dict())
    wanted = load_perceptual_networks(
        judges,
        perceptual=getattr(training, "perceptual", 0) > 0,
        features=getattr(training, "features", 0) > 0,
    )
    torch.manual_seed(training.seed)
    stage: Stage = STAGES[type(training)](config, training, wanted)
    return stage
