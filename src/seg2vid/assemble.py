"""Joins the weights of both stages into one model."""

from pathlib import Path
from typing import Any

from torch import Tensor

from seg2vid.checkpoint import Checkpoint, load_checkpoint, storable, write_checkpoint
from seg2vid.config import to_dict
from seg2vid.errors import ModelError, expected

BOXES = {"first_frame": ("first_frame",), "motion": ("animator", "motion_encoder")}
"""What is taken from each of the two files."""
SHARED = ("label_space", "height", "width", "first_frame")
"""Fields of the configuration that both must have alike: motion may have other frames, say."""


def assemble(first_frame: Path, motion: Path, path: Path) -> Checkpoint:
    """Write the first-frame box of one weight file and the motion boxes of another to ``path``, and
    return them.

    Either may be the file of a run or of a whole model, whose other boxes are left. Raises
    ``ModelError`` where they were built from different configurations or lack their boxes.
    """
    files = {"first_frame": first_frame, "motion": motion}
    loaded = {role: load_checkpoint(file) for role, file in files.items()}
    config = loaded["motion"].config
    one, other = (to_dict(checkpoint.config) for checkpoint in loaded.values())
    if differing := [name for name in SHARED if one[name] != other[name]]:
        what, got = f"parts of one configuration ({first_frame})", f"another in {motion}"
        got += f": {', '.join(differing)}"
        raise ModelError(expected(what, got=got, fix="train both alike"))
    weights: dict[str, Tensor] = {}
    provenance: dict[str, Any] = {}
    for role, checkpoint in loaded.items():
        boxes = BOXES[role]
        found = {name: t for name, t in checkpoint.weights.items() if name.split(".")[0] in boxes}
        if missing := set(boxes) - {name.split(".")[0] for name in found}:
            what, got = f"weights with {' and '.join(boxes)} in {files[role]}", "none"
            fix = f"name the weights of a {role.replace('_', '-')} run, or of a whole model"
            raise ModelError(expected(what, got=f"{got} of {', '.join(sorted(missing))}", fix=fix))
        weights |= {name: storable(tensor, True) for name, tensor in found.items()}
        own = checkpoint.provenance
        provenance[" and ".join(boxes)] = own.get(" and ".join(boxes), own)
    whole = Checkpoint(config, weights, provenance)
    write_checkpoint(path, whole)
    return whole
