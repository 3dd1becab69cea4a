"""Held-out toy-city clips × metrics → one table and a JSON file with provenance."""

import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from seg2vid.checkpoint import Checkpoint, load_box, load_checkpoint
from seg2vid.config import ModelConfig
from seg2vid.data.clips import render_toycity
from seg2vid.data.toycity import ToyCityConfig
from seg2vid.errors import ModelError, expected
from seg2vid.features import PerceptualDistance
from seg2vid.files import replacing
from seg2vid.labels import LabelSpace
from seg2vid.metrics.motion import (
    consistency_error,
    end_point_error,
    hidden_average_precision,
    hidden_f1,
)
from seg2vid.metrics.semantics import pixel_accuracy
from seg2vid.models.animator import Animator, choose_labels
from seg2vid.models.layers import OBJECT_FACTOR, find_objects
from seg2vid.models.motion_encoder import MotionEncoder, build_motion_encoder
from seg2vid.models.paper_motion_encoder import PaperMotionEncoder
from seg2vid.structures import Animation, Clip, Latent
from seg2vid.weights import find_weights

TURNING = "turning by the last frame [rad]"
STRAIGHT = 0.05
"""Radians up to which a clip counts as straight."""
LABEL_TIMES = (1, 4, 8)
"""Generated frames whose labels are compared, counted from 1."""


@dataclass(frozen=True)
class MotionModel:
    """The networks of the motion stage, for measuring."""

    animator: Animator
    motion_encoder: MotionEncoder | PaperMotionEncoder
    config: ModelConfig
    label_space: LabelSpace

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> "MotionModel":
        """Build and load the networks; raises ``ModelError`` for a file without a motion
        encoder.
        """
        config = checkpoint.config
        space = LabelSpace.from_dict(config.label_space)
        animator = Animator(config, num_channels=space.num_channels)
        encoder = build_motion_encoder(config)
        load_box(animator, checkpoint, "animator")
        load_box(encoder, checkpoint, "motion_encoder")
        return cls(animator.eval(), encoder.eval(), config, space)

    def animate(self, clip: Clip) -> dict[str, Animation]:
        """Animate the clip's first frame with the mean of the posterior and with the mean of the
        prior.
        """
        objects = find_objects(
            clip.label_map,
            clip.instance_map,
            foreground=self.label_space.foreground_ids,
            factor=OBJECT_FACTOR,
        )
        posterior = self.motion_encoder(clip.first_frame, clip.frames, clip.label_map, objects)
        mean = posterior.mean
        zero = Latent(torch.zeros_like(mean.background), torch.zeros_like(mean.foreground))
        return {
            name: self.animator(clip.first_frame, clip.label_map, z, objects)
            for name, z in (("posterior", mean), ("prior mean", zero))
        }


@torch.inference_mode()
def measure_clip(
    model: MotionModel, clip: Clip, judge: PerceptualDistance | None
) -> dict[str, float]:
    """Return every figure of one clip (a batch of one with exact motion), by name.

    Raises ``ModelError`` for a clip whose motion is not known.
    """
    if clip.motion is None or clip.label_maps is None or clip.ego_motion is None:
        what, got = "a clip with exact motion and labels", "one without"
        raise ModelError(expected(what, got=got, fix="evaluate on toy city"))
    figures = _still_figures(clip, judge, model.label_space.void_id)
    figures[TURNING] = float(clip.ego_motion[0, -1, 2].abs())
    for name, animation in model.animate(clip).items():
        motion, exact = animation.motion, clip.motion
        for way in ("forward", "backward"):
            error = end_point_error(
                getattr(motion, f"{way}_flow"),
                getattr(exact, f"{way}_flow"),
                getattr(exact, f"{way}_visible"),
            )
            figures[f"end-point error {way}, {name} [px]"] = float(error)
            shown = [getattr(source, f"{way}_visible") for source in (motion, exact)]
            figures[f"visibility F1 {way}, {name}"] = float(hidden_f1(*shown))
            precision = hidden_average_precision(*shown)
            figures[f"visibility average precision {way}, {name}"] = float(precision)
        figures[f"forward-backward error, {name} [px]"] = float(consistency_error(motion))
        if judge is not None:
            figures[f"LPIPS, {name}"] = _perceptual(judge, animation.refined, clip.frames)
            before = _perceptual(judge, animation.warped, clip.frames)
            figures[f"LPIPS before refinement, {name}"] = before
        label_maps = choose_labels(clip.label_map, animation)
        figures |= _label_figures(label_maps, clip, name, model.label_space.void_id)
    return figures


def _still_figures(clip: Clip, judge: PerceptualDistance | None, void_id: int) -> dict[str, float]:
    """Return the figures of standing still: zero flow, the first frame and its labels repeated."""
    exact = clip.motion
    figures: dict[str, float] = {}
    if exact is not None:
        for way in ("forward", "backward"):
            flow, visible = getattr(exact, f"{way}_flow"), getattr(exact, f"{way}_visible")
            error = end_point_error(torch.zeros_like(flow), flow, visible)
            figures[f"end-point error {way}, zero flow [px]"] = float(error)
    still = clip.first_frame.unsqueeze(1).expand_as(clip.frames)
    if judge is not None:
        figures["LPIPS, first frame repeated"] = _perceptual(judge, still, clip.frames)
    repeated = clip.label_map.unsqueeze(1).expand(-1, clip.frames.shape[1], -1, -1)
    return figures | _label_figures(repeated, clip, "first frame repeated", void_id)


def _perceptual(
    judge: PerceptualDistance,
    frames: Float[Tensor, "batch time 3 height width"],
    target: Float[Tensor, "batch time 3 height width"],
) -> float:
    """Return LPIPS averaged over frames."""
    flat = [rearrange(clip, "b t c h w -> (b t) c h w") for clip in (frames, target)]
    return float(judge(*flat).mean())


def _label_figures(label_maps: Tensor, clip: Clip, name: str, void_id: int) -> dict[str, float]:
    """Return the pixel accuracy of (batch, time, height, width) labels at ``LABEL_TIMES``."""
    figures = {}
    for time in LABEL_TIMES:
        if clip.label_maps is not None and time <= label_maps.shape[1]:
            right = pixel_accuracy(
                label_maps[:, time - 1], clip.label_maps[:, time - 1], void_id=void_id
            )
            figures[f"label accuracy t={time}, {name}"] = float(right)
    return figures


def held_out_clips(
    config: ModelConfig, *, clips: int, seed: int, progress: bool = True
) -> Iterator[Clip]:
    """Render the toy-city clips of seeds ``seed`` ... ``seed + clips - 1``."""
    city = ToyCityConfig(
        height=config.height,
        width=config.width,
        num_frames=config.num_frames,
        frames_per_second=config.frames_per_second,
    )
    for offset in tqdm(range(clips), desc="clips", disable=not progress):
        yield render_toycity(seed + offset, city)


def evaluate(
    name: str,
    *,
    clips: int,
    seed: int,
    judge: PerceptualDistance | None,
    source: Callable[..., Iterator[Clip]] = held_out_clips,
) -> dict[str, Any]:
    """Measure a model on held-out toy-city clips; return figures (means over clips) with
    provenance.

    Raises ``ModelError`` for an unknown model or one without a motion encoder.
    """
    path = find_weights(name)
    checkpoint = load_checkpoint(path)
    model = MotionModel.load(checkpoint)
    rows = [
        measure_clip(model, clip, judge) for clip in source(model.config, clips=clips, seed=seed)
    ]
    figures = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    for way in ("forward", "backward"):
        own = figures[f"end-point error {way}, posterior [px]"]
        zero = figures[f"end-point error {way}, zero flow [px]"]
        figures[f"end-point error {way}, posterior / zero flow"] = own / max(zero, 1e-9)
    figures |= _turning_figures(rows)
    return {
        "figures": figures,
        "provenance": {
            "model": name,
            "clips": f"toy city, seeds {seed} ... {seed + clips - 1}",
            "torch": torch.__version__,
            "machine": platform.processor() or platform.machine(),
            "training": checkpoint.provenance,
        },
    }


def _turning_figures(rows: list[dict[str, float]]) -> dict[str, float]:
    """Tell straight clips from turning ones: turning moves everything far and rules the mean."""
    figures = {}
    groups = {
        "straight": [row for row in rows if row[TURNING] <= STRAIGHT],
        "turning": [row for row in rows if row[TURNING] > STRAIGHT],
    }
    for name, group in groups.items():
        figures[f"share of {name} clips"] = len(group) / len(rows)
        for way in ("forward", "backward") if group else ():
            own, zero = (
                sum(row[f"end-point error {way}, {whose} [px]"] for row in group)
                for whose in ("posterior", "zero flow")
            )
            figures[f"end-point error {way}, posterior / zero flow, {name}"] = own / max(zero, 1e-9)
    return figures


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write the report as JSON, whole or not at all."""
    text = json.dumps(report, indent=1, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
