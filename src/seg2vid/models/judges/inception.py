"""FID Inception (Szegedy et al., 2016; TensorFlow's release of 2015-12-05), frozen: one picture →
2048 features, with which FID, KID and the Inception Score are measured.

It is not the Inception-v3 of the image libraries: average pooling does not count what lies beyond
the border, the last block pools by maximum, and its classes are 1008. Convolutions bear the names
of the weight file, which says how large they are, with their normalisation folded in.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from seg2vid.models.judges.files import (
    INCEPTION,
    INCEPTION_CLASSES,
    frozen,
    judge_folder,
    load_weights,
)
from seg2vid.structures import Features, Pictures

Result = Float[Tensor, "batch channel_out height_out width_out"]

WEIGHTS = INCEPTION
SIDE = 299
"""Pixels on a side of what the network looks at."""
EPSILON = 1e-3
"""Added to variances: TensorFlow's choice, here and for I3D."""

HALVING = {
    *("conv", "mixed_3_conv", "mixed_3_tower_conv_2"),
    *("mixed_8_tower_conv_1", "mixed_8_tower_1_conv_3"),
}
"""Convolutions of stride 2."""
UNPADDED = HALVING | {"conv_1", "conv_4"}
"""Convolutions that lose the border; the others keep the size."""


@dataclass(frozen=True)
class InceptionOutput:
    """What Inception sees in a batch of pictures."""

    features: Float[Tensor, "batch 2048"]
    """The mean over the last maps (``pool3``), not negative."""
    logits: Float[Tensor, "batch 1008"] | None
    """Logits without bias, as the Inception Score takes them; None without the file of the classes.
    """


def average_pooled(picture: Features) -> Features:
    """Return the mean of each pixel's 3x3 neighbours inside the picture."""
    return F.avg_pool2d(picture, 3, 1, 1, count_include_pad=False)


class Inception(nn.Module):
    """Picture → features and, where the weight file has them, classes.

    Computed in float32, also under autocast. Four street photographs of 256x128 together and each
    alone gave the same bits on one thread; two threads moved features, 0 to 3.7, by at most 1.6e-6.
    ``network`` under bfloat16 autocast moves them by 2.5 % of their norm.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        """``weights`` are its parameters, by name."""
        super().__init__()
        self.convolutions = nn.ModuleDict()
        for key in (key for key in weights if re.fullmatch(r"convolutions\.\w+\.weight", key)):
            name = key.split(".")[1]
            outputs, inputs, height, width = weights[key].shape
            padding = (0, 0) if name in UNPADDED else (height // 2, width // 2)
            stride = 2 if name in HALVING else 1
            self.convolutions[name] = nn.Conv2d(inputs, outputs, (height, width), stride, padding)
        has_classes = "output.weight" in weights
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
        hidden = self._convolved(hidden, "conv", "conv_1", "conv_2")
        hidden = self._convolved(F.max_pool2d(hidden, 3, 2), "conv_3", "conv_4")
        hidden = F.max_pool2d(hidden, 3, 2)
        for block in ("mixed", *(f"mixed_{number}" for number in range(1, 9))):
            towers = [f"{block}{end}" for end in ("", "_tower", "_tower_1")]
            # The last block that halves has two towers only.
            parts = [self._tower(hidden, tower) for tower in towers if self._names(tower)]
            if self._names(f"{block}_tower_2"):
                parts.append(self._tower(average_pooled(hidden), f"{block}_tower_2"))
            else:
                parts.append(F.max_pool2d(hidden, 3, 2))
            hidden = torch.cat(parts, 1)
        hidden = self._split_block(hidden, "mixed_9", average_pooled(hidden))
        pooled = F.max_pool2d(hidden, 3, 1, 1)
        return self._split_block(hidden, "mixed_10", pooled).mean((2, 3))

    def _split_block(self, picture: Features, block: str, pooled: Features) -> Result:
        """Join towers that end in two convolutions side by side, a flat and a tall one."""
        parts = [self._tower(picture, block)]
        for tower in (f"{block}_tower", f"{block}_tower_1"):
            inner = self._tower(picture, tower)
            parts += [self._convolved(inner, f"{tower}_mixed_{end}") for end in ("conv", "conv_1")]
        return torch.cat((*parts, self._tower(pooled, f"{block}_tower_2")), 1)

    def _names(self, tower: str) -> list[str]:
        """Return the convolutions ``conv, conv_1 ...`` of a tower; none where it is missing."""
        names = (f"{tower}_conv", *(f"{tower}_conv_{number}" for number in range(1, 5)))
        return [name for name in names if name in self.convolutions]

    def _tower(self, picture: Features, tower: str) -> Result:
        return self._convolved(picture, *self._names(tower))

    def _convolved(self, picture: Features, *names: str) -> Result:
        for name in names:
            picture = F.relu(self.convolutions[name](picture), inplace=True)
        return picture


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
        place = key.removesuffix("weight")
        mean, variance, shift = (stored[place + part] for part in ("mean", "var", "beta"))
        pair = folded(stored[key], mean=mean, variance=variance, shift=shift)
        name = "convolutions." + place.removeprefix("net.layers.").rstrip(".").replace(".", "_")
        weights[f"{name}.weight"], weights[f"{name}.bias"] = pair
    classes = judge_folder(folder) / INCEPTION_CLASSES
    if classes.is_file():
        weights["output.weight"] = load_file(classes)["net.output.weight"]
    network = frozen(Inception(weights), weights)
    nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
    return network
