"""The front door to all files: label maps of any kind in, videos with all that is known out.

``VideoSink`` takes a video pass by pass, so that its length never shows in memory. Beside ``s.mp4``
it writes the chosen extras as ``s_flow.mp4``, ``s_visible.mp4``, ``s_labels.mp4``,
``s_overlay.mp4``; into a folder of png it writes them as subfolders, with the exact data: label
maps as palette PNG of train ids, flow as .flo, and what it is in ``video.json``.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from seg2vid.labels.convert import colourise
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.media.drawing import flow_to_colours, overlay
from seg2vid.media.pictures import write_flow, write_label_map
from seg2vid.media.video import AllOrNothing, Frame, VideoWriter, frame_rate, video_ending
from seg2vid.structures import Carrier, Frames, LabelFrames, Labels, Latent, Motion, Pictures
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import check_place, commit_all

Extra = Literal["flow", "visible", "labels", "overlay"]
EXTRAS: tuple[str, ...] = get_args(Extra)
"""What can be written beside a video."""


@dataclass(frozen=True)
class GeneratedVideo(Carrier):
    """A generated scene with everything that is known of it, consistent by construction.

    The motion of a video longer than one pass is relative to the first frame of its pass;
    ``pass_starts`` lists the frames that passes started from (0 = the first frame).
    """

    first_frame: Pictures
    frames: Frames
    label_map: Labels
    label_maps: LabelFrames
    motion: Motion
    z: Latent
    frames_per_second: float
    label_space: str
    pass_starts: tuple[int, ...] = (0,)
    instance_map: Labels | None = None
    instance_maps: LabelFrames | None = None

    def save(self, path: str | Path, *, sample: int = 0, extras: tuple[str, ...] = ()) -> Path:
        """Write one sample as mp4, webm, gif, webp or a folder of png, by the ending of ``path``.

        ``extras`` may name ``flow``, ``visible``, ``labels`` and ``overlay``: each is written
        beside it. Older files are replaced; an older folder only if seg2vid wrote all that is in
        it. Raises ``MediaError`` for an unknown ending or a place that cannot be written; never
        leaves a partial file.
        """
        return save_video(self.sample(sample), Path(path), extras=extras)


def join_passes(passes: Sequence[GeneratedVideo]) -> GeneratedVideo:
    """Join the passes of one video along time: what ``Seg2VidPipeline.stream`` yields, in order."""

    def over_time(carriers: Sequence[Carrier], name: str) -> Tensor | None:
        values = [getattr(carrier, name) for carrier in carriers]
        return None if any(value is None for value in values) else torch.cat(values, 1)

    motions, parts = [chunk.motion for chunk in passes], dataclasses.fields(Motion)
    fields: dict[str, Any] = {part.name: over_time(motions, part.name) for part in parts}
    names = ("frames", "label_maps", "instance_maps")
    joined: dict[str, Any] = {name: over_time(passes, name) for name in names}
    return dataclasses.replace(
        passes[0],
        motion=Motion(**fields),
        pass_starts=tuple(start for chunk in passes for start in chunk.pass_starts),
        **joined,
    )


def to_pixels(
    frames: Float[Tensor, "*batch 3 height width"],
) -> UInt8[np.ndarray, "*batch height width 3"]:
    """Turn RGB in [0, 1] into 8-bit pixels, channels last; values outside are clipped."""
    pixels = (frames.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return rearrange(pixels, "... rgb h w -> ... h w rgb").cpu().numpy()


def output_paths(path: Path, extras: Sequence[str]) -> dict[str, Path]:
    """Return where frames and extras go; raise ``MediaError`` for an unknown extra or ending."""
    is_folder = video_ending(path) == ""
    for extra in extras:
        if extra not in EXTRAS:
            what = f"extras out of {', '.join(EXTRAS)}"
            raise MediaError(what, got=repr(extra), fix="choose among them")
    places = {"frames": path}
    for extra in dict.fromkeys(extras):
        beside = path.with_name(f"{path.stem}_{extra}{path.suffix}")
        places[extra] = path / extra if is_folder else beside
    return places


def check_output(path: Path, *, extras: Sequence[str], frames_per_second: float) -> None:
    """Raise ``MediaError`` for what ``VideoSink`` could not write, before any work is done."""
    frame_rate(frames_per_second)
    for place in outer_paths(path, extras):
        check_place(place, is_folder=video_ending(path) == "")


def outer_paths(path: Path, extras: Sequence[str]) -> list[Path]:
    """Return the files that are written, or the one folder; raise as ``output_paths`` does."""
    places = output_paths(path, extras)
    return [path] if video_ending(path) == "" else list(places.values())


class VideoSink(AllOrNothing):
    """Writes a generated video (sample 0 of each pass) and its extras: all outputs appear, or none.

    A context manager like ``VideoWriter``. The flow drawn is ``backward_flow``, relative to the
    first frame of its pass; the first frame is at rest and visible: all outputs are equally long.
    """

    def __init__(
        self,
        path: Path,
        *,
        extras: Sequence[str] = (),
        frames_per_second: float,
        label_space: LabelSpace | None = None,
        keep: Sequence[int] = (),
        about: Mapping[str, object] | None = None,
    ) -> None:
        """Open all outputs; ``keep`` lists frames to hold in ``kept`` for a contact sheet.

        ``label_space`` is needed for the extras ``labels`` and ``overlay``; ``about`` may tell the
        ``model`` and the ``seed``, for ``video.json``. Raises ``MediaError``.
        """
        if label_space is None and {"labels", "overlay"} & set(extras):
            what, fix = "a label space for labels and overlay", "pass label_space"
            raise MediaError(what, got="none", fix=fix)
        self.path = path
        self.label_space = label_space
        self.is_folder = video_ending(path) == ""
        self.paths = output_paths(path, extras)
        self.kept: dict[str, list[Frame]] = {name: [] for name in self.paths}
        self.count = 0
        self._about: dict[str, object] = {"model": None, "seed": None, **(about or {})}
        self._keep = frozenset(keep)
        self._flow_scale: float | None = None
        self._writers: dict[str, VideoWriter] = {}
        try:
            for name, place in self.paths.items():
                is_part = self.is_folder and name != "frames"
                if is_part:
                    # Extras of a folder lie inside its temporary folder.
                    place = self._folder() / name
                if self.is_folder and name == "labels":
                    place.mkdir()
                else:
                    self._writers[name] = VideoWriter(
                        place, frames_per_second=frames_per_second, is_part=is_part
                    )
        except BaseException:
            self.discard()
            raise

    def _folder(self, name: str = "frames") -> Path:
        return self._writers[name].replacement.temporary

    def write(self, chunk: GeneratedVideo) -> None:
        """Append one pass, and before the first pass the first frame; may raise ``MediaError``.

        It does so for colours that are not finite: then no file is left.
        """
        self._check_finite(chunk)
        if self.count == 0:
            frame = to_pixels(chunk.first_frame[0])
            white = np.full_like(frame, 255)
            pictures = {"frames": frame, "flow": white, "visible": white}
            self._write_frame(pictures, chunk.label_map[0])
            self._writers["frames"].about = self._about | {"label_space": chunk.label_space}
        if chunk.frames.shape[1] == 0:
            return
        backward_flow = chunk.motion.backward_flow[0]
        pictures = {"frames": to_pixels(chunk.frames[0])}
        if "flow" in self.paths:
            if self._flow_scale is None:
                self._flow_scale = max(float(backward_flow.norm(dim=1).max()), 1.0)
            pictures["flow"] = to_pixels(flow_to_colours(backward_flow, self._flow_scale))
        if "visible" in self.paths:
            visible = repeat(chunk.motion.backward_visible[0], "t 1 h w -> t rgb h w", rgb=3)
            pictures["visible"] = to_pixels(visible)
        for index in range(len(pictures["frames"])):
            if self.is_folder and "flow" in self.paths:
                for name in ("backward", "forward"):
                    place = self._folder("flow") / f"{self.count:06d}_{name}.flo"
                    write_flow(place, getattr(chunk.motion, f"{name}_flow")[0, index])
            one = {name: picture[index] for name, picture in pictures.items()}
            self._write_frame(one, chunk.label_maps[0, index])

    def _check_finite(self, chunk: GeneratedVideo) -> None:
        frames = chunk.frames[0]
        if self.count == 0:
            frames = torch.cat([chunk.first_frame[:1], frames])
        damaged = [not bool(frame.isfinite().all()) for frame in frames]
        if any(damaged):
            got = f"nan or inf in frame {self.count + damaged.index(True)}"
            fix = "take another model or first frame: nothing is written"
            raise MediaError(f"finite colours in {self.path}", got=got, fix=fix)

    def _write_frame(
        self, pictures: dict[str, Frame], label_map: Int[Tensor, "height width"]
    ) -> None:
        if self.label_space is not None and {"labels", "overlay"} & set(self.paths):
            ids = label_map.cpu().numpy()
            pictures["labels"] = colourise(ids, self.label_space)
            pictures["overlay"] = overlay(pictures["frames"], pictures["labels"])
            if self.is_folder and "labels" in self.paths:
                place = self._folder() / "labels" / f"{self.count:06d}.png"
                write_label_map(place, ids, self.label_space)
        for name, writer in self._writers.items():
            writer.write(pictures[name])
        if self.count in self._keep:
            for name, row in self.kept.items():
                row.append(pictures[name])
        self.count += 1

    def close(self) -> list[Path]:
        """Finish all outputs, move them to their places (or raise ``MediaError``), return these."""
        for writer in self._writers.values():
            writer.finish()
        # The folder of frames holds the folders of its extras, so it moves last.
        commit_all([writer.replacement for writer in reversed(self._writers.values())])
        return list(self.paths.values())

    def discard(self) -> None:
        """Stop, and delete what was written so far."""
        for writer in reversed(self._writers.values()):
            writer.discard()


def save_video(video: GeneratedVideo, path: Path, *, extras: tuple[str, ...] = ()) -> Path:
    """Write sample 0 of a video (its first frame, then its frames) and the extras; return ``path``.

    Raises ``MediaError`` for an unknown ending, extra or place, and ``LabelMapError`` where labels
    are wanted of a label space that does not come with the package.
    """
    space = get_label_space(video.label_space) if {"labels", "overlay"} & set(extras) else None
    rate = video.frames_per_second
    with VideoSink(path, extras=extras, frames_per_second=rate, label_space=space) as sink:
        sink.write(video)
    return path
