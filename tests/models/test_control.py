"""Wishes for the motion: their words, what they do to a drive, and what a video then shows."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from seg2vid.geometry import rates_of, way_of
from seg2vid.labels.space import get_label_space
from seg2vid.models.control import Control, Pose, Wish
from seg2vid.models.drive import Drive
from seg2vid.models.layers import OBJECT_FACTOR, find_objects
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.errors import LabelMapError, MediaError, ModelError
from tests import tiny

SPACE = get_label_space("cityscapes")
CAR, SKY, BUILDING, RIDER, BICYCLE = 13, 10, 2, 12, 18
INSTANCES = torch.zeros_like(tiny.street_map())
INSTANCES[:, 32:48, 16:36], INSTANCES[:, 34:44, 60:72] = 26_001, 26_002


@pytest.fixture(scope="module")
def drive() -> Drive:
    """Three passes of a street with two cars, and a camera that bends."""
    torch.manual_seed(0)
    decoder = MotionDecoder(tiny.CONFIG).eval()
    street = tiny.street_map()
    objects = find_objects(street, INSTANCES, foreground=SPACE.foreground_ids, factor=OBJECT_FACTOR)
    z = decoder.draw(objects, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return decoder.drive(torch.rand(1, 3, *street.shape[1:]), street, z, objects)


def steered(drive: Drive, *, begin: float = 0.0, heading: float = 0.0, **words: object) -> Drive:
    control = Control.read(**words)  # type: ignore[arg-type]
    return control.steer(drive, tiny.street_map(), INSTANCES, SPACE, begin=begin, heading=heading)


def rates(drive: Drive) -> Tensor:
    return rates_of(drive.scene.paths.camera, drive.step)[0]


def test_the_rates_of_a_way_are_those_it_was_made_of() -> None:
    given = torch.randn(2, 3, 20, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rates_of(way_of(given, 0.1), 0.1), given, atol=1e-4, rtol=1e-4)


def test_the_camera_drives_as_told_and_keeps_what_is_not_told(drive: Drive) -> None:
    told = rates(steered(drive, camera="forward=8,turn=-3"))
    torch.testing.assert_close(told[:, 0], torch.full_like(told[:, 0], 8.0), atol=1e-3, rtol=0)
    assert told[:, 2].mean() == pytest.approx(math.radians(-3), abs=1e-4)
    torch.testing.assert_close(told[:, 1], rates(drive)[:, 1], atol=1e-3, rtol=0)
    still = steered(drive, camera="still").scene.paths.camera
    assert still[..., :3].abs().max() < 1e-5


def test_strength_goes_from_what_z_says_to_what_is_wished(drive: Drive) -> None:
    half = rates(steered(drive, camera="forward=20", strength=0.5))[:, 0]
    torch.testing.assert_close(half, (rates(drive)[:, 0] + 20) / 2, atol=1e-3, rtol=0)
    none = steered(drive, camera="forward=20", strength=0.0)
    torch.testing.assert_close(none.scene.paths.camera, drive.scene.paths.camera)


def test_objects_go_over_the_ground_as_told(drive: Drive) -> None:
    way = steered(drive, move=["car=forward:6,right:-0.5"]).scene.paths.objects[0]
    seconds = drive.step * (way.shape[1] - 1)
    for row in (0, 1):
        assert way[row, -1, :2].tolist() == pytest.approx([6 * seconds, -0.5 * seconds], rel=1e-4)
        torch.testing.assert_close(way[row, :, 2], drive.scene.paths.objects[0, row, :, 2])
    halved = steered(drive, move=["car=x0.5"]).scene.paths.objects
    torch.testing.assert_close(halved[:, :2], drive.scene.paths.objects[:, :2] / 2)


def test_the_narrowest_wish_wins(drive: Drive) -> None:
    own = drive.scene.paths.objects[0]
    ways = steered(drive, move=["all=right:3", "car#26002=still"]).scene.paths.objects[0]
    assert ways[1].abs().max() == 0 and ways[0, -1, 1] > 1
    ways = steered(drive, move=["car=still", "all=right:3"]).scene.paths.objects[0]
    assert ways[:2].abs().max() == 0
    # What nobody wishes for stays.
    ways = steered(drive, move=["car#26002=still"]).scene.paths.objects[0]
    torch.testing.assert_close(ways[0], own[0])


def test_what_is_frozen_goes_with_the_camera(drive: Drive) -> None:
    scene = steered(drive, freeze=["building", "car"]).scene
    street = tiny.street_map()
    assert scene.fixed is not None
    assert torch.equal(scene.fixed, torch.isin(street, torch.tensor([BUILDING, CAR])))


def test_poses_are_those_of_the_first_frame_also_from_a_later_key(
    drive: Drive, tmp_path: Path
) -> None:
    """A key frame at two seconds, by which the camera has turned to face right."""
    path = tmp_path / "poses.csv"
    path.write_text("time,forward,right,turn\n0,0,0,0\n2,10,0,90\n10,10,16,90\n")
    moving = steered(drive, camera=str(path), begin=2.0, heading=math.pi / 2)
    # To the right of the first frame at 2 m/s: ahead, as the key frame sees it.
    told = rates(moving)
    torch.testing.assert_close(told[:, 0], torch.full_like(told[:, 0], 2.0), atol=1e-3, rtol=0)
    assert told[:, 1:3].abs().max() < 1e-3
    yaml = tmp_path / "poses.yaml"
    yaml.write_text("- {time: 0}\n- {time: 1, right: 2}\n")
    assert Wish.read(str(yaml)).poses == (Pose(0.0), Pose(1.0, right=2.0))
    car = steered(drive, move=[f"car={yaml}"]).scene.paths.objects[0, 0]
    assert car[-1, 1] == pytest.approx(min(1.0, drive.step * (len(car) - 1)) * 2, rel=0.05)


def test_a_file_says_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "wishes.yaml"
    path.write_text("camera: forward=8\nmove: {car: still, 'person#1': x0.5}\nfreeze: [sky]\n")
    told = Control.read(camera="forward=8", move=["car=still", "person#1=x0.5"], freeze=["sky"])
    assert Control.read_file(path) == told
    path.write_text("careful: false\n")
    assert Control.read_file(path) == Control.read(careful=False) == Control(careful=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"camera": "fast"}, "still, x0.5, a file of poses, or any of .* got fast"),
        ({"camera": "forward=1,forward=2"}, "got forward=1,forward=2"),
        ({"camera": "forward=nan"}, "got forward=nan"),
        ({"camera": "forward=1e9"}, "forward within 100 a second; got 1e9"),
        ({"camera": "nowhere.csv"}, "got .*nowhere.csv"),
        ({"move": ["car"]}, "an object and its motion.* got car"),
        ({"move": ["car=still", "car=x2"]}, "one wish for car; got a second, x2"),
        ({"strength": 2.0}, "a strength from 0 to 1; got 2"),
    ],
)
def test_words_that_make_no_sense_are_refused(words: dict[str, object], message: str) -> None:
    with pytest.raises(MediaError, match=message):
        Control.read(**words)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,forward\n0,0\n", "two or more, each later"),
        ("time,forward\n1,0\n0,1\n", "two or more, each later"),
        ("time,forward\n0,a\n1,1\n", "a number"),
        ("forward\n1\n", "the field .*time"),
        ("time,forward\n0,inf\n1,1\n", "a number"),
    ],
)
def test_poses_that_are_none_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "poses.csv"
    path.write_text(text)
    with pytest.raises(MediaError, match=message):
        Wish.read(str(path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"move": ["person=still"]}, "can move: car; got person"),
        ({"move": ["building=still"]}, "can move: car; got building"),
        ({"move": ["car#7=still"]}, "an instance of the label map after car#; got 7"),
        ({"freeze": ["train"]}, "a class of the label map: road, .*; got train"),
    ],
)
def test_what_the_map_lacks_is_refused(words: dict[str, object], message: str) -> None:
    with pytest.raises(LabelMapError, match=message):
        Control.read(**words).check(tiny.street_map(), INSTANCES, SPACE)  # type: ignore[arg-type]


def test_a_video_obeys(arithmetic: str) -> None:
    pipe = Seg2VidPipeline.from_config(tiny.CONFIG)
    street = tiny.street_map()
    frozen = Control.read(camera="still", move=["all=still"])
    given = {"num_frames": 2 * 3 * tiny.NUM_FRAMES + 2, "seed": 3, "instance_map": INSTANCES}
    video = pipe(street, control=frozen, **given)
    assert video.motion.camera_path is not None
    assert video.motion.camera_path[..., :3].abs().max() < 1e-4
    driven = pipe(street, control=Control.read(camera="forward=6,right=0,turn=0"), **given)
    path = driven.motion.camera_path
    assert path is not None
    # Each key frame counts anew.
    frames = 3 * tiny.NUM_FRAMES
    assert float(path[0, frames - 1, 0]) == pytest.approx(6 * frames / 12, rel=1e-3)
    assert float(path[0, frames, 0]) == pytest.approx(6 / 12, rel=1e-3)


def test_what_cannot_be_steered_is_refused() -> None:
    pipe = Seg2VidPipeline.from_config(replace(tiny.CONFIG, architecture="paper"))
    with pytest.raises(ModelError, match="motion is a scene's, for wishes"):
        pipe(tiny.street_map(), control=Control.read(camera="still"), num_frames=2)


def test_without_a_ground_objects_move_in_pixels(drive: Drive) -> None:
    flat = replace(
        drive,
        has_ground=False,
        scene=replace(drive.scene, residual=torch.zeros(1, 1, 2, 64, 128), fixed=None),
    )
    scene = steered(flat, move=["car=right:12,forward:6"]).scene
    assert scene.residual is not None
    over_pass = scene.residual[0, 0][:, scene.rows[0] > 0]
    assert over_pass[0].mean() == pytest.approx(12 * drive.seconds)
    assert over_pass[1].mean() == pytest.approx(-6 * drive.seconds)
    assert scene.residual[0, 0][:, scene.rows[0] == 0].abs().max() == 0


@pytest.mark.parametrize("named", ["rider", "bicycle", "all", "car"])
def test_a_rider_and_the_bicycle_go_together(named: str) -> None:
    """Whichever a wish names; both where it names both, neither where it names a car."""
    street = tiny.street_map()
    street[:, 40:48, 84:96], street[:, 28:40, 87:93] = BICYCLE, RIDER
    objects = find_objects(street, None, foreground=SPACE.foreground_ids, factor=OBJECT_FACTOR)
    torch.manual_seed(0)
    decoder = MotionDecoder(tiny.CONFIG).eval()
    z = decoder.draw(objects, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        drive = decoder.drive(torch.rand(1, 3, *street.shape[1:]), street, z, objects)
    told = Control.read(move=[f"{named}=forward:4,right:0,turn:0"])
    wished = told.steer(drive, street, None, SPACE, begin=0.0, heading=0.0)
    rider, bicycle = (
        int(drive.scene.rows[street == kind].mode().values) for kind in (RIDER, BICYCLE)
    )
    before, after = drive.scene.paths.objects, wished.scene.paths.objects
    assert rider != bicycle and torch.equal(before[:, rider - 1], before[:, bicycle - 1])
    torch.testing.assert_close(after[:, rider - 1], after[:, bicycle - 1])
    seconds = drive.step * (after.shape[2] - 1)
    forward = float(after[0, rider - 1, -1, 0])
    if named == "car":
        assert torch.equal(after[:, rider - 1], before[:, rider - 1])
    else:
        assert forward == pytest.approx(4 * seconds, rel=1e-3)


def test_what_was_moved_keeps_its_own_way(drive: Drive) -> None:
    ways = torch.randn(1, 64, 5, 3, generator=torch.Generator().manual_seed(0))
    companions = torch.arange(64)[None].clone()
    companions[0, 2] = companions[0, 6] = 4
    pairs = replace(drive, companions=companions)
    for moved, leads, follows in (({5}, 4, (2, 6)), ({3}, 2, (4,)), ({5, 3}, 4, (6,))):
        kept = pairs.keep_together(ways, moved)
        expected = ways.clone()
        expected[:, list(follows)] = ways[:, [leads]]
        assert torch.equal(kept, expected)
    alone = replace(drive, companions=None)
    assert torch.equal(alone.keep_together(ways, {5}), ways)
