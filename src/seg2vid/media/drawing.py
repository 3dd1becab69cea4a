"""Pictures of what the model knows: flow as colours, labels over frames, contact sheets."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from seg2vid.tools.errors import MediaError

_WHEEL_STEPS = (15, 6, 4, 11, 13, 6)
"""Red, yellow, green, cyan, blue, magenta, red: spaced as the eye sees (Baker et al., 2011)."""
_GAP = 4
"""Pixels between the pictures of a contact sheet."""

Frames = UInt8[np.ndarray, "time height width 3"]


def _colour_wheel() -> Float[Tensor, "colour 3"]:
    corners = torch.tensor(
        [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]]
    ).float()
    parts = []
    for first, second, steps in zip(corners[:-1], corners[1:], _WHEEL_STEPS, strict=True):
        share = rearrange(torch.arange(steps) / steps, "step -> step 1")
        parts.append(first * (1 - share) + second * share)
    return torch.cat(parts)


def flow_to_colours(
    flow: Float[Tensor, "*batch 2 height width"], max_magnitude: float | None = None
) -> Float[Tensor, "*batch 3 height width"]:
    """Return flow as colours, RGB in [0, 1]: hue is direction, white is rest.

    The colours of Baker et al. 2011: rightward is red, downward yellow, leftward cyan-blue.
    ``flow`` is in pixels, order (dx, dy). A pixel that moves ``max_magnitude`` pixels (default: the
    largest motion in ``flow``) is fully saturated, faster ones are darkened.
    """
    magnitude = flow.norm(dim=-3)
    scale = max(float(magnitude.max()) if max_magnitude is None else max_magnitude, 1e-6)
    radius = rearrange(magnitude / scale, "... h w -> ... h w 1")
    wheel = _colour_wheel().to(flow)
    dx, dy = flow.unbind(dim=-3)
    turn = (torch.atan2(dy, dx) / (2 * math.pi)) % 1.0 * len(wheel)
    low = turn.floor().long() % len(wheel)
    share = rearrange(turn - turn.floor(), "... h w -> ... h w 1")
    hue = wheel[low] * (1 - share) + wheel[(low + 1) % len(wheel)] * share
    # The largest motion itself must not count as too fast when rounding puts it a hair above 1.
    colours = torch.where(radius <= 1 + 1e-5, 1 - radius.clamp(max=1) * (1 - hue), hue * 0.75)
    return rearrange(colours, "... h w rgb -> ... rgb h w")


def colour_numbers(numbers: Int[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Give each number (an object's) a colour of its own, 0 black."""
    table = np.random.default_rng(0).integers(64, 256, (1021, 3), dtype=np.uint8)
    return np.where(numbers[..., None] > 0, table[numbers % len(table)], np.uint8(0))


def overlay(
    frames: UInt8[np.ndarray, "*batch height width 3"],
    label_colours: UInt8[np.ndarray, "*batch height width 3"],
) -> UInt8[np.ndarray, "*batch height width 3"]:
    """Lay half-transparent colours over frames."""
    return np.rint((frames.astype(np.float32) + label_colours) / 2).astype(np.uint8)


def pick_evenly(length: int, columns: int) -> list[int]:
    """Return at most ``columns`` indices spread evenly over 0 ... length - 1, both included."""
    places = np.linspace(0, length - 1, min(columns, length))
    return sorted({round(place) for place in places.tolist()})


def contact_sheet(
    rows: Mapping[str, Frames], *, title_height: int = 16
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Lay out rows of frames, uint8 RGB, on white; each row under its title, the key.

    Rows may differ in length and size. Raises ``MediaError`` when there is no frame at all.
    """
    if not any(len(row) for row in rows.values()):
        raise MediaError("frames for the sheet", got="none", fix="give at least one")
    heights = [title_height + row.shape[1] + _GAP for row in rows.values()]
    width = max(_GAP + len(row) * (row.shape[2] + _GAP) for row in rows.values())
    sheet = Image.new("RGB", (width, sum(heights) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    top = _GAP
    for (title, row), height in zip(rows.items(), heights, strict=True):
        draw.text((_GAP, top), title, fill="black", font=ImageFont.load_default(title_height - 5))
        for column, frame in enumerate(row):
            left = _GAP + column * (row.shape[2] + _GAP)
            sheet.paste(Image.fromarray(np.asarray(frame)), (left, top + title_height))
        top += height
    return np.asarray(sheet)
