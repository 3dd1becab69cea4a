"""One pure function for each term of a loss, with its equation; stages apply the weights.

All pictures are RGB in [0, 1], all flow is in pixels unless ``scale`` divides it, and all losses
are scalars that are 0 for a perfect prediction. Equations have the numbers of Pan et al. (CVPR
2019).
"""

from dataclasses import replace
from itertools import product

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from seg2vid.models.appearance_encoder import LookPosterior
from seg2vid.structures import (
    Flows,
    Frames,
    Labels,
    Masks,
    Motion,
    Pictures,
    Posterior,
)
from seg2vid.warp import Padding, backward_warp, compose_flows, warp_clip

Scalar = Float[Tensor, ""]
Values = Float[Tensor, "*shape"]
Logits = Float[Tensor, "batch class height width"]


def mean_where(values: Tensor, mask: Tensor) -> Scalar:
    """Average the values where the mask, of one channel, is 1; 0 where it is 1 nowhere."""
    weight = mask.expand_as(values)
    return (values * weight).sum() / weight.sum().clamp(min=1)


def fold(clip: Shaped[Tensor, "batch time *shape"]) -> Shaped[Tensor, "frames *shape"]:
    """Fold time into the batch."""
    return clip.flatten(0, 1)


def _grid_unit(flow: Float[Tensor, "... 2 height width"]) -> Float[Tensor, "2 1 1"]:
    """Return what a pixel of ``flow`` is in the authors' units: half pictures."""
    height, width = flow.shape[-2:]
    return flow.new_tensor([[[2 / max(width - 1, 1)]], [[2 / max(height - 1, 1)]]])


def pre_refinement_loss(
    first_frame: Pictures, frames: Frames, motion: Motion, *, padding: Padding = "border"
) -> Scalar:
    """Masked reconstruction of every frame before refinement (Eq. 3, second part; code L_pre).

    Σ o_b(x) |I_t(x) - I_0(x + w_b(x))|, a mean over all pixels, so that hiding a pixel is cheap
    here and costs in ``mask_penalty``.
    """
    warped = warp_clip(first_frame, motion.backward_flow, padding=padding)
    return (motion.backward_visible * (warped - frames).abs()).mean()


def first_frame_reconstruction_loss(
    first_frame: Pictures, frames: Frames, motion: Motion, *, padding: Padding = "border"
) -> Scalar:
    """Masked reconstruction of the first frame from every other (Eq. 3, first part; code L_back).

    Σ o_f(x) |I_0(x) - I_t(x + w_f(x))|, a mean over all pixels.
    """
    returned = backward_warp(fold(frames), fold(motion.forward_flow), padding=padding)
    target = first_frame.repeat_interleave(frames.shape[1], 0)
    return (fold(motion.forward_visible) * (returned - target).abs()).mean()


def reconstruction_loss(
    first_frame: Pictures, frames: Frames, motion: Motion, *, padding: Padding = "border"
) -> Scalar:
    """Masked reconstruction both ways: the whole of Eq. 3."""
    there = pre_refinement_loss(first_frame, frames, motion, padding=padding)
    back = first_frame_reconstruction_loss(first_frame, frames, motion, padding=padding)
    return there + back


def coarse_to_fine_loss(first_frame: Pictures, frames: Frames, motion: Motion) -> Scalar:
    """Reconstruction both ways of averages of 2, 4, 8 and 16 pixels squared. Not in the paper.

    Mean over the four of mean |average of o (I(x + w) - I*)|: where a pixel's gradient sees no
    further than a pixel, that of a cell sees as far as the cell. Visibility weighs and does not
    learn: hiding what is not yet matched would be the shortest way down.
    """
    names = ("forward_visible", "backward_visible")
    seen = replace(motion, **{name: getattr(motion, name).detach() for name in names})
    there = seen.backward_visible * (warp_clip(first_frame, seen.backward_flow) - frames)
    returned = backward_warp(fold(frames), fold(seen.forward_flow))
    target = first_frame.repeat_interleave(frames.shape[1], 0)
    gaps = torch.cat((fold(there), fold(seen.forward_visible) * (returned - target)))
    # Both ways are summed, as in Eq. 3.
    cells = [F.avg_pool2d(gaps, size).abs().mean() for size in (2, 4, 8, 16)]
    return 2 * torch.stack(cells).mean()


def refinement_loss(refined: Frames, frames: Frames) -> Scalar:
    """Mean of |Î_t - I_t| over finished frames (Eq. 6; code L_rec)."""
    return (refined - frames).abs().mean()


def grid_consistency_loss(motion: Motion, *, padding: Padding = "border") -> Scalar:
    """Forward-backward consistency as the authors' code has it (code L_cons).

    Σ_t mean(o_f |w_f(x) + w_b(x + w_f(x))|) + mean(o_b |w_b(x) + w_f(x + w_b(x))|): the L1 norm, in
    normalised units (2 / (width - 1) a pixel across, 2 / (height - 1) down), summed over time, and
    visibility learns from it.
    """
    forward, backward = fold(motion.forward_flow), fold(motion.backward_flow)
    unit, time = _grid_unit(forward), motion.forward_flow.shape[1]
    there = (compose_flows(backward, forward, padding=padding) * unit).abs()
    back = (compose_flows(forward, backward, padding=padding) * unit).abs()
    there, back = there * fold(motion.forward_visible), back * fold(motion.backward_visible)
    return time * (there.mean() + back.mean())


def bilateral_smoothness_loss(flow: Flows, guide: Frames, *, as_authors: bool = False) -> Scalar:
    """Squared differences of flow to sixteen neighbours of like colour (code L_smooth).

    Σ 128² |w(x + d) - w(x)|² exp(-Σ_c (256 ΔI)² - |d|²) over d in {-2, -1, 1, 2}², flow in
    normalised units, divided by the number of pixels and frames. Neighbours of the same row or
    column are not among them. ``as_authors`` looks at the first frame alone, and only at pixels x
    that are two or more from the border, as their code does.
    """
    if as_authors:
        flow, guide = flow[:, :1], guide[:, :1]
    height, width = flow.shape[-2:]
    scaled, colour = 128 * _grid_unit(flow) * flow, 256 * guide
    total = flow.new_zeros(())
    # A pair is the same seen from either end, so half of the offsets count twice.
    for down, across in product((1, 2), (-2, -1, 1, 2)):
        step, edge = (
            picture[..., down:, max(across, 0) : width + min(across, 0)]
            - picture[..., : height - down, max(-across, 0) : width - max(across, 0)]
            for picture in (scaled, colour)
        )
        likeness = torch.exp(-edge.square().sum(2) - down**2 - across**2)
        each = step.square().sum(2) * likeness
        if not as_authors:
            total = total + 2 * each.sum()
            continue
        # The pair counts from each end that is within: the lower one, and the upper one.
        for above, left in ((down, max(across, 0)), (0, max(-across, 0))):
            rows = slice(max(2 - above, 0), max(height - 2 - above, 0))
            total = total + each[..., rows, max(2 - left, 0) : max(width - 2 - left, 0)].sum()
    return total / flow[:, :, 0].numel()


def similarity_loss(refined: Frames, frames: Frames) -> Scalar:
    """Σ_t 0.85 structural similarity term + 0.15 L1 of the finished frames (Eq. 6; code L_sim)."""
    structure = structural_similarity_loss(fold(refined), fold(frames))
    return refined.shape[1] * (0.85 * structure + 0.15 * refinement_loss(refined, frames))


def feature_loss(predicted: list[Tensor], target: list[Tensor]) -> Scalar:
    """Σ over feature maps (batch, channel, height, width) of mean |φ(Î) - φ(I)| (code L_vgg).

    The code shows it the warped frame before refinement, the paper the finished one.
    """
    pairs = zip(predicted, target, strict=True)
    return torch.stack([(map_p - map_t).abs().mean() for map_p, map_t in pairs]).sum()


def mask_penalty(motion: Motion) -> Scalar:
    """Σ |1 - o_f| + |1 - o_b|, which prevents the all-hidden solution (Eq. 6)."""
    return (1 - motion.forward_visible).mean() + (1 - motion.backward_visible).mean()


def flow_loss(predicted: Flows, exact: Flows, visible: Masks, *, scale: float) -> Scalar:
    """Charbonnier distance in units of ``scale`` pixels, where the exact flow is ``visible``.

    Mean of sqrt(|w - w*|² + 0.01) - 0.1. Not in the paper, which had no exact flow.
    """
    distance = torch.sqrt((predicted - exact).square().sum(2, keepdim=True) + 0.01) - 0.1
    return mean_where(distance / scale, visible)


def structural_similarity_loss(predicted: Pictures, target: Pictures) -> Scalar:
    """Mean of clamp((1 - SSIM) / 2, 0, 1), 3 x 3 windows without padding (Eq. 6; code L_sim)."""
    mean_p, mean_t = _window_means(predicted), _window_means(target)
    variance_p = _window_means(predicted.square()) - mean_p.square()
    variance_t = _window_means(target.square()) - mean_t.square()
    covariance = _window_means(predicted * target) - mean_p * mean_t
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_p * mean_t + c1) * (2 * covariance + c2)) / (
        (mean_p.square() + mean_t.square() + c1) * (variance_p + variance_t + c2)
    )
    return ((1 - similarity) / 2).clamp(0, 1).mean()


def _window_means(pictures: Pictures) -> Float[Tensor, "batch 3 inner_height inner_width"]:
    """Average every 3 x 3 window: sums of shifted pictures, five times as fast as pooling."""
    across = pictures[..., :-2] + pictures[..., 1:-1] + pictures[..., 2:]
    return (across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :]) / 9


def hidden_label_loss(
    logits: Float[Tensor, "frames class half_height half_width"],
    label_maps: Int[Tensor, "frames height width"],
    visible: Float[Tensor, "frames 1 height width"],
) -> Scalar:
    """Cross entropy of the refiner's labels; hidden pixels, the ones used, count ten times.

    Compared at the logits' half resolution, with the last pixel of each 2 x 2.
    """
    entropy = F.cross_entropy(logits, label_maps[:, 1::2, 1::2], reduction="none")
    return mean_where(entropy.unsqueeze(1), 0.1 + 0.9 * (1 - visible[:, :, 1::2, 1::2]))


def kl_divergence(posterior: Posterior, *, free_bits: float = 0.0) -> Scalar:
    """KL(q(z | clip, labels) || N(0, I)) in nats, a mean over the samples of the batch (Eq. 7).

    Each object's code counts once however many cells it covers. Up to ``free_bits`` nats of each
    number's mean, over the batch or over all objects, cost nothing more (Kingma et al., NeurIPS
    2016, Sec. 4): what is used that little is not pressed to nothing.
    """
    background = gaussian_divergence(posterior.mean.background, posterior.log_variance.background)
    cells = gaussian_divergence(posterior.mean.foreground, posterior.log_variance.foreground)
    numbers = posterior.objects.flatten(1)
    share = 1 / F.one_hot(numbers).sum(1).clamp(min=1).gather(1, numbers)
    share = share * (numbers > 0)
    objects = share.sum()
    each = (cells.flatten(2) * share.unsqueeze(1)).sum((0, 2)) / objects.clamp(min=1e-6)
    camera = background.mean(0).clamp(min=free_bits).sum()
    return camera + each.clamp(min=free_bits).sum() * objects / len(share)


def batch_kl_divergence(posterior: Posterior, *, free_bits: float = 0.0) -> Scalar:
    """Sum of the divergence over the batch, divided by 1000: the authors' code."""
    return kl_divergence(posterior, free_bits=free_bits) * len(posterior.objects) / 1000


def look_divergence(posterior: LookPosterior, *, free_bits: float = 0.0) -> Scalar:
    """Mean divergence of the look from N(0, I) per number.

    Segments that the picture lacks do not count, nor do the first ``free_bits`` nats of a number's
    mean over the batch.
    """
    whole = gaussian_divergence(posterior.mean.whole, posterior.log_variance.whole).mean(0)
    segments = gaussian_divergence(posterior.mean.segments, posterior.log_variance.segments)
    present = (posterior.areas > 0).to(segments.dtype)
    each = (segments * present.unsqueeze(-1)).sum((0, 1)) / present.sum().clamp(min=1)
    return whole.clamp(min=free_bits).mean() + each.clamp(min=free_bits).mean()


def gaussian_divergence(mean: Values, log_variance: Values) -> Values:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of every number, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def adversarial_loss(logits: Logits, target: Labels, *, void_id: int) -> Scalar:
    """Class-balanced cross entropy of the discriminator (Schönfeld et al., ICLR 2021, Eq. 1 and 2).

    A class weighs as much as it is rare in the batch; void pixels say nothing and are left out.
    ``target`` may name the last class of the logits, "generated".
    """
    classes = logits.shape[1]
    count = torch.bincount(target.flatten(), minlength=classes).float()
    count[void_id] = 0
    weight = count.sum() / count.clamp(min=1) / (count > 0).sum().clamp(min=1)
    # A rare class of ten pixels must not drown the others.
    weight = weight.clamp(max=10.0) * (count > 0)
    entropy = F.cross_entropy(logits.float(), target, reduction="none")
    return (entropy * weight[target]).mean()


def balanced_entropy(
    logits: Logits, label_map: Labels, share: Float[Tensor, " class"], *, balance: float
) -> Scalar:
    """Cross entropy in which a class counts by its ``share`` of the pixels to the -``balance``.

    A mean over the pixels that are not void (id = number of classes); 0 where all are.
    """
    weight = share.clamp(min=1e-4) ** -balance
    weight = weight / (weight * share).sum()
    void = logits.shape[1]
    entropy = F.cross_entropy(logits, label_map, weight, ignore_index=void, reduction="sum")
    # Over the weights, as ``reduction="mean"``, which gives no number where all is void.
    return entropy / F.pad(weight, (0, 1))[label_map].sum().clamp(min=1e-6)


def jaccard_distance(logits: Logits, label_map: Labels) -> Scalar:
    """Return 1 - intersection over union of the soft prediction, over the batch.

    Mean over the classes that the batch has; void pixels (id = number of classes) do not count.
    """
    classes = logits.shape[1]
    truth = rearrange(F.one_hot(label_map, classes + 1), "b h w c -> b c h w")[:, :classes]
    truth = truth.to(logits.dtype)
    predicted = logits.softmax(1) * (label_map < classes).unsqueeze(1)
    intersection = (predicted * truth).sum((0, 2, 3))
    union = (predicted + truth).sum((0, 2, 3)) - intersection
    present = (truth.sum((0, 2, 3)) > 0).float()
    score = intersection / union.clamp(min=1e-6)
    return 1 - (score * present).sum() / present.sum().clamp(min=1)
