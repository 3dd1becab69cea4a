"""What ``seg2vid prepare`` will do: recordings, classes and teachers, from what it is asked."""

import re
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seg2vid.data.prepare.settings import PrepareOptions
from seg2vid.data.recordings import find_layout, list_recordings
from seg2vid.data.recordings.recording import DEFAULT_RATE, Recording, look_at_video
from seg2vid.data.teachers.flow import get_flow_teacher
from seg2vid.data.teachers.labels import get_label_teacher
from seg2vid.data.teachers.teacher import Teachers
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.tools.errors import MediaError
from seg2vid.tools.ranges import MOST_PROCESSES


@dataclass(frozen=True)
class Job:
    """One recording and what was found by looking at it without decoding."""

    recording: Recording
    rate: float
    frames: int
    """As the file says: an estimate."""


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    options: PrepareOptions
    layout: str
    jobs: tuple[Job, ...]
    space: dict[str, Any]
    """Label space of the dataset."""
    labels: str
    """Label teacher as named by the user, ``none`` where it does not know the classes."""
    labels_by: str
    """The name under which it stands in the index."""
    notes: tuple[str, ...]

    @property
    def parts(self) -> Path:
        """The folder of the parts, while the dataset is being made."""
        return self.options.output / "parts"

    def is_done(self, job: Job) -> bool:
        """Say whether the part of a recording is complete."""
        return (self.parts / f"{job.recording.name}.json").is_file()

    @property
    def own(self) -> tuple[Job, ...]:
        """The share of this job."""
        number, count = self.options.share
        return self.jobs[number - 1 :: count]


def load_teachers(plan: Plan) -> Teachers:
    """Load what labels and measures."""
    flow = plan.options.flow
    return Teachers(
        LabelSpace.from_dict(plan.space),
        None if plan.labels == "none" else get_label_teacher(plan.labels),
        None if flow == "none" else get_flow_teacher(flow, plan.options.judges),
        None if flow == "none" else get_flow_teacher("dis"),
    )


def check_options(options: PrepareOptions) -> None:
    """Raise ``MediaError`` for numbers that make no sense."""
    clip, share, (val, test) = options.clip, options.share, options.split
    workers = options.workers
    numbers = {
        "--frames of at least 2": (clip.num_frames + 1, clip.num_frames >= 1),
        "--fps above 0": (clip.frames_per_second, clip.frames_per_second > 0),
        "--step of at least 1": (clip.step, clip.step is None or clip.step >= 1),
        "--stride of at least 1": (clip.stride, clip.stride is None or clip.stride >= 1),
        "--shard-size of at least 1": (options.shard_size, options.shard_size >= 1),
        "--workers of at least 1": (workers, workers is None or workers >= 1),
        f"--workers of at most {MOST_PROCESSES}": (
            workers,
            workers is None or workers <= MOST_PROCESSES,
        ),
        "--val-share and --test-share of at least 0 and below 1 together": (
            f"{val} and {test}",
            min(val, test) >= 0 and val + test < 1,
        ),
        "--shard-of i/N with i from 1 to N": (f"{share[0]}/{share[1]}", 1 <= share[0] <= share[1]),
        "--size of multiples of 32": (
            f"{clip.width}x{clip.height}",
            all(side > 0 and side % 32 == 0 for side in (clip.width, clip.height)),
        ),
    }
    for what, (got, is_right) in numbers.items():
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
    teacher = None if options.labels == "none" else get_label_teacher(options.labels)
    notes = [f"{options.source}: layout {layout}, {len(recordings)} recordings"]
    labels = options.labels
    if teacher is not None and space is not None and teacher.space.names != space.names:
        labels = "none"
        notes.append(
            f"label maps are of the space {space.name}, which {teacher.name} does not know: frames "
            "without one take it from the nearest that has one"
        )
    known = space or (teacher.space if teacher else get_label_space("cityscapes"))
    jobs = tuple(map(_look, recordings))
    name = "none" if teacher is None or labels == "none" else teacher.name
    return Plan(options, layout, jobs, known.to_dict(), labels, name, tuple(notes))


def _look(recording: Recording) -> Job:
    if recording.video is None or recording.pictures:
        return Job(recording, recording.rate, len(recording.pictures))
    try:
        rate, frames = look_at_video(recording.video)
    except MediaError:
        # A toy-city file, or a broken one: what is wrong will be said when it is read.
        rate = recording.frames_per_second or DEFAULT_RATE
        return Job(recording, rate, len(recording.label_files))
    return Job(recording, recording.frames_per_second or rate, frames)


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
        "label_space": plan.space,
        "label_teacher": plan.labels_by,
        "flow_teacher": options.flow,
        "clip": asdict(options.clip),
        "split_shares": list(options.split),
        "group": options.group,
        "shard_megabytes": options.shard_size,
        "names": [job.recording.name for job in plan.jobs],
    }
