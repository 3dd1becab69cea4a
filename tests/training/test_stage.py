"""One step of training: schedule, dice, accumulation, recomputation, guard, and what is frozen."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seg2vid.data.clips import render_toycity, stack
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.models.config import preset
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.structures import Clip
from seg2vid.tools.errors import DivergenceError, TrainingError
from seg2vid.training import fine_tune
from seg2vid.training.config import OBJECTIVES
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.motion import MotionStage
from seg2vid.training.stage import LONG_STEPS, Stage, Terms, make_adam
from tests.tiny import CONFIG, FIRST_FRAME_TRAINING, MOTION_TRAINING

SMALL = replace(CONFIG, height=32, width=64)
OPPOSED = replace(FIRST_FRAME_TRAINING, adversarial_start=0)
"""First-frame training whose discriminator plays from the first step on."""
HUGE = 1e9


@cache
def rendered(seed: int) -> Clip:
    """Draw a clip of the toy city, once in a process."""
    city = ToyCityConfig(height=SMALL.height, width=SMALL.width, num_frames=SMALL.num_frames)
    return render_toycity(seed, city)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return stack([rendered(seed) for seed in range(4)])


def first_frame(**changes: Any) -> FirstFrameStage:
    torch.manual_seed(0)
    return FirstFrameStage(SMALL, replace(OPPOSED, **changes)).train()


def motion(**changes: Any) -> MotionStage:
    torch.manual_seed(0)
    return MotionStage(SMALL, replace(MOTION_TRAINING, **changes)).train()


def backward(loss: Tensor) -> None:
    loss.backward()


def pair(clip: Clip, begin: int = 0) -> Clip:
    return clip.map(lambda tensor: tensor[begin : begin + 2])


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    now = module.state_dict()
    return {name for name in before if not torch.equal(before[name], now[name])}


def sgd(stage: Stage, rate: float = 1.0) -> list[torch.optim.Optimizer]:
    """Plain descent over every part: a step is the gradient itself."""
    optimizer = torch.optim.SGD([p for p in stage.parameters() if p.requires_grad], lr=rate)
    for group in optimizer.param_groups:
        group["initial_lr"] = rate
    return [optimizer]


def give_turns(stage: Stage, *turns: Callable[[], Terms]) -> None:
    """Let the stage have these loss terms, one function for each optimiser."""

    def given(clip: Clip) -> Iterator[Terms]:
        for turn in turns:
            yield turn()

    stage.turns = given  # type: ignore[method-assign]


def pull(module: nn.Module, strength: float) -> Terms:
    """A term whose gradient is ``strength`` for one weight of the module, 0 for all others."""
    weight = next(p for p in module.parameters() if p.requires_grad)
    return {"pull": strength * weight.flatten()[0]}


# The learning rate.


@pytest.mark.parametrize(
    ("step", "share", "wanted"),
    [
        (0, 0.4, 1 / 4),
        (2, 0.4, 3 / 4),
        (3, 0.4, 1.0),
        (30, 0.4, 1.0),
        (60, 0.4, 1.0),
        (70, 0.4, 0.75),
        (90, 0.4, 0.25),
        (98, 0.4, 0.05),
        (99, 0.4, 0.05),
        (99, 0.0, 1.0),
        (1, 0.0, 0.5),
    ],
)
def test_rate_grows_stays_and_falls_to_a_twentieth(step: int, share: float, wanted: float) -> None:
    stage = first_frame(steps=100, warm_up=4, decay_share=share)
    stage.step.fill_(step)
    assert stage.rate_factor() == pytest.approx(wanted)


def test_step_is_taken_at_the_rate_of_the_schedule_by_every_optimiser(clip: Clip) -> None:
    stage = first_frame(steps=10, warm_up=0, decay_share=0.5)
    stage.step.fill_(9)
    optimizers = stage.make_optimizers()
    give_turns(stage, lambda: pull(stage.first_frame, 1), lambda: pull(stage.discriminator, 1))
    stage.take_turns(clip, optimizers, backward)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    config = stage.training_config
    wanted = [config.learning_rate * 0.2, config.discriminator_learning_rate * 0.2]
    assert rates == pytest.approx(wanted)
    assert [o.param_groups[0]["betas"][0] for o in optimizers] == [0.5, 0.0]


def test_optimiser_without_parameters_is_refused() -> None:
    with pytest.raises(
        TrainingError, match=r"^Expected a part to train .*; got one with all .*\.$"
    ):
        make_adam(nn.Linear(2, 2).requires_grad_(False).parameters(), 0.1, momentum=0.9)
    stage = first_frame()
    fine_tune.freeze(stage, ["discriminator"])
    with pytest.raises(TrainingError, match="a part to train for each optimiser"):
        stage.make_optimizers()


# Dice.


def test_dice_depend_on_seed_step_part_and_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def throw(seed: int = 0, step: int = 0, part: int = 0, process: int = 0) -> float:
        stage.training_config = replace(OPPOSED, seed=seed)
        stage.step.fill_(step)
        monkeypatch.setattr(FirstFrameStage, "global_rank", process)
        stage._roll_dice(part)
        return float(torch.rand((), dtype=torch.float64))

    stage = first_frame()
    first = throw()
    torch.rand(1000)
    assert throw() == first, "what was drawn before does not count"
    drawn = [throw(*place) for place in torch.cartesian_prod(*[torch.arange(3)] * 4).tolist()]
    assert drawn[0] == first
    assert len(set(drawn)) == 81, "(1, 0, ...) is not (0, 1, ...)"


def test_dice_are_rolled_before_the_losses_of_each_part(clip: Clip) -> None:
    def turn() -> Terms:
        drawn.append(float(torch.rand(())))
        return pull(stage.first_frame, 1)

    drawn: list[float] = []
    stage = first_frame(accumulate=2)
    give_turns(stage, turn)
    optimizers = stage.make_optimizers()[:1]
    for part in (0, 1, 0, 1):
        torch.manual_seed(5)
        stage.take_turns(clip, optimizers, backward, part=part)
    assert int(stage.step) == 2
    assert len(set(drawn)) == 4
    stage.step.fill_(1)
    stage.take_turns(clip, optimizers, backward, part=1)
    assert drawn[-1] == drawn[3], "the same step draws the same"


# Gradients.

EXACT = {
    # Everything random is off, and so are means over pixels that a mask selects: the mean over a
    # batch is then the mean over its halves.
    **{
        "colour": 0.0,
        "labels_only": 0.0,
        "hint_share": 0.0,
        "frozen_norm": 1.0,
        "trained_frames": 3,
        "refined_frames": 3,
    },
    **{"flow": 0.0, "depth": 0.0, "labels": 0.0, "gradient_clip": HUGE, "decay_share": 0.0},
}


def test_accumulated_halves_are_one_batch(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = MotionDecoder.draw
    monkeypatch.setattr(MotionDecoder, "draw", lambda *given: draw(*given).map(torch.zeros_like))
    after = []
    for accumulate in (1, 2):
        stage = motion(**EXACT, accumulate=accumulate, batch_size=4 // accumulate)
        optimizers = sgd(stage)
        if accumulate == 1:
            stage.take_turns(clip, optimizers, backward)
        else:
            before = weights(stage)
            stage.take_turns(pair(clip, 0), optimizers, backward, part=0)
            assert changed(before, stage) == set(), "only the last part takes the step"
            stage.take_turns(pair(clip, 2), optimizers, backward, part=1)
        assert int(stage.step) == 1
        after.append(torch.cat([p.flatten() for p in stage.motion_encoder.parameters()]).detach())
        stage.take_turns(pair(clip, 0), optimizers, backward, part=0)
        grads = [p.grad.flatten() for p in stage.animator.parameters() if p.grad is not None]
        after.append(torch.cat(grads))
    # The halves are summed in another order: single precision, a few thousand terms, so 1e-4 of
    # the longest gradient. A forgotten half or factor would be off by a good part of it.
    start = torch.cat([p.flatten() for p in motion(**EXACT).motion_encoder.parameters()]).detach()
    step = (after[0] - start).abs().max()
    assert float((after[2] - after[0]).abs().max() / step) < 1e-4
    assert float((2 * after[3] - after[1]).abs().max() / after[1].abs().max()) < 1e-3


def test_step_begins_without_gradients_of_the_step_before(clip: Clip) -> None:
    """The discriminator may rest in a step's first part and play in the last: its gradient is then
    that part's alone.
    """
    stage = first_frame(accumulate=2, gradient_clip=HUGE)
    optimizers = stage.make_optimizers()
    weight = next(stage.discriminator.parameters())
    found = []
    for part, strength in ((0, 1.0), (1, 1.0), (0, None), (1, 4.0)):
        turns = [lambda: pull(stage.first_frame, 1)]
        if strength is not None:
            turns.append(lambda strength=strength: pull(stage.discriminator, strength))
        give_turns(stage, *turns)
        stage.take_turns(clip, optimizers, backward, part=part)
        found.append(None if weight.grad is None else float(weight.grad.flatten()[0]))
    assert found == [0.5, 1.0, None, 2.0]


def test_long_gradient_is_clipped_and_measured_before(clip: Clip) -> None:
    stage = first_frame(gradient_clip=0.5)
    stage.measures_gradients = True
    other = lambda: {"other": pull(stage.appearance_encoder, 40)["pull"]}  # noqa: E731
    give_turns(stage, lambda: pull(stage.first_frame, 30) | other())
    weight = next(stage.first_frame.parameters())
    before = weight.flatten()[0].item()
    stage.take_turns(clip, sgd(stage), backward)
    moved = before - weight.flatten()[0].item()
    assert moved == pytest.approx(0.5 * 30 / 50, rel=1e-4)
    assert stage.gradient_norms["first_frame"] == pytest.approx(30)
    assert stage.gradient_norms["appearance_encoder"] == pytest.approx(40)
    assert float(stage.typical_norm[0]) == pytest.approx(50)


def test_gradients_are_measured_only_when_asked_and_by_the_turn_that_trains_a_part(
    clip: Clip,
) -> None:
    stage = first_frame()
    optimizers = stage.make_optimizers()
    stage.take_turns(pair(clip), optimizers, backward)
    assert stage.gradient_norms == {}
    stage.measures_gradients = True
    stage.take_turns(pair(clip), optimizers, backward)
    assert set(stage.gradient_norms) == {"first_frame", "appearance_encoder", "discriminator"}
    grads = [p.grad for p in stage.first_frame.parameters() if p.grad is not None]
    assert stage.gradient_norms["first_frame"] == pytest.approx(
        float(torch.cat([grad.flatten() for grad in grads]).norm()), rel=1e-4
    ), "short gradients are left as they are"


# Recomputation.


class Pass:
    """One forward and backward pass of a stage: losses, gradients, statistics, bytes kept."""

    def __init__(self, stage: Stage, clip: Clip) -> None:
        self.kept: dict[int, int] = {}
        optimizers = sgd(stage, 0.0)
        stage._roll_dice(0)
        with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor):
            turn = stage.turns(clip)  # Kept: the turn ends with it.
            terms = next(turn)
        self.losses = {name: float(term.detach()) for name, term in terms.items()}
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        self.gradients = {n: p.grad for n, p in stage.named_parameters() if p.grad is not None}
        self.statistics = {
            name: buffer.clone() for name, buffer in stage.named_buffers() if buffer.ndim
        }

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def bytes(self) -> int:
        return sum(self.kept.values())


@pytest.mark.parametrize("make", [first_frame, motion])
def test_recomputing_changes_memory_and_nothing_else(make: Any, clip: Clip) -> None:
    fresh = weights(make())
    plain, again = (Pass(make(recompute=on), pair(clip)) for on in (False, True))
    assert again.losses == plain.losses
    assert again.gradients.keys() == plain.gradients.keys()
    for name, gradient in plain.gradients.items():
        assert torch.equal(again.gradients[name], gradient), name
    assert plain.statistics, "there is batch norm"
    for name, statistic in plain.statistics.items():
        assert torch.equal(again.statistics[name], statistic), name
    moved = [
        name for name, value in plain.statistics.items() if not torch.equal(value, fresh[name])
    ]
    assert moved, "a pass counts once, not never"
    assert again.bytes < 0.6 * plain.bytes


@pytest.mark.parametrize("make", [first_frame, motion])
def test_without_gradients_nothing_is_recomputed(
    make: Any, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **options: Any) -> None:
        raise AssertionError("checkpointed")

    monkeypatch.setattr("seg2vid.training.stage.checkpoint", refuse)
    stage = make(recompute=True)
    with torch.no_grad():
        stage(pair(clip))
    with pytest.raises(AssertionError, match="checkpointed"):
        stage(pair(clip))


# What is frozen.


def test_frozen_parts_stay_as_they_are_while_the_others_learn(clip: Clip) -> None:
    stage = motion()
    fine_tune.freeze(stage, ["motion_encoder"])
    before = weights(stage)
    optimizers = stage.make_optimizers()
    for _ in range(2):
        stage.train()  # As Lightning does after every validation.
        stage.take_turns(pair(clip), optimizers, backward)
    moved = changed(before, stage)
    assert not any(name.startswith("motion_encoder") for name in moved), "weights or statistics"
    assert any("running_mean" in name for name in moved)
    assert any(name.endswith("weight") for name in moved)
    assert not any(module.training for module in stage.motion_encoder.modules())
    norms = [module for module in stage.animator.modules() if isinstance(module, _BatchNorm)]
    assert all(norm.training for norm in norms)


def test_frozen_discriminator_parameters_stay_frozen_after_a_turn(clip: Clip) -> None:
    stage = first_frame()
    kept = next(stage.discriminator.parameters()).requires_grad_(False)
    optimizers = stage.make_optimizers()
    before = kept.clone()
    stage.take_turns(pair(clip), optimizers, backward)
    assert not kept.requires_grad
    assert torch.equal(kept, before)
    assert sum(not p.requires_grad for p in stage.discriminator.parameters()) == 1


def test_discriminator_is_no_part_of_the_generators_turn_even_if_that_fails(clip: Clip) -> None:
    stage = first_frame()
    turn = stage.turns(pair(clip))
    next(turn)
    assert not any(p.requires_grad for p in stage.discriminator.parameters())
    next(turn)
    assert all(p.requires_grad for p in stage.discriminator.parameters())

    def fail(loss: Tensor) -> None:
        raise RuntimeError("out of memory")

    # The error, and with it every frame it went through, is held while we look at it.
    with pytest.raises(RuntimeError) as held:
        stage.take_turns(pair(clip), stage.make_optimizers(), fail)
    assert all(p.requires_grad for p in stage.discriminator.parameters())
    assert held.value.args == ("out of memory",)


@pytest.mark.parametrize(("floor", "plays"), [(0.0, True), (1e-6, True), (1e6, False)])
def test_discriminator_rests_while_it_is_too_good(clip: Clip, floor: float, plays: bool) -> None:
    stage = first_frame(discriminator_floor=floor)
    critic, painter = weights(stage.discriminator), weights(stage.first_frame)
    terms = stage.take_turns(pair(clip), stage.make_optimizers(), backward)
    assert ("discriminator_painted" in terms) == plays
    # Spectral norms and the like may follow; weights learn only in a turn of their own.
    learnt = {name for name, _ in stage.discriminator.named_parameters()}
    assert bool(changed(critic, stage.discriminator) & learnt) == plays
    assert changed(painter, stage.first_frame), "the generator plays on"
    assert int(stage.step) == 1


# The guard.


def run_into(stage: Stage, clip: Clip, wanted: str, turns: int = 1) -> DivergenceError:
    """Take a step that must fail, with this message and with the weights left alone."""
    before = {name: p.detach().clone() for name, p in stage.named_parameters()}
    step = int(stage.step)
    optimizers = stage.make_optimizers()[:turns]
    with pytest.raises(DivergenceError, match=wanted) as caught:
        stage.take_turns(clip, optimizers, backward)
    assert int(stage.step) == step, "the step is not done"
    parameters = dict(stage.named_parameters())
    assert all(torch.equal(before[name], parameters[name]) for name in before)
    assert all(not optimizer.state for optimizer in optimizers)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_term_that_is_not_finite_stops_before_the_weights_see_it(clip: Clip, value: float) -> None:
    stage = first_frame()
    stage.step.fill_(7)
    give_turns(stage, lambda: pull(stage.first_frame, 1) | {"kl": torch.tensor(value)})
    shown = f"^Expected finite losses and gradients at step 7; got kl = {value}, .*\\.$"
    error = run_into(stage, clip, shown)
    assert not torch.isfinite(torch.tensor(error.terms["kl"]))


def test_gradient_that_is_not_finite_stops_before_the_weights_see_it(clip: Clip) -> None:
    def root() -> Terms:
        """0 with an infinite slope."""
        weight = next(stage.first_frame.parameters())
        return {"root": (weight - weight.detach()).abs().sum().clamp(min=0).sqrt() + weight.sum()}

    stage = first_frame()
    give_turns(stage, root)
    error = run_into(stage, clip, r"at step 0; got a gradient of norm (inf|nan); ")
    assert all(torch.isfinite(torch.tensor(value)) for value in error.terms.values())


def test_discriminator_that_diverges_is_found_too(clip: Clip) -> None:
    stage = first_frame()
    give_turns(
        stage,
        lambda: pull(stage.first_frame, 1),
        lambda: {
            "discriminator_real": torch.tensor(float("nan")) + pull(stage.discriminator, 1)["pull"]
        },
    )
    before = weights(stage.discriminator)
    with pytest.raises(DivergenceError, match="discriminator_real = nan"):
        stage.take_turns(clip, stage.make_optimizers(), backward)
    assert changed(before, stage.discriminator) == set()


def explode(stage: Stage, clip: Clip, strengths: list[float]) -> None:
    optimizers = stage.make_optimizers()[:1]
    for strength in strengths:
        give_turns(stage, lambda strength=strength: pull(stage.first_frame, strength))
        stage.take_turns(clip, optimizers, backward)


def test_long_gradients_in_a_row_stop_the_run(clip: Clip) -> None:
    stage = first_frame(explosion=10.0)
    explode(stage, clip, [1.0] * 3 + [11.0] * (LONG_STEPS - 1))
    assert int(stage.long_steps[0]) == LONG_STEPS - 1
    assert float(stage.typical_norm[0]) == pytest.approx(1), "long ones do not count as typical"
    give_turns(stage, lambda: pull(stage.first_frame, 11.0))
    error = run_into(stage, clip, r"at step 12; got a gradient of norm 11, 11 times its average; ")
    assert error.norm == pytest.approx(11)


def test_one_shorter_gradient_forgives_those_before(clip: Clip) -> None:
    stage = first_frame(explosion=10.0)
    explode(stage, clip, [1.0] + ([50.0] * (LONG_STEPS - 1) + [1.0]) * 2)
    assert int(stage.step) == 1 + 2 * LONG_STEPS
    assert int(stage.long_steps[0]) == 0


def test_typical_norm_follows_the_gradients(clip: Clip) -> None:
    stage = first_frame(explosion=10.0)
    explode(stage, clip, [2.0, 4.0, 4.0])
    second = 2 + 0.01 * (4 - 2)
    assert float(stage.typical_norm[0]) == pytest.approx(second + 0.01 * (4 - second))
    assert float(stage.typical_norm[1]) == 0, "each optimiser has its own"


def test_clipped_gradients_alone_do_not_stop_a_run(clip: Clip) -> None:
    stage = first_frame(gradient_clip=1e-3)
    explode(stage, clip, [5.0] * 12)
    assert int(stage.long_steps[0]) == 0


# Resuming.


def test_states_of_a_stopped_run_are_given_to_its_optimisers_once(clip: Clip) -> None:
    stage = first_frame()
    optimizers = stage.make_optimizers()
    stage.take_turns(pair(clip), optimizers, backward)
    stage.optimizer_states = [optimizer.state_dict() for optimizer in optimizers]
    for old, new in zip(optimizers, stage.configure_optimizers(), strict=True):
        assert new.state_dict()["param_groups"] == old.state_dict()["param_groups"]
        before, after = old.state_dict()["state"], new.state_dict()["state"]
        assert before.keys() == after.keys() != set()
        for index, values in before.items():
            assert all(torch.equal(after[index][name], values[name]) for name in values)
    assert stage.optimizer_states == []


@pytest.mark.slow
def test_a_step_of_the_papers_networks_in_bfloat16_is_finite() -> None:
    """On every processor: where it is not, replay the step with oneDNN off to find the kernel."""
    model = replace(preset("paper"), label_space=CONFIG.label_space, num_frames=2)
    training = replace(OBJECTIVES["paper"], batch_size=1, features=0.0, perceptual=0.0)
    city = ToyCityConfig(height=128, width=256, num_frames=2)
    torch.manual_seed(0)
    stage = MotionStage(model, training).train()
    with torch.autocast("cpu", torch.bfloat16):
        terms = stage.compute_losses(stack([render_toycity(0, city)]))
    torch.stack(list(terms.values())).sum().backward()
    assert all(loss.isfinite() for loss in terms.values())
    wrong = [
        name
        for name, one in stage.named_parameters()
        if one.grad is not None and not one.grad.isfinite().all()
    ]
    assert wrong == []
