"""What the boxes of the figure are made of."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.structures import Features, Flow, Labels, Latent, Objects

Condition = Float[Tensor, "batch condition height width"]
Grain = Float[Tensor, "batch tall wide"]

OBJECT_FACTOR = 8
"""How many times coarser the grid of objects, hints and the foreground code is."""

MAX_OBJECTS = 64
"""Objects told apart in one picture; further ones share the numbers of the first."""

LOG_VARIANCE_RANGE = (-8.0, 4.0)
"""Of q(z | clip): keeps exp() and the divergence finite while the network is young."""


def coordinates(features: Features) -> Flow:
    """Return (x, y) of every pixel, scaled to [-1, 1]: perspective depends on where one looks."""
    batch, _, height, width = features.shape
    x = torch.linspace(-1, 1, width, device=features.device, dtype=features.dtype)
    y = torch.linspace(-1, 1, height, device=features.device, dtype=features.dtype)
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((grid_x, grid_y)).expand(batch, -1, -1, -1)


class ConvolutionBlock(nn.Sequential):
    """Convolution, batch norm, leaky ReLU; ``stride`` 2 halves the resolution."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1
    ) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.2, inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two convolution blocks around a shortcut, at constant size."""

    def __init__(self, channels: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvolutionBlock(channels, channels, dilation=dilation),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Features) -> Features:
        """Return features of the same shape."""
        return F.leaky_relu(features + self.body(features), 0.2)


def join(*parts: Float[Tensor, "batch _ height width"]) -> Features:
    """Join along channels in channels-last memory layout, in which convolutions are fastest."""
    return torch.cat([part.contiguous(memory_format=torch.channels_last) for part in parts], 1)


def upsample(features: Features, *, factor: int = 2) -> Float[Tensor, "batch channel tall wide"]:
    """Enlarge by repeating pixels: the convolution that follows smooths."""
    return F.interpolate(features, scale_factor=factor, mode="nearest")


class LabelEmbedding(nn.Module):
    """A learned vector for each class: like convolving a one-hot map, but cheaper."""

    def __init__(self, num_channels: int, channels: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(num_channels, channels) * 0.5)

    def forward(self, label_map: Labels) -> Features:
        """Look up each pixel's class, ids 0 ... num_channels - 1."""
        # A lookup, not a product, so that its cost does not grow with the number of classes.
        return rearrange(F.embedding(label_map, self.table), "b h w c -> b c h w")


def coarse_labels(label_map: Labels, factor: int) -> Objects:
    """Shrink a label map by reading the centre of each ``factor`` x ``factor`` block."""
    return label_map[:, factor // 2 :: factor, factor // 2 :: factor]


def enlarge_labels(
    label_map: Int[Tensor, "*any height width"], factor: int
) -> Int[Tensor, "*any tall wide"]:
    """Enlarge a label map by repeating each cell ``factor`` x ``factor`` times."""
    return label_map.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def surface_ids(label_map: Labels, rows: Labels) -> Labels:
    """Return ids of a scene's surfaces, which no plane crosses: one for each class of each row."""
    return label_map * (MAX_OBJECTS + 1) + rows


def find_objects(
    label_map: Labels, instance_map: Labels | None, *, foreground: tuple[int, ...], factor: int
) -> Objects:
    """Number the foreground objects on a grid ``factor`` times coarser; 0 is background.

    With an instance map its objects are kept; without, connected areas of one class are one object.
    A cell that any foreground pixel touches belongs to it, so thin people do not vanish.
    """
    is_foreground = torch.isin(label_map, label_map.new_tensor(foreground))
    source = label_map + 1 if instance_map is None else instance_map + 1
    marked = torch.where(is_foreground, source, 0).float().unsqueeze(1)
    cells = F.max_pool2d(marked, factor).long().squeeze(1)
    components = cells if instance_map is not None else _connected_components(cells)
    return torch.stack([_renumber(sample) for sample in components])


def _connected_components(cells: Labels) -> Labels:
    """Number connected areas of equal non-zero cells by the largest cell index in each."""
    batch, height, width = cells.shape
    index = torch.arange(1, height * width + 1, device=cells.device).view(1, height, width)
    number = torch.where(cells > 0, index.expand(batch, -1, -1), 0)
    while True:
        grown = number
        for axis, shift in ((1, 1), (1, -1), (2, 1), (2, -1)):
            same = _shift(cells, axis, shift) == cells
            neighbour = torch.where(same & (cells > 0), _shift(grown, axis, shift), 0)
            grown = torch.maximum(grown, neighbour)
        if torch.equal(grown, number):
            return number
        number = grown


def _shift(cells: Labels, axis: int, by: int) -> Labels:
    """Shift without wrapping round: cells that enter are 0."""
    moved = torch.roll(cells, by, axis)
    moved.select(axis, 0 if by > 0 else moved.shape[axis] - 1).zero_()
    return moved


def _renumber(cells: Int[Tensor, "height width"]) -> Int[Tensor, "height width"]:
    """Number the distinct non-zero values 1 ... MAX_OBJECTS in ascending order, keeping 0."""
    values, inverse = torch.unique(cells, return_inverse=True)
    number = inverse + (0 if values[0] == 0 else 1)
    return torch.where(number > 0, (number - 1) % MAX_OBJECTS + 1, 0)


def pool_rows(
    features: Features, rows: Labels, num_rows: int
) -> Float[Tensor, "batch row channel"]:
    """Average the features of each row number 0 ... num_rows - 1; 0 for a row without pixels."""
    index = rows.flatten(1)
    values = rearrange(features.float(), "b c h w -> b (h w) c")
    total = values.new_zeros(values.shape[0], num_rows, values.shape[2])
    total.scatter_add_(1, index.unsqueeze(-1).expand_as(values), values)
    return total / count_rows(rows, num_rows).clamp(min=1).unsqueeze(-1)


def count_rows(rows: Labels, num_rows: int) -> Float[Tensor, "batch row"]:
    """Count the pixels of each row number 0 ... num_rows - 1."""
    index = rows.flatten(1)
    count = torch.zeros(index.shape[0], num_rows, device=rows.device)
    return count.scatter_add_(1, index, torch.ones_like(index, dtype=count.dtype))


def share_of_rows(rows: Labels, num_rows: int) -> Float[Tensor, "batch row"]:
    """Return the share of its picture that each row number covers."""
    return count_rows(rows, num_rows) / rows[0].numel()


def spread_rows(table: Float[Tensor, "batch row channel"], rows: Labels) -> Features:
    """Write to each pixel the row of the table that its number names."""
    index = rows.flatten(1).unsqueeze(-1).expand(-1, -1, table.shape[-1])
    return rearrange(table.gather(1, index), "b (h w) c -> b c h w", h=rows.shape[1])


def draw_codes(
    objects: Objects, *, background: int, foreground: int, generator: torch.Generator | None
) -> Latent:
    """Draw z ~ N(0, I), on the CPU so that a seed is a seed: one code for each object.

    ``background`` and ``foreground`` are how many numbers a code of either has.
    """
    whole = torch.randn(len(objects), background, generator=generator)
    table = torch.randn(len(objects), MAX_OBJECTS + 1, foreground, generator=generator)
    table[:, 0] = 0
    return Latent(whole.to(objects.device), spread_rows(table.to(objects.device), objects))


def perceptron(
    inputs: int, hidden: int, start: tuple[float, ...], *, small: bool = True
) -> nn.Sequential:
    """Return two hidden layers and an output; with ``small`` it begins near ``start``."""
    last = nn.Linear(hidden, len(start))
    last.bias = nn.Parameter(torch.tensor(start))
    if small:
        nn.init.normal_(last.weight, std=0.01)
    layers = nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)
    return nn.Sequential(layers[0], nn.LeakyReLU(0.2), layers[1], nn.LeakyReLU(0.2), last)


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

    grain: nn.Parameter | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        condition: int,
        *,
        convolutions: int = 2,
        grain: bool = False,
    ) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * convolutions
        self.modulations = nn.ModuleList(Modulation(width, condition) for width in widths[:-1])
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, 1, 1) for a, b in pairwise(widths))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.grain = nn.Parameter(torch.zeros(outputs)) if grain else None

    def forward(
        self,
        features: Float[Tensor, "batch inputs _ _"],
        condition: Condition,
        grain: Grain | None = None,
    ) -> Float[Tensor, "batch outputs height width"]:
        """Return features with ``outputs`` channels, as large as the condition is.

        Smaller ones are enlarged as late as possible: what looks at single pixels comes before.
        """
        hidden = features
        for modulation, convolution in zip(self.modulations, self.convolutions, strict=True):
            hidden = convolution(modulation(hidden, condition))
        result = hidden + _enlarge(self.shortcut(features), like=condition)
        if self.grain is None or grain is None:
            return result
        height, width = result.shape[2:]
        times = (-(-height // grain.shape[1]), -(-width // grain.shape[2]))
        noise = grain.repeat(1, *times)[:, None, :height, :width].to(result.dtype)
        return result + noise * self.grain.to(result.dtype).view(1, -1, 1, 1)


def _enlarge(features: Float[Tensor, "batch channel _ _"], *, like: Condition) -> Features:
    factor = like.shape[-1] // features.shape[-1]
    return features if factor == 1 else upsample(features, factor=factor)
