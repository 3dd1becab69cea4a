"""UCF-101: videos of 101 actions from the web, 320x240, divided as in the first official fold.

::

    ROOT/
        UCF-101/ACTION/v_ACTION_gNN_cNN.avi
        ucfTrainTestlist/trainlist01.txt      lines "ACTION/v_ACTION_gNN_cNN.avi 1"
        ucfTrainTestlist/testlist01.txt       lines "ACTION/v_ACTION_gNN_cNN.avi"

Clips cut from one video have the same gNN and are one group. Listed videos that are not there are
left out, so a part of the dataset will do; videos in neither list are left out too.
"""

import re
from pathlib import Path

from seg2vid.data.recordings.recording import Recording, missing
from seg2vid.tools.errors import MediaError

VIDEOS, LISTS = "UCF-101", "ucfTrainTestlist"
SIGNS = (VIDEOS,)
_ENTRY = re.compile(r"(?P<action>\w+)/(?P<name>v_(?P<group>\w+_g\d\d)_c\d\d)\.avi")


def list_recordings(root: Path) -> list[Recording]:
    """List the videos of the first official division that are there, by name.

    Raises ``MediaError`` where a list is missing or none of its videos is there.
    """
    entries = {
        match["name"]: (match, split)
        for split in ("train", "test")
        for match in _read_list(root / LISTS / f"{split}list01.txt")
    }
    recordings = [
        Recording(name, video=path, split=split, group=match["group"])
        for name, (match, split) in sorted(entries.items())
        if (path := root / VIDEOS / match["action"] / f"{name}.avi").is_file()
    ]
    if not recordings:
        first, _ = next(iter(entries.values()))
        what = f"videos of the {len(entries)} in {root / LISTS}"
        got = f"none, not even {root / VIDEOS / first[0]}"
        raise MediaError(what, got=got, fix=f"unpack UCF101.rar in {root}")
    return recordings


def _read_list(path: Path) -> list[re.Match[str]]:
    if not path.is_file():
        raise missing(f"the official list {path.name}", looked=path, layout="ucf101")
    lines = path.read_text("utf-8", errors="replace").splitlines()
    found = [match for line in lines if (match := _ENTRY.match(line.strip()))]
    if not found:
        raise missing("lines ACTION/v_ACTION_gNN_cNN.avi", looked=path, layout="ucf101")
    return found
