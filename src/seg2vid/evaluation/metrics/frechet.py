"""How alike two sets of pictures or clips are, by the features that a judge gives them.

Features are ``(samples, feature)``; what judge made them, and from what size of picture and length
of clip, decides what a figure means: with Inception features the Fréchet distance is called FID and
the kernel distance KID, with I3D features FVD and KVD. All is computed in float64.

For intervals, sets are resampled by clips (``FrechetOverClips``, ``KernelOverClips``): all rows of
a clip, say its frames, go together. Products between rows are computed once; a resampled set is
then a weight for every row.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics.image.kid import poly_kernel

from seg2vid.tools.errors import ModelError

Samples = Float[Tensor, "samples feature"]
Others = Float[Tensor, "others feature"]
Clips = Float[Tensor, "clips rows feature"]
OtherClips = Float[Tensor, "clips others feature"]
Weights = Float[Tensor, " samples"]
OtherWeights = Float[Tensor, " others"]
Scalar = Float[Tensor, ""]
SUBSETS = 15
"""Points on the line of the unbiased distance (Chong & Forsyth, 2020)."""
SMALLEST_SHARE = 0.5
"""Share of the samples in the smallest of them."""
DRAWN = 0.63
"""Share of the clips that a resampled set holds at least once: 1 - 1/e."""


def frechet_distance(generated: Samples, reference: Others) -> Scalar:
    """Fréchet distance of the Gaussians of two sets of features: 0 for equal sets, lower is better.

    |m_a - m_b|² + tr Σ_a + tr Σ_b - 2 tr (Σ_a Σ_b)^½ (Dowson & Landau, 1982; FID: Heusel et al.,
    2017; FVD: Unterthiner et al., 2018), covariances divided by n - 1. With factors Σ = XᵀX the
    last trace is the sum of the singular values of X_a X_bᵀ, which is exact also where samples are
    fewer than features. Few samples bias it upwards: see ``unbiased_frechet_distance``.

    Raises ``ModelError`` where a set has less than two samples.
    """
    first, second = generated.double(), reference.double()
    factors = [_factor(features) for features in (first, second)]
    means = (first.mean(0) - second.mean(0)).square().sum()
    traces = sum(factor.square().sum() for factor in factors)
    overlap = torch.linalg.svdvals(factors[0] @ factors[1].T).sum()
    return (means + traces - 2 * overlap).clamp(min=0)


def _factor(features: Samples) -> Float[Tensor, "rows feature"]:
    """Return X with XᵀX the covariance, of as few rows as samples or features."""
    check_samples(features)
    factor = (features - features.mean(0)) / math.sqrt(len(features) - 1)
    is_tall = factor.shape[0] > factor.shape[1]
    return torch.linalg.qr(factor, mode="r").R if is_tall else factor


def check_samples(features: Samples) -> None:
    """Raise ``ModelError`` for less than two samples: they have no variance."""
    if len(features) < 2:
        what, fix = "features of at least two samples", "evaluate more clips"
        raise ModelError(what, got=len(features), fix=fix)


def unbiased_frechet_distance(generated: Samples, reference: Others, *, seed: int = 0) -> Scalar:
    """Fréchet distance extrapolated to infinitely many samples: lower is better, may be negative.

    The distance of N samples is biased by about c / N. So a straight line in 1/N is laid through
    the distances of 15 random subsets, of sizes evenly spaced from half of the samples to all, and
    read at 1/N = 0 (Chong & Forsyth, CVPR 2020). They shrink the generated set only, for their
    reference is large. Here both sets are usually as small as each other, each adds its own bias,
    and both shrink alike: for equal distributions, 256 samples and 64 features the plain distance
    was 2.36, shrinking one set left 1.14, both -0.02 (12 draws, deviation 0.16). The line is
    straight only where samples outnumber the features that vary: with 256 features 5.4 of 34.9 were
    left. Subsets are drawn by NumPy's PCG64 from ``seed``. nan for two samples, of which no line
    can be made.

    Raises ``ModelError`` where a set has less than two samples.
    """
    for features in (generated, reference):
        check_samples(features)
    generator = np.random.Generator(np.random.PCG64(seed))
    shares, values = [], []
    for share in np.linspace(SMALLEST_SHARE, 1, SUBSETS):
        sets = [_pick(features, share, generator) for features in (generated, reference)]
        shares.append(len(generated) / len(sets[0]))
        values.append(float(frechet_distance(sets[0], sets[1])))
    if len(set(shares)) < 2:  # of two samples there is one subset
        return torch.tensor(math.nan, dtype=torch.float64)
    _, at_zero = np.polyfit(shares, values, 1)
    return torch.tensor(at_zero, dtype=torch.float64)


def _pick(
    features: Samples, share: float, generator: np.random.Generator
) -> Float[Tensor, "picked feature"]:
    size = max(2, round(share * len(features)))
    order = generator.permutation(len(features))[:size]
    return features[torch.from_numpy(order).to(features.device)]


def polynomial_kernel(first: Samples, second: Others) -> Float[Tensor, "samples others"]:
    """(x·y / d + 1)³ of every pair, d features, in float64 (KID; torchmetrics)."""
    return poly_kernel(first.double(), second.double(), degree=3, coef=1.0)


def kernel_distance(generated: Samples, reference: Others) -> Scalar:
    """Unbiased squared maximum mean discrepancy: 0 on average for equal distributions, lower is
    better, may be negative.

    KID (Bińkowski et al., ICLR 2018) with all samples as one subset, so that nothing is random:
    means of the polynomial kernel over pairs of different samples within each set, less twice the
    mean across. The sets may differ in size.

    Raises ``ModelError`` where a set has less than two samples.
    """
    total = torch.zeros((), dtype=torch.float64, device=generated.device)
    for features in (generated, reference):
        check_samples(features)
        kernel = polynomial_kernel(features, features)
        total = total + (kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1))
    return total - 2 * polynomial_kernel(generated, reference).mean()


def inception_score(logits: Float[Tensor, "samples class"]) -> Scalar:
    """Inception Score, from 1 to the number of classes: higher is said to be better.

    exp of the mean Kullback-Leibler divergence between the classes a judge sees in one picture and
    those it sees in all (Salimans et al., 2016), all samples as one split. It knows no real
    pictures, and judges of ImageNet's classes say little about streets.
    """
    predicted = logits.double().softmax(1)
    entropy = torch.special.entr(predicted.mean(0)).sum()
    return (entropy - torch.special.entr(predicted).sum(1).mean()).exp()


def clip_for_judge(
    frames: Float[Tensor, "batch time 3 height width"], minimum: int = 9
) -> Float[Tensor, "batch longer 3 height width"]:
    """Lengthen clips that are shorter than a judge of clips can take; others pass unchanged.

    The stated rule: the clip is played forward and backward, 0 1 2 3 4 3 2 1 0 1 ..., until there
    are ``minimum`` frames; one frame alone is repeated.
    """
    time = frames.shape[1]
    if time >= minimum:
        return frames
    turn = max(time - 1, 1)
    played = turn - (torch.arange(minimum, device=frames.device) % (2 * turn) - turn).abs()
    return frames[:, played.clamp(max=time - 1)]


class FrechetOverClips:
    """``frechet_distance`` of any resampled set of clips.

    A call costs the eigenvalues of a matrix as large as the number of different rows drawn, about
    63 % of them; where that is more than there are features, the distance of the rows themselves.
    """

    def __init__(self, generated: Clips, reference: OtherClips) -> None:
        self.sets = (generated.double(), reference.double())
        rows = [features.flatten(0, 1) for features in self.sets]
        self.is_wide = max(map(len, rows)) * DRAWN <= rows[0].shape[1]
        # Products of rows that are far from zero would drown their differences.
        first, second = (features - rows[0].mean(0) for features in rows)
        if self.is_wide:
            self.products = (first @ first.T, second @ second.T, first @ second.T)

    def __call__(self, picked: Int[Tensor, " picked"]) -> float:
        """Return the distance between the generated and the real clips ``picked``, repeated ones
        included.

        Raises ``ModelError`` where that leaves less than two rows.
        """
        rows = [features[picked].flatten(0, 1) for features in self.sets]
        if not self.is_wide:
            return float(frechet_distance(rows[0], rows[1]))
        for features in rows:
            check_samples(features)
        first, second = (_weights(features, picked) for features in self.sets)
        within_first, within_second, across = self.products
        mean_first = _mean_product(first, within_first, first)
        mean_second = _mean_product(second, within_second, second)
        distance = mean_first + mean_second - 2 * _mean_product(first, across, second)
        distance = distance + _trace(first, within_first, mean_first)
        distance = distance + _trace(second, within_second, mean_second)
        return max(0.0, float(distance - 2 * _overlap(across, first, second)))


def _mean_product(
    first: Weights, products: Float[Tensor, "samples others"], second: OtherWeights
) -> Scalar:
    return first @ products @ second / (first.sum() * second.sum())


def _trace(weight: Weights, products: Float[Tensor, "samples samples"], mean: Scalar) -> Scalar:
    """Return that of the covariance, from the products of rows and their mean."""
    return (weight @ products.diagonal() - weight.sum() * mean) / (weight.sum() - 1)


def _weights(features: Clips, picked: Int[Tensor, " picked"]) -> Weights:
    """Return how often each row stands in the resampled set, rows in order of their clips."""
    counts = torch.bincount(picked, minlength=features.shape[0]).to(features)
    return counts.repeat_interleave(features.shape[1])


def _overlap(
    across: Float[Tensor, "samples others"], first: Weights, second: OtherWeights
) -> Scalar:
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

    def __init__(self, generated: Clips, reference: OtherClips) -> None:
        self.sets = (generated.double(), reference.double())
        first, second = (features.flatten(0, 1) for features in self.sets)
        self.across = polynomial_kernel(first, second)
        self.within = [polynomial_kernel(features, features) for features in (first, second)]

    def __call__(self, picked: Int[Tensor, " picked"]) -> float:
        """Return the distance between the generated and the real clips ``picked``, repeated ones
        included.
        """
        weights = [_weights(features, picked) for features in self.sets]
        total = -2 * (weights[0] @ self.across @ weights[1])
        total = total / (weights[0].sum() * weights[1].sum())
        for weight, kernel in zip(weights, self.within, strict=True):
            pairs = weight @ kernel @ weight - weight @ kernel.diagonal()
            total = total + pairs / (weight.sum() * (weight.sum() - 1))
        return float(total)
