"""Bootstrap intervals over clips: how far a figure would move with other clips of the same kind.

The clip is the unit: frames and samples of one clip are alike, so they are drawn together or not
at all (Efron & Tibshirani, 1993). Indices come from NumPy's PCG64, so that the same seed gives the
same interval on every machine.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

LEVEL = 0.95
REPLICATES = 2000


@dataclass(frozen=True)
class Interval:
    """A figure and the interval of 95 % around it, in the figure's own unit."""

    value: float
    """nan where no clip has the figure."""
    low: float
    """nan where less than two clips have the figure, like ``high``."""
    high: float
    clips: int
    """Clips that have the figure: those where it is nan are left out."""

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the interval leaves out 0: for differences."""
        return self.low > 0 or self.high < 0


def bootstrap_indices(
    clips: int, *, replicates: int = REPLICATES, seed: int = 0
) -> Int[Tensor, "replicates clips"]:
    """Draw clips with repetition: each row names the clips of one resampled set.

    Two models on the same clips that are given the same seed are resampled alike.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    return torch.from_numpy(generator.integers(clips, size=(replicates, clips), dtype=np.int64))


def interval_of_mean(values: Float[Tensor, " clips"], *, replicates: int = REPLICATES) -> Interval:
    """Return the mean over clips with its percentile bootstrap interval; nan is left out.

    Of few clips it is too narrow: of 1000 simulated sets with a normal (a skewed) law it held the
    truth in 91 % (89 %) with 10 clips, in 93 % (92 %) with 40 and in 95 % (93 %) with 250.
    """
    kept = values[~values.isnan()].double().cpu()
    count = len(kept)
    if count < 2:
        value = float(kept[0]) if count else math.nan
        return Interval(value, math.nan, math.nan, count)
    means = kept[bootstrap_indices(count, replicates=replicates)].mean(1)
    low, high = _quantiles(means)
    return Interval(float(kept.mean()), low, high, count)


def interval_of(
    statistic: Callable[[Int[Tensor, " clips"]], float],
    clips: int,
    *,
    replicates: int,
    is_recentred: bool = True,
) -> Interval:
    """Return any figure of a set of clips with an interval: ``statistic`` is given their indices
    ``(clips)``.

    Clips that are drawn twice make a set look poorer than it is, which biases distances between
    sets upwards, far out of a percentile interval. So the spread of the replicates is taken, not
    their place: the interval is the figure plus (their quantiles less their mean). Ratios of sums
    have no such bias and a range of their own: without ``is_recentred`` the quantiles themselves
    are the interval. Replicates whose figure is nan are left out.
    """
    value = statistic(torch.arange(clips))
    if clips < 2:
        return Interval(value, math.nan, math.nan, clips)
    indices = bootstrap_indices(clips, replicates=replicates)
    drawn = torch.tensor([statistic(picked) for picked in indices], dtype=torch.float64)
    drawn = drawn[~drawn.isnan()]
    shift = value - float(drawn.mean()) if is_recentred and len(drawn) else 0.0
    low, high = _quantiles(drawn)
    return Interval(value, low + shift, high + shift, clips)


def _quantiles(values: Float[Tensor, " replicates"]) -> tuple[float, float]:
    """Return the bounds that hold 95 % of the values between them; nan where there are none."""
    if not len(values):
        return math.nan, math.nan
    tails = values.new_tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = values.quantile(tails).tolist()
    return low, high
