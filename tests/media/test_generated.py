"""Generated videos on their way to files: what is no picture is said, and nothing is written."""

import base64
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seg2vid.geometry import rays_of, rigid_motion
from seg2vid.media.generated import VideoSink, camera_pose
from seg2vid.media.pictures import write_sixteen_bits
from seg2vid.media.video import read_video
from seg2vid.structures import Camera, ScenePaths
from seg2vid.tools.errors import MediaError
from tests.media.test_media import make_video


@pytest.mark.parametrize("ending", [".mp4", ".gif", ""])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_frames_that_are_not_finite_are_refused(tmp_path: Path, value: float, ending: str) -> None:
    video = make_video()
    frames, first = video.frames.clone(), video.first_frame.clone()
    frames[0, 2, 1, 5, 7] = value
    first[0, 0, 0, 0] = value
    for number, damaged in (
        (3, replace(video, frames=frames)),
        (0, replace(video, first_frame=first)),
    ):
        message = rf"^Expected finite colours in .*; got nan or inf in frame {number}; .*\.$"
        with pytest.raises(MediaError, match=message):
            damaged.save(tmp_path / f"s{ending}")
    assert os.listdir(tmp_path) == []


def test_a_later_pass_that_is_not_finite_leaves_nothing(tmp_path: Path) -> None:
    video = make_video()
    damaged = replace(video, frames=video.frames * float("nan"))
    with (
        pytest.raises(MediaError, match=r"nan or inf in frame 5; "),
        VideoSink(tmp_path / "s.mp4", frames_per_second=12.0) as sink,
    ):
        sink.write(video)
        sink.write(damaged)
    assert os.listdir(tmp_path) == []


def test_what_is_not_finite_in_another_sample_does_not_matter(tmp_path: Path) -> None:
    video = make_video()
    both = video.map(lambda tensor: tensor.repeat(2, *[1] * (tensor.ndim - 1)))
    both.frames[1] = float("nan")
    assert both.save(tmp_path / "s.mp4").exists()


def test_a_notebook_plays_every_sample(tmp_path: Path) -> None:
    both = make_video().map(lambda tensor: tensor.repeat(2, *[1] * (tensor.ndim - 1)))
    players = re.findall(
        r'<video [^>]*src="data:video/mp4;base64,([^"]+)"></video>', both._repr_html_()
    )
    assert len(players) == 2
    (tmp_path / "s.mp4").write_bytes(base64.b64decode(players[1]))
    assert read_video(tmp_path / "s.mp4").shape == (5, 32, 64, 3)


def test_convention_of_poses_is_that_of_the_moved_scene() -> None:
    """Points of the first camera, brought into a later one by both ways."""
    path = torch.tensor([3.0, -1.0, 0.3, 0.1])
    camera = Camera(torch.tensor([50.0]), torch.tensor([[31.5, 15.5]]))
    points = rays_of(camera, 32, 64)[0] * torch.linspace(2, 30, 32 * 64)
    still = ScenePaths(path.view(1, 1, 4), torch.zeros(1, 0, 1, 3), torch.zeros(1, 0, 2))
    move = rigid_motion(still)
    cosine, sine = move.cosine[0, 0], move.sine[0, 0]
    x = cosine * points[0] + sine * points[2] + move.rightward[0, 0]
    z = cosine * points[2] - sine * points[0] + move.forward[0, 0]
    up, level = move.pitch[0].sin(), move.pitch[0].cos()
    expected = torch.stack((x, level * points[1] + up * z, level * z - up * points[1]))
    pose = camera_pose(*path.tolist())
    found = np.linalg.inv(pose) @ np.concatenate((points.numpy(), np.ones((1, 32 * 64))))
    assert np.abs(found[:3] - expected.numpy()).max() < 1e-4
    ahead = camera_pose(2.0, 0.0, np.pi / 2, 0.0) @ np.array([0, 0, 1, 1])
    assert ahead == pytest.approx([1, 0, 2, 1]), "two metres ahead, then a turn to the right"
    above = camera_pose(0.0, 0.0, 0.0, np.pi / 2) @ np.array([0, 0, 1, 1])
    assert above == pytest.approx([0, -1, 0, 1]), "y points down"


def test_numbers_past_sixteen_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"from 0 to 65535 in .*; got 7 \.\.\. 70000; number"):
        write_sixteen_bits(tmp_path / "a.png", np.array([[7, 70_000]]))
    assert os.listdir(tmp_path) == []
