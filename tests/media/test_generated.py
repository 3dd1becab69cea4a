"""Generated videos on their way to files: what is no picture is said, and nothing is written."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from seg2vid.media.generated import VideoSink, save_video
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
            save_video(damaged, tmp_path / f"s{ending}")
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
    assert save_video(both, tmp_path / "s.mp4").exists()
