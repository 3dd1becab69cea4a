"""Frozen judges: LPIPS against its definition and its official heads, and the way to the files."""

import hashlib
import os
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from seg2vid.models.judges.files import JUDGES, JUDGES_VARIABLE, find_judge, judge_folder
from seg2vid.models.judges.perceptual import (
    VGG_BLOCKS,
    PerceptualDistance,
    PerceptualNetworks,
    VGGFeatures,
    load_perceptual_distance,
    load_perceptual_networks,
    load_vgg_features,
    read_vgg19,
)
from seg2vid.tools.errors import ModelError
from seg2vid.tools.files import digest_of

FILES = ("alexnet_features.safetensors", "lpips_v01_alex_lin.safetensors")


@pytest.fixture(scope="module")
def judge(shared_data: Path) -> PerceptualDistance:
    """LPIPS with its real weights."""
    return load_perceptual_distance(shared_data / "judges")


@cache
def scene() -> Float[Tensor, "2 3 64 64"]:
    """Two pictures with structure: smooth colours and sharp edges."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 8, 8, generator=generator)
    picture = F.interpolate(coarse, (64, 64), mode="bilinear")
    picture[:, :, 20:40, 16:48] = coarse[:, :, :1, :1]
    return picture


def blurred(
    picture: Float[Tensor, "batch 3 height width"], radius: int
) -> Float[Tensor, "batch 3 height width"]:
    """Average over a square."""
    padded = F.pad(picture, (radius,) * 4, mode="reflect")
    return F.avg_pool2d(padded, 2 * radius + 1, 1)


def noisy(picture: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """Some noise on top."""
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
    return (picture + 0.1 * noise).clamp(0, 1)


def test_equal_pictures_have_no_distance(judge: PerceptualDistance) -> None:
    assert judge(scene(), scene()).tolist() == [0, 0]


def test_distance_is_symmetric_and_per_pair(judge: PerceptualDistance) -> None:
    there, back = judge(scene(), noisy(scene())), judge(noisy(scene()), scene())
    assert there.shape == (2,) and there.min() > 0.01
    torch.testing.assert_close(there, back)
    torch.testing.assert_close(there[1:], judge(scene()[1:], noisy(scene())[1:]))


def test_distance_grows_with_blur(judge: PerceptualDistance) -> None:
    distances = [float(judge(blurred(scene(), r), scene()).mean()) for r in (1, 2, 4, 8)]
    assert distances == sorted(distances) and 0 < distances[0] < 0.5 * distances[-1]


def test_unrelated_pictures_are_far_apart(judge: PerceptualDistance) -> None:
    flat, noise = torch.full((1, 3, 64, 64), 0.5), torch.rand(1, 3, 64, 64)
    assert 0.4 < judge(flat, noise) < 2


def test_the_judge_is_frozen_and_says_where_to_improve(judge: PerceptualDistance) -> None:
    assert not judge.training and not any(p.requires_grad for p in judge.parameters())
    picture = noisy(scene()).requires_grad_()
    judge(picture, scene()).sum().backward()
    assert picture.grad.isfinite().all() and picture.grad.abs().sum() > 0


def test_distance_is_the_published_formula(judge: PerceptualDistance) -> None:
    # Zhang et al., Eq. 1, with the layers of AlexNet written out one by one.
    kernels = {"0": (4, 2), "3": (1, 2), "6": (1, 1), "8": (1, 1), "10": (1, 1)}
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def maps(picture: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        # ImageNet's normalisation, to which the shift and scale of LPIPS amount.
        channels = [(picture[:, c] - mean[c]) / deviation[c] for c in range(3)]
        hidden, found = torch.stack(channels, 1), []
        for name, (stride, padding) in kernels.items():
            if name in ("3", "6"):
                hidden = F.max_pool2d(hidden, 3, 2)
            layer = judge.network.features[name]
            hidden = F.conv2d(hidden, layer.weight, layer.bias, stride, padding).clamp(min=0)
            found.append(F.normalize(hidden, dim=1, eps=1e-10))
        return found

    total = torch.zeros(2)
    for one, other, head in zip(maps(scene()), maps(noisy(scene())), judge.heads, strict=True):
        total += torch.einsum("bchw,c->bhw", (one - other) ** 2, head.flatten()).mean((1, 2))
    torch.testing.assert_close(judge(scene(), noisy(scene())), total, rtol=1e-3, atol=1e-4)


def test_heads_are_the_official_ones(judge: PerceptualDistance) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    folder = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models"
    official = torch.load(folder / "alex.pth", map_location="cpu", weights_only=True)
    for index, head in enumerate(judge.heads):
        assert torch.equal(head, official[f"lin{index}.model.1.weight"])
        assert head.min() >= 0


# LPIPS on real photographs, against another implementation, and as a map.


def photographs(shared_data: Path, count: int) -> Float[Tensor, "count 3 128 256"]:
    """Street photographs, RGB in [0, 1]."""
    paths = sorted((shared_data / "cityscapes_stills" / "val" / "photos").iterdir())[:count]
    arrays = [np.array(Image.open(path).convert("RGB")) for path in paths]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255


def torchmetrics_lpips(
    judge: PerceptualDistance, monkeypatch: pytest.MonkeyPatch, *, is_map: bool
) -> nn.Module:
    """Torchmetrics' own LPIPS with its own heads, around a plain AlexNet with our weights."""
    lpips = pytest.importorskip("torchmetrics.functional.image.lpips")

    def plain_alexnet(*_: Any, **__: Any) -> nn.Sequential:
        convolutions = dict(judge.network.features.items())
        layers = [nn.MaxPool2d(3, 2) if index in (2, 5, 12) else nn.ReLU() for index in range(13)]
        for place, convolution in convolutions.items():
            layers[int(place)] = convolution
        return nn.Sequential(*layers)

    monkeypatch.setattr(lpips, "_get_tv_model_features", plain_alexnet)
    return lpips._LPIPS(net="alex", spatial=is_map)


@torch.no_grad()
def test_lpips_of_ten_pairs_of_photographs_agrees_with_torchmetrics(
    judge: PerceptualDistance, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = photographs(shared_data, 20)
    ours = judge(pictures[:10], pictures[10:])
    theirs = torchmetrics_lpips(judge, monkeypatch, is_map=False)
    found = theirs(pictures[:10], pictures[10:], normalize=True).flatten()
    # Measured: 3e-8, distances between 0.44 and 0.60.
    torch.testing.assert_close(ours, found, rtol=0, atol=1e-5)
    assert ours.min() > 0.2 and ours.max() - ours.min() > 0.1


@torch.no_grad()
def test_the_map_of_the_distance_agrees_with_torchmetrics(
    judge: PerceptualDistance, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = photographs(shared_data, 4)
    ours = judge.distance_map(pictures[:2], pictures[2:])
    theirs = torchmetrics_lpips(judge, monkeypatch, is_map=True)
    found = theirs(pictures[:2], pictures[2:], normalize=True)[:, 0]
    torch.testing.assert_close(ours, found, rtol=0, atol=1e-5)
    assert ours.shape == (2, 128, 256) and ours.min() >= 0
    # Measured on ten pairs: 3e-5 of it.
    torch.testing.assert_close(
        ours.mean((1, 2)), judge(pictures[:2], pictures[2:]), rtol=1e-3, atol=0
    )


@torch.no_grad()
def test_the_map_says_where_pictures_differ(judge: PerceptualDistance) -> None:
    changed = scene().clone()
    changed[:, :, :20, :20] = torch.rand(2, 3, 20, 20)
    found = judge.distance_map(changed, scene())
    assert found[:, :20, :20].mean() > 20 * found[:, -12:, -12:].mean()
    assert judge.distance_map(scene(), scene()).abs().max() == 0


# The way to the files.


def test_every_known_file_has_its_pinned_bytes(shared_data: Path) -> None:
    assert len(JUDGES) == 6
    for name, pinned in JUDGES.items():
        path = find_judge(name, shared_data / "judges")
        # The same sum by another way through the file.
        assert hashlib.sha256(path.read_bytes()).hexdigest() == pinned.sha256
        assert pinned.what and pinned.licence
        assert "https://" in pinned.source or "wheel" in pinned.source


def test_other_bytes_under_a_known_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / FILES[0]
    path.write_bytes(b"something else")
    with pytest.raises(ModelError) as caught:
        find_judge(FILES[0], tmp_path)
    text, digest = str(caught.value), hashlib.sha256(b"something else").hexdigest()
    assert f"{path} to have the SHA-256 {JUDGES[FILES[0]].sha256}; got {digest}; " in text
    assert f"convert_official from {JUDGES[FILES[0]].source}" in text


def test_a_file_is_hashed_once_as_long_as_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "file", []
    path.write_bytes(b"one")
    plain = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: calls.append(1) or plain(*a))
    first = digest_of(path)
    assert digest_of(path) == first == hashlib.sha256(b"one").hexdigest() and len(calls) == 1
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 0))
    assert digest_of(path) == hashlib.sha256(b"two").hexdigest() and len(calls) == 2
    path.write_bytes(b"three")
    os.utime(path, ns=(0, 0))
    assert digest_of(path) == hashlib.sha256(b"three").hexdigest() and len(calls) == 3


def test_the_folder_is_the_named_one_or_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(JUDGES_VARIABLE, raising=False)
    assert judge_folder() == Path("judges")
    monkeypatch.setenv(JUDGES_VARIABLE, str(tmp_path))
    assert judge_folder() == tmp_path and judge_folder(Path("here")) == Path("here")


def test_a_judge_is_found_in_the_folder_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in "ab":
        (tmp_path / folder / "judge.safetensors").touch()
    monkeypatch.setenv(JUDGES_VARIABLE, str(tmp_path / "a"))
    assert find_judge("judge.safetensors") == tmp_path / "a" / "judge.safetensors"
    named = find_judge("judge.safetensors", tmp_path / "b")
    assert named == tmp_path / "b" / "judge.safetensors"


def test_a_missing_judge_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        find_judge("judge.safetensors", tmp_path)
    text = str(caught.value)
    assert text.startswith(f"Expected the judge's weights judge.safetensors in {tmp_path}; ")
    assert "; got no such file; " in text
    assert "--judges" in text and JUDGES_VARIABLE in text


@pytest.mark.parametrize("missing", FILES)
def test_lpips_needs_both_its_files(shared_data: Path, tmp_path: Path, missing: str) -> None:
    for name in set(FILES) - {missing}:
        (tmp_path / name).symlink_to(shared_data / "judges" / name)
    with pytest.raises(ModelError, match=missing):
        load_perceptual_distance(tmp_path)


# VGG-16, the paper's feature term.


@cache
def vgg() -> VGGFeatures:
    """Random weights: what is tested is how they are used."""
    torch.manual_seed(0)
    return VGGFeatures().eval()


@torch.no_grad()
def test_vgg_gives_ten_maps_of_the_published_widths() -> None:
    maps = vgg()(torch.rand(2, 3, 32, 48))
    assert [m.shape[1] for m in maps] == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512]
    assert [32 // m.shape[2] for m in maps] == [1, 1, 2, 2, 4, 4, 4, 8, 8, 8]
    assert all(float(m.min()) >= 0 for m in maps)


@torch.no_grad()
def test_vgg_is_the_plain_chain_of_its_layers() -> None:
    picture = torch.rand(1, 3, 16, 16)
    hidden = (picture - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    maps = vgg()(picture)
    for index, (place, layer) in enumerate(vgg().features.items()):
        if place in {"5", "10", "17"}:
            hidden = F.avg_pool2d(hidden, 2)
        hidden = torch.relu(F.conv2d(hidden, layer.weight, layer.bias, padding=1))
        torch.testing.assert_close(maps[index], hidden)


def test_vgg_loads_frozen_and_tells_a_blur_from_a_shade(shared_data: Path) -> None:
    judge = load_vgg_features(shared_data / "judges")
    assert not any(parameter.requires_grad for parameter in judge.parameters())
    picture = torch.rand(1, 3, 64, 64)
    blurred = F.avg_pool2d(picture, 5, 1, 2)
    pairs = [zip(judge(other), judge(picture), strict=True) for other in (blurred, picture * 0.95)]
    far, near = (sum(float((a - b).abs().mean()) for a, b in pair) for pair in pairs)
    assert far > 3 * near > 0


def write_vgg19(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Write a narrow VGG-19 of random numbers under torchvision's names, its classifier with it."""
    monkeypatch.setitem(VGG_BLOCKS, 19, ((2, 2), (3, 3), (4, 4, 4, 4), (5, 5, 5, 5)))
    places = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)
    widths = (3, 2, 2, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5)
    stored = {"classifier.0.weight": torch.rand(7, 5), "classifier.0.bias": torch.rand(7)}
    for place, (before, after) in zip(places, pairwise(widths), strict=True):
        stored[f"features.{place}.weight"] = torch.randn(after, before, 3, 3)
        stored[f"features.{place}.bias"] = torch.randn(after)
    torch.save(stored, path)
    return stored


@torch.no_grad()
def test_vgg19_of_torchvision_gives_twelve_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = write_vgg19(tmp_path / "vgg19.pth", monkeypatch)
    given = {"perceptual": False, "features": True, "vgg19": tmp_path / "vgg19.pth"}
    network = load_perceptual_networks(tmp_path, **given).features
    assert network is not None
    assert not any(parameter.requires_grad for parameter in network.parameters())
    picture = torch.rand(1, 3, 32, 32)
    hidden = (picture - network.shift) / network.scale
    maps = network(picture)
    assert [m.shape[1:3] for m in maps[:3]] == [(2, 32), (2, 32), (3, 16)] and len(maps) == 12
    for made, place in zip(maps, (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25), strict=True):
        if place in (5, 10, 19):
            hidden = F.avg_pool2d(hidden, 2)
        layer = (stored[f"features.{place}.{part}"] for part in ("weight", "bias"))
        hidden = torch.relu(F.conv2d(hidden, *layer, padding=1))
        torch.testing.assert_close(made, hidden)


def test_a_file_that_is_no_vgg19_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "vgg19.pth"
    stored = write_vgg19(path, monkeypatch)
    lacking = {name: tensor for name, tensor in stored.items() if "25" not in name}
    for other in (lacking, stored | {"features.25.weight": torch.rand(5, 5, 1, 1)}):
        torch.save(other, path)
        with pytest.raises(ModelError, match=r"no features\.25\.weight of shape 5x5x3x3"):
            read_vgg19(path)
    path.write_text("hostile")
    with pytest.raises(ModelError, match="an official weight file at"):
        read_vgg19(path)


def test_judges_are_those_that_are_wanted(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "judges"
    assert load_perceptual_networks(None, perceptual=False, features=False) == PerceptualNetworks()
    one = load_perceptual_networks(folder, perceptual=False, features=True)
    assert one.perceptual is None and one.features is not None
    one.to("cpu")
    with pytest.raises(
        ModelError, match=r"vgg16_features_fp16.safetensors in .*no such file.*--without-f"
    ):
        load_perceptual_networks(tmp_path, perceptual=False, features=True)
