"""The frozen networks that an evaluation asks, and the files that each of them needs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from seg2vid.data.teachers.flow import RaftFlow
from seg2vid.data.teachers.labels import BundledTeacher
from seg2vid.evaluation.measure import Judges
from seg2vid.models.judges.files import judge_folder
from seg2vid.models.judges.i3d import load_i3d
from seg2vid.models.judges.inception import load_inception
from seg2vid.models.judges.perceptual import load_perceptual_distance
from seg2vid.models.weights import SEGMENTER, find_weights
from seg2vid.tools.files import digest_of

SEGMENTER_FILE = "segmenter/model.safetensors"
"""Name of the bundled segmenter in a protocol's list of judges."""
JUDGE_FILES = (
    "alexnet_features.safetensors",
    "lpips_v01_alex_lin.safetensors",
    "inception_fid_fp16.safetensors",
    "i3d_kinetics400_fp16.safetensors",
    "raft_small.safetensors",
)
"""The files of the judges that are not part of the package."""
_LOADERS: dict[str, Callable[[Path], Any]] = {
    "perceptual": load_perceptual_distance,
    "inception": load_inception,
    "i3d": load_i3d,
    "flow": partial(RaftFlow, scale=1.0),
}


def present_folder(folder: Path | None) -> Path | None:
    """Return the folder of judges that is named, or the usual one; None where that is missing."""
    place = judge_folder(folder)
    return place if folder is not None or place.is_dir() else None


def load_judges(folder: Path | None) -> Judges:
    """Load every judge from ``folder`` (or ``SEG2VID_JUDGES``); the segmenter alone without one.

    Raises ``ModelError`` for a file that is missing in a folder or is not the pinned one.
    """
    place = present_folder(folder)
    if place is None:
        return Judges(BundledTeacher())
    loaded = {name: load(place) for name, load in _LOADERS.items()}
    return Judges(BundledTeacher(), **loaded)


def judge_digests(folder: Path | None) -> dict[str, str]:
    """Return the SHA-256 of the segmenter's file and of every judge's that is there."""
    place = present_folder(folder)
    found = {SEGMENTER_FILE: digest_of(find_weights(SEGMENTER))}
    for name in JUDGE_FILES:
        if place is not None and (place / name).is_file():
            found[name] = digest_of(place / name)
    return found
