"""The commands of examples/ do what is said above each."""

import shlex
from pathlib import Path

import numpy as np
import pytest

from seg2vid.cli import main as cli
from seg2vid.media.label_maps import read_instance_map
from seg2vid.media.video import read_video

REPOSITORY = Path(__file__).parents[2]
COMMANDS = {
    words[words.index("-o") + 1]: words[1:]
    for line in (REPOSITORY / "examples" / "motions.sh").read_text("utf-8").splitlines()
    if (words := shlex.split(line, comments=True))
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)


def made(name: str, *more: str) -> np.ndarray:
    """Run a command with a model that is free, and return the frames."""
    assert cli.main([*COMMANDS[name], "--model", "toycity", *more]) == 0
    return read_video(Path(name)).astype(int)


def flow_of(name: str, number: int) -> np.ndarray:
    """Return the mean flow, (dx, dy) in pixels over eight frames, of an object."""
    words = ["frames" if word == name else word for word in COMMANDS[name]]
    words += ["--model", "toycity", "--save", "source"]
    if "--instances" not in words:
        words += ["--instances", "examples/street_instances.png"]
    assert cli.main(words) == 0
    numbers = read_instance_map(Path("examples/street_instances.png"))[::2, ::2]
    source = np.load("frames/source/000008.npy")
    y, x = np.nonzero((source >= 0) & (numbers.flat[source] == number))
    before = np.stack((source[y, x] % 256, source[y, x] // 256))
    return (np.stack((x, y)) - before).mean(1)


def test_one_car_stands_while_the_others_go() -> None:
    # On an outline a pixel may show the one beside it.
    assert np.abs(flow_of("stopped.mp4", 8)).max() < 0.01
    assert np.abs(flow_of("stopped.mp4", 6)).max() > 1


def test_people_walk_left() -> None:
    assert flow_of("left.mp4", 9)[0] < -3


def test_the_camera_turns_left() -> None:
    frames = made("turning.mp4", "--save", "poses", "--overwrite")
    pose = np.loadtxt("turning_poses.txt").reshape(len(frames), 3, 4)[-1]
    assert np.degrees(np.arctan2(pose[0, 2], pose[2, 2])) == pytest.approx(-8, abs=0.1)
    assert pose[2, 3] > 3.5


def test_all_is_frozen() -> None:
    frames = made("frozen.mp4")
    assert np.abs(frames - frames[0]).mean() < 1, "but for what the video's codec adds"


def test_a_loop_goes_round() -> None:
    frames = made("loop.gif")
    assert len(frames) == 24
    steps = np.abs(np.diff(frames, axis=0, append=frames[:1])).mean((1, 2, 3))
    assert steps[-1] <= np.median(steps)
