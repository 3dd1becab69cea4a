"""The camera, and how its car moves: it stands, drives along the street, or turns."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.data.toycity.street import PerFrame, StreetLayout, StreetPath, Trajectory


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
    headings: PerFrame
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

    @cached_property
    def rays(self) -> Float[np.ndarray, "2 pixels"]:
        """Right/forward and down/forward of every pixel's ray, row after row."""
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


@dataclass(frozen=True)
class Drive:
    """What the camera car does: its path, speed (m/s) and acceleration (m/s2)."""

    behaviour: str
    path: StreetPath
    aside: float
    start: float = 0.0
    """Metres along the path."""
    speed: float = 0.0
    change: float = 0.0

    def way(self, seconds: PerFrame) -> Trajectory:
        """Return where the camera is at each time."""
        braking = self.speed / -self.change if self.change < 0 else np.inf
        driven = np.minimum(seconds, braking)
        along = self.start + self.speed * driven + 0.5 * self.change * driven**2
        return Trajectory.along(self.path, along, self.aside)


def sample_drive(layout: StreetLayout, random: np.random.Generator) -> Drive:
    """Draw what the camera car does."""
    lane = layout.half_width - layout.parking_width - layout.lane_width / 2
    if layout.lanes > 1 and random.random() < 0.5:
        lane -= layout.lane_width
    lane += random.uniform(-0.15, 0.15)
    crossing = layout.crossing
    if random.random() < 0.14:
        return Drive("standing", layout.path, lane)
    if crossing is not None and crossing.along < 24.0:
        arms = ((1, crossing.right_arm), (-1, crossing.left_arm))
        turns = [turn for turn, present in arms if present]
        turn = turns[random.integers(len(turns))]
        radius = random.uniform(6.5, 8.0) if turn > 0 else random.uniform(9.5, 12.0)
        bend = crossing.along - turn * crossing.half_width / 2 - radius
        path = StreetPath(lane, bend, turn / radius, radius * np.pi / 2)
        start, speed = bend + random.uniform(-2.5, 4.0), random.uniform(4.0, 6.5)
        words = "turning right" if turn > 0 else "turning left"
        return Drive(words, path, 0.0, start, speed, 0.3)
    slow = random.random() < 0.15
    speed = random.uniform(1.5, 4.0) if slow else random.uniform(5.0, 14.0)
    change = float(random.choice([0.0, 1.0, -1.5], p=[0.6, 0.2, 0.2]))
    words = "driving along a bend" if layout.path.curvature else "driving straight on"
    return Drive(words, layout.path, lane, 0.0, speed, change)


def sample_camera(way: Trajectory, config: ToyCityConfig, random: np.random.Generator) -> ToyCamera:
    """Draw a camera that is carried along a way; most see no bonnet."""
    focal = config.width * random.uniform(1.0, 1.15)
    centre_x = (config.width - 1) / 2 + config.width * random.uniform(-0.01, 0.01)
    centre_y = config.height * random.uniform(0.40, 0.49)
    elevation, bonnet = random.uniform(1.2, 1.6), np.zeros((config.height, config.width), bool)
    if random.random() < 0.25:
        across = np.linspace(-1, 1, config.width) + random.uniform(-0.08, 0.08)
        crest = 1.0 - random.uniform(0.05, 0.13) * (1.0 - 0.75 * np.abs(across) ** 2.2)
        bonnet = np.arange(config.height)[:, None] >= crest * config.height
    places = way.position[:, [0, 2]]
    return ToyCamera(focal, centre_x, centre_y, elevation, places, way.heading, bonnet)
