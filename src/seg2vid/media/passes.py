"""The passes of a video: joined, played back, shown as they come, written as others are made."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from seg2vid.media.generated import GeneratedVideo, VideoSink
from seg2vid.structures import Carrier, Motion


def join_passes(passes: Sequence[GeneratedVideo]) -> GeneratedVideo:
    """Join the passes of one video along time: what ``Seg2VidPipeline.stream`` yields, in order."""

    def over_time(carriers: Sequence[Carrier], name: str) -> Tensor | None:
        values = [getattr(carrier, name) for carrier in carriers]
        return None if any(value is None for value in values) else torch.cat(values, 1)

    motions, parts = [chunk.motion for chunk in passes], dataclasses.fields(Motion)
    fields: dict[str, Any] = {part.name: over_time(motions, part.name) for part in parts}
    names = ("frames", "label_maps", "instance_maps", "painted")
    joined: dict[str, Any] = {name: over_time(passes, name) for name in names}
    return dataclasses.replace(
        passes[0],
        motion=Motion(**fields),
        pass_starts=tuple(start for chunk in passes for start in chunk.pass_starts),
        repeats=tuple(number for chunk in passes for number in chunk.repeats),
        **joined,
    )


def play_back(passes: Sequence[GeneratedVideo], count: int) -> Iterator[GeneratedVideo]:
    """Yield frames ``count`` to 1 of some passes, in that order: the way back of a loop."""
    end = sum(chunk.frames.shape[1] for chunk in passes)
    for chunk in reversed(passes):
        begin = end - chunk.frames.shape[1]
        last = min(end, count)

        def turned(part: Tensor, kept: int = last - begin) -> Tensor:
            return part[:, :kept].flip(1)

        if last > begin:
            numbers, painted = chunk.instance_maps, chunk.painted
            yield dataclasses.replace(
                chunk,
                frames=turned(chunk.frames),
                label_maps=turned(chunk.label_maps),
                motion=chunk.motion.map(turned),
                instance_maps=None if numbers is None else turned(numbers),
                painted=None if painted is None else turned(painted),
                pass_starts=(),
                repeats=tuple(range(last, begin, -1)),
            )
        end = begin


def show_progress(
    passes: Iterable[GeneratedVideo], num_frames: int, is_shown: bool | None
) -> Iterator[GeneratedVideo]:
    """Pass the passes of a video of ``num_frames`` frames on, with a bar; None: on a terminal."""
    disable = None if is_shown is None else not is_shown
    with tqdm(total=num_frames, unit="frame", leave=False, disable=disable) as bar:
        for chunk in passes:
            yield chunk
            bar.update(chunk.frames.shape[1] + (bar.n == 0))


def write_behind(
    sink: VideoSink, passes: Iterable[GeneratedVideo], stopped: Event | None = None
) -> None:
    """Write each pass while the next is made; raise ``KeyboardInterrupt`` when ``stopped``."""
    written: Future[None] | None = None
    with ThreadPoolExecutor(1) as writer:
        for chunk in passes:
            if stopped is not None and stopped.is_set():
                raise KeyboardInterrupt
            # One pass waits at most: memory does not grow where writing is slower.
            if written is not None:
                written.result()
            written = writer.submit(sink.write, chunk)
        if written is not None:
            written.result()
