"""Validation during training: held-out clips → named figures and pictures; what the best are."""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from seg2vid.data.clips import ClipSource
from seg2vid.data.teachers.labels import BundledTeacher
from seg2vid.evaluation.metrics.motion import (
    consistency_error_by_frame,
    end_point_error_by_frame,
    hidden_average_precision,
)
from seg2vid.evaluation.metrics.semantics import (
    confusion_matrix,
    mean_intersection_over_union,
    pixel_accuracy_of,
)
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.media.drawing import pick_evenly
from seg2vid.media.extras import to_pixels
from seg2vid.media.pictures import write_image
from seg2vid.media.video import VideoWriter
from seg2vid.models.animator import choose_labels
from seg2vid.models.layers import enlarge_labels
from seg2vid.structures import Animation, Clip, Frames, Labels
from seg2vid.tools.errors import TrainingError
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.losses import fold
from seg2vid.training.motion import MotionStage
from seg2vid.training.refiner import RefinerStage
from seg2vid.training.segmenter import SegmenterStage
from seg2vid.training.stage import Stage

Figures = dict[str, float]
"""Figures by name; a part after a comma says of what, one in brackets the unit."""
Picked = Callable[[], Clip]
"""Reads one held-out clip."""

HIGHER_IS_BETTER = ("accuracy", "precision", "IoU", "diversity")
CHOICES = (
    *("LPIPS, posterior", "LPIPS, own look", "LPIPS, painted"),
    *("L1, posterior", "L1, own look", "L1, painted", "pixel accuracy"),
)
"""What chooses the best weights unless the user says otherwise: the first that a stage has."""


def pick_clips(sources: Sequence[ClipSource], count: int, *, stills: bool) -> list[Picked]:
    """Pick ``count`` clips, or their first frames, spread evenly over all sources, or all."""
    every = [(source, index) for source in sources for index in range(len(source))]
    picked = [every[index] for index in pick_evenly(len(every), count)] if every else []
    return [partial(s.read_still, i, 0) if stills else partial(s.read, i) for s, i in picked]


def is_better(name: str, value: float, than: float) -> bool:
    """Say whether a figure is better than another of the same name."""
    is_higher = any(word in name for word in HIGHER_IS_BETTER)
    return value > than if is_higher else value < than


def find_choice(figures: Figures, wanted: str) -> str:
    """Return the name of the figure that chooses; ``TrainingError`` where ``wanted`` is none."""
    if wanted and wanted not in figures:
        what = f"a figure of the validation for --choose-by: {'; '.join(figures)}"
        raise TrainingError(what, got=repr(wanted), fix="name one of them")
    return wanted or next(name for name in CHOICES if name in figures)


def average(rows: Sequence[Figures]) -> Figures:
    """Return the mean of each figure over the clips that have it, sorted by name; nan for none."""
    known: dict[str, list[float]] = {name: [] for name in sorted(chain(*rows))}
    for name, value in chain(*(row.items() for row in rows)):
        if not math.isnan(value):
            known[name].append(value)
    return {name: sum(v) / len(v) if v else math.nan for name, v in known.items()}


@torch.no_grad()
def measure(stage: Stage, clip: Clip) -> Figures:
    """Return the figures of a stage on a held-out clip (a batch of one), in evaluation mode."""
    was_training = stage.training
    stage.eval()
    try:
        return FIGURES[type(stage)](stage, clip.to(stage.device))
    finally:
        stage.train(was_training)


def first_frame_figures(stage: FirstFrameStage, clip: Clip) -> Figures:
    """Measure frames painted with the look of the real one, and with looks from N(0, I).

    Label accuracy is that of an independent segmenter of streets, beside that of the real frame.
    """
    real = clip.first_frame
    dice = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    own, first, second = (picture.clamp(0, 1) for picture in stage.paint_looks(clip, dice))
    figures = {
        "L1, own look": float((own - real).abs().mean()),
        "diversity, L1 between looks": float((first - second).abs().mean()),
    }
    if (distance := stage.perceptual_networks.perceptual) is not None:
        figures["LPIPS, own look"] = float(distance(own, real).mean())
        figures["diversity, LPIPS between looks"] = float(distance(first, second).mean())
    if stage.space.names == get_label_space("cityscapes").names:
        for name, picture in {"drawn look": first, "real frame": real}.items():
            said = _segmenter().probabilities(picture.cpu()).argmax(1)
            confusion = _confusion(said, clip.label_map.cpu(), stage.space)
            figures[f"label accuracy, {name}"] = float(pixel_accuracy_of(confusion))
    return figures


@cache
def _segmenter() -> BundledTeacher:
    return BundledTeacher()


def motion_figures(stage: MotionStage, clip: Clip) -> Figures:
    """Measure frames moved by the posterior's motion, and by draws from the prior."""
    dice = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    own, first, second = stage.animate(clip, dice)
    count = own.refined.shape[1]
    target = clip.frames[:, :count]
    still = clip.first_frame.unsqueeze(1).expand_as(target)
    videos = {"posterior": own.refined, "prior": first.refined, "first frame repeated": still}
    figures: Figures = {}
    for name, frames in videos.items():
        figures |= _distances(stage, frames, target, name)
    both = _distances(stage, first.refined, second.refined, "")
    if "LPIPS, " in both:
        figures["diversity, LPIPS of two draws"] = both["LPIPS, "]
    spread = (first.motion.backward_flow - second.motion.backward_flow).norm(dim=2).mean()
    figures["diversity of flow, two draws [px]"] = float(spread)
    figures |= _flow_figures(own, clip, "posterior") | _flow_figures(first, clip, "prior")
    if clip.label_maps is not None:
        labels = {
            "posterior": choose_labels(clip.label_map, own)[:, -1],
            "prior": choose_labels(clip.label_map, first)[:, -1],
            "first frame repeated": clip.label_map,
        }
        for name, said in labels.items():
            confusion = _confusion(said, clip.label_maps[:, count - 1], stage.space)
            figures[f"label accuracy, {name}"] = float(pixel_accuracy_of(confusion))
    return figures


def _distances(stage: MotionStage, frames: Frames, target: Frames, name: str) -> Figures:
    """Return L1 and, where its weights are there, LPIPS between two videos."""
    figures = {f"L1, {name}": float((frames - target).abs().mean())}
    if (distance := stage.perceptual_networks.perceptual) is not None:
        pair = (fold(video.clamp(0, 1)) for video in (frames, target))
        figures[f"LPIPS, {name}"] = float(distance(*pair).mean())
    return figures


def _flow_figures(animation: Animation, clip: Clip, name: str) -> Figures:
    """Compare motion with the exact one, where the clip knows it: means over frames."""
    motion = animation.motion
    returning = consistency_error_by_frame(motion).nanmean()
    figures = {f"forward-backward error, {name} [px]": float(returning)}
    if clip.motion is None:
        return figures
    exact = clip.motion.map(lambda tensor: tensor[:, : motion.backward_flow.shape[1]])
    flows = {name: motion.backward_flow}
    if name == "posterior":
        flows["zero flow"] = torch.zeros_like(motion.backward_flow)
        shown = hidden_average_precision(motion.backward_visible, exact.backward_visible)
        figures["visibility average precision, posterior"] = float(shown)
    for which, flow in flows.items():
        error = end_point_error_by_frame(flow, exact.backward_flow, exact.backward_visible)
        figures[f"end-point error, {which} [px]"] = float(error.nanmean())
    return figures


def _confusion(said: Labels, exact: Labels, space: LabelSpace) -> Int[Tensor, "batch truth said"]:
    return confusion_matrix(said, exact, num_classes=space.void_id, void_id=space.void_id)


def refiner_figures(stage: RefinerStage, clip: Clip) -> Figures:
    """Compare what is painted, where a drive by a fixed seed uncovers it, with the photograph."""
    given, painted, logits = stage.repaint(clip, torch.Generator().manual_seed(0))
    hidden, real = given.visible == 0, clip.first_frame
    if not hidden.any():
        return {"L1, painted": math.nan}
    figures = {"L1, painted": float((painted - real).abs().mean(1, True)[hidden].mean())}
    if (distance := stage.perceptual_networks.perceptual) is not None:
        figures["LPIPS, painted"] = float(distance(painted, real).mean())
    said = enlarge_labels(logits.argmax(1), 2)
    exact = torch.where(hidden[:, 0], clip.label_map, stage.space.void_id)
    figures["label accuracy, painted"] = float(
        pixel_accuracy_of(_confusion(said, exact, stage.space))
    )
    return figures


def segmenter_figures(stage: SegmenterStage, clip: Clip) -> Figures:
    """Compare predicted with given labels of one photo."""
    confusion = _confusion(stage.average(clip.first_frame).argmax(1), clip.label_map, stage.space)
    return {
        "pixel accuracy": float(pixel_accuracy_of(confusion)),
        "mean IoU of a photo": float(mean_intersection_over_union(confusion)),
    }


FIGURES: dict[type, Callable[[Any, Clip], Figures]] = {
    FirstFrameStage: first_frame_figures,
    MotionStage: motion_figures,
    RefinerStage: refiner_figures,
    SegmenterStage: segmenter_figures,
}
"""What each stage is measured by."""


@torch.no_grad()
def write_samples(stage: Stage, clip: Clip, folder: Path) -> None:
    """Write a contact sheet and, where the stage has one, a short video of a batch of clips."""
    was_training = stage.training
    stage.eval()
    clip = clip.to(stage.device)
    sheet, video = stage.contact_sheet(clip), stage.sample_video(clip)
    stage.train(was_training)
    name = f"step_{int(stage.step):06d}"
    (folder / "sheets").mkdir(exist_ok=True)
    write_image(folder / "sheets" / f"{name}.png", to_pixels(sheet))
    if video is not None:
        (folder / "videos").mkdir(exist_ok=True)
        rate = stage.model.frames_per_second
        with VideoWriter(folder / "videos" / f"{name}.mp4", frames_per_second=rate) as writer:
            for frame in to_pixels(video):
                writer.write(frame)
