"""FID Inception (Szegedy et al., 2016; TensorFlow's release of 2015-12-05), frozen: one picture →
2048 features, with which FID, KID and the Inception Score are measured.

It is not the Inception-v3 of the image libraries: average pooling does not count what lies beyond
the border, the last block pools by maximum, and its classes are 1008. Convolutions bear the names
of the weight file, with their normalisation folded in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from seg2vid.models.judges.files import INCEPTION_CLASSES, frozen, judge_folder, load_weights
from seg2vid.structures import Features, Pictures

WEIGHTS = "inception_fid_fp16.safetensors"
SIDE = 299
"""Pixels on a side of what the network looks at."""
PREFIX = "net.layers."
"""What the names of tensors in the weight file begin with."""
EPSILON = 1e-3
"""Added to variances: TensorFlow's choice, here and for I3D."""

Step = tuple[int, int, int]
"""Output channels, kernel height and kernel width of one convolution."""
Towers = Mapping[str, Sequence[Step]]


@dataclass(frozen=True)
class InceptionOutput:
    """What Inception sees in a batch of pictures."""

    features: Float[Tensor, "batch 2048"]
    """The mean over the last maps (``pool3``), not negative."""
    logits: Float[Tensor, "batch 1008"] | None
    """Logits without bias, as the Inception Score takes them; None without the file of the classes.
    """


def convolved(
    picture: Features, convolutions: Iterable[nn.Module]
) -> Float[Tensor, "batch channel_out height_out width_out"]:
    """Return what a chain of convolutions makes of it, each followed by a ReLU."""
    for convolution in convolutions:
        picture = F.relu(convolution(picture), inplace=True)
    return picture


def average_pooled(picture: Features) -> Features:
    """Return the mean of each pixel's 3x3 neighbours inside the picture."""
    return F.avg_pool2d(picture, 3, 1, 1, count_include_pad=False)


class Tower(nn.ModuleDict):
    """Convolutions ``conv, conv_1 ...`` that keep the size, or of which the last halves it."""

    def __init__(self, inputs: int, steps: Sequence[Step], *, stride: int = 1) -> None:
        super().__init__()
        for index, (outputs, height, width) in enumerate(steps):
            is_halving = stride > 1 and index == len(steps) - 1
            padding = (0, 0) if is_halving else (height // 2, width // 2)
            step = stride if is_halving else 1
            convolution = nn.Conv2d(inputs, outputs, (height, width), step, padding)
            self[f"conv_{index}" if index else "conv"] = convolution
            inputs = outputs


class Block(nn.Module):
    """Towers side by side and a pooling, joined; ``conv`` is a convolution by itself."""

    def __init__(
        self, inputs: int, towers: Towers, *, pooled: int = 0, is_reduction: bool = False
    ) -> None:
        """``pooled`` channels are made of an average; a reduction pools by maximum instead."""
        super().__init__()
        self.is_reduction = is_reduction
        for name, steps in towers.items():
            chain = Tower(inputs, steps, stride=2 if is_reduction else 1)
            self.add_module(name, chain["conv"] if name == "conv" else chain)
        if not is_reduction:
            self.tower_2 = Tower(inputs, [(pooled, 1, 1)])

    def forward(self, picture: Features) -> Float[Tensor, "batch channel_out height_out width_out"]:
        """Return the joined maps, at half the resolution after a reduction."""
        parts = []
        for name, child in self.named_children():
            chain = child.values() if isinstance(child, Tower) else [child]
            seen = average_pooled(picture) if name == "tower_2" else picture
            parts.append(convolved(seen, chain))
        if self.is_reduction:
            parts.append(F.max_pool2d(picture, 3, 2))
        return torch.cat(parts, 1)


class SplitBlock(nn.Module):
    """Towers that end in two convolutions side by side, a flat and a tall one."""

    def __init__(self, inputs: int, *, is_last: bool) -> None:
        super().__init__()
        self.is_last = is_last
        self.conv = nn.Conv2d(inputs, 320, 1)
        self.tower_conv = nn.Conv2d(inputs, 384, 1)
        self.tower_mixed_conv = nn.Conv2d(384, 384, (1, 3), 1, (0, 1))
        self.tower_mixed_conv_1 = nn.Conv2d(384, 384, (3, 1), 1, (1, 0))
        self.tower_1_conv = nn.Conv2d(inputs, 448, 1)
        self.tower_1_conv_1 = nn.Conv2d(448, 384, 3, 1, 1)
        self.tower_1_mixed_conv = nn.Conv2d(384, 384, (1, 3), 1, (0, 1))
        self.tower_1_mixed_conv_1 = nn.Conv2d(384, 384, (3, 1), 1, (1, 0))
        self.tower_2_conv = nn.Conv2d(inputs, 192, 1)

    def forward(self, picture: Features) -> Float[Tensor, "batch 2048 height width"]:
        """Return the joined maps."""
        one = convolved(picture, [self.tower_conv])
        other = convolved(picture, [self.tower_1_conv, self.tower_1_conv_1])
        pooled = F.max_pool2d(picture, 3, 1, 1) if self.is_last else average_pooled(picture)
        parts = (
            convolved(picture, [self.conv]),
            convolved(one, [self.tower_mixed_conv]),
            convolved(one, [self.tower_mixed_conv_1]),
            convolved(other, [self.tower_1_mixed_conv]),
            convolved(other, [self.tower_1_mixed_conv_1]),
            convolved(pooled, [self.tower_2_conv]),
        )
        return torch.cat(parts, 1)


def long_towers(channels: int) -> Towers:
    """Return the towers of a block at 17x17: a 7x7 kernel in flat and tall pieces."""
    tall, flat = (channels, 7, 1), (channels, 1, 7)
    return {
        "conv": [(192, 1, 1)],
        "tower": [(channels, 1, 1), flat, (192, 7, 1)],
        "tower_1": [(channels, 1, 1), tall, flat, tall, (192, 1, 7)],
    }


WIDE_TOWERS: Towers = {
    "conv": [(64, 1, 1)],
    "tower": [(48, 1, 1), (64, 5, 5)],
    "tower_1": [(64, 1, 1), (96, 3, 3), (96, 3, 3)],
}
"""Towers of a block at 35x35."""


class Inception(nn.Module):
    """Picture → features and, where the weight file has them, classes.

    Computed in float32, also under autocast. Four street photographs of 256x128 together and each
    alone gave the same bits on one thread; two threads moved features, 0 to 3.7, by at most 1.6e-6.
    ``network`` under bfloat16 autocast moves them by 2.5 % of their norm.
    """

    def __init__(self, *, has_classes: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3, 2)
        self.conv_1 = nn.Conv2d(32, 32, 3)
        self.conv_2 = nn.Conv2d(32, 64, 3, 1, 1)
        self.conv_3 = nn.Conv2d(64, 80, 1)
        self.conv_4 = nn.Conv2d(80, 192, 3)
        self.mixed = Block(192, WIDE_TOWERS, pooled=32)
        self.mixed_1 = Block(256, WIDE_TOWERS, pooled=64)
        self.mixed_2 = Block(288, WIDE_TOWERS, pooled=64)
        halving: Towers = {"conv": [(384, 3, 3)], "tower": [(64, 1, 1), (96, 3, 3), (96, 3, 3)]}
        self.mixed_3 = Block(288, halving, is_reduction=True)
        self.mixed_4 = Block(768, long_towers(128), pooled=192)
        self.mixed_5 = Block(768, long_towers(160), pooled=192)
        self.mixed_6 = Block(768, long_towers(160), pooled=192)
        self.mixed_7 = Block(768, long_towers(192), pooled=192)
        halving = {
            "tower": [(192, 1, 1), (320, 3, 3)],
            "tower_1": [(192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3)],
        }
        self.mixed_8 = Block(768, halving, is_reduction=True)
        self.mixed_9 = SplitBlock(1280, is_last=False)
        self.mixed_10 = SplitBlock(2048, is_last=True)
        self.output = nn.Linear(2048, 1008, bias=False) if has_classes else None

    def forward(self, picture: Pictures) -> InceptionOutput:
        """Return what is seen in pictures of any size, RGB in [0, 1].

        Nothing is rounded to whole grey levels: files that hold 8 bits give the published features.
        """
        with torch.autocast(picture.device.type, enabled=False):
            looked_at = (resized_as_tensorflow(picture.float(), SIDE) * 255 - 128) / 128
            features = self.network(looked_at)
            logits = self.output(features) if self.output is not None else None
        return InceptionOutput(features, logits)

    def network(self, picture: Float[Tensor, "batch 3 299 299"]) -> Float[Tensor, "batch 2048"]:
        """Return the features of pictures in [-1, 127 / 128], RGB: the network proper."""
        hidden = picture.contiguous(memory_format=torch.channels_last)
        hidden = convolved(hidden, [self.conv, self.conv_1, self.conv_2])
        hidden = convolved(F.max_pool2d(hidden, 3, 2), [self.conv_3, self.conv_4])
        hidden = self.mixed_2(self.mixed_1(self.mixed(F.max_pool2d(hidden, 3, 2))))
        hidden = self.mixed_5(self.mixed_4(self.mixed_3(hidden)))
        hidden = self.mixed_8(self.mixed_7(self.mixed_6(hidden)))
        return self.mixed_10(self.mixed_9(hidden)).mean((2, 3))


def resized_as_tensorflow(picture: Pictures, side: int) -> Float[Tensor, "batch 3 side side"]:
    """Resize bilinearly as TensorFlow 1 did: output pixel i reads position i * old / new.

    No half pixel is added and nothing is smoothed, unlike everywhere else in this project: the
    published FID is measured so.
    """
    for dimension in (2, 3):
        size = picture.shape[dimension]
        position = torch.arange(side, device=picture.device) * (size / side)
        low = position.floor().long().clamp(max=size - 1)
        share = (position - low).to(picture.dtype).view(-1, *[1] * (3 - dimension))
        one = picture.index_select(dimension, low)
        other = picture.index_select(dimension, (low + 1).clamp(max=size - 1))
        picture = one + (other - one) * share
    return picture


def folded(
    weight: Float[Tensor, "channel *rest"],
    *,
    mean: Float[Tensor, " channel"],
    variance: Float[Tensor, " channel"],
    shift: Float[Tensor, " channel"],
    scale: Float[Tensor, " channel"] | None = None,
) -> tuple[Float[Tensor, "channel *rest"], Float[Tensor, " channel"]]:
    """Return weight and bias of the convolution that contains the normalisation behind it."""
    factor = (variance.double() + EPSILON).rsqrt()
    if scale is not None:
        factor = factor * scale.double()
    wide = factor.view(-1, *[1] * (weight.dim() - 1))
    bias = shift.double() - mean.double() * factor
    return (weight.double() * wide).float(), bias.float()


def load_inception(folder: Path | None = None) -> Inception:
    """Load the weights, and the classes if their file is there; raise as ``find_judge`` does."""
    stored = load_weights(WEIGHTS, folder)
    weights = {}
    for key in (key for key in stored if key.endswith(".weight")):
        place, name = key.removesuffix("weight"), key.removeprefix(PREFIX)
        mean, variance, shift = (stored[place + part] for part in ("mean", "var", "beta"))
        pair = folded(stored[key], mean=mean, variance=variance, shift=shift)
        weights[name], weights[name.removesuffix("weight") + "bias"] = pair
    classes = judge_folder(folder) / INCEPTION_CLASSES
    if has_classes := classes.is_file():
        weights |= {"output.weight": load_file(classes)["net.output.weight"]}
    network = frozen(Inception(has_classes=has_classes), weights)
    nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
    return network
