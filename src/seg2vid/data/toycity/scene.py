"""Bodies of planar quads and ellipsoids, their looks, and the flat arrays of a scene."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8, UInt16

from seg2vid.data.toycity.street import Occupancy, PerFrame, Place, StreetLayout, Trajectory
from seg2vid.labels.space import get_label_space

Choice = TypeVar("Choice")
Real = int | float
Pair = tuple[Real, Real]
Axes = Pair | tuple[Pair, Pair]
Triple = tuple[Real, Real, Real]
Faces = Float[np.ndarray, "faces 4 3"]
Corners = Float[np.ndarray, "4 2"]
"""Front left, front right, back right, back left (x, z)."""
Outline = tuple[Real, Real, Real, Real] | Corners
"""A rectangle (x0, x1, z0, z1) or any four corners."""

Label = IntEnum(
    "Label",
    "ROAD SIDEWALK BUILDING WALL FENCE POLE LIGHT SIGN VEGETATION TERRAIN SKY PERSON RIDER CAR "
    "TRUCK BUS TRAIN MOTORCYCLE BICYCLE VOID",
    start=0,
)
"""The train ids of Cityscapes."""
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


@dataclass
class Mesh:
    """Quads and ellipsoids of one rigid body in its own axes (x right, y up, z front)."""

    faces: list[Float[np.ndarray, "_ 4 3"]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    balls: list[tuple[Triple, Triple, Look]] = field(default_factory=list)

    def quad(self, corners: Float[np.ndarray, "4 3"], look: Look) -> None:
        """Add one quad that is seen from both sides; corners 0 and 1 are its bottom edge."""
        self.solid(corners[None], look)

    def solid(self, faces: Faces, looks: Looks) -> None:
        """Add the faces of a convex solid, seen from outside; one look for all or one each."""
        self.faces.append(faces)
        self.looks += [looks] * len(faces) if isinstance(looks, Look) else looks

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


def _corners(outline: Outline) -> Corners:
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
    patches: Float[np.ndarray, "patches 9"]
    """Parallelograms on the ground: centre and two half axes (x, z) in their part, strength (less
    than 0 = shadow, more = lamp light), softness (0 = sharp, 1 = soft, 2 = round), and the part."""


class SceneBuilder:
    """Collects meshes, parts and ground patches, then freezes them into a ``Scene``."""

    def __init__(self, num_poses: int, shadow_shift: Pair = (0.0, 0.0), shade: float = 0.0) -> None:
        """Start an empty scene with ``num_poses`` frames; part 0 never moves.

        Sun shadows fall ``shadow_shift`` metres (x, z) per metre of height, darker by ``shade``.
        """
        self.num_poses, self.shadow_shift, self.shade = num_poses, shadow_shift, shade
        self._rotations = [np.tile(np.eye(3), (num_poses, 1, 1))]
        self._translations = [np.zeros((num_poses, 3))]
        self._placed: list[tuple[Mesh, int, int, int]] = []
        self._patches: list[tuple[float, ...]] = []
        self._classes = get_label_space("cityscapes").channels
        self._instances: Counter[int] = Counter()

    def new_instance(self, label: int) -> int:
        """Return the next instance number of a class, e.g. 26001: 26 is the raw id of cars."""
        self._instances[label] += 1
        return self._classes[label].raw_ids[0] * 1000 + self._instances[label]

    def part(
        self, path: Trajectory, swing: PerFrame | None = None, pivot: Triple = (0.0, 0.0, 0.0)
    ) -> int:
        """Add a rigid part that follows a path, turned about its own x axis by ``swing``."""
        turn = _rotations(path.heading, 0, 2)
        self._translations.append(path.position + turn @ np.array(pivot))
        self._rotations.append(turn if swing is None else turn @ _rotations(swing, 2, 1))
        return len(self._rotations) - 1

    def standing_part(self, place: Place, heading: float) -> int:
        """Add a part that stands at world (x, z) and faces along ``heading``."""
        return self.part(Trajectory.straight(place, heading, np.zeros(self.num_poses)))

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
        solids = [np.zeros((0, 4, 3)), *(solid for mesh in meshes for solid in mesh.faces)]
        counts = np.array([len(solid) for solid in solids])
        balls = np.array([ball[:2] for mesh in meshes for ball in mesh.balls], np.float64)
        balls = balls.reshape(-1, 2, 3)
        return Scene(
            quads=_face_outwards(np.concatenate(solids), counts[1:]),
            double_sided=np.repeat(counts == 1, counts),
            centres=balls[:, 0],
            radii=balls[:, 1],
            surfaces=_surface_table(self._placed),
            rotation=np.stack(self._rotations, 1),
            translation=np.stack(self._translations, 1),
            patches=np.array(self._patches, np.float64).reshape(-1, 9),
        )


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

    def chance(self, share: float) -> bool:
        """Return True in the given share of all cases."""
        return bool(self.random.random() < share)

    def pick(self, choices: Sequence[Choice]) -> Choice:
        """Draw one of the choices."""
        return choices[int(self.random.integers(len(choices)))]

    def spot(self, along: float, aside: float) -> Place:
        """Return the world (x, z) of a place along and aside of the main street."""
        return self.layout.path.spot(along, aside)


def _rotations(angle: PerFrame, first: int, second: int) -> Float[np.ndarray, "frames 3 3"]:
    """Return the rotations by an angle in the plane of two axes."""
    turn = np.tile(np.eye(3), (len(angle), 1, 1))
    turn[:, first, first] = turn[:, second, second] = np.cos(angle)
    turn[:, first, second], turn[:, second, first] = np.sin(angle), -np.sin(angle)
    return turn


def _face_outwards(faces: Faces, counts: Int[np.ndarray, " solids"]) -> Faces:
    """Turn the normals of convex solids, of so many faces each, outwards."""
    middles = faces.mean(1)
    insides = np.add.reduceat(middles, np.cumsum(counts) - counts) / counts[:, None]
    normal = np.cross(faces[:, 2] - faces[:, 0], faces[:, 3] - faces[:, 1])
    wrong = ((middles - np.repeat(insides, counts, 0)) * normal).sum(1) < 0
    return np.where(wrong[:, None, None], faces[:, [1, 0, 3, 2]], faces)


def _surface_table(placed: list[tuple[Mesh, int, int, int]]) -> SurfaceTable:
    """Gather looks and ids: the three fixed surfaces, all quads, all ellipsoids."""
    void = Look((0.0, 0.0, 0.0))
    rows: list[tuple[Look, int, int, int]] = []
    rows += [(void, label, 0, 0) for label in (Label.SKY, Label.ROAD, Label.VOID)]
    rows += [(look, *item[1:]) for item in placed for look in item[0].looks]
    rows += [(ball[2], *item[1:]) for item in placed for ball in item[0].balls]
    looks, labels, instances, parts = zip(*rows, strict=True)
    padded = [(look.parameters + (0.0,) * 6)[:6] for look in looks]
    return SurfaceTable(
        colour=np.array([look.colour for look in looks], np.float32),
        second=np.array([look.second for look in looks], np.float32),
        parameters=np.array(padded, np.float32),
        material=np.array([look.material for look in looks], np.int64),
        label=np.array(labels, np.uint8),
        instance=np.array(instances, np.uint16),
        part=np.array(parts, np.int64),
    )
