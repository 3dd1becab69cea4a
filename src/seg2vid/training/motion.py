"""Stage two: motion, the paper's conditional VAE with hints (paper Sec. 3.2 to 3.4)."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seg2vid.geometry import Scene, fit_objects, scene_flow
from seg2vid.media.drawing import flow_to_colours
from seg2vid.models.animator import Animator
from seg2vid.models.depth import Depth, own_car
from seg2vid.models.drive import render
from seg2vid.models.judges.perceptual import shifted_distance
from seg2vid.models.layers import OBJECT_FACTOR
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.models.motion_encoder import build_motion_encoder, draw_latent
from seg2vid.structures import (
    Animation,
    Clip,
    Hints,
    Labels,
    Latent,
    Motion,
    Objects,
    Pictures,
    Posterior,
    ScenePaths,
)
from seg2vid.tools.errors import TrainingError
from seg2vid.training import losses, scene_losses
from seg2vid.training.config import MotionTrainingConfig
from seg2vid.training.losses import fold
from seg2vid.training.segmenter import change_colours
from seg2vid.training.stage import Stage, Terms, make_adam
from seg2vid.warp import gate_flow

Times = Int[Tensor, " chosen"]

DRAWS = 2
"""Paths drawn for each clip, that are to be as likely as its own."""
ABSURD = 1e6
"""Metres, radians or 1/m that only a diverged network says."""


class MotionStage(Stage):
    """Motion encoder and animator with everything that trains them."""

    training_config: MotionTrainingConfig

    def build(self) -> None:
        """Make encoder and animator; ``TrainingError`` for an objective that is not for them."""
        if self.model.architecture == "paper" and self.training_config.exact_motion:
            what, fix = "the paper's networks to learn from pictures", "take the objective paper"
            raise TrainingError(what, got="exact_motion", fix=f"{fix}, or set exact_motion false")
        shown = min(self.training_config.trained_frames, self.training_config.refined_frames)
        if self.model.paper.norm_each_time and shown < self.model.num_frames:
            count = self.model.num_frames
            what = f"all {count} frames of a pass refined where each time is normalised by itself"
            fix = f"set --trained-frames {count} and --refined-frames {count}"
            raise TrainingError(what, got=shown, fix=fix)
        self.motion_encoder = build_motion_encoder(self.model)
        self.animator = Animator(self.model, num_channels=self.space.num_channels)

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimiser for both networks."""
        rate, second = self.training_config.learning_rate, self.training_config.second_momentum
        return [make_adam(self.parameters(), rate, momentum=0.9, second=second)]

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

    def encode(self, clip: Clip, objects: Objects, exact: ScenePaths | None = None) -> Posterior:
        """Return q(z | clip, labels); without the ``exact`` paths it goes by what it can see."""
        # Clips may be longer than a pass.
        pictures = (clip.first_frame, clip.frames[:, : self.model.num_frames], clip.label_map)
        paths = exact or self.animator.track(*pictures, objects)
        encoder = self.motion_encoder
        return self.run_box(encoder, encoder, *pictures, objects, *([paths] if paths else []))

    @torch.no_grad()
    def exact_paths(
        self, clip: Clip, objects: Objects
    ) -> tuple[ScenePaths, Bool[Tensor, "batch object time"]] | None:
        """Return how camera and objects moved, and when each was seen, where a clip knows it."""
        decoder, motion, ego = self.animator.flow_decoder, clip.motion, clip.ego_motion
        depth, camera = clip.inverse_depth, clip.camera
        if not isinstance(decoder, MotionDecoder) or motion is None or ego is None:
            return None
        if depth is None or camera is None:
            return None
        scene = decoder.at_rest(Depth(depth, camera), clip.label_map, objects)
        # Clips may be longer than a pass.
        now = slice(self.model.num_frames)
        paths = replace(scene.paths, camera=F.pad(ego[:, now], (0, 1)))
        given = (motion.forward_flow[:, now], motion.forward_visible[:, now])
        ways, seen = fit_objects(*given, replace(scene, paths=paths))
        return replace(paths, objects=ways), seen

    def compute_losses(self, clip: Clip) -> Terms:
        """Return all terms: those of the flow on every frame, those of pictures on a random few."""
        config, decoder = self.training_config, self.animator.flow_decoder
        count = self.model.num_frames
        clip = at_times(clip, torch.arange(count))
        if config.colour:
            clip = recolour(clip, config.colour)
        if not config.exact_motion:
            clip = replace(clip, motion=None, ego_motion=None, inverse_depth=None, camera=None)
        objects = self.find_objects(clip.label_map, clip.instance_map)
        exact = self.exact_paths(clip, objects)
        posterior = self.encode(clip, objects, exact and exact[0])
        z = draw_latent(posterior, decoder.draw(objects, None).to(self.device))
        hints = None
        if clip.motion is not None:
            hints = draw_hints(clip.motion, objects, share=config.hint_share)
        times = torch.randperm(count)[: config.trained_frames]
        if config.trained_frames >= count:
            times = torch.arange(count)
        times = times.to(self.device)
        shown = self.animator.show(clip.label_map, z, objects)
        # Where there is no picture it is black.
        is_seen = torch.rand(len(clip.first_frame), 1, 1, 1) >= config.labels_only
        given = (clip.first_frame * is_seen.to(self.device), *shown, hints, times)
        clip = at_times(clip, times)
        if isinstance(decoder, MotionDecoder):
            is_drawn = exact is not None and config.drawn_paths > 0
            draws = [decoder.draw(objects, None).to(self.device) for _ in range(DRAWS * is_drawn)]
            scene, drawn = self.run_box(decoder, _decode, decoder, *given, draws)
            terms = self._scene_terms(scene, clip)
            if exact is not None:
                real, seen = exact[0], exact[1]
                wanted = (real.objects[:, :, times], seen[:, :, times])
                terms |= self.weigh(
                    {
                        "objects": lambda: scene_losses.object_loss(scene.paths, *wanted),
                        "drawn_paths": lambda: scene_losses.drawn_path_loss(
                            drawn, real.camera[..., :3], real.objects, seen
                        ),
                    }
                )
            parts = (scene.inverse_depth, scene.paths.camera, scene.paths.objects)
            lost = [part for part in parts if not bool((part.abs() < ABSURD).all())]
            if lost and clip.motion is None:
                # Such a scene cannot be rendered: the run ends by a loss that says so.
                return terms | {"flow": lost[0].sum() * torch.inf}
            # Exact motion, where it is known: taught on a young decoder's the refiner would learn
            # to distrust what is visible and to blur it.
            motion = clip.motion or render(scene)
        else:
            motion = self.run_box(decoder, decoder, *given)
            terms = self.weigh({"mask_penalty": lambda: losses.mask_penalty(motion)})
        warm = min(1.0, (int(self.step) + 1) / max(config.kl_warm_up, 1))
        divergence = losses.batch_kl_divergence if config.kl_batch_sum else losses.kl_divergence
        terms["kl"] = config.kl * warm * divergence(posterior, free_bits=config.free_bits)
        few = torch.arange(min(config.refined_frames, len(times)))
        motion, clip = motion.map(lambda tensor: tensor[:, few]), at_times(clip, few)
        if clip.motion is None:
            terms |= self._paper_terms(motion, clip)
        return terms | self._picture_terms(motion, clip)

    def _scene_terms(self, scene: Scene, clip: Clip) -> Terms:
        """Return the terms of depth, camera and its path, as far as the clip knows them."""
        scale = self.model.flow_decoder.flow_scale
        residual, path = scene.residual, scene.paths.camera
        terms = {}
        if residual is not None:
            terms["residual"] = lambda: residual.abs().mean() / scale
        if (motion := clip.motion) is not None:
            # The way back follows from the way there: one of them is enough, and soon computed.
            shown = motion.forward_visible
            terms["flow"] = lambda: losses.flow_loss(
                scene_flow(scene), motion.forward_flow, shown, scale=scale
            )
        if (exact := clip.inverse_depth) is not None:
            known = (~own_car(clip.label_map, self.space.void_id)).float()
            given = (scene.inverse_depth, exact, known, scene.surfaces)
            terms["depth"] = lambda: scene_losses.depth_loss(*given)
        if (camera := clip.camera) is not None:
            size = dict(zip(("height", "width"), clip.label_map.shape[1:], strict=True))
            terms["camera"] = lambda: scene_losses.camera_loss(scene.camera, camera, **size)
        if (ego := clip.ego_motion) is not None:
            terms["path"] = lambda: scene_losses.path_loss(path, ego)
        return self.weigh(terms)

    def _paper_terms(self, motion: Motion, clip: Clip) -> Terms:
        """Return the paper's unsupervised terms of the flow (Eq. 3, 4 and 5)."""
        quirk, padding = self.training_config.authors_smoothness, self.model.paper.padding
        first, frames = clip.first_frame, clip.frames
        still = first.unsqueeze(1).expand_as(frames)
        sides = ((motion.backward_flow, frames), (motion.forward_flow, still))
        shown = gate_flow(motion) if self.model.gate_flow else motion
        return self.weigh(
            {
                "reconstruction": lambda: losses.reconstruction_loss(
                    first, frames, shown, padding=padding
                ),
                "coarse_to_fine": lambda: losses.coarse_to_fine_loss(first, frames, motion),
                "grid_consistency": lambda: losses.grid_consistency_loss(motion, padding=padding),
                "bilateral_smoothness": lambda: sum(
                    losses.bilateral_smoothness_loss(*side, as_authors=quirk) for side in sides
                ),
            }
        )

    def _picture_terms(self, motion: Motion, clip: Clip) -> Terms:
        """Return the terms of the finished frames (Eq. 6) and of the refiner's labels."""
        given = (clip.first_frame, clip.label_map, motion)
        animation = self.run_box(self.animator, self.animator.finish, *given)
        refined, target = animation.refined, clip.frames
        flat, wanted, warped = fold(refined), fold(target), fold(animation.warped)
        terms = {
            "refinement": lambda: losses.refinement_loss(refined, target),
            "similarity": lambda: losses.similarity_loss(refined, target),
            "structure": lambda: losses.structural_similarity_loss(flat, wanted),
        }
        if (distance := self.perceptual_networks.perceptual) is not None:
            terms["perceptual"] = lambda: shifted_distance(distance, flat, wanted).mean()
        if (features := self.perceptual_networks.features) is not None:
            terms["features"] = lambda: losses.feature_loss(features(warped), features(wanted))
        if (maps := clip.label_maps) is not None and animation.label_logits is not None:
            visible = motion.backward_visible.detach()
            terms["labels"] = lambda: losses.hidden_label_loss(
                fold(animation.label_logits), fold(maps), fold(visible)
            )
        return self.weigh(terms)

    def boxes(self) -> dict[str, nn.Module]:
        """Ship the animator; the encoder goes along for evaluation and motion transfer."""
        return {"animator": self.animator, "motion_encoder": self.motion_encoder}

    def animate(self, clip: Clip, generators: list[torch.Generator]) -> list[Animation]:
        """Return the animation of the posterior's mean, then one of each draw from the prior."""
        objects = self.find_objects(clip.label_map, clip.instance_map)
        # Reading off the pictures how they moved takes a second a clip.
        exact = self.exact_paths(clip, objects)
        posterior = self.encode(clip, objects, exact and exact[0])
        draw = self.animator.flow_decoder.draw
        codes = [posterior.mean, *(draw(objects, dice).to(self.device) for dice in generators)]
        return [self.animator(clip.first_frame, clip.label_map, z, objects) for z in codes]

    def sample_video(self, clip: Clip) -> Float[Tensor, "time 3 height width"]:
        """Side by side: real frames, the posterior's motion, two draws from the prior."""
        clip = clip.sample(0)
        animations = self.animate(clip, [torch.Generator().manual_seed(seed) for seed in (0, 1)])
        columns = [animation.refined[0] for animation in animations]
        columns.insert(0, clip.frames[0, : len(columns[0])])
        return torch.cat([torch.cat((clip.first_frame, frames)) for frames in columns], -1)

    def contact_sheet(self, clip: Clip) -> Float[Tensor, "3 height width"]:
        """Rows of each clip at three times: real, posterior, prior; then exact and own flow."""
        animations = self.animate(clip, [torch.Generator().manual_seed(0)])
        times = [0, self.model.num_frames // 2, self.model.num_frames - 1]
        rows = [clip.frames, *(animation.refined for animation in animations)]
        rows = [row[:, times] for row in rows]
        motions = [clip.motion, *(animation.motion for animation in animations)]
        flows = [motion.backward_flow[:, times] for motion in motions if motion is not None]
        rows += [flow_to_colours(flow, 32.0) for flow in flows]
        sheet = torch.stack([row[:2].float() for row in rows])
        return rearrange(sheet, "row clip time c h w -> c (row h) (clip time w)")


def _decode(
    decoder: MotionDecoder,
    first_frame: Pictures,
    label_map: Labels,
    z: Latent,
    objects: Objects,
    hints: Hints | None,
    times: Times,
    draws: list[Latent],
) -> tuple[Scene, list[ScenePaths]]:
    """Return the scene that z decodes to, and the paths that other draws of it do."""
    seen = decoder.look(first_frame, label_map, objects, hints)
    paths = [decoder.paths(seen, other) for other in draws]
    return decoder.follow(seen, z).at(times), paths


def at_times(clip: Clip, times: Times) -> Clip:
    """Keep the given times of a clip, 0 being the first generated frame."""
    parts = ("frames", "label_maps", "instance_maps", "ego_motion")
    known = {name: getattr(clip, name) for name in parts if getattr(clip, name) is not None}
    chosen: dict[str, Any] = {name: value[:, times] for name, value in known.items()}
    if clip.motion is not None:
        chosen["motion"] = clip.motion.map(lambda tensor: tensor[:, times])
    return replace(clip, **chosen)


def recolour(clip: Clip, strength: float) -> Clip:
    """Change the colours of each clip, alike in all of its frames."""
    video = torch.cat((clip.first_frame.unsqueeze(1), clip.frames), 1)
    changed = change_colours(rearrange(video, "b t c h w -> b c (t h) w"), strength).clamp(0, 1)
    changed = rearrange(changed, "b c (t h) w -> b t c h w", t=video.shape[1])
    return replace(clip, first_frame=changed[:, 0], frames=changed[:, 1:])


def draw_hints(motion: Motion, objects: Objects, *, share: float) -> Hints:
    """Hint at the displacement over a pass, for a ``share`` of the clips: (dx, dy, confidence).

    A third each: scattered cells, all cells of some objects, every cell. The others get no hint,
    so that the model works with none, few or many.
    """
    wanted = F.avg_pool2d(motion.forward_flow[:, -1], OBJECT_FACTOR)
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
