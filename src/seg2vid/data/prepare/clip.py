"""A window of frames → a clip with a label map for every frame, and its motion."""

from collections import Counter

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.data.prepare.cutting import Window
from seg2vid.data.prepare.settings import ClipSettings
from seg2vid.data.recordings.recording import Recording
from seg2vid.data.teachers.teacher import (
    LabelOptions,
    Teachers,
    fill_along_flow,
    label_clip,
    measure_motion,
)
from seg2vid.labels.fit import fit_label_map
from seg2vid.labels.space import LabelSpace
from seg2vid.structures import Clip

UNKNOWN = -1
"""Stands for no label while a clip's maps are put together; void is a label that was given."""


def make_clip(
    recording: Recording,
    window: Window,
    settings: ClipSettings,
    teachers: Teachers,
    label_sources: Counter[str],
) -> Clip:
    """Label and measure one window: a batch of one with label maps for every frame.

    Who made how many of the maps is counted in ``label_sources``.
    """
    pictures = rearrange(torch.from_numpy(np.stack(window.frames)), "t h w c -> t c h w") / 255
    given = [_own_map(recording, index, settings, teachers.space) for index in window.indices]
    label_maps = _complete(given, pictures, settings, teachers, label_sources, recording.labels_by)
    instances = [_own_objects(recording, index, settings) for index in window.indices]
    has_instances = all(numbers is not None for numbers in instances)
    objects = torch.stack(instances).unsqueeze(0) if has_instances else None  # type: ignore[arg-type]
    motion = None if teachers.flow is None else measure_motion(teachers.flow, pictures)
    return Clip(
        pictures[:1],
        pictures[1:].unsqueeze(0),
        label_maps[:1],
        label_maps=label_maps[1:].unsqueeze(0),
        instance_map=None if objects is None else objects[:, 0],
        instance_maps=None if objects is None else objects[:, 1:],
        motion=motion,
    )


def _own_map(
    recording: Recording, index: int, settings: ClipSettings, space: LabelSpace
) -> Int[Tensor, "height width"] | None:
    """Read the label map that the dataset has of a frame, at the size of the clip."""
    ids = recording.label_map(index)
    return None if ids is None else _fit(ids, settings, space.void_id)


def _own_objects(
    recording: Recording, index: int, settings: ClipSettings
) -> Int[Tensor, "height width"] | None:
    """Read the instance map that the dataset has of a frame, at the size of the clip."""
    numbers = recording.instance_map(index)
    return None if numbers is None else _fit(numbers, settings, 0)


def _fit(
    ids: Int[np.ndarray, "source_height source_width"], settings: ClipSettings, fill: int
) -> Int[Tensor, "height width"]:
    """Crop or pad and scale a map like the frames."""
    fitted = fit_label_map(
        ids, height=settings.height, width=settings.width, aspect=settings.aspect, fill=fill
    )
    return torch.from_numpy(fitted.ids).long()


def _complete(
    given: list[Int[Tensor, "height width"] | None],
    pictures: Float[Tensor, "time 3 height width"],
    settings: ClipSettings,
    teachers: Teachers,
    label_sources: Counter[str],
    labels_by: str,
) -> Int[Tensor, "time height width"]:
    """Give every frame a label map: its own, a neighbour's moved along the flow, the teacher's, or
    nothing but void.
    """
    own = sum(ids is not None for ids in given)
    label_sources[labels_by] += own
    lacking, void = len(given) - own, teachers.space.void_id
    if lacking == 0:
        return torch.stack(given)  # type: ignore[arg-type]
    sources = []
    label_maps = torch.full((len(given), *pictures.shape[2:]), UNKNOWN)
    if own and teachers.flow is not None:
        # Two labellers in turn would make the maps flicker: one's own maps are carried on first.
        sources.append("a labelled frame of the clip, moved along the flow")
        label_maps = fill_along_flow(given, pictures, teachers.flow, UNKNOWN)
    if teachers.labels is not None:
        sources.append(f"{teachers.labels.name}{', where that was hidden' if sources else ''}")
        how = (settings.flip, settings.smooth, settings.adapt, settings.min_confidence)
        taught = label_clip(
            teachers.labels, pictures, LabelOptions(*how), teachers.quick_flow
        ).label_maps
        label_maps = torch.where(label_maps == UNKNOWN, taught, label_maps)
    label_sources["; ".join(sources) or "nobody: all void"] += lacking
    label_maps = torch.where(label_maps == UNKNOWN, void, label_maps)
    pairs = zip(given, label_maps, strict=True)
    return torch.stack([other if ids is None else ids for ids, other in pairs])


def make_clip_of_noise(settings: ClipSettings, teachers: Teachers) -> Clip:
    """Label and measure a clip of random pixels: what it costs, without any file."""
    shape = (settings.num_frames + 1, settings.height, settings.width, 3)
    frames = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    window = Window(0, list(range(len(frames))), list(frames))
    return make_clip(Recording("noise"), window, settings, teachers, Counter())
