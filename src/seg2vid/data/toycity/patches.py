"""Shadows and pools of lamp light on the ground."""

import numpy as np
from jaxtyping import Float, Float32

from seg2vid.data.toycity.camera import ToyCamera
from seg2vid.data.toycity.rasteriser import cross, polygon_spans, row_dot
from seg2vid.data.toycity.scene import Scene

_SIGNS = np.array([[1, -1, -1], [1, 1, -1], [1, 1, 1], [1, -1, 1]])


def patch_light(scene: Scene, camera: ToyCamera, frame: int) -> Float32[np.ndarray, "2 pixels"]:
    """Return shadow (-1 to 0) and lamp light (from 0) of all patches, as if nothing hid them."""
    light = np.zeros((2, camera.height * camera.width), np.float32)
    patches, part = scene.patches, scene.patches.part
    to_camera = camera.rotation(frame)
    rotation = (to_camera @ scene.rotation[frame])[part][:, [0, 2]][:, :, [0, 2]]
    offset = (scene.translation[frame] - camera.location(frame)) @ to_camera.T
    shape = np.einsum("nij,nkj->nki", rotation, patches.shape)
    shape[:, 0] += offset[part][:, [0, 2]]
    corners = np.insert(np.einsum("ck,nki->nci", _SIGNS, shape), 1, camera.elevation, 2)
    near = np.flatnonzero((corners[..., 2].max(1) > 0.3) & (corners[..., 2].min(1) < 90.0))
    corners = corners[near]
    edges = cross(corners, corners[:, [1, 2, 3, 0]])
    edges *= np.sign(row_dot(edges[:, 0], corners[:, 2]))[:, None, None]
    edges[..., 2] += 1e-12
    spans = polygon_spans(corners, edges, camera)
    span, pixel = spans.samples(camera)
    patch = near[spans.shape][span]
    slope = np.maximum((spans.row - camera.centre_y) / camera.focal, 1e-6)
    depth = (camera.elevation / slope)[span]
    column = pixel - (spans.row * camera.width)[span]
    aside = (column - camera.centre_x) / camera.focal * depth
    place = _solve(np.stack([aside, depth], 1), shape[patch])
    value = patches.strength[patch] * _softness(place, patches.softness[patch])
    np.minimum.at(light[0], pixel, value)
    np.maximum.at(light[1], pixel, value)
    return light


def _solve(
    place: Float[np.ndarray, "samples 2"], shape: Float[np.ndarray, "samples 3 2"]
) -> Float[np.ndarray, "samples 2"]:
    """Express ``place`` in half axes from the centre of its patch."""
    x, z = (place - shape[:, 0]).T
    first, second = shape[:, 1].T, shape[:, 2].T
    area = first[0] * second[1] - first[1] * second[0]
    u = (x * second[1] - z * second[0]) / area
    return np.stack([u, (first[0] * z - first[1] * x) / area], 1)


def _softness(
    place: Float[np.ndarray, "samples 2"], softness: Float[np.ndarray, " samples"]
) -> Float32[np.ndarray, " samples"]:
    """Return 1 in the middle of a patch, 0 at its border; softness 2 makes it round."""
    border = 1.0 - np.maximum(np.abs(place[:, 0]), np.abs(place[:, 1]))
    square = np.clip(border / np.maximum(softness, 0.02), 0, 1)
    circle = np.sqrt(np.clip(1.0 - row_dot(place, place), 0, 1))
    return np.where(softness > 1.5, circle, square).astype(np.float32)
