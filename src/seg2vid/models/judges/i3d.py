"""I3D (Carreira and Zisserman, CVPR 2017) trained on Kinetics-400, frozen: one clip → 400 logits,
with which the Fréchet video distance is measured.

Convolutions bear the names of the weight file, which says how large they are, with their
normalisation folded in.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.models.judges.files import frozen, load_weights
from seg2vid.models.judges.inception import folded
from seg2vid.structures import Frames
from seg2vid.tools.errors import ModelError

Volume = Float[Tensor, "batch channel time height width"]
Result = Float[Tensor, "batch channel_out time_out height_out width_out"]

WEIGHTS = "i3d_kinetics400_fp16.safetensors"
SIDE = 224
"""Pixels on a side of what the network looks at."""
SHORTEST = 9
"""Frames of the shortest clip that leaves the two moments of time the last pooling needs."""
BLOCKS = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
Triple = tuple[int, ...]
"""A number each for time, height and width."""
PLANE, CUBE = (1, 3, 3), (3, 3, 3)
"""Windows of pooling."""
POOLED_BEFORE = {"4b": CUBE, "5b": (2, 2, 2)}
"""Blocks that a pooling of time and space stands before, with its window."""


class _Convolution(nn.Conv3d):
    """Convolution with TensorFlow's SAME padding, and a ReLU."""

    def forward(self, clip: Volume) -> Result:
        padded, padding = same_padded(clip, self.kernel_size, self.stride)
        return F.relu(convolved(padded, self, padding), inplace=True)


class I3D(nn.Module):
    """Clip → logits of 400 actions.

    Computed in float32, also under autocast. Two clips together and each alone gave the same bits
    on one thread; two threads moved logits, of deviation 2.9, by at most 2.0e-5. ``network`` under
    bfloat16 autocast moves them by 2.3 % of their norm.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        """``weights`` are its parameters, by name: weight and bias of every convolution."""
        super().__init__()
        for key in (key for key in weights if key.endswith(".weight")):
            name = key.removesuffix(".weight")
            outputs, inputs, side = weights[key].shape[:3]
            stride = 2 if name == "Conv3d_1a_7x7" else 1
            self.add_module(name, _Convolution(inputs, outputs, side, stride))
        self.logits = nn.Conv3d(1024, 400, 1)

    def forward(self, frames: Frames) -> Float[Tensor, "batch 400"]:
        """Return the logits of clips of any size, RGB in [0, 1], of at least 9 frames.

        Frames are resized to 224x224 bilinearly, nothing is smoothed before they shrink. Raises
        ``ModelError`` for shorter clips.
        """
        if frames.shape[1] < SHORTEST:
            what, fix = f"clips of at least {SHORTEST} frames for I3D", "judge longer clips"
            raise ModelError(what, got=f"{frames.shape[1]} frames", fix=fix)
        batch = frames.shape[0]
        with torch.autocast(frames.device.type, enabled=False):
            stack = rearrange(frames.float(), "b t c h w -> (b t) c h w")
            seen = F.interpolate(stack, (SIDE, SIDE), mode="bilinear", align_corners=False)
            return self.network(rearrange(2 * seen - 1, "(b t) c h w -> b c t h w", b=batch))

    def network(self, clip: Float[Tensor, "batch 3 time 224 224"]) -> Float[Tensor, "batch 400"]:
        """Return the logits of clips in [-1, 1], RGB: the network proper."""
        hidden = clip.contiguous(memory_format=torch.channels_last_3d)
        hidden = max_pooled(self._convolved(hidden, "Conv3d_1a_7x7"), PLANE, (1, 2, 2))
        hidden = self._convolved(hidden, "Conv3d_2b_1x1", "Conv3d_2c_3x3")
        hidden = max_pooled(hidden, PLANE, (1, 2, 2))
        for block in BLOCKS:
            if block in POOLED_BEFORE:
                hidden = max_pooled(hidden, POOLED_BEFORE[block], (2, 2, 2))
            branch = f"Mixed_{block}_b"
            parts = (
                self._convolved(hidden, branch + "0"),
                self._convolved(hidden, branch + "1a", branch + "1b"),
                self._convolved(hidden, branch + "2a", branch + "2b"),
                self._convolved(max_pooled(hidden, CUBE, (1, 1, 1)), branch + "3b"),
            )
            hidden = torch.cat(parts, 1)
        hidden = F.avg_pool3d(hidden, (2, 7, 7), 1)
        return convolved(hidden, self.logits, (0, 0, 0)).mean((2, 3, 4))

    def _convolved(self, clip: Volume, *names: str) -> Result:
        for name in names:
            clip = self.get_submodule(name)(clip)
        return clip


def same_padded(
    clip: Volume, kernel: Triple, stride: Triple
) -> tuple[Float[Tensor, "batch channel _ _ _"], Triple]:
    """Return the clip and the padding on both sides that amount to TensorFlow's SAME.

    SAME covers the clip with ceil(size / stride) windows and puts the odd zero behind; it is
    appended here. Before a pooling by maximum zeros do no harm, since nothing there is negative.
    """
    sizes = clip.shape[2:]
    totals = [
        max((-(-size // step) - 1) * step + window - size, 0)
        for size, window, step in zip(sizes, kernel, stride, strict=True)
    ]
    odd = [total % 2 for total in totals]
    if any(odd):
        clip = F.pad(clip, (0, odd[2], 0, odd[1], 0, odd[0]))
    return clip, tuple(total // 2 for total in totals)


def max_pooled(clip: Volume, kernel: Triple, stride: Triple) -> Result:
    """Return the maximum of each window, SAME padded."""
    clip, padding = same_padded(clip, kernel, stride)
    return F.max_pool3d(clip, kernel, stride, padding)


def convolved(clip: Volume, layer: nn.Conv3d, padding: Triple) -> Result:
    """Apply the weights of ``layer``.

    On a processor PyTorch computes one small clip by another path than two clips; oneDNN
    is called here in its place: 0.51 s for 9 frames on one thread instead of 0.83 s, and
    the same logits to 2.4e-5.
    """
    is_plain = clip.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if is_plain and clip.device.type == "cpu" and torch._C._has_mkldnn:
        arguments = (padding, layer.stride, layer.dilation, layer.groups)
        return torch.mkldnn_convolution(clip, layer.weight, layer.bias, *arguments)
    return F.conv3d(clip, layer.weight, layer.bias, layer.stride, padding)


def load_i3d(folder: Path | None = None) -> I3D:
    """Load I3D, frozen, in float32; raise ``ModelError`` as ``find_judge`` does."""
    stored = load_weights(WEIGHTS, folder)
    weights = {f"logits.{part}": stored.pop(f"logits.conv3d.{part}") for part in ("weight", "bias")}
    for key in (key for key in stored if key.endswith(".conv3d.weight")):
        place = key.removesuffix(".conv3d.weight")
        names = ("weight", "bias", "running_mean", "running_var")
        scale, shift, mean, variance = (stored[f"{place}.bn.{name}"] for name in names)
        pair = folded(stored[key], mean=mean, variance=variance, shift=shift, scale=scale)
        name = place.replace(".", "_")
        weights[f"{name}.weight"], weights[f"{name}.bias"] = pair
    network = frozen(I3D(weights), weights)
    nn.utils.convert_conv3d_weight_memory_format(network, torch.channels_last_3d)
    return network
