"""Box ``first_frame``: label map and 3-D noise → first frame.

A decoder whose every block is modulated, pixel by pixel, by a pyramid of the label map and by noise
that is constant over a segment (spatially-adaptive modulation: Park et al., CVPR 2019; 3-D noise:
Schönfeld et al., ICLR 2021). Features are normalised over channels at each pixel alone, so that
nothing but convolution carries one segment's look to another: a part of the picture can be drawn
again while the rest keeps its look.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seg2vid.models.config import FirstFrameConfig
from seg2vid.models.layers import (
    MAX_OBJECTS,
    OBJECT_FACTOR,
    Grain,
    LabelEmbedding,
    ModulatedBlock,
    Modulation,
    coarse_labels,
    coordinates,
    count_rows,
    enlarge_labels,
    join,
    pool_rows,
    share_of_rows,
    spread_rows,
    upsample,
)
from seg2vid.models.looks import KnownLooks
from seg2vid.structures import Labels, Look, Objects, Pictures
from seg2vid.tools.errors import ModelError

GRAIN_SIZE = (128, 256)
DETAIL_LEVELS = 2
"""Levels, from full resolution on, that only add detail to what the others have decided."""
LARGE = 0.02
"""Share of a picture above which an object is large: nine of ten in photographs of streets are not.
"""


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


def _begin_as_identity(block: ModulatedBlock) -> ModulatedBlock:
    """Let a further block change little at first, so that depth does not slow the beginning."""
    nn.init.dirac_(block.shortcut.weight)
    with torch.no_grad():
        block.convolutions[-1].get_parameter("weight").mul_(0.1)
    return block


class FirstFrame(nn.Module):
    """The generator of the first frame; height and width must be multiples of 2^(levels - 1)."""

    def __init__(
        self,
        config: FirstFrameConfig,
        *,
        num_channels: int,
        foreground: tuple[int, ...],
        ground: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.num_channels = num_channels
        self.foreground, self.ground = foreground, ground
        widths = config.widths
        condition = config.context + config.global_noise + config.segment_noise
        self.pyramid = LabelPyramid(num_channels, len(widths), config.context)
        self.enter = nn.Conv2d(condition, widths[-1], 3, 1, 1)
        inputs = [*widths[1:], widths[-1]]
        self.blocks = nn.ModuleList(
            ModulatedBlock(a, b, condition, convolutions=1 if not level else 2, grain=config.grain)
            for level, (a, b) in enumerate(zip(inputs, widths, strict=True))
        )
        counts = (*config.more_blocks, *[0] * len(widths))
        self.more = nn.ModuleList(
            nn.ModuleList(
                _begin_as_identity(ModulatedBlock(width, width, condition, grain=config.grain))
                for _ in range(count)
            )
            for width, count in zip(widths, counts, strict=False)
        )
        self.known: KnownLooks | None = None
        if config.look_prior:
            self.known = KnownLooks(
                config.look_prior,
                classes=num_channels,
                whole=config.global_noise,
                segment=config.segment_noise,
                class_range=config.look_range,
            )
        self.leave = Modulation(widths[0], condition)
        self.to_colour = nn.Conv2d(widths[0], 3, 3, 1, 1)

    def forward(self, label_map: Labels, objects: Objects, look: Look) -> Pictures:
        """Paint RGB in [0, 1]; ``objects`` are numbered as by ``find_objects``.

        A label map may be larger, by a whole factor, than eight times the grid of ``objects``:
        what few pictures showed as large is then painted as on the smaller map, in more detail.
        """
        scale = max(1, label_map.shape[-1] // (OBJECT_FACTOR * objects.shape[-1]))
        return self.paint(label_map, self.segments(label_map, objects), look, scale)

    def paint(self, label_map: Labels, segments: Labels, look: Look, scale: int = 1) -> Pictures:
        """As ``forward``, with ``segments`` and ``scale`` that are known."""
        conditions = self._conditions(label_map, segments, look)
        levels = range(len(self.blocks))
        fine, coarse = levels[:DETAIL_LEVELS], levels[DETAIL_LEVELS:]
        features, grain = self._add_levels(
            self.enter(conditions[-1]), conditions, coarse, look.grain
        )
        if scale > 1:
            ids, rows = (coarse_labels(one, scale) for one in (label_map, segments))
            learned = self._conditions(ids, rows, look)
            rough, _ = self._add_levels(self.enter(learned[-1]), learned, coarse, look.grain)
            # Repeated pixels are what the next block knows; of many the squares would be seen.
            rough = F.interpolate(rough, scale_factor=scale / 2, mode="bilinear")
            rough = upsample(rough, factor=2)
            is_large = self._large(label_map, segments, look.segments.shape[1])[:, None]
            share = F.avg_pool2d(is_large.float(), label_map.shape[-1] // features.shape[-1])
            features = torch.where(share > 0.5, rough, features)
        features, _ = self._add_levels(features, conditions, fine, grain)
        return torch.sigmoid(self.to_colour(self.leave(features, conditions[0])).float())

    def _add_levels(
        self,
        features: Float[Tensor, "batch channel _ _"],
        conditions: list[Tensor],
        levels: range,
        grain: Grain | None,
    ) -> tuple[Float[Tensor, "batch _ _ _"], Grain | None]:
        """Return features after some levels, the coarsest first, and the grain for the next."""
        for level in reversed(levels):
            further: Any = self.more[level]
            for block in (self.blocks[level], *further):
                features = block(features, conditions[level], grain)
                # Each block sees the grain elsewhere.
                grain = None if grain is None else grain.roll((17, 41), (1, 2))
        return features, grain

    def _large(
        self, label_map: Labels, segments: Labels, count: int
    ) -> Bool[Tensor, "batch height width"]:
        """Return where the ground is or nothing known, as the own car, and what is a large object.

        Painted at twice the size at once, a large car becomes two, one on the other, and lines on
        the road become snakes. Houses, trees and small things only gain.
        """
        share = share_of_rows(segments, count)
        share[:, : self.num_channels] = 0
        ground = torch.isin(label_map, label_map.new_tensor((*self.ground, self.num_channels - 1)))
        return ground | (share.gather(1, segments.flatten(1)) > LARGE).view_as(segments)

    def segments(self, label_map: Labels, objects: Objects) -> Labels:
        """Return each pixel's row of ``Look.segments``: its object's, or else its class's."""
        factor = label_map.shape[-1] // objects.shape[-1]
        fine = enlarge_labels(objects, factor)
        # A cell that an object touches covers background pixels too: those keep their class's row.
        is_foreground = torch.isin(label_map, label_map.new_tensor(self.foreground))
        return torch.where(is_foreground & (fine > 0), self.num_channels + fine - 1, label_map)

    def _conditions(self, label_map: Labels, segments: Labels, look: Look) -> list[Tensor]:
        """Join context and 3-D noise at every level, finest first."""
        conditions = []
        count = look.segments.shape[1]
        whole = look.whole.unsqueeze(1).expand(-1, count, -1)
        row = torch.arange(count, device=label_map.device)
        is_thing = (row >= self.num_channels) | torch.isin(row, row.new_tensor(self.foreground))
        classes, things = self.config.look_levels
        for level, context in enumerate(self.pyramid(label_map)):
            # Where cells are wider than most segments, a segment's look would spill.
            keep = torch.where(is_thing, float(level <= things), float(level <= classes))
            # In full precision, for the gradients of thousands of pixels meet in one row.
            table = torch.cat((whole, look.segments * keep.view(1, -1, 1)), -1).float()
            noise = spread_rows(table, coarse_labels(segments, 2**level))
            conditions.append(join(context, noise.to(context.dtype)))
        return conditions

    def draw(self, label_map: Labels, objects: Objects, generator: torch.Generator | None) -> Look:
        """Draw a look for each map: from N(0, I), or about the looks of training pictures.

        On the CPU, so that a seed is a seed.
        """
        batch, rows, config = len(label_map), self.num_channels + MAX_OBJECTS, self.config
        look = Look(
            whole=torch.randn(batch, config.global_noise, generator=generator),
            segments=torch.randn(batch, rows, config.segment_noise, generator=generator),
        )
        if self.known is not None:
            areas = share_of_rows(self.segments(label_map, objects), rows)
            classes = self.object_classes(label_map, objects)
            look = self.known.draw(classes, areas, look, generator)
        if config.grain:
            look = replace(look, grain=torch.randn(batch, *GRAIN_SIZE, generator=generator))
        return look

    def object_classes(self, label_map: Labels, objects: Objects) -> Int[Tensor, "batch object"]:
        """Return the class of each object; void for a number without pixels."""
        rows = self.segments(label_map, objects) - self.num_channels + 1
        classes = torch.full(
            (len(rows), MAX_OBJECTS + 1), self.num_channels - 1, device=rows.device
        )
        rows = rows.clamp(min=0).flatten(1)
        return classes.scatter(1, rows, label_map.flatten(1).to(classes.dtype))[:, 1:]

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

    def kinds(self, label_map: Labels, objects: Objects) -> Int[Tensor, "batch segment"]:
        """Return the class of each row of ``Look.segments``, whether or not the map has it."""
        classes = self.object_classes(label_map, objects)
        rows = torch.arange(self.num_channels, device=classes.device)
        return torch.cat((rows.expand(len(classes), -1), classes), 1)

    def wear(
        self,
        drawn: Look,
        worn: Look,
        label_map: Labels,
        objects: Objects,
        dice: Sequence[torch.Generator],
    ) -> Look:
        """Return the look of each map where it wears that of a photograph.

        An object takes the row of one of its class, by ``dice``; what the photograph has nothing of
        keeps the look that was ``drawn``.
        """
        kinds = worn.kinds
        if kinds is None:
            return worn
        own = self.kinds(label_map, objects)
        is_like = own.unsqueeze(-1) == kinds.unsqueeze(1)
        chance = torch.stack([torch.rand(is_like.shape[1:], generator=one) for one in dice])
        chosen = (chance.to(own.device) * is_like).argmax(-1)
        is_there = is_like.any(-1, keepdim=True)
        segments = torch.where(is_there, worn.segments[0, chosen], drawn.segments)
        return replace(drawn, whole=worn.whole.expand_as(drawn.whole), segments=segments)

    def nearest_known(self, photo: Pictures, label_map: Labels, objects: Objects) -> Look:
        """Return the known looks that give the segments of one photograph most nearly its colours.

        Every known look is painted on the photograph's own map, and segments are compared by mean
        and spread of their colours. The picture that is nearest as a whole gives the look of the
        whole; then, with that, each segment takes the row that brings it nearest.
        """
        known = self.known
        count = 0 if known is None else min(int(known.filled[0, 0]), len(known.whole))
        if known is None or not count:
            what = "a model that can read the look of a photograph"
            fix = "take another, as street, or train its first frame anew: its encoder is kept"
            raise ModelError(what, got="one with neither its encoder nor known looks", fix=fix)
        # Colours are known at a quarter of the size, much faster.
        cell = 2 ** (len(self.blocks) - 1)
        factor = next(f for f in (4, 2, 1) if not any(n % (f * cell) for n in photo.shape[2:]))
        photo, label_map = F.avg_pool2d(photo, factor), coarse_labels(label_map, factor)
        rows, kinds = self.segments(label_map, objects), self.kinds(label_map, objects)[0]
        number, things = self.num_channels + MAX_OBJECTS, kinds[self.num_channels :]
        of_class = known.filled[1, things].clamp(1, known.segments.shape[1])
        which = torch.arange(count, device=rows.device).unsqueeze(1) % of_class
        segments = torch.cat((known.segments[0, :count], known.segments[1, which, things]), 1)
        whole, wanted = known.whole[:count], _colours(photo, rows, number)
        share = share_of_rows(rows, number)
        for _ in range(2):
            distances = []
            for some in zip(whole.split(64), segments.split(64), strict=True):
                maps = (one.expand(len(some[0]), -1, -1) for one in (label_map, objects, rows))
                ids, numbers, places = maps
                painted = _colours(self(ids, numbers, Look(*some)), places, number)
                distances.append((painted - wanted).square().sum(-1))
            distance = torch.cat(distances)
            overall = (distance * share).sum(1, keepdim=True)
            whole = whole[overall.argmin()].expand(count, -1)
        # What is too small to be seen goes along with the rest.
        distance = torch.where(share > 0, distance, overall)
        chosen = segments[distance.argmin(0), torch.arange(number, device=rows.device)]
        return Look(whole[:1], chosen.unsqueeze(0))


def _colours(
    pictures: Pictures, rows: Labels, number: int
) -> Float[Tensor, "batch segment statistic"]:
    """Return mean and standard deviation of each segment's RGB."""
    mean, square = pool_rows(torch.cat((pictures, pictures**2), 1), rows, number).chunk(2, -1)
    return torch.cat((mean, (square - mean**2).clamp(min=0).sqrt()), -1)
