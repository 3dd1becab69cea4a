"""Generated videos with all that is known of them, and their files.

``VideoSink`` takes a video pass by pass, so that its length never shows in memory. Beside ``s.mp4``
it writes the chosen extras as ``s_flow.mp4`` and so on, to look at; into a folder of png it writes
them as subfolders, with the exact data. ``docs/conventions.md`` tells what each file holds.
"""

import dataclasses
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.media.annotations import Course, boxes_in, metres_of
from seg2vid.media.drawing import flow_to_colours
from seg2vid.media.extras import (
    DATA_ALONE,
    SPACED,
    Moment,
    Scales,
    check_parts,
    draw_extra,
    output_paths,
    to_pixels,
    write_extra,
)
from seg2vid.media.uncertainty import Spread, Uncertainty
from seg2vid.media.video import AllOrNothing, Frame, VideoWriter, video_ending
from seg2vid.structures import (
    Carrier,
    Frames,
    InverseDepth,
    LabelFrames,
    Labels,
    Latent,
    Look,
    Masks,
    Motion,
    Pictures,
)
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import Replacement, commit_all


@dataclass(frozen=True)
class GeneratedVideo(Carrier):
    """A generated scene with everything that is known of it, consistent by construction.

    The motion of a video longer than one pass is relative to the first frame of its pass;
    ``pass_starts`` lists the frames that passes started from (0 = the first frame). What
    ``--save`` writes is here under the names that ``docs/conventions.md`` lists.
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
    repeats: tuple[int, ...] = ()
    """Of the last frames, the way back of a loop: the numbers of those that they show again."""
    instance_map: Labels | None = None
    instance_maps: LabelFrames | None = None
    painted: Masks | None = None
    """1 where what is shown does not come from the first frame: there it is the refiner's guess."""
    first_inverse_depth: InverseDepth | None = None
    """Of the first frame, as in ``Motion``."""
    look: Look | None = None
    """Of the first frame, where it was painted."""
    seeds: tuple[int, ...] = ()
    """Of each sample."""
    model: str | None = None
    """Name or path of the model, where it was loaded."""
    model_sha256: str | None = None
    device: str | None = None
    """Where it was made: cpu, cuda ..."""
    precision: str | None = None
    """What the networks computed in."""

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

    @property
    def reference_frames(self) -> tuple[int, ...]:
        """For each frame, the number of the one that its flow, visibility and source refer to."""
        return tuple(self._course(0).references)

    @property
    def depth(self) -> Float[Tensor, "batch frame height width"] | None:
        """Metres along the camera's axis, the first frame included; 0 is unknown or sky."""
        first, later = self.first_inverse_depth, self.motion.inverse_depth
        if first is None or later is None:
            return None
        return metres_of(torch.cat((first.unsqueeze(1), later), 1))

    @property
    def poses(self) -> Float[np.ndarray, "batch frame 4 4"] | None:
        """What takes points of each frame's camera to those of the first; axes are KITTI's."""
        if self.motion.camera_path is None:
            return None
        return np.stack([self._course(sample).poses for sample in range(len(self.frames))])

    def _course(self, sample: int) -> Course:
        course, path = Course(self.pass_starts), self.motion.camera_path
        later = range(1, self.frames.shape[1] + 1 - len(self.repeats))
        for index, number in enumerate((*later, *self.repeats)):
            course.go_on(number, None if path is None else path[sample, index])
        return course

    @property
    def boxes(self) -> list[list[list[dict[str, Any]]]] | None:
        """For each sample and frame: instance, class, box (x, y, width, height) and pixels."""
        if self.instance_map is None or self.instance_maps is None:
            return None
        space = get_label_space(self.label_space)
        labels = torch.cat((self.label_map.unsqueeze(1), self.label_maps), 1)
        numbers = torch.cat((self.instance_map.unsqueeze(1), self.instance_maps), 1)
        samples = zip(labels.cpu().numpy(), numbers.cpu().numpy(), strict=True)
        return [[boxes_in(*one, space) for one in zip(*both, strict=True)] for both in samples]

    def sample(self, index: int) -> "GeneratedVideo":
        """Return sample ``index`` of the batch, as a batch of one."""
        seeds = self.seeds[index : index + 1]
        return dataclasses.replace(super().sample(index), seeds=seeds)

    def seen(
        self, *, with_first: bool
    ) -> tuple[Float[Tensor, "frame 3 height width"], Int[Tensor, "frame height width"]]:
        """Return frames and labels of sample 0, ``with_first`` those of the first frame too."""
        start, given = self.first_frame[:1], self.label_map[:1]
        kept = slice(None if with_first else 1, None)
        frames, labels = (start, self.frames[0]), (given, self.label_maps[0])
        return torch.cat(frames)[kept], torch.cat(labels)[kept]

    def uncertainty(self) -> Uncertainty:
        """Return what the samples of one label map differ in, pixel by pixel.

        Raises ``MediaError`` for fewer than two samples and for samples of several label maps.
        """
        if (self.label_map != self.label_map[:1]).any():
            what, fix = "samples of one label map for uncertainty", "give one map, several seeds"
            raise MediaError(what, got="several", fix=fix)
        spread = Spread()
        for number in range(len(self.frames)):
            spread.add(*self.sample(number).seen(with_first=True))
        return spread.uncertainty()

    def save(self, path: str | Path, *, sample: int = 0, extras: tuple[str, ...] = ()) -> Path:
        """Write one sample as mp4, webm, gif, webp or a folder of png, by the ending of ``path``.

        ``extras`` may name any of ``seg2vid.tools.files.EXTRAS``: each is written beside it,
        in a folder with the exact data. Older files are replaced; an older folder only if seg2vid
        wrote all that is in it. Raises ``MediaError`` for an unknown ending or a place that cannot
        be written, ``LabelMapError`` where labels are wanted of a label space that does not come
        with the package; never leaves a partial file.
        """
        path, rate = Path(path), self.frames_per_second
        space = get_label_space(self.label_space) if SPACED & set(extras) else None
        with VideoSink(path, extras=extras, frames_per_second=rate, label_space=space) as sink:
            sink.write(self.sample(sample))
        return path


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

        ``label_space`` is needed for the extras that show classes; ``command`` is what the user
        typed, for ``video.json``. Raises ``MediaError``.
        """
        if label_space is None and SPACED & set(extras):
            what, fix = f"a label space for {', '.join(SPACED & set(extras))}", "pass label_space"
            raise MediaError(what, got="none", fix=fix)
        self.path = path
        self.label_space = label_space
        self.is_folder = video_ending(path) == ""
        self.paths = output_paths(path, extras)
        self.count = 0
        self._about: dict[str, object] = {"command": command}
        self._keep = frozenset(keep)
        self._scales = Scales()
        self._course = Course()
        self._boxes: list[list[dict[str, Any]]] = []
        self._writers: dict[str, VideoWriter] = {}
        self._texts: dict[str, Replacement] = {}
        try:
            for name, place in self.paths.items():
                if name in ("poses", "boxes"):
                    if not self.is_folder:
                        self._texts[name] = Replacement(place)
                elif self.is_folder and name in DATA_ALONE:
                    (self._folder / name).mkdir()
                else:
                    # Extras of a folder lie inside its temporary folder.
                    is_part = self.is_folder and name != "frames"
                    self._writers[name] = VideoWriter(
                        self._folder / place.name if is_part else place,
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
        self._scales.settle(chunk.motion, chunk.first_inverse_depth)
        if self.count == 0:
            names = ("model", "model_sha256", "device", "precision", "label_space")
            self._about |= {name: getattr(chunk, name) for name in names}
            self._about["seed"] = chunk.seeds[0] if chunk.seeds else None
            self._write_frame(chunk, None)
        self._course.starts += chunk.pass_starts
        end = self.count + chunk.frames.shape[1] - len(chunk.repeats)
        path = chunk.motion.camera_path
        for index, number in enumerate((*range(self.count, end), *chunk.repeats)):
            self._course.go_on(number, None if path is None else path[0, index])
            self._write_frame(chunk, index)

    def _check(self, chunk: GeneratedVideo) -> None:
        frames = chunk.frames[0]
        if len(frames):
            numbered, marked = chunk.instance_maps is not None, chunk.painted is not None
            check_parts(list(self.paths), chunk.motion, numbered=numbered, marked=marked)
        if self.count == 0:
            frames = torch.cat([chunk.first_frame[:1], frames])
        damaged = [not bool(frame.isfinite().all()) for frame in frames]
        if any(damaged):
            got = f"nan or inf in frame {self.count + damaged.index(True)}"
            fix = "take another model or first frame: nothing is written"
            raise MediaError(f"finite colours in {self.path}", got=got, fix=fix)

    def _write_frame(self, chunk: GeneratedVideo, index: int | None) -> None:
        """Write frame ``index`` of a pass, None for the one that it starts from."""
        moment = _moment(chunk, index, self.label_space)
        for name in self.paths.keys() & {"flow", *DATA_ALONE} if self.is_folder else ():
            # The folder of an extra with pictures is its writer's, until all are moved.
            own = self._writers.get(name)
            folder = self._folder / name if own is None else own.replacement.temporary
            write_extra(name, folder / f"{self.count:06d}", moment)
        numbers, space = moment.instance_map, self.label_space
        if "boxes" in self.paths and space is not None and numbers is not None:
            self._boxes.append(boxes_in(moment.label_map, numbers, space))
        for name, writer in self._writers.items():
            if name == "control-flow":
                picture = to_pixels(flow_to_colours(self._course.flow_onward(chunk.motion, index)))
            else:
                picture = draw_extra(name, moment, self._scales)
            writer.write(picture)
            if self.count in self._keep:
                self.kept[name].append(picture)
        self.count += 1

    def close(self) -> list[Path]:
        """Finish all outputs, move them to their places (or raise ``MediaError``), return these."""
        lines = [" ".join(f"{x:.6e}" for x in pose[:3].flat) for pose in self._course.poses]
        boxes = ",\n".join(map(json.dumps, self._boxes))
        for name, text in (("poses", "\n".join(lines)), ("boxes", f"[{boxes}]")):
            if name in self.paths:
                kept = self._texts.get(name)
                place = self._folder / self.paths[name].name if kept is None else kept.temporary
                place.write_text(text + "\n", "utf-8")
        extras = [name for name in self.paths if name != "frames"]
        about = self._about | {"extras": extras, "reference_frames": self._course.references}
        self._writers["frames"].about = about
        for writer in self._writers.values():
            writer.finish()
        # The folder of frames holds the folders of its extras, so it moves last.
        moved = [writer.replacement for writer in reversed(self._writers.values())]
        commit_all([*moved, *self._texts.values()])
        return list(self.paths.values())

    def discard(self) -> None:
        """Stop, and delete what was written so far."""
        for writer in reversed(self._writers.values()):
            writer.discard()
        for text in self._texts.values():
            text.discard()


def _moment(chunk: GeneratedVideo, index: int | None, space: LabelSpace | None) -> Moment:
    """Return what is known of frame ``index`` of a pass, None for the one that it starts from."""
    if index is None:
        picture, labels, numbers = chunk.first_frame[0], chunk.label_map[0], chunk.instance_map
        depth, painted = chunk.first_inverse_depth, None
        numbers, depth = (None if one is None else one[0] for one in (numbers, depth))
    else:
        picture, labels = chunk.frames[0, index], chunk.label_maps[0, index]
        parts = (chunk.instance_maps, chunk.motion.inverse_depth, chunk.painted)
        numbers, depth, painted = (None if one is None else one[0, index] for one in parts)
    return Moment(
        pixels=to_pixels(picture),
        label_map=labels.cpu().numpy(),
        instance_map=None if numbers is None else numbers.cpu().numpy(),
        space=space,
        motion=chunk.motion,
        index=index,
        inverse_depth=depth,
        painted=None if painted is None else painted[0],
    )
