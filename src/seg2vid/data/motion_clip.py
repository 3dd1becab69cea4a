"""A clip on disk that lends its motion: a video, or a folder of frames with label maps beside."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from seg2vid.labels.fit import fit_image, fit_label_map
from seg2vid.labels.space import LabelSpace
from seg2vid.media.generated import GeneratedVideo
from seg2vid.media.label_maps import read_instance_map, read_label_map
from seg2vid.media.pictures import read_image
from seg2vid.media.video import iterate_video
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Clip
from seg2vid.tools.errors import MediaError
from seg2vid.transfer import MotionCode, encode_motion, play_motion

PICTURES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class MotionClip:
    """Where motion comes from and how it is read."""

    path: Path
    """A video, or a folder: frames by name, ``labels/FRAME.png``, perhaps ``instances/FRAME.png``.
    """
    labels: Path | None = None
    """Label map of the first frame; by default the one in the folder."""
    step: int = 1
    """Every ``step``-th frame is taken."""

    def check(self) -> None:
        """Raise ``MediaError`` for what can be seen to fail before anything is generated."""
        if self.step < 1:
            what = "--motion-step of at least 1"
            raise MediaError(what, got=self.step, fix="use --motion-step 1 or more")
        if not self.path.exists():
            what = "a folder of frames or a video to take motion from"
            raise MediaError(what, got=f"no {self.path}", fix="check --motion-from")
        if self.path.is_dir() and not self._pictures():
            what, fix = f"frames ({', '.join(PICTURES)}) in {self.path}", "name their folder"
            raise MediaError(what, got="none", fix=fix)
        if self._label_file(0) is None:
            what, fix = "the label map of the clip's first frame", "name it with --motion-labels"
            got = f"no {self.labels}" if self.labels else f"none beside {self.path}"
            raise MediaError(what, got=got, fix=fix)

    def passes(
        self, space: LabelSpace, *, height: int, width: int, num_frames: int, most: int
    ) -> list[Clip]:
        """Read up to ``most`` consecutive clips of ``num_frames`` frames after their first one.

        They are cropped and scaled to ``height`` x ``width``. A pass whose first frame has no label
        map, and all after it, are left out. Raises ``MediaError`` for less than one pass.
        """
        wanted = most * num_frames * self.step + 1
        frames = [
            fit_image(frame, height=height, width=width)
            for frame in islice(self._frames(), 0, wanted, self.step)
        ]
        clips = []
        for start in range(0, len(frames) - num_frames, num_frames):
            file = self._label_file(start * self.step)
            if file is None:
                break
            video = torch.from_numpy(np.stack(frames[start : start + num_frames + 1]))
            pictures = rearrange(video.float() / 255, "t h w c -> 1 t c h w")
            label_map = read_label_map(file, space=space).ids
            instances = self.path / "instances" / file.name
            clips.append(
                Clip(
                    pictures[:, 0],
                    pictures[:, 1:],
                    _fit(label_map, height, width, space.void_id),
                    instance_map=_fit(read_instance_map(instances), height, width, 0)
                    if instances.is_file()
                    else None,
                )
            )
        if not clips:
            what = f"a clip of at least {num_frames + 1} frames"
            got = f"{len(frames)} in {self.path}, taking every {self.step}."
            raise MediaError(what, got=got, fix="give a longer one, or a smaller step")
        return clips

    def _pictures(self) -> list[Path]:
        return sorted(path for path in self.path.iterdir() if path.suffix.lower() in PICTURES)

    def _frames(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """Read frame after frame, so that a long video is never held whole."""
        is_folder = self.path.is_dir()
        return map(read_image, self._pictures()) if is_folder else iterate_video(self.path)

    def _label_file(self, index: int) -> Path | None:
        if index == 0 and self.labels is not None:
            return self.labels if self.labels.is_file() else None
        if not self.path.is_dir():
            return None
        pictures = self._pictures()
        file = self.path / "labels" / f"{pictures[min(index, len(pictures) - 1)].stem}.png"
        return file if file.is_file() else None


def _fit(
    ids: Int[np.ndarray, "source_height source_width"], height: int, width: int, fill: int
) -> Int[Tensor, "1 height width"]:
    fitted = fit_label_map(ids, height=height, width=width, fill=fill)
    return torch.from_numpy(fitted.ids).long().unsqueeze(0)


@dataclass
class ClipMotion:
    """The motion of a clip on disk, as ``seg2vid generate`` and ``animate`` take it."""

    clip: MotionClip
    codes: tuple[MotionCode, ...] = ()
    """What ``prepare`` found, a code for each pass."""

    def __post_init__(self) -> None:
        self.clip.check()

    def prepare(self, pipeline: Seg2VidPipeline, num_frames: int) -> str:
        """Encode as much of the clip as ``num_frames`` frames need; say in words what was found.

        Raises ``MediaError`` for a clip that cannot be read, and what ``encode_motion`` raises for
        the ``pipeline``.
        """
        count = pipeline.num_frames
        clips = self.clip.passes(
            pipeline.label_space,
            height=pipeline.height,
            width=pipeline.width,
            num_frames=count,
            most=max(1, -(-num_frames // count)),
        )
        self.codes = tuple(
            encode_motion(
                pipeline,
                torch.cat((clip.first_frame.unsqueeze(1), clip.frames), 1),
                clip.label_map,
                instance_map=clip.instance_map,
            )
            for clip in clips
        )
        passes = "one pass" if len(clips) == 1 else f"{len(clips)} passes"
        return f"{self.clip.path}: motion of {len(clips) * count + 1} frames, {passes}"

    def play(
        self,
        pipeline: Seg2VidPipeline,
        label_map: Int[Tensor, "batch height width"],
        *,
        num_frames: int,
        instance_map: Int[Tensor, "batch height width"] | None = None,
        first_frame: Float[Tensor, "batch 3 height width"] | None = None,
        seed: int = 0,
    ) -> Iterator[GeneratedVideo]:
        """Yield the passes of one video, as ``play_motion`` does with its ``pipeline``,
        ``label_map``, ``num_frames``, ``instance_map``, ``first_frame`` and ``seed``.
        """
        return play_motion(
            pipeline,
            self.codes,
            label_map,
            num_frames=num_frames,
            instance_map=instance_map,
            first_frame=first_frame,
            seed=seed,
        )
