"""What ``seg2vid prepare`` does: plan, work on many recordings at once, resume, assemble.

Every recording becomes a part of its own, written whole or not at all; the parts become shards when
all are there. So the same command after a crash goes on where it stopped, and any number of jobs
can share the work (``--shard-of i/N``) as long as they write to one folder.
"""

import re
import time
from collections.abc import Iterator, Sequence
from itertools import filterfalse
from typing import Any

import numpy as np

from seg2vid.data.prepare.assemble import assemble_dataset, assign_splits, read_parts
from seg2vid.data.prepare.cutting import Window
from seg2vid.data.prepare.part import make_clip
from seg2vid.data.prepare.plan import Plan, check_options, describe, load_teachers, make_plan
from seg2vid.data.prepare.settings import PrepareOptions, choose_step
from seg2vid.data.prepare.work import work
from seg2vid.data.prepared import INDEX, read_index
from seg2vid.data.recordings.recording import Recording
from seg2vid.data.shares import check_same, claimed, remove_parts
from seg2vid.tools.devices import on_threads
from seg2vid.tools.engines import open_engine
from seg2vid.tools.errors import MediaError

SECONDS_OF_FRAME = 0.005
"""To decode, scale and compare a frame: 2 ms at 320x180, 14 ms at 1280x720; labels cost more."""


def run(options: PrepareOptions) -> Iterator[str]:
    """Prepare a dataset; yield what a person wants to know. Raises ``Seg2VidError``."""
    check_options(options)
    plan = make_plan(options)
    settings = describe(plan)
    if (options.output / INDEX).is_file():
        check_same(settings, read_index(options.output))
        remove_parts(options.output)
        yield f"{options.output}: already prepared; nothing to do"
        return
    left = list(filterfalse(plan.is_done, plan.own))
    yield from plan.notes
    with open_engine(plan.options) as engine:
        workers = max(1, min(options.workers or engine.cores(), len(left)))
        yield from _costs(plan, left, workers)
        if options.dry_run:
            return
        with claimed(options.output, settings, options.share):
            work(plan, left, workers, engine)
            missing = list(filterfalse(plan.is_done, plan.recordings))
            if missing:
                count = len(plan.own)
                yield f"{count} recordings are done; {len(missing)} are left to the other jobs"
                return
            yield from _assemble(plan, settings)


def _costs(plan: Plan, left: Sequence[Recording], workers: int) -> Iterator[str]:
    clip = plan.options.clip
    clips = frames = 0
    for recording in left:
        count = plan.frames[recording.name]
        later = count // choose_step(recording.rate, clip) - clip.num_frames - 1
        clips += max(0, later // (clip.stride or clip.num_frames + 1) + 1)
        frames += count
    seconds = _time_of_clip(plan) if left else 0.0
    minutes = (clips * seconds + frames * SECONDS_OF_FRAME) / workers / 60
    pixels = clip.height * clip.width * (clip.num_frames + 1)
    megabytes = clips * pixels * (8.5 if clip.keep_flow else 0.45) / 1e6
    done = len(plan.own) - len(left)
    yield (
        f"to do: {len(left)} of {len(plan.own)} recordings ({done} done before), {frames} frames, "
        f"at most {clips} clips of {clip.num_frames + 1} frames at {clip.width}x{clip.height}"
    )
    yield (
        f"label maps by {'the dataset alone' if plan.labels == 'none' else plan.labels}, motion by "
        f"{plan.options.flow}; about {minutes:.1f} minutes with {workers} processes "
        f"({seconds:.2f} s a clip, just measured) and {megabytes:.0f} MB"
    )


def _time_of_clip(plan: Plan) -> float:
    """Label and measure a clip of noise, so that the cost is known beforehand; return seconds."""
    clip, teachers = plan.options.clip, load_teachers(plan)
    shape = (clip.num_frames + 1, clip.height, clip.width, 3)
    frames = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    window = Window(0, list(range(len(frames))), list(frames))
    seconds = 0.0
    with on_threads(1):
        for _ in range(2):  # the first one warms up
            start = time.perf_counter()
            make_clip(Recording("noise"), window, clip, teachers)
            seconds = time.perf_counter() - start
    return seconds


def _assemble(plan: Plan, settings: dict[str, Any]) -> Iterator[str]:
    options, names = plan.options, [recording.name for recording in plan.recordings]
    # The index of a dataset does not depend on who made it.
    without = r" --(shard-of|engine|ray-address)[ =]\S+"
    settings = {**settings, "command": re.sub(without, "", settings["command"])}
    try:
        parts = read_parts(plan.parts, names)
        # Recordings without clips take no place in a split.
        splits = dict.fromkeys(names, "train") | assign_splits(
            [
                (recording.name, _group(recording, options), recording.split)
                for recording, part in zip(plan.recordings, parts, strict=True)
                if part["clips"]
            ],
            (options.val_share, options.test_share),
        )
        index = assemble_dataset(
            options.output, parts, splits, settings, shard_bytes=options.shard_size * 1_000_000
        )
    except (MediaError, FileNotFoundError):
        # Two jobs that finish together both assemble; the second finds the first one's work.
        if options.share == (1, 1) or not (options.output / INDEX).is_file():
            raise
        return
    remove_parts(options.output)
    for part in parts:
        if part["error"]:
            yield f"warning: {part['name']}: {part['error']} ({len(part['clips'])} clips kept)"
    counts = index["counts"]
    clips = ", ".join(f"{count} {split}" for split, count in counts["clips"].items())
    yield f"wrote {options.output}: {clips} clips; look at {options.output / 'report.html'}"


def _group(recording: Recording, options: PrepareOptions) -> str:
    found = re.search(options.group, recording.name) if options.group else None
    return found[0] if found else recording.group or recording.name
