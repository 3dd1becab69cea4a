"""Any folder as a dataset: what is found, how it is named, which classes its label maps hold."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from seg2vid.data.recordings import find_layout, folder, list_recordings
from seg2vid.data.recordings.recording import Recording, read_clip
from seg2vid.labels.space import get_label_space
from seg2vid.media.pictures import write_label_map
from seg2vid.tools.errors import LabelMapError, MediaError
from tests.data.recordings.test_adapters import names, only, touch
from tests.data.recordings.test_recording import film, greys, paint

PETS = {"name": "pets", "classes": [{"name": "cat", "colour": [1, 2, 3]}]}


def frames(place: Path, *labels: int | None) -> Path:
    """Write a frame of grey 10 i for each label, and its map with the values 0 and the label."""
    for index, label in enumerate(labels):
        paint(place / f"{index}.png", 10 * index)
        if label is not None:
            pixels = np.zeros((16, 32), np.uint8)
            pixels[4:] = label
            Image.fromarray(pixels).save(touch(place / "labels" / f"{index}.png"))
    return place


def test_videos_and_folders_of_frames_are_found_at_any_depth(tmp_path: Path) -> None:
    film(tmp_path / "a/film.AVI", 3)
    frames(tmp_path / "a/deep/er/clip", None, None)
    frames(tmp_path / "a/alone", None)
    frames(tmp_path / ".hidden", None, None)
    for name in ("labels", "instances", "photos", "flow", "visible", "overlay"):
        frames(tmp_path / "a/deep/er/clip" / name, None, None)
    clip, video = folder.list_recordings(tmp_path)
    assert (clip.name, video.name) == ("a_deep_er_clip", "a_film")
    assert greys(clip) == [0, 10] and clip.rate == 25.0
    assert greys(video) == [0, 10, 20] and video.frames_per_second is None


def test_the_root_may_be_a_clip_or_a_video(tmp_path: Path) -> None:
    assert names(folder.list_recordings(frames(tmp_path / "my clip", None, None))) == ["my_clip"]
    video = film(tmp_path / "film.avi", 1)
    assert find_layout(video) == "folder" and only(list_recordings(video)).name == "film"


def test_names_can_name_files_and_are_unique(tmp_path: Path) -> None:
    for name in ("a b.mp4", "a+b.mp4", "A_B.avi", "a/b.mov", "c/x.mp4", "c_X.mp4", "v1.5.mp4"):
        touch(tmp_path / name)
    found = names(folder.list_recordings(tmp_path))
    assert found == ["A_B", "a_b_2", "a_b_3", "a_b_4", "c_X_2", "c_x", "v1_5"]


def test_maps_belong_to_the_frames_of_their_name(tmp_path: Path) -> None:
    clip = frames(tmp_path / "clip", *[None] * 12)
    for index in (2, 10):
        paint(clip / "labels" / f"{index}.png", index)
        paint(clip / "instances" / f"{index}.png", 40 + index)
    paint(clip / "labels" / "99.png", 3)
    recording = only(folder.list_recordings(tmp_path))
    assert greys(recording) == [10 * index for index in range(12)], "2 before 10"
    assert list(recording.label_files) == [2, 10]
    assert [int(recording.label_map(index).max()) for index in (2, 10)] == [2, 10]
    assert [int(recording.instance_map(index).max()) for index in (2, 10)] == [42, 50]


@pytest.mark.parametrize(
    ("labels", "space", "encoding", "ids"),
    [
        ((None, None), None, "auto", ()),
        ((0, 0, 1, 255), "object", "train", (0, 0, 1, 2)),
        ((1, 255), "object", "train", (1, 2)),
        ((0, 255), "object", "raw", (0, 1)),
        ((2, 255, 7), "cityscapes", "train", (2, 19, 7)),
        ((255, 26, 26, 7), "cityscapes", "raw", (19, 13, 13, 0)),
        ((8, 7), "cityscapes", "raw", (1, 0)),
        ((13, 1), "cityscapes", "train", (13, 1)),
        ((7, 10), "cityscapes", "auto", ()),
    ],
)
def test_values_tell_classes_and_encoding_of_the_whole_clip(
    tmp_path: Path, labels: tuple, space: str | None, encoding: str, ids: tuple
) -> None:
    recording = only(folder.list_recordings(frames(tmp_path / "clip", *labels)))
    assert (recording.label_space.name if space else recording.label_space) == space
    assert recording.encoding == encoding
    assert tuple(int(recording.label_map(i)[4:].max()) for i in range(len(ids))) == ids


def test_palettes_tell_classes_unless_they_begin_with_black(tmp_path: Path) -> None:
    space, pixels = get_label_space("cityscapes"), np.zeros((16, 32), np.int64)
    pixels[4:] = 1
    clip, mask = frames(tmp_path / "clip", 0, 0), frames(tmp_path / "mask", 0, 0)
    picture = Image.fromarray(pixels.astype(np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 128, 0, 0])
    for index in range(2):
        write_label_map(clip / "labels" / f"{index}.png", pixels, space)
        picture.save(mask / "labels" / f"{index}.png")
    street, thing = folder.list_recordings(tmp_path)
    assert street.label_space == space and street.label_map(0).max() == 1
    assert thing.label_space.name == "object" and thing.label_map(1).max() == 1


def test_the_nearest_label_space_file_wins(tmp_path: Path) -> None:
    frames(tmp_path / "a", 0, 1)
    frames(tmp_path / "b", 0, 1)
    (tmp_path / "label_space.yaml").write_text(yaml.safe_dump(PETS))
    (tmp_path / "b/label_space.yaml").write_text(yaml.safe_dump({**PETS, "name": "own"}))
    found = folder.list_recordings(tmp_path)
    assert [recording.label_space.name for recording in found] == ["pets", "own"]
    (tmp_path / "b/label_space.yaml").write_text("classes: 3")
    with pytest.raises(LabelMapError, match=r"list `classes` .* in .*b/label_space\.yaml"):
        folder.list_recordings(tmp_path)


# Manifest


def with_manifest(root: Path, entries: object) -> list[Recording]:
    """A clip and a video, listed with a manifest beside them."""
    frames(root / "clip", None, None)
    film(root / "film.avi", 2, rate=10)
    (root / "manifest.json").write_text(json.dumps(entries))
    return folder.list_recordings(root)


def test_a_manifest_tells_rate_licence_and_split(tmp_path: Path) -> None:
    said = {"fps": 8, "licence": "MIT", "source": "a site", "group": "g", "split": "val"}
    entries = [{"name": "other", "fps": 3}, {"name": "clip", **said, "labels_by": "hand"}]
    clip, film = with_manifest(tmp_path, [*entries, {"name": "film.avi", "licence": "CC0"}])
    assert clip.rate == 8.0 and clip.licence == "MIT"
    assert clip.group == "g" and clip.split == "val" and clip.labels_by == "hand"
    assert film.rate == 10.0 and film.licence == "CC0" and film.split is None


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"clip": 3}, r'a list of objects with a "name" in .*manifest\.json; got something else'),
        ([{"fps": 3}], r'a list of objects with a "name"'),
        ([{"name": "clip", "fps": -3}], "frames per second above 0 in .*; got fps -3 of clip"),
        ([{"name": "clip", "fps": "ten"}], "got fps 'ten' of clip; repair it"),
        ([{"name": "clip", "split": "dev"}], "train, val, test in .*; got 'dev' of clip"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, entries: object, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        with_manifest(tmp_path, entries)


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    frames(tmp_path / "clip", None, None)
    (tmp_path / "manifest.json").write_text("[{")
    with pytest.raises(MediaError, match=r"manifest\.json; got no JSON: Expecting property name"):
        folder.list_recordings(tmp_path)


def test_nothing_found_names_endings_and_place(tmp_path: Path) -> None:
    frames(tmp_path / "one", None)
    message = (
        r"videos \(\.mp4, .*\.mpeg\) or folders of two pictures \(\.jpg.* got nothing at .* and"
    )
    with pytest.raises(MediaError, match=message):
        list_recordings(tmp_path)


# Real clips


def test_real_driving_clips(shared_data: Path) -> None:
    found = {r.name: r for r in list_recordings(shared_data / "driving_clips")}
    assert len(found) == 30 and sum(len(r.pictures) for r in found.values()) == 2675
    assert {r.label_space.name for r in found.values()} == {"cityscapes"}
    assert found["kitti_slam"].rate == 10.0 and "BY-NC-SA" in found["kitti_slam"].licence
    assert found["cosmos_drive_next"].rate == 29.97 and found["cityscapes_seq0"].rate == 17.0
    assert list(found["udacity_small1"].label_files) == list(range(0, 88, 4))
    clip = read_clip(found["cityscapes_seq3"], 4, num_frames=2, height=64, width=128)
    assert 0.2 < (clip.label_maps == 0).float().mean() < 0.6, "road"
    assert (clip.label_maps == 13)[clip.instance_maps > 0].float().mean() > 0.8, "cars"


def test_real_masks_of_two_classes(shared_data: Path) -> None:
    found = list_recordings(shared_data / "davis")
    assert names(found) == ["blackswan", "car-roundabout"]
    assert sum(len(r.pictures) for r in found) == sum(len(r.label_files) for r in found) == 125
    for recording in found:
        assert recording.label_space.name == "object"
        clip = read_clip(recording, 0, num_frames=1, height=64, width=96)
        assert set(clip.label_map.unique().tolist()) == {0, 1}
        assert 0.03 < (clip.label_map == 1).float().mean() < 0.4
