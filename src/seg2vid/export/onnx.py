"""Boxes as ONNX graphs, and ONNX Runtime, which computes them."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from seg2vid.export.boxes import Box, Tensors
from seg2vid.export.sessions import check_shapes, reading
from seg2vid.tools.environment import import_extra

OPSET = 20
"""The version of ONNX's operators that graphs are written in."""
SUFFIX = ".onnx"
SMALL = 256
"""Numbers in a weight, below which half precision saves nothing."""


def save(program: ExportedProgram, box: Box, path: Path, *, is_half: bool = False) -> None:
    """Write the graph of a box; with ``is_half`` its weights as float16, computed as float32."""
    onnx = import_extra("onnx", "export")
    import_extra("onnxscript", "export")
    with _quiet():
        made = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=box.inputs,
            output_names=box.outputs,
            verbose=False,
        )
    assert made is not None  # noqa: S101
    model = made.model_proto
    # What was traced where is of no use to a reader, and names folders of this machine.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    if is_half:
        _halve(onnx, model)
    onnx.save(model, path)


def _halve(onnx: Any, model: Any) -> None:
    """Store large weights as float16, each followed by a cast to what it was."""
    casts = []
    for weight in model.graph.initializer:
        numbers = onnx.numpy_helper.to_array(weight)
        if numbers.dtype != np.float32 or numbers.size < SMALL:
            continue
        name = weight.name
        stored = onnx.numpy_helper.from_array(numbers.astype(np.float16), f"{name}.half")
        weight.CopyFrom(stored)
        kind = onnx.TensorProto.FLOAT
        casts.append(onnx.helper.make_node("Cast", [stored.name], [name], f"{name}.cast", to=kind))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what PyTorch tells its own developers from a user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class Session:
    """One box in ONNX Runtime, on the processor."""

    def __init__(self, path: Path) -> None:
        runtime = import_extra("onnxruntime", "export")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self.name = path.stem
        providers = ["CPUExecutionProvider"]
        with reading("ONNX Runtime", path):
            self.session = runtime.InferenceSession(path, options, providers=providers)
        self.inputs = {one.name: one.shape for one in self.session.get_inputs()}

    def __call__(self, inputs: Tensors) -> Tensors:
        """Compute the box; raise ``ModelError`` for inputs of another size than it is made for."""
        check_shapes(self.name, inputs, self.inputs.values())
        arrays = zip(self.inputs, (one.cpu().numpy() for one in inputs), strict=True)
        outputs = self.session.run(None, dict(arrays))
        return tuple(torch.from_numpy(one) for one in outputs)
