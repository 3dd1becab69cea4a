"""Puts vehicles, people and riders into the street."""

import numpy as np

from seg2vid.data.toycity.config import ToyCityConfig
from seg2vid.data.toycity.ego import EgoDrive
from seg2vid.data.toycity.layout import StreetLayout
from seg2vid.data.toycity.people import (
    BICYCLE,
    MOTORCYCLE,
    RAW_BICYCLE,
    RAW_MOTORCYCLE,
    Trajectory,
    add_person,
    add_rider,
    bicycle_colour,
    bicycle_mesh,
)
from seg2vid.data.toycity.scene import Colour, Mesh, SceneBuilder
from seg2vid.data.toycity.traffic import Occupancy, follow, straight
from seg2vid.data.toycity.vehicles import (
    CAR_COLOURS,
    CAR_SHAPES,
    bus_mesh,
    car_mesh,
    motorcycle_mesh,
    tram_mesh,
    truck_mesh,
    van_mesh,
)

CAR, TRUCK, BUS, TRAIN = 13, 14, 15, 16
_RAW = {CAR: 26, TRUCK: 27, BUS: 28, TRAIN: 31, MOTORCYCLE: 32, BICYCLE: 33}
_SIZES = {"van": (5.4, 2.0), "truck": (8.1, 2.5), "bus": (12.0, 2.55), "tram": (27.0, 2.4)}
_LIVERY: tuple[tuple[Colour, Colour], ...] = (
    ((0.85, 0.83, 0.78), (0.62, 0.08, 0.08)), ((0.78, 0.62, 0.12), (0.15, 0.15, 0.16)),
    ((0.62, 0.10, 0.10), (0.85, 0.84, 0.80)), ((0.16, 0.30, 0.55), (0.85, 0.85, 0.84)),
    ((0.20, 0.42, 0.28), (0.82, 0.80, 0.70)),
)  # fmt: skip


class _Inhabitants:
    """Shared state while the street is populated."""

    def __init__(
        self,
        scene: SceneBuilder,
        layout: StreetLayout,
        ego: EgoDrive,
        config: ToyCityConfig,
        occupancy: Occupancy,
        random: np.random.Generator,
        lamps: float,
    ) -> None:
        """Remember what is populated and with which dice."""
        self.scene, self.layout, self.ego, self.lamps = scene, layout, ego, lamps
        self.occupancy, self.random = occupancy, random
        self.seconds = np.arange(config.num_frames + 1) / config.frames_per_second
        self.still = np.zeros(config.num_frames + 1)

    def vehicle(self, name: str, path: Trajectory, margin: float = 0.4) -> bool:
        """Add a vehicle by name unless its way is taken."""
        random = self.random
        length, width = _SIZES.get(name, (0.0, 0.0))
        if name in CAR_SHAPES:
            length, width = CAR_SHAPES[name].length, CAR_SHAPES[name].width
        if not self.occupancy.claim(path, length, width, margin):
            return False
        colour = CAR_COLOURS[random.integers(len(CAR_COLOURS))]
        livery = _LIVERY[random.integers(len(_LIVERY))]
        mesh, label = self._body(name, colour, livery)
        part = self.scene.part(path.position, path.heading)
        self.scene.add(mesh, label, part, self.scene.new_instance(_RAW[label]))
        self.scene.patch(
            (0.0, 0.0), ((width / 2 + 0.25, 0.0), (0.0, length / 2 + 0.25)), -0.78, 0.35, part
        )
        if self.scene.shade > 0.1:
            self.sun_shadow(part, float(path.heading[0]), (length, width))
        if path.travelled[-1] > 0 and self.lamps > 0:
            beam = ((1.6, 0.0), (0.0, 5.0))
            self.scene.patch((0.0, length / 2 + 5.0), beam, 0.5 * self.lamps, 2.0, part)
        return True

    def sun_shadow(self, part: int, heading: float, size: tuple[float, float]) -> None:
        """Cast the shadow of a vehicle to the side away from the sun."""
        x, z = self.scene.shadow_shift
        sine, cosine = np.sin(heading), np.cos(heading)
        reach = 0.7 if size[0] < 6 else 1.4
        centre = ((x * cosine - z * sine) * reach, (x * sine + z * cosine) * reach)
        axes = ((size[1] / 2, 0.0), (0.0, size[0] / 2))
        self.scene.patch(centre, axes, -self.scene.shade, 0.15, part)

    def _body(self, name: str, colour: Colour, livery: tuple[Colour, Colour]) -> tuple[Mesh, int]:
        """Return mesh and class of a vehicle."""
        if name == "van":
            return van_mesh(colour), CAR
        if name == "truck":
            return truck_mesh(colour, livery[0]), TRUCK
        if name == "bus":
            return bus_mesh(*livery), BUS
        if name == "tram":
            return tram_mesh(*livery), TRAIN
        return car_mesh(name, colour), CAR

    def car_name(self) -> str:
        """Draw a car body."""
        names = [*CAR_SHAPES, "van"]
        return str(self.random.choice(names, p=[0.28, 0.24, 0.16, 0.15, 0.10, 0.07]))

    def parked(self, side: int) -> None:
        """Park cars along one kerb."""
        layout, random = self.layout, self.random
        if layout.parking_width <= 0:
            return
        aside = side * (layout.half_width - 0.5 * layout.parking_width + 0.02)
        fill = float(random.uniform(0.12, 0.85))
        along = -8.0 + float(random.uniform(0, 5))
        while along < 120.0:
            name = "truck" if random.random() < 0.025 else self.car_name()
            blocked = any(abs(along - zebra) < 7.0 for zebra in layout.zebras)
            if random.random() < fill and not blocked and layout.free_kerb(along, side, 8.0):
                reverse = side < 0 if random.random() < 0.9 else side > 0
                shift = float(random.uniform(-0.1, 0.1))
                path = follow(layout.path, self.still + along, aside + shift, reverse=reverse)
                if random.random() < 0.06:
                    self.motorcycle(path)
                else:
                    self.vehicle(name, path, 0.05)
            along += float(random.uniform(5.6, 6.8)) + (4.0 if name == "truck" else 0.0)

    def motorcycle(self, path: Trajectory, ridden: bool = False) -> None:
        """Add a motorcycle, parked or with a rider."""
        if not self.occupancy.claim(path, 2.2, 0.8):
            return
        random = self.random
        part = self.scene.part(path.position, path.heading)
        mesh = motorcycle_mesh(CAR_COLOURS[random.integers(len(CAR_COLOURS))])
        self.scene.add(mesh, MOTORCYCLE, part, self.scene.new_instance(RAW_MOTORCYCLE))
        self.scene.patch((0.0, 0.0), ((0.4, 0.0), (0.0, 1.1)), -0.55, 2.0, part)
        if ridden:
            add_rider(self.scene, random, path, True)

    def bicycle(self, path: Trajectory, ridden: bool) -> None:
        """Add a bicycle, parked or with a rider."""
        if not self.occupancy.claim(path, 1.8, 0.6, 0.1):
            return
        part = self.scene.part(path.position, path.heading)
        mesh = bicycle_mesh(bicycle_colour(self.random))
        self.scene.add(mesh, BICYCLE, part, self.scene.new_instance(RAW_BICYCLE))
        self.scene.patch((0.0, 0.0), ((0.3, 0.0), (0.0, 0.9)), -0.4, 2.0, part)
        if ridden:
            add_rider(self.scene, self.random, path, False)

    def lane_aside(self, lane: int) -> float:
        """Return the distance aside of the middle of a lane, counted from the centre line."""
        return (lane + 0.5) * self.layout.lane_width

    def lanes(self) -> None:
        """Let traffic flow along both directions of the main street."""
        layout, random = self.layout, self.random
        cruise = max(self.ego.speed, 2.0) if self.ego.speed > 0 else 8.0
        crossing = layout.crossing
        end = crossing.along - 8 if crossing is not None and crossing.main_ends else 115.0
        for lane in range(layout.lanes):
            for direction in (1, -1):
                along = float(random.uniform(9, 26) if direction > 0 else random.uniform(8, 40))
                while along < end:
                    speed = (
                        cruise * random.uniform(0.9, 1.15)
                        if direction > 0
                        else random.uniform(6, 13)
                    )
                    if self.ego.speed == 0 and direction > 0:
                        speed = 0.0
                    track = along + direction * speed * self.seconds
                    aside = direction * self.lane_aside(lane) + float(random.uniform(-0.15, 0.15))
                    path = follow(layout.path, track, aside, reverse=direction < 0)
                    if random.random() < 0.5:
                        self.lane_user(path)
                    along += float(random.uniform(11, 38))

    def lane_user(self, path: Trajectory) -> None:
        """Put a random road user on a lane."""
        kind = self.random.random()
        if kind < 0.04:
            self.vehicle("bus", path)
        elif kind < 0.12:
            self.vehicle("truck", path)
        elif kind < 0.17:
            self.motorcycle(path, ridden=True)
        else:
            self.vehicle(self.car_name(), path)

    def tram(self) -> None:
        """Send a tram along the rails."""
        layout, random = self.layout, self.random
        if not layout.rails or random.random() < 0.35:
            return
        direction = -1 if random.random() < 0.75 else 1
        speed = float(random.uniform(4, 11)) if direction < 0 else max(self.ego.speed, 3.0)
        start = float(random.uniform(26, 60))
        track = start + direction * speed * self.seconds
        aside = layout.rails[0] if direction < 0 else layout.rails[1]
        self.vehicle("tram", follow(layout.path, track, aside, reverse=direction < 0))

    def cyclists(self) -> None:
        """Let cyclists ride along the right edge of either carriageway."""
        layout, random = self.layout, self.random
        for _ in range(int(random.choice([0, 1, 2, 3], p=[0.58, 0.26, 0.11, 0.05]))):
            direction = 1 if random.random() < 0.6 else -1
            edge = layout.half_width - layout.parking_width - 0.55
            speed = float(random.uniform(3.5, 6.5))
            track = float(random.uniform(7, 45)) + direction * speed * self.seconds
            path = follow(layout.path, track, direction * edge, reverse=direction < 0)
            self.bicycle(path, ridden=True)

    def bicycle_stands(self) -> None:
        """Park rows of bicycles on the pavement."""
        layout, random = self.layout, self.random
        for _ in range(int(random.choice([0, 1, 2], p=[0.42, 0.36, 0.22]))):
            side = 1 if random.random() < 0.6 else -1
            start = float(random.uniform(5, 35))
            aside = (
                layout.plot_line - 0.9
                if random.random() < 0.5
                else layout.half_width + layout.verge + 1.0
            )
            lengthwise = random.random() < 0.4
            for step in range(int(random.integers(2, 8))):
                along = start + step * (2.0 if lengthwise else 0.75)
                if not layout.free_kerb(along, side, 3.0):
                    continue
                base = follow(layout.path, self.still + along, side * aside)
                turn = 0.0 if lengthwise else np.pi / 2 + random.uniform(-0.1, 0.1)
                self.bicycle(Trajectory(base.position, base.heading + turn, self.still), False)

    def walkers(self) -> None:
        """Let people walk and stand on the pavements."""
        layout, random = self.layout, self.random
        busy = {"commercial": 14, "avenue": 9, "residential": 6, "suburb": 3, "parkside": 5}
        inner = layout.half_width + layout.verge + 0.5
        for _ in range(int(random.poisson(busy[layout.kind]))):
            side = 1 if random.random() < 0.5 else -1
            along = float(5 + 60 * random.random() ** 1.3)
            if not layout.free_kerb(along, side, 3.0):
                continue
            aside = side * float(random.uniform(inner, layout.plot_line - 0.35))
            count = 2 if random.random() < 0.25 else 1
            walks = random.random() < 0.72
            direction = 1 if random.random() < 0.5 else -1
            speed = direction * float(random.uniform(0.9, 1.6)) if walks else 0.0
            for index in range(count):
                self.walker(along, aside - side * 0.6 * index, speed, direction)

    def walker(self, along: float, aside: float, speed: float, direction: int) -> None:
        """Add one person on the pavement."""
        track = along + speed * self.seconds
        path = follow(self.layout.path, track, aside, reverse=direction < 0)
        if speed == 0.0:
            turn = float(self.random.uniform(-np.pi, np.pi))
            path = Trajectory(path.position, path.heading + turn, path.travelled)
        if self.occupancy.claim(path, 0.5, 0.5, 0.05):
            add_person(self.scene, self.random, path, self.stature(), speed != 0.0)

    def stature(self) -> float:
        """Draw the height of a person; one in ten is a child."""
        random = self.random
        tall = random.uniform(1.58, 1.90) if random.random() < 0.9 else random.uniform(1.1, 1.4)
        return round(float(tall), 2)

    def zebra_walkers(self) -> None:
        """Let people cross at zebra crossings that the camera is not about to reach."""
        layout, random = self.layout, self.random
        for zebra in layout.zebras[:1]:
            for _ in range(int(random.integers(0, 4))):
                side = 1 if random.random() < 0.5 else -1
                start = float(random.uniform(-layout.half_width, layout.half_width * 0.5))
                distance = start + float(random.uniform(0.9, 1.5)) * self.seconds
                spot = layout.path.place(np.float64(zebra + random.uniform(-1.2, 1.2)))
                turn = float(spot.heading) + side * np.pi / 2
                path = straight((float(spot.x), float(spot.z)), turn, distance)
                if self.occupancy.claim(path, 0.5, 0.5, 0.4):
                    add_person(self.scene, random, path, self.stature(), True)

    def cross_traffic(self) -> None:
        """Let vehicles cross the main street where the camera is far from the junction."""
        layout, random, crossing = self.layout, self.random, self.layout.crossing
        if crossing is None:
            return
        spot = layout.path.place(np.float64(crossing.along))
        centre = np.array([float(spot.x), float(spot.z)])
        forward = np.array([np.sin(spot.heading), np.cos(spot.heading)])
        for direction in (1, -1):
            if not (crossing.right_arm and crossing.left_arm):
                continue
            for _ in range(int(random.integers(0, 3))):
                lane = -direction * crossing.half_width / 2
                start = centre + lane * forward
                distance = (
                    float(random.uniform(-24, 6)) + float(random.uniform(4, 10)) * self.seconds
                )
                heading = float(spot.heading) + direction * np.pi / 2
                path = straight((float(start[0]), float(start[1])), heading, distance)
                self.vehicle(self.car_name(), path, 1.0)


def populate(
    scene: SceneBuilder,
    layout: StreetLayout,
    ego: EgoDrive,
    config: ToyCityConfig,
    occupancy: Occupancy,
    random: np.random.Generator,
    lamps: float,
) -> None:
    """Add all vehicles, people and riders; `lamps` is how bright lights are, 0 to 1."""
    street = _Inhabitants(scene, layout, ego, config, occupancy, random, lamps)
    street.tram()
    street.parked(-1)
    street.parked(1)
    street.zebra_walkers()
    street.cross_traffic()
    street.cyclists()
    street.lanes()
    street.bicycle_stands()
    street.walkers()
