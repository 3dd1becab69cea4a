"""Looks of first frames: those known from photographs, and mixtures of two."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.structures import Look
from seg2vid.tools.errors import ModelError

Present = Float[Tensor, "batch segment"]
PICTURE_RANGE, CLASS_RANGE = 0.8, 1.8
"""How far from their mean looks of whole pictures, and of classes that do not move, are drawn, in
units of how far known ones are. With each class from a picture of its own: the wider, the more
pictures differ, and the farther they are from photographs (lab notes, 2026-11-30).
"""


class KnownLooks(nn.Module):
    """Looks of training pictures: what an encoder made of them is not quite N(0, I).

    Looks are drawn about them (Ghosh et al., "From Variational to Deterministic Autoencoders", ICLR
    2020: density estimation after training); those of objects as wide as a look is uncertain.
    """

    whole: Tensor
    segments: Tensor
    spread: Tensor
    filled: Tensor

    def __init__(self, count: int, *, classes: int, whole: int, segment: int) -> None:
        super().__init__()
        # First looks of classes, picture by picture, where it had them; then looks of objects of
        # each class, whichever picture they are from.
        self.register_buffer("whole", torch.zeros(count, whole))
        self.register_buffer("segments", torch.zeros(2, count, classes, segment))
        self.register_buffer("spread", torch.ones(whole + segment))
        self.register_buffer("filled", torch.zeros(2, classes, dtype=torch.long))

    def learn(
        self, mean: Look, spread: Look, present: Present, classes: Int[Tensor, "batch object"]
    ) -> None:
        """Remember the looks of a batch in place of the oldest; ``classes`` are the objects'."""
        number, count = self.segments.shape[2], len(self.whole)
        weight = present.unsqueeze(-1)
        of_segments = (spread.segments * weight).sum((0, 1)) / weight.sum().clamp(min=1)
        widths = (spread.whole.mean(0), of_segments)
        self.spread.lerp_(torch.cat(widths).to(self.spread), 0.01)
        for index in range(len(mean.whole)):
            place = int(self.filled[0].sum()) // number % count
            self.whole[place] = mean.whole[index].to(self.whole)
            rows = mean.segments[index].to(self.segments)
            there = present[index, :number] > 0
            self.segments[0, place] = torch.where(
                there.unsqueeze(-1), rows[:number], self.segments[0, place]
            )
            self.filled[0] += 1
            for thing in present[index, number:].nonzero().flatten().tolist():
                kind = int(classes[index, thing])
                self.segments[1, self.filled[1, kind] % count, kind] = rows[number + thing]
                self.filled[1, kind] += 1

    def draw(
        self, classes: Int[Tensor, "batch object"], noise: Look, generator: torch.Generator | None
    ) -> Look:
        """Draw looks, each class' from a picture of its own; ``noise`` is from N(0, I)."""
        batch, objects = classes.shape
        whole, segments, spread, filled = (
            part.cpu() for part in (self.whole, self.segments, self.spread, self.filled)
        )
        count, number = segments.shape[1:3]
        known = filled.clamp(max=count)
        dice = torch.rand(batch, 1 + number + objects, generator=generator)
        picture, of_classes = (dice[:, 0] * known[0, 0]).long(), dice[:, 1 : 1 + number] * known[0]
        kinds = classes.cpu()
        which = (dice[:, 1 + number :] * known[1][kinds]).long()
        stuff = segments[0, of_classes.long(), torch.arange(number)]
        stuff = _about_mean(stuff, segments[0, : known[0, 0]], CLASS_RANGE)
        things = segments[1, which, kinds] + noise.segments[:, number:] * spread[whole.shape[1] :]
        rows = torch.cat((stuff, things), 1)
        # A class that was never seen, or no picture at all: N(0, I) is the best guess.
        is_known = torch.cat((known[0].expand(batch, -1), known[1][kinds]), 1).unsqueeze(-1) > 0
        about = whole[picture] + noise.whole * spread[: whole.shape[1]]
        about = _about_mean(about, whole[: known[0, 0]], PICTURE_RANGE)
        return Look(
            whole=about if bool(known[0, 0] > 0) else noise.whole,
            segments=torch.where(is_known, rows, noise.segments),
        )


def _about_mean(drawn: Tensor, known: Tensor, share: float) -> Tensor:
    """Move what was drawn to ``share`` times its distance from the mean of what is known."""
    return torch.lerp(known.mean(0), drawn, share) if len(known) else drawn


def interpolate_looks(first: Look, second: Look, weight: float) -> Look:
    """Return the look on the straight line from ``first`` (``weight`` 0) to ``second`` (1).

    Both are of first frames of one map, as ``video.look`` is: raises ``ModelError`` otherwise.
    """
    if first.kinds is not None or second.kinds is not None:
        what, fix = "two looks of first frames", "paint one map with each photograph's look first"
        raise ModelError(what, got="that of a photograph", fix=fix)
    check_same_kind(first, second)
    grain = None
    if first.grain is not None and second.grain is not None:
        # A mixture of noises is weaker than either.
        grain = torch.lerp(first.grain, second.grain, weight) / math.hypot(1 - weight, weight)
    whole = torch.lerp(first.whole, second.whole, weight)
    return Look(whole, torch.lerp(first.segments, second.segments, weight), grain)


def check_same_kind(look: Look, other: Look) -> None:
    """Raise ``ModelError`` for looks of two models, or of unlike numbers of samples."""
    for name in ("whole", "segments", "grain"):
        one, wanted = getattr(look, name), getattr(other, name)
        if one is None and (wanted is None or look.kinds is not None):
            continue
        shapes = [None if each is None else tuple(each.shape) for each in (one, wanted)]
        if one is None or wanted is None or one.shape[1:] != wanted.shape[1:]:
            fix = "take a look of this model's own: a video's, or by read_look"
            raise ModelError(f"a look whose {name} is of shape {shapes[1]}", got=shapes[0], fix=fix)
        if len(one) not in (1, len(wanted)):
            what, fix = f"one look, or one for each of {len(wanted)} samples", "give as many"
            raise ModelError(what, got=len(one), fix=fix)
