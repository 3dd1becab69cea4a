"""Two folders of videos, generated and real, paired by name: how any model's output is evaluated.

::

    REFERENCE/            VIDEOS/
        street.mp4            street.mp4          or several futures of it:
        drive/000000.png      drive_seed0.mp4, drive_seed1.mp4 ...

A video is a file (mp4, webm, avi, gif, webp ...) or a folder of png frames. Under a protocol the
clips take the place of REFERENCE, and videos are named like them.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from seg2vid.data.recordings.recording import VIDEOS
from seg2vid.evaluation.protocol import Protocol
from seg2vid.labels.space import get_label_space
from seg2vid.media.video import read_video
from seg2vid.structures import Clip
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import digest_of

ENDINGS = (*VIDEOS, ".gif", ".webp")
_SAMPLE = re.compile(r"(?P<name>.+)_seed\d+")
GIVEN = 0.03
"""Mean difference in [0, 1] up to which a generated first frame counts as the real one, coded."""


@dataclass(frozen=True)
class VideoPairs:
    """The videos of ``reference`` that have futures in ``videos``, by name.

    Raises ``MediaError`` for folders without a pair, for videos without a reference, and for
    unequal numbers of futures.
    """

    videos: Path
    reference: Path

    def __post_init__(self) -> None:
        """Pair by name at once."""
        lost = sorted(set(self.futures) - set(self.references))
        if lost:
            what = f"a real video in {self.reference} for each of {self.videos}"
            got = f"none for {lost[0]} and {len(lost) - 1} more"
            raise MediaError(what, got=got, fix="name both alike, or remove the others")
        _check_counts(self.futures)

    @cached_property
    def references(self) -> Mapping[str, Path]:
        """The real videos by name."""
        return list_videos(self.reference)

    @cached_property
    def futures(self) -> Mapping[str, tuple[Path, ...]]:
        """The generated videos by the name of their real one."""
        return list_futures(list_videos(self.videos), self.references)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the pairs."""
        return tuple(self.futures)

    @property
    def samples(self) -> int:
        """Futures of every video."""
        return len(next(iter(self.futures.values())))

    @cached_property
    def length(self) -> int:
        """Frames of the shortest video of all, first frame included: so many are compared."""
        return min(len(read_video(path)) for _, path in self._paths)

    @property
    def _paths(self) -> list[tuple[str, Path]]:
        """All paired videos with the names of their pairs, the real one of each first."""
        return [(n, path) for n in self.names for path in (self.references[n], *self.futures[n])]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all videos on both sides: figures of other ones are not taken for theirs."""
        return _digest_of_all(self._paths)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of all videos; raises ``MediaError`` where they differ."""
        sizes = {path: read_video(path).shape[1:3] for _, path in self._paths}
        first, (height, width) = next(iter(sizes.items()))
        for path, size in sizes.items():
            if size != (height, width):
                what = f"videos of one size, {width}x{height} as {first}"
                got = f"{size[1]}x{size[0]} at {path}"
                raise MediaError(what, got=got, fix="scale them to one size")
        return height, width

    def read(self, number: int) -> Clip:
        """Read real video ``number`` as a clip, a batch of one; its labels are not known (void)."""
        pictures = _read(self.references[self.names[number]], self.length)
        void = get_label_space("cityscapes").void_id
        label_map = torch.full((1, *pictures.shape[2:]), void)
        return Clip(pictures[:1], pictures[None, 1:], label_map)

    def read_futures(self, number: int) -> Float[Tensor, "samples frame 3 height width"]:
        """Read the generated videos of number ``number``, RGB in [0, 1], first frames included."""
        paths = self.futures[self.names[number]]
        return torch.stack([_read(path, self.length) for path in paths])

    @cached_property
    def has_given_frame(self) -> bool:
        """Whether every generated video begins with the real first frame, but for coding."""
        for number, name in enumerate(self.names):
            real = _read(self.references[name], 1)
            differences = (self.read_futures(number)[:, 0] - real).abs().mean((1, 2, 3))
            if differences.max() > GIVEN:
                return False
        return True


@dataclass(frozen=True)
class VideosOfClips:
    """Generated videos of the clips of a protocol: ``NAME.mp4``, or futures ``NAME_seed0.mp4`` ...

    Raises ``MediaError`` for clips without a video and for unequal numbers of futures; videos of
    other names are not looked at.
    """

    videos: Path
    protocol: Protocol
    names: tuple[str, ...]
    """The clips that are judged."""

    def __post_init__(self) -> None:
        """Look for all of them at once."""
        lost = [name for name in self.names if name not in self.futures]
        if lost:
            what = f"a video in {self.videos} of each clip of {self.protocol.name}"
            got = f"none of {lost[0]} and {len(lost) - 1} more"
            raise MediaError(what, got=got, fix=f"name them like {lost[0]}.mp4")
        _check_counts({name: self.futures[name] for name in self.names})

    @cached_property
    def futures(self) -> Mapping[str, tuple[Path, ...]]:
        """The generated videos by the name of their clip."""
        return list_futures(list_videos(self.videos), self.names)

    @property
    def samples(self) -> int:
        """Futures of every clip."""
        return len(self.futures[self.names[0]])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all videos that are judged."""
        return _digest_of_all((name, path) for name in self.names for path in self.futures[name])

    def read_futures(self, number: int) -> Float[Tensor, "samples frame 3 height width"]:
        """Read the videos of clip ``number``, RGB in [0, 1], first frames included.

        Raises ``MediaError`` for another size than the protocol's, and for too few frames.
        """
        protocol, made = self.protocol, []
        wanted = (protocol.num_frames + 1, protocol.height, protocol.width)
        for path in self.futures[self.names[number]]:
            pictures = _read(path, wanted[0])
            count, _, height, width = pictures.shape
            if (count, height, width) != wanted:
                what = f"{wanted[0]} frames of {wanted[2]}x{wanted[1]}, the first one included"
                got = f"{count} of {width}x{height} at {path}"
                raise MediaError(what, got=got, fix="generate as many, and scale them")
            made.append(pictures)
        return torch.stack(made)


def list_futures(
    videos: Mapping[str, Path], known: Container[str] = ()
) -> Mapping[str, tuple[Path, ...]]:
    """Group videos by the name of what they are futures of; a ``known`` name is a whole one."""
    grouped: dict[str, list[Path]] = defaultdict(list)
    for name, path in videos.items():
        match = None if name in known else _SAMPLE.fullmatch(name)
        grouped[name if match is None else match["name"]].append(path)
    return {name: tuple(paths) for name, paths in sorted(grouped.items())}


def _check_counts(futures: Mapping[str, tuple[Path, ...]]) -> None:
    counts = {len(paths) for paths in futures.values()}
    if len(counts) > 1:
        what, got = "as many futures of every video", f"{min(counts)} to {max(counts)}"
        raise MediaError(what, got=got, fix="remove what is too many")


def _digest_of_all(paths: Iterable[tuple[str, Path]]) -> str:
    found = hashlib.sha256()
    for name, path in paths:
        for file in sorted(path.glob("*.png")) if path.is_dir() else [path]:
            found.update(f"{name} {file.name} {digest_of(file)}\n".encode())
    return found.hexdigest()


def _read(path: Path, length: int) -> Float[Tensor, "frame 3 height width"]:
    pixels = torch.from_numpy(read_video(path)[:length])
    return pixels.permute(0, 3, 1, 2).float() / 255


def list_videos(folder: Path) -> dict[str, Path]:
    """List the videos of a folder by name; raise ``MediaError`` where there is none."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    found = {
        path.name if path.is_dir() else path.stem: path
        for path in entries
        if path.suffix.lower() in ENDINGS or (path.is_dir() and any(path.glob("*.png")))
    }
    if not found:
        what = f"videos ({', '.join(ENDINGS)}, or folders of png) in {folder}"
        got = "none" if folder.is_dir() else "no such folder"
        raise MediaError(what, got=got, fix="check the path")
    return found
