"""Validation during training: held-out clips → named figures, the best of which chooses weights."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from seg2vid.data.clips import ClipSource
from seg2vid.media.drawing import pick_evenly
from seg2vid.structures import Clip
from seg2vid.tools.errors import TrainingError
from seg2vid.training.stage import Stage

Figures = dict[str, float]
"""Figures by name; a part after a comma says of what, one in brackets the unit."""
Judging = Callable[[Any, Clip], Figures]
"""What finds the figures of a stage on a clip: ``train_figures.py`` has one for each stage."""
Picked = tuple[ClipSource, int]
"""One held-out clip: where from, and which."""

HIGHER_IS_BETTER = ("accuracy", "precision", "IoU", "diversity")
CHOICES = ("LPIPS, posterior", "LPIPS, own look", "L1, posterior", "L1, own look", "pixel accuracy")
"""What chooses the best weights unless the user says otherwise: the first that a stage has."""


def pick_clips(sources: Sequence[ClipSource], count: int) -> list[Picked]:
    """Pick ``count`` clips, spread evenly over all sources; fewer where there are fewer."""
    every = [(source, index) for source in sources for index in range(len(source))]
    return [every[index] for index in pick_evenly(len(every), count)] if every else []


def read_picked(picked: Picked, *, is_still: bool) -> Clip:
    """Read a picked clip, or its first frame alone."""
    source, index = picked
    return source.read_still(index, 0) if is_still else source.read(index)


def is_better(name: str, value: float, than: float) -> bool:
    """Say whether a figure is better than another of the same name."""
    is_higher = any(word in name for word in HIGHER_IS_BETTER)
    return value > than if is_higher else value < than


def find_choice(figures: Figures, wanted: str) -> str:
    """Return the name of the figure that chooses the best weights.

    Raises ``TrainingError`` where ``wanted`` is none of them.
    """
    if wanted and wanted not in figures:
        what = f"a figure of the validation for --choose-by: {'; '.join(figures)}"
        raise TrainingError(what, got=repr(wanted), fix="name one of them")
    return wanted or next(name for name in CHOICES if name in figures)


@torch.no_grad()
def measure(stage: Stage, clip: Clip, judge: Judging) -> Figures:
    """Return every figure that ``judge`` finds of one held-out clip (a batch of one), in evaluation
    mode.
    """
    was_training = stage.training
    stage.eval()
    try:
        return judge(stage, clip.to(stage.device))
    finally:
        stage.train(was_training)


def average(rows: Sequence[Figures]) -> Figures:
    """Return the mean of each figure over those clips that have it, sorted by name."""
    names = sorted({name for row in rows for name in row})
    found = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}
