"""The clips of a protocol: named, numbered, read one at a time, and known by their digest."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from seg2vid.data.clips import ClipFolder, render_toycity
from seg2vid.data.prepared import INDEX, PreparedDataset
from seg2vid.data.recordings import list_recordings
from seg2vid.data.recordings.recording import Recording, read_clip
from seg2vid.data.sample import still_of
from seg2vid.data.stills import StillFolder
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.evaluation.protocol import Protocol
from seg2vid.evaluation.video_pairs import VideoPairs
from seg2vid.labels.space import get_label_space
from seg2vid.structures import Clip
from seg2vid.tools.errors import MediaError, Seg2VidError

DATA_VARIABLE = "SEG2VID_EVALUATION_DATA"
"""Environment variable that names the folder of the evaluation data."""
EVERY = "*"
"""In a protocol's ``starts``: every recording of its split."""
Dataset = PreparedDataset | ClipFolder


@dataclass(frozen=True)
class Cases:
    """The clips of ``protocol``, from the folder ``data`` where it needs one.

    ``limit`` takes the first so many clips only. Raises ``Seg2VidError`` where data are missing.
    """

    protocol: Protocol
    data: Path | None = None
    limit: int | None = None
    pairs: VideoPairs | None = None
    """Where two folders of videos are compared."""

    def __post_init__(self) -> None:
        """Look once at what is there, before any work is done."""
        is_recorded = self.protocol.source == "recordings"
        if not self.names or (is_recorded and not self._recordings):
            what, fix = f"clips for {self.protocol.name}", "check --data"
            raise Seg2VidError(what, got="none", fix=fix)

    @property
    def folder(self) -> Path:
        """The protocol's folder in the evaluation data."""
        return self.folder_of(self.protocol.folder)

    def folder_of(self, name: str) -> Path:
        """Return a folder of the evaluation data; raise ``Seg2VidError`` where it is missing."""
        named = os.environ.get(DATA_VARIABLE)
        data = self.data or (Path(named) if named else None)
        place = None if data is None else data / name
        if place is None or not place.exists():
            what = f"the data of {self.protocol.name}: {name} in a folder"
            got = "no folder" if place is None else f"no {place}"
            fix = f"name it with --data or {DATA_VARIABLE}; docs/evaluation.md says what is in it"
            raise Seg2VidError(what, got=got, fix=fix)
        return place

    @cached_property
    def every_name(self) -> tuple[str, ...]:
        """Names of all clips of the protocol."""
        protocol = self.protocol
        if protocol.source == "toycity":
            seeds = range(protocol.first_seed, protocol.first_seed + protocol.clips)
            return tuple(f"toycity_{seed}" for seed in seeds)
        if protocol.source == "stills":
            return tuple(photo.stem for photo in self._stills.photos)
        if protocol.source == "dataset":
            return names_of(self._dataset)
        if self.pairs is not None:
            return self.pairs.names
        starts = self._starts.items()
        return tuple(f"{name}_{start:04d}" for name, times in starts for start in times)

    @cached_property
    def _starts(self) -> Mapping[str, tuple[int, ...]]:
        """First frames of the clips of each recording; raises ``MediaError`` where ``*`` finds one
        without its label map.
        """
        starts = dict(self.protocol.starts)
        times = starts.pop(EVERY, ())
        own = [one for one in self._recordings.values() if one.split in (None, self.protocol.split)]
        for recording in own if times else ():
            if lacking := sorted(set(times) - set(recording.label_files)):
                what = f"a label map of frame {lacking[0]}, counted from 0, of every recording"
                got = f"none for {recording.name}"
                raise MediaError(what, got=got, fix="fetch the label maps of the whole split")
            starts.setdefault(recording.name, times)
        return starts

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the clips that are evaluated, in the order of their numbers."""
        return self.every_name[: self.limit]

    def read(self, number: int) -> Clip:
        """Read clip ``number`` as a batch of one, at the protocol's size and length."""
        protocol, name = self.protocol, self.names[number]
        size: dict[str, Any] = {"height": protocol.height, "width": protocol.width}
        if protocol.source == "toycity":
            city = ToyCityConfig(**size, num_frames=max(1, protocol.num_frames))
            clip = replace(render_toycity(protocol.first_seed + number, city), instance_map=None)
            return still_of(clip, 0) if protocol.is_still else clip
        if protocol.source == "stills":
            return self._stills.read(number)
        if protocol.source == "dataset":
            return self._of_dataset(self._dataset.read(number))
        if self.pairs is not None:
            return self.pairs.read(number)
        recording, _, start = name.rpartition("_")
        clip = read_clip(
            self._recordings[recording],
            int(start),
            num_frames=protocol.num_frames,
            step=protocol.step,
            **size,
        )
        return replace(clip, instance_map=None, instance_maps=None)

    @cached_property
    def _dataset(self) -> Dataset:
        return open_dataset(self.folder, self.protocol.split)

    def _of_dataset(self, clip: Clip) -> Clip:
        """Return as much of a clip as the protocol asks for; raise ``MediaError`` for less."""
        protocol, (count, _, height, width) = self.protocol, clip.frames.shape[1:]
        wanted = protocol.num_frames
        if (height, width) != (protocol.height, protocol.width) or count < wanted:
            what = f"clips of 1 + {wanted} frames of {protocol.width}x{protocol.height}"
            fix = "prepare them with other --size and --frames, or change the protocol"
            raise MediaError(what, got=f"1 + {count} of {width}x{height}", fix=fix)
        changes: dict[str, Any] = {
            name: None if (value := getattr(clip, name)) is None else value[:, :wanted]
            for name in ("frames", "label_maps", "ego_motion")
        }
        if clip.motion is not None:
            changes["motion"] = clip.motion.map(lambda field: field[:, :wanted])
        return replace(clip, instance_map=None, instance_maps=None, **changes)

    @cached_property
    def _recordings(self) -> dict[str, Recording]:
        layout = self.protocol.layout
        found = {entry.name: entry for entry in list_recordings(self.folder, layout)}
        missing = sorted(set(self.protocol.starts) - {EVERY} - set(found))
        if missing:
            what = f"the recordings of {self.protocol.name} in {self.folder}"
            fix = "docs/evaluation.md says where they come from"
            raise Seg2VidError(what, got=f"no {', '.join(missing)}", fix=fix)
        return found

    @cached_property
    def _stills(self) -> StillFolder:
        size = {"height": self.protocol.height, "width": self.protocol.width}
        return StillFolder(self.folder, get_label_space("cityscapes"), **size)


def open_dataset(folder: Path, split: str) -> Dataset:
    """Open a split of a prepared dataset, or of a folder of toy-city clips.

    Raises ``MediaError`` where it is none, is empty, or has other classes than the judges know.
    """
    if not (folder / INDEX).is_file():
        return ClipFolder(folder, split)  # type: ignore[arg-type]
    dataset = PreparedDataset(folder, split)
    if dataset.space.names != get_label_space("cityscapes").names:
        what = "a dataset of the label space cityscapes, which the segmenter knows"
        fix = "evaluate its pictures alone, with --videos and --reference"
        raise MediaError(what, got=f"{dataset.space.name} at {folder}", fix=fix)
    return dataset


def names_of(dataset: Dataset) -> tuple[str, ...]:
    """Return the names of its clips."""
    if isinstance(dataset, PreparedDataset):
        return tuple(clip["key"] for clip in dataset.clips)
    return tuple(file.stem for file in dataset.files)


def digest_of(clip: Clip) -> str:
    """Return the SHA-256 of what is seen of a clip: pixels as bytes and label ids."""
    digest = hashlib.sha256()
    pictures = torch.cat((clip.first_frame.unsqueeze(1), clip.frames), 1)
    digest.update((pictures * 255).round().byte().cpu().numpy().tobytes())
    for labels in (clip.label_map, clip.label_maps):
        if labels is not None:
            digest.update(labels.byte().cpu().numpy().tobytes())
    return digest.hexdigest()


def digest_of_all(digests: Iterable[str]) -> str:
    """Return the SHA-256 of the digests of all clips in their order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
