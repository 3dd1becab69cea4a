"""Tiny prepared datasets, written by the code that writes the large ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seg2vid.data.prepare.assemble import assemble_dataset, read_parts
from seg2vid.data.prepare.part import PartFigures
from seg2vid.data.prepared import webdataset
from seg2vid.data.recordings.recording import Recording
from seg2vid.data.sample import encode_clip
from seg2vid.labels.space import get_label_space
from seg2vid.structures import Clip, Motion

SPACE = get_label_space("cityscapes")
SIZE, NUM_FRAMES = 32, 2


def make_clip(seed: int, *, instances: bool = True, motion: bool = False) -> Clip:
    """A clip of three smooth pictures 32x32 with maps of every class, as 8-bit files keep them."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1 + NUM_FRAMES, 3, 3, 3, generator=random)
    video = torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 1)
    video = (video * 255).round()[None] / 255
    shape = (1, 1 + NUM_FRAMES, SIZE, SIZE)
    labels = torch.randint(SPACE.num_channels, shape, generator=random)
    objects = torch.randint(2**16, shape, generator=random) if instances else None
    return Clip(
        video[:, 0],
        video[:, 1:],
        labels[:, 0],
        label_maps=labels[:, 1:],
        instance_map=None if objects is None else objects[:, 0],
        instance_maps=None if objects is None else objects[:, 1:],
        motion=make_motion(random) if motion else None,
        frames_per_second=10.0,
    )


def make_motion(random: torch.Generator) -> Motion:
    """Flow of up to some ten pixels and visibility, of no meaning."""
    shape = (1, NUM_FRAMES, 2, SIZE, SIZE)
    flows = [20 * torch.randn(shape, generator=random) for _ in range(2)]
    masks = [(torch.rand(shape, generator=random)[:, :, :1] > 0.3).float() for _ in range(2)]
    return Motion(*flows, *masks)


def write_part(parts: Path, name: str, clips: list[Clip], *, error: str | None = None) -> None:
    """Write the part of a recording: its tar and what was counted."""
    parts.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(SPACE.num_channels, dtype=np.int64)
    figures = PartFigures(pixels, error=error)
    with (parts / f"{name}.tar").open("wb") as stream:
        writer = webdataset().TarWriter(stream, mtime=0.0, encoder=False, user="", group="")
        for number, clip in enumerate(clips):
            facts: dict[str, Any] = {"recording": name, "first": 3 * number}
            facts |= {"speed": 0.5 * number, "visible": 0.9}
            sample = encode_clip(clip, SPACE, facts, lossless=True)
            key, offset = f"{name}-{number:06d}", writer.tarstream.offset
            writer.write({"__key__": key, **sample})
            size = writer.tarstream.offset - offset
            figures.add(clip, {"key": key, "offset": offset, "size": size} | facts, {})
        writer.close()
    figures.write(parts, Recording(name, video=Path(f"{name}.mp4"), frames_per_second=10.0))


def write_dataset(
    folder: Path,
    recordings: Mapping[str, list[Clip]],
    splits: Mapping[str, str],
    *,
    shard_bytes: int = 1_000_000,
) -> dict[str, Any]:
    """Write a whole dataset; return its index."""
    for name, clips in recordings.items():
        write_part(folder / "parts", name, clips)
    return assemble(folder, splits, shard_bytes=shard_bytes)


def assemble(folder: Path, splits: Mapping[str, str], *, shard_bytes: int) -> dict[str, Any]:
    """Make a dataset of the parts that lie there."""
    return assemble_dataset(
        folder,
        read_parts(folder / "parts", list(splits)),
        splits,
        {"label_space": SPACE.to_dict(), "version": "test", "clip": {"num_frames": NUM_FRAMES}},
        shard_bytes=shard_bytes,
    )
