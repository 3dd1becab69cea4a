"""Joins flow_decoder → warp → refiner: the part that training and generation share."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.config import ModelConfig
from seg2vid.models.flow_decoder import FlowDecoder, repeat_times
from seg2vid.models.refiner import Refiner
from seg2vid.structures import Animation, Latent, Motion
from seg2vid.warp import warp_clip, warp_labels


class Animator(nn.Module):
    """First frame, label map and z → motion, warped and finished frames of one pass."""

    def __init__(self, config: ModelConfig, *, num_channels: int) -> None:
        super().__init__()
        self.flow_decoder = FlowDecoder(
            config.flow_decoder, num_frames=config.num_frames, num_channels=num_channels
        )
        self.refiner = Refiner(config.refiner, num_channels=num_channels)

    def forward(
        self,
        first_frame: Float[Tensor, "batch 3 height width"],
        label_map: Int[Tensor, "batch height width"],
        z: Latent,
        objects: Int[Tensor, "batch coarse_height coarse_width"],
        hints: Float[Tensor, "batch 3 coarse_height coarse_width"] | None = None,
    ) -> Animation:
        """Animate one pass: flow, then warp, then refine (paper Eq. 1 and 2)."""
        motion = self.flow_decoder(first_frame, label_map, z, objects, hints)
        return self.finish(first_frame, label_map, motion)

    def finish(
        self,
        first_frame: Float[Tensor, "batch 3 height width"],
        label_map: Int[Tensor, "batch height width"],
        motion: Motion,
    ) -> Animation:
        """Warp the first frame by a given motion and refine it: motion may come from anywhere."""
        time = motion.backward_flow.shape[1]
        warped = warp_clip(first_frame, motion.backward_flow)
        flat_flow = rearrange(motion.backward_flow, "b t d h w -> (b t) d h w")
        refined, logits = self.refiner(
            rearrange(warped, "b t c h w -> (b t) c h w"),
            rearrange(motion.backward_visible, "b t c h w -> (b t) c h w"),
            warp_labels(label_map.repeat_interleave(time, 0), flat_flow),
            rearrange(repeat_times(first_frame, time), "b t c h w -> (b t) c h w"),
        )
        return Animation(
            motion=motion,
            warped=warped,
            refined=rearrange(refined, "(b t) c h w -> b t c h w", t=time),
            label_logits=rearrange(logits, "(b t) c h w -> b t c h w", t=time),
        )


def choose_labels(
    label_map: Int[Tensor, "batch height width"], animation: Animation
) -> Int[Tensor, "batch time height width"]:
    """Labels of every generated frame: moved with the pixels where visible, the refiner's
    elsewhere.
    """
    time = animation.motion.backward_flow.shape[1]
    flow = rearrange(animation.motion.backward_flow, "b t d h w -> (b t) d h w")
    moved = warp_labels(label_map.repeat_interleave(time, 0), flow)
    moved = rearrange(moved, "(b t) h w -> b t h w", t=time)
    visible = animation.motion.backward_visible.squeeze(2) > 0.5
    painted = animation.label_logits.argmax(2).repeat_interleave(2, -1).repeat_interleave(2, -2)
    return torch.where(visible, moved, painted)


def choose_instances(
    instance_map: Int[Tensor, "batch height width"],
    label_maps: Int[Tensor, "batch time height width"],
    animation: Animation,
    foreground: tuple[int, ...],
) -> Int[Tensor, "batch time height width"]:
    """Instances of every generated frame, moved with the pixels; 0 where hidden or no foreground
    is.
    """
    motion = animation.motion
    moved = torch.stack([warp_labels(instance_map, f) for f in motion.backward_flow.unbind(1)], 1)
    is_thing = torch.isin(label_maps, label_maps.new_tensor(foreground))
    return torch.where(is_thing & (motion.backward_visible.squeeze(2) > 0.5), moved, 0)
