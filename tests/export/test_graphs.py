"""Graphs of a model's boxes, and pipelines that they serve."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seg2vid.cli.main import main
from seg2vid.export import graphs
from seg2vid.export.boxes import Calls, boxes_of, record_calls, serve
from seg2vid.labels.space import get_label_space
from seg2vid.models.config import PRESETS
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.devices import exact_arithmetic
from seg2vid.tools.errors import ModelError, Seg2VidError
from tests.tiny import CONFIG, HEIGHT, WIDTH, street_map

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("openvino", reason="the extra `export` is not installed")

SLOW = pytest.mark.slow
OTHERS = ("openvino", "torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    pipe = Seg2VidPipeline.from_config(CONFIG)
    # Networks that say the same wherever they look would agree too easily.
    for name, parameter in pipe.animator.named_parameters():
        if name.endswith("residual.2.weight") or "to_camera" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return pipe.save_pretrained(tmp_path_factory.mktemp("model")).parent


@pytest.fixture(scope="module")
def maps() -> torch.Tensor:
    return torch.cat((street_map(), street_map().flip(2), street_map()))


@pytest.fixture(scope="module")
def exported(
    model: Path, maps: torch.Tensor, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Export once to each target that is asked for."""
    folders: dict[str, Path] = {}

    def export(to: str) -> Path:
        if to not in folders:
            folder = tmp_path_factory.mktemp("exports") / to
            lines = list(graphs.export_model(str(model), folder, maps, to=to))  # type: ignore[arg-type]
            names = boxes_of(Seg2VidPipeline.from_pretrained(model))
            assert [line.split()[0] for line in lines] == [*names, "first", "frames"]
            folders[to] = folder
        return folders[to]

    return export


@pytest.fixture(scope="module")
def calls(model: Path, maps: torch.Tensor) -> Calls:
    return record_calls(Seg2VidPipeline.from_pretrained(model), maps)[0]


@pytest.mark.parametrize("to", ["onnx", *(pytest.param(to, marks=SLOW) for to in OTHERS)])
def test_each_box_computes_what_the_pipeline_does(
    to: str, exported: Callable[[str], Path], calls: Calls
) -> None:
    for name, box in graphs.read_manifest(exported(to)).boxes.items():
        with exact_arithmetic():
            session = graphs.FORMATS[to].Session(exported(to) / box.file)
        assert max(len(inputs[0]) for inputs, _ in calls[name]) == 3
        assert graphs.largest_error(session, calls[name]) <= 1e-5
        assert box.largest_error <= 1e-5


def test_errors_are_shares_of_the_largest_output(calls: Calls) -> None:
    inputs, outputs = calls["depth"][0]
    largest = float(outputs[0][:1].abs().max())  # of one sample alone, and of all
    assert 1 < largest <= float(outputs[0].abs().max())

    def shifted(given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        count = len(given[0])
        return outputs[0][:count] + 0.5, *(one[:count] for one in outputs[1:])

    error = graphs.largest_error(shifted, [(inputs, outputs)])
    assert error == pytest.approx(0.5 / largest, rel=1e-4)
    broken = [(inputs, tuple(one * torch.nan for one in outputs))]
    assert graphs.largest_error(lambda given: broken[0][1], broken) == float("inf")


def test_graphs_state_their_opset_and_read_no_picture_at_places_told(
    exported: Callable[[str], Path],
) -> None:
    for path in exported("onnx").glob("*.onnx"):
        graph = onnx.load(path)
        assert [(one.domain, one.version) for one in graph.opset_import] == [("", 20)]
        assert "GridSample" not in {node.op_type for node in graph.graph.node}
        box = boxes_of(Seg2VidPipeline.from_config(CONFIG))[path.stem]
        assert [one.name for one in graph.graph.input] == [*box.inputs]
        assert [one.name for one in graph.graph.output] == [*box.outputs]
        for port in (*graph.graph.input, *graph.graph.output):
            batch, *sizes = port.type.tensor_type.shape.dim
            assert batch.dim_param == "batch"
            assert all(one.dim_value > 0 for one in sizes)
    assert json.loads((exported("onnx") / "export.json").read_text())["opset"] == 20


def test_convolutions_are_such_as_webgpu_computes(exported: Callable[[str], Path]) -> None:
    """Of six channels it makes nonsense: they are eight, two of them zeros."""
    widened = 0
    for path in exported("onnx").glob("*.onnx"):
        graph = onnx.load(path).graph
        weights = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
        for node in graph.node:
            if node.op_type != "Conv":
                continue
            weight = weights[node.input[1]]
            assert weight.shape[1] <= 4 or weight.shape[1] % 4 == 0, (path.stem, node.name)
            if node.input[0].endswith(".wide"):
                widened += 1
                pads = weights[f"{node.name}.pads"].tolist()
                assert pads[:5] + pads[6:] == [0] * 7 and 0 < pads[5] < 4
                assert not weight[:, -pads[5] :].any() and weight[:, : -pads[5]].any()
    assert widened, "the networks have some"


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("to", "runtime"),
    [
        ("onnx", "onnx"),
        ("onnx", "openvino"),
        pytest.param("openvino", "openvino", marks=SLOW),
    ],
)
def test_videos_are_those_of_the_pipeline(
    to: str,
    runtime: str,
    batch: int,
    model: Path,
    exported: Callable[[str], Path],
    maps: torch.Tensor,
) -> None:
    with exact_arithmetic():
        pipe = graphs.open_export(exported(to), runtime)  # type: ignore[arg-type]
        own = Seg2VidPipeline.from_pretrained(model)
        seeds = list(range(batch))
        # Longer than a key frame is good for: the depth of a painted frame is seen too.
        given = {"num_frames": 14, "seed": seeds}
        found, wanted = pipe(maps[:batch], **given), own(maps[:batch], **given)
    torch.testing.assert_close(found.first_frame, wanted.first_frame, atol=1e-5, rtol=0)
    difference = (found.frames - wanted.frames).abs()
    # A pixel at an edge of depth may fall on the other side of it.
    assert float(difference.mean()) < 1e-3
    assert float((difference > 1e-2).float().mean()) < 0.01
    assert float((found.label_maps != wanted.label_maps).float().mean()) < 0.01


SIGNALLED = """
import faulthandler, gc, os, signal, sys
from pathlib import Path
from seg2vid.export.openvino import Session
faulthandler.enable()  # which gives the thread a stack of its own for signals
sessions = [Session(Path(sys.argv[1])) for _ in range(2)]
while sessions:
    del sessions[0]
    gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_is_handled_after_sessions_went(exported: Callable[[str], Path]) -> None:
    path = next(exported("onnx").glob("*.onnx"))
    result = subprocess.run(
        [sys.executable, "-c", SIGNALLED, path], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "handled\n"), result.stderr


def test_served_boxes_are_all_that_computes(model: Path, maps: torch.Tensor) -> None:
    asked = []

    def run(name: str, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        asked.append(name)
        outputs = boxes[name].module(*inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    own = Seg2VidPipeline.from_pretrained(model)
    boxes = boxes_of(own)
    pipe = serve(own, run)
    given = {"num_frames": 2, "seed": [0, 1, 2]}
    assert torch.equal(pipe(maps, **given).frames, own(maps, **given).frames)
    assert set(asked) >= boxes.keys() - {"refiner"}
    with pytest.raises(ModelError, match="first frames of the size of the exported graphs"):
        pipe(maps.repeat(1, 2, 2), num_frames=1, seed=[0, 1, 2], scale=2)


@SLOW
@pytest.mark.parametrize(("weights", "kind"), [("float16", "FLOAT16"), ("int8", "INT8")])
def test_smaller_weights_cost_a_little(
    weights: str,
    kind: str,
    model: Path,
    exported: Callable[[str], Path],
    maps: torch.Tensor,
    tmp_path: Path,
) -> None:
    folder = tmp_path / weights
    lines = list(graphs.export_model(str(model), folder, maps, weights=weights))  # type: ignore[arg-type]
    stored = {}
    for place in (exported("onnx"), folder):
        graph = onnx.load(place / "depth.onnx").graph
        stored[place] = sum(len(one.raw_data) for one in graph.initializer)
    assert stored[folder] < 0.8 * stored[exported("onnx")]
    assert kind in {onnx.TensorProto.DataType.Name(one.data_type) for one in graph.initializer}
    mean = float(lines[-2].split()[4])
    assert lines[-2].startswith("first frame  differ by ")
    assert 1e-7 < mean < 0.05
    with pytest.raises(ModelError, match="weights as float32 in PyTorch's programs"):
        list(graphs.export_model(str(model), tmp_path / "x", maps, to="torch", weights=weights))  # type: ignore[arg-type]


def test_an_error_above_the_bound_leaves_nothing(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "boxes_of", lambda pipe: {"camera": boxes_of(pipe)["camera"]})
    # On some processors this box has none at all.
    monkeypatch.setattr(graphs, "largest_error", lambda session, calls: 1e-6)
    words = ["export", str(model), "-o", str(tmp_path / "out"), "--bound", "0"]
    assert main(words) == 2
    assert list(tmp_path.iterdir()) == []
    error = capsys.readouterr().err
    assert "errors of at most 0 in every box; got camera" in error
    assert "largest error" in error


@SLOW
def test_the_command_exports_and_generates(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path
) -> None:
    folder, video = tmp_path / "out", tmp_path / "scene.mp4"
    assert main(["export", str(model), "-o", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"wrote {folder}"
    assert all("largest error" in line for line in lines[:-3])
    picture = str(repository / "examples" / "street.png")
    words = ["generate", picture, "-o", str(video), "--frames", "4", "--model", str(folder)]
    assert main([*words, "--runtime", "onnx"]) == 0
    assert video.is_file()
    assert main([*words, "--runtime", "onnx", "--size", "256x128", "--overwrite"]) == 2
    error = capsys.readouterr().err
    assert f"inputs of {WIDTH}x{HEIGHT} for the exported first_frame" in error
    assert main(["export", str(model), "-o", str(folder)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


@SLOW
def test_maps_to_check_with_may_be_given(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path
) -> None:
    (tmp_path / "maps").mkdir()
    words = ["export", str(model), "-o", str(tmp_path / "out"), "--maps", str(tmp_path / "maps")]
    assert main(words) == 2
    assert "a folder of label maps" in capsys.readouterr().err
    shutil.copy(repository / "examples" / "street.png", tmp_path / "maps")
    assert main([*words, "--to", "torch"]) == 0


def test_what_cannot_be_opened_is_told(
    model: Path, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"without export.json; write one with"):
        graphs.open_export(model, "onnx")
    broken = tmp_path / "broken"
    shutil.copytree(exported("onnx"), broken)
    manifest = json.loads((broken / "export.json").read_text())
    (broken / "export.json").write_text(json.dumps(manifest | {"to": "openvino"}))
    with pytest.raises(ModelError, match="graphs for onnx; got those for openvino"):
        graphs.open_export(broken, "onnx")
    (broken / "export.json").write_text(json.dumps(manifest))
    (broken / "scene.onnx").unlink()
    with pytest.raises(ModelError, match=r"scene.onnx; got none"):
        graphs.open_export(broken, "onnx")
    (broken / "scene.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"a graph that ONNX Runtime reads.*scene.onnx"):
        graphs.open_export(broken, "onnx")
    other = Seg2VidPipeline.from_config(CONFIG)
    other.save_pretrained(broken)
    with pytest.raises(ModelError, match="other weights"):
        graphs.open_export(broken, "onnx")
    (broken / "export.json").write_text("{}")
    with pytest.raises(ModelError, match=r"export.json"):
        graphs.open_export(broken, "onnx")


def test_the_papers_networks_stay_in_pytorch() -> None:
    space = get_label_space("cityscapes").to_dict()
    pipe = Seg2VidPipeline.from_config(replace(PRESETS["paper"], label_space=space))
    with pytest.raises(ModelError, match="whose motion is a scene's"):
        boxes_of(pipe)


@pytest.mark.parametrize("package", ["onnx", "openvino"])
def test_a_missing_extra_is_one_line(
    package: str, model: Path, maps: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    to = "openvino" if package == "openvino" else "onnx"
    with pytest.raises(Seg2VidError, match=r"the extra `export`.*pip install 'seg2vid\[export\]'"):
        list(graphs.export_model(str(model), tmp_path / "out", maps, to=to))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
