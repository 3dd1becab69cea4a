"""The figures of an evaluation, found by candidate, metric and frames, and how they are written."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

ROLES = {
    "model": "evaluated",
    "other": "evaluated",
    "baseline": "baseline",
    "oracle": "sees more",
    "ceiling": "ceiling",
}
"""Roles in the order of the tables, and the word that marks each."""
COMPETING = ("model", "other", "baseline")
GROUPS = {
    "pictures": "Pictures, frame by frame",
    "distribution": "Distributions of pictures and clips",
    "motion": "Motion",
    "labels": "Labels",
    "diversity": "Diversity of samples, and their cost",
}
ARROWS = {"lower": "↓ lower is better", "higher": "↑ higher is better"}
HUES = 8
"""Colours of curves in the style sheet; the last one is grey."""
DASHES = {"baseline": "6 3", "oracle": "2 3", "ceiling": "9 3 2 3"}
MOST_COLUMNS = 8
"""Metrics in the summary."""
MAIN = (
    *("lpips", "fvd", "fid", "miou_truth", "miou_own"),
    *("epe_backward", "sharpness", "ms_ssim", "psnr", "pairwise_lpips"),
)
"""Metrics that come first in the summary where they are there; then the first of each group."""

Number = float | int
"""As JSON has them: whole ones come as int."""
Entry = Mapping[str, Any]
"""A candidate, metric or figure as the report holds it."""


@dataclass(frozen=True)
class Stroke:
    """How a candidate is drawn everywhere: a hue from 0 to 7, a dash pattern and a width."""

    hue: int
    dash: str = ""
    width: float = 1.6


@dataclass(frozen=True)
class Reading:
    """The figures of one evaluation, found by candidate, metric and frames."""

    report: Entry

    @cached_property
    def candidates(self) -> list[Entry]:
        """Candidates in the order of the tables: evaluated, baselines, oracles, ceiling."""
        order = list(ROLES)
        return sorted(self.report["candidates"], key=lambda c: order.index(c["role"]))

    @cached_property
    def _figures(self) -> dict[tuple[str, str, str], Entry]:
        figures = self.report["figures"]
        return {(f["candidate"], f["metric"], f["frames"]): f for f in figures}

    def figure(self, candidate: str, metric: str, frames: str) -> Entry:
        """Return the figure, or one without a value where there is none."""
        return self._figures.get((candidate, metric, frames), {"value": None})

    def metrics(self, group: str | None = None) -> list[Entry]:
        """Return the metrics that have figures, of one group or all."""
        with_figures = {metric for _, metric, _ in self._figures}
        found = [m for m in self.report["metrics"] if m["key"] in with_figures]
        return [m for m in found if group in (None, m["group"])]

    def main_metrics(self) -> list[Entry]:
        """Return the metrics of the summary, at most eight: known ones, then firsts of groups."""
        metrics = self.metrics()
        chosen = [m for key in MAIN for m in metrics if m["key"] == key]
        for group in GROUPS:
            chosen += [m for m in self.metrics(group)[:1] if m not in chosen]
        chosen += [m for m in metrics if m not in chosen]
        return [m for m in metrics if m in chosen[:MOST_COLUMNS]]

    def groups(self) -> dict[str, str]:
        """Return the titles of the groups that have figures, by key."""
        keys = {m["group"] for m in self.metrics()}
        known = {key: title for key, title in GROUPS.items() if key in keys}
        return known | {m["group"]: m["group"] for m in self.metrics() if m["group"] not in known}

    def frames_of(self, metric: str) -> list[str]:
        """Return the spans of frames for which a metric has figures, the longest last."""
        spans = dict.fromkeys(frames for _, key, frames in self._figures if key == metric)
        return sorted(spans, key=_length)

    def decimals(self, metric: str) -> int:
        """Return the decimals that suit a metric: two digits of a typical half interval.

        Without intervals three digits of the largest value.
        """
        figures = [f for (_, key, _), f in self._figures.items() if key == metric]
        halves = [
            (f["high"] - f["low"]) / 2
            for f in figures
            if is_number(f.get("low")) and is_number(f.get("high")) and f["high"] > f["low"]
        ]
        if halves:
            return decimals_for(statistics.median(halves))
        largest = max((abs(f["value"]) for f in figures if is_number(f["value"])), default=0.0)
        return decimals_for(largest, digits=3) if largest else 1

    def best(self, metric: Entry, frames: str) -> set[str]:
        """Return the keys of the best of those who compete; none where there is no contest."""
        values = {
            c["key"]: value
            for c in self.candidates
            if c["role"] in COMPETING
            and is_number(value := self.figure(c["key"], metric["key"], frames)["value"])
        }
        if len(values) < 2 or metric["better"] not in ARROWS:
            return set()
        goal = (max if metric["better"] == "higher" else min)(values.values())
        return {key for key, value in values.items() if value == goal}

    def counts(self, metric: str, frames: str) -> str:
        """Return how many clips the figures of a row are of, as text: ``24`` or ``21–24``."""
        figures = [self.figure(c["key"], metric, frames) for c in self.candidates]
        counts = [f["count"] for f in figures if f.get("count") is not None]
        ends = dict.fromkeys((min(counts), max(counts))) if counts else {}
        return "–".join(f"{count:g}" for count in ends) or "–"

    @cached_property
    def strokes(self) -> dict[str, Stroke]:
        """How each candidate is drawn: evaluated ones wide, the ceiling grey."""
        strokes, hue = {}, 0
        for candidate in self.candidates:
            role, turn = candidate["role"], hue // (HUES - 1)
            dash = DASHES.get(role, ("", *DASHES.values())[turn % (len(DASHES) + 1)])
            chosen = HUES - 1 if role == "ceiling" else hue % (HUES - 1)
            width = 2.4 if role in ("model", "other") else 1.6
            strokes[candidate["key"]] = Stroke(chosen, dash, width)
            hue += role != "ceiling"
        return strokes

    def class_tables(self) -> Iterator[dict[str, Any]]:
        """Yield the figures by class of each metric that has any; frequent classes come first."""
        titles = {m["key"]: m for m in self.report["metrics"]}
        for key in dict.fromkeys(f["metric"] for f in self.report["classes"]):
            figures = [f for f in self.report["classes"] if f["metric"] == key]
            keys = {f["candidate"] for f in figures}
            shares = {f["class"]: f.get("share") for f in figures}
            numbers = [f[e] for f in figures for e in ("value", "high") if is_number(f.get(e))]
            largest = max(numbers, default=0.0)
            yield {
                "metric": titles.get(key, {"title": key, "unit": "", "better": "", "about": ""}),
                "shares": dict(sorted(shares.items(), key=lambda item: -(item[1] or 0))),
                "candidates": [c for c in self.candidates if c["key"] in keys],
                "figures": {(f["class"], f["candidate"]): f for f in figures},
                "largest": largest,
                "decimals": decimals_for(largest, digits=3) if largest > 0 else 2,
            }

    def clip_texts(self, metric: Entry, clip: str) -> Iterator[tuple[Entry, str]]:
        """Yield the candidates that have a value of a clip, each with its value as text."""
        for candidate in self.candidates:
            value = clip_values(self.report, metric["key"], [candidate["key"]]).get(clip)
            if is_number(value):
                yield candidate, number_text(value, self.decimals(metric["key"]))

    def wins(self) -> Iterator[tuple[str, str, int, int]]:
        """Yield how often the model beats each rival by the main metric.

        As (title of the model, title of the rival, clips won, clips in all).
        """
        if (metric := main_metric(self.report)) is None:
            return
        model = next(c for c in self.candidates if c["role"] in ("model", "other"))
        own = clip_values(self.report, metric["key"], [model["key"]])
        sign = -1 if metric["better"] == "lower" else 1
        for rival in (c for c in self.candidates if c["role"] in COMPETING and c is not model):
            other = clip_values(self.report, metric["key"], [rival["key"]])
            pairs = [
                (a, b)
                for name, a in own.items()
                if is_number(a) and is_number(b := other.get(name))
            ]
            if pairs:
                won = sum(sign * a > sign * b for a, b in pairs)
                yield model["title"], rival["title"], won, len(pairs)


def is_number(value: object) -> TypeGuard[Number]:
    """Say whether ``value`` is a finite number: not None, nan or infinity."""
    return isinstance(value, int | float) and math.isfinite(value)


def model_keys(report: Entry) -> list[str]:
    """Return the keys of the candidates with the role model, then of the others evaluated."""
    return [
        c["key"] for role in ("model", "other") for c in report["candidates"] if c["role"] == role
    ]


def clip_values(report: Entry, metric: str, keys: Sequence[str]) -> dict[str, Number | None]:
    """Return the values by clip name of the first of ``keys`` that has any."""
    values = report["clips"]["values"].get(metric, {})
    found: Sequence[Number | None] = next((values[key] for key in keys if key in values), [])
    return dict(zip(report["clips"]["names"], found, strict=False))


def main_metric(report: Entry) -> Entry | None:
    """Return the metric by which clips are ranked: LPIPS where it is there, else the first.

    Only a metric with a direction and a value of the model for at least one clip counts.
    """
    keys = model_keys(report)[:1]
    ranked = [
        metric
        for metric in report["metrics"]
        if metric["better"] in ARROWS
        and any(is_number(v) for v in clip_values(report, metric["key"], keys).values())
    ]
    return min(ranked, key=lambda metric: metric["key"] != "lpips", default=None)


def _length(frames: str) -> tuple[int, int]:
    """Frames in ``1-8`` or ``1, 4, 8``, then the last; any other name comes first."""
    first, _, last = frames.partition("-")
    if first.isdigit() and (last or first).isdigit():
        return (int(last or first) - int(first) + 1, int(last or first))
    listed = [part.strip() for part in frames.split(",")]
    return (len(listed), int(listed[-1])) if all(part.isdigit() for part in listed) else (0, 0)


def decimals_for(number: float, *, digits: int = 2) -> int:
    """Return the decimals, 0 to 5, that show ``digits`` digits of a number above 0."""
    return max(0, min(digits - 1 - math.floor(math.log10(number)), 5))


def number_text(value: object, decimals: int) -> str:
    """Return a number with a true minus sign, an en dash where there is none."""
    if not is_number(value):
        return "–"
    text = f"{value:.{decimals}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{decimals}f}"


def frames_text(frames: str) -> str:
    """Return frames in words: ``frames 1–8``, ``frame 0``, ``frames 1, 4, 8``, ``all frames``."""
    count, _ = _length(frames)
    if not count:
        return frames or "all frames"
    return f"frames {frames.replace('-', '–')}" if count > 1 else f"frame {frames}"
