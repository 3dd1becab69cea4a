"""A key frame as a scene that drives: where its camera and objects are at any moment."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from seg2vid.geometry import (
    MovedScene,
    Scene,
    dilate,
    enlarge_scene,
    move_scene,
    rates_of,
    way_of,
)
from seg2vid.models.depth import own_car
from seg2vid.models.layers import enlarge_labels, surface_ids
from seg2vid.structures import Carrier, Labels, Motion, ScenePaths

Times = Shaped[Tensor, " time"]
Velocity = Float[Tensor, "batch 4"]
Ways = Float[Tensor, "batch object step 3"]
FINENESS = 4
"""Steps of integration in a frame: turning and driving are one movement."""


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
    ground: tuple[int, ...] = ()
    """Classes that all stands on."""
    cars: tuple[int, ...] = ()
    """Classes that are wider than high from all sides."""
    skies: tuple[int, ...] = ()
    """Classes that are endlessly far."""
    frozen: tuple[int, ...] = ()
    """Classes that stay where they are in the picture."""
    companions: Int[Tensor, "batch object"] | None = None
    """What each object goes with: see ``SceneFeatures``; None for none."""

    @property
    def step(self) -> float:
        """Seconds of a step of integration."""
        return self.seconds / (self.num_frames * FINENESS)

    def hold(self, label_map: Labels) -> "Drive":
        """Return the drive in which what is frozen, and the own car, goes with the camera."""
        fixed = torch.isin(label_map, label_map.new_tensor(self.frozen, dtype=torch.long))
        if self.has_ground:
            fixed |= own_car(label_map, self.void_id, self.foreground)
        return replace(self, scene=replace(self.scene, fixed=fixed))

    def keep_together(self, ways: Ways, moved: Collection[int]) -> Ways:
        """Let what goes with an object whose way was changed change along, of one sample.

        ``moved`` are the numbers of those, which keep their own ways: a rider takes the bicycle
        along, and a bicycle the rider.
        """
        kept = ways.clone()
        pairs = () if self.companions is None else enumerate(self.companions[0].tolist())
        for own, other in pairs:
            if (own + 1 in moved) == (other + 1 in moved):
                continue
            follows, leads = (other, own) if own + 1 in moved else (own, other)
            kept[:, follows] = ways[:, leads]
        return kept

    def enlarged(self, label_map: Labels) -> "Drive":
        """Return the drive of the same scene on the finer grid of ``label_map``."""
        factor = label_map.shape[2] // self.scene.rows.shape[2]
        rows = self.scene.rows
        # An object's pixels, and where its outline has moved those beside.
        rows = torch.where(rows > 0, rows, dilate(rows, 1, 1))
        is_foreground = torch.isin(label_map, label_map.new_tensor(self.foreground))
        rows = torch.where(is_foreground, enlarge_labels(rows, factor), 0)
        scene = enlarge_scene(self.scene, rows, surface_ids(label_map, rows))
        return replace(self, scene=scene).hold(label_map)

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
    """Join paths of one scene: until a step as the first say, from there on at the others' pace."""
    rates, moves = rates_of(after.camera, 1.0), after.objects.diff(dim=-2)
    return append_ways(before, rates[..., step:, :], moves[..., step:, :], step)


def append_ways(
    before: ScenePaths,
    rates: Float[Tensor, "batch later 4"],
    moves: Float[Tensor, "batch object later 3"],
    step: int,
) -> ScenePaths:
    """Join paths up to a step and what the camera and objects do from there on, step by step.

    The camera drives on where it points by then; ``moves`` are in the axes of the paths.
    """
    kept = rates_of(before.camera, 1.0)[..., :step, :], before.objects.diff(dim=-2)[..., :step, :]
    camera, objects = (
        torch.cat((first, last), -2) for first, last in zip(kept, (rates, moves), strict=True)
    )
    objects = F.pad(objects.cumsum(-2), (0, 0, 1, 0))
    return replace(before, camera=way_of(camera, 1.0), objects=objects)


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
        moved.motion, camera_path=path, inverse_depth=moved.inverse_depth, source=moved.source
    )
