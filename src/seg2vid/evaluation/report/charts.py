"""Curves with interval bands as inline SVG; the style sheet sets their colours."""

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from seg2vid.evaluation.report.reading import HUES, Number, Stroke, is_number

COLOURS = {f"#0f0e0{hue}": f"var(--hue{hue})" for hue in range(HUES)}
"""Colours that nothing else has, and what takes their place in the SVG."""
PENS = list(COLOURS)
GRID, INK = "#0f0e10", "#0f0e11"
COLOURS |= {GRID: "var(--grid)", INK: "currentColor"}
WIDTH, HEIGHT = 420, 250
BOX = (0.11, 0.15, 0.59, 0.8)
"""Left, bottom, width and height of the axes; to the right there is room for labels."""
LABEL_GAP = 0.07
"""Least distance of two labels, as a share of the height, so that they never overlap."""
LABEL_LETTERS = 17


@dataclass(frozen=True)
class Line:
    """One curve: ``times``, ``values`` and its interval are of equal length; None is a gap."""

    title: str
    stroke: Stroke
    times: Sequence[Number]
    values: Sequence[Number | None]
    lows: Sequence[Number | None] = ()
    highs: Sequence[Number | None] = ()

    def points(self) -> list[tuple[Number, Number]]:
        """Return the (time, value) pairs that are numbers."""
        pairs = zip(self.times, self.values, strict=False)
        return [(time, value) for time, value in pairs if is_number(value)]

    def band(self) -> list[tuple[Number, Number, Number]]:
        """Return (time, low, high) wherever there is an interval."""
        triples = zip(self.times, self.lows, self.highs, strict=False)
        return [
            (time, low, high) for time, low, high in triples if is_number(low) and is_number(high)
        ]


def line_chart(lines: Sequence[Line], *, title: str, axis: str) -> Markup:
    """Return an SVG of the curves with their interval bands, labelled at their ends.

    ``axis`` names the horizontal axis. Empty when no curve has a point.
    """
    lines = [line for line in lines if line.points()]
    if not lines:
        return Markup()
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
    axes = figure.add_axes(BOX)
    _set_axes(axes, lines, axis)
    hints = []
    for line in reversed(lines):
        pen, width = PENS[line.stroke.hue], line.stroke.width
        if len(line.band()) > 1:
            times, lows, highs = zip(*line.band(), strict=True)
            axes.fill_between(times, lows, highs, color=pen, alpha=0.14, lw=0, clip_on=False)
        values = [value if is_number(value) else math.nan for value in line.values]
        dashes = tuple(float(part) / width for part in line.stroke.dash.split())
        (curve,) = axes.plot(line.times[: len(values)], values, color=pen, lw=width, marker="o")
        curve.set(ls=(0, dashes) if dashes else "-", markersize=4, clip_on=False)
        hints += [f"{line.title}: {value:.4g} at {time:g}" for time, value in line.points()]
    _set_labels(axes, lines)
    names = ", ".join(line.title for line in lines)
    return _inline(figure, f"{title} over {axis}: {names}", hints)


def _set_axes(axes: Axes, lines: Sequence[Line], name: str) -> None:
    times = [time for line in lines for time, _ in line.points()]
    values = [value for line in lines for _, value in line.points()]
    values += [edge for line in lines for _, *edges in line.band() for edge in edges]
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
    # A quantity that never is negative does not get a negative axis.
    axes.set_ylim(0.0 if 0 <= low < room else low - room, high + room)
    first, last = min(times), max(times)
    axes.set_xlim((first, last) if last > first else (first - 1, last + 1))
    is_whole = all(float(time).is_integer() for time in times)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=is_whole))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel(name, color=INK, size=12, parse_math=False)
    axes.tick_params(bottom=False, left=False, labelcolor=INK, labelsize=12)
    axes.grid(axis="y", color=GRID, lw=1, clip_on=False)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)


def _set_labels(axes: Axes, lines: Sequence[Line]) -> None:
    """Write the name of each curve beside its last point, shortened to the room there is."""
    low, high = axes.get_ylim()
    ends = sorted(lines, key=lambda line: line.points()[-1][1])
    heights = [(line.points()[-1][1] - low) / (high - low) for line in ends]
    places = spread(heights, gap=LABEL_GAP, lowest=0.0, highest=1.0)
    for line, place in zip(ends, places, strict=True):
        title, pen = line.title, PENS[line.stroke.hue]
        axes.annotate(
            title if len(title) <= LABEL_LETTERS else title[: LABEL_LETTERS - 1].rstrip() + "…",
            line.points()[-1],
            (1.04, place),
            textcoords="axes fraction",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": pen, "alpha": 0.45, "shrinkB": 3},
            color=pen,
            size=12,
            va="center",
            parse_math=False,
        )


def spread(
    places: Sequence[Number], *, gap: Number, lowest: Number, highest: Number
) -> list[Number]:
    """Move ``places`` (sorted) as little as possible so that they are ``gap`` apart.

    Where there is no room between ``lowest`` and ``highest`` they stay ``gap`` apart and run over
    ``lowest``.
    """
    moved: list[Number] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else max(place, lowest))
    limit = highest
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - gap
    return moved


def _inline(figure: Figure, about: str, hints: Sequence[str]) -> Markup:
    """Return a figure as SVG for a page; under the pointer each point says its hint."""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": about}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the browser has fonts for every letter
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
    head += f'aria-label="{escape(about)}">'
    # Left out: what belongs to a file of its own, styles for the whole page, names that repeat.
    text = re.sub(r"<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text).replace("xlink:href=", "href=")
    text = re.sub(r'(<text style="[^"]*?)font-family: [^;]*; ', r"\1", text)
    for colour, variable in COLOURS.items():
        text = text.replace(colour, variable)
    titles = (f"<title>{escape(hint)}</title>" for hint in hints)
    point = r"(<use (?![^>]*fill-opacity)[^>]*)/>"  # bands are pale, points are not
    text = re.sub(point, lambda use: f"{use[1]}>{next(titles)}</use>", text)
    return Markup(head + text[text.index(">") + 1 :].strip())
