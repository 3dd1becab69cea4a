"""Baselines: the real clip as the ceiling, first frames repeated, flow kept up, training photos."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from seg2vid.data.stills import StillFolder
from seg2vid.data.teachers.flow import DISFlow
from seg2vid.evaluation.output import Candidate, Output, with_first
from seg2vid.labels.space import get_label_space
from seg2vid.structures import Clip, Motion
from seg2vid.warp import compose_flows, motion_from_flows, warp_clip, warp_label_clip

THUMB = 4
"""Spacing of the rows and columns at which label maps are compared."""


def real_clip(clip: Clip, _number: int) -> Output:
    """Return the clip as it is, with all that is known of it."""
    labels = clip.label_map[:, None] if not clip.frames.shape[1] else None
    if clip.label_maps is not None:
        labels = with_first(clip.label_map, clip.label_maps)
    return Output(with_first(clip.first_frame, clip.frames), labels, clip.motion)


def repeated_frame(clip: Clip, _number: int) -> Output:
    """Repeat the first frame and its labels, without motion."""
    count = clip.frames.shape[1] + 1
    frames = clip.first_frame.unsqueeze(1).expand(-1, count, -1, -1, -1)
    labels = clip.label_map.unsqueeze(1).expand(-1, count, -1, -1)
    flow = torch.zeros_like(clip.frames[:, :, :2])
    visible = torch.ones_like(flow[:, :, :1])
    return Output(frames, labels, Motion(flow, flow, visible, visible))


def _extrapolated_flow(clip: Clip, _number: int) -> Output:
    """Measure classical flow between the first two true frames and let everything go on like that.

    Every further frame follows the same flow once more (constant velocity at each place of the
    picture); nothing hidden is painted. The flow is that of DIS (Kroeger et al., ECCV 2016).
    """
    search = DISFlow()
    first, second = clip.first_frame, clip.frames[:, 0]
    forward, backward = search.flow(first, second), search.flow(second, first)
    forwards, backwards = [forward], [backward]
    for _ in range(clip.frames.shape[1] - 1):
        forwards.append(compose_flows(forward, forwards[-1]))
        backwards.append(compose_flows(backwards[-1], backward))
    motion = motion_from_flows(torch.stack(forwards, 1), torch.stack(backwards, 1))
    frames = warp_clip(clip.first_frame, motion.backward_flow)
    labels = with_first(clip.label_map, warp_label_clip(clip.label_map, motion.backward_flow))
    return Output(with_first(clip.first_frame, frames), labels, motion)


_AGAIN = "the first frame again and again"
_KEPT_UP = "sees one true frame more than the models: classical flow, kept up"
_FLOW = "flow of two true frames, extrapolated"
_BASELINES = (
    Candidate("truth", "the real clip", "ceiling", "what perfect frames would score", real_clip),
    Candidate("repeat", "first frame repeated", "baseline", _AGAIN, repeated_frame),
    Candidate("extrapolated", _FLOW, "oracle", _KEPT_UP, _extrapolated_flow),
)
BASELINES: Mapping[str, Candidate] = {baseline.key: baseline for baseline in _BASELINES}
"""The baselines of videos that need no data of their own, by key."""


@dataclass(frozen=True)
class TrainingPhotos:
    """Photos with label maps that baselines look things up in, at the protocol's size."""

    folder: Path
    height: int
    width: int

    @cached_property
    def stills(self) -> StillFolder:
        """The photos; raises ``MediaError`` where they are missing."""
        space = get_label_space("cityscapes")
        return StillFolder(self.folder, space, height=self.height, width=self.width)

    @cached_property
    def _summary(self) -> tuple[UInt8[Tensor, "photo pixel"], Float[Tensor, "class 3"]]:
        """The small label maps of all photos and the mean colour of each class, read once."""
        classes = get_label_space("cityscapes").num_channels
        sums, counts = torch.zeros(classes, 3, dtype=torch.float64), torch.zeros(classes)
        thumbs = []
        numbers = range(len(self.stills))
        for number in tqdm(numbers, "training photos", unit="photo", leave=False, disable=None):
            clip = self.stills.read(number)
            ids = clip.label_map.flatten()
            sums.index_add_(0, ids, clip.first_frame[0].flatten(1).T.double())
            counts += torch.bincount(ids, minlength=classes)
            thumbs.append(thumbnail(clip.label_map))
        return torch.cat(thumbs), (sums / counts.clamp(min=1)[:, None]).float()

    def nearest(self, label_map: Int[Tensor, "1 height width"]) -> int:
        """Return the number of the photo whose labels agree at most places; the first of equals."""
        agreeing = (self._summary[0] == thumbnail(label_map.cpu())).sum(1)
        return int(agreeing.argmax())

    @property
    def mean_colours(self) -> Float[Tensor, "class 3"]:
        """Mean RGB in [0, 1] of each class; black for one that no photo shows."""
        return self._summary[1]

    def _show_nearest(self, clip: Clip, _number: int) -> Output:
        found = self.stills.read(self.nearest(clip.label_map))
        return Output(found.first_frame.unsqueeze(1), found.label_map.unsqueeze(1))

    def _paint_means(self, clip: Clip, _number: int) -> Output:
        painted = self.mean_colours[clip.label_map.cpu()].permute(0, 3, 1, 2)
        return Output(painted.unsqueeze(1), clip.label_map.unsqueeze(1))

    @property
    def baselines(self) -> Mapping[str, Candidate]:
        """The baselines that look something up in the photos, by key."""
        alike = "the real photo of the training set whose label map agrees at most pixels"
        mean = "each class in its mean colour over the training set"
        nearest, painted = "nearest training photo", "mean colour of each class"
        return {
            "nearest": Candidate("nearest", nearest, "baseline", alike, self._show_nearest),
            "mean_colour": Candidate("mean_colour", painted, "baseline", mean, self._paint_means),
        }


def thumbnail(label_map: Int[Tensor, "batch height width"]) -> UInt8[Tensor, "batch pixel"]:
    """Return the ids of every ``THUMB``-th row and column, in reading order."""
    return label_map[:, THUMB // 2 :: THUMB, THUMB // 2 :: THUMB].flatten(1).to(torch.uint8)
