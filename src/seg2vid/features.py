"""Frozen judges, loaded on first use from a local path: shared by losses and metrics, never in a
checkpoint.

A judge's weights are not part of this package. ``find_judge`` looks in the folder named by the
environment variable ``SEG2VID_JUDGES`` and knows the right bytes of each file;
``judge_files.convert_official`` makes the file from the official one.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from seg2vid.errors import ModelError, expected

JUDGES_VARIABLE = "SEG2VID_JUDGES"


@dataclass(frozen=True)
class JudgeFile:
    """What is known of the weight file of a judge."""

    what: str
    tensors: int
    """How many it holds."""
    is_half: bool
    """Stored in half precision; everything is computed in float32."""
    sha256: str
    source: str
    """Where the official file lies that ours was made from."""
    licence: str


JUDGES = {
    "alexnet_features.safetensors": JudgeFile(
        what="AlexNet without its classifier, for LPIPS",
        tensors=10,
        is_half=False,
        sha256="9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9",
        source="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        licence="BSD-3-Clause",
    ),
    "lpips_v01_alex_lin.safetensors": JudgeFile(
        what="LPIPS 0.1, weights of AlexNet's channels",
        tensors=5,
        is_half=False,
        sha256="255d6454292d155a069f693a111769acec003d588617b250f24775369c816e04",
        source="torchmetrics/functional/image/lpips_models/alex.pth in the wheel of torchmetrics",
        licence="BSD-2-Clause",
    ),
    "vgg16_features_fp16.safetensors": JudgeFile(
        what="VGG-16 up to relu4_3, for the feature term",
        tensors=20,
        is_half=True,
        sha256="d1164efb1be15ba6eb6f98237be29213ac2ed6598e2e97c49feefcc6ecee4d8d",
        source="https://download.pytorch.org/models/vgg16-397923af.pth",
        licence="BSD-3-Clause",
    ),
    "inception_fid_fp16.safetensors": JudgeFile(
        what="FID Inception of 2015-12-05, for FID and KID",
        tensors=376,
        is_half=True,
        sha256="990b3f8225f785c2352fe9a71554f8adf5e2af6e7fbe147eb32675df3ac24c46",
        source="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
        "inception-2015-12-05.pt",
        licence="Apache-2.0",
    ),
    "i3d_kinetics400_fp16.safetensors": JudgeFile(
        what="I3D trained on Kinetics-400, for the Fréchet video distance",
        tensors=287,
        is_half=True,
        sha256="692cd82e05dd37984daf811c313c8570dad325ffdd2b90b150ab63fa5228a116",
        source="https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt",
        licence="Apache-2.0",
    ),
    "raft_small.safetensors": JudgeFile(
        what="RAFT-small, optical flow",
        tensors=106,
        is_half=False,
        sha256="c1262e5cb6bb1b0bc10577a9a4f6967909ba425f29cf1ad73d9dd78391492082",
        source="raft-small.pth in models.zip of https://github.com/princeton-vl/RAFT",
        licence="BSD-3-Clause",
    ),
}
"""The judges' files, which are pinned to their bytes; a file of another name is not."""
INCEPTION_CLASSES = "inception_classes_fp16.safetensors"
"""The matrix of Inception's classes, for the Inception Score: a file by itself, which may lack."""


def judge_folder(folder: Path | None = None) -> Path:
    """Return the folder of judges: the one given, else ``SEG2VID_JUDGES``, else ``judges``."""
    return folder if folder is not None else Path(os.environ.get(JUDGES_VARIABLE, "judges"))


def find_judge(file_name: str, folder: Path | None = None) -> Path:
    """Return the path of a judge's weights.

    Raises ``ModelError`` saying where it was looked for, or that the bytes are not the pinned ones.
    """
    place = judge_folder(folder)
    path = place / file_name
    pinned = JUDGES.get(file_name)
    official = f" or make the file with convert_official from {pinned.source}" if pinned else ""
    if not path.is_file():
        raise ModelError(
            expected(
                f"the judge's weights {file_name} in {place}",
                got="no such file",
                fix=f"name the folder that holds them with --judges or {JUDGES_VARIABLE}{official}",
            )
        )
    if pinned is not None and (digest := digest_of(path)) != pinned.sha256:
        what, fix = f"{path} to have the SHA-256 {pinned.sha256}", f"copy it again{official}"
        raise ModelError(expected(what, got=digest, fix=fix))
    return path


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read once as long as it stays."""
    status = path.stat()
    return _digest(path.resolve(), status.st_mtime_ns, status.st_size)


@cache
def _digest(path: Path, modified: int, size: int) -> str:
    """Hash the file; when it was modified and how large it is are parts of the cache's key."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class AlexNetFeatures(nn.Module):
    """The five ReLU maps of AlexNet (Krizhevsky, 2014 variant), for LPIPS."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {
                "0": nn.Conv2d(3, 64, 11, 4, 2),
                "3": nn.Conv2d(64, 192, 5, 1, 2),
                "6": nn.Conv2d(192, 384, 3, 1, 1),
                "8": nn.Conv2d(384, 256, 3, 1, 1),
                "10": nn.Conv2d(256, 256, 3, 1, 1),
            }
        )

    def forward(self, picture: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return the maps, (batch, channel, height, width) each, of a normalised picture."""
        maps = []
        hidden = picture
        for name, layer in self.features.items():
            # The pooling stands before the second and third convolutions.
            hidden = F.relu(layer(F.max_pool2d(hidden, 3, 2) if name in ("3", "6") else hidden))
            maps.append(hidden)
        return maps


class PerceptualDistance(nn.Module):
    """LPIPS v0.1 with AlexNet (Zhang et al., CVPR 2018): 0 for equal pictures, about 0.7 for
    unrelated ones.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.network = AlexNetFeatures()
        self.heads = nn.ParameterList(
            nn.Parameter(torch.zeros(1, channels, 1, 1)) for channels in (64, 192, 384, 256, 256)
        )
        # The constants of the LPIPS authors' release, for pictures in [-1, 1].
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def forward(
        self,
        predicted: Float[Tensor, "batch 3 height width"],
        target: Float[Tensor, "batch 3 height width"],
    ) -> Float[Tensor, " batch"]:
        """Return the distance of each pair of pictures in [0, 1], at least 32 pixels on a side."""
        total = predicted.new_zeros(predicted.shape[0])
        for difference in self._differences(predicted, target):
            total = total + difference.mean((1, 2))
        return total

    def distance_map(
        self,
        predicted: Float[Tensor, "batch 3 height width"],
        target: Float[Tensor, "batch 3 height width"],
    ) -> Float[Tensor, "batch height width"]:
        """Return where the distance lies: every layer's share enlarged bilinearly, and summed.

        The mean over a picture is ``forward`` but for the border, where rows and columns count a
        little more or less once enlarged: 3e-5 of it on photographs of 256x128.
        """
        total = torch.zeros_like(predicted[:, 0])
        for difference in self._differences(predicted, target):
            enlarged = F.interpolate(difference[:, None], total.shape[1:], mode="bilinear")
            total = total + enlarged[:, 0]
        return total

    def _differences(
        self,
        predicted: Float[Tensor, "batch 3 height width"],
        target: Float[Tensor, "batch 3 height width"],
    ) -> list[Tensor]:
        """Return the weighted squared difference in each layer: (batch, height, width) there."""
        pairs = zip(self._unit_maps(predicted), self._unit_maps(target), self.heads, strict=True)
        return [((one - other).square() * head).sum(1) for one, other, head in pairs]

    def _unit_maps(self, picture: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return the feature maps, each pixel's vector scaled to length one: (batch, channel,
        height, width).
        """
        normalised = (2 * picture - 1 - self.shift) / self.scale
        maps = self.network(normalised.contiguous(memory_format=torch.channels_last))
        return [m.float() / (m.float().norm(dim=1, keepdim=True) + 1e-10) for m in maps]


VGG_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)
"""Places of VGG-16's convolutions up to relu4_3 in the usual list of its layers."""
VGG_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512)
VGG_POOLED = {5, 10, 17}
"""Convolutions that a pooling stands before."""


class VGGFeatures(nn.Module):
    """Ten ReLU maps of VGG-16, relu1_1 ... relu4_3, with average pooling (Gatys et al., 2016).

    The authors' code compares twelve maps of VGG-19, relu1_1 ... relu4_4, pooled likewise.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        pairs = zip(VGG_LAYERS, (3, *VGG_WIDTHS), VGG_WIDTHS, strict=False)
        self.features = nn.ModuleDict(
            {str(place): nn.Conv2d(before, after, 3, 1, 1) for place, before, after in pairs}
        )
        # Mean and deviation of ImageNet.
        self.register_buffer("shift", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, picture: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return the maps, (batch, channel, height / f, width / f) for f = 1, 1, 2, 2, 4 ... 8, of
        a picture in [0, 1] of at least 8 pixels on a side.
        """
        maps = []
        hidden = (picture - self.shift) / self.scale
        for place, layer in self.features.items():
            pooled = F.avg_pool2d(hidden, 2) if int(place) in VGG_POOLED else hidden
            hidden = F.relu(layer(pooled))
            maps.append(hidden)
        return maps


def load_vgg_features(folder: Path | None = None) -> VGGFeatures:
    """Load VGG-16 from ``vgg16_features_fp16.safetensors``, frozen.

    Raises ``ModelError`` where the file is missing.
    """
    judge = VGGFeatures()
    weights = load_file(find_judge("vgg16_features_fp16.safetensors", folder))
    judge.load_state_dict(
        {name: tensor.float() for name, tensor in weights.items()}
        | {"shift": judge.shift, "scale": judge.scale}
    )
    return judge.eval().requires_grad_(False)


def shifted_distance(
    judge: PerceptualDistance,
    predicted: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, " batch"]:
    """Return the perceptual distance of both pictures cropped by the same random 0 ... 7 pixels.

    AlexNet looks at every fourth pixel, its deeper layers at every sixteenth: as a loss on an
    unshifted picture it leaves a grid in what it trains.
    """
    top, left = (int(torch.randint(8, ())) for _ in "yx")
    return judge(predicted[..., top:, left:], target[..., top:, left:])


def load_perceptual_distance(folder: Path | None = None) -> PerceptualDistance:
    """Load LPIPS from ``alexnet_features.safetensors`` and ``lpips_v01_alex_lin.safetensors``,
    frozen.

    Raises ``ModelError`` where a file is missing.
    """
    judge = PerceptualDistance()
    judge.network.load_state_dict(load_file(find_judge("alexnet_features.safetensors", folder)))
    heads = load_file(find_judge("lpips_v01_alex_lin.safetensors", folder))
    for index, head in enumerate(judge.heads):
        head.data.copy_(heads[f"lin{index}.model.1.weight"])
    return judge.eval().requires_grad_(False)
