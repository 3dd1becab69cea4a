"""The verbs of the command line for those who measure models; the others are in ``cli.py``."""

import sys
from pathlib import Path
from typing import Literal

from seg2vid.tools.errors import Seg2VidError


def evaluate(
    *,
    output: Path,
    model: str | None = None,
    protocol: str = "toycity-v1",
    against: list[str] | None = None,
    videos: Path | None = None,
    reference: Path | None = None,
    data: Path | None = None,
    judges: Path | None = None,
    clips: int | None = None,
    workers: int | None = None,
    threads: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    keep_work: bool = False,
) -> None:
    """Measure a model, or videos of any model, under a protocol; the same command resumes.

    Args:
        output: folder of the report: report.json and report.html.
        model: name or path of a model (default: toycity).
        protocol: name of a protocol (see docs/evaluation.md), or the path of one's .yaml.
        against: another model to judge in the same run; give it again for more.
        videos: folder of generated videos to judge instead of a model, with --reference.
        reference: folder of the real videos, of the same names.
        data: folder of the evaluation data (default: SEG2VID_EVALUATION_DATA).
        judges: folder of the judges' weights (default: SEG2VID_JUDGES); see `seg2vid judges`.
        clips: judge the first N clips only; the report says so.
        workers: processes (default: one for each core).
        threads: threads in each process (default: the cores shared out).
        device: auto takes a GPU where there is one.
        keep_work: keep what was measured of every clip beside the report.
    """
    try:
        from seg2vid.evaluation import run as evaluation
    except ModuleNotFoundError as error:
        if str(error.name).startswith("seg2vid"):
            raise
        what, fix = "the extra `eval` to be installed", "pip install 'seg2vid[eval]'"
        raise Seg2VidError(what, got=f"no {error.name}", fix=fix) from None
    from seg2vid.evaluation.protocol import get_protocol

    if (videos is None) != (reference is None):
        what, got = "--videos and --reference together", "one of them"
        raise Seg2VidError(what, got=got, fix="name both folders")
    pairs = None
    if videos is not None and reference is not None:
        if model is not None or against:
            what, got = "a model or --videos", "both"
            raise Seg2VidError(what, got=got, fix="leave one of them out")
        chosen, pairs = evaluation.compare_videos(videos, reference)
    else:
        chosen = get_protocol(protocol)
    options = evaluation.EvaluateOptions(
        protocol=chosen,
        output=output,
        model=None if pairs is not None else model or "toycity",
        against=tuple(against or ()),
        pairs=pairs,
        data=data,
        judges=judges,
        clips=clips,
        workers=workers,
        threads=threads,
        device=device,
        keep_work=keep_work,
    )
    for line in evaluation.run(options):
        is_warning = line.startswith("warning:")
        print(line, file=sys.stderr if is_warning else sys.stdout, flush=True)


def compare(first: Path, second: Path, *, candidates: tuple[str, ...] = ()) -> None:
    """Say what changed between two reports, and whether it is more than noise.

    Args:
        first: report.json of one evaluation.
        second: report.json of another one, of the same protocol.
        candidates: which row of each, as in model,other_1 (default: the model of each).
    """
    from seg2vid.evaluation.compare import compare as compare_reports
    from seg2vid.evaluation.compare import comparison_lines, read_report

    if len(candidates) not in (0, 1, 2):
        what, got = "one or two names for --candidates", ",".join(candidates)
        raise Seg2VidError(what, got=got, fix="name one row, or one of each report")
    reports = [read_report(first), read_report(second)]
    named = (candidates * 2)[:2] if len(candidates) == 1 else candidates
    own, other = (*named, None, None)[:2]
    comparison = compare_reports(*reports, first_candidate=own, second_candidate=other)
    for line in comparison_lines(comparison):
        print(line)


def judges(*, judges: Path | None = None) -> None:
    """List the judges, whether their weights are there and right, and where they come from.

    Args:
        judges: folder of the judges' weights (default: SEG2VID_JUDGES).
    """
    from seg2vid.models.judges.files import describe_judges

    for judge in describe_judges(judges):
        state = "as pinned" if judge.is_pinned else "other bytes" if judge.is_found else "missing"
        print(f"{judge.name:<38} {state:<12} {judge.what}")
        print(f"{'':<52}{judge.licence}; official file: {judge.source}")


def judges_convert(file: Path, *, output: Path) -> None:
    """Turn an official file of a judge's weights into the file that is read here.

    Args:
        file: the official file, as `seg2vid judges` names it.
        output: the folder of the judges' weights.
    """
    from seg2vid.models.judges.files import convert_official, is_pinned

    path = convert_official(file, output)
    print(f"wrote {path}, {'as' if is_pinned(path) else 'not as'} pinned")
