"""What ``seg2vid dataset`` does: one clip after another in all processes, then the lists of them.

Every clip is a part of its own, so the same command after a crash goes on where it stopped, to the
same bytes, and jobs can share the work. Every process computes on one thread: bytes do not depend
on their number.
"""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from seg2vid.data.annotated.clip import make_clip
from seg2vid.data.annotated.layouts import LAYOUTS, AnnotatedClip
from seg2vid.data.annotated.plan import Job, describe, make_job
from seg2vid.data.annotated.settings import DatasetOptions
from seg2vid.data.annotated.work import work
from seg2vid.data.shares import PARTS, SETTINGS, check_same, claimed, remove_parts
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.devices import on_threads
from seg2vid.tools.engines import open_engine
from seg2vid.tools.errors import LabelMapError, MediaError
from seg2vid.tools.files import replacing
from seg2vid.tools.plain import read_plain

MANIFEST = "manifest.json"


def run(options: DatasetOptions) -> Iterator[str]:
    """Make a dataset; yield what a person wants to know. Raises ``Seg2VidError``."""
    job, pipe = make_job(options)
    settings, every = describe(job, pipe), range(options.count)
    if (options.output / MANIFEST).is_file():
        made = read_plain(options.output / MANIFEST, "a manifest", error=MediaError)
        check_same(settings, made.get("settings") if isinstance(made, dict) else None)
        remove_parts(options.output)
        yield f"{options.output}: already made; nothing to do"
        return
    _check_free(options.output)
    number, count = job.share
    own = every[number - 1 :: count]
    left = job.left(own)
    with open_engine(job.options) as engine:
        workers = max(1, min(options.workers or engine.cores(), len(left)))
        yield from _costs(job, pipe, len(own), len(left), workers)
        if options.dry_run:
            return
        del pipe
        with claimed(options.output, settings, job.share):
            work(job, job.left(own), workers, engine)
            if missing := job.left(every):
                yield f"{len(own)} clips are done; {len(missing)} are left to the other jobs"
                return
            yield from _finish(job, settings)


def _costs(job: Job, pipe: Seg2VidPipeline, own: int, left: int, workers: int) -> Iterator[str]:
    """Make a clip and throw it away, to tell what all will cost."""
    start = time.perf_counter()
    with TemporaryDirectory() as folder, on_threads(1):
        LAYOUTS[job.options.layout].write(Path(folder), _make_any_clip(job, pipe))
        sizes = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    seconds = time.perf_counter() - start
    yield (
        f"to do: {left} of {own} clips ({own - left} done before) of {job.frames} frames at "
        f"{pipe.width}x{pipe.height}, from {len(job.maps)} label maps with {job.model}"
    )
    yield (
        f"about {left * seconds / workers / 60:.1f} minutes with {workers} processes "
        f"({seconds:.2f} s a clip, just measured) and {left * sizes / 1e6:.1f} MB"
    )


def _make_any_clip(job: Job, pipe: Seg2VidPipeline) -> AnnotatedClip:
    """Make the first clip whose map can be read; where none can, raise what the last one says."""
    *earlier, last = range(min(job.options.count, len(job.maps)))
    for number in earlier:
        with suppress(MediaError, LabelMapError):
            return make_clip(job, pipe, number)[0]
    return make_clip(job, pipe, last)[0]


def _check_free(output: Path) -> None:
    """Raise ``MediaError`` for a folder that holds something else."""
    names = {one.name for one in output.iterdir()} if output.is_dir() else set()
    strange = sorted(name for name in names - {PARTS, SETTINGS} if name[0] != ".")
    if output.exists() and not output.is_dir():
        raise MediaError("a folder to write", got=f"{output}, a file", fix="choose another name")
    if strange and SETTINGS not in names:
        what, got = "a new or empty folder", f"{output}, which holds {strange[0]}"
        raise MediaError(what, got=got, fix="choose another name")


def _finish(job: Job, settings: dict[str, Any]) -> Iterator[str]:
    """Write the layout's lists and the manifest, and remove the parts."""
    options = job.options
    paths = [job.part(number) for number in range(options.count)]
    LAYOUTS[options.layout].finish(options.output, job.own_space, paths)
    clips = [json.loads(path.read_text("utf-8")) for path in paths]
    for clip in clips:
        clip.pop("images", None)
    with replacing(options.output / MANIFEST) as temporary:
        text = json.dumps({"settings": settings, "clips": clips}, indent=1)
        temporary.write_text(text + "\n", "utf-8")
    remove_parts(options.output)
    failed = [clip for clip in clips if clip["error"] is not None]
    for clip in failed:
        yield f"warning: clip {clip['name']} is missing: {clip['error']}"
    size = sum(clip.get("bytes", 0) for clip in clips) / 1e6
    yield f"wrote {options.output}: {len(clips) - len(failed)} clips, {size:.1f} MB"
