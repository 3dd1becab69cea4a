"""The verbs that make data: prepare and toycity."""

import shlex
import sys
from collections.abc import Iterator

from seg2vid.cli.options import Prepare, ToyCity
from seg2vid.data import toycity as toy_city
from seg2vid.data.prepare import run as preparation
from seg2vid.data.prepare.job import PrepareOptions
from seg2vid.data.prepare.settings import ClipSettings
from seg2vid.data.toycity.config import ToyCityConfig
from seg2vid.tools.errors import Seg2VidError


def prepare(options: Prepare) -> Iterator[str]:
    """Turn videos or a known dataset into clips with label maps."""
    number, slash, count = options.shard_of.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        what, fix = "i/N for --shard-of", "for example --shard-of 2/8"
        raise Seg2VidError(what, got=repr(options.shard_of), fix=fix)
    width, height = options.size
    clip = ClipSettings(height, width, options.frames - 1, options.fps, **options.clip)
    same = ("source", "output", "layout", "only", "labels", "flow", "judges", "group", "workers")
    plan = PrepareOptions(
        clip=clip,
        command=shlex.join(["seg2vid", *sys.argv[1:]]),
        split=(options.val_share, options.test_share),
        shard_megabytes=options.shard_size,
        shard_of=(int(number), int(count)),
        dry_run=options.dry_run,
        **{name: getattr(options, name) for name in same},
    )
    yield from preparation.run(plan)


def toycity(options: ToyCity) -> Iterator[str]:
    """Render toy-city clips."""
    if options.clips < 1 or options.workers < 1:
        got = f"{options.clips} clips, {options.workers} workers"
        raise Seg2VidError("at least 1 clip and 1 worker", got=got, fix="raise them")
    width, height = options.size
    config = ToyCityConfig(height, width, options.frames - 1, options.fps)
    toy_city.write_dataset(
        options.output,
        clips=options.clips,
        seed=options.seed,
        config=config,
        workers=options.workers,
    )
    yield f"wrote {options.clips} clips to {options.output}"
