"""Trees, bushes and hedges."""

import numpy as np

from seg2vid.data.toycity.scene import WALLS, Look, Material, Mesh, SceneBuilder

VEGETATION = 8
LEAF_COLOURS = (
    (0.20, 0.33, 0.11), (0.25, 0.38, 0.13), (0.17, 0.29, 0.12), (0.31, 0.40, 0.14),
    (0.36, 0.37, 0.12), (0.22, 0.32, 0.17),
)  # fmt: skip
AUTUMN_COLOURS = ((0.52, 0.33, 0.10), (0.45, 0.25, 0.09), (0.50, 0.42, 0.13))


def _leaf_look(random: np.random.Generator, autumn: bool) -> Look:
    """Draw a leaf colour."""
    palette = AUTUMN_COLOURS if autumn and random.random() < 0.7 else LEAF_COLOURS
    red, green, blue = palette[random.integers(len(palette))]
    level = random.uniform(0.8, 1.2)
    return Look(
        (red * level, green * level, blue * level),
        Material.LEAVES,
        parameters=(float(random.uniform(0, 50)),),
    )


def add_tree(
    scene: SceneBuilder,
    random: np.random.Generator,
    place: tuple[float, float],
    height: float,
    *,
    detail: int = 8,
    autumn: bool = False,
) -> None:
    """Plant a tree of the given height at world (x, z); `detail` is the number of clumps."""
    x, z = place
    mesh, leaf = Mesh(), _leaf_look(random, autumn)
    trunk = 0.055 * height * random.uniform(0.5, 0.8)
    start = height * random.uniform(0.24, 0.36)
    bark = random.uniform(0.8, 1.2)
    bark_look = Look((0.27 * bark, 0.22 * bark, 0.17 * bark))
    half = trunk / 2
    mesh.prism(
        (x - half, x + half, z - half, z + half),
        (x - 0.6 * half, x + 0.6 * half, z - 0.6 * half, z + 0.6 * half),
        (0.0, start + 0.25 * height),
        bark_look,
        WALLS,
    )
    crown = (height - start) / 2
    spread = crown * random.uniform(0.62, 0.95)
    middle = start + crown
    if random.random() < 0.15:
        for level in range(3):
            size = spread * (0.75 - 0.22 * level)
            mesh.ellipsoid(
                (x, start + crown * (0.45 + 0.62 * level), z), (size, 0.55 * crown, size), leaf
            )
    else:
        mesh.ellipsoid((x, middle, z), (0.72 * spread, 0.80 * crown, 0.72 * spread), leaf)
        turns = random.uniform(0, 2 * np.pi) + np.arange(detail) * 2.4
        lift = random.uniform(-0.5, 0.6, detail)
        sizes = random.uniform(0.32, 0.54, detail)
        for turn, up, size in zip(turns.tolist(), lift.tolist(), sizes.tolist(), strict=True):
            out = 0.62 * spread * np.sqrt(1 - 0.6 * up * up)
            centre = (
                x + out * float(np.sin(turn)),
                middle + up * crown,
                z + out * float(np.cos(turn)),
            )
            tone = 0.85 + 0.3 * size
            colour = tuple(value * tone for value in leaf.colour)
            mesh.ellipsoid(
                centre,
                (size * spread, 0.85 * size * crown, size * spread),
                leaf._replace(colour=colour),
            )
    scene.add(mesh, VEGETATION)
    size = spread * 1.15
    if scene.shade > 0.1:
        away = (x + scene.shadow_shift[0] * middle, z + scene.shadow_shift[1] * middle)
        scene.patch(away, ((size, 0.0), (0.0, size)), -1.1 * scene.shade, 2.0)
    else:
        scene.patch((x, z), ((size, 0.0), (0.0, size)), -0.30, 2.0)


def add_bush(
    scene: SceneBuilder, random: np.random.Generator, place: tuple[float, float], size: float
) -> None:
    """Plant a bush of the given radius at world (x, z)."""
    mesh, leaf = Mesh(), _leaf_look(random, False)
    x, z = place
    mesh.ellipsoid((x, 0.6 * size, z), (size, 0.75 * size, size), leaf)
    mesh.ellipsoid((x + 0.5 * size, 0.45 * size, z - 0.3 * size), (0.7 * size,) * 3, leaf)
    scene.add(mesh, VEGETATION)


def add_hedge(
    scene: SceneBuilder,
    random: np.random.Generator,
    corners: np.ndarray,
    height: float,
) -> None:
    """Grow a hedge over a footprint of four (x, z) corners."""
    mesh, leaf = Mesh(), _leaf_look(random, False)
    base = np.column_stack([corners[:, 0], np.zeros(4), corners[:, 1]])
    top = base + np.array([0.0, height, 0.0])
    faces = [np.stack([base[i], base[(i + 1) % 4], top[(i + 1) % 4], top[i]]) for i in range(4)]
    mesh.solid(np.stack([*faces, top]), leaf)
    scene.add(mesh, VEGETATION)
