"""How camera and objects go: joined rigid motions, and ways from rates and back."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from seg2vid.structures import Carrier, ScenePaths

PerRow = Float[Tensor, "batch row time"]
Rates = Float[Tensor, "*rest step unit"]


@dataclass(frozen=True)
class RigidMotion(Carrier):
    """How the points of each row move: x' = A x + b with A a turn about the vertical."""

    cosine: PerRow
    sine: PerRow
    rightward: PerRow
    """Of b, in metres."""
    forward: PerRow
    """Of b, in metres."""
    pitch: Float[Tensor, "batch time"]
    """Radians by which the camera then looks up; the same for all rows."""


def rigid_motion(paths: ScenePaths) -> RigidMotion:
    """Join camera and objects: row 0 rests on the ground, row i is object i of ``paths``.

    An object turns about its pivot and is carried along; then the camera leaves its place and
    turns.
    """
    forward, rightward, yaw, pitch = paths.camera.unsqueeze(1).unbind(-1)
    along, aside, turn = F.pad(paths.objects, (0, 0, 0, 0, 1, 0)).unbind(-1)
    ahead, beside = (part.unsqueeze(-1) for part in F.pad(paths.pivots, (0, 0, 1, 0)).unbind(-1))
    # The object's own turn carries its pivot to where b takes it back from.
    sine, cosine = turn.sin(), turn.cos()
    x = beside + aside - (cosine * beside + sine * ahead) - rightward
    z = ahead + along - (cosine * ahead - sine * beside) - forward
    # A camera that turns right turns the scene left.
    away, towards = yaw.sin(), yaw.cos()
    total = turn - yaw
    return RigidMotion(
        cosine=total.cos(),
        sine=total.sin(),
        rightward=towards * x - away * z,
        forward=away * x + towards * z,
        pitch=pitch.squeeze(1),
    )


def way_of(rates: Rates, seconds: float) -> Float[Tensor, "*rest moment unit"]:
    """Return the way of a (forward, rightward, turn, ...) at each step of so many seconds.

    It begins with none. The first two drive where the third, a turn to the right, points by then.
    """
    forward, rightward, turn = rates[..., :3].unbind(-1)
    turned = (turn.cumsum(-1) - turn / 2) * seconds
    sine, cosine = turned.sin(), turned.cos()
    ahead = cosine * forward - sine * rightward
    aside = sine * forward + cosine * rightward
    rates = torch.cat((torch.stack((ahead, aside), -1), rates[..., 2:]), -1)
    return F.pad(rates.cumsum(-2) * seconds, (0, 0, 1, 0))


def rates_of(way: Float[Tensor, "*rest moment unit"], seconds: float) -> Rates:
    """Return the rates of a way: the inverse of ``way_of``."""
    rates, turned = way.diff(dim=-2) / seconds, (way[..., 1:, 2] + way[..., :-1, 2]) / 2
    sine, cosine = turned.sin(), turned.cos()
    ahead, aside = rates[..., :2].unbind(-1)
    own = torch.stack((cosine * ahead + sine * aside, cosine * aside - sine * ahead), -1)
    return torch.cat((own, rates[..., 2:]), -1)
