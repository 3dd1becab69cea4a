"""How far predicted motion is from exact motion, and how steady frames and flows are."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.structures import Flows, Masks, Motion
from seg2vid.tools.errors import ModelError
from seg2vid.warp import backward_warp, forward_backward_error


def end_point_error_by_frame(
    flow: Flows, exact: Flows, visible: Masks
) -> Float[Tensor, "batch time"]:
    """Mean distance in pixels between two flows, where ``visible`` is 1, of each frame: 0 is best.

    The usual end-point error (Baker et al., IJCV 2011); nan for a frame in which nothing is
    visible, so that a mean over clips can leave it out.
    """
    return _mean_by_frame((flow - exact).norm(dim=2, keepdim=True), visible > 0.5)


def visibility_scores(visible: Masks, exact: Masks) -> Float[Tensor, "score batch"]:
    """Precision, recall and F1 of finding hidden pixels, each in [0, 1], higher is better.

    Both are cut at a half, over all pixels of each sample. Hidden pixels are the positives, for
    almost all are visible and saying so of all would score high. Precision is 1 where none was said
    to be hidden, recall where none is, F1 where both are so.
    """
    said, hidden = visible.flatten(1) <= 0.5, exact.flatten(1) <= 0.5
    hits = (said & hidden).sum(1)
    parts = ((hits, said.sum(1)), (hits, hidden.sum(1)), (2 * hits, said.sum(1) + hidden.sum(1)))
    return torch.stack([_share(part, whole) for part, whole in parts])


def _share(part: Int[Tensor, " batch"], whole: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Divide counts; nothing of nothing is all of it."""
    return torch.where(whole > 0, part / whole.clamp(min=1), 1.0)


def hidden_average_precision(visible: Masks, exact: Masks) -> Float[Tensor, " batch"]:
    """Average precision of ranking the hidden pixels first, of each sample, whatever the cut.

    Σ (recall_n - recall_n-1) precision_n over the pixels from the least visible on; by chance it is
    the share of hidden pixels. 1 where none is hidden.
    """
    order = visible.flatten(1).argsort(dim=1, stable=True)
    hidden = (exact.flatten(1) <= 0.5).float().gather(1, order)
    rank = torch.arange(1, hidden.shape[1] + 1, device=hidden.device)
    total = hidden.sum(1)
    precision = (hidden * hidden.cumsum(1) / rank).sum(1) / total.clamp(min=1)
    return torch.where(total > 0, precision, 1.0)


def consistency_error_by_frame(motion: Motion) -> Float[Tensor, "batch time"]:
    """Mean forward-backward error in pixels where ``backward_visible`` is above a half, of each
    frame: 0 is best. nan for a frame in which nothing is visible.
    """
    flows = (motion.backward_flow, motion.forward_flow)
    backward, forward = (rearrange(flow, "b t d h w -> (b t) d h w") for flow in flows)
    error = forward_backward_error(backward, forward)
    error = rearrange(error, "(b t) c h w -> b t c h w", b=len(motion.backward_flow))
    return _mean_by_frame(error, motion.backward_visible > 0.5)


def _mean_by_frame(
    error: Float[Tensor, "batch time channel height width"],
    visible: Bool[Tensor, "batch time 1 height width"],
) -> Float[Tensor, "batch time"]:
    """Return the mean over channels and visible pixels; nan where there are none."""
    total = (error.mean(2, keepdim=True) * visible).sum((2, 3, 4))
    return total / visible.sum((2, 3, 4))


def warping_error(
    frames: Float[Tensor, "batch time 3 height width"],
    flow: Float[Tensor, "batch pairs 2 height width"],
    visible: Float[Tensor, "batch pairs 1 height width"],
) -> Float[Tensor, "batch pairs"]:
    """Mean squared difference between each frame and the one before it, warped: 0 is best, at most
    1.

    E_warp of Lai et al. (ECCV 2018), the mean over visible pixels and channels. ``flow`` leads from
    frame t back to frame t - 1 in pixels, on the grid of frame t, so there is one frame more than
    flows; ``visible`` is 1 where frame t - 1 shows the pixel too. nan for a pair with no such
    pixel. Standing still scores well: this says nothing without a figure of motion beside it.

    Raises ``ModelError`` where frames are not one more than pairs.
    """
    if frames.shape[1] != flow.shape[1] + 1:
        what = "one frame more than flows between neighbours"
        got = f"{frames.shape[1]} frames and {flow.shape[1]} flows"
        raise ModelError(what, got=got, fix="give the first frame with the others")
    before, pairs = frames[:, :-1].flatten(0, 1), flow.flatten(0, 1)
    warped = backward_warp(before, pairs).view_as(frames[:, 1:])
    return _mean_by_frame((frames[:, 1:] - warped).square(), visible > 0.5)


def flow_spread(flows: Float[Tensor, "samples time 2 height width"]) -> Float[Tensor, " time"]:
    """Mean distance in pixels between the flows of two different samples, of each time: 0 where all
    samples move alike; higher is more diverse, not better in itself.

    Raises ``ModelError`` for less than two samples.
    """
    count = len(flows)
    if count < 2:
        what, fix = "at least two samples for a spread", "draw more samples"
        raise ModelError(what, got=count, fix=fix)
    distances = [
        (flows[:-shift] - flows[shift:]).norm(dim=2).mean((2, 3)).sum(0)
        for shift in range(1, count)
    ]
    return torch.stack(distances).sum(0) / (count * (count - 1) / 2)
