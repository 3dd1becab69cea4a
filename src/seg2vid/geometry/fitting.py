"""The paths of objects that explain a flow."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seg2vid.geometry.scene import Scene, rays_of
from seg2vid.structures import Flows, Masks
from seg2vid.warp import pixel_grid

DIRECTION = 0.004
"""Radians by which the direction of a point is usually wrong: a pixel."""
OBJECT_WAY = (5.0, 5.0, 0.1)
"""Metres ahead and aside, and radians, that an object usually goes."""
SEEN = 4
"""Pixels of an object that have to be seen to say how it moved."""


def fit_objects(
    flow: Flows, visible: Masks, scene: Scene
) -> tuple[Float[Tensor, "batch object time 3"], Bool[Tensor, "batch object time"]]:
    """Return the paths of objects that explain a forward flow, and at which times each is seen.

    ``flow`` is in pixels, paths are in metres and radians as in ``ScenePaths``. Times follow one
    another from the first; of ``scene`` all counts but its objects' paths and the
    residual. Least squares of the directions in which points are seen, with turns taken for small.
    While an object is not seen it keeps its mean velocity.
    """
    height, width = scene.rows.shape[1:]
    paths, count = scene.paths, scene.paths.objects.shape[1]
    grid = pixel_grid(height, width, like=flow).flatten(1)
    rays, camera = rays_of(scene.camera, height, width), scene.camera
    found, seen = [], []
    for sample, rows in enumerate(scene.rows.flatten(1)):
        pixels = (rows > 0).nonzero().squeeze(1)
        row, depth = rows[pixels] - 1, scene.inverse_depth[sample].flatten()[pixels]
        place = grid[:, pixels] + flow[sample].flatten(2)[..., pixels]
        slopes = (place - camera.centre[sample].unsqueeze(1)) / camera.focal_length[sample]
        x, y = slopes.unbind(1)
        forward, rightward, yaw, pitch = paths.camera[sample].unsqueeze(1).unbind(-1)
        # The direction in the axes of the first camera.
        y, z = pitch.cos() * y - pitch.sin(), pitch.sin() * y + pitch.cos()
        x, z = yaw.cos() * x + yaw.sin() * z, yaw.cos() * z - yaw.sin() * x
        # Scaled by inverse depth: the point from its pivot, and from the camera if it had stood.
        start = rays[sample][:, pixels]
        away, aside = start[[2, 0]] - paths.pivots[sample, row].t() * depth
        stood_x, stood_z = start[0] - depth * rightward, start[2] - depth * forward
        # What its way ahead, its way aside and its turn change across and down.
        across = torch.stack((-depth * x, depth * z, away * z + aside * x))
        down = torch.stack((-depth * y, torch.zeros_like(y), aside * y))
        missing = torch.stack((stood_z * x - stood_x * z, stood_z * y - start[1] * z))
        equations = torch.stack((across, down), 1)
        weight = visible[sample].flatten(1)[:, pixels]
        both = torch.cat((equations, missing.unsqueeze(0)))
        squares = torch.einsum("aetn,betn,tn->ntab", both, both, weight)
        total = squares.new_zeros(count, *squares.shape[1:]).index_add(0, row, squares)
        usual = (DIRECTION / total.new_tensor(OBJECT_WAY)).square().diag()
        solved = torch.linalg.solve(total[..., :3, :3] + usual, total[..., :3, 3])
        pixels_seen = solved.new_zeros(count, len(weight)).index_add(0, row, weight.t())
        seen.append(pixels_seen >= SEEN)
        found.append(_keep_pace(solved, seen[-1]))
    return torch.stack(found), torch.stack(seen)


def _keep_pace(
    path: Float[Tensor, "object time 3"], is_seen: Bool[Tensor, "object time"]
) -> Float[Tensor, "object time 3"]:
    """Let what is not seen move on at the mean velocity up to the last time seen, else the next."""
    time = torch.arange(path.shape[1], device=path.device)
    last = torch.where(is_seen, time, -1).cummax(1).values
    known = torch.where(last < 0, is_seen.long().argmax(1, keepdim=True), last)
    share = (time + 1) / (known + 1)
    return path.gather(1, known.unsqueeze(-1).expand_as(path)) * share.unsqueeze(-1)
