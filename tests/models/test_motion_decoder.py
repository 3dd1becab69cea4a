"""Depth and motion decoder: what z decodes to, and that flow follows from it."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seg2vid.data.clips import render_toycity, stack
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.geometry import way_of
from seg2vid.labels.space import get_label_space
from seg2vid.models import motion_decoder, parting
from seg2vid.models.config import DepthConfig, ModelConfig
from seg2vid.models.depth import (
    Depth,
    DepthNetwork,
    find_horizon,
    lowest_sky,
    own_car,
    stand,
    stand_up,
)
from seg2vid.models.drive import FINENESS, Drive, last_velocity, render
from seg2vid.models.layers import OBJECT_FACTOR, find_objects
from seg2vid.models.motion_decoder import KNOTS, OBJECT_SPEED, MotionDecoder
from seg2vid.models.motion_encoder import build_motion_encoder
from seg2vid.models.traffic import clear_way, keep_apart, keep_pace, keep_to_road, slow_down
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Camera, Clip, Labels, Latent, Objects, ScenePaths
from seg2vid.training.config import OBJECTIVES
from seg2vid.training.motion import MotionStage, recolour
from seg2vid.transfer import encode_motion
from tests.tiny import CONFIG, street_map

SPACE = get_label_space("cityscapes")
SMALL = replace(
    CONFIG, architecture="geometry", depth=DepthConfig(widths=(4, 4, 6, 8, 8), blocks=1)
)
SKY = 10


@pytest.fixture(scope="module")
def decoder() -> MotionDecoder:
    torch.manual_seed(0)
    return MotionDecoder(SMALL).eval()


def objects_of(label_map: Tensor) -> Tensor:
    """Two cars on the coarse grid."""
    things = SPACE.foreground_ids
    return find_objects(label_map, None, foreground=things, factor=OBJECT_FACTOR)


def picture() -> Tensor:
    return torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(1))


def draw(decoder: MotionDecoder, seed: int = 0) -> Latent:
    return decoder.draw(objects_of(street_map()), torch.Generator().manual_seed(seed))


def drive_of(decoder: MotionDecoder, **given: Tensor) -> Drive:
    return decoder.drive(picture(), street_map(), draw(decoder), objects_of(street_map()), **given)


EVERY = torch.arange(CONFIG.num_frames)


# Depth.


def test_sky_has_no_depth_and_all_else_has_some(decoder: MotionDecoder) -> None:
    labels = street_map()
    depth = decoder.depth(picture(), labels).inverse_depth
    assert depth[labels == SKY].abs().max() == 0
    assert depth[labels != SKY].min() > 0 and depth.max() <= 2.1


def test_depth_works_from_labels_alone_and_a_black_picture_is_none(decoder: MotionDecoder) -> None:
    labels, black = street_map(), torch.zeros(1, 3, 64, 128)
    alone = decoder.depth(None, labels).inverse_depth
    assert torch.equal(alone, decoder.depth(black, labels).inverse_depth)
    assert not torch.equal(alone, decoder.depth(picture(), labels).inverse_depth)


def test_camera_begins_as_the_usual_one(decoder: MotionDecoder) -> None:
    with torch.no_grad():
        camera = decoder.depth(picture(), street_map()).camera
    assert torch.allclose(camera.focal_length, torch.tensor([1.08 * 128]))
    assert torch.allclose(camera.centre, torch.tensor([[63.5, 0.45 * 64]]))


def test_a_space_without_sky_has_depth_everywhere() -> None:
    network = DepthNetwork(SMALL.depth, num_channels=3, sky=None).eval()
    assert network(None, torch.ones(1, 32, 64, dtype=torch.long)).inverse_depth.min() > 0


def test_a_pole_has_one_depth_from_foot_to_top() -> None:
    depth = torch.rand(1, 64, 128, generator=torch.Generator().manual_seed(0)) * 0.05 + 0.05
    is_pole = torch.zeros(1, 64, 128, dtype=torch.bool)
    is_pole[:, 10:50, 20:23] = is_pole[:, 10:50, 90] = True
    depth[:, :, 90] += 0.2
    upright = stand_up(depth, is_pole)
    near, far = upright[0, 10:50, 90], upright[0, 10:50, 21]
    assert near.std() < 1e-6 and far.std() < 1e-6
    assert abs(float(near.mean() - depth[0, 10:50, 90].mean())) < 1e-4
    assert near.mean() - far.mean() > 0.15, "two poles do not mix"


def test_a_pole_behind_something_and_its_sign_stand_together() -> None:
    """Ten times as near at the foot as at the top, covered for 8 rows; another one far above."""
    depth = torch.linspace(0.02, 0.2, 64).view(1, 64, 1).repeat(1, 1, 128)
    is_thin = torch.zeros(1, 64, 128, dtype=torch.bool)
    is_thin[:, 16:60, 40:42] = is_thin[:, 16:26, 36:46] = True
    is_thin[:, 44:52, 40:42] = False
    is_thin[:, 2:4, 40:42] = True
    upright = stand_up(depth, is_thin)
    pole = upright[0, 16:60, 40:42][is_thin[0, 16:60, 40:42]]
    assert pole.std() < 1e-3
    sign = upright[0, 20, 36:46]
    assert sign.amax() / sign.amin() < 1.45, "its depth alone is half the pole's"
    assert (upright[0, 2:4, 40:42] < 0.5 * pole.mean()).all(), "ten rows apart: another"


def test_only_void_that_reaches_the_lower_border_is_the_own_car() -> None:
    labels = torch.zeros(1, 4, 3, dtype=torch.long)
    labels[0, 2:, 0] = labels[0, 1, 1] = labels[0, 3, 2] = 19
    expected = torch.tensor([[[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 1]]])
    assert torch.equal(own_car(labels, 19).long(), expected)


def plain(horizon: float) -> Tensor:
    """A straight road of eight metres between pavements, seen from 1.3 above; sky from there up."""
    road, pavement = SPACE.names.index("road"), SPACE.names.index("sidewalk")
    row, column = torch.meshgrid(torch.arange(64.0), torch.arange(128.0), indexing="ij")
    below = row - 64 * horizon
    is_road = (column - 63.5).abs() < 4 / 1.3 * below
    labels = torch.where(is_road, road, pavement)
    return torch.where(below > 0, labels, SKY)[None]


@pytest.mark.parametrize("horizon", [0.4, 0.55, 0.7])
def test_the_road_tells_where_the_horizon_is(horizon: float) -> None:
    road = (SPACE.names.index("road"),)
    labels = plain(horizon)
    assert abs(float(find_horizon(labels, road)) - horizon) < 0.01
    # Not where its edges are beside the picture, where it is no road, or a track as wide as long.
    wide = labels.clone()
    wide[:, 26:] = 0
    assert find_horizon(wide, road).isnan().all()
    assert find_horizon(torch.full_like(labels, SKY), road).isnan().all()
    narrow = torch.full_like(labels, SKY)
    narrow[:, 20:, 50:58] = 0
    assert find_horizon(narrow, road).isnan().all()
    ragged = labels.clone()
    ragged[:, ::2] = torch.where(ragged[:, ::2] == 0, 1, ragged[:, ::2])
    ragged[:, ::2, 60:66] = torch.where(labels[:, ::2, 60:66] == 0, 0, ragged[:, ::2, 60:66])
    assert find_horizon(ragged, road).isnan().all()
    both = find_horizon(torch.cat((labels, narrow)), road)
    assert not both[0].isnan() and both[1].isnan(), "sample by sample"


def test_the_horizon_is_no_higher_than_the_sky_reaches(decoder: MotionDecoder) -> None:
    """A wide road, whose edges are beside the picture; then a speck, and a puddle on the road."""
    road = (SPACE.names.index("road"),)
    labels = torch.full((1, 64, 128), 8)
    labels[:, :38, 40:], labels[:, 42:] = SKY, 0
    assert find_horizon(labels, road).isnan().all()
    assert abs(float(lowest_sky(labels, SKY, road)) - (38 / 64 + 0.02)) < 1e-6
    speck, puddle = labels.clone(), labels.clone()
    speck[:, 40, 60:64], puddle[:, 50, 40:90] = SKY, SKY
    assert torch.equal(lowest_sky(speck, SKY, road), lowest_sky(labels, SKY, road))
    assert abs(float(lowest_sky(puddle, SKY, road)) - (42 / 64 + 0.02)) < 1e-6
    assert lowest_sky(torch.full_like(labels, 8), SKY, road).isnan().all()
    usual = puddle.clone()
    usual[:, 28:36] = 0
    with torch.no_grad():
        low, high = (decoder.depth(picture(), one) for one in (labels, usual))
    assert float((low.camera.centre - high.camera.centre)[0, 1]) > 5


def test_a_picture_whose_horizon_is_low_is_looked_at_raised(decoder: MotionDecoder) -> None:
    """Sixteen rows lower it is the same street: sixteen rows lower lie its depth and horizon."""
    usual, frame = plain(0.45), picture()
    usual[:, 48:], frame[:, :, 48:] = usual[:, 47:48], frame[:, :, 47:48]

    def lower(planes: Tensor, rows: int) -> Tensor:
        return torch.cat((planes[..., :1, :].expand(*planes.shape[:-2], rows, -1), planes), -2)[
            ..., : planes.shape[-2], :
        ]

    with torch.no_grad():
        depth, features = decoder.depth.see(frame, usual)
        low, shifted = decoder.depth.see(lower(frame, 16), lower(usual, 16))
        decoder.depth.train()
        try:
            in_training, _ = decoder.depth.see(lower(frame, 16), lower(usual, 16))
        finally:
            decoder.depth.eval()
        told, _ = decoder.depth.see(lower(frame, 16), lower(usual, 16), torch.tensor([0.45]))
    torch.testing.assert_close(low.inverse_depth, lower(depth.inverse_depth, 16))
    torch.testing.assert_close(shifted, lower(features, 2))
    torch.testing.assert_close(low.camera.centre[:, 1], depth.camera.centre[:, 1] + 16)
    assert (in_training.camera.centre[:, 1] < 0.66 * 64).all(), "as it is"
    assert (told.camera.centre[:, 1] < 0.66 * 64).all(), "a scene that goes on says where it is"


def bonnet(label: int, *, columns: tuple[int, int], tall: int) -> Tensor:
    """A street in which something lies on the lower border."""
    labels = street_map()[:1].clone()
    labels[:, 48:] = 0
    labels[:, 64 - tall :, slice(*columns)] = label
    return labels


@pytest.mark.parametrize(
    ("columns", "tall", "stays"),
    [((40, 90), 6, True), ((50, 100), 6, True), ((40, 90), 20, False), ((0, 60), 6, False),
     ((70, 128), 6, False), ((8, 30), 6, False)],
)  # fmt: skip
def test_a_bonnet_that_was_taken_for_a_car_goes_with_the_camera(
    columns: tuple[int, int], tall: int, *, stays: bool
) -> None:
    car, person = SPACE.names.index("car"), SPACE.names.index("person")
    labels = bonnet(car, columns=columns, tall=tall)
    # Whatever stands on it belongs to it.
    labels[:, 63 - tall, columns[0] + 2] = person
    own = own_car(labels, SPACE.void_id, SPACE.foreground_ids)
    expected = torch.zeros_like(own)
    if stays:
        expected[:, 64 - tall :, slice(*columns)] = expected[:, 63 - tall, columns[0] + 2] = True
    assert torch.equal(own, expected)
    assert not own_car(labels, SPACE.void_id).any()


def test_the_own_bonnet_is_no_car_to_keep_a_gap_to(decoder: MotionDecoder) -> None:
    labels = bonnet(SPACE.names.index("car"), columns=(40, 90), tall=6)
    labels[:, :48][torch.isin(labels[:, :48], torch.tensor(SPACE.foreground_ids))] = 2
    things = find_objects(labels, None, foreground=SPACE.foreground_ids, factor=OBJECT_FACTOR)
    z = decoder.draw(things, torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = decoder.look(picture(), labels, things)
        drives = [decoder.follow(seen, z, careful=careful) for careful in (False, True)]
    driven = [float(one.scene.paths.camera[0, -1, 0]) for one in drives]
    assert driven[0] > 1 and abs(driven[0] - driven[1]) < 0.01
    assert things.amax() == 1
    assert torch.equal(*(one.scene.paths.objects[:, 0] for one in drives))


# Paths.


def path_of(decoder: MotionDecoder, *knots: tuple[float, ...]) -> Tensor:
    """Integrate camera velocities (m/s and rad/s) told at the knots."""
    units = (10.0, 1.0, 0.5, 0.1)
    told = torch.tensor(knots) / torch.tensor(units)
    way = decoder._integrate(told.flatten().view(1, 1, -1), units, decoder.num_frames)[0, 0]
    return way[FINENESS::FINENESS]


def test_a_steady_drive_covers_its_speed_times_its_time(decoder: MotionDecoder) -> None:
    path = path_of(decoder, *[(8.0, 0.0, 0.0, 0.0)] * 3)
    expected = 8.0 * torch.arange(1, 4) / CONFIG.frames_per_second
    assert torch.allclose(path[:, 0], expected, atol=1e-5)
    assert path[:, 1:].abs().max() == 0


def test_braking_covers_the_mean_of_the_speeds(decoder: MotionDecoder) -> None:
    path = path_of(decoder, (8.0, 0.0, 0.0, 0.0), (6.0, 0.0, 0.0, 0.0), (4.0, 0.0, 0.0, 0.0))
    assert torch.isclose(path[-1, 0], torch.tensor(6.0 * 3 / CONFIG.frames_per_second), atol=1e-3)


def test_a_turn_to_the_right_bends_the_path_to_the_right(decoder: MotionDecoder) -> None:
    turn, seconds = 0.4, 3 / CONFIG.frames_per_second
    path = path_of(decoder, *[(8.0, 0.0, turn, 0.0)] * 3)
    angle, radius = torch.tensor(turn * seconds), 8.0 / turn
    # An arc.
    assert torch.isclose(path[-1, 2], angle, atol=1e-5)
    assert torch.isclose(path[-1, 0], radius * angle.sin(), atol=1e-3)
    assert torch.isclose(path[-1, 1], radius * (1 - angle.cos()), atol=1e-3)


def test_nobody_goes_faster_than_their_kind() -> None:
    """A person told to go 12 m/s goes 2.5 along the same way; a slow one and a car as told."""
    seconds, steps = 0.25, 9
    told = torch.tensor([[-12.0, 0.9, 0.3], [1.2, 0.5, 0.3], [-12.0, 0.0, 0.0]])
    objects = (told[:, None] * torch.arange(float(steps)).view(-1, 1) * seconds)[None]
    paths = ScenePaths(torch.rand(1, steps, 4), objects, torch.rand(1, 3, 2))
    kept = keep_pace(paths, torch.tensor([[2.5, 2.5, 60.0]]), seconds)
    runs = kept.objects[0, 0]
    assert torch.allclose(runs[:, :2].diff(dim=0).norm(dim=1) / seconds, torch.tensor(2.5))
    assert torch.allclose(runs[1:, 0] / runs[1:, 1], torch.tensor(-12 / 0.9))
    assert torch.equal(kept.objects[:, 1:], objects[:, 1:])
    assert torch.equal(kept.objects[..., 2], objects[..., 2]) and kept.camera is paths.camera


def test_the_decoder_lets_people_walk_and_cars_drive(decoder: MotionDecoder) -> None:
    """All objects are told to come at 12 m/s."""
    label_map = torch.zeros(1, 64, 128, dtype=torch.long)
    label_map[:, :20] = SKY
    label_map[:, 24:48, 8:16] = SPACE.names.index("person")
    label_map[:, 24:48, 88:112] = SPACE.names.index("car")
    changed = copy.deepcopy(decoder)
    last = changed.objects[-1]
    torch.nn.init.zeros_(last.weight)
    with torch.no_grad():
        told = torch.tensor((-12.0, 0.0, 0.0)) / torch.tensor(OBJECT_SPEED)
        last.bias.copy_(told.repeat(KNOTS))
        z, objects = draw(changed), objects_of(label_map)
        z = replace(z, foreground=torch.zeros(1, z.foreground.shape[1], *objects.shape[1:]))
        drive = changed.drive(picture(), label_map, z, objects)
    speed = drive.scene.paths.objects[0, :, :, 0].diff(dim=1) / drive.step
    person, car = (int(drive.scene.rows[0, 36, column]) - 1 for column in (12, 100))
    assert torch.allclose(speed[person], torch.tensor(-2.5), atol=0.01)
    assert torch.allclose(speed[car], torch.tensor(-12.0), atol=0.01)


def test_vehicles_in_the_way_drive_on_and_nothing_else_does() -> None:
    camera = torch.zeros(1, 4, 4)
    camera[0, :, 0] = torch.tensor([4.0, 8.0, 12.0, 16.0])
    # Ahead in the lane, in the next lane, a person ahead, far ahead, driving by itself.
    pivots = torch.tensor([[[12.0, 0.0], [12.0, 3.5], [12.0, 0.0], [60.0, 0.0], [12.0, 0.5]]])
    objects = torch.zeros(1, 5, 4, 3)
    objects[0, 4, :, 0] = camera[0, :, 0]
    is_vehicle = torch.tensor([[True, True, False, True, True]])
    moved, drives = keep_apart(ScenePaths(camera, objects, pivots), is_vehicle)
    assert drives.tolist() == [[True, False, False, True, True]]
    for index in (1, 2, 3, 4):
        assert torch.equal(moved.objects[0, index], objects[0, index])
    # A gap of 7 m is left after the last time: 12 + 16 share - 16 = 7.
    assert torch.allclose(moved.objects[0, 0, :, 0], camera[0, :, 0] * 11 / 16)


def test_what_is_ahead_in_the_own_lane_neither_comes_nor_crosses() -> None:
    camera = torch.zeros(1, 2, 4)
    # In the own lane and coming, in the own lane and driving off to the side, in the other lane.
    pivots = torch.tensor([[[30.0, 0.5], [30.0, 0.5], [30.0, -3.5]]])
    objects = torch.tensor([[[-5.0, 1.0, 0.2], [6.0, 2.0, 0.0], [-5.0, 0.0, 0.0]]])
    objects = torch.stack((objects / 2, objects), 2)
    moved, _ = keep_apart(ScenePaths(camera, objects, pivots), torch.ones(1, 3, dtype=torch.bool))
    assert moved.objects[0, 0].abs().max() == 0
    assert torch.equal(moved.objects[0, 1, :, 0], objects[0, 1, :, 0])
    assert moved.objects[0, 1, :, 1:].abs().max() == 0
    assert torch.equal(moved.objects[0, 2], objects[0, 2])


def test_what_leads_follows_the_bend() -> None:
    """The camera drives 28 m and 3 m to the left; the car ahead, 9 m away, keeps most of them."""
    way = torch.tensor([[[14.0, -0.8, -0.1, 0.0], [28.0, -3.0, -0.2, 0.0]]])
    pivots, objects = torch.tensor([[[9.0, 0.6]]]), torch.zeros(1, 1, 2, 3)
    moved, _ = keep_apart(ScenePaths(way, objects, pivots), torch.ones(1, 1, dtype=torch.bool))
    ahead, beside, _ = moved.objects[0, 0, -1]
    assert torch.isclose(9.0 + ahead - 28.0, torch.tensor(0.6 * 9.0), atol=1e-4)
    assert torch.isclose(beside / ahead, torch.tensor(-3.0 / 28.0), atol=1e-4)


def straight_drive(metres: float, *, aside: float = 0.0, steps: int = 33) -> ScenePaths:
    """The camera drives evenly, and aside as in a bend; there are no objects."""
    share = torch.linspace(0, 1, steps)
    camera = torch.stack((metres * share, aside * share**2, 0 * share, 0 * share), -1)
    return ScenePaths(camera[None], torch.zeros(1, 0, steps, 3), torch.zeros(1, 0, 2))


def wall_of_cars(left: int, right: int, *, metres: float) -> tuple[Depth, torch.Tensor]:
    """Standing vehicles in some columns of the picture, all so far away; nothing else."""
    depth = torch.full((1, 64, 128), 1 / metres)
    stands = torch.zeros(1, 64, 128, dtype=torch.bool)
    stands[:, 20:40, left:right] = True
    camera = Camera(torch.tensor([130.0]), torch.tensor([[63.5, 27.0]]))
    return Depth(depth, camera), stands


def test_the_way_is_clear_up_to_a_gap_before_what_stands_in_it() -> None:
    camera = straight_drive(20.0).camera
    assert clear_way(*wall_of_cars(60, 68, metres=30.0), camera).item() == pytest.approx(23)
    assert clear_way(*wall_of_cars(60, 68, metres=5.0), camera).item() == pytest.approx(2)
    # 0.8 m to the side at 30 m are 3.5 pixels: these stand beside the lane.
    assert clear_way(*wall_of_cars(70, 90, metres=30.0), camera).isinf()
    # Fewer pixels than a thing has.
    assert clear_way(*wall_of_cars(0, 0, metres=30.0), camera).isinf()
    # In a bend to the right it is these that stand in the way, and not those straight ahead.
    bend = straight_drive(30.0, aside=4.0).camera
    assert clear_way(*wall_of_cars(60, 68, metres=30.0), bend).isinf()
    assert clear_way(*wall_of_cars(77, 85, metres=30.0), bend).item() == pytest.approx(23)


def test_the_camera_slows_down_and_keeps_to_its_path() -> None:
    paths = straight_drive(20.0, aside=3.0)
    slowed = slow_down(paths, torch.tensor([8.0])).camera[0]
    ahead, beside = slowed[:, 0], slowed[:, 1]
    assert 7.5 < float(ahead[-1]) <= 8
    assert (ahead.diff() > 0).all() and (ahead.diff().diff() < 1e-5).all()
    assert float(ahead[1]) == pytest.approx(20 / 32, rel=0.01), "it begins at its speed"
    assert torch.allclose(beside, 3 * (ahead / 20) ** 2, atol=0.01)


def test_a_clear_way_changes_nothing() -> None:
    paths = straight_drive(20.0, aside=3.0)
    for clear in (41.0, torch.inf):
        assert torch.equal(slow_down(paths, torch.tensor([clear])).camera, paths.camera)
    standing = straight_drive(0.0)
    assert torch.equal(slow_down(standing, torch.tensor([0.0])).camera, standing.camera)


# Motion.


def test_motion_is_complete_and_says_what_it_was_made_of(decoder: MotionDecoder) -> None:
    with torch.inference_mode():
        motion = render(drive_of(decoder).at(EVERY))
    assert motion.forward_flow.shape == motion.backward_flow.shape == (1, 3, 2, 64, 128)
    assert motion.forward_visible.shape == motion.backward_visible.shape == (1, 3, 1, 64, 128)
    assert motion.camera_path is not None and motion.camera_path.shape == (1, 3, 4)
    assert motion.inverse_depth is not None and motion.inverse_depth.shape == (1, 3, 64, 128)
    assert motion.source is not None and motion.source.shape == (1, 3, 64, 128)


def test_some_times_are_those_of_all_times(decoder: MotionDecoder) -> None:
    with torch.inference_mode():
        drive = drive_of(decoder)
        whole, some = render(drive.at(EVERY)), render(drive.at(torch.tensor([2, 0])))
    assert torch.equal(some.forward_flow, whole.forward_flow[:, [2, 0]])
    assert torch.equal(some.source, whole.source[:, [2, 0]])


def test_a_code_moves_its_own_object_alone(decoder: MotionDecoder) -> None:
    labels, z = street_map(), draw(decoder)
    # People: what vehicles ahead do is bound by the traffic as well.
    labels = torch.where(labels == 13, 11, labels)
    objects = objects_of(labels)
    changed = z.foreground.clone()
    changed[:, :, objects[0] == 2] += 3.0
    with torch.inference_mode():
        one, other = (
            decoder.drive(picture(), labels, Latent(z.background, code), objects).at(EVERY)
            for code in (z.foreground, changed)
        )
    assert torch.equal(one.paths.camera, other.paths.camera)
    assert torch.equal(one.paths.objects[:, 0], other.paths.objects[:, 0])
    assert not torch.equal(one.paths.objects[:, 1], other.paths.objects[:, 1])


def test_a_space_without_a_ground_moves_by_its_residual_alone() -> None:
    space = get_label_space("object")
    config: ModelConfig = replace(SMALL, label_space=space.to_dict())
    decoder = MotionDecoder(config).eval()
    torch.nn.init.normal_(decoder.residual[-1].weight)
    labels = torch.zeros(1, 64, 128, dtype=torch.long)
    objects = torch.zeros(1, 8, 16, dtype=torch.long)
    with torch.inference_mode():
        scene = decoder.drive(picture(), labels, decoder.draw(objects, None), objects).at(EVERY)
    assert scene.residual is not None
    motion = render(scene)
    assert torch.allclose(motion.forward_flow, scene.residual, atol=1e-3)


def test_every_weight_learns() -> None:
    decoder = MotionDecoder(SMALL).train()
    render(drive_of(decoder).at(EVERY)).forward_flow.square().mean().backward()
    # The layers before zeros begin to learn in the second step.
    silent = {name for name, one in decoder.named_parameters() if one.grad is None}
    assert not silent


# In the house.


def test_a_pipeline_of_moving_scenes_generates_several_passes(arithmetic: str) -> None:
    pipeline = Seg2VidPipeline.from_config(SMALL)
    video = pipeline(street_map(), num_frames=6, seed=0)
    assert video.frames.shape == (1, 5, 3, 64, 128)
    assert video.motion.camera_path is not None and video.motion.camera_path.shape == (1, 5, 4)
    assert torch.equal(video.frames, pipeline(street_map(), num_frames=6, seed=0).frames)


@pytest.mark.parametrize("exact", [True, False])
def test_training_has_the_terms_of_what_the_clip_knows(exact: bool) -> None:
    objective = replace(
        OBJECTIVES["geometry"], trained_frames=2, refined_frames=1, exact_motion=exact
    )
    stage = MotionStage(SMALL, replace(objective, reconstruction=0.0 if exact else 1.0)).train()
    city = ToyCityConfig(height=64, width=128, num_frames=3)
    terms = stage.compute_losses(stack([render_toycity(seed, city) for seed in (0, 1)]))
    known = {"flow", "depth", "camera", "path", "objects"}
    assert known <= set(terms) if exact else not known & set(terms)
    assert ("reconstruction" in terms) is not exact
    sum(terms.values()).backward()
    assert stage.animator.flow_decoder.camera[-1].weight.grad.abs().max() > 0


def test_the_code_of_a_clip_is_found(arithmetic: str) -> None:
    pipeline = Seg2VidPipeline.from_config(SMALL)
    encoder = build_motion_encoder(SMALL)
    pipeline.motion_encoder_weights = {
        f"motion_encoder.{name}": value for name, value in encoder.state_dict().items()
    }
    clip = torch.rand(1, 4, 3, 64, 128)
    code = encode_motion(pipeline, clip, street_map())
    assert code.z.background.shape == (1, 3)


def test_after_the_pass_speed_is_kept_and_turning_fades(decoder: MotionDecoder) -> None:
    units = (10.0, 1.0, 0.5, 0.1)
    told = torch.tensor([8.0, 0.0, 0.3, 0.0]) / torch.tensor(units)
    way = decoder._integrate(told.repeat(3).view(1, 1, -1), units, 60)[0, 0]
    ways = way[::FINENESS].diff(dim=0)
    assert torch.allclose(ways[:, :2].norm(dim=1), torch.tensor(8.0 / 12), atol=1e-3)
    assert ways[-1, 2] < 0.02 * ways[0, 2]


def test_moments_lie_on_one_drive_whatever_the_frame_rate(decoder: MotionDecoder) -> None:
    with torch.inference_mode():
        drive = drive_of(decoder)
        frames, finely = drive.at(torch.arange(3)), drive.at(torch.arange(-1, 3, 0.25))
    assert finely.paths.camera[0, 0].abs().max() == 0, "the key itself is at rest"
    for name in ("camera", "objects"):
        whole, fine = getattr(frames.paths, name), getattr(finely.paths, name)
        assert torch.allclose(whole, fine[..., 4::4, :][..., :3, :], atol=1e-6)
    # Between two frames a drive goes on as it went: no step stands out.
    steps = finely.paths.camera[0, :, 0].diff()
    assert steps.min() > 0.8 * steps.max() > 0


def test_the_last_velocity_is_told_in_the_axes_of_the_last_camera(decoder: MotionDecoder) -> None:
    path = path_of(decoder, *[(8.0, 0.5, 0.4, 0.02)] * 3).unsqueeze(0)
    found = last_velocity(path, 1 / CONFIG.frames_per_second)
    assert torch.allclose(found, torch.tensor([[8.0, 0.5, 0.4, 0.02]]), atol=1e-3)


def test_a_camera_that_would_drive_backwards_stands() -> None:
    torch.manual_seed(0)
    decoder = MotionDecoder(SMALL).eval()
    with torch.no_grad():
        decoder.camera[-1].bias.fill_(-0.5)
        path = drive_of(decoder).at(EVERY).paths.camera[0]
    assert path[:, 0].abs().max() < 0.05 and path[-1, 1] < 0, "it still drifts and turns"


def test_a_velocity_that_is_given_is_that_of_the_start(decoder: MotionDecoder) -> None:
    wanted = torch.tensor([[12.0, 0.0, 0.0, 0.0]])
    with torch.inference_mode():
        first = drive_of(decoder, velocity=wanted).at(EVERY[:1]).paths.camera
    # Within the first of three frames velocity has begun to go over to the next knot.
    assert 12.0 * 0.75 < float(first[0, 0, 0]) * CONFIG.frames_per_second < 12.0 * 1.05


def test_frames_of_several_passes_are_read_from_one_key() -> None:
    pipeline = Seg2VidPipeline.from_config(SMALL)
    video = pipeline(street_map(), num_frames=13, seed=0)
    assert video.pass_starts == (0, 9), "three passes of three frames, then a new key"
    path = video.motion.camera_path
    assert path is not None
    assert (path[0, 1:9, 0] > path[0, :8, 0]).all() and path[0, 9, 0] < path[0, 8, 0]


def test_colours_change_alike_in_all_frames_of_a_clip() -> None:
    frame = torch.rand(2, 3, 8, 8)
    clip = Clip(frame, frame.unsqueeze(1).repeat(1, 3, 1, 1, 1), torch.zeros(2, 8, 8).long())
    torch.manual_seed(0)
    changed = recolour(clip, 0.3)
    assert torch.allclose(changed.frames, changed.first_frame.unsqueeze(1), atol=1e-6)
    assert changed.frames.min() >= 0 and changed.frames.max() <= 1
    assert (changed.first_frame - frame).abs().mean() > 0.01
    assert torch.equal(recolour(clip, 0.0).label_map, clip.label_map)


def bending(rate: float) -> tuple[ScenePaths, Depth, Tensor]:
    """Two seconds at 8 m/s that turn by ``rate`` rad/s, on a straight road of eight metres."""
    count = 24 * FINENESS
    step = 2 / count
    rates = torch.tensor([8.0, 0.0, rate, 0.0]).expand(1, count, 4)
    paths = ScenePaths(way_of(rates, step), torch.zeros(1, 0, count + 1, 3), torch.zeros(1, 0, 2))
    labels = plain(0.45)
    camera = Camera(torch.tensor([140.0]), torch.tensor([[63.5, 64 * 0.45]]))
    ground = ((torch.arange(64.0) - 64 * 0.45) / 140 / 1.3).clamp(min=0)
    return paths, Depth(ground.view(1, 64, 1).expand(1, 64, 128), camera), labels


def test_a_drive_keeps_to_the_road() -> None:
    step, road = 2 / (24 * FINENESS), SPACE.names.index("road")

    def kept(rate: float, labels: Tensor | None = None, *, has_begun: bool = False) -> Tensor:
        paths, depth, straight = bending(rate)
        is_road = (straight if labels is None else labels) == road
        given = paths, depth, is_road, torch.zeros_like(is_road), step
        return keep_to_road(*given, has_begun=has_begun).camera[0]

    for rate in (0.0, 0.02, -0.02):
        torch.testing.assert_close(kept(rate), bending(rate)[0].camera[0], atol=1e-4, rtol=0)
    for rate in (0.3, -0.3):
        turned = float(kept(rate)[-1, 2])
        assert abs(turned) <= 0.25 * 0.6 + 1e-4, "of 0.6 at most a quarter"
    assert abs(float(kept(0.3)[-1, 0]) - 16) < 0.2, "as far as before"
    # All is road; or nothing is, and there is nothing to keep to.
    for label in (road, SKY):
        same = kept(0.3, torch.full((1, 64, 128), label))
        torch.testing.assert_close(same, bending(0.3)[0].camera[0], atol=1e-4, rtol=0)
    # A turn that has begun goes on for a while.
    eased = kept(0.3, has_begun=True)
    first = eased[FINENESS, 2] / bending(0.3)[0].camera[0, FINENESS, 2]
    assert first > 0.85 and abs(float(eased[-1, 2] - eased[-2, 2])) < 0.3 * 0.3 * step


@pytest.mark.parametrize("side", [1, -1])
def test_a_drive_follows_the_bend_of_the_road(side: int) -> None:
    """Six metres of road that bend by a radian in fifty metres; the drive was to go straight on."""
    step = 2 / (24 * FINENESS)
    paths, depth, _ = bending(0.0)
    ahead = 1 / depth.inverse_depth.clamp(min=1e-3)
    across = (torch.arange(128.0) - 63.5) / 140 * ahead
    middle = side * 50 * (1 - (1 - (ahead / 50).clamp(max=1).square()).sqrt())
    is_road = ((across - middle).abs() < 3) & (depth.inverse_depth > 0.02)
    shown = torch.zeros_like(is_road)

    def kept(hides_road: Tensor, *, has_begun: bool = False) -> Tensor:
        given = paths, depth, is_road, hides_road, step
        return keep_to_road(*given, has_begun=has_begun).camera[0]

    turned = kept(shown)
    assert float(turned[-1, 2]) == pytest.approx(side * 0.02 * 16, rel=1e-3)
    length = turned[:, :2].diff(dim=0).norm(dim=-1).sum()
    assert float(length) == pytest.approx(16, rel=1e-3), "as far as before"
    # Where vehicles hide what is ahead, it may be road; and a drive that has begun eases into it.
    torch.testing.assert_close(kept(~shown), paths.camera[0], atol=1e-4, rtol=0)
    eased = kept(shown, has_begun=True)
    assert abs(float(eased[FINENESS, 2])) < 0.2 * abs(float(turned[FINENESS, 2]))


def test_nobody_drives_through_another_vehicle_or_the_camera() -> None:
    """A camera that drives sixteen metres; each row is where a vehicle is, and how far it goes."""
    share = torch.linspace(0, 1, 33)[:, None]
    camera = share * torch.tensor([16.0, 0.0, 0.0, 0.0])

    def ends(*vehicles: tuple[float, float, float, float], cars: bool = True) -> Tensor:
        given = torch.tensor([vehicles])
        objects = F.pad(share * given[:, :, None, 2:], (0, 1))
        paths = ScenePaths(camera[None], objects, given[..., :2].contiguous())
        is_vehicle = torch.full((1, len(vehicles)), cars)
        return keep_apart(paths, is_vehicle)[0].objects[0, :, -1, :2]

    parked, oncoming = (20.0, -4.0, 0.0, 0.0), (40.0, -4.0, -30.0, 0.0)
    beside = (9.0, 4.0, 5.0, 0.0)
    moved = ends(parked, oncoming, beside)
    assert moved.tolist() == [[0, 0], [0, 0], [5, 0]], "the one that goes stands"
    assert ends(oncoming, beside).tolist() == [[-30, 0], [5, 0]]
    other_lane = (20.0, -8.0, 0.0, 0.0)
    assert ends(other_lane, oncoming)[1].tolist() == [-30, 0]
    assert ends(parked, oncoming, cars=False)[1].tolist() == [-30, 0], "people are no vehicles"
    # It would come from beside into the camera's lane, and be behind it by the end.
    assert ends((30.0, 2.5, -40.0, -2.5)).tolist() == [[0, 0]]
    assert ends((30.0, 2.5, -40.0, 0.0)).tolist() == [[-40, 0]], "beside it there is room"


def test_what_stands_is_as_far_as_its_foot() -> None:
    """Ground below row 6; a trunk from row 2 to row 8 in column 1, leaves over a house beside."""
    labels = torch.full((1, 16, 3), 2)
    labels[:, 6:] = 0
    labels[0, 2:9, 1] = 8
    labels[0, :4, 2] = 8
    nearest, own, stands = stand(labels, (0,))[0]
    foot = math.log(9 / 16 - 0.45) / 2 + 1
    assert torch.allclose(own[2:9, 1], torch.tensor(foot))
    assert stands[2:9, 1].min() == 1 and own[0, 2] == 0, "the leaves stand on no ground"
    assert stands[:4, 2].max() == 0 and stands[6:].min() == 1
    assert torch.allclose(nearest[0, 2], torch.tensor(math.log(1 / 256) / 2 + 1)), "above horizon"
    assert torch.allclose(nearest[9:, 0], own[9:, 0]), "ground stands where it lies"


def test_objects_of_an_instance_map_are_not_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one they are, in each key frame; with one they stay what they are."""
    asked: list[Labels] = []

    def tell_apart(objects: Objects, label_map: Labels, *given: Any) -> tuple[Any, ...]:
        asked.append(label_map)
        return parting.tell_apart(objects, label_map, *given)

    monkeypatch.setattr(motion_decoder, "tell_apart", tell_apart)
    pipe, count = Seg2VidPipeline.from_config(SMALL), 4 * CONFIG.num_frames
    pipe(street_map(), num_frames=count, seed=0)
    assert len(asked) == 2
    pipe(street_map(), instance_map=street_map() + 1, num_frames=count, seed=0)
    assert len(asked) == 2


def test_rows_go_one_way_only_where_motion_is_drawn(decoder: MotionDecoder) -> None:
    """What was seen in a clip is what each part does; a rider stays seated all the same."""
    seen, z = decoder.look(picture(), street_map(), objects_of(street_map())), draw(decoder)
    first_with_second = seen.companions.clone()
    first_with_second[0, 0] = 1

    def paths(careful: bool, **changes: Tensor) -> ScenePaths:
        return decoder.follow(replace(seen, **changes), z, careful=careful).scene.paths

    drawn, shown = (paths(careful, companions=first_with_second) for careful in (True, False))
    assert torch.equal(drawn.objects[:, 0], drawn.objects[:, 1])
    assert torch.equal(drawn.pivots[:, 0], drawn.pivots[:, 1])
    assert not torch.equal(shown.objects[:, 0], shown.objects[:, 1])
    seated = paths(False, seats=first_with_second)
    assert torch.equal(seated.objects[:, 0], seated.objects[:, 1])
