"""Candidates: baselines by hand, models beside the pipeline, oracles, and what they are given."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seg2vid.evaluation import candidates as module
from seg2vid.evaluation.baselines import BASELINES
from seg2vid.evaluation.candidates import Model, baselines_of, posterior, still_start
from seg2vid.evaluation.cases import Cases
from seg2vid.evaluation.output import Candidate
from seg2vid.models.checkpoint import save_checkpoint
from seg2vid.models.control import Control
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Clip
from seg2vid.tools import devices
from seg2vid.tools.devices import exact_arithmetic
from seg2vid.tools.errors import ModelError
from seg2vid.tools.files import digest_of
from seg2vid.transfer import encode_motion
from tests.evaluation_runs import TINY, build_model, still_protocol, write_model
from tests.tiny import CONFIG, HEIGHT, WIDTH

pytestmark = pytest.mark.usefixtures("arithmetic")

GENERATION = replace(TINY, task="generation", baselines=("truth", "repeat"))


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Cases(TINY).read(0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def model(weights: str) -> Model:
    return Model(weights, TINY)


@pytest.fixture(scope="module")
def pipeline(weights: str) -> Seg2VidPipeline:
    """The same model, all of it: for a prediction no first frame is painted, nor loaded."""
    return Seg2VidPipeline.from_pretrained(weights)


@pytest.fixture
def exact() -> Iterator[None]:
    """Compute as an evaluation does: bfloat16 rounds a batch of two otherwise than one by one."""
    with torch.inference_mode(), exact_arithmetic():
        yield


def whole(clip: Clip) -> Tensor:
    """All frames, the first one with them."""
    return torch.cat((clip.first_frame[:, None], clip.frames), 1)


def shortened(clip: Clip, count: int) -> Clip:
    """Its first frames without the motion."""
    maps = clip.label_maps[:, :count] if count else None
    return Clip(clip.first_frame, clip.frames[:, :count], clip.label_map, maps)


def test_the_truth_is_the_clip_itself(clip: Clip) -> None:
    output = BASELINES["truth"].make(clip, 3)
    assert torch.equal(output.frames, whole(clip))
    assert torch.equal(output.label_maps[:, 0], clip.label_map)
    assert torch.equal(output.label_maps[:, 1:], clip.label_maps)
    assert output.motion is clip.motion
    unlabelled = BASELINES["truth"].make(replace(clip, label_maps=None), 0)
    assert unlabelled.label_maps is None, "the first map alone says nothing of the others"
    photo = BASELINES["truth"].make(shortened(clip, 0), 0)
    assert torch.equal(photo.label_maps, clip.label_map[:, None])


def test_repeating_shows_the_first_frame_and_does_not_move(clip: Clip) -> None:
    output = BASELINES["repeat"].make(clip, 0)
    assert output.frames.shape == (1, 4, 3, HEIGHT, WIDTH)
    assert all(torch.equal(frame, clip.first_frame) for frame in output.frames.unbind(1))
    assert all(torch.equal(labels, clip.label_map) for labels in output.label_maps.unbind(1))
    assert output.motion.backward_flow.shape == (1, 3, 2, HEIGHT, WIDTH)
    assert not output.motion.backward_flow.any() and not output.motion.forward_flow.any()
    assert output.motion.forward_visible.all() and output.motion.backward_visible.all()


@pytest.mark.usefixtures("exact")
def test_samples_are_those_of_the_pipeline_one_by_one(
    clip: Clip, model: Model, pipeline: Seg2VidPipeline
) -> None:
    output = model.make(clip, 7)
    assert output.frames.shape == (2, 4, 3, HEIGHT, WIDTH) and output.seconds > 0
    for sample in range(2):
        alone = pipeline(
            clip.label_map, num_frames=4, first_frame=clip.first_frame, seed=7000 + sample
        )
        torch.testing.assert_close(output.frames[sample, 1:], alone.frames[0].clamp(0, 1))
        assert torch.equal(output.label_maps[sample, 1:], alone.label_maps[0])
        torch.testing.assert_close(
            output.motion.backward_flow[sample], alone.motion.backward_flow[0], atol=1e-3, rtol=1e-5
        )
    assert not torch.equal(output.frames[0, 1:], output.frames[1, 1:])


def test_a_clip_of_more_frames_a_second_moves_less_from_frame_to_frame(
    clip: Clip, model: Model
) -> None:
    quick = replace(clip, frames_per_second=2 * clip.frames_per_second)
    usual, half = (model.make(one, 0).motion.camera_path for one in (clip, quick))
    torch.testing.assert_close(half[:, 1], usual[:, 0])
    assert usual[:, -1].abs().max() > half[:, -1].abs().max() > 0


def test_the_given_frame_comes_back_bit_by_bit(clip: Clip, model: Model) -> None:
    output = model.make(clip, 0)
    assert all(torch.equal(frame, clip.first_frame[0]) for frame in output.frames[:, 0])
    assert torch.equal(output.label_maps[:, 0], clip.label_map.expand(2, -1, -1))


@pytest.mark.usefixtures("exact")
def test_a_clip_is_the_same_whatever_stands_beside_it(clip: Clip, model: Model) -> None:
    first = model.make(clip, 1)
    torch.rand(7)
    model.make(clip, 2)
    again = Model(model.name, TINY).make(clip, 1)
    assert torch.equal(first.frames, again.frames)
    three = replace(model, protocol=replace(TINY, samples=3)).make(clip, 1)
    torch.testing.assert_close(three.frames[:2], first.frames)
    later = replace(model, protocol=replace(TINY, seed=1, samples=1)).make(clip, 1)
    torch.testing.assert_close(later.frames[0], first.frames[1])


@pytest.mark.usefixtures("exact")
def test_a_label_map_alone_gives_another_first_frame(
    clip: Clip, model: Model, pipeline: Seg2VidPipeline
) -> None:
    output = replace(model, protocol=GENERATION).make(clip, 0)
    alone = pipeline(clip.label_map, num_frames=4, seed=1)
    torch.testing.assert_close(output.frames[1, 0], alone.first_frame[0])
    assert not torch.equal(output.frames[0, 0], clip.first_frame[0])


@pytest.mark.usefixtures("exact")
def test_a_still_is_the_first_frame_of_the_pipeline(
    clip: Clip, model: Model, pipeline: Seg2VidPipeline
) -> None:
    output = replace(model, protocol=still_protocol()).make(shortened(clip, 0), 2)
    assert output.frames.shape == (2, 1, 3, HEIGHT, WIDTH) and output.motion is None
    for sample in range(2):
        alone = pipeline(clip.label_map, num_frames=1, seed=2000 + sample)
        torch.testing.assert_close(output.frames[sample, 0], alone.first_frame[0].clamp(0, 1))
        assert torch.equal(output.label_maps[sample, 0], clip.label_map[0])


@pytest.mark.usefixtures("exact")
def test_a_generated_start_is_repeated(clip: Clip, model: Model) -> None:
    generating = replace(model, protocol=GENERATION)
    output = still_start(generating).make(clip, 4)
    first = generating.make(clip, 4).frames[0, 0]
    assert output.frames.shape == (1, 4, 3, HEIGHT, WIDTH)
    assert all(torch.allclose(frame, first, atol=1e-6) for frame in output.frames[0])
    assert not output.motion.backward_flow.any()


@pytest.mark.usefixtures("exact")
def test_the_oracle_plays_the_motion_that_its_encoder_finds(
    clip: Clip, model: Model, pipeline: Seg2VidPipeline
) -> None:
    output = posterior(model).make(clip, 0)
    code = encode_motion(pipeline, whole(clip), clip.label_map)
    given = {"first_frame": clip.first_frame, "control": Control(careful=False)}
    video = pipeline(clip.label_map, num_frames=4, z=code.z, **given)
    torch.testing.assert_close(output.frames[:, 1:], video.frames.clamp(0, 1))
    torch.testing.assert_close(output.motion.backward_flow, video.motion.backward_flow)
    assert torch.equal(output.frames[:, 0], clip.first_frame)
    assert torch.equal(posterior(model).make(clip, 5).frames, output.frames)
    other = replace(clip, frames=clip.frames.flip(1))
    assert not torch.equal(posterior(model).make(other, 0).frames, output.frames)


@pytest.mark.parametrize(("length", "starts"), [(1, (0, 1, 2)), (2, (0,))])
def test_the_oracle_encodes_every_whole_pass(
    clip: Clip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    length: int,
    starts: tuple[int, ...],
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def watch(pipeline: Seg2VidPipeline, frames: Tensor, labels: Tensor) -> Any:
        seen.append((frames, labels))
        return encode_motion(pipeline, frames, labels)

    monkeypatch.setattr(module, "encode_motion", watch)
    name = write_model(tmp_path / "short", replace(CONFIG, num_frames=length))
    output = posterior(Model(name, TINY)).make(clip, 0)
    assert output.frames.shape == (1, 4, 3, HEIGHT, WIDTH)
    assert output.motion.backward_flow.shape == (1, 3, 2, HEIGHT, WIDTH)
    maps = torch.cat((clip.label_map[:, None], clip.label_maps), 1)
    assert len(seen) == len(starts)
    for (frames, labels), start in zip(seen, starts, strict=True):
        assert torch.equal(frames, whole(clip)[:, start:])
        assert torch.equal(labels, maps[:, start])


def test_the_oracle_needs_a_whole_pass(clip: Clip, model: Model) -> None:
    message = r"clips of at least 3 frames after the first; got 2; use another protocol, or leave"
    with pytest.raises(ModelError, match=message):
        posterior(model).make(shortened(clip, 2), 0)


@pytest.mark.usefixtures("exact")
def test_motion_of_several_passes_is_that_to_the_first_frame(clip: Clip, tmp_path: Path) -> None:
    name = write_model(tmp_path / "short", replace(CONFIG, num_frames=1))
    clip = Clip(clip.first_frame, clip.frames.repeat(1, 2, 1, 1, 1), clip.label_map)
    output = Model(name, TINY).make(clip, 0)
    pipeline = Seg2VidPipeline.from_pretrained(name)
    video = pipeline(clip.label_map, num_frames=7, first_frame=clip.first_frame, seed=[0, 1])
    assert video.pass_starts == (0, 3)
    own, whole = video.motion.backward_flow, output.motion.backward_flow
    assert torch.equal(whole[:, :3], own[:, :3]) and not torch.equal(whole[:, 3], own[:, 3])


def test_candidates_say_who_they_are(model: Model, weights: str, tmp_path: Path) -> None:
    every = (
        *BASELINES.values(),
        model.candidate("model", "model"),
        posterior(model),
        still_start(model),
    )
    for candidate in every:
        assert isinstance(candidate, Candidate)
        assert candidate.key and candidate.title and candidate.about
    assert model.title == Path(weights).name
    assert replace(model, name=f"{weights}/model.safetensors").title == "tiny"
    copy = tmp_path / "run_7.safetensors"
    shutil.copy(Path(weights) / "model.safetensors", copy)
    assert replace(model, name=str(copy)).title == "run_7.safetensors"
    assert model.sha256 == digest_of(Path(weights) / "model.safetensors")
    assert posterior(model).sha256 == model.sha256
    assert model.candidate("model", "model").about == "sees the first frame and label map; 2 draws"
    generating = replace(model, protocol=replace(GENERATION, samples=1))
    assert generating.candidate("other_1", "other").about == "sees the label map; one draw"


def test_a_motion_stage_alone_predicts(clip: Clip, model: Model, tmp_path: Path) -> None:
    """Weights without a first frame are enough where one is given, and refused elsewhere."""
    boxes = {"animator": build_model().animator}
    save_checkpoint(tmp_path / "model.safetensors", boxes, CONFIG, {})
    alone = Model(str(tmp_path), TINY)
    assert torch.equal(alone.make(clip, 0).frames, model.make(clip, 0).frames)
    with pytest.raises(ModelError, match=r"weights of first_frame; got those of animator"):
        replace(alone, protocol=GENERATION).make(clip, 0)


def keys(protocol: Any, model: Model | None) -> list[str]:
    return [candidate.key for candidate in baselines_of(protocol, model)]


def test_baselines_come_in_the_order_of_the_protocol(model: Model, tmp_path: Path) -> None:
    assert keys(TINY, model) == ["truth", "repeat", "extrapolated", "posterior"]
    assert keys(replace(TINY, baselines=("extrapolated", "truth")), model) == [
        "extrapolated",
        "truth",
    ]
    assert keys(TINY, None) == ["truth", "repeat", "extrapolated"], "the oracle needs a model"
    for other in ({"num_frames": 2}, {"height": 128}, {"width": 256}):
        unfit = replace(TINY, **other)
        assert "posterior" not in keys(unfit, replace(model, protocol=unfit)), "no encoder fits"
    assert keys(still_protocol(), model) == ["truth"], "others are looked up in photos"
    generated = baselines_of(GENERATION, model)
    assert generated[1].title == "its first frame repeated" and keys(GENERATION, None) == [
        "truth",
        "repeat",
    ]
    pipeline = build_model()
    pipeline.motion_encoder_weights = {}
    pipeline.save_pretrained(tmp_path)
    generating = Model(str(tmp_path), TINY)
    assert "posterior" not in keys(TINY, generating), "a model without motion encoder has none"


def test_missing_and_foreign_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'dragon'"):
        Model("dragon", TINY)
    space = {**CONFIG.label_space, "classes": [dict(c) for c in CONFIG.label_space["classes"]]}
    space["classes"][0]["name"], space["name"] = "canal", "venice"
    name = write_model(tmp_path / "boat", replace(CONFIG, label_space=space))
    with pytest.raises(ModelError, match=r"label space cityscapes; got venice \(.*boat\); eval"):
        _ = Model(name, TINY).pipeline


def test_models_compute_exactly_where_they_are_told_to(
    clip: Clip, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor with bfloat16 gives other frames; in exact arithmetic it gives the same."""

    @contextmanager
    def processor(has_bfloat16: bool) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(devices, "has_fast_bfloat16", lambda device: has_bfloat16)
            yield

    single = replace(model, protocol=replace(TINY, samples=1, num_frames=1))
    short, frames = shortened(clip, 1), []
    for has_bfloat16 in (False, True):
        with processor(has_bfloat16):
            frames.append(single.make(short, 0).frames)
            with exact_arithmetic():
                frames.append(single.make(short, 0).frames)
    plain, exact, fast, exact_again = frames
    assert torch.equal(plain, exact) and torch.equal(exact, exact_again)
    assert not torch.equal(fast, exact) and float((fast - exact).abs().max()) < 0.1
