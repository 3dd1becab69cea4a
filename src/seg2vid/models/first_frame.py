"""Box ``first_frame``: label map and 3-D noise → first frame.

A decoder whose every block is modulated, pixel by pixel, by a pyramid of the label map and by noise
that is constant over a segment (spatially-adaptive modulation: Park et al., CVPR 2019; 3-D noise:
Schönfeld et al., ICLR 2021). Features are normalised over channels at each pixel alone, so that
nothing but convolution carries one segment's look to another: a part of the picture can be drawn
again while the rest keeps its look.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.models.config import FirstFrameConfig
from seg2vid.models.layers import (
    MAX_OBJECTS,
    LabelEmbedding,
    coarse_labels,
    coordinates,
    count_rows,
    join,
    spread_rows,
    upsample,
)
from seg2vid.structures import Carrier, Features, Labels, Objects, Pictures

Condition = Float[Tensor, "batch condition height width"]


@dataclass(frozen=True)
class Look(Carrier):
    """The noise behind one first frame: the same look and map give the same picture."""

    whole: Float[Tensor, "batch global_noise"]
    """Describes the whole picture: weather and light."""
    segments: Float[Tensor, "batch segment segment_noise"]
    """One row for each class, then one for each foreground object."""


class LabelPyramid(nn.Module):
    """The label map at every resolution, each level told what lies around it."""

    def __init__(self, num_channels: int, levels: int, context: int) -> None:
        super().__init__()
        self.embedding = LabelEmbedding(num_channels, context // 2)
        self.enter = nn.Conv2d(context // 2 + 2, context // 2, 3, 1, 1)
        widths = [context // 2, *[context + 8 * level for level in range(1, levels)]]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths))
        self.across = nn.ModuleList(nn.Conv2d(width, context, 1) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(context, context, 3, 1, 1) for _ in widths[1:])

    def forward(self, label_map: Labels) -> list[Tensor]:
        """Return (batch, context, height / 2^level, width / 2^level), finest first."""
        embedded = self.embedding(label_map)
        levels = [F.leaky_relu(self.enter(join(embedded, coordinates(embedded))), 0.2)]
        for down in self.down:
            levels.append(F.leaky_relu(down(levels[-1]), 0.2))
        context = [self.smooth[-1](self.across[-1](levels[-1]))]
        for level in reversed(range(len(levels) - 1)):
            merged = F.leaky_relu(self.across[level](levels[level]) + upsample(context[0]), 0.2)
            # Full resolution is left unsmoothed: it is the slowest level and has its neighbours'
            # edges anyway.
            context.insert(0, self.smooth[level - 1](merged) if level else merged)
        return context


class Modulation(nn.Module):
    """Normalise each pixel over channels, then scale and shift it as the condition says."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.scale_and_shift = nn.Conv2d(condition, 2 * channels, 1)

    def forward(
        self, features: Float[Tensor, "batch channel _ _"], condition: Condition
    ) -> Features:
        """Return activated features, as large as the condition is."""
        scale, shift = self.scale_and_shift(condition).chunk(2, dim=1)
        size = features.square().mean(1, keepdim=True)
        normalised = _enlarge(features * torch.rsqrt(size + 1e-6), like=condition)
        return F.leaky_relu(torch.addcmul(shift, normalised, 1 + scale), 0.2)


class ModulatedBlock(nn.Module):
    """Modulated convolutions around a shortcut: two, or one at full resolution, for speed."""

    def __init__(self, inputs: int, outputs: int, condition: int, *, convolutions: int = 2) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * convolutions
        self.modulations = nn.ModuleList(Modulation(width, condition) for width in widths[:-1])
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, 1, 1) for a, b in pairwise(widths))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(
        self, features: Float[Tensor, "batch inputs _ _"], condition: Condition
    ) -> Float[Tensor, "batch outputs height width"]:
        """Return features with ``outputs`` channels, as large as the condition is.

        Smaller ones are enlarged as late as possible: what looks at single pixels comes before.
        """
        hidden = features
        for modulation, convolution in zip(self.modulations, self.convolutions, strict=True):
            hidden = convolution(modulation(hidden, condition))
        return hidden + _enlarge(self.shortcut(features), like=condition)


def _enlarge(features: Float[Tensor, "batch channel _ _"], *, like: Condition) -> Features:
    factor = like.shape[-1] // features.shape[-1]
    return features if factor == 1 else upsample(features, factor=factor)


class FirstFrame(nn.Module):
    """The generator of the first frame; height and width must be multiples of 2^(levels - 1)."""

    def __init__(
        self, config: FirstFrameConfig, *, num_channels: int, foreground: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.config = config
        self.num_channels = num_channels
        self.foreground = foreground
        widths = config.widths
        condition = config.context + config.global_noise + config.segment_noise
        self.pyramid = LabelPyramid(num_channels, len(widths), config.context)
        self.enter = nn.Conv2d(condition, widths[-1], 3, 1, 1)
        inputs = [*widths[1:], widths[-1]]
        self.blocks = nn.ModuleList(
            ModulatedBlock(a, b, condition, convolutions=1 if level == 0 else 2)
            for level, (a, b) in enumerate(zip(inputs, widths, strict=True))
        )
        self.leave = Modulation(widths[0], condition)
        self.to_colour = nn.Conv2d(widths[0], 3, 3, 1, 1)

    def forward(self, label_map: Labels, objects: Objects, look: Look) -> Pictures:
        """Paint RGB in [0, 1]; ``objects`` are numbered as by ``find_objects``."""
        conditions = self._conditions(label_map, self.segments(label_map, objects), look)
        features = self.enter(conditions[-1])
        for level in reversed(range(len(self.blocks))):
            features = self.blocks[level](features, conditions[level])
        return torch.sigmoid(self.to_colour(self.leave(features, conditions[0])).float())

    def segments(self, label_map: Labels, objects: Objects) -> Labels:
        """Return each pixel's row of ``Look.segments``: its object's, or else its class's."""
        factor = label_map.shape[-1] // objects.shape[-1]
        fine = objects.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        # A cell that an object touches covers background pixels too: those keep their class's row.
        is_foreground = torch.isin(label_map, label_map.new_tensor(self.foreground))
        return torch.where(is_foreground & (fine > 0), self.num_channels + fine - 1, label_map)

    def _conditions(self, label_map: Labels, segments: Labels, look: Look) -> list[Tensor]:
        """Join context and 3-D noise at every level, finest first."""
        conditions = []
        whole = look.whole.unsqueeze(1).expand(-1, look.segments.shape[1], -1)
        for level, context in enumerate(self.pyramid(label_map)):
            # Cells of a sixteenth are wider than most segments: a segment's look starts at an
            # eighth.
            keep = 1.0 if level <= 3 else 0.0
            # In full precision, for the gradients of thousands of pixels meet in one row.
            table = torch.cat((whole, look.segments * keep), -1).float()
            noise = spread_rows(table, coarse_labels(segments, 2**level))
            conditions.append(join(context, noise.to(context.dtype)))
        return conditions

    def draw(self, batch: int, generator: torch.Generator | None) -> Look:
        """Draw looks from N(0, I), on the CPU so that a seed is a seed."""
        rows = self.num_channels + MAX_OBJECTS
        return Look(
            whole=torch.randn(batch, self.config.global_noise, generator=generator),
            segments=torch.randn(batch, rows, self.config.segment_noise, generator=generator),
        )

    def exchange(
        self, look: Look, other: Look, classes: list[int], label_map: Labels, objects: Objects
    ) -> Look:
        """Take the segments of the given classes and of their objects from another look.

        ``classes`` are ids; ``other`` may be a batch of one.
        """
        rows = self.segments(label_map, objects)
        is_chosen = torch.isin(label_map, label_map.new_tensor(classes))
        # A row is exchanged where any pixel of a chosen class uses it.
        exchanged = count_rows(torch.where(is_chosen, rows + 1, 0), look.segments.shape[1] + 1) > 0
        exchanged = exchanged[:, 1:].unsqueeze(-1)
        return replace(look, segments=torch.where(exchanged, other.segments, look.segments))
