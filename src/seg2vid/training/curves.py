"""The logs of a run, all its starts together, and their picture: losses, gradients, validation."""

import csv
import io
import math
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from seg2vid.media.pictures import write_image

Curve = list[tuple[int, float]]
"""Steps, ascending, each with its value; a value that is not finite is a gap."""
Rows = Float[np.ndarray, "_ 2"]
"""The same as an array; a gap is NaN."""
Panels = dict[str, dict[str, Curve]]
"""Panels by title, each with its curves by name."""

INCHES, DOTS = 14, 100
"""Width of the picture, and its pixels an inch."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#4D4D4D")
"""After Okabe and Ito, for all eyes; wine stands for yellow, which is too pale on white."""
INK, FAINT, GRID = "#222222", "#6A6A6A", "#E4E4E4"
GRADIENT = "gradient norm"
FAMILIES = {"loss": "total loss", "gradient": GRADIENT, "rate": "learning rate", "pace": "pace"}
TRAINING, VALIDATION, TERMS = "Training", "Validation", "Terms of the loss"


def read_curves(folder: Path) -> dict[str, Curve]:
    """Return the curves of a run by column name; none where there is no log.

    ``folder`` holds version_0/metrics.csv and a further version for each time the run was resumed.
    What an older version holds from the first step of a newer one on is dropped, and so are lines
    that were cut off.
    """
    merged: dict[str, dict[int, float]] = {}
    versions = {path.parent.name[8:]: path for path in folder.glob("version_*/metrics.csv")}
    for number in sorted(filter(str.isdecimal, versions), key=int):
        table = _read_table(versions[number])
        first = min(chain(*table.values()), default=math.inf)
        for name in merged | table:
            kept = {step: value for step, value in merged.get(name, {}).items() if step < first}
            merged[name] = kept | table.get(name, {})
    return {name: sorted(column.items()) for name, column in merged.items() if column}


def _read_table(path: Path) -> dict[str, dict[int, float]]:
    """Return the values of one log by column and step."""
    text = path.read_text("utf-8", errors="replace")
    table: dict[str, dict[int, float]] = {}
    for row in csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])):
        step = _number(row.pop("step", ""))
        # ``None`` stands for what a line lacks, and is the key of what it has beyond the columns.
        if None not in (*row, *row.values()) and math.isfinite(step):
            for name, cell in row.items():
                if cell and name != "epoch":
                    table.setdefault(name, {})[int(step)] = _number(cell)
    return table


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _running_mean(rows: Rows, width: int) -> Rows:
    """Average over ``width`` rows, half of them on either side, fewer at the ends; gaps stay."""
    half, known = width // 2, np.isfinite(rows[:, 1])
    if half < 1 or not len(rows):
        return rows
    # Sums of their own, no differences of running ones: a huge value leaves no error behind.
    window = np.ones(2 * half + 1)
    sums = np.convolve(np.where(known, rows[:, 1], 0), window)[half:-half]
    counts = np.convolve(known, window)[half:-half]
    return np.stack([rows[:, 0], np.where(known, sums / np.maximum(counts, 1), np.nan)], axis=1)


def _to_rows(curve: Curve) -> Rows:
    rows = np.array(curve, float).reshape(-1, 2)
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sections = {name: panels for name, panels in _arrange(curves).items() if panels}
    columns = {name: {1: 1, 2: 2, 4: 2}.get(len(panels), 3) for name, panels in sections.items()}
    heights = [-(-len(panels) // columns[name]) for name, panels in sections.items()]
    height = 0.5 + 2.6 * sum(heights) + 0.35 * len(sections)
    figure = Figure(figsize=(INCHES, height), dpi=DOTS)
    figure.text(0.99, 0.998, title, ha="right", va="top", color=INK)
    known = [step for curve in curves.values() for step, _ in curve[:1] + curve[-1:]]
    first, last = min(known, default=0), max(known, default=1)
    steps = (0.0 if first <= last / 2 else float(first), float(max(last, first + 1)))
    parts = figure.subfigures(max(len(heights), 1), 1, height_ratios=heights or [1], squeeze=False)
    for part, rows, (name, panels) in zip(parts[:, 0], heights, sections.items(), strict=False):
        part.suptitle(name, x=0.01, ha="left", color=FAINT)
        is_measured = name == VALIDATION
        # Placed by hand: matplotlib's own layout draws everything several times to find room.
        tall = 0.35 + 2.6 * rows
        room = {"left": 0.05, "right": 0.99, "bottom": 0.5 / tall, "top": 1 - 0.65 / tall}
        space = {"hspace": 0.45, "wspace": 0.15}
        grid = part.subplots(rows, columns[name], squeeze=False, gridspec_kw=room | space).flatten()
        for axes, (heading, lines) in zip(grid, panels.items(), strict=False):
            colours = _colours(lines, panels if is_measured else {})
            _draw_panel(axes, heading, lines, colours, is_measured)
            axes.set_xlim(*steps)
            if is_measured and best_step is not None and steps[0] <= best_step <= steps[1]:
                axes.axvline(best_step, color=INK, linewidth=1)
                axes.set_xlabel(f"step (best: {best_step:,})")
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


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
    axes: Any, title: str, lines: Mapping[str, Curve], colours: dict[str, str], is_measured: bool
) -> None:
    """Draw pale curves and their dark running means; measurements as they are, with markers."""
    rows = {name: _to_rows(curve) for name, curve in lines.items()}
    means = rows if is_measured else {n: _running_mean(r, len(r) // 40) for n, r in rows.items()}
    is_logarithmic = _is_logarithmic(title, np.concatenate([*rows.values()])[:, 1])
    if is_logarithmic:
        axes.set_yscale("log", nonpositive="mask")
    for name, mean in means.items():
        known = mean[np.isfinite(mean[:, 1]), 1]
        last = f"{known[-1]:.3g}" if len(known) else "no number"
        if not is_measured:
            axes.plot(*rows[name].T, color=colours[name], alpha=0.3, linewidth=0.8)
        marker = "o" if is_measured or len(known) < 3 else ""
        label = f"{name or title}  {last}"
        axes.plot(*mean.T, color=colours[name], marker=marker, markersize=3, label=label)
    axes.set_ylim(*_value_range([*rows.values()], [*means.values()], is_logarithmic))
    axes.set_title(title, loc="left", fontsize="medium", color=INK)
    axes.set_xlabel("step")
    axes.grid(color=GRID)
    axes.tick_params(colors=FAINT, labelsize="small")
    axes.legend(fontsize="x-small", ncols=2, frameon=False)


def _is_logarithmic(title: str, values: Float[np.ndarray, " row"]) -> bool:
    """Say whether values span much; gradients need less, and those of exactly 0 do not count."""
    known = values[values > 0] if title.startswith(GRADIENT) else values[np.isfinite(values)]
    limit = 3 if title.startswith(GRADIENT) else 100
    return len(known) > 0 and bool(0 < known.min() < known.max() / limit)


def _value_range(rows: list[Rows], means: list[Rows], is_logarithmic: bool) -> tuple[float, float]:
    """Return the ends of an axis that shows all of the means and 99 % of each curve."""
    known = [part[np.isfinite(part[:, 1]), 1] for part in rows + means]
    known = [np.log10(part[part > 0]) if is_logarithmic else part for part in known]
    spans = [np.quantile(one, [0.005, 0.995]) for one in known[: len(rows)] if len(one)]
    shown = np.concatenate([*spans, *known[len(rows) :]])
    low, high = (float(shown.min()), float(shown.max())) if len(shown) else (0.0, 1.0)
    low = 0.0 if not is_logarithmic and 0 < low < 0.4 * high else low
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    ends = low - room, high + room
    return (10 ** ends[0], 10 ** ends[1]) if is_logarithmic else ends
