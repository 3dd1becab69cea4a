"""Tiny real components: the same networks with a few channels, for fast tests."""

from collections.abc import Sequence
from pathlib import Path

import torch

from seg2vid.data.sample import still_of
from seg2vid.data.toycity.clip import ToyCityConfig, save_clip
from seg2vid.data.toycity.render import render_clip
from seg2vid.labels.space import get_label_space
from seg2vid.models.config import (
    DepthConfig,
    FirstFrameConfig,
    ModelConfig,
    MotionDecoderConfig,
    MotionEncoderConfig,
    RefinerConfig,
    SegmenterConfig,
)
from seg2vid.structures import Clip
from seg2vid.training.config import (
    FirstFrameTrainingConfig,
    MotionTrainingConfig,
    RunConfig,
    SegmenterTrainingConfig,
)

HEIGHT, WIDTH, NUM_FRAMES = 64, 128, 3

CONFIG = ModelConfig(
    label_space=get_label_space("cityscapes").to_dict(),
    height=HEIGHT,
    width=WIDTH,
    num_frames=NUM_FRAMES,
    first_frame=FirstFrameConfig(widths=(4, 6, 8), context=8, global_noise=3, segment_noise=2),
    depth=DepthConfig(widths=(4, 4, 6, 8, 8), blocks=1),
    motion_encoder=MotionEncoderConfig(width=4),
    flow_decoder=MotionDecoderConfig(width=4, background_code=3, foreground_code=2),
    refiner=RefinerConfig(width=4),
)

SEGMENTER = SegmenterConfig(
    widths=(4, 4, 8, 8),
    blocks=(1, 2, 1),
    kernels=(3, 5, 3),
    strides=(1, 2, 2),
    expansion=2,
    way_up=(4, 8),
)
SEGMENTER_TRAINING = SegmenterTrainingConfig(steps=4, batch_size=2, warm_up=2, pretrained=False)
FIRST_FRAME_TRAINING = FirstFrameTrainingConfig(
    steps=4, batch_size=2, discriminator_width=4, adversarial_start=2, perceptual=0.0
)
MOTION_TRAINING = MotionTrainingConfig(
    steps=4, batch_size=2, trained_frames=2, refined_frames=1, kl_warm_up=2, perceptual=0.0
)


QUIET = RunConfig(save_every=1, sheet_every=0, validate_every=0, log_every=1, measured_steps=0)
"""A run that saves after every step and does nothing else beside them."""


def street_map() -> torch.Tensor:
    """A label map (1, 64, 128): sky, buildings, road, pavement and two separate cars."""
    label_map = torch.full((1, HEIGHT, WIDTH), 2)
    label_map[:, :16] = 10
    label_map[:, 36:] = 0
    label_map[:, 36:, 96:] = 1
    label_map[:, 32:48, 16:36] = 13
    label_map[:, 34:44, 60:72] = 13
    return label_map


class InMemory:
    """A source of the clips that it is given."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, index: int, /) -> Clip:
        return self.clips[index]

    def read_still(self, index: int, time: int, /) -> Clip:
        return still_of(self.clips[index], time)


def write_clips(folder: Path, count: int = 3) -> Path:
    """Render a few small toy-city clips into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = ToyCityConfig(height=HEIGHT, width=WIDTH, num_frames=NUM_FRAMES)
    for seed in range(count):
        save_clip(render_clip(seed, config), folder / f"clip_{seed:06d}.safetensors")
    return folder
