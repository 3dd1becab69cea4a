"""The segmenter and its training: shapes, budget, what augmentation and loss do, a tiny run."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from seg2vid.data.stills import StillFolder
from seg2vid.data.teachers.labels import BundledTeacher
from seg2vid.labels.space import get_label_space
from seg2vid.models.checkpoint import load_checkpoint, save_checkpoint
from seg2vid.models.config import ModelConfig, SegmenterConfig
from seg2vid.models.patch_discriminator import load_backbone
from seg2vid.models.segmenter import Segmenter
from seg2vid.structures import Clip
from seg2vid.tools.errors import ModelError
from seg2vid.training import run as train
from seg2vid.training.config import SegmenterTrainingConfig
from seg2vid.training.losses import jaccard_distance
from seg2vid.training.recipes import make_stage
from seg2vid.training.segmenter import (
    SegmenterStage,
    augment,
    change_colours,
    change_sharpness,
    change_sky,
    zoom,
)
from tests import tiny
from tests.data.test_stills import write_still
from tests.tiny import QUIET

SPACE = get_label_space("cityscapes")
VOID = SPACE.void_id
TRAINING = tiny.SEGMENTER_TRAINING
TINY = ModelConfig(
    label_space=SPACE.to_dict(),
    height=32,
    width=64,
    segmenter=tiny.SEGMENTER,
)


def draw(batch: int = 2, height: int = 32, width: int = 64) -> Clip:
    """Random stills: blocks of 8 pixels of one class, painted in a colour of the class."""
    coarse = torch.randint(0, VOID + 1, (batch, height // 8, width // 8))
    label_map = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)
    frame = torch.stack([label_map / VOID, 1 - label_map / VOID, label_map % 2], 1).float()
    return Clip(frame, frame.unsqueeze(1)[:, :0], label_map)


# The network.


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (128, 256)])
@pytest.mark.parametrize("classes", [2, 19])
def test_every_pixel_gets_a_logit_for_every_class(size: tuple[int, int], classes: int) -> None:
    network = Segmenter(TINY.segmenter, num_classes=classes).eval()
    with torch.no_grad():
        logits = network(torch.rand(1, 3, *size))
    assert logits.shape == (1, classes, *size) and logits.isfinite().all()


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    network = Segmenter(TINY.segmenter, num_classes=VOID).eval()
    pictures = torch.rand(3, 3, 32, 64)
    with torch.no_grad():
        together, alone = network(pictures), network(pictures[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)


def test_logits_are_folded_out_in_place() -> None:
    """Each half-resolution cell gives its own 2 x 2 pixels, rows before columns."""
    network = Segmenter(TINY.segmenter, num_classes=1).eval()
    with torch.no_grad():
        network.to_logits.weight.zero_()
        network.to_logits.bias.copy_(torch.arange(4.0))
        logits = network(torch.rand(1, 3, 16, 16))
    assert logits[0, 0, :2, :2].tolist() == [[0, 1], [2, 3]]
    assert logits[0, 0, 14:, 14:].tolist() == [[0, 1], [2, 3]]


def test_a_pixel_sees_the_whole_picture() -> None:
    """The pooled views carry a change in one corner to the opposite one."""
    network = Segmenter(SegmenterConfig(), num_classes=VOID).eval()
    picture = torch.rand(1, 3, 128, 256)
    changed = picture.clone()
    changed[..., :16, :16] = 0
    with torch.no_grad():
        difference = (network(picture) - network(changed)).abs()
    assert difference[..., -1, -1].max() > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": (4, 4)},
        {"dropout": 1.1},
        {"kernels": (3, 3, 5, 3, 5, 4)},
        {"strides": (2, 2, 2, 2, 1, 2)},
        {"strides": (1, 2, 2, 3, 1, 2)},
        {"way_up": (8, 8, 8)},
        {"blocks": (1, 2, 2, 3, 0, 4)},
        {"expansion": 0},
    ],
)
def test_a_network_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="a segmenter of one width more than blocks, kernels"):
        Segmenter(SegmenterConfig(**wrong), num_classes=3)


def test_default_network_ships_within_its_budget(tmp_path: Path) -> None:
    network = Segmenter(SegmenterConfig(), num_classes=VOID)
    config = ModelConfig(label_space=SPACE.to_dict())
    save_checkpoint(tmp_path / "model.safetensors", {"segmenter": network}, config, {})
    assert (tmp_path / "model.safetensors").stat().st_size <= 5_500_000


def test_the_encoder_is_efficientnets_with_its_weights() -> None:
    """The same features as the package's own network at every stage, beginning with its weights."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs seg2vid[train]")
    theirs: Any = load_backbone()
    network = Segmenter(SegmenterConfig(), num_classes=3).eval()
    network.encoder.begin_with(theirs)
    picture = torch.rand(1, 3, 96, 160)
    hidden = (picture - picture.new_tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / (
        picture.new_tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    )
    hidden, expected = F.relu6(theirs._bn0(theirs._conv_stem(hidden))), []
    with torch.no_grad():
        # The last block is the stage that is left out.
        for block in theirs._blocks[:-1]:
            before, hidden = hidden, block(hidden)
            if hidden.shape[-1] != before.shape[-1]:
                expected.append(before)
        found = network.encoder(picture)
    for one, other in zip(found, [*expected, hidden], strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert [one.shape[-1] for one in found] == [80, 40, 20, 10, 5]


def test_other_widths_cannot_begin_with_its_weights() -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs seg2vid[train]")
    with pytest.raises(ModelError, match=r"layers of EfficientNet-Lite0.*--pretrained false"):
        SegmenterStage(TINY, SegmenterTrainingConfig())


def test_the_encoder_learns_at_a_rate_of_its_own_and_norms_do_not_decay() -> None:
    training = replace(TRAINING, learning_rate=0.1, encoder_rate=0.2, weight_decay=0.5)
    stage = SegmenterStage(TINY, training)
    rates = {
        id(parameter): (group["initial_lr"], group["weight_decay"])
        for group in stage.configure_optimizers()[0].param_groups
        for parameter in group["params"]
    }
    for name, parameter in stage.segmenter.named_parameters():
        rate = pytest.approx(0.02 if name.startswith("encoder.") else 0.1)
        assert rates[id(parameter)] == (rate, 0.5 if parameter.ndim > 1 else 0)


# The loss.


def test_jaccard_of_a_perfect_prediction_is_zero_and_of_a_wrong_one_one() -> None:
    label_map = torch.randint(0, 3, (2, 8, 8))
    perfect = F.one_hot(label_map, 3).permute(0, 3, 1, 2) * 100.0
    assert float(jaccard_distance(perfect, label_map)) == pytest.approx(0, abs=1e-6)
    assert float(jaccard_distance(perfect.roll(1, 1), label_map)) == pytest.approx(1, abs=1e-6)


def test_jaccard_of_a_hard_prediction_is_one_minus_iou() -> None:
    """Truth: left 6 of 10 columns are class 0. Said: left 4. IoU 4/6 and 4/6."""
    label_map = torch.ones(1, 2, 10, dtype=torch.long)
    label_map[..., :6] = 0
    said = torch.ones(1, 2, 10, dtype=torch.long)
    said[..., :4] = 0
    logits = F.one_hot(said, 3).permute(0, 3, 1, 2) * 100.0
    # Class 2 is in no pixel: it does not count.
    expected = 1 - (4 / 6 + 4 / 6) / 2
    assert float(jaccard_distance(logits, label_map)) == pytest.approx(expected, abs=1e-6)


def test_jaccard_does_not_see_void() -> None:
    logits, label_map = torch.randn(2, 3, 4, 8), torch.randint(0, 3, (2, 4, 8))
    label_map[:, :, 5:] = 3
    before = jaccard_distance(logits, label_map)
    logits[..., 5:] = 100 * torch.randn(2, 3, 4, 3)
    torch.testing.assert_close(jaccard_distance(logits, label_map), before)
    cut = jaccard_distance(logits[..., :5], label_map[..., :5])
    torch.testing.assert_close(cut, before)


def slow_jaccard(logits: torch.Tensor, label_map: torch.Tensor) -> float:
    """The same in loops."""
    batch, classes, height, width = logits.shape
    intersection, union, area = ([0.0] * classes for _ in range(3))
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                truth = int(label_map[b, y, x])
                if truth == classes:
                    continue
                powers = [math.exp(float(logits[b, c, y, x])) for c in range(classes)]
                for c in range(classes):
                    p, t = powers[c] / sum(powers), float(c == truth)
                    intersection[c] += p * t
                    union[c] += p + t - p * t
                    area[c] += t
    scores = [i / u for i, u, a in zip(intersection, union, area, strict=True) if a > 0]
    return 1 - sum(scores) / len(scores)


def test_jaccard_is_what_the_slow_loop_says() -> None:
    logits, label_map = torch.randn(2, 4, 3, 5), torch.randint(0, 5, (2, 3, 5))
    label_map[label_map == 2] = 1
    expected = slow_jaccard(logits, label_map)
    assert float(jaccard_distance(logits, label_map)) == pytest.approx(expected, abs=1e-5)


def test_jaccard_without_any_known_pixel_is_finite() -> None:
    found = jaccard_distance(torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), 3))
    assert found.isfinite()


# Augmentation.


def test_augmented_pictures_stay_pictures_and_ids_stay_ids() -> None:
    strong = replace(TRAINING, colour=2.0, noise=0.5, zoom=4.0, blur=4.0)
    clip = draw(batch=8)
    before = clip.first_frame.clone(), clip.label_map.clone()
    for _ in range(5):
        picture, ids = augment(clip.first_frame, clip.label_map, strong, void_id=VOID)
        assert picture.shape == clip.first_frame.shape and ids.shape == clip.label_map.shape
        assert picture.isfinite().all() and picture.min() >= 0 and picture.max() <= 1
        assert ids.dtype == torch.int64
        for sample, source in zip(ids, clip.label_map, strict=True):
            assert set(sample.unique().tolist()) <= {*source.unique().tolist(), VOID}
    assert clip.first_frame.equal(before[0]) and clip.label_map.equal(before[1]), "left as it was"


def test_every_sample_has_dice_of_its_own() -> None:
    clip = draw(batch=1)
    frame, label_map = clip.first_frame.expand(4, -1, -1, -1), clip.label_map.expand(4, -1, -1)
    picture, ids = augment(frame, label_map, TRAINING, void_id=VOID)
    for one in range(4):
        for other in range(one):
            assert not picture[one].equal(picture[other]) and not ids[one].equal(ids[other])


@pytest.mark.parametrize("largest", [1.0, 2.0, 6.0])
def test_zoom_moves_picture_and_labels_together(largest: float) -> None:
    """Ids are painted into the picture: away from borders both still say the same."""
    label_map = torch.randint(0, VOID, (8, 4, 8)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    picture = (label_map / VOID).unsqueeze(1).expand(-1, 3, -1, -1).float()
    moved, ids = zoom(picture, label_map, largest, void_id=VOID)
    is_inside = ids != VOID
    # Between two classes the picture is a mixture of both: those pixels are left out.
    same = F.max_pool2d(ids[:, None].float(), 5, 1, 2) == -F.max_pool2d(
        -ids[:, None].float(), 5, 1, 2
    )
    sure = is_inside & same[:, 0]
    # So are those at the edge of the view, which may lie beside a border that is out of sight.
    sure[:, [0, -1]] = sure[:, :, [0, -1]] = False
    assert sure.float().mean() > 0.25
    torch.testing.assert_close(moved[:, 0][sure], ids[sure] / VOID, atol=1e-4, rtol=0)


def test_zoom_stays_near_the_identity_when_nothing_is_to_be_enlarged() -> None:
    """Only the stretch of at most exp(0.15) is left: no pixel moves by more than a sixth."""
    height, width = 32, 64
    rows, columns = torch.meshgrid(
        torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij"
    )
    picture = torch.stack((rows, columns, rows)).expand(16, -1, -1, -1)
    label_map = torch.zeros(16, height, width, dtype=torch.long)
    moved, ids = zoom(picture, label_map, 1.0, void_id=VOID)
    inside = (ids == 0).unsqueeze(1).expand_as(moved)
    largest = 1 - math.exp(-0.15)
    assert (moved - picture)[inside].abs().max() <= largest + 0.02
    assert not moved.equal(picture)


def test_what_comes_into_view_from_outside_is_void() -> None:
    """Shrunk to half, a quarter of the view is picture; enlarged, all of it."""
    count = 256
    label_map = torch.zeros(count, 16, 32, dtype=torch.long)
    picture = torch.rand(count, 3, 16, 32)
    moved, ids = zoom(picture, label_map, 16.0, void_id=VOID)
    inside = (ids == 0).float().mean((1, 2))
    assert set(ids.unique().tolist()) == {0, VOID}
    # The smallest picture has 1 / sqrt(16) of the sides; sizes are spread evenly in the logarithm.
    assert 1 / 16 - 0.02 < inside.min() < 1 / 8
    share = float((inside > 0.999).float().mean())
    assert 0.55 < share < 0.75, "enlarged with the chance log 16 / (log 16 + log 4) = 2 / 3"
    assert (moved >= 0).all() and (moved <= 1).all(), "beyond the border the picture is mirrored"


def test_colours_without_strength_stay_but_for_grey_ones() -> None:
    picture = 0.1 + 0.8 * torch.rand(200, 3, 8, 8)
    changed = change_colours(picture, 0.0)
    is_grey = (changed - changed.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-4
    torch.testing.assert_close(changed[~is_grey], picture[~is_grey], atol=1e-4, rtol=0)
    assert 0.03 < is_grey.float().mean() < 0.2, "one in ten turns grey"
    luma = (picture * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(
        changed[is_grey], luma.expand_as(picture)[is_grey], atol=1e-4, rtol=0
    )


def test_half_of_the_samples_lose_sharpness_and_none_its_mean() -> None:
    """A blur keeps what is flat; a chequerboard loses contrast."""
    flat = torch.full((64, 3, 16, 16), 0.3)
    torch.testing.assert_close(change_sharpness(flat, 2.0), flat)
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    changed = change_sharpness(board.expand(256, 3, 16, 16).float(), 2.0)
    contrast = changed.amax((1, 2, 3)) - changed.amin((1, 2, 3))
    assert 0.4 < (contrast < 0.999).float().mean() < 0.6
    assert contrast.max() == 1 and changed.min() >= 0 and changed.max() <= 1


# The stage.


def test_rare_classes_count_more_in_the_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = F.cross_entropy

    def spy(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, **rest: object):
        seen.append((weight, rest))
        return real(logits, target, weight, **rest)

    monkeypatch.setattr(F, "cross_entropy", spy)
    stage = SegmenterStage(TINY, replace(TRAINING, balance=0.5))
    stage.share.copy_(F.normalize(torch.arange(1.0, VOID + 1), p=1, dim=0))
    stage.compute_losses(draw())
    ((weight, rest),) = seen
    assert rest == {"ignore_index": VOID, "reduction": "sum"}
    # Four times as many pixels, to the power of -0.5: half the weight.
    torch.testing.assert_close(weight[3] / weight[0], torch.tensor(0.5))
    assert float((weight * stage.share).sum()) == pytest.approx(1), "the usual pixel counts 1"


def test_shares_of_the_classes_follow_the_batches() -> None:
    stage = SegmenterStage(TINY, TRAINING)
    stage.compute_losses = lambda clip: {}  # type: ignore[method-assign]

    def count_classes(label_map: torch.Tensor) -> None:
        picture = torch.zeros(1, 3, *label_map.shape[1:])
        next(stage.turns(Clip(picture, picture[:, None], label_map)))

    assert stage.share.tolist() == pytest.approx([1 / VOID] * VOID)
    label_map = torch.zeros(1, 4, 8, dtype=torch.long)
    label_map[:, :1], label_map[:, 3:] = 13, VOID
    count_classes(label_map)
    # The first batch counts 9 tenths; void not at all: 16 pixels of class 0, 8 of class 13.
    assert float(stage.share[0]) == pytest.approx(0.1 / VOID + 0.9 * 2 / 3, abs=1e-5)
    assert float(stage.share[13]) == pytest.approx(0.1 / VOID + 0.9 / 3, abs=1e-5)
    assert float(stage.share.sum()) == pytest.approx(1, abs=1e-5)
    count_classes(torch.full((1, 4, 8), VOID))
    assert stage.share.isfinite().all()


def test_average_follows_the_network_and_its_counters() -> None:
    stage = SegmenterStage(TINY, replace(TRAINING, average_decay=0.75))
    before = {name: value.clone() for name, value in stage.average.state_dict().items()}
    with torch.no_grad():
        for value in stage.segmenter.state_dict().values():
            value.add_(1)
    stage.step += 1_000
    stage.follow()
    for name, value in stage.average.state_dict().items():
        moved = 0.25 if value.is_floating_point() else 1
        torch.testing.assert_close(value, before[name] + moved)
    stage.step.zero_()
    stage.follow()
    key = next(iter(before))
    # At the first step it is nearly the network: decay 1 / 10.
    torch.testing.assert_close(stage.average.state_dict()[key], before[key] + 1 - 0.75 * 0.1)


def test_the_averaged_network_is_what_ships() -> None:
    stage = SegmenterStage(TINY, TRAINING)
    assert stage.boxes() == {"segmenter": stage.average}
    assert not any(p.requires_grad for p in stage.average.parameters())


def test_a_batch_of_nothing_but_void_does_no_harm() -> None:
    stage = SegmenterStage(TINY, TRAINING)
    clip = draw()
    terms = stage.compute_losses(replace(clip, label_map=torch.full_like(clip.label_map, VOID)))
    sum(terms.values()).backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(p.grad.isfinite().all() for p in stage.segmenter.parameters())


@pytest.mark.slow
def test_loss_falls_on_a_batch_that_is_seen_again_and_again() -> None:
    """With nothing changed but the stretch, the tiny network learns colours by heart."""
    quiet = replace(TRAINING, zoom=1.0, colour=0.0, blur=0.0, noise=0.0)
    stage = SegmenterStage(TINY, quiet)
    optimizer = torch.optim.AdamW(stage.segmenter.parameters(), lr=1e-2)
    clip = draw(batch=4)
    losses = []
    for _ in range(80):
        loss = sum(stage.compute_losses(clip).values())
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


# Runs.


@pytest.fixture
def stills(tmp_path: Path) -> StillFolder:
    for name in ("a.png", "b.png", "c.png"):
        write_still(tmp_path / "stills", name)
    return StillFolder(tmp_path / "stills", SPACE, height=32, width=64)


def run(stills: StillFolder, output: Path, training: SegmenterTrainingConfig = TRAINING, **more):
    settings = replace(QUIET, sheet_every=1, **more)
    sources = [(stills, 1.0)]
    return train.run(make_stage(training, TINY, space=SPACE), sources, output, settings)


def test_a_run_saves_what_the_label_teacher_loads(stills: StillFolder, tmp_path: Path) -> None:
    path = run(stills, tmp_path / "run", max_steps=2)
    assert path == tmp_path / "run" / "model.safetensors"
    provenance = load_checkpoint(path).provenance
    assert (provenance["steps_done"], provenance["clips"]) == (2, 3)
    teacher = BundledTeacher(tmp_path / "run")
    assert teacher.space == SPACE and teacher.name.startswith("seg2vid/run:")
    probabilities = teacher.probabilities(torch.rand(1, 3, 32, 64))
    assert probabilities.shape == (1, VOID, 32, 64)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(1, 32, 64))
    assert (tmp_path / "run" / "sheets" / "step_000002.png").is_file()


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    stills: StillFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = load_checkpoint(run(stills, tmp_path / "whole")).weights
    run(stills, tmp_path / "parts", max_steps=2)
    parts = load_checkpoint(run(stills, tmp_path / "parts")).weights
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        assert tensor.equal(parts[name]), name
    with caplog.at_level("INFO", logger=train.__name__):
        run(stills, tmp_path / "parts")
    assert "4 steps are done" in caplog.text


def test_another_sky_changes_the_sky_alone() -> None:
    picture = torch.rand(16, 3, 32, 64) * 0.1 + 0.5
    sky = torch.zeros(16, 32, 64, dtype=torch.bool)
    sky[:, :12, 20:] = True
    changed = change_sky(picture, sky, 1.0)
    assert changed.min() >= 0 and changed.max() <= 1
    difference = (changed - picture).abs().mean(1)
    assert (difference[~sky] == 0).all()
    assert (difference.mean((1, 2)) > 0).all()
    tops = changed[:, :, 0, 40:].mean(-1)
    assert tops.std(0).min() > 0.1, "each sample has its own"
    assert (tops[:, 2] > tops[:, 0]).sum() > (tops[:, 2] < tops[:, 0]).sum(), (
        "more blue than orange"
    )


def test_the_share_of_other_skies_is_the_one_asked_for() -> None:
    picture, sky = torch.full((400, 3, 8, 8), 0.5), torch.ones(400, 8, 8, dtype=torch.bool)
    assert torch.equal(change_sky(picture, sky, 0.0), picture)
    share = (change_sky(picture, sky, 0.3) != picture).flatten(1).any(1).float().mean()
    assert 0.2 < share < 0.4


def test_a_picture_without_sky_stays_as_it_is() -> None:
    picture, nothing = torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool)
    assert torch.equal(change_sky(picture, nothing, 1.0), picture)
