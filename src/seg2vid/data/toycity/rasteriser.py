"""Finds the nearest surface in every pixel, for all quads and ellipsoids at once.

A ray is written (a, b, 1) with a, b the slopes to the right and down. On a plane the inverse
depth is linear in a and b, so no clipping is needed; on an ellipsoid it is linear plus the square
root of a quadratic. Per image row each convex shape covers one span.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from seg2vid.data.toycity.camera import ToyCamera
from seg2vid.data.toycity.materials import scatter_noise
from seg2vid.data.toycity.scene import BONNET, FIRST_QUAD, GROUND, Material, Scene

NEAR = 0.05
BONNET_DEPTH = 1.3
_ID_MASK = (1 << 16) - 1

Values = Float[np.ndarray, " points"]
Indices = Int[np.ndarray, " points"]
Groups = Int[np.ndarray, " groups"]
Bounds = Float[np.ndarray, " shapes"]
Rows = Float[np.ndarray, "rows axes"]
Corners = Float[np.ndarray, "faces 4 3"]
Keys = Int[np.ndarray, " pixels"]
"""Inverse depth and surface id of every pixel, see ``_keys``."""


@dataclass(frozen=True)
class FrameGeometry:
    """All surfaces of a scene in the camera axes of one frame.

    The first rows of ``planes`` and ``edges`` are sky, ground and bonnet, then the quads.
    """

    planes: Float[np.ndarray, "planar 3"]
    """Inverse depth of each plane is planes @ (a, b, 1)."""
    edges: Float[np.ndarray, "planar 4 3"]
    """A quad covers the rays for which all four edges @ (a, b, 1) are not negative."""
    corners: Float[np.ndarray, "quads 4 3"]
    """Camera coordinates in metres."""
    normals: Float[np.ndarray, "quads 3"]
    """Unit normals towards the viewer's side."""
    facing: Bool[np.ndarray, " planar"]
    """What may be in view."""
    spheres: Float[np.ndarray, "ellipsoids 3 3"]
    """Maps camera offsets from an ellipsoid's centre to the unit sphere."""
    centres: Float[np.ndarray, "ellipsoids 3"]
    local_centres: Float[np.ndarray, "ellipsoids 3"]
    """Ellipsoid centres mapped by ``spheres``."""
    middle: Float[np.ndarray, "ellipsoids 3"]
    """Inverse depth = (middle @ ray + sqrt(ray @ spread @ ray)) / constant."""
    spread: Float[np.ndarray, "ellipsoids 3 3"]
    """Not negative where a ray hits the ellipsoid."""
    constant: Float[np.ndarray, " ellipsoids"]
    """Positive when the camera is outside."""
    raggedness: Float[np.ndarray, " ellipsoids"]
    """How ragged the outline is: 0 = smooth, 1 = leaves; small or far ones are smooth."""


@dataclass(frozen=True)
class Spans:
    """Horizontal runs of pixels; ``shape`` says which shape each run belongs to."""

    shape: Int[np.ndarray, " spans"]
    row: Int[np.ndarray, " spans"]
    start: Int[np.ndarray, " spans"]
    length: Int[np.ndarray, " spans"]

    def samples(self, camera: ToyCamera) -> tuple[Indices, Indices]:
        """Return the span and the flat pixel index of every pixel."""
        return _ragged(self.row * camera.width + self.start, self.length)


class View(NamedTuple):
    """One frame: what is where, and the nearest surface of every pixel, row after row."""

    frame: int
    geometry: FrameGeometry
    surface: Int[np.ndarray, " pixels"]
    inverse_depth: Float[np.ndarray, " pixels"]


def _place_scene(scene: Scene, camera: ToyCamera, frame: int) -> FrameGeometry:
    """Move all surfaces of ``scene`` into the camera axes of ``frame``."""
    to_camera = camera.rotation(frame)
    rotation = to_camera @ scene.rotation[frame]
    translation = (scene.translation[frame] - camera.location(frame)) @ to_camera.T
    turned = np.swapaxes(rotation, 1, 2)
    part, ball_part = np.split(scene.surfaces.part[FIRST_QUAD:], [len(scene.quads)])
    corners = scene.quads @ turned[part] + translation[part][:, None]
    # The camera axes are a mirror image of the world axes, which turns cross products round.
    normals = -np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normals /= np.sqrt(row_dot(normals, normals))[:, None] + 1e-12
    offset = row_dot(normals, corners.mean(1))
    flipped = scene.double_sided & (offset > 0)
    offset = np.where(np.abs(offset) < 1e-9, 1e-9, offset)
    edges = np.cross(corners, corners[:, [1, 2, 3, 0]]) * -np.sign(offset)[:, None, None]
    edges[..., 2] += 1e-12
    fixed = np.array([[0, 0, 0], [0, 1 / camera.elevation, 0], [0, 0, 1 / BONNET_DEPTH]])
    everywhere = np.tile([0.0, 0.0, 1.0], (FIRST_QUAD, 4, 1))
    spheres = turned[ball_part] / scene.radii[:, :, None]
    centres = (scene.centres[:, None] @ turned[ball_part])[:, 0] + translation[ball_part]
    local_centres = np.einsum("nij,nj->ni", spheres, centres)
    middle = np.einsum("nji,nj->ni", spheres, local_centres)
    constant = row_dot(local_centres, local_centres) - 1.0
    bent = constant[:, None, None] * np.einsum("nji,njk->nik", spheres, spheres)
    size = scene.radii.mean(1) / np.maximum(centres[:, 2], 1.0) * camera.focal
    leafy = scene.surfaces.material[FIRST_QUAD + len(scene.quads) :] == Material.LEAVES
    return FrameGeometry(
        planes=np.concatenate([fixed, normals / offset[:, None]]),
        edges=np.concatenate([everywhere, edges]),
        corners=corners,
        normals=np.where(flipped[:, None], -normals, normals),
        facing=np.insert(((offset < 0) | flipped) & (corners[..., 2].max(1) > NEAR), 0, [True] * 3),
        spheres=spheres,
        centres=centres,
        local_centres=local_centres,
        middle=middle,
        spread=middle[:, :, None] * middle[:, None, :] - bent,
        constant=constant,
        raggedness=np.where(leafy, ((size - 3.0) / 6.0).clip(0, 1), 0.0),
    )


def rasterise(scene: Scene, camera: ToyCamera, frame: int) -> View:
    """Find which surface each pixel of a frame shows, and its inverse depth."""
    geometry = _place_scene(scene, camera, frame)
    ground = np.maximum((np.arange(camera.height) - camera.centre_y) / camera.focal, 0.0)
    ground = ground / camera.elevation
    keys = np.repeat(np.where(ground > 0, _keys(ground, GROUND), 0), camera.width)
    _draw_quads(keys, geometry, camera)
    _draw_ellipsoids(keys, geometry, camera)
    keys[camera.bonnet.ravel()] = _keys(np.array([1 / BONNET_DEPTH]), BONNET)
    return View(frame, geometry, keys & _ID_MASK, (keys & ~_ID_MASK).view(np.float64))


def polygon_spans(corners: Corners, edges: Corners, camera: ToyCamera) -> Spans:
    """Return the pixel runs covered by convex quads given in camera coordinates."""
    front = (corners[..., 2] > NEAR).all(1)
    scale = camera.focal / np.maximum(corners[..., 2], NEAR)
    rows = corners[..., 1] * scale + camera.centre_y
    columns = corners[..., 0] * scale + camera.centre_x
    first = np.where(front, np.ceil(rows.min(1)), 0)
    last = np.where(front, np.floor(rows.max(1)), camera.height)
    last[front & ((columns.max(1) < 0) | (columns.min(1) > camera.width - 1))] = -1
    shape, row = _rows(first, last, camera)
    slope = (row - camera.centre_y) / camera.focal
    coefficients = np.ascontiguousarray(edges[shape].transpose(1, 2, 0))
    rise = coefficients[:, 0]
    rise = np.where(np.abs(rise) < 1e-30, 1e-30, rise)
    bound = -(coefficients[:, 1] * slope + coefficients[:, 2]) / rise
    lower = np.where(rise > 0, bound, -np.inf).max(0)
    upper = np.where(rise > 0, np.inf, bound).min(0)
    return _clip_spans(shape, row, lower, upper, camera)


def row_dot(first: Rows, second: Rows) -> Float[np.ndarray, " rows"]:
    """Return the dot product of each pair of rows."""
    return np.einsum("ni,ni->n", first, second)


def leaf_gaps(
    geometry: FrameGeometry, ball: Indices, right: Values, down: Values, inverse: Values
) -> Bool[np.ndarray, " points"]:
    """Return where rays pass through the ragged outline of leafy ellipsoids.

    Points are given by ellipsoid, ray slopes and inverse depth of the hit. The gaps are fixed to
    the surface and open towards the rim, where the surface is seen at a slant.
    """
    result = np.zeros(len(ball), bool)
    middle = geometry.middle[ball]
    level = middle[:, 0] * right + middle[:, 1] * down + middle[:, 2]
    root = inverse * geometry.constant[ball] - level
    steepness = (level * level - root * root) / geometry.constant[ball]
    slant = root / np.sqrt(np.maximum(steepness, 1e-12))
    limit = 3.0 * slant + 1.1 - 2.0 * geometry.raggedness[ball]
    chosen = np.flatnonzero((limit < 1.0) & (geometry.raggedness[ball] > 0))
    ball, depth = ball[chosen], 1.0 / np.maximum(inverse[chosen], 1e-6)
    point = np.stack([right[chosen] * depth, down[chosen] * depth, depth], 1)
    place = np.einsum("nij,nj->ni", geometry.spheres[ball], point) - geometry.local_centres[ball]
    noise = scatter_noise(np.floor(place * 5.0 + ball[:, None] * 0.37).astype(np.int64))
    result[chosen] = noise > limit[chosen]
    return result


def _keys(inverse_depth: Values, surface: Indices | int) -> Indices:
    """Pack inverse depth and surface id into integers that sort by nearness."""
    return (inverse_depth.view(np.int64) & ~_ID_MASK) | surface


def _draw_quads(keys: Keys, geometry: FrameGeometry, camera: ToyCamera) -> None:
    facing = np.flatnonzero(geometry.facing[FIRST_QUAD:])
    spans = polygon_spans(geometry.corners[facing], geometry.edges[facing + FIRST_QUAD], camera)
    surface = facing[spans.shape] + FIRST_QUAD
    plane = geometry.planes[surface]
    step = plane[:, 0] / camera.focal
    slope = (spans.row - camera.centre_y) / camera.focal
    start = plane[:, 1] * slope + plane[:, 2]
    start -= step * (spans.row * camera.width + camera.centre_x)
    span, pixel = spans.samples(camera)
    inverse = np.maximum(pixel * step[span] + start[span], 0)
    np.maximum.at(keys, pixel, _keys(inverse, surface[span]))


def _draw_ellipsoids(keys: Keys, geometry: FrameGeometry, camera: ToyCamera) -> None:
    spread = geometry.spread
    usable = (geometry.constant > 1e-3) & (spread[:, 0, 0] < 0) & (spread[:, 1, 1] < 0)
    chosen = np.flatnonzero(usable & (geometry.centres[:, 2] > 0.3))
    spans = _ellipsoid_spans(spread[chosen], camera)
    index = chosen[spans.shape]
    slope = (spans.row - camera.centre_y) / camera.focal
    middle = geometry.middle[index]
    base = middle[:, 1] * slope + middle[:, 2]
    rows = [*_row_quadratic(spread[index], slope), base, middle[:, 0], geometry.constant[index]]
    span, pixel = spans.samples(camera)
    two, one, zero, base, rise, constant = np.stack(rows, 1)[span].T
    ray = (pixel - (spans.row * camera.width)[span] - camera.centre_x) / camera.focal
    root = np.sqrt(np.maximum((two * ray + 2 * one) * ray + zero, 0))
    inverse = np.maximum((base + rise * ray + root) / constant, 1e-6)
    ball = index[span]
    kept = np.flatnonzero(~leaf_gaps(geometry, ball, ray, slope[span], inverse))
    surface = ball[kept] + FIRST_QUAD + len(geometry.corners)
    np.maximum.at(keys, pixel[kept], _keys(inverse[kept], surface))


def _row_quadratic(spread: Float[np.ndarray, "points 3 3"], slope: Values) -> Rows:
    """Return the quadratic in ``a`` (a*a, half of a, 1) of each ellipsoid on one row."""
    one = spread[:, 0, 1] * slope + spread[:, 0, 2]
    zero = (spread[:, 1, 1] * slope + 2 * spread[:, 1, 2]) * slope + spread[:, 2, 2]
    return np.stack([spread[:, 0, 0], one, zero])


def _ellipsoid_spans(spread: Float[np.ndarray, "ellipsoids 3 3"], camera: ToyCamera) -> Spans:
    s00, s01, s02 = spread[:, 0, 0], spread[:, 0, 1], spread[:, 0, 2]
    two = s01 * s01 - s00 * spread[:, 1, 1]
    one = s01 * s02 - s00 * spread[:, 1, 2]
    zero = s02 * s02 - s00 * spread[:, 2, 2]
    root = np.sqrt(np.maximum(one * one - two * zero, 0))
    two = np.minimum(two, -1e-12)
    first = np.ceil((-one + root) / two * camera.focal + camera.centre_y)
    last = np.floor((-one - root) / two * camera.focal + camera.centre_y)
    shape, row = _rows(first, last, camera)
    two, one, zero = _row_quadratic(spread[shape], (row - camera.centre_y) / camera.focal)
    root = np.sqrt(np.maximum(one * one - two * zero, 0))
    return _clip_spans(shape, row, (-one + root) / two, (-one - root) / two, camera)


def _rows(first: Bounds, last: Bounds, camera: ToyCamera) -> tuple[Indices, Indices]:
    """Return shape and row of every picture row from ``first`` to ``last`` of each shape."""
    start = first.clip(0, camera.height).astype(np.int64)
    stop = last.clip(-1, camera.height - 1).astype(np.int64)
    return _ragged(start, np.maximum(stop - start + 1, 0))


def _clip_spans(
    shape: Indices, row: Indices, lower: Values, upper: Values, camera: ToyCamera
) -> Spans:
    """Turn intervals of ray slopes into non-empty runs of whole pixels."""
    width = camera.width
    start = np.ceil((lower * camera.focal + camera.centre_x).clip(0, width)).astype(np.int64)
    stop = np.floor((upper * camera.focal + camera.centre_x).clip(-1, width - 1))
    length = stop.astype(np.int64) - start + 1
    keep = length > 0
    return Spans(shape[keep], row[keep], start[keep], length[keep])


def _ragged(first: Groups, count: Groups) -> tuple[Indices, Indices]:
    """Return the group of each item and its value, counting up from the group's ``first``."""
    group = np.repeat(np.arange(len(count)), count)
    offset = first - (np.cumsum(count) - count)
    return group, np.arange(len(group)) + offset[group]
