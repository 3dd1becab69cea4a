"""The formulas of ``warp.py`` and ``losses.py`` as slow loops, straight from the equations.

Nothing of the package is imported, so that a mistake cannot be shared. Pictures are arrays without
a batch axis, (channel, height, width), flow is (2, height, width) in pixels, order (dx, dy); clips
carry time in front. The tests compare these statements with the fast ones, sample by sample.
"""

import math
from itertools import product

import numpy as np
from jaxtyping import Float, Int

Picture = Float[np.ndarray, "channel height width"]
Flow = Float[np.ndarray, "2 height width"]
Mask = Float[np.ndarray, "1 height width"]
Clip = Float[np.ndarray, "time channel height width"]
Ids = Int[np.ndarray, "height width"]


def clamp(value: float, low: float, high: float) -> float:
    """``value``, or the bound that it exceeds."""
    return min(max(value, low), high)


def read_bilinear(
    picture: Picture, x: float, y: float, *, padding: str = "border"
) -> Float[np.ndarray, " channel"]:
    """Value at position (x, y) in pixels, integers are pixel centres, outside is the border.

    With ``padding`` "zeros" outside is black: the same on a picture with a black frame around it.
    """
    if padding == "zeros":
        framed = np.pad(picture, ((0, 0), (1, 1), (1, 1)))
        return read_bilinear(framed, x + 1, y + 1)
    height, width = picture.shape[1:]
    x, y = clamp(x, 0, width - 1), clamp(y, 0, height - 1)
    left, top = math.floor(x), math.floor(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    across, down = x - left, y - top
    upper = (1 - across) * picture[:, top, left] + across * picture[:, top, right]
    lower = (1 - across) * picture[:, bottom, left] + across * picture[:, bottom, right]
    return (1 - down) * upper + down * lower


def backward_warp(frame: Picture, flow: Flow, *, padding: str = "border") -> Picture:
    """Eq. 2: ``result[y, x] = frame[y + dy, x + dx]``."""
    result = np.zeros((frame.shape[0], *flow.shape[1:]))
    for y, x in np.ndindex(*flow.shape[1:]):
        place = x + float(flow[0, y, x]), y + float(flow[1, y, x])
        result[:, y, x] = read_bilinear(frame, *place, padding=padding)
    return result


def warp_labels(label_map: Ids, flow: Flow) -> Ids:
    """The id nearest to where the flow points; a tie goes to the even neighbour."""
    height, width = label_map.shape
    result = np.zeros_like(label_map)
    for y, x in np.ndindex(height, width):
        source_x = clamp(round(x + float(flow[0, y, x])), 0, width - 1)
        source_y = clamp(round(y + float(flow[1, y, x])), 0, height - 1)
        result[y, x] = label_map[int(source_y), int(source_x)]
    return result


def compose_flows(first: Flow, second: Flow, *, padding: str = "border") -> Flow:
    """Go along ``second``; from where that led, go along ``first``; the sum of both ways."""
    result = np.zeros_like(second)
    for y, x in np.ndindex(*second.shape[1:]):
        dx, dy = (float(value) for value in second[:, y, x])
        result[:, y, x] = second[:, y, x] + read_bilinear(first, x + dx, y + dy, padding=padding)
    return result


def forward_backward_error(flow: Flow, reverse: Flow) -> Mask:
    """Eq. 5, one term: the length of the gap after the way there and back."""
    gap = compose_flows(reverse, flow)
    return np.sqrt(gap[0] ** 2 + gap[1] ** 2)[None]


def visibility_from_flows(
    flow: Flow, reverse: Flow, *, relative: float = 0.01, absolute: float = 0.5
) -> Mask:
    """Sundaram et al., Eq. 5: |f + b|² < relative (|f|² + |b|²) + absolute, and inside."""
    height, width = flow.shape[1:]
    visible = np.zeros((1, height, width))
    for y, x in np.ndindex(height, width):
        there = flow[:, y, x].astype(float)
        to_x, to_y = x + there[0], y + there[1]
        back = read_bilinear(reverse, to_x, to_y)
        closes = ((there + back) ** 2).sum() < (
            relative * ((there**2).sum() + (back**2).sum()) + absolute
        )
        inside = 0 <= to_x <= width - 1 and 0 <= to_y <= height - 1
        visible[0, y, x] = float(closes and inside)
    return visible


def reconstruction_loss(
    first_frame: Picture,
    frames: Clip,
    flows: tuple[Clip, Clip],
    visible: tuple[Clip, Clip],
) -> float:
    """Eq. 3 for one sample; ``flows`` and ``visible`` are (forward, backward) over time."""
    total = 0.0
    for time, frame in enumerate(frames):
        from_later = backward_warp(frame, flows[0][time])
        from_first = backward_warp(first_frame, flows[1][time])
        for c, y, x in np.ndindex(*frame.shape):
            there = abs(first_frame[c, y, x] - from_later[c, y, x])
            back = abs(frame[c, y, x] - from_first[c, y, x])
            total += visible[0][time, 0, y, x] * there + visible[1][time, 0, y, x] * back
    return total / frames.size


def pre_refinement_loss(
    first: Picture, frames: Clip, flow: Clip, visible: Clip, *, padding: str = "border"
) -> float:
    """L_pre: the mean of m (I_0(x + w_b) - I_t), flow and mask on the grid of frame t."""
    terms = []
    for time in range(len(frames)):
        gap = np.abs(backward_warp(first, flow[time], padding=padding) - frames[time])
        terms += [value * visible[time, 0, y, x] for (_, y, x), value in np.ndenumerate(gap)]
    return float(np.mean(terms))


def first_frame_reconstruction_loss(
    first: Picture, frames: Clip, flow: Clip, visible: Clip, *, padding: str = "border"
) -> float:
    """L_back: the mean of m (I_t(x + w_f) - I_0), flow and mask on the grid of frame 0."""
    terms = []
    for time in range(len(frames)):
        gap = np.abs(backward_warp(frames[time], flow[time], padding=padding) - first)
        terms += [value * visible[time, 0, y, x] for (_, y, x), value in np.ndenumerate(gap)]
    return float(np.mean(terms))


def refinement_loss(refined: Clip, frames: Clip) -> float:
    """L_rec: the mean of |Î - I|."""
    return sum(abs(float(a) - float(b)) for a, b in zip(refined.flat, frames.flat, strict=True)) / (
        refined.size
    )


def similarity_loss(refined: Clip, frames: Clip) -> float:
    """L_sim: Σ_t 0.85 mean clamp((1 - SSIM) / 2, 0, 1) + 0.15 mean |Î_t - I_t|."""
    return sum(
        0.85 * structural_similarity_loss(p, t) + 0.15 * float(np.abs(p - t).mean())
        for p, t in zip(refined, frames, strict=True)
    )


def grid_consistency_loss(
    flows: tuple[Clip, Clip], visible: tuple[Clip, Clip], *, padding: str = "border"
) -> float:
    """L_cons: Σ_t mean m_f |there and back| + mean m_b |back and there|, L1, normalised units."""
    time, _, height, width = flows[0].shape
    total = 0.0
    for t in range(time):
        for way in (0, 1):
            gap = compose_flows(flows[1 - way][t], flows[way][t], padding=padding)
            for y, x in np.ndindex(height, width):
                across, down = 2 * gap[0, y, x] / (width - 1), 2 * gap[1, y, x] / (height - 1)
                error = (abs(across) + abs(down)) / 2
                total += visible[way][t, 0, y, x] * error / (height * width)
    return total


def bilateral_smoothness_loss(flow: Clip, guide: Clip, *, as_authors: bool = False) -> float:
    """L_smooth: sixteen neighbours, none of the own row or column, weighted by likeness.

    The authors sum over the first frame and over pixels all of whose neighbours are in the picture.
    """
    time, _, height, width = flow.shape
    time, rim = (1, 2) if as_authors else (time, 0)
    total = 0.0
    for t, y, x in product(range(time), range(rim, height - rim), range(rim, width - rim)):
        for down, across in product((-2, -1, 1, 2), repeat=2):
            if 0 <= y + down < height and 0 <= x + across < width:
                step = flow[t, :, y + down, x + across] - flow[t, :, y, x]
                step = 128 * step * np.array([2 / (width - 1), 2 / (height - 1)])
                edge = 256 * (guide[t, :, y + down, x + across] - guide[t, :, y, x])
                likeness = math.exp(-(edge**2).sum() - down**2 - across**2)
                total += (step**2).sum() * likeness
    return total / (time * height * width)


def feature_loss(predicted: list[Clip], target: list[Clip]) -> float:
    """L_vgg: Σ over feature maps of the mean |φ(Î) - φ(I)|."""
    return sum(float(np.abs(p - t).mean()) for p, t in zip(predicted, target, strict=True))


def mask_penalty(visible: tuple[Clip, Clip]) -> float:
    """L_mask: mean (1 - m_b) + mean (1 - m_f)."""
    return sum(sum(1 - float(value) for value in mask.flat) / mask.size for mask in visible)


def structural_similarity_loss(predicted: Picture, target: Picture) -> float:
    """Mean of clamp((1 - SSIM) / 2, 0, 1) over every 3 x 3 window that lies inside the picture."""
    terms = []
    channels, height, width = predicted.shape
    for c, y, x in product(range(channels), range(height - 2), range(width - 2)):
        p, t = predicted[c, y : y + 3, x : x + 3], target[c, y : y + 3, x : x + 3]
        covariance = ((p - p.mean()) * (t - t.mean())).mean()
        luminance = (2 * p.mean() * t.mean() + 0.01**2) / (p.mean() ** 2 + t.mean() ** 2 + 0.01**2)
        structure = (2 * covariance + 0.03**2) / (p.var() + t.var() + 0.03**2)
        terms.append(clamp((1 - luminance * structure) / 2, 0, 1))
    return sum(terms) / len(terms)


def gaussian_divergence(mean: float, log_variance: float) -> float:
    """KL(N(m, s²) || N(0, 1)) = (m² + s² - 1 - log s²) / 2, in nats."""
    return 0.5 * (mean**2 + math.exp(log_variance) - 1 - log_variance)


def kl_divergence(
    background: tuple[Float[np.ndarray, " code"], Float[np.ndarray, " code"]],
    foreground: tuple[Picture, Picture],
    objects: Ids,
) -> float:
    """Eq. 7 for one sample: the background's code, and the code of each object counted once.

    The pairs are (mean, log variance).
    """
    total = sum(gaussian_divergence(m, v) for m, v in zip(*background, strict=True))
    for number in range(1, int(objects.max()) + 1):
        cells = np.argwhere(objects == number)
        if len(cells):
            y, x = cells[0]
            codes = zip(foreground[0][:, y, x], foreground[1][:, y, x], strict=True)
            total += sum(gaussian_divergence(m, v) for m, v in codes)
    return total


def flow_loss(predicted: Clip, exact: Clip, visible: Clip, *, scale: float) -> float:
    """Charbonnier distance sqrt(|e|² + 0.1²) - 0.1, averaged where the exact flow is visible."""
    terms = [
        math.sqrt(((predicted[t, :, y, x] - exact[t, :, y, x]) ** 2).sum() + 0.1**2) - 0.1
        for t, y, x in np.ndindex(len(visible), *visible.shape[2:])
        if visible[t, 0, y, x] == 1
    ]
    return sum(terms) / max(len(terms), 1) / scale


def adversarial_loss(
    logits: Float[np.ndarray, "batch class height width"],
    target: Int[np.ndarray, "batch height width"],
    *,
    void_id: int,
) -> float:
    """OASIS, Eq. 1 and 2: cross entropy, a class weighing up to ten times by how rare it is."""
    numbers = [int(number) for number in target.flatten() if number != void_id]
    present = sorted(set(numbers))
    weight = {n: min(len(numbers) / numbers.count(n) / len(present), 10.0) for n in present}
    total = 0.0
    for sample, y, x in np.ndindex(*target.shape):
        number = int(target[sample, y, x])
        if number != void_id:
            scores = logits[sample, :, y, x].astype(float)
            total += weight[number] * (math.log(np.exp(scores).sum()) - scores[number])
    return total / target.size
