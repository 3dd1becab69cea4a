"""Frozen AlexNet (LPIPS) and VGG, shared by losses and metrics, never in a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.models.judges.files import frozen, load_weights, read_official
from seg2vid.structures import Pictures
from seg2vid.tools.errors import ModelError

ALEXNET = {
    "0": (3, 64, 11, 4, 2),
    "3": (64, 192, 5, 1, 2),
    "6": (192, 384, 3, 1, 1),
    "8": (384, 256, 3, 1, 1),
    "10": (256, 256, 3, 1, 1),
}
"""Arguments of AlexNet's convolutions (Krizhevsky, 2014 variant), by their places in the usual list
of its layers."""
VGG_BLOCKS: Mapping[int, tuple[tuple[int, ...], ...]] = {
    16: ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512)),
    19: ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512)),
}
"""Channels of the convolutions of VGG-16 and VGG-19, a pooling apart, up to relu4_3 and relu4_4."""
VGG19_SOURCE = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"


class ReluMaps(nn.Module):
    """The map after every ReLU of a plain chain of convolutions, some of which pool first."""

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        layers: Mapping[str, tuple[int, int, int, int, int]],
        pooling: nn.Module,
        pooled: tuple[str, ...],
        *,
        shift: list[float],
        scale: list[float],
    ) -> None:
        """``shift`` and ``scale`` are mean and deviation of the pictures it was trained on."""
        super().__init__()
        self.features = nn.ModuleDict({place: nn.Conv2d(*sizes) for place, sizes in layers.items()})
        self.pooling, self.pooled = pooling, pooled
        for name, values in (("shift", shift), ("scale", scale)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, picture: Pictures) -> list[Tensor]:
        """Return the maps, (batch, channel, height, width) each, ever smaller."""
        maps = []
        hidden = (picture - self.shift) / self.scale
        for place, layer in self.features.items():
            hidden = F.relu(layer(self.pooling(hidden) if place in self.pooled else hidden))
            maps.append(hidden)
        return maps


class PerceptualDistance(nn.Module):
    """LPIPS v0.1 with AlexNet (Zhang et al., CVPR 2018): 0 if equal, about 0.7 if unrelated."""

    def __init__(self) -> None:
        super().__init__()
        # The constants of the LPIPS authors' release, for pictures in [-1, 1].
        shift, scale = [-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]
        pooling = nn.MaxPool2d(3, 2)
        self.network = ReluMaps(ALEXNET, pooling, ("3", "6"), shift=shift, scale=scale)
        self.heads = nn.ParameterList(
            nn.Parameter(torch.zeros(1, sizes[1], 1, 1)) for sizes in ALEXNET.values()
        )

    def forward(self, predicted: Pictures, target: Pictures) -> Float[Tensor, " batch"]:
        """Return the distance of each pair of pictures in [0, 1], at least 32 pixels on a side."""
        shares = (difference.mean((1, 2)) for difference in self._differences(predicted, target))
        return sum(shares, predicted.new_zeros(len(predicted)))

    def distance_map(
        self, predicted: Pictures, target: Pictures
    ) -> Float[Tensor, "batch height width"]:
        """Return where the distance lies: every layer's share enlarged bilinearly, and summed.

        The mean over a picture is ``forward`` but for the border, where rows and columns count a
        little more or less once enlarged: 3e-5 of it on photographs of 256x128.
        """
        size = predicted.shape[2:]
        shares = (
            F.interpolate(difference[:, None], size, mode="bilinear")[:, 0]
            for difference in self._differences(predicted, target)
        )
        return sum(shares, torch.zeros_like(predicted[:, 0]))

    def _differences(self, predicted: Pictures, target: Pictures) -> list[Tensor]:
        """Return the weighted squared difference in each layer: (batch, height, width) there."""
        pairs = zip(self._unit_maps(predicted), self._unit_maps(target), self.heads, strict=True)
        return [((one - other).square() * head).sum(1) for one, other, head in pairs]

    def _unit_maps(self, picture: Pictures) -> list[Tensor]:
        maps = self.network((2 * picture - 1).contiguous(memory_format=torch.channels_last))
        return [m.float() / (m.float().norm(dim=1, keepdim=True) + 1e-10) for m in maps]


class VGGFeatures(ReluMaps):
    """ReLU maps of VGG with average pooling (Gatys et al., 2016), of RGB in [0, 1].

    Ten of VGG-16, relu1_1 ... relu4_3, at 1 / f of the size, f = 1, 1, 2, 2, 4 ... 8; or the twelve
    of VGG-19, relu1_1 ... relu4_4, that the authors' code compares.
    """

    def __init__(self, depth: int = 16) -> None:
        layers, pooled, place, before = {}, [], 0, 3
        for block in VGG_BLOCKS[depth]:
            pooled += [str(place)] if place else []
            for after in block:
                layers[str(place)] = (before, after, 3, 1, 1)
                # Places count the ReLU after each convolution, and the pooling after each block.
                place, before = place + 2, after
            place += 1
        # Mean and deviation of ImageNet.
        shift, scale = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        super().__init__(layers, nn.AvgPool2d(2), tuple(pooled), shift=shift, scale=scale)


def load_vgg_features(folder: Path | None = None) -> VGGFeatures:
    """Load VGG-16, frozen; raise ``ModelError`` where the file is missing."""
    return frozen(VGGFeatures(), load_weights("vgg16_features_fp16.safetensors", folder))


def read_vgg19(path: Path) -> VGGFeatures:
    """Load VGG-19, frozen, from torchvision's file; raise ``ModelError`` where it is another."""
    network = VGGFeatures(19)
    stored, wanted = read_official(path), network.state_dict()
    unfit = [n for n in wanted if n not in stored or stored[n].shape != wanted[n].shape]
    if unfit:
        what, fix = f"VGG-19 with the tensors of torchvision in {path}", f"download {VGG19_SOURCE}"
        got = f"no {unfit[0]} of shape {'x'.join(map(str, wanted[unfit[0]].shape))}"
        raise ModelError(what, got=got, fix=fix)
    return frozen(network, {name: stored[name].float() for name in wanted})


def shifted_distance(
    distance: PerceptualDistance, predicted: Pictures, target: Pictures
) -> Float[Tensor, " batch"]:
    """Return the perceptual distance of both pictures cropped by the same random 0 ... 7 pixels.

    AlexNet looks at every fourth pixel, its deeper layers at every sixteenth: as a loss on an
    unshifted picture it leaves a grid in what it trains.
    """
    top, left = (int(torch.randint(8, ())) for _ in "yx")
    return distance(predicted[..., top:, left:], target[..., top:, left:])


def load_perceptual_distance(folder: Path | None = None) -> PerceptualDistance:
    """Load AlexNet and LPIPS's heads, frozen; raise ``ModelError`` where a file is missing."""
    distance = PerceptualDistance()
    distance.network.load_state_dict(load_weights("alexnet_features.safetensors", folder))
    heads = load_weights("lpips_v01_alex_lin.safetensors", folder)
    for index, head in enumerate(distance.heads):
        head.data.copy_(heads[f"lin{index}.model.1.weight"])
    return distance.eval().requires_grad_(False)


@dataclass(frozen=True)
class PerceptualNetworks:
    """The frozen networks that training may use."""

    perceptual: PerceptualDistance | None = None
    features: VGGFeatures | None = None

    def to(self, device: torch.device | str) -> None:
        """Move the networks to a device."""
        for network in (self.perceptual, self.features):
            if network is not None:
                network.to(device)


def load_perceptual_networks(
    folder: Path | None, *, perceptual: bool, features: bool, vgg19: Path | None = None
) -> PerceptualNetworks:
    """Load those wanted; raise ``ModelError`` where a file is missing.

    ``vgg19`` is a file of VGG-19 to compare features of, instead of the folder's VGG-16.
    """
    chosen = read_vgg19(vgg19) if features and vgg19 is not None else None
    try:
        return PerceptualNetworks(
            perceptual=load_perceptual_distance(folder) if perceptual else None,
            features=chosen or (load_vgg_features(folder) if features else None),
        )
    except ModelError as error:
        without = "or leave out LPIPS and VGG features with --without-features"
        raise ModelError(f"{str(error).rstrip('.')}, {without}.") from None
