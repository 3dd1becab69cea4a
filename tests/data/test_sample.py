"""A clip as the files of a sample: what comes back, exactly or nearly, and what the files are."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seg2vid.data.sample import decode_clip, encode_clip, still_of
from seg2vid.labels.space import get_label_space
from seg2vid.structures import Clip
from seg2vid.tools.errors import MediaError
from tests.data.test_clips import assert_same
from tests.shards import NUM_FRAMES, SIZE, SPACE, make_clip


def video_of(clip: Clip) -> torch.Tensor:
    """All frames (time, 3, height, width)."""
    return torch.cat((clip.first_frame[:, None], clip.frames), 1)[0]


@given(seed=st.integers(0, 999), instances=st.booleans())
def test_a_lossless_clip_comes_back_exactly(seed: int, instances: bool) -> None:
    clip = make_clip(seed, instances=instances)
    assert SPACE.void_id in clip.label_map.unique() and 0 in clip.label_maps.unique()
    assert_same(decode_clip(encode_clip(clip, SPACE, {}, lossless=True), SPACE), clip)


def test_object_numbers_past_sixteen_bits_are_numbered_anew() -> None:
    clip = make_clip(0, instances=True)
    numbers = clip.instance_map.clone()
    numbers[:] = 0
    numbers[0, 0, :3] = torch.tensor([65_536, 65_537, -1])
    clip = replace(
        clip, instance_map=numbers, instance_maps=numbers[:, None].expand_as(clip.instance_maps)
    )
    found = decode_clip(encode_clip(clip, SPACE, {}), SPACE)
    for maps in (found.instance_map[0], *found.instance_maps[0]):
        assert len(maps.unique()) == 4 and int(maps[1:].max()) == 0, "none was joined with another"
    assert torch.equal(found.instance_map, found.instance_maps[:, 0])


def test_pictures_are_rounded_to_the_nearest_level() -> None:
    clip = make_clip(0)
    clip = replace(clip, first_frame=torch.rand(clip.first_frame.shape))
    decoded = decode_clip(encode_clip(clip, SPACE, {}, lossless=True), SPACE)
    error = (decoded.first_frame - clip.first_frame).abs().max()
    assert 0.4 / 255 < float(error) <= 0.5001 / 255


def test_jpeg_changes_smooth_pictures_little_and_maps_not_at_all() -> None:
    for seed in range(5):
        clip = make_clip(seed)
        decoded = decode_clip(encode_clip(clip, SPACE, {}), SPACE)
        error = (video_of(decoded) - video_of(clip)).square().flatten(1).mean(1)
        assert float(-10 * error.max().log10()) > 35, "worst frame, dB"
        assert float(error.min()) > 0, "it is JPEG"
        assert_same(replace(decoded, first_frame=clip.first_frame, frames=clip.frames), clip)


def test_jpeg_keeps_the_resolution_of_colour() -> None:
    stripes = torch.zeros(1, 3, SIZE, SIZE)
    stripes[:, 0, :, ::2], stripes[:, 2, :, 1::2] = 1, 0.5
    clip = replace(make_clip(0), first_frame=stripes)
    decoded = decode_clip(encode_clip(clip, SPACE, {}), SPACE).first_frame
    # With half the resolution of colour neighbours would be mixed: an error of 0.4 or so.
    assert float((decoded - stripes).abs().mean()) < 0.02


def test_flow_comes_back_within_half_precision_and_visibility_exactly() -> None:
    clip = make_clip(1, motion=True)
    files = encode_clip(clip, SPACE, {}, lossless=True)
    decoded = decode_clip(files, SPACE)
    for name in ("forward_flow", "backward_flow"):
        stored, exact = getattr(decoded.motion, name), getattr(clip.motion, name)
        assert stored.dtype == torch.float32
        assert torch.equal(stored, exact.half().float()) and not torch.equal(stored, exact)
        assert float((stored - exact).abs().max()) < 0.04, "pixels, for flow of up to 80"
    for name in ("forward_visible", "backward_visible"):
        assert torch.equal(getattr(decoded.motion, name), getattr(clip.motion, name))
    assert_same(replace(decoded, motion=None), replace(clip, motion=None))
    numbers = 2 * 2 * NUM_FRAMES * SIZE * SIZE
    assert len(files["motion.safetensors"]) < 2 * numbers + numbers / 2 + 1000, "bytes"


def test_the_files_of_a_sample_are_what_the_module_says() -> None:
    clip = make_clip(2, motion=True)
    files = encode_clip(clip, SPACE, {"recording": "drive", "first": 7, "speed": None})
    kinds = ("jpg", "labels.png", "instances.png")
    names = {f"{time:02d}.{kind}" for time in range(3) for kind in kinds}
    assert set(files) == names | {"motion.safetensors", "json"}
    facts = {"frames_per_second": 10.0, "recording": "drive", "first": 7, "speed": None}
    assert json.loads(files["json"]) == facts
    maps = np.asarray(Image.open(io.BytesIO(files["01.labels.png"])))
    ids = clip.label_maps[0, 0].numpy()
    assert maps.dtype == np.uint8 and np.array_equal(maps, np.where(ids == SPACE.void_id, 255, ids))
    objects = np.asarray(Image.open(io.BytesIO(files["02.instances.png"])))
    assert np.array_equal(objects, clip.instance_maps[0, 1]) and objects.max() > 255
    bare = encode_clip(make_clip(2, instances=False), SPACE, {}, lossless=True)
    assert set(bare) == {f"{t:02d}.{k}" for t in range(3) for k in ("png", "labels.png")} | {"json"}


def test_the_same_clip_gives_the_same_bytes() -> None:
    one, other = (
        encode_clip(make_clip(3, motion=True), SPACE, dict(facts))
        for facts in ([("first", 1), ("a", 2)], [("a", 2), ("first", 1)])
    )
    assert one == other


def test_frames_without_label_map_are_all_void() -> None:
    clip = replace(make_clip(4, instances=False), label_maps=None)
    decoded = decode_clip(encode_clip(clip, SPACE, {}, lossless=True), SPACE)
    assert torch.equal(decoded.label_map, clip.label_map)
    assert decoded.label_maps.shape == (1, NUM_FRAMES, SIZE, SIZE)
    assert decoded.label_maps.unique().tolist() == [SPACE.void_id]


def test_void_is_stored_by_the_value_of_its_label_space() -> None:
    camvid = get_label_space("camvid")
    clip = make_clip(5)
    clip = replace(clip, label_map=torch.full_like(clip.label_map, camvid.void_id))
    files = encode_clip(clip, camvid, {})
    maps = np.asarray(Image.open(io.BytesIO(files["00.labels.png"])))
    assert np.unique(maps).tolist() == [camvid.file_value]
    assert torch.equal(decode_clip(files, camvid).label_map, clip.label_map)


def test_more_than_a_hundred_frames_stay_in_order() -> None:
    video = (torch.arange(104.0) / 255).view(1, 104, 1, 1, 1).expand(1, 104, 3, 32, 32)
    labels = torch.arange(104).remainder(20).view(1, 104, 1, 1).expand(1, 104, 32, 32)
    clip = Clip(video[:, 0], video[:, 1:], labels[:, 0], label_maps=labels[:, 1:])
    files = encode_clip(clip, SPACE, {}, lossless=True)
    # As they come from a tar that was sorted by name.
    files = dict(sorted(files.items()))
    assert_same(decode_clip(files, SPACE), clip)
    assert_same(decode_clip(files, SPACE, 101), still_of(clip, 101))
    assert float(decode_clip(files, SPACE, 101).first_frame.max() * 255) == pytest.approx(101)


# Stills.


@pytest.mark.parametrize("instances", [True, False])
@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("time", [0, 1, 2])
def test_a_still_is_that_frame_of_the_clip(time: int, lossless: bool, instances: bool) -> None:
    files = encode_clip(make_clip(6, instances=instances), SPACE, {}, lossless=lossless)
    clip = decode_clip(files, SPACE)
    labels = torch.cat((clip.label_map[:, None], clip.label_maps), 1)
    for still in (decode_clip(files, SPACE, time), still_of(clip, time)):
        assert torch.equal(still.first_frame[0], video_of(clip)[time])
        assert torch.equal(still.label_map, labels[:, time])
        if instances:
            objects = torch.cat((clip.instance_map[:, None], clip.instance_maps), 1)
            assert torch.equal(still.instance_map, objects[:, time])
        else:
            assert still.instance_map is None
        assert still.frames.shape == (1, 0, 3, SIZE, SIZE)
        assert still.label_maps is still.instance_maps is still.motion is None


@given(time=st.integers(0, 999))
def test_the_time_of_a_still_goes_round(time: int) -> None:
    assert_same(decode_clip(FILES, SPACE, time), decode_clip(FILES, SPACE, time % 3))
    assert_same(still_of(CLIP, time), still_of(CLIP, time % 3))
    assert_same(still_of(CLIP, time), decode_clip(FILES, SPACE, time))


CLIP = make_clip(7)
FILES = encode_clip(CLIP, SPACE, {}, lossless=True)


def test_a_still_needs_no_motion_to_be_read() -> None:
    files = encode_clip(make_clip(8, motion=True), SPACE, {}, lossless=True)
    files["motion.safetensors"] = files["02.png"] = b"never looked at"
    assert_same(decode_clip(files, SPACE, 1), still_of(make_clip(8), 1))


def test_the_still_of_a_clip_whose_later_frames_are_not_labelled_is_its_first() -> None:
    clip = replace(make_clip(9), label_maps=None)
    assert_same(still_of(clip, 2), still_of(clip, 0))


@pytest.mark.parametrize("kind", ["labels", "instances"])
def test_maps_of_another_size_than_their_frames_are_refused(kind: str) -> None:
    files = dict(FILES)
    buffer = io.BytesIO()
    Image.open(io.BytesIO(files[f"01.{kind}.png"])).resize((2, 31), 0).save(buffer, "PNG")
    files[f"01.{kind}.png"] = buffer.getvalue()
    message = r"got ValueError: maps of shape \(31, 2\), frames of .*; copy the dataset again"
    with pytest.raises(MediaError, match=message):
        decode_clip(files, SPACE, 1)
