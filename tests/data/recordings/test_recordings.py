"""Layouts: each is recognised by its folders; what is unknown, absent or there twice is named."""

from pathlib import Path
from typing import get_args

import pytest

from seg2vid.data.prepare.settings import Layout
from seg2vid.data.recordings import LAYOUTS, find_layout, list_recordings
from seg2vid.tools.errors import MediaError
from tests.data.recordings.test_adapters import names, touch


@pytest.fixture
def kth_root(tmp_path: Path) -> Path:
    """One video of KTH in its folder, and the list of sequences."""
    root = tmp_path / "kth"
    touch(root / "boxing/person01_boxing_d1_uncomp.avi")
    (root / "00sequences.txt").write_text("person01_boxing_d1\t\tframes\t1-95, 96-185\n")
    return root


def test_every_layout_is_recognised(tmp_path: Path, kth_root: Path) -> None:
    trees = {
        "cityscapes": "leftImg8bit_sequence/train/bonn/x.png",
        "kitti": "2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0.png",
        "ucf101": "UCF-101/Rowing/v_Rowing_g09_c02.avi",
        "camvid": "701_StillsRaw_full/x.png",
        "toycity": "clip_000000.safetensors",
        "folder": "holiday/beach.mp4",
    }
    found = {}
    for name, path in trees.items():
        touch(tmp_path / name / path)
        found[name] = find_layout(tmp_path / name)
    assert found == {name: name for name in trees}
    assert find_layout(kth_root) == "kth" and {*trees, "kth"} == set(LAYOUTS)


def test_a_layout_can_be_forced(kth_root: Path) -> None:
    assert names(list_recordings(kth_root)) == ["person01_boxing_d1"]
    found = list_recordings(kth_root, "folder")
    assert names(found) == ["boxing_person01_boxing_d1_uncomp"]


def test_wrong_layouts_and_paths_are_named(kth_root: Path) -> None:
    with pytest.raises(MediaError, match=r"out of auto, cityscapes, kitti.*folder; got 'coco'; ch"):
        list_recordings(kth_root, "coco")
    for layout in ("auto", "kth"):
        with pytest.raises(MediaError, match=r"recordings or a video; got no .*/none; check the"):
            list_recordings(kth_root / "none", layout)
    touch(kth_root / "person01_boxing_d1_uncomp.avi")
    message = r"got person01_boxing_d1 at .*person01_boxing_d1_uncomp\.avi and at .*; remove one"
    with pytest.raises(MediaError, match=message):
        list_recordings(kth_root)


def test_the_option_of_prepare_names_every_layout() -> None:
    assert get_args(Layout) == ("auto", *LAYOUTS)
