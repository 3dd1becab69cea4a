"""The camera's conventions, and finer grids of a scene."""

import torch

from seg2vid.geometry import Scene, enlarge_scene, rays_of, scene_flow
from seg2vid.geometry.scene import project
from seg2vid.warp import pixel_grid
from tests.geometry.street import CAMERA, HEIGHT, WIDTH, drive, street


def test_projecting_points_of_any_depth_returns_every_pixel() -> None:
    depth = torch.rand(1, HEIGHT, WIDTH) + 0.01
    place = project(rays_of(CAMERA, HEIGHT, WIDTH) / depth.view(1, 1, -1), CAMERA)
    assert torch.allclose(place, pixel_grid(HEIGHT, WIDTH, like=depth).view(1, 2, -1), atol=1e-4)


def test_a_finer_grid_moves_as_the_coarse_one_does() -> None:
    depth, surfaces = street()
    scene = Scene(depth, torch.zeros_like(surfaces), surfaces, CAMERA, drive((2.0, 0.1, 0.05, 0.0)))
    fine = surfaces.repeat_interleave(2, 1).repeat_interleave(2, 2)
    large = enlarge_scene(scene, torch.zeros_like(fine), fine)
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
    large = enlarge_scene(scene, torch.zeros_like(fine), fine)
    assert torch.allclose(large.inverse_depth[wall], torch.tensor(1 / 20), rtol=0.02)


def test_the_sky_of_a_finer_grid_has_no_depth_beside_what_stands_before_it() -> None:
    depth, surfaces = street()
    fine = surfaces.repeat_interleave(2, 1).repeat_interleave(2, 2)
    scene = Scene(depth, torch.zeros_like(surfaces), surfaces, CAMERA, drive((1.0, 0, 0, 0)))
    large = enlarge_scene(scene, torch.zeros_like(fine), fine)
    assert (large.inverse_depth[fine == 0] == 0).all() and (large.inverse_depth[fine > 0] > 0).all()


def test_a_plane_is_the_same_plane_on_a_finer_grid() -> None:
    """B-splines reproduce what is linear, so between pixels it is known exactly."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="ij")
    depth = (0.1 + 0.002 * x + 0.003 * y).unsqueeze(0)
    rows = torch.zeros_like(depth, dtype=torch.long)
    scene = Scene(depth, rows, rows, CAMERA, drive((1.0, 0, 0, 0)))
    for factor in (2, 4):
        fine = rows.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        y, x = torch.meshgrid(torch.arange(32 * factor), torch.arange(64 * factor), indexing="ij")
        x, y = ((one + 0.5) / factor - 0.5 for one in (x, y))
        plane = 0.1 + 0.002 * x + 0.003 * y
        inner = (slice(2 * factor, -2 * factor),) * 2
        made = enlarge_scene(scene, fine, fine).inverse_depth[0]
        torch.testing.assert_close(made[inner], plane[inner], atol=1e-6, rtol=0)
