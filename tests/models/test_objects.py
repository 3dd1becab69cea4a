"""Objects in a scene: parts of long ones told apart, all held together."""

from itertools import pairwise

import torch
from torch import Tensor

from seg2vid.geometry import Scene
from seg2vid.models.depth import Depth
from seg2vid.models.layers import MAX_OBJECTS, OBJECT_FACTOR, enlarge_labels, find_objects
from seg2vid.models.objects import (
    add_shadows,
    hold_together,
    mend_outlines,
    part_objects,
    rows_of,
    seat_riders,
    seats_of,
    tell_apart,
)
from seg2vid.models.traffic import LANE
from seg2vid.structures import Camera, ScenePaths

HEIGHT, WIDTH = 64, 128
FOREGROUND = (11, 12, 13, 15, 18)
_, RIDER, CAR, BUS, BICYCLE = FOREGROUND
UNCUT, CUT = torch.zeros(1, MAX_OBJECTS + 1), torch.full((1, MAX_OBJECTS + 1), 5.0)
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


def test_parked_cars_of_both_sides_are_two_objects() -> None:
    """One area of cars from the left border over the far end to the right one; a single one."""
    objects = torch.zeros(1, HEIGHT // OBJECT_FACTOR, WIDTH // OBJECT_FACTOR, dtype=torch.long)
    objects[:, 4:6] = 1
    objects[:, 2, 3] = 2
    depth = Depth(beside_the_road(metres=3.0), CAMERA)
    parted = part_objects(objects, cells_of(objects), depth, UNCUT)
    left, right = parted[0, 4, 0], parted[0, 4, -1]
    assert {int(left), int(right)} == {1, 3} and parted[0, 2, 3] == 2
    assert (parted[0, 4:6, :7] == left).all() and (parted[0, 4:6, 9:] == right).all()
    assert torch.equal(parted > 0, objects > 0)
    assert objects[0, 4, 0] == objects[0, 4, -1] == 1, "what was given stays"


def test_a_car_half_in_the_lane_is_one() -> None:
    """Nine metres ahead, its side receding, and joined with one far ahead: that one is another."""
    objects = torch.zeros(1, HEIGHT // OBJECT_FACTOR, WIDTH // OBJECT_FACTOR, dtype=torch.long)
    objects[:, 4:6, 8:13] = 1
    ahead = torch.tensor([30.0, 13.0, 11.0, 10.0, 9.5]).repeat_interleave(OBJECT_FACTOR)
    depth = torch.full((1, HEIGHT, WIDTH), 1 / 60)
    depth[..., 64:104] = 1 / ahead
    across = (torch.arange(64, 104) - 63.5) / 130 * ahead
    assert across[8:16].max() < LANE < across[24:].min(), "on both sides of the border"
    parted = part_objects(objects, cells_of(objects), Depth(depth, CAMERA), UNCUT)[0, 4, 8:13]
    assert (parted[1:] == parted[1]).all() and parted[0] != parted[1]


def test_what_stands_across_stays_one() -> None:
    """A bus that crosses, as far at one end as at the other, and a car in the lane."""
    objects = torch.zeros(1, HEIGHT // OBJECT_FACTOR, WIDTH // OBJECT_FACTOR, dtype=torch.long)
    objects[:, 4:6, 2:14], objects[:, 6, 7:9] = 1, 2
    depth = Depth(torch.full((1, HEIGHT, WIDTH), 1 / 9), CAMERA)
    assert torch.equal(part_objects(objects, cells_of(objects), depth, UNCUT), objects)


def test_where_no_number_is_left_an_object_stays_whole() -> None:
    objects = torch.zeros(1, HEIGHT // OBJECT_FACTOR, WIDTH // OBJECT_FACTOR, dtype=torch.long)
    objects[:, 4:6], objects[:, 2, 3] = 1, MAX_OBJECTS
    depth = Depth(beside_the_road(metres=3.0), CAMERA)
    assert torch.equal(part_objects(objects, cells_of(objects), depth, UNCUT), objects)


def test_a_row_is_cut_into_things_of_a_length() -> None:
    """Parked cars on the right, 7 to 60 m away; nothing of the other side or of another object."""
    objects = torch.zeros(1, HEIGHT // OBJECT_FACTOR, WIDTH // OBJECT_FACTOR, dtype=torch.long)
    objects[:, 3:6, 9:], objects[:, 4, 2] = 1, 2
    depth = Depth(beside_the_road(metres=3.0), CAMERA)
    rows, ahead = cells_of(objects), 1 / depth.inverse_depth
    parted = part_objects(objects, rows, depth, CUT)
    assert torch.equal(parted[objects != 1], objects[objects != 1])
    numbers = parted[objects == 1].unique().tolist()
    assert len(numbers) > 3 and 1 in numbers and 2 not in numbers
    assert (parted[0, 3:6, 9:] == parted[0, 3, 9:]).all(), "upright"
    spans = [ahead[0, 30][cells_of(parted)[0, 30] == number] for number in numbers]
    in_order = sorted(spans, key=lambda span: float(span.min()))
    for near, far in pairwise(in_order):
        assert near.max() <= far.min(), "one after the other"
    # A column of cells reaches farther than it is on average.
    assert all(float(span.mean() - span.min()) < 5 for span in in_order[:-1])
    assert torch.equal(part_objects(objects, rows, depth, UNCUT), objects), "no class that is cut"


def test_what_stands_in_a_row_goes_together() -> None:
    """Cars of both sides, in one area: cut, and yet two that move. A car of its own is its own."""
    label_map = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.long)
    label_map[:, 24:48], label_map[:, :16, 60:68] = CAR, CAR
    objects = find_objects(label_map, None, foreground=FOREGROUND, factor=OBJECT_FACTOR)
    depth = Depth(beside_the_road(metres=3.0), CAMERA)
    spacings = tuple(5.0 if kind == CAR else 0.0 for kind in range(20))
    parted, rows, companions = tell_apart(objects, label_map, depth, FOREGROUND, spacings)
    single = int(objects[0, 0, 8])
    assert parted[0, 0, 8] == single and companions[0, single - 1] == single - 1
    assert torch.equal(parted > 0, objects > 0) and torch.equal(rows > 0, label_map > 0)
    go_with = companions[0, parted[0, 4].unique() - 1]
    left, right = (companions[0, parted[0, 4, columns] - 1] for columns in (slice(7), slice(9, 16)))
    assert len(parted[0, 4].unique()) > 6 and len(go_with.unique()) == 2
    assert (left == left[0]).all() and (right == right[0]).all() and left[0] != right[0]
    assert (companions[0, go_with] == go_with).all(), "what others go with goes by itself"
    whole = tell_apart(objects, label_map, depth, FOREGROUND, (0.0,) * 20)
    assert len(whole[0].unique()) == 4, "ground, one car, two rows"
    assert torch.equal(whole[2][0], torch.arange(MAX_OBJECTS))


def test_what_no_number_is_left_for_goes_with_what_is_as_far() -> None:
    objects = torch.zeros(1, HEIGHT // OBJECT_FACTOR, WIDTH // OBJECT_FACTOR, dtype=torch.long)
    objects[:, 3:6, 9:], objects[:, 0, 0] = 1, MAX_OBJECTS - 1
    depth = Depth(beside_the_road(metres=3.0), CAMERA)
    parted = part_objects(objects, cells_of(objects), depth, CUT)[0, 4, 9:]
    assert set(parted.tolist()) == {1, MAX_OBJECTS}, "a single one is left"
    assert (parted != parted[0]).int().diff().abs().sum() == 1, "the near ones and the far ones"


def test_pixels_go_with_the_part_that_is_as_far() -> None:
    """Cells end three pixels before the nearer car does; what was another object is none of it."""
    objects = torch.zeros(1, HEIGHT // OBJECT_FACTOR, WIDTH // OBJECT_FACTOR, dtype=torch.long)
    objects[:, 2:5, 2:8] = 1
    whole, parted = objects.clone(), objects.clone()
    parted[:, 2:5, 5:8] = 3
    whole[:, 2:5, 8:10] = parted[:, 2:5, 8:10] = 2
    depth = torch.full((1, HEIGHT, WIDTH), 1 / 20)
    depth[..., :43] = 1 / 10
    depth[:, 20, 64:66] = 1 / 20
    rows = cells_of(parted)
    mended = mend_outlines(rows, parted, whole, depth)
    assert (mended[:, 16:40, 16:43] == 1).all() and (mended[:, 16:40, 43:64] == 3).all()
    assert torch.equal(mended[..., 64:], rows[..., 64:]), "as far, but another object"
    assert torch.equal(mended[rows == 0], rows[rows == 0])
    little = torch.where(depth == 1 / 10, 1 / 19.5, 1 / 20)
    assert torch.equal(mend_outlines(rows, parted, whole, little), rows), "a little is no reason"


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
