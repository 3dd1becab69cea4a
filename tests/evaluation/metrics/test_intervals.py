"""Intervals over clips: the same everywhere, wide enough, and honest about what is missing."""

import math

import pytest
import torch
from torch import Tensor

from seg2vid.evaluation.metrics.frechet import FrechetOverClips
from seg2vid.evaluation.metrics.intervals import (
    Interval,
    bootstrap_indices,
    interval_of,
    interval_of_mean,
)


def test_indices_are_pinned() -> None:
    """NumPy promises the stream of PCG64; another stream would move every published interval."""
    assert bootstrap_indices(5, replicates=2, seed=0).tolist() == [[4, 3, 2, 1, 1], [0, 0, 0, 0, 4]]
    first = bootstrap_indices(40, seed=3)
    torch.manual_seed(7)
    assert torch.equal(first, bootstrap_indices(40, seed=3))
    assert not torch.equal(first, bootstrap_indices(40, seed=4))


def test_every_clip_is_drawn_as_often() -> None:
    indices = bootstrap_indices(10, replicates=4000)
    assert indices.shape == (4000, 10)
    shares = torch.bincount(indices.flatten(), minlength=10) / indices.numel()
    torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=0.01, rtol=0)


def test_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = torch.randn(400, dtype=torch.float64)
    interval = interval_of_mean(values)
    error = 1.96 * float(values.std()) / math.sqrt(400)
    assert interval.value == pytest.approx(float(values.mean())) and interval.clips == 400
    assert interval.low == pytest.approx(interval.value - error, abs=0.1 * error)
    assert interval.high == pytest.approx(interval.value + error, abs=0.1 * error)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """200 sets of 40 clips with a skewed law of mean 1: about 95 % of the intervals hold it."""
    values = torch.distributions.Gamma(4.0, 4.0).sample((200, 40))
    intervals = [interval_of_mean(row, replicates=600) for row in values]
    covered = sum(interval.low <= 1 <= interval.high for interval in intervals)
    assert 0.89 <= covered / 200 <= 0.99, covered


def test_interval_of_anything_covers_like_that_of_the_mean() -> None:
    values = torch.randn(60, dtype=torch.float64)
    mean = interval_of_mean(values, replicates=1000)
    other = interval_of(lambda picked: float(values[picked].mean()), 60, replicates=1000)
    width = mean.high - mean.low
    assert other.value == pytest.approx(mean.value) and other.clips == 60
    assert other.low == pytest.approx(mean.low, abs=0.05 * width)
    assert other.high == pytest.approx(mean.high, abs=0.05 * width)


def test_interval_of_a_distance_holds_it_although_resampling_raises_it() -> None:
    sets = [torch.randn(60, 1, 20, dtype=torch.float64) for _ in range(2)]
    distance = FrechetOverClips(sets[0], sets[1])
    interval = interval_of(distance, 60, replicates=100)
    drawn = [distance(picked) for picked in bootstrap_indices(60, replicates=100)]
    assert min(drawn) > interval.value, "a plain percentile interval would miss the figure itself"
    assert interval.low < interval.value < interval.high
    assert interval.high - interval.low == pytest.approx(
        float(torch.tensor(drawn).quantile(0.975) - torch.tensor(drawn).quantile(0.025)), rel=1e-3
    )


def test_interval_narrows_with_clips_and_moves_with_the_unit() -> None:
    values = torch.randn(400)
    widths = [i.high - i.low for i in (interval_of_mean(values[:n]) for n in (25, 100, 400))]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] / widths[2] == pytest.approx(4, rel=0.35)
    one, other = interval_of_mean(values), interval_of_mean(10 * values + 3)
    assert [other.value, other.low, other.high] == pytest.approx(
        [10 * x + 3 for x in (one.value, one.low, one.high)], abs=1e-4
    )
    assert interval_of_mean(torch.full((9,), 0.25)) == Interval(0.25, 0.25, 0.25, 9)


def test_clips_without_the_figure_are_left_out_and_counted() -> None:
    values = torch.tensor([1.0, math.nan, 2.0, 4.0, math.nan])
    assert interval_of_mean(values) == interval_of_mean(torch.tensor([1.0, 2.0, 4.0]))
    assert interval_of_mean(values).clips == 3


@pytest.mark.parametrize("values", [[2.0], [math.nan, 2.0], [math.nan], []])
def test_less_than_two_clips_have_no_interval(values: list[float]) -> None:
    interval = interval_of_mean(torch.tensor(values))
    assert math.isnan(interval.low) and math.isnan(interval.high)
    assert interval.clips == int(2.0 in values)
    assert interval.value == 2.0 or (math.isnan(interval.value) and 2.0 not in values)
    assert not interval.is_beyond_noise
    other = interval_of(lambda picked: float(len(picked)), 1, replicates=9)
    assert other.value == 1 and math.isnan(other.low) and math.isnan(other.high)


def test_replicates_without_a_figure_are_left_out() -> None:
    def mostly(picked: Tensor) -> float:
        """A figure that sets without clip 0 do not have."""
        return float(picked.double().mean()) if bool((picked == 0).any()) else math.nan

    interval = interval_of(mostly, 6, replicates=200)
    assert interval.low < interval.value == 2.5 < interval.high
    nowhere = interval_of(lambda picked: math.nan, 6, replicates=9)
    assert math.isnan(nowhere.low) and math.isnan(nowhere.high)


def test_pairs_are_sharper_than_two_intervals() -> None:
    hard = 10 * torch.rand(50)
    first, second = hard + 0.5 + 0.1 * torch.randn(50), hard + 0.1 * torch.randn(50)
    difference = interval_of_mean(first - second)
    assert difference.value == pytest.approx(0.5, abs=0.1) and difference.is_beyond_noise
    alone = [interval_of_mean(values) for values in (first, second)]
    assert alone[0].low < alone[1].high, "side by side they overlap"
    back = interval_of_mean(second - first)
    assert back.value == pytest.approx(-difference.value) and back.is_beyond_noise
    assert [-back.high, -back.low] == pytest.approx([difference.low, difference.high], abs=0.01)


def test_differences_of_chance_are_noise() -> None:
    noise = [interval_of_mean(torch.randn(40) - torch.randn(40)) for _ in range(60)]
    assert sum(interval.is_beyond_noise for interval in noise) <= 9, "one in twenty, by chance"
