"""The verbs about weight files: models, assemble, convert, judges, judges convert."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from seg2vid.cli.options import Assemble, Convert, Judges, JudgesConvert, Models
from seg2vid.data.sources import open_training_data
from seg2vid.models import checkpoint
from seg2vid.models.authors import convert_authors
from seg2vid.models.judges.files import JUDGES, convert_official, is_pinned, judge_folder
from seg2vid.models.weights import (
    SEGMENTER,
    WEIGHTS_FILE,
    find_weights,
    list_models,
    summarise,
)
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.errors import MediaError
from seg2vid.training.looks import learn_looks


def list_all(options: Models) -> Iterator[str]:
    """List the models that come with this installation."""
    available = list_models()
    if not available:
        yield "none comes with this installation; name one with `seg2vid generate --model PATH`"
    for model in (*available, summarise(SEGMENTER)):
        yield f"{model.name:<20} {model.megabytes:6.1f} MB  {model.summary}"
        yield f"{'':<32}{model.licence}"


def assemble(options: Assemble) -> Iterator[str]:
    """Join the weights of both stages into a model folder."""
    stages = find_weights(options.first_frame), find_weights(options.motion)
    path = options.output / WEIGHTS_FILE
    if options.looks is None:
        checkpoint.assemble(*stages, path)
    else:
        with TemporaryDirectory() as place:
            checkpoint.assemble(*stages, Path(place) / WEIGHTS_FILE)
            pipe = Seg2VidPipeline.from_pretrained(place)
        [(source, _)], space = open_training_data([options.looks], [], pipe.config)
        if space.names != pipe.label_space.names:
            what, got = f"a dataset of {pipe.label_space.name}", f"{space.name} at {options.looks}"
            raise MediaError(what, got=got, fix="name one of the model's label space")
        seen = learn_looks(pipe, source)
        for _ in tqdm(seen, "looks", len(source), unit="picture", disable=None):
            pass
        taken = f"{len(source)} pictures of {Path(options.looks).name}"
        pipe.provenance["first_frame"] |= {"looks": taken}
        pipe.save_pretrained(options.output)
    yield f"wrote {path}"


def convert(options: Convert) -> Iterator[str]:
    """Turn a checkpoint of the paper's authors into weights of the paper's networks."""
    path = options.output / "model.safetensors"
    config = convert_authors(options.file, path)
    yield f"wrote {path}: semantics {config.semantics}, 1 + {config.num_frames} frames"
    if config.semantics == "none":
        yield "their model without labels repeats pixels to enlarge, ours does not: pictures differ"


def list_judges(options: Judges) -> Iterator[str]:
    """List the judges with the state of their weights."""
    for name, judge in JUDGES.items():
        path = judge_folder(options.judges) / name
        state = "as pinned" if is_pinned(path) else "other bytes" if path.is_file() else "missing"
        yield f"{name:<38} {state:<12} {judge.what}"
        yield f"{'':<52}{judge.licence}; official file: {judge.source}"


def convert_judge(options: JudgesConvert) -> Iterator[str]:
    """Turn an official file of a judge's weights into the file that is read here."""
    path = convert_official(options.file, options.output)
    yield f"wrote {path}, {'as' if is_pinned(path) else 'not as'} pinned"
