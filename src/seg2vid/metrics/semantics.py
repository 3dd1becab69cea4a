"""How far label maps agree."""

from jaxtyping import Float, Int
from torch import Tensor


def pixel_accuracy(
    label_maps: Int[Tensor, "batch height width"],
    exact: Int[Tensor, "batch height width"],
    *,
    void_id: int,
) -> Float[Tensor, " batch"]:
    """Share of pixels in [0, 1] whose ids agree, of each sample; pixels that are void in ``exact``
    do not count.
    """
    counts = (exact != void_id).float()
    right = (label_maps == exact).float() * counts
    return right.sum((1, 2)) / counts.sum((1, 2)).clamp(min=1)
