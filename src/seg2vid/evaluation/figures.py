"""Units → figures with intervals, curves over time, classes: what a report holds."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.evaluation.measure import ARRAYS, Unit
from seg2vid.evaluation.metrics import frechet, semantics
from seg2vid.evaluation.metrics.diversity import best_of_curve
from seg2vid.evaluation.metrics.image import GRIDS
from seg2vid.evaluation.metrics.intervals import Interval, interval_of, interval_of_mean
from seg2vid.evaluation.metrics.scene import kolmogorov_smirnov
from seg2vid.evaluation.protocol import Protocol
from seg2vid.labels.space import get_label_space

Row = dict[str, Any]
"""One entry of a list of a report, as JSON has it."""
Entries = Iterator[tuple[str, Any, Row]]
"""The list that an entry belongs to, its interval (a curve: intervals), and what else it says."""
AT_END = ("sharpness", "camera_distance", "camera_turn")
"""Arrays over the frames after the first of which a figure is that of one frame, not a mean."""
OVER_TIME = tuple(name for name, axes in ARRAYS.items() if axes.endswith("time"))
"""Arrays of which means over frames are made."""
OF_START, PACES = ("depth_error", "depth_within"), ("speed", "turning")
"""Numbers of the first frame, and of the whole drive, one a sample."""
SCORES = ("precision", "recall", "f1", "average_precision")
CONFUSIONS = ("truth", "own", "moved")
SETS: Mapping[str, tuple[str, str, str]] = {
    "i3d": ("fvd", "fvd_unbiased", "kvd"),
    "inception": ("fid", "fid_unbiased", "kid"),
}
"""Keys of the distances of sets, by the features they are made of."""


BOUNDS = ("value", "low", "high")


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
        protocol, axis = self.protocol, ARRAYS[array].split()[-1]
        if axis == "time":
            return values, tuple(range(1, protocol.num_frames + 1))
        return values, protocol.warping_times if axis == "warping_time" else protocol.compared_times

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
    values = {name: json_number(getattr(interval, name)) for name in BOUNDS}
    return {"remark": "", **named, **values, "count": interval.clips}


def make_curve(intervals: Sequence[Interval], times: Sequence[int], **named: Any) -> Row:
    """Make a curve of intervals."""
    lists = {f"{n}s": [json_number(getattr(one, n)) for one in intervals] for n in BOUNDS}
    return {**named, "times": list(times), **lists}


def frames_text(times: Sequence[int]) -> str:
    """Write frames as 1-8, or one by one where some are left out."""
    if len(times) > 1 and list(times) == list(range(times[0], times[-1] + 1)):
        return f"{times[0]}-{times[-1]}"
    return ", ".join(map(str, times))


def build_figures(results: Results) -> dict[str, list[Row]]:
    """Return the lists ``figures``, ``curves`` and ``classes`` of a report."""
    lists: dict[str, list[Row]] = {"figures": [], "curves": [], "classes": []}
    makers = (
        *(_means, _best_of, _numbers, _calibration, _labels, _sets),
        *(_class_distances, _class_unions, _class_gradients),
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
            span = frames_text([times[place] for place in kept])
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
        span = frames_text(range(results.protocol.num_frames + 1))
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
    named = {"metric": "best_of_n", "frames": frames_text(results.protocol.compared_times)}
    yield "figures", intervals[-1], {**named, "remark": f"best of {len(scores)}"}
    yield "curves", intervals, {"metric": "best_of_n", "times": range(1, len(scores) + 1)}


def _clip_numbers(
    results: Results, candidate: str
) -> Iterator[tuple[str, str, Float[Tensor, " clips"]]]:
    """Yield metric, frames and means over samples of what is one number a clip."""
    last = results.protocol.num_frames
    later, every = frames_text(range(1, last + 1)), frames_text(range(last + 1))
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
    span = frames_text(range(results.protocol.num_frames + 1))
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


def _labels(results: Results, candidate: str) -> Entries:
    """MIoU and pixel accuracy of all clips together: up to each horizon, and frame by frame."""
    times = results.protocol.compared_times
    for kind in CONFUSIONS if candidate != "truth" else ("truth",):
        found = results.stacked(candidate, f"confusion_{kind}")
        if found is None:
            continue
        found = found.double()
        for horizon in results.horizons:
            kept = [place for place, time in enumerate(times) if time <= horizon]
            span = frames_text([times[place] for place in kept])
            for metric, figure in _LABEL_FIGURES.items():
                interval = results.spread(_of_sum(found[:, kept].sum(1), figure))
                yield "figures", interval, {"metric": f"{metric}_{kind}", "frames": span}
        for metric, figure in _LABEL_FIGURES.items() if len(times) > 1 else ():
            intervals = [results.spread(_of_sum(clips, figure)) for clips in found.unbind(1)]
            yield "curves", intervals, {"metric": f"{metric}_{kind}", "times": times}


_LABEL_FIGURES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "miou": semantics.mean_intersection_over_union,
    "accuracy": semantics.pixel_accuracy_of,
}


def _of_sum(
    confusions: Float[Tensor, "clips truth said"], figure: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], float]:
    """Return the figure of the summed matrices of picked clips (any number of indices)."""
    return lambda picked: float(figure(confusions[picked].sum(0, keepdim=True).long())[0])


def _class_distances(results: Results, candidate: str) -> Entries:
    sums, counts = (results.stacked(candidate, f"class_lpips_{part}") for part in ("sum", "count"))
    if sums is None or counts is None:
        return
    for place, named in _present_classes("class_lpips", counts.sum(0)):
        own, pixels = sums[:, place].double(), counts[:, place].double()

        def ratio(picked: Tensor, own: Tensor = own, pixels: Tensor = pixels) -> float:
            return float(own[picked].sum() / pixels[picked].sum())

        yield "classes", results.spread(ratio), named


def _class_unions(results: Results, candidate: str) -> Entries:
    found = results.stacked(candidate, "confusion_truth")
    if found is None:
        return
    clips = found.double().sum(1)
    for place, named in _present_classes("class_iou", clips.sum((0, 2))):

        def union(matrices: Tensor, place: int = place) -> Tensor:
            return semantics.intersection_over_union(matrices)[:, place]

        yield "classes", results.spread(_of_sum(clips, union)), named


def _class_gradients(results: Results, candidate: str) -> Entries:
    """Gradient energy of a pixel over that of the real photos: of each class, and of all."""
    keys = [(key, part) for key in (candidate, "truth") for part in ("sum", "count")]
    found = [results.stacked(key, f"class_gradient_{part}") for key, part in keys]
    parts = [array.double() for array in found if array is not None]
    if candidate == "truth" or len(parts) < len(keys):
        return

    def ratio(picked: Tensor, places: slice = slice(None)) -> float:
        sums, counts, real_sums, real_counts = (
            float(array[picked][:, places].sum()) for array in parts
        )
        is_known = min(counts, real_counts, real_sums) > 0
        return sums / counts / (real_sums / real_counts) if is_known else math.nan

    yield "figures", results.spread(ratio), {"metric": "gradient_energy", "frames": "0"}
    for place, named in _present_classes("class_gradient", parts[3].sum(0)):
        own = partial(ratio, places=slice(place, place + 1))
        yield "classes", results.spread(own), named


def _present_classes(metric: str, pixels: Float[Tensor, " class"]) -> Iterator[tuple[int, Row]]:
    """Yield the number of each class that is there, and what its entry says."""
    names = get_label_space("cityscapes").names
    for place, share in enumerate((pixels / pixels.sum()).tolist()):
        if share > 0:
            yield place, {"metric": metric, "class": names[place], "share": share}


def _sets(results: Results, candidate: str) -> Entries:
    protocol = results.protocol
    make_rows = _floor if candidate == "truth" else _distances
    pictures = frames_text(protocol.picture_times)
    for array in SETS:
        found, real = (results.stacked(key, array) for key in (candidate, "truth"))
        if found is None or real is None or results.count < 2:
            continue
        pairs = [(found, real, pictures)]
        if array == "i3d":  # a row of its features for each horizon
            spans = [frames_text(range(horizon + 1)) for horizon in protocol.horizons]
            pairs = [(found[:, p : p + 1], real[:, p : p + 1], s) for p, s in enumerate(spans)]
        for generated, reference, span in pairs:
            for metric, interval, remark in make_rows(results, array, generated, reference):
                yield "figures", interval, {"frames": span, "metric": metric, "remark": remark}
    logits = results.stacked(candidate, "inception_logits")
    if logits is not None:
        remark = _too_few(protocol, "inception_score", logits.shape[0] * logits.shape[1])
        interval = results.spread(
            lambda picked: float(frechet.inception_score(logits[picked].flatten(0, 1))),
            is_distance=True,
        )
        named = {"metric": "inception_score", "frames": pictures, "remark": remark}
        yield "figures", interval, named


Features = Float[Tensor, "clips rows feature"]
Distances = Iterator[tuple[str, Interval, str]]
"""Metric, figure and remark."""


def _distances(results: Results, array: str, generated: Features, reference: Features) -> Distances:
    biased, unbiased, kernel = SETS[array]
    number = reference.shape[0] * reference.shape[1]
    remarks = [_too_few(results.protocol, metric, number) for metric in (biased, kernel)]
    of_clips = frechet.FrechetOverClips(generated, reference)
    yield biased, results.spread(of_clips, is_distance=True), remarks[0]
    distance = frechet.unbiased_frechet_distance(generated.flatten(0, 1), reference.flatten(0, 1))
    yield unbiased, _without_bounds(results, distance), remarks[0]
    kernels = frechet.KernelOverClips(generated, reference)
    yield kernel, results.spread(kernels, is_distance=True), remarks[1]


def _floor(results: Results, array: str, _generated: Features, reference: Features) -> Distances:
    """Distance between two halves of the real clips: what no model can be expected to beat."""
    if results.count < 4:
        return
    halves = [reference[start::2].flatten(0, 1) for start in (0, 1)]
    remark = f"floor: {len(halves[0])} against the other {len(halves[1])} real ones"
    functions = (
        frechet.frechet_distance,
        frechet.unbiased_frechet_distance,
        frechet.kernel_distance,
    )
    for metric, function in zip(SETS[array], functions, strict=True):
        yield metric, _without_bounds(results, function(halves[0], halves[1])), remark


def _without_bounds(results: Results, value: Tensor) -> Interval:
    return Interval(float(value), math.nan, math.nan, results.count)


def _too_few(protocol: Protocol, metric: str, number: int) -> str:
    """Say that a figure is indicative only, where that is so."""
    needed = protocol.enough.get(metric, 0)
    what = "clips" if metric in SETS["i3d"] else "pictures"
    return f"indicative: {number} of {needed} {what}" if number < needed else ""
