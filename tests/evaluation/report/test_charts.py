"""Charts: points stand where their numbers say, gaps are gaps, labels never overlap."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg2vid.evaluation.report.charts import HEIGHT, LABEL_GAP, WIDTH, Line, line_chart, spread
from seg2vid.evaluation.report.reading import Stroke

STROKE = Stroke(2)
LEFT, RIGHT, TOP, BOTTOM = 0.11 * WIDTH, 0.7 * WIDTH, 0.05 * HEIGHT, 0.85 * HEIGHT


def draw(*lines: Line, axis: str = "frame") -> ElementTree.Element:
    """The chart as a strict parser reads it: SVG is XML."""
    return ElementTree.fromstring(line_chart(lines, title="LPIPS", axis=axis))


def circles(chart: ElementTree.Element) -> list[tuple[float, float]]:
    """Places of the points, which say their numbers; bands say none."""
    points = [use for use in chart.iter("use") if use.find("title") is not None]
    return [(float(use.get("x", "")), float(use.get("y", ""))) for use in points]


def numbers(chart: ElementTree.Element, anchor: str) -> dict[str, float]:
    """Texts at the axes and how far down they stand: ``end`` beside, ``middle`` below the chart."""
    texts = [t for t in chart.iter("text") if f"text-anchor: {anchor}" in t.get("style", "")]
    return {t.text or "": float(t.get("y", "")) for t in texts}


def test_larger_values_are_higher_and_later_times_further_right() -> None:
    chart = draw(Line("a", STROKE, [1, 2, 3], [0.1, 0.3, 0.2]))
    (x1, y1), (x2, y2), (x3, y3) = circles(chart)
    assert (x1, x3) == pytest.approx((LEFT, RIGHT)) and x2 == pytest.approx((x1 + x3) / 2)
    # SVG counts downwards: a chart that forgets it shows improvement as decline.
    assert y2 < y3 < y1
    assert (y1 - y3) == pytest.approx((y1 - y2) / 2, abs=0.15)


def test_numbers_at_the_axis_stand_at_their_height() -> None:
    chart = draw(Line("a", STROKE, [0, 1], [0.0, 1.0]))
    ticks, (_, zero), (_, one) = numbers(chart, "end"), *circles(chart)
    assert ticks["1"] - ticks["0"] == pytest.approx(one - zero, abs=0.1)
    assert 2 < ticks["0"] - zero < 6


def test_a_quantity_from_zero_has_no_negative_axis_but_a_negative_one_has() -> None:
    def has_negative(values: list[float]) -> bool:
        chart = draw(Line("a", STROKE, [0, 1], values))
        return any(text.startswith("−") for text in numbers(chart, "end"))

    assert not has_negative([0.0, 1.0]) and has_negative([-0.5, 1.0])


def test_gaps_break_the_curve_and_not_the_chart() -> None:
    values = [1.0, 2.0, None, 3.0, math.nan, 4.0]
    chart = draw(Line("a", STROKE, [1, 2, 3, 4, 5, 6], values))
    (curve,) = [p for p in chart.iter("path") if "stroke-width: 1.6" in p.get("style", "")]
    assert re.findall("[ML]", curve.get("d", "")) == ["M", "L", "M", "M"]
    assert len(circles(chart)) == 4


def test_bands_run_from_lows_to_highs_and_only_where_there_are_both() -> None:
    line = Line("a", STROKE, [1, 2, 3], [2, 2, 2], [1, None, 1], [3, 9, 3])
    chart = draw(line)
    (band,) = [use for use in chart.iter("use") if "fill-opacity" in use.get("style", "")]
    assert "fill: var(--hue2); fill-opacity: 0.14" in band.get("style", "")
    (shape,) = [p for p in chart.iter("path") if f"#{p.get('id')}" == band.get("href")]
    corners = {
        (round(float(x), 1), round(float(y) + float(band.get("y", "")), 1))
        for x, y in re.findall(r"([-\d.]+) ([-\d.]+)", shape.get("d", ""))
    }
    assert {x for x, _ in corners} == {round(LEFT, 1), round(RIGHT, 1)} and len(corners) == 4
    middle = circles(chart)[0][1]
    ys = sorted({y for _, y in corners})
    assert ys[0] < middle < ys[-1] and ys[0] > TOP and ys[-1] < BOTTOM
    assert "fill-opacity" not in line_chart([Line("a", STROKE, [1], [2])], title="t", axis="f")


def test_one_point_has_a_chart_and_none_has_none() -> None:
    assert len(circles(draw(Line("a", STROKE, [4], [0.2])))) == 1
    assert line_chart([Line("a", STROKE, [1], [None])], title="t", axis="frame") == ""
    assert line_chart([], title="t", axis="frame") == ""


def test_equal_values_do_not_divide_by_zero() -> None:
    for value in (0.0, 5.0, -3.0):
        assert len(circles(draw(Line("a", STROKE, [1, 2], [value, value])))) == 2


def test_whole_times_have_whole_ticks() -> None:
    times = list(range(1, 25))
    ticks = list(numbers(draw(Line("a", STROKE, times, [1.0] * 24)), "middle"))[:-1]
    assert 4 <= len(ticks) <= 9 and all(text.isdigit() for text in ticks)


def test_points_say_their_numbers_and_the_chart_its_curves() -> None:
    chart = draw(Line("ours & <b>", STROKE, [3], [0.12346]), axis="samples")
    (title,) = chart.iter("title")
    assert title.text == "ours & <b>: 0.1235 at 3"
    assert chart.get("role") == "img"
    assert chart.get("aria-label") == "LPIPS over samples: ours & <b>"
    assert "samples" in [text.text for text in chart.iter("text")]


def test_points_say_the_numbers_of_their_own_curve() -> None:
    chart = draw(
        Line("a", Stroke(0), [1, 2], [0.1, 0.2], [0.0, 0.1], [0.2, 0.3]),
        Line("b", Stroke(1, "6 3"), [1, 2], [0.5, None]),
    )
    said = {use.findtext("title"): use.get("style", "") for use in chart.iter("use")}
    assert "--hue0" in said["a: 0.2 at 2"] and "--hue1" in said["b: 0.5 at 1"]
    assert "stroke-dasharray: 6,3" in ElementTree.tostring(chart, "unicode")


@pytest.mark.parametrize("name", ["$x_1$", "\\frac", "都市 🚗", "</svg><script>", "%s {0} --grid"])
def test_names_stay_text(name: str) -> None:
    chart = draw(Line(name, STROKE, [1, 2], [0.1, 0.2]), axis=name)
    texts = [text.text for text in chart.iter("text")]
    assert texts.count(name) == 2 and not list(chart.iter("script"))


def test_labels_carry_the_hue_of_their_curve_and_are_shortened() -> None:
    chart = draw(Line("a very long title of a candidate", Stroke(3), [1, 2], [1, 2]))
    label = next(t for t in chart.iter("text") if "var(--hue3)" in t.get("style", ""))
    assert label.text == "a very long titl…"


def test_labels_of_equal_curves_do_not_overlap() -> None:
    lines = [Line(f"c{index}", Stroke(index), [1, 2], [0.5, 0.5]) for index in range(6)]
    texts = draw(*lines).iter("text")
    heights = sorted(float(t.get("y", "")) for t in texts if (t.text or "")[0] == "c")
    gaps = [b - a for a, b in pairwise(heights)]
    assert len(gaps) == 5 and min(gaps) >= LABEL_GAP * 0.8 * HEIGHT - 0.11


def test_equal_curves_make_equal_charts_without_foreign_addresses() -> None:
    line = Line("a", STROKE, [1, 2], [0.1, 0.2], [0, 0.1], [0.2, 0.3])
    chart = line_chart([line], title="t", axis="frame")
    assert chart == line_chart([line], title="t", axis="frame")
    assert "http" not in chart and "url(" not in chart and "<style" not in chart
    assert set(re.findall("#[0-9a-f]{6}", chart)) == set()


@given(st.lists(st.floats(0, 100), max_size=8).map(sorted), st.floats(1, 10))
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
