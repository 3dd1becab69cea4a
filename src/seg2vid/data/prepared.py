"""Prepared datasets: WebDataset shards and one index, read clip by clip or as a stream.

::

    DATASET/
        index.json          what it holds: counts, histograms, provenance, place of every clip
        train-000000.tar    shards: uncompressed tar, one sample a clip (``sample.py``)
        val-000000.tar
        report.html         the same for people
"""

import io
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from seg2vid.data.sample import Sample, decode_clip, still_of
from seg2vid.labels.space import LabelSpace
from seg2vid.structures import Clip
from seg2vid.tools.environment import import_extra
from seg2vid.tools.errors import MediaError
from seg2vid.tools.plain import build, parse_plain, read_plain

INDEX = "index.json"
FORMAT = "seg2vid-dataset-1"
SHARD_NAME = re.compile(r"[\w.-]+\.tar")
"""What a shard may be called: an index comes from others, and its names become paths and URLs."""


def read_index(place: str | Path, *, allow_pipe: bool = False) -> dict[str, Any]:
    """Read the index of a dataset: a folder, its ``index.json``, or the URL of either.

    ``allow_pipe`` lets ``pipe:COMMAND`` run that command with the shell. Raises ``MediaError``
    where there is no index, it is of another kind, or a command is not allowed.
    """
    # WebDataset finds the scheme in this way; it ignores capitals and white space.
    if not allow_pipe and urlparse(str(place)).scheme == "pipe":
        fix = "add --allow-pipe (in Python allow_pipe=True) where you trust both"
        raise MediaError("a place that runs no command", got=place, fix=f"{fix} place and dataset")
    name = f"{place}" if str(place).endswith(INDEX) else f"{str(place).rstrip('/')}/{INDEX}"
    fix = "make one: seg2vid prepare SOURCE -o DATASET"
    what = f"a prepared dataset (with {INDEX}) at {place}"
    if is_url(name):
        try:
            with webdataset().gopen(name) as stream:
                content = stream.read()
        except (OSError, ValueError) as error:
            raise MediaError(what, got=error, fix=fix) from None
        if not content:
            raise MediaError(what, got="nothing there", fix=fix)
        index = parse_plain(content, what, is_json=True, error=MediaError, fix=fix)
    else:
        index = read_plain(Path(name), what, error=MediaError, fix=fix)
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        what, got = f"an index of format {FORMAT} at {name}", "another file"
        raise MediaError(what, got=got, fix=fix)
    build(_Index, index, name, is_open=True, error=MediaError, fix="copy the dataset again")
    return index


@dataclass(frozen=True)
class _Counts:
    clips: dict[str, int]


@dataclass(frozen=True)
class _Clip:
    split: str
    shard: int = field(metadata={"range": (0, None)})
    offset: int = field(metadata={"range": (0, None)})
    size: int = field(metadata={"range": (0, 1 << 40)})


@dataclass(frozen=True)
class _Shard:
    file: str


@dataclass(frozen=True)
class _Index:
    """What is read of an index: it comes from others."""

    label_space: dict[str, Any]
    counts: _Counts
    has_instances: bool
    shards: dict[str, list[_Shard]]
    clips: tuple[_Clip, ...]


def is_url(place: str | Path) -> bool:
    """Say whether a place is read by WebDataset: http, gs, s3 through ``pipe:`` ..."""
    return "://" in str(place) or str(place).startswith("pipe:")


def webdataset() -> Any:
    """Import WebDataset; raise ``Seg2VidError`` saying how to get it."""
    return import_extra("webdataset", "train")


@dataclass(frozen=True)
class PreparedDataset:
    """One split of a prepared dataset on a local disk: every clip can be read at once.

    Raises ``MediaError`` where the split is empty or a shard is missing.
    """

    directory: Path
    split: str = "train"

    def __post_init__(self) -> None:
        if not self.clips:
            counts = self.index["counts"]["clips"]
            what, got = f"clips of split {self.split} in {self.directory}", f"{counts}"
            raise MediaError(what, got=got, fix="prepare more, or name another split")
        for shard in self.shards:
            if not shard.is_file():
                what, got = f"the shard {shard.name} in {self.directory}", "no such file"
                raise MediaError(what, got=got, fix="copy the whole dataset")

    @cached_property
    def index(self) -> dict[str, Any]:
        """What ``index.json`` says."""
        return read_index(self.directory)

    @cached_property
    def space(self) -> LabelSpace:
        """The classes of its label maps."""
        return LabelSpace.from_dict(self.index["label_space"])

    @cached_property
    def clips(self) -> list[dict[str, Any]]:
        """Key, shard, offset, size and figures of each clip of the split."""
        return [clip for clip in self.index["clips"] if clip["split"] == self.split]

    @cached_property
    def shards(self) -> list[Path]:
        """The files of the split."""
        return [Path(file) for file in _list_shards(self.directory, self.index, self.split)]

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, index: int, /) -> Clip:
        """Read a whole clip as a batch of one."""
        return _uniform(decode_clip(self.files(index), self.space), self.index)

    def read_still(self, index: int, time: int, /) -> Clip:
        """Read frame ``time`` alone (modulo the clip's length) as a clip without further frames."""
        return _uniform(decode_clip(self.files(index), self.space, time), self.index)

    def files(self, index: int) -> Sample:
        """Read the files of one sample: one seek in one shard."""
        clip, fix = self.clips[index], "copy the dataset again"
        if clip["shard"] >= len(self.shards):
            what = f"{len(self.shards)} shards of split {self.split} in {self.directory}"
            raise MediaError(what, got=f"a clip in number {clip['shard']}", fix=fix)
        shard = self.shards[clip["shard"]]
        content = read_span(shard, clip["offset"], clip["size"], fix=fix)
        try:
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
                return {
                    member.name.partition(".")[2]: archive.extractfile(member).read()  # type: ignore[union-attr]
                    for member in archive
                    if member.isfile()
                }
        except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
            what = f"a sample at {clip['offset']} of {shard}"
            raise MediaError(what, got=error, fix=fix) from None


def read_span(path: Path, offset: int, size: int, *, fix: str) -> bytes:
    """Read ``size`` bytes at ``offset``; raise ``MediaError`` where the file has fewer."""
    there = path.stat().st_size - offset
    if there < size:
        raise MediaError(f"{size} bytes at {offset} of {path}", got=max(there, 0), fix=fix)
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(size)


def _uniform(clip: Clip, index: Mapping[str, Any]) -> Clip:
    """Leave out the instance maps unless every clip has them, so that clips can be joined."""
    return clip if index["has_instances"] else replace(clip, instance_map=None, instance_maps=None)


class StreamedDataset:
    """One split of a dataset at a URL, for training: clips come in the order of the stream.

    What to draw is not for the caller to say: each reading gives the next clip, epoch after epoch
    in another order. Raises ``MediaError`` as ``stream_clips`` does, for an empty split at once.
    """

    def __init__(
        self, place: str, split: str = "train", *, seed: int = 0, allow_pipe: bool = False
    ) -> None:
        self.place, self.split, self.seed = place, split, seed
        self.allow_pipe = allow_pipe
        self.index = read_index(place, allow_pipe=allow_pipe)
        self.space = LabelSpace.from_dict(self.index["label_space"])
        _list_shards(place, self.index, split)
        self._stream = self._endless()

    def __len__(self) -> int:
        return int(self.index["counts"]["clips"].get(self.split, 0))

    def read(self, _index: int, /) -> Clip:
        """Return the next clip as a batch of one."""
        return next(self._stream)

    def read_still(self, _index: int, time: int, /) -> Clip:
        """Return frame ``time`` (modulo the clip's length) of the next clip, alone."""
        return still_of(next(self._stream), time)

    def _endless(self) -> Iterator[Clip]:
        how: dict[str, Any] = {"split": self.split, "seed": self.seed, "shuffle": SHUFFLED}
        for epoch in count():
            clip = None
            for clip in stream_clips(self.place, epoch=epoch, allow_pipe=self.allow_pipe, **how):
                yield clip
            if clip is None:
                what = f"a shard of {self.place} for each process and worker"
                got = f"{len(self.index['shards'][self.split])} shards for more of them"
                raise MediaError(what, got=got, fix="take fewer, or smaller shards")


def _read_shards(shards: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    # WebDataset's own stage leaves files and processes open.
    library = webdataset()
    for shard in shards:
        with library.gopen(shard["url"]) as stream:
            files = library.tariterators.tar_file_expander([{**shard, "stream": stream}])
            yield from library.tariterators.group_by_keys(files)


SHUFFLED = 256
"""Clips that a training stream holds to mix their order: about 300 MB at 256x128."""


def stream_clips(
    place: str | Path,
    *,
    split: str = "train",
    seed: int = 0,
    epoch: int = 0,
    shuffle: int = 0,
    allow_pipe: bool = False,
) -> Iterator[Clip]:
    """Yield every clip of a split once, from a folder or a URL, without a local copy.

    In a ``DataLoader`` the shards are divided among its workers, and among the processes of a
    distributed run (``RANK`` and ``WORLD_SIZE``); each clip then comes exactly once in all of them
    together. ``shuffle`` above 1 mixes the order of the shards and, in a buffer of so many samples,
    of the clips: otherwise the order is that of the index. ``allow_pipe`` is that of
    ``read_index``. Raises ``MediaError`` as that does, for an empty split, for a shard that is
    missing or broken, and for names of shards that are more than plain file names.
    """
    index = read_index(place, allow_pipe=allow_pipe)
    space = LabelSpace.from_dict(index["label_space"])
    urls = _list_shards(place, index, split)
    for sample in _stream_samples(urls, seed=seed, epoch=epoch, shuffle=shuffle):
        files = {name: content for name, content in sample.items() if name[0] != "_"}
        yield _uniform(decode_clip(files, space), index)


def _list_shards(place: str | Path, index: Mapping[str, Any], split: str) -> list[str]:
    """Return where the shards of a split lie; their names are nothing but file names."""
    base = (str(place).removesuffix(INDEX) or ".").rstrip("/")
    names = [shard["file"] for shard in index["shards"].get(split, ())]
    if not names:
        what, got = f"shards of split {split} at {place}", f"{', '.join(index['shards'])} only"
        raise MediaError(what, got=got, fix="name a split that it has")
    for name in names:
        if not SHARD_NAME.fullmatch(name):
            what = f"shards named like train-000000.tar in {place}"
            raise MediaError(what, got=repr(name), fix="do not trust this dataset")
    return [f"{base}/{name}" for name in names]


def _stream_samples(
    urls: Sequence[str], *, seed: int, epoch: int, shuffle: int
) -> Iterator[dict[str, Any]]:
    """Yield this process's and worker's samples; raise ``MediaError`` for a shard that breaks."""
    library = webdataset()
    stages = [
        library.SimpleShardList(urls),
        *([library.detshuffle(len(urls), len(urls), seed, epoch - 1)] if shuffle > 1 else []),
        library.split_by_node,
        library.split_by_worker,
        _read_shards,
        *([library.detshuffle(shuffle, shuffle, seed, epoch - 1)] if shuffle > 1 else []),
    ]
    try:
        yield from library.DataPipeline(*stages)
    except (OSError, tarfile.TarError, ValueError) as error:
        what, fix = f"whole shards such as {urls[0]}", "copy the dataset again"
        raise MediaError(what, got=str(error), fix=fix) from None
