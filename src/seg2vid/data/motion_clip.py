"""A clip on disk that lends its motion: a video, or a folder of frames with label maps beside."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from seg2vid.data.recordings.recording import (
    PICTURES,
    Recording,
    list_pictures,
    match_maps,
    read_clip,
)
from seg2vid.labels.space import LabelSpace
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Clip
from seg2vid.tools.errors import MediaError
from seg2vid.transfer import MotionCode, encode_motion


@dataclass(frozen=True)
class MotionClip:
    """Where motion comes from and how it is read.

    Raises ``MediaError`` for what can be seen to fail before anything is generated.
    """

    path: Path
    """A video, or a folder: frames by name, ``labels/FRAME.png``, perhaps ``instances/FRAME.png``.
    """
    labels: Path | None = None
    """Label map of the first frame; by default the one in the folder."""
    step: int = 1
    """Every ``step``-th frame is taken."""

    def __post_init__(self) -> None:
        if self.step < 1:
            what = "a step of at least 1 in the clip that lends its motion"
            raise MediaError(what, got=self.step, fix="take every frame with 1")
        if not self.path.exists():
            what = "a folder of frames or a video to take motion from"
            raise MediaError(what, got=f"no {self.path}", fix="check the path")
        if self.path.is_dir() and not self.pictures:
            what, fix = f"frames ({', '.join(PICTURES)}) in {self.path}", "name their folder"
            raise MediaError(what, got="none", fix=fix)
        if 0 not in self.label_files or not self.label_files[0].is_file():
            what, fix = "the label map of the clip's first frame", "name its file (motion labels)"
            got = f"no {self.labels}" if self.labels else f"none beside {self.path}"
            raise MediaError(what, got=got, fix=fix)

    @cached_property
    def pictures(self) -> tuple[Path, ...]:
        """The frames of a folder; none of a video."""
        return list_pictures(self.path)

    @cached_property
    def label_files(self) -> dict[int, Path]:
        """Label map by index of frame."""
        named = {} if self.labels is None else {0: self.labels}
        return match_maps(self.path / "labels", self.pictures) | named

    def encode(self, pipeline: Seg2VidPipeline, num_frames: int) -> tuple[list[MotionCode], str]:
        """Encode as much of the clip as a video of ``num_frames`` needs: a code for each pass.

        Also returns in words what was found. Raises ``MediaError`` for a clip that cannot be read,
        and what ``encode_motion`` raises for the ``pipeline``.
        """
        count = pipeline.num_frames
        clips = self.passes(
            pipeline.label_space,
            height=pipeline.height,
            width=pipeline.width,
            num_frames=count,
            most=max(1, math.ceil((num_frames - 1) / count)),
        )
        codes = [
            encode_motion(
                pipeline,
                torch.cat((clip.first_frame.unsqueeze(1), clip.frames), 1),
                clip.label_map,
                instance_map=clip.instance_map,
            )
            for clip in clips
        ]
        passes = "one pass" if len(clips) == 1 else f"{len(clips)} passes"
        return codes, f"{self.path}: motion of {len(clips) * count + 1} frames, {passes}"

    def passes(
        self, space: LabelSpace, *, height: int, width: int, num_frames: int, most: int
    ) -> list[Clip]:
        """Read up to ``most`` consecutive clips of ``num_frames`` frames after their first one.

        They are cropped and scaled to ``height`` x ``width``. A pass whose first frame has no label
        map, and all after it, are left out. Raises ``MediaError`` for less than one pass.
        """
        length = num_frames * self.step
        starts = range(0, most * length, length)
        instances = match_maps(self.path / "instances", self.pictures)
        recording = Recording(
            self.path.name,
            self.pictures,
            None if self.pictures else self.path,
            label_space=space,
            label_files={at: file for at, file in self.label_files.items() if at in starts},
            instance_files={at: file for at, file in instances.items() if at in starts},
        )
        clips: list[Clip] = []
        for start in starts:
            is_whole = not self.pictures or start + length < len(self.pictures)
            if clips and not (start in recording.label_files and is_whole):
                break
            size: dict[str, Any] = {"height": height, "width": width}
            clips.append(read_clip(recording, start, num_frames=num_frames, step=self.step, **size))
        return clips
