"""The front door to all files: label maps of any kind in, videos with all that is known out.

``VideoSink`` takes a video pass by pass, so that its length never shows in memory. Beside ``s.mp4``
it writes the chosen extras as ``s_flow.mp4`` and so on, to look at; into a folder of png it writes
them as subfolders, with the exact data. ``docs/conventions.md`` tells what each file holds.
"""

import dataclasses
from base64 import b64encode
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from seg2vid.labels.convert import colourise
from seg2vid.labels.space import Ids, LabelSpace, get_label_space
from seg2vid.media.drawing import colour_numbers, flow_to_colours, overlay
from seg2vid.media.pictures import write_flow, write_label_map, write_sixteen_bits
from seg2vid.media.video import AllOrNothing, Frame, VideoWriter, frame_rate, video_ending
from seg2vid.structures import Carrier, Frames, LabelFrames, Labels, Latent, Look, Motion, Pictures
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import EXTRAS, POSES, Replacement, check_place, commit_all

PARTS = {"depth": "inverse_depth", "source": "source", "poses": "camera_path"}
"""The parts of a scene's motion by the extras that show them."""
NEEDS = {"instances", *PARTS}
"""Extras that not every video has."""
DEPTH_UNITS = 256
"""Of depth files in a metre, as in KITTI's; 0 is unknown or sky, 65535 is 256 m or more."""
DATA_ALONE = ("labels", "instances", "depth", "source")
"""Extras whose data in a folder are what there is to see: no picture is drawn of them."""
BRIGHT = 5.0
"""Metres at which depth is drawn white; four times as far it is half as bright."""


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
    look: Look | None = None
    """Of the first frame, where it was painted."""
    seeds: tuple[int, ...] = ()
    """Of each sample."""
    model: str | None = None
    """Name or path of the model, where it was loaded."""
    model_sha256: str | None = None

    def __repr__(self) -> str:
        count, frames, _, height, width = self.frames.shape
        what = f"{count} x {frames + 1} frames, {width}x{height} at {self.frames_per_second:g} fps"
        return f"GeneratedVideo({what}, {self.label_space}, model {self.model}, seeds {self.seeds})"

    def _repr_html_(self) -> str:
        """Play every sample in a notebook."""
        players = []
        with TemporaryDirectory() as folder:
            for sample in range(len(self.frames)):
                content = self.save(Path(folder) / "s.mp4", sample=sample).read_bytes()
                source = f"data:video/mp4;base64,{b64encode(content).decode()}"
                players.append(f'<video controls autoplay loop muted src="{source}"></video>')
        return "\n".join(players)

    def sample(self, index: int) -> "GeneratedVideo":
        """Return sample ``index`` of the batch, as a batch of one."""
        seeds = self.seeds[index : index + 1]
        return dataclasses.replace(super().sample(index), seeds=seeds)

    def save(self, path: str | Path, *, sample: int = 0, extras: tuple[str, ...] = ()) -> Path:
        """Write one sample as mp4, webm, gif, webp or a folder of png, by the ending of ``path``.

        ``extras`` may name any of ``seg2vid.media.generated.EXTRAS``: each is written beside it,
        in a folder with the exact data. Older files are replaced; an older folder only if seg2vid
        wrote all that is in it. Raises ``MediaError`` for an unknown ending or a place that cannot
        be written, ``LabelMapError`` where labels are wanted of a label space that does not come
        with the package; never leaves a partial file.
        """
        path, rate = Path(path), self.frames_per_second
        space = get_label_space(self.label_space) if {"labels", "overlay"} & set(extras) else None
        with VideoSink(path, extras=extras, frames_per_second=rate, label_space=space) as sink:
            sink.write(self.sample(sample))
        return path


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


def show_progress(
    passes: Iterable[GeneratedVideo], num_frames: int, is_shown: bool | None
) -> Iterator[GeneratedVideo]:
    """Pass the passes of a video of ``num_frames`` frames on, with a bar; None: on a terminal."""
    disable = None if is_shown is None else not is_shown
    with tqdm(total=num_frames, unit="frame", leave=False, disable=disable) as bar:
        for chunk in passes:
            yield chunk
            bar.update(chunk.frames.shape[1] + (bar.n == 0))


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
    if "source" in extras and not is_folder:
        what, fix = "a folder for source, which is no picture", "leave the ending out"
        raise MediaError(what, got=repr(path.name), fix=fix)
    places = {"frames": path}
    for extra in dict.fromkeys(extras):
        ending = POSES.removeprefix(extra) if extra == "poses" else "" if is_folder else path.suffix
        name = f"{extra}{ending}"
        places[extra] = path / name if is_folder else path.with_name(f"{path.stem}_{name}")
    return places


def check_output(path: Path, *, extras: Sequence[str], frames_per_second: float) -> None:
    """Raise ``MediaError`` for what ``VideoSink`` could not write, before any work is done."""
    frame_rate(frames_per_second, video_ending(path))
    for place in outer_paths(path, extras):
        check_place(place, is_folder=video_ending(path) == "")


def outer_paths(path: Path, extras: Sequence[str]) -> list[Path]:
    """Return the files that are written, or the one folder; raise as ``output_paths`` does."""
    places = output_paths(path, extras)
    return [path] if video_ending(path) == "" else list(places.values())


class VideoSink(AllOrNothing):
    """Writes a generated video (sample 0 of each pass) and its extras: all outputs appear, or none.

    A context manager like ``VideoWriter``. Flow and visibility are relative to the first frame of
    their pass, which ``video.json`` names for each frame; the first frame of all is at rest and
    visible: all outputs are equally long.
    """

    def __init__(
        self,
        path: Path,
        *,
        extras: Sequence[str] = (),
        frames_per_second: float,
        label_space: LabelSpace | None = None,
        keep: Sequence[int] = (),
        command: Sequence[str] | None = None,
    ) -> None:
        """Open all outputs; ``keep`` lists frames to hold in ``kept`` for a contact sheet.

        ``label_space`` is needed for the extras ``labels`` and ``overlay``; ``command`` is what the
        user typed, for ``video.json``. Raises ``MediaError``.
        """
        if label_space is None and {"labels", "overlay"} & set(extras):
            what, fix = "a label space for labels and overlay", "pass label_space"
            raise MediaError(what, got="none", fix=fix)
        self.path = path
        self.label_space = label_space
        self.is_folder = video_ending(path) == ""
        self.paths = output_paths(path, extras)
        self.count = 0
        self._about: dict[str, object] = {"command": command}
        self._keep = frozenset(keep)
        self._flow_scale: float | None = None
        self._starts: list[int] = []
        self._references = [0]
        self._poses = [np.eye(4)]
        self._writers: dict[str, VideoWriter] = {}
        self._text: Replacement | None = None
        try:
            for name, place in self.paths.items():
                if name == "poses":
                    self._text = None if self.is_folder else Replacement(place)
                elif self.is_folder and name in DATA_ALONE:
                    (self._folder / name).mkdir()
                else:
                    # Extras of a folder lie inside its temporary folder.
                    is_part = self.is_folder and name != "frames"
                    self._writers[name] = VideoWriter(
                        self._folder / name if is_part else place,
                        frames_per_second=frames_per_second,
                        is_part=is_part,
                    )
        except BaseException:
            self.discard()
            raise
        self.kept: dict[str, list[Frame]] = {name: [] for name in self._writers}

    @property
    def _folder(self) -> Path:
        return self._writers["frames"].replacement.temporary

    def write(self, chunk: GeneratedVideo) -> None:
        """Append one pass, and before the first pass the first frame; may raise ``MediaError``.

        It does so for colours that are not finite, and for extras that the video does not have:
        then no file is left.
        """
        self._check(chunk)
        if self.count == 0:
            self._about |= {
                "model": chunk.model,
                "model_sha256": chunk.model_sha256,
                "seed": chunk.seeds[0] if chunk.seeds else None,
                "label_space": chunk.label_space,
            }
            self._write_frame(chunk, None)
        if self._flow_scale is None and chunk.frames.shape[1]:
            largest = chunk.motion.backward_flow[0].norm(dim=1).max()
            self._flow_scale = max(float(largest), 1.0)
        self._starts += chunk.pass_starts
        for index in range(chunk.frames.shape[1]):
            reference = self._starts[bisect_left(self._starts, self.count) - 1]
            self._references.append(reference)
            if (path := chunk.motion.camera_path) is not None:
                pose = camera_pose(*path[0, index].tolist())
                self._poses.append(self._poses[reference] @ pose)
            self._write_frame(chunk, index)

    def _check(self, chunk: GeneratedVideo) -> None:
        for extra in self.paths.keys() & NEEDS if chunk.frames.shape[1] else ():
            if extra == "instances" and chunk.instance_maps is None:
                what, fix = "an instance map to move along, for instances", "give one"
                raise MediaError(what, got="none", fix=f"{fix}, or leave the extra out")
            if extra in PARTS and getattr(chunk.motion, PARTS[extra]) is None:
                what, fix = f"a model whose motion is a scene's, for {extra}", "take another"
                raise MediaError(what, got="one of free flow", fix=f"{fix}, or leave it out")
        frames = chunk.frames[0]
        if self.count == 0:
            frames = torch.cat([chunk.first_frame[:1], frames])
        damaged = [not bool(frame.isfinite().all()) for frame in frames]
        if any(damaged):
            got = f"nan or inf in frame {self.count + damaged.index(True)}"
            fix = "take another model or first frame: nothing is written"
            raise MediaError(f"finite colours in {self.path}", got=got, fix=fix)

    def _write_frame(self, chunk: GeneratedVideo, index: int | None) -> None:
        """Write frame ``index`` of a pass, None for the one that it starts from."""
        labels, numbers = chunk.label_map[0], chunk.instance_map
        numbers = None if numbers is None else numbers[0]
        picture = chunk.first_frame[0]
        if index is not None:
            labels, picture = chunk.label_maps[0, index], chunk.frames[0, index]
            numbers = None if chunk.instance_maps is None else chunk.instance_maps[0, index]
        ids = labels.cpu().numpy()
        if self.is_folder:
            for name in self.paths.keys() & {"flow", *DATA_ALONE}:
                self._write_data(name, chunk.motion, index, ids, numbers)
        pictures = {"frames": to_pixels(picture)}
        for name, writer in self._writers.items():
            if name in ("labels", "overlay") and self.label_space is not None:
                pictures[name] = colourise(ids, self.label_space)
                if name == "overlay":
                    pictures[name] = overlay(pictures["frames"], pictures[name])
            elif name == "instances" and numbers is not None:
                pictures[name] = colour_numbers(numbers.cpu().numpy())
            elif name != "frames":
                pictures[name] = self._draw(name, chunk.motion, index, like=pictures["frames"])
            writer.write(pictures[name])
        if self.count in self._keep:
            for name, row in self.kept.items():
                row.append(pictures[name])
        self.count += 1

    def _draw(self, name: str, motion: Motion, index: int | None, *, like: Frame) -> Frame:
        if index is None:
            return np.full_like(like, 0 if name in NEEDS else 255)
        if name == "flow":
            return to_pixels(flow_to_colours(motion.backward_flow[0, index], self._flow_scale))
        if name == "depth" and motion.inverse_depth is not None:
            plane = (motion.inverse_depth[0, index] * BRIGHT).sqrt().unsqueeze(0)
        elif name == "forward_visible":
            plane = motion.forward_visible[0, index]
        else:
            plane = motion.backward_visible[0, index]
        return to_pixels(plane.expand(3, -1, -1))

    def _write_data(
        self, name: str, motion: Motion, index: int | None, ids: Ids, numbers: Tensor | None
    ) -> None:
        """Write the exact data of one frame into the folder; of the first one only the maps."""
        # The folder of an extra with pictures is its writer's, until all are moved.
        writer = self._writers.get(name)
        folder = self._folder / name if writer is None else writer.replacement.temporary
        stem = folder / f"{self.count:06d}"
        if name == "labels" and self.label_space is not None:
            write_label_map(stem.with_suffix(".png"), ids, self.label_space)
        elif name == "instances" and numbers is not None:
            write_sixteen_bits(stem.with_suffix(".png"), numbers.cpu().numpy())
        elif index is None:
            return
        elif name == "flow":
            for way in ("backward", "forward"):
                flow = getattr(motion, f"{way}_flow")[0, index]
                write_flow(stem.with_name(f"{stem.name}_{way}.flo"), flow)
        elif name == "depth" and motion.inverse_depth is not None:
            inverse = motion.inverse_depth[0, index].double().cpu()
            units = (DEPTH_UNITS / inverse.clamp(min=1e-9)).round().clamp(1, 65535)
            write_sixteen_bits(stem.with_suffix(".png"), units.where(inverse > 0, 0).int().numpy())
        elif motion.source is not None:
            np.save(stem.with_suffix(".npy"), motion.source[0, index].int().cpu().numpy())

    def close(self) -> list[Path]:
        """Finish all outputs, move them to their places (or raise ``MediaError``), return these."""
        if "poses" in self.paths:
            lines = (" ".join(f"{x:.6e}" for x in pose[:3].flat) for pose in self._poses)
            place = self._folder / POSES if self._text is None else self._text.temporary
            place.write_text("\n".join(lines) + "\n", "utf-8")
        extras = [name for name in self.paths if name != "frames"]
        about = self._about | {"extras": extras, "reference_frames": self._references}
        self._writers["frames"].about = about
        for writer in self._writers.values():
            writer.finish()
        # The folder of frames holds the folders of its extras, so it moves last.
        moved = [writer.replacement for writer in reversed(self._writers.values())]
        commit_all([*moved, *([] if self._text is None else [self._text])])
        return list(self.paths.values())

    def discard(self) -> None:
        """Stop, and delete what was written so far."""
        for writer in reversed(self._writers.values()):
            writer.discard()
        if self._text is not None:
            self._text.discard()


def camera_pose(
    forward: float, rightward: float, yaw: float, pitch: float
) -> Float[np.ndarray, "4 4"]:
    """Return the pose of a camera on its path: its points to those of the first camera.

    Axes are KITTI's, x right, y down, z forward. The camera turns right by ``yaw`` radians, then
    looks up by ``pitch``.
    """
    (sine, up), (cosine, level) = np.sin((yaw, pitch)), np.cos((yaw, pitch))
    turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    look = np.array([[1, 0, 0], [0, level, -up], [0, up, level]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn @ look, (rightward, 0, forward)
    return pose
