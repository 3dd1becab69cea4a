"""Exact flow and visibility between the first frame and another one."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from seg2vid.data.toycity.camera import ToyCamera
from seg2vid.data.toycity.rasteriser import FrameGeometry, SurfaceBuffer, leaf_gaps, row_dot
from seg2vid.data.toycity.scene import BONNET, FIRST_QUAD, Scene

_TOLERANCE = 1e-6


@dataclass(frozen=True)
class FrameView:
    """One rasterised frame: its index, geometry and surface buffer."""

    frame: int
    geometry: FrameGeometry
    buffer: SurfaceBuffer


@dataclass(frozen=True)
class Correspondence:
    """Where the pixels of one frame are in another, and whether they are seen there."""

    flow: Float32[np.ndarray, "2 height width"]
    """Pixels (dx, dy)."""
    visible: Bool[np.ndarray, "height width"]
    """True where the same surface point is in view and not hidden."""


def correspond(
    scene: Scene, camera: ToyCamera, source: FrameView, other: FrameView
) -> Correspondence:
    """Return exact flow and visibility from the pixels of `source` to frame `other`."""
    shape = (camera.height, camera.width)
    slopes = camera.slopes()
    right = np.tile(slopes[0], camera.height)
    down = np.repeat(slopes[1], camera.width)
    inverse = source.buffer.inverse_depth
    moved = _move_rays(scene, camera, source, other, np.stack([right, down, inverse]))
    safe = np.maximum(moved[2], 1e-3)
    there_right, there_down = moved[0] / safe, moved[1] / safe
    there_inverse = inverse / safe
    static = source.buffer.surface == BONNET
    there_right[static], there_down[static] = right[static], down[static]
    flow = np.stack([there_right - right, there_down - down]) * camera.focal
    limit = 2.0 * camera.width
    flow = np.nan_to_num(flow.clip(-limit, limit))
    column = there_right * camera.focal + camera.centre_x
    row = there_down * camera.focal + camera.centre_y
    inside = (moved[2] > 1e-3) & (column >= 0) & (column <= camera.width - 1)
    inside &= (row >= 0) & (row <= camera.height - 1)
    seen = np.flatnonzero(inside)
    query = _Query(
        there_right[seen], there_down[seen], there_inverse[seen], column[seen], row[seen]
    )
    visible = static.copy()
    visible[seen] |= _unhidden(camera, other, source.buffer.surface[seen], query)
    return Correspondence(flow.reshape(2, *shape).astype(np.float32), visible.reshape(shape))


@dataclass(frozen=True)
class _Query:
    """Surface points as seen from another frame."""

    right: Float[np.ndarray, " points"]
    down: Float[np.ndarray, " points"]
    inverse: Float[np.ndarray, " points"]
    column: Float[np.ndarray, " points"]
    row: Float[np.ndarray, " points"]


def _move_rays(
    scene: Scene,
    camera: ToyCamera,
    source: FrameView,
    other: FrameView,
    points: Float[np.ndarray, "3 pixels"],
) -> Float[np.ndarray, "3 pixels"]:
    """Move points, given as (right, down, 1) with inverse depth, to the other camera.

    The result is scaled by the inverse depth of the source, so the sky needs no infinity.
    """
    right, down, inverse = points
    from_source, to_other = camera.rotation(source.frame), camera.rotation(other.frame)
    shift = to_other @ (camera.location(source.frame) - camera.location(other.frame))
    turn = to_other @ from_source.T
    if source.frame == other.frame or np.array_equal(from_source, to_other):
        turn = np.eye(3)
    moved = np.stack(
        [
            turn[0, 0] * right + turn[0, 2] + shift[0] * inverse,
            down + shift[1] * inverse,
            turn[2, 0] * right + turn[2, 2] + shift[2] * inverse,
        ]
    )
    part = scene.surfaces.part[source.buffer.surface]
    chosen = np.flatnonzero(part)
    if not len(chosen):
        return moved
    poses, here, there = scene.poses, source.frame, other.frame
    relative = poses.rotation[there] @ np.swapaxes(poses.rotation[here], 1, 2)
    still = (poses.rotation[there] == poses.rotation[here]).all((1, 2))
    relative[still] = np.eye(3)
    turns = to_other @ relative @ from_source.T
    lever = camera.location(here) - poses.translation[here]
    shifts = np.einsum("nij,nj->ni", relative, lever)
    shifts += poses.translation[there] - camera.location(there)
    shifts = shifts @ to_other.T
    pick = part[chosen]
    ray = np.stack([right[chosen], down[chosen], np.ones(len(chosen))], 1)
    turned = np.einsum("nij,nj->ni", turns[pick], ray) + shifts[pick] * inverse[chosen, None]
    moved[:, chosen] = turned.T
    parked = still & (poses.translation[there] == poses.translation[here]).all(1)
    if np.array_equal(turn, np.eye(3)) and not shift.any():
        resting = chosen[parked[pick]]
        moved[:, resting] = np.stack([right[resting], down[resting], np.ones(len(resting))])
    return moved


def _unhidden(
    camera: ToyCamera, other: FrameView, own: Int[np.ndarray, " points"], query: _Query
) -> Bool[np.ndarray, " points"]:
    """Test each point against the surfaces seen at the four pixels around it."""
    column = np.minimum(query.column.astype(np.int64), camera.width - 2)
    row = np.minimum(query.row.astype(np.int64), camera.height - 2)
    corner = row * camera.width + column
    surface = other.buffer.surface
    around = [surface[corner + step] for step in (0, 1, camera.width, camera.width + 1)]
    visible = _faces_viewer(other.geometry, own, query)
    pending = np.zeros(len(own), bool)
    for candidate in around:
        pending |= candidate != own
    chosen = np.flatnonzero(pending & visible)
    for index, candidate in enumerate(around):
        blocker = candidate[chosen]
        fresh = blocker != own[chosen]
        for earlier in around[:index]:
            fresh &= blocker != earlier[chosen]
        tested = chosen[fresh]
        visible[tested[_hides(other.geometry, candidate[tested], query, tested)]] = False
    return visible


def _faces_viewer(
    geometry: FrameGeometry, own: Int[np.ndarray, " points"], query: _Query
) -> Bool[np.ndarray, " points"]:
    """Return whether the side of its own surface that a point lies on faces the viewer."""
    num_planar = len(geometry.planes)
    facing = np.zeros(num_planar, bool)
    facing[geometry.facing + FIRST_QUAD] = True
    facing[:FIRST_QUAD] = True
    result = np.ones(len(own), bool)
    planar = own < num_planar
    result[planar] = facing[own[planar]]
    balls = np.flatnonzero(~planar)
    index = own[balls] - num_planar
    middle = geometry.middle[index]
    linear = middle[:, 0] * query.right[balls] + middle[:, 1] * query.down[balls] + middle[:, 2]
    result[balls] = query.inverse[balls] * geometry.constant[index] >= linear
    result[balls] &= ~leaf_gaps(
        geometry,
        index,
        query.right[balls],
        query.down[balls],
        np.maximum(query.inverse[balls], 1e-6),
    )
    return result


def _hides(
    geometry: FrameGeometry,
    blocker: Int[np.ndarray, " tested"],
    query: _Query,
    tested: Int[np.ndarray, " tested"],
) -> Bool[np.ndarray, " tested"]:
    """Return whether `blocker` covers the exact place of each tested point, nearer by."""
    right, down = query.right[tested], query.down[tested]
    limit = query.inverse[tested] * (1 + _TOLERANCE) + 1e-7
    num_planar = len(geometry.planes)
    result = np.zeros(len(blocker), bool)
    flat = np.flatnonzero(blocker < num_planar)
    plane, edges = geometry.planes[blocker[flat]], geometry.edges[blocker[flat]]
    a, b = right[flat], down[flat]
    nearer = plane[:, 0] * a + plane[:, 1] * b + plane[:, 2] > limit[flat]
    inside = edges[..., 0] * a[:, None] + edges[..., 1] * b[:, None] + edges[..., 2] >= 0
    inside = inside[:, 0] & inside[:, 1] & inside[:, 2] & inside[:, 3]
    result[flat] = nearer & inside
    balls = np.flatnonzero(blocker >= num_planar)
    index = blocker[balls] - num_planar
    ray = np.stack([right[balls], down[balls], np.ones(len(balls))], 1)
    middle = row_dot(geometry.middle[index], ray)
    spread = row_dot(np.einsum("nij,nj->ni", geometry.spread[index], ray), ray)
    inverse = (middle + np.sqrt(np.maximum(spread, 0))) / geometry.constant[index]
    covered = (spread > 0) & (inverse > limit[balls])
    inverse = np.maximum(inverse, 1e-6)
    result[balls] = covered & ~leaf_gaps(geometry, index, right[balls], down[balls], inverse)
    return result
