"""The paper's own networks, layer by layer: motion encoder, image to flow, post-processing.

Paper Sec. 3.2 and 3.3, Eq. 1 and 2; layer sizes as in the authors' code. z is a grid there: 64
channels at a sixteenth of the picture, cut into rows of 1024 numbers.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.labels.convert import one_hot
from seg2vid.labels.space import LabelSpace
from seg2vid.models.config import ModelConfig
from seg2vid.models.layers import LOG_VARIANCE_RANGE, ConvolutionBlock
from seg2vid.structures import (
    Features,
    Frames,
    Hints,
    Labels,
    Latent,
    Motion,
    Objects,
    Pictures,
    Posterior,
)
from seg2vid.tools.errors import ModelError

Rows = Float[Tensor, "batch row code"]
Stack = Float[Tensor, "frames channel height width"]
Coarse = Float[Tensor, "frames fused coarse_height coarse_width"]

CODE_CHANNELS = 64
"""Channels of z, seen as a grid at a sixteenth of the picture."""
ROW = 1024
"""Numbers of that grid in one row of z: 128 x 256 gives 8 rows, 128 x 128 gives 4."""
COARSE_CELLS = 64
"""Cells of the coarse grid (an eighth of the picture) that one row stands for."""
NOISE_SEED = 0
"""Seeds the noise of generation, so that equal inputs give equal bytes."""
REFINER_DOWN = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the blocks of VGG-16, a pooling apart."""
REFINER_UP = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))
"""Channels of the blocks on the way back; each begins with its skip."""


def rows_of_code(objects: Objects) -> int:
    """Return how many rows z has for this coarse grid; raise ``ModelError`` if they are uneven."""
    height, width = objects.shape[1:]
    rows, rest = divmod(height * width, COARSE_CELLS)
    if rest or not rows:
        what = "a picture of a multiple of 4096 pixels for the paper's z (128x256, 128x128 ...)"
        got = f"{8 * width}x{8 * height}"
        raise ModelError(what, got=got, fix="use the size the model was trained on")
    return rows


def _to_colours(picture: Pictures, channels: int) -> Features:
    """Return the picture with 3 channels as it is, or its grey value for ``channels`` 1."""
    return picture if channels == 3 else picture.mean(1, keepdim=True)


class SequenceEncoder(nn.Module):
    """One motion encoder: the clip with the semantics of its classes → mean and log variance."""

    def __init__(self, inputs: int, code: int, *, clamp: bool) -> None:
        super().__init__()
        self.clamp = clamp
        self.body = nn.Sequential(
            nn.Conv2d(inputs, 32, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            ConvolutionBlock(32, 64, kernel=4, stride=2),
            ConvolutionBlock(64, 64),
            ConvolutionBlock(64, 128, kernel=4, stride=2),
            ConvolutionBlock(128, 128),
            nn.Conv2d(128, CODE_CHANNELS, 4, 2, 1, bias=False),
        )
        self.mean = nn.Linear(ROW, code)
        self.log_variance = nn.Linear(ROW, code)

    def forward(self, clip: Float[Tensor, "batch inputs height width"]) -> tuple[Rows, Rows]:
        """Return mean and log variance of every row."""
        rows = self.body(clip).reshape(len(clip), -1, ROW).float()
        spread = self.log_variance(rows)
        return self.mean(rows), spread.clamp(*LOG_VARIANCE_RANGE) if self.clamp else spread


class PaperMotionEncoder(nn.Module):
    """Background and foreground encoder (``split``), or one for both (``joint``, ``none``).

    The void class goes with the foreground, as the 20th class of the authors' maps does.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        space, paper = LabelSpace.from_dict(config.label_space), config.paper
        self.channels = paper.channels
        self.num_channels = space.num_channels
        every = list(range(space.num_channels))
        background = [i for i in every[:-1] if i not in space.foreground_ids]
        groups = {
            "split": (background, [i for i in every if i not in background]),
            "joint": (every,),
            "none": ([],),
        }
        self.classes: tuple[list[int], ...] = groups[config.semantics]
        codes = [paper.background_code, paper.foreground_code]
        if config.semantics != "split":
            codes = [sum(codes)]
        pictures = paper.channels * (config.num_frames + 1)
        self.encoders = nn.ModuleList(
            SequenceEncoder(pictures + len(classes), code, clamp=paper.clamp)
            for classes, code in zip(self.classes, codes, strict=True)
        )

    def forward(
        self, first_frame: Pictures, frames: Frames, label_map: Labels, objects: Objects
    ) -> Posterior:
        """Encode [I_0, I_1 - I_0, ..., I_T - I_0] and the first frame's classes.

        ``objects`` says only how large the coarse grid is. Raises ``ModelError`` for a size that
        cannot be cut into rows.
        """
        rows = rows_of_code(objects)
        first = _to_colours(first_frame, self.channels)
        video = _to_colours(rearrange(frames, "b t c h w -> (b t) c h w"), self.channels)
        video = rearrange(video, "(b t) c h w -> b t c h w", b=len(frames))
        differences = rearrange(video - first.unsqueeze(1), "b t c h w -> b (t c) h w")
        planes = one_hot(label_map, self.num_channels)
        codes = [
            encoder(torch.cat((first, differences, planes[:, classes]), 1))
            for encoder, classes in zip(self.encoders, self.classes, strict=True)
        ]
        mean, log_variance = (_as_latent(*parts) for parts in zip(*codes, strict=True))
        numbers = torch.arange(1, rows + 1, device=objects.device).view(1, rows, 1)
        return Posterior(mean, log_variance, numbers.expand(len(objects), -1, -1).contiguous())


def _as_latent(background: Rows, foreground: Float[Tensor, "batch row _"] | None = None) -> Latent:
    """Return background (batch, row * code) and foreground (batch, code, row, 1)."""
    foreground = background[..., :0] if foreground is None else foreground
    return Latent(background.flatten(1), rearrange(foreground, "b row code -> b code row 1"))


def _up(inputs: int, outputs: int, *, kernel: int = 3) -> nn.Sequential:
    """Two convolution blocks, then bilinear enlargement to twice the size."""
    return nn.Sequential(
        ConvolutionBlock(inputs, 2 * outputs, kernel=kernel),
        ConvolutionBlock(2 * outputs, outputs, kernel=kernel),
        nn.Upsample(scale_factor=2, mode="bilinear"),
    )


def _over_time(channels: int) -> nn.Sequential:
    """A 3 x 3 x 3 convolution over space and time, batch norm, leaky ReLU."""
    convolution = nn.Conv3d(channels, channels, 3, 1, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(channels), nn.LeakyReLU(0.2, inplace=True))


class PaperFlowDecoder(nn.Module):
    """Image encoder, fusion with z, flow decoder and its three heads."""

    def __init__(self, config: ModelConfig, *, num_channels: int) -> None:
        super().__init__()
        paper, num_frames = config.paper, config.num_frames
        self.config, self.num_frames, self.semantics = paper, num_frames, config.semantics
        self.num_channels = num_channels if config.semantics != "none" else 0
        first = nn.Conv2d(paper.channels + self.num_channels, 32, 4, 2, 1)
        self.to_half = nn.Sequential(first, nn.LeakyReLU(0.2, inplace=True))
        self.to_quarter = ConvolutionBlock(32, 64, kernel=4, stride=2)
        self.to_eighth = ConvolutionBlock(64, 128, kernel=4, stride=2)
        self.to_sixteenth = ConvolutionBlock(128, 256, kernel=4, stride=2)
        self.spread_code = nn.Linear(paper.background_code + paper.foreground_code, ROW)
        fuse = nn.Conv2d(256 + CODE_CHANNELS, 16 * num_frames, 3, 1, 1)
        self.fuse = nn.Sequential(fuse, nn.LeakyReLU(0.2, inplace=True))
        self.decode_sixteenth = nn.Sequential(ConvolutionBlock(256 + 16, 256), _up(256, 128))
        self.decode_eighth = _up(2 * 128, 64)
        self.time_quarter = _over_time(64)
        self.decode_quarter = _up(2 * 64, 32)
        self.time_half = _over_time(32)
        self.forward_head, self.backward_head, self.visible_head = (
            nn.Sequential(_up(64, 16, kernel=5), nn.Conv2d(16, 2, 5, 1, 2)) for _ in range(3)
        )

    def forward(
        self,
        first_frame: Pictures,
        label_map: Labels,
        z: Latent,
        objects: Objects,
        hints: Hints | None = None,
        times: Int[Tensor, " time"] | None = None,
    ) -> Motion:
        """Predict flow in pixels and visibility in (0, 1), at all ``times`` or at some.

        The paper knows no ``hints``: they are ignored. Raises ``ModelError`` for a size that cannot
        be cut into rows of z (``objects`` is the coarse grid).
        """
        del hints
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
        picture = _to_colours(first_frame, self.config.channels)
        if self.num_channels:
            picture = torch.cat((picture, one_hot(label_map, self.num_channels)), 1)
        half = self.to_half(picture)
        quarter = self.to_quarter(half)
        eighth = self.to_eighth(quarter)
        return [half, quarter, eighth, self.to_sixteenth(eighth)]

    def _fuse_code(self, sixteenth: Features, z: Latent) -> Coarse:
        rows = rearrange(z.foreground, "b code row 1 -> b row code")
        background = rearrange(z.background, "b (row code) -> b row code", row=rows.shape[1])
        rows = torch.cat((background, rows), 2)
        grid = self.spread_code(rows.to(sixteenth)).view(-1, CODE_CHANNELS, *sixteenth.shape[2:])
        fused = self.fuse(torch.cat((sixteenth, grid), 1))
        own = rearrange(fused, "b (t c) h w -> (b t) c h w", t=self.num_frames)
        return torch.cat((own, self._every_time(sixteenth)), 1)

    def _decode(self, seen: list[Tensor], fused: Coarse) -> Stack:
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

        With ``repeat_row`` one row of each sample is drawn and repeated; the authors' test scripts
        repeat one for all samples.
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


def _blocks(inputs: int, widths: tuple[int, ...]) -> nn.Sequential:
    pairs = zip((inputs, *widths[:-1]), widths, strict=True)
    return nn.Sequential(*(ConvolutionBlock(before, after) for before, after in pairs))


class PaperRefiner(nn.Module):
    """Finish each warped frame by itself; sides must be multiples of 32 and at least 128."""

    def __init__(self, channels: int = 3, *, times: int = 1, sees_mask: bool = False) -> None:
        """``times`` is how many frames of each clip, which follow one another, are told apart;
        with ``sees_mask`` the last channel that it sees is what was visible.
        """
        super().__init__()
        self.channels, self.times, self.sees_mask = channels, times, sees_mask
        inputs = (channels + sees_mask, *(widths[-1] for widths in REFINER_DOWN))
        self.down = nn.ModuleList(
            _blocks(before, widths) for before, widths in zip(inputs, REFINER_DOWN, strict=False)
        )
        self.to_code = nn.Sequential(
            nn.Conv2d(512, 1024, 4, bias=False), nn.BatchNorm2d(1024), nn.Tanh()
        )
        self.from_code = nn.Sequential(
            nn.ConvTranspose2d(1024, 512, 4, bias=False),
            nn.BatchNorm2d(512),
            nn.LeakyReLU(0.2, inplace=True),
        )
        before = (512, *(widths[-1] for widths in REFINER_UP))
        skips = [widths[-1] for widths in reversed(REFINER_DOWN)]
        self.up = nn.ModuleList(
            _blocks(inputs + skip, widths)
            for inputs, skip, widths in zip(before, skips, REFINER_UP, strict=False)
        )
        self.to_picture = nn.ConvTranspose2d(64, channels, 3, 1, 1)

    def forward(
        self,
        warped: Stack,
        visible: Float[Tensor, "frames 1 height width"],
        label_maps: Int[Tensor, "frames height width"],
        first_frame: Stack,
    ) -> tuple[Stack, None]:
        """Return finished frames in [0, 1], and no labels.

        ``label_maps`` and ``first_frame`` are ignored: the authors' network is not shown them.
        """
        del label_maps, first_frame
        noise = self._noise(warped)
        filled = _to_colours(warped * visible + noise * (1 - visible), self.channels)
        if self.sees_mask:
            filled = torch.cat((filled, visible.to(filled)), 1)
        times = self.times if self.training else 1
        pictures = [self._finish(filled[time::times]) for time in range(times)]
        picture = rearrange(torch.stack(pictures), "t b c h w -> (b t) c h w")
        return picture.expand(-1, 3, -1, -1), None

    def _finish(self, hidden: Float[Tensor, "frames seen height width"]) -> Stack:
        skips = []
        for block in self.down:
            hidden = block(hidden)
            skips.append(hidden)
            hidden = F.max_pool2d(hidden, 2)
        hidden = self.from_code(self.to_code(hidden))
        for block in self.up:
            hidden = F.interpolate(hidden, scale_factor=2.0, mode="bilinear")
            hidden = block(torch.cat((hidden, skips.pop()), 1))
        return torch.sigmoid(self.to_picture(hidden).float())

    def _noise(self, warped: Stack) -> Float[Tensor, "_ 3 height width"]:
        """Draw one picture of noise: anew in training, where each clip of several ``times`` has its
        own, the same in generation.
        """
        generator = None if self.training else torch.Generator().manual_seed(NOISE_SEED)
        times = self.times if self.training else 1
        clips = len(warped) // times if times > 1 else 1
        noise = torch.randn(clips, *warped.shape[1:], generator=generator).to(warped)
        return noise.repeat_interleave(times, 0)
