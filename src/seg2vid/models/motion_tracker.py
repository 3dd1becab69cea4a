"""Real clip + the scene of its first frame → how camera and objects moved. No weights.

What the motion encoder encodes. A way is right when the first frame, moved by it, looks like the
clip: direct alignment of pictures, first of few frames and large pixels, then of all and small
ones. (Engel et al., Direct Sparse Odometry, TPAMI 2018, with depth that is known.)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.geometry import Scene, place_points, rays_of
from seg2vid.models.depth import own_car
from seg2vid.models.latent_search import Numbers, PerGroup, Squares, levenberg
from seg2vid.models.motion_decoder import CAMERA_SPEED, KNOTS, OBJECT_SPEED, MotionDecoder
from seg2vid.structures import Camera, Frames, Labels, Objects, Pictures, ScenePaths, join_batch

Groups = Int[Tensor, "height width"]
WaysOf = Callable[[Numbers], Float[Tensor, "group time 7"]]
Matrix = Float[Tensor, "number number"]
Stages = tuple[tuple[int, int], ...]

WINDOW = 33
"""Pixels around each of which brightness and contrast are taken away: headlights drive along."""
CONTRAST = 0.1
"""Standard deviation that is left."""
LEAST_CONTRAST = 0.05
"""Contrast that is noise."""
DIFFERENCE = 0.03
"""Difference of colour, of 1, from which on a pixel counts less."""
NUDGE = 4e-3
"""Change of a number, of a way in metres or of a turn in radians, that shows what it does."""
CAMERA_USUAL = ((2.0, 0.4), (0.1, 0.05), (1.0, 0.6), (0.3, 0.3))
"""Standard deviation of each velocity in units of CAMERA_SPEED, and of its change between knots."""
OBJECT_USUAL = ((1.5, 0.4), (1.0, 0.3), (0.3, 0.3))
"""The same for objects."""
CAMERA_STARTS = tuple(product((0.0, 5.0, 11.0), (-0.8, -0.4, 0.0, 0.4, 0.8)))
"""Speeds (m/s) and turns (rad/s) of the camera from which the search begins."""
LIKELY = 3
"""How many of these are followed over all frames."""
CAMERA_CHANGES = (
    *((speed, 0.0) for speed in (0.0, -1.0, 1.0, -2.0, 2.0, -4.0, 4.0, -8.0, 8.0)),
    *((0.0, turn) for turn in (-0.15, 0.15)),
)
"""Changes of these that are tried where they led to, the first three again on finer pictures."""
ROUNDS = 2
"""How often, as long as they help."""
OBJECT_STARTS = (
    (0.0, 0.0, 0.0),
    (5.0, 0.0, 0.0),
    (-7.0, 0.0, 0.0),
    (0.0, 4.0, 0.0),
    (0.0, -4.0, 0.0),
)
"""The same of objects: forward, to the right, turn. The first is to stand."""
SURER = 0.02
"""By how much a moving object has to explain the clip better than a standing one."""


def track_motion(
    decoder: MotionDecoder,
    first_frame: Pictures,
    frames: Frames,
    label_map: Labels,
    objects: Objects,
) -> ScenePaths:
    """Return how camera and objects move in a clip of one pass; all stand without a ground."""
    scene = decoder.at_rest(decoder.depth(first_frame, label_map), label_map, objects)
    if not decoder.has_ground:
        return scene.paths
    moves = torch.isin(label_map, label_map.new_tensor(decoder.foreground))
    moves |= own_car(label_map, decoder.void_id)
    video = torch.cat((first_frame.unsqueeze(1), frames), 1).float()
    samples = zip(video, moves.long(), strict=True)
    return join_batch(
        [_track(decoder, scene.sample(index), *one) for index, one in enumerate(samples)]
    )


def _track(
    decoder: MotionDecoder,
    scene: Scene,
    video: Float[Tensor, "every_frame 3 height width"],
    moves: Groups,
) -> ScenePaths:
    """Track the camera by all that stands, then each object as the camera sees it."""
    every = len(video) - 1
    video = _unlit(video)
    usual = (_usual(CAMERA_USUAL).to(video), _usual(OBJECT_USUAL).to(video))

    def camera_ways(numbers: Numbers) -> Float[Tensor, "group time 7"]:
        return F.pad(decoder.way(numbers, CAMERA_SPEED)[:, :every], (0, 3))

    def object_ways(numbers: Numbers) -> Float[Tensor, "group time 7"]:
        own = decoder.way(numbers, OBJECT_SPEED)[:, :every]
        return torch.cat((camera.expand(len(own), -1, -1), own), -1)

    given = (scene.inverse_depth[0], scene.camera)
    background = _Pictures(video, *given, -moves, scene.paths.pivots[0], slice(0, 4))
    camera = camera_ways(_search_camera(background, camera_ways, usual[0], every))[..., :4]
    paths = ScenePaths(camera, scene.paths.objects.clone(), scene.paths.pivots)
    count = int(scene.rows.max())
    if not count:
        return paths
    things = replace(background, groups=scene.rows[0] - 1, sought=slice(4, 7))
    coarse = things.shrunk(2)
    starts = video.new_tensor(OBJECT_STARTS) / video.new_tensor(OBJECT_SPEED)
    stages = ((2, 3), (4, 3), (every, 4))
    found = [
        coarse.align(start.repeat(KNOTS).expand(count, -1), object_ways, usual[1], stages)
        for start in starts
    ]
    numbers, costs = (torch.stack(part) for part in zip(*found, strict=True))
    # Unless it explains the clip better that an object moves, it stands.
    costs[0] -= SURER
    best = numbers.gather(0, costs.argmin(0).view(1, -1, 1).expand_as(numbers[:1])).squeeze(0)
    best, _ = things.align(best, object_ways, usual[1], ((every, 3),))
    paths.objects[0, :count] = object_ways(best)[..., 4:]
    return paths


def _search_camera(
    background: "_Pictures", ways_of: WaysOf, usual: Matrix, every: int
) -> Float[Tensor, "1 number"]:
    """Return the velocities with which all that stands is found again.

    Streets repeat themselves: a window is much like the next. So the best of many beginnings may be
    one that fits by chance, and what it has led to is tried at other speeds and turns as well.
    """
    coarse, fine = background.shrunk(4), background.shrunk(2)
    units = background.video.new_tensor(CAMERA_SPEED)

    def align(
        pictures: "_Pictures", starts: list[Numbers], *stages: tuple[int, int]
    ) -> list[tuple[Numbers, float]]:
        """Return where starts lead, and at what cost, the best first."""
        found = [pictures.align(start, ways_of, usual, stages) for start in starts]
        return sorted(((numbers, float(cost)) for numbers, cost in found), key=lambda one: one[1])

    def beside(numbers: Numbers, changes: tuple[tuple[float, float], ...]) -> list[Numbers]:
        """Return steady drives that are faster or slower and turn more or less."""
        steady = numbers.unflatten(1, (KNOTS, -1)).mean(1)
        steps = [units.new_tensor([speed, 0.0, turn, 0.0]) / units for speed, turn in changes]
        return [(steady + step).repeat(1, KNOTS) for step in steps]

    starts = beside(units.new_zeros(1, KNOTS * len(units)), CAMERA_STARTS)
    likely = [numbers for numbers, _ in align(coarse, starts, (1, 2), (3, 2))[:LIKELY]]
    best, cost = align(coarse, likely, (2, 2), (4, 3), (every, 4))[0]
    for _ in range(ROUNDS):
        better, less = align(coarse, beside(best, CAMERA_CHANGES), (every, 3))[0]
        if less >= cost:
            break
        best, cost = better, less
    best, _ = align(coarse, [best], (every, 4))[0]
    best, cost = align(fine, [best], (every, 8))[0]
    better, less = align(fine, beside(best, CAMERA_CHANGES[:3]), (every, 3))[0]
    return align(fine, [better], (every, 6))[0][0] if less < cost else best


def _unlit(
    video: Float[Tensor, "every_frame 3 height width"],
) -> Float[Tensor, "every_frame 3 height width"]:
    """Even out brightness and contrast of the surroundings."""

    def around(values: Tensor) -> Tensor:
        # A window is a mean down of means across.
        for size in ((1, WINDOW), (WINDOW, 1)):
            padding = (size[0] // 2, size[1] // 2)
            values = F.avg_pool2d(values, size, 1, padding, count_include_pad=False)
        return values

    detail = video - around(video)
    contrast = around(detail.square()).mean(1, keepdim=True).sqrt()
    return CONTRAST * detail / (contrast + LEAST_CONTRAST)


def _usual(deviations: tuple[tuple[float, float], ...]) -> Matrix:
    """Return the inverse covariance of velocities at all knots, knot after knot."""
    change = torch.eye(KNOTS).diff(dim=0)
    own = [torch.eye(KNOTS) / one**2 + change.t() @ change / step**2 for one, step in deviations]
    count = len(deviations)
    whole = torch.zeros(KNOTS, count, KNOTS, count)
    for index, matrix in enumerate(own):
        whole[:, index, :, index] = matrix
    return whole.view(KNOTS * count, KNOTS * count)


@dataclass(frozen=True)
class _Pictures:
    """A clip, and the first frame's pixels in groups that are to be found again in the others."""

    video: Float[Tensor, "every_frame 3 height width"]
    inverse_depth: Float[Tensor, "height width"]
    camera: Camera
    groups: Groups
    """What each pixel goes with, -1 for what does not count."""
    pivots: Float[Tensor, "object 2"]
    sought: slice
    """Which numbers of the ways are sought, of ``place_points``: the camera's or the object's."""

    @cached_property
    def slopes(self) -> Float[Tensor, "time 6 height width"]:
        """How the colours of the frames after the first change to the right, then down (Sobel)."""
        across = self.video.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        kernels = torch.stack((across, across.t())).unsqueeze(1)
        flat = F.pad(self.video[1:].flatten(0, 1).unsqueeze(1), (1, 1, 1, 1), mode="replicate")
        slopes = F.conv2d(flat, kernels).unflatten(0, (-1, 3))
        return slopes.transpose(1, 2).flatten(1, 2)

    def shrunk(self, factor: int) -> "_Pictures":
        """Return the same at fewer pixels; a group keeps those that are its own to the corners."""
        lowest, highest = (
            sign * F.max_pool2d((sign * self.groups)[None].float(), factor)[0].long()
            for sign in (-1, 1)
        )
        return _Pictures(
            F.avg_pool2d(self.video, factor),
            F.avg_pool2d(self.inverse_depth[None], factor)[0],
            Camera(self.camera.focal_length / factor, (self.camera.centre + 0.5) / factor - 0.5),
            torch.where(lowest == highest, highest, -1),
            self.pivots,
            self.sought,
        )

    def align(
        self, start: Numbers, ways_of: WaysOf, usual: Matrix, stages: Stages
    ) -> tuple[Numbers, PerGroup]:
        """Return each group's numbers with which its pixels are found again, and what they cost.

        ``ways_of`` turns numbers into the ways of camera and object at every time, see
        ``place_points``; ``usual`` is their inverse covariance around 0; ``stages`` are pairs of
        how many frames to look at and how many steps to take.
        """
        numbers, cost = start, start[:, 0]
        for frames, steps in stages:
            look = partial(self._look, ways_of=ways_of, usual=usual, frames=frames)
            numbers, cost = levenberg(look, numbers, steps)
        return numbers, cost

    def _look(
        self, numbers: Numbers, ways_of: WaysOf, usual: Matrix, frames: int
    ) -> tuple[PerGroup, Squares, Numbers]:
        """Return what numbers cost, a mean over pixels, and the normal equations of a better one.

        The logarithm of 1 + squared differences of colour lets go of what has come before a pixel.
        """
        height, width = self.groups.shape
        pixels = (self.groups.flatten() >= 0).nonzero().squeeze(1)
        group = self.groups.flatten()[pixels]
        rays = rays_of(self.camera, height, width)[0]
        points = torch.cat((rays, self.inverse_depth.view(1, -1)))[:, pixels]

        # Where each pixel comes to, then where if each number of its way were a little larger.
        ways = ways_of(numbers)[:, :frames]
        nudges = NUDGE * torch.eye(ways.shape[2], device=ways.device)[self.sought]
        tried = torch.cat((ways.unsqueeze(0), ways + nudges.view(-1, 1, 1, ways.shape[2])))
        repeated = points.repeat(1, len(tried)), self.pivots[group].repeat(len(tried), 1)
        places, before = place_points(*repeated, tried[:, group].flatten(0, 1), self.camera)
        place, *nudged = places.chunk(len(tried), 2)
        is_before = before[:, : len(pixels)]
        x, y = place
        inside = is_before & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        pictures = torch.cat((self.video[1 : frames + 1], self.slopes[:frames]), 1)
        found, across, down = _read(pictures, place).split(3, 1)
        gap = found - self.video[0].flatten(1)[:, pixels]
        squared = (gap.abs().mean(1) / DIFFERENCE).square()
        zeros = numbers.new_zeros(len(numbers))
        size = zeros.index_add(0, group, torch.ones_like(points[0])).clamp(min=1)
        seen = zeros.index_add(0, group, inside.sum(0).to(zeros))
        cost = zeros.index_add(0, group, (squared.log1p() * inside).sum(0)) / 2
        # What leaves the picture costs as much as what stays, unless hardly anything stays.
        cost = cost / seen.clamp(min=1) * size * len(x)
        cost = torch.where(seen < 0.1 * size * len(x), torch.inf, cost)
        cost = cost + ((numbers @ usual) * numbers).sum(1) / 2
        moved = (torch.stack(nudged) - place) / NUDGE
        change = moved[:, 0].unsqueeze(2) * across + moved[:, 1].unsqueeze(2) * down
        weight = inside / (1 + squared) / (3 * DIFFERENCE**2)
        both = torch.cat((change, gap.unsqueeze(0)))
        if len(numbers) == 1:
            # The same as below, which would be slow.
            whole = (both * weight.sqrt().unsqueeze(1)).transpose(0, 1).flatten(2)
            total = (whole @ whole.mT).unsqueeze(0)
        else:
            each = torch.einsum("atcn,btcn,tn->ntab", both, both, weight)
            total = each.new_zeros(len(numbers), *each.shape[1:]).index_add(0, group, each)
        # From ways at each time to the numbers that say them.
        own = NUDGE * torch.eye(numbers.shape[1], device=ways.device)
        varied = ways_of((numbers.unsqueeze(1) + own).flatten(0, 1))[:, :frames, self.sought]
        varied = varied.unflatten(0, numbers.shape) - ways[:, None, :, self.sought]
        varied = varied / NUDGE
        left = torch.einsum("gatm,gtmk,gbtk->gab", varied, total[..., :-1, :-1], varied) + usual
        right = torch.einsum("gatm,gtm->ga", varied, total[..., :-1, -1]) + numbers @ usual
        return cost / size, left, right


def _read(
    pictures: Float[Tensor, "time channel height width"], place: Float[Tensor, "2 time point"]
) -> Float[Tensor, "time channel point"]:
    """Return what pictures show at pixel coordinates, at the border beyond it."""
    extent = place.new_tensor([pictures.shape[3] - 1, pictures.shape[2] - 1]).view(2, 1, 1)
    grid = (2 * place / extent - 1).clamp(-3, 3).movedim(0, -1).unsqueeze(2)
    return F.grid_sample(pictures, grid, align_corners=True, padding_mode="border").squeeze(-1)
