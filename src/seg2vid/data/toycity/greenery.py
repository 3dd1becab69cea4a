"""Trees, bushes and hedges."""

import numpy as np
from jaxtyping import Float

from seg2vid.data.toycity.scene import WALLS, Look, Material, Mesh, SceneBuilder, shade

VEGETATION = 8
_LEAVES = (
    (0.20, 0.33, 0.11), (0.25, 0.38, 0.13), (0.17, 0.29, 0.12), (0.31, 0.40, 0.14),
    (0.36, 0.37, 0.12), (0.22, 0.32, 0.17),
)  # fmt: skip
_AUTUMN = ((0.52, 0.33, 0.10), (0.45, 0.25, 0.09), (0.50, 0.42, 0.13))


def _leaf_look(random: np.random.Generator, autumn: bool = False) -> Look:
    """Draw a leaf colour."""
    palette = _AUTUMN if autumn and random.random() < 0.7 else _LEAVES
    colour = shade(palette[random.integers(len(palette))], float(random.uniform(0.8, 1.2)))
    return Look(colour, Material.LEAVES, parameters=(float(random.uniform(0, 50)),))


def add_tree(
    scene: SceneBuilder,
    random: np.random.Generator,
    place: tuple[float, float],
    height: float,
    *,
    detail: int = 8,
    autumn: bool = False,
) -> None:
    """Plant a tree of the given height at world (x, z); ``detail`` is the number of clumps."""
    (x, z), mesh, leaf = place, Mesh(), _leaf_look(random, autumn)
    half = 0.0275 * height * float(random.uniform(0.5, 0.8))
    start = height * float(random.uniform(0.24, 0.36))
    bark = Look(shade((0.27, 0.22, 0.17), float(random.uniform(0.8, 1.2))))
    foot, tip = (x - half, x + half, z - half, z + half), 0.6 * half
    trunk = (0.0, start + 0.25 * height)
    mesh.prism(foot, (x - tip, x + tip, z - tip, z + tip), trunk, bark, WALLS)
    crown = (height - start) / 2
    spread, middle = crown * float(random.uniform(0.62, 0.95)), start + crown
    if random.random() < 0.15:
        for level in range(3):
            size, up = spread * (0.75 - 0.22 * level), start + crown * (0.45 + 0.62 * level)
            mesh.ellipsoid((x, up, z), (size, 0.55 * crown, size), leaf)
    else:
        mesh.ellipsoid((x, middle, z), (0.72 * spread, 0.80 * crown, 0.72 * spread), leaf)
        turns = float(random.uniform(0, 2 * np.pi)) + np.arange(detail) * 2.4
        lifts, sizes = random.uniform(-0.5, 0.6, detail), random.uniform(0.32, 0.54, detail)
        out = 0.62 * spread * np.sqrt(1 - 0.6 * lifts**2)
        clumps = np.stack(
            [x + out * np.sin(turns), middle + lifts * crown, z + out * np.cos(turns)]
        )
        for (east, up, north), size in zip(clumps.T.tolist(), sizes.tolist(), strict=True):
            look = leaf._replace(colour=shade(leaf.colour, 0.85 + 0.3 * size))
            radii = (size * spread, 0.85 * size * crown, size * spread)
            mesh.ellipsoid((east, up, north), radii, look)
    scene.add(mesh, VEGETATION)
    sunny, size = scene.shade > 0.1, 1.15 * spread
    reach = middle if sunny else 0.0
    centre = (x + scene.shadow_shift[0] * reach, z + scene.shadow_shift[1] * reach)
    scene.patch(centre, (size, size), -1.1 * scene.shade if sunny else -0.30)


def add_bush(
    scene: SceneBuilder, random: np.random.Generator, place: tuple[float, float], size: float
) -> None:
    """Plant a bush of the given radius at world (x, z)."""
    (x, z), mesh, leaf = place, Mesh(), _leaf_look(random)
    mesh.ellipsoid((x, 0.6 * size, z), (size, 0.75 * size, size), leaf)
    small = 0.7 * size
    mesh.ellipsoid((x + 0.5 * size, 0.45 * size, z - 0.3 * size), (small, small, small), leaf)
    scene.add(mesh, VEGETATION)


def add_hedge(
    scene: SceneBuilder,
    random: np.random.Generator,
    footprint: Float[np.ndarray, "4 2"],
    height: float,
) -> None:
    """Grow a hedge over a footprint of four (x, z) corners."""
    mesh = Mesh()
    mesh.upright(footprint, (0.0, height), _leaf_look(random))
    scene.add(mesh, VEGETATION)
