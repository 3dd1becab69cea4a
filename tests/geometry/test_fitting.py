"""Ways that explain a clip."""

from dataclasses import replace

import pytest
import torch

from seg2vid.data.clips import render_toycity
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.geometry import Scene, fit_objects, scene_flow
from seg2vid.structures import ScenePaths
from tests.geometry.street import CAMERA, HEIGHT, WIDTH, street


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
