"""Distances between sets of clips, computed anew for many resampled sets: for intervals.

A set is resampled by clips, and all rows of a clip, say its frames, go together. Products between
rows are computed once; a resampled set is then a weight for every row.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.evaluation.metrics.frechet import check_samples, frechet_distance, polynomial_kernel

DRAWN = 0.63
"""Share of the clips that a resampled set holds at least once: 1 - 1/e."""


class FrechetOverClips:
    """``frechet_distance`` of any resampled set of clips.

    A call costs the eigenvalues of a matrix as large as the number of different rows drawn, about
    63 % of them; where that is more than there are features, the distance of the rows themselves.
    """

    def __init__(
        self,
        generated: Float[Tensor, "clips rows feature"],
        reference: Float[Tensor, "clips others feature"],
    ) -> None:
        self.generated, self.reference = generated.double(), reference.double()
        sets = [features.flatten(0, 1) for features in (self.generated, self.reference)]
        self.is_wide = max(map(len, sets)) * DRAWN <= sets[0].shape[1]
        # Products of rows that are far from zero would drown their differences.
        first, second = (features - sets[0].mean(0) for features in sets)
        if self.is_wide:
            self.products = (first @ first.T, second @ second.T, first @ second.T)

    def __call__(self, picked: Int[Tensor, " picked"]) -> float:
        """Return the distance between the generated and the real clips ``picked``, repeated ones
        included.

        Raises ``ModelError`` where that leaves less than two rows.
        """
        sets = [features[picked].flatten(0, 1) for features in (self.generated, self.reference)]
        if not self.is_wide:
            return float(frechet_distance(sets[0], sets[1]))
        for features in sets:
            check_samples(features)
        weights = [_weights(features, picked) for features in (self.generated, self.reference)]
        return self._weighted(weights[0], weights[1])

    def _weighted(
        self, first: Float[Tensor, " samples"], second: Float[Tensor, " others"]
    ) -> float:
        """Return the distance of two sets in which each row stands as often as its weight says."""
        within_first, within_second, across = self.products
        means = [
            weight @ products @ other / (weight.sum() * other.sum())
            for weight, products, other in (
                (first, within_first, first),
                (second, within_second, second),
                (first, across, second),
            )
        ]
        traces = [
            (weight @ products.diagonal() - weight.sum() * mean) / (weight.sum() - 1)
            for weight, products, mean in zip(
                (first, second), (within_first, within_second), means, strict=False
            )
        ]
        distance = means[0] + means[1] - 2 * means[2] + traces[0] + traces[1]
        return max(0.0, float(distance - 2 * _overlap(across, first, second)))


def _weights(
    features: Float[Tensor, "clips rows feature"], picked: Int[Tensor, " picked"]
) -> Float[Tensor, " samples"]:
    """Return how often each row stands in the resampled set, rows in order of their clips."""
    counts = torch.bincount(picked, minlength=features.shape[0]).to(features)
    return counts.repeat_interleave(features.shape[1])


def _overlap(
    across: Float[Tensor, "samples others"],
    first: Float[Tensor, " samples"],
    second: Float[Tensor, " others"],
) -> Float[Tensor, ""]:
    """Tr (Σ_a Σ_b)^½ from the products of rows and their weights: the sum of singular values.

    A row that stands w times counts like one that is √w times as far from the mean.
    """
    kept = across[first > 0][:, second > 0]
    first, second = first[first > 0], second[second > 0]
    rows = (first @ kept / first.sum())[None]
    columns = (kept @ second / second.sum())[:, None]
    mean = first @ columns / first.sum()
    scale = math.sqrt((float(first.sum()) - 1) * (float(second.sum()) - 1))
    cross = (kept - rows - columns + mean) * first.sqrt()[:, None] * second.sqrt() / scale
    # Eigenvalues of the square are twice as fast as singular values, and exact enough: 1e-8.
    square = cross @ cross.T if cross.shape[0] <= cross.shape[1] else cross.T @ cross
    return torch.linalg.eigvalsh(square).clamp(min=0).sqrt().sum()


class KernelOverClips:
    """``kernel_distance`` of any resampled set of clips: cheap, for kernels are computed once."""

    def __init__(
        self,
        generated: Float[Tensor, "clips rows feature"],
        reference: Float[Tensor, "clips others feature"],
    ) -> None:
        self.sets = (generated, reference)
        first, second = (features.flatten(0, 1) for features in self.sets)
        self.across = polynomial_kernel(first, second)
        self.within = [polynomial_kernel(features, features) for features in (first, second)]

    def __call__(self, picked: Int[Tensor, " picked"]) -> float:
        """Return the distance between the generated and the real clips ``picked``, repeated ones
        included.
        """
        weights = [_weights(features.double(), picked) for features in self.sets]
        total = -2 * (weights[0] @ self.across @ weights[1])
        total = total / (weights[0].sum() * weights[1].sum())
        for weight, kernel in zip(weights, self.within, strict=True):
            pairs = weight @ kernel @ weight - weight @ kernel.diagonal()
            total = total + pairs / (weight.sum() * (weight.sum() - 1))
        return float(total)
