"""Bodies of cars, vans, trucks, buses, trams and motorcycles (x right, y up, z front)."""

from dataclasses import dataclass
from functools import lru_cache

from seg2vid.data.toycity.scene import Colour, Look, Material, Mesh

_RUBBER = Look((0.06, 0.06, 0.065))
_HUB = Look((0.45, 0.45, 0.47))
_DARK = Look((0.10, 0.10, 0.11))
_PLATE = Look((0.85, 0.85, 0.82))
_TAIL = Look((1.0, 0.12, 0.08), Material.GLOW, (0.55, 0.06, 0.06))
_HEAD = Look((1.0, 0.97, 0.85), Material.GLOW, (0.82, 0.84, 0.86))

CAR_COLOURS: tuple[Colour, ...] = (
    (0.08, 0.08, 0.09), (0.55, 0.57, 0.60), (0.72, 0.73, 0.74), (0.86, 0.86, 0.85),
    (0.28, 0.29, 0.31), (0.52, 0.07, 0.07), (0.10, 0.17, 0.38), (0.16, 0.30, 0.50),
    (0.10, 0.27, 0.18), (0.45, 0.40, 0.32), (0.66, 0.52, 0.14), (0.20, 0.10, 0.09),
    (0.40, 0.44, 0.48), (0.72, 0.30, 0.08),
)  # fmt: skip
"""Paint colours."""


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
    wheel: float = 0.32
    panes: int = 2
    nose: float = 0.72
    """Height of the front end."""
    deck: float = 0.86
    """Height of the rear end."""


CAR_SHAPES: dict[str, CarShape] = {
    "hatchback": CarShape(4.0, 1.74, 1.48, 0.92, 0.85, 0.15, -1.55, -1.92, 0.30, 2, 0.74, 0.92),
    "sedan": CarShape(4.7, 1.82, 1.44, 0.92, 0.90, 0.20, -1.05, -1.70, 0.32, 2, 0.72, 0.90),
    "estate": CarShape(4.7, 1.80, 1.48, 0.92, 0.95, 0.25, -1.95, -2.25, 0.32, 3, 0.73, 0.92),
    "suv": CarShape(4.6, 1.90, 1.72, 1.06, 0.95, 0.40, -1.80, -2.20, 0.37, 3, 0.92, 1.06),
    "minivan": CarShape(4.5, 1.82, 1.74, 1.00, 1.35, 0.60, -1.95, -2.18, 0.33, 3, 0.80, 1.00),
}
"""Car bodies by name."""


def _wheels(mesh: Mesh, half_width: float, axles: tuple[float, ...], radius: float) -> None:
    """Add a wheel with a hub at both ends of every axle."""
    for z in axles:
        for side in (-1.0, 1.0):
            x = side * half_width
            mesh.ellipsoid((x, radius, z), (0.11, radius, radius), _RUBBER)
            mesh.ellipsoid((x + side * 0.06, radius, z), (0.07, 0.6 * radius, 0.6 * radius), _HUB)


def _lamps(mesh: Mesh, half_width: float, low: float, ends: tuple[float, float]) -> None:
    """Add head and tail lamps and number plates at the front and rear ends."""
    front, rear = ends
    for side in (-1.0, 1.0):
        inner, outer = side * half_width * 0.58, side * half_width * 0.95
        x0, x1 = min(inner, outer), max(inner, outer)
        mesh.box((x0, low, front - 0.1), (x1, low + 0.15, front + 0.015), _HEAD)
        mesh.box((x0, low + 0.06, rear - 0.015), (x1, low + 0.24, rear + 0.1), _TAIL)
    mesh.box((-0.26, low - 0.2, rear - 0.02), (0.26, low - 0.09, rear + 0.1), _PLATE)
    mesh.box((-0.26, low - 0.26, front - 0.1), (0.26, low - 0.15, front + 0.02), _PLATE)


@lru_cache(maxsize=256)
def car_mesh(name: str, colour: Colour) -> Mesh:
    """Return the body of a car of the named shape in the given paint."""
    shape, mesh = CAR_SHAPES[name], Mesh()
    half, end = shape.width / 2, shape.length / 2
    paint = Look(colour, Material.PAINT, parameters=(0.5,))
    low, middle = 0.22, 0.60
    mesh.prism(
        (-half + 0.04, half - 0.04, -end + 0.06, end - 0.06),
        (-half, half, -end, end),
        (low, middle),
        paint,
    )
    mesh.prism(
        (-half, half, -end, shape.tail + 0.2),
        (-half + 0.05, half - 0.05, -end + 0.06, shape.tail + 0.25),
        (middle, shape.deck),
        paint,
    )
    mesh.prism(
        (-half, half, shape.tail, end),
        (-half + 0.07, half - 0.07, shape.tail, end - 0.12),
        (middle, shape.nose),
        paint,
    )
    hood = (-half + 0.06, half - 0.06, shape.tail, end - 0.25)
    mesh.prism(
        hood,
        (-half + 0.10, half - 0.10, shape.tail, shape.screen),
        (shape.nose - 0.02, shape.waist),
        paint,
    )
    lean = 0.16
    rise = shape.height - shape.waist
    side_length = shape.screen - shape.tail
    glass = [
        Look(colour, Material.GLASS, parameters=(width, rise, pillar, panes, share, 0.0))
        for width, pillar, panes, share in (
            (shape.width - 0.1, 0.06, 1, 0.3),
            (side_length, 0.05, shape.panes, 0.45),
        )
    ]
    mesh.prism(
        (-half + 0.05, half - 0.05, shape.tail, shape.screen),
        (-half + lean, half - lean, shape.roof_rear, shape.roof_front),
        (shape.waist - 0.02, shape.height),
        (glass[0], glass[1], glass[0], glass[1], Look(colour)),
    )
    mesh.box(
        (-half + 0.02, low - 0.02, -end + 0.03),
        (half - 0.02, low + 0.1, end - 0.03),
        _DARK,
        (0, 1, 2, 3),
    )
    _wheels(mesh, half - 0.07, (-end + 0.85, end - 0.85), shape.wheel)
    _lamps(mesh, half - 0.02, 0.62, (end - 0.01, -end + 0.01))
    return mesh


@lru_cache(maxsize=64)
def van_mesh(colour: Colour) -> Mesh:
    """Return a delivery van, 5.4 m long and 2.3 m high."""
    mesh = Mesh()
    side = Look(colour, Material.COACH, colour, (0.95, 1.55, 9.0, 0.0, 0.02, 0.0))
    paint = Look(colour, Material.PAINT, parameters=(1.4,))
    rear = Look(colour, Material.GLASS, parameters=(1.9, 2.6, 0.12, 2, 0.0, 0.0))
    mesh.box((-0.97, 0.3, -2.7), (0.97, 1.1, 1.6), paint)
    mesh.prism(
        (-0.97, 0.97, -2.7, 1.6),
        (-0.88, 0.88, -2.65, 1.1),
        (1.1, 2.3),
        (rear, paint, rear, paint, paint),
    )
    mesh.prism((-0.97, 0.97, 1.5, 2.7), (-0.92, 0.92, 1.5, 2.55), (0.3, 0.95), paint)
    screen = Look(colour, Material.GLASS, parameters=(1.9, 1.3, 0.08, 1, 0.1, 0.0))
    mesh.prism(
        (-0.94, 0.94, 1.0, 2.45),
        (-0.86, 0.86, 0.9, 1.15),
        (0.95, 2.2),
        (screen, side, screen, side, paint),
    )
    mesh.box((-0.95, 0.24, -2.72), (0.95, 0.4, 2.72), _DARK)
    _wheels(mesh, 0.9, (-1.7, 1.75), 0.35)
    _lamps(mesh, 0.96, 0.66, (2.69, -2.69))
    return mesh


@lru_cache(maxsize=64)
def truck_mesh(colour: Colour, cargo: Colour) -> Mesh:
    """Return a lorry, 8 m long, with a box body in the `cargo` colour."""
    mesh = Mesh()
    screen = Look(colour, Material.COACH, cargo, (1.1, 1.9, 2.4, 0.3, 0.5, 0.0))
    door = Look(colour, Material.COACH, cargo, (1.1, 1.8, 1.7, 0.0, 0.02, 0.0))
    box = Look(cargo, Material.COACH, colour, (9.0, 9.1, 9.0, 0.9, 1.5, 0.0))
    roof = Look(colour)
    mesh.prism(
        (-1.2, 1.2, 2.3, 4.0),
        (-1.15, 1.15, 2.3, 3.8),
        (0.5, 2.75),
        (screen, door, screen, door, roof),
    )
    mesh.box((-1.25, 0.95, -4.0), (1.25, 3.3, 2.15), box)
    mesh.box((-0.9, 0.5, -3.9), (0.9, 0.95, 2.3), _DARK)
    mesh.box((-1.2, 0.45, -3.98), (1.2, 0.6, -3.8), _DARK)
    mesh.box((-1.2, 0.35, 3.6), (1.2, 0.6, 4.05), _DARK)
    _wheels(mesh, 1.08, (-2.6, 3.0), 0.48)
    _lamps(mesh, 1.2, 0.68, (4.0, -4.0))
    return mesh


@lru_cache(maxsize=64)
def bus_mesh(colour: Colour, stripe: Colour) -> Mesh:
    """Return a city bus, 12 m long."""
    mesh = Mesh()
    side = Look(colour, Material.COACH, stripe, (0.85, 2.0, 1.5, 0.2, 0.55, 1.0))
    front = Look(colour, Material.COACH, stripe, (0.75, 2.1, 2.5, 0.15, 0.45, 1.0))
    rear = Look(colour, Material.COACH, stripe, (1.3, 2.1, 2.5, 0.2, 0.9, 1.0))
    mesh.prism(
        (-1.27, 1.27, -6, 6),
        (-1.22, 1.22, -5.95, 5.85),
        (0.35, 3.0),
        (rear, side, front, side, Look(colour)),
    )
    mesh.box(
        (-0.7, 2.62, 5.8), (0.7, 2.88, 6.0), Look((1.0, 0.7, 0.1), Material.GLOW, parameters=(0.8,))
    )
    mesh.box((-1.2, 0.25, -5.95), (1.2, 0.5, 5.95), _DARK)
    mesh.box((-0.9, 3.0, -3.5), (0.9, 3.2, 0.5), Look((0.75, 0.75, 0.75)))
    _wheels(mesh, 1.18, (-3.2, 3.4), 0.48)
    _lamps(mesh, 1.2, 0.7, (5.99, -5.99))
    return mesh


@lru_cache(maxsize=64)
def tram_mesh(colour: Colour, stripe: Colour) -> Mesh:
    """Return a tram of three sections, 27 m long."""
    mesh = Mesh()
    side = Look(colour, Material.COACH, stripe, (0.9, 2.2, 1.6, 0.1, 0.6, 1.0))
    front = Look(colour, Material.COACH, stripe, (0.9, 2.3, 2.4, 0.1, 0.6, 1.0))
    for low, high in ((-13.5, -4.7), (-4.3, 4.3), (4.7, 13.5)):
        taper_low = 0.5 if low < -10 else 0.0
        taper_high = 0.5 if high > 10 else 0.0
        mesh.prism(
            (-1.2, 1.2, low, high),
            (-1.12, 1.12, low + taper_low, high - taper_high),
            (0.3, 3.3),
            (front, side, front, side, Look(colour)),
        )
        mesh.box((-1.05, 0.05, low + 1.0), (1.05, 0.35, high - 1.0), _DARK)
        mesh.box((-0.7, 3.3, low + 2), (0.7, 3.55, high - 2), Look((0.5, 0.5, 0.52)))
    for joint in (-4.5, 4.5):
        mesh.box((-1.05, 0.4, joint - 0.25), (1.05, 3.15, joint + 0.25), _DARK)
    mesh.box((-0.05, 3.5, -0.8), (0.05, 4.6, -0.7), _DARK)
    _lamps(mesh, 1.1, 0.7, (13.46, -13.46))
    return mesh


@lru_cache(maxsize=32)
def motorcycle_mesh(colour: Colour) -> Mesh:
    """Return a motorcycle, 2.1 m long."""
    mesh = Mesh()
    paint = Look(colour, Material.PAINT, parameters=(0.4,))
    for z in (-0.68, 0.72):
        mesh.ellipsoid((0.0, 0.31, z), (0.08, 0.31, 0.31), _RUBBER)
        mesh.ellipsoid((0.0, 0.31, z), (0.09, 0.16, 0.16), _HUB)
    mesh.box((-0.15, 0.32, -0.35), (0.15, 0.72, 0.38), Look((0.22, 0.22, 0.24)))
    mesh.ellipsoid((0.0, 0.86, 0.18), (0.19, 0.17, 0.36), paint)
    mesh.prism((-0.14, 0.14, -0.85, 0.0), (-0.12, 0.12, -0.95, 0.0), (0.68, 0.84), _DARK)
    mesh.prism((-0.08, 0.08, 0.6, 0.8), (-0.08, 0.08, 0.38, 0.5), (0.3, 1.0), _HUB)
    mesh.box((-0.38, 1.0, 0.38), (0.38, 1.05, 0.44), _DARK)
    mesh.ellipsoid((0.0, 0.92, 0.56), (0.12, 0.13, 0.10), _HEAD)
    mesh.box((-0.09, 0.66, -0.98), (0.09, 0.74, -0.90), _TAIL)
    return mesh
