"""A tiny protocol, a tiny model and quick judges: whole evaluations in a second."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seg2vid.evaluation import results, work
from seg2vid.evaluation.measure import Judges, Measurement
from seg2vid.evaluation.metrics.intervals import Interval, interval_of
from seg2vid.evaluation.protocol import Protocol
from seg2vid.evaluation.work import Setup
from seg2vid.labels.space import get_label_space
from seg2vid.models.config import ModelConfig
from seg2vid.models.judges.files import JUDGES_VARIABLE
from seg2vid.models.motion_encoder import build_motion_encoder
from seg2vid.pipeline import Seg2VidPipeline
from tests.tiny import CONFIG, HEIGHT, NUM_FRAMES, WIDTH

SPACE = get_label_space("cityscapes")

TINY = Protocol(
    name="tiny-v1",
    about="Two rendered streets, three frames after the first.",
    task="prediction",
    source="toycity",
    clips=2,
    height=HEIGHT,
    width=WIDTH,
    num_frames=NUM_FRAMES,
    horizons=(2, 3),
    samples=2,
    picture_times=(1, 3),
    warping_times=(1,),
    baselines=("truth", "repeat", "extrapolated", "posterior"),
    enough={"fvd": 256, "fid": 2048},
    replicates=50,
)


class Guesser:
    """Labels pictures by how bright they are: 19 steps from black to white."""

    name = "brightness"
    space = SPACE

    def probabilities(self, pictures: Tensor) -> Tensor:
        """Be sure of one class at each pixel of pictures (batch, 3, height, width)."""
        ids = (pictures.mean(1) * 18.999).long().clamp(0, 18)
        return F.one_hot(ids, 19).movedim(-1, 1).float()


def build_model(config: ModelConfig = CONFIG, *, seed: int = 0) -> Seg2VidPipeline:
    """An untrained model, its motion encoder with it."""
    torch.manual_seed(seed)
    pipeline = Seg2VidPipeline.from_config(config)
    encoder = build_motion_encoder(config)
    pipeline.motion_encoder_weights = {
        f"motion_encoder.{name}": tensor for name, tensor in encoder.state_dict().items()
    }
    return pipeline


def write_model(folder: Path, config: ModelConfig = CONFIG, *, seed: int = 0) -> str:
    """Write such a model and return its folder's name."""
    build_model(config, seed=seed).save_pretrained(folder)
    return str(folder)


def quick_setup(output: Path, protocol: Protocol = TINY, **given: Any) -> Setup:
    """What is needed to measure, with judges that cost nothing; it does not travel."""
    setup = Setup(protocol, output, **given)
    setup.__dict__["measurement"] = Measurement(protocol, Judges(Guesser()))
    return setup


def judge_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge with what costs nothing, in no folder of judges, with intervals of few replicates."""
    judges = Judges(Guesser())
    monkeypatch.setattr(work, "load_judges", lambda _: judges)
    monkeypatch.setenv(JUDGES_VARIABLE, "nowhere")

    def interval_of_few(*given: Any, **named: Any) -> Interval:
        return interval_of(*given, **(named | {"replicates": 4}))

    monkeypatch.setattr(results, "interval_of", interval_of_few)


def still_protocol(**changes: Any) -> Protocol:
    """The tiny protocol for single pictures."""
    still: dict[str, Any] = {
        "name": "tiny-stills-v1",
        "task": "stills",
        "source": "stills",
        "folder": "val",
        "training": "train",
        "num_frames": 0,
        "horizons": (0,),
        "picture_times": (0,),
        "warping_times": (),
        "baselines": ("truth", "nearest", "mean_colour"),
    }
    return replace(TINY, **(still | changes))
