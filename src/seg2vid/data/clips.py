"""Clips on disk → ``Clip`` carriers, and the batches of training."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Integer, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import Dataset

from seg2vid.data.toycity.clip import CLIP_ARRAYS, ToyCityConfig
from seg2vid.data.toycity.render import render_clip
from seg2vid.structures import Camera, Clip, Motion, join_batch
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import check_regular

StoredFrames = UInt8[Tensor, "all_times height width 3"]
Maps = Integer[Tensor, "_ height width"]
HELD_OUT = 20
"""One clip of so many is held out of a folder for validation."""
DAMAGES = (
    *(ArithmeticError, AttributeError, LookupError, OSError),
    *(RuntimeError, SafetensorError, TypeError, ValueError),
)
"""What reading arrays raises that are missing, or of other shapes and types."""


@runtime_checkable
class ClipSource(Protocol):
    """Anything that training can draw from: a folder, a prepared dataset, photos."""

    def __len__(self) -> int:
        """Return the number of clips."""

    def read(self, index: int, /) -> Clip:
        """Read a whole clip as a batch of one."""

    def read_still(self, index: int, time: int, /) -> Clip:
        """Read frame ``time`` alone (modulo the clip's length) as a clip without further frames."""


def clip_of(
    frames: StoredFrames, label_maps: Maps, instance_maps: Maps | None = None, **more: Any
) -> Clip:
    """Make a batch of one of pictures and maps as they are stored; ``more`` are other fields.

    Maps are those of every frame, or of the first alone: then the clip has none of later frames.
    """
    pictures = rearrange(frames, "t h w c -> 1 t c h w").float().div(255)
    labels = label_maps.long().unsqueeze(0)
    objects = None if instance_maps is None else instance_maps.long().unsqueeze(0)
    return Clip(
        pictures[:, 0],
        pictures[:, 1:],
        labels[:, 0],
        label_maps=labels[:, 1:] if labels.shape[1] > 1 else None,
        instance_map=None if objects is None else objects[:, 0],
        instance_maps=None if objects is None or objects.shape[1] == 1 else objects[:, 1:],
        **more,
    )


@dataclass(frozen=True)
class ClipFolder:
    """A folder of clips, one safetensors file each, as ``seg2vid toycity`` writes it.

    Split ``val`` is every twentieth clip, ``train`` the others. Raises ``MediaError`` where the
    folder holds no clip.
    """

    directory: Path
    split: Literal["all", "train", "val"] = "all"

    def __post_init__(self) -> None:
        if not self.files and self.split != "val":
            there, name = self.directory.exists(), quote(str(self.directory))
            source = f"make one of its videos: seg2vid prepare {name}"
            raise MediaError(
                f"a dataset, or a folder of clips (clip_*.safetensors), at {self.directory}",
                got="none" if there else "no such folder",
                fix=f"{source if there else 'make one: seg2vid prepare VIDEOS'} -o DATASET",
            )

    @cached_property
    def files(self) -> list[Path]:
        """The files of the split in ascending order of seed, listed once."""
        every = sorted(self.directory.glob("clip_*.safetensors"))
        if self.split == "all":
            return every
        is_val = self.split == "val"
        return [path for at, path in enumerate(every, 1) if (at % HELD_OUT == 0) == is_val]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int, /) -> Clip:
        """Read a whole clip as a batch of one."""
        with open_clip(self.files[index]) as file:
            arrays = {name: file.get_tensor(name) for name in CLIP_ARRAYS if name != "depth"}
            arrays["depth"] = file.get_slice("depth")[:1]
            return clip_from_arrays(arrays, rate_of(file))

    def read_still(self, index: int, time: int, /) -> Clip:
        """Read frame ``time`` alone (modulo the clip's length) as a clip without further frames."""
        with open_clip(self.files[index]) as file:
            time %= file.get_slice("frames").get_shape()[0]
            names = ("frames", "label_maps", "instance_maps")
            return clip_of(*(file.get_slice(name)[time : time + 1] for name in names))


@contextmanager
def open_clip(path: Path) -> Iterator[Any]:
    """Open the file of a toy-city clip.

    Raises ``MediaError`` where it, or what is asked of it, is damaged or of another version.
    """
    what, fix = "a toy-city clip of this version", "render it again: seg2vid toycity"
    check_regular(path, what)
    try:
        with safe_open(path, "pt") as file:
            yield file
    except DAMAGES as error:
        raise MediaError(what, got=f"{path}: {str(error)[:200]}", fix=fix) from None


def rate_of(file: Any) -> float:
    """Return the frames per second of an open clip."""
    given = (file.metadata() or {}).get("frames_per_second", 12.0)
    if not 0 < (rate := float(given)) < math.inf:
        fix = "render it again"
        raise MediaError("frames per second of a clip above 0", got=f"{given}"[:40], fix=fix)
    return rate


def clip_from_arrays(arrays: Mapping[str, Tensor], frames_per_second: float) -> Clip:
    """Turn the arrays of a ``ToyCityClip`` into a batch of one."""
    motion = Motion(
        *(arrays[name].float().unsqueeze(0) for name in ("forward_flow", "backward_flow")),
        *(arrays[f"{way}_visible"].float()[None, :, None] for way in ("forward", "backward")),
    )
    return clip_of(
        arrays["frames"],
        arrays["label_maps"],
        arrays["instance_maps"],
        motion=motion,
        ego_motion=arrays["ego_motion"].float().unsqueeze(0),
        inverse_depth=1 / arrays["depth"][:1].float(),
        camera=Camera(arrays["camera"][:1], arrays["camera"][1:3].unsqueeze(0)),
        frames_per_second=frames_per_second,
    )


def render_toycity(seed: int, config: ToyCityConfig) -> Clip:
    """Render the toy-city clip of this seed as a batch of one, without touching the disk."""
    rendered = render_clip(seed, config)
    arrays = {name: torch.from_numpy(getattr(rendered, name)) for name in CLIP_ARRAYS}
    return clip_from_arrays(arrays, rendered.frames_per_second)


def stack(clips: list[Clip]) -> Clip:
    """Join clips along the batch axis, with what all of them have: sources know different things.

    Raises ``MediaError`` for clips of different size or length.
    """
    sizes = sorted({tuple(clip.frames.shape[1:]) for clip in clips})
    if len(sizes) > 1:
        named = [f"{width}x{height} with {1 + count}" for count, _, height, width in sizes]
        fix = "render or prepare all of --data with the same --size and --frames"
        raise MediaError("clips of one size and length", got=" and ".join(named), fix=fix)
    names = [one.name for one in fields(Clip)]
    lacking: dict[str, Any] = {
        name: None for name in names if any(getattr(clip, name) is None for clip in clips)
    }
    return join_batch([replace(clip, **lacking) for clip in clips])


def mirror(clip: Clip) -> Clip:
    """Mirror a clip left to right; horizontal displacement and yaw change sign."""
    flipped = replace(clip, ego_motion=None, camera=None).map(lambda tensor: tensor.flip(-1))
    if (motion := flipped.motion) is not None:
        sign = torch.tensor([-1.0, 1.0]).view(2, 1, 1)
        flows = {name: getattr(motion, name) * sign for name in ("forward_flow", "backward_flow")}
        flipped = replace(flipped, motion=replace(motion, **flows))
    if clip.ego_motion is not None:
        flipped = replace(flipped, ego_motion=clip.ego_motion * torch.tensor([1.0, -1.0, -1.0]))
    if (camera := clip.camera) is not None:
        x, y = camera.centre.unbind(-1)
        centre = torch.stack((clip.label_map.shape[-1] - 1 - x, y), -1)
        flipped = replace(flipped, camera=replace(camera, centre=centre))
    return flipped


@dataclass(eq=False, kw_only=True)
class TrainingBatches(Dataset[Clip]):
    """Batches for steps ``start`` ... ``steps`` - 1; a batch depends on seed and step alone.

    So a run that was stopped goes on with exactly the batches it would have seen. A step reads
    ``accumulate`` batches one after another, and each of ``world`` processes its own; together they
    are one batch as a single process would have drawn it.
    """

    sources: Sequence[tuple[ClipSource, float]] = field(kw_only=False)
    """Where clips come from, and how often each is drawn from, in any unit."""
    batch_size: int
    steps: int
    start: int
    seed: int
    stills: bool
    accumulate: int = 1
    rank: int = 0
    world: int = 1

    def __getitem__(self, index: int) -> Clip:
        """Return this process's batch number ``index`` of those that are left."""
        step, part = divmod(index, self.accumulate)
        random = np.random.default_rng([self.seed, range(self.start, self.steps)[step]])
        # One source a step, for their clips may know different things. No dice where there is one
        # only, so that a second one does not change what the first gave.
        weights = np.array([weight for _, weight in self.sources])
        chances = weights / weights.sum()
        which = random.choice(len(weights), p=chances) if len(weights) > 1 else 0
        source, _ = self.sources[which]
        whole = self.batch_size * self.world * self.accumulate
        drawn = [
            (random.integers(len(source)), random.integers(1_000), random.random() < 0.5)
            for _ in range(whole)
        ]
        begin = (part * self.world + self.rank) * self.batch_size
        clips = []
        for number, time, is_mirrored in drawn[begin : begin + self.batch_size]:
            at = int(number)
            clip = source.read_still(at, int(time)) if self.stills else source.read(at)
            clips.append(mirror(clip) if is_mirrored else clip)
        return stack(clips)

    def __len__(self) -> int:
        return len(range(self.start, self.steps)) * self.accumulate
