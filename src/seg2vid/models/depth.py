"""Box ``depth``: first frame + label map → inverse depth, and the camera that took the picture.

A U-Net that keeps full resolution, for a blurred edge of depth tears into confetti when the scene
moves. It also works without the picture: labels carry most of the geometry from one domain to
another, so a network that has seen only the toy city serves real streets.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from seg2vid.models.config import DepthConfig
from seg2vid.models.layers import (
    ConvolutionBlock,
    LabelEmbedding,
    ResidualBlock,
    coordinates,
    join,
    upsample,
)
from seg2vid.structures import Camera, Carrier, InverseDepth, Labels, Pictures
from seg2vid.tools.errors import ModelError

Coarse = Float[Tensor, "batch channel coarse_height coarse_width"]
Feet = Float[Tensor, "batch 3 height width"]

FOCAL_LENGTH = 1.08
"""Usual focal length in picture widths: that of the toy city and of Cityscapes."""
HORIZON = 0.45
"""Usual row of the horizon in picture heights."""
LOW = 0.54
"""Horizon from which on a picture is raised before it is looked at."""
SEEN = 0.05
"""Share of a row from which on a class counts as seen there."""
BEYOND = 0.02
"""Share of the height by which hills and houses at the horizon rise above it."""
STRAIGHT = 0.1
"""Share of the road's width by which half of its rows may miss a line."""
NARROWEST = 4.5
"""Pixels by which a road widens with each row, at least: six metres, seen from 1.3 above."""
BONNET = 1 / 6
"""Share of the picture's height that a bonnet takes at most which is labelled as a vehicle."""
EIGHTH = 3
"""Level of the features that motion is decoded from."""


@dataclass(frozen=True)
class Depth(Carrier):
    """The scene of one picture."""

    inverse_depth: InverseDepth
    """In 1/m; 0 on the sky."""
    camera: Camera


class DepthNetwork(nn.Module):
    """Predict inverse depth and camera; height and width must be multiples of 16."""

    def __init__(
        self,
        config: DepthConfig,
        *,
        num_channels: int,
        sky: int | None,
        thin: tuple[int, ...] = (),
        ground: tuple[int, ...] = (),
        road: tuple[int, ...] = (),
    ) -> None:
        """``sky`` has no depth; ``thin`` are classes of what stands upright, one depth from foot
        to top: poles and what they carry; ``ground`` those that all stands on, ``road`` those that
        tell the horizon.

        Raises ``ModelError`` for widths that end before an eighth of the size.
        """
        super().__init__()
        self.sky, self.thin, self.ground, self.road = sky, thin, ground, road
        widths = config.widths
        if len(widths) <= EIGHTH:
            what = f"{EIGHTH + 1} depth.widths or more, down to an eighth of the size"
            raise ModelError(what, got=len(widths), fix="give one for each halving of the size")
        self.feature_channels = widths[EIGHTH]
        self.embedding = LabelEmbedding(num_channels, 8)
        # Picture, whether there is one, labels, place, feet.
        self.enter = ConvolutionBlock(3 + 1 + 8 + 2 + 3, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(ConvolutionBlock(a, b, stride=2), ResidualBlock(b))
            for a, b in pairwise(widths)
        )
        self.deep = nn.Sequential(
            *(ResidualBlock(widths[-1], dilation=2 - index % 2) for index in range(config.blocks))
        )
        self.narrow = nn.ModuleList(ConvolutionBlock(b, a, kernel=1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(ConvolutionBlock(2 * width, width) for width in widths[:-1])
        self.to_depth = nn.Conv2d(widths[0], 1, 3, 1, 1)
        self.to_camera = nn.Linear(widths[-1], 2)
        for parameter in self.to_camera.parameters():
            nn.init.zeros_(parameter)
        # Twenty metres away: where most of a street lies.
        if self.to_depth.bias is not None:
            nn.init.constant_(self.to_depth.bias, -3.0)

    def compile_network(self) -> None:
        """Compile what ``see`` does."""
        self.see = torch.compile(self.see)  # type: ignore[method-assign]

    def forward(self, picture: Pictures | None, label_map: Labels) -> Depth:
        """Predict from RGB in [0, 1] and labels, or from labels alone."""
        return self.see(picture, label_map)[0]

    def see(
        self,
        picture: Pictures | None,
        label_map: Labels,
        horizon: Float[Tensor, " batch"] | None = None,
    ) -> tuple[Depth, Coarse]:
        """As ``forward``, with ``feature_channels`` features at an eighth of the resolution.

        Of a camera that looks up more than those of the training did, the network is shown the
        picture raised, so that the horizon is at its usual place: where that was, by the
        ``horizon`` as a share of the height, or else by the edges of the road and by the sky.
        """
        batch, height, width = label_map.shape
        if picture is None:
            picture = self.embedding.table.new_zeros(batch, 3, height, width)
        if self.training or not self.road:
            horizon = torch.zeros(batch, device=label_map.device)
        elif horizon is None:
            horizon = find_horizon(label_map, self.road)
            if self.sky is not None:
                horizon = horizon.fmax(lowest_sky(label_map, self.sky, self.road))
        cells = _cells_down(horizon, height)
        rows = 2**EIGHTH * cells
        raised = _shift(label_map.unsqueeze(1), rows).squeeze(1)
        feet = stand(raised, self.ground)
        logarithm, guess, eighth = self.predict(_shift(picture, rows), raised, feet)
        logarithm = _shift(logarithm.unsqueeze(1), -rows).squeeze(1)
        camera = _camera(guess, height, width)
        lowered = F.pad(rows.unsqueeze(1).to(camera.centre.dtype), (1, 0))
        camera = Camera(camera.focal_length, camera.centre + lowered)
        return Depth(self._depth(logarithm, label_map), camera), _shift(eighth, -cells)

    def predict(
        self, picture: Pictures, label_map: Labels, feet: Feet
    ) -> tuple[InverseDepth, Float[Tensor, "batch 2"], Coarse]:
        """Return logarithms of inverse depth, what ``_camera`` reads, and features.

        A picture that is black stands for none; ``feet`` as ``stand`` gives them.
        """
        labels = self.embedding(label_map)
        is_there = picture.flatten(1).amax(1).gt(0).to(labels.dtype).view(-1, 1, 1, 1)
        seen = torch.cat(((4 * picture - 2) * is_there, is_there.expand_as(picture[:, :1])), 1)
        features = self.enter(join(seen, labels, coordinates(labels), feet.to(labels.dtype)))
        skips = []
        for down in self.down:
            skips.append(features)
            features = down(features)
        features = self.deep(features)
        pooled = features.float().mean((2, 3))
        for level in reversed(range(len(self.up))):
            joined = join(upsample(self.narrow[level](features)), skips[level])
            features = self.up[level](joined)
            if level == EIGHTH:
                eighth = features
        with torch.autocast(pooled.device.type, enabled=False):
            guess = self.to_camera(pooled)
        return self.to_depth(features).squeeze(1).float(), guess, eighth

    def _depth(self, logarithm: InverseDepth, label_map: Labels) -> InverseDepth:
        # Between half a metre and the haze of the horizon.
        inverse_depth = logarithm.clamp(-8.0, 0.7).exp()
        if self.thin:
            is_thin = torch.isin(label_map, label_map.new_tensor(self.thin))
            inverse_depth = torch.where(is_thin, stand_up(inverse_depth, is_thin), inverse_depth)
        return inverse_depth if self.sky is None else inverse_depth * (label_map != self.sky)


def ratio_of(inverse_depth: InverseDepth, known: InverseDepth) -> Float[Tensor, " batch"]:
    """Return how many times it what is ``known`` is: a median from 1/2 to 2, else 1."""
    ratio = torch.where(inverse_depth > 0, known / inverse_depth.clamp(min=1e-6), torch.nan)
    ratio = torch.where(known > 0, ratio, torch.nan).flatten(1).nanmedian(1).values
    return ratio.nan_to_num(1.0).clamp(0.5, 2.0)


def find_horizon(label_map: Labels, road: tuple[int, ...]) -> Float[Tensor, " batch"]:
    """Return where the edges of the road meet, as a share of the height; nan where none do.

    Over a plane its width grows evenly from there down: a line is fitted through the widths of all
    rows in which both edges are in the picture (median of the slopes of all pairs: Theil & Sen).
    """
    height, width = label_map.shape[1:]
    is_road = torch.isin(label_map, label_map.new_tensor(road))
    column = torch.arange(width, device=label_map.device, dtype=torch.float32)
    first = torch.where(is_road, column, torch.inf).amin(2)
    last = torch.where(is_road, column, -torch.inf).amax(2)
    row = torch.arange(height, device=label_map.device, dtype=torch.float32)
    has_edges = (first >= 2) & (last < width - 2) & (last - first >= 2) & (row >= height // 3)
    wide = torch.where(has_edges, last - first + 1, torch.nan)
    gap = row[None, :] - row[:, None]
    slopes = (wide[:, None, :] - wide[:, :, None]) / torch.where(gap >= 4, gap, torch.nan)
    slope = slopes.flatten(1).nanmedian(1).values
    meets = (row - wide / slope[:, None]).nanmedian(1).values
    misses = (wide - slope[:, None] * (row - meets[:, None])).abs().nanmedian(1).values
    is_line = misses < STRAIGHT * wide.nanmedian(1).values
    is_line &= (slope >= NARROWEST) & (has_edges.sum(1) >= height // 12)
    return torch.where(is_line, meets / height, torch.nan)


def lowest_sky(label_map: Labels, sky: int, road: tuple[int, ...]) -> Float[Tensor, " batch"]:
    """Return how far down the sky reaches, as a share of the height: the horizon is no higher.

    No farther than to where the road begins, which mirrors it in puddles. Nan where none is.
    """
    height = label_map.shape[1]
    row = torch.arange(height, device=label_map.device, dtype=torch.float32)
    is_road = torch.isin(label_map, label_map.new_tensor(road))
    has_sky, has_road = (part.float().mean(2) >= SEEN for part in (label_map == sky, is_road))
    lowest = torch.where(has_sky, row + 1, -torch.inf).amax(1)
    begins = torch.where(has_road, row, torch.inf).amin(1)
    return torch.where(has_sky.any(1), lowest.minimum(begins) / height + BEYOND, torch.nan)


def _cells_down(horizon: Float[Tensor, " batch"], height: int) -> Int[Tensor, " batch"]:
    """Return by how many cells of the features the horizon lies lower than usual, if by much."""
    cells = ((horizon - HORIZON) * height / 2**EIGHTH).clamp(max=height // 2 ** (EIGHTH + 2))
    return torch.where(horizon > LOW, cells.round(), 0.0).long()


def _shift(
    planes: Shaped[Tensor, "batch plane height width"], rows: Int[Tensor, " batch"]
) -> Shaped[Tensor, "batch plane height width"]:
    """Shift planes up by ``rows``; what comes in is the border again."""
    height = planes.shape[2]
    index = torch.arange(height, device=planes.device) + rows.unsqueeze(1)
    index = index.clamp(0, height - 1)[:, None, :, None].expand_as(planes)
    return planes.gather(2, index)


def _camera(guess: Float[Tensor, "batch 2"], height: int, width: int) -> Camera:
    """Read (focal length, horizon) as changes of the usual ones."""
    focal_length = FOCAL_LENGTH * width * torch.exp(0.2 * torch.tanh(guess[:, 0]))
    horizon = height * (HORIZON + 0.2 * torch.tanh(guess[:, 1]))
    middle = torch.full_like(horizon, (width - 1) / 2)
    return Camera(focal_length, torch.stack((middle, horizon), 1))


def stand(label_map: Labels, ground: tuple[int, ...]) -> Feet:
    """Say where what each pixel shows may stand: how far away it is follows from its foot.

    How far below the usual horizon the next ground of its column begins; the same of its class's
    own foot, 0 where that is not on the ground; and whether it is. Distances are logarithms, for
    each doubling of which the ground is half as far away.
    """
    height = label_map.shape[1]
    is_ground = torch.isin(label_map, label_map.new_tensor(ground))
    rows = torch.arange(height, device=label_map.device).view(1, -1, 1)

    def next_row(where: Bool[Tensor, "batch height width"]) -> Labels:
        """Return the first row from each pixel down that is marked, the last where none is."""
        marked = torch.where(where, rows, height - 1).flip(1)
        return marked.cummin(1).values.flip(1)

    below = F.pad(label_map, (0, 0, 0, 1), value=-1)[:, 1:]
    foot = (next_row(label_map != below) + 1).clamp(max=height - 1)
    stands = is_ground | is_ground.gather(1, foot)
    distances = [
        (row.float() / height - HORIZON).clamp(min=1 / 256).log() / 2 + 1
        for row in (next_row(is_ground), torch.where(is_ground, rows, foot))
    ]
    return torch.stack((distances[0], distances[1] * stands, stands.float()), 1)


SPREAD = 6
"""Times that what stands upright is averaged with columns beside: signs are wider than poles."""


def stand_up(
    inverse_depth: InverseDepth, is_thin: Bool[Tensor, "batch height width"]
) -> InverseDepth:
    """Give what stands upright one depth from foot to top, so that it does not bend when it moves.

    In each column, what is no more than an eighth of the picture apart is one; so is, nearly, what
    touches in the columns beside. Meaningless where ``is_thin`` is not 1.
    """
    batch, height, width = is_thin.shape
    # Thin pixels above a row, and those above one that lies further up.
    above = F.pad(is_thin.long().cumsum(1), (0, 0, 1, 0))[:, :-1]
    further = F.pad(above, (0, 0, height // 8 + 1, 0))[:, :height]
    number = (is_thin & (above == further)).cumsum(1)
    index = (number * width + torch.arange(width, device=is_thin.device)).flatten(1)
    weight = is_thin.to(inverse_depth.dtype)

    def upright(plane: InverseDepth) -> InverseDepth:
        sums = plane.new_zeros(batch, (height + 1) * width)
        return sums.scatter_add(1, index, plane.flatten(1)).gather(1, index).view_as(plane)

    def beside(plane: InverseDepth) -> InverseDepth:
        wide = F.pad(plane, (1, 1))
        return wide[..., :-2] + wide[..., 1:-1] + wide[..., 2:]

    with torch.autocast(inverse_depth.device.type, enabled=False):
        share = upright(weight).clamp(min=1e-6)
        value = upright(inverse_depth * weight) / share
        # The taller a column is, the more the others follow it.
        tall = weight * share
        around = beside(tall).clamp(min=1e-6)
        for _ in range(SPREAD):
            value = beside(value * tall) / around
            value = upright(value * weight) / share
    return value


def own_car(
    label_map: Labels, void_id: int, things: tuple[int, ...] = ()
) -> Bool[Tensor, "batch height width"]:
    """Return what goes with the camera, the own car's bonnet: void from the lower border up.

    Labellers take a bonnet for a car, too. So what is of ``things`` is one where it lies low on the
    middle of the border: of a vehicle so near, far more would be in the picture.
    """
    is_void = label_map == void_id
    own = _from_border(is_void)
    if not things:
        return own
    is_thing = torch.isin(label_map, label_map.new_tensor(things))
    low, lowest = _from_border(is_thing | is_void), is_thing[:, -1]
    height, width = label_map.shape[1:]
    # Stretches of the border, numbered from 1.
    begins = lowest & ~F.pad(lowest, (1, 0))[:, :-1]
    number = begins.long().cumsum(1) * lowest
    place = torch.arange(width, device=own.device).expand_as(number)
    tallest, last = (
        torch.zeros_like(number).scatter_reduce(1, number, part, "amax")
        for part in (low.sum(1), place)
    )
    first = torch.full_like(number, width).scatter_reduce(1, number, place, "amin")
    aside = (first + last + 1 - width).abs()
    is_bonnet = (tallest <= BONNET * height) & (2 * aside <= width)
    is_bonnet &= (first > 0) & (last < width - 1)
    return own | (low & (is_bonnet.gather(1, number) & lowest).unsqueeze(1))


def _from_border(mask: Bool[Tensor, "batch height width"]) -> Bool[Tensor, "batch height width"]:
    """Keep what is marked without a gap from the lower border up."""
    return mask.flip(1).long().cumprod(1).bool().flip(1)
