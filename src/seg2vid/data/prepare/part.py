"""One recording → one part of a dataset: windows, label maps, flow, figures, a tar of samples."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int, UInt8

from seg2vid.data.clips import clip_of
from seg2vid.data.prepare.cutting import Dropped, Window, cut_windows
from seg2vid.data.prepare.settings import ClipSettings, choose_step
from seg2vid.data.prepared import webdataset
from seg2vid.data.recordings.recording import Map, Recording, read_maps
from seg2vid.data.sample import encode_clip
from seg2vid.data.teachers.teacher import (
    Frames,
    LabelMaps,
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
from seg2vid.media.video import Frame
from seg2vid.structures import Clip, Motion
from seg2vid.tools.errors import LabelMapError, MediaError
from seg2vid.tools.files import replacing

UNKNOWN = -1
"""Stands for no label while a clip's maps are put together; void is a label that was given."""
PREVIEWS = 4
"""Clips of each recording that the report shows."""


def make_clip(
    recording: Recording, window: Window, settings: ClipSettings, teachers: Teachers
) -> tuple[Clip, Counter[str]]:
    """Label and measure one window: a batch of one with label maps for every frame.

    Also returns who made how many of the maps.
    """
    frames = np.stack(window.frames)
    pictures = rearrange(torch.from_numpy(frames), "t h w c -> t c h w") / 255
    size: dict[str, Any] = {"height": settings.height, "width": settings.width}
    size |= {"aspect": settings.aspect, "void": teachers.space.void_id}
    given, objects = read_maps(recording, window.indices, **size)
    own = sum(ids is not None for ids in given)
    sources = Counter({recording.labels_by: own})
    label_maps = given
    if own < len(given):
        others, author = _label_rest(given, pictures, settings, teachers)
        sources[author] += len(given) - own
        label_maps = [o if ids is None else ids for ids, o in zip(given, others, strict=True)]
    motion = None if teachers.flow is None else measure_motion(teachers.flow, pictures)
    stacked = torch.stack(label_maps)  # type: ignore[arg-type]
    return clip_of(torch.from_numpy(frames), stacked, objects, motion=motion), sources


def _label_rest(
    given: Sequence[Map | None], pictures: Frames, settings: ClipSettings, teachers: Teachers
) -> tuple[LabelMaps, str]:
    """Return maps for frames that have none, and who made them: a neighbour's map moved along the
    flow, the teacher's, or nothing but void.
    """
    authors = []
    label_maps = torch.full((len(given), *pictures.shape[2:]), UNKNOWN)
    if teachers.flow is not None and any(ids is not None for ids in given):
        # Two labellers in turn would make the maps flicker: one's own maps are carried on first.
        authors.append("a labelled frame of the clip, moved along the flow")
        label_maps = fill_along_flow(given, pictures, teachers.flow, UNKNOWN)
    if teachers.labels is not None:
        authors.append(f"{teachers.labels.name}{', where that was hidden' if authors else ''}")
        names = ("flip", "smooth", "adapt", "min_confidence")
        how = {name: getattr(settings, name) for name in names}
        taught, _ = label_clip(teachers.labels, pictures, teachers.quick_flow, **how)
        label_maps = torch.where(label_maps == UNKNOWN, taught, label_maps)
    label_maps = torch.where(label_maps == UNKNOWN, teachers.space.void_id, label_maps)
    return label_maps, "; ".join(authors) or "nobody: all void"


@dataclass
class PartFigures:
    """What is counted while a recording is prepared."""

    class_pixels: Int[np.ndarray, " channel"]
    dropped: Dropped = field(default_factory=Dropped)
    labels: Counter[str] = field(default_factory=Counter)
    """Label maps by who made them."""
    clips: list[dict[str, Any]] = field(default_factory=list)
    has_instances: bool = True
    error: str | None = None

    def add(self, clip: Clip, facts: dict[str, Any], sources: Mapping[str, int]) -> None:
        """Count a clip with a label map for every frame."""
        self.clips.append(facts)
        self.labels.update(sources)
        self.has_instances &= clip.instance_maps is not None
        for ids in (clip.label_map, clip.label_maps):
            if ids is not None:
                self.class_pixels += np.bincount(ids.flatten(), minlength=len(self.class_pixels))

    @classmethod
    def of(cls, space: LabelSpace) -> "PartFigures":
        """Return those of no clip yet."""
        return cls(np.zeros(space.num_channels, dtype=np.int64))

    def write(self, folder: Path, recording: Recording, *, step: int = 1) -> None:
        """Write the part's json; it is what says that the part is complete."""
        part = asdict(self) | {
            "name": recording.name,
            "source": recording.source,
            "licence": recording.licence,
            "frames_per_second": round(recording.rate, 4),
            "step": step,
            "labels": {name: count for name, count in self.labels.items() if count},
            "class_pixels": self.class_pixels.tolist(),
        }
        with replacing(folder / f"{recording.name}.json") as temporary:
            temporary.write_text(json.dumps(part, sort_keys=True))


def prepare_recording(
    recording: Recording,
    settings: ClipSettings,
    teachers: Teachers,
    folder: Path,
    seen: Callable[[], object],
) -> None:
    """Write ``NAME.tar``, ``NAME.jpg`` (a preview) and, last of all, ``NAME.json`` into a folder.

    What cannot be read becomes the part's ``error``; the clips before it are kept. ``seen`` is
    called for every frame.
    """
    step = choose_step(recording.rate, settings)
    figures = PartFigures.of(teachers.space)
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
                clip, sources = make_clip(recording, window, settings, teachers)
                facts = _measure(clip.motion)
                facts |= {"recording": recording.name, "first": window.indices[0]}
                if facts["visible"] is not None and facts["visible"] < settings.least_visible:
                    figures.dropped.unrelated += 1
                    continue
                clip = replace(clip, frames_per_second=recording.rate / step)
                stored = clip if settings.keep_flow else replace(clip, motion=None)
                sample = encode_clip(stored, teachers.space, facts, lossless=settings.lossless)
                # WebDataset takes for the key what comes before the first dot.
                key = f"{recording.name.replace('.', '_')}-{facts['first']:06d}"
                offset = writer.tarstream.offset
                writer.write({"__key__": key, **sample})
                size = writer.tarstream.offset - offset
                figures.add(clip, {"key": key, "offset": offset, "size": size} | facts, sources)
                # Thinned out as they come, they stay spread over the recording.
                previews = [*previews, clip]
                previews = previews[::2] if len(previews) == 2 * PREVIEWS else previews
        except (MediaError, LabelMapError) as error:
            figures.error = str(error)
    if previews:
        write_image(folder / f"{recording.name}.jpg", _preview(previews, teachers.space))
    figures.write(folder, recording, step=step)


def _windows(
    recording: Recording,
    settings: ClipSettings,
    step: int,
    dropped: Dropped,
    seen: Callable[[], object],
) -> Iterator[Window]:
    size: dict[str, Any] = {"height": settings.height, "width": settings.width}

    def fitted() -> Iterator[Frame]:
        for frame in recording.frames():
            seen()
            yield fit_image(frame, **size, aspect=settings.aspect)

    return cut_windows(
        fitted(),
        dropped,
        length=settings.num_frames + 1,
        step=step,
        stride=settings.stride,
        labelled=recording.label_files.keys(),
        only_labelled=settings.windows == "labelled",
        spans=recording.spans,
    )


def _measure(motion: Motion | None) -> dict[str, Any]:
    if motion is None:
        return {"speed": None, "visible": None}
    # The flow spans the whole clip: pixels per frame make clips of any length comparable.
    length = motion.forward_flow[0, -1].norm(dim=0) / motion.forward_flow.shape[1]
    shown = motion.forward_visible[0, -1, 0]
    speed = float((length * shown).sum() / shown.sum().clamp(min=1))
    return {"speed": round(speed, 4), "visible": round(float(shown.mean()), 4)}


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
