"""How well a model sees a scene and keeps it while it moves; how its drives differ from real ones.

What is compared stays what it is: a clip's first frame, its poles, its depth, its camera's path.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.structures import Features, InverseDepth, Motion
from seg2vid.tools.environment import import_extra
from seg2vid.warp import backward_warp, reading_position, warp_labels

BySample = Float[Tensor, " batch"]
ByFrame = Float[Tensor, "batch time"]
Path = Float[Tensor, "batch time _"]

STEEPEST_READING = 1.5
"""Pixels of the first frame between two neighbours that are read beyond which lies an edge."""
TALLEST_SHARE = 10
"""A pole is at least this part of the picture's height."""
STRAIGHT = 1.0
"""Mean distance in pixels up to which a pole of the first frame counts as straight and thin."""
LEAST_OF_A_POLE = 8
"""Pixels of a pole without which a frame says nothing about it."""
FARTHEST = 60.0
"""Metres up to which depth is compared."""


def sharpness_by_frame(
    first_frame: Float[Tensor, "batch 3 height width"],
    frames: Float[Tensor, "batch time 3 height width"],
    motion: Motion,
) -> ByFrame:
    """Gradient energy of each frame, where it shows the first one, against a perfect reading of it.

    1 is as sharp as the first frame, enlargement included: what is read twice as large has half its
    steps. Below 1 it is blurred, above 1 there is grain. nan where nothing is visible, or flat.
    """
    before = _steps(first_frame.mean(1, keepdim=True)).squeeze(2)
    ratios = []
    for time, frame in enumerate(frames.unbind(1)):
        flow = motion.backward_flow[:, time]
        # How a step to the right, or down, in this frame looks in the first one.
        steps = _steps(reading_position(flow))
        read = backward_warp(before, flow[:, :, :-1, :-1], mode="nearest")
        perfect = torch.einsum("b a h w, b s a h w -> b s h w", read, steps).square().sum(1)
        shown = motion.backward_visible[:, time, 0, :-1, :-1] > 0.5
        shown = shown & (steps.abs().amax((1, 2)) < STEEPEST_READING)
        energies = [(part * shown).sum((1, 2)) for part in (gradient_energy(frame), perfect)]
        ratios.append(energies[0] / torch.where(energies[1] > 1e-9, energies[1], torch.nan))
    return torch.stack(ratios, 1)


def _steps(values: Features) -> Float[Tensor, "batch direction channel less_height less_width"]:
    """Return the steps to the right and down, where there are both."""
    return torch.stack((values.diff(dim=3)[:, :, :-1], values.diff(dim=2)[..., :-1]), 1)


def gradient_energy(
    pictures: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch less_height less_width"]:
    """Sum of the squared steps of brightness to the right and down, at each pixel but the last."""
    return _steps(pictures.mean(1, keepdim=True)).square().sum((1, 2))


def find_poles(
    label_map: Int[Tensor, "height width"], ids: tuple[int, ...]
) -> Int[Tensor, "height width"]:
    """Number the straight connected regions of the classes ``ids``, from 1; 0 elsewhere.

    Poles with arms and signs are no lines, so no figure tells whether they were bent: left out.
    """
    library = import_extra("cv2", "eval")
    is_pole = torch.isin(label_map, label_map.new_tensor(ids)).byte().cpu().numpy()
    count, regions, boxes, _ = library.connectedComponentsWithStats(is_pole, connectivity=8)
    numbers = torch.from_numpy(regions).to(label_map)
    distances = distance_from_line(numbers[None], count - 1)[0]
    tall = torch.from_numpy(boxes[1:, library.CC_STAT_HEIGHT]).to(distances)
    is_kept = (tall * TALLEST_SHARE >= label_map.shape[0]) & (distances <= STRAIGHT)
    renumbered = torch.cat((is_kept.new_zeros(1), is_kept)).long().cumsum(0)
    renumbered[1:] *= is_kept
    return renumbered[numbers]


def distance_from_line(
    regions: Int[Tensor, "batch height width"], count: int
) -> Float[Tensor, "batch region"]:
    """Mean distance in pixels of the pixels of regions 1 ... ``count`` from the line through each.

    The line is that of least squared distances. A straight upright band of w pixels has about w / 4
    of its own, exactly 0 for one pixel. nan for a region of less than ``LEAST_OF_A_POLE`` pixels.
    """
    sample, y, x = torch.nonzero(regions, as_tuple=True)
    group = sample * count + regions[sample, y, x] - 1
    place = torch.stack((x, y), 1).double()

    def mean(values: Float[Tensor, "pixel *any"]) -> Float[Tensor, "group *any"]:
        total = values.new_zeros(len(regions) * count, *values.shape[1:])
        return total.index_add(0, group, values) / pixels.view(-1, *[1] * (values.ndim - 1))

    pixels = torch.bincount(group, minlength=len(regions) * count).double()
    apart = place - mean(place)[group]
    across, mixed, along = mean(apart[:, [0, 0, 1]] * apart[:, [0, 1, 1]]).unbind(1)
    angle = torch.atan2(2 * mixed, across - along) / 2
    normal = torch.stack((-angle.sin(), angle.cos()), 1)
    distance = mean((apart * normal[group]).sum(1).abs())
    distance = torch.where(pixels >= LEAST_OF_A_POLE, distance, torch.nan)
    return distance.view(len(regions), count).float()


def pole_distance_by_frame(
    label_map: Int[Tensor, "height width"],
    label_maps: Int[Tensor, "batch time height width"],
    motion: Motion,
    ids: tuple[int, ...],
) -> ByFrame:
    """Mean distance in pixels of each pole's pixels from a line, mean over poles: lower is better.

    A pole is one of the first frame's ``label_map``. Its pixels in a frame are those that show it
    and are labelled ``ids`` there: a pole that was torn apart is still one. nan for a frame that
    shows none.
    """
    poles = find_poles(label_map, ids)
    count = int(poles.max())
    if not count:
        return motion.backward_flow.new_full(label_maps.shape[:2], torch.nan)
    flows = motion.backward_flow.flatten(0, 1)
    moved = warp_labels(poles.expand(len(flows), -1, -1), flows)
    shown = (motion.backward_visible > 0.5).flatten(0, 2)
    shown &= torch.isin(label_maps, label_maps.new_tensor(ids)).flatten(0, 1)
    distances = distance_from_line(torch.where(shown, moved, 0), count)
    return distances.nanmean(1).view(label_maps.shape[:2])


def depth_errors(
    inverse_depth: InverseDepth, exact: InverseDepth, own_car: Bool[Tensor, "batch height width"]
) -> tuple[BySample, BySample]:
    """Absolute relative error of depth, and the share of pixels within a factor of 1.25.

    AbsRel is the mean of abs(d - d*) / d* (Eigen et al., NIPS 2014); both over pixels nearer than
    ``FARTHEST`` metres in truth that are not the own car. nan where there are none.
    """
    counted = (exact > 1 / FARTHEST) & ~own_car
    ratio = exact / inverse_depth.clamp(min=1e-4)  # of depths
    ratio = torch.where(counted, ratio, torch.nan)
    within = (torch.maximum(ratio, 1 / ratio) < 1.25).float()
    return (
        (ratio - 1).abs().flatten(1).nanmean(1),
        torch.where(counted, within, torch.nan).flatten(1).nanmean(1),
    )


def path_errors(path: Path, exact: Path) -> tuple[ByFrame, ByFrame]:
    """Metres and degrees between two cameras at each time.

    Axes are forward and rightward metres and yaw in radians, then others that are not compared.
    """
    metres = (path[..., :2] - exact[..., :2]).norm(dim=-1)
    return metres, (path[..., 2] - exact[..., 2]).abs().rad2deg()


def pace(path: Path, seconds: float) -> tuple[BySample, BySample]:
    """Speed in m/s, the way driven however it bends, and turning to the right in degrees a second.

    ``path`` has axes as in ``path_errors``, its times are ``seconds`` apart, from the first frame.
    """
    places = torch.nn.functional.pad(path[..., :2], (0, 0, 1, 0))
    whole = path.shape[1] * seconds
    return places.diff(dim=1).norm(dim=-1).sum(1) / whole, path[:, -1, 2].rad2deg() / whole


def kolmogorov_smirnov(
    first: Float[Tensor, " drawn"], second: Float[Tensor, " true"]
) -> tuple[float, float]:
    """Two-sample statistic D, from 0 to 1, and its asymptotic p-value (Smirnov, 1948).

    D is the largest difference of the two distribution functions; p the chance of one as large if
    both sets were drawn from one law, of independent draws. nan where a set is empty.
    """
    if not len(first) or not len(second):
        return math.nan, math.nan
    every = torch.cat((first, second)).sort().values
    shares = [
        torch.searchsorted(values.sort().values, every, right=True).double() / len(values)
        for values in (first, second)
    ]
    statistic = float((shares[0] - shares[1]).abs().max())
    scaled = statistic * math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    if scaled < 0.2:  # the series is slow there, and p is 1 to the twelfth digit
        return statistic, 1.0
    terms = (-((-1) ** k) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return statistic, min(1.0, 2 * sum(terms))
