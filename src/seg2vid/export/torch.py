"""Boxes as PyTorch's exported programs, which need none of our code."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.export import ExportedProgram

from seg2vid.export.boxes import Box, Call, Tensors
from seg2vid.export.sessions import Weights
from seg2vid.tools.errors import ModelError

SUFFIX = ".pt2"
PACKAGES = ()


def save(
    program: ExportedProgram,
    box: Box,
    path: Path,
    *,
    weights: Weights = "float32",
    calls: Sequence[Call] = (),
) -> None:
    """Write the program of a box; raise ``ModelError`` for weights that are not float32."""
    if weights != "float32":
        what, fix = "weights as float32 in PyTorch's programs", "leave --weights out"
        raise ModelError(what, got=weights, fix=fix)
    torch.export.save(program, path)


class Session:
    """One box, computed by PyTorch on the processor, in float32 as it was traced."""

    def __init__(self, path: Path) -> None:
        self.module = torch.export.load(path).module()

    def __call__(self, inputs: Tensors) -> Tensors:
        """Compute the box."""
        # Within autocast a program finds other precisions than it was traced with, and fails.
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            outputs = self.module(*(one.cpu() for one in inputs))
        return outputs if isinstance(outputs, tuple) else (outputs,)
