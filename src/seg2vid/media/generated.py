"""Generated videos with all that is known of them, and their files.

``VideoSink`` takes a video pass by pass, so that its length never shows in memory. Beside ``s.mp4``
it writes the chosen extras as ``s_flow.mp4`` and so on, to look at; into a folder of png it writes
them as subfolders, with the exact data. ``docs/conventions.md`` tells what each file holds.
"""

import dataclasses
import json
from base64 import b64encode
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.labels.convert import colourise
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.media.annotations import (
    ade20k_colours,
    boxes_in,
    camera_pose,
    flow_between,
    metres_of,
)
from seg2vid.media.drawing import colour_numbers, flow_to_colours, overlay
from seg2vid.media.extras import (
    DATA_ALONE,
    PARTS,
    SPACED,
    Moment,
    Scales,
    draw_extra,
    output_paths,
    to_pixels,
    write_extra,
)
from seg2vid.media.pictures import write_label_map, write_sixteen_bits
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
        numbers = range(self.frames.shape[1] + 1 - len(self.repeats))
        return tuple(reference_of(n, self.pass_starts) for n in (*numbers, *self.repeats))

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
        samples, count = self.frames.shape[:2]
        poses = np.tile(np.eye(4), (samples, count + 1, 1, 1))
        for sample, path in enumerate(self.motion.camera_path.tolist()):
            for frame, reference in enumerate(self.reference_frames[1:], 1):
                poses[sample, frame] = poses[sample, reference] @ camera_pose(*path[frame - 1])
        return poses

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

    def uncertainty(self) -> Uncertainty:
        """Return what the samples of one label map differ in, pixel by pixel.

        Raises ``MediaError`` for fewer than two samples and for samples of several label maps.
        """
        if (self.label_map != self.label_map[:1]).any():
            what, fix = "samples of one label map for uncertainty", "give one map, several seeds"
            raise MediaError(what, got="several", fix=fix)
        spread = Spread()
        for number in range(len(self.frames)):
            spread.add(*seen_in(self.sample(number), with_first=True))
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


def seen_in(
    chunk: GeneratedVideo, *, with_first: bool
) -> tuple[Float[Tensor, "frame 3 height width"], Int[Tensor, "frame height width"]]:
    """Return frames and labels of sample 0 of a pass, those of the first frame too if wanted."""
    frames, labels = chunk.frames[0], chunk.label_maps[0]
    if not with_first:
        return frames, labels
    return torch.cat((chunk.first_frame[:1], frames)), torch.cat((chunk.label_map[:1], labels))


def reference_of(number: int, starts: Sequence[int]) -> int:
    """Return the frame that frame ``number`` is read from, where passes start from ``starts``."""
    return starts[bisect_left(starts, number) - 1] if number else 0


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
        self._starts: list[int] = []
        self._references = [0]
        self._shown = [0]
        self._poses = [np.eye(4)]
        self._boxes: list[list[dict[str, Any]]] = []
        self._before: Motion | None = None
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
        if self.count == 0:
            self._about |= {
                "model": chunk.model,
                "model_sha256": chunk.model_sha256,
                "device": chunk.device,
                "precision": chunk.precision,
                "seed": chunk.seeds[0] if chunk.seeds else None,
                "label_space": chunk.label_space,
            }
            if (planes := chunk.motion.inverse_depth) is not None and planes.numel():
                known = planes[0].flatten()
                if chunk.first_inverse_depth is not None:
                    known = torch.cat((known, chunk.first_inverse_depth[0].flatten()))
                self._scales.grey = (float(known.min()), float(known.max()))
            self._write_frame(chunk, None)
        if self._scales.flow is None and chunk.frames.shape[1]:
            largest = chunk.motion.backward_flow[0].norm(dim=1).max()
            self._scales.flow = max(float(largest), 1.0)
        self._starts += chunk.pass_starts
        end = self.count + chunk.frames.shape[1] - len(chunk.repeats)
        for index, number in enumerate((*range(self.count, end), *chunk.repeats)):
            reference = reference_of(number, self._starts)
            self._shown.append(number)
            self._references.append(reference)
            if (path := chunk.motion.camera_path) is not None:
                pose = camera_pose(*path[0, index].tolist())
                self._poses.append(self._poses[reference] @ pose)
            self._write_frame(chunk, index)

    def _check(self, chunk: GeneratedVideo) -> None:
        for extra in self.paths if chunk.frames.shape[1] else ():
            if extra in ("instances", "boxes") and chunk.instance_maps is None:
                what, fix = f"an instance map to move along, for {extra}", "give one"
                raise MediaError(what, got="none", fix=f"{fix}, or leave the extra out")
            if extra == "painted" and chunk.painted is None:
                what, fix = "a video that tells what was painted", "leave the extra out"
                raise MediaError(what, got="none", fix=fix)
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
        ids, moment = labels.cpu().numpy(), _moment(chunk, index)
        if self.is_folder:
            for name in self.paths.keys() & {"flow", *DATA_ALONE}:
                # The folder of an extra with pictures is its writer's, until all are moved.
                own = self._writers.get(name)
                folder = self._folder / name if own is None else own.replacement.temporary
                stem = folder / f"{self.count:06d}"
                if name == "labels" and self.label_space is not None:
                    write_label_map(stem.with_suffix(".png"), ids, self.label_space)
                elif name == "instances" and numbers is not None:
                    write_sixteen_bits(stem.with_suffix(".png"), numbers.cpu().numpy())
                else:
                    write_extra(name, stem, moment)
        if "boxes" in self.paths and self.label_space is not None and numbers is not None:
            self._boxes.append(boxes_in(ids, numbers.cpu().numpy(), self.label_space))
        pictures = {"frames": to_pixels(picture)}
        for name, writer in self._writers.items():
            if name in ("labels", "overlay") and self.label_space is not None:
                pictures[name] = colourise(ids, self.label_space)
                if name == "overlay":
                    pictures[name] = overlay(pictures["frames"], pictures[name])
            elif name == "instances" and numbers is not None:
                pictures[name] = colour_numbers(numbers.cpu().numpy())
            elif name == "control-seg" and self.label_space is not None:
                pictures[name] = ade20k_colours(ids, self.label_space)
            elif name == "control-flow":
                flow = self._onward(chunk.motion, index)
                pictures[name] = to_pixels(flow_to_colours(flow))
            elif name != "frames":
                pictures[name] = draw_extra(name, moment, self._scales, like=pictures["frames"])
            writer.write(pictures[name])
        if self.count in self._keep:
            for name, row in self.kept.items():
                row.append(pictures[name])
        self.count += 1

    def _onward(self, motion: Motion, index: int | None) -> Float[Tensor, "2 height width"]:
        """Return the flow to this frame from the one before; the first shows that to the next."""
        if index is None:
            flows = motion.forward_flow[0]
            return flows[0] if len(flows) else flows.new_zeros(flows.shape[1:])
        before, self._before = (
            self._before,
            motion.map(partial(torch.narrow, dim=1, start=index, length=1)),
        )
        if before is None or self._references[-1] == self._shown[-2]:
            return self._before.forward_flow[0, 0]
        if self._references[-2] == self._shown[-1]:
            return before.backward_flow[0, 0]  # on the way back, to the frame it is read from
        return flow_between(before, self._before)[0]

    def close(self) -> list[Path]:
        """Finish all outputs, move them to their places (or raise ``MediaError``), return these."""
        lines = [" ".join(f"{x:.6e}" for x in pose[:3].flat) for pose in self._poses]
        boxes = ",\n".join(map(json.dumps, self._boxes))
        for name, text in (("poses", "\n".join(lines)), ("boxes", f"[{boxes}]")):
            if name in self.paths:
                kept = self._texts.get(name)
                place = self._folder / self.paths[name].name if kept is None else kept.temporary
                place.write_text(text + "\n", "utf-8")
        extras = [name for name in self.paths if name != "frames"]
        about = self._about | {"extras": extras, "reference_frames": self._references}
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


def _moment(chunk: GeneratedVideo, index: int | None) -> Moment:
    """Return what is known of frame ``index`` of a pass, None for the one that it starts from."""
    motion, first, painted = chunk.motion, chunk.first_inverse_depth, chunk.painted
    if index is None:
        return Moment(motion, None, None if first is None else first[0], None)
    later = motion.inverse_depth
    inverse = None if later is None else later[0, index]
    return Moment(motion, index, inverse, None if painted is None else painted[0, index, 0])
