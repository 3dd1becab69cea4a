"""Every mistake gives one line: what was expected, what came, what to do; nothing is written."""

import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seg2vid.cli import main as cli
from seg2vid.cli.arguments import convert
from seg2vid.tools.errors import Seg2VidError


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    Image.fromarray(pixels).save(path, **options)


def street(height: int = 64, width: int = 128) -> np.ndarray:
    """A raw-id map: sky, buildings, road."""
    ids = np.full((height, width), 23, np.uint8)
    ids[height // 3 :] = 11
    ids[height // 2 :] = 7
    return ids


def png_of_size(width: int, height: int, rows: int = 0) -> bytes:
    """A grey PNG file that claims any size, and holds so many ``rows`` of 7."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = (b"\0" + b"\7" * width) * rows
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def make_inputs(folder: Path) -> None:
    """Every bad file there is, and a good one."""
    save(folder / "good.png", street())
    save(folder / "photo.jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    save(folder / "pixel.png", np.zeros((1, 1), np.uint8))
    save(folder / "deep.png", np.full((64, 64), 700, np.uint16))
    save(folder / "unknown.png", np.full((64, 64), 99, np.uint8))
    Image.fromarray(np.zeros((64, 64), np.float32)).save(folder / "float.tiff")
    (folder / "text.png").write_text("not a picture")
    (folder / "empty.png").touch()
    noise = np.random.default_rng(0).integers(0, 30, (64, 64), dtype=np.uint8)
    save(folder / "whole.png", noise)
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:900])
    (folder / "short.png").write_bytes(png_of_size(64, 64, rows=40))
    (folder / "wide.png").write_bytes(png_of_size(9000, 9000))
    script = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    (folder / "script.png").write_text(script)
    Image.fromarray(noise).convert("RGB").save(folder / "picture.avif")
    content = (folder / "picture.avif").read_bytes()
    (folder / "picture.avif").write_bytes(content[:90] + bytes(60) + content[150:])
    os.mkfifo(folder / "pipe")
    (folder / "flat.png").write_bytes(png_of_size(0, 5))
    (folder / "vast.png").write_bytes(png_of_size(100_000, 100_000))
    (folder / "space.yaml").write_text("classes: [{name: a}]")
    (folder / "folder").mkdir()
    (folder / "own").mkdir()
    (folder / "own" / "a.txt").touch()


BAD_FILES = {
    "none.png": "Expected a label map picture; got no file .*; check the path",
    "folder": "Expected a label map picture; got .*which is a folder; name one file",
    "text.png": "Expected a label map picture; got .*which is no picture; export it again",
    "empty.png": r"got .*which is empty \(0 bytes\); export it again",
    "cut.png": "got .*which is damaged or cut off .*; export it again",
    "short.png": r"got short.png, which is damaged or cut off \(rows are missing\); export it",
    "pipe": "a label map picture; got pipe, which is a pipe or device; copy it to a file first",
    "script.png": "got script.png, which is no picture; export it again",
    "picture.avif": "got picture.avif, which is .*; export it again",
    "wide.png": "got wide.png with 9000x9000 pixels; scale it down: to at most 5792x5792",
    "flat.png": "(at least 8x8 pixels|damaged or cut off|no picture)",
    "vast.png": "got .*(100000x100000 pixels|damaged or cut off).*;",
    "pixel.png": "Expected a label map of at least 8x8 pixels; got 1x1; give one with more",
    "deep.png": "8-bit ids, or 16-bit instance ids .*; got 16-bit values 700; ",
    "float.tiff": "Expected whole ids or RGB colours; got .*mode F; export it as 8-bit PNG",
    "unknown.png": "Expected ids 0 ... 18 and 255, or raw ids, of cityscapes; got values 99; name",
    "photo.jpg": "ids or class colours of cityscapes; got .*as in a photo; give a label map",
}

BAD_OPTIONS = {
    "--frames -3": "Expected --frames of at least 1; got -3; leave it out",
    "--frames 0": "Expected --frames of at least 1; got 0; leave it out",
    "--frames many": "Expected a whole number for --frames; got 'many'; write it in digits",
    "--frames 2.5": "Expected a whole number for --frames; got '2.5'",
    "--samples 0": "Expected --samples from 1 to 10000; got 0",
    "--samples 1000000000": "Expected --samples from 1 to 10000; got 1000000000; choose",
    "--samples=--": "Expected a value for --samples; got none; write it after the option",
    "--seed -1": "Expected --seed from 0 to .*; got -1",
    "--resample-seed 99999999999999999999": "--resample-seed from 0 to 9223372036854775807; got 9",
    "--resample-seed -1": "--resample-seed from 0 to 9223372036854775807; got -1; ",
    f"--frames 1{'0' * 400}": "a whole number of at most 40 digits for --frames; got '100",
    "--fps 0": "frames per second above 0 and at most 240; got 0.0; 12 is a good start",
    "--fps nan": "Expected a number for --fps; got 'nan'",
    "--size 100x100": "multiples of 32 up to 4096; got 100x100; use --size 96x96",
    "--size 0x32": "got 0x32; use --size 32x32",
    "--size 99999x32": "got 99999x32; use --size 4096x32",
    "--size big": "Expected WIDTHxHEIGHT for --size; got 'big'; write it like 256x128",
    "--aspect stretch": "one of crop, pad for --aspect; got 'stretch'; choose",
    "--encoding guess": "one of auto, train, raw, colour, instance for --encoding; got 'guess'",
    "--save shadows": "extras out of flow, visible, .*, control-flow; got 'shadows'; choose",
    "--seconds 0": "--seconds from 0.001 to 86400; got 0.0; choose a number in between",
    "--seconds nan": "Expected a number for --seconds; got 'nan'",
    "--seconds 2 --frames 9": "Expected --frames or --seconds; got both; leave one of them out",
    "--contact-sheet sheet.bmp": r"a picture ending in \.png.*; got 'sheet.bmp'; change",
    "--contact-sheet none/sheet.png": "an existing folder to write to; got none.*; create it",
    "--model nothing": "Expected a model.*; got 'nothing'; ",
    "--colour red": "the arguments of `seg2vid generate`; got unrecognized arguments: --colour",
    "--frames": "the arguments of `seg2vid generate`; got .*expected one argument; see",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder full of bad files, with an empty folder for the output."""
    make_inputs(tmp_path)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Run a command that must fail well; return its one line."""

    def run(command: str) -> str:
        before = sorted(folder.rglob("*"))
        assert cli.main(command.split()) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("seg2vid: "), lines
        for part in ("Expected ", "; got ", "; "):
            assert part in lines[0]
        assert lines[0].count("; ") >= 2 and lines[0].endswith(".")
        assert sorted(folder.rglob("*")) == before, "nothing is written"
        return lines[0]

    return run


def matches(pattern: str, line: str) -> None:
    assert re.search(pattern, line), line


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_label_maps(refused: Callable[[str], str], name: str) -> None:
    for command in (f"labels check {name}", f"labels convert {name} -o out/a.png"):
        matches(BAD_FILES[name], refused(command))


def test_a_map_that_ends_in_zeros_is_whole(folder: Path) -> None:
    for name, rows in {"short": 64, "road": 0}.items():
        ids = np.zeros((64, 64), np.uint8)
        ids[:rows] = 7
        save(folder / f"{name}.png", ids)
        assert cli.main(["labels", "check", f"{name}.png"]) == 0


@pytest.mark.parametrize("name", ["none.png", "text.png", "cut.png"])
def test_generate_refuses_unreadable_maps_before_it_loads_a_model(
    refused: Callable[[str], str], name: str
) -> None:
    matches(BAD_FILES[name], refused(f"generate {name} -o out/a.mp4 --model nothing"))


@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_bad_options(refused: Callable[[str], str], option: str) -> None:
    matches(BAD_OPTIONS[option], refused(f"generate good.png -o out/a.mp4 {option}"))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("out/a.avi", "a video ending in .*; got 'a.avi'; change the ending"),
        ("out/a.gif --fps 240", "above 0 and at most 100 in a gif; got 240"),
        ("out/a.png", "or a folder name for png frames; got 'a.png'"),
        ("none/a.mp4", "an existing folder to write to; got none, .*; create it: mkdir -p none"),
        ("folder/../good.png/a.mp4", "an existing folder to write to"),
        (".", r"not an input; got \., which holds good\.png, which is read; choose another name"),
        ("own", "a new or empty folder, or one that seg2vid wrote; got own, which holds a.txt and"),
    ],
)
def test_bad_outputs(refused: Callable[[str], str], output: str, message: str) -> None:
    matches(message, refused(f"generate good.png -o {output}"))


def test_names_do_not_control_the_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("red\x1b[31m.png", "turned\u202egnp.png", "bytes\udcff.png"):
        os.rename(folder / "good.png", folder / name)
        assert cli.main(["labels", "check", name]) == 0
        assert cli.main(["labels", "check", name, "--encoding", "train"]) == 2
        said = capsys.readouterr()
        assert (said.out + said.err).replace("\n", "").isprintable() and len(
            said.err.splitlines()
        ) == 1
        assert ascii(name)[1:-1] in said.out and ascii(name)[1:-1] in said.err
        os.rename(folder / name, folder / "good.png")


def test_links_that_lead_round_in_a_circle(folder: Path, refused: Callable[[str], str]) -> None:
    (folder / "circle.png").symlink_to("circle.png")
    for verb in ("labels convert circle.png -o out/a.png", "generate circle.png -o out/a.mp4"):
        matches("got no file circle.png; check the path", refused(verb))


def test_folder_without_write_permission(
    refused: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    line = refused("generate good.png -o out/a.mp4")
    matches("a folder with write permission; got out; choose another place", line)
    matches("a folder with write permission", refused("labels convert good.png -o out/a.png"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where nobody may write")
def test_place_that_only_looks_writable(refused: Callable[[str], str]) -> None:
    matches("Expected a ", refused("labels convert good.png -o /proc/a.png"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("labels convert good.png -o out/a.jpg", "ending in .png; got 'a.jpg'; change the ending"),
        ("labels convert good.png", "got the following arguments are required: --output/-o"),
        ("labels convert good.png -o out/a.png --size 33x32", "multiples of 32"),
        ("labels convert good.png -o out/a.png --to palette", "one of train, colour for --to"),
        ("labels check good.png --label-space pets", "a label space .*; got 'pets'"),
        ("labels check good.png --label-space none.yaml", "a label space file; got no file"),
        (
            "labels check good.png --label-space space.yaml",
            "the field colour as .* in space.yaml; got none",
        ),
        ("labels check good.png --encoding train", "only ids 0 ... 18 .*got also 23"),
        ("labels check", "got the following arguments are required: FILE"),
        ("labels", r"a verb \(labels check, labels convert, labels spaces\); got 'labels'; see"),
        ("labels repair x.png", "got 'labels repair'; see"),
        ("animated good.png", r"a verb \(generate, animate, .*\); got 'animated'; see"),
        ("--verbose", "got '--verbose'"),
        ("toycity -o out/toy --clips 0", "--clips of at least 1; got 0; leave"),
        ("segment photo.jpg -o out/a.jpg", "a picture ending in .png; got 'a.jpg'; change"),
        ("segment none.jpg -o out/a.png", "Expected a photo; got no file"),
        ("segment photo.jpg", "got the following arguments are required: --output/-o"),
        ("prepare nowhere -o out/d", "a folder of recordings or a video; got no nowhere; check"),
        ("prepare good.png -o out/d", "Expected videos .*; got nothing at good.png"),
        ("prepare . -o out/d --size big", "Expected WIDTHxHEIGHT for --size; got 'big'"),
        ("prepare -o out/d", "got the following arguments are required: SOURCE"),
        ("train", r"a verb \(train first-frame, train motion, .*, train replay\); got 'train'"),
        ("toycity -o out/toy --seed -1", "--seed from 0 to 4611686018427387904; got -1; choose"),
        ("toycity -o out/toy --workers 20000", "--workers from 1 to 512; got 20000; choose"),
        ("toycity -o out/toy --clips x", "a whole number for --clips; got 'x'"),
    ],
)
def test_other_verbs(refused: Callable[[str], str], command: str, message: str) -> None:
    matches(message, refused(command))


def test_toy_city_mistakes_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["toycity", "-o", "out/toy", "--size", "8x8"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "Expected" in lines[0] and "got" in lines[0]
    assert os.listdir("out") == []


def test_convert_names_the_option() -> None:
    assert convert("a, b,", tuple[str, ...], "--save") == ("a", "b")
    assert convert("64x32", tuple[int, int], "--size") == (64, 32)
    assert convert("1, 9", tuple[float, ...], "--data-weights") == (1, 9)
    assert convert("1e1", float, "--fps") == 10
    assert convert("False", bool, "--flip") is False
    assert convert("[8, 16]", Any, "--model.widths") == [8, 16]
    with pytest.raises(Seg2VidError, match="for --fps; got 'inf'"):
        convert("inf", float, "--fps")
    with pytest.raises(Seg2VidError, match="one of true, false for --flip; got 'maybe'"):
        convert("maybe", bool, "--flip")
    with pytest.raises(Seg2VidError, match=r"YAML for --model.widths; got no YAML"):
        convert("[8", Any, "--model.widths")


def test_interrupt_is_one_line_and_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("seg2vid.cli.models.list_all", stop)
    assert cli.main(["models"]) == 130
    assert capsys.readouterr().err == "seg2vid: stopped; no partial file is left\n"


def test_our_own_mistakes_are_one_line_and_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(options: object) -> None:
        raise KeyError("forgotten")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("seg2vid.cli.models.list_all", fail)
    assert cli.main(["models"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "got KeyError: 'forgotten'; report it and attach " in error
    (report,) = tmp_path.iterdir()
    assert str(report) in error
    assert "Traceback" in report.read_text() and "forgotten" in report.read_text()


def test_too_little_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("seg2vid.cli.models.list_all", fail)
    assert cli.main(["models"]) == 2
    assert "Expected enough memory; got too little; take a smaller" in capsys.readouterr().err
    # PyTorch says it in words of its own.
    monkeypatch.setattr("seg2vid.cli.models.list_all", lambda options: torch.empty(2**50))
    assert cli.main(["models"]) == 2
    error = capsys.readouterr().err
    assert "Expected enough memory; got " in error and "allocate" in error


def test_unforeseen_file_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: object) -> None:
        raise OSError(28, "No space left on device", "a.mp4")

    monkeypatch.setattr("seg2vid.cli.models.list_all", fail)
    assert cli.main(["models"]) == 2
    error = capsys.readouterr().err
    assert "got a.mp4: No space left on device; check place and space.\n" in error


def test_reader_that_leaves_early_sees_no_traceback() -> None:
    code = "import sys; from seg2vid.cli.main import main; sys.exit(main(['--help']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait() in {0, 141} and error == b""
