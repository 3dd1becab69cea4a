"""Charts as inline SVG: curves with interval bands, and bars with whiskers, for light and dark."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

CHART_STYLE = """
:root { --hue0: #0072b2; --hue1: #d55e00; --hue2: #009e73; --hue3: #cc79a7; --hue4: #b37700;
--hue5: #3c9bd0; --hue6: #882255; --hue7: #6a6a6a; --grid: #e4e4e4; }
@media (prefers-color-scheme: dark) { :root { --hue0: #4fb0ea; --hue1: #ff8a3d; --hue2: #2fc79b;
--hue3: #e3a3c6; --hue4: #e6b03c; --hue5: #8fd0f5; --hue6: #d07a9f; --hue7: #a8a8a8;
--grid: #3a3a3a; } }
svg.chart { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif; }
svg.chart text { fill: currentColor; } svg.chart .grid { stroke: var(--grid); }
svg.chart .axis { opacity: .75; } svg.chart polyline { fill: none; stroke-linejoin: round; }
svg.bar { width: 100%; min-width: 4rem; height: .55rem; display: block; overflow: visible; }
svg.bar line { stroke: currentColor; opacity: .7; }
svg.swatch { width: 2rem; height: .7rem; vertical-align: middle; margin-right: .35rem; }
"""
"""After Okabe and Ito, for all eyes; on dark ground the same hues are lighter."""

HUES = 8
DASHES = ("", "6 3", "2 3", "9 3 2 3")
WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 124, 12, 36
LABEL_GAP = 14
"""Least distance of two labels, in units of the drawing, so that they never overlap."""
LABEL_LETTERS = 17

Number = float | int
"""As JSON has them: whole ones come as int."""
Numbers = Sequence[Number | None]


@dataclass(frozen=True)
class Stroke:
    """How a candidate is drawn everywhere: a hue from 0 to 7, a dash pattern and a width."""

    hue: int
    dash: str = ""
    width: float = 1.6

    @property
    def attributes(self) -> str:
        """The stroke as attributes of an SVG element."""
        dash = f' stroke-dasharray="{self.dash}"' if self.dash else ""
        return f'style="stroke:var(--hue{self.hue})" stroke-width="{self.width:g}"{dash}'


@dataclass(frozen=True)
class Line:
    """One curve: ``times``, ``values`` and its interval are of equal length; None is a gap."""

    title: str
    stroke: Stroke
    times: Sequence[Number]
    values: Numbers
    lows: Numbers = ()
    highs: Numbers = ()

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


def is_number(value: object) -> TypeGuard[Number]:
    """Say whether ``value`` is a finite number; None, NaN and infinity are none."""
    return isinstance(value, int | float) and math.isfinite(value)


def nice_ticks(low: Number, high: Number, most: int = 5) -> list[Number]:
    """Return round numbers (1, 2 or 5 times a power of ten apart) that lie within low ... high."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


@dataclass(frozen=True)
class _Scale:
    """Turns data into places of the drawing."""

    times: tuple[Number, Number]
    values: tuple[Number, Number]

    def x(self, time: Number) -> float:
        first, last = self.times
        return LEFT + (WIDTH - LEFT - RIGHT) * (time - first) / (last - first)

    def y(self, value: Number) -> float:
        low, high = self.values
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    def places(self, points: Sequence[tuple[Number, Number]]) -> str:
        return " ".join(f"{self.x(time):.1f},{self.y(value):.1f}" for time, value in points)


def _scale(lines: Sequence[Line]) -> _Scale:
    """Return a scale that holds all points and bands, with a little room."""
    times = [time for line in lines for time, _ in line.points()]
    values = [value for line in lines for _, value in line.points()]
    values += [edge for line in lines for _, *edges in line.band() for edge in edges]
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
    # A quantity that never is negative does not get a negative axis.
    bottom = 0.0 if 0 <= low < room else low - room
    first, last = min(times), max(times)
    return _Scale((first, last) if last > first else (first - 1, last + 1), (bottom, high + room))


def line_chart(lines: Sequence[Line], *, title: str, axis: str) -> str:
    """Return an SVG of the curves with their interval bands, labelled at their ends.

    ``axis`` names the horizontal axis. Empty text when no curve has a point.
    """
    lines = [line for line in lines if line.points()]
    if not lines:
        return ""
    scale = _scale(lines)
    names = html.escape(", ".join(line.title for line in lines))
    return "".join(
        (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{html.escape(title)} over {html.escape(axis)}: {names}">',
            *_axes(scale, lines, axis),
            *(_band(scale, line) for line in lines),
            *(part for line in reversed(lines) for part in _curve(scale, line)),
            *_labels(scale, lines),
            "</svg>",
        )
    )


def _axes(scale: _Scale, lines: Sequence[Line], axis: str) -> Iterator[str]:
    """Grid, numbers and the name of the horizontal axis."""
    for tick in nice_ticks(*scale.values):
        y = scale.y(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="axis" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
    times = sorted({time for line in lines for time, _ in line.points()})
    is_whole = all(float(time).is_integer() for time in times)
    ticks = times if len(times) <= 9 else nice_ticks(*scale.times, most=8)
    for tick in (t for t in ticks if not is_whole or float(t).is_integer()):
        x, y = scale.x(tick), HEIGHT - BOTTOM + 15
        yield f'<text class="axis" x="{x:.1f}" y="{y}" text-anchor="middle">{tick:g}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield (
        f'<text class="axis" x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">'
        f"{html.escape(axis)}</text>"
    )


def _band(scale: _Scale, line: Line) -> str:
    """The interval of a curve as a pale area."""
    band = line.band()
    if len(band) < 2:
        return ""
    edge = [(time, high) for time, _, high in band] + [(time, low) for time, low, _ in band[::-1]]
    style = f"fill:var(--hue{line.stroke.hue});fill-opacity:.14"
    return f'<polygon points="{scale.places(edge)}" style="{style}"/>'


def _curve(scale: _Scale, line: Line) -> Iterator[str]:
    """The curve, broken at gaps, and its points, which say their numbers under the pointer."""
    run: list[tuple[Number, Number]] = []
    for time, value in [*zip(line.times, line.values, strict=False), (0.0, None)]:
        if is_number(value):
            run.append((time, value))
        elif run:
            yield f'<polyline points="{scale.places(run)}" {line.stroke.attributes}/>'
            run = []
    for time, value in line.points():
        yield (
            f'<circle cx="{scale.x(time):.1f}" cy="{scale.y(value):.1f}" r="2.4" '
            f'style="fill:var(--hue{line.stroke.hue})"><title>{html.escape(line.title)}: '
            f"{value:.4g} at {time:g}</title></circle>"
        )


def spread(
    places: Sequence[Number], *, gap: Number, lowest: Number, highest: Number
) -> list[Number]:
    """Move ``places`` (top to bottom, sorted) as little as possible so that they are ``gap`` apart.

    Where there is no room between ``lowest`` and ``highest`` they stay ``gap`` apart and run over
    ``lowest``.
    """
    moved: list[Number] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else max(place, lowest))
    limit = highest
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - gap
    return moved


def _labels(scale: _Scale, lines: Sequence[Line]) -> Iterator[str]:
    """The name of each curve beside its last point, shortened to the room there is."""
    ends = sorted(lines, key=lambda line: scale.y(line.points()[-1][1]))
    wanted = [scale.y(line.points()[-1][1]) for line in ends]
    places = spread(wanted, gap=LABEL_GAP, lowest=TOP, highest=HEIGHT - BOTTOM)
    for line, old, new in zip(ends, wanted, places, strict=True):
        title, end = line.title, WIDTH - RIGHT
        short = title if len(title) <= LABEL_LETTERS else title[: LABEL_LETTERS - 1].rstrip() + "…"
        tail = f"{scale.x(line.points()[-1][0]) + 3:.1f},{old:.1f} {end + 9},{new:.1f}"
        hue = f"var(--hue{line.stroke.hue})"
        yield f'<polyline points="{tail}" style="stroke:{hue};opacity:.45"/>'
        yield (
            f'<text x="{end + 12}" y="{new + 4:.1f}" style="fill:{hue}">{html.escape(short)}</text>'
        )


def bar(value: Number, interval: Mapping[str, Any], *, largest: Number, hue: int) -> str:
    """Return a bar of ``value`` / ``largest`` of the width, with a whisker for its interval.

    It only repeats a number that stands beside it, so screen readers pass it over. A negative
    value has no bar.
    """
    share = 100 / largest if largest > 0 else 0.0
    low, high = interval.get("low"), interval.get("high")
    whisker = ""
    if is_number(low) and is_number(high):
        ends = f'x1="{max(low, 0) * share:.1f}" x2="{max(high, 0) * share:.1f}"'
        whisker = f'<line {ends} y1="5" y2="5" vector-effect="non-scaling-stroke"/>'
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{max(value, 0) * share:.1f}" height="10" '
        f'style="fill:var(--hue{hue});fill-opacity:.6"/>{whisker}</svg>'
    )


def legend(lines: Sequence[tuple[str, Stroke]]) -> str:
    """Return a list of titles, each beside a piece of its curve."""
    items = [
        f'<li><svg class="swatch" viewBox="0 0 32 10" aria-hidden="true"><line x1="0" x2="32" '
        f'y1="5" y2="5" {stroke.attributes}/></svg>{html.escape(title)}</li>'
        for title, stroke in lines
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'
