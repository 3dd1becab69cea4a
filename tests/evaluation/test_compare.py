"""Comparing evaluations: signs and verdicts are right, noise is noise, and reading files speaks."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg2vid.evaluation.compare import (
    BETTER,
    FORMAT,
    NOISE,
    UNKNOWN,
    WORSE,
    Change,
    Comparison,
    compare,
    independent_difference,
    read_report,
    verdict_of,
    what_differs,
)
from seg2vid.evaluation.comparison_table import comparison_lines, table_lines
from seg2vid.evaluation.metrics.intervals import Interval
from seg2vid.tools.errors import Seg2VidError
from tests.evaluation_samples import make_report


def find(comparison: Comparison, metric: str, frames: str = "1-8") -> Change:
    (found,) = [c for c in comparison.changes if (c.metric, c.frames) == (metric, frames)]
    return found


def shifted(metric: str, step: float, noise: float = 0.0) -> dict[str, Any]:
    """The report in which each clip of the model moved by ``step``, give or take ``noise``."""
    report = make_report()
    values = np.array(report["clips"]["values"][metric]["model"])
    scatter = np.random.default_rng(7).normal(size=len(values))
    values = values + step + noise * (scatter - scatter.mean())
    report["clips"]["values"][metric]["model"] = values.tolist()
    for figure in report["figures"]:
        if (figure["candidate"], figure["metric"], figure["frames"]) == ("model", metric, "1-8"):
            figure["value"] = float(values.mean())
    return report


def test_a_report_is_within_noise_of_itself() -> None:
    comparison = compare(make_report(), make_report())
    assert comparison.differences == comparison.only_in_one == ()
    assert {change.verdict for change in comparison.changes} == {NOISE}
    assert all(change.difference.value == 0 for change in comparison.changes)


@pytest.mark.parametrize(
    ("metric", "title", "step", "verdict"),
    [("lpips", "LPIPS", -0.004, BETTER), ("lpips", "LPIPS", 0.004, WORSE),
     ("psnr", "PSNR", 0.5, BETTER), ("psnr", "PSNR", -0.5, WORSE)],
)  # fmt: skip
def test_small_steps_of_all_clips_are_beyond_noise(
    metric: str, title: str, step: float, verdict: str
) -> None:
    change = find(compare(make_report(), shifted(metric, step, noise=abs(step) / 4)), title)
    # Second less first: a positive PSNR difference is progress, a positive LPIPS difference is not.
    assert math.copysign(1, change.difference.value) == math.copysign(1, step)
    assert change.verdict == verdict and change.is_paired
    # The two intervals overlap: side by side they would have hidden it.
    assert change.first.low < change.second.value < change.first.high


def test_differences_that_scatter_are_noise() -> None:
    change = find(compare(make_report(), shifted("lpips", 0.0005, noise=0.01)), "LPIPS")
    assert change.is_paired and change.verdict == NOISE
    assert change.difference.low < 0 < change.difference.high


def test_a_step_of_all_clips_as_small_as_rounding_is_noise() -> None:
    value = find(compare(make_report(), make_report()), "LPIPS").first.value
    tiny, small = (shifted("lpips", share * value) for share in (1e-5, 1e-3))
    for report, verdict in ((tiny, NOISE), (small, WORSE)):
        change = find(compare(make_report(), report), "LPIPS")
        assert change.is_paired and change.difference.low > 0
        assert change.verdict == verdict


def test_swapping_turns_the_sign_and_the_verdict() -> None:
    one, other = make_report(), shifted("lpips", -0.01)
    there, back = find(compare(one, other), "LPIPS"), find(compare(other, one), "LPIPS")
    assert there.difference.value == pytest.approx(-back.difference.value)
    assert (there.verdict, back.verdict) == (BETTER, WORSE)


def test_clips_pair_only_the_frames_whose_mean_they_are() -> None:
    comparison = compare(make_report(), shifted("lpips", -0.01))
    assert find(comparison, "LPIPS", "1-8").is_paired
    assert not find(comparison, "LPIPS", "1-4").is_paired
    assert not find(comparison, "FVD").is_paired


def test_other_clips_are_not_paired() -> None:
    other = shifted("lpips", -0.01)
    other["clips"]["names"][0] = "another"
    comparison = compare(make_report(), other)
    change = find(comparison, "LPIPS")
    assert not change.is_paired and change.verdict == NOISE
    assert "clips: 24 and 24, not the same" in comparison.differences


def test_clips_without_a_value_are_left_out_of_the_pairs() -> None:
    one, other = make_report(), shifted("lpips", -0.01)
    for report in (one, other):
        values = report["clips"]["values"]["lpips"]["model"]
        values[3] = None
        figure = next(f for f in report["figures"] if f["metric"] == "lpips")
        figure["value"] = float(np.mean([value for value in values if value is not None]))
    change = find(compare(one, other), "LPIPS")
    assert change.is_paired and change.difference.clips == 23
    assert change.difference.value == pytest.approx(-0.01)


def test_missing_values_and_intervals_cannot_say() -> None:
    one, other = make_report(), make_report()
    for figure in other["figures"]:
        if figure["metric"] == "fvd":
            figure |= {"low": None, "high": None}
        if figure["metric"] == "mean_iou":
            figure["value"] = None
    other["figures"] = [f for f in other["figures"] if f["metric"] != "pairwise_lpips"]
    comparison = compare(one, other)
    assert find(comparison, "FVD").verdict == UNKNOWN
    assert math.isnan(find(comparison, "FVD").difference.low)
    assert comparison.only_in_one == tuple(
        f"{title}, frames {span}: only in the first"
        for title in ("mean IoU", "Pairwise LPIPS")
        for span in ("1–4", "1–8")
    )


def test_metrics_known_to_the_second_alone_are_named() -> None:
    one, other = make_report(), make_report()
    one["metrics"] = [m for m in one["metrics"] if m["key"] != "psnr"]
    one["figures"] = [f for f in one["figures"] if f["metric"] != "psnr"]
    assert "PSNR, frames 1–8: only in the second" in compare(one, other).only_in_one


def test_candidates_are_named_or_the_model() -> None:
    report = make_report()
    comparison = compare(report, report, first_candidate="repeat")
    assert (comparison.first, comparison.second) == ("first frame repeated", "toycity")
    assert find(comparison, "LPIPS").verdict == BETTER
    comparison = compare(report, report, second_candidate="repeat")
    assert find(comparison, "LPIPS").verdict == WORSE


def test_without_a_model_what_else_was_judged_is_meant() -> None:
    report = make_report()
    report["candidates"][0]["role"] = "other"
    report["candidates"].insert(0, report["candidates"][1] | {"key": "earlier"})
    assert compare(report, make_report()).first == "toycity"


def test_unknown_candidates_are_errors() -> None:
    report = make_report()
    message = (
        "Expected a candidate x; got only model, repeat, extrapolated, truth; name one of these"
    )
    with pytest.raises(Seg2VidError, match=message):
        compare(report, report, second_candidate="x")
    other = make_report()
    other["candidates"] = other["candidates"][1:]
    with pytest.raises(
        Seg2VidError, match="an evaluated candidate; got only repeat, extrapolated, truth"
    ):
        compare(report, other)


@pytest.mark.parametrize(
    ("key", "words"),
    [("name", "the same protocol; got cityscapes-prediction-v1 and x;"),
     ("sha256", "the same checksum of the protocol; got abab")],
)  # fmt: skip
def test_other_protocols_do_not_compare(key: str, words: str) -> None:
    other = make_report()
    other["protocol"][key] = "x"
    with pytest.raises(Seg2VidError, match=f"Expected two evaluations with {words}"):
        compare(make_report(), other)


# Intervals and verdicts.


def test_independent_intervals_add_as_squares() -> None:
    difference = independent_difference(
        Interval(1.0, 1.0 - 3.0, 1.0 + 3.0, 9), Interval(2.0, 2.0 - 4.0, 2.0 + 4.0, 5)
    )
    assert difference == Interval(1.0, 1.0 - 5.0, 1.0 + 5.0, 5)


def test_lopsided_intervals_use_the_side_that_counts() -> None:
    # The lowest difference meets the low end of the second and the high end of the first.
    difference = independent_difference(Interval(0.0, 0.0, 3.0, 9), Interval(10.0, 6.0, 10.0, 9))
    assert (difference.low, difference.high) == (5, 10)


@given(st.floats(-5, 5), st.floats(0.1, 5), st.floats(-5, 5), st.floats(0.1, 5))
def test_independent_differences_turn_over(a: float, half: float, b: float, other: float) -> None:
    first, second = Interval(a, a - half, a + half, 9), Interval(b, b - other, b + other, 9)
    there, back = independent_difference(first, second), independent_difference(second, first)
    assert there.low == pytest.approx(-back.high) and there.high == pytest.approx(-back.low)
    assert there.high - there.low <= 2 * (half + other) + 1e-9


@pytest.mark.parametrize(
    ("low", "high", "direction", "verdict"),
    [(0.1, 0.2, "higher", BETTER), (0.1, 0.2, "lower", WORSE), (-0.2, -0.1, "lower", BETTER),
     (-0.2, -0.1, "higher", WORSE), (-0.1, 0.2, "lower", NOISE), (0.1, 0.2, "neither", UNKNOWN),
     (math.nan, math.nan, "lower", UNKNOWN), (0.0, 0.2, "lower", NOISE)],
)  # fmt: skip
def test_verdicts(low: float, high: float, direction: str, verdict: str) -> None:
    assert verdict_of(Interval((low + high) / 2, low, high, 9), direction) == verdict


# What else differs.


def test_everything_that_can_change_figures_is_named() -> None:
    other = make_report()
    other["provenance"] |= {
        "commit": "d" * 40, "python": "3.12.1", "platform": "macOS", "processor": "another",
        "threads": 1, "gpus": ["a card"], "precision": "bfloat16", "seeds": "9",
        "data_sha256": "9" * 64, "judges": {"i3d.onnx": "8" * 64, "vgg.safetensors": "7" * 64},
    }  # fmt: skip
    other["provenance"]["packages"] = {"torch": "2.5.0", "numpy": "1.26.4"}
    other["candidates"][0]["sha256"] = "6" * 64
    other["cost"]["workers"] = 1
    other["protocol"]["changed"] = {"clips": "2 of 24"}
    assert compare(make_report(), other).differences == (
        "commit: c0ffeec0ffee… → dddddddddddd…",
        "Python: 3.11.9 → 3.12.1",
        "package torch: 2.4.0 → 2.5.0",
        "platform: Linux → macOS",
        "processor: a processor → another",
        "threads: 2 → 1",
        "GPUs: none → a card",
        "precision: float32 → bfloat16",
        "seeds: 0 to 3 → 9",
        "data: cdcdcdcdcdcd… → 999999999999…",
        "judge i3d.onnx: efefefefefef… → 888888888888…",
        "judge vgg.safetensors: none → 777777777777…",
        "workers: 2 → 1",
        "changed in the protocol clips: none → 2 of 24",
        "model: 000000000000… → 666666666666…",
    )


def test_time_and_command_are_no_difference() -> None:
    other = make_report()
    other["provenance"] |= {"time": "later", "command": ["seg2vid", "evaluate", "-o", "b"]}
    assert what_differs(make_report(), other) == ()


# The table.


def test_table_says_both_values_the_difference_and_the_verdict() -> None:
    other = shifted("lpips", -0.01)
    other["provenance"]["threads"] = 1
    lines = list(comparison_lines(compare(make_report(), other)))
    assert lines[0] == "cityscapes-prediction-v1: toycity → toycity"
    assert lines[1:3] == ["What differs besides the figures:", "  threads: 2 → 1"]
    change = find(compare(make_report(), other), "LPIPS")
    (row,) = [line for line in lines if line.startswith("LPIPS") and "1–8" in line]
    first, second = f"{change.first.value:.3f}", f"{change.second.value:.3f}"
    assert row.split() == [
        "LPIPS", "1–8", first, second, "−0.01000", "(−0.01000", "…", "−0.01000)", "better"
    ]  # fmt: skip
    assert "1 of 13 differences are beyond noise; chance alone gives about 1 in 20." in lines
    assert lines[-1].startswith("* without values by clip")


def test_table_is_aligned_and_fits_a_terminal() -> None:
    lines = list(comparison_lines(compare(make_report(), shifted("psnr", 1.0))))
    head = next(line for line in lines if line.startswith("metric"))
    rows = lines[lines.index(head) + 1 : lines.index("", lines.index(head))]
    place = head.index("second is")
    assert len(rows) == 13
    assert all(row[place - 1] == " " and row[place] != " " for row in rows)
    assert max(map(len, lines)) <= 110
    assert "  nothing" in lines


def test_paired_differences_show_the_digits_they_have() -> None:
    lines = list(comparison_lines(compare(make_report(), shifted("lpips", -0.004, noise=0.0004))))
    (row,) = [line for line in lines if line.startswith("LPIPS") and "1–8" in line]
    value, low, high = row.split()[4], row.split()[5][1:], row.split()[7][:-1]
    assert value == "−0.00400"
    assert low.startswith("−0.0041") and high.startswith("−0.0038")


def test_rises_have_a_plus_and_unknown_intervals_none() -> None:
    other = shifted("psnr", 1.0)
    for figure in other["figures"]:
        if figure["metric"] == "fvd":
            figure |= {"low": None, "high": None}
    lines = list(comparison_lines(compare(make_report(), other)))
    (psnr,) = [line for line in lines if line.startswith("PSNR") and "1–8" in line]
    assert " +1.0" in psnr and psnr.endswith("better")
    (fvd,) = [line for line in lines if line.startswith("FVD")]
    assert "(" not in fvd and fvd.endswith("cannot say")


# Tables of several.


@pytest.fixture(scope="module")
def several() -> list[Comparison]:
    """Two comparisons with one evaluation; the second of them lacks a metric."""
    better, lacking = shifted("lpips", -0.01), shifted("psnr", -1.0)
    lacking["figures"] = [f for f in lacking["figures"] if f["metric"] != "lpips"]
    lacking["candidates"][0]["title"] = "another_one & more"
    return [compare(make_report(), other) for other in (better, lacking)]


def test_markdown_has_a_column_for_each(several: list[Comparison]) -> None:
    lines = list(table_lines(several, "markdown"))
    assert lines[0] == "| metric | frames | toycity | toycity | another_one & more |"
    assert lines[1] == "|---|---|--:|--:|--:|" and len(lines) == 2 + 13
    assert all(line.count("|") == 6 for line in lines)
    change = find(several[0], "LPIPS")
    values = [f"{i.value:.3f} ({i.low:.3f} to {i.high:.3f})" for i in (change.first, change.second)]
    assert f"| LPIPS | 1–8 | {values[0]} | {values[1]}, better | – |" in lines
    (psnr,) = [line for line in lines if line.startswith("| PSNR | 1–8")]
    assert "within noise" in psnr and psnr.endswith("worse |")


def test_latex_is_escaped(several: list[Comparison]) -> None:
    lines = list(table_lines(several, "latex"))
    assert lines[0] == r"\begin{tabular}{llrrr}" and lines[-1] == r"\end{tabular}"
    assert lines[1] == lines[3] == lines[-2] == r"\hline"
    assert lines[2] == (r"metric & frames & toycity & toycity & another\_one \& more \\")
    rows = lines[4:-2]
    assert len(rows) == 13 and all(row.endswith(r" \\") for row in rows)
    assert all(row.replace(r"\&", "").count("&") == 4 for row in rows)
    assert any("1--8" in row for row in rows) and not any("–" in row or "−" in row for row in rows)


def test_csv_has_every_number_in_full(several: list[Comparison]) -> None:
    table = list(csv.DictReader(table_lines(several, "csv")))
    assert len(table) == 13 + 13 + 11
    rows = [row for row in table if (row["metric"], row["frames"]) == ("LPIPS", "1-8")]
    assert [row["evaluation"] for row in rows] == ["1", "2"]
    change = find(several[0], "LPIPS")
    assert float(rows[0]["value"]) == change.first.value and rows[0]["difference"] == ""
    assert float(rows[1]["value"]) == change.second.value
    assert float(rows[1]["difference_low"]) == change.difference.low
    assert (rows[1]["verdict"], rows[1]["paired"]) == ("better", "True")
    assert {row["candidate"] for row in table if row["evaluation"] == "3"} == {"another_one & more"}


# Files.


def test_reports_are_read_back(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(make_report()))
    assert read_report(tmp_path / "a.json") == make_report()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "which is no file; name the folder that `seg2vid evaluate -o` wrote"),
     ("{", "no JSON: "), ("[]", r"a mapping in .*a\.json; got a list; name the folder"),
     ("{}", "the field format in"), ('{"format": 1}', "the field protocol in"),
     ("\udcff", "no JSON: "),
     (json.dumps({"format": FORMAT + 1}), f"a report of format {FORMAT} or older; got .* of format "
                                          f"{FORMAT + 1}; update seg2vid")],
)  # fmt: skip
def test_what_is_no_report_is_said(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(Seg2VidError, match=words):
        read_report(path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("protocol", 3), ("candidates", [{}]), ("candidates", 4), ("metrics", [3]), ("clips", {}),
        ("figures", [{"candidate": "a", "metric": "b", "frames": "1", "value": "x"}]),
        ("figures", [{"candidate": "a", "metric": "b", "value": 1.0}]), ("provenance", []),
    ],
)  # fmt: skip
def test_reports_of_wrong_types_are_one_line(tmp_path: Path, part: str, value: object) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**make_report(), part: value}))
    with pytest.raises(Seg2VidError, match=rf"^Expected .* in {path}; got .*; name the folder"):
        read_report(path)


def test_folders_and_closed_files_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Seg2VidError, match=r"report\.json, which is no file"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text(json.dumps(make_report()))
    assert read_report(tmp_path) == make_report()
    path = tmp_path / "a.json"
    path.write_text("{}")

    def refuse(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(Seg2VidError, match=r"a\.json: Permission denied"):
        read_report(path)
