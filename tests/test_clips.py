"""Clips on disk and the batches of training: contents, errors, the same batch at the same step."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from seg2vid.data.clips import ClipFolder, TrainingBatches, mirror, render_toycity
from seg2vid.data.toycity import ToyCityConfig, load_clip, render_clip, save_clip
from seg2vid.errors import MediaError
from seg2vid.structures import Clip
from seg2vid.warp import warp_clip, warp_labels

CONFIG = ToyCityConfig(height=64, width=128, num_frames=2, frames_per_second=10.0)
SEEDS = (0, 1, 2, 3, 7)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small clips, and one file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in SEEDS:
        save_clip(render_clip(seed, CONFIG), folder / f"clip_{seed:06d}.safetensors")
    (folder / "toycity.json").write_text("{}")
    return folder


@pytest.fixture
def folder(directory: Path) -> ClipFolder:
    """The folder as training sees it."""
    return ClipFolder(directory)


@pytest.fixture
def path(folder: ClipFolder) -> Path:
    """The file of the clip in which most moves."""
    return max(folder.paths(), key=lambda path: np.abs(load_clip(path).forward_flow).mean())


@pytest.fixture
def clip(folder: ClipFolder, path: Path) -> Clip:
    """That clip as training sees it."""
    return folder.read(path)


def assert_same(one: object, other: object) -> None:
    """Check that two clips are equal, field by field."""
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(a):
            assert_same(a, b)
        else:
            same = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
            assert same, field.name


# Reading.


def test_files_come_in_order_of_their_seed(folder: ClipFolder) -> None:
    assert [path.name for path in folder.paths()] == [f"clip_{s:06d}.safetensors" for s in SEEDS]


def test_a_clip_is_read_as_a_batch_of_one(clip: Clip) -> None:
    assert clip.first_frame.shape == (1, 3, 64, 128) and clip.frames.shape == (1, 2, 3, 64, 128)
    assert clip.label_map.shape == clip.instance_map.shape == (1, 64, 128)
    assert clip.label_maps.shape == clip.instance_maps.shape == (1, 2, 64, 128)
    assert clip.motion.forward_flow.shape == clip.motion.backward_flow.shape == (1, 2, 2, 64, 128)
    assert clip.motion.forward_visible.shape == (1, 2, 1, 64, 128)
    assert clip.ego_motion.shape == (1, 2, 3) and clip.frames_per_second == 10.0


def test_values_are_in_their_ranges(clip: Clip) -> None:
    assert clip.frames.dtype == clip.motion.forward_visible.dtype == torch.float32
    assert clip.frames.min() >= 0 and 0.3 < clip.frames.max() <= 1
    assert clip.label_maps.dtype == torch.int64
    assert clip.label_maps.min() >= 0 and clip.label_maps.max() <= 19
    assert set(clip.motion.backward_visible.unique().tolist()) <= {0.0, 1.0}
    assert clip.instance_maps.dtype == torch.int64 and clip.instance_maps.min() >= 0


def test_fields_are_those_that_were_rendered(clip: Clip, path: Path) -> None:
    rendered = load_clip(path)
    pictures = rendered.frames.transpose(0, 3, 1, 2) / np.float32(255)
    np.testing.assert_allclose(clip.first_frame[0], pictures[0], atol=1e-6)
    np.testing.assert_allclose(clip.frames[0], pictures[1:], atol=1e-6)
    assert np.array_equal(clip.label_map[0], rendered.label_maps[0])
    assert np.array_equal(clip.instance_maps[0], rendered.instance_maps[1:])
    assert np.array_equal(clip.motion.forward_flow[0], rendered.forward_flow)
    assert np.array_equal(clip.motion.backward_flow[0], rendered.backward_flow)
    assert np.array_equal(clip.motion.forward_visible[0, :, 0], rendered.forward_visible)
    assert np.array_equal(clip.motion.backward_visible[0, :, 0], rendered.backward_visible)


def test_rendering_without_a_file_gives_the_same_clip(clip: Clip, path: Path) -> None:
    assert_same(render_toycity(load_clip(path).seed, CONFIG), clip)


def test_the_motion_of_a_clip_explains_its_pictures_and_labels(clip: Clip) -> None:
    visible = clip.motion.backward_visible[:, 1]
    warped = warp_clip(clip.first_frame, clip.motion.backward_flow)[:, 1]
    still = ((clip.first_frame - clip.frames[:, 1]).abs() * visible).mean()
    assert ((warped - clip.frames[:, 1]).abs() * visible).mean() < 0.7 * still
    moved = warp_labels(clip.label_map, clip.motion.backward_flow[:, 1])
    is_seen = visible[:, 0] > 0
    wrong, if_still = (
        (labels != clip.label_maps[:, 1])[is_seen].float().mean()
        for labels in (moved, clip.label_map)
    )
    assert wrong < 0.1 and wrong < 0.7 * if_still


@pytest.mark.parametrize("time", [0, 1, 2])
def test_a_still_is_one_frame_of_the_clip(
    folder: ClipFolder, clip: Clip, path: Path, time: int
) -> None:
    still = folder.read_still(path, time)
    frames = torch.cat((clip.first_frame.unsqueeze(1), clip.frames), 1)
    labels = torch.cat((clip.label_map.unsqueeze(1), clip.label_maps), 1)
    instances = torch.cat((clip.instance_map.unsqueeze(1), clip.instance_maps), 1)
    assert torch.equal(still.first_frame, frames[:, time])
    assert torch.equal(still.label_map, labels[:, time])
    assert torch.equal(still.instance_map, instances[:, time])
    assert still.frames.shape == (1, 0, 3, 64, 128) and still.motion is None


def test_the_time_of_a_still_goes_round(folder: ClipFolder, path: Path) -> None:
    assert_same(folder.read_still(path, 7), folder.read_still(path, 1))


@pytest.mark.parametrize(("exists", "found"), [(True, "none"), (False, "no such folder")])
def test_a_folder_without_clips_is_refused(tmp_path: Path, exists: bool, found: str) -> None:
    place = tmp_path / "empty"
    if exists:
        place.mkdir()
        (place / "preview.png").touch()
    with pytest.raises(MediaError) as caught:
        ClipFolder(place)
    text = str(caught.value)
    assert text.startswith(f"Expected a folder of clips (clip_*.safetensors) at {place}; ")
    assert f"; got {found}; " in text and f"seg2vid toycity -o {place}" in text


# Batches.


def batches(
    folder: ClipFolder, *, start: int = 0, seed: int = 0, stills: bool = False
) -> list[Clip]:
    """Batches of steps ``start`` ... 5."""
    return list(
        TrainingBatches(folder, batch_size=2, steps=6, start=start, seed=seed, stills=stills)
    )


@pytest.mark.parametrize("stills", [False, True])
def test_a_stopped_run_goes_on_with_the_batches_it_would_have_seen(
    folder: ClipFolder, stills: bool
) -> None:
    whole, rest = batches(folder, stills=stills), batches(folder, start=3, stills=stills)
    assert len(whole) == 6 and len(rest) == 3
    for one, other in zip(whole[3:], rest, strict=True):
        assert_same(one, other)


def test_batches_do_not_depend_on_anyone_elses_random_numbers(folder: ClipFolder) -> None:
    before = batches(folder)
    np.random.seed(5)
    torch.manual_seed(5)
    for one, other in zip(before, batches(folder), strict=True):
        assert_same(one, other)


def test_steps_and_seeds_draw_different_batches(folder: ClipFolder) -> None:
    whole = batches(folder, stills=True)
    other = batches(folder, seed=1, stills=True)
    assert any(not torch.equal(a.first_frame, b.first_frame) for a, b in pairwise(whole))
    assert any(
        not torch.equal(a.first_frame, b.first_frame) for a, b in zip(whole, other, strict=True)
    )


def test_batches_have_the_size_and_number_that_was_asked_for(folder: ClipFolder) -> None:
    source = TrainingBatches(folder, batch_size=3, steps=5, start=1, seed=0, stills=True)
    assert len(source) == 4
    assert all(len(batch.first_frame) == 3 and batch.frames.shape[1] == 0 for batch in source)


def test_some_samples_are_mirrored_and_some_are_not(folder: ClipFolder) -> None:
    originals = [folder.read(path) for path in folder.paths()]
    kinds = set()
    for batch in batches(folder):
        for sample in (batch.sample(0), batch.sample(1)):
            for original in originals:
                if torch.equal(sample.first_frame, original.first_frame):
                    kinds.add("as it is")
                    assert_same(sample, original)
                elif torch.equal(sample.first_frame.flip(-1), original.first_frame):
                    kinds.add("mirrored")
                    assert_same(sample, mirror(original))
    assert kinds == {"as it is", "mirrored"}


# Mirroring.


def test_mirroring_twice_changes_nothing(clip: Clip) -> None:
    assert_same(mirror(mirror(clip)), clip)


def test_mirroring_flips_pictures_and_maps_along_the_width(clip: Clip) -> None:
    flipped = mirror(clip)
    for name in ("first_frame", "frames", "label_map", "label_maps", "instance_maps"):
        assert torch.equal(getattr(flipped, name), getattr(clip, name).flip(-1)), name
    for name in ("forward_visible", "backward_visible"):
        assert torch.equal(getattr(flipped.motion, name), getattr(clip.motion, name).flip(-1)), name
    assert flipped.frames_per_second == clip.frames_per_second


def test_mirroring_a_still_needs_no_motion(folder: ClipFolder, path: Path) -> None:
    still = folder.read_still(path, 0)
    assert torch.equal(mirror(still).label_map, still.label_map.flip(-1))


def test_mirroring_flips_maps_that_are_three_pixels_wide() -> None:
    # A label map (batch, height, 3) has the shape of an ego motion (batch, time, 3).
    labels = torch.tensor([[[1, 2, 3], [4, 5, 6]]])
    narrow = Clip(torch.rand(1, 3, 2, 3), torch.rand(1, 2, 3, 2, 3), labels)
    assert torch.equal(mirror(narrow).label_map, labels.flip(-1))
