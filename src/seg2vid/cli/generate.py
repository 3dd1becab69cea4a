"""The verbs that make videos: check, read the inputs, stream the passes to the files."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any, cast

import numpy as np
import torch

from seg2vid.cli.options import Animate, Generate
from seg2vid.cli.outputs import check_apart, check_picture_place, check_replaced
from seg2vid.labels.convert import to_file_ids, translate_ids
from seg2vid.labels.doctor import Diagnosis, Picture, diagnose
from seg2vid.labels.fit import fit_image, fit_label_map
from seg2vid.labels.space import Ids, LabelSpace, get_label_space
from seg2vid.media.drawing import contact_sheet, pick_evenly
from seg2vid.media.generated import (
    GeneratedVideo,
    VideoSink,
    check_output,
    outer_paths,
    seen_in,
    show_progress,
    write_behind,
)
from seg2vid.media.given import check_proportions, to_planes
from seg2vid.media.label_maps import read_instance_map, read_label_map, read_picture
from seg2vid.media.pictures import FORMATS, read_image, write_image
from seg2vid.media.uncertainty import Spread, UncertaintySink, uncertainty_place
from seg2vid.media.video import Frame, video_ending
from seg2vid.models.control import Control
from seg2vid.models.weights import default_model
from seg2vid.pipeline import DEFAULT_SECONDS, Seg2VidPipeline
from seg2vid.structures import Look
from seg2vid.tools.devices import choose_device, choose_precision
from seg2vid.tools.errors import LabelMapError, MediaError
from seg2vid.tools.files import UNCERTAINTY, check_place
from seg2vid.tools.processes import in_order

Own = tuple[Path, str, int]
"""Of a video: where it goes, its title and its seed."""
SIZE_STEP = 32
"""Sides of a video are multiples of this: the networks halve the picture five times."""
LARGEST_SIDE = 4096
OWN_WIDTH, OWN_HEIGHT = 2048, 1024
"""Largest size at which a photo moves unless --size says otherwise."""
SHEET_COLUMNS = 8


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return ``size``, (width, height); raise ``MediaError`` unless both are multiples of 32."""
    if any(side % SIZE_STEP or not SIZE_STEP <= side <= LARGEST_SIDE for side in size):
        what = f"a size of multiples of {SIZE_STEP} up to {LARGEST_SIDE}"
        near = [min(max(round(side / SIZE_STEP), 1) * SIZE_STEP, LARGEST_SIDE) for side in size]
        got, fix = f"{size[0]}x{size[1]}", f"use --size {near[0]}x{near[1]}"
        raise MediaError(what, got=got, fix=fix)
    return size


def own_size(width: int, height: int, pipe: Seg2VidPipeline) -> tuple[int, int, int]:
    """Return the width and height at which a photo moves, and how many times the networks' that is.

    At most 2048x1024, and whole cells of the networks; what is cut off is least. A photo smaller
    than the model's size is moved at that.
    """
    shrink = min(1.0, OWN_WIDTH / width, OWN_HEIGHT / height)
    wide, tall = int(width * shrink), int(height * shrink)
    fits, usual = [], pipe.width * pipe.height
    scales = range(2, 17) if pipe.config.architecture == "geometry" else ()
    for scale in scales:
        cell = SIZE_STEP * scale
        columns, rows = wide // cell, tall // cell
        # Far from the size that the networks are used to they see less well.
        if 0.4 * usual <= columns * rows * SIZE_STEP**2 <= 3 * usual:
            fits.append((columns * rows * cell**2, scale, columns * cell, rows * cell))
    if not fits:
        return pipe.width, pipe.height, 1
    _, scale, wide, tall = max(fits)
    return wide, tall, scale


def make_videos(options: Generate | Animate) -> Iterator[str]:
    """Make a video from each input and seed; yield what a person wants to know.

    Raises ``Seg2VidError``, for all inputs before the first video.
    """
    control = _read_control(options)
    # Here, and where photos are segmented: most videos need neither, and both take long to import.
    motion = None
    if isinstance(options, Animate) and options.motion_from is not None:
        from seg2vid.data.motion_clip import MotionClip
        from seg2vid.transfer import play_motion

        motion = MotionClip(options.motion_from, options.motion_labels, options.motion_step)
    places = _list_inputs(options)
    outputs = options.outputs([place.stem for place in places])
    _check_options(options, places, list(outputs.values()))
    pipe = _load(options)
    rate = options.fps or pipe.frames_per_second
    num_frames = options.frames or max(1, round((options.seconds or DEFAULT_SECONDS) * rate))
    if motion is not None:
        codes, found = motion.encode(pipe, num_frames)
        yield found
    if len(places) > 1:
        for place in places:
            _look_at(options, place, pipe.label_space)
    look = {}
    if isinstance(options, Generate) and options.look is not None:
        look["look"], look_notes = _read_look(options, options.look, pipe)
        yield from look_notes
    rows: dict[Path, dict[str, list[Frame]]] = {}
    seeds: Sequence[int] = range(options.seed, options.seed + options.samples)
    plural = "s" if num_frames > 1 else ""
    together, is_long = _together(options, places), num_frames > 2 * (pipe.num_frames + 1)
    workers = _workers(options, len(places) if together else len(outputs))
    began = time.perf_counter()

    def passes_of(seed: int, inputs: dict[str, Any]) -> Iterator[GeneratedVideo]:
        if motion is not None:
            return play_motion(pipe, codes, **inputs, seed=seed)
        dice = torch.Generator().manual_seed(seed)
        return pipe.stream(**inputs, control=control, loop=options.loop, generator=dice)

    def sink_of(path: Path) -> VideoSink:
        return VideoSink(
            path,
            extras=_own_extras(options),
            frames_per_second=rate,
            label_space=pipe.label_space,
            keep=pick_evenly(num_frames, SHEET_COLUMNS) if options.contact_sheet else (),
            command=["seg2vid", *sys.argv[1:]],
        )

    def told(path: Path, title: str, seed: int, sink: VideoSink, seconds: float) -> str:
        rows[path] = {f"{title}: {name}": row for name, row in sink.kept.items() if row}
        written = ", ".join(map(str, sink.paths.values()))
        return f"wrote {written} ({num_frames} frame{plural}, seed {seed}, {seconds:.1f} s)"

    def make(
        path: Path, title: str, seed: int, inputs: dict[str, Any], stopped: Event
    ) -> list[str]:
        start = time.perf_counter()
        with (sink := sink_of(path)):
            bar = None if is_long and workers == 1 else False
            passes = show_progress(passes_of(seed, inputs), num_frames, bar)
            write_behind(sink, passes, stopped)
        return [told(path, title, seed, sink, time.perf_counter() - start)]

    def make_together(
        own: list[Own], place: Path, inputs: dict[str, Any], stopped: Event
    ) -> list[str]:
        """Make all seeds pass by pass, so that none is kept to see what they differ in."""
        start = time.perf_counter()
        with ExitStack() as opened:
            sinks = [opened.enter_context(sink_of(path)) for path, _, _ in own]
            spread = UncertaintySink(
                place, frames_per_second=rate, ending=video_ending(options.output)
            )
            opened.enter_context(spread)
            about = {"command": ["seg2vid", *sys.argv[1:]], "label_space": pipe.label_space.name}
            spread.about = {**about, **pipe.source, "seeds": [seed for _, _, seed in own]}
            videos = [passes_of(seed, inputs) for _, _, seed in own]
            bar = None if is_long and workers == 1 else False
            _write_in_turns(sinks, videos, spread, num_frames, bar, stopped)
        seconds = (time.perf_counter() - start) / len(own)
        lines = [told(*one, sink, seconds) for one, sink in zip(own, sinks, strict=True)]
        return [*lines, f"wrote {place} ({len(own)} seeds)"]

    with in_order(workers) as work:
        for number, place in enumerate(places):
            inputs, notes = _read_inputs(options, place, pipe)
            inputs |= {"num_frames": num_frames, "frames_per_second": rate, "speed": options.speed}
            inputs |= look
            yield from work(lambda _, lines=notes: lines)
            if options.diverse is not None:
                seeds = _pick_seeds(pipe, options.diverse, options.seed, control, inputs)
                yield f"seeds that move most differently: {', '.join(map(str, seeds))}"
            own: list[Own] = []
            for (one, index), path in outputs.items():
                seed = seeds[index] if one == number else 0
                title = f"seed {seed}" if len(places) == 1 else f"{place.stem}, seed {seed}"
                own += [(path, title, seed)] if one == number else []
            if together:
                yield from work(partial(make_together, own, together[number], inputs))
            for path, title, seed in [] if together else own:
                yield from work(partial(make, path, title, seed, inputs))
        yield from work()
    if len(outputs) > 1:
        seconds = time.perf_counter() - began
        rates = f"{len(outputs)} videos in {seconds:.1f} s, {len(outputs) / seconds:.2f} a second"
        yield f"{rates}: {workers} at a time on {pipe.device.type} in {pipe.computes_in}"
    if options.contact_sheet is not None:
        ordered = [row for path in outputs.values() for row in rows[path].items()]
        stacked = {title: np.stack(row) for title, row in ordered}
        write_image(options.contact_sheet, contact_sheet(stacked))
        yield f"wrote {options.contact_sheet}"


def _write_in_turns(
    sinks: Sequence[VideoSink],
    videos: Sequence[Iterator[GeneratedVideo]],
    spread_sink: UncertaintySink,
    num_frames: int,
    is_shown: bool | None,
    stopped: Event,
) -> None:
    """Write a pass of every video and what they differ in, then the next pass."""
    for first in show_progress(videos[0], num_frames, is_shown):
        if stopped.is_set():
            raise KeyboardInterrupt
        spread, is_begin = Spread(), sinks[0].count == 0
        for sink, chunk in zip(sinks, chain([first], map(next, videos[1:])), strict=True):
            sink.write(chunk)
            spread.add(*seen_in(chunk, with_first=is_begin))
        spread_sink.write(spread.uncertainty())


def _together(options: Generate | Animate, places: Sequence[Path]) -> list[Path]:
    """Return where it goes what the samples of each input differ in, if that is asked for."""
    if UNCERTAINTY not in options.save:
        return []
    return list(map(uncertainty_place, options.shared([place.stem for place in places])))


def _own_extras(options: Generate | Animate) -> tuple[str, ...]:
    """Return what is written of each video."""
    return tuple(extra for extra in options.save if extra != UNCERTAINTY)


def _load(options: Generate | Animate) -> Seg2VidPipeline:
    model = options.model or default_model()
    if options.runtime == "torch":
        pipe = Seg2VidPipeline.from_pretrained(model)
        pipe.to(options.device, precision=options.precision)
        if options.compile:
            pipe.compile()
        return pipe
    if options.device not in ("auto", "cpu") or options.precision != "auto" or options.compile:
        what, fix = "--device, --precision and --compile with PyTorch", "leave them out"
        raise MediaError(what, got=f"--runtime {options.runtime}", fix=fix)
    from seg2vid.export.graphs import open_export

    return open_export(model, options.runtime)


def _workers(options: Generate | Animate, videos: int) -> int:
    """Return how many videos are made at a time, and leave a thread of PyTorch to each.

    One fills a GPU; compiled networks are not for several threads.
    """
    on_processor = choose_device(options.device).type == "cpu" and not options.compile
    workers = min(torch.get_num_threads(), videos) if on_processor else 1
    torch.set_num_threads(torch.get_num_threads() // workers)
    return workers


def _pick_seeds(
    pipe: Seg2VidPipeline, count: int, seed: int, control: Control | None, inputs: dict[str, Any]
) -> list[int]:
    from seg2vid.diversity import pick_diverse

    names = ("label_map", "instance_map", "first_frame", "scale")
    given = {name: inputs[name] for name in names if name in inputs}
    return pick_diverse(pipe, count=count, seed=seed, control=control, **given)


def _list_inputs(options: Generate | Animate) -> list[Path]:
    """Return the label maps, or photos, in the order given; a folder stands for its pictures."""
    if isinstance(options, Animate):
        return [options.photo]
    places: list[Path] = []
    for place in options.labels:
        found = [place]
        if place.is_dir():
            found = sorted(one for one in place.iterdir() if one.suffix.lower() in FORMATS)
            if not found:
                what, fix = f"pictures ({', '.join(FORMATS)}) in {place}", "name their folder"
                raise MediaError(what, got="none", fix=fix)
        places += found
    for name in ("first_frame", "instances"):
        if len(places) > 1 and (one := getattr(options, name)) is not None:
            option = name.replace("_", "-")
            what, fix = f"one label map with --{option}", "run seg2vid for each of them"
            raise MediaError(what, got=f"{len(places)} with {one}", fix=fix)
    return places


def _check_options(
    options: Generate | Animate, places: Sequence[Path], paths: Sequence[Path]
) -> None:
    """Raise ``MediaError`` for what can be seen to fail before the model is loaded."""
    if options.seconds is not None and options.frames is not None:
        what, fix = "--frames or --seconds", "leave one of them out"
        raise MediaError(what, got="both", fix=fix)
    if options.diverse is not None and options.samples > 1:
        raise MediaError("--diverse or --samples", got="both", fix="leave one of them out")
    choose_precision(options.precision, choose_device(options.device))
    if options.size is not None:
        check_size(options.size)
    if UNCERTAINTY in options.save and (options.diverse or options.samples) < 2:
        what, fix = f"several samples to --save {UNCERTAINTY} of", "add --samples 8"
        raise MediaError(what, got="1", fix=fix)
    extras, together = _own_extras(options), _together(options, places)
    outputs = [place for path in paths for place in outer_paths(path, extras)] + together
    if options.contact_sheet is not None:
        outputs.append(options.contact_sheet)
    check_apart(outputs, [*places, *_other_inputs(options)])
    rate = 12.0 if options.fps is None else options.fps
    for path in paths:
        check_output(path, extras=extras, frames_per_second=rate)
    for path in together:
        check_place(path, is_folder=True)
    if options.contact_sheet is not None:
        check_picture_place(options.contact_sheet)
    if isinstance(options, Generate):
        read_picture(places[0])
        _check_look(options)
    else:
        read_image(options.photo)
        if options.labels is not None:
            read_picture(options.labels)
    check_replaced(outputs, overwrite=options.overwrite)


def _read_control(options: Generate | Animate) -> Control | None:
    """Return what a user wishes for the motion, if anything."""
    camera, move, freeze, path = options.camera, options.move, options.freeze, options.control
    has_wishes = camera is not None or move or freeze or path is not None
    has_clip = isinstance(options, Animate) and options.motion_from is not None
    if has_clip and (has_wishes or options.loop or options.diverse is not None):
        what, fix = "wishes for the motion, or --motion-from", "leave one of them out"
        raise MediaError(what, got="both", fix=fix)
    if not has_wishes:
        return None
    if path is None:
        strength = options.strength
        return Control.read(camera=camera, move=move or (), freeze=freeze, strength=strength)
    if camera is not None or move or freeze:
        what = "--control, or --camera, --move and --freeze"
        raise MediaError(what, got="both", fix="write all of them into the file")
    return Control.read_file(path)


def _check_look(options: Generate) -> None:
    if options.look_labels is not None and options.look is None:
        raise MediaError("--look with --look-labels", got="none", fix="name the photo with --look")
    if options.look is None:
        return
    if options.first_frame is not None or options.photo:
        what, fix = "a label map whose first frame is painted with --look", "leave --look out"
        raise MediaError(what, got="a photo that is the first frame", fix=fix)
    read_image(options.look)
    if options.look_labels is not None:
        read_picture(options.look_labels)


def _read_look(options: Generate, photo: Path, pipe: Seg2VidPipeline) -> tuple[Look, list[str]]:
    """Return the look of a photo, and what was found."""
    space, pixels, labels = pipe.label_space, read_image(photo), options.look_labels
    if labels is None:
        from seg2vid.data.teachers.photos import segment_photo

        ids, notes = (
            segment_photo(pixels, space, options),
            [f"{photo}: segmented; its look is taken"],
        )
    else:
        read = read_label_map(labels, space=space)
        ids, notes = read.ids, [f"{photo}: its look is taken, {labels}: {read.diagnosis.summary}"]
        notes += [f"warning: {warning}" for warning in read.diagnosis.warnings]
        check_proportions(pixels.shape[:2], ids.shape, str(photo))
    fitted = fit_label_map(ids, height=pipe.height, width=pipe.width, fill=space.void_id).ids
    picture = to_planes(fit_image(pixels, height=pipe.height, width=pipe.width))
    return pipe.read_look(picture, torch.from_numpy(fitted)), notes


def _other_inputs(options: Generate | Animate) -> list[Path | None]:
    shared = [options.instances, options.control]
    if options.label_space is not None and options.label_space.endswith(".yaml"):
        shared.append(Path(options.label_space))
    if isinstance(options, Generate):
        return [*shared, options.first_frame, options.look, options.look_labels]
    return [*shared, options.labels, options.motion_from, options.motion_labels]


def _read_inputs(
    options: Generate | Animate, place: Path, pipe: Seg2VidPipeline
) -> tuple[dict[str, Any], list[str]]:
    """Return the inputs of the pipeline, at the size of the video, and what was found and done."""
    space = pipe.label_space
    own = space if options.label_space is None else get_label_space(options.label_space)
    photo = options.photo if isinstance(options, Animate) else options.first_frame
    picture, found = _look_at(options, place, own)
    if found.ids is None:
        is_given = photo is not None and photo != place
        found = _segment(options, picture, own, "" if is_given else "; it becomes the first frame")
        photo = photo or place
    ids, lost = translate_ids(cast(Ids, found.ids), own, space)
    pixels = None if photo is None else read_image(photo)
    width, height, scale = *(options.size or (pipe.width, pipe.height)), 1
    if options.size is None and pixels is not None:
        width, height, scale = own_size(pixels.shape[1], pixels.shape[0], pipe)
    fit = partial(fit_label_map, height=height, width=width, aspect=options.aspect)
    fitted = fit(ids, fill=space.void_id)
    inputs: dict[str, Any] = {"label_map": torch.from_numpy(fitted.ids)[None]}
    inputs |= {"instance_map": None, "first_frame": None}
    instances = found.instance_map
    if options.instances is not None:
        instances = read_instance_map(options.instances)
        if instances.shape != ids.shape:
            what = f"an instance map of {_size(ids)}, like the labels"
            got = f"{options.instances} with {_size(instances)}"
            raise MediaError(what, got=got, fix="give both at one size")
    if instances is not None:
        inputs["instance_map"] = torch.from_numpy(fit(instances, fill=0).ids)[None]
    if pixels is not None:
        check_proportions(pixels.shape[:2], ids.shape, str(photo))
        frame = fit_image(pixels, height=height, width=width, aspect=options.aspect)
        inputs |= {"first_frame": to_planes(frame)[None], "scale": scale}
    if isinstance(options, Generate):
        inputs |= {"resample": options.resample, "resample_seed": options.resample_seed}
    warnings = [f"warning: {warning}" for warning in found.warnings]
    if lost:
        warnings.append(f"warning: {', '.join(lost)}: no such class in {space.name}, read as void")
    return inputs, [f"{picture.name}: {found.summary}", *warnings, fitted.sentence]


def _look_at(
    options: Generate | Animate, place: Path, space: LabelSpace
) -> tuple[Picture, Diagnosis]:
    """Return the picture of the labels and what it is: without ids a photo, to be segmented."""
    labels = options.labels if isinstance(options, Animate) else None
    is_photo = labels is None if isinstance(options, Animate) else options.photo
    picture = read_picture(labels or place)
    if is_photo:
        return picture, Diagnosis("photo", "as asked")
    found = diagnose(picture, space=space, encoding=options.encoding, palette=options.palette)
    if found.ids is None and (labels is not None or found.kind != "photo"):
        raise LabelMapError(f"{picture.name}: {found.problems[0]}")
    if found.ids is None and isinstance(options, Generate):
        _check_look(replace(options, photo=True))
    return picture, found


def _segment(
    options: Generate | Animate, picture: Picture, space: LabelSpace, use: str
) -> Diagnosis:
    """Return the label map of a photo, as the bundled segmenter sees it."""
    from seg2vid.data.teachers.photos import segment_photo

    ids = segment_photo(read_image(Path(picture.name)), space, options)
    plain = replace(picture, pixels=to_file_ids(ids, space), mode="P", palette=None)
    found = diagnose(plain, space=space, encoding="train")
    return replace(found, ids=ids, kind="train ids", detail=f"a photo, segmented first{use}")


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
