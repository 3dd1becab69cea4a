"""Paints the ground: carriageway with markings, kerbs, pavements, grass, shadows, lamp light."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8

from seg2vid.data.toycity.camera import ToyCamera
from seg2vid.data.toycity.materials import Values, smooth_noise, white_noise
from seg2vid.data.toycity.rasteriser import polygon_spans, row_dot
from seg2vid.data.toycity.scene import Label, Scene
from seg2vid.data.toycity.street import StreetLayout

_KERB = 0.16
_SIGNS = np.array([[1, -1, -1], [1, 1, -1], [1, 1, 1], [1, -1, 1]])


class _Texture(NamedTuple):
    """Street coordinates, metres outside the kerb, pixel size and noise of ground points."""

    along: Values
    aside: Values
    kerb: Values
    across: Values
    lengthwise: Values
    grain: Values
    patches: Values
    tufts: Values


def paint_ground(
    layout: StreetLayout, east: Values, north: Values, across: Values, lengthwise: Values
) -> tuple[UInt8[np.ndarray, " pixels"], Float32[np.ndarray, "pixels 3"]]:
    """Return class and unlit colour (RGB 0 to 1) of ground points, given in metres.

    A pixel covers ``across`` times ``lengthwise`` metres of the ground.
    """
    along, aside = layout.path.locate(east, north)
    kerb = layout.kerb_distance(along, aside)
    label = np.where(kerb > 0, Label.SIDEWALK, Label.ROAD).astype(np.uint8)
    green = np.where(aside > 0, layout.green_plots[1], layout.green_plots[0])
    label[green & (kerb > layout.verge + layout.pavement)] = Label.TERRAIN
    label[(kerb > _KERB) & (kerb < layout.verge)] = Label.TERRAIN
    grain = white_noise(east * 24.0, north * 24.0) * np.minimum(0.04 / across, 1.0)
    fine, tufts = smooth_noise(east * 6.0, north * 6.0), white_noise(east * 6.0, north * 6.0)
    texture = _Texture(along, aside, kerb, across, lengthwise, grain, fine, tufts)
    colour = np.empty((len(label), 3), np.float32)
    for kind, paint in _PAINTERS.items():
        chosen = np.flatnonzero(label == kind)
        if len(chosen):
            colour[chosen] = paint(layout, _Texture(*(values[chosen] for values in texture)))
    return label, colour


def _stripe(offset: Values, half: float, size: Values) -> Values:
    """Return how much of a pixel of ``size`` at ``offset`` from a stripe's middle it covers."""
    cover = (half - np.abs(offset)) / size + 0.5
    return np.clip(cover, 0.0, np.minimum(2 * half / size, 1.0))


def _dash(along: Values, size: Values) -> Values:
    """Return 1 on dashes and 0 in gaps along a line, softened by the pixel length."""
    phase = np.abs(along % 6.0 - 3.0) - 1.5
    return np.clip(0.5 - phase / np.maximum(size, 0.05), 0.0, 1.0)


def _markings(layout: StreetLayout, where: _Texture) -> Values:
    """Return how much white paint covers each road pixel, 0 to 1."""
    along, aside, across = where.along, where.aside, where.across
    dashes, paint = _dash(along, where.lengthwise), np.zeros_like(along)
    if layout.lanes > 1 or layout.rails:
        paint = _stripe(aside, 0.07, across)
    elif layout.lane_width > 2.9:
        paint = _stripe(aside, 0.06, across) * dashes
    for lane in range(1, layout.lanes):
        line = _stripe(np.abs(aside) - lane * layout.lane_width, 0.06, across)
        paint = np.maximum(paint, line * dashes)
    if layout.parking_width > 0:
        edge = layout.half_width - layout.parking_width
        paint = np.maximum(paint, 0.75 * _stripe(np.abs(aside) - edge, 0.05, across))
    crossing = layout.crossing
    if crossing is not None:
        ahead = along - crossing.along
        minor = _stripe(ahead, 0.06, where.lengthwise) * _dash(aside, across)
        minor = np.where(np.abs(aside) > layout.half_width + 1.5, minor, 0.0)
        paint = np.where(np.abs(ahead) < crossing.half_width + 1.0, minor, paint)
        stop = _stripe(ahead + crossing.half_width + 1.6, 0.2, where.lengthwise)
        paint = np.maximum(paint, stop * (aside > 0) * (aside < layout.half_width - 0.2))
    for zebra in layout.zebras:
        inner = np.abs(aside) < layout.half_width - 0.15
        bars = 0.5 + (0.25 - np.abs(aside % 1.0 - 0.5)) / np.maximum(across, 0.02)
        bars = np.clip(bars, 0, 1) * _stripe(along - zebra, 1.7, where.lengthwise) * inner
        paint = np.where(np.abs(along - zebra) < 2.4, bars, paint)
    return paint


def _paint_road(layout: StreetLayout, where: _Texture) -> Float[np.ndarray, "pixels 3"]:
    value = layout.asphalt * (1 + 0.10 * where.grain + 0.09 * where.patches)
    if layout.cobbles:
        stones = white_noise(where.along * 7.0, where.aside * 9.0)
        value = value * (1 + 0.16 * stones * np.minimum(0.12 / where.lengthwise, 1.0)) * 1.08
    tracks = np.abs(np.abs(where.aside % layout.lane_width - layout.lane_width / 2) - 0.75)
    value = value * (1 - 0.06 * np.clip(1 - tracks / 0.35, 0, 1))
    value = value * (1 - 0.25 * np.clip(1 + (where.kerb - 0.05) / 0.3, 0, 1))
    paint = _markings(layout, where) * (0.82 + 0.18 * where.patches)
    value = value + (0.79 - value) * paint
    for rail in layout.rails:
        value = value * (1 - 0.4 * _stripe(np.abs(where.aside - rail) - 0.72, 0.035, where.across))
    return value[:, None] * np.array([1.0, 1.0, 1.01], np.float32)


def _paint_paving(layout: StreetLayout, where: _Texture) -> Float[np.ndarray, "pixels 3"]:
    detail = np.minimum(0.10 / where.lengthwise, 1.0)
    slabs = white_noise(where.along * 1.6, where.aside * 1.6)
    value = 1 + 0.05 * where.grain + 0.06 * where.patches + 0.07 * slabs * detail
    joints = np.abs(np.stack([where.along, where.aside]) * 1.6 % 1.0 - 0.5).min(0)
    value = value * (1 - 0.14 * np.clip(1 - joints / 0.06, 0, 1) * detail)
    value = np.where(where.kerb < _KERB, 1.14 * value, value)
    return value[:, None] * np.array(layout.paving, np.float32)


def _paint_grass(layout: StreetLayout, where: _Texture) -> Float[np.ndarray, "pixels 3"]:
    tufts = where.tufts * np.minimum(0.25 / where.lengthwise, 1.0)
    value = 1 + 0.16 * where.grain + 0.14 * tufts + 0.12 * where.patches
    dry = np.clip(where.patches - 0.15, 0, 1)
    soil = dry[:, None] * np.array([0.14, 0.05, 0.02], np.float32)
    green = layout.grass * np.array([0.36, 0.45, 0.20])
    return value[:, None] * green.astype(np.float32) + soil


_PAINTERS = {Label.ROAD: _paint_road, Label.SIDEWALK: _paint_paving, Label.TERRAIN: _paint_grass}


def patch_light(scene: Scene, camera: ToyCamera, frame: int) -> Float32[np.ndarray, "2 pixels"]:
    """Return shadow (-1 to 0) and lamp light (from 0) of all patches, as if nothing hid them."""
    light = np.zeros((2, camera.height * camera.width), np.float32)
    part, to_camera = scene.patches[:, 8].astype(np.int64), camera.rotation(frame)
    rotation = (to_camera @ scene.rotation[frame])[part][:, [0, 2]][:, :, [0, 2]]
    offset = (scene.translation[frame] - camera.location(frame)) @ to_camera.T
    shape = np.einsum("nij,nkj->nki", rotation, scene.patches[:, :6].reshape(-1, 3, 2))
    shape[:, 0] += offset[part][:, [0, 2]]
    corners = np.insert(np.einsum("ck,nki->nci", _SIGNS, shape), 1, camera.elevation, 2)
    near = np.flatnonzero((corners[..., 2].max(1) > 0.3) & (corners[..., 2].min(1) < 70.0))
    corners = corners[near]
    edges = np.cross(corners, corners[:, [1, 2, 3, 0]])
    edges *= np.sign(row_dot(edges[:, 0], corners[:, 2]))[:, None, None]
    edges[..., 2] += 1e-12
    spans = polygon_spans(corners, edges, camera)
    span, pixel = spans.samples(camera)
    patch = near[spans.shape][span]
    slope = np.maximum((spans.row - camera.centre_y) / camera.focal, 1e-6)
    depth = (camera.elevation / slope)[span]
    column = pixel - (spans.row * camera.width)[span]
    aside = (column - camera.centre_x) / camera.focal * depth
    # Each place in half axes from the centre of its patch.
    centre, first, second = shape[patch].transpose(1, 2, 0)
    x, z = aside - centre[0], depth - centre[1]
    area = first[0] * second[1] - first[1] * second[0]
    u, v = (x * second[1] - z * second[0]) / area, (first[0] * z - first[1] * x) / area
    strength, softness = scene.patches[patch, 6], scene.patches[patch, 7]
    border = 1.0 - np.maximum(np.abs(u), np.abs(v))
    square = np.clip(border / np.maximum(softness, 0.02), 0, 1)
    circle = np.sqrt(np.clip(1.0 - (u * u + v * v), 0, 1))
    value = strength * np.where(softness > 1.5, circle, square).astype(np.float32)
    np.minimum.at(light[0], pixel, value)
    if (scene.patches[:, 6] > 0).any():
        np.maximum.at(light[1], pixel, value)
    return light
