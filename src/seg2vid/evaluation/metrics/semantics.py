"""How far label maps agree."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.structures import Labels

Confusion = Int[Tensor, "batch truth said"]


def confusion_matrix(said: Labels, exact: Labels, *, num_classes: int, void_id: int) -> Confusion:
    """Count pixels by class in ``exact`` (rows) and class in ``said`` (columns), of each sample.

    There are ``num_classes`` rows, and one column more: the last one counts the pixels that were
    said to be void or of an unknown id, which is wrong. Pixels that are void or unknown in
    ``exact`` do not count. Matrices of samples, frames and processes are simply added.
    """
    counts = (exact != void_id) & (exact >= 0) & (exact < num_classes)
    is_class = (said != void_id) & (said >= 0) & (said < num_classes)
    columns = num_classes + 1
    index = exact * columns + torch.where(is_class, said, num_classes)
    cells = num_classes * columns
    # Pixels that do not count go into one more cell, which is dropped.
    index = torch.where(counts, index, cells).flatten(1)
    sample = torch.arange(len(said), device=said.device)[:, None] * (cells + 1)
    matrices = torch.bincount((index + sample).flatten(), minlength=len(said) * (cells + 1))
    return matrices.view(len(said), cells + 1)[:, :-1].reshape(len(said), num_classes, columns)


def intersection_over_union(confusion: Confusion) -> Float[Tensor, "batch truth"]:
    """Intersection over union of each class, in [0, 1], higher is better (Jaccard; Everingham et
    al., IJCV 2010).

    nan for a class that is absent in the truth. A class that was only said has no figure of its
    own: its pixels are wrong in the classes they belong to.
    """
    right = confusion.diagonal(dim1=1, dim2=2)
    truth, said = confusion.sum(2), confusion.sum(1)[:, :-1]
    return torch.where(truth > 0, right / (truth + said - right), torch.nan)


def mean_intersection_over_union(confusion: Confusion) -> Float[Tensor, " batch"]:
    """MIoU in [0, 1], higher is better: the mean over the classes present in the truth.

    nan where there are none. Benchmarks add the matrices of a whole data set before they take it,
    which is not the mean of the figures of its pictures.
    """
    return intersection_over_union(confusion).nanmean(1)


def pixel_accuracy_of(confusion: Confusion) -> Float[Tensor, " batch"]:
    """Share of pixels in [0, 1] that were said right, higher is better; nan where none counts."""
    return confusion.diagonal(dim1=1, dim2=2).sum(1) / confusion.sum((1, 2))
