"""Bodies of planar quads and ellipsoids, their looks, and the flat arrays of a scene."""

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8, UInt16

from seg2vid.data.toycity.street import Occupancy, StreetLayout

Real = int | float
Pair = tuple[Real, Real]
Axes = Pair | tuple[Pair, Pair]
Triple = tuple[Real, Real, Real]


Material = IntEnum(
    "Material", "FLAT FACADE ROOF LEAVES GLASS PLANKS STONE PAINT GLOW COACH SIGN", start=0
)
"""How a surface is painted."""


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

Sides = tuple[int, ...]
Looks = Look | tuple[Look, ...]
Rectangle = tuple[Real, Real, Real, Real]
"""x0, x1, z0, z1."""
Footprint = Float[np.ndarray, "4 2"]
"""Front left, front right, back right, back left (x, z)."""
Outline = Rectangle | Footprint


@dataclass
class Mesh:
    """Quads and ellipsoids of one rigid body in its own axes (x right, y up, z front)."""

    faces: list[Float[np.ndarray, "_ 4 3"]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    double_sided: list[bool] = field(default_factory=list)
    balls: list[tuple[Triple, Triple, Look]] = field(default_factory=list)

    def quad(self, corners: Float[np.ndarray, "4 3"], look: Look) -> None:
        """Add one quad that is seen from both sides; corners 0 and 1 are its bottom edge."""
        self.solid(corners[None], look)
        self.double_sided[-1] = True

    def solid(self, faces: Float[np.ndarray, "faces 4 3"], looks: Looks) -> None:
        """Add the faces of a convex solid, seen from outside; one look for all or one each."""
        self.faces.append(faces)
        self.looks += [looks] * len(faces) if isinstance(looks, Look) else looks
        self.double_sided += [False] * len(faces)

    def prism(
        self, bottom: Outline, top: Outline, heights: Pair, looks: Looks, sides: Sides = NO_BOTTOM
    ) -> None:
        """Add a solid between two outlines at two heights, sides as in ``ALL_SIDES``.

        Its first side stands on corners 0 and 1, the next on 1 and 2, and so on.
        """
        corners = np.empty((8, 3))
        corners[:4, 1], corners[4:, 1] = heights
        corners[:4, [0, 2]], corners[4:, [0, 2]] = _corners(bottom), _corners(top)
        self.solid(corners[_CORNERS[list(sides)]], looks)

    def box(self, low: Triple, high: Triple, look: Look, sides: Sides = NO_BOTTOM) -> None:
        """Add an upright box from corner ``low`` to corner ``high``."""
        rectangle = (low[0], high[0], low[2], high[2])
        self.prism(rectangle, rectangle, (low[1], high[1]), look, sides)

    def ellipsoid(self, centre: Triple, radii: Triple, look: Look) -> None:
        """Add an ellipsoid whose axes are those of the part."""
        self.balls.append((centre, radii, look))


def _corners(outline: Outline) -> Footprint:
    if isinstance(outline, np.ndarray):
        return outline
    x0, x1, z0, z1 = outline
    return np.array([[x0, z0], [x1, z0], [x1, z1], [x0, z1]], np.float64)


SKY, GROUND, BONNET, FIRST_QUAD = 0, 1, 2, 3
"""Surface ids: three fixed surfaces, then the quads, then the ellipsoids."""


@dataclass(frozen=True)
class SurfaceTable:
    """Look and identity of every surface, indexed by surface id."""

    colour: Float32[np.ndarray, "surfaces 3"]
    second: Float32[np.ndarray, "surfaces 3"]
    parameters: Float32[np.ndarray, "surfaces 6"]
    material: Int[np.ndarray, " surfaces"]
    label: UInt8[np.ndarray, " surfaces"]
    instance: UInt16[np.ndarray, " surfaces"]
    part: Int[np.ndarray, " surfaces"]


@dataclass(frozen=True)
class GroundPatches:
    """Soft parallelograms on the ground: shadows (negative strength) and pools of light."""

    shape: Float[np.ndarray, "patches 3 2"]
    """Centre and two half axes in part x, z."""
    strength: Float[np.ndarray, " patches"]
    softness: Float[np.ndarray, " patches"]
    """0 = sharp border, 1 = soft, 2 = round."""
    part: Int[np.ndarray, " patches"]


@dataclass(frozen=True)
class Scene:
    """Everything a frame is rasterised from, except ground, sky and camera."""

    quads: Float[np.ndarray, "quads 4 3"]
    double_sided: Bool[np.ndarray, " quads"]
    centres: Float[np.ndarray, "ellipsoids 3"]
    radii: Float[np.ndarray, "ellipsoids 3"]
    surfaces: SurfaceTable
    rotation: Float[np.ndarray, "frames parts 3 3"]
    """Poses of the parts: world = rotation @ local + translation."""
    translation: Float[np.ndarray, "frames parts 3"]
    patches: GroundPatches


class SceneBuilder:
    """Collects meshes, parts and ground patches, then freezes them into a ``Scene``."""

    def __init__(
        self, num_poses: int, shadow_shift: tuple[float, float] = (0.0, 0.0), shade: float = 0.0
    ) -> None:
        """Start an empty scene with ``num_poses`` frames; part 0 never moves.

        Sun shadows fall ``shadow_shift`` metres (x, z) per metre of height, darker by ``shade``.
        """
        self.num_poses, self.shadow_shift, self.shade = num_poses, shadow_shift, shade
        self._rotations = [np.tile(np.eye(3), (num_poses, 1, 1))]
        self._translations = [np.zeros((num_poses, 3))]
        self._placed: list[tuple[Mesh, int, int, int]] = []
        self._patches: list[tuple[float, ...]] = []
        self._instances: Counter[int] = Counter()

    def new_instance(self, raw_class: int) -> int:
        """Return the next instance number of a raw Cityscapes class, e.g. 26001."""
        self._instances[raw_class] += 1
        return raw_class * 1000 + self._instances[raw_class]

    def part(
        self,
        position: Float[np.ndarray, "frames 3"],
        heading: Float[np.ndarray, " frames"],
        swing: Float[np.ndarray, " frames"] | None = None,
        pivot: Triple = (0.0, 0.0, 0.0),
    ) -> int:
        """Add a rigid part: turned by ``heading``, and about its own x axis by ``swing``."""
        turn = np.zeros((self.num_poses, 3, 3))
        turn[:, 0, 0] = turn[:, 2, 2] = np.cos(heading)
        turn[:, 0, 2], turn[:, 2, 0], turn[:, 1, 1] = np.sin(heading), -np.sin(heading), 1.0
        self._translations.append(position + turn @ np.array(pivot))
        if swing is not None:
            lean = np.zeros_like(turn)
            lean[:, 1, 1] = lean[:, 2, 2] = np.cos(swing)
            lean[:, 2, 1], lean[:, 1, 2], lean[:, 0, 0] = np.sin(swing), -np.sin(swing), 1.0
            turn = turn @ lean
        self._rotations.append(turn)
        return len(self._rotations) - 1

    def standing_part(self, place: tuple[float, float], heading: float) -> int:
        """Add a part that stands at world (x, z) and faces along ``heading``."""
        position = np.tile([place[0], 0.0, place[1]], (self.num_poses, 1))
        return self.part(position, np.full(self.num_poses, heading))

    def add(self, mesh: Mesh, label: int, part: int = 0, instance: int = 0) -> None:
        """Add a mesh with one label and instance number to a part."""
        self._placed.append((mesh, label, instance, part))

    def patch(
        self, centre: Pair, size: Axes, strength: float, softness: float = 2.0, part: int = 0
    ) -> None:
        """Add a ground patch; ``size`` gives half axes along x and z, or two vectors (x, z)."""
        axes = np.diag(size) if np.ndim(size) == 1 else np.array(size)
        self._patches.append((*centre, *axes.ravel(), strength, softness, part))

    def build(self) -> Scene:
        """Freeze the collected content."""
        meshes = [placed[0] for placed in self._placed]
        solids = [np.zeros((1, 4, 3)), *(solid for mesh in meshes for solid in mesh.faces)]
        balls = np.array([ball[:2] for mesh in meshes for ball in mesh.balls], np.float64)
        balls = balls.reshape(-1, 2, 3)
        patches = np.array(self._patches, np.float64).reshape(-1, 9)
        return Scene(
            quads=_face_outwards(solids)[1:],
            double_sided=np.array([flag for mesh in meshes for flag in mesh.double_sided], bool),
            centres=balls[:, 0],
            radii=balls[:, 1],
            surfaces=_surface_table(self._placed),
            rotation=np.stack(self._rotations, 1),
            translation=np.stack(self._translations, 1),
            patches=GroundPatches(
                patches[:, :6].reshape(-1, 3, 2), patches[:, 6], patches[:, 7],
                patches[:, 8].astype(np.int64),
            ),
        )  # fmt: skip


@dataclass
class Site:
    """What is filled, and the dice it is filled with."""

    scene: SceneBuilder
    layout: StreetLayout
    occupancy: Occupancy
    random: np.random.Generator
    lamps: float
    """How bright street lamps and headlights are, 0 to 1."""

    def draw(self, low: Real, high: Real) -> float:
        """Draw a number between ``low`` and ``high``."""
        return self.random.uniform(low, high)


def _face_outwards(solids: list[Float[np.ndarray, "_ 4 3"]]) -> Float[np.ndarray, "faces 4 3"]:
    """Join the faces of convex solids, with all normals outwards."""
    counts, faces = np.array([len(solid) for solid in solids]), np.concatenate(solids)
    middles = faces.mean(1)
    insides = np.add.reduceat(middles, np.cumsum(counts) - counts) / counts[:, None]
    normal = np.cross(faces[:, 2] - faces[:, 0], faces[:, 3] - faces[:, 1])
    wrong = ((middles - np.repeat(insides, counts, 0)) * normal).sum(1) < 0
    return np.where(wrong[:, None, None], faces[:, [1, 0, 3, 2]], faces)


def _surface_table(placed: list[tuple[Mesh, int, int, int]]) -> SurfaceTable:
    """Gather looks and ids: the three fixed surfaces, all quads, all ellipsoids."""
    void = Look((0.0, 0.0, 0.0))
    rows = [(void, 10, 0, 0), (void, 0, 0, 0), (void, 19, 0, 0)]
    rows += [(look, *item[1:]) for item in placed for look in item[0].looks]
    rows += [(ball[2], *item[1:]) for item in placed for ball in item[0].balls]
    looks = [row[0] for row in rows]
    identity = np.array([row[1:] for row in rows], np.int64)
    padded = [(look.parameters + (0.0,) * 6)[:6] for look in looks]
    return SurfaceTable(
        colour=np.array([look.colour for look in looks], np.float32),
        second=np.array([look.second for look in looks], np.float32),
        parameters=np.array(padded, np.float32),
        material=np.array([int(look.material) for look in looks], np.int64),
        label=identity[:, 0].astype(np.uint8),
        instance=identity[:, 1].astype(np.uint16),
        part=identity[:, 2],
    )
