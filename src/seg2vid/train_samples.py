"""Pictures and short videos of a stage at work, and the memory it takes."""

import sys
from typing import Any

import torch
from torch import Tensor

from seg2vid.structures import Clip
from seg2vid.train_stage import Stage


@torch.no_grad()
def draw_samples(stage: Stage, clip: Clip) -> tuple[Tensor, Tensor | None]:
    """Return the stage's contact sheet (3, height, width) and video (time, 3, height, width)."""
    was_training = stage.training
    stage.eval()
    clip = clip.to(stage.device)
    drawn = stage.contact_sheet(clip), stage.sample_video(clip)
    stage.train(was_training)
    return drawn


def to_bytes(picture: Tensor) -> Any:
    """Turn a picture (3, height, width) in [0, 1] into bytes (height, width, 3)."""
    return (picture.clamp(0, 1).permute(1, 2, 0) * 255).round().byte().cpu().numpy()


def peak_memory() -> int:
    """Return the most memory, in bytes, that this process had: on its GPU if it uses one."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
