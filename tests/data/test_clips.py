"""Clips on disk and the batches of training: contents, errors, the same batch at the same step."""

import dataclasses
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from seg2vid.data.clips import (
    ClipFolder,
    ClipSource,
    TrainingBatches,
    mirror,
    render_toycity,
    stack,
)
from seg2vid.data.toycity.clip import ToyCityConfig, load_clip, save_clip
from seg2vid.data.toycity.render import render_clip
from seg2vid.geometry import Scene, scene_flow
from seg2vid.structures import Clip, ScenePaths
from seg2vid.tools.errors import MediaError
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


@pytest.fixture(scope="module")
def moving(directory: Path) -> int:
    """The index of the clip in which most moves."""
    flows = [load_clip(path).forward_flow for path in ClipFolder(directory).files]
    return int(np.argmax([np.abs(flow).mean() for flow in flows]))


@pytest.fixture
def path(folder: ClipFolder, moving: int) -> Path:
    """Its file."""
    return folder.files[moving]


@pytest.fixture
def clip(folder: ClipFolder, moving: int) -> Clip:
    """That clip as training sees it."""
    return folder.read(moving)


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


def test_files_come_in_order_of_their_seed_and_hold_what_is_rendered(folder: ClipFolder) -> None:
    assert [path.name for path in folder.files] == [f"clip_{s:06d}.safetensors" for s in SEEDS]
    assert len(folder) == len(SEEDS)
    for index, seed in enumerate(SEEDS):
        assert_same(folder.read(index), render_toycity(seed, CONFIG))


def test_a_clip_is_read_as_a_batch_of_one(clip: Clip) -> None:
    assert clip.first_frame.shape == (1, 3, 64, 128) and clip.frames.shape == (1, 2, 3, 64, 128)
    assert clip.label_map.shape == clip.instance_map.shape == (1, 64, 128)
    assert clip.label_maps.shape == clip.instance_maps.shape == (1, 2, 64, 128)
    assert clip.motion.forward_flow.shape == clip.motion.backward_flow.shape == (1, 2, 2, 64, 128)
    assert clip.motion.forward_visible.shape == (1, 2, 1, 64, 128)
    assert clip.ego_motion.shape == (1, 2, 3) and clip.frames_per_second == 10.0
    assert clip.inverse_depth.shape == (1, 64, 128)
    assert clip.camera.focal_length.shape == (1,) and clip.camera.centre.shape == (1, 2)


def test_depth_and_camera_explain_the_flow_of_what_rests(clip: Clip) -> None:
    zeros = torch.zeros(1, 2, 1)
    paths = ScenePaths(
        torch.cat((clip.ego_motion, zeros), -1), torch.zeros(1, 0, 2, 3), torch.zeros(1, 0, 2)
    )
    for one in (clip, mirror(clip)):
        sign = torch.tensor([1.0, 1.0, 1.0, 1.0] if one is clip else [1.0, -1.0, -1.0, 1.0])
        scene = Scene(
            one.inverse_depth,
            torch.zeros_like(one.label_map),
            one.label_map,
            one.camera,
            replace(paths, camera=paths.camera * sign),
        )
        error = (scene_flow(scene) - one.motion.forward_flow).norm(dim=2)
        rests = (one.label_map < 11).unsqueeze(1) & (one.motion.forward_visible[:, :, 0] > 0)
        assert error[rests].quantile(0.95) < 0.01


def test_a_file_of_an_older_version_is_named(tmp_path: Path) -> None:
    old = {"frames": torch.zeros(2, 64, 128, 3, dtype=torch.uint8)}
    save_file(old, tmp_path / "clip_000000.safetensors")
    with pytest.raises(MediaError, match=r"this version.*clip_000000.*render it again"):
        ClipFolder(tmp_path, split="all").read(0)


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
    folder: ClipFolder, clip: Clip, moving: int, time: int
) -> None:
    still = folder.read_still(moving, time)
    frames = torch.cat((clip.first_frame.unsqueeze(1), clip.frames), 1)
    labels = torch.cat((clip.label_map.unsqueeze(1), clip.label_maps), 1)
    instances = torch.cat((clip.instance_map.unsqueeze(1), clip.instance_maps), 1)
    assert torch.equal(still.first_frame, frames[:, time])
    assert torch.equal(still.label_map, labels[:, time])
    assert torch.equal(still.instance_map, instances[:, time])
    assert still.frames.shape == (1, 0, 3, 64, 128) and still.motion is None


def test_the_time_of_a_still_goes_round(folder: ClipFolder, moving: int) -> None:
    assert_same(folder.read_still(moving, 7), folder.read_still(moving, 1))


@pytest.mark.parametrize(("exists", "found"), [(True, "none"), (False, "no such folder")])
def test_a_folder_without_clips_is_refused(tmp_path: Path, exists: bool, found: str) -> None:
    place = tmp_path / "empty"
    if exists:
        place.mkdir()
        (place / "holiday.mp4").touch()
    with pytest.raises(MediaError) as caught:
        ClipFolder(place)
    text = str(caught.value)
    assert text.startswith("Expected a dataset, or a folder of clips (clip_*.safetensors), at ")
    assert f"{place}; got {found}; make one" in text
    source = place if exists else "VIDEOS"
    assert text.endswith(f"seg2vid prepare {source} -o DATASET."), "nothing into a user's folder"


# Batches.


def batches(
    *folders: ClipFolder, start: int = 0, seed: int = 0, stills: bool = False
) -> list[Clip]:
    """Batches of steps ``start`` ... 5, drawn from each folder alike."""
    sources = [(folder, 2.0) for folder in folders]
    return list(
        TrainingBatches(sources, batch_size=2, steps=6, start=start, seed=seed, stills=stills)
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
    sources = [(folder, 1.0)]
    drawn = TrainingBatches(sources, batch_size=3, steps=5, start=1, seed=0, stills=True)
    assert len(drawn) == 4
    assert all(len(batch.first_frame) == 3 and batch.frames.shape[1] == 0 for batch in drawn)


def test_some_samples_are_mirrored_and_some_are_not(folder: ClipFolder) -> None:
    originals = [folder.read(index) for index in range(len(folder))]
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


# Mixtures.


@dataclasses.dataclass(frozen=True)
class Greys:
    """A source whose stills say what was drawn: the clip's number and the time, as grey values."""

    first: int
    count: int
    drawn: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return self.count

    def read(self, index: int, /) -> Clip:
        return self.read_still(index, 0)

    def read_still(self, index: int, time: int, /) -> Clip:
        self.drawn.append((index, time))
        frame = torch.full((1, 3, 1, 2), float(self.first + index))
        return Clip(frame, frame.unsqueeze(1)[:, :0], torch.zeros(1, 1, 2, dtype=torch.long))


def drawn_values(*sources: tuple[Greys, float], seed: int = 0, start: int = 0) -> torch.Tensor:
    """Numbers of the clips (step, sample) of steps ``start`` ... 59, eight a step."""
    source = TrainingBatches(sources, batch_size=8, steps=60, start=start, seed=seed, stills=True)
    return torch.stack([batch.first_frame[:, 0, 0, 0] for batch in source])


def test_anything_with_these_three_methods_is_a_source(folder: ClipFolder) -> None:
    assert isinstance(folder, ClipSource) and isinstance(Greys(0, 1), ClipSource)
    assert not isinstance([folder], ClipSource)


def test_sources_are_drawn_as_often_as_their_weights_say() -> None:
    few, many, third = Greys(0, 2), Greys(100, 10), Greys(200, 7)
    values = drawn_values((few, 6.0), (many, 3.0), (third, 1.0))
    shares = [
        float(((values >= low) & (values < low + 100)).float().mean()) for low in (0, 100, 200)
    ]
    # 480 draws: the standard error of a share of 0.6 is 0.022.
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.06)
    counts = torch.bincount(values.long().flatten(), minlength=207)
    assert bool((counts[:2] > 100).all()) and bool((counts[100:110] > 0).all())
    assert bool((counts[200:207] > 0).all()), "every clip of every source comes"
    assert len({time % 3 for _, time in few.drawn}) == 3, "and every time"


def test_the_unit_of_the_weights_does_not_matter() -> None:
    one = drawn_values((Greys(0, 5), 1.0), (Greys(100, 5), 3.0))
    other = drawn_values((Greys(0, 5), 0.5), (Greys(100, 5), 1.5))
    assert torch.equal(one, other)


def test_a_draw_of_a_mixture_depends_on_seed_and_step_alone() -> None:
    def sources() -> list[tuple[Greys, float]]:
        return [(Greys(0, 9), 1.0), (Greys(100, 9), 1.0)]

    whole = drawn_values(*sources())
    assert torch.equal(whole[25:], drawn_values(*sources(), start=25))
    assert not torch.equal(whole, drawn_values(*sources(), seed=1))
    assert len({tuple(step.tolist()) for step in whole}) == 60


def test_one_source_draws_as_it_always_did(folder: ClipFolder) -> None:
    # What runs of earlier versions saw: index, time, mirroring, in this order, from one generator.
    for step, batch in enumerate(batches(folder, stills=True)):
        random = np.random.default_rng([0, step])
        for number in range(2):
            index, time = int(random.integers(len(folder))), int(random.integers(1_000))
            still = folder.read_still(index, time)
            expected = mirror(still) if random.random() < 0.5 else still
            assert_same(batch.sample(number), expected)


def test_clips_are_joined_with_what_all_of_them_have(clip: Clip) -> None:
    poor = dataclasses.replace(clip, motion=None, ego_motion=None, instance_maps=None)
    for pair in ([clip, poor], [poor, clip]):
        joined = stack(pair)
        assert joined.motion is joined.ego_motion is joined.instance_maps is None
        assert joined.frames.shape[0] == joined.label_maps.shape[0] == 2
        assert joined.instance_map.shape[0] == 2
    assert stack([clip, clip]).motion.forward_flow.shape[0] == 2


def test_clips_of_different_size_or_length_are_refused(clip: Clip) -> None:
    bare = Clip(clip.first_frame, clip.frames, clip.label_map)
    short = dataclasses.replace(bare, frames=bare.frames[:, :1])
    message = (
        r"Expected clips of one size and length; got 128x64 with 2 and 128x64 with 3; render or "
        r"prepare all of --data with the same --size and --frames\."
    )
    with pytest.raises(MediaError, match=message):
        stack([bare, short])
    low = Clip(bare.first_frame[..., :32, :], bare.frames[..., :32, :], bare.label_map[:, :32])
    with pytest.raises(MediaError, match="got 128x32 with 3 and 128x64 with 3; "):
        stack([low, bare])


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


def test_mirroring_a_still_needs_no_motion(folder: ClipFolder, moving: int) -> None:
    still = folder.read_still(moving, 0)
    assert torch.equal(mirror(still).label_map, still.label_map.flip(-1))


def test_mirroring_flips_maps_that_are_three_pixels_wide() -> None:
    # A label map (batch, height, 3) has the shape of an ego motion (batch, time, 3).
    labels = torch.tensor([[[1, 2, 3], [4, 5, 6]]])
    narrow = Clip(torch.rand(1, 3, 2, 3), torch.rand(1, 2, 3, 2, 3), labels)
    assert torch.equal(mirror(narrow).label_map, labels.flip(-1))


def test_a_damaged_clip_is_one_line(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "clip_000000.safetensors"
    whole = load_file(path)
    wrong = {
        "a missing array": {name: one for name, one in whole.items() if name != "label_maps"},
        "another shape": {**whole, "frames": whole["frames"][0, 0]},
        "another type": {**whole, "depth": whole["depth"][:0]},
        "a camera of nothing": {**whole, "camera": torch.zeros(())},
    }
    for arrays in wrong.values():
        save_file(arrays, copy)
        with pytest.raises(MediaError, match=r"a toy-city clip of this version; got .*; render it"):
            ClipFolder(tmp_path).read(0)
    for rate, got in (("many", ".*could not convert string to float.*"), ("1e999", "1e999")):
        save_file(whole, copy, {"frames_per_second": rate})
        with pytest.raises(MediaError, match=rf"got {got}; render it"):
            ClipFolder(tmp_path).read(0)
    copy.write_bytes(path.read_bytes()[:900])
    for read in (
        ClipFolder(tmp_path).read,
        lambda index: ClipFolder(tmp_path).read_still(index, 0),
    ):
        with pytest.raises(MediaError, match=r"a toy-city clip of this version; got "):
            read(0)
