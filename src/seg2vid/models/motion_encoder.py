"""Real clip + label map → q(z), in two branches. Training and motion transfer only.

Paper Sec. 3.2: each branch sees the whole clip and the semantics of its own half of the classes.
Here the background code is one vector (the camera moves the background as a whole) and the
foreground code is one vector for each object, so that an object moves in one piece.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.labels.space import LabelSpace
from seg2vid.models.config import ModelConfig
from seg2vid.models.depth import Coarse
from seg2vid.models.layers import (
    LOG_VARIANCE_RANGE,
    MAX_OBJECTS,
    ConvolutionBlock,
    ResidualBlock,
    coordinates,
    join,
    perceptron,
    pool_rows,
    spread_rows,
)
from seg2vid.models.motion_decoder import CAMERA_SPEED, OBJECT_SPEED
from seg2vid.models.paper import PaperMotionEncoder
from seg2vid.structures import Frames, Labels, Latent, Objects, Pictures, Posterior, ScenePaths

SURE = -4.0
"""Log-variance of a code at the start of training."""
MOMENTS = 8
"""Moments of a pass at which the encoder is told the paths."""


def _branch(num_frames: int, num_classes: int, width: int) -> nn.Sequential:
    """Encode the clip as differences from its first frame, with one half of the classes."""
    inputs = 3 * (num_frames + 1) + num_classes + 2
    return nn.Sequential(
        ConvolutionBlock(inputs, 2 * width, kernel=5, stride=2),
        ResidualBlock(2 * width),
        ConvolutionBlock(2 * width, 3 * width, stride=2),
        ResidualBlock(3 * width),
        ResidualBlock(3 * width),
    )


def _head(inputs: int, hidden: int, code: int) -> nn.Sequential:
    """Say mean and log-variance of a code: a sure one at first, for noise is not listened to."""
    return perceptron(inputs, hidden, (0.0,) * code + (SURE,) * code, small=False)


class MotionEncoder(nn.Module):
    """The two-branch encoder of q(z | clip, labels)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        space, decoder = LabelSpace.from_dict(config.label_space), config.flow_decoder
        self.num_channels, self.semantics = space.num_channels, config.semantics
        self.foreground = [i for i in space.foreground_ids if self.semantics == "split"]
        others = range(self.num_channels if self.semantics != "none" else 0)
        self.background = [i for i in others if i not in self.foreground]
        width, time = config.motion_encoder.width, config.num_frames
        self.seconds = time / config.frames_per_second
        self.background_branch = _branch(time, len(self.background), width)
        self.whole = ConvolutionBlock(3 * width, 4 * width, stride=2)
        way = MOMENTS * len(CAMERA_SPEED)
        self.background_head = _head(4 * width + way, 4 * width, decoder.background_code)
        self.foreground_code = decoder.foreground_code
        if self.semantics == "split":
            self.foreground_branch = _branch(time, len(self.foreground), width)
            # What is seen of the object, its own way, its place, and the camera's way.
            seen = 3 * width + MOMENTS * len(OBJECT_SPEED) + 2 + way
            self.foreground_head = _head(seen, 4 * width, decoder.foreground_code)

    def forward(
        self,
        first_frame: Pictures,
        frames: Frames,
        label_map: Labels,
        objects: Objects,
        paths: ScenePaths,
    ) -> Posterior:
        """Encode RGB in [0, 1]; ``objects`` from ``find_objects``, at an eighth of the size.

        ``paths`` are what ``Animator.track`` reads off the clip, or the exact ones, in metres and
        radians, at each frame of ``frames``.
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
        way = self._sample(paths.camera, CAMERA_SPEED)
        background = self.background_branch(join(clip, semantics[:, self.background], place))
        seen = self.whole(background).float().mean((2, 3))
        code = _exactly(self.background_head, seen, way)
        mean, log_variance = code.chunk(2, -1)
        if self.semantics == "split":
            foreground = join(clip, semantics[:, self.foreground], place)
            branch = self.foreground_branch(foreground)
            object_code = self._object_code(branch, way, objects, paths)
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

    def _sample(
        self, path: Float[Tensor, "thing time unit"], speeds: tuple[float, ...]
    ) -> Float[Tensor, "thing sampled"]:
        """Return a path at MOMENTS of the pass, in units of what is driven at usual speeds."""
        units = path.new_tensor(speeds) * self.seconds
        from_start = F.pad(path / units, (0, 0, 1, 0)).transpose(1, 2)
        moments = F.interpolate(from_start, MOMENTS + 1, mode="linear", align_corners=True)
        return moments[..., 1:].transpose(1, 2).flatten(1)

    def _object_code(
        self,
        foreground: Coarse,
        camera: Float[Tensor, "batch way"],
        objects: Objects,
        paths: ScenePaths,
    ) -> Float[Tensor, "batch both coarse_height coarse_width"]:
        seen = pool_rows(foreground, objects, MAX_OBJECTS + 1)[:, 1:]
        own = self._sample(paths.objects.flatten(0, 1), OBJECT_SPEED).unflatten(
            0, (-1, MAX_OBJECTS)
        )
        ahead = paths.pivots[..., :1].clamp(min=1.0)
        place = torch.cat((ahead.log() / 3, paths.pivots[..., 1:] / ahead), -1)
        way = camera.unsqueeze(1).expand(-1, MAX_OBJECTS, -1)
        table = _exactly(self.foreground_head, seen, own, place, way)
        # The background, row 0, has no code.
        return spread_rows(F.pad(table, (0, 0, 1, 0)), objects)


def _exactly(head: nn.Module, *seen: Tensor) -> Tensor:
    with torch.autocast(seen[0].device.type, enabled=False):
        return head(torch.cat([part.float() for part in seen], -1))


def build_motion_encoder(config: ModelConfig) -> MotionEncoder | PaperMotionEncoder:
    """Build the motion encoder of this architecture; ours sees ``Animator.track`` as well."""
    return PaperMotionEncoder(config) if config.architecture == "paper" else MotionEncoder(config)


def draw_latent(posterior: Posterior, noise: Latent) -> Latent:
    """Turn noise, as a decoder's ``draw`` gives it, into z ~ q (the reparameterisation trick)."""
    mean, log_variance = posterior.mean, posterior.log_variance
    return Latent(
        mean.background + noise.background * torch.exp(0.5 * log_variance.background),
        mean.foreground + noise.foreground * torch.exp(0.5 * log_variance.foreground),
    )
