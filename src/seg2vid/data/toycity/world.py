"""Composes a city from a seed: weather, street plan, roadside, vehicles, people and riders."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from seg2vid.data.toycity.bodies import (
    LIVERIES,
    PAINTS,
    add_person,
    add_rider,
    vehicle_kind,
    vehicle_mesh,
)
from seg2vid.data.toycity.camera import drive_ego
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.data.toycity.roadside import Roadside
from seg2vid.data.toycity.scene import Label, SceneBuilder, Site
from seg2vid.data.toycity.shading import City, sample_atmosphere
from seg2vid.data.toycity.street import Occupancy, Trajectory, sample_layout

_CARS = ("hatchback", "sedan", "estate", "suv", "minivan", "van")
_CAR_SHARES = (0.28, 0.24, 0.16, 0.15, 0.10, 0.07)
_WALKERS = {"commercial": 14, "avenue": 9, "residential": 6, "suburb": 3, "parkside": 5}
"""Mean number of people on the pavements per kind of street."""


@dataclass
class Inhabitants(Site):
    """Vehicles, people and riders on a street."""

    seconds: Float[np.ndarray, " frames"]
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
        """Return 1 with the given chance, else -1."""
        return 1 if self.random.random() < chance else -1

    def _track(self, along: float, speed: float, aside: float, turn: float = 0.0) -> Trajectory:
        """Follow the main street at a speed (m/s, negative = backwards along it)."""
        turn += np.pi if speed < 0 else 0.0
        path = self.layout.path
        return Trajectory.along(path, along + speed * self.seconds, aside, turn)

    def _add_vehicle(
        self, name: str, path: Trajectory, margin: float = 0.4, ridden: bool = False
    ) -> None:
        """Add a vehicle by name, with its shadows and lights, unless its way is taken."""
        random, scene, kind = self.random, self.scene, vehicle_kind(name)
        if not self.occupancy.claim(path, kind.length, kind.width, margin):
            return
        colour, second = LIVERIES[random.integers(len(LIVERIES))]
        if name not in ("bus", "tram"):
            colour, second = PAINTS[random.integers(len(PAINTS))], colour
        part = scene.part(path)
        instance = scene.new_instance(kind.label)
        scene.add(vehicle_mesh(name, colour, second), kind.label, part, instance)
        size = (kind.width / 2, kind.length / 2)
        if ridden:
            add_rider(self, path, kind.label == Label.MOTORCYCLE)
        if kind.label in (Label.MOTORCYCLE, Label.BICYCLE):
            scene.patch((0.0, 0.0), size, -0.5, part=part)
            return
        scene.patch((0.0, 0.0), (size[0] + 0.25, size[1] + 0.25), -0.78, 0.35, part)
        if scene.shade > 0.1:
            (x, z), reach = scene.shadow_shift, 0.7 if kind.length < 6 else 1.4
            sine, cosine = np.sin(path.heading[0]), np.cos(path.heading[0])
            centre = ((x * cosine - z * sine) * reach, (x * sine + z * cosine) * reach)
            scene.patch(centre, size, -scene.shade, 0.15, part)
        if path.moves and self.lamps > 0:
            scene.patch((0.0, size[1] + 5.0), (1.6, 5.0), 0.5 * self.lamps, part=part)

    def _car(self) -> str:
        return str(self.random.choice(_CARS, p=_CAR_SHARES))

    def _parked(self, side: int) -> None:
        """Park cars along one kerb."""
        layout, random = self.layout, self.random
        aside = side * (layout.half_width - 0.5 * layout.parking_width + 0.02)
        fill, along = self.draw(0.12, 0.85), self.draw(-8.0, -3.0)
        while layout.parking_width > 0 and along < 120.0:
            name = "truck" if random.random() < 0.025 else self._car()
            name = "motorcycle" if random.random() < 0.06 else name
            free = layout.free_kerb(along, side, 8.0)
            free &= all(abs(along - zebra) >= 7.0 for zebra in layout.zebras)
            if random.random() < fill and free:
                turn = np.pi if self._either(0.9) != side else 0.0
                path = self._track(along, 0.0, aside + self.draw(-0.1, 0.1), turn)
                self._add_vehicle(name, path, 0.05)
            along += self.draw(5.6, 6.8) + (4.0 if name == "truck" else 0.0)

    def _lane(self, lane: int, direction: int) -> None:
        """Let traffic flow along one lane of the main street."""
        layout, random, crossing = self.layout, self.random, self.layout.crossing
        ending = crossing is not None and crossing.main_ends
        stop = crossing.along - 8 if crossing is not None and ending else 115.0
        along = self.draw(9.0, 26.0) if direction > 0 else self.draw(8.0, 40.0)
        while along < stop:
            speed = self.draw(0.9, 1.15) * max(self.ego_speed, 2.0)
            if direction < 0:
                speed = -self.draw(6.0, 13.0)
            elif self.ego_speed == 0:
                speed = 0.0
            aside = direction * (lane + 0.5) * layout.lane_width + self.draw(-0.15, 0.15)
            if random.random() < 0.5:
                self._add_lane_user(self._track(along, speed, aside))
            along += self.draw(11.0, 38.0)

    def _add_lane_user(self, path: Trajectory) -> None:
        """Put a random road user on a lane."""
        kind = self.random.random()
        names = ((0.04, "bus"), (0.12, "truck"), (0.17, "motorcycle"))
        name = next((name for limit, name in names if kind < limit), None) or self._car()
        self._add_vehicle(name, path, ridden=name == "motorcycle")

    def _tram(self) -> None:
        """Send a tram along the rails."""
        if self.layout.rails and self.random.random() < 0.65:
            direction = self._either(0.25)
            speed = max(self.ego_speed, 3.0) if direction > 0 else -self.draw(4.0, 11.0)
            aside = self.layout.rails[direction > 0]
            self._add_vehicle("tram", self._track(self.draw(26.0, 60.0), speed, aside))

    def _cyclists(self) -> None:
        """Let cyclists ride along the edge of either carriageway."""
        edge = self.layout.half_width - self.layout.parking_width - 0.55
        for _ in range(self.random.choice(4, p=[0.58, 0.26, 0.11, 0.05])):
            direction = self._either(0.6)
            start, speed = self.draw(7.0, 45.0), direction * self.draw(3.5, 6.5)
            path = self._track(start, speed, direction * edge)
            self._add_vehicle("bicycle", path, 0.1, ridden=True)

    def _bicycle_stands(self) -> None:
        """Park rows of bicycles on the pavement."""
        layout, random = self.layout, self.random
        for _ in range(random.choice(3, p=[0.42, 0.36, 0.22])):
            side, start = self._either(0.6), self.draw(5.0, 35.0)
            lengthwise = random.random() < 0.4
            outer = random.random() < 0.5
            aside = layout.plot_line - 0.9 if outer else layout.half_width + layout.verge + 1.0
            for step in range(random.integers(2, 8)):
                along = start + step * (2.0 if lengthwise else 0.75)
                turn = 0.0 if lengthwise else np.pi / 2 + self.draw(-0.1, 0.1)
                if layout.free_kerb(along, side, 3.0):
                    path = self._track(along, 0.0, side * aside, turn)
                    self._add_vehicle("bicycle", path, 0.05)

    def _walkers(self) -> None:
        """Let people walk and stand on the pavements, some of them in pairs."""
        layout, random = self.layout, self.random
        inner = layout.half_width + layout.verge + 0.5
        for _ in range(random.poisson(_WALKERS[layout.kind])):
            side, along = self._either(0.5), 5 + 60 * random.random() ** 1.3
            aside, walks = self.draw(inner, layout.plot_line - 0.35), random.random() < 0.72
            speed = self._either(0.5) * self.draw(0.9, 1.6) if walks else 0.0
            for index in range(2 if random.random() < 0.25 else 1):
                turn = 0.0 if walks else self.draw(-np.pi, np.pi)
                path = self._track(along, speed, side * (aside - 0.6 * index), turn)
                if layout.free_kerb(along, side, 3.0):
                    self._add_walker(path, 0.05)

    def _add_walker(self, path: Trajectory, margin: float) -> None:
        """Add one person, in one case of ten a child, unless the way is taken."""
        child = self.random.random() < 0.1
        stature = self.draw(1.1, 1.4) if child else self.draw(1.58, 1.90)
        if self.occupancy.claim(path, 0.5, 0.5, margin):
            add_person(self, path, round(stature, 2))

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
                self._add_vehicle(self._car(), path, 1.0)


def build_city(seed: int, config: ToyCityConfig) -> City:
    """Return the city of a seed, ready to be rendered."""
    random = np.random.Generator(np.random.PCG64(seed))
    air, layout = sample_atmosphere(random), sample_layout(random)
    ego = drive_ego(layout, config, random)
    scene = SceneBuilder(len(ego.seconds), air.shadow_shift(), air.shade())
    occupancy = Occupancy(len(ego.seconds))
    occupancy.claim(ego.trajectory, 8.0, 2.0)
    site = (scene, layout, occupancy, random, air.lamps)
    Roadside(*site).fill()
    Inhabitants(*site, ego.seconds, ego.speed).populate()
    words = {"weather": air.weather, "time_of_day": air.time_of_day}
    words |= {"street": layout.kind, "camera": ego.behaviour}
    colour = PAINTS[random.integers(len(PAINTS))]
    return City(scene.build(), layout, air, ego.camera, colour, words)
