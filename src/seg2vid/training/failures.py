"""What can stop a run, told in one line; a diverged step is kept, and can be computed once more."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from seg2vid.labels.space import LabelSpace
from seg2vid.structures import Camera, Clip, Motion
from seg2vid.tools.computing import DeviceName
from seg2vid.tools.devices import choose_device
from seg2vid.tools.errors import DivergenceError, TrainingError
from seg2vid.tools.files import check_regular
from seg2vid.tools.plain import read_plain
from seg2vid.training.config import STAGE_NAMES
from seg2vid.training.folder import save_tensors, write_text
from seg2vid.training.recipes import make_stage, read_recipe
from seg2vid.training.stage import Stage

NESTED: dict[str, Any] = {"motion": Motion, "camera": Camera}
"""What a clip holds besides tensors."""


@contextmanager
def told_in_one_line(stage: Stage, output: Path) -> Iterator[None]:
    """Turn what can stop a run into an error that says what happened and what to do."""
    try:
        yield
    except DivergenceError as error:
        kept = keep_evidence(output, stage, error)
        fix = f"see `seg2vid train replay {output}` (batch and state are in {kept.name}/), then "
        fix += "lower --learning-rate or raise --warm-up"
        raise DivergenceError(
            error.what, got=error.got, fix=fix, terms=error.terms, norm=error.norm
        ) from None
    except (MemoryError, torch.OutOfMemoryError) as error:
        fix = "lower --batch-size and raise --accumulate, or set --recompute true"
        raise TrainingError("memory for a batch", got=str(error)[:200], fix=fix) from None


def keep_evidence(output: Path, stage: Stage, error: DivergenceError) -> Path:
    """Write the batch, the state before the step and what was wrong into ``diverged/``: return it.

    ``stage`` is as it was when ``error`` was raised; each process writes its batch.
    """
    folder = output / "diverged"
    folder.mkdir(exist_ok=True)
    rank = stage.global_rank
    batch: dict[str, Any] = {} if stage.batch is None else dict(vars(stage.batch))
    for name in NESTED:
        if (carrier := batch.get(name)) is not None:
            batch |= {f"{name}.{key}": value for key, value in vars(carrier).items()}
    tensors = {name: one for name, one in batch.items() if isinstance(one, torch.Tensor)}
    save_tensors(tensors, folder / f"batch_{rank}.safetensors")
    if rank == 0:
        save_tensors(stage.state_dict(), folder / "state.safetensors")
    about = {"step": int(stage.step), "terms": error.terms}
    about |= {"gradient_norm": error.norm, "process": rank}
    write_text(folder / f"what_{rank}.json", json.dumps(about, indent=1) + "\n")
    return folder


def read_batch(path: Path) -> Clip:
    """Read a batch that a stopped run kept."""
    found: dict[str, Any] = load_file(path)
    for name, kind in NESTED.items():
        own = [key for key in found if key.startswith(f"{name}.")]
        parts = {key.partition(".")[2]: found.pop(key) for key in own}
        found[name] = kind(**parts) if parts else None
    return Clip(**found)


@dataclass(frozen=True)
class Replay:
    """What a step came to when it was computed again."""

    step: int
    terms: dict[str, float]
    gradient_norms: dict[str, float]
    """Of each part, before clipping."""
    cause: str
    """The operation that gave the first number that is none, empty where all were finite."""


def replay(
    run: Path,
    *,
    judges: Path | None = None,
    vgg19: Path | None = None,
    process: int = 0,
    device: DeviceName = "cpu",
) -> Replay:
    """Compute the step at which ``run`` diverged again, in single precision, and find the cause.

    ``judges`` is the folder of LPIPS and VGG weights that the run was given, ``vgg19`` its file of
    VGG-19; ``process`` the number of the process whose batch is taken. Raises ``TrainingError`` for
    a folder that kept nothing, ``Seg2VidError`` for a ``device`` that is not there.
    """
    kept = run / "diverged"
    path, state = kept / f"batch_{process}.safetensors", kept / "state.safetensors"
    if not path.is_file():
        fix = "replay a run that stopped because it diverged"
        raise TrainingError(f"a kept batch in {kept}", got="none", fix=fix)
    what, fix = f"the configuration of a run in {run}", "fetch the folder again"
    about = read_plain(run / "config.yaml", what, error=TrainingError, fix=fix)
    name = about.get("stage") if isinstance(about, dict) else None
    kind = next((kind for kind, its_name in STAGE_NAMES.items() if its_name == name), None)
    if kind is None:
        raise TrainingError(what, got=f"stage {name!r}", fix=fix)
    recipe = read_recipe(run / "config.yaml", kind)
    space = LabelSpace.from_dict(recipe.model.label_space)
    training: Any = replace(recipe.training, accumulate=1)
    stage = make_stage(training, recipe.model, space=space, judges=judges, vgg19=vgg19).train()
    what = f"the state and batch of this run in {kept}"
    check_regular(state, what, TrainingError)
    try:
        stage.load_state_dict(load_file(state))
        clip = read_batch(path)
    except (SafetensorError, OSError, RuntimeError, TypeError) as error:
        raise TrainingError(what, got=error, fix=fix) from None
    maps = [one for one in (clip.label_map, clip.label_maps) if one is not None]
    ids = range(space.num_channels)
    if strays := [i for one in maps for i in one.unique().tolist() if i not in ids]:
        raise TrainingError(what, got=f"class {strays[0]} in it", fix=fix)
    place = choose_device(device)
    stage, clip = stage.to(place), clip.to(place)
    stage.measures_gradients = True
    step, cause = int(stage.step), ""
    terms: dict[str, Any] = {}
    try:
        with torch.autograd.set_detect_anomaly(True):
            terms = stage.take_turns(clip, stage.make_optimizers(), torch.Tensor.backward)
    except DivergenceError as error:
        terms, cause = error.terms, str(error)
    except RuntimeError as error:
        # Anomaly detection names the operation.
        cause = str(error).splitlines()[0]
    if not terms:
        with torch.no_grad():
            terms = stage(clip)
    values = {name: float(term) for name, term in terms.items()}
    return Replay(step, values, dict(stage.gradient_norms), cause)
