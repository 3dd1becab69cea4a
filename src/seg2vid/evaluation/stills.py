"""Baselines of the first frame: the nearest training photo by label map, and mean colours."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from seg2vid.data.stills import StillFolder
from seg2vid.evaluation.output import Output, Role
from seg2vid.labels.space import get_label_space
from seg2vid.structures import Clip

THUMB = 4
"""Label maps are compared at every so manyth row and column."""


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
        for number in tqdm(
            numbers, desc="training photos", unit="photo", leave=False, disable=None
        ):
            clip = self.stills.read(number)
            ids = clip.label_map.flatten()
            colours = clip.first_frame[0].flatten(1).T.double()
            sums.index_add_(0, ids, colours)
            counts += torch.bincount(ids, minlength=classes)
            thumbs.append(thumbnail(clip.label_map))
        means = (sums / counts.clamp(min=1)[:, None]).float()
        return torch.cat(thumbs), means

    def nearest(self, label_map: Int[Tensor, "1 height width"]) -> int:
        """Return the number of the photo whose labels agree at most places; the first of equals."""
        agreeing = (self._summary[0] == thumbnail(label_map.cpu())).sum(1)
        return int(agreeing.argmax())

    @property
    def mean_colours(self) -> Float[Tensor, "class 3"]:
        """Mean RGB in [0, 1] of each class; black for one that no photo shows."""
        return self._summary[1]


def thumbnail(label_map: Int[Tensor, "batch height width"]) -> UInt8[Tensor, "batch pixel"]:
    """Return the ids at every ``THUMB``-th row and column, in reading order."""
    return label_map[:, THUMB // 2 :: THUMB, THUMB // 2 :: THUMB].flatten(1).to(torch.uint8)


@dataclass(frozen=True)
class NearestPhoto:
    """The training photo whose label map is most alike."""

    photos: TrainingPhotos
    key: str = "nearest"
    title: str = "nearest training photo"
    role: Role = "baseline"
    about: str = "the real photo of the training set whose label map agrees at most pixels"
    sha256: str = ""

    def make(self, clip: Clip, number: int) -> Output:
        """Look it up; its labels are those of that photo."""
        found = self.photos.stills.read(self.photos.nearest(clip.label_map))
        return Output(found.first_frame.unsqueeze(1), found.label_map.unsqueeze(1))


@dataclass(frozen=True)
class MeanColour:
    """Every class painted in its mean colour."""

    photos: TrainingPhotos
    key: str = "mean_colour"
    title: str = "mean colour of each class"
    role: Role = "baseline"
    about: str = "each class in its mean colour over the training set"
    sha256: str = ""

    def make(self, clip: Clip, number: int) -> Output:
        """Paint the label map."""
        painted = self.photos.mean_colours[clip.label_map.cpu()].permute(0, 3, 1, 2)
        return Output(painted.unsqueeze(1), clip.label_map.unsqueeze(1))
