"""A device without hardware: tensors that say ``meta``, hold values and mix with no others.

``meta`` itself holds no values, and so it cannot walk code that looks at them. In ``elsewhere()``
everything that is put on it keeps a twin on the processor, with which it computes; where a GPU
would refuse to compute with tensors of two places, ``WrongDevice`` is raised.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

AWAY, HOME = torch.device("meta"), torch.device("cpu")
ATEN = torch.ops.aten
COPIES = (ATEN.copy_.default, ATEN.to.other)
INDEXED = (ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default)
"""A GPU takes places from the processor too."""
JOINED = (ATEN.cat.default, ATEN.stack.default)
"""Here it refuses even a single number, which it takes everywhere else."""


class WrongDevice(Exception):
    """Tensors of two devices in one computation."""


class Away(Tensor):
    """A tensor elsewhere."""

    twin: Tensor

    @staticmethod
    def __new__(cls: type["Away"], twin: Tensor) -> "Away":
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            twin.shape,
            strides=twin.stride(),
            storage_offset=twin.storage_offset(),
            dtype=twin.dtype,
            device=AWAY,
        )
        made.twin = twin
        return cast(Away, made)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Away({self.twin})"

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, _types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        return _compute(function, arguments, named or {})


def _compute(function: Any, arguments: Any, named: dict[str, Any]) -> Any:
    """Compute with the twins; the result is where the arguments are, or where it is asked for."""
    leaves = list(_leaves((*arguments, *named.values())))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    places = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    is_away = any(isinstance(tensor, Away) for tensor in tensors)
    if any(tensor.device == AWAY and not isinstance(tensor, Away) for tensor in tensors):
        raise WrongDevice(f"{function}: a tensor of meta that holds no values")
    if is_away and function not in COPIES:
        _check_places(function, arguments, tensors)
    if function is ATEN.to.other:
        places = [arguments[1].device]
    if places:
        is_away = places[0] == AWAY
    if is_away and named.get("generator") is not None:
        raise WrongDevice(f"{function}: a generator of the processor")
    own_named = {name: _home(value) for name, value in named.items()}
    result = function(*_home(tuple(arguments)), **own_named)
    if is_away:
        result = _away(result)
        if function._schema.is_mutable:  # it returns what it was given
            result = return_and_correct_aliasing(function, arguments, named, result)
    return result


def _leaves(value: Any) -> Iterator[Any]:
    """Yield what an argument is or holds; PyTorch's own walk takes longer than what is computed."""
    if isinstance(value, (tuple, list)):
        for one in value:
            yield from _leaves(one)
    else:
        yield value


def _home(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(map(_home, value))
    if isinstance(value, Away):
        return value.twin
    return HOME if isinstance(value, torch.device) else value


def _away(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(map(_away, value))
    return Away(value) if isinstance(value, Tensor) else value


def _check_places(function: Any, arguments: Any, tensors: list[Tensor]) -> None:
    if function in INDEXED and isinstance(arguments[0], Away):
        tensors = [one for one in (arguments[0], *arguments[2:]) if isinstance(one, Tensor)]
    smallest = 0 if function in JOINED else 1
    for tensor in tensors:
        if not isinstance(tensor, Away) and tensor.ndim >= smallest:
            shape = tuple(tensor.shape)
            raise WrongDevice(f"{function}: one of shape {shape} is on the processor")


class _Dispatch(TorchDispatchMode):
    """Makes what is asked for elsewhere."""

    def __torch_dispatch__(
        self, function: Any, _types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        return _compute(function, arguments, named or {})


class _Functions(TorchFunctionMode):
    """Does in two steps what PyTorch does in C, unseen by the other mode."""

    def __torch_function__(
        self, function: Any, _types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        named = dict(named or {})
        if function is torch._has_compatible_shallow_copy_type:
            return False  # so that parameters are made anew when they move
        if function is Tensor.tolist:
            return arguments[0].cpu().tolist()
        if function is Tensor.new_tensor:
            named.setdefault("dtype", arguments[0].dtype)
            place = named.pop("device", arguments[0].device)
            return torch.tensor(*arguments[1:], **named).to(place)
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            given, place, *value = arguments
            return function(given, _with_tensors(place), *value)
        if function in (torch.tensor, torch.as_tensor):
            place = named.pop("device", None)
            made = function(*arguments, **named)
            return made if place is None else made.to(place)
        return function(*arguments, **named)


def _with_tensors(place: Any) -> Any:
    """Turn lists of places, of which C makes tensors elsewhere without their values."""
    if isinstance(place, tuple):
        return tuple(map(_with_tensors, place))
    return torch.tensor(place) if isinstance(place, list) else place


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Give the device on which values are kept, within the block."""
    with pytest.MonkeyPatch.context() as patch, _Functions(), _Dispatch():
        patch.setattr(torch, "autocast", partial(_autocast, torch.autocast))
        patch.setattr(torch.inference_mode, "__enter__", _enter_no_grad)
        yield AWAY


def _autocast(original: Any, kind: str, *given: Any, **named: Any) -> Any:
    return original(HOME.type if kind == AWAY.type else kind, *given, **named)


def _enter_no_grad(context: Any) -> None:
    """In place of inference mode, whose tensors cannot be wrapped."""
    context._inference_mode_context = torch.no_grad()
    context._inference_mode_context.__enter__()
