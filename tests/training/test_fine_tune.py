"""Training from a checkpoint of other classes, sizes, times: the same function where it can be."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.models.animator import Animator
from seg2vid.models.checkpoint import Checkpoint
from seg2vid.models.config import PAPER, ModelConfig
from seg2vid.models.first_frame import Look
from seg2vid.models.layers import find_objects
from seg2vid.structures import Latent, Motion
from seg2vid.tools.errors import ModelError
from seg2vid.training.config import PAPER_TRAINING
from seg2vid.training.fine_tune import RULES, TIMES, freeze, inherit
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.motion import MotionStage
from seg2vid.training.segmenter import SegmenterStage
from seg2vid.training.stage import Stage
from tests import tiny

SPACE = get_label_space("cityscapes")
GEOMETRY = replace(tiny.CONFIG, segmenter=tiny.SEGMENTER)
# The paper's layers have one size; only the refiner, which knows neither classes nor times, is big.
PAPERS = replace(
    PAPER, label_space=SPACE.to_dict(), num_frames=3, height=64, width=128, refinement=False
)


def first_frame_stage(config: ModelConfig) -> FirstFrameStage:
    return FirstFrameStage(config, tiny.FIRST_FRAME_TRAINING)


def motion_stage(config: ModelConfig) -> MotionStage:
    is_paper = config.architecture == "paper"
    return MotionStage(config, PAPER_TRAINING if is_paper else tiny.MOTION_TRAINING)


def segmenter_stage(config: ModelConfig) -> SegmenterStage:
    return SegmenterStage(config, tiny.SEGMENTER_TRAINING)


Build = Callable[[ModelConfig], Stage]
KINDS: dict[str, tuple[Build, ModelConfig]] = {
    "first frame": (first_frame_stage, GEOMETRY),
    "motion": (motion_stage, GEOMETRY),
    "paper": (motion_stage, PAPERS),
    "segmenter": (segmenter_stage, GEOMETRY),
}


TRAINED: dict[str, Stage] = {}
"""Those that were asked for before: to be read only."""


def trained(build: Build, config: ModelConfig) -> Any:
    """A stage none of whose numbers is at its initialisation, running figures included."""
    key = f"{build.__name__} {config}"
    if key not in TRAINED:
        TRAINED[key] = grown(build, config)
    return TRAINED[key]


def grown(build: Build, config: ModelConfig) -> Any:
    """The same anew: it may be changed."""
    torch.manual_seed(1)
    stage = build(config).eval()
    with torch.no_grad():
        for name, tensor in stage.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn_like(tensor) * 0.02
                tensor.add_(noise.abs() if name.endswith("running_var") else noise)
    return stage


def checkpoint_of(stage: Stage, *, whole: bool = False) -> Checkpoint:
    """What a run ships; ``whole``: with the networks that only training needs."""
    boxes = dict(stage.named_children()) if whole else {}
    boxes |= stage.boxes()
    weights = {
        f"{box}.{name}": tensor.clone()
        for box, module in boxes.items()
        for name, tensor in module.state_dict().items()
    }
    return Checkpoint(stage.model, weights, {})


def with_space(config: ModelConfig, space: LabelSpace) -> ModelConfig:
    return replace(config, label_space=space.to_dict())


def space_of(entries: Sequence[tuple[str, bool]]) -> LabelSpace:
    """A space of (name, is it foreground), in this order."""
    classes = [
        {"name": name, "colour": [1, index, 7], "foreground": foreground}
        for index, (name, foreground) in enumerate(entries)
    ]
    return LabelSpace.from_dict({"name": "other", "classes": classes, "void": {"name": "rest"}})


ENTRIES = [(label.name, label.foreground) for label in SPACE.classes]
ORDER = torch.randperm(19, generator=torch.Generator().manual_seed(0)).tolist()
PERMUTED = space_of([ENTRIES[old] for old in ORDER])
# Without "wall" and "bus", with two new ones; "Side_Walk" is spelt anew.
OTHER = space_of(
    [
        ("tunnel", False),
        *reversed([e for e in ENTRIES if e[0] not in ("wall", "bus", "sidewalk")]),
        ("tram", True),
        ("Side_Walk", False),
    ]
)


def ids_in(space: LabelSpace) -> Tensor:
    """The id in ``space`` of each Cityscapes id; of a class it lacks, void."""
    names = [re.sub("[ _-]", "", name.lower()) for name in space.names[:-1]]
    ids = [
        names.index(bare) if (bare := name.replace(" ", "")) in names else space.void_id
        for name in SPACE.names
    ]
    return torch.tensor(ids)


# What the networks of each stage make of the same inputs, in a space whose ids are ``ids``.


def scene() -> Tensor:
    """A map with ten classes and void, in blocks; none that ``OTHER`` lacks."""
    known = torch.tensor([0, 1, 2, 4, 6, 8, 10, 11, 13, 18, 19])
    coarse = known[torch.randint(0, len(known), (2, 8, 16))]
    return coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)


@torch.no_grad()
def outputs_of(
    stage: Any, ids: Tensor, *, is_source: bool = False, unsaid: Sequence[str] = ()
) -> list[Tensor]:
    """All that the stage's networks give, with axes of classes in the order of Cityscapes.

    A source ships its average, which is what both copies of its network are compared with. Nothing
    that is painted gets a label that is ``unsaid``.
    """
    torch.manual_seed(2)
    stage.eval()
    label_map, frames = scene(), torch.rand(2, stage.model.num_frames + 1, 3, 64, 128)
    things = find_objects(label_map, None, foreground=SPACE.foreground_ids, factor=8)
    own, first = ids[label_map], frames[:, 0]
    if isinstance(stage, SegmenterStage):
        networks = (stage.average if is_source else stage.segmenter, stage.average)
        return [network(first)[:, ids[:-1].clamp(max=len(ids) - 2)] for network in networks]
    if isinstance(stage, FirstFrameStage):
        return first_frame_outputs(stage, ids, own, things, is_source)
    paths = stage.animator.track(first, frames[:, 1:], own, things)
    more = () if paths is None else (paths,)
    posterior = stage.motion_encoder(first, frames[:, 1:], own, things, *more)
    # Not from the posterior: its last bits decide which of two pixels hides the other.
    z = stage.animator.flow_decoder.draw(things, torch.Generator().manual_seed(0))
    space = LabelSpace.from_dict(stage.model.label_space)
    never = [space.names.index(name) for name in unsaid if name in space.names]

    def refine(*given: Tensor) -> tuple[Tensor, Tensor | None]:
        picture, logits = Animator._refine(stage.animator, *given)
        if logits is not None:
            logits = logits.index_fill(1, torch.tensor(never, dtype=torch.long), -torch.inf)
        return picture, logits

    with patch.object(stage.animator, "_refine", refine):
        animation = stage.animator(first, own, z, things)
    motion = animation.motion
    found = [*flat(posterior.mean), *flat(posterior.log_variance), *flat(motion)]
    logits = animation.label_logits
    return [*found, animation.refined, *([] if logits is None else [logits[:, :, ids]])]


def first_frame_outputs(
    stage: FirstFrameStage, ids: Tensor, own: Tensor, things: Tensor, is_source: bool
) -> list[Tensor]:
    looks = torch.randn(2, len(SPACE.names) + 64, 2)
    segments = torch.zeros(2, stage.space.num_channels + 64, 2)
    segments[:, ids] = looks[:, : len(ids)]
    segments[:, -64:] = looks[:, -64:]
    look = Look(torch.randn(2, 3), segments)
    networks = (stage.average if is_source else stage.first_frame, stage.average)
    pictures = [network(own, things, look) for network in networks]
    rows = stage.first_frame.segments(own, things)
    posterior = stage.appearance_encoder(torch.rand(2, 3, 64, 128), own, rows)
    said = stage.discriminator(pictures[0])[:, [*ids.tolist(), stage.space.num_channels]]
    own_rows = [*ids.tolist(), *range(-64, 0)]
    return [*pictures, said, posterior.mean.whole, posterior.mean.segments[:, own_rows]]


def flat(carrier: Latent | Motion) -> list[Tensor]:
    return [value for value in vars(carrier).values() if isinstance(value, Tensor)]


# Classes.


@pytest.mark.parametrize("kind", KINDS)
def test_same_classes_and_times_give_the_same_network_bit_by_bit(kind: str) -> None:
    build, config = KINDS[kind]
    source, target = trained(build, config), build(replace(config, height=128, width=256))
    target.step.fill_(7)
    taken = inherit(target, checkpoint_of(source, whole=True))
    assert not taken.adapted and not taken.fresh and not taken.new_classes
    assert taken.classes == SPACE.names[:-1] and int(target.step) == 7
    assert set(taken.taken) == {name for name in target.state_dict() if "." in name}
    ids = torch.arange(20)
    pairs = zip(outputs_of(source, ids, is_source=True), outputs_of(target, ids), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.slow
def test_the_papers_refiner_is_inherited() -> None:
    config = replace(PAPERS, refinement=True, height=128, width=256)
    source, target = trained(motion_stage, config), motion_stage(config)
    assert not inherit(target, checkpoint_of(source)).fresh
    own, other = source.state_dict(), target.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own if "." in name)


@pytest.mark.parametrize("space", [PERMUTED, OTHER], ids=["permuted", "other"])
@pytest.mark.parametrize("kind", KINDS)
def test_classes_are_found_by_their_names(kind: str, space: LabelSpace) -> None:
    build, config = KINDS[kind]
    source, target = trained(build, config), build(with_space(config, space))
    inheritance = inherit(target, checkpoint_of(source, whole=True))
    assert inheritance.adapted and not inheritance.fresh
    # What is painted depends a little on what it is called, and not all names are in both.
    unsaid = ("wall", "bus", "tunnel", "tram") if space is OTHER else ()
    before = outputs_of(source, torch.arange(20), is_source=True, unsaid=unsaid)
    ids = ids_in(space)
    for one, other in zip(before, outputs_of(target, ids, unsaid=unsaid), strict=True):
        # What the classes that OTHER lacks would be called is nobody's business.
        axes = [axis for axis, size in enumerate(one.shape) if size in (19, 20, 21, 84)]
        if space is OTHER and axes:
            lost = [SPACE.names.index(name) for name in ("wall", "bus")]
            kept = torch.tensor([i for i in range(one.shape[axes[0]]) if i not in lost])
            one, other = one.index_select(axes[0], kept), other.index_select(axes[0], kept)
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_new_classes_keep_their_initialisation(kind: str) -> None:
    build, config = KINDS[kind]
    source, target = trained(build, config), build(with_space(config, OTHER))
    fresh = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    inheritance = inherit(target, checkpoint_of(source, whole=True))
    assert inheritance.new_classes == ("tunnel", "tram")
    assert set(inheritance.classes) == set(OTHER.names[:-1]) - {"tunnel", "tram"}
    old, new = checkpoint_of(source, whole=True).weights, target.state_dict()
    for name in inheritance.adapted:
        shipped = name.replace(
            "average.", "first_frame." if kind == "first frame" else "segmenter."
        )
        anew, known = rows_of(shipped, new[name], target), rows_of(shipped, fresh[name], target)
        before = rows_of(shipped, old[shipped], source)
        assert {"tunnel", "tram"} & set(anew)
        for label, row in anew.items():
            bare = label.replace("Side_Walk", "sidewalk").replace("rest", "void")
            wanted = known[label] if label in ("tunnel", "tram") else before[bare]
            assert torch.equal(row, wanted), (name, label)


def rows_of(name: str, tensor: Tensor, stage: Any) -> dict[str, Tensor]:
    """The numbers of each class, found with the indices that the networks themselves use."""
    names = LabelSpace.from_dict(stage.model.label_space).names
    if "branch" in name:
        half = name.split(".")[1].removesuffix("_branch")
        ids = getattr(stage.motion_encoder, half)
        return dict(
            zip([names[i] for i in ids], tensor[:, -2 - len(ids) : -2].unbind(1), strict=True)
        )
    if "encoders" in name:
        ids = stage.motion_encoder.classes[int(name.split(".")[2])]
        return dict(zip([names[i] for i in ids], tensor[:, -len(ids) :].unbind(1), strict=True))
    if "to_half" in name:
        return dict(zip(names, tensor[:, 3:].unbind(1), strict=True))
    if "discriminator" in name:
        rows = rearrange(tensor, "(label four) ... -> label four ...", four=4)
        return dict(zip([*names, "generated"], rows, strict=True))
    if "segmenter" in name:
        rows = rearrange(tensor, "(label four) ... -> label four ...", four=4)
        return dict(zip(names[:-1], rows, strict=True))
    return dict(zip(names, tensor, strict=True))


def test_a_class_that_changed_sides_starts_anew_in_the_motion_encoder() -> None:
    parked = space_of([(name, moves and name != "truck") for name, moves in ENTRIES])
    source, target = trained(motion_stage, GEOMETRY), motion_stage(with_space(GEOMETRY, parked))
    name = "motion_encoder.background_branch.0.0.weight"
    anew = rows_of(name, target.state_dict()[name].clone(), target)
    inheritance = inherit(target, checkpoint_of(source))
    found = rows_of(name, target.state_dict()[name], target)
    assert torch.equal(found["truck"], anew["truck"]) and "truck" in inheritance.classes
    known = rows_of(name, source.state_dict()[name], source)
    assert all(torch.equal(found[label], known[label]) for label in ("road", "sky"))
    assert torch.equal(found["rest"], known["void"])


@pytest.mark.parametrize("before", ["split", "none"])
@pytest.mark.parametrize("after", ["split", "joint"])
def test_semantics_may_change_where_the_classes_allow_it(before: Any, after: Any) -> None:
    source = trained(motion_stage, replace(GEOMETRY, semantics=before))
    target = motion_stage(replace(GEOMETRY, semantics=after))
    name = "motion_encoder.background_branch.0.0.weight"
    inheritance = inherit(target, checkpoint_of(source))
    assert (name in inheritance.taken) == (before == after)
    known, found = (rows_of(name, s.state_dict()[name], s) for s in (source, target))
    assert all(torch.equal(found[label], known[label]) for label in set(found) & set(known))
    halves = [s.state_dict()[name] for s in (source, target)]
    assert torch.equal(halves[0][:, :12], halves[1][:, :12])
    assert torch.equal(halves[0][:, -2:], halves[1][:, -2:])


def test_no_common_class_leaves_the_segmenters_last_layer_as_it_was() -> None:
    target = segmenter_stage(with_space(GEOMETRY, space_of([("cat", True), ("dog", True)])))
    before = target.segmenter.to_logits.weight.clone()
    inheritance = inherit(target, checkpoint_of(trained(segmenter_stage, GEOMETRY)))
    assert torch.equal(target.segmenter.to_logits.weight, before)
    assert "segmenter.to_logits.weight" in inheritance.fresh
    assert inheritance.classes == () and inheritance.new_classes == ("cat", "dog")


# Times.


def ramp(batch: int, count: int, time: int) -> Tensor:
    """Clips whose every pixel changes steadily, seen at ``time`` times: (batch, time, ...)."""
    torch.manual_seed(5)
    whole = torch.randn(batch, 1, count, 16, 16)
    return whole * (torch.arange(1, time + 1) / time).view(1, -1, 1, 1, 1)


@pytest.mark.parametrize("config", [GEOMETRY, PAPERS], ids=["geometry", "paper"])
@pytest.mark.parametrize(
    ("space", "before", "after"), [(SPACE, 3, 6), (OTHER, 6, 4)], ids=["more", "fewer"]
)
def test_a_steady_clip_gives_the_same_activations_however_often_it_is_seen(
    config: ModelConfig, space: LabelSpace, before: int, after: int
) -> None:
    source = trained(motion_stage, replace(config, num_frames=before))
    target = motion_stage(with_space(replace(config, num_frames=after), space))
    inherit(target, checkpoint_of(source))
    for old, new in zip(first_layers(source), first_layers(target), strict=True):
        found = []
        for weight, time in ((old, before), (new, after)):
            clip = rearrange(ramp(2, 3, time), "b t c h w -> b (t c) h w")
            rest = torch.zeros(2, weight.shape[1] - 3 - 3 * time, 16, 16)
            first = torch.full((2, 3, 16, 16), 0.3)
            found.append(torch.conv2d(torch.cat((first, clip, rest), 1), weight))
        torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


def first_layers(stage: MotionStage) -> list[Tensor]:
    """The weights that read the clip."""
    encoder: Any = stage.motion_encoder
    if stage.model.architecture == "paper":
        return [one.body[0].weight for one in encoder.encoders]
    return [b[0][0].weight for b in (encoder.background_branch, encoder.foreground_branch)]


@pytest.mark.parametrize(
    ("config", "after"), [(GEOMETRY, 1), (GEOMETRY, 6), (PAPERS, 2)], ids=["one", "more", "paper"]
)
def test_other_times_and_classes_at_once_give_a_network_that_runs(
    config: ModelConfig, after: int
) -> None:
    source = trained(motion_stage, config)
    target = motion_stage(with_space(replace(config, num_frames=after), OTHER))
    assert inherit(target, checkpoint_of(source)).fresh == ()
    assert all(value.isfinite().all() for value in outputs_of(target, ids_in(OTHER)))


def test_the_papers_fused_features_are_interpolated() -> None:
    source = trained(motion_stage, PAPERS)
    target = motion_stage(replace(PAPERS, num_frames=6))
    inherit(target, checkpoint_of(source))
    old, new = (s.animator.flow_decoder.fuse[0].weight for s in (source, target))
    rows, finer = old.unflatten(0, (3, 16)), new.unflatten(0, (6, 16))
    torch.testing.assert_close(finer[1::2], rows)
    assert torch.equal(finer[0], rows[0])
    torch.testing.assert_close(finer[2], (rows[0] + rows[1]) / 2)


# The table.


def shapes(stage: Stage) -> dict[str, torch.Size]:
    """Shapes of what a checkpoint may hold; an average has those of its network."""
    pairs = stage.state_dict().items()
    return {n: t.shape for n, t in pairs if "." in n and not n.startswith("average.")}


@pytest.mark.parametrize("change", ["classes", "times"])
@pytest.mark.parametrize(
    ("kind", "semantics"),
    [*((kind, "split") for kind in KINDS), ("motion", "joint"), ("paper", "joint")],
)
def test_every_tensor_that_depends_on_classes_or_times_has_a_rule(
    kind: str, change: str, semantics: Any
) -> None:
    build, config = KINDS[kind]
    config = replace(config, semantics=semantics)
    more = space_of([*ENTRIES, ("tram", True), ("tunnel", False), ("bridge", False)])
    other = with_space(config, more) if change == "classes" else replace(config, num_frames=5)
    # Sizes alone need no storage; but to set up the tiny discriminator is slower without.
    with torch.device("meta" if kind == "paper" else "cpu"):
        one, two = shapes(build(config)), shapes(build(other))
    differing = {name for name in one if one[name] != two[name]}
    ruled = {
        name
        for name in one
        for key, (_, blocks) in RULES.items()
        if re.fullmatch(key, name)
        and any((b.kind in TIMES) == (change == "times") and b.kind != "same" for b in blocks)
    }
    assert differing == ruled
    matching = [sum(bool(re.fullmatch(key, name)) for key in RULES) for name in one]
    assert max(matching) == 1


# What does not fit.


def test_other_widths_are_refused_with_the_field_and_nothing_is_changed() -> None:
    wider = replace(GEOMETRY, refiner=replace(GEOMETRY.refiner, width=6))
    target = motion_stage(wider)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    pattern = (
        r"Expected animator\.refiner\.enter\.both\.weight of the shape \(7, 44, 3, 3\).*; "
        r"got \(5, 44, 3, 3\).*; .*refiner\.width 4 \(here 6\)\.$"
    )
    with pytest.raises(ModelError, match=pattern):
        inherit(target, checkpoint_of(trained(motion_stage, GEOMETRY)))
    assert all(torch.equal(before[name], one) for name, one in target.state_dict().items())


@pytest.mark.parametrize(
    ("field", "value"),
    [("motion_encoder", {"width": 8}),
     ("flow_decoder", {"width": 8}), ("flow_decoder", {"background_code": 5})],
    ids=["width", "decoder", "code"],
)  # fmt: skip
def test_other_widths_in_ruled_tensors_are_refused(field: str, value: dict[str, int]) -> None:
    other = replace(GEOMETRY, **{field: replace(getattr(GEOMETRY, field), **value)}, num_frames=6)
    with pytest.raises(ModelError, match=rf"{field}\.{next(iter(value))} "):
        inherit(motion_stage(other), checkpoint_of(trained(motion_stage, GEOMETRY)))


def test_another_architecture_is_refused() -> None:
    with pytest.raises(ModelError, match=r"of architecture geometry \(here paper\)"):
        inherit(motion_stage(PAPERS), checkpoint_of(trained(motion_stage, GEOMETRY)))


def test_a_tensor_of_another_version_is_refused() -> None:
    checkpoint = checkpoint_of(trained(segmenter_stage, GEOMETRY))
    checkpoint.weights["segmenter.encoder.enter.1.weight"] = torch.zeros(1, 2)
    with pytest.raises(ModelError, match=r"got \(1, 2\); start from a checkpoint of this version"):
        inherit(segmenter_stage(GEOMETRY), checkpoint)


def test_a_checkpoint_of_another_stage_is_refused() -> None:
    pattern = "weights of first_frame or .*; got one of animator, motion_encoder; start from"
    with pytest.raises(ModelError, match=pattern):
        inherit(first_frame_stage(GEOMETRY), checkpoint_of(trained(motion_stage, GEOMETRY)))
    with pytest.raises(ModelError, match="got one of nothing"):
        inherit(first_frame_stage(GEOMETRY), Checkpoint(GEOMETRY, {}, {}))


# What is told.


def test_what_a_run_does_not_ship_starts_anew_and_the_average_is_inherited() -> None:
    source, target = grown(first_frame_stage, GEOMETRY), first_frame_stage(GEOMETRY)
    source.first_frame = first_frame_stage(GEOMETRY).first_frame
    kept = target.discriminator.to_logits.weight.clone()
    inheritance = inherit(target, checkpoint_of(source))
    assert {name.split(".")[0] for name in inheritance.fresh} == {"discriminator"}
    assert torch.equal(target.discriminator.to_logits.weight, kept)
    shipped = source.average.state_dict()
    for network in (target.first_frame, target.average):
        assert all(torch.equal(one, shipped[n]) for n, one in network.state_dict().items())
    count = 2 * len(shipped) + len(source.appearance_encoder.state_dict())
    assert inheritance.describe() == (
        f"Took over {count} tensors as they are; {len(inheritance.fresh)} start anew "
        "(in discriminator). 19 of 19 classes are known."
    )


def test_new_classes_are_named() -> None:
    target = motion_stage(with_space(GEOMETRY, OTHER))
    inheritance = inherit(target, checkpoint_of(trained(motion_stage, GEOMETRY)))
    assert inheritance.describe().endswith(
        " tensors as they are, 6 matched by class or time. 17 of 19 classes are known; "
        "new: tunnel, tram."
    )


# Frozen parts.


def test_frozen_parts_stay_and_the_others_learn() -> None:
    stage = motion_stage(GEOMETRY)
    freeze(stage, ["animator.flow_decoder", "background_head"])
    before = {name: p.detach().clone() for name, p in stage.named_parameters()}
    optimiser = torch.optim.AdamW(stage.parameters(), lr=0.1)
    sum(p.sum() for p in stage.parameters()).backward()
    optimiser.step()
    moved = {name for name, p in stage.named_parameters() if not torch.equal(p, before[name])}
    parts = ("animator.flow_decoder.", "motion_encoder.background_head.")
    assert moved == {name for name in before if not name.startswith(parts)}
    marked = {name for name, module in stage.named_modules() if hasattr(module, "is_frozen")}
    assert marked == {name for name, _ in stage.named_modules() if f"{name}.".startswith(parts)}


@pytest.mark.parametrize("part", ["animator.refiner", "refiner"])
def test_all_but_one_part_is_frozen(part: str) -> None:
    stage = motion_stage(GEOMETRY)
    freeze(stage, [part], others=True)
    learning = {name for name, p in stage.named_parameters() if p.requires_grad}
    assert learning == {
        f"animator.refiner.{n}" for n, _ in stage.animator.refiner.named_parameters()
    }
    marked = {name for name, module in stage.named_modules() if hasattr(module, "is_frozen")}
    spared = {n for n, _ in stage.named_modules() if f"{n}.".startswith("animator.refiner.")}
    assert marked == {n for n, _ in stage.named_modules()} - spared - {"", "animator"}


def test_a_parameter_beside_the_part_is_frozen_too() -> None:
    stage = motion_stage(GEOMETRY)
    stage.motion_encoder.loudness = nn.Parameter(torch.ones(()))
    freeze(stage, ["background_head"], others=True)
    assert not stage.motion_encoder.loudness.requires_grad
    assert stage.motion_encoder.background_head[0].weight.requires_grad


@pytest.mark.parametrize(
    ("build", "part", "got"),
    [
        (motion_stage, "refinery", "animator.refiner; got 'refinery'; write its whole name"),
        (motion_stage, "embedding", "got 'embedding', which may be .*animator.refiner.embedding"),
        (first_frame_stage, "average", "a part of the stage: first_frame, .*got 'average'"),
        (first_frame_stage, "", "got ''"),
    ],
)
def test_unknown_parts_are_refused(build: Build, part: str, got: str) -> None:
    stage = build(GEOMETRY)
    for others in (False, True):
        with pytest.raises(ModelError, match=got) as caught:
            freeze(stage, [part], others=others)
        assert "average," not in str(caught.value)


def test_freezing_everything_is_refused_and_changes_nothing() -> None:
    stage = first_frame_stage(GEOMETRY)
    every = ["first_frame", "appearance_encoder", "discriminator"]
    with pytest.raises(ModelError, match="a part that is trained; got all parts frozen"):
        freeze(stage, every)
    with pytest.raises(ModelError, match="got all parts frozen"):
        freeze(stage, [], others=True)
    assert stage.first_frame.enter.weight.requires_grad
    assert not any(hasattr(module, "is_frozen") for module in stage.modules())
    freeze(stage, every[:2])
    with pytest.raises(ModelError, match="got all parts frozen"):
        freeze(stage, every[2:])
