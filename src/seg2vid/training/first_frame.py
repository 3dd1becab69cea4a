"""Stage one: the first frame, trained as an auto-encoder of looks against a segmentation judge.

A purely adversarial generator learns slowly. Here an encoder tells the generator which look the
real frame
has, so that it can be compared with it, while the judge sees to sharpness and to the label map
being obeyed
(cVAE-GAN: Zhu et al., NeurIPS 2017; judge: Schönfeld et al., ICLR 2021).
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from seg2vid.labels.space import LabelSpace
from seg2vid.models.appearance_encoder import AppearanceEncoder, LookPosterior
from seg2vid.models.config import ModelConfig
from seg2vid.models.discriminator import Discriminator
from seg2vid.models.first_frame import FirstFrame, Look
from seg2vid.models.judges.perceptual import PerceptualNetworks, shifted_distance
from seg2vid.models.layers import OBJECT_FACTOR, find_objects
from seg2vid.structures import Clip
from seg2vid.training.config import FirstFrameTrainingConfig
from seg2vid.training.losses import adversarial_loss, gaussian_divergence
from seg2vid.training.stage import Stage, Terms, make_adam


@dataclass(frozen=True)
class Painting:
    """What one step of the generator gave."""

    terms: Terms
    painted: Float[Tensor, "batch 3 height width"]
    label_map: Int[Tensor, "batch height width"]
    """The map it saw, with patches hidden."""


class FirstFrameStage(Stage):
    """The generator with everything that trains it."""

    stills = True

    def __init__(
        self,
        model: ModelConfig,
        training: FirstFrameTrainingConfig,
        judges: PerceptualNetworks | None = None,
    ) -> None:
        super().__init__(model, training)
        self.space = LabelSpace.from_dict(model.label_space)
        channels = self.space.num_channels
        self.first_frame = FirstFrame(
            model.first_frame, num_channels=channels, foreground=self.space.foreground_ids
        )
        self.appearance_encoder = AppearanceEncoder(model.first_frame, num_channels=channels)
        self.discriminator = Discriminator(
            num_channels=channels, width=training.discriminator_width
        )
        self.average = copy.deepcopy(self.first_frame).requires_grad_(False)
        # No modules of the stage, so that the frozen judges are neither trained nor saved with it.
        self.judges = judges or PerceptualNetworks()

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimiser for generator and encoder, one for the judge."""
        config = self.training_config
        painters = [*self.first_frame.parameters(), *self.appearance_encoder.parameters()]
        judging = list(self.discriminator.parameters())
        return [
            make_adam(painters, config.learning_rate, momentum=0.5),
            make_adam(judging, config.discriminator_learning_rate, momentum=0.0),
        ]

    def turns(self, clip: Clip) -> Iterator[Terms]:
        """Yield the generator's terms, then, once it is heard, those of the judge."""
        judging = [p for p in self.discriminator.parameters() if p.requires_grad]
        for parameter in judging:
            parameter.requires_grad_(False)
        try:
            painting = self._paint(clip)
            yield painting.terms
        finally:
            for parameter in judging:
                parameter.requires_grad_(True)
        if self.step >= self.training_config.adversarial_start:
            judged = self._judge(clip.first_frame, painting.painted.detach(), painting.label_map)
            floor = self.training_config.judge_floor
            if floor == 0 or self.agree_on(judged["judge_painted"]) >= floor:
                yield judged

    @torch.no_grad()
    def follow(self) -> None:
        """Let the averaged generator follow the trained one, closely at first."""
        step = int(self.step)
        decay = min(self.training_config.average_decay, (1 + step) / (10 + step))
        averaged: list[Tensor] = list(self.average.parameters())
        trained: list[Tensor] = list(self.first_frame.parameters())
        torch._foreach_lerp_(averaged, trained, 1 - decay)

    def compute_losses(self, clip: Clip) -> Terms:
        """Return the generator's terms."""
        return self._paint(clip).terms

    def _paint(self, clip: Clip) -> Painting:
        """Paint one batch of stills."""
        config = self.training_config
        label_map = hide_patches(clip.label_map, self.space.void_id, config.void_share)
        objects = self._objects(clip, label_map)
        segments = self.first_frame.segments(label_map, objects)
        encoder, generator = self.appearance_encoder, self.first_frame
        posterior = self.run_box(encoder, encoder, clip.first_frame, label_map, segments)
        own = round(config.prior_share * label_map.shape[0])
        look = _mix_in_prior(posterior.draw(), own)
        painted = self.run_box(generator, generator, label_map, objects, look)
        copied, target = painted[own:], clip.first_frame[own:]
        terms = {
            "reconstruction": config.reconstruction * (copied - target).abs().mean(),
            "kl": config.kl * look_divergence(posterior, free_bits=config.free_bits),
        }
        if self.judges.perceptual is not None and config.perceptual:
            terms["perceptual"] = (
                config.perceptual * shifted_distance(self.judges.perceptual, copied, target).mean()
            )
        if self.step >= config.adversarial_start:
            logits = self.run_box(self.discriminator, self.discriminator, painted)
            terms["adversarial"] = config.adversarial * adversarial_loss(
                logits, label_map, void_id=self.space.void_id
            )
        return Painting(terms, painted, label_map)

    def _judge(
        self,
        real: Float[Tensor, "batch 3 height width"],
        painted: Float[Tensor, "batch 3 height width"],
        label_map: Int[Tensor, "batch height width"],
    ) -> Terms:
        """Return the judge's terms: classes of real pixels, "generated" for painted ones, label
        mixing.
        """
        void, generated = self.space.void_id, self.space.num_channels
        mask = mixing_mask(label_map)
        mixed = torch.where(mask, real, painted)
        on_real, on_painted, on_mixed = self.discriminator(torch.cat((real, painted, mixed))).chunk(
            3
        )
        agreement = F.mse_loss(on_mixed, torch.where(mask, on_real, on_painted))
        everywhere = torch.full_like(label_map, generated)
        return {
            "judge_real": adversarial_loss(on_real, label_map, void_id=void),
            "judge_painted": F.cross_entropy(on_painted.float(), everywhere),
            "judge_mixing": self.training_config.label_mixing * agreement,
        }

    def _objects(
        self, clip: Clip, label_map: Int[Tensor, "batch height width"]
    ) -> Int[Tensor, "batch coarse_height coarse_width"]:
        """Number the objects; half of the batches go without instance maps, as most users do."""
        use = bool(torch.rand(()) < 0.5)
        return find_objects(
            label_map,
            clip.instance_map if use else None,
            foreground=self.space.foreground_ids,
            factor=OBJECT_FACTOR,
        )

    def phases(self) -> tuple[int, ...]:
        """Return when the judge joins."""
        return (0, self.training_config.adversarial_start)

    def parts(self) -> dict[str, nn.Module]:
        """Return generator, encoder of looks and judge."""
        names = ("first_frame", "appearance_encoder", "discriminator")
        return {name: getattr(self, name) for name in names}

    def boxes(self) -> dict[str, nn.Module]:
        """Ship the averaged generator."""
        return {"first_frame": self.average}

    def contact_sheet(self, clip: Clip) -> Float[Tensor, "3 height width"]:
        """Rows: real frames, the same look painted, two looks from N(0, I)."""
        objects = find_objects(
            clip.label_map,
            clip.instance_map,
            foreground=self.space.foreground_ids,
            factor=OBJECT_FACTOR,
        )
        segments = self.first_frame.segments(clip.label_map, objects)
        posterior = self.appearance_encoder(clip.first_frame, clip.label_map, segments)
        generator = torch.Generator().manual_seed(0)
        batch = clip.label_map.shape[0]
        looks = [
            posterior.mean,
            *(self.average.draw(batch, generator).to(self.device) for _ in "ab"),
        ]
        rows = [clip.first_frame, *(self.average(clip.label_map, objects, look) for look in looks)]
        return rearrange(torch.stack(rows).float(), "row column c h w -> c (row h) (column w)")


def _mix_in_prior(look: Look, own: int) -> Look:
    """Replace the looks of the first ``own`` samples by draws from N(0, I)."""

    def replaced(values: Tensor) -> Tensor:
        """Replace the first rows of (batch, ...)."""
        return torch.cat((torch.randn_like(values[:own]), values[own:]))

    return look.map(replaced)


def look_divergence(posterior: LookPosterior, *, free_bits: float = 0.0) -> Float[Tensor, ""]:
    """Mean divergence of the look from N(0, I) per number; segments that the picture lacks do not
    count, nor do the first ``free_bits`` nats of a number's mean over the batch.
    """
    whole = gaussian_divergence(posterior.mean.whole, posterior.log_variance.whole).mean(0)
    segments = gaussian_divergence(posterior.mean.segments, posterior.log_variance.segments)
    present = posterior.present
    each = (segments * present.unsqueeze(-1)).sum((0, 1)) / present.sum().clamp(min=1)
    return whole.clamp(min=free_bits).mean() + each.clamp(min=free_bits).mean()


def hide_patches(
    label_map: Int[Tensor, "batch height width"], void_id: int, share: float
) -> Int[Tensor, "batch height width"]:
    """Hide a random rectangle of a ``share`` of the maps as void: real maps have unlabelled
    places.
    """
    hidden = label_map.clone()
    height, width = label_map.shape[1:]
    for sample in hidden:
        if torch.rand(()) < share:
            size = torch.rand(2) * 0.3 + 0.05
            tall, wide = int(size[0] * height), int(size[1] * width)
            top = int(torch.rand(()) * (height - tall))
            left = int(torch.rand(()) * (width - wide))
            sample[top : top + tall, left : left + wide] = void_id
    return hidden


def mixing_mask(
    label_map: Int[Tensor, "batch height width"],
) -> Float[Tensor, "batch 1 height width"] | Any:
    """Return a random boolean mask (batch, 1, height, width) that is constant over each class
    (OASIS LabelMix).
    """
    classes = int(label_map.max()) + 1
    choice = torch.rand(label_map.shape[0], classes, device=label_map.device) < 0.5
    picked = choice.gather(1, label_map.flatten(1)).view_as(label_map)
    return picked.unsqueeze(1)
