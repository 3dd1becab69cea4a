"""The paper's image-to-flow network: first frame + label map + z → flow and visibility of T frames.

Paper Sec. 3.2 and 3.3, Eq. 1; layer sizes as in the authors' code. Flow comes at full resolution
from three heads. The code's normalised units become pixels here; its zero padding does not matter,
for positions outside the picture are hidden.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.models.config import PaperConfig, Semantics
from seg2vid.models.layers import CODE_CHANNELS, ROW, ConvolutionBlock, rows_of_code, to_colours
from seg2vid.structures import Features, Hints, Labels, Latent, Motion, Objects, Pictures

Stack = Float[Tensor, "frames channel height width"]


class UpConvolution(nn.Sequential):
    """Two convolution blocks, then bilinear enlargement to twice the size."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3) -> None:
        super().__init__(
            ConvolutionBlock(inputs, 2 * outputs, kernel=kernel),
            ConvolutionBlock(2 * outputs, outputs, kernel=kernel),
            nn.Upsample(scale_factor=2, mode="bilinear"),
        )


class OverTime(nn.Sequential):
    """A 3 x 3 x 3 convolution over space and time, batch norm, leaky ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv3d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm3d(channels),
            nn.LeakyReLU(0.2, inplace=True),
        )


class PaperFlowDecoder(nn.Module):
    """Image encoder, fusion with z, flow decoder and its three heads."""

    def __init__(
        self,
        config: PaperConfig,
        *,
        num_frames: int,
        num_channels: int,
        semantics: Semantics = "split",
    ) -> None:
        super().__init__()
        self.config = config
        self.num_frames = num_frames
        self.semantics = semantics
        self.num_channels = num_channels if semantics != "none" else 0
        self.to_half = nn.Sequential(
            nn.Conv2d(config.channels + self.num_channels, 32, 4, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.to_quarter = ConvolutionBlock(32, 64, kernel=4, stride=2)
        self.to_eighth = ConvolutionBlock(64, 128, kernel=4, stride=2)
        self.to_sixteenth = ConvolutionBlock(128, 256, kernel=4, stride=2)
        self.spread_code = nn.Linear(config.background_code + config.foreground_code, ROW)
        self.fuse = nn.Sequential(
            nn.Conv2d(256 + CODE_CHANNELS, 16 * num_frames, 3, 1, 1),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.decode_sixteenth = nn.Sequential(
            ConvolutionBlock(256 + 16, 256), UpConvolution(256, 128)
        )
        self.decode_eighth = UpConvolution(2 * 128, 64)
        self.time_quarter = OverTime(64)
        self.decode_quarter = UpConvolution(2 * 64, 32)
        self.time_half = OverTime(32)
        self.forward_head, self.backward_head, self.visible_head = (
            nn.Sequential(UpConvolution(64, 16, kernel=5), nn.Conv2d(16, 2, 5, 1, 2))
            for _ in range(3)
        )

    def forward(
        self,
        first_frame: Pictures,
        label_map: Labels,
        z: Latent,
        objects: Objects,
        hints: Hints | None = None,
        times: Int[Tensor, " time"] | None = None,
        turning: Float[Tensor, "batch every_time"] | None = None,
    ) -> Motion:
        """Predict flow in pixels and visibility in (0, 1), at all ``times`` or at some.

        The paper knows neither ``hints`` nor ``turning``: both are ignored. Raises ``ModelError``
        for a size that cannot be cut into rows of z (``objects`` is the coarse grid).
        """
        del hints, turning
        rows_of_code(objects)
        seen = self._encode(first_frame, label_map)
        features = self._decode(seen, self._fuse_code(seen[-1], z))
        height, width = first_frame.shape[2:]
        to_pixels = features.new_tensor([(width - 1) / 2, (height - 1) / 2]).view(1, 1, 2, 1, 1)
        forward, backward, visible = (
            rearrange(head(features).float(), "(b t) c h w -> b t c h w", t=self.num_frames)
            for head in (self.forward_head, self.backward_head, self.visible_head)
        )
        chosen = slice(None) if times is None else times
        visible = torch.sigmoid(visible)
        return Motion(
            (forward * to_pixels)[:, chosen],
            (backward * to_pixels)[:, chosen],
            visible[:, chosen, :1],
            visible[:, chosen, 1:],
        )

    def _encode(self, first_frame: Pictures, label_map: Labels) -> list[Tensor]:
        """Return features (batch, channel, height / f, width / f) for f = 2, 4, 8, 16."""
        picture = to_colours(first_frame, self.config.channels)
        if self.num_channels:
            one_hot = rearrange(F.one_hot(label_map, self.num_channels), "b h w c -> b c h w")
            picture = torch.cat((picture, one_hot.to(picture)), 1)
        half = self.to_half(picture)
        quarter = self.to_quarter(half)
        eighth = self.to_eighth(quarter)
        return [half, quarter, eighth, self.to_sixteenth(eighth)]

    def _fuse_code(
        self, sixteenth: Float[Tensor, "batch channel coarse_height coarse_width"], z: Latent
    ) -> Float[Tensor, "frames fused coarse_height coarse_width"]:
        rows = rearrange(z.foreground, "b code row 1 -> b row code")
        background = rearrange(z.background, "b (row code) -> b row code", row=rows.shape[1])
        rows = torch.cat((background, rows), 2)
        grid = self.spread_code(rows.to(sixteenth)).view(-1, CODE_CHANNELS, *sixteenth.shape[2:])
        fused = self.fuse(torch.cat((sixteenth, grid), 1))
        own = rearrange(fused, "b (t c) h w -> (b t) c h w", t=self.num_frames)
        return torch.cat((own, self._every_time(sixteenth)), 1)

    def _decode(
        self, seen: list[Tensor], fused: Float[Tensor, "frames fused coarse_height coarse_width"]
    ) -> Float[Tensor, "frames channel half_height half_width"]:
        half, quarter, eighth = (self._every_time(skip) for skip in seen[:3])
        features = torch.cat((self.decode_sixteenth(fused), eighth), 1)
        features = self._over_time(self.decode_eighth(features), self.time_quarter)
        features = self.decode_quarter(torch.cat((features, quarter), 1))
        return torch.cat((self._over_time(features, self.time_half), half), 1)

    def _over_time(self, features: Stack, block: nn.Module) -> Stack:
        clip = rearrange(features, "(b t) c h w -> b c t h w", t=self.num_frames)
        return rearrange(block(clip), "b c t h w -> (b t) c h w")

    def _every_time(self, features: Features) -> Stack:
        return repeat(features, "b c h w -> (b t) c h w", t=self.num_frames)

    def draw(self, objects: Objects, generator: torch.Generator | None) -> Latent:
        """Draw z ~ N(0, I), on the CPU so that a seed is a seed.

        With ``repeat_row`` one row is drawn and repeated, as in the authors' test scripts.
        """
        batch, rows = len(objects), rows_of_code(objects)
        is_split = self.semantics == "split"
        width = self.spread_code.in_features
        drawn = 1 if self.config.repeat_row else rows
        noise = torch.randn(batch, drawn, width, generator=generator).to(objects.device)
        noise = noise.expand(-1, rows, -1)
        cut = self.config.background_code if is_split else width
        foreground = rearrange(noise[..., cut:], "b row code -> b code row 1")
        return Latent(noise[..., :cut].flatten(1), foreground.contiguous())
