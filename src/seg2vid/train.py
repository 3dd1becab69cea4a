"""Training of one stage on Lightning: progress, checkpoints, and the same command resumes.

Everything random in step n depends on the seed and on n alone, so a run that was killed and
started again
goes on as if nothing had happened.
"""

import copy
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from seg2vid.checkpoint import save_checkpoint
from seg2vid.config import (
    FirstFrameTrainingConfig,
    ModelConfig,
    MotionTrainingConfig,
    preset,
    to_dict,
)
from seg2vid.data.clips import ClipSource, TrainingBatches
from seg2vid.errors import MediaError, ModelError, expected
from seg2vid.judges import load_judges
from seg2vid.label_space import LabelSpace, get_label_space
from seg2vid.structures import Clip
from seg2vid.train_first_frame import FirstFrameStage
from seg2vid.train_motion import MotionStage
from seg2vid.train_stage import Stage

LOGGER = logging.getLogger(__name__)


class RunKeeper(Callback):
    """Saves the state of a run often and when it is stopped, the boxes to ship, and pictures to
    look at.
    """

    def __init__(
        self, output: Path, *, every: int, sheet_clip: Clip, provenance: dict[str, Any]
    ) -> None:
        super().__init__()
        self.output = output
        self.every = every
        self.sheet_clip = sheet_clip
        self.provenance = provenance

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every ``every`` steps."""
        if int(pl_module.step) % self.every == 0:
            self.save(pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Save the finished run."""
        self.save(pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Save what there is when the run is interrupted (Ctrl-C)."""
        if isinstance(exception, KeyboardInterrupt):
            self.save(pl_module)

    def save(self, stage: Stage) -> None:
        """Write state, boxes and a contact sheet, each whole or not at all; only the first process
        writes.
        """
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
        from seg2vid.pictures import write_image

        was_training = stage.training
        stage.eval()
        with torch.no_grad():
            sheet = stage.contact_sheet(self.sheet_clip.to(stage.device)).clamp(0, 1)
        stage.train(was_training)
        pixels = (sheet.permute(1, 2, 0) * 255).round().byte().cpu().numpy()
        folder = self.output / "sheets"
        folder.mkdir(exist_ok=True)
        write_image(folder / f"step_{int(stage.step):06d}.png", pixels)


def start(
    training: FirstFrameTrainingConfig | MotionTrainingConfig,
    sources: Sequence[tuple[ClipSource, float]],
    output: Path,
    *,
    model: str | ModelConfig = "compact",
    space: LabelSpace | None = None,
    judges: Path | None = None,
    save_every: int = 250,
    max_steps: int | None = None,
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
) -> Path:
    """Train the stage that ``training`` belongs to, or go on with it; return the weight file.

    ``model`` is the name of a preset, or what a recipe makes of one; ``space`` the classes of the
    clips (by default those of Cityscapes). ``judges`` is the folder of LPIPS and VGG weights;
    without it the terms that need them are left out. Raises as ``run`` does, and ``ModelError`` for
    an unknown preset or missing judges.
    """
    space = space or get_label_space("cityscapes")
    config = preset(model) if isinstance(model, str) else model
    config = replace(config, label_space=space.to_dict())
    wanted = load_judges(
        judges,
        perceptual=training.perceptual > 0,
        features=getattr(training, "features", 0) > 0,
    )
    torch.manual_seed(training.seed)
    stage: Stage
    if isinstance(training, FirstFrameTrainingConfig):
        stage = FirstFrameStage(config, training, wanted)
    else:
        stage = MotionStage(config, training, wanted)
    keeping: dict[str, Any] = {"save_every": save_every, "max_steps": max_steps}
    return run(stage, sources, output, precision=precision, **keeping)


def run(
    stage: Stage,
    sources: Sequence[tuple[ClipSource, float]],
    output: Path,
    *,
    save_every: int,
    precision: str,
    max_steps: int | None = None,
) -> Path:
    """Train ``stage`` on the clips of its sources, each drawn from with the chance its weight gives
    it, until its steps are done, or ``max_steps`` of them; return the weight file.

    Called again with the same output it resumes. Raises ``ModelError`` where ``output`` belongs to
    another
    configuration, ``MediaError`` where clips have another size.
    """
    training = stage.training_config
    counts = [len(source) for source, _ in sources]
    provenance = {"training": to_dict(training), "clips": sum(counts)}
    _claim(output, {"model": to_dict(stage.model), **provenance})
    optimizer_states = _restore(stage, output)
    batches = TrainingBatches(
        sources,
        batch_size=training.batch_size,
        steps=min(training.steps, max_steps or training.steps),
        start=int(stage.step),
        seed=training.seed,
        stills=stage.stills,
    )
    if len(batches) == 0:
        LOGGER.info("%s: %d steps are done", output, int(stage.step))
        return output / "model.safetensors"
    probe = batches[0]
    _check_clip(probe, stage.model)
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


def _check_clip(clip: Clip, model: ModelConfig) -> None:
    """Raise ``MediaError`` for clips of another size or with too few frames."""
    height, width = clip.first_frame.shape[2:]
    count = clip.frames.shape[1]
    # A batch of stills has as many frames as its clips happened to have: none is needed.
    if (height, width) != (model.height, model.width) or 0 < count < model.num_frames:
        what = f"clips of {model.width}x{model.height} with {model.num_frames} frames after the"
        raise MediaError(
            expected(
                f"{what} first",
                got=f"{width}x{height} with {count}",
                fix="render or prepare them for this preset",
            )
        )


def estimate_seconds_per_step(stage: Stage, clip: Clip, precision: str) -> float:
    """Time forward and backward of a copy of the stage, so that the cost is known before the run
    starts.
    """
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
    """Write the resolved configuration into the run's folder, or check that it is the one that is
    there.
    """
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
    """Load the state of a stopped run into the stage; return its optimisers' states, none for a
    new run.
    """
    path = output / "state.pt"
    if not path.exists():
        return []
    state = torch.load(path, map_location="cpu", weights_only=True)
    stage.load_state_dict(state["stage"])
    return list(state["optimizers"])
