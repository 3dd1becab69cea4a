"""Stage two: motion, the paper's conditional VAE with hints (paper Sec. 3.2 to 3.4)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.labels.space import LabelSpace
from seg2vid.media.drawing import flow_to_colours
from seg2vid.models.animator import Animator
from seg2vid.models.config import ModelConfig
from seg2vid.models.hints import displacement_grid
from seg2vid.models.judges.perceptual import PerceptualNetworks, shifted_distance
from seg2vid.models.layers import OBJECT_FACTOR, find_objects
from seg2vid.models.motion_encoder import build_motion_encoder, draw_latent
from seg2vid.structures import Clip, Motion, Posterior
from seg2vid.training import losses
from seg2vid.training.config import MotionTrainingConfig
from seg2vid.training.stage import Stage, Terms, make_adam
from seg2vid.warp import gate_flow


class MotionStage(Stage):
    """Motion encoder and animator with everything that trains them."""

    def __init__(
        self,
        model: ModelConfig,
        training: MotionTrainingConfig,
        judges: PerceptualNetworks | None = None,
    ) -> None:
        super().__init__(model, training)
        self.space = LabelSpace.from_dict(model.label_space)
        self.motion_encoder = build_motion_encoder(model)
        self.animator = Animator(model, num_channels=self.space.num_channels)
        # No modules of the stage, so that the frozen judges are neither trained nor saved with it.
        self.judges = judges or PerceptualNetworks()

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimiser for both networks."""
        rate = self.training_config.learning_rate
        return [make_adam(list(self.parameters()), rate, momentum=0.9)]

    def turns(self, clip: Clip) -> Iterator[Terms]:
        """Yield the terms of the only turn."""
        yield self.compute_losses(clip)

    def parts(self) -> dict[str, nn.Module]:
        """Return motion encoder, flow decoder and, where there is one, refiner."""
        parts = {
            "motion_encoder": self.motion_encoder,
            "flow_decoder": self.animator.flow_decoder,
            "refiner": self.animator.refiner,
        }
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def norms_are_frozen(self) -> bool:
        """Towards the end, train the networks as they will be used: without batch statistics."""
        config = self.training_config
        return int(self.step) >= config.steps * (1 - config.frozen_norm)

    def encode(
        self, clip: Clip
    ) -> tuple[Posterior, Int[Tensor, "batch coarse_height coarse_width"]]:
        """Return q(z | clip, labels) and the objects of the clip's first frame."""
        objects = find_objects(
            clip.label_map,
            clip.instance_map,
            foreground=self.space.foreground_ids,
            factor=OBJECT_FACTOR,
        )
        # Clips may be longer than a pass.
        pictures = (clip.first_frame, clip.frames[:, : self.model.num_frames], clip.label_map)
        encoder = self.motion_encoder
        return self.run_box(encoder, encoder, *pictures, objects), objects

    def compute_losses(self, clip: Clip) -> Terms:
        """Return all terms: those of the flow on every frame, those of pictures on a random few."""
        config = self.training_config
        count = self.model.num_frames
        clip = at_times(clip, torch.arange(count))
        posterior, objects = self.encode(clip)
        if not config.exact_motion:
            clip = replace(clip, motion=None, ego_motion=None)
        noise = self.animator.flow_decoder.draw(objects, None).to(self.device)
        z = draw_latent(posterior, noise)
        hints = None
        if clip.motion is not None:
            hints = draw_hints(clip.motion, objects, share=config.hint_share)
        times = torch.randperm(count)[: config.trained_frames]
        if config.trained_frames >= count:
            times = torch.arange(count)
        turning = None if clip.ego_motion is None else clip.ego_motion[..., 2]
        decoder = self.animator.flow_decoder
        given = (clip.first_frame, clip.label_map, z, objects, hints, times, turning)
        motion = self.run_box(decoder, decoder, *given)
        clip = at_times(clip, times)
        warm = min(1.0, (int(self.step) + 1) / max(config.kl_warm_up, 1))
        divergence = losses.batch_kl_divergence if config.kl_batch_sum else losses.kl_divergence
        terms = {"kl": config.kl * warm * divergence(posterior, free_bits=config.free_bits)}
        terms |= self._motion_terms(motion, clip)
        few = torch.arange(min(config.refined_frames, len(times)))
        motion, clip = _motion_at(motion, few), at_times(clip, few)
        return terms | self._paper_terms(motion, clip) | self._picture_terms(motion, clip)

    def _motion_terms(self, motion: Motion, clip: Clip) -> Terms:
        """Return the supervised terms where the clip knows its motion, the mask penalty where
        not.
        """
        config, scale = self.training_config, self.model.flow_decoder.flow_scale
        terms = {}
        if clip.ego_motion is not None and motion.turning is not None:
            turning = losses.turning_loss(motion.turning, clip.ego_motion)
            terms["turning"] = config.turning * turning
        if clip.motion is None:
            return terms | {"mask_penalty": config.mask_penalty * losses.mask_penalty(motion)}
        return terms | {
            "flow": config.flow * losses.flow_loss(motion, clip.motion, scale=scale),
            "visibility": config.visibility * losses.visibility_loss(motion, clip.motion),
        }

    def _paper_terms(self, motion: Motion, clip: Clip) -> Terms:
        """Return the paper's unsupervised terms of the flow (Eq. 3, 4 and 5)."""
        config, scale = self.training_config, self.model.flow_decoder.flow_scale
        first = clip.first_frame.unsqueeze(1).expand_as(clip.frames)
        sides = ((motion.backward_flow, clip.frames), (motion.forward_flow, first))
        only = config.smooth_first_only
        shown = gate_flow(motion) if self.model.gate_flow else motion
        weighted: dict[str, Callable[[], Any]] = {
            "reconstruction": lambda: losses.reconstruction_loss(
                clip.first_frame, clip.frames, shown
            ),
            "consistency": lambda: losses.consistency_loss(motion, scale=scale),
            "grid_consistency": lambda: losses.grid_consistency_loss(motion),
            "smoothness": lambda: sum(
                losses.smoothness_loss(flow, guide, scale=scale) for flow, guide in sides
            ),
            "bilateral_smoothness": lambda: sum(
                losses.bilateral_smoothness_loss(flow, guide, first_only=only)
                for flow, guide in sides
            ),
        }
        return {
            name: getattr(config, name) * term()
            for name, term in weighted.items()
            if getattr(config, name)
        }

    def _picture_terms(self, motion: Motion, clip: Clip) -> Terms:
        """Return the terms of the finished frames (Eq. 6) and of the refiner's labels.

        The refiner is shown exact flow where it is known: taught on a young decoder's flow it
        would learn to
        distrust what is visible and to blur it.
        """
        config = self.training_config
        shown = motion
        if clip.motion is not None:
            shown = replace(
                clip.motion,
                forward_visible=motion.forward_visible.detach(),
                backward_visible=motion.backward_visible.detach(),
            )
        given = (clip.first_frame, clip.label_map, shown)
        animation = self.run_box(self.animator, self.animator.finish, *given)
        refined, target = animation.refined, clip.frames
        terms = {"refinement": config.refinement * losses.refinement_loss(refined, target)}
        if config.similarity:
            terms["similarity"] = config.similarity * losses.similarity_loss(refined, target)
        refined, target, warped = (
            rearrange(pictures, "b t c h w -> (b t) c h w")
            for pictures in (refined, target, animation.warped)
        )
        if config.structure:
            structure = losses.structural_similarity_loss(refined, target)
            terms["structure"] = config.structure * structure
        if self.judges.perceptual is not None and config.perceptual:
            distance = shifted_distance(self.judges.perceptual, refined, target).mean()
            terms["perceptual"] = config.perceptual * distance
        if self.judges.features is not None and config.features:
            maps = (self.judges.features(pictures) for pictures in (warped, target))
            terms["features"] = config.features * losses.feature_loss(*maps)
        if clip.label_maps is not None and animation.label_logits is not None and config.labels:
            visible = (clip.motion or motion).backward_visible.detach()
            term = self._label_term(animation.label_logits, clip.label_maps, visible)
            terms["labels"] = config.labels * term
        return terms

    @staticmethod
    def _label_term(
        label_logits: Float[Tensor, "batch time class half_height half_width"],
        label_maps: Int[Tensor, "batch time height width"],
        visible: Float[Tensor, "batch time 1 height width"],
    ) -> Float[Tensor, ""]:
        """Return the loss of the refiner's labels."""
        return losses.hidden_label_loss(
            rearrange(label_logits, "b t c h w -> (b t) c h w"),
            rearrange(label_maps, "b t h w -> (b t) h w"),
            rearrange(visible, "b t c h w -> (b t) c h w"),
        )

    def boxes(self) -> dict[str, nn.Module]:
        """Ship the animator; the encoder goes along for evaluation and motion transfer."""
        return {"animator": self.animator, "motion_encoder": self.motion_encoder}

    def sample_video(self, clip: Clip) -> Float[Tensor, "time 3 height width"]:
        """Real frames, those of the posterior's motion, and two draws of the prior, side by
        side.
        """
        clip = clip.sample(0)
        posterior, objects = self.encode(clip)
        draw = self.animator.flow_decoder.draw
        codes = [draw(objects, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
        columns = [
            self.animator(clip.first_frame, clip.label_map, z.to(self.device), objects).refined[0]
            for z in (posterior.mean, *codes)
        ]
        columns.insert(0, clip.frames[0, : len(columns[0])])
        return torch.cat([torch.cat((clip.first_frame, frames)) for frames in columns], -1)

    def contact_sheet(self, clip: Clip) -> Float[Tensor, "3 height width"]:
        """Rows for each clip at three times: real, posterior, prior; then exact and predicted
        flow.
        """
        posterior, objects = self.encode(clip)
        generator = torch.Generator().manual_seed(0)
        prior = self.animator.flow_decoder.draw(objects, generator).to(self.device)
        own, drawn = (
            self.animator(clip.first_frame, clip.label_map, z, objects)
            for z in (posterior.mean, prior)
        )
        times = [0, self.model.num_frames // 2, self.model.num_frames - 1]
        rows = [clip.frames[:, times], own.refined[:, times], drawn.refined[:, times]]
        flows = (
            [own.motion, drawn.motion]
            if clip.motion is None
            else [clip.motion, own.motion, drawn.motion]
        )
        rows += [flow_to_colours(flow.backward_flow[:, times], 32.0) for flow in flows]
        sheet = torch.stack([row[:2].float() for row in rows])
        return rearrange(sheet, "row clip time c h w -> c (row h) (clip time w)")


def _motion_at(motion: Motion, times: Int[Tensor, " chosen"]) -> Motion:
    """Keep the given times of a motion."""
    return motion.map(lambda tensor: tensor[:, times])


def at_times(clip: Clip, times: Int[Tensor, " chosen"]) -> Clip:
    """Keep the given times of a clip, 0 being the first generated frame."""

    def chosen(values: Tensor | None) -> Tensor | None:
        """Index (batch, time, ...)."""
        return None if values is None else values[:, times]

    return replace(
        clip,
        frames=clip.frames[:, times],
        label_maps=chosen(clip.label_maps),
        instance_maps=chosen(clip.instance_maps),
        ego_motion=chosen(clip.ego_motion),
        motion=None if clip.motion is None else _motion_at(clip.motion, times),
    )


def draw_hints(
    motion: Motion, objects: Int[Tensor, "batch coarse_height coarse_width"], *, share: float
) -> Float[Tensor, "batch 3 coarse_height coarse_width"]:
    """Hint at the displacement over the whole pass, for a ``share`` of the clips: (dx, dy,
    confidence).

    A third each: scattered cells, all cells of some objects, every cell. The others get no hint,
    so that the
    model works with none, few or many.
    """
    wanted = displacement_grid(motion.forward_flow[:, -1])
    confidence = torch.zeros_like(wanted[:, :1])
    for sample in range(wanted.shape[0]):
        if torch.rand(()) >= share:
            continue
        kind = int(torch.randint(3, ()))
        if kind == 0:
            chosen = torch.rand(objects.shape[1:]) < 10 ** (-1 - 1.5 * torch.rand(()))
        elif kind == 1:
            chosen = (torch.rand(int(objects.max()) + 1) < 0.5)[objects[sample].cpu()]
        else:
            chosen = torch.ones(objects.shape[1:], dtype=torch.bool)
        confidence[sample, 0] = chosen.to(confidence)
    return torch.cat((wanted * confidence, confidence), 1)
