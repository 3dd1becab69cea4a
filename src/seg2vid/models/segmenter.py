"""Photo → label map: a small segmentation network, for photos as input and as judge of frames."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.models.config import SegmenterConfig
from seg2vid.models.layers import ConvolutionBlock, ResidualBlock, coordinates, upsample
from seg2vid.structures import Features, Pictures
from seg2vid.tools.errors import ModelError

MULTIPLE = 16
"""Height and width of a picture are multiples of this."""
VIEWS = (1, 2, 4)
"""Cells along the height of the pooled views of the whole picture (Zhao et al., CVPR 2017)."""


class Segmenter(nn.Module):
    """U-Net whose weight lies at an eighth and a sixteenth of the resolution, where it is cheap."""

    def __init__(self, config: SegmenterConfig, *, num_classes: int) -> None:
        super().__init__()
        widths = config.widths
        if len(widths) < 2 or len(widths) != len(config.blocks) + 1 or not 0 <= config.dropout <= 1:
            what = "a segmenter of one width more than blocks and a dropout from 0 to 1"
            raise ModelError(what, got=str(config), fix="correct its fields")
        self.enter = ConvolutionBlock(3, widths[0], stride=2)
        self.down = nn.ModuleList(
            nn.Sequential(
                # The place in the picture tells sky from wall and road from pavement.
                ConvolutionBlock(a + 2, b, stride=2),
                *(ResidualBlock(b, dilation=1 + index % 2) for index in range(blocks)),
            )
            for a, b, blocks in zip(widths[:-1], widths[1:], config.blocks, strict=True)
        )
        deep, view = widths[-1], widths[-1] // 4
        self.views = nn.ModuleList(ConvolutionBlock(deep, view, kernel=1) for _ in VIEWS)
        self.join = ConvolutionBlock(deep + len(VIEWS) * view, widths[-2], kernel=1)
        self.up = nn.ModuleList(
            ConvolutionBlock(shallow, shallow) for shallow in reversed(widths[:-1])
        )
        self.narrow = nn.ModuleList(
            ConvolutionBlock(a, b, kernel=1)
            for a, b in zip(reversed(widths[1:-1]), reversed(widths[:-2]), strict=True)
        )
        self.dropout = nn.Dropout2d(config.dropout)
        # Four logits a cell at half resolution, folded out to full.
        self.to_logits = nn.Conv2d(widths[0], 4 * num_classes, 1)

    def forward(self, picture: Pictures) -> Float[Tensor, "batch class height width"]:
        """Return the logits of each pixel's class for RGB in [0, 1]."""
        features = self.enter(4 * picture - 2)
        skips = [features]
        for down in self.down:
            features = down(torch.cat((features, coordinates(features)), 1))
            skips.append(features)
        features = self.join(torch.cat((features, *self._look_around(features)), 1))
        for level, up in enumerate(self.up):
            if level:
                features = self.narrow[level - 1](features)
            features = up(upsample(features) + skips[-2 - level])
        logits = self.to_logits(self.dropout(features))
        return rearrange(logits, "b (c y x) h w -> b c (h y) (w x)", y=2, x=2)

    def _look_around(self, features: Features) -> list[Float[Tensor, "batch view height width"]]:
        size = features.shape[2:]
        pooled = (F.adaptive_avg_pool2d(features, (cells, 2 * cells)) for cells in VIEWS)
        return [
            F.interpolate(view(part), size, mode="bilinear", align_corners=True)
            for view, part in zip(self.views, pooled, strict=True)
        ]
