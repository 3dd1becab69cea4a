"""Seeds and generators: one for each sample, so that a sample is the same whatever stands beside
it.
"""

from collections.abc import Sequence

import torch

from seg2vid.tools.errors import ModelError

Seeds = int | Sequence[int] | None
Generators = torch.Generator | Sequence[torch.Generator] | None


def make_generators(batch: int, seed: Seeds, generator: Generators) -> list[torch.Generator]:
    """Return one generator for each sample; raise ``ModelError`` where their number does not
    fit.
    """
    if seed is not None and generator is not None:
        fix = "leave one of them out"
        raise ModelError("a seed or a generator", got="both", fix=fix)
    if isinstance(seed, int):
        seed = [seed + sample for sample in range(batch)]
    if seed is not None:
        generators = [torch.Generator().manual_seed(number) for number in seed]
    elif isinstance(generator, Sequence):
        generators = list(generator)
    else:
        generators = [generator if generator is not None else _fresh_generator()] * batch
    if batch not in (1, len(generators)) or not generators:
        what = f"one seed or generator for each of {batch} label maps"
        raise ModelError(what, got=len(generators), fix="give as many, or one label map")
    return generators


def _fresh_generator() -> torch.Generator:
    """Return a generator that nobody has seeded: every call gives another future."""
    generator = torch.Generator()
    generator.seed()
    return generator
