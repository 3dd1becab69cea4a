"""The recordings of ``seg2vid prepare``, and who labels and measures them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg2vid.data.prepare.settings import PrepareOptions
from seg2vid.data.recordings.recording import Recording
from seg2vid.data.teachers.flow import get_flow_teacher
from seg2vid.data.teachers.labels import get_label_teacher
from seg2vid.data.teachers.teacher import Teachers
from seg2vid.labels.space import LabelSpace

PARTS = "parts"
"""Folder of the parts in a dataset that is being made."""


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
        """The folder of the parts."""
        return self.options.output / PARTS

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
    options = plan.options
    return Teachers(
        LabelSpace.from_dict(plan.space),
        None if plan.labels == "none" else get_label_teacher(plan.labels),
        None if options.flow == "none" else get_flow_teacher(options.flow, options.judges),
        None if options.flow == "none" else get_flow_teacher("dis"),
    )
