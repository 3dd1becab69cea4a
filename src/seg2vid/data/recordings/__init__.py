"""Datasets on disk as recordings that ``prepare`` reads: an adapter module for each layout."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from seg2vid.data.recordings import camvid, cityscapes, folder, kitti, kth, ucf101
from seg2vid.data.recordings import toycity as toycity_clips
from seg2vid.data.recordings.recording import Recording
from seg2vid.tools.errors import MediaError


class Adapter(Protocol):
    """What the module of each layout offers; its docstring draws the directory tree."""

    @property
    def SIGNS(self) -> tuple[str, ...]:
        """Glob patterns, one of which finds something in such a tree."""

    def list_recordings(self, root: Path) -> list[Recording]:
        """List what is there, by name; raise ``MediaError`` for an incomplete tree."""


LAYOUTS: Mapping[str, Adapter] = {
    "cityscapes": cityscapes,
    "kitti": kitti,
    "kth": kth,
    "ucf101": ucf101,
    "camvid": camvid,
    "toycity": toycity_clips,
    "folder": folder,
}
"""The known layouts; ``folder`` is last, for it takes any folder."""


def find_layout(root: Path) -> str:
    """Return the first layout with a sign in ``root``; ``folder`` where there is none.

    Raises ``MediaError`` where ``root`` does not exist.
    """
    if not root.exists():
        what = "a folder of recordings or a video"
        raise MediaError(what, got=f"no {root}", fix="check the path")
    for name, adapter in LAYOUTS.items():
        if any(True for sign in adapter.SIGNS for _ in root.glob(sign)):
            return name
    return "folder"


def list_recordings(root: Path, layout: str = "auto") -> list[Recording]:
    """List the recordings of ``root`` by name; ``layout`` is a key of ``LAYOUTS`` or ``auto``.

    Raises ``MediaError`` for an unknown layout, a missing path, an incomplete tree, or two
    recordings of one name.
    """
    names = ("auto", *LAYOUTS)
    if layout not in names:
        what = f"a layout out of {', '.join(names)}"
        raise MediaError(what, got=repr(layout), fix="choose one of them")
    found = find_layout(root)
    recordings = LAYOUTS[found if layout == "auto" else layout].list_recordings(root)
    name, count = Counter(recording.name for recording in recordings).most_common(1)[0]
    if count > 1:
        one, other, *_ = (entry.source for entry in recordings if entry.name == name)
        got = f"{name} at {one} and at {other}"
        raise MediaError("every recording once", got=got, fix="remove one of the two")
    return recordings
