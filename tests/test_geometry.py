"""Geometry: the camera's conventions, planes moved exactly, and the toy city's exact truth."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seg2vid import geometry
from seg2vid.data.clips import render_toycity
from seg2vid.data.toycity.clip import ToyCityClip, ToyCityConfig
from seg2vid.data.toycity.render import render_city
from seg2vid.data.toycity.world import build_city
from seg2vid.geometry import (
    MovedScene,
    Scene,
    fit_objects,
    move_scene,
    place_points,
    project,
    rays_of,
    scene_flow,
)
from seg2vid.structures import Camera, ScenePaths
from seg2vid.warp import compose_flows, pixel_grid

HEIGHT, WIDTH = 32, 64
CAMERA = Camera(torch.tensor([66.0]), torch.tensor([[31.0, 13.0]]))
GROUND = 1.4
"""Metres from the camera down to the ground."""


def drive(*poses: tuple[float, float, float, float]) -> ScenePaths:
    """The camera's poses (forward, rightward, yaw, pitch), and no objects."""
    return ScenePaths(
        torch.tensor(poses).unsqueeze(0), torch.zeros(1, 0, len(poses), 3), torch.zeros(1, 0, 2)
    )


def street() -> tuple[Tensor, Tensor]:
    """Inverse depth and surfaces of a ground plane, a wall at 20 m on the left, and sky."""
    rays = rays_of(CAMERA, HEIGHT, WIDTH).view(3, HEIGHT, WIDTH)
    ground = (rays[1] / GROUND).clamp(min=0)
    is_wall = (rays[0] < -0.1) & (rays[1] > -0.15) & (ground < 1 / 20)
    depth = torch.where(is_wall, 1 / 20, ground)
    surfaces = torch.where(is_wall, 2, (ground > 0).long())
    return depth.unsqueeze(0), surfaces.unsqueeze(0)


def move(paths: ScenePaths, **changes: Tensor) -> MovedScene:
    """Move the street; nothing in it is an object unless ``rows`` says so."""
    depth, surfaces = street()
    given = {"rows": torch.zeros_like(surfaces), "camera": CAMERA, "paths": paths} | changes
    return move_scene(Scene(depth, surfaces=surfaces, **given))


# Conventions.


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


def test_an_object_moves_in_the_axes_of_the_first_camera_and_turns_about_its_pivot() -> None:
    paths = ScenePaths(
        torch.zeros(1, 1, 4), torch.tensor([[[[2.0, 1.0, 0.3]]]]), torch.tensor([[[20.0, -4.0]]])
    )
    rigid = geometry.rigid_motion(paths)
    cosine, sine, right, ahead = (
        part[0, 1, 0] for part in (rigid.cosine, rigid.sine, rigid.rightward, rigid.forward)
    )
    x, z = -4.0, 20.0
    assert torch.isclose(cosine * x + sine * z + right, torch.tensor(-3.0))
    assert torch.isclose(cosine * z - sine * x + ahead, torch.tensor(22.0))
    # What lay a metre before the pivot lies to the right of where it would, after a right turn.
    x, z = -4.0, 21.0
    moved_x = cosine * x + sine * z + right
    assert moved_x > -3.0


# Properties.


def test_projecting_points_of_any_depth_returns_every_pixel() -> None:
    depth = torch.rand(1, HEIGHT, WIDTH) + 0.01
    place = project(rays_of(CAMERA, HEIGHT, WIDTH) / depth.view(1, 1, -1), CAMERA)
    assert torch.allclose(
        place, geometry.pixel_grid(HEIGHT, WIDTH, like=depth).view(1, 2, -1), atol=1e-4
    )


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
    grid = geometry.pixel_grid(HEIGHT, WIDTH, like=aside)
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


# Against a slow reference: every pixel tries every surface.


@pytest.mark.parametrize(
    "pose", [(2.0, 0.3, 0.1, 0.0), (-1.0, 0.0, -0.2, 0.02), (5.0, 0.0, 0.0, 0.0)]
)
def test_sources_are_those_of_a_search_through_all(pose: tuple[float, ...]) -> None:
    depth, surfaces = street()
    rows = torch.zeros_like(surfaces)
    paths = drive(pose)
    scene = move_scene(Scene(depth, rows, surfaces, CAMERA, paths))
    planes = geometry.surface_planes(depth, surfaces, CAMERA)
    whole = geometry._lay_out(Scene(depth, rows, surfaces, CAMERA, paths))
    moments, count = whole.moments(0, slice(0, 1), planes, (HEIGHT, WIDTH)), HEIGHT * WIDTH
    every = torch.arange(count).repeat_interleave(count)
    landed, distance = moments.land(moments.rays.repeat(1, count), every)
    off = landed - moments.grid.repeat_interleave(count, 1)
    inside = (off.abs().amax(0) <= geometry.FOOTPRINT).view(count, count)
    nearest = torch.where(inside, distance.view(count, count), -1.0).max(0)
    expected_seen = nearest.values >= 0
    seen = scene.source.flatten() >= 0
    assert (seen == expected_seen).float().mean() > 0.995
    both = seen & expected_seen
    found = scene.inverse_depth.flatten()
    assert (found - nearest.values)[both].abs().quantile(0.995) < 1e-4


# Against the toy city.


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


# Ways that explain a clip.


def ways_of(paths: ScenePaths, rows: Tensor) -> Tensor:
    """The way of the camera and of each pixel's object: row 0 stands."""
    own = torch.nn.functional.pad(paths.objects[0], (0, 0, 0, 0, 1, 0))[rows.flatten()]
    return torch.cat((paths.camera[0].expand(len(own), -1, -1), own), -1)


def test_points_go_where_the_scene_goes() -> None:
    depth, surfaces = street()
    rows = torch.zeros_like(surfaces)
    rows[:, 20:30, 10:25] = 1
    paths = ScenePaths(
        torch.tensor([[[0.5, 0.1, 0.05, 0.02], [1.5, 0.2, -0.1, 0.0]]]),
        torch.tensor([[[[0.3, -0.2, 0.1], [0.9, 0.4, -0.2]]]]),
        torch.tensor([[[8.0, -2.0]]]),
    )
    flow = scene_flow(Scene(depth, rows, surfaces, CAMERA, paths))[0]
    points = torch.cat((rays_of(CAMERA, HEIGHT, WIDTH)[0], depth.view(1, -1)))
    pivots = torch.tensor([[0.0, 0.0], [8.0, -2.0]])[rows.flatten()]
    place, is_before = place_points(points, pivots, ways_of(paths, rows), CAMERA)
    grid = pixel_grid(HEIGHT, WIDTH, like=flow).flatten(1)
    assert is_before.all()
    torch.testing.assert_close(place.transpose(0, 1) - grid, flow.flatten(2), atol=1e-3, rtol=1e-4)


def test_the_paths_of_objects_are_found_in_their_flow() -> None:
    depth, surfaces = street()
    rows = torch.zeros_like(surfaces)
    rows[:, 20:30, 10:25], rows[:, 22:28, 40:52] = 1, 2
    ways = torch.tensor(
        [[[0.3, -0.2, 0.02], [0.9, 0.4, -0.04]], [[0.0, 0.0, 0.0], [-1.0, 0.2, 0.0]]]
    )
    pivots = torch.tensor([[[8.0, -2.0], [9.0, 1.0]]])
    camera = torch.tensor([[[0.5, 0.1, 0.05, 0.02], [1.5, 0.2, -0.1, 0.0]]])
    scene = Scene(depth, rows, surfaces, CAMERA, ScenePaths(camera, ways[None], pivots))
    flow, visible = scene_flow(scene), torch.ones(1, 2, 1, HEIGHT, WIDTH)
    still = replace(scene, paths=replace(scene.paths, objects=torch.zeros(1, 2, 2, 3)))
    found, seen = fit_objects(flow, visible, still)
    assert seen.all()
    torch.testing.assert_close(found[0, ..., :2], ways[..., :2], atol=0.05, rtol=0.05)
    # One that is hidden in the second frame goes on as it went.
    visible[0, 1, 0, 20:30, 10:25] = 0
    found, seen = fit_objects(flow, visible, still)
    assert seen[0].tolist() == [[True, False], [True, True]]
    torch.testing.assert_close(found[0, 0, 1], 2 * found[0, 0, 0])


@pytest.mark.parametrize("seed", [900_000, 900_007])
def test_the_flow_of_the_toy_citys_objects_follows_from_their_paths(seed: int) -> None:
    clip = render_toycity(seed, ToyCityConfig(num_frames=4))
    assert clip.instance_map is not None and clip.motion is not None
    assert clip.inverse_depth is not None and clip.camera is not None
    cars = [one for one in clip.instance_map.unique() if int(one) // 1000 == 26]
    rows = torch.zeros_like(clip.label_map)
    for number, one in enumerate(cars, 1):
        rows[clip.instance_map == one] = number
    depth = clip.inverse_depth
    where = [(rows[0] == number).nonzero()[0] for number in range(1, len(cars) + 1)]
    ahead = torch.stack([1 / depth[0][tuple(one)] for one in where])
    pivots = torch.stack((ahead, torch.zeros_like(ahead)), 1)[None]
    camera = torch.nn.functional.pad(clip.ego_motion, (0, 1))
    still = ScenePaths(camera, torch.zeros(1, len(cars), 4, 3), pivots)
    scene = Scene(depth, rows, rows, clip.camera, still)
    exact, visible = clip.motion.forward_flow, clip.motion.forward_visible
    ways, _ = fit_objects(exact, visible, scene)
    moving = replace(scene, paths=replace(still, objects=ways))
    shown = visible * (rows > 0)[:, None, None]
    errors = [
        float(((scene_flow(one) - exact).norm(dim=2, keepdim=True) * shown).sum() / shown.sum())
        for one in (scene, moving)
    ]
    assert errors[1] < 0.1 * errors[0]


# Points that are painted where nothing was seen, and finer grids.


def painted_scene(*poses: tuple[float, float, float, float]) -> tuple[Scene, MovedScene]:
    """The street at some poses, all in one scene."""
    depth, surfaces = street()
    scene = Scene(depth, torch.zeros_like(surfaces), surfaces, CAMERA, drive(*poses))
    return scene, move_scene(scene)


def test_points_are_where_they_were_lifted() -> None:
    scene, moved = painted_scene((3.0, 0.2, 0.1, 0.02))
    pixels = (moved.source[0, 0].flatten() < 0).nonzero().squeeze(1)
    assert len(pixels) > 100, "the turn uncovers a strip"
    found, offset = geometry.move_points(scene, geometry.lift_points(scene, moved, 0, pixels), 0)
    at = found.flatten()[pixels]
    # Two points of one place: the nearer is shown, both are in the right place.
    assert (at == torch.arange(len(pixels))).float().mean() > 0.99
    assert offset.flatten(1)[:, pixels].abs().max() < 0.01


@given(st.floats(-0.5, 2.0), st.floats(-0.3, 0.3), st.floats(-0.1, 0.1), st.floats(-0.02, 0.02))
def test_points_move_as_the_pixels_of_the_scene_do(
    ahead: float, aside: float, yaw: float, pitch: float
) -> None:
    """What is seen, too, may be lifted at one time and must be where it is seen at another."""
    scene, moved = painted_scene((1.0, 0.1, 0.02, 0.0), (ahead, aside, yaw, pitch))
    source, then = moved.source[0].flatten(1), moved.source[0, 1].flatten()
    pixels = (source[0] >= 0).nonzero().squeeze(1)[::7]
    points = geometry.lift_points(scene, moved, 0, pixels)
    found, _ = geometry.move_points(scene, points, 1)
    there = (found.flatten() >= 0) & (then >= 0)
    # The pixel of the first frame that a point was, beside the one that is shown there.
    own, shown = source[0, pixels[found.flatten()[there]]], then[there]
    step = torch.stack((own % WIDTH - shown % WIDTH, own // WIDTH - shown // WIDTH)).abs().amax(0)
    assert len(step) > 50 and step.float().quantile(0.9) <= 3


def test_a_finer_grid_moves_as_the_coarse_one_does() -> None:
    depth, surfaces = street()
    scene = Scene(depth, torch.zeros_like(surfaces), surfaces, CAMERA, drive((2.0, 0.1, 0.05, 0.0)))
    fine = surfaces.repeat_interleave(2, 1).repeat_interleave(2, 2)
    large = geometry.enlarge_scene(scene, torch.zeros_like(fine), fine)
    flow = torch.nn.functional.avg_pool2d(scene_flow(large)[0], 2) / 2
    error = (flow - scene_flow(scene)[0]).norm(dim=1)[0]
    assert error.median() < 0.02 and error[:, 4:-4].quantile(0.95) < 0.2
    assert large.inverse_depth.max() < 1.05 * depth.max(), "nothing overshoots"


def test_a_finer_grid_has_the_edges_of_its_own_labels() -> None:
    depth, surfaces = street()
    fine = surfaces.repeat_interleave(2, 1).repeat_interleave(2, 2)
    # The wall is half a pixel of the coarse grid wider.
    wall = (fine == 2).roll(1, 2) | (fine == 2)
    fine = torch.where(wall, 2, fine)
    scene = Scene(depth, torch.zeros_like(surfaces), surfaces, CAMERA, drive((1.0, 0, 0, 0)))
    large = geometry.enlarge_scene(scene, torch.zeros_like(fine), fine)
    assert torch.allclose(large.inverse_depth[wall], torch.tensor(1 / 20), rtol=0.02)
