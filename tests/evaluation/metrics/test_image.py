"""PSNR, SSIM and MS-SSIM: closed forms, properties, scikit-image and a slow reference."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import peak_signal_noise_ratio as independent_ratio
from skimage.metrics import structural_similarity as independent_similarity
from torch import Tensor

from seg2vid.evaluation.metrics.image import (
    GRIDS,
    SCALE_WEIGHTS,
    class_distances,
    count_scales,
    grid_peaks,
    multiscale_structural_similarity,
    peak_signal_noise_ratio,
    structural_similarity,
)
from seg2vid.tools.errors import ModelError

METRICS = (peak_signal_noise_ratio, structural_similarity, multiscale_structural_similarity)


def make_pictures(count: int = 2, height: int = 48, width: int = 64) -> Tensor:
    """Smooth pictures with some noise, as real ones are."""
    coarse = torch.rand(count, 3, height // 8, width // 8)
    smooth = F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    return (smooth + 0.05 * torch.randn_like(smooth)).clamp(0, 1)


def worsened(pictures: Tensor, strength: float) -> Tensor:
    return (pictures + strength * torch.randn_like(pictures)).clamp(0, 1)


def test_ratio_of_a_constant_difference_is_its_logarithm() -> None:
    black = torch.zeros(2, 3, 16, 16)
    other = torch.stack((torch.full((3, 16, 16), 0.1), torch.full((3, 16, 16), 1.0)))
    torch.testing.assert_close(peak_signal_noise_ratio(black, other), torch.tensor([20.0, 0.0]))


def test_ratio_of_equal_pictures_is_limited() -> None:
    pictures = make_pictures()
    assert peak_signal_noise_ratio(pictures, pictures).tolist() == [100.0] * 2


def test_ratio_agrees_with_scikit_image() -> None:
    pictures = make_pictures()
    noisy = worsened(pictures, 0.1)
    for one, other, ratio in zip(
        pictures, noisy, peak_signal_noise_ratio(pictures, noisy), strict=True
    ):
        expected = independent_ratio(one.numpy(), other.numpy(), data_range=1.0)
        assert float(ratio) == pytest.approx(expected, abs=1e-4)


def test_similarity_of_constant_pictures_is_that_of_their_brightness() -> None:
    dark, light = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.6)
    constant = 0.01**2
    expected = (2 * 0.2 * 0.6 + constant) / (0.2**2 + 0.6**2 + constant)
    assert float(structural_similarity(dark, light)) == pytest.approx(expected, abs=1e-3)


def test_similarity_agrees_with_scikit_image() -> None:
    pictures = make_pictures()
    noisy = worsened(pictures, 0.1)
    for one, other, similarity in zip(
        pictures, noisy, structural_similarity(pictures, noisy), strict=True
    ):
        # scikit-image leaves the border out, so it is given the mirrored one.
        padded = [
            np.pad(x.double().numpy(), ((0, 0), (5, 5), (5, 5)), mode="reflect")
            for x in (one, other)
        ]
        expected = independent_similarity(
            *padded,
            data_range=1.0,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert float(similarity) == pytest.approx(expected, abs=1e-4)


def slow_multiscale(one: Tensor, other: Tensor, weights: list[float]) -> float:
    """Wang et al. (2003), Eq. 7, with SciPy's Gaussian windows: contrast and structure of each
    scale without its border, brightness too at the last one, mirrored there.
    """
    from scipy.ndimage import gaussian_filter

    product = 1.0
    a, b = one.double(), other.double()
    for scale, weight in enumerate(weights):
        blur = [
            gaussian_filter(x.numpy(), 1.5, radius=5, mode="mirror", axes=(1, 2))
            for x in (a, b, a * a, b * b, a * b)
        ]
        variances, covariance = blur[2] + blur[3] - blur[0] ** 2 - blur[1] ** 2, blur[4]
        contrast = (2 * (covariance - blur[0] * blur[1]) + 0.03**2) / (variances + 0.03**2)
        if scale == len(weights) - 1:
            squares = blur[0] ** 2 + blur[1] ** 2
            brightness = (2 * blur[0] * blur[1] + 0.01**2) / (squares + 0.01**2)
            term = (brightness * contrast).mean()
        else:
            term = contrast[:, 5:-5, 5:-5].mean()
        product *= max(term, 0.0) ** weight
        a, b = (F.avg_pool2d(x[None], 2)[0] for x in (a, b))
    return product


@pytest.mark.parametrize(("height", "width", "scales"), [(48, 64, 3), (104, 112, 4)])
def test_multiscale_similarity_agrees_with_a_slow_reference(
    height: int, width: int, scales: int
) -> None:
    pictures = make_pictures(1, height, width)
    noisy = worsened(pictures, 0.2)
    total = sum(SCALE_WEIGHTS[:scales])
    expected = slow_multiscale(pictures[0], noisy[0], [w / total for w in SCALE_WEIGHTS[:scales]])
    assert 0.2 < expected < 0.98
    assert float(multiscale_structural_similarity(pictures, noisy)) == pytest.approx(
        expected, abs=1e-4
    )


@pytest.mark.parametrize(
    ("side", "scales"),
    [(11, 1), (21, 1), (22, 2), (43, 2), (44, 3), (98, 3), (99, 4), (128, 4), (175, 4), (176, 5)],
)
def test_as_many_scales_as_fit(side: int, scales: int) -> None:
    pictures = torch.rand(1, 3, side, side + 7)
    assert count_scales(pictures) == scales
    assert float(multiscale_structural_similarity(pictures, pictures)) == pytest.approx(1)


def test_one_scale_is_plain_similarity() -> None:
    pictures = make_pictures(2, 16, 16)
    noisy = worsened(pictures, 0.1)
    torch.testing.assert_close(
        multiscale_structural_similarity(pictures, noisy), structural_similarity(pictures, noisy)
    )


@pytest.mark.parametrize("metric", METRICS)
def test_identity_is_best_order_is_free_and_noise_is_told(metric: object) -> None:
    assert callable(metric)
    pictures = make_pictures()
    figures = [metric(pictures, worsened(pictures, s)) for s in (0, 0.02, 0.05, 0.1, 0.2, 0.4)]
    assert all(bool((better > worse).all()) for better, worse in pairwise(figures))
    noisy = worsened(pictures, 0.1)
    torch.testing.assert_close(metric(pictures, noisy), metric(noisy, pictures))
    torch.testing.assert_close(metric(pictures, noisy)[1:], metric(pictures[1:], noisy[1:]))


@pytest.mark.parametrize("metric", METRICS[1:])
def test_pictures_without_a_single_window_are_refused(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ModelError) as error:
        metric(torch.rand(1, 3, 10, 64), torch.rand(1, 3, 10, 64))
    assert str(error.value) == (
        "Expected pictures of at least 11 pixels on a side for SSIM; got 10 pixels; "
        "compare larger pictures."
    )


def test_class_distances_are_sums_and_counts_without_void() -> None:
    distances = torch.tensor([[[1.0, 2.0], [4.0, 8.0]], [[1.0, 1.0], [1.0, 1.0]]])
    label_maps = torch.tensor([[[0, 2], [0, 3]], [[2, 2], [2, 19]]])
    sums, counts = class_distances(distances, label_maps, 3)
    assert sums.tolist() == [[5, 0, 2], [0, 0, 3]]
    assert counts.tolist() == [[2, 0, 1], [0, 0, 3]]


def test_class_distances_of_all_classes_make_the_plain_mean() -> None:
    distances, label_maps = torch.rand(3, 8, 8), torch.randint(0, 20, (3, 8, 8))
    sums, counts = class_distances(distances, label_maps, 20)
    assert float(sums.sum() / counts.sum()) == pytest.approx(float(distances.mean()))


# Grids.


def noise(count: int = 24, *, height: int = 64, width: int = 128) -> Tensor:
    generator = torch.Generator().manual_seed(8)
    grey = torch.randn(count, 1, height, width, generator=generator)
    return (0.5 + 0.05 * grey).expand(-1, 3, -1, -1)


def test_noise_has_no_grid() -> None:
    peaks = grid_peaks(noise(300)).mean(0)
    assert peaks.tolist() == pytest.approx([1] * len(GRIDS), abs=0.15)


@pytest.mark.parametrize("place", range(len(GRIDS)))
@pytest.mark.parametrize("is_upright", [True, False])
def test_a_grid_is_as_strong_as_its_amplitude_says(place: int, is_upright: bool) -> None:
    """A wave of amplitude a has (a Σw / 2)² at its two frequencies, noise σ² Σw² everywhere."""
    period, amplitude = GRIDS[place], 0.02
    x = torch.arange(128 if is_upright else 64)
    wave = amplitude * torch.cos(2 * math.pi * x / period)
    wave = wave.expand(64, 128) if is_upright else wave[:, None].expand(64, 128)
    peaks = grid_peaks(noise() + wave).mean(0)
    window = torch.hann_window(64)[:, None] * torch.hann_window(128)
    strength = (amplitude * window.sum() / 2) ** 2 / (0.05**2 * window.square().sum())
    # Of eight frequencies two have it; of a grid of two pixels one of three, where both meet.
    share = strength / 4 if period > 2 else 4 * strength / 3
    assert float(peaks[place]) == pytest.approx(1 + float(share), rel=0.1) and share > 20
    others = [float(peak) for at, peak in enumerate(peaks) if at != place]
    assert others == pytest.approx([1, 1], abs=0.5), "each grid is found alone"


def test_brighter_columns_of_an_enlarged_picture_are_a_grid() -> None:
    picture = noise(height=32, width=64).repeat_interleave(2, 2).repeat_interleave(2, 3)
    striped = picture.clone()
    striped[..., ::2] += 0.03
    before, after = (float(grid_peaks(pictures).mean(0)[0]) for pictures in (picture, striped))
    assert after > 10 * before
