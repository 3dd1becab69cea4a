"""Scenes as flat arrays: planar quads and ellipsoids that belong to rigid moving parts."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

Colour = tuple[float, float, float]

SKY, GROUND, BONNET, FIRST_QUAD = 0, 1, 2, 3
"""Surface ids: three fixed surfaces, then the quads, then the ellipsoids."""


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
    """Material, two colours (0 to 1) and up to six material parameters."""

    colour: Colour
    material: Material = Material.FLAT
    second: Colour = (0.1, 0.1, 0.12)
    parameters: tuple[float, ...] = ()


_CORNERS = np.array(
    [[0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7], [4, 5, 6, 7], [0, 1, 2, 3]]
)
ALL_SIDES = (0, 1, 2, 3, 4, 5)
NO_BOTTOM = (0, 1, 2, 3, 4)
WALLS = (0, 1, 2, 3)


@dataclass
class Mesh:
    """Quads and ellipsoids of one rigid body in its own coordinates (x right, y up, z front)."""

    vertices: list[np.ndarray] = field(default_factory=list)
    insides: list[np.ndarray] = field(default_factory=list)
    quad_looks: list[Look] = field(default_factory=list)
    centres: list[Colour] = field(default_factory=list)
    radii: list[Colour] = field(default_factory=list)
    ellipsoid_looks: list[Look] = field(default_factory=list)
    double_sided: list[bool] = field(default_factory=list)

    def quad(self, corners: Float[np.ndarray, "4 3"], look: Look) -> None:
        """Add one quad that is seen from both sides; corners 0 and 1 are its bottom edge."""
        self.vertices.append(np.asarray(corners, np.float64)[None])
        self.insides.append(self.vertices[-1][0, 0])
        self.quad_looks.append(look)
        self.double_sided.append(True)

    def prism(
        self,
        bottom: tuple[float, float, float, float],
        top: tuple[float, float, float, float],
        heights: tuple[float, float],
        looks: Look | tuple,
        sides: tuple[int, ...] = NO_BOTTOM,
    ) -> None:
        """Add a solid between two rectangles (x0, x1, z0, z1) at two heights.

        Sides are ordered rear, right, front, left, top, bottom; `looks` has one look for
        all of them or one look per side.
        """
        low, high = heights
        x0, x1, z0, z1 = bottom
        u0, u1, w0, w1 = top
        corners = np.array(
            [
                [x0, low, z0], [x1, low, z0], [x1, low, z1], [x0, low, z1],
                [u0, high, w0], [u1, high, w0], [u1, high, w1], [u0, high, w1],
            ]
        )  # fmt: skip
        self.solid(corners[_CORNERS[list(sides)]], looks)

    def solid(self, faces: Float[np.ndarray, "faces 4 3"], looks: Look | tuple) -> None:
        """Add the faces of a convex solid; each is seen only from outside."""
        self.vertices.append(faces)
        self.insides += [faces.mean((0, 1))] * len(faces)
        many = [looks] * len(faces) if isinstance(looks, Look) else list(looks)
        self.quad_looks += many
        self.double_sided += [False] * len(faces)

    def box(
        self, low: Colour, high: Colour, look: Look, sides: tuple[int, ...] = NO_BOTTOM
    ) -> None:
        """Add an upright box from corner `low` to corner `high`."""
        rectangle = (low[0], high[0], low[2], high[2])
        self.prism(rectangle, rectangle, (low[1], high[1]), look, sides)

    def ellipsoid(self, centre: Colour, radii: Colour, look: Look) -> None:
        """Add an ellipsoid whose axes are those of the part."""
        self.centres.append(centre)
        self.radii.append(radii)
        self.ellipsoid_looks.append(look)


def _face_outwards(
    faces: Float[np.ndarray, "faces 4 3"], insides: Float[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "faces 4 3"]:
    """Wind the corners of each face so that its normal points away from its inside point."""
    normal = np.cross(faces[:, 2] - faces[:, 0], faces[:, 3] - faces[:, 1])
    wrong = ((faces.mean(1) - insides) * normal).sum(1) < 0
    return np.where(wrong[:, None, None], faces[:, [1, 0, 3, 2]], faces)


@dataclass(frozen=True)
class PartPoses:
    """Rigid poses of all parts in all frames: world = rotation @ local + translation."""

    rotation: Float[np.ndarray, "frames parts 3 3"]
    translation: Float[np.ndarray, "frames parts 3"]


@dataclass(frozen=True)
class SurfaceTable:
    """Look and identity of every surface, indexed by surface id."""

    colour: Float[np.ndarray, "surfaces 3"]
    second: Float[np.ndarray, "surfaces 3"]
    parameters: Float[np.ndarray, "surfaces 6"]
    material: Int[np.ndarray, " surfaces"]
    label: Int[np.ndarray, " surfaces"]
    instance: Int[np.ndarray, " surfaces"]
    part: Int[np.ndarray, " surfaces"]


@dataclass(frozen=True)
class GroundPatches:
    """Soft parallelograms on the ground: shadows (negative strength) and pools of light."""

    centre: Float[np.ndarray, "patches 2"]
    first_axis: Float[np.ndarray, "patches 2"]
    second_axis: Float[np.ndarray, "patches 2"]
    strength: Float[np.ndarray, " patches"]
    softness: Float[np.ndarray, " patches"]
    part: Int[np.ndarray, " patches"]


@dataclass(frozen=True)
class Scene:
    """Everything a frame is rasterised from, except ground, sky and camera."""

    quads: Float[np.ndarray, "quads 4 3"]
    double_sided: Bool[np.ndarray, " quads"]
    centres: Float[np.ndarray, "ellipsoids 3"]
    radii: Float[np.ndarray, "ellipsoids 3"]
    surfaces: SurfaceTable
    poses: PartPoses
    patches: GroundPatches


class SceneBuilder:
    """Collects meshes, parts and ground patches, then freezes them into a `Scene`."""

    def __init__(
        self, num_poses: int, shadow_shift: tuple[float, float] = (0.0, 0.0), shade: float = 0.0
    ) -> None:
        """Start an empty scene with `num_poses` frames; part 0 never moves.

        Sun shadows fall `shadow_shift` metres (x, z) per metre of height and darken by `shade`.
        """
        self.num_poses = num_poses
        self.shadow_shift, self.shade = shadow_shift, shade
        self._rotations: list[np.ndarray] = [np.tile(np.eye(3), (num_poses, 1, 1))]
        self._translations: list[np.ndarray] = [np.zeros((num_poses, 3))]
        self._vertices: list[np.ndarray] = [np.zeros((0, 4, 3))]
        self._insides: list[np.ndarray] = []
        self._double: list[bool] = []
        self._balls: list[tuple[Colour, Colour]] = []
        self._quad_rows: list[tuple[Look, int, int, int]] = []
        self._ball_rows: list[tuple[Look, int, int, int]] = []
        self._patches: list[tuple[float, ...]] = []
        self._instances: dict[int, int] = {}

    def new_instance(self, raw_class: int) -> int:
        """Return the next instance number of a raw Cityscapes class, e.g. 26001."""
        count = self._instances.get(raw_class, 0) + 1
        self._instances[raw_class] = count
        return raw_class * 1000 + count

    def part(
        self,
        position: Float[np.ndarray, "frames 3"],
        heading: Float[np.ndarray, " frames"],
        swing: Float[np.ndarray, " frames"] | None = None,
        pivot: Colour = (0.0, 0.0, 0.0),
    ) -> int:
        """Add a rigid part: turned by `heading`, and about its own x axis by `swing`."""
        sine, cosine = np.sin(heading), np.cos(heading)
        turn = np.zeros((self.num_poses, 3, 3))
        turn[:, 0, 0] = turn[:, 2, 2] = cosine
        turn[:, 0, 2], turn[:, 2, 0], turn[:, 1, 1] = sine, -sine, 1.0
        self._translations.append(position + turn @ np.asarray(pivot))
        if swing is not None:
            lean = np.zeros((self.num_poses, 3, 3))
            lean[:, 1, 1] = lean[:, 2, 2] = np.cos(swing)
            lean[:, 2, 1] = np.sin(swing)
            lean[:, 1, 2] = -lean[:, 2, 1]
            lean[:, 0, 0] = 1.0
            turn = turn @ lean
        self._rotations.append(turn)
        return len(self._rotations) - 1

    def add(self, mesh: Mesh, label: int, part: int = 0, instance: int = 0) -> None:
        """Add a mesh with one label and instance number to a part."""
        self._vertices += mesh.vertices
        self._insides += mesh.insides
        self._double += mesh.double_sided
        self._quad_rows += [(look, label, part, instance) for look in mesh.quad_looks]
        self._balls += list(zip(mesh.centres, mesh.radii, strict=True))
        self._ball_rows += [(look, label, part, instance) for look in mesh.ellipsoid_looks]

    def patch(
        self,
        centre: tuple[float, float],
        axes: tuple[tuple[float, float], tuple[float, float]],
        strength: float,
        softness: float = 1.0,
        part: int = 0,
    ) -> None:
        """Add a ground patch: centre and half axes in part x, z; softness 0 (sharp) to 1."""
        self._patches.append((*centre, *axes[0], *axes[1], strength, softness, part))

    def build(self) -> Scene:
        """Freeze the collected content."""
        rotation = np.stack(self._rotations, 1)
        translation = np.stack(self._translations, 1)
        balls = np.array(self._balls, np.float64).reshape(-1, 2, 3)
        patches = np.array(self._patches, np.float64).reshape(-1, 9)
        return Scene(
            quads=_face_outwards(
                np.concatenate(self._vertices), np.array(self._insides).reshape(-1, 3)
            ),
            double_sided=np.array(self._double, bool),
            centres=balls[:, 0],
            radii=balls[:, 1],
            surfaces=_surface_table(self._quad_rows + self._ball_rows),
            poses=PartPoses(rotation, translation),
            patches=GroundPatches(
                patches[:, 0:2],
                patches[:, 2:4],
                patches[:, 4:6],
                patches[:, 6],
                patches[:, 7],
                patches[:, 8].astype(np.int64),
            ),
        )


def _surface_table(rows: list[tuple[Look, int, int, int]]) -> SurfaceTable:
    """Gather the looks and ids of all surfaces, with the three fixed surfaces in front."""
    void = Look((0.0, 0.0, 0.0))
    fixed = [(void, 10, 0, 0), (void, 0, 0, 0), (void, 19, 0, 0)]
    everything = fixed + rows
    looks = [row[0] for row in everything]
    padded = [(look.parameters + (0.0,) * 6)[:6] for look in looks]
    identity = np.array([row[1:] for row in everything], np.int64)
    return SurfaceTable(
        colour=np.array([look.colour for look in looks], np.float32),
        second=np.array([look.second for look in looks], np.float32),
        parameters=np.array(padded, np.float32),
        material=np.array([int(look.material) for look in looks], np.int64),
        label=identity[:, 0].astype(np.uint8),
        part=identity[:, 1],
        instance=identity[:, 2].astype(np.uint16),
    )
