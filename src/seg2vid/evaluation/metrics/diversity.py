"""How much the samples of one scene differ, and what choosing among them is worth."""

import math
from collections.abc import Callable
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from seg2vid.tools.errors import ModelError

Judge = Callable[[Tensor, Tensor], Tensor]
"""Distance of pictures, both ``(batch, 3, height, width)`` in [0, 1], to ``(batch)``."""


def pairwise_distances(
    judge: Judge, samples: Float[Tensor, "samples time 3 height width"]
) -> Float[Tensor, "pairs time"]:
    """Return the judge's distance between every two samples of one scene, of each time.

    Pairs are in the order (0, 1), (0, 2), ... (1, 2), .... With LPIPS the mean is the diversity of
    Zhu et al. (NeurIPS 2017): 0 where all samples are equal; higher is more diverse, which noise is
    too, so it is read beside a figure of quality.

    Raises ``ModelError`` for less than two samples.
    """
    if len(samples) < 2:
        what, fix = "at least two samples for a distance", "draw more samples"
        raise ModelError(what, got=len(samples), fix=fix)
    return torch.stack([judge(first, second) for first, second in combinations(samples, 2)])


def best_of_curve(scores: Float[Tensor, "samples *figures"]) -> Float[Tensor, "samples *figures"]:
    """Return the expected lowest score among n samples, for n = 1 ... number of samples.

    Row n - 1 is the mean over all subsets of n samples, drawn without repetition, of their lowest
    score: exactly, since of the ordered scores the i-th is the lowest of C(N - i, n - 1) of the
    C(N, n) subsets. It never rises; where higher scores are better, give them with the sign turned.
    The unit is that of the scores, which must not be nan.
    """
    count = len(scores)
    places = range(1, count + 1)
    weights = [
        [math.comb(count - place, size - 1) / math.comb(count, size) for place in places]
        for size in places
    ]
    matrix = torch.tensor(weights, dtype=scores.dtype, device=scores.device)
    return torch.tensordot(matrix, scores.sort(0).values, dims=1)
