"""Every loss term of the authors' code: closed forms, the slow statement, and the gradient.

Each term stands in ``TERMS`` once; the tests run over that table, so that a term cannot be added
without its parity and its gradient being held.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seg2vid.structures import Latent, Motion, Posterior
from seg2vid.training import losses
from seg2vid.training.config import PAPER_TRAINING
from seg2vid.warp import gate_flow
from tests import reference

BATCH, TIME, HEIGHT, WIDTH = 2, 3, 6, 8


def shape(channels: int) -> tuple[int, ...]:
    """The shape of a clip with this many channels."""
    return (BATCH, TIME, channels, HEIGHT, WIDTH)


def draw(seed: int = 0) -> dict[str, Tensor]:
    """Everything the terms read; soft visibility, flow of a pixel or two, off the pixel grid."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator)

    return {
        "first": uniform(BATCH, 3, HEIGHT, WIDTH),
        "frames": uniform(*shape(3)),
        "refined": uniform(*shape(3)),
        "forward_flow": 3 * uniform(*shape(2)) - 1.5,
        "backward_flow": 3 * uniform(*shape(2)) - 1.5,
        "forward_visible": uniform(*shape(1)),
        "backward_visible": uniform(*shape(1)),
        # Neighbours of almost equal colour, or the bilateral weight would be nothing but 0.
        "smooth": 0.5 + 0.004 * uniform(*shape(3)),
        "mean": 4 * uniform(BATCH, 7) - 2,
        "log_variance": 4 * uniform(BATCH, 7) - 2,
        "map_a": uniform(BATCH, 4, 3, 3),
        "map_b": uniform(BATCH, 6, 2, 2),
        "map_c": uniform(BATCH, 4, 3, 3),
        "map_d": uniform(BATCH, 6, 2, 2),
    }


def motion_of(d: dict[str, Tensor]) -> Motion:
    """The motion among what was drawn."""
    names = ("forward_flow", "backward_flow", "forward_visible", "backward_visible")
    return Motion(*(d[name] for name in names))


def posterior_of(d: dict[str, Tensor]) -> Posterior:
    """A posterior of a background code alone."""
    nothing = torch.zeros(BATCH, 0, 1, 1)
    objects = torch.zeros(BATCH, 1, 1, dtype=torch.long)
    return Posterior(Latent(d["mean"], nothing), Latent(d["log_variance"], nothing), objects)


def arrays(d: dict[str, Tensor], *names: str) -> list[list[np.ndarray]]:
    """The named tensors as arrays of double precision, sample by sample."""
    return [[d[name][i].double().numpy() for name in names] for i in range(BATCH)]


BOTH_FLOWS = ("forward_flow", "backward_flow")
BOTH_MASKS = ("forward_visible", "backward_visible")
Drawn = dict[str, Tensor]
ZEROS: dict[str, Any] = {"padding": "zeros"}


def by_sample(slow: Callable[..., float], *names: str, **more: Any) -> Callable[[Drawn], float]:
    """The mean over the samples of a slow term of the named tensors."""
    return lambda d: float(np.mean([slow(*sample, **more) for sample in arrays(d, *names)]))


def slow_consistency(*given: np.ndarray, **more: Any) -> float:
    return reference.grid_consistency_loss(given[:2], given[2:], **more)


TO_FRAMES = ("first", "frames", "backward_flow", "backward_visible")
TO_FIRST = ("first", "frames", "forward_flow", "forward_visible")
TERMS: dict[str, tuple[Callable[[Drawn], Tensor], Callable[[Drawn], float], str]] = {
    "pre_refinement_loss": (
        lambda d: losses.pre_refinement_loss(d["first"], d["frames"], motion_of(d)),
        by_sample(reference.pre_refinement_loss, *TO_FRAMES),
        "backward_flow",
    ),
    "first_frame_reconstruction_loss": (
        lambda d: losses.first_frame_reconstruction_loss(d["first"], d["frames"], motion_of(d)),
        by_sample(reference.first_frame_reconstruction_loss, *TO_FIRST),
        "forward_flow",
    ),
    "pre_refinement_loss, zeros": (
        lambda d: losses.pre_refinement_loss(d["first"], d["frames"], motion_of(d), **ZEROS),
        by_sample(reference.pre_refinement_loss, *TO_FRAMES, **ZEROS),
        "backward_flow",
    ),
    "first_frame_reconstruction_loss, zeros": (
        lambda d: losses.first_frame_reconstruction_loss(
            d["first"], d["frames"], motion_of(d), **ZEROS
        ),
        by_sample(reference.first_frame_reconstruction_loss, *TO_FIRST, **ZEROS),
        "forward_flow",
    ),
    "refinement_loss": (
        lambda d: losses.refinement_loss(d["refined"], d["frames"]),
        by_sample(reference.refinement_loss, "refined", "frames"),
        "refined",
    ),
    "similarity_loss": (
        lambda d: losses.similarity_loss(d["refined"], d["frames"]),
        by_sample(reference.similarity_loss, "refined", "frames"),
        "refined",
    ),
    "grid_consistency_loss": (
        lambda d: losses.grid_consistency_loss(motion_of(d)),
        by_sample(slow_consistency, *BOTH_FLOWS, *BOTH_MASKS),
        "forward_flow",
    ),
    "grid_consistency_loss, zeros": (
        lambda d: losses.grid_consistency_loss(motion_of(d), **ZEROS),
        by_sample(slow_consistency, *BOTH_FLOWS, *BOTH_MASKS, **ZEROS),
        "forward_flow",
    ),
    "bilateral_smoothness_loss, as the authors": (
        lambda d: losses.bilateral_smoothness_loss(d["forward_flow"], d["smooth"], as_authors=True),
        by_sample(reference.bilateral_smoothness_loss, "forward_flow", "smooth", as_authors=True),
        "forward_flow",
    ),
    "bilateral_smoothness_loss": (
        lambda d: losses.bilateral_smoothness_loss(d["forward_flow"], d["smooth"]),
        by_sample(reference.bilateral_smoothness_loss, "forward_flow", "smooth"),
        "forward_flow",
    ),
    "feature_loss": (
        lambda d: losses.feature_loss([d["map_a"], d["map_b"]], [d["map_c"], d["map_d"]]),
        by_sample(
            lambda a, b, c, e: reference.feature_loss([a, b], [c, e]),
            *("map_a", "map_b", "map_c", "map_d"),
        ),
        "map_a",
    ),
    "mask_penalty": (
        lambda d: losses.mask_penalty(motion_of(d)),
        by_sample(lambda *both: reference.mask_penalty(both), *BOTH_MASKS),
        "forward_visible",
    ),
    "kl_divergence": (
        lambda d: losses.kl_divergence(posterior_of(d)),
        by_sample(
            lambda *both: sum(map(reference.gaussian_divergence, *both)), "mean", "log_variance"
        ),
        "log_variance",
    ),
    "batch_kl_divergence": (
        lambda d: losses.batch_kl_divergence(posterior_of(d)),
        # -0.5 Σ (1 + log v - m² - v) over all that there is, divided by 1000.
        lambda d: float(
            -0.5
            * (1 + d["log_variance"] - d["mean"] ** 2 - d["log_variance"].exp()).double().sum()
            / 1000
        ),
        "mean",
    ),
}
"""Each term: the fast one, the slow statement of it, and what its gradient is checked for."""


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("seed", [0, 1])
def test_paper_term_equals_the_slow_statement(name: str, seed: int) -> None:
    fast, slow, _ = TERMS[name]
    drawn = draw(seed)
    expected = float(slow(drawn))
    assert expected > 1e-3
    assert float(fast(drawn)) == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize("name", TERMS)
def test_paper_term_has_the_gradient_of_its_slow_statement(name: str) -> None:
    fast, slow, variable = TERMS[name]
    drawn = draw(3)
    value = drawn[variable].clone().requires_grad_()
    loss = fast(drawn | {variable: value})
    (gradient,) = torch.autograd.grad(loss, value)
    # One coordinate after another, so that the places where |x| bends stay few and far.
    flat = gradient.flatten()
    chosen = flat.abs().topk(6).indices.tolist()
    step = 1e-4
    for index in chosen:
        nudge = torch.zeros_like(flat).index_fill(0, torch.tensor(index), 1).view_as(gradient)
        up, down = (
            float(slow(drawn | {variable: drawn[variable].double() + sign * step * nudge}))
            for sign in (1, -1)
        )
        assert float(flat[index]) == pytest.approx((up - down) / (2 * step), rel=0.02)


def still(d: Drawn) -> Drawn:
    """Nothing moves, all is visible, every frame is the first, q is the prior: nothing to learn."""
    frames = d["first"].unsqueeze(1).expand(*shape(3)).clone()
    changes = {"frames": frames, "refined": frames, "map_a": d["map_c"], "map_b": d["map_d"]}
    changes |= {name: torch.zeros_like(d[name]) for name in (*BOTH_FLOWS, "mean", "log_variance")}
    changes |= {name: torch.ones_like(d[name]) for name in BOTH_MASKS}
    return d | changes


@pytest.mark.parametrize("name", TERMS)
def test_paper_term_is_zero_for_a_perfect_prediction(name: str) -> None:
    assert float(TERMS[name][0](still(draw()))) == pytest.approx(0, abs=1e-6)


# Known values.


def test_paper_reconstructions_of_a_constant_difference() -> None:
    first, frames = torch.full((1, 3, 4, 5), 0.2), torch.full((1, 2, 3, 4, 5), 0.5)
    flow, seen = torch.zeros(1, 2, 2, 4, 5), torch.full((1, 2, 1, 4, 5), 0.5)
    motion = Motion(flow, flow, torch.ones_like(seen), seen)
    assert float(losses.pre_refinement_loss(first, frames, motion)) == pytest.approx(0.15)
    assert float(losses.first_frame_reconstruction_loss(first, frames, motion)) == pytest.approx(
        0.3
    )


def test_paper_grid_consistency_of_flows_that_point_the_same_way() -> None:
    # 1.5 pixels right both ways miss by 3 of the 8 pixels from edge to edge: 0.75 in units of a
    # half picture; the mean over dx and dy halves it, both ways double it, three frames triple it.
    flow = torch.tensor([1.5, 0.0]).view(1, 1, 2, 1, 1).expand(1, 3, 2, 5, 9)
    seen = torch.ones(1, 3, 1, 5, 9)
    loss = losses.grid_consistency_loss(Motion(flow, flow, seen, seen))
    assert float(loss) == pytest.approx(0.75 / 2 * 2 * 3, rel=1e-5)


def test_paper_grid_consistency_can_be_bought_by_hiding() -> None:
    motion = motion_of(draw())
    hidden = replace(motion, forward_visible=torch.zeros_like(motion.forward_visible))
    assert losses.grid_consistency_loss(hidden) < losses.grid_consistency_loss(motion)


def test_paper_bilateral_smoothness_of_a_step_by_hand() -> None:
    # A flat picture 2 high, 2 wide: two diagonal pairs, seen from both ends; dx differs by 1.
    flow = torch.zeros(1, 1, 2, 2, 2)
    flow[0, 0, 0, :, 1] = 1.0
    loss = losses.bilateral_smoothness_loss(flow, torch.zeros(1, 1, 3, 2, 2))
    assert float(loss) == pytest.approx(4 * (128 * 2) ** 2 * np.exp(-2) / 4, rel=1e-5)


def test_paper_bilateral_smoothness_ignores_rows_columns_and_other_colours() -> None:
    flow = torch.zeros(1, 1, 2, 1, 9)
    flow[..., 4] = 5.0
    assert losses.bilateral_smoothness_loss(flow, torch.zeros(1, 1, 3, 1, 9)) == 0
    flow, guide = torch.randn(1, 1, 2, 4, 4), torch.rand(1, 1, 3, 4, 4)
    assert losses.bilateral_smoothness_loss(flow, guide) < 1e-6


def test_paper_bilateral_smoothness_of_a_picture_without_an_inside_is_zero_to_the_authors() -> None:
    flow, guide = torch.randn(1, 1, 2, 3, 9), torch.zeros(1, 1, 3, 3, 9)
    assert losses.bilateral_smoothness_loss(flow, guide) > 0
    assert losses.bilateral_smoothness_loss(flow, guide, as_authors=True) == 0


# Coarse to fine, which is not the paper's.


def shifted(seed: int, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """A fine grain on large patches, the same moved to the right, and the backward flow of that."""
    dice = torch.Generator().manual_seed(seed)
    patches = F.interpolate(torch.rand(1, 3, 4, 8, generator=dice), (64, 128), mode="bicubic")
    first = 0.5 * torch.rand(1, 3, 64, 128, generator=dice) + patches
    flow = torch.zeros(1, 1, 2, 64, 128)
    flow[:, :, 0] = -shift
    return first, torch.roll(first, shift, 3).unsqueeze(1), flow


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.sampled_from([4, 6]))
def test_coarse_to_fine_falls_all_the_way_to_the_true_flow(seed: int, shift: int) -> None:
    first, frames, flow = shifted(seed, shift)
    seen = torch.ones(1, 1, 1, 64, 128)
    motions = [Motion(-share * flow, share * flow, seen, seen) for share in torch.linspace(0, 1, 9)]
    plain = [float(losses.reconstruction_loss(first, frames, motion)) for motion in motions]
    coarse = [float(losses.coarse_to_fine_loss(first, frames, motion)) for motion in motions]
    assert all(later < before for before, later in pairwise(coarse)), coarse
    assert any(later > before for before, later in pairwise(plain)), "a barrier on the way"


def test_coarse_to_fine_is_the_mean_of_the_averages_of_four_sizes() -> None:
    first, frames, flow = shifted(0, 4)
    seen = torch.rand(1, 1, 1, 64, 128)
    motion = Motion(-flow, 0.5 * flow, seen, 1 - seen)
    there = (1 - seen[0, 0]) * (reference_warp(first[0], 0.5 * flow[0, 0]) - frames[0, 0])
    back = seen[0, 0] * (reference_warp(frames[0, 0], -flow[0, 0]) - first[0])
    total = 0.0
    for gap, size in product((there, back), (2, 4, 8, 16)):
        cells = [
            abs(float(gap[channel, y : y + size, x : x + size].mean()))
            for channel in range(3)
            for y in range(0, 64, size)
            for x in range(0, 128, size)
        ]
        total += float(np.mean(cells)) / 4
    found = losses.coarse_to_fine_loss(first, frames, motion)
    assert float(found) == pytest.approx(total, rel=1e-4)


def reference_warp(frame: Tensor, flow: Tensor) -> Tensor:
    """The slow warp."""
    return torch.from_numpy(reference.backward_warp(frame.numpy(), flow.numpy())).float()


def test_coarse_to_fine_teaches_flow_and_not_visibility() -> None:
    first, frames, flow = shifted(0, 4)
    leaves = [(0.3 * flow).requires_grad_() for _ in range(2)]
    masks = [torch.full((1, 1, 1, 64, 128), 0.5, requires_grad=True) for _ in range(2)]
    losses.coarse_to_fine_loss(first, frames, Motion(*leaves, *masks)).backward()
    assert all(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves)
    assert all(mask.grad is None for mask in masks)


def test_paper_similarity_is_summed_over_time_and_reconstruction_is_not() -> None:
    drawn = draw()
    twice = {name: drawn[name].repeat(1, 2, 1, 1, 1) for name in ("refined", "frames")}
    pairs = [(d["refined"], d["frames"]) for d in (drawn, twice)]
    once, double = (float(losses.similarity_loss(*pair)) for pair in pairs)
    assert double == pytest.approx(2 * once, rel=1e-5)
    once, double = (float(losses.refinement_loss(*pair)) for pair in pairs)
    assert double == pytest.approx(once, rel=1e-5)


@settings(max_examples=20)
@given(st.integers(1, 6))
def test_paper_batch_divergence_grows_with_the_batch_and_ours_does_not(copies: int) -> None:
    posterior = posterior_of(draw())
    more = posterior.map(lambda tensor: tensor.repeat(copies, *[1] * (tensor.ndim - 1)))
    ours, theirs = losses.kl_divergence, losses.batch_kl_divergence
    assert float(ours(more)) == pytest.approx(float(ours(posterior)), rel=1e-5)
    assert float(theirs(more)) == pytest.approx(copies * float(theirs(posterior)), rel=1e-5)


def test_paper_weight_of_the_divergence_is_the_authors_at_their_batch() -> None:
    posterior = posterior_of(draw())
    sixteen = posterior.map(lambda tensor: tensor.repeat(8, *[1] * (tensor.ndim - 1)))
    assert len(sixteen.objects) == PAPER_TRAINING.batch_size == 16
    ours = PAPER_TRAINING.kl * losses.kl_divergence(sixteen)
    assert float(ours) == pytest.approx(0.1 * float(losses.batch_kl_divergence(sixteen)), rel=1e-5)


def test_paper_gate_multiplies_each_flow_by_its_own_mask() -> None:
    motion = motion_of(draw())
    gated = gate_flow(motion)
    assert torch.equal(gated.forward_flow, motion.forward_flow * motion.forward_visible)
    assert torch.equal(gated.backward_flow, motion.backward_flow * motion.backward_visible)
    hidden = replace(motion, backward_visible=torch.zeros_like(motion.backward_visible))
    assert gate_flow(hidden).backward_flow.abs().sum() == 0
    assert torch.equal(gated.forward_visible, motion.forward_visible)
