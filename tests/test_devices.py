"""Training, generation, motion transfer and evaluation make all their tensors on one device."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seg2vid import Control, interpolate_codes, interpolate_looks, play_motion, resample_code
from seg2vid.data.clips import render_toycity, stack
from seg2vid.data.teachers.labels import BundledTeacher
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.models import animator
from seg2vid.models.appearance_encoder import AppearanceEncoder
from seg2vid.models.drive import Drive
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.models.motion_tracker import _Pictures
from seg2vid.structures import Clip, Frames, Labels, Objects, Pictures, ScenePaths
from seg2vid.tools.files import EXTRAS
from seg2vid.training.config import (
    PAPER_TRAINING,
    RefinerTrainingConfig,
)
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.motion import MotionStage
from seg2vid.training.refiner import RefinerStage
from seg2vid.training.segmenter import SegmenterStage
from seg2vid.training.stage import Stage
from seg2vid.training.validation import measure
from seg2vid.transfer import encode_motion, place_motion
from tests.elsewhere import AWAY, Away, WrongDevice, elsewhere
from tests.evaluation_runs import build_model, quick_setup, write_model
from tests.models.test_paper import SMALL as PAPER
from tests.tiny import (
    CONFIG,
    FIRST_FRAME_TRAINING,
    MOTION_TRAINING,
    NUM_FRAMES,
    SEGMENTER_TRAINING,
    street_map,
)

SMALL = replace(CONFIG, height=32, width=64)


def stand(
    decoder: MotionDecoder, first: Pictures, _: Frames, ids: Labels, objects: Objects
) -> ScenePaths:
    """Stand for the tracker, which takes minutes here and which motion transfer walks."""
    return decoder.at_rest(decoder.depth(first, ids), ids, objects).paths


@pytest.fixture(autouse=True)
def one_step(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Every operation is slow here: one step of the search takes the same way as many."""
    if "transfer" not in request.node.name:
        monkeypatch.setattr(animator, "track_motion", stand)
    align = _Pictures.align
    monkeypatch.setattr(_Pictures, "align", lambda *given: align(*given[:-1], ((2, 1),)))


@pytest.fixture
def device() -> Iterator[torch.device]:
    with elsewhere() as device:
        yield device


def render(height: int, width: int) -> Clip:
    city = ToyCityConfig(height=height, width=width, num_frames=NUM_FRAMES)
    return stack([render_toycity(seed, city) for seed in range(2)])


# The checker itself


def test_values_are_kept_elsewhere(device: torch.device) -> None:
    numbers = torch.arange(4.0).to(device).requires_grad_()
    doubled = (numbers * torch.tensor([2.0, 2, 2, 2], device=device))[[1, 3]]
    doubled.square().sum().backward()
    assert doubled.device == AWAY and doubled.tolist() == [2, 6]
    assert numbers.grad is not None and numbers.grad.tolist() == [0, 8, 0, 24]
    doubled = doubled.detach()
    assert float(doubled.max()) == 6 and bool((doubled > 1).all())
    layer = torch.nn.Linear(4, 1).to(device)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(numbers.detach()).sum().backward()
    optimizer.step()
    assert isinstance(layer.weight, Away)


FAULTS: dict[str, Any] = {
    "sum": lambda tensor: tensor + torch.arange(3),
    "product in place": lambda tensor: tensor.mul_(torch.ones(3)),
    "join": lambda tensor: torch.cat((tensor, torch.zeros(1))),
    "stack": lambda tensor: torch.stack((tensor[0], torch.tensor(1.0))),
    "choice": lambda tensor: torch.where(torch.ones(3) > 0, tensor, tensor),
    "places elsewhere": lambda tensor: torch.arange(3)[tensor.long()],
    "gather": lambda tensor: tensor.gather(0, torch.arange(3)),
    "generator": lambda tensor: torch.rand(3, device=tensor.device, generator=torch.Generator()),
    "array": lambda tensor: tensor.numpy(),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_gpu_refuses_is_refused(device: torch.device, name: str) -> None:
    tensor = torch.ones(3, device=device)
    with pytest.raises((WrongDevice, RuntimeError)):
        FAULTS[name](tensor)


def test_what_a_gpu_takes_is_taken(device: torch.device) -> None:
    tensor = torch.ones(3, device=device)
    assert (tensor * torch.tensor(2.0) + 1).tolist() == [3, 3, 3]
    assert tensor[torch.tensor([0, 2])].tolist() == [1, 1]
    assert torch.zeros(3).copy_(tensor).tolist() == [1, 1, 1]


def test_times_made_on_the_processor_are_seen(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Motion training could not work on a GPU: its times had been left behind."""
    stage, clip = MotionStage(SMALL, MOTION_TRAINING).to(device), render(32, 64).to(device)
    at = Drive.at
    monkeypatch.setattr(Drive, "at", lambda drive, times: at(drive, times.cpu()))
    with pytest.raises(WrongDevice, match="on the processor"):
        stage.compute_losses(clip)


# What is walked


def stages() -> Iterator[Any]:
    """Yield every stage with all of its terms that need no weights of others."""
    motion = replace(MOTION_TRAINING, hint_share=1.0, colour=0.2, labels_only=0.5)
    every = {"trained_frames": NUM_FRAMES, "refined_frames": NUM_FRAMES}
    paper = replace(PAPER_TRAINING, perceptual=0.0, features=0.0, **every)
    yield "first frame", FirstFrameStage, SMALL, replace(FIRST_FRAME_TRAINING, adversarial_start=0)
    yield "motion", MotionStage, SMALL, motion
    yield "motion of pictures", MotionStage, SMALL, replace(motion, exact_motion=False)
    yield "paper", MotionStage, replace(PAPER, num_frames=NUM_FRAMES), paper
    refiner = RefinerTrainingConfig(batch_size=2, perceptual=0.0, patch=0.0)
    yield "refiner", RefinerStage, SMALL, refiner
    yield "segmenter", SegmenterStage, SMALL, replace(SEGMENTER_TRAINING, blur=1.5)


@pytest.mark.parametrize(("kind", "model", "training"), [
    pytest.param(*given, id=name) for name, *given in stages()
])  # fmt: skip
def test_training_stays_on_its_device(
    device: torch.device, kind: type[Stage], model: Any, training: Any
) -> None:
    stage = kind(model, training).to(device).train()
    clip = render(model.height, model.width).to(device)
    terms = stage.take_turns(clip, stage.make_optimizers(), torch.Tensor.backward)
    assert terms and all(isinstance(term, Away) for term in terms.values())
    assert all(isinstance(weight, Away) for weight in stage.parameters())
    figures = measure(stage, clip.sample(0))
    assert figures and all(type(value) is float for value in figures.values())
    stage.eval()
    with torch.no_grad():
        assert stage.contact_sheet(clip).device == AWAY
        video = stage.sample_video(clip)
    assert video is None or video.device == AWAY


def test_generation_stays_on_its_device(device: torch.device, tmp_path: Path) -> None:
    pipeline, photo = build_model(), render(64, 128).sample(0).first_frame
    reader = AppearanceEncoder(CONFIG.first_frame, num_channels=20)
    pipeline.appearance_encoder = reader.eval()
    pipeline.to(device)
    ids, large = street_map(), street_map().repeat_interleave(2, 1).repeat_interleave(2, 2)
    # Past the last frame of a key.
    count = 2 + NUM_FRAMES * pipeline.animator.passes_per_key
    video = pipeline(ids, num_frames=count, seed=1, instance_map=ids, resample=("road",))
    assert video.frames.device == AWAY and video.frames.shape[1] == count - 1
    worn = pipeline(ids, num_frames=1, look=pipeline.read_look(photo, ids)).look
    assert video.look is not None and worn is not None
    look = interpolate_looks(video.look, worn, 0.5)
    given = {"look": look, "z": video.z, "speed": 2, "frames_per_second": 6}
    assert pipeline(ids, num_frames=3, seed=[1, 2], **given).frames.device == AWAY
    assert pipeline(ids, num_frames=1, first_frame=photo).first_frame.device == AWAY
    fine = photo.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert pipeline(large, num_frames=2, scale=2, first_frame=fine).frames.device == AWAY
    session = pipeline.start(ids, instance_map=ids, seed=1)
    for wishes in ({}, {"camera": "forward=3"}, {"camera": "turn=5", "move": ["car=still"]}):
        assert session.step(Control.read(**wishes)).frames.device == AWAY
    extras = tuple(name for name in EXTRAS if getattr(video, name, True) is not None)
    assert video.save(tmp_path / "frames", extras=extras).is_dir()
    assert pipeline.save_pretrained(tmp_path).is_file()


def test_a_teacher_with_a_device_of_its_own_takes_pictures_from_elsewhere(
    device: torch.device,
) -> None:
    pictures = torch.rand(1, 3, 40, 70)
    away, here = (
        BundledTeacher(pixels=32 * 64, device=one, precision="float32") for one in (device, None)
    )
    found = away.probabilities(pictures)
    assert isinstance(next(away.network.parameters()), Away) and not isinstance(found, Away)
    torch.testing.assert_close(found, here.probabilities(pictures), atol=1e-5, rtol=1e-4)


def test_motion_transfer_stays_on_its_device(device: torch.device) -> None:
    pipeline, clip = build_model().to(device), render(64, 128).sample(0)
    video = torch.cat((clip.first_frame.unsqueeze(1), clip.frames), 1)
    code = encode_motion(pipeline, video, clip.label_map)
    # Maps of the caller stay where they are.
    ids = street_map()
    z = place_motion(pipeline, code, ids)
    z = interpolate_codes(z, resample_code(pipeline, z, ids, "background"), 0.5)
    assert z.background.device == z.foreground.device == AWAY
    passes = list(play_motion(pipeline, [code, code], ids, num_frames=2 * NUM_FRAMES))
    assert all(one.frames.device == AWAY for one in passes)


def test_evaluation_stays_on_its_device(device: torch.device, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    setup = quick_setup(tmp_path / "work", model=model, device=device.type)
    setup.do(0)
    assert not setup.missing(0)
