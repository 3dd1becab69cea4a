"""Lamps, poles, traffic lights and signs beside the street."""

import numpy as np

from seg2vid.data.toycity.scene import WALLS, Look, Material, Mesh, SceneBuilder

POLE, LIGHT, SIGN = 5, 6, 7
_STEEL = ((0.42, 0.44, 0.45), (0.28, 0.33, 0.30), (0.55, 0.56, 0.57), (0.22, 0.23, 0.25))
_BLACK = Look((0.07, 0.07, 0.07))
_LENSES = ((1.0, 0.10, 0.08), (1.0, 0.70, 0.10), (0.15, 0.95, 0.45))


def _still_part(scene: SceneBuilder, place: tuple[float, float], heading: float) -> int:
    """Add a part that stands at world (x, z) and faces along `heading`."""
    position = np.tile([place[0], 0.0, place[1]], (scene.num_poses, 1))
    return scene.part(position, np.full(scene.num_poses, heading))


def _mast(mesh: Mesh, height: float, radius: float, look: Look) -> None:
    """Add an upright mast at the origin."""
    mesh.box((-radius, 0.0, -radius), (radius, height, radius), look, WALLS)


def add_lamp(
    scene: SceneBuilder,
    random: np.random.Generator,
    place: tuple[float, float],
    heading: float,
    lit: float,
) -> None:
    """Erect a street lamp whose arm reaches along `heading`; `lit` is 0 to 1."""
    part, mesh = _still_part(scene, place, heading), Mesh()
    steel = Look(_STEEL[random.integers(len(_STEEL))])
    height = float(random.uniform(6.0, 9.0))
    _mast(mesh, height, 0.065, steel)
    mesh.box((-0.05, height - 0.12, 0.0), (0.05, height, 1.7), steel, (0, 1, 2, 3, 4, 5))
    mesh.box((-0.14, height - 0.16, 1.2), (0.14, height - 0.02, 2.0), steel)
    lamp = Look((1.0, 0.86, 0.58), Material.GLOW, (0.75, 0.75, 0.70))
    mesh.box((-0.12, height - 0.24, 1.25), (0.12, height - 0.15, 1.95), lamp, (0, 1, 2, 3, 5))
    scene.add(mesh, POLE, part)
    if lit > 0:
        scene.patch((0.0, 2.0), ((6.0, 0.0), (0.0, 7.0)), 0.62 * lit, 2.0, part)


def add_post(scene: SceneBuilder, random: np.random.Generator, place: tuple[float, float]) -> None:
    """Erect a low bollard."""
    mesh = Mesh()
    x, z = place
    look = Look(_STEEL[random.integers(len(_STEEL))])
    mesh.box((x - 0.06, 0.0, z - 0.06), (x + 0.06, 0.95, z + 0.06), look)
    scene.add(mesh, POLE)


def add_traffic_light(
    scene: SceneBuilder,
    random: np.random.Generator,
    place: tuple[float, float],
    heading: float,
    state: int,
    arm: float = 0.0,
) -> None:
    """Erect a signal facing against `heading`; state 0 red, 1 amber, 2 green.

    `arm` is the reach in metres of an arm to the left with a second signal, 0 = none.
    """
    part, mesh = _still_part(scene, place, heading), Mesh()
    steel = Look(_STEEL[random.integers(len(_STEEL))])
    height = 5.6 if arm else 3.3
    _mast(mesh, height, 0.06, steel)
    if arm:
        mesh.box(
            (-arm, height - 0.15, -0.05), (0.0, height - 0.02, 0.05), steel, (0, 1, 2, 3, 4, 5)
        )
    scene.add(mesh, POLE, part)
    lights = Mesh()
    _signal_head(lights, 0.0, 2.3, state)
    if arm:
        _signal_head(lights, -arm + 0.2, height - 1.05, state)
    scene.add(lights, LIGHT, part)


def _signal_head(mesh: Mesh, x: float, low: float, state: int) -> None:
    """Add a black box with three lenses towards -z."""
    mesh.box((x - 0.19, low, -0.3), (x + 0.19, low + 1.0, -0.08), _BLACK, (0, 1, 2, 3, 4, 5))
    for index, colour in enumerate(_LENSES):
        lit = 1.0 if index == state else 0.0
        dark = tuple(0.22 * value for value in colour)
        look = Look(colour if lit else dark, Material.GLOW, dark, (lit,))
        mesh.ellipsoid((x, low + 0.82 - 0.31 * index, -0.30), (0.12, 0.12, 0.04), look)


def add_sign(
    scene: SceneBuilder, random: np.random.Generator, place: tuple[float, float], heading: float
) -> None:
    """Erect a traffic sign of a random kind that faces against `heading`."""
    part, mast, plate = _still_part(scene, place, heading), Mesh(), Mesh()
    height = float(random.uniform(2.3, 2.9))
    _mast(mast, height, 0.04, Look(_STEEL[random.integers(len(_STEEL))]))
    scene.add(mast, POLE, part)
    kind = int(random.integers(6))
    white, red, blue = (0.92, 0.92, 0.90), (0.80, 0.06, 0.08), (0.06, 0.22, 0.62)
    if kind <= 1:
        ring = Look((red, blue)[kind])
        inner = Look((white, blue)[kind])
        plate.ellipsoid((0, height, -0.06), (0.36, 0.36, 0.015), ring)
        plate.ellipsoid((0, height, -0.075), (0.26, 0.26, 0.012), inner)
        if kind == 1 or random.random() < 0.4:
            plate.box((-0.2, height - 0.06, -0.11), (0.2, height + 0.06, -0.09), Look(white))
    elif kind == 2:
        look = Look(white, Material.SIGN, red, (0.9, 0.8, 0.1, 0.0))
        flip = random.random() < 0.4
        base, tip = (height + 0.4, height - 0.4) if flip else (height - 0.4, height + 0.4)
        corners = [[-0.45, base, -0.06], [0.45, base, -0.06], [0, tip, -0.06], [0, tip, -0.06]]
        plate.quad(np.array(corners), look._replace(material=Material.FLAT, colour=red))
        inner = [[-0.27, base + 0.1 * np.sign(tip - base), -0.07], [0.27, 0, -0.07], [0, 0, -0.07]]
        inner[1][1] = inner[0][1]
        inner[2][1] = tip - 0.22 * np.sign(tip - base)
        plate.quad(np.array([*inner, inner[2]]), Look(white))
    else:
        width, tall = ((0.62, 0.62), (0.5, 0.75), (1.5, 0.95))[kind - 3]
        colour = (blue, blue, (white, (0.75, 0.62, 0.06), blue)[random.integers(3)])[kind - 3]
        rim = white if colour != white else (0.08, 0.08, 0.08)
        look = Look(colour, Material.SIGN, rim, (width, tall, 0.04, float(kind - 3)))
        half = width / 2
        low, high = height - tall / 2, height + tall / 2
        plate.quad(
            np.array(
                [[-half, low, -0.06], [half, low, -0.06], [half, high, -0.06], [-half, high, -0.06]]
            ),
            look,
        )
    scene.add(plate, SIGN, part)
