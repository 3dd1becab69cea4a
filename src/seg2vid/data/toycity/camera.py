"""The pinhole camera that drives through the toy city."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class ToyCamera:
    """A level pinhole camera; it only moves over the ground and turns about the vertical."""

    focal: float
    """Focal length in pixels."""
    centre_x: float
    """Column of the optical axis."""
    centre_y: float
    """Row of the horizon."""
    elevation: float
    """Metres above the ground."""
    positions: Float[np.ndarray, "frames 2"]
    """World x and z in metres."""
    headings: Float[np.ndarray, " frames"]
    """Radians, 0 = north, positive = turned right."""
    bonnet: Bool[np.ndarray, "height width"]
    """Pixels covered by the bonnet of the ego vehicle."""

    @property
    def height(self) -> int:
        """Rows of the picture."""
        return self.bonnet.shape[0]

    @property
    def width(self) -> int:
        """Columns of the picture."""
        return self.bonnet.shape[1]

    def rotation(self, frame: int) -> Float[np.ndarray, "3 3"]:
        """Return the matrix from world axes to camera axes (right, down, forward)."""
        sine, cosine = np.sin(self.headings[frame]), np.cos(self.headings[frame])
        return np.array([[cosine, 0.0, -sine], [0.0, -1.0, 0.0], [sine, 0.0, cosine]])

    def location(self, frame: int) -> Float[np.ndarray, " 3"]:
        """Return the camera centre in world metres."""
        return np.insert(self.positions[frame], 1, self.elevation)

    def rays(self) -> Float[np.ndarray, "2 pixels"]:
        """Return right/forward and down/forward of every pixel's ray, row after row."""
        columns = (np.arange(self.width) - self.centre_x) / self.focal
        rows = (np.arange(self.height) - self.centre_y) / self.focal
        return np.stack([np.tile(columns, self.height), np.repeat(rows, self.width)])

    def motion(self) -> Float[np.ndarray, "frames 3"]:
        """Return forward metres, rightward metres and yaw since frame 0."""
        delta = self.positions - self.positions[0]
        sine, cosine = np.sin(self.headings[0]), np.cos(self.headings[0])
        forward = delta[:, 0] * sine + delta[:, 1] * cosine
        rightward = delta[:, 0] * cosine - delta[:, 1] * sine
        return np.stack([forward, rightward, self.headings - self.headings[0]], 1)
