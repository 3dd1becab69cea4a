"""Distances between sets of videos and pictures, for a report: FVD, FID, their kin and floor."""

import math
from collections.abc import Iterator, Mapping

from jaxtyping import Float
from torch import Tensor

from seg2vid.evaluation.metrics.frechet import (
    frechet_distance,
    inception_score,
    kernel_distance,
    unbiased_frechet_distance,
)
from seg2vid.evaluation.metrics.intervals import Interval
from seg2vid.evaluation.metrics.resampling import FrechetOverClips, KernelOverClips
from seg2vid.evaluation.protocol import Protocol
from seg2vid.evaluation.summary import Results, Row, frames_text, make_row

SETS: Mapping[str, tuple[str, str, str]] = {
    "i3d": ("fvd", "fvd_unbiased", "kvd"),
    "inception": ("fid", "fid_unbiased", "kid"),
}
"""Keys of the distances of sets, by the features they are made of."""


def set_figures(results: Results, candidate: str) -> Iterator[Row]:
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
