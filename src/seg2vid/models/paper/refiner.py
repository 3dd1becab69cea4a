"""The paper's post-processing network: warped frames → finished frames.

Paper Sec. 3.3, network P of Eq. 2; a VGG-shaped U-Net, layer sizes as in the authors' code, where
it sees three channels only: the warped frame, with Gaussian noise where it is hidden.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.models.layers import ConvolutionBlock, to_colours

Stack = Float[Tensor, "frames 3 height width"]

NOISE_SEED = 0
"""Seeds the noise of generation, so that equal inputs give equal bytes."""
ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the blocks of VGG-16, a pooling apart."""
DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))
"""Channels of the blocks on the way back; each begins with its skip."""


def _blocks(inputs: int, widths: tuple[int, ...]) -> nn.Sequential:
    pairs = zip((inputs, *widths[:-1]), widths, strict=True)
    return nn.Sequential(*(ConvolutionBlock(before, after) for before, after in pairs))


class PaperRefiner(nn.Module):
    """Finish each warped frame by itself; sides must be multiples of 32 and at least 128."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        inputs = (channels, *(widths[-1] for widths in ENCODER))
        self.down = nn.ModuleList(
            _blocks(before, widths) for before, widths in zip(inputs, ENCODER, strict=False)
        )
        self.to_code = nn.Sequential(
            nn.Conv2d(512, 1024, 4, bias=False), nn.BatchNorm2d(1024), nn.Tanh()
        )
        self.from_code = nn.Sequential(
            nn.ConvTranspose2d(1024, 512, 4, bias=False),
            nn.BatchNorm2d(512),
            nn.LeakyReLU(0.2, inplace=True),
        )
        before = (512, *(widths[-1] for widths in DECODER))
        skips = [widths[-1] for widths in reversed(ENCODER)]
        self.up = nn.ModuleList(
            _blocks(inputs + skip, widths)
            for inputs, skip, widths in zip(before, skips, DECODER, strict=False)
        )
        self.to_picture = nn.ConvTranspose2d(64, channels, 3, 1, 1)

    def forward(
        self,
        warped: Stack,
        visible: Float[Tensor, "frames 1 height width"],
        label_maps: Int[Tensor, "frames height width"],
        first_frame: Stack,
    ) -> tuple[Stack, None]:
        """Return finished frames in [0, 1], and no labels.

        ``label_maps`` and ``first_frame`` are not looked at: the authors'
        network is not shown them.
        """
        del label_maps, first_frame
        noise = self._noise(warped)
        hidden = to_colours(warped * visible + noise * (1 - visible), self.channels)
        skips = []
        for block in self.down:
            hidden = block(hidden)
            skips.append(hidden)
            hidden = F.max_pool2d(hidden, 2)
        hidden = self.from_code(self.to_code(hidden))
        for block in self.up:
            hidden = F.interpolate(hidden, scale_factor=2.0, mode="bilinear")
            hidden = block(torch.cat((hidden, skips.pop()), 1))
        picture = torch.sigmoid(self.to_picture(hidden).float())
        return picture.expand(-1, 3, -1, -1), None

    def _noise(self, warped: Stack) -> Float[Tensor, "1 3 height width"]:
        """Draw one picture of noise for all frames: anew in training, the same in generation."""
        generator = None if self.training else torch.Generator().manual_seed(NOISE_SEED)
        return torch.randn(1, *warped.shape[1:], generator=generator).to(warped)
