"""The verb that makes toy-city clips; that of ``prepare`` stands where it works."""

from collections.abc import Iterator

from seg2vid.cli.options import ToyCity
from seg2vid.data import toycity as toy_city
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.tools.errors import Seg2VidError


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
