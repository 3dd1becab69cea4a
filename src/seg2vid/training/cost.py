"""What a run costs, measured: a copy of the stage takes a few real steps, validates and saves."""

import copy
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from seg2vid.data.clips import TrainingBatches
from seg2vid.models.checkpoint import save_checkpoint
from seg2vid.structures import Clip
from seg2vid.training.config import RunConfig
from seg2vid.training.curves import draw_curves
from seg2vid.training.folder import RunState, write_state
from seg2vid.training.samples import peak_memory, write_samples
from seg2vid.training.stage import Stage
from seg2vid.training.validation import Judging, Picked, measure, read_picked

LOG_LINE = 700
"""Bytes of one line of the two logs together."""


@dataclass(frozen=True)
class Cost:
    """What was measured on a copy of the stage."""

    flops: float
    seconds: list[float]
    """Of one step, in each phase of the stage."""
    extra_seconds: float
    memory: int
    disk: int


def measure_cost(
    stage: Stage,
    batches: TrainingBatches,
    settings: RunConfig,
    validation: Sequence[Picked],
    judge: Judging,
    *,
    device: torch.device,
) -> Cost:
    """Let a copy of the stage take a few steps, validate by ``judge``, draw and save on ``device``,
    and time all of it.
    """
    judges = stage.judges
    judges.to(device)
    twin = copy.deepcopy(stage, {id(judges): judges}).to(device).train()
    optimizers = twin.make_optimizers()
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["initial_lr"] = 0.0  # Steps that cost what they cost, and lead nowhere.
    loading = _time(lambda: batches[0])
    # What a run holds beside the batch of the step: the next one, and the clips it draws.
    held = [batches[0] for _ in "ab"]
    seconds = []
    for phase in stage.phases():
        twin.step.fill_(max(phase, int(stage.step)))
        every = range(settings.measured_steps + 1)
        times = [_time(lambda: _step(twin, optimizers, batches, settings)) for _ in every]
        seconds.append(_with_loading(statistics.median(times[1:]), loading, batches, settings))
    with FlopCounterMode(display=False) as counter:
        _step(twin, optimizers, batches, settings)
    validate = 0.0
    if validation:
        held_out = read_picked(validation[0], is_still=stage.stills)
        measure(twin, held_out, judge)
        validate = _time(lambda: measure(twin, held_out, judge)) * len(validation)
        # For its memory: what is drawn at every validation.
        ramp = [(step, float(step)) for step in range(200)]
        draw_curves(
            {f"validation/{name}": ramp for name in measure(twin, held_out, judge)}, title=""
        )
    twin.step.copy_(stage.step)  # What is left of the run, not of the measured steps.
    extra, disk = _measure_keeping(twin, optimizers, batches[0], settings, validate)
    del held
    memory = peak_memory() - _bytes(twin)
    return Cost(float(counter.get_total_flops()), seconds, extra, memory, disk)


def _time(function: Any) -> float:
    """Return the seconds a call takes, the GPU's work included."""
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _step(
    twin: Stage, optimizers: list[Any], batches: TrainingBatches, settings: RunConfig
) -> None:
    """Let the copy take one step, with all its batches."""
    for part in range(twin.training_config.accumulate):
        clip = batches[part].to(twin.step.device)
        with _autocast(clip, settings):
            twin.take_turns(clip, optimizers, _backward, part=part)


def _autocast(clip: Clip, settings: RunConfig) -> Any:
    """Return the precision that Lightning would use."""
    is_half = settings.precision.startswith("bf16")
    return torch.autocast(clip.first_frame.device.type, torch.bfloat16, enabled=is_half)


def _backward(loss: Tensor) -> None:
    """Run the gradients of a scalar loss."""
    loss.backward()  # type: ignore[no-untyped-call]


def _with_loading(
    step: float, loading: float, batches: TrainingBatches, settings: RunConfig
) -> float:
    """Return the seconds of a step where clips are read ahead: loading hides behind the step."""
    if settings.workers == 0:
        return step
    reading = loading * batches.accumulate
    return max(step - reading, reading / settings.workers)


def _measure_keeping(
    twin: Stage,
    optimizers: list[Any],
    clip: Clip,
    settings: RunConfig,
    validate: float,
) -> tuple[float, int]:
    """Return the seconds and bytes of everything beside the steps, for the whole run; one
    validation takes ``validate`` seconds.
    """
    left = settings_end(twin, settings) - int(twin.step)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_samples(twin, clip, folder)
        board = TensorBoardLogger(folder)
        board.log_metrics({"loss": 0.0}, 0)
        board.finalize("success")
        draw = _time(lambda: write_samples(twin, clip, folder))
        samples = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        save = _time(lambda: _save(twin, optimizers, folder))
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    steps = max(left, 0)
    times = {
        "sheet": _count(steps, settings.sheet_every),
        "validate": _count(steps, settings.validate_every) if validate else 0,
        "save": _count(steps, settings.save_every),
    }
    seconds = times["sheet"] * draw + times["validate"] * validate + times["save"] * save
    weights = sizes["model.safetensors"]
    disk = 2 * sizes["state.safetensors"] + weights * (2 if validate else 1)
    disk += times["sheet"] * samples + LOG_LINE * steps // settings.log_every
    return seconds, disk


def _save(twin: Stage, optimizers: list[Any], folder: Path) -> None:
    """Write what a run writes when it saves."""
    states = [optimizer.state_dict() for optimizer in optimizers]
    write_state(folder, RunState(dict(twin.state_dict()), states, {}))
    save_checkpoint(folder / "model.safetensors", twin.boxes(), twin.model, {})


def _count(steps: int, every: int) -> int:
    """Return how often something happens that comes every so many steps and at the end."""
    return -(-steps // every) if every else 0


def _bytes(module: nn.Module) -> int:
    """Return the bytes of all parameters and buffers (any shape)."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def settings_end(stage: Stage, settings: RunConfig) -> int:
    """Return the step at which the run ends."""
    steps: int = stage.training_config.steps
    return min(steps, settings.max_steps or steps)


def total_seconds(stage: Stage, cost: Cost, end: int) -> float:
    """Return the seconds of all steps that are left, phase by phase, and of what goes beside."""
    begins = [*stage.phases(), max(end, *stage.phases())]
    now = int(stage.step)
    total = cost.extra_seconds
    for seconds, begin, until in zip(cost.seconds, begins, begins[1:], strict=False):
        total += seconds * max(0, min(until, end) - max(begin, now))
    return total
