"""The clips of a protocol: their names, their pixels, their digest, and what is said if absent."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg2vid.data.clips import render_toycity
from seg2vid.data.toycity.clip import ToyCityConfig, save_clip
from seg2vid.data.toycity.render import render_clip
from seg2vid.evaluation.cases import DATA_VARIABLE, Cases, digest_of, digest_of_all
from seg2vid.evaluation.protocol import get_protocol
from seg2vid.labels.fit import fit_image
from seg2vid.labels.space import get_label_space
from seg2vid.media.pictures import read_image, write_label_map
from seg2vid.structures import Clip
from seg2vid.tools.errors import MediaError, Seg2VidError
from tests import shards
from tests.data.recordings.test_adapters import snippet
from tests.data.test_stills import write_still
from tests.evaluation_runs import SPACE, TINY, still_protocol

RECORDED = replace(
    TINY,
    source="recordings",
    folder="drives",
    starts={"b": (0, 3), "a": (12,)},
    num_frames=2,
    horizons=(2,),
)


def write_recording(folder: Path, count: int, *, first: int = 0) -> None:
    """Write grey frames, 2 i bright, with a label map of one class each."""
    (folder / "labels").mkdir(parents=True)
    for index in range(first, first + count):
        pixels = np.full((64, 128, 3), 2 * index, np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:06d}.png")
        ids = np.full((64, 128), index % 19)
        write_label_map(folder / "labels" / f"{index:06d}.png", ids, SPACE)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_recording(folder / "drives" / "a", 16)
    write_recording(folder / "drives" / "b", 6)
    for name in ("d.png", "c.png"):
        write_still(folder / "val", name, height=64, width=128)
    return folder


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Cases(TINY).read(0)


def test_rendered_clips_are_named_by_their_seed() -> None:
    cases = Cases(get_protocol("toycity"))
    assert len(cases.names) == 64 and cases.names == cases.every_name
    assert (cases.names[0], cases.names[-1]) == ("toycity_900000", "toycity_900063")


def test_a_rendered_clip_is_that_of_its_seed() -> None:
    cases = Cases(replace(TINY, first_seed=41))
    size = ToyCityConfig(height=64, width=128, num_frames=3)
    found, drawn = cases.read(1), render_toycity(42, size)
    for name in ("first_frame", "frames", "label_map", "label_maps"):
        assert torch.equal(getattr(found, name), getattr(drawn, name))
    assert torch.equal(found.motion.backward_flow, drawn.motion.backward_flow)
    assert drawn.instance_map is not None and found.instance_map is None, "no model is told"


def test_rendered_stills_are_the_first_frames_of_clips() -> None:
    cases = Cases(replace(TINY, task="stills", first_seed=41, num_frames=0))
    size = ToyCityConfig(height=64, width=128, num_frames=3)
    found, drawn = cases.read(1), render_toycity(42, size)
    assert torch.equal(found.first_frame, drawn.first_frame) and not found.frames.numel()
    assert torch.equal(found.label_map, drawn.label_map) and found.instance_map is None


def test_clips_of_recordings_are_named_by_their_start(data: Path) -> None:
    cases = Cases(RECORDED, data)
    assert cases.names == ("b_0000", "b_0003", "a_0012")
    clip = cases.read(2)
    assert (clip.first_frame * 255).unique().tolist() == [24]
    assert (clip.frames[0, :, 0, 0, 0] * 255).round().tolist() == [26, 28]
    assert clip.label_map.unique().tolist() == [12]
    assert clip.label_maps.unique().tolist() == [13, 14]
    wide = Cases(replace(RECORDED, step=2, num_frames=1, horizons=(1,)), data).read(0)
    assert (wide.frames[0, :, 0, 0, 0] * 255).round().tolist() == [4], "every second frame"


OFFICIAL = ("cityscapes-official-prediction", "cityscapes-official-generation")


@pytest.mark.parametrize("name", OFFICIAL)
def test_clips_of_the_official_cityscapes_begin_with_frame_twenty(
    tmp_path: Path, name: str
) -> None:
    protocol = get_protocol(name)
    for city, first in (("lindau", 0), ("munster", 40)):
        snippet(tmp_path / "cityscapes", city, 0, range(first, first + 30), split="val")
    snippet(tmp_path / "cityscapes", "bonn", 0, range(30), split="train")
    cases = Cases(protocol, tmp_path)
    assert cases.names == ("lindau_000000_000000_0019", "munster_000000_000040_0019")
    clip = cases.read(1)
    assert clip.first_frame.shape == (1, 3, 128, 256)
    assert (clip.first_frame * 255).round().unique().tolist() == [59], "number 40 + 19"
    assert (clip.frames[0, :, 0, 0, 0] * 255).round().tolist() == list(range(60, 68))
    assert clip.label_map.unique().tolist() == [13] and clip.instance_map is None
    maps = tmp_path / "cityscapes" / "gtFine" / "val"
    (maps / "lindau" / "lindau_000000_000019_gtFine_labelIds.png").unlink()
    expected = r"a label map of frame 19, counted from 0, of every .*; got none for lindau_"
    with pytest.raises(MediaError, match=expected):
        Cases(protocol, tmp_path)
    with pytest.raises(Seg2VidError, match=r"clips for .*-v2; got none; check --data"):
        Cases(replace(protocol, split="test"), tmp_path)


@pytest.mark.parametrize("name", OFFICIAL)
def test_clips_of_the_official_cityscapes_in_its_real_files(shared_data: Path, name: str) -> None:
    """The tree there holds frames 10 to 28 of two training sequences: 9 is the labelled one."""
    protocol = get_protocol(name)
    with pytest.raises(Seg2VidError, match=r"clips for .*; got none; check --data"):
        Cases(protocol, shared_data / "layouts")
    cases = Cases(replace(protocol, split="train", starts={"*": (9,)}), shared_data / "layouts")
    assert cases.names == ("aachen_000000_000010_0009", "aachen_000003_000010_0009")
    clip = cases.read(0)
    assert clip.frames.shape == (1, 8, 3, 128, 256) and clip.label_maps is None
    assert len(clip.label_map.unique()) > 3 and clip.first_frame.std() > 0.1
    own = cases.folder / "leftImg8bit_sequence/train/aachen"
    picture = read_image(own / "aachen_000000_000019_leftImg8bit.png")
    fitted = torch.from_numpy(fit_image(picture, height=128, width=256)).permute(2, 0, 1)
    assert torch.equal((clip.first_frame[0] * 255).round().byte(), fitted)


def test_photos_are_clips_without_further_frames(data: Path) -> None:
    cases = Cases(still_protocol(), data)
    assert cases.names == ("c", "d")
    clip = cases.read(0)
    assert clip.first_frame.shape == (1, 3, 64, 128) and clip.frames.shape[1] == 0
    assert clip.label_map[0, 0, 0] == 10


DATASET = replace(TINY, source="dataset", num_frames=2, height=32, width=32)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips to train on and one held out, which knows flow."""
    folder = tmp_path_factory.mktemp("prepared") / "own"
    recordings = {"a": [shards.make_clip(0), shards.make_clip(1)]}
    recordings["b"] = [shards.make_clip(2, motion=True)]
    shards.write_dataset(folder, recordings, {"a": "train", "b": "val"})
    return folder


def test_clips_of_a_prepared_dataset_are_those_of_a_split(prepared: Path) -> None:
    cases = Cases(DATASET, prepared)
    assert cases.names == ("b-000000",)
    found, made = cases.read(0), shards.make_clip(2, motion=True)
    for name in ("first_frame", "frames", "label_map", "label_maps"):
        assert torch.equal(getattr(found, name), getattr(made, name))
    assert found.motion is not None and found.instance_map is None, "no model is told"
    named = replace(DATASET, folder="own", split="train")
    assert Cases(named, prepared.parent).names == ("a-000000", "a-000001")


def test_as_much_of_a_clip_is_read_as_is_asked_for(prepared: Path) -> None:
    clip = Cases(replace(DATASET, num_frames=1), prepared).read(0)
    assert clip.frames.shape[1] == clip.label_maps.shape[1] == 1
    assert clip.motion.backward_flow.shape[1] == clip.motion.forward_visible.shape[1] == 1
    for changes, got in (
        ({"num_frames": 3}, r"1 \+ 2 of 32x32"),
        ({"width": 64}, "1 . 2 of 32x32"),
    ):
        with pytest.raises(
            MediaError, match=rf"Expected clips of 1 \+ .*; got {got}; prepare them"
        ):
            Cases(replace(DATASET, **changes), prepared).read(0)


def test_toycity_clips_on_a_disk_know_what_rendered_ones_do(tmp_path: Path) -> None:
    size = ToyCityConfig(height=64, width=128, num_frames=3)
    for seed in (7, 8):
        save_clip(render_clip(seed, size), tmp_path / f"clip_{seed:06d}.safetensors")
    cases = Cases(replace(TINY, source="dataset", split="all"), tmp_path)
    assert cases.names == ("clip_000007", "clip_000008")
    found, drawn = cases.read(1), render_toycity(8, size)
    assert digest_of(found) == digest_of(drawn)
    for name in ("ego_motion", "inverse_depth"):
        assert torch.equal(getattr(found, name), getattr(drawn, name))


def test_datasets_that_cannot_be_judged_are_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"clips of split test in .*; got"):
        Cases(replace(DATASET, split="test"), prepared)
    with pytest.raises(MediaError, match=r"a folder of clips .*; got none; make one"):
        Cases(replace(DATASET, split="all"), tmp_path)
    index = json.loads((prepared / "index.json").read_text())
    index["label_space"] = get_label_space("camvid").to_dict()
    for shard in prepared.glob("*.tar"):
        (tmp_path / shard.name).write_bytes(shard.read_bytes())
    (tmp_path / "index.json").write_text(json.dumps(index))
    message = r"a dataset of the label space cityscapes, which .*; got camvid at .*; evaluate its"
    with pytest.raises(MediaError, match=message):
        Cases(DATASET, tmp_path)


def test_fewer_clips_are_the_first_ones(data: Path) -> None:
    cases = Cases(RECORDED, data, limit=2)
    assert cases.names == ("b_0000", "b_0003") and len(cases.every_name) == 3
    assert Cases(TINY, limit=9).names == Cases(TINY).names


def test_the_digest_is_that_of_what_is_seen(clip: Clip) -> None:
    pictures = torch.cat((clip.first_frame[:, None], clip.frames), 1)
    seen = (pictures * 255).round().byte().numpy().tobytes()
    labels = b"".join(m.byte().numpy().tobytes() for m in (clip.label_map, clip.label_maps))
    assert digest_of(clip) == hashlib.sha256(seen + labels).hexdigest()
    assert digest_of(Cases(TINY).read(0)) == digest_of(clip)


def test_the_digest_changes_with_a_pixel_or_a_label(clip: Clip) -> None:
    found = {digest_of(clip)}
    for name in ("first_frame", "frames", "label_map", "label_maps"):
        changed = getattr(clip, name).clone()
        place = (0,) * changed.ndim
        changed[place] = 1 - changed[place] if changed.is_floating_point() else 5
        found.add(digest_of(replace(clip, **{name: changed})))
    assert len(found) == 5
    assert digest_of(replace(clip, motion=None)) in found, "motion is not seen"


def test_the_digest_of_all_depends_on_their_order() -> None:
    assert digest_of_all(["a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()
    assert digest_of_all(["b", "a"]) != digest_of_all(iter(["a", "b"]))


def test_the_folder_is_named_or_comes_from_the_environment(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(data))
    assert Cases(RECORDED).folder == data / "drives"
    assert Cases(still_protocol()).names == ("c", "d")
    with pytest.raises(Seg2VidError, match=r"got no .*elsewhere.val"):
        Cases(still_protocol(), tmp_path / "elsewhere")


def test_missing_data_are_told_before_any_work(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    message = (
        r"the data of tiny-v1: drives in a folder; got no folder; "
        r"name it with --data or SEG2VID_EVALUATION_DATA; docs/evaluation\.md says what"
    )
    with pytest.raises(Seg2VidError, match=message):
        Cases(RECORDED)
    with pytest.raises(Seg2VidError, match=r"drives in a folder; got no .*drives; name it"):
        Cases(RECORDED, tmp_path)
    moved = replace(RECORDED, starts={"a": (0,), "c": (0,), "d": (1,)})
    with pytest.raises(Seg2VidError, match=r"the recordings of tiny-v1 in .*; got no c, d; docs/"):
        Cases(moved, data)
    with pytest.raises(Seg2VidError, match=r"clips for tiny-v1; got none; check --data"):
        Cases(replace(TINY, clips=0))


def test_a_start_beyond_the_end_is_refused(data: Path) -> None:
    with pytest.raises(MediaError, match=r"3 frames from 5 of b"):
        Cases(replace(RECORDED, starts={"b": (5,)}), data).read(0)


def test_real_recordings_are_read(shared_data: Path) -> None:
    cases = Cases(get_protocol("cityscapes-prediction"), shared_data)
    assert len(cases.names) == 24 and cases.names[5] == "cityscapes_seq1_0007"
    clip = cases.read(5)
    assert clip.first_frame.shape == (1, 3, 128, 256) and clip.frames.shape[:2] == (1, 8)
    with Image.open(shared_data / "driving_clips" / "cityscapes_seq1" / "000007.jpg") as picture:
        pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal((clip.first_frame[0] * 255).round().byte(), pixels)
    assert clip.label_maps.shape == (1, 8, 128, 256) and len(clip.label_map.unique()) > 5
    assert clip.motion is None and clip.instance_map is None
    # Neighbouring clips share two frames.
    earlier = cases.read(4)
    assert torch.equal(earlier.frames[:, 6], clip.first_frame)
    assert torch.equal(earlier.label_maps[:, 7], clip.label_maps[:, 0])
