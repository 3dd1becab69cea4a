"""Videos → a dataset: what is written and said, and that a stopped run ends like a whole one."""

import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from seg2vid.cli import main as cli
from seg2vid.data.prepare import plan as prepare_plan
from seg2vid.data.prepare import run as prepare
from seg2vid.data.prepare import work as prepare_work
from seg2vid.data.prepare.plan import Plan
from seg2vid.data.prepare.settings import ClipSettings, PrepareOptions
from seg2vid.data.prepared import PreparedDataset, read_index
from seg2vid.data.recordings.recording import Recording
from seg2vid.labels.space import get_label_space
from seg2vid.media.pictures import write_label_map
from seg2vid.media.video import VideoWriter
from seg2vid.tools.engines import Engine, Processes
from seg2vid.tools.errors import ModelError, Seg2VidError
from seg2vid.tools.processes import SHARED

SPACE = get_label_space("cityscapes")
TINY = ["--size", "64x32", "--frames", "3"]
PLAIN = [*TINY, "--labels", "none", "--flow", "none"]


def texture(seed: int, height: int = 32, width: int = 256) -> np.ndarray:
    """A smooth random picture (height, width, 3) that wraps around."""
    spectrum = np.fft.fft2(np.random.default_rng(seed).normal(size=(height, width, 3)), axes=(0, 1))
    rows, columns = np.fft.fftfreq(height)[:, None, None], np.fft.fftfreq(width)[None, :, None]
    smooth = np.fft.ifft2(spectrum * np.exp(-60 * (rows**2 + columns**2)), axes=(0, 1)).real
    return (128 + 60 * smooth / smooth.std()).clip(20, 235).astype(np.uint8)


def moving(seed: int, count: int, speed: int = 2) -> list[np.ndarray]:
    """Frames of 64x32 whose texture moves to the right by ``speed`` pixels each."""
    whole = texture(seed)
    return [np.roll(whole, speed * time, 1)[:, :64] for time in range(count)]


def write_film(path: Path, seed: int, count: int = 12, **options: int) -> None:
    with VideoWriter(path, frames_per_second=12.0) as writer:
        for frame in moving(seed, count, **options):
            writer.write(frame)


def write_frames(
    folder: Path, count: int, labels: dict[int, int] | None = None, objects: int = 0
) -> Path:
    """Write a folder of frames; ``labels`` says which has a map, its lower half of which class."""
    for name in ("labels", "instances"):
        (folder / name).mkdir(parents=True)
    for time, frame in enumerate(moving(0, count)):
        Image.fromarray(frame).save(folder / f"{time:03d}.png")
        if time in (labels or {}):
            ids = np.full((32, 64), 10)
            ids[16:] = labels[time]
            write_label_map(folder / "labels" / f"{time:03d}.png", ids, SPACE)
        if time < objects:
            numbers = np.full((32, 64), 300 + time, np.uint16)
            Image.fromarray(numbers).save(folder / "instances" / f"{time:03d}.png")
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films of 12 frames and a file that is none."""
    folder = tmp_path_factory.mktemp("films")
    for seed, name in enumerate(("a", "b", "c")):
        write_film(folder / f"{name}.mp4", seed)
    (folder / "damaged.mp4").write_bytes(b"no film" * 100)
    return folder


def run(*words: object) -> SimpleNamespace:
    """Run ``seg2vid prepare`` in this process; return code, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["prepare", *map(str, words)])
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


def content(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(films: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The one dataset that real processes made; the others must not differ from it."""
    output = tmp_path_factory.mktemp("whole") / "dataset"
    result = run(films, "-o", output, *PLAIN, "--workers", 1)
    assert result.code == 0, result.err
    result.output = output
    return result


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let this process do the work; the names of what it worked on are returned."""
    names: list[str] = []
    real = prepare_work.prepare_recording

    def spy(recording: Recording, *given: Any, **named: Any) -> None:
        names.append(recording.name)
        real(recording, *given, **named)

    def work(plan: Plan, recordings: list[Recording], workers: int, _: Engine) -> None:
        prepare_work._STATE.update(plan=plan, teachers=prepare_plan.load_teachers(plan))
        for recording in recordings:
            prepare_work._work_on(plan.recordings.index(recording))

    monkeypatch.setattr(prepare_work, "prepare_recording", spy)
    monkeypatch.setattr(prepare, "work", work)
    return names


# A whole run.


def test_every_film_is_handled_and_the_damaged_one_is_named(whole: SimpleNamespace) -> None:
    index = read_index(whole.output)
    assert index["counts"]["recordings"] == 4 and index["counts"]["unreadable"] == 1
    # 12 frames are 4 windows of 3; one film of three is for validation.
    assert index["counts"]["clips"] == {"train": 8, "val": 4}
    by_name = {recording["name"]: recording for recording in index["recordings"]}
    assert {name: entry["clips"] for name, entry in by_name.items()} == {
        "a": 4, "b": 4, "c": 4, "damaged": 0,
    }  # fmt: skip
    assert "damaged.mp4" in by_name["damaged"]["error"] and by_name["damaged"]["split"] == "train"
    assert [by_name[name]["error"] for name in "abc"] == [None] * 3
    (warning,) = (line for line in whole.err.splitlines() if line.startswith("warning:"))
    assert warning.startswith("warning: damaged: Expected ") and warning.endswith("(0 clips kept)")
    assert "Traceback" not in whole.err and "warning" not in whole.out
    assert whole.out.splitlines()[-1] == (
        f"wrote {whole.output}: 8 train, 4 val clips; look at {whole.output / 'report.html'}"
    )
    assert index["command"].split()[0] == "seg2vid" and index["label_teacher"] == "none"


def test_clips_of_the_dataset_show_the_films(whole: SimpleNamespace) -> None:
    films = np.stack([frame for seed in range(3) for frame in moving(seed, 12)]) / 255
    found = []
    for split, count in (("train", 8), ("val", 4)):
        dataset = PreparedDataset(whole.output, split)
        assert len(dataset) == count
        for number, facts in enumerate(dataset.clips):
            clip = dataset.read(number)
            assert clip.first_frame.shape == (1, 3, 32, 64) and clip.frames_per_second == 12
            shown = torch.cat((clip.first_frame, clip.frames[0])).permute(0, 2, 3, 1).numpy()
            # The codecs blur colours; still every frame looks most like the one it was.
            nearest = [int(abs(films - frame).mean((1, 2, 3)).argmin()) for frame in shown]
            start = 12 * "abc".index(facts["recording"]) + facts["first"]
            assert nearest == [start, start + 1, start + 2]
            found += nearest
            assert (clip.label_map == SPACE.void_id).all()
            assert (clip.label_maps == SPACE.void_id).all()
            assert facts["speed"] is None and clip.motion is None
    assert sorted(found) == list(range(36)), "every frame of every film once"


def test_nothing_but_the_dataset_is_left(whole: SimpleNamespace) -> None:
    names = {"index.json", "report.html", "train-000000.tar", "val-000000.tar"}
    assert {path.name for path in whole.output.iterdir()} == names


def test_report_shows_a_figure_for_every_readable_film(whole: SimpleNamespace) -> None:
    page = (whole.output / "report.html").read_text("utf-8")
    assert page.count("<figure>") == 3 and "http" not in page
    assert "damaged" in page and "Not measured." in page


def test_costs_are_said_before_the_work(films: Path, tmp_path: Path, monkeypatch) -> None:
    options = read_options(films, "-o", tmp_path / "dataset", *PLAIN, "--workers", 3)
    seen: list[str] = []

    def stop(plan: Plan, recordings: Any, workers: int, _: Engine) -> None:
        assert workers == 3 and len(recordings) == 4
        raise Seg2VidError(f"after {len(seen)} lines")

    monkeypatch.setattr(prepare, "work", stop)
    with pytest.raises(Seg2VidError, match="after 3 lines"):
        for line in prepare.run(options):
            seen.append(line)
    assert seen[0] == f"{films}: layout folder, 4 recordings"
    assert re.fullmatch(
        r"to do: 4 of 4 recordings \(0 done before\), 36 frames, at most 12 clips of 3 frames at "
        "64x32", seen[1],
    )  # fmt: skip
    assert re.fullmatch(
        r"label maps by the dataset alone, motion by none; about \d+\.\d minutes with 3 processes "
        r"\(\d\.\d\d s a clip, just measured\) and 0 MB", seen[2],
    )  # fmt: skip


def read_options(*words: object) -> PrepareOptions:
    """Return the options that a command line means."""
    caught: list[PrepareOptions] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "run", lambda options: caught.append(options) or [])
        assert run(*words).code == 0
    return caught[0]


def test_options_reach_the_plan(tmp_path: Path) -> None:
    options = read_options(
        tmp_path, "-o", tmp_path / "out", "--size", "96x64", "--frames", 5, "--fps", 10,
        "--step", 2, "--stride", 3, "--windows", "labelled", "--aspect", "pad", "--keep-flow",
        "true", "--lossless", "true", "--least-visible", "0.4", "--flip", "false", "--smooth",
        "0.1", "--adapt", "0.2", "--min-confidence", "0.3", "--val-share", "0.2", "--test-share",
        "0.3", "--group", "^x", "--shard-size", 7, "--shard-of", "2/8", "--workers", 3,
        "--layout", "folder", "--labels", "none", "--flow", "raft", "--judges", tmp_path,
        "--dry-run",
    )  # fmt: skip
    assert options.clip == ClipSettings(
        height=64, width=96, num_frames=4, frames_per_second=10.0, step=2, stride=3,
        windows="labelled", aspect="pad", least_visible=0.4, keep_flow=True, lossless=True,
        flip=False, smooth=0.1, adapt=0.2, min_confidence=0.3,
    )  # fmt: skip
    assert options == PrepareOptions(
        source=tmp_path, output=tmp_path / "out", size=(96, 64), frames=5, fps=10.0,
        settings=options.settings, layout="folder", labels="none", flow="raft", judges=tmp_path,
        val_share=0.2, test_share=0.3, group="^x", shard_size=7, shard_of="2/8", workers=3,
        dry_run=True,
    )  # fmt: skip
    assert options.share == (2, 8)


# Again, and after a stop.


def test_a_prepared_dataset_is_left_alone(films: Path, whole: SimpleNamespace, in_turn) -> None:
    before = content(whole.output)
    again = run(films, "-o", whole.output, *PLAIN, "--workers", 1)
    assert again.code == 0 and in_turn == []
    assert again.out == f"{whole.output}: already prepared; nothing to do\n"
    assert content(whole.output) == before


def stop_at(name: str, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    """Let the work end in the middle of a recording."""
    real = Recording.frames

    def frames(recording: Recording, *given: int) -> Iterator[np.ndarray]:
        for count, frame in enumerate(real(recording, *given)):
            if recording.name == name and count == 7:
                raise error
            yield frame

    monkeypatch.setattr(Recording, "frames", frames)


def test_a_stopped_run_goes_on_and_ends_like_a_whole_one(
    films: Path, whole: SimpleNamespace, in_turn: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "dataset"
    words = (films, "-o", output, *PLAIN, "--workers", 1)
    with pytest.MonkeyPatch.context() as patch:
        stop_at("b", patch, KeyboardInterrupt)
        stopped = run(*words)
    assert stopped.code == 130 and stopped.err == "seg2vid: stopped; no partial file is left\n"
    assert {path.name for path in (output / "parts").iterdir()} == {"a.tar", "a.jpg", "a.json"}
    assert not (output / "index.json").exists()
    # What SIGKILL would leave besides: in the middle of a part, and of a shard.
    (output / "parts" / ".b.123.partial.tar").write_bytes(b"half")
    (output / ".train-000000.123.partial.tar").write_bytes(b"half")
    in_turn.clear()
    ended = run(*words)
    assert ended.code == 0 and in_turn == ["b", "c", "damaged"], "what is done stays done"
    assert "to do: 3 of 4 recordings (1 done before)" in ended.out
    assert content(output) == content(whole.output)


def test_two_jobs_make_what_one_makes(
    films: Path, whole: SimpleNamespace, in_turn: list[str], tmp_path: Path, monkeypatch
) -> None:
    output = tmp_path / "dataset"
    for share, last in (
        ("1/2", "2 recordings are done; 2 are left to the other jobs"),
        ("2/2", f"wrote {output}: 8 train"),
    ):
        words = ["prepare", str(films), "-o", str(output), *PLAIN]
        monkeypatch.setattr("sys.argv", ["seg2vid", *words, "--shard-of", share, "--workers", "1"])
        in_turn.clear()
        result = run(*words[1:], "--shard-of", share, "--workers", 1)
        assert result.code == 0 and result.out.splitlines()[-1].startswith(last)
        assert in_turn == (["a", "c"] if share == "1/2" else ["b", "damaged"])
    ours, theirs = content(output), content(whole.output)
    assert ours.keys() == theirs.keys()
    assert all(ours[name] == theirs[name] for name in ours if name.endswith(".tar"))
    index, other = read_index(output), read_index(whole.output)
    command = index.pop("command")
    assert command == f"seg2vid prepare {films} -o {output} {' '.join(PLAIN)} --workers 1"
    assert other.pop("command") and index == other


def test_jobs_leave_each_others_files_alone(films: Path, in_turn, tmp_path: Path) -> None:
    parts = tmp_path / "dataset" / "parts"
    parts.mkdir(parents=True)
    young, old = parts / ".b.1.partial.tar", parts / ".d.2.partial.tar"
    mine = parts / ".notes.partial.txt"
    for path in (young, old, mine):
        path.touch()
    for path in (old, mine):
        os.utime(path, (1e9, 1e9))
    assert run(films, "-o", tmp_path / "dataset", *PLAIN, "--shard-of", "1/2").code == 0
    assert young.exists() and not old.exists() and mine.exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--fps", "6"], "clip"),
        (["--flow", "dis"], "flow_teacher"),
        (["--val-share", "0.4"], "split_shares"),
        (["--group", "a", "--shard-size", "9"], "group, shard_megabytes"),
    ],
)
@pytest.mark.parametrize("state", ["begun", "finished"])
def test_other_settings_do_not_mix_with_those_of_before(
    films: Path, whole, in_turn, tmp_path: Path, words: list[str], named: str, state: str
) -> None:
    output = tmp_path / "dataset"
    if state == "finished":
        shutil.copytree(whole.output, output)
    else:
        assert run(films, "-o", output, *PLAIN, "--shard-of", "1/2").code == 0
    before = content(output)
    refused = run(films, "-o", output, *PLAIN, *words)
    assert refused.code == 2
    message = f"the settings that the dataset was begun with; got other {named}; use the same"
    assert message in refused.err and content(output) == before


def test_dry_run_writes_nothing(films: Path, in_turn: list[str], tmp_path: Path) -> None:
    result = run(films, "-o", tmp_path / "dataset", *PLAIN, "--dry-run")
    assert result.code == 0 and "minutes" in result.out and len(result.out.splitlines()) == 3
    assert in_turn == [] and list(tmp_path.iterdir()) == []


def test_progress_counts_the_frames_that_are_decoded(
    films: Path, in_turn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = multiprocessing.Value("q", 0)
    monkeypatch.setitem(SHARED, "ticks", ticks)
    assert run(films, "-o", tmp_path / "dataset", *PLAIN).code == 0
    assert ticks.value == 36


def test_splits_keep_groups_together(films: Path, in_turn, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    for old, new in (("a", "p_a"), ("b", "p_b"), ("c", "q_c")):
        shutil.copy(films / f"{old}.mp4", tmp_path / "films" / f"{new}.mp4")
    words = (*PLAIN, "--val-share", "0.34", "--test-share", "0.33", "--group")
    assert run(tmp_path / "films", "-o", tmp_path / "one", *words, "_.$").code == 0
    splits = {r["name"]: r["split"] for r in read_index(tmp_path / "one")["recordings"]}
    assert sorted(splits.values()) == ["test", "train", "val"]
    words = (*PLAIN, "--val-share", "0.5", "--group")
    assert run(tmp_path / "films", "-o", tmp_path / "two", *words, "^[pq]").code == 0
    splits = {r["name"]: r["split"] for r in read_index(tmp_path / "two")["recordings"]}
    assert splits["p_a"] == splits["p_b"] != splits["q_c"]


def test_group_is_what_the_name_or_the_dataset_says(films: Path, tmp_path: Path) -> None:
    options = read_options(films, "-o", tmp_path / "d", *PLAIN, "--group", "^day[0-9]+")
    person = Recording("day12_walk", group="anna")
    other, alone = Recording("night_walk", group="anna"), Recording("night_walk")
    assert [prepare._group(one, options) for one in (person, other, alone)] == [
        "day12", "anna", "night_walk",
    ]  # fmt: skip
    assert prepare._group(person, dataclasses.replace(options, group=None)) == "anna"


def test_every_clip_stands_in_the_split_of_its_recording(whole: SimpleNamespace) -> None:
    index = read_index(whole.output)
    splits = {recording["name"]: recording["split"] for recording in index["recordings"]}
    assert len({clip["key"] for clip in index["clips"]}) == 12
    assert all(clip["split"] == splits[clip["recording"]] for clip in index["clips"])


# Label maps.


class FlatTeacher:
    """Calls everything vegetation."""

    name = "flat"
    space = SPACE

    def probabilities(self, pictures: torch.Tensor) -> torch.Tensor:
        likely = torch.zeros(len(pictures), 19, *pictures.shape[2:])
        likely[:, 8] = 1
        return likely


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_plan, "get_label_teacher", lambda name, _: FlatTeacher())


def label_values(dataset: Path, number: int = 0) -> list[list[int]]:
    """The ids of every frame of a clip, above and below the middle where they are uniform."""
    clip = PreparedDataset(dataset).read(number)
    maps = torch.cat((clip.label_map.unsqueeze(1), clip.label_maps), 1)[0]
    return [sorted({*ids.unique().tolist()}) for ids in maps]


def test_own_label_maps_win_over_the_teachers(in_turn, flat, tmp_path: Path) -> None:
    write_frames(tmp_path / "films" / "x", 6, {0: 0, 2: 1})
    words = (*TINY, "--flow", "none", "--fps", "25", "--val-share", "0")
    assert run(tmp_path / "films", "-o", tmp_path / "d", *words).code == 0
    index = read_index(tmp_path / "d")
    by_first = {clip["first"]: number for number, clip in enumerate(index["clips"])}
    assert label_values(tmp_path / "d", by_first[0]) == [[0, 10], [8], [1, 10]]
    assert label_values(tmp_path / "d", by_first[3]) == [[8]] * 3
    assert index["recordings"][0]["labels"] == {"flat": 4, "the dataset": 2}
    assert index["label_teacher"] == "flat" and index["label_space"]["name"] == SPACE.name
    shares = index["class_shares"]["train"]
    assert shares["vegetation"] == pytest.approx(4 / 6, abs=1e-5)
    assert shares["road"] == shares["sidewalk"] == pytest.approx(1 / 12, abs=1e-5)
    assert shares["sky"] == pytest.approx(2 / 12, abs=1e-5)


def test_flow_carries_own_maps_before_the_teacher_is_asked(in_turn, flat, tmp_path: Path) -> None:
    write_frames(tmp_path / "films" / "x", 3, {0: 0})
    words = (*TINY, "--flow", "dis", "--fps", "25", "--val-share", "0")
    assert run(tmp_path / "films", "-o", tmp_path / "d", *words).code == 0
    first, *others = label_values(tmp_path / "d")
    assert first == [0, 10]
    assert all(set(values) <= {0, 8, 10} and {0, 10} <= set(values) for values in others)
    labels = read_index(tmp_path / "d")["recordings"][0]["labels"]
    assert labels == {
        "a labelled frame of the clip, moved along the flow; flat, where that was hidden": 2,
        "the dataset": 1,
    }


def test_classes_that_the_teacher_does_not_know_come_along_the_flow(
    in_turn, flat, tmp_path: Path
) -> None:
    folder = write_frames(tmp_path / "films" / "x", 3, {0: 0})
    classes = [
        {"name": name, "colour": [n + 1, 0, 0]} for n, name in enumerate(("cat", "dog", "owl"))
    ]
    (folder / "label_space.yaml").write_text(yaml.dump({"name": "pets", "classes": classes}))
    pixels = np.full((32, 64), 2, np.uint8)
    pixels[16:] = 1
    Image.fromarray(pixels).save(folder / "labels" / "000.png")
    words = (*TINY, "--flow", "dis", "--fps", "25")
    result = run(tmp_path / "films", "-o", tmp_path / "d", *words)
    assert result.code == 0, result.err
    assert "label maps are of the space pets, which flat does not know" in result.out
    assert "label maps by the dataset alone" in result.out
    index = read_index(tmp_path / "d")
    assert index["label_teacher"] == "none" and index["label_space"]["name"] == "pets"
    key = "a labelled frame of the clip, moved along the flow"
    assert index["recordings"][0]["labels"] == {key: 2, "the dataset": 1}
    first, *others = label_values(tmp_path / "d")
    assert first == [1, 2] and all({1, 2} <= set(values) <= {1, 2, 3} for values in others)


def test_frames_that_nobody_labels_are_void_and_counted(in_turn, tmp_path: Path) -> None:
    write_frames(tmp_path / "films" / "x", 3, {1: 0})
    # No window can begin before the first labelled frame, so the others follow it.
    words = (*PLAIN, "--fps", "25", "--frames", "2")
    assert run(tmp_path / "films", "-o", tmp_path / "d", *words).code == 0
    assert label_values(tmp_path / "d") == [[0, 10], [SPACE.void_id]]
    labels = read_index(tmp_path / "d")["recordings"][0]["labels"]
    assert labels == {"nobody: all void": 1, "the dataset": 1}


def test_damaged_label_map_ends_its_recording_and_no_other(in_turn, tmp_path: Path) -> None:
    for name in ("x", "y"):
        write_frames(tmp_path / "films" / name, 6, dict.fromkeys(range(6), 0))
    (tmp_path / "films" / "x" / "labels" / "004.png").write_bytes(b"no picture")
    result = run(tmp_path / "films", "-o", tmp_path / "d", *PLAIN, "--fps", "25")
    assert result.code == 0, result.err
    assert re.search(r"warning: x: Expected .*004\.png.* \(1 clips kept\)", result.err)
    recordings = {r["name"]: r for r in read_index(tmp_path / "d")["recordings"]}
    assert (recordings["x"]["clips"], recordings["y"]["clips"]) == (1, 2)
    assert "004.png" in recordings["x"]["error"] and recordings["y"]["error"] is None


def test_what_a_teacher_cannot_do_ends_the_run(in_turn, flat, films: Path, tmp_path: Path) -> None:
    """The flat teacher has no statistics: that is no fault of a film."""
    result = run(films, "-o", tmp_path / "d", *TINY, "--flow", "none", "--adapt", "0.5")
    assert result.code == 2 and "whose batch statistics can follow the clip; got flat" in result.err
    assert not (tmp_path / "d").exists()


def test_instances_are_kept_where_every_frame_has_them(in_turn, tmp_path: Path) -> None:
    write_frames(tmp_path / "films" / "x", 6, dict.fromkeys(range(6), 0), objects=6)
    words = (*PLAIN, "--fps", "25", "--val-share", "0")
    assert run(tmp_path / "films", "-o", tmp_path / "all", *words).code == 0
    dataset = PreparedDataset(tmp_path / "all")
    assert dataset.index["has_instances"]
    for number, facts in enumerate(dataset.clips):
        clip = dataset.read(number)
        assert clip.instance_map.unique().tolist() == [300 + facts["first"]]
        values = clip.instance_maps[0].flatten(1).unique(dim=1).flatten().tolist()
        assert values == [301 + facts["first"], 302 + facts["first"]]
    write_frames(tmp_path / "films" / "y", 6, dict.fromkeys(range(6), 0), objects=4)
    assert run(tmp_path / "films", "-o", tmp_path / "some", *words).code == 0
    dataset = PreparedDataset(tmp_path / "some")
    assert not dataset.index["has_instances"] and len(dataset) == 4
    assert all(dataset.read(number).instance_map is None for number in range(4))


# Motion.


def test_flow_is_kept_on_request_and_measured_anyway(in_turn, films: Path, tmp_path: Path) -> None:
    words = (*TINY, "--labels", "none", "--val-share", "0", "--lossless", "true")
    assert run(films, "-o", tmp_path / "kept", *words, "--keep-flow", "true").code == 0
    assert run(films, "-o", tmp_path / "plain", *words).code == 0
    dataset, plain = PreparedDataset(tmp_path / "kept"), PreparedDataset(tmp_path / "plain")
    clip = dataset.read(0)
    # The texture moves to the right by 2 pixels a frame, 4 to the last one.
    flow = clip.motion.forward_flow[0, :, :, 4:-4, 8:-12]
    wanted = torch.tensor([[2.0, 0], [4, 0]])
    torch.testing.assert_close(flow.mean((2, 3)), wanted, atol=0.3, rtol=0)
    backward = clip.motion.backward_flow[0, :, :, 4:-4, 12:-8]
    torch.testing.assert_close(backward.mean((2, 3)), -wanted, atol=0.3, rtol=0)
    assert plain.read(0).motion is None
    for one, other in zip(dataset.clips, plain.clips, strict=True):
        assert one["speed"] == other["speed"] == pytest.approx(2, abs=0.4)
        assert one["visible"] == other["visible"] and 0.7 < one["visible"] < 1
    motion = plain.index["motion"]
    assert motion["measured"] and sum(motion["histogram"]) == 12
    assert motion["pixels_per_frame_quantiles"]["0.50"] == pytest.approx(2, abs=0.4)


def test_clips_that_show_too_little_of_their_start_are_dropped(
    in_turn, films: Path, tmp_path: Path
) -> None:
    words = (*TINY, "--labels", "none", "--val-share", "0")
    assert run(films, "-o", tmp_path / "all", *words, "--least-visible", "0").code == 0
    shown = {clip["key"]: clip["visible"] for clip in read_index(tmp_path / "all")["clips"]}
    least = sorted(shown.values())[5]
    assert run(films, "-o", tmp_path / "some", *words, "--least-visible", least).code == 0
    index = read_index(tmp_path / "some")
    assert {c["key"] for c in index["clips"]} == {key for key in shown if shown[key] >= least}
    dropped = sum(visible < least for visible in shown.values())
    assert 0 < dropped == index["counts"]["dropped"]["unrelated"]
    labelled = sum(sum(r["labels"].values()) for r in index["recordings"])
    assert labelled == 3 * len(index["clips"]), "what is dropped is not counted as labelled"
    refused = run(films, "-o", tmp_path / "none", *words, "--least-visible", "1.1")
    assert refused.code == 2 and "at least one clip; got none (a: unrelated 4; b:" in refused.err


# Mistakes.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--frames 1", "--frames of at least 2; got 1; leave it out"),
        ("--fps 0", "--fps above 0; got 0.0; see"),
        ("--step 0", "--step of at least 1; got 0; leave it out"),
        ("--stride 0", "--stride of at least 1; got 0; leave it out"),
        ("--shard-size 0", "--shard-size of at least 1; got 0; leave it out"),
        ("--workers 0", "--workers from 1 to 512; got 0; choose"),
        ("--workers 20000", "--workers from 1 to 512; got 20000; choose"),
        ("--val-share 0.5 --test-share 0.5", "below 1 together; got 0.5 and 0.5; see"),
        (
            "--val-share=-0.1",
            "--test-share of at least 0 .*; got -0.1 and 0.0; see",
        ),
        ("--shard-of 3/2", "--shard-of i/N with i from 1 to N; got 3/2; see"),
        ("--shard-of 0/2", "--shard-of i/N with i from 1 to N; got 0/2; see"),
        ("--shard-of 2", "Expected --shard-of i/N with i from 1 to N; got 2; see"),
        ("--shard-of a/2", "got a/2; see"),
        ("--shard-of 1/", "got 1/; see"),
        ("--shard-of -1/2", "--shard-of"),
        ("--size 64x48", "--size of multiples of 32; got 64x48; see"),
        ("--size 48x64", "--size of multiples of 32; got 48x64; see"),
        ("--size 0x32", "--size of multiples of 32; got 0x32; see"),
        ("--size 32x0", "--size of multiples of 32; got 32x0; see"),
        ("--group [", r"a regular expression for --group; got '\[': .*; for example"),
        ("--windows none", "one of sliding, labelled for --windows; got 'none'; choose"),
        ("--sizes 3", "got unrecognized arguments: --sizes 3; see"),
        ("--flow fast", "one of dis, raft, none for --flow; got 'fast'; choose"),
        ("--layout tree", "one of auto, .* for --layout; got 'tree'; choose"),
        ("--labels dragon", "a label teacher: segmenter, .*; got 'dragon'"),
        ("--layout kitti", "Expected .*; see the tree"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    films: Path, tmp_path: Path, words: str, message: str
) -> None:
    result = run(films, "-o", tmp_path / "d", *PLAIN, *words.split())
    (line,) = result.err.splitlines()
    assert result.code == 2 and line.startswith("seg2vid: Expected ")
    assert re.search(message, line), line
    assert line.count("; ") >= 2 and list(tmp_path.iterdir()) == []


def test_sources_that_are_none_are_refused(tmp_path: Path) -> None:
    result = run(tmp_path / "none", "-o", tmp_path / "d", *PLAIN)
    assert result.code == 2 and "got no " in result.err
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty", "-o", tmp_path / "d", *PLAIN)
    assert result.code == 2 and "Expected videos (.mp4" in result.err
    assert not (tmp_path / "d").exists()


def test_a_dataset_has_one_label_space(tmp_path: Path) -> None:
    for name, values in (("x", (0, 1)), ("y", (10, 8))):
        folder = write_frames(tmp_path / "films" / name, 3)
        for time in range(3):
            pixels = np.full((32, 64), values[0], np.uint8)
            pixels[16:] = values[1]
            Image.fromarray(pixels).save(folder / "labels" / f"{time:03d}.png")
    result = run(tmp_path / "films", "-o", tmp_path / "d", *PLAIN)
    assert result.code == 2
    assert "recordings of one label space; got cityscapes, object; prepare them one" in result.err


def test_an_output_that_is_a_file_is_refused(films: Path, in_turn, tmp_path: Path) -> None:
    (tmp_path / "d").write_text("mine")
    result = run(films, "-o", tmp_path / "d", *PLAIN)
    assert result.code == 2 and f"a folder that can be written at {tmp_path / 'd'}" in result.err
    assert (tmp_path / "d").read_text() == "mine"


def test_nothing_but_damaged_films_is_an_error(in_turn, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.mp4").write_bytes(b"no film")
    result = run(tmp_path / "films", "-o", tmp_path / "d", *PLAIN)
    assert result.code == 2 and "at least one clip; got none (a: Expected" in result.err
    assert not (tmp_path / "d" / "index.json").exists()


# Processes.


class FakePool(Executor):
    """Works in this process, two at a time, and dies of recordings named ``deadly``."""

    deadly: frozenset[str] = frozenset()
    begins = True
    starts: list[list[str]] = []

    def __init__(self, workers: int, context: Any, *, initializer: Any, initargs: Any) -> None:
        shared, _, _, (self.plan,) = initargs
        self.begun = shared["begun"]
        self.queue: list[int] = []
        type(self).starts.append([])

    def submit(self, do: Any, function: Any, place: int, number: int) -> Future[None]:
        future: Future[None] = Future()
        name = self.plan.recordings[number].name
        self.starts[-1].append(name)
        dead = any(n in self.deadly for n in self.starts[-1]) or not self.begins
        # A dead recording takes its neighbour and all that come later with it.
        self.begun[place] = self.begins and (not dead or len(self.queue) < 2)
        self.queue += [number] if dead else []
        if dead:
            future.set_exception(BrokenProcessPool("died"))
        else:
            (self.plan.parts / f"{name}.json").write_text("{}")
            future.set_result(None)
        return future

    def shutdown(self, *, cancel_futures: bool) -> None:
        assert cancel_futures


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> type[FakePool]:
    class Pool(FakePool):
        starts: list[list[str]] = []

    monkeypatch.setattr("seg2vid.tools.processes.ProcessPoolExecutor", Pool)
    return Pool


def make_plan(films: Path, output: Path, recordings: list[Recording]) -> Plan:
    options = read_options(films, "-o", output, *PLAIN)
    rated = tuple(dataclasses.replace(one, frames_per_second=12.0) for one in recordings)
    frames = {one.name: 12 for one in recordings}
    plan = Plan(options, "folder", rated, frames, SPACE, "none", "none", ())
    plan.parts.mkdir(parents=True)
    return plan


def test_a_crash_is_tried_alone_and_the_others_go_on(pool, films: Path, tmp_path: Path) -> None:
    recordings = [Recording(name, video=films / "a.mp4") for name in "abcdef"]
    plan = make_plan(films, tmp_path / "d", recordings)
    pool.deadly = frozenset("b")
    prepare_work.work(plan, plan.recordings, 2, Processes())
    # c was being worked on too; d, e and f were not, so they need no process of their own.
    assert pool.starts == [list("abcdef"), ["b"], ["c"], list("def")]
    part = json.loads((plan.parts / "b.json").read_text())
    assert part["error"].startswith("Expected a recording that can be decoded at ")
    assert "a.mp4; got a crash; decode it with another tool" in part["error"]
    assert part["clips"] == [] and all(map(plan.is_done, plan.recordings))


def test_processes_that_do_not_start_end_the_run(pool, films: Path, tmp_path: Path) -> None:
    pool.begins = False
    plan = make_plan(films, tmp_path / "d", [Recording("a", video=films / "a.mp4")])
    with pytest.raises(Seg2VidError, match="processes that can start; got one that ended before"):
        prepare_work.work(plan, plan.recordings, 1, Processes())
    assert not plan.is_done(plan.recordings[0])


def test_errors_of_a_process_reach_the_user(pool, films: Path, tmp_path: Path) -> None:
    def submit(self: FakePool, *_: Any) -> Future[None]:
        future: Future[None] = Future()
        future.set_exception(ModelError("no such weights"))
        return future

    pool.submit = submit
    plan = make_plan(films, tmp_path / "d", [Recording("a", video=films / "a.mp4")])
    with pytest.raises(ModelError, match="no such weights"):
        prepare_work.work(plan, plan.recordings, 1, Processes())
