"""Weights and configuration in one safetensors file; strict loading that names what is missing."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from seg2vid.models.config import ModelConfig, from_dict, to_dict
from seg2vid.models.weights import is_restricted, read_licence
from seg2vid.tools.errors import ModelError
from seg2vid.tools.files import replacing
from seg2vid.tools.plain import build

FORMAT = "seg2vid-1"
LARGEST = 4096
"""The largest number that the configuration of a network may hold."""


@dataclass(frozen=True)
class Checkpoint:
    """What one weight file holds: tensors, and how to build their networks."""

    config: ModelConfig
    weights: dict[str, Tensor]
    """Tensors by ``box.parameter`` name, for example ``first_frame.enter.weight``."""
    provenance: dict[str, Any]
    """How the weights came about: command, steps, data."""


def save_checkpoint(
    path: Path,
    modules: dict[str, nn.Module],
    config: ModelConfig,
    provenance: dict[str, Any],
    *,
    half: bool = True,
    others: dict[str, Tensor] | None = None,
) -> None:
    """Write the boxes in ``modules`` to one file, floats in half precision unless told otherwise.

    ``others`` are tensors of boxes that have not been built, by full name and of any shape. The
    file is whole or absent: it is written beside its place and renamed.
    """
    weights = dict(others or {})
    for box, module in modules.items():
        weights |= {f"{box}.{name}": tensor for name, tensor in module.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "config": json.dumps(to_dict(config)),
        "provenance": json.dumps(provenance),
    }
    stored = {name: _storable(tensor, half) for name, tensor in weights.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file(stored, temporary, metadata)


def _storable(tensor: Tensor, half: bool) -> Tensor:
    """Return a contiguous copy on the CPU (any shape), floats halved if asked.

    Those with numbers past what half precision can hold stay as they are.
    """
    tensor = tensor.detach()
    if half and tensor.is_floating_point() and _is_finite(halved := tensor.half()):
        tensor = halved
    return tensor.cpu().contiguous().clone()


def _is_finite(tensor: Tensor) -> bool:
    # One pass without a copy. In double precision no sum of smaller floats overflows.
    return not tensor.is_floating_point() or bool(tensor.sum(dtype=torch.float64).isfinite())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a file that ``save_checkpoint`` wrote, floats back to single precision.

    Raises ``ModelError`` where the file is missing, damaged or of another kind, or holds weights
    that are not finite, or negative variances: those make pictures of nothing.
    """
    if not path.is_file():
        raise ModelError(f"a weight file at {path}", got="no such file", fix="check the path")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        what, got = f"a safetensors file at {path}", str(error)
        raise ModelError(what, got=got, fix="fetch it again") from error
    if (found := metadata.get("format")) != FORMAT:
        what, fix = f"a file of format {FORMAT} at {path}", "use a file that seg2vid itself saved"
        raise ModelError(what, got=f"format {found!r}", fix=fix)
    for name, tensor in weights.items():
        if not _is_finite(tensor):
            what, fix = f"finite weights in {path}", "fetch it again, or take weights saved earlier"
            raise ModelError(what, got=f"nan or inf in {name}", fix=fix)
        if name.endswith(".running_var") and (tensor < 0).any():
            what, fix = f"variances from 0 in {path}", "fetch it again"
            raise ModelError(what, got=f"a negative one in {name}", fix=fix)
        if tensor.dtype == torch.float16:
            weights[name] = tensor.float()
    try:
        values = dict(json.loads(metadata["config"]))
        provenance = dict(json.loads(metadata.get("provenance", "{}")))
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        what = f"a file with a readable configuration at {path}"
        raise ModelError(what, got=repr(error), fix="fetch it again") from error
    if not any(name.split(".")[0] in BOXES["motion"] for name in weights):
        # How motion is decoded does not matter, whatever it was called.
        values.pop("architecture", None)
    fix = "fetch it again, or train anew what another version wrote"
    build(ModelConfig, values, str(path), is_open=True, error=ModelError, fix=fix)
    config = from_dict(ModelConfig, values)
    check_sizes(config, str(path))
    return Checkpoint(config, weights, provenance)


def check_sizes(config: ModelConfig, where: str) -> None:
    """Raise ``ModelError`` for networks that nobody can mean: they would take all memory."""
    for side in (config.height, config.width):
        if side % 32 or not 32 <= side <= LARGEST:
            what = f"height and width of multiples of 32 up to {LARGEST} in {where}"
            got = f"{config.width}x{config.height}"
            raise ModelError(what, got=got, fix="take such a size")
    left: list[object] = [{**to_dict(config), "label_space": None}]
    while left:
        value = left.pop()
        left += value.values() if isinstance(value, dict) else ()
        left += value if isinstance(value, tuple) else ()
        size = len(value) if isinstance(value, tuple) else value
        if isinstance(size, int) and not 0 <= size <= LARGEST:
            what, fix = f"sizes from 0 to {LARGEST} in {where}", "take a smaller network"
            raise ModelError(what, got=size, fix=fix)


def load_box(module: nn.Module, checkpoint: Checkpoint, box: str) -> None:
    """Load one box strictly; raise ``ModelError`` naming missing and unexpected tensors."""
    prefix = f"{box}."
    every = checkpoint.weights.items()
    weights = {name.removeprefix(prefix): t for name, t in every if name.startswith(prefix)}
    if not weights and (found := {name.split(".")[0] for name in checkpoint.weights} & _ROLES):
        fix = "join both stages: seg2vid assemble FIRST_FRAME_WEIGHTS MOTION_WEIGHTS -o MODEL"
        raise ModelError(f"weights of {box}", got=f"those of {', '.join(sorted(found))}", fix=fix)
    wanted = module.state_dict()
    missing, foreign = sorted(wanted.keys() - weights), sorted(weights.keys() - wanted)
    wrong = sorted(n for n in wanted.keys() & weights if wanted[n].shape != weights[n].shape)
    if missing or foreign or wrong:
        got = f"missing {missing[:3]}, unexpected {foreign[:3]}, of another shape {wrong[:3]}"
        fix = "the file belongs to another version or configuration: train or fetch it anew"
        raise ModelError(f"exactly the {len(wanted)} tensors of {box}", got=got, fix=fix)
    module.load_state_dict(weights)


BOXES = {"first_frame": ("first_frame",), "motion": ("animator", "motion_encoder")}
"""What is taken from each of the two files."""
ALONG = {"first_frame": ("appearance_encoder",), "motion": ()}
"""What is taken too where a file has it: older ones do not."""
_ROLES = {box for boxes in BOXES.values() for box in boxes}
SHARED = ("label_space", "height", "width")
"""Fields of the configuration that both must have alike; each box brings those of its own."""


def assemble(first_frame: Path, motion: Path, path: Path) -> None:
    """Write to ``path`` the first-frame box of one weight file and the motion boxes of another.

    Either may be the file of a run or of a whole model, whose other boxes are left. Raises
    ``ModelError`` where they were built from different configurations or lack their boxes.
    """
    files = {"first_frame": first_frame, "motion": motion}
    loaded = {role: load_checkpoint(file) for role, file in files.items()}
    one, other = (to_dict(checkpoint.config) for checkpoint in loaded.values())
    if differing := [name for name in SHARED if one[name] != other[name]]:
        what, got = f"parts of one configuration ({first_frame})", f"another in {motion}"
        raise ModelError(what, got=f"{got}: {', '.join(differing)}", fix="train both alike")
    weights: dict[str, Tensor] = {}
    provenance: dict[str, Any] = {}
    for role, checkpoint in loaded.items():
        boxes = BOXES[role]
        taken, every = (*boxes, *ALONG[role]), checkpoint.weights.items()
        found = {name: t for name, t in every if name.split(".")[0] in taken}
        if missing := set(boxes) - {name.split(".")[0] for name in found}:
            what, got = f"weights with {' and '.join(boxes)} in {files[role]}", "none"
            fix = f"name the weights of a {role.replace('_', '-')} run, or of a whole model"
            raise ModelError(what, got=f"{got} of {', '.join(sorted(missing))}", fix=fix)
        weights |= found
        own = checkpoint.provenance
        own = own.get(" and ".join(boxes), own)
        if is_restricted(licence := read_licence(files[role])):
            own = {**own, "licence": licence}
        provenance[" and ".join(boxes)] = own
    config = replace(loaded["motion"].config, first_frame=loaded["first_frame"].config.first_frame)
    save_checkpoint(path, {}, config, provenance, others=weights)
