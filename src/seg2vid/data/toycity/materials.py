"""Textures: facades with windows, leaves, glass, planks, stone, vehicles and signs.

Their noise repeats: it is looked up by coordinates in one small tiling table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Float32, Int

from seg2vid.data.toycity.scene import Material

Colours = Float[np.ndarray, "pixels 3"]
Values = Float[np.ndarray, " pixels"]
Noise = Float32[np.ndarray, " pixels"]


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


def white_noise(u: Values, v: Values, table: int = 0) -> Noise:
    """Return the value in -1 to 1 of the unit cells of the (u, v) plane; one table or the other."""
    column, row = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    return _tables()[table][((row & 255) << 8) | (column & 255)]


def smooth_noise(u: Values, v: Values) -> Noise:
    """Return smooth noise in -1 to 1 whose features are about 20 units wide."""
    return white_noise(u, v, table=1)


def scatter_noise(cells: Int[np.ndarray, "pixels 3"]) -> Noise:
    """Return the random value in -1 to 1 of cells in space."""
    mixed = cells[:, 0] * 1973 + cells[:, 1] * 9277 + cells[:, 2] * 26699
    return _tables()[0][(mixed ^ (mixed >> 7)) & 65535]


_DARK_GLASS = np.array([0.05, 0.06, 0.07], np.float32)
_WARM = np.array([1.0, 0.80, 0.48], np.float32)
_LAMPLIT = np.array([0.95, 0.86, 0.62], np.float32)


@dataclass(frozen=True)
class SurfacePixels:
    """Pixels of one material; ``u`` runs along the bottom edge, ``v`` upwards, both in metres."""

    u: Values
    v: Values
    size: Values
    """Metres that a pixel covers on the surface, more than 0."""
    colour: Colours
    second: Colours
    light: Colours
    """Light that falls on the surface; both colours are unlit."""
    parameters: Float32[np.ndarray, "6 pixels"]
    lamps: float
    """How bright lamps and windows glow, 0 to 1."""
    sky: Float32[np.ndarray, " 3"]
    """Colour that glass and paint reflect."""

    def lit(self, value: Values) -> Colours:
        """Return the first colour times ``value``, under the light."""
        return self.colour * self.light * value[:, None]

    def band(self, offset: Values, half: Values | float) -> Values:
        """Return the share of each pixel inside a band around offset zero."""
        return np.clip((half - np.abs(offset)) / self.size + 0.5, 0.0, 1.0)

    def fade(self, detail: Values | float) -> Values:
        """Return 1 where texture of the size ``detail`` shows, less where pixels are larger."""
        return np.minimum(detail / self.size, 1.0)

    def glass(self, brightness: Values) -> Colours:
        """Return dark glass that mirrors some of the sky."""
        mirror = 0.10 + 0.26 * np.clip(brightness, 0, 1)
        return _DARK_GLASS * self.light + self.sky * mirror[:, None]


def _blend(first: Colours, second: Colours, amount: Values) -> Colours:
    return first + (second - first) * amount[:, None]


def _facade(pixels: SurfacePixels) -> Colours:
    """Plaster with a grid of windows, shop fronts, doors and a cornice.

    Parameters: window spacing, storey height, window width share, seed, shop (0 or 1), height.
    """
    spacing, storey, share, seed, shop, height = pixels.parameters
    column, row = np.floor(pixels.u / spacing), np.floor(pixels.v / storey)
    across = (pixels.u / spacing - column - 0.5) * spacing
    chance = white_noise(column + seed * 977, row * 7)
    lit = white_noise((column + seed * 977) * 3 + 11, row * 5) > 0.25
    ground = row == 0
    shop_front = ground & (shop > 0)
    door = ground & ~shop_front & (chance > 0.62)
    up = np.where(door, pixels.v - 1.1, (pixels.v / storey - row - 0.53) * storey)
    half_height = np.where(door, 1.1, np.where(shop_front, 0.36, 0.29) * storey)
    half_width = np.where(door, 0.55, np.where(shop_front, 0.44, 0.5 * share) * spacing)
    whole = (pixels.v < height - 0.6) & ((row + 1) * storey < height + 0.3)
    frame = pixels.band(across, half_width + 0.09) * pixels.band(up, half_height + 0.09) * whole
    pane = pixels.band(across, half_width) * pixels.band(up, half_height) * whole
    bars = np.maximum(pixels.band(across, 0.035), pixels.band(up - 0.18 * storey, 0.03))
    pane = pane * (1 - 0.8 * bars * ~door)
    grain = white_noise(pixels.u * 6, pixels.v * 11) * pixels.fade(0.09)
    ledge = pixels.band(pixels.v - storey * 1.02, 0.12) + pixels.band(pixels.v - height + 0.3, 0.22)
    stain = 1 + 0.05 * grain - 0.10 * np.exp(-pixels.v * 1.2)
    wall = pixels.colour * (stain * (1 + 0.14 * np.minimum(ledge, 1)))[:, None]
    strip = pixels.band(pixels.v - 0.93 * storey, 0.08 * storey) * shop_front
    wall = _blend(wall, pixels.second, strip)
    colour = _blend(wall, np.minimum(wall * 0.35 + 0.5, 0.92), 0.8 * frame * ~door) * pixels.light
    glass = pixels.glass(0.5 + 0.5 * chance + 0.25 * up / storey)
    glass = np.where(door[:, None], pixels.second * 0.6 * pixels.light, glass)
    glow = _WARM * (0.75 + 0.2 * chance)[:, None]
    glass = _blend(glass, glow, 0.9 * pixels.lamps * ((lit | shop_front) & ~door))
    return _blend(colour, glass, pane)


def _roof(pixels: SurfacePixels) -> Colours:
    """Rows of tiles."""
    rows = np.abs(pixels.v * 2.5 % 1.0 - 0.5)
    tiles = white_noise(pixels.u * 3, pixels.v * 2.5)
    return pixels.lit(0.94 + (0.16 * rows + 0.07 * tiles) * pixels.fade(0.15))


def leaf_value(places: Float[np.ndarray, "pixels 3"], size: Values) -> Values:
    """Return the brightness of leaf clumps at two sizes; ``places`` in metres on the surface."""
    coarse = scatter_noise(np.floor(places * 2.6 + 31).astype(np.int64))
    fine = scatter_noise(np.floor(places * 8.0).astype(np.int64))
    coarse, fine = coarse * np.minimum(0.35 / size, 1), fine * np.minimum(0.10 / size, 1)
    return 1 + 0.26 * coarse + 0.34 * fine


def _hedge(pixels: SurfacePixels) -> Colours:
    """Leaves on a flat side; parameter 0 is a seed."""
    places = np.stack([pixels.u, pixels.v, pixels.parameters[0]], 1)
    shade = np.clip(0.72 + 0.28 * pixels.v, 0.6, 1.05)
    return pixels.lit(leaf_value(places, pixels.size) * shade)


def _cabin(pixels: SurfacePixels) -> Colours:
    """A vehicle's cabin: panes with pillars in the body colour around them.

    Parameters: width, height, pillar width, number of panes, how far the sides lean inwards.
    """
    width, height, pillar, panes, lean, _ = pixels.parameters
    inset = lean * pixels.v
    pane = np.maximum(width - 2 * inset, 0.1) / np.maximum(panes, 1)
    inside = pixels.band((pixels.u - inset) % pane - pane / 2, pane / 2 - pillar)
    inside = inside * pixels.band(pixels.v - height / 2, height / 2 - 0.05)
    glass = pixels.glass(0.25 + 0.6 * pixels.v / np.maximum(height, 0.1))
    return _blend(pixels.colour * pixels.light, glass, inside)


def _planks(pixels: SurfacePixels) -> Colours:
    """Upright boards or bars; parameter 0 is the board width, 1 how dark the gaps are."""
    width, gap = pixels.parameters[:2]
    slit = pixels.band((pixels.u / width % 1.0 - 0.5) * width, 0.12 * width)
    slit = slit * pixels.fade(0.6 * width)
    board = white_noise(pixels.u / width, np.zeros_like(width)) * pixels.fade(width)
    rail = np.maximum(pixels.band(pixels.v - 0.3, 0.05), pixels.band(pixels.v - 0.9, 0.05))
    return pixels.lit((1 + 0.10 * board) * (1 - gap * slit * (1 - 0.7 * rail)))


def _stone(pixels: SurfacePixels) -> Colours:
    """Rows of bricks or stones with joints; parameter 0 is the row height."""
    level = pixels.v / pixels.parameters[0]
    row = np.floor(level)
    along = pixels.u / (2.4 * pixels.parameters[0]) + 0.5 * (row % 2)
    joint = np.minimum(np.abs(level % 1 - 0.5), 2.4 * np.abs(along % 1 - 0.5))
    value = 0.12 * white_noise(along, row) - 0.22 * np.clip(1 - joint / 0.12, 0, 1)
    return pixels.lit(1 + pixels.fade(0.4 * pixels.parameters[0]) * value)


def _paint(pixels: SurfacePixels) -> Colours:
    """Car paint: darker below, a sheen of sky above; parameter 0 is the panel height."""
    level = np.clip(pixels.v / pixels.parameters[0], 0, 1)
    return pixels.lit(0.72 + 0.34 * level) + (0.10 * level * level)[:, None] * pixels.sky


def _glow(pixels: SurfacePixels) -> Colours:
    """Lamps: first colour when lit (parameter 0 = always), second when not."""
    lit = np.maximum(pixels.parameters[0], pixels.lamps)[:, None]
    return pixels.colour * lit + pixels.second * pixels.light * (1 - lit)


def _coach(pixels: SurfacePixels) -> Colours:
    """Side of a bus, tram or lorry: a band of windows and a stripe in the second colour.

    Parameters: window bottom, window top, pane width, stripe bottom, stripe top, lit inside.
    """
    low, high, pane, stripe_low, stripe_high, inside = pixels.parameters
    stripe = pixels.band(pixels.v - (stripe_low + stripe_high) / 2, (stripe_high - stripe_low) / 2)
    shade = (0.80 + 0.10 * np.minimum(pixels.v, 2.5))[:, None]
    colour = _blend(pixels.colour, pixels.second, stripe) * shade * pixels.light
    window = pixels.band(pixels.v - (low + high) / 2, (high - low) / 2)
    window = window * pixels.band((pixels.u / pane % 1 - 0.5) * pane, pane / 2 - 0.07)
    glass = pixels.glass((pixels.v - low) / np.maximum(high - low, 0.1))
    glow = np.broadcast_to(_LAMPLIT, glass.shape)
    return _blend(colour, _blend(glass, glow, 0.8 * pixels.lamps * inside), window)


def _sign(pixels: SurfacePixels) -> Colours:
    """A plate with a rim; parameters width, height, rim width, motif (1 bar, 2 arrow)."""
    width, height, rim, motif, _, _ = pixels.parameters
    x, y = pixels.u - width / 2, pixels.v - height / 2
    inner = pixels.band(x, width / 2 - rim) * pixels.band(y, height / 2 - rim)
    bar = pixels.band(y, 0.09 * height) * pixels.band(x, 0.33 * width)
    shaft = pixels.band(x, 0.07 * width) * pixels.band(y, 0.3 * height)
    head = pixels.band(np.abs(x) + y - 0.25 * height, 0.08 * height) * (y > -0.05 * height)
    mark = np.where(motif == 1, bar, np.where(motif == 2, np.maximum(shaft, head), 0.0))
    colour = _blend(_blend(pixels.second, pixels.colour, inner), pixels.second, mark)
    return colour * (0.35 + 0.65 * pixels.light)


PAINTERS: dict[int, Callable[[SurfacePixels], Colours]] = {
    Material.FLAT: lambda pixels: pixels.colour * pixels.light,
    Material.FACADE: _facade,
    Material.ROOF: _roof,
    Material.LEAVES: _hedge,
    Material.GLASS: _cabin,
    Material.PLANKS: _planks,
    Material.STONE: _stone,
    Material.PAINT: _paint,
    Material.GLOW: _glow,
    Material.COACH: _coach,
    Material.SIGN: _sign,
}
"""The painter of every material."""
