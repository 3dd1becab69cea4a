"""Joins flow_decoder → warp → refiner: the part that training and generation share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.labels.space import LabelSpace
from seg2vid.models.config import ModelConfig
from seg2vid.models.drive import Drive, Times, Velocity
from seg2vid.models.key_frame import KeyFrame
from seg2vid.models.layers import (
    MAX_OBJECTS,
    OBJECT_FACTOR,
    coarse_labels,
    enlarge_labels,
    pool_rows,
    spread_rows,
)
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.models.motion_tracker import track_motion
from seg2vid.models.objects import SceneFeatures
from seg2vid.models.paper import PaperFlowDecoder, PaperRefiner
from seg2vid.models.refiner import Refiner
from seg2vid.structures import (
    Animation,
    Frames,
    Hints,
    InverseDepth,
    LabelFrames,
    Labels,
    Latent,
    Mask,
    Masks,
    Motion,
    Objects,
    Pictures,
    ScenePaths,
    join_batch,
)
from seg2vid.warp import gate_flow, warp_clip, warp_label_clip, warp_labels

Steer = Callable[[int, Drive], Drive]


@runtime_checkable
class Key(Protocol):
    """A frame that later ones are read from."""

    @property
    def inverse_depth(self) -> InverseDepth | None:
        """Its depth in 1/m, where motion is a scene's."""
        ...

    def show(self, times: Times) -> Animation:
        """Return the frames at some times of it, counted from 0 after it."""
        ...


class Animator(nn.Module):
    """First frame, label map and z → motion, warped and finished frames of one pass."""

    def __init__(self, config: ModelConfig, *, num_channels: int) -> None:
        super().__init__()
        self.config = config
        roads = LabelSpace.from_dict(config.label_space).ids_named({"road"})
        # Without labels all is road: it moves with the scene, void would move with the camera.
        self.blind_id = next(iter(roads), num_channels - 1)
        self.flow_decoder: MotionDecoder | PaperFlowDecoder
        self.refiner: Refiner | PaperRefiner | None = None
        if config.architecture == "paper":
            self.flow_decoder = PaperFlowDecoder(config, num_channels=num_channels)
            times = config.num_frames if config.paper.norm_each_time else 1
            if config.refinement:
                sees_mask = config.paper.refiner_sees_mask
                self.refiner = PaperRefiner(config.paper.channels, times=times, sees_mask=sees_mask)
        else:
            self.flow_decoder = MotionDecoder(config)
            if config.refinement:
                self.refiner = Refiner(config.refiner, num_channels=num_channels)

    def forward(
        self,
        first_frame: Pictures,
        label_map: Labels,
        z: Latent,
        objects: Objects,
        hints: Hints | None = None,
    ) -> Animation:
        """Animate one pass: flow, then warp, then refine (paper Eq. 1 and 2)."""
        keys = self.begin(first_frame, label_map, z, objects, hints)
        times = torch.arange(self.config.num_frames, device=first_frame.device)
        return join_batch([key.show(times) for key in keys])

    def begin(
        self,
        first_frame: Pictures,
        label_map: Labels,
        z: Latent,
        objects: Objects,
        hints: Hints | None = None,
        *,
        velocity: Velocity | None = None,
        known: InverseDepth | None = None,
        horizon: Float[Tensor, " batch"] | None = None,
        told_apart: bool = False,
        until: float = 0.0,
        steer: Steer | None = None,
        careful: bool = True,
    ) -> Sequence[Key]:
        """Make a key frame of each sample's first frame, good for ``passes_per_key``.

        First frame and labels may be larger than the networks' grid, eight times that of
        ``objects``, by a whole factor. ``velocity``, ``known``, ``horizon``, ``told_apart``,
        ``until`` and ``careful``: see ``MotionDecoder.drive``. ``steer`` changes the drive of each
        sample, with that number.
        """
        decoder = self.flow_decoder
        if not isinstance(decoder, MotionDecoder):
            shown = self.show(label_map, z, objects)
            motion = decoder(first_frame, *shown, hints)
            return [_Flow(self.finish(first_frame, label_map, motion), label_map)]
        factor = label_map.shape[2] // (OBJECT_FACTOR * objects.shape[2])
        small, ids = first_frame, label_map
        if factor > 1:
            small, ids = F.avg_pool2d(small, factor), coarse_labels(ids, factor)
            known = None if known is None else F.avg_pool2d(known, factor)
        shown = self.show(ids, z, objects)
        drive = decoder.drive(
            small,
            *shown,
            hints,
            velocity=velocity,
            known=known,
            horizon=horizon,
            told_apart=told_apart,
            until=until,
            careful=careful,
        )
        refine = None if self.refiner is None else self._refine
        pairs = zip(first_frame.split(1), label_map.split(1), strict=True)
        keys = []
        for number, pair in enumerate(pairs):
            own = drive.sample(number)
            key = KeyFrame(
                own if steer is None else steer(number, own),
                *pair,
                refine,
                is_gated=self.config.gate_flow,
                unsteered=own,
                shadows=careful,
                is_blind=self.config.semantics == "none",
            )
            keys.append(key)
        return keys

    def compile_boxes(self) -> None:
        """Compile what takes long: see ``Seg2VidPipeline.compile``."""
        if isinstance(self.flow_decoder, MotionDecoder):
            self.flow_decoder.depth.compile_network()
        else:
            self.flow_decoder.compile()
        if self.refiner is not None:
            self.refiner.compile()

    @property
    def passes_per_key(self) -> int:
        """Passes that are read from one frame: a scene carries further than a flow."""
        decoder = self.flow_decoder
        return decoder.key_passes if isinstance(decoder, MotionDecoder) else 1

    def look(
        self,
        first_frame: Pictures,
        label_map: Labels,
        objects: Objects,
        *,
        told_apart: bool = False,
    ) -> SceneFeatures | None:
        """Return what z is decoded with, where motion is a scene's: see ``MotionDecoder.drive``."""
        decoder = self.flow_decoder
        if not isinstance(decoder, MotionDecoder) or not decoder.has_ground:
            return None
        if self.config.semantics != "split":
            objects = torch.zeros_like(objects)
        return decoder.look(first_frame, self._seen(label_map), objects, told_apart=told_apart)

    @torch.no_grad()
    def track(
        self, first_frame: Pictures, frames: Frames, label_map: Labels, objects: Objects
    ) -> ScenePaths | None:
        """Return what the motion encoder is to see of the moves, where motion is a scene's."""
        decoder = self.flow_decoder
        if not isinstance(decoder, MotionDecoder):
            return None
        return track_motion(decoder, first_frame, frames, self._seen(label_map), objects)

    def show(
        self, label_map: Labels, z: Latent, objects: Objects
    ) -> tuple[Labels, Latent, Objects]:
        """Return what the decoder is shown of these: objects are nothing apart without a split."""
        if self.config.semantics != "split":
            z = Latent(z.background, torch.zeros_like(z.foreground))
            objects = torch.zeros_like(objects)
        return self._seen(label_map), z, objects

    def _seen(self, label_map: Labels) -> Labels:
        is_blind = self.config.semantics == "none"
        return torch.full_like(label_map, self.blind_id) if is_blind else label_map

    def finish(self, first_frame: Pictures, label_map: Labels, motion: Motion) -> Animation:
        """Warp the first frame by a given motion and refine it: motion may come from anywhere."""
        if self.config.gate_flow:
            motion = gate_flow(motion)
        if self.config.architecture == "paper":
            padding = self.config.paper.padding
            warped = warp_clip(first_frame, motion.backward_flow, padding=padding)
        else:
            # Colour is read once, so it may be read well; overshoot is cut off.
            warped = warp_clip(first_frame, motion.backward_flow, mode="bicubic").clamp(0, 1)
        if self.refiner is None:
            return Animation(motion, warped, refined=warped)
        time = warped.shape[1]
        flow, flat_warped, visible = (
            rearrange(clip, "b t c h w -> (b t) c h w")
            for clip in (motion.backward_flow, warped, motion.backward_visible)
        )
        labels = warp_labels(label_map.repeat_interleave(time, 0), flow)
        first = first_frame.repeat_interleave(time, 0)
        refined, logits = self._refine(flat_warped, visible, labels, first)
        refined = rearrange(refined, "(b t) c h w -> b t c h w", t=time)
        if logits is None:
            return Animation(motion, warped, refined)
        logits = rearrange(logits, "(b t) c h w -> b t c h w", t=time)
        return Animation(motion, warped, refined, logits)

    def _refine(
        self, warped: Pictures, visible: Mask, label_maps: Labels, first_frame: Pictures
    ) -> tuple[Pictures, Tensor | None]:
        assert self.refiner is not None  # noqa: S101
        refined, logits = self.refiner(warped, visible, self._seen(label_maps), first_frame)
        return refined, None if self.config.semantics == "none" else logits


@dataclass(frozen=True)
class _Flow:
    """The one pass that a flow carries a frame for."""

    animation: Animation
    label_map: Labels
    inverse_depth = None

    def show(self, times: Times) -> Animation:
        maps = choose_labels(self.label_map, self.animation)
        whole = replace(self.animation, label_maps=maps)
        return whole.map(lambda tensor: tensor[:, times.long()])


def choose_labels(label_map: Labels, animation: Animation) -> LabelFrames:
    """Labels of each frame: moved with the pixels where visible or no refiner's labels exist."""
    if animation.label_maps is not None:
        return animation.label_maps
    motion = animation.motion
    moved = warp_label_clip(label_map, motion.backward_flow)
    if animation.label_logits is None:
        return moved
    visible = motion.backward_visible.squeeze(2) > 0.5
    painted = enlarge_labels(animation.label_logits.argmax(2), 2)
    return torch.where(visible, moved, painted)


def choose_instances(
    instance_map: Labels, label_maps: LabelFrames, animation: Animation, foreground: tuple[int, ...]
) -> LabelFrames:
    """Instances of each frame, moved with the pixels or known of what was painted; 0 elsewhere, and
    where no foreground is.
    """
    motion, owners = animation.motion, animation.owners
    numbers = warp_label_clip(instance_map, motion.backward_flow)
    numbers = torch.where(motion.backward_visible.squeeze(2) > 0.5, numbers, 0)
    if owners is not None:
        painted = instance_map.flatten(1).gather(1, owners.clamp(min=0).flatten(1))
        numbers = torch.where(owners >= 0, painted.view_as(owners), numbers)
    is_thing = torch.isin(label_maps, label_maps.new_tensor(foreground))
    return torch.where(is_thing, numbers, 0)


def mark_painted(painted: Mask, motion: Motion) -> Masks:
    """Return 1 where each frame shows what was painted in it, or was in the one it is read from.

    ``painted`` is that of the latter.
    """
    carried = warp_label_clip(painted[:, 0].long(), motion.backward_flow)
    hidden = motion.backward_visible <= 0.5
    if motion.source is not None:
        hidden = motion.source.unsqueeze(2) < 0
    return (hidden | (carried.unsqueeze(2) > 0)).float()


def continue_latent(z: Latent, motion: Motion, objects: Objects) -> Latent:
    """Carry z to the last frame of a pass: objects take their codes along, the rest stays.

    ``objects`` are those of the last frame; an object that was hidden gets the code 0, the mean of
    the prior. A code without places on the coarse grid (the paper's) stays as it is.
    """
    if z.foreground.shape[2:] != objects.shape[1:]:
        return z
    cell = motion.backward_flow.shape[-1] // objects.shape[2]
    flow = F.avg_pool2d(motion.backward_flow[:, -1], cell) / cell
    # Codes are numbers, but they move like labels: read the nearest, never mix two objects.
    batch, channels, height, width = z.foreground.shape
    cells = torch.arange(height * width, device=flow.device).view(1, height, width)
    source = warp_labels(cells.expand(batch, -1, -1), flow).flatten(1)
    source = source.unsqueeze(1).expand(-1, channels, -1)
    moved = z.foreground.flatten(2).gather(2, source).view_as(z.foreground)
    # Cells that carry a code vote for their object's; silent ones do not dilute it.
    carries = (moved != 0).any(1, keepdim=True).float()
    rows = MAX_OBJECTS + 1
    codes = pool_rows(moved, objects, rows) / pool_rows(carries, objects, rows).clamp(min=1e-3)
    codes[:, 0] = 0
    return Latent(z.background, spread_rows(codes, objects))
