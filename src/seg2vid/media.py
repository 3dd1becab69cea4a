"""The front door to all files: label maps of any kind in, videos with all that is known out.

``VideoSink`` takes a video pass by pass, so that its length never shows in memory. Beside ``s.mp4``
it writes the chosen extras as ``s_flow.mp4``, ``s_visible.mp4``, ``s_labels.mp4``,
``s_overlay.mp4``; into a folder of png it writes them as subfolders, with the exact data:
label maps as palette PNG of train ids, flow as .flo.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from seg2vid.drawing import contact_sheet, flow_to_colours, overlay, pick_evenly
from seg2vid.errors import LabelMapError, MediaError, expected
from seg2vid.files import check_place, commit_all
from seg2vid.label_doctor import Diagnosis, Encoding, Picture, diagnose
from seg2vid.labels import LabelSpace, colourise, get_label_space
from seg2vid.pictures import (
    EIGHT_BIT_MODES,
    open_picture,
    read_flow,
    read_image,
    write_flow,
    write_image,
    write_label_map,
)
from seg2vid.structures import GeneratedVideo
from seg2vid.video import VideoWriter, frame_rate, read_video, video_ending

__all__ = [
    "EXTRAS",
    "Diagnosis",
    "Encoding",
    "LabelMapFile",
    "Picture",
    "VideoSink",
    "VideoWriter",
    "check_output",
    "contact_sheet",
    "diagnose",
    "flow_to_colours",
    "overlay",
    "pick_evenly",
    "read_flow",
    "read_image",
    "read_instance_map",
    "read_label_map",
    "read_picture",
    "read_video",
    "save_video",
    "to_pixels",
    "write_flow",
    "write_image",
    "write_label_map",
]

Extra = Literal["flow", "visible", "labels", "overlay"]
EXTRAS: tuple[str, ...] = get_args(Extra)
"""What can be written beside a video."""

_SIXTEEN_BIT_MODES = {"I;16", "I;16B", "I;16L", "I"}


def to_pixels(
    frames: Float[Tensor, "*batch 3 height width"],
) -> UInt8[np.ndarray, "*batch height width 3"]:
    """Turn RGB in [0, 1] into 8-bit pixels, channels last; values outside are clipped."""
    pixels = (frames.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return rearrange(pixels, "... rgb h w -> ... h w rgb").cpu().numpy()


def output_paths(path: Path, extras: Sequence[str]) -> dict[str, Path]:
    """Return where the frames and each extra go.

    Raises ``MediaError`` for an unknown extra or ending.
    """
    is_folder = video_ending(path) == ""
    for extra in extras:
        if extra not in EXTRAS:
            what = f"extras out of {', '.join(EXTRAS)}"
            raise MediaError(expected(what, got=repr(extra), fix="choose among them"))
    places = {"frames": path}
    for extra in dict.fromkeys(extras):
        beside = path.with_name(f"{path.stem}_{extra}{path.suffix}")
        places[extra] = path / extra if is_folder else beside
    return places


def check_output(path: Path, *, extras: Sequence[str], frames_per_second: float) -> None:
    """Raise ``MediaError`` for what ``VideoSink`` could not write, before any work is done."""
    frame_rate(frames_per_second)
    is_folder = video_ending(path) == ""
    places = output_paths(path, extras)
    for place in [path] if is_folder else places.values():
        check_place(place, is_folder=is_folder)


def read_picture(path: Path) -> Picture:
    """Read the pixels of a label map file as they are stored, with palette.

    Raises ``MediaError`` if that fails.
    """
    image = open_picture(path, "a label map picture")
    if image.mode not in EIGHT_BIT_MODES | _SIXTEEN_BIT_MODES or image.mode == "CMYK":
        got = f"{path} with pixels of mode {image.mode}"
        raise MediaError(
            expected("whole ids or RGB colours", got=got, fix="export it as 8-bit PNG")
        )
    palette = None
    if image.mode == "P" and image.palette is not None:
        entries = image.palette.getdata()[1] if image.palette.rawmode else image.palette.palette
        width = 4 if image.palette.mode == "RGBA" else 3
        palette = np.frombuffer(bytes(entries), np.uint8).reshape(-1, width)[:, :3]
    pixels = np.asarray(image.convert("L") if image.mode == "LA" else image)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    is_jpeg = image.format in {"JPEG", "MPO"}
    return Picture(pixels, image.mode, palette, str(path), is_jpeg)


@dataclass(frozen=True)
class LabelMapFile:
    """A label map read from a file."""

    ids: Int[np.ndarray, "height width"]
    """Ids of the label space, void = number of classes."""
    diagnosis: Diagnosis


def read_label_map(path: Path, *, space: LabelSpace, encoding: Encoding = "auto") -> LabelMapFile:
    """Read a label map of any kind the doctor recognises; ``encoding`` forces a reading.

    Raises ``MediaError`` for a file that is no picture, ``LabelMapError`` for one that is no
    label map.
    """
    diagnosis = diagnose(read_picture(path), space=space, encoding=encoding)
    if diagnosis.ids is None:
        raise LabelMapError(f"{path}: {diagnosis.problems[0]}")
    return LabelMapFile(diagnosis.ids, diagnosis)


def read_instance_map(path: Path) -> Int[np.ndarray, "height width"]:
    """Read the object number of every pixel, 0 = no object: Cityscapes instance ids or own numbers.

    In Cityscapes files plain class ids (below 1000) are no objects; elsewhere 0 and 255 are none.
    Raises ``MediaError`` for a file with more than one channel.
    """
    picture = read_picture(path)
    if picture.pixels.ndim != 2:
        what, got = "one channel of object numbers", f"{path} with mode {picture.mode}"
        raise MediaError(expected(what, got=got, fix="export it as 8-bit or 16-bit grey PNG"))
    numbers = picture.pixels.astype(np.int64)
    if numbers.max() >= 1000:
        return np.where(numbers >= 1000, numbers, 0)
    return np.where(numbers == 255, 0, numbers)


class VideoSink:
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
    ) -> None:
        """Open all outputs; ``keep`` lists frames to hold in ``kept`` for a contact sheet.

        ``label_space`` is needed for the extras ``labels`` and ``overlay``. Raises ``MediaError``.
        """
        if label_space is None and {"labels", "overlay"} & set(extras):
            what, fix = "a label space for labels and overlay", "pass label_space"
            raise MediaError(expected(what, got="none", fix=fix))
        self.path = path
        self.label_space = label_space
        self.is_folder = video_ending(path) == ""
        self.paths = output_paths(path, extras)
        self.kept: dict[str, list[UInt8[np.ndarray, "height width 3"]]] = {
            name: [] for name in self.paths
        }
        self.count = 0
        self._keep = frozenset(keep)
        self._flow_scale: float | None = None
        self._writers: dict[str, VideoWriter] = {}
        try:
            self._open(frames_per_second)
        except BaseException:
            self.discard()
            raise

    def _open(self, frames_per_second: float) -> None:
        """Open a writer for the frames and each extra.

        Those of a folder lie inside its temporary folder.
        """
        for name, place in self.paths.items():
            if self.is_folder and name != "frames":
                place = self._folder() / name
            if self.is_folder and name == "labels":
                place.mkdir()
            else:
                self._writers[name] = VideoWriter(place, frames_per_second=frames_per_second)

    def _folder(self, name: str = "frames") -> Path:
        return self._writers[name].replacement.temporary

    def write(self, chunk: GeneratedVideo) -> None:
        """Append one pass: its frames, and before the first pass the first frame.

        Raises ``MediaError``.
        """
        if self.count == 0:
            self._write_first(chunk)
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
                self._write_flow_data("backward", chunk.motion.backward_flow[0, index])
                self._write_flow_data("forward", chunk.motion.forward_flow[0, index])
            one = {name: picture[index] for name, picture in pictures.items()}
            self._write_frame(one, chunk.label_maps[0, index])

    def _write_first(self, chunk: GeneratedVideo) -> None:
        frame = to_pixels(chunk.first_frame[0])
        white = np.full_like(frame, 255)
        pictures = {"frames": frame, "flow": white, "visible": white}
        self._write_frame(pictures, chunk.label_map[0])

    def _write_frame(
        self,
        pictures: dict[str, UInt8[np.ndarray, "height width 3"]],
        label_map: Int[Tensor, "height width"],
    ) -> None:
        """Write one frame to every output, and hold it where the contact sheet wants it."""
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

    def _write_flow_data(self, name: str, flow: Float[Tensor, "2 height width"]) -> None:
        write_flow(self._folder("flow") / f"{self.count:06d}_{name}.flo", flow)

    def close(self) -> list[Path]:
        """Finish all outputs, move them to their places and return these.

        Raises ``MediaError`` if that fails.
        """
        for writer in self._writers.values():
            writer.finish()
        # The folder of frames holds the folders of its extras, so it moves last.
        commit_all([writer.replacement for writer in reversed(self._writers.values())])
        return list(self.paths.values())

    def discard(self) -> None:
        """Stop, and delete what was written so far."""
        for writer in reversed(self._writers.values()):
            writer.discard()

    def __enter__(self) -> "VideoSink":
        """Return the sink."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Move all outputs to their places, or delete them after an error."""
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()


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
