"""Units → figures with intervals, curves over time, classes: what a report holds."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.evaluation.measure import PICTURE_METRICS, Unit
from seg2vid.evaluation.metrics.diversity import best_of_curve
from seg2vid.evaluation.metrics.frechet import (
    FrechetOverClips,
    KernelOverClips,
    frechet_distance,
    inception_score,
    kernel_distance,
    unbiased_frechet_distance,
)
from seg2vid.evaluation.metrics.intervals import Interval, interval_of, interval_of_mean
from seg2vid.evaluation.metrics.semantics import (
    intersection_over_union,
    mean_intersection_over_union,
    pixel_accuracy_of,
)
from seg2vid.evaluation.protocol import Protocol
from seg2vid.labels.space import get_label_space

Row = dict[str, Any]
"""One entry of a list of a report, as JSON has it."""
MOVING = ("epe_backward", "epe_forward", "consistency", "flow_spread")
"""Arrays over the frames after the first."""
COMPARED = (*PICTURE_METRICS, "lpips", "pairwise_lpips")
"""Arrays over judged times."""
SCORES = ("precision", "recall", "f1", "average_precision")
CONFUSIONS = ("truth", "own", "moved")
SETS: Mapping[str, tuple[str, str, str]] = {
    "i3d": ("fvd", "fvd_unbiased", "kvd"),
    "inception": ("fid", "fid_unbiased", "kid"),
}
"""Keys of the distances of sets, by the features they are made of."""


@dataclass(frozen=True)
class Results:
    """The units of every candidate, all on the same clips in the same order."""

    protocol: Protocol
    units: Mapping[str, Sequence[Unit]]
    """By key of the candidate; ``truth`` is among them."""

    @property
    def count(self) -> int:
        """Number of clips."""
        return len(self.units["truth"])

    def stacked(self, candidate: str, array: str) -> Float[Tensor, "clips *axes"] | None:
        """Return an array of a candidate on all clips; None where a clip lacks it."""
        units = self.units[candidate]
        return torch.stack([u[array] for u in units]) if all(array in u for u in units) else None

    def over_time(self, candidate: str, array: str) -> tuple[Tensor, tuple[int, ...]] | None:
        """Return an array (clips, time), mean over samples or pairs, and the frames it is of."""
        found = self.stacked(candidate, array)
        if found is None:
            return None
        values = found.double().flatten(1, -2).nanmean(1) if found.ndim > 2 else found.double()
        later = tuple(range(1, self.protocol.num_frames + 1))
        times = {"warping_error": self.protocol.warping_times, **dict.fromkeys(MOVING, later)}
        return values, times.get(array, self.protocol.judged_times)

    @property
    def horizons(self) -> tuple[int, ...]:
        """Frames that means reach to."""
        return (0,) if self.protocol.is_still else self.protocol.horizons

    def mean(self, values: Float[Tensor, " clips"]) -> Interval:
        """Return the mean over clips with its interval."""
        return interval_of_mean(values, replicates=self.protocol.replicates)

    def spread(
        self, statistic: Callable[[Int[Tensor, " picked"]], float], *, is_distance: bool = False
    ) -> Interval:
        """Return any figure of a set of clips with its interval; of distances the spread alone."""
        replicates = max(50, self.protocol.replicates // 10)
        return interval_of(statistic, self.count, replicates=replicates, is_recentred=is_distance)


def json_number(value: float) -> float | None:
    """Return a number that JSON can hold: None for one that is none."""
    return value if math.isfinite(value) else None


def make_row(interval: Interval, **named: Any) -> Row:
    """Make an entry with value, interval and count."""
    values = {name: json_number(getattr(interval, name)) for name in ("value", "low", "high")}
    return {"remark": "", **named, **values, "count": interval.clips}


def frames_text(times: Sequence[int]) -> str:
    """Write frames as 1-8, or one by one where some are left out."""
    if len(times) > 1 and list(times) == list(range(times[0], times[-1] + 1)):
        return f"{times[0]}-{times[-1]}"
    return ", ".join(map(str, times))


def make_curve(intervals: Sequence[Interval], times: Sequence[int], **named: Any) -> Row:
    """Make a curve of intervals."""
    lists = {
        f"{name}s": [json_number(getattr(interval, name)) for interval in intervals]
        for name in ("value", "low", "high")
    }
    return {**named, "times": list(times), **lists}


def build_figures(results: Results) -> dict[str, list[Row]]:
    """Return the lists ``figures``, ``curves`` and ``classes`` of a report."""
    figures: list[Row] = []
    curves: list[Row] = []
    classes: list[Row] = []
    for candidate in results.units:
        figures += _mean_figures(results, candidate)
        figures += _best_of(results, candidate)
        figures += _hidden_figures(results, candidate)
        figures += _label_figures(results, candidate)
        figures += _set_figures(results, candidate)
        curves += _mean_curves(results, candidate)
        curves += _best_of_curves(results, candidate)
        curves += _label_curves(results, candidate)
        classes += _class_rows(results, candidate)
    return {"figures": figures, "curves": curves, "classes": classes}


def clip_values(results: Results) -> dict[str, dict[str, list[float | None]]]:
    """Return the mean over the judged frames of each clip, by metric and candidate.

    Means up to an earlier horizon stand under the metric and its frames, as in ``lpips 1-4``.
    """
    found: dict[str, dict[str, list[float | None]]] = {}
    for array in (*COMPARED, *MOVING, "warping_error"):
        for candidate in results.units:
            series = results.over_time(candidate, array)
            for horizon in results.horizons if series is not None else ():
                values, times = series if series is not None else (torch.zeros(0, 0), ())
                kept = [place for place, time in enumerate(times) if time <= horizon]
                is_last = horizon == results.horizons[-1]
                name = array if is_last else f"{array} {frames_text([times[k] for k in kept])}"
                if kept:
                    means = [json_number(v) for v in values[:, kept].nanmean(1).tolist()]
                    found.setdefault(name, {})[candidate] = means
    for candidate in results.units:
        for metric, scores in _hidden_values(results, candidate):
            found.setdefault(metric, {})[candidate] = list(map(json_number, scores.tolist()))
    return found


def _mean_figures(results: Results, candidate: str) -> Iterator[Row]:
    """Means over clips, samples and frames up to each horizon."""
    for array in (*COMPARED, *MOVING, "warping_error"):
        series = results.over_time(candidate, array)
        for horizon in results.horizons if series is not None else ():
            values, times = series if series is not None else (torch.zeros(0, 0), ())
            kept = [place for place, time in enumerate(times) if time <= horizon]
            if kept:
                interval = results.mean(values[:, kept].nanmean(1))
                span = frames_text([times[place] for place in kept])
                yield make_row(interval, candidate=candidate, metric=array, frames=span)
    seconds = results.stacked(candidate, "seconds")
    if seconds is not None and bool(seconds.any()):
        span = frames_text(range(results.protocol.num_frames + 1))
        yield make_row(results.mean(seconds), candidate=candidate, metric="seconds", frames=span)


def _mean_curves(results: Results, candidate: str) -> Iterator[Row]:
    """The same frame by frame."""
    for array in (*COMPARED, *MOVING):
        series = results.over_time(candidate, array)
        if series is not None and len(series[1]) > 1:
            intervals = [results.mean(column) for column in series[0].unbind(1)]
            yield make_curve(intervals, series[1], candidate=candidate, metric=array)


def _best_scores(results: Results, candidate: str) -> Float[Tensor, "samples clips"] | None:
    """Return the expected LPIPS, a mean over frames, of the best of n futures of each clip."""
    found = results.stacked(candidate, "lpips")
    if found is None or found.shape[1] < 2:
        return None
    return best_of_curve(found.double().mean(2).T.contiguous())


def _best_of(results: Results, candidate: str) -> Iterator[Row]:
    """LPIPS of the best of all futures."""
    scores = _best_scores(results, candidate)
    if scores is not None:
        span = frames_text(results.protocol.judged_times)
        remark = f"best of {len(scores)}"
        interval = results.mean(scores[-1])
        yield make_row(
            interval, candidate=candidate, metric="best_of_n", frames=span, remark=remark
        )


def _best_of_curves(results: Results, candidate: str) -> Iterator[Row]:
    """LPIPS of the best of n futures, over n."""
    scores = _best_scores(results, candidate)
    if scores is not None:
        intervals = [results.mean(row) for row in scores]
        numbers = range(1, len(scores) + 1)
        yield make_curve(intervals, numbers, candidate=candidate, metric="best_of_n")


def _hidden_values(
    results: Results, candidate: str
) -> Iterator[tuple[str, Float[Tensor, " clips"]]]:
    """Yield precision, recall, F1 and average precision of hidden pixels, by metric."""
    for way in ("backward", "forward"):
        found = results.stacked(candidate, f"hidden_{way}")
        for place, score in enumerate(SCORES) if found is not None else ():
            values = found[:, place].double().mean(1) if found is not None else torch.zeros(0)
            yield f"hidden_{way}_{score}", values


def _hidden_figures(results: Results, candidate: str) -> Iterator[Row]:
    """The same as figures, over all frames."""
    span = frames_text(range(1, results.protocol.num_frames + 1))
    for metric, values in _hidden_values(results, candidate):
        yield make_row(results.mean(values), candidate=candidate, metric=metric, frames=span)


def _label_figures(results: Results, candidate: str) -> Iterator[Row]:
    """MIoU and pixel accuracy of all clips together, up to each horizon."""
    times = results.protocol.judged_times
    for kind in CONFUSIONS:
        found = results.stacked(candidate, f"confusion_{kind}")
        if found is None or (candidate == "truth" and kind != "truth"):
            continue
        for horizon in results.horizons:
            kept = [place for place, time in enumerate(times) if time <= horizon]
            clips = found[:, kept].double().sum(1)
            span = frames_text([times[place] for place in kept])
            for metric, figure in _LABEL_FIGURES.items():
                interval = results.spread(_of_sum(clips, figure))
                metric = f"{metric}_{kind}"
                yield make_row(interval, candidate=candidate, metric=metric, frames=span)


def _label_curves(results: Results, candidate: str) -> Iterator[Row]:
    """Label drift: the same frame by frame."""
    times = results.protocol.judged_times
    for kind in CONFUSIONS if len(times) > 1 else ():
        found = results.stacked(candidate, f"confusion_{kind}")
        if found is None or (candidate == "truth" and kind != "truth"):
            continue
        for metric, figure in _LABEL_FIGURES.items():
            every = found.double().unbind(1)
            intervals = [results.spread(_of_sum(clips, figure)) for clips in every]
            yield make_curve(intervals, times, candidate=candidate, metric=f"{metric}_{kind}")


_LABEL_FIGURES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "miou": mean_intersection_over_union,
    "accuracy": pixel_accuracy_of,
}


def _of_sum(
    confusions: Float[Tensor, "clips truth said"], figure: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], float]:
    """Return the figure of the summed matrices of picked clips (any number of indices)."""

    def statistic(picked: Int[Tensor, " picked"]) -> float:
        return float(figure(confusions[picked].sum(0, keepdim=True).long())[0])

    return statistic


def _class_rows(results: Results, candidate: str) -> Iterator[Row]:
    """LPIPS and IoU of each class that the true labels show."""
    space = get_label_space("cityscapes")
    names = space.names[: space.void_id]
    sums, counts = (results.stacked(candidate, f"class_lpips_{part}") for part in ("sum", "count"))
    if sums is not None and counts is not None:
        shares = counts.sum(0) / counts.sum()
        for place, name in enumerate(names):
            if counts[:, place].sum() > 0:
                statistic = _ratio(sums[:, place].double(), counts[:, place].double())
                named = {"candidate": candidate, "class": name, "share": float(shares[place])}
                yield make_row(results.spread(statistic), metric="class_lpips", **named)
    found = results.stacked(candidate, "confusion_truth")
    if found is not None:
        clips = found.double().sum(1)
        shares = clips.sum((0, 2)) / clips.sum()
        for place, name in enumerate(names):
            if shares[place] > 0:
                figure = _iou_of(place)
                named = {"candidate": candidate, "class": name, "share": float(shares[place])}
                yield make_row(results.spread(_of_sum(clips, figure)), metric="class_iou", **named)


def _ratio(
    sums: Float[Tensor, " clips"], counts: Float[Tensor, " clips"]
) -> Callable[[Tensor], float]:
    """Return the mean over the pixels of picked clips (any number of indices)."""
    return lambda picked: float(sums[picked].sum() / counts[picked].sum())


def _iou_of(place: int) -> Callable[[Tensor], Tensor]:
    """Return the IoU of one class of matrices (batch, truth, said)."""
    return lambda matrices: intersection_over_union(matrices)[:, place]


def _set_figures(results: Results, candidate: str) -> Iterator[Row]:
    """Distances between the sets of generated and real clips and frames."""
    protocol = results.protocol
    for array in SETS:
        found, real = (results.stacked(key, array) for key in (candidate, "truth"))
        if found is None or real is None or results.count < 2:
            continue
        if array == "inception":
            pairs = [(found, real, frames_text(protocol.picture_times))]
        else:
            spans = [frames_text(range(horizon + 1)) for horizon in protocol.horizons]
            pairs = [(found[:, p : p + 1], real[:, p : p + 1], s) for p, s in enumerate(spans)]
        for generated, reference, span in pairs:
            named = {"candidate": candidate, "frames": span}
            if candidate == "truth":
                yield from _floor(results, array, reference, named)
            else:
                yield from _distances(results, array, generated, reference, named)
    logits = results.stacked(candidate, "inception_logits")
    if logits is not None:
        named = {"candidate": candidate, "metric": "inception_score"}
        remark = _too_few(protocol, "inception_score", logits.shape[0] * logits.shape[1])
        interval = results.spread(
            lambda picked: float(inception_score(logits[picked].flatten(0, 1))), is_distance=True
        )
        yield make_row(interval, **named, frames=frames_text(protocol.picture_times), remark=remark)


def _distances(
    results: Results,
    array: str,
    generated: Float[Tensor, "clips rows feature"],
    reference: Float[Tensor, "clips rows feature"],
    named: Row,
) -> Iterator[Row]:
    """Fréchet distance, its extrapolation and the kernel distance."""
    frechet, unbiased, kernel = SETS[array]
    number = reference.shape[0] * reference.shape[1]
    remark = _too_few(results.protocol, frechet, number)
    measure = FrechetOverClips(generated, reference)
    yield make_row(
        results.spread(measure, is_distance=True), **named, metric=frechet, remark=remark
    )
    flat = [features.flatten(0, 1) for features in (generated, reference)]
    value = float(unbiased_frechet_distance(*flat))
    interval = Interval(value, math.nan, math.nan, results.count)
    yield make_row(interval, **named, metric=unbiased, remark=remark)
    measure_kernel = KernelOverClips(generated, reference)
    remark = _too_few(results.protocol, kernel, number)
    yield make_row(
        results.spread(measure_kernel, is_distance=True), **named, metric=kernel, remark=remark
    )


def _floor(
    results: Results, array: str, reference: Float[Tensor, "clips rows feature"], named: Row
) -> Iterator[Row]:
    """Distance between two halves of the real clips: what no model can be expected to beat."""
    if results.count < 4:
        return
    halves = [reference[start::2].flatten(0, 1) for start in (0, 1)]
    frechet, unbiased, kernel = SETS[array]
    remark = f"floor: {len(halves[0])} against the other {len(halves[1])} real ones"
    for metric, function in (
        (frechet, frechet_distance),
        (unbiased, unbiased_frechet_distance),
        (kernel, kernel_distance),
    ):
        value = float(function(halves[0], halves[1]))
        interval = Interval(value, math.nan, math.nan, results.count)
        yield make_row(interval, **named, metric=metric, remark=remark)


def _too_few(protocol: Protocol, metric: str, number: int) -> str:
    """Say that a figure is indicative only, where that is so."""
    needed = protocol.enough.get(metric, 0)
    what = "clips" if metric in SETS["i3d"] else "pictures"
    return f"indicative: {number} of {needed} {what}" if number < needed else ""
