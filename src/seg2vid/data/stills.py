"""A folder of photos with label maps: single frames for the segmenter and the first frame.

::

    FOLDER/
        photos/0001.jpg    a picture of any name and size
        labels/0001.png    its label map, of the same name
"""

from pathlib import Path

from seg2vid.data.recordings.recording import PICTURES, Recording, list_pictures, read_clip
from seg2vid.labels.space import LabelSpace
from seg2vid.structures import Clip
from seg2vid.tools.errors import MediaError


class StillFolder:
    """Photos and label maps by the same name, cropped and scaled to ``height`` x ``width``.

    Raises ``MediaError`` where a folder or the label map of a photo is missing.
    """

    def __init__(self, directory: Path, space: LabelSpace, *, height: int, width: int) -> None:
        self.space, self.height, self.width = space, height, width
        photos, labels = directory / "photos", directory / "labels"
        self.photos = list_pictures(photos)
        if not self.photos:
            what, fix = f"photos ({', '.join(PICTURES)}) in {photos}", "see the tree in data/stills"
            raise MediaError(what, got="none", fix=fix)
        files = {place: labels / f"{photo.stem}.png" for place, photo in enumerate(self.photos)}
        lost = [path for path in files.values() if not path.is_file()]
        if lost:
            what, got = f"a label map for each of {len(self.photos)} photos", f"{len(lost)} without"
            fix = f"add {lost[0]} and the others, or remove the photos"
            raise MediaError(what, got=got, fix=fix)
        self._all = Recording(
            directory.name,
            self.photos,
            frames_per_second=Clip.frames_per_second,
            label_space=space,
            label_files=files,
        )

    def __len__(self) -> int:
        return len(self.photos)

    def read(self, index: int) -> Clip:
        """Read a photo and its label map as a clip without further frames, a batch of one."""
        return read_clip(self._all, index, num_frames=0, height=self.height, width=self.width)

    def read_still(self, index: int, _time: int) -> Clip:
        """Read the same: there is one time only."""
        return self.read(index)
