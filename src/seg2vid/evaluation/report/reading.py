"""The figures of an evaluation, found by candidate, metric and frames, and how they are written."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from seg2vid.evaluation.report.charts import DASHES, HUES, Stroke, is_number

ROLES = {
    "model": "judged",
    "other": "judged",
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


@dataclass(frozen=True)
class Reading:
    """The figures of one evaluation, found by candidate, metric and frames."""

    report: Mapping[str, Any]

    @cached_property
    def candidates(self) -> list[Mapping[str, Any]]:
        """Candidates in the order of the tables: judged, baselines, oracles, ceiling."""
        order = list(ROLES)
        return sorted(self.report["candidates"], key=lambda c: order.index(c["role"]))

    @cached_property
    def _figures(self) -> dict[tuple[str, str, str], Mapping[str, Any]]:
        figures = self.report["figures"]
        return {(f["candidate"], f["metric"], str(f["frames"])): f for f in figures}

    def figure(self, candidate: str, metric: str, frames: str) -> Mapping[str, Any]:
        """Return the figure, or one without a value where there is none."""
        return self._figures.get((candidate, metric, frames), {"value": None})

    def metrics(self, group: str | None = None) -> list[Mapping[str, Any]]:
        """Return the metrics that have figures, of one group or all."""
        judged = {metric for _, metric, _ in self._figures}
        found = [m for m in self.report["metrics"] if m["key"] in judged]
        return [m for m in found if group in (None, m["group"])]

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
        return clamp_decimals(2 - math.floor(math.log10(largest))) if largest else 1

    def best(self, metric: Mapping[str, Any], frames: str) -> set[str]:
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

    def strokes(self) -> dict[str, Stroke]:
        """Return how each candidate is drawn: judged ones wide, those apart from the rest grey."""
        strokes, hue = {}, 0
        for candidate in self.candidates:
            is_judged = candidate["role"] in ("model", "other")
            dash = {"baseline": "6 3", "oracle": "2 3", "ceiling": "9 3 2 3"}
            grey, turn = HUES - 1, hue // (HUES - 1)
            pattern = dash.get(candidate["role"], DASHES[turn % len(DASHES)])
            chosen = grey if candidate["role"] == "ceiling" else hue % (HUES - 1)
            strokes[candidate["key"]] = Stroke(chosen, pattern, 2.4 if is_judged else 1.6)
            hue += candidate["role"] != "ceiling"
        return strokes


def _length(frames: str) -> tuple[int, int]:
    """Frames in ``1-8`` or ``1, 4, 8``, then the last; any other name comes first."""
    first, _, last = frames.partition("-")
    if first.isdigit() and (last or first).isdigit():
        return (int(last or first) - int(first) + 1, int(last or first))
    listed = [part.strip() for part in frames.split(",")]
    return (len(listed), int(listed[-1])) if all(part.isdigit() for part in listed) else (0, 0)


def decimals_for(half: float) -> int:
    """Return the decimals that show two digits of half an interval, above 0."""
    return clamp_decimals(1 - math.floor(math.log10(half)))


def clamp_decimals(decimals: int) -> int:
    """Return decimals that a table can show: 0 to 5."""
    return max(0, min(decimals, 5))


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
