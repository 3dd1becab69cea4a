"""One clip of a dataset: generated, annotated, and its files moved to their place.

A clip is made in a folder of its own, moved to its place, and only then told of in ``parts``.
"""

import json
import os
import random
import shutil
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from seg2vid.data.annotated.layouts import LAYOUTS, AnnotatedClip
from seg2vid.data.annotated.plan import Job
from seg2vid.labels.convert import translate_ids
from seg2vid.labels.fit import fit_label_map
from seg2vid.labels.space import LabelSpace
from seg2vid.media.extras import to_pixels
from seg2vid.media.given import size_text
from seg2vid.media.label_maps import read_instance_map, read_label_map
from seg2vid.models.control import ALL, Control, Wish
from seg2vid.models.layers import OBJECT_FACTOR, enlarge_labels
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Labels
from seg2vid.tools.errors import LabelMapError, MediaError
from seg2vid.tools.files import digest_of, replacing


def make_clip(job: Job, pipe: Seg2VidPipeline, number: int) -> tuple[AnnotatedClip, dict[str, Any]]:
    """Generate a clip; return what was drawn for it too. Raises ``Seg2VidError``."""
    options, space, place = job.options, pipe.label_space, number % len(job.maps)
    path = job.maps[place]
    read = read_label_map(path, space=job.space)
    fit = partial(fit_label_map, height=pipe.height, width=pipe.width)
    ids, _ = translate_ids(read.ids, job.space, space)
    label_map = torch.from_numpy(fit(ids, fill=space.void_id).ids)[None]
    numbers = read.diagnosis.instance_map
    if (own := job.instance_maps[place]) is not None:
        numbers = read_instance_map(own)
        if numbers.shape != ids.shape:
            what = f"an instance map of the size of {path}"
            raise MediaError(what, got=size_text(numbers.shape), fix="mend it")
    if numbers is not None:
        instance_map = torch.from_numpy(fit(numbers, fill=0).ids)[None]
    else:
        instance_map = enlarge_labels(pipe.find_objects(label_map, None), OBJECT_FACTOR)
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
    ).to("cpu")
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
    tell(job, facts)
    shutil.rmtree(folder)


def tell(job: Job, facts: dict[str, Any]) -> None:
    """Say that a clip is done, and what it is."""
    with replacing(job.part(facts["number"])) as temporary:
        temporary.write_text(json.dumps(facts), "utf-8")
