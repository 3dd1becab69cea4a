"""Whole evaluations of a tiny model: what is measured, written, resumed, and refused."""

import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seg2vid.evaluation.candidates import Model
from seg2vid.evaluation.cases import Cases, digest_of, digest_of_all
from seg2vid.evaluation.judges import JUDGE_FILES, SEGMENTER_FILE, judge_digests, load_judges
from seg2vid.evaluation.metric_table import METRICS
from seg2vid.evaluation.protocol import get_protocol
from seg2vid.evaluation.run import changes, figure_of, run, share_cores, summary_lines
from seg2vid.evaluation.work import Setup
from seg2vid.models.judges.files import JUDGES_VARIABLE
from seg2vid.tools.errors import MediaError, ModelError, Seg2VidError
from seg2vid.tools.files import digest_of as digest_of_file
from seg2vid.tools.processes import available_cores
from tests.evaluation_runs import TINY, judge_quickly, write_model


@pytest.fixture(autouse=True)
def quick_judges(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "slow" not in request.keywords:
        judge_quickly(monkeypatch)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


def setup_of(model: str | None, output: Path, **given: Any) -> Setup:
    return Setup(given.pop("protocol", TINY), output, model=model, **given)


def evaluate(model: str | None, output: Path, **given: Any) -> list[str]:
    """Evaluate two clips in this process; return what was said."""
    how: dict[str, Any] = {"workers": 1, "threads": 1}
    how |= {name: given.pop(name) for name in ("threads", "keep_work") if name in given}
    return list(run(setup_of(model, output, **given), **how))


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def finished(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A finished folder and what was said."""
    output = tmp_path_factory.mktemp("run") / "report"
    with pytest.MonkeyPatch.context() as patch:
        judge_quickly(patch)
        said = "\n".join(evaluate(model, output))
    yield output, said


def test_a_report_holds_figures_and_where_they_come_from(
    finished: tuple[Path, str], model: str
) -> None:
    report = read(finished[0])
    assert set(report) == {
        *("format", "protocol", "candidates", "metrics", "figures", "curves", "classes"),
        *("clips", "remarks", "provenance", "cost"),
    }
    assert report["format"] == 1 and report["protocol"]["name"] == "tiny-v1"
    assert report["protocol"]["changed"] == {}, "the tiny protocol asks for no judges"
    keys = [candidate["key"] for candidate in report["candidates"]]
    assert keys == ["truth", "repeat", "extrapolated", "posterior", "model"]
    assert report["candidates"][-1] == {
        "key": "model", "title": "tiny", "role": "model",
        "about": "sees the first frame and label map; 2 draws",
        "sha256": digest_of_file(Path(model) / "model.safetensors"),
    }  # fmt: skip
    metrics = {metric["key"]: metric for metric in report["metrics"]}
    figures = {figure["metric"] for figure in report["figures"]}
    assert figures <= set(metrics) and metrics["psnr"] == asdict(METRICS["psnr"])
    assert {"psnr", "epe_backward", "miou_truth", "flow_spread", "seconds"} <= figures
    assert not {"lpips", "fvd", "fid"} & figures, "their judges were not there"
    provenance = report["provenance"]
    assert provenance["device"] == "cpu" and provenance["precision"] == "float32"
    assert provenance["seeds"] == "0 + 1000 x number of the clip + number of the sample"
    assert {"commit", "packages", "command", "processor", "memory_bytes", "time"} <= set(provenance)
    assert provenance["judges"] == {SEGMENTER_FILE: judge_digests(None)[SEGMENTER_FILE]}
    digests = [digest_of(Cases(TINY).read(number)) for number in range(2)]
    assert provenance["data_sha256"] == digest_of_all(digests)
    assert provenance["data_is_as_frozen"] is None, "this protocol froze none"
    cost = report["cost"]
    assert (cost["workers"], cost["threads_per_worker"], cost["clips_in_this_go"]) == (1, 1, 2)
    assert cost["peak_memory_bytes"] > 50e6 and cost["seconds"] > 0
    assert set(cost["seconds_of_candidates"]) == set(keys)


def test_values_of_clips_average_to_the_figures(finished: tuple[Path, str]) -> None:
    report = read(finished[0])
    assert report["clips"]["names"] == ["toycity_0", "toycity_1"]
    for name, by_candidate in report["clips"]["values"].items():
        metric, _, frames = name.partition(" ")
        for candidate, values in by_candidate.items():
            known = [value for value in values if value is not None]
            if known:
                mean = figure_of(report, candidate, metric, frames or None)
                assert sum(known) / len(known) == pytest.approx(mean, rel=1e-5, abs=1e-7), name


def test_figures_say_what_must_be_so(finished: tuple[Path, str]) -> None:
    report = read(finished[0])
    assert figure_of(report, "repeat", "consistency") < 1e-5
    assert figure_of(report, "repeat", "hidden_backward_recall") == 0
    assert figure_of(report, "extrapolated", "epe_backward") < figure_of(
        report, "repeat", "epe_backward"
    )
    assert figure_of(report, "model", "flow_spread") > 0
    candidates = {f["candidate"] for f in report["figures"] if f["metric"] == "psnr"}
    assert candidates == {"repeat", "extrapolated", "posterior", "model"}
    drift = [c for c in report["curves"] if (c["metric"], c["candidate"]) == ("psnr", "repeat")]
    assert drift[0]["values"] == sorted(drift[0]["values"], reverse=True)


def test_figures_are_found_by_name(finished: tuple[Path, str]) -> None:
    report = read(finished[0])
    longest = figure_of(report, "repeat", "psnr")
    assert longest == figure_of(report, "repeat", "psnr", "1-3")
    assert longest < figure_of(report, "repeat", "psnr", "1-2")
    with pytest.raises(Seg2VidError, match=r"a figure lpips of model; got none in this report"):
        figure_of(report, "model", "lpips")
    with pytest.raises(Seg2VidError, match=r"a figure psnr of model over frames 1-9; got none"):
        figure_of(report, "model", "psnr", "1-9")


def test_what_is_said(finished: tuple[Path, str]) -> None:
    lines = finished[1].splitlines()
    assert lines[0] == (
        "tiny-v1: 2 of 2 clips to do; the real clip, first frame repeated, flow of two true "
        "frames, extrapolated, tiny, shown the clip, tiny"
    )
    assert lines[-1] == f"wrote {finished[0] / 'report.json'} and {finished[0] / 'report.html'}"
    table = list(summary_lines(read(finished[0])))
    assert lines[-1 - len(table) : -1] == table and len(table) == 6
    assert "MS-SSIM" in table[0] and "LPIPS" not in table[0]
    error = figure_of(read(finished[0]), "repeat", "epe_backward")
    row = next(line for line in table if line.startswith("first frame repeated"))
    assert f"{error:.4g}" in row.split()


def test_a_page_for_people_is_written(finished: tuple[Path, str]) -> None:
    assert {path.name for path in finished[0].iterdir()} == {
        *("report.json", "report.html", "settings.json"),
    }, "what was measured is not kept"
    page = (finished[0] / "report.html").read_text("utf-8")
    assert "tiny-v1" in page and "first frame repeated" in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page


def test_a_finished_folder_is_left_alone(finished: tuple[Path, str], model: str) -> None:
    output, said = finished
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    again = evaluate(model, output)
    assert again[0] == f"{output} is finished: nothing to do"
    assert again[1:] == said.splitlines()[-7:-1]
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before


def test_a_finished_folder_is_not_written_over(finished: tuple[Path, str], model: str) -> None:
    message = r"a folder for a new report; got .*report, which holds another one; choose another"
    for other in ({"limit": 1}, {"protocol": replace(TINY, seed=1)}, {"against": (model,)}):
        with pytest.raises(Seg2VidError, match=message):
            evaluate(model, finished[0], **other)
    with pytest.raises(Seg2VidError, match=message):
        evaluate(None, finished[0])


def test_a_folder_that_was_begun_goes_on_with_the_same_settings_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    plain = replace(TINY, baselines=("truth", "repeat"))
    given = Setup(plain, tmp_path / "report")
    with monkeypatch.context() as patch:
        patch.setattr("seg2vid.evaluation.run.write_evaluation_report", fail)
        with pytest.raises(KeyboardInterrupt):
            list(run(given, workers=1, threads=1))
    assert not (tmp_path / "report" / "report.json").exists()
    message = r"the settings the evaluation was begun with; got other {}; use the same to go on"
    for changed, other in (
        ("protocol", {"protocol": replace(plain, samples=3)}),
        ("candidates", {"protocol": plain, "against": (write_model(tmp_path / "tiny"),)}),
        ("clips", {"protocol": plain, "limit": 1}),
    ):
        with pytest.raises(Seg2VidError, match=message.format(changed)):
            list(run(replace(given, **other), workers=1, threads=1))
    lines = list(run(given, workers=1, threads=1))
    assert lines[0].startswith("tiny-v1: 0 of 2 clips to do")
    assert read(tmp_path / "report")["cost"]["clips_in_this_go"] == 0


def test_names_that_are_not_utf8_are_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = os.fsdecode(b"tiny_\xff")
    monkeypatch.chdir(Path(write_model(tmp_path / "tiny")).rename(tmp_path / model).parent)
    with pytest.raises(ModelError, match=r"got Path tiny_.* is not valid UTF-8"):
        Model(f"./{model}", TINY)  # safetensors opens no such path
    Path(model).rename("tiny_\x1b")
    assert Model("./tiny_\x1b", TINY).title == r"tiny_\x1b"
    monkeypatch.setattr(sys, "argv", ["seg2vid", "evaluate", model])
    given = Setup(replace(TINY, baselines=("truth", "repeat")), tmp_path / "report")
    assert list(run(given, workers=1, threads=1)) and list(run(given, workers=1, threads=1))
    assert read(tmp_path / "report")["provenance"]["command"][-1] == model


def test_changes_to_the_protocol_are_told(tmp_path: Path) -> None:
    asking = replace(
        TINY,
        baselines=("truth", "repeat"),
        judges={SEGMENTER_FILE: "00", "raft_small.safetensors": "11"},
        data_sha256="22",
    )
    lines = evaluate(None, tmp_path / "report", protocol=asking, limit=1, keep_work=True)
    report = read(tmp_path / "report")
    assert report["protocol"]["changed"] == {
        "clips": "1 of 2",
        "judges": "without raft_small.safetensors: what they measure is left out",
        "other judges": SEGMENTER_FILE,
    }
    assert report["provenance"]["data_is_as_frozen"] is None, "not all clips were read"
    warnings = [line for line in lines if line.startswith("warning:")]
    assert warnings[0] == "warning: not the protocol as frozen: clips 1 of 2"
    assert [f"warning: {remark}" for remark in report["remarks"][:3]] == warnings
    assert (tmp_path / "report" / "work" / "units" / "toycity_0").is_dir()


def test_an_oracle_that_is_left_out_is_told(model: str, tmp_path: Path) -> None:
    assert changes(setup_of(model, tmp_path)) == {}
    said = {"baselines": "without the model shown the clip: no encoder for this size and length"}
    short = replace(TINY, num_frames=2, horizons=(2,), picture_times=(1,))
    for given in (setup_of(None, tmp_path), setup_of(model, tmp_path, protocol=short)):
        assert changes(given) == said


@pytest.mark.parametrize("is_same", [True, False])
def test_frozen_data_are_recognised(tmp_path: Path, is_same: bool) -> None:
    plain = replace(TINY, baselines=("truth",), clips=1)
    data = digest_of_all([digest_of(Cases(plain).read(0))]) if is_same else "22"
    evaluate(None, tmp_path / "report", protocol=replace(plain, data_sha256=data))
    report = read(tmp_path / "report")
    assert report["provenance"]["data_is_as_frozen"] is is_same
    said = {} if is_same else {"data": "other pixels than the frozen ones"}
    assert report["protocol"]["changed"] == said
    assert bool(report["remarks"]) is not is_same


def test_work_is_shared_among_all_cores(tmp_path: Path) -> None:
    cores = available_cores()
    plain = replace(TINY, baselines=("truth", "repeat"), clips=64)
    setup = Setup(plain, tmp_path)
    assert share_cores(setup) == (min(cores, 64), max(1, cores // min(cores, 64)))
    assert share_cores(setup, workers=1) == (1, cores)
    assert share_cores(setup, workers=3, threads=5) == (3, 5)
    assert share_cores(replace(setup, device="cuda")) == (1, cores)
    assert share_cores(replace(setup, limit=1), workers=8) == (1, cores)


def test_settings_that_cannot_be_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Seg2VidError, match=r"--clips of at least 1; got 0; use --clips 1 or more"):
        evaluate(None, tmp_path / "report", limit=0)
    assert not (tmp_path / "report").exists()
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match=r"a folder that can be written; got .*file: File exists"):
        evaluate(None, tmp_path / "file", protocol=replace(TINY, baselines=("truth",)))


def test_missing_judges_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(JUDGES_VARIABLE)
    judges = load_judges(None)
    assert judges.perceptual is judges.inception is judges.i3d is judges.flow is None
    assert set(judge_digests(None)) == {SEGMENTER_FILE}
    asking = replace(get_protocol("toycity"), baselines=("truth", "repeat"))
    found = changes(Setup(asking, tmp_path / "report"))
    names = ", ".join(sorted(JUDGE_FILES))
    assert found == {"judges": f"without {names}: what they measure is left out"}
    with pytest.raises(Seg2VidError, match=r"the judge's weights .* got no such file; name the"):
        load_judges(tmp_path)
    monkeypatch.setattr("seg2vid.evaluation.work.load_judges", load_judges)
    with pytest.raises(Seg2VidError, match=r"the judge's weights"):
        evaluate(None, tmp_path / "report", judges=tmp_path)
    assert not (tmp_path / "report").exists(), "the right folder can be named next time"


# With real judges, in other numbers of threads and precisions.


def evaluate_really(model: str, output: Path, judges: Path, **given: Any) -> dict[str, Any]:
    evaluate(model, output, judges=judges, **given)
    return read(output)


def figures(report: dict[str, Any]) -> dict[tuple[str, str, str], float]:
    """All figures that do not depend on the machine's speed."""
    return {
        (f["candidate"], f["metric"], f["frames"]): f["value"]
        for f in report["figures"]
        if f["metric"] != "seconds" and f["value"] is not None
    }


def differences(first: dict[str, Any], second: dict[str, Any]) -> dict[str, float]:
    """Largest difference by metric, relative to the figure and at least to a hundredth."""
    one, other = figures(first), figures(second)
    assert set(one) == set(other)
    found: dict[str, float] = {}
    for key, value in one.items():
        difference = abs(value - other[key]) / max(abs(value), 0.01)
        found[key[1]] = max(found.get(key[1], 0.0), difference)
    return found


@pytest.fixture(scope="module")
def real(model: str, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    output = tmp_path_factory.mktemp("real") / "report"
    return evaluate_really(model, output, shared_data / "judges")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_judge_is_asked(real: dict[str, Any]) -> None:
    found = {figure["metric"] for figure in real["figures"]}
    assert {"lpips", "fvd", "kvd", "fid", "kid", "warping_error", "best_of_n"} <= found
    assert {row["metric"] for row in real["classes"]} == {"class_lpips", "class_iou"}
    assert min(figure_of(real, key, "lpips") for key in ("repeat", "model")) > 0.01
    still, moving = (figure_of(real, key, "warping_error") for key in ("repeat", "truth"))
    assert still < 0.1 * moving, "RAFT finds hardly any flow between equal frames"
    assert any(remark.startswith("FVD is indicative: 2 of 256") for remark in real["remarks"])
    assert set(real["provenance"]["judges"]) == set(get_protocol("toycity").judges)
    assert all(math.isfinite(value) for value in figures(real).values())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_threads_hardly_change_figures(
    real: dict[str, Any], model: str, shared_data: Path, tmp_path: Path
) -> None:
    """Sums are taken in another order; distances of sets differed most, by 4e-6."""
    before = torch.get_num_threads()
    try:
        other = evaluate_really(model, tmp_path / "r", shared_data / "judges", threads=2)
    finally:
        torch.set_num_threads(before)
    assert max(differences(real, other).values()) < 1e-4


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_precision_changes_figures_a_little(
    real: dict[str, Any],
    model: str,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Models and the segmenter in bfloat16: figures of pictures differed by up to 0.8 %, the spread
    of flow and the kernel distance by 5 %. The average precision is left out: an untrained network
    ranks by differences that bfloat16 does not have, and it differed by 19 %.
    """
    monkeypatch.setattr("seg2vid.tools.devices.has_fast_bfloat16", lambda device: True)
    protocol = replace(TINY, precision="bfloat16")
    other = evaluate_really(model, tmp_path / "r", shared_data / "judges", protocol=protocol)
    found = differences(real, other)
    assert max(found.values()) > 1e-4, "that it was computed otherwise can be seen"
    for metric in ("lpips", "psnr", "ssim", "ms_ssim", "fvd", "fid", "warping_error"):
        assert found[metric] < 0.02, metric
    rest = {name: value for name, value in found.items() if "average_precision" not in name}
    assert max(rest.values()) < 0.15
