"""The verbs that make videos: check, read the inputs, stream the passes to the files."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from tqdm import tqdm

from seg2vid.cli.options import Animate, Generate
from seg2vid.cli.outputs import check_apart, check_replaced
from seg2vid.cli.segment import segment_photo
from seg2vid.data.motion_clip import MotionClip
from seg2vid.labels.convert import to_file_ids, translate_ids
from seg2vid.labels.doctor import diagnose
from seg2vid.labels.fit import fit_image, fit_label_map
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.media.drawing import contact_sheet, pick_evenly
from seg2vid.media.generated import VideoSink, check_output, outer_paths
from seg2vid.media.label_maps import LabelMapFile, read_instance_map, read_label_map, read_picture
from seg2vid.media.pictures import FORMATS, read_image, write_image
from seg2vid.media.video import Frame
from seg2vid.models.weights import list_models
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.errors import MediaError, ModelError
from seg2vid.tools.files import check_place
from seg2vid.transfer import play_motion

SIZE_STEP = 32
"""Sides of a video are multiples of this: the networks halve the picture five times."""
LARGEST_SIDE = 4096
SHEET_COLUMNS = 8


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return ``size``, (width, height); raise ``MediaError`` unless both are multiples of 32."""
    if any(side % SIZE_STEP or not SIZE_STEP <= side <= LARGEST_SIDE for side in size):
        what = f"a size of multiples of {SIZE_STEP} up to {LARGEST_SIDE}"
        near = [min(max(round(side / SIZE_STEP), 1) * SIZE_STEP, LARGEST_SIDE) for side in size]
        got, fix = f"{size[0]}x{size[1]}", f"use --size {near[0]}x{near[1]}"
        raise MediaError(what, got=got, fix=fix)
    return size


def make_videos(options: Generate | Animate) -> Iterator[str]:
    """Make a video from each seed; yield what a person wants to know. Raises ``Seg2VidError``."""
    motion = None
    if isinstance(options, Animate) and options.motion_from is not None:
        motion = MotionClip(options.motion_from, options.motion_labels, options.motion_step)
    _check_options(options)
    bundled = list_models()
    names = [options.model] if options.model else [model.name for model in bundled]
    if not names:
        what, fix = "a model that comes with seg2vid", "name one with --model PATH"
        raise ModelError(what, got="none", fix=fix)
    pipe = Seg2VidPipeline.from_pretrained(names[0])
    if terms := [one.licence for one in bundled if one.name == names[0] and not one.is_free]:
        yield f"the weights of {names[0]} are not free: {terms[0]}"
    inputs, notes = _read_inputs(options, pipe)
    yield from notes
    num_frames = pipe.num_frames + 1 if options.frames is None else options.frames
    inputs["num_frames"] = num_frames - 1
    if motion is not None:
        codes, found = motion.encode(pipe, num_frames - 1)
        yield found
    rows: dict[str, list[Frame]] = {}
    for seed, path in options.outputs.items():
        start = time.perf_counter()
        if motion is not None:
            passes = play_motion(pipe, codes, **inputs, seed=seed)
        else:
            passes = pipe.stream(**inputs, generator=torch.Generator().manual_seed(seed))
        sink = VideoSink(
            path,
            extras=options.save,
            frames_per_second=options.fps or pipe.frames_per_second,
            label_space=pipe.label_space,
            keep=pick_evenly(num_frames, SHEET_COLUMNS) if options.contact_sheet else (),
            about={"model": names[0], "seed": seed},
        )
        is_long = num_frames > 2 * (pipe.num_frames + 1)
        bar = tqdm(total=num_frames, unit="frame", leave=False, disable=None if is_long else True)
        with sink, bar:
            for chunk in passes:
                sink.write(chunk)
                bar.update(sink.count - bar.n)
        seconds = time.perf_counter() - start
        rows |= {f"seed {seed}: {name}": row for name, row in sink.kept.items() if row}
        places = ", ".join(map(str, sink.paths.values()))
        plural = "s" if num_frames > 1 else ""
        yield f"wrote {places} ({num_frames} frame{plural}, seed {seed}, {seconds:.1f} s)"
    if options.contact_sheet is not None:
        stacked = {title: np.stack(row) for title, row in rows.items()}
        write_image(options.contact_sheet, contact_sheet(stacked))
        yield f"wrote {options.contact_sheet}"


def _check_options(options: Generate | Animate) -> None:
    """Raise ``MediaError`` for what can be seen to fail before the model is loaded."""
    for name, value in (("frames", options.frames), ("samples", options.samples)):
        if value is not None and value < 1:
            what = f"--{name} of at least 1"
            raise MediaError(what, got=value, fix=f"use --{name} 1 or more")
    if not 0 <= options.seed < 1 << 63:
        what = "a --seed from 0 to 9223372036854775807"
        raise MediaError(what, got=options.seed, fix="choose one in between")
    if options.size is not None:
        check_size(options.size)
    outputs = [
        place for path in options.outputs.values() for place in outer_paths(path, options.save)
    ]
    if options.contact_sheet is not None:
        outputs.append(options.contact_sheet)
    check_apart(outputs, _inputs(options))
    rate = 12.0 if options.fps is None else options.fps
    for path in options.outputs.values():
        check_output(path, extras=options.save, frames_per_second=rate)
    if (sheet := options.contact_sheet) is not None:
        if sheet.suffix.lower() not in FORMATS:
            what = f"a contact sheet ending in {', '.join(FORMATS)}"
            raise MediaError(what, got=repr(sheet.name), fix="change the ending")
        check_place(sheet)
    read_picture(options.labels)
    check_replaced(outputs, overwrite=options.overwrite)


def _inputs(options: Generate | Animate) -> list[Path | None]:
    shared = [options.labels, options.instances]
    if options.label_space is not None and options.label_space.endswith(".yaml"):
        shared.append(Path(options.label_space))
    if isinstance(options, Generate):
        return [*shared, options.first_frame]
    return [*shared, options.photo, options.motion_from, options.motion_labels]


def _read_inputs(
    options: Generate | Animate, pipe: Seg2VidPipeline
) -> tuple[dict[str, Any], list[str]]:
    """Return the inputs of the pipeline, at the size of the video, and what was found and done."""
    width, height = options.size or (pipe.width, pipe.height)
    space = pipe.label_space
    own = space if options.label_space is None else get_label_space(options.label_space)
    read, photo = _read_labels(options, own)
    ids = read.ids if own.names == space.names else translate_ids(read.ids, own, space)
    fit = partial(fit_label_map, height=height, width=width, aspect=options.aspect)
    fitted = fit(ids, fill=space.void_id)
    inputs: dict[str, Any] = {"label_map": torch.from_numpy(fitted.ids)[None]}
    inputs |= {"instance_map": None, "first_frame": None}
    instances = read.diagnosis.instance_map
    if options.instances is not None:
        instances = read_instance_map(options.instances)
        if instances.shape != ids.shape:
            what = f"an instance map of {_size(ids)}, like the labels"
            got = f"{options.instances} with {_size(instances)}"
            raise MediaError(what, got=got, fix="give both at one size")
    if instances is not None:
        inputs["instance_map"] = torch.from_numpy(fit(instances, fill=0).ids)[None]
    if photo is not None:
        pixels = read_image(photo)
        proportions = pixels.shape[1] / pixels.shape[0] * ids.shape[0] / ids.shape[1]
        if not 0.98 < proportions < 1.02:  # photo and labels would not lie on one another
            what, got = f"a photo with the proportions of the labels ({_size(ids)})", _size(pixels)
            fix = "cut photo and labels to the same part of the scene"
            raise MediaError(what, got=f"{photo} with {got}", fix=fix)
        frame = fit_image(pixels, height=height, width=width, aspect=options.aspect)
        planes = rearrange(torch.from_numpy(frame), "h w rgb -> 1 rgb h w")
        inputs["first_frame"] = planes.float() / 255
    if isinstance(options, Generate):
        inputs |= {"resample": options.resample, "resample_seed": options.resample_seed}
    warnings = [f"warning: {warning}" for warning in read.diagnosis.warnings]
    return inputs, [f"{options.labels}: {read.diagnosis.summary}", *warnings, fitted.sentence]


def _read_labels(
    options: Generate | Animate, space: LabelSpace
) -> tuple[LabelMapFile, Path | None]:
    """Return the label map and the photo to begin with: one may stand in the other's place."""
    photo = options.photo if isinstance(options, Animate) else options.first_frame
    picture = read_picture(options.labels)
    is_photo = diagnose(picture, space=space, encoding=options.encoding).is_photo
    if isinstance(options, Animate) or not is_photo:
        return read_label_map(options.labels, space=space, encoding=options.encoding), photo
    ids = segment_photo(read_image(options.labels), space)
    plain = replace(picture, pixels=to_file_ids(ids, space), mode="P", palette=None)
    found = diagnose(plain, space=space, encoding="train")
    use = "; it becomes the first frame" if photo is None else ""
    found = replace(found, ids=ids, kind="train ids", detail=f"a photo, segmented first{use}")
    return LabelMapFile(ids, found), photo or options.labels


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
