"""What goes on beside the steps of a run: log, validation, pictures, saving, clean stops."""

import json
import math
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from seg2vid.models.checkpoint import load_checkpoint, save_checkpoint
from seg2vid.structures import Clip
from seg2vid.tools.environment import peak_memory
from seg2vid.tools.errors import TrainingError
from seg2vid.training.config import RunConfig
from seg2vid.training.curves import write_curves
from seg2vid.training.folder import RunState, room_for, write_state, write_text
from seg2vid.training.stage import Stage
from seg2vid.training.validation import (
    Figures,
    Picked,
    average,
    find_choice,
    is_better,
    measure,
    write_samples,
)

CURVES_EVERY = 60
"""Least seconds between two pictures of the curves: one takes about a second."""


@dataclass(eq=False, kw_only=True)
class RunKeeper(Callback):
    """Keeps the folder of a run, ``output``; only the first process writes."""

    output: Path
    settings: RunConfig
    end: int
    """Step after which the run is done."""
    sheet_clip: Clip
    validation: list[Picked]
    provenance: dict[str, Any]
    """Written into the weights."""
    earlier: float = 0.0
    """Seconds that earlier starts took."""
    validates_first: bool = False
    """Whether the weights that a run begins with are measured, too."""

    def __post_init__(self) -> None:
        self.began = time.perf_counter()
        self.is_stopping = False
        self.sums: dict[str, Any] = {}
        self.batches = 0
        self.last_logged = self.last_drawn = self.began
        self.figures: Figures = {}
        self.best: dict[str, Any] = {}
        if (best := self.output / "best.safetensors").is_file():  # of earlier starts
            self.best = load_checkpoint(best).provenance["best"]
        self._handlers: dict[int, Any] = {}

    @property
    def seconds(self) -> float:
        """Seconds that the run has trained, earlier starts included."""
        return self.earlier + time.perf_counter() - self.began

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock and listen for signals; ``TrainingError`` if states differ."""
        if (states := len(set(_gather(trainer, self.earlier)))) > 1:
            what, fix = "the same state of the run in all processes", "share its folder"
            got = f"{states} different ones in {self.output}"
            raise TrainingError(what, got=got, fix=fix)
        self.began = self.last_logged = time.perf_counter()
        pl_module.measures_gradients = self._is_due(int(pl_module.step) + 1, "log")
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._stop)
        if self.validates_first and self.validation and int(pl_module.step) == 0:
            self._validate(trainer, pl_module, 0)

    def _stop(self, number: int, frame: object) -> None:
        """Finish this step and save; a second signal stops at once."""
        if self.is_stopping:
            raise KeyboardInterrupt(f"signal {number}")
        self.is_stopping = True

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After the last batch of a step: log, validate, draw and save what is due."""
        for name, term in pl_module.terms.items():
            self.sums[name] = self.sums.get(name, 0) + term
        self.batches += 1
        if (batch_idx + 1) % pl_module.training_config.accumulate:
            return
        step = int(pl_module.step)
        pl_module.measures_gradients = self._is_due(step + 1, "log")
        is_last = self._ends_here(trainer, step)
        if self._is_due(step, "log"):
            self._log(trainer, pl_module, step)
        if self.validation and self._is_due(step, "validate", is_last=step == self.end):
            self._validate(trainer, pl_module, step)
        if trainer.global_rank == 0:
            if self._is_due(step, "sheet", is_last=is_last):
                with room_for("pictures", self.output):
                    write_samples(pl_module, self.sheet_clip, self.output)
            if self._is_due(step, "save", is_last=is_last):
                self.save(pl_module)
                if not is_last and time.perf_counter() - self.last_drawn >= CURVES_EVERY:
                    self._draw_curves(pl_module)
        if is_last and step < self.end:
            trainer.should_stop = True

    def _is_due(self, step: int, what: str, *, is_last: bool = False) -> bool:
        every = getattr(self.settings, f"{what}_every")
        return every > 0 and (is_last or step % every == 0)

    def _ends_here(self, trainer: Any, step: int) -> bool:
        """Say whether this step is the last: the end, or any process was told to stop."""
        stops = self.is_stopping
        if trainer.world_size > 1:
            # Asking the others costs time, so not after every step.
            decide = trainer.strategy.reduce_boolean_decision
            stops = self._is_due(step, "log") and bool(decide(self.is_stopping, all=False))
            self.is_stopping |= stops
        return step == self.end or stops

    def _log(self, trainer: Any, stage: Stage, step: int) -> None:
        values = {f"train/{name}": float(total) / self.batches for name, total in self.sums.items()}
        values["loss"] = sum(values.values())
        values |= {f"gradient/{name}": norm for name, norm in stage.gradient_norms.items()}
        for optimizer in trainer.optimizers:
            group, parts = optimizer.param_groups[0], stage.parts().items()
            first = id(group["params"][0])
            name = next(name for name, part in parts if first in map(id, part.parameters()))
            values[f"rate/{name}"] = group["lr"]
        now = time.perf_counter()
        steps = self.batches / stage.training_config.accumulate
        values["pace/steps a second"] = steps / max(now - self.last_logged, 1e-9)
        self.last_logged, self.sums, self.batches = now, {}, 0
        self._write_row(trainer, values, step)

    def _write_row(self, trainer: Any, values: Figures, step: int) -> None:
        with room_for("the log", self.output):
            for logger in trainer.loggers:
                logger.log_metrics(values, step=step)
                logger.save()

    def _validate(self, trainer: Any, stage: Stage, step: int) -> None:
        """Measure the held-out clips, each process its share, and keep the best weights."""
        if trainer.world_size > 1:
            # On processors batch norm has other running figures in each: the first one's are saved.
            for buffer in stage.buffers():
                dist.broadcast(buffer, 0)
        own = self.validation[trainer.global_rank :: trainer.world_size]
        rows = [measure(stage, read()) for read in own]
        self.figures = average([row for part in _gather(trainer, rows) for row in part])
        name = find_choice(self.figures, self.settings.choose_by)
        if trainer.global_rank == 0:
            named = {f"validation/{key}": figure for key, figure in self.figures.items()}
            self._write_row(trainer, named, step)
            value, best = self.figures[name], self.best
            is_first = best.get("figure") != name
            if math.isfinite(value) and (is_first or is_better(name, value, best["value"])):
                self.best = {"figure": name, "value": value, "step": step}
                self._save_weights(stage, "best.safetensors")
        self.last_logged = time.perf_counter()

    def _draw_curves(self, stage: Stage) -> None:
        title = f"{type(stage).__name__}, step {int(stage.step)}"
        with room_for("curves.png", self.output):
            write_curves(self.output, title=title, best_step=self.best.get("step"))
        self.last_drawn = time.perf_counter()

    def save(self, stage: Stage) -> None:
        """Write the state to go on from and the weights, each whole or not at all."""
        # The state last: a run that was killed between the two takes these steps again.
        self._save_weights(stage, "model.safetensors")
        states = [optimizer.state_dict() for optimizer in stage.trainer.optimizers]
        notes = {"seconds": self.seconds, "step": int(stage.step)}
        write_state(self.output, RunState(dict(stage.state_dict()), states, notes))

    def _save_weights(self, stage: Stage, name: str) -> None:
        done = self.provenance | {"steps_done": int(stage.step), "seconds": round(self.seconds)}
        if self.figures:
            done |= {"validation": self.figures, "best": self.best}
        with room_for(name, self.output):
            save_checkpoint(self.output / name, stage.boxes(), stage.model, done)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write what the run took and came to, and the last curves."""
        # To whoever had them, before Lightning does the same, which it also does after an error.
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
        if trainer.global_rank:
            return
        self._draw_curves(pl_module)
        sizes = [path.stat().st_size for path in self.output.rglob("*") if path.is_file()]
        done = {
            "steps": int(pl_module.step),
            "is_done": int(pl_module.step) == self.end,
            "seconds": self.seconds,
            "peak_memory_bytes": peak_memory(),
            "disk_bytes": sum(sizes),
            "best": self.best,
            "validation": self.figures,
        }
        write_text(self.output / "summary.json", json.dumps(done, indent=1) + "\n")


def _gather(trainer: Any, own: Any) -> list[Any]:
    every = [own] * trainer.world_size
    if trainer.world_size > 1:
        dist.all_gather_object(every, own)
    return every
