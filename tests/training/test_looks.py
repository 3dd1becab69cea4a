"""Known looks that are learned anew from pictures, and the verb that does it."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seg2vid.cli import main as cli
from seg2vid.models.appearance_encoder import AppearanceEncoder
from seg2vid.models.checkpoint import load_checkpoint
from seg2vid.models.config import FirstFrameConfig
from seg2vid.models.layers import share_of_rows
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Clip
from seg2vid.tools.errors import ModelError
from seg2vid.training.looks import learn_looks
from tests.tiny import CONFIG, InMemory, street_map, write_clips

KNOWING = FirstFrameConfig(
    widths=(4, 6, 8, 8), context=8, global_noise=3, segment_noise=2, look_prior=4
)


def make_pipe(config: FirstFrameConfig = KNOWING) -> Seg2VidPipeline:
    torch.manual_seed(0)
    pipe = Seg2VidPipeline.from_config(replace(CONFIG, first_frame=config))
    channels = pipe.label_space.num_channels
    pipe.appearance_encoder = AppearanceEncoder(config, num_channels=channels).eval()
    return pipe


def pictures(count: int) -> list[Clip]:
    return [
        Clip(torch.rand(1, 3, 64, 128), torch.rand(1, 0, 3, 64, 128), street_map())
        for _ in range(count)
    ]


def test_what_is_known_is_what_the_encoder_sees_in_the_pictures() -> None:
    pipe, clips = make_pipe(), pictures(3)
    assert list(learn_looks(pipe, InMemory(clips))) == [1, 2, 3]
    known, labels = pipe.first_frame.known, street_map()
    segments = pipe.first_frame.segments(labels, pipe.find_objects(labels, None))
    with torch.inference_mode():
        seen = [pipe.appearance_encoder(one.first_frame, labels, segments) for one in clips]
    wanted = {tuple(one.mean.whole[0].tolist()) for one in seen}
    assert {tuple(one.tolist()) for one in known.whole[:3]} == wanted
    assert known.filled[0].tolist() == [3] * len(known.filled[0])
    rows = segments[:, 1::2, 1::2]
    shares = share_of_rows(rows, int(rows.max()) + 1)[0]
    for kind in (0, 2, 10):  # road, building, sky
        assert known.areas[0, 0, kind] == shares[kind] > 0
    assert float(known.spread.sub(1).abs().max()) > 0


def test_looks_of_before_are_forgotten_and_the_order_follows_the_seed() -> None:
    pipe, clips = make_pipe(), pictures(6)
    pipe.first_frame.known.segments.fill_(9)
    pipe.first_frame.known.areas.fill_(1)
    for _ in range(2):
        list(learn_looks(pipe, InMemory(clips)))
    assert int(pipe.first_frame.known.filled[0, 0]) == 6, "of 6 pictures the last 4 are kept"
    vegetation = 8  # none of the pictures has it
    assert not pipe.first_frame.known.segments[0, :, vegetation].any()
    assert not pipe.first_frame.known.areas[0, :, vegetation].any()
    first = pipe.first_frame.known.whole.clone()
    list(learn_looks(pipe, InMemory(clips), seed=1))
    assert not torch.equal(first, pipe.first_frame.known.whole)


def test_a_model_that_cannot_learn_looks_is_one_line() -> None:
    with pytest.raises(ModelError, match=r"a model that knows looks, with their encoder; got Seg2"):
        next(learn_looks(make_pipe(replace(KNOWING, look_prior=0)), InMemory(pictures(1))))
    blind = make_pipe()
    blind.appearance_encoder = None
    with pytest.raises(ModelError, match=r"take another, as street"):
        next(learn_looks(blind, InMemory(pictures(1))))


def test_assemble_learns_the_looks_of_a_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = make_pipe()
    pipe.motion_encoder_weights = {"motion_encoder.weight": torch.zeros(1)}
    weights = pipe.save_pretrained(tmp_path / "model")
    clips = write_clips(tmp_path / "clips", count=2)
    given = ["assemble", str(weights), str(weights), "-o", str(tmp_path / "new")]
    assert cli.main([*given, "--looks", str(clips)]) == 0
    assert f"wrote {tmp_path / 'new' / 'model.safetensors'}" in capsys.readouterr().out
    new = Seg2VidPipeline.from_pretrained(tmp_path / "new")
    assert int(new.first_frame.known.filled[0, 0]) > 0
    provenance = load_checkpoint(tmp_path / "new" / "model.safetensors").provenance
    assert provenance["first_frame"]["looks"].endswith("pictures of clips")
    space = copy.deepcopy(CONFIG.label_space)
    space["classes"][0]["name"] = "canal"
    pipe.config = replace(pipe.config, label_space=space)
    weights = pipe.save_pretrained(tmp_path / "canals")
    words = ["assemble", str(weights), str(weights), "-o", str(tmp_path / "none")]
    assert cli.main([*words, "--looks", str(clips)]) == 2
    assert "name one of the model's label space" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert cli.main([*given, "--looks", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
