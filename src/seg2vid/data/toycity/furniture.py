"""Single things beside a street: houses, trees and bushes, lamps, signals and signs."""

import numpy as np
from jaxtyping import Float

from seg2vid.data.toycity.scene import ALL_SIDES, WALLS, Corners, Label, Look, Material, Mesh, Site
from seg2vid.data.toycity.street import Place

_PLASTER = (
    (0.76, 0.71, 0.60), (0.70, 0.64, 0.52), (0.80, 0.78, 0.73), (0.62, 0.52, 0.42),
    (0.66, 0.43, 0.33), (0.58, 0.34, 0.27), (0.74, 0.60, 0.40), (0.60, 0.62, 0.63),
    (0.52, 0.50, 0.48), (0.72, 0.66, 0.66), (0.56, 0.62, 0.56), (0.45, 0.38, 0.34),
    (0.80, 0.72, 0.52), (0.50, 0.54, 0.60),
)  # fmt: skip
_ROOFS = ((0.44, 0.20, 0.14), (0.36, 0.18, 0.13), (0.26, 0.25, 0.26), (0.33, 0.30, 0.28))
_ACCENTS = (
    (0.62, 0.10, 0.10), (0.10, 0.22, 0.48), (0.08, 0.36, 0.22), (0.70, 0.48, 0.10),
    (0.20, 0.18, 0.17), (0.36, 0.22, 0.13), (0.55, 0.55, 0.54),
)  # fmt: skip
_LEAVES = (
    (0.20, 0.33, 0.11), (0.25, 0.38, 0.13), (0.17, 0.29, 0.12), (0.31, 0.40, 0.14),
    (0.36, 0.37, 0.12), (0.22, 0.32, 0.17),
)  # fmt: skip
_AUTUMN = ((0.52, 0.33, 0.10), (0.45, 0.25, 0.09), (0.50, 0.42, 0.13))
_STEEL = ((0.42, 0.44, 0.45), (0.28, 0.33, 0.30), (0.55, 0.56, 0.57), (0.22, 0.23, 0.25))
_BLACK, _WHITE = (0.07, 0.07, 0.07), (0.92, 0.92, 0.90)
_RED, _BLUE, _YELLOW = (0.80, 0.06, 0.08), (0.06, 0.22, 0.62), (0.75, 0.62, 0.06)
_LENSES = ((1.0, 0.10, 0.08), (1.0, 0.70, 0.10), (0.15, 0.95, 0.45))


class Furniture(Site):
    """Raises, plants and erects single things where it is told."""

    def add_house(self, plot: Corners, storeys: int, shop: bool) -> None:
        """Raise a building with a flat or pitched roof on a plot and cast its shadow."""
        scene = self.scene
        storey = self.draw(2.9, 3.5)
        height = storeys * storey + 0.7
        front, side = self._facades(plot, height, storey, shop)
        mesh, flat = Mesh(), Look((0.35, 0.34, 0.33))
        mesh.prism(plot, plot, (0.0, height), (front, side, side, side, flat))
        tiles = Look(self.pick(_ROOFS), Material.ROOF)
        if storeys <= 6 and self.chance(0.75):
            self._add_roof(mesh, np.insert(plot, 1, height, 1), tiles, Look(side.colour))
        elif self.chance(0.6):
            small = plot.mean(0) + (plot - plot.mean(0)) * 0.4
            top = height + self.draw(1.5, 3.0)
            mesh.prism(small, small, (height, top), Look(front.colour).shaded(0.9), WALLS)
        scene.add(mesh, Label.BUILDING)
        shift = np.array(scene.shadow_shift) * height
        if scene.shade > 0.1 and float(shift @ (plot[0] - plot[3])) > 0:
            centre, half = (plot[0] + plot[1] + shift) / 2, 0.515 * (plot[1] - plot[0])
            scene.patch(tuple(centre), (tuple(half), tuple(shift / 2)), -scene.shade, 0.02)

    def _facades(self, plot: Corners, height: float, storey: float, shop: bool) -> list[Look]:
        colour, accent = self.pick(_PLASTER), self.pick(_ACCENTS)
        frontage = float(np.hypot(*(plot[1] - plot[0])))
        spacing = frontage / max(round(frontage / self.draw(2.2, 3.4)), 1)
        share, seed = self.draw(0.38, 0.62), float(self.random.integers(1, 60))
        windows = (spacing, storey, share, seed, float(shop), height)
        front = Look(colour, Material.FACADE, accent, windows).shaded(self.draw(0.85, 1.1))
        return [front, front._replace(parameters=(4.2, storey, 0.28, seed + 9, 0.0, height))]

    def _add_roof(self, mesh: Mesh, top: Float[np.ndarray, "4 3"], tiles: Look, wall: Look) -> None:
        """Add a pitched roof whose ridge runs along the street or, for gables, across it."""
        pitch = self.draw(0.45, 0.85)
        a, b, c, d = top if self.chance(0.7) else np.roll(top, -1, 0)
        depth = float(np.hypot(*(d - a)[[0, 2]]))
        lift, fall = np.array([0.0, 0.5 * depth * pitch, 0.0]), np.array([0.0, 0.35 * pitch, 0.0])
        left, right = (a + d) / 2 + lift, (b + c) / 2 + lift
        over = 0.35 * (a - d) / depth
        front = [a + over - fall, b + over - fall, right, left]
        back = [c - over - fall, d - over - fall, left, right]
        faces = np.array([front, back, [d, a, left, left], [b, c, right, right]])
        mesh.solid(faces, (tiles, tiles, wall, wall))
        x, y, z = (left + (right - left) * self.draw(0.2, 0.8)).tolist()
        high = (x + 0.35, y + 0.9, z + 0.35)
        mesh.box((x - 0.35, y - 0.5, z - 0.35), high, Look((0.42, 0.26, 0.21)))

    def leaf_look(self, autumn: bool = False) -> Look:
        """Draw the look of the leaves of one plant."""
        palette = _AUTUMN if autumn and self.chance(0.7) else _LEAVES
        look = Look(self.pick(palette), Material.LEAVES, parameters=(self.draw(0, 50),))
        return look.shaded(self.draw(0.8, 1.2))

    def add_tree(self, place: Place, height: float, detail: int, autumn: bool = False) -> None:
        """Plant a tree of the given height at world (x, z); ``detail`` is the number of clumps."""
        scene = self.scene
        (x, z), mesh, leaf = place, Mesh(), self.leaf_look(autumn)
        half = 0.0275 * height * self.draw(0.5, 0.8)
        start = height * self.draw(0.24, 0.36)
        bark = Look((0.27, 0.22, 0.17)).shaded(self.draw(0.8, 1.2))
        foot, tip = (x - half, x + half, z - half, z + half), 0.6 * half
        trunk = (0.0, start + 0.25 * height)
        mesh.prism(foot, (x - tip, x + tip, z - tip, z + tip), trunk, bark, WALLS)
        crown = (height - start) / 2
        spread, middle = crown * self.draw(0.62, 0.95), start + crown
        if self.chance(0.15):
            for level in range(3):
                size, up = spread * (0.75 - 0.22 * level), start + crown * (0.45 + 0.62 * level)
                mesh.ellipsoid((x, up, z), (size, 0.55 * crown, size), leaf)
        else:
            mesh.ellipsoid((x, middle, z), (0.72 * spread, 0.80 * crown, 0.72 * spread), leaf)
            turns = self.draw(0, 2 * np.pi) + np.arange(detail) * 2.4
            lifts = self.random.uniform(-0.5, 0.6, detail)
            sizes = self.random.uniform(0.32, 0.54, detail)
            out = 0.62 * spread * np.sqrt(1 - 0.6 * lifts**2)
            centres = [x + out * np.sin(turns), middle + lifts * crown, z + out * np.cos(turns)]
            for east, up, north, size in np.stack([*centres, sizes], 1).tolist():
                radii = (size * spread, 0.85 * size * crown, size * spread)
                mesh.ellipsoid((east, up, north), radii, leaf.shaded(0.85 + 0.3 * size))
        scene.add(mesh, Label.VEGETATION)
        sunny, size = scene.shade > 0.1, 1.15 * spread
        reach = middle if sunny else 0.0
        centre = (x + scene.shadow_shift[0] * reach, z + scene.shadow_shift[1] * reach)
        scene.patch(centre, (size, size), -1.1 * scene.shade if sunny else -0.30)

    def add_bush(self, place: Place, size: float) -> None:
        """Plant a bush of the given radius at world (x, z)."""
        (x, z), mesh, leaf, small = place, Mesh(), self.leaf_look(), 0.7 * size
        mesh.ellipsoid((x, 0.6 * size, z), (size, 0.75 * size, size), leaf)
        mesh.ellipsoid((x + 0.5 * size, 0.45 * size, z - 0.3 * size), (small, small, small), leaf)
        self.scene.add(mesh, Label.VEGETATION)

    def mast(self, height: float, radius: float) -> Mesh:
        """Return an upright of steel, in metres."""
        mesh, steel = Mesh(), Look(self.pick(_STEEL))
        mesh.box((-radius, 0.0, -radius), (radius, height, radius), steel)
        return mesh

    def add_lamp(self, place: Place, heading: float) -> None:
        """Erect a street lamp whose arm reaches along ``heading``."""
        scene = self.scene
        part, height = scene.standing_part(place, heading), self.draw(6.0, 9.0)
        mesh = self.mast(height, 0.065)
        steel = mesh.looks[0]
        mesh.box((-0.05, height - 0.12, 0.0), (0.05, height, 1.7), steel, ALL_SIDES)
        mesh.box((-0.14, height - 0.16, 1.2), (0.14, height - 0.02, 2.0), steel)
        lamp = Look((1.0, 0.86, 0.58), Material.GLOW, (0.75, 0.75, 0.70))
        mesh.box((-0.12, height - 0.24, 1.25), (0.12, height - 0.15, 1.95), lamp, ALL_SIDES)
        scene.add(mesh, Label.POLE, part)
        if self.lamps > 0:
            scene.patch((0.0, 2.0), (6.0, 7.0), 0.62 * self.lamps, part=part)

    def add_traffic_light(self, place: Place, heading: float, state: int, arm: float) -> None:
        """Erect a signal facing against ``heading``; state 0 red, 1 amber, 2 green.

        ``arm`` is the reach in metres of an arm to the left with a second signal, 0 = none.
        """
        scene = self.scene
        part, height = scene.standing_part(place, heading), 5.6 if arm else 3.3
        mesh, lights = self.mast(height, 0.06), Mesh()
        _add_signal(lights, 0.0, 2.3, state)
        if arm:
            low = (-arm, height - 0.15, -0.05)
            mesh.box(low, (0.0, height - 0.02, 0.05), mesh.looks[0], ALL_SIDES)
            _add_signal(lights, 0.2 - arm, height - 1.05, state)
        scene.add(mesh, Label.POLE, part)
        scene.add(lights, Label.LIGHT, part)

    def add_sign(self, place: Place, heading: float) -> None:
        """Erect a traffic sign that faces against ``heading``."""
        scene = self.scene
        part, height = scene.standing_part(place, heading), self.draw(2.3, 2.9)
        scene.add(self.mast(height, 0.04), Label.POLE, part)
        kind, plate = int(self.random.integers(6)), Mesh()
        if kind <= 1:
            ring, face = ((_RED, _WHITE), (_BLUE, _BLUE))[kind]
            plate.ellipsoid((0, height, -0.06), (0.36, 0.36, 0.015), Look(ring))
            plate.ellipsoid((0, height, -0.075), (0.26, 0.26, 0.012), Look(face))
            if kind == 1 or self.chance(0.4):
                bar = Look(_WHITE if kind == 1 else _BLACK)
                plate.box((-0.2, height - 0.06, -0.11), (0.2, height + 0.06, -0.09), bar, WALLS)
        elif kind == 2:
            up = -1.0 if self.chance(0.4) else 1.0
            for half, foot, tip, near, colour in (
                (0.45, -0.4, 0.4, -0.06, _RED), (0.27, -0.3, 0.18, -0.07, _WHITE),
            ):  # fmt: skip
                base, peak = height + up * foot, [0.0, height + up * tip, near]
                corners = [[-half, base, near], [half, base, near], peak, peak]
                plate.quad(np.array(corners), Look(colour))
        else:
            self._add_plate(plate, height, kind - 3)
        scene.add(plate, Label.SIGN, part)

    def _add_plate(self, mesh: Mesh, height: float, kind: int) -> None:
        """Add a rectangular sign: a blue square, a blue panel, or a large direction sign."""
        width, tall = ((0.62, 0.62), (0.5, 0.75), (1.5, 0.95))[kind]
        colour = self.pick((_WHITE, _YELLOW, _BLUE)) if kind == 2 else _BLUE
        rim = _BLACK if colour == _WHITE else _WHITE
        x, low, high = width / 2, height - tall / 2, height + tall / 2
        corners = [[-x, low, -0.06], [x, low, -0.06], [x, high, -0.06], [-x, high, -0.06]]
        look = Look(colour, Material.SIGN, rim, (width, tall, 0.04, float(kind)))
        mesh.quad(np.array(corners), look)


def _add_signal(mesh: Mesh, x: float, low: float, state: int) -> None:
    mesh.box((x - 0.19, low, -0.3), (x + 0.19, low + 1.0, -0.08), Look(_BLACK), ALL_SIDES)
    for index, colour in enumerate(_LENSES):
        lit, dark = float(index == state), Look(colour).shaded(0.22).colour
        look = Look(colour if lit else dark, Material.GLOW, dark, (lit,))
        mesh.ellipsoid((x, low + 0.82 - 0.31 * index, -0.30), (0.12, 0.12, 0.04), look)
