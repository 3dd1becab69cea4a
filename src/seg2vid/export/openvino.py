"""Boxes as OpenVINO's own files, and OpenVINO, which computes them."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.export import ExportedProgram

from seg2vid.export import onnx
from seg2vid.export.boxes import Box, Call, Tensors
from seg2vid.export.sessions import Weights, check_shapes, reading
from seg2vid.tools.devices import fast_arithmetic
from seg2vid.tools.environment import import_extra

SUFFIX = ".xml"
PACKAGES = (*onnx.PACKAGES, "openvino")


@cache
def _core() -> Any:
    """Return the one core of this process.

    Each has a stack of its own for signals, and when one of several goes, the thread is left with
    a stack that is gone: the next signal, as Ctrl-C, would kill the process.
    """
    return import_extra("openvino", "export").Core()


def save(
    program: ExportedProgram,
    box: Box,
    path: Path,
    *,
    weights: Weights = "float32",
    calls: Sequence[Call] = (),
) -> None:
    """Write the graph of a box, its weights beside it; int8 as ``onnx.save``."""
    core, openvino = _core(), import_extra("openvino", "export")
    own: Weights = "int8" if weights == "int8" else "float32"
    with TemporaryDirectory() as folder:
        graph = Path(folder) / f"{path.stem}.onnx"
        onnx.save(program, box, graph, weights=own, calls=calls)
        # Not by OpenVINO's converter, which tells its makers of each use.
        model = core.read_model(graph)
        openvino.save_model(model, path, compress_to_fp16=weights == "float16")


class Session:
    """One box in OpenVINO, on the processor: in bfloat16 where that is fast."""

    def __init__(self, path: Path) -> None:
        core = _core()
        is_fast = not isinstance(fast_arithmetic(torch.device("cpu")), nullcontext)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if is_fast else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            # Processes beside this one would be held to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        self.name = path.stem
        with reading("OpenVINO", path):
            self.model = core.compile_model(core.read_model(path), "CPU", settings)
        self.shapes = [
            [None if size.is_dynamic else size.get_length() for size in port.partial_shape]
            for port in self.model.inputs
        ]

    def __call__(self, inputs: Tensors) -> Tensors:
        """Compute the box; raise ``ModelError`` for inputs of another size than it is made for."""
        check_shapes(self.name, inputs, self.shapes)
        found = self.model([one.cpu().numpy() for one in inputs])
        return tuple(torch.from_numpy(found[port].copy()) for port in self.model.outputs)
