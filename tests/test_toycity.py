"""Toy city: determinism, content, configuration and datasets."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from seg2vid.data.toycity import (
    ToyCityClip,
    ToyCityConfig,
    load_clip,
    render_clip,
    save_clip,
    write_dataset,
)
from seg2vid.data.toycity import dataset as dataset_module
from seg2vid.data.toycity.dataset import CLIP_ARRAYS
from seg2vid.data.toycity.rasteriser import nearest_surfaces, place_scene
from seg2vid.data.toycity.shading import shade_frame
from seg2vid.data.toycity.world import build_city

TINY = ToyCityConfig(height=32, width=64, num_frames=2)
RAW_CLASSES = {24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}


def digest(clip: ToyCityClip) -> str:
    """Return the sha256 of all arrays of a clip."""
    joined = b"".join(getattr(clip, name).tobytes() for name in CLIP_ARRAYS)
    return hashlib.sha256(joined).hexdigest()


@pytest.fixture(scope="module")
def clips() -> list[ToyCityClip]:
    """A few ordinary clips."""
    return [render_clip(seed, ToyCityConfig(num_frames=3)) for seed in range(8)]


def test_same_seed_same_bytes_and_other_seed_other_bytes() -> None:
    """Rendering depends on the seed only, not on the global random state."""
    np.random.seed(1)
    first = digest(render_clip(3, TINY))
    render_clip(4, TINY)
    np.random.seed(2)
    assert digest(render_clip(3, TINY)) == first
    assert digest(render_clip(4, TINY)) != first


def test_shapes_and_types(clips: list[ToyCityClip]) -> None:
    """Every array has the documented shape and type."""
    clip = clips[0]
    assert clip.frames.shape == (4, 128, 256, 3) and clip.frames.dtype == np.uint8
    assert clip.label_maps.shape == (4, 128, 256) and clip.label_maps.dtype == np.uint8
    assert clip.instance_maps.shape == (4, 128, 256) and clip.instance_maps.dtype == np.uint16
    assert clip.depth.shape == (4, 128, 256) and clip.depth.dtype == np.float32
    for flow in (clip.forward_flow, clip.backward_flow):
        assert flow.shape == (3, 2, 128, 256) and flow.dtype == np.float32
    for visible in (clip.forward_visible, clip.backward_visible):
        assert visible.shape == (3, 128, 256) and visible.dtype == bool
    assert clip.ego_motion.shape == (3, 3) and clip.ego_motion.dtype == np.float32
    assert set(clip.description) == {"weather", "time_of_day", "street", "camera"}


def test_instances_agree_with_classes_and_stay(clips: list[ToyCityClip]) -> None:
    """Instance numbers carry their raw class, and things have one number in all frames."""
    kept = 0
    for clip in clips:
        things = clip.instance_maps > 0
        np.testing.assert_array_equal(things, (clip.label_maps >= 11) & (clip.label_maps <= 18))
        for number in np.unique(clip.instance_maps[things]).tolist():
            labels = np.unique(clip.label_maps[clip.instance_maps == number])
            assert labels.tolist() == [RAW_CLASSES[number // 1000]]
        first, last = np.unique(clip.instance_maps[0]), np.unique(clip.instance_maps[-1])
        kept += len(np.intersect1d(first, last)) / max(len(first), 1)
    assert kept / len(clips) > 0.75


def test_layout_resembles_a_street(clips: list[ToyCityClip]) -> None:
    """The lower middle is road, the sky is above, and the common classes are there."""
    labels = np.stack([clip.label_maps[0] for clip in clips])
    low = labels[:, 95:110, 110:146]
    assert (low == 0).mean() > 0.6
    assert (labels[:, 80:] == 10).sum() == 0
    for common in (0, 1, 2, 8, 13, 5):
        assert np.mean([(picture == common).any() for picture in labels]) > 0.6


def test_moving_things_have_plausible_speeds(clips: list[ToyCityClip]) -> None:
    """Nothing moves faster than 25 m/s over the ground."""
    for seed in range(6):
        scene = build_city(seed, ToyCityConfig(num_frames=3)).scene
        step = np.diff(scene.translation, axis=0) * 12.0
        assert np.abs(step).max() < 25.0


def first_labels(seed: int, config: ToyCityConfig) -> np.ndarray:
    """Return the label map of the first frame only."""
    city = build_city(seed, config)
    geometry = place_scene(city.scene, city.camera, 0)
    return shade_frame(city, geometry, nearest_surfaces(geometry, city.camera), 0).labels


@pytest.mark.slow
def test_all_classes_occur_within_200_seeds() -> None:
    """All 19 classes and void appear, the common ones in most clips."""
    config = ToyCityConfig(height=64, width=128, num_frames=1)
    counts = np.zeros(20)
    for seed in range(200):
        counts += np.bincount(first_labels(seed, config).ravel(), minlength=20) > 4
    assert (counts >= 3).all(), counts
    assert (counts[[0, 1, 2, 5, 8, 10, 13]] > 150).all(), counts
    assert counts[11] > 110, counts


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 8),
        ("width", 5000),
        ("num_frames", 0),
        ("num_frames", True),
        ("frames_per_second", 0.0),
        ("frames_per_second", 121.0),
        ("frames_per_second", float("nan")),
    ],
)
def test_bad_config_says_what_was_expected(field: str, value: float) -> None:
    """A config out of range names the field, the range and the value."""
    with pytest.raises(ValueError, match=rf"Expected .* as ToyCityConfig.{field}; got {value}"):
        ToyCityConfig(**{field: value})


@pytest.mark.parametrize("seed", [-1, 2**63, True])
def test_bad_seed_says_what_was_expected(seed: int) -> None:
    """Seeds must be non-negative whole numbers."""
    with pytest.raises(ValueError, match="Expected a whole number from 0 .* as the seed"):
        render_clip(seed, TINY)


def test_clip_survives_saving_and_loading(tmp_path: Path) -> None:
    """A stored clip comes back with the same bytes, types and words."""
    clip = render_clip(2, TINY)
    save_clip(clip, tmp_path / "clip.safetensors")
    again = load_clip(tmp_path / "clip.safetensors")
    for name in CLIP_ARRAYS:
        assert getattr(again, name).dtype == getattr(clip, name).dtype
        np.testing.assert_array_equal(getattr(again, name), getattr(clip, name))
    assert again.description == clip.description
    assert (again.seed, again.frames_per_second) == (2, 12.0)
    assert os.listdir(tmp_path) == ["clip.safetensors"]


def test_loading_bad_files_explains(tmp_path: Path) -> None:
    """Missing and damaged files give errors that name the file."""
    with pytest.raises(FileNotFoundError, match="Expected a toy city clip at .*; got no file"):
        load_clip(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    save_clip(render_clip(2, TINY), damaged)
    damaged.write_bytes(damaged.read_bytes()[:5000])
    with pytest.raises(ValueError, match="got a damaged file"):
        load_clip(damaged)


def test_no_file_is_left_when_saving_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interruption before the rename leaves neither a clip nor an unfinished file."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("seg2vid.files.os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_clip(render_clip(2, TINY), tmp_path / "clip.safetensors")
    assert os.listdir(tmp_path) == []


def test_dataset_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    """One worker and two workers write the same bytes."""
    one = write_dataset(tmp_path / "one", clips=3, seed=5, config=TINY, progress=False)
    two = write_dataset(
        tmp_path / "two", clips=3, seed=5, config=TINY, workers=2, preview=False, progress=False
    )
    assert (one.written, two.written) == (3, 3)
    for seed in (5, 6, 7):
        name = f"clip_{seed:06d}.safetensors"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / "preview.png").is_file()
    assert not (tmp_path / "two" / "preview.png").exists()
    settings = json.loads((tmp_path / "one" / "toycity.json").read_text())
    assert (settings["seed"], settings["clips"], settings["config"]["width"]) == (5, 3, 64)


def test_dataset_resumes_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished clips are kept, an interrupted one is rendered again."""
    rendered = []

    def render_two(seed: int, config: ToyCityConfig) -> ToyCityClip:
        if len(rendered) == 2:
            raise KeyboardInterrupt
        rendered.append(seed)
        return render_clip(seed, config)

    monkeypatch.setattr(dataset_module, "render_clip", render_two)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, clips=4, config=TINY, progress=False)
    assert sorted(os.listdir(tmp_path)) == [
        "clip_000000.safetensors",
        "clip_000001.safetensors",
        "toycity.json",
    ]
    monkeypatch.undo()
    result = write_dataset(tmp_path, clips=4, config=TINY, progress=False)
    assert (result.written, result.clips) == (2, 4)


def test_dataset_refuses_other_settings(tmp_path: Path) -> None:
    """A directory made with another config or seed is not mixed up."""
    write_dataset(tmp_path, clips=1, config=TINY, preview=False, progress=False)
    with pytest.raises(ValueError, match=r"made with \{'config': .*'num_frames': 3"):
        write_dataset(tmp_path, clips=1, config=ToyCityConfig(32, 64, 3), progress=False)
    with pytest.raises(ValueError, match=r"made with \{'seed': 1\}; got .* \{'seed': 0\}"):
        write_dataset(tmp_path, clips=1, seed=1, config=TINY, progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clips": 0}, "whole number from 1 to .* as clips; got 0"),
        ({"clips": 1, "workers": 0}, "whole number from 1 to .* as workers; got 0"),
        ({"clips": 1, "seed": -3}, "whole number from 0 to .* as the seed"),
    ],
)
def test_dataset_refuses_bad_arguments(
    tmp_path: Path, arguments: dict[str, int], message: str
) -> None:
    """Bad arguments are named with what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / "never", config=TINY, **arguments)
    assert not (tmp_path / "never").exists()


def test_dataset_needs_a_directory_it_can_write(tmp_path: Path) -> None:
    """A file in the way gives an OSError that says what to do."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="Expected a directory that can be written"):
        write_dataset(tmp_path / "file", clips=1, config=TINY)


def test_dataset_says_its_cost_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The cost line goes to stderr and names clips, megabytes and seconds."""
    write_dataset(tmp_path, clips=1, config=TINY)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1 of 1 clips to render, about" in captured.err and "MB" in captured.err
