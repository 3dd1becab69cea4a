"""Against a slow reference: every pixel tries every surface."""

import pytest
import torch

from seg2vid.geometry import Scene, move_scene
from seg2vid.geometry.moments import FOOTPRINT, lay_out
from seg2vid.geometry.scene import surface_planes
from tests.geometry.street import CAMERA, HEIGHT, WIDTH, drive, street


@pytest.mark.parametrize(
    "pose", [(2.0, 0.3, 0.1, 0.0), (-1.0, 0.0, -0.2, 0.02), (5.0, 0.0, 0.0, 0.0)]
)
def test_sources_are_those_of_a_search_through_all(pose: tuple[float, ...]) -> None:
    depth, surfaces = street()
    rows = torch.zeros_like(surfaces)
    paths = drive(pose)
    scene = move_scene(Scene(depth, rows, surfaces, CAMERA, paths))
    planes = surface_planes(depth, surfaces, CAMERA)
    whole = lay_out(Scene(depth, rows, surfaces, CAMERA, paths))
    moments, count = whole.moments(0, slice(0, 1), planes, (HEIGHT, WIDTH)), HEIGHT * WIDTH
    every = torch.arange(count).repeat_interleave(count)
    landed, distance = moments.land(moments.rays.repeat(1, count), every)
    off = landed - moments.grid.repeat_interleave(count, 1)
    inside = (off.abs().amax(0) <= FOOTPRINT).view(count, count)
    nearest = torch.where(inside, distance.view(count, count), -1.0).max(0)
    expected_seen = nearest.values >= 0
    seen = scene.source.flatten() >= 0
    assert (seen == expected_seen).float().mean() > 0.995
    both = seen & expected_seen
    found = scene.inverse_depth.flatten()
    assert (found - nearest.values)[both].abs().quantile(0.995) < 1e-4
