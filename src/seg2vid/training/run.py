"""Training of one stage on Lightning: what it will cost, then the run; the same command resumes.

Everything random in a step depends on the seed, the step and the process alone, so a run that was
killed and started again goes on as if nothing had happened.
"""

import logging
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader, Dataset

from seg2vid.data.clips import ClipSource, TrainingBatches, stack
from seg2vid.models.config import ModelConfig, to_dict
from seg2vid.structures import Clip
from seg2vid.tools.devices import choose_device
from seg2vid.tools.errors import MediaError, Seg2VidError, TrainingError
from seg2vid.tools.ranges import check_ranges
from seg2vid.training import folder as run_folder
from seg2vid.training.config import STAGE_NAMES, RunConfig
from seg2vid.training.cost import describe, forecast_run, settings_end
from seg2vid.training.failures import told_in_one_line
from seg2vid.training.keeper import RunKeeper
from seg2vid.training.stage import Stage
from seg2vid.training.validation import pick_clips

LOGGER = logging.getLogger(__name__)

Sources = Sequence[tuple[ClipSource, float]]
"""Where clips come from, and how often each is drawn from, in any unit."""


def run(
    stage: Stage,
    sources: Sources,
    output: Path,
    settings: RunConfig | None = None,
    validation: Sequence[ClipSource] = (),
    *,
    origin: dict[str, Any] | None = None,
) -> Path:
    """Train ``stage`` until its steps are done, or those of ``settings``; return the weight file.

    Each of the sources is drawn from with the chance its weight gives it. Called again with the
    same output it resumes. ``settings`` say how the run is carried out; ``validation`` holds
    held-out clips; ``origin`` is what is noted of where the weights come from. Raises
    ``TrainingError`` where ``output`` belongs to another configuration, the disk or the memory is
    full, or the losses are no longer finite (``DivergenceError``), ``MediaError`` where clips have
    another size.
    """
    settings = settings or RunConfig()
    check_ranges(settings, TrainingError)
    trainer = _make_trainer(output, settings)
    weights, training = output / "model.safetensors", to_dict(stage.training_config)
    about = {"clips": sum(len(source) for source, _ in sources), "origin": origin or {}}
    resolved = {
        "stage": STAGE_NAMES[type(stage.training_config)],
        "model": to_dict(stage.model),
        "training": training,
        "data": about | {"processes": trainer.world_size},
    }
    run_folder.claim(output, resolved, writes=False)
    state = run_folder.read_state(output)
    if state is not None:
        stage.load_state_dict(state.tensors)
        stage.optimizer_states = state.optimizers
    batches = make_batches(stage, sources, settings, trainer)
    if len(batches) == 0:
        LOGGER.info("%s: %d steps are done", output, int(stage.step))
        return weights
    count = settings.validation_clips if settings.validate_every else 0
    picked = pick_clips(validation, count, stills=stage.stills)
    # Held-out clips are drawn where there are some, always the same.
    held_out = [read() for read in picked[: max(batches.batch_size, 2)]]
    _check_clips(stage.model, [batches[0], *held_out])
    sheet_clip = stack(held_out) if held_out else batches[0]
    if trainer.global_rank == 0:
        world, device = trainer.world_size, trainer.strategy.root_device
        forecast = forecast_run(stage, batches, picked, settings, world=world, device=device)
        LOGGER.info("%s\n%s", _describe_config(stage), describe(forecast))
        if not settings.dry_run:
            run_folder.sweep(output)
            run_folder.claim(output, resolved)
            run_folder.check_room(output, forecast.get("disk_bytes", 0))
            run_folder.note_start(output, forecast=forecast)
    if settings.dry_run:
        return weights
    keeper = RunKeeper(
        output=output,
        settings=settings,
        end=settings_end(stage, settings),
        sheet_clip=sheet_clip,
        validation=picked,
        provenance=about | {"training": training},
        earlier=state.notes["seconds"] if state is not None else 0.0,
        validates_first=bool(origin and origin.get("name")),
    )
    _fit(stage, trainer, keeper, batches)
    return weights


def _fit(stage: Stage, trainer: Any, keeper: RunKeeper, batches: TrainingBatches) -> None:
    """Train to the keeper's end; raise ``KeyboardInterrupt`` where a signal ended it before."""
    settings = keeper.settings
    if settings.compile:
        for part in stage.parts().values():
            part.compile()
    trainer.callbacks.append(keeper)
    loader: DataLoader[Any] = DataLoader(
        _Reader(batches),
        batch_size=None,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
    )
    with told_in_one_line(stage, keeper.output):
        trainer.fit(stage, loader)
    if int(stage.step) < keeper.end:
        LOGGER.info("stopped after step %d: the same command goes on", int(stage.step))
        raise KeyboardInterrupt("stopped by a signal")


def make_batches(
    stage: Stage, sources: Sources, settings: RunConfig, trainer: Any
) -> TrainingBatches:
    """Return this process's batches for all steps that are left."""
    training = stage.training_config
    return TrainingBatches(
        sources,
        batch_size=training.batch_size,
        steps=settings_end(stage, settings),
        start=int(stage.step),
        seed=training.seed,
        stills=stage.stills,
        accumulate=training.accumulate,
        rank=trainer.global_rank,
        world=trainer.world_size,
    )


def _describe_config(stage: Stage) -> str:
    """Return the resolved configuration of training and networks as lines for people."""
    model = to_dict(stage.model)
    model["label_space"] = model["label_space"]["name"]
    lines = []
    for title, values in (("training", to_dict(stage.training_config)), ("model", model)):
        pairs = ", ".join(f"{name} {value}" for name, value in values.items())
        lines += textwrap.wrap(f"{title:>8}  {pairs}", 100, subsequent_indent=" " * 10)
    return "\n".join(lines)


def _make_trainer(output: Path, settings: RunConfig) -> Any:
    """Return Lightning's trainer: it decides on devices, and starts the other processes."""
    # Its advertisements and greetings; warnings stay.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if settings.precision == "float16":
        fix = "use bfloat16"
        raise TrainingError("a precision to train in", got="float16: gradients vanish", fix=fix)
    kind = choose_device(settings.device).type
    has_gpu = kind == "cuda"
    devices = settings.devices or (torch.cuda.device_count() if has_gpu else 1)
    is_alone = devices * settings.nodes == 1
    log = [] if settings.dry_run else [CSVLogger(output, name="log", flush_logs_every_n_steps=1)]
    board = [TensorBoardLogger(output, name="log", version=log[0].version) for _ in log]
    return lightning.Trainer(
        accelerator=kind,
        devices=devices,
        num_nodes=settings.nodes,
        # Generator and discriminator take turns: in each, some parameters have no gradient.
        strategy="auto" if is_alone else "ddp_find_unused_parameters_true",
        sync_batchnorm=has_gpu and not is_alone,
        use_distributed_sampler=False,
        max_epochs=1,
        precision="bf16-mixed" if settings.precision == "bfloat16" else "32-true",
        logger=[*log, *board],
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[TQDMProgressBar(refresh_rate=10)],
        benchmark=has_gpu,
    )


@dataclass(frozen=True)
class _Reader(Dataset[Any]):
    """Gives an error as a value, for the stage to raise: a reading process changes its text."""

    batches: TrainingBatches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Clip | Seg2VidError:
        try:
            return self.batches[index]
        except Seg2VidError as error:
            return error


def _check_clips(model: ModelConfig, clips: Sequence[Clip]) -> None:
    """Raise ``MediaError`` for clips of another size or with too few frames."""
    for clip in clips:
        height, width = clip.first_frame.shape[2:]
        count = clip.frames.shape[1]
        # Stills have as many frames as their clips happened to have: none is needed.
        if (height, width) != (model.height, model.width) or 0 < count < model.num_frames:
            what = f"clips of {model.width}x{model.height} with {model.num_frames} frames after the"
            fix = "render or prepare them for this preset, or set --model.height, --model.width"
            fix += " and --model.num_frames"
            got = f"{width}x{height} with {count}"
            raise MediaError(f"{what} first", got=got, fix=fix)
