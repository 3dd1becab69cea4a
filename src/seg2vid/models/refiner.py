"""Box ``refiner``: warped frames + visibility → finished frames, and labels of what was hidden.

Paper Sec. 3.3 (post-processing network P of Eq. 2). A small gated U-Net (gated convolution: Yu et
al., ICCV 2019) that composites: what was visible is copied from the warped frame and stays sharp,
the rest is painted.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.models.config import RefinerConfig
from seg2vid.models.layers import LabelEmbedding, upsample

Stack = Float[Tensor, "frames 3 height width"]


class GatedConvolution(nn.Module):
    """A convolution that decides, pixel by pixel, how much of its result to let through.

    One gate serves all channels of a pixel (Yi et al., CVPR 2020), which halves the cost.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.both = nn.Conv2d(inputs, outputs + 1, 3, stride, dilation, dilation, bias=False)
        self.norm = nn.BatchNorm2d(outputs + 1)

    def forward(
        self, features: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs tall wide"]:
        """Return features, half as large for ``stride`` 2."""
        both = self.norm(self.both(features))
        return F.leaky_relu(both[:, :-1], 0.2) * torch.sigmoid(both[:, -1:])


class Refiner(nn.Module):
    """Finish each warped frame by itself; height and width must be multiples of 8."""

    def __init__(self, config: RefinerConfig, *, num_channels: int) -> None:
        super().__init__()
        width = config.width
        self.num_channels = num_channels
        self.embedding = LabelEmbedding(num_channels, 4)
        # Warped frame 3, visibility 1, labels 4, first frame 3; four neighbours become channels.
        self.enter = GatedConvolution(4 * 11, width)
        self.down = GatedConvolution(width, 2 * width, stride=2)
        self.deep = nn.Sequential(
            GatedConvolution(2 * width, 4 * width, stride=2),
            GatedConvolution(4 * width, 4 * width, dilation=2),
            GatedConvolution(4 * width, 4 * width, dilation=4),
        )
        self.up = GatedConvolution(6 * width, 2 * width)
        self.leave = GatedConvolution(3 * width, width)
        self.to_picture = nn.Conv2d(width, 4 * 4, 3, 1, 1)
        self.to_labels = nn.Conv2d(width, num_channels, 1)

    def forward(
        self,
        warped: Stack,
        visible: Float[Tensor, "frames 1 height width"],
        label_maps: Int[Tensor, "frames height width"],
        first_frame: Stack,
    ) -> tuple[Stack, Float[Tensor, "frames class half_height half_width"]]:
        """Return finished frames in [0, 1] and label logits; ``label_maps`` are the warped ones.

        Logits come at half resolution, one for each 2 x 2 pixels.
        """
        labels = self.embedding(label_maps)
        known = torch.cat((warped * visible - 0.5, visible, labels, first_frame - 0.5), 1)
        half = self.enter(rearrange(known, "n c (h y) (w x) -> n (c y x) h w", y=2, x=2))
        quarter = self.down(half)
        eighth = self.deep(quarter)
        quarter = self.up(torch.cat((upsample(eighth), quarter), 1))
        half = self.leave(torch.cat((upsample(quarter), half), 1))
        picture = self.to_picture(half).float()
        picture = rearrange(picture, "n (c y x) h w -> n c (h y) (w x)", y=2, x=2)
        painted = torch.sigmoid(picture[:, :3])
        # The network starts from the mask, but may distrust a visible pixel or trust a hidden one.
        keep = torch.sigmoid(torch.logit(visible.float(), eps=1e-3) + picture[:, 3:])
        return keep * warped + (1 - keep) * painted, self.to_labels(half).float()
