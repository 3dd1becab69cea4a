"""I3D: its stored check, its padding against TensorFlow's rule, what may not move its logits."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seg2vid.models.judges.i3d import I3D, WEIGHTS, convolved, load_i3d, max_pooled, same_padded
from seg2vid.tools.errors import ModelError


@pytest.fixture(scope="module")
def judge(shared_data: Path) -> I3D:
    """I3D with its real weights."""
    return load_i3d(shared_data / "judges")


@pytest.fixture(scope="module")
def clips(shared_data: Path) -> Float[Tensor, "2 9 3 64 128"]:
    """One clip of noise, one of a moving edge."""
    noise = torch.rand(1, 9, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    edge = torch.zeros(1, 9, 3, 64, 128)
    for time in range(9):
        edge[:, time, :, :, : 10 * time + 20] = 0.8
    return torch.cat((noise, edge))


@torch.no_grad()
def test_logits_of_the_seeded_clip_are_the_stored_ones(judge: I3D, shared_data: Path) -> None:
    check = json.loads((shared_data / "judges" / "i3d_check.json").read_text("utf-8"))
    generator = torch.Generator().manual_seed(0)
    logits = judge.network(torch.rand(1, 3, 16, 224, 224, generator=generator) * 2 - 1)[0]
    first = torch.tensor(check["logits_first_8"])
    torch.testing.assert_close(logits[:8], first, rtol=0, atol=check["tolerance"])
    assert int(logits.argmax()) == check["argmax"]
    # Of all 400: measured 3e-7 apart.
    assert float(logits.mean()) == pytest.approx(check["logit_mean"], abs=1e-5)
    assert float(logits.std()) == pytest.approx(check["logit_std"], abs=1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_company_threads_autocast_and_repetition_change_nothing(
    judge: I3D, clips: Float[Tensor, "2 9 3 64 128"]
) -> None:
    logits = judge(clips)
    alone = torch.cat([judge(clip) for clip in clips.split(1)])
    torch.testing.assert_close(alone, logits, rtol=0, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(judge(clips[:1]), alone[:1])
    torch.set_num_threads(2)
    try:
        torch.testing.assert_close(judge(clips[:1]), alone[:1], rtol=0, atol=1e-4)
    finally:
        torch.set_num_threads(1)


@pytest.mark.slow
@torch.no_grad()
def test_time_has_a_direction_and_half_the_precision_moves_little(
    judge: I3D, clips: Float[Tensor, "2 9 3 64 128"]
) -> None:
    forward, backward = judge(clips[1:]), judge(clips[1:].flip(1))
    assert (forward - backward).norm() > 0.05 * forward.norm()
    with torch.autocast("cpu", torch.bfloat16):
        resized = F.interpolate(clips[1], (224, 224), mode="bilinear") * 2 - 1
        rough = judge.network(resized.transpose(0, 1)[None]).float()
    assert 0.001 < float((rough - forward).norm() / forward.norm()) < 0.08


def test_clips_that_are_too_short_are_refused(judge: I3D) -> None:
    with pytest.raises(ModelError, match="at least 9 frames for I3D; got 8 frames; "):
        judge(torch.rand(1, 8, 3, 32, 32))


def test_the_judge_is_frozen_and_uses_every_tensor(judge: I3D, shared_data: Path) -> None:
    assert not judge.training and not any(p.requires_grad for p in judge.parameters())
    stored = load_file(shared_data / "judges" / WEIGHTS)
    convolutions = [name for name in stored if name.endswith("conv3d.weight")]
    # Weight and four of normalisation each; the last convolution has a bias instead.
    assert len(stored) == 5 * (len(convolutions) - 1) + 2 == 287
    assert len(judge.state_dict()) == 2 * len(convolutions)
    assert all(parameter.dtype == torch.float32 for parameter in judge.parameters())


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{WEIGHTS} in .*got no such file"):
        load_i3d(tmp_path)
    save_file({"logits.conv3d.weight": torch.zeros(1)}, tmp_path / WEIGHTS)
    with pytest.raises(ModelError, match=rf"{WEIGHTS} to have the SHA-256"):
        load_i3d(tmp_path)


# Parts.


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("window", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [7, 8, 9, 16])
def test_padding_is_that_of_tensorflow(size: int, window: int, stride: int) -> None:
    clip = torch.ones(1, 1, size, size, size)
    padded, padding = same_padded(clip, (window,) * 3, (stride,) * 3)
    # TensorFlow: ceil(size / stride) outputs, the smaller half of the padding in front.
    total = max(window - stride, 0) if size % stride == 0 else max(window - size % stride, 0)
    front, back = padding[0], padding[0] + padded.shape[2] - size
    assert (front, back) == (total // 2, total - total // 2)
    outputs = (size + front + back - window) // stride + 1
    assert outputs == -(-size // stride)
    assert padded.sum() == clip.sum()


def test_an_odd_zero_stands_behind() -> None:
    line = torch.arange(1.0, 7.0).view(1, 1, 1, 1, 6)
    assert max_pooled(line, (1, 1, 3), (1, 1, 2)).flatten().tolist() == [3, 5, 6]
    seven = line[..., :5]
    assert max_pooled(seven, (1, 1, 3), (1, 1, 2)).flatten().tolist() == [2, 4, 5]


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (1, 1, 0), (7, 2, 3)])
def test_the_fast_convolution_is_the_plain_one(kernel: int, stride: int, padding: int) -> None:
    layer = nn.Conv3d(8, 5, kernel, stride)
    clip = torch.randn(1, 8, 9, 10, 12, requires_grad=True)
    fast = convolved(clip, layer, (padding,) * 3)
    exact = F.conv3d(clip.double(), layer.weight.double(), layer.bias.double(), stride, padding)
    torch.testing.assert_close(fast.double(), exact, rtol=0, atol=1e-4)
    gradients = [torch.autograd.grad(x.square().sum(), clip)[0] for x in (fast, exact)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-3)
