"""Ways of moving things, and keeping them apart: nobody drives or walks into anything."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from seg2vid.data.toycity.layout import StreetPath


@dataclass(frozen=True)
class Trajectory:
    """Where something is and which way it faces in every frame."""

    position: Float[np.ndarray, "frames 3"]
    """World metres of its ground point."""
    heading: Float[np.ndarray, " frames"]
    """Radians, 0 = north, positive = right."""
    travelled: Float[np.ndarray, " frames"]
    """Metres covered since the first frame."""

    @property
    def moves(self) -> bool:
        """Whether it is not at rest."""
        return bool(self.travelled[-1] > 0)

    @classmethod
    def along(
        cls,
        path: StreetPath,
        along: Float[np.ndarray, " frames"],
        aside: float,
        turn: float = 0.0,
    ) -> "Trajectory":
        """Move along a street path, facing along it, or turned from that by ``turn``."""
        place = path.place(along, aside)
        position = np.stack([place.x, np.zeros_like(place.x), place.z], 1)
        return cls(position, place.heading + turn, np.abs(along - along[0]))

    @classmethod
    def straight(
        cls, start: tuple[float, float], heading: float, distance: Float[np.ndarray, " frames"]
    ) -> "Trajectory":
        """Move in a straight line from world (x, z)."""
        x, z = start[0] + np.sin(heading) * distance, start[1] + np.cos(heading) * distance
        travelled = np.abs(distance - distance[0])
        return cls(np.stack([x, np.zeros_like(x), z], 1), np.full(len(x), heading), travelled)


class Occupancy:
    """Remembers the ground discs that everything placed so far covers in every frame."""

    def __init__(self, num_poses: int) -> None:
        """Start with an empty street."""
        self._still = np.zeros(num_poses)
        self._centres = np.zeros((num_poses, 0, 2))
        self._radii = np.zeros(0)

    def claim(self, path: Trajectory, length: float, width: float, margin: float = 0.3) -> bool:
        """Reserve the way of a body; return False (and reserve nothing) if it is taken."""
        count = max(int(np.ceil(length / width)), 1)
        offsets = (np.arange(count) + 0.5) * length / count - length / 2
        ahead = np.stack([np.sin(path.heading), np.cos(path.heading)], 1)
        centres = path.position[:, None, [0, 2]] + offsets[:, None] * ahead[:, None]
        radius = 0.5 * float(np.hypot(width, length / count)) if count > 1 else 0.5 * width
        gap = ((self._centres[:, :, None] - centres[:, None]) ** 2).sum(-1)
        if (gap < (self._radii[:, None] + radius + margin) ** 2).any():
            return False
        self._centres = np.concatenate([self._centres, centres], 1)
        self._radii = np.concatenate([self._radii, np.full(count, radius)])
        return True

    def claim_spot(self, place: tuple[float, float], radius: float) -> bool:
        """Reserve a standing disc around world (x, z); return False if it is taken."""
        path = Trajectory.straight(place, 0.0, self._still)
        return self.claim(path, 2 * radius, 2 * radius, 0.2)
