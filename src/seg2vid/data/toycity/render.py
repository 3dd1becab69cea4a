"""Renders whole clips: pictures, labels, depth, flow, visibility and camera motion."""

import numpy as np

from seg2vid.data.toycity.config import ToyCityClip, ToyCityConfig
from seg2vid.data.toycity.rasteriser import nearest_surfaces, place_scene
from seg2vid.data.toycity.shading import City, RenderedFrame, shade_frame
from seg2vid.data.toycity.truth import Correspondence, FrameView, correspond
from seg2vid.data.toycity.world import build_city


def render_clip(seed: int, config: ToyCityConfig = ToyCityConfig()) -> ToyCityClip:
    """Render the clip of a seed; the same seed and config give the same bytes everywhere.

    Args:
        seed: integer from 0 to 2**63 - 1.
        config: picture size, clip length and frame rate.

    Raises:
        ValueError: if the seed is not a non-negative integer.
    """
    check_seed(seed)
    return render_city(build_city(int(seed), config), seed, config)


def check_seed(seed: int) -> None:
    """Raise a ValueError unless `seed` is an integer from 0 to 2**63 - 1."""
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**63:
        raise ValueError(
            f"toy city seed: expected an integer from 0 to 2**63 - 1, got {seed!r}; "
            "choose a non-negative whole number."
        )


def render_city(city: City, seed: int, config: ToyCityConfig) -> ToyCityClip:
    """Render all frames of a city that was already built."""
    rendered = [_render_frame(city, frame) for frame in range(config.num_frames + 1)]
    views = [FrameView(index, frame.geometry, frame.buffer) for index, frame in enumerate(rendered)]
    forward = [correspond(city.scene, city.camera, views[0], view) for view in views[1:]]
    backward = [correspond(city.scene, city.camera, view, views[0]) for view in views[1:]]
    return ToyCityClip(
        frames=np.stack([frame.picture for frame in rendered]),
        label_maps=np.stack([frame.labels for frame in rendered]),
        instance_maps=np.stack([frame.instances for frame in rendered]),
        depth=np.stack([_depth(frame) for frame in rendered]),
        forward_flow=_stack_flow(forward),
        backward_flow=_stack_flow(backward),
        forward_visible=np.stack([item.visible for item in forward]),
        backward_visible=np.stack([item.visible for item in backward]),
        ego_motion=city.camera.motion()[1:].astype(np.float32),
        frames_per_second=float(config.frames_per_second),
        seed=int(seed),
        description=dict(city.description),
    )


def _render_frame(city: City, frame: int) -> RenderedFrame:
    """Rasterise and shade one frame."""
    geometry = place_scene(city.scene, city.camera, frame)
    return shade_frame(city, geometry, nearest_surfaces(geometry, city.camera), frame)


def _depth(frame: RenderedFrame) -> np.ndarray:
    """Return metres along the optical axis, infinite where nothing was hit."""
    inverse = frame.buffer.inverse_depth
    depth = np.full(inverse.shape, np.inf, np.float32)
    hit = inverse > 0
    depth[hit] = 1.0 / inverse[hit]
    return depth.reshape(frame.labels.shape)


def _stack_flow(items: list[Correspondence]) -> np.ndarray:
    """Stack the flows of several frames."""
    return np.stack([item.flow for item in items])
