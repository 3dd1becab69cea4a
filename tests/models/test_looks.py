"""Looks of a generator for photographs: grain, levels, what is known of looks, and its judge."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from seg2vid.labels.convert import one_hot
from seg2vid.labels.space import get_label_space
from seg2vid.models.appearance_encoder import AppearanceEncoder
from seg2vid.models.config import FirstFrameConfig
from seg2vid.models.first_frame import FirstFrame
from seg2vid.models.layers import MAX_OBJECTS, OBJECT_FACTOR, coarse_labels, find_objects
from seg2vid.models.looks import MOST_OFF, PICTURE_RANGE, KnownLooks, interpolate_looks
from seg2vid.models.patch_discriminator import PatchDiscriminator, augment
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Clip, Look
from seg2vid.tools.devices import exact_arithmetic
from seg2vid.tools.errors import ModelError
from seg2vid.training.config import FirstFrameTrainingConfig
from seg2vid.training.first_frame import FirstFrameStage
from tests.tiny import CONFIG, street_map

SPACE = get_label_space("cityscapes")
CHANNELS, CAR = SPACE.num_channels, 13
WIDE = 1.8
"""How far looks of classes are drawn here."""
STREET = FirstFrameConfig(
    widths=(4, 6, 8, 8),
    context=8,
    global_noise=3,
    segment_noise=2,
    more_blocks=(0, 0, 1, 2),
    grain=True,
    look_levels=(3, 2),
    look_prior=4,
)


def objects_of(label_map: Tensor) -> Tensor:
    things = SPACE.foreground_ids
    return find_objects(label_map, None, foreground=things, factor=OBJECT_FACTOR)


@cache
def generator(config: FirstFrameConfig = STREET) -> FirstFrame:
    torch.manual_seed(0)
    box = FirstFrame(config, num_channels=CHANNELS, foreground=SPACE.foreground_ids).eval()
    for name, parameter in box.named_parameters():
        if name.endswith(".grain"):
            torch.nn.init.constant_(parameter, 0.3)
    return box


def draw(box: FirstFrame, seed: int = 0, batch: int = 1) -> Look:
    labels = street_map().repeat(batch, 1, 1)
    return box.draw(labels, objects_of(labels), torch.Generator().manual_seed(seed))


@torch.no_grad()
def paint(box: FirstFrame, look: Look) -> Tensor:
    labels = street_map()
    picture: Tensor = box(labels, objects_of(labels), look)
    return picture


# Grain.


def test_grain_belongs_to_the_look_and_changes_the_picture() -> None:
    box, look = generator(), draw(generator())
    assert torch.equal(paint(box, look), paint(box, draw(box)))
    assert look.grain is not None
    other = replace(look, grain=look.grain.flip(1))
    assert (paint(box, look) - paint(box, other)).abs().mean() > 1e-3


def test_grain_covers_pictures_larger_than_itself() -> None:
    labels = street_map().repeat(1, 4, 4)
    with torch.no_grad():
        picture = generator()(labels, objects_of(labels), draw(generator()))
    assert picture.shape == (1, 3, 256, 512)


def test_further_blocks_change_little_at_first() -> None:
    plain = generator(replace(STREET, more_blocks=(), grain=False, look_prior=0))
    deep = generator(replace(STREET, grain=False, look_prior=0))
    assert len(deep.more[3]) == 2 and len(deep.more[0]) == 0
    for name, value in plain.state_dict().items():
        deep.state_dict()[name].copy_(value)
    look = draw(plain)
    assert (paint(plain, look) - paint(deep, look)).abs().mean() < 0.05


# Levels.


def test_coarse_levels_do_not_see_looks_of_objects() -> None:
    box, labels = generator(), street_map()
    look = draw(box)
    segments = look.segments.clone()
    segments[:, CHANNELS:] += 1.0
    rows = box.segments(labels, objects_of(labels))
    pairs = (box._conditions(labels, rows, one) for one in (look, replace(look, segments=segments)))
    changed = [not torch.equal(a, b) for a, b in zip(*pairs, strict=True)]
    assert changed == [True, True, True, False]


# What is known of looks.


def known_looks() -> tuple[KnownLooks, Look, Tensor]:
    """Two pictures' looks: both have the classes 1 and 2, the first a car."""
    known = KnownLooks(4, classes=CHANNELS, whole=3, segment=2, class_range=WIDE)
    rows = CHANNELS + MAX_OBJECTS
    mean = Look(torch.tensor([[1.0] * 3, [5.0] * 3]), torch.arange(2.0 * rows * 2).view(2, rows, 2))
    areas = torch.zeros(2, rows)
    areas[:, 1] = areas[:, 2] = areas[0, CHANNELS] = 0.1
    classes = torch.full((2, MAX_OBJECTS), CHANNELS - 1)
    classes[0, 0] = CAR
    spread = Look(torch.zeros(2, 3), torch.zeros(2, rows, 2))
    known.spread.zero_()
    known.learn(mean, spread, areas, classes)
    return known, mean, classes


def test_looks_are_drawn_about_those_that_were_learned() -> None:
    known, mean, classes = known_looks()
    noise = Look(torch.randn(8, 3), torch.randn(8, CHANNELS + MAX_OBJECTS, 2))
    areas = torch.full((8, CHANNELS + MAX_OBJECTS), 0.1)
    drawn = known.draw(classes[:1].expand(8, -1), areas, noise, torch.Generator().manual_seed(0))
    values = [3 - 2 * PICTURE_RANGE, 3 + 2 * PICTURE_RANGE]
    torch.testing.assert_close(drawn.whole.unique(), torch.tensor(values))
    # Classes do not come from one picture: they differ from their mean, each by itself.
    stuff = drawn.segments[:, :CHANNELS]
    assert {len(stuff[:, kind].unique(dim=0)) for kind in (1, 2)} == {2}
    mean_of_class = known.segments[0, :2, 1].mean(0)
    off = (known.segments[0, :2, 1] - mean_of_class).norm(dim=1).max() * WIDE
    torch.testing.assert_close((stuff[:, 1] - mean_of_class).norm(dim=1), off.expand(8))
    is_first = [(stuff[:, kind] == stuff[0, kind]).all(1) for kind in (1, 2)]
    assert not torch.equal(*is_first)
    car = mean.segments[0, CHANNELS]
    assert torch.equal(drawn.segments[:, CHANNELS], car.expand(8, -1)), "a car looks like a car"
    # No object of that class was ever seen.
    assert torch.equal(drawn.segments[:, CHANNELS + 1], noise.segments[:, CHANNELS + 1])


@pytest.mark.parametrize("row", [2, CHANNELS], ids=["class", "object"])
def test_a_segment_looks_like_those_that_were_as_large(row: int) -> None:
    known = KnownLooks(32, classes=CHANNELS, whole=3, segment=2, class_range=WIDE)
    known.spread.zero_()
    classes, none = torch.full((1, MAX_OBJECTS), CAR), torch.zeros(1, CHANNELS + MAX_OBJECTS)

    def areas_of(number: int) -> Tensor:
        return none.index_fill(1, torch.tensor([row]), 1.3**-number)

    zeros = Look(torch.zeros(1, 3), torch.zeros(1, CHANNELS + MAX_OBJECTS, 2))
    for number in range(32):
        mean = zeros.map(lambda one, value=number: torch.full_like(one, value))
        known.learn(mean, zeros, areas_of(number), classes)
    dice = torch.Generator().manual_seed(0)
    # A quarter of 32 are as large: the number itself and its seven neighbours.
    for number, alike in ((0, range(8)), (16, range(12, 20)), (31, range(24, 32))):
        draws = [known.draw(classes, areas_of(number), zeros, dice) for _ in range(80)]
        looks = torch.stack([one.segments[0, row, 0] for one in draws])
        if row < CHANNELS:
            looks = torch.lerp(torch.tensor(alike).float().mean(), looks, 1 / WIDE)
        assert {round(one, 3) for one in looks.tolist()} == set(map(float, alike))


def test_a_look_that_is_odd_is_not_made_odder() -> None:
    known = KnownLooks(32, classes=CHANNELS, whole=3, segment=2, class_range=WIDE)
    areas = torch.full((1, CHANNELS + MAX_OBJECTS), 0.1)
    classes = torch.full((1, MAX_OBJECTS), CAR)
    zeros = Look(torch.zeros(1, 3), torch.zeros(1, CHANNELS + MAX_OBJECTS, 2))
    for number in range(32):
        mean = zeros.map(lambda one, odd=number == 0: torch.full_like(one, 10.0 if odd else 0.0))
        known.learn(mean, zeros, areas, classes)
    dice = torch.Generator().manual_seed(0)
    drawn = torch.stack([known.draw(classes, areas, zeros, dice).segments[0, 2] for _ in range(99)])
    # The odd one is among the first quarter, which counts where all are as large: one of eight.
    deviation = 10 * (1 / 8 * 7 / 8) ** 0.5
    assert float(drawn.max()) == pytest.approx(10 / 8 + WIDE * MOST_OFF * deviation)


def test_pictures_that_lack_a_class_say_nothing_of_it() -> None:
    known = KnownLooks(32, classes=CHANNELS, whole=3, segment=2)
    classes = torch.full((1, MAX_OBJECTS), CAR)
    some = Look(torch.zeros(1, 3), torch.full((1, CHANNELS + MAX_OBJECTS, 2), 7.0))
    areas = torch.zeros(1, CHANNELS + MAX_OBJECTS)
    areas[0, 2] = 0.1
    for number in range(32):
        has = areas if number % 16 == 5 else torch.zeros_like(areas)
        known.learn(some, some.map(torch.zeros_like), has, classes)
    dice = torch.Generator().manual_seed(0)
    drawn = [known.draw(classes, areas, some, dice).segments[0, 2, 0] for _ in range(40)]
    assert torch.stack(drawn).tolist() == [7.0] * 40


def test_the_oldest_looks_are_forgotten_first() -> None:
    known, mean, classes = known_looks()
    areas = torch.zeros(2, CHANNELS + MAX_OBJECTS)
    zeros = mean.map(torch.zeros_like)
    for value in (7.0, 8.0):
        known.learn(mean.map(lambda one, v=value: torch.full_like(one, v)), zeros, areas, classes)
    assert sorted(known.whole[:, 0].tolist()) == [7.0, 7.0, 8.0, 8.0]


def test_without_anything_known_looks_come_from_the_normal_distribution() -> None:
    look = draw(generator(), batch=50)
    assert abs(float(look.segments.std()) - 1) < 0.05


def test_object_classes_are_those_of_their_pixels() -> None:
    labels = street_map()
    classes = generator().object_classes(labels, objects_of(labels))
    assert classes[0, :2].tolist() == [CAR, CAR] and classes[0, 2] == CHANNELS - 1


# The patch discriminator.


@cache
def patches() -> PatchDiscriminator:
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs seg2vid[train]")
    torch.manual_seed(0)
    return PatchDiscriminator(num_channels=CHANNELS, width=8)


def test_it_judges_at_five_scales_and_passes_gradients_to_the_picture_alone() -> None:
    judge, planes = patches(), one_hot(street_map(), CHANNELS)
    picture = torch.rand(1, 3, 64, 128, requires_grad=True)
    logits = judge(picture, planes)
    assert [tuple(scale.shape[2:]) for scale in logits] == [
        (2, 4), (4, 8), (8, 16), (16, 32), (32, 64),
    ]  # fmt: skip
    sum(scale.mean() for scale in logits).backward()
    assert picture.grad is not None and picture.grad.abs().max() > 0
    assert all(p.grad is None for one in (judge.mix, judge.fuse) for p in one.parameters())
    assert all(p.grad is not None for p in judge.heads.parameters())
    assert not any("backbone" in name for name in judge.state_dict()), "it is not saved"


def test_its_verdict_depends_on_what_the_labels_say() -> None:
    picture, labels = torch.rand(1, 3, 64, 128), street_map()
    with torch.no_grad():
        one, other = (patches()(picture, one_hot(m, CHANNELS)) for m in (labels, labels.flip(1)))
    assert all((a - b).abs().max() > 1e-5 for a, b in zip(one, other, strict=True))


def test_augmentation_moves_labels_along_and_repeats_with_its_dice() -> None:
    labels = street_map().repeat(16, 1, 1)
    planes = one_hot(labels, CHANNELS)
    # Pictures that show their labels: after shifts and cuts they still must.
    picture = (labels / CHANNELS).unsqueeze(1).expand(-1, 3, -1, -1).contiguous()
    moved, maps = augment(picture, planes, torch.Generator().manual_seed(0))
    again, _ = augment(picture, planes, torch.Generator().manual_seed(0))
    assert torch.equal(moved, again) and moved.shape == picture.shape
    same = sum(
        torch.allclose(one[0][m.sum(0) > 0], (m.argmax(0) / CHANNELS)[m.sum(0) > 0])
        for one, m in zip(moved, maps, strict=True)
    )
    assert 3 <= same < 16, "half keep their colours, all of those their labels"


def test_a_missing_backbone_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ModelError, match=r"patch discriminator sees with.*seg2vid\[train\]"):
        PatchDiscriminator(num_channels=3)


# Training with all of it.


def test_a_step_trains_generator_and_both_discriminators() -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs seg2vid[train]")
    training = FirstFrameTrainingConfig(
        discriminator_width=4,
        adversarial_start=0,
        patch=1.0,
        coarse_reconstruction=5.0,
        mixing_every=4,
        prior_share=0.5,
    )
    torch.manual_seed(0)
    stage = FirstFrameStage(replace(CONFIG, first_frame=STREET), training).train()
    labels = street_map().repeat(2, 1, 1)
    clip = Clip(torch.rand(2, 3, 64, 128), torch.rand(2, 0, 3, 64, 128), labels)
    turns = list(stage.turns(clip))
    assert {"patch", "adversarial", "coarse_reconstruction"} <= set(turns[0])
    assert {"discriminator_patches", "discriminator_mixing"} <= set(turns[1])
    assert stage.first_frame.known is not None and stage.first_frame.known.filled[0, 0] == 2
    stage.follow()
    assert torch.equal(stage.average.known.whole, stage.first_frame.known.whole)
    stage.step += 1
    assert "discriminator_mixing" not in list(stage.turns(clip))[1]
    stage.patch_accuracy.fill_(0.99)
    rests = ["discriminator_patches" not in list(stage.turns(clip))[1] for _ in range(8)]
    assert any(rests) and not all(rests)


def test_a_pipeline_paints_with_known_looks_and_grain(arithmetic: str) -> None:
    pipeline = Seg2VidPipeline.from_config(replace(CONFIG, first_frame=STREET))
    one, again, other = (pipeline(street_map(), num_frames=1, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.first_frame, again.first_frame)
    assert not torch.equal(one.first_frame, other.first_frame)
    # One class has another look; the others keep theirs, grain included.
    changed = pipeline(street_map(), num_frames=1, seed=1, resample=["sky"], resample_seed=7)
    difference = (changed.first_frame - one.first_frame).abs().amax(1)[0]
    assert difference[:8].max() > 0 and difference[60:].max() < 0.05


# Looks of photographs, and between looks.


def photo() -> Tensor:
    return torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(5))


def pipeline_with_looks(config: FirstFrameConfig = STREET, *, encoder: bool = False):
    torch.manual_seed(0)
    pipe = Seg2VidPipeline.from_config(replace(CONFIG, first_frame=config))
    if encoder:
        pipe.appearance_encoder = AppearanceEncoder(config, num_channels=CHANNELS).eval()
    return pipe


def test_the_encoder_of_looks_is_saved_and_loaded(tmp_path: Path) -> None:
    pipe = pipeline_with_looks(encoder=True)
    again = Seg2VidPipeline.from_pretrained(pipe.save_pretrained(tmp_path).parent)
    one, other = (each.read_look(photo(), street_map()) for each in (pipe, again))
    assert torch.allclose(one.whole, other.whole, atol=0.02)
    lacks = pipeline_with_looks().save_pretrained(tmp_path / "without")
    assert Seg2VidPipeline.from_pretrained(lacks).appearance_encoder is None


def test_a_map_wears_what_a_photograph_has_of_its_classes() -> None:
    pipe = pipeline_with_looks(encoder=True)
    bare = street_map()
    bare[:, :16] = 8  # vegetation, and no sky
    look = pipe.read_look(photo(), bare)
    assert look.kinds is not None and look.kinds[0, 10] == -1
    plain, worn = (pipe(street_map(), num_frames=1, seed=3, look=one).look for one in (None, look))
    assert torch.equal(worn.whole, look.whole)
    assert torch.equal(worn.segments[:, 2], look.segments[:, 2]), "buildings as in the photo"
    assert torch.equal(worn.segments[:, 10], plain.segments[:, 10]), "the sky is drawn"
    assert torch.equal(worn.grain, plain.grain)
    cars = look.segments[0, CHANNELS : CHANNELS + 2]
    assert all((row == cars).all(-1).any() for row in worn.segments[0, CHANNELS : CHANNELS + 2])
    # Beside others as alone, at a seed the same; the motion too.
    pair = pipe(street_map(), num_frames=2, seed=[2, 3], look=look)
    alone = pipe(street_map(), num_frames=2, seed=3, look=look)
    assert torch.equal(pair.look.segments[1:], alone.look.segments)
    assert torch.equal(alone.z.background, pipe(street_map(), num_frames=1, seed=3).z.background)


def test_a_look_is_kept_and_used_again() -> None:
    pipe = pipeline_with_looks()
    first = pipe(street_map(), num_frames=1, seed=1)
    again = pipe(street_map(), num_frames=1, seed=2, look=first.look)
    assert torch.equal(first.first_frame, again.first_frame)
    given = pipe(street_map(), num_frames=1, first_frame=first.first_frame)
    assert given.look is None


def test_known_looks_nearest_to_a_photograph_are_found() -> None:
    pipe = pipeline_with_looks()
    box, labels = pipe.first_frame, street_map()
    dice = torch.Generator().manual_seed(2)
    box.known.whole.copy_(5 * torch.randn(4, 3, generator=dice))
    box.known.segments.copy_(5 * torch.randn(2, 4, CHANNELS, 2, generator=dice))
    box.known.filled.fill_(4)
    objects, rows = objects_of(labels), torch.arange(CHANNELS, CHANNELS + MAX_OBJECTS)
    for index in range(4):
        segments = torch.randn(1, len(rows) + CHANNELS, 2)
        segments[0, :CHANNELS] = box.known.segments[0, index]
        segments[0, CHANNELS:] = box.known.segments[1, index, CAR]
        with torch.no_grad():
            look = Look(box.known.whole[index : index + 1], segments)
            painted = box(coarse_labels(labels, 4), objects, look)
            painted = torch.nn.functional.interpolate(painted, scale_factor=4)
        with exact_arithmetic():
            found = pipe.read_look(painted, labels)
        assert torch.equal(found.whole[0], box.known.whole[index])
        here = found.kinds[0] >= 0
        assert torch.equal(found.segments[0, here], segments[0, here])


def test_a_model_without_encoder_and_known_looks_is_one_line() -> None:
    pipe = pipeline_with_looks(replace(STREET, look_prior=0))
    with pytest.raises(
        ModelError, match=r"can read the look of a photograph; got one with neither"
    ):
        pipe.read_look(photo(), street_map())
    with pytest.raises(ModelError, match=r"one photograph and its label map"):
        pipe.read_look(photo().repeat(2, 1, 1, 1), street_map().repeat(2, 1, 1))


def test_looks_between_two_end_exactly_at_them() -> None:
    one, other = draw(generator(), seed=1), draw(generator(), seed=2)
    for weight, end in ((0.0, one), (1.0, other)):
        mixed = interpolate_looks(one, other, weight)
        for name in ("whole", "segments", "grain"):
            assert torch.equal(getattr(mixed, name), getattr(end, name))
    half = interpolate_looks(one, other, 0.5)
    assert torch.allclose(half.whole, (one.whole + other.whole) / 2)
    assert abs(float(half.grain.std()) - 1) < 0.05, "grain is as strong between them"


def test_looks_that_do_not_fit_are_one_line() -> None:
    pipe = pipeline_with_looks(encoder=True)
    own, read = draw(pipe.first_frame), pipe.read_look(photo(), street_map())
    with pytest.raises(ModelError, match=r"two looks of first frames; got that of a photograph"):
        interpolate_looks(own, read, 0.5)
    small = replace(own, whole=own.whole[:, :2])
    for look in (small, replace(own, grain=None)):
        with pytest.raises(ModelError, match=r"a look whose .* is of shape .*by read_look"):
            pipe(street_map(), num_frames=1, look=look)
    with pytest.raises(ModelError, match=r"one look, or one for each of 1 samples; got 2"):
        pipe(street_map(), num_frames=1, look=draw(pipe.first_frame, batch=2))


# The bundled models.


@pytest.mark.parametrize(
    ("name", "classes"), [("street", ["building", "car"]), ("toycity", ["sky"])]
)
def test_a_class_is_painted_anew_and_the_rest_stays(name: str, classes: list[str]) -> None:
    pipe, seeds = Seg2VidPipeline.from_pretrained(name), list(range(4))
    before = pipe("examples/street.png", num_frames=1, seed=seeds)
    for chosen in classes:
        after = pipe("examples/street.png", num_frames=1, seed=seeds, resample=[chosen])
        change = (after.first_frame - before.first_frame).abs().mean(1) * 255
        is_inside = before.label_map == SPACE.names.index(chosen)
        inside, outside = (float(change[part].mean()) for part in (is_inside, ~is_inside))
        print(f"{name}, {chosen}: {inside:.1f} of 255 inside, {outside:.2f} outside")
        assert inside > 5 and inside > 10 * outside
