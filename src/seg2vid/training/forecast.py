"""Before a run starts: what is trained, on what, how long, with how much memory and disk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from seg2vid.data.clips import ClipSource, TrainingBatches
from seg2vid.labels.space import LabelSpace
from seg2vid.training.config import STAGE_NAMES, RunConfig
from seg2vid.training.cost import measure_cost, settings_end, total_seconds
from seg2vid.training.stage import Stage
from seg2vid.training.validation import Judging, Picked


@dataclass(frozen=True)
class Forecast:
    """What a run will be and cost."""

    stage: str
    start: int
    end: int
    parameters: dict[str, int]
    """Trained parameters of each part."""
    frozen_parameters: int
    clips: dict[str, int]
    validation_clips: int
    classes: int
    classes_seen: list[str]
    """Names of the classes in a look at the first batches."""
    classes_absent: list[str]
    devices: str
    precision: str
    batch: str
    size: str
    flops_per_step: float = 0.0
    seconds_per_step: float = 0.0
    """At the end; steps before may cost less."""
    seconds: float = 0.0
    """For all steps that are left, with validation, pictures and saving."""
    memory_bytes: int = 0
    disk_bytes: int = 0

    def describe(self) -> str:
        """Return it as lines for people."""
        trained = sum(self.parameters.values())
        parts = ", ".join(f"{name} {count / 1e6:.2f}" for name, count in self.parameters.items())
        frozen = f", {self.frozen_parameters / 1e6:.2f} M frozen" if self.frozen_parameters else ""
        clips = ", ".join(f"{count} from {place}" for place, count in self.clips.items())
        absent = f"; not {', '.join(self.classes_absent)}" if self.classes_absent else ""
        lines = {
            "what": f"{self.stage}, {trained / 1e6:.2f} M parameters trained ({parts}){frozen}",
            "clips": f"{clips}; {self.validation_clips} held out for validation",
            "classes": f"{len(self.classes_seen)} of {self.classes} in some clips{absent}",
            "batch": f"{self.batch}, {self.size}",
            "where": f"{self.devices}, {self.precision}",
            "steps": f"{self.start} to {self.end}",
        }
        if self.seconds:
            lines["cost"] = (
                f"{self.flops_per_step / 1e9:.0f} GFLOP and {self.seconds_per_step:.2f} s a step, "
                f"{format_time(self.seconds)} in all, {self.memory_bytes / 2**30:.2f} GiB of "
                f"memory, {self.disk_bytes / 2**20:.0f} MiB on disk"
            )
        return "\n".join(f"{name:>8}  {text}" for name, text in lines.items())


def format_time(seconds: float) -> str:
    """Write a duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def count_parameters(stage: Stage) -> dict[str, int]:
    """Return the number of trained parameters of each part."""
    return {
        name: sum(p.numel() for p in part.parameters() if p.requires_grad)
        for name, part in stage.parts().items()
    }


def name_classes(
    stage: Stage, batches: TrainingBatches, *, looks: int = 4
) -> tuple[list[str], list[str]]:
    """Return the names of the classes that occur in the first batches, and of those that do not."""
    maps = [batches[index].label_map for index in range(min(looks, len(batches)))]
    seen = torch.bincount(torch.cat([label_map.flatten() for label_map in maps]))
    names = (*LabelSpace.from_dict(stage.model.label_space).names, "void")
    found = [name for name, count in zip(names, seen.tolist(), strict=False) if count]
    return found, [name for name in names[:-1] if name not in found]


def foretell(
    stage: Stage,
    batches: TrainingBatches,
    picked: Sequence[Picked],
    judge: Judging,
    settings: RunConfig,
    *,
    world: int,
    device: torch.device,
) -> Forecast:
    """Say what the run will be and, unless ``measured_steps`` is 0, what it will cost.

    ``judge`` finds the figures of the clips that were ``picked`` for validation; ``world`` is the
    number of processes, ``device`` where this one computes.
    """
    training, model = stage.training_config, stage.model
    batch = f"{training.batch_size} clips" if not stage.stills else f"{training.batch_size} frames"
    batch += f" x {training.accumulate} parts" if training.accumulate > 1 else ""
    batch += f" x {world} processes" if world > 1 else ""
    every = [p for part in stage.parts().values() for p in part.parameters()]
    seen, absent = name_classes(stage, batches)
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"
    forecast = Forecast(
        stage=STAGE_NAMES[type(training)],
        start=int(stage.step),
        end=settings_end(stage, settings),
        parameters=count_parameters(stage),
        frozen_parameters=sum(p.numel() for p in every if not p.requires_grad),
        clips={name_source(source): len(source) for source in batches.sources},
        validation_clips=len(picked),
        classes=LabelSpace.from_dict(model.label_space).num_channels,
        classes_seen=seen,
        classes_absent=absent,
        devices=f"{world} x {named} ({torch.get_num_threads()} threads)",
        precision=settings.precision,
        batch=batch,
        size=f"{model.width}x{model.height}"
        + ("" if stage.stills else f", 1 + {model.num_frames} frames"),
    )
    if not settings.measured_steps:
        return forecast
    cost = measure_cost(stage, batches, settings, picked, judge, device=device)
    return replace(
        forecast,
        flops_per_step=cost.flops,
        seconds_per_step=cost.seconds[-1],
        seconds=total_seconds(stage, cost, forecast.end),
        memory_bytes=cost.memory,
        disk_bytes=cost.disk,
    )


def name_source(source: ClipSource) -> str:
    """Return what a user calls a source of clips."""
    return str(getattr(source, "directory", None) or getattr(source, "place", "clips"))
