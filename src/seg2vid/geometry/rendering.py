"""A scene that moves: its flow alone, or all that its pixels become."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from seg2vid.geometry.moments import Indices, Moments, lay_out
from seg2vid.geometry.scene import MovedScene, Scene, surface_planes
from seg2vid.geometry.sources import find_sources, still_seen
from seg2vid.geometry.surroundings import dilate
from seg2vid.structures import Flows, Motion
from seg2vid.warp import pixel_grid

EDGE = 3
"""Pixels from an edge within which a surface counts as standing before what is beyond it."""
NEARER = 1.15
"""How many times nearer than that it is at least."""
WITHIN = 0.1
"""How far from its centre a pixel is read whose outline lies on another pixel."""
MOST_PIXELS = 2**19
"""Pixels of several times that are rendered together: more would only take memory."""


def scene_flow(scene: Scene) -> Flows:
    """Return the forward flow in pixels alone: where each pixel goes, seen or not.

    A small part of the work of ``move_scene``, and differentiable in the same things.
    """
    whole = lay_out(scene)
    batch, height, width = scene.inverse_depth.shape
    grid = pixel_grid(height, width, like=whole.rays).flatten(1)
    every = slice(None)
    moved = [whole.move(sample, every, whole.motion(sample, every)) for sample in range(batch)]
    places = torch.stack([place for place, _, _ in moved])
    flow = (_hold(places, width) - grid).masked_fill(whole.fixed[:, None, None], 0.0)
    return flow.unflatten(-1, (height, width))


def move_scene(scene: Scene) -> MovedScene:
    """Move a scene and render what its pixels become (z-buffer, surfaces of a pixel's size).

    Flow and inverse depth are differentiable in depth, camera, paths and residual; what is visible
    is not.
    """
    whole = lay_out(scene)
    batch, height, width = scene.inverse_depth.shape
    planes = surface_planes(scene.inverse_depth, scene.surfaces, scene.camera)
    count, together = scene.paths.camera.shape[1], max(1, MOST_PIXELS // (height * width))
    is_before = stands_before(scene).flatten(1)
    samples = []
    for sample in range(batch):
        parts = []
        for first in range(0, count, together):
            times = slice(first, min(first + together, count))
            moments = whole.moments(sample, times, planes, (height, width))
            flat = (whole.inverse_depth[sample], whole.fixed[sample], is_before[sample])
            parts.append(_render(moments, *flat, scene.detail))
        samples.append([torch.cat(part) for part in zip(*parts, strict=True)])
    forward, backward, seen, shown, distance, source, behind = (
        torch.stack(part).unflatten(-1, (height, width)) for part in zip(*samples, strict=True)
    )
    motion = Motion(forward, backward, seen.unsqueeze(2), shown.unsqueeze(2))
    return MovedScene(motion, distance, source, behind)


@torch.no_grad()
def stands_before(scene: Scene) -> Bool[Tensor, "batch height width"]:
    """Return what something else lies behind: objects, the near side of an upright edge, and what
    is as narrow as a pole, unless all beside it is nearer.
    """
    reach = EDGE * scene.detail
    farthest = -dilate(-scene.inverse_depth, 0, reach)
    is_edge = scene.inverse_depth > NEARER * farthest
    edges = F.pad(scene.surfaces.diff(dim=2) != 0, (reach + 1, reach)).cumsum(2)
    # Between a pixel and the next so many to its left, and to its right.
    ends = edges[..., reach:] > edges[..., :-reach]
    width = scene.surfaces.shape[2]
    is_narrow = ends[..., :width] & ends[..., reach : reach + width]
    return (scene.rows > 0) | is_edge | (is_narrow & (scene.inverse_depth > farthest))


def _render(
    moments: Moments,
    depth: Float[Tensor, " pixel"],
    fixed: Bool[Tensor, " pixel"],
    is_before: Bool[Tensor, " pixel"],
    detail: int,
) -> tuple[Tensor, ...]:
    """Return both flows, both visibilities, inverse depth and source of each moment."""
    grid, width, pixels = moments.grid, moments.width, moments.grid.shape[1]
    start = moments.start
    with torch.no_grad():
        source, behind, first, began = find_sources(moments, start, depth, is_before, detail)
        seen = still_seen(moments, start, source).view(-1, pixels) | fixed
    if torch.is_grad_enabled():
        landed, distance = moments.land(moments.rays, start + behind)
    else:
        # Most rays end where they first landed.
        other = (behind != first).nonzero().squeeze(1)
        rays = moments.rays.index_select(1, other)
        landed, distance = began
        landed[:, other], distance[other] = moments.land(rays, start[other] + behind[other])
    landed = _on_its_surface(moments, landed, source)
    own = torch.arange(pixels, device=grid.device)
    source = torch.where(fixed, own, source.view(-1, pixels))
    backward = _hold(landed, width).view(2, -1, pixels).transpose(0, 1) - grid
    forward = _hold(moments.place, width).view(2, -1, pixels).transpose(0, 1) - grid
    distance = torch.where(fixed, depth, distance.view(-1, pixels).clamp(min=0))
    still = fixed.expand_as(forward)
    return (
        forward.masked_fill(still, 0.0),
        backward.masked_fill(still, 0.0),
        seen.float(),
        (source >= 0).float(),
        distance,
        source,
        torch.where(fixed, own, behind.view(-1, pixels)),
    )


def _on_its_surface(
    moments: Moments, landed: Float[Tensor, "2 query"], source: Indices
) -> Float[Tensor, "2 query"]:
    """Move what landed within an outline, but on a pixel of another surface, to the own pixel."""
    x, y = landed.detach().round().long()
    x, y = x.clamp_(0, moments.width - 1), y.clamp_(0, moments.height - 1)
    surface = moments.surfaces.index_select(0, source.clamp(min=0))
    is_beside = moments.surfaces.index_select(0, y.mul_(moments.width).add_(x)) != surface
    beside = (is_beside & (source >= 0)).nonzero().squeeze(1)
    own = moments.grid.index_select(1, source[beside])
    off = landed.index_select(1, beside) - own
    return landed.index_copy(1, beside, own + off.clamp(-WITHIN, WITHIN))


def _hold(place: Float[Tensor, "*rest 2 pixel"], width: int) -> Float[Tensor, "*rest 2 pixel"]:
    """Keep whatever is beside the camera or behind it at some distance from the picture."""
    return place.clamp(-2.0 * width, 3.0 * width)
