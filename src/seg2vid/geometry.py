"""Camera, depth and moved scenes: the only file that knows the pinhole. No weights.

A first frame with an inverse depth at every pixel is a scene. Its camera drives over the ground,
its objects move as rigid bodies, and all else follows: where each pixel goes (forward flow), what
each pixel of a later frame shows (backward flow and source pixel), and what is hidden.

Axes: x right, y down, z forward, in metres, of the first camera. The camera is level: it turns
about the vertical and may pitch. Inverse depth (1/m) is 0 on the sky, so nothing needs an infinity.
Around each pixel the surface is taken for a plane, whose inverse depth is affine in the picture:
planes are moved exactly, and the way back from a later frame is a homography in closed form
(Hartley & Zisserman, Multiple View Geometry, 2nd ed., Sec. 13.1).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.structures import (
    Camera,
    Carrier,
    Flows,
    InverseDepth,
    Labels,
    Mask,
    Motion,
    ScenePaths,
)
from seg2vid.warp import pixel_grid

Rays = Float[Tensor, "batch 3 pixel"]
Planes = Float[Tensor, "batch 3 pixel"]
Indices = Int[Tensor, " query"]
Column = Float[Tensor, " query"]
Flags = Bool[Tensor, "batch pixel"]
PerRow = Float[Tensor, "batch row time"]

NEAREST = 1e-3
"""A point counts as before the camera from this share of its first distance on."""
CLOSEST = 1.5
"""Inverse depth, in 1/m, beyond which nothing is shown: the camera would be inside it."""
FOOTPRINT = 0.6
"""How far around its centre a pixel's surface reaches, in pixels: half a pixel, and what planes of
neighbours may disagree by where the surface is curved."""
STEEPEST = 0.5
"""Share of its inverse depth by which a plane may change over one pixel; beyond is an edge."""
AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
CELLS = (2, 4, 8)
"""Sizes of the cells in which a surface is looked for where the camera has torn it apart."""
WALKS = 3
"""Looks at a candidate surface before a pixel gives it up, each at where the last one led."""


@dataclass(frozen=True)
class RigidMotion(Carrier):
    """How the points of each row move: x' = A x + b with A a turn about the vertical."""

    cosine: PerRow
    sine: PerRow
    rightward: PerRow
    """Of b, in metres."""
    forward: PerRow
    """Of b, in metres."""
    pitch: Float[Tensor, "batch time"]
    """Radians by which the camera then looks up; the same for all rows."""


@dataclass(frozen=True)
class Scene(Carrier):
    """A first frame as a scene, and how it moves."""

    inverse_depth: InverseDepth
    """In 1/m, 0 or more."""
    rows: Labels
    """Number of each pixel's object in ``paths``, 0 for the ground and all that rests on it."""
    surfaces: Labels
    """Ids that no surface crosses: classes and instances."""
    camera: Camera
    paths: ScenePaths
    fixed: Bool[Tensor, "batch height width"] | None = None
    """What goes with the camera: the own car's bonnet."""
    residual: Flows | None = None
    """What pixels of the first frame move besides, in pixels; it should vary slowly."""


@dataclass(frozen=True)
class MovedScene(Carrier):
    """What a moved scene shows at every time; flow and visibility agree by construction."""

    motion: Motion
    inverse_depth: Float[Tensor, "batch time height width"]
    """Of frame t, in 1/m; where nothing of the first frame is seen, of what lies behind."""
    source: Int[Tensor, "batch time height width"]
    """Row-major index of the pixel of the first frame that is shown, -1 where none is."""


def rays_of(camera: Camera, height: int, width: int) -> Rays:
    """Return (x/z, y/z, 1) of every pixel centre, row after row."""
    grid = pixel_grid(height, width, like=camera.centre).flatten(1)
    slopes = (grid - camera.centre.unsqueeze(-1)) / camera.focal_length[:, None, None]
    return torch.cat((slopes, torch.ones_like(slopes[:, :1])), 1)


def project(points: Rays, camera: Camera) -> Float[Tensor, "batch 2 pixel"]:
    """Return the pixel coordinates (x, y) of points before the camera, in any scale."""
    slopes = points[:, :2] / points[:, 2:]
    return slopes * camera.focal_length[:, None, None] + camera.centre.unsqueeze(-1)


def unproject(inverse_depth: InverseDepth, camera: Camera) -> Rays:
    """Return the point in metres of every pixel; the sky (inverse depth 0) is infinitely far."""
    return rays_of(camera, *inverse_depth.shape[1:]) / inverse_depth.flatten(1).unsqueeze(1)


def rigid_motion(paths: ScenePaths) -> RigidMotion:
    """Join camera and objects: row 0 rests on the ground, row i is object i of ``paths``.

    An object turns about its pivot and is carried along; then the camera leaves its place and
    turns.
    """
    forward, rightward, yaw, pitch = paths.camera.unsqueeze(1).unbind(-1)
    along, aside, turn = F.pad(paths.objects, (0, 0, 0, 0, 1, 0)).unbind(-1)
    ahead, beside = (part.unsqueeze(-1) for part in F.pad(paths.pivots, (0, 0, 1, 0)).unbind(-1))
    # The object's own turn carries its pivot to where b takes it back from.
    sine, cosine = turn.sin(), turn.cos()
    x = beside + aside - (cosine * beside + sine * ahead) - rightward
    z = ahead + along - (cosine * ahead - sine * beside) - forward
    # A camera that turns right turns the scene left.
    away, towards = yaw.sin(), yaw.cos()
    total = turn - yaw
    return RigidMotion(
        cosine=total.cos(),
        sine=total.sin(),
        rightward=towards * x - away * z,
        forward=away * x + towards * z,
        pitch=pitch.squeeze(1),
    )


def surface_planes(inverse_depth: InverseDepth, surfaces: Labels, camera: Camera) -> Planes:
    """Return n of every pixel's plane: its inverse depth is n · (x/z, y/z, 1), exact on planes.

    ``surfaces`` holds ids that no plane crosses (classes, instances). Of the two neighbours along
    an axis the one with the smaller step of inverse depth counts, so that no plane spans an edge.
    """
    slopes = []
    for axis in (2, 1):
        step = inverse_depth.diff(dim=axis)
        step = torch.where(surfaces.diff(dim=axis) == 0, step, torch.inf)
        beyond = torch.full_like(step.narrow(axis, 0, 1), torch.inf)
        before, after = torch.cat((beyond, step), axis), torch.cat((step, beyond), axis)
        is_before = before.abs() <= after.abs()
        near, far = torch.where(is_before, before, after), torch.where(is_before, after, before)
        # Where both sides agree the surface goes on there: their mean halves the noise.
        agree = (near * far > 0) & (far.abs() < 1.25 * near.abs())
        slope = torch.where(agree, (near + far.where(agree, 0)) / 2, near)
        is_edge = ~(slope.abs() <= STEEPEST * inverse_depth)
        slopes.append(slope.masked_fill(is_edge, 0).flatten(1))
    slope = torch.stack(slopes, 1) * camera.focal_length[:, None, None]
    rays = rays_of(camera, *inverse_depth.shape[1:])
    constant = inverse_depth.flatten(1) - (slope * rays[:, :2]).sum(1)
    return torch.cat((slope, constant.unsqueeze(1)), 1)


@dataclass(frozen=True)
class _Moment:
    """One moment of a scene: for every pixel of the first frame its place now, and its plane."""

    place: Float[Tensor, "batch 2 pixel"]
    inverse_depth: Float[Tensor, "batch pixel"]
    shown: Bool[Tensor, "batch pixel"]
    table: Float[Tensor, "field batch pixel"]
    """Cosine and sine of a pixel's turn; x and z of the shift that its plane needs on the way back;
    the plane's n; the factor to its inverse depth now; the residual as a change of the ray."""
    axes: Float[Tensor, "batch 3 pixel"]
    """The ray of each pixel of this moment, its pitch undone."""
    pitch: Float[Tensor, " batch"]


def _trace(
    table: Float[Tensor, "field pixel"], rays: Float[Tensor, "3 query"], sources: Indices
) -> tuple[Float[Tensor, "2 query"], Float[Tensor, " query"]]:
    """Follow rays of a moment back through the planes of ``sources``.

    Returns the slopes (x/z, y/z) at which they meet them from the first camera, and their inverse
    depth now: negative where the plane is behind either camera or seen from behind.
    """
    turn, away, shift_x, shift_z, *plane, gain, right, down, ahead = table.index_select(
        1, sources
    ).unbind()
    x, y, z = rays[0] - right, rays[1] - down, rays[2] - ahead
    x, z = turn * x - away * z, away * x + turn * z
    height = plane[0] * x + plane[1] * y + plane[2] * z
    x, z = x - shift_x * height, z - shift_z * height
    inverse_depth = height * gain
    is_before = (z > NEAREST) & (inverse_depth < CLOSEST)
    inverse_depth = torch.where(is_before, inverse_depth, -1.0)
    z = z.clamp(min=NEAREST)
    return torch.stack((x / z, y / z)), inverse_depth


@dataclass(frozen=True)
class _Scene:
    """A first frame with its depth, row after row, and how its parts move."""

    inverse_depth: Float[Tensor, "batch pixel"]
    rows: Int[Tensor, "batch pixel"]
    fixed: Bool[Tensor, "batch pixel"]
    rays: Rays
    planes: Planes
    camera: Camera
    rigid: RigidMotion
    residual: Float[Tensor, "batch time 2 pixel"] | None
    height: int
    width: int

    def at(self, time: int) -> _Moment:
        """Move every pixel and its plane."""
        rigid, rays, fixed = self.rigid, self.rays, self.fixed
        cosine, sine, right, ahead = (
            part[:, :, time].gather(1, self.rows)
            for part in (rigid.cosine, rigid.sine, rigid.rightward, rigid.forward)
        )
        pitch = rigid.pitch[:, time]
        up, level = pitch.sin().unsqueeze(1), pitch.cos().unsqueeze(1)
        # Forward. Scaled by inverse depth: the sky needs no infinity.
        x = cosine * rays[:, 0] + sine + self.inverse_depth * right
        y, z = rays[:, 1], cosine - sine * rays[:, 0] + self.inverse_depth * ahead
        y, z = level * y + up * z, level * z - up * y
        shown, z = (z > NEAREST) & ~fixed, z.clamp(min=NEAREST)
        shown &= self.inverse_depth < CLOSEST * z
        place = project(torch.stack((x, y, z), 1), self.camera)
        aside = torch.zeros_like(place) if self.residual is None else self.residual[:, time]
        # Whatever is beside the camera or behind it is held at some distance from the picture.
        place = (place + aside).clamp(-2.0 * self.width, 3.0 * self.width)
        # Backward. A plane moves by A + b nᵀ: a ray r comes from
        # A⁻¹r - A⁻¹b (n·A⁻¹r) / (1 + n·A⁻¹b), and what we divide by is negative from behind.
        shift_x, shift_z = cosine * right - sine * ahead, sine * right + cosine * ahead
        facing = 1 + self.planes[:, 0] * shift_x + self.planes[:, 2] * shift_z
        share = 1 / facing.clamp(min=NEAREST)
        gain = torch.where((facing > NEAREST) & ~fixed, share, -1.0)
        # With n = (0, 0, 1) that gives what is fixed to the camera a negative inverse depth.
        nowhere = rays.new_tensor([0.0, 0.0, 1.0]).view(1, 3, 1)
        n = torch.where(fixed.unsqueeze(1), nowhere, self.planes).unbind(1)
        aside = aside / self.camera.focal_length[:, None, None]
        besides = (aside[:, 0], level * aside[:, 1], up * aside[:, 1])
        fields = (cosine, sine, shift_x * share, shift_z * share, *n, gain, *besides)
        axes = _undo_pitch(rays[:, :2], pitch)
        return _Moment(place, self.inverse_depth / z, shown, torch.stack(fields), axes, pitch)


def _lay_out(scene: Scene) -> _Scene:
    depth, fixed, residual = scene.inverse_depth, scene.fixed, scene.residual
    height, width = depth.shape[1:]
    if fixed is None:
        fixed = torch.zeros_like(scene.rows, dtype=torch.bool)
    return _Scene(
        inverse_depth=depth.flatten(1),
        rows=scene.rows.flatten(1),
        fixed=fixed.flatten(1),
        rays=rays_of(scene.camera, height, width),
        planes=surface_planes(depth, scene.surfaces, scene.camera),
        camera=scene.camera,
        rigid=rigid_motion(scene.paths),
        residual=None if residual is None else residual.flatten(3),
        height=height,
        width=width,
    )


def scene_flow(scene: Scene) -> Flows:
    """Return the forward flow in pixels alone: where each pixel goes, seen or not.

    A small part of the work of ``move_scene``, and differentiable in the same things.
    """
    whole = _lay_out(scene)
    height, width = whole.height, whole.width
    grid = pixel_grid(height, width, like=whole.rays).flatten(1)
    times = range(scene.paths.camera.shape[1])
    flow = torch.stack([whole.at(time).place - grid for time in times], 1)
    return flow.masked_fill(whole.fixed[:, None, None], 0.0).unflatten(-1, (height, width))


def move_scene(scene: Scene) -> MovedScene:
    """Move a scene and render what its pixels become (z-buffer, surfaces of a pixel's size).

    Flow and inverse depth are differentiable in depth, camera, paths and residual; what is visible
    is not.
    """
    whole, camera = _lay_out(scene), scene.camera
    batch, height, width = scene.inverse_depth.shape
    grid = pixel_grid(height, width, like=whole.rays).flatten(1)
    own = torch.arange(height * width, device=scene.rows.device)
    still, found = whole.fixed, []
    start = (torch.arange(batch, device=scene.rows.device) * height * width).unsqueeze(1)
    for time in range(scene.paths.camera.shape[1]):
        moment = whole.at(time)
        with torch.no_grad():
            pairs = [_find_sources(whole, moment, sample) for sample in range(batch)]
            source, behind = (torch.stack(parts) for parts in zip(*pairs, strict=True))
            seen = _still_seen(whole, moment, source) | still
        known = torch.where(source < 0, behind, source)
        slopes, distance = _trace(
            moment.table.flatten(1),
            moment.axes.transpose(0, 1).flatten(1),
            (known + start).flatten(),
        )
        slopes = slopes.unflatten(1, (batch, -1)).transpose(0, 1)
        came_from = slopes * camera.focal_length[:, None, None] + camera.centre.unsqueeze(-1)
        came_from = came_from.clamp(-2.0 * width, 3.0 * width)
        source = torch.where(still, own, source)
        backward = torch.where(still.unsqueeze(1), 0.0, came_from - grid)
        forward = torch.where(still.unsqueeze(1), 0.0, moment.place - grid)
        distance = distance.view(batch, -1).clamp(min=0)
        distance = torch.where(still, whole.inverse_depth, distance)
        found.append((forward, backward, seen.float(), (source >= 0).float(), distance, source))
    forward, backward, seen, shown, distance, source = (
        torch.stack(parts, 1).unflatten(-1, (height, width)) for parts in zip(*found, strict=True)
    )
    motion = Motion(forward, backward, seen.unsqueeze(2), shown.unsqueeze(2))
    return MovedScene(motion, distance, source)


def _find_sources(scene: _Scene, moment: _Moment, sample: int) -> tuple[Indices, Indices]:
    """Return the nearest surface that each pixel of this moment shows, -1 where none is.

    Also returns, for every pixel, the surface that lies farthest back around it.

    Each pixel of the first frame is put where its centre falls. Surfaces that fell near a pixel,
    also on coarser grids where they have been torn apart, are candidates for it: followed back, the
    pixel must land in the candidate's own footprint, or it tries the surface where it landed.
    Where all candidates are neighbours in the first frame, the first one that fits is enough.
    """
    width = scene.width
    x, y, factors = _candidates(scene, moment, sample)
    view, axes = _View(scene, moment.table[:, sample], sample), moment.axes[sample]
    best, _ = view.visit(axes, x[0], y[0])
    reach = 1.5 * (factors + 1).view(-1, 1)
    apart = ((x[1:] - x[0]).abs() > reach) | ((y[1:] - y[0]).abs() > reach)
    hard = ((best < 0) | apart.any(0)).nonzero().squeeze(1)
    x, y = x.index_select(1, hard), y.index_select(1, hard)
    # Each of these with each candidate of its own, once.
    is_own = (x != x[0]) | (y != y[0])
    is_own[0] = True
    candidate, query = is_own.nonzero().unbind(1)
    column, row, found = x[candidate, query], y[candidate, query], best[hard]
    for _ in range(WALKS):
        fits, landed = view.visit(axes.index_select(1, hard[query]), column, row)
        found = found.scatter_reduce(0, query, fits, "amax")
        lost = (fits < 0).nonzero().squeeze(1)
        column, row, query = landed[0][lost], landed[1][lost], query[lost]
    # What lies farthest back among those that fell around.
    depth = scene.inverse_depth[sample]
    behind = (y[0] * width + x[0]).long()
    for column, row in zip(x[1:], y[1:], strict=True):
        other = (row * width + column).long()
        behind = torch.where(depth[other] < depth[behind], other, behind)
    best = best.index_put((hard,), found)
    own = _close_cracks(torch.where(best < 0, -1, best & 0xFFFFFFFF), view, axes)
    return own, own.index_put((hard,), behind)


def _close_cracks(own: Indices, view: "_View", axes: Float[Tensor, "3 pixel"]) -> Indices:
    """Give a pixel that shows nothing, while nearly all around do, the best of their planes.

    Depth that is a little rough tears a surface as it comes near; what was really hidden is wider.
    """
    height, width = view.scene.height, view.scene.width
    around = F.pad(own.view(height, width), (1, 1, 1, 1), value=-1)
    rows = [around[1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in AROUND]
    sources = torch.stack(rows).flatten(1)
    crack = ((own < 0) & ((sources >= 0).sum(0) >= 6)).nonzero().squeeze(1)
    best, nearest = own[crack], torch.full_like(axes[0, crack], torch.inf)
    for source in sources.index_select(1, crack):
        column, row = (source % width).float(), (source.clamp(min=0) // width).float()
        (x, y), distance = view.land(axes.index_select(1, crack), source.clamp(min=0))
        off = torch.maximum((x - column).abs(), (y - row).abs())
        is_better = (source >= 0) & (distance >= 0) & (off < nearest)
        best, nearest = torch.where(is_better, source, best), torch.where(is_better, off, nearest)
    return own.index_put((crack,), best)


@dataclass(frozen=True)
class _View:
    """The planes of one sample, looked at from a moment."""

    scene: _Scene
    table: Float[Tensor, "field pixel"]
    sample: int

    def land(
        self, axes: Float[Tensor, "3 query"], source: Indices
    ) -> tuple[Float[Tensor, "2 query"], Column]:
        """Return where rays land in the first frame, in pixels, and the inverse depth now."""
        slopes, distance = _trace(self.table, axes, source)
        camera = self.scene.camera
        middle = camera.centre[self.sample].unsqueeze(1)
        return slopes * camera.focal_length[self.sample] + middle, distance

    def visit(
        self, axes: Float[Tensor, "3 query"], column: Column, row: Column
    ) -> tuple[Indices, tuple[Column, Column]]:
        """Follow rays back through the planes at ``column`` and ``row`` of the first frame.

        Returns the plane's key, which is the larger the nearer it is, -1 where the ray misses its
        footprint; and the pixel where it landed.
        """
        scene = self.scene
        source = (row * scene.width + column).long()
        (x, y), distance = self.land(axes, source)
        fits = ((x - column).abs() <= FOOTPRINT) & ((y - row).abs() <= FOOTPRINT) & (distance >= 0)
        landed = (x.round().clamp(0, scene.width - 1), y.round().clamp(0, scene.height - 1))
        return torch.where(fits, _key(distance, source), -1), landed


def _key(inverse_depth: Column, source: Indices) -> Indices:
    """Join depth and source into an integer that orders by depth, the nearest last."""
    # The bits of a number that is not negative order as the number does.
    return (inverse_depth.contiguous().view(torch.int32).long() << 32) | source


def _candidates(
    scene: _Scene, moment: _Moment, sample: int
) -> tuple[
    Float[Tensor, "candidate pixel"], Float[Tensor, "candidate pixel"], Float[Tensor, " others"]
]:
    """Return the surfaces that fell on each pixel, on its four neighbours and on coarser cells.

    They are told by column and row in the first frame, with the size of the cell of all but the
    first. Where nothing fell on a pixel the first is the surface that was there in the first frame,
    and where nothing fell on another cell that is the first one again.
    """
    height, width = scene.height, scene.width
    column, row = moment.place[sample].round()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & moment.shown[sample]
    target = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
    own = torch.arange(height * width, device=column.device)
    key = torch.where(inside, _key(moment.inverse_depth[sample], own), -1)
    buffer = torch.full_like(key, -1).scatter_reduce(0, target, key, "amax").view(height, width)
    padded = F.pad(buffer, (1, 1, 1, 1), value=-1)
    levels = [
        buffer,
        *(padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]),
    ]
    for factor in CELLS:
        cells = F.pad(buffer, (0, -width % factor, 0, -height % factor), value=-1)
        cells = cells.unflatten(1, (-1, factor)).unflatten(0, (-1, factor)).amax((1, 3))
        fine = cells.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
        levels.append(fine[:height, :width])
    keys = torch.stack(levels).flatten(1)
    source = torch.where(keys[:1] < 0, own, keys[:1])
    source = (torch.where(keys < 0, source, keys) & 0xFFFFFFFF).to(torch.int32)
    row_index = source.div(width, rounding_mode="floor")
    factors = torch.tensor([1.0, 1.0, 1.0, 1.0, *map(float, CELLS)], device=keys.device)
    return (source - row_index * width).float(), row_index.float(), factors


def _still_seen(scene: _Scene, moment: _Moment, source: Int[Tensor, "batch pixel"]) -> Flags:
    """Return which pixels of the first frame are still in view and not hidden."""
    height, width, camera = scene.height, scene.width, scene.camera
    batch = len(source)
    x, y = moment.place.unbind(1)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1) & moment.shown
    column, row = x.round().clamp(0, width - 1), y.round().clamp(0, height - 1)
    there = source.gather(1, (row * width + column).long())
    # The ray to each pixel's own place, through the plane of what is shown there.
    slopes = (moment.place - camera.centre.unsqueeze(-1)) / camera.focal_length[:, None, None]
    axes = _undo_pitch(slopes, moment.pitch).transpose(0, 1).flatten(1)
    start = (torch.arange(batch, device=source.device) * height * width).unsqueeze(1)
    landed, distance = _trace(moment.table.flatten(1), axes, (there.clamp(min=0) + start).flatten())
    landed, distance = landed.unflatten(1, (batch, -1)).transpose(0, 1), distance.view(batch, -1)
    off = (landed - scene.rays[:, :2]).abs().amax(1) * camera.focal_length.unsqueeze(1)
    return inside & ((there < 0) | (off <= 1) | (moment.inverse_depth >= distance))


def _undo_pitch(slopes: Float[Tensor, "batch 2 pixel"], pitch: Float[Tensor, " batch"]) -> Rays:
    """Return rays (x/z, y/z, 1) as the camera would see them if it did not look up."""
    up, level = pitch.sin().unsqueeze(1), pitch.cos().unsqueeze(1)
    x, y = slopes.unbind(1)
    return torch.stack((x, level * y - up, up * y + level), 1)


def sweep_camera(
    inverse_depth: InverseDepth,
    still: Mask,
    camera: Camera,
    video: Float[Tensor, "batch every_frame 3 height width"],
    drives: Float[Tensor, "drive 2"],
    seconds: float,
) -> Float[Tensor, "batch drive time"]:
    """Try steady drives, and say how well each explains every frame by the first one.

    ``drives`` are speeds ahead (m/s) and turns to the right (rad/s); frames are ``seconds`` apart.
    Returns the mean difference of colour of the pixels that stay in the picture, in [0, 1]: only
    those count that ``still`` marks with 1. (Plane sweep: Collins, CVPR 1996, over drives.)
    """
    batch, every, _, height, width = video.shape
    time = torch.arange(1, every, device=video.device) * seconds
    speed, turn = drives.unsqueeze(-1).unbind(1)
    yaw = turn * time
    # An arc; sinc and its kin need no case for a turn of 0.
    ahead = speed * time * torch.sinc(yaw / torch.pi)
    aside = speed * time * torch.sin(yaw / 2) * torch.sinc(yaw / (2 * torch.pi))
    sine, cosine = yaw.sin().unsqueeze(-1), yaw.cos().unsqueeze(-1)
    ahead, aside = ahead.unsqueeze(-1), aside.unsqueeze(-1)
    rays, found = rays_of(camera, height, width), []
    for sample in range(batch):
        depth, (x, y, _) = inverse_depth[sample].flatten(), rays[sample]
        right = cosine * x - sine - depth * (cosine * aside - sine * ahead)
        forward = cosine + sine * x - depth * (sine * aside + cosine * ahead)
        before, forward = forward > NEAREST, forward.clamp(min=NEAREST)
        scale = camera.focal_length[sample] / forward
        column = right * scale + camera.centre[sample, 0]
        row = y * scale + camera.centre[sample, 1]
        inside = before & (column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)
        grid = torch.stack((2 * column / (width - 1) - 1, 2 * row / (height - 1) - 1), -1)
        shown = F.grid_sample(
            video[sample, 1:], grid.transpose(0, 1).clamp(-2, 2), align_corners=True
        )
        # A pixel may count for little where it is wrong, as behind an edge.
        own = video[sample, 0].view(1, 3, 1, -1)
        error = (shown - own).abs().mean(1).clamp(max=0.2).transpose(0, 1)
        weight = inside * still[sample].flatten()
        found.append((error * weight).sum(-1) / weight.sum(-1).clamp(min=1))
    return torch.stack(found)
