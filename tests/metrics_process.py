"""One process of an evaluation: ``python -m tests.metrics_process RANK PROCESSES FOLDER``.

It collects the figures of its clips only and leaves in the folder what it holds to be the result of
all: ``tests/evaluation/metrics/test_accumulators.py`` compares.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from seg2vid.evaluation.metrics.accumulators import ConfusionMatrices, FeatureBank, MeanOverClips

CLIPS = 7


@dataclass
class Collectors:
    """One collector of each kind, and what to put into them."""

    bank: FeatureBank = field(default_factory=FeatureBank)
    means: MeanOverClips = field(default_factory=lambda: MeanOverClips("LPIPS", "error"))
    matrices: ConfusionMatrices = field(default_factory=ConfusionMatrices)

    def add(self, *clips: int) -> None:
        """Collect what is known of some clips, the same for a clip wherever it is seen."""
        generator = torch.Generator().manual_seed(0)
        draw = lambda *shape: torch.rand(CLIPS, *shape, generator=generator)  # noqa: E731
        generated, reference, values = draw(2, 5), draw(3, 5), draw(2)
        values[2, 1] = torch.nan
        matrices = (9 * draw(4, 3, 4)).long()
        chosen = torch.tensor(clips)
        self.bank.update(generated[chosen], reference[chosen], chosen)
        self.means.update(values[chosen], chosen)
        self.matrices.update(matrices[chosen], chosen)

    def results(self) -> dict[str, Any]:
        """Everything they compute."""
        computed = {}
        for one in (self.bank, self.means, self.matrices):
            computed |= one.compute() | {"clips": one.by_clip()["clips"].tolist()}
        return computed


def main(rank: int, processes: int, folder: Path) -> None:
    """Collect every clip that falls to this process, the last one of all twice."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes
    )
    reports = []
    for mine in (list(range(rank, CLIPS, processes)), list(range(CLIPS)) if rank else []):
        collectors = Collectors()
        for clip in reversed(mine):
            collectors.add(clip)
        if mine:
            collectors.add(mine[0])
        reports.append(collectors.results())
    (folder / f"rank_{rank}.json").write_text(json.dumps(reports))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
