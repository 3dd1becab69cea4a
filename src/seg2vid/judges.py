"""The frozen judges of one training run, those it wants and those it can find."""

from dataclasses import dataclass
from pathlib import Path

import torch

from seg2vid.features import (
    PerceptualDistance,
    VGGFeatures,
    load_perceptual_distance,
    load_vgg_features,
)


@dataclass(frozen=True)
class Judges:
    """The frozen networks that training may use; a term whose judge is missing is left out."""

    perceptual: PerceptualDistance | None = None
    features: VGGFeatures | None = None

    def to(self, device: torch.device | str) -> None:
        """Move the judges to a device."""
        for judge in (self.perceptual, self.features):
            if judge is not None:
                judge.to(device)


def load_judges(folder: Path | None, *, perceptual: bool, features: bool) -> Judges:
    """Load those that are wanted from ``folder``, none without a folder.

    Raises ``ModelError`` where a file is missing.
    """
    if folder is None:
        return Judges()
    return Judges(
        perceptual=load_perceptual_distance(folder) if perceptual else None,
        features=load_vgg_features(folder) if features else None,
    )
