"""The verbs of the command line that make data; the others are in ``cli.py``."""

import shlex
import sys
from pathlib import Path
from typing import Literal

from seg2vid.cli import arguments as syntax
from seg2vid.tools.errors import Seg2VidError

Aspect = Literal["crop", "pad"]
Layout = Literal["auto", "cityscapes", "kitti", "kth", "ucf101", "camvid", "toycity", "folder"]


def segment(
    photo: Path,
    *,
    output: Path,
    labels: str = "segmenter",
    overlay: Path | None = None,
    confidence: Path | None = None,
    min_confidence: float = 0.0,
) -> None:
    """Make a label map from a photo.

    Args:
        photo: the photo.
        output: the .png to write: a palette PNG of train ids, of the photo's size.
        labels: who labels: segmenter (the one that comes with seg2vid), a file.onnx, hf:NAME.
        overlay: also write the photo with the classes' colours over it.
        confidence: also write how sure each pixel is, as a grey picture: black 0, white 1.
        min_confidence: pixels less sure than this (0 to 1) become void.
    """
    from seg2vid.cli.segment import run

    for line in run(
        photo,
        output,
        labels,
        overlay=overlay,
        confidence=confidence,
        min_confidence=min_confidence,
    ):
        print(line)


def prepare(
    source: Path,
    *options: str,
    output: Path,
    layout: Layout = "auto",
    only: str | None = None,
    size: tuple[int, int] = (256, 128),
    frames: int = 9,
    fps: float = 12.0,
    labels: str = "segmenter",
    flow: Literal["dis", "raft", "none"] = "dis",
    judges: Path | None = None,
    val_share: float = 0.1,
    test_share: float = 0.0,
    group: str | None = None,
    shard_size: int = 64,
    shard_of: str = "1/1",
    workers: int | None = None,
    dry_run: bool = False,
) -> None:
    """Turn videos or a known dataset into clips with label maps; the same command resumes.

    SOURCE is a video, a folder of videos or of folders of frames (labels/ and instances/ in them
    are used), or the official tree of Cityscapes, KITTI raw, KTH, UCF-101 or CamVid. Further
    options, after SOURCE: --step N, --stride N, --windows labelled, --aspect pad, --keep-flow true,
    --lossless true, --least-visible X; and of the labelling --flip true, --smooth X, --adapt X,
    --min-confidence X. docs/data.md explains them.

    Args:
        source: where the videos are.
        options: fields of ClipSettings.
        output: folder to write: shards (tar), index.json, report.html.
        layout: what SOURCE is; auto finds out.
        only: regular expression; recordings with no match in their name are left out.
        size: size of the clips, multiples of 32.
        frames: frames of each clip, the first one included.
        fps: wanted frames per second; every n-th frame is taken, n such that it comes nearest.
        labels: who labels frames without a map: segmenter, file.onnx, hf:NAME or none.
        flow: what measures motion: dis (OpenCV), raft (needs --judges) or none.
        judges: folder of raft_small.safetensors.
        val_share: share of the recordings for validation, where the dataset has no split.
        test_share: share of the recordings for test, likewise.
        group: regular expression; recordings with the same match in their name stay in one split.
        shard_size: megabytes of a shard.
        shard_of: i/N: do the i-th of N shares of the recordings; the last job joins them.
        workers: processes (default: one for each processor core).
        dry_run: only say what would be done and what it would cost.
    """
    given = dict(locals())  # before the imports add names
    from seg2vid.data.prepare.job import PrepareOptions
    from seg2vid.data.prepare.run import run
    from seg2vid.data.prepare.settings import ClipSettings

    base = ClipSettings(height=size[1], width=size[0], num_frames=frames - 1, frames_per_second=fps)
    kept = ("source", "output", "layout", "only", "labels", "flow", "judges", "group", "workers")
    plan = PrepareOptions(
        clip=syntax.build(ClipSettings, options, base),
        command=shlex.join(["seg2vid", *sys.argv[1:]]),
        split=(val_share, test_share),
        shard_megabytes=shard_size,
        shard_of=_read_share(shard_of),
        dry_run=dry_run,
        **{name: given[name] for name in kept},
    )
    for line in run(plan):
        print(line, file=sys.stderr if line.startswith("warning:") else sys.stdout, flush=True)


def _read_share(text: str) -> tuple[int, int]:
    """Read ``i/N``."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        what, fix = "i/N for --shard-of", "for example --shard-of 2/8"
        raise Seg2VidError(what, got=repr(text), fix=fix)
    return int(number), int(count)


def toycity(
    *,
    output: Path,
    clips: int = 100,
    seed: int = 0,
    size: tuple[int, int] = (256, 128),
    frames: int = 9,
    fps: float = 12.0,
    workers: int = 1,
) -> None:
    """Render toy-city clips with exact labels, objects, flow and visibility.

    Args:
        output: the folder to write to.
        clips: number of clips.
        seed: the same seed gives the same bytes.
        size: size of the frames.
        frames: frames of each clip, the first one included.
        fps: frames per second.
        workers: processes that render at the same time.
    """
    if clips < 1 or workers < 1:
        got = f"{clips} clips, {workers} workers"
        raise Seg2VidError("at least 1 clip and 1 worker", got=got, fix="raise them")
    from seg2vid.data.toycity.config import ToyCityConfig
    from seg2vid.data.toycity.dataset import write_dataset

    width, height = size
    try:
        config = ToyCityConfig(
            height=height, width=width, num_frames=frames - 1, frames_per_second=fps
        )
    except ValueError as error:
        raise Seg2VidError(str(error)) from None
    write_dataset(
        output,
        clips=clips,
        seed=seed,
        config=config,
        workers=workers,
        preview=True,
        progress=True,
    )
    print(f"wrote {clips} clips to {output}")
