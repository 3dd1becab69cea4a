"""RAFT-small (Teed and Deng, ECCV 2020): optical flow of real video, frozen, for teaching.

Modules bear the names of the authors' weight file, so that it loads as it is.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from seg2vid.models.judges.files import find_judge, frozen
from seg2vid.structures import Features, Flow, Pictures
from seg2vid.tools.devices import fast_arithmetic
from seg2vid.tools.errors import ModelError
from seg2vid.warp import pixel_grid

State = Float[Tensor, "batch hidden height width"]
Shrunk = Float[Tensor, "batch channel_out height_out width_out"]
Cells = Float[Tensor, "batch cells height width"]

WEIGHTS = "raft_small.safetensors"
WIDTHS = (32, 64, 96)
"""Channels of an encoder at a half, a quarter and an eighth of the resolution."""
HIDDEN, CONTEXT = 96, 64
"""Channels of the recurrent state, and of what it is told of the first picture in every step."""
LEVELS, RADIUS = 4, 3
"""Correlations are looked up within this many cells, at this many scales."""
FACTOR = 8
"""Flow is estimated on a grid this many times coarser than the picture."""
SMALLEST = FACTOR * 2 ** (LEVELS - 1)
"""Pixels on a side that leave one cell at the coarsest scale."""


class Bottleneck(nn.Module):
    """Residual block that computes with a quarter of its channels."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, norm: type[nn.Module]) -> None:
        super().__init__()
        inner = outputs // 4
        self.conv1 = nn.Conv2d(inputs, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1)
        self.conv3 = nn.Conv2d(inner, outputs, 1)
        self.norm1, self.norm2, self.norm3 = norm(inner), norm(inner), norm(outputs)
        shrink = (nn.Conv2d(inputs, outputs, 1, stride), norm(outputs)) if stride > 1 else ()
        self.downsample = nn.Sequential(*shrink)

    def forward(self, features: Features) -> Shrunk:
        """Return features at 1 / stride of the resolution."""
        hidden = F.relu(self.norm1(self.conv1(features)))
        hidden = F.relu(self.norm2(self.conv2(hidden)))
        hidden = F.relu(self.norm3(self.conv3(hidden)))
        return F.relu(self.downsample(features) + hidden)


class Encoder(nn.Module):
    """Picture → features at an eighth of the resolution."""

    def __init__(self, outputs: int, *, norm: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, 3)
        self.norm1 = norm(WIDTHS[0])
        stages = []
        for inputs, channels, stride in zip((WIDTHS[0], *WIDTHS), WIDTHS, (1, 2, 2), strict=False):
            first = Bottleneck(inputs, channels, stride=stride, norm=norm)
            stages.append(nn.Sequential(first, Bottleneck(channels, channels, stride=1, norm=norm)))
        self.layer1, self.layer2, self.layer3 = stages
        self.conv2 = nn.Conv2d(WIDTHS[-1], outputs, 1)

    def forward(self, picture: Pictures) -> Shrunk:
        """Return the features of a picture in [-1, 1]."""
        hidden = F.relu(self.norm1(self.conv1(picture)))
        return self.conv2(self.layer3(self.layer2(self.layer1(hidden))))


class UpdateBlock(nn.Module):
    """One step of the estimate: a convolutional GRU that says how the flow changes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict(
            {
                "convc1": nn.Conv2d(LEVELS * (2 * RADIUS + 1) ** 2, 96, 1),
                "convf1": nn.Conv2d(2, 64, 7, 1, 3),
                "convf2": nn.Conv2d(64, 32, 3, 1, 1),
                "conv": nn.Conv2d(128, 80, 3, 1, 1),
            }
        )
        inputs = HIDDEN + CONTEXT + 82
        self.gru = nn.ModuleDict(
            {name: nn.Conv2d(inputs, HIDDEN, 3, 1, 1) for name in ("convz", "convr", "convq")}
        )
        first, last = nn.Conv2d(HIDDEN, 128, 3, 1, 1), nn.Conv2d(128, 2, 3, 1, 1)
        self.flow_head = nn.Sequential(OrderedDict(conv1=first, relu=nn.ReLU(), conv2=last))

    def forward(
        self, state: State, context: Features, correlation: Cells, flow: Flow
    ) -> tuple[State, Flow]:
        """Return the next state and flow, in cells."""
        # Places and correlations stay in full precision, the convolutions need not.
        with fast_arithmetic(flow.device):
            heard = torch.cat((context, self._encode(flow, correlation)), 1)
            both = torch.cat((state, heard), 1)
            update, keep = self.gru["convz"](both).sigmoid(), self.gru["convr"](both).sigmoid()
            proposal = self.gru["convq"](torch.cat((keep * state, heard), 1)).tanh()
            state = state + update * (proposal - state)
            change = self.flow_head(state)
        return state.float(), flow + change.float()

    def _encode(self, flow: Flow, correlation: Cells) -> Float[Tensor, "batch 82 height width"]:
        """Describe the flow so far and the correlations where it leads; the flow itself is last."""
        moved = flow
        for name in ("convf1", "convf2"):
            moved = F.relu(self.encoder[name](moved))
        both = torch.cat((F.relu(self.encoder["convc1"](correlation)), moved), 1)
        return torch.cat((F.relu(self.encoder["conv"](both)), flow), 1)


class RaftSmall(nn.Module):
    """Two pictures → where each pixel of the first lies in the second.

    ``scale`` 2 is for pictures of 256x128: on the toy city its error is 0.85 pixels from frame to
    frame where it is visible, 1.04 at scale 1 and 0.98 with DIS.
    """

    def __init__(self, *, iterations: int = 12, scale: float = 2.0) -> None:
        super().__init__()
        self.iterations, self.scale = iterations, scale
        self.fnet = Encoder(128, norm=nn.InstanceNorm2d)
        # Identity takes and ignores the number of channels.
        self.cnet = Encoder(HIDDEN + CONTEXT, norm=nn.Identity)
        self.update_block = UpdateBlock()

    def forward(self, first: Pictures, second: Pictures) -> Flow:
        """Return the flow in pixels, order (dx, dy), on the grid of ``first``, RGB in [0, 1].

        Pictures are looked at enlarged by ``scale``: the coarse grid then sees smaller things.
        """
        height, width = first.shape[2:]
        tall, wide = round(height * self.scale), round(width * self.scale)
        down, right = (-(-max(side, SMALLEST) // FACTOR) * FACTOR - side for side in (tall, wide))
        top, left = down // 2, right // 2
        margins = (left, right - left, top, down - top)
        pictures = torch.cat((first, second))
        if self.scale != 1:
            pictures = F.interpolate(pictures, (tall, wide), mode="bilinear", antialias=True)
        pictures = F.pad(2 * pictures - 1, margins, mode="replicate")
        flow = self._estimate(*pictures.chunk(2))[:, :, top : top + tall, left : left + wide]
        if self.scale == 1:
            return flow
        shrunk = F.interpolate(flow, (height, width), mode="bilinear", antialias=True)
        return shrunk * shrunk.new_tensor([width / wide, height / tall]).view(2, 1, 1)

    def _estimate(self, first: Pictures, second: Pictures) -> Flow:
        with fast_arithmetic(first.device):
            maps = self.fnet(torch.cat((first, second))).float().chunk(2)
            state, context = self.cnet(first).float().split((HIDDEN, CONTEXT), 1)
        pyramid = correlation_pyramid(*maps)
        state, context = state.tanh(), context.relu()
        flow = torch.zeros_like(state[:, :2])
        here = pixel_grid(flow.shape[2], flow.shape[3], like=flow)
        for _ in range(self.iterations):
            state, flow = self.update_block(state, context, look_up(pyramid, here + flow), flow)
        # With the corners aligned: so the weights were trained.
        return FACTOR * F.interpolate(flow, first.shape[2:], mode="bilinear", align_corners=True)


def correlation_pyramid(first: Features, second: Features) -> list[Float[Tensor, "pixels 1 _ _"]]:
    """Return how alike each cell of ``first`` is to all cells of ``second``, ever coarser.

    Each level is (batch * height * width, 1, height / f, width / f) for f = 1, 2, 4, 8.
    """
    products = torch.einsum("bchw,bcij->bhwij", first, second) / first.shape[1] ** 0.5
    pyramid = [rearrange(products, "b h w i j -> (b h w) 1 i j")]
    for _ in range(LEVELS - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid


def look_up(pyramid: Sequence[Float[Tensor, "pixels 1 _ _"]], position: Flow) -> Cells:
    """Read the correlations around ``position`` (x, y) in cells, bilinear, 0 outside.

    Channels: level by level, within one from left to right and there from top to bottom.
    """
    batch, _, height, width = position.shape
    span = torch.arange(-RADIUS, RADIUS + 1, device=position.device, dtype=position.dtype)
    offsets = torch.stack(torch.meshgrid(span, span, indexing="ij"), -1)
    centre = rearrange(position, "b xy h w -> (b h w) 1 1 xy")
    found = []
    for level, correlation in enumerate(pyramid):
        extent = position.new_tensor([correlation.shape[3], correlation.shape[2]])
        # Whole numbers are centres of cells, whatever the size: hence align_corners=False.
        grid = (2 * (centre / 2**level + offsets) + 1) / extent - 1
        around = F.grid_sample(correlation, grid, align_corners=False)
        found.append(rearrange(around, "(b h w) 1 i j -> b (i j) h w", b=batch, h=height, w=width))
    return torch.cat(found, 1)


def load_raft_small(folder: Path | None = None, *, scale: float = 2.0) -> RaftSmall:
    """Load RAFT-small, frozen; raise ``ModelError`` for a file missing or with other tensors."""
    path = find_judge(WEIGHTS, folder)
    try:
        return frozen(RaftSmall(scale=scale), load_file(path))
    except RuntimeError as error:
        what, fix = f"the tensors of RAFT-small in {path}", "take the authors' raft-small weights"
        raise ModelError(what, got=str(error)[:300], fix=fix) from error
