"""Fills both sides of the street: plots with buildings or gardens, trees and furniture."""

import numpy as np

from seg2vid.data.toycity.atmosphere import Atmosphere
from seg2vid.data.toycity.buildings import Plot, add_block, add_fence, add_wall
from seg2vid.data.toycity.greenery import add_bush, add_hedge, add_tree
from seg2vid.data.toycity.layout import StreetLayout
from seg2vid.data.toycity.scene import SceneBuilder
from seg2vid.data.toycity.street_furniture import add_lamp, add_post, add_sign, add_traffic_light
from seg2vid.data.toycity.street_path import StreetPath
from seg2vid.data.toycity.traffic import Occupancy

START, STOP = -16.0, 150.0


class _Roadside:
    """Shared state while both sides of the street are filled."""

    def __init__(
        self,
        scene: SceneBuilder,
        layout: StreetLayout,
        atmosphere: Atmosphere,
        occupancy: Occupancy,
        random: np.random.Generator,
    ) -> None:
        """Remember what is filled and with which dice."""
        self.scene, self.layout, self.atmosphere = scene, layout, atmosphere
        self.occupancy, self.random = occupancy, random
        self.autumn = bool(random.random() < 0.15)
        self.tree_height = float(random.uniform(6.0, 12.0))

    def point(self, along: float, aside: float) -> tuple[float, float]:
        """Return world (x, z) of a place along and aside of the main street."""
        place = self.layout.path.place(np.float64(along), aside)
        return float(place.x), float(place.z)

    def heading(self, along: float) -> float:
        """Return the direction of the main street in radians."""
        return float(self.layout.path.place(np.float64(along)).heading)

    def plots(self, side: int) -> None:
        """Fill one side of the main street with plots."""
        layout, random = self.layout, self.random
        along = START + float(random.uniform(-6, 0))
        crossing = layout.crossing
        while along < STOP:
            length = float(
                random.uniform(8, 20) if layout.kind != "suburb" else random.uniform(10, 17)
            )
            if crossing is not None and not layout.free_kerb(
                along + length / 2, side, length / 2 + layout.pavement
            ):
                gap_end = crossing.along + crossing.half_width + layout.pavement
                if crossing.main_ends and along + length > crossing.along:
                    return
                room = crossing.along - crossing.half_width - layout.pavement - along
                if room >= 6.0:
                    self.plot(along, room, side)
                along = max(gap_end, along + 0.5)
                continue
            self.plot(along, length - 0.02, side)
            along += length

    def plot(self, along: float, length: float, side: int) -> None:
        """Fill one plot of the main street with a building or a garden."""
        layout, random = self.layout, self.random
        green = layout.green_plots[1 if side > 0 else 0]
        detached = layout.kind == "suburb"
        setback = float(random.uniform(3.5, 7.0)) if detached and green else 0.4
        if green and not detached:
            setback = float(random.uniform(2.5, 5.0))
        garden = {"parkside": 0.85 if green else 0.1, "suburb": 0.22}.get(layout.kind, 0.10)
        if random.random() < garden:
            self.garden(along, length, side)
            return
        inset = float(random.uniform(0.8, 2.5)) if detached else 0.0
        if random.random() < 0.1:
            inset = float(random.uniform(1.0, 2.5))
        front = side * (layout.plot_line + setback)
        back = front + side * float(random.uniform(9, 13))
        ends = (along + inset, along + length - inset)
        self.building(layout.path, ends, (front, back), side)
        if green and along > -8:
            self.front_garden(along, length, side, setback)

    def building(
        self,
        path: StreetPath,
        ends: tuple[float, float],
        lines: tuple[float, float],
        side: int,
    ) -> None:
        """Raise a building between two places along a path and two lines aside of it."""
        kind, random = self.layout.kind, self.random
        low, high = {
            "residential": (3, 5), "avenue": (3, 7), "suburb": (1, 2), "commercial": (4, 8),
            "parkside": (2, 5),
        }[kind]  # fmt: skip
        first, second = ends if side < 0 else ends[::-1]
        places = [(first, lines[0]), (second, lines[0]), (second, lines[1]), (first, lines[1])]
        corners = []
        for along, aside in places:
            spot = path.place(np.float64(along), aside)
            corners.append((float(spot.x), float(spot.z)))
        shop = random.random() < (
            0.85 if kind == "commercial" else 0.45 if kind == "avenue" else 0.2
        )
        storeys = int(random.integers(low, high + 1))
        add_block(self.scene, random, Plot(np.array(corners)), storeys, bool(shop and storeys > 2))

    def garden(self, along: float, length: float, side: int) -> None:
        """Fill a plot with trees and bushes behind a hedge, wall or fence."""
        random, line = self.random, self.layout.plot_line
        self.border(along, length, side, float(random.uniform(0.9, 2.2)))
        for row, distance in enumerate((4.0, 9.0)):
            for step in np.arange(2.0, length, 5.5).tolist():
                x, z = self.point(along + step, side * (line + distance + random.uniform(-1, 1)))
                add_tree(
                    self.scene, random, (x, z), float(random.uniform(6, 12)),
                    detail=5 - row, autumn=self.autumn,
                )  # fmt: skip
        if random.random() < 0.6:
            x, z = self.point(along + length / 2, side * (line + 1.4))
            add_bush(self.scene, random, (x, z), float(random.uniform(0.6, 1.2)))

    def border(self, along: float, length: float, side: int, height: float) -> None:
        """Close a plot towards the pavement with a hedge, a wall or a fence."""
        random, line = self.random, self.layout.plot_line + 0.15
        near, far = side * line, side * (line + 0.8)
        first, second = self.point(along, near), self.point(along + length, near)
        kind = random.random()
        if kind < 0.4:
            back = (self.point(along + length, far), self.point(along, far))
            add_hedge(self.scene, random, np.array([first, second, *back]), height)
        elif kind < 0.66:
            add_wall(self.scene, random, np.array([first, second]), height)
        elif kind < 0.94:
            add_fence(self.scene, random, np.array([first, second]), min(height, 1.6))

    def front_garden(self, along: float, length: float, side: int, setback: float) -> None:
        """Plant the strip between pavement and house."""
        random = self.random
        gap = float(random.uniform(1.5, 3.0))
        self.border(along, max(length - gap, 2.0), side, float(random.uniform(0.7, 1.4)))
        if random.random() < 0.5:
            aside = side * (self.layout.plot_line + 0.5 * setback + 0.6)
            place = self.point(along + random.uniform(0.2, 0.8) * length, aside)
            if random.random() < 0.5 and setback > 3.4:
                add_tree(self.scene, random, place, float(random.uniform(4, 6.5)), detail=4)
            else:
                add_bush(self.scene, random, place, float(random.uniform(0.5, 0.9)))

    def side_street(self) -> None:
        """Line the arms of the side street with buildings."""
        crossing, layout = self.layout.crossing, self.layout
        if crossing is None:
            return
        for arm, present in ((-1, crossing.left_arm), (1, crossing.right_arm)):
            for bank in (-1, 1):
                closing = crossing.main_ends and bank > 0
                if present or closing:
                    self.side_row(arm, bank, closing)

    def side_row(self, arm: int, bank: int, closing: bool) -> None:
        """Build one row of houses along one arm of the side street."""
        layout, random = self.layout, self.random
        crossing = layout.crossing
        start = 0.0 if closing else layout.plot_line + 14.5
        front = bank * (crossing.half_width + layout.pavement + layout.verge + 0.4)
        cross = _SidePath(layout.path, crossing.along)
        along = start
        while along < 75.0:
            length = float(random.uniform(9, 18))
            ends = (along, along + length) if arm > 0 else (-along - length, -along)
            self.building(cross, ends, (front, front + bank * 10.0), -bank)
            along += length + 0.02

    def street_end(self) -> None:
        """Close the view down the street with houses and trees."""
        layout, random = self.layout, self.random
        if layout.crossing is not None and layout.crossing.main_ends:
            return
        cross = _SidePath(layout.path, STOP + 14.0)
        along = -60.0
        while along < 60.0:
            length = float(random.uniform(9, 18))
            if random.random() < 0.7:
                self.building(cross, (along, along + length), (0.0, 10.0), -1)
            along += length
        for aside in np.arange(-40, 41, 8.0).tolist():
            place = self.point(STOP + 8.0 + random.uniform(-3, 3), aside)
            add_tree(self.scene, random, place, float(random.uniform(7, 13)), detail=3)

    def tree_row(self, side: int) -> None:
        """Plant street trees between kerb and pavement."""
        layout, random = self.layout, self.random
        spacing = float(random.uniform(7.0, 13.0))
        line = layout.half_width + (0.55 * layout.verge if layout.verge > 0 else 0.9)
        for along in np.arange(START + random.uniform(0, spacing), STOP - 10, spacing).tolist():
            along += float(random.uniform(-0.8, 0.8))
            if not layout.free_kerb(along, side, 5.0) or random.random() < 0.1:
                continue
            place = self.point(along, side * line)
            if self.occupancy.claim_spot(*place, 0.3):
                height = self.tree_height * float(random.uniform(0.8, 1.15))
                near = 9 if along < 45 else 5 if along < 90 else 3
                add_tree(self.scene, random, place, height, detail=near, autumn=self.autumn)

    def furniture(self, side: int) -> None:
        """Erect lamps, signs and bollards along one kerb."""
        layout, random = self.layout, self.random
        spacing = float(random.uniform(22, 38))
        line = side * (layout.half_width + 0.5)
        lit = self.atmosphere.lamps_lit
        facing = -np.pi / 2 if side > 0 else np.pi / 2
        for along in np.arange(START + random.uniform(0, spacing), 110, spacing).tolist():
            place = self.point(along, line)
            if layout.free_kerb(along, side, 4.0) and self.occupancy.claim_spot(*place, 0.15):
                add_lamp(self.scene, random, place, self.heading(along) + facing, lit)
        for along in np.arange(4 + random.uniform(0, 12), 80, 14.0).tolist():
            place = self.point(along, side * (layout.half_width + random.uniform(0.4, 0.8)))
            turn = 0.0 if side > 0 else np.pi
            usable = layout.free_kerb(along, side, 3.0) and random.random() < 0.42
            if usable and self.occupancy.claim_spot(*place, 0.4):
                add_sign(self.scene, random, place, self.heading(along) + turn)
        if random.random() < 0.2:
            for along in np.arange(3, 40, 2.2).tolist():
                place = self.point(along, side * (layout.half_width + 0.3))
                if layout.free_kerb(along, side, 3.0) and self.occupancy.claim_spot(*place, 0.1):
                    add_post(self.scene, random, place)

    def signals(self) -> None:
        """Erect traffic lights at the junction or at a zebra crossing."""
        layout, random = self.layout, self.random
        crossing = layout.crossing
        state = int(random.choice([0, 2, 2, 1]))
        edge = layout.half_width + 0.6
        if crossing is not None and random.random() < 0.65:
            near = crossing.along - crossing.half_width - 1.2
            far = crossing.along + crossing.half_width + 1.2
            arm = 3.2 if random.random() < 0.4 else 0.0
            spots = [(near, edge, 0.0, state, arm), (far, -edge, np.pi, state, 0.0)]
            if not crossing.main_ends:
                spots.append((far, edge, 0.0, state, 0.0))
        elif layout.zebras and random.random() < 0.5:
            place = layout.zebras[0]
            spots = [(place - 2.4, edge, 0.0, state, 0.0), (place + 2.4, -edge, np.pi, state, 0.0)]
        else:
            return
        for along, aside, turn, lens, arm in spots:
            place = self.point(along, aside)
            if self.occupancy.claim_spot(*place, 0.15):
                add_traffic_light(self.scene, random, place, self.heading(along) + turn, lens, arm)


class _SidePath(StreetPath):
    """The side street as a path: its own right is the main street's forward."""

    def __init__(self, main: StreetPath, along: float) -> None:
        """Cross `main` at a distance along it."""
        object.__setattr__(self, "main", main)
        object.__setattr__(self, "crossing_along", along)

    def place(self, along: np.ndarray, aside: np.ndarray | float = 0.0):
        """Return world points at a distance along the arm and ahead of its centre line."""
        return self.main.place(np.float64(self.crossing_along + aside), along)


def build_roadside(
    scene: SceneBuilder,
    layout: StreetLayout,
    atmosphere: Atmosphere,
    occupancy: Occupancy,
    random: np.random.Generator,
) -> None:
    """Fill both sides of the main street and of the side street."""
    roadside = _Roadside(scene, layout, atmosphere, occupancy, random)
    roadside.signals()
    lined = random.random(2) < {"avenue": 0.8, "parkside": 0.8}.get(layout.kind, 0.55)
    for side in (-1, 1):
        roadside.plots(side)
        if lined[0] and (side > 0 or lined[1]):
            roadside.tree_row(side)
        roadside.furniture(side)
    roadside.side_street()
    roadside.street_end()
