"""The verbs that measure: evaluate, compare and study."""

from collections.abc import Iterator, Sequence

from seg2vid.cli.options import Compare, Evaluate, StudyAnalyse, StudyMake
from seg2vid.evaluation.compare import compare as compare_reports
from seg2vid.evaluation.compare import read_report
from seg2vid.evaluation.comparison_table import comparison_lines, table_lines
from seg2vid.evaluation.protocol import get_protocol
from seg2vid.evaluation.study import make_page, preference_lines
from seg2vid.tools.devices import choose_device
from seg2vid.tools.errors import Seg2VidError


def evaluate(options: Evaluate) -> Iterator[str]:
    """Measure a model, or videos of any model, under a protocol."""
    from seg2vid.evaluation import run as evaluation  # needs the extra, which compare does not
    from seg2vid.evaluation.work import Setup

    videos, reference = options.videos, options.reference
    if videos is None and reference is not None:
        what, got = "--videos and --reference together", "--reference alone"
        raise Seg2VidError(what, got=got, fix="name both folders")
    clips = (reference, options.protocol or options.data)
    if videos is not None and (clips.count(None) != 1):
        what = "with --videos either --reference or --protocol"
        fix = "name the real videos, or the protocol whose clips they show"
        raise Seg2VidError(what, got="both" if reference else "neither", fix=fix)
    if videos is not None and (options.model is not None or options.against):
        what, got = "a model or --videos", "both"
        raise Seg2VidError(what, got=got, fix="leave one of them out")
    pairs = None
    if videos is not None and reference is not None:
        protocol, pairs = evaluation.compare_videos(videos, reference)
    elif options.protocol is None and options.data is not None:
        protocol = evaluation.of_dataset(options.data)
    else:
        protocol = get_protocol(options.protocol or "toycity-v2")
        if protocol.source == "toycity" and options.data is not None:
            what = f"no --data with {protocol.name}, which renders its clips"
            fix = "leave one of them out: --data alone evaluates on that dataset"
            raise Seg2VidError(what, got=options.data, fix=fix)
    setup = Setup(
        protocol,
        options.output,
        model=None if videos is not None else options.model or "toycity",
        against=tuple(options.against or ()),
        data=options.data,
        judges=options.judges,
        limit=options.clips,
        pairs=pairs,
        videos=videos if pairs is None else None,
        device=str(choose_device(options.device)),
        precision=options.precision,
    )
    how = ("workers", "threads", "keep_work")
    yield from evaluation.run(setup, **{name: getattr(options, name) for name in how})


def compare(options: Compare) -> Iterator[str]:
    """Say what changed between two reports."""
    names, places = options.candidates, options.reports
    if len(places) == 1:
        places = places * len(names)
    if len(places) < 2:
        what, got = "two reports to compare, or one with --candidates A,B", "one"
        raise Seg2VidError(what, got=got, fix="name another report or candidate")
    if len(names) not in (0, 1, len(places)):
        what = f"one name for --candidates, or one for each of {len(places)} reports"
        fix = "name one row, or one of each report"
        raise Seg2VidError(what, got=",".join(names), fix=fix)
    reports = [read_report(path) for path in places]
    rows: Sequence[str | None] = names if len(names) > 1 else (names or (None,)) * len(places)
    comparisons = [
        compare_reports(reports[0], other, first_candidate=rows[0], second_candidate=row)
        for other, row in zip(reports[1:], rows[1:], strict=True)
    ]
    if options.format != "text":
        yield from table_lines(comparisons, options.format)
        return
    for number, comparison in enumerate(comparisons):
        yield from ([""] if number else [])
        yield from comparison_lines(comparison)


def make_study(options: StudyMake) -> Iterator[str]:
    """Make the page of a preference study."""
    if options.output.suffix != ".html":
        got = options.output.name
        raise Seg2VidError("a page, .html, for -o", got=got, fix="write it like study.html")
    pairs, seed, fps = options.pairs, options.seed, options.fps
    yield from make_page(
        options.folders, options.output, pairs=pairs, seed=seed, frames_per_second=fps
    )


def analyse_study(options: StudyAnalyse) -> Iterator[str]:
    """Say what people preferred."""
    yield from preference_lines(options.answers)
