"""KITTI raw, synchronised and rectified: drives of a car, seen by its left colour camera.

::

    ROOT/
        DATE/DATE_drive_NNNN_sync/image_02/data/NNNNNNNNNN.png

The right camera (``image_03``) sees the same and is not read. Where frame numbers are missing, the
recording is divided into spans. There are no label maps for these frames, and no official split.
"""

import re
from pathlib import Path

from seg2vid.data.recordings.recording import Recording, list_pictures, list_runs, missing

FRAMES_PER_SECOND = 10.0
LICENCE = "CC BY-NC-SA 3.0"
_DRIVES = "*/*_drive_*_sync"
SIGNS = (_DRIVES,)
_DRIVE = re.compile(r"\d{4}_\d{2}_\d{2}_drive_\d{4}_sync")


def list_recordings(root: Path) -> list[Recording]:
    """List the drives of which there are pictures, by name.

    Raises ``MediaError`` where there is none.
    """
    drives = [path for path in root.glob(_DRIVES) if _DRIVE.fullmatch(path.name)]
    # A drive may be there without pictures: its tracklets are a download of their own.
    recordings = [recording for drive in drives for recording in _list_drive(drive)]
    if not recordings:
        drive = min(drives) if drives else root / "DATE" / "DATE_drive_NNNN_sync"
        looked = drive / "image_02" / "data" / "NNNNNNNNNN.png"
        raise missing("pictures of camera 2 (image_02)", looked=looked, layout="kitti")
    return sorted(recordings, key=lambda recording: recording.name)


def _list_drive(drive: Path) -> list[Recording]:
    found = list_pictures(drive / "image_02" / "data")
    pictures = tuple(path for path in found if path.stem.isdigit())
    if not pictures:
        return []
    runs = list_runs([int(path.stem) for path in pictures])
    spans = runs if len(runs) > 1 else ()
    rate = FRAMES_PER_SECOND
    return [
        Recording(
            drive.name, pictures=pictures, frames_per_second=rate, spans=spans, licence=LICENCE
        )
    ]
