"""Label maps: by hand, by properties, and beside a slow loop and torchmetrics."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)

from seg2vid.evaluation.metrics.semantics import (
    confusion_matrix,
    intersection_over_union,
    mean_intersection_over_union,
    pixel_accuracy_of,
)

CLASSES = 5


def make_maps(batch: int = 3, share: float = 0.6) -> tuple[Tensor, Tensor]:
    """Label maps that agree in a share of their pixels; ids 0 ... 5, where 5 is void."""
    exact = torch.randint(0, CLASSES + 1, (batch, 12, 16))
    other = torch.randint(0, CLASSES + 1, (batch, 12, 16))
    return torch.where(torch.rand(batch, 12, 16) < share, exact, other), exact


def count(said: Tensor, exact: Tensor) -> Tensor:
    return confusion_matrix(said, exact, num_classes=CLASSES, void_id=CLASSES)


def test_confusion_matrix_by_hand() -> None:
    exact = torch.tensor([[[0, 0, 1], [1, 2, 2]]])
    said = torch.tensor([[[0, 1, 1], [2, 0, 1]]])
    matrix = confusion_matrix(said, exact, num_classes=2, void_id=2)
    assert matrix.tolist() == [[[1, 1, 0], [0, 1, 1]]]
    iou = intersection_over_union(matrix)
    assert iou[0].tolist() == pytest.approx([1 / 2, 1 / 3])
    assert float(mean_intersection_over_union(matrix)) == pytest.approx(5 / 12)
    assert float(pixel_accuracy_of(matrix)) == pytest.approx(1 / 2)


def test_confusion_matrix_agrees_with_a_slow_loop() -> None:
    said, exact = make_maps()
    said[0, 0, :3] = torch.tensor([255, -1, CLASSES])
    exact[0, 1, :2] = torch.tensor([255, -1])
    expected = torch.zeros(3, CLASSES, CLASSES + 1, dtype=torch.int64)
    for sample, one, other in zip(expected, said, exact, strict=True):
        for a, b in zip(one.flatten().tolist(), other.flatten().tolist(), strict=True):
            if b in range(CLASSES):
                sample[b, a if a in range(CLASSES) else CLASSES] += 1
    assert torch.equal(count(said, exact), expected)


def test_confusion_matrix_and_union_agree_with_torchmetrics() -> None:
    said, exact = make_maps(1)
    matrix = count(said, exact)
    expected = multiclass_confusion_matrix(said, exact, CLASSES + 1, ignore_index=CLASSES)
    assert torch.equal(matrix[0], expected[:CLASSES])
    said = said.where(said < CLASSES, 0)  # torchmetrics would count void as a class of its own
    union = multiclass_jaccard_index(said, exact, CLASSES + 1, average="none", ignore_index=CLASSES)
    iou = intersection_over_union(count(said, exact))
    torch.testing.assert_close(iou[0], union[:CLASSES])


def test_a_class_counts_where_the_truth_has_it() -> None:
    exact, said = torch.tensor([[[0, 0, 0, 1]]]), torch.tensor([[[0, 0, 2, 5]]])
    matrix = count(said, exact)
    iou = intersection_over_union(matrix)[0].tolist()
    assert iou[:2] == pytest.approx([2 / 3, 0]) and all(math.isnan(value) for value in iou[2:])
    assert float(mean_intersection_over_union(matrix)) == pytest.approx(1 / 3)


def test_nothing_but_void_has_no_figure() -> None:
    void = torch.full((1, 2, 2), CLASSES)
    matrix = count(torch.zeros_like(void), void)
    assert int(matrix.sum()) == 0
    assert mean_intersection_over_union(matrix).isnan().all()
    assert pixel_accuracy_of(matrix).isnan().all()


def test_accuracy_is_that_of_the_label_maps() -> None:
    said, exact = make_maps()
    counts = exact < CLASSES
    right = ((said == exact) & counts).sum((1, 2)) / counts.sum((1, 2))
    torch.testing.assert_close(pixel_accuracy_of(count(said, exact)), right)


def test_accuracy_leaves_void_out() -> None:
    exact, guess = torch.tensor([[[0, 1, 19, 19]]]), torch.tensor([[[0, 2, 3, 19]]])
    matrix = confusion_matrix(guess, exact, num_classes=19, void_id=19)
    torch.testing.assert_close(pixel_accuracy_of(matrix), torch.tensor([0.5]))


def test_equal_maps_are_best_and_errors_are_told() -> None:
    figures = []
    for share in (1.0, 0.9, 0.6, 0.3):
        matrix = count(*make_maps(4, share))
        figures.append((mean_intersection_over_union(matrix), pixel_accuracy_of(matrix)))
    assert all(bool((figure == 1).all()) for figure in figures[0])
    for better, worse in pairwise(figures):
        assert all(bool((a > b).all()) for a, b in zip(better, worse, strict=True))


def test_matrices_add() -> None:
    said, exact = make_maps(4)
    joined = count(said.reshape(1, 48, 16), exact.reshape(1, 48, 16))
    assert torch.equal(count(said, exact).sum(0, keepdim=True), joined)


def test_renaming_classes_reorders_the_figures() -> None:
    said, exact = make_maps(2)
    order = torch.randperm(CLASSES)
    renamed = torch.cat((order, torch.tensor([CLASSES])))
    before = intersection_over_union(count(said, exact))
    after = intersection_over_union(count(renamed[said], renamed[exact]))
    torch.testing.assert_close(after[:, order], before)
