"""Collecting over batches and processes: the result of one process, to the last bit."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seg2vid.evaluation.metrics.accumulators import (
    ClipRows,
    ConfusionMatrices,
    FeatureBank,
    MeanOverClips,
)
from seg2vid.evaluation.metrics.frechet import frechet_distance, kernel_distance
from seg2vid.evaluation.metrics.resampling import FrechetOverClips
from seg2vid.evaluation.metrics.semantics import confusion_matrix, mean_intersection_over_union
from seg2vid.tools.errors import ModelError
from tests.conftest import REPOSITORY
from tests.metrics_process import CLIPS, Collectors


def collect(*batches: tuple[int, ...]) -> Collectors:
    collectors = Collectors()
    for batch in batches:
        collectors.add(*batch)
    return collectors


def test_result_knows_neither_batches_nor_order_nor_repetition() -> None:
    expected = collect(tuple(range(CLIPS))).results()
    assert expected["clips"] == list(range(CLIPS))
    assert collect((3, 1), (0,), (6, 5, 4, 2)).results() == expected
    assert collect((3, 1), (0, 3), (6, 5, 4, 2), (6,)).results() == expected
    assert collect(tuple(range(CLIPS - 1))).results() != expected


def test_merged_states_are_those_of_one_process() -> None:
    first, second = collect((4, 0), (2,)), collect((6, 5), (1, 3), (0,))
    for name in ("bank", "means", "matrices"):
        getattr(first, name).merge_state(getattr(second, name))
    assert first.results() == collect(tuple(range(CLIPS))).results()


def test_distances_are_those_of_all_rows() -> None:
    bank = FeatureBank()
    generated, reference = torch.rand(6, 2, 4), torch.rand(6, 3, 4)
    for clip in (5, 0, 3, 1, 4, 2):
        bank.update(generated[clip][None], reference[clip][None], torch.tensor([clip]))
    sets = (generated.flatten(0, 1), reference.flatten(0, 1))
    assert bank.compute() == {
        "frechet": float(frechet_distance(*sets)),
        "kernel": float(kernel_distance(*sets)),
    }
    rows = bank.by_clip()
    assert torch.equal(rows["generated"], generated) and torch.equal(rows["reference"], reference)
    resampled = FrechetOverClips(rows["generated"], rows["reference"])
    assert resampled(torch.arange(6)) == pytest.approx(bank.compute()["frechet"], rel=1e-9)


def test_means_leave_out_clips_without_the_figure() -> None:
    means = MeanOverClips("a", "b", "c")
    means.update(torch.tensor([[1.0, torch.nan, torch.nan]]), torch.tensor([8]))
    means.update(torch.tensor([[3.0, 5.0, torch.nan]]), torch.tensor([2]))
    found = means.compute()
    assert found["a"] == 2 and found["b"] == 5 and found["c"] != found["c"]
    assert means.by_clip()["values"][:, 0].tolist() == [3, 1], "in order of the clips"
    assert means.by_clip()["clips"].tolist() == [2, 8]


def test_agreement_is_of_all_clips_together_by_frame() -> None:
    said, exact = (torch.randint(0, 4, (2, 3, 8, 8)) for _ in range(2))
    found = ConfusionMatrices()
    for clip in (1, 0):
        counted = confusion_matrix(said[clip], exact[clip], num_classes=3, void_id=3)
        found.update(counted[None], torch.tensor([clip]))
    # Frame by frame, the pictures of both clips side by side.
    joined = [x.permute(1, 0, 2, 3).flatten(1, 2) for x in (said, exact)]
    whole = confusion_matrix(joined[0], joined[1], num_classes=3, void_id=3)
    assert found.compute()["mean_iou"] == pytest.approx(
        mean_intersection_over_union(whole).tolist()
    )
    assert len(found.compute()["pixel_accuracy"]) == 3


@pytest.mark.parametrize("make", [FeatureBank, lambda: MeanOverClips("a"), ConfusionMatrices])
def test_nothing_collected_is_said(make: Callable[[], ClipRows]) -> None:
    with pytest.raises(ModelError) as error:
        make().by_clip()
    assert str(error.value) == "Expected at least one clip; got none; update with figures first."


def test_a_reset_collector_begins_anew() -> None:
    collectors = collect((0, 1, 2))
    collectors.means.reset()
    collectors.means.update(torch.tensor([[1.0, 2.0]]), torch.tensor([5]))
    assert collectors.means.compute() == {"LPIPS": 1.0, "error": 2.0}


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    """Clips shared out, one of them seen twice; and one process that has seen none at all."""
    words = [sys.executable, "-m", "tests.metrics_process"]
    started = [
        subprocess.Popen(
            [*words, str(rank), "2", str(tmp_path)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in started:
            said = process.communicate(timeout=90)[0]
            assert process.returncode == 0, said[-3000:]
    finally:
        for process in started:
            process.kill()
    expected = collect(tuple(range(CLIPS))).results()
    for rank in range(2):
        assert json.loads((tmp_path / f"rank_{rank}.json").read_text()) == [expected] * 2
