"""FID Inception: its features against an independent implementation, and what may not move them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from seg2vid.models.judges.files import INCEPTION_CLASSES
from seg2vid.models.judges.inception import (
    WEIGHTS,
    Inception,
    average_pooled,
    folded,
    load_inception,
    resized_as_tensorflow,
)
from seg2vid.tools.errors import ModelError

# Features 64, 192 ... 1984 of ``noise()``, some of each branch of the last block, that
# FeatureExtractorInceptionV3 of torch-fidelity 0.4.0 gave with the same weights. All 4096 features
# of both pictures were at most 6.7e-6 from ours.
# fmt: off
FOUND_ELSEWHERE = (
    (0.117468, 0.295103, 0.042111, 0.000000, 0.032422, 0.047754, 0.007523, 0.006327,
     0.083842, 0.000000, 0.001059, 1.093235, 0.226989, 0.389318, 0.008783, 0.076529),
    (0.034516, 0.350686, 0.254486, 0.000000, 0.130093, 0.005507, 0.000000, 0.028085,
     0.074281, 0.013024, 0.005805, 1.130775, 0.255232, 0.115455, 0.032505, 0.053436),
)
# fmt: on
LARGEST_ELSEWHERE = (1033, 173)


@pytest.fixture(scope="module")
def judge(shared_data: Path) -> Inception:
    """Inception with its real weights."""
    return load_inception(shared_data / "judges")


def noise() -> Float[Tensor, "2 3 40 72"]:
    """Two pictures of seeded grey levels."""
    seeded = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 40, 72), dtype=torch.uint8, generator=seeded) / 255


@pytest.fixture(scope="module")
def photographs(shared_data: Path) -> Float[Tensor, "4 3 128 256"]:
    """Street photographs, RGB in [0, 1]."""
    paths = sorted((shared_data / "cityscapes_stills" / "val" / "photos").iterdir())[:4]
    arrays = [np.array(Image.open(path).convert("RGB")) for path in paths]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def test_features_are_those_of_an_independent_implementation(judge: Inception) -> None:
    found = judge(noise())
    torch.testing.assert_close(
        found.features[:, 64::128], torch.tensor(FOUND_ELSEWHERE), rtol=0, atol=3e-5
    )
    assert tuple(found.features.argmax(1).tolist()) == LARGEST_ELSEWHERE
    assert found.features.shape == (2, 2048) and found.features.min() >= 0
    assert found.logits is None


@pytest.mark.slow
@torch.no_grad()
def test_photographs_are_nearer_to_each_other_than_to_noise(
    judge: Inception, photographs: Float[Tensor, "4 3 128 256"]
) -> None:
    features = judge(photographs).features
    strange = judge(torch.rand(1, 3, 128, 256)).features
    inside = torch.cdist(features, features).max()
    assert torch.cdist(features, strange).min() > 1.2 * inside
    # Features of natural pictures: sparse, of mean 0.3 to 0.5.
    assert 0.2 < features.mean() < 0.6 and 0.01 < (features < 0.01).float().mean() < 0.5
    blurred = F.avg_pool2d(photographs, 3, 1, 1)
    assert (judge(blurred).features - features).norm(dim=1).max() < inside


@pytest.mark.slow
@torch.no_grad()
def test_company_threads_autocast_and_repetition_change_nothing(
    judge: Inception, photographs: Float[Tensor, "4 3 128 256"]
) -> None:
    two = photographs[:2]
    features = judge(two).features
    assert torch.equal(judge(two).features, features)
    alone = torch.cat([judge(one).features for one in two.split(1)])
    torch.testing.assert_close(alone, features, rtol=0, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(judge(two).features, features)
    torch.set_num_threads(2)
    try:
        torch.testing.assert_close(judge(two).features, features, rtol=0, atol=1e-4)
    finally:
        torch.set_num_threads(1)


@torch.no_grad()
def test_half_the_precision_moves_features_by_a_fortieth(
    judge: Inception, photographs: Float[Tensor, "4 3 128 256"]
) -> None:
    looked_at = (resized_as_tensorflow(photographs[:2], 299) * 255 - 128) / 128
    exact = judge.network(looked_at)
    with torch.autocast("cpu", torch.bfloat16):
        rough = judge.network(looked_at).float()
    share = float((rough - exact).norm() / exact.norm())
    assert 0.001 < share < 0.06  # measured: 0.025


def test_the_judge_is_frozen_and_lets_gradients_through(judge: Inception) -> None:
    assert not judge.training and not any(p.requires_grad for p in judge.parameters())
    picture = noise()[:1].requires_grad_()
    judge(picture).features.sum().backward()
    assert picture.grad.isfinite().all() and picture.grad.abs().sum() > 0


# Parts.


@pytest.mark.parametrize("size", [(5, 7), (8, 3), (16, 16)])
def test_resizing_reads_at_index_times_old_over_new(size: tuple[int, int]) -> None:
    picture, side = torch.rand(2, 3, *size, dtype=torch.float64), 11
    found = resized_as_tensorflow(picture, side)
    for y, x in np.ndindex(side, side):
        v, u = y * size[0] / side, x * size[1] / side
        top, left = int(v), int(u)
        bottom, right = min(top + 1, size[0] - 1), min(left + 1, size[1] - 1)
        above = picture[:, :, top, left] * (1 - u + left) + picture[:, :, top, right] * (u - left)
        below = picture[:, :, bottom, left] * (1 - u + left) + picture[:, :, bottom, right] * (
            u - left
        )
        expected = above * (1 - v + top) + below * (v - top)
        torch.testing.assert_close(found[:, :, y, x], expected, rtol=0, atol=1e-5)


def test_resizing_to_the_same_size_changes_nothing_and_adds_no_half_pixel() -> None:
    picture = torch.rand(1, 3, 299, 299)
    assert torch.equal(resized_as_tensorflow(picture, 299), picture)
    ramp = torch.arange(4.0).expand(1, 3, 4, 4)
    # With half pixels the first column would be 0, 0.25 ...; here it is 0, 0.5, 1 ...
    assert resized_as_tensorflow(ramp, 8)[0, 0, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]


def test_average_pooling_does_not_count_what_is_outside() -> None:
    ones = torch.ones(1, 1, 5, 6)
    assert torch.equal(average_pooled(ones), ones)


def test_folding_is_convolution_then_normalisation() -> None:
    weight, picture = torch.randn(6, 3, 3, 3), torch.randn(2, 3, 8, 8)
    mean, variance, shift, scale = torch.randn(6), torch.rand(6), torch.randn(6), torch.randn(6)
    for factor in (scale, None):
        own, bias = folded(weight, mean=mean, variance=variance, shift=shift, scale=factor)
        plain = F.batch_norm(F.conv2d(picture, weight), mean, variance, factor, shift, eps=0.001)
        torch.testing.assert_close(F.conv2d(picture, own, bias), plain, rtol=1e-4, atol=1e-4)


# The weights.


def test_every_tensor_of_the_file_is_used(judge: Inception, shared_data: Path) -> None:
    stored = load_file(shared_data / "judges" / WEIGHTS)
    convolutions = [name for name in stored if name.endswith(".weight")]
    assert len(stored) == 4 * len(convolutions) == 376
    assert len(judge.state_dict()) == 2 * len(convolutions)
    assert all(parameter.dtype == torch.float32 for parameter in judge.parameters())


@pytest.mark.slow
@torch.no_grad()
def test_classes_are_used_where_their_file_is(
    judge: Inception, shared_data: Path, tmp_path: Path
) -> None:
    (tmp_path / WEIGHTS).symlink_to(shared_data / "judges" / WEIGHTS)
    matrix = torch.randn(1008, 2048).half()
    save_file({"net.output.weight": matrix}, tmp_path / INCEPTION_CLASSES)
    seen = load_inception(tmp_path)(noise())
    torch.testing.assert_close(seen.logits, judge(noise()).features @ matrix.float().T)


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{WEIGHTS} in .*got no such file"):
        load_inception(tmp_path)
    save_file({"net.layers.conv.weight": torch.zeros(1)}, tmp_path / WEIGHTS)
    with pytest.raises(ModelError, match=rf"{WEIGHTS} to have the SHA-256"):
        load_inception(tmp_path)
