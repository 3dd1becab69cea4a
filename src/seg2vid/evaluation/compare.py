"""Two evaluations under one protocol: what differs, by how much, and whether it is beyond noise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from seg2vid.evaluation.metrics.intervals import Interval, interval_of_mean
from seg2vid.evaluation.report.reading import (
    Entry,
    Reading,
    clip_values,
    frames_text,
    is_number,
    model_keys,
)
from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.plain import build, read_plain

FORMAT = 1
"""The newest format of a report that is understood."""
REPORT = "report.json"
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
    frames: str
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

    format: int
    protocol: dict[str, Any]
    candidates: tuple[_Candidate, ...]
    metrics: tuple[_Metric, ...]
    figures: tuple[_Figure, ...]
    clips: _Clips
    provenance: dict[str, Any]
    cost: dict[str, Any] | None = None


def compare(
    first: Entry,
    second: Entry,
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
    sides = (_Side(first, first_candidate), _Side(second, second_candidate))
    metrics = {metric["key"]: metric for side in sides for metric in side.metrics()}
    changes, lonely = [], []
    for key, metric in metrics.items():
        for frames in dict.fromkeys(span for side in sides for span in side.frames_of(key)):
            change = _change(sides, metric, frames)
            is_in_first, is_in_second = map(
                math.isfinite, (change.first.value, change.second.value)
            )
            if is_in_first and is_in_second:
                changes.append(change)
            elif is_in_first or is_in_second:
                name = "first" if is_in_first else "second"
                lonely.append(f"{metric['title']}, {frames_text(frames)}: only in the {name}")
    checksums = [side.candidate.get("sha256") for side in sides]
    return Comparison(
        first["protocol"]["name"],
        sides[0].candidate["title"],
        sides[1].candidate["title"],
        (*what_differs(first, second), *_differing("model", *checksums)),
        tuple(changes),
        tuple(lonely),
    )


def _check_protocols(first: Entry, second: Entry) -> None:
    """Raise ``Seg2VidError`` unless both were made under the same protocol, to the letter."""
    for key, name in (("name", "protocol"), ("sha256", "checksum of the protocol")):
        values = [report["protocol"].get(key) for report in (first, second)]
        if values[0] != values[1]:
            what, got = f"two evaluations with the same {name}", f"{values[0]} and {values[1]}"
            fix = "evaluate both under one protocol: other figures do not compare"
            raise Seg2VidError(what, got=got, fix=fix)


@dataclass(frozen=True)
class _Side(Reading):
    """One of the two evaluations, read for the candidate of a key.

    Without a key it is that with the role ``model``, or else ``other``.
    """

    key: str | None

    @cached_property
    def candidate(self) -> Entry:
        """The candidate; raises ``Seg2VidError`` where there is none."""
        chosen = [self.key] if self.key is not None else model_keys(self.report)[:1]
        for candidate in self.report["candidates"]:
            if candidate["key"] in chosen:
                return candidate
        keys = ", ".join(candidate["key"] for candidate in self.report["candidates"]) or "none"
        what = "an evaluated candidate" if self.key is None else f"a candidate {self.key}"
        raise Seg2VidError(what, got=f"only {keys}", fix="name one of these")

    def interval(self, metric: str, frames: str) -> Interval:
        """Return a figure of the candidate; what it lacks is nan."""
        figure = self.figure(self.candidate["key"], metric, frames)
        value, low, high = (_number(figure.get(part)) for part in ("value", "low", "high"))
        return Interval(value, low, high, figure.get("count") or 0)

    def of_clips(self, metric: str, frames: str) -> dict[str, float]:
        """Return the values by clip, nan where there is none, whose mean the figure is.

        Those over the longest span stand under the metric alone, others under metric and frames.
        Empty where the report holds none, or only those of another span.
        """
        name = f"{metric} {frames}"
        key = name if name in self.report["clips"]["values"] else metric
        values = clip_values(self.report, key, [self.candidate["key"]])
        numbers = [value for value in values.values() if is_number(value)]
        mean = sum(numbers) / len(numbers) if numbers else math.nan
        figure = self.interval(metric, frames).value
        is_of_these = math.isclose(mean, figure, rel_tol=1e-3, abs_tol=1e-9)
        return {clip: _number(v) for clip, v in values.items()} if is_of_these else {}


def _number(value: object) -> float:
    return float(value) if is_number(value) else math.nan


def _change(sides: tuple[_Side, _Side], metric: Entry, frames: str) -> Change:
    first, second = (side.interval(metric["key"], frames) for side in sides)
    clips = [side.of_clips(metric["key"], frames) for side in sides]
    is_paired = bool(clips[0]) and list(clips[0]) == list(clips[1])
    if is_paired:
        values = [torch.tensor(list(own.values()), dtype=torch.float64) for own in clips]
        # Clips that are easy or hard for both cancel: much sharper than two intervals.
        difference = interval_of_mean(values[1] - values[0])
    else:
        difference = independent_difference(first, second)
    decimals = max(side.decimals(metric["key"]) for side in sides)
    verdict = verdict_of(difference, metric["better"])
    if verdict != UNKNOWN and math.isclose(first.value, second.value, rel_tol=ROUNDING):
        verdict = NOISE
    return Change(metric["title"], frames, first, second, difference, verdict, is_paired, decimals)


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


def what_differs(first: Entry, second: Entry) -> tuple[str, ...]:
    """Return what can change figures and differs: code, versions, machine, data, judges, clips."""
    lines = _differing("", *(_facts(report) for report in (first, second)))
    names = [report["clips"]["names"] for report in (first, second)]
    if names[0] != names[1]:
        lines.append(f"clips: {len(names[0])} and {len(names[1])}, not the same")
    return tuple(lines)


def _facts(report: Entry) -> dict[str, object]:
    """Return what can change figures, by its name for people."""
    cost = report.get("cost") or {}
    return {
        **{name: report["provenance"].get(key) for key, name in PROVENANCE.items()},
        "workers": cost.get("workers"),
        "threads per worker": cost.get("threads_per_worker"),
        "changed in the protocol": report["protocol"].get("changed") or {},
    }


def _differing(name: str, first: object, second: object) -> list[str]:
    """Return a line for a value that differs, one for each entry of a mapping that does."""
    if first == second:
        return []
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        keys = dict.fromkeys([*first, *second])
        pairs = [(f"{name} {key}".lstrip(), first.get(key), second.get(key)) for key in keys]
        return [line for pair in pairs for line in _differing(*pair)]
    return [f"{name}: {_brief(first)} → {_brief(second)}"]


def _brief(value: object) -> str:
    """Return a value as text, a checksum by its first letters."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    is_digest = len(text) in (40, 41, 64) and " " not in text
    return "none" if value in (None, "", []) else f"{text[:12]}…" if is_digest else text
