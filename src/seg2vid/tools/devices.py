"""Where networks compute, and in which arithmetic: all that hardware decides is decided here."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any, get_args

import torch

from seg2vid.tools.computing import PrecisionName
from seg2vid.tools.environment import describe_machine
from seg2vid.tools.errors import Seg2VidError

_WITHIN: ContextVar[PrecisionName] = ContextVar("precision", default="auto")


def choose_device(name: str | torch.device) -> torch.device:
    """Return the device of a name, for ``auto`` a GPU where there is one, else the processor.

    Raises ``Seg2VidError`` for one that is not there.
    """
    gpus = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    there = [gpu for gpu, is_there in gpus.items() if is_there] + ["cpu"]
    if name == "auto":
        return torch.device(there[0])
    what, fix = f"a device that is there: {', '.join(there)}", f"use --device {there[0]}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise Seg2VidError(what, got=name, fix=fix) from None
    is_beyond = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if not gpus.get(device.type, True) or is_beyond:
        raise Seg2VidError(what, got=name, fix=fix)
    return device


def has_fast_bfloat16(device: torch.device) -> bool:
    """Say whether bfloat16 is faster than float32 there.

    It is on GPUs, on processors with AMX, and on AMD's with AVX-512 BF16. On Intel's without AMX a
    first frame takes a quarter longer in it (``docs/lab_notes.md``, 2026-11-30).
    """
    if device.type != "cpu":
        return device.type == "cuda"
    if torch.cpu._is_amx_tile_supported():
        return True
    return torch.cpu._is_avx512_bf16_supported() and "Intel" not in _processor_name()


@cache
def _processor_name() -> str:
    return str(describe_machine()["processor"])


def choose_precision(name: PrecisionName, device: torch.device) -> PrecisionName:
    """Return what networks compute in on a device, for ``auto`` the fastest that is safe there.

    That is bfloat16 where it is fast, else float32. Raises ``Seg2VidError`` for another name, and
    for float16 on a processor, which only imitates it.
    """
    if name not in (names := get_args(PrecisionName)):
        raise Seg2VidError(f"a precision: {', '.join(names)}", got=name, fix="use auto")
    if name == "auto":
        return "bfloat16" if has_fast_bfloat16(device) else "float32"
    if name == "float16" and device.type == "cpu":
        what, fix = "a GPU for float16", "use --precision auto: bfloat16 where it is fast"
        raise Seg2VidError(what, got="a processor", fix=fix)
    return name


@contextmanager
def within_precision(name: PrecisionName) -> Iterator[None]:
    """Compute in this precision within the block, whatever pipelines say; auto changes nothing."""
    token = _WITHIN.set(_WITHIN.get() if name == "auto" else name)
    try:
        yield
    finally:
        _WITHIN.reset(token)


def exact_arithmetic() -> AbstractContextManager[None]:
    """Compute in float32 within the block, so that figures do not depend on the processor."""
    return within_precision("float32")


def precision_here(device: torch.device, name: PrecisionName = "auto") -> PrecisionName:
    """Return what networks of a pipeline that chose ``name`` compute in here and now."""
    within = _WITHIN.get()
    return choose_precision(name if within == "auto" else within, device)


def fast_arithmetic(
    device: torch.device, name: PrecisionName = "auto"
) -> AbstractContextManager[Any]:
    """Let networks compute as ``within_precision`` around says, or else as ``name`` does."""
    chosen = precision_here(device, name)
    if chosen == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, chosen))


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Let PyTorch compute on so many threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_compiler() -> None:
    """Raise ``Seg2VidError`` where ``torch.compile`` finds no compiler to work with."""
    try:
        torch.compile(torch.sin)(torch.zeros(1))
    except Exception as error:  # PyTorch's own, in many classes
        what, fix = "a compiler that torch.compile can use", "install g++, or leave --compile out"
        raise Seg2VidError(what, got=str(error).strip().split("\n")[0], fix=fix) from None
