"""KTH actions: 25 persons, six actions, four places, in grey videos of 160x120 pixels.

::

    ROOT/
        00sequences.txt                       which frames of each video show the action
        walking/person01_walking_d1_uncomp.avi  in folders by action, or directly in ROOT

Split as in the paper: persons 1-16 train, 17-25 test (00sequences.txt proposes another division).
A person is a group, so that a validation part can be divided off by person.
"""

import re
from itertools import accumulate
from pathlib import Path

from seg2vid.data.recordings.recording import Recording, missing
from seg2vid.tools.errors import MediaError

SEQUENCES = "00sequences.txt"
LAST_TRAINING_PERSON = 16
LICENCE = "KTH terms: non-commercial use"
SIGNS = (SEQUENCES, "person??_*_d?_uncomp.avi", "*/person??_*_d?_uncomp.avi")
_VIDEO = re.compile(r"(?P<name>(?P<person>person\d\d)_[a-z]+_d\d)_uncomp\.avi")
_LINE = re.compile(r"^\s*(person\d\d_[a-z]+_d\d)\s+frames\s+(.*)$", re.MULTILINE)
_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")


def list_recordings(root: Path) -> list[Recording]:
    """List the videos that are there, by name, with the spans that show the action.

    Raises ``MediaError`` where there is no video, no list of sequences, or a video is not in it.
    """
    paths = [*root.glob("*.avi"), *root.glob("*/*.avi")]
    videos = [(path, match) for path in paths if (match := _VIDEO.fullmatch(path.name))]
    if not videos:
        looked = f"{root} and the folders in it"
        raise missing("videos personNN_ACTION_dN_uncomp.avi", looked=looked, layout="kth")
    spans = _read_spans(root / SEQUENCES)
    unlisted = sorted(match["name"] for _, match in videos if match["name"] not in spans)
    if unlisted:
        what, got = f"the frames of {unlisted[0]}", f"no such line in {root / SEQUENCES}"
        raise MediaError(what, got=got, fix="download that file again, or add the line")
    recordings = [
        Recording(
            match["name"],
            video=path,
            spans=spans[match["name"]],
            split="train" if int(match["person"][-2:]) <= LAST_TRAINING_PERSON else "test",
            group=match["person"],
            licence=LICENCE,
        )
        for path, match in videos
    ]
    return sorted(recordings, key=lambda recording: recording.name)


def _read_spans(path: Path) -> dict[str, tuple[tuple[int, int], ...]]:
    """Read the spans of every video; those marked ``*missing*`` have none and are left out."""
    if not path.is_file():
        raise missing(f"the list of sequences {SEQUENCES}", looked=path, layout="kth")
    text = path.read_text("utf-8", errors="replace")
    return {name: _spans(ranges) for name, ranges in _LINE.findall(text)}


def _spans(ranges: str) -> tuple[tuple[int, int], ...]:
    """Turn "1-95, 96-185" (from 1, the last included) into spans from 0, one past the last.

    Some lines of the official file are out of order or overlap ("207-311, 212-456"): each span
    begins where those before it end.
    """
    pairs = sorted((int(first) - 1, int(last)) for first, last in _RANGE.findall(ranges))
    ends = [0, *accumulate((stop for _, stop in pairs), max)]
    spans = ((max(first, end), stop) for (first, stop), end in zip(pairs, ends, strict=False))
    return tuple((first, stop) for first, stop in spans if first < stop)
