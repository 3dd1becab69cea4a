"""The command line: what each verb does, prints and writes."""

import inspect
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from seg2vid.cli import arguments
from seg2vid.cli import main as cli
from seg2vid.labels.convert import colourise
from seg2vid.labels.space import get_label_space
from seg2vid.media.generated import GeneratedVideo
from seg2vid.media.label_maps import read_picture
from seg2vid.media.pictures import read_image, write_label_map
from seg2vid.media.video import read_video
from seg2vid.models.config import PAPER, ModelConfig
from seg2vid.models.weights import NO_RESTRICTED, ModelSummary
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Latent, Motion
from seg2vid.tools.errors import Seg2VidError
from seg2vid.training.config import MotionTrainingConfig, RunConfig

CITYSCAPES = get_label_space("cityscapes")


class FakePipeline(Seg2VidPipeline):
    """Passes of four frames, each as bright as its number; it remembers what it was given."""

    def __init__(self) -> None:
        self.label_space = CITYSCAPES
        self.height, self.width = 32, 64
        self.config = PAPER  # whose photos move at the model's size
        self.num_frames, self.frames_per_second = 4, 12.0
        self.calls: list[dict[str, object]] = []
        self.device, self.precision = torch.device("cpu"), "float32"

    def to(self, device: object, *, precision: object = None) -> "FakePipeline":
        return self

    def stream(self, label_map: Tensor, **given: object) -> Iterator[GeneratedVideo]:
        self.calls.append({"label_map": label_map, **given})
        total, first = given["num_frames"] - 1, given["first_frame"]
        height, width = label_map.shape[1:]
        frame = torch.zeros(1, 3, height, width) if first is None else first
        if total == 0:
            one = {**given, "num_frames": 2}
            (chunk,) = FakePipeline().stream(label_map, **one)
            motion = chunk.motion.map(lambda tensor: tensor[:, :0])
            frames, maps = chunk.frames[:, :0], chunk.label_maps[:, :0]
            yield replace(chunk, frames=frames, label_maps=maps, motion=motion, painted=None)
        for start in range(0, total, self.num_frames):
            count = min(self.num_frames, total - start)
            numbers = torch.arange(start + 1, start + count + 1).view(1, -1, 1, 1, 1) * 5 / 255
            flow = torch.ones(1, count, 2, height, width)
            yield GeneratedVideo(
                first_frame=frame,
                frames=numbers.expand(1, count, 3, height, width),
                label_map=label_map,
                label_maps=label_map[:, None].expand(1, count, height, width),
                motion=self.motion(flow),
                z=Latent(torch.zeros(1, 2), torch.zeros(1, 2, 2, 4)),
                frames_per_second=12.0,
                label_space="cityscapes",
                pass_starts=(start,),
                instance_map=given["instance_map"],
                instance_maps=numbers_of(given["instance_map"], count),
                painted=torch.zeros(1, count, 1, height, width),
                seeds=(given["generator"].initial_seed(),),
                model="tiny",
                model_sha256="abc",
            )

    def motion(self, flow: Tensor) -> Motion:
        time, plane = flow.shape[1], flow[:, :, 0]
        path = torch.zeros(1, time, 4)
        path[..., 0] = torch.arange(1, time + 1)  # a metre ahead with each frame
        source = torch.arange(plane[0, 0].numel()).view(plane.shape[2:]).expand(1, time, -1, -1)
        scene = {"camera_path": path, "inverse_depth": plane / 4, "source": source}
        return Motion(flow, -flow, flow[:, :, :1], flow[:, :, :1], **scene)


def numbers_of(instance_map: Tensor | None, count: int) -> Tensor | None:
    return None if instance_map is None else instance_map[:, None].expand(-1, count, -1, -1)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    fake = FakePipeline()
    monkeypatch.setattr(Seg2VidPipeline, "from_pretrained", lambda name: fake)
    tiny = ModelSummary("tiny", "A fake", 0.1, "Apache-2.0")
    monkeypatch.setattr("seg2vid.models.weights.list_models", lambda: [tiny])
    return fake


@pytest.fixture
def labels(tmp_path: Path) -> str:
    """A street of 128x64 in train ids."""
    ids = np.full((64, 128), 10)
    ids[20:32], ids[32:], ids[30:40, 40:60] = 2, 0, 13
    write_label_map(tmp_path / "labels.png", ids, CITYSCAPES)
    return str(tmp_path / "labels.png")


def run(*words: object) -> None:
    assert cli.main([str(word) for word in words]) == 0


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"labels.png"}


@pytest.mark.parametrize("name", ["s.mp4", "s.webm", "s.gif", "s.webp", "frames"])
def test_generate_by_ending(pipe, labels: str, tmp_path: Path, name: str) -> None:
    run("generate", labels, "-o", tmp_path / name)
    assert written(tmp_path) == {name}
    assert read_video(tmp_path / name).shape == (36, 32, 64, 3), "three seconds"


@pytest.mark.parametrize(
    ("words", "frames"),
    [("--seconds 0.5", 6), ("--seconds 2 --fps 6", 12), ("--fps 6", 18), ("--seconds 0.01", 1)],
)
def test_length_in_seconds(pipe, labels: str, tmp_path: Path, words: str, frames: int) -> None:
    run("generate", labels, "-o", tmp_path / "s.gif", *words.split())
    assert len(read_video(tmp_path / "s.gif")) == frames


@pytest.mark.parametrize("frames", [1, 2, 5, 6, 23])
def test_frames_count_the_first_one(pipe, labels: str, tmp_path: Path, frames: int) -> None:
    run("generate", labels, "--output", tmp_path / "s.mp4", "--frames", frames)
    found = read_video(tmp_path / "s.mp4")[:, 16, 32].astype(int)
    assert len(found) == frames
    assert np.abs(found - 5 * np.arange(frames)[:, None]).max() <= 2, "each frame once, in order"
    assert pipe.calls[0]["num_frames"] == frames, "both count alike"


def test_generate_says_what_it_did(pipe, labels: str, tmp_path: Path, capsys) -> None:
    run("generate", labels, "-o", tmp_path / "s.mp4", "--seed", 3, "--frames", 5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{labels}: palette (palette of the classes, indices are train ids)")
    assert lines[1] == "128x64 -> 64x32: scaled, nothing cropped"
    assert lines[2].startswith(f"wrote {tmp_path / 's.mp4'} (5 frames, seed 3, ")
    assert lines[2].endswith(" s)") and len(lines) == 3


def test_extras_and_contact_sheet(pipe, labels: str, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    run("generate", labels, "-o", tmp_path / "s.mp4", "--save", "flow,visible,labels,overlay",
        "--contact-sheet", sheet, "--frames", 20)  # fmt: skip
    names = {"s.mp4", "s_flow.mp4", "s_visible.mp4", "s_labels.mp4", "s_overlay.mp4", "sheet.png"}
    assert written(tmp_path) == names
    assert len(read_video(tmp_path / "s_flow.mp4")) == 20
    assert read_image(sheet).shape == (5 * (16 + 32 + 4) + 4, 4 + 8 * 68, 3)


def test_samples_have_seeds_of_their_own(pipe, labels: str, tmp_path: Path, capsys) -> None:
    run("generate", labels, "-o", tmp_path / "s.gif", "--samples", 3, "--seed", 7)
    assert written(tmp_path) == {"s_seed7.gif", "s_seed8.gif", "s_seed9.gif"}
    seeds = [call["generator"].initial_seed() for call in pipe.calls]
    assert seeds == [7, 8, 9]
    assert capsys.readouterr().out.count("wrote ") == 3


def test_a_folder_and_several_maps_in_one_run(pipe, labels: str, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "maps"
    folder.mkdir()
    for name in ("b.png", "a.png", "notes.txt"):
        (folder / name).write_bytes(Path(labels).read_bytes())
    words = ["--samples", 2, "--frames", 2, "--contact-sheet", tmp_path / "sheet.png"]
    run("generate", folder, labels, "-o", tmp_path / "s.gif", *words)
    names = {f"s_{name}_seed{seed}.gif" for name in ("a", "b", "labels") for seed in (0, 1)}
    assert written(tmp_path) == {*names, "sheet.png", "maps"}
    out = capsys.readouterr().out
    assert out.index("a.png: palette") < out.index("s_a_seed1.gif") < out.index("b.png: palette")
    run("generate", folder / "a.png", "-o", tmp_path / "one.gif", "--frames", 2)
    assert (tmp_path / "one.gif").exists()


def test_several_videos_are_made_at_a_time(
    pipe, labels: str, tmp_path: Path, capsys, monkeypatch
) -> None:
    words = ["generate", labels, "--samples", 5, "--frames", 9, "-o"]
    for name in ("one", "four"):
        (tmp_path / name).mkdir()
    run(*words, tmp_path / "one" / "s.gif")
    assert re.search(
        r"\n5 videos in .* a second: 1 at a time on cpu in float32\n$", capsys.readouterr().out
    )
    threads: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    run(*words, tmp_path / "four" / "s.gif")
    said = capsys.readouterr().out
    assert ": 4 at a time on cpu" in said and threads == [1]
    assert [int(seed) for seed in re.findall(r"frames, seed (\d)", said)] == [0, 1, 2, 3, 4]
    for path in (tmp_path / "one").iterdir():
        assert (read_video(tmp_path / "four" / path.name) == read_video(path)).all()


def test_all_inputs_are_looked_at_before_the_first_video(
    pipe, labels: str, tmp_path: Path, capsys
) -> None:
    Image.fromarray(np.full((64, 64), 99, np.uint8)).save(tmp_path / "z.png")
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([labels, tmp_path / "z.png"], "z.png: Expected ids 0 ... 18 and 255"),
        ([labels, labels], "a place of its own for each output; got"),
        ([tmp_path / "empty"], "Expected a folder of label maps (.png"),
        ([labels, labels, "--instances", labels], "one label map with --instances; got 2 with"),
        ([labels, labels, "--first-frame", labels], "one label map with --first-frame; got 2"),
    ):
        assert cli.main(["generate", *map(str, words), "-o", str(tmp_path / "s.gif")]) == 2
        assert message in capsys.readouterr().err
    assert written(tmp_path) == {"z.png", "empty"} and pipe.calls == []


def test_rate_size_and_aspect(pipe, labels: str, tmp_path: Path, capsys) -> None:
    run("generate", labels, "-o", tmp_path / "s.gif", "--fps", 5, "--size", "64x64",
        "--aspect", "pad", "--frames", 5)  # fmt: skip
    assert read_video(tmp_path / "s.gif").shape == (5, 64, 64, 3)
    label_map = pipe.calls[0]["label_map"]
    assert (label_map[0, 0] == 19).all() and (label_map[0, 16] == 10).all()
    assert "padded (16 rows above and 16 below)" in capsys.readouterr().out
    with Image.open(tmp_path / "s.gif") as image:
        image.seek(1)
        assert image.info["duration"] == 200


def test_a_size_is_that_of_the_picture_and_not_of_what_the_networks_see(
    pipe, labels: str, tmp_path: Path
) -> None:
    pipe.config = ModelConfig()
    run("generate", labels, "-o", tmp_path / "s", "--size", "128x64", "--frames", 2)
    assert pipe.calls[0]["label_map"].shape == (1, 64, 128)
    assert pipe.calls[0]["scale"] == 2


def test_photo_is_fitted_like_the_labels(pipe, labels: str, tmp_path: Path) -> None:
    rgb = colourise(np.zeros((96, 192), np.int64), CITYSCAPES)
    Image.fromarray(rgb).save(tmp_path / "photo.png")
    run("generate", labels, "-o", tmp_path / "s", "--first-frame", tmp_path / "photo.png",
        "--size", "32x32")  # fmt: skip
    frame = pipe.calls[0]["first_frame"]
    assert frame.shape == (1, 3, 32, 32)
    assert (read_video(tmp_path / "s")[0] == (128, 64, 128)).all()
    Image.fromarray(rgb[:, :96]).save(tmp_path / "photo.png")
    assert cli.main(["generate", labels, "-o", str(tmp_path / "t"), "--first-frame",
                     str(tmp_path / "photo.png")]) == 2  # fmt: skip


def test_photo_of_other_proportions_is_refused(pipe, labels: str, tmp_path: Path, capsys) -> None:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "photo.png")
    words = ["generate", labels, "-o", str(tmp_path / "s.mp4"), "--first-frame"]
    assert cli.main([*words, str(tmp_path / "photo.png")]) == 2
    error = capsys.readouterr().err
    assert "proportions of the labels (128x64); got " in error and "64x64; cut photo" in error
    assert cli.main([*words, str(tmp_path / "none.png")]) == 2
    assert "Expected a photo; got no file" in capsys.readouterr().err


def test_instance_map_reaches_the_model(pipe, labels: str, tmp_path: Path, capsys) -> None:
    numbers = np.zeros((64, 128), np.uint16)
    numbers[30:40, 40:60] = 26001
    Image.fromarray(numbers).save(tmp_path / "objects.png")
    run("generate", labels, "-o", tmp_path / "s.mp4", "--instances", tmp_path / "objects.png")
    assert pipe.calls[0]["instance_map"].unique().tolist() == [0, 26001]
    Image.fromarray(numbers[:32]).save(tmp_path / "objects.png")
    words = ["generate", labels, "-o", str(tmp_path / "t.mp4"), "--instances"]
    assert cli.main([*words, str(tmp_path / "objects.png")]) == 2
    assert "instance map of 128x64, like the labels; got" in capsys.readouterr().err
    Image.fromarray(np.zeros((64, 128, 3), np.uint8)).save(tmp_path / "objects.png")
    assert cli.main([*words, str(tmp_path / "objects.png")]) == 2
    assert "Expected one channel of object numbers; got" in capsys.readouterr().err


def test_instance_ids_bring_labels_and_objects(pipe, tmp_path: Path) -> None:
    numbers = np.full((64, 128), 7, np.uint16)
    numbers[20:40, 40:80] = 26004
    Image.fromarray(numbers).save(tmp_path / "ids.png")
    run("generate", tmp_path / "ids.png", "-o", tmp_path / "s.mp4")
    assert pipe.calls[0]["label_map"].unique().tolist() == [0, 13]
    assert pipe.calls[0]["instance_map"].unique().tolist() == [0, 26004]


def test_own_label_space_is_translated_by_name(pipe, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "classes:\n  - {name: sky, colour: [1, 1, 1]}\n  - {name: car, colour: [2, 2, 2]}\n"
    )
    pixels = np.zeros((64, 128), np.uint8)
    pixels[32:] = 1
    Image.fromarray(pixels).save(tmp_path / "own.png")
    run("generate", tmp_path / "own.png", "-o", tmp_path / "s.mp4",
        "--label-space", tmp_path / "own.yaml")  # fmt: skip
    assert pipe.calls[0]["label_map"].unique().tolist() == [10, 13]


def test_warnings_go_to_standard_error(pipe, tmp_path: Path, capsys) -> None:
    Image.fromarray(np.full((64, 128), 8, np.uint8)).save(tmp_path / "flat.png")
    run("generate", tmp_path / "flat.png", "-o", tmp_path / "s.mp4", "--encoding", "train")
    captured = capsys.readouterr()
    assert captured.err == "warning: only vegetation in it: is this the right --label-space?\n"
    assert "warning:" not in captured.out


def test_no_bundled_model(pipe, labels: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("seg2vid.models.weights.list_models", list)
    assert cli.main(["generate", labels, "-o", str(tmp_path / "s.mp4")]) == 2
    assert "got none; name one with --model PATH" in capsys.readouterr().err


def test_interrupted_generation_leaves_nothing(
    pipe, labels: str, tmp_path: Path, monkeypatch
) -> None:
    one_pass = pipe.stream

    def interrupted(label_map: Tensor, **given: object) -> Iterator[GeneratedVideo]:
        yield from one_pass(label_map, **{**given, "num_frames": 5})
        raise KeyboardInterrupt

    monkeypatch.setattr(pipe, "stream", interrupted)
    for name in ("s.mp4", "s.gif", "frames"):
        words = ["generate", labels, "-o", str(tmp_path / name), "--save", "flow,labels"]
        assert cli.main(words) == 130
    assert written(tmp_path) == set()


def test_labels_check(labels: str, capsys) -> None:
    run("labels", "check", labels)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{labels}: palette") and "128x64" in lines[0]
    assert any(line.split() == ["car", "2.44%"] for line in lines)
    assert lines[-1] == "nothing to repair: every command reads it as it is"


def test_check_names_the_command_that_repairs(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    raw = np.full((64, 128), 11, np.uint8)
    raw[32:] = 7
    Image.fromarray(raw).save("raw.png")
    run("labels", "check", "raw.png")
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("to repair it: seg2vid ")
    run(*command.split())
    assert "wrote raw_train_ids.png" in capsys.readouterr().out
    run("labels", "check", "raw_train_ids.png")
    assert "to repair it" not in capsys.readouterr().out


def test_labels_convert_fits_and_colours(labels: str, tmp_path: Path, capsys) -> None:
    run("labels", "convert", labels, "-o", tmp_path / "a.png", "--size", "64x64")
    assert "cropped to 64x64" in capsys.readouterr().out
    assert read_picture(tmp_path / "a.png").pixels.shape == (64, 64)
    run("labels", "convert", labels, "-o", tmp_path / "b.png", "--to", "colour")
    found = read_image(tmp_path / "b.png")
    assert found.shape == (64, 128, 3) and tuple(found[63, 0]) == (128, 64, 128)
    assert read_picture(tmp_path / "b.png").mode == "RGB"


def test_convert_passes_warnings_on(tmp_path: Path, capsys) -> None:
    Image.fromarray(np.full((64, 128), 8, np.uint8)).save(tmp_path / "flat.png")
    run("labels", "convert", tmp_path / "flat.png", "-o", tmp_path / "a.png")
    assert "warning: every value exists" in capsys.readouterr().err


def test_restricted_weights_can_be_refused(
    pipe, labels, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    asked = []
    monkeypatch.setattr(Seg2VidPipeline, "from_pretrained", lambda name: asked.append(name) or pipe)
    bound = ModelSummary("bound", "A fake", 0.1, "for non-commercial research")
    free = ModelSummary("free", "A fake", 0.1, "Apache-2.0")
    monkeypatch.setattr("seg2vid.models.weights.list_models", lambda: [bound, free])
    monkeypatch.setenv(NO_RESTRICTED, "0")
    run("generate", labels, "-o", tmp_path / "a.mp4", "--frames", 2)
    run("generate", labels, "-o", tmp_path / "b.mp4", "--frames", 2, "--no-restricted")
    assert asked == ["bound", "free"] and os.environ[NO_RESTRICTED] == "1"
    monkeypatch.undo()
    monkeypatch.setenv(NO_RESTRICTED, "0")
    words = ["generate", labels, "-o", tmp_path / "c.mp4", "--model", "street", "--no-restricted"]
    assert cli.main([str(word) for word in words]) == 2
    assert "Expected weights free for any use; got street: non-comm" in capsys.readouterr().err
    assert not (tmp_path / "c.mp4").exists()


def test_models_are_listed(monkeypatch, capsys) -> None:
    models = [ModelSummary("street", "Streets by day", 12.34, "Apache-2.0")]
    monkeypatch.setattr("seg2vid.cli.models.list_models", lambda: models)
    run("models")
    first, terms, segmenter, its_terms = capsys.readouterr().out.splitlines()
    assert segmenter.startswith("segmenter ") and "non-commercial" in its_terms
    assert first == f"{'street':<20}   12.3 MB  Streets by day" and terms.strip() == "Apache-2.0"
    monkeypatch.setattr("seg2vid.cli.models.list_models", list)
    run("models")
    assert "--model PATH" in capsys.readouterr().out


def test_toycity_passes_its_options_on(tmp_path: Path, monkeypatch, capsys) -> None:
    given = {}
    monkeypatch.setattr(
        "seg2vid.data.toycity.write_dataset",
        lambda directory, **options: given.update(options, directory=directory),
    )
    size = ("--clips", 2, "--size", "64x32", "--frames", 3)
    run("toycity", "-o", tmp_path / "toy", *size, "--seed", 5)
    config = given["config"]
    assert (config.width, config.height, config.num_frames) == (64, 32, 2)
    assert (given["clips"], given["seed"], given["directory"]) == (2, 5, tmp_path / "toy")
    assert f"wrote 2 clips to {tmp_path / 'toy'}" in capsys.readouterr().out


# Help


def test_help_lists_every_verb(capsys) -> None:
    for words in ([], ["--help"], ["help"], ["-h"]):
        assert cli.main(words) == 0
        text = capsys.readouterr().out
        assert all(f"seg2vid {name} " in text for name in cli.VERBS)
        assert max(map(len, text.splitlines())) <= 120


def test_help_of_a_group_and_version(capsys) -> None:
    run("labels", "--help")
    assert capsys.readouterr().out.count("seg2vid labels ") == 3
    run("--version")
    assert capsys.readouterr().out.startswith("seg2vid 0.")


@pytest.mark.parametrize("name", cli.VERBS)
def test_help_of_a_verb_explains_every_argument(name: str, capsys) -> None:
    run(*name.split(), "--help")
    text = capsys.readouterr().out
    options, _ = cli.VERBS[name]
    assert f"usage: seg2vid {name} " in text and inspect.getdoc(options)[:40] in text
    explained = arguments.field_helps(options)
    own = [field.name for field in fields(options) if "fields_of" not in field.metadata]
    assert set(explained) == set(own) and all(explained.values())
    folded = "".join(text.split())
    assert all("".join(explained[name].split())[:40] in folded for name in own)


def test_fields_of_configurations_are_explained(capsys) -> None:
    run("train", "motion", "--help")
    text = capsys.readouterr().out
    for kind in (MotionTrainingConfig, RunConfig):
        assert f"fields of {kind.__name__}:" in text
        assert all(f"--{field.name.replace('_', '-')} " in text for field in fields(kind))
    run("prepare", "--help")
    text = capsys.readouterr().out
    assert "--keep-flow [true|false]" in text and "--height" not in text


def test_the_package_is_a_program(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["seg2vid", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("seg2vid", run_name="__main__")
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("seg2vid 0.")


def test_generation_imports_only_what_it_needs() -> None:
    """Each of these takes a tenth of a second to more than one."""
    heavy = ("torch._dynamo", "sympy", "huggingface_hub", "seg2vid.data.clips", "seg2vid.transfer")
    code = (
        "import sys, seg2vid.cli.main; from seg2vid.cli import generate;"
        f"sys.exit(' '.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_starts_at_once_without_heavy_imports() -> None:
    code = (
        "import sys; from seg2vid.cli.main import main; main(['--help']);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'av', 'PIL', 'yaml')))"
    )
    times = []
    for _ in range(3):
        # Processor time: on a busy machine the clock says nothing of the program.
        start = sum(os.times()[2:4])
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        times.append(sum(os.times()[2:4]) - start)
    assert min(times) < 0.3


@dataclass(frozen=True, kw_only=True)
class Loudness:
    """How loud."""

    volume: float = 1.5
    """From 0 to 11."""
    is_loud: bool = True
    hidden: int = 0


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """Repeat a word."""

    word: str = field(metadata=arguments.POSITIONAL)
    """What to say, 100 % of it."""
    times: int = 1
    """How often."""
    is_slow: bool = False
    """With pauses."""
    tone: Literal["low", "high"] = "low"
    """Of voice."""
    output: Path
    voice: dict[str, Any] = field(metadata={"is_dotted": True})
    loudness: dict[str, Any] = field(metadata={"fields_of": Loudness, "without": ("hidden",)})


def test_a_dataclass_says_what_a_verb_takes(capsys) -> None:
    words = ["--is-slow", "hi", "-o", "out", "--times=2", "--is-loud", "false"]
    words += ["--voice.throat.open-mouth", "[1, 2]", "--voice.pitch=a"]
    assert arguments.parse("repeat", Repeat, words) == Repeat(
        word="hi",
        times=2,
        is_slow=True,
        output=Path("out"),
        voice={"throat": {"open_mouth": [1, 2]}, "pitch": "a"},
        loudness={"is_loud": False},
    )
    with pytest.raises(SystemExit):
        arguments.parse("repeat", Repeat, ["--help"])
    text = capsys.readouterr().out
    assert text.startswith("usage: seg2vid repeat WORD -o PATH [options]\n")
    assert "What to say, 100 % of it" in text and "(default: 1)" in text and "low|high" in text
    assert "--voice.FIELD VALUE" in text and "fields of Loudness:" in text
    assert "--volume X" in text and "From 0 to 11 (default: 1.5)" in text
    with pytest.raises(Seg2VidError, match="unrecognized arguments: --hidden 3; see"):
        arguments.parse("repeat", Repeat, ["hi", "-o", "out", "--hidden", "3"])
    with pytest.raises(Seg2VidError, match=r"--voice\.pitch: expected one argument"):
        arguments.parse("repeat", Repeat, ["hi", "-o", "out", "--voice.pitch"])


def test_a_dotted_field_and_those_within_it_come_in_any_order() -> None:
    whole, part = ["--voice.throat", "{width: 1}"], ["--voice.throat.length", "2"]
    value = ["--voice.throat", "1"]
    for words in (whole + part, part + whole):
        options = arguments.parse("repeat", Repeat, ["hi", "-o", "out", *words])
        assert options.voice == {"throat": {"width": 1, "length": 2}}
    for words in (value + part, part + value):
        with pytest.raises(
            Seg2VidError,
            match=r"^Expected fields for --voice\.throat\.length .*; got 1 in their place; leave",
        ):
            arguments.parse("repeat", Repeat, ["hi", "-o", "out", *words])


@dataclass(frozen=True, kw_only=True)
class Open:
    """Open places."""

    data: list[str]
    """A place."""
    more: list[str] | None = None
    """Another one."""


def test_a_list_option_is_given_once_for_each_word(capsys) -> None:
    words = ["--data", "a,b", "--data", "256x128", "--data=-c"]
    assert arguments.parse("open", Open, words) == Open(data=["a,b", "256x128", "-c"])
    words = ["--more", "x y", "--data", "a", "--more", "z"]
    assert arguments.parse("open", Open, words) == Open(data=["a"], more=["x y", "z"])
    with pytest.raises(
        Seg2VidError, match=r"got the following arguments are required: --data; see"
    ):
        arguments.parse("open", Open, ["--more", "x"])
    with pytest.raises(Seg2VidError, match=r"--data: expected one argument"):
        arguments.parse("open", Open, ["--data"])
    with pytest.raises(SystemExit):
        arguments.parse("open", Open, ["--help"])
    text = capsys.readouterr().out
    assert "--data PATH" in text and "--more PATH" in text
