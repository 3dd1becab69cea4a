"""An evaluation protocol: everything a number depends on but the model, frozen in a file.

``protocols/NAME-vN.yaml`` is never changed once figures were published under it: any change is a
new version. ``docs/evaluation.md`` tells what each is for.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.files import check_regular
from seg2vid.tools.plain import build, parse_plain
from seg2vid.tools.ranges import LARGEST_SEED, ranged

PROTOCOLS = Path(__file__).with_name("protocols")
_FIX = "repair the file"

Task = Literal["prediction", "generation", "stills"]
"""What a model is given: the real first frame and its label map; a label map alone; a label map,
for one picture.
"""
SourceKind = Literal["toycity", "recordings", "stills", "dataset", "videos"]
BASELINE_KEYS = ("truth", "repeat", "extrapolated", "posterior", "nearest", "mean_colour")
"""What can be measured beside the models; ``truth`` always is."""


@dataclass(frozen=True)
class Protocol:
    """One protocol; the fields are those of its file. Times count frames, 0 is the first one."""

    name: str
    """With its version, as in ``toycity-v2``."""
    about: str
    task: Task
    source: SourceKind
    """Where clips come from: rendered, cut from recordings, photos, a dataset that ``seg2vid
    prepare`` or ``seg2vid toycity`` wrote, or two folders of videos (``--videos``).
    """
    folder: str = ""
    """Folder below the evaluation data that holds recordings, photos or the dataset."""
    split: str = "val"
    """Split of the dataset or the recordings: ``val``, ``train`` or another that it has."""
    starts: Mapping[str, tuple[int, ...]] = field(
        default_factory=dict, metadata={"range": (0, 10**9)}
    )
    """First frames of the clips of each recording; ``*`` is every recording of ``split``."""
    layout: str = "folder"
    """Layout of the recordings: a key of ``data.recordings.LAYOUTS``."""
    step: int = ranged(1, 1, 1000)
    """Every so many frames of a recording one is taken."""
    first_seed: int = ranged(0, 0, 1 << 61)
    """Seed of the first rendered clip."""
    clips: int = ranged(0, 0, 100_000)
    """Number of rendered clips, or of those that ``*`` has to find."""
    training: str = ""
    """Folder of training photos, for the baselines that look one up."""
    height: int = ranged(128, 32, 2048)
    width: int = ranged(256, 32, 4096)
    num_frames: int = ranged(8, 0, 999)
    """Frames after the first one."""
    horizons: tuple[int, ...] = (8,)
    """Figures are means over frames up to each of these; videos are evaluated up to each."""
    samples: int = ranged(4, 1, 1000)
    """Futures that are drawn for each clip."""
    seed: int = ranged(0, 0, LARGEST_SEED >> 1)
    """Sample s of clip c is drawn from this + 1000 c + s."""
    picture_times: tuple[int, ...] = (8,)
    """Frames that FID, KID and the Inception Score are shown."""
    warping_times: tuple[int, ...] = (8,)
    """Frames whose warping error is measured, each against the one before it."""
    baselines: tuple[str, ...] = ("truth", "repeat")
    """What is measured beside the models: names out of ``BASELINE_KEYS``."""
    judges: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each judge's file, and of the segmenter."""
    enough: Mapping[str, int] = field(default_factory=dict)
    """Clips or pictures below which a figure is indicative only."""
    replicates: int = ranged(1000, 1, 1_000_000)
    """Resamples of the clips behind an interval of a mean; a tenth for distances of sets."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What networks compute in."""
    data_sha256: str = ""
    """What ``evaluation/cases.digest_of`` of all clips together comes to; empty where unknown."""
    sha256: str = ""
    """Of the file; empty for a protocol that was made on the spot."""

    @property
    def compared_times(self) -> tuple[int, ...]:
        """Frames that are compared with the real ones: the first only where it was generated."""
        if self.task == "stills":
            return (0,)
        return tuple(range(1 if self.task == "prediction" else 0, self.num_frames + 1))

    @property
    def is_still(self) -> bool:
        """Whether pictures are evaluated instead of videos."""
        return self.task == "stills"


def list_protocols() -> list[str]:
    """Return the names of the protocols that come with the package, versions included."""
    return sorted(e.name.removesuffix(".yaml") for e in PROTOCOLS.iterdir() if ".yaml" in e.name)


def get_protocol(name_or_path: str | Path) -> Protocol:
    """Return a protocol by name, its newest version where the name has none, or from a YAML file.

    Raises ``Seg2VidError`` for one that is unknown or wrong.
    """
    name = str(name_or_path)
    if name.endswith((".yaml", ".yml")):
        try:
            check_regular(Path(name), "a protocol file", Seg2VidError)
            return _parse(Path(name).read_bytes(), name)
        except OSError as error:
            got = f"{name}: {error.strerror or error}"
            raise Seg2VidError("a protocol file", got=got, fix="check the path") from None
    known = list_protocols()
    versions = [entry for entry in known if entry.rpartition("-v")[0] == name]
    if name not in known and not versions:
        what = f"a protocol ({', '.join(known)}) or the path of a .yaml file"
        raise Seg2VidError(what, got=repr(name), fix="choose one of them")
    newest = max(versions, key=lambda entry: int(entry.rpartition("-v")[2]), default=name)
    chosen = name if name in known else newest
    return _parse((PROTOCOLS / f"{chosen}.yaml").read_bytes(), name)


def _parse(content: bytes, source: str) -> Protocol:
    """Build a protocol from the bytes of its file; raise ``Seg2VidError`` naming what is wrong."""
    values = parse_plain(content, f"a protocol in {source}")
    if isinstance(values, dict) and "sha256" in values:
        raise _wrong(source, "no sha256, which is that of the file", repr(values["sha256"]))
    protocol = replace(
        build(Protocol, values, f"protocol {source}", fix=_FIX),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    last = 0 if protocol.is_still else protocol.num_frames
    times = (*protocol.horizons, *protocol.picture_times, *protocol.warping_times)
    if any(not 0 <= time <= last for time in times):
        raise _wrong(source, f"times from 0 to {last}", str(sorted(set(times))))
    if "truth" not in protocol.baselines or not set(protocol.baselines) <= set(BASELINE_KEYS):
        what = f"baselines out of {', '.join(BASELINE_KEYS)}, truth among them"
        raise _wrong(source, what, ", ".join(map(str, protocol.baselines)))
    return protocol


def _wrong(source: str, what: str, got: str) -> Seg2VidError:
    return Seg2VidError(f"{what} in protocol {source}", got=got, fix=_FIX)
