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
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from seg2vid.structures import (
    Camera,
    Carrier,
    Flows,
    InverseDepth,
    Labels,
    Masks,
    Motion,
    ScenePaths,
)
from seg2vid.warp import pixel_grid

Rays = Float[Tensor, "batch 3 pixel"]
Planes = Float[Tensor, "batch 3 pixel"]
Indices = Int[Tensor, " query"]
Column = Float[Tensor, " query"]
Cells = list[Int[Tensor, "time _ _"]]
Landed = tuple[Float[Tensor, "2 query"], Column]
"""Where rays met planes in the first frame, in pixels, and the planes' inverse depth now."""
PerRow = Float[Tensor, "batch row time"]
Rates = Float[Tensor, "*rest step unit"]

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
CELLS = 3
"""Times that cells double in which a surface is looked for that the camera has torn apart."""
BEHIND_CELLS = 6
"""The same, where what lies behind a hole is looked for."""
EDGE = 3
"""Pixels from an edge within which a surface counts as standing before what is beyond it."""
NEARER = 1.15
"""How many times nearer than that it is at least."""
REACH = 2.5
"""Pixels of the first frame by which neighbours may differ and still be one surface."""
MOST_PIXELS = 2**19
"""Pixels of several times that are rendered together: more would only take memory."""
LOW_WORD = 0xFFFFFFFF
DIRECTION = 0.004
"""Radians by which the direction of a point is usually wrong: a pixel."""
OBJECT_WAY = (5.0, 5.0, 0.1)
"""Metres ahead and aside, and radians, that an object usually goes."""
SEEN = 4
"""Pixels of an object that have to be seen to say how it moved."""
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
    detail: int = 1
    """How many times finer this grid is than that on which depth was seen: so wide are cracks."""


@dataclass(frozen=True)
class MovedScene(Carrier):
    """What a moved scene shows at every time; flow and visibility agree by construction."""

    motion: Motion
    inverse_depth: Float[Tensor, "batch time height width"]
    """Of frame t, in 1/m; where nothing of the first frame is seen, of what lies behind."""
    source: Int[Tensor, "batch time height width"]
    """Row-major index of the pixel of the first frame that is shown, -1 where none is."""
    behind: Int[Tensor, "batch time height width"]
    """The same, but where nothing is seen, of the surface that lies behind."""


@dataclass(frozen=True)
class Points(Carrier):
    """Points of a scene that no pixel of its first frame shows."""

    place: Float[Tensor, "4 point"]
    """(x, y, z, inverse depth) in any scale, in the axes of the first camera: see ``Scene``."""
    rows: Int[Tensor, " point"]
    """What each goes with, as in ``Scene``."""


def rays_of(camera: Camera, height: int, width: int) -> Rays:
    """Return (x/z, y/z, 1) of every pixel centre, row after row."""
    grid = pixel_grid(height, width, like=camera.centre).flatten(1)
    slopes = (grid - camera.centre.unsqueeze(-1)) / camera.focal_length[:, None, None]
    return torch.cat((slopes, torch.ones_like(slopes[:, :1])), 1)


def project(points: Rays, camera: Camera) -> Float[Tensor, "batch 2 pixel"]:
    """Return the pixel coordinates (x, y) of points before the camera, in any scale."""
    slopes = points[:, :2] / points[:, 2:]
    return slopes * camera.focal_length[:, None, None] + camera.centre.unsqueeze(-1)


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


def way_of(rates: Rates, seconds: float) -> Float[Tensor, "*rest moment unit"]:
    """Return the way of a (forward, rightward, turn, ...) at each step of so many seconds.

    It begins with none. The first two drive where the third, a turn to the right, points by then.
    """
    forward, rightward, turn = rates[..., :3].unbind(-1)
    turned = (turn.cumsum(-1) - turn / 2) * seconds
    sine, cosine = turned.sin(), turned.cos()
    ahead = cosine * forward - sine * rightward
    aside = sine * forward + cosine * rightward
    rates = torch.cat((torch.stack((ahead, aside), -1), rates[..., 2:]), -1)
    return F.pad(rates.cumsum(-2) * seconds, (0, 0, 1, 0))


def rates_of(way: Float[Tensor, "*rest moment unit"], seconds: float) -> Rates:
    """Return the rates of a way: the inverse of ``way_of``."""
    rates, turned = way.diff(dim=-2) / seconds, (way[..., 1:, 2] + way[..., :-1, 2]) / 2
    sine, cosine = turned.sin(), turned.cos()
    ahead, aside = rates[..., :2].unbind(-1)
    own = torch.stack((cosine * ahead + sine * aside, cosine * aside - sine * ahead), -1)
    return torch.cat((own, rates[..., 2:]), -1)


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


def enlarge_scene(scene: Scene, rows: Labels, surfaces: Labels) -> Scene:
    """Return a scene on a grid that is finer by a whole factor, with edges where that has them.

    ``rows`` and ``surfaces`` are those of the finer grid, what is fixed has to be said anew. Depth
    is interpolated (cubic B-spline) between pixels of the same surface.
    """
    height, width = rows.shape[1:]
    coarse, factor = scene.inverse_depth, width // scene.rows.shape[2]
    spline = []
    for size in (height, width):
        place = (torch.arange(size, device=rows.device) + 0.5) / factor - 0.5
        base = place.floor()
        t = (place - base).unsqueeze(1)
        weight = torch.cat(
            ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (t + 1) * t * (1 - t) + 1, t**3), 1
        )
        index = base.long().unsqueeze(1) + torch.arange(-1, 3, device=rows.device)
        spline.append((index.clamp(0, size // factor - 1), weight / 6))
    (down, tall), (right, wide) = spline
    total = torch.zeros_like(rows, dtype=coarse.dtype)
    share = torch.zeros_like(total)
    for i in range(4):
        for j in range(4):
            row, column = down[:, i, None], right[None, :, j]
            weight = tall[:, i, None] * wide[None, :, j]
            # What has no pixel of its own surface around is read across the edge.
            weight = weight * torch.where(scene.surfaces[:, row, column] == surfaces, 1.0, 1e-4)
            total, share = total + weight * coarse[:, row, column], share + weight
    centre = (scene.camera.centre + 0.5) * factor - 0.5
    residual = scene.residual
    if residual is not None:
        fine = F.interpolate(
            residual.flatten(0, 1), (height, width), mode="bilinear", align_corners=False
        )
        residual = factor * fine.unflatten(0, residual.shape[:2])
    return Scene(
        total / share,
        rows,
        surfaces,
        Camera(scene.camera.focal_length * factor, centre),
        scene.paths,
        None,
        residual,
        factor * scene.detail,
    )


@dataclass(frozen=True)
class _Moments:
    """Some moments of one sample: for every pixel of the first frame its places, and its plane.

    Moment after moment, each with all pixels row after row: "query" counts these.
    """

    place: Float[Tensor, "2 query"]
    inverse_depth: Float[Tensor, " query"]
    shown: Bool[Tensor, " query"]
    table: Float[Tensor, "field query"]
    """Cosine and sine of a pixel's turn; x and z of the shift that its plane needs on the way back;
    the plane's n, turned; the factor to its inverse depth now; the residual as a change of the ray.
    """
    rays: Float[Tensor, "3 query"]
    """Of each pixel of a moment, its pitch undone."""
    pitch: Float[Tensor, " time"]
    grid: Float[Tensor, "2 pixel"]
    """Column and row of each pixel of the first frame."""
    height: int
    width: int
    focal_length: Float[Tensor, ""]
    centre: Float[Tensor, "2 1"]

    @property
    def start(self) -> Indices:
        """First query of each query's own moment."""
        pixels = self.height * self.width
        times = torch.arange(len(self.pitch), device=self.grid.device)
        return (times * pixels).repeat_interleave(pixels)

    def land(self, rays: Float[Tensor, "3 query"], planes: Indices) -> "Landed":
        """Follow rays back through planes, which are numbered as queries are.

        Returns where they meet them in the first frame, in pixels, and their inverse depth now:
        negative where the plane is behind either camera or seen from behind.
        """
        turn, away, shift_x, shift_z, *plane, gain, right, down, ahead = self.table.index_select(
            1, planes
        ).unbind()
        x, y, z = rays[0] - right, rays[1] - down, rays[2] - ahead
        height = plane[0] * x + plane[1] * y + plane[2] * z
        x, z = turn * x - away * z - shift_x * height, away * x + turn * z - shift_z * height
        inverse_depth = height * gain
        is_before = (z > NEAREST) & (inverse_depth < CLOSEST)
        scale = self.focal_length / z.clamp(min=NEAREST)
        landed = torch.stack((x * scale, y * scale)) + self.centre
        return landed, torch.where(is_before, inverse_depth, -1.0)

    def visit(self, query: Indices, start: Indices, source: Indices) -> tuple[Indices, Indices]:
        """Follow the rays of ``query`` back through the planes of pixels of the first frame.

        Returns the plane's key, which is the larger the nearer it is, -1 where the ray misses its
        footprint; and the pixel where it landed.
        """
        return self.judge(self.land(self.rays.index_select(1, query), start + source), source)

    def judge(self, landed: "Landed", source: Indices) -> tuple[Indices, Indices]:
        """Return the same of rays that landed already."""
        (place, distance), own = landed, self.grid.index_select(1, source)
        fits = ((place - own).abs_().amax(0) <= FOOTPRINT) & (distance >= 0)
        x, y = place.round()
        next_one = y.clamp_(0, self.height - 1) * self.width + x.clamp_(0, self.width - 1)
        return torch.where(fits, _key(distance, source), -1), next_one.long()


@dataclass(frozen=True)
class _Scene:
    """A first frame with its depth, row after row, and how its parts move."""

    inverse_depth: Float[Tensor, "batch pixel"]
    rows: Int[Tensor, "batch pixel"]
    fixed: Bool[Tensor, "batch pixel"]
    rays: Rays
    camera: Camera
    rigid: RigidMotion
    residual: Float[Tensor, "batch time 2 pixel"] | None

    def motion(self, sample: int, times: slice) -> tuple[Float[Tensor, "time pixel"], ...]:
        """Return cosine, sine, and the shift to the right and ahead of every pixel."""
        rigid, rows = self.rigid, self.rows[sample]
        parts = (rigid.cosine, rigid.sine, rigid.rightward, rigid.forward)
        return tuple(part[sample, :, times].t().index_select(1, rows) for part in parts)

    def move(
        self, sample: int, times: slice, motion: tuple[Float[Tensor, "time pixel"], ...]
    ) -> tuple[
        Float[Tensor, "time 2 pixel"], Float[Tensor, "time pixel"], Bool[Tensor, "time pixel"]
    ]:
        """Return each pixel's places, inverse depth there, and whether it is before the camera."""
        cosine, sine, right, ahead = motion
        depth, (x, y, _) = self.inverse_depth[sample], self.rays[sample]
        pitch = self.rigid.pitch[sample, times].unsqueeze(1)
        up, level = pitch.sin(), pitch.cos()
        # Scaled by inverse depth: the sky needs no infinity.
        column, row = cosine * x + sine + depth * right, y
        z = cosine - sine * x + depth * ahead
        row, z = level * row + up * z, level * z - up * row
        shown, z = (z > NEAREST) & ~self.fixed[sample], z.clamp(min=NEAREST)
        shown &= depth < CLOSEST * z
        scale = self.camera.focal_length[sample] / z
        place = torch.stack((column * scale, row * scale), 1)
        place = place + self.camera.centre[sample].unsqueeze(1)
        if self.residual is not None:
            place = place + self.residual[sample, times]
        return place, depth / z, shown

    def moments(self, sample: int, times: slice, planes: Planes, size: tuple[int, int]) -> _Moments:
        """Move every pixel and its plane.

        A plane moves by A + b nᵀ: a ray r comes from A⁻¹r - A⁻¹b (n·A⁻¹r) / (1 + n·A⁻¹b), and what
        we divide by is negative from behind.
        """
        cosine, sine, right, ahead = motion = self.motion(sample, times)
        place, inverse_depth, shown = self.move(sample, times, motion)
        camera, fixed, n = self.camera, self.fixed[sample], planes[sample]
        pitch = self.rigid.pitch[sample, times]
        up, level = pitch.sin().unsqueeze(1), pitch.cos().unsqueeze(1)
        shift_x, shift_z = cosine * right - sine * ahead, sine * right + cosine * ahead
        facing = 1 + n[0] * shift_x + n[2] * shift_z
        share = 1 / facing.clamp(min=NEAREST)
        gain = torch.where((facing > NEAREST) & ~fixed, share, -1.0)
        # With n = (0, 0, 1) that gives what is fixed to the camera a negative inverse depth.
        nowhere = n.new_tensor([0.0, 0.0, 1.0]).unsqueeze(1)
        n = torch.where(fixed, nowhere, n)
        turned = (
            n[0] * cosine + n[2] * sine,
            n[1].expand_as(cosine),
            n[2] * cosine - n[0] * sine,
        )
        aside = torch.zeros_like(place)
        if self.residual is not None:
            aside = self.residual[sample, times] / camera.focal_length[sample]
        besides = (aside[:, 0], level * aside[:, 1], up * aside[:, 1])
        fields = (cosine, sine, shift_x * share, shift_z * share, *turned, gain, *besides)
        x, y, _ = self.rays[sample]
        rays = (x.expand_as(cosine), level * y - up, up * y + level)
        return _Moments(
            place=place.transpose(0, 1).flatten(1),
            inverse_depth=inverse_depth.flatten(),
            shown=shown.flatten(),
            table=torch.stack(fields).flatten(1),
            rays=torch.stack(rays).flatten(1),
            pitch=pitch,
            grid=pixel_grid(*size, like=x).flatten(1),
            height=size[0],
            width=size[1],
            focal_length=camera.focal_length[sample],
            centre=camera.centre[sample].unsqueeze(1),
        )


def _lay_out(scene: Scene) -> _Scene:
    depth, fixed, residual = scene.inverse_depth, scene.fixed, scene.residual
    if fixed is None:
        fixed = torch.zeros_like(scene.rows, dtype=torch.bool)
    return _Scene(
        inverse_depth=depth.flatten(1),
        rows=scene.rows.flatten(1),
        fixed=fixed.flatten(1),
        rays=rays_of(scene.camera, *depth.shape[1:]),
        camera=scene.camera,
        rigid=rigid_motion(scene.paths),
        residual=None if residual is None else residual.flatten(3),
    )


def _hold(place: Float[Tensor, "*rest 2 pixel"], width: int) -> Float[Tensor, "*rest 2 pixel"]:
    """Keep whatever is beside the camera or behind it at some distance from the picture."""
    return place.clamp(-2.0 * width, 3.0 * width)


def scene_flow(scene: Scene) -> Flows:
    """Return the forward flow in pixels alone: where each pixel goes, seen or not.

    A small part of the work of ``move_scene``, and differentiable in the same things.
    """
    whole = _lay_out(scene)
    batch, height, width = scene.inverse_depth.shape
    grid = pixel_grid(height, width, like=whole.rays).flatten(1)
    every = slice(None)
    moved = [whole.move(sample, every, whole.motion(sample, every)) for sample in range(batch)]
    places = torch.stack([place for place, _, _ in moved])
    flow = (_hold(places, width) - grid).masked_fill(whole.fixed[:, None, None], 0.0)
    return flow.unflatten(-1, (height, width))


def move_scene(scene: Scene) -> MovedScene:
    """Move a scene and render what its pixels become (z-buffer, surfaces of a pixel's size).

    Flow and inverse depth are differentiable in depth, camera, paths and residual; what is visible
    is not.
    """
    whole = _lay_out(scene)
    batch, height, width = scene.inverse_depth.shape
    planes = surface_planes(scene.inverse_depth, scene.surfaces, scene.camera)
    count, together = scene.paths.camera.shape[1], max(1, MOST_PIXELS // (height * width))
    is_before = _stands_before(scene).flatten(1)
    samples = []
    for sample in range(batch):
        parts = []
        for first in range(0, count, together):
            times = slice(first, min(first + together, count))
            moments = whole.moments(sample, times, planes, (height, width))
            flat = (whole.inverse_depth[sample], whole.fixed[sample], is_before[sample])
            parts.append(_render(moments, *flat, scene.detail))
        samples.append([torch.cat(part) for part in zip(*parts, strict=True)])
    forward, backward, seen, shown, distance, source, behind = (
        torch.stack(part).unflatten(-1, (height, width)) for part in zip(*samples, strict=True)
    )
    motion = Motion(forward, backward, seen.unsqueeze(2), shown.unsqueeze(2))
    return MovedScene(motion, distance, source, behind)


@torch.no_grad()
def _stands_before(scene: Scene) -> Bool[Tensor, "batch height width"]:
    """Return what something else lies behind: objects, and the near side of an upright edge."""
    reach = EDGE * scene.detail
    farthest = -F.max_pool2d(-scene.inverse_depth, (1, 2 * reach + 1), 1, (0, reach))
    return (scene.rows > 0) | (scene.inverse_depth > NEARER * farthest)


def lift_points(scene: Scene, moved: MovedScene, time: int, pixels: Indices) -> Points:
    """Return pixels of a moved scene's frame as points: what is painted where nothing was seen.

    They lie on the surfaces behind. Of the batch, which is one sample, the given time counts.
    """
    height, width = scene.inverse_depth.shape[1:]
    rows = scene.rows.flatten()[moved.behind[0, time].flatten()[pixels]]
    depth = moved.inverse_depth[0, time].flatten()[pixels]
    x, y, z = rays_of(scene.camera, height, width)[0].index_select(1, pixels)
    cosine, sine, right, ahead, pitch = _rigid(scene, rows, time)
    y, z = pitch.cos() * y - pitch.sin() * z, pitch.sin() * y + pitch.cos() * z
    x, z = x - right * depth, z - ahead * depth
    return Points(torch.stack((cosine * x - sine * z, y, sine * x + cosine * z, depth)), rows)


def move_points(
    scene: Scene, points: Points, time: int
) -> tuple[Int[Tensor, "height width"], Float[Tensor, "2 height width"]]:
    """Return the nearest point at or beside each pixel of a time, -1 where none is, and how far the
    pixel lies from its place, in pixels of the frame that the point was lifted from.
    """
    height, width = scene.inverse_depth.shape[1:]
    x, y, z, depth = points.place
    cosine, sine, right, ahead, pitch = _rigid(scene, points.rows, time)
    x, z = cosine * x + sine * z + right * depth, cosine * z - sine * x + ahead * depth
    y, z = pitch.cos() * y + pitch.sin() * z, pitch.cos() * z - pitch.sin() * y
    is_before, z = z > NEAREST, z.clamp(min=NEAREST)
    place = project(torch.stack((x, y, z))[None], scene.camera)[0]
    column, row = place.round()
    is_before &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
    before = is_before.nonzero().squeeze(1)
    target = (row[before] * width + column[before]).long()
    buffer = torch.full((height * width,), -1, device=before.device)
    buffer = buffer.scatter_reduce(0, target, _key((depth / z)[before], before), "amax")
    buffer = buffer.view(height, width)
    # Where surfaces come nearer their points go apart: a pixel may show one beside it.
    padded = F.pad(buffer, (1, 1, 1, 1), value=-1)
    near = torch.stack([padded[1 + r :, 1 + c :][:height, :width] for r, c in AROUND]).amax(0)
    found = torch.where(buffer < 0, near, buffer)
    found = torch.where(found < 0, found, found & LOW_WORD)
    here = found.clamp(min=0)
    # From a point at distance 1 to one at z the picture has grown by 1 / z.
    offset = (pixel_grid(height, width, like=place) - place[:, here]) * z[here]
    return found, offset


def _rigid(scene: Scene, rows: Indices, time: int) -> tuple[Tensor, ...]:
    """Return cosine, sine and shift of each row at a time of the first sample, and the pitch."""
    rigid = rigid_motion(scene.paths)
    parts = (rigid.cosine, rigid.sine, rigid.rightward, rigid.forward)
    return *(part[0, rows, time] for part in parts), rigid.pitch[0, time]


def _render(
    moments: _Moments,
    depth: Float[Tensor, " pixel"],
    fixed: Bool[Tensor, " pixel"],
    is_before: Bool[Tensor, " pixel"],
    detail: int,
) -> tuple[Tensor, ...]:
    """Return both flows, both visibilities, inverse depth and source of each moment."""
    grid, width, pixels = moments.grid, moments.width, moments.grid.shape[1]
    start = moments.start
    with torch.no_grad():
        source, behind, first, began = _find_sources(moments, start, depth, is_before, detail)
        seen = _still_seen(moments, start, source).view(-1, pixels) | fixed
    if torch.is_grad_enabled():
        landed, distance = moments.land(moments.rays, start + behind)
    else:
        # Most rays end where they first landed.
        other = (behind != first).nonzero().squeeze(1)
        rays = moments.rays.index_select(1, other)
        landed, distance = began
        landed[:, other], distance[other] = moments.land(rays, start[other] + behind[other])
    own = torch.arange(pixels, device=grid.device)
    source = torch.where(fixed, own, source.view(-1, pixels))
    backward = _hold(landed, width).view(2, -1, pixels).transpose(0, 1) - grid
    forward = _hold(moments.place, width).view(2, -1, pixels).transpose(0, 1) - grid
    distance = torch.where(fixed, depth, distance.view(-1, pixels).clamp(min=0))
    still = fixed.expand_as(forward)
    return (
        forward.masked_fill(still, 0.0),
        backward.masked_fill(still, 0.0),
        seen.float(),
        (source >= 0).float(),
        distance,
        source,
        torch.where(fixed, own, behind.view(-1, pixels)),
    )


def _find_sources(
    moments: _Moments,
    start: Indices,
    depth: Float[Tensor, " pixel"],
    is_before: Bool[Tensor, " pixel"],
    detail: int,
) -> tuple[Indices, Indices, Indices, Landed]:
    """Return the nearest surface that each pixel of a moment shows, -1 where none is.

    Also returns, for every pixel that shows nothing, the surface that lies behind; and the surface
    that each began with and where its ray landed there.

    Each pixel of the first frame is put where its centre falls. From what fell on a pixel, or else
    around it, its ray walks to the surface in whose footprint it lands. Where surfaces that fell
    nearby are no neighbours in the first frame, or the walk is lost, all of them are tried, and the
    nearest that fits is shown.
    """
    buffer, cells = _splat(moments)
    first, apart = _first_candidates(moments, buffer, cells)
    began = moments.land(moments.rays, start + first)
    best, landed = moments.judge(began, first)
    query = (best < 0).nonzero().squeeze(1)
    source = landed[query]
    for _ in range(WALKS - 1):
        fits, landed = moments.visit(query, start[query], source)
        best[query] = fits
        lost = (fits < 0).nonzero().squeeze(1)
        query, source = query[lost], landed[lost]
    hard = ((best < 0) | apart).nonzero().squeeze(1)
    candidates = _candidates(moments, buffer, cells, hard, first[hard])
    # Each candidate once, and the first of all was walked from already.
    is_new = torch.ones_like(candidates, dtype=torch.bool)
    is_new[0] = False
    for one in range(1, len(candidates)):
        is_new[one] = (candidates[one] != candidates[:one]).all(0)
    candidate, number = is_new.nonzero().unbind(1)
    source, found = candidates[candidate, number], best[hard]
    for _ in range(WALKS - 1):
        query = hard[number]
        fits, landed = moments.visit(query, start[query], source)
        found = found.scatter_reduce(0, number, fits, "amax")
        lost = (fits < 0).nonzero().squeeze(1)
        source, number = landed[lost], number[lost]
    best[hard] = found
    own = torch.where(best < 0, -1, best & LOW_WORD)
    for _ in range(1 + detail // 2):
        own = _close_cracks(moments, start, own, detail // 2)
    behind = _look_behind(own, first, depth, is_before, moments.height, moments.width)
    return own, behind, first, began


def _look_behind(
    own: Indices,
    first: Indices,
    depth: Float[Tensor, " pixel"],
    is_before: Bool[Tensor, " pixel"],
    height: int,
    width: int,
) -> Indices:
    """Return what each pixel shows or, where it shows nothing, what lies behind.

    That is the farthest of what is around and not ``is_before`` something: within a cell or beside
    it, of the smallest cells where anything is; if nowhere, what the search began with.
    """
    hole = (own < 0).nonzero().squeeze(1)
    if not len(hole):
        return own
    behind, time, pixel = own.clone(), hole // (height * width), hole % (height * width)
    row, column = pixel // width, pixel % width
    nothing = torch.iinfo(torch.long).max
    shown = own.clamp(min=0)
    keys = _key(depth[shown], own).masked_fill((own < 0) | is_before[shown], nothing)
    level = keys.view(-1, height, width)
    for size in range(1, BEHIND_CELLS + 1):
        odd = (0, level.shape[2] % 2, 0, level.shape[1] % 2)
        level = F.pad(level, odd, value=nothing) if any(odd) else level
        level = torch.minimum(level[:, ::2], level[:, 1::2])
        level = torch.minimum(level[..., ::2], level[..., 1::2])
        found = torch.full_like(hole, nothing)
        for down, right in ((0, 0), *AROUND):
            near_row = ((row >> size) + down).clamp(0, level.shape[1] - 1)
            near_column = ((column >> size) + right).clamp(0, level.shape[2] - 1)
            found = torch.minimum(found, level[time, near_row, near_column])
        is_found = found < nothing
        behind[hole[is_found]] = found[is_found] & LOW_WORD
        hole, time, row, column = (one[~is_found] for one in (hole, time, row, column))
    behind[hole] = first[hole]
    return behind


def _splat(
    moments: _Moments,
) -> tuple[Int[Tensor, "time height width"], Cells]:
    """Return the pixel of the first frame that is nearest of all that fell on each pixel of the
    moments, -1 where none did; and the same for cells of 2, 4, ... pixels.
    """
    height, width, pixels = moments.height, moments.width, moments.grid.shape[1]
    column, row = moments.place.round()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & moments.shown
    fell = inside.nonzero().squeeze(1)
    own = fell % pixels
    target = (row[fell] * width + column[fell]).long() + (fell - own)
    key = _key(moments.inverse_depth[fell], own)
    buffer = torch.full_like(inside, -1, dtype=torch.long).scatter_reduce(0, target, key, "amax")
    levels = [buffer.view(-1, height, width)]
    for _ in range(CELLS):
        above = levels[-1]
        odd = (0, above.shape[2] % 2, 0, above.shape[1] % 2)
        above = F.pad(above, odd, value=-1) if any(odd) else above
        pairs = torch.maximum(above[:, ::2], above[:, 1::2])
        levels.append(torch.maximum(pairs[..., ::2], pairs[..., 1::2]))
    buffer, *cells = (torch.where(level < 0, level, level & LOW_WORD) for level in levels)
    return buffer, cells


def _first_candidates(
    moments: _Moments,
    buffer: Int[Tensor, "time height width"],
    cells: Cells,
) -> tuple[Indices, Bool[Tensor, " query"]]:
    """Return the surface that each pixel begins with, and where those around are no neighbours."""
    height, width = moments.height, moments.width
    first = buffer
    for level, cell in enumerate(cells, start=1):
        first = torch.where(first < 0, _spread(cell, level, height, width), first)
    own = torch.arange(height * width, device=first.device).view(height, width)
    first = torch.where(first < 0, own, first)
    # Whole numbers of two bytes: half the memory to go through.
    grid = moments.grid.short()
    place = grid.index_select(1, first.flatten()).view(2, *first.shape)
    # Between a pixel and its neighbour: a moving camera may take two surface points apart.
    apart = torch.zeros_like(first, dtype=torch.bool)
    for axis in (2, 3):
        gap = (place.diff(dim=axis).abs() > REACH).any(0)
        apart.narrow(axis - 1, 0, gap.shape[axis - 1]).logical_or_(gap)
        apart.narrow(axis - 1, 1, gap.shape[axis - 1]).logical_or_(gap)
    for level, cell in enumerate(cells, start=1):
        there = grid.index_select(1, cell.clamp(min=0).flatten()).view(2, *cell.shape)
        there = _spread(there.flatten(0, 1), level, height, width).view_as(place)
        far = ((there - place).abs_() > 1.5 * (2**level + 1)).any(0)
        apart |= far & _spread(cell >= 0, level, height, width)
    return first.flatten(), apart.flatten()


def _spread(
    cells: Shaped[Tensor, "time tall wide"], level: int, height: int, width: int
) -> Shaped[Tensor, "time height width"]:
    """Give each pixel what its cell has."""
    fine = cells.repeat_interleave(2**level, 1).repeat_interleave(2**level, 2)
    return fine[:, :height, :width]


def _candidates(
    moments: _Moments,
    buffer: Int[Tensor, "time height width"],
    cells: Cells,
    query: Indices,
    first: Indices,
) -> Int[Tensor, "candidate query"]:
    """Return the surfaces that fell on each pixel of ``query``, its neighbours and its cells.

    The first one is what the pixel began with, and stands in where nothing fell.
    """
    height, width = moments.height, moments.width
    time, pixel = query // (height * width), query % (height * width)
    row, column = pixel // width, pixel % width
    found = [first]
    for down, right in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        near = (row + down).clamp(0, height - 1), (column + right).clamp(0, width - 1)
        found.append(buffer[time, near[0], near[1]])
    for level, cell in enumerate(cells, start=1):
        found.append(cell[time, row >> level, column >> level])
    candidates = torch.stack(found)
    return torch.where(candidates < 0, found[0], candidates)


def _close_cracks(moments: _Moments, start: Indices, own: Indices, reach: int) -> Indices:
    """Give a pixel that shows nothing, while nearly all around do, the best of their planes.

    Depth that is a little rough tears a surface as it comes near; what was really hidden is wider.
    Cracks that are wider than a pixel, by up to twice ``reach``, are closed from their sides.
    """
    height, width = moments.height, moments.width
    shows = (own >= 0).view(-1, height, width)
    padded = F.pad(shows.to(torch.uint8), (1, 1, 1, 1))
    tall = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    around = (tall[..., :-2] + tall[..., 1:-1] + tall[..., 2:]).flatten()
    is_crack = around > 5
    if reach:
        window = (2 * reach + 1, 1, reach)
        closed = 1 - F.max_pool2d(1 - F.max_pool2d(shows.float(), *window), *window)
        is_crack |= (closed.flatten() > 0.5) & (around > 0)
    crack = ((own < 0) & is_crack).nonzero().squeeze(1)
    pixel = crack % (height * width)
    row, column = pixel // width, pixel % width
    rays, begin = moments.rays.index_select(1, crack), start[crack]
    best, nearest = own[crack], torch.full_like(rays[0], torch.inf)
    for down, right in AROUND:
        inside = (row + down >= 0) & (row + down < height)
        inside &= (column + right >= 0) & (column + right < width)
        source = own[(crack + down * width + right).clamp(0, len(own) - 1)].where(inside, -1)
        plane = source.clamp(min=0)
        landed, distance = moments.land(rays, begin + plane)
        off = (landed - moments.grid.index_select(1, plane)).abs().amax(0)
        is_better = (source >= 0) & (distance >= 0) & (off < nearest)
        best, nearest = torch.where(is_better, source, best), torch.where(is_better, off, nearest)
    return own.index_put((crack,), best)


def _key(inverse_depth: Column, source: Indices) -> Indices:
    """Join depth and source into an integer that orders by depth, the nearest last."""
    # The bits of a number that is not negative order as the number does.
    return (inverse_depth.contiguous().view(torch.int32).long() << 32) | source


def _still_seen(moments: _Moments, start: Indices, source: Indices) -> Bool[Tensor, " query"]:
    """Return which pixels of the first frame are still in view and not hidden."""
    height, width, pitch = moments.height, moments.width, moments.pitch
    x, y = moments.place
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1) & moments.shown
    column, row = x.round().clamp(0, width - 1), y.round().clamp(0, height - 1)
    there = source[start + (row * width + column).long()]
    # Whatever is shown there in place of the pixel itself may hide it.
    own = torch.arange(height * width, device=there.device).repeat(len(pitch))
    query = (inside & (there >= 0) & (there != own)).nonzero().squeeze(1)
    # The ray to each pixel's own place, through the plane of what is shown there.
    place = moments.place.index_select(1, query)
    x, y = (place - moments.centre) / moments.focal_length
    turned = pitch[query // (height * width)]
    up, level = turned.sin(), turned.cos()
    rays = torch.stack((x, level * y - up, up * y + level))
    landed, distance = moments.land(rays, start[query] + there[query])
    off = (landed - moments.grid.index_select(1, own[query])).abs().amax(0)
    inside[query] = (off <= 1) | (moments.inverse_depth[query] >= distance)
    return inside


def fit_objects(
    flow: Flows, visible: Masks, scene: Scene
) -> tuple[Float[Tensor, "batch object time 3"], Bool[Tensor, "batch object time"]]:
    """Return the paths of objects that explain a forward flow, and at which times each is seen.

    ``flow`` is in pixels, paths are in metres and radians as in ``ScenePaths``. Times follow one
    another from the first; of ``scene`` all counts but its objects' paths and the
    residual. Least squares of the directions in which points are seen, with turns taken for small.
    While an object is not seen it keeps its mean velocity.
    """
    height, width = scene.rows.shape[1:]
    paths, count = scene.paths, scene.paths.objects.shape[1]
    grid = pixel_grid(height, width, like=flow).flatten(1)
    rays, camera = rays_of(scene.camera, height, width), scene.camera
    found, seen = [], []
    for sample, rows in enumerate(scene.rows.flatten(1)):
        pixels = (rows > 0).nonzero().squeeze(1)
        row, depth = rows[pixels] - 1, scene.inverse_depth[sample].flatten()[pixels]
        place = grid[:, pixels] + flow[sample].flatten(2)[..., pixels]
        slopes = (place - camera.centre[sample].unsqueeze(1)) / camera.focal_length[sample]
        x, y = slopes.unbind(1)
        forward, rightward, yaw, pitch = paths.camera[sample].unsqueeze(1).unbind(-1)
        # The direction in the axes of the first camera.
        y, z = pitch.cos() * y - pitch.sin(), pitch.sin() * y + pitch.cos()
        x, z = yaw.cos() * x + yaw.sin() * z, yaw.cos() * z - yaw.sin() * x
        # Scaled by inverse depth: the point from its pivot, and from the camera if it had stood.
        start = rays[sample][:, pixels]
        away, aside = start[[2, 0]] - paths.pivots[sample, row].t() * depth
        stood_x, stood_z = start[0] - depth * rightward, start[2] - depth * forward
        # What its way ahead, its way aside and its turn change across and down.
        across = torch.stack((-depth * x, depth * z, away * z + aside * x))
        down = torch.stack((-depth * y, torch.zeros_like(y), aside * y))
        missing = torch.stack((stood_z * x - stood_x * z, stood_z * y - start[1] * z))
        equations = torch.stack((across, down), 1)
        weight = visible[sample].flatten(1)[:, pixels]
        both = torch.cat((equations, missing.unsqueeze(0)))
        squares = torch.einsum("aetn,betn,tn->ntab", both, both, weight)
        total = squares.new_zeros(count, *squares.shape[1:]).index_add(0, row, squares)
        usual = (DIRECTION / total.new_tensor(OBJECT_WAY)).square().diag()
        solved = torch.linalg.solve(total[..., :3, :3] + usual, total[..., :3, 3])
        pixels_seen = solved.new_zeros(count, len(weight)).index_add(0, row, weight.t())
        seen.append(pixels_seen >= SEEN)
        found.append(_keep_pace(solved, seen[-1]))
    return torch.stack(found), torch.stack(seen)


def _keep_pace(
    path: Float[Tensor, "object time 3"], is_seen: Bool[Tensor, "object time"]
) -> Float[Tensor, "object time 3"]:
    """Let what is not seen move on at the mean velocity up to the last time seen, else the next."""
    time = torch.arange(path.shape[1], device=path.device)
    last = torch.where(is_seen, time, -1).cummax(1).values
    known = torch.where(last < 0, is_seen.long().argmax(1, keepdim=True), last)
    share = (time + 1) / (known + 1)
    return path.gather(1, known.unsqueeze(-1).expand_as(path)) * share.unsqueeze(-1)


def place_points(
    points: Float[Tensor, "4 point"],
    pivots: Float[Tensor, "point 2"],
    ways: Float[Tensor, "point time 7"],
    camera: Camera,
) -> tuple[Float[Tensor, "2 time point"], Bool[Tensor, "time point"]]:
    """Return the pixel coordinates (x, y) of points as objects and camera go their ways.

    ``points`` are (x/z, y/z, 1, inverse depth) in the first camera, of one sample; ``ways`` the
    camera's (forward, rightward, yaw, pitch), then the object's (forward, rightward, turn), as in
    ``ScenePaths``. Also returns whether each is before the camera.
    """
    x, y, z, depth = points
    forward, rightward, yaw, pitch, along, beside, turn = ways.permute(2, 1, 0)
    ahead, aside = pivots.t() * depth
    sine, cosine = turn.sin(), turn.cos()
    right = cosine * (x - aside) + sine * (z - ahead) + aside + depth * (beside - rightward)
    away = cosine * (z - ahead) - sine * (x - aside) + ahead + depth * (along - forward)
    sine, cosine = yaw.sin(), yaw.cos()
    right, away = cosine * right - sine * away, cosine * away + sine * right
    up, level = pitch.sin(), pitch.cos()
    down, away = level * y + up * away, level * away - up * y
    slopes = torch.stack((right, down)) / away.clamp(min=NEAREST)
    place = slopes * camera.focal_length[0] + camera.centre[0].view(2, 1, 1)
    return place, away > NEAREST
