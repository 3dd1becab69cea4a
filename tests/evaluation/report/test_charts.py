"""Charts: points stand where their numbers say, gaps are gaps, labels never overlap."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg2vid.evaluation.report.charts import (
    BOTTOM,
    CHART_STYLE,
    HEIGHT,
    HUES,
    LABEL_GAP,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Line,
    Stroke,
    bar,
    is_number,
    legend,
    line_chart,
    nice_ticks,
    spread,
)

STROKE = Stroke(2)


def draw(*lines: Line, axis: str = "frame") -> ElementTree.Element:
    """The chart as a browser parses it: strict, for an SVG is XML."""
    return ElementTree.fromstring(line_chart(lines, title="LPIPS", axis=axis))


def circles(chart: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in chart.iter("circle")]


def curves(chart: ElementTree.Element) -> list[list[str]]:
    """The points of the drawn curves, without the thin lines that lead to labels."""
    found = [p for p in chart.iter("polyline") if p.get("stroke-width")]
    return [(p.get("points") or "").split() for p in found]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, True), (1.5, True), (None, False), (math.nan, False), (math.inf, False), ("1", False)],
)
def test_numbers_are_finite(value: object, expected: bool) -> None:
    assert is_number(value) is expected


def test_larger_values_are_higher_and_later_times_further_right() -> None:
    chart = draw(Line("a", STROKE, [1, 2, 3], [0.1, 0.3, 0.2]))
    (x1, y1), (x2, y2), (x3, y3) = circles(chart)
    assert x1 == LEFT and x3 == WIDTH - RIGHT and x2 == pytest.approx((x1 + x3) / 2)
    # SVG counts downwards: a chart that forgets it shows improvement as decline.
    assert y2 < y3 < y1
    assert (y1 - y3) == pytest.approx((y1 - y2) / 2, abs=0.15)


def test_numbers_at_the_axis_stand_at_their_height() -> None:
    chart = draw(Line("a", STROKE, [0, 1], [0.0, 1.0]))
    ticks = {
        t.text: float(t.get("y", "")) for t in chart.iter("text") if t.get("text-anchor") == "end"
    }
    (_, zero), (_, one) = circles(chart)
    assert ticks["0"] - 4 == pytest.approx(zero, abs=0.11)
    assert ticks["1"] - 4 == pytest.approx(one, abs=0.11)


def test_a_quantity_from_zero_has_no_negative_axis_but_a_negative_one_has() -> None:
    def labels(values: list[float]) -> set[str | None]:
        chart = draw(Line("a", STROKE, [0, 1], values))
        return {t.text for t in chart.iter("text") if t.get("text-anchor") == "end"}

    assert not any((text or "").startswith("-") for text in labels([0.0, 1.0]))
    assert any((text or "").startswith("-") for text in labels([-0.5, 1.0]))


def test_gaps_break_the_curve_and_not_the_chart() -> None:
    values = [1.0, 2.0, None, 3.0, math.nan, 4.0]
    chart = draw(Line("a", STROKE, [1, 2, 3, 4, 5, 6], values))
    assert [len(curve) for curve in curves(chart)] == [2, 1, 1]
    assert len(circles(chart)) == 4


def test_bands_run_along_highs_and_back_along_lows() -> None:
    line = Line("a", STROKE, [1, 2, 3], [2, 2, 2], [1, None, 1], [3, 9, 3])
    (band,) = draw(line).iter("polygon")
    corners = [tuple(map(float, point.split(","))) for point in (band.get("points") or "").split()]
    assert [x for x, _ in corners] == [LEFT, WIDTH - RIGHT, WIDTH - RIGHT, LEFT]
    assert corners[0][1] < corners[3][1]
    assert all(TOP <= y <= HEIGHT - BOTTOM + 0.1 for _, y in corners)


def test_one_point_has_a_chart_and_none_has_none() -> None:
    assert len(circles(draw(Line("a", STROKE, [4], [0.2])))) == 1
    assert line_chart([Line("a", STROKE, [1], [None])], title="t", axis="frame") == ""
    assert line_chart([], title="t", axis="frame") == ""


def test_equal_values_do_not_divide_by_zero() -> None:
    for value in (0.0, 5.0, -3.0):
        assert len(circles(draw(Line("a", STROKE, [1, 2], [value, value])))) == 2


def test_whole_times_have_whole_ticks() -> None:
    times = list(range(1, 25))
    chart = draw(Line("a", STROKE, times, [1.0] * 24))
    ticks = [t.text for t in chart.iter("text") if t.get("text-anchor") == "middle"][:-1]
    assert 4 <= len(ticks) <= 9 and all((text or "").isdigit() for text in ticks)


def test_points_say_their_numbers_and_the_chart_its_curves() -> None:
    chart = draw(Line("ours & <b>", STROKE, [3], [0.12346]), axis="samples")
    (title,) = chart.iter("title")
    assert title.text == "ours & <b>: 0.1235 at 3"
    assert chart.get("role") == "img"
    assert chart.get("aria-label") == "LPIPS over samples: ours & <b>"
    assert "samples" in [text.text for text in chart.iter("text")]


def test_labels_carry_the_hue_of_their_curve_and_are_shortened() -> None:
    chart = draw(Line("a very long title of a candidate", Stroke(3), [1, 2], [1, 2]))
    label = next(t for t in chart.iter("text") if "var(--hue3)" in (t.get("style") or ""))
    assert label.text == "a very long titl…"


def test_labels_of_equal_curves_do_not_overlap() -> None:
    lines = [Line(f"c{index}", Stroke(index), [1, 2], [0.5, 0.5]) for index in range(6)]
    heights = sorted(
        float(t.get("y", "")) for t in draw(*lines).iter("text") if (t.text or "")[0] == "c"
    )
    gaps = [b - a for a, b in pairwise(heights)]
    assert len(gaps) == 5 and min(gaps) >= LABEL_GAP - 0.11


@given(
    st.lists(st.floats(0, 100), max_size=8).map(sorted),
    st.floats(1, 10),
)
def test_spread_keeps_order_gap_and_bounds(places: list[float], gap: float) -> None:
    moved = spread(places, gap=gap, lowest=0, highest=100)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(moved))
    assert all(-1e-9 <= place <= 100 for place in moved)


def test_labels_at_the_bottom_are_pushed_up_and_at_the_top_down() -> None:
    assert spread([70, 95, 99], gap=14, lowest=0, highest=100) == [70, 86, 100]
    assert spread([-5, 2, 40], gap=14, lowest=0, highest=100) == [0, 14, 40]


def test_spread_leaves_what_is_apart() -> None:
    assert spread([10, 40, 90], gap=14, lowest=0, highest=100) == [10, 40, 90]
    assert spread([], gap=14, lowest=0, highest=100) == []


@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e6))
def test_ticks_are_few_round_and_inside(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    assert len(ticks) <= 6
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)


def test_ticks_by_hand() -> None:
    assert nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(0.07, 0.26) == [0.1, 0.15, 0.2, 0.25]
    assert nice_ticks(3, 3) == [3]


def test_bars_are_shares_of_the_largest() -> None:
    svg = ElementTree.fromstring(bar(0.5, {"low": 0.4, "high": 0.7}, largest=2.0, hue=1))
    (rect,), (line,) = svg.iter("rect"), svg.iter("line")
    assert float(rect.get("width", "")) == 25
    assert (line.get("x1"), line.get("x2")) == ("20.0", "35.0")
    assert svg.get("aria-hidden") == "true"


@pytest.mark.parametrize("interval", [{}, {"low": None, "high": None}, {"low": 1.0, "high": None}])
def test_bars_without_an_interval_have_no_whisker(interval: dict[str, float | None]) -> None:
    assert "<line" not in bar(1.0, interval, largest=1.0, hue=0)


def test_bars_of_nothing_and_less() -> None:
    assert 'width="0.0"' in bar(0.0, {}, largest=0.0, hue=0)
    assert 'width="0.0"' in bar(-1.0, {"low": -2.0, "high": -0.5}, largest=1.0, hue=0)


def test_every_hue_is_defined_for_light_and_dark() -> None:
    for hue in range(HUES):
        assert len(re.findall(rf"--hue{hue}: #[0-9a-f]{{6}}", CHART_STYLE)) == 2


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("place", "ground"), [(0, 1.0), (1, luminance("#121212"))])
def test_curves_stand_out_from_the_ground(place: int, ground: float) -> None:
    for hue in range(HUES):
        colour = luminance(re.findall(rf"--hue{hue}: (#[0-9a-f]{{6}})", CHART_STYLE)[place])
        bright, dark = max(colour, ground), min(colour, ground)
        assert (bright + 0.05) / (dark + 0.05) >= 3, f"hue {hue}"


def test_legend_names_and_draws_every_curve() -> None:
    text = legend([("a & b", Stroke(1, "6 3", 2.4)), ("c", Stroke(2))])
    root = ElementTree.fromstring(text)
    assert ["".join(item.itertext()) for item in root.iter("li")] == ["a & b", "c"]
    first, second = root.iter("line")
    assert (first.get("stroke-dasharray"), second.get("stroke-dasharray")) == ("6 3", None)
    assert "--hue1" in (first.get("style") or "")
