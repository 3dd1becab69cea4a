"""Which classes a clip's label maps hold and how they are stored, from the first and a middle one.

One answer for the whole clip: a single map may fit two numberings, and neighbouring frames must
not be read differently.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg2vid.labels.doctor import Encoding, Picture, diagnose
from seg2vid.labels.space import LabelSpace, get_label_space, load_label_space
from seg2vid.media.label_maps import read_picture

SPACE_FILE = "label_space.yaml"


def guess_labels(
    maps: Sequence[Path], folders: Sequence[Path]
) -> tuple[LabelSpace | None, Encoding]:
    """Return label space and encoding of a clip's label maps; no space where there are no maps.

    The classes are those of the first ``label_space.yaml`` in ``folders``, else ``object`` for maps
    of 0 and 1 (255 = void) or of 0 and 255, else ``cityscapes``. Raises ``MediaError`` for a map
    that is no picture and ``LabelMapError`` for a wrong label space.
    """
    if not maps:
        return None, "auto"
    pictures = [read_picture(path) for path in (maps[0], maps[len(maps) // 2])]
    values = _values_in(pictures)
    files = [folder / SPACE_FILE for folder in folders if (folder / SPACE_FILE).is_file()]
    if files:
        space = load_label_space(files[0])
    elif values in ({0, 1}, {0, 255}, {0, 1, 255}):
        return get_label_space("object"), "train" if 1 in values else "raw"
    else:
        space = get_label_space("cityscapes")
    return space, _guess_encoding(pictures, values, space)


def _values_in(pictures: Sequence[Picture]) -> set[int]:
    """Return the values that occur; none where colours tell the class."""
    found: set[int] = set()
    for picture in pictures:
        # A palette that begins with black numbers its entries: masks, with black as background.
        is_coloured = picture.palette is not None and bool(picture.palette[0].any())
        if picture.pixels.ndim != 2 or is_coloured:
            return set()
        found |= {int(value) for value in np.unique(picture.pixels)}
    return found


def _guess_encoding(pictures: Sequence[Picture], values: set[int], space: LabelSpace) -> Encoding:
    """Choose by values that only one numbering has; else as the doctor does, if maps agree."""
    train, raw = {*range(space.num_channels), space.file_value}, set(space.raw_to_id)
    if values <= train and not values <= raw:
        return "train"
    if values <= raw | {space.file_value} and not values <= train:
        return "raw"
    kinds = {diagnose(picture, space=space).kind for picture in pictures}
    if kinds == {"train ids"}:
        return "train"
    return "raw" if kinds == {"raw ids"} else "auto"
