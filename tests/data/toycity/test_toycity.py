"""Toy city: determinism, content, configuration and datasets."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from seg2vid.data.toycity import dataset as dataset_module
from seg2vid.data.toycity.clip import CLIP_ARRAYS, ToyCityClip, ToyCityConfig, load_clip, save_clip
from seg2vid.data.toycity.dataset import write_dataset
from seg2vid.data.toycity.inhabitants import LIVERIES, PAINTS, VEHICLES, vehicle_mesh
from seg2vid.data.toycity.materials import smooth_noise, white_noise
from seg2vid.data.toycity.rasteriser import rasterise
from seg2vid.data.toycity.render import render_clip
from seg2vid.data.toycity.scene import Look, Mesh, SceneBuilder
from seg2vid.data.toycity.shading import City, paint_sky, sample_atmosphere, shade
from seg2vid.data.toycity.street import Occupancy, StreetPath, Trajectory, sample_layout
from seg2vid.data.toycity.world import build_city
from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.files import working_alone

TINY = ToyCityConfig(height=32, width=64, num_frames=2)
RAW_CLASSES = {24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}


def digest(clip: ToyCityClip) -> str:
    joined = b"".join(getattr(clip, name).tobytes() for name in CLIP_ARRAYS)
    return hashlib.sha256(joined).hexdigest()


def test_same_seed_same_bytes_and_other_seed_other_bytes() -> None:
    """Rendering depends on the seed only, not on the global random state."""
    np.random.seed(1)
    first, other = digest(render_clip(3, TINY)), digest(render_clip(4, TINY))
    np.random.seed(2)
    assert digest(render_clip(3, TINY)) == first != other


def test_shapes_and_types(clips: list[ToyCityClip]) -> None:
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
        assert np.mean([(picture == common).any() for picture in labels]) > 0.6, common


def test_moving_things_have_plausible_speeds(cities: dict[int, City]) -> None:
    """Nothing moves faster than 25 m/s over the ground."""
    for city in cities.values():
        assert np.abs(np.diff(city.scene.translation, axis=0) * 12.0).max() < 25.0


def first_labels(seed: int, config: ToyCityConfig) -> np.ndarray:
    city = build_city(seed, config)
    return shade(city, rasterise(city.scene, city.camera, 0))[1]


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
    with pytest.raises(ValueError, match=rf"Expected .* as ToyCityConfig.{field}; got {value}"):
        ToyCityConfig(**{field: value})


@pytest.mark.parametrize("seed", [-1, 2**63, True])
def test_bad_seed_says_what_was_expected(seed: int) -> None:
    with pytest.raises(ValueError, match=r"Expected a whole number from 0 .* as the seed"):
        render_clip(seed, TINY)


@pytest.fixture(scope="module")
def tiny() -> ToyCityClip:
    return render_clip(2, TINY)


def test_clip_survives_saving_and_loading(tmp_path: Path, tiny: ToyCityClip) -> None:
    save_clip(tiny, tmp_path / "clip.safetensors")
    again = load_clip(tmp_path / "clip.safetensors")
    for name in CLIP_ARRAYS:
        assert getattr(again, name).dtype == getattr(tiny, name).dtype
        np.testing.assert_array_equal(getattr(again, name), getattr(tiny, name))
    assert again.description == tiny.description
    assert (again.seed, again.frames_per_second) == (2, 12.0)
    assert os.listdir(tmp_path) == ["clip.safetensors"]


def test_loading_bad_files_explains(tmp_path: Path, tiny: ToyCityClip) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected a toy city clip at .*; got no file"):
        load_clip(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    save_clip(tiny, damaged)
    damaged.write_bytes(damaged.read_bytes()[:5000])
    with pytest.raises(ValueError, match="got a damaged file"):
        load_clip(damaged)


def test_no_file_is_left_when_saving_is_interrupted(
    tmp_path: Path, tiny: ToyCityClip, monkeypatch: pytest.MonkeyPatch
) -> None:

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("seg2vid.tools.files.os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_clip(tiny, tmp_path / "clip.safetensors")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_dataset_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    one = write_dataset(tmp_path / "one", clips=3, seed=5, config=TINY, progress=False)
    two = write_dataset(
        tmp_path / "two", clips=3, seed=5, config=TINY, workers=2, preview=False, progress=False
    )
    assert (one, two) == (3, 3)
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
    (tmp_path / ".clip_000002.99.partial.safetensors").write_bytes(b"killed here")
    assert write_dataset(tmp_path, clips=4, config=TINY, progress=False) == 2
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]


def test_dataset_refuses_other_settings(tmp_path: Path) -> None:
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
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / "never", config=TINY, **arguments)
    assert not (tmp_path / "never").exists()


def test_dataset_needs_a_directory_it_can_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="Expected a directory that can be written"):
        write_dataset(tmp_path / "file", clips=1, config=TINY)


def test_dataset_says_its_cost_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path, clips=1, config=TINY)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1 of 1 clips to render, about" in captured.err and "MB" in captured.err


LABELS = {
    "hatchback": 13, "sedan": 13, "estate": 13, "suv": 13, "minivan": 13, "van": 13,
    "truck": 14, "bus": 15, "tram": 16, "motorcycle": 17, "bicycle": 18,
}  # fmt: skip


def body_points(mesh: Mesh) -> np.ndarray:
    """Return the corners of all quads and the extreme points of all ellipsoids."""
    corners = np.concatenate(mesh.faces).reshape(-1, 3)
    centres = np.array([ball[0] for ball in mesh.balls]).reshape(-1, 3)
    radii = np.array([ball[1] for ball in mesh.balls]).reshape(-1, 3)
    return np.concatenate([corners, centres - radii, centres + radii])


@pytest.mark.parametrize("name", LABELS)
def test_vehicle_bodies_fit_their_size_and_stand_on_the_road(name: str) -> None:
    """Every body has its class, stays inside its footprint and touches the ground."""
    body = VEHICLES[name]
    assert body["label"] == LABELS[name]
    points = body_points(vehicle_mesh(name, PAINTS[0], LIVERIES[0][0]))
    assert np.abs(points[:, 2]).max() <= body["length"] / 2 + 0.06
    assert np.abs(points[:, 0]).max() <= body["width"] / 2 + 0.08
    assert -0.01 <= points[:, 1].min() <= 0.06
    assert points[:, 1].max() < 5.0


def test_vehicles_wear_their_paint() -> None:
    """The body colour of a car and the stripe of a bus come from the caller."""
    red, blue = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)
    assert red in {look.colour for look in vehicle_mesh("sedan", red, blue).looks}
    assert blue in {look.second for look in vehicle_mesh("bus", red, blue).looks}


@pytest.mark.parametrize("curvature", [0.0, 1 / 60, -1 / 90])
def test_street_paths_find_their_own_places(curvature: float) -> None:
    """Locating a placed point gives its distances back, before, in and after a bend."""
    path = StreetPath(2.0, 20.0, curvature, 40.0)
    along = np.repeat(np.linspace(-15.0, 110.0, 26), 5)
    aside = np.tile(np.linspace(-18.0, 18.0, 5), 26)
    x, z, heading = path.place(along, aside)
    np.testing.assert_allclose(path.locate(x, z), (along, aside), atol=1e-9)
    for index in (0, 60, 129):
        spot = path.spot(float(along[index]), float(aside[index]))
        np.testing.assert_allclose(spot, (x[index], z[index]))
        np.testing.assert_allclose(path.heading(float(along[index])), heading[index])


def test_street_paths_bend_to_the_right_for_positive_curvature() -> None:
    """A quarter turn to the right of radius 10 ends 10 m ahead and 10 m to the right."""
    path = StreetPath(0.0, 0.0, 0.1, 5 * np.pi)
    np.testing.assert_allclose(path.spot(5 * np.pi, 0.0), (10.0, 10.0))
    np.testing.assert_allclose(path.heading(5 * np.pi), np.pi / 2)
    np.testing.assert_allclose(path.spot(5 * np.pi, 3.0), (10.0, 7.0))


def test_kerbs_follow_the_main_and_the_side_street() -> None:
    """The carriageway is inside the kerbs of either street, the corners are outside."""
    seeds = (np.random.Generator(np.random.PCG64(seed)) for seed in range(60))
    layouts = [sample_layout(random) for random in seeds]
    layout = next(one for one in layouts if one.crossing and one.crossing.right_arm)
    crossing = layout.crossing
    assert crossing is not None
    half, along = layout.half_width, crossing.along
    aside = np.array([0.0, half - 0.1, half + 20.0, half + 20.0, half + 0.5])
    distance = layout.kerb_distance(np.array([0.0, 0.0, along, along - 30.0, 0.0]), aside)
    assert (distance[:3] < 0).all() and (distance[3:] > 0).all()
    assert distance[4] == pytest.approx(0.5)
    assert not layout.free_kerb(along, 1, 1.0) and layout.free_kerb(along - 40.0, 1, 1.0)


def test_nobody_gets_a_place_that_is_taken() -> None:
    """Ways that meet in any frame exclude each other, ways that pass do not."""
    seconds = np.arange(5) / 4
    occupancy = Occupancy(5)
    street = StreetPath()
    assert occupancy.claim(Trajectory.along(street, 10 * seconds, 2.0), 4.5, 1.8)
    oncoming = Trajectory.along(street, 10 - 10 * seconds, -2.0, np.pi)
    assert occupancy.claim(oncoming, 4.5, 1.8)
    assert not occupancy.claim(Trajectory.along(street, 10 - 10 * seconds, 2.0), 4.5, 1.8)
    assert not occupancy.claim_spot((2.5, 8.0), 0.3)
    assert occupancy.claim_spot((6.0, 8.0), 0.3)
    assert not occupancy.claim_spot((6.2, 8.0), 0.3)


@pytest.mark.parametrize("seed", range(4))
def test_vehicles_keep_to_the_ground_and_out_of_the_camera(seed: int) -> None:
    """Moving parts never come near the camera, and none sinks or flies."""
    city = build_city(seed, ToyCityConfig(num_frames=6))
    moving = np.ptp(city.scene.translation, axis=0).max(1) > 1e-6
    places = city.scene.translation[:, moving]
    assert (places[..., 1] >= 0).all() and (places[..., 1] < 2.2).all()
    gap = places[..., [0, 2]] - city.camera.positions[:, None]
    assert np.hypot(gap[..., 0], gap[..., 1]).min(initial=np.inf) > 0.9


def test_solids_face_outwards() -> None:
    """Whatever the order of its corners, a solid's normals point away from its middle."""
    mesh = Mesh()
    mesh.box((1.0, 0.0, 2.0), (2.0, 1.0, 5.0), Look((1.0, 1.0, 1.0)), (0, 1, 2, 3, 4, 5))
    mesh.prism((0.0, 2.0, 0.0, 2.0), (0.5, 1.5, 0.5, 1.5), (0.0, 1.0), Look((0.0, 0.0, 0.0)))
    scene = SceneBuilder(1)
    scene.add(mesh, 2)
    quads = scene.build().quads
    normals = np.cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])
    middles = np.repeat([[1.5, 0.5, 3.5], [1.0, 0.5, 1.0]], [6, 5], axis=0)
    assert (((quads.mean(1) - middles) * normals).sum(1) > 0).all()


def test_instances_are_counted_per_class() -> None:
    """Numbers start at one for every raw class."""
    scene = SceneBuilder(1)
    numbers = [scene.new_instance(label) for label in (13, 13, 11, 13)]
    assert numbers == [26001, 26002, 24001, 26003]


def test_noise_is_repeatable_bounded_and_smooth_where_it_says_so() -> None:
    """Both tables tile every 256 cells; neighbours in the smooth one are alike."""
    u, v = np.arange(4000) * 0.75 + 0.0625, np.arange(4000) * 0.375 + 0.0625
    for noise in (white_noise, smooth_noise):
        values = noise(u, v)
        assert np.abs(values).max() <= 1
        np.testing.assert_array_equal(values, noise(u + 256, v - 512))
    steps = [np.abs(np.diff(noise(u, v))).mean() for noise in (white_noise, smooth_noise)]
    assert steps[1] < 0.2 * steps[0]


def test_sky_is_brighter_by_day() -> None:
    """Times of day and kinds of weather give plausible, finite colours."""
    directions = np.array([[0.0, 0.4, 1.0], [0.3, 0.1, 1.0], [-0.5, 0.02, 1.0]])
    brightness: dict[str, list[float]] = {"day": [], "dusk": [], "night": []}
    for seed in range(60):
        air = sample_atmosphere(np.random.Generator(np.random.PCG64(seed)))
        sky = paint_sky(air, directions)
        assert np.isfinite(sky).all() and (sky >= 0).all()
        brightness[air.time_of_day].append(float(sky.mean()))
        assert 0 <= air.shade() < 1 and (air.lamps > 0) == (air.time_of_day != "day")
    day, dusk, night = (np.mean(brightness[time]) for time in ("day", "dusk", "night"))
    assert day > dusk > 2 * night


def test_two_at_once_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        working_alone(tmp_path),
        pytest.raises(Seg2VidError, match="to be free; got another seg2vid at work in it; wait"),
    ):
        write_dataset(tmp_path, clips=1, config=TINY, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_damaged_settings_are_one_line(tmp_path: Path) -> None:
    for content in ("[" * 100_000, "3", "{}"):
        (tmp_path / "toycity.json").write_text(content)
        with pytest.raises(
            Seg2VidError, match=r"the settings of a toy city in .*; choose an empty"
        ):
            write_dataset(tmp_path, clips=1, config=TINY, progress=False)
