"""The street plan: where streets lead, which ground lies where, and ways along them.

Ways are claimed before they are used, so that nobody drives or walks into anything.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Values = Float[np.ndarray, "*shape"]
PerFrame = Float[np.ndarray, " frames"]
Place = tuple[float, float]
"""World (x, z)."""


@dataclass(frozen=True)
class StreetPath:
    """A path that leaves ``(start_x, 0)`` heading north, bends once, and goes straight on."""

    start_x: float = 0.0
    bend_start: float = 1e6
    curvature: float = 0.0
    """One over the radius of the bend, positive = turning right, 0 = no bend."""
    bend_length: float = 0.0

    def place(
        self, along: Values, aside: Float[np.ndarray, "..."] | float = 0.0
    ) -> tuple[Values, Values, Values]:
        """Return world x, z and heading at distances along the path and aside (right) of it."""
        zero = np.zeros(np.broadcast_shapes(along.shape, np.shape(aside)))
        if self.curvature == 0.0:
            return self.start_x + aside + zero, along + zero, zero
        bent = np.clip(along - self.bend_start, 0.0, self.bend_length)
        straight, angle = along - self.bend_start - bent, bent * self.curvature
        sine, cosine, inner = np.sin(angle), np.cos(angle), 1.0 / self.curvature - aside
        x = self.start_x + 1.0 / self.curvature - inner * cosine + straight * sine
        return x, self.bend_start + inner * sine + straight * cosine, angle + zero

    def spot(self, along: float, aside: float) -> Place:
        """Return the world (x, z) of one place."""
        x, z, _ = self.place(np.array([along]), aside)
        return float(x[0]), float(z[0])

    def heading(self, along: float) -> float:
        """Return the direction of the path at one place in radians."""
        return float(np.clip(along - self.bend_start, 0.0, self.bend_length)) * self.curvature

    def locate(self, x: Values, z: Values) -> tuple[Values, Values]:
        """Return how far along the path and aside (right) of it the given world points lie."""
        x = x - self.start_x
        if self.curvature == 0.0:
            return z, x
        sign, radius = np.sign(self.curvature), abs(1.0 / self.curvature)
        inward, ahead = radius - sign * x, z - self.bend_start
        angle, end = np.arctan2(ahead, inward), self.bend_length / radius
        before, beyond = ahead < 0.0, (ahead >= 0.0) & (angle > end)
        after = self.bend_length + ahead * np.cos(end) - inward * np.sin(end)
        along = np.where(beyond, after, np.where(before, ahead, angle * radius))
        exit_distance = inward * np.cos(end) + ahead * np.sin(end)
        bend_distance = np.where(before, inward, np.hypot(inward, ahead))
        distance = np.where(beyond, exit_distance, bend_distance)
        return along + self.bend_start, sign * (radius - distance)


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
    grass: float
    """Its brightness; that of ``asphalt`` likewise."""
    cobbles: bool

    @property
    def plot_line(self) -> float:
        """Distance from the centre line to the end of the pavement."""
        return self.half_width + self.verge + self.pavement

    def kerb_distance(self, along: Values, aside: Values) -> Values:
        """Return metres outside the nearest kerb; negative on the carriageway."""
        main, crossing = np.abs(aside) - self.half_width, self.crossing
        if crossing is None:
            return main
        side = np.abs(along - crossing.along) - crossing.half_width
        if not crossing.left_arm:
            side = np.maximum(side, -aside)
        if not crossing.right_arm:
            side = np.maximum(side, aside)
        if crossing.main_ends:
            main = np.maximum(main, along - crossing.along)
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
    heading: PerFrame
    """Radians, 0 = north, positive = right."""
    travelled: PerFrame
    """Metres covered since the first frame."""

    @property
    def moves(self) -> bool:
        """Whether it is not at rest."""
        return bool(self.travelled[-1] > 0)

    @classmethod
    def along(
        cls, path: StreetPath, along: PerFrame, aside: float, turn: float = 0.0
    ) -> "Trajectory":
        """Move along a street path, facing along it, or turned from that by ``turn``."""
        x, z, heading = path.place(along, aside)
        return cls(_on_ground(x, z), heading + turn, np.abs(along - along[0]))

    @classmethod
    def straight(cls, start: Place, heading: float, distance: PerFrame) -> "Trajectory":
        """Move in a straight line from world (x, z)."""
        x, z = start[0] + np.sin(heading) * distance, start[1] + np.cos(heading) * distance
        return cls(_on_ground(x, z), np.full(len(x), heading), np.abs(distance - distance[0]))


def _on_ground(x: Values, z: Values) -> Float[np.ndarray, "frames 3"]:
    return np.stack([x, np.zeros_like(x), z], 1)


class Occupancy:
    """Remembers the ground discs that everything placed so far covers in every frame."""

    def __init__(self, num_poses: int) -> None:
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

    def claim_spot(self, place: Place, radius: float) -> bool:
        """Reserve a standing disc around world (x, z); return False if it is taken."""
        path = Trajectory.straight(place, 0.0, self._still)
        return self.claim(path, 2 * radius, 2 * radius, 0.2)


_KINDS = ("residential", "avenue", "suburb", "commercial", "parkside")
_GREEN = {"suburb": 0.85, "parkside": 1.0, "residential": 0.25}
"""Chance that the ground behind the pavement is green, per kind of street."""


def sample_layout(random: np.random.Generator) -> StreetLayout:
    """Draw a street plan."""
    draw = random.uniform
    kind = str(random.choice(_KINDS, p=[0.30, 0.22, 0.18, 0.18, 0.12]))
    lanes = 2 if kind == "avenue" and random.random() < 0.6 else 1
    crossing = _sample_crossing(random)
    ends = crossing is not None and crossing.main_ends
    rails = kind in ("avenue", "commercial") and not ends and random.random() < 0.38
    lane_width = draw(2.9, 3.5) + (0.2 if rails else 0.0)
    parking = 2.15 if random.random() < (0.5 if kind == "parkside" else 0.8) else 0.0
    warm = draw(-0.03, 0.04)
    bright = draw(0.88, 1.08)
    left, right = random.random(2) < _GREEN.get(kind, 0.08)
    wide = kind in ("commercial", "avenue")
    return StreetLayout(
        kind=kind,
        path=_sample_path(random, crossing),
        half_width=lanes * lane_width + (parking or 0.4),
        lane_width=lane_width,
        lanes=lanes,
        parking_width=parking,
        pavement=draw(3.4, 5.6) if wide else draw(2.3, 3.8),
        verge=draw(1.2, 2.2) if random.random() < 0.35 else 0.0,
        green_plots=(bool(left), bool(right)),
        crossing=crossing,
        zebras=_sample_zebras(random, crossing),
        rails=(-0.5 * lane_width, 0.5 * lane_width) if rails else (),
        corner_radius=draw(3.0, 5.5),
        asphalt=draw(0.28, 0.40),
        paving=(0.56 * bright + warm, 0.54 * bright, 0.52 * bright - warm),
        grass=draw(0.85, 1.15),
        cobbles=kind == "residential" and bool(random.random() < 0.18),
    )


def _sample_crossing(random: np.random.Generator) -> SideStreet | None:
    if random.random() < 0.42:
        return None
    near, form = random.random() < 0.28, random.random()
    return SideStreet(
        along=random.uniform(14.0, 19.0) if near else random.uniform(28.0, 75.0),
        half_width=random.uniform(3.4, 6.0),
        left_arm=bool(form < 0.75 or form > 0.9),
        right_arm=bool(form < 0.6 or form > 0.75),
        main_ends=bool(form > 0.92),
    )


def _sample_path(random: np.random.Generator, crossing: SideStreet | None) -> StreetPath:
    """Draw the centre line: straight, or with a bend (after the junction if there is one)."""
    if random.random() < 0.5 or (crossing is not None and crossing.main_ends):
        return StreetPath()
    sign = 1.0 if random.random() < 0.5 else -1.0
    radius, angle = random.uniform(50.0, 160.0), random.uniform(0.35, 1.1)
    start = random.uniform(-15.0, 25.0) if crossing is None else crossing.along + 16.0
    return StreetPath(0.0, start, sign / radius, angle * radius)


def _sample_zebras(random: np.random.Generator, crossing: SideStreet | None) -> tuple[float, ...]:
    if crossing is None:
        return (random.uniform(12.0, 45.0),) if random.random() < 0.3 else ()
    if random.random() < 0.5:
        return ()
    gap = crossing.half_width + 4.2
    both = (crossing.along - gap, crossing.along + gap)
    return both[:1] if crossing.main_ends else both
