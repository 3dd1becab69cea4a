"""The verbs for those who train: with tiny real networks, through the command line."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seg2vid.cli import main as cli
from seg2vid.data.teachers.labels import BundledTeacher
from seg2vid.models.checkpoint import load_checkpoint, save_checkpoint
from seg2vid.models.config import PRESETS, ModelConfig
from seg2vid.models.motion_encoder import MotionEncoder
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.errors import ModelError
from seg2vid.training.config import PAPER_TRAINING, MotionTrainingConfig
from seg2vid.training.stage import Stage
from tests.data.test_stills import write_still
from tests.tiny import CONFIG, HEIGHT, NUM_FRAMES, SEGMENTER, WIDTH, street_map, write_clips

OWN_PROTOCOL = f"""
name: own-v1
about: One rendered street.
task: prediction
source: toycity
clips: 1
height: {HEIGHT}
width: {WIDTH}
num_frames: {NUM_FRAMES}
horizons: [{NUM_FRAMES}]
picture_times: [1]
warping_times: [1]
baselines: [truth, repeat, extrapolated, posterior]
"""
SHORT = [
    *("--preset", "tiny", "--steps", "1", "--batch-size", "1"),
    *("--save-every", "1", "--sheet-every", "0", "--validate-every", "0"),
    *("--measured-steps", "0", "--without-features"),
]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), count=1)


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", CONFIG)
    monkeypatch.setattr("seg2vid.training.keeper.write_curves", lambda *_, **__: None)


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


@pytest.mark.slow
def test_train_assemble_generate_and_evaluate(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, motion, model = (tmp_path / name for name in ("first", "motion", "model"))
    assert run("train", "first-frame", "--data", clips, "-o", first, *SHORT) == 0
    assert run("train", "motion", "--data", clips, "-o", motion, *SHORT) == 0
    weights = [folder / "model.safetensors" for folder in (first, motion)]
    assert run("assemble", *weights, "-o", model) == 0
    assert f"wrote {model / 'model.safetensors'}" in capsys.readouterr().out

    video = Seg2VidPipeline.from_pretrained(model)(street_map(), num_frames=4, seed=0)
    assert video.frames.shape[1] == 3

    report = tmp_path / "report"
    words = ("--model", model, "--protocol", "toycity-v2", "--clips", 1, "--judges", "nowhere")
    assert run("evaluate", *words, "-o", report) == 2, "a folder of judges that is not there"
    assert "the judge's weights" in capsys.readouterr().err
    protocol = tmp_path / "own.yaml"
    protocol.write_text(OWN_PROTOCOL)
    words = ("--model", model, "--protocol", protocol, "--workers", 1)
    assert run("evaluate", *words, "-o", report) == 0
    assert f"wrote {report / 'report.json'}" in capsys.readouterr().out
    found = json.loads((report / "report.json").read_text())
    candidates = [candidate["key"] for candidate in found["candidates"]]
    assert candidates == ["truth", "repeat", "extrapolated", "posterior", "model"]
    errors = {f["candidate"] for f in found["figures"] if f["metric"] == "epe_backward"}
    assert errors == set(candidates) - {"truth"}


def test_every_field_of_the_configuration_is_an_option(clips: Path, tmp_path: Path) -> None:
    words = ("--learning-rate", "0.5", "--seed", "7", "--kl-warm-up", "3")
    assert run("train", "motion", "--data", clips, "-o", tmp_path, *SHORT, *words) == 0
    training = load_checkpoint(tmp_path / "model.safetensors").provenance["training"]
    assert (training["learning_rate"], training["seed"], training["kl_warm_up"]) == (0.5, 7, 3)


def test_several_datasets_and_fewer_steps(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two datasets, the second drawn from nine times as often; the schedule stays that of 6."""
    more = write_clips(tmp_path / "more", count=2)
    words = ("--data", clips, "--data", more, "--data-weights", "1, 9", "--max-steps", 2)
    words = ("train", "first-frame", *words, "-o", tmp_path / "run", *SHORT, "--steps", 6)
    assert run(*words) == 0
    provenance = load_checkpoint(tmp_path / "run" / "model.safetensors").provenance
    assert (provenance["clips"], provenance["steps_done"]) == (3, 2)
    assert provenance["training"]["steps"] == 6
    assert f"wrote {tmp_path / 'run' / 'model.safetensors'}" in capsys.readouterr().out


def test_weights_of_the_datasets_arrive(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float]] = []

    def start(stage: object, sources: list[tuple[object, float]], *_: object, **__: object):
        seen.append([weight for _, weight in sources])
        return tmp_path

    more = write_clips(tmp_path / "more", count=2)
    places = ("--data", clips, "--data", more, "-o", tmp_path / "run")
    monkeypatch.setattr("seg2vid.cli.training.run", start)
    for words in (("motion", "--without-features"), ("segmenter",)):
        assert run("train", *words, *places, "--data-weights", "1,9") == 0
        assert run("train", *words, *places) == 0
    assert seen == [[1, 9], [1, 2]] * 2, "without weights each counts as much as it has clips"


def test_fields_of_the_networks_are_options(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[ModelConfig] = []

    def start(stage: Stage, *_: object, **__: object) -> Path:
        seen.append(stage.model)
        return tmp_path

    monkeypatch.setattr("seg2vid.cli.training.run", start)
    words = ("train", "motion", "--data", clips, "-o", tmp_path / "run", "--preset", "tiny")
    words = (*words, "--without-features")
    assert run(*words, "--model.flow-decoder.width", 16, "--model.refiner.width=12") == 0
    assert (seen[0].flow_decoder.width, seen[0].refiner.width) == (16, 12)
    assert run(*words, "--model.flow_decoder.breadth", 16) == 2
    assert "only width, background_code, foreground_code, flow_scale as" in capsys.readouterr().err


def test_the_objective_follows_the_preset(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def make(training: Any, *_: object, **__: object) -> None:
        seen.append(training)
        raise ModelError("that is all")

    monkeypatch.setattr("seg2vid.cli.training.make_stage", make)
    monkeypatch.setitem(PRESETS, "tiny paper", replace(CONFIG, architecture="paper"))
    for name in ("tiny", "tiny paper"):
        words = ("--data", clips, "-o", tmp_path / "run", "--preset", name, "--steps", 3)
        assert run("train", "motion", *words) == 2
    assert seen == [replace(MotionTrainingConfig(), steps=3), replace(PAPER_TRAINING, steps=3)]


@pytest.mark.parametrize(
    ("words", "left_out"),
    [
        (("motion",), {"perceptual": 0.0, "features": 0.0}),
        (("motion", "--features", "1.0"), {"perceptual": 0.0, "features": 0.0}),
        (("first-frame",), {"perceptual": 0.0}),
    ],
)
def test_a_training_without_judges_stops_or_says_what_it_leaves_out(
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    left_out: dict[str, float],
) -> None:
    monkeypatch.delenv("SEG2VID_JUDGES", raising=False)
    short = [word for word in SHORT if word != "--without-features"]
    given = ("train", *words, "--data", clips, "-o", tmp_path / "run", *short)
    assert run(*given) == 2 and not (tmp_path / "run").exists()
    line = capsys.readouterr().err
    assert "the judge's weights alexnet_features.safetensors in judges; got no such file" in line
    assert "or leave out LPIPS and VGG features with --without-features" in line
    assert line.count("\n") == 1
    with caplog.at_level("INFO"):
        assert run(*given, "--without-features") == 0
    names = ", ".join(name for name in left_out if name == "perceptual" or "--features" in words)
    assert f" without  {names}: weight 0" in caplog.text
    training = load_checkpoint(tmp_path / "run" / "model.safetensors").provenance["training"]
    assert left_out.items() <= training.items()


def test_a_file_of_vgg19_is_for_a_term_that_is_weighed(
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[Any] = []

    def make(*_: object, **named: object) -> None:
        seen.append(named["vgg19"])
        raise ModelError("that is all")

    monkeypatch.setattr("seg2vid.cli.training.make_stage", make)
    words = ("train", "motion", "--data", clips, "-o", tmp_path / "run", "--preset", "tiny")
    assert run(*words, "--vgg19", "vgg19.pth") == 2 and not seen
    assert "a term of features to be weighed, for --vgg19; got" in capsys.readouterr().err
    assert run(*words, "--vgg19", "vgg19.pth", "--features", 1) == 2
    assert seen == [Path("vgg19.pth")]


def test_train_segmenter_on_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "geometry", replace(CONFIG, segmenter=SEGMENTER))
    write_still(tmp_path / "stills", "a.png", height=64, width=128)
    words = ("--data", tmp_path / "stills", "-o", tmp_path / "run", "--batch-size", 2)
    words = (
        "train",
        "segmenter",
        *words,
        "--steps",
        3,
        "--max-steps",
        1,
        "--jaccard",
        0.25,
        "--pretrained",
        "false",
    )
    assert run(*words) == 0
    provenance = load_checkpoint(tmp_path / "run" / "model.safetensors").provenance
    assert provenance["steps_done"] == 1 and provenance["training"]["jaccard"] == 0.25
    assert BundledTeacher(tmp_path / "run").space.name == "cityscapes"


MOTION = ("train", "motion", "--data", "CLIPS", "-o", "OUT")
BAD_WORDS = {
    ("train", "motion", "--data", "CLIPS", "-o", "OUT", "--stepps", "3"): "--stepps 3",
    ("train", "motion", "--data", "CLIPS", "-o", "OUT", "--steps", "many"): "many",
    ("train", "motion", "--data", "nowhere", "-o", "OUT"): "no such folder",
    ("train", "motion", "--data", "CLIPS", "-o", "OUT", "--preset", "huge"): "'huge'",
    ("train", "motion", "--data", "CLIPS", "-o", "OUT", "--judges", "nowhere"): "no such file",
    ("train", "motion", "--data", "CLIPS"): "-o",
    ("train", "motion", "-o", "OUT"): "--data",
    ("train", "motion", "--clips", "CLIPS", "-o", "OUT"): "--data",
    ("train", "motion", "--data", "CLIPS", "-o", "OUT", "--max-steps", "-1"): "--max-steps of at",
    ("train", "motion", "--data", "CLIPS", "-o", "OUT", "--save-every", "0"): "--save-every of",
    ("train", "motion", "--data", "CLIPS", "-o", "OUT", "--data-weights", "x"): "--data-weights",
    ("train", "motion", "--data", "CLIPS", "-o", "OUT", "--data-weights", "1,2"): "each of 1 d",
    (*MOTION, "--batch-size", "-3"): "--batch-size from 1 to 65536; got -3; choose a number in",
    (*MOTION, "--batch-size", "10000000"): "--batch-size from 1 to 65536; got 10000000; ",
    (*MOTION, "--model.height", "["): "Expected YAML for --model.height; got no YAML: ",
    (*MOTION, "--workers", "20000"): "--workers from 0 to 512; got 20000; choose a number in",
    (*MOTION, "--accumulate", "0"): "--accumulate of at least 1; got 0; ",
    (*MOTION, "--steps", "0"): "--steps of at least 1; got 0; ",
    (*MOTION, "--seed", "-1"): "--seed from 0 to 9223372036854775807; got -1; ",
    (*MOTION, "--seed", "9" * 30): "--seed from 0 to 9223372036854775807; got 999",
    (*MOTION, "--learning-rate", "-1"): "--learning-rate of at least 0; got -1",
    (*MOTION, "--recipe", "RECIPE"): "recipe.yaml from 1 to 65536; got -3; ",
    ("train", "segmenter", "--data", "CLIPS", "-o", "OUT", "--batch-size", "0"): "--batch-size fro",
    ("train", "replay", "RUN", "--process", "-1"): "--process of at least 0; got -1; ",
    ("train", "segmenter", "--data", "nowhere", "-o", "OUT"): "no such folder",
    ("train", "segmenter", "--data", "CLIPS", "-o", "OUT", "--kl", "3"): "--kl 3",
    ("train", "segmenter", "--data", "CLIPS", "-o", "OUT", "--judges", "x"): "--judges",
    ("train", "everything"): "train everything",
    ("assemble", "nothing", "nothing", "-o", "OUT"): "a weight file or user/name on the hub; got",
    (
        "assemble",
        "a b/c",
        "nothing",
        "-o",
        "OUT",
    ): "a model of the hub, as in user/name; got 'a b/c'",
}


@pytest.mark.parametrize("words", BAD_WORDS)
def test_bad_words_give_one_line_and_code_two(
    words: tuple[str, ...], clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("preset: tiny\ntraining: {batch_size: -3}\n")
    places = {"CLIPS": clips, "OUT": output, "RECIPE": recipe}
    given = [str(places.get(word, word)) for word in words]
    assert cli.main(given) == 2
    line = capsys.readouterr().err
    assert line.startswith("seg2vid: Expected ")
    assert line.count("\n") == 1
    assert BAD_WORDS[words] in line
    assert not output.exists()


def test_missing_extra_is_named(
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(sys.modules, "seg2vid.cli.training", raising=False)
    monkeypatch.delitem(sys.modules, "seg2vid.training.run", raising=False)
    monkeypatch.delattr("seg2vid.training.run", raising=False)
    monkeypatch.setitem(sys.modules, "lightning", None)
    assert run("train", "motion", "--data", clips, "-o", tmp_path / "out", *SHORT) == 2
    message = "the extra `train` to be installed; got no lightning; pip install 'seg2vid[train]'"
    assert message in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "seg2vid.cli.training", raising=False)
    assert run("train", "replay", tmp_path) == 2
    assert message in capsys.readouterr().err


def test_motion_encoder_of_a_model_survives_saving(tmp_path: Path) -> None:
    encoder = MotionEncoder(CONFIG)
    pipe = Seg2VidPipeline.from_config(CONFIG)
    boxes = {
        "first_frame": pipe.first_frame,
        "animator": pipe.animator,
        "motion_encoder": encoder,
    }
    save_checkpoint(tmp_path / "model.safetensors", boxes, CONFIG, {}, half=False)
    saved = Seg2VidPipeline.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    again = load_checkpoint(saved).weights
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(again[f"motion_encoder.{name}"].float(), tensor.float(),
                                   atol=1e-3, rtol=1e-3)  # fmt: skip
