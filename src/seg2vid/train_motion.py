"""Stage two: motion, the paper's conditional VAE with hints (paper Sec. 3.2 to 3.4)."""

from dataclasses import replace

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid import losses
from seg2vid.config import ModelConfig, MotionTrainingConfig
from seg2vid.drawing import flow_to_colours
from seg2vid.features import PerceptualDistance, shifted_distance
from seg2vid.labels import LabelSpace
from seg2vid.models.animator import Animator
from seg2vid.models.hints import displacement_grid
from seg2vid.models.layers import OBJECT_FACTOR, find_objects
from seg2vid.models.motion_encoder import MotionEncoder, draw_latent
from seg2vid.structures import Animation, Clip, Motion, Posterior
from seg2vid.train_stage import Stage, Terms, make_optimizer, optimise, restore_optimizers


class MotionStage(Stage):
    """Motion encoder and animator with everything that trains them."""

    def __init__(
        self,
        model: ModelConfig,
        training: MotionTrainingConfig,
        judge: PerceptualDistance | None = None,
    ) -> None:
        super().__init__(model, training)
        self.space = LabelSpace.from_dict(model.label_space)
        channels, foreground = self.space.num_channels, self.space.foreground_ids
        self.motion_encoder = MotionEncoder(
            model.motion_encoder,
            model.flow_decoder,
            num_frames=model.num_frames,
            num_channels=channels,
            foreground=foreground,
        )
        self.animator = Animator(model, num_channels=channels)
        # In a tuple, so that the frozen judge is neither trained nor saved with the stage.
        self.judge = (judge,)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimiser for both networks."""
        rate = self.training_config.learning_rate
        return restore_optimizers(self, [make_optimizer(self.parameters(), rate, momentum=0.9)])

    def training_step(self, clip: Clip, _index: int) -> None:
        """Train on one batch of clips."""
        factor = self.before_step()
        terms = self.compute_losses(clip)
        optimise(self.optimizers(), sum(terms.values()), self, factor)  # type: ignore[arg-type]
        self.after_step(terms)

    def encode(self, clip: Clip) -> Posterior:
        """Return q(z | clip, labels)."""
        objects = find_objects(
            clip.label_map,
            clip.instance_map,
            foreground=self.space.foreground_ids,
            factor=OBJECT_FACTOR,
        )
        return self.motion_encoder(clip.first_frame, clip.frames, clip.label_map, objects)

    def compute_losses(self, clip: Clip) -> Terms:
        """Return all terms: those of the flow on every frame, those of pictures on a random few."""
        config = self.training_config
        posterior = self.encode(clip)
        noise = self.animator.flow_decoder.draw(posterior.objects, None).to(self.device)
        z = draw_latent(posterior, noise)
        hints = None
        if clip.motion is not None:
            hints = draw_hints(clip.motion, posterior.objects, share=config.hint_share)
        times = torch.randperm(self.model.num_frames)[: config.trained_frames]
        turning = None if clip.ego_motion is None else clip.ego_motion[..., 2]
        motion = self.animator.flow_decoder(
            clip.first_frame, clip.label_map, z, posterior.objects, hints, times, turning
        )
        clip = at_times(clip, times)
        warm = min(1.0, (int(self.step) + 1) / max(config.kl_warm_up, 1))
        terms = {"kl": config.kl * warm * losses.kl_divergence(posterior)}
        terms |= self._motion_terms(motion, clip)
        few = torch.arange(config.refined_frames)
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
        smooth = losses.smoothness_loss(motion.backward_flow, clip.frames, scale=scale)
        smooth = smooth + losses.smoothness_loss(motion.forward_flow, first, scale=scale)
        return {
            "reconstruction": config.reconstruction
            * losses.reconstruction_loss(clip.first_frame, clip.frames, motion),
            "consistency": config.consistency * losses.consistency_loss(motion, scale=scale),
            "smoothness": config.smoothness * smooth,
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
        animation = self.animator.finish(clip.first_frame, clip.label_map, shown)
        refined = rearrange(animation.refined, "b t c h w -> (b t) c h w")
        target = rearrange(clip.frames, "b t c h w -> (b t) c h w")
        terms = {
            "refinement": config.refinement * (refined - target).abs().mean(),
            "structure": config.structure * losses.structural_similarity_loss(refined, target),
        }
        if self.judge[0] is not None and config.perceptual:
            distance = shifted_distance(self.judge[0], refined, target).mean()
            terms["perceptual"] = config.perceptual * distance
        if clip.label_maps is not None:
            visible = (clip.motion or motion).backward_visible.detach()
            term = self._label_term(animation, clip.label_maps, visible)
            terms["labels"] = config.labels * term
        return terms

    @staticmethod
    def _label_term(
        animation: Animation,
        label_maps: Int[Tensor, "batch time height width"],
        visible: Float[Tensor, "batch time 1 height width"],
    ) -> Float[Tensor, ""]:
        """Return the loss of the refiner's labels."""
        return losses.hidden_label_loss(
            rearrange(animation.label_logits, "b t c h w -> (b t) c h w"),
            rearrange(label_maps, "b t h w -> (b t) h w"),
            rearrange(visible, "b t c h w -> (b t) c h w"),
        )

    def boxes(self) -> dict[str, nn.Module]:
        """Ship the animator; the encoder goes along for evaluation and motion transfer."""
        return {"animator": self.animator, "motion_encoder": self.motion_encoder}

    def contact_sheet(self, clip: Clip) -> Float[Tensor, "3 height width"]:
        """Rows for each clip at three times: real, posterior, prior; then exact and predicted
        flow.
        """
        posterior = self.encode(clip)
        generator = torch.Generator().manual_seed(0)
        prior = self.animator.flow_decoder.draw(posterior.objects, generator).to(self.device)
        own, drawn = (
            self.animator(clip.first_frame, clip.label_map, z, posterior.objects)
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
