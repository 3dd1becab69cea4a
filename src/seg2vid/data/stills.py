"""A folder of photos with label maps: single frames for the segmenter and the first frame.

::

    FOLDER/
        photos/0001.jpg    a picture of any name and size
        labels/0001.png    its label map, of the same name
"""

from pathlib import Path
from typing import Any

import torch

from seg2vid.data.clips import clip_of
from seg2vid.data.recordings.recording import PICTURES, list_pictures
from seg2vid.labels.fit import fit_image, fit_label_map
from seg2vid.labels.space import LabelSpace
from seg2vid.media.label_maps import read_label_map
from seg2vid.media.pictures import read_image
from seg2vid.structures import Clip
from seg2vid.tools.errors import MediaError


class StillFolder:
    """Photos and label maps by the same name, cropped and scaled to ``height`` x ``width``.

    Raises ``MediaError`` where a folder or the label map of a photo is missing.
    """

    def __init__(self, directory: Path, space: LabelSpace, *, height: int, width: int) -> None:
        self.directory, self.space = directory, space
        self.height, self.width = height, width
        photos = directory / "photos"
        self.photos = list_pictures(photos)
        if not self.photos:
            what, fix = f"photos ({', '.join(PICTURES)}) in {photos}", "see the tree in data/stills"
            raise MediaError(what, got="none", fix=fix)
        lost = [path for path in self.photos if not self.label_file(path).is_file()]
        if lost:
            what, got = f"a label map for each of {len(self.photos)} photos", f"{len(lost)} without"
            fix = f"add {self.label_file(lost[0])} and the others, or remove the photos"
            raise MediaError(what, got=got, fix=fix)

    def __len__(self) -> int:
        return len(self.photos)

    def label_file(self, photo: Path) -> Path:
        """Return where the label map of a photo lies."""
        return self.directory / "labels" / f"{photo.stem}.png"

    def read(self, index: int) -> Clip:
        """Read a photo and its label map as a clip without further frames, a batch of one."""
        photo = self.photos[index]
        size: dict[str, Any] = {"height": self.height, "width": self.width}
        pixels = fit_image(read_image(photo), **size)
        ids = read_label_map(self.label_file(photo), space=self.space).ids
        ids = fit_label_map(ids, **size, fill=self.space.void_id).ids
        return clip_of(torch.from_numpy(pixels[None]), torch.from_numpy(ids[None]))

    def read_still(self, index: int, _time: int) -> Clip:
        """Read the same: there is one time only."""
        return self.read(index)
