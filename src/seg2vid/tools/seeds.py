"""One seed or generator for each sample: it is then the same whatever stands beside it."""

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any, SupportsIndex

import torch

from seg2vid.tools.errors import ModelError
from seg2vid.tools.ranges import LARGEST_SEED

Seeds = SupportsIndex | Iterable[SupportsIndex] | None
"""Whole numbers of any kind, NumPy's too."""
Generators = torch.Generator | Sequence[torch.Generator] | None


def seeded(seed: Any) -> torch.Generator:
    """Return a generator with this seed; raise ``ModelError`` for none of at most 63 bits."""
    try:
        number = index(seed)
    except TypeError:
        what, fix = "a whole number as seed", "convert it with int()"
        raise ModelError(what, got=repr(seed), fix=fix) from None
    if abs(number) > LARGEST_SEED:
        raise ModelError(f"a seed from 0 to {LARGEST_SEED}", got=number, fix="choose a smaller one")
    return torch.Generator().manual_seed(number)


def make_generators(batch: int, seed: Seeds, generator: Generators) -> list[torch.Generator]:
    """Return one generator for each sample; raise ``ModelError`` where their number is wrong."""
    if seed is not None and generator is not None:
        raise ModelError("a seed or a generator", got="both", fix="leave one of them out")
    if seed is not None:
        if not isinstance(seed, Iterable):
            first = seeded(seed).initial_seed()
            seed = range(first, first + batch)
        generators = [seeded(one) for one in seed]
    elif isinstance(generator, Sequence):
        generators = list(generator)
    elif generator is not None:
        generators = [generator] * batch
    else:
        # Half of what a generator draws for itself, so that it can be given as a seed again.
        generators = [seeded(torch.Generator().seed() >> 1) for _ in range(batch)]
    if batch not in (1, len(generators)) or not generators:
        what = f"one seed or generator for each of {batch} label maps"
        raise ModelError(what, got=len(generators), fix="give as many, or one label map")
    return generators
