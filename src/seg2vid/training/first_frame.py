"""Stage one: the first frame, trained as an auto-encoder of looks against a discriminator.

A purely adversarial generator learns slowly. Here an encoder tells the generator which look the
real frame has, so that the two can be compared, while the discriminator, which labels pixels, sees
to sharpness and to the label map being obeyed (cVAE-GAN: Zhu et al., NeurIPS 2017; discriminator:
Schönfeld et al., ICLR 2021).
"""

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seg2vid.labels.convert import one_hot
from seg2vid.models.appearance_encoder import AppearanceEncoder, LookPosterior
from seg2vid.models.discriminator import Discriminator
from seg2vid.models.first_frame import GRAIN_SIZE, FirstFrame
from seg2vid.models.judges.perceptual import shifted_distance
from seg2vid.models.patch_discriminator import PatchDiscriminator, Scale, augment
from seg2vid.structures import Clip, Labels, Look, Objects, Pictures
from seg2vid.training.config import FirstFrameTrainingConfig
from seg2vid.training.losses import Scalar, adversarial_loss, look_divergence
from seg2vid.training.stage import Stage, Terms, make_adam, resting


class FirstFrameStage(Stage):
    """The generator with everything that trains it."""

    stills = True

    training_config: FirstFrameTrainingConfig
    patch_accuracy: Tensor
    """How often the patch discriminator was right of late."""

    def build(self) -> None:
        """Make generator, encoder of looks, discriminator, and the generator's average."""
        config, channels = self.model.first_frame, self.space.num_channels
        foreground, width = self.space.foreground_ids, self.training_config.discriminator_width
        self.first_frame = FirstFrame(config, num_channels=channels, foreground=foreground)
        self.appearance_encoder = AppearanceEncoder(config, num_channels=channels)
        self.discriminator = Discriminator(num_channels=channels, width=width)
        self.patch_discriminator: PatchDiscriminator | None = None
        if self.training_config.patch:
            self.patch_discriminator = PatchDiscriminator(num_channels=channels)
        self.register_buffer("patch_accuracy", torch.tensor(0.5))
        self.average = copy.deepcopy(self.first_frame).requires_grad_(False)

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimiser for generator and encoder, one for the discriminator."""
        painters = [*self.first_frame.parameters(), *self.appearance_encoder.parameters()]
        config, discriminators = self.training_config, self._discriminator_parameters()
        return [
            make_adam(painters, config.learning_rate, momentum=config.momentum),
            make_adam(discriminators, config.discriminator_learning_rate, momentum=0.0),
        ]

    def _discriminator_parameters(self) -> list[nn.Parameter]:
        both = (self.discriminator, self.patch_discriminator)
        return [p for one in both if one is not None for p in one.parameters()]

    def turns(self, clip: Clip) -> Iterator[Terms]:
        """Yield the generator's terms, then, once they are heard, those of the discriminators."""
        with resting(self._discriminator_parameters()):
            terms, painted, label_map = self._paint(clip)
            yield terms
        if self.step >= self.training_config.adversarial_start:
            others = self._discriminate(clip.first_frame, painted.detach(), label_map)
            floor = self.training_config.discriminator_floor
            if floor == 0 or self.agree_on(others["discriminator_painted"]) >= floor:
                yield others

    def compute_losses(self, clip: Clip) -> Terms:
        """Return the generator's terms."""
        return self._paint(clip)[0]

    def _paint(self, clip: Clip) -> tuple[Terms, Pictures, Labels]:
        """Return the generator's terms, what it painted, and the map it saw: patches are hidden."""
        config, void = self.training_config, self.space.void_id
        encoder, generator = self.appearance_encoder, self.first_frame
        label_map = hide_patches(clip.label_map, void, config.void_share)
        # Half of the batches go without instance maps, as most users do.
        instances = clip.instance_map if torch.rand(()) < 0.5 else None
        objects = self.find_objects(label_map, instances)
        segments = generator.segments(label_map, objects)
        posterior = self.run_box(encoder, encoder, clip.first_frame, label_map, segments)
        own = round(config.prior_share * label_map.shape[0])
        look = self._draw_looks(posterior, label_map, objects, own)
        painted = self.run_box(generator, generator, label_map, objects, look)
        copied, target = painted[own:], clip.first_frame[own:]
        losses = {
            "reconstruction": lambda: (copied - target).abs().mean(),
            "coarse_reconstruction": lambda: (
                (F.avg_pool2d(copied, 4) - F.avg_pool2d(target, 4)).abs().mean()
            ),
            "kl": lambda: look_divergence(posterior, free_bits=config.free_bits),
        }
        if (distance := self.perceptual_networks.perceptual) is not None:
            losses["perceptual"] = lambda: shifted_distance(distance, copied, target).mean()
        if self.step >= config.adversarial_start:
            discriminator = self.discriminator
            losses["adversarial"] = lambda: adversarial_loss(
                self.run_box(discriminator, discriminator, painted), label_map, void_id=void
            )
            if (patches := self.patch_discriminator) is not None:
                planes = one_hot(label_map, self.space.num_channels)
                losses["patch"] = lambda: -mean_verdict(patches(*augment(painted, planes)))
        return self.weigh(losses), painted, label_map

    def _draw_looks(
        self, posterior: LookPosterior, label_map: Labels, objects: Objects, own: int
    ) -> Look:
        """Draw the looks of the real frames; the first ``own`` are drawn as for no real frame."""
        generator, look = self.first_frame, posterior.draw()
        if generator.known is not None:
            classes = generator.object_classes(label_map, objects)
            spread = posterior.log_variance.map(lambda one: (0.5 * one).exp().detach())
            mean = posterior.mean.map(Tensor.detach)
            generator.known.learn(mean, spread, posterior.areas, classes)
            drawn = generator.draw(label_map[:own], objects[:own], None).to(self.device)
        else:
            drawn = look.map(lambda one: torch.randn_like(one[:own]))
        grain = None
        if generator.config.grain:
            grain = torch.randn(len(label_map), *GRAIN_SIZE, device=self.device)
        return Look(
            torch.cat((drawn.whole, look.whole[own:])),
            torch.cat((drawn.segments, look.segments[own:])),
            grain,
        )

    def _discriminate(self, real: Pictures, painted: Pictures, label_map: Labels) -> Terms:
        """Return the discriminators' terms.

        The first labels the pixels of real frames, calls painted ones "generated", and is to say of
        a mixture of both what it says of its parts (OASIS LabelMix).
        """
        config, void = self.training_config, self.space.void_id
        pictures, mask = [real, painted], mixing_mask(label_map)
        mixes = int(self.step) % config.mixing_every == 0
        if mixes:
            pictures.append(torch.where(mask, real, painted))
        on_real, on_painted, *rest = self.discriminator(torch.cat(pictures)).chunk(len(pictures))
        generated = torch.full_like(label_map, self.space.num_channels)
        terms = {
            "discriminator_real": adversarial_loss(on_real, label_map, void_id=void),
            "discriminator_painted": F.cross_entropy(on_painted.float(), generated),
        }
        if mixes:
            agreement = F.mse_loss(rest[0], torch.where(mask, on_real, on_painted))
            terms["discriminator_mixing"] = config.label_mixing * agreement
        return terms | self._discriminate_patches(real, painted, label_map)

    def _discriminate_patches(self, real: Pictures, painted: Pictures, label_map: Labels) -> Terms:
        """Return the hinge loss of the patch discriminator, unless it is far ahead and rests."""
        patches, config = self.patch_discriminator, self.training_config
        is_ahead = self.agree_on(self.patch_accuracy) > config.patch_rest
        if patches is None or (is_ahead and self.agree_on(torch.rand(())) > 0.4):
            return {}
        planes = one_hot(label_map, self.space.num_channels)
        on_real, on_painted = (patches(*augment(one, planes)) for one in (real, painted))
        pairs = [(a.float(), b.float()) for a, b in zip(on_real, on_painted, strict=True)]
        right = [(a > 0).float().mean() + (b < 0).float().mean() for a, b in pairs]
        self.patch_accuracy.lerp_(torch.stack(right).mean() / 2, 0.02)
        hinge = [F.relu(1 - a).mean() + F.relu(1 + b).mean() for a, b in pairs]
        return {"discriminator_patches": torch.stack(hinge).mean()}

    def follow(self) -> None:
        """Let the average follow; what is known of looks is not averaged."""
        super().follow()
        if self.average.known is not None and self.first_frame.known is not None:
            self.average.known.load_state_dict(self.first_frame.known.state_dict())

    def phases(self) -> tuple[int, ...]:
        """Return when the discriminator joins."""
        return (0, self.training_config.adversarial_start)

    def parts(self) -> dict[str, nn.Module]:
        """Return generator, encoder of looks and discriminators."""
        names = ("first_frame", "appearance_encoder", "discriminator", "patch_discriminator")
        parts = {name: getattr(self, name) for name in names}
        return {name: part for name, part in parts.items() if part is not None}

    def boxes(self) -> dict[str, nn.Module]:
        """Ship the averaged generator, and the encoder that reads looks off photographs."""
        return {"first_frame": self.average, "appearance_encoder": self.appearance_encoder}

    def paint_looks(self, clip: Clip, generators: list[torch.Generator]) -> list[Pictures]:
        """Return what the average paints with the real frame's look and with a draw from each."""
        labels, generator = clip.label_map, self.average
        objects = self.find_objects(labels, clip.instance_map)
        draws = [generator.draw(labels, objects, dice) for dice in generators]
        segments = generator.segments(labels, objects)
        own = self.appearance_encoder(clip.first_frame, labels, segments).mean
        if generator.config.grain:
            dice = torch.Generator().manual_seed(0)
            own = replace(own, grain=torch.randn(len(labels), *GRAIN_SIZE, generator=dice))
            own = own.to(self.device)
        return [generator(labels, objects, look.to(self.device)) for look in (own, *draws)]

    def contact_sheet(self, clip: Clip) -> Float[Tensor, "3 height width"]:
        """Rows: real frames, the same look painted, two drawn looks."""
        dice = torch.Generator().manual_seed(0)
        rows = torch.stack([clip.first_frame, *self.paint_looks(clip, [dice, dice])])
        return rearrange(rows.float(), "row column c h w -> c (row h) (column w)")


def mean_verdict(logits: list[Scale]) -> Scalar:
    """Average over patches, then over scales."""
    return torch.stack([scale.float().mean() for scale in logits]).mean()


def hide_patches(label_map: Labels, void_id: int, share: float) -> Labels:
    """Hide a random rectangle of a ``share`` of the maps as void, as real maps have some."""
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


def mixing_mask(label_map: Labels) -> Bool[Tensor, "batch 1 height width"]:
    """Return a random mask that is constant over each class (OASIS LabelMix)."""
    classes = int(label_map.max()) + 1
    choice = torch.rand(label_map.shape[0], classes, device=label_map.device) < 0.5
    return choice.gather(1, label_map.flatten(1)).view_as(label_map).unsqueeze(1)
