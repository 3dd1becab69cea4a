"""Shows that the distances measure what they claim: they grow as real clips are made worse.

    python benchmarks/distortions.py --data ../shared/data/driving_clips \
        --judges ../shared/data/judges -o docs/assets/distortions.png

Real clips of 9 frames, 256x128, are judged against their own copies under growing blur, noise,
shuffling of frames and frozen motion, four levels each. FVD and KVD judge every clip; FID and KID
judge the frames of every second clip, each as a picture by itself: the order of frames does not
reach them. KVD and KID are unbiased, so sets that share their clips can lie below 0: what counts is
that they rise. The floor, half of the recordings against the other half, is high, since streets
differ and few clips bias FVD and FID upwards; a clip and its copy share the street.

Prints a table (Markdown) and draws FVD and FID. About 10 minutes on one free core.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from tqdm import tqdm

from seg2vid.data.recordings.folder import list_recordings
from seg2vid.data.recordings.recording import read_clip
from seg2vid.evaluation.metrics.frechet import clip_for_judge, frechet_distance, kernel_distance
from seg2vid.media.pictures import write_image
from seg2vid.models.judges.i3d import I3D, load_i3d
from seg2vid.models.judges.inception import Inception, load_inception
from seg2vid.training.curves import COLOURS, FAINT, GRID, INK

TIME, HEIGHT, WIDTH = 9, 128, 256
FINER = 2
"""The plot is drawn this many times larger, then reduced."""
RATE = 10.0
"""Frames per second that recordings are thinned to, as nearly as whole steps allow."""
MOVING = 0.01
"""Mean change from frame to frame, of 1, below which a clip is left out: nothing to freeze."""
METRICS = ("FVD", "KVD", "FID", "KID")
Frames = Float[Tensor, "batch time 3 height width"]


def blur(frames: Frames, sigma: float, seed: int = 0) -> Frames:
    """Smooth with a Gaussian of ``sigma`` pixels, mirrored at the borders: the mean stays."""
    rows, columns = (blur_matrix(size, sigma).to(frames) for size in frames.shape[-2:])
    return rows @ frames @ columns.T


def blur_matrix(size: int, sigma: float) -> Float[Tensor, "size size"]:
    """Return the weights of every source pixel (column) in every blurred one (row), in float64.

    The kernel ends at 4 sigma; beyond the border the line goes on backwards, its last pixel twice,
    so that rows and columns add to 1.
    """
    if sigma == 0:
        return torch.eye(size, dtype=torch.float64)
    reach = int(4 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1)
    weights = (-0.5 * (offsets.double() / sigma).square()).exp()
    place = (torch.arange(size)[:, None] + offsets) % (2 * size)
    source = place.minimum(2 * size - 1 - place)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, source, (weights / weights.sum()).expand(size, -1).contiguous())


def add_noise(frames: Frames, deviation: float, seed: int = 0) -> Frames:
    """Add Gaussian noise, fresh in every frame and the same for a seed at all levels, and clip."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(frames.shape, generator=generator)
    return (frames + deviation * noise).clamp(0, 1)


def shuffle(frames: Frames, count: float, seed: int = 0) -> Frames:
    """Put ``count`` frames in a row, somewhere in the clip, in an order where none stays."""
    return frames[:, shuffled_order(frames.shape[1], int(count), seed)]


def shuffled_order(length: int, count: int, seed: int) -> Int[Tensor, " length"]:
    """Return the frame to show at each moment; ``count`` is 0 or from 2 to ``length``."""
    generator = torch.Generator().manual_seed(seed)
    start = int(torch.randint(length - count + 1, (1,), generator=generator))
    moved = places = torch.arange(count)
    while (moved == places).any():
        moved = torch.randperm(count, generator=generator)
    order = torch.arange(length)
    order[start : start + count] = start + moved
    return order


def freeze(frames: Frames, count: float, seed: int = 0) -> Frames:
    """Replace the last ``count`` frames by the one before them: motion stops early."""
    last = frames.shape[1] - 1 - int(count)
    return frames[:, torch.arange(frames.shape[1]).clamp(max=last)]


@dataclass(frozen=True)
class Distortion:
    """One way to make a clip worse, at growing levels."""

    name: str
    axis: str
    apply: Callable[[Frames, float, int], Frames]
    """Frames, level and seed → frames; level 0 changes nothing."""
    levels: tuple[float, ...]


DISTORTIONS = (
    Distortion("blur", "sigma, pixels", blur, (0.5, 1, 2, 4)),
    Distortion("noise", "deviation, of 1", add_noise, (0.02, 0.05, 0.1, 0.2)),
    Distortion("shuffled frames", "frames out of place, of 9", shuffle, (2, 4, 6, 9)),
    Distortion("frozen motion", "frames that stand still, of 8", freeze, (2, 4, 6, 8)),
)


@dataclass(frozen=True)
class RealClip:
    """A clip (1, 9, 3, 128, 256), RGB in [0, 1], and the number of its recording."""

    frames: Frames
    recording: int


def read_clips(data: Path, clips_each: int) -> list[RealClip]:
    """Read up to ``clips_each`` clips of every recording, from its first frame to its last.

    Clips that hardly move are left out; in a short recording they overlap. Raises ``MediaError``
    where a recording is too short for one.
    """
    clips = []
    for number, recording in enumerate(list_recordings(data)):
        step = max(1, round(recording.rate / RATE))
        last = len(recording.pictures) - (TIME - 1) * step - 1
        for start in sorted({round(place) for place in np.linspace(0, max(last, 0), clips_each)}):
            clip = read_clip(
                recording, start, num_frames=TIME - 1, step=step, height=HEIGHT, width=WIDTH
            )
            frames = torch.cat((clip.first_frame[:, None], clip.frames), dim=1)
            if (frames[:, 1:] - frames[:, :-1]).abs().mean() > MOVING:
                clips.append(RealClip(frames, number))
    return clips


@dataclass(frozen=True)
class Judges:
    """I3D and Inception; Inception looks once at a picture, however often it appears."""

    i3d: I3D
    inception: Inception
    seen: dict[bytes, Float[Tensor, " feature"]] = field(default_factory=dict)

    @torch.no_grad()
    def judge_pictures(self, frames: Frames) -> Float[Tensor, "pictures 2048"]:
        """Return features of the frames, in the order of their bytes: the same for equal sets."""
        pictures = list(frames.flatten(0, 1))
        keys = [hashlib.sha256(picture.numpy().tobytes()).digest() for picture in pictures]
        new = {key: place for place, key in enumerate(keys) if key not in self.seen}
        if new:
            looked_at = torch.stack([pictures[place] for place in new.values()])
            self.seen.update(zip(new, self.inception(looked_at).features, strict=True))
        return torch.stack([self.seen[key] for key in sorted(keys)])


Sets = dict[str, Float[Tensor, "samples feature"]]
"""Features under ``clips`` and ``pictures``."""


@torch.no_grad()
def judge_set(clips: Sequence[RealClip], judges: Judges, way: Distortion, level: float) -> Sets:
    """Return the features of distorted clips, and of the frames of every second one."""
    copies = [way.apply(clip.frames, level, index) for index, clip in enumerate(clips)]
    return {
        "clips": torch.cat([judges.i3d(clip_for_judge(copy)) for copy in copies]),
        "pictures": torch.cat([judges.judge_pictures(copy) for copy in copies[::2]]),
    }


def distances(one: Sets, other: Sets) -> dict[str, float]:
    """Return the four distances of two sets."""
    pairs = [(one[kind], other[kind]) for kind in ("clips", "pictures")]
    values = [float(way(*pair)) for pair in pairs for way in (frechet_distance, kernel_distance)]
    return dict(zip(METRICS, values, strict=True))


def halves(clips: Sequence[RealClip], judged: Sets) -> tuple[Sets, Sets]:
    """Divide the features of undistorted clips: two recordings to one half, two to the other ..."""
    is_first = torch.tensor([clip.recording % 4 < 2 for clip in clips])
    masks = {"clips": is_first, "pictures": is_first[::2].repeat_interleave(TIME)}
    first = {kind: judged[kind][mask] for kind, mask in masks.items()}
    return first, {kind: judged[kind][~mask] for kind, mask in masks.items()}


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    curves: dict[str, dict[str, list[float]]]
    """By distortion and metric: the distance at level 0 and at each of its levels."""
    floor: dict[str, float]
    """By metric: half of the recordings against the other half."""
    sizes: tuple[int, int]
    """Clips and pictures judged."""


def measure_all(clips: Sequence[RealClip], judges: Judges) -> Figures:
    """Judge every copy of the clips against the clips themselves."""
    real = judge_set(clips, judges, DISTORTIONS[0], 0)
    untouched = distances(real, real)
    curves = {way.name: {metric: [untouched[metric]] for metric in METRICS} for way in DISTORTIONS}
    steps = [(way, level) for way in DISTORTIONS for level in way.levels]
    for way, level in tqdm(steps, desc="copies judged", disable=None):
        for metric, value in distances(judge_set(clips, judges, way, level), real).items():
            curves[way.name][metric].append(value)
    sizes = (len(real["clips"]), len(real["pictures"]))
    return Figures(curves, distances(*halves(clips, real)), sizes)


def is_rising(values: Sequence[float]) -> bool:
    """Say whether each value is larger than the one before."""
    return all(before < after for before, after in pairwise(values))


def table(figures: Figures) -> str:
    """Return the figures as Markdown, and whether each rises from level to level."""
    rows = [["copies", "level", *METRICS], ["---"] * (2 + len(METRICS))]
    for way in DISTORTIONS:
        curves = [figures.curves[way.name][metric] for metric in METRICS]
        for index, level in enumerate((0, *way.levels)):
            texts = [f"{round(values[index], 6):.4g}" for values in curves]
            rows.append([f"{way.name}: {way.axis}", f"{level:g}", *texts])
        rows.append(["", "rises", *("yes" if is_rising(values) else "**no**" for values in curves)])
    rows.append(["real halves", "floor", *(f"{figures.floor[metric]:.4g}" for metric in METRICS)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


PICTURE, HEAD, ROW, COLUMN, GAP = (2800, 1500), 176, 650, 686, 56
"""Pixels, at ``FINER`` times the size of the file; a row is as high as its heading and panels."""
LEFT, TOP, BOTTOM = 112, 162, 110
"""Pixels around the plot of a panel: its ticks, its titles, the name of its axis."""
DRAWN = {"FVD": "FVD: clips, seen by I3D", "FID": "FID: single frames, seen by Inception"}
FONTS = {size: ImageFont.load_default(size * FINER) for size in (11, 12, 14, 15, 17, 22)}


def draw_figures(figures: Figures) -> UInt8[np.ndarray, "height width 3"]:
    """Return the picture, RGB, 1400 pixels wide: columns are distortions, rows are FVD and FID."""
    picture = Image.new("RGB", PICTURE, "white")
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, 40), "Real driving clips against their distorted copies", INK, FONTS[22], "lt")
    sizes = (figures.sizes[0], TIME, WIDTH, HEIGHT, figures.sizes[1])
    note = (
        "{} clips of {} frames, {}x{}; FID sees {} of the frames. Lower is better. Floor: one half "
        "of the recordings against the other, both undistorted."
    )
    draw.text((GAP, 104), note.format(*sizes), FAINT, FONTS[14], "lt")
    for row, metric in enumerate(DRAWN):
        top = HEAD + row * ROW
        draw.line([GAP, top, PICTURE[0] - GAP, top], GRID, 3)
        draw.text((GAP, top + 18), DRAWN[metric], FAINT, FONTS[17], "lt")
        tops = [max(curves[metric]) for curves in figures.curves.values()]
        high = 1.1 * max(*tops, figures.floor[metric])
        for column, way in enumerate(DISTORTIONS):
            left, right = column * COLUMN + LEFT, (column + 1) * COLUMN
            box = (left, top + TOP, right, top + ROW - BOTTOM)
            panel, values = _Panel(draw, box, high), figures.curves[way.name][metric]
            panel.draw_axes(way)
            panel.draw_floor(figures.floor[metric])
            panel.draw_curve(values, COLOURS[column])
            if max(values) < 1e-6:
                text = "Single frames have no order:\nthe distance stays 0"
                draw.text((box[0] + 80, box[3] - 130), text, INK, FONTS[12], spacing=8)
    return np.asarray(picture.reduce(FINER))


@dataclass(frozen=True)
class _Panel:
    """A plot in the pixels of ``box``: left, top, right and bottom; values from 0 to ``high``."""

    draw: ImageDraw.ImageDraw
    box: tuple[int, int, int, int]
    high: float

    def place(self, index: float, value: float) -> tuple[int, int]:
        """Return the crisp pixel of a value at a level; levels stand equally far apart."""
        left, top, right, bottom = self.box
        x = left + (right - left) * (index + 0.35) / 4.7
        y = bottom - (bottom - top) * value / self.high
        return FINER * round(x / FINER), FINER * round(y / FINER)

    def draw_axes(self, way: Distortion) -> None:
        """Draw title, grid and axes with their texts."""
        left, top, right, bottom = self.box
        self.draw.text((left, top - 32), way.name.capitalize(), INK, FONTS[15], "ls")
        ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, self.high)
        for tick in ticks[ticks <= self.high]:
            _, y = self.place(0, float(tick))
            self.draw.line([left, y, right, y], GRID, 2)
            self.draw.text((left - 12, y), f"{tick:g}", FAINT, FONTS[12], "rm")
        self.draw.line([left, bottom, right, bottom], FAINT, 2)
        for index, level in enumerate((0, *way.levels)):
            below = (self.place(index, 0)[0], bottom + 14)
            self.draw.text(below, f"{level:g}", INK, FONTS[12], "mt")
        self.draw.text(((left + right) // 2, bottom + 50), way.axis, FAINT, FONTS[12], "mt")

    def draw_floor(self, value: float) -> None:
        """Draw a dashed line at a value, and write what it is."""
        left, _, right, _ = self.box
        _, y = self.place(0, value)
        for x in range(left, right, 24):
            self.draw.line([x, y, min(x + 12, right), y], FAINT, 3)
        self.draw.text((left + 4, y + 10), f"floor: {value:.0f}", FAINT, FONTS[11], "lt")

    def draw_curve(self, values: Sequence[float], colour: str) -> None:
        """Draw a line with markers, and each value above and left of its own."""
        places = [self.place(index, value) for index, value in enumerate(values)]
        self.draw.line(places, colour, 5)
        for (x, y), value in zip(places, values, strict=True):
            self.draw.circle((x, y), 10, colour, "white", 3)
            text, style = f"{value:.0f}", (INK, FONTS[12], "rs")
            self.draw.text((x + 7, y - 17), text, *style, stroke_width=3, stroke_fill="white")


def main() -> None:
    """Measure, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of recordings")
    parser.add_argument("--judges", type=Path, required=True, help="folder of the judges' weights")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the picture, a PNG")
    parser.add_argument("--clips", type=int, default=2, help="clips of each recording")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wall, processor = time.perf_counter(), time.process_time()
    clips = read_clips(options.data, options.clips)
    judges = Judges(load_i3d(options.judges), load_inception(options.judges))
    figures = measure_all(clips, judges)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    write_image(options.output, draw_figures(figures))
    print("{} clips, {} pictures".format(*figures.sizes))
    print(f"{wall:.0f} s, {processor:.0f} s of one core\n\n{table(figures)}")


if __name__ == "__main__":
    main()
