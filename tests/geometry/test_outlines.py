"""Outlines between pixels: smooth, faithful to pixels, and thin things stay."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seg2vid.geometry import find_owners


def slow_owners(surfaces: np.ndarray, spots: int) -> np.ndarray:
    """The same, spot after spot."""
    height, width = surfaces.shape
    owners = np.zeros((spots * height, spots * width), dtype=int)

    def weight(gap: float) -> float:
        return 0.75 - gap**2 if abs(gap) < 0.5 else 0.5 * (1.5 - abs(gap)) ** 2

    for row, column in np.ndindex(owners.shape):
        y, x = (row + 0.5) / spots - 0.5, (column + 0.5) / spots - 0.5
        own = (row // spots, column // spots)
        votes: dict[int, float] = {}
        pixels = []
        for j in range(own[0] - 1, own[0] + 2):
            for i in range(own[1] - 1, own[1] + 2):
                at = (min(max(j, 0), height - 1), min(max(i, 0), width - 1))
                surface = int(surfaces[at])
                votes[surface] = votes.get(surface, 0) + weight(y - j) * weight(x - i)
                pixels.append(((y - j) ** 2 + (x - i) ** 2, at, surface))
        most = max(votes.values())
        best = [surface for surface, vote in votes.items() if vote == most]
        chosen = int(surfaces[own]) if int(surfaces[own]) in best else None
        nearest = min(p for p in pixels if p[2] == chosen or (chosen is None and p[2] in best))
        owners[row, column] = nearest[1][0] * width + nearest[1][1]
    return owners


def of_spots(surfaces: Tensor, spots: int = 4) -> Tensor:
    """Return the surface of each spot of one picture."""
    return surfaces.flatten()[find_owners(surfaces[None], spots)[0].long()]


@given(
    st.lists(
        st.lists(st.integers(0, 2), min_size=6, max_size=6),
        min_size=5,
        max_size=5,
    ),
    st.sampled_from((1, 2, 4)),
)
def test_surfaces_of_spots_are_those_of_a_slow_reference(ids: list[list[int]], spots: int) -> None:
    surfaces = torch.tensor(ids)
    slow = slow_owners(np.array(ids), spots)
    assert torch.equal(of_spots(surfaces, spots), surfaces.flatten()[torch.from_numpy(slow)])


def test_a_plain_picture_is_owned_by_its_pixels() -> None:
    owners = find_owners(torch.zeros(2, 3, 4, dtype=torch.long))
    own = torch.arange(12, dtype=torch.int32).view(3, 4)
    assert torch.equal(owners[1], own.repeat_interleave(4, 0).repeat_interleave(4, 1))


def test_straight_edges_stay_where_they_are() -> None:
    surfaces = (torch.arange(8) >= 3).long().expand(6, 8).contiguous()
    wide = surfaces.repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert torch.equal(of_spots(surfaces), wide)


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_a_pixel_wide_stays_so(turned: bool) -> None:
    surfaces = torch.zeros(9, 9, dtype=torch.long)
    surfaces[:, 4] = 1
    surfaces = surfaces.t().contiguous() if turned else surfaces
    assert float((of_spots(surfaces) == 1).sum()) == 9 * 16
    lonely = torch.zeros(5, 5, dtype=torch.long)
    lonely[2, 2] = 1
    assert 0 < float((of_spots(lonely) == 1).sum()) <= 16


def test_a_staircase_becomes_a_slope() -> None:
    surfaces = torch.tril(torch.ones(12, 12)).long()
    spots = of_spots(surfaces)[8:-8, 8:-8]
    # A straight slope would move the edge by one spot with each row; pixels do by four at once.
    ends = spots.sum(1)
    ends = ends[:-4]
    straight = ends[0] + torch.arange(len(ends))
    assert (ends - straight).abs().max() <= 1
    assert ends.diff().max() <= 2


def test_ids_may_be_as_large_as_instances_are() -> None:
    surfaces = torch.full((3, 4), 2**40)
    surfaces[:, 2:] += 1
    assert of_spots(surfaces).unique().tolist() == [2**40, 2**40 + 1]
    assert torch.equal(of_spots(surfaces)[:, 8:].unique(), torch.tensor([2**40 + 1]))
