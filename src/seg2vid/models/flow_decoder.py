"""Box ``flow_decoder``: first frame + label map + z (+ hints) → flow and visibility, both ways.

Paper Sec. 3.2 and 3.3: an image encoder with skips into a decoder that predicts all frames of a
pass at once. Here flow is decoded at a quarter of the resolution and enlarged by learned convex
weights (Teed & Deng, RAFT, ECCV 2020), and hints, a coarse map of wanted displacements, steer it.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.models.config import ModelConfig
from seg2vid.models.layers import (
    ConvolutionBlock,
    LabelEmbedding,
    ResidualBlock,
    coordinates,
    draw_codes,
    join,
    upsample,
)
from seg2vid.structures import (
    Features,
    Flows,
    Hints,
    Labels,
    Latent,
    Masks,
    Motion,
    Objects,
    Pictures,
)
from seg2vid.warp import backward_warp, turning_flow

Quarter = Float[Tensor, "batch channel quarter_height quarter_width"]
Sixteenth = Float[Tensor, "batch coarse_channel sixteenth_height sixteenth_width"]
Times = Int[Tensor, " time"]

FLOW_FACTOR = 4
"""Flow is decoded on a grid this many times coarser than the picture."""


class FrameEncoder(nn.Module):
    """First frame and label map → features at a half, a quarter, an eighth and a sixteenth."""

    def __init__(self, num_channels: int, width: int) -> None:
        super().__init__()
        self.embedding = LabelEmbedding(num_channels, 8)
        self.to_half = ConvolutionBlock(3 + 8 + 2, width, kernel=4, stride=2)
        self.to_quarter = ConvolutionBlock(width, 2 * width, kernel=4, stride=2)
        self.to_eighth = nn.Sequential(
            ConvolutionBlock(2 * width, 3 * width, kernel=4, stride=2), ResidualBlock(3 * width)
        )
        self.to_sixteenth = nn.Sequential(
            ConvolutionBlock(3 * width, 4 * width, stride=2), ResidualBlock(4 * width)
        )

    def forward(self, first_frame: Pictures, label_map: Labels) -> list[Tensor]:
        """Return features (batch, channel, height / f, width / f) for f = 4, 8, 16."""
        labels = self.embedding(label_map)
        joined = join(first_frame - 0.5, labels, coordinates(first_frame))
        quarter = self.to_quarter(self.to_half(joined))
        eighth = self.to_eighth(quarter)
        return [quarter, eighth, self.to_sixteenth(eighth)]


class FlowDecoder(nn.Module):
    """Predict the motion of one pass; height and width must be multiples of 32."""

    def __init__(self, config: ModelConfig, *, num_channels: int) -> None:
        super().__init__()
        self.semantics, self.num_frames = config.semantics, config.num_frames
        self.config = config.flow_decoder
        width, own = self.config.width, self.config.frame_width
        self.encoder = FrameEncoder(num_channels, width)
        self.spread_code = nn.Linear(self.config.background_code, 2 * width)
        self.fuse_sixteenth = nn.Sequential(
            ConvolutionBlock(6 * width, 4 * width), ResidualBlock(4 * width, dilation=2)
        )
        controls = self.config.foreground_code + 1 + 3 + 2 * width
        self.fuse_eighth = nn.Sequential(
            ConvolutionBlock(7 * width + controls, 4 * width), ResidualBlock(4 * width)
        )
        self.fuse_quarter = nn.Sequential(
            ConvolutionBlock(6 * width, 3 * width), ResidualBlock(3 * width)
        )
        # Turning moves all pixels alike and far: an angle says it, and flow the rest.
        self.turn = nn.Linear(self.config.background_code + 4 * width, self.num_frames)
        nn.init.zeros_(self.turn.weight)
        nn.init.zeros_(self.turn.bias)
        # Forward flow lives on the first frame's grid: one set of weights enlarges all times.
        self.forward_head = nn.Conv2d(3 * width, 3 * self.num_frames, 3, 1, 1)
        self.forward_weights = nn.Conv2d(3 * width, 9 * FLOW_FACTOR**2, 1)
        # Backward flow lives on each frame's own grid, which has moved: time becomes batch.
        self.split_times = nn.Conv2d(3 * width, own * self.num_frames, 1)
        self.time_embedding = nn.Parameter(torch.randn(self.num_frames, own) * 0.1)
        self.move = nn.Sequential(
            ConvolutionBlock(own + 2, own), ResidualBlock(own, dilation=2), ResidualBlock(own)
        )
        self.backward_head = nn.Conv2d(own, 3, 3, 1, 1)
        self.backward_weights = nn.Conv2d(own, 9 * FLOW_FACTOR**2, 1)

    def forward(
        self,
        first_frame: Pictures,
        label_map: Labels,
        z: Latent,
        objects: Objects,
        hints: Hints | None = None,
        times: Times | None = None,
        turning: Float[Tensor, "batch every_time"] | None = None,
    ) -> Motion:
        """Predict flow in pixels and visibility in (0, 1), at all times or at some ``times``.

        ``hints`` is (dx, dy, confidence): the displacement in pixels wanted of the first frame's
        pixels by the end of the pass, confidence 0 (none) ... 1, at an eighth of the resolution.
        ``turning`` is the exact yaw in radians at every time of the pass: with it, in training,
        flow learns the rest alone; ``Motion.turning`` is what would have been used.
        """
        if self.semantics != "split":
            objects = torch.zeros_like(objects)
            z = Latent(z.background, torch.zeros_like(z.foreground))
        seen = self.encoder(first_frame, label_map)
        features, coarse = self._fuse(seen, z, objects, hints)
        if times is None:
            times = torch.arange(self.num_frames, device=first_frame.device)
        predicted = self._turning(coarse, z)[:, times]
        yaw = predicted if turning is None else turning[:, times]
        # Flow grows with time: the heads say how fast, relative to steady motion over the pass.
        pace = (times + 1).view(1, -1, 1, 1, 1) / self.num_frames * self.config.flow_scale
        forward_flow, forward_visible = self._forward_motion(features, times)
        backward_flow, backward_visible = self._backward_motion(features, times, yaw)
        height, width = first_frame.shape[2:]
        turned, returned = (self._turn(angle, height, width) for angle in (yaw, -yaw))
        return Motion(
            turned + forward_flow * pace,
            returned + backward_flow * pace,
            forward_visible,
            backward_visible,
            predicted,
        )

    def _turn(self, yaw: Float[Tensor, "batch time"], height: int, width: int) -> Flows:
        focal_length = self.config.focal_length * width
        return turning_flow(yaw, height=height, width=width, focal_length=focal_length)

    def _turning(self, coarse: Features, z: Latent) -> Float[Tensor, "batch time"]:
        seen = torch.cat((z.background.float(), coarse.float().mean((2, 3))), 1)
        with torch.autocast(coarse.device.type, enabled=False):
            return 0.5 * self.turn(seen)

    def _fuse(
        self, seen: list[Tensor], z: Latent, objects: Objects, hints: Hints | None
    ) -> tuple[Quarter, Sixteenth]:
        """Join what is seen with z and hints, from coarse to fine; return fine, coarse features."""
        quarter, eighth, sixteenth = seen
        code = self.spread_code(z.background.to(sixteenth.dtype))[:, :, None, None]
        coarse = self.fuse_sixteenth(join(sixteenth, code.expand(-1, -1, *sixteenth.shape[2:])))
        is_object = (objects > 0).unsqueeze(1).to(z.foreground.dtype)
        if hints is None:
            hints = z.foreground.new_zeros(objects.shape[0], 3, *objects.shape[1:])
        confidence = hints[:, 2:]
        wanted = hints[:, :2] / self.config.flow_scale * confidence
        controls = torch.cat((z.foreground, is_object, wanted, confidence), 1).to(eighth.dtype)
        spread = code.expand(-1, -1, *eighth.shape[2:])
        middle = self.fuse_eighth(join(upsample(coarse), eighth, controls, spread))
        return self.fuse_quarter(torch.cat((upsample(middle), quarter), 1)), coarse

    def _forward_motion(self, features: Quarter, times: Times) -> tuple[Flows, Masks]:
        every = rearrange(self.forward_head(features).float(), "b (t c) h w -> b t c h w", c=3)
        coarse = rearrange(every[:, times], "b t c h w -> b (t c) h w")
        fine = convex_upsample(coarse, self.forward_weights(features).float())
        fine = rearrange(fine, "b (t c) h w -> b t c h w", c=3)
        return fine[:, :, :2], torch.sigmoid(fine[:, :, 2:] + 2)

    def _backward_motion(
        self, features: Quarter, times: Times, yaw: Float[Tensor, "batch time"]
    ) -> tuple[Flows, Masks]:
        own = rearrange(self.split_times(features), "b (t c) h w -> b t c h w", t=self.num_frames)
        own = own[:, times] + self.time_embedding[times, :, None, None].to(own.dtype)
        own = rearrange(own, "b t c h w -> (b t) c h w")
        height, width = own.shape[2:]
        # Features turn along, so that what the decoder looks at is where it will be.
        turned = self._turn(-yaw, height, width)
        own = backward_warp(own.float(), rearrange(turned, "b t d h w -> (b t) d h w"))
        moved = self.move(join(own, coordinates(own)))
        coarse = self.backward_head(moved).float()
        fine = convex_upsample(coarse, self.backward_weights(moved).float())
        fine = rearrange(fine, "(b t) c h w -> b t c h w", t=len(times))
        # Most pixels are visible: starting there spares the first thousand steps.
        return fine[:, :, :2], torch.sigmoid(fine[:, :, 2:] + 2)

    def draw(self, objects: Objects, generator: torch.Generator | None) -> Latent:
        """Draw z ~ N(0, I): see ``draw_codes``."""
        background, foreground = self.config.background_code, self.config.foreground_code
        return draw_codes(
            objects, background=background, foreground=foreground, generator=generator
        )


@torch.compiler.disable  # type: ignore[untyped-decorator]  # Its gradient does not compile.
def convex_upsample(
    coarse: Features, weights: Float[Tensor, "batch weight height width"]
) -> Float[Tensor, "batch channel tall wide"]:
    """Enlarge by FLOW_FACTOR: a fine value is a convex combination of 3 x 3 coarse ones.

    ``weights`` are logits, 9 for each of the FLOW_FACTOR² fine pixels of a cell. Edges stay sharp.
    (Teed & Deng, RAFT, Sec. 3.3)
    """
    height, width = coarse.shape[2:]
    # A small product of matrices for every cell.
    convex = rearrange(weights, "b (n f) h w -> (b h w) n f", n=9).softmax(1)
    padded = F.pad(coarse, (1, 1, 1, 1), mode="replicate")
    neighbours = rearrange(F.unfold(padded, 3), "b (c n) p -> (b p) c n", n=9)
    sizes = {"h": height, "w": width, "y": FLOW_FACTOR}
    return rearrange(neighbours @ convex, "(b h w) c (y x) -> b c (h y) (w x)", **sizes)
