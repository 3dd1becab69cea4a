"""Distances between sets of pictures and of clips, by the features of judges."""

import math
from collections.abc import Iterator, Mapping

from torch import Tensor

from seg2vid.evaluation.metrics import frechet
from seg2vid.evaluation.metrics.frechet import Clips
from seg2vid.evaluation.metrics.intervals import Interval
from seg2vid.evaluation.protocol import Protocol
from seg2vid.evaluation.results import Entries, Results, span_of

SETS: Mapping[str, tuple[str, str, str]] = {
    "i3d": ("fvd", "fvd_unbiased", "kvd"),
    "inception": ("fid", "fid_unbiased", "kid"),
}
"""Keys of the distances of sets, by the features they are made of."""
Distances = Iterator[tuple[str, Interval, str]]
"""Metric, figure and remark."""


def set_distances(results: Results, candidate: str) -> Entries:
    """Distances from the set of real clips and pictures, and the Inception Score."""
    protocol = results.protocol
    make_rows = _floor if candidate == "truth" else _distances
    pictures = span_of(protocol.picture_times)
    for array in SETS:
        found, real = (results.stacked(key, array) for key in (candidate, "truth"))
        if found is None or real is None or results.count < 2:
            continue
        pairs = [(found, real, pictures)]
        if array == "i3d":  # a row of its features for each horizon
            spans = [span_of(range(horizon + 1)) for horizon in protocol.horizons]
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


def _distances(results: Results, array: str, generated: Clips, reference: Clips) -> Distances:
    biased, unbiased, kernel = SETS[array]
    number = reference.shape[0] * reference.shape[1]
    remarks = [_too_few(results.protocol, metric, number) for metric in (biased, kernel)]
    of_clips = frechet.FrechetOverClips(generated, reference)
    yield biased, results.spread(of_clips, is_distance=True), remarks[0]
    distance = frechet.unbiased_frechet_distance(generated.flatten(0, 1), reference.flatten(0, 1))
    yield unbiased, _without_bounds(results, distance), remarks[0]
    kernels = frechet.KernelOverClips(generated, reference)
    yield kernel, results.spread(kernels, is_distance=True), remarks[1]


def _floor(results: Results, array: str, _generated: Clips, reference: Clips) -> Distances:
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
