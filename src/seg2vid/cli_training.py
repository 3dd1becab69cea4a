"""The verbs of the command line for those who train and measure models; the others are in
``cli.py``.
"""

from pathlib import Path
from typing import Any, Literal

from seg2vid import arguments as syntax
from seg2vid.errors import Seg2VidError, expected

Precision = Literal["32-true", "bf16-mixed"]


def train_first_frame(
    *options: str,
    clips: Path,
    output: Path,
    judges: Path | None = None,
    preset: str = "compact",
    save_every: int = 250,
    precision: Precision = "32-true",
) -> None:
    """Train the generator of the first frame on a folder of clips; the same command resumes.

    Args:
        options: every field of FirstFrameTrainingConfig: --steps, --batch-size, --seed ...
        clips: folder of clips, as `seg2vid toycity` writes it.
        output: folder of the run: weights, state, log and contact sheets.
        judges: folder of LPIPS weights, for the perceptual term.
        preset: networks to train.
        save_every: steps between two savings.
        precision: bf16-mixed is twice as fast where the processor has it.
    """
    from seg2vid.config import FirstFrameTrainingConfig

    training = syntax.build(FirstFrameTrainingConfig, options)
    _train(training, clips, output, judges, preset, save_every, precision)


def train_motion(
    *options: str,
    clips: Path,
    output: Path,
    judges: Path | None = None,
    preset: str = "compact",
    recipe: Path | None = None,
    save_every: int = 250,
    precision: Precision = "32-true",
) -> None:
    """Train motion: encoder, flow decoder and refiner on a folder of clips; the same command
    resumes.

    Args:
        options: every field of MotionTrainingConfig: --steps, --batch-size, --seed ...
        clips: folder of clips, as `seg2vid toycity` writes it.
        output: folder of the run: weights, state, log and contact sheets.
        judges: folder of LPIPS and VGG weights, for the terms that need them.
        preset: networks to train: compact, paper, paper-kth or paper-ucf101.
        recipe: file that names networks and objective (see recipes/); the preset is then its own.
        save_every: steps between two savings.
        precision: bf16-mixed is twice as fast where the processor has it.
    """
    from seg2vid.config import MotionTrainingConfig
    from seg2vid.recipes import read_recipe

    read = None if recipe is None else read_recipe(recipe)
    base = MotionTrainingConfig() if read is None else read.training
    training = syntax.build(MotionTrainingConfig, options, base)
    model = preset if read is None else read.model
    _train(training, clips, output, judges, model, save_every, precision)


def _train(
    training: Any,
    clips: Path,
    output: Path,
    judges: Path | None,
    model: Any,
    save_every: int,
    precision: Precision,
) -> None:
    """Start a stage, with its messages on the terminal."""
    try:
        from seg2vid import train
    except ModuleNotFoundError as error:
        what, fix = "the extra `train` to be installed", "pip install 'seg2vid[train]'"
        raise Seg2VidError(expected(what, got=f"no {error.name}", fix=fix)) from None
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = train.start(
        training,
        clips,
        output,
        model=model,
        judges=judges,
        save_every=save_every,
        precision=precision,
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
