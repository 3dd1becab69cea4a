"""What each stage is judged by on a held-out clip: figures by name, scalars all of them."""

from functools import cache

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.data.teachers.labels import BundledTeacher
from seg2vid.evaluation.metrics.motion import (
    consistency_error,
    end_point_error,
    hidden_average_precision,
)
from seg2vid.evaluation.metrics.semantics import pixel_accuracy
from seg2vid.labels.space import get_label_space
from seg2vid.models.animator import choose_labels
from seg2vid.models.judges.perceptual import PerceptualDistance
from seg2vid.models.layers import OBJECT_FACTOR, find_objects
from seg2vid.structures import Animation, Clip
from seg2vid.training.first_frame import FirstFrameStage
from seg2vid.training.motion import MotionStage
from seg2vid.training.segmenter import SegmenterStage
from seg2vid.training.validation import Figures


def first_frame_figures(stage: FirstFrameStage, clip: Clip) -> Figures:
    """Judge frames painted with the look of the real one, and with looks from N(0, I).

    Label accuracy is that of an independent segmenter, which knows streets: that of the real frame
    stands beside it.
    """
    labels, real = clip.label_map, clip.first_frame
    foreground = stage.space.foreground_ids
    objects = find_objects(labels, clip.instance_map, foreground=foreground, factor=OBJECT_FACTOR)
    posterior = stage.appearance_encoder(real, labels, stage.first_frame.segments(labels, objects))
    looks = [stage.average.draw(1, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    own, *drawn = (
        stage.average(labels, objects, look.to(stage.device)).clamp(0, 1)
        for look in (posterior.mean, *looks)
    )
    figures = {
        "L1, own look": float((own - real).abs().mean()),
        "diversity, L1 between looks": float((drawn[0] - drawn[1]).abs().mean()),
    }
    judge = stage.judges.perceptual
    if judge is not None:
        figures["LPIPS, own look"] = float(judge(own, real).mean())
        figures["diversity, LPIPS between looks"] = float(judge(*drawn).mean())
    if stage.space.names == get_label_space("cityscapes").names:
        pictures = {"drawn look": drawn[0], "real frame": real}
        for name, picture in pictures.items():
            said = _segmenter().probabilities(picture.cpu()).argmax(1)
            right = pixel_accuracy(said, labels.cpu(), void_id=stage.space.void_id)
            figures[f"label accuracy, {name}"] = float(right)
    return figures


@cache
def _segmenter() -> BundledTeacher:
    """Load the bundled segmenter, once."""
    return BundledTeacher()


def motion_figures(stage: MotionStage, clip: Clip) -> Figures:
    """Judge frames moved by the posterior's motion, and by draws of the prior."""
    posterior, objects = stage.encode(clip)
    draw = stage.animator.flow_decoder.draw
    codes = [draw(objects, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    own, first, second = (
        stage.animator(clip.first_frame, clip.label_map, z.to(stage.device), objects)
        for z in (posterior.mean, *codes)
    )
    count = own.refined.shape[1]
    target = clip.frames[:, :count]
    still = clip.first_frame.unsqueeze(1).expand_as(target)
    judge = stage.judges.perceptual
    figures = _distances(judge, own.refined, target, "posterior")
    figures |= _distances(judge, first.refined, target, "prior")
    figures |= _distances(judge, still, target, "first frame repeated")
    spread = (first.motion.backward_flow - second.motion.backward_flow).norm(dim=2).mean()
    figures["diversity of flow, two draws [px]"] = float(spread)
    if judge is not None:
        both = _distances(judge, first.refined, second.refined, "")
        figures["diversity, LPIPS of two draws"] = both["LPIPS, "]
    figures |= _flow_figures(own, clip, "posterior") | _flow_figures(first, clip, "prior")
    if clip.label_maps is not None:
        void, labels = stage.space.void_id, clip.label_maps[:, count - 1]
        for name, animation in (("posterior", own), ("prior", first)):
            moved = choose_labels(clip.label_map, animation)[:, -1]
            figures[f"label accuracy, {name}"] = float(pixel_accuracy(moved, labels, void_id=void))
        repeated = pixel_accuracy(clip.label_map, labels, void_id=void)
        figures["label accuracy, first frame repeated"] = float(repeated)
    return figures


def _flow_figures(animation: Animation, clip: Clip, name: str) -> Figures:
    """Compare motion with the exact one, where the clip knows it."""
    motion = animation.motion
    figures = {f"forward-backward error, {name} [px]": float(consistency_error(motion))}
    if clip.motion is None:
        return figures
    exact = clip.motion.map(lambda tensor: tensor[:, : motion.backward_flow.shape[1]])
    flows = {name: motion.backward_flow}
    if name == "posterior":
        flows["zero flow"] = torch.zeros_like(motion.backward_flow)
        shown = hidden_average_precision(motion.backward_visible, exact.backward_visible)
        figures["visibility average precision, posterior"] = float(shown)
    for which, flow in flows.items():
        error = end_point_error(flow, exact.backward_flow, exact.backward_visible)
        figures[f"end-point error, {which} [px]"] = float(error)
    return figures


def _distances(
    judge: PerceptualDistance | None,
    frames: Float[Tensor, "batch time 3 height width"],
    target: Float[Tensor, "batch time 3 height width"],
    name: str,
) -> Figures:
    """Return L1 and, with a judge, LPIPS between two videos."""
    figures = {f"L1, {name}": float((frames - target).abs().mean())}
    if judge is not None:
        flat = [
            rearrange(clip.clamp(0, 1), "b t c h w -> (b t) c h w") for clip in (frames, target)
        ]
        figures[f"LPIPS, {name}"] = float(judge(*flat).mean())
    return figures


def segmenter_figures(stage: SegmenterStage, clip: Clip) -> Figures:
    """Compare predicted with given labels of one photo."""
    void = stage.space.void_id
    said = stage.average(clip.first_frame).argmax(1)
    accuracy = pixel_accuracy(said, clip.label_map, void_id=void)
    overlap = mean_overlap(said, clip.label_map, void_id=void)
    return {"pixel accuracy": float(accuracy), "mean IoU of a photo": overlap}


def mean_overlap(
    said: Int[Tensor, "batch height width"],
    label_map: Int[Tensor, "batch height width"],
    *,
    void_id: int,
) -> float:
    """Return the intersection over union in [0, 1], a mean over the classes that occur in either;
    pixels that are void in ``label_map`` do not count.
    """
    known = label_map != void_id
    scores = []
    seen = torch.bincount(torch.cat((said[known], label_map[known])))
    for number in seen.nonzero().flatten().tolist():
        both = (said == number) & (label_map == number) & known
        either = ((said == number) | (label_map == number)) & known
        scores.append(float(both.sum() / either.sum()))
    return sum(scores) / max(len(scores), 1)
