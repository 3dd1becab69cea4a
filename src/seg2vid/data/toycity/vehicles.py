"""Bodies of cars, vans, lorries, buses, trams and two-wheelers (x right, y up, z front)."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from seg2vid.data.toycity.scene import Look, Material, Mesh, Rectangle, Triple

CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = 13, 14, 15, 16, 17, 18
RAW_CLASS = {CAR: 26, TRUCK: 27, BUS: 28, TRAIN: 31, MOTORCYCLE: 32, BICYCLE: 33}
"""Raw Cityscapes class of every vehicle class."""

_RUBBER = Look((0.06, 0.06, 0.065))
_HUB = Look((0.45, 0.45, 0.47))
_DARK = Look((0.10, 0.10, 0.11))
_PLATE = Look((0.85, 0.85, 0.82))
_TAIL = Look((1.0, 0.12, 0.08), Material.GLOW, (0.55, 0.06, 0.06))
_HEAD = Look((1.0, 0.97, 0.85), Material.GLOW, (0.82, 0.84, 0.86))

PAINTS: tuple[Triple, ...] = (
    (0.08, 0.08, 0.09), (0.55, 0.57, 0.60), (0.72, 0.73, 0.74), (0.86, 0.86, 0.85),
    (0.28, 0.29, 0.31), (0.52, 0.07, 0.07), (0.10, 0.17, 0.38), (0.16, 0.30, 0.50),
    (0.10, 0.27, 0.18), (0.45, 0.40, 0.32), (0.66, 0.52, 0.14), (0.20, 0.10, 0.09),
    (0.40, 0.44, 0.48), (0.72, 0.30, 0.08),
)  # fmt: skip
"""Colours of cars and motorcycles."""
LIVERIES: tuple[tuple[Triple, Triple], ...] = (
    ((0.85, 0.83, 0.78), (0.62, 0.08, 0.08)), ((0.78, 0.62, 0.12), (0.15, 0.15, 0.16)),
    ((0.62, 0.10, 0.10), (0.85, 0.84, 0.80)), ((0.16, 0.30, 0.55), (0.85, 0.85, 0.84)),
    ((0.20, 0.42, 0.28), (0.82, 0.80, 0.70)),
)  # fmt: skip
"""Body and stripe of buses, trams and lorries."""


@dataclass(frozen=True)
class CarShape:
    """Proportions of a car body in metres; z values are measured from the middle."""

    length: float
    width: float
    height: float
    waist: float
    """Height of the window sill."""
    screen: float
    """Foot of the windscreen."""
    roof_front: float
    roof_rear: float
    tail: float
    """Foot of the rear window."""
    wheel: float
    """Radius of the wheels."""
    panes: int
    """Windows on each side."""
    nose: float
    """Height of the front end."""
    deck: float
    """Height of the rear end."""


_SHAPES = {
    "hatchback": CarShape(4.0, 1.74, 1.48, 0.92, 0.85, 0.15, -1.55, -1.92, 0.30, 2, 0.74, 0.92),
    "sedan": CarShape(4.7, 1.82, 1.44, 0.92, 0.90, 0.20, -1.05, -1.70, 0.32, 2, 0.72, 0.90),
    "estate": CarShape(4.7, 1.80, 1.48, 0.92, 0.95, 0.25, -1.95, -2.25, 0.32, 3, 0.73, 0.92),
    "suv": CarShape(4.6, 1.90, 1.72, 1.06, 0.95, 0.40, -1.80, -2.20, 0.37, 3, 0.92, 1.06),
    "minivan": CarShape(4.5, 1.82, 1.74, 1.00, 1.35, 0.60, -1.95, -2.18, 0.33, 3, 0.80, 1.00),
}


@dataclass(frozen=True)
class VehicleKind:
    """Size and class of a kind of vehicle."""

    length: float
    width: float
    label: int = CAR


VEHICLES = {name: VehicleKind(shape.length, shape.width) for name, shape in _SHAPES.items()} | {
    "van": VehicleKind(5.4, 2.0),
    "truck": VehicleKind(8.1, 2.5, TRUCK),
    "bus": VehicleKind(12.0, 2.55, BUS),
    "tram": VehicleKind(27.0, 2.4, TRAIN),
    "motorcycle": VehicleKind(2.2, 0.8, MOTORCYCLE),
    "bicycle": VehicleKind(1.8, 0.6, BICYCLE),
}
"""Every kind of vehicle by name."""


@cache
def vehicle_mesh(name: str, colour: Triple, second: Triple) -> Mesh:
    """Return the body of a vehicle; ``second`` is the colour of stripes or cargo."""
    mesh = Mesh()
    if name in _SHAPES:
        _add_car(mesh, _SHAPES[name], colour)
    else:
        _BUILDERS[name](mesh, colour, second)
    return mesh


def _mirrored(x: float, rear: float, front: float) -> Rectangle:
    return (-x, x, rear, front)


def _add_wheels(mesh: Mesh, x: float, axles: tuple[float, ...], radius: float) -> None:
    """Add a wheel with a hub at both ends of every axle."""
    for z, side in ((z, side) for z in axles for side in (-1, 1)):
        mesh.ellipsoid((side * x, radius, z), (0.11, radius, radius), _RUBBER)
        hub = 0.6 * radius
        mesh.ellipsoid((side * (x + 0.06), radius, z), (0.07, hub, hub), _HUB)


def _add_lamps(mesh: Mesh, half_width: float, low: float, end: float) -> None:
    """Add head and tail lamps and number plates at the ends, ``end`` metres from the middle."""
    for side in (-1, 1):
        x0, x1 = sorted((side * half_width * 0.58, side * half_width * 0.95))
        mesh.box((x0, low, end - 0.1), (x1, low + 0.15, end + 0.005), _HEAD)
        mesh.box((x0, low + 0.06, -end - 0.005), (x1, low + 0.24, 0.1 - end), _TAIL)
    mesh.box((-0.26, low - 0.2, -end - 0.01), (0.26, low - 0.09, 0.1 - end), _PLATE)
    mesh.box((-0.26, low - 0.26, end - 0.1), (0.26, low - 0.15, end + 0.01), _PLATE)


def _add_car(mesh: Mesh, shape: CarShape, colour: Triple) -> None:
    """Add a car: lower body, tail, bonnet, cabin with windows, wheels and lamps."""
    half, end, tail = shape.width / 2, shape.length / 2, shape.tail
    paint = Look(colour, Material.PAINT, parameters=(0.5,))
    low = _mirrored(half - 0.04, 0.06 - end, end - 0.06)
    mesh.prism(low, _mirrored(half, -end, end), (0.22, 0.6), paint)
    deck = _mirrored(half - 0.05, 0.06 - end, tail + 0.25)
    mesh.prism(_mirrored(half, -end, tail + 0.2), deck, (0.6, shape.deck), paint)
    nose = _mirrored(half - 0.07, tail, end - 0.12)
    mesh.prism(_mirrored(half, tail, end), nose, (0.6, shape.nose), paint)
    hood = _mirrored(half - 0.10, tail, shape.screen)
    foot = _mirrored(half - 0.06, tail, end - 0.25)
    mesh.prism(foot, hood, (shape.nose - 0.02, shape.waist), paint)
    rise = shape.height - shape.waist
    ends = Look(colour, Material.GLASS, parameters=(shape.width - 0.1, rise, 0.06, 1, 0.3))
    length = shape.screen - tail
    sides = Look(colour, Material.GLASS, parameters=(length, rise, 0.05, shape.panes, 0.45))
    roof = _mirrored(half - 0.16, shape.roof_rear, shape.roof_front)
    looks, heights = (ends, sides, ends, sides, Look(colour)), (shape.waist - 0.02, shape.height)
    mesh.prism(_mirrored(half - 0.05, tail, shape.screen), roof, heights, looks)
    mesh.box((0.02 - half, 0.2, 0.03 - end), (half - 0.02, 0.32, end - 0.03), _DARK)
    _add_wheels(mesh, half - 0.07, (0.85 - end, end - 0.85), shape.wheel)
    _add_lamps(mesh, half - 0.02, 0.62, end)


def _add_van(mesh: Mesh, colour: Triple, _: Triple) -> None:
    """Add a delivery van, 5.4 m long and 2.3 m high."""
    side = Look(colour, Material.COACH, colour, (0.95, 1.55, 9.0, 0.0, 0.02))
    paint = Look(colour, Material.PAINT, parameters=(1.4,))
    rear = Look(colour, Material.GLASS, parameters=(1.9, 2.6, 0.12, 2))
    screen = Look(colour, Material.GLASS, parameters=(1.9, 1.3, 0.08, 1, 0.1))
    mesh.box((-0.97, 0.3, -2.7), (0.97, 1.1, 1.6), paint)
    cargo = (-0.88, 0.88, -2.65, 1.1)
    mesh.prism((-0.97, 0.97, -2.7, 1.6), cargo, (1.1, 2.3), (rear, paint, rear, paint, paint))
    mesh.prism((-0.97, 0.97, 1.5, 2.7), (-0.92, 0.92, 1.5, 2.55), (0.3, 0.95), paint)
    cab = (-0.86, 0.86, 0.9, 1.15)
    mesh.prism((-0.94, 0.94, 1.0, 2.45), cab, (0.95, 2.2), (screen, side, screen, side, paint))
    mesh.box((-0.95, 0.24, -2.72), (0.95, 0.4, 2.72), _DARK)
    _add_wheels(mesh, 0.9, (-1.7, 1.75), 0.35)
    _add_lamps(mesh, 0.96, 0.66, 2.7)


def _add_truck(mesh: Mesh, colour: Triple, cargo: Triple) -> None:
    """Add a lorry, 8 m long, with a box body."""
    screen = Look(colour, Material.COACH, cargo, (1.1, 1.9, 2.4, 0.3, 0.5))
    door = Look(colour, Material.COACH, cargo, (1.1, 1.8, 1.7, 0.0, 0.02))
    cab = (screen, door, screen, door, Look(colour))
    mesh.prism((-1.2, 1.2, 2.3, 4.0), (-1.15, 1.15, 2.3, 3.8), (0.5, 2.75), cab)
    box = Look(cargo, Material.COACH, colour, (9.0, 9.1, 9.0, 0.9, 1.5))
    mesh.box((-1.25, 0.95, -4.0), (1.25, 3.3, 2.15), box)
    mesh.box((-0.9, 0.5, -3.9), (0.9, 0.95, 2.3), _DARK)
    mesh.box((-1.2, 0.45, -3.98), (1.2, 0.6, -3.8), _DARK)
    mesh.box((-1.2, 0.35, 3.6), (1.2, 0.6, 4.05), _DARK)
    _add_wheels(mesh, 1.08, (-2.6, 3.0), 0.48)
    _add_lamps(mesh, 1.2, 0.68, 4.0)


def _add_bus(mesh: Mesh, colour: Triple, stripe: Triple) -> None:
    """Add a city bus, 12 m long."""
    side = Look(colour, Material.COACH, stripe, (0.85, 2.0, 1.5, 0.2, 0.55, 1.0))
    front = Look(colour, Material.COACH, stripe, (0.75, 2.1, 2.5, 0.15, 0.45, 1.0))
    rear = Look(colour, Material.COACH, stripe, (1.3, 2.1, 2.5, 0.2, 0.9, 1.0))
    looks = (rear, side, front, side, Look(colour))
    mesh.prism((-1.27, 1.27, -6, 6), (-1.22, 1.22, -5.95, 5.85), (0.35, 3.0), looks)
    display = Look((1.0, 0.7, 0.1), Material.GLOW, parameters=(0.8,))
    mesh.box((-0.7, 2.62, 5.8), (0.7, 2.88, 6.0), display)
    mesh.box((-1.2, 0.25, -5.95), (1.2, 0.5, 5.95), _DARK)
    mesh.box((-0.9, 3.0, -3.5), (0.9, 3.2, 0.5), Look((0.75, 0.75, 0.75)))
    _add_wheels(mesh, 1.18, (-3.2, 3.4), 0.48)
    _add_lamps(mesh, 1.2, 0.7, 6.0)


def _add_tram(mesh: Mesh, colour: Triple, stripe: Triple) -> None:
    """Add a tram of three sections, 27 m long."""
    side = Look(colour, Material.COACH, stripe, (0.9, 2.2, 1.6, 0.1, 0.6, 1.0))
    front = Look(colour, Material.COACH, stripe, (0.9, 2.3, 2.4, 0.1, 0.6, 1.0))
    looks = (front, side, front, side, Look(colour))
    for rear, nose in ((-13.5, -4.7), (-4.3, 4.3), (4.7, 13.5)):
        roof = (-1.12, 1.12, max(rear, -13.0), min(nose, 13.0))
        mesh.prism((-1.2, 1.2, rear, nose), roof, (0.3, 3.3), looks)
        mesh.box((-1.05, 0.05, rear + 1), (1.05, 0.35, nose - 1), _DARK)
        mesh.box((-0.7, 3.3, rear + 2), (0.7, 3.55, nose - 2), Look((0.5, 0.5, 0.52)))
    for joint in (-4.5, 4.5):
        mesh.box((-1.05, 0.4, joint - 0.25), (1.05, 3.15, joint + 0.25), _DARK)
    mesh.box((-0.05, 3.5, -0.8), (0.05, 4.6, -0.7), _DARK)
    _add_lamps(mesh, 1.1, 0.7, 13.47)


def _add_motorcycle(mesh: Mesh, colour: Triple, _: Triple) -> None:
    """Add a motorcycle, 2.1 m long."""
    for z in (-0.68, 0.72):
        mesh.ellipsoid((0.0, 0.31, z), (0.08, 0.31, 0.31), _RUBBER)
        mesh.ellipsoid((0.0, 0.31, z), (0.09, 0.16, 0.16), _HUB)
    mesh.box((-0.15, 0.32, -0.35), (0.15, 0.72, 0.38), Look((0.22, 0.22, 0.24)))
    mesh.ellipsoid((0.0, 0.86, 0.18), (0.19, 0.17, 0.36), Look(colour))
    mesh.prism((-0.14, 0.14, -0.85, 0.0), (-0.12, 0.12, -0.95, 0.0), (0.68, 0.84), _DARK)
    mesh.prism((-0.08, 0.08, 0.6, 0.8), (-0.08, 0.08, 0.38, 0.5), (0.3, 1.0), _HUB)
    mesh.box((-0.38, 1.0, 0.38), (0.38, 1.05, 0.44), _DARK)
    mesh.ellipsoid((0.0, 0.92, 0.56), (0.12, 0.13, 0.10), _HEAD)
    mesh.box((-0.09, 0.66, -0.98), (0.09, 0.74, -0.90), _TAIL)


def _add_bicycle(mesh: Mesh, colour: Triple, _: Triple) -> None:
    """Add a bicycle, 1.75 m long, with open wheels in the plane x = 0."""
    for centre in (-0.52, 0.53):
        for pair in pairwise(np.linspace(0, 2 * np.pi, 11)):
            turn, reach = np.array([*pair, *pair[::-1]]), np.array([0.34, 0.34, 0.27, 0.27])
            rim = [np.zeros(4), 0.34 + reach * np.cos(turn), centre + reach * np.sin(turn)]
            mesh.quad(np.stack(rim, 1), _RUBBER)
        mesh.box((-0.03, 0.02, centre - 0.03), (0.03, 0.68, centre + 0.03), _RUBBER, (0, 2))
    hub, saddle, head, pedal = (0.34, -0.52), (0.88, -0.22), (0.86, 0.38), (0.30, -0.05)
    tubes = ((hub, pedal), (pedal, saddle), (pedal, head), (saddle, head), (hub, (0.75, -0.2)))
    for start, end in (*tubes, ((0.34, 0.53), (1.0, 0.34))):
        first, second = np.array([0.0, *start]), np.array([0.0, *end])
        aside = np.array([0.0, end[1] - start[1], start[0] - end[0]])
        aside *= 0.03 / np.sqrt((aside**2).sum())
        tube = [first - aside, second - aside, second + aside, first + aside]
        mesh.quad(np.stack(tube), Look(colour))
    mesh.box((-0.28, 1.0, 0.28), (0.28, 1.05, 0.34), _DARK)
    mesh.box((-0.07, 0.88, -0.38), (0.07, 0.95, -0.10), _DARK)


_BUILDERS = {
    "van": _add_van,
    "truck": _add_truck,
    "bus": _add_bus,
    "tram": _add_tram,
    "motorcycle": _add_motorcycle,
    "bicycle": _add_bicycle,
}
