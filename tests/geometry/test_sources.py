"""Against a slow reference: every pixel tries every surface."""

import pytest
import torch

from seg2vid.geometry import Scene, move_scene
from seg2vid.geometry.moments import lay_out
from seg2vid.geometry.scene import surface_planes
from seg2vid.structures import ScenePaths
from seg2vid.warp import pixel_grid, warp_labels
from tests.geometry.street import CAMERA, GROUND, HEIGHT, WIDTH, drive, street


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
    fits, _ = moments.judge((landed, distance), torch.arange(count).repeat_interleave(count))
    inside = (fits >= 0).view(count, count)
    nearest = torch.where(inside, distance.view(count, count), -1.0).max(0)
    expected_seen = nearest.values >= 0
    seen = scene.source.flatten() >= 0
    assert (seen == expected_seen).float().mean() > 0.995
    both = seen & expected_seen
    found = scene.inverse_depth.flatten()
    assert (found - nearest.values)[both].abs().quantile(0.995) < 1e-4


def near_box(ahead: float) -> tuple[Scene, torch.Tensor]:
    """A small box at 8 m on an object's row, which has come ``ahead`` metres nearer."""
    depth, surfaces = street()
    depth[:, 10:15, 30:36], surfaces[:, 10:15, 30:36] = 1 / 8, 5
    rows = (surfaces == 5).long()
    paths = ScenePaths(
        torch.tensor([[[0.0, 0.0, 0.0, 0.0]]]),
        torch.tensor([[[[-ahead, 0.0, 0.0]]]]),
        torch.tensor([[[8.0, 0.0]]]),
    )
    return Scene(depth, rows, surfaces, CAMERA, paths), surfaces


@pytest.mark.parametrize("ahead", [3.0, 6.0, 6.9])
def test_what_has_come_near_is_whole(ahead: float) -> None:
    """Grown up to seven times, it covers its outline without a gap, and nothing beside it."""
    scene, surfaces = near_box(ahead)
    moved = move_scene(scene)
    source = moved.source[0, 0]
    is_box = (source >= 0) & (surfaces.flatten()[source.clamp(min=0)] == 5)
    growth = 8 / (8 - ahead)
    x, y = pixel_grid(HEIGHT, WIDTH, like=moved.inverse_depth)
    x, y = (x - 31) / growth + 31, (y - 13) / growth + 13
    # Corners are cut by less than a pixel of the first frame.
    inner = (x > 30) & (x < 35) & (y > 10) & (y < 14)
    outer = (x > 29.3) & (x < 35.7) & (y > 9.3) & (y < 14.7)
    assert is_box[inner].all()
    assert not is_box[~outer].any()


def test_labels_that_the_flow_reads_are_those_of_the_source() -> None:
    scene, surfaces = near_box(6.0)
    moved = move_scene(scene)
    read = warp_labels(surfaces, moved.motion.backward_flow[0])[0]
    source = moved.source[0, 0]
    shown = source >= 0
    assert torch.equal(read[shown], surfaces.flatten()[source[shown]])


@pytest.mark.parametrize("yaw", [0.3, -0.3])
def test_what_turns_into_view_is_hidden(yaw: float) -> None:
    """However rough the depth along the edge is, the first frame shows nothing beyond it."""
    depth, surfaces = street()
    rough = depth * (1 + 0.1 * torch.rand(depth.shape, generator=torch.Generator().manual_seed(0)))
    rows, paths = torch.zeros_like(surfaces), drive((1.0, 0.3, yaw, 0.0))
    motion = move_scene(Scene(rough, rows, surfaces, CAMERA, paths)).motion
    read = pixel_grid(HEIGHT, WIDTH, like=depth) + motion.backward_flow[0, 0]
    x, y = read[:, motion.backward_visible[0, 0, 0] > 0]
    assert len(x) > HEIGHT * WIDTH / 4
    assert x.min() > -1.5 and x.max() < WIDTH + 0.5
    assert y.min() > -1.5 and y.max() < HEIGHT + 0.5


@pytest.mark.parametrize(("ahead", "behind"), [(9.0, 21.5), (9.0, 22.0), (13.0, 21.0)])
def test_a_pole_hardly_before_what_is_behind_stays_whole(ahead: float, behind: float) -> None:
    """It is 20 m away, and its rows come apart."""
    depth = torch.full((1, HEIGHT, WIDTH), 1 / behind)
    surfaces = torch.ones(1, HEIGHT, WIDTH, dtype=torch.long)
    depth[..., 36], surfaces[..., 36] = 1 / 20, 5
    scene = Scene(depth, torch.zeros_like(surfaces), surfaces, CAMERA, drive((ahead, 0, 0, 0)))
    moved = move_scene(scene)
    source = moved.source[0, 0]
    assert (source >= 0).all()
    is_pole = surfaces.flatten()[source] == 5
    assert torch.equal(is_pole.all(0), is_pole.any(0)), "the same columns in every row"
    assert is_pole[0].any()


def test_a_side_that_recedes_is_whole_where_its_columns_have_come_apart() -> None:
    """The side of a parked car, from 5 to 12 m away, of which the camera passes half."""
    depth, surfaces = street()
    column = torch.arange(8)
    depth[:, 10:24, 20:28] = 1 / 5 - (1 / 5 - 1 / 12) * column / 7
    surfaces[:, 10:24, 20:28] = 5
    rows = (surfaces == 5).long()
    still = torch.zeros(1, 1, 1, 3)
    paths = ScenePaths(torch.tensor([[[4.5, 0.0, 0.0, 0.0]]]), still, torch.tensor([[[8.0, -2.0]]]))
    source = move_scene(Scene(depth, rows, surfaces, CAMERA, paths)).source[0, 0]
    is_side = (source >= 0) & (surfaces.flatten()[source.clamp(min=0)] == 5)
    last = is_side.long().mul(torch.arange(WIDTH)).amax(1)
    inner = (torch.arange(WIDTH) < last[:, None]) & is_side.any(1, keepdim=True)
    assert is_side[13].sum() > 20, "wider than it was"
    assert is_side[inner].all(), "to the picture's border without a gap"


def test_below_the_horizon_the_ground_lies_behind() -> None:
    """A box before sky and ground goes aside: what is farthest beside the hole is the sky."""
    depth, surfaces = street()
    depth[:, 8:18, 30:36], surfaces[:, 8:18, 30:36] = 1 / 8, 5
    rows = (surfaces == 5).long()
    aside = torch.tensor([[[[0.0, 2.0, 0.0]]]])
    paths = ScenePaths(torch.zeros(1, 1, 4), aside, torch.tensor([[[8.0, 0.0]]]))
    moved = move_scene(Scene(depth, rows, surfaces, CAMERA, paths))
    hole = moved.source[0, 0] < 0
    behind = surfaces.flatten()[moved.behind[0, 0]]
    assert hole[8:18, 31:35].all()
    assert (behind[14:18][hole[14:18]] == 1).all()
    assert (behind[8:13][hole[8:13]] == 0).all()
    # The ground goes on there as it does beside.
    torch.testing.assert_close(
        moved.inverse_depth[0, 0, 14:18, 32], street()[0][0, 14:18, 32], rtol=1e-3, atol=1e-5
    )


def test_the_skyline_goes_on_as_it_comes_up_to_a_hole() -> None:
    """Turned to the right, what is beyond the border is sky above a line, without steps."""
    depth, surfaces = street()
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    hill = y > 8 - (x - 40) // 6
    wall = hill & (depth[0] < 1 / 60)
    depth[0][wall], surfaces[0][wall] = 1 / 60, 3
    depth[0][~hill & (y < 13)], surfaces[0][~hill & (y < 13)] = 0.0, 0
    rows = torch.zeros_like(surfaces)
    moved = move_scene(Scene(depth, rows, surfaces, CAMERA, drive((0.0, 0.0, 0.3, 0.0))))
    hole = moved.source[0, 0] < 0
    assert hole[:13, 42:].all() and not hole[1:13, :42].any()
    skyline = (moved.inverse_depth[0, 0, :13] == 0).sum(0)
    assert skyline[41] == 7 and skyline[41:].diff().abs().max() <= 1, "no step"
    assert (skyline[42:] - 7).abs().max() <= 1, "it stays as high"


def test_the_nearest_ground_goes_on_in_a_hole() -> None:
    """What lies at the far end is as level as the road: under a box there is still the road."""
    depth, surfaces = street()
    bank = slice(14, 17)
    depth[:, bank] = torch.where(surfaces[:, bank] == 1, depth[:, bank] * GROUND / 3, 1 / 90)
    surfaces[:, bank] = 4
    depth[:, 17:24, 30:40], surfaces[:, 17:24, 30:40] = 1 / 8, 5
    rows = (surfaces == 5).long()
    aside = torch.tensor([[[[0.0, 2.0, 0.0]]]])
    paths = ScenePaths(torch.zeros(1, 1, 4), aside, torch.tensor([[[8.0, 0.5]]]))
    moved = move_scene(Scene(depth, rows, surfaces, CAMERA, paths))
    hole = moved.source[0, 0] < 0
    behind = surfaces.flatten()[moved.behind[0, 0]]
    assert hole[17:24, 30:40].all()
    assert (behind[17:24, [30, 31, 38, 39]] == 1).all(), "where the road beside is within reach"
    assert (behind[20:24, 30:40] == 1).all()
