"""One recording → one part of a dataset: windows, label maps, flow, figures, a tar of samples."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from seg2vid.data.clips import clip_of
from seg2vid.data.prepare.cutting import Dropped, Window, Windowing, cut_windows
from seg2vid.data.prepare.settings import ClipSettings, choose_step
from seg2vid.data.prepared import webdataset
from seg2vid.data.recordings.recording import Frame, Recording, fit_maps, stack_maps
from seg2vid.data.sample import encode_clip
from seg2vid.data.teachers.teacher import (
    LabelOptions,
    Teachers,
    fill_along_flow,
    label_clip,
    measure_motion,
)
from seg2vid.labels.convert import colourise
from seg2vid.labels.fit import fit_image
from seg2vid.labels.space import LabelSpace
from seg2vid.media.drawing import pick_evenly
from seg2vid.media.pictures import write_image
from seg2vid.structures import Clip, Motion
from seg2vid.tools.errors import LabelMapError, MediaError
from seg2vid.tools.files import replacing

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
    frames = np.stack(window.frames)
    pictures = rearrange(torch.from_numpy(frames), "t h w c -> t c h w") / 255
    fit = partial(fit_maps, height=settings.height, width=settings.width, aspect=settings.aspect)
    given = fit(map(recording.label_map, window.indices), fill=teachers.space.void_id)
    objects = stack_maps(fit(map(recording.instance_map, window.indices), fill=0))
    label_maps = _complete(given, pictures, settings, teachers, label_sources, recording.labels_by)
    motion = None if teachers.flow is None else measure_motion(teachers.flow, pictures)
    return clip_of(torch.from_numpy(frames), label_maps, objects, motion=motion)


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


PREVIEWS = 4
"""Clips of each recording that the report shows."""


@dataclass
class PartFigures:
    """What is counted while a recording is prepared."""

    class_pixels: Int[np.ndarray, " class"]
    dropped: Dropped = field(default_factory=Dropped)
    unrelated: int = 0
    """Clips whose last frame shows too little of the first."""
    label_sources: Counter[str] = field(default_factory=Counter)
    """Label maps by who made them."""
    clips: list[dict[str, Any]] = field(default_factory=list)
    has_instances: bool = True
    error: str | None = None


def prepare_recording(
    recording: Recording,
    settings: ClipSettings,
    teachers: Teachers,
    folder: Path,
    *,
    rate: float,
    seen: Callable[[int], None] = lambda count: None,
) -> None:
    """Write ``NAME.tar``, ``NAME.jpg`` (a preview) and, last of all, ``NAME.json`` into a folder.

    What cannot be read becomes the part's ``error``; the clips before it are kept. ``rate`` is the
    recording's frames per second; ``seen`` is told of every frame.
    """
    step = choose_step(rate, settings)
    figures = PartFigures(np.zeros(teachers.space.num_channels, dtype=np.int64))
    previews: list[Clip] = []
    plain = {"mtime": 0.0, "encoder": False, "user": "", "group": ""}
    with (
        replacing(folder / f"{recording.name}.tar") as temporary,
        temporary.open("wb") as stream,
        webdataset().TarWriter(stream, **plain) as writer,
    ):
        # Other errors are not the recording's: they end the whole run.
        try:
            for window in _windows(recording, settings, step, figures.dropped, seen):
                sources = figures.label_sources.copy()
                clip = make_clip(recording, window, settings, teachers, figures.label_sources)
                facts = _facts(recording, window, clip.motion)
                if facts["visible"] is not None and facts["visible"] < settings.least_visible:
                    figures.unrelated += 1
                    figures.label_sources = sources
                    continue
                clip = replace(clip, frames_per_second=rate / step)
                stored = clip if settings.keep_flow else replace(clip, motion=None)
                sample = encode_clip(stored, teachers.space, facts, lossless=settings.lossless)
                # WebDataset takes for the key what comes before the first dot.
                key = f"{recording.name.replace('.', '_')}-{facts['first']:06d}"
                offset = writer.tarstream.offset
                writer.write({"__key__": key, **sample})
                size = writer.tarstream.offset - offset
                figures.clips.append({"key": key, "offset": offset, "size": size} | facts)
                _count(figures, clip)
                # Those that are shown stay spread over the recording.
                previews = [*previews, clip]
                previews = previews[::2] if len(previews) == 2 * PREVIEWS else previews
        except (MediaError, LabelMapError) as error:
            figures.error = str(error)
    if previews:
        write_image(folder / f"{recording.name}.jpg", _preview(previews, teachers.space))
    _write_part(folder / f"{recording.name}.json", recording, figures, rate, step)


def write_unreadable(
    recording: Recording, teachers: Teachers, folder: Path, *, error: str, rate: float
) -> None:
    """Write the part of a recording that gives no clips, saying why."""
    figures = PartFigures(np.zeros(teachers.space.num_channels, dtype=np.int64), error=error)
    with replacing(folder / f"{recording.name}.tar") as temporary:
        temporary.touch()
    _write_part(folder / f"{recording.name}.json", recording, figures, rate, 1)


def _windows(
    recording: Recording,
    settings: ClipSettings,
    step: int,
    dropped: Dropped,
    seen: Callable[[int], None],
) -> Iterator[Window]:
    windowing = Windowing(
        length=settings.num_frames + 1,
        step=step,
        stride=settings.stride,
        labelled=frozenset(recording.label_files),
        only_labelled=settings.windows == "labelled",
        spans=recording.spans,
    )

    def fitted() -> Iterator[Frame]:
        for frame in recording.frames():
            seen(1)
            yield fit_image(
                frame, height=settings.height, width=settings.width, aspect=settings.aspect
            )

    return cut_windows(fitted(), windowing, dropped)


def _facts(recording: Recording, window: Window, motion: Motion | None) -> dict[str, Any]:
    """Return a clip's origin and motion: what its json and the index say."""
    facts: dict[str, Any] = {"recording": recording.name, "first": window.indices[0]}
    speed = visible = None
    if motion is not None:
        # The flow spans the whole clip: pixels per frame make clips of any length comparable.
        length = motion.forward_flow[0, -1].norm(dim=0) / motion.forward_flow.shape[1]
        shown = motion.forward_visible[0, -1, 0]
        speed = round(float((length * shown).sum() / shown.sum().clamp(min=1)), 4)
        visible = round(float(shown.mean()), 4)
    return facts | {"speed": speed, "visible": visible}


def _count(figures: PartFigures, clip: Clip) -> None:
    figures.has_instances &= clip.instance_maps is not None
    for ids in (clip.label_map, clip.label_maps):
        if ids is not None:
            size = len(figures.class_pixels)
            figures.class_pixels += np.bincount(ids.numpy().ravel(), minlength=size)


def _preview(clips: list[Clip], space: LabelSpace) -> UInt8[np.ndarray, "height width 3"]:
    rows = []
    for clip in (clips[place] for place in pick_evenly(len(clips), PREVIEWS)):
        shown = ((clip.first_frame, clip.label_map), (clip.frames[:, -1], clip.label_maps[:, -1]))  # type: ignore[index]
        tiles = []
        for picture, ids in shown:
            pixels = (picture[0].permute(1, 2, 0) * 255).round().byte().numpy()
            tiles += [pixels, colourise(ids[0].numpy(), space)]
        rows.append(np.concatenate(tiles, 1))
    return np.concatenate(rows)[::2, ::2]


def _write_part(
    path: Path, recording: Recording, figures: PartFigures, rate: float, step: int
) -> None:
    """Write the part's json; it is what says that the part is complete."""
    part = {
        "name": recording.name,
        "source": recording.source,
        "licence": recording.licence,
        "frames_per_second": round(rate, 4),
        "step": step,
        "dropped": asdict(figures.dropped) | {"unrelated": figures.unrelated},
        "labels": dict(sorted((n, c) for n, c in figures.label_sources.items() if c)),
        "error": figures.error,
        "has_instances": figures.has_instances,
        "class_pixels": figures.class_pixels.tolist(),
        "clips": figures.clips,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(part, sort_keys=True))
