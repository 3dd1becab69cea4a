"""Blocks that several networks share: objects on the coarse grid, rows, labels, upsampling."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Int
from torch import Tensor

from seg2vid.labels.convert import one_hot
from seg2vid.models.layers import (
    MAX_OBJECTS,
    OBJECT_FACTOR,
    LabelEmbedding,
    ModulatedBlock,
    Modulation,
    ResidualBlock,
    coarse_labels,
    coordinates,
    count_rows,
    enlarge_labels,
    find_objects,
    join,
    pool_rows,
    spread_rows,
    upsample,
)

FOREGROUND = tuple(range(11, 19))
ROAD, PERSON, RIDER, CAR = 0, 11, 12, 13
CELL = OBJECT_FACTOR
seeds = st.integers(0, 2**31)


def objects_of(
    cells: list[str], *, instances: Int[Tensor, "1 height width"] | None = None
) -> list[list[int]]:
    """Objects of a street drawn in cells: ``.`` road, ``p`` person, ``r`` rider, ``c`` car."""
    ids = [[{".": ROAD, "p": PERSON, "r": RIDER, "c": CAR}[c] for c in row] for row in cells]
    label_map = enlarge_labels(torch.tensor([ids]), CELL)
    found = find_objects(label_map, instances, foreground=FOREGROUND, factor=CELL)
    return found[0].tolist()


# Objects.


def test_two_separate_cars_get_two_numbers() -> None:
    assert objects_of(["cc.c"]) == [[1, 1, 0, 2]]


def test_background_alone_has_no_objects() -> None:
    assert objects_of(["....", "...."]) == [[0] * 4] * 2


def test_foreground_alone_has_no_background() -> None:
    assert objects_of(["ccpp"]) == [[1, 1, 2, 2]]


def test_neighbours_of_different_classes_are_different() -> None:
    assert objects_of(["cr", "cr"]) == [[1, 2], [1, 2]]


def test_cars_that_touch_at_a_corner_are_two() -> None:
    assert objects_of(["c.", ".c"]) == [[1, 0], [0, 2]]


def test_a_winding_area_is_one_object() -> None:
    assert objects_of(["c.c", "c.c", "ccc"]) == [[1, 0, 1], [1, 0, 1], [1, 1, 1]]
    spiral = objects_of(["ccccc", "....c", "ccc.c", "c...c", "ccccc"])
    assert {number for row in spiral for number in row} == {0, 1}


def test_areas_do_not_join_round_the_edge() -> None:
    assert objects_of(["c..c"]) == [[1, 0, 0, 2]]
    assert objects_of(["c", ".", "c"]) == [[1], [0], [2]]


def test_a_thin_person_survives_the_coarse_grid() -> None:
    label_map = torch.zeros(1, 2 * CELL, 3 * CELL).long()
    label_map[0, CELL + 3, 9] = PERSON  # one pixel, in no cell's centre
    found = find_objects(label_map, None, foreground=FOREGROUND, factor=CELL)
    assert found.tolist() == [[[0, 0, 0], [0, 1, 0]]]


def test_instances_are_kept_where_they_are_known() -> None:
    # Two cars in one area, and one car that a pole cuts in two.
    instances = torch.zeros(1, CELL, 5 * CELL).long()
    instances[0, :, : 2 * CELL], instances[0, :, 2 * CELL : 3 * CELL] = 26_001, 26_002
    instances[0, :, 4 * CELL :] = 26_001
    assert objects_of(["ccc.c"], instances=instances) == [[1, 1, 2, 0, 1]]


def test_instances_of_the_background_are_no_objects() -> None:
    assert objects_of([".c"], instances=torch.ones(1, CELL, 2 * CELL).long()) == [[0, 1]]


def test_foreground_without_an_instance_is_an_object_all_the_same() -> None:
    assert objects_of([".c"], instances=torch.zeros(1, CELL, 2 * CELL).long()) == [[0, 1]]


def test_each_sample_is_numbered_by_itself() -> None:
    label_map = torch.zeros(2, CELL, 2 * CELL).long()
    label_map[0, :, :CELL], label_map[1, :, CELL:] = CAR, PERSON
    found = find_objects(label_map, None, foreground=FOREGROUND, factor=CELL)
    assert found.tolist() == [[[1, 0]], [[0, 1]]]


def test_numbers_stay_within_the_table() -> None:
    rows = 2 * MAX_OBJECTS // 4 + 2
    checker = torch.zeros(1, rows * CELL, 8 * CELL).long()
    for y in range(rows):
        for x in range(y % 2, 8, 2):
            checker[0, y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL] = CAR
    found = find_objects(checker, None, foreground=FOREGROUND, factor=CELL)
    assert (checker > 0).sum() / CELL**2 > MAX_OBJECTS
    assert found[0, 0, 0] == 1 and found.max() == MAX_OBJECTS
    assert set(found.unique().tolist()) == set(range(MAX_OBJECTS + 1))


@given(seeds)
def test_areas_equal_a_flood_fill(seed: int) -> None:
    cells = torch.randint(3, (5, 7), generator=torch.Generator().manual_seed(seed))
    found = np.array(objects_of(["".join(".pc"[c] for c in row) for row in cells]))
    for y, x in np.ndindex(5, 7):
        area = flood(cells.numpy(), y, x)
        same = {tuple(place) for place in np.argwhere(found == found[y, x])}
        assert (found[y, x] == 0) == (cells[y, x] == 0)
        assert found[y, x] == 0 or same == area


def flood(cells: Int[np.ndarray, "height width"], y: int, x: int) -> set[tuple[int, int]]:
    """Cells that are reached from (y, x) over equal neighbours."""
    area, waiting = {(y, x)}, [(y, x)]
    while waiting:
        a, b = waiting.pop()
        for c, d in ((a + 1, b), (a - 1, b), (a, b + 1), (a, b - 1)):
            inside = 0 <= c < cells.shape[0] and 0 <= d < cells.shape[1]
            if inside and (c, d) not in area and cells[c, d] == cells[y, x]:
                area.add((c, d))
                waiting.append((c, d))
    return area


# Rows of a table and the pixels that use them.


@given(seeds)
def test_rows_equal_the_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, 4, 5, generator=generator)
    rows = torch.randint(6, (2, 4, 5), generator=generator)
    table = torch.randn(2, 6, 3, generator=generator)
    count, pooled, spread = (
        count_rows(rows, 6),
        pool_rows(features, rows, 6),
        spread_rows(table, rows),
    )
    for sample in range(2):
        for row in range(6):
            mine = features[sample][:, rows[sample] == row]
            assert count[sample, row] == mine.shape[1]
            mean = mine.mean(1) if mine.shape[1] else torch.zeros(3)
            torch.testing.assert_close(pooled[sample, row], mean, rtol=0, atol=1e-5)
        for y, x in np.ndindex(4, 5):
            assert torch.equal(spread[sample, :, y, x], table[sample, rows[sample, y, x]])


def test_pooling_undoes_spreading() -> None:
    rows = torch.arange(20).view(1, 4, 5) % 6
    table = torch.randn(1, 6, 3)
    torch.testing.assert_close(pool_rows(spread_rows(table, rows), rows, 6), table)


def test_a_row_without_pixels_is_zero_and_has_a_finite_gradient() -> None:
    features = torch.randn(1, 3, 2, 2, requires_grad=True)
    pooled = pool_rows(features, torch.zeros(1, 2, 2).long(), 4)
    assert (pooled[:, 1:] == 0).all()
    pooled.square().sum().backward()
    assert features.grad.isfinite().all()


# Labels and places.


def test_label_embedding_is_one_hot_times_the_table() -> None:
    embedding = LabelEmbedding(20, 6)
    label_map = torch.randint(20, (2, 4, 5))
    product = torch.einsum("bkhw,kc->bchw", one_hot(label_map, 20), embedding.table)
    torch.testing.assert_close(embedding(label_map), product)


def test_label_embedding_teaches_only_the_classes_it_saw() -> None:
    embedding = LabelEmbedding(20, 6)
    embedding(torch.full((1, 2, 2), CAR)).sum().backward()
    seen = embedding.table.grad.abs().sum(1) > 0
    assert seen.nonzero().flatten().tolist() == [CAR]


def test_coarse_labels_read_the_centre_of_each_cell() -> None:
    label_map = torch.arange(8 * 8).view(1, 8, 8)
    assert coarse_labels(label_map, 4).tolist() == [
        [[2 * 8 + 2, 2 * 8 + 6], [6 * 8 + 2, 6 * 8 + 6]]
    ]
    assert torch.equal(coarse_labels(label_map, 1), label_map)


def test_an_enlarged_map_repeats_each_cell() -> None:
    label_map = torch.arange(2 * 3).view(1, 2, 3)
    fine = enlarge_labels(label_map, 4)
    assert fine.shape == (1, 8, 12) and torch.equal(coarse_labels(fine, 4), label_map)
    assert torch.equal(enlarge_labels(label_map, 2)[0, 1], torch.tensor([0, 0, 1, 1, 2, 2]))


@pytest.mark.parametrize(("height", "width"), [(3, 5), (1, 4), (4, 1)])
def test_coordinates_run_from_minus_one_to_one(height: int, width: int) -> None:
    place = coordinates(torch.zeros(2, 7, height, width))
    assert place.shape == (2, 2, height, width)
    x, y = place[0]
    assert x[0, 0] == -1 and y[0, 0] == -1 and place.abs().max() == 1
    assert x[0, -1] == (1 if width > 1 else -1) and y[-1, 0] == (1 if height > 1 else -1)
    assert (x == x[:1]).all() and (y == y[:, :1]).all()


def test_upsample_repeats_pixels() -> None:
    picture = torch.tensor([[[[1.0, 2.0]]]])
    assert upsample(picture).tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]
    assert upsample(picture, factor=3).shape == (1, 1, 3, 6)


def test_residual_block_keeps_the_shape() -> None:
    features = torch.randn(2, 6, 8, 5)
    assert ResidualBlock(6, dilation=2).eval()(features).shape == features.shape


# Where a fast form stands for a plain one.


def test_a_block_enlarges_late_what_could_be_enlarged_first() -> None:
    block, condition = ModulatedBlock(3, 4, 5), torch.randn(2, 5, 8, 12)
    small = torch.randn(2, 3, 4, 6, requires_grad=True)
    late, first = block(small, condition), block(upsample(small), condition)
    torch.testing.assert_close(late, first)
    gradients = [torch.autograd.grad(o.square().sum(), small)[0] for o in (late, first)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_modulation_normalises_each_pixel_over_channels() -> None:
    modulation, features = Modulation(3, 5), torch.randn(2, 3, 4, 6)
    condition = torch.randn(2, 5, 4, 6)
    scale, shift = modulation.scale_and_shift(condition).chunk(2, 1)
    length = (features.square().sum(1, keepdim=True) / 3 + 1e-6).sqrt()
    plain = torch.nn.functional.leaky_relu(features / length * (1 + scale) + shift, 0.2)
    torch.testing.assert_close(modulation(features, condition), plain)


def test_joined_channels_lie_side_by_side_in_memory() -> None:
    parts = (torch.randn(2, 3, 4, 5), torch.randn(2, 2, 4, 5), torch.randn(2, 2, 1, 1))
    joined = join(*parts[:2], parts[2].expand(-1, -1, 4, 5))
    assert joined.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(joined[:, :3], parts[0]) and torch.equal(joined[:, 3:5], parts[1])
    assert torch.equal(joined[:, 5:], parts[2].expand(-1, -1, 4, 5))
