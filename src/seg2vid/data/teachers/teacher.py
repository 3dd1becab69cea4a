"""Label maps and motion for videos that have none: what a teacher is, and what is asked of it."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seg2vid.labels.space import LabelSpace
from seg2vid.structures import Carrier, Motion
from seg2vid.tools.errors import ModelError, Seg2VidError
from seg2vid.warp import backward_warp, motion_from_flows, visibility_from_flows, warp_labels

Pictures = Float[Tensor, "batch 3 height width"]
Probabilities = Float[Tensor, "batch class height width"]
Flow = Float[Tensor, "batch 2 height width"]
Frames = Float[Tensor, "time 3 height width"]

TOGETHER = 8
"""Pictures that a teacher is shown at once."""


@runtime_checkable
class LabelTeacher(Protocol):
    """Anything that labels pictures."""

    name: str
    """Where the labels come from, to be written beside them."""
    space: LabelSpace
    """What its classes are."""

    def probabilities(self, pictures: Pictures) -> Probabilities:
        """Return how likely each class is at each pixel (sum 1), for RGB in [0, 1] of any size."""


@runtime_checkable
class AdaptableTeacher(Protocol):
    """A teacher whose network is at hand, so that its statistics can follow the clip."""

    network: nn.Module


@runtime_checkable
class FlowTeacher(Protocol):
    """Anything that measures flow between pictures."""

    name: str

    def flow(self, first: Pictures, second: Pictures) -> Flow:
        """Return where each pixel of ``first`` lies in ``second``.

        Pixels, order (dx, dy), on the grid of ``first``; pictures are RGB in [0, 1].
        """


@dataclass(frozen=True)
class Teachers:
    """What labels and measures clips in one process."""

    space: LabelSpace
    """Label space of the dataset."""
    labels: LabelTeacher | None = None
    """None where the label files are all there is."""
    flow: FlowTeacher | None = None
    """Measures motion, and carries label maps to frames without one."""
    quick_flow: FlowTeacher | None = None
    """Smooths labels between consecutive frames, which move little."""


@dataclass(frozen=True)
class LabelOptions:
    """How a clip is labelled; every number is from 0 to 1.

    Raises ``Seg2VidError`` for a number outside.
    """

    flip: bool = True
    """Average what the teacher says of the picture and of its mirror image."""
    smooth: float = 0.5
    """Weight of a pixel's places in the previous and next frame together, half of it each."""
    adapt: float = 0.0
    """Share of the teacher's batch statistics that is taken from the clip."""
    min_confidence: float = 0.0
    """Pixels whose winner is no more likely than this become void."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not 0 <= value <= 1:
                what = f"a number from 0 to 1 as {entry.name}"
                raise Seg2VidError(what, got=value, fix="choose a value in that range")


@dataclass(frozen=True)
class PseudoLabels(Carrier):
    """The label maps of one clip and how sure the teacher is of them."""

    label_maps: Int[Tensor, "time height width"]
    """Ids 0 ... number of classes (void)."""
    confidence: Float[Tensor, "time height width"]
    """How likely the most likely class is, void or not."""


@torch.no_grad()
def label_clip(
    teacher: LabelTeacher,
    pictures: Frames,
    options: LabelOptions = LabelOptions(),
    flow: FlowTeacher | None = None,
) -> PseudoLabels:
    """Label the consecutive frames of one clip; without ``flow`` each frame stands alone.

    Raises ``ModelError`` where statistics are to be adapted and the teacher has none.
    """
    with _adapted(teacher, pictures, options):
        parts = [pictures[at : at + TOGETHER] for at in range(0, len(pictures), TOGETHER)]
        probabilities = torch.cat([_look(teacher, part, flip=options.flip) for part in parts])
    if flow is not None and options.smooth > 0:
        probabilities = smooth_along_flow(probabilities, pictures, flow, weight=options.smooth)
    confidence, label_maps = probabilities.max(1)
    # Rounding may leave a sum, and so a probability, a little above 1.
    is_unsure = confidence.clamp(max=1) <= options.min_confidence
    return PseudoLabels(label_maps.masked_fill(is_unsure, teacher.space.void_id), confidence)


def _look(teacher: LabelTeacher, pictures: Pictures, *, flip: bool) -> Probabilities:
    seen = teacher.probabilities(pictures)
    return (seen + teacher.probabilities(pictures.flip(-1)).flip(-1)) / 2 if flip else seen


def smooth_along_flow(
    probabilities: Float[Tensor, "time class height width"],
    pictures: Frames,
    flow: FlowTeacher,
    *,
    weight: float,
) -> Float[Tensor, "time class height width"]:
    """Mix each frame's probabilities with its neighbours', read where the flow leads.

    Each neighbour weighs half of ``weight``, and nothing where the pixel is hidden in it.
    """
    if len(pictures) < 2:
        return probabilities
    earlier, later = slice(None, -1), slice(1, None)
    smoothed = probabilities.clone()
    ahead = flow.flow(pictures[earlier], pictures[later])
    back = flow.flow(pictures[later], pictures[earlier])
    for here, there, way, reverse in ((earlier, later, ahead, back), (later, earlier, back, ahead)):
        neighbour = backward_warp(probabilities[there], way)
        share = weight / 2 * visibility_from_flows(way, reverse)
        smoothed[here] += share * (neighbour - probabilities[here])
    return smoothed


@torch.no_grad()
def fill_along_flow(
    label_maps: Sequence[Int[Tensor, "height width"] | None],
    pictures: Frames,
    flow: FlowTeacher,
    void_id: int,
) -> Int[Tensor, "time height width"]:
    """Give frames without a label map that of the nearest frame with one, moved along the flow.

    The flow is measured between the two directly. What is not visible in the labelled frame is
    void. Raises ``Seg2VidError`` where no frame has a map.
    """
    known = [time for time, label_map in enumerate(label_maps) if label_map is not None]
    if len(label_maps) != len(pictures) or not known:
        what = f"a label map or None for each of {len(pictures)} frames, at least one map"
        got = f"{len(label_maps)} entries, {len(known)} of them maps"
        raise Seg2VidError(what, got=got, fix="label one frame of the clip")
    sources = [min(known, key=lambda at: abs(at - time)) for time in range(len(pictures))]
    filled = torch.stack([label_maps[source] for source in sources])  # type: ignore[misc]
    moved = [time for time, source in enumerate(sources) if time != source]
    if not moved:
        return filled
    here, there = pictures[moved], pictures[[sources[time] for time in moved]]
    way, reverse = flow.flow(here, there), flow.flow(there, here)
    is_visible = visibility_from_flows(way, reverse).squeeze(1) > 0.5
    filled[moved] = warp_labels(filled[moved], way).masked_fill(~is_visible, void_id)
    return filled


def _adapted(
    teacher: LabelTeacher, pictures: Frames, options: LabelOptions
) -> AbstractContextManager[None]:
    """Let the teacher's statistics follow the clip while open, as the options ask."""
    if options.adapt == 0:
        return nullcontext()
    if not isinstance(teacher, AdaptableTeacher):
        what, got = "a teacher whose batch statistics can follow the clip", teacher.name
        fix = "set adapt to 0, or use a PyTorch teacher"
        raise ModelError(what, got=got, fix=fix)
    spread = torch.linspace(0, len(pictures) - 1, min(TOGETHER, len(pictures))).round().long()
    chosen = pictures[spread.to(pictures.device)]
    shown = torch.cat((chosen, chosen.flip(-1))) if options.flip else chosen
    return adapted_statistics(
        teacher.network, lambda: teacher.probabilities(shown), share=options.adapt
    )


@contextmanager
def adapted_statistics(
    network: nn.Module, look: Callable[[], object], *, share: float
) -> Iterator[None]:
    """Take ``share`` of every batch norm's mean and variance from what ``look`` shows the network.

    Layer after layer, each sees what the adapted ones before it give: with ``share`` 1 as in
    training. The network's own statistics come back in the end. Raises ``ModelError`` where it
    has none.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        what, got = "a network with batch norm, whose statistics can follow the clip", "none in it"
        raise ModelError(what, got=got, fix="set adapt to 0")
    own = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]

    def follow(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        variance, mean = torch.var_mean(inputs[0].float(), axes, correction=0)
        norm.get_buffer("running_mean").lerp_(mean, share)
        norm.get_buffer("running_var").lerp_(variance, share)

    handles = [norm.register_forward_pre_hook(follow) for norm in norms]
    try:
        try:
            look()
        finally:
            for handle in handles:
                handle.remove()
        yield
    finally:
        for norm, buffers in zip(norms, own, strict=True):
            for name, buffer in buffers.items():
                norm.get_buffer(name).copy_(buffer)


def measure_motion(teacher: FlowTeacher, frames: Frames) -> Motion:
    """Measure the motion of a clip (a batch of one): between frame 0 and each later one.

    A pixel is visible where the way there and back closes.
    """
    if len(frames) < 2:
        what, fix = "a clip of at least 2 frames to measure motion in", "give a longer clip"
        raise Seg2VidError(what, got=len(frames), fix=fix)
    later = frames[1:]
    first = frames[:1].expand_as(later)
    flow = teacher.flow(torch.cat((first, later)), torch.cat((later, first)))
    forward, backward = flow.chunk(2)
    return motion_from_flows(forward.unsqueeze(0), backward.unsqueeze(0))


def import_extra(package: str, extra: str, what: str) -> Any:
    """Import a package of one of our extras; raise ``Seg2VidError`` where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        fix = f"pip install 'seg2vid[{extra}]'"
        raise Seg2VidError(what, got=f"none ({error})", fix=fix) from error
