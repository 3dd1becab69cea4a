"""The paper's networks: their sizes, their shapes, and the switches that tell variants apart."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from seg2vid.data.clips import render_toycity
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.evaluation.candidates import Model, posterior
from seg2vid.evaluation.protocol import get_protocol
from seg2vid.labels.space import get_label_space
from seg2vid.models import paper
from seg2vid.models.animator import Animator, choose_labels
from seg2vid.models.config import PAPER, ModelConfig, PaperConfig, preset
from seg2vid.models.judges.perceptual import PerceptualNetworks, VGGFeatures
from seg2vid.models.layers import MAX_OBJECTS, find_objects
from seg2vid.models.motion_decoder import KEY_PASSES
from seg2vid.models.motion_encoder import build_motion_encoder, draw_latent
from seg2vid.models.paper import PaperFlowDecoder, PaperMotionEncoder, PaperRefiner, rows_of_code
from seg2vid.models.refiner import Refiner
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Clip, Latent, Motion, ScenePaths
from seg2vid.tools.errors import ModelError, TrainingError
from seg2vid.training.config import PAPER_TRAINING, MotionTrainingConfig
from seg2vid.training.motion import MotionStage
from seg2vid.training.recipes import read_recipe
from seg2vid.warp import warp_labels
from tests import tiny
from tests.conftest import REPOSITORY

SPACE = get_label_space("cityscapes")
CITYSCAPES = replace(PAPER, label_space=SPACE.to_dict())
SQUARE = replace(CITYSCAPES, width=128)
# Layers have one size; only the refiner is big.
SMALL = replace(CITYSCAPES, height=64, width=64, num_frames=2, refinement=False)
CODES = ("background_code", "foreground_code")


def count(module: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(parameter.numel() for parameter in module.parameters())


def build(config: ModelConfig) -> tuple[Animator, nn.Module]:
    """The networks without storage: sizes can be counted at no cost."""
    with torch.device("meta"):
        return Animator(config, num_channels=20), build_motion_encoder(config)


def build_whole(config: ModelConfig) -> tuple[Animator, nn.Module]:
    """The networks with their weights, as they are used."""
    torch.manual_seed(0)
    return Animator(config, num_channels=20).eval(), build_motion_encoder(config).eval()


def objects_of(height: int, width: int, batch: int = 1) -> Tensor:
    """A coarse grid without objects."""
    return torch.zeros(batch, height // 8, width // 8, dtype=torch.long)


def map_of(height: int, width: int, batch: int = 1) -> Tensor:
    """A label map with all 20 ids."""
    return torch.arange(height * width).remainder(20).view(1, height, width).repeat(batch, 1, 1)


def clip_of(height: int, width: int, time: int, batch: int = 1) -> Clip:
    """A clip of noise."""
    return Clip(
        torch.rand(batch, 3, height, width),
        torch.rand(batch, time, 3, height, width),
        map_of(height, width, batch),
    )


# Sizes: paper.md derives them from the layer list of the authors' code.


def test_paper_parameter_counts() -> None:
    animator, encoder = build(CITYSCAPES)
    decoder = animator.flow_decoder
    assert isinstance(decoder, PaperFlowDecoder) and isinstance(encoder, PaperMotionEncoder)
    assert count(decoder) == 4_242_022  # 4.24 M, image to flow
    assert count(encoder) == 3_084_800  # 3.08 M, both motion encoders
    assert [count(one) for one in encoder.encoders] == [1_542_912, 1_541_888]
    assert animator.refiner is not None
    assert count(animator.refiner) == 51_709_827  # 51.7 M
    assert count(animator) + count(encoder) == 59_036_649  # 59.0 M


@pytest.mark.parametrize(
    ("parts", "millions"),
    [
        (("to_half", "to_quarter", "to_eighth", "to_sixteenth"), 0.70),
        (("spread_code",), 1.05),
        (("fuse",), 0.18),
        (
            ("decode_sixteenth", "decode_eighth", "decode_quarter", "time_quarter", "time_half"),
            2.11,
        ),
        (("forward_head", "backward_head", "visible_head"), 0.195),
    ],
)
def test_paper_parts_of_image_to_flow(parts: tuple[str, ...], millions: float) -> None:
    decoder = build(CITYSCAPES)[0].flow_decoder
    total = sum(count(getattr(decoder, part)) for part in parts)
    assert total / 1e6 == pytest.approx(millions, abs=0.006)


def test_paper_refiner_halves() -> None:
    refiner = build(CITYSCAPES)[0].refiner
    assert isinstance(refiner, PaperRefiner)
    down = count(refiner.down) + count(refiner.to_code)
    assert down / 1e6 == pytest.approx(23.1, abs=0.05)
    assert (count(refiner) - down) / 1e6 == pytest.approx(28.6, abs=0.05)


def test_paper_encoders_see_eleven_and_nine_classes() -> None:
    encoder = build(CITYSCAPES)[1]
    assert isinstance(encoder, PaperMotionEncoder)
    assert encoder.classes == (list(range(11)), list(range(11, 20)))
    inputs = [one.body[0].in_channels for one in encoder.encoders]
    assert inputs == [15 + 11, 15 + 9]


@pytest.mark.parametrize(
    ("semantics", "inputs", "image", "widths"),
    [
        ("split", [26, 24], 23, [512, 512]),
        ("joint", [35], 23, [1024]),
        ("none", [15], 3, [1024]),
    ],
)
def test_paper_variants_of_semantics(
    semantics: str, inputs: list[int], image: int, widths: list[int]
) -> None:
    animator, encoder = build(replace(CITYSCAPES, semantics=semantics))
    assert [one.body[0].in_channels for one in encoder.encoders] == inputs
    assert [one.mean.out_features for one in encoder.encoders] == widths
    assert animator.flow_decoder.to_half[0].in_channels == image
    assert animator.flow_decoder.spread_code.in_features == 1024


def test_paper_split_may_be_128_and_896() -> None:
    config = replace(CITYSCAPES, paper=PaperConfig(background_code=128, foreground_code=896))
    animator, encoder = build(config)
    assert [one.mean.out_features for one in encoder.encoders] == [128, 896]
    z = animator.flow_decoder.draw(objects_of(128, 256), None)
    assert z.background.shape == (1, 8 * 128) and z.foreground.shape == (1, 896, 8, 1)


def test_paper_presets() -> None:
    assert preset("paper").num_frames == 4 and preset("paper").height == 128
    kth, ucf = preset("paper-kth"), preset("paper-ucf101")
    assert (kth.height, kth.width, kth.num_frames, kth.paper.channels) == (128, 128, 15, 1)
    assert (ucf.height, ucf.width, ucf.num_frames, ucf.semantics) == (128, 128, 4, "none")
    # One grey first frame, fifteen differences; fifteen maps of sixteen channels.
    animator, encoder = build(replace(kth, label_space=SPACE.to_dict()))
    assert encoder.encoders[0].body[0].in_channels == 16
    assert animator.flow_decoder.fuse[0].out_channels == 16 * 15


# Shapes.


@pytest.mark.parametrize(("width", "rows"), [(256, 8), (128, 4)])
def test_paper_code_has_a_row_for_4096_pixels(width: int, rows: int) -> None:
    assert rows_of_code(objects_of(128, width)) == rows


@pytest.mark.parametrize("size", [(160, 160), (32, 32)])
def test_paper_code_needs_whole_rows(size: tuple[int, int]) -> None:
    message = f"multiple of 4096 pixels .* got {size[1]}x{size[0]}; use the size"
    with pytest.raises(ModelError, match=message):
        rows_of_code(objects_of(*size))


def test_paper_encoder_is_shown_the_frame_the_differences_and_its_classes() -> None:
    encoder = PaperMotionEncoder(CITYSCAPES).eval()
    seen = []
    for one in encoder.encoders:
        one.body[0].register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    clip = clip_of(64, 64, 4)
    with torch.inference_mode():
        encoder(clip.first_frame, clip.frames, clip.label_map, objects_of(64, 64))
    for shown, classes in zip(seen, encoder.classes, strict=True):
        assert torch.equal(shown[:, :3], clip.first_frame)
        for time in range(4):
            difference = clip.frames[:, time] - clip.first_frame
            assert torch.equal(shown[:, 3 + 3 * time : 6 + 3 * time], difference)
        for channel, number in enumerate(classes):
            assert torch.equal(shown[:, 15 + channel], (clip.label_map == number).float())


@pytest.mark.slow
@pytest.mark.parametrize("semantics", ["split", "joint", "none"])
def test_paper_encoder_to_refined_frames(semantics: str) -> None:
    config = replace(SQUARE, semantics=semantics)
    animator, encoder = build_whole(config)
    clip, objects = clip_of(128, 128, 4), objects_of(128, 128)
    with torch.inference_mode():
        posterior = encoder(clip.first_frame, clip.frames, clip.label_map, objects)
        drawn = animator.flow_decoder.draw(objects, torch.Generator().manual_seed(1))
        z = draw_latent(posterior, drawn)
        animation = animator(clip.first_frame, clip.label_map, z, objects)
    for name in ("background", "foreground"):
        assert getattr(posterior.mean, name).shape == getattr(drawn, name).shape
    assert animation.motion.forward_flow.shape == (1, 4, 2, 128, 128)
    assert animation.motion.backward_visible.shape == (1, 4, 1, 128, 128)
    assert animation.refined.shape == (1, 4, 3, 128, 128)
    assert float(animation.refined.min()) >= 0 and float(animation.refined.max()) <= 1
    assert animation.label_logits is None
    assert choose_labels(clip.label_map, animation).shape == (1, 4, 128, 128)


def test_paper_flow_is_in_pixels_and_times_can_be_chosen() -> None:
    torch.manual_seed(0)
    decoder = PaperFlowDecoder(CITYSCAPES, num_channels=20).eval()
    for head in (decoder.forward_head, decoder.backward_head):
        nn.init.zeros_(head[1].weight)
        # Half a picture to the right and down: 1 in the authors' units.
        nn.init.ones_(head[1].bias)
    objects, picture = objects_of(128, 256), torch.rand(1, 3, 128, 256)
    z = decoder.draw(objects, None)
    with torch.inference_mode():
        motion = decoder(picture, map_of(128, 256), z, objects, times=torch.tensor([2, 0]))
        every = decoder(picture, map_of(128, 256), z, objects)
    assert motion.forward_flow.shape[1] == 2
    assert torch.allclose(motion.forward_flow[:, :, 0], torch.tensor(127.5))
    assert torch.allclose(motion.backward_flow[:, :, 1], torch.tensor(63.5))
    assert torch.equal(motion.forward_visible, every.forward_visible[:, [2, 0]])


def test_paper_frames_differ_and_talk_to_each_other() -> None:
    torch.manual_seed(0)
    decoder = PaperFlowDecoder(CITYSCAPES, num_channels=20).eval()
    objects, picture = objects_of(64, 64), torch.rand(1, 3, 64, 64)
    z = decoder.draw(objects, None)
    flow = decoder(picture, map_of(64, 64), z, objects).backward_flow
    assert (flow[:, 0] - flow[:, 1]).abs().max() > 1e-3
    # The two convolutions over time reach two frames to either side.
    fused = torch.randn(4, 272, 4, 4, requires_grad=True)
    features = decoder._decode(decoder._encode(picture, map_of(64, 64)), fused)
    (gradient,) = torch.autograd.grad(features[0].sum(), fused)
    assert [bool(frame.abs().sum() > 0) for frame in gradient] == [True, True, True, False]


def test_paper_code_changes_the_flow_row_by_row() -> None:
    torch.manual_seed(0)
    decoder = PaperFlowDecoder(CITYSCAPES, num_channels=20).eval()
    objects, picture = objects_of(64, 64), torch.rand(1, 3, 64, 64)
    z = decoder.draw(objects, None)
    other = Latent(z.background, z.foreground.clone())
    other.foreground[:, :, 0] += 3
    with torch.inference_mode():
        flows = [decoder(picture, map_of(64, 64), code, objects) for code in (z, other)]
    assert not torch.equal(flows[0].backward_flow, flows[1].backward_flow)


def test_paper_quirk_of_one_row_repeated() -> None:
    generator = torch.Generator
    for repeat_row in (False, True):
        config = replace(CITYSCAPES, paper=PaperConfig(repeat_row=repeat_row))
        with torch.device("meta"):
            decoder = PaperFlowDecoder(config, num_channels=20)
        z = decoder.draw(objects_of(128, 256), generator().manual_seed(0))
        background = z.background.unflatten(1, (8, 512))
        assert torch.equal(background[:, 0], background[:, 5]) == repeat_row
        assert torch.equal(z.foreground[:, :, 0], z.foreground[:, :, 5]) == repeat_row
        again = decoder.draw(objects_of(128, 256), generator().manual_seed(0))
        assert torch.equal(z.foreground, again.foreground)


@pytest.mark.slow
def test_paper_grey_video() -> None:
    config = replace(preset("paper-kth"), label_space=SPACE.to_dict())
    animator, encoder = build_whole(config)
    clip, objects = clip_of(128, 128, 15), objects_of(128, 128)
    grey = clip.map(lambda t: t.mean(-3, keepdim=True).expand_as(t) if t.is_floating_point() else t)
    with torch.inference_mode():
        codes = [
            encoder(c.first_frame, c.frames, c.label_map, objects).mean.background
            for c in (clip, grey)
        ]
        motion = animator.flow_decoder(
            grey.first_frame, grey.label_map, Latent(codes[0], torch.zeros(1, 0, 4, 1)), objects
        )
        chosen = motion.map(lambda tensor: tensor[:, :1])
        refined = animator.finish(grey.first_frame, grey.label_map, chosen).refined
    assert torch.allclose(codes[0], codes[1], atol=1e-4)
    assert motion.backward_flow.shape == (1, 15, 2, 128, 128)
    assert torch.equal(refined[:, :, 0], refined[:, :, 2])


# The refiner.


def test_paper_refiner_sees_noise_where_nothing_was_visible_and_nothing_else() -> None:
    torch.manual_seed(0)
    refiner = PaperRefiner().eval()
    warped, labels = torch.rand(1, 3, 128, 128), map_of(128, 128)
    seen = (torch.rand(1, 1, 128, 128) < 0.5).float()
    other = torch.where(seen > 0, warped, torch.rand_like(warped))
    shown_to_it = []
    refiner.down[0][0].register_forward_pre_hook(lambda _m, args: shown_to_it.append(args[0]))
    with torch.inference_mode():
        plain, none = refiner(warped, seen, labels, warped)
        hidden, _ = refiner(other, seen, labels.flip(1), warped.flip(1))
        shown, _ = refiner(other, torch.ones_like(seen), labels, warped)
    assert none is None
    assert torch.allclose(plain, hidden) and not torch.allclose(plain, shown)
    holes = shown_to_it[0][(1 - seen).bool().expand(-1, 3, -1, -1)]
    assert abs(float(holes.mean())) < 0.05 and abs(float(holes.std()) - 1) < 0.05
    assert torch.equal(shown_to_it[2], other)


def test_paper_refiner_draws_new_noise_in_training_only() -> None:
    refiner = PaperRefiner()
    warped = torch.zeros(2, 3, 4, 4)
    first, second = refiner.train()._noise(warped), refiner._noise(warped)
    assert first.shape == (1, 3, 4, 4) and not torch.equal(first, second)
    assert torch.equal(refiner.eval()._noise(warped), refiner._noise(warped))


def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the refiner few channels where their number is free."""
    monkeypatch.setattr(paper, "REFINER_DOWN", ((4,), (4,), (4,), (4,), (512,)))
    monkeypatch.setattr(paper, "REFINER_UP", ((4,), (4,), (4,), (4,), (64,)))


def test_paper_refiner_as_the_authors_train_it_sees_one_time_after_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow(monkeypatch)
    clips, times = 3, 2
    made = PaperRefiner(times=times).train()
    slow = PaperRefiner().train()
    slow.load_state_dict(made.state_dict())
    warped, seen = torch.rand(clips, times, 3, 128, 128), torch.rand(clips, times, 1, 128, 128)
    labels = map_of(128, 128, clips * times)
    torch.manual_seed(5)
    refined, _ = made(warped.flatten(0, 1), seen.flatten(0, 1), labels, warped.flatten(0, 1))
    torch.manual_seed(5)
    noise = torch.randn(clips, 3, 128, 128)
    for time in range(times):
        shown = warped[:, time] * seen[:, time] + noise * (1 - seen[:, time])
        whole, first = torch.ones(clips, 1, 128, 128), labels[:clips]
        expected, _ = slow(shown, whole, first, shown)
        assert torch.allclose(refined.unflatten(0, (clips, times))[:, time], expected, atol=1e-5)
    buffers = zip(made.buffers(), slow.buffers(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in buffers), "counted once for each time"
    made.eval(), slow.load_state_dict(made.state_dict()), slow.eval()
    given = (warped.flatten(0, 1), seen.flatten(0, 1), labels, warped.flatten(0, 1))
    with torch.inference_mode():
        assert torch.equal(made(*given)[0], slow(*given)[0]), "in use there is no difference"


def test_paper_refiner_that_sees_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch)
    model = replace(SMALL, refinement=True)
    off, on = (
        Animator(replace(model, paper=PaperConfig(refiner_sees_mask=sees)), num_channels=20).eval()
        for sees in (False, True)
    )
    plain, shown = PaperRefiner().eval(), on.refiner
    assert isinstance(off.refiner, PaperRefiner) and isinstance(shown, PaperRefiner)
    plain.load_state_dict(off.refiner.state_dict())
    warped, labels = torch.rand(1, 3, 128, 128), map_of(128, 128)
    seen = (torch.rand(1, 1, 128, 128) < 0.5).float()
    weights = {**plain.state_dict()}
    first = weights["down.0.0.0.weight"]
    for share in (0.0, 1.0):
        weights["down.0.0.0.weight"] = torch.cat((first, torch.full_like(first[:, :1], share)), 1)
        shown.load_state_dict(weights)
        with torch.inference_mode():
            expected, _ = plain(warped, seen, labels, warped)
            assert torch.equal(off.refiner(warped, seen, labels, warped)[0], expected)
            found, _ = shown(warped, seen, labels, warped)
        assert torch.allclose(found, expected, atol=1e-6) == (share == 0)


def test_paper_normalising_each_time_needs_every_frame_of_a_pass() -> None:
    model = replace(SMALL, paper=PaperConfig(norm_each_time=True))
    with torch.device("meta"), pytest.raises(TrainingError, match=r"all 2 frames .*; got 1; set"):
        MotionStage(model, replace(PAPER_TRAINING, refined_frames=1))


def test_paper_log_variances_are_bounded_unless_as_the_authors_have_them() -> None:
    clip, objects = clip_of(64, 64, 2), objects_of(64, 64)
    for clamp, wanted in ((True, 4.0), (False, 50.0)):
        encoder = PaperMotionEncoder(replace(SMALL, paper=PaperConfig(clamp=clamp))).eval()
        for one in encoder.encoders:
            nn.init.zeros_(one.log_variance.weight)
            nn.init.constant_(one.log_variance.bias, 50.0)
        with torch.inference_mode():
            found = encoder(clip.first_frame, clip.frames, clip.label_map, objects).log_variance
        assert torch.equal(found.background, torch.full_like(found.background, wanted))
        assert torch.equal(found.foreground, torch.full_like(found.foreground, wanted))


def test_paper_warp_of_the_authors_reads_black_outside() -> None:
    seen = {}
    for padding in ("border", "zeros"):
        model = replace(SMALL, gate_flow=False, paper=PaperConfig(padding=padding))
        animator = Animator(model, num_channels=20).eval()
        clip, flow = clip_of(64, 64, 2), torch.full((1, 2, 2, 64, 64), 70.0)
        whole = torch.ones(1, 2, 1, 64, 64)
        motion = Motion(flow, flow, whole, whole)
        seen[padding] = animator.finish(clip.first_frame, clip.label_map, motion).warped
    assert seen["zeros"].abs().max() == 0 and seen["border"].min() > 0


def test_paper_training_of_the_authors_takes_the_steps_of_plain_adam() -> None:
    recipe = read_recipe(REPOSITORY / "recipes" / "authors_code.yaml")
    torch.manual_seed(0)
    made = MotionStage(replace(SMALL, paper=PaperConfig()), recipe.training)
    (optimizer,) = made.make_optimizers()
    number = made.animator.flow_decoder.fuse[0].bias
    value, mean, square = number.detach().clone().double(), 0.0, 0.0
    made.step.fill_(recipe.training.steps - 5)
    for step in range(1, 4):
        gradient = 1e4 * torch.randn(len(number))
        number.grad = gradient.clone()
        made._update(0, optimizer, {"any": torch.ones(())})
        # Kingma and Ba (2015), Algorithm 1, with its own constants: no decay, no clipping.
        mean = 0.9 * mean + 0.1 * gradient.double()
        square = 0.999 * square + 0.001 * gradient.double() ** 2
        corrected = mean / (1 - 0.9**step), (square / (1 - 0.999**step)).sqrt()
        value = value - 1e-3 * corrected[0] / (corrected[1] + 1e-8)
        assert torch.allclose(number.detach().double(), value, atol=1e-7)


# The paper's variants of our networks.


def animate(config: ModelConfig) -> tuple[Animator, object]:
    """An animator of this configuration and what it makes of a street."""
    torch.manual_seed(0)
    animator = Animator(config, num_channels=20).eval()
    label_map = tiny.street_map()
    foreground = SPACE.foreground_ids
    objects = find_objects(label_map, None, foreground=foreground, factor=8)
    z = animator.flow_decoder.draw(objects, torch.Generator().manual_seed(0))
    frame = torch.rand(1, 3, tiny.HEIGHT, tiny.WIDTH, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return animator, animator(frame, label_map, z, objects)


def test_paper_variant_without_refinement_shows_the_warped_frame() -> None:
    animator, animation = animate(replace(tiny.CONFIG, refinement=False))
    assert animator.refiner is None and animation.label_logits is None
    assert torch.equal(animation.refined, animation.warped)
    full, _ = animate(tiny.CONFIG)
    assert isinstance(full.refiner, Refiner)


def test_paper_variant_without_labels_is_blind_to_them() -> None:
    animator, encoder = build_whole(replace(tiny.CONFIG, semantics="none"))
    street = tiny.street_map()
    objects = find_objects(street, None, foreground=SPACE.foreground_ids, factor=8)
    clip = clip_of(tiny.HEIGHT, tiny.WIDTH, tiny.NUM_FRAMES)
    pair = (clip.first_frame, clip.frames)
    with torch.inference_mode():
        results = [
            (
                encoder(*pair, ids, cells, animator.track(*pair, ids, cells)),
                animator(
                    clip.first_frame,
                    ids,
                    animator.flow_decoder.draw(cells, torch.Generator().manual_seed(0)),
                    cells,
                ),
            )
            for ids, cells in ((street, objects), (street.flip(2), torch.zeros_like(objects)))
        ]
    (codes, first), (other_codes, second) = results
    assert torch.equal(codes.mean.background, other_codes.mean.background)
    assert torch.equal(first.refined, second.refined)
    assert first.label_logits is None
    assert first.motion.forward_flow[:, -1, :, 48:].abs().mean() > 0.1, "it moves all the same"


def test_paper_variant_without_labels_is_trained_without_them() -> None:
    city = ToyCityConfig(height=tiny.HEIGHT, width=tiny.WIDTH, num_frames=tiny.NUM_FRAMES)
    clip, flows = render_toycity(0, city), []
    training = replace(tiny.MOTION_TRAINING, hint_share=0.0)
    made = MotionStage(replace(tiny.CONFIG, semantics="none"), training)
    for labels in (clip.label_map, clip.label_map.flip(2)):
        torch.manual_seed(0)
        flows.append(made.compute_losses(replace(clip, label_map=labels))["flow"])
    assert flows[0] == flows[1]


def test_paper_variant_without_split_has_one_encoder_that_sees_every_class() -> None:
    torch.manual_seed(0)
    config = replace(tiny.CONFIG, semantics="joint")
    encoder = build_motion_encoder(config).eval()
    assert encoder.background == list(range(20)) and encoder.foreground == []
    assert not hasattr(encoder, "foreground_branch")
    street = tiny.street_map()
    objects = find_objects(street, None, foreground=SPACE.foreground_ids, factor=8)
    assert objects.max() > 0
    clip = clip_of(tiny.HEIGHT, tiny.WIDTH, tiny.NUM_FRAMES)
    with torch.inference_mode():
        ways = torch.zeros(1, MAX_OBJECTS, tiny.NUM_FRAMES, 3)
        paths = ScenePaths(torch.zeros(1, tiny.NUM_FRAMES, 4), ways, ways[:, :, 0, :2])
        pair = (clip.first_frame, clip.frames)
        codes = [encoder(*pair, labels, objects, paths) for labels in (street, street + 1)]
    assert codes[0].mean.foreground.abs().sum() == 0
    assert not torch.equal(codes[0].mean.background, codes[1].mean.background)


def test_paper_variant_that_gates_the_flow_leaves_hidden_pixels_where_they_are() -> None:
    _, free = animate(tiny.CONFIG)
    _, gated = animate(replace(tiny.CONFIG, gate_flow=True))
    expected = free.motion.backward_flow * free.motion.backward_visible
    assert torch.allclose(gated.motion.backward_flow, expected)
    assert not torch.equal(gated.warped, free.warped)


def test_paper_roll_out_to_24_frames_moves_the_label_map_along() -> None:
    torch.manual_seed(0)
    config = replace(tiny.CONFIG, refinement=False, gate_flow=True)
    pipe = Seg2VidPipeline.from_config(config)
    video = pipe(tiny.street_map(), num_frames=25, seed=0)
    passes = list(range(0, 24, KEY_PASSES * tiny.NUM_FRAMES))
    assert video.frames.shape[1] == 24 and video.pass_starts == tuple(passes)
    for start in passes:
        before = video.label_map if start == 0 else video.label_maps[:, start - 1]
        moved = warp_labels(before, video.motion.backward_flow[:, start])
        assert torch.equal(video.label_maps[:, start], moved)


# The objective.


@cache
def features() -> VGGFeatures:
    """Random features: large, so they are made once."""
    return VGGFeatures().requires_grad_(False)


def stage(model: ModelConfig, **training: object) -> MotionStage:
    """A motion stage with the paper's objective."""
    networks = PerceptualNetworks(features=features())
    torch.manual_seed(0)
    config = replace(PAPER_TRAINING, steps=2, batch_size=1, **training)
    return MotionStage(model, config, networks)


def test_paper_objective_has_its_nine_terms_and_no_exact_motion() -> None:
    clip = clip_of(64, 64, 4)
    terms = stage(SMALL).compute_losses(clip)
    assert set(terms) == {
        *("kl", "mask_penalty", "reconstruction", "grid_consistency", "bilateral_smoothness"),
        *("refinement", "similarity", "features"),
    }  # reconstruction is two of the nine
    assert all(bool(torch.isfinite(term)) for term in terms.values())


@pytest.mark.parametrize(
    ("change", "gone"),
    [({"grid_consistency": 0.0}, "grid_consistency"), ({"features": 0.0}, "features")],
)
def test_paper_terms_can_be_left_out(change: dict[str, float], gone: str) -> None:
    clip = clip_of(64, 64, 2)
    assert gone not in stage(SMALL, **change).compute_losses(clip)


@pytest.mark.parametrize(
    ("quirk", "term"), [("kl_batch_sum", "kl"), ("authors_smoothness", "bilateral_smoothness")]
)
def test_paper_quirks_change_their_term(quirk: str, term: str) -> None:
    # Smooth pictures: on noise the bilateral weight is 0 with and without the quirk.
    clip = clip_of(64, 64, 2)
    clip = clip.map(lambda t: 0.5 + 0.002 * t if t.is_floating_point() else t)
    values = []
    for is_on in (False, True):
        torch.manual_seed(0)
        made = stage(SMALL, features=0.0, **{quirk: is_on})
        torch.manual_seed(1)
        values.append(float(made.compute_losses(clip)[term].detach()))
    assert values[0] != values[1]


def test_paper_networks_are_not_taught_exact_motion() -> None:
    wanted = r"Expected the paper's networks to learn from pictures; got exact_motion; take the "
    with torch.device("meta"), pytest.raises(TrainingError, match=wanted):
        MotionStage(SMALL, MotionTrainingConfig())


def test_paper_objective_moves_our_networks_too() -> None:
    terms = stage(tiny.CONFIG, features=0.0).compute_losses(
        clip_of(tiny.HEIGHT, tiny.WIDTH, tiny.NUM_FRAMES)
    )
    # What a scene hides is seen, not chosen: no penalty on it.
    assert {"reconstruction", "grid_consistency", "kl"} < set(terms)
    assert "mask_penalty" not in terms


def test_paper_frames_of_a_pass_stay_in_order() -> None:
    # A loss on the first frame alone needs to know which one that is.
    made = stage(SMALL)
    seen = []
    made.animator.flow_decoder.register_forward_hook(lambda _m, args, _out: seen.append(args[5]))
    made.compute_losses(clip_of(64, 64, 2))
    assert seen[0].tolist() == [0, 1]


# The whole preset, once.


@pytest.mark.slow
def test_paper_preset_trains_a_step_generates_and_is_measured(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = MotionStage(CITYSCAPES, PAPER_TRAINING, PerceptualNetworks(features=VGGFeatures()))
    terms = made.compute_losses(clip_of(128, 256, 4))
    sum(terms.values(), start=torch.zeros(())).backward()
    missing = [name for name, p in made.named_parameters() if p.grad is None]
    assert missing == []

    pipe = Seg2VidPipeline.from_config(CITYSCAPES)
    pipe.motion_encoder_weights = {
        f"motion_encoder.{name}": value for name, value in made.motion_encoder.state_dict().items()
    }
    pipe.save_pretrained(tmp_path)
    again = Seg2VidPipeline.from_pretrained(tmp_path)
    video = again(map_of(128, 256), num_frames=7, seed=3)
    assert video.frames.shape == (1, 6, 3, 128, 256) and video.pass_starts == (0, 4)
    assert torch.equal(video.frames, again(map_of(128, 256), num_frames=7, seed=3).frames)
    protocol = replace(get_protocol("toycity"), num_frames=4, samples=2)
    model = Model(str(tmp_path), protocol)
    for candidate, samples in ((model, 2), (posterior(model), 1)):
        judged = candidate.make(clip_of(128, 256, 4), 0)
        assert judged.frames.shape == (samples, 5, 3, 128, 256)
        assert judged.motion is not None
        assert judged.motion.backward_flow.shape == (samples, 4, 2, 128, 256)
