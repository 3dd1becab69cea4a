"""The street plan: where streets lead, which ground lies where, and ways along them.

Ways are claimed before they are used, so that nobody drives or walks into anything.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Values = Float[np.ndarray, "*shape"]
Place = tuple[float, float]
"""World (x, z)."""


@dataclass(frozen=True)
class PathPoint:
    """Points on a path in world axes: east, north, and the direction of travel."""

    x: Values
    z: Values
    heading: Values
    """Radians, 0 = north, positive = turned right."""


@dataclass(frozen=True)
class PathCoordinates:
    """Where world points lie relative to a path."""

    along: Values
    aside: Values
    """To the right of the path."""


@dataclass(frozen=True)
class StreetPath:
    """A path that leaves ``(start_x, 0)`` heading north, bends once, and goes straight on."""

    start_x: float = 0.0
    bend_start: float = 1e6
    curvature: float = 0.0
    """One over the radius of the bend, positive = turning right, 0 = no bend."""
    bend_length: float = 0.0

    def place(self, along: Values, aside: Float[np.ndarray, "..."] | float = 0.0) -> PathPoint:
        """Return the world points at the given distances along and aside of the path."""
        zero = np.zeros(np.broadcast_shapes(along.shape, np.shape(aside)))
        if self.curvature == 0.0:
            return PathPoint(self.start_x + aside + zero, along + zero, zero)
        bent = np.clip(along - self.bend_start, 0.0, self.bend_length)
        straight, angle = along - self.bend_start - bent, bent * self.curvature
        sine, cosine, inner = np.sin(angle), np.cos(angle), 1.0 / self.curvature - aside
        x = self.start_x + 1.0 / self.curvature - inner * cosine + straight * sine
        return PathPoint(x, self.bend_start + inner * sine + straight * cosine, angle + zero)

    def spot(self, along: float, aside: float) -> tuple[float, float]:
        """Return the world (x, z) of one place."""
        point = self.place(np.array([along]), aside)
        return float(point.x[0]), float(point.z[0])

    def heading(self, along: float) -> float:
        """Return the direction of the path at one place in radians."""
        return float(np.clip(along - self.bend_start, 0.0, self.bend_length)) * self.curvature

    def locate(self, x: Values, z: Values) -> PathCoordinates:
        """Return how far along and aside of the path the given world points lie."""
        x = x - self.start_x
        if self.curvature == 0.0:
            return PathCoordinates(z, x)
        sign, radius = np.sign(self.curvature), abs(1.0 / self.curvature)
        inward, ahead = radius - sign * x, z - self.bend_start
        angle, end = np.arctan2(ahead, inward), self.bend_length / radius
        before, beyond = ahead < 0.0, (ahead >= 0.0) & (angle > end)
        after = self.bend_length + ahead * np.cos(end) - inward * np.sin(end)
        along = np.where(beyond, after, np.where(before, ahead, angle * radius))
        exit_distance = inward * np.cos(end) + ahead * np.sin(end)
        bend_distance = np.where(before, inward, np.hypot(inward, ahead))
        distance = np.where(beyond, exit_distance, bend_distance)
        return PathCoordinates(along + self.bend_start, sign * (radius - distance))


@dataclass(frozen=True)
class SideStreet:
    """A straight street that crosses the main street at a right angle, or leaves it on one arm."""

    along: float
    """Distance along the main street of its centre line."""
    half_width: float
    left_arm: bool
    right_arm: bool
    main_ends: bool
    """Whether the main street ends here (a T junction)."""


@dataclass(frozen=True)
class StreetLayout:
    """Widths, markings and colours of one street."""

    kind: str
    """residential, avenue, suburb, commercial or parkside."""
    path: StreetPath
    half_width: float
    """From the centre line to the kerb."""
    lane_width: float
    lanes: int
    """Driving lanes per direction."""
    parking_width: float
    """Width of the parking strip along each kerb, 0 = none."""
    pavement: float
    verge: float
    """Width of the green strip between kerb and pavement, 0 = none."""
    green_plots: tuple[bool, bool]
    """Whether the ground behind the pavement is green, left and right."""
    crossing: SideStreet | None
    zebras: tuple[float, ...]
    """Distances along the main street of zebra crossings."""
    rails: tuple[float, ...]
    """Distances aside of tram tracks."""
    corner_radius: float
    asphalt: float
    paving: tuple[float, float, float]
    grass: tuple[float, float, float]
    cobbles: bool

    @property
    def plot_line(self) -> float:
        """Distance from the centre line to the end of the pavement."""
        return self.half_width + self.verge + self.pavement

    def kerb_distance(self, place: PathCoordinates) -> Values:
        """Return metres outside the nearest kerb; negative on the carriageway."""
        main, crossing = np.abs(place.aside) - self.half_width, self.crossing
        if crossing is None:
            return main
        side = np.abs(place.along - crossing.along) - crossing.half_width
        if not crossing.left_arm:
            side = np.maximum(side, -place.aside)
        if not crossing.right_arm:
            side = np.maximum(side, place.aside)
        if crossing.main_ends:
            main = np.maximum(main, place.along - crossing.along)
        radius = self.corner_radius
        inner = np.hypot(np.maximum(radius - main, 0), np.maximum(radius - side, 0))
        return np.maximum(np.minimum(main, side), radius) - inner

    def free_kerb(self, along: float, side: int, margin: float) -> bool:
        """Whether the kerb on ``side`` (-1 left, 1 right) is unbroken around ``along``."""
        crossing = self.crossing
        if crossing is None:
            return True
        past_end = crossing.main_ends and along > crossing.along
        if abs(along - crossing.along) >= crossing.half_width + margin and not past_end:
            return True
        arm = crossing.right_arm if side > 0 else crossing.left_arm
        return not (arm or crossing.main_ends)


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
        cls, path: StreetPath, along: Float[np.ndarray, " frames"], aside: float, turn: float = 0.0
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
