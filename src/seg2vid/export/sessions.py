"""What computes an exported box, whichever the runtime."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from seg2vid.export.boxes import Tensors
from seg2vid.tools.errors import ModelError

Session = Callable[[Tensors], Tensors]
"""One box, loaded: its inputs on the processor, floats as float32 → its outputs."""
Weights = Literal["float32", "float16", "int8"]
"""How weights are stored; float16 is computed with as float32, with int8 convolutions are in it."""


def check_shapes(box: str, inputs: Tensors, wanted: Iterable[Sequence[object]]) -> None:
    """Raise ``ModelError`` unless inputs fit the shapes of a graph, whatever the batch."""
    for one, shape in zip(inputs, wanted, strict=True):
        if tuple(one.shape[1:]) != tuple(shape[1:]):
            own, given = ("x".join(map(str, size[:-3:-1])) for size in (shape, one.shape))
            what = f"inputs of {own} for the exported {box}, which has one size"
            fix = "give maps and photos of the model's size, or leave the runtime out"
            raise ModelError(what, got=given, fix=fix)


@contextmanager
def reading(runtime: str, path: Path) -> Iterator[None]:
    """Turn whatever a runtime says against a file into a ``ModelError``."""
    try:
        yield
    except Exception as problem:  # runtimes raise classes of their own, of no common base
        what, got = f"a graph that {runtime} reads", f"{path}: {problem}"
        raise ModelError(what, got=got, fix="export again") from None
