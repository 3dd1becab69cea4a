"""Configuration of every component, stored inside the weight file, and the table of presets."""

import dataclasses
import typing
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from seg2vid.tools.errors import ModelError

Component = TypeVar("Component")

Architecture = Literal["geometry", "paper"]
"""How motion is decoded: as a moving scene, or as in the paper layer by layer."""
Semantics = Literal["split", "joint", "none"]
"""How motion sees labels: two encoders (the paper's final model), one for all classes, or none."""


@dataclass(frozen=True)
class FirstFrameConfig:
    """The generator of the first frame."""

    widths: tuple[int, ...] = (20, 40, 88, 144, 176)
    """Channels at full resolution, a half, a quarter and so on: also says how deep it is."""
    context: int = 32
    """Channels of the label pyramid that modulates every block."""
    global_noise: int = 16
    """Numbers that describe the look of the whole picture: weather, light."""
    segment_noise: int = 8
    """Numbers that describe the look of one background class or one foreground object."""
    more_blocks: tuple[int, ...] = ()
    """Further blocks at full resolution, a half and so on: coherence is cheap where coarse."""
    grain: bool = False
    """Add noise of single pixels in every block, scaled by channel: what texture is made of."""
    look_levels: tuple[int, int] = (3, 3)
    """Coarsest level, 3 for an eighth, that sees looks of classes, and of foreground objects."""
    look_prior: int = 0
    """Looks of training pictures that looks are drawn about; with 0 they come from N(0, I)."""
    look_range: float = 1.0
    """How far from their mean looks of classes that do not move are drawn, in units of how far
    known ones are: the wider, the more pictures differ, the less they look like photographs."""


@dataclass(frozen=True)
class DepthConfig:
    """The network that sees depth and camera in the first frame."""

    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    """Channels at full resolution, a half, a quarter and so on."""
    blocks: int = 3
    """Residual blocks at the lowest resolution."""


@dataclass(frozen=True)
class MotionEncoderConfig:
    """The encoder q(z | clip, labels), used in training and motion transfer only."""

    width: int = 32
    """Channels of the first layer; the deeper ones are multiples of it."""


@dataclass(frozen=True)
class MotionDecoderConfig:
    """Predicts how camera and objects move over a pass, from features that depth is seen with."""

    width: int = 32
    """Channels of the first layer; the deeper ones are multiples of it."""
    background_code: int = 16
    """Numbers in the background part of z: one vector for the picture."""
    foreground_code: int = 8
    """Numbers in the foreground part of z: one vector for each object."""
    flow_scale: float = 16.0
    """Pixels of displacement that count as 1 in the losses of flow."""


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
    padding: Literal["border", "zeros"] = "border"
    """What warps read outside the picture: its border, or black as in the authors' code."""
    clamp: bool = True
    """Keep log variances within bounds, which the authors do not."""
    norm_each_time: bool = False
    """In training, let the refiner normalise each time of a pass by itself, with noise of each
    clip's own, as the authors do.
    """
    refiner_sees_mask: bool = False
    """Show the refiner what was visible, as the paper's text says and the authors' code does not.
    """


@dataclass(frozen=True)
class SegmenterConfig:
    """The network that labels photos; it stands beside the figure, not in it.

    The way down is that of EfficientNet-Lite0 without its last stage, so it can begin with weights
    learned on ImageNet (Tan & Le, ICML 2019).
    """

    widths: tuple[int, ...] = (32, 16, 24, 40, 80, 112, 192)
    """Channels of the first convolution, at half resolution, and of each stage after it."""
    blocks: tuple[int, ...] = (1, 2, 2, 3, 3, 4)
    """Blocks of each stage."""
    kernels: tuple[int, ...] = (3, 3, 5, 3, 5, 5)
    """Side of each stage's convolutions."""
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2)
    """How many times coarser each stage is than the one before: 1 or 2."""
    expansion: int = 6
    """How many times wider blocks are inside; those of the first stage are not."""
    way_up: tuple[int, ...] = (32, 48, 64, 96)
    """Channels on the way up at half resolution, a quarter and so on, below the coarsest."""
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
    depth: DepthConfig = DepthConfig()
    motion_encoder: MotionEncoderConfig = MotionEncoderConfig()
    flow_decoder: MotionDecoderConfig = MotionDecoderConfig()
    refiner: RefinerConfig = RefinerConfig()
    paper: PaperConfig = PaperConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    architecture: Architecture = "geometry"
    """Which networks predict and refine motion; the first frame is painted by ours."""
    semantics: Semantics = "split"
    """How the motion stage sees the label map."""
    refinement: bool = True
    """Whether a refiner finishes the warped frames."""
    gate_flow: bool = False
    """Multiply flow by visibility before warping, so that hidden pixels stay (authors' code)."""


PAPER = ModelConfig(num_frames=4, frames_per_second=17.0, architecture="paper", gate_flow=True)
"""Cityscapes and KITTI: four frames at 128 x 256, consecutive at the camera's 17 a second."""

PRESETS: dict[str, ModelConfig] = {
    "geometry": ModelConfig(),
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
UNREAD = ("frame_width", "focal_length", "matching_width", "matching_reach")
"""Fields that older files have and nothing reads any more."""


def preset(name: str) -> ModelConfig:
    """Return the preset of this name; raise ``ModelError`` naming the available ones otherwise."""
    if name not in PRESETS:
        what = f"a preset, one of: {', '.join(PRESETS)}"
        raise ModelError(what, got=repr(name), fix="choose one of them")
    return PRESETS[name]


def to_dict(config: object) -> dict[str, Any]:
    """Turn a configuration into plain values for JSON."""
    return dataclasses.asdict(config)  # type: ignore[call-overload]


def from_dict(kind: type[Component], values: dict[str, Any]) -> Component:
    """Build a configuration from plain values; raise ``ModelError`` for an unknown field."""
    fields = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    values = {name: value for name, value in values.items() if name not in UNREAD}
    if unknown := sorted(set(values) - set(fields)):
        what = f"only the fields of {kind.__name__} ({', '.join(fields)})"
        fix = "update seg2vid, or remove them: the file was written by another version"
        raise ModelError(what, got=", ".join(unknown), fix=fix)
    hints = typing.get_type_hints(kind)
    return kind(**{name: _restore(hints[name], value) for name, value in values.items()})


def _restore(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return from_dict(kind, value)  # type: ignore[arg-type]
    if typing.get_origin(kind) is tuple:
        return tuple(value)
    return value
