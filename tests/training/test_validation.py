"""What stages are measured by: figures of perfect predictions, which clips, what is better."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seg2vid.structures import Animation, Clip
from seg2vid.tools.errors import TrainingError
from seg2vid.training import validation as train_validation
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.segmenter import SegmenterStage
from seg2vid.training.stage import Stage
from seg2vid.training.validation import (
    FIGURES,
    average,
    find_choice,
    is_better,
    measure,
    pick_clips,
)
from tests.tiny import SEGMENTER_TRAINING
from tests.training.test_folder import Rendered
from tests.training.test_stage import SMALL, first_frame, motion
from tests.training.test_stage import clip as clip  # the fixture

Figures = dict[str, float]


def one(clip: Clip) -> Clip:
    return clip.sample(0)


# Figures.


def exact_animation(clip: Clip) -> Animation:
    """Frames, motion and labels as they really are."""
    assert clip.motion is not None and clip.label_maps is not None
    labels = F.one_hot(clip.label_maps[:, :, ::2, ::2], 20).float()
    logits = 100 * labels.permute(0, 1, 4, 2, 3)
    return Animation(clip.motion, clip.frames, clip.frames, logits)


@pytest.fixture
def perfect(clip: Clip) -> Figures:
    """What the motion stage comes to if its animator returns what really happened."""
    stage = motion()
    stage.animator.forward = lambda *given: exact_animation(one(clip))  # type: ignore[method-assign]
    return measure(stage, one(clip))


def test_perfect_motion_has_no_error(perfect: Figures) -> None:
    for name in ("L1, posterior", "L1, prior", "end-point error, posterior [px]"):
        assert perfect[name] == 0, name
    assert perfect["diversity of flow, two draws [px]"] == 0
    assert perfect["visibility average precision, posterior"] == pytest.approx(1)
    assert perfect["forward-backward error, posterior [px]"] < 0.5
    assert perfect["label accuracy, posterior"] > perfect["label accuracy, first frame repeated"]


def test_what_stands_beside_the_motion_is_not_perfect(perfect: Figures, clip: Clip) -> None:
    exact = exact_animation(one(clip)).motion
    still = (one(clip).first_frame.unsqueeze(1) - one(clip).frames).abs().mean()
    assert perfect["L1, first frame repeated"] == pytest.approx(float(still), rel=1e-4)
    seen = exact.backward_visible[:, :, 0] > 0
    lengths = exact.backward_flow.square().sum(2).sqrt()[0]
    frames = zip(lengths, seen[0], strict=True)
    length = sum(float(one[shown].mean()) for one, shown in frames) / len(lengths)
    assert perfect["end-point error, zero flow [px]"] == pytest.approx(length, rel=1e-4)
    assert not any("LPIPS" in name for name in perfect), "no network, no LPIPS"


def test_clip_that_knows_nothing_has_fewer_figures(clip: Clip) -> None:
    bare = replace(one(clip), motion=None, label_maps=None, ego_motion=None)
    found = measure(motion(), bare)
    assert {"L1, posterior", "L1, prior", "forward-backward error, prior [px]"} <= set(found)
    assert not any("end-point" in name or "label" in name for name in found)
    assert all(math.isfinite(value) for value in found.values())


class Perfect:
    """A segmenter that knows the answer."""

    def __init__(self, label_map: Tensor) -> None:
        self.label_map = label_map

    def probabilities(self, picture: Tensor) -> Tensor:
        return F.one_hot(self.label_map, 20).permute(0, 3, 1, 2).float()


def test_perfect_first_frame_has_no_error(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, given = first_frame(), one(clip)
    stage.average.forward = lambda *looks: given.first_frame  # type: ignore[method-assign]
    monkeypatch.setattr(train_validation, "_segmenter", lambda: Perfect(given.label_map))
    found = measure(stage, given)
    assert found == {
        "L1, own look": 0,
        "diversity, L1 between looks": 0,
        "label accuracy, drawn look": 1,
        "label accuracy, real frame": 1,
    }


def test_first_frame_is_measured_by_the_average_that_is_shipped(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_validation, "_segmenter", lambda: Perfect(one(clip).label_map))
    stage = first_frame()
    before = measure(stage, one(clip))
    assert before["diversity, L1 between looks"] > 0
    with torch.no_grad():
        for parameter in stage.first_frame.parameters():
            parameter.add_(1)
    assert measure(stage, one(clip)) == before
    with torch.no_grad():
        for parameter in stage.average.parameters():
            parameter.add_(1)
    assert measure(stage, one(clip)) != before


def test_perfect_segmenter_has_no_error(clip: Clip) -> None:
    stage = SegmenterStage(SMALL, SEGMENTER_TRAINING)
    given = one(clip)
    answer = F.one_hot(given.label_map, 20).permute(0, 3, 1, 2).float()[:, :19]
    stage.average.forward = lambda picture: answer  # type: ignore[method-assign]
    found = measure(stage, given)
    assert found == {"pixel accuracy": 1, "mean IoU of a photo": 1}
    stage.average.forward = lambda picture: answer.roll(1, 1)  # type: ignore[method-assign]
    found = measure(stage, given)
    assert found == {"pixel accuracy": 0, "mean IoU of a photo": 0}


# Measuring.


@pytest.mark.parametrize("is_training", [True, False])
def test_stage_is_measured_in_evaluation_mode_and_given_back(
    clip: Clip, is_training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def figures(stage: Stage, clip: Clip) -> Figures:
        assert not any(module.training for module in stage.modules())
        assert not torch.is_grad_enabled()
        raise RuntimeError("measured")

    monkeypatch.setitem(FIGURES, FirstFrameStage, figures)
    stage = first_frame().train(is_training)
    with pytest.raises(RuntimeError, match="measured"):
        measure(stage, one(clip))
    assert stage.training == stage.first_frame.training == is_training


def test_figures_are_averaged_over_the_clips_that_have_them() -> None:
    rows = [{"b": 1.0, "a": 2.0}, {"b": 2.0}, {"b": 6.0, "a": 4.0, "c": 5.0}]
    rows.append({"a": math.nan, "b": 3.0})
    assert list(average(rows).items()) == [("a", 3.0), ("b", 3.0), ("c", 5.0)]
    assert math.isnan(average([{"a": math.nan}] * 2)["a"]), "no number of nothing"
    assert average([]) == {}


@pytest.mark.parametrize(
    ("name", "is_higher"),
    [
        ("LPIPS, posterior", False),
        ("L1, own look", False),
        ("end-point error, posterior [px]", False),
        ("forward-backward error, prior [px]", False),
        ("pixel accuracy", True),
        ("label accuracy, prior", True),
        ("mean IoU of a photo", True),
        ("visibility average precision, posterior", True),
        ("diversity, LPIPS between looks", True),
    ],
)
def test_direction_of_every_figure(name: str, is_higher: bool) -> None:
    assert is_better(name, 2.0, 1.0) == is_higher
    assert is_better(name, 1.0, 2.0) != is_higher
    assert not is_better(name, 1.0, 1.0), "of equals the first is kept"


def test_choice_is_the_first_that_a_stage_has_or_what_is_wanted() -> None:
    figures = {"L1, posterior": 1.0, "LPIPS, posterior": 2.0, "label accuracy, prior": 0.5}
    assert find_choice(figures, "") == "LPIPS, posterior"
    assert find_choice({"x": 1.0, "pixel accuracy": 1.0}, "") == "pixel accuracy"
    assert find_choice(figures, "label accuracy, prior") == "label accuracy, prior"
    wanted = r"L1, posterior; LPIPS, posterior; label accuracy, prior; got 'LPIPS'; name one .*\.$"
    with pytest.raises(TrainingError, match=wanted):
        find_choice(figures, "LPIPS")


# Which clips.


class Numbered:
    """A source that says what it is asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def read(self, index: int, /) -> Any:
        return self.count, index

    def read_still(self, index: int, time: int, /) -> Clip:
        raise AssertionError


def test_clips_are_spread_evenly_over_all_sources() -> None:
    few, many = Numbered(10), Numbered(90)
    assert [read() for read in pick_clips([few, many], 12, stills=False)] == [
        *[(10, 0), (10, 9), (90, 8), (90, 17), (90, 26), (90, 35)],
        *[(90, 44), (90, 53), (90, 62), (90, 71), (90, 80), (90, 89)],
    ]
    assert len(pick_clips([few], 16, stills=False)) == 10
    for sources, count in (([few], 0), ([], 5), ([Numbered(0)], 5)):
        assert pick_clips(sources, count, stills=False) == []


def test_stage_of_stills_is_shown_the_first_frame_alone() -> None:
    source = Rendered(1)
    whole, still = (pick_clips([source], 1, stills=stills)[0]() for stills in (False, True))
    assert whole.frames.shape[1] == SMALL.num_frames and still.frames.shape[1] == 0
