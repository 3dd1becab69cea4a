"""The paper's motion encoder: real clip + label map → q(z), two encoders of one kind.

Paper Sec. 3.2, layer sizes as in the authors' code (strided convolutions where Sec. 4.2 is
remembered to say pooling). z is a grid: 64 channels at a sixteenth of the picture, cut into rows of
1024 numbers; each row gets mean and variance from the same two linear layers.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.models.config import PaperConfig, Semantics
from seg2vid.models.layers import (
    CODE_CHANNELS,
    LOG_VARIANCE_RANGE,
    ROW,
    ConvolutionBlock,
    rows_of_code,
    to_colours,
)
from seg2vid.structures import Frames, Labels, Latent, Objects, Pictures, Posterior

Rows = Float[Tensor, "batch row code"]


class SequenceEncoder(nn.Module):
    """One motion encoder: the clip with the semantics of its classes → mean and log variance."""

    def __init__(self, inputs: int, code: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, 32, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            ConvolutionBlock(32, 64, kernel=4, stride=2),
            ConvolutionBlock(64, 64),
            ConvolutionBlock(64, 128, kernel=4, stride=2),
            ConvolutionBlock(128, 128),
            nn.Conv2d(128, CODE_CHANNELS, 4, 2, 1, bias=False),
        )
        self.mean = nn.Linear(ROW, code)
        self.log_variance = nn.Linear(ROW, code)

    def forward(self, clip: Float[Tensor, "batch inputs height width"]) -> tuple[Rows, Rows]:
        """Return mean and log variance of every row."""
        rows = self.body(clip).reshape(len(clip), -1, ROW).float()
        return self.mean(rows), self.log_variance(rows).clamp(*LOG_VARIANCE_RANGE)


class PaperMotionEncoder(nn.Module):
    """Background and foreground encoder (``split``), or one for both (``joint``, ``none``).

    The void class goes with the foreground, as the 20th class of the authors' maps does.
    """

    def __init__(
        self,
        config: PaperConfig,
        *,
        num_frames: int,
        num_channels: int,
        foreground: tuple[int, ...],
        semantics: Semantics = "split",
    ) -> None:
        super().__init__()
        self.channels = config.channels
        self.num_channels = num_channels
        every = list(range(num_channels))
        background = [i for i in every[:-1] if i not in foreground]
        groups = {
            "split": (background, [i for i in every if i not in background]),
            "joint": (every,),
            "none": ([],),
        }
        self.classes: tuple[list[int], ...] = groups[semantics]
        codes = [config.background_code, config.foreground_code]
        if semantics != "split":
            codes = [sum(codes)]
        pictures = config.channels * (num_frames + 1)
        self.encoders = nn.ModuleList(
            SequenceEncoder(pictures + len(classes), code)
            for classes, code in zip(self.classes, codes, strict=True)
        )

    def forward(
        self, first_frame: Pictures, frames: Frames, label_map: Labels, objects: Objects
    ) -> Posterior:
        """Encode [I_0, I_1 - I_0, ..., I_T - I_0] and the first frame's classes.

        ``objects`` says only how large the coarse grid is. Raises ``ModelError`` for a size that
        cannot be cut into rows.
        """
        rows = rows_of_code(objects)
        first = to_colours(first_frame, self.channels)
        video = to_colours(rearrange(frames, "b t c h w -> (b t) c h w"), self.channels)
        video = rearrange(video, "(b t) c h w -> b t c h w", b=len(frames))
        differences = rearrange(video - first.unsqueeze(1), "b t c h w -> b (t c) h w")
        one_hot = rearrange(F.one_hot(label_map, self.num_channels), "b h w c -> b c h w")
        codes = [
            encoder(torch.cat((first, differences, one_hot[:, classes].to(first)), 1))
            for encoder, classes in zip(self.encoders, self.classes, strict=True)
        ]
        mean, log_variance = (_as_latent([code[part] for code in codes]) for part in (0, 1))
        numbers = torch.arange(1, rows + 1, device=objects.device).view(1, rows, 1)
        return Posterior(mean, log_variance, numbers.expand(len(objects), -1, -1).contiguous())


def _as_latent(parts: list[Rows]) -> Latent:
    """Return background (batch, row * code) and foreground (batch, code, row, 1)."""
    background = parts[0].flatten(1)
    empty = parts[0][..., :0]
    foreground = rearrange(parts[1] if len(parts) > 1 else empty, "b row code -> b code row 1")
    return Latent(background, foreground)
