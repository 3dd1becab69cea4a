"""People who stand and walk, bicycles, and riders of bicycles and motorcycles."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from seg2vid.data.toycity.scene import WALLS, Colour, Look, Mesh, SceneBuilder

PERSON, RIDER, MOTORCYCLE, BICYCLE = 11, 12, 17, 18
RAW_PERSON, RAW_RIDER, RAW_MOTORCYCLE, RAW_BICYCLE = 24, 25, 32, 33
_SKIN: tuple[Colour, ...] = ((0.80, 0.60, 0.48), (0.66, 0.46, 0.34), (0.42, 0.28, 0.20))
_HAIR: tuple[Colour, ...] = (
    (0.10, 0.08, 0.07), (0.28, 0.18, 0.10), (0.55, 0.42, 0.22), (0.45, 0.45, 0.44),
)  # fmt: skip
_TOPS: tuple[Colour, ...] = (
    (0.12, 0.13, 0.16), (0.20, 0.24, 0.38), (0.55, 0.12, 0.12), (0.70, 0.68, 0.64),
    (0.24, 0.34, 0.22), (0.60, 0.45, 0.14), (0.36, 0.36, 0.38), (0.14, 0.36, 0.46),
    (0.46, 0.20, 0.36), (0.72, 0.36, 0.12),
)  # fmt: skip
_LEGS: tuple[Colour, ...] = (
    (0.10, 0.11, 0.15), (0.16, 0.20, 0.32), (0.30, 0.27, 0.23), (0.08, 0.08, 0.08),
    (0.42, 0.40, 0.36),
)  # fmt: skip


@dataclass(frozen=True)
class Outfit:
    """Colours of one person."""

    skin: Colour
    hair: Colour
    top: Colour
    legs: Colour


@dataclass(frozen=True)
class Trajectory:
    """Where something is and which way it faces in every frame."""

    position: Float[np.ndarray, "frames 3"]
    """World metres of its ground point."""
    heading: Float[np.ndarray, " frames"]
    """Radians, 0 = north, positive = right."""
    travelled: Float[np.ndarray, " frames"]
    """Metres covered since the first frame."""


def draw_outfit(random: np.random.Generator) -> Outfit:
    """Draw clothes, hair and skin."""
    return Outfit(*(group[random.integers(len(group))] for group in (_SKIN, _HAIR, _TOPS, _LEGS)))


@lru_cache(maxsize=256)
def _trunk_mesh(outfit: Outfit, lean: float, hip: float) -> Mesh:
    """Return torso, neck and head above the hip; `lean` shifts the shoulders forward."""
    mesh, top = Mesh(), Look(outfit.top)
    shoulder = hip + 0.56
    mesh.prism(
        (-0.17, 0.17, -0.11, 0.11),
        (-0.16, 0.16, -0.10, 0.11),
        (hip - 0.08, hip + 0.1),
        Look(outfit.legs),
    )
    mesh.prism(
        (-0.17, 0.17, -0.11, 0.11),
        (-0.21, 0.21, lean - 0.10, lean + 0.11),
        (hip + 0.08, shoulder),
        top,
    )
    head = (0.0, shoulder + 0.19, 1.15 * lean + 0.02)
    mesh.box(
        (-0.05, shoulder, lean - 0.05),
        (0.05, shoulder + 0.1, lean + 0.05),
        Look(outfit.skin),
        WALLS,
    )
    mesh.ellipsoid(head, (0.095, 0.135, 0.11), Look(outfit.skin))
    mesh.ellipsoid((0.0, head[1] + 0.045, head[2] - 0.03), (0.105, 0.115, 0.115), Look(outfit.hair))
    return mesh


@lru_cache(maxsize=256)
def _limb_mesh(length: float, thick: float, colour: Colour, end: Colour, foot: float) -> Mesh:
    """Return a limb that hangs from the origin, with a hand or foot at its end."""
    mesh = Mesh()
    mesh.prism(
        (-0.7 * thick, 0.7 * thick, -0.7 * thick, 0.7 * thick),
        (-thick, thick, -thick, thick),
        (-length + 0.08, 0.0),
        Look(colour),
    )
    mesh.box((-0.7 * thick, -length, -0.7 * thick), (0.7 * thick, -length + 0.09, foot), Look(end))
    return mesh


def add_person(
    scene: SceneBuilder, random: np.random.Generator, path: Trajectory, stature: float, walks: bool
) -> None:
    """Add a person of `stature` metres who walks along `path` or stands there."""
    outfit, instance = draw_outfit(random), scene.new_instance(RAW_PERSON)
    hip = 0.50 * stature
    trunk = _trunk_mesh(outfit, 0.03 if walks else 0.0, round(hip - 0.02, 2))
    body = scene.part(path.position, path.heading)
    scene.add(trunk, PERSON, body, instance)
    phase = path.travelled / (0.42 * stature) * np.pi + random.uniform(0, 2 * np.pi)
    stride = 0.50 if walks else 0.0
    rest = 0.0 if walks else float(random.uniform(-0.1, 0.1))
    shoe = (0.08, 0.07, 0.07)
    leg = _limb_mesh(round(hip, 2), 0.085, outfit.legs, shoe, 0.16)
    arm = _limb_mesh(round(0.36 * stature, 2), 0.055, outfit.top, outfit.skin, 0.05)
    for side in (-1.0, 1.0):
        swing = stride * side * np.sin(phase) + rest
        leg_part = scene.part(path.position, path.heading, swing, (0.095 * side, hip, 0.0))
        scene.add(leg, PERSON, leg_part, instance)
        shoulder = (0.25 * side, hip + 0.50, 0.0)
        arm_part = scene.part(path.position, path.heading, -0.8 * swing - 0.05, shoulder)
        scene.add(arm, PERSON, arm_part, instance)
    scene.patch((0.0, 0.0), ((0.42, 0.0), (0.0, 0.36)), -0.5, 2.0, body)


@lru_cache(maxsize=32)
def bicycle_mesh(colour: Colour) -> Mesh:
    """Return a bicycle, 1.75 m long, with open wheels."""
    mesh, frame = Mesh(), Look(colour)
    tyre = Look((0.09, 0.09, 0.09))
    for centre in (-0.52, 0.53):
        _add_ring(mesh, centre, 0.34, tyre)
    hub, saddle, head, pedal = (-0.52, 0.34), (-0.22, 0.88), (0.38, 0.86), (-0.05, 0.30)
    joints = ((hub, pedal), (pedal, saddle), (pedal, head), (saddle, head), (hub, (-0.2, 0.75)))
    for (z0, y0), (z1, y1) in (*joints, ((0.53, 0.34), (0.34, 1.0))):
        _add_bar(mesh, (z0, y0), (z1, y1), frame)
    mesh.box((-0.28, 1.0, 0.28), (0.28, 1.05, 0.34), Look((0.12, 0.12, 0.12)))
    mesh.box((-0.07, 0.88, -0.38), (0.07, 0.95, -0.10), Look((0.10, 0.09, 0.08)))
    return mesh


def _add_ring(mesh: Mesh, centre: float, radius: float, look: Look) -> None:
    """Add an open wheel in the plane x = 0 around (y = radius, z = centre)."""
    turns = np.linspace(0, 2 * np.pi, 11)
    inner = 0.80 * radius
    for first, second in zip(turns[:-1], turns[1:], strict=True):
        corners = [
            [0.0, radius + reach * np.cos(turn), centre + reach * np.sin(turn)]
            for turn, reach in ((first, radius), (second, radius), (second, inner), (first, inner))
        ]
        mesh.quad(np.array(corners), look)
    mesh.box((-0.03, 0.02, centre - 0.03), (0.03, 2 * radius, centre + 0.03), look, (0, 2))


def _add_bar(mesh: Mesh, start: tuple[float, float], end: tuple[float, float], look: Look) -> None:
    """Add a frame tube between two (z, y) points in the plane x = 0."""
    (z0, y0), (z1, y1) = start, end
    length = float(np.hypot(z1 - z0, y1 - y0))
    aside = np.array([0.0, (z1 - z0) / length, -(y1 - y0) / length]) * 0.03
    first, second = np.array([0.0, y0, z0]), np.array([0.0, y1, z1])
    mesh.quad(np.stack([first - aside, second - aside, second + aside, first + aside]), look)


_BIKE_COLOURS: tuple[Colour, ...] = (
    (0.10, 0.10, 0.11), (0.50, 0.08, 0.08), (0.10, 0.22, 0.45), (0.55, 0.55, 0.56),
    (0.10, 0.34, 0.28), (0.68, 0.50, 0.12),
)  # fmt: skip


def bicycle_colour(random: np.random.Generator) -> Colour:
    """Draw the colour of a bicycle frame."""
    return _BIKE_COLOURS[random.integers(len(_BIKE_COLOURS))]


def add_rider(
    scene: SceneBuilder, random: np.random.Generator, path: Trajectory, motorised: bool
) -> None:
    """Seat a rider on the bicycle or motorcycle that follows `path`."""
    outfit, instance = draw_outfit(random), scene.new_instance(RAW_RIDER)
    seat = 0.92 if motorised else 0.98
    back = -0.28 if motorised else -0.22
    body = scene.part(path.position, path.heading, None, (0.0, 0.0, back))
    if motorised:
        outfit = Outfit((0.15, 0.15, 0.16), outfit.top, outfit.top, outfit.legs)
    scene.add(_trunk_mesh(outfit, 0.22, seat), RIDER, body, instance)
    leg = _limb_mesh(0.82, 0.08, outfit.legs, (0.08, 0.07, 0.07), 0.16)
    arm = _limb_mesh(0.62, 0.055, outfit.top, outfit.skin, 0.05)
    phase = path.travelled / 5.0 * 2 * np.pi + random.uniform(0, 2 * np.pi)
    for side in (-1.0, 1.0):
        pedalling = -0.42 + (0.0 if motorised else 0.30) * side * np.sin(phase)
        hip = (0.11 * side, seat, back)
        scene.add(leg, RIDER, scene.part(path.position, path.heading, pedalling, hip), instance)
        shoulder = (0.24 * side, seat + 0.52, back + 0.2)
        reach = np.full(scene.num_poses, -0.95)
        scene.add(arm, RIDER, scene.part(path.position, path.heading, reach, shoulder), instance)
