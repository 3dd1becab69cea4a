"""The three kinds of teachers: what they are shown, what they answer, and how they refuse."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from seg2vid.data.teachers.labels import (
    BundledTeacher,
    HubTeacher,
    OnnxTeacher,
    get_label_teacher,
    match_classes,
)
from seg2vid.data.teachers.teacher import LabelTeacher, label_clip
from seg2vid.labels.space import get_label_space
from seg2vid.models.checkpoint import save_checkpoint
from seg2vid.models.config import ModelConfig
from seg2vid.models.segmenter import Segmenter
from seg2vid.tools.devices import fast_arithmetic
from seg2vid.tools.errors import ModelError, Seg2VidError
from tests.tiny import SEGMENTER

SPACE = get_label_space("cityscapes")
"""19 classes."""


def is_distribution(probabilities: Float[Tensor, "batch class height width"]) -> bool:
    """Say whether the classes of every pixel sum to 1."""
    total = probabilities.sum(1)
    return torch.allclose(total, torch.ones_like(total), atol=1e-4) and bool(
        (probabilities >= 0).all()
    )


# Our own.


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A weight file of a small segmenter that nobody has trained."""
    config = ModelConfig(label_space=SPACE.to_dict(), segmenter=SEGMENTER)
    network = Segmenter(SEGMENTER, num_classes=SPACE.void_id)
    path = tmp_path / "mine" / "model.safetensors"
    save_checkpoint(path, {"segmenter": network}, config, {"command": "test"})
    return path


@pytest.mark.parametrize("size", [(32, 64), (37, 51), (5, 90)])
def test_our_own_labels_pictures_of_any_size(weights: Path, size: tuple[int, int]) -> None:
    teacher = BundledTeacher(weights)
    assert isinstance(teacher, LabelTeacher) and isinstance(teacher.network, torch.nn.Module)
    assert teacher.space == SPACE and not teacher.network.training
    found = teacher.probabilities(torch.rand(2, 3, *size))
    assert found.shape == (2, 19, *size) and is_distribution(found)


def test_our_own_sees_a_picture_of_its_working_size_as_it_is(weights: Path) -> None:
    teacher, pictures = BundledTeacher(weights, pixels=32 * 64), torch.rand(2, 3, 32, 64)
    with fast_arithmetic(torch.device("cpu")):
        logits = teacher.network(pictures).float()
    torch.testing.assert_close(teacher.probabilities(pictures), logits.softmax(1))


def test_our_own_enlarges_small_pictures(weights: Path) -> None:
    seen = []
    teacher = BundledTeacher(weights)
    teacher.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2:]))
    teacher.probabilities(torch.rand(1, 3, 128, 256))
    teacher.probabilities(torch.rand(1, 3, 512, 1024))
    assert seen == [(192, 384), (192, 384)]


def test_our_own_is_named_after_its_place_and_content(weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(weights.read_bytes())
    names = []
    for place in (weights, weights.parent, copy):
        teacher = get_label_teacher(str(place))
        assert isinstance(teacher, BundledTeacher)
        names.append(teacher.name)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    assert names == [f"seg2vid/{label}:{digest}" for label in ("mine", "mine", "copy")]


def test_our_own_follows_the_clip_and_comes_back(weights: Path) -> None:
    teacher, pictures = BundledTeacher(weights), 0.2 * torch.rand(3, 3, 32, 64)
    own = teacher.probabilities(pictures)
    adapted = label_clip(teacher, pictures, smooth=0.0, adapt=1.0)[1]
    plain = label_clip(teacher, pictures, smooth=0.0)[1]
    assert not torch.allclose(adapted, plain, atol=0.01)
    assert torch.equal(teacher.probabilities(pictures), own)


def test_a_file_without_a_segmenter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, {}, ModelConfig(label_space=SPACE.to_dict()), {})
    with pytest.raises(ModelError, match=r"tensors of segmenter; got missing \['across"):
        get_label_teacher(str(path))
    with pytest.raises(ModelError, match=r"weight file at .*; got no such file"):
        get_label_teacher(str(tmp_path))


# ONNX. The format is written by hand, so that no further package is needed: a 1x1 convolution.


def field(number: int, value: bytes | str | int) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """A whole number, seven bits a byte."""
    head, rest = value & 127, value >> 7
    return bytes([head | 128]) + varint(rest) if rest else bytes([head])


def value_info(name: str, shape: tuple[int | str, ...]) -> bytes:
    """Name and shape of an input or output of floats; a word stands for a free size."""
    sizes = (field(1, s) if isinstance(s, int) else field(2, s) for s in shape)
    dimensions = b"".join(field(1, size) for size in sizes)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dimensions)))


def write_onnx(
    path: Path, *, classes: int = 19, channels: int = 3, size: tuple[int | str, ...] = (16, 32)
) -> Float[Tensor, "class channel 1 1"]:
    """Write a network of one convolution and return its kernel."""
    kernel = 8 * torch.randn(classes, channels, 1, 1, generator=torch.Generator().manual_seed(0))
    dimensions = b"".join(field(1, side) for side in kernel.shape)
    stored = dimensions + field(2, 1) + field(8, "kernel") + field(9, kernel.numpy().tobytes())
    node = field(1, "image") + field(1, "kernel") + field(2, "logits") + field(4, "Conv")
    graph = field(1, node) + field(2, "tiny") + field(5, stored)
    graph += field(11, value_info("image", (1, channels, *size)))
    graph += field(12, value_info("logits", (1, classes, *size)))
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 17)))
    return kernel


def test_onnx_labels_pictures_of_its_own_size(tmp_path: Path) -> None:
    kernel = write_onnx(tmp_path / "tiny.onnx")
    teacher = get_label_teacher(str(tmp_path / "tiny.onnx"))
    assert isinstance(teacher, OnnxTeacher) and isinstance(teacher, LabelTeacher)
    assert teacher.name.startswith("onnx:tiny:") and len(teacher.name) == 10 + 12
    pictures = torch.rand(3, 3, 16, 32)
    expected = F.conv2d(pictures, kernel).softmax(1)
    torch.testing.assert_close(teacher.probabilities(pictures), expected, rtol=1e-4, atol=1e-5)


def test_onnx_is_shown_its_size_and_answers_in_the_pictures(tmp_path: Path) -> None:
    kernel = write_onnx(tmp_path / "tiny.onnx")
    pictures = torch.rand(2, 3, 4, 8).repeat_interleave(12, 2).repeat_interleave(12, 3)
    found = OnnxTeacher(tmp_path / "tiny.onnx").probabilities(pictures)
    assert found.shape == (2, 19, 48, 96) and is_distribution(found)
    centres = F.conv2d(pictures, kernel).argmax(1)[:, 6::12, 6::12]
    assert float((found.argmax(1)[:, 6::12, 6::12] == centres).float().mean()) > 0.9


def test_onnx_of_a_free_size_is_shown_the_pictures_as_they_are(tmp_path: Path) -> None:
    kernel = write_onnx(tmp_path / "free.onnx", size=("height", "width"))
    pictures = torch.rand(1, 3, 20, 12)
    found = OnnxTeacher(tmp_path / "free.onnx").probabilities(pictures)
    expected = F.conv2d(pictures, kernel).softmax(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_onnx_cannot_follow_the_clip(tmp_path: Path) -> None:
    write_onnx(tmp_path / "tiny.onnx")
    with pytest.raises(ModelError, match=r"got onnx:tiny:\w{12}; set adapt to 0"):
        label_clip(OnnxTeacher(tmp_path / "tiny.onnx"), torch.rand(2, 3, 16, 32), adapt=0.5)


def test_what_is_no_segmenter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    with pytest.raises(ModelError, match=r"a segmenter; got no file .*bad\.onnx"):
        get_label_teacher(str(path))
    path.write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"an ONNX network in .*; export it again"):
        OnnxTeacher(path)
    write_onnx(path, classes=21)
    with pytest.raises(ModelError, match=r"logits \(1, 19, .*output \[1, 21, 16, 32\]; export"):
        OnnxTeacher(path)
    write_onnx(path, channels=1)
    with pytest.raises(ModelError, match=r"one input \(1, 3, .*got input \[\[1, 1, 16, 32\]\]"):
        OnnxTeacher(path)


def test_missing_packages_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_onnx(tmp_path / "tiny.onnx")
    for package, name in (
        ("onnxruntime", str(tmp_path / "tiny.onnx")),
        ("transformers", f"hf:{tmp_path}"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(Seg2VidError, match=rf"no {package} .*pip install 'seg2vid\[label\]'"):
            get_label_teacher(name)


@pytest.mark.slow
def test_the_shared_segmenter_is_right_on_a_photo(shared_data: Path) -> None:
    import numpy as np
    from PIL import Image

    teacher = OnnxTeacher(shared_data / "judges" / "espnetv2_cityscapes_1024x512.onnx")
    folder = shared_data / "cityscapes_stills" / "val"
    right = []
    for number in sorted((folder / "photos").iterdir())[:5]:
        photo = torch.from_numpy(np.array(Image.open(number))).permute(2, 0, 1)[None] / 255
        truth = torch.from_numpy(np.array(Image.open(folder / "labels" / f"{number.stem}.png")))
        ids = teacher.probabilities(photo).argmax(1)[0]
        right.append(float((ids == truth)[truth < 19].float().mean()))
    # Made for 1024x512: enlarged small pictures are not its strength.
    assert sum(right) / 5 > 0.6


# The hub.


def test_classes_match_by_name() -> None:
    names = {
        0: "Traffic_Light",
        1: "sidewalk, pavement",
        2: "spaceship",
        3: "tree",
        4: "VEGETATION",
        5: "minibike, motorbike",
    }
    assert match_classes(names, SPACE) == {0: 6, 1: 1, 3: 8, 4: 8, 5: 17}
    own = dict(enumerate(SPACE.names[:-1]))
    assert match_classes(own, SPACE) == {number: number for number in range(19)}


def test_a_network_of_other_things_is_refused() -> None:
    with pytest.raises(ModelError, match=r"cityscapes: road, sidewalk.*; got cat, dog; use one"):
        match_classes({0: "cat", 1: "dog"}, SPACE)


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SegFormer that nobody has trained; of its four classes one is not ours."""
    transformers = pytest.importorskip("transformers")
    names = dict(enumerate(["spaceship", "Car", "traffic_light", "tree"]))
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 8, 8],
        num_attention_heads=[1, 1, 1, 1],
        sr_ratios=[4, 2, 1, 1],
        decoder_hidden_size=8,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    torch.manual_seed(0)
    network = transformers.SegformerForSemanticSegmentation(config)
    folder = tmp_path_factory.mktemp("segformer")
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5], "size": {"height": 64}}'
    )
    return folder


@pytest.mark.slow
def test_the_hub_labels_by_names_that_are_ours(segformer: Path) -> None:
    teacher = get_label_teacher(f"hf:{segformer}")
    assert isinstance(teacher, HubTeacher) and isinstance(teacher.network, torch.nn.Module)
    assert teacher.name == f"hf:{segformer}"
    pictures = torch.rand(2, 3, 64, 96)
    found = teacher.probabilities(pictures)
    assert found.shape == (2, 19, 64, 96) and is_distribution(found)
    assert found.sum((0, 2, 3)).nonzero().flatten().tolist() == [6, 8, 13]
    # The same by hand: normalise, ask, enlarge, leave the spaceship out.
    mean, deviation = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.25, 0.5]]).view(2, 3, 1, 1)
    with torch.no_grad(), fast_arithmetic(torch.device("cpu")):
        logits = teacher.network(pixel_values=(pictures - mean) / deviation).logits.float()
    logits = F.interpolate(logits, (64, 96), mode="bilinear")
    car, light, tree = logits[:, 1:].softmax(1).unbind(1)
    torch.testing.assert_close(found[:, [13, 6, 8]], torch.stack((car, light, tree), 1))
    assert teacher.probabilities(torch.rand(1, 3, 30, 50)).shape == (1, 19, 30, 50)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"preprocessor_config\.json; got no file .*; check the path"),
        ("{", r"preprocessor_config\.json in .*; got no JSON: .*; save the network with"),
        ("[]", r"a mapping in .*preprocessor_config\.json; got \[\]; save the network with"),
        ('{"image_mean": [0, 0, 0]}', "image_mean and image_std in .*; got no image_std; save it"),
    ],
)
def test_the_hub_needs_to_know_how_pictures_are_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))
    if content is not None:
        (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        HubTeacher(tmp_path)


@pytest.mark.slow
def test_the_hub_may_leave_colours_as_they_are(segformer: Path, tmp_path: Path) -> None:
    for file in segformer.iterdir():
        (tmp_path / file.name).symlink_to(file)
    own = tmp_path / "preprocessor_config.json"
    own.unlink()
    own.write_text('{"do_normalize": false}')
    teacher = HubTeacher(tmp_path)
    assert teacher.height == 512 and teacher.mean.flatten().tolist() == [0, 0, 0]


@pytest.mark.slow
def test_a_folder_without_weights_is_no_network(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    with pytest.raises(ModelError, match=r"segmenter on the hub or in a folder; got .*check the"):
        HubTeacher(tmp_path)


# Names.


@pytest.mark.parametrize("name", ["deeplab", "nowhere/model.safetensors"])
def test_an_unknown_teacher_is_answered_with_the_kinds_there_are(name: str) -> None:
    with pytest.raises(Seg2VidError, match=rf"segmenter, FILE\.onnx, hf:NAME.*; got '{name}'"):
        get_label_teacher(name)
