"""Label maps and motion for videos that have none: what a teacher is, and what is asked of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seg2vid.labels.space import LabelSpace
from seg2vid.structures import Flow, Motion, Pictures
from seg2vid.tools.errors import ModelError, Seg2VidError
from seg2vid.warp import backward_warp, motion_from_flows, visibility_from_flows, warp_labels

Probabilities = Float[Tensor, "batch class height width"]
Frames = Float[Tensor, "time 3 height width"]
ClipProbabilities = Float[Tensor, "time class height width"]
LabelMap = Int[Tensor, "height width"]
LabelMaps = Int[Tensor, "time height width"]

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


@torch.no_grad()
def label_clip(
    teacher: LabelTeacher,
    pictures: Frames,
    flow: FlowTeacher | None = None,
    *,
    flip: bool = True,
    smooth: float = 0.5,
    adapt: float = 0.0,
    min_confidence: float = 0.0,
) -> tuple[LabelMaps, Float[Tensor, "time height width"]]:
    """Label the consecutive frames of one clip; without ``flow`` each frame stands alone.

    ``flip`` averages what the teacher says of a picture and of its mirror image; ``smooth`` is the
    weight of a pixel's places in the previous and next frame together; ``adapt`` is the share of
    the teacher's batch statistics that is taken from the clip; pixels whose winner is no more
    likely than ``min_confidence`` become void. Returns label maps and how likely the most likely
    class is, void or not. Raises ``Seg2VidError`` for a number outside 0 to 1, and ``ModelError``
    where statistics are to be adapted and the teacher has none.
    """
    shares = {"smooth": smooth, "adapt": adapt, "min_confidence": min_confidence}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            what, fix = f"a number from 0 to 1 as {name}", "choose a value in that range"
            raise Seg2VidError(what, got=share, fix=fix)

    def look(part: Pictures) -> Probabilities:
        seen = teacher.probabilities(part)
        return (seen + teacher.probabilities(part.flip(-1)).flip(-1)) / 2 if flip else seen

    with _adapted(teacher, pictures, adapt, flip=flip) if adapt else nullcontext():
        parts = [pictures[at : at + TOGETHER] for at in range(0, len(pictures), TOGETHER)]
        probabilities = torch.cat([look(part) for part in parts])
    if flow is not None and smooth > 0:
        probabilities = smooth_along_flow(probabilities, pictures, flow, weight=smooth)
    confidence, label_maps = probabilities.max(1)
    # Rounding may leave a sum, and so a probability, a little above 1.
    is_unsure = confidence.clamp(max=1) <= min_confidence
    return label_maps.masked_fill(is_unsure, teacher.space.void_id), confidence


def smooth_along_flow(
    probabilities: ClipProbabilities, pictures: Frames, flow: FlowTeacher, *, weight: float
) -> ClipProbabilities:
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
    label_maps: Sequence[LabelMap | None], pictures: Frames, flow: FlowTeacher, void_id: int
) -> LabelMaps:
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
    teacher: LabelTeacher, pictures: Frames, share: float, *, flip: bool
) -> AbstractContextManager[None]:
    network = getattr(teacher, "network", None)
    if not isinstance(network, nn.Module):
        what, got = "a teacher whose batch statistics can follow the clip", teacher.name
        raise ModelError(what, got=got, fix="set adapt to 0, or use a PyTorch teacher")
    spread = torch.linspace(0, len(pictures) - 1, min(TOGETHER, len(pictures))).round().long()
    chosen = pictures[spread.to(pictures.device)]
    shown = torch.cat((chosen, chosen.flip(-1))) if flip else chosen
    return adapted_statistics(network, lambda: teacher.probabilities(shown), share=share)


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
    own = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def follow(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        variance, mean = torch.var_mean(inputs[0].float(), axes, correction=0)
        norm.get_buffer("running_mean").lerp_(mean, share)
        norm.get_buffer("running_var").lerp_(variance, share)

    with ExitStack() as adapted:
        adapted.callback(network.load_state_dict, own, strict=False)
        with ExitStack() as looking:
            for norm in norms:
                looking.callback(norm.register_forward_pre_hook(follow).remove)
            look()
        yield


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
