"""Shadows and pools of lamp light on the ground."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from seg2vid.data.toycity.camera import ToyCamera
from seg2vid.data.toycity.rasteriser import (
    FrameGeometry,
    cross,
    expand_spans,
    polygon_spans,
    row_dot,
)
from seg2vid.data.toycity.scene import Scene


@dataclass(frozen=True)
class PatchLight:
    """What ground patches do to the light of each pixel."""

    shadow: Float32[np.ndarray, " pixels"]
    """-1 = dark, 0 = no shadow."""
    glow: Float32[np.ndarray, " pixels"]
    """Lamp light, 0 = none."""


def patch_light(scene: Scene, geometry: FrameGeometry, camera: ToyCamera, frame: int) -> PatchLight:
    """Return the shadows and lamp light of all ground patches, as if no object hid them."""
    size = camera.height * camera.width
    light = PatchLight(np.zeros(size, np.float32), np.zeros(size, np.float32))
    patches = scene.patches
    if not len(patches.part):
        return light
    to_camera = camera.rotation(frame)
    rotation = to_camera @ scene.poses.rotation[frame]
    offset = (scene.poses.translation[frame] - camera.location(frame)) @ to_camera.T
    flat = rotation[patches.part][:, [0, 2]][:, :, [0, 2]]
    centre = np.einsum("nij,nj->ni", flat, patches.centre) + offset[patches.part][:, [0, 2]]
    first = np.einsum("nij,nj->ni", flat, patches.first_axis)
    second = np.einsum("nij,nj->ni", flat, patches.second_axis)
    corners = np.empty((len(centre), 4, 3))
    corners[..., 1] = camera.elevation
    for index, (a, b) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
        corners[:, index, 0] = centre[:, 0] + a * first[:, 0] + b * second[:, 0]
        corners[:, index, 2] = centre[:, 1] + a * first[:, 1] + b * second[:, 1]
    near = (corners[..., 2].max(1) > 0.3) & (corners[..., 2].min(1) < 90.0)
    corners = corners[near]
    edges = cross(corners, corners[:, [1, 2, 3, 0]])
    edges *= np.sign(row_dot(edges[:, 0], corners[:, 2]))[:, None, None]
    edges[..., 2] += 1e-12
    spans = polygon_spans(corners, edges, camera)
    samples = expand_spans(spans, camera)
    patch = np.flatnonzero(near)[spans.shape]
    slope = (spans.row - camera.centre_y) / camera.focal
    depth = (camera.elevation / np.maximum(slope, 1e-6))[samples.span]
    column = samples.pixel - (spans.row * camera.width)[samples.span]
    aside = (column - camera.centre_x) / camera.focal * depth
    patch = patch[samples.span]
    place = np.stack([aside, depth], 1) - centre[patch]
    value = patches.strength[patch] * _softness(
        _solve(place, first[patch], second[patch]), patches.softness[patch]
    )
    np.minimum.at(light.shadow, samples.pixel, value)
    np.maximum.at(light.glow, samples.pixel, value)
    return light


def _solve(
    place: Float[np.ndarray, "samples 2"],
    first: Float[np.ndarray, "samples 2"],
    second: Float[np.ndarray, "samples 2"],
) -> Float[np.ndarray, "samples 2"]:
    """Express `place` in the basis (first, second)."""
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    u = (place[:, 0] * second[:, 1] - place[:, 1] * second[:, 0]) / area
    v = (first[:, 0] * place[:, 1] - first[:, 1] * place[:, 0]) / area
    return np.stack([u, v], 1)


def _softness(
    place: Float[np.ndarray, "samples 2"], softness: Float[np.ndarray, " samples"]
) -> Float32[np.ndarray, " samples"]:
    """Return 1 in the middle of a patch, 0 at its border; softness 2 makes it round."""
    border = 1.0 - np.maximum(np.abs(place[:, 0]), np.abs(place[:, 1]))
    square = np.clip(border / np.maximum(softness, 0.02), 0, 1)
    circle = np.clip(1.0 - row_dot(place, place), 0, 1)
    return np.where(softness > 1.5, np.sqrt(circle), square).astype(np.float32)
