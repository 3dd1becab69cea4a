"""What ``seg2vid evaluate`` does: a model and baselines × the clips of a protocol → one report.

``evaluation/work.py`` measures, ``evaluation/figures.py`` makes figures of it; here they become
JSON with provenance and, with ``report/page.py``, a page for people.
"""

import json
import shutil
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from seg2vid.data.clips import ClipFolder
from seg2vid.data.prepared import INDEX, read_index
from seg2vid.evaluation import work
from seg2vid.evaluation.cases import digest_of_all, open_dataset
from seg2vid.evaluation.compare import FORMAT, REPORT, read_report
from seg2vid.evaluation.figures import build_figures, clip_values
from seg2vid.evaluation.judges import JUDGE_FILES, judge_digests
from seg2vid.evaluation.metric_table import METRICS
from seg2vid.evaluation.protocol import Protocol
from seg2vid.evaluation.report.page import write_evaluation_report
from seg2vid.evaluation.results import Results
from seg2vid.evaluation.video_pairs import VideoPairs
from seg2vid.evaluation.work import Setup
from seg2vid.export.graphs import find_export
from seg2vid.tools.environment import describe_environment, describe_machine, without_folders
from seg2vid.tools.errors import MediaError, Seg2VidError
from seg2vid.tools.files import replacing, working_alone
from seg2vid.tools.plain import read_plain
from seg2vid.tools.processes import available_cores

Report = dict[str, Any]
"""What ``report.json`` holds; docs/evaluation.md tells its fields."""
PAGE, SETTINGS = "report.html", "settings.json"
_FIX = "choose another -o"
MEASURED = 2
"""Clips after which the rest is foretold; the first one loads the judges."""
SHOWN = (
    *("lpips", "ms_ssim", "fvd", "fid", "kid"),
    *("epe_backward", "sharpness", "warping_error", "miou_truth"),
)
"""Figures that are printed."""


def run(
    setup: Setup, *, workers: int | None = None, threads: int | None = None, keep_work: bool = False
) -> Iterator[str]:
    """Measure what is missing and write the report; yield what a person wants to know.

    Raises ``Seg2VidError`` for missing models, data or judges, and for a folder that was begun with
    other settings.
    """
    output = setup.output
    settings = _settings(setup)
    if _is_finished(output, settings):
        yield f"{output} is finished: nothing to do"
        yield from summary_lines(read_report(output / REPORT))
        return
    left = len(setup.numbers_left())
    if left:
        _ = setup.measurement  # loads the judges: a wrong folder is told before this one is claimed
    with _claimed(output, settings):
        titles = ", ".join(candidate.title for candidate in setup.candidates)
        yield f"{setup.protocol.name}: {left} of {len(setup.cases.names)} clips to do; {titles}"
        for remark in _remarks(changes(setup)):
            yield f"warning: {remark}"
        cost = yield from _measure(setup, *share_cores(setup, workers, threads))
        report = make_report(setup, cost)
        write_evaluation_report(report, setup.strips, output / PAGE)
        _write_json(report, output / REPORT)
        if not keep_work:
            shutil.rmtree(setup.work)
        yield from summary_lines(report)
        yield f"wrote {output / REPORT} and {output / PAGE}"


def share_cores(
    setup: Setup, workers: int | None = None, threads: int | None = None
) -> tuple[int, int]:
    """Return how many processes, and how many threads in each: all cores, a GPU alone."""
    cores = available_cores()
    usual = 1 if setup.device != "cpu" else cores
    workers = max(1, min(workers or usual, len(setup.cases.names)))
    return workers, threads or max(1, cores // workers)


def _measure(
    setup: Setup, workers: int, threads: int
) -> Generator[str, None, dict[str, int | float]]:
    """Measure two clips, foretell the rest, do it; yield lines and return what it took."""
    torch.set_num_threads(threads)
    left = setup.numbers_left()
    start, peak, seconds = time.perf_counter(), 0, 0.0
    for number in left[:MEASURED]:
        begun = time.perf_counter()
        peak = max(peak, setup.do(number))
        seconds = time.perf_counter() - begun
    rest = len(left) - MEASURED
    if rest > 0:
        minutes = rest * seconds / workers / 60
        yield f"{seconds:.1f} s a clip; about {minutes:.1f} minutes more with {workers} processes"
    peak = max(peak, work.work(setup, workers=workers, threads=threads))
    return {
        "seconds": time.perf_counter() - start,
        "workers": workers,
        "threads_per_worker": threads,
        "peak_memory_bytes": peak,
        "clips_in_this_go": len(left),
    }


def make_report(setup: Setup, cost: Mapping[str, int | float]) -> Report:
    """Make the report of a setup whose units are all there."""
    protocol = setup.protocol
    candidates = setup.candidates
    described = ("key", "title", "role", "about", "sha256")
    units = {candidate.key: setup.read_units(candidate.key) for candidate in candidates}
    results = Results(protocol, units)
    lists = build_figures(results)
    data = digest_of_all(setup.read_digests())
    is_whole = setup.cases.names == setup.cases.every_name
    is_frozen = data == protocol.data_sha256 if protocol.data_sha256 and is_whole else None
    environment = describe_environment()
    environment["command"] = without_folders(environment["command"])
    changed = changes(setup)
    if is_frozen is False:
        changed["data"] = "other pixels than the frozen ones"
    measured = {figure["metric"] for figure in (*lists["figures"], *lists["classes"])}
    return {
        "format": FORMAT,
        "protocol": {**asdict(protocol), "changed": changed},
        "candidates": [{name: getattr(one, name) for name in described} for one in candidates],
        "metrics": [asdict(info) for info in METRICS.values() if info.key in measured],
        **lists,
        "clips": {"names": list(setup.cases.names), "values": clip_values(results)},
        "remarks": [*_remarks(changed), *_indicative(lists["figures"])],
        "provenance": {
            **environment,
            **describe_machine(),
            "device": setup.device,
            "precision": setup.computes_in,
            "seeds": f"{protocol.seed} + 1000 x number of the clip + number of the sample",
            "data_sha256": data,
            "data_is_as_frozen": is_frozen,
            "judges": judge_digests(setup.judges),
        },
        "cost": {
            **cost,
            "seconds_of_candidates": {
                key: sum(float(unit["seconds"]) for unit in own) for key, own in units.items()
            },
        },
    }


def changes(setup: Setup) -> dict[str, str]:
    """Return in what a run differs from its protocol as frozen."""
    protocol, found = setup.protocol, {}
    taken, every = len(setup.cases.names), max(len(setup.cases.every_name), protocol.clips)
    if taken < every:
        found["clips"] = f"{taken} of {every}"
    if setup.computes_in != protocol.precision:
        found["precision"] = setup.computes_in
    digests = judge_digests(setup.judges)
    absent = sorted(name for name in protocol.judges if name not in digests)
    if absent:
        found["judges"] = f"without {', '.join(absent)}: what they measure is left out"
    keys = {candidate.key for candidate in setup.candidates}
    if "posterior" in protocol.baselines and "posterior" not in keys:
        is_export = setup.model is not None and find_export(setup.model) is not None
        why = "an export holds no encoder" if is_export else "no encoder for this size and length"
        found["baselines"] = f"without the model shown the clip: {why}"
    other = sorted(n for n, digest in protocol.judges.items() if digests.get(n, digest) != digest)
    if other:
        found["other judges"] = ", ".join(other)
    return found


def _remarks(changed: Mapping[str, str]) -> list[str]:
    return [f"not the protocol as frozen: {name} {what}" for name, what in changed.items()]


def _indicative(figures: list[dict[str, Any]]) -> list[str]:
    """Say once for each metric that its sample is too small."""
    found = {f["metric"]: f["remark"] for f in figures if f["remark"].startswith("indicative")}
    return [f"{METRICS[metric].title} is {remark}" for metric, remark in found.items()]


def summary_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of the main figures over the longest span of frames, a line a candidate."""
    best: dict[tuple[str, str], float | None] = {}
    for figure in report["figures"]:  # the longest span comes last
        best[figure["candidate"], figure["metric"]] = figure["value"]
    shown = [key for key in SHOWN if any(metric == key for _, metric in best)]
    yield f"{'':<38}" + "".join(f"{METRICS[key].title[:16]:>18}" for key in shown)
    for candidate in report["candidates"]:
        values = [best.get((candidate["key"], key)) for key in shown]
        cells = "".join(f"{'' if v is None else f'{v:.4g}':>18}" for v in values)
        yield f"{candidate['title'][:37]:<38}{cells}"


def figure_of(
    report: Mapping[str, Any], candidate: str, metric: str, frames: str | None = None
) -> float:
    """Return a figure of a report: over ``frames`` as written there, or over the longest span.

    Raises ``Seg2VidError`` where there is none.
    """
    wanted, found = (candidate, metric), None
    for figure in report["figures"]:  # the longest span comes last
        if (figure["candidate"], figure["metric"]) == wanted and frames in (None, figure["frames"]):
            found = figure["value"]
    if found is None:
        what = f"a figure {metric} of {candidate}" + (f" over frames {frames}" if frames else "")
        raise Seg2VidError(what, got="none in this report", fix="see its `figures`")
    return float(found)


def compare_videos(videos: Path, reference: Path) -> tuple[Protocol, VideoPairs]:
    """Return the protocol, made on the spot, that compares generated videos with real ones.

    Frame 0 is compared too, unless all videos begin with the real first frame. Raises
    ``MediaError`` for folders without pairs or with other sizes.
    """
    pairs = VideoPairs(videos, reference)
    height, width = pairs.size
    last = pairs.length - 1
    if last < 1:
        raise MediaError("videos of at least two frames", got=pairs.length, fix="give longer ones")
    task: Any = "prediction" if pairs.has_given_frame else "generation"
    protocol = _own_protocol(
        "videos-v1",
        "Two folders of videos, paired by name; all are cut to the length of the shortest.",
        task=task,
        source="videos",
        height=height,
        width=width,
        num_frames=last,
        horizons=(last,),
        samples=pairs.samples,
    )
    return protocol, pairs


def of_dataset(folder: Path) -> Protocol:
    """Return the protocol, made on the spot, that evaluates on the clips of a dataset.

    They are those held out, or all where none are. Raises ``MediaError`` for what is no dataset,
    for clips of one frame, and for other classes.
    """
    if (folder / INDEX).is_file():
        split = "val" if read_index(folder)["counts"]["clips"].get("val") else "train"
    else:
        split = "val" if ClipFolder(folder, "val").files else "all"
    dataset = open_dataset(folder, split)
    count, _, height, width = dataset.read(0).frames.shape[1:]
    if not count:
        what, got = "clips of at least two frames", "single pictures"
        raise MediaError(what, got=got, fix="name a protocol of stills with --protocol")
    return _own_protocol(
        "dataset-v1",
        f"The {len(dataset)} clips of split {split} of the dataset {folder.resolve().name}. Given"
        " are the first frame and its label map.",
        task="prediction",
        source="dataset",
        split=split,
        height=height,
        width=width,
        num_frames=count,
        horizons=tuple(sorted({(count + 1) // 2, count})),
        baselines=("truth", "repeat", "extrapolated", "posterior"),
    )


def _own_protocol(name: str, about: str, *, num_frames: int, **named: Any) -> Protocol:
    """Make a protocol of videos that asks for every judge and froze nothing."""
    return Protocol(
        name,
        about,
        num_frames=num_frames,
        picture_times=tuple(sorted({1, (num_frames + 1) // 2, num_frames})),
        warping_times=tuple(sorted({1, num_frames})),
        enough={"fvd": 256, "fvd_unbiased": 256, "kvd": 64, "fid": 2048, "fid_unbiased": 2048}
        | {"kid": 256, "inception_score": 5000},
        judges=dict.fromkeys(JUDGE_FILES, ""),
        **named,
    )


def _settings(setup: Setup) -> dict[str, Any]:
    """Return all that a figure depends on but the machine."""
    return {
        "protocol": json.loads(json.dumps(asdict(setup.protocol))),
        "candidates": {one.key: [one.title, one.sha256] for one in setup.candidates},
        "clips": list(setup.cases.names),
        "judges": judge_digests(setup.judges),
        "device": setup.device,
        "precision": setup.computes_in,
        "commit": describe_environment()["commit"],
    }


def _is_finished(output: Path, settings: Mapping[str, Any]) -> bool:
    """Say whether the folder holds the report of these settings.

    Raises ``Seg2VidError`` where it holds another one.
    """
    if not (output / REPORT).is_file():
        return False
    path = output / SETTINGS
    if path.is_file() and read_plain(path, "settings", fix=_FIX) == settings:
        return True
    what, got = "a folder for a new report", f"{output}, which holds another one"
    raise Seg2VidError(what, got=got, fix="choose another -o, or remove that")


@contextmanager
def _claimed(output: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Hold the folder, made if need be; its settings are written down, or those that are there."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what, got = "a folder that can be written", f"{output}: {error.strerror or error}"
        raise MediaError(what, got=got, fix=_FIX) from None
    path = output / SETTINGS
    with working_alone(output):
        if path.is_file():
            before = read_plain(path, "settings", fix=_FIX)
            before = before if isinstance(before, dict) else {}
            differing = sorted(k for k in settings if settings[k] != before.get(k))
            if differing:
                what, got = "the settings the evaluation was begun with", f"other {differing[0]}"
                fix = f"use the same to go on, or {_FIX}"
                raise Seg2VidError(what, got=got, fix=fix)
        _write_json(settings, path)
        yield


def _write_json(values: Mapping[str, Any], path: Path) -> None:
    """Write JSON, whole or not at all; nan and infinity are errors."""
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        # What is no letter, in a name that is not UTF-8, as JSON writes it: \udcff.
        temporary.write_text(text + "\n", "utf-8", "backslashreplace")
