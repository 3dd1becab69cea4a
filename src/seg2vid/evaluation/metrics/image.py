"""How alike two pictures are, picture by picture: both RGB in [0, 1]."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)
from torchmetrics.functional.image import peak_signal_noise_ratio as signal_noise_ratio

from seg2vid.tools.errors import ModelError

Pictures = Float[Tensor, "pictures 3 height width"]
DECIBEL_LIMIT = 100.0
"""What a mean over pictures counts for equal ones: an error of one part in 100,000."""
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales from the finest on (Wang et al., 2003, Sec. 3.2)."""
SMALLEST_SIDES = (11, 22, 44, 99, 176)
"""Pixels that the shorter side needs for one, two ... five scales with windows of 11 pixels."""
GRIDS = (2, 4, 8)
"""Periods in pixels of the grids that enlarging by two, once or again, may leave."""
RING = 4
"""Steps of frequency, along the longer side, up to which two of them count as equally high."""


def peak_signal_noise_ratio(pictures: Pictures, targets: Pictures) -> Float[Tensor, " pictures"]:
    """Peak signal-to-noise ratio in decibels, -10 log10 of the mean squared error: higher is
    better.

    At most ``DECIBEL_LIMIT``: equal pictures have infinitely many, which no mean survives.
    (torchmetrics.)
    """
    ratio = signal_noise_ratio(pictures, targets, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return ratio.clamp(max=DECIBEL_LIMIT)


def structural_similarity(pictures: Pictures, targets: Pictures) -> Float[Tensor, " pictures"]:
    """SSIM in [-1, 1], 1 for equal pictures: higher is better (Wang et al., TIP 2004).

    Windows are Gaussian, 11 pixels wide with a deviation of 1.5; the picture is mirrored at its
    border; the mean is of all pixels and channels. (torchmetrics.)

    Raises ``ModelError`` for pictures of less than 11 pixels.
    """
    count_scales(pictures)
    similarity = structural_similarity_index_measure(
        pictures, targets, data_range=1.0, reduction="none"
    )
    return similarity if isinstance(similarity, Tensor) else similarity[0]


def multiscale_structural_similarity(
    pictures: Pictures, targets: Pictures
) -> Float[Tensor, " pictures"]:
    """MS-SSIM in [0, 1], 1 for equal pictures: higher is better (Wang et al., Asilomar 2003).

    Five scales need 176 pixels; of smaller pictures as many scales are taken as fit, the coarsest
    left out, and their published weights are divided by their sum. So 128 x 256 pixels have four
    scales, and figures of pictures of different sizes are not comparable. Contrast that is
    reversed counts as 0. (torchmetrics.)

    Raises ``ModelError`` for pictures of less than 11 pixels.
    """
    weights = SCALE_WEIGHTS[: count_scales(pictures)]
    return multiscale_structural_similarity_index_measure(
        pictures,
        targets,
        data_range=1.0,
        reduction="none",
        betas=tuple(weight / sum(weights) for weight in weights),
    )


def count_scales(pictures: Pictures) -> int:
    """Return how many scales of MS-SSIM fit into pictures: 1 to 5.

    Raises ``ModelError`` where not even one does.
    """
    side = min(pictures.shape[-2:])
    count = sum(side >= smallest for smallest in SMALLEST_SIDES)
    if not count:
        what = f"pictures of at least {SMALLEST_SIDES[0]} pixels on a side for SSIM"
        raise ModelError(what, got=f"{side} pixels", fix="compare larger pictures")
    return count


def class_distances(
    distance_map: Float[Tensor, "pictures height width"],
    label_maps: Int[Tensor, "pictures height width"],
    num_classes: int,
) -> tuple[Float[Tensor, "pictures class"], Float[Tensor, "pictures class"]]:
    """Sum a distance of every pixel (any unit) by class: the sums, and the counts of pixels.

    Sums over pictures divided by counts over pictures are the class-wise mean, for LPIPS maps
    class-wise LPIPS. Pixels whose id is ``num_classes`` or more, as void is, are left out.
    """
    index = label_maps.clamp(max=num_classes).flatten(1)
    values = distance_map.flatten(1).double()
    empty = values.new_zeros(values.shape[0], num_classes + 1)
    sums = empty.scatter_add(1, index, values)
    counts = empty.scatter_add(1, index, torch.ones_like(values))
    return sums[:, :num_classes], counts[:, :num_classes]


def grid_peaks(pictures: Pictures) -> Float[Tensor, "pictures period"]:
    """Power at the frequencies of each of ``GRIDS``, as a multiple of that of others as high.

    Of period p these are 1 / p to the right, down, and both at once; the others are those of the
    same radius, but next to none of these. Taken of brightness, under a Hann window. Noise has 1,
    photographs more: streets are upright and level.
    """
    height, width = pictures.shape[2:]
    grey = pictures.mean(1)
    windows = [torch.hann_window(side, device=grey.device) for side in (height, width)]
    flat = (grey - grey.mean((1, 2), keepdim=True)) * windows[0][:, None] * windows[1]
    power = torch.fft.fft2(flat.double()).abs().square().flatten(1)
    y, x = (torch.fft.fftfreq(side, device=grey.device) for side in (height, width))
    radius = torch.hypot(y[:, None], x).flatten()
    width_of_ring = RING / max(height, width)
    peaks = []
    for period in GRIDS:
        on_grid = torch.zeros(height, width, dtype=torch.bool, device=grey.device)
        rows, columns = (round(side / period) for side in (height, width))
        for row in (-rows, 0, rows):
            on_grid[row, [-columns, 0, columns]] = True
        on_grid[0, 0] = False
        # The window spreads a peak to the frequencies next to it.
        near = [on_grid.roll((down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        is_other = ~torch.stack(near).any(0).flatten()
        places = on_grid.flatten().nonzero().squeeze(1)
        alike = ((radius[places, None] - radius).abs() <= width_of_ring) & is_other
        others = power @ alike.T.double() / alike.sum(1)
        peaks.append((power[:, places] / others).mean(1))
    return torch.stack(peaks, 1).float()
