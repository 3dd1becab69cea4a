"""Paints the ground: carriageway with markings, kerbs, pavements and grass."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from seg2vid.data.toycity.layout import StreetLayout
from seg2vid.data.toycity.noise import smooth_noise, white_noise
from seg2vid.data.toycity.street_path import PathCoordinates

ROAD, SIDEWALK, TERRAIN = 0, 1, 9
KERB = 0.16
_WHITE = np.float32([0.80, 0.80, 0.78])


@dataclass(frozen=True)
class GroundPoints:
    """Visible ground points; all arrays have one entry per pixel."""

    x: Float[np.ndarray, " pixels"]
    """World east in metres."""
    z: Float[np.ndarray, " pixels"]
    """World north in metres."""
    across: Float[np.ndarray, " pixels"]
    """Width of the pixel on the ground, metres."""
    lengthwise: Float[np.ndarray, " pixels"]
    """Length of the pixel on the ground, metres."""


@dataclass(frozen=True)
class PaintedGround:
    """Class and unlit colour of ground points."""

    label: UInt8[np.ndarray, " pixels"]
    """Train ids: road, sidewalk or terrain."""
    colour: Float32[np.ndarray, "pixels 3"]
    """RGB 0 to 1."""


def paint_ground(layout: StreetLayout, points: GroundPoints) -> PaintedGround:
    """Return class and colour of ground points."""
    place = layout.path.locate(points.x, points.z)
    distance = layout.kerb_distance(place, points.x, points.z).astype(np.float32)
    label = _ground_label(layout, place, distance)
    detail = np.minimum(0.04 / points.across, 1.0).astype(np.float32)
    grain = white_noise(points.x * 24.0, points.z * 24.0) * detail
    patches = smooth_noise(points.x * 6.0, points.z * 6.0)
    colour = np.empty((len(distance), 3), np.float32)
    for kind, paint in ((ROAD, _paint_road), (SIDEWALK, _paint_paving), (TERRAIN, _paint_grass)):
        chosen = np.flatnonzero(label == kind)
        if len(chosen):
            texture = _Texture(grain[chosen], patches[chosen], distance[chosen])
            where = PathCoordinates(place.along[chosen], place.aside[chosen])
            colour[chosen] = paint(layout, where, texture, _subset(points, chosen))
    return PaintedGround(label, colour)


@dataclass(frozen=True)
class _Texture:
    """Noise and kerb distance of the points of one kind of ground."""

    grain: Float32[np.ndarray, " pixels"]
    patches: Float32[np.ndarray, " pixels"]
    kerb: Float32[np.ndarray, " pixels"]


def _subset(points: GroundPoints, chosen: np.ndarray) -> GroundPoints:
    """Return some of the points."""
    return GroundPoints(
        points.x[chosen], points.z[chosen], points.across[chosen], points.lengthwise[chosen]
    )


def _ground_label(
    layout: StreetLayout, place: PathCoordinates, distance: Float32[np.ndarray, " pixels"]
) -> UInt8[np.ndarray, " pixels"]:
    """Return the class of ground points."""
    label = (distance > 0).astype(np.uint8)
    green = np.where(place.aside > 0, layout.green_plots[1], layout.green_plots[0])
    label[green & (distance > layout.verge + layout.pavement)] = TERRAIN
    if layout.verge > 0:
        label[(distance > KERB) & (distance < layout.verge)] = TERRAIN
    return label


def _stripe(
    offset: Float[np.ndarray, " pixels"], half: float, size: Float[np.ndarray, " pixels"]
) -> Float[np.ndarray, " pixels"]:
    """Return how much of a pixel of `size` at `offset` from a stripe's middle it covers."""
    cover = (half - np.abs(offset)) / size + 0.5
    return np.clip(cover, 0.0, np.minimum(2 * half / size, 1.0))


def _dash(
    along: Float[np.ndarray, " pixels"], period: float, size: Float[np.ndarray, " pixels"]
) -> Float[np.ndarray, " pixels"]:
    """Return 1 on dashes and 0 in gaps along a line, softened by the pixel length."""
    phase = np.abs(along % period - period / 2) - period / 4
    return np.clip(0.5 - phase / np.maximum(size, 0.05), 0.0, 1.0)


def _markings(
    layout: StreetLayout, place: PathCoordinates, points: GroundPoints
) -> Float[np.ndarray, " pixels"]:
    """Return how much white paint covers each road pixel, 0 to 1."""
    along, aside, across = place.along, place.aside, points.across
    dashes = _dash(along, 6.0, points.lengthwise)
    paint = np.zeros(len(along))
    if layout.lanes > 1 or layout.rails:
        paint = _stripe(aside, 0.07, across)
    elif layout.lane_width > 2.9:
        paint = _stripe(aside, 0.06, across) * dashes
    for lane in range(1, layout.lanes):
        paint = np.maximum(
            paint, _stripe(np.abs(aside) - lane * layout.lane_width, 0.06, across) * dashes
        )
    if layout.parking_width > 0:
        edge = layout.half_width - layout.parking_width
        paint = np.maximum(paint, 0.75 * _stripe(np.abs(aside) - edge, 0.05, across))
    crossing = layout.crossing
    if crossing is not None:
        ahead = along - crossing.along
        inside = np.abs(ahead) < crossing.half_width + 1.0
        minor = _stripe(ahead, 0.06, points.lengthwise) * _dash(aside, 6.0, across)
        beside = np.abs(aside) > layout.half_width + 1.5
        paint = np.where(inside, np.where(beside, minor, 0.0), paint)
        stop = _stripe(ahead + crossing.half_width + 1.6, 0.2, points.lengthwise)
        paint = np.maximum(paint, stop * (aside > 0) * (aside < layout.half_width - 0.2))
    for zebra in layout.zebras:
        within = _stripe(along - zebra, 1.7, points.lengthwise) * (
            np.abs(aside) < layout.half_width - 0.15
        )
        bars = np.clip(0.5 + (0.25 - np.abs(aside % 1.0 - 0.5)) / np.maximum(across, 0.02), 0, 1)
        near = np.abs(along - zebra) < 2.4
        paint = np.where(near, bars * within, paint)
    return paint


def _paint_road(
    layout: StreetLayout, place: PathCoordinates, texture: _Texture, points: GroundPoints
) -> Float32[np.ndarray, "pixels 3"]:
    """Return the colour of carriageway pixels."""
    value = layout.asphalt * (1 + 0.10 * texture.grain + 0.09 * texture.patches)
    if layout.cobbles:
        size = np.minimum(0.12 / points.lengthwise, 1.0)
        stones = white_noise(place.along * 7.0, place.aside * 9.0)
        value = value * (1 + 0.16 * stones * size) * 1.08
    tracks = np.abs(np.abs(place.aside % layout.lane_width - layout.lane_width / 2) - 0.75)
    value = value * (1 - 0.06 * np.clip(1 - tracks / 0.35, 0, 1))
    value = value * (1 - 0.25 * np.clip(1 + (texture.kerb - 0.05) / 0.3, 0, 1))
    worn = 0.82 + 0.18 * texture.patches
    paint = (_markings(layout, place, points) * worn)[:, None].astype(np.float32)
    colour = value[:, None].astype(np.float32) * np.float32([1.0, 1.0, 1.02])
    colour = colour + (_WHITE - colour) * paint
    for rail in layout.rails:
        steel = _stripe(np.abs(place.aside - rail) - 0.72, 0.035, points.across)
        colour = colour * (1 - 0.40 * steel[:, None].astype(np.float32))
    return colour


def _paint_paving(
    layout: StreetLayout, place: PathCoordinates, texture: _Texture, points: GroundPoints
) -> Float32[np.ndarray, "pixels 3"]:
    """Return the colour of pavement pixels."""
    detail = np.minimum(0.10 / points.lengthwise, 1.0)
    slabs = white_noise(place.along * 1.6, place.aside * 1.6)
    value = 1 + 0.05 * texture.grain + 0.06 * texture.patches + 0.07 * slabs * detail
    joints = np.minimum(np.abs(place.along * 1.6 % 1.0 - 0.5), np.abs(place.aside * 1.6 % 1 - 0.5))
    value = value * (1 - 0.14 * np.clip(1 - joints / 0.06, 0, 1) * detail)
    value = np.where(texture.kerb < KERB, 1.14 * value, value)
    return value[:, None].astype(np.float32) * np.float32(layout.paving)


def _paint_grass(
    layout: StreetLayout, place: PathCoordinates, texture: _Texture, points: GroundPoints
) -> Float32[np.ndarray, "pixels 3"]:
    """Return the colour of grass and soil pixels."""
    detail = np.minimum(0.25 / points.lengthwise, 1.0)
    tufts = white_noise(points.x * 6.0, points.z * 6.0) * detail
    value = 1 + 0.16 * texture.grain + 0.14 * tufts + 0.12 * texture.patches
    colour = value[:, None].astype(np.float32) * np.float32(layout.grass)
    dry = np.clip(texture.patches - 0.15, 0, 1)[:, None]
    return (colour + dry * np.float32([0.14, 0.05, 0.02])).astype(np.float32)
