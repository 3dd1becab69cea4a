"""Points of a scene: lifted from what was painted, moved, and placed in later frames."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.geometry.moments import FOOTPRINT, LOW_WORD, NEAREST, Indices, depth_key
from seg2vid.geometry.paths import rigid_motion
from seg2vid.geometry.scene import MovedScene, Scene, project, rays_of
from seg2vid.geometry.sources import AROUND, pixels_within
from seg2vid.structures import Camera, Carrier
from seg2vid.warp import pixel_grid

FARTHEST = 6
"""Pixels from its place, at most, to which a point that has come near is shown."""


@dataclass(frozen=True)
class Points(Carrier):
    """Points of a scene that no pixel of its first frame shows."""

    place: Float[Tensor, "4 point"]
    """(x, y, z, inverse depth) in any scale, in the axes of the first camera: see ``Scene``."""
    rows: Int[Tensor, " point"]
    """What each goes with, as in ``Scene``."""


def lift_points(scene: Scene, moved: MovedScene, time: int, pixels: Indices) -> Points:
    """Return pixels of a moved scene's frame as points: what is painted where nothing was seen.

    They lie on the surfaces behind. Of the batch, which is one sample, the given time counts.
    """
    height, width = scene.inverse_depth.shape[1:]
    rows = scene.rows.flatten()[moved.behind[0, time].flatten()[pixels]]
    depth = moved.inverse_depth[0, time].flatten()[pixels]
    x, y, z = rays_of(scene.camera, height, width)[0].index_select(1, pixels)
    cosine, sine, right, ahead, pitch = _rigid(scene, rows, time)
    y, z = pitch.cos() * y - pitch.sin() * z, pitch.sin() * y + pitch.cos() * z
    x, z = x - right * depth, z - ahead * depth
    return Points(torch.stack((cosine * x - sine * z, y, sine * x + cosine * z, depth)), rows)


def move_points(
    scene: Scene, points: Points, time: int
) -> tuple[Int[Tensor, "height width"], Float[Tensor, "2 height width"]]:
    """Return the nearest point at or beside each pixel of a time, -1 where none is, and how far the
    pixel lies from its place, in pixels of the frame that the point was lifted from.
    """
    height, width = scene.inverse_depth.shape[1:]
    x, y, z, depth = points.place
    cosine, sine, right, ahead, pitch = _rigid(scene, points.rows, time)
    x, z = cosine * x + sine * z + right * depth, cosine * z - sine * x + ahead * depth
    y, z = pitch.cos() * y + pitch.sin() * z, pitch.cos() * z - pitch.sin() * y
    is_before, z = z > NEAREST, z.clamp(min=NEAREST)
    place = project(torch.stack((x, y, z))[None], scene.camera)[0]
    # From a point at distance 1 to one at z the picture has grown by 1 / z, and a point with it: or
    # else what is farther away would show between points that have come near.
    half = (FOOTPRINT / z).clamp(0.5, FARTHEST)
    before = is_before.nonzero().squeeze(1)
    which, target = pixels_within(place[:, before], half[before].expand(2, -1), height, width)
    key = depth_key((depth / z)[before], before)[which]
    buffer = torch.full((height * width,), -1, device=before.device)
    buffer = buffer.scatter_reduce(0, target, key, "amax").view(height, width)
    # Where a surface's depth is uneven its points go apart by a pixel more.
    padded = F.pad(buffer, (1, 1, 1, 1), value=-1)
    near = torch.stack([padded[1 + r :, 1 + c :][:height, :width] for r, c in AROUND]).amax(0)
    buffer = torch.where(buffer < 0, near, buffer)
    found = torch.where(buffer < 0, buffer, buffer & LOW_WORD)
    here = found.clamp(min=0)
    grid = pixel_grid(height, width, like=place)
    offset = (grid - place[:, here]) * z[here]
    return found, offset


def place_points(
    points: Float[Tensor, "4 point"],
    pivots: Float[Tensor, "point 2"],
    ways: Float[Tensor, "point time 7"],
    camera: Camera,
) -> tuple[Float[Tensor, "2 time point"], Bool[Tensor, "time point"]]:
    """Return the pixel coordinates (x, y) of points as objects and camera go their ways.

    ``points`` are (x/z, y/z, 1, inverse depth) in the first camera, of one sample; ``ways`` the
    camera's (forward, rightward, yaw, pitch), then the object's (forward, rightward, turn), as in
    ``ScenePaths``. Also returns whether each is before the camera.
    """
    x, y, z, depth = points
    forward, rightward, yaw, pitch, along, beside, turn = ways.permute(2, 1, 0)
    ahead, aside = pivots.t() * depth
    sine, cosine = turn.sin(), turn.cos()
    right = cosine * (x - aside) + sine * (z - ahead) + aside + depth * (beside - rightward)
    away = cosine * (z - ahead) - sine * (x - aside) + ahead + depth * (along - forward)
    sine, cosine = yaw.sin(), yaw.cos()
    right, away = cosine * right - sine * away, cosine * away + sine * right
    up, level = pitch.sin(), pitch.cos()
    down, away = level * y + up * away, level * away - up * y
    slopes = torch.stack((right, down)) / away.clamp(min=NEAREST)
    place = slopes * camera.focal_length[0] + camera.centre[0].view(2, 1, 1)
    return place, away > NEAREST


def _rigid(scene: Scene, rows: Indices, time: int) -> tuple[Tensor, ...]:
    """Return cosine, sine and shift of each row at a time of the first sample, and the pitch."""
    rigid = rigid_motion(scene.paths)
    parts = (rigid.cosine, rigid.sine, rigid.rightward, rigid.forward)
    return *(part[0, rows, time] for part in parts), rigid.pitch[0, time]
