"""Write into docs/evaluation.md what a user gets, beside what costs nothing: the table of winners.

python examples/make_results.py     # from the reports in docs/results; a test holds the page to it
"""

import re
from pathlib import Path

from seg2vid.evaluation.compare import (
    BETTER,
    NOISE,
    WORSE,
    compare,
    independent_difference,
    read_report,
    verdict_of,
)
from seg2vid.evaluation.metrics.intervals import Interval
from seg2vid.models.weights import list_models

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "evaluation.md"
BLOCK = re.compile(
    r"(?<=<!-- made by examples/make_results.py -->\n).*?(?=<!-- end of what it made -->)", re.S
)
BASELINES = {"repeat": "standing still", "nearest": "the nearest training photo"}
"""What a candidate is beside, the first that a report has."""
SHOWN = (
    *("End-point error, backward", "LPIPS", "MS-SSIM", "FVD", "FID", "KID"),
    *("mIoU, true labels", "Pixel accuracy of own labels, true labels"),
)
"""Titles of the metrics that are shown, in this order, of each over its longest span."""
BEST = "LPIPS, best of n"
"""A figure of several futures; a baseline has one."""


def newest() -> list[Path]:
    """Return each protocol's newest report on the default model, or else on another that comes."""
    found: dict[str, Path] = {}
    bundled = [model.name for model in list_models()]
    ranked: list[tuple[bool, str, str, Path]] = []
    for path in (REPOSITORY / "docs" / "results").glob("*.json"):
        report = read_report(path)
        title = next(one["title"] for one in report["candidates"] if one["key"] == "model")
        if title in bundled:
            name = report["protocol"]["name"].rpartition("-v")[0]
            ranked.append((title == bundled[0], report["provenance"]["time"], name, path))
    for _, _, name, path in sorted(ranked):
        found[name] = path
    return [found[name] for name in sorted(found)]


def written(figure: Interval, decimals: int) -> str:
    """Return a figure with its interval."""
    value, low, high = (f"{n:.{decimals}f}" for n in (figure.value, figure.low, figure.high))
    return f"{value} ({low}–{high})"


def rows_of(path: Path) -> list[str]:
    """Return the rows of one report."""
    report = read_report(path)
    keys = {one["key"] for one in report["candidates"]}
    baseline = next(key for key in BASELINES if key in keys)
    sides = {"first_candidate": baseline, "second_candidate": "model"}
    changes = {one.metric: one for one in compare(report, report, **sides).changes}
    rows = []
    for title in SHOWN:
        one = changes.get(title)
        if one is None or one.second.low == one.second.high:  # so by construction
            continue
        span = "" if one.frames == "0" else f", frames {one.frames}"
        lines = [(f"{title}{span}", one.second, one.verdict)]
        if title == "LPIPS":
            best = [figure for figure in report["figures"] if figure["metric"] == "best_of_n"]
            mine = next(figure for figure in best if figure["candidate"] == "model")
            futures = Interval(mine["value"], mine["low"], mine["high"], mine["count"])
            verdict = verdict_of(independent_difference(one.first, futures), "lower")
            lines.append((f"{title}, {mine['remark']}", futures, verdict))
        for name, second, verdict in lines:
            winner = {BETTER: "the model", WORSE: BASELINES[baseline], NOISE: "neither"}
            told = (written(figure, one.decimals) for figure in (second, one.first))
            rows.append(f"| {name} | {' | '.join(told)} | {winner.get(verdict, 'unknown')} |")
    model = next(one["title"] for one in report["candidates"] if one["key"] == "model")
    day, count = report["provenance"]["time"][:10], len(report["clips"]["names"])
    kind = "maps" if report["protocol"]["task"] == "stills" else "clips"
    link = f"[{report['protocol']['name']}](results/{path.name})"
    head = f"**{link}**: `{model}`, {count} {kind}, {day}\n"
    table = ["| | the model | " + BASELINES[baseline] + " | ahead |", "|---|--:|--:|---|"]
    return [head, *table, *rows, ""]


def block() -> str:
    """Return what stands between the two comments of the page."""
    return "\n".join(["", *(line for path in newest() for line in rows_of(path))]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(BLOCK.sub(lambda _: block(), PAGE.read_text("utf-8")), "utf-8")
    print(f"wrote {PAGE}")
