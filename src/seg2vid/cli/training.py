"""The verbs that train: train first-frame, motion, refiner, segmenter and replay."""

import logging
from collections.abc import Iterator
from dataclasses import replace

from seg2vid.cli.training_options import (
    TrainFirstFrame,
    TrainMotion,
    TrainRefiner,
    TrainReplay,
    TrainSegmenter,
)
from seg2vid.data.sources import open_training_data, open_validation_data
from seg2vid.models.checkpoint import load_checkpoint
from seg2vid.models.config import preset
from seg2vid.models.weights import find_weights, is_restricted, read_licence
from seg2vid.tools.errors import TrainingError
from seg2vid.tools.files import digest_of
from seg2vid.training.config import OBJECTIVES, RunConfig
from seg2vid.training.failures import replay
from seg2vid.training.fine_tune import freeze, inherit
from seg2vid.training.recipes import change, make_stage, read_recipe
from seg2vid.training.run import run


def train_stage(
    options: TrainFirstFrame | TrainMotion | TrainRefiner | TrainSegmenter,
) -> Iterator[str]:
    """Train the stage that ``options`` are for, with its messages on the terminal."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    training, model, judges = options.stage(), preset("geometry"), None
    frozen: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    without = False
    if not isinstance(options, TrainSegmenter):
        model, judges = preset(options.preset), options.judges
        frozen, only, without = options.freeze, options.only, options.without_features
    if isinstance(options, TrainMotion):
        training = OBJECTIVES[model.architecture]
    if options.recipe is not None:
        recipe = read_recipe(options.recipe, type(training))
        model, training = recipe.model, recipe.training
    model = change(model, options.model, "the command line")
    splits = options.validation is None
    sources, space = open_training_data(
        options.data, options.data_weights, model, holds_out=splits, allow_pipe=options.allow_pipe
    )
    places = options.validation or options.data
    validation = open_validation_data(places, model, is_named=not splits)
    training = replace(training, **options.training)
    if without:
        names = [name for name in ("perceptual", "features") if getattr(training, name, 0)]
        training = change(training, dict.fromkeys(names, 0.0), "the command line")
        logging.info("%8s  %s: weight 0", "without", ", ".join(names) or "nothing that is weighed")
    vgg19 = None if isinstance(options, TrainSegmenter) else options.vgg19
    if vgg19 is not None and not getattr(training, "features", 0):
        what, got = "a term of features to be weighed, for --vgg19", "training.features 0"
        raise TrainingError(what, got=got, fix="set --features 1, or leave --vgg19 out")
    stage = make_stage(training, model, space=space, judges=judges, vgg19=vgg19)
    start = None if options.start_from is None else find_weights(options.start_from)
    if start is None and isinstance(options, TrainRefiner):
        what, fix = "the model whose refiner is trained", "name it, as in --start-from toycity"
        raise TrainingError(what, got="no --start-from", fix=fix)
    if start is not None:
        taken = inherit(stage, load_checkpoint(start))
        logging.info("%8s  %s: %s", "from", options.start_from, taken.describe())
    if only:
        freeze(stage, only, others=True)
    freeze(stage, frozen)
    origin = {"name": options.start_from or "", "frozen": frozen, "only": only}
    if start is not None and is_restricted(licence := read_licence(start)):
        origin["licence"] = licence
    if vgg19 is not None:
        origin["vgg19"] = digest_of(vgg19)
    settings = RunConfig(**options.settings)
    path = run(stage, sources, options.output, settings, validation, origin=origin)
    if not settings.dry_run:
        yield f"wrote {path}"


def train_replay(options: TrainReplay) -> Iterator[str]:
    """Compute the step at which a run diverged again, and name the cause."""
    names = ("judges", "vgg19", "process", "device")
    found = replay(options.run, **{name: getattr(options, name) for name in names})
    yield f"step {found.step}: {found.cause or 'finite this time: it was the precision or chance'}"
    for title, values in (("term", found.terms), ("gradient of", found.gradient_norms)):
        for name, value in values.items():
            yield f"  {title} {name:<24} {value:12.5g}"
