"""Training of one stage on Lightning: progress, checkpoints, and the same command resumes.

Everything random in step n depends on the seed and on n alone, so a run that was killed and started again
goes on as if nothing had happened.
"""

import copy
import json
import logging
import time
from abc import abstractmethod
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from seg2vid.checkpoint import save_checkpoint
from seg2vid.config import ModelConfig, to_dict
from seg2vid.data.clips import ClipFolder, TrainingBatches
from seg2vid.errors import ModelError, expected
from seg2vid.structures import Clip

LOGGER = logging.getLogger(__name__)


class Stage(lightning.LightningModule):
    """What both stages share: step counting, seeding, learning rate and averaged weights."""

    stills = False
    """Whether a batch holds single frames (first frame) or whole clips (motion)."""

    def __init__(self, model: ModelConfig, training: Any) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.training_config = training
        self.optimizer_states: list[dict[str, Any]] = []
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    @abstractmethod
    def compute_losses(self, clip: Clip) -> dict[str, Tensor]:
        """Return the weighted scalar terms of the main network's loss, by name."""

    @abstractmethod
    def boxes(self) -> dict[str, nn.Module]:
        """Return the boxes to ship, by name."""

    @abstractmethod
    def contact_sheet(self, clip: Clip) -> Tensor:
        """Return a picture (3, height, width) in [0, 1] on which a person can judge the stage."""

    def before_step(self) -> float:
        """Seed this step and set the learning rate; return its factor in (0, 1]."""
        config = self.training_config
        torch.manual_seed(config.seed * 1_000_003 + int(self.step))
        # Constant, then a straight line to a twentieth over the last two fifths.
        left = 1 - int(self.step) / max(config.steps, 1)
        return float(min(1.0, max(left / 0.4, 0.05)))

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """Count the step and log its terms."""
        self.step += 1
        self.log_dict({name: term.detach() for name, term in terms.items()}, prog_bar=False)
        self.log("loss", sum(term.detach() for term in terms.values()), prog_bar=True)

    def forward(self, clip: Clip) -> dict[str, Tensor]:
        """Return the named loss terms of a batch."""
        return self.compute_losses(clip)

    def transfer_batch_to_device(self, batch: Clip, device: torch.device, _index: int) -> Clip:
        """Move a batch to the device Lightning chose."""
        return batch.to(device)


def optimise(optimizer: Any, loss: Tensor, stage: Stage, factor: float, *, clip: float = 10.0) -> None:
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


class RunKeeper(Callback):
    """Saves the state of a run often and when it is stopped, the boxes to ship, and pictures to look at."""

    def __init__(self, output: Path, *, every: int, sheet_clip: Clip, provenance: dict[str, Any]) -> None:
        super().__init__()
        self.output = output
        self.every = every
        self.sheet_clip = sheet_clip
        self.provenance = provenance

    def on_train_batch_end(
        self, trainer: Any, pl_module: Stage, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every ``every`` steps."""
        if int(pl_module.step) % self.every == 0:
            self.save(pl_module)

    def on_train_end(self, trainer: Any, pl_module: Stage) -> None:
        """Save the finished run."""
        self.save(pl_module)

    def on_exception(self, trainer: Any, pl_module: Stage, exception: BaseException) -> None:
        """Save what there is when the run is interrupted (Ctrl-C)."""
        if isinstance(exception, KeyboardInterrupt):
            self.save(pl_module)

    def save(self, stage: Stage) -> None:
        """Write state, boxes and a contact sheet, each whole or not at all; only the first process writes."""
        if stage.global_rank != 0:
            return
        temporary = self.output / ".state.pt"
        optimizers = stage.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        state = {
            "stage": stage.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        }
        torch.save(state, temporary)
        temporary.replace(self.output / "state.pt")
        done = self.provenance | {"steps_done": int(stage.step)}
        save_checkpoint(self.output / "model.safetensors", stage.boxes(), stage.model, done)
        self._draw(stage)

    def _draw(self, stage: Stage) -> None:
        """Write ``sheets/step_N.png``."""
        from seg2vid.media import write_image

        was_training = stage.training
        stage.eval()
        with torch.no_grad():
            sheet = stage.contact_sheet(self.sheet_clip.to(stage.device)).clamp(0, 1)
        stage.train(was_training)
        pixels = (sheet.permute(1, 2, 0) * 255).round().byte().cpu().numpy()
        folder = self.output / "sheets"
        folder.mkdir(exist_ok=True)
        write_image(folder / f"step_{int(stage.step):06d}.png", pixels)


def run(stage: Stage, clips: Path, output: Path, *, save_every: int, precision: str) -> Path:
    """Train ``stage`` on a folder of clips until its steps are done; return the weight file.

    Called again with the same output it resumes. Raises ``ModelError`` where ``output`` belongs to another
    configuration, ``MediaError`` where there are no clips.
    """
    folder = ClipFolder(clips)
    training = stage.training_config
    provenance = {"training": to_dict(training), "clips": len(folder.paths())}
    _claim(output, {"model": to_dict(stage.model), **provenance})
    optimizer_states = _restore(stage, output)
    batches = TrainingBatches(
        folder,
        batch_size=training.batch_size,
        steps=training.steps,
        start=int(stage.step),
        seed=training.seed,
        stills=stage.stills,
    )
    if len(batches) == 0:
        LOGGER.info("%s: all %d steps are done", output, training.steps)
        return output / "model.safetensors"
    probe = next(iter(batches))
    seconds = estimate_seconds_per_step(stage, probe, precision)
    LOGGER.info(
        "%s: %d of %d steps left, about %.1f s each on this machine: %.0f minutes",
        output, len(batches), training.steps, seconds, len(batches) * seconds / 60,
    )  # fmt: skip
    stage.optimizer_states = optimizer_states
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=1,
        precision=precision,  # type: ignore[arg-type]
        logger=CSVLogger(output, name="log"),
        log_every_n_steps=50,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[
            TQDMProgressBar(refresh_rate=10),
            RunKeeper(output, every=save_every, sheet_clip=probe, provenance=provenance),
        ],
    )
    trainer.fit(stage, DataLoader(batches, batch_size=None))
    return output / "model.safetensors"


def estimate_seconds_per_step(stage: Stage, clip: Clip, precision: str) -> float:
    """Time forward and backward of a copy of the stage, so that the cost is known before the run starts."""
    twin = copy.deepcopy(stage).train()
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision.startswith("bf16")):
            losses = twin.compute_losses(clip)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        seconds = time.perf_counter() - start
    return seconds


def _claim(output: Path, resolved: dict[str, Any]) -> None:
    """Write the resolved configuration into the run's folder, or check that it is the one that is there."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / "config.json"
    text = json.dumps(resolved, indent=1)
    if path.exists():
        before = json.loads(path.read_text())
        changed = [key for key in resolved if json.loads(text)[key] != before.get(key)]
        if changed:
            raise ModelError(
                expected(
                    f"the configuration that {output} was started with",
                    got=f"another {' and '.join(changed)}",
                    fix="give the same options to resume, or another output folder to start anew",
                )
            )
    path.write_text(text)


def _restore(stage: Stage, output: Path) -> list[dict[str, Any]]:
    """Load the state of a stopped run into the stage; return its optimisers' states, none for a new run."""
    path = output / "state.pt"
    if not path.exists():
        return []
    state = torch.load(path, map_location="cpu", weights_only=True)
    stage.load_state_dict(state["stage"])
    return list(state["optimizers"])
