"""Box ``motion_decoder``: first frame + label map + z → camera and object paths → motion.

What z decodes to is not flow but what makes flow: the background code says how the camera drives,
each foreground code how its object moves over the ground, and a small residual flow says what is
not rigid. ``geometry`` then moves the scene that ``depth`` sees in the first frame, so that both
flows and both visibilities agree by construction. (Paper Sec. 3.2 and 3.3, with another decoder.)
"""

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from seg2vid.geometry import Scene, way_of
from seg2vid.labels.space import LabelSpace
from seg2vid.models.config import ModelConfig
from seg2vid.models.depth import Coarse, Depth, DepthNetwork, own_car, ratio_of
from seg2vid.models.drive import FINENESS, Drive, Velocity
from seg2vid.models.layers import (
    MAX_OBJECTS,
    OBJECT_FACTOR,
    ConvolutionBlock,
    ResidualBlock,
    coordinates,
    draw_codes,
    join,
    perceptron,
    pool_rows,
    surface_ids,
)
from seg2vid.models.objects import (
    SceneFeatures,
    hold_together,
    middles,
    of_others,
    pivots_of,
    rows_of,
    seat_riders,
    seats_of,
)
from seg2vid.models.parting import tell_apart
from seg2vid.models.traffic import Traffic
from seg2vid.structures import (
    Flows,
    Hints,
    InverseDepth,
    Labels,
    Latent,
    Objects,
    Pictures,
    ScenePaths,
)

KNOTS = 3
"""Moments of a pass, first and last included, at which velocities are told; linear in between."""
CAMERA_SPEED = (10.0, 1.0, 0.5, 0.1)
"""What a 1 means: forward and rightward m/s, yaw and pitch rad/s."""
OBJECT_SPEED = (5.0, 5.0, 0.5)
"""What a 1 means: forward and rightward m/s, turn rad/s."""
RESIDUAL = 4.0
"""Pixels over a pass for an output of 1."""


THIN = {"pole", "polegroup", "trafficlight", "trafficsign"}
"""Classes that stand upright on a foot; names here and below as in ``LabelSpace.ids_named``."""
GROUND = {"road", "sidewalk", "parking", "railtrack", "terrain", "ground"}
"""Classes that things stand on."""
KEY_PASSES = 3
"""Passes of a scene that are read from one frame, after which a finished one is the next; and over
which the camera is not to run into a vehicle."""
FADE = 0.5
"""Seconds after a pass in which turning falls to 1 / e: bends end, and so do glances upwards."""


class MotionDecoder(nn.Module):
    """Predict the motion of one pass; height and width must be multiples of 32."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        space, codes = LabelSpace.from_dict(config.label_space), config.flow_decoder
        self.config = codes
        self.num_frames = config.num_frames
        self.seconds = config.num_frames / config.frames_per_second
        self.foreground = space.foreground_ids
        self.void_id = space.void_id
        self.traffic = Traffic.of(space)
        self.has_ground = bool(self.traffic.road)
        # Without a ground there is the residual alone, and that ends with the pass.
        self.key_passes = KEY_PASSES if self.has_ground else 1
        self.depth = DepthNetwork(
            config.depth,
            num_channels=space.num_channels,
            sky=next(iter(space.ids_named({"sky"})), None),
            thin=space.ids_named(THIN),
            ground=space.ids_named(GROUND),
            road=self.traffic.road,
        )
        width = codes.width
        seen = self.depth.feature_channels
        # Features of the scene at an eighth, hints and place.
        self.scene = nn.Sequential(
            ConvolutionBlock(seen + 3 + 2, 2 * width), ResidualBlock(2 * width)
        )
        self.camera = perceptron(
            codes.background_code + 16 * width,
            4 * width,
            # A street is usually driven along.
            (0.7, 0.0, 0.0, 0.0) * KNOTS,
        )
        # Code, features, place and distance, hint.
        self.objects = perceptron(
            codes.foreground_code + 2 * width + 3 + 3, 4 * width, (0.0,) * KNOTS * len(OBJECT_SPEED)
        )
        residual = nn.Conv2d(width, 2, 3, 1, 1)
        for parameter in residual.parameters():
            nn.init.zeros_(parameter)
        self.residual = nn.Sequential(
            ConvolutionBlock(2 * width + codes.background_code + codes.foreground_code, width),
            ResidualBlock(width),
            residual,
        )

    def drive(
        self,
        first_frame: Pictures,
        label_map: Labels,
        z: Latent,
        objects: Objects,
        hints: Hints | None = None,
        velocity: Velocity | None = None,
        *,
        known: InverseDepth | None = None,
        horizon: Float[Tensor, " batch"] | None = None,
        told_apart: bool = False,
        until: float = 0.0,
        careful: bool = True,
    ) -> Drive:
        """Predict how the scene moves at any moment of a key frame, ``until`` so many frames of it.

        ``hints`` is (dx, dy, confidence) in pixels over the pass, at an eighth of the resolution.
        ``velocity`` is the camera's at the start, in m/s and rad/s, where it is known. Depth that
        is ``known`` sets the scale of what is predicted: a metre stays a metre; ``horizon`` is that
        of a scene that goes on, as a share of the height. Objects that an instance map has
        ``told_apart`` stay whole. A ``careful`` drive keeps to the road and a gap to vehicles, and
        people in it go no faster than people; what was seen in a clip needs no such mending.
        """
        about: Any = {"known": known, "horizon": horizon, "told_apart": told_apart}
        seen = self.look(first_frame, label_map, objects, hints, **about)
        return self.follow(seen, z, velocity, until=until, careful=careful)

    def follow(
        self,
        seen: SceneFeatures,
        z: Latent,
        velocity: Velocity | None = None,
        *,
        until: float = 0.0,
        careful: bool = True,
    ) -> Drive:
        """Return the drive that z decodes to in what was looked at; see ``drive``."""
        label_map, z = seen.label_map, z.map(Tensor.float)
        own = own_car(label_map, self.void_id, self.foreground)
        # What is trained on is one pass; what is shown goes on after it.
        count = self.num_frames if self.training else self.key_passes * self.num_frames
        with torch.autocast(label_map.device.type, enabled=False):
            paths = self._paths(seen, z, max(count, math.ceil(until)), velocity)
            if careful and not self.training:
                others = label_map.masked_fill(own, self.void_id)
                given = seen.go_along(paths), seen.depth, others, seen.rows, seen.companions, own
                step = self.seconds / (self.num_frames * FINENESS)
                how: Any = {"step": step, "has_begun": velocity is not None}
                paths = self.traffic.mend(*given, **how)
        scene = Scene(
            seen.depth.inverse_depth,
            seen.rows,
            surface_ids(label_map, seen.rows),
            seen.depth.camera,
            paths,
            own,
            self._residual(seen.features, z),
        )
        scene = scene if self.has_ground else _flatten(scene)
        about = (self.num_frames, self.seconds, self.foreground, self.void_id, self.has_ground)
        classes = self.depth.thin, self.depth.ground, self.traffic.cars
        skies = () if self.depth.sky is None else (self.depth.sky,)
        return Drive(scene, *about, *classes, skies, companions=seen.companions)

    def look(
        self,
        first_frame: Pictures,
        label_map: Labels,
        objects: Objects,
        hints: Hints | None = None,
        *,
        known: InverseDepth | None = None,
        horizon: Float[Tensor, " batch"] | None = None,
        told_apart: bool = False,
    ) -> SceneFeatures:
        """Return what z is decoded with: the same for every z. See ``drive``."""
        depth, features = self.depth.see(first_frame, label_map, horizon)
        if known is not None:
            depth = replace(depth, inverse_depth=_rescale(depth.inverse_depth, known))
        if hints is None:
            hints = features.new_zeros(len(objects), 3, *objects.shape[1:])
        wanted = torch.cat((hints[:, :2] / 16 * hints[:, 2:], hints[:, 2:]), 1)
        seen = self.scene(join(features, wanted.to(features.dtype), coordinates(features)))
        if told_apart or self.training:
            rows = rows_of(objects, label_map, self.foreground)
            companions = torch.arange(MAX_OBJECTS, device=rows.device).expand(len(rows), -1)
        else:
            given = objects, label_map, depth, self.foreground
            objects, rows, companions = tell_apart(*given, self.traffic.spacings)
        held = hold_together(depth.inverse_depth, rows)
        seats = companions
        if not self.training:
            seats = seats_of(rows, label_map, self.traffic.riders, self.traffic.cycles)
            held, companions = seat_riders(held, rows, seats), companions.gather(1, seats)
        depth = replace(depth, inverse_depth=held)
        with torch.autocast(features.device.type, enabled=False):
            middle = of_others(middles(depth, rows), seats)
        about = seen.float(), depth, label_map, rows, middle, seats, companions, objects, wanted
        return SceneFeatures(*about)

    def paths(self, seen: SceneFeatures, z: Latent) -> ScenePaths:
        """Return the paths of one pass, at each of its frames, that z decodes to."""
        with torch.autocast(seen.features.device.type, enabled=False):
            paths = self._paths(seen, z.map(Tensor.float), self.num_frames)
        camera, objects = (way[..., FINENESS::FINENESS, :] for way in (paths.camera, paths.objects))
        return replace(paths, camera=camera, objects=objects)

    def _paths(
        self, seen: SceneFeatures, z: Latent, count: int, velocity: Velocity | None = None
    ) -> ScenePaths:
        pooled = F.adaptive_avg_pool2d(seen.features, (2, 4)).flatten(1)
        knots = self.camera(torch.cat((z.background, pooled), 1))
        if not self.training:
            # Beside what was learned from, the camera would drive backwards: it stands.
            knots = knots.unflatten(1, (KNOTS, -1))
            knots = torch.cat((knots[..., :1].clamp(min=0), knots[..., 1:]), -1).flatten(1)
        if velocity is not None:
            start = velocity / velocity.new_tensor(CAMERA_SPEED)
            knots = torch.cat((start, knots[:, len(CAMERA_SPEED) :]), 1)
        camera = self._integrate(knots.unsqueeze(1), CAMERA_SPEED, count).squeeze(1)
        every = MAX_OBJECTS + 1
        about = (z.foreground, seen.features, seen.hints.float())
        pooled_about = [pool_rows(part, seen.objects, every)[:, 1:] for part in about]
        knots = self.objects(torch.cat((*pooled_about, seen.middle), -1))
        knots = of_others(knots, seen.seats)
        return ScenePaths(
            camera=camera,
            objects=self._integrate(knots, OBJECT_SPEED, count),
            pivots=pivots_of(seen.middle).detach(),
        )

    def at_rest(self, depth: Depth, label_map: Labels, objects: Objects) -> Scene:
        """Return the scene of a depth as it stands, with a time for each frame of a pass."""
        rows = rows_of(objects, label_map, self.foreground)
        depth = replace(depth, inverse_depth=hold_together(depth.inverse_depth, rows))
        still = depth.inverse_depth.new_zeros(len(rows), MAX_OBJECTS, self.num_frames, 3)
        return Scene(
            depth.inverse_depth,
            rows,
            surface_ids(label_map, rows),
            depth.camera,
            ScenePaths(F.pad(still[:, 0], (0, 1)), still, pivots_of(middles(depth, rows))),
            own_car(label_map, self.void_id, self.foreground),
        )

    def _integrate(
        self, knots: Float[Tensor, "batch thing numbers"], units: tuple[float, ...], count: int
    ) -> Float[Tensor, "batch thing step unit"]:
        """Turn velocities at the knots into the way covered by each step of ``count`` frames.

        The first step is none. The first two numbers drive where the third, a turn, points by then.
        After the pass speed is kept and turning fades.
        """
        speed = rearrange(knots, "b n (k u) -> (b n) u k", k=KNOTS)
        steps = self.num_frames * FINENESS
        # At the middle of each step.
        spread = F.interpolate(speed, size=2 * steps + 1, mode="linear", align_corners=True)
        velocity = spread[:, :, 1::2] * knots.new_tensor(units).view(1, -1, 1)
        step = self.seconds / steps
        if (more := count * FINENESS - steps) > 0:
            after = torch.arange(1, more + 1, device=knots.device) * step
            fade = torch.exp(-after / FADE).expand(len(units), -1).clone()
            fade[:2] = 1
            velocity = torch.cat((velocity, velocity[:, :, -1:] * fade), -1)
        return way_of(velocity.transpose(1, 2), step).unflatten(0, knots.shape[:2])

    def way(
        self, knots: Float[Tensor, "thing numbers"], units: tuple[float, ...]
    ) -> Float[Tensor, "thing time unit"]:
        """Return the ways covered by each frame of a pass, with velocities told at the knots."""
        fine = self._integrate(knots.unsqueeze(1), units, self.num_frames)
        return fine[:, 0, FINENESS::FINENESS]

    def _residual(self, scene: Coarse, z: Latent) -> Flows:
        """Return the residual flow in pixels after a pass."""
        code = z.background[:, :, None, None].expand(-1, -1, *scene.shape[2:])
        over_pass = RESIDUAL * self.residual(join(scene, code, z.foreground)).float()
        fine = F.interpolate(over_pass, scale_factor=OBJECT_FACTOR, mode="bilinear")
        return fine.unsqueeze(1)

    def draw(self, objects: Objects, generator: torch.Generator | None) -> Latent:
        """Draw z ~ N(0, I): see ``draw_codes``."""
        background, foreground = self.config.background_code, self.config.foreground_code
        return draw_codes(
            objects, background=background, foreground=foreground, generator=generator
        )


def _rescale(inverse_depth: InverseDepth, known: InverseDepth) -> InverseDepth:
    """Multiply each sample's depth by its ratio to what is known of it."""
    return inverse_depth * ratio_of(inverse_depth, known).view(-1, 1, 1)


def _flatten(scene: Scene) -> Scene:
    """Without a ground there are no metres: all is a metre away and moved by the residual alone."""
    paths = scene.paths
    still = replace(
        paths, camera=torch.zeros_like(paths.camera), objects=torch.zeros_like(paths.objects)
    )
    depth = torch.ones_like(scene.inverse_depth)
    return replace(scene, inverse_depth=depth, paths=still, fixed=None)
