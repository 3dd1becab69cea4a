"""The judges' weight files: which are there, and how to make them from the official ones."""

import os
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import save_file
from torch import Tensor

from seg2vid.errors import ModelError, expected
from seg2vid.features import INCEPTION_CLASSES, JUDGES, digest_of, judge_folder

INCEPTION = "inception_fid_fp16.safetensors"
PATTERNS = {
    "alexnet_features.safetensors": r"(features\.(?:0|3|6|8|10)\.(?:weight|bias))",
    "lpips_v01_alex_lin.safetensors": r"(lin\d\.model\.1\.weight)",
    "vgg16_features_fp16.safetensors": (
        r"(features\.(?:0|2|5|7|10|12|14|17|19|21)\.(?:weight|bias))"
    ),
    INCEPTION: r"(?:.*\.)?(layers\..+\.(?:weight|beta|mean|var))",
    "i3d_kinetics400_fp16.safetensors": (
        r"(?:.*\.)?((?:Conv3d_\w+|Mixed_\w+\.\w+|logits)\.(?:conv3d|bn)"
        r"\.(?:weight|bias|running_mean|running_var))"
    ),
    "raft_small.safetensors": r"(?:module\.)?((?:fnet|cnet|update_block)\..+)",
}
"""What the official names of a judge's tensors look like; the group is our name."""
PREFIXES = {INCEPTION: "net."}
"""What our names begin with beyond that."""
CLASSES_PATTERN = r"(?:.*\.)?output\.weight"


@dataclass(frozen=True)
class JudgeState:
    """One judge's file in a folder."""

    name: str
    what: str
    is_found: bool
    is_pinned: bool
    """Its bytes are the ones that are known to be right."""
    licence: str
    source: str
    """Where the official file lies, for ``convert_official``."""


def describe_judges(folder: Path | None = None) -> list[JudgeState]:
    """Return what is known of every judge's file in ``folder`` (or ``SEG2VID_JUDGES``)."""
    place = judge_folder(folder)
    return [
        JudgeState(
            name=name,
            what=judge.what,
            is_found=(place / name).is_file(),
            is_pinned=is_pinned(place / name),
            licence=judge.licence,
            source=judge.source,
        )
        for name, judge in JUDGES.items()
    ]


def is_pinned(path: Path) -> bool:
    """Say whether a file is there and has the SHA-256 that belongs to its name."""
    pinned = JUDGES.get(path.name)
    return pinned is not None and path.is_file() and digest_of(path) == pinned.sha256


def convert_official(path: Path, folder: Path) -> Path:
    """Make a judge's file in ``folder`` from an official file, TorchScript or a state dictionary.

    The names of its tensors tell which judge it is. Returns the path of the file;
    ``is_pinned`` says whether its bytes are the known ones, without which it will not be loaded.
    Where the FID Inception has its classes, they go into ``inception_classes_fp16.safetensors``
    beside it. Raises ``ModelError`` where the file cannot be read or is none of the judges.
    """
    stored = _read_official(path)
    found = {name: _renamed(stored, name) for name in JUDGES}
    fitting = [name for name, own in found.items() if len(own) == JUDGES[name].tensors]
    if len(fitting) != 1:
        what = f"the tensors of one of the judges {', '.join(JUDGES)} in {path}"
        got = f"{len(stored)} tensors, {', '.join(sorted(stored)[:3])} ..."
        fix = "take the official file: describe_judges says where it lies"
        raise ModelError(expected(what, got=got, fix=fix))
    name = fitting[0]
    classes = [tensor for key, tensor in stored.items() if re.fullmatch(CLASSES_PATTERN, key)]
    if name == INCEPTION and classes:
        _save({"net.output.weight": classes[0].half()}, folder / INCEPTION_CLASSES)
    return _save(found[name], folder / name)


def _renamed(stored: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors, of any shape, that look like those of this judge, under our names."""
    matches = {key: re.fullmatch(PATTERNS[name], key) for key in stored}
    precision = torch.float16 if JUDGES[name].is_half else torch.float32
    prefix = PREFIXES.get(name, "")
    return {
        prefix + match[1]: stored[key].to(precision)
        for key, match in matches.items()
        if match is not None
    }


def _read_official(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, of any shape, without running what a pickle may hide."""
    try:
        if zipfile.is_zipfile(path) and _is_script(path):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                network = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            content = network.state_dict()
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, EOFError, zipfile.BadZipFile) as error:
        what, fix = f"an official weight file at {path}", "download it again"
        raise ModelError(expected(what, got=str(error)[:200], fix=fix)) from error
    pairs = content.items() if isinstance(content, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, Tensor)}


def _is_script(path: Path) -> bool:
    """Say whether a zip file holds TorchScript."""
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _save(tensors: dict[str, Tensor], path: Path) -> Path:
    """Write tensors of any shape, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(
        {key: value.detach().contiguous().clone() for key, value in tensors.items()}, unfinished
    )
    unfinished.replace(path)
    return path
