"""Adapters: each layout on made trees and on the real ones; what is missing is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg2vid.data.recordings import camvid, cityscapes, kitti, kth, list_recordings, ucf101
from seg2vid.data.recordings import toycity as toycity_clips
from seg2vid.data.recordings.recording import Recording, read_clip
from seg2vid.data.toycity.clip import ToyCityConfig, load_clip, save_clip
from seg2vid.data.toycity.render import render_clip
from seg2vid.labels.convert import colourise
from seg2vid.labels.space import get_label_space
from seg2vid.tools.errors import MediaError
from tests.data.recordings.test_recording import SIZE, film, greys, paint


def touch(path: Path) -> Path:
    """Make an empty file: listing opens none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names(recordings: list[Recording]) -> list[str]:
    """Their names."""
    return [recording.name for recording in recordings]


def only(recordings: list[Recording]) -> Recording:
    """The one there is."""
    assert len(recordings) == 1
    return recordings[0]


# Cityscapes


def snippet(root: Path, city: str, sequence: int, frames: range, *, split: str = "train") -> None:
    """Write frames of grey ``number % 250`` and, for each, maps of raw id 7 or 26 by turns."""
    for number in frames:
        stem = f"{city}_{sequence:06d}_{number:06d}"
        paint(root / f"leftImg8bit_sequence/{split}/{city}/{stem}_leftImg8bit.png", number % 250)
        maps = root / "gtFine" / split / city
        paint(maps / f"{stem}_gtFine_labelIds.png", (7, 26)[number % 2])
        paint(maps / f"{stem}_gtFine_instanceIds.png", number % 250)


def test_cityscapes_divides_a_long_sequence_into_snippets(tmp_path: Path) -> None:
    snippet(tmp_path, "bonn", 0, range(3))
    snippet(tmp_path, "bonn", 0, range(100, 102))
    snippet(tmp_path, "bonn", 1, range(102, 104))
    found = cityscapes.list_recordings(tmp_path)
    assert names(found) == ["bonn_000000_000000", "bonn_000000_000100", "bonn_000001_000102"]
    assert [greys(recording) for recording in found] == [[0, 1, 2], [100, 101], [102, 103]]
    groups = [recording.group for recording in found]
    assert groups == ["bonn_000000", "bonn_000000", "bonn_000001"]
    assert {recording.frames_per_second for recording in found} == {17.0}


def test_cityscapes_maps_belong_to_their_frames_and_are_raw_ids(tmp_path: Path) -> None:
    snippet(tmp_path, "bonn", 0, range(10, 14))
    for path in (tmp_path / "gtFine").rglob("*_000011_*"):
        path.unlink()
    recording = only(cityscapes.list_recordings(tmp_path))
    assert sorted(recording.label_files) == sorted(recording.instance_files) == [0, 2, 3]
    assert [int(recording.label_map(i).max()) for i in (0, 2, 3)] == [0, 0, 13], "road and car"
    assert recording.label_map(1) is None and recording.instance_map(1) is None
    assert recording.encoding == "raw", "whatever values a map happens to hold"
    assert read_clip(recording, 2, num_frames=1, **SIZE).instance_maps.unique().tolist() == [13]


def test_cityscapes_splits_are_official_and_test_maps_are_not_read(tmp_path: Path) -> None:
    for split, city in (("train", "bonn"), ("val", "lindau"), ("test", "mainz")):
        snippet(tmp_path, city, 0, range(2), split=split)
    found = cityscapes.list_recordings(tmp_path)
    assert [recording.split for recording in found] == ["train", "val", "test"]
    assert [len(recording.label_files) for recording in found] == [2, 2, 0]


@pytest.mark.parametrize("split", ["train", "val"])
def test_cityscapes_without_label_maps_says_where_it_looked(tmp_path: Path, split: str) -> None:
    snippet(tmp_path, "ulm", 0, range(2), split=split)
    (tmp_path / "gtFine").rename(tmp_path / "gtfine")
    message = rf"maps of ulm \({split}\); got nothing at .*gtFine/{split}/ulm/.*_labelIds\.png"
    with pytest.raises(MediaError, match=message):
        cityscapes.list_recordings(tmp_path)


def test_cityscapes_without_frames_says_where_it_looked(tmp_path: Path) -> None:
    touch(tmp_path / "leftImg8bit_sequence/train/ulm/ulm_000000_000019_gtFine_color.png")
    with pytest.raises(MediaError, match=r"_leftImg8bit\.png; got nothing at .*_sequence/\{train,"):
        cityscapes.list_recordings(tmp_path)


def test_cityscapes_real_tree(shared_data: Path) -> None:
    found = list_recordings(shared_data / "layouts" / "cityscapes")
    assert names(found) == ["aachen_000000_000010", "aachen_000003_000010"]
    for recording in found:
        assert len(recording.pictures) == 19 and recording.split == "train"
        assert list(recording.label_files) == list(recording.instance_files) == [9]
        clip = read_clip(recording, 9, num_frames=1, height=64, width=128)
        assert 0.2 < (clip.label_map == 0).float().mean() < 0.6, "road"
        assert (clip.label_map == 13)[clip.instance_map > 0].float().mean() > 0.8, "cars"


# KITTI


def test_kitti_missing_frames_divide_a_drive_into_spans(tmp_path: Path) -> None:
    date = tmp_path / "2011_09_26"
    for number in (0, 1, 2, 5, 6):
        paint(date / f"2011_09_26_drive_0001_sync/image_02/data/{number:010d}.png", number)
    for number in range(3):
        paint(date / f"2011_09_26_drive_0002_sync/image_02/data/{number:010d}.png", number)
        paint(date / f"2011_09_26_drive_0002_sync/image_03/data/{number:010d}.png", 99)
    touch(date / "2011_09_26_drive_0003_sync/tracklet_labels.xml")
    first, second = kitti.list_recordings(tmp_path)
    assert first.name == "2011_09_26_drive_0001_sync" and first.spans == ((0, 3), (3, 5))
    assert greys(first) == [0, 1, 2, 5, 6] and greys(second) == [0, 1, 2]
    assert second.spans == () and second.rate == 10.0 and second.label_space is None


def test_kitti_without_pictures_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"image_02\); got nothing at .*DATE_drive_NNNN_sync/im"):
        kitti.list_recordings(tmp_path)
    touch(tmp_path / "2011_09_26/2011_09_26_drive_0005_sync/image_03/data/0000000000.png")
    with pytest.raises(MediaError, match=r"got nothing at .*_drive_0005_sync/image_02/data/"):
        kitti.list_recordings(tmp_path)


def test_kitti_real_tree(shared_data: Path) -> None:
    recording = only(list_recordings(shared_data / "layouts" / "kitti_raw"))
    assert len(recording.pictures) == 12 and recording.spans == ()
    assert recording.licence == "CC BY-NC-SA 3.0"
    assert read_clip(recording, 3, num_frames=8, height=64, width=128).frames.std() > 0.1


# KTH

SEQUENCES = """
Training:   person11, 12, 13, 14, 15, 16, 17, 18

person01_boxing_d1\t\tframes\t1-3, 4-5, 7-9
person07_jogging_d4    \t\tframes\t1-2, 7-8,  3-5
person13_handclapping_d3\t*missing*
person16_handwaving_d4\t\tframes\t1-4, 5-7, 2-10
person17_walking_d1\t\tframes\t1-95,152-225
"""


@pytest.fixture
def kth_root(tmp_path: Path) -> Path:
    """Four videos of KTH, three in folders, and the list of sequences."""
    (tmp_path / "00sequences.txt").write_text(SEQUENCES)
    film(tmp_path / "boxing/person01_boxing_d1_uncomp.avi", 10)
    touch(tmp_path / "jogging/person07_jogging_d4_uncomp.avi")
    touch(tmp_path / "handwaving/person16_handwaving_d4_uncomp.avi")
    touch(tmp_path / "person17_walking_d1_uncomp.avi")
    return tmp_path


def test_kth_spans_count_from_0_and_exclude_their_end(kth_root: Path) -> None:
    boxing, *_ = kth.list_recordings(kth_root)
    assert boxing.name == "person01_boxing_d1" and boxing.rate == 25.0
    frames = greys(boxing)
    shown = [[grey // 10 + 1 for grey in frames[first:stop]] for first, stop in boxing.spans]
    assert shown == [[1, 2, 3], [4, 5], [7, 8, 9]], "frames numbered from 1, as in the list"


def test_kth_spans_are_put_in_order_without_overlap(kth_root: Path) -> None:
    spans = {recording.name: recording.spans for recording in kth.list_recordings(kth_root)}
    assert spans["person07_jogging_d4"] == ((0, 2), (2, 5), (6, 8))
    assert spans["person16_handwaving_d4"] == ((0, 4), (4, 10)), "nothing is left of 5-7"
    assert spans["person17_walking_d1"] == ((0, 95), (151, 225))


def test_kth_persons_up_to_16_train_and_are_groups(kth_root: Path) -> None:
    found = kth.list_recordings(kth_root)
    assert [(recording.group, recording.split) for recording in found] == [
        ("person01", "train"),
        ("person07", "train"),
        ("person16", "train"),
        ("person17", "test"),
    ]


def test_kth_names_what_is_missing(kth_root: Path) -> None:
    touch(kth_root / "person13_handclapping_d3_uncomp.avi")
    message = r"the frames of person13_handclapping_d3; got no such line in .*00sequences\.txt"
    with pytest.raises(MediaError, match=message):
        kth.list_recordings(kth_root)
    (kth_root / "00sequences.txt").unlink()
    with pytest.raises(MediaError, match=rf"got nothing at {kth_root}/00sequences\.txt; see"):
        kth.list_recordings(kth_root)
    with pytest.raises(MediaError, match=rf"_uncomp\.avi; got nothing at {kth_root}/none and the"):
        kth.list_recordings(kth_root / "none")


# UCF-101


def ucf_tree(root: Path) -> Path:
    """Two listed videos, a listed one that is absent, and an unlisted one."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir(exist_ok=True)
    entries = ("Rowing/v_Rowing_g09_c02.avi 3\n", "Rowing/v_Rowing_g10_c01.avi 3\r\n")
    (lists / "trainlist01.txt").write_text("".join(entries))
    (lists / "testlist01.txt").write_text("HandstandPushups/v_HandStandPushups_g01_c01.avi\n")
    for name in ("Rowing_g09_c02", "Rowing_g25_c01"):
        touch(root / f"UCF-101/Rowing/v_{name}.avi")
    touch(root / "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi")
    return root


def test_ucf101_takes_listed_videos_with_their_split(tmp_path: Path) -> None:
    found = ucf101.list_recordings(ucf_tree(tmp_path))
    assert [(recording.name, recording.split, recording.group) for recording in found] == [
        ("v_HandStandPushups_g01_c01", "test", "HandStandPushups_g01"),
        ("v_Rowing_g09_c02", "train", "Rowing_g09"),
    ]


def test_ucf101_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"list trainlist01\.txt; got nothing at .*list01\.txt"):
        ucf101.list_recordings(tmp_path)
    ucf_tree(tmp_path)
    (tmp_path / "UCF-101").rename(tmp_path / "videos")
    message = r"of the 3 in .*list; got none, not even .*UCF-101/Rowing/v_Rowing_g09_c02\.avi"
    with pytest.raises(MediaError, match=message):
        ucf101.list_recordings(tmp_path)
    (tmp_path / "ucfTrainTestlist/testlist01.txt").write_text("\n")
    with pytest.raises(MediaError, match=r"lines ACTION/v_.*; got nothing at .*testlist01\.txt"):
        ucf101.list_recordings(tmp_path)


def test_ucf101_real_tree(shared_data: Path) -> None:
    found = list_recordings(shared_data / "layouts" / "ucf101")
    assert {recording.name: recording.split for recording in found} == {
        "v_ApplyEyeMakeup_g01_c01": "test",
        "v_SoccerJuggling_g23_c01": "train",
        "v_SoccerJuggling_g24_c01": "train",
    }
    clip = read_clip(found[0], 0, num_frames=2, height=64, width=64)
    assert clip.frames_per_second == 25.0 and clip.frames.std() > 0.05


# CamVid


def test_camvid_reads_colours_by_sequence(tmp_path: Path) -> None:
    space = get_label_space("camvid")
    stems = ["0001TP_006690", "0001TP_006720", "Seq05VD_f00000", "Seq05VD_f00030"]
    for index, stem in enumerate(stems):
        paint(tmp_path / f"701_StillsRaw_full/{stem}.png", index)
        place = touch(tmp_path / f"LabeledApproved_full/{stem}_L.png")
        Image.fromarray(colourise(np.full((16, 32), 5 + index), space)).save(place)
    place.unlink()
    first, second = list_recordings(tmp_path)
    assert (first.name, second.name) == ("0001TP", "Seq05VD") and first.split is None
    assert greys(first) == [0, 1] and greys(second) == [2, 3] and first.rate == 1.0
    assert [int(first.label_map(i).max()) for i in (0, 1)] == [5, 6]
    assert int(second.label_map(0).min()) == 7 and second.label_map(1) is None


def test_camvid_names_what_is_missing(tmp_path: Path) -> None:
    touch(tmp_path / "701_StillsRaw_full/notes.png")
    with pytest.raises(MediaError, match=r"stills SEQUENCE_NUMBER\.png; got nothing at .*Raw_full"):
        camvid.list_recordings(tmp_path)
    touch(tmp_path / "701_StillsRaw_full/0016E5_00390.png")
    with pytest.raises(MediaError, match=r"maps of 0016E5; got nothing at .*full/0016E5_\*_L\.png"):
        camvid.list_recordings(tmp_path)


def test_camvid_has_32_classes_of_which_void_is_one() -> None:
    space = get_label_space("camvid")
    assert space.num_channels == 32 and space.names[-1] == "Void"
    assert space.colours[space.names.index("Bicyclist")].tolist() == [0, 128, 192]
    moving = {space.names[index] for index in space.foreground_ids}
    assert len(moving) == 11 and {"Train", "OtherMoving", "Child", "Truck_Bus"} < moving


# Toy city


def test_toycity_clips_give_what_was_rendered(tmp_path: Path) -> None:
    config = ToyCityConfig(height=32, width=64, num_frames=2, frames_per_second=10.0)
    save_clip(render_clip(4, config), tmp_path / "clip_000004.safetensors")
    recording = only(list_recordings(tmp_path))
    rendered = load_clip(tmp_path / "clip_000004.safetensors")
    assert recording.name == "clip_000004" and recording.source.endswith("/clip_000004.safetensors")
    assert np.array_equal(list(recording.frames(1)), rendered.frames[1:])
    for index in range(3):
        assert np.array_equal(recording.label_map(index), rendered.label_maps[index])
        assert np.array_equal(recording.instance_map(index), rendered.instance_maps[index])
    assert recording.label_map(3) is None and sorted(recording.label_files) == [0, 1, 2]
    clip = read_clip(recording, 0, num_frames=2, height=32, width=64)
    assert clip.frames_per_second == 10.0
    assert np.array_equal(clip.label_maps[0], rendered.label_maps[1:])


def test_toycity_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a folder of clips \(clip_\*\.safetensors\), at"):
        toycity_clips.list_recordings(tmp_path)
    (tmp_path / "clip_000000.safetensors").write_bytes(b"damaged")
    with pytest.raises(
        MediaError, match=r"a toy-city clip of this version; got .*clip_000000\.safetensors: "
    ):
        toycity_clips.list_recordings(tmp_path)
