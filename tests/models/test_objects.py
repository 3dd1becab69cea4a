"""Objects in a scene: each goes with its own, and is held together."""

import torch
from torch import Tensor

from seg2vid.geometry import Scene
from seg2vid.models.layers import MAX_OBJECTS, OBJECT_FACTOR, enlarge_labels, find_objects
from seg2vid.models.objects import (
    add_shadows,
    hold_together,
    rows_of,
    seat_riders,
    seats_of,
)
from seg2vid.structures import Camera, ScenePaths

HEIGHT, WIDTH = 64, 128
FOREGROUND = (11, 12, 13, 15, 18)
_, RIDER, CAR, BUS, BICYCLE = FOREGROUND
CAMERA = Camera(torch.tensor([130.0]), torch.tensor([[63.5, 27.0]]))


def cells_of(objects: Tensor) -> Tensor:
    return enlarge_labels(objects, OBJECT_FACTOR)


def test_a_pixel_goes_with_its_own_class_in_a_cell_beside() -> None:
    """A rider in front of a car shares cells with it; a lone bit of a bus has nobody to go with."""
    label_map = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.long)
    label_map[:, 16:40, 44:70] = CAR
    label_map[:, 16:40, 28:44] = RIDER
    label_map[:, 18, 60:62] = BUS
    objects = find_objects(label_map, None, foreground=FOREGROUND, factor=OBJECT_FACTOR)
    blocks = torch.where(label_map > 0, cells_of(objects), 0)
    rows = rows_of(objects, label_map, FOREGROUND)
    rider, car = rows[0, 20, 30], rows[0, 30, 56]
    assert blocks[0, 20, 42] == car != rider, "the cell's, by itself"
    assert (rows[label_map == RIDER] == rider).all()
    assert (rows[label_map == CAR] == car).all() and (blocks[label_map == CAR] != car).any()
    assert rows[0, 18, 60] == blocks[0, 18, 60] not in (0, car, rider)
    assert torch.equal(rows > 0, label_map > 0)
    background = torch.zeros_like(label_map)
    assert not rows_of(torch.zeros_like(objects), background, FOREGROUND).any()
    assert not rows_of(objects, label_map, ()).any()


def test_an_object_is_nearly_an_upright_plane() -> None:
    rows = torch.zeros(1, 6, 40, dtype=torch.long)
    rows[:, 2:, 4:] = 1
    plane = 0.1 + 0.0005 * torch.arange(40.0).expand(1, 6, 40)
    torch.manual_seed(0)
    depth = plane + 0.01 * torch.randn(1, 6, 40)
    depth[0, 2, 6], depth[0, 5, 20] = 1.0, 0.001
    held = hold_together(depth, rows)
    assert torch.equal(held[rows == 0], depth[rows == 0]), "the background keeps its own"
    inner = held[0, 2:, 4:]
    assert (inner.amax(0) / inner.amin(0)).max() < 1.03**2 + 1e-4, "nearly upright"
    torch.testing.assert_close(hold_together(plane, rows), plane, rtol=0.01, atol=0)
    assert (inner - plane[0, 2:, 4:]).abs().max() < 0.02


def test_the_ends_of_an_object_stay_near_its_middle() -> None:
    rows = torch.zeros(1, 6, 40, dtype=torch.long)
    rows[:, 2:, 4:] = 1
    depth = torch.full((1, 6, 40), 0.1)
    depth[..., 4], depth[..., 39] = 0.02, 0.19
    held = hold_together(depth, rows)[rows > 0]
    mean = held.mean()
    assert mean / 1.5 < held.min() < held.max() < mean * 1.5


def test_what_is_taller_than_wide_is_flat() -> None:
    rows = torch.zeros(1, 8, 4, dtype=torch.long)
    rows[:, 1:7, 1:3] = 1
    depth = torch.linspace(0.05, 0.15, 32).view(1, 8, 4)
    held = hold_together(depth, rows)
    assert (held[rows > 0] == held[0, 1, 1]).all()
    torch.testing.assert_close(held[0, 1, 1], depth[rows > 0].mean(), rtol=0.02, atol=0)
    assert torch.equal(held[rows == 0], depth[rows == 0])


def beside_the_road(*, metres: float) -> Tensor:
    """Inverse depth of what stands so far beside the camera's way on both sides, at 5 to 60 m."""
    across = (torch.arange(WIDTH) - 63.5).abs() / 130 / metres
    return across.clamp(1 / 60, 1 / 5).expand(1, HEIGHT, WIDTH).clone()


def test_a_row_of_parked_cars_recedes() -> None:
    """Each column keeps its distance, also far from the middle's; what flies off is held."""
    rows = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.long)
    rows[:, 28:44, 70:] = 1
    depth = beside_the_road(metres=3.0)
    stray = depth.clone()
    stray[0, 30, 100], stray[0, 40, 80] = 0.5, 0.001
    held = hold_together(stray, rows)
    inner = (rows > 0) & (torch.arange(WIDTH) < WIDTH - 4)
    # Means over columns beside are off where distance bends, at both ends.
    assert ((held / depth)[inner] - 1).abs().max() < 0.2
    assert ((held / depth)[inner] - 1).abs().median() < 0.01
    assert held[0, 36, 124] / held[0, 36, 72] > 4, "far more than the middle's 1.4 to either side"
    assert torch.equal(held[rows == 0], depth[rows == 0])


def a_rider_on_a_bicycle() -> tuple[Tensor, Tensor]:
    """Rows and labels: rider 2 on bicycle 5 and beside car 3, a rider 4 who touches nothing."""
    rows, label_map = (torch.zeros(2, HEIGHT, WIDTH, dtype=torch.long) for _ in range(2))
    for number, kind, lines, columns in (
        (5, BICYCLE, (30, 40), (40, 56)),
        (2, RIDER, (18, 30), (44, 52)),
        (3, CAR, (18, 30), (52, 80)),
        (4, RIDER, (18, 30), (100, 108)),
    ):
        rows[0, slice(*lines), slice(*columns)] = number
        label_map[0, slice(*lines), slice(*columns)] = kind
    return rows, label_map


def test_a_rider_goes_with_the_cycle_below() -> None:
    rows, label_map = a_rider_on_a_bicycle()
    companions = seats_of(rows, label_map, (RIDER,), (BICYCLE,))
    alone = torch.arange(MAX_OBJECTS)
    assert companions[0, 1] == 4, "counted from 0"
    assert torch.equal(torch.where(alone == 1, alone, companions[0]), alone), "nobody else"
    assert torch.equal(companions[1], alone)
    assert torch.equal(seats_of(rows, label_map, (), (BICYCLE,))[0], alone)
    # A pixel that touches by chance is no seat.
    rows[0, 30:], label_map[0, 30:] = 0, 0
    rows[0, 30, 44], label_map[0, 30, 44] = 5, BICYCLE
    assert torch.equal(seats_of(rows, label_map, (RIDER,), (BICYCLE,))[0], alone)


def test_a_rider_is_as_far_as_the_cycle() -> None:
    rows, label_map = a_rider_on_a_bicycle()
    depth = 0.05 + 0.1 * torch.rand(2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    companions = seats_of(rows, label_map, (RIDER,), (BICYCLE,))
    seated = seat_riders(depth, rows, companions)
    torch.testing.assert_close(seated[rows == 2].mean(), depth[rows == 5].mean())
    ratio = seated[rows == 2] / depth[rows == 2]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
    assert torch.equal(seated[rows != 2], depth[rows != 2])


def test_the_ground_before_a_foot_goes_with_the_object() -> None:
    """A metre of it, also below a body that stands on wheels; nothing behind what is no ground."""
    road, pavement, wall = 0, 1, 2
    row = torch.arange(HEIGHT).view(1, HEIGHT, 1).expand(1, HEIGHT, WIDTH)
    depth = ((row - 27) / 130 / 1.5).clamp(min=0)
    label_map = torch.where(row > 27, road, wall)
    label_map[..., 64:] = torch.where(row > 27, pavement, wall)[..., 64:]
    rows = torch.zeros_like(label_map)
    # A car at the distance of its foot, row 56, with a gap above the road between its wheels.
    rows[:, 34:56, 20:40], rows[:, 50:56, 26:34] = 1, 0
    label_map[rows == 1], depth = CAR, depth.masked_fill(rows == 1, 29 / 130 / 1.5)
    # Someone on the pavement, before whom something lies.
    rows[:, 34:48, 80:84] = 2
    label_map[rows == 2], depth = RIDER, depth.masked_fill(rows == 2, 21 / 130 / 1.5)
    label_map[:, 49, 80:84] = wall
    ways = torch.zeros(1, MAX_OBJECTS, 2, 3)
    ways[0, :2, 1, 0] = 4
    paths = ScenePaths(torch.zeros(1, 2, 4), ways, torch.zeros(1, MAX_OBJECTS, 2))
    scene = Scene(depth, rows, label_map, CAMERA, paths)
    shaded, raised = add_shadows(scene, label_map, (road, pavement))
    expected = rows.clone()
    away = 1.5 * 130 / (row - 27).clamp(min=1)
    near = (row >= 56) & (away[:, 56:57] - away < 1)
    expected[:, 50:, 26:34] = 1
    expected[:, 56:, 20:40] = 1
    expected[(row >= 56) & ~near] = 0
    expected[:, 48, 80:84] = 2
    assert torch.equal(shaded, expected)
    assert 56 + 3 < int(near[0, :, 0].nonzero().amax()) < 56 + 8, "some rows"
    is_shadow = expected != rows
    torch.testing.assert_close(raised[is_shadow], 1.03 * depth[is_shadow])
    assert torch.equal(raised[~is_shadow], depth[~is_shadow])
    assert torch.equal(add_shadows(scene, label_map, ())[0], rows)
    ways[0, 1, 1, 0] = 2.4
    stands = add_shadows(scene, label_map, (road, pavement))[0]
    assert torch.equal(stands, torch.where(is_shadow & (expected == 2), 0, expected)), "parked"
