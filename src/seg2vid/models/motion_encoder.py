"""Real clip + label map → q(z), in two branches. Training and motion transfer only.

Paper Sec. 3.2: each branch sees the whole clip and the semantics of its own half of the classes.
Here the background code is one vector (the camera moves the background as a whole) and the
foreground code is one vector for each object, so that an object moves in one piece.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.labels.space import LabelSpace
from seg2vid.models.config import ModelConfig
from seg2vid.models.layers import (
    LOG_VARIANCE_RANGE,
    MAX_OBJECTS,
    ConvolutionBlock,
    ResidualBlock,
    coordinates,
    join,
    pool_rows,
    spread_rows,
)
from seg2vid.models.motion_decoder import DRIVES, PASSES_BY, Sweep
from seg2vid.models.paper import PaperMotionEncoder
from seg2vid.structures import Features, Frames, Labels, Latent, Objects, Pictures, Posterior

Coarse = Float[Tensor, "batch channel coarse_height coarse_width"]
Matched = Float[Tensor, "batch time matched coarse_height coarse_width"]


def _branch(num_frames: int, num_classes: int, width: int) -> nn.Sequential:
    """Encode the clip as differences from its first frame, with one half of the classes."""
    inputs = 3 * (num_frames + 1) + num_classes + 2
    body = nn.Sequential(
        ConvolutionBlock(inputs, 2 * width, kernel=5, stride=2),
        ResidualBlock(2 * width),
        ConvolutionBlock(2 * width, 3 * width, stride=2),
        ResidualBlock(3 * width),
        ResidualBlock(3 * width),
    )
    return nn.Sequential(OrderedDict(body=body))


class FrameMatching(nn.Module):
    """Where the patches of each frame lie in the frame before: correlation of learned features.

    Differences of frames alone say that something moved, but hardly how far: how the camera turns
    was not learned from them. (Correlation layer: Dosovitskiy et al., FlowNet, ICCV 2015.)
    """

    def __init__(self, width: int, reach: tuple[int, int]) -> None:
        super().__init__()
        self.reach = reach
        self.features = nn.Sequential(
            ConvolutionBlock(3, width, kernel=4, stride=2),
            ConvolutionBlock(width, 2 * width, kernel=4, stride=2),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
        )
        shifts = (2 * reach[0] + 1) * (2 * reach[1] + 1)
        self.body = nn.Sequential(ConvolutionBlock(shifts, 2 * width), ResidualBlock(2 * width))

    def forward(self, video: Float[Tensor, "batch every_frame 3 height width"]) -> Matched:
        """Describe the displacement between consecutive frames, at a quarter of the resolution."""
        batch = video.shape[0]
        features = self.features(join(rearrange(video - 0.5, "b t c h w -> (b t) c h w")))
        features = rearrange(F.normalize(features, dim=1), "(b t) c h w -> b t c h w", b=batch)
        before, after = (half.flatten(0, 1) for half in (features[:, :-1], features[:, 1:]))
        # Cosines are small; the factor brings them to where batch norm need not rescue them.
        matched = self.body(4 * correlation(before, after, self.reach))
        return rearrange(matched, "(b t) c h w -> b t c h w", b=batch)


def correlation(
    before: Features, after: Features, reach: tuple[int, int]
) -> Float[Tensor, "batch shift height width"]:
    """Return the inner product of ``after`` at each place with ``before`` at each place nearby.

    Shifts run over dy = -reach[0] ... reach[0], then dx = -reach[1] ... reach[1]; outside the
    picture ``before`` is 0.
    """
    tall, wide = reach
    height, width = before.shape[2:]
    padded = F.pad(before, (wide, wide, tall, tall))
    rows = torch.stack([padded[:, :, y : y + height] for y in range(2 * tall + 1)], 1)
    # Whole rows are multiplied, as matrices; of each product a band is kept.
    products = torch.einsum("b y c h v, b c h w -> b y h w v", rows, after)
    shifts = torch.arange(2 * wide + 1, device=after.device)
    band = torch.arange(width, device=after.device).unsqueeze(1) + shifts
    near = products.gather(-1, band.expand(*products.shape[:3], -1, -1))
    return rearrange(near, "b y h w x -> b (y x) h w")


CAMERA = 8
"""Numbers that describe how the camera moved between two consecutive frames."""


class CameraSweep(nn.Module):
    """How well steady drives explain a clip → what the camera did."""

    outputs = 64 + 2 * 3

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(1.5))
        self.body = nn.Sequential(nn.Linear(3 * len(DRIVES), 64), nn.LeakyReLU(0.2))

    def forward(self, sweep: Sweep) -> Float[Tensor, "batch seen"]:
        """Return features, and the mean drive of those that explain it well, at each moment."""
        camera = sweep.camera
        drives = camera.new_tensor(DRIVES) / camera.new_tensor([10.0, 0.5])
        likely = (-self.sharpness.exp() * camera).softmax(1)
        mean = torch.einsum("b d m, d n -> b m n", likely, drives)
        return torch.cat((self.body(camera.flatten(1)), mean.flatten(1)), 1)


class ObjectSweep(nn.Module):
    """How well passing by each object explains a clip → what the object did."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(1.5))
        self.body = nn.Sequential(nn.Linear(2 * len(PASSES_BY), 64), nn.LeakyReLU(0.2))
        # Features, mean pass by early and late, the camera's drive, the object's own speed.
        self.head = nn.Linear(64 + 4 + 2 + 2, outputs)

    def forward(self, sweep: Sweep) -> Float[Tensor, "batch object both"]:
        """Return what to add to each object's code."""
        units = sweep.objects.new_tensor([10.0, 1.5])
        likely = (-self.sharpness.exp() * sweep.objects).softmax(2)
        pairs = sweep.objects.new_tensor(PASSES_BY) / units
        mean = torch.einsum("b o p h, p n -> b o h n", likely, pairs)
        driven = sweep.driven / sweep.driven.new_tensor([10.0, 0.5])
        driven = driven.unsqueeze(1).expand(-1, mean.shape[1], -1)
        own = driven[..., :1] - mean[..., 0]
        seen = (self.body(sweep.objects.flatten(2)), mean.flatten(2), driven, own)
        return self.head(torch.cat(seen, -1))


class MotionEncoder(nn.Module):
    """The two-branch encoder of q(z | clip, labels)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        space, decoder = LabelSpace.from_dict(config.label_space), config.flow_decoder
        own = config.motion_encoder
        self.num_channels, self.semantics = space.num_channels, config.semantics
        self.foreground = [i for i in space.foreground_ids if self.semantics == "split"]
        others = range(self.num_channels if self.semantics != "none" else 0)
        self.background = [i for i in others if i not in self.foreground]
        width, time, matched = own.width, config.num_frames, 2 * own.matching_width
        self.background_branch = _branch(time, len(self.background), width)
        if self.semantics == "split":
            self.foreground_branch = _branch(time, len(self.foreground), width)
        self.matching = FrameMatching(own.matching_width, own.matching_reach)
        self.camera = nn.Linear(16 * matched, CAMERA)
        self.scene = nn.Sequential(
            ConvolutionBlock(3 * width, 4 * width, stride=2),
            nn.AdaptiveAvgPool2d((2, 4)),
            nn.Flatten(),
        )
        self.sweep = CameraSweep()
        seen = 32 * width + CAMERA * time + CameraSweep.outputs
        self.background_head = nn.Linear(seen, 2 * decoder.background_code)
        self.foreground_code = decoder.foreground_code
        if self.semantics == "split":
            inputs = 3 * width + matched * time
            self.foreground_head = nn.Conv2d(inputs, 2 * decoder.foreground_code, 1)
            self.object_sweep = ObjectSweep(2 * decoder.foreground_code)

    def forward(
        self,
        first_frame: Pictures,
        frames: Frames,
        label_map: Labels,
        objects: Objects,
        sweep: Sweep,
    ) -> Posterior:
        """Encode RGB in [0, 1]; ``objects`` from ``find_objects``, at an eighth of the size.

        ``sweep`` is what ``MotionDecoder.sweep`` says of the clip.
        """
        # Half resolution: displacements halve and so does the reach the convolutions need.
        video = torch.cat((first_frame.unsqueeze(1), frames), 1)
        video = F.avg_pool2d(rearrange(video, "b t c h w -> (b t) c h w"), 2)
        video = rearrange(video, "(b t) c h w -> b t c h w", b=len(frames))
        changes = rearrange(video[:, 1:] - video[:, :1], "b t c h w -> b (t c) h w")
        clip = join(video[:, 0] - 0.5, 2 * changes)
        semantics = F.one_hot(label_map[:, 1::2, 1::2], self.num_channels).to(clip.dtype)
        semantics = rearrange(semantics, "b h w c -> b c h w")
        place = coordinates(clip)
        background = self.background_branch(join(clip, semantics[:, self.background], place))
        matched = self.matching(video)
        code = self._background_code(background, matched, sweep)
        mean, log_variance = code.float().chunk(2, -1)
        if self.semantics == "split":
            foreground = join(clip, semantics[:, self.foreground], place)
            branch = self.foreground_branch(foreground)
            object_code = self._object_code(branch, matched, objects, sweep)
        else:
            objects = torch.zeros_like(objects)
            object_code = mean.new_zeros(len(mean), 2 * self.foreground_code, *objects.shape[1:])
        object_mean, object_log_variance = object_code.chunk(2, 1)
        spread = Latent(log_variance, object_log_variance)
        return Posterior(
            mean=Latent(mean, object_mean),
            log_variance=spread.map(lambda part: part.clamp(*LOG_VARIANCE_RANGE)),
            objects=objects,
        )

    def _background_code(
        self, background: Coarse, matched: Matched, sweep: Sweep
    ) -> Float[Tensor, "batch both"]:
        batch = len(matched)
        pooled = F.adaptive_avg_pool2d(rearrange(matched, "b t c h w -> (b t) c h w"), (2, 8))
        camera = self.camera(pooled.flatten(1)).unflatten(0, (batch, -1)).flatten(1)
        seen = (self.scene(background), camera, self.sweep(sweep))
        return self.background_head(torch.cat(seen, 1))

    def _object_code(
        self, foreground: Coarse, matched: Matched, objects: Objects, sweep: Sweep
    ) -> Float[Tensor, "batch both coarse_height coarse_width"]:
        moved = rearrange(matched, "b t c h w -> b (t c) h w")
        cells = self.foreground_head(torch.cat((foreground, moved), 1))
        table = pool_rows(cells, objects, MAX_OBJECTS + 1)[:, 1:] + self.object_sweep(sweep)
        # The background, row 0, has no code.
        return spread_rows(F.pad(table, (0, 0, 1, 0)), objects)


def build_motion_encoder(config: ModelConfig) -> MotionEncoder | PaperMotionEncoder:
    """Build the motion encoder of this architecture; ours sees ``Animator.sweep`` as well."""
    return PaperMotionEncoder(config) if config.architecture == "paper" else MotionEncoder(config)


def draw_latent(posterior: Posterior, noise: Latent) -> Latent:
    """Turn noise, as a decoder's ``draw`` gives it, into z ~ q (the reparameterisation trick)."""
    mean, log_variance = posterior.mean, posterior.log_variance
    return Latent(
        mean.background + noise.background * torch.exp(0.5 * log_variance.background),
        mean.foreground + noise.foreground * torch.exp(0.5 * log_variance.foreground),
    )
