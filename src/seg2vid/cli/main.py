"""The command line: one verb, one dataclass of options, one function that yields lines of text.

A new verb is a dataclass in ``options.py``, a function and a line in ``VERBS``. The modules of the
functions are imported when their verb is called, so that ``seg2vid --help`` answers at once.
"""

import inspect
import os
import platform
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from tempfile import NamedTemporaryFile
from typing import Any

from seg2vid.cli import options, training_options, video_options
from seg2vid.cli.arguments import parse
from seg2vid.data.annotated.settings import DatasetOptions
from seg2vid.data.prepare.settings import PrepareOptions
from seg2vid.tools.errors import Seg2VidError, printable

VERBS: dict[str, tuple[type, str]] = {
    "generate": (video_options.Generate, "seg2vid.cli.generate.make_videos"),
    "animate": (video_options.Animate, "seg2vid.cli.generate.make_videos"),
    "studio": (options.Studio, "seg2vid.cli.studio.run"),
    "models": (options.Models, "seg2vid.cli.models.list_all"),
    "labels check": (options.LabelsCheck, "seg2vid.cli.labels.check"),
    "labels convert": (options.LabelsConvert, "seg2vid.cli.labels.convert"),
    "labels spaces": (options.LabelsSpaces, "seg2vid.cli.labels.list_spaces"),
    "segment": (options.Segment, "seg2vid.cli.segment.segment"),
    "prepare": (PrepareOptions, "seg2vid.data.prepare.run.run"),
    "dataset": (DatasetOptions, "seg2vid.data.annotated.run.run"),
    "toycity": (options.ToyCity, "seg2vid.cli.data.toycity"),
    "train first-frame": (training_options.TrainFirstFrame, "seg2vid.cli.training.train_stage"),
    "train motion": (training_options.TrainMotion, "seg2vid.cli.training.train_stage"),
    "train refiner": (training_options.TrainRefiner, "seg2vid.cli.training.train_stage"),
    "train segmenter": (training_options.TrainSegmenter, "seg2vid.cli.training.train_stage"),
    "train replay": (training_options.TrainReplay, "seg2vid.cli.training.train_replay"),
    "export": (options.Export, "seg2vid.cli.export.export"),
    "assemble": (options.Assemble, "seg2vid.cli.models.assemble"),
    "convert": (options.Convert, "seg2vid.cli.models.convert"),
    "evaluate": (options.Evaluate, "seg2vid.cli.evaluation.evaluate"),
    "compare": (options.Compare, "seg2vid.cli.evaluation.compare"),
    "study make": (options.StudyMake, "seg2vid.cli.evaluation.make_study"),
    "study analyse": (options.StudyAnalyse, "seg2vid.cli.evaluation.analyse_study"),
    "judges": (options.Judges, "seg2vid.cli.models.list_judges"),
    "judges convert": (options.JudgesConvert, "seg2vid.cli.models.convert_judge"),
}
"""Every command by its words: its options, and its function by module and name."""

HELP = """seg2vid: one semantic label map in, a moving scene out.

  {verbs}

  seg2vid VERB --help tells the options of a verb; seg2vid --version the version.

Try:  seg2vid generate labels.png -o scene.mp4"""

EXTRAS = {"train": "train", "evaluate": "eval", "study": "eval", "studio": "studio"}
"""What has to be installed for some verbs, by their first word."""


def say(line: str) -> None:
    """Print one line for a person: warnings to standard error, the rest to standard output."""
    place = sys.stderr if line.startswith("warning:") else sys.stdout
    print("\n".join(map(printable, line.split("\n"))), file=place, flush=True)


def _summaries(names: Iterable[str], between: str) -> str:
    firsts = {name: (inspect.getdoc(VERBS[name][0]) or "").partition("\n")[0] for name in names}
    return between.join(f"seg2vid {name:<17} {first}" for name, first in firsts.items())


def dispatch(words: list[str]) -> None:
    """Run the verb that ``words`` begin with; raise ``Seg2VidError`` for an unknown one."""
    if not words or words[0] in {"-h", "--help", "help"}:
        print(HELP.format(verbs=_summaries(VERBS, "\n  ")))
        return
    if words[0] in {"-V", "--version"}:
        from seg2vid import __version__

        print(f"seg2vid {__version__}")
        return
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in VERBS and len(words) >= length:
            run(name, words[length:])
            return
    group = [name for name in VERBS if name.startswith(f"{words[0]} ")]
    if group and words[1:2] in (["-h"], ["--help"]):
        print(_summaries(group, "\n"))
        return
    what = f"a verb ({', '.join(group or VERBS)})"
    got = repr(" ".join(words[: 2 if group else 1]))
    raise Seg2VidError(what, got=got, fix="see `seg2vid --help`")


def run(name: str, words: list[str]) -> None:
    """Run one verb with the options that ``words`` mean, and print what it yields."""
    kind, place = VERBS[name]
    chosen = parse(name, kind, words)
    if getattr(chosen, "no_restricted", False):
        os.environ["SEG2VID_NO_RESTRICTED"] = "1"
    module, _, function = place.rpartition(".")
    try:
        for line in getattr(import_module(module), function)(chosen):
            say(line)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(name.split()[0])
        if extra is None or str(error.name).startswith("seg2vid"):
            raise
        what, fix = f"the extra `{extra}` to be installed", f"pip install 'seg2vid[{extra}]'"
        raise Seg2VidError(what, got=f"no {error.name}", fix=fix) from None


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind the program like Ctrl-C, so that it leaves no partial file either."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 well, 1 our mistake, 2 a user's, 130
    stopped.
    """
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
    except MemoryError as error:
        return _too_little_memory(error)
    except OSError as error:
        got = f"{error.filename or 'a file'}: {error.strerror or error}"
        what, fix = "files that can be read and written", "check place and space"
        print(f"seg2vid: {Seg2VidError(what, got=got, fix=fix)}", file=sys.stderr)
        return 2
    except Exception as error:
        # PyTorch has no class of error for a processor that is out of memory.
        if "DefaultCPUAllocator" in str(error):
            return _too_little_memory(error)
        print(f"seg2vid: {_unforeseen(error)}", file=sys.stderr)
        return 1
    return 0


def _too_little_memory(error: Exception) -> int:
    what, fix = "enough memory", "take a smaller size, network or file"
    got = str(error) or "too little"
    print(f"seg2vid: {Seg2VidError(what, got=got, fix=fix)}", file=sys.stderr)
    return 2


def _unforeseen(error: Exception) -> Seg2VidError:
    """Write what is needed to find our mistake into a file; return the line that names it."""
    from seg2vid import __version__

    facts = f"seg2vid {__version__}, Python {sys.version}, {platform.platform()}"
    lines = [facts, shlex.join(sys.argv), "", *traceback.format_exception(error)]
    how: dict[str, Any] = {"prefix": "seg2vid-", "suffix": ".txt", "delete": False}
    with NamedTemporaryFile("w", encoding="utf-8", errors="replace", **how) as file:
        file.write("\n".join(lines))
    what, got = "no mistake in seg2vid itself", f"{type(error).__name__}: {error}"
    return Seg2VidError(what, got=got, fix=f"report it and attach {file.name}")


if __name__ == "__main__":
    sys.exit(main())
