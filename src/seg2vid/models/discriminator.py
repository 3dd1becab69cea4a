"""The discriminator of first frames: a segmentation network with one class more, "generated".
Training only.

Schönfeld et al., "You Only Need Adversarial Supervision for Semantic Image Synthesis", ICLR 2021:
it names the class of every pixel of a real frame and calls generated ones generated, so that a
generator can please it only by painting what the label map says.
"""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from seg2vid.models.layers import join, upsample
from seg2vid.structures import Pictures


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2))


class Discriminator(nn.Module):
    """U-Net over RGB that returns logits of ``num_channels`` classes and, last, of "generated"."""

    def __init__(self, *, num_channels: int, width: int = 32) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 6 * width]
        self.down = nn.ModuleList(
            _convolution(a, b, 4, 2) for a, b in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            _convolution(deep + skip, skip, 3)
            for deep, skip in zip(widths[1:], widths[:-1], strict=True)
        )
        # Four logits a cell at half resolution, folded out to full: a full-resolution layer costs
        # as much as all others.
        self.to_logits = nn.Conv2d(width, 4 * (num_channels + 1), 1)

    def forward(self, frame: Pictures) -> Float[Tensor, "batch class height width"]:
        """Classify RGB in [0, 1]; height and width must be multiples of 16."""
        features = join(2 * frame - 1)
        skips = []
        for down in self.down:
            features = F.leaky_relu(down(features), 0.2)
            skips.append(features)
        for level in reversed(range(len(self.up))):
            joined = join(upsample(features), skips[level])
            features = F.leaky_relu(self.up[level](joined), 0.2)
        # Many classes are cheaper to unfold where each is a picture of its own in memory.
        logits = self.to_logits(features.contiguous())
        return rearrange(logits, "b (c y x) h w -> b c (h y) (w x)", y=2, x=2)
