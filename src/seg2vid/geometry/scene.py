"""A first frame as a scene: its camera, its surfaces as planes, and a finer grid of it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.structures import Camera, Carrier, Flows, InverseDepth, Labels, Motion, ScenePaths
from seg2vid.warp import pixel_grid

Rays = Float[Tensor, "batch 3 pixel"]
Planes = Float[Tensor, "batch 3 pixel"]
STEEPEST = 0.5
"""Share of its inverse depth by which a plane may change over one pixel; beyond is an edge."""


@dataclass(frozen=True)
class Scene(Carrier):
    """A first frame as a scene, and how it moves."""

    inverse_depth: InverseDepth
    """In 1/m, 0 or more."""
    rows: Labels
    """Number of each pixel's object in ``paths``, 0 for the ground and all that rests on it."""
    surfaces: Labels
    """Ids that no surface crosses: classes and instances."""
    camera: Camera
    paths: ScenePaths
    fixed: Bool[Tensor, "batch height width"] | None = None
    """What goes with the camera: the own car's bonnet."""
    residual: Flows | None = None
    """What pixels of the first frame move besides, in pixels; it should vary slowly."""
    detail: int = 1
    """How many times finer this grid is than that on which depth was seen: so wide are cracks."""
    owners: Int[Tensor, "batch tall wide"] | None = None
    """Outlines of surfaces, see ``find_owners``: made anew at each rendering if not given."""


@dataclass(frozen=True)
class MovedScene(Carrier):
    """What a moved scene shows at every time; flow and visibility agree by construction."""

    motion: Motion
    inverse_depth: Float[Tensor, "batch time height width"]
    """Of frame t, in 1/m; where nothing of the first frame is seen, of what lies behind."""
    source: Int[Tensor, "batch time height width"]
    """Row-major index of the pixel of the first frame that is shown, -1 where none is."""
    behind: Int[Tensor, "batch time height width"]
    """The same, but where nothing is seen, of the surface that lies behind."""


def rays_of(camera: Camera, height: int, width: int) -> Rays:
    """Return (x/z, y/z, 1) of every pixel centre, row after row."""
    grid = pixel_grid(height, width, like=camera.centre).flatten(1)
    slopes = (grid - camera.centre.unsqueeze(-1)) / camera.focal_length[:, None, None]
    return torch.cat((slopes, torch.ones_like(slopes[:, :1])), 1)


def project(points: Rays, camera: Camera) -> Float[Tensor, "batch 2 pixel"]:
    """Return the pixel coordinates (x, y) of points before the camera, in any scale."""
    slopes = points[:, :2] / points[:, 2:]
    return slopes * camera.focal_length[:, None, None] + camera.centre.unsqueeze(-1)


def surface_planes(inverse_depth: InverseDepth, surfaces: Labels, camera: Camera) -> Planes:
    """Return n of every pixel's plane: its inverse depth is n · (x/z, y/z, 1), exact on planes.

    ``surfaces`` holds ids that no plane crosses (classes, instances). Of the two neighbours along
    an axis the one with the smaller step of inverse depth counts, so that no plane spans an edge.
    """
    slopes = []
    for axis in (2, 1):
        step = inverse_depth.diff(dim=axis)
        step = torch.where(surfaces.diff(dim=axis) == 0, step, torch.inf)
        beyond = torch.full_like(step.narrow(axis, 0, 1), torch.inf)
        before, after = torch.cat((beyond, step), axis), torch.cat((step, beyond), axis)
        is_before = before.abs() <= after.abs()
        near, far = torch.where(is_before, before, after), torch.where(is_before, after, before)
        # Where both sides agree the surface goes on there: their mean halves the noise.
        agree = (near * far > 0) & (far.abs() < 1.25 * near.abs())
        slope = torch.where(agree, (near + far.where(agree, 0)) / 2, near)
        is_edge = ~(slope.abs() <= STEEPEST * inverse_depth)
        slopes.append(slope.masked_fill(is_edge, 0).flatten(1))
    slope = torch.stack(slopes, 1) * camera.focal_length[:, None, None]
    rays = rays_of(camera, *inverse_depth.shape[1:])
    constant = inverse_depth.flatten(1) - (slope * rays[:, :2]).sum(1)
    return torch.cat((slope, constant.unsqueeze(1)), 1)


def enlarge_scene(scene: Scene, rows: Labels, surfaces: Labels) -> Scene:
    """Return a scene on a grid that is finer by a whole factor, with edges where that has them.

    ``rows`` and ``surfaces`` are those of the finer grid, what is fixed has to be said anew. Depth
    is interpolated (cubic B-spline) between pixels of the same surface.
    """
    height, width = rows.shape[1:]
    coarse, factor = scene.inverse_depth, width // scene.rows.shape[2]
    spline = []
    for size in (height, width):
        place = (torch.arange(size, device=rows.device) + 0.5) / factor - 0.5
        base = place.floor()
        t = (place - base).unsqueeze(1)
        weight = torch.cat(
            ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * t * (1 + t - t**2) + 1, t**3), 1
        )
        index = base.long().unsqueeze(1) + torch.arange(-1, 3, device=rows.device)
        spline.append((index.clamp(0, size // factor - 1), weight / 6))
    (down, tall), (right, wide) = spline
    total = torch.zeros_like(rows, dtype=coarse.dtype)
    share, around = torch.zeros_like(total), torch.zeros_like(total)
    for i in range(4):
        for j in range(4):
            row, column = down[:, i, None], right[None, :, j]
            weight, depth = tall[:, i, None] * wide[None, :, j], coarse[:, row, column]
            own = weight * (scene.surfaces[:, row, column] == surfaces)
            total, share, around = total + own * depth, share + own, around + weight * depth
    # What has no pixel of its own surface around is read across the edge.
    depth = torch.where(share > 0, total / share.clamp(min=1e-9), around)
    centre = (scene.camera.centre + 0.5) * factor - 0.5
    residual = scene.residual
    if residual is not None:
        fine = F.interpolate(
            residual.flatten(0, 1), (height, width), mode="bilinear", align_corners=False
        )
        residual = factor * fine.unflatten(0, residual.shape[:2])
    return Scene(
        depth,
        rows,
        surfaces,
        Camera(scene.camera.focal_length * factor, centre),
        scene.paths,
        None,
        residual,
        factor * scene.detail,
    )
