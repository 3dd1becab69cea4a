"""Before a run starts: what is trained, on what, how long, with how much memory and disk.

The cost is measured: a copy of the stage takes a few real steps, validates, draws and saves.
"""

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from seg2vid.data.clips import TrainingBatches
from seg2vid.models.checkpoint import save_checkpoint
from seg2vid.structures import Clip
from seg2vid.tools.environment import free_memory, peak_memory
from seg2vid.tools.errors import TrainingError
from seg2vid.training.config import STAGE_NAMES, RunConfig
from seg2vid.training.curves import draw_curves
from seg2vid.training.folder import RunState, write_state
from seg2vid.training.stage import Stage
from seg2vid.training.validation import Picked, measure, write_samples

LOG_LINE = 700
"""Bytes of one line of the two logs together."""


def measure_cost(
    stage: Stage,
    batches: TrainingBatches,
    settings: RunConfig,
    validation: Sequence[Picked],
    *,
    device: torch.device,
) -> dict[str, Any]:
    """Let a copy of the stage take a few steps, validate, draw and save on ``device``.

    Returns what a step costs at the end of the run (steps before may cost less), and what all that
    is left of it does, validation, pictures and saving included.
    """
    networks = stage.perceptual_networks
    networks.to(device)
    twin = copy.deepcopy(stage, {id(networks): networks}).to(device).train()
    optimizers = twin.make_optimizers()
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["initial_lr"] = 0.0  # Steps that cost what they cost, and lead nowhere.
    loading = _time(lambda: batches[0])
    held = batches[0]  # What a run holds beside the batch of the step: the next one.
    check_memory(twin, held, settings)
    step = partial(_step, twin, optimizers, batches, settings)
    seconds = []
    for phase in stage.phases():
        twin.step.fill_(max(phase, int(stage.step)))
        times = [_time(step) for _ in range(settings.measured_steps + 1)]
        seconds.append(statistics.median(times[1:]))
        if settings.workers:  # Clips are read ahead: that hides behind the step.
            reading = loading * batches.accumulate
            seconds[-1] = max(seconds[-1] - reading, reading / settings.workers)
    with FlopCounterMode(display=False) as counter:
        step()
    validate = 0.0
    if validation:
        held_out = validation[0]()
        figures = measure(twin, held_out)
        validate = _time(lambda: measure(twin, held_out)) * len(validation)
        # For its memory: curves are drawn at savings.
        ramp = [(number, float(number)) for number in range(200)]
        draw_curves({f"validation/{name}": ramp for name in figures}, title="")
    twin.step.copy_(stage.step)  # What is left of the run, not of the measured steps.
    extra, disk = _measure_keeping(twin, optimizers, batches[0], settings, validate)
    del held
    own = [*twin.parameters(), *twin.buffers()]
    return {
        "flops_per_step": float(counter.get_total_flops()),
        "seconds_per_step": seconds[-1],
        "seconds": extra + seconds_of_steps(stage, seconds, settings_end(stage, settings)),
        "memory_bytes": peak_memory() - sum(one.nbytes for one in own),
        "disk_bytes": disk,
    }


def check_memory(twin: Stage, clip: Clip, settings: RunConfig) -> None:
    """Raise ``TrainingError`` where a step on the batch ``clip`` would find too little memory.

    Estimated from two of its clips: what the gradient needs grows with their number.
    """
    batch, few, device = len(clip.label_map), 2, twin.step.device
    if batch <= few:
        return
    own = sum(p.nbytes for p in twin.parameters() if p.requires_grad)
    each = _kept_for_gradient(twin, clip.map(lambda tensor: tensor[:few]), settings) / few
    # The gradient, and Adam's two moments.
    needed, free = 3 * own + batch * each, free_memory(device)
    if needed <= free:
        return
    fitting = [n for n in range(1, batch) if batch % n == 0 and 3 * own + n * each <= free]
    size = max(fitting, default=1)
    parts = twin.training_config.accumulate * batch // size
    what = f"about {needed / 2**30:.2f} GiB of memory for a step of {batch} samples"
    fix = f"set --batch-size {size} --accumulate {parts}"
    fix += ", or --recompute true" if fitting else " and --recompute true"
    raise TrainingError(what, got=f"{free / 2**30:.2f} GiB free", fix=fix)


def _kept_for_gradient(twin: Stage, clip: Clip, settings: RunConfig) -> int:
    """Return the bytes that the losses of a batch hold for their gradient, weights apart."""
    known = {p.untyped_storage().data_ptr() for p in twin.parameters()}
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    is_half = settings.precision == "bfloat16"
    with hooks, torch.autocast(twin.step.device.type, torch.bfloat16, enabled=is_half):
        terms = twin(clip.to(twin.step.device))
    del terms
    return sum(size for place, size in held.items() if place not in known)


def _time(function: Callable[[], Any]) -> float:
    """Return the seconds a call takes, the GPU's work included."""
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _step(
    twin: Stage, optimizers: list[Any], batches: TrainingBatches, settings: RunConfig
) -> None:
    """Let the copy take one step, with all its batches, in the precision of the run."""
    is_half = settings.precision == "bfloat16"
    for part in range(twin.training_config.accumulate):
        clip = batches[part].to(twin.step.device)
        with torch.autocast(twin.step.device.type, torch.bfloat16, enabled=is_half):
            twin.take_turns(clip, optimizers, Tensor.backward, part=part)


def _measure_keeping(
    twin: Stage, optimizers: list[Any], clip: Clip, settings: RunConfig, validate: float
) -> tuple[float, int]:
    """Return the seconds and bytes of all beside the steps; a validation takes ``validate`` s."""

    def save() -> None:
        states = [optimizer.state_dict() for optimizer in optimizers]
        write_state(folder, RunState(dict(twin.state_dict()), states, {}))
        save_checkpoint(folder / "model.safetensors", twin.boxes(), twin.model, {})

    steps = max(settings_end(twin, settings) - int(twin.step), 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_samples(twin, clip, folder)
        board = TensorBoardLogger(folder)
        board.log_metrics({"loss": 0.0}, 0)
        board.finalize("success")
        draw = _time(lambda: write_samples(twin, clip, folder))
        samples = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        seconds = _count(steps, settings.save_every) * _time(save)
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    sheets = _count(steps, settings.sheet_every)
    seconds += sheets * draw + _count(steps, settings.validate_every) * validate
    disk = 2 * sizes["state.safetensors"] + sizes["model.safetensors"] * (2 if validate else 1)
    return seconds, disk + sheets * samples + LOG_LINE * steps // settings.log_every


def _count(steps: int, every: int) -> int:
    return -(-steps // every) if every else 0


def settings_end(stage: Stage, settings: RunConfig) -> int:
    """Return the step at which the run ends."""
    steps: int = stage.training_config.steps
    return min(steps, settings.max_steps or steps)


def seconds_of_steps(stage: Stage, seconds: Sequence[float], end: int) -> float:
    """Return how long all steps until ``end`` take, each the ``seconds`` of its phase."""
    begins = [*stage.phases(), max(end, *stage.phases())]
    spans = zip(seconds, begins, begins[1:], strict=False)
    now = int(stage.step)
    return sum(each * max(0, min(until, end) - max(begin, now)) for each, begin, until in spans)


def forecast_run(
    stage: Stage,
    batches: TrainingBatches,
    picked: Sequence[Picked],
    settings: RunConfig,
    *,
    world: int,
    device: torch.device,
) -> dict[str, Any]:
    """Return what the run will be and, unless ``measured_steps`` is 0, what it will cost.

    ``picked`` are the clips of the validation, ``world`` is the number of processes, ``device``
    where this one computes. ``describe`` tells it to people.
    """
    training, model = stage.training_config, stage.model
    batch = f"{training.batch_size} {'frames' if stage.stills else 'clips'}"
    batch += f" x {training.accumulate} parts" if training.accumulate > 1 else ""
    batch += f" x {world} processes" if world > 1 else ""
    names = stage.space.names
    frames = "" if stage.stills else f", 1 + {model.num_frames} frames"
    maps = [batches[index].label_map.flatten() for index in range(min(4, len(batches)))]
    counts = dict(zip(names, torch.bincount(torch.cat(maps)).tolist(), strict=False))
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"
    is_measured = settings.measured_steps > 0
    cost = measure_cost(stage, batches, settings, picked, device=device) if is_measured else {}
    return {
        "stage": STAGE_NAMES[type(training)],
        "start": int(stage.step),
        "end": settings_end(stage, settings),
        "parameters": count_parameters(stage),
        "frozen_parameters": sum(count_parameters(stage, trained=False).values()),
        "clips": {
            str(getattr(one, "directory", None) or getattr(one, "place", "clips")): len(one)
            for one, _ in batches.sources
        },
        "validation_clips": len(picked),
        "classes": stage.space.num_channels,
        # As found in the first batches.
        "classes_seen": [name for name in names if counts.get(name)],
        "classes_absent": [name for name in names[:-1] if not counts.get(name)],
        "devices": f"{world} x {named} ({torch.get_num_threads()} threads)",
        "precision": "bfloat16" if settings.precision == "bfloat16" else "float32",
        "batch": batch,
        "size": f"{model.width}x{model.height}{frames}",
        **cost,
    }


def describe(forecast: dict[str, Any]) -> str:
    """Return what ``forecast_run`` found as lines for people."""
    told = SimpleNamespace(**forecast)
    trained = sum(told.parameters.values())
    parts = ", ".join(f"{name} {count / 1e6:.2f}" for name, count in told.parameters.items())
    frozen = f", {told.frozen_parameters / 1e6:.2f} M frozen" if told.frozen_parameters else ""
    clips = ", ".join(f"{count} from {place}" for place, count in told.clips.items())
    absent = f"; not {', '.join(told.classes_absent)}" if told.classes_absent else ""
    lines = {
        "what": f"{told.stage}, {trained / 1e6:.2f} M parameters trained ({parts}){frozen}",
        "clips": f"{clips}; {told.validation_clips} held out for validation",
        "classes": f"{len(told.classes_seen)} of {told.classes} in some clips{absent}",
        "batch": f"{told.batch}, {told.size}",
        "where": f"{told.devices}, {told.precision}",
        "steps": f"{told.start} to {told.end}",
    }
    if "seconds" in forecast:
        lines["cost"] = (
            f"{told.flops_per_step / 1e9:.0f} GFLOP and {told.seconds_per_step:.2f} s a step, "
            f"{format_time(told.seconds)} in all, {told.memory_bytes / 2**30:.2f} GiB of "
            f"memory, {told.disk_bytes / 2**20:.0f} MiB on disk"
        )
    return "\n".join(f"{name:>8}  {text}" for name, text in lines.items())


def format_time(seconds: float) -> str:
    """Write a duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count_parameters(stage: Stage, *, trained: bool = True) -> dict[str, int]:
    """Return the number of trained, or of frozen, parameters of each part."""
    return {
        name: sum(p.numel() for p in part.parameters() if p.requires_grad == trained)
        for name, part in stage.parts().items()
    }
