"""Rows of cars that nobody told apart: cut where one ends, and no single car is."""

from itertools import pairwise

import torch

from seg2vid.models.depth import Depth
from seg2vid.models.layers import MAX_OBJECTS, OBJECT_FACTOR, find_objects
from seg2vid.models.parting import mend_outlines, part_objects, tell_apart
from seg2vid.models.traffic import LANE
from tests.models.test_objects import (
    CAMERA,
    CAR,
    FOREGROUND,
    HEIGHT,
    WIDTH,
    beside_the_road,
    cells_of,
)

UNCUT, CUT = torch.zeros(1, MAX_OBJECTS + 1), torch.full((1, MAX_OBJECTS + 1), 5.0)


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
