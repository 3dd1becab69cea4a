"""The ground of a picture: what takes a drag over pixels to metres."""

from dataclasses import dataclass

import torch

from seg2vid.media.generated import GeneratedVideo
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.errors import ModelError

USUAL_HEIGHT = 1.5
"""Metres of a camera above the ground, where none is seen."""


@dataclass(frozen=True)
class Ground:
    """A level camera above a plane: a point Z metres ahead is seen at row
    ``horizon + focal_length * height / Z``.
    """

    focal_length: float
    """In pixels."""
    column: float
    """Of the optical axis."""
    horizon: float
    """Its row."""
    height: float
    """Of the camera, in metres."""


@torch.inference_mode()
def find_ground(pipe: Seg2VidPipeline, video: GeneratedVideo) -> Ground:
    """Return the ground that a video's first frame shows, as its model sees it.

    Raises ``ModelError`` for a model that sees none.
    """
    decoder, inverse = pipe.animator.flow_decoder, video.first_inverse_depth
    if not isinstance(decoder, MotionDecoder) or inverse is None:
        what, fix = "a model whose motion is a scene's", "move objects in pixels"
        raise ModelError(what, got="one of free flow", fix=fix)
    camera = decoder.depth(video.first_frame, video.label_map).camera
    focal_length, (column, horizon) = camera.focal_length.item(), camera.centre[0].tolist()
    labels = video.label_map[0]
    rows = torch.arange(labels.shape[0], dtype=torch.float32)[:, None] - horizon
    seen = torch.isin(labels, labels.new_tensor(decoder.depth.ground)) & (rows > 2)
    heights = (rows / (focal_length * inverse[0].clamp(min=1e-4)))[seen]
    height = heights.median().item() if len(heights) else USUAL_HEIGHT
    return Ground(focal_length, column, horizon, height)
