"""Box ``motion_decoder``: first frame + label map + z → camera and object paths → motion.

What z decodes to is not flow but what makes flow: the background code says how the camera drives,
each foreground code how its object moves over the ground, and a small residual flow says what is
not rigid. ``geometry`` then moves the scene that ``depth`` sees in the first frame, so that both
flows and both visibilities agree by construction. (Paper Sec. 3.2 and 3.3, with another decoder.)
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from seg2vid.geometry import (
    MovedScene,
    Scene,
    enlarge_scene,
    move_scene,
    rates_of,
    rays_of,
    way_of,
)
from seg2vid.labels.space import LabelSpace
from seg2vid.models.config import ModelConfig
from seg2vid.models.depth import Coarse, Depth, DepthNetwork, own_car
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
    spread_rows,
)
from seg2vid.structures import (
    Carrier,
    Flows,
    Hints,
    InverseDepth,
    Labels,
    Latent,
    Motion,
    Objects,
    Pictures,
    ScenePaths,
)
from seg2vid.warp import pixel_grid

Times = Shaped[Tensor, " time"]

KNOTS = 3
"""Moments of a pass, first and last included, at which velocities are told; linear in between."""
FINENESS = 4
"""Steps of integration in a frame: turning and driving are one movement."""
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
VEHICLES = {"car", "truck", "bus", "train", "motorcycle", "bicycle", "rider", "bicyclist"}
"""Classes that drive in lanes."""
KEY_PASSES = 3
"""Passes of a scene that are read from one frame, after which a finished one is the next; and over
which the camera is not to run into a vehicle."""
LANE = 1.6
"""Metres to either side that the camera's car needs."""
GAP = 7.0
"""Metres that are left to a vehicle in front, where there were more."""
NEAR = 2.5
"""Metres within which a vehicle is beside the camera rather than in front of it."""
TALL = 1.3
"""How many times taller than wide an object is that is seen as flat."""
UNEVEN = 1.03
"""How many times nearer or farther than its plane any part of an object may be."""
LENGTHS = 1.4
"""How many times nearer or farther than its middle the ends of an object may be."""
Velocity = Float[Tensor, "batch 4"]
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
        self.has_ground = bool(space.ids_named({"road"}))
        # Without a ground there is the residual alone, and that ends with the pass.
        self.key_passes = KEY_PASSES if self.has_ground else 1
        self.vehicles = space.ids_named(VEHICLES)
        self.depth = DepthNetwork(
            config.depth,
            num_channels=space.num_channels,
            sky=next(iter(space.ids_named({"sky"})), None),
            thin=space.ids_named(THIN),
            ground=space.ids_named(GROUND),
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
            codes.foreground_code + 2 * width + 3 + 3,
            4 * width,
            (0.0,) * KNOTS * len(OBJECT_SPEED),
        )
        residual = nn.Conv2d(width, 2, 3, 1, 1)
        for parameter in residual.parameters():
            nn.init.zeros_(parameter)
        self.residual = nn.Sequential(
            ConvolutionBlock(2 * width + codes.background_code + codes.foreground_code, width),
            ResidualBlock(width),
            residual,
        )

    def forward(
        self,
        first_frame: Pictures,
        label_map: Labels,
        z: Latent,
        objects: Objects,
        hints: Hints | None = None,
        times: Times | None = None,
        velocity: Velocity | None = None,
    ) -> Motion:
        """Predict flow in pixels and visibility, 0 or 1, at all ``times`` or at some.

        ``times`` counts frames of the pass from 0, in fractions too, and may go beyond it.
        ``hints`` is (dx, dy, confidence) in pixels over the pass, at an eighth of the resolution.
        ``velocity`` is the camera's at the start, in m/s and rad/s, where it is known.
        """
        return render(self.decode(first_frame, label_map, z, objects, hints, times, velocity))

    def decode(
        self,
        first_frame: Pictures,
        label_map: Labels,
        z: Latent,
        objects: Objects,
        hints: Hints | None = None,
        times: Times | None = None,
        velocity: Velocity | None = None,
    ) -> Scene:
        """As ``forward``, but return the scene that moves."""
        if times is None:
            times = torch.arange(self.num_frames, device=first_frame.device)
        return self.drive(first_frame, label_map, z, objects, hints, velocity).at(times)

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
        until: float = 0.0,
    ) -> "Drive":
        """As ``decode``, but for all moments of a key frame, or ``until`` so many frames of it.

        Depth that is ``known`` sets the scale of what is predicted: a metre stays a metre.
        """
        seen = self.look(first_frame, label_map, objects, hints, known=known)
        return self.follow(seen, z, velocity, until=until)

    def follow(
        self,
        seen: "SceneFeatures",
        z: Latent,
        velocity: Velocity | None = None,
        *,
        until: float = 0.0,
    ) -> "Drive":
        """Return the drive that z decodes to in what was looked at; see ``drive``."""
        label_map, z = seen.label_map, z.map(Tensor.float)
        # What is trained on is one pass; what is shown goes on after it.
        count = self.num_frames if self.training else self.key_passes * self.num_frames
        with torch.autocast(label_map.device.type, enabled=False):
            paths = self._paths(seen, z, max(count, math.ceil(until)), velocity)
            if not self.training:
                is_vehicle = torch.isin(label_map, label_map.new_tensor(self.vehicles))
                share = pool_rows(is_vehicle.unsqueeze(1).float(), seen.rows, MAX_OBJECTS + 1)
                paths = keep_apart(paths, share[:, 1:, 0] > 0.5)
        scene = Scene(
            seen.depth.inverse_depth,
            seen.rows,
            label_map * (MAX_OBJECTS + 1) + seen.rows,
            seen.depth.camera,
            paths,
            own_car(label_map, self.void_id),
            self._residual(seen.features, z),
        )
        scene = scene if self.has_ground else _flatten(scene)
        about = (self.num_frames, self.seconds, self.foreground, self.void_id, self.has_ground)
        return Drive(scene, *about, thin=self.depth.thin)

    def look(
        self,
        first_frame: Pictures,
        label_map: Labels,
        objects: Objects,
        hints: Hints | None = None,
        *,
        known: InverseDepth | None = None,
    ) -> "SceneFeatures":
        """Return what z is decoded with: the same for every z. See ``drive``."""
        depth, features = self.depth.see(first_frame, label_map)
        if known is not None:
            depth = replace(depth, inverse_depth=_rescale(depth.inverse_depth, known))
        if hints is None:
            hints = features.new_zeros(len(objects), 3, *objects.shape[1:])
        wanted = torch.cat((hints[:, :2] / 16 * hints[:, 2:], hints[:, 2:]), 1)
        seen = self.scene(join(features, wanted.to(features.dtype), coordinates(features)))
        rows = self._rows(label_map, objects)
        depth = replace(depth, inverse_depth=hold_together(depth.inverse_depth, rows))
        with torch.autocast(features.device.type, enabled=False):
            middle = middles(depth, rows)
        return SceneFeatures(seen.float(), depth, label_map, rows, middle, objects, wanted)

    def paths(self, seen: "SceneFeatures", z: Latent) -> ScenePaths:
        """Return the paths of one pass, at each of its frames, that z decodes to."""
        with torch.autocast(seen.features.device.type, enabled=False):
            paths = self._paths(seen, z.map(Tensor.float), self.num_frames)
        camera, objects = (way[..., FINENESS::FINENESS, :] for way in (paths.camera, paths.objects))
        return replace(paths, camera=camera, objects=objects)

    def _rows(self, label_map: Labels, objects: Objects) -> Labels:
        """Return the number of each pixel's object, 0 for the background."""
        fine = objects.repeat_interleave(OBJECT_FACTOR, 1).repeat_interleave(OBJECT_FACTOR, 2)
        is_foreground = torch.isin(label_map, label_map.new_tensor(self.foreground))
        return torch.where(is_foreground, fine, 0)

    def _paths(
        self, seen: "SceneFeatures", z: Latent, count: int, velocity: Velocity | None = None
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
        return ScenePaths(
            camera=camera,
            objects=self._integrate(knots, OBJECT_SPEED, count),
            pivots=_pivots(seen.middle).detach(),
        )

    def at_rest(self, depth: Depth, label_map: Labels, objects: Objects) -> Scene:
        """Return the scene of a depth as it stands, with a time for each frame of a pass."""
        rows = self._rows(label_map, objects)
        depth = replace(depth, inverse_depth=hold_together(depth.inverse_depth, rows))
        still = depth.inverse_depth.new_zeros(len(rows), MAX_OBJECTS, self.num_frames, 3)
        return Scene(
            depth.inverse_depth,
            rows,
            label_map * (MAX_OBJECTS + 1) + rows,
            depth.camera,
            ScenePaths(F.pad(still[:, 0], (0, 1)), still, _pivots(middles(depth, rows))),
            own_car(label_map, self.void_id),
        )

    def _integrate(
        self,
        knots: Float[Tensor, "batch thing numbers"],
        units: tuple[float, ...],
        count: int,
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


@dataclass(frozen=True)
class SceneFeatures:
    """What the decoder sees of a first frame, its labels and hints."""

    features: Coarse
    depth: Depth
    label_map: Labels
    rows: Labels
    """The number of each pixel's object, 0 for the background."""
    middle: Float[Tensor, "batch object 3"]
    """Where each object is: see ``middles``."""
    objects: Objects
    hints: Hints


@dataclass(frozen=True)
class Drive(Carrier):
    """A key frame as a scene, and how it moves at any moment."""

    scene: Scene
    """Paths at every step of integration, the first at rest; residual after a pass."""
    num_frames: int
    """Frames of a pass."""
    seconds: float
    """Seconds of a pass."""
    foreground: tuple[int, ...]
    void_id: int
    has_ground: bool = True
    thin: tuple[int, ...] = ()
    """Classes that stand on a foot: poles and what they carry."""
    frozen: tuple[int, ...] = ()
    """Classes that stay where they are in the picture."""

    @property
    def step(self) -> float:
        """Seconds of a step of integration."""
        return self.seconds / (self.num_frames * FINENESS)

    def hold(self, label_map: Labels) -> "Drive":
        """Return the drive in which what is frozen, and the own car, goes with the camera."""
        fixed = torch.isin(label_map, label_map.new_tensor(self.frozen, dtype=torch.long))
        if self.has_ground:
            fixed |= own_car(label_map, self.void_id)
        return replace(self, scene=replace(self.scene, fixed=fixed))

    def enlarged(self, label_map: Labels) -> "Drive":
        """Return the drive of the same scene on the finer grid of ``label_map``."""
        factor = label_map.shape[2] // self.scene.rows.shape[2]
        rows = self.scene.rows
        # An object's pixels, and where its outline has moved those beside.
        near = F.max_pool2d(rows.float(), 3, 1, 1).long()
        rows = torch.where(rows > 0, rows, near)
        rows = rows.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        is_foreground = torch.isin(label_map, label_map.new_tensor(self.foreground))
        rows = torch.where(is_foreground, rows, 0)
        surfaces = label_map * (MAX_OBJECTS + 1) + rows
        return replace(self, scene=enlarge_scene(self.scene, rows, surfaces)).hold(label_map)

    def at(self, times: Times) -> Scene:
        """Return the scene at some times, in frames and their fractions; -1 is the key itself."""
        paths, residual = self.scene.paths, self.scene.residual
        place = (times.float() + 1) * FINENESS
        last = paths.camera.shape[1] - 1
        before = place.floor().long().clamp(0, last)
        share, after = (place - before).unsqueeze(1), (before + 1).clamp(max=last)

        def between(way: Float[Tensor, "*rest step unit"]) -> Float[Tensor, "*rest time unit"]:
            return torch.lerp(way[..., before, :], way[..., after, :], share)

        if residual is not None:
            part = ((times + 1) / self.num_frames).clamp(max=1)
            residual = residual * part.view(1, -1, 1, 1, 1)
        paths = replace(paths, camera=between(paths.camera), objects=between(paths.objects))
        return replace(self.scene, paths=paths, residual=residual)


def go_on(before: ScenePaths, after: ScenePaths, step: int) -> ScenePaths:
    """Join paths of one scene: until a step as the first say, from there on at the others' pace.

    The camera drives on where it points by then.
    """
    rates = [rates_of(paths.camera, 1.0) for paths in (before, after)]
    moves = [paths.objects.diff(dim=-2) for paths in (before, after)]
    camera, objects = (
        torch.cat((first[..., :step, :], last[..., step:, :]), -2) for first, last in (rates, moves)
    )
    objects = F.pad(objects.cumsum(-2), (0, 0, 1, 0))
    return replace(before, camera=way_of(camera, 1.0), objects=objects)


def keep_apart(paths: ScenePaths, is_vehicle: Bool[Tensor, "batch object"]) -> ScenePaths:
    """Let vehicles that the camera would run into drive ahead of it, as they do in traffic.

    What is ahead in the camera's own lane drives its way and stays in it; a vehicle in the camera's
    way gets that share of the camera's own way which leaves a gap at the last time.
    """
    camera, objects = paths.camera.unsqueeze(1), paths.objects
    ahead, beside = paths.pivots.unbind(-1)
    leads = (is_vehicle & (ahead > NEAR) & (beside.abs() < LANE))[..., None, None]
    driving = torch.cat((objects[..., :1].clamp(min=0), torch.zeros_like(objects[..., 1:])), -1)
    objects = torch.where(leads, driving, objects)
    driven, aside = camera[..., -1, 0], camera[..., -1, 1]
    gap = ahead + objects[..., -1, 0] - driven
    is_in_way = is_vehicle & (ahead > NEAR) & (beside.abs() < 2 * LANE)
    is_in_way &= (beside + objects[..., -1, 1] - aside).abs() < LANE
    is_in_way |= leads[..., 0, 0]
    wanted = (0.6 * ahead).clamp(max=GAP)
    share = ((wanted - gap) / driven.clamp(min=0.1)).clamp(0, 1) * is_in_way
    # What leads follows the bends of the camera's way, too.
    with_camera = share[..., None, None] * camera[..., :2]
    with_camera[..., 1:] *= leads
    moved = objects[..., :2] + with_camera
    return replace(paths, objects=torch.cat((moved, objects[..., 2:]), -1))


def _rescale(inverse_depth: InverseDepth, known: InverseDepth) -> InverseDepth:
    """Multiply each sample's depth by the median of its ratios to what is known of it."""
    ratio = torch.where(inverse_depth > 0, known / inverse_depth.clamp(min=1e-6), torch.nan)
    ratio = torch.where(known > 0, ratio, torch.nan).flatten(1).nanmedian(1).values
    return inverse_depth * ratio.nan_to_num(1.0).clamp(0.5, 2.0).view(-1, 1, 1)


def middles(depth: Depth, rows: Labels) -> Float[Tensor, "batch object 3"]:
    """Return where each object is, in units of the camera to the right and down, and 1 / m away."""
    rays = rays_of(depth.camera, *rows.shape[1:]).unflatten(-1, rows.shape[1:])
    place = torch.cat((rays[:, :2], depth.inverse_depth.unsqueeze(1)), 1)
    return pool_rows(place, rows, MAX_OBJECTS + 1)[:, 1:]


def _pivots(middle: Float[Tensor, "batch object 3"]) -> Float[Tensor, "batch object 2"]:
    ahead = 1 / middle[..., 2].clamp(min=1e-3)
    return torch.stack((ahead, middle[..., 0] * ahead), -1)


def hold_together(inverse_depth: InverseDepth, rows: Labels) -> InverseDepth:
    """Keep each object near an upright plane: stray pixels fly off when it moves, and it tears.

    What is taller than wide, as people are, is flat and faces the camera; no end of the others is
    more than ``LENGTHS`` nearer or farther than the middle.
    """
    count, grid = MAX_OBJECTS + 1, pixel_grid(*rows.shape[1:], like=inverse_depth)
    own = spread_rows(pool_rows(inverse_depth.unsqueeze(1), rows, count), rows)
    depth = inverse_depth.unsqueeze(1).clamp(own / LENGTHS, own * LENGTHS)
    grid = grid.expand(len(rows), -1, -1, -1)
    across = grid[:, :1]
    about = torch.cat((depth, grid, grid.square(), across * depth), 1)
    mean, x, y, xx, yy, xd = pool_rows(about, rows, count).unbind(2)
    wide, tall = xx - x.square(), yy - y.square()
    is_flat = tall > TALL**2 * wide
    slope = torch.where(is_flat, 0.0, (xd - x * mean) / (wide + 1))
    depths = torch.where(is_flat, 1.0, UNEVEN)
    table = spread_rows(torch.stack((mean, x, slope, depths), 2), rows).unsqueeze(2).unbind(1)
    mean, x, slope, depths = table
    plane = (mean + slope * (across - x)).clamp(mean / LENGTHS, mean * LENGTHS)
    held = depth.clamp(plane / depths, plane * depths).squeeze(1)
    return torch.where(rows > 0, held, inverse_depth)


def last_velocity(path: Float[Tensor, "batch time 4"], seconds: float) -> Velocity:
    """Return the camera's velocity at the end of its path, in the axes it then has.

    In m/s and rad/s, over the last of frames that are ``seconds`` apart.
    """
    before = path[:, -2] if path.shape[1] > 1 else torch.zeros_like(path[:, 0])
    forward, rightward, turn, pitch = ((path[:, -1] - before) / seconds).unbind(1)
    yaw = (path[:, -1, 2] + before[:, 2]) / 2
    ahead = yaw.cos() * forward + yaw.sin() * rightward
    aside = yaw.cos() * rightward - yaw.sin() * forward
    return torch.stack((ahead, aside, turn, pitch), 1)


def render(scene: Scene) -> Motion:
    """Move the scene and return its motion, with all that is known of it."""
    return motion_of(scene, move_scene(scene))


def motion_of(scene: Scene, moved: MovedScene) -> Motion:
    """Return the motion of a moved scene with what it was made of."""
    path = scene.paths.camera
    return replace(
        moved.motion,
        camera_path=path,
        inverse_depth=moved.inverse_depth,
        source=moved.source,
    )


def _flatten(scene: Scene) -> Scene:
    """Without a ground there are no metres: all is a metre away and moved by the residual alone."""
    paths = scene.paths
    still = replace(
        paths, camera=torch.zeros_like(paths.camera), objects=torch.zeros_like(paths.objects)
    )
    depth = torch.ones_like(scene.inverse_depth)
    return replace(scene, inverse_depth=depth, paths=still, fixed=None)
