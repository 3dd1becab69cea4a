"""Annotated datasets: each layout read back, resumption, shares, crashes, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seg2vid.data.annotated import clip as annotated_clip
from seg2vid.data.annotated import run as annotated
from seg2vid.data.annotated import work as annotated_work
from seg2vid.data.annotated.layouts import LAYOUTS, AnnotatedClip, outline
from seg2vid.data.annotated.plan import Job, make_job
from seg2vid.data.annotated.settings import DatasetOptions
from seg2vid.data.recordings import cityscapes, folder
from seg2vid.data.recordings.recording import read_clip
from seg2vid.labels.space import get_label_space
from seg2vid.media.label_maps import read_instance_map
from seg2vid.media.pictures import write_kitti_flow, write_label_map
from seg2vid.models.control import Control
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.engines import Engine, Processes
from seg2vid.tools.errors import LabelMapError, MediaError, Seg2VidError
from seg2vid.tools.files import working_alone
from tests.tiny import CONFIG, HEIGHT, WIDTH, street_map

SPACE = get_label_space("cityscapes")
FRAMES = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("model")
    Seg2VidPipeline.from_config(CONFIG).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three label maps; the last one has no cars."""
    place = tmp_path_factory.mktemp("maps")
    for name, car in (("a", 13), ("b", 13), ("c", 0)):
        ids = street_map()[0].numpy()
        write_label_map(place / f"{name}.png", np.where(ids == 13, car, ids), SPACE)
    return place


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in this process, unless a test is about others."""
    if "slow" in request.keywords:
        return

    def work(job: Job, left: list[int], workers: int, engine: Engine) -> None:
        pipe = Seg2VidPipeline.from_pretrained(job.model)
        for number in left:
            annotated_clip.make_part(job, pipe, number)

    monkeypatch.setattr(annotated, "work", work)


def asked(maps: Path, model: Path, output: Path, layout: Any, **others: Any) -> DatasetOptions:
    options: dict[str, Any] = {"count": 3, "frames": FRAMES, "model": str(model)} | others
    return DatasetOptions(labels=maps, output=output, layout=layout, workers=2, **options)


def made(*arguments: Any, **others: Any) -> tuple[dict[str, Any], list[str]]:
    options = asked(*arguments, **others)
    lines = list(annotated.run(options))
    path = options.output / "manifest.json"
    return json.loads(path.read_text()) if path.is_file() else {}, lines


def content(place: Path) -> dict[str, bytes]:
    files = (path for path in place.rglob("*") if path.is_file())
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


def test_cityscapes_is_read_back_by_its_adapter(maps: Path, model: Path, tmp_path: Path) -> None:
    manifest, lines = made(maps, model, tmp_path / "d", "cityscapes", val_share=0.4)
    assert "3 of 3 clips (0 done before)" in lines[0] and " s a clip, just measured" in lines[1]
    recordings = cityscapes.list_recordings(tmp_path / "d")
    assert [one.split for one in recordings] == [clip["split"] for clip in manifest["clips"]]
    assert {one.split for one in recordings} == {"train", "val"}
    job, pipe = make_job(asked(maps, model, tmp_path / "e", "cityscapes", val_share=0.4))
    clip, _ = annotated_clip.make_clip(job, pipe, 0)
    own = read_clip(recordings[0], 0, num_frames=FRAMES - 1, height=HEIGHT, width=WIDTH)
    assert own.label_maps is not None and own.instance_maps is not None
    assert np.array_equal(own.label_map[0], clip.label_maps[0])
    assert np.array_equal(own.label_maps[0], clip.label_maps[1:])
    assert np.array_equal((own.first_frame[0] * 255).round().permute(1, 2, 0), clip.pictures[0])
    assert own.instance_map is not None
    assert own.instance_map.unique().tolist() == [0, 26000, 26001]
    assert np.array_equal(own.instance_maps[0] > 0, clip.instance_maps[1:] > 0)
    assert own.frames_per_second == 17


def test_void_is_unlabelled_in_cityscapes(tmp_path: Path) -> None:
    pixels, visible = np.zeros((1, 8, 8, 3), np.uint8), np.ones((8, 8), bool)
    maps = np.full((1, 8, 8), SPACE.void_id)
    clip = AnnotatedClip(0, "val", SPACE, pixels, maps, maps, np.zeros((2, 8, 8)), visible)
    LAYOUTS["cityscapes"].write(tmp_path, clip)
    for kind in ("labelIds", "instanceIds"):
        (path,) = tmp_path.rglob(f"*_{kind}.png")
        assert (read_instance_map(path) == 0).all()


def test_davis_masks_follow_the_frames(maps: Path, model: Path, tmp_path: Path) -> None:
    made(maps, model, tmp_path / "d", "davis")
    recordings = folder.list_recordings(tmp_path / "d" / "JPEGImages")
    assert [len(one.pictures) for one in recordings] == [FRAMES] * 3
    for clip, numbers in (("000000", {0, 1, 2}), ("000002", {0})):
        files = sorted((tmp_path / "d" / "Annotations" / "480p" / clip).iterdir())
        assert [file.stem for file in files] == [f"{time:05d}" for time in range(FRAMES)]
        assert set(np.unique(read_instance_map(files[0])).tolist()) == numbers
        with Image.open(files[0]) as image:
            assert image.mode == "P"
    lists = [tmp_path / "d" / "ImageSets" / "2017" / f"{name}.txt" for name in ("train", "val")]
    named = sorted("".join(path.read_text() for path in lists).split())
    assert named == ["000000", "000001", "000002"]


def counts_of(text: str) -> list[int]:
    """Read COCO's compressed run lengths, as its maskApi.c does."""
    counts: list[int] = []
    place = 0
    while place < len(text):
        value, shift, is_more = 0, 0, True
        while is_more:
            bits = ord(text[place]) - 48
            value |= (bits & 31) << shift
            is_more, shift, place = bool(bits & 32), shift + 5, place + 1
            if not is_more and bits & 16:
                value |= -1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts


def mask_of(segmentation: dict[str, Any]) -> np.ndarray:
    counts = counts_of(segmentation["counts"])
    values = np.repeat(np.arange(len(counts)) % 2, counts)
    return values.reshape(segmentation["size"], order="F") == 1


@pytest.mark.parametrize("seed", range(3))
def test_outlines_are_masks_again(seed: int) -> None:
    mask = np.random.default_rng(seed).random((40, 70)) > (0.3, 0.5, 0.999)[seed]
    mask[0, 0] = seed == 1
    mask[20:39, 7] = True
    told = outline(mask)
    assert np.array_equal(mask_of(told["segmentation"]), mask)
    x, y, width, height = told["bbox"]
    assert told["area"] == mask[y : y + height, x : x + width].sum() == mask.sum()


def test_run_lengths_are_written_as_coco_does() -> None:
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True
    # 4 zeros, a one, 4 zeros: the numbers themselves, each 48 and itself.
    assert outline(mask)["segmentation"] == {"size": [3, 3], "counts": "414"}


def test_coco_lists_every_object_of_every_frame(maps: Path, model: Path, tmp_path: Path) -> None:
    made(maps, model, tmp_path / "d", "coco", val_share=0.0)
    told = json.loads((tmp_path / "d" / "annotations" / "instances_train.json").read_text())
    assert [image["id"] for image in told["images"]] == list(range(1, 3 * FRAMES + 1))
    assert all((tmp_path / "d" / "images" / one["file_name"]).is_file() for one in told["images"])
    first = [one for one in told["annotations"] if one["image_id"] == 1]
    cars = street_map()[0].numpy() == 13
    assert np.array_equal(sum(mask_of(one["segmentation"]) for one in first) == 1, cars)
    assert sorted(one["bbox"] for one in first) == [[16, 32, 20, 16], [60, 34, 12, 10]]
    names = {one["id"]: one["name"] for one in told["categories"]}
    assert {names[one["category_id"]] for one in first} == {"car"}
    assert [one["id"] for one in told["annotations"]] == list(
        range(1, len(told["annotations"]) + 1)
    )
    others = json.loads((tmp_path / "d" / "annotations" / "instances_val.json").read_text())
    assert others["images"] == others["annotations"] == []


def test_kitti_flow_is_what_opencv_reads(maps: Path, model: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    made(maps, model, tmp_path / "d", "kitti-flow", frames=None)
    place = tmp_path / "d" / "training"
    assert len(list((place / "image_2").iterdir())) == 6
    options = asked(maps, model, tmp_path / "e", "kitti-flow", frames=None)
    job, pipe = make_job(options)
    clip, _ = annotated_clip.make_clip(job, pipe, 1)
    for name, is_valid in (("occ", np.ones_like(clip.is_visible)), ("noc", clip.is_visible)):
        path = place / f"flow_{name}" / "000001_10.png"
        valid, v, u = np.moveaxis(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), -1, 0)
        assert np.array_equal(valid == 1, is_valid)
        for values, flow in ((u, clip.flow[0]), (v, clip.flow[1])):
            error = np.abs((values.astype(float) - 32768) / 64 - flow)[is_valid]
            assert error.max() <= 1 / 128 + 1e-6


def test_flow_that_kitti_cannot_hold_is_not_valid(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    flow = np.array([[[511.0, 512.0, np.nan]], [[-512.0, 0.0, 0.0]]])
    write_kitti_flow(tmp_path / "a.png", flow, np.ones((1, 3), bool))
    read = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[0]
    assert read.tolist() == [[1, 0, 65472], [0, 0, 0], [0, 0, 0]]


def test_a_run_that_stopped_goes_on_to_the_same_bytes(
    maps: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(maps, model, tmp_path / "d", "coco")
    whole, make = content(tmp_path / "d"), annotated_clip.make_part

    def dying(job: Job, pipe: Seg2VidPipeline, number: int) -> None:
        if number == 1:
            # Files moved, but the clip not told of: as kill -9 may leave it.
            make(job, pipe, number)
            job.part(number).unlink()
            job.part(number).with_suffix("").mkdir()
            raise KeyboardInterrupt
        make(job, pipe, number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(annotated_clip, "make_part", dying)
        made(maps, model, tmp_path / "e", "coco")
    with pytest.raises(MediaError, match="got other seed"):
        made(maps, model, tmp_path / "e", "coco", seed=1)
    _, lines = made(maps, model, tmp_path / "e", "coco")
    assert "2 of 3 clips (1 done before)" in lines[0]
    assert content(tmp_path / "e") == whole
    assert "nothing to do" in made(maps, model, tmp_path / "e", "coco")[1][0]
    with pytest.raises(MediaError, match="got other frames"):
        made(maps, model, tmp_path / "e", "coco", frames=2)


def test_shares_make_the_same_dataset(maps: Path, model: Path, tmp_path: Path) -> None:
    made(maps, model, tmp_path / "d", "davis")
    for share in ("2/2", "1/2"):
        manifest, _ = made(maps, model, tmp_path / "e", "davis", shard_of=share)
        assert bool(manifest) is (share == "1/2")
    assert content(tmp_path / "e") == content(tmp_path / "d")


def test_a_second_run_is_told_to_wait(maps: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "d" / "parts").mkdir(parents=True)
    with working_alone(tmp_path / "d" / "parts"), pytest.raises(Seg2VidError, match="another seg2"):
        made(maps, model, tmp_path / "d", "davis")


def test_wishes_are_drawn_and_kept(maps: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("move: {car: still}\nfreeze: [sky]\n")
    wishes = {"control": tmp_path / "c.yaml", "camera_speed": (4.0, 12.0)}
    manifest, _ = made(maps, model, tmp_path / "d", "davis", **wishes)
    speeds = [clip["camera_speed"] for clip in manifest["clips"]]
    assert len(set(speeds)) == 3 and all(4 <= speed <= 12 for speed in speeds)
    assert manifest["clips"][0]["camera_turn"] is None
    assert manifest["settings"]["control"] == "move: {car: still}\nfreeze: [sky]\n"
    # The third map has no cars.
    assert [clip["error"] for clip in manifest["clips"]] == [None] * 3
    control = Control.read(move=["car=still", "all=x2", "car#5=still"], freeze=["sky", "person"])
    kept = annotated_clip._fitting(control, street_map(), street_map() * 0, SPACE)
    assert kept is not None
    assert [name for name, _ in kept.objects] == ["car", "all"] and kept.freeze == ("sky",)


@pytest.mark.parametrize("is_beside", [True, False])
def test_instance_maps_are_taken(maps: Path, model: Path, tmp_path: Path, is_beside: bool) -> None:
    (tmp_path / "i").mkdir()
    for name in "abc":
        numbers = (street_map()[0].numpy() == 13) * 7
        own = f"{name}_instances.png" if is_beside else f"{name}.png"
        Image.fromarray(numbers.astype(np.uint8)).save(tmp_path / "i" / own)
    if is_beside:
        maps = shutil.copytree(maps, tmp_path / "i", dirs_exist_ok=True)
    named = {} if is_beside else {"instances": tmp_path / "i"}
    job, pipe = make_job(asked(maps, model, tmp_path / "d", "davis", **named))
    assert [path.name for path in job.maps] == ["a.png", "b.png", "c.png"]
    clip, _ = annotated_clip.make_clip(job, pipe, 0)
    assert clip.objects() == [(13, 7)]


@pytest.mark.parametrize("number", [0, 1])
def test_a_map_that_cannot_be_read_costs_its_clip(
    maps: Path, model: Path, tmp_path: Path, number: int
) -> None:
    other = shutil.copytree(maps, tmp_path / "maps")
    (other / f"{'abc'[number]}.png").write_bytes(b"no picture")
    manifest, lines = made(other, model, tmp_path / "d", "davis")
    errors = [clip["number"] for clip in manifest["clips"] if clip["error"] is not None]
    assert errors == [number]
    assert lines[-2].startswith(f"warning: clip 00000{number} is missing: Expected a label map")
    assert "2 clips" in lines[-1]


def test_maps_none_of_which_can_be_read_are_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "a.png").write_bytes(b"no picture")
    with pytest.raises(
        MediaError, match=r"Expected a label map picture; got .*a\.png, which is no"
    ):
        made(tmp_path / "maps", model, tmp_path / "d", "davis")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("others", "text"),
    [
        ({"shard_of": "3/2"}, "--shard-of i/N"),
        ({"layout": "kitti-flow"}, "two frames for kitti-flow; got 3"),
        ({"camera_speed": (5.0,)}, "two numbers within 100 for --camera-speed"),
        ({"camera_turn": (5.0, -5.0)}, "the smaller first; got 5.0,-5.0"),
        ({"labels": Path("nowhere")}, "a folder of label maps"),
    ],
)
def test_bad_requests_are_told(
    others: dict[str, Any], text: str, maps: Path, model: Path, tmp_path: Path
) -> None:
    options = replace(asked(maps, model, tmp_path / "d", "coco"), **others)
    with pytest.raises(MediaError, match=text):
        list(annotated.run(options))
    assert not (tmp_path / "d").exists()


def test_other_folders_and_classes_are_left_alone(maps: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine.txt").touch()
    with pytest.raises(MediaError, match="which holds mine"):
        made(maps, model, tmp_path / "d", "coco")
    (tmp_path / "c.yaml").write_text("move: {lion: still}")
    with pytest.raises(LabelMapError, match="got lion"):
        made(maps, model, tmp_path / "e", "coco", control=tmp_path / "c.yaml")
    _, lines = made(maps, model, tmp_path / "e", "coco", dry_run=True)
    assert len(lines) == 2 and not (tmp_path / "e").exists()


class Deadly(type(Path())):  # type: ignore[misc]
    """A label map that brings the process down."""

    def is_file(self) -> bool:
        os._exit(1)


@pytest.mark.slow
def test_a_process_that_dies_costs_its_clip_alone(maps: Path, model: Path, tmp_path: Path) -> None:
    job, _ = make_job(asked(maps, model, tmp_path / "d", "davis"))
    job.parts.mkdir(parents=True)
    first, second, third = job.maps
    job = replace(job, maps=(first, Deadly(second), third))
    annotated_work.work(job, [0, 1, 2], 2, Processes())
    parts = [json.loads(job.part(number).read_text()) for number in range(3)]
    assert [part["error"] is None for part in parts] == [True, False, True]
    assert "the process that made it ended, twice" in parts[1]["error"]


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_killed_run_goes_on_to_the_same_bytes(maps: Path, model: Path, tmp_path: Path) -> None:
    """``kill -9`` in the middle, processes and all, then the same command."""

    def command(output: str) -> list[str]:
        words = ["dataset", maps, "-o", tmp_path / output, "--layout", "cityscapes", "--count", 12]
        words += ["--frames", FRAMES, "--model", model, "--workers", 1]
        return [sys.executable, "-m", "seg2vid", *map(str, words)]

    subprocess.run(command("whole"), check=True, capture_output=True)
    process = subprocess.Popen(command("killed"), stderr=subprocess.DEVNULL, start_new_session=True)
    parts = tmp_path / "killed" / "parts"
    while process.poll() is None and len(list(parts.glob("*.json"))) < 3:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and parts.is_dir()
    done = subprocess.run(command("killed"), check=True, capture_output=True, text=True).stdout
    assert "of 12 clips (" in done and "(0 done before)" not in done
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
