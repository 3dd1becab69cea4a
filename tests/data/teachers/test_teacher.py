"""Pseudo labels: what mirroring, smoothing, adapting and moving do to label maps, with teachers
that are known through and through.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.data.teachers.teacher import (
    adapted_statistics,
    fill_along_flow,
    label_clip,
    smooth_along_flow,
)
from seg2vid.labels.space import get_label_space
from seg2vid.tools.errors import ModelError, Seg2VidError

SPACE = get_label_space("cityscapes")
VOID = SPACE.void_id
PLAIN: dict[str, Any] = {"flip": False, "smooth": 0.0}


class TinyTeacher:
    """A network with batch norm whose kernels are not symmetrical."""

    name = "tiny"
    space = SPACE

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, 1, 1),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, VOID, 1),
        )
        self.network.eval().requires_grad_(False)

    def probabilities(
        self, pictures: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch class height width"]:
        return (3 * self.network(pictures)).softmax(1)


class GreyTeacher:
    """Takes a grey value of id / 100 for the class; nothing in it can be adapted."""

    name = "grey"
    space = SPACE

    def probabilities(
        self, pictures: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch class height width"]:
        ids = (pictures[:, 0] * 100).round().long().clamp(0, VOID - 1)
        likely = F.one_hot(ids, VOID).permute(0, 3, 1, 2).float()
        return 0.8 * likely + 0.2 / VOID


class Shift:
    """Everything goes right by so many pixels from frame to frame; pictures tell the time."""

    name = "shift"

    def __init__(self, dx: float, *, times: list[float] | None = None) -> None:
        self.dx, self.asked = dx, times or []

    def flow(
        self,
        first: Float[Tensor, "batch 3 height width"],
        second: Float[Tensor, "batch 3 height width"],
    ) -> Float[Tensor, "batch 2 height width"]:
        # The blue of the corner counts the frames.
        elapsed = (second[:, 2, 0, 0] - first[:, 2, 0, 0]).mul(100).round()
        flow = torch.zeros_like(first[:, :2])
        flow[:, 0] = (self.dx * elapsed).view(-1, 1, 1)
        return flow


def moving_clip(time: int, dx: int) -> Float[Tensor, "time 3 height width"]:
    """A car (id 13) on a road (id 0) that goes right by ``dx`` pixels a frame."""
    pictures = torch.zeros(time, 3, 12, 24)
    for t in range(time):
        pictures[t, :2, 4:8, 4 + dx * t : 10 + dx * t] = 0.13
        pictures[t, 2] = t / 100
    return pictures


def car(t: int, dx: int) -> Int[Tensor, "12 24"]:
    """Its label map at time ``t``."""
    return (moving_clip(t + 1, dx)[t, 0] * 100).round().long()


# The label maps of a clip.


def test_each_frame_gets_its_most_likely_classes() -> None:
    labels = label_clip(GreyTeacher(), moving_clip(3, 2), **PLAIN)
    assert torch.equal(labels[0], torch.stack([car(t, 2) for t in range(3)]))
    torch.testing.assert_close(labels[1], torch.full((3, 12, 24), 0.8 + 0.2 / VOID))


def test_a_long_clip_is_shown_in_parts() -> None:
    pictures = torch.rand(19, 3, 8, 16)
    whole = TinyTeacher().probabilities(pictures).argmax(1)
    assert torch.equal(label_clip(TinyTeacher(), pictures, **PLAIN)[0], whole)


def test_a_mirrored_clip_gets_mirrored_labels() -> None:
    pictures = torch.rand(2, 3, 8, 16)
    options: dict[str, Any] = {"flip": True, "smooth": 0.0}
    straight = label_clip(TinyTeacher(), pictures, **options)
    mirrored = label_clip(TinyTeacher(), pictures.flip(-1), **options)
    torch.testing.assert_close(mirrored[1].flip(-1), straight[1])
    assert torch.equal(mirrored[0].flip(-1), straight[0])
    # The teacher alone does not do that.
    alone = [label_clip(TinyTeacher(), p, **PLAIN)[0] for p in (pictures, pictures.flip(-1))]
    assert not torch.equal(alone[0], alone[1].flip(-1))


def test_mean_with_the_mirror_image_is_what_confidence_tells() -> None:
    pictures, teacher = torch.rand(1, 3, 8, 16), TinyTeacher()
    mirrored = teacher.probabilities(pictures.flip(-1)).flip(-1)
    expected = (teacher.probabilities(pictures) + mirrored).amax(1) / 2
    found = label_clip(teacher, pictures, smooth=0.0)[1]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("least", "share"), [(0.0, 0.0), (0.5, 0.0), (0.9, 1.0), (1.0, 1.0)])
def test_unsure_pixels_become_void(least: float, share: float) -> None:
    options: dict[str, Any] = {"min_confidence": least}
    labels = label_clip(GreyTeacher(), moving_clip(2, 0), **options)
    assert float((labels[0] == VOID).float().mean()) == share
    assert labels[1].min() > 0.8


def test_even_a_certain_teacher_is_not_surer_than_one() -> None:
    teacher = GreyTeacher()
    certain = F.one_hot(torch.zeros(1, 12, 24).long(), VOID).permute(0, 3, 1, 2).float()
    teacher.probabilities = lambda p: certain  # type: ignore[method-assign]
    labels = label_clip(teacher, moving_clip(1, 0), min_confidence=1.0)
    assert bool((labels[0] == VOID).all())


# Smoothing along flow.


def noisy_probabilities(time: int) -> Float[Tensor, "time class 12 24"]:
    """Frame by frame other noise around the same two classes."""
    logits = torch.zeros(time, VOID, 12, 24)
    logits[:, 0], logits[:, 1, :, 12:] = 2, 2.5
    return (logits + torch.randn(logits.shape)).softmax(1)


def flicker(probabilities: Float[Tensor, "time class height width"]) -> float:
    """Share of pixels whose class changes from frame to frame."""
    ids = probabilities.argmax(1)
    return float((ids[1:] != ids[:-1]).float().mean())


def test_smoothing_lessens_the_flicker_of_a_static_clip() -> None:
    probabilities, pictures = noisy_probabilities(8), moving_clip(8, 0)
    amounts = [
        flicker(smooth_along_flow(probabilities, pictures, Shift(0), weight=weight))
        for weight in (0.0, 0.3, 0.6)
    ]
    assert amounts[0] == flicker(probabilities) and amounts[0] > 0.1
    assert amounts[1] < 0.8 * amounts[0] and amounts[2] < 0.8 * amounts[1]


def test_smoothing_is_the_weighted_mean_of_three_frames() -> None:
    probabilities = noisy_probabilities(3)
    smoothed = smooth_along_flow(probabilities, moving_clip(3, 0), Shift(0), weight=0.5)
    before, here, after = probabilities
    torch.testing.assert_close(smoothed[1], 0.5 * here + 0.25 * (before + after))
    torch.testing.assert_close(smoothed[0], 0.75 * before + 0.25 * here)
    torch.testing.assert_close(smoothed.sum(1), torch.ones(3, 12, 24))


def test_smoothing_looks_where_the_thing_has_gone() -> None:
    # One frame is mistaken about the car; its neighbours, read along the flow, put that right.
    pictures = moving_clip(3, 4)
    probabilities = GreyTeacher().probabilities(pictures)
    mistaken = probabilities.clone()
    mistaken[1] = 1 / VOID
    for dx, share in ((4, 1.0), (0, 0.5), (-4, 0.5)):
        ids = smooth_along_flow(mistaken, pictures, Shift(dx), weight=0.6)[1].argmax(0)
        is_car = car(1, 4) == 13
        agreement = float((ids == 13)[is_car].float().mean())
        assert agreement == 1 if share == 1 else agreement < 0.75
    right = smooth_along_flow(mistaken, pictures, Shift(4), weight=0.6)[1].argmax(0)
    assert torch.equal(right == 13, car(1, 4) == 13)


def test_what_is_hidden_in_a_neighbour_is_not_read_there() -> None:
    probabilities, pictures = noisy_probabilities(2), moving_clip(2, 3)
    smoothed = smooth_along_flow(probabilities, pictures, Shift(3), weight=1.0)
    # The last three columns of frame 0 have left the picture in frame 1.
    assert torch.equal(smoothed[0, :, :, -3:], probabilities[0, :, :, -3:])
    torch.testing.assert_close(
        smoothed[0, :, :, :-3],
        (probabilities[0, :, :, :-3] + probabilities[1, :, :, 3:]) / 2,
        atol=1e-5,
        rtol=0,
    )


def test_one_frame_has_no_neighbours_to_be_smoothed_with() -> None:
    labels = label_clip(GreyTeacher(), moving_clip(1, 0), Shift(0))
    assert torch.equal(labels[0][0], car(0, 0))


def test_smoothing_needs_both_flow_and_weight() -> None:
    pictures = torch.rand(4, 3, 8, 16)
    plain = label_clip(TinyTeacher(), pictures, **PLAIN)
    for options, flow in ((PLAIN, Shift(0)), (PLAIN | {"smooth": 1.0}, None)):
        assert torch.equal(label_clip(TinyTeacher(), pictures, flow, **options)[1], plain[1])
    smooth = label_clip(TinyTeacher(), pictures, Shift(0), flip=False)
    assert not torch.equal(smooth[1], plain[1])


# Statistics that follow the clip.


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Hold that a network leaves as it came, hooks included."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    yield
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert not network.training


def test_no_adaptation_changes_nothing() -> None:
    teacher, pictures = TinyTeacher(), torch.rand(3, 3, 8, 16)
    with unchanged(teacher.network):
        labels = label_clip(teacher, pictures, flip=False, smooth=0.0, adapt=0.0)
    assert torch.equal(labels[1], teacher.probabilities(pictures).amax(1))


def test_full_adaptation_is_batch_norm_as_in_training() -> None:
    teacher, pictures = TinyTeacher(), 0.3 * torch.rand(4, 3, 8, 16)
    own = teacher.probabilities(pictures)
    with unchanged(teacher.network):
        labels = label_clip(teacher, pictures, flip=False, smooth=0.0, adapt=1.0)
    assert torch.equal(teacher.probabilities(pictures), own)
    teacher.network.train()
    trained = teacher.probabilities(pictures)
    torch.testing.assert_close(labels[1], trained.amax(1), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(labels[1], own.amax(1), atol=0.01)


def test_half_adaptation_lies_between() -> None:
    teacher, pictures = TinyTeacher(), 0.3 * torch.rand(4, 3, 8, 16)
    norm = teacher.network[1]
    features = teacher.network[0](pictures)
    with adapted_statistics(teacher.network, lambda: teacher.network(pictures), share=0.5):
        torch.testing.assert_close(norm.running_mean, features.mean((0, 2, 3)) / 2)
        variance = features.var((0, 2, 3), correction=0)
        torch.testing.assert_close(norm.running_var, (variance + 1) / 2)
    assert not norm.running_mean.any() and bool((norm.running_var == 1).all())


def test_adaptation_ends_with_an_error_too() -> None:
    teacher = TinyTeacher()

    def fail() -> None:
        teacher.network(torch.rand(1, 3, 8, 8))
        raise RuntimeError("the teacher fell over")

    with (
        unchanged(teacher.network),
        pytest.raises(RuntimeError, match="fell over"),
        adapted_statistics(teacher.network, fail, share=1.0),
    ):
        pass


def test_a_mirrored_clip_adapts_alike() -> None:
    pictures = 0.3 * torch.rand(3, 3, 8, 16)
    options: dict[str, Any] = {"smooth": 0.0, "adapt": 0.7}
    straight, mirrored = (
        label_clip(TinyTeacher(), p, **options)[1] for p in (pictures, pictures.flip(-1))
    )
    torch.testing.assert_close(mirrored.flip(-1), straight)


def test_a_long_clip_adapts_to_frames_of_all_its_length() -> None:
    shown: list[Tensor] = []
    teacher = TinyTeacher()
    pictures = torch.arange(30).float().view(30, 1, 1, 1).expand(-1, 3, 8, 8) / 30
    teacher.network.register_forward_pre_hook(lambda _module, inputs: shown.append(inputs[0]))
    label_clip(teacher, pictures, flip=False, smooth=0.0, adapt=0.5)
    times = [round(30 * float(picture.mean())) for picture in shown[0]]
    assert len(times) == 8 and times[0] == 0 and times[-1] == 29 and times == sorted(times)


def test_who_cannot_adapt_says_so() -> None:
    with pytest.raises(ModelError, match=r"follow the clip; got grey; set adapt to 0, or use a Py"):
        label_clip(GreyTeacher(), moving_clip(2, 0), adapt=0.5)
    teacher = TinyTeacher()
    teacher.network = nn.Sequential(nn.Conv2d(3, VOID, 1))
    with pytest.raises(ModelError, match=r"network with batch norm.*; got none in it; set adapt"):
        label_clip(teacher, moving_clip(2, 0), adapt=0.5)


@pytest.mark.parametrize("name", ["smooth", "adapt", "min_confidence"])
@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan])
def test_options_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(Seg2VidError, match=rf"from 0 to 1 as {name}; got {value}; choose"):
        label_clip(GreyTeacher(), moving_clip(2, 0), **{name: value})


# Maps that are there for some frames only.


def test_a_label_goes_where_its_pixel_goes() -> None:
    filled = fill_along_flow([car(0, 2), None, None], moving_clip(3, 2), Shift(2), VOID)
    for t in (1, 2):
        assert torch.equal(filled[t, :, 2 * t :], car(t, 2)[:, 2 * t :])
        # Nobody has seen what came in at the left.
        assert bool((filled[t, :, : 2 * t] == VOID).all())


def test_labels_also_go_back_in_time() -> None:
    filled = fill_along_flow([None, None, car(2, 2)], moving_clip(3, 2), Shift(2), VOID)
    assert torch.equal(filled[0, :, :-4], car(0, 2)[:, :-4])
    assert bool((filled[0, :, -4:] == VOID).all())


def test_each_frame_asks_the_nearest_that_has_a_map() -> None:
    maps: list[Int[Tensor, "12 24"] | None] = [None] * 6
    maps[0], maps[4] = torch.full((12, 24), 7), torch.full((12, 24), 9)
    filled = fill_along_flow(maps, moving_clip(6, 0), Shift(0), VOID)
    assert filled[:, 0, 0].tolist() == [7, 7, 7, 9, 9, 9]


def test_given_maps_stay_as_they_are() -> None:
    maps = [torch.randint(VOID + 1, (12, 24)) for _ in range(3)]
    filled = fill_along_flow(maps, moving_clip(3, 1), Shift(1), VOID)
    assert torch.equal(filled, torch.stack(maps))


@pytest.mark.parametrize("maps", [[None, None], [torch.zeros(12, 24).long()], []])
def test_a_clip_without_any_map_cannot_be_filled(maps: list[Tensor | None]) -> None:
    with pytest.raises(Seg2VidError, match=r"for each of 2 frames, at least one map; got \d entri"):
        fill_along_flow(maps, moving_clip(2, 0), Shift(0), VOID)
