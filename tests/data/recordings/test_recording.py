"""Recordings: frames and maps of one index belong together; order, rates, errors."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from seg2vid.data.recordings.recording import Recording, list_pictures, list_runs, read_clip
from seg2vid.labels.space import get_label_space
from seg2vid.tools.errors import MediaError

SIZE = {"height": 16, "width": 32}


def paint(path: Path, value: int) -> Path:
    """Write a picture of one grey value; the value tells which one it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 32), value, np.uint8)).save(path)
    return path


def film(path: Path, count: int, rate: int = 25) -> Path:
    """Write a lossless video whose frame i has the grey value 10 i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "bgr0"
        for index in range(count):
            pixels = np.full((16, 32, 3), 10 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def greys(recording: Recording, *window: int | None) -> list[int]:
    """The grey value of every frame."""
    return [int(frame.max()) for frame in recording.frames(*window)]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """Frames 0 ... 7 of grey 10 i; label maps of class i for 2 ... 5, instances 100 + i for all."""
    return Recording(
        "one",
        pictures=tuple(paint(tmp_path / f"{i}.png", 10 * i) for i in range(8)),
        frames_per_second=12.0,
        label_space=get_label_space("cityscapes"),
        encoding="train",
        label_files={i: paint(tmp_path / "labels" / f"{i}.png", i) for i in range(2, 6)},
        instance_files={i: paint(tmp_path / "objects" / f"{i}.png", 100 + i) for i in range(8)},
    )


def test_a_clip_holds_the_frames_and_maps_of_the_same_indices(recording: Recording) -> None:
    clip = read_clip(recording, 2, num_frames=3, **SIZE)
    assert clip.first_frame.shape == (1, 3, 16, 32) and clip.frames.shape == (1, 3, 3, 16, 32)
    assert torch.equal((clip.first_frame * 255).round().unique(), torch.tensor([20.0]))
    assert (clip.frames[0, :, 0, 0, 0] * 255).round().tolist() == [30, 40, 50]
    assert clip.label_map.unique().tolist() == [2]
    assert clip.label_maps[0, :, 0, 0].tolist() == [3, 4, 5]
    assert clip.instance_map.unique().tolist() == [102]
    assert clip.instance_maps[0, :, 0, 0].tolist() == [103, 104, 105]
    assert clip.frames_per_second == 12.0


def test_a_step_leaves_frames_out_and_lowers_the_rate(recording: Recording) -> None:
    clip = read_clip(recording, 1, num_frames=3, step=2, **SIZE)
    assert (clip.frames[0, :, 0, 0, 0] * 255).round().tolist() == [30, 50, 70]
    assert clip.instance_maps[0, :, 0, 0].tolist() == [103, 105, 107]
    assert clip.frames_per_second == 6.0


def test_maps_are_there_only_where_every_frame_has_one(recording: Recording) -> None:
    before = read_clip(recording, 1, num_frames=2, **SIZE)
    assert before.label_map.unique().tolist() == [19], "void"
    assert before.label_maps[0, :, 0, 0].tolist() == [2, 3]
    after = read_clip(recording, 5, num_frames=2, **SIZE)
    assert after.label_map.unique().tolist() == [5] and after.label_maps is None


def test_without_a_label_space_all_is_of_class_0(recording: Recording) -> None:
    clip = read_clip(replace(recording, label_space=None), 2, num_frames=1, **SIZE)
    assert clip.label_map.unique().tolist() == [0] and clip.label_maps is None


def test_a_clip_beyond_the_end_is_refused(recording: Recording) -> None:
    assert read_clip(recording, 4, num_frames=3, **SIZE).frames.shape[1] == 3
    message = (
        r"Expected 4 frames from 5 of one, every 1; got 3 in .*; give a longer one, or take fewer"
    )
    with pytest.raises(MediaError, match=message):
        read_clip(recording, 5, num_frames=3, **SIZE)


def test_frames_outside_the_window_are_not_opened(recording: Recording) -> None:
    recording.pictures[3].write_bytes(b"damaged")
    assert greys(recording, 4) == [40, 50, 60, 70] and greys(recording, 0, 7, 2) == [0, 20, 40, 60]
    with pytest.raises(MediaError, match=r"3\.png, which is no picture"):
        greys(recording)


def test_a_video_gives_frames_and_rate(tmp_path: Path) -> None:
    video = Recording("two", video=film(tmp_path / "a.avi", 6, rate=10))
    assert greys(video) == [0, 10, 20, 30, 40, 50] and greys(video, 1, 6, 2) == [10, 30, 50]
    assert video.rate == 10.0 and replace(video, frames_per_second=5.0).rate == 5.0
    assert video.source == str(tmp_path / "a.avi")
    assert read_clip(video, 0, num_frames=2, step=2, **SIZE).frames_per_second == 5.0


def test_the_rate_of_what_is_no_video(tmp_path: Path, recording: Recording) -> None:
    assert replace(recording, frames_per_second=None).rate == 25.0
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(MediaError, match=r"Expected a video; got .*a\.mp4: .*; check it"):
        _ = Recording("three", video=tmp_path / "a.mp4").rate


def test_pictures_are_in_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("f10.png", "f9.JPG", "f010.jpeg", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_pictures(tmp_path)] == ["f9.JPG", "f010.jpeg", "f10.png"]
    assert list_pictures(tmp_path / "notes.txt") == list_pictures(tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("numbers", "runs"),
    [
        ([], ()),
        ([7], ((0, 1),)),
        ([5, 6, 7], ((0, 3),)),
        ([5, 6, 8, 9, 20], ((0, 2), (2, 4), (4, 5))),
        ([3, 3, 4], ((0, 1), (1, 3))),
    ],
)
def test_runs_end_where_a_number_is_missing(numbers: list[int], runs: tuple) -> None:
    assert list_runs(numbers) == runs
