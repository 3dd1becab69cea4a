"""Looks of first frames: those known from photographs, and mixtures of two."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seg2vid.structures import Look
from seg2vid.tools.errors import ModelError

Areas = Float[Tensor, "batch segment"]
"""Share of its picture that each segment covers; 0 for those that the picture lacks."""
ALIKE, FEWEST = 0.25, 8
"""How many known looks count as those of segments that were as large: this share of all pictures
for a class, of all objects of its class for an object; and how many at least.
"""
LEAST = 1e-6
"""Share of a picture below which one segment is as small as another."""
PICTURE_RANGE = 0.8
"""How far from their mean looks of whole pictures are drawn, in units of how far known ones are."""
MOST_OFF = 1.6
"""Standard deviations from their mean that known looks of classes count as off, at most: what is
odd in a single photograph would be odder still.
"""
OBJECT_RANGE = 0.5
"""How far from known ones looks of objects are drawn, in units of how uncertain a look is."""


class KnownLooks(nn.Module):
    """Looks of training pictures: what an encoder made of them is not quite N(0, I).

    Looks are drawn about them (Ghosh et al., "From Variational to Deterministic Autoencoders", ICLR
    2020: density estimation after training), each about those of segments that were as large: the
    fewer pixels one has, the less its look is like the others'.
    """

    whole: Tensor
    segments: Tensor
    areas: Tensor
    spread: Tensor
    filled: Tensor

    def __init__(
        self, count: int, *, classes: int, whole: int, segment: int, class_range: float = 1.0
    ) -> None:
        """Make room for ``count`` pictures; ``class_range`` is ``FirstFrameConfig.look_range``."""
        super().__init__()
        self.class_range = class_range
        # First looks of classes, picture by picture, where it had them; then looks of objects of
        # each class, whichever picture they are from. Areas are shares of a picture.
        self.register_buffer("whole", torch.zeros(count, whole))
        self.register_buffer("segments", torch.zeros(2, count, classes, segment))
        self.register_buffer("areas", torch.zeros(2, count, classes))
        self.register_buffer("spread", torch.ones(whole + segment))
        self.register_buffer("filled", torch.zeros(2, classes, dtype=torch.long))

    def learn(
        self, mean: Look, spread: Look, areas: Areas, classes: Int[Tensor, "batch object"]
    ) -> None:
        """Remember the looks of a batch in place of the oldest; ``classes`` are the objects'."""
        number, count = self.segments.shape[2], len(self.whole)
        weight = (areas > 0).to(areas.dtype).unsqueeze(-1)
        of_segments = (spread.segments * weight).sum((0, 1)) / weight.sum().clamp(min=1)
        widths = (spread.whole.mean(0), of_segments)
        self.spread.lerp_(torch.cat(widths).to(self.spread), 0.01)
        for index in range(len(mean.whole)):
            place = int(self.filled[0].sum()) // number % count
            self.whole[place] = mean.whole[index].to(self.whole)
            rows, sizes = mean.segments[index].to(self.segments), areas[index].to(self.areas)
            there = sizes[:number] > 0
            self.segments[0, place, there] = rows[:number][there]
            self.areas[0, place, there] = sizes[:number][there]
            self.filled[0] += 1
            for thing in sizes[number:].nonzero().flatten().tolist():
                kind = int(classes[index, thing])
                oldest = self.filled[1, kind] % count
                self.segments[1, oldest, kind] = rows[number + thing]
                self.areas[1, oldest, kind] = sizes[number + thing]
                self.filled[1, kind] += 1

    def draw(
        self,
        classes: Int[Tensor, "batch object"],
        areas: Areas,
        noise: Look,
        generator: torch.Generator | None,
    ) -> Look:
        """Draw looks, each class' from a picture of its own; ``noise`` is from N(0, I)."""
        whole, spread = self.whole.cpu(), self.spread.cpu()[: self.whole.shape[1]]
        dice = torch.rand(len(areas), 1 + areas.shape[1], generator=generator)
        number = self.segments.shape[2]
        kinds = torch.cat((torch.arange(number).expand(len(areas), -1), classes.cpu()), 1)
        # What no picture of the batch has, nobody will see.
        rows = (areas.cpu() > 0).any(0).nonzero().squeeze(1)
        given = (one[:, rows] for one in (kinds, areas.cpu(), noise.segments, dice[:, 1:]))
        drawn = self._draw_segments(rows >= number, *given)
        segments = noise.segments.index_copy(1, rows, drawn)
        if not (pictures := min(int(self.filled[0, 0]), len(whole))):
            return Look(whole=noise.whole, segments=segments)
        about = whole[(dice[:, 0] * pictures).long()] + noise.whole * spread
        about = torch.lerp(whole[:pictures].mean(0), about, PICTURE_RANGE)
        return Look(whole=about, segments=segments)

    def _draw_segments(
        self,
        is_thing: Bool[Tensor, " segment"],
        kinds: Int[Tensor, "batch segment"],
        areas: Areas,
        noise: Float[Tensor, "batch segment size"],
        dice: Float[Tensor, "batch segment"],
    ) -> Float[Tensor, "batch segment size"]:
        """Draw the looks of classes and of objects of these ``kinds``, by ``dice`` in [0, 1)."""
        segments, sizes, filled = (part.cpu() for part in (self.segments, self.areas, self.filled))
        count, which = segments.shape[1], is_thing.long().expand_as(kinds)
        known = filled.clamp(max=count)[which, kinds].unsqueeze(-1)
        sizes = sizes.transpose(1, 2)[which, kinds]
        # Where a picture lacked a class there is a place without a look.
        is_there = (torch.arange(count) < known) & (sizes > 0)
        # Those that were as large come first, the unknown last.
        off = (sizes.clamp(min=LEAST).log() - areas.clamp(min=LEAST).log().unsqueeze(-1)).abs()
        off = off.masked_fill(~is_there, torch.inf)
        like = (known * ALIKE).ceil().clamp(min=FEWEST).long()
        like = like.minimum(is_there.sum(-1, keepdim=True))
        alike = off.argsort(dim=-1, stable=True)[..., : max(1, int(like.max()))]
        looks = segments[which.unsqueeze(-1), alike, kinds.unsqueeze(-1)]
        drawn = looks.take_along_dim((dice.unsqueeze(-1) * like).long().unsqueeze(-1), 2).squeeze(2)
        is_like = (torch.arange(alike.shape[-1]) < like).unsqueeze(-1)
        mean, square = ((each * is_like).sum(2) / like.clamp(min=1) for each in (looks, looks**2))
        most = MOST_OFF * (square - mean**2).clamp(min=0).sqrt()
        stuff = mean + self.class_range * torch.clamp(drawn - mean, -most, most)
        things = drawn + OBJECT_RANGE * noise * self.spread.cpu()[self.whole.shape[1] :]
        drawn = torch.where(is_thing.unsqueeze(-1), things, stuff)
        # A class that was never seen, or no picture at all: N(0, I) is the best guess.
        return torch.where(known > 0, drawn, noise)


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
