"""One candidate on one clip → every number and feature that figures are made of later."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.data.teachers.teacher import FlowTeacher, LabelTeacher
from seg2vid.evaluation.metrics import image, scene
from seg2vid.evaluation.metrics.diversity import pairwise_distances
from seg2vid.evaluation.metrics.frechet import clip_for_judge
from seg2vid.evaluation.metrics.motion import (
    consistency_error_by_frame,
    end_point_error_by_frame,
    flow_spread,
    hidden_average_precision,
    visibility_scores,
    warping_error,
)
from seg2vid.evaluation.metrics.semantics import confusion_matrix
from seg2vid.evaluation.output import Output
from seg2vid.evaluation.protocol import Protocol
from seg2vid.labels.space import get_label_space
from seg2vid.models.depth import own_car
from seg2vid.models.judges.perceptual import PerceptualDistance
from seg2vid.models.motion_decoder import THIN
from seg2vid.structures import Clip, Motion
from seg2vid.warp import visibility_from_flows

SPACE = get_label_space("cityscapes")
"""Classes of the labels that are compared."""
Unit = dict[str, Tensor]
"""Arrays by name; their axes are told in ``ARRAYS``."""
PICTURE_METRICS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "psnr": image.peak_signal_noise_ratio,
    "ssim": image.structural_similarity,
    "ms_ssim": image.multiscale_structural_similarity,
}
"""What compares generated with real pictures, both (batch, 3, height, width): (batch,) numbers."""

ARRAYS: Mapping[str, str] = {
    **dict.fromkeys((*PICTURE_METRICS, "lpips"), "sample compared_time"),
    "pairwise_lpips": "pair compared_time",
    **dict.fromkeys(("epe_backward", "epe_forward", "consistency"), "sample time"),
    "flow_spread": "time",
    **dict.fromkeys(("pole_distance", "sharpness"), "sample time"),
    **dict.fromkeys(("camera_distance", "camera_turn"), "sample time"),
    "warping_error": "warping_time",
    **dict.fromkeys(("depth_error", "depth_within", "speed", "turning"), "sample"),
    "grid_peaks": "sample period",
    **dict.fromkeys(("hidden_backward", "hidden_forward"), "score sample"),
    **dict.fromkeys(("class_lpips_sum", "class_lpips_count"), "class"),
    **dict.fromkeys(("class_gradient_sum", "class_gradient_count"), "class"),
    "confusion_truth": "compared_time truth said",
    "confusion_own": "compared_time truth said",
    "confusion_moved": "compared_time truth said",
    "inception": "picture_time feature",
    "inception_logits": "picture_time class",
    "i3d": "horizon feature",
    "seconds": "",
}
"""Axes of every array a unit may hold. ``compared_time`` are ``Protocol.compared_times``, ``time``
the frames after the first; scores are precision, recall, F1 and average precision of hidden pixels.
The last of ``said`` counts what was said to be void.
"""


@dataclass(frozen=True)
class Judges:
    """Every judge of an evaluation; None where its weights are not at hand."""

    segmenter: LabelTeacher
    """Labels pictures; it comes with the package and has seen no generated picture."""
    perceptual: PerceptualDistance | None = None
    inception: nn.Module | None = None
    """``models.judges.inception.Inception``."""
    i3d: nn.Module | None = None
    """``models.judges.i3d.I3D``."""
    flow: FlowTeacher | None = None

    def to(self, device: str) -> "Judges":
        """Move the judges to a device; the segmenter and RAFT follow their pictures."""
        for judge in (self.perceptual, self.inception, self.i3d):
            if judge is not None:
                judge.to(device)
        return self


@dataclass(frozen=True)
class Measurement:
    """What is needed to measure units of one protocol."""

    protocol: Protocol
    judges: Judges

    def measure(self, output: Output, clip: Clip, *, is_real: bool) -> Unit:
        """Return the arrays of one candidate on one clip (a batch of one), on the processor.

        Comparisons with the real frames are left out for the real frames themselves (``is_real``).
        """
        # What was read from a disk may lie elsewhere than the clip.
        output = output.to(clip.first_frame.device)
        unit: Unit = {"seconds": torch.tensor(output.seconds)}
        real = torch.cat((clip.first_frame.unsqueeze(1), clip.frames), 1)[0]
        times = list(self.protocol.compared_times)
        if not is_real:
            unit |= self._pictures(output.frames[:, times], real[times], clip)
        unit |= self._features(output.frames[0])
        unit |= self._labels(output, clip)
        if not self.protocol.is_still:
            unit |= self._steadiness(output.frames[0])
        if output.motion is not None and not is_real:
            unit |= motion_arrays(output.motion, clip.motion)
        if output.motion is not None:
            unit |= _kept(output, output.motion)
        unit |= _scene(output, clip, is_real=is_real)
        if self.protocol.task != "prediction":
            unit |= _sharpness_of_start(output)
        return {name: array.detach().float().cpu().contiguous() for name, array in unit.items()}

    def _pictures(
        self,
        frames: Float[Tensor, "samples time 3 height width"],
        real: Float[Tensor, "time 3 height width"],
        clip: Clip,
    ) -> Unit:
        """Compare every sample with the real frames, and samples with each other."""
        samples = len(frames)
        flat = rearrange(frames, "s t c h w -> (s t) c h w").contiguous()
        target = repeat(real, "t c h w -> (s t) c h w", s=samples)
        unit = {
            name: rearrange(function(flat, target), "(s t) -> s t", s=samples)
            for name, function in PICTURE_METRICS.items()
        }
        judge = self.judges.perceptual
        if judge is None:
            return unit
        unit["lpips"] = rearrange(judge(flat, target), "(s t) -> s t", s=samples)
        labels = self._real_labels(clip)
        if labels is not None:
            every = repeat(labels, "t h w -> (s t) h w", s=samples)
            sums, counts = image.class_distances(
                judge.distance_map(flat, target), every, SPACE.void_id
            )
            unit |= {"class_lpips_sum": sums.sum(0), "class_lpips_count": counts.sum(0)}
        if samples > 1:
            unit["pairwise_lpips"] = pairwise_distances(judge, frames)
        return unit

    def _real_labels(self, clip: Clip) -> Int[Tensor, "time height width"] | None:
        """Return the true labels of the compared frames, where they are known."""
        maps = clip.label_map
        if clip.label_maps is not None:
            maps = torch.cat((maps, clip.label_maps[0]))
        elif clip.frames.shape[1]:
            return None
        return maps[list(self.protocol.compared_times)]

    def _features(self, frames: Float[Tensor, "frame 3 height width"]) -> Unit:
        """Return what Inception and I3D see in one sample, first frame included."""
        unit: Unit = {}
        if self.judges.inception is not None:
            seen = self.judges.inception(frames[list(self.protocol.picture_times)])
            unit["inception"] = seen.features
            if seen.logits is not None:
                unit["inception_logits"] = seen.logits
        if self.judges.i3d is not None and not self.protocol.is_still:
            clips = [clip_for_judge(frames[None, : h + 1]) for h in self.protocol.horizons]
            unit["i3d"] = torch.cat([self.judges.i3d(clip) for clip in clips])
        return unit

    def _labels(self, output: Output, clip: Clip) -> Unit:
        """Ask the segmenter for the labels of one sample; compare with the true and own ones."""
        sizes = {"num_classes": SPACE.void_id, "void_id": SPACE.void_id}
        times = list(self.protocol.compared_times)
        truth = self._real_labels(clip)
        own = None if output.label_maps is None else output.label_maps[0, times]
        if truth is None and own is None:
            return {}
        said = self.judges.segmenter.probabilities(output.frames[0, times]).argmax(1)
        unit: Unit = {}
        if truth is not None:
            unit["confusion_truth"] = confusion_matrix(said, truth, **sizes)
        if own is not None:
            unit["confusion_own"] = confusion_matrix(said, own, **sizes)
        if truth is not None and own is not None:
            unit["confusion_moved"] = confusion_matrix(own, truth, **sizes)
        return unit

    def _steadiness(self, frames: Float[Tensor, "frame 3 height width"]) -> Unit:
        """Measure how well neighbouring frames agree along the flow that RAFT finds in them."""
        judge = self.judges.flow
        if judge is None:
            return {}
        times = list(self.protocol.warping_times)
        now, before = frames[times], frames[[time - 1 for time in times]]
        backward, forward = judge.flow(now, before), judge.flow(before, now)
        visible = visibility_from_flows(backward, forward)
        pairs = torch.stack((before, now), 1)
        return {
            "warping_error": warping_error(pairs, backward[:, None], visible[:, None]).flatten()
        }


def motion_arrays(motion: Motion, exact: Motion | None) -> Unit:
    """Measure the motion of every sample, against the exact one where that is known."""
    unit: Unit = {"consistency": consistency_error_by_frame(motion)}
    if len(motion.backward_flow) > 1:
        unit["flow_spread"] = flow_spread(motion.backward_flow)
    if exact is None:
        return unit
    samples = len(motion.backward_flow)
    every = exact.map(lambda tensor: tensor.expand(samples, *tensor.shape[1:]))
    for way in ("forward", "backward"):
        flow, shown = getattr(motion, f"{way}_flow"), getattr(motion, f"{way}_visible")
        true_flow, truly = getattr(every, f"{way}_flow"), getattr(every, f"{way}_visible")
        unit[f"epe_{way}"] = end_point_error_by_frame(flow, true_flow, truly)
        ranked = hidden_average_precision(shown, truly)
        unit[f"hidden_{way}"] = torch.cat((visibility_scores(shown, truly), ranked[None]))
    return unit


def _kept(output: Output, motion: Motion) -> Unit:
    """Measure what moving leaves of the first frame: how sharp it is, and whether poles stand."""
    unit = {
        "sharpness": scene.sharpness_by_frame(output.frames[:, 0], output.frames[:, 1:], motion)
    }
    if output.label_maps is not None:
        ids = tuple(place for place, name in enumerate(SPACE.names) if name in THIN)
        first, later = output.label_maps[0, 0], output.label_maps[:, 1:]
        unit["pole_distance"] = scene.pole_distance_by_frame(first, later, motion, ids)
    return unit


def _scene(output: Output, clip: Clip, *, is_real: bool) -> Unit:
    """Compare depth and camera with the true ones, and say how fast the camera drives."""
    unit: Unit = {}
    depth, path = output.depth, None if output.motion is None else output.motion.camera_path
    if depth is not None and clip.inverse_depth is not None:
        own = own_car(clip.label_map, SPACE.void_id)
        exact = clip.inverse_depth.expand_as(depth.inverse_depth)
        unit["depth_error"], unit["depth_within"] = scene.depth_errors(
            depth.inverse_depth, exact, own.expand_as(exact)
        )
    if clip.ego_motion is None:
        return unit
    if path is not None:
        unit["camera_distance"], unit["camera_turn"] = scene.path_errors(
            path, clip.ego_motion.expand(len(path), -1, -1)
        )
    driven = clip.ego_motion if is_real else path
    if driven is not None:
        unit["speed"], unit["turning"] = scene.pace(driven, 1 / clip.frames_per_second)
    return unit


def _sharpness_of_start(output: Output) -> Unit:
    """Measure the steps of brightness by class, and grids, of the first frames that were made."""
    pictures = output.frames[:, 0]
    unit = {"grid_peaks": image.grid_peaks(pictures)}
    if output.label_maps is not None:
        labels = output.label_maps[:, 0, :-1, :-1]
        sums, counts = image.class_distances(scene.gradient_energy(pictures), labels, SPACE.void_id)
        unit |= {"class_gradient_sum": sums.sum(0), "class_gradient_count": counts.sum(0)}
    return unit
