"""The evaluation: figures of a tiny real model, what standing still scores, the report."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seg2vid.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from seg2vid.data.clips import ClipFolder
from seg2vid.errors import ModelError
from seg2vid.evaluate import MotionModel, evaluate, held_out_clips, measure_clip, write_report
from seg2vid.metrics.motion import (
    consistency_error,
    end_point_error,
    hidden_average_precision,
    hidden_f1,
)
from seg2vid.metrics.semantics import pixel_accuracy
from seg2vid.models.animator import Animator
from seg2vid.models.motion_encoder import MotionEncoder
from seg2vid.structures import Animation, Clip, Motion
from tests.tiny import CONFIG, write_clips


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = ClipFolder(write_clips(tmp_path_factory.mktemp("clips"), count=1))
    return folder.read(0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    space_size = len(CONFIG.label_space["classes"]) + 1
    encoder = MotionEncoder(
        CONFIG.motion_encoder,
        CONFIG.flow_decoder,
        num_frames=CONFIG.num_frames,
        num_channels=space_size,
        foreground=tuple(range(11, 19)),
    )
    boxes = {"animator": Animator(CONFIG, num_channels=space_size), "motion_encoder": encoder}
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_checkpoint(path, boxes, CONFIG, {"training": "none"})
    return path


def test_hidden_f1_by_hand() -> None:
    exact, said = torch.ones(2, 1, 1, 2, 4), torch.ones(2, 1, 1, 2, 4)
    exact[0, ..., :2] = 0  # four pixels are hidden
    said[0, ..., 1:3] = 0.2  # four are said to be, two of them rightly
    assert hidden_f1(said, exact).tolist() == [0.5, 1.0]
    assert hidden_f1(exact, exact).tolist() == [1.0, 1.0]
    assert hidden_f1(torch.ones_like(exact), exact).tolist() == [0.0, 1.0]
    # Found where nothing is hidden: nothing right.
    assert hidden_f1(exact, torch.ones_like(exact)).tolist() == [0.0, 1.0]


def test_hidden_average_precision_by_hand() -> None:
    exact = torch.tensor([0.0, 1.0, 0.0, 1.0]).view(1, 1, 1, 1, 4)
    ranked = torch.tensor([0.1, 0.2, 0.3, 0.9]).view(1, 1, 1, 1, 4)
    # The hidden ones come first and third: precision 1 and 2/3.
    assert float(hidden_average_precision(ranked, exact)) == pytest.approx((1 + 2 / 3) / 2)
    assert float(hidden_average_precision(exact, exact)) == 1
    # The cut does not matter: all above a half is as good.
    assert float(hidden_average_precision(0.6 + 0.4 * exact, exact)) == 1
    assert float(hidden_average_precision(ranked, torch.ones_like(exact))) == 1


def test_end_point_error_by_hand() -> None:
    flow = torch.zeros(1, 1, 2, 1, 3)
    exact = flow.clone()
    exact[0, 0, :, 0, 0] = torch.tensor([3.0, 4.0])
    exact[0, 0, 0, 0, 1] = 100.0
    visible = torch.tensor([1.0, 0.0, 1.0]).view(1, 1, 1, 1, 3)
    # Pixels 0 and 2 count: (5 + 0) / 2. Counting the hidden one would give 35.
    torch.testing.assert_close(end_point_error(flow, exact, visible), torch.tensor([2.5]))
    assert float(end_point_error(flow, exact, torch.zeros_like(visible))) == 0


def test_consistency_error_by_hand() -> None:
    forward = torch.zeros(1, 1, 2, 8, 16)
    forward[:, :, 0] = 2.0
    visible = torch.ones(1, 1, 1, 8, 16)
    consistent = Motion(forward, -forward, visible, visible)
    assert float(consistency_error(consistent)) == pytest.approx(0, abs=1e-5)
    same_sign = Motion(forward, forward, visible, visible)
    assert float(consistency_error(same_sign)) == pytest.approx(4, abs=1e-4)


def test_pixel_accuracy_leaves_void_out() -> None:
    exact = torch.tensor([[[0, 1, 19, 19]]])
    guess = torch.tensor([[[0, 2, 3, 19]]])
    torch.testing.assert_close(pixel_accuracy(guess, exact, void_id=19), torch.tensor([0.5]))


class Oracle(MotionModel):
    """A model whose every answer is the clip itself."""

    def animate(self, clip: Clip) -> dict[str, Animation]:
        assert clip.motion is not None
        assert clip.label_maps is not None
        half = clip.label_maps[:, :, 1::2, 1::2]
        logits = torch.nn.functional.one_hot(half, 20).permute(0, 1, 4, 2, 3).float()
        whole = Animation(clip.motion, clip.frames, clip.frames, logits)
        return {"posterior": whole, "prior mean": whole}


def test_perfect_model_scores_perfectly(clip: Clip, weights: Path) -> None:
    model = MotionModel.load(load_checkpoint(weights))
    oracle = Oracle(model.animator, model.motion_encoder, model.config, model.label_space)
    figures = measure_clip(oracle, clip, judge=None)
    assert figures["end-point error backward, posterior [px]"] == 0
    assert figures["end-point error backward, zero flow [px]"] > 0
    assert figures["forward-backward error, posterior [px]"] < 0.5
    # Labels moved by exact flow are right but for the nearest pixel at edges.
    assert figures["label accuracy t=1, posterior"] > 0.95
    assert (
        figures["label accuracy t=1, posterior"]
        > figures["label accuracy t=1, first frame repeated"]
    )


def test_evaluate_averages_clips_and_tells_where_figures_come_from(
    clip: Clip, weights: Path, tmp_path: Path
) -> None:
    def source(config: Any, *, clips: int, seed: int) -> Iterator[Clip]:
        assert config == CONFIG
        yield from [clip] * clips

    one, two = (
        evaluate(str(weights), clips=count, seed=5, judge=None, source=source) for count in (1, 2)
    )
    assert one["figures"] == pytest.approx(two["figures"])
    figures = one["figures"]
    ratio = figures["end-point error backward, posterior / zero flow"]
    own = figures["end-point error backward, posterior [px]"]
    assert ratio == pytest.approx(own / figures["end-point error backward, zero flow [px]"])
    is_turning = clip.ego_motion is not None and abs(float(clip.ego_motion[0, -1, 2])) > 0.05
    assert figures["share of turning clips"] == float(is_turning)
    group = "turning" if is_turning else "straight"
    # One clip is its whole group, so the group's ratio is that of all.
    assert figures[f"end-point error backward, posterior / zero flow, {group}"] == ratio
    assert two["provenance"]["clips"] == "toy city, seeds 5 ... 6"
    write_report(one, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == one


def test_lpips_is_measured_where_the_judge_is(clip: Clip, weights: Path, shared_data: Path) -> None:
    from seg2vid.features import load_perceptual_distance

    model = MotionModel.load(load_checkpoint(weights))
    oracle = Oracle(model.animator, model.motion_encoder, model.config, model.label_space)
    figures = measure_clip(oracle, clip, load_perceptual_distance(shared_data / "judges"))
    assert figures["LPIPS, posterior"] == pytest.approx(0, abs=1e-6)
    assert figures["LPIPS, first frame repeated"] > 0.01


def test_held_out_clips_have_the_models_size_and_length() -> None:
    clips = list(held_out_clips(CONFIG, clips=2, seed=7, progress=False))
    assert [clip.frames.shape for clip in clips] == [(1, 3, 3, 64, 128)] * 2
    assert not torch.equal(clips[0].first_frame, clips[1].first_frame)


def test_model_without_motion_encoder_is_refused(weights: Path) -> None:
    whole = load_checkpoint(weights)
    kept = {n: t for n, t in whole.weights.items() if not n.startswith("motion_encoder.")}
    with pytest.raises(ModelError, match=r"tensors of motion_encoder; got missing"):
        MotionModel.load(Checkpoint(whole.config, kept, {}))


def test_clip_without_exact_motion_is_refused(clip: Clip, weights: Path) -> None:
    model = MotionModel.load(load_checkpoint(weights))
    with pytest.raises(ModelError, match=r"exact motion and labels; got .*; evaluate on toy city"):
        measure_clip(model, replace(clip, motion=None), judge=None)
