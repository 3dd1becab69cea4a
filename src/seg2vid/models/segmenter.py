"""Photo → label map: a small segmentation network, for photos as input and as judge of frames."""

import itertools

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.models.config import SegmenterConfig
from seg2vid.models.layers import ConvolutionBlock, coordinates
from seg2vid.structures import Features, Pictures
from seg2vid.tools.errors import ModelError

MULTIPLE = 32
"""Height and width of a picture are multiples of this."""
VIEWS = (1, 2, 4)
"""Cells along the height of the pooled views of the whole picture (Zhao et al., CVPR 2017)."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue."""


class Segmenter(nn.Module):
    """Encoder of EfficientNet-Lite0, pooled views of the whole, and a light way back up.

    Raises ``ModelError`` for a configuration that is no such network.
    """

    def __init__(self, config: SegmenterConfig, *, num_classes: int) -> None:
        super().__init__()
        _check(config)
        self.encoder = Encoder(config)
        skips = self.encoder.skip_widths
        deep, ways = skips[-1], config.way_up
        view = max(1, deep // 4)
        self.views = nn.ModuleList(ConvolutionBlock(deep, view, kernel=1) for _ in VIEWS)
        self.join = ConvolutionBlock(deep + len(VIEWS) * view, ways[-1], kernel=1)
        # The place in the picture tells sky from wall and road from pavement.
        self.across = nn.ModuleList(
            ConvolutionBlock(skip + 2, way, kernel=1)
            for skip, way in zip(skips[:-1], ways, strict=True)
        )
        self.up = nn.ModuleList(ConvolutionBlock(way, way) for way in ways)
        self.narrow = nn.ModuleList(
            ConvolutionBlock(a, b, kernel=1) for b, a in itertools.pairwise(ways)
        )
        self.dropout = nn.Dropout2d(config.dropout)
        # Four logits a cell at half resolution, folded out to full.
        self.to_logits = nn.Conv2d(ways[0], 4 * num_classes, 1)

    def forward(self, picture: Pictures) -> Float[Tensor, "batch class height width"]:
        """Return the logits of each pixel's class for RGB in [0, 1]."""
        *skips, deepest = self.encoder(picture)
        features = self.join(torch.cat((deepest, *self._look_around(deepest)), 1))
        for level in reversed(range(len(skips))):
            if level < len(skips) - 1:
                features = self.narrow[level](features)
            skip = skips[level]
            across = self.across[level](torch.cat((skip, coordinates(skip)), 1))
            size = skip.shape[2:]
            above = F.interpolate(features, size, mode="bilinear", align_corners=False)
            features = self.up[level](above + across)
        logits = self.to_logits(self.dropout(features))
        return rearrange(logits, "b (c y x) h w -> b c (h y) (w x)", y=2, x=2)

    def _look_around(self, features: Features) -> list[Float[Tensor, "batch view height width"]]:
        size = features.shape[2:]
        pooled = (F.adaptive_avg_pool2d(features, (cells, 2 * cells)) for cells in VIEWS)
        return [
            F.interpolate(view(part), size, mode="bilinear", align_corners=True)
            for view, part in zip(self.views, pooled, strict=True)
        ]


class Encoder(nn.Module):
    """EfficientNet-Lite0 without its head: ReLU6, no squeeze-and-excitation."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.enter = _Step(3, config.widths[0], kernel=3, stride=2)
        self.stages = nn.ModuleList()
        shapes = zip(
            itertools.pairwise(config.widths),
            config.blocks,
            config.kernels,
            config.strides,
            strict=True,
        )
        for index, ((inputs, outputs), blocks, kernel, stride) in enumerate(shapes):
            wider = config.expansion if index else 1
            first = _InvertedResidual(inputs, outputs, kernel, stride=stride, expansion=wider)
            others = (
                _InvertedResidual(outputs, outputs, kernel, stride=1, expansion=wider)
                for _ in range(blocks - 1)
            )
            self.stages.append(nn.Sequential(first, *others))
        followers = (*config.strides[1:], 2)
        # What a coarser stage follows is the last of its resolution.
        self._is_last = [stride == 2 for stride in followers]
        self.skip_widths = [
            width for width, last in zip(config.widths[1:], self._is_last, strict=True) if last
        ]

    def forward(self, picture: Pictures) -> list[Float[Tensor, "batch _ _ _"]]:
        """Return the features at half resolution, a quarter and so on."""
        mean = picture.new_tensor(MEAN).view(1, 3, 1, 1)
        deviation = picture.new_tensor(DEVIATION).view(1, 3, 1, 1)
        features, found = self.enter((picture - mean) / deviation), []
        for stage, is_last in zip(self.stages, self._is_last, strict=True):
            features = stage(features)
            if is_last:
                found.append(features)
        return found

    def begin_with(self, backbone: nn.Module) -> None:
        """Take over the weights of EfficientNet-Lite0, which hold the same layers in this order.

        Raises ``ModelError`` where the layers differ.
        """
        theirs = backbone.state_dict()
        given = {}
        for (name, own), (other, weight) in zip(
            self.state_dict().items(), theirs.items(), strict=False
        ):
            if own.shape != weight.shape:
                what = "an encoder of the layers of EfficientNet-Lite0, to begin with its weights"
                got = f"{tuple(own.shape)} in {name}, where {other} has {tuple(weight.shape)}"
                fix = "leave the segmenter's widths as they are, or give --pretrained false"
                raise ModelError(what, got=got, fix=fix)
            given[name] = weight
        self.load_state_dict(given)


class _Step(nn.Sequential):
    """Padding, convolution, batch norm, ReLU6; ``groups`` as in ``Conv2d``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        is_linear: bool = False,
    ) -> None:
        # A coarser grid lies in the middle of its cells, as where the weights were learned.
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        padding = 0 if before != after else before
        layers = [nn.ZeroPad2d((before, after, before, after))] if before != after else []
        super().__init__(
            *layers,
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3),
            *([] if is_linear else [nn.ReLU6(inplace=True)]),
        )


class _InvertedResidual(nn.Module):
    """Widen, look around channel by channel, narrow (Sandler et al., CVPR 2018)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int, expansion: int
    ) -> None:
        super().__init__()
        wide = expansion * inputs
        layers = [_Step(inputs, wide, kernel=1)] if expansion > 1 else []
        self.body = nn.Sequential(
            *layers,
            _Step(wide, wide, kernel=kernel, stride=stride, groups=wide),
            _Step(wide, outputs, kernel=1, is_linear=True),
        )
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, features: Features) -> Float[Tensor, "batch outputs tall wide"]:
        """Return features, ``stride`` times coarser."""
        changed: Features = self.body(features)
        return changed + features if self.has_shortcut else changed


def _check(config: SegmenterConfig) -> None:
    stages = len(config.blocks)
    is_network = (
        stages >= 2
        and len(config.widths) == stages + 1
        and len(config.kernels) == len(config.strides) == stages
        and all(side % 2 for side in config.kernels)
        and set(config.strides) <= {1, 2}
        and len(config.way_up) == config.strides[1:].count(2) >= 1
        and config.strides[0] == 1
        and min((*config.widths, *config.blocks, *config.way_up, config.expansion)) >= 1
        and 0 <= config.dropout <= 1
    )
    if not is_network:
        what = (
            "a segmenter of one width more than blocks, kernels and strides, the first stride 1, "
            "a width on the way up for each stride of 2, and a dropout from 0 to 1"
        )
        raise ModelError(what, got=str(config), fix="correct its fields")
