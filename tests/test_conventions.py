"""Convention pins: a marker moves where the convention says; comments name the misreading."""

from collections.abc import Callable
from dataclasses import fields
from functools import cache

import pytest
import torch
from jaxtyping import Bool, Float, TypeCheckError
from torch import Tensor

from seg2vid.data.clips import mirror, render_toycity
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.labels.convert import one_hot
from seg2vid.labels.space import get_label_space
from seg2vid.structures import Clip, Motion
from seg2vid.training.losses import reconstruction_loss
from seg2vid.warp import (
    backward_warp,
    compose_flows,
    forward_backward_error,
    is_inside,
    motion_from_flows,
    pixel_grid,
    warp_clip,
    warp_labels,
)

CITYSCAPES = get_label_space("cityscapes")
HEIGHT, WIDTH = 9, 13


def constant_flow(
    dx: float, dy: float, height: int = HEIGHT, width: int = WIDTH
) -> Float[Tensor, "1 2 height width"]:
    """The same displacement everywhere."""
    return torch.tensor([float(dx), float(dy)]).view(1, 2, 1, 1).repeat(1, 1, height, width)


def marker(
    x: int, y: int, height: int = HEIGHT, width: int = WIDTH
) -> Float[Tensor, "1 1 height width"]:
    """Black, but for one pixel."""
    frame = torch.zeros(1, 1, height, width)
    frame[..., y, x] = 1
    return frame


def where(frame: Float[Tensor, "1 1 height width"]) -> list[tuple[int, int]]:
    """Every lit pixel as (x, y)."""
    return [(int(x), int(y)) for y, x in (frame[0, 0] > 0.5).nonzero()]


# Flow: sign, order, unit, position of pixel centres.


def test_flow_says_where_to_read() -> None:
    # Misread as "where the pixel goes" (the authors' x - flow): the marker would be lit at (7, 4).
    assert where(backward_warp(marker(5, 4), constant_flow(2, 0))) == [(3, 4)]


def test_first_channel_is_dx_to_the_right_and_second_dy_downwards() -> None:
    # Misread as (dy, dx): (5 - 1, 4 - 2) = (4, 2). Misread with y upwards: (3, 5).
    assert where(backward_warp(marker(5, 4), constant_flow(2, 1))) == [(3, 3)]


def test_labels_follow_the_same_sign_and_order() -> None:
    # A label map that moved against its pixels would be lit at (7, 5); with (dy, dx) at (4, 2).
    moved = warp_labels(marker(5, 4)[0].long(), constant_flow(2, 1))
    assert where(moved.unsqueeze(0).float()) == [(3, 3)]


def test_flow_counts_pixels_not_shares_of_the_picture() -> None:
    # Misread as normalised units, 1 would be half of the picture: six pixels here, fifty there.
    for width in (13, 101):
        moved = backward_warp(marker(9, 4, width=width), constant_flow(1, 0, width=width))
        assert where(moved) == [(8, 4)]


def test_zero_flow_is_identity() -> None:
    # With align_corners=False mixed in, every pixel would blend with its neighbours by up to half.
    frame = torch.rand(2, 3, 37, 61)
    warped = backward_warp(frame, torch.zeros(2, 2, 37, 61))
    torch.testing.assert_close(warped, frame, rtol=0, atol=1e-5)
    labels = torch.randint(20, (2, 37, 61))
    assert torch.equal(warp_labels(labels, torch.zeros(2, 2, 37, 61)), labels)


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (-3, 0), (0, 2), (4, -3)])
def test_integer_flow_is_a_shift_of_the_interior(dx: int, dy: int) -> None:
    # Another scale than one pixel per unit blends neighbours; the other sign shifts the other way.
    frame = torch.rand(1, 3, HEIGHT, WIDTH)
    warped = backward_warp(frame, constant_flow(dx, dy))
    rolled = torch.roll(frame, (-dy, -dx), (-2, -1))
    inside = is_inside(constant_flow(dx, dy)).bool().expand_as(frame)
    assert inside.float().mean() > 0.3
    torch.testing.assert_close(warped[inside], rolled[inside], rtol=0, atol=1e-5)


def test_half_a_pixel_averages_two_neighbours() -> None:
    # With align_corners=False the first pixel would read at 0.5 · 13/12 - 0.5 = 0.04: no average.
    frame = torch.rand(1, 1, HEIGHT, WIDTH)
    warped = backward_warp(frame, constant_flow(0.5, 0))
    average = (frame[..., :-1] + frame[..., 1:]) / 2
    torch.testing.assert_close(warped[..., :-1], average, rtol=0, atol=1e-5)


def test_outside_reads_the_border() -> None:
    # Padding with zeros would darken the edge of every frame of a moving camera.
    warped = backward_warp(torch.full((1, 3, HEIGHT, WIDTH), 0.7), constant_flow(-6, 5))
    torch.testing.assert_close(warped, torch.full_like(warped, 0.7))


def test_grid_is_x_then_y_with_whole_numbers_at_pixel_centres() -> None:
    # Centres at + 0.5, or (y, x), would give (4.5, 2.5) or (2, 4).
    assert pixel_grid(HEIGHT, WIDTH, like=torch.zeros(()))[:, 2, 4].tolist() == [4.0, 2.0]


def test_composition_reads_the_second_argument_first() -> None:
    # In the other order the far step would be read at pixel 0, where it is 5: 6 in all.
    first, second = constant_flow(5, 0), constant_flow(1, 0)
    first[:, 0, :, 1:] = 7
    assert compose_flows(first, second)[0, 0, 0, 0] == 8


def test_there_and_back_is_a_sum() -> None:
    # With a minus (both flows pointing the same way) this error would be 6, not 0.
    error = forward_backward_error(constant_flow(3, 0), constant_flow(-3, 0))
    assert error.max() < 1e-5


# Forward and backward: which grid, which frame, which mask.


def moving_marker() -> tuple[Clip, Motion]:
    """A lit pixel at (3, 4) in the first frame and at (5, 4) in the next; only there is flow."""
    forward, backward = torch.zeros(1, 1, 2, HEIGHT, WIDTH), torch.zeros(1, 1, 2, HEIGHT, WIDTH)
    forward[0, 0, 0, 4, 3], backward[0, 0, 0, 4, 5] = 2, -2
    # What the marker uncovers appears, and what it covers disappears.
    forward_visible, backward_visible = torch.ones(2, 1, 1, 1, HEIGHT, WIDTH)
    forward_visible[..., 4, 5], backward_visible[..., 4, 3] = 0, 0
    motion = Motion(forward, backward, forward_visible, backward_visible)
    before, after = (marker(x, 4).expand(-1, 3, -1, -1).contiguous() for x in (3, 5))
    return Clip(before, after.unsqueeze(1), torch.zeros(1, HEIGHT, WIDTH).long()), motion


def test_backward_flow_lives_on_the_grid_of_frame_t() -> None:
    # The authors swap the names. Read through the forward flow, no visible pixel would be lit.
    clip, motion = moving_marker()
    warped = warp_clip(clip.first_frame, motion.backward_flow)
    assert warped.shape == (1, 1, 3, HEIGHT, WIDTH)
    assert where(warped[:, 0, :1] * motion.backward_visible[:, 0]) == [(5, 4)]


def test_forward_flow_lives_on_the_grid_of_the_first_frame() -> None:
    # On the grid of frame t, the marker's pixel would read frame t at (7, 4) and find nothing.
    clip, motion = moving_marker()
    returned = backward_warp(clip.frames[:, 0], motion.forward_flow[:, 0])
    assert where(returned[:, :1] * motion.forward_visible[:, 0]) == [(3, 4)]


def test_exact_motion_explains_the_clip_and_swapped_motion_does_not() -> None:
    # Were the loss to read flows or masks by the other name, the exact motion would not explain it.
    clip, motion = moving_marker()
    assert reconstruction_loss(clip.first_frame, clip.frames, motion) < 1e-6
    flows, masks = (
        (motion.forward_flow, motion.backward_flow),
        (motion.forward_visible, motion.backward_visible),
    )
    for swapped in (Motion(*flows[::-1], *masks), Motion(*flows, *masks[::-1])):
        assert reconstruction_loss(clip.first_frame, clip.frames, swapped) > 0.01


def test_masks_say_where_something_is_visible() -> None:
    # Misread as "hidden", or each on the other's grid, every one of these four would be the other.
    _, motion = moving_marker()
    found = motion_from_flows(motion.forward_flow, motion.backward_flow)
    assert found.backward_visible[0, 0, 0, 4, 5] == 1  # the marker was there in the first frame
    assert found.forward_visible[0, 0, 0, 4, 3] == 1  # and is still there in the next
    assert found.backward_visible[0, 0, 0, 4, 3] == 0  # its old place appeared
    assert found.forward_visible[0, 0, 0, 4, 5] == 0  # its new place was covered
    assert found.forward_visible.mean() > 0.95


def test_carriers_put_forward_before_backward() -> None:
    # Built by position, a motion in the other order would be silently swapped.
    assert [field.name for field in fields(Motion)] == [
        *("forward_flow", "backward_flow", "forward_visible", "backward_visible"),
        *("camera_path", "inverse_depth", "source"),
    ]


def test_time_counts_generated_frames() -> None:
    # Were the first frame counted, a clip's motion would have one time less than its frames.
    clip, motion = moving_marker()
    assert clip.frames.shape[1] == motion.backward_flow.shape[1] == 1
    rendered = render_toycity(0, ToyCityConfig(height=32, width=64, num_frames=3))
    assert rendered.frames.shape[1] == rendered.motion.backward_flow.shape[1] == 3


def test_channel_order_of_a_picture_is_checked() -> None:
    # Channels last would be read as a picture three pixels wide.
    labels = torch.zeros(1, 4, 5).long()
    with pytest.raises(TypeCheckError):
        Clip(torch.zeros(1, 4, 5, 3), torch.zeros(1, 2, 3, 4, 5), labels)


# Label ids.


def test_background_comes_first_and_void_last() -> None:
    # Void as 255 or as 0 (both common in files) would shift every class or index past the table.
    assert CITYSCAPES.foreground_ids == tuple(range(11, 19))
    assert CITYSCAPES.void_id == 19 and CITYSCAPES.num_channels == 20


def test_ids_are_train_ids() -> None:
    # Raw Cityscapes ids would be: road 7, sky 23, person 24, car 26.
    names = {CITYSCAPES.names[i]: i for i in range(20)}
    assert [names[name] for name in ("road", "sky", "person", "car", "void")] == [0, 10, 11, 13, 19]


def test_one_hot_channel_is_the_id() -> None:
    # Reversed, or counted from 1, or with void in front, another plane would be lit.
    planes = one_hot(torch.tensor([[[0, 13, 19]]]), 20)
    assert planes.shape == (1, 20, 1, 3)
    assert planes[0, :, 0].argmax(0).tolist() == [0, 13, 19] and planes.sum() == 3


# Ego motion and mirroring.


def first_clip(is_wanted: Callable[[Clip], bool], *, start: int = 0) -> Clip:
    """The first small toy clip of a kind: its seed may change, what it shows may not."""
    config = ToyCityConfig(height=64, width=128, num_frames=2)
    clips = (render_toycity(seed, config) for seed in range(start, start + 200))
    return next(clip for clip in clips if is_wanted(clip))


def sky_of(clip: Clip) -> Float[Tensor, " pixels"]:
    """Rightward forward flow of the sky at the end: only turning moves what is far away."""
    return clip.motion.forward_flow[:, -1, 0][clip.label_map == 10]


def road_of(clip: Clip) -> Bool[Tensor, "1 height width"]:
    """Pixels of the first frame's road that stay visible."""
    return (clip.label_map == 0) & (clip.motion.forward_visible[:, -1, 0] == 1)


@cache
def turning_clip() -> Clip:
    """A clip whose camera turns under a visible sky."""

    def is_wanted(clip: Clip) -> bool:
        return clip.ego_motion[0, -1, 2].abs() > 0.005 and len(sky_of(clip)) > 200

    return first_clip(is_wanted, start=17)  # where one was found, to save rendering the others


@cache
def driving_clip() -> Clip:
    """A clip whose camera drives straight on, with road to its left and to its right."""

    def is_wanted(clip: Clip) -> bool:
        forward, _, yaw = clip.ego_motion[0, -1].tolist()
        sides = [half.sum() for half in road_of(clip).chunk(2, -1)]
        return forward > 1 and abs(yaw) < 1e-4 and min(sides) > 50

    return first_clip(is_wanted)


def test_positive_yaw_turns_right_so_the_distance_moves_left() -> None:
    # Were positive yaw to the left, the sky would move to the same side as it.
    yaw, sky = turning_clip().ego_motion[0, -1, 2], sky_of(turning_clip())
    assert yaw * sky.mean() < 0 and sky.mean().abs() > 0.5


def test_driving_forward_makes_the_scene_flow_outwards_and_downwards() -> None:
    # Were forward metres negative, or flow inverted, the road would flow up, towards the horizon.
    (dx, dy), road = driving_clip().motion.forward_flow[0, -1], road_of(driving_clip())[0]
    assert dy[road].mean() > 0.5
    assert dx[:, :64][road[:, :64]].mean() < 0 < dx[:, 64:][road[:, 64:]].mean()


def test_backward_flow_of_a_toy_clip_explains_its_frames() -> None:
    # Swapped or inverted flow explains a driving camera worse than standing still does.
    clip = driving_clip()
    visible = clip.motion.backward_visible
    still = clip.first_frame.unsqueeze(1).expand_as(clip.frames)

    def error(frames: Float[Tensor, "batch time 3 height width"]) -> float:
        return float(((frames - clip.frames).abs() * visible).sum() / visible.sum())

    right = error(warp_clip(clip.first_frame, clip.motion.backward_flow))
    assert right < 0.7 * error(still)
    assert right < 0.7 * error(warp_clip(clip.first_frame, -clip.motion.backward_flow))
    assert right < 0.7 * error(warp_clip(clip.first_frame, clip.motion.forward_flow))


def test_mirror_turns_dx_round_and_leaves_dy() -> None:
    # Flipped without the sign, every mirrored clip would teach flow that points the wrong way.
    flow = turning_clip().motion.forward_flow
    flipped = mirror(turning_clip()).motion.forward_flow
    torch.testing.assert_close(flipped[:, :, 0].flip(-1), -flow[:, :, 0])
    torch.testing.assert_close(flipped[:, :, 1].flip(-1), flow[:, :, 1])
    assert flow[:, :, 0].abs().mean() > 0.5 and flow[:, :, 1].abs().mean() > 0.1


def test_mirror_turns_rightward_and_yaw_round_and_leaves_forward() -> None:
    # With the sign on forward metres, a mirrored car would drive backwards.
    before, after = turning_clip().ego_motion, mirror(turning_clip()).ego_motion
    assert torch.equal(after, before * torch.tensor([1.0, -1.0, -1.0]))
    assert before[0, -1, 0] > 0.1 and before[0, -1, 2].abs() > 0.005


def test_warping_a_mirrored_clip_is_mirroring_the_warped_one() -> None:
    # Anything flipped but not turned round, or turned round but not flipped, breaks this.
    clip, flipped = turning_clip(), mirror(turning_clip())
    warped = warp_clip(clip.first_frame, clip.motion.backward_flow)
    again = warp_clip(flipped.first_frame, flipped.motion.backward_flow)
    torch.testing.assert_close(again.flip(-1), warped, rtol=0, atol=1e-4)
    assert (warped - clip.first_frame.unsqueeze(1)).abs().max() > 0.1
