"""Vehicles and people, each in its own axes.

``vehicles.json`` lists vehicles as solids between two rectangles (look, bottom and top as x0, x1,
z0, z1, heights) and ellipsoids (look, centre, radii). A solid has one look or one per side. People
are rigid trunks with swinging arms and legs.
"""

import json
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from seg2vid.data.toycity.scene import WALLS, Label, Look, Material, Mesh, Site, Triple
from seg2vid.data.toycity.street import Trajectory

PAINTS: tuple[Triple, ...] = (
    (0.08, 0.08, 0.09), (0.55, 0.57, 0.60), (0.72, 0.73, 0.74), (0.86, 0.86, 0.85),
    (0.28, 0.29, 0.31), (0.52, 0.07, 0.07), (0.10, 0.17, 0.38), (0.16, 0.30, 0.50),
    (0.10, 0.27, 0.18), (0.45, 0.40, 0.32), (0.66, 0.52, 0.14), (0.20, 0.10, 0.09),
    (0.40, 0.44, 0.48), (0.72, 0.30, 0.08),
)  # fmt: skip
"""Colours of cars and two-wheelers."""
LIVERIES: tuple[tuple[Triple, Triple], ...] = (
    ((0.85, 0.83, 0.78), (0.62, 0.08, 0.08)), ((0.78, 0.62, 0.12), (0.15, 0.15, 0.16)),
    ((0.62, 0.10, 0.10), (0.85, 0.84, 0.80)), ((0.16, 0.30, 0.55), (0.85, 0.85, 0.84)),
    ((0.20, 0.42, 0.28), (0.82, 0.80, 0.70)),
)  # fmt: skip
"""Body and stripe of buses, trams and lorries."""


class VehicleKind(NamedTuple):
    """Size in metres and class of a kind of vehicle."""

    length: float
    width: float
    label: int


_BODIES = json.loads((resources.files(__package__) / "vehicles.json").read_text("utf-8"))


@cache
def vehicle_kind(name: str) -> VehicleKind:
    """Return size and class of the named kind of vehicle."""
    if name == "bicycle":
        return VehicleKind(1.8, 0.6, Label.BICYCLE)
    body = _BODIES[name]
    return VehicleKind(float(body["length"]), float(body["width"]), body["label"])


@cache
def vehicle_mesh(name: str, colour: Triple, second: Triple) -> Mesh:
    """Return the body of a vehicle; ``second`` is the colour of stripes or cargo."""
    mesh = Mesh()
    if name == "bicycle":
        _add_bicycle(mesh, Look(colour))
        return mesh
    body, colours = _BODIES[name], {"body": colour, "second": second}
    written = {**_BODIES["shared looks"], **body["looks"]}
    looks = {key: _read_look(values, colours) for key, values in written.items()}
    for keys, bottom, top, heights in body["solids"]:
        look = looks[keys] if isinstance(keys, str) else tuple(looks[key] for key in keys)
        mesh.prism(tuple(bottom), tuple(top), tuple(heights), look)
    for key, centre, radii in body["ellipsoids"]:
        mesh.ellipsoid(tuple(centre), tuple(radii), looks[key])
    return mesh


def _read_look(values: dict[str, Any], colours: dict[str, Triple]) -> Look:
    pair = [values.get(key, (0.1, 0.1, 0.12)) for key in ("colour", "second")]
    first, second = (colours[c] if isinstance(c, str) else tuple(c) for c in pair)
    material = Material[values.get("material", "flat").upper()]
    return Look(first, material, second, tuple(values.get("parameters", ())))


def _add_bicycle(mesh: Mesh, frame: Look) -> None:
    """Add a bicycle, 1.75 m long, with open wheels in the plane x = 0."""
    rubber = Look((0.08, 0.08, 0.085))
    for centre in (-0.52, 0.53):
        for pair in pairwise(np.linspace(0, 2 * np.pi, 11)):
            turn, reach = np.array([*pair, *pair[::-1]]), np.array([0.34, 0.34, 0.27, 0.27])
            rim = [np.zeros(4), 0.34 + reach * np.cos(turn), centre + reach * np.sin(turn)]
            mesh.quad(np.stack(rim, 1), rubber)
        mesh.box((-0.03, 0.02, centre - 0.03), (0.03, 0.68, centre + 0.03), rubber, (0, 2))
    hub, saddle, head, pedal = (0.34, -0.52), (0.88, -0.22), (0.86, 0.38), (0.30, -0.05)
    tubes = ((hub, pedal), (pedal, saddle), (pedal, head), (saddle, head), (hub, (0.75, -0.2)))
    for start, end in (*tubes, ((0.34, 0.53), (1.0, 0.34))):
        first, second = np.array([0.0, *start]), np.array([0.0, *end])
        aside = np.array([0.0, end[1] - start[1], start[0] - end[0]])
        aside *= 0.03 / np.sqrt((aside**2).sum())
        mesh.quad(np.stack([first - aside, second - aside, second + aside, first + aside]), frame)
    mesh.box((-0.28, 1.0, 0.28), (0.28, 1.05, 0.34), rubber)
    mesh.box((-0.07, 0.88, -0.38), (0.07, 0.95, -0.10), rubber)


_SKIN = ((0.80, 0.60, 0.48), (0.66, 0.46, 0.34), (0.42, 0.28, 0.20))
_HAIR = ((0.10, 0.08, 0.07), (0.28, 0.18, 0.10), (0.55, 0.42, 0.22), (0.45, 0.45, 0.44))
_TOPS = (
    (0.12, 0.13, 0.16), (0.20, 0.24, 0.38), (0.55, 0.12, 0.12), (0.70, 0.68, 0.64),
    (0.24, 0.34, 0.22), (0.60, 0.45, 0.14), (0.36, 0.36, 0.38), (0.14, 0.36, 0.46),
    (0.46, 0.20, 0.36), (0.72, 0.36, 0.12),
)  # fmt: skip
_LEGS = (
    (0.10, 0.11, 0.15), (0.16, 0.20, 0.32), (0.30, 0.27, 0.23), (0.08, 0.08, 0.08),
    (0.42, 0.40, 0.36),
)  # fmt: skip
_SHOE = (0.08, 0.07, 0.07)
_HELMET = (0.15, 0.15, 0.16)


class _Outfit(NamedTuple):
    skin: Triple
    hair: Triple
    top: Triple
    legs: Triple


def _draw_outfit(random: np.random.Generator) -> _Outfit:
    groups = (_SKIN, _HAIR, _TOPS, _LEGS)
    return _Outfit(*(group[random.integers(len(group))] for group in groups))


@cache
def _trunk(outfit: _Outfit, lean: float, hip: float) -> Mesh:
    """Return torso, neck and head above the hip; ``lean`` shifts the shoulders forward."""
    mesh, shoulder = Mesh(), hip + 0.56
    waist, skin = (-0.17, 0.17, -0.11, 0.11), Look(outfit.skin)
    mesh.prism(waist, (-0.16, 0.16, -0.10, 0.11), (hip - 0.08, hip + 0.1), Look(outfit.legs))
    chest = (-0.21, 0.21, lean - 0.10, lean + 0.11)
    mesh.prism(waist, chest, (hip + 0.08, shoulder), Look(outfit.top))
    mesh.box((-0.05, shoulder, lean - 0.05), (0.05, shoulder + 0.1, lean + 0.05), skin, WALLS)
    head = (0.0, shoulder + 0.19, 1.15 * lean + 0.02)
    mesh.ellipsoid(head, (0.095, 0.135, 0.11), skin)
    hair = (0.0, head[1] + 0.045, head[2] - 0.03)
    mesh.ellipsoid(hair, (0.105, 0.115, 0.115), Look(outfit.hair))
    return mesh


@cache
def _limb(length: float, thick: float, colour: Triple, end: Triple, foot: float) -> Mesh:
    """Return a limb that hangs from the origin, with a hand or foot at its end."""
    mesh, thin = Mesh(), 0.7 * thick
    upper = (-thick, thick, -thick, thick)
    mesh.prism((-thin, thin, -thin, thin), upper, (0.08 - length, 0.0), Look(colour))
    mesh.box((-thin, -length, -thin), (thin, 0.09 - length, foot), Look(end))
    return mesh


def add_person(site: Site, path: Trajectory, stature: float) -> None:
    """Add a person of ``stature`` metres who walks along ``path`` or stands there."""
    scene, outfit, walks = site.scene, _draw_outfit(site.random), path.moves
    instance, hip = scene.new_instance(Label.PERSON), round(0.50 * stature, 2)
    body = scene.part(path)
    trunk = _trunk(outfit, 0.03 if walks else 0.0, round(hip - 0.02, 2))
    scene.add(trunk, Label.PERSON, body, instance)
    leg = _limb(hip, 0.085, outfit.legs, _SHOE, 0.16)
    arm = _limb(round(0.36 * stature, 2), 0.055, outfit.top, outfit.skin, 0.05)
    phase = path.travelled / (0.42 * stature) * np.pi + site.draw(0, 2 * np.pi)
    rest = 0.0 if walks else site.draw(-0.1, 0.1)
    for side in (-1.0, 1.0):
        swing = (0.50 * side if walks else 0.0) * np.sin(phase) + rest
        shoulder = (0.25 * side, hip + 0.50, 0.0)
        limbs = ((leg, swing, (0.095 * side, hip, 0.0)), (arm, -0.8 * swing - 0.05, shoulder))
        for mesh, angle, pivot in limbs:
            scene.add(mesh, Label.PERSON, scene.part(path, angle, pivot), instance)
    scene.patch((0.0, 0.0), (0.42, 0.36), -0.5, part=body)


def add_rider(site: Site, path: Trajectory, motorised: bool) -> None:
    """Seat a rider on the bicycle or motorcycle that follows ``path``."""
    scene, outfit = site.scene, _draw_outfit(site.random)
    instance = scene.new_instance(Label.RIDER)
    seat, back = (0.92, -0.28) if motorised else (0.98, -0.22)
    if motorised:
        outfit = outfit._replace(skin=_HELMET, hair=outfit.top)
    body = scene.part(path, None, (0.0, 0.0, back))
    scene.add(_trunk(outfit, 0.22, seat), Label.RIDER, body, instance)
    leg = _limb(0.82, 0.08, outfit.legs, _SHOE, 0.16)
    arm = _limb(0.62, 0.055, outfit.top, outfit.skin, 0.05)
    phase = path.travelled / 5.0 * 2 * np.pi + site.draw(0, 2 * np.pi)
    reach = np.full(scene.num_poses, -0.95)
    for side in (-1.0, 1.0):
        pedalling = (0.0 if motorised else 0.30) * side * np.sin(phase) - 0.42
        part = scene.part(path, pedalling, (0.11 * side, seat, back))
        scene.add(leg, Label.RIDER, part, instance)
        shoulder = (0.24 * side, seat + 0.52, back + 0.2)
        scene.add(arm, Label.RIDER, scene.part(path, reach, shoulder), instance)
