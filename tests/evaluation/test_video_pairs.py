"""Two folders of videos: who belongs to whom, how much of them is judged, and what does not fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg2vid.evaluation.candidates import baselines_of, video_folder
from seg2vid.evaluation.cases import Cases
from seg2vid.evaluation.output import Candidate
from seg2vid.evaluation.protocol import Protocol
from seg2vid.evaluation.run import compare_videos
from seg2vid.evaluation.video_pairs import VideoPairs
from seg2vid.tools.errors import MediaError


def write(
    place: Path, brightness: int, *, count: int = 3, size: tuple[int, int] = (32, 64)
) -> Path:
    """Write a video whose frame i is brightness + 10 i, as a folder of png or an animation."""
    frames = [np.full((*size, 3), brightness + 10 * index, np.uint8) for index in range(count)]
    place.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(frame) for frame in frames]
    if place.suffix:
        pictures[0].save(
            place, save_all=True, append_images=pictures[1:], lossless=True, duration=80
        )
    else:
        place.mkdir()
        for index, picture in enumerate(pictures):
            picture.save(place / f"{index:06d}.png")
    return place


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two real videos, two futures of each: one begins with the real frame, one nearly so."""
    real, made = tmp_path / "real", tmp_path / "made"
    for name, brightness in (("b", 100), ("a", 20)):
        write(real / name, brightness, count=5)
        write(made / f"{name}_seed0.webp", brightness, count=4)
        write(made / f"{name}_seed11", brightness + 5)
    write(real / "unused", 0)
    (made / "notes.txt").write_text("no video")
    (made / "empty").mkdir()
    return made, real


def test_futures_belong_to_the_real_video_of_their_name(folders: tuple[Path, Path]) -> None:
    made, real = folders
    pairs = VideoPairs(made, real)
    assert pairs.names == ("a", "b") and pairs.samples == 2
    assert [path.name for path in pairs.futures["a"]] == ["a_seed0.webp", "a_seed11"]
    assert pairs.size == (32, 64)
    assert pairs.length == 3, "that of the shortest"


def test_a_name_that_ends_like_a_seed_may_be_a_whole_one(tmp_path: Path) -> None:
    for folder in ("real", "made"):
        write(tmp_path / folder / "drive_seed7", 10)
    pairs = VideoPairs(tmp_path / "made", tmp_path / "real")
    assert pairs.names == ("drive_seed7",) and pairs.samples == 1


def test_real_videos_are_clips_without_labels(folders: tuple[Path, Path]) -> None:
    clip = VideoPairs(*folders).read(1)
    assert clip.first_frame.shape == (1, 3, 32, 64) and clip.frames.shape == (1, 2, 3, 32, 64)
    assert torch.equal((clip.first_frame * 255).round().unique(), torch.tensor([100.0]))
    assert (clip.frames[0, :, 0, 0, 0] * 255).round().tolist() == [110, 120]
    assert clip.label_map.unique().tolist() == [19] and clip.label_maps is None


def test_futures_are_read_with_their_first_frames(folders: tuple[Path, Path]) -> None:
    pairs = VideoPairs(*folders)
    futures = pairs.read_futures(0)
    assert futures.shape == (2, 3, 3, 32, 64)
    found = (futures[:, :, 0, 0, 0] * 255).round()
    assert found.tolist() == [[20, 30, 40], [25, 35, 45]]
    candidate = video_folder(pairs)
    assert isinstance(candidate, Candidate) and candidate.title == "made"
    assert candidate.about == "2 videos of each, as they lie in the folder"
    judged = candidate.make(pairs.read(0), 0)
    assert torch.equal(judged.frames, futures)
    assert judged.label_maps is None and judged.motion is None


def test_videos_stand_still_on_their_own_first_frame_where_none_is_given(
    folders: tuple[Path, Path],
) -> None:
    protocol, pairs = compare_videos(*folders)
    for task in ("prediction", "generation"):
        (repeat,) = [
            one
            for one in baselines_of(replace(protocol, task=task), None, pairs)
            if one.key == "repeat"
        ]
        real = pairs.read(0).map(lambda tensor: tensor + 1)
        frames = repeat.make(real, 0).frames
        assert frames.shape == (1, 3, 3, 32, 64)
        expected = 20 + (255 if task == "prediction" else 0)
        assert (frames * 255).round().unique().tolist() == [expected]


@pytest.mark.parametrize("changed", ["made/a_seed11/000001.png", "real/b/000004.png"])
def test_other_videos_have_another_digest(folders: tuple[Path, Path], changed: str) -> None:
    """A finished report of other videos of the same names is not taken for theirs."""
    before = video_folder(VideoPairs(*folders)).sha256
    assert video_folder(VideoPairs(*folders)).sha256 == before
    Image.new("RGB", (64, 32), "red").save(folders[0].parent / changed)
    assert video_folder(VideoPairs(*folders)).sha256 != before


def test_a_first_frame_counts_as_given_but_for_coding(folders: tuple[Path, Path]) -> None:
    made, real = folders
    assert VideoPairs(made, real).has_given_frame, "5 of 255 is less than 0.03"
    write(made / "a_seed2", 28)
    write(made / "b_seed2", 100)
    assert not VideoPairs(made, real).has_given_frame, "8 of 255 is more"


def test_a_protocol_is_made_for_the_videos(folders: tuple[Path, Path]) -> None:
    protocol, pairs = compare_videos(*folders)
    assert (protocol.name, protocol.source, protocol.task) == ("videos-v1", "videos", "prediction")
    assert (protocol.height, protocol.width, protocol.num_frames) == (32, 64, 2)
    assert protocol.horizons == (2,) and protocol.samples == 2
    assert protocol.picture_times == (1, 2) and protocol.warping_times == (1, 2)
    assert protocol.compared_times == (1, 2)
    cases = Cases(protocol, None, 1, pairs)
    assert cases.names == ("a",) and cases.every_name == ("a", "b")
    assert torch.equal(cases.read(0).frames, pairs.read(0).frames)
    write(folders[0] / "a_seed2", 90)
    write(folders[0] / "b_seed2", 90)
    generated: Protocol = compare_videos(*folders)[0]
    assert generated.task == "generation" and generated.compared_times == (0, 1, 2)


def refused(made: Path, real: Path) -> str:
    """What is said of folders that do not fit."""
    with pytest.raises(MediaError) as error:
        compare_videos(made, real)
    return str(error.value)


def test_folders_that_do_not_fit_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    made, real = folders
    message = refused(tmp_path / "none", real)
    assert message.startswith("Expected videos (.") and "or folders of png) in" in message
    assert message.endswith("none; got no such folder; check the path.")
    (tmp_path / "bare").mkdir()
    assert refused(made, tmp_path / "bare").endswith("bare; got none; check the path.")
    write(made / "c_seed0", 0)
    write(made / "d", 0)
    message = refused(made, real)
    assert message == (
        f"Expected a real video in {real} for each of {made}; got none for c and 1 more; "
        "name both alike, or remove the others."
    )


def test_unequal_numbers_of_futures_are_refused(folders: tuple[Path, Path]) -> None:
    made, real = folders
    write(made / "a_seed3", 20)
    assert refused(made, real) == (
        "Expected as many futures of every video; got 2 to 3; remove what is too many."
    )


def test_other_sizes_are_refused(folders: tuple[Path, Path]) -> None:
    made, real = folders
    for name in ("a", "b"):
        write(made / f"{name}_seed5", 20, size=(48, 32))
    message = refused(made, real)
    assert message.startswith("Expected videos of one size, 64x32 as ")
    assert "got 32x48 at " in message and message.endswith("a_seed5; scale them to one size.")


def test_single_frames_are_no_videos(folders: tuple[Path, Path]) -> None:
    made, real = folders
    for name in ("a", "b"):
        write(made / f"{name}_seed5", 20, count=1)
    assert refused(made, real) == "Expected videos of at least two frames; got 1; give longer ones."
