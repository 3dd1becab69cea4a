"""Training from a checkpoint of other classes, size or number of frames, and of some parts alone.

A tensor is matched along the one axis that depends on classes or times, by the names of classes and
by fractions of a pass. What a network predicts is interpolated at the new times; what it reads of a
clip is interpolated at the old ones, so that its activations stay what they were.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seg2vid.labels.space import LabelSpace, bare_name
from seg2vid.models.checkpoint import Checkpoint
from seg2vid.models.config import ModelConfig, to_dict
from seg2vid.tools.errors import ModelError
from seg2vid.training.folder import differences
from seg2vid.training.stage import Stage

TIMES = ("rates", "growth")
"""Of T times, number t says what holds at (t + 1) / T of the pass and before the first time alike
(rates), or what grows from 0 until then.
"""


@dataclass(frozen=True)
class Block:
    """Consecutive places along an axis: ``each`` times the field ``unit`` for every entry."""

    kind: str
    """``same`` (one entry), one of ``TIMES``, or which classes: a key of ``_class_names``."""
    each: int = 1
    unit: str = ""

    def size(self, model: ModelConfig) -> int:
        """Return the places of one entry in a ``model`` of this configuration."""
        return self.each * int(attrgetter(self.unit)(model)) if self.unit else self.each


CLIP, PLACE = (Block("same", 3), Block("growth", 3)), Block("same", 2)
COLOURS = Block("same", 1, "paper.channels")
PAPER_CLIP = (COLOURS, Block("growth", 1, "paper.channels"))
RULES: dict[str, tuple[int, tuple[Block, ...]]] = {
    r".+\.embedding\.table": (0, (Block("channels"),)),
    r"discriminator\.to_logits\.\w+": (0, (Block("channels", 4), Block("same", 4))),
    r"segmenter\.to_logits\.\w+": (0, (Block("classes", 4),)),
    r".+\.refiner\.to_labels\.\w+": (0, (Block("channels"),)),
    r".+\.flow_decoder\.fuse\.0\.\w+": (0, (Block("rates", 16),)),
    r".+\.flow_decoder\.to_half\.0\.weight": (1, (COLOURS, Block("seen"))),
    r".+\.background_branch\.0\.0\.weight": (1, (*CLIP, Block("background"), PLACE)),
    r".+\.foreground_branch\.0\.0\.weight": (1, (*CLIP, Block("foreground"), PLACE)),
    r".+\.encoders\.0\.body\.0\.weight": (1, (*PAPER_CLIP, Block("paper background"))),
    r".+\.encoders\.1\.body\.0\.weight": (1, (*PAPER_CLIP, Block("paper foreground"))),
}
"""Every tensor whose shape depends on classes or times, by a regular expression of its name in a
checkpoint: the axis that does (0 is what a layer gives, 1 what it reads) and its blocks in order.
"""


@dataclass(frozen=True)
class Inheritance:
    """What a stage took over from a checkpoint: names of tensors and, void aside, of classes.

    Tensors are taken as they were, adapted in their classes or times, or fresh: initialised.
    """

    taken: tuple[str, ...]
    adapted: tuple[str, ...]
    fresh: tuple[str, ...]
    classes: tuple[str, ...]
    """Those that the checkpoint knows."""
    new_classes: tuple[str, ...]

    def describe(self) -> str:
        """Return two sentences for the terminal."""
        parts = ", ".join(sorted({name.split(".")[0] for name in self.fresh}))
        matched = f", {len(self.adapted)} matched by class or time" if self.adapted else ""
        anew = f"; {len(self.fresh)} start anew (in {parts})" if self.fresh else ""
        known, count = len(self.classes), len(self.classes + self.new_classes)
        names = f"; new: {', '.join(self.new_classes)}" if self.new_classes else ""
        return (
            f"Took over {len(self.taken)} tensors as they are{matched}{anew}. "
            f"{known} of {count} classes are known{names}."
        )


def inherit(stage: Stage, checkpoint: Checkpoint) -> Inheritance:
    """Fill the networks of ``stage`` with what fits of ``checkpoint``; say what that was.

    Classes are the same if their names are, whatever their case and separators. What the stage
    itself counts (its steps) stays. Raises ``ModelError``, with nothing changed, where a tensor has
    another shape for any reason but classes and times, or where no tensor is found.
    """
    old, new = checkpoint.config, stage.model
    own = {name: tensor for name, tensor in stage.state_dict().items() if "." in name}
    shipped = {name: _shipped_name(stage, name) for name in own}
    sources = {name: checkpoint.weights.get(shipped[name], own[name]) for name in own}
    values = {name: _match(shipped[name], sources[name], own[name], old, new) for name in own}
    fresh = tuple(name for name in own if values[name] is own[name])
    taken = tuple(name for name in own if values[name] is sources[name] and name not in fresh)
    if len(fresh) == len(own):
        boxes = ", ".join(sorted({name.split(".")[0] for name in checkpoint.weights}))
        if old.architecture != new.architecture:
            boxes += f" of architecture {old.architecture} (here {new.architecture})"
        what = f"a checkpoint with weights of {' or '.join(stage.boxes())}"
        fix = "start from a checkpoint of this stage, or from none"
        raise ModelError(what, got=f"one of {boxes or 'nothing'}", fix=fix)
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)
    known = _class_names(old, "classes")
    pairs = list(zip(stage.space.names, _class_names(new, "classes"), strict=False))
    return Inheritance(
        taken=taken,
        adapted=tuple(name for name in own if name not in taken + fresh),
        fresh=fresh,
        classes=tuple(label for label, name in pairs if name in known),
        new_classes=tuple(label for label, name in pairs if name not in known),
    )


def _shipped_name(stage: Stage, name: str) -> str:
    """Return what a checkpoint calls a tensor of the stage: an average bears its network's name."""
    child, _, rest = name.partition(".")
    boxes = (box for box, module in stage.boxes().items() if module is getattr(stage, child))
    return f"{next(boxes, child)}.{rest}"


def _match(name: str, source: Tensor, target: Tensor, old: ModelConfig, new: ModelConfig) -> Tensor:
    """Return what ``target`` is to be (any shape): one of the two themselves, or a mixture."""
    if source is target:
        return target
    rule = next((rule for key, rule in RULES.items() if re.fullmatch(key, name)), None)
    if rule is None:
        if source.shape != target.shape:
            raise _misfit(name, source, target, old, new)
        return source
    axis, blocks = rule
    parts = [_match_block(block, axis, old, new) for block in blocks]
    matrices = (matrix for matrix, _ in parts)
    mixing = torch.block_diag(*matrices).to(source)
    is_known = torch.cat([known for _, known in parts]).to(source.device)
    ahead, kept = source.movedim(axis, 0), target.movedim(axis, 0).to(source)
    if mixing.shape != (len(kept), len(ahead)) or kept.shape[1:] != ahead.shape[1:]:
        raise _misfit(name, source, target, old, new)
    if torch.equal(mixing, torch.eye(len(ahead)).to(source)):
        return source
    if not is_known.any():
        return target
    mixed = torch.tensordot(mixing, ahead, 1)
    mixed[~is_known] = kept[~is_known]
    return mixed.movedim(0, axis)


def _match_block(
    block: Block, axis: int, old: ModelConfig, new: ModelConfig
) -> tuple[Float[Tensor, "new old"], Bool[Tensor, " new"]]:
    """Return how much of each old place goes into each new one, and which new ones are known."""
    if block.kind == "same":
        matrix = torch.eye(1)
    elif block.kind in TIMES and axis == 0:
        matrix = _resample(block.kind, old.num_frames, new.num_frames)
    elif block.kind in TIMES:
        matrix = _resample(block.kind, new.num_frames, old.num_frames).T
    else:
        before, after = _class_names(old, block.kind), _class_names(new, block.kind)
        matrix = torch.zeros(len(after), len(before))
        for row, name in enumerate(after):
            matrix[row, before.index(name) if name in before else slice(0)] = 1
    # A time that nothing is read at is known all the same: its weights are 0.
    is_known = matrix.any(1) | (block.kind in TIMES)
    size = block.size(new)
    repeated = torch.einsum("no,ij->nioj", matrix, torch.eye(size))
    return rearrange(repeated, "n i o j -> (n i) (o j)"), is_known.repeat_interleave(size)


def _resample(kind: str, old: int, new: int) -> Float[Tensor, "new old"]:
    """Return how much of what is at each of ``old`` times makes up what is at ``new`` ones."""
    ends = torch.arange(1, new + 1).unsqueeze(1) * old / new
    times = torch.arange(1, old + 1)
    places = ends if kind == "growth" else ends.clamp(min=1)
    return (1 - (places - times).abs()).clamp(min=0)


def _class_names(model: ModelConfig, kind: str) -> list[str]:
    """Return the classes of a block in their order: bare names, and void without one."""
    space = LabelSpace.from_dict(model.label_space)
    every, void, things = set(range(space.num_channels)), {space.void_id}, set(space.foreground_ids)
    ids = {
        "channels": every,
        "classes": every - void,
        "seen": every,
        "background": every - things,
        "foreground": things,
        "paper background": every - things - void,
        "paper foreground": things | void,
    }[kind]
    if kind not in ("channels", "classes") and model.semantics != "split":
        ids = every if model.semantics == "joint" else set()
    bare = [bare_name(name) for name in space.names]
    return [bare[place] if place != space.void_id else "" for place in sorted(ids)]


def _misfit(
    name: str, source: Tensor, target: Tensor, old: ModelConfig, new: ModelConfig
) -> ModelError:
    """Return the error for tensors of different shapes, with the fields that may be why."""
    # These may differ.
    free = dict.fromkeys(("label_space", "height", "width", "num_frames", "frames_per_second"))
    differing = differences(to_dict(old) | free, to_dict(new) | free)
    reasons = ", ".join(f"{field} {was} (here {here})" for field, was, here in differing)
    fix = "start from a checkpoint of this version of seg2vid"
    if reasons:
        fix = f"give this run the checkpoint's configuration, which has {reasons}"
    what = f"{name} of the shape {tuple(target.shape)}, classes and times aside, in the checkpoint"
    return ModelError(what, got=tuple(source.shape), fix=fix)


def freeze(stage: Stage, parts: Sequence[str], *, others: bool = False) -> None:
    """Keep ``parts`` of the stage as they are, or all ``others``.

    Parts are dotted names of modules, or how just one name ends. What is kept gets no gradient; its
    modules are marked ``is_frozen``, so that batch norm uses its running figures. What was frozen
    before stays so. Raises ``ModelError``, with nothing changed, for a part that is unknown or not
    the only one and where nothing would be trained.
    """
    named = [_find_part(stage, part) for part in parts]

    def is_frozen(path: str) -> bool:
        is_named = any(_is_within(path, part) for part in named)
        # With ``others``, modules that hold a part are spared.
        return not is_named and not any(_is_within(p, path) for p in named) if others else is_named

    own = [pair for pair in stage.named_parameters() if not _is_within(pair[0], "average")]
    if not any(one.requires_grad and not is_frozen(path) for path, one in own):
        fix = "leave a part out of those that are frozen"
        raise ModelError("a part that is trained", got="all parts frozen", fix=fix)
    for path, parameter in own:
        if is_frozen(path):
            parameter.requires_grad_(False)
    for path, module in _modules(stage).items():
        if is_frozen(path):
            module.is_frozen = True  # type: ignore[assignment]


def _find_part(stage: Stage, part: str) -> str:
    """Return the dotted name of the module that is called ``part`` or, alone, ends in it."""
    paths = list(_modules(stage))
    found = [part] if part in paths else [path for path in paths if path.endswith(f".{part}")]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(path for path in paths if path.count(".") < 2)
    got = f"{part!r}, which may be {' or '.join(found[:3])}" if found else repr(part)
    raise ModelError(f"a part of the stage: {shown}", got=got, fix="write its whole name")


def _modules(stage: Stage) -> dict[str, nn.Module]:
    """Return the modules that are trained, by dotted name: an average follows."""
    pairs = stage.named_modules()
    return {path: module for path, module in pairs if path and not _is_within(path, "average")}


def _is_within(path: str, part: str) -> bool:
    return f"{path}.".startswith(f"{part}.")
