"""Fills both sides of the street: plots with houses or gardens, trees and furniture."""

from dataclasses import dataclass

import numpy as np

from seg2vid.data.toycity.plots import Builder
from seg2vid.data.toycity.street import Place

START, STOP = -16.0, 150.0
_STOREYS = {
    "residential": (3, 5), "avenue": (3, 7), "suburb": (1, 2), "commercial": (4, 8),
    "parkside": (2, 5),
}  # fmt: skip
"""Lowest and highest number of storeys per kind of street."""
_SHOPS = {"commercial": 0.85, "avenue": 0.45}
_TREE_ROWS = {"avenue": 0.8, "parkside": 0.8}


@dataclass
class Roadside(Builder):
    """Plots, trees and furniture on both sides of a street."""

    autumn: bool = False
    """Whether most leaves have turned."""

    def fill(self) -> None:
        """Fill both sides of the main street and of the side street."""
        random = self.random
        self.autumn = bool(random.random() < 0.15)
        self._signals()
        lined = random.random(2) < _TREE_ROWS.get(self.layout.kind, 0.55)
        height = self.draw(6.0, 12.0)
        for side in (-1, 1):
            self._plots(side)
            if lined[0] and (side > 0 or lined[1]):
                self._tree_row(side, height)
            self._lamps_and_signs(side)
        self._side_street()
        self._street_end()

    def _plots(self, side: int) -> None:
        """Fill one side of the main street with plots, leaving the side street open."""
        layout, crossing = self.layout, self.layout.crossing
        along = START + self.draw(-6.0, 0.0)
        while along < STOP:
            length = self.draw(10.0, 17.0) if layout.kind == "suburb" else self.draw(8.0, 20.0)
            middle, margin = along + length / 2, length / 2 + layout.pavement
            if crossing is None or layout.free_kerb(middle, side, margin):
                self._plot(along, length - 0.02, side)
                along += length
                continue
            gap = crossing.half_width + layout.pavement
            room = crossing.along - gap - along
            if room >= 6.0:
                self._plot(along, room, side)
            if crossing.main_ends:
                return
            along = max(crossing.along + gap, along + 0.5)

    def _plot(self, along: float, length: float, side: int) -> None:
        """Fill one plot of the main street with a building or a garden."""
        layout, random = self.layout, self.random
        green, detached = layout.green_plots[side > 0], layout.kind == "suburb"
        garden = {"parkside": 0.85 if green else 0.1, "suburb": 0.22}.get(layout.kind, 0.10)
        if random.random() < garden:
            self._garden(along, length, side)
            return
        setback = self.draw(3.0, 6.5) if green else 0.4
        inset = self.draw(0.8, 2.5) if detached or random.random() < 0.1 else 0.0
        front = side * (layout.plot_line + setback)
        ends = (along + inset, along + length - inset)
        self._house(ends, (front, front + side * self.draw(9.0, 13.0)), side)
        if green and along > -8:
            self._front_garden(along, length, side, setback)

    def _house(self, ends: Place, lines: Place, side: int, crossed_at: float | None = None) -> None:
        """Raise a house between two places along a street and two lines aside of it.

        The street is the main street, or the one that crosses it at ``crossed_at``.
        """
        first, second = ends if side < 0 else ends[::-1]
        corners = [(first, lines[0]), (second, lines[0]), (second, lines[1]), (first, lines[1])]
        if crossed_at is not None:
            corners = [(crossed_at + aside, along) for along, aside in corners]
        plot = np.array([self.layout.path.spot(*corner) for corner in corners])
        low, high = _STOREYS[self.layout.kind]
        storeys = int(self.random.integers(low, high + 1))
        shop = storeys > 2 and self.random.random() < _SHOPS.get(self.layout.kind, 0.2)
        self.add_house(plot, storeys, bool(shop))

    def _garden(self, along: float, length: float, side: int) -> None:
        """Fill a plot with trees and bushes behind a hedge, wall or fence."""
        line, path, random = self.layout.plot_line, self.layout.path, self.random
        self._border(along, length, side, self.draw(0.9, 2.2))
        for row, distance in enumerate((4.0, 9.0)):
            for step in np.arange(2.0, length, 5.5).tolist():
                place = path.spot(along + step, side * (line + distance + self.draw(-1.0, 1.0)))
                height = self.draw(6.0, 12.0)
                self.add_tree(place, height, 5 - row, self.autumn)
        if random.random() < 0.6:
            place = path.spot(along + length / 2, side * (line + 1.4))
            self.add_bush(place, self.draw(0.6, 1.2))

    def _border(self, along: float, length: float, side: int, height: float) -> None:
        """Close a plot towards the pavement with a hedge, a wall or a fence."""
        line, path, kind = self.layout.plot_line + 0.15, self.layout.path, self.random.random()
        ends = np.array([path.spot(along, side * line), path.spot(along + length, side * line)])
        if kind < 0.36:
            far = side * (line + 0.8)
            back = np.array([path.spot(along + length, far), path.spot(along, far)])
            self.add_hedge(np.concatenate([ends, back]), height)
        elif kind < 0.96:
            wall = kind < 0.62
            self.add_barrier(ends, height if wall else min(height, 1.6), wall)

    def _front_garden(self, along: float, length: float, side: int, setback: float) -> None:
        """Plant the strip between pavement and house."""
        random = self.random
        gate = max(length - self.draw(1.5, 3.0), 2.0)
        self._border(along, gate, side, self.draw(0.7, 1.4))
        if random.random() < 0.5:
            aside = side * (self.layout.plot_line + 0.5 * setback + 0.6)
            place = self.layout.path.spot(along + self.draw(0.2, 0.8) * length, aside)
            if random.random() < 0.5 and setback > 3.4:
                self.add_tree(place, self.draw(4.0, 6.5), 4)
            else:
                self.add_bush(place, self.draw(0.5, 0.9))

    def _side_street(self) -> None:
        """Line the arms of the side street with houses; close a T junction."""
        layout, crossing = self.layout, self.layout.crossing
        if crossing is None:
            return
        gap = crossing.half_width + layout.pavement + layout.verge + 0.4
        for arm, present in ((-1, crossing.left_arm), (1, crossing.right_arm)):
            for bank in (-1, 1):
                closing = crossing.main_ends and bank > 0
                along = 0.0 if closing else layout.plot_line + 14.5
                while (present or closing) and along < 75.0:
                    length = self.draw(9.0, 18.0)
                    low, high = sorted((arm * along, arm * (along + length)))
                    lines = (bank * gap, bank * (gap + 10.0))
                    self._house((low, high), lines, -bank, crossing.along)
                    along += length + 0.02

    def _street_end(self) -> None:
        """Close the view down the street with houses and trees."""
        if self.layout.crossing is not None and self.layout.crossing.main_ends:
            return
        for aside in np.arange(-60.0, 60.0, 14.0).tolist():
            if self.random.random() < 0.7:
                self._house((aside, aside + 13.5), (0.0, 10.0), -1, STOP + 14.0)
        for aside in np.arange(-40.0, 41.0, 8.0).tolist():
            place = self.layout.path.spot(STOP + 8.0 + self.draw(-3.0, 3.0), aside)
            self.add_tree(place, self.draw(7.0, 13.0), 3)

    def _tree_row(self, side: int, height: float) -> None:
        """Plant street trees between kerb and pavement."""
        layout, random = self.layout, self.random
        spacing = self.draw(7.0, 13.0)
        line = layout.half_width + (0.55 * layout.verge if layout.verge > 0 else 0.9)
        for along in np.arange(START + self.draw(0.0, spacing), STOP - 10, spacing).tolist():
            along += self.draw(-0.8, 0.8)
            place, gap = layout.path.spot(along, side * line), random.random() < 0.1
            if (
                layout.free_kerb(along, side, 5.0)
                and not gap
                and self.occupancy.claim_spot(place, 0.3)
            ):
                detail = 9 if along < 45 else 5 if along < 90 else 3
                tall = height * self.draw(0.8, 1.15)
                self.add_tree(place, tall, detail, self.autumn)

    def _lamps_and_signs(self, side: int) -> None:
        """Erect lamps, signs and bollards along one kerb."""
        layout, random, path = self.layout, self.random, self.layout.path
        spacing = self.draw(22.0, 38.0)
        for along in np.arange(START + self.draw(0.0, spacing), 110.0, spacing).tolist():
            place = path.spot(along, side * (layout.half_width + 0.5))
            if layout.free_kerb(along, side, 4.0) and self.occupancy.claim_spot(place, 0.15):
                heading = path.heading(along) - side * np.pi / 2
                self.add_lamp(place, heading)
        for along in np.arange(4 + self.draw(0.0, 12.0), 80.0, 14.0).tolist():
            place = path.spot(along, side * (layout.half_width + self.draw(0.4, 0.8)))
            wanted = layout.free_kerb(along, side, 3.0) and random.random() < 0.42
            if wanted and self.occupancy.claim_spot(place, 0.4):
                heading = path.heading(along) + (0.0 if side > 0 else np.pi)
                self.add_sign(place, heading)
        for along in np.arange(3.0, 40.0, 2.2).tolist() if random.random() < 0.2 else []:
            place = path.spot(along, side * (layout.half_width + 0.3))
            if layout.free_kerb(along, side, 3.0) and self.occupancy.claim_spot(place, 0.1):
                self.add_bollard(place)

    def _signals(self) -> None:
        """Erect traffic lights at the junction or at a zebra crossing."""
        layout, random, crossing = self.layout, self.random, self.layout.crossing
        edge, state = layout.half_width + 0.6, int(random.choice([0, 2, 2, 1]))
        spots = []
        if crossing is not None and random.random() < 0.65:
            gap = crossing.half_width + 1.2
            near, far = crossing.along - gap, crossing.along + gap
            arm = 3.2 if random.random() < 0.4 else 0.0
            spots = [(near, edge, 0.0, arm), (far, -edge, np.pi, 0.0), (far, edge, 0.0, 0.0)]
        elif layout.zebras and random.random() < 0.5:
            place = layout.zebras[0]
            spots = [(place - 2.4, edge, 0.0, 0.0), (place + 2.4, -edge, np.pi, 0.0)]
        for along, aside, turn, arm in spots:
            where, heading = layout.path.spot(along, aside), layout.path.heading(along) + turn
            if self.occupancy.claim_spot(where, 0.15):
                self.add_traffic_light(where, heading, state, arm)
