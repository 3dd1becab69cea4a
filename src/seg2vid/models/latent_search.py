"""Paths → the z that decodes to them, near the one that the motion encoder has guessed.

An encoder says in one go what z is and is never exact: a turn that is off by a degree moves the
whole picture by four pixels. What decodes to paths is small, so a few steps of Levenberg's method
end where the decoder says what was seen. (Kim et al., Semi-Amortized Variational Autoencoders,
ICML 2018.)
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from seg2vid.models.layers import MAX_OBJECTS, pool_rows, spread_rows
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.models.objects import SceneFeatures
from seg2vid.structures import Latent, Objects, ScenePaths

Numbers = Float[Tensor, "group number"]
PerGroup = Float[Tensor, " group"]
Squares = Float[Tensor, "group number number"]
Tries = Float[Tensor, "try group number"]
Ways = Float[Tensor, "*rest time unit"]

CAMERA_METRES = (1.0, 3.0, 60.0, 60.0)
"""Metres forward that weigh as much as one of each number of a camera path: forward and aside in
metres, yaw and pitch in radians. A turn moves the whole picture."""
EXACT = 0.1
"""Metres forward by which the camera may be off as easily as a number of z by 1."""
EXACT_OBJECT = 0.03
"""The same of objects, as ``weigh_objects`` has them."""
NUDGE = 1e-3
"""Change of a number of z that shows what it does."""
STEPS = 20


def weigh_objects(ways: Ways, pivots: Float[Tensor, "*batch object 2"]) -> Ways:
    """Bring ways of objects to the size in which they are seen.

    Metres, but of objects that are farther than ten of them tenths of their distance; and twice the
    radians.
    """
    distance = pivots[..., :1].clamp(min=10.0).unsqueeze(-1) / 10
    return torch.cat((ways[..., :2] / distance, 2 * ways[..., 2:]), -1)


def levenberg(
    look: Callable[[Numbers], tuple[PerGroup, Squares, Numbers]], start: Numbers, steps: int
) -> tuple[Numbers, PerGroup]:
    """Go downhill from ``start`` by Levenberg's method, each group of numbers by itself.

    ``look`` returns what numbers cost and the normal equations of better ones: a matrix and what it
    times the way back makes. Returned are the best numbers and what they cost.
    """
    numbers = start
    cost, left, right = look(numbers)
    damping = torch.full_like(cost, 0.1)
    for _ in range(steps):
        held = torch.diag_embed(left.diagonal(dim1=1, dim2=2) * damping.unsqueeze(1))
        tried = numbers - torch.linalg.solve(left + held, right)
        found = look(tried)
        is_better = found[0] < cost
        damping = torch.where(is_better, damping / 4, damping * 8)
        numbers, cost, left, right = (
            torch.where(is_better.view(-1, *[1] * (new.ndim - 1)), new, old)
            for new, old in zip((tried, *found), (numbers, cost, left, right), strict=True)
        )
    return numbers, cost


def search_latent(
    decoder: MotionDecoder, seen: SceneFeatures, z: Latent, paths: ScenePaths
) -> Latent:
    """Return the z near ``z`` that decodes to ``paths`` in what ``decoder.look`` has ``seen``.

    ``paths`` are of one pass, a time for each frame, and of the objects that ``seen`` tells apart.
    """
    return follow_objects(decoder, seen, follow_camera(decoder, seen, z, paths.camera), paths)


@torch.no_grad()
def follow_camera(
    decoder: MotionDecoder, seen: SceneFeatures, z: Latent, camera: Float[Tensor, "batch time 4"]
) -> Latent:
    """Return the z near ``z`` whose camera goes the way of ``camera``; see ``search_latent``."""
    units = camera.new_tensor(CAMERA_METRES)

    def ways_of(tried: Tries) -> Ways:
        given = Latent(tried.flatten(0, 1), _repeat(z.foreground, len(tried)))
        paths = decoder.paths(seen.map(partial(_repeat, count=len(tried))), given)
        return (units * paths.camera).unflatten(0, tried.shape[:2])

    return Latent(_nearest(z.background, ways_of, units * camera, EXACT), z.foreground)


@torch.no_grad()
def follow_objects(
    decoder: MotionDecoder, seen: SceneFeatures, z: Latent, paths: ScenePaths
) -> Latent:
    """Return the z near ``z`` whose objects go the ways of ``paths``; see ``search_latent``."""
    codes = pool_rows(z.foreground, seen.objects, MAX_OBJECTS + 1)[:, 1:]

    def spread(codes: Float[Tensor, "batch object code"], objects: Objects) -> Tensor:
        # The background, row 0, has no code.
        return spread_rows(F.pad(codes, (0, 0, 1, 0)), objects)

    def ways_of(tried: Tries) -> Ways:
        many = seen.map(partial(_repeat, count=len(tried)))
        table = tried.reshape(-1, *codes.shape[1:])
        given = Latent(_repeat(z.background, len(tried)), spread(table, many.objects))
        ways = weigh_objects(decoder.paths(many, given).objects, _repeat(paths.pivots, len(tried)))
        return ways.reshape(*tried.shape[:2], *ways.shape[2:])

    wanted = weigh_objects(paths.objects, paths.pivots).flatten(0, 1)
    found = _nearest(codes.flatten(0, 1), ways_of, wanted, EXACT_OBJECT)
    return Latent(z.background, spread(found.view_as(codes), seen.objects))


def _repeat(tensor: Tensor, count: int) -> Tensor:
    return tensor.repeat(count, *[1] * (tensor.ndim - 1))


def _nearest(
    start: Numbers,
    ways_of: Callable[[Tries], Float[Tensor, "try group time unit"]],
    wanted: Float[Tensor, "group time unit"],
    exact: float,
) -> Numbers:
    """Return each group's numbers near ``start`` whose way is the one that is wanted."""
    alone = torch.eye(start.shape[1], device=start.device)

    def look(numbers: Numbers) -> tuple[PerGroup, Squares, Numbers]:
        tried = torch.cat((numbers.unsqueeze(0), numbers + NUDGE * alone.unsqueeze(1)))
        gaps = (ways_of(tried) - wanted).flatten(2) / exact
        slopes, gap, away = (gaps[1:] - gaps[0]) / NUDGE, gaps[0], numbers - start
        left = torch.einsum("agn,bgn->gab", slopes, slopes) + alone
        right = torch.einsum("agn,gn->ga", slopes, gap) + away
        return gap.square().sum(1) + away.square().sum(1), left, right

    return levenberg(look, start, STEPS)[0]
