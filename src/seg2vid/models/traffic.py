"""How a drive keeps to the road and to the pace of what is in it, and leaves a gap to the rest."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.geometry import rates_of, rays_of, way_of
from seg2vid.labels.space import LabelSpace
from seg2vid.models.depth import Depth
from seg2vid.models.layers import MAX_OBJECTS, pool_rows
from seg2vid.structures import Labels, ScenePaths

LANE = 1.6
"""Metres to either side that the camera's car needs."""
GAP = 7.0
"""Metres that are left to a vehicle in front, where there were more."""
NEAR = 2.5
"""Metres within which a vehicle is beside the camera rather than in front of it."""
AHEAD = 10.0
"""Metres ahead of the camera, where it points, that it drives towards: road, if there is any."""
BENDS = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Shares of a turn, of which the largest is taken that keeps to the road."""
CURVES = (0.01, -0.01, 0.02, -0.02)
"""Radians a metre by which a drive turns that keeps to the road with no share of its own turn."""
GAIN = 0.25
"""Share of the way that it has to win by that: what comes into view has to be painted."""
SLACK = 0.05
"""Share of the way that may lead off the road beyond what the best bend does."""
EASE = 0.5
"""Seconds in which a turn that has begun falls to 1 / e."""
PACES = {"person": 2.5, "pedestrian": 2.5, "rider": 8.0, "bicyclist": 8.0, "bicycle": 8.0}
"""Metres a second that things of these classes go at most; names as in ``LabelSpace.ids_named``."""
FASTEST = 60.0
"""The same of all other things."""


CARS = {"car", "truck", "bus", "train"}
"""Classes that are wider than high from all sides."""
RIDERS, CYCLES = {"rider", "bicyclist"}, {"motorcycle", "bicycle"}
"""Classes that sit on others, and these; all of them drive in lanes, as cars do."""
SPACINGS = {"car": 5.0}
"""Metres from one thing of a class to the next, where they stand in a row; others are not cut."""


@dataclass(frozen=True)
class Traffic:
    """Classes of a label space that take part in it."""

    cars: tuple[int, ...]
    riders: tuple[int, ...]
    cycles: tuple[int, ...]
    road: tuple[int, ...]
    paces: tuple[float, ...]
    """Metres a second that things of each class go at most."""
    spacings: tuple[float, ...]
    """Metres from one thing of each class to the next in a row, 0 where rows are not cut."""

    @classmethod
    def of(cls, space: LabelSpace) -> "Traffic":
        """Find the classes by their names."""

        def by_class(values: dict[str, float], otherwise: float) -> tuple[float, ...]:
            known = {i: one for name, one in values.items() for i in space.ids_named({name})}
            return tuple(known.get(i, otherwise) for i in range(space.num_channels))

        return cls(
            cars=space.ids_named(CARS),
            riders=space.ids_named(RIDERS),
            cycles=space.ids_named(CYCLES),
            road=space.ids_named({"road"}),
            paces=by_class(PACES, FASTEST),
            spacings=by_class(SPACINGS, 0.0),
        )

    @property
    def vehicles(self) -> tuple[int, ...]:
        """All that drive in lanes."""
        return tuple(sorted({*self.cars, *self.riders, *self.cycles}))

    def mend(
        self,
        paths: ScenePaths,
        depth: Depth,
        label_map: Labels,
        rows: Labels,
        companions: Int[Tensor, "batch object"],
        own: Bool[Tensor, "batch height width"],
        *,
        step: float,
        has_begun: bool,
    ) -> ScenePaths:
        """Return the paths on which nothing goes faster than it can, off the road or into others.

        ``label_map`` is void where the ``own`` car is; ``companions`` are as in ``SceneFeatures``.
        Steps are ``step`` seconds apart; a drive that ``has_begun`` is one of a scene that goes on.
        """
        is_vehicle = torch.isin(label_map, label_map.new_tensor(self.vehicles))
        paces = depth.inverse_depth.new_tensor(self.paces)[label_map]
        kinds = torch.stack((is_vehicle.float(), paces), 1)
        share, pace = pool_rows(kinds, rows, MAX_OBJECTS + 1)[:, 1:].unbind(-1)
        paths = keep_pace(paths, pace.gather(1, companions), step)
        is_road = torch.isin(label_map, label_map.new_tensor(self.road))
        given = paths, depth, is_road, own | (rows > 0), step
        paths = keep_to_road(*given, has_begun=has_begun)
        paths, drives = keep_apart(paths, share > 0.5)
        rest = F.pad(~drives, (1, 0)).gather(1, rows.flatten(1)).view_as(rows)
        return slow_down(paths, clear_way(depth, is_vehicle & rest, paths.camera))


def keep_pace(paths: ScenePaths, paces: Float[Tensor, "batch object"], step: float) -> ScenePaths:
    """Let objects go their ways no faster than ``paces`` in m/s; steps are ``step`` seconds apart.

    From afar a person looks much like a vehicle, and would come up like one.
    """
    ways = paths.objects
    speed = ways[..., :2].diff(dim=-2).norm(dim=-1).amax(-1) / step
    share = (paces / speed.clamp(min=1e-6)).clamp(max=1)[..., None, None]
    return replace(paths, objects=torch.cat((share * ways[..., :2], ways[..., 2:]), -1))


def keep_apart(
    paths: ScenePaths, is_vehicle: Bool[Tensor, "batch object"]
) -> tuple[ScenePaths, Bool[Tensor, "batch object"]]:
    """Let vehicles that the camera would run into drive ahead of it, as they do in traffic.

    Also returns which do. A vehicle that would drive through another, or through the camera, stands
    instead. What is ahead in the camera's own lane drives its way and stays in it; a vehicle in the
    camera's way gets that share of the camera's own way which leaves a gap at the last time.
    """
    camera, objects = paths.camera.unsqueeze(1), paths.objects
    ahead, beside = paths.pivots.unbind(-1)
    goes = objects[..., -1, :2].norm(dim=-1)
    places = paths.pivots.unsqueeze(2) + objects[..., :2]
    others = torch.cat((places, camera[..., :2]), 1)
    # Of each vehicle, against each of them: the one that goes farther gives way, but to the camera.
    meets = _passes_through(places, others) & is_vehicle.unsqueeze(2)
    meets[..., :-1] &= is_vehicle.unsqueeze(1) & (goes.unsqueeze(2) > goes.unsqueeze(1))
    meets[..., -1] &= (objects[..., -1, 0] < 0) & (ahead > NEAR)
    objects = torch.where(meets.any(2)[..., None, None], 0.0, objects)
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
    return replace(paths, objects=torch.cat((moved, objects[..., 2:]), -1)), is_in_way


def _passes_through(
    places: Float[Tensor, "batch object step 2"], others: Float[Tensor, "batch other step 2"]
) -> Bool[Tensor, "batch object other"]:
    """Return which are once before and once behind which others, and not beside them then."""
    apart = places.unsqueeze(2) - others.unsqueeze(1)
    ahead, beside = apart.unbind(-1)
    has_passed = ahead * ahead[..., :1] < 0
    return (has_passed & (beside.abs() < LANE)).any(-1)


def keep_to_road(
    paths: ScenePaths,
    depth: Depth,
    is_road: Bool[Tensor, "batch height width"],
    hides_road: Bool[Tensor, "batch height width"],
    step: float,
    *,
    has_begun: bool,
) -> ScenePaths:
    """Let the camera turn as the road in the picture does, where its own way leads off it.

    Where something ``hides_road`` there may be some: no other way is taken for that. Steps are
    ``step`` seconds apart. A turn that ``has_begun``, as in a scene that goes on, eases.
    """
    (height, width), rays = is_road.shape[1:], rays_of(depth.camera, *is_road.shape[1:])
    down = rays[:, 1] / depth.inverse_depth.flatten(1).clamp(min=1e-3)
    elevation = torch.where(is_road.flatten(1), down, torch.nan).nanmedian(1).values
    rates = rates_of(paths.camera, 1.0)
    time = torch.arange(rates.shape[1], device=rates.device) * step
    kept = torch.exp(-time / EASE) if has_begun else torch.zeros_like(time)
    # Of its own turn less and less; then, in place of that, ever sharper ones of the road.
    shares, curves = rates.new_zeros(2, len(BENDS) + len(CURVES), 1, 1, 1)
    shares[: len(BENDS)].flatten().copy_(rates.new_tensor(BENDS))
    curves[len(BENDS) :].flatten().copy_(rates.new_tensor(CURVES))
    bent = rates.expand(len(shares), -1, -1, -1).clone()
    bent[..., 1:3] *= torch.lerp(shares, torch.ones_like(shares), kept.unsqueeze(1))
    bent[..., 2:3] += curves * (1 - kept).unsqueeze(1) * rates[..., :1]
    ways = way_of(bent, 1.0)
    # Where it points to from each place of its way.
    forward, rightward, turn, _ = ways.unbind(-1)
    ahead = (forward + AHEAD * turn.cos()).clamp(min=1.0)
    focal, centre = depth.camera.focal_length, depth.camera.centre
    column = focal[:, None] * (rightward + AHEAD * turn.sin()) / ahead + centre[:, :1]
    row = focal[:, None] * elevation[:, None] / ahead + centre[:, 1:]
    inside = (column >= 0) & (column <= width - 1)
    row, column = (one.nan_to_num(0.0).round().long() for one in (row, column))
    pixel = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    score, most = (
        (part.flatten(1).expand(len(ways), -1, -1).gather(2, pixel) & inside).float().mean(2)
        for part in (is_road, is_road | hides_road)
    )
    own, other = (
        (part >= part.amax(0) - SLACK).long().argmax(0, keepdim=True)
        for part in (score[: len(BENDS)], score[len(BENDS) :])
    )
    other += len(BENDS)
    is_off = score.gather(0, other) > most.gather(0, own) + GAIN
    best = torch.where(is_off, other, own)[0]
    camera = ways[best, torch.arange(len(is_road), device=best.device)]
    return replace(paths, camera=camera)


def clear_way(
    depth: Depth, stands: Bool[Tensor, "batch height width"], camera: Float[Tensor, "batch step 4"]
) -> Float[Tensor, " batch"]:
    """Return how many metres the camera may drive until it keeps a gap to what ``stands``.

    That is what lies in its way, which bends as the path does; infinity where nothing does.
    """
    height, width = stands.shape[1:]
    ahead = 1 / depth.inverse_depth.flatten(1).clamp(min=1e-3)
    beside = rays_of(depth.camera, height, width)[:, 0] * ahead
    driven, aside = camera[:, -1, :1].clamp(min=0.1), camera[:, -1, 1:2]
    bend = aside * (ahead / driven).square().clamp(max=4)
    in_way = stands.flatten(1) & (ahead > NEAR) & ((beside - bend).abs() < LANE / 2)
    # A few stray pixels are no vehicle.
    count = max(1, height * width // 2048)
    near = torch.where(in_way, ahead, torch.inf).kthvalue(count, 1).values
    return near - (0.6 * near).clamp(max=GAP)


def slow_down(paths: ScenePaths, clear: Float[Tensor, " batch"]) -> ScenePaths:
    """Let the camera drive along its path ever more slowly, and ``clear`` metres ahead at most.

    It begins at the speed that it had.
    """
    gone = paths.camera[..., 0].clamp(min=0).cummax(1).values
    clear = clear.unsqueeze(1).clamp(min=0.1)
    allowed = torch.where(gone[:, -1:] > clear / 2, clear * (gone / clear).tanh(), gone)
    after = torch.searchsorted(gone, allowed.contiguous()).clamp(1, gone.shape[1] - 1)
    before, there = gone.gather(1, after - 1), gone.gather(1, after)
    share = ((allowed - before) / (there - before).clamp(min=1e-6)).clamp(0, 1).unsqueeze(-1)
    wide = after.unsqueeze(-1).expand_as(paths.camera)
    camera = torch.lerp(paths.camera.gather(1, wide - 1), paths.camera.gather(1, wide), share)
    slowed = (allowed < gone).any(1)[:, None, None]
    return replace(paths, camera=torch.where(slowed, camera, paths.camera))
