"""A moving scene: cases whose answer is known in closed form, and beside independent references."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from seg2vid.evaluation.metrics.scene import (
    depth_errors,
    distance_from_line,
    find_poles,
    gradient_energy,
    kolmogorov_smirnov,
    pace,
    path_errors,
    pole_distance_by_frame,
    sharpness_by_frame,
)
from seg2vid.structures import Motion
from seg2vid.warp import backward_warp

POLE, SIGN, ROAD = 5, 7, 0


def motion_of(*flows: Tensor, visible: Tensor | None = None) -> Motion:
    """Backward flows (2, height, width) of as many times, one sample."""
    backward = torch.stack(flows)[None]
    seen = torch.ones_like(backward[:, :, :1]) if visible is None else visible
    return Motion(-backward, backward, seen, seen)


def waves(height: int, width: int, *, period: float = 16.0) -> Tensor:
    """A smooth grey picture (1, 3, height, width) with steps in both directions."""
    x, y = torch.arange(width).float(), torch.arange(height).float()
    grey = 0.5 + 0.2 * torch.sin(2 * math.pi * x / period) + 0.2 * torch.cos(y / 3)[:, None]
    return grey.expand(1, 3, height, width).contiguous()


# Sharpness.


def test_what_does_not_change_is_as_sharp_as_before() -> None:
    picture, still = waves(24, 32), torch.zeros(2, 24, 32)
    sharpness = sharpness_by_frame(picture, picture[:, None], motion_of(still))
    torch.testing.assert_close(sharpness, torch.ones(1, 1))


def test_half_the_contrast_is_a_quarter_of_the_energy() -> None:
    picture, still = waves(24, 32), torch.zeros(2, 24, 32)
    frames = torch.stack((0.5 * picture + 0.1, 2 * picture - 0.4), 1)
    sharpness = sharpness_by_frame(picture, frames, motion_of(still, still))
    torch.testing.assert_close(sharpness, torch.tensor([[0.25, 4.0]]))


def test_a_perfect_enlargement_loses_nothing() -> None:
    """Read twice as large, steps halve; a ramp is read perfectly by bilinear sampling."""
    x = torch.arange(32).float()
    picture = (x / 64).expand(1, 3, 24, 32)
    flow = torch.stack(((-x / 2).expand(24, 32), torch.zeros(24, 32)))
    frame = backward_warp(picture, flow[None])
    assert gradient_energy(frame).mean() == pytest.approx(gradient_energy(picture).mean() / 4)
    sharpness = sharpness_by_frame(picture, frame[:, None], motion_of(flow))
    torch.testing.assert_close(sharpness, torch.ones(1, 1))


def test_only_what_is_visible_and_no_edge_of_the_flow_counts() -> None:
    picture, visible = waves(24, 32), torch.ones(1, 1, 1, 24, 32)
    visible[..., 16:] = 0
    frame, flow = picture.clone(), torch.zeros(2, 24, 32)
    frame[..., 17:] = 0.5
    blurred = frame.clone()
    sharpness = sharpness_by_frame(picture, blurred[:, None], motion_of(flow, visible=visible))
    torch.testing.assert_close(sharpness, torch.ones(1, 1))
    nothing = motion_of(flow, visible=torch.zeros_like(visible))
    assert sharpness_by_frame(picture, frame[:, None], nothing).isnan().all()
    flat = torch.full_like(picture, 0.3)
    assert sharpness_by_frame(flat, flat[:, None], motion_of(flow)).isnan().all()
    # The right half shows what lies six pixels on: the seam of the reading is no step of it.
    flow[0, :, 16:] = 6
    cut = backward_warp(picture, flow[None])
    inside = torch.ones(1, 1, 1, 24, 32)
    inside[..., -7:] = 0
    sharpness = sharpness_by_frame(picture, cut[:, None], motion_of(flow, visible=inside))
    torch.testing.assert_close(sharpness, torch.ones(1, 1))


# Poles.


def standing(*columns: slice, height: int = 40, width: int = 32) -> Tensor:
    """A label map with poles over rows 4 to 35."""
    label_map = torch.full((height, width), ROAD)
    for column in columns:
        label_map[4:36, column] = POLE
    return label_map


@pytest.mark.parametrize(("wide", "distance"), [(1, 0.0), (2, 0.5), (3, 2 / 3), (4, 1.0)])
def test_an_upright_band_has_about_a_quarter_of_its_width(wide: int, distance: float) -> None:
    regions = (standing(slice(10, 10 + wide)) == POLE).long()
    assert float(distance_from_line(regions[None], 1)) == pytest.approx(distance, abs=1e-5)


def test_a_slanting_line_is_straight_and_a_step_is_not() -> None:
    slanting, step = torch.zeros(32, 64).long(), torch.zeros(32, 64).long()
    for y in range(32):
        slanting[y, 2 * y] = 1
        step[y, 10 if y < 16 else 14] = 1
    both = distance_from_line(torch.stack((slanting, step)), 1)
    assert float(both[0]) == pytest.approx(0, abs=1e-5)
    places = np.argwhere(step.numpy()).astype(float)
    apart = places - places.mean(0)
    normal = np.linalg.svd(apart, full_matrices=False)[2][1]
    assert (
        float(both[1]) == pytest.approx(np.abs(apart @ normal).mean(), rel=1e-5) and both[1] > 0.5
    )


def test_small_regions_have_no_line() -> None:
    regions = torch.zeros(1, 9, 9).long()
    regions[0, :7, 2], regions[0, :8, 5] = 1, 2
    found = distance_from_line(regions, 3)
    assert found.isnan().tolist() == [[True, False, True]]


def test_poles_are_straight_tall_and_apart() -> None:
    label_map = standing(slice(4, 5), slice(12, 15))
    label_map[4:7, 20:24] = POLE  # three rows of forty: too low
    label_map[10:36, 28] = POLE
    label_map[10:18, 24:32] = SIGN  # a sign makes no line
    poles = find_poles(label_map, (POLE, SIGN))
    assert torch.equal(poles, (label_map * (torch.arange(32) < 15) == POLE) * (poles > 0) * poles)
    assert sorted(poles.unique().tolist()) == [0, 1, 2]
    assert len({int(poles[20, 4]), int(poles[20, 13]), 0}) == 3
    # Without signs the post below is a pole, too.
    assert int(find_poles(label_map, (POLE,)).max()) == 3
    assert not find_poles(torch.full((40, 32), ROAD), (POLE,)).any()


def bent_by(shift: float) -> tuple[Tensor, Tensor, Motion]:
    """A pole whose lower half is moved to the right: first labels, moved labels, motion."""
    label_map = standing(slice(10, 11), slice(22, 23))
    flow = torch.zeros(2, 40, 32)
    flow[0, 20:, :20] = -shift
    motion = motion_of(flow, torch.zeros(2, 40, 32))
    moved = label_map.clone()
    moved[20:36, 10], moved[20:36, 10 + int(shift)] = ROAD, POLE
    return label_map, torch.stack((moved, label_map))[None], motion


def test_a_torn_pole_is_one_pole_that_is_not_straight() -> None:
    """Two straight halves, far apart: taken as two regions they would be perfect."""
    label_map, label_maps, motion = bent_by(6)
    found = pole_distance_by_frame(label_map, label_maps, motion, (POLE,))
    halves = torch.zeros(1, 40, 32).long()
    halves[0, 4:20, 10], halves[0, 20:36, 16] = 1, 1
    expected = float(distance_from_line(halves, 1)) / 2  # the mean with the other, straight one
    assert found[0].tolist() == pytest.approx([expected, 0], abs=1e-5) and expected > 0.4
    growing = [pole_distance_by_frame(*bent_by(s), (POLE,))[0, 0] for s in (0, 2, 4, 6)]
    assert growing == sorted(growing) and float(growing[0]) == pytest.approx(0, abs=1e-5)


def test_what_is_hidden_or_labelled_otherwise_is_no_pole() -> None:
    label_map, label_maps, motion = bent_by(6)
    visible = torch.ones(1, 2, 1, 40, 32)
    visible[0, 0, 0, 20:, :20] = 0
    hidden = Motion(*[motion.forward_flow, motion.backward_flow], visible, visible)
    found = pole_distance_by_frame(label_map, label_maps, hidden, (POLE,))
    assert found[0].tolist() == pytest.approx([0, 0], abs=1e-5)
    found = pole_distance_by_frame(label_map, torch.zeros_like(label_maps), motion, (POLE,))
    assert found.isnan().all() and found.shape == (1, 2)
    found = pole_distance_by_frame(torch.zeros_like(label_map), label_maps, motion, (POLE,))
    assert found.isnan().all() and found.shape == (1, 2)


# Depth and camera.


def test_depth_errors_by_hand() -> None:
    exact = torch.tensor([10.0, 20.0, 40.0, 70.0, 5.0]).view(1, 1, 5)
    found = torch.tensor([11.0, 30.0, 40.0, 7.0, 50.0]).view(1, 1, 5)
    own = torch.tensor([False, False, False, False, True]).view(1, 1, 5)
    # 70 m are too far, the last pixel is the own car: 0.1, 0.5 and 0 are left.
    relative, within = depth_errors(1 / found, 1 / exact, own)
    assert float(relative) == pytest.approx(0.2) and float(within) == pytest.approx(2 / 3)
    sky = torch.zeros(1, 1, 5)
    assert all(part.isnan().all() for part in depth_errors(1 / found, sky, own))
    relative, within = depth_errors(1 / (1.2 * exact), 1 / exact, own)
    assert (float(relative), float(within)) == pytest.approx((0.2, 1))
    relative, within = depth_errors(1.3 / exact, 1 / exact, own)
    assert (float(relative), float(within)) == pytest.approx((1 - 1 / 1.3, 0))
    assert float(depth_errors(sky, 1 / exact, own)[1]) == 0, "sky where a wall stands"


def test_path_errors_by_hand() -> None:
    exact = torch.tensor([[[1.0, 0.0, 0.0], [2.0, 0.0, 0.1]]])
    path = torch.tensor([[[1.0, 0.0, 0.0, 9.0], [5.0, 4.0, -0.1, 9.0]]])
    metres, degrees = path_errors(path, exact)
    assert metres.tolist() == [[0, 5]]
    assert degrees[0].tolist() == pytest.approx([0, math.degrees(0.2)], rel=1e-5)


def test_pace_by_hand() -> None:
    """Three metres ahead, four to the right, in two steps of a tenth of a second."""
    path = torch.tensor([[[3.0, 0.0, 0.0], [3.0, 4.0, 0.1]], [[0.0, 0.0, 0.0]] * 2])
    speed, turning = pace(path, 0.1)
    assert speed.tolist() == pytest.approx([7 / 0.2, 0])
    assert turning.tolist() == pytest.approx([math.degrees(0.5), 0], rel=1e-5)


# The two-sample test.


def test_the_statistic_by_hand() -> None:
    first, second = torch.tensor([1.0, 2, 3, 4]), torch.tensor([3.0, 4, 5, 6])
    assert kolmogorov_smirnov(first, second)[0] == 0.5
    assert kolmogorov_smirnov(first, first) == (0, 1)
    assert kolmogorov_smirnov(first, first + 10)[0] == 1
    assert all(math.isnan(number) for number in kolmogorov_smirnov(first, first[:0]))


@pytest.mark.parametrize(("shift", "sizes"), [(0.0, (64, 256)), (0.3, (64, 256)), (1.0, (30, 20))])
def test_the_test_agrees_with_scipy(shift: float, sizes: tuple[int, int]) -> None:
    random = np.random.default_rng(5)
    first, second = random.normal(size=sizes[0]), random.normal(size=sizes[1]) + shift
    statistic, p = kolmogorov_smirnov(torch.from_numpy(first), torch.from_numpy(second))
    assert statistic == pytest.approx(scipy.stats.ks_2samp(first, second).statistic)
    scaled = statistic * math.sqrt(math.prod(sizes) / sum(sizes))
    assert p == pytest.approx(scipy.stats.kstwobign.sf(scaled), rel=1e-9)


def test_equal_laws_are_seldom_told_apart() -> None:
    random = np.random.default_rng(6)
    draws = torch.from_numpy(random.normal(size=(200, 2, 60)))
    found = [kolmogorov_smirnov(*pair)[1] for pair in draws]
    assert 0.005 < sum(p < 0.05 for p in found) / len(found) < 0.08
    assert kolmogorov_smirnov(draws[0, 0], draws[0, 1] + 2)[1] < 1e-6
