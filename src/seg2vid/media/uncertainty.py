"""How far videos of several seeds differ, pixel by pixel: where a model does not know."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.media.video import AllOrNothing, VideoWriter, video_ending
from seg2vid.structures import Carrier
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import SPREADS, UNCERTAINTY, Replacement, write_marker

WHITE = {"colour": 0.5, "labels": 1.0}
"""What is drawn white."""


@dataclass(frozen=True)
class Uncertainty(Carrier):
    """What videos of one scene from N seeds disagree in, the first frame included."""

    colour: Float[Tensor, "frame height width"]
    """Standard deviation over the seeds (over N, not N - 1), the mean of the channels, 0 ... 0.5.
    """
    labels: Float[Tensor, "frame height width"]
    """Share of the seeds without the most frequent label, 0 ... 1 - 1/N."""


class Spread:
    """Takes the same frames of one seed after another: two frames of colours are kept for each.

    Of labels each seed's are, in 16 bits.
    """

    def __init__(self) -> None:
        self._mean = self._squares = torch.zeros(())
        self._labels: list[Int[Tensor, "frame height width"]] = []

    def add(
        self,
        frames: Float[Tensor, "frame 3 height width"],
        labels: Int[Tensor, "frame height width"],
    ) -> None:
        """Take the frames (RGB in [0, 1]) and labels of one more seed."""
        self._labels.append(labels.to("cpu", torch.int16))
        frames = frames.float().cpu()
        # Welford's way: where all seeds agree, nothing is left of rounding.
        apart = frames - self._mean
        self._mean = self._mean + apart / len(self._labels)
        self._squares = self._squares + apart * (frames - self._mean)

    def uncertainty(self) -> Uncertainty:
        """Return what the seeds so far disagree in; raise ``MediaError`` for fewer than two."""
        if (count := len(self._labels)) < 2:
            what, fix = "two samples or more for uncertainty", "give several seeds: seed=[1, 2, 3]"
            raise MediaError(what, got=count, fix=fix)
        colour = (self._squares / count).sqrt().mean(1)
        shares = []
        for votes in zip(*self._labels, strict=True):  # frame by frame
            ids = torch.stack(votes)
            shares.append((ids != ids.mode(0).values).float().mean(0))
        return Uncertainty(colour, torch.stack(shares))


class UncertaintySink(AllOrNothing):
    """Writes a folder ``NNNNNN.npz``, a file for each frame, with previews: all of it, or nothing.

    A context manager like ``VideoWriter``. The files hold ``colour`` and ``labels`` as float16; the
    previews of both are grey, of standard deviations 0.5 is white. docs/conventions.md has more.
    """

    def __init__(self, path: Path, *, frames_per_second: float, ending: str = "") -> None:
        """Open the folder; previews are folders of png, or videos of this ``ending``.

        Raises ``MediaError`` for a place that cannot be written.
        """
        self.count = 0
        self.about: dict[str, object] = {}
        self._rate = frames_per_second
        self._replacement = Replacement(path, is_folder=True)
        self._writers: dict[str, VideoWriter] = {}
        try:
            for name in SPREADS:
                place = self._replacement.temporary / f"{name}{ending}"
                self._writers[name] = VideoWriter(
                    place, frames_per_second=frames_per_second, is_part=True
                )
        except BaseException:
            self.discard()
            raise

    def write(self, part: Uncertainty) -> None:
        """Append frames."""
        for planes in zip(part.colour, part.labels, strict=True):
            arrays = {name: plane.numpy() for name, plane in zip(SPREADS, planes, strict=True)}
            place = self._replacement.temporary / f"{self.count:06d}.npz"
            np.savez_compressed(place, **{k: v.astype(np.float16) for k, v in arrays.items()})
            for name, writer in self._writers.items():
                grey = np.rint(255 * np.clip(arrays[name] / WHITE[name], 0, 1)).astype(np.uint8)
                writer.write(np.repeat(grey[..., None], 3, 2))
            self.count += 1

    def close(self) -> None:
        """Finish, and move the folder to its place, or raise ``MediaError``."""
        for writer in self._writers.values():
            writer.close()
        facts: Mapping[str, object] = {"extras": list(SPREADS), "frames": self.count}
        rate = {"frames_per_second": self._rate}
        write_marker(self._replacement.temporary, {**self.about, **facts, **rate})
        self._replacement.commit()

    def discard(self) -> None:
        """Stop, and delete what was written so far."""
        for writer in self._writers.values():
            writer.discard()
        self._replacement.discard()


def uncertainty_place(path: Path) -> Path:
    """Return the folder for what videos differ in, by the path that they are named after."""
    stem = path.name if video_ending(path) == "" else path.stem
    return path.parent / f"{stem}_{UNCERTAINTY}"
