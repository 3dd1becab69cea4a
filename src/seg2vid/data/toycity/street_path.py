"""Centre lines of streets: a straight, a circular bend, and a straight again."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class PathPoint:
    """Points placed along a path, in world metres."""

    x: Float[np.ndarray, "..."]
    """East coordinate."""
    z: Float[np.ndarray, "..."]
    """North coordinate."""
    heading: Float[np.ndarray, "..."]
    """Direction of travel in radians, 0 = north, positive = turned right."""


@dataclass(frozen=True)
class PathCoordinates:
    """Where world points lie relative to a path, in metres."""

    along: Float[np.ndarray, "..."]
    """Distance along the path from its origin."""
    aside: Float[np.ndarray, "..."]
    """Distance to the right of the path."""


@dataclass(frozen=True)
class StreetPath:
    """A path that leaves `(start_x, 0)` heading north, bends once, and goes straight on."""

    start_x: float = 0.0
    """East coordinate of the first straight."""
    bend_start: float = 1e6
    """Distance along the path where the bend begins."""
    curvature: float = 0.0
    """One over the radius of the bend, positive = turning right, 0 = no bend."""
    bend_length: float = 0.0
    """Length of the bend."""

    def place(
        self, along: Float[np.ndarray, "..."], aside: Float[np.ndarray, "..."] | float = 0.0
    ) -> PathPoint:
        """Return the world points at the given distances along and aside of the path."""
        along = np.asarray(along, np.float64)
        if self.curvature == 0.0:
            zero = np.zeros(np.broadcast(along, aside).shape)
            return PathPoint(self.start_x + aside + zero, along + zero, zero)
        radius = 1.0 / self.curvature
        bent = np.clip(along - self.bend_start, 0.0, self.bend_length)
        angle = bent * self.curvature
        straight = along - self.bend_start - bent
        sine, cosine = np.sin(angle), np.cos(angle)
        inner = radius - aside
        x = self.start_x + radius - inner * cosine + straight * sine
        z = self.bend_start + inner * sine + straight * cosine
        return PathPoint(x, z, angle + 0.0 * x)

    def locate(
        self, x: Float[np.ndarray, "*points"], z: Float[np.ndarray, "*points"]
    ) -> PathCoordinates:
        """Return how far along and aside of the path the given world points lie."""
        x = x - self.start_x
        if self.curvature == 0.0:
            return PathCoordinates(z, x)
        sign = np.sign(self.curvature)
        radius = abs(1.0 / self.curvature)
        inward, ahead = radius - sign * x, z - self.bend_start
        angle = np.arctan2(ahead, inward)
        end_angle = self.bend_length / radius
        end_sine, end_cosine = np.sin(end_angle), np.cos(end_angle)
        after = ahead * end_cosine - inward * end_sine
        on_bend = np.where(ahead < 0.0, ahead, angle * radius)
        beyond = (ahead >= 0.0) & (angle > end_angle)
        along = np.where(beyond, self.bend_length + after, on_bend)
        distance = np.where(
            ahead < 0.0,
            inward,
            np.where(beyond, inward * end_cosine + ahead * end_sine, np.hypot(inward, ahead)),
        )
        return PathCoordinates(along + self.bend_start, sign * (radius - distance))
