"""One frozen dataclass for each component and the table of presets; the configuration lives inside
the weight file.
"""

import dataclasses
import typing
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from seg2vid.errors import ModelError, expected

Component = TypeVar("Component")

Architecture = Literal["compact", "paper"]
"""Whose networks: ours, or those of the paper layer by layer."""
Semantics = Literal["split", "joint", "none"]
"""How motion sees labels: background and foreground encoded apart (the paper's final model), one
encoder for all classes, or no labels at all."""


@dataclass(frozen=True)
class FirstFrameConfig:
    """The generator of the first frame."""

    widths: tuple[int, ...] = (20, 40, 88, 144, 176)
    """Channels at full resolution, one half, one quarter and so on: also says how deep the network
    is.
    """
    context: int = 32
    """Channels of the label pyramid that modulates every block."""
    global_noise: int = 16
    """Numbers that describe the look of the whole picture: weather, light."""
    segment_noise: int = 8
    """Numbers that describe the look of one background class or one foreground object."""


@dataclass(frozen=True)
class MotionEncoderConfig:
    """The encoder q(z | clip, labels), used in training and motion transfer only."""

    width: int = 32
    """Channels of the first layer; the deeper ones are multiples of it."""
    matching_width: int = 24
    """Channels of the features that are matched between consecutive frames."""
    matching_reach: tuple[int, int] = (2, 5)
    """Furthest match, up or down and to either side, in eighths of the resolution."""


@dataclass(frozen=True)
class FlowDecoderConfig:
    """The network that predicts forward and backward flow and visibility of all frames of a pass
    at once.
    """

    width: int = 32
    """Channels of the first layer; the deeper ones are multiples of it."""
    frame_width: int = 32
    """Channels that belong to one frame alone, at a quarter of the resolution."""
    background_code: int = 16
    """Numbers in the background part of z: one vector for the picture."""
    foreground_code: int = 8
    """Numbers in the foreground part of z: one vector for each object."""
    flow_scale: float = 16.0
    """Pixels of displacement over a whole pass for an output of 1."""
    focal_length: float = 1.08
    """Of the camera that turns, in picture widths: that of the toy city and of Cityscapes."""


@dataclass(frozen=True)
class RefinerConfig:
    """The network that fills what the first frame did not show."""

    width: int = 20
    """Channels at half resolution; the deeper layers have two and four times as many."""


@dataclass(frozen=True)
class PaperConfig:
    """The motion networks of the paper; its layers are fixed, these are what it leaves open."""

    channels: int = 3
    """Colours of a picture: 3, or 1 for grey video (KTH)."""
    background_code: int = 512
    """Numbers of z that the background encoder gives, in each row."""
    foreground_code: int = 512
    """Numbers of z that the foreground encoder gives; without a split one encoder gives both."""
    repeat_row: bool = False
    """Draw one row of z and repeat it, as the authors' test scripts do and training does not."""


@dataclass(frozen=True)
class SegmenterConfig:
    """The network that labels photos; it stands beside the figure, not in it."""

    widths: tuple[int, ...] = (32, 48, 96, 160)
    """Channels at half resolution, a quarter and so on."""
    blocks: tuple[int, ...] = (2, 3, 2)
    """Residual blocks at a quarter of the resolution, an eighth and so on."""
    dropout: float = 0.1
    """Share of the last features that is hidden in training."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that is needed to build the networks of one model."""

    label_space: dict[str, Any] = field(default_factory=dict)
    """The classes, as ``LabelSpace.to_dict`` gives them: a model knows what its ids mean."""
    height: int = 128
    """Height of the pictures it was trained on, in pixels; a multiple of 32."""
    width: int = 256
    """Width of the pictures it was trained on, in pixels; a multiple of 32."""
    num_frames: int = 8
    """Frames that one pass predicts after its first frame."""
    frames_per_second: float = 12.0
    """Rate of the clips it was trained on, and so the rate at which its motion looks natural."""
    first_frame: FirstFrameConfig = FirstFrameConfig()
    motion_encoder: MotionEncoderConfig = MotionEncoderConfig()
    flow_decoder: FlowDecoderConfig = FlowDecoderConfig()
    refiner: RefinerConfig = RefinerConfig()
    paper: PaperConfig = PaperConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    architecture: Architecture = "compact"
    """Which networks predict and refine motion; the first frame is painted by ours."""
    semantics: Semantics = "split"
    """How the motion stage sees the label map."""
    refinement: bool = True
    """Whether a refiner finishes the warped frames."""
    gate_flow: bool = False
    """Multiply flow by visibility before warping, so that hidden pixels stay (authors' code)."""


@dataclass(frozen=True)
class FirstFrameTrainingConfig:
    """How the first-frame stage is trained."""

    steps: int = 20_000
    """Optimiser steps of the generator."""
    batch_size: int = 4
    learning_rate: float = 6e-4
    discriminator_learning_rate: float = 4e-4
    discriminator_width: int = 32
    """Channels of the discriminator at half resolution; the deeper layers are multiples of it."""
    adversarial_start: int = 600
    """Step from which the discriminator is trained and heard: before it, colours and layout
    settle.
    """
    adversarial: float = 0.7
    label_mixing: float = 5.0
    """Weight of OASIS's label-mixing consistency in the discriminator's loss."""
    reconstruction: float = 10.0
    """Weight of the L1 distance to the real frame whose look was encoded."""
    perceptual: float = 4.0
    """Weight of the LPIPS distance to it; needs the judges' weights, otherwise it is left out."""
    kl: float = 0.1
    """Weight of the divergence of the encoded look from N(0, I), per number of noise."""
    prior_share: float = 0.25
    """Share of each batch drawn with looks from N(0, I), judged by the discriminator alone."""
    void_share: float = 0.3
    """Share of samples in which a random patch of the map is hidden as void, so that void is
    painted over.
    """
    average_decay: float = 0.998
    """Decay of the exponential moving average of the generator's weights, which is what is
    saved.
    """
    seed: int = 0


@dataclass(frozen=True)
class MotionTrainingConfig:
    """How the motion stage is trained; the loss weights are those of ``losses.py``."""

    steps: int = 20_000
    batch_size: int = 4
    learning_rate: float = 6e-4
    exact_motion: bool = True
    """Learn from the exact motion of clips that know it; without, as the paper, from pictures."""
    trained_frames: int = 4
    """Frames of each clip, chosen at random, whose motion is predicted in a step."""
    refined_frames: int = 2
    """Those of them that the refiner and the picture losses see."""
    flow: float = 1.0
    """Weight of the supervised flow loss, where the clip knows its exact motion."""
    turning: float = 3.0
    """Weight of the distance of the predicted turning in radians, where the clip knows it."""
    visibility: float = 1.0
    """Weight of the supervised visibility loss, likewise."""
    reconstruction: float = 1.0
    """Weight of the masked forward and backward reconstruction (paper Eq. 3)."""
    consistency: float = 0.1
    """Weight of the forward-backward consistency (paper Eq. 5), flow in units of ``flow_scale``."""
    grid_consistency: float = 0.0
    """Weight of the same as the authors' code has it: L1, normalised units, summed over time."""
    smoothness: float = 0.02
    """Weight of the edge-aware smoothness (paper Eq. 4), flow in units of ``flow_scale``."""
    bilateral_smoothness: float = 0.0
    """Weight of the authors' smoothness over sixteen neighbours of like colour."""
    smooth_first_only: bool = False
    """Apply that to the first frame alone, as the authors' code does (a bug)."""
    mask_penalty: float = 0.1
    """Weight of the penalty on hidden pixels, where the exact visibility is unknown."""
    refinement: float = 2.0
    """Weight of the L1 distance between refined and real frames."""
    structure: float = 0.5
    """Weight of 1 - SSIM between them."""
    similarity: float = 0.0
    """Weight of SSIM and L1 as the authors' code joins them, summed over time."""
    features: float = 0.0
    """Weight of the L1 distance of VGG features between warped and real frames; needs the judges'
    weights, otherwise it is left out.
    """
    perceptual: float = 1.0
    """Weight of LPIPS between them; needs the judges' weights, otherwise it is left out."""
    labels: float = 0.2
    """Weight of the refiner's label prediction, where nothing was visible."""
    kl: float = 0.002
    """Weight of the divergence of q(z | clip) from N(0, I), summed over the numbers of z."""
    kl_batch_sum: bool = False
    """Sum it over the batch and divide by 1000, as the authors' code does: then its weight depends
    on the batch size.
    """
    kl_warm_up: int = 2_000
    """Steps over which that weight grows from 0."""
    frozen_norm: float = 0.2
    """Share of the steps, the last ones, in which batch norm uses its running figures, as it will
    in use: a batch with one clip that turns is normalised by that clip.
    """
    hint_share: float = 0.4
    """Share of clips whose motion is hinted at (sparse, per object or dense); the others get
    none.
    """
    seed: int = 0


@dataclass(frozen=True)
class SegmenterTrainingConfig:
    """How the segmenter is trained."""

    steps: int = 14_500
    batch_size: int = 16
    learning_rate: float = 2e-3
    warm_up: int = 500
    """Steps over which the learning rate grows from 0."""
    weight_decay: float = 0.02
    balance: float = 0.5
    """How much rare classes count: each with its share of the pixels to the power of minus this."""
    jaccard: float = 1.0
    """Weight of the soft Jaccard distance beside the cross-entropy."""
    zoom: float = 2.0
    """Largest enlargement; the smallest is one over its square root."""
    colour: float = 0.3
    """Largest change of brightness, contrast, saturation, tint and gamma: a logarithm."""
    sky: float = 0.5
    """Share of the samples that get another sky."""
    blur: float = 2.0
    """Radius of the strongest blur, in pixels."""
    noise: float = 0.03
    """Largest standard deviation of noise."""
    average_decay: float = 0.999
    seed: int = 0


PAPER_TRAINING = MotionTrainingConfig(
    steps=98_000,
    batch_size=16,
    learning_rate=1e-3,
    exact_motion=False,
    refined_frames=4,
    consistency=0.0,
    grid_consistency=1.0,
    smoothness=0.0,
    bilateral_smoothness=0.01,
    structure=0.0,
    similarity=1.0,
    features=1.0,
    perceptual=0.0,
    labels=0.0,
    kl=0.1 * 16 / 1000,  # theirs is 0.1, a sum over a batch of 16 divided by 1000
    kl_warm_up=0,
    frozen_norm=0.0,
    hint_share=0.0,
)
"""The objective of the authors' code with its weights."""

OBJECTIVES: dict[str, MotionTrainingConfig] = {
    "compact": MotionTrainingConfig(),
    "paper": PAPER_TRAINING,
}
"""How the motion stage is trained, by name."""

PAPER = ModelConfig(num_frames=4, frames_per_second=17.0, architecture="paper", gate_flow=True)
"""Cityscapes and KITTI: four frames at 128 x 256, consecutive at the camera's 17 a second."""

PRESETS: dict[str, ModelConfig] = {
    "compact": ModelConfig(),
    "paper": PAPER,
    "paper-ucf101": replace(PAPER, width=128, frames_per_second=25.0, semantics="none"),
    "paper-kth": replace(
        PAPER,
        width=128,
        frames_per_second=25.0,
        num_frames=15,
        semantics="none",
        paper=PaperConfig(channels=1),
    ),
}
"""Networks by name. Variants differ in these fields only, never in code."""


def preset(name: str) -> ModelConfig:
    """Return the preset of this name; raise ``ModelError`` naming the available ones otherwise."""
    if name not in PRESETS:
        available = ", ".join(PRESETS)
        raise ModelError(
            expected(f"a preset, one of: {available}", got=repr(name), fix="choose one of them")
        )
    return PRESETS[name]


def to_dict(config: object) -> dict[str, Any]:
    """Turn a configuration into plain values for JSON."""
    return dataclasses.asdict(config)  # type: ignore[call-overload]


def from_dict(kind: type[Component], values: dict[str, Any]) -> Component:
    """Build a configuration from plain values; raise ``ModelError`` for a field that ``kind`` does
    not have.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ModelError(
            expected(
                f"only the fields of {kind.__name__} ({', '.join(fields)})",
                got=", ".join(unknown),
                fix="update seg2vid, or remove them: the file was written by another version",
            )
        )
    hints = typing.get_type_hints(kind)
    return kind(**{name: _restore(hints[name], value) for name, value in values.items()})


def _restore(kind: Any, value: Any) -> Any:
    """Undo what JSON did to one value: nested configurations and tuples."""
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return from_dict(kind, value)  # type: ignore[arg-type]
    if typing.get_origin(kind) is tuple:
        return tuple(value)
    return value
