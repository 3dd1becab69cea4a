"""Writes directories of toy city clips, with several workers and resumable."""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from seg2vid.data.toycity.clip_file import FORMAT_VERSION, load_clip, save_clip
from seg2vid.data.toycity.config import ToyCityConfig
from seg2vid.data.toycity.preview import write_preview
from seg2vid.data.toycity.render import check_seed, render_clip

BYTES_PER_PIXEL = 27
SECONDS_PER_PIXEL = 7.5e-7
PREVIEW_CLIPS = 6
_SETTINGS = "toycity.json"


@dataclass(frozen=True)
class ToyCityDataset:
    """What `write_dataset` did."""

    directory: Path
    """Where the clips are."""
    clips: int
    """Number of clips the dataset has."""
    written: int
    """Clips rendered by this call."""
    skipped: int
    """Clips that were already there."""
    seconds: float
    """Time this call took."""
    megabytes: float
    """Size of all clip files, in 1e6 bytes."""


def write_dataset(
    directory: str | Path,
    *,
    clips: int,
    seed: int = 0,
    config: ToyCityConfig = ToyCityConfig(),
    workers: int = 1,
    preview: bool = True,
    progress: bool = True,
) -> ToyCityDataset:
    """Render clips `seed` to `seed + clips - 1` into a directory; run again to resume.

    Args:
        directory: created if missing; one file `clip_<seed>.safetensors` per clip.
        clips: how many clips the dataset has, at least 1.
        seed: seed of the first clip, at least 0.
        config: size, length and frame rate of every clip.
        workers: processes that render, at least 1; the files do not depend on it.
        preview: whether to write `preview.png`, a contact sheet.
        progress: whether to say the cost first and show a progress bar, both on stderr.

    Raises:
        ValueError: for a bad argument, or a directory made with another config.
        OSError: if the directory cannot be written.
    """
    directory = Path(directory)
    _check_count("clips", clips)
    _check_count("workers", workers)
    check_seed(seed)
    started = time.perf_counter()
    _open_directory(directory, seed, clips, config)
    paths = {number: clip_path(directory, number) for number in range(seed, seed + clips)}
    missing = [number for number, path in paths.items() if not path.is_file()]
    if progress:
        tqdm.write(_cost(clips, missing, config, workers), file=sys.stderr)
    bar = tqdm(total=clips, initial=clips - len(missing), unit="clip", disable=not progress)
    with bar, _runner(min(workers, max(len(missing), 1))) as run:
        for _ in run(partial(_write_clip, directory, config), missing):
            bar.update()
    if preview:
        shown = list(paths.values())[:PREVIEW_CLIPS]
        write_preview([load_clip(path) for path in shown], directory / "preview.png")
    return ToyCityDataset(
        directory=directory,
        clips=clips,
        written=len(missing),
        skipped=clips - len(missing),
        seconds=time.perf_counter() - started,
        megabytes=sum(path.stat().st_size for path in paths.values()) / 1e6,
    )


def clip_path(directory: str | Path, seed: int) -> Path:
    """Return where the clip of a seed lies in a dataset directory."""
    return Path(directory) / f"clip_{seed:06d}.safetensors"


def _check_count(name: str, value: int) -> None:
    """Raise a ValueError unless `value` is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"write_dataset({name}): expected an integer of at least 1, got {value!r}; "
            f"pass for example {name}=1."
        )


def _cost(clips: int, missing: list[int], config: ToyCityConfig, workers: int) -> str:
    """Say how many clips are to be made and what that takes."""
    pixels = config.height * config.width * (config.num_frames + 1)
    megabytes = len(missing) * pixels * BYTES_PER_PIXEL / 1e6
    cores = max(min(workers, os.cpu_count() or 1), 1)
    seconds = len(missing) * pixels * SECONDS_PER_PIXEL / cores
    done = f" ({clips - len(missing)} already there)" if len(missing) < clips else ""
    return (
        f"toy city: {len(missing)} of {clips} clips to render{done}, "
        f"about {megabytes:.0f} MB and {seconds:.0f} s with {workers} worker(s)"
    )


def _open_directory(directory: Path, seed: int, clips: int, config: ToyCityConfig) -> None:
    """Create the directory and its settings file, or check them against the config."""
    settings = directory / _SETTINGS
    wanted = asdict(config)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if settings.is_file():
            _check_settings(settings, wanted, seed)
        content = {"version": FORMAT_VERSION, "seed": seed, "clips": clips, "config": wanted}
        unfinished = settings.with_name(f".{settings.name}.unfinished")
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        unfinished.replace(settings)
    except OSError as error:
        raise OSError(
            f"write_dataset(directory): expected a directory that can be written, got "
            f"{str(directory)!r} ({error}); choose another directory or change its permissions."
        ) from error


def _check_settings(settings: Path, wanted: dict[str, int | float], seed: int) -> None:
    """Raise a ValueError if the directory was made with other settings."""
    try:
        found = json.loads(settings.read_text(encoding="utf-8"))
        there = (found["version"], found["seed"], found["config"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{settings}: expected the settings of a toy city dataset, got something else "
            f"({error!r}); choose an empty directory."
        ) from error
    here = (FORMAT_VERSION, seed, wanted)
    names = ("format version", "seed", "config")
    for name, old, new in zip(names, there, here, strict=True):
        if old != new:
            raise ValueError(
                f"write_dataset(directory): {settings.parent} was made with {name} {old}, "
                f"this call asks for {name} {new}; use the same {name} or another directory."
            )


@contextmanager
def _runner(workers: int) -> Iterator:
    """Yield a lazy map over processes, or over this process when there is one worker."""
    if workers == 1:
        yield map
        return
    pool = multiprocessing.get_context("spawn").Pool(workers, initializer=_calm_worker)
    try:
        yield pool.imap_unordered
        pool.close()
    finally:
        pool.terminate()
        pool.join()


def _calm_worker() -> None:
    """Leave Ctrl-C to the main process, which stops the workers."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write_clip(directory: Path, config: ToyCityConfig, seed: int) -> int:
    """Render and store one clip."""
    save_clip(render_clip(seed, config), clip_path(directory, seed))
    return seed
