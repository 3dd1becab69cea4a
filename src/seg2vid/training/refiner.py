"""The refiner's training on photographs: no video is needed.

A photograph is taken for what a drive has come to. Driven back from it, with a motion that is
drawn, some of what it shows is lost from sight: behind what has come nearer, or beside the picture.
That is what the drive uncovers, and what the refiner is to paint, from the picture that is left.
Depth and motion are those of the model that training starts from, and keep their weights.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.geometry import dilate, move_scene
from seg2vid.labels.convert import one_hot
from seg2vid.models.animator import Animator
from seg2vid.models.holes import spread_colours
from seg2vid.models.judges.perceptual import shifted_distance
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.models.motion_encoder import build_motion_encoder
from seg2vid.models.patch_discriminator import PatchDiscriminator, Scale, augment
from seg2vid.structures import Clip, Labels, Mask, Pictures
from seg2vid.tools.errors import TrainingError
from seg2vid.training import losses
from seg2vid.training.config import RefinerTrainingConfig
from seg2vid.training.losses import Scalar
from seg2vid.training.stage import Stage, Terms, make_adam, resting
from seg2vid.warp import backward_warp, warp_labels


@dataclass(frozen=True)
class Uncovered:
    """What the refiner is given of a photograph that a drive has come to."""

    picture: Pictures
    """The key frame that the drive began with."""
    warped: Pictures
    """The photograph as it is read from there; what is hidden there shows something else."""
    label_map: Labels
    visible: Mask


class RefinerStage(Stage):
    """The refiner of a moving scene with what trains it."""

    stills = True

    training_config: RefinerTrainingConfig

    def build(self) -> None:
        """Make the animator, its average and the discriminator.

        Raises ``TrainingError`` for networks without a scene or a refiner, or that see no labels.
        """
        self.motion_encoder = build_motion_encoder(self.model).requires_grad_(False)
        self.animator = Animator(self.model, num_channels=self.space.num_channels)
        decoder, model = self.animator.flow_decoder, self.model
        moves = isinstance(decoder, MotionDecoder) and decoder.has_ground
        if not moves or self.animator.refiner is None or model.semantics == "none":
            what = "a model that moves a scene over a road and refines it by labels"
            got = f"architecture {model.architecture}, refinement {model.refinement}, semantics "
            got += f"{model.semantics}, classes {', '.join(self.space.names)}"
            fix = "use --preset geometry, and a label space with a road"
            raise TrainingError(what, got=got, fix=fix)
        decoder.requires_grad_(False)
        self.patch_discriminator: PatchDiscriminator | None = None
        if self.training_config.patch:
            self.patch_discriminator = PatchDiscriminator(num_channels=self.space.num_channels)
        self.average = copy.deepcopy(self.animator).requires_grad_(False)

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimiser for the refiner, one for the discriminator."""
        config = self.training_config
        refiner = make_adam(self._refiner.parameters(), config.learning_rate, momentum=0.0)
        optimizers: list[torch.optim.Optimizer] = [refiner]
        if (patches := self.patch_discriminator) is not None:
            rate = config.discriminator_learning_rate
            optimizers.append(make_adam(patches.parameters(), rate, momentum=0.0))
        return optimizers

    @property
    def _refiner(self) -> nn.Module:
        assert self.animator.refiner is not None  # noqa: S101
        return self.animator.refiner

    @property
    def norms_are_frozen(self) -> bool:
        """Always: the refiner is trained as it is used, and has learned its figures before."""
        return True

    def turns(self, clip: Clip) -> Iterator[Terms]:
        """Yield the refiner's terms, then those of the discriminator."""
        patches = self.patch_discriminator
        with resting(() if patches is None else patches.parameters()):
            terms, painted, hidden = self._paint(clip)
            yield terms
        if patches is not None:
            yield self._discriminate(patches, clip, painted.detach(), hidden)

    def compute_losses(self, clip: Clip) -> Terms:
        """Return the refiner's terms."""
        return self._paint(clip)[0]

    def _paint(self, clip: Clip) -> tuple[Terms, Pictures, Mask]:
        """Return the terms, the photographs with what was painted, and where that is 1."""
        photo = clip.first_frame
        given = self.uncover(clip)
        refined, logits = self.run_box(self._refiner, self._refiner, *_inputs(given))
        hidden = 1 - given.visible
        painted = torch.where(hidden > 0, refined, photo)
        terms = {
            "refinement": lambda: _mean_of((painted - photo).abs().mean(1, True), hidden),
            "labels": lambda: losses.hidden_label_loss(logits, clip.label_map, given.visible),
        }
        if (distance := self.perceptual_networks.perceptual) is not None:
            terms["perceptual"] = lambda: shifted_distance(distance, painted, photo).mean()
        if (patches := self.patch_discriminator) is not None:
            terms["patch"] = lambda: -_verdict(*self._judge(patches, painted, clip, hidden))
        return self.weigh(terms), painted, hidden

    def _judge(
        self, patches: PatchDiscriminator, picture: Pictures, clip: Clip, hidden: Mask
    ) -> tuple[list[Scale], Mask]:
        """Return what the discriminator says of a picture, and where that is asked for."""
        planes = one_hot(clip.label_map, self.space.num_channels)
        changed, both = augment(picture, torch.cat((planes, hidden), 1))
        return patches(changed, both[:, :-1]), both[:, -1:]

    def _discriminate(
        self, patches: PatchDiscriminator, clip: Clip, painted: Pictures, hidden: Mask
    ) -> Terms:
        """Return the hinge loss where something was painted, and in the same place of photos."""
        real, where = self._judge(patches, clip.first_frame, clip, hidden)
        made, beside = self._judge(patches, painted, clip, hidden)
        loss = _verdict([F.relu(1 - scale) for scale in real], where)
        return {"discriminator": loss + _verdict([F.relu(1 + scale) for scale in made], beside)}

    @torch.no_grad()
    def uncover(self, clip: Clip, generator: torch.Generator | None = None) -> Uncovered:
        """Drive back from photographs, by drawn motions, turned now and then, to a drawn time.

        At most a pass back. Where nothing is lost from sight ``visible`` is 1 all over.
        """
        photo, label_map = clip.first_frame, clip.label_map
        decoder, config = self.animator.flow_decoder, self.training_config
        assert isinstance(decoder, MotionDecoder)  # noqa: S101
        # As in use, also while the refiner is trained: vehicles keep apart.
        decoder.eval()
        objects = self.find_objects(label_map, None)
        dice = torch.rand(2, len(photo), generator=generator).to(photo.device)
        z = decoder.draw(objects, generator).to(self.device)
        drive = decoder.drive(photo, *self.animator.show(label_map, z, objects))
        # What a pass has uncovered is painted at its end.
        time = torch.rand(1, generator=generator).to(photo.device) * decoder.num_frames
        scene = drive.at(time)
        turn = (2 * dice[0] - 1) * config.turn * (dice[1] < config.turned_share)
        camera = -scene.paths.camera
        camera[:, :, 2] += turn.unsqueeze(1)
        paths = replace(scene.paths, camera=camera, objects=-scene.paths.objects)
        motion = move_scene(replace(scene, paths=paths, residual=None)).motion
        forward, backward = motion.forward_flow[:, 0], motion.backward_flow[:, 0]
        picture = backward_warp(photo, backward, mode="bicubic").clamp(0, 1)
        warped = backward_warp(picture, forward, mode="bicubic").clamp(0, 1)
        # Specks are filled from around in use, and not painted.
        core = 1 - dilate(motion.forward_visible[:, 0], 1, 1)
        hidden = dilate(core, 1, 1)
        read = warp_labels(warp_labels(label_map, backward), forward)
        labels = torch.where(hidden[:, 0] > 0, read, label_map)
        return Uncovered(picture, warped, labels, 1 - hidden)

    def parts(self) -> dict[str, nn.Module]:
        """Return the refiner and the discriminator."""
        parts = {"refiner": self._refiner, "patch_discriminator": self.patch_discriminator}
        return {name: part for name, part in parts.items() if part is not None}

    def boxes(self) -> dict[str, nn.Module]:
        """Ship the animator with the averaged refiner; the encoder goes along as it was."""
        return {"animator": self.average, "motion_encoder": self.motion_encoder}

    def repaint(
        self, clip: Clip, generator: torch.Generator | None
    ) -> tuple[Uncovered, Pictures, Tensor]:
        """Return what was uncovered, the photographs painted there by the average, and logits."""
        given = self.uncover(clip, generator)
        assert self.average.refiner is not None  # noqa: S101
        refined, logits = self.average.refiner(*_inputs(given))
        return given, torch.where(given.visible > 0, clip.first_frame, refined), logits

    def contact_sheet(self, clip: Clip) -> Float[Tensor, "3 height width"]:
        """Rows: key frames, photos without what they hide, with it painted, and as they are."""
        given, painted, _ = self.repaint(clip, torch.Generator().manual_seed(0))
        seen = clip.first_frame * given.visible + 0.5 * (1 - given.visible)
        rows = torch.stack([given.picture, seen, painted, clip.first_frame])
        return rearrange(rows.float(), "row column c h w -> c (row h) (column w)")


def _inputs(given: Uncovered) -> tuple[Pictures, Mask, Labels, Pictures]:
    warped = spread_colours(given.warped, given.label_map, given.visible)
    return warped, given.visible, given.label_map, given.picture


def _mean_of(values: Float[Tensor, "batch 1 height width"], where: Mask) -> Scalar:
    """Average over where it is 1; 0 where that is nowhere."""
    return (values * where).sum() / where.sum().clamp(min=1)


def _verdict(logits: list[Scale], where: Mask) -> Scalar:
    """Average over the patches that lie in ``where``, by their share of it, then over scales."""
    shares = [F.adaptive_avg_pool2d(where, (scale.shape[2], scale.shape[3])) for scale in logits]
    means = [
        (scale.float() * share).sum() / share.sum().clamp(min=1e-3)
        for scale, share in zip(logits, shares, strict=True)
    ]
    return torch.stack(means).mean()
