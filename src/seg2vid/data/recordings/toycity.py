"""A folder of toy-city clips, as ``seg2vid toycity`` writes it.

::

    ROOT/
        clip_000000.safetensors    frames, label maps, instance maps and exact motion of one seed

Frames and maps are read one at a time; the exact motion is for training on the folder itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, Integer
from torch import Tensor

from seg2vid.data.clips import ClipFolder, open_clip, rate_of
from seg2vid.data.recordings.recording import Recording
from seg2vid.labels.space import get_label_space
from seg2vid.media.video import Frame

SIGNS = ("clip_*.safetensors",)
LABELS_BY = "the renderer: exact"
LICENCE = "rendered by seg2vid"


@dataclass(frozen=True)
class ToyCityRecording(Recording):
    """One rendered clip; ``video`` is its safetensors file, and every frame has both maps."""

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """Yield frames (height, width, 3), uint8, one at a time, as in ``Recording``."""
        for index in range(len(self.label_files))[start:stop:step]:
            yield self._read("frames", index).numpy()

    def label_map(self, index: int) -> Int[np.ndarray, "height width"] | None:
        """Read the label map of a frame, ids of ``cityscapes``; None beyond the last."""
        return self._read_map("label_maps", index)

    def instance_map(self, index: int) -> Int[np.ndarray, "height width"] | None:
        """Read the instance map of a frame, 0 = no object; None beyond the last."""
        return self._read_map("instance_maps", index)

    def _read_map(self, name: str, index: int) -> Int[np.ndarray, "height width"] | None:
        return self._read(name, index).long().numpy() if index in self.label_files else None

    def _read(self, name: str, index: int) -> Integer[Tensor, "height width *channel"]:
        with open_clip(Path(self.source)) as file:
            return file.get_slice(name)[index]


def list_recordings(root: Path) -> list[Recording]:
    """List the clips by name.

    Raises ``MediaError`` where there is none, or one is damaged.
    """
    recordings: list[Recording] = []
    for path in ClipFolder(root).files:
        with open_clip(path) as file:
            rate = rate_of(file)
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
