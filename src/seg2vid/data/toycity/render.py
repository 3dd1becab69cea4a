"""Renders whole clips: pictures, labels, depth, flow, visibility and camera motion."""

import numpy as np

from seg2vid.data.toycity.config import ToyCityClip, ToyCityConfig, check_whole
from seg2vid.data.toycity.rasteriser import nearest_surfaces, place_scene
from seg2vid.data.toycity.shading import City, ShadedFrame, shade_frame
from seg2vid.data.toycity.truth import FrameView, correspond
from seg2vid.data.toycity.world import build_city


def render_clip(seed: int, config: ToyCityConfig = ToyCityConfig()) -> ToyCityClip:  # noqa: B008
    """Render the clip of a seed; the same seed and config give the same bytes everywhere.

    Args:
        seed: integer from 0 to 2**63 - 1.
        config: picture size, clip length and frame rate.

    Raises:
        ValueError: if the seed is not a non-negative integer.
    """
    check_whole("the seed of a toy city", seed, 0, 2**63 - 1)
    return render_city(build_city(int(seed), config), int(seed), config)


def render_city(city: City, seed: int, config: ToyCityConfig) -> ToyCityClip:
    """Render all frames of a city that was already built."""
    shaded: list[ShadedFrame] = []
    views: list[FrameView] = []
    for frame in range(config.num_frames + 1):
        geometry = place_scene(city.scene, city.camera, frame)
        buffer = nearest_surfaces(geometry, city.camera)
        shaded.append(shade_frame(city, geometry, buffer, frame))
        views.append(FrameView(frame, geometry, buffer))
    first, later = views[0], views[1:]
    forward = [correspond(city.scene, city.camera, first, view) for view in later]
    backward = [correspond(city.scene, city.camera, view, first) for view in later]
    inverse = np.stack([view.buffer.inverse_depth for view in views])
    depth = np.divide(1.0, inverse, out=np.full_like(inverse, np.inf), where=inverse > 0)
    labels = np.stack([frame.labels for frame in shaded])
    return ToyCityClip(
        frames=np.stack([frame.picture for frame in shaded]),
        label_maps=labels,
        instance_maps=np.stack([frame.instances for frame in shaded]),
        depth=depth.reshape(labels.shape).astype(np.float32),
        forward_flow=np.stack([item.flow for item in forward]),
        backward_flow=np.stack([item.flow for item in backward]),
        forward_visible=np.stack([item.visible for item in forward]),
        backward_visible=np.stack([item.visible for item in backward]),
        ego_motion=city.camera.motion()[1:].astype(np.float32),
        frames_per_second=float(config.frames_per_second),
        seed=seed,
        description=dict(city.description),
    )
