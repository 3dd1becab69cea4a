"""What ``seg2vid dataset`` will do: label maps, model and wishes, from what it is asked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from seg2vid.data.annotated.layouts import LAYOUTS
from seg2vid.data.annotated.settings import DatasetOptions
from seg2vid.data.prepare.assemble import assign_splits
from seg2vid.data.shares import PARTS
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.media.label_maps import label_maps_in
from seg2vid.models.control import ALL, FASTEST, Control
from seg2vid.models.weights import default_model
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.computing import DeviceName
from seg2vid.tools.errors import LabelMapError, MediaError
from seg2vid.tools.ranges import read_share

RATES = {"cityscapes": 17.0, "kitti-flow": 10.0}
"""Frames per second of the real ones, where they have one rate."""
FRAMES = 9


@dataclass(frozen=True)
class Job:
    """What is to be made."""

    options: DatasetOptions
    maps: tuple[Path, ...]
    instance_maps: tuple[Path | None, ...]
    """Of each map, where one is known."""
    splits: dict[str, str]
    """Of each map, by name."""
    model: str
    rate: float
    frames: int
    control: Control | None
    space: LabelSpace
    """Of the maps."""
    own_space: LabelSpace
    """Of the model, and so of the dataset."""

    @property
    def parts(self) -> Path:
        """The folder where work goes on."""
        return self.options.output / PARTS

    @property
    def share(self) -> tuple[int, int]:
        """Which share, and of how many."""
        return read_share(self.options.shard_of, "dataset")

    def part(self, number: int) -> Path:
        """Return the file that says that a clip is done, and what it is."""
        return self.parts / f"{number:06d}.json"

    def left(self, numbers: Sequence[int]) -> list[int]:
        """Return the clips that are not done."""
        return [number for number in numbers if not self.part(number).is_file()]


def load_model(name: str, options: DatasetOptions) -> Seg2VidPipeline:
    """Load a model to where it is to compute."""
    pipe = Seg2VidPipeline.from_pretrained(name)
    return pipe.to(options.device, precision=options.precision)


def make_job(options: DatasetOptions) -> tuple[Job, Seg2VidPipeline]:
    """Say what is to be made, and with which model; raise ``Seg2VidError`` for what cannot be."""
    read_share(options.shard_of, "dataset")
    pair = options.layout == "kitti-flow"
    if pair and options.frames not in (None, 2):
        fix = "leave --frames out"
        raise MediaError("two frames for kitti-flow", got=options.frames, fix=fix)
    for name, bounds, most in (
        ("--camera-speed", options.camera_speed, FASTEST["forward"]),
        ("--camera-turn", options.camera_turn, FASTEST["turn"]),
    ):
        if bounds and not (len(bounds) == 2 and -most <= bounds[0] <= bounds[1] <= most):
            what = f"two numbers within {most:g} for {name}, the smaller first"
            raise MediaError(what, got=",".join(map(str, bounds)), fix=f"write {name}=-5,5")
    beside = label_maps_in(options.labels)
    maps = list(beside)
    instance_maps = list(beside.values())
    if (folder := options.instances) is not None:
        instance_maps = [folder / one.with_suffix(".png").name for one in maps]
    control = None if options.control is None else Control.read_file(options.control)
    if control is not None and control.camera and (options.camera_speed or options.camera_turn):
        what = "--camera-speed and --camera-turn, or a camera in --control"
        raise MediaError(what, got="both", fix="leave one of them out")
    model = options.model or default_model()
    pipe = load_model(model, options)
    LAYOUTS[options.layout].check(pipe.label_space)
    if control is not None:
        _check_names(control, pipe.label_space)
    own = options.label_space
    job = Job(
        # Decided here, so that all machines compute alike.
        replace(options, device=cast(DeviceName, pipe.device.type), precision=pipe.computes_in),
        tuple(maps),
        tuple(instance_maps),
        assign_splits([(one.name, one.name, None) for one in maps], (options.val_share, 0.0)),
        model,
        options.fps or RATES.get(options.layout) or pipe.frames_per_second,
        2 if pair else options.frames or FRAMES,
        control,
        pipe.label_space if own is None else get_label_space(own),
        pipe.label_space,
    )
    return job, pipe


def _check_names(control: Control, space: LabelSpace) -> None:
    """Raise ``LabelMapError`` for wishes about what no map can have."""
    things = [space.names[id_] for id_ in space.foreground_ids]
    for names, known in ((dict(control.objects), [*things, ALL]), (control.freeze, space.names)):
        for name in names:
            if name.partition("#")[0] not in known:
                what = f"one of {', '.join(known)} in --control"
                raise LabelMapError(what, got=name, fix="name one of them")


def describe(job: Job, pipe: Seg2VidPipeline) -> dict[str, Any]:
    """Return all that decides the content of the dataset."""
    from seg2vid import __version__

    options = job.options
    return {
        "version": __version__,
        "layout": options.layout,
        "count": options.count,
        "model": job.model,
        "model_sha256": pipe.source["model_sha256"],
        "device": pipe.device.type,
        "precision": pipe.computes_in,
        "label_space": pipe.label_space.name,
        "space_of_maps": job.space.name,
        "width": pipe.width,
        "height": pipe.height,
        "frames": job.frames,
        "frames_per_second": job.rate,
        "seed": options.seed,
        "camera_speed": list(options.camera_speed),
        "camera_turn": list(options.camera_turn),
        "control": None if options.control is None else options.control.read_text("utf-8"),
        "instances": None if options.instances is None else str(options.instances),
        "val_share": options.val_share,
        "label_maps": [path.name for path in job.maps],
        "instance_maps": [path and path.name for path in job.instance_maps],
    }
