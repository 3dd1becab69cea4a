"""What a newcomer does, by the command line and with the models that come along: from a drawing to
figures on data of one's own. Each word is tested elsewhere; here they meet.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg2vid import Seg2VidPipeline
from seg2vid.cli import main as cli
from seg2vid.labels.convert import colourise
from seg2vid.labels.space import get_label_space, load_label_space
from seg2vid.media.video import VideoWriter, read_video
from tests.test_readme import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
Say = Callable[..., tuple[int, str, str]]
DRAWING = REPOSITORY / "examples" / "drawing.png"
STREET = REPOSITORY / "examples" / "street.png"
FRAMES = 3


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Call seg2vid with words; return its status, output and errors."""

    def call(*words: object) -> tuple[int, str, str]:
        status = cli.main([str(word) for word in words])
        return status, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A street as the bundled model paints it: the nearest to a photo that may lie here."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    frame = Seg2VidPipeline.from_pretrained("toycity")(STREET, num_frames=1, seed=1).first_frame
    pixels = (frame[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
    Image.fromarray(pixels).save(path, quality=92)
    return path


def moves(path: Path) -> bool:
    """Say whether a video of so many frames shows more than one picture."""
    frames = read_video(path)
    return len(frames) == FRAMES and bool((frames[0] != frames[-1]).any())


def test_a_street_in_plain_colours(say: Say, tmp_path: Path) -> None:
    """Refused at first; the line names both ways on, and the second begins with what it printed."""
    words = ("generate", DRAWING, "--frames", FRAMES, "-o", tmp_path / "a.mp4")
    status, _, error = say(*words)
    assert status == 2 and "5 flat colours of no class" in error and "--palette nearest" in error
    assert say(*words, "--palette", "nearest")[0] == 0 and moves(tmp_path / "a.mp4")
    status, own, _ = say("labels", "check", DRAWING)
    (tmp_path / "own.yaml").write_text(own.replace("nearest", "own"))
    assert status == 2 and load_label_space(tmp_path / "own.yaml").void_id == 6
    again = ("--overwrite", "--label-space", tmp_path / "own.yaml")
    assert say(*words, *again)[0] == 0 and moves(tmp_path / "a.mp4")


def test_a_map_in_the_colours_of_ade20k(say: Say, tmp_path: Path) -> None:
    space = get_label_space("ade20k")
    ids = np.full((128, 256), space.names.index("road"))
    ids[:48], ids[40:64, 90:] = space.names.index("sky"), space.names.index("building")
    ids[70:84, 40:80] = space.names.index("car")
    Image.fromarray(colourise(ids, space)).save(tmp_path / "ade.png")
    words = ("generate", tmp_path / "ade.png", "--frames", FRAMES, "-o", tmp_path / "ade.webm")
    status, output, error = say(*words)
    assert status == 0 and "ade20k colours, by the name of each class" in output, error
    assert "road 53%, sky 33%, building 12%, car 2%" in output and moves(tmp_path / "ade.webm")


def test_a_photo_is_animated(say: Say, photo: Path, tmp_path: Path) -> None:
    words = ("animate", photo, "--frames", FRAMES, "-o", tmp_path / "a", "--save", "flow,labels")
    status, output, error = say(*words)
    assert status == 0, error
    first = np.asarray(Image.open(tmp_path / "a" / "000000.png"), np.int64)
    assert abs(first - np.asarray(Image.open(photo))).max() <= 1, "the photo itself begins"
    about = json.loads((tmp_path / "a" / "video.json").read_text())
    assert {"flow", "labels"} <= {path.name for path in (tmp_path / "a").iterdir()}
    assert about["frames"] == FRAMES and about["model"] == "street" and str(tmp_path) in output


def test_videos_are_prepared_trained_on_and_evaluated(
    say: Say, photo: Path, tmp_path: Path
) -> None:
    """A folder of two videos becomes a dataset; a model is judged on it, and another trained."""
    videos, data = tmp_path / "videos", tmp_path / "data"
    videos.mkdir()
    pixels = np.asarray(Image.open(photo))
    for number, name in enumerate(("one.mp4", "two.mp4")):
        with VideoWriter(videos / name, frames_per_second=12.0) as writer:
            for step in range(10):
                writer.write(np.roll(pixels, step * (number + 1), axis=1)[:128, :256].copy())
    status, _, error = say(
        *("prepare", videos, "-o", data, "--size", "128x64", "--frames", 4, "--fps", 12),
        *("--labels", "segmenter", "--flow", "dis", "--workers", 1),
    )
    assert status == 0, error
    report = tmp_path / "report"
    status, _, error = say(
        *("evaluate", "--model", "toycity", "--data", data, "--clips", 1),
        *("-o", report, "--workers", 1, "--threads", 1),
    )
    assert status == 0 and "dataset data" in (report / "report.html").read_text("utf-8"), error
    status, table, _ = say("compare", report, "--format", "csv", "--candidates", "model,repeat")
    assert status == 0 and "," in table
    status, _, error = say(
        *("train", "motion", "--data", data, "-o", tmp_path / "run", "--batch-size", 1),
        *("--model.width", 128, "--model.height", 64, "--model.num-frames", 3),
        *("--without-features", "--max-steps", 1, "--measured-steps", 0, "--dry-run"),
    )
    assert status == 0, error


def test_classes_of_ones_own(say: Say, tmp_path: Path) -> None:
    """Grey ids of three classes and a file that says what they are the same as."""
    space = tmp_path / "own.yaml"
    space.write_text(
        "name: own\n"
        "classes:\n"
        "- {name: asphalt, colour: [90, 90, 90], same_as: road}\n"
        "- {name: heaven, colour: [120, 180, 255], same_as: sky}\n"
        "- {name: lorry, colour: [200, 40, 40], same_as: truck, foreground: true}\n"
    )
    ids = np.zeros((128, 256), np.uint8)
    ids[:50], ids[70:90, 100:150] = 1, 2
    Image.fromarray(ids).save(tmp_path / "ids.png")
    named = ("--label-space", space)
    assert say("labels", "check", tmp_path / "ids.png", *named)[0] == 0
    words = ("generate", tmp_path / "ids.png", "-o", tmp_path / "a.gif", "--frames", FRAMES)
    status, _, error = say(*words, *named)
    assert status == 0 and moves(tmp_path / "a.gif"), error


def test_a_notebook_plays_what_python_makes(tmp_path: Path) -> None:
    video = Seg2VidPipeline.from_pretrained("toycity")(STREET, num_frames=FRAMES, seed=3)
    assert video._repr_html_().startswith('<video controls autoplay loop muted src="data:video/mp4')
    assert "street" in repr(video) or "toycity" in repr(video)
    shutil.copy(video.save(tmp_path / "a.mp4"), tmp_path / "b.mp4")
    assert moves(tmp_path / "b.mp4")
