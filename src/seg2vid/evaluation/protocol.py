"""An evaluation protocol: everything a number depends on but the model, frozen in a file.

``protocols/NAME-vN.yaml`` is never changed once figures were published under it; what shall be
otherwise becomes the next version. ``docs/evaluation.md`` tells what each is for.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from seg2vid.tools.errors import Seg2VidError

PROTOCOLS = Path(__file__).with_name("protocols")

Task = Literal["prediction", "generation", "stills"]
"""What a model is given: the real first frame and its label map; a label map alone; a label map,
for one picture.
"""
SourceKind = Literal["toycity", "recordings", "stills", "videos"]
BASELINE_KEYS = ("truth", "repeat", "extrapolated", "posterior", "nearest", "mean_colour")
"""What can be measured beside the models; ``truth`` always is."""


@dataclass(frozen=True)
class Protocol:
    """One protocol; the fields are those of its file. Times count frames, 0 is the first one."""

    name: str
    """With its version, as in ``toycity-v1``."""
    about: str
    task: Task
    source: SourceKind
    """Where clips come from: rendered, cut from recordings, photos, or two folders of videos."""
    folder: str = ""
    """Folder below the evaluation data that holds recordings or photos."""
    starts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """First frames of the clips of each recording."""
    step: int = 1
    """Every how manyth frame of a recording is taken."""
    first_seed: int = 0
    """Seed of the first rendered clip."""
    clips: int = 0
    """Number of rendered clips."""
    training: str = ""
    """Folder of training photos, for the baselines that look one up."""
    height: int = 128
    width: int = 256
    num_frames: int = 8
    """Frames after the first one."""
    horizons: tuple[int, ...] = (8,)
    """Figures are means over frames up to each of these; videos are evaluated up to each."""
    samples: int = 4
    """Futures that are drawn for each clip."""
    seed: int = 0
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
    replicates: int = 1000
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
    try:
        values: Any = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise _wrong(source, "YAML", str(error)) from None
    if not isinstance(values, dict):
        raise _wrong(source, "fields of a protocol", type(values).__name__)
    known = {entry.name for entry in fields(Protocol)} - {"sha256"}
    unknown = sorted(set(values) - known)
    if unknown or not {"name", "about", "task", "source"} <= set(values):
        what = f"name, about, task, source and any of {', '.join(sorted(known))}"
        raise _wrong(source, what, f"unknown {unknown}" if unknown else f"only {sorted(values)}")
    for name, choices in (("task", get_args(Task)), ("source", get_args(SourceKind))):
        if values[name] not in choices:
            raise _wrong(source, f"{name} out of {', '.join(choices)}", repr(values[name]))
    _check_kinds(values, source)
    plain: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in values.items()
    }
    starts = {name: tuple(times) for name, times in values.get("starts", {}).items()}
    plain |= {"starts": starts, "sha256": hashlib.sha256(content).hexdigest()}
    protocol = Protocol(**plain)
    last = 0 if protocol.is_still else protocol.num_frames
    times = (*protocol.horizons, *protocol.picture_times, *protocol.warping_times)
    if any(not 0 <= time <= last for time in times):
        raise _wrong(source, f"times from 0 to {last}", str(sorted(set(times))))
    if "truth" not in protocol.baselines or not set(protocol.baselines) <= set(BASELINE_KEYS):
        what = f"baselines out of {', '.join(BASELINE_KEYS)}, truth among them"
        raise _wrong(source, what, ", ".join(map(str, protocol.baselines)))
    return protocol


def _check_kinds(values: Mapping[str, Any], source: str) -> None:
    """Raise ``Seg2VidError`` for a field that is no number, list, text or mapping as it should."""
    samples = Protocol("", "", "stills", "stills")
    for name, value in values.items():
        usual = getattr(samples, name)
        kind: type = list if isinstance(usual, tuple) else dict if usual == {} else type(usual)
        if not isinstance(value, kind):
            raise _wrong(source, f"{name} as {kind.__name__}", repr(value))
    if not all(isinstance(times, list) for times in values.get("starts", {}).values()):
        raise _wrong(source, "starts as a list of each recording", repr(values["starts"]))


def _wrong(source: str, what: str, got: str) -> Seg2VidError:
    return Seg2VidError(f"{what} in protocol {source}", got=got, fix="repair the file")
