"""A comparison as lines for a terminal, or as a table in Markdown, LaTeX or CSV."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence

from seg2vid.evaluation.compare import BETTER, UNKNOWN, WORSE, Change, Comparison
from seg2vid.evaluation.metrics.intervals import Interval
from seg2vid.evaluation.report.reading import decimals_for, number_text


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Yield a comparison as lines for a terminal: what differs, the table, how to read it."""
    yield f"{comparison.protocol}: {comparison.first} → {comparison.second}"
    yield "What differs besides the figures:"
    yield from (f"  {line}" for line in comparison.differences or ("nothing",))
    yield ""
    rows = [["metric", "frames", "first", "second", "difference (95 % interval)", "second is"]]
    rows += [_row(change) for change in comparison.changes]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, "<<>><<", widths, strict=True)
        yield "  ".join(f"{text:{side}{width}}" for text, side, width in cells).rstrip()
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
    text = _interval_text(change.difference, decimals, "…")
    if change.difference.value > 0 and text.split()[0].strip("0."):
        text = f"+{text}"
    star = "" if change.is_paired or change.verdict == UNKNOWN else " *"
    frames = change.frames.replace("-", "–")
    return [change.metric, frames, first, second, text, f"{change.verdict}{star}"]


def _interval_text(interval: Interval, decimals: int, between: str) -> str:
    """Return a figure and, where they are known, the ends of its interval."""
    value, low, high = (
        number_text(number, decimals) for number in (interval.value, interval.low, interval.high)
    )
    return value if "–" in (low, high) else f"{value} ({low} {between} {high})"


def table_lines(comparisons: Sequence[Comparison], form: str) -> Iterator[str]:
    """Yield one table of comparisons that share their first evaluation.

    ``markdown`` and ``latex`` have a column for each evaluation: value, interval and, but for the
    first, what it is beside that. ``csv`` has a line for each figure and evaluation, numbers in
    full; what is unknown is empty.
    """
    found = [{(c.metric, c.frames): c for c in one.changes} for one in comparisons]
    keys = dict.fromkeys(key for changes in found for key in changes)
    changes = {key: [one.get(key) for one in found] for key in keys}
    titles = [comparisons[0].first, *(one.second for one in comparisons)]
    if form == "csv":
        yield from _csv_lines(changes, titles)
        return
    rows = [["metric", "frames", *titles]]
    for (metric, frames), own in changes.items():
        first = next(change for change in own if change is not None)
        cells = [_interval_text(first.first, first.decimals, "to")]
        cells += [
            "–" if c is None else f"{_interval_text(c.second, c.decimals, 'to')}, {c.verdict}"
            for c in own
        ]
        rows.append([metric, frames.replace("-", "–"), *cells])
    if form == "markdown":
        lines = ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows]
        yield from (lines[0], "|---|---|" + "--:|" * len(titles), *lines[1:])
        return
    lines = [" & ".join(cell.translate(LATEX) for cell in row) + r" \\" for row in rows]
    yield r"\begin{tabular}{ll" + "r" * len(titles) + "}"
    yield from (r"\hline", lines[0], r"\hline", *lines[1:], r"\hline", r"\end{tabular}")


def _csv_lines(
    changes: Mapping[tuple[str, str], Sequence[Change | None]], titles: Sequence[str]
) -> Iterator[str]:
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    numbers = ("value", "low", "high", "difference", "difference_low", "difference_high")
    table.writerow(["metric", "frames", "evaluation", "candidate", *numbers, "verdict", "paired"])
    for key, own in changes.items():
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


LATEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        **{"−": "$-$", "–": "--", "→": r"$\to$", "∞": r"$\infty$", "°": r"$^\circ$"},
    }
)
