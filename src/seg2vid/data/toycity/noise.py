"""Repeatable noise for surface textures: one small tiling table, looked up by coordinates."""

from functools import cache

import numpy as np
from jaxtyping import Float, Float32, Int


@cache
def _tables() -> Float32[np.ndarray, "2 65536"]:
    """Return white noise and smooth noise, both within -1 to 1 and tiling."""
    white = np.random.Generator(np.random.PCG64(20240)).uniform(-1, 1, (256, 256))
    smooth = np.zeros_like(white)
    for octave, weight in ((32, 1.0), (16, 0.6), (8, 0.35), (4, 0.2)):
        coarse = white[::octave, ::octave]
        smooth += weight * _enlarge(_enlarge(coarse, octave).T, octave).T
    smooth /= np.abs(smooth).max()
    return np.stack([white.ravel(), smooth.ravel()]).astype(np.float32)


def _enlarge(values: Float[np.ndarray, "rows columns"], factor: int) -> Float[np.ndarray, "a b"]:
    """Interpolate smoothly between rows, wrapping round."""
    position = np.arange(len(values) * factor) / factor
    low = position.astype(np.int64)
    fraction = (position - low)[:, None]
    fraction = fraction * fraction * (3 - 2 * fraction)
    return values[low] * (1 - fraction) + values[(low + 1) % len(values)] * fraction


def white_noise(
    u: Float[np.ndarray, " samples"], v: Float[np.ndarray, " samples"], table: int = 0
) -> Float32[np.ndarray, " samples"]:
    """Return the value in -1 to 1 of the unit cells of the (u, v) plane; one table or the other."""
    column, row = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    return _tables()[table][((row & 255) << 8) | (column & 255)]


def smooth_noise(
    u: Float[np.ndarray, " samples"], v: Float[np.ndarray, " samples"]
) -> Float32[np.ndarray, " samples"]:
    """Return smooth noise in -1 to 1 whose features are about 20 units wide."""
    return white_noise(u, v, table=1)


def scatter_noise(cells: Int[np.ndarray, "samples 3"]) -> Float32[np.ndarray, " samples"]:
    """Return the random value in -1 to 1 of cells in space."""
    mixed = cells[:, 0] * 1973 + cells[:, 1] * 9277 + cells[:, 2] * 26699
    return _tables()[0][(mixed ^ (mixed >> 7)) & 65535]
