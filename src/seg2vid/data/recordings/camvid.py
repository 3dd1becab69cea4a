"""CamVid: four drives through Cambridge, one labelled still a second (0016E5 partly 15), 960x720.

::

    ROOT/
        701_StillsRaw_full/SEQUENCE_NUMBER.png       0001TP_006690.png, Seq05VD_f00000.png
        LabeledApproved_full/SEQUENCE_NUMBER_L.png   32 classes by colour

The customary split divides sequences between its parts, so none is prescribed here: each of the
four stays whole.
"""

import re
from itertools import groupby
from pathlib import Path

from seg2vid.data.recordings.recording import Recording, list_pictures, missing
from seg2vid.labels.space import get_label_space

STILLS, LABELS = "701_StillsRaw_full", "LabeledApproved_full"
FRAMES_PER_SECOND = 1.0
SIGNS = (STILLS,)
_STILL = re.compile(r"(?P<sequence>[A-Za-z0-9]+)_f?\d+\.png")


def list_recordings(root: Path) -> list[Recording]:
    """List the sequences by name.

    Raises ``MediaError`` where there are no stills, or a sequence has no label map at all.
    """
    stills = list_pictures(root / STILLS)
    matches = [(path, match) for path in stills if (match := _STILL.fullmatch(path.name))]
    if not matches:
        raise missing("stills SEQUENCE_NUMBER.png", looked=root / STILLS, layout="camvid")
    maps = {path.name for path in list_pictures(root / LABELS)}
    recordings = []
    for sequence, found in groupby(matches, key=lambda pair: pair[1]["sequence"]):
        pictures = tuple(path for path, _ in found)
        names = {index: f"{path.stem}_L.png" for index, path in enumerate(pictures)}
        labels = {i: root / LABELS / name for i, name in names.items() if name in maps}
        if not labels:
            what, looked = f"label maps of {sequence}", root / LABELS / f"{sequence}_*_L.png"
            raise missing(what, looked=looked, layout="camvid")
        recordings.append(
            Recording(
                sequence,
                pictures=pictures,
                frames_per_second=FRAMES_PER_SECOND,
                label_space=get_label_space("camvid"),
                encoding="colour",
                label_files=labels,
                group=sequence,
            )
        )
    return sorted(recordings, key=lambda recording: recording.name)
