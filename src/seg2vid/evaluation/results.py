"""The units of every candidate together, and what is stacked and averaged of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.evaluation.measure import ARRAYS, Unit
from seg2vid.evaluation.metrics.intervals import Interval, interval_of, interval_of_mean
from seg2vid.evaluation.protocol import Protocol

Row = dict[str, Any]
"""One entry of a list of a report, as JSON has it."""
Entries = Iterator[tuple[str, Any, Row]]
"""The list that an entry belongs to, its interval (a curve: intervals), and what else it says."""


@dataclass(frozen=True)
class Results:
    """The units of every candidate, all on the same clips in the same order."""

    protocol: Protocol
    units: Mapping[str, Sequence[Unit]]
    """By key of the candidate; ``truth`` is among them."""

    @property
    def count(self) -> int:
        """Number of clips."""
        return len(self.units["truth"])

    def stacked(self, candidate: str, array: str) -> Float[Tensor, "clips *axes"] | None:
        """Return an array of a candidate on all clips; None where a clip lacks it."""
        units = self.units[candidate]
        return torch.stack([u[array] for u in units]) if all(array in u for u in units) else None

    def over_time(self, candidate: str, array: str) -> tuple[Tensor, tuple[int, ...]] | None:
        """Return an array (clips, time), mean over samples or pairs, and the frames it is of."""
        found = self.stacked(candidate, array)
        if found is None:
            return None
        values = found.double().flatten(1, -2).nanmean(1) if found.ndim > 2 else found.double()
        protocol, axis = self.protocol, ARRAYS[array].split()[-1]
        if axis == "time":
            return values, tuple(range(1, protocol.num_frames + 1))
        return values, protocol.warping_times if axis == "warping_time" else protocol.compared_times

    @property
    def horizons(self) -> tuple[int, ...]:
        """Frames that means reach to."""
        return (0,) if self.protocol.is_still else self.protocol.horizons

    def mean(self, values: Float[Tensor, " clips"]) -> Interval:
        """Return the mean over clips with its interval."""
        return interval_of_mean(values, replicates=self.protocol.replicates)

    def spread(
        self, statistic: Callable[[Int[Tensor, " picked"]], float], *, is_distance: bool = False
    ) -> Interval:
        """Return any figure of a set of clips with its interval; of distances the spread alone."""
        replicates = max(50, self.protocol.replicates // 10)
        return interval_of(statistic, self.count, replicates=replicates, is_recentred=is_distance)


def span_of(times: Sequence[int]) -> str:
    """Write frames as in a report: 1-8, or one by one where some are left out."""
    if len(times) > 1 and list(times) == list(range(times[0], times[-1] + 1)):
        return f"{times[0]}-{times[-1]}"
    return ", ".join(map(str, times))
