"""The terms of a loss that need the scene: depth, camera and paths. None is in the paper.

As in ``losses``: pure functions, scalars that are 0 for a perfect prediction.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from seg2vid.models.latent_search import CAMERA_METRES, weigh_objects
from seg2vid.structures import Camera, InverseDepth, Labels, ScenePaths
from seg2vid.training.losses import Scalar, mean_where

HAZE = 1 / 300
"""Inverse depth, in 1/m, beside which smaller ones hardly count."""


def depth_loss(
    predicted: InverseDepth, exact: InverseDepth, known: InverseDepth, surfaces: Labels
) -> Scalar:
    """Distance of log(inverse depth + 1/300 m) and of its steps between pixels, where ``known``.

    The small number makes depth beyond some hundred metres the sky's. Steps to the next pixel keep
    edges sharp; those to 2, 4, 8 and 16 pixels away within one of the ``surfaces`` keep what
    stands straight. (Ranftl et al., TPAMI 2022, with L1.) Not in the paper.
    """
    error = (predicted + HAZE).log() - (exact + HAZE).log()
    total = mean_where(error.abs(), known)
    for distance in (1, 2, 4, 8, 16):
        for axis in (1, 2):
            length = max(error.shape[axis] - distance, 0)
            sides = [
                [part.narrow(axis, begin, length) for part in (error, known, surfaces)]
                for begin in (0, min(distance, error.shape[axis]))
            ]
            (one, here, own), (other, there, its) = sides
            weight = here * there if distance == 1 else 0.5 * here * there * (own == its)
            count = (weight > 0).sum().clamp(min=1)
            total = total + ((one - other).abs() * weight).sum() / count
    return total


def camera_loss(predicted: Camera, exact: Camera, *, height: int, width: int) -> Scalar:
    """Distance of the focal length in widths and, three times, of the horizon in heights."""
    focal_length = (predicted.focal_length - exact.focal_length).abs().mean() / width
    horizon = (predicted.centre - exact.centre)[:, 1].abs().mean() / height
    return focal_length + 3 * horizon


def path_loss(
    predicted: Float[Tensor, "batch time 4"], ego_motion: Float[Tensor, "batch time 3"]
) -> Scalar:
    """Distance of the camera's path in ``CAMERA_METRES``."""
    error = (predicted - F.pad(ego_motion, (0, 1))).abs().mean((0, 1))
    return (error * error.new_tensor(CAMERA_METRES)).sum()


def object_loss(
    predicted: ScenePaths,
    exact: Float[Tensor, "batch object time 3"],
    is_seen: Bool[Tensor, "batch object time"],
) -> Scalar:
    """Distance of the objects' paths at the times when each is seen, a sum over objects.

    Metres, but of objects that are farther than ten of them tenths of their distance; and twice the
    radians. A mean over times and samples.
    """
    error = weigh_objects(predicted.objects - exact, predicted.pivots).abs().sum(-1)
    return (error * is_seen).sum(1).mean()


def drawn_path_loss(
    drawn: Sequence[ScenePaths],
    ego_motion: Float[Tensor, "batch time 3"],
    exact: Float[Tensor, "batch object time 3"],
    is_seen: Bool[Tensor, "batch object time"],
) -> Scalar:
    """Energy score of paths drawn for a scene: least where they are as likely as the real ones.

    The distance of the draws from the real path less half of that from one another (Gneiting &
    Raftery, JASA 2007, Sec. 4.3), of the camera's whole path and of each object's. Units as in
    ``path_loss`` and ``object_loss``; needs two draws or more.
    """
    pivots = drawn[0].pivots
    real = ScenePaths(F.pad(ego_motion, (0, 1)), exact, pivots)
    paths = (real, *drawn)
    cameras = torch.stack([path.camera * real.camera.new_tensor(CAMERA_METRES) for path in paths])
    ways = torch.stack([weigh_objects(path.objects, pivots) for path in paths])
    objects = _energy_scores(ways * is_seen.unsqueeze(-1))
    return _energy_scores(cameras).mean() + objects.sum(1).mean() / 2


def _energy_scores(paths: Float[Tensor, "path *thing time unit"]) -> Float[Tensor, "*thing"]:
    """Score draws, a thing's paths but the first, by the first, which is the real one."""
    draws = len(paths) - 1
    gaps = paths.unsqueeze(0) - paths.unsqueeze(1)
    # A path is one thing, and no distance has no slope.
    distance = (gaps.square().mean(-2).sum(-1) + 1e-6).sqrt() - 1e-3
    apart = distance[1:, 1:].sum((0, 1)) / (draws * (draws - 1))
    return distance[0, 1:].mean(0) - apart / 2
