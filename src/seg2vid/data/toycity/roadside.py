"""Where things stand beside a street: plots with houses or gardens, rows of trees and lamps."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from seg2vid.data.toycity.furniture import Furniture
from seg2vid.data.toycity.scene import Corners, Label, Look, Material, Mesh
from seg2vid.data.toycity.street import Place, SideStreet

START, STOP = -16.0, 150.0
_STOREYS = {"residential": (3, 6), "avenue": (3, 8), "suburb": (1, 3), "commercial": (4, 9)}
"""Lowest number of storeys per kind of street, and one more than the highest."""
_SHOPS = {"commercial": 0.85, "avenue": 0.45}
_TREE_ROWS = {"avenue": 0.8, "parkside": 0.8}
_STONES = ((0.50, 0.47, 0.43), (0.52, 0.33, 0.26), (0.60, 0.59, 0.57))
_WOODS = ((0.44, 0.32, 0.20), (0.36, 0.30, 0.24), (0.70, 0.69, 0.66))
_METALS = ((0.25, 0.29, 0.26), (0.18, 0.19, 0.20), (0.42, 0.44, 0.45))


@dataclass
class Roadside(Furniture):
    """Plots, trees and furniture on both sides of a street."""

    autumn: bool = False
    """Whether most leaves have turned."""

    def fill(self) -> None:
        """Fill both sides of the main street and of the side street."""
        self.autumn = self.chance(0.15)
        self._signals()
        lined = self.random.random(2) < _TREE_ROWS.get(self.layout.kind, 0.55)
        height = self.draw(6.0, 12.0)
        for side in (-1, 1):
            self._plots(side)
            if lined[0] and (side > 0 or lined[1]):
                self._tree_row(side, height)
            self._lamps_and_signs(side)
        if self.layout.crossing is not None:
            self._side_street(self.layout.crossing)
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
        layout = self.layout
        green, detached = layout.green_plots[side > 0], layout.kind == "suburb"
        garden = {"parkside": 0.85 if green else 0.1, "suburb": 0.22}.get(layout.kind, 0.10)
        if self.chance(garden):
            self._garden(along, length, side)
            return
        setback = self.draw(3.0, 6.5) if green else 0.4
        inset = self.draw(0.8, 2.5) if detached or self.chance(0.1) else 0.0
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
        plot = np.array([self.spot(*corner) for corner in corners])
        storeys = int(self.random.integers(*_STOREYS.get(self.layout.kind, (2, 6))))
        shop = storeys > 2 and self.chance(_SHOPS.get(self.layout.kind, 0.2))
        self.add_house(plot, storeys, shop)

    def _garden(self, along: float, length: float, side: int) -> None:
        """Fill a plot with trees and bushes behind a hedge, wall or fence."""
        line = self.layout.plot_line
        self._border(along, length, side, self.draw(0.9, 2.2))
        for row, distance in enumerate((4.0, 9.0)):
            for step in np.arange(2.0, length, 5.5).tolist():
                place = self.spot(along + step, side * (line + distance + self.draw(-1.0, 1.0)))
                self.add_tree(place, self.draw(6.0, 12.0), 5 - row, self.autumn)
        if self.chance(0.6):
            self.add_bush(self.spot(along + length / 2, side * (line + 1.4)), self.draw(0.6, 1.2))

    def _border(self, along: float, length: float, side: int, height: float) -> None:
        """Close a plot towards the pavement with a hedge, a wall or a fence."""
        line, kind = self.layout.plot_line + 0.15, self.random.random()
        ends = np.array([self.spot(along, side * line), self.spot(along + length, side * line)])
        if kind < 0.36:
            far = side * (line + 0.8)
            back = np.array([self.spot(along + length, far), self.spot(along, far)])
            hedge = np.concatenate([ends, back])
            self._add_barrier(hedge, height, self.leaf_look(), Label.VEGETATION)
        elif kind < 0.62:
            size, tone = self.draw(0.12, 0.3), self.draw(0.85, 1.15)
            look = Look(self.pick(_STONES), Material.STONE, parameters=(size,)).shaded(tone)
            self._add_barrier(_thicken(ends, 0.3), height, look, Label.WALL)
        elif kind < 0.96:
            colours, board = (_WOODS, (0.16, 0.6)) if self.chance(0.55) else (_METALS, (0.12, 0.8))
            look = Look(self.pick(colours), Material.PLANKS, parameters=board)
            self._add_barrier(_thicken(ends, 0.06), min(height, 1.6), look, Label.FENCE)

    def _add_barrier(self, footprint: Corners, height: float, look: Look, label: int) -> None:
        mesh = Mesh()
        mesh.prism(footprint, footprint, (0.0, height), look)
        self.scene.add(mesh, label)

    def _front_garden(self, along: float, length: float, side: int, setback: float) -> None:
        """Plant the strip between pavement and house."""
        gate = max(length - self.draw(1.5, 3.0), 2.0)
        self._border(along, gate, side, self.draw(0.7, 1.4))
        if self.chance(0.5):
            aside = side * (self.layout.plot_line + 0.5 * setback + 0.6)
            place = self.spot(along + self.draw(0.2, 0.8) * length, aside)
            if self.chance(0.5) and setback > 3.4:
                self.add_tree(place, self.draw(4.0, 6.5), 4)
            else:
                self.add_bush(place, self.draw(0.5, 0.9))

    def _side_street(self, crossing: SideStreet) -> None:
        """Line the arms of the side street with houses; close a T junction."""
        layout = self.layout
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
            if self.chance(0.7):
                self._house((aside, aside + 13.5), (0.0, 10.0), -1, STOP + 14.0)
        for aside in np.arange(-40.0, 41.0, 8.0).tolist():
            place = self.spot(STOP + 8.0 + self.draw(-3.0, 3.0), aside)
            self.add_tree(place, self.draw(7.0, 13.0), 3)

    def _tree_row(self, side: int, height: float) -> None:
        layout, spacing = self.layout, self.draw(7.0, 13.0)
        line = layout.half_width + (0.55 * layout.verge if layout.verge > 0 else 0.9)
        for along in np.arange(START + self.draw(0.0, spacing), STOP - 10, spacing).tolist():
            along += self.draw(-0.8, 0.8)
            place, planted = self.spot(along, side * line), not self.chance(0.1)
            planted = planted and layout.free_kerb(along, side, 5.0)
            if planted and self.occupancy.claim_spot(place, 0.3):
                detail = 9 if along < 45 else 5 if along < 90 else 3
                self.add_tree(place, height * self.draw(0.8, 1.15), detail, self.autumn)

    def _lamps_and_signs(self, side: int) -> None:
        layout, spacing = self.layout, self.draw(22.0, 38.0)
        for along in np.arange(START + self.draw(0.0, spacing), 110.0, spacing).tolist():
            place = self.spot(along, side * (layout.half_width + 0.5))
            if layout.free_kerb(along, side, 4.0) and self.occupancy.claim_spot(place, 0.15):
                self.add_lamp(place, layout.path.heading(along) - side * np.pi / 2)
        for along in np.arange(4 + self.draw(0.0, 12.0), 80.0, 14.0).tolist():
            place = self.spot(along, side * (layout.half_width + self.draw(0.4, 0.8)))
            wanted = layout.free_kerb(along, side, 3.0) and self.chance(0.42)
            if wanted and self.occupancy.claim_spot(place, 0.4):
                self.add_sign(place, layout.path.heading(along) + (0.0 if side > 0 else np.pi))
        for along in np.arange(3.0, 40.0, 2.2).tolist() if self.chance(0.2) else []:
            place = self.spot(along, side * (layout.half_width + 0.3))
            if layout.free_kerb(along, side, 3.0) and self.occupancy.claim_spot(place, 0.1):
                bollard = self.scene.standing_part(place, 0.0)
                self.scene.add(self.mast(0.95, 0.06), Label.POLE, bollard)

    def _signals(self) -> None:
        """Erect traffic lights at the junction or at a zebra crossing."""
        layout, crossing = self.layout, self.layout.crossing
        edge, state = layout.half_width + 0.6, int(self.pick((0, 2, 2, 1)))
        spots = []
        if crossing is not None and self.chance(0.65):
            gap = crossing.half_width + 1.2
            near, far = crossing.along - gap, crossing.along + gap
            arm = 3.2 if self.chance(0.4) else 0.0
            spots = [(near, edge, 0.0, arm), (far, -edge, np.pi, 0.0), (far, edge, 0.0, 0.0)]
        elif layout.zebras and self.chance(0.5):
            place = layout.zebras[0]
            spots = [(place - 2.4, edge, 0.0, 0.0), (place + 2.4, -edge, np.pi, 0.0)]
        for along, aside, turn, arm in spots:
            where, heading = self.spot(along, aside), layout.path.heading(along) + turn
            if self.occupancy.claim_spot(where, 0.15):
                self.add_traffic_light(where, heading, state, arm)


def _thicken(line: Float[np.ndarray, "2 2"], thickness: float) -> Corners:
    along = line[1] - line[0]
    aside = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6)
    return np.concatenate([line, line[::-1] + aside * thickness])
