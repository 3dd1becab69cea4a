"""Bodies of cars, vans, lorries, buses, trams and two-wheelers (x right, y up, z front).

``vehicles.json`` lists them as solids between two rectangles (look, bottom and top as x0, x1, z0,
z1, heights) and ellipsoids (look, centre, radii), in metres. A solid has one look or one per side.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np

from seg2vid.data.toycity.mesh import Look, Material, Mesh, Triple

CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = 13, 14, 15, 16, 17, 18
RAW_CLASS = {CAR: 26, TRUCK: 27, BUS: 28, TRAIN: 31, MOTORCYCLE: 32, BICYCLE: 33}
"""Raw Cityscapes class of every vehicle class."""
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


@dataclass(frozen=True)
class VehicleKind:
    """Size in metres and class of a kind of vehicle."""

    length: float
    width: float
    label: int


@cache
def _bodies() -> dict[str, Any]:
    folder = resources.files("seg2vid.data.toycity")
    return dict(json.loads((folder / "vehicles.json").read_text("utf-8")))


@cache
def vehicle_kind(name: str) -> VehicleKind:
    """Return size and class of the named kind of vehicle."""
    if name == "bicycle":
        return VehicleKind(1.8, 0.6, BICYCLE)
    body = _bodies()[name]
    return VehicleKind(float(body["length"]), float(body["width"]), body["label"])


@cache
def vehicle_mesh(name: str, colour: Triple, second: Triple) -> Mesh:
    """Return the body of a vehicle; ``second`` is the colour of stripes or cargo."""
    mesh = Mesh()
    if name == "bicycle":
        _add_bicycle(mesh, Look(colour))
        return mesh
    body, colours = _bodies()[name], {"body": colour, "second": second}
    written = {**_bodies()["shared looks"], **body["looks"]}
    looks = {key: _read_look(values, colours) for key, values in written.items()}
    for keys, bottom, top, heights in body["solids"]:
        look = looks[keys] if isinstance(keys, str) else tuple(looks[key] for key in keys)
        mesh.prism(tuple(bottom), tuple(top), tuple(heights), look)
    for key, centre, radii in body["ellipsoids"]:
        mesh.ellipsoid(tuple(centre), tuple(radii), looks[key])
    return mesh


def _read_look(values: dict[str, Any], colours: dict[str, Triple]) -> Look:
    """Read a look; colours are written as three numbers or by name."""
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
