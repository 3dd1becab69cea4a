"""A picture of a training run, from its logs: losses, gradients, learning rates, validation."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageColor, ImageDraw, ImageFont

from seg2vid.media.pictures import write_image
from seg2vid.training.logs import Curve, read_curves

FINER = 2
"""The picture is drawn this many times larger, then reduced; pixels below are those drawn."""
WIDTH, MARGIN, HEADING, PANEL, LEGEND = 2800, 40, 72, 500, 36
LEFT, TOP, RIGHT, BOTTOM = 104, 48, 36, 84
"""Pixels around the plot of a panel, whose legend lies above it."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#4D4D4D")
"""After Okabe and Ito, for all eyes; wine stands for yellow, which is too pale on white."""
INK, FAINT, GRID = "#222222", "#6A6A6A", "#E4E4E4"
GRADIENT = "gradient norm"
FAMILIES = {"loss": "total loss", "gradient": GRADIENT, "rate": "learning rate", "pace": "pace"}
TRAINING, VALIDATION, TERMS = "Training", "Validation", "Terms of the loss"

Rows = Float[np.ndarray, "_ 2"]
"""The same as an array; a gap is NaN."""
Panels = dict[str, dict[str, Curve]]
"""Panels by title, each with its curves by name."""


def smooth(curve: Curve, *, width: int) -> Curve:
    """Return the running mean of ``curve`` over ``width`` rows, fewer at its ends.

    Half of them lie on either side, so an even width counts as one more. Gaps stay, uncounted.
    """
    rows = _running_mean(_to_rows(curve), width)
    return [(step, value) for (step, _), value in zip(curve, rows[:, 1].tolist(), strict=True)]


def _running_mean(rows: Rows, width: int) -> Rows:
    half, known = width // 2, np.isfinite(rows[:, 1])
    if half < 1 or not len(rows):
        return rows
    # Sums of their own, no differences of running ones: a huge value leaves no error behind.
    sums = np.convolve(np.where(known, rows[:, 1], 0), np.ones(2 * half + 1))[half:-half]
    ends = np.arange(len(rows))
    counts = np.append(0, np.cumsum(known))
    counts = counts[np.minimum(ends + half + 1, len(rows))] - counts[np.maximum(ends - half, 0)]
    return np.stack([rows[:, 0], np.where(known, sums / np.maximum(counts, 1), np.nan)], axis=1)


def _to_rows(curve: Curve) -> Rows:
    rows = np.fromiter(chain.from_iterable(curve), float, 2 * len(curve)).reshape(-1, 2)
    return np.where(np.isfinite(rows), rows, np.nan)


def write_curves(run: Path, *, title: str, best_step: int | None = None) -> Path | None:
    """Draw the logs in ``run``/log as ``run``/curves.png, whole or not at all; return that path.

    ``title`` and ``best_step`` are those of ``draw_curves``. None, and no file, without any value.
    Raises ``MediaError`` where ``run`` cannot be written to.
    """
    curves = read_curves(run / "log")
    if not curves:
        return None
    write_image(run / "curves.png", draw_curves(curves, title=title, best_step=best_step))
    return run / "curves.png"


def draw_curves(
    curves: Mapping[str, Curve], *, title: str, best_step: int | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture of curves under a ``title``: a grid of panels, RGB, 1400 pixels wide.

    ``curves`` are named as in the log. Figures of validation that differ only behind a comma share
    a panel, which marks ``best_step``; a unit in brackets ends a name.
    """
    sections = {name: panels for name, panels in _arrange(curves).items() if panels}
    grid = {name: {1: 1, 2: 2, 4: 2}.get(len(panels), 3) for name, panels in sections.items()}
    rows = {name: -(-len(panels) // grid[name]) for name, panels in sections.items()}
    height = 3 * MARGIN + sum(rows.values()) * PANEL + len(sections) * HEADING
    picture = Image.new("RGB", (WIDTH, height), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN), title, INK, _font(24), "lt", stroke_width=1)
    known = [step for curve in curves.values() for step, _ in curve[:1] + curve[-1:]]
    first, last = min(known, default=0), max(known, default=1)
    steps = (0.0 if first <= last / 2 else float(first), float(max(last, first + 1)))
    top = 3 * MARGIN
    for name, panels in sections.items():
        draw.line([MARGIN, top, WIDTH - MARGIN, top], GRID, 3)
        draw.text((MARGIN, top + 18), name, FAINT, _font(17), "lt")
        columns, top, best = grid[name], top + HEADING, best_step if name == VALIDATION else None
        for index, (heading, lines) in enumerate(panels.items()):
            left = MARGIN // 2 + index % columns * ((WIDTH - MARGIN) // columns)
            box = (left, top + index // columns * PANEL, left + (WIDTH - MARGIN) // columns)
            colours = _colours(lines, panels if name == VALIDATION else {})
            _draw_panel(draw, box, heading, lines, colours, steps, name == VALIDATION, best)
        top += PANEL * rows[name]
    return np.asarray(picture.reduce(FINER))


def _arrange(curves: Mapping[str, Curve]) -> dict[str, Panels]:
    """Return sections of panels of curves, by name."""
    sections: dict[str, Panels] = {TRAINING: {}, VALIDATION: {}, TERMS: {}}
    for name in sorted(curves, key=lambda name: name != "loss"):
        family, _, rest = name.replace("_", " ").partition("/")
        section, heading, line = TRAINING, FAMILIES.get(family, ""), rest
        if family == "validation":
            # "figure, variant [unit]", of which the last two may be absent.
            figure, line, unit = re.findall(r"(?s)^(.*?)(?:, ([^,\[]*?))?( \[.*\])?$", rest)[0]
            section, heading = VALIDATION, figure + unit
        elif not heading:
            section, heading, line = TERMS, rest or family, ""
        while len(sections[section].get(heading, {})) == len(COLOURS):
            heading += " (more)"
        sections[section].setdefault(heading, {})[line] = curves[name]
    return sections


def _colours(lines: Mapping[str, Curve], panels: Panels) -> dict[str, str]:
    """Return a colour for each line, the same one in all ``panels`` where the colours suffice."""
    names = list(dict.fromkeys(chain(*panels.values(), lines)))
    names = names if len(names) <= len(COLOURS) else list(lines)
    return {name: COLOURS[names.index(name)] for name in lines}


def _draw_panel(
    draw: ImageDraw.ImageDraw,
    cell: tuple[int, int, int],
    title: str,
    curves: Mapping[str, Curve],
    colours: Mapping[str, str],
    steps: tuple[float, float],
    is_measured: bool,
    best_step: int | None,
) -> None:
    """Draw pale curves and their dark running means; measurements as they are, with markers."""
    rows = [_to_rows(curve) for curve in curves.values()]
    means = rows if is_measured else [_running_mean(part, len(part) // 40) for part in rows]
    _draw_legend(draw, cell, title, colours, [mean[:, 1] for mean in means])
    if is_logarithmic := _is_logarithmic(title, np.concatenate(rows)[:, 1]):
        rows, means = ([_logarithm(part) for part in parts] for parts in (rows, means))
    low, high = _value_range(rows, means, is_logarithmic)
    high += 0.0 if best_step is None else 0.15 * (high - low)  # room for the label
    top = cell[1] + TOP + (LEGEND * -(-len(rows) // 2) if len(rows) > 1 else 0)
    box = (cell[0] + LEFT, top, cell[2] - RIGHT, cell[1] + PANEL - BOTTOM)
    axes = _Axes(draw, box, steps, (low, high))
    axes.draw_grid(_ticks(low, high, is_logarithmic), best_step)
    for part, colour in zip([] if is_measured else rows, colours.values(), strict=False):
        pale = [255 - round(0.3 * (255 - channel)) for channel in ImageColor.getrgb(colour)]
        axes.draw_curve(part, tuple(pale), 2, 0)
    for part, colour in zip(means, colours.values(), strict=True):
        axes.draw_curve(part, colour, 4, 8 if is_measured else 0)


def _is_logarithmic(title: str, values: Float[np.ndarray, " row"]) -> bool:
    """Say whether values span much; gradients need less, and those of exactly 0 do not count."""
    known = values[values > 0] if title.startswith(GRADIENT) else values[np.isfinite(values)]
    limit = 3 if title.startswith(GRADIENT) else 100
    return len(known) > 0 and bool(0 < known.min() < known.max() / limit)


def _logarithm(rows: Rows) -> Rows:
    positive = np.where(rows[:, 1] > 0, rows[:, 1], np.nan)
    return np.stack([rows[:, 0], np.log10(positive)], axis=1)


def _value_range(rows: list[Rows], means: list[Rows], is_logarithmic: bool) -> tuple[float, float]:
    """Return the ends of an axis that shows all of the means and 99 % of each curve."""
    known = [part[np.isfinite(part[:, 1]), 1] for part in rows + means]
    for index, values in enumerate(known[: len(rows)]):
        known[index] = np.quantile(values, [0.005, 0.995]) if len(values) else values
    shown = np.concatenate(known)
    low, high = (float(shown.min()), float(shown.max())) if len(shown) else (0.0, 1.0)
    low = 0.0 if not is_logarithmic and 0 < low < 0.4 * high else low
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _ticks(low: float, high: float, is_logarithmic: bool = False) -> dict[float, str]:
    """Return the texts of about five round values by their places between ``low`` and ``high``."""
    if is_logarithmic:
        powers = range(math.floor(low), math.floor(high) + 1)
        for factors in ((1,), (1, 2, 5), range(1, 10)):
            values = [factor * 10.0**power for power in powers for factor in factors]
            inside = [value for value in values if low <= math.log10(value) <= high]
            if len(inside) > 2:
                break
        return {math.log10(value): _text(value) for value in inside[:: 1 + len(inside) // 7]}
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    size = power * next(factor for factor in (1, 2, 5, 10) if power * factor * 5.5 >= high - low)
    counts = range(math.ceil(low / size), math.floor(high / size) + 1)
    return {size * count: _text(size * count) for count in counts}


def _text(value: float, digits: int = 6) -> str:
    """Return a number as a person writes it: 0.5, 20k, 1.5M, 2e-4."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if size <= abs(value) < 1e9:
            return f"{value / size:.{digits}g}{letter}"
    if 0 < abs(value) < 1e-3:
        return re.sub(r"\.?0*e-0?", "e-", f"{value:.{digits - 1}e}")
    return f"{value:.{digits}g}".replace("e+", "e")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * FINER)


def _draw_legend(
    draw: ImageDraw.ImageDraw,
    cell: tuple[int, int, int],
    title: str,
    colours: Mapping[str, str],
    values: list[Float[np.ndarray, " _"]],
) -> None:
    """Write the title and the last value of a panel, or of each of its lines."""
    left, top, right = cell[0] + LEFT, cell[1], cell[2] - RIGHT
    known = [column[np.isfinite(column)][-1:].tolist() for column in values]
    texts = [_text(last[0], 3) if last else "no number" for last in known]
    if len(colours) == 1:
        draw.text((right, top + 24), texts[0], FAINT, _font(13), "rs")
        figure, bracket, unit = title.partition(" [")
        title = ", ".join(filter(None, [figure, *colours])) + bracket + unit
    draw.text((left, top + 24), title, INK, _font(15), "ls")
    for index, (name, text) in enumerate(zip(colours, texts, strict=True)):
        if len(colours) > 1:
            x, y = left + index % 2 * (right - left) // 2, top + 52 + index // 2 * LEGEND
            draw.line([x, y, x + 28, y], colours[name], 6)
            draw.text((x + 38, y), name or title, INK, _font(12), "lm")
            end = x + 52 + draw.textlength(name or title, _font(12))
            draw.text((end, y), text, FAINT, _font(12), "lm")


@dataclass(frozen=True)
class _Axes:
    """A plot in the pixels of ``box``, left, top, right and bottom; ranges of steps and values."""

    draw: ImageDraw.ImageDraw
    box: tuple[int, int, int, int]
    steps: tuple[float, float]
    values: tuple[float, float]

    def places(self, rows: Rows) -> Rows:
        """Return the pixels (x, y) of steps and values; those outside lie on the edge."""
        low, high = np.array([self.steps, self.values]).T
        left, top, right, bottom = self.box
        share = np.clip((rows - low) / (high - low), 0, 1)
        return share * [right - left, top - bottom] + [left, bottom]

    def crisp(self, step: float, value: float) -> tuple[int, int]:
        """Return the pixel (x, y) of a place, so that straight lines stay sharp when reduced."""
        x, y = self.places(np.array([[step, value]]))[0] / FINER
        return FINER * round(x), FINER * round(y)

    def draw_grid(self, ticks: Mapping[float, str], best_step: int | None) -> None:
        """Draw axes with their texts, and the best step."""
        left, top, right, bottom = self.box
        for value, text in ticks.items():
            _, y = self.crisp(0.0, value)
            self.draw.line([left, y, right, y], GRID, 2)
            self.draw.text((left - 12, y), text, FAINT, _font(12), "rm")
        for step, text in _ticks(*self.steps).items():
            if step == round(step):
                x, _ = self.crisp(step, 0.0)
                self.draw.line([x, top, x, bottom], GRID, 2)
                self.draw.text((x, bottom + 12), text, FAINT, _font(12), "mt")
        self.draw.text((left - 30, bottom + 12), "step", FAINT, _font(12), "rt")
        self.draw.line([left, top, left, bottom, right, bottom], FAINT, 2)
        if best_step is not None and self.steps[0] <= best_step <= self.steps[1]:
            x, _ = self.crisp(float(best_step), 0.0)
            self.draw.line([x, top, x, bottom], INK, 2)
            side = -1 if x > (left + right) / 2 else 1
            place, anchor = (x + 10 * side, top + 2), "rt" if side < 0 else "lt"
            self.draw.text(place, f"best: step {best_step:,}", INK, _font(12), anchor)

    def draw_curve(
        self, rows: Rows, colour: str | tuple[int, ...], width: int, radius: int
    ) -> None:
        """Draw the parts of a curve between its gaps, with markers where they have a radius."""
        rows = _thin(rows)
        gaps = np.flatnonzero(np.diff(np.isfinite(rows[:, 1]))) + 1
        parts = [part for part in np.split(rows, gaps) if np.isfinite(part[:, 1]).all()]
        for places in (self.places(part).tolist() for part in parts):
            self.draw.line([*chain(*places)], colour, width, "curve" if width > 2 else None)
            for place in places if radius or len(places) == 1 else ():
                self.draw.circle(place, radius or 5, colour, "white" if radius else None, 2)


def _thin(rows: Rows, most: int = 700) -> Float[np.ndarray, "kept 2"]:
    """Return at most twice ``most`` rows: of many in a row, the least and the largest."""
    count = -(-len(rows) // most)
    if count < 3:
        return rows
    bins = np.pad(rows, ((0, -len(rows) % count), (0, 0)), constant_values=np.nan)
    bins = bins.reshape(-1, count, 2)
    ends = [np.fmin.reduce(bins[..., 1], axis=1), np.fmax.reduce(bins[..., 1], axis=1)]
    return np.stack([bins[:, :1, 0].repeat(2, axis=1), np.stack(ends, axis=1)], 2).reshape(-1, 2)
