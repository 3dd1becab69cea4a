"""Directories of toy city clips, rendered by several processes and resumable."""

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from seg2vid.data.toycity.clip import CLIP_VERSION, ToyCityConfig, check_whole, load_clip, save_clip
from seg2vid.data.toycity.render import render_clip
from seg2vid.tools.errors import Seg2VidError, expected
from seg2vid.tools.files import partial_files, replacing, working_alone
from seg2vid.tools.plain import read_plain
from seg2vid.tools.processes import work_in_processes

_BYTES_PER_PIXEL, _SECONDS_PER_PIXEL = 27, 7e-7
_PREVIEW_CLIPS = 6


def write_dataset(
    directory: str | Path,
    *,
    clips: int,
    seed: int = 0,
    config: ToyCityConfig = ToyCityConfig(),  # noqa: B008 (frozen)
    workers: int = 1,
    preview: bool = True,
    progress: bool = True,
) -> int:
    """Render clips ``seed`` to ``seed + clips - 1`` into a directory; run again to resume.

    Each is a file ``clip_<seed>.safetensors``, whatever the number of ``workers`` (processes);
    ``preview`` adds a contact sheet, ``preview.png``; ``progress`` says the cost first and shows a
    bar, both on stderr. Returns how many were not there yet. Raises ``ValueError`` for a bad
    argument or a directory made with another config, ``OSError`` if none can be made.
    """
    check_whole("clips", clips, 1, 10**9)
    check_whole("workers", workers, 1, 10**4)
    check_whole("the seed of a toy city", seed, 0, 2**62)
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what, got = f"a directory that can be written at {directory}", str(error)
        raise OSError(expected(what, got=got, fix="choose another directory")) from error
    with working_alone(directory):
        _write_settings(directory / "toycity.json", seed, clips, config)
        numbers = range(seed, seed + clips)
        paths = {number: directory / f"clip_{number:06d}.safetensors" for number in numbers}
        missing = [number for number, path in paths.items() if not path.is_file()]
        workers = min(workers, max(len(missing), 1))
        if progress:
            tqdm.write(_cost(clips, len(missing), config, workers), file=sys.stderr)
        bar = tqdm(total=clips, initial=clips - len(missing), unit="clip", disable=not progress)
        write = partial(_write_clip, paths, config)
        try:
            with bar:
                if workers > 1:
                    work_in_processes(write, missing, workers=workers, done=lambda *_: bar.update())
                else:
                    for number in missing:
                        write(number)
                        bar.update()
        finally:
            # What processes that were killed, now or before, left behind.
            for path in partial_files(directory):
                path.unlink(missing_ok=True)
        if preview:
            _write_preview(list(paths.values())[:_PREVIEW_CLIPS], directory / "preview.png")
    return len(missing)


def _cost(clips: int, missing: int, config: ToyCityConfig, workers: int) -> str:
    pixels = missing * config.height * config.width * (config.num_frames + 1)
    seconds = pixels * _SECONDS_PER_PIXEL / min(workers, os.cpu_count() or 1)
    return (
        f"toy city: {missing} of {clips} clips to render, about "
        f"{pixels * _BYTES_PER_PIXEL / 1e6:.0f} MB and {seconds:.0f} s with {workers} worker(s)"
    )


def _write_settings(path: Path, seed: int, clips: int, config: ToyCityConfig) -> None:
    """Say in the directory what it is made with; raise ``ValueError`` if that was another."""
    wanted = {"version": CLIP_VERSION, "seed": seed, "config": asdict(config)}
    if path.is_file():
        what, fix = "the settings of a toy city", "choose an empty directory"
        found = read_plain(path, what, fix=fix)
        if not isinstance(found, dict) or not {*wanted, "clips"} <= found.keys():
            raise Seg2VidError(f"{what} in {path}", got=repr(found), fix=fix)
        different = [name for name, value in wanted.items() if found[name] != value]
        if different:
            what = f"a directory made with { ({name: wanted[name] for name in different}) }"
            got = f"{path.parent}, made with { ({name: found[name] for name in different}) }"
            fix = "ask for the same settings or choose another directory"
            raise Seg2VidError(what, got=got, fix=fix)
    with replacing(path) as unfinished:
        content = json.dumps(wanted | {"clips": clips}, indent=2)
        unfinished.write_text(content + "\n", encoding="utf-8")


def _write_clip(paths: dict[int, Path], config: ToyCityConfig, seed: int) -> None:
    save_clip(render_clip(seed, config), paths[seed])


def _write_preview(paths: list[Path], place: Path) -> None:
    from PIL import Image

    from seg2vid.labels.space import get_label_space
    from seg2vid.media.drawing import contact_sheet

    clips, colours = [load_clip(path) for path in paths], get_label_space("cityscapes").colours
    rows = {
        "first frame": np.stack([clip.frames[0] for clip in clips]),
        "last frame": np.stack([clip.frames[-1] for clip in clips]),
        "labels of the first frame": np.stack([colours[clip.label_maps[0]] for clip in clips]),
    }
    with replacing(place) as unfinished:
        Image.fromarray(contact_sheet(rows)).save(unfinished, format="PNG")
