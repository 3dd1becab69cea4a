"""One pure function for each term of the paper, with its equation; weights are applied where they
are summed.

All pictures are RGB in [0, 1], all flow is in pixels unless ``scale`` divides it, all losses are
scalars that
are 0 for a perfect prediction. Equation numbers are those of Pan et al., CVPR 2019.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.structures import Motion, Posterior
from seg2vid.warp import backward_warp, forward_backward_error, warp_clip


def _mean_where(
    values: Float[Tensor, "*batch channel height width"],
    mask: Float[Tensor, "*batch 1 height width"],
) -> Float[Tensor, ""]:
    """Average the values where the mask is 1; 0 where it is 1 nowhere."""
    weight = mask.expand_as(values)
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _fold(
    clip: Float[Tensor, "batch time channel height width"],
) -> Float[Tensor, "frames channel height width"]:
    """Fold time into the batch."""
    return rearrange(clip, "b t c h w -> (b t) c h w")


def reconstruction_loss(
    first_frame: Float[Tensor, "batch 3 height width"],
    frames: Float[Tensor, "batch time 3 height width"],
    motion: Motion,
) -> Float[Tensor, ""]:
    """Masked reconstruction both ways (Eq. 3).

    Σ o_b(x) |I_t(x) - I_0(x + w_b(x))| + o_f(x) |I_0(x) - I_t(x + w_f(x))|, each a mean over all
    pixels, so
    that hiding a pixel is cheap here and dear in ``mask_penalty``.
    """
    time = frames.shape[1]
    from_first = warp_clip(first_frame, motion.backward_flow)
    backward = motion.backward_visible * (from_first - frames).abs()
    from_later = backward_warp(_fold(frames), _fold(motion.forward_flow))
    target = first_frame.repeat_interleave(time, 0)
    forward = _fold(motion.forward_visible) * (from_later - target).abs()
    return backward.mean() + forward.mean()


def smoothness_loss(
    flow: Float[Tensor, "batch time 2 height width"],
    guide: Float[Tensor, "batch time 3 height width"],
    *,
    scale: float,
) -> Float[Tensor, ""]:
    """Edge-aware first-order smoothness of flow in units of ``scale`` pixels (Eq. 4).

    Σ |∇w| exp(-10 |∇I|) over all frames, where ``guide`` is the picture on whose grid the flow
    lives. (The
    authors' code regularises the first frame alone.)
    """
    total = flow.new_zeros(())
    for axis in (-1, -2):
        step = flow.diff(dim=axis).abs() / scale
        edge = guide.diff(dim=axis).abs().mean(2, keepdim=True)
        total = total + (step * torch.exp(-10 * edge)).mean()
    return total


def consistency_loss(motion: Motion, *, scale: float) -> Float[Tensor, ""]:
    """Forward-backward consistency where visible, in units of ``scale`` pixels (Eq. 5).

    Σ o_f |w_f(x) + w_b(x + w_f(x))| + o_b |w_b(x) + w_f(x + w_b(x))|; the plus is the sign of our
    convention, in which the two flows point opposite ways. Visibility is taken as given.
    """
    forward, backward = _fold(motion.forward_flow), _fold(motion.backward_flow)
    there = forward_backward_error(forward, backward) / scale
    back = forward_backward_error(backward, forward) / scale
    return (there * _fold(motion.forward_visible.detach())).mean() + (
        back * _fold(motion.backward_visible.detach())
    ).mean()


def mask_penalty(motion: Motion) -> Float[Tensor, ""]:
    """Σ |1 - o_f| + |1 - o_b|, which prevents the all-hidden solution (Eq. 6)."""
    return (1 - motion.forward_visible).mean() + (1 - motion.backward_visible).mean()


def flow_loss(predicted: Motion, exact: Motion, *, scale: float) -> Float[Tensor, ""]:
    """Robust distance between predicted and exact flow, where the exact one is visible, in units
    of ``scale``.

    Not in the paper, which had no exact flow: a Charbonnier norm, mean over pixels and both
    directions.
    """
    total = predicted.forward_flow.new_zeros(())
    for name in ("forward", "backward"):
        error = getattr(predicted, f"{name}_flow") - getattr(exact, f"{name}_flow")
        distance = torch.sqrt(error.square().sum(2, keepdim=True) + 0.01) - 0.1
        total = total + _mean_where(distance / scale, getattr(exact, f"{name}_visible"))
    return total


def turning_loss(
    predicted: Float[Tensor, "batch time"], ego_motion: Float[Tensor, "batch time 3"]
) -> Float[Tensor, ""]:
    """Mean distance in radians between predicted and exact turning (not in the paper)."""
    return (predicted - ego_motion[..., 2]).abs().mean()


def visibility_loss(predicted: Motion, exact: Motion) -> Float[Tensor, ""]:
    """Cross entropy between predicted and exact visibility, both directions (not in the paper)."""
    with torch.autocast(predicted.forward_visible.device.type, enabled=False):
        return sum(
            (
                F.binary_cross_entropy(
                    getattr(predicted, name).float().clamp(1e-5, 1 - 1e-5), getattr(exact, name)
                )
                for name in ("forward_visible", "backward_visible")
            ),
            start=predicted.forward_flow.new_zeros(()),
        )


def structural_similarity_loss(
    predicted: Float[Tensor, "frames 3 height width"],
    target: Float[Tensor, "frames 3 height width"],
) -> Float[Tensor, ""]:
    """Mean of clamp((1 - SSIM) / 2, 0, 1) over 3 x 3 windows without padding (Eq. 6; code
    L_sim).
    """
    mean_p, mean_t = F.avg_pool2d(predicted, 3, 1), F.avg_pool2d(target, 3, 1)
    variance_p = F.avg_pool2d(predicted.square(), 3, 1) - mean_p.square()
    variance_t = F.avg_pool2d(target.square(), 3, 1) - mean_t.square()
    covariance = F.avg_pool2d(predicted * target, 3, 1) - mean_p * mean_t
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_p * mean_t + c1) * (2 * covariance + c2)) / (
        (mean_p.square() + mean_t.square() + c1) * (variance_p + variance_t + c2)
    )
    return ((1 - similarity) / 2).clamp(0, 1).mean()


def hidden_label_loss(
    logits: Float[Tensor, "frames class half_height half_width"],
    label_maps: Int[Tensor, "frames height width"],
    visible: Float[Tensor, "frames 1 height width"],
) -> Float[Tensor, ""]:
    """Cross entropy of the refiner's labels; hidden pixels count ten times, for they are the ones
    used.

    Compared at the logits' half resolution, with the last pixel of each 2 x 2.
    """
    entropy = F.cross_entropy(logits, label_maps[:, 1::2, 1::2], reduction="none")
    return _mean_where(entropy.unsqueeze(1), 0.1 + 0.9 * (1 - visible[:, :, 1::2, 1::2]))


def kl_divergence(posterior: Posterior) -> Float[Tensor, ""]:
    """KL(q(z | clip, labels) || N(0, I)) in nats for each sample of the batch (Eq. 7).

    Each object's code counts once however many cells it covers. The authors' code sums over the
    batch and
    divides by 1000, so that its weight depends on the batch size.
    """
    background = gaussian_divergence(
        posterior.mean.background, posterior.log_variance.background
    ).sum(-1)
    cells = gaussian_divergence(posterior.mean.foreground, posterior.log_variance.foreground).sum(1)
    size = F.one_hot(posterior.objects.flatten(1)).sum(1).clamp(min=1)
    share = 1 / size.gather(1, posterior.objects.flatten(1))
    share = share * (posterior.objects.flatten(1) > 0)
    return (background + (cells.flatten(1) * share).sum(1)).mean()


def gaussian_divergence(
    mean: Float[Tensor, "*shape"], log_variance: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of every number, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def adversarial_loss(
    logits: Float[Tensor, "batch class height width"],
    target: Int[Tensor, "batch height width"],
    *,
    void_id: int,
) -> Float[Tensor, ""]:
    """Class-balanced cross entropy of the segmentation judge (Schönfeld et al., ICLR 2021, Eq. 1
    and 2).

    A class weighs as much as it is rare in the batch; void pixels say nothing and are left out.
    ``target``
    may name the last class of the logits, "generated".
    """
    classes = logits.shape[1]
    count = torch.bincount(target.flatten(), minlength=classes).float()
    count[void_id] = 0
    weight = count.sum() / count.clamp(min=1) / (count > 0).sum().clamp(min=1)
    # A rare class of ten pixels must not drown the others.
    weight = weight.clamp(max=10.0) * (count > 0)
    entropy = F.cross_entropy(logits.float(), target, reduction="none")
    return (entropy * weight[target]).mean()
