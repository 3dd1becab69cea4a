"""The options of the verbs that train."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from seg2vid.cli.arguments import POSITIONAL
from seg2vid.tools.computing import DeviceName
from seg2vid.tools.ranges import ranged
from seg2vid.training.config import (
    FirstFrameTrainingConfig,
    MotionTrainingConfig,
    RefinerTrainingConfig,
    RunConfig,
    SegmenterTrainingConfig,
)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What every stage of training is told."""

    data: list[str]
    """Folder that `seg2vid prepare` or `seg2vid toycity` wrote; give it again for more."""
    output: Path
    """Folder of the run: weights, state, logs, curves, contact sheets, videos."""
    data_weights: tuple[float, ...] = ()
    """How often to draw from each, as in 2,1 (default: by their numbers of clips)."""
    allow_pipe: bool = False
    """Let --data pipe:COMMAND run that command with the shell to read a dataset."""
    validation: list[str] | None = None
    """Folder of held-out clips; give it again for more (default: those of --data)."""
    recipe: Path | None = None
    """File that names networks and training: of recipes/ its name, or config.yaml of a run."""
    start_from: str | None = None
    """Weights to begin with: name or path of a model, or of a run's weights."""
    model: dict[str, Any] = field(metadata={"is_dotted": True})
    """Change a field of the networks, as in --model.flow_decoder.width 16."""
    settings: dict[str, Any] = field(metadata={"fields_of": RunConfig})


@dataclass(frozen=True, kw_only=True)
class TrainModelOptions(TrainOptions):
    """What the two stages of a model are told besides."""

    judges: Path | None = None
    """Folder of LPIPS and VGG weights, for the terms that need them and the validation (default:
    SEG2VID_JUDGES).
    """
    vgg19: Path | None = None
    """File of VGG-19 as torchvision has it (vgg19-dcbb9e9d.pth), for the term of features as in the
    authors' code, instead of VGG-16.
    """
    without_features: bool = False
    """Leave out the terms of LPIPS and VGG features: their weights become 0."""
    preset: str = "geometry"
    """Networks to train, with an objective for them: geometry, paper, paper-kth or paper-ucf101."""
    freeze: tuple[str, ...] = ()
    """Parts that keep their weights, as in appearance_encoder or motion_encoder,flow_decoder."""
    only: tuple[str, ...] = ()
    """Parts that alone are trained, as in refiner."""


@dataclass(frozen=True, kw_only=True)
class TrainFirstFrame(TrainModelOptions):
    """Train the generator of the first frame on clips; the same command resumes."""

    stage: ClassVar = FirstFrameTrainingConfig
    training: dict[str, Any] = field(metadata={"fields_of": FirstFrameTrainingConfig})


@dataclass(frozen=True, kw_only=True)
class TrainMotion(TrainModelOptions):
    """Train motion: encoder, flow decoder and refiner on clips; the same command resumes."""

    stage: ClassVar = MotionTrainingConfig
    training: dict[str, Any] = field(metadata={"fields_of": MotionTrainingConfig})


@dataclass(frozen=True, kw_only=True)
class TrainRefiner(TrainModelOptions):
    """Train a model's refiner on photos with label maps; the same command resumes."""

    data: list[str]
    """Folder with photos/ and labels/, or a prepared dataset; give it again for more."""
    stage: ClassVar = RefinerTrainingConfig
    training: dict[str, Any] = field(metadata={"fields_of": RefinerTrainingConfig})


@dataclass(frozen=True, kw_only=True)
class TrainSegmenter(TrainOptions):
    """Train the segmenter on photos with label maps; the same command resumes."""

    data: list[str]
    """Folder with photos/ and labels/, or a prepared dataset; give it again for more."""
    stage: ClassVar = SegmenterTrainingConfig
    training: dict[str, Any] = field(metadata={"fields_of": SegmenterTrainingConfig})


@dataclass(frozen=True, kw_only=True)
class TrainReplay:
    """Compute the step at which a run diverged again, and name the cause."""

    run: Path = field(metadata=POSITIONAL)
    """Folder of the run that stopped."""
    judges: Path | None = None
    """Folder of LPIPS and VGG weights, where the run was given one."""
    vgg19: Path | None = None
    """File of VGG-19, where the run was given one."""
    process: int = ranged(0, 0)
    """Number of the process whose batch is taken."""
    device: DeviceName = "auto"
    """What computes it, in float32: auto takes a GPU where there is one, else the processor."""
