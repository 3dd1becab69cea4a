"""The verbs that measure: evaluate and compare."""

from collections.abc import Iterator

from seg2vid.cli.options import Compare, Evaluate
from seg2vid.evaluation.compare import compare as compare_reports
from seg2vid.evaluation.compare import comparison_lines, read_report
from seg2vid.evaluation.protocol import get_protocol
from seg2vid.tools.errors import Seg2VidError


def evaluate(options: Evaluate) -> Iterator[str]:
    """Measure a model, or videos of any model, under a protocol."""
    from seg2vid.evaluation import run as evaluation  # needs the extra, which compare does not
    from seg2vid.evaluation.work import Setup

    videos, reference = options.videos, options.reference
    if (videos is None) != (reference is None):
        what, got = "--videos and --reference together", "one of them"
        raise Seg2VidError(what, got=got, fix="name both folders")
    if videos is not None and (options.model is not None or options.against):
        what, got = "a model or --videos", "both"
        raise Seg2VidError(what, got=got, fix="leave one of them out")
    if videos is not None and reference is not None:
        (protocol, pairs), model = evaluation.compare_videos(videos, reference), None
    else:
        protocol, pairs, model = get_protocol(options.protocol), None, options.model or "toycity"
    setup = Setup(
        protocol,
        options.output,
        model=model,
        against=tuple(options.against or ()),
        data=options.data,
        judges=options.judges,
        limit=options.clips,
        pairs=pairs,
        device=evaluation.choose_device(options.device),
    )
    how = ("workers", "threads", "keep_work")
    yield from evaluation.run(setup, **{name: getattr(options, name) for name in how})


def compare(options: Compare) -> Iterator[str]:
    """Say what changed between two reports."""
    names = options.candidates
    if len(names) > 2:
        what, got = "one or two names for --candidates", ",".join(names)
        raise Seg2VidError(what, got=got, fix="name one row, or one of each report")
    comparison = compare_reports(
        read_report(options.first),
        read_report(options.second),
        first_candidate=names[0] if names else None,
        second_candidate=names[-1] if names else None,
    )
    yield from comparison_lines(comparison)
