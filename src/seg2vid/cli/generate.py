"""The verbs that make videos: check, read the inputs, stream the passes to the files."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch

from seg2vid.cli.inputs import (
    check_look,
    check_size,
    list_inputs,
    look_at,
    read_control,
    read_inputs,
    read_look,
)
from seg2vid.cli.outputs import check_apart, check_picture_place, check_replaced
from seg2vid.cli.video_options import Animate, Generate
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
from seg2vid.media.label_maps import read_picture
from seg2vid.media.pictures import read_image, write_image
from seg2vid.media.uncertainty import Spread, UncertaintySink, uncertainty_place
from seg2vid.media.video import Frame, video_ending
from seg2vid.models.control import Control
from seg2vid.models.weights import default_model
from seg2vid.pipeline import DEFAULT_SECONDS, Seg2VidPipeline
from seg2vid.tools.devices import choose_device, choose_precision
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import UNCERTAINTY, check_place
from seg2vid.tools.processes import in_order

Own = tuple[Path, str, int]
"""Of a video: where it goes, its title and its seed."""
SHEET_COLUMNS = 8


def make_videos(options: Generate | Animate) -> Iterator[str]:
    """Make a video from each input and seed; yield what a person wants to know.

    Raises ``Seg2VidError``, for all inputs before the first video.
    """
    control = read_control(options)
    # Here, and where photos are segmented: most videos need neither, and both take long to import.
    motion = None
    if isinstance(options, Animate) and options.motion_from is not None:
        from seg2vid.data.motion_clip import MotionClip
        from seg2vid.transfer import play_motion

        motion = MotionClip(options.motion_from, options.motion_labels, options.motion_step)
    places = list_inputs(options)
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
            look_at(options, place, pipe.label_space)
    look = {}
    if isinstance(options, Generate) and options.look is not None:
        look["look"], look_notes = read_look(options, options.look, pipe)
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
            inputs, notes = read_inputs(options, place, pipe)
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
        check_look(options)
    else:
        read_image(options.photo)
        if options.labels is not None:
            read_picture(options.labels)
    check_replaced(outputs, overwrite=options.overwrite)


def _other_inputs(options: Generate | Animate) -> list[Path | None]:
    shared = [options.instances, options.control]
    if options.label_space is not None and options.label_space.endswith(".yaml"):
        shared.append(Path(options.label_space))
    if isinstance(options, Generate):
        return [*shared, options.first_frame, options.look, options.look_labels]
    return [*shared, options.labels, options.motion_from, options.motion_labels]
