"""The verbs about weight files: models, assemble, judges, judges convert."""

from collections.abc import Iterator

from seg2vid.cli.options import Assemble, Judges, JudgesConvert, Models
from seg2vid.models import checkpoint
from seg2vid.models.judges.files import convert_official, describe_judges, is_pinned
from seg2vid.models.weights import find_weights, list_models


def list_all(options: Models) -> Iterator[str]:
    """List the models that come with this installation."""
    available = list_models()
    if not available:
        yield "none comes with this installation; name one with `seg2vid generate --model PATH`"
    for model in available:
        yield f"{model.name:<20} {model.megabytes:6.1f} MB  {model.summary}"


def assemble(options: Assemble) -> Iterator[str]:
    """Join the weights of both stages into a model folder."""
    path = options.output / "model.safetensors"
    checkpoint.assemble(find_weights(options.first_frame), find_weights(options.motion), path)
    yield f"wrote {path}"


def list_judges(options: Judges) -> Iterator[str]:
    """List the judges with the state of their weights."""
    for judge in describe_judges(options.judges):
        state = "as pinned" if judge.is_pinned else "other bytes" if judge.is_found else "missing"
        yield f"{judge.name:<38} {state:<12} {judge.what}"
        yield f"{'':<52}{judge.licence}; official file: {judge.source}"


def convert_judge(options: JudgesConvert) -> Iterator[str]:
    """Turn an official file of a judge's weights into the file that is read here."""
    path = convert_official(options.file, options.output)
    yield f"wrote {path}, {'as' if is_pinned(path) else 'not as'} pinned"
