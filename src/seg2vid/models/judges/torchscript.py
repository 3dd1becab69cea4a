"""TorchScript archives → their tensors, read as data: nothing of what a file holds is run.

``torch.jit.load`` runs the ``__setstate__`` of a file's modules, which may write files. Such an
archive is a zip: ``NAME/data.pkl`` is a pickle of the modules, ``NAME/data/0`` and so on are the
bytes of their tensors.
"""

import io
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TENSOR = ("torch._utils", "_rebuild_tensor_v2")
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
DAMAGES = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError),
)
"""What unpickling and building raise for a file that is damaged or made to harm."""


class _Object:
    """Stands for every object of the pickle: keeps what it would be made of, does nothing."""

    name = ("", "")

    def __init__(self, *parts: Any) -> None:
        self.parts, self.state = parts, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        known = (
            (module, name) in {TENSOR, ("collections", "OrderedDict")}
            or module.partition(".")[0] == "__torch__"
            or module == "torch.jit._pickle"
            or (module == "torch" and name in DTYPES)
        )
        if not known:
            raise pickle.UnpicklingError(f"{module}.{name}, which no weights need")
        return type("_Named", (_Object,), {"name": (module, name)})

    def persistent_load(self, pid: Any, /) -> Any:
        return pid


def is_torchscript(path: Path) -> bool:
    """Say whether a file is a zip that holds TorchScript code."""
    with suppress(zipfile.BadZipFile, UnicodeDecodeError), zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())
    return False


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a TorchScript archive by their names in its modules.

    These are parameters, buffers and other tensors; modules that keep their state in a form of
    their own are left out. Raises ``pickle.UnpicklingError`` or ``zipfile.BadZipFile`` for what is
    not a plain archive.
    """
    with zipfile.ZipFile(path) as archive:
        tables = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(tables) != 1:
            raise zipfile.BadZipFile(f"{len(tables)} times data.pkl")
        try:
            root = _Unpickler(io.BytesIO(_stored(archive, tables[0]))).load()
            folder = tables[0].removesuffix(".pkl")
            return {name: _build(archive, folder, node) for name, node in _tensors(root, "", ())}
        except DAMAGES as error:
            raise pickle.UnpicklingError(f"a damaged archive: {error}") from error


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
    # Torch compresses code only. What is not compressed is never larger than its file.
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"a compressed {name}, which torch does not write")
    return archive.read(name)


def _tensors(module: Any, prefix: str, outer: tuple[int, ...]) -> Iterator[tuple[str, _Object]]:
    if id(module) in outer:
        raise ValueError("a module that holds itself")
    state = getattr(module, "state", None)
    for key, value in state.items() if isinstance(state, dict) else ():
        if isinstance(value, _Object) and value.name == TENSOR:
            yield prefix + key, value
        elif isinstance(value, _Object):
            yield from _tensors(value, f"{prefix}{key}.", (*outer, id(module)))


def _build(archive: zipfile.ZipFile, folder: str, node: _Object) -> Tensor:
    """Return the tensor, of any shape, that a call of ``torch._utils._rebuild_tensor_v2`` means."""
    (_, kind, key, _, count), offset, size, stride, *_ = node.parts
    content = bytearray(_stored(archive, f"{folder}/{key}"))
    dtype = DTYPES[kind.name[1]]
    values = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
    if len(values) < count:
        raise ValueError(f"{len(values)} numbers of {count} in {folder}/{key}")
    return values.as_strided(size, stride, offset).clone()
