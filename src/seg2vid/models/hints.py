"""Hints: the one way to steer motion, a coarse map of (dx, dy, confidence) in pixels over a pass.

Here: how one pass hands its motion to the next, so that a long video has no seams.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from seg2vid.models.layers import MAX_OBJECTS, OBJECT_FACTOR, pool_rows, spread_rows
from seg2vid.structures import Flow, Hints, Latent, Motion, Objects
from seg2vid.warp import warp_labels


def displacement_grid(flow: Flow) -> Float[Tensor, "batch 2 coarse_height coarse_width"]:
    """Average flow in pixels over each coarse cell."""
    return F.avg_pool2d(flow, OBJECT_FACTOR)


def continue_motion(motion: Motion, objects: Objects) -> Hints:
    """Hints for the pass after ``motion``: every object goes on as it went.

    ``objects`` are those of the last frame. An object's cells share one displacement, averaged over
    what was visible of it; the background is left to z, which knows how perspective speeds it up.
    """
    visible = motion.backward_visible[:, -1]
    travelled = displacement_grid(-motion.backward_flow[:, -1] * visible)
    seen = pool_rows(F.avg_pool2d(visible, OBJECT_FACTOR), objects, MAX_OBJECTS + 1)
    shared = pool_rows(travelled, objects, MAX_OBJECTS + 1) / seen.clamp(min=1e-3)
    certain = (seen > 0.5).float()
    certain[:, 0] = 0
    confidence = spread_rows(certain, objects)
    return torch.cat((spread_rows(shared, objects) * confidence, confidence), 1)


def continue_latent(z: Latent, motion: Motion, objects: Objects) -> Latent:
    """Carry z to the last frame of a pass: objects take their codes along, the rest stays.

    ``objects`` are those of the last frame; an object that was hidden gets the code 0, the mean of
    the prior. A code without places on the coarse grid (the paper's) stays as it is.
    """
    if z.foreground.shape[2:] != objects.shape[1:]:
        return z
    flow = displacement_grid(motion.backward_flow[:, -1]) / OBJECT_FACTOR
    # Codes are numbers, but they move like labels: read the nearest, never mix two objects.
    batch, channels, height, width = z.foreground.shape
    cells = torch.arange(height * width, device=flow.device).view(1, height, width)
    source = warp_labels(cells.expand(batch, -1, -1), flow).flatten(1)
    source = source.unsqueeze(1).expand(-1, channels, -1)
    moved = z.foreground.flatten(2).gather(2, source).view_as(z.foreground)
    # Cells that carry a code vote for their object's; silent ones do not dilute it.
    carries = (moved != 0).any(1, keepdim=True).float()
    rows = MAX_OBJECTS + 1
    codes = pool_rows(moved, objects, rows) / pool_rows(carries, objects, rows).clamp(min=1e-3)
    codes[:, 0] = 0
    return Latent(z.background, spread_rows(codes, objects))
