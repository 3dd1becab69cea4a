"""How far predicted motion is from exact motion."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from seg2vid.structures import Motion
from seg2vid.warp import forward_backward_error


def end_point_error(
    flow: Float[Tensor, "batch time 2 height width"],
    exact: Float[Tensor, "batch time 2 height width"],
    visible: Float[Tensor, "batch time 1 height width"],
) -> Float[Tensor, " batch"]:
    """Mean distance in pixels between two flows, where ``visible`` is 1, of each sample.

    The usual end-point error (Baker et al., IJCV 2011); 0 for a sample in which nothing is visible.
    """
    distance = (flow - exact).square().sum(2, keepdim=True).sqrt() * visible
    return distance.sum((1, 2, 3, 4)) / visible.sum((1, 2, 3, 4)).clamp(min=1)


def hidden_f1(
    visible: Float[Tensor, "batch time 1 height width"],
    exact: Float[Tensor, "batch time 1 height width"],
) -> Float[Tensor, " batch"]:
    """F1 of finding the hidden pixels, visibility cut at a half, of each sample.

    Hidden pixels are the positives, for almost all are visible and saying so of all would score
    high. 1 where none is hidden and none was said to be.
    """
    said, hidden = visible <= 0.5, exact <= 0.5
    hits, wrong = (mask.sum((1, 2, 3, 4)).float() for mask in (said & hidden, said ^ hidden))
    return torch.where(hits + wrong > 0, 2 * hits / (2 * hits + wrong).clamp(min=1), 1.0)


def hidden_average_precision(
    visible: Float[Tensor, "batch time 1 height width"],
    exact: Float[Tensor, "batch time 1 height width"],
) -> Float[Tensor, " batch"]:
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


def consistency_error(motion: Motion) -> Float[Tensor, " batch"]:
    """Mean forward-backward error in pixels where ``backward_visible`` is above a half, of each
    sample.
    """
    time = motion.backward_flow.shape[1]
    forward = rearrange(motion.forward_flow, "b t d h w -> (b t) d h w")
    backward = rearrange(motion.backward_flow, "b t d h w -> (b t) d h w")
    error = rearrange(forward_backward_error(backward, forward), "(b t) c h w -> b t c h w", t=time)
    visible = (motion.backward_visible > 0.5).float()
    return (error * visible).sum((1, 2, 3, 4)) / visible.sum((1, 2, 3, 4)).clamp(min=1)
