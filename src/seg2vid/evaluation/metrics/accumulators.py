"""Figures of clips, collected over batches and processes: nothing is computed before all are there.

Each row carries the number of its clip. So the result does not depend on which process saw a clip,
nor when, to the last bit; and a clip that came twice, since samplers repeat some to give each
process as many, counts once. What stands in the rows is kept by clip, for intervals over clips.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, distributed
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from seg2vid.evaluation.metrics.frechet import frechet_distance, kernel_distance
from seg2vid.evaluation.metrics.semantics import mean_intersection_over_union, pixel_accuracy_of
from seg2vid.tools.errors import ModelError


class ClipRows(Metric):
    """Base of the collectors: named tensors whose first axis is that of their clips."""

    full_state_update = False
    clips: list[Tensor]

    def __init__(self, *names: str) -> None:
        super().__init__(dist_sync_fn=gather_rows)
        self.names = names
        for name in ("clips", *names):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def keep(self, clips: Int[Tensor, " batch"], **rows: Tensor) -> None:
        """Keep the rows of some clips, a tensor ``(batch, ...)`` for each name."""
        for name, tensor in {"clips": clips, **rows}.items():
            getattr(self, name).append(tensor.detach())

    def ordered(self) -> dict[str, Tensor]:
        """Return "clips" ``(clips)`` and each name's rows ``(clips, ...)``, in order of the clips,
        each once: of this process, or of all while synchronised.

        Raises ``ModelError`` where no clip has come.
        """
        if not len(self.clips):
            what, fix = "at least one clip", "update with figures first"
            raise ModelError(what, got="none", fix=fix)
        clips = dim_zero_cat(self.clips)
        order = clips.argsort(stable=True)
        clips = clips[order]
        is_first = torch.ones_like(clips, dtype=torch.bool)
        is_first[1:] = clips[1:] != clips[:-1]
        rows = {name: dim_zero_cat(getattr(self, name))[order][is_first] for name in self.names}
        return {"clips": clips[is_first], **rows}

    def by_clip(self) -> dict[str, Tensor]:
        """Return ``ordered`` over all processes: every one of them must call this."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return self.ordered()


def gather_rows(rows: Tensor, group: Any = None) -> list[Tensor]:
    """Return the rows ``(batch, ...)`` of every process, those without any left out.

    The usual gathering hangs where a process has seen no clip: its empty state has another type and
    number of axes.
    """
    gathered: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(gathered, rows.cpu(), group=group)
    return [part.to(rows.device) for part in gathered if len(part)] or [rows]


class FeatureBank(ClipRows):
    """Features of generated and of real clips; computes the distances between the two sets."""

    def __init__(self) -> None:
        super().__init__("generated", "reference")

    def update(
        self,
        generated: Float[Tensor, "batch rows feature"],
        reference: Float[Tensor, "batch others feature"],
        clips: Int[Tensor, " batch"],
    ) -> None:
        """Add the features of some clips: rows may be frames, or samples of one scene."""
        self.keep(clips, generated=generated, reference=reference)

    def compute(self) -> dict[str, float]:
        """Return "frechet" and "kernel" distance, lower is better: see ``frechet.py``."""
        rows = self.ordered()
        sets = [rows[name].flatten(0, 1) for name in self.names]
        distances = {"frechet": frechet_distance, "kernel": kernel_distance}
        return {name: float(distance(*sets)) for name, distance in distances.items()}


class MeanOverClips(ClipRows):
    """Named figures of each clip; computes their means."""

    def __init__(self, *figures: str) -> None:
        super().__init__("values")
        self.figures = figures

    def update(self, values: Float[Tensor, "batch figures"], clips: Int[Tensor, " batch"]) -> None:
        """Add a row of figures for each clip; nan where a clip has no such figure."""
        self.keep(clips, values=values.double())

    def compute(self) -> dict[str, float]:
        """Return the mean of each figure over the clips that have it; nan where none has."""
        means = self.ordered()["values"].nanmean(0).tolist()
        return dict(zip(self.figures, means, strict=True))


class ConfusionMatrices(ClipRows):
    """Confusion matrices of each clip, one a frame; computes agreement of all clips, by frame."""

    def __init__(self) -> None:
        super().__init__("matrices")

    def update(
        self, matrices: Int[Tensor, "batch time truth said"], clips: Int[Tensor, " batch"]
    ) -> None:
        """Add the matrices of some clips, as ``confusion_matrix`` counts them."""
        self.keep(clips, matrices=matrices)

    def compute(self) -> dict[str, list[float]]:
        """Return "mean_iou" and "pixel_accuracy" of each frame, higher is better, matrices of all
        clips added.
        """
        total = self.ordered()["matrices"].sum(0)
        return {
            "mean_iou": mean_intersection_over_union(total).tolist(),
            "pixel_accuracy": pixel_accuracy_of(total).tolist(),
        }
