"""The verbs about label maps, and what their page in the documentation says."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from seg2vid.cli import main as cli
from seg2vid.labels.space import get_label_space, list_label_spaces, load_label_space
from seg2vid.media.label_maps import read_label_map
from tests.cli.test_main import FakePipeline
from tests.cli.test_main import pipe as pipe
from tests.test_readme import REPOSITORY, blocks_of, commands_of

CITYSCAPES = get_label_space("cityscapes")
PAGE = (REPOSITORY / "docs" / "label_maps.md").read_text("utf-8")
DRAWING, SPACE = (REPOSITORY / "examples" / f"drawing.{ending}" for ending in ("png", "yaml"))


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_spaces_are_listed_with_their_colours(capsys) -> None:
    assert run("labels", "spaces") == 0
    lines = capsys.readouterr().out.splitlines()
    for name in list_label_spaces():
        assert any(line.startswith(f"{name}: ") for line in lines)
    assert run("labels", "spaces", "--label-space", "cityscapes") == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert title == "cityscapes: 19 classes and void" and len(rows) == 20
    assert rows[13].split() == ["13", "car", "#00008e", "0", "0", "142", "moves", "by", "itself"]
    assert rows[19].split() == ["255", "void", "#000000", "0", "0", "0"]


def test_a_drawing_is_refused_with_a_label_space_to_begin_with(tmp_path: Path, capsys) -> None:
    assert run("labels", "check", DRAWING) == 2
    output, error = capsys.readouterr()
    (line,) = error.splitlines()
    assert "a drawing with 5 flat colours of no class" in line and "--palette nearest" in line
    (tmp_path / "own.yaml").write_text(output)
    space = load_label_space(tmp_path / "own.yaml")
    assert space.void_id == 6 and {label.same_as for label in space.classes} <= {*CITYSCAPES.names}
    words = (DRAWING, "-o", tmp_path / "own.png", "--label-space", tmp_path / "own.yaml")
    assert run("labels", "convert", *words) == 0, "it can be used as it is"


def test_generate_refuses_a_drawing_but_for_the_ways_on(
    pipe: FakePipeline, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "drawn.gif"
    assert run("generate", DRAWING, "-o", output) == 2
    assert "a drawing with 5 flat colours" in capsys.readouterr().err and not pipe.calls
    assert run("generate", DRAWING, "-o", output, "--palette", "nearest") == 0
    assert "(135, 206, 235) 32% (nearest: sky)" in capsys.readouterr().out
    assert run("generate", DRAWING, "-o", output, "--overwrite", "--label-space", SPACE) == 0
    guessed, named = (set(np.unique(call["label_map"]).tolist()) for call in pipe.calls)
    assert guessed == {0, 6, 8, 10, 13} and named == {0, 2, 8, 9, 10, 13}
    assert all(call["first_frame"] is None for call in pipe.calls)


def test_generate_says_what_other_classes_became(
    pipe: FakePipeline, tmp_path: Path, capsys
) -> None:
    ade = get_label_space("ade20k")
    ids = np.full((64, 128), ade.names.index("road"))
    ids[:20], ids[20:30, :40] = ade.names.index("sky"), ade.names.index("sofa")
    Image.fromarray((ids + 1).astype(np.uint8)).save(tmp_path / "ids.png")
    words = ("--label-space", "ade20k", "--encoding", "raw")
    assert run("generate", tmp_path / "ids.png", "-o", tmp_path / "a.gif", *words) == 0
    assert "warning: sofa: no such class in cityscapes, read as void" in capsys.readouterr().err


def test_a_mask_of_one_object_can_be_animated(pipe: FakePipeline, tmp_path: Path) -> None:
    mask = np.zeros((64, 128), np.uint8)
    mask[20:40, 30:60] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    noise = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    words = ("--labels", tmp_path / "mask.png", "--label-space", "object")
    assert run("animate", tmp_path / "photo.png", "-o", tmp_path / "a.gif", *words) == 0
    assert set(np.unique(pipe.calls[0]["label_map"]).tolist()) == {13, 19}


def test_photo_is_taken_at_its_word(pipe: FakePipeline, monkeypatch, tmp_path: Path) -> None:
    from seg2vid.data.teachers import photos

    monkeypatch.setattr(
        photos, "segment_photo", lambda pixels, space, _: np.zeros(pixels.shape[:2], int)
    )
    assert run("generate", DRAWING, "-o", tmp_path / "a.gif", "--photo") == 0
    assert pipe.calls[0]["first_frame"] is not None


# docs/label_maps.md


def test_the_page_shows_the_class_colours() -> None:
    rows = re.findall(r"\| ([a-z ]+) \| `(#\w{6})` \| (\d+), (\d+), (\d+)", PAGE)
    found = {
        name: (colour, int(red), int(green), int(blue)) for name, colour, red, green, blue in rows
    }
    for label in CITYSCAPES.channels:
        assert found[label.name] == (f"#{bytes(label.colour).hex()}", *label.colour)
    assert len(found) == 20


def test_the_page_quotes_its_example() -> None:
    (quoted,) = (block.text for block in blocks_of(PAGE) if block.language == "yaml")
    assert SPACE.read_text("utf-8").endswith(quoted)


def test_the_page_names_every_field_and_space() -> None:
    for name in ("same_as", "raw_ids", "other_colours", "foreground", "file_value"):
        assert f"`{name}`" in PAGE
    for name in list_label_spaces():
        assert f"| `{name}` | {get_label_space(name).void_id}" in PAGE


def test_commands_of_the_page_run(pipe: FakePipeline, tmp_path: Path, monkeypatch) -> None:
    """From the drawing and the file of its classes to a video, in the order of the page."""
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)
    commands = [
        words
        for block in blocks_of(PAGE)
        if block.language == "bash"
        for words in commands_of(block)
    ]
    assert {"check", "convert", "spaces"} <= {words[2] for words in commands}
    for words in commands:
        assert run(*words[1:]) == 0, words
    first, second = (call["label_map"] for call in pipe.calls)
    assert set(np.unique(first).tolist()) == {0, 2, 8, 9, 10, 13} and (first == second).all()
    expected = read_label_map(DRAWING, space=get_label_space(SPACE)).ids
    assert (read_label_map(Path("ids.png"), space=get_label_space(SPACE)).ids == expected).all()
