"""Photos with label maps by the same name: how they are found, fitted, read and refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg2vid.data.clips import ClipSource
from seg2vid.data.stills import StillFolder
from seg2vid.labels.space import get_label_space
from seg2vid.media.pictures import write_label_map
from seg2vid.tools.errors import MediaError

SPACE = get_label_space("cityscapes")


def write_still(folder: Path, name: str, *, height: int = 32, width: int = 64) -> None:
    """Write a photo, left half bright, and its map: 10 on the left, 0 on the right, void below."""
    for kind in ("photos", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    ids = np.full((height, width), 10)
    ids[:, width // 2 :] = 0
    ids[height * 3 // 4 :] = SPACE.void_id
    pixels = np.where(ids == 10, 200, 40)[..., None].repeat(3, 2).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "photos" / name)
    write_label_map(folder / "labels" / f"{Path(name).stem}.png", ids, SPACE)


def test_photo_and_map_are_read_as_a_clip_without_further_frames(tmp_path: Path) -> None:
    write_still(tmp_path, "b.png")
    write_still(tmp_path, "a.jpg", height=64, width=128)
    stills = StillFolder(tmp_path, SPACE, height=32, width=64)
    assert isinstance(stills, ClipSource) and len(stills) == 2
    assert [photo.name for photo in stills.photos] == ["a.jpg", "b.png"]
    clip = stills.read(1)
    assert clip.first_frame.shape == (1, 3, 32, 64) and clip.frames.shape == (1, 0, 3, 32, 64)
    assert clip.label_map.dtype == torch.int64 and clip.label_maps is None and clip.motion is None
    assert clip.label_map[0, 0].tolist() == [10] * 32 + [0] * 32
    assert (clip.label_map[0, 24:] == SPACE.void_id).all()
    bright = clip.first_frame[0, :, :24, :32]
    assert bright.unique().tolist() == pytest.approx([200 / 255])
    assert stills.read(0).label_map.equal(clip.label_map), "scaled from twice the size"


def test_every_time_is_the_same_still(tmp_path: Path) -> None:
    write_still(tmp_path, "a.png")
    stills = StillFolder(tmp_path, SPACE, height=32, width=32)
    for time in (0, 7):
        still = stills.read_still(0, time)
        assert still.first_frame.equal(stills.read(0).first_frame)
        assert still.label_map.equal(stills.read(0).label_map)


def test_other_proportions_are_cropped_alike(tmp_path: Path) -> None:
    write_still(tmp_path, "a.png", height=32, width=96)
    clip = StillFolder(tmp_path, SPACE, height=32, width=64).read(0)
    # 16 columns are cut off on either side; the border stays in the middle, in both.
    assert clip.label_map[0, 0].tolist() == [10] * 32 + [0] * 32
    assert (clip.first_frame[0, 0, 0] > 0.5).tolist() == [True] * 32 + [False] * 32


def test_missing_photos_or_maps_are_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"Expected photos \(\.jpg.*\) in .*photos; got none; see"):
        StillFolder(tmp_path, SPACE, height=32, width=64)
    for name in ("a.png", "b.png", "c.png"):
        write_still(tmp_path, name)
    (tmp_path / "labels" / "b.png").unlink()
    (tmp_path / "labels" / "c.png").unlink()
    message = r"Expected a label map for each of 3 photos; got 2 without; add .*labels/b\.png and"
    with pytest.raises(MediaError, match=message):
        StillFolder(tmp_path, SPACE, height=32, width=64)
