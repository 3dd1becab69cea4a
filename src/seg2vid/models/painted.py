"""What was painted where a key frame shows nothing, and how later frames show it again."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.geometry import Points, Scene, move_points
from seg2vid.structures import Labels, Pictures

Pixels = Int[Tensor, " pixel"]


@dataclass(frozen=True)
class Painted:
    """A finished frame, and the points in it that were painted there."""

    picture: Pictures
    label_map: Labels
    points: Points
    pixels: Pixels


def recall(
    layers: Sequence[Painted],
    scene: Scene,
    time: int,
    frame: Float[Tensor, "3 height width"],
    label_map: Int[Tensor, "height width"],
    hidden: Bool[Tensor, "height width"],
) -> tuple[
    Float[Tensor, "3 height width"],
    Int[Tensor, "height width"],
    Bool[Tensor, "height width"],
    Int[Tensor, "height width"],
]:
    """Show in hidden pixels what was painted at other times.

    Also returns which are still bare, and the row of the object that each of the others shows.
    """
    rows = torch.zeros_like(label_map)
    if not layers or not hidden.any():
        return frame, label_map, hidden, rows
    height, width = hidden.shape
    counts = [len(one.pixels) for one in layers]
    device = hidden.device
    layer = torch.arange(len(counts), device=device)
    layer = layer.repeat_interleave(torch.tensor(counts, device=device))
    pixels = torch.cat([one.pixels for one in layers])
    points = Points(
        torch.cat([one.points.place for one in layers], 1),
        torch.cat([one.points.rows for one in layers]),
    )
    found, offset = move_points(scene, points, time)
    shown = (hidden & (found >= 0)).flatten().nonzero().squeeze(1)
    point = found.flatten()[shown]
    own_x, own_y, which = pixels[point] % width, pixels[point] // width, layer[point]
    # A pixel beside the point's own place shows what is beside it in the painted frame, unless
    # that is something else.
    x = (own_x + offset[0].flatten()[shown]).clamp(0, width - 1)
    y = (own_y + offset[1].flatten()[shown]).clamp(0, height - 1)
    maps = torch.cat([one.label_map for one in layers])
    classes = maps[which, own_y, own_x]
    is_own = maps[which, y.round().long(), x.round().long()] == classes
    x, y = torch.where(is_own, x, own_x), torch.where(is_own, y, own_y)
    pictures = torch.cat([one.picture for one in layers]).transpose(0, 1)[None]
    extent = x.new_tensor([max(n - 1, 1) for n in (width, height, len(counts))])
    place = torch.stack((x, y, which.to(x.dtype)), -1) * 2 / extent - 1
    colours = F.grid_sample(
        pictures.float(), place.view(1, 1, 1, -1, 3), align_corners=True, padding_mode="border"
    )
    frame = frame.clone().flatten(1)
    frame[:, shown] = colours.view(3, -1).to(frame.dtype)
    label_map = label_map.clone().flatten()
    label_map[shown] = classes
    bare, rows = hidden.flatten().clone(), rows.flatten()
    bare[shown], rows[shown] = False, points.rows[point]
    flat = (label_map, bare, rows)
    return frame.unflatten(1, (height, width)), *(part.view_as(hidden) for part in flat)
