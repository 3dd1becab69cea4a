"""Boxes as ONNX graphs, and ONNX Runtime, which computes them."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from seg2vid.export.boxes import Box, Call, Tensors
from seg2vid.export.sessions import Weights, check_shapes, reading
from seg2vid.tools.environment import import_extra

OPSET = 20
"""The version of ONNX's operators that graphs are written in."""
SUFFIX = ".onnx"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What has to be installed to write graphs; the last one computes them."""
SMALL = 256
"""Numbers in a weight, below which half precision saves nothing."""


def save(
    program: ExportedProgram,
    box: Box,
    path: Path,
    *,
    weights: Weights = "float32",
    calls: Sequence[Call] = (),
) -> None:
    """Write the graph of a box; ranges of numbers for int8 are those of its ``calls``."""
    onnx = import_extra("onnx", "export")
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
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = "batch"
    _widen(onnx, model)
    if weights == "float16":
        _halve(onnx, model)
    onnx.save(model, path)
    if weights == "int8" and any(node.op_type == "Conv" for node in model.graph.node):
        _quantise(path, box, calls)


def _widen(onnx: Any, model: Any) -> None:
    """Give convolutions a multiple of four input channels, the last of them zeros.

    Of others ONNX Runtime's WebGPU computes nonsense (microsoft/onnxruntime, issue 29651).
    """
    tools, weights = onnx.numpy_helper, {one.name: one for one in model.graph.initializer}
    widened: dict[str, int] = {}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Conv" and (weight := weights.get(node.input[1])) is not None:
            groups = [one.i for one in node.attribute if one.name == "group"]
            channels = weight.dims[1]
            if groups in ([], [1]) and channels > 4 and channels % 4:
                widened[weight.name] = more = -channels % 4
                wide = np.pad(tools.to_array(weight), ((0, 0), (0, more), (0, 0), (0, 0)))
                weight.CopyFrom(tools.from_array(wide, weight.name))
            if (more := widened.get(weight.name, 0)) > 0:
                pads = np.array([0, 0, 0, 0, 0, more, 0, 0])
                given = [node.input[0], f"{node.name}.pads"]
                model.graph.initializer.append(tools.from_array(pads, given[1]))
                nodes.append(onnx.helper.make_node("Pad", given, [f"{node.name}.wide"]))
                node.input[0] = f"{node.name}.wide"
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


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


class _Reader:
    """Gives the inputs of calls one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, box: Box, calls: Sequence[Call]) -> None:
        self.left = [
            {name: one.numpy() for name, one in zip(box.inputs, inputs, strict=True)}
            for inputs, _ in calls
        ]

    def get_next(self) -> dict[str, Any] | None:
        return self.left.pop() if self.left else None


def _quantise(path: Path, box: Box, calls: Sequence[Call]) -> None:
    """Compute the convolutions of a graph in int8, each channel of weights with its own scale."""
    tools = import_extra("onnxruntime.quantization", "export")
    with _quiet():
        tools.quantize_static(
            path,
            path,
            _Reader(box, calls),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the makers of graphs tell their own developers from a user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


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
