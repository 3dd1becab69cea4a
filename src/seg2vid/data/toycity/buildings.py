"""Houses, blocks, walls and fences on plots along a street."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from seg2vid.data.toycity.scene import Colour, Look, Material, Mesh, SceneBuilder

BUILDING, WALL, FENCE = 2, 3, 4
PLASTER: tuple[Colour, ...] = (
    (0.76, 0.71, 0.60), (0.70, 0.64, 0.52), (0.80, 0.78, 0.73), (0.62, 0.52, 0.42),
    (0.66, 0.43, 0.33), (0.58, 0.34, 0.27), (0.74, 0.60, 0.40), (0.60, 0.62, 0.63),
    (0.52, 0.50, 0.48), (0.72, 0.66, 0.66), (0.56, 0.62, 0.56), (0.45, 0.38, 0.34),
    (0.80, 0.72, 0.52), (0.50, 0.54, 0.60),
)  # fmt: skip
ROOFS: tuple[Colour, ...] = (
    (0.44, 0.20, 0.14), (0.36, 0.18, 0.13), (0.26, 0.25, 0.26), (0.33, 0.30, 0.28),
)  # fmt: skip
ACCENTS: tuple[Colour, ...] = (
    (0.62, 0.10, 0.10), (0.10, 0.22, 0.48), (0.08, 0.36, 0.22), (0.70, 0.48, 0.10),
    (0.20, 0.18, 0.17), (0.36, 0.22, 0.13), (0.55, 0.55, 0.54),
)  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """The footprint of a building: front left, front right, back right, back left (x, z)."""

    corners: Float[np.ndarray, "4 2"]

    @property
    def frontage(self) -> float:
        """Length of the street front in metres."""
        return float(np.hypot(*(self.corners[1] - self.corners[0])))


def _facade_looks(
    random: np.random.Generator, plot: Plot, height: float, storey: float, shop: bool
) -> tuple[Look, Look]:
    """Return the looks of the street front and of the other walls."""
    colour = PLASTER[random.integers(len(PLASTER))]
    level = random.uniform(0.85, 1.1)
    colour = tuple(min(value * level, 0.9) for value in colour)
    accent = ACCENTS[random.integers(len(ACCENTS))]
    columns = max(round(plot.frontage / random.uniform(2.2, 3.4)), 1)
    spacing = plot.frontage / columns
    share = float(random.uniform(0.38, 0.62))
    seed = float(random.integers(1, 60))
    shared = (storey, share, seed)
    front = Look(colour, Material.FACADE, accent, (spacing, *shared, float(shop), height))
    side = Look(colour, Material.FACADE, accent, (4.2, storey, 0.28, seed + 9, 0.0, height))
    return front, side


def add_block(
    scene: SceneBuilder, random: np.random.Generator, plot: Plot, storeys: int, shop: bool
) -> None:
    """Raise a building with a flat or pitched roof on a plot."""
    storey = float(random.uniform(2.9, 3.5))
    height = storeys * storey + 0.7
    front, side = _facade_looks(random, plot, height, storey, shop)
    base = np.column_stack([plot.corners[:, 0], np.zeros(4), plot.corners[:, 1]])
    top = base + np.array([0.0, height, 0.0])
    mesh = Mesh()
    faces = [np.stack([base[i], base[(i + 1) % 4], top[(i + 1) % 4], top[i]]) for i in range(4)]
    roof_colour = ROOFS[random.integers(len(ROOFS))]
    mesh.solid(np.stack([*faces, top]), (front, side, side, side, Look((0.35, 0.34, 0.33))))
    if storeys <= 6 and random.random() < 0.75:
        _add_roof(
            mesh,
            top,
            float(random.uniform(0.45, 0.85)),
            Look(roof_colour, Material.ROOF),
            side,
            random,
        )
    elif random.random() < 0.6:
        centre = top.mean(0)
        small = centre + (top - centre) * 0.4
        tall = small + np.array([0.0, float(random.uniform(1.5, 3.0)), 0.0])
        faces = [
            np.stack([small[i], small[(i + 1) % 4], tall[(i + 1) % 4], tall[i]]) for i in range(4)
        ]
        mesh.solid(np.stack(faces), Look(tuple(0.9 * value for value in front.colour)))
    scene.add(mesh, BUILDING)
    _cast_shadow(scene, plot, height)


def _cast_shadow(scene: SceneBuilder, plot: Plot, height: float) -> None:
    """Shade the street in front of a building that stands between it and the sun."""
    left, right, back = plot.corners[0], plot.corners[1], plot.corners[3]
    shift = np.array(scene.shadow_shift) * height
    if scene.shade < 0.1 or float(shift @ (left - back)) <= 0:
        return
    half = (right - left) / 2 * 1.03
    centre = (left + right + shift) / 2
    scene.patch(tuple(centre), (tuple(half), tuple(shift / 2)), -scene.shade, 0.02)


def _add_roof(
    mesh: Mesh,
    top: Float[np.ndarray, "4 3"],
    pitch: float,
    tiles: Look,
    wall: Look,
    random: np.random.Generator,
) -> None:
    """Add a pitched roof whose ridge runs along the street or, for gables, across it."""
    order = [0, 1, 2, 3] if random.random() < 0.7 else [1, 2, 3, 0]
    a, b, c, d = top[order]
    depth = float(np.hypot(*(d - a)[[0, 2]]))
    lift = np.array([0.0, 0.5 * depth * pitch, 0.0])
    left, right = (a + d) / 2 + lift, (b + c) / 2 + lift
    outward = 0.35 * (a - d) / depth + np.array([0.0, -0.35 * pitch, 0.0])
    inward = 0.35 * (d - a) / depth + np.array([0.0, -0.35 * pitch, 0.0])
    slopes = np.stack(
        [
            np.stack([a + outward, b + outward, right, left]),
            np.stack([c + inward, d + inward, left, right]),
        ]
    )
    gable = Look(wall.colour)
    gables = np.stack([np.stack([d, a, left, left]), np.stack([b, c, right, right])])
    mesh.solid(np.concatenate([slopes, gables]), (tiles, tiles, gable, gable))
    chimney = left + (right - left) * float(random.uniform(0.2, 0.8)) - np.array([0, 0.5, 0])
    x, y, z = chimney.tolist()
    mesh.box((x - 0.35, y, z - 0.35), (x + 0.35, y + 1.4, z + 0.35), Look((0.42, 0.26, 0.21)))


def add_wall(
    scene: SceneBuilder,
    random: np.random.Generator,
    line: Float[np.ndarray, "2 2"],
    height: float,
) -> None:
    """Build a stone or brick wall along a line of two (x, z) points."""
    tone = random.uniform(0.85, 1.15)
    base = ((0.50, 0.47, 0.43), (0.52, 0.33, 0.26), (0.60, 0.59, 0.57))[random.integers(3)]
    look = Look(
        tuple(value * tone for value in base),
        Material.STONE,
        parameters=(float(random.uniform(0.12, 0.3)),),
    )
    _add_barrier(scene, line, height, 0.3, look, WALL)


def add_fence(
    scene: SceneBuilder,
    random: np.random.Generator,
    line: Float[np.ndarray, "2 2"],
    height: float,
) -> None:
    """Build a fence of boards or bars along a line of two (x, z) points."""
    wood = random.random() < 0.55
    colours = ((0.44, 0.32, 0.20), (0.36, 0.30, 0.24), (0.70, 0.69, 0.66)) if wood else (
        (0.25, 0.29, 0.26), (0.18, 0.19, 0.20), (0.42, 0.44, 0.45),
    )  # fmt: skip
    width, gap = (0.16, 0.6) if wood else (0.12, 0.8)
    look = Look(colours[random.integers(3)], Material.PLANKS, parameters=(width, gap))
    _add_barrier(scene, line, height, 0.06, look, FENCE)


def _add_barrier(
    scene: SceneBuilder,
    line: Float[np.ndarray, "2 2"],
    height: float,
    thickness: float,
    look: Look,
    label: int,
) -> None:
    """Add an upright slab along a line."""
    along = line[1] - line[0]
    aside = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6)
    flat = np.stack([line[0], line[1], line[1] + thickness * aside, line[0] + thickness * aside])
    base = np.column_stack([flat[:, 0], np.zeros(4), flat[:, 1]])
    top = base + np.array([0.0, height, 0.0])
    faces = [np.stack([base[i], base[(i + 1) % 4], top[(i + 1) % 4], top[i]]) for i in range(4)]
    mesh = Mesh()
    mesh.solid(np.stack([*faces, top]), look)
    scene.add(mesh, label)
