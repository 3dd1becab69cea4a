"""What both training stages share: counting steps, seeding, learning rate, one optimiser step."""

from abc import abstractmethod
from typing import Any

import lightning
import torch
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.config import ModelConfig
from seg2vid.judges import Judges
from seg2vid.structures import Clip

Terms = dict[str, Float[Tensor, ""]]
"""The weighted terms of a loss by name, scalars each."""


class Stage(lightning.LightningModule):
    """What both stages share: step counting, seeding, learning rate and averaged weights."""

    stills = False
    """Whether a batch holds single frames (first frame) or whole clips (motion)."""

    judges: Judges
    """Frozen networks that judge pictures."""

    step: Tensor
    """Steps that are done."""

    def __init__(self, model: ModelConfig, training: Any) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.training_config = training
        self.optimizer_states: list[dict[str, Any]] = []
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    @abstractmethod
    def compute_losses(self, clip: Clip) -> Terms:
        """Return the weighted scalar terms of the main network's loss, by name."""

    @abstractmethod
    def boxes(self) -> dict[str, nn.Module]:
        """Return the boxes to ship, by name."""

    @abstractmethod
    def contact_sheet(self, clip: Clip) -> Float[Tensor, "3 height width"]:
        """Return a picture (3, height, width) in [0, 1] on which a person can judge the stage."""

    def on_fit_start(self) -> None:
        """Move the judges to where the stage is: they are no part of it."""
        self.judges.to(self.device)

    def before_step(self) -> float:
        """Seed this step and set the learning rate; return its factor in (0, 1]."""
        config = self.training_config
        torch.manual_seed(config.seed * 1_000_003 + int(self.step))
        # Constant, then a straight line to a twentieth over the last two fifths.
        left = 1 - int(self.step) / max(config.steps, 1)
        return float(min(1.0, max(left / 0.4, 0.05)))

    def after_step(self, terms: Terms) -> None:
        """Count the step and log its terms."""
        self.step += 1
        self.log_dict({name: term.detach() for name, term in terms.items()}, prog_bar=False)
        self.log("loss", sum(term.detach() for term in terms.values()), prog_bar=True)

    def forward(self, clip: Clip) -> Terms:
        """Return the named loss terms of a batch."""
        return self.compute_losses(clip)

    def transfer_batch_to_device(self, batch: Clip, device: torch.device, _index: int) -> Clip:
        """Move a batch to the device Lightning chose."""
        return batch.to(device)


def optimise(
    optimizer: Any, loss: Tensor, stage: Stage, factor: float, *, clip: float = 10.0
) -> None:
    """Take one optimiser step on a scalar loss, with the learning rate scaled by ``factor``.

    The gradient's norm is clipped, and a step whose gradient is not finite is left out.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    optimizer.zero_grad(set_to_none=True)
    stage.manual_backward(loss)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, clip)
    if torch.isfinite(norm):
        optimizer.step()


def make_optimizer(parameters: Any, learning_rate: float, *, momentum: float) -> torch.optim.Adam:
    """Return Adam that remembers its initial learning rate, so that a schedule needs no state."""
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, betas=(momentum, 0.99))
    for group in optimizer.param_groups:
        group["initial_lr"] = learning_rate
    return optimizer


def restore_optimizers(stage: Stage, optimizers: list[Any]) -> list[Any]:
    """Load the states that a resumed run left on the stage into fresh optimisers."""
    for optimizer, state in zip(optimizers, stage.optimizer_states, strict=False):
        optimizer.load_state_dict(state)
    return optimizers
