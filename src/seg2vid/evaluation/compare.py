"""Two evaluations under one protocol: what differs, by how much, and whether it is beyond noise."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from seg2vid.evaluation.metrics.intervals import Interval, paired_difference
from seg2vid.evaluation.report.reading import (
    Reading,
    clip_values,
    decimals_for,
    frames_text,
    is_number,
    model_keys,
    number_text,
)
from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.plain import build, read_plain

FORMAT = 1
"""The newest format of a report that is understood."""
REPORT = "report.json"
PARTS = ("protocol", "candidates", "metrics", "figures", "clips", "provenance")
BETTER, WORSE, NOISE, UNKNOWN = "better", "worse", "within noise", "cannot say"
ROUNDING = 1e-4
"""Relative difference that other threads or processors make: noise, though on every clip alike."""
PROVENANCE = {
    "commit": "commit",
    "python": "Python",
    "packages": "package",
    "platform": "platform",
    "processor": "processor",
    "threads": "threads",
    "gpus": "GPUs",
    "precision": "precision",
    "seeds": "seeds",
    "data_sha256": "data",
    "judges": "judge",
}
"""What of the provenance can change figures, and its name for people."""


@dataclass(frozen=True)
class Change:
    """One figure in both evaluations."""

    metric: str
    """Title of the metric."""
    frames: str
    first: Interval
    second: Interval
    difference: Interval
    """Second less first; nan where unknown, as are its ends without an interval."""
    verdict: str
    """``better`` or ``worse`` of the second, ``within noise``, or ``cannot say``."""
    is_paired: bool
    """The interval of the difference comes from the same clips in both."""
    decimals: int


@dataclass(frozen=True)
class Comparison:
    """All figures that two evaluations share, and everything else in which they differ."""

    protocol: str
    first: str
    """Title of the first candidate."""
    second: str
    differences: tuple[str, ...]
    """Versions, machine, model, data and judges that differ, a line each."""
    changes: tuple[Change, ...]
    only_in_one: tuple[str, ...]
    """Figures that one of the two lacks."""


def read_report(path: Path) -> dict[str, Any]:
    """Read the JSON of an evaluation, or that in its folder.

    Raises ``Seg2VidError`` for no file, no JSON, no report, or a report in a newer format.
    """
    what, fix = "the report of an evaluation", "name the folder that `seg2vid evaluate -o` wrote"
    if path.is_dir():
        path = path / REPORT
    if not path.is_file():
        raise Seg2VidError(what, got=f"{path}, which is no file", fix=fix)
    report = read_plain(path, what, fix=fix)
    version = report.get("format") if isinstance(report, dict) else None
    if isinstance(version, int) and version > FORMAT:
        what, got = f"a report of format {FORMAT} or older", f"{path} of format {version}"
        raise Seg2VidError(what, got=got, fix="update seg2vid")
    missing = [part for part in PARTS if not isinstance(report, dict) or part not in report]
    if missing or not isinstance(version, int):
        got = f"{path}, which lacks {', '.join(missing) or 'a format'}"
        raise Seg2VidError(what, got=got, fix=fix)
    build(_Report, report, str(path), is_open=True, fix=fix)
    return report


@dataclass(frozen=True)
class _Candidate:
    key: str
    title: str
    role: Literal["model", "other", "baseline", "oracle", "ceiling"]


@dataclass(frozen=True)
class _Metric:
    key: str
    title: str
    better: str


@dataclass(frozen=True)
class _Figure:
    candidate: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    count: float | None = None


@dataclass(frozen=True)
class _Clips:
    names: tuple[str, ...]
    values: dict[str, dict[str, list[float | None]]]


@dataclass(frozen=True)
class _Report:
    """What is read of a report."""

    protocol: dict[str, Any]
    candidates: tuple[_Candidate, ...]
    metrics: tuple[_Metric, ...]
    figures: tuple[_Figure, ...]
    clips: _Clips
    provenance: dict[str, Any]
    cost: dict[str, Any] | None = None


def compare(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    *,
    first_candidate: str | None = None,
    second_candidate: str | None = None,
) -> Comparison:
    """Compare a candidate of each of two evaluations under the same protocol.

    Candidates are named by key; without a name it is the model, or what else is evaluated. Where
    both hold values of the same clips, the interval of the difference is a paired bootstrap over
    them. Otherwise both intervals are combined as independent, which is too wide for equal clips.

    Raises ``Seg2VidError`` for different protocols and for a candidate that is not there.
    """
    _check_protocols(first, second)
    candidates = (_candidate(first, first_candidate), _candidate(second, second_candidate))
    readings = (Reading(first), Reading(second))
    keys = (candidates[0]["key"], candidates[1]["key"])
    changes, lonely = [], []
    for metric, frames in _spans(readings):
        change = _change(readings, keys, metric, frames)
        are_there = [is_number(interval.value) for interval in (change.first, change.second)]
        if all(are_there):
            changes.append(change)
        elif any(are_there):
            side = "first" if are_there[0] else "second"
            lonely.append(f"{metric['title']}, {frames_text(frames)}: only in the {side}")
    return Comparison(
        first["protocol"]["name"],
        candidates[0]["title"],
        candidates[1]["title"],
        what_differs(first, second, keys=keys),
        tuple(changes),
        tuple(lonely),
    )


def _spans(readings: tuple[Reading, Reading]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield every metric, known from either report, with every span of frames it has in either."""
    metrics = {metric["key"]: metric for reading in readings for metric in reading.metrics()}
    for key, metric in metrics.items():
        for frames in dict.fromkeys(f for reading in readings for f in reading.frames_of(key)):
            yield metric, frames


def _check_protocols(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Raise ``Seg2VidError`` unless both were made under the same protocol, to the letter."""
    for key, name in (("name", "protocol"), ("sha256", "checksum of the protocol")):
        values = [report["protocol"].get(key) for report in (first, second)]
        if values[0] != values[1]:
            what, got = f"two evaluations with the same {name}", f"{values[0]} and {values[1]}"
            fix = "evaluate both under one protocol: other figures do not compare"
            raise Seg2VidError(what, got=got, fix=fix)


def _candidate(report: Mapping[str, Any], key: str | None) -> Mapping[str, Any]:
    """Return the candidate of a key, or the one with the role ``model``, or else ``other``.

    Raises ``Seg2VidError`` where there is none.
    """
    chosen = [key] if key is not None else model_keys(report)[:1]
    for candidate in report["candidates"]:
        if candidate["key"] in chosen:
            return candidate
    keys = ", ".join(candidate["key"] for candidate in report["candidates"]) or "none"
    what = "an evaluated candidate" if key is None else f"a candidate {key}"
    raise Seg2VidError(what, got=f"only {keys}", fix="name one of these")


def _interval(figure: Mapping[str, Any]) -> Interval:
    """Return a figure of a report; what it lacks is nan."""
    value, low, high = (
        float(number) if is_number(number := figure.get(key)) else math.nan
        for key in ("value", "low", "high")
    )
    return Interval(value, low, high, figure.get("count") or 0)


def _change(
    readings: tuple[Reading, Reading], keys: tuple[str, str], metric: Mapping[str, Any], frames: str
) -> Change:
    first, second = (
        _interval(reading.figure(key, metric["key"], frames))
        for reading, key in zip(readings, keys, strict=True)
    )
    difference, is_paired = independent_difference(first, second), False
    clips = [_clip_values(r, k, metric["key"], frames) for r, k in zip(readings, keys, strict=True)]
    if list(clips[0]) == list(clips[1]) and _are_of(clips[0], first) and _are_of(clips[1], second):
        values = [torch.tensor(list(own.values()), dtype=torch.float64) for own in clips]
        difference, is_paired = paired_difference(values[1], values[0]), True
    decimals = max(reading.decimals(metric["key"]) for reading in readings)
    verdict = verdict_of(difference, metric["better"])
    if verdict != UNKNOWN and math.isclose(first.value, second.value, rel_tol=ROUNDING):
        verdict = NOISE
    return Change(metric["title"], frames, first, second, difference, verdict, is_paired, decimals)


def _clip_values(reading: Reading, candidate: str, metric: str, frames: str) -> dict[str, float]:
    """Return the values of a candidate by clip, nan where there is none; empty without any.

    Those over the longest span stand under the metric alone, others under metric and frames.
    """
    report = reading.report
    name = f"{metric} {frames}"
    key = name if name in report["clips"]["values"] else metric
    values = clip_values(report, key, [candidate])
    return {clip: float(v) if is_number(v) else math.nan for clip, v in values.items()}


def _are_of(clips: Mapping[str, float], figure: Interval) -> bool:
    """Say whether the values of clips are those whose mean the figure is.

    Where a report holds the values of one span of frames only, those of other spans do not fit.
    """
    numbers = [value for value in clips.values() if math.isfinite(value)]
    mean = sum(numbers) / len(numbers) if numbers else math.nan
    return math.isclose(mean, figure.value, rel_tol=1e-3, abs_tol=1e-9)


def independent_difference(first: Interval, second: Interval) -> Interval:
    """Return ``second`` - ``first`` with the interval of two independent figures.

    The distances from each value to its own bounds are added as squares, each side by itself (Zou
    & Donner, 2008). nan without both intervals.
    """
    value = second.value - first.value
    low = value - math.hypot(second.value - second.low, first.high - first.value)
    high = value + math.hypot(second.high - second.value, first.value - first.low)
    return Interval(value, low, high, min(first.clips, second.clips))


def verdict_of(difference: Interval, better: str) -> str:
    """Return what a difference means for the second of two: beyond noise, or not.

    ``cannot say`` without an interval, or where neither direction is ``better``.
    """
    if math.isnan(difference.low) or math.isnan(difference.high):
        return UNKNOWN
    if not difference.is_beyond_noise:
        return NOISE
    if better not in ("lower", "higher"):
        return UNKNOWN
    return BETTER if (difference.value > 0) == (better == "higher") else WORSE


def what_differs(
    first: Mapping[str, Any], second: Mapping[str, Any], *, keys: tuple[str, str] | None = None
) -> tuple[str, ...]:
    """Return what can change figures and differs: code, versions, machine, data, judges, model.

    ``keys`` are the candidates whose checksums are compared; without them none are.
    """
    lines = []
    for key, name in PROVENANCE.items():
        lines += _differing(name, *(report["provenance"].get(key) for report in (first, second)))
    for key in ("workers", "threads_per_worker"):
        costs = [(report.get("cost") or {}).get(key) for report in (first, second)]
        lines += _differing(key.replace("_", " "), *costs)
    changed = [report["protocol"].get("changed") or {} for report in (first, second)]
    lines += _differing("changed in the protocol", *changed)
    if first["clips"]["names"] != second["clips"]["names"]:
        counts = [len(report["clips"]["names"]) for report in (first, second)]
        lines.append(f"clips: {counts[0]} and {counts[1]}, not the same")
    if keys is not None:
        pair = [_candidate(report, key) for report, key in zip((first, second), keys, strict=True)]
        lines += _differing("model", *(candidate.get("sha256") for candidate in pair))
    return tuple(lines)


def _differing(name: str, first: object, second: object) -> list[str]:
    """Return a line for a value that differs, one for each entry of a mapping that does."""
    if first == second:
        return []
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        keys = dict.fromkeys([*first, *second])
        return [
            line
            for key in keys
            for line in _differing(f"{name} {key}", first.get(key), second.get(key))
        ]
    return [f"{name}: {_brief(first)} → {_brief(second)}"]


def _brief(value: object) -> str:
    """Return a value as text, a checksum by its first letters."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    is_digest = len(text) in (40, 41, 64) and " " not in text
    return "none" if value in (None, "", []) else f"{text[:12]}…" if is_digest else text


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Yield a comparison as lines for a terminal: what differs, the table, how to read it."""
    yield f"{comparison.protocol}: {comparison.first} → {comparison.second}"
    yield "What differs besides the figures:"
    yield from (f"  {line}" for line in comparison.differences or ("nothing",))
    yield ""
    rows = [["metric", "frames", "first", "second", "difference (95 % interval)", "second is"]]
    rows += [_row(change) for change in comparison.changes]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            text.rjust(width) if column in (2, 3) else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
    yield ""
    yield from comparison.only_in_one
    clear = sum(change.verdict in (BETTER, WORSE) for change in comparison.changes)
    known = sum(change.verdict != UNKNOWN for change in comparison.changes)
    yield f"{clear} of {known} differences are beyond noise; chance alone gives about 1 in 20."
    if any(not change.is_paired and change.verdict != UNKNOWN for change in comparison.changes):
        yield "* without values by clip: taken as independent, which hides small differences."


def _row(change: Change) -> list[str]:
    first, second = (number_text(i.value, change.decimals) for i in (change.first, change.second))
    half = (change.difference.high - change.difference.low) / 2
    # A paired difference is known better than either figure: it gets the digits it has.
    decimals = max(change.decimals, decimals_for(half) if half > 0 else 0)
    value, low, high = (
        number_text(number, decimals)
        for number in (change.difference.value, change.difference.low, change.difference.high)
    )
    sign = "+" if change.difference.value > 0 and value.strip("0.") else ""
    interval = "" if low == "–" else f" ({low} … {high})"
    star = "" if change.is_paired or change.verdict == UNKNOWN else " *"
    frames = change.frames.replace("-", "–")
    text = f"{sign}{value}{interval}"
    return [change.metric, frames, first, second, text, f"{change.verdict}{star}"]


def table_lines(comparisons: Sequence[Comparison], form: str) -> Iterator[str]:
    """Yield one table of comparisons that share their first evaluation.

    ``markdown`` and ``latex`` have a column for each evaluation: value, interval and, but for the
    first, what it is beside that. ``csv`` has a line for each figure and evaluation, numbers in
    full; what is unknown is empty.
    """
    found = [{(c.metric, c.frames): c for c in one.changes} for one in comparisons]
    keys = list(dict.fromkeys(key for changes in found for key in changes))
    titles = [comparisons[0].first, *(one.second for one in comparisons)]
    if form == "csv":
        yield from _csv_lines(keys, titles, found)
        return
    rows = [["metric", "frames", *titles]]
    for key in keys:
        own = [changes.get(key) for changes in found]
        first = next(change for change in own if change is not None)
        cells = [_value_text(first.first, first.decimals)]
        cells += [
            "–" if c is None else f"{_value_text(c.second, c.decimals)}, {c.verdict}" for c in own
        ]
        rows.append([key[0], key[1].replace("-", "–"), *cells])
    if form == "markdown":
        lines = ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows]
        yield from (lines[0], "|---|---|" + "--:|" * len(titles), *lines[1:])
        return
    lines = [" & ".join(map(_latex, row)) + r" \\" for row in rows]
    yield r"\begin{tabular}{ll" + "r" * len(titles) + "}"
    yield from (r"\hline", lines[0], r"\hline", *lines[1:], r"\hline", r"\end{tabular}")


def _csv_lines(
    keys: Sequence[tuple[str, str]],
    titles: Sequence[str],
    found: Sequence[Mapping[tuple[str, str], Change]],
) -> Iterator[str]:
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    numbers = ("value", "low", "high", "difference", "difference_low", "difference_high")
    table.writerow(["metric", "frames", "evaluation", "candidate", *numbers, "verdict", "paired"])
    for key in keys:
        own = [changes.get(key) for changes in found]
        known = next(change for change in own if change is not None)
        for number, (title, change) in enumerate(zip(titles, [known, *own], strict=True), 1):
            if change is None:
                continue
            intervals = [change.first] if number == 1 else [change.second, change.difference]
            values = [v for i in intervals for v in (i.value, i.low, i.high)]
            cells = ["" if math.isnan(value) else repr(value) for value in values]
            rest = ["", "", "", "", ""] if number == 1 else [change.verdict, str(change.is_paired)]
            table.writerow([*key, number, title, *cells, *rest])
    yield from buffer.getvalue().splitlines()


def _value_text(interval: Interval, decimals: int) -> str:
    value, low, high = (
        number_text(number, decimals) for number in (interval.value, interval.low, interval.high)
    )
    return value if "–" in (low, high) else f"{value} ({low} to {high})"


LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"−": "$-$", "–": "--", "→": r"$\to$", "∞": r"$\infty$", "°": r"$^\circ$"},
}


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)
