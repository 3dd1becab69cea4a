"""A recording is one video with what is known of it: what adapters list and ``prepare`` reads.

An adapter is a module with ``SIGNS`` and ``list_recordings(root)``; its docstring draws the
directory tree. The package's ``LAYOUTS`` names them all.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from seg2vid.data.clips import clip_of
from seg2vid.labels.diagnosis import Encoding
from seg2vid.labels.fit import Aspect, fit_image, fit_label_map
from seg2vid.labels.space import LabelSpace
from seg2vid.media.label_maps import read_instance_map, read_label_map
from seg2vid.media.pictures import read_image
from seg2vid.media.video import Frame, iterate_video
from seg2vid.structures import Clip
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import check_regular

SPLITS = ("train", "val", "test")
PICTURES = (".jpg", ".jpeg", ".png")
"""Endings of a frame that is a file of its own."""
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
"""Endings of a video file."""
DEFAULT_RATE = 25.0
"""Frames per second where neither the dataset nor the file says it."""
FASTEST_RATE = 240.0
"""Frames per second beyond which a file is not believed."""
Map = Int[Tensor, "height width"]


@dataclass(frozen=True)
class Recording:
    """One video: the unit that is never divided between splits."""

    name: str
    """Unique in its dataset; letters, digits, ``_`` and ``-`` only, so that it can name files."""
    pictures: tuple[Path, ...] = ()
    """Its frames in order, where each is a file of its own ..."""
    video: Path | None = None
    """... or the file that holds them all."""
    frames_per_second: float | None = None
    """Rate of the frames; None where the video file says it."""
    label_space: LabelSpace | None = None
    """Classes of the label maps; None where there are none."""
    encoding: Encoding = "auto"
    """How the label maps are stored."""
    label_files: Mapping[int, Path] = field(default_factory=dict)
    """Label map by index of frame, for those frames that have one."""
    instance_files: Mapping[int, Path] = field(default_factory=dict)
    """Instance map by index of frame."""
    split: str | None = None
    """One of ``SPLITS`` where the dataset prescribes it."""
    group: str = ""
    """Recordings of one group (one person, one drive) stay in one split; empty where the recording
    stands alone.
    """
    spans: tuple[tuple[int, int], ...] = ()
    """First frame and one past the last of the parts to use, in order and without overlap; the
    whole where empty. The last may reach beyond the end: datasets err.
    """
    licence: str = "unknown"
    """As stated by the source."""
    labels_by: str = "the dataset"
    """Who made the label maps: provenance."""

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """Yield frames (height, width, 3), uint8, one at a time: never all in memory.

        ``start``, ``stop`` and ``step`` as in a slice; pictures between them are not even opened.
        Raises ``MediaError`` where one cannot be read.
        """
        if self.video:
            return islice(iterate_video(self.video), start, stop, step)
        return map(read_image, islice(self.pictures, start, stop, step))

    @property
    def rate(self) -> float:
        """Frames per second: as stated, or as the video file says, or ``DEFAULT_RATE``.

        Raises ``MediaError`` where the video file cannot be read.
        """
        if self.frames_per_second:
            return self.frames_per_second
        return look_at_video(self.video)[0] if self.video else DEFAULT_RATE

    def label_map(self, index: int) -> Int[np.ndarray, "height width"] | None:
        """Read the label map of a frame, ids of ``label_space``; None where it has none."""
        path = self.label_files.get(index)
        if path is None or self.label_space is None:
            return None
        return read_label_map(path, space=self.label_space, encoding=self.encoding).ids

    def instance_map(self, index: int) -> Int[np.ndarray, "height width"] | None:
        """Read the instance map of a frame, 0 = no object; None where it has none."""
        path = self.instance_files.get(index)
        return None if path is None else read_instance_map(path)

    @property
    def source(self) -> str:
        """The file or folder it comes from, for messages and provenance."""
        return str(self.video or self.pictures[0].parent)


def read_clip(
    recording: Recording,
    start: int,
    *,
    num_frames: int,
    step: int = 1,
    height: int,
    width: int,
    aspect: Aspect = "crop",
) -> Clip:
    """Read frame ``start`` and ``num_frames`` after it, every ``step``-th, as a batch of one.

    Pictures and maps are cropped (or padded) and scaled to ``height`` x ``width``. Without label
    map the first frame is all void (id 0 where there is no label space); ``label_maps`` and the
    instance maps are None unless every frame has one. Raises ``MediaError`` where the recording is
    too short.
    """
    indices = range(start, start + (num_frames + 1) * step, step)
    frames = list(recording.frames(start, indices[-1] + 1, step))
    if len(frames) < len(indices):
        what = f"{len(indices)} frames from {start} of {recording.name}, every {step}"
        got = f"{len(frames)} in {recording.source}"
        raise MediaError(what, got=got, fix="give a longer one, or take fewer frames")
    space = recording.label_space
    void = 0 if space is None else space.void_id
    labels, objects = read_maps(
        recording, indices, height=height, width=width, aspect=aspect, void=void
    )
    known = labels if all(ids is not None for ids in labels[1:]) else labels[:1]
    unknown = torch.full((height, width), void)
    fitted = [fit_image(frame, height=height, width=width, aspect=aspect) for frame in frames]
    return clip_of(
        torch.from_numpy(np.stack(fitted)),
        torch.stack([unknown if ids is None else ids for ids in known]),
        objects,
        frames_per_second=recording.rate / step,
    )


def read_maps(
    recording: Recording,
    indices: Sequence[int],
    *,
    height: int,
    width: int,
    aspect: Aspect,
    void: int,
) -> tuple[list[Map | None], Int[Tensor, "known height width"] | None]:
    """Read label maps and instance maps of these frames, cropped (or padded) and scaled.

    A frame without label map has None. The instance maps are those of all frames, or of the first
    alone where another has none, or None.
    """

    def fit(ids: Int[np.ndarray, "rows columns"] | None, fill: int) -> Map | None:
        if ids is None:
            return None
        fitted = fit_label_map(ids, height=height, width=width, aspect=aspect, fill=fill)
        return torch.from_numpy(fitted.ids)

    labels = [fit(recording.label_map(index), void) for index in indices]
    objects = [fit(recording.instance_map(index), 0) for index in indices]
    found = [ids for ids in objects if ids is not None]
    if objects[0] is None:
        return labels, None
    return labels, torch.stack(found if len(found) == len(objects) else found[:1])


def look_at_video(path: Path) -> tuple[float, int]:
    """Return rate and number of frames as a video file states them: files err.

    Raises ``MediaError`` where it is none.
    """
    check_regular(path, "a video")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 0)
            rate = rate if 0 < rate <= FASTEST_RATE else DEFAULT_RATE
            seconds = (container.duration or 0) / av.time_base
            return rate, stream.frames or round(seconds * rate)
    except (OSError, av.error.FFmpegError, IndexError, ValueError) as error:
        raise MediaError("a video", got=f"{path}: {error}", fix="check it") from None


def list_pictures(folder: Path) -> tuple[Path, ...]:
    """List the pictures directly in a folder by name, 9 before 10; none where it is no folder."""
    if not folder.is_dir():
        return ()
    found = (path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    return tuple(sorted(found, key=_natural_order))


def match_maps(folder: Path, pictures: Sequence[Path]) -> dict[int, Path]:
    """Return the PNG files of a folder that are named like pictures, by index of the picture."""
    files = {path.stem: path for path in list_pictures(folder) if path.suffix.lower() == ".png"}
    return {at: files[path.stem] for at, path in enumerate(pictures) if path.stem in files}


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    # Splitting at a group yields text and digits in turn, so like is compared with like.
    parts = re.split(r"([0-9]+)", path.name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path.name


def list_runs(numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return start and end (one past the last) of the places where numbers go up by one each."""
    breaks = [place for place, pair in enumerate(pairwise(numbers), 1) if pair[1] != pair[0] + 1]
    return tuple(pairwise([0, *breaks, len(numbers)])) if numbers else ()


def missing(what: str, *, looked: Path | str, layout: str) -> MediaError:
    """Return the ``MediaError`` for a tree in which ``what`` was looked for at ``looked``."""
    fix = f"see the tree in `seg2vid prepare --help` or the docstring of recordings/{layout}.py"
    return MediaError(what, got=f"nothing at {looked}", fix=fix)
