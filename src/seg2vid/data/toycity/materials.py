"""Paints surfaces: facades with windows, leaves, glass, planks, stone, vehicles and signs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from seg2vid.data.toycity.noise import cell_noise, scatter_noise, white_noise
from seg2vid.data.toycity.scene import Material

Colours = Float32[np.ndarray, "pixels 3"]
Values = Float[np.ndarray, " pixels"]


@dataclass(frozen=True)
class SurfacePixels:
    """Pixels of one material; `u` runs along the bottom edge, `v` upwards, both in metres."""

    u: Values
    v: Values
    footprint: Values
    """Metres that a pixel covers on the surface."""
    colour: Colours
    """First colour of the surface, unlit."""
    second: Colours
    """Second colour of the surface, unlit."""
    light: Colours
    """Light that falls on the surface."""
    parameters: Float32[np.ndarray, "pixels 6"]
    """Material parameters of the surface."""
    lamps: float
    """How bright lamps and windows glow, 0 to 1."""
    sky: Float32[np.ndarray, " 3"]
    """Colour that glass and paint reflect."""


def _band(offset: Values, half: Values | float, size: Values) -> Values:
    """Return the share of each pixel inside a band around offset zero."""
    return np.clip((half - np.abs(offset)) / size + 0.5, 0.0, 1.0)


def _blend(first: Colours, second: Colours, amount: Values) -> Colours:
    """Blend two colours per pixel."""
    return first + (second - first) * amount[:, None].astype(np.float32)


def _facade(pixels: SurfacePixels) -> Colours:
    """Plaster or brick with a grid of windows, shop fronts, doors and a cornice.

    Parameters: window spacing, storey height, window width share, seed, shop (0 or 1),
    wall height.
    """
    spacing, storey, share, seed, shop, height = pixels.parameters.T
    size = np.maximum(pixels.footprint, 1e-3)
    column, row = np.floor(pixels.u / spacing), np.floor(pixels.v / storey)
    across = (pixels.u / spacing - column - 0.5) * spacing
    up = (pixels.v / storey - row - 0.53) * storey
    ground = row == 0
    half_width = 0.5 * share * spacing
    half_height = np.where(ground & (shop > 0), 0.36, 0.29) * storey
    half_width = np.where(ground & (shop > 0), 0.44 * spacing, half_width)
    base = (row.astype(np.int64), column.astype(np.int64) + (seed * 977).astype(np.int64))
    chance = cell_noise(base[1], base[0] * 7)
    door = ground & (shop < 0.5) & (chance > 0.62)
    up = np.where(door, (pixels.v - 1.1), up)
    half_height = np.where(door, 1.1, half_height)
    half_width = np.where(door, 0.55, half_width)
    whole = (pixels.v < height - 0.6) & ((row + 1) * storey < height + 0.3)
    frame = _band(across, half_width + 0.09, size) * _band(up, half_height + 0.09, size) * whole
    pane = _band(across, half_width, size) * _band(up, half_height, size) * whole
    bars = np.maximum(_band(across, 0.035, size), _band(up - 0.18 * storey, 0.03, size))
    pane = pane * (1 - 0.8 * bars * (~door))
    grain = white_noise(pixels.u * 6, pixels.v * 11) * np.minimum(0.09 / size, 1)
    stain = 1 + 0.05 * grain - 0.10 * np.exp(-pixels.v * 1.2)
    ledge = _band(pixels.v - storey * 1.02, 0.12, size) + _band(pixels.v - height + 0.3, 0.22, size)
    stain = stain * (1 + 0.14 * np.minimum(ledge, 1))
    wall = pixels.colour * stain[:, None].astype(np.float32)
    sign = ground & (shop > 0)
    strip = _band(pixels.v - 0.93 * storey, 0.08 * storey, size) * sign
    wall = _blend(wall, pixels.second, strip)
    colour = _blend(wall, np.minimum(wall * 0.35 + 0.5, 0.92), 0.8 * frame * (~door)) * pixels.light
    glass = _glass_colour(pixels, 0.5 + 0.5 * chance + 0.25 * up / storey)
    glass = np.where(door[:, None], pixels.second * 0.6 * pixels.light, glass)
    lit = (cell_noise(base[1] * 3 + 11, base[0] * 5) > 0.25) | (ground & (shop > 0))
    glow = np.float32([1.0, 0.80, 0.48]) * (0.75 + 0.2 * chance[:, None]).astype(np.float32)
    glass = _blend(glass, glow, pixels.lamps * lit * (~door) * 0.9)
    return _blend(colour, glass, pane)


def _glass_colour(pixels: SurfacePixels, brightness: Values) -> Colours:
    """Dark glass that mirrors some of the sky."""
    mirror = (0.10 + 0.26 * np.clip(brightness, 0, 1))[:, None].astype(np.float32)
    return np.float32([0.05, 0.06, 0.07]) * pixels.light + pixels.sky * mirror


def _roof(pixels: SurfacePixels) -> Colours:
    """Rows of tiles."""
    size = np.maximum(pixels.footprint, 1e-3)
    rows = np.abs(pixels.v * 2.5 % 1.0 - 0.5) * np.minimum(0.15 / size, 1)
    tiles = white_noise(pixels.u * 3, pixels.v * 2.5) * np.minimum(0.15 / size, 1)
    value = (0.94 + 0.16 * rows + 0.07 * tiles).astype(np.float32)
    return pixels.colour * value[:, None] * pixels.light


def _hedge(pixels: SurfacePixels) -> Colours:
    """Leaves on a flat side; parameter 0 is a seed."""
    value = _leaf_value(pixels.u, pixels.v, pixels.parameters[:, 0], pixels.footprint)
    shade = np.clip(0.72 + 0.28 * pixels.v, 0.6, 1.05)
    return pixels.colour * (value * shade)[:, None].astype(np.float32) * pixels.light


def _leaf_value(u: Values, v: Values, w: Values, footprint: Values) -> Values:
    """Return the brightness of leaf clumps at two sizes."""
    place = np.stack([u, v, w], 1)
    size = np.maximum(footprint, 1e-3)
    coarse = scatter_noise(np.floor(place * 2.6 + 31).astype(np.int64))
    fine = scatter_noise(np.floor(place * 8.0).astype(np.int64))
    return 1 + 0.26 * coarse * np.minimum(0.35 / size, 1) + 0.34 * fine * np.minimum(0.10 / size, 1)


def paint_leaves(
    places: Float[np.ndarray, "pixels 3"], footprint: Values, colour: Colours, light: Colours
) -> Colours:
    """Return lit leaf colours at part-local `places` (metres) of tree crowns."""
    value = _leaf_value(places[:, 0], places[:, 1], places[:, 2], footprint)
    return colour * value[:, None].astype(np.float32) * light


def _glass(pixels: SurfacePixels) -> Colours:
    """A vehicle's cabin: a pane with pillars in the body colour around it.

    Parameters: width, height, pillar width, number of panes, roof lean share.
    """
    width, height, pillar, panes, lean, _ = pixels.parameters.T
    size = np.maximum(pixels.footprint, 1e-3)
    inset = lean * pixels.v
    width = np.maximum(width - 2 * inset, 0.1)
    pane_width = width / np.maximum(panes, 1)
    along = (pixels.u - inset) % pane_width - pane_width / 2
    inside = _band(along, pane_width / 2 - pillar, size)
    inside *= _band(pixels.v - height / 2, height / 2 - 0.05, size)
    glass = _glass_colour(pixels, 0.25 + 0.6 * pixels.v / np.maximum(height, 0.1))
    return _blend(pixels.colour * pixels.light, glass, inside)


def _planks(pixels: SurfacePixels) -> Colours:
    """Upright boards or bars; parameter 0 is the board width, 1 how dark the gaps are."""
    width, gap = pixels.parameters[:, 0], pixels.parameters[:, 1]
    size = np.maximum(pixels.footprint, 1e-3)
    slit = _band((pixels.u / width % 1.0 - 0.5) * width, 0.12 * width, size)
    slit *= np.minimum(0.6 * width / size, 1)
    board = white_noise(pixels.u / width, 0 * pixels.v) * np.minimum(width / size, 1)
    rail = np.maximum(_band(pixels.v - 0.3, 0.05, size), _band(pixels.v - 0.9, 0.05, size))
    value = (1 + 0.10 * board) * (1 - gap * slit * (1 - 0.7 * rail))
    return pixels.colour * value[:, None].astype(np.float32) * pixels.light


def _stone(pixels: SurfacePixels) -> Colours:
    """Rows of bricks or stones with joints; parameter 0 is the row height."""
    row_height = np.maximum(pixels.parameters[:, 0], 0.05)
    size = np.maximum(pixels.footprint, 1e-3)
    fade = np.minimum(0.4 * row_height / size, 1)
    row = np.floor(pixels.v / row_height)
    along = pixels.u / (2.4 * row_height) + 0.5 * (row % 2)
    joint = np.minimum(np.abs(pixels.v / row_height % 1 - 0.5), 2.4 * np.abs(along % 1 - 0.5))
    value = 1 + fade * (0.12 * white_noise(along, row) - 0.22 * np.clip(1 - joint / 0.12, 0, 1))
    return pixels.colour * value[:, None].astype(np.float32) * pixels.light


def _paint(pixels: SurfacePixels) -> Colours:
    """Car paint: darker below, a sheen of sky above; parameter 0 is the panel height."""
    height = np.maximum(pixels.parameters[:, 0], 0.1)
    level = np.clip(pixels.v / height, 0, 1)
    shade = (0.72 + 0.34 * level)[:, None].astype(np.float32)
    sheen = (0.10 * level * level)[:, None].astype(np.float32)
    return pixels.colour * shade * pixels.light + sheen * pixels.sky


def _glow(pixels: SurfacePixels) -> Colours:
    """Lamps: first colour when lit (parameter 0 = always), second when not."""
    lit = np.maximum(pixels.parameters[:, 0], pixels.lamps)[:, None].astype(np.float32)
    return pixels.colour * lit + pixels.second * pixels.light * (1 - lit)


def _coach(pixels: SurfacePixels) -> Colours:
    """Side of a bus, tram or van: a band of windows and a stripe in the second colour.

    Parameters: window bottom, window top, pane width, stripe bottom, stripe top, lit inside.
    """
    low, high, pane, stripe_low, stripe_high, inside = pixels.parameters.T
    size = np.maximum(pixels.footprint, 1e-3)
    stripe = _band(pixels.v - (stripe_low + stripe_high) / 2, (stripe_high - stripe_low) / 2, size)
    colour = _blend(pixels.colour, pixels.second, stripe)
    shade = (0.80 + 0.10 * np.minimum(pixels.v, 2.5))[:, None].astype(np.float32)
    pane = np.maximum(pane, 0.1)
    window = _band(pixels.v - (low + high) / 2, (high - low) / 2, size)
    window *= _band((pixels.u / pane % 1 - 0.5) * pane, pane / 2 - 0.07, size)
    glass = _glass_colour(pixels, (pixels.v - low) / np.maximum(high - low, 0.1))
    glow = np.broadcast_to(np.float32([0.95, 0.86, 0.62]), glass.shape)
    glass = _blend(glass, glow, 0.8 * pixels.lamps * inside)
    return _blend(colour * shade * pixels.light, glass, window)


def _sign(pixels: SurfacePixels) -> Colours:
    """A plate with a rim: parameters width, height, rim width, motif (0 none, 1 bar, 2 arrow)."""
    width, height, rim, motif, _, _ = pixels.parameters.T
    size = np.maximum(pixels.footprint, 1e-3)
    x, y = pixels.u - width / 2, pixels.v - height / 2
    inner = _band(x, width / 2 - rim, size) * _band(y, height / 2 - rim, size)
    colour = _blend(pixels.second, pixels.colour, inner)
    bar = _band(y, 0.09 * height, size) * _band(x, 0.33 * width, size)
    arrow = np.maximum(
        _band(x, 0.07 * width, size) * _band(y, 0.3 * height, size),
        _band(np.abs(x) + y - 0.25 * height, 0.08 * height, size) * (y > -0.05 * height),
    )
    mark = np.where(motif == 1, bar, np.where(motif == 2, arrow, 0.0))
    return _blend(colour, pixels.second, mark) * (0.35 + 0.65 * pixels.light)


PAINTERS: dict[int, Callable[[SurfacePixels], Colours]] = {
    Material.FACADE: _facade,
    Material.ROOF: _roof,
    Material.LEAVES: _hedge,
    Material.GLASS: _glass,
    Material.PLANKS: _planks,
    Material.STONE: _stone,
    Material.PAINT: _paint,
    Material.GLOW: _glow,
    Material.COACH: _coach,
    Material.SIGN: _sign,
}
"""The painter of every material except the flat one."""
