"""How the camera car moves: stands, drives along the street, or turns at a junction."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from seg2vid.data.toycity.camera import ToyCamera
from seg2vid.data.toycity.config import ToyCityConfig
from seg2vid.data.toycity.layout import StreetLayout
from seg2vid.data.toycity.people import Trajectory
from seg2vid.data.toycity.street_path import StreetPath
from seg2vid.data.toycity.traffic import follow


@dataclass(frozen=True)
class EgoDrive:
    """The camera, the way of its car and what it does in words."""

    camera: ToyCamera
    trajectory: Trajectory
    behaviour: str
    speed: float
    """Metres per second at the start."""


def drive_ego(layout: StreetLayout, config: ToyCityConfig, random: np.random.Generator) -> EgoDrive:
    """Draw the camera and its motion."""
    seconds = np.arange(config.num_frames + 1) / config.frames_per_second
    lane = layout.half_width - layout.parking_width - layout.lane_width / 2
    if layout.lanes > 1 and random.random() < 0.5:
        lane -= layout.lane_width
    lane += random.uniform(-0.15, 0.15)
    behaviour, path, speed, change = _choose_behaviour(layout, lane, random)
    turning = behaviour in ("turning right", "turning left")
    start = path.bend_start + random.uniform(-2.5, 4.0) if turning else 0.0
    along = start + speed * seconds + 0.5 * change * seconds**2
    if change < 0:
        stop = -speed / change
        along = np.where(seconds > stop, start + 0.5 * speed * stop, along)
    trajectory = follow(path, along, 0.0 if turning else lane)
    camera = ToyCamera(
        focal=config.width * float(random.uniform(1.0, 1.15)),
        centre_x=(config.width - 1) / 2 + config.width * float(random.uniform(-0.01, 0.01)),
        centre_y=config.height * float(random.uniform(0.40, 0.49)),
        elevation=float(random.uniform(1.2, 1.6)),
        positions=trajectory.position[:, [0, 2]],
        headings=trajectory.heading,
        bonnet=_bonnet(config, random),
    )
    body = Trajectory(
        trajectory.position - 1.2 * _ahead(trajectory), trajectory.heading, trajectory.travelled
    )
    return EgoDrive(camera, body, behaviour, speed)


def _ahead(path: Trajectory) -> np.ndarray:
    """Return the unit vectors in which a trajectory faces."""
    zero = np.zeros_like(path.heading)
    return np.stack([np.sin(path.heading), zero, np.cos(path.heading)], 1)


def _choose_behaviour(
    layout: StreetLayout, lane: float, random: np.random.Generator
) -> tuple[str, StreetPath, float, float]:
    """Draw behaviour in words, path, speed (m/s) and acceleration (m/s2)."""
    if random.random() < 0.14:
        return "standing", layout.path, 0.0, 0.0
    crossing = layout.crossing
    if crossing is not None and crossing.along < 24.0:
        speed = float(random.uniform(4.0, 6.5))
        side_lane = crossing.half_width / 2
        options = [turn for turn, arm in ((1, crossing.right_arm), (-1, crossing.left_arm)) if arm]
        turn = options[random.integers(len(options))]
        radius = float(random.uniform(6.5, 8.0) if turn > 0 else random.uniform(9.5, 12.0))
        exit_lane = crossing.along - turn * side_lane
        path = StreetPath(lane, exit_lane - radius, turn / radius, radius * np.pi / 2)
        return ("turning right" if turn > 0 else "turning left"), path, speed, 0.3
    speed = float(random.uniform(5.0, 14.0) if random.random() < 0.85 else random.uniform(1.5, 4.0))
    change = float(random.choice([0.0, 1.0, -1.5], p=[0.6, 0.2, 0.2]))
    curved = layout.path.curvature != 0.0
    words = "driving through a bend" if curved else "driving straight on"
    return words, layout.path, speed, change


def _bonnet(config: ToyCityConfig, random: np.random.Generator) -> Bool[np.ndarray, "h w"]:
    """Draw the pixels that the bonnet covers; most clips show none."""
    mask = np.zeros((config.height, config.width), bool)
    if random.random() < 0.25:
        across = np.linspace(-1, 1, config.width) + random.uniform(-0.08, 0.08)
        peak = random.uniform(0.05, 0.13)
        crest = 1.0 - peak * (1.0 - 0.75 * np.abs(across) ** 2.2)
        mask[np.arange(config.height)[:, None] >= crest * config.height] = True
    return mask
