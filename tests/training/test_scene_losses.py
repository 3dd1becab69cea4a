"""Losses of the scene: 0 for what is exact, and each pays in its units."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seg2vid.structures import Camera, ScenePaths
from seg2vid.training.scene_losses import (
    camera_loss,
    depth_loss,
    drawn_path_loss,
    object_loss,
    path_loss,
)


def test_depth_that_is_exact_costs_nothing() -> None:
    depth, known = torch.rand(2, 20, 24) / 5, torch.ones(2, 20, 24)
    surfaces = torch.zeros(2, 20, 24, dtype=torch.long)
    assert depth_loss(depth, depth, known, surfaces) == 0


def test_depth_loss_of_a_constant_factor_is_its_logarithm() -> None:
    depth, known = torch.full((1, 20, 24), 0.5), torch.ones(1, 20, 24)
    surfaces = torch.zeros(1, 20, 24, dtype=torch.long)
    haze = 1 / 300
    expected = math.log((1.0 + haze) / (0.5 + haze))
    assert math.isclose(
        float(depth_loss(2 * depth, depth, known, surfaces)), expected, abs_tol=1e-5
    )


def test_what_leans_costs_within_a_surface_and_not_across() -> None:
    """A pole whose predicted depth grows from foot to top, a few per cent a pixel."""
    exact, known = torch.full((1, 40, 8), 0.1), torch.ones(1, 40, 8)
    leaning = exact * torch.exp(0.01 * torch.arange(40.0)).view(1, 40, 1)
    one = torch.zeros(1, 40, 8, dtype=torch.long)
    each = torch.arange(320).view(1, 40, 8)
    whole, apart = (depth_loss(leaning, exact, known, ids) for ids in (one, each))
    # Steps to 2, 4, 8 and 16 pixels away, at half weight, in the one direction where it leans.
    haze = (0.1 + 1 / 300) / 0.1
    assert math.isclose(float(whole - apart), 0.5 * 0.01 * 30 / haze, rel_tol=0.1)


def test_depth_loss_ignores_what_is_not_known() -> None:
    exact, known = torch.full((1, 20, 24), 0.1), torch.ones(1, 20, 24)
    known[:, 10:] = 0
    predicted = exact.clone()
    predicted[:, 10:] = 5.0
    surfaces = torch.zeros(1, 20, 24, dtype=torch.long)
    assert depth_loss(predicted, exact, known, surfaces) == 0


def test_the_camera_pays_metres_thrice_aside_and_sixty_for_a_radian() -> None:
    predicted = torch.zeros(1, 2, 4)
    predicted[0, 1] = torch.tensor([1.0, -0.5, 0.1, 0.2])
    exact = torch.zeros(1, 2, 3)
    # A mean over two times.
    assert float(path_loss(predicted, exact)) == pytest.approx((1 + 3 * 0.5 + 6 + 12) / 2)
    assert path_loss(functional.pad(exact, (0, 1)), exact) == 0


def drawn(cameras: Tensor, ways: Tensor) -> list[ScenePaths]:
    """Paths of a camera (draw, batch, time, 4) and of one object, ten metres away, likewise."""
    pivots = torch.tensor([10.0, 0.0]).expand(cameras.shape[1], 1, 2)
    ways = ways.unsqueeze(2)
    return [ScenePaths(*path, pivots) for path in zip(cameras, ways, strict=True)]


def test_drawn_paths_pay_their_distance_less_half_of_that_from_one_another() -> None:
    cameras, ways = torch.zeros(2, 1, 2, 4), torch.zeros(2, 1, 2, 3)
    cameras[0, ..., 0], cameras[1, ..., 1], ways[1, ..., 0] = 4.0, 1.0, 8.0
    real, seen = torch.zeros(1, 2, 3), torch.ones(1, 1, 2, dtype=torch.bool)
    loss = drawn_path_loss(drawn(cameras, ways), real, real[None], seen)
    # The camera is 4 and 3 m off and 5 from one another; the object counts half.
    assert float(loss) == pytest.approx((3.5 - 2.5) + (4 - 4) / 2, abs=3e-3)
    hidden = drawn_path_loss(drawn(cameras, ways), real, real[None], ~seen)
    assert float(hidden) == pytest.approx(3.5 - 2.5, abs=3e-3)


def test_drawn_paths_cost_least_when_distributed_as_the_real_ones() -> None:
    dice, count = torch.Generator().manual_seed(0), 4000
    still = torch.zeros(count, 1, 1, 3)
    seen = torch.ones(count, 1, 1, dtype=torch.bool)
    real = functional.pad(torch.randn(count, 1, 1, generator=dice), (0, 2))

    def loss(spread: float, shift: float) -> float:
        cameras = shift + spread * torch.randn(2, count, 1, 1, generator=dice)
        paths = drawn(functional.pad(cameras, (0, 3)), still.squeeze(1).expand(2, -1, -1, -1))
        return float(drawn_path_loss(paths, real, still, seen))

    right = loss(1.0, 0.0)
    assert right == pytest.approx(1 / math.sqrt(math.pi), abs=0.03)  # E|x - y| / 2
    assert right < min(loss(0.1, 0.0), loss(3.0, 0.0), loss(1.0, 1.5)) - 0.1


def test_lens_and_horizon_are_told_in_pictures() -> None:
    one, other = (
        Camera(torch.tensor([focal_length]), torch.tensor([[31.5, row]]))
        for focal_length, row in ((64.0, 14.0), (80.0, 16.0))
    )
    assert float(camera_loss(one, other, height=32, width=64)) == pytest.approx(0.25 + 3 / 16)


def test_objects_pay_by_their_distance_and_only_when_seen() -> None:
    ways = torch.zeros(1, 3, 2, 3)
    ways[0, :, 1] = torch.tensor([1.0, -1.0, 0.25])
    pivots = torch.tensor([[[5.0, 0.0], [20.0, 3.0], [10.0, 0.0]]])
    predicted = ScenePaths(torch.zeros(1, 2, 4), ways, pivots)
    seen = torch.tensor([[[True, True], [True, True], [True, False]]])
    # The near one pays metres, one at twenty half of them; the third is not seen to be wrong.
    expected = ((2 + 0.5) + (1 + 0.5)) / 2
    assert float(object_loss(predicted, torch.zeros_like(ways), seen)) == pytest.approx(expected)
    assert object_loss(predicted, ways, seen) == 0
