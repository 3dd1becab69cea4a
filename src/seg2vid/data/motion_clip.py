"""A clip on disk that lends its motion: a video, or a folder of frames with label maps beside."""

from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from seg2vid.data.clips import clip_of
from seg2vid.data.recordings.recording import PICTURES, list_pictures
from seg2vid.labels.fit import fit_image, fit_label_map
from seg2vid.labels.space import LabelSpace
from seg2vid.media.label_maps import read_instance_map, read_label_map
from seg2vid.media.pictures import read_image
from seg2vid.media.video import iterate_video
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
        if self.path.is_dir() and not list_pictures(self.path):
            what, fix = f"frames ({', '.join(PICTURES)}) in {self.path}", "name their folder"
            raise MediaError(what, got="none", fix=fix)
        if self._label_file(0) is None:
            what, fix = "the label map of the clip's first frame", "name its file (motion labels)"
            got = f"no {self.labels}" if self.labels else f"none beside {self.path}"
            raise MediaError(what, got=got, fix=fix)

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
            most=max(1, -(-(num_frames - 1) // count)),
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
        is_folder = self.path.is_dir()
        # One by one, so that a long video is never held whole.
        read = map(read_image, list_pictures(self.path)) if is_folder else iterate_video(self.path)
        taken = islice(read, 0, most * num_frames * self.step + 1, self.step)
        frames = [fit_image(frame, height=height, width=width) for frame in taken]
        fit = partial(fit_label_map, height=height, width=width)
        clips = []
        for start in range(0, len(frames) - num_frames, num_frames):
            file = self._label_file(start * self.step)
            if file is None:
                break
            instances = self.path / "instances" / file.name
            objects = fit(read_instance_map(instances), fill=0).ids if instances.is_file() else None
            label_map = fit(read_label_map(file, space=space).ids, fill=space.void_id).ids
            clips.append(
                clip_of(
                    torch.from_numpy(np.stack(frames[start : start + num_frames + 1])),
                    torch.from_numpy(label_map[None]),
                    None if objects is None else torch.from_numpy(objects[None]),
                )
            )
        if not clips:
            what = f"a clip of at least {num_frames + 1} frames"
            got = f"{len(frames)} in {self.path}, taking every {self.step}."
            raise MediaError(what, got=got, fix="give a longer one, or a smaller step")
        return clips

    def _label_file(self, index: int) -> Path | None:
        if index == 0 and self.labels is not None:
            file = self.labels
        elif self.path.is_dir():
            file = self.path / "labels" / f"{list_pictures(self.path)[index].stem}.png"
        else:
            return None
        return file if file.is_file() else None
