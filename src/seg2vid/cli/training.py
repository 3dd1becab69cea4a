"""The verbs of the command line for those who train and measure models; the others are in
``cli.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from seg2vid.cli import arguments as syntax
from seg2vid.models import config
from seg2vid.tools.errors import Seg2VidError
from seg2vid.training.config import (
    FirstFrameTrainingConfig,
    MotionTrainingConfig,
    RunConfig,
    SegmenterTrainingConfig,
)


def train_first_frame(
    *options: Annotated[str, FirstFrameTrainingConfig, RunConfig],
    data: list[str],
    output: Path,
    data_weights: tuple[str, ...] = (),
    validation: list[str] | None = None,
    judges: Path | None = None,
    preset: str = "compact",
    recipe: Path | None = None,
    start_from: str | None = None,
    freeze: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
) -> None:
    """Train the generator of the first frame on clips; the same command resumes.

    Args:
        options: fields of the configuration, and --model.FIELD of the networks'.
        data: folder that `seg2vid prepare` or `seg2vid toycity` wrote; give it again for more.
        output: folder of the run: weights, state, logs, curves, contact sheets.
        data_weights: how often to draw from each, as in 2,1 (default: by their numbers of clips).
        validation: folder of held-out clips; give it again for more (default: those of --data).
        judges: folder of LPIPS weights, for the perceptual term and the validation.
        preset: networks to train.
        recipe: file that names networks and training, or config.yaml of a run.
        start_from: weights to begin with: name or path of a model, or of a run's weights.
        freeze: parts that keep their weights, as in appearance_encoder.
        only: parts that alone are trained.
    """
    run = _Command(data, data_weights, validation, judges, preset, recipe, start_from, freeze, only)
    run.train(FirstFrameTrainingConfig(), options, output)


def train_motion(
    *options: Annotated[str, MotionTrainingConfig, RunConfig],
    data: list[str],
    output: Path,
    data_weights: tuple[str, ...] = (),
    validation: list[str] | None = None,
    judges: Path | None = None,
    preset: str = "compact",
    recipe: Path | None = None,
    start_from: str | None = None,
    freeze: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
) -> None:
    """Train motion: encoder, flow decoder and refiner on clips; the same command resumes.

    Args:
        options: fields of the configuration, and --model.FIELD of the networks'.
        data: folder that `seg2vid prepare` or `seg2vid toycity` wrote; give it again for more.
        output: folder of the run: weights, state, logs, curves, contact sheets, videos.
        data_weights: how often to draw from each, as in 2,1 (default: by their numbers of clips).
        validation: folder of held-out clips; give it again for more (default: those of --data).
        judges: folder of LPIPS and VGG weights, for the terms that need them and the validation.
        preset: networks to train: compact, paper, paper-kth or paper-ucf101.
        recipe: file that names networks and training (see recipes/), or config.yaml of a run.
        start_from: weights to begin with: name or path of a model, or of a run's weights.
        freeze: parts that keep their weights, as in motion_encoder,flow_decoder.
        only: parts that alone are trained, as in refiner.
    """
    run = _Command(data, data_weights, validation, judges, preset, recipe, start_from, freeze, only)
    run.train(MotionTrainingConfig(), options, output)


def train_segmenter(
    *options: Annotated[str, SegmenterTrainingConfig, RunConfig],
    data: list[str],
    output: Path,
    data_weights: tuple[str, ...] = (),
    validation: list[str] | None = None,
    recipe: Path | None = None,
    start_from: str | None = None,
) -> None:
    """Train the segmenter on photos with label maps; the same command resumes.

    Args:
        options: fields of the configuration, and --model.FIELD of the networks'.
        data: folder with photos/ and labels/, or a prepared dataset; give it again for more.
        output: folder of the run: weights, state, logs, curves, contact sheets.
        data_weights: how often to draw from each, as in 2,1 (default: by their numbers of clips).
        validation: folder of held-out photos; give it again for more (default: those of --data).
        recipe: config.yaml of a run.
        start_from: weights to begin with: segmenter, or a path.
    """
    run = _Command(data, data_weights, validation, None, "compact", recipe, start_from)
    run.train(SegmenterTrainingConfig(), options, output)


@dataclass(frozen=True)
class _Command:
    """What every training verb is told."""

    data: list[str]
    data_weights: tuple[str, ...]
    validation: list[str] | None
    judges: Path | None
    preset: str
    recipe: Path | None
    start_from: str | None
    freeze: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def train(self, base: Any, options: Sequence[str], output: Path) -> None:
        """Start the stage that ``base`` belongs to, with its messages on the terminal."""
        try:
            from seg2vid.training import run as train
        except ModuleNotFoundError as error:
            what, fix = "the extra `train` to be installed", "pip install 'seg2vid[train]'"
            raise Seg2VidError(what, got=f"no {error.name}", fix=fix) from None
        import logging

        from seg2vid.data.sources import open_training_data, open_validation_data
        from seg2vid.models.checkpoint import load_checkpoint
        from seg2vid.models.weights import find_weights
        from seg2vid.training.recipes import change, read_recipe

        logging.basicConfig(level=logging.INFO, format="%(message)s")
        plain, dotted = syntax.split_dotted(options, "model")
        model = config.preset(self.preset)
        if self.recipe is not None:
            read = read_recipe(self.recipe, type(base))
            model, base = read.model, read.training
        model = change(model, dotted, "the command line")
        training, settings = syntax.build_all((base, RunConfig()), plain)
        beginning = train.Beginning(name=self.start_from or "", frozen=self.freeze, only=self.only)
        if self.start_from is not None:
            checkpoint = load_checkpoint(find_weights(self.start_from))
            beginning = replace(beginning, checkpoint=checkpoint)
        weights = [syntax.convert(word, float, "--data-weights") for word in self.data_weights]
        splits = self.validation is None
        sources, space = open_training_data(self.data, weights, model, holds_out=splits)
        held_out = open_validation_data(self.validation or self.data, model, is_named=not splits)
        path = train.start(
            training,
            sources,
            output,
            model=model,
            space=space,
            judges=self.judges,
            settings=settings,
            validation=held_out,
            beginning=beginning,
        )
        if not settings.dry_run:
            print(f"wrote {path}")


def train_replay(run: Path, *, judges: Path | None = None, process: int = 0) -> None:
    """Compute the step at which a run diverged again, and name the cause.

    Args:
        run: folder of the run that stopped.
        judges: folder of LPIPS and VGG weights, where the run was given one.
        process: number of the process whose batch is taken.
    """
    from seg2vid.training.replay import replay

    found = replay(run, judges=judges, process=process)
    print(f"step {found.step}: {found.cause or 'finite this time: it was the precision or chance'}")
    for title, values in (("term", found.terms), ("gradient of", found.gradient_norms)):
        for name, value in values.items():
            print(f"  {title} {name:<24} {value:12.5g}")


def assemble(first_frame: str, motion: str, *, output: Path) -> None:
    """Join the weights of both stages into a model folder that `generate --model` takes.

    Args:
        first_frame: model.safetensors of the first-frame run, or the name or path of a model.
        motion: model.safetensors of the motion run, or the name or path of a model.
        output: the folder to write.
    """
    from seg2vid.models.checkpoint import assemble as join
    from seg2vid.models.weights import find_weights

    path = output / "model.safetensors"
    join(find_weights(first_frame), find_weights(motion), path)
    print(f"wrote {path}")
