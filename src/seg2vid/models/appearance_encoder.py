"""Real frame + label map → the look that would paint it.

In training the generator is told by it which look to paint and can be compared with the real frame;
generation needs it for the look of a photograph alone.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.models.config import FirstFrameConfig
from seg2vid.models.layers import (
    MAX_OBJECTS,
    ConvolutionBlock,
    LabelEmbedding,
    join,
    pool_rows,
    share_of_rows,
)
from seg2vid.structures import Carrier, Labels, Look, Pictures


@dataclass(frozen=True)
class LookPosterior(Carrier):
    """A diagonal Gaussian over the look of a real frame."""

    mean: Look
    log_variance: Look
    areas: Float[Tensor, "batch segment"]
    """Share of the picture that each segment covers; those of 0 say nothing and cost nothing."""

    def draw(self) -> Look:
        """Draw a look, differentiably; segments that the picture lacks are drawn from N(0, I)."""
        whole = _draw(self.mean.whole, self.log_variance.whole)
        segments = _draw(self.mean.segments, self.log_variance.segments)
        absent = torch.randn_like(segments)
        return Look(whole, torch.where(self.areas.unsqueeze(-1) > 0, segments, absent))


def _draw(
    mean: Float[Tensor, "batch *size"], log_variance: Float[Tensor, "batch *size"]
) -> Float[Tensor, "batch *size"]:
    return mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)


class AppearanceEncoder(nn.Module):
    """Encode the look of a real frame: one vector for the whole, one for each class and object."""

    def __init__(self, config: FirstFrameConfig, *, num_channels: int, width: int = 32) -> None:
        super().__init__()
        self.num_rows = num_channels + MAX_OBJECTS
        self.embedding = LabelEmbedding(num_channels, 8)
        self.body = nn.Sequential(
            ConvolutionBlock(3 + 8, width, stride=2),
            ConvolutionBlock(width, 2 * width),
            ConvolutionBlock(2 * width, 2 * width),
        )
        self.whole = nn.Sequential(
            ConvolutionBlock(2 * width, 2 * width, stride=2),
            ConvolutionBlock(2 * width, 2 * width, stride=2),
            nn.AdaptiveAvgPool2d((2, 2)),
            nn.Flatten(),
            nn.Linear(8 * width, 2 * config.global_noise),
        )
        self.segments = nn.Linear(2 * width, 2 * config.segment_noise)

    def forward(self, frame: Pictures, label_map: Labels, segments: Labels) -> LookPosterior:
        """Encode RGB in [0, 1]; ``segments`` as ``FirstFrame.segments`` numbers them."""
        features = self.body(join(frame, self.embedding(label_map)))
        whole_mean, whole_log_variance = self.whole(features).chunk(2, -1)
        rows = segments[:, 1::2, 1::2]
        pooled = self.segments(pool_rows(features, rows, self.num_rows).to(features.dtype))
        mean, log_variance = pooled.chunk(2, -1)
        return LookPosterior(
            mean=Look(whole_mean, mean),
            log_variance=Look(whole_log_variance.clamp(-8, 4), log_variance.clamp(-8, 4)),
            areas=share_of_rows(rows, self.num_rows),
        )
