"""Warping: against the slow statements of ``reference.py``, and what must hold for any flow."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.data.clips import render_toycity
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.structures import Motion
from seg2vid.warp import (
    backward_warp,
    compose_flows,
    follow_passes,
    forward_backward_error,
    is_inside,
    motion_from_flows,
    reading_position,
    visibility_from_flows,
    warp_clip,
    warp_label_clip,
    warp_labels,
)
from tests import reference

SIZES = [(7, 10), (12, 5), (1, 9), (8, 1), (1, 1)]
sizes = st.tuples(st.integers(1, 9), st.integers(1, 11))
steps = st.integers(-4, 4)
seeds = st.integers(0, 2**31)


def random_flow(
    height: int, width: int, *, seed: int = 0, reach: float = 3.0, batch: int = 2
) -> Float[Tensor, "batch 2 height width"]:
    """Flow of any direction, a few pixels long: some of it points outside."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 2, height, width, generator=generator) * reach


def smooth_flow(
    height: int, width: int, *, seed: int = 0, reach: float = 1.0
) -> Float[Tensor, "1 2 height width"]:
    """Flow that changes slowly, so that it has an inverse."""
    coarse = random_flow(3, 4, seed=seed, reach=reach, batch=1)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")


def constant_flow(
    dx: float, dy: float, height: int = 9, width: int = 13
) -> Float[Tensor, "1 2 height width"]:
    """The same displacement everywhere."""
    return torch.tensor([float(dx), float(dy)]).view(1, 2, 1, 1).repeat(1, 1, height, width)


def close(fast: Float[Tensor, "*shape"], slow: list[np.ndarray], tolerance: float = 1e-4) -> None:
    """Check that a batch equals the reference, sample by sample."""
    np.testing.assert_allclose(fast.numpy(), np.stack(slow), rtol=0, atol=tolerance)


# Against the slow statements.


def test_a_frame_of_half_precision_is_read_at_exact_places() -> None:
    frame = torch.arange(512.0).expand(1, 1, 4, 512) / 512
    flow = torch.zeros(1, 2, 4, 512)
    flow[:, 0] = 1
    for dtype in (torch.bfloat16, torch.float16):
        half = frame.to(dtype)
        warped = backward_warp(half, flow)
        assert warped.dtype == dtype and torch.equal(warped[..., :-1], half[..., 1:])


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_backward_warp_equals_the_equation(height: int, width: int) -> None:
    frame, flow = torch.rand(2, 3, height, width), random_flow(height, width)
    slow = list(map(reference.backward_warp, frame.numpy(), flow.numpy()))
    close(backward_warp(frame, flow), slow)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_warp_labels_equals_the_equation(height: int, width: int) -> None:
    labels, flow = torch.randint(20, (2, height, width)), random_flow(height, width)
    slow = list(map(reference.warp_labels, labels.numpy(), flow.numpy()))
    assert np.array_equal(warp_labels(labels, flow).numpy(), np.stack(slow))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_compose_flows_equals_the_equation(height: int, width: int) -> None:
    first, second = random_flow(height, width), random_flow(height, width, seed=1)
    slow = list(map(reference.compose_flows, first.numpy(), second.numpy()))
    close(compose_flows(first, second), slow)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_forward_backward_error_equals_the_equation(height: int, width: int) -> None:
    flow, back = random_flow(height, width), random_flow(height, width, seed=1)
    slow = list(map(reference.forward_backward_error, flow.numpy(), back.numpy()))
    close(forward_backward_error(flow, back), slow)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_visibility_equals_the_equation(height: int, width: int) -> None:
    # Short flow, so that some ways close and some do not.
    flow = random_flow(height, width, reach=0.5)
    back = -flow + random_flow(height, width, seed=1, reach=0.5)
    slow = list(map(reference.visibility_from_flows, flow.numpy(), back.numpy()))
    close(visibility_from_flows(flow, back), slow)
    if height * width > 9:
        assert 0 < np.mean(slow) < 1


def test_visibility_tolerances_are_those_asked_for() -> None:
    flow, back = constant_flow(1, 0), constant_flow(-2, 0)
    allowed = 1 - 0.01 * 5  # |f + b|² = 1 must be below 0.01 (1 + 4) + absolute
    assert visibility_from_flows(flow, back, absolute=allowed + 0.01)[0, 0, 4, 4] == 1
    assert visibility_from_flows(flow, back, absolute=allowed - 0.01)[0, 0, 4, 4] == 0
    assert visibility_from_flows(flow, back, relative=0.21, absolute=0.0)[0, 0, 4, 4] == 1


def test_reading_position_is_absolute() -> None:
    position = reading_position(constant_flow(0.5, -1))
    assert position[0, :, 3, 7].tolist() == [7.5, 2.0]


def test_reading_position_is_exact_for_wide_pictures_in_half_precision() -> None:
    # In bfloat16 pixel 1001 would be 1000.
    flow = torch.zeros(1, 2, 1, 1002, dtype=torch.bfloat16)
    assert reading_position(flow)[0, 0, 0, 1001] == 1001


# What must hold for any flow.


@given(sizes, seeds)
def test_zero_flow_changes_nothing(size: tuple[int, int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    frame = torch.rand(1, 2, *size, generator=generator)
    labels = torch.randint(50_000, (1, *size), generator=generator)
    zero = torch.zeros(1, 2, *size)
    torch.testing.assert_close(backward_warp(frame, zero), frame, rtol=0, atol=1e-5)
    assert torch.equal(warp_labels(labels, zero), labels)
    assert is_inside(zero).all() and visibility_from_flows(zero, zero).all()


@given(steps, steps, steps, steps)
def test_translations_compose(a: int, b: int, c: int, d: int) -> None:
    first, second = constant_flow(a, b), constant_flow(c, d)
    both = compose_flows(first, second)
    torch.testing.assert_close(both, constant_flow(a + c, b + d))
    frame = torch.rand(1, 3, 9, 13)
    twice = backward_warp(backward_warp(frame, first), second)
    once = backward_warp(frame, both)
    inside = (is_inside(second) * is_inside(both)).bool().expand_as(frame)
    torch.testing.assert_close(twice[inside], once[inside], rtol=0, atol=1e-4)


@given(steps, steps)
def test_warping_there_and_back_restores_the_interior(dx: int, dy: int) -> None:
    frame = torch.rand(1, 3, 9, 13)
    returned = backward_warp(backward_warp(frame, constant_flow(dx, dy)), constant_flow(-dx, -dy))
    inside = is_inside(constant_flow(-dx, -dy)).bool().expand_as(frame)
    torch.testing.assert_close(returned[inside], frame[inside], rtol=0, atol=1e-4)


@given(seeds)
def test_labels_are_never_mixed(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 13, 26_001])[torch.randint(3, (1, 6, 9), generator=generator)]
    moved = warp_labels(labels, random_flow(6, 9, seed=seed, batch=1))
    assert set(moved.unique().tolist()) <= set(labels.unique().tolist())


@given(seeds)
def test_warped_values_stay_within_those_of_the_frame(seed: int) -> None:
    frame = torch.rand(1, 1, 6, 9, generator=torch.Generator().manual_seed(seed))
    warped = backward_warp(frame, random_flow(6, 9, seed=seed, batch=1))
    assert frame.min() - 1e-6 <= warped.min() and warped.max() <= frame.max() + 1e-6


@given(seeds)
def test_a_smooth_flow_and_its_inverse_close(seed: int) -> None:
    flow = smooth_flow(16, 24, seed=seed, reach=0.8)
    inverse = torch.zeros_like(flow)
    for _ in range(30):  # the inverse is the fixed point of b(p) = -f(p + b(p))
        inverse = -backward_warp(flow, inverse)
    middle = (..., slice(4, -4), slice(4, -4))
    assert forward_backward_error(inverse, flow)[middle].max() < 0.05
    assert visibility_from_flows(inverse, flow)[middle].all()


def test_nearest_mode_reads_whole_pixels() -> None:
    frame, flow = torch.rand(1, 1, 6, 9), random_flow(6, 9, batch=1)
    moved = backward_warp(frame, flow, mode="nearest")
    assert set(moved.flatten().tolist()) <= set(frame.flatten().tolist())


@pytest.mark.parametrize("batch", [1, 3])
def test_warp_clip_warps_every_time_by_its_own_flow(batch: int) -> None:
    frame, flow = torch.rand(batch, 3, 6, 9), torch.randn(batch, 4, 2, 6, 9)
    labels = torch.randint(20, (batch, 6, 9))
    clip, label_clip = warp_clip(frame, flow), warp_label_clip(labels, flow)
    for time in range(4):
        torch.testing.assert_close(clip[:, time], backward_warp(frame, flow[:, time]))
        assert torch.equal(label_clip[:, time], warp_labels(labels, flow[:, time]))


# The border and visibility, by hand.


def test_is_inside_includes_the_outermost_pixel_centres() -> None:
    flow = torch.zeros(1, 2, 3, 5)
    flow[0, 0, 1] = torch.tensor([0.0, -1.0, 2.0, 1.2, 0.01])
    flow[0, 1, 0, 0], flow[0, 1, 2, 0] = -0.1, 0.1
    expected = [[0, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]
    assert is_inside(flow)[0, 0].int().tolist() == expected


def moving_square() -> tuple[Float[Tensor, "1 2 8 16"], Float[Tensor, "1 2 8 16"]]:
    """Forward and backward flow of a square, columns 4 ... 7, that moves 3 pixels to the right."""
    forward, backward = torch.zeros(1, 2, 8, 16), torch.zeros(1, 2, 8, 16)
    forward[0, 0, 2:6, 4:8] = 3
    backward[0, 0, 2:6, 7:11] = -3
    return forward, backward


def columns(mask: Float[Tensor, "1 1 8 16"], row: int) -> list[int]:
    """Columns of a row in which the mask is 0."""
    return (mask[0, 0, row] == 0).nonzero().flatten().tolist()


def test_a_moving_square_hides_what_is_before_it() -> None:
    forward, backward = moving_square()
    visible = visibility_from_flows(forward, backward)
    assert columns(visible, 3) == [8, 9, 10] and columns(visible, 0) == []


def test_a_moving_square_uncovers_what_was_behind_it() -> None:
    forward, backward = moving_square()
    visible = visibility_from_flows(backward, forward)
    assert columns(visible, 3) == [4, 5, 6] and columns(visible, 0) == []


def test_what_leaves_the_picture_is_hidden() -> None:
    visible = visibility_from_flows(constant_flow(3, 0, 8, 16), constant_flow(-3, 0, 8, 16))
    assert columns(visible, 0) == [13, 14, 15]


def test_motion_from_flows_puts_each_mask_on_its_own_grid() -> None:
    forward, backward = moving_square()
    motion = motion_from_flows(
        torch.stack((forward, torch.zeros_like(forward)), 1),
        torch.stack((backward, torch.zeros_like(backward)), 1),
    )
    assert columns(motion.forward_visible[:, 0], 3) == [8, 9, 10]
    assert columns(motion.backward_visible[:, 0], 3) == [4, 5, 6]
    assert motion.forward_visible[:, 1].all() and motion.backward_visible[:, 1].all()
    assert torch.equal(motion.forward_flow[:, 0], forward)


def test_labels_and_pixels_move_together() -> None:
    labels: Int[Tensor, "1 8 16"] = torch.randint(20, (1, 8, 16))
    flow = random_flow(8, 16, batch=1)
    as_picture = backward_warp(labels.unsqueeze(1).float(), flow.round())
    assert torch.equal(warp_labels(labels, flow.round()), as_picture[:, 0].round().long())


# Gradients.


def test_gradient_of_the_frame_is_right() -> None:
    frame = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    flow = random_flow(4, 5, batch=1)
    assert torch.autograd.gradcheck(lambda picture: backward_warp(picture, flow), (frame,))


def test_gradient_of_the_flow_is_right() -> None:
    # Positions are float32, so steps are long; between pixel centres the warp is linear: they may.
    frame = torch.rand(1, 2, 4, 5, dtype=torch.float64)
    flow = torch.full((1, 2, 4, 5), 0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda displacement: backward_warp(frame, displacement), (flow,), eps=1e-2, atol=1e-3
    )


def test_gradients_are_finite_where_the_way_closes_exactly() -> None:
    # The root of the squared gap has no slope at 0.
    flow = torch.zeros(1, 2, 4, 5, requires_grad=True)
    forward_backward_error(flow, torch.zeros(1, 2, 4, 5)).sum().backward()
    assert flow.grad.isfinite().all()


def steady_motion(steps: list[tuple[float, float]], *, shown: float = 1.0) -> Motion:
    """Motion of a picture that has moved by these pixels at each time."""
    forward = torch.stack([constant_flow(*step, 16, 24) for step in steps], 1)
    visible = torch.full_like(forward[:, :, :1], shown)
    return Motion(forward, -forward, visible, visible)


def test_one_pass_is_followed_as_it_is() -> None:
    motion = Motion(
        random_flow(8, 9)[None, :, :, :, :],
        random_flow(8, 9, seed=1)[None],
        torch.rand(1, 2, 1, 8, 9),
        torch.rand(1, 2, 1, 8, 9),
    )
    followed = follow_passes(motion, (0,))
    for name in ("forward_flow", "backward_flow", "forward_visible", "backward_visible"):
        assert torch.equal(getattr(followed, name), getattr(motion, name))


def test_passes_of_constant_motion_add_up() -> None:
    """Passes start from frames 0, 2 and 3: their last frames have moved by (2, 0) and (3, 1)."""
    motion = steady_motion([(1, 0), (2, 0), (1, 1), (0, 2), (0, 4)])
    followed = follow_passes(motion, (0, 2, 3))
    expected = [(1, 0), (2, 0), (3, 1), (3, 3), (3, 5)]
    inside = (slice(6, -6), slice(6, -6))
    for time, step in enumerate(expected):
        wanted = torch.tensor([float(v) for v in step]).view(2, 1, 1).expand(2, 4, 12)
        torch.testing.assert_close(followed.forward_flow[0, time][:, *inside], wanted)
        torch.testing.assert_close(followed.backward_flow[0, time][:, *inside], -wanted)


def test_passes_are_followed_along_the_flow_not_where_they_stand() -> None:
    generator = torch.Generator().manual_seed(2)
    first, second = (smooth_flow(16, 20, seed=seed, reach=2) for seed in (1, 2))
    visible = [torch.rand(1, 2, 1, 16, 20, generator=generator) for _ in range(2)]
    pair = torch.stack((first, second), 1)
    followed = follow_passes(Motion(pair, -pair, *visible), (0, 1))
    assert torch.equal(followed.forward_flow[:, 1], compose_flows(second, first))
    assert torch.equal(followed.backward_flow[:, 1], compose_flows(-first, -second))
    expected = visible[0][:, 0] * backward_warp(visible[0][:, 1], first)
    assert torch.equal(followed.forward_visible[:, 1], expected)
    expected = visible[1][:, 1] * backward_warp(visible[1][:, 0], -second)
    assert torch.equal(followed.backward_visible[:, 1], expected)


def test_a_pixel_is_visible_that_is_visible_all_the_way() -> None:
    motion = steady_motion([(0, 0), (0, 0), (0, 0)], shown=0.5)
    followed = follow_passes(motion, (0, 1, 2))
    for shown in (followed.forward_visible, followed.backward_visible):
        torch.testing.assert_close(shown[0, :, 0, 5, 5], torch.tensor([0.5, 0.25, 0.125]))


def test_the_camera_goes_on_where_the_pass_before_ended() -> None:
    """Three passes that drive 2 m ahead, 1 m aside and turn right by a quarter: three sides."""
    turn = math.pi / 2
    own = torch.tensor([[1.0, 0.0, 0.0, 0.1], [2.0, 1.0, turn, 0.2]])
    motion = replace(
        steady_motion([(0, 0)] * 6),
        camera_path=own.repeat(3, 1)[None],
        inverse_depth=torch.rand(1, 6, 16, 24),
        source=torch.zeros(1, 6, 16, 24, dtype=torch.long),
    )
    followed = follow_passes(motion, (0, 2, 4))
    # After the first turn ahead is to the right and right is back, then ahead is back.
    expected = [(1, 0), (2, 1), (2, 2), (1, 3), (0, 3), (-1, 2)]
    torch.testing.assert_close(
        followed.camera_path[0, :, :2], torch.tensor(expected).float(), atol=1e-5, rtol=0
    )
    turns = torch.tensor([0, 1, 1, 2, 2, 3]) * turn
    torch.testing.assert_close(followed.camera_path[0, :, 2], turns)
    torch.testing.assert_close(
        followed.camera_path[0, :, 3], torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    )
    assert followed.inverse_depth is motion.inverse_depth and followed.source is None
    assert torch.equal(follow_passes(motion, (0,)).camera_path, motion.camera_path)


def test_passes_warp_the_first_frame_to_the_last() -> None:
    """Cutting toy city's exact motion into two passes and following them gives it back."""
    config = ToyCityConfig(height=64, width=128, num_frames=4)
    clip = render_toycity(5, config)
    assert clip.motion is not None
    middle = clip.motion.backward_flow[:, 1]
    later = []
    for time in (2, 3):
        # From frame t back to the first one, then ahead to the middle one.
        back = clip.motion.backward_flow[:, time]
        later.append(compose_flows(clip.motion.forward_flow[:, 1], back))
    backward = torch.stack((*clip.motion.backward_flow[:, :2].unbind(1), *later), 1)
    followed = follow_passes(replace(clip.motion, backward_flow=backward), (0, 2))
    assert torch.equal(followed.backward_flow[:, 1], middle)
    error = (followed.backward_flow - clip.motion.backward_flow).norm(dim=2, keepdim=True)
    seen = (clip.motion.backward_visible > 0.5) & (error.isfinite())
    assert float(error[seen].median()) < 0.05 and float((error[seen] < 0.5).float().mean()) > 0.9
