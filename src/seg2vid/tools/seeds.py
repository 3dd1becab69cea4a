"""One seed or generator for each sample: it is then the same whatever stands beside it."""

from collections.abc import Sequence

import torch

from seg2vid.tools.errors import ModelError
from seg2vid.tools.ranges import LARGEST_SEED

Seeds = int | Sequence[int] | None
Generators = torch.Generator | Sequence[torch.Generator] | None


def seeded(seed: int) -> torch.Generator:
    """Return a generator with this seed; raise ``ModelError`` where it has more than 63 bits."""
    if abs(seed) > LARGEST_SEED:
        raise ModelError(f"a seed from 0 to {LARGEST_SEED}", got=seed, fix="choose a smaller one")
    return torch.Generator().manual_seed(seed)


def make_generators(batch: int, seed: Seeds, generator: Generators) -> list[torch.Generator]:
    """Return one generator for each sample; raise ``ModelError`` where their number is wrong."""
    if seed is not None and generator is not None:
        raise ModelError("a seed or a generator", got="both", fix="leave one of them out")
    if isinstance(seed, int):
        seed = [seed + sample for sample in range(batch)]
    if seed is not None:
        generators = [seeded(number) for number in seed]
    elif isinstance(generator, Sequence):
        generators = list(generator)
    else:
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        generators = [generator] * batch
    if batch not in (1, len(generators)) or not generators:
        what = f"one seed or generator for each of {batch} label maps"
        raise ModelError(what, got=len(generators), fix="give as many, or one label map")
    return generators
