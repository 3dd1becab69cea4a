"""What the verbs write never takes the place of what is there unless that is wished."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg2vid.cli import main as cli
from seg2vid.data.motion_clip import MotionClip
from seg2vid.data.recordings.folder import list_recordings
from seg2vid.labels.space import get_label_space
from seg2vid.media.pictures import write_label_map
from seg2vid.media.video import read_video
from seg2vid.structures import Motion
from seg2vid.tools.files import CONTROLS, EXTRAS
from tests.cli.test_main import FakePipeline
from tests.cli.test_main import pipe as pipe
from tests.cli.test_segment import brightness as brightness
from tests.cli.test_segment import save_photo

CITYSCAPES = get_label_space("cityscapes")
Refused = Callable[[str], str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a label map, once as PNG and once as WebP."""
    ids = np.full((64, 128), 10)
    ids[20:32], ids[32:], ids[30:40, 40:60] = 2, 0, 13
    write_label_map(tmp_path / "labels.png", ids, CITYSCAPES)
    with Image.open(tmp_path / "labels.png") as picture:
        picture.convert("RGB").save(tmp_path / "labels.webp", lossless=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(folder: Path, pipe: FakePipeline, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must be refused in one line, before anything is made or written."""

    def call(command: str) -> str:
        before = contents(folder)
        capsys.readouterr()
        made = len(pipe.calls)
        assert cli.main(command.split()) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.fullmatch(r"seg2vid: Expected .+; got .+; .+\.", line)
        assert contents(folder) == before and len(pipe.calls) == made
        return line

    return call


def run(command: str) -> None:
    assert cli.main(command.split()) == 0


# Folders of frames.


def test_a_folder_is_replaced_only_where_seg2vid_wrote_it(
    refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "own" / "labels").mkdir(parents=True)
    for name in ("000000.png", "000001.png", "labels/000000.png"):
        (folder / "own" / name).write_bytes(b"a year of work")
    message = "holds 000000.png and no video.json; choose another name: nothing is overwritten"
    assert message in refused("generate labels.png -o own")
    assert message in refused("generate labels.png -o own --overwrite")
    (folder / "drive").mkdir()
    monkeypatch.setattr("sys.argv", ["/bin/seg2vid", "generate", "labels.png"])
    run("generate labels.png -o drive --frames 7 --seed 4 --save labels")
    found = json.loads((folder / "drive" / "video.json").read_text("utf-8"))
    assert (found["model"], found["seed"], found["frames"]) == ("tiny", 4, 7)
    assert found["model_sha256"] == "abc"
    assert found["command"] == ["seg2vid", "generate", "labels.png"]
    assert found["reference_frames"] == [0, 0, 0, 0, 0, 4, 4], "frames 5 and 6 are of a second key"
    assert (found["frames_per_second"], found["label_space"]) == (12.0, "cityscapes")
    run("generate labels.png -o drive --frames 2")
    assert len(read_video(folder / "drive")) == 2 and not (folder / "drive" / "labels").exists()


def test_a_folder_with_its_marker_is_read_back(pipe: FakePipeline, folder: Path) -> None:
    run("generate labels.png -o drive --frames 3 --save flow,labels")
    (recording,) = list_recordings(folder / "drive")
    assert len(recording.pictures) == 3 and set(recording.label_files) == {0, 1, 2}
    clip = MotionClip(folder / "drive")
    (read,) = clip.passes(CITYSCAPES, height=32, width=64, num_frames=2, most=1)
    assert read.frames.shape == (1, 2, 3, 32, 64)


def test_all_that_is_known_goes_into_one_folder(pipe: FakePipeline, folder: Path) -> None:
    numbers = np.where(np.arange(128) < 64, 26001, 0)[None].repeat(64, 0).astype(np.uint16)
    Image.fromarray(numbers).save(folder / "numbers.png")
    every = ",".join(EXTRAS)
    run(f"generate labels.png -o drive --frames 7 --instances numbers.png --save {every}")
    drive = folder / "drive"
    names = [f"{number:06d}" for number in range(7)]
    objects = np.asarray(Image.open(drive / "instances" / "000006.png"))
    assert objects.dtype == np.uint16 and objects[0, 0] == 26001 and objects[0, 40] == 0
    depth = np.asarray(Image.open(drive / "depth" / "000001.png"))
    assert depth.dtype == np.uint16 and (depth == 4 * 256).all(), "4 m in KITTI's scale"
    source = np.load(drive / "source" / "000001.npy")
    assert source.dtype == np.int32 and source[1, 2] == 64 + 2
    assert sorted(path.stem for path in (drive / "forward_visible").iterdir()) == names
    assert sorted(path.stem for path in (drive / "depth").iterdir()) == names[1:]
    poses = np.loadtxt(drive / "poses.txt").reshape(7, 3, 4)
    assert poses[:, 2, 3].tolist() == [0, 1, 2, 3, 4, 5, 6], "of the first frame, through every key"
    assert (poses[:, :, :3] == np.eye(3)).all()
    boxes = json.loads((drive / "boxes.json").read_text("utf-8"))
    assert len(boxes) == 7 and {one["class"] for one in boxes[0]} == {"car"}
    for name in CONTROLS:
        assert len(read_video(drive / f"{name}.mp4")) == 7
    assert len(list_recordings(drive)) == 1, "they are no recordings"
    run("generate labels.png -o drive --frames 2")
    assert not (drive / "poses.txt").exists(), "such a folder is seg2vid's own"


def test_all_that_can_be_seen_goes_beside_a_video(
    refused: Refused, pipe: FakePipeline, folder: Path
) -> None:
    every = ",".join(name for name in EXTRAS if name not in ("source", "kitti_flow"))
    run(f"generate labels.png -o a.mp4 --frames 3 --instances labels.png --save {every}")
    assert len(np.loadtxt(folder / "a_poses.txt")) == 3
    assert len(json.loads((folder / "a_boxes.json").read_text("utf-8"))) == 3
    videos = [path for path in folder.glob("a*") if path.suffix == ".mp4"]
    assert {len(read_video(path)) for path in videos} == {3}
    assert len(videos) == len(EXTRAS) - 3
    assert "a folder for source, which is no picture; got 'b.mp4'; leave the ending out" in refused(
        "generate labels.png -o b.mp4 --save source"
    )


def test_extras_that_a_video_does_not_have_are_refused(
    pipe: FakePipeline, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    assert cli.main(["generate", "labels.png", "-o", "a", "--save", "instances"]) == 2
    assert "an instance map to move along, for instances; got none; " in capsys.readouterr().err
    monkeypatch.setattr(
        pipe, "motion", lambda flow: Motion(flow, -flow, flow[:, :, :1], flow[:, :, :1])
    )
    for extra in ("depth", "source", "poses", "control-depth"):
        assert cli.main(f"generate labels.png -o a --save {extra}".split()) == 2
        message = f"a model whose motion is a scene's, for {extra}; got one of free flow; take"
        assert message in capsys.readouterr().err
    assert [path.name for path in folder.glob("*a*") if path.suffix not in (".png", ".webp")] == []


# Files.


VERBS = {
    "generate labels.png -o a.mp4": "a.mp4",
    "generate labels.png -o a.gif --save flow,labels": "a_labels.gif",
    "generate labels.png -o a.webp --samples 2": "a_seed1.webp",
    "generate labels.png -o a.webm --contact-sheet sheet.png": "sheet.png",
    "animate photo.png --labels labels.png -o a.mp4": "a.mp4",
    "animate photo.png -o b.mp4": "b.mp4",
    "labels convert labels.png -o a.png": "a.png",
    "segment photo.png -o a.png --overlay over.png": "over.png",
    "segment photo.png -o a.png --confidence sure.png": "sure.png",
}


@pytest.mark.parametrize("command", VERBS)
def test_files_are_replaced_only_when_wished(
    refused: Refused, brightness: None, folder: Path, command: str
) -> None:
    save_photo(folder / "photo.png", 64, 128)
    there = folder / VERBS[command]
    there.write_bytes(b"older")
    line = refused(command)
    assert f"Expected new files to write; got {there.name}, which exists; add --overwrite" in line
    run(f"{command} --overwrite")
    assert there.read_bytes() != b"older"
    refused(command)
    run(f"{command} --overwrite")


class Terminal(io.StringIO):
    """A person at a terminal, who types what it was made with."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["y\n", "Yes\n", "n\n", "\n", "", "yellow\n"])
def test_a_person_is_asked(
    pipe: FakePipeline, folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    (folder / "a.gif").write_bytes(b"older")
    (folder / "a_flow.gif").write_bytes(b"older")
    said = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr", said)
    is_yes = answer in {"y\n", "Yes\n"}
    words = ["generate", "labels.png", "-o", "a.gif", "--save", "flow"]
    assert cli.main(words) == (0 if is_yes else 2)
    assert said.getvalue().startswith("a.gif, a_flow.gif exist. Replace? [y/N] ")
    assert ((folder / "a.gif").read_bytes() == b"older") != is_yes
    assert ("; got a.gif, a_flow.gif, which exist; add" in said.getvalue()) != is_yes


# One place for two things.


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("generate labels.webp -o labels.webp", "got labels.webp, which is read"),
        ("generate labels.webp -o ./../{here}/labels.webp", "labels.webp, which is read"),
        ("generate labels.webp -o link.webp", "got link.webp, which is read"),
        ("generate labels.webp -o hard.webp", "got hard.webp, which is read"),
        ("generate labels.png -o a.mp4 --first-frame p.png --contact-sheet p.png", "got p.png, wh"),
        ("generate labels.png -o a.mp4 --instances p.png --contact-sheet p.png", "got p.png, whi"),
        ("generate drive/000000.png -o drive", "drive, which holds drive/000000.png, which is re"),
        ("animate p.png --labels labels.webp -o labels.webp", "got labels.webp, which is read"),
        ("animate p.png --labels labels.png -o drive --motion-from drive", "got drive, which is"),
        ("animate p.png --labels labels.png -o m.mp4 --motion-from m.mp4 --motion-labels labels.png"
         " --overwrite", "got m.mp4, which is read"),
        ("labels convert labels.png -o labels.png", "got labels.png, which is read"),
        ("segment p.png -o p.png", "got p.png, which is read"),
        ("segment p.png -o a.png --overlay p.png", "got p.png, which is read"),
    ],
)  # fmt: skip
def test_an_output_that_is_an_input_is_refused(
    refused: Refused, folder: Path, command: str, message: str
) -> None:
    (folder / "link.webp").symlink_to("labels.webp")
    (folder / "hard.webp").hardlink_to(folder / "labels.webp")
    save_photo(folder / "p.png", 64, 128)
    (folder / "m.mp4").write_bytes(b"a clip")
    run("generate labels.png -o drive --save labels")
    command = command.format(here=folder.name)
    assert message in refused(command)
    assert "an output that is not an input; got" in refused(f"{command} --overwrite")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("generate labels.png -o a.webp --contact-sheet a.webp", "got a.webp twice"),
        ("generate labels.png -o a.webp --contact-sheet ./x/../a.webp", "a.webp twice"),
        ("generate labels.png -o a.webp --save flow --contact-sheet a_flow.webp", "a_flow.webp tw"),
        ("generate labels.png -o drive --contact-sheet drive/sheet.png", "sheet.png within drive"),
        ("segment p.png -o a.png --overlay a.png", "got a.png twice"),
        ("segment p.png -o a.png --overlay b.png --confidence b.png", "got b.png twice"),
    ],
)
def test_two_outputs_in_one_place_are_refused(
    refused: Refused, folder: Path, command: str, message: str
) -> None:
    save_photo(folder / "p.png", 64, 128)
    line = refused(f"{command} --overwrite")
    assert "Expected a place of its own for each output; got " in line and message in line
