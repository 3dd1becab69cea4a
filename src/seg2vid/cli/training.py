"""The verbs that train: train first-frame, motion, segmenter and replay."""

import logging
from collections.abc import Iterator
from dataclasses import replace

from seg2vid.cli.options import TrainFirstFrame, TrainMotion, TrainReplay, TrainSegmenter
from seg2vid.data.sources import open_training_data, open_validation_data
from seg2vid.models.checkpoint import load_checkpoint
from seg2vid.models.config import preset
from seg2vid.models.weights import find_weights
from seg2vid.training import run as train
from seg2vid.training.config import RunConfig
from seg2vid.training.failures import replay
from seg2vid.training.recipes import change, read_recipe


def train_stage(options: TrainFirstFrame | TrainMotion | TrainSegmenter) -> Iterator[str]:
    """Train the stage that ``options`` are for, with its messages on the terminal."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    training = options.stage()
    of_model = None if isinstance(options, TrainSegmenter) else options
    model = preset("compact" if of_model is None else of_model.preset)
    if options.recipe is not None:
        recipe = read_recipe(options.recipe, type(training))
        model, training = recipe.model, recipe.training
    model = change(model, options.model, "the command line")
    settings = RunConfig(**options.settings)
    beginning = train.Beginning(name=options.start_from or "")
    if of_model is not None:
        beginning = replace(beginning, frozen=of_model.freeze, only=of_model.only)
    if options.start_from is not None:
        checkpoint = load_checkpoint(find_weights(options.start_from))
        beginning = replace(beginning, checkpoint=checkpoint)
    splits = options.validation is None
    sources, space = open_training_data(options.data, options.data_weights, model, holds_out=splits)
    path = train.start(
        replace(training, **options.training),
        sources,
        options.output,
        model=model,
        space=space,
        judges=None if of_model is None else of_model.judges,
        settings=settings,
        validation=open_validation_data(
            options.validation or options.data, model, is_named=not splits
        ),
        beginning=beginning,
    )
    if not settings.dry_run:
        yield f"wrote {path}"


def train_replay(options: TrainReplay) -> Iterator[str]:
    """Compute the step at which a run diverged again, and name the cause."""
    found = replay(options.run, judges=options.judges, process=options.process)
    yield f"step {found.step}: {found.cause or 'finite this time: it was the precision or chance'}"
    for title, values in (("term", found.terms), ("gradient of", found.gradient_norms)):
        for name, value in values.items():
            yield f"  {title} {name:<24} {value:12.5g}"
