"""Ways of moving things, and keeping them apart: nobody drives or walks into anything."""

import numpy as np

from seg2vid.data.toycity.layout import Trajectory


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
