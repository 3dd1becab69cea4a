"""The judges' weight files: which are there, and how to make them from the official ones."""

import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seg2vid.models.judges.torchscript import is_torchscript, read_torchscript
from seg2vid.tools.errors import ModelError
from seg2vid.tools.files import check_regular, digest_of, replacing

Network = TypeVar("Network", bound=nn.Module)
JUDGES_VARIABLE = "SEG2VID_JUDGES"
INCEPTION = "inception_fid_fp16.safetensors"
INCEPTION_CLASSES = "inception_classes_fp16.safetensors"
"""The matrix of Inception's classes, for the Inception Score; the file may be missing."""
CLASSES_PATTERN = r"(?:.*\.)?output\.weight"


@dataclass(frozen=True)
class JudgeFile:
    """What is known of the weight file of a judge."""

    what: str
    tensors: int
    """How many it holds."""
    sha256: str
    source: str
    """Where the official file lies that ours was made from."""
    licence: str
    pattern: str
    """What the official names of its tensors look like; the group is our name."""
    prefix: str = ""
    """What our names begin with beyond that."""


JUDGES = {
    "alexnet_features.safetensors": JudgeFile(
        what="AlexNet without its classifier, for LPIPS",
        tensors=10,
        sha256="9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9",
        source="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        licence="BSD-3-Clause",
        pattern=r"(features\.(?:0|3|6|8|10)\.(?:weight|bias))",
    ),
    "lpips_v01_alex_lin.safetensors": JudgeFile(
        what="LPIPS 0.1, weights of AlexNet's channels",
        tensors=5,
        sha256="255d6454292d155a069f693a111769acec003d588617b250f24775369c816e04",
        source="torchmetrics/functional/image/lpips_models/alex.pth in the wheel of torchmetrics",
        licence="BSD-2-Clause",
        pattern=r"(lin\d\.model\.1\.weight)",
    ),
    "vgg16_features_fp16.safetensors": JudgeFile(
        what="VGG-16 up to relu4_3, for the feature term",
        tensors=20,
        sha256="d1164efb1be15ba6eb6f98237be29213ac2ed6598e2e97c49feefcc6ecee4d8d",
        source="https://download.pytorch.org/models/vgg16-397923af.pth",
        licence="BSD-3-Clause",
        pattern=r"(features\.(?:0|2|5|7|10|12|14|17|19|21)\.(?:weight|bias))",
    ),
    INCEPTION: JudgeFile(
        what="FID Inception of 2015-12-05, for FID and KID",
        tensors=376,
        sha256="990b3f8225f785c2352fe9a71554f8adf5e2af6e7fbe147eb32675df3ac24c46",
        source="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
        "inception-2015-12-05.pt",
        licence="Apache-2.0",
        pattern=r"(?:.*\.)?(layers\..+\.(?:weight|beta|mean|var))",
        prefix="net.",
    ),
    "i3d_kinetics400_fp16.safetensors": JudgeFile(
        what="I3D trained on Kinetics-400, for the Fréchet video distance",
        tensors=287,
        sha256="692cd82e05dd37984daf811c313c8570dad325ffdd2b90b150ab63fa5228a116",
        source="https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt",
        licence="Apache-2.0",
        pattern=r"(?:.*\.)?((?:Conv3d_\w+|Mixed_\w+\.\w+|logits)\.(?:conv3d|bn)"
        r"\.(?:weight|bias|running_mean|running_var))",
    ),
    "raft_small.safetensors": JudgeFile(
        what="RAFT-small, optical flow",
        tensors=106,
        sha256="c1262e5cb6bb1b0bc10577a9a4f6967909ba425f29cf1ad73d9dd78391492082",
        source="raft-small.pth in models.zip of https://github.com/princeton-vl/RAFT",
        licence="BSD-3-Clause",
        pattern=r"(?:module\.)?((?:fnet|cnet|update_block)\..+)",
    ),
}
"""The judges' files, which are pinned to their bytes; a file of another name is not. Those with
``fp16`` in their name are stored in half precision; everything is computed in float32."""


def judge_folder(folder: Path | None = None) -> Path:
    """Return the folder of judges: the one given, else ``SEG2VID_JUDGES``, else ``judges``."""
    return folder if folder is not None else Path(os.environ.get(JUDGES_VARIABLE, "judges"))


def find_judge(file_name: str, folder: Path | None = None) -> Path:
    """Return the path of a judge's weights.

    Raises ``ModelError`` where they are missing or their bytes are not the pinned ones.
    """
    path = judge_folder(folder) / file_name
    pinned = JUDGES.get(file_name)
    official = f" or make the file with convert_official from {pinned.source}" if pinned else ""
    if not path.is_file():
        what = f"the judge's weights {file_name} in {path.parent}"
        fix = f"name the folder that holds them with --judges or {JUDGES_VARIABLE}{official}"
        raise ModelError(what, got="no such file", fix=fix)
    if pinned is not None and (digest := digest_of(path)) != pinned.sha256:
        what, fix = f"{path} to have the SHA-256 {pinned.sha256}", f"copy it again{official}"
        raise ModelError(what, got=digest, fix=fix)
    return path


def load_weights(file_name: str, folder: Path | None = None) -> dict[str, Tensor]:
    """Read a judge's tensors in float32; raise ``ModelError`` as ``find_judge`` does."""
    stored = load_file(find_judge(file_name, folder))
    return {name: tensor.float() for name, tensor in stored.items()}


def frozen(network: Network, weights: dict[str, Tensor]) -> Network:
    """Return the network with these weights, for evaluation only."""
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def is_pinned(path: Path) -> bool:
    """Say whether a judge's file is there and has the SHA-256 that belongs to its name."""
    pinned = JUDGES.get(path.name)
    return pinned is not None and path.is_file() and digest_of(path) == pinned.sha256


def convert_official(path: Path, folder: Path) -> Path:
    """Make a judge's file in ``folder`` from an official file, TorchScript or a state dictionary.

    The names of its tensors tell which judge it is. Returns the path of the file; ``is_pinned``
    says whether its bytes are the known ones, without which it will not be loaded. Where the FID
    Inception has its classes, they go into ``inception_classes_fp16.safetensors`` beside it. Raises
    ``ModelError`` where the file cannot be read or is none of the judges.
    """
    stored = read_official(path)
    found = {name: _renamed(stored, name) for name in JUDGES}
    fitting = [name for name, own in found.items() if len(own) == JUDGES[name].tensors]
    if len(fitting) != 1:
        what = f"the tensors of one of the judges {', '.join(JUDGES)} in {path}"
        got = f"{len(stored)} tensors, {', '.join(sorted(stored)[:3])} ..."
        raise ModelError(what, got=got, fix="take the official file: `seg2vid judges` names it")
    name = fitting[0]
    classes = [tensor for key, tensor in stored.items() if re.fullmatch(CLASSES_PATTERN, key)]
    if name == INCEPTION and classes:
        _save({"net.output.weight": classes[0].half()}, folder / INCEPTION_CLASSES)
    return _save(found[name], folder / name)


def _renamed(stored: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    judge, precision = JUDGES[name], torch.float16 if "fp16" in name else torch.float32
    return {
        judge.prefix + match[1]: tensor.to(precision)
        for key, tensor in stored.items()
        if (match := re.fullmatch(judge.pattern, key))
    }


DAMAGES = (
    *(RuntimeError, UnpicklingError, EOFError, zipfile.BadZipFile),
    *(LookupError, TypeError, ValueError, AttributeError),
)
"""What PyTorch's own reader of pickles makes of a file that is none."""


def read_official(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, of any shape, without running what it may hide.

    They may lie in a dictionary within, beside an optimiser's state.
    """
    check_regular(path, "an official weight file", ModelError)
    try:
        if is_torchscript(path):
            return read_torchscript(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (*DAMAGES, OSError) as error:
        what, fix = f"an official weight file at {path}", "download it again"
        raise ModelError(what, got=str(error)[:200], fix=fix) from error
    every = [content, *content.values()] if isinstance(content, dict) else []
    named = [one for one in every if isinstance(one, dict)]
    pairs = [pair for one in named for pair in one.items()]
    return {key: value for key, value in pairs if isinstance(value, Tensor)}


def _save(tensors: dict[str, Tensor], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    copies = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
    with replacing(path) as temporary:
        save_file(copies, temporary)
    return path
