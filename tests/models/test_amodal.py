"""Tests of what is made up of objects that stand half behind others."""

from dataclasses import replace

import torch

from seg2vid.geometry import Scene
from seg2vid.models.amodal import LOWEST, Amodal, complete_objects
from seg2vid.models.animator import choose_instances
from seg2vid.models.drive import FINENESS, Drive
from seg2vid.models.key_frame import KeyFrame
from seg2vid.structures import Camera, ScenePaths

HEIGHT, WIDTH = 48, 96
ROAD, PERSON, CAR = 0, 1, 2
Place = tuple[slice, slice]


def scene_of(*objects: tuple[int, int, float, Place], steps: int = 1) -> tuple[Scene, torch.Tensor]:
    """Boxes of (number, class, metres away, place) on a road, all at rest; and the label map."""
    label_map = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.long)
    rows, depth = label_map.clone(), torch.full((1, HEIGHT, WIDTH), 1 / 100)
    for number, kind, metres, place in objects:
        label_map[0][place], rows[0][place], depth[0][place] = kind, number, 1 / metres
    camera = Camera(torch.tensor([90.0]), torch.tensor([[47.5, 20.0]]))
    count = int(rows.max())
    ways = torch.zeros(1, steps, 4), torch.zeros(1, count, steps, 3)
    paths = ScenePaths(*ways, torch.tensor([[[20.0, -3], [10.0, 1], [10.0, 1]]])[:, :count])
    return Scene(depth, rows, label_map * 9 + rows, camera, paths), label_map


def street(*objects: tuple[int, float, Place], factor: int = 1) -> Amodal:
    """Complete boxes of (class, metres away, place); later ones stand before others."""
    scene, label_map = scene_of(*((number, *one) for number, one in enumerate(objects, 1)))
    return complete_objects(scene, painted(), label_map, (CAR,), factor)


def painted() -> torch.Tensor:
    """Every column has a colour of its own."""
    return (torch.arange(WIDTH) / WIDTH).expand(1, 3, HEIGHT, WIDTH).contiguous()


STRIP = (CAR, 20.0, (slice(16, 36), slice(30, 40)))
BEFORE = (CAR, 10.0, (slice(10, 44), slice(40, 80)))


def test_a_half_hidden_car_is_as_wide_as_its_like_behind_what_hides_it() -> None:
    whole = street(STRIP, BEFORE)
    # 20 pixels high: 24 wide, of which 10 are seen.
    hidden = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    hidden[16:36, 40:54] = True
    assert torch.equal(whole.rows[0] > 0, hidden) and set(whole.rows[0][hidden].tolist()) == {1}
    assert (whole.label_map[0][hidden] == CAR).all()
    torch.testing.assert_close(whole.inverse_depth[0][hidden], torch.full((14 * 20,), 1 / 20))
    # The mirror in its middle shows the part that is seen; between is what is around.
    first = painted()
    torch.testing.assert_close(whole.picture[..., 16:36, 44:54], first[..., 16:36, 30:40].flip(3))
    between = whole.picture[0, 0, 20:32, 40:44]
    assert (between > 0.3).all() and (between < 0.45).all()
    same = ~hidden.expand(3, -1, -1)
    assert torch.equal(whole.picture[0][same], first[0][same])


def test_it_is_completed_to_the_left_as_well() -> None:
    mirrored = [
        (kind, away, (place[0], slice(WIDTH - place[1].stop, WIDTH - place[1].start)))
        for kind, away, place in (STRIP, BEFORE)
    ]
    left, right = street(*mirrored), street(STRIP, BEFORE)
    assert torch.equal(left.rows.flip(2), right.rows)


def test_its_outline_is_that_of_its_other_side() -> None:
    # A roof that rises towards what hides the car, and its bonnet that is lower.
    bonnet, roof = (slice(26, 36), slice(30, 34)), (slice(16, 36), slice(34, 46))
    before = (slice(10, 44), slice(46, 90))
    scene, label_map = scene_of(
        (1, CAR, 20.0, bonnet), (1, CAR, 20.0, roof), (2, CAR, 10.0, before)
    )
    whole = complete_objects(scene, painted(), label_map, (CAR,), 1)
    hidden = whole.rows[0] > 0
    assert hidden[16:36, 46:50].all() and hidden[26:36, 50:54].all()
    assert not hidden[:26, 50:54].any() and not hidden[:, 54:].any()


def test_what_stays_as_it_is() -> None:
    wide = (CAR, 20.0, (slice(16, 36), slice(10, 40)))
    low = (CAR, 20.0, (slice(30, 30 + LOWEST - 1), slice(36, 40)))
    other_side = (CAR, 10.0, (slice(10, 44), slice(0, 30)))
    cases = {
        "alone": [STRIP],
        "wide enough": [wide, BEFORE],
        "too low": [low, BEFORE],
        "hidden on both sides": [STRIP, BEFORE, other_side],
        "beside what is farther": [(CAR, 30.0, (slice(10, 44), slice(40, 84))), STRIP],
    }
    for name, objects in cases.items():
        assert not street(*objects).rows.any(), name
    assert not street(STRIP, BEFORE, factor=4).rows.any(), "too low on a finer grid"


def test_people_are_slim_and_the_nearest_hides_the_others() -> None:
    person = (PERSON, 20.0, (slice(16, 36), slice(36, 40)))
    assert (street(person, BEFORE).rows[0].sum(1)[16:36] == 4).all(), "8 pixels in all"
    second = (CAR, 15.0, (slice(14, 40), slice(34, 40)))
    first = (CAR, 20.0, (slice(16, 36), slice(28, 34)))
    whole = street(first, second, BEFORE)
    assert (whole.rows[0, 16:36, 40:44] == 2).all(), "not the one behind"


def test_a_moving_scene_shows_it() -> None:
    """A car that stood half behind another is whole once that has gone."""
    frames = 4
    steps = frames * FINENESS + 1
    scene, label_map = scene_of((1, *STRIP), (2, *BEFORE), steps=steps)
    scene.paths.objects[0, 1, :, 1] = torch.linspace(0, 12, steps)
    drive = Drive(scene, frames, seconds=1.0, foreground=(PERSON, CAR), void_id=9, cars=(CAR,))

    def paint(warped, visible, label_maps, first_frame):
        return warped, torch.zeros(1, 3, HEIGHT // 2, WIDTH // 2)

    for cars, wide in (((CAR,), 24), ((), 10)):
        key = KeyFrame(replace(drive, cars=cars), painted(), label_map, paint)
        shown = key.show(torch.arange(frames))
        is_car = shown.label_maps[0, -1, 20:32, :60] == CAR
        assert (is_car.sum(1) - wide).abs().max() <= 1
        # All of it is the one instance.
        numbers = torch.where(scene.rows > 0, 700 + scene.rows, 0)
        instances = choose_instances(numbers, shown.label_maps, shown, (PERSON, CAR))
        assert (instances[0, -1, 20:32, :60][is_car] == 701).float().mean() > 0.98
        assert (instances[shown.label_maps == ROAD] == 0).all()
