"""Diversity of samples, and the best of them: closed forms and all subsets, one by one."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seg2vid.evaluation.metrics.diversity import best_of_curve, pairwise_distances
from seg2vid.tools.errors import ModelError


def mean_difference(first: Tensor, second: Tensor) -> Tensor:
    """A judge that is easy to follow."""
    return (first - second).abs().mean((1, 2, 3))


def test_distances_of_pairs_in_order() -> None:
    levels = torch.tensor([0.0, 0.1, 0.4])
    samples = levels.view(3, 1, 1, 1, 1).expand(3, 2, 3, 4, 4).clone()
    samples[:, 1] *= 2
    distances = pairwise_distances(mean_difference, samples)
    expected = torch.tensor([[0.1, 0.2], [0.4, 0.8], [0.3, 0.6]])
    torch.testing.assert_close(distances, expected)


def test_equal_samples_are_not_diverse_and_others_are_in_any_order() -> None:
    samples = torch.rand(4, 2, 3, 4, 4)
    same = samples[:1].expand(4, -1, -1, -1, -1)
    assert float(pairwise_distances(mean_difference, same).max()) == 0
    mean = pairwise_distances(mean_difference, samples).mean(0)
    other = pairwise_distances(mean_difference, samples.flip(0)).mean(0)
    torch.testing.assert_close(mean, other)
    spread = [float(pairwise_distances(mean_difference, s * samples).mean()) for s in (0.1, 0.5, 1)]
    assert spread == sorted(spread) and spread[0] > 0


def test_one_sample_has_no_diversity() -> None:
    with pytest.raises(ModelError) as error:
        pairwise_distances(mean_difference, torch.rand(1, 2, 3, 4, 4))
    assert str(error.value) == (
        "Expected at least two samples for a distance; got 1; draw more samples."
    )


def slow_curve(scores: Tensor) -> Tensor:
    """The mean lowest score over every subset of each size."""
    count = len(scores)
    return torch.stack(
        [
            torch.stack([scores[list(one)].amin(0) for one in combinations(range(count), n)]).mean(
                0
            )
            for n in range(1, count + 1)
        ]
    )


@given(st.integers(1, 7), st.integers(0, 2**16))
def test_best_of_curve_agrees_with_all_subsets(count: int, seed: int) -> None:
    torch.manual_seed(seed)
    scores = torch.randn(count, 2, 3, dtype=torch.float64)
    curve = best_of_curve(scores)
    torch.testing.assert_close(curve, slow_curve(scores))
    torch.testing.assert_close(curve[0], scores.mean(0))
    torch.testing.assert_close(curve[-1], scores.amin(0))
    assert bool((curve.diff(dim=0) <= 1e-12).all()), "more samples are never worse"


def test_best_of_curve_knows_neither_order_nor_unit() -> None:
    scores = torch.rand(6)
    curve = best_of_curve(scores)
    torch.testing.assert_close(best_of_curve(scores.flip(0)), curve)
    torch.testing.assert_close(best_of_curve(3 * scores + 1), 3 * curve + 1)
    torch.testing.assert_close(best_of_curve(torch.full((5,), 0.3)), torch.full((5,), 0.3))


@pytest.mark.slow
def test_best_of_many_even_scores_is_as_of_uniform_ones() -> None:
    curve = best_of_curve(torch.linspace(0, 1, 400, dtype=torch.float64))
    expected = 1 / (torch.arange(1, 6) + 1)
    torch.testing.assert_close(curve[:5].float(), expected, atol=0.01, rtol=0)
