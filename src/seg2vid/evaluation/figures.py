"""Units → figures with intervals, curves over time, classes: what a report holds."""

from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.evaluation.metrics.diversity import best_of_curve
from seg2vid.evaluation.metrics.semantics import (
    intersection_over_union,
    mean_intersection_over_union,
    pixel_accuracy_of,
)
from seg2vid.evaluation.sets import set_figures
from seg2vid.evaluation.summary import (
    MOVING,
    Results,
    Row,
    frames_text,
    json_number,
    make_curve,
    make_row,
)
from seg2vid.labels.space import get_label_space

COMPARED = ("psnr", "ssim", "ms_ssim", "lpips", "pairwise_lpips")
"""Arrays over judged times."""
SCORES = ("precision", "recall", "f1", "average_precision")
CONFUSIONS = ("truth", "own", "moved")


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
        figures += set_figures(results, candidate)
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
