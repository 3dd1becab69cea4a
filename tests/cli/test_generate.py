"""The verbs that make videos: the size of a photo, the pace of the drive."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seg2vid.cli import main as cli
from seg2vid.labels.convert import colourise
from seg2vid.labels.space import get_label_space
from seg2vid.media.extras import to_pixels
from seg2vid.media.pictures import read_image, write_image
from seg2vid.media.video import read_video
from seg2vid.models.appearance_encoder import AppearanceEncoder
from seg2vid.pipeline import Seg2VidPipeline
from tests.tiny import CONFIG, HEIGHT, WIDTH, street_map


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    Seg2VidPipeline.from_config(CONFIG).save_pretrained(folder)
    return folder


def animate(tmp_path: Path, model: Path, *words: str) -> np.ndarray:
    """Animate a photo twice the model's size; return the frames."""
    space, large = get_label_space("cityscapes"), (2 * HEIGHT, 2 * WIDTH)
    ids = street_map()[0].repeat_interleave(2, 0).repeat_interleave(2, 1).numpy()
    write_image(tmp_path / "labels.png", colourise(ids, space))
    pixels = np.random.default_rng(0).integers(0, 255, (*large, 3), dtype=np.uint8)
    write_image(tmp_path / "photo.png", pixels)
    given = ["animate", tmp_path / "photo.png", "--labels", tmp_path / "labels.png"]
    given += ["--model", model, "-o", tmp_path / "out", "--overwrite", *words]
    assert cli.main([str(word) for word in given]) == 0
    return read_video(tmp_path / "out")


def test_the_photo_itself_is_the_first_frame(tmp_path: Path, model: Path) -> None:
    frames = animate(tmp_path, model, "--frames", "4")
    assert frames.shape == (4, 2 * HEIGHT, 2 * WIDTH, 3)
    assert (frames[0] == read_image(tmp_path / "photo.png")).all()
    smaller = animate(tmp_path, model, "--frames", "2", "--size", f"{WIDTH}x{HEIGHT}")
    assert smaller.shape == (2, HEIGHT, WIDTH, 3)


def test_frame_rate_and_speed_change_how_a_drive_is_shown(tmp_path: Path, model: Path) -> None:
    usual = animate(tmp_path, model, "--seconds", "0.5")
    smooth = animate(tmp_path, model, "--seconds", "0.5", "--fps", "24")
    slow = animate(tmp_path, model, "--seconds", "0.5", "--speed", "0.5")
    assert (len(usual), len(smooth), len(slow)) == (6, 12, 6)
    assert (usual[0] == slow[0]).all()
    # The drive of two of its own frames takes four at half the speed; what is painted may differ.
    same = (usual[2].astype(int) - slow[4].astype(int)) == 0
    assert same.mean() > 0.8 and (smooth[2] == slow[2]).mean() > 0.8


@pytest.mark.parametrize("speed", ["0", "-1", "1000"])
def test_a_speed_out_of_range_is_refused(
    tmp_path: Path, model: Path, speed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError):
        animate(tmp_path, model, f"--speed={speed}")
    assert "Expected --speed from 0.01 to 100; got" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --look.


@pytest.fixture(scope="module")
def street_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A label map, and a photo with its own, of another size."""
    folder, space = tmp_path_factory.mktemp("street"), get_label_space("cityscapes")
    ids = street_map()[0].numpy()
    write_image(folder / "map.png", colourise(ids, space))
    large = ids.repeat(2, 0).repeat(2, 1)
    write_image(folder / "labels.png", colourise(large, space))
    write_image(folder / "narrow.png", colourise(large[:, ::2], space))
    pixels = np.random.default_rng(1).integers(0, 255, (*large.shape, 3), dtype=np.uint8)
    write_image(folder / "photo.png", pixels)
    return {name: str(folder / f"{name}.png") for name in ("map", "labels", "narrow", "photo")}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that holds its encoder of looks."""
    torch.manual_seed(0)
    pipe = Seg2VidPipeline.from_config(CONFIG)
    pipe.appearance_encoder = AppearanceEncoder(CONFIG.first_frame, num_channels=20).eval()
    return str(pipe.save_pretrained(tmp_path_factory.mktemp("reader")))


def paint(files: dict[str, str], model: str, output: Path, *words: str) -> int:
    words = ("--model", model, "-o", str(output), "--frames", "1", "--overwrite", *words)
    return cli.main(["generate", files["map"], *words])


def test_a_photo_lends_its_look(
    street_files: dict[str, str], reader: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--look", street_files["photo"], "--look-labels", street_files["labels"]]
    assert paint(street_files, reader, tmp_path / "plain") == 0
    assert paint(street_files, reader, tmp_path / "worn", *given, "--samples", "2") == 0
    assert f"{street_files['photo']}: its look is taken, {street_files['labels']}: " in (
        capsys.readouterr().out
    )
    pipe = Seg2VidPipeline.from_pretrained(reader)
    look = pipe.read_look(street_files["photo"], street_files["labels"])
    video = pipe(street_files["map"], num_frames=1, seed=0, look=look)
    worn = read_video(tmp_path / "worn_seed0")[0]
    assert (worn == to_pixels(video.first_frame)[0]).all()
    assert (worn != read_video(tmp_path / "plain")[0]).mean() > 0.5


def test_without_its_labels_the_photo_is_segmented(
    street_files: dict[str, str], reader: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert paint(street_files, reader, tmp_path / "s", "--look", street_files["photo"]) == 0
    assert f"{street_files['photo']}: segmented; its look is taken" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--look-labels labels", "Expected --look with --look-labels; got none"),
        ("--look photo --first-frame photo", "got a photo that is the first frame; leave --look"),
        ("--look photo --photo", "got a photo that is the first frame; leave --look"),
        ("--look photo --look-labels narrow", "a photo with the proportions of the labels"),
        ("--look nowhere.png", "nowhere.png"),
        ("--look photo --look-labels photo", "photo.png: "),
        ("--look photo --look-labels labels", "got one with neither its encoder nor known looks"),
    ],
)
def test_looks_that_cannot_be_taken_are_one_line(
    street_files: dict[str, str],
    model: Path,
    tmp_path: Path,
    words: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [street_files.get(word, word) for word in words.split()]
    assert paint(street_files, str(model), tmp_path / "s", *given) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "s").exists()


def wished(tmp_path: Path, model: Path, *words: str) -> int:
    write_image(
        tmp_path / "labels.png", colourise(street_map()[0].numpy(), get_label_space("cityscapes"))
    )
    shared = [str(tmp_path / "labels.png"), "-o", str(tmp_path / "video.mp4"), "--overwrite"]
    return cli.main(["generate", *shared, "--model", str(model), "--frames", "4", *words])


def test_wishes_are_words_or_a_file(tmp_path: Path, model: Path) -> None:
    words = ["--camera", "still", "--move", "car=still", "--move", "all=x2", "--freeze", "sky"]
    assert wished(tmp_path, model, *words) == 0
    told = read_video(tmp_path / "video.mp4").astype(int)
    # Nothing moves: what differs is what the encoder of the video loses.
    assert np.abs(np.diff(told, axis=0)).mean() < 2
    file = tmp_path / "wishes.yaml"
    file.write_text("camera: still\nmove: {car: still, all: x2}\nfreeze: [sky]\n")
    before = (tmp_path / "video.mp4").read_bytes()
    assert wished(tmp_path, model, "--control", str(file)) == 0
    assert (tmp_path / "video.mp4").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--camera", "fast"], "still, x0.5, a file of poses"),
        (["--move", "person=still"], "can move: car"),
        (["--camera", "still", "--control", "x.yaml"], "--control, or --camera"),
        (["--careful", "false", "--control", "x.yaml"], "--control, or --camera"),
        (["--control", "missing.yaml"], "missing.yaml"),
        (["--strength", "2"], "strength"),
    ],
)
def test_wishes_without_sense_are_one_line(
    words: list[str], message: str, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wished(tmp_path, model, *words) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in told
    assert not (tmp_path / "video.mp4").exists()


def test_a_clips_motion_and_wishes_exclude_each_other(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "photo.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    words = [str(tmp_path / "photo.png"), "-o", str(tmp_path / "a.mp4"), "--model", str(model)]
    for wish in (["--camera", "still"], ["--loop"], ["--careful", "false"]):
        assert cli.main(["animate", *words, "--motion-from", str(tmp_path), *wish]) == 2
        assert "wishes for the motion, or --motion-from" in capsys.readouterr().err
