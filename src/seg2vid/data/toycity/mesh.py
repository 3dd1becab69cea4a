"""Bodies made of planar quads and ellipsoids, and how their surfaces look."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Real = int | float
Triple = tuple[Real, Real, Real]


class Material(IntEnum):
    """How a surface is painted."""

    FLAT = 0
    FACADE = 1
    ROOF = 2
    LEAVES = 3
    GLASS = 4
    PLANKS = 5
    STONE = 6
    PAINT = 7
    GLOW = 8
    COACH = 9
    SIGN = 10


class Look(NamedTuple):
    """Two colours (0 to 1), material, and up to six parameters of the material."""

    colour: Triple
    material: Material = Material.FLAT
    second: Triple = (0.1, 0.1, 0.12)
    parameters: tuple[Real, ...] = ()

    def shaded(self, level: float) -> "Look":
        """Return the same look with its first colour made brighter or darker."""
        red, green, blue = self.colour
        return self._replace(colour=(red * level, green * level, blue * level))


_CORNERS = np.array(
    [[0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7], [4, 5, 6, 7], [0, 1, 2, 3]]
)
ALL_SIDES = (0, 1, 2, 3, 4, 5)
"""Sides of a solid: rear, right, front, left, top, bottom."""
NO_BOTTOM = ALL_SIDES[:5]
WALLS = ALL_SIDES[:4]

Rectangle = tuple[Real, Real, Real, Real]
"""x0, x1, z0, z1."""


@dataclass
class Mesh:
    """Quads and ellipsoids of one rigid body in its own axes (x right, y up, z front)."""

    faces: list[Float[np.ndarray, "_ 4 3"]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    double_sided: list[bool] = field(default_factory=list)
    balls: list[tuple[Triple, Triple, Look]] = field(default_factory=list)

    def quad(self, corners: Float[np.ndarray, "4 3"], look: Look) -> None:
        """Add one quad that is seen from both sides; corners 0 and 1 are its bottom edge."""
        self._extend(corners[None], [look], True)

    def solid(self, faces: Float[np.ndarray, "faces 4 3"], looks: Look | tuple[Look, ...]) -> None:
        """Add the faces of a convex solid, seen from outside; one look for all or one each."""
        every = [looks] * len(faces) if isinstance(looks, Look) else list(looks)
        self._extend(faces, every, False)

    def _extend(
        self, faces: Float[np.ndarray, "faces 4 3"], looks: list[Look], double_sided: bool
    ) -> None:
        self.faces.append(faces)
        self.looks += looks
        self.double_sided += [double_sided] * len(faces)

    def upright(
        self,
        footprint: Float[np.ndarray, "4 2"],
        heights: tuple[Real, Real],
        looks: Look | tuple[Look, ...],
        sides: tuple[int, ...] = NO_BOTTOM,
        *,
        top: Float[np.ndarray, "4 2"] | None = None,
    ) -> None:
        """Add a solid over a footprint of four (x, z) corners; ``top`` lets it taper.

        Its first side stands on corners 0 and 1, the next on 1 and 2, and so on.
        """
        corners = np.empty((8, 3))
        corners[:4, 1], corners[4:, 1] = heights
        corners[:4, [0, 2]] = footprint
        corners[4:, [0, 2]] = footprint if top is None else top
        self.solid(corners[_CORNERS[list(sides)]], looks)

    def prism(
        self,
        bottom: Rectangle,
        top: Rectangle,
        heights: tuple[Real, Real],
        looks: Look | tuple[Look, ...],
        sides: tuple[int, ...] = NO_BOTTOM,
    ) -> None:
        """Add a solid between two rectangles at two heights, sides as in ``ALL_SIDES``."""
        self.upright(_rectangle(bottom), heights, looks, sides, top=_rectangle(top))

    def box(
        self, low: Triple, high: Triple, look: Look, sides: tuple[int, ...] = NO_BOTTOM
    ) -> None:
        """Add an upright box from corner ``low`` to corner ``high``."""
        rectangle = (low[0], high[0], low[2], high[2])
        self.prism(rectangle, rectangle, (low[1], high[1]), look, sides)

    def ellipsoid(self, centre: Triple, radii: Triple, look: Look) -> None:
        """Add an ellipsoid whose axes are those of the part."""
        self.balls.append((centre, radii, look))


def _rectangle(sides: Rectangle) -> Float[np.ndarray, "4 2"]:
    x0, x1, z0, z1 = sides
    return np.array([[x0, z0], [x1, z0], [x1, z1], [x0, z1]], np.float64)
