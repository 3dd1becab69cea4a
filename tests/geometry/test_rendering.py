"""A moved scene: conventions, properties, and the toy city's exact truth."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seg2vid.data.toycity.clip import ToyCityClip, ToyCityConfig
from seg2vid.data.toycity.render import render_city
from seg2vid.data.toycity.world import build_city
from seg2vid.geometry import MovedScene, Scene, move_scene, scene_flow
from seg2vid.structures import Camera, ScenePaths
from seg2vid.warp import compose_flows, pixel_grid
from tests.geometry.street import CAMERA, HEIGHT, WIDTH, drive, move, street


def test_forward_motion_expands_from_the_optical_axis() -> None:
    flow = move(drive((2.0, 0.0, 0.0, 0.0))).motion.forward_flow[0, 0]
    assert (flow[1, 14:] > 0).all(), "the ground comes down"
    assert flow[0, 25, 40] > 0 > flow[0, 25, 20], "and goes to its side"
    assert flow[:, :10, 40:].abs().max() == 0, "the sky rests"


def test_driving_to_the_right_moves_the_scene_left() -> None:
    flow = move(drive((0.0, 0.5, 0.0, 0.0))).motion.forward_flow[0, 0]
    assert (flow[0, 20:] < 0).all() and flow[1].abs().max() < 1e-4


def test_turning_right_moves_everything_left_the_sky_too() -> None:
    motion = move(drive((0.0, 0.0, 0.1, 0.0))).motion
    assert (motion.forward_flow[0, 0, 0] < 0).all()
    middle = motion.forward_flow[0, 0, :, 13, 31]
    assert torch.allclose(middle, torch.tensor([-66.0 * torch.tensor(0.1).tan().item(), 0.0]))


def test_looking_up_moves_everything_down() -> None:
    flow = move(drive((0.0, 0.0, 0.0, 0.05))).motion.forward_flow[0, 0]
    assert (flow[1] > 0).all()


def test_a_point_straight_ahead_comes_nearer_by_what_was_driven() -> None:
    scene = move(drive((5.0, 0.0, 0.0, 0.0)))
    # The wall at 20 m is at 15 m now.
    assert torch.isclose(scene.inverse_depth[0, 0, 14, 5], torch.tensor(1 / 15))


def test_without_motion_nothing_moves_and_all_is_seen() -> None:
    scene = move(drive((0.0, 0.0, 0.0, 0.0)))
    depth, _ = street()
    motion = scene.motion
    assert motion.forward_flow.abs().max() < 1e-4 and motion.backward_flow.abs().max() < 1e-4
    assert motion.forward_visible.min() == 1 and motion.backward_visible.min() == 1
    assert torch.equal(scene.source.flatten(), torch.arange(HEIGHT * WIDTH))
    assert torch.allclose(scene.inverse_depth[:, 0], depth, atol=1e-6)


@given(st.floats(-1.0, 3.0), st.floats(-0.5, 0.5), st.floats(-0.1, 0.1), st.floats(-0.02, 0.02))
def test_there_and_back_returns_where_the_scene_is_seen(
    ahead: float, aside: float, yaw: float, pitch: float
) -> None:
    motion = move(drive((ahead, aside, yaw, pitch))).motion
    forward, backward = motion.forward_flow[:, 0], motion.backward_flow[:, 0]
    returned = compose_flows(forward, backward).norm(dim=1)
    seen = motion.backward_visible[:, 0, 0] > 0
    # The rest lies at edges, where bilinear reading mixes two surfaces.
    assert returned[seen].quantile(0.9) < 0.05


def test_two_drives_make_one() -> None:
    """Moving on from a moved scene is as good as having driven there at once."""
    _, surfaces = street()
    once = move(drive((2.0, 0.1, 0.05, 0.0)))
    # The second half, told in the axes of the camera in between.
    half = move(drive((1.0, 0.0, 0.05, 0.0)))
    sine, cosine = torch.tensor(0.05).sin().item(), torch.tensor(0.05).cos().item()
    rest = drive((cosine * 1.0 + sine * 0.1, -sine * 1.0 + cosine * 0.1, 0.0, 0.0))
    shown = half.source[:, 0]
    then = move_scene(
        Scene(
            half.inverse_depth[:, 0],
            torch.zeros_like(surfaces),
            surfaces.flatten(1).gather(1, shown.clamp(min=0).flatten(1)).view_as(surfaces),
            CAMERA,
            rest,
        )
    )
    joined = compose_flows(half.motion.backward_flow[:, 0], then.motion.backward_flow[:, 0])
    seen = (once.motion.backward_visible * then.motion.backward_visible)[0, 0, 0] > 0
    error = (joined - once.motion.backward_flow[:, 0]).norm(dim=1)[0]
    assert error[seen].quantile(0.9) < 0.05


def test_what_is_fixed_to_the_camera_stays_and_hides_what_is_behind() -> None:
    fixed = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    fixed[:, 28:] = True
    motion = move(drive((3.0, 0.0, 0.1, 0.0)), fixed=fixed).motion
    for flow in (motion.forward_flow, motion.backward_flow):
        assert flow[..., 28:, :].abs().max() == 0
    assert motion.backward_visible[..., 28:, :].min() == 1
    assert motion.forward_visible[0, 0, 0, 26, 31] == 0, "the ground slides under the bonnet"


def test_a_residual_comes_on_top_there_and_back() -> None:
    paths = drive((1.0, 0.0, 0.05, 0.0))
    aside = torch.tensor([1.5, -0.5]).view(1, 1, 2, 1, 1).expand(1, 1, 2, HEIGHT, WIDTH)
    plain, moved = move(paths).motion, move(paths, residual=aside).motion
    assert torch.allclose(moved.forward_flow - plain.forward_flow, aside, atol=1e-4)
    grid = pixel_grid(HEIGHT, WIDTH, like=aside)
    there = grid[:, 20, 40] + moved.forward_flow[0, 0, :, 20, 40]
    x, y = there.round().long().tolist()
    back = there.round() + moved.backward_flow[0, 0, :, y, x]
    assert (back - grid[:, 20, 40]).abs().max() < 0.6


def test_times_of_a_path_do_not_depend_on_each_other() -> None:
    poses = ((1.0, 0.0, 0.0, 0.0), (2.0, 0.1, 0.05, 0.01), (3.0, 0.2, 0.1, 0.0))
    together = move(drive(*poses))
    for time, pose in enumerate(poses):
        alone = move(drive(pose))
        assert torch.equal(alone.source[:, 0], together.source[:, time])


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    depth, surfaces = street()
    paths = [drive((1.0, 0.0, 0.0, 0.0)), drive((0.0, 0.0, 0.2, 0.0))]
    both = ScenePaths(
        torch.cat([one.camera for one in paths]), torch.zeros(2, 0, 1, 3), torch.zeros(2, 0, 2)
    )
    camera = CAMERA.map(lambda tensor: tensor.repeat(2, *[1] * (tensor.ndim - 1)))
    pair = surfaces.repeat(2, 1, 1)
    scene = move_scene(Scene(depth.repeat(2, 1, 1), torch.zeros_like(pair), pair, camera, both))
    for index, one in enumerate(paths):
        assert torch.equal(scene.source[index], move(one).source[0])


def test_flow_is_differentiable_in_depth_camera_and_path() -> None:
    depth, surfaces = street()
    depth.requires_grad_(True)
    camera = CAMERA.map(lambda tensor: tensor.clone().requires_grad_(True))
    pose = torch.tensor([[[2.0, 0.1, 0.05, 0.01]]], requires_grad=True)
    paths = replace(drive((0.0, 0.0, 0.0, 0.0)), camera=pose)
    motion = move_scene(Scene(depth, torch.zeros_like(surfaces), surfaces, camera, paths)).motion
    for flow in (motion.forward_flow, motion.backward_flow):
        found = torch.autograd.grad(
            flow.square().mean(),
            (depth, camera.focal_length, camera.centre, pose),
            retain_graph=True,
        )
        assert all(bool(one.isfinite().all()) and bool(one.abs().max() > 0) for one in found)


@cache
def city_truth(seed: int) -> tuple[ToyCityClip, MovedScene]:
    """A clip and the same scene moved by exact depth and camera, all objects at rest."""
    config = ToyCityConfig(num_frames=8)
    city = build_city(seed, config)
    clip, ego = render_city(city, seed, config), city.camera
    camera = Camera(
        torch.tensor([ego.focal]).float(), torch.tensor([[ego.centre_x, ego.centre_y]]).float()
    )
    pose = torch.from_numpy(clip.ego_motion).unsqueeze(0)
    labels = torch.from_numpy(clip.label_maps[:1]).long()
    surfaces = labels * 100_000 + torch.from_numpy(clip.instance_maps[:1].astype("int64"))
    scene = Scene(
        1 / torch.from_numpy(clip.depth[:1]),
        torch.zeros_like(labels),
        surfaces,
        camera,
        ScenePaths(
            torch.nn.functional.pad(pose, (0, 1)), torch.zeros(1, 0, 8, 3), torch.zeros(1, 0, 2)
        ),
        torch.from_numpy(ego.bonnet).unsqueeze(0),
    )
    moved = move_scene(scene)
    assert torch.equal(scene_flow(scene), moved.motion.forward_flow)
    return clip, moved


@pytest.mark.parametrize("seed", [900200, 5])
def test_what_rests_moves_as_in_the_toy_city(seed: int) -> None:
    clip, moved = city_truth(seed)
    things = 11  # ids from here on are people and vehicles
    for grid, flow, visible, exact in (
        (clip.label_maps[:1], moved.motion.forward_flow, clip.forward_visible, clip.forward_flow),
        (
            clip.label_maps[1:],
            moved.motion.backward_flow,
            clip.backward_visible,
            clip.backward_flow,
        ),
    ):
        shown = visible & (grid < things)
        if flow is moved.motion.backward_flow:
            shown &= moved.motion.backward_visible[0, :, 0].numpy() > 0
        error = (flow[0] - torch.from_numpy(exact)).norm(dim=1)[torch.from_numpy(shown)]
        assert error.median() < 1e-3
        assert error[::7].quantile(0.9) < 0.01


@pytest.mark.parametrize("seed", [900200, 5])
def test_hidden_pixels_are_those_of_the_toy_city(seed: int) -> None:
    clip, moved = city_truth(seed)
    exact = torch.from_numpy(clip.backward_visible)
    shown = moved.motion.backward_visible[0, :, 0] > 0
    rests = torch.from_numpy(clip.label_maps[1:] < 11)
    hidden, found = ~exact & rests, ~shown & rests
    both = (hidden & found).sum()
    assert 2 * both / (hidden.sum() + found.sum()) > 0.65
    assert (found & exact).float().mean() < 0.01, "no cracks in what is visible"
