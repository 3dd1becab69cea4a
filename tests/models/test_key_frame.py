"""Key frame: what is painted has a place in the scene, and is painted once."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seg2vid.geometry import Scene, move_scene, rates_of
from seg2vid.models import holes
from seg2vid.models.animator import mark_painted
from seg2vid.models.drive import FINENESS, Drive
from seg2vid.models.key_frame import KeyFrame, _halving
from seg2vid.structures import Camera, ScenePaths
from seg2vid.warp import warp_clip

HEIGHT, WIDTH, PASS = 32, 64, 8
WALL, GROUND, SKY, MADE = 2, 1, 0, 3


class Painter:
    """A refiner that paints stripes, another colour each time, and remembers what it was shown."""

    def __init__(self) -> None:
        self.known: list[Tensor] = []
        self.told: list[tuple[Tensor, Tensor]] = []

    def __call__(
        self, warped: Tensor, visible: Tensor, label_maps: Tensor, first_frame: Tensor
    ) -> tuple[Tensor, Tensor]:
        self.known.append(visible)
        self.told.append((warped, label_maps))
        painted = torch.zeros_like(warped)
        stripes = torch.arange(warped.shape[3]) // 3 % 2
        painted[:, len(self.known) % 3] = stripes.float()
        logits = torch.zeros(1, 5, warped.shape[2] // 2, warped.shape[3] // 2)
        logits[:, MADE] = 1
        return painted, logits


def drive(*, turn: float, factor: int = 1) -> Drive:
    """A street with a wall on the left and far hills behind; after a pass the camera has turned and
    driven a metre.
    """
    camera = Camera(torch.tensor([66.0]), torch.tensor([[31.0, 13.0]]))
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="ij")
    ground = ((y - 13) / 66 / 1.4).clamp(min=0)
    is_wall = (x < 24) & (y > 3) & (ground < 1 / 10)
    depth = torch.where(is_wall, 1 / 10, ground.clamp(min=1 / 500)).unsqueeze(0)
    labels = torch.where(is_wall, WALL, (ground > 0).long()).unsqueeze(0)
    steps = 3 * PASS * FINENESS + 1
    path = torch.zeros(1, steps, 4)
    path[0, :, 2] = turn * torch.arange(steps) / (PASS * FINENESS)
    path[0, :, 0] = torch.arange(steps) / (PASS * FINENESS)
    paths = ScenePaths(path, torch.zeros(1, 0, steps, 3), torch.zeros(1, 0, 2))
    scene = Scene(depth, torch.zeros_like(labels), labels, camera, paths)
    return Drive(scene, PASS, seconds=PASS / 12, foreground=(), void_id=9)


def picture(drive: Drive) -> Tensor:
    torch.manual_seed(0)
    return torch.rand(1, 3, *drive.scene.rows.shape[1:]) / 2


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Painter]:
    """Outlines are as hard as they were read, to be compared."""
    monkeypatch.setattr(holes, "SOFT", 0.0)
    yield Painter()


def test_what_is_seen_is_the_key_itself_read_once(painter: Painter) -> None:
    turning = drive(turn=0.2)
    key = KeyFrame(turning, picture(turning), turning.scene.surfaces, painter)
    shown = key.show(torch.arange(PASS))
    moved = move_scene(turning.at(torch.arange(PASS))).motion
    warped = warp_clip(picture(turning), moved.backward_flow, mode="bicubic").clamp(0, 1)
    seen = (shown.motion.source >= 0).unsqueeze(2).expand_as(warped)
    assert torch.equal(shown.refined[seen], warped[seen])
    assert torch.equal(shown.motion.backward_visible, moved.backward_visible)


def test_what_a_turn_uncovers_is_painted_once_and_moves_with_the_scene(painter: Painter) -> None:
    turning = drive(turn=0.2)
    key = KeyFrame(turning, picture(turning), turning.scene.surfaces, painter)
    frames = key.show(torch.arange(PASS)).refined[0]
    assert len(painter.known) <= 2, "the last frame, and little else"
    # The last frame's stripes on the right are seen before, farther to the right.
    last, before = frames[-1], frames[4]
    hidden = move_scene(turning.at(torch.arange(PASS))).source[0] < 0
    assert hidden[4].sum() > 50
    # Read back where the hills are: a turn alone moves them.
    row = 1
    columns = hidden[4, row].nonzero().squeeze(1)
    assert before[:, row, columns].amax(0).max() > 0.6, "stripes, not a mean of what is around"
    moved = 66 * torch.tan(torch.tensor(0.2 * (8 - 5) / 8))
    there = columns - moved
    left, share = there.floor().long(), there - there.floor()
    expected = last[:, row, left] * (1 - share) + last[:, row, left + 1] * share
    inner = columns < WIDTH - 4
    assert (before[:, row, columns] - expected)[:, inner].abs().median() < 0.1


def test_the_next_pass_shows_what_the_one_before_has_painted(painter: Painter) -> None:
    turning = drive(turn=0.2)
    key = KeyFrame(turning, picture(turning), turning.scene.surfaces, painter)
    key.show(torch.arange(PASS))
    calls = len(painter.known)
    key.show(torch.arange(PASS, 2 * PASS))
    for known in painter.known[calls:]:
        bare = known[0, 0] == 0
        # Only a strip at the right is new: what the first pass has painted is known.
        assert bare.any() and bare[:4, : WIDTH // 2].sum() <= 1
        assert bare.float().mean() < 0.35


def test_labels_of_what_is_painted_are_the_refiners(painter: Painter) -> None:
    turning = drive(turn=0.2)
    key = KeyFrame(turning, picture(turning), turning.scene.surfaces, painter)
    shown = key.show(torch.arange(PASS))
    assert shown.label_maps is not None
    hidden = shown.motion.backward_visible[0, :, 0] == 0
    maps = shown.label_maps[0]
    assert (maps[-1][hidden[-1]] == MADE).all()
    assert (maps[4][hidden[4]] == MADE).float().mean() > 0.9
    assert not (maps[~hidden] == MADE).any()


@pytest.mark.parametrize("kind", ["foreground", "thin"])
def test_no_thing_is_painted_where_none_lies_behind(painter: Painter, kind: str) -> None:
    turning = replace(drive(turn=0.2), **{kind: (MADE,)})
    shown = KeyFrame(turning, picture(turning), turning.scene.surfaces, painter).show(
        torch.arange(PASS)
    )
    assert shown.label_maps is not None
    assert not (shown.label_maps == MADE).any()


def test_nothing_is_painted_void(painter: Painter) -> None:
    def shy(*given: Tensor) -> tuple[Tensor, Tensor]:
        painted, logits = painter(*given)
        logits[:, -1] = 2
        return painted, logits

    turning = drive(turn=0.2)
    key = KeyFrame(turning, picture(turning), turning.scene.surfaces, shy)
    shown = key.show(torch.arange(PASS))
    assert shown.label_maps is not None
    hidden = shown.motion.backward_visible[0, :, 0] == 0
    assert (shown.label_maps[0][-1][hidden[-1]] == MADE).all(), "the next best"


@pytest.mark.parametrize("factor", [1, 2])
def test_painted_labels_have_outlines_without_stairs(factor: int) -> None:
    """Logits rise evenly to the right and are 0 at column 50.3, in the middle of a 2 x 2 cell."""

    def slope(warped: Tensor, visible: Tensor, maps: Tensor, first: Tensor) -> tuple[Tensor, ...]:
        logits = torch.zeros(1, 5, warped.shape[2] // 2, warped.shape[3] // 2)
        logits[:, MADE] = (torch.arange(warped.shape[3] // 2) * 2 + 0.5 - 50.3) / 10
        return torch.zeros_like(warped), logits

    turning = drive(turn=0.2)
    maps = turning.scene.surfaces.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    large = torch.rand(1, 3, *maps.shape[1:])
    shown = KeyFrame(turning, large, maps, slope).show(torch.tensor([PASS - 1]))
    assert shown.label_maps is not None
    hidden = shown.motion.backward_visible[0, 0, 0] == 0
    column = torch.arange(maps.shape[2]).expand_as(hidden)
    expected = (column + 0.5) / factor - 0.5 > 50.3
    assert hidden.float().mean() > 0.05 and expected[hidden].any() and not expected[hidden].all()
    assert torch.equal((shown.label_maps[0, 0] == MADE)[hidden], expected[hidden])


def leaving(ground: tuple[int, ...] = ()) -> tuple[Drive, Tensor]:
    """A thing of class 4 that goes a metre to the right in a pass; and the label map."""
    still = drive(turn=0.0)
    rows = torch.zeros_like(still.scene.rows)
    rows[:, 16:26, 40:48] = 1
    depth = torch.where(rows > 0, 1 / 8, still.scene.inverse_depth)
    steps = still.scene.paths.camera.shape[1]
    aside = torch.zeros(1, 1, steps, 3)
    aside[..., 1] = torch.arange(steps) / (PASS * FINENESS)
    paths = ScenePaths(torch.zeros(1, steps, 4), aside, torch.tensor([[[8.0, 0.8]]]))
    labels = torch.where(rows > 0, 4, still.scene.surfaces)
    scene = Scene(depth, rows, labels, still.scene.camera, paths)
    told = {"foreground": (4,), "void_id": 9, "ground": ground}
    return Drive(scene, PASS, seconds=PASS / 12, **told), labels


def test_what_a_thing_has_stained_is_painted_where_it_leaves(painter: Painter) -> None:
    moving, labels = leaving()
    first = picture(moving)
    key = KeyFrame(moving, first, labels, painter)
    shown = key.show(torch.arange(PASS))
    hidden = shown.motion.backward_visible[0, -1, 0] == 0
    assert hidden[18:24, 40:44].all(), "the hole that it leaves"
    stained = (shown.motion.source[0, -1] < 0) & ~hidden
    assert stained[18:24, 38:40].all() and not stained[:, :38].any()
    changed = (shown.refined[0, -1] != first[0]).any(0)
    assert changed[stained].all()
    assert torch.equal(shown.label_maps[0, -1][stained], labels[0][stained])
    assert mark_painted(torch.zeros(1, 1, HEIGHT, WIDTH), shown.motion)[0, -1, 0][stained].all()


def test_what_a_wall_has_stained_is_painted_where_it_leaves(painter: Painter) -> None:
    """No object: its corner, 10 m away before the sky, goes left as the camera drives right."""
    standing = drive(turn=0.0)
    steps = standing.scene.paths.camera.shape[1]
    path = torch.zeros(1, steps, 4)
    path[0, :, 1] = torch.arange(steps) / (PASS * FINENESS)
    paths = replace(standing.scene.paths, camera=path)
    driving = replace(standing, scene=replace(standing.scene, paths=paths))
    labels = driving.scene.surfaces
    shown = KeyFrame(driving, picture(driving), labels, painter).show(torch.arange(PASS))
    hidden = shown.motion.backward_visible[0, -1, 0] == 0
    assert hidden[5:13, 19:24].all() and not hidden[5:13, 24:32].any()
    stained = (shown.motion.source[0, -1] < 0) & ~hidden
    assert stained[5:13, 24:26].all() and not stained[5:13, 27:60].any()
    assert (shown.label_maps[0, -1, 5:13, 24:26] == SKY).all(), "it is sky as before"


def test_a_shadow_goes_with_what_casts_it(painter: Painter) -> None:
    """The thing's foot is in row 25, and the ground of rows 26 to 28 less than a metre nearer."""
    moved, stayed = (
        KeyFrame(moving, picture(moving), labels, painter).show(torch.arange(PASS))
        for moving, labels in (leaving((GROUND,)), leaving())
    )
    own = 26 * WIDTH + torch.arange(WIDTH)
    assert torch.equal(stayed.motion.source[0, -1, 26, 50:56], own[50:56])
    shift = round(66 * 13 / 66 / 1.4)
    assert torch.equal(moved.motion.source[0, -1, 26, 50:56], own[50 - shift : 56 - shift])
    assert (moved.label_maps[0, -1, 26, 50:56] == GROUND).all()
    assert (moved.motion.source[0, -1, 31] == 31 * WIDTH + torch.arange(WIDTH)).all()
    moving, labels = leaving((GROUND,))
    as_seen = KeyFrame(moving, picture(moving), labels, painter, shadows=False)
    assert torch.equal(as_seen.show(torch.arange(PASS)).motion.source, stayed.motion.source)


def test_a_painter_is_shown_what_lies_behind_and_not_what_has_left(painter: Painter) -> None:
    moving, labels = leaving()
    colours = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    KeyFrame(moving, colours[labels].unsqueeze(1).repeat(1, 3, 1, 1), labels, painter).show(
        torch.tensor([PASS - 1])
    )
    (warped, told), visible = painter.told[0], painter.known[0][0, 0]
    assert not (told[0, 16:26, 40:52] == 4).any(), "in the hole, and 8 pixels of the thing"
    assert not visible[17:25, 41:54].any() and visible[:, 58:].all() and visible[:, :36].all()
    assert (told[0, 16:26, 40:48] == GROUND).all()
    hole = warped[0, :, 16:26, 41:48]
    torch.testing.assert_close(hole, torch.full_like(hole, 0.3), rtol=0, atol=0.03)


@pytest.mark.usefixtures("painter")
def test_without_a_refiner_nothing_is_painted() -> None:
    turning = drive(turn=0.2)
    shown = KeyFrame(turning, picture(turning), turning.scene.surfaces, None).show(torch.arange(2))
    assert torch.equal(shown.refined, shown.warped)


def test_a_photo_is_moved_at_its_own_size(painter: Painter) -> None:
    turning = drive(turn=0.1)
    labels = turning.scene.surfaces.repeat_interleave(2, 1).repeat_interleave(2, 2)
    photo = torch.rand(1, 3, 2 * HEIGHT, 2 * WIDTH)
    key = KeyFrame(turning, photo, labels, painter)
    shown = key.show(torch.arange(PASS))
    assert shown.refined.shape == (1, PASS, 3, 2 * HEIGHT, 2 * WIDTH)
    assert painter.known[0].shape == (1, 1, HEIGHT, WIDTH), "painted on the networks' own grid"
    coarse = move_scene(turning.at(torch.arange(PASS))).motion.forward_flow
    fine = shown.motion.forward_flow[..., ::2, ::2] / 2
    assert (fine - coarse).abs().median() < 0.05


def test_the_sky_is_as_it_is_around(painter: Painter) -> None:
    """A turn uncovers blue sky, for which the painter has stripes of something else."""
    turning = drive(turn=0.2)
    depth, maps = turning.scene.inverse_depth.clone(), turning.scene.surfaces.clone()
    depth[:, :14], maps[:, :14] = 0, SKY
    turning = replace(turning, scene=replace(turning.scene, inverse_depth=depth, surfaces=maps))
    blue = torch.tensor([0.3, 0.5, 0.9]).view(1, 3, 1, 1)
    frame = torch.where(maps[:, None] == SKY, blue, picture(turning))
    shown = KeyFrame(turning, frame, maps, painter).show(torch.arange(PASS))
    assert shown.label_maps is not None
    hidden = shown.motion.backward_visible[0, -1, 0] == 0
    above, below = hidden.clone(), hidden.clone()
    above[12:], below[:16] = False, False
    assert above.sum() > 80 and below.sum() > 80
    last = shown.refined[0, -1]
    assert (last[:, above] - blue.view(3, 1)).abs().max() < 0.02
    assert (shown.label_maps[0, -1][above] == SKY).all()
    assert (shown.label_maps[0, -1][below] == MADE).all(), "what is not sky is painted"
    flat = KeyFrame(replace(turning, has_ground=False), frame, maps, Painter())
    painted = flat.show(torch.arange(PASS)).label_maps
    assert painted is not None and (painted[0, -1][above] == MADE).any(), "depth says nothing then"


def test_an_outline_that_was_none_in_the_key_is_soft() -> None:
    turning = drive(turn=0.2)
    given = (turning, picture(turning), turning.scene.surfaces, Painter())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holes, "SOFT", 0.0)
        hard = KeyFrame(*given).show(torch.arange(PASS))
    soft = KeyFrame(*given).show(torch.arange(PASS))
    off = (soft.refined - hard.refined).abs().amax(2)[0]
    assert 0.005 < (off > 1e-6).float().mean() < 0.15
    assert torch.equal(soft.warped, hard.warped), "what is read stays as it is"
    assert (off[:, 20:, 4:40] <= 1e-6).float().mean() > 0.9, "the road is in one piece"


def test_a_key_goes_on_as_a_drive_of_what_it_shows(painter: Painter) -> None:
    """After a pass that turned by 0.2 the thing, now number 2, drives three metres ahead."""
    turning, later, length = drive(turn=0.2), drive(turn=-0.1), PASS * FINENESS
    steps = 3 * length + 1
    rows = torch.zeros_like(turning.scene.rows)
    rows[:, 14:22, 34:44] = 1
    objects = torch.zeros(1, 2, steps, 3)
    paths = replace(turning.scene.paths, objects=objects, pivots=torch.ones(1, 2, 2))
    turning = replace(turning, scene=replace(turning.scene, rows=rows, paths=paths))
    key = KeyFrame(turning, picture(turning), turning.scene.surfaces, painter, shadows=False)
    source = key.show(torch.arange(PASS)).motion.source[0, -1]
    seen = 2 * (rows.flatten()[source.clamp(min=0)] * (source >= 0))
    ahead = objects.clone()
    ahead[0, 1, :, 0] = 3 * torch.arange(steps) / length
    ahead[0, 1, :, 2] = 0.1 * torch.arange(steps) / length
    paths = replace(later.scene.paths, objects=ahead, pivots=torch.ones(1, 2, 2))
    later = replace(later, scene=replace(later.scene, rows=seen[None], paths=paths))
    before = key.drive.scene.paths
    other = KeyFrame(later, picture(later), later.scene.surfaces, painter, shadows=False)
    # There distances seem half as far as they were seen before, and so do metres.
    key.follow(other, source, other.inverse_depth / 2, float(PASS))
    after = key.drive.scene.paths
    assert torch.equal(after.camera[:, : length + 1], before.camera[:, : length + 1])
    assert float(after.camera[0, 2 * length, 2]) == pytest.approx(0.2 - 0.1, abs=1e-5)
    own = rates_of(after.camera, 1.0)[:, length : 3 * length]
    twice = torch.tensor([2.0, 2.0, 1.0, 1.0])
    given = twice * rates_of(later.scene.paths.camera, 1.0)[:, : 2 * length]
    torch.testing.assert_close(own, given)
    assert after.objects[0, 0, : length + 1].abs().max() == 0
    # Ahead is where the camera pointed to then.
    way = [2 * 3 * math.cos(0.2), 2 * 3 * math.sin(0.2), 0.1]
    assert after.objects[0, 0, 2 * length].tolist() == pytest.approx(way, abs=1e-5)
    assert after.objects[0, 1].abs().max() == 0, "of which nothing is seen"
    moved = key.show(torch.arange(PASS, 2 * PASS)).motion.camera_path
    assert moved is not None and (moved[0, :, 0] > before.camera[0, length, 0]).all()
    # Wishes change what it does by itself from then on.
    key.steer(lambda drive: drive, float(PASS))
    torch.testing.assert_close(key.drive.scene.paths.camera, after.camera)
    torch.testing.assert_close(key.drive.scene.paths.objects, after.objects)


def test_times_are_halved_from_the_last_on() -> None:
    assert list(_halving(8)) == [7, 3, 1, 5, 0, 2, 4, 6]
    assert list(_halving(1)) == [0]
    assert sorted(_halving(13)) == list(range(13))
