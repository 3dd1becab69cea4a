"""One frozen dataclass for each component and the table of presets; the configuration lives inside
the weight file.
"""

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from seg2vid.errors import ModelError, expected

Component = TypeVar("Component")


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
    smoothness: float = 0.02
    """Weight of the edge-aware smoothness (paper Eq. 4), flow in units of ``flow_scale``."""
    mask_penalty: float = 0.1
    """Weight of the penalty on hidden pixels, where the exact visibility is unknown."""
    refinement: float = 2.0
    """Weight of the L1 distance between refined and real frames."""
    structure: float = 0.5
    """Weight of 1 - SSIM between them."""
    perceptual: float = 1.0
    """Weight of LPIPS between them; needs the judges' weights, otherwise it is left out."""
    labels: float = 0.2
    """Weight of the refiner's label prediction, where nothing was visible."""
    kl: float = 0.002
    """Weight of the divergence of q(z | clip) from N(0, I), summed over the numbers of z."""
    kl_warm_up: int = 2_000
    """Steps over which that weight grows from 0."""
    hint_share: float = 0.4
    """Share of clips whose motion is hinted at (sparse, per object or dense); the others get
    none.
    """
    seed: int = 0


PRESETS: dict[str, ModelConfig] = {
    "compact": ModelConfig(),
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
