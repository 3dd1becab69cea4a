"""Joins the weights of both stages into one model."""

from pathlib import Path
from typing import Any

from torch import Tensor

from seg2vid.checkpoint import Checkpoint, load_checkpoint, storable, write_checkpoint
from seg2vid.errors import ModelError, expected


def assemble(parts: list[Path], path: Path) -> Checkpoint:
    """Join the weight files of separately trained stages into one and return it.

    Raises ``ModelError`` where they were built from different configurations or hold the same box.
    """
    loaded = [load_checkpoint(part) for part in parts]
    config = loaded[0].config
    weights: dict[str, Tensor] = {}
    provenance: dict[str, Any] = {}
    for part, checkpoint in zip(parts, loaded, strict=True):
        if checkpoint.config != config:
            what = f"parts of one configuration ({parts[0]})"
            raise ModelError(expected(what, got=f"another in {part}", fix="train both alike"))
        if set(weights) & set(checkpoint.weights):
            what, got = "each box once", f"a box of {part} twice"
            raise ModelError(expected(what, got=got, fix="name one file for each stage"))
        boxes = " and ".join(sorted({name.split(".")[0] for name in checkpoint.weights}))
        weights |= {name: storable(tensor, True) for name, tensor in checkpoint.weights.items()}
        provenance[boxes] = checkpoint.provenance
    whole = Checkpoint(config, weights, provenance)
    write_checkpoint(path, whole)
    return whole
