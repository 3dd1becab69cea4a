"""Points: placed with the scene, lifted and moved."""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seg2vid.geometry import (
    MovedScene,
    Points,
    Scene,
    lift_points,
    move_points,
    move_scene,
    place_points,
    rays_of,
    scene_flow,
)
from seg2vid.structures import ScenePaths
from seg2vid.warp import pixel_grid
from tests.geometry.street import CAMERA, HEIGHT, WIDTH, drive, street


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


def painted_scene(*poses: tuple[float, float, float, float]) -> tuple[Scene, MovedScene]:
    """The street at some poses, all in one scene."""
    depth, surfaces = street()
    scene = Scene(depth, torch.zeros_like(surfaces), surfaces, CAMERA, drive(*poses))
    return scene, move_scene(scene)


def test_points_are_where_they_were_lifted() -> None:
    scene, moved = painted_scene((3.0, 0.2, 0.1, 0.02))
    pixels = (moved.source[0, 0].flatten() < 0).nonzero().squeeze(1)
    assert len(pixels) > 100, "the turn uncovers a strip"
    found, offset = move_points(scene, lift_points(scene, moved, 0, pixels), 0)
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
    points = lift_points(scene, moved, 0, pixels)
    found, _ = move_points(scene, points, 1)
    there = (found.flatten() >= 0) & (then >= 0)
    # The pixel of the first frame that a point was, beside the one that is shown there.
    own, shown = source[0, pixels[found.flatten()[there]]], then[there]
    step = torch.stack((own % WIDTH - shown % WIDTH, own // WIDTH - shown // WIDTH)).abs().amax(0)
    assert len(step) > 50 and step.float().quantile(0.9) <= 3


def test_points_that_have_come_near_leave_no_gaps() -> None:
    """A painted patch at 10 m, seen from 8 m nearer: each point covers five pixels squared."""
    scene, moved = painted_scene((0.0, 0.0, 0.0, 0.0), (8.0, 0.0, 0.0, 0.0))
    scene = replace(scene, inverse_depth=torch.full_like(scene.inverse_depth, 0.1))
    moved = move_scene(scene)
    patch = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    patch[11:16, 29:34] = True
    points = lift_points(scene, moved, 0, patch.flatten().nonzero().squeeze(1))
    found, offset = move_points(scene, points, 1)
    x, y = pixel_grid(HEIGHT, WIDTH, like=offset)
    x, y = (x - 31).abs() / 5, (y - 13).abs() / 5
    assert (found[(x < 2.4) & (y < 2.4)] >= 0).all()
    assert (found[(x > 2.9) | (y > 2.9)] < 0).all()
    assert offset.movedim(0, -1)[found >= 0].abs().max() < 0.9


def test_nothing_farther_shows_between_points_that_have_come_near() -> None:
    """A patch at 10 m, then another at 40 m behind all of it, seen from 8 m nearer."""
    scene, _ = painted_scene((0.0, 0.0, 0.0, 0.0), (8.0, 0.0, 0.0, 0.0))
    patch = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    patch[11:16, 29:34] = True
    layers = []
    for distance, painted in ((10.0, patch), (40.0, torch.ones_like(patch))):
        flat = replace(scene, inverse_depth=torch.full_like(scene.inverse_depth, 1 / distance))
        pixels = painted.flatten().nonzero().squeeze(1)
        layers.append(lift_points(flat, move_scene(flat), 0, pixels))
    points = Points(
        torch.cat([one.place for one in layers], 1), torch.cat([one.rows for one in layers])
    )
    found, _ = move_points(scene, points, 1)
    x, y = pixel_grid(HEIGHT, WIDTH, like=scene.inverse_depth)
    before = ((x - 31).abs() < 12) & ((y - 13).abs() < 12)
    assert (found[before] < 25).all(), "the near patch"
    assert (found[((x - 31).abs() > 15) & ((x - 31).abs() < 20)] >= 25).all(), "the far one"
