"""Exports under the kit: a folder that ``seg2vid export`` wrote is judged by its graphs."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seg2vid.evaluation.candidates import Model
from seg2vid.evaluation.run import changes, figure_of, run
from seg2vid.evaluation.work import Setup, work
from seg2vid.export import graphs
from seg2vid.models.weights import WEIGHTS_FILE
from seg2vid.tools.devices import within_precision
from seg2vid.tools.errors import ModelError, Seg2VidError
from seg2vid.tools.files import digest_of
from tests.evaluation.test_work import compare_units
from tests.evaluation_runs import TINY, judge_quickly, quick_setup, write_model
from tests.tiny import CONFIG, street_map

ONE = replace(TINY, clips=1, samples=1)
PLAIN = replace(ONE, baselines=("truth",))
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def maps() -> torch.Tensor:
    return torch.cat((street_map(), street_map().flip(2)))


@pytest.fixture(scope="module")
def programs(model: str, maps: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as PyTorch's programs, which are quickly made and need no extra."""
    folder = tmp_path_factory.mktemp("torch") / "boxes"
    list(graphs.export_model(model, folder, maps, to="torch"))
    return folder


@pytest.fixture(scope="module")
def in_onnx(model: str, maps: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package, reason="the extra `export` is not installed")
    folder = tmp_path_factory.mktemp("onnx") / "boxes"
    list(graphs.export_model(model, folder, maps))
    return folder


@pytest.fixture(scope="module")
def in_openvino(in_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same graphs for OpenVINO, which reads ONNX too."""
    return copy(in_onnx, tmp_path_factory.mktemp("openvino") / "boxes", to="openvino")


def copy(exported: Path, folder: Path, **changed: Any) -> Path:
    """Copy an export whose manifest says otherwise."""
    shutil.copytree(exported, folder)
    path = folder / graphs.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return folder


@pytest.mark.parametrize(
    "name", ["programs", *(pytest.param(one, marks=SLOW) for one in ("in_onnx", "in_openvino"))]
)
def test_graphs_come_to_the_figures_of_their_model(
    name: str,
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    judge_quickly(monkeypatch)
    folder, to = (
        request.getfixturevalue(name),
        name.removeprefix("in_").replace("programs", "torch"),
    )
    setup = Setup(ONE, tmp_path / "report", model=model, against=(str(folder),))
    said = "\n".join(run(setup, workers=1, threads=1))
    assert f"\nboxes ({to}, float32)   " in said
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    own, graph = report["candidates"][-2:]
    assert (own["title"], graph["title"]) == ("tiny", f"boxes ({to}, float32)")
    assert own["about"] == "sees the first frame and label map; one draw"
    within = "" if to == "openvino" else " in float32"
    told = f"{own['about']}; graphs with weights as float32, computed by {to}{within}"
    assert graph["about"] == told
    assert own["sha256"] == digest_of(folder / WEIGHTS_FILE) != graph["sha256"]
    assert {"onnxruntime", "openvino"} <= report["provenance"]["packages"].keys()
    compared = set()
    for figure in report["figures"]:
        metric, frames = figure["metric"], figure["frames"]
        if figure["candidate"] == "model" and metric != "seconds":
            compared.add(metric)
            found = figure_of(report, "other_1", metric, frames)
            assert found == pytest.approx(figure["value"], rel=1e-3, abs=1e-4), metric
    assert {"psnr", "epe_backward", "depth_error", "miou_own", "hidden_backward_f1"} <= compared


def test_graphs_are_what_computes(programs: Path, tmp_path: Path) -> None:
    """Another graph gives other frames, though the weights beside it are the same."""
    changed = copy(programs, tmp_path / "boxes")
    program = torch.export.load(changed / "depth.pt2")
    for weight in program.state_dict.values():
        weight.data *= 3
    torch.export.save(program, changed / "depth.pt2")
    setup = quick_setup(tmp_path / "out", PLAIN, model=str(programs), against=(str(changed),))
    clip = setup.cases.read(0)
    with torch.inference_mode(), within_precision("bfloat16"):
        first, second = (one.make(clip, 0).frames for one in setup.candidates[-2:])
    assert not torch.allclose(first, second, atol=1e-3)
    assert setup.candidates[-2].sha256 != setup.candidates[-1].sha256


def test_another_runtime_does_not_go_on(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_quickly(monkeypatch)
    other = copy(programs, tmp_path / "boxes", to="openvino")
    monkeypatch.setitem(sys.modules, "openvino", object())
    keys = [Model(str(one), TINY).candidate("model", "model").sha256 for one in (programs, other)]
    assert keys[0] != keys[1]
    setup = Setup(PLAIN, tmp_path / "report", model=str(programs))
    assert list(run(setup, workers=1, threads=1))[-1].startswith("wrote ")
    again = list(run(replace(setup), workers=1, threads=1))
    assert again[0] == f"{setup.output} is finished: nothing to do"
    (setup.output / "report.json").unlink()
    with pytest.raises(Seg2VidError, match=r"was begun with; got other candidates; use the same"):
        list(run(replace(setup, model=str(other)), workers=1, threads=1))


def test_the_oracle_is_left_out_and_told(model: str, programs: Path, tmp_path: Path) -> None:
    setup = quick_setup(tmp_path, TINY, model=str(programs), against=(model,))
    keys = [one.key for one in setup.candidates]
    assert keys == ["truth", "repeat", "extrapolated", "model", "other_1"]
    said = "without the model shown the clip: an export holds no encoder"
    assert changes(setup) == {"baselines": said}
    beside = quick_setup(tmp_path, TINY, model=model, against=(str(programs),))
    assert "posterior" in [one.key for one in beside.candidates] and not changes(beside)


def test_graphs_that_do_not_fit_are_refused(
    model: str, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = replace(TINY, width=256)
    message = r"graphs of 256x64, the size of tiny-v1; got 128x64 \(.*boxes\); evaluate the model"
    with pytest.raises(ModelError, match=message):
        Model(str(programs), wide)
    assert Model(model, wide).exported is None, "networks of PyTorch take any size"
    space = {**CONFIG.label_space, "classes": [dict(c) for c in CONFIG.label_space["classes"]]}
    space["classes"][0]["name"], space["name"] = "canal", "venice"
    other = Path(write_model(tmp_path / "venice", replace(CONFIG, label_space=space)))
    boat = copy(programs, tmp_path / "boat", model_sha256=digest_of(other / WEIGHTS_FILE))
    shutil.copy(other / WEIGHTS_FILE, boat)
    with pytest.raises(ModelError, match=r"label space cityscapes; got venice \(.*boat\); eval"):
        Model(str(boat), TINY)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    lacking = copy(programs, tmp_path / "lacking", to="onnx")
    with pytest.raises(Seg2VidError, match=r"`export` to be installed; got no onnxruntime"):
        Model(str(lacking), TINY)
    (lacking / "scene.pt2").unlink()
    with pytest.raises(ModelError, match=r"a file .*lacking/scene.pt2; got none; export again"):
        Model(str(lacking), TINY)
    (lacking / graphs.MANIFEST).write_text("{}")
    with pytest.raises(ModelError, match=r"lacking/export.json"):
        Model(str(lacking), TINY)


@SLOW
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_runtime_computes_as_the_run_does(
    in_openvino: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Any
) -> None:
    """Whatever was chosen where the candidates were listed."""
    core, threads = graphs.openvino._core(), torch.get_num_threads()
    wanted = []

    class Core:
        def read_model(self, path: Path) -> Any:
            return core.read_model(path)

        def compile_model(self, model: Any, device: str, settings: dict[str, Any]) -> Any:
            names = ("PRECISION_HINT", "NUM_THREADS")
            wanted.append(tuple(settings[f"INFERENCE_{name}"] for name in names))
            assert settings["ENABLE_CPU_PINNING"] is False, "worker processes share the cores"
            return core.compile_model(model, device, settings)

    monkeypatch.setattr(graphs.openvino, "_core", Core)
    monkeypatch.setattr("seg2vid.tools.devices.has_fast_bfloat16", lambda device: True)
    protocol = replace(PLAIN, precision=precision)
    setup = quick_setup(tmp_path, protocol, model=str(in_openvino))
    torch.set_num_threads(2)
    try:
        assert setup.numbers_left() == [0] and not wanted
        work(setup, workers=1, threads=1)
    finally:
        torch.set_num_threads(threads)
    assert set(wanted) == {("f32" if precision == "float32" else "bf16", 1)}


@SLOW
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["in_onnx", "in_openvino"])
def test_two_processes_come_to_the_same(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    protocol, folder = replace(TINY, clips=4), str(request.getfixturevalue(name))
    alone, both = (Setup(protocol, tmp_path / one, model=folder) for one in ("one", "two"))
    work(alone, workers=1, threads=1)
    work(both, workers=2, threads=1)
    compare_units(alone, both)
