"""Houses, walls and fences on plots along a street."""

import numpy as np
from jaxtyping import Float

from seg2vid.data.toycity.scene import NO_BOTTOM, WALLS, Look, Material, Mesh, SceneBuilder, shade

BUILDING, WALL, FENCE = 2, 3, 4
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
_STONES = ((0.50, 0.47, 0.43), (0.52, 0.33, 0.26), (0.60, 0.59, 0.57))
_WOODS = ((0.44, 0.32, 0.20), (0.36, 0.30, 0.24), (0.70, 0.69, 0.66))
_METALS = ((0.25, 0.29, 0.26), (0.18, 0.19, 0.20), (0.42, 0.44, 0.45))

Footprint = Float[np.ndarray, "4 2"]
"""Front left, front right, back right, back left (x, z)."""


def add_house(
    scene: SceneBuilder, random: np.random.Generator, plot: Footprint, storeys: int, shop: bool
) -> None:
    """Raise a building with a flat or pitched roof on a plot and cast its shadow."""
    storey = float(random.uniform(2.9, 3.5))
    height = storeys * storey + 0.7
    front, side = _facades(random, plot, height, storey, shop)
    mesh, flat = Mesh(), Look((0.35, 0.34, 0.33))
    mesh.upright(plot, (0.0, height), (front, side, side, side, flat))
    tiles = Look(_ROOFS[random.integers(len(_ROOFS))], Material.ROOF)
    if storeys <= 6 and random.random() < 0.75:
        _add_roof(mesh, random, np.insert(plot, 1, height, 1), tiles, Look(side.colour))
    elif random.random() < 0.6:
        small = plot.mean(0) + (plot - plot.mean(0)) * 0.4
        top = height + float(random.uniform(1.5, 3.0))
        mesh.upright(small, (height, top), Look(shade(front.colour, 0.9)), WALLS)
    scene.add(mesh, BUILDING)
    shift = np.array(scene.shadow_shift) * height
    if scene.shade > 0.1 and float(shift @ (plot[0] - plot[3])) > 0:
        centre, half = (plot[0] + plot[1] + shift) / 2, 0.515 * (plot[1] - plot[0])
        shape = (tuple(centre), tuple(half), tuple(shift / 2))
        scene.slanted_patch(shape, -scene.shade, 0.02)


def _facades(
    random: np.random.Generator, plot: Footprint, height: float, storey: float, shop: bool
) -> tuple[Look, Look]:
    """Return the looks of the street front and of the other walls."""
    colour = _PLASTER[random.integers(len(_PLASTER))]
    colour = shade(colour, float(random.uniform(0.85, 1.1)))
    accent = _ACCENTS[random.integers(len(_ACCENTS))]
    frontage = float(np.hypot(*(plot[1] - plot[0])))
    spacing = frontage / max(round(frontage / random.uniform(2.2, 3.4)), 1)
    share, seed = float(random.uniform(0.38, 0.62)), float(random.integers(1, 60))
    windows = (spacing, storey, share, seed, float(shop), height)
    front = Look(colour, Material.FACADE, accent, windows)
    return front, front._replace(parameters=(4.2, storey, 0.28, seed + 9, 0.0, height))


def _add_roof(
    mesh: Mesh, random: np.random.Generator, top: Float[np.ndarray, "4 3"], tiles: Look, wall: Look
) -> None:
    """Add a pitched roof whose ridge runs along the street or, for gables, across it."""
    pitch = float(random.uniform(0.45, 0.85))
    a, b, c, d = top if random.random() < 0.7 else np.roll(top, -1, 0)
    depth = float(np.hypot(*(d - a)[[0, 2]]))
    lift, fall = np.array([0.0, 0.5 * depth * pitch, 0.0]), np.array([0.0, 0.35 * pitch, 0.0])
    left, right = (a + d) / 2 + lift, (b + c) / 2 + lift
    over = 0.35 * (a - d) / depth
    front = [a + over - fall, b + over - fall, right, left]
    back = [c - over - fall, d - over - fall, left, right]
    faces = np.array([front, back, [d, a, left, left], [b, c, right, right]])
    mesh.solid(faces, (tiles, tiles, wall, wall))
    x, y, z = (left + (right - left) * float(random.uniform(0.2, 0.8))).tolist()
    mesh.box((x - 0.35, y - 0.5, z - 0.35), (x + 0.35, y + 0.9, z + 0.35), Look((0.42, 0.26, 0.21)))


def add_barrier(
    scene: SceneBuilder,
    random: np.random.Generator,
    line: Float[np.ndarray, "2 2"],
    height: float,
    is_wall: bool,
) -> None:
    """Build a stone wall or a fence of boards or bars along a line of two (x, z) points."""
    if is_wall:
        colour = shade(_STONES[random.integers(3)], float(random.uniform(0.85, 1.15)))
        look = Look(colour, Material.STONE, parameters=(float(random.uniform(0.12, 0.3)),))
    else:
        wood = random.random() < 0.55
        colour = (_WOODS if wood else _METALS)[random.integers(3)]
        look = Look(colour, Material.PLANKS, parameters=(0.16, 0.6) if wood else (0.12, 0.8))
    along = line[1] - line[0]
    aside = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6)
    aside = aside * (0.3 if is_wall else 0.06)
    mesh = Mesh()
    footprint = np.stack([line[0], line[1], line[1] + aside, line[0] + aside])
    mesh.upright(footprint, (0.0, height), look, NO_BOTTOM)
    scene.add(mesh, WALL if is_wall else FENCE)
