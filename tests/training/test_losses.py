"""Losses: 0 for a perfect prediction, equal to the slow equations, and turning the right way."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from seg2vid.structures import Latent, Motion, Posterior
from seg2vid.training.losses import (
    adversarial_loss,
    flow_loss,
    gaussian_divergence,
    hidden_label_loss,
    kl_divergence,
    mask_penalty,
    reconstruction_loss,
    structural_similarity_loss,
)
from tests import reference

BATCH, TIME, HEIGHT, WIDTH = 2, 2, 5, 7
VOID = 3
"""The last of four classes; logits have a fifth channel, "generated"."""


def random_motion(*, reach: float = 1.5) -> Motion:
    """Flow of any direction and visibility of 0 and 1."""
    flows = torch.randn(2, BATCH, TIME, 2, HEIGHT, WIDTH) * reach
    return Motion(*flows, *(torch.rand(2, BATCH, TIME, 1, HEIGHT, WIDTH) < 0.7).float())


def still_motion() -> Motion:
    """Nothing moves and everything is visible."""
    flow = torch.zeros(BATCH, TIME, 2, HEIGHT, WIDTH)
    return Motion(flow, flow, torch.ones_like(flow[:, :, :1]), torch.ones_like(flow[:, :, :1]))


def random_clip() -> tuple[
    Float[Tensor, "batch 3 height width"], Float[Tensor, "batch time 3 height width"]
]:
    """A first frame and the frames after it."""
    return torch.rand(BATCH, 3, HEIGHT, WIDTH), torch.rand(BATCH, TIME, 3, HEIGHT, WIDTH)


def pairs_of(motion: Motion, sample: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Flows and visibility of one sample as the reference wants them: (forward, backward)."""
    return {
        "flows": (motion.forward_flow[sample].numpy(), motion.backward_flow[sample].numpy()),
        "visible": (
            motion.forward_visible[sample].numpy(),
            motion.backward_visible[sample].numpy(),
        ),
    }


def close(fast: Float[Tensor, ""], slow: float) -> None:
    """Check that a loss equals the reference."""
    assert float(fast) == pytest.approx(slow, rel=1e-4, abs=1e-5)


def posterior_of(objects: Tensor, means: Tensor, log_variances: Tensor) -> Posterior:
    """A posterior with codes (object, code), spread over ``objects`` (batch, height, width)."""
    tables = [
        torch.cat((torch.zeros(1, table.shape[1]), table))[objects].permute(0, 3, 1, 2)
        for table in (means, log_variances)
    ]
    zeros = torch.zeros(len(objects), 3)
    return Posterior(Latent(zeros, tables[0]), Latent(zeros, tables[1]), objects)


# Reconstruction, Eq. 3.


def test_reconstruction_of_a_still_clip_is_zero() -> None:
    first = torch.rand(BATCH, 3, HEIGHT, WIDTH)
    frames = first.unsqueeze(1).repeat(1, TIME, 1, 1, 1)
    assert reconstruction_loss(first, frames, still_motion()) < 1e-6


def test_reconstruction_equals_the_equation() -> None:
    (first, frames), motion = random_clip(), random_motion()
    slow = [
        reference.reconstruction_loss(first[i].numpy(), frames[i].numpy(), **pairs_of(motion, i))
        for i in range(BATCH)
    ]
    close(reconstruction_loss(first, frames, motion), np.mean(slow))


def test_reconstruction_of_a_constant_difference() -> None:
    first = torch.full((BATCH, 3, HEIGHT, WIDTH), 0.25)
    frames = torch.full((BATCH, TIME, 3, HEIGHT, WIDTH), 0.75)
    close(reconstruction_loss(first, frames, still_motion()), 0.5 + 0.5)


@pytest.mark.parametrize("name", ["forward_visible", "backward_visible"])
def test_hiding_a_pixel_lowers_reconstruction_and_raises_the_penalty(name: str) -> None:
    first, frames = random_clip()
    motion = still_motion()
    mask = getattr(motion, name).clone()
    mask[0, 0, 0, 2, 3] = 0
    hidden = replace(motion, **{name: mask})
    saved = reconstruction_loss(first, frames, motion) - reconstruction_loss(first, frames, hidden)
    error = (first[0, :, 2, 3] - frames[0, 0, :, 2, 3]).abs().sum()
    close(saved, float(error) / frames.numel())
    assert mask_penalty(motion) == 0
    close(mask_penalty(hidden), 1 / mask.numel())


# Supervised flow.


def test_flow_loss_equals_the_equation() -> None:
    wrong, motion = random_motion().forward_flow[:1], random_motion().sample(0)
    exact, visible = motion.forward_flow, motion.forward_visible
    arrays = (one[0].numpy() for one in (wrong, exact, visible))
    close(flow_loss(wrong, exact, visible, scale=4.0), reference.flow_loss(*arrays, scale=4.0))
    assert flow_loss(exact, exact, visible, scale=16.0).abs() < 1e-6


def test_flow_loss_is_about_the_distance_over_the_scale() -> None:
    flow, visible = still_motion().forward_flow, still_motion().forward_visible
    close(flow_loss(flow + 30, flow, visible, scale=10.0), (math.sqrt(1800.01) - 0.1) / 10)


def test_flow_loss_ignores_what_is_hidden() -> None:
    motion = random_motion()
    exact, shown = motion.forward_flow, motion.forward_visible
    wrong = exact + (1 - shown) * 100
    assert not torch.equal(wrong, exact)
    assert flow_loss(wrong, exact, shown, scale=1.0).abs() < 1e-6
    assert flow_loss(wrong, exact, torch.zeros_like(shown), scale=1.0) == 0


# Structural similarity.


def test_similarity_of_a_picture_with_itself_is_perfect() -> None:
    frames, _ = random_clip()
    assert structural_similarity_loss(frames, frames).abs() < 1e-6


def test_similarity_equals_the_equation() -> None:
    first, frames = random_clip()
    slow = [
        reference.structural_similarity_loss(
            first[i].double().numpy(), frames[i, 0].double().numpy()
        )
        for i in range(BATCH)
    ]
    close(structural_similarity_loss(first, frames[:, 0]), np.mean(slow))


def test_similarity_of_two_flat_pictures() -> None:
    dark, light = torch.full((1, 3, 4, 4), 0.2), torch.full((1, 3, 4, 4), 0.6)
    luminance = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    close(structural_similarity_loss(dark, light), (1 - luminance) / 2)


def test_similarity_falls_with_noise() -> None:
    frame = torch.rand(1, 3, 16, 16)
    noise = torch.randn_like(frame)
    losses = [structural_similarity_loss(frame + s * noise, frame) for s in (0.0, 0.02, 0.1, 0.5)]
    assert losses == sorted(losses) and losses[0] < losses[1]


# Labels of the refiner.


def test_hidden_labels_count_ten_times() -> None:
    labels = torch.zeros(1, 4, 4).long()
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1, 0, 0] = 5.0  # wrong in one of the four cells
    visible = torch.ones(1, 1, 4, 4)
    wrong, right = math.log(1 + math.exp(5)), math.log(2)
    close(hidden_label_loss(logits, labels, visible), (wrong + 3 * right) * 0.1 / 1)
    visible[..., 1, 1] = 0
    close(hidden_label_loss(logits, labels, visible), (wrong + 3 * 0.1 * right) / 1.3)


def test_right_labels_cost_nothing() -> None:
    labels = torch.randint(4, (2, 6, 8))
    logits = torch.nn.functional.one_hot(labels[:, 1::2, 1::2], 4).permute(0, 3, 1, 2) * 50.0
    assert hidden_label_loss(logits, labels, torch.zeros(2, 1, 6, 8)) < 1e-6


# Divergence, Eq. 7.


def test_gaussian_divergence_is_the_closed_form() -> None:
    mean, log_variance = torch.meshgrid(*[torch.linspace(-3, 3, 13)] * 2, indexing="ij")
    fast, normal = gaussian_divergence(mean, log_variance), torch.distributions.Normal
    own = normal(mean, (0.5 * log_variance).exp())
    library = torch.distributions.kl_divergence(own, normal(0.0, 1.0))
    torch.testing.assert_close(fast, library, atol=1e-4, rtol=0)
    for row, column in ((0, 0), (0, 12), (6, 6), (9, 4)):
        given = float(mean[row, column]), float(log_variance[row, column])
        close(fast[row, column], reference.gaussian_divergence(*given))


def test_divergence_of_the_prior_is_zero() -> None:
    objects = torch.randint(3, (BATCH, 4, 6))
    assert kl_divergence(posterior_of(objects, torch.zeros(2, 5), torch.zeros(2, 5))) == 0


def test_divergence_equals_the_equation() -> None:
    objects = torch.randint(4, (BATCH, 4, 6))
    posterior = posterior_of(objects, torch.randn(3, 5), torch.randn(3, 5))
    posterior = replace(
        posterior,
        mean=replace(posterior.mean, background=torch.randn(BATCH, 3)),
        log_variance=replace(posterior.log_variance, background=torch.randn(BATCH, 3)),
    )
    mean, variance = posterior.mean, posterior.log_variance
    slow = [
        reference.kl_divergence(
            (mean.background[i].numpy(), variance.background[i].numpy()),
            (mean.foreground[i].numpy(), variance.foreground[i].numpy()),
            objects[i].numpy(),
        )
        for i in range(BATCH)
    ]
    close(kl_divergence(posterior), np.mean(slow))


@pytest.mark.parametrize("cells", [1, 6, 24])
def test_an_object_counts_once_however_many_cells_it_covers(cells: int) -> None:
    objects = torch.zeros(1, 4, 6).long()
    objects.view(-1)[:cells] = 1
    divergence = kl_divergence(posterior_of(objects, torch.ones(1, 5), torch.zeros(1, 5)))
    close(divergence, 5 * 0.5)


def test_two_objects_count_twice_and_the_batch_is_averaged() -> None:
    objects = torch.zeros(2, 4, 6).long()
    objects[0, 0, :4], objects[0, 2, 0] = 1, 2
    divergence = kl_divergence(posterior_of(objects, torch.ones(2, 5), torch.zeros(2, 5)))
    close(divergence, (2 * 5 * 0.5 + 0) / 2)


def test_free_bits_lift_each_number_whose_mean_is_below_them() -> None:
    """Two objects in the first picture, one in the second; numbers of 0.045 and 2 nats each."""
    objects = torch.tensor([[[1, 1], [2, 0]], [[1, 0], [0, 0]]])
    means = torch.tensor([[0.3, 2.0], [0.3, 2.0]])
    posterior = posterior_of(objects, means, torch.zeros(2, 2))
    close(kl_divergence(posterior), 3 / 2 * (0.045 + 2))
    # The camera's three numbers say nothing: they are lifted too.
    close(kl_divergence(posterior, free_bits=0.2), 3 * 0.2 + 3 / 2 * (0.2 + 2))


def test_free_bits_leave_no_gradient_below_them() -> None:
    means = torch.tensor([[0.3, 2.0]], requires_grad=True)
    posterior = posterior_of(torch.ones(1, 2, 2).long(), means, torch.zeros(1, 2))
    kl_divergence(posterior, free_bits=0.2).backward()
    assert means.grad is not None
    assert means.grad.tolist() == [[0.0, 2.0]]


# The discriminator of first frames.


def labelled() -> tuple[Float[Tensor, "2 5 4 6"], Tensor]:
    """Logits of four classes and "generated", and targets that use all of them."""
    return torch.randn(2, 5, 4, 6), torch.randint(5, (2, 4, 6))


def test_adversarial_loss_equals_the_equation() -> None:
    logits, target = labelled()
    slow = reference.adversarial_loss(logits.numpy(), target.numpy(), void_id=VOID)
    close(adversarial_loss(logits, target, void_id=VOID), slow)


def test_the_right_answer_costs_nothing() -> None:
    _, target = labelled()
    logits = torch.nn.functional.one_hot(target, 5).permute(0, 3, 1, 2) * 50.0
    assert adversarial_loss(logits, target, void_id=VOID) < 1e-6


def test_void_pixels_say_nothing() -> None:
    logits, target = labelled()
    logits.requires_grad_()
    loss = adversarial_loss(logits, target, void_id=VOID)
    loss.backward()
    is_void = (target == VOID).unsqueeze(1).expand_as(logits)
    assert is_void.any() and logits.grad[is_void].abs().max() == 0
    assert logits.grad[~is_void].abs().min() > 0
    everywhere = torch.full_like(target, VOID)
    assert adversarial_loss(logits, everywhere, void_id=VOID) == 0


def test_a_rare_class_weighs_as_much_as_a_common_one() -> None:
    target = torch.zeros(1, 4, 5).long()
    target[0, 0, :4] = 1  # 4 of 20 pixels
    for number in (0, 1):
        logits = torch.zeros(1, 5, 4, 5, requires_grad=True)
        adversarial_loss(logits, target, void_id=VOID).backward()
        pull = logits.grad[0, number][target[0] == number].sum()
        close(pull, -0.5 * (1 - 1 / 5))


def test_a_class_of_one_pixel_weighs_at_most_ten_times() -> None:
    target = torch.zeros(1, 10, 10).long()
    target[0, 0, 0] = 1  # balanced, it would weigh fifty times
    logits = torch.zeros(1, 5, 10, 10, requires_grad=True)
    adversarial_loss(logits, target, void_id=VOID).backward()
    close(logits.grad[0, 1, 0, 0], -10 * (1 - 1 / 5) / 100)


def test_generated_is_a_class_like_any_other() -> None:
    logits, target = torch.zeros(1, 5, 4, 6), torch.full((1, 4, 6), 4)
    close(adversarial_loss(logits, target, void_id=VOID), math.log(5))


# Gradients.


def test_gradients_of_motion_are_finite_even_when_nothing_moves() -> None:
    first = torch.rand(BATCH, 3, HEIGHT, WIDTH)
    frames = first.unsqueeze(1).repeat(1, TIME, 1, 1, 1)
    motion = still_motion().map(lambda tensor: tensor.clone().requires_grad_())
    exact = still_motion()
    total = reconstruction_loss(first, frames, motion) + mask_penalty(motion)
    for way in ("forward", "backward"):
        flows = (getattr(one, f"{way}_flow") for one in (motion, exact))
        total = total + flow_loss(*flows, getattr(exact, f"{way}_visible"), scale=1.0)
    total.backward()
    for name in ("forward_flow", "backward_flow", "forward_visible", "backward_visible"):
        assert getattr(motion, name).grad.isfinite().all(), name


def test_gradient_of_similarity_is_finite_for_equal_and_flat_pictures() -> None:
    for target in (torch.rand(1, 3, 6, 6), torch.zeros(1, 3, 6, 6)):
        predicted = target.clone().requires_grad_()
        structural_similarity_loss(predicted, target).backward()
        assert predicted.grad.isfinite().all()
