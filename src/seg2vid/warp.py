"""Pure functions on flow: the only file that knows sign, units and ``align_corners``.

Flow is in pixels, order (dx, dy): ``backward_warp(frame, flow)[y, x] = frame[y + dy, x + dx]``.
Sampling is bilinear with ``align_corners=True``, so that integer coordinates are pixel centres and
zero flow is the identity. The authors' code warps with ``x - flow`` in normalised units and swaps
the two names.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from seg2vid.structures import Features, Flow, Flows, LabelFrames, Labels, Mask, Motion

Padding = Literal["border", "zeros"]
"""What is read outside the picture: its border, or black as in the authors' code."""


def pixel_grid(height: int, width: int, *, like: Tensor) -> Float[Tensor, "2 height width"]:
    """Return the coordinates (x, y) in pixels of every pixel centre, on the device of ``like``.

    In float32, whatever the network's precision: bfloat16 cannot tell neighbours apart past 256.
    """
    y = torch.arange(height, device=like.device, dtype=torch.float32)
    x = torch.arange(width, device=like.device, dtype=torch.float32)
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((grid_x, grid_y))


def reading_position(flow: Flow) -> Flow:
    """Return the absolute position (x, y) in pixels that each pixel's flow points at."""
    return pixel_grid(flow.shape[-2], flow.shape[-1], like=flow) + flow.float()


def is_inside(flow: Flow) -> Mask:
    """Return 1 where the flow points at a position within the picture, else 0."""
    height, width = flow.shape[-2:]
    x, y = reading_position(flow).unbind(1)
    # A tenth of a thousandth of a pixel forgives rounding at the border.
    inside = (x >= -1e-4) & (x <= width - 1 + 1e-4) & (y >= -1e-4) & (y <= height - 1 + 1e-4)
    return inside.unsqueeze(1).float()


def backward_warp(
    frame: Features,
    flow: Flow,
    *,
    mode: Literal["bilinear", "nearest", "bicubic"] = "bilinear",
    padding: Padding = "border",
) -> Features:
    """Read ``frame`` where ``flow`` says: ``result[y, x] = frame[y + dy, x + dx]`` (paper Eq. 2).

    ``flow`` is on the grid of the result.
    """
    height, width = flow.shape[-2:]
    position = reading_position(flow)
    # A picture one pixel high or wide has a single centre: any scale maps it to 0.
    extent = position.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    grid = rearrange(2 * position / extent.view(1, 2, 1, 1) - 1, "b xy h w -> b h w xy")
    # A grid in the frame's bfloat16 would miss its pixels by up to one.
    exact = torch.promote_types(frame.dtype, grid.dtype)
    warped = F.grid_sample(
        frame.to(exact), grid.to(exact), mode=mode, padding_mode=padding, align_corners=True
    )
    return warped.to(frame.dtype)


def warp_clip(
    frame: Features,
    flow: Flows,
    *,
    mode: Literal["bilinear", "bicubic"] = "bilinear",
    padding: Padding = "border",
) -> Float[Tensor, "batch time channel height width"]:
    """Warp one frame to every time by its backward flow; bicubic keeps more of what is sharp."""
    time = flow.shape[1]
    frames = repeat(frame, "b c h w -> (b t) c h w", t=time)
    flat = rearrange(flow, "b t d h w -> (b t) d h w")
    warped = backward_warp(frames, flat, mode=mode, padding=padding)
    return rearrange(warped, "(b t) c h w -> b t c h w", t=time)


def warp_labels(label_map: Labels, flow: Flow) -> Labels:
    """Move a label or instance map by backward flow in pixels: the nearest id is read."""
    height, width = label_map.shape[-2:]
    x, y = reading_position(flow).round().long().unbind(1)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    moved = label_map.flatten(1).gather(1, index.flatten(1))
    return moved.view_as(label_map)


def warp_label_clip(label_map: Labels, flow: Flows) -> LabelFrames:
    """Move one label or instance map to every time by its backward flow: see ``warp_labels``."""
    return torch.stack([warp_labels(label_map, one) for one in flow.unbind(1)], 1)


def compose_flows(first: Flow, second: Flow, *, padding: Padding = "border") -> Flow:
    """Follow ``second``, then ``first``: ``second(p) + first(p + second(p))``, in pixels.

    With backward flows 0←1 (``first``) and 1←2 (``second``) the result is the backward flow 0←2;
    with forward flows 1→2 (``first``) and 0→1 (``second``) it is the forward flow 0→2.
    """
    return second + backward_warp(first, second, padding=padding)


def forward_backward_error(flow: Flow, reverse: Flow) -> Mask:
    """Pixels by which following ``flow`` and then ``reverse`` misses the start (paper Eq. 5)."""
    # The small number keeps the gradient finite where the way closes exactly.
    return (compose_flows(reverse, flow).square().sum(1, keepdim=True) + 1e-12).sqrt()


def visibility_from_flows(
    flow: Flow, reverse: Flow, *, relative: float = 0.01, absolute: float = 0.5
) -> Mask:
    """Return 1 where a pixel is also visible in the other frame, on the grid of ``flow``.

    A pixel is visible where its flow stays inside the picture and the way there and back closes:
    |f + b|² < relative (|f|² + |b|²) + absolute, in pixels² (Sundaram et al., ECCV 2010, Eq. 5).
    """
    returned = backward_warp(reverse, flow)
    error = (flow + returned).square().sum(1, keepdim=True)
    allowed = relative * (flow.square() + returned.square()).sum(1, keepdim=True) + absolute
    return (error < allowed).float() * is_inside(flow)


def motion_from_flows(forward_flow: Flows, backward_flow: Flows) -> Motion:
    """Build a ``Motion`` from flows of any source: visibility by the way there and back."""
    time = forward_flow.shape[1]
    forward = rearrange(forward_flow, "b t d h w -> (b t) d h w")
    backward = rearrange(backward_flow, "b t d h w -> (b t) d h w")
    visible = [
        rearrange(visibility_from_flows(a, b), "(b t) c h w -> b t c h w", t=time)
        for a, b in ((forward, backward), (backward, forward))
    ]
    return Motion(forward_flow, backward_flow, visible[0], visible[1])


def follow_passes(motion: Motion, pass_starts: Sequence[int]) -> Motion:
    """Relate the motion of a video of several passes to its very first frame.

    ``pass_starts`` lists the frame each pass started from, as in ``GeneratedVideo``. The flows of a
    later pass are followed through the last frame of the one before; a pixel is visible where it is
    visible all the way (product of the masks). The camera's path goes on where the pass before
    ended; ``inverse_depth``, of frame t itself, stays, ``source`` does not.
    """
    names = ("forward_flow", "backward_flow", "forward_visible", "backward_visible")
    times: list[list[Tensor]] = []
    for time in range(motion.backward_flow.shape[1]):
        own = [getattr(motion, name)[:, time] for name in names]
        start = max(begin for begin in pass_starts if begin <= time)
        times.append(_through(times[start - 1], own) if start else own)
    followed = Motion(*(torch.stack(fields, 1) for fields in zip(*times, strict=True)))
    if (path := motion.camera_path) is None:
        return followed
    first, *later = path.tensor_split(list(pass_starts[1:]), dim=1)
    paths = [first]
    for onward in later:
        end = paths[-1][:, -1:]
        sine, cosine = end[..., 2].sin(), end[..., 2].cos()
        ahead, aside, *angles = onward.unbind(-1)
        turned = (cosine * ahead - sine * aside, sine * ahead + cosine * aside, *angles)
        paths.append(end + torch.stack(turned, -1))
    path = torch.cat(paths, 1)
    return replace(followed, camera_path=path, inverse_depth=motion.inverse_depth)


def _through(before: list[Tensor], after: list[Tensor]) -> list[Tensor]:
    """Follow motion up to a frame and motion from it on, fields (batch, channel, height, width)."""
    forward, backward, forward_visible, backward_visible = before
    return [
        compose_flows(after[0], forward),
        compose_flows(backward, after[1]),
        forward_visible * backward_warp(after[2], forward),
        after[3] * backward_warp(backward_visible, after[1]),
    ]


def gate_flow(motion: Motion) -> Motion:
    """Multiply each flow by its own visibility: a hidden pixel is read at its own place.

    What the authors' code warps with, in both directions; soft visibility shortens the flow.
    """
    return replace(
        motion,
        forward_flow=motion.forward_flow * motion.forward_visible,
        backward_flow=motion.backward_flow * motion.backward_visible,
    )
