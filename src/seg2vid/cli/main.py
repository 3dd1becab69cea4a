"""The command line: one verb, one plain function.

A new verb is a function with a docstring and a line in ``VERBS``. Whatever is heavy is imported
inside the verbs, so that ``seg2vid --help`` answers at once.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from seg2vid.cli import arguments as syntax
from seg2vid.cli.data import prepare, segment, toycity
from seg2vid.cli.evaluation import compare, evaluate, judges, judges_convert
from seg2vid.cli.training import (
    assemble,
    train_first_frame,
    train_motion,
    train_replay,
    train_segmenter,
)
from seg2vid.tools.errors import Seg2VidError, expected

Aspect = Literal["crop", "pad"]
Encoding = Literal["auto", "train", "raw", "colour", "instance"]


def say(line: str) -> None:
    """Print one line for a person: warnings to standard error, the rest to standard output."""
    print(line, file=sys.stderr if line.startswith("warning:") else sys.stdout, flush=True)


def generate(
    labels: Path,
    *,
    output: Path,
    model: str | None = None,
    frames: int | None = None,
    fps: float | None = None,
    seed: int = 0,
    samples: int = 1,
    first_frame: Path | None = None,
    instances: Path | None = None,
    size: tuple[int, int] | None = None,
    aspect: Aspect = "crop",
    save: tuple[str, ...] = (),
    contact_sheet: Path | None = None,
    encoding: Encoding = "auto",
    label_space: str | None = None,
    resample: tuple[str, ...] = (),
    resample_seed: int = 0,
) -> None:
    """Make a video from a label map, or from a photo.

    Args:
        labels: label map: train ids, raw ids, palette, class colours or instance ids; or a photo,
            which is segmented first and becomes the first frame.
        output: where to: .mp4, .webm, .gif, .webp, or a folder name for png frames.
        model: name (see `seg2vid models`) or path of a model.
        frames: frames of the video, the first one included (default: one pass of the model).
        fps: frames per second of the file (default: the model's).
        seed: the same seed gives the same video, another one another future.
        samples: number of videos, from seeds SEED, SEED + 1 ...
        first_frame: a photo to begin with, instead of a generated first frame.
        instances: map that tells the objects apart, of the same size as the label map.
        size: size of the video, multiples of 32 (default: the model's).
        aspect: how other proportions are brought to the size: crop or pad, never stretch.
        save: also write flow, visible, labels, overlay.
        contact_sheet: also write a picture of evenly spaced frames, for a quick look.
        encoding: how to read the label map; auto finds out.
        label_space: name or .yaml file of the label map's classes (default: the model's).
        resample: classes to paint anew, as in building,car; all others keep their look.
        resample_seed: another number gives these classes another look.
    """
    given = dict(locals())  # before the import adds names
    from seg2vid.cli.generate import GenerateOptions, run
    from seg2vid.cli.segment import segment_photo

    for line in run(GenerateOptions(**given), segmenter=segment_photo):
        say(line)


def animate(
    photo: Path,
    *,
    labels: Path,
    output: Path,
    model: str | None = None,
    motion_from: Path | None = None,
    motion_labels: Path | None = None,
    motion_step: int = 1,
    frames: int | None = None,
    fps: float | None = None,
    seed: int = 0,
    samples: int = 1,
    instances: Path | None = None,
    size: tuple[int, int] | None = None,
    aspect: Aspect = "crop",
    save: tuple[str, ...] = (),
    contact_sheet: Path | None = None,
    encoding: Encoding = "auto",
    label_space: str | None = None,
) -> None:
    """Make a video from a photo and its label map: the photo is the first frame.

    Args:
        photo: the first frame.
        labels: its label map: train ids, raw ids, palette, class colours or instance ids.
        output: where to: .mp4, .webm, .gif, .webp, or a folder name for png frames.
        model: name (see `seg2vid models`) or path of a model.
        motion_from: folder of frames or video that the photo shall move like.
        motion_labels: label map of its first frame (default: labels/FRAME.png in that folder).
        motion_step: take every Nth of its frames; models have a frame rate of their own.
        frames: frames of the video, the first one included (default: one pass of the model).
        fps: frames per second of the file (default: the model's).
        seed: the same seed gives the same video, another one another future.
        samples: number of videos, from seeds SEED, SEED + 1 ...
        instances: map that tells the objects apart, of the same size as the label map.
        size: size of the video, multiples of 32 (default: the model's).
        aspect: how other proportions are brought to the size: crop or pad, never stretch.
        save: also write flow, visible, labels, overlay.
        contact_sheet: also write a picture of evenly spaced frames, for a quick look.
        encoding: how to read the label map; auto finds out.
        label_space: name or .yaml file of the label map's classes (default: the model's).
    """
    given = dict(locals())  # before the imports add names
    from seg2vid.cli.generate import GenerateOptions, run
    from seg2vid.data.motion_clip import ClipMotion, MotionClip

    given["first_frame"] = given.pop("photo")
    path, *how = (given.pop(f"motion_{name}") for name in ("from", "labels", "step"))
    motion = None if path is None else ClipMotion(MotionClip(path, *how))
    for line in run(GenerateOptions(**given), motion):
        say(line)


def models() -> None:
    """List the models that can be used at once."""
    from seg2vid.models.weights import list_models

    available = list_models()
    if not available:
        print("none comes with this installation; name one with `seg2vid generate --model PATH`")
    for model in available:
        print(f"{model.name:<20} {model.megabytes:6.1f} MB  {model.summary}")


def labels_check(
    file: Path, *, label_space: str = "cityscapes", encoding: Encoding = "auto"
) -> None:
    """Say what a label map is, what it holds, what is wrong and how to repair it.

    Args:
        file: the label map.
        label_space: name or .yaml file of the classes.
        encoding: how to read the file; auto finds out.
    """
    from seg2vid.labels.space import get_label_space
    from seg2vid.media.label_maps import read_label_map

    diagnosis = read_label_map(
        file, space=get_label_space(label_space), encoding=encoding
    ).diagnosis
    print(f"{file}: {diagnosis.summary}")
    for name, share in diagnosis.class_shares:
        print(f"  {name:<16} {share:7.2%}")
    for warning in diagnosis.warnings:
        print(f"warning: {warning}")
    print(f"to repair it: {diagnosis.repair}" if diagnosis.repair else "nothing to repair")


def labels_convert(
    file: Path,
    *,
    output: Path,
    to: Literal["train", "colour"] = "train",
    size: tuple[int, int] | None = None,
    aspect: Aspect = "crop",
    label_space: str = "cityscapes",
    encoding: Encoding = "auto",
) -> None:
    """Turn any label map into a palette PNG of train ids (or plain class colours).

    Args:
        file: the label map.
        output: the .png to write.
        to: train writes ids (void = 255) with the class colours as palette, colour writes RGB.
        size: scale it to this size too.
        aspect: how other proportions are brought to the size: crop or pad, never stretch.
        label_space: name or .yaml file of the classes.
        encoding: how to read the file; auto finds out.
    """
    from seg2vid.cli.generate import check_size
    from seg2vid.labels.convert import colourise
    from seg2vid.labels.fit import fit_label_map
    from seg2vid.labels.space import get_label_space
    from seg2vid.media.label_maps import read_label_map
    from seg2vid.media.pictures import write_image, write_label_map

    space = get_label_space(label_space)
    read = read_label_map(file, space=space, encoding=encoding)
    print(f"{file}: {read.diagnosis.summary}")
    for warning in read.diagnosis.warnings:
        say(f"warning: {warning}")
    ids = read.ids
    if size is not None:
        width, height = check_size(size)
        fitted = fit_label_map(ids, height=height, width=width, aspect=aspect, fill=space.void_id)
        ids = fitted.ids
        print(fitted.sentence)
    if to == "colour" and output.suffix.lower() == ".png":
        write_image(output, colourise(ids, space))
    else:
        write_label_map(output, ids, space)
    print(f"wrote {output}")


VERBS: dict[str, syntax.Verb] = {
    "generate": generate,
    "animate": animate,
    "models": models,
    "labels check": labels_check,
    "labels convert": labels_convert,
    "segment": segment,
    "prepare": prepare,
    "toycity": toycity,
    "train first-frame": train_first_frame,
    "train motion": train_motion,
    "train segmenter": train_segmenter,
    "train replay": train_replay,
    "assemble": assemble,
    "evaluate": evaluate,
    "compare": compare,
    "judges": judges,
    "judges convert": judges_convert,
}
"""Every command by its words."""


def help_text() -> str:
    """Return the overview that ``seg2vid --help`` prints."""
    lines = ["seg2vid: one semantic label map in, a moving scene out.", ""]
    lines += [f"  seg2vid {name:<16} {syntax.summary(verb)}" for name, verb in VERBS.items()]
    lines += [
        "",
        "  seg2vid VERB --help tells the options of a verb; seg2vid --version the version.",
    ]
    lines += ["", "Try:  seg2vid generate labels.png -o scene.mp4"]
    return "\n".join(lines)


def dispatch(words: list[str]) -> None:
    """Call the verb that ``words`` begin with; raise ``Seg2VidError`` for an unknown one."""
    if not words or words[0] in {"-h", "--help", "help"}:
        print(help_text())
        return
    if words[0] in {"-V", "--version"}:
        from seg2vid import __version__

        print(f"seg2vid {__version__}")
        return
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in VERBS and len(words) >= length:
            syntax.call(name, VERBS[name], words[length:])
            return
    is_group = [name for name in VERBS if name.startswith(f"{words[0]} ")]
    if is_group and words[1:2] in (["-h"], ["--help"]):
        print("\n".join(f"seg2vid {name:<16} {syntax.summary(VERBS[name])}" for name in is_group))
        return
    what = f"a verb ({', '.join(is_group or VERBS)})"
    got = repr(" ".join(words[: 2 if is_group else 1]))
    raise Seg2VidError(what, got=got, fix="see `seg2vid --help`")


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind the program like Ctrl-C, so that it leaves no partial file either."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(f"signal {number}")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 well, 2 a user's mistake, 130 stopped."""
    try:
        with _terminated_like_interrupted():
            dispatch(sys.argv[1:] if arguments is None else arguments)
            sys.stdout.flush()
    except SystemExit as stop:  # argparse ends --help this way
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("seg2vid: stopped; no partial file is left", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader is gone; whatever Python still flushes at exit must go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Seg2VidError as error:
        print(f"seg2vid: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        got = f"{error.filename or 'a file'}: {error.strerror or error}"
        line = expected("files that can be read and written", got=got, fix="check place and space")
        print(f"seg2vid: {line}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
