"""Lamps, bollards, traffic lights and signs beside the street."""

import numpy as np

from seg2vid.data.toycity.mesh import ALL_SIDES, NO_BOTTOM, WALLS, Look, Material, Mesh
from seg2vid.data.toycity.scene import SceneBuilder

POLE, LIGHT, SIGN = 5, 6, 7
_STEEL = ((0.42, 0.44, 0.45), (0.28, 0.33, 0.30), (0.55, 0.56, 0.57), (0.22, 0.23, 0.25))
_BLACK, _WHITE = (0.07, 0.07, 0.07), (0.92, 0.92, 0.90)
_RED, _BLUE, _YELLOW = (0.80, 0.06, 0.08), (0.06, 0.22, 0.62), (0.75, 0.62, 0.06)
_LENSES = ((1.0, 0.10, 0.08), (1.0, 0.70, 0.10), (0.15, 0.95, 0.45))

Place = tuple[float, float]
"""World (x, z)."""


def _mast(random: np.random.Generator, height: float, radius: float) -> Mesh:
    """Return an upright mast at the origin."""
    mesh, steel = Mesh(), Look(_STEEL[random.integers(len(_STEEL))])
    mesh.box((-radius, 0.0, -radius), (radius, height, radius), steel, NO_BOTTOM)
    return mesh


def add_lamp(
    scene: SceneBuilder, random: np.random.Generator, place: Place, heading: float, lit: float
) -> None:
    """Erect a street lamp whose arm reaches along ``heading``; ``lit`` is 0 to 1."""
    part, height = scene.standing_part(place, heading), float(random.uniform(6.0, 9.0))
    mesh = _mast(random, height, 0.065)
    steel = mesh.looks[0]
    mesh.box((-0.05, height - 0.12, 0.0), (0.05, height, 1.7), steel, ALL_SIDES)
    mesh.box((-0.14, height - 0.16, 1.2), (0.14, height - 0.02, 2.0), steel)
    lamp = Look((1.0, 0.86, 0.58), Material.GLOW, (0.75, 0.75, 0.70))
    mesh.box((-0.12, height - 0.24, 1.25), (0.12, height - 0.15, 1.95), lamp, ALL_SIDES)
    scene.add(mesh, POLE, part)
    if lit > 0:
        scene.patch((0.0, 2.0), (6.0, 7.0), 0.62 * lit, part=part)


def add_bollard(scene: SceneBuilder, random: np.random.Generator, place: Place) -> None:
    """Erect a low post."""
    scene.add(_mast(random, 0.95, 0.06), POLE, scene.standing_part(place, 0.0))


def add_traffic_light(
    scene: SceneBuilder,
    random: np.random.Generator,
    place: Place,
    heading: float,
    state: int,
    arm: float,
) -> None:
    """Erect a signal facing against ``heading``; state 0 red, 1 amber, 2 green.

    ``arm`` is the reach in metres of an arm to the left with a second signal, 0 = none.
    """
    part, height = scene.standing_part(place, heading), 5.6 if arm else 3.3
    mesh, lights = _mast(random, height, 0.06), Mesh()
    _add_signal(lights, 0.0, 2.3, state)
    if arm:
        low = (-arm, height - 0.15, -0.05)
        mesh.box(low, (0.0, height - 0.02, 0.05), mesh.looks[0], ALL_SIDES)
        _add_signal(lights, 0.2 - arm, height - 1.05, state)
    scene.add(mesh, POLE, part)
    scene.add(lights, LIGHT, part)


def _add_signal(mesh: Mesh, x: float, low: float, state: int) -> None:
    """Add a black box with three lenses towards -z."""
    mesh.box((x - 0.19, low, -0.3), (x + 0.19, low + 1.0, -0.08), Look(_BLACK), ALL_SIDES)
    for index, colour in enumerate(_LENSES):
        lit, dark = float(index == state), Look(colour).shaded(0.22).colour
        look = Look(colour if lit else dark, Material.GLOW, dark, (lit,))
        mesh.ellipsoid((x, low + 0.82 - 0.31 * index, -0.30), (0.12, 0.12, 0.04), look)


def add_sign(
    scene: SceneBuilder, random: np.random.Generator, place: Place, heading: float
) -> None:
    """Erect a traffic sign of a random kind that faces against ``heading``."""
    part, height = scene.standing_part(place, heading), float(random.uniform(2.3, 2.9))
    scene.add(_mast(random, height, 0.04), POLE, part)
    kind, plate = int(random.integers(6)), Mesh()
    if kind <= 1:
        ring, face = ((_RED, _WHITE), (_BLUE, _BLUE))[kind]
        plate.ellipsoid((0, height, -0.06), (0.36, 0.36, 0.015), Look(ring))
        plate.ellipsoid((0, height, -0.075), (0.26, 0.26, 0.012), Look(face))
        if kind == 1 or random.random() < 0.4:
            bar = Look(_WHITE if kind == 1 else _BLACK)
            plate.box((-0.2, height - 0.06, -0.11), (0.2, height + 0.06, -0.09), bar, WALLS)
    elif kind == 2:
        up = -1.0 if random.random() < 0.4 else 1.0
        for half, foot, tip, near, colour in (
            (0.45, -0.4, 0.4, -0.06, _RED), (0.27, -0.3, 0.18, -0.07, _WHITE),
        ):  # fmt: skip
            base, peak = height + up * foot, [0.0, height + up * tip, near]
            corners = [[-half, base, near], [half, base, near], peak, peak]
            plate.quad(np.array(corners), Look(colour))
    else:
        _add_plate(plate, random, height, kind - 3)
    scene.add(plate, SIGN, part)


def _add_plate(mesh: Mesh, random: np.random.Generator, height: float, kind: int) -> None:
    """Add a rectangular sign: a blue square, a blue panel, or a large direction sign."""
    width, tall = ((0.62, 0.62), (0.5, 0.75), (1.5, 0.95))[kind]
    colour = (_WHITE, _YELLOW, _BLUE)[random.integers(3)] if kind == 2 else _BLUE
    rim = _BLACK if colour == _WHITE else _WHITE
    x, low, high = width / 2, height - tall / 2, height + tall / 2
    corners = [[-x, low, -0.06], [x, low, -0.06], [x, high, -0.06], [-x, high, -0.06]]
    look = Look(colour, Material.SIGN, rim, (width, tall, 0.04, float(kind)))
    mesh.quad(np.array(corners), look)
