"""The verbs that make videos: check, read the inputs, stream the passes to the files."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
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
from seg2vid.media.extras import check_output, outer_paths
from seg2vid.media.generated import GeneratedVideo, VideoSink
from seg2vid.media.label_maps import read_picture
from seg2vid.media.passes import show_progress, write_behind
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


@dataclass
class _Maker:
    """What the videos of one call share, and how each is made."""

    options: Generate | Animate
    pipe: Seg2VidPipeline
    control: Control | None
    codes: Sequence[Any] | None
    """The motion of a clip that is played, where one is."""
    rate: float
    num_frames: int
    workers: int
    rows: dict[Path, dict[str, list[Frame]]] = field(default_factory=dict)
    """Of each video that is made, the rows of the contact sheet by their titles."""

    @property
    def command(self) -> list[str]:
        """What the user typed."""
        return ["seg2vid", *sys.argv[1:]]

    def stream(self, seed: int, inputs: dict[str, Any]) -> Iterator[GeneratedVideo]:
        """Return the passes of a video."""
        if self.codes is not None:
            from seg2vid.transfer import play_motion

            return play_motion(self.pipe, self.codes, **inputs, seed=seed)
        dice, loop = torch.Generator().manual_seed(seed), self.options.loop
        return self.pipe.stream(**inputs, control=self.control, loop=loop, generator=dice)

    def progress(self, passes: Iterator[GeneratedVideo]) -> Iterator[GeneratedVideo]:
        """Show how far a long video is, where it is the only one at work."""
        is_long = self.num_frames > 2 * (self.pipe.num_frames + 1)
        bar = None if is_long and self.workers == 1 else False
        return show_progress(passes, self.num_frames, bar)

    def sink(self, path: Path) -> VideoSink:
        """Return what writes the files of a video."""
        return VideoSink(
            path,
            extras=_own_extras(self.options),
            frames_per_second=self.rate,
            label_space=self.pipe.label_space,
            keep=pick_evenly(self.num_frames, SHEET_COLUMNS) if self.options.contact_sheet else (),
            command=self.command,
        )

    def tell(self, own: Own, sink: VideoSink, seconds: float) -> str:
        """Keep the rows of a video that is made, and say so."""
        path, title, seed = own
        self.rows[path] = {f"{title}: {name}": row for name, row in sink.kept.items() if row}
        written, plural = ", ".join(map(str, sink.paths.values())), "s" * (self.num_frames > 1)
        return f"wrote {written} ({self.num_frames} frame{plural}, seed {seed}, {seconds:.1f} s)"

    def make(self, own: Own, inputs: dict[str, Any], stopped: Event) -> list[str]:
        """Make one video."""
        start, (path, _, seed) = time.perf_counter(), own
        with (sink := self.sink(path)):
            write_behind(sink, self.progress(self.stream(seed, inputs)), stopped)
        return [self.tell(own, sink, time.perf_counter() - start)]

    def make_together(
        self, own: Sequence[Own], place: Path, inputs: dict[str, Any], stopped: Event
    ) -> list[str]:
        """Make all seeds pass by pass, so that none is kept to see what they differ in."""
        start, ending = time.perf_counter(), video_ending(self.options.output)
        with ExitStack() as opened:
            sinks = [opened.enter_context(self.sink(path)) for path, _, _ in own]
            together = UncertaintySink(place, frames_per_second=self.rate, ending=ending)
            opened.enter_context(together)
            about = {"command": self.command, "label_space": self.pipe.label_space.name}
            together.about = {**about, **self.pipe.source, "seeds": [seed for _, _, seed in own]}
            first, *others = (self.stream(seed, inputs) for _, _, seed in own)
            for chunk in self.progress(first):
                if stopped.is_set():
                    raise KeyboardInterrupt
                spread, is_begin = Spread(), sinks[0].count == 0
                for sink, one in zip(sinks, chain([chunk], map(next, others)), strict=True):
                    sink.write(one)
                    spread.add(*one.seen(with_first=is_begin))
                together.write(spread.uncertainty())
        seconds = (time.perf_counter() - start) / len(own)
        lines = [self.tell(one, sink, seconds) for one, sink in zip(own, sinks, strict=True)]
        return [*lines, f"wrote {place} ({len(own)} seeds)"]


def make_videos(options: Generate | Animate) -> Iterator[str]:
    """Make a video from each input and seed; yield what a person wants to know.

    Raises ``Seg2VidError``, for all inputs before the first video.
    """
    control, motion, codes = read_control(options), None, None
    # Here, and where photos are segmented: most videos need neither, and both take long to import.
    if isinstance(options, Animate) and options.motion_from is not None:
        from seg2vid.data.motion_clip import MotionClip

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
    shared: dict[str, Any] = {"num_frames": num_frames, "frames_per_second": rate}
    shared["speed"] = options.speed
    if isinstance(options, Generate) and options.look is not None:
        shared["look"], look_notes = read_look(options, options.look, pipe)
        yield from look_notes
    seeds: Sequence[int] = range(options.seed, options.seed + options.samples)
    together = _together(options, places)
    workers = _workers(options, len(places) if together else len(outputs))
    maker = _Maker(options, pipe, control, codes, rate, num_frames, workers)
    began = time.perf_counter()
    with in_order(workers) as work:
        for number, place in enumerate(places):
            inputs, notes = read_inputs(options, place, pipe)
            inputs |= shared
            yield from work(lambda _, lines=notes: lines)
            if options.diverse is not None:
                seeds = _pick_seeds(pipe, options.diverse, options.seed, control, inputs)
                yield f"seeds that move most differently: {', '.join(map(str, seeds))}"
            own: list[Own] = []
            for (one, index), path in outputs.items():
                if one == number:
                    title = f"seed {seeds[index]}"
                    title = title if len(places) == 1 else f"{place.stem}, {title}"
                    own.append((path, title, seeds[index]))
            if together:
                yield from work(partial(maker.make_together, own, together[number], inputs))
            for video in [] if together else own:
                yield from work(partial(maker.make, video, inputs))
        yield from work()
    if len(outputs) > 1:
        seconds = time.perf_counter() - began
        rates = f"{len(outputs)} videos in {seconds:.1f} s, {len(outputs) / seconds:.2f} a second"
        yield f"{rates}: {workers} at a time on {pipe.device.type} in {pipe.computes_in}"
    if options.contact_sheet is not None:
        ordered = [row for path in outputs.values() for row in maker.rows[path].items()]
        stacked = {title: np.stack(row) for title, row in ordered}
        write_image(options.contact_sheet, contact_sheet(stacked))
        yield f"wrote {options.contact_sheet}"


def _together(options: Generate | Animate, places: Sequence[Path]) -> list[Path]:
    """Return where the uncertainty of each input's samples goes, if it is asked for."""
    if UNCERTAINTY not in options.save:
        return []
    return list(map(uncertainty_place, options.shared([place.stem for place in places])))


def _own_extras(options: Generate | Animate) -> tuple[str, ...]:
    """Return what is saved of each video by itself."""
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
