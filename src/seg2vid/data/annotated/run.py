"""What ``seg2vid dataset`` does: one clip after another in all processes, then the lists of them.

A clip is made in a folder of its own, moved to its place, and only then told of in ``parts``; so
the same command after a crash goes on where it stopped, to the same bytes, and jobs can share the
work. Every process computes on one thread: bytes do not depend on their number.
"""

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tqdm import tqdm

from seg2vid.data.annotated.layouts import LAYOUTS, AnnotatedClip
from seg2vid.data.annotated.settings import DatasetOptions
from seg2vid.data.prepare.assemble import assign_splits
from seg2vid.data.prepare.settings import read_share
from seg2vid.labels.convert import translate_ids
from seg2vid.labels.fit import fit_label_map
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.media.generated import to_pixels
from seg2vid.media.label_maps import read_instance_map, read_label_map
from seg2vid.media.pictures import FORMATS
from seg2vid.models.control import ALL, FASTEST, Control, Wish
from seg2vid.models.layers import OBJECT_FACTOR
from seg2vid.models.weights import default_model
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Labels
from seg2vid.tools.errors import LabelMapError, MediaError, Seg2VidError
from seg2vid.tools.files import digest_of, replacing, sharing
from seg2vid.tools.plain import read_plain
from seg2vid.tools.processes import available_cores, work_in_processes

MANIFEST, SETTINGS = "manifest.json", "settings.json"
RATES = {"cityscapes": 17.0, "kitti-flow": 10.0}
"""Frames per second of the real ones, where they have one rate."""
FRAMES = 9

_STATE: dict[str, Any] = {}


@dataclass(frozen=True)
class Job:
    """What is to be made."""

    options: DatasetOptions
    maps: tuple[Path, ...]
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
        return self.options.output / "parts"

    @property
    def share(self) -> tuple[int, int]:
        """Which share, and of how many."""
        return read_share(self.options.shard_of)

    def part(self, number: int) -> Path:
        """Return the file that says that a clip is done, and what it is."""
        return self.parts / f"{number:06d}.json"

    def left(self, numbers: Sequence[int]) -> list[int]:
        """Return the clips that are not done."""
        return [number for number in numbers if not self.part(number).is_file()]


def run(options: DatasetOptions) -> Iterator[str]:
    """Make a dataset; yield what a person wants to know. Raises ``Seg2VidError``."""
    job, pipe = make_job(options)
    settings, every = describe(job, pipe), range(options.count)
    if (options.output / MANIFEST).is_file():
        _check_same(settings, options.output / MANIFEST)
        _remove_parts(job)
        yield f"{options.output}: already made; nothing to do"
        return
    _check_free(options.output)
    number, count = job.share
    own = every[number - 1 :: count]
    left = job.left(own)
    workers = max(1, min(options.workers or available_cores(), len(left)))
    yield from _costs(job, pipe, len(own), len(left), workers)
    if options.dry_run:
        return
    del pipe
    try:
        job.parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what, got = f"a folder that can be written at {options.output}", str(error)
        raise MediaError(what, got=got, fix="choose another place") from None
    with sharing(job.parts, job.share):
        if (options.output / SETTINGS).is_file():
            _check_same(settings, options.output / SETTINGS)
        with replacing(options.output / SETTINGS) as temporary:
            temporary.write_text(json.dumps(settings, indent=1), "utf-8")
        work(job, job.left(own), workers)
        if missing := job.left(every):
            yield f"{len(own)} clips are done; {len(missing)} are left to the other jobs"
            return
        yield from _finish(job, settings)


def make_job(options: DatasetOptions) -> tuple[Job, Seg2VidPipeline]:
    """Say what is to be made, and with which model; raise ``Seg2VidError`` for what cannot be."""
    number, count = read_share(options.shard_of)
    pair = options.layout == "kitti-flow"
    for what, got, is_right in (
        ("--shard-of i/N with i from 1 to N", options.shard_of, 1 <= number <= count),
        ("two frames for kitti-flow", options.frames, not pair or options.frames in (None, 2)),
    ):
        if not is_right:
            raise MediaError(what, got=got, fix="see seg2vid dataset --help")
    for name, bounds, most in (
        ("--camera-speed", options.camera_speed, FASTEST["forward"]),
        ("--camera-turn", options.camera_turn, FASTEST["turn"]),
    ):
        if bounds and not (len(bounds) == 2 and -most <= bounds[0] <= bounds[1] <= most):
            what = f"two numbers within {most:g} for {name}, the smaller first"
            raise MediaError(what, got=",".join(map(str, bounds)), fix=f"write {name}=-5,5")
    maps = []
    if options.labels.is_dir():
        maps = sorted(one for one in options.labels.iterdir() if one.suffix.lower() in FORMATS)
    if not maps:
        what = f"a folder of label maps ({', '.join(FORMATS)})"
        raise MediaError(what, got=f"none in {options.labels}", fix="name their folder")
    control = None if options.control is None else Control.read_file(options.control)
    if control is not None and control.camera and (options.camera_speed or options.camera_turn):
        what = "--camera-speed and --camera-turn, or a camera in --control"
        raise MediaError(what, got="both", fix="leave one of them out")
    model = options.model or default_model()
    pipe = Seg2VidPipeline.from_pretrained(model)
    LAYOUTS[options.layout].check(pipe.label_space)
    if control is not None:
        _check_names(control, pipe.label_space)
    own = options.label_space
    job = Job(
        options,
        tuple(maps),
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
    }


def make_clip(job: Job, pipe: Seg2VidPipeline, number: int) -> tuple[AnnotatedClip, dict[str, Any]]:
    """Generate a clip; return what was drawn for it too. Raises ``Seg2VidError``."""
    options, space, path = job.options, pipe.label_space, job.maps[number % len(job.maps)]
    read = read_label_map(path, space=job.space)
    fit = partial(fit_label_map, height=pipe.height, width=pipe.width)
    ids, _ = translate_ids(read.ids, job.space, space)
    label_map = torch.from_numpy(fit(ids, fill=space.void_id).ids)[None]
    numbers = read.diagnosis.instance_map
    if options.instances is not None:
        numbers = read_instance_map(options.instances / path.with_suffix(".png").name)
        if numbers.shape != ids.shape:
            what = f"an instance map of the size of {path}"
            raise MediaError(what, got=f"{numbers.shape[1]}x{numbers.shape[0]}", fix="mend it")
    if numbers is not None:
        instance_map = torch.from_numpy(fit(numbers, fill=0).ids)[None]
    else:
        cells = pipe.find_objects(label_map, None)
        instance_map = cells.repeat_interleave(OBJECT_FACTOR, 1).repeat_interleave(OBJECT_FACTOR, 2)
    seed = options.seed + number
    dice = random.Random(seed)
    drawn: dict[str, Any] = {
        f"camera_{name}": round(dice.uniform(*bounds), 3) if bounds else None
        for name, bounds in (("speed", options.camera_speed), ("turn", options.camera_turn))
    }
    control = _fitting(job.control, label_map, instance_map, space)
    if options.camera_speed or options.camera_turn:
        camera = Wish(forward=drawn["camera_speed"], turn=drawn["camera_turn"])
        control = replace(control or Control(), camera=camera)
    video = pipe(
        label_map,
        instance_map=instance_map,
        num_frames=job.frames,
        frames_per_second=job.rate,
        seed=seed,
        control=control,
        progress=False,
    )
    instance_maps = instance_map[:, None]
    if video.instance_maps is not None:
        instance_maps = torch.cat([instance_maps, video.instance_maps], 1)
    clip = AnnotatedClip(
        number,
        job.splits[path.name],
        space,
        to_pixels(torch.cat([video.first_frame, video.frames[0]])),
        torch.cat([label_map, video.label_maps[0]]).numpy(),
        instance_maps[0].numpy(),
        video.motion.forward_flow[0, 0].numpy(),
        video.motion.forward_visible[0, 0, 0].numpy() > 0.5,
    )
    return clip, {"seed": seed, "label_map_sha256": digest_of(path), **drawn}


def _fitting(
    control: Control | None, label_map: Labels, instance_map: Labels, space: LabelSpace
) -> Control | None:
    """Return the wishes for what a map has."""
    if control is None:
        return None
    present = {space.names[id_] for id_ in label_map.unique().tolist()}
    numbers = {"", *map(str, instance_map.unique().tolist())}

    def is_there(name: str) -> bool:
        kind, _, number = name.partition("#")
        return name == ALL or (kind in present and number in numbers)

    objects = tuple((name, wish) for name, wish in control.objects if is_there(name))
    return replace(control, objects=objects, freeze=tuple(filter(is_there, control.freeze)))


def make_part(job: Job, pipe: Seg2VidPipeline, number: int) -> None:
    """Make a clip, move its files to their place and say that it is done.

    A map that cannot be read becomes its ``error``.
    """
    path = job.maps[number % len(job.maps)]
    facts = {
        "name": f"{number:06d}",
        "number": number,
        "split": job.splits[path.name],
        "label_map": path.name,
        "error": None,
    }
    folder = job.part(number).with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    clip = None
    try:
        clip, drawn = make_clip(job, pipe, number)
    except (MediaError, LabelMapError) as error:
        facts["error"] = str(error)
    if clip is not None:
        facts |= drawn | LAYOUTS[job.options.layout].write(folder, clip)
        facts["objects"] = len(clip.objects())
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        facts["bytes"] = sum(file.stat().st_size for file in files)
        for file in files:
            place = job.options.output / file.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)
    _tell(job, facts)
    shutil.rmtree(folder)


def _tell(job: Job, facts: dict[str, Any]) -> None:
    with replacing(job.part(facts["number"])) as temporary:
        temporary.write_text(json.dumps(facts), "utf-8")


def work(job: Job, left: Sequence[int], workers: int) -> None:
    """Make clips in ``workers`` processes, with a progress bar.

    One that brings a process down is tried once more alone and then reported; the others go on.
    Raises ``Seg2VidError`` where no process starts.
    """
    for leftover in job.parts.glob(".*.partial*"):
        if job.share == (1, 1):
            leftover.unlink(missing_ok=True)
    for number in left:
        shutil.rmtree(job.part(number).with_suffix(""), ignore_errors=True)
    total = len(left)
    with tqdm(total=total, unit="clip", disable=None, file=sys.stderr) as bar:
        while left and not _survives(job, left, workers, bar):
            begun = [one for one in job.left(left) if job.part(one).with_suffix("").is_dir()]
            if not begun:
                what, fix = "processes that can start", "take fewer --workers"
                raise Seg2VidError(what, got="one that ended before its work", fix=fix)
            for number in begun:
                if not _survives(job, [number], 1, bar) and job.left([number]):
                    path = job.maps[number % len(job.maps)]
                    error = f"{path}: the process that made it ended, twice"
                    facts = {"name": f"{number:06d}", "number": number, "error": error}
                    _tell(job, facts | {"split": job.splits[path.name], "label_map": path.name})
            left = job.left(left)
            bar.update(total - len(left) - bar.n)


def _survives(job: Job, numbers: Sequence[int], workers: int, bar: Any) -> bool:
    """Make clips; say whether every process lived on."""
    try:
        work_in_processes(
            _work_on,
            numbers,
            workers=min(workers, len(numbers)),
            done=lambda *_: bar.update(),
            threads=1,
            begin=_set_up,
            begin_with=(job,),
        )
    except BrokenProcessPool:
        return False
    return True


def _set_up(job: Job) -> None:
    _STATE.update(job=job, pipe=Seg2VidPipeline.from_pretrained(job.model))


def _work_on(number: int) -> None:
    make_part(_STATE["job"], _STATE["pipe"], number)


def _costs(job: Job, pipe: Seg2VidPipeline, own: int, left: int, workers: int) -> Iterator[str]:
    """Make the first clip and throw it away, to tell what all will cost."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        clip, _ = make_clip(job, pipe, 0)
        LAYOUTS[job.options.layout].write(Path(folder), clip)
        sizes = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    seconds = time.perf_counter() - start
    torch.set_num_threads(threads)
    yield (
        f"to do: {left} of {own} clips ({own - left} done before) of {job.frames} frames at "
        f"{pipe.width}x{pipe.height}, from {len(job.maps)} label maps with {job.model}"
    )
    yield (
        f"about {left * seconds / workers / 60:.1f} minutes with {workers} processes "
        f"({seconds:.2f} s a clip, just measured) and {left * sizes / 1e6:.1f} MB"
    )


def _check_free(output: Path) -> None:
    """Raise ``MediaError`` for a folder that holds something else."""
    names = {one.name for one in output.iterdir()} if output.is_dir() else set()
    strange = sorted(name for name in names - {"parts", SETTINGS} if name[0] != ".")
    if output.exists() and not output.is_dir():
        raise MediaError("a folder to write", got=f"{output}, a file", fix="choose another name")
    if strange and SETTINGS not in names:
        what, got = "a new or empty folder", f"{output}, which holds {strange[0]}"
        raise MediaError(what, got=got, fix="choose another name")


def _check_same(settings: dict[str, Any], path: Path) -> None:
    before = read_plain(path, "settings of a dataset", error=MediaError)
    before = before.get("settings", before) if isinstance(before, dict) else {}
    changed = sorted(name for name in settings if settings[name] != before.get(name))
    if changed:
        what, got = "the settings that the dataset was begun with", f"other {', '.join(changed)}"
        fix = "use the same to go on, or another output folder"
        raise MediaError(what, got=got, fix=fix)


def _finish(job: Job, settings: dict[str, Any]) -> Iterator[str]:
    """Write the layout's lists and the manifest, and remove the parts."""
    options = job.options
    paths = [job.part(number) for number in range(options.count)]
    LAYOUTS[options.layout].finish(options.output, job.own_space, paths)
    clips = [json.loads(path.read_text("utf-8")) for path in paths]
    for clip in clips:
        clip.pop("images", None)
    with replacing(options.output / MANIFEST) as temporary:
        text = json.dumps({"settings": settings, "clips": clips}, indent=1)
        temporary.write_text(text + "\n", "utf-8")
    _remove_parts(job)
    failed = [clip for clip in clips if clip["error"] is not None]
    for clip in failed:
        yield f"warning: clip {clip['name']} is missing: {clip['error']}"
    size = sum(clip.get("bytes", 0) for clip in clips) / 1e6
    yield f"wrote {options.output}: {len(clips) - len(failed)} clips, {size:.1f} MB"


def _remove_parts(job: Job) -> None:
    shutil.rmtree(job.parts, ignore_errors=True)
    (job.options.output / SETTINGS).unlink(missing_ok=True)
