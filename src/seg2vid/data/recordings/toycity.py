"""A folder of toy-city clips, as ``seg2vid toycity`` writes it.

::

    ROOT/
        clip_000000.safetensors    frames, label maps, instance maps and exact motion of one seed

Frames and maps are read one at a time; the exact motion is for training on the folder itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Integer
from safetensors import safe_open

from seg2vid.data.clips import DAMAGES, ClipFolder
from seg2vid.data.recordings.recording import Frame, Recording
from seg2vid.labels.space import get_label_space
from seg2vid.tools.errors import MediaError

SIGNS = ("clip_*.safetensors",)
LABELS_BY = "the renderer: exact"
LICENCE = "rendered by seg2vid"


@dataclass(frozen=True)
class ToyCityRecording(Recording):
    """One rendered clip; ``video`` is its safetensors file, and every frame has both maps."""

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """Yield frames (height, width, 3), uint8, one at a time, as in ``Recording``."""
        for index in range(len(self.label_files))[start:stop:step]:
            yield self._read("frames", index)

    def label_map(self, index: int) -> Int[np.ndarray, "height width"] | None:
        """Read the label map of a frame, ids of ``cityscapes``; None beyond the last."""
        return self._read("label_maps", index) if index in self.label_files else None

    def instance_map(self, index: int) -> Int[np.ndarray, "height width"] | None:
        """Read the instance map of a frame, 0 = no object; None beyond the last."""
        return self._read("instance_maps", index) if index in self.label_files else None

    def _read(self, name: str, index: int) -> Integer[np.ndarray, "height width *channel"]:
        """Read frame ``index`` of an array of the file; maps become int64."""
        with _open(self.source) as file:
            array: np.ndarray = file.get_slice(name)[index]
        return array if name == "frames" else array.astype(np.int64)


@contextmanager
def _open(path: str) -> Iterator[Any]:
    """Open a clip's file; raise ``MediaError`` where it, or what is asked of it, is none."""
    try:
        with safe_open(path, "numpy") as file:
            yield file
    except DAMAGES as error:
        what, got = "a toy-city clip", f"{path}: {error}"
        raise MediaError(what, got=got, fix="render it again: seg2vid toycity") from None


def list_recordings(root: Path) -> list[Recording]:
    """List the clips by name.

    Raises ``MediaError`` where there is none, or one is damaged.
    """
    recordings: list[Recording] = []
    for path in ClipFolder(root).files:
        with _open(str(path)) as file:
            rate = float((file.metadata() or {}).get("frames_per_second", 12.0))
            # Every frame has its maps in the same file.
            places = dict.fromkeys(range(file.get_slice("label_maps").get_shape()[0]), path)
        recordings.append(
            ToyCityRecording(
                path.stem,
                video=path,
                frames_per_second=rate,
                label_space=get_label_space("cityscapes"),
                label_files=places,
                instance_files=places,
                licence=LICENCE,
                labels_by=LABELS_BY,
            )
        )
    return recordings
