"""Parts to a dataset: shards that anyone can read, an index that is right, splits that are fair."""

import hashlib
import io
import json
import random
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seg2vid.data.prepare.assemble import assign_splits, read_parts
from seg2vid.data.prepared import PreparedDataset, webdataset
from seg2vid.tools.errors import MediaError
from tests.shards import SPACE, assemble, make_clip, write_dataset, write_part

COUNTS = {"a": 3, "b": 2, "c": 4, "d": 1}
SPLITS = {"a": "train", "b": "val", "c": "train", "d": "train"}


def recordings() -> dict[str, list[Any]]:
    """Nine clips of the training split and two of validation."""
    clips = iter(range(100))
    return {name: [make_clip(next(clips)) for _ in range(n)] for name, n in COUNTS.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of several small shards."""
    path = tmp_path_factory.mktemp("dataset")
    write_dataset(path, recordings(), SPLITS, shard_bytes=90_000)
    return path


@pytest.fixture(scope="module")
def index(folder: Path) -> dict[str, Any]:
    """What its index says."""
    return json.loads((folder / "index.json").read_text())


def entries(index: dict[str, Any], split: str, shard: int) -> list[dict[str, Any]]:
    """The clips of one shard, in the order of the index."""
    clips = index["clips"]
    return [clip for clip in clips if clip["split"] == split and clip["shard"] == shard]


def test_every_clip_of_every_part_comes_once_and_in_its_split(index: dict[str, Any]) -> None:
    keys = {clip["key"]: clip["split"] for clip in index["clips"]}
    wanted = {f"{name}-{i:06d}": SPLITS[name] for name, n in COUNTS.items() for i in range(n)}
    assert keys == wanted and len(index["clips"]) == 10
    for clip in index["clips"]:
        assert clip["key"].startswith(clip["recording"]) and clip["visible"] == 0.9
        assert clip["first"] == 3 * int(clip["key"][-6:]) == 6 * clip["speed"]


def test_clips_of_many_recordings_are_mixed(index: dict[str, Any]) -> None:
    order = [clip["recording"] for clip in index["clips"] if clip["split"] == "train"]
    assert order != sorted(order) and len(set(order[:4])) >= 2


def test_shards_keep_to_the_limit_and_say_their_size_and_hash(
    folder: Path, index: dict[str, Any]
) -> None:
    assert len(index["shards"]["train"]) > 2 and len(index["shards"]["val"]) == 1
    for split, shards in index["shards"].items():
        assert [s["file"] for s in shards] == [f"{split}-{i:06d}.tar" for i in range(len(shards))]
        for number, shard in enumerate(shards):
            content = (folder / shard["file"]).read_bytes()
            assert len(content) == shard["bytes"] <= 90_000
            assert hashlib.sha256(content).hexdigest() == shard["sha256"]
            assert shard["clips"] == len(entries(index, split, number)) > 0
        # None could have taken the next one's first clip.
        for number, shard in enumerate(shards[:-1]):
            assert shard["bytes"] + entries(index, split, number + 1)[0]["size"] > 90_000


def test_a_limit_that_fits_exactly_is_used_to_the_last_byte(tmp_path: Path) -> None:
    clips = {"a": [make_clip(seed) for seed in range(3)]}
    whole = write_dataset(tmp_path, clips, {"a": "train"})["shards"]["train"][0]["bytes"]
    for limit, count in ((whole, 1), (whole - 1, 2), (1, 3)):
        index = assemble(tmp_path, {"a": "train"}, shard_bytes=limit)
        assert len(index["shards"]["train"]) == count, "a clip above the limit has its own shard"


def test_no_limit_is_exceeded_by_more_than_one_clip(tmp_path: Path) -> None:
    write_part(tmp_path / "parts", "a", [make_clip(seed) for seed in range(6)])
    [part] = read_parts(tmp_path / "parts", ["a"])
    sizes = sorted(clip["size"] for clip in part["clips"])
    for limit in range(2 * sizes[0], 2 * sizes[-1] + 2048, 512):
        shards = assemble(tmp_path, {"a": "train"}, shard_bytes=limit)["shards"]["train"]
        assert all(shard["bytes"] <= limit or shard["clips"] == 1 for shard in shards)
        assert sum(shard["clips"] for shard in shards) == 6


def test_each_sample_lies_where_the_index_says(folder: Path, index: dict[str, Any]) -> None:
    for clip in index["clips"]:
        shard = folder / index["shards"][clip["split"]][clip["shard"]]["file"]
        content = shard.read_bytes()[clip["offset"] : clip["offset"] + clip["size"]]
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            names = archive.getnames()
        assert {name.partition(".")[0] for name in names} == {clip["key"]} and len(names) == 10


def test_tar_and_webdataset_read_whole_shards(folder: Path, index: dict[str, Any]) -> None:
    for split, shards in index["shards"].items():
        for number, shard in enumerate(shards):
            keys = [clip["key"] for clip in entries(index, split, number)]
            with tarfile.open(folder / shard["file"]) as archive:
                stems = [member.name.partition(".")[0] for member in archive]
            assert list(dict.fromkeys(stems)) == keys
            with (folder / shard["file"]).open("rb") as stream:
                source = [{"url": shard["file"], "stream": stream}]
                library = webdataset()
                expanded = library.tariterators.tar_file_expander(source)
                samples = list(library.tariterators.group_by_keys(expanded))
            assert [sample["__key__"] for sample in samples] == keys
            assert all(json.loads(s["json"])["frames_per_second"] == 10.0 for s in samples)


def test_the_same_parts_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path, recordings(), SPLITS, shard_bytes=90_000)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    for name in files:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_counts_and_settings_stand_in_the_index(index: dict[str, Any]) -> None:
    counts = index["counts"]
    assert counts["recordings"] == 4 and counts["unreadable"] == 0
    assert counts["clips"] == {"train": 8, "val": 2}
    assert set(counts["dropped"].values()) == {0} and "unrelated" in counts["dropped"]
    assert index["format"] == "seg2vid-dataset-1" and index["version"] == "test"
    assert index["label_space"] == SPACE.to_dict() and index["has_instances"] is True
    found = {entry["name"]: (entry["split"], entry["clips"]) for entry in index["recordings"]}
    assert found == {name: (SPLITS[name], COUNTS[name]) for name in COUNTS}
    assert "class_pixels" not in index["recordings"][0]


def test_class_shares_are_those_of_the_pixels_and_sum_to_one(
    folder: Path, index: dict[str, Any]
) -> None:
    assert set(index["class_shares"]) == {"train", "val"}
    for split, shares in index["class_shares"].items():
        assert set(shares) == set(SPACE.names) and sum(shares.values()) == pytest.approx(
            1, abs=2e-5
        )
        dataset = PreparedDataset(folder, split)
        clips = [dataset.read(number) for number in range(len(dataset))]
        maps = [torch.cat((clip.label_map[:, None], clip.label_maps), 1) for clip in clips]
        pixels = torch.bincount(torch.cat(maps).flatten(), minlength=SPACE.num_channels)
        expected = (pixels / pixels.sum()).tolist()
        assert [shares[name] for name in SPACE.names] == pytest.approx(expected, abs=1e-6)


def test_motion_is_summed_up(index: dict[str, Any]) -> None:
    motion = index["motion"]
    # Speeds: clip i of each recording moves by i / 2; 4 x 0, 3 x 0.5, 2 x 1, 1 x 1.5.
    assert motion["measured"] and motion["visible_in_last_frame"] == 0.9
    assert [motion["histogram"][bar] for bar in (0, 2, 4, 6)] == [4, 3, 2, 1]
    assert sum(motion["histogram"]) == 10 and len(motion["histogram"]) == 40
    assert motion["pixels_per_frame_quantiles"]["0.50"] == 0.5


def test_fast_clips_count_in_the_last_bar_and_unmeasured_ones_not_at_all(tmp_path: Path) -> None:
    write_part(tmp_path / "parts", "a", [make_clip(0), make_clip(1)])
    path = tmp_path / "parts" / "a.json"
    part = json.loads(path.read_text())
    part["clips"][1]["speed"] = 400.0
    path.write_text(json.dumps(part))
    motion = assemble(tmp_path, {"a": "train"}, shard_bytes=10**6)["motion"]
    assert motion["histogram"][0] == motion["histogram"][39] == 1
    for clip in part["clips"]:
        clip["speed"] = clip["visible"] = None
    path.write_text(json.dumps(part))
    index = assemble(tmp_path, {"a": "train"}, shard_bytes=10**6)
    assert index["motion"] == {"measured": False}


def test_one_recording_without_instances_takes_them_from_the_dataset(tmp_path: Path) -> None:
    clips = {"a": [make_clip(0)], "b": [make_clip(1, instances=False)]}
    write_dataset(tmp_path, clips, {"a": "train", "b": "val"})
    assert PreparedDataset(tmp_path).index["has_instances"] is False
    write_part(tmp_path / "parts", "b", [])
    index = assemble(tmp_path, {"a": "train", "b": "val"}, shard_bytes=10**6)
    assert index["has_instances"] is True, "a recording without clips has no say"
    assert set(index["shards"]) == set(index["class_shares"]) == {"train"}


def test_the_report_is_drawn_and_the_index_comes_last(tmp_path: Path) -> None:
    write_dataset(tmp_path, {"a": [make_clip(0)]}, {"a": "train"})
    assert "<p>1 clips (1 train) of 3 frames" in (tmp_path / "report.html").read_text()
    (tmp_path / "index.json").unlink()
    (tmp_path / "parts" / "a.tar").write_bytes(b"short")
    with pytest.raises(MediaError, match=r"bytes at 0 of .*a\.tar; got 5; delete parts/a\."):
        assemble(tmp_path, {"a": "train"}, shard_bytes=10**6)
    assert not (tmp_path / "index.json").exists()
    assert not list(tmp_path.glob(".*")), "no temporary file is left"


def test_no_clip_at_all_is_refused_with_the_reasons(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    write_part(parts, "a", [], error="Expected a video; got noise; check it.")
    write_part(parts, "b", [])
    write_part(parts, "c", [])
    counted = json.loads((parts / "b.json").read_text())
    counted["dropped"] |= {"black": 7, "short": 2}
    (parts / "b.json").write_text(json.dumps(counted))
    message = (
        r"Expected at least one clip; got none \(a: Expected a video; got noise; check it\.; "
        r"b: black 7, short 2; c: too short\); lower --frames, --step or --least-visible\."
    )
    with pytest.raises(MediaError, match=message):
        assemble(tmp_path, dict.fromkeys("abc", "train"), shard_bytes=10**6)
    assert not list(tmp_path.glob("*.tar"))


@pytest.mark.parametrize(
    ("content", "found"), [("{", "Expecting property"), (None, "No such file")]
)
def test_a_broken_part_is_named(tmp_path: Path, content: str | None, found: str) -> None:
    if content is not None:
        (tmp_path / "one.json").write_text(content)
    message = rf"a finished part at {tmp_path}/one\.json; got .*{found}.*; delete it and run again"
    with pytest.raises(MediaError, match=message):
        read_parts(tmp_path, ["one"])


# Splits.


def test_shares_are_roughly_those_asked_for() -> None:
    names = [(f"drive_{number:03d}", "", None) for number in range(200)]
    counts = Counter(assign_splits(names, (0.1, 0.2)).values())
    assert counts["val"] == 20 and counts["test"] == 40 and counts["train"] == 140
    assert set(assign_splits(names, (0.0, 0.0)).values()) == {"train"}


def test_splits_are_spread_over_neighbouring_names() -> None:
    names = [f"drive_{number:03d}" for number in range(200)]
    splits = assign_splits([(name, "", None) for name in names], (0.1, 0.2))
    for quarter in range(4):
        assert {splits[name] for name in names[50 * quarter :][:50]} == {"train", "val", "test"}


def test_shares_count_recordings_not_groups() -> None:
    names = [
        (f"{group}_{n}", f"{group}", None) for group in range(40) for n in range(1 + group % 9)
    ]
    counts = Counter(assign_splits(names, (0.2, 0.1)).values())
    assert counts["val"] / len(names) == pytest.approx(0.2, abs=0.03)
    assert counts["test"] / len(names) == pytest.approx(0.1, abs=0.03)


Recordings = list[tuple[str, str, str | None]]

some_recordings = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from([None, None, "train", "val", "test"])), max_size=25
).map(
    lambda pairs: [
        # Of group 9 all stand alone; of groups 7 and 8 the split is prescribed for some.
        (f"r{n}", "" if group == 9 else f"g{group}", split if group >= 7 else None)
        for n, (group, split) in enumerate(pairs)
    ]
)
some_shares = st.tuples(st.sampled_from([0.0, 0.1, 0.45]), st.sampled_from([0.0, 0.05, 0.5]))


@given(recordings=some_recordings, shares=some_shares, seed=st.integers(0, 99))
def test_groups_stay_together_whatever_the_order(
    recordings: Recordings, shares: tuple[float, float], seed: int
) -> None:
    splits = assign_splits(recordings, shares)
    assert set(splits) == {name for name, _, _ in recordings}
    shuffled = random.Random(seed).sample(recordings, len(recordings))
    if not any(group in ("g7", "g8") for _, group, _ in recordings):
        assert assign_splits(shuffled, shares) == splits
    groups: dict[str, set[str]] = {}
    for name, group, split in recordings:
        assert split is None or splits[name] == split, "what is prescribed is kept"
        if split is None:
            groups.setdefault(group or name, set()).add(splits[name])
    assert all(len(found) == 1 for found in groups.values())
    prescribed = {group for _, group, split in recordings if group and split}
    free = [next(iter(found)) for group, found in groups.items() if group not in prescribed]
    if len(free) >= 3:
        wanted = {"val": shares[0], "test": shares[1], "train": 1 - sum(shares)}
        assert {split for split, share in wanted.items() if share > 0} == set(free)


def test_the_rest_of_a_group_follows_the_split_that_is_prescribed_for_a_part() -> None:
    recordings: Recordings = [("a", "g", "test"), ("b", "g", None), ("c", "", "val")]
    recordings += [("d", "", None), ("e", "h", None)]
    splits = assign_splits(recordings, (0.1, 0.0))
    assert splits["b"] == "test" and splits["c"] == "val"
    assert splits["d"] == splits["e"] == "train", "two groups are too few to divide"


def test_a_single_recording_trains() -> None:
    assert assign_splits([("a", "", None)], (0.9, 0.05)) == {"a": "train"}
    assert assign_splits([], (0.1, 0.1)) == {}
