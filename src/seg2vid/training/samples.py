"""Pictures and short videos of a stage at work, and the memory it takes."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seg2vid.media.pictures import write_image
from seg2vid.media.video import VideoWriter
from seg2vid.structures import Clip
from seg2vid.training.stage import Stage


@torch.no_grad()
def write_samples(stage: Stage, clip: Clip, folder: Path) -> None:
    """Write a contact sheet and, where the stage has one, a short video of a batch of clips."""
    was_training = stage.training
    stage.eval()
    clip = clip.to(stage.device)
    sheet, video = stage.contact_sheet(clip), stage.sample_video(clip)
    stage.train(was_training)
    name = f"step_{int(stage.step):06d}"
    (folder / "sheets").mkdir(exist_ok=True)
    write_image(folder / "sheets" / f"{name}.png", to_bytes(sheet))
    if video is not None:
        (folder / "videos").mkdir(exist_ok=True)
        rate = stage.model.frames_per_second
        with VideoWriter(folder / "videos" / f"{name}.mp4", frames_per_second=rate) as writer:
            for frame in video:
                writer.write(to_bytes(frame))


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
