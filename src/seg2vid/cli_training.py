"""The verbs of the command line for those who train and measure models; the others are in
``cli.py``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seg2vid import arguments as syntax
from seg2vid.errors import Seg2VidError, expected

Precision = Literal["32-true", "bf16-mixed"]


def train_first_frame(
    *options: str,
    data: list[str],
    output: Path,
    data_weights: tuple[str, ...] = (),
    judges: Path | None = None,
    preset: str = "compact",
    save_every: int = 250,
    max_steps: int | None = None,
    precision: Precision = "32-true",
) -> None:
    """Train the generator of the first frame on a folder of clips; the same command resumes.

    Args:
        options: every field of FirstFrameTrainingConfig: --steps, --batch-size, --seed ...
        data: folder that `seg2vid prepare` or `seg2vid toycity` wrote; give it again for more.
        output: folder of the run: weights, state, log and contact sheets.
        data_weights: how often to draw from each, as in 2,1 (default: by their numbers of clips).
        judges: folder of LPIPS weights, for the perceptual term.
        preset: networks to train.
        save_every: steps between two savings.
        max_steps: stop after so many steps; the schedule stays that of --steps.
        precision: bf16-mixed is twice as fast where the processor has it.
    """
    from seg2vid.config import FirstFrameTrainingConfig

    training = syntax.build(FirstFrameTrainingConfig, options)
    run = RunOptions(data, data_weights, output, save_every, max_steps, precision)
    _train(training, preset, run, judges)


def train_motion(
    *options: str,
    data: list[str],
    output: Path,
    data_weights: tuple[str, ...] = (),
    judges: Path | None = None,
    preset: str = "compact",
    recipe: Path | None = None,
    save_every: int = 250,
    max_steps: int | None = None,
    precision: Precision = "32-true",
) -> None:
    """Train motion: encoder, flow decoder and refiner on a folder of clips; the same command
    resumes.

    Args:
        options: every field of MotionTrainingConfig: --steps, --batch-size, --seed ...
        data: folder that `seg2vid prepare` or `seg2vid toycity` wrote; give it again for more.
        output: folder of the run: weights, state, log and contact sheets.
        data_weights: how often to draw from each, as in 2,1 (default: by their numbers of clips).
        judges: folder of LPIPS and VGG weights, for the terms that need them.
        preset: networks to train: compact, paper, paper-kth or paper-ucf101.
        recipe: file that names networks and objective (see recipes/); the preset is then its own.
        save_every: steps between two savings.
        max_steps: stop after so many steps; the schedule stays that of --steps.
        precision: bf16-mixed is twice as fast where the processor has it.
    """
    from seg2vid.config import MotionTrainingConfig
    from seg2vid.recipes import read_recipe

    read = None if recipe is None else read_recipe(recipe)
    base = MotionTrainingConfig() if read is None else read.training
    training = syntax.build(MotionTrainingConfig, options, base)
    model = preset if read is None else read.model
    run = RunOptions(data, data_weights, output, save_every, max_steps, precision)
    _train(training, model, run, judges)


def train_segmenter(
    *options: str,
    data: list[str],
    output: Path,
    data_weights: tuple[str, ...] = (),
    save_every: int = 250,
    max_steps: int | None = None,
    precision: Precision = "32-true",
) -> None:
    """Train the segmenter on photos with label maps; the same command resumes.

    Args:
        options: every field of SegmenterTrainingConfig: --steps, --batch-size, --seed ...
        data: folder with photos/ and labels/, or a prepared dataset; give it again for more.
        output: folder of the run: weights, state, log and contact sheets.
        data_weights: how often to draw from each, as in 2,1 (default: by their numbers of clips).
        save_every: steps between two savings.
        max_steps: stop after so many steps; the schedule stays that of --steps.
        precision: bf16-mixed is twice as fast where the processor has it.
    """
    from seg2vid.config import SegmenterTrainingConfig

    training = syntax.build(SegmenterTrainingConfig, options)
    run = RunOptions(data, data_weights, output, save_every, max_steps, precision)
    _train(training, "compact", run, None)


@dataclass(frozen=True)
class RunOptions:
    """What every stage is told."""

    data: list[str]
    data_weights: tuple[str, ...]
    output: Path
    save_every: int
    max_steps: int | None
    precision: Precision


def _train(training: Any, model: Any, run: RunOptions, judges: Path | None) -> None:
    """Start a stage, with its messages on the terminal."""
    for name, value in (("save-every", run.save_every), ("max-steps", run.max_steps)):
        if value is not None and value < 1:
            what, fix = f"--{name} of at least 1", "leave it out, or raise it"
            raise Seg2VidError(expected(what, got=value, fix=fix))
    try:
        from seg2vid import train, train_segmenter
    except ModuleNotFoundError as error:
        what, fix = "the extra `train` to be installed", "pip install 'seg2vid[train]'"
        raise Seg2VidError(expected(what, got=f"no {error.name}", fix=fix)) from None
    import logging

    from seg2vid.config import SegmenterTrainingConfig, preset
    from seg2vid.data.training_data import open_training_data

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = preset(model) if isinstance(model, str) else model
    weights = [syntax.convert(word, float, "--data-weights") for word in run.data_weights]
    sources, space = open_training_data(run.data, weights, config)
    keeping: dict[str, Any] = {
        "save_every": run.save_every,
        "max_steps": run.max_steps,
        "precision": run.precision,
    }
    if isinstance(training, SegmenterTrainingConfig):
        path = train_segmenter.start(training, sources, run.output, config, space, **keeping)
    else:
        path = train.start(
            training, sources, run.output, model=config, space=space, judges=judges, **keeping
        )
    print(f"wrote {path}")


def assemble(first_frame: Path, motion: Path, *, output: Path) -> None:
    """Join the weights of both stages into a model folder that `generate --model` takes.

    Args:
        first_frame: model.safetensors of the first-frame run.
        motion: model.safetensors of the motion run.
        output: the folder to write.
    """
    from seg2vid.assemble import assemble as join

    path = output / "model.safetensors"
    join([first_frame, motion], path)
    print(f"wrote {path}")


def evaluate(
    *,
    model: str = "toycity",
    clips: int = 64,
    seed: int = 900_000,
    judges: Path | None = None,
    output: Path | None = None,
) -> None:
    """Measure the motion of a model on toy-city clips it has not seen.

    Args:
        model: name or path of a model.
        clips: number of clips, rendered on the spot.
        seed: seed of the first clip; training uses low ones.
        judges: folder of LPIPS weights; without it LPIPS is left out.
        output: also write the figures as JSON.
    """
    from seg2vid import evaluate as evaluation
    from seg2vid.features import load_perceptual_distance

    if clips < 1:
        raise Seg2VidError(expected("at least 1 clip", got=clips, fix="raise --clips"))
    judge = None if judges is None else load_perceptual_distance(judges)
    report = evaluation.evaluate(model, clips=clips, seed=seed, judge=judge)
    print(f"{model}: {report['provenance']['clips']}")
    for name, value in report["figures"].items():
        print(f"  {name:<50} {value:9.4f}")
    if output is not None:
        evaluation.write_report(report, output)
        print(f"wrote {output}")
