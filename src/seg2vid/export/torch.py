"""Boxes as PyTorch's exported programs, which need none of our code."""

from pathlib import Path

import torch
from torch.export import ExportedProgram

from seg2vid.export.boxes import Box, Tensors

SUFFIX = ".pt2"


def save(program: ExportedProgram, box: Box, path: Path, *, is_half: bool = False) -> None:
    """Write the program of a box."""
    torch.export.save(program, path)


class Session:
    """One box, computed by PyTorch."""

    def __init__(self, path: Path) -> None:
        self.module = torch.export.load(path).module()

    def __call__(self, inputs: Tensors) -> Tensors:
        """Compute the box."""
        with torch.no_grad():
            outputs = self.module(*inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)
