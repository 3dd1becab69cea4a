"""Real clip + label map → q(z), in a background and a foreground branch. Training and motion
transfer only.

Paper Sec. 3.2: each branch sees the whole clip and the semantics of its own half of the classes.
Here the
background code is one vector (the camera moves the background as a whole) and the foreground code
is one
vector for each object, so that an object moves in one piece.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.config import FlowDecoderConfig, MotionEncoderConfig
from seg2vid.models.layers import (
    MAX_OBJECTS,
    ConvolutionBlock,
    ResidualBlock,
    coordinates,
    pool_rows,
    spread_rows,
)
from seg2vid.structures import Latent, Posterior

LOG_VARIANCE_RANGE = (-8.0, 4.0)
"""Keeps exp() and the divergence finite while the network is young."""


class MotionBranch(nn.Module):
    """The clip as differences from its first frame, with the semantics of one half of the
    classes.
    """

    def __init__(self, num_frames: int, num_classes: int, width: int) -> None:
        super().__init__()
        inputs = 3 * (num_frames + 1) + num_classes + 2
        self.body = nn.Sequential(
            ConvolutionBlock(inputs, 2 * width, kernel=5, stride=2),
            ResidualBlock(2 * width),
            ConvolutionBlock(2 * width, 3 * width, stride=2),
            ResidualBlock(3 * width),
            ResidualBlock(3 * width),
        )

    def forward(
        self, clip: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch channel coarse_height coarse_width"]:
        """Return features at a quarter of the input's resolution."""
        return self.body(clip)


class MotionEncoder(nn.Module):
    """The two-branch encoder of q(z | clip, labels)."""

    def __init__(
        self,
        config: MotionEncoderConfig,
        decoder: FlowDecoderConfig,
        *,
        num_frames: int,
        num_channels: int,
        foreground: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.foreground = list(foreground)
        self.background = [i for i in range(num_channels) if i not in foreground]
        width = config.width
        self.background_branch = MotionBranch(num_frames, len(self.background), width)
        self.foreground_branch = MotionBranch(num_frames, len(self.foreground), width)
        self.background_head = nn.Sequential(
            ConvolutionBlock(3 * width, 4 * width, stride=2),
            nn.AdaptiveAvgPool2d((2, 4)),
            nn.Flatten(),
            nn.Linear(32 * width, 2 * decoder.background_code),
        )
        self.foreground_head = nn.Conv2d(3 * width, 2 * decoder.foreground_code, 1)

    def forward(
        self,
        first_frame: Float[Tensor, "batch 3 height width"],
        frames: Float[Tensor, "batch time 3 height width"],
        label_map: Int[Tensor, "batch height width"],
        objects: Int[Tensor, "batch coarse_height coarse_width"],
    ) -> Posterior:
        """Encode a clip of RGB in [0, 1]; ``objects`` at an eighth of its resolution, from
        ``find_objects``.
        """
        # Half resolution: displacements halve and so does the reach the convolutions need.
        stacked = rearrange(frames - first_frame.unsqueeze(1), "b t c h w -> b (t c) h w")
        clip = F.avg_pool2d(torch.cat((first_frame - 0.5, 2 * stacked), 1), 2)
        semantics = F.one_hot(label_map[:, 1::2, 1::2], self.num_channels).to(clip.dtype)
        semantics = rearrange(semantics, "b h w c -> b c h w")
        place = coordinates(clip)
        background = self.background_branch(
            torch.cat((clip, semantics[:, self.background], place), 1)
        )
        foreground = self.foreground_branch(
            torch.cat((clip, semantics[:, self.foreground], place), 1)
        )
        mean, log_variance = self.background_head(background).float().chunk(2, -1)
        object_codes = pool_rows(self.foreground_head(foreground), objects, MAX_OBJECTS + 1)
        object_codes = object_codes * _not_background(object_codes)
        object_mean, object_log_variance = spread_rows(object_codes, objects).chunk(2, 1)
        return Posterior(
            mean=Latent(mean, object_mean),
            log_variance=Latent(
                log_variance.clamp(*LOG_VARIANCE_RANGE),
                object_log_variance.clamp(*LOG_VARIANCE_RANGE),
            ),
            objects=objects,
        )


def _not_background(
    table: Float[Tensor, "batch row channel"],
) -> Float[Tensor, "row 1"]:
    """Return 0 for row 0, the background, and 1 for every object."""
    is_object = torch.ones(table.shape[1], 1, dtype=table.dtype, device=table.device)
    is_object[0] = 0
    return is_object


def draw_latent(posterior: Posterior, noise: Latent) -> Latent:
    """Turn noise from N(0, I), as ``FlowDecoder.draw`` gives it, into z ~ q (the
    reparameterisation trick).
    """
    mean, log_variance = posterior.mean, posterior.log_variance
    return Latent(
        mean.background + noise.background * torch.exp(0.5 * log_variance.background),
        mean.foreground + noise.foreground * torch.exp(0.5 * log_variance.foreground),
    )
