"""What labels say, and figures of each class."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from jaxtyping import Float
from torch import Tensor

from seg2vid.evaluation.metrics import semantics
from seg2vid.evaluation.results import Entries, Results, Row, span_of
from seg2vid.labels.space import get_label_space

CONFUSIONS = ("truth", "own", "moved")
_LABEL_FIGURES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "miou": semantics.mean_intersection_over_union,
    "accuracy": semantics.pixel_accuracy_of,
}


def label_figures(results: Results, candidate: str) -> Entries:
    """MIoU and pixel accuracy of all clips together: up to each horizon, and frame by frame."""
    times = results.protocol.compared_times
    for kind in CONFUSIONS if candidate != "truth" else ("truth",):
        found = results.stacked(candidate, f"confusion_{kind}")
        if found is None:
            continue
        found = found.double()
        for horizon in results.horizons:
            kept = [place for place, time in enumerate(times) if time <= horizon]
            span = span_of([times[place] for place in kept])
            for metric, figure in _LABEL_FIGURES.items():
                interval = results.spread(_of_sum(found[:, kept].sum(1), figure))
                yield "figures", interval, {"metric": f"{metric}_{kind}", "frames": span}
        for metric, figure in _LABEL_FIGURES.items() if len(times) > 1 else ():
            intervals = [results.spread(_of_sum(clips, figure)) for clips in found.unbind(1)]
            yield "curves", intervals, {"metric": f"{metric}_{kind}", "times": times}


def _of_sum(
    confusions: Float[Tensor, "clips truth said"], figure: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], float]:
    """Return the figure of the summed matrices of picked clips (any number of indices)."""
    return lambda picked: float(figure(confusions[picked].sum(0, keepdim=True).long())[0])


def class_distances(results: Results, candidate: str) -> Entries:
    """LPIPS at the pixels of each true class."""
    sums, counts = (results.stacked(candidate, f"class_lpips_{part}") for part in ("sum", "count"))
    if sums is None or counts is None:
        return
    for place, named in _present_classes("class_lpips", counts.sum(0)):
        own, pixels = sums[:, place].double(), counts[:, place].double()

        def ratio(picked: Tensor, own: Tensor = own, pixels: Tensor = pixels) -> float:
            return float(own[picked].sum() / pixels[picked].sum())

        yield "classes", results.spread(ratio), named


def class_unions(results: Results, candidate: str) -> Entries:
    """IoU of each class with the true labels, over all clips and frames together."""
    found = results.stacked(candidate, "confusion_truth")
    if found is None:
        return
    clips = found.double().sum(1)
    for place, named in _present_classes("class_iou", clips.sum((0, 2))):

        def union(matrices: Tensor, place: int = place) -> Tensor:
            return semantics.intersection_over_union(matrices)[:, place]

        yield "classes", results.spread(_of_sum(clips, union)), named


def class_gradients(results: Results, candidate: str) -> Entries:
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
