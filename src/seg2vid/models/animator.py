"""Joins flow_decoder → warp → refiner: the part that training and generation share."""

import torch
from einops import rearrange
from torch import nn

from seg2vid.models.config import ModelConfig
from seg2vid.models.flow_decoder import FlowDecoder
from seg2vid.models.motion_decoder import KEY_PASSES, MotionDecoder, Sweep, Velocity
from seg2vid.models.paper import PaperFlowDecoder, PaperRefiner
from seg2vid.models.refiner import Refiner
from seg2vid.structures import (
    Animation,
    Frames,
    Hints,
    LabelFrames,
    Labels,
    Latent,
    Motion,
    Objects,
    Pictures,
)
from seg2vid.warp import gate_flow, warp_clip, warp_labels


class Animator(nn.Module):
    """First frame, label map and z → motion, warped and finished frames of one pass."""

    def __init__(self, config: ModelConfig, *, num_channels: int) -> None:
        super().__init__()
        self.config = config
        self.void_id = num_channels - 1
        self.flow_decoder: FlowDecoder | MotionDecoder | PaperFlowDecoder
        self.refiner: Refiner | PaperRefiner | None = None
        if config.architecture == "paper":
            self.flow_decoder = PaperFlowDecoder(config, num_channels=num_channels)
            self.refiner = PaperRefiner(config.paper.channels) if config.refinement else None
        else:
            is_scene = config.architecture == "geometry"
            self.flow_decoder = (
                MotionDecoder(config)
                if is_scene
                else FlowDecoder(config, num_channels=num_channels)
            )
            if config.refinement:
                self.refiner = Refiner(config.refiner, num_channels=num_channels)

    def forward(
        self,
        first_frame: Pictures,
        label_map: Labels,
        z: Latent,
        objects: Objects,
        hints: Hints | None = None,
        passes_ago: int = 0,
        velocity: Velocity | None = None,
    ) -> Animation:
        """Animate one pass: flow, then warp, then refine (paper Eq. 1 and 2).

        Where motion is a scene's, the pass may begin some ``passes_ago`` after its first frame, and
        the camera with a ``velocity``: see ``MotionDecoder``.
        """
        decoder = self.flow_decoder
        given = (first_frame, self._seen(label_map), z, objects, hints)
        if isinstance(decoder, MotionDecoder):
            times = torch.arange(decoder.num_frames, device=first_frame.device)
            times = times + passes_ago * decoder.num_frames
            motion = decoder(*given, times=times, velocity=velocity)
        else:
            motion = decoder(*given)
        return self.finish(first_frame, label_map, motion)

    @property
    def passes_per_key(self) -> int:
        """Passes that are read from one frame: a scene carries further than a flow."""
        return KEY_PASSES if isinstance(self.flow_decoder, MotionDecoder) else 1

    def sweep(self, first_frame: Pictures, frames: Frames, label_map: Labels) -> Sweep | None:
        """Return what the motion encoder is to see of the camera, where motion is a scene's."""
        decoder = self.flow_decoder
        if not isinstance(decoder, MotionDecoder):
            return None
        return decoder.sweep(first_frame, frames, label_map)

    def _seen(self, label_map: Labels) -> Labels:
        is_blind = self.config.semantics == "none"
        return torch.full_like(label_map, self.void_id) if is_blind else label_map

    def finish(self, first_frame: Pictures, label_map: Labels, motion: Motion) -> Animation:
        """Warp the first frame by a given motion and refine it: motion may come from anywhere."""
        if self.config.gate_flow:
            motion = gate_flow(motion)
        if self.config.architecture == "geometry":
            # Colour is read once, so it may be read well; overshoot is cut off.
            warped = warp_clip(first_frame, motion.backward_flow, mode="bicubic").clamp(0, 1)
        else:
            warped = warp_clip(first_frame, motion.backward_flow)
        if self.refiner is None:
            return Animation(motion, warped, refined=warped)
        time = warped.shape[1]
        flow, flat_warped, visible = (
            rearrange(clip, "b t c h w -> (b t) c h w")
            for clip in (motion.backward_flow, warped, motion.backward_visible)
        )
        refined, logits = self.refiner(
            flat_warped,
            visible,
            warp_labels(self._seen(label_map).repeat_interleave(time, 0), flow),
            first_frame.repeat_interleave(time, 0),
        )
        refined = rearrange(refined, "(b t) c h w -> b t c h w", t=time)
        if logits is None or self.config.semantics == "none":
            return Animation(motion, warped, refined)
        logits = rearrange(logits, "(b t) c h w -> b t c h w", t=time)
        return Animation(motion, warped, refined, logits)


def choose_labels(label_map: Labels, animation: Animation) -> LabelFrames:
    """Labels of each frame: moved with the pixels where visible or no refiner's labels exist."""
    motion = animation.motion
    moved = torch.stack([warp_labels(label_map, f) for f in motion.backward_flow.unbind(1)], 1)
    if animation.label_logits is None:
        return moved
    visible = motion.backward_visible.squeeze(2) > 0.5
    painted = animation.label_logits.argmax(2).repeat_interleave(2, -1).repeat_interleave(2, -2)
    return torch.where(visible, moved, painted)


def choose_instances(
    instance_map: Labels, label_maps: LabelFrames, animation: Animation, foreground: tuple[int, ...]
) -> LabelFrames:
    """Instances of each frame, moved with the pixels; 0 where hidden or no foreground is."""
    motion = animation.motion
    moved = torch.stack([warp_labels(instance_map, f) for f in motion.backward_flow.unbind(1)], 1)
    is_thing = torch.isin(label_maps, label_maps.new_tensor(foreground))
    return torch.where(is_thing & (motion.backward_visible.squeeze(2) > 0.5), moved, 0)
