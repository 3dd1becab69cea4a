"""The verb that makes toy-city clips; that of ``prepare`` stands where it works."""

from collections.abc import Iterator

from seg2vid.cli.options import ToyCity
from seg2vid.data import toycity as toy_city
from seg2vid.data.toycity.clip import ToyCityConfig


def toycity(options: ToyCity) -> Iterator[str]:
    """Render toy-city clips."""
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
