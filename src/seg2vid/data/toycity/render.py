"""Renders whole clips: pictures, labels, depth, camera motion, exact flow and visibility."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from seg2vid.data.toycity.clip import ToyCityClip, ToyCityConfig, check_whole
from seg2vid.data.toycity.rasteriser import FrameGeometry, View, leaf_gaps, rasterise, row_dot
from seg2vid.data.toycity.scene import BONNET, GROUND
from seg2vid.data.toycity.shading import City, shade
from seg2vid.data.toycity.world import build_city

Rays = Float[np.ndarray, "3 pixels"]
Flags = Bool[np.ndarray, " points"]
Indices = Int[np.ndarray, " points"]


def _correspond(
    city: City, source: View, other: View
) -> tuple[Float32[np.ndarray, "2 height width"], Bool[np.ndarray, "height width"]]:
    """Return exact flow (dx, dy in pixels) from one frame to the other, and visibility.

    A pixel is visible where its surface point is in view and not hidden in the other frame.
    """
    camera = city.camera
    rays, inverse = camera.rays, source.inverse_depth
    moved = _move_rays(city, source, other.frame, np.stack([*rays, inverse]))
    distance, static = np.maximum(moved[2], 1e-3), source.surface == BONNET
    there = moved[:2] / distance
    there[:, static] = rays[:, static]
    flow = ((there - rays) * camera.focal).clip(-2.0 * camera.width, 2.0 * camera.width)
    column, row = there * camera.focal + [[camera.centre_x], [camera.centre_y]]
    inside = (moved[2] > 1e-3) & (column >= 0) & (column <= camera.width - 1)
    seen = np.flatnonzero(inside & (row >= 0) & (row <= camera.height - 1) & ~static)
    seen_rays = np.stack([*there[:, seen], np.ones(len(seen))], 1)
    points = _Points(source.surface[seen], seen_rays, inverse[seen] / distance[seen])
    left = np.minimum(column[seen].astype(np.int64), camera.width - 2)
    corner = np.minimum(row[seen].astype(np.int64), camera.height - 2) * camera.width + left
    steps = np.array([0, 1, camera.width, camera.width + 1])
    around = other.surface[corner + steps[:, None]]
    visible = static.copy()
    visible[seen] = _unhidden(other.geometry, points, around)
    shape = (camera.height, camera.width)
    return flow.reshape(2, *shape).astype(np.float32), visible.reshape(shape)


class _Points(NamedTuple):
    """Surface points as seen from another frame: own surface, ray and inverse depth."""

    own: Indices
    rays: Float[np.ndarray, "points 3"]
    inverse: Float[np.ndarray, " points"]


def _move_rays(city: City, source: View, there: int, points: Rays) -> Rays:
    """Move points, given as (right, down) slopes and inverse depth, to the other camera.

    Scaled by the source's inverse depth: the sky needs no infinity, a resting point no rounding.
    """
    (right, down, inverse), here = points, source.frame
    scene, camera = city.scene, city.camera
    from_source, to_other = camera.rotation(here), camera.rotation(there)
    still = bool(camera.headings[here] == camera.headings[there])
    turn = np.eye(3) if still else to_other @ from_source.T
    shift = to_other @ (camera.location(here) - camera.location(there))
    moved = np.empty_like(points)
    moved[0] = turn[0, 0] * right + turn[0, 2] + shift[0] * inverse
    moved[1] = down
    moved[2] = turn[2, 0] * right + turn[2, 2] + shift[2] * inverse
    rests = (scene.rotation[here] == scene.rotation[there]).all((1, 2))
    rests &= (scene.translation[here] == scene.translation[there]).all(1)
    part = scene.surfaces.part[source.surface]
    chosen = np.flatnonzero(~rests[part])
    relative = scene.rotation[there] @ np.swapaxes(scene.rotation[here], 1, 2)
    shifts = np.einsum("nij,nj->ni", relative, camera.location(here) - scene.translation[here])
    shifts = (shifts + scene.translation[there] - camera.location(there)) @ to_other.T
    turns, part = to_other @ relative @ from_source.T, part[chosen]
    ray = np.stack([right[chosen], down[chosen], np.ones(len(chosen))], 1)
    turned = np.einsum("nij,nj->ni", turns[part], ray) + shifts[part] * inverse[chosen, None]
    moved[:, chosen] = turned.T
    return moved


def _unhidden(
    geometry: FrameGeometry, points: _Points, around: Int[np.ndarray, "4 points"]
) -> Flags:
    """Test each point against the surfaces seen at the four pixels around it."""
    visible = _faces_viewer(geometry, points)
    chosen = np.flatnonzero((around != points.own).any(0) & visible)
    around = around[:, chosen]
    # Sky and ground hide nothing.
    tested = (around != points.own[chosen]) & (around > GROUND)
    for corner in (1, 2, 3):
        tested[corner] &= (around[corner] != around[:corner]).all(0)
    index = chosen[np.nonzero(tested)[1]]
    candidates = _Points(around[tested], points.rays[index], points.inverse[index])
    visible[index[_hides(geometry, candidates)]] = False
    return visible


def _faces_viewer(geometry: FrameGeometry, points: _Points) -> Flags:
    """Return whether the side of its own surface that a point lies on faces the viewer."""
    num_planar = len(geometry.planes)
    result = geometry.facing[np.minimum(points.own, num_planar - 1)]
    balls = np.flatnonzero(points.own >= num_planar)
    index, rays, inverse = points.own[balls] - num_planar, points.rays[balls], points.inverse[balls]
    front = inverse * geometry.constant[index] >= row_dot(geometry.middle[index], rays)
    result[balls] = front & ~leaf_gaps(geometry, index, rays[:, 0], rays[:, 1], inverse)
    return result


def _hides(geometry: FrameGeometry, points: _Points) -> Flags:
    """Return whether the surface ``own`` covers the exact place of each point, nearer by."""
    limit, num_planar = points.inverse * (1 + 1e-6) + 1e-7, len(geometry.planes)
    result = np.zeros(len(points.own), bool)
    flat = np.flatnonzero(points.own < num_planar)
    plane = geometry.planes[points.own[flat]]
    flat = flat[row_dot(plane, points.rays[flat]) > limit[flat]]
    inside = np.einsum("nij,nj->in", geometry.edges[points.own[flat]], points.rays[flat]) >= 0
    result[flat] = inside.all(0)
    balls = np.flatnonzero(points.own >= num_planar)
    index, rays = points.own[balls] - num_planar, points.rays[balls]
    spread = row_dot(np.einsum("nij,nj->ni", geometry.spread[index], rays), rays)
    inverse = row_dot(geometry.middle[index], rays) + np.sqrt(np.maximum(spread, 0))
    inverse = inverse / geometry.constant[index]
    covered = (spread > 0) & (inverse > limit[balls])
    result[balls] = covered & ~leaf_gaps(geometry, index, rays[:, 0], rays[:, 1], inverse)
    return result


def render_clip(seed: int, config: ToyCityConfig = ToyCityConfig()) -> ToyCityClip:  # noqa: B008
    """Render the clip of a seed; the same seed and config give the same bytes everywhere.

    Raises ``ValueError`` for a seed that is no whole number from 0 to 2**63 - 1.
    """
    check_whole("the seed of a toy city", seed, 0, 2**63 - 1)
    return render_city(build_city(int(seed), config), int(seed), config)


def render_city(city: City, seed: int, config: ToyCityConfig) -> ToyCityClip:
    """Render all frames of a city that was already built."""
    camera = city.camera
    numbers = [camera.focal, camera.centre_x, camera.centre_y, camera.elevation]
    views = [rasterise(city.scene, camera, at) for at in range(config.num_frames + 1)]
    pictures, labels, instances = zip(*(shade(city, view) for view in views), strict=True)
    first, *later = views
    forward = [_correspond(city, first, view) for view in later]
    backward = [_correspond(city, view, first) for view in later]
    inverse = np.stack([view.inverse_depth for view in views])
    depth = np.divide(1.0, inverse, out=np.full_like(inverse, np.inf), where=inverse > 0)
    return ToyCityClip(
        frames=np.stack(pictures),
        label_maps=np.stack(labels),
        instance_maps=np.stack(instances),
        depth=depth.reshape(len(views), *labels[0].shape).astype(np.float32),
        forward_flow=np.stack([flow for flow, _ in forward]),
        backward_flow=np.stack([flow for flow, _ in backward]),
        forward_visible=np.stack([visible for _, visible in forward]),
        backward_visible=np.stack([visible for _, visible in backward]),
        ego_motion=camera.motion()[1:].astype(np.float32),
        camera=np.array(numbers, np.float32),
        frames_per_second=float(config.frames_per_second),
        seed=seed,
        description=dict(city.description),
    )
