"""What all training stages share: one step, its random numbers, its gradients and its guard."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count
from typing import Any, cast

import lightning
import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.utils.checkpoint import checkpoint

from seg2vid.labels.space import LabelSpace
from seg2vid.models.config import ModelConfig
from seg2vid.models.judges.perceptual import PerceptualNetworks
from seg2vid.models.layers import OBJECT_FACTOR, find_objects
from seg2vid.structures import Clip, Labels, Objects
from seg2vid.tools.errors import DivergenceError, Seg2VidError, TrainingError
from seg2vid.training.losses import Scalar

Terms = dict[str, Scalar]
"""The weighted terms of a loss by name."""

LAST_RATE = 0.05
"""What is left of the learning rate at the end."""
LONG_STEPS = 10
"""Exploding gradients in a row after which a run stops."""


class Stage(lightning.LightningModule):
    """Networks with everything that trains them; ``run`` is the engine around them."""

    stills = False
    """Whether a batch holds single frames (first frame) or whole clips (motion)."""

    step: Tensor
    """Steps that are done."""
    typical_norm: Tensor
    """Running mean of the gradient's norm, for each optimiser."""
    long_steps: Tensor
    """Steps in a row whose gradient was far longer than that."""

    def __init__(
        self,
        model: ModelConfig,
        training: Any,
        perceptual_networks: PerceptualNetworks | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.space = LabelSpace.from_dict(model.label_space)
        self.training_config = training
        # No modules of the stage, so that they are neither trained nor saved with it.
        self.perceptual_networks = perceptual_networks or PerceptualNetworks()
        self.optimizer_states: list[dict[str, Any]] = []
        self.batch: Clip | None = None
        self.terms: Terms = {}
        self.gradient_norms: dict[str, float] = {}
        self.measures_gradients = False
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.register_buffer("typical_norm", torch.zeros(2))
        self.register_buffer("long_steps", torch.zeros(2, dtype=torch.long))
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Make the networks, and buffers of the stage's own."""

    @abstractmethod
    def compute_losses(self, clip: Clip) -> Terms:
        """Return the loss terms of the first turn."""

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """Return the networks that are trained, by name."""

    @abstractmethod
    def boxes(self) -> dict[str, nn.Module]:
        """Return the boxes to ship, by name."""

    @abstractmethod
    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return one optimiser for each of the ``turns``."""

    @abstractmethod
    def contact_sheet(self, clip: Clip) -> Float[Tensor, "3 height width"]:
        """Return a picture in [0, 1] on which a person can judge the stage."""

    def sample_video(self, clip: Clip) -> Float[Tensor, "time 3 height width"] | None:
        """Return a short video in [0, 1] of the clip's first sample, or nothing."""
        return None

    def turns(self, clip: Clip) -> Iterator[Terms]:
        """Yield the terms of each optimiser, after the one before took its step."""
        yield self.compute_losses(clip)

    def phases(self) -> tuple[int, ...]:
        """Return the steps from which on a step costs something else, 0 first."""
        return (0,)

    @torch.no_grad()
    def follow(self) -> None:
        """Let a box that is the average of a network follow it: closely at first."""
        step = int(self.step)
        for name, box in self.boxes().items():
            if box is (trained := getattr(self, name)):
                continue
            share = 1 - min(self.training_config.average_decay, (1 + step) / (10 + step))
            values = trained.state_dict()
            for key, own in box.state_dict().items():
                if own.is_floating_point():
                    own.lerp_(values[key], share)
                else:
                    own.copy_(values[key])

    @property
    def norms_are_frozen(self) -> bool:
        """Whether batch norm uses its running figures in this step."""
        return False

    def weigh(self, losses: Mapping[str, Callable[[], Any]]) -> Terms:
        """Return each scalar loss times its weight: the field of the configuration of its name.

        A loss of weight 0 is not computed.
        """
        weights = {name: getattr(self.training_config, name) for name in losses}
        return {name: weights[name] * loss() for name, loss in losses.items() if weights[name]}

    def find_objects(self, label_map: Labels, instances: Labels | None) -> Objects:
        """Number the foreground objects on the grid that the networks see them on."""
        foreground = self.space.foreground_ids
        return find_objects(label_map, instances, foreground=foreground, factor=OBJECT_FACTOR)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Make the optimisers and load the states that a resumed run left on the stage.

        Raises ``TrainingError`` for states that are damaged.
        """
        optimizers = self.make_optimizers()
        for optimizer, state in zip(optimizers, self.optimizer_states, strict=False):
            own = optimizer.state_dict()["param_groups"]
            if _kinds(state["param_groups"]) != _kinds(own):
                what, got = "the state of a run", "settings of an optimiser that do not fit"
                raise TrainingError(what, got=got, fix="start anew in another folder")
            optimizer.load_state_dict(state)
        self.optimizer_states = []
        return optimizers

    def on_fit_start(self) -> None:
        """Move the perceptual networks to where the stage is."""
        self.perceptual_networks.to(self.device)

    def training_step(self, clip: Clip, index: int) -> None:
        """Take one step, or with ``accumulate`` one part of it."""
        optimizers = self.optimizers()
        several = optimizers if isinstance(optimizers, list) else [optimizers]
        part = index % self.training_config.accumulate
        self.terms = self.take_turns(clip, several, self.manual_backward, part=part)
        total = torch.stack(list(self.terms.values())).sum()
        self.log("loss", total, prog_bar=True, logger=False)

    def take_turns(
        self,
        clip: Clip,
        optimizers: Sequence[Any],
        backward: Callable[[Tensor], Any],
        *,
        part: int = 0,
    ) -> Terms:
        """Run losses, gradients and, with a step's last part, the optimisers; return the terms.

        ``backward`` takes a scalar loss. Raises ``DivergenceError`` where a gradient is not finite
        or explodes, before the weights have seen it.
        """
        accumulate = self.training_config.accumulate
        self.batch = clip
        self._roll_dice(part)
        self._set_modes()
        found: Terms = {}
        is_last = part == accumulate - 1
        if part == 0:
            # All of them, for one that rests in this part may take its turn in the next.
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
        # The turns have no name here: after an error they are closed at once, and tidy up.
        for number, optimizer, terms in zip(count(), optimizers, self.turns(clip), strict=False):
            total = torch.stack(list(terms.values())).sum()
            # On processors the gradient of a warp by nan kills the process: look before.
            looks = total.device.type == "cpu" and not torch.is_anomaly_enabled()
            if looks and not bool(total.isfinite()):
                self._guard(0, float("nan"), {n: float(t.detach()) for n, t in terms.items()})
            backward(total / accumulate)
            found |= {name: term.detach() for name, term in terms.items()}
            if is_last:
                self._update(number, optimizer, found)
        if is_last:
            self.follow()
            self.step += 1
        return found

    def _roll_dice(self, part: int) -> None:
        # Run, step, part and process decide what is drawn, and nothing else does.
        key = [self.training_config.seed, int(self.step), part, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))

    def _set_modes(self) -> None:
        is_frozen = self.norms_are_frozen
        for module in self.modules():
            if getattr(module, "is_frozen", False):
                module.eval()
            elif isinstance(module, _BatchNorm):
                module.train(not is_frozen)

    def rate_factor(self) -> float:
        """Return the learning rate of this step as a share of the configured one."""
        config, step = self.training_config, int(self.step)
        left = 1 - step / max(config.steps, 1)
        falling = left / config.decay_share if config.decay_share else 1.0
        return min(1.0, (step + 1) / max(config.warm_up, 1), max(falling, LAST_RATE))

    def _update(self, number: int, optimizer: Any, terms: Terms) -> None:
        factor = self.rate_factor()
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self.measures_gradients:
            self._measure_gradients(parameters)
        longest = self.training_config.gradient_clip or float("inf")
        norm = nn.utils.clip_grad_norm_(parameters, longest)
        # One transfer from the device, not one for each.
        length, *values = torch.stack([norm, *terms.values()]).tolist()
        self._guard(number, length, dict(zip(terms, values, strict=True)))
        optimizer.step()

    @torch.no_grad()
    def _measure_gradients(self, parameters: list[nn.Parameter]) -> None:
        own = {id(parameter) for parameter in parameters}
        for name, part in self.parts().items():
            found = [p.grad for p in part.parameters() if p.grad is not None and id(p) in own]
            if found:
                self.gradient_norms[name] = float(nn.utils.get_total_norm(found))

    def _guard(self, number: int, norm: float, terms: dict[str, float]) -> None:
        """Raise ``DivergenceError`` where the terms or the gradient's norm tell of a divergence."""
        typical = float(self.typical_norm[number])
        is_long = typical > 0 and norm > self.training_config.explosion * typical
        self.long_steps[number] = self.long_steps[number] + 1 if is_long else 0
        wrong = [f"{name} = {value}" for name, value in terms.items() if not np.isfinite(value)]
        if not np.isfinite(norm):
            wrong.append(f"a gradient of norm {norm}")
        elif int(self.long_steps[number]) >= LONG_STEPS:
            wrong.append(f"a gradient of norm {norm:.3g}, {norm / typical:.0f} times its average")
        if wrong:
            what = f"finite losses and gradients at step {int(self.step)}"
            raise DivergenceError(what, got=", ".join(wrong), terms=terms, norm=norm)
        if not is_long:
            share = 1.0 if typical == 0 else 0.01
            self.typical_norm[number] = typical + share * (norm - typical)

    def run_box(self, box: nn.Module, function: Callable[..., Any], *inputs: Any) -> Any:
        """Return ``function(*inputs)``, a pass through ``box``.

        With ``recompute`` it is computed again for the gradient instead of being kept.
        """
        if not (self.training_config.recompute and torch.is_grad_enabled()):
            return function(*inputs)
        contexts = lambda: (nullcontext(), _still_norms(box))  # noqa: E731
        return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)

    @torch.no_grad()
    def agree_on(self, value: Scalar) -> float:
        """Return the mean of a scalar over all processes, so that they decide alike."""
        if not dist.is_initialized():
            return float(value)
        total = value.detach().clone()
        dist.all_reduce(total)
        return float(total) / dist.get_world_size()

    def forward(self, clip: Clip) -> Terms:
        """Return the named loss terms of the first turn."""
        return next(self.turns(clip))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _index: int) -> Clip:
        """Move a batch to the device; raise the error that a reading process gave instead of it."""
        if isinstance(batch, Seg2VidError):
            raise batch
        return cast(Clip, batch.to(device))


@contextmanager
def resting(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let those that are trained get no gradient within the block."""
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


@contextmanager
def _still_norms(box: nn.Module) -> Iterator[None]:
    """Let batch norm not count a batch twice, and spectral norm use what it found."""
    norms = [(norm, norm.momentum) for norm in box.modules() if isinstance(norm, _BatchNorm)]
    spectral = [norm for norm in box.modules() if isinstance(norm, _SpectralNorm) and norm.training]
    for norm, _ in norms:
        norm.momentum = 0.0
    for iteration in spectral:
        iteration.eval()
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum
        for iteration in spectral:
            iteration.train()


def make_adam(
    parameters: Iterable[nn.Parameter], rate: float, *, momentum: float, second: float = 0.99
) -> torch.optim.Adam:
    """Return Adam over those parameters that are trained; ``TrainingError`` where none is."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        what, fix = "a part to train for each optimiser", "freeze less"
        raise TrainingError(what, got="one with all its parts frozen", fix=fix)
    optimizer = torch.optim.Adam(trained, lr=rate, betas=(momentum, second))
    # So that the schedule needs no state.
    for group in optimizer.param_groups:
        group["initial_lr"] = rate
    return optimizer


def _kinds(value: Any) -> Any:
    """Return plain values with the type in place of each."""
    if isinstance(value, dict):
        return {key: _kinds(one) for key, one in value.items()}
    return [_kinds(one) for one in value] if isinstance(value, list | tuple) else type(value)
