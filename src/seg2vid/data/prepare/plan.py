"""What ``seg2vid prepare`` will do: recordings, classes and teachers, from what it is asked."""

import re
import shlex
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from seg2vid.data.prepare.settings import PrepareOptions
from seg2vid.data.recordings import find_layout, list_recordings
from seg2vid.data.recordings.recording import DEFAULT_RATE, Recording, look_at_video
from seg2vid.data.shares import PARTS
from seg2vid.data.teachers.flow import get_flow_teacher
from seg2vid.data.teachers.labels import get_label_teacher
from seg2vid.data.teachers.teacher import Teachers
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.tools.computing import DeviceName
from seg2vid.tools.devices import choose_device, choose_precision
from seg2vid.tools.errors import MediaError
from seg2vid.tools.ranges import check_ranges


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    options: PrepareOptions
    layout: str
    recordings: tuple[Recording, ...]
    """With the rate of their frames."""
    frames: dict[str, int]
    """Number of frames by name of recording, as the file says: an estimate."""
    space: LabelSpace
    """Of the dataset."""
    labels: str
    """Label teacher as named by the user, ``none`` where it does not know the classes."""
    labels_by: str
    """The name under which it stands in the index."""
    notes: tuple[str, ...]

    @property
    def parts(self) -> Path:
        """The folder of the parts, while the dataset is being made."""
        return self.options.output / PARTS

    def is_done(self, recording: Recording) -> bool:
        """Say whether the part of a recording is complete."""
        return (self.parts / f"{recording.name}.json").is_file()

    @property
    def own(self) -> tuple[Recording, ...]:
        """The share of this job."""
        number, count = self.options.share
        return self.recordings[number - 1 :: count]


def load_teachers(plan: Plan) -> Teachers:
    """Load what labels and measures."""
    flow = plan.options.flow
    return Teachers(
        plan.space,
        None if plan.labels == "none" else get_label_teacher(plan.labels, plan.options),
        None if flow == "none" else get_flow_teacher(flow, plan.options.judges, plan.options),
        None if flow == "none" else get_flow_teacher("dis"),
    )


def check_options(options: PrepareOptions) -> None:
    """Raise ``MediaError`` for numbers that make no sense."""
    check_ranges(options, MediaError)
    check_ranges(options.clip, MediaError)
    _, val, test = options.share, options.val_share, options.test_share
    width, height = options.size
    shares = "--val-share and --test-share of at least 0 and below 1 together"
    are_whole = min(width, height) > 0 and width % 32 == height % 32 == 0
    for what, got, is_right in (
        ("--fps above 0", options.fps, options.fps > 0),
        (shares, f"{val} and {test}", min(val, test) >= 0 and val + test < 1),
        ("--size of multiples of 32", f"{width}x{height}", are_whole),
    ):
        if not is_right:
            raise MediaError(what, got=got, fix="see seg2vid prepare --help")
    for name, pattern in (("--group", options.group), ("--only", options.only)):
        try:
            re.compile(pattern or "")
        except re.error as error:
            what, fix = f"a regular expression for {name}", "for example '^[a-z]+'"
            raise MediaError(what, got=f"{pattern!r}: {error}", fix=fix) from None


def make_plan(options: PrepareOptions) -> Plan:
    """List the recordings, look at each without decoding, choose label space and teacher."""
    layout = find_layout(options.source) if options.layout == "auto" else options.layout
    recordings = [
        recording
        for recording in list_recordings(options.source, layout)
        if options.only is None or re.search(options.only, recording.name)
    ]
    if not recordings:
        what, got = f"recordings with {options.only!r} in their name", f"none in {options.source}"
        raise MediaError(what, got=got, fix="change --only")
    spaces = {r.label_space.name: r.label_space for r in recordings if r.label_space}
    if len(spaces) > 1:
        what, got = "recordings of one label space", ", ".join(sorted(spaces))
        fix = "prepare them one by one: a dataset has one label space"
        raise MediaError(what, got=got, fix=fix)
    space = next(iter(spaces.values()), None)
    teacher = None if options.labels == "none" else get_label_teacher(options.labels, options)
    notes = [f"{options.source}: layout {layout}, {len(recordings)} recordings"]
    labels = options.labels
    if teacher is not None and space is not None and teacher.space.names != space.names:
        labels = "none"
        notes.append(
            f"label maps are of the space {space.name}, which {teacher.name} does not know: frames "
            "without one take it from the nearest that has one"
        )
    known = space or (teacher.space if teacher else get_label_space("cityscapes"))
    name = "none" if teacher is None or labels == "none" else teacher.name
    looked = [_look(recording) for recording in recordings]
    rated = tuple(recording for recording, _ in looked)
    # Decided here, so that all machines compute alike.
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    options = replace(options, device=cast(DeviceName, device.type), precision=precision)
    frames = {recording.name: count for recording, count in looked}
    return Plan(options, layout, rated, frames, known, labels, name, tuple(notes))


def _look(recording: Recording) -> tuple[Recording, int]:
    """Return a recording with its rate, and how many frames it has, without decoding."""
    rate, count = DEFAULT_RATE, len(recording.pictures or recording.label_files)
    if recording.video:
        # A toy-city file, or a broken one: what is wrong will be said when it is read.
        with suppress(MediaError):
            rate, count = look_at_video(recording.video)
    return replace(recording, frames_per_second=recording.frames_per_second or rate), count


def describe(plan: Plan) -> dict[str, Any]:
    """Return what the index says besides counts: provenance and settings."""
    from seg2vid import __version__

    options = plan.options
    return {
        "version": __version__,
        "command": shlex.join(["seg2vid", *sys.argv[1:]]),
        "source": str(options.source),
        "layout": plan.layout,
        "only": options.only,
        "label_space": plan.space.to_dict(),
        "label_teacher": plan.labels_by,
        "flow_teacher": options.flow,
        "precision": choose_precision(options.precision, choose_device(options.device)),
        "clip": asdict(options.clip),
        "split_shares": [options.val_share, options.test_share],
        "group": options.group,
        "shard_megabytes": options.shard_size,
        "names": [recording.name for recording in plan.recordings],
    }
