"""Units → figures with intervals, curves over time, classes: what a report holds."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from seg2vid.evaluation.class_figures import (
    class_distances,
    class_gradients,
    class_unions,
    label_figures,
)
from seg2vid.evaluation.measure import ARRAYS
from seg2vid.evaluation.metrics.diversity import best_of_curve
from seg2vid.evaluation.metrics.image import GRIDS
from seg2vid.evaluation.metrics.intervals import Interval
from seg2vid.evaluation.metrics.scene import kolmogorov_smirnov
from seg2vid.evaluation.results import Entries, Results, Row, span_of
from seg2vid.evaluation.set_figures import set_distances

AT_END = ("sharpness", "camera_distance", "camera_turn")
"""Arrays over the frames after the first of which a figure is that of one frame, not a mean."""
OVER_TIME = tuple(name for name, axes in ARRAYS.items() if axes.endswith("time"))
"""Arrays of which means over frames are made."""
OF_START, PACES = ("depth_error", "depth_within"), ("speed", "turning")
"""Numbers of the first frame, and of the whole drive, one a sample."""
SCORES = ("precision", "recall", "f1", "average_precision")
BOUNDS = ("value", "low", "high")


def json_number(value: float) -> float | None:
    """Return a number that JSON can hold: None for nan and infinity."""
    return value if math.isfinite(value) else None


def make_row(interval: Interval, **named: Any) -> Row:
    """Make an entry with value, interval and count."""
    values = {name: json_number(getattr(interval, name)) for name in BOUNDS}
    return {"remark": "", **named, **values, "count": interval.clips}


def make_curve(intervals: Sequence[Interval], times: Sequence[int], **named: Any) -> Row:
    """Make a curve of intervals."""
    lists = {f"{n}s": [json_number(getattr(one, n)) for one in intervals] for n in BOUNDS}
    return {**named, "times": list(times), **lists}


def build_figures(results: Results) -> dict[str, list[Row]]:
    """Return the lists ``figures``, ``curves`` and ``classes`` of a report."""
    lists: dict[str, list[Row]] = {"figures": [], "curves": [], "classes": []}
    makers = (
        *(_means, _best_of, _numbers, _calibration, label_figures, set_distances),
        *(class_distances, class_unions, class_gradients),
    )
    for candidate in results.units:
        for make in makers:
            for kind, interval, named in make(results, candidate):
                make_entry: Callable[..., Row] = make_row if kind != "curves" else make_curve
                lists[kind].append(make_entry(interval, candidate=candidate, **named))
    return lists


def clip_values(results: Results) -> dict[str, dict[str, list[float | None]]]:
    """Return the mean over the compared frames of each clip, by metric and candidate.

    Means up to an earlier horizon stand under the metric and its frames, as in ``lpips 1-4``.
    """
    found: dict[str, dict[str, list[float | None]]] = {}
    for array in OVER_TIME:
        for candidate in results.units:
            for horizon, span, means in _horizon_means(results, candidate, array):
                name = array if horizon == results.horizons[-1] else f"{array} {span}"
                found.setdefault(name, {})[candidate] = list(map(json_number, means.tolist()))
    for candidate in results.units:
        for metric, _, numbers in _clip_numbers(results, candidate):
            found.setdefault(metric, {})[candidate] = list(map(json_number, numbers.tolist()))
    return found


def _horizon_means(
    results: Results, candidate: str, array: str
) -> Iterator[tuple[int, str, Float[Tensor, " clips"]]]:
    """Yield each horizon, the frames up to it as text, and the means over them."""
    series = results.over_time(candidate, array)
    if series is None:
        return
    values, times = series
    for horizon in results.horizons:
        first = horizon if array in AT_END else 0
        kept = [place for place, time in enumerate(times) if first <= time <= horizon]
        if kept:
            span = span_of([times[place] for place in kept])
            yield horizon, span, values[:, kept].nanmean(1)


def _means(results: Results, candidate: str) -> Entries:
    """Means over clips, samples and frames: up to each horizon, and frame by frame."""
    for array in OVER_TIME:
        for _, span, means in _horizon_means(results, candidate, array):
            yield "figures", results.mean(means), {"metric": array, "frames": span}
        series = results.over_time(candidate, array)
        if array != "warping_error" and series is not None and len(series[1]) > 1:
            intervals = [results.mean(column) for column in series[0].unbind(1)]
            yield "curves", intervals, {"metric": array, "times": series[1]}
    seconds = results.stacked(candidate, "seconds")
    if seconds is not None and bool(seconds.any()):
        span = span_of(range(results.protocol.num_frames + 1))
        yield "figures", results.mean(seconds), {"metric": "seconds", "frames": span}


def _best_of(results: Results, candidate: str) -> Entries:
    """Expected LPIPS, a mean over frames, of the best of all futures of a clip; over their number
    as a curve.
    """
    found = results.stacked(candidate, "lpips")
    if found is None or found.shape[1] < 2:
        return
    scores = best_of_curve(found.double().mean(2).T.contiguous())
    intervals = [results.mean(row) for row in scores]
    named = {"metric": "best_of_n", "frames": span_of(results.protocol.compared_times)}
    yield "figures", intervals[-1], {**named, "remark": f"best of {len(scores)}"}
    yield "curves", intervals, {"metric": "best_of_n", "times": range(1, len(scores) + 1)}


def _clip_numbers(
    results: Results, candidate: str
) -> Iterator[tuple[str, str, Float[Tensor, " clips"]]]:
    """Yield metric, frames and means over samples of what is one number a clip."""
    last = results.protocol.num_frames
    later, every = span_of(range(1, last + 1)), span_of(range(last + 1))
    for way in ("backward", "forward"):
        found = results.stacked(candidate, f"hidden_{way}")
        if found is not None:
            for place, score in enumerate(SCORES):
                yield f"hidden_{way}_{score}", later, found[:, place].double().mean(1)
    for metric in (*OF_START, *PACES):
        found = results.stacked(candidate, metric)
        if found is not None:
            yield metric, "0" if metric in OF_START else every, found.double().nanmean(1)
    found = results.stacked(candidate, "grid_peaks")
    if found is not None:
        for place, period in enumerate(GRIDS):
            yield f"grid_{period}", "0", found[..., place].double().mean(1)


def _numbers(results: Results, candidate: str) -> Entries:
    for metric, span, values in _clip_numbers(results, candidate):
        yield "figures", results.mean(values), {"metric": metric, "frames": span}


def _calibration(results: Results, candidate: str) -> Entries:
    """Compare the drives that were drawn with those of the clips, draws of all clips together."""
    span = span_of(range(results.protocol.num_frames + 1))
    for metric in PACES:
        drawn, true = (results.stacked(key, metric) for key in (candidate, "truth"))
        if drawn is None or true is None or candidate == "truth":
            continue

        def statistic(picked: Tensor, drawn: Tensor = drawn, true: Tensor = true) -> float:
            return kolmogorov_smirnov(drawn[picked].flatten(), true[picked].flatten())[0]

        _, p = kolmogorov_smirnov(drawn.flatten(), true.flatten())
        remark = f"Kolmogorov-Smirnov, {drawn.numel()} drawn and {true.numel()} true: p = {p:.2g}"
        interval = results.spread(statistic, is_distance=True)
        named = {"metric": f"{metric}_ks", "frames": span, "remark": remark, "p": p}
        yield "figures", interval, named
