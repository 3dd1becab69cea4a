"""What is around pixels, against pooling and by what has to hold."""

import pytest
import torch
import torch.nn.functional as F

from seg2vid.geometry import dilate, pull_and_push
from seg2vid.geometry.surroundings import fill_in_rows, is_most


@pytest.mark.parametrize("kind", [torch.float32, torch.int64, torch.int8, torch.bool])
@pytest.mark.parametrize("reach", [(0, 0), (1, 1), (0, 3), (5, 12)])
def test_dilation_is_what_pooling_finds(kind: torch.dtype, reach: tuple[int, int]) -> None:
    values = torch.rand(2, 9, 14, generator=torch.Generator().manual_seed(0))
    values = values > 0.9 if kind == torch.bool else (200 * values - 100).to(kind)
    rows, columns = reach
    window = (2 * rows + 1, 2 * columns + 1)
    pooled = F.max_pool2d(values.float(), window, 1, reach)
    assert torch.equal(dilate(values, rows, columns), pooled.to(kind))


@pytest.mark.parametrize("in_rows", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (8, 16), (9, 14)])
def test_gaps_take_values_between_those_that_are_known(
    size: tuple[int, int], in_rows: bool
) -> None:
    torch.manual_seed(0)
    values, weight = torch.rand(2, 3, *size) + 1, (torch.rand(2, 1, *size) < 0.3).float()
    weight[..., 0] = 1
    filled = pull_and_push(values * weight, weight, in_rows=in_rows)
    known = weight.expand_as(values) > 0
    torch.testing.assert_close(filled[known], values[known])
    bounds = values[known]
    assert filled.min() > bounds.min() - 1e-5 and filled.max() < bounds.max() + 1e-5


def test_in_rows_each_row_is_filled_by_its_own() -> None:
    values, weight = torch.zeros(1, 1, 4, 16), torch.zeros(1, 1, 4, 16)
    values[0, 0, :3, 2], weight[0, 0, :3, 2] = torch.tensor([1.0, 5.0, 9.0]), 1
    filled = pull_and_push(values, weight, in_rows=True)[0, 0]
    torch.testing.assert_close(filled, torch.tensor([1.0, 5, 9, 0])[:, None].expand(-1, 16))


def test_rows_without_anything_take_the_rows_beside() -> None:
    values, weight = torch.zeros(1, 1, 4, 16), torch.zeros(1, 1, 4, 16)
    values[0, 0, :2, 2], weight[0, 0, :2, 2] = torch.tensor([1.0, 5.0]), 1
    filled = fill_in_rows(values, weight)[0, 0]
    torch.testing.assert_close(filled[:2], torch.tensor([1.0, 5])[:, None].expand(-1, 16))
    assert (filled[2:] > 1).all() and (filled[2:] <= 5).all()
    weight[0, 0, 2:, 7], values[0, 0, 2:, 7] = 1, 3.0
    expected = pull_and_push(values, weight, in_rows=True)
    assert torch.equal(fill_in_rows(values, weight), expected)


def test_most_of_what_is_known_decides_in_a_row_and_else_the_rows_beside() -> None:
    mask, known = (torch.zeros(1, 1, 6, 32, dtype=torch.bool) for _ in range(2))
    mask[..., :2, :], known[..., :4, 4:8] = True, True
    expected = torch.tensor([True, True, False, False, False, False])
    assert torch.equal(is_most(mask, known)[0, 0], expected[:, None].expand(-1, 32))
    # What is not known has no say.
    mask[..., 2:, 20:] = True
    assert torch.equal(is_most(mask, known)[0, 0], expected[:, None].expand(-1, 32))
