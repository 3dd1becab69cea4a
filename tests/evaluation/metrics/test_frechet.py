"""Distances between sets: closed forms, properties, SciPy, torchmetrics and slow loops beside."""

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import poly_mmd

from seg2vid.evaluation.metrics.frechet import (
    FrechetOverClips,
    KernelOverClips,
    clip_for_judge,
    frechet_distance,
    inception_score,
    kernel_distance,
    unbiased_frechet_distance,
)
from seg2vid.tools.errors import ModelError

DISTANCES = (frechet_distance, kernel_distance, unbiased_frechet_distance)
SHAPES = [(60, 50, 6), (12, 9, 20), (40, 10, 20), (10, 40, 20), (2, 2, 5)]
"""Samples of both sets and features: more, fewer, and one set of each."""


def make_sets(first: int, second: int, feature: int) -> tuple[Tensor, Tensor]:
    """Two sets whose features are correlated, of another mean and spread each."""
    mixing = torch.randn(feature, feature, dtype=torch.float64)
    a = torch.randn(first, feature, dtype=torch.float64) @ mixing
    b = 1.5 * torch.randn(second, feature, dtype=torch.float64) @ mixing.roll(1, 0) + 0.5
    return a, b


def by_scipy(a: Tensor, b: Tensor) -> float:
    """The formula as it is usually written, with the root of a matrix."""
    covariances = [np.cov(x.numpy(), rowvar=False) for x in (a, b)]
    product = covariances[0] @ covariances[1]
    if len(a) > a.shape[1]:
        overlap = np.trace(sqrtm(product).real)
    else:  # what SciPy makes of the root of a singular matrix depends on the processor
        overlap = np.sqrt(np.linalg.eigvals(product).real.clip(0)).sum()
    means = float((a.mean(0) - b.mean(0)).square().sum())
    return means + float(np.trace(covariances[0] + covariances[1]) - 2 * overlap)


@pytest.mark.parametrize("shape", SHAPES[:1] + SHAPES[4:])
def test_frechet_distance_agrees_with_scipy(shape: tuple[int, int, int]) -> None:
    a, b = make_sets(*shape)
    # Eigenvalues of a singular product are only good to half the digits.
    precision = 1e-9 if shape[0] > shape[2] else 1e-5
    assert float(frechet_distance(a, b)) == pytest.approx(by_scipy(a, b), rel=precision)


@pytest.mark.parametrize("shape", SHAPES)
def test_frechet_distance_agrees_with_torchmetrics(shape: tuple[int, int, int]) -> None:
    class Pass(nn.Identity):
        num_features = shape[2]

    a, b = make_sets(*shape)
    metric = FrechetInceptionDistance(feature=Pass()).set_dtype(torch.float64)
    metric.update(a, real=True)
    metric.update(b, real=False)
    assert float(frechet_distance(b, a)) == pytest.approx(float(metric.compute()), rel=1e-5)


def test_frechet_distance_of_one_feature_is_that_of_mean_and_deviation() -> None:
    a, b = torch.randn(50, 1), 3 * torch.randn(80, 1) + 2
    expected = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    assert float(frechet_distance(a, b)) == pytest.approx(float(expected), rel=1e-5)


def test_frechet_distance_of_many_samples_is_that_of_their_gaussians() -> None:
    deviations = torch.tensor([[1.0, 2.0, 0.5], [2.0, 2.0, 1.5]], dtype=torch.float64)
    a, b = (torch.randn(200_000, 3, dtype=torch.float64) * d for d in deviations)
    expected = 3 * 0.25 + float((deviations[0] - deviations[1]).square().sum())
    assert float(frechet_distance(a, b + 0.5)) == pytest.approx(expected, rel=0.02)


@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 20), st.integers(0, 2**16))
def test_frechet_distance_properties(first: int, second: int, feature: int, seed: int) -> None:
    torch.manual_seed(seed)
    a, b = make_sets(first, second, feature)
    distance, scale = float(frechet_distance(a, b)), float(a.square().sum() + b.square().sum())
    assert float(frechet_distance(a, a)) <= 1e-12 * scale
    assert distance >= 0
    assert float(frechet_distance(b, a)) == pytest.approx(distance, rel=1e-9)
    order = torch.randperm(first)
    assert float(frechet_distance(a[order], b)) == pytest.approx(distance, rel=1e-9)
    turned = torch.linalg.qr(torch.randn(feature, feature, dtype=torch.float64)).Q
    moved = [2 * x @ turned + 7 for x in (a, b)]
    assert float(frechet_distance(*moved)) == pytest.approx(4 * distance, rel=1e-6)


def test_single_precision_is_as_good_as_double_far_from_zero() -> None:
    a, b = make_sets(30, 30, 8)
    distance = float(frechet_distance(a, b))
    far = [(x + 100).float() for x in (a, b)]
    assert float(frechet_distance(*far)) == pytest.approx(distance, rel=1e-4)


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_grow_with_noise(distance: Callable[[Tensor, Tensor], Tensor]) -> None:
    real = torch.rand(200, 8)
    other = torch.rand(200, 8)
    figures = [float(distance(other + s * torch.randn(200, 8), real)) for s in (0, 0.3, 0.6, 1)]
    assert figures == sorted(figures) and figures[-1] > 10 * abs(figures[0]) > 0


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("sides", [(1, 5), (5, 1)])
def test_one_sample_has_no_distance(
    distance: Callable[[Tensor, Tensor], Tensor], sides: tuple[int, int]
) -> None:
    with pytest.raises(ModelError) as error:
        distance(torch.rand(sides[0], 4), torch.rand(sides[1], 4))
    assert str(error.value) == (
        "Expected features of at least two samples; got 1; evaluate more clips."
    )


def test_unbiased_distance_of_equal_distributions_is_about_zero() -> None:
    deviations = torch.linspace(1, 0.1, 24, dtype=torch.float64)
    plain, ours = [], []
    for seed in range(10):
        a, b = (torch.randn(128, 24, dtype=torch.float64) * deviations for _ in range(2))
        plain.append(float(frechet_distance(a, b)))
        ours.append(float(unbiased_frechet_distance(a, b, seed=seed)))
    assert abs(np.mean(ours)) < 0.2 * np.mean(plain)


def test_two_samples_have_no_unbiased_distance() -> None:
    a, b = make_sets(2, 2, 6)
    assert float(frechet_distance(a, b)) > 0 and unbiased_frechet_distance(a, b).isnan()


def test_unbiased_distance_depends_on_its_seed_alone() -> None:
    a, b = make_sets(60, 50, 6)
    a = a + 3
    first = float(unbiased_frechet_distance(a, b, seed=1))
    torch.manual_seed(9)
    assert float(unbiased_frechet_distance(a, b, seed=1)) == first
    assert float(unbiased_frechet_distance(a, b, seed=2)) != first
    plain = float(frechet_distance(a, b))
    assert 0.5 * plain < first < plain


def slow_kernel_distance(a: Tensor, b: Tensor) -> float:
    """The estimate as it is written, pair by pair."""
    kernel = lambda x, y: (float(x @ y) / len(x) + 1) ** 3  # noqa: E731
    within = [
        np.mean([kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j])
        for x in (a, b)
    ]
    return float(sum(within) - 2 * np.mean([kernel(x, y) for x in a for y in b]))


@pytest.mark.parametrize("shape", SHAPES)
def test_kernel_distance_agrees_with_a_slow_reference(shape: tuple[int, int, int]) -> None:
    a, b = make_sets(*shape)
    assert float(kernel_distance(a, b)) == pytest.approx(slow_kernel_distance(a, b), rel=1e-9)


def test_kernel_distance_agrees_with_torchmetrics_for_sets_of_one_size() -> None:
    a, b = make_sets(30, 30, 7)
    assert float(kernel_distance(a, b)) == pytest.approx(float(poly_mmd(a, b)), rel=1e-9)


def test_kernel_distance_is_unbiased() -> None:
    figures = [float(kernel_distance(torch.randn(10, 4), torch.randn(15, 4))) for _ in range(400)]
    assert abs(np.mean(figures)) < 3 * np.std(figures) / math.sqrt(400)
    assert min(figures) < 0 < max(figures)


def test_inception_score_of_equal_predictions_is_one() -> None:
    assert float(inception_score(torch.randn(1, 10).expand(20, 10))) == pytest.approx(1)


@pytest.mark.parametrize("classes", [1, 2, 7])
def test_inception_score_of_sure_and_even_predictions_counts_classes(classes: int) -> None:
    logits = 1e4 * torch.eye(10)[:classes].repeat(3, 1)
    assert float(inception_score(logits)) == pytest.approx(classes)


def test_inception_score_agrees_with_torchmetrics() -> None:
    logits = 2 * torch.randn(50, 12)
    with pytest.warns(UserWarning, match="will save all extracted features"):
        metric = InceptionScore(feature=nn.Identity(), splits=1)
    metric.update(logits)
    with pytest.warns(UserWarning, match="degrees of freedom"):
        expected = float(metric.compute()[0])
    score = float(inception_score(logits))
    assert 1 < score < 12 and score == pytest.approx(expected, rel=1e-5)


def played(frames: int, length: int) -> Tensor:
    """The frames, counted from 0, of a clip that was lengthened."""
    clip = torch.arange(float(frames)).view(1, frames, 1, 1, 1).expand(1, -1, 3, 1, 1)
    return clip_for_judge(clip, length)[0, :, 0, 0, 0].long()


def test_short_clips_are_played_to_and_fro() -> None:
    assert played(5, 12).tolist() == [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3]
    assert played(2, 5).tolist() == [0, 1, 0, 1, 0]
    assert played(1, 3).tolist() == [0, 0, 0]
    frames = torch.rand(2, 4, 3, 2, 2)
    lengthened = clip_for_judge(frames)
    assert torch.equal(lengthened, frames[:, [0, 1, 2, 3, 2, 1, 0, 1, 2]])
    assert clip_for_judge(frames, 4) is frames


@given(st.integers(1, 12), st.integers(0, 40))
def test_a_clip_that_is_lengthened_never_jumps(frames: int, more: int) -> None:
    steps = played(frames, frames + more)
    assert steps[0] == 0 and len(steps) == frames + more
    assert set(steps.tolist()) == set(range(frames))
    assert (steps.diff().abs() == int(frames > 1)).all()


@pytest.mark.parametrize("rows", [(1, 1), (2, 3)])
@pytest.mark.parametrize("feature", [4, 20, 40])
def test_resampled_distances_are_those_of_the_resampled_rows(
    rows: tuple[int, int], feature: int
) -> None:
    a, b = make_sets(10 * rows[0], 10 * rows[1], feature)
    a, b = a.view(10, rows[0], feature) + 30, b.view(10, rows[1], feature) + 30
    for picked in (torch.arange(10), torch.randint(10, (10,)), torch.tensor([3, 3, 7])):
        sets = [x[picked].flatten(0, 1) for x in (a, b)]
        for resampled, distance in (
            (FrechetOverClips(a, b), frechet_distance),
            (KernelOverClips(a, b), kernel_distance),
        ):
            assert resampled(picked) == pytest.approx(float(distance(*sets)), rel=1e-6)


def test_resampled_distance_of_one_row_is_refused() -> None:
    for feature in (1, 8):
        resampled = FrechetOverClips(torch.rand(3, 1, feature), torch.rand(3, 1, feature))
        with pytest.raises(ModelError, match="at least two samples; got 1;"):
            resampled(torch.tensor([0]))


@pytest.mark.slow
def test_two_hundred_resampled_distances_take_seconds() -> None:
    a, b = (torch.rand(250, 1, 2048) for _ in range(2))
    start = time.process_time()
    resampled = FrechetOverClips(a, b)
    for _ in range(200):
        resampled(torch.randint(250, (250,)))
    assert time.process_time() - start < 20
