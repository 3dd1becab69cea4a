"""Cityscapes: video snippets of 30 frames, the 20th with a label and an instance map.

::

    ROOT/
        leftImg8bit_sequence/{train,val,test}/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png
        gtFine/{train,val}/CITY/CITY_SEQUENCE_FRAME_gtFine_labelIds.png      raw ids
        gtFine/{train,val}/CITY/CITY_SEQUENCE_FRAME_gtFine_instanceIds.png

A snippet is a run of consecutive frame numbers, so long sequences hold many. Maps of further frames
are taken too. Those of the test split are all void and are not read.
"""

import re
from itertools import groupby
from pathlib import Path

from seg2vid.data.recordings.recording import (
    SPLITS,
    Recording,
    list_pictures,
    list_runs,
    missing,
)
from seg2vid.labels.space import get_label_space

FRAMES, LABELS = "leftImg8bit_sequence", "gtFine"
FRAMES_PER_SECOND = 17.0
LICENCE = "Cityscapes terms: non-commercial research"
SIGNS = (FRAMES,)
_FRAME = re.compile(r"(?P<sequence>[\w-]+_\d{6})_(?P<number>\d{6})_leftImg8bit\.png")


def list_recordings(root: Path) -> list[Recording]:
    """List the snippets of all splits that are there, by name.

    Raises ``MediaError`` where there are no frames, or a city of train or val has no label map.
    """
    recordings = [
        recording
        for split in SPLITS
        for city in sorted(root.glob(f"{FRAMES}/{split}/*/"))
        for recording in _list_city(city, root / LABELS / split / city.name)
    ]
    if not recordings:
        what, looked = "CITY_SEQUENCE_FRAME_leftImg8bit.png", root / FRAMES / "{train,val,test}/*"
        raise missing(what, looked=looked, layout="cityscapes")
    return sorted(recordings, key=lambda recording: recording.name)


def _list_city(city: Path, labels: Path) -> list[Recording]:
    """List the snippets of one city of one split, whose maps lie in the folder ``labels``."""
    split = city.parent.name
    matches = [match for path in list_pictures(city) if (match := _FRAME.fullmatch(path.name))]
    maps = {path.name for path in list_pictures(labels)} if split != "test" else set()
    if matches and split != "test" and not any(name.endswith("_labelIds.png") for name in maps):
        what = f"label maps of {city.name} ({split})"
        raise missing(what, looked=labels / "*_gtFine_labelIds.png", layout="cityscapes")
    recordings = []
    for sequence, found in groupby(matches, key=lambda match: match["sequence"]):
        numbers = [match["number"] for match in found]
        for first, stop in list_runs([int(number) for number in numbers]):
            stems = [f"{sequence}_{number}" for number in numbers[first:stop]]
            recordings.append(
                Recording(
                    stems[0],
                    pictures=tuple(city / f"{stem}_leftImg8bit.png" for stem in stems),
                    frames_per_second=FRAMES_PER_SECOND,
                    label_space=get_label_space("cityscapes"),
                    encoding="raw",
                    label_files=_files_of(stems, "labelIds", labels, maps),
                    instance_files=_files_of(stems, "instanceIds", labels, maps),
                    split=split,
                    group=sequence,
                    licence=LICENCE,
                )
            )
    return recordings


def _files_of(stems: list[str], kind: str, folder: Path, maps: set[str]) -> dict[int, Path]:
    names = {index: f"{stem}_gtFine_{kind}.png" for index, stem in enumerate(stems)}
    return {index: folder / name for index, name in names.items() if name in maps}
