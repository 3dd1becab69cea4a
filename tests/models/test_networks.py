"""The boxes of the figure, tiny and untrained: shapes, ranges, and what must not depend on what."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.labels.space import get_label_space
from seg2vid.models import holes
from seg2vid.models.animator import Animator, choose_labels, continue_latent
from seg2vid.models.appearance_encoder import AppearanceEncoder, LookPosterior
from seg2vid.models.discriminator import Discriminator
from seg2vid.models.drive import render
from seg2vid.models.first_frame import FirstFrame, Look
from seg2vid.models.layers import LOG_VARIANCE_RANGE, MAX_OBJECTS, OBJECT_FACTOR, find_objects
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.models.motion_encoder import MotionEncoder, draw_latent
from seg2vid.models.refiner import Refiner
from seg2vid.structures import Animation, Latent, Motion, ScenePaths, join_batch
from seg2vid.tools.errors import ModelError
from seg2vid.training.config import FirstFrameTrainingConfig
from tests import tiny

CITYSCAPES = get_label_space("cityscapes")
ROAD, BUILDING, SKY, CAR = 0, 2, 10, 13
CHANNELS, FOREGROUND = CITYSCAPES.num_channels, CITYSCAPES.foreground_ids
CONFIG = replace(tiny.CONFIG, width=96)
SIZE = (CONFIG.height, CONFIG.width)
TIME = CONFIG.num_frames
STANDING = ScenePaths(
    torch.zeros(2, TIME, 4), torch.zeros(2, MAX_OBJECTS, TIME, 3), torch.zeros(2, MAX_OBJECTS, 2)
)
COARSE = (CONFIG.height // OBJECT_FACTOR, CONFIG.width // OBJECT_FACTOR)


def street(batch: int = 2) -> Int[Tensor, "batch height width"]:
    """Sky over a road with two cars on it."""
    label_map = torch.full((batch, *SIZE), ROAD)
    label_map[:, :24] = SKY
    label_map[:, 32:48, 8:32] = CAR
    label_map[:, 32:48, 56:80] = CAR
    return label_map


def objects_of(
    label_map: Int[Tensor, "batch height width"],
) -> Int[Tensor, "batch coarse_height coarse_width"]:
    """Objects of a map without instances."""
    return find_objects(label_map, None, foreground=FOREGROUND, factor=OBJECT_FACTOR)


def seeded(seed: int) -> torch.Generator:
    """A generator in a known state."""
    return torch.Generator().manual_seed(seed)


# First frame.


@cache
def first_frame_box(widths: tuple[int, ...] = (4, 6, 8)) -> FirstFrame:
    """A tiny generator."""
    config = replace(CONFIG.first_frame, widths=widths)
    torch.manual_seed(1)
    return FirstFrame(config, num_channels=CHANNELS, foreground=FOREGROUND).eval()


def draw_look(box: FirstFrame, batch: int, generator: torch.Generator | None) -> Look:
    """Draw a look for each of several streets."""
    label_map = street(batch)
    return box.draw(label_map, objects_of(label_map), generator)


@torch.no_grad()
def paint(look: Look, *, box: FirstFrame | None = None) -> Float[Tensor, "batch 3 height width"]:
    """Paint the street with a look."""
    label_map = street(len(look.whole))
    return (box or first_frame_box())(label_map, objects_of(label_map), look)


def test_first_frame_paints_rgb_in_the_size_of_the_map() -> None:
    frame = paint(draw_look(first_frame_box(), 2, None))
    assert frame.shape == (2, 3, *SIZE)
    assert frame.min() >= 0 and frame.max() <= 1 and frame.std() > 0


def test_first_frame_takes_other_sizes() -> None:
    label_map = torch.full((1, 32, 48), ROAD)
    look = first_frame_box().draw(label_map, objects_of(label_map), None)
    assert first_frame_box()(label_map, objects_of(label_map), look).shape == (1, 3, 32, 48)


@pytest.mark.parametrize("scale", [2, 3])
@torch.no_grad()
def test_first_frame_paints_larger_maps_than_their_objects_say(scale: int) -> None:
    label_map, box = street(1), first_frame_box()
    objects = objects_of(label_map)
    look = box.draw(label_map, objects, seeded(1))
    large = label_map.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    frame = box(large, objects, look)
    assert frame.shape == (1, 3, scale * SIZE[0], scale * SIZE[1])
    assert 0 <= float(frame.min()) < float(frame.max()) <= 1


def test_the_same_look_is_the_same_picture_and_another_is_another() -> None:
    box = first_frame_box()
    one, again, other = (paint(draw_look(box, 1, seeded(seed))) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert (one - other).abs().mean() > 1e-3


def test_looks_differ_within_a_batch() -> None:
    pictures = paint(draw_look(first_frame_box(), 2, None))
    assert (pictures[0] - pictures[1]).abs().mean() > 1e-3


def test_every_number_of_a_look_comes_from_the_normal_distribution() -> None:
    look = draw_look(first_frame_box(), 50, seeded(0))
    assert look.whole.shape == (50, 3) and look.segments.shape == (50, CHANNELS + MAX_OBJECTS, 2)
    assert abs(float(look.segments.mean())) < 0.05 and abs(float(look.segments.std()) - 1) < 0.05


def test_pixels_use_the_look_of_their_object_or_else_of_their_class() -> None:
    label_map = street(1)
    label_map[0, 40:48, 30:32] = ROAD  # this corner's cell is still touched by the car
    segments = first_frame_box().segments(label_map, objects_of(label_map))
    assert segments[0, 0, 0] == SKY and segments[0, 60, 0] == ROAD
    assert segments[0, 40, 10] == CHANNELS and segments[0, 40, 60] == CHANNELS + 1
    assert segments[0, 44, 31] == ROAD


def changed_rows(
    box: FirstFrame, *rows: int
) -> tuple[Float[Tensor, "1 3 height width"], Float[Tensor, "1 3 height width"]]:
    """The street before and after other numbers for some segments."""
    look = draw_look(box, 1, seeded(3))
    segments = look.segments.clone()
    segments[:, list(rows)] = -2 * segments[:, list(rows)] + 1
    return paint(look, box=box), paint(replace(look, segments=segments), box=box)


def far_from(mask: Bool[Tensor, "height width"], distance: int) -> Bool[Tensor, "height width"]:
    """Pixels that are further than ``distance`` from the mask, along rows or columns."""
    size = 2 * distance + 1
    near = torch.nn.functional.max_pool2d(mask[None, None].float(), size, 1, distance)
    return near[0, 0] == 0


@pytest.mark.parametrize("widths", [(4, 6, 8), (4, 6, 8, 8, 8)])
def test_another_look_of_one_class_stays_with_that_class(widths: tuple[int, ...]) -> None:
    before, after = changed_rows(first_frame_box(widths), SKY)
    change = (after - before).abs().mean(1)[0]
    is_sky = street(1)[0] == SKY
    far = far_from(is_sky, 24)
    assert far.sum() > 500
    assert change[is_sky].mean() > 1e-4
    assert change[is_sky].mean() > 20 * change[far].mean()


def test_another_look_of_one_car_leaves_the_other_car() -> None:
    before, after = changed_rows(first_frame_box(), CHANNELS)
    change = (after - before).abs().mean(1)[0]
    assert change[36:44, 12:28].mean() > 20 * change[36:44, 60:76].mean()


def test_the_look_of_an_absent_class_changes_nothing() -> None:
    before, after = changed_rows(first_frame_box(), BUILDING)
    assert torch.equal(before, after)


# Appearance encoder and discriminator.


def test_appearance_encoder_marks_the_segments_that_are_there() -> None:
    label_map = street(2)
    label_map[1] = ROAD
    segments = first_frame_box().segments(label_map, objects_of(label_map))
    encoder = AppearanceEncoder(CONFIG.first_frame, num_channels=CHANNELS, width=4).eval()
    posterior = encoder(torch.rand(2, 3, *SIZE), label_map, segments)
    assert posterior.mean.whole.shape == (2, 3)
    assert posterior.log_variance.segments.shape == (2, CHANNELS + MAX_OBJECTS, 2)
    present = [row.nonzero().flatten().tolist() for row in posterior.areas]
    assert present == [[ROAD, SKY, CHANNELS, CHANNELS + 1], [ROAD]]


def test_looks_of_absent_segments_are_drawn_from_the_prior() -> None:
    far = Look(torch.full((8, 3), 100.0), torch.full((8, 84, 2), 100.0))
    narrow = Look(torch.full((8, 3), -8.0), torch.full((8, 84, 2), -8.0))
    present = torch.zeros(8, 84)
    present[:, :40] = 1
    look = LookPosterior(far, narrow, present).draw()
    assert (look.whole - 100).abs().max() < 1
    assert (look.segments[:, :40] - 100).abs().max() < 1
    absent = look.segments[:, 40:]
    assert abs(float(absent.mean())) < 0.15 and abs(float(absent.std()) - 1) < 0.15


def test_drawing_a_look_is_differentiable() -> None:
    mean = Look(torch.zeros(1, 3, requires_grad=True), torch.zeros(1, 84, 2, requires_grad=True))
    wide = Look(torch.zeros(1, 3, requires_grad=True), torch.zeros(1, 84, 2))
    look = LookPosterior(mean, wide, torch.ones(1, 84)).draw()
    (look.whole.sum() + look.segments.sum()).backward()
    assert (mean.whole.grad == 1).all() and (mean.segments.grad == 1).all()
    torch.testing.assert_close(wide.whole.grad, look.whole.detach() / 2)


def test_discriminator_judges_every_pixel_with_one_class_more() -> None:
    judge = Discriminator(num_channels=CHANNELS, width=4).eval()
    assert judge(torch.rand(2, 3, *SIZE)).shape == (2, CHANNELS + 1, *SIZE)


def test_what_only_training_needs_is_never_shipped() -> None:
    pytest.importorskip("lightning")
    from seg2vid.training.first_frame import FirstFrameStage

    stage = FirstFrameStage(CONFIG, FirstFrameTrainingConfig(discriminator_width=4))
    shipped = {id(p) for box in stage.boxes().values() for p in box.parameters()}
    kept = [*stage.discriminator.parameters(), *stage.first_frame.parameters()]
    assert list(stage.boxes()) == ["first_frame", "appearance_encoder"] and shipped
    assert shipped.isdisjoint(id(parameter) for parameter in kept)


# Motion decoder; tests/models/test_motion_decoder.py has what is a scene's.


@cache
def motion_decoder() -> MotionDecoder:
    """A tiny decoder in evaluation mode."""
    torch.manual_seed(2)
    return MotionDecoder(CONFIG).eval()


@cache
def scene() -> tuple[
    Float[Tensor, "2 3 height width"],
    Int[Tensor, "2 height width"],
    Latent,
    Int[Tensor, "2 coarse_height coarse_width"],
]:
    """First frames, label maps, z and objects of a batch of two."""
    label_map = street()
    label_map[1, 32:48, 56:80] = ROAD
    objects = objects_of(label_map)
    frame = torch.rand(2, 3, *SIZE, generator=seeded(0))
    return frame, label_map, motion_decoder().draw(objects, seeded(1)), objects


def decode(decoder: MotionDecoder, *given: Any) -> Motion:
    """The motion at each frame of a pass."""
    return render(decoder.drive(*given).at(torch.arange(TIME)))


def assert_same_motion(one: Motion, other: Motion) -> None:
    """Check that two motions are equal, but for rounding."""
    for name in ("forward_flow", "backward_flow", "forward_visible", "backward_visible"):
        a, b = getattr(one, name), getattr(other, name)
        torch.testing.assert_close(
            a, b, rtol=1e-4, atol=1e-4, msg=lambda text, n=name: f"{n} {text}"
        )


@torch.no_grad()
def test_hints_without_confidence_are_no_hints() -> None:
    hints = torch.randn(2, 3, *COARSE) * 20
    hints[:, 2] = 0
    without = animator()(*scene()).motion
    assert_same_motion(animator()(*scene(), hints).motion, without)
    hints[:, 2] = 1
    hinted = animator()(*scene(), hints).motion
    assert (hinted.forward_flow - without.forward_flow).abs().mean() > 1e-3


@torch.no_grad()
def test_the_background_code_moves_the_whole_picture() -> None:
    frame, label_map, z, objects = scene()
    other = replace(z, background=z.background + 2)
    one, two = (decode(motion_decoder(), frame, label_map, code, objects) for code in (z, other))
    for name in ("forward_flow", "backward_flow"):
        change = (getattr(one, name) - getattr(two, name)).abs().sum(2)[:, -1]
        assert (change[label_map != SKY] > 1e-5).float().mean() > 0.9, name


@torch.no_grad()
def test_a_foreground_code_acts_most_where_its_object_is() -> None:
    frame, label_map, z, objects = scene()
    foreground = z.foreground + 3 * (objects == 1).unsqueeze(1)
    codes = (z, replace(z, foreground=foreground))
    one, two = (decode(motion_decoder(), frame, label_map, code, objects) for code in codes)
    change = (one.forward_flow - two.forward_flow).abs().mean((1, 2))[0]
    assert change[32:48, 8:32].mean() > 1.5 * change[32:48, 80:].mean()


@torch.no_grad()
def test_a_sample_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    frame, label_map, z, objects = scene()
    together = decode(motion_decoder(), frame, label_map, z, objects)
    alone = decode(motion_decoder(), frame[1:], label_map[1:], z.sample(1), objects[1:])
    assert_same_motion(together.sample(1), alone)


def test_drawn_codes_are_zero_on_the_background_and_constant_on_each_object() -> None:
    objects = objects_of(street())
    z = motion_decoder().draw(objects, seeded(0))
    assert z.background.shape == (2, 3) and z.foreground.shape == (2, 2, *COARSE)
    assert (z.foreground.permute(0, 2, 3, 1)[objects == 0] == 0).all()
    codes = [z.foreground[s][:, objects[s] == number] for s in (0, 1) for number in (1, 2)]
    assert all((code == code[:, :1]).all() and code.abs().min() > 0 for code in codes)
    assert len({float(code[0, 0]) for code in codes}) == 4


def test_a_seed_is_a_seed() -> None:
    objects = objects_of(street())
    one, again, other = (motion_decoder().draw(objects, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(one.background, again.background)
    assert torch.equal(one.foreground, again.foreground)
    assert not torch.equal(one.background, other.background)


# Motion encoder.


def encoder(*, loudness: float = 1.0) -> MotionEncoder:
    """A tiny encoder, its last layers louder if asked."""
    torch.manual_seed(3)
    box = MotionEncoder(CONFIG).eval()
    for layer in (box.background_head, box.foreground_head):
        layer[-1].weight.data.mul_(loudness)
    return box


@torch.no_grad()
def test_motion_encoder_gives_objects_one_code_each_and_the_background_none() -> None:
    frame, label_map, _, objects = scene()
    posterior = encoder()(frame, torch.rand(2, TIME, 3, *SIZE), label_map, objects, STANDING)
    assert torch.equal(posterior.objects, objects)
    for part in (posterior.mean, posterior.log_variance):
        assert part.background.shape == (2, 3) and part.foreground.shape == (2, 2, *COARSE)
        assert (part.foreground.permute(0, 2, 3, 1)[objects == 0] == 0).all()
        for number in (1, 2):
            cells = part.foreground[0][:, objects[0] == number]
            assert (cells == cells[:, :1]).all() and cells.abs().min() > 0


@torch.no_grad()
def test_log_variance_is_clamped() -> None:
    frame, label_map, _, objects = scene()
    clip = torch.rand(2, TIME, 3, *SIZE)
    posterior = encoder(loudness=1e5)(frame, clip, label_map, objects, STANDING)
    low, high = LOG_VARIANCE_RANGE
    for values in (posterior.log_variance.background, posterior.log_variance.foreground):
        assert values.min() >= low and values.max() <= high
    extremes = posterior.log_variance.background
    assert ((extremes == low) | (extremes == high)).all()


@torch.no_grad()
def test_the_code_sees_motion_and_not_only_the_first_frame() -> None:
    frame, label_map, _, objects = scene()
    clips = (torch.rand(2, TIME, 3, *SIZE, generator=seeded(seed)) for seed in (1, 2))
    loud = encoder(loudness=100)
    one, two = (loud(frame, clip, label_map, objects, STANDING).mean for clip in clips)
    assert (one.background - two.background).abs().mean() > 1e-4
    assert (one.foreground - two.foreground).abs().mean() > 1e-5


def test_drawing_from_the_posterior_is_mean_plus_scaled_noise() -> None:
    frame, label_map, noise, objects = scene()
    posterior = encoder()(frame, torch.rand(2, TIME, 3, *SIZE), label_map, objects, STANDING)
    silent = noise.map(torch.zeros_like)
    assert torch.equal(draw_latent(posterior, silent).background, posterior.mean.background)
    wide = replace(posterior, log_variance=silent.map(lambda tensor: tensor + math.log(4)))
    drawn = draw_latent(wide, noise)
    torch.testing.assert_close(drawn.foreground, wide.mean.foreground + 2 * noise.foreground)
    assert (drawn.foreground.permute(0, 2, 3, 1)[objects == 0] == 0).all()


# Refiner and animator.


@cache
def refiner() -> Refiner:
    """A tiny refiner."""
    torch.manual_seed(4)
    return Refiner(CONFIG.refiner, num_channels=CHANNELS).eval()


@torch.no_grad()
def test_refiner_copies_what_is_visible() -> None:
    warped, first = torch.rand(2, 2, 3, *SIZE)
    refined, logits = refiner()(warped, torch.ones(2, 1, *SIZE), street(), first)
    assert (refined - warped).abs().max() < 0.01
    assert logits.shape == (2, CHANNELS, SIZE[0] // 2, SIZE[1] // 2)


@torch.no_grad()
def test_refiner_paints_what_is_hidden_without_looking_at_it() -> None:
    warped, first = torch.rand(2, 2, 3, *SIZE)
    visible = torch.ones(2, 1, *SIZE)
    visible[..., 40:] = 0
    other = torch.where(visible > 0, warped, 1 - warped)
    (one, labels), (two, other_labels) = (
        refiner()(frame, visible, street(), first) for frame in (warped, other)
    )
    assert torch.equal(labels, other_labels)
    assert (one - two).abs().max() < 0.01
    assert (one - warped)[..., 40:].abs().mean() > 0.1
    assert one.min() >= 0 and one.max() <= 1


def still(batch: int = 2) -> Motion:
    """Nothing moves and everything is visible."""
    flows, visible = torch.zeros(2, batch, TIME, 2, *SIZE), torch.ones(2, batch, TIME, 1, *SIZE)
    return Motion(*flows, *visible)


@cache
def animator() -> Animator:
    """A tiny animator."""
    torch.manual_seed(5)
    return Animator(CONFIG, num_channels=CHANNELS).eval()


@torch.no_grad()
def test_finishing_a_still_motion_repeats_the_first_frame() -> None:
    frame, label_map, _, _ = scene()
    animation = animator().finish(frame, label_map, still())
    repeated = frame.unsqueeze(1).expand(-1, TIME, -1, -1, -1)
    torch.testing.assert_close(animation.warped, repeated, rtol=0, atol=1e-4)
    assert (animation.refined - repeated).abs().max() < 0.01
    assert torch.equal(choose_labels(label_map, animation)[:, 1], label_map)


@torch.no_grad()
def test_animator_decodes_then_finishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "SOFT", 0.0)  # outlines as hard as they are read
    frame, label_map, z, objects = scene()
    animation = animator()(frame, label_map, z, objects)
    keys = animator().begin(frame, label_map, z, objects)
    motion = join_batch([render(key.drive.at(torch.arange(TIME))) for key in keys])
    assert_same_motion(animation.motion, motion)
    again = animator().finish(frame, label_map, motion)
    torch.testing.assert_close(animation.warped, again.warped)
    # What is seen is the same; what is hidden is painted once, and not in every frame.
    seen = (animation.motion.source >= 0).unsqueeze(2).expand_as(again.refined)
    torch.testing.assert_close(animation.refined[seen], again.warped[seen])
    assert animation.label_maps.shape == (2, TIME, *SIZE)
    assert again.label_logits.shape == (2, TIME, CHANNELS, SIZE[0] // 2, SIZE[1] // 2)


def test_labels_move_where_visible_and_are_painted_elsewhere() -> None:
    motion = still(1)
    motion.backward_flow[:, 1, 0] = -8.0  # at time 1 everything lies 8 pixels further right
    motion.backward_visible[..., :8] = 0.4
    logits = torch.zeros(1, TIME, CHANNELS, SIZE[0] // 2, SIZE[1] // 2)
    logits[:, :, BUILDING, ::2] = 1.0  # every second pair of rows
    logits[:, :, ROAD, 1::2] = 1.0
    label_map, nothing = street(1), torch.zeros(1, TIME, 3, *SIZE)
    chosen = choose_labels(label_map, Animation(motion, nothing, nothing, logits))
    assert chosen.shape == (1, TIME, *SIZE)
    assert chosen[0, 0, :8, 0].tolist() == [BUILDING, BUILDING, ROAD, ROAD] * 2
    assert torch.equal(chosen[:, 0, :, 8:], label_map[:, :, 8:])
    assert torch.equal(chosen[:, 1, :, 8:], label_map[:, :, :-8])


# From one pass to the next.


def car_moves(
    cells: int, *, visible: float = 1.0
) -> tuple[Motion, Int[Tensor, "1 coarse_height coarse_width"]]:
    """A car of 2 x 3 cells went right by some cells: motion, and objects of the last frame."""
    motion, objects = still(1), torch.zeros(1, *COARSE).long()
    start = 1 + cells
    objects[0, 4:6, start : start + 3] = 1
    columns = slice(start * OBJECT_FACTOR, (start + 3) * OBJECT_FACTOR)
    motion.backward_flow[0, -1, 0, 32:48, columns] = -float(cells * OBJECT_FACTOR)
    motion.backward_visible[0, -1, 0, 32:48, columns] = visible
    return motion, objects


def test_an_object_takes_its_code_along() -> None:
    motion, objects = car_moves(3)
    before = torch.zeros(1, *COARSE).long()
    before[0, 4:6, 1:4] = 1
    z = motion_decoder().draw(before, seeded(0))
    carried = continue_latent(z, motion, objects)
    assert torch.equal(carried.background, z.background)
    code = z.foreground[0, :, 4, 1]
    torch.testing.assert_close(
        carried.foreground.permute(0, 2, 3, 1)[objects == 1], code.expand(6, -1)
    )
    assert (carried.foreground.permute(0, 2, 3, 1)[objects == 0] == 0).all()


def test_codes_of_two_objects_are_not_mixed() -> None:
    objects = objects_of(street(1))
    z = motion_decoder().draw(objects, seeded(0))
    carried = continue_latent(z, still(1), objects)
    torch.testing.assert_close(carried.foreground, z.foreground)


def test_a_new_object_gets_the_mean_of_the_prior() -> None:
    objects = objects_of(street(1))
    z = motion_decoder().draw(torch.where(objects == 1, 1, 0), seeded(0))
    carried = continue_latent(z, still(1), objects).foreground.permute(0, 2, 3, 1)
    assert (carried[objects == 2] == 0).all() and carried[objects == 1].abs().min() > 0


def test_depth_that_ends_before_an_eighth_is_refused() -> None:
    config = replace(tiny.CONFIG, depth=replace(tiny.CONFIG.depth, widths=(4, 4, 6)))
    with pytest.raises(ModelError, match=r"4 depth.widths or more, down to an eighth.*; got 3; gi"):
        MotionDecoder(config)
