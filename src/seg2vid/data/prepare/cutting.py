"""Frames of a video → windows of consecutive frames, without cuts, black and repeated frames.

Frames arrive one at a time and only those of open windows are held, so that memory does not grow
with the length of the video.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from PIL import Image

from seg2vid.media.video import Frame

THUMBNAIL = (32, 18)
"""Width and height at which frames are compared."""
BLACK = 10 / 255
"""A frame none of whose pixels is brighter, nearly, shows nothing."""
REPEATED = 1 / 255
"""Largest difference of any part of the picture below which a frame is the one before."""
CUT_DIFFERENCE = 0.10
"""Mean difference of consecutive pictures that a cut has at least ..."""
CUT_COLOURS = 0.12
"""... and share of the pixels whose colour another picture's histogram lacks ..."""
CUT_FACTOR = 3.0
"""... and how much larger the difference is than in the frames before: fast motion is no cut."""


@dataclass
class Dropped:
    """Frames that were left out, by reason, and cuts that were found."""

    black: int = 0
    repeated: int = 0
    cuts: int = 0
    short: int = 0
    """Frames in stretches too short for a window, and left over at the end of others."""
    unrelated: int = 0
    """Clips, not frames, whose last frame shows too little of the first."""


@dataclass
class Window:
    """Consecutive frames, perhaps not all of them yet."""

    place: int
    """Place of the first frame among those of its scene."""
    indices: list[int] = field(default_factory=list)
    """Index of each frame in the video."""
    frames: list[Frame] = field(default_factory=list)


def cut_windows(
    frames: Iterable[Frame],
    dropped: Dropped,
    *,
    length: int,
    step: int = 1,
    stride: int | None = None,
    labelled: Collection[int] = (),
    only_labelled: bool = False,
    spans: Sequence[tuple[int, int]] = (),
) -> Iterator[Window]:
    """Yield the complete windows in order of their first frame; count into ``dropped`` what was
    left out.

    A window has ``length`` frames, every ``step``-th; from one window's start to the next there are
    ``stride`` taken ones, by default so many that windows do not overlap. They are laid so that the
    first of the ``labelled`` frames of a scene begins one; with ``only_labelled`` they begin at
    labelled frames and nowhere else. ``spans`` are first frame and one past the last of the parts
    to use, by default the whole.
    """
    scenes, opened = SceneWatcher(), list[Window]()
    starts = {0} | {first for first, _ in spans}
    interval = (stride or length) * step
    place = anchor = first_label = covered = total = used = 0
    for index, frame in enumerate(frames):
        if spans and not any(first <= index < stop for first, stop in spans):
            continue
        total += 1
        if index in starts:
            scenes = SceneWatcher()
        verdict = scenes.look(frame)
        if verdict == "repeated":
            dropped.repeated += 1
            continue
        if verdict != "new" or index in starts:
            dropped.cuts += verdict == "cut"
            opened, place, covered = [], 0, 0
            scene_start = index + (verdict == "black")
            later = (one for one in labelled if one >= scene_start)
            first_label = min(later, default=scene_start)
            anchor = first_label - scene_start
        if verdict == "black":
            dropped.black += 1
            continue
        if index == first_label and place != anchor:
            # Repeated frames came before it: windows are laid anew from here.
            anchor, opened = place, [] if stride is None else opened
        if index in labelled if only_labelled else (place - anchor) % interval == 0:
            opened.append(Window(place))
        for window in opened:
            if (place - window.place) % step == 0:
                window.indices.append(index)
                window.frames.append(frame)
        complete = [window for window in opened if len(window.frames) == length]
        opened = [window for window in opened if len(window.frames) < length]
        for window in complete:
            reach = place + step
            used += reach - max(window.place, covered)
            covered = reach
        yield from complete
        place += 1
    dropped.short = max(total - dropped.black - dropped.repeated - used, 0)


class SceneWatcher:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        self.before: Float[np.ndarray, "rows columns 3"] | None = None
        self.usual = 0.0
        """Running mean of the difference within a scene."""

    def look(self, frame: Frame) -> str:
        """Say what a frame (height, width, 3) is: ``new``, ``black``, ``repeated`` or ``cut``."""
        if float(np.quantile(frame[::4, ::4], 0.99)) <= BLACK * 255:
            self.before = None
            return "black"
        small = shrink(frame)
        before = self.before
        if before is None:
            self.before = small
            return "new"
        # Noise averages out in a small picture; the least thing that moves changes a part of it.
        if float(np.abs(small - before).max()) < REPEATED:
            return "repeated"
        self.before = small
        difference = float(np.abs(small - before).mean())
        foreign = float(np.abs(colour_histogram(small) - colour_histogram(before)).sum() / 2)
        is_sudden = difference > CUT_FACTOR * self.usual
        if difference > CUT_DIFFERENCE and foreign > CUT_COLOURS and is_sudden:
            self.usual = 0.0
            return "cut"
        self.usual = difference if self.usual == 0 else 0.8 * self.usual + 0.2 * difference
        return "new"


def shrink(frame: Frame) -> Float[np.ndarray, "rows columns 3"]:
    """Average a frame (height, width, 3) over the parts of a thumbnail: RGB in [0, 1], not rounded,
    so that noise does not make a step of one level out of nothing.
    """
    channels = [Image.fromarray(plane) for plane in frame.transpose(2, 0, 1).astype(np.float32)]
    small = [np.asarray(plane.resize(THUMBNAIL, Image.Resampling.BOX)) for plane in channels]
    return np.stack(small, -1) / np.float32(255)


def colour_histogram(picture: Float[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, " bin"]:
    """Return the share of the pixels in each of 4 x 4 x 4 colours, for RGB in [0, 1]."""
    levels = np.minimum((picture * 4).astype(np.int64), 3)
    bins = levels @ np.array([16, 4, 1])
    return np.bincount(bins.ravel(), minlength=64).astype(np.float32) / bins.size
