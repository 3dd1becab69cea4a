"""Vehicles and people: their bodies, each in its own axes, and where they stand and move.

``vehicles.json`` lists vehicles as solids between two rectangles (look, bottom and top as x0, x1,
z0, z1, heights) and ellipsoids (look, centre, radii). A solid has one look or one per side. People
are rigid trunks with swinging arms and legs.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from seg2vid.data.toycity.scene import WALLS, Label, Look, Material, Mesh, Site, Triple
from seg2vid.data.toycity.street import PerFrame, Trajectory

VEHICLES = json.loads((resources.files(__package__) / "vehicles.json").read_text("utf-8"))
"""Length, width (metres), class and body of every kind of vehicle."""
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
_CARS = {"hatchback": 0.28, "sedan": 0.24, "estate": 0.16, "suv": 0.15, "minivan": 0.1, "van": 0.07}
_LANE_USERS = {"bus": 0.04, "truck": 0.08, "motorcycle": 0.05, "car": 0.83}
_WALKERS = {"commercial": 14, "avenue": 9, "residential": 6, "suburb": 3, "parkside": 5}
"""Mean number of people on the pavements per kind of street."""


class _Outfit(NamedTuple):
    skin: Triple
    hair: Triple
    top: Triple
    legs: Triple


@dataclass
class Inhabitants(Site):
    """Vehicles, people and riders on a street."""

    seconds: PerFrame
    """Time of every frame."""
    ego_speed: float
    """Metres per second of the camera car."""

    def populate(self) -> None:
        """Add all vehicles, people and riders."""
        self._tram()
        for side in (-1, 1):
            self._parked(side)
        self._zebra_walkers()
        self._cross_traffic()
        self._cyclists()
        for lane in range(self.layout.lanes):
            for direction in (1, -1):
                self._lane(lane, direction)
        self._bicycle_stands()
        self._walkers()

    def _either(self, chance: float) -> int:
        return 1 if self.chance(chance) else -1

    def _track(self, along: float, speed: float, aside: float, turn: float = 0.0) -> Trajectory:
        """Follow the main street at a speed (m/s, negative = backwards along it)."""
        turn += np.pi if speed < 0 else 0.0
        path = self.layout.path
        return Trajectory.along(path, along + speed * self.seconds, aside, turn)

    def _add_vehicle(
        self, name: str, path: Trajectory, margin: float = 0.4, ridden: bool = False
    ) -> None:
        """Add a vehicle by name, with its shadows and lights, unless its way is taken."""
        scene, body = self.scene, VEHICLES[name]
        length, width, label = body["length"], body["width"], body["label"]
        if not self.occupancy.claim(path, length, width, margin):
            return
        colour, second = self.pick(LIVERIES)
        if name not in ("bus", "tram"):
            colour, second = self.pick(PAINTS), colour
        part, size = scene.part(path), (width / 2, length / 2)
        scene.add(vehicle_mesh(name, colour, second), label, part, scene.new_instance(label))
        if ridden:
            self._add_rider(path, label == Label.MOTORCYCLE)
        if label in (Label.MOTORCYCLE, Label.BICYCLE):
            scene.patch((0.0, 0.0), size, -0.5, part=part)
            return
        scene.patch((0.0, 0.0), (size[0] + 0.25, size[1] + 0.25), -0.78, 0.35, part)
        if scene.shade > 0.1:
            (x, z), reach = scene.shadow_shift, 0.7 if length < 6 else 1.4
            sine, cosine = np.sin(path.heading[0]), np.cos(path.heading[0])
            centre = ((x * cosine - z * sine) * reach, (x * sine + z * cosine) * reach)
            scene.patch(centre, size, -scene.shade, 0.15, part)
        if path.moves and self.lamps > 0:
            scene.patch((0.0, size[1] + 5.0), (1.6, 5.0), 0.5 * self.lamps, part=part)

    def _kind(self, shares: dict[str, float]) -> str:
        kind = str(self.random.choice(list(shares), p=list(shares.values())))
        return self._kind(_CARS) if kind == "car" else kind

    def _parked(self, side: int) -> None:
        layout = self.layout
        aside = side * (layout.half_width - 0.5 * layout.parking_width + 0.02)
        fill, along = self.draw(0.12, 0.85), self.draw(-8.0, -3.0)
        while layout.parking_width > 0 and along < 120.0:
            name = "truck" if self.chance(0.025) else self._kind(_CARS)
            name = "motorcycle" if self.chance(0.06) else name
            free = layout.free_kerb(along, side, 8.0)
            free &= all(abs(along - zebra) >= 7.0 for zebra in layout.zebras)
            if self.chance(fill) and free:
                turn = np.pi if self._either(0.9) != side else 0.0
                path = self._track(along, 0.0, aside + self.draw(-0.1, 0.1), turn)
                self._add_vehicle(name, path, 0.05)
            along += self.draw(5.6, 6.8) + (4.0 if name == "truck" else 0.0)

    def _lane(self, lane: int, direction: int) -> None:
        """Let traffic flow along one lane of the main street."""
        layout, crossing = self.layout, self.layout.crossing
        stop = crossing.along - 8 if crossing is not None and crossing.main_ends else 115.0
        along = self.draw(9.0, 26.0) if direction > 0 else self.draw(8.0, 40.0)
        while along < stop:
            speed = self.draw(0.9, 1.15) * max(self.ego_speed, 2.0)
            if direction < 0:
                speed = -self.draw(6.0, 13.0)
            elif self.ego_speed == 0:
                speed = 0.0
            aside = direction * (lane + 0.5) * layout.lane_width + self.draw(-0.15, 0.15)
            if self.chance(0.5):
                name, path = self._kind(_LANE_USERS), self._track(along, speed, aside)
                self._add_vehicle(name, path, ridden=name == "motorcycle")
            along += self.draw(11.0, 38.0)

    def _tram(self) -> None:
        if self.layout.rails and self.chance(0.65):
            direction = self._either(0.25)
            speed = max(self.ego_speed, 3.0) if direction > 0 else -self.draw(4.0, 11.0)
            aside = self.layout.rails[direction > 0]
            self._add_vehicle("tram", self._track(self.draw(26.0, 60.0), speed, aside))

    def _cyclists(self) -> None:
        edge = self.layout.half_width - self.layout.parking_width - 0.55
        for _ in range(self.random.choice(4, p=[0.58, 0.26, 0.11, 0.05])):
            direction = self._either(0.6)
            start, speed = self.draw(7.0, 45.0), direction * self.draw(3.5, 6.5)
            path = self._track(start, speed, direction * edge)
            self._add_vehicle("bicycle", path, 0.1, ridden=True)

    def _bicycle_stands(self) -> None:
        layout = self.layout
        for _ in range(self.random.choice(3, p=[0.42, 0.36, 0.22])):
            side, start = self._either(0.6), self.draw(5.0, 35.0)
            lengthwise, outer = self.chance(0.4), self.chance(0.5)
            aside = layout.plot_line - 0.9 if outer else layout.half_width + layout.verge + 1.0
            for step in range(self.random.integers(2, 8)):
                along = start + step * (2.0 if lengthwise else 0.75)
                turn = 0.0 if lengthwise else np.pi / 2 + self.draw(-0.1, 0.1)
                if layout.free_kerb(along, side, 3.0):
                    path = self._track(along, 0.0, side * aside, turn)
                    self._add_vehicle("bicycle", path, 0.05)

    def _walkers(self) -> None:
        """Let people walk and stand on the pavements, some of them in pairs."""
        layout = self.layout
        inner = layout.half_width + layout.verge + 0.5
        for _ in range(self.random.poisson(_WALKERS[layout.kind])):
            side, along = self._either(0.5), 5 + 60 * self.random.random() ** 1.3
            aside, walks = self.draw(inner, layout.plot_line - 0.35), self.chance(0.72)
            speed = self._either(0.5) * self.draw(0.9, 1.6) if walks else 0.0
            for index in range(2 if self.chance(0.25) else 1):
                turn = 0.0 if walks else self.draw(-np.pi, np.pi)
                path = self._track(along, speed, side * (aside - 0.6 * index), turn)
                if layout.free_kerb(along, side, 3.0):
                    self._add_walker(path, 0.05)

    def _add_walker(self, path: Trajectory, margin: float) -> None:
        """Add one person, in one case of ten a child, unless the way is taken."""
        child = self.chance(0.1)
        stature = self.draw(1.1, 1.4) if child else self.draw(1.58, 1.90)
        if self.occupancy.claim(path, 0.5, 0.5, margin):
            self._add_person(path, round(stature, 2))

    def _zebra_walkers(self) -> None:
        """Let people cross at the first zebra crossing."""
        layout, street = self.layout, self.layout.path
        for zebra in layout.zebras[:1]:
            for _ in range(self.random.integers(0, 4)):
                start = self.draw(-layout.half_width, 0.5 * layout.half_width)
                distance = start + self.draw(0.9, 1.5) * self.seconds
                place = street.spot(zebra + self.draw(-1.2, 1.2), 0.0)
                turn = street.heading(zebra) + self._either(0.5) * np.pi / 2
                self._add_walker(Trajectory.straight(place, turn, distance), 0.4)

    def _cross_traffic(self) -> None:
        """Let vehicles cross the main street, where the camera does not meet them."""
        crossing, street = self.layout.crossing, self.layout.path
        if crossing is None or not (crossing.left_arm and crossing.right_arm):
            return
        for direction in (1, -1):
            lane = crossing.along - direction * crossing.half_width / 2
            for _ in range(self.random.integers(0, 3)):
                distance = self.draw(-24.0, 6.0) + self.draw(4.0, 10.0) * self.seconds
                heading = street.heading(crossing.along) + direction * np.pi / 2
                path = Trajectory.straight(street.spot(lane, 0.0), heading, distance)
                self._add_vehicle(self._kind(_CARS), path, 1.0)

    def _outfit(self) -> _Outfit:
        return _Outfit(*(self.pick(colours) for colours in (_SKIN, _HAIR, _TOPS, _LEGS)))

    def _add_person(self, path: Trajectory, stature: float) -> None:
        """Add a person of ``stature`` metres who walks along ``path`` or stands there."""
        scene, outfit, walks = self.scene, self._outfit(), path.moves
        instance, hip = scene.new_instance(Label.PERSON), round(0.50 * stature, 2)
        body, trunk = scene.part(path), _trunk(outfit, 0.03 * walks, round(hip - 0.02, 2))
        scene.add(trunk, Label.PERSON, body, instance)
        leg = _limb(hip, 0.085, outfit.legs, _SHOE, 0.16)
        arm = _limb(round(0.36 * stature, 2), 0.055, outfit.top, outfit.skin, 0.05)
        phase = path.travelled / (0.42 * stature) * np.pi + self.draw(0, 2 * np.pi)
        rest = 0.0 if walks else self.draw(-0.1, 0.1)
        for side in (-1.0, 1.0):
            swing = (0.50 * side if walks else 0.0) * np.sin(phase) + rest
            shoulder = (0.25 * side, hip + 0.50, 0.0)
            limbs = ((leg, swing, (0.095 * side, hip, 0.0)), (arm, -0.8 * swing - 0.05, shoulder))
            for mesh, angle, pivot in limbs:
                scene.add(mesh, Label.PERSON, scene.part(path, angle, pivot), instance)
        scene.patch((0.0, 0.0), (0.42, 0.36), -0.5, part=body)

    def _add_rider(self, path: Trajectory, motorised: bool) -> None:
        """Seat a rider on the bicycle or motorcycle that follows ``path``."""
        scene, outfit = self.scene, self._outfit()
        instance = scene.new_instance(Label.RIDER)
        seat, back = (0.92, -0.28) if motorised else (0.98, -0.22)
        if motorised:
            outfit = outfit._replace(skin=_HELMET, hair=outfit.top)
        body = scene.part(path, None, (0.0, 0.0, back))
        scene.add(_trunk(outfit, 0.22, seat), Label.RIDER, body, instance)
        leg = _limb(0.82, 0.08, outfit.legs, _SHOE, 0.16)
        arm = _limb(0.62, 0.055, outfit.top, outfit.skin, 0.05)
        phase = path.travelled / 5.0 * 2 * np.pi + self.draw(0, 2 * np.pi)
        for side in (-1.0, 1.0):
            pedalling = (0.0 if motorised else 0.30) * side * np.sin(phase) - 0.42
            hip, shoulder = (0.11 * side, seat, back), (0.24 * side, seat + 0.52, back + 0.2)
            limbs = ((leg, pedalling, hip), (arm, np.full(scene.num_poses, -0.95), shoulder))
            for mesh, angle, pivot in limbs:
                scene.add(mesh, Label.RIDER, scene.part(path, angle, pivot), instance)


@cache
def vehicle_mesh(name: str, colour: Triple, second: Triple) -> Mesh:
    """Return the body of a vehicle; ``second`` is the colour of stripes or cargo."""
    mesh, body, colours = Mesh(), VEHICLES[name], {"body": colour, "second": second}
    written = VEHICLES["shared looks"] | body["looks"]
    looks = {key: _read_look(values, colours) for key, values in written.items()}
    for keys, bottom, top, heights in body["solids"]:
        look = looks[keys] if isinstance(keys, str) else tuple(looks[key] for key in keys)
        mesh.prism(tuple(bottom), tuple(top), tuple(heights), look)
    for key, centre, radii in body["ellipsoids"]:
        mesh.ellipsoid(tuple(centre), tuple(radii), looks[key])
    if name == "bicycle":
        _add_bicycle(mesh, Look(colour))
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
