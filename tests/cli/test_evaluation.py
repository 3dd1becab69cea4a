"""The verbs for those who measure: evaluate, compare, judges; what they print and refuse."""

import json
import re
import subprocess
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from seg2vid.cli import main as cli
from seg2vid.data.clips import render_toycity
from seg2vid.data.toycity.clip import ToyCityConfig, save_clip
from seg2vid.data.toycity.render import render_clip
from seg2vid.evaluation.protocol import PROTOCOLS
from seg2vid.evaluation.run import figure_of
from seg2vid.evaluation.study import FORMAT
from seg2vid.media.pictures import write_image, write_label_map
from seg2vid.media.video import read_video
from seg2vid.models.judges.files import JUDGES, JUDGES_VARIABLE
from seg2vid.structures import Clip
from tests.data.recordings.test_adapters import snippet
from tests.evaluation.test_video_pairs import write
from tests.evaluation_runs import SPACE, judge_quickly, write_model
from tests.evaluation_samples import make_report
from tests.shards import write_dataset

OWN = {
    "name": "own-v1", "about": "Two rendered streets.", "task": "prediction", "source": "toycity",
    "clips": 2, "height": 64, "width": 128, "num_frames": 3, "horizons": [3], "samples": 1,
    "picture_times": [3], "warping_times": [1], "replicates": 50,
}  # fmt: skip

OWN_TIMES = {
    "height": 64, "width": 128, "num_frames": 3, "horizons": [3], "picture_times": [3],
    "warping_times": [1], "replicates": 50,
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge with what costs nothing."""
    judge_quickly(monkeypatch)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("protocol") / "own.yaml"
    path.write_text(yaml.safe_dump(OWN))
    return path


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def read(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def test_a_model_is_evaluated_under_a_protocol(
    model: Path, protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report"
    words = ("evaluate", "--model", model, "--protocol", protocol, "-o", output)
    words = (*words, "--clips", 1, "--against", model, "--workers", 1, "--threads", 1)
    assert run(*words, "--keep-work") == 0
    said = capsys.readouterr()
    assert f"wrote {output / 'report.json'} and {output / 'report.html'}" in said.out
    assert "warning: not the protocol as frozen: clips 1 of 2" in said.err
    assert "warning" not in said.out
    report = read(output)
    assert [c["key"] for c in report["candidates"]] == ["truth", "repeat", "model", "other_1"]
    psnr = [figure_of(report, key, "psnr") for key in ("model", "other_1")]
    assert psnr[0] == psnr[1], "the same model"
    assert (output / "work").is_dir() and (output / "report.html").stat().st_size > 10_000
    assert run(*words) == 0
    assert "is finished: nothing to do" in capsys.readouterr().out

    reports = (output / "report.json", output / "report.json")
    assert run("compare", *reports) == 0
    assert "tiny" in capsys.readouterr().out
    assert run("compare", *reports, "--candidates", "model,repeat") == 0
    lines = capsys.readouterr().out
    assert "first frame repeated" in lines and "tiny" in lines
    assert run("compare", *reports, "--candidates", "repeat") == 0
    assert "first frame repeated" in capsys.readouterr().out
    assert run("compare", *reports, "--candidates", "nobody") == 2
    assert "a candidate nobody; got only truth, repeat" in capsys.readouterr().err


def test_clips_of_ones_own_are_evaluated(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """First toy-city clips, which know their scene, then prepared ones, which do not."""
    size = ToyCityConfig(height=64, width=128, num_frames=3)
    (tmp_path / "city").mkdir()
    for seed in (7, 8):
        save_clip(render_clip(seed, size), tmp_path / "city" / f"clip_{seed}.safetensors")
    write_dataset(tmp_path / "own", {"street": [render_toycity(7, size)]}, {"street": "train"})
    for name, split, names in (
        ("city", "all", ["clip_7", "clip_8"]),
        ("own", "train", ["street-000000"]),
    ):
        output = tmp_path / f"{name}_report"
        words = ("evaluate", "--model", model, "--data", tmp_path / name, "-o", output)
        assert run(*words, "--workers", 1, "--threads", 1) == 0
        report = read(output)
        protocol = report["protocol"]
        assert (protocol["name"], protocol["split"]) == ("dataset-v1", split)
        assert (
            f"The {len(names)} clips of split {split} of the dataset {name}." in protocol["about"]
        )
        assert report["clips"]["names"] == names and protocol["horizons"] == [2, 3]
        keys = [candidate["key"] for candidate in report["candidates"]]
        assert keys == ["truth", "repeat", "extrapolated", "posterior", "model"]
        found = {figure["metric"] for figure in report["figures"]}
        known = {"depth_error", "camera_distance", "speed", "speed_ks", "turning_ks"}
        assert known <= found if name == "city" else not known & found
        assert {"psnr", "sharpness", "pole_distance"} <= found
        page = (output / "report.html").read_text("utf-8")
        assert ("Kolmogorov-Smirnov, 8 drawn and 2 true: p = " in page) == (name == "city")
    capsys.readouterr()
    assert run("compare", tmp_path / "own_report", "--candidates", "model,repeat") == 0
    assert "dataset-v1: tiny → first frame repeated" in capsys.readouterr().out


def test_reports_become_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(make_report()))
    places = [tmp_path / name for name in ("a", "b", "c")]
    assert run("compare", *places) == 0
    assert capsys.readouterr().out.count("What differs besides the figures:") == 2
    for form, head in (
        ("markdown", "| metric | frames | toycity | toycity | toycity |"),
        ("latex", r"\begin{tabular}{llrrr}"),
        ("csv", "metric,frames,evaluation,candidate,value,low,high,difference,"),
    ):
        assert run("compare", *places, "--format", form) == 0
        assert capsys.readouterr().out.startswith(head)


def write_clip(clip: Clip, folder: Path, name: str) -> None:
    """Write the real video as a folder of png, and its first label map beside it."""
    pictures = torch.cat((clip.first_frame[:, None], clip.frames), 1)[0]
    pixels = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    (folder / "real" / name).mkdir(parents=True)
    for index, frame in enumerate(pixels):
        write_image(folder / "real" / name / f"{index:06d}.png", frame)
    write_label_map(folder / f"{name}.png", clip.label_map[0].numpy(), SPACE)


def test_generated_videos_are_judged_against_real_ones(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made").mkdir()
    size = ToyCityConfig(height=64, width=128, num_frames=3)
    for seed, name in enumerate(("left", "right")):
        write_clip(render_toycity(seed, size), tmp_path, name)
        words = ("generate", tmp_path / f"{name}.png", "--model", model, "--samples", 2)
        words = (*words, "--frames", 4, "--first-frame", tmp_path / "real" / name / "000000.png")
        assert run(*words, "-o", tmp_path / "made" / f"{name}.mp4") == 0
    made = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert made == [f"{n}_seed{s}.mp4" for n in ("left", "right") for s in (0, 1)]
    folders = ("--videos", tmp_path / "made", "--reference", tmp_path / "real")
    words = ("evaluate", *folders, "-o", tmp_path / "report", "--workers", 1, "--threads", 1)
    assert run(*words) == 0
    capsys.readouterr()
    report = read(tmp_path / "report")
    assert report["protocol"]["name"] == "videos-v1" and report["protocol"]["task"] == "prediction"
    assert report["protocol"]["samples"] == 2 and report["clips"]["names"] == ["left", "right"]
    titles = [c["title"] for c in report["candidates"]]
    assert titles == ["the real clip", "first frame repeated", "made"]
    frames = torch.from_numpy(read_video(tmp_path / "made" / "left_seed0.mp4")) / 255
    real = torch.from_numpy(read_video(tmp_path / "real" / "left")) / 255
    errors = (frames - real)[1:].square().mean((1, 2, 3))
    psnr = report["clips"]["values"]["psnr"]["model"][0]
    assert float((-10 * errors.log10()).mean()) == pytest.approx(psnr, rel=0.1), "of two samples"


def test_real_videos_judged_against_themselves_are_perfect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write(tmp_path / "real" / name, 20 + 60 * (name == "b"), size=(64, 128))
    folders = ("--videos", tmp_path / "real", "--reference", tmp_path / "real")
    words = ("evaluate", *folders, "-o", tmp_path / "report", "--workers", 1, "--threads", 1)
    assert run(*words) == 0
    report = read(tmp_path / "report")
    assert figure_of(report, "model", "psnr") == 100 > figure_of(report, "repeat", "psnr")
    assert "PSNR" not in capsys.readouterr().err


def test_videos_of_others_are_judged_under_the_official_protocol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 2 of 500 sequences, which the report says, and at a size that is quick."""
    for city in ("lindau", "munster"):
        snippet(tmp_path / "cityscapes", city, 0, range(23), split="val")
        name = f"{city}_000000_000000_0019"
        write(tmp_path / "made" / f"{name}_seed0", 19, count=5, size=(64, 128))
    text = (PROTOCOLS / "cityscapes-official-prediction-v2.yaml").read_text()
    values = yaml.safe_load(text) | OWN_TIMES
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(values))
    words = ("evaluate", "--protocol", tmp_path / "own.yaml", "--data", tmp_path)
    words = (*words, "--videos", tmp_path / "made", "--workers", 1, "--threads", 1)
    assert run(*words, "-o", tmp_path / "report") == 0
    report = read(tmp_path / "report")
    assert report["protocol"]["changed"]["clips"] == "2 of 500"
    titles = [c["title"] for c in report["candidates"]]
    assert titles[:2] == ["the real clip", "first frame repeated"] and titles[-1] == "made"
    # Frame i is 10 i too bright, for every real one is 1 brighter than the one before.
    errors = [20 * np.log10(255 / (9 * time)) for time in (1, 2, 3)]
    assert figure_of(report, "model", "psnr") == pytest.approx(np.mean(errors), rel=1e-3)
    capsys.readouterr()
    (tmp_path / "made" / "munster_000000_000000_0019_seed0").rename(tmp_path / "made" / "munster")
    assert run(*words, "-o", tmp_path / "other") == 2
    line = capsys.readouterr().err
    assert "got none of munster_000000_000000_0019 and 0 more; name them like munster_0000" in line
    write(tmp_path / "made" / "munster_000000_000000_0019", 19, count=3, size=(64, 128))
    assert run(*words, "-o", tmp_path / "other") == 2
    line = capsys.readouterr().err
    assert "4 frames of 128x64, the first one included; got 3 of 128x64 at" in line


BAD_WORDS = {
    ("evaluate",): "-o",
    ("evaluate", "-o", "OUT", "--clips", "0"): "--clips of at least 1; got 0",
    ("evaluate", "-o", "OUT", "--threads", "-1"): "--threads from 1 to 1024; got -1",
    ("evaluate", "-o", "OUT", "--workers", "20000"): "--workers from 1 to 512; got 20000",
    ("evaluate", "-o", "OUT", "--model", "dragon"): "'dragon'",
    ("evaluate", "-o", "OUT", "--against", "dragon"): "'dragon'",
    ("evaluate", "-o", "OUT", "--protocol", "moon"): "a protocol (cityscapes-generation-v2",
    ("evaluate", "-o", "OUT", "--protocol", "moon.yaml"): "a protocol file; got no file moon.yaml;",
    ("evaluate", "-o", "OUT", "--protocol", "cityscapes-stills"): "name it with --data",
    ("evaluate", "-o", "OUT", "--protocol", "long-24", "--data", "nowhere"): "no nowhere/driving",
    ("evaluate", "-o", "OUT", "--protocol", "toycity", "--data", "."): (
        "no --data with toycity-v2, which renders its clips; got .; leave one of them out"
    ),
    ("evaluate", "-o", "OUT", "--data", "nowhere"): "a folder of clips (clip_*.safetensors)",
    ("evaluate", "-o", "OUT", "--device", "tpu"): "auto, cpu, cuda",
    ("evaluate", "-o", "OUT", "--videos", "."): "either --reference or --protocol; got neither",
    ("evaluate", "-o", "OUT", "--videos", ".", "--reference", ".", "--protocol", "toycity"): (
        "with --videos either --reference or --protocol; got both; name the real videos, or the"
    ),
    ("evaluate", "-o", "OUT", "--videos", "nowhere", "--protocol", "toycity"): "no such folder",
    ("evaluate", "-o", "OUT", "--reference", "."): "--videos and --reference together; got --refe",
    ("evaluate", "-o", "OUT", "--videos", ".", "--reference", ".", "--model", "toycity"): (
        "a model or --videos; got both; leave one of them out"
    ),
    ("evaluate", "-o", "OUT", "--videos", ".", "--reference", ".", "--against", "toycity"): (
        "a model or --videos; got both; leave one of them out"
    ),
    ("evaluate", "-o", "OUT", "--videos", "nowhere", "--reference", "."): "no such folder",
    ("evaluate", "-o", "OUT", "--seed", "3"): "--seed 3",
    ("compare", "none.json", "none.json"): "none.json, which is no file",
    ("compare",): "REPORTS",
    ("compare", "none.json"): "two reports to compare, or one with --candidates A,B; got one;",
    ("compare", "none.json", "none.json", "--candidates", "a,b,c"): (
        "one name for --candidates, or one for each of 2 reports; got a,b,c; name one row, or one"
    ),
    ("compare", "none.json", "none.json", "--format", "word"): "text, markdown, latex, csv",
    ("judges", "convert", "none.pth", "-o", "OUT"): "an official weight file; got no file none.pth",
    ("judges", "convert", "none.pth"): "-o",
}


@pytest.mark.parametrize("words", BAD_WORDS)
def test_bad_words_give_one_line_and_code_two(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEG2VID_EVALUATION_DATA", raising=False)
    output = tmp_path / "out"
    assert run(*(str(output) if word == "OUT" else word for word in words)) == 2
    line = capsys.readouterr().err
    assert line.startswith("seg2vid: Expected ") and line.count("\n") == 1
    assert BAD_WORDS[words] in line
    assert not output.exists()


class Lacking(MetaPathFinder):
    """An installation without the extra."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        """Fail as the evaluation's own imports would."""
        if name == "seg2vid.evaluation.run":
            raise ModuleNotFoundError("No module named 'torchmetrics'", name="torchmetrics")


def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "seg2vid.evaluation.run")
    monkeypatch.delattr("seg2vid.evaluation.run")
    monkeypatch.setattr(sys, "meta_path", [Lacking(), *sys.meta_path])
    assert run("evaluate", "-o", tmp_path / "out") == 2
    message = (
        r"the extra `eval` to be installed; got no torchmetrics; pip install 'seg2vid\[eval\]'"
    )
    assert re.search(message, capsys.readouterr().err)


def test_an_evaluation_needs_nothing_of_training() -> None:
    """It once imported Lightning to measure memory; the extra ``eval`` does not bring that."""
    code = (
        "import sys; sys.modules['lightning'] = sys.modules['webdataset'] = None;"
        "import seg2vid.cli.evaluation, seg2vid.evaluation.run, seg2vid.evaluation.work"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_study_is_made_and_analysed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, folder in enumerate(("ours", "theirs")):
        for name in "abc":
            write(tmp_path / folder / name, 100 * place)
    page = tmp_path / "study.html"
    words = ("study", "make", tmp_path / "ours", tmp_path / "theirs", "--pairs", 2)
    assert run(*words, "-o", tmp_path / "study.htm") == 2
    assert "a page, .html, for -o; got study.htm" in capsys.readouterr().err
    assert run(*words, "-o", page) == 0
    out = capsys.readouterr().out
    assert "ours against theirs: 2 of 3 pairs" in out and "study.html: 2 pairs" in out
    key = re.search(r'"key": "([\w+/=]+)"', page.read_text())
    assert key is not None
    given = {"format": FORMAT, "session": "a", "key": key[1]}
    given["answers"] = [{"item": 0, "choice": "left"}]
    (tmp_path / "answers.json").write_text(json.dumps(given))
    assert run("study", "analyse", tmp_path / "answers.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sittings: 1; answers: 1, 100 % of them left"
    assert re.fullmatch(r"ours / theirs +(1.00 / 0.00|0.00 / 1.00) .* 1", lines[2])


def test_reports_of_other_protocols_do_not_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = make_report(), make_report()
    second["protocol"]["name"] = "kitti-transfer-v2"
    for name, report in (("a", first), ("b", second)):
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    assert run("compare", tmp_path / "a.json", tmp_path / "b.json") == 2
    assert "two evaluations with the same protocol; got" in capsys.readouterr().err
    assert run("compare", tmp_path / "a.json", tmp_path / "a.json") == 0
    assert "within noise" in capsys.readouterr().out


def test_judges_are_listed_with_their_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raft_small.safetensors").write_bytes(b"others")
    assert run("judges", "--judges", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(JUDGES)
    states = {line.split()[0]: line[39:51].strip() for line in lines[::2]}
    assert states == dict.fromkeys(JUDGES, "missing") | {"raft_small.safetensors": "other bytes"}
    for line, judge in zip(lines[1::2], JUDGES.values(), strict=True):
        assert judge.licence in line and f"official file: {judge.source}" in line
    monkeypatch.setenv(JUDGES_VARIABLE, str(tmp_path))
    assert run("judges") == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_official_files_are_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shared_data: Path
) -> None:
    from safetensors.torch import load_file

    name = "lpips_v01_alex_lin.safetensors"
    tensors = load_file(shared_data / "judges" / name)
    torch.save(tensors, tmp_path / "alex.pth")
    assert run("judges", "convert", tmp_path / "alex.pth", "-o", tmp_path / "judges") == 0
    path = tmp_path / "judges" / name
    assert capsys.readouterr().out == f"wrote {path}, as pinned\n"
    assert run("judges", "--judges", tmp_path / "judges") == 0
    assert re.search(rf"{name} +as pinned", capsys.readouterr().out)
    torch.save({key: tensor + 1 for key, tensor in tensors.items()}, tmp_path / "alex.pth")
    assert run("judges", "convert", tmp_path / "alex.pth", "-o", tmp_path / "judges") == 0
    assert capsys.readouterr().out == f"wrote {path}, not as pinned\n"
