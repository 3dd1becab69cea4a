"""Device and precision: what each choice means, whatever the machine that runs the tests has."""

import re
from pathlib import Path

import jaxtyping
import pytest
import torch

from seg2vid.cli.main import VERBS, main
from seg2vid.evaluation.run import changes, make_report
from seg2vid.tools import devices
from seg2vid.tools.devices import (
    check_compiler,
    choose_device,
    choose_precision,
    exact_arithmetic,
    fast_arithmetic,
    has_fast_bfloat16,
    on_threads,
    precision_here,
    within_precision,
)
from seg2vid.tools.errors import Seg2VidError, TrainingError
from seg2vid.tools.plain import read_plain
from seg2vid.training.config import RunConfig
from seg2vid.training.run import _make_trainer
from tests.evaluation_runs import build_model, quick_setup, write_model
from tests.tiny import street_map

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda", "mps"))
COMPUTING = {
    *("generate", "animate", "segment", "prepare", "dataset", "evaluate"),
    *("train first-frame", "train motion", "train refiner", "train segmenter"),
}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    there = getattr(request, "param", ())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int("cuda" in there))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)


@pytest.mark.parametrize(
    ("gpus", "chosen"),
    [((), CPU), (("mps",), MPS), (("cuda",), CUDA), (("cuda", "mps"), CUDA)],
    indirect=["gpus"],
)
def test_auto_takes_a_gpu_where_there_is_one(gpus: None, chosen: torch.device) -> None:
    assert choose_device("auto") == choose_device(chosen.type) == chosen
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize(
    ("gpus", "name", "there"),
    [((), "cuda", "cpu"), ((), "mps", "cpu"), ((), "tpu", "cpu"), (("cuda",), "cuda:1", "cuda")],
    indirect=["gpus"],
)
def test_a_device_that_is_absent_is_told_in_one_line(gpus: None, name: str, there: str) -> None:
    with pytest.raises(Seg2VidError, match=rf"a device that is there: {there}.*; got {name}; use"):
        choose_device(name)


@pytest.mark.parametrize(
    ("name", "has_amx", "has_avx512_bf16", "is_fast"),
    [
        ("AMD EPYC 9654", False, True, True),
        ("AMD EPYC 7763", False, False, False),
        ("Intel(R) Xeon(R) Platinum 8480", True, True, True),
        ("Intel(R) Xeon(R) Processor", False, True, False),
        ("arm", False, False, False),
    ],
)
def test_auto_is_what_is_fast_and_safe(
    monkeypatch: pytest.MonkeyPatch, name: str, has_amx: bool, has_avx512_bf16: bool, is_fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_avx512_bf16)
    monkeypatch.setattr(devices, "_processor_name", lambda: name)
    assert has_fast_bfloat16(CPU) is is_fast
    assert choose_precision("auto", CPU) == ("bfloat16" if is_fast else "float32")
    assert choose_precision("auto", CUDA) == "bfloat16"
    assert choose_precision("auto", MPS) == "float32"
    for name in ("float32", "bfloat16"):
        assert choose_precision(name, CPU) == name
    assert choose_precision("float16", CUDA) == "float16"
    with pytest.raises(Seg2VidError, match=r"a GPU for float16; got a processor; use --precision"):
        choose_precision("float16", CPU)


def test_an_unknown_precision_is_refused() -> None:
    jaxtyping.config.update("jaxtyping_disable", True)
    with pytest.raises(Seg2VidError, match=r"a precision: auto, .*; got int8; use auto"):
        choose_precision("int8", CPU)  # type: ignore[arg-type]


def test_the_choice_around_wins(arithmetic: str) -> None:
    layer, x = torch.nn.Conv2d(1, 1, 1), torch.ones(1, 1, 2, 2)
    own = getattr(torch, arithmetic)
    with fast_arithmetic(CPU):
        assert layer(x).dtype == own
    with exact_arithmetic(), fast_arithmetic(CPU, "bfloat16"):
        assert layer(x).dtype == torch.float32
    with within_precision("bfloat16"), fast_arithmetic(CPU, "float32"):
        assert layer(x).dtype == torch.bfloat16 and precision_here(CPU) == "bfloat16"
        with within_precision("auto"):
            assert precision_here(CPU) == "bfloat16"
    assert precision_here(CPU) == arithmetic


def test_a_pipeline_computes_as_it_is_told(arithmetic: str) -> None:
    ids, frames = street_map(), {}
    for name in ("auto", "float32", "bfloat16"):
        pipe = build_model().to("cpu", precision=name)  # type: ignore[arg-type]
        video = pipe(ids, num_frames=3, seed=1)
        assert video.precision == (arithmetic if name == "auto" else name)
        assert (video.device, pipe.computes_in) == ("cpu", video.precision)
        frames[name] = video.frames
    assert torch.equal(frames["auto"], frames[arithmetic])
    gap = (frames["float32"] - frames["bfloat16"]).abs()
    assert 0 < float(gap.max()) < 0.1
    # Another device leaves the precision as it was.
    assert pipe.to("cpu").precision == "bfloat16"
    with pytest.raises(Seg2VidError, match=r"a GPU for float16"):
        pipe.to("cpu", precision="float16")


def test_every_verb_that_computes_takes_both(capsys: pytest.CaptureFixture[str]) -> None:
    taking = set()
    for verb in VERBS:
        assert main([*verb.split(), "--help"]) == 0
        said = capsys.readouterr().out
        if (
            "--device auto|cpu|cuda|mps" in said
            and "--precision auto|float32|bfloat16|float16" in said
        ):
            taking.add(verb)
    assert taking == COMPUTING


def test_video_json_tells_device_and_precision(tmp_path: Path) -> None:
    model, labels = write_model(tmp_path / "model"), "examples/street.png"
    words = ["generate", labels, "-o", str(tmp_path / "out"), "--model", model, "--frames", "2"]
    assert main([*words, "--device", "cpu", "--precision", "bfloat16"]) == 0
    told = read_plain(tmp_path / "out" / "video.json", "a video")
    assert (told["device"], told["precision"]) == ("cpu", "bfloat16")


@pytest.mark.parametrize("words", [
    ["generate", "examples/street.png", "-o", "s.mp4"],
    ["segment", "examples/street.png", "-o", "s.png"],
    ["evaluate", "-o", "report"],
], ids=lambda words: words[0])  # fmt: skip
@pytest.mark.usefixtures("gpus")
def test_verbs_refuse_what_is_not_there(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [
        str(tmp_path / word) if word in ("s.mp4", "s.png", "report") else word for word in words
    ]
    for options, what in (
        (["--device", "cuda"], r"seg2vid: Expected a device that is there: cpu; got cuda; use .*"),
        (["--precision", "float16"], r"seg2vid: Expected a GPU for float16; got a processor; .*"),
    ):
        assert main([*words, *options]) == 2
        assert re.fullmatch(what + r"\n", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_an_evaluation_says_that_its_precision_is_not_the_protocols(tmp_path: Path) -> None:
    setup = quick_setup(tmp_path, model=write_model(tmp_path / "model"), precision="bfloat16")
    assert changes(setup)["precision"] == "bfloat16"
    for number in setup.numbers_left():
        setup.do(number)
    told = make_report(setup, {"seconds": 1.0})
    assert told["provenance"]["precision"] == "bfloat16"
    assert "precision" not in changes(quick_setup(tmp_path, precision="float32"))


@pytest.mark.usefixtures("gpus")
def test_training_takes_both(tmp_path: Path) -> None:
    for name, lightning in (
        ("auto", "32-true"),
        ("float32", "32-true"),
        ("bfloat16", "bf16-mixed"),
    ):
        trainer = _make_trainer(tmp_path, RunConfig(precision=name, dry_run=True))  # type: ignore[arg-type]
        assert trainer.precision == lightning and trainer.strategy.root_device == CPU
    with pytest.raises(
        TrainingError, match=r"a precision to train in; got float16.*; use bfloat16"
    ):
        _make_trainer(tmp_path, RunConfig(precision="float16"))
    with pytest.raises(Seg2VidError, match=r"a device that is there: cpu; got cuda"):
        _make_trainer(tmp_path, RunConfig(device="cuda"))


def test_threads_come_back_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="stop"), on_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ValueError("stop")
    assert torch.get_num_threads() == before


def test_a_missing_compiler_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(function: object) -> object:
        raise RuntimeError("No working C++ compiler found\nand so on")

    monkeypatch.setattr(devices.torch, "compile", lambda function: compiled)
    what = r"a compiler that torch.compile can use; got No working C\+\+ compiler found; install"
    with pytest.raises(Seg2VidError, match=what):
        check_compiler()
    with pytest.raises(Seg2VidError, match=what):
        build_model().compile()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")  # of PyTorch about itself
def test_compiled_networks_paint_the_same() -> None:
    jaxtyping.config.update("jaxtyping_disable", True)
    ids, pipe = street_map(), build_model().to("cpu", precision="float32")
    plain = pipe(ids, num_frames=4, seed=1)
    compiled = pipe.compile()(ids, num_frames=4, seed=1)
    assert not torch.equal(plain.first_frame, compiled.first_frame), "nothing was compiled"
    torch.testing.assert_close(plain.first_frame, compiled.first_frame, atol=1e-4, rtol=0)
    torch.testing.assert_close(plain.frames, compiled.frames, atol=1e-3, rtol=0)
