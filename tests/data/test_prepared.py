"""Prepared datasets: the clip that was written, at once or as a stream, from disk or a server."""

import functools
import json
import os
import pickle
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from seg2vid.data import prepared
from seg2vid.data.clips import ClipSource, TrainingBatches
from seg2vid.data.prepared import PreparedDataset, StreamedDataset, read_index, stream_clips
from seg2vid.data.sample import decode_clip, still_of
from seg2vid.structures import Clip
from seg2vid.tools.errors import LabelMapError, MediaError, Seg2VidError
from tests.data.test_clips import assert_same
from tests.shards import make_clip, write_dataset

COUNTS = {"a": 5, "b": 4, "c": 3, "d": 2}
SPLITS = {"a": "train", "b": "train", "c": "train", "d": "val"}
TRAINED = 12
ONE_CORE = pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")
"""Advice for long runs, on a machine where one core is left."""


def clip_of(key: str) -> Clip:
    """The clip that was written under a key."""
    return make_clip(100 * ord(key[0]) + int(key[-6:]), motion=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of twelve clips for training in six shards, and two for validation."""
    folder = tmp_path_factory.mktemp("dataset")
    clips = {name: [clip_of(f"{name}-{i:06d}") for i in range(n)] for name, n in COUNTS.items()}
    index = write_dataset(folder, clips, SPLITS, shard_bytes=140_000)
    assert len(index["shards"]["train"]) >= 5 and len(index["shards"]["val"]) == 1
    shutil.rmtree(folder / "parts")
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "dataset"))


@pytest.fixture(scope="module")
def names(whole: Path) -> dict[bytes, str]:
    """The key of every clip by its pictures."""
    keys = [clip["key"] for clip in json.loads((whole / "index.json").read_text())["clips"]]
    return {fingerprint(clip_of(key)): key for key in keys}


def fingerprint(clip: Clip) -> bytes:
    """What tells one clip from another."""
    return (clip.first_frame * 255).round().byte().numpy().tobytes()


def order_of(clips: Iterator[Clip], names: dict[bytes, str]) -> list[str]:
    """The keys of clips, in their order."""
    return [names[fingerprint(clip)] for clip in clips]


# The index.


@pytest.mark.parametrize("spell", [str, Path, lambda p: f"{p}/", lambda p: p / "index.json"])
def test_the_index_is_found_by_folder_or_file(whole: Path, spell: Callable[[Path], Any]) -> None:
    assert read_index(spell(whole))["counts"]["clips"] == {"train": TRAINED, "val": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            None,
            r"a prepared dataset .*; got no file .*index\.json; check the path",
        ),
        (
            "{",
            r"a prepared dataset .*; got no JSON: Expecting property.*; make",
        ),
        (
            b"\xff\xfe",
            r"a prepared dataset .*; got no JSON: Expecting value.*; make",
        ),
        ("[]", r"an index of format seg2vid-dataset-1 at .*index\.json; got another file; make"),
        ("[" * 100_000, r"a prepared dataset .*; got no JSON: nested too deeply; make"),
        ("{}", r"an index of format seg2vid-dataset-1 at .*index\.json; got another file; make"),
        (
            '{"format": "seg2vid-dataset-9"}',
            r"an index of format seg2vid-dataset-1 at .*; got another file; make",
        ),
    ],
)
def test_what_is_no_index_is_refused(
    tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / "index.json").write_bytes(data)
    for read in (read_index, PreparedDataset, lambda place: next(stream_clips(place))):
        with pytest.raises(MediaError, match=f"^Expected {message}"):
            read(tmp_path)


# Every clip at once.


def test_a_clip_is_read_as_it_was_written(whole: Path) -> None:
    for split, count in (("train", TRAINED), ("val", 2)):
        dataset = PreparedDataset(whole, split)
        assert len(dataset) == count and isinstance(dataset, ClipSource)
        assert dataset.space.name == "cityscapes"
        # Backwards: no read depends on the one before.
        for index in reversed(range(count)):
            clip, written = dataset.read(index), clip_of(dataset.clips[index]["key"])
            assert torch.equal(clip.motion.forward_flow, written.motion.forward_flow.half().float())
            assert_same(replace(clip, motion=None), replace(written, motion=None))
            assert_same(dataset.read_still(index, 4), still_of(written, 1))


def test_a_dataset_is_named_by_its_index_too(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = PreparedDataset(whole).read(3)
    assert_same(PreparedDataset(whole / "index.json").read(3), one)
    monkeypatch.chdir(whole)
    assert_same(PreparedDataset(Path("index.json")).read(3), one)
    streamed = [list(stream_clips(place, split="val")) for place in ("index.json", ".", whole)]
    assert [len(clips) for clips in streamed] == [2, 2, 2]
    assert_same(streamed[0][1], streamed[2][1])


def test_an_empty_split_is_refused(whole: Path) -> None:
    message = (
        rf"Expected clips of split test in {whole}; got \{{'train': 12, 'val': 2\}}; prepare more, "
        r"or name another split\."
    )
    with pytest.raises(MediaError, match=message):
        PreparedDataset(whole, "test")
    message = rf"shards of split test at {whole}; got train, val only; name a split that it has\."
    with pytest.raises(MediaError, match=message):
        next(stream_clips(whole, split="test"))
    with pytest.raises(MediaError, match=message):
        StreamedDataset(str(whole), "test")


def test_a_missing_shard_is_named_at_once(folder: Path) -> None:
    (folder / "train-000002.tar").unlink()
    message = rf"the shard train-000002\.tar in {folder}; got no such file; copy the whole dataset"
    with pytest.raises(MediaError, match=message):
        PreparedDataset(folder)
    assert len(PreparedDataset(folder, "val")) == 2, "that one is whole"


def test_a_truncated_shard_is_named(folder: Path) -> None:
    dataset = PreparedDataset(folder)
    last = next(i for i, clip in enumerate(dataset.clips) if clip["shard"] == 1) - 1
    clip, shard = dataset.clips[last], folder / "train-000000.tar"
    assert clip["shard"] == 0
    os.truncate(shard, clip["offset"] + 1000)
    message = (
        rf"Expected {clip['size']} bytes at {clip['offset']} of {shard}; got 1000; copy the "
        r"dataset again\."
    )
    with pytest.raises(MediaError, match=message):
        dataset.read(last)
    assert len(dataset.read(0).frames) == 1, "the others are there"


def test_a_dataset_without_instances_throughout_has_none(tmp_path: Path) -> None:
    clips = {"a": [make_clip(0)], "b": [make_clip(1, instances=False)]}
    write_dataset(tmp_path, clips, dict.fromkeys("ab", "train"))
    dataset = PreparedDataset(tmp_path)
    read = [dataset.read(index) for index in range(2)] + list(stream_clips(tmp_path))
    assert all(clip.instance_map is clip.instance_maps is None for clip in read)
    assert all(clip.label_maps.shape[1] == 2 and clip.frames_per_second == 10.0 for clip in read)
    assert dataset.read_still(0, 1).instance_map is dataset.read_still(1, 1).instance_map is None
    batches = TrainingBatches(
        [(dataset, 1.0)], batch_size=2, steps=6, start=0, seed=0, stills=False
    )
    assert [len(batch.frames) for batch in batches] == [2] * 6


def test_reading_leaves_no_file_open(folder: Path) -> None:
    dataset = PreparedDataset(folder)
    before = len(os.listdir("/proc/self/fd"))
    for index in range(TRAINED):
        dataset.read(index)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_shard_that_was_replaced_is_opened_again(folder: Path) -> None:
    dataset = PreparedDataset(folder)
    dataset.read(0)
    content = (folder / "train-000000.tar").read_bytes()
    (folder / "other.tar").write_bytes(bytes(len(content)))
    os.replace(folder / "other.tar", folder / "train-000000.tar")
    os.utime(folder / "train-000000.tar", ns=(1, 1))
    assert dataset.files(0) == {}


@ONE_CORE
def test_workers_of_a_data_loader_read_the_same_batches(whole: Path) -> None:
    dataset = PreparedDataset(whole)
    dataset.read(0)  # The parent has shards open when the workers are forked.
    assert len(pickle.loads(pickle.dumps(dataset))) == TRAINED
    batches = TrainingBatches([(dataset, 1.0)], batch_size=2, steps=6, start=0, seed=0, stills=True)
    loader = DataLoader(batches, batch_size=None, num_workers=2)
    for one, other in zip(loader, batches, strict=True):
        assert_same(one, other)


# Streams.


def test_a_stream_has_every_clip_in_the_order_of_the_index(
    whole: Path, names: dict[bytes, str]
) -> None:
    dataset = PreparedDataset(whole)
    clips = list(stream_clips(whole))
    assert order_of(iter(clips), names) == [clip["key"] for clip in dataset.clips]
    assert_same(clips[5], dataset.read(5))


def test_a_shuffled_stream_has_every_clip_once_in_an_order_of_seed_and_epoch(
    whole: Path, names: dict[bytes, str]
) -> None:
    def order(**options: int) -> list[str]:
        return order_of(stream_clips(whole, shuffle=8, **options), names)

    plain = order_of(stream_clips(whole), names)
    first = order()
    assert first == order(seed=0, epoch=0), "shuffling repeats"
    assert len({tuple(order(epoch=epoch)) for epoch in range(4)}) == 4
    assert order(seed=7) != first != plain
    for epoch in range(4):
        assert sorted(order(epoch=epoch)) == sorted(plain)
    pairs = [
        order_of(stream_clips(whole, split="val", shuffle=8, epoch=e), names) for e in range(8)
    ]
    assert len({tuple(pair) for pair in pairs}) == 2, "clips are mixed within a shard too"
    # A buffer as small as one clip still mixes the order of the shards.
    assert sorted(order_of(stream_clips(whole, shuffle=2), names)) == sorted(plain)


class Keys(IterableDataset[str]):
    """A stream's keys, so that little travels between processes."""

    def __init__(self, place: Path, names: dict[bytes, str], **options: int) -> None:
        self.place, self.names, self.options = place, names, options

    def __iter__(self) -> Iterator[str]:
        for clip in stream_clips(self.place, **self.options):
            yield self.names[fingerprint(clip)]


@ONE_CORE
@pytest.mark.parametrize("shuffle", [0, 4])
def test_nodes_and_workers_together_see_every_clip_once(
    whole: Path, names: dict[bytes, str], monkeypatch: pytest.MonkeyPatch, shuffle: int
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    seen = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        keys = Keys(whole, names, shuffle=shuffle, epoch=3)
        seen.append(list(DataLoader(keys, batch_size=None, num_workers=2)))
    assert all(len(found) >= 3 for found in seen), "the work is shared"
    assert sorted(seen[0] + seen[1]) == sorted(order_of_train(names))


def order_of_train(names: dict[bytes, str]) -> list[str]:
    """The keys of the training split."""
    return [key for key in names.values() if SPLITS[key[0]] == "train"]


def test_a_streamed_dataset_goes_round_in_other_orders(
    whole: Path, names: dict[bytes, str]
) -> None:
    dataset = StreamedDataset(str(whole), seed=5)
    assert len(dataset) == TRAINED and isinstance(dataset, ClipSource)
    assert dataset.space.name == "cityscapes"
    # Which index is asked for does not matter.
    epochs = [[names[fingerprint(dataset.read(0))] for _ in range(TRAINED)] for _ in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert all(sorted(epoch) == sorted(order_of_train(names)) for epoch in epochs)
    again = StreamedDataset(str(whole), seed=5)
    assert [names[fingerprint(again.read(i))] for i in range(TRAINED)] == epochs[0]
    still = again.read_still(0, 4)
    assert_same(still, still_of(clip_of(epochs[1][0]), 1))
    assert len(StreamedDataset(str(whole), "val")) == 2


def test_a_process_without_a_shard_says_so_instead_of_waiting_for_ever(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert list(stream_clips(whole, split="val")) == [], "rank 0 has them all"
    message = rf"a shard of {whole} for each process and worker; got 1 shards for more of them; "
    with pytest.raises(MediaError, match=message):
        StreamedDataset(str(whole), "val").read(0)


def test_a_stream_names_what_broke(folder: Path) -> None:
    message = rf"Expected whole shards such as {folder}/train-000000\.tar; got .*; copy the dataset"
    with (folder / "train-000001.tar").open("r+b") as shard:
        shard.truncate(30_000)
    with pytest.raises(MediaError, match=message):
        list(stream_clips(folder))
    (folder / "train-000001.tar").unlink()
    with pytest.raises(MediaError, match=r"got .*No such file or directory"):
        list(stream_clips(folder))


def test_without_webdataset_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(Seg2VidError, match=r"the extra `train` to be installed; got no webdataset"):
        prepared.webdataset()


# URLs.


class Quiet(SimpleHTTPRequestHandler):
    """A server that does not speak on the terminal."""

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url(whole: Path) -> Iterator[str]:
    """Where the dataset is served."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl, by which WebDataset reads URLs")
    handler = functools.partial(Quiet, directory=str(whole))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_url_is_streamed_like_a_folder(url: str, whole: Path, names: dict[bytes, str]) -> None:
    local = order_of(stream_clips(whole), names)
    for place in (url, f"{url}/", f"{url}/index.json"):
        assert order_of(stream_clips(place), names) == local
    shuffled = order_of(stream_clips(url, shuffle=8, epoch=2), names)
    assert shuffled == order_of(stream_clips(whole, shuffle=8, epoch=2), names)


def test_training_draws_from_a_url(url: str, names: dict[bytes, str]) -> None:
    dataset = StreamedDataset(url)
    assert len(dataset) == TRAINED
    batches = TrainingBatches([(dataset, 1.0)], batch_size=6, steps=2, start=0, seed=0, stills=True)
    assert [batch.first_frame.shape[0] for batch in batches] == [6, 6]
    assert names[fingerprint(dataset.read(0))] in order_of_train(names)


def test_a_stream_that_is_left_closes_what_it_opened(
    url: str, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = []
    real = prepared.webdataset().gopen
    monkeypatch.setattr(
        prepared.webdataset(), "gopen", lambda place: (streams.append(real(place)), streams[-1])[1]
    )
    for place in (url, whole):
        stream = stream_clips(place)
        for _ in range(4):
            next(stream)
        stream.close()
    pipes = [stream for stream in streams if hasattr(stream, "proc")]
    files = [stream for stream in streams if stream not in pipes]
    assert len(pipes) >= 3 and all(pipe.proc.poll() is not None for pipe in pipes)
    assert len(files) >= 2 and all(file.closed for file in files)


def test_a_url_without_a_dataset_is_refused(url: str) -> None:
    message = r"a prepared dataset \(with index\.json\) at http.*/none; got .*curl.*exit 22"
    with pytest.raises(MediaError, match=message):
        read_index(f"{url}/none")
    with pytest.raises(
        MediaError, match=r"at mist://x; got mist://x/index\.json: no gopen handler"
    ):
        read_index("mist://x")


def test_what_is_a_url() -> None:
    for place in ("http://x/y", "gs://bucket", "pipe:cat x", "s3://b"):
        assert prepared.is_url(place)
    for place in ("data/x", Path("/data"), "C:/data", "pipe"):
        assert not prepared.is_url(place)


WRONG_PLACES = {
    "size": (10**13, "size in .*index.json from 0 to 1099511627776; got 10000000000000; "),
    "offset": (-1, "offset in .*index.json of at least 0; got -1; "),
    "shard": ("x", r"a whole number as clips.*shard in .*; got text; copy"),
}


@pytest.mark.parametrize("name", WRONG_PLACES)
def test_an_index_of_wrong_numbers_is_refused(folder: Path, name: str) -> None:
    value, message = WRONG_PLACES[name]
    index = json.loads((folder / "index.json").read_text())
    index["clips"][0][name] = value
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(MediaError, match=message):
        PreparedDataset(folder)


@pytest.mark.parametrize(("name", "value"), [("size", 1 << 39), ("offset", 1 << 50), ("shard", 99)])
def test_a_place_beyond_its_shard_is_refused(folder: Path, name: str, value: int) -> None:
    index = json.loads((folder / "index.json").read_text())
    clip = next(one for one in index["clips"] if one["split"] == "train")
    clip[name] = value
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(MediaError, match=r"(bytes at .*|shards of split train .*); got .*; copy"):
        PreparedDataset(folder).read(0)


def test_flipped_bits_and_missing_members_are_one_line(folder: Path) -> None:
    dataset = PreparedDataset(folder)
    shard, clip = dataset.shards[dataset.clips[0]["shard"]], dataset.clips[0]
    content, dice = shard.read_bytes(), np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(content)
        places = clip["offset"] + dice.integers(0, clip["size"], 40)
        damaged[places[0] : places[0] + 300] = bytes(300)
        for place in places:
            damaged[place] ^= 1 << int(dice.integers(8))
        shard.write_bytes(damaged[: len(content)])
        for read in (dataset.read, lambda index: dataset.read_still(index, 1)):
            with suppress(MediaError, LabelMapError):
                read(0)
    shard.write_bytes(content)
    files = dataset.files(0)
    for name in files:
        if name != "motion.safetensors":
            left = {other: content for other, content in files.items() if other != name}
            with suppress(MediaError):
                decode_clip(left, dataset.space)
    with pytest.raises(MediaError, match="the files of a whole sample; got ZeroDivisionError"):
        decode_clip({}, dataset.space, 0)


# What a dataset may not do: its index comes from whoever made it.


@pytest.mark.parametrize(
    "name",
    ["x; touch SPRUNG #.tar", "../../x", "../x.tar", "/etc/passwd", "a b.tar", "x.tar\n", "", 7],
)
def test_a_shard_of_another_name_is_refused(folder: Path, name: object) -> None:
    sprung = folder.parent / "sprung"
    index = json.loads((folder / "index.json").read_text())
    given = name.replace("SPRUNG", str(sprung)) if isinstance(name, str) else name
    index["shards"]["train"][1]["file"] = given
    (folder / "index.json").write_text(json.dumps(index))
    message = r"^Expected (shards named like train-000000\.tar|text as .*file) in .*; got .*; .*\.$"
    reads: list[Callable[[], Any]] = [
        lambda: PreparedDataset(folder),
        lambda: next(stream_clips(folder)),
        lambda: StreamedDataset(f"file://{folder}"),
        lambda: StreamedDataset(f"pipe:cat {folder}", allow_pipe=True),
    ]
    for read in reads:
        with pytest.raises(MediaError, match=message) as caught:
            read()
        assert "\n" not in str(caught.value)
    assert not sprung.exists()


@pytest.mark.parametrize("scheme", ["pipe:", "PIPE:", " pipe:", "pi\tpe:"])
def test_a_command_is_run_only_where_it_is_allowed(
    whole: Path, tmp_path: Path, names: dict[bytes, str], scheme: str
) -> None:
    place = f"{scheme}touch {tmp_path}/sprung; cat {whole}"
    for read in (read_index, StreamedDataset, lambda place: next(stream_clips(place))):
        with pytest.raises(MediaError, match=r"^Expected a place that runs no command; .*--allow-"):
            read(place)
    assert not any(tmp_path.iterdir())
    if scheme == "pipe:":
        local = order_of(stream_clips(whole), names)
        assert order_of(stream_clips(place, allow_pipe=True), names) == local
        assert fingerprint(StreamedDataset(place, allow_pipe=True).read(0)) in names
        assert (tmp_path / "sprung").exists()
