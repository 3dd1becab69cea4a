"""Keeps moving and standing things apart: nobody drives or walks into anything."""

import numpy as np
from jaxtyping import Float

from seg2vid.data.toycity.people import Trajectory
from seg2vid.data.toycity.street_path import StreetPath


class Occupancy:
    """Remembers the ground discs that everything placed so far covers in every frame."""

    def __init__(self, num_poses: int) -> None:
        """Start with an empty street."""
        self._centres: list[np.ndarray] = []
        self._radii: list[np.ndarray] = []
        self._num_poses = num_poses

    def claim(self, path: Trajectory, length: float, width: float, margin: float = 0.3) -> bool:
        """Reserve the way of a body; return False (and reserve nothing) if it is taken."""
        centres, radii = _discs(path, length, width)
        if self._centres:
            taken = np.concatenate(self._centres, 1)
            gap = taken[:, :, None] - centres[:, None]
            reach = np.concatenate(self._radii)[:, None] + radii + margin
            if ((gap**2).sum(-1) < reach**2).any():
                return False
        self._centres.append(centres)
        self._radii.append(radii)
        return True

    def claim_spot(self, x: float, z: float, radius: float, margin: float = 0.2) -> bool:
        """Reserve a standing disc; return False if it is taken."""
        position = np.tile([x, 0.0, z], (self._num_poses, 1))
        still = np.zeros(self._num_poses)
        return self.claim(Trajectory(position, still, still), 2 * radius, 2 * radius, margin)


def _discs(
    path: Trajectory, length: float, width: float
) -> tuple[Float[np.ndarray, "frames discs 2"], Float[np.ndarray, " discs"]]:
    """Cover a rectangle that follows `path` with discs; return centres and radii."""
    count = max(int(np.ceil(length / width)), 1)
    offsets = (np.arange(count) + 0.5) * length / count - length / 2
    ahead = np.stack([np.sin(path.heading), np.cos(path.heading)], 1)
    centres = path.position[:, None, [0, 2]] + offsets[:, None] * ahead[:, None]
    radius = 0.5 * np.hypot(width, length / count) if count > 1 else 0.5 * width
    return centres, np.full(count, radius)


def follow(
    path: StreetPath,
    along: Float[np.ndarray, " frames"],
    aside: Float[np.ndarray, " frames"] | float,
    *,
    reverse: bool = False,
) -> Trajectory:
    """Move along a street path, facing along it, or against it if `reverse`."""
    place = path.place(along, aside)
    heading = place.heading + (np.pi if reverse else 0.0)
    position = np.stack([place.x, np.zeros_like(place.x), place.z], 1)
    return Trajectory(position, heading, np.abs(along - along[0]))


def straight(
    start: tuple[float, float], heading: float, distance: Float[np.ndarray, " frames"]
) -> Trajectory:
    """Move in a straight line from world (x, z)."""
    x = start[0] + np.sin(heading) * distance
    z = start[1] + np.cos(heading) * distance
    position = np.stack([x, np.zeros_like(x), z], 1)
    return Trajectory(position, np.full(len(distance), heading), np.abs(distance - distance[0]))
