"""The pixels of a first frame, and their planes, at some moments: where each goes, and where rays
of later frames land.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.geometry.outlines import Owners, owners_of
from seg2vid.geometry.paths import RigidMotion, rigid_motion
from seg2vid.geometry.scene import Planes, Rays, Scene, rays_of
from seg2vid.structures import Camera
from seg2vid.warp import pixel_grid

Indices = Int[Tensor, " query"]
Column = Float[Tensor, " query"]
Landed = tuple[Float[Tensor, "2 query"], Column]
"""Where rays met planes in the first frame, in pixels, and the planes' inverse depth now."""
NEAREST = 1e-3
"""A point counts as before the camera from this share of its first distance on."""
CLOSEST = 1.0
"""Inverse depth, in 1/m, beyond which nothing is shown: the camera would be inside it."""
FOOTPRINT = 0.6
"""How far around its centre a pixel's surface reaches, in pixels: half a pixel, and what planes of
neighbours may disagree by where the surface is curved. At edges of surfaces, spots say so."""
LEVEL = 2.0
"""How many times steeper than either way along it the normal of the ground is."""
REACH = 2.5
"""Pixels of the first frame by which neighbours may differ and still be one surface."""
LOW_WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class Moments:
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
    surfaces: Int[Tensor, " pixel"]
    owners: Int[Tensor, "tall wide"]
    """Pixel that owns each spot of the first frame, see ``find_owners``."""

    @property
    def start(self) -> Indices:
        """First query of each query's own moment."""
        pixels = self.height * self.width
        times = torch.arange(len(self.pitch), device=self.grid.device)
        return (times * pixels).repeat_interleave(pixels)

    def land(self, rays: Float[Tensor, "3 query"], planes: Indices) -> Landed:
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

    def is_level(self, planes: Indices) -> Bool[Tensor, " query"]:
        """Return which planes, numbered as queries are, lie like the ground."""
        right, down, ahead = self.table[4:7].index_select(1, planes)
        return down > LEVEL * torch.maximum(right.abs(), ahead.abs())

    def visit(self, query: Indices, start: Indices, source: Indices) -> tuple[Indices, Indices]:
        """Follow the rays of ``query`` back through the planes of pixels of the first frame.

        Returns the plane's key, which is the larger the nearer it is, -1 where the ray misses its
        footprint; and the pixel where it landed.
        """
        return self.judge(self.land(self.rays.index_select(1, query), start + source), source)

    def judge(self, landed: Landed, source: Indices) -> tuple[Indices, Indices]:
        """Return the same of rays that landed already."""
        (place, distance), own = landed, self.grid.index_select(1, source)
        off = place - own
        # What lies a little beyond an edge still counts as before it.
        place = place - off.clamp(0.5 - FOOTPRINT, FOOTPRINT - 0.5)
        tall, wide = self.owners.shape
        column, row = (place + 0.5).mul_(wide // self.width).floor_().long()
        x, y = column.clamp(0, wide - 1), row.clamp(0, tall - 1)
        inside = (x == column) & (y == row) & (distance >= 0)
        owner = self.owners.flatten().index_select(0, y.mul_(wide).add_(x)).long()
        near = off.abs_().amax(0) <= FOOTPRINT
        near &= self.surfaces.index_select(0, owner) == self.surfaces.index_select(0, source)
        fits = (near | (owner == source)) & inside
        return torch.where(fits, depth_key(distance, source), -1), owner

    def bridge(
        self, query: Indices, start: Indices, before: Indices, source: Indices, landed: Indices
    ) -> Indices:
        """Return the key of ``source`` where its ray passes between it and ``before``, else -1.

        So it does where the ray went from ``before`` to ``source`` and from there back, no farther
        than ``REACH`` and all on one surface, whose depth is a little uneven there. A ray that
        leaves the picture goes back and forth along its edge, and shows nothing.
        """
        steps = self._step(before, source), self._step(source, landed)
        surface = self.surfaces.index_select(0, source)
        torn = (steps[0] * steps[1]).sum(0) < 0
        for step, other in zip(steps, (before, landed), strict=True):
            torn &= (step.abs().amax(0) <= REACH) & (
                self.surfaces.index_select(0, other) == surface
            )
        keys = torch.full_like(source, -1)
        chosen = torn.nonzero().squeeze(1)
        source = source[chosen]
        rays = self.rays.index_select(1, query[chosen])
        place, distance = self.land(rays, start[chosen] + source)
        last = place.new_tensor([[self.width - 0.5], [self.height - 0.5]])
        bridges = ((place >= -0.5) & (place < last)).all(0) & (distance >= 0)
        keys[chosen] = torch.where(bridges, depth_key(distance, source), -1)
        return keys

    def _step(self, source: Indices, target: Indices) -> Float[Tensor, "2 query"]:
        return self.grid.index_select(1, target) - self.grid.index_select(1, source)


@dataclass(frozen=True)
class LaidOutScene:
    """A first frame with its depth, row after row, and how its parts move."""

    inverse_depth: Float[Tensor, "batch pixel"]
    rows: Int[Tensor, "batch pixel"]
    fixed: Bool[Tensor, "batch pixel"]
    rays: Rays
    camera: Camera
    rigid: RigidMotion
    residual: Float[Tensor, "batch time 2 pixel"] | None
    surfaces: Int[Tensor, "batch pixel"]
    owners: Owners

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

    def moments(self, sample: int, times: slice, planes: Planes, size: tuple[int, int]) -> Moments:
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
        turned = (n[0] * cosine + n[2] * sine, n[1].expand_as(cosine), n[2] * cosine - n[0] * sine)
        aside = torch.zeros_like(place)
        if self.residual is not None:
            aside = self.residual[sample, times] / camera.focal_length[sample]
        besides = (aside[:, 0], level * aside[:, 1], up * aside[:, 1])
        fields = (cosine, sine, shift_x * share, shift_z * share, *turned, gain, *besides)
        x, y, _ = self.rays[sample]
        rays = (x.expand_as(cosine), level * y - up, up * y + level)
        return Moments(
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
            surfaces=self.surfaces[sample],
            owners=self.owners[sample],
        )


def lay_out(scene: Scene) -> LaidOutScene:
    """Lay a scene out row after row, and join what moves it."""
    depth, fixed, residual = scene.inverse_depth, scene.fixed, scene.residual
    if fixed is None:
        fixed = torch.zeros_like(scene.rows, dtype=torch.bool)
    return LaidOutScene(
        inverse_depth=depth.flatten(1),
        rows=scene.rows.flatten(1),
        fixed=fixed.flatten(1),
        rays=rays_of(scene.camera, *depth.shape[1:]),
        camera=scene.camera,
        rigid=rigid_motion(scene.paths),
        residual=None if residual is None else residual.flatten(3),
        surfaces=scene.surfaces.flatten(1),
        owners=owners_of(scene),
    )


def depth_key(inverse_depth: Column, source: Indices) -> Indices:
    """Join depth and source into an integer that orders by depth, the nearest last."""
    # The bits of a number that is not negative order as the number does.
    return (inverse_depth.contiguous().view(torch.int32).long() << 32) | source
