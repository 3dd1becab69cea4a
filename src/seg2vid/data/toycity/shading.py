"""Turns a surface buffer into a picture: light, textures, shadows, haze, soft edges."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

from seg2vid.data.toycity.atmosphere import Atmosphere, paint_sky
from seg2vid.data.toycity.camera import ToyCamera
from seg2vid.data.toycity.ground import GroundPoints, paint_ground
from seg2vid.data.toycity.layout import StreetLayout
from seg2vid.data.toycity.materials import PAINTERS, SurfacePixels, paint_leaves
from seg2vid.data.toycity.patches import patch_light
from seg2vid.data.toycity.rasteriser import FrameGeometry, SurfaceBuffer, row_dot
from seg2vid.data.toycity.scene import BONNET, FIRST_QUAD, GROUND, SKY, Material, Scene


@dataclass(frozen=True)
class City:
    """All that is drawn: scene, street plan, weather and camera."""

    scene: Scene
    layout: StreetLayout
    atmosphere: Atmosphere
    camera: ToyCamera
    bonnet_colour: tuple[float, float, float]
    description: dict[str, str]


@dataclass(frozen=True)
class RenderedFrame:
    """Picture and per-pixel ids of one frame, with what later truth needs."""

    picture: UInt8[np.ndarray, "height width 3"]
    labels: UInt8[np.ndarray, "height width"]
    instances: UInt16[np.ndarray, "height width"]
    geometry: FrameGeometry
    buffer: SurfaceBuffer


def shade_frame(
    city: City, geometry: FrameGeometry, buffer: SurfaceBuffer, frame: int
) -> RenderedFrame:
    """Return the picture, labels and instances of one rasterised frame."""
    camera, surfaces = city.camera, city.scene.surfaces
    shape = (camera.height, camera.width)
    labels = surfaces.label[buffer.surface]
    colour = np.zeros((camera.height * camera.width, 3), np.float32)
    material = surfaces.material[buffer.surface]
    num_planar = FIRST_QUAD + len(city.scene.quads)
    material[buffer.surface < FIRST_QUAD] = -1
    material[buffer.surface >= num_planar] = -2
    pixels = _Pixels(city, geometry, buffer, frame)
    pixels.sky(colour)
    pixels.ground(colour, labels)
    pixels.flat_quads(colour, np.flatnonzero(material == Material.FLAT))
    for kind, painter in PAINTERS.items():
        chosen = np.flatnonzero(material == kind)
        if len(chosen):
            colour[chosen] = painter(pixels.textured(chosen))
    pixels.ellipsoids(colour, np.flatnonzero(material == -2))
    pixels.haze(colour)
    pixels.bonnet(colour)
    picture = soften_edges(colour.reshape(*shape, 3), buffer.surface.reshape(shape))
    return RenderedFrame(
        (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8),
        labels.reshape(shape),
        surfaces.instance[buffer.surface].reshape(shape),
        geometry,
        buffer,
    )


def soften_edges(
    picture: Float32[np.ndarray, "height width 3"], surface: np.ndarray
) -> Float32[np.ndarray, "height width 3"]:
    """Blend pixels at the borders between surfaces with their four neighbours."""
    edge = np.zeros(surface.shape, bool)
    sideways = surface[:, 1:] != surface[:, :-1]
    upwards = surface[1:] != surface[:-1]
    edge[:, 1:] |= sideways
    edge[:, :-1] |= sideways
    edge[1:] |= upwards
    edge[:-1] |= upwards
    rows, columns = np.nonzero(edge)
    height, width = surface.shape
    flat = picture.reshape(-1, 3)
    here = rows * width + columns
    up, down = np.maximum(rows - 1, 0) * width, np.minimum(rows + 1, height - 1) * width
    total = flat[up + columns] + flat[down + columns]
    total += flat[rows * width + np.maximum(columns - 1, 0)]
    total += flat[rows * width + np.minimum(columns + 1, width - 1)]
    softened = flat.copy()
    softened[here] = 0.52 * flat[here] + 0.12 * total
    return softened.reshape(picture.shape)


class _Pixels:
    """Shared per-pixel values of one frame and the painters of each kind of surface."""

    def __init__(
        self, city: City, geometry: FrameGeometry, buffer: SurfaceBuffer, frame: int
    ) -> None:
        """Precompute rays, depth and the light on every quad."""
        self.city, self.geometry, self.buffer, self.frame = city, geometry, buffer, frame
        camera, air = city.camera, city.atmosphere
        self.to_camera = camera.rotation(frame)
        right, down = camera.slopes()
        self.right = np.tile(right, camera.height)
        self.down = np.repeat(down, camera.width)
        self.depth = 1.0 / np.maximum(buffer.inverse_depth, 1e-5)
        self.sun = self.to_camera @ np.array(air.to_sun)
        self.sunlight, self.ambient = np.float32(air.sunlight), np.float32(air.ambient)
        self.reflection = 0.5 * (np.float32(air.horizon) + np.float32(air.zenith))
        self.quad_light = self._light(geometry.normals)
        frames = _surface_axes(geometry)
        self.axis_u, self.axis_v = frames[0], frames[1]

    def _light(self, normals: Float[np.ndarray, "points 3"]) -> Float32[np.ndarray, "points 3"]:
        """Return the light on surfaces with the given camera-space normals."""
        facing = np.maximum(normals @ self.sun, 0).astype(np.float32)[:, None]
        upward = (0.80 - 0.20 * normals[:, 1]).astype(np.float32)[:, None]
        return self.ambient * upward + self.sunlight * facing

    def sky(self, colour: Float32[np.ndarray, "pixels 3"]) -> None:
        """Paint the sky."""
        chosen = np.flatnonzero(self.buffer.surface == SKY)
        rays = np.stack([self.right[chosen], self.down[chosen], np.ones(len(chosen))], 1)
        colour[chosen] = paint_sky(self.city.atmosphere, rays @ self.to_camera)

    def ground(self, colour: Float32[np.ndarray, "pixels 3"], labels: np.ndarray) -> None:
        """Paint the ground with shadows and pools of light, and set its labels."""
        city, camera = self.city, self.city.camera
        chosen = np.flatnonzero(self.buffer.surface == GROUND)
        if not len(chosen):
            return
        depth, aside = self.depth[chosen], (self.right * self.depth)[chosen]
        sine, cosine = np.sin(camera.headings[self.frame]), np.cos(camera.headings[self.frame])
        east, north = camera.positions[self.frame]
        across = depth / camera.focal
        points = GroundPoints(
            east + aside * cosine + depth * sine,
            north + depth * cosine - aside * sine,
            across,
            across * depth / camera.elevation,
        )
        painted = paint_ground(city.layout, points)
        labels[chosen] = painted.label
        light = patch_light(city.scene, self.geometry, camera, self.frame)
        shade = 1.0 + np.minimum(light.shadow[chosen], 0)[:, None]
        high = max(city.atmosphere.to_sun[1], 0.2)
        full = self.ambient * np.float32(0.95) + self.sunlight * np.float32(high)
        lit = painted.colour * full * shade
        lamps = np.float32([1.0, 0.82, 0.5]) * light.glow[chosen][:, None]
        wet = 0.28 * city.atmosphere.wetness * (painted.label == 0)
        sheen = (wet * np.clip(depth / 40.0, 0.15, 1.0))[:, None].astype(np.float32)
        lit = lit * (1 - sheen) + np.float32(city.atmosphere.horizon) * sheen * shade
        colour[chosen] = lit + painted.colour * lamps

    def flat_quads(self, colour: Float32[np.ndarray, "pixels 3"], chosen: np.ndarray) -> None:
        """Paint the quads that have one colour."""
        surface = self.buffer.surface[chosen]
        lit = self.city.scene.surfaces.colour[FIRST_QUAD:][: len(self.quad_light)]
        lit = lit * self.quad_light
        colour[chosen] = lit[surface - FIRST_QUAD]

    def textured(self, chosen: np.ndarray) -> SurfacePixels:
        """Gather what a painter needs for the chosen pixels of textured quads."""
        surface = self.buffer.surface[chosen]
        quad = surface - FIRST_QUAD
        depth = self.depth[chosen]
        ray = np.stack([self.right[chosen], self.down[chosen], np.ones(len(chosen))], 1)
        axis_u, axis_v = self.axis_u[quad], self.axis_v[quad]
        u = row_dot(axis_u[:, :3], ray) * depth - axis_u[:, 3]
        v = row_dot(axis_v[:, :3], ray) * depth - axis_v[:, 3]
        slant = np.abs(row_dot(self.geometry.normals[quad], ray))
        spread = 0.5 + 0.5 / np.maximum(slant, 0.12)
        table = self.city.scene.surfaces
        return SurfacePixels(
            u=u,
            v=v,
            footprint=depth / self.city.camera.focal * spread,
            colour=table.colour[surface],
            second=table.second[surface],
            light=self.quad_light[quad],
            parameters=table.parameters[surface],
            lamps=self.city.atmosphere.lamps_lit,
            sky=self.reflection,
        )

    def ellipsoids(self, colour: Float32[np.ndarray, "pixels 3"], chosen: np.ndarray) -> None:
        """Paint ellipsoids: leaves with texture, everything else plain."""
        if not len(chosen):
            return
        surface = self.buffer.surface[chosen]
        ball = surface - FIRST_QUAD - len(self.city.scene.quads)
        depth = self.depth[chosen]
        ray = np.stack([self.right[chosen], self.down[chosen], np.ones(len(chosen))], 1)
        offset = ray * depth[:, None] - self.geometry.centres[ball]
        maps = self.geometry.spheres[ball]
        unit = np.einsum("nij,nj->ni", maps, offset)
        normal = np.einsum("nij,ni->nj", maps, unit)
        normal /= np.sqrt(row_dot(normal, normal))[:, None] + 1e-9
        light = self._light(normal)
        table = self.city.scene.surfaces
        base, kind = table.colour[surface], table.material[surface]
        leaves, lamps = kind == Material.LEAVES, kind == Material.GLOW
        painted = base * light
        places = unit * self.city.scene.radii[ball] + table.parameters[surface, :1] * 7
        footprint = depth / self.city.camera.focal
        core = np.float32(0.70) + np.float32(0.30) * unit[:, 1:2].astype(np.float32)
        painted[leaves] = paint_leaves(
            places[leaves], footprint[leaves], base[leaves], (light * core)[leaves]
        )
        lit = np.maximum(table.parameters[surface, 0], self.city.atmosphere.lamps_lit)[:, None]
        glowing = base * lit + table.second[surface] * light * (1 - lit)
        colour[chosen] = np.where(lamps[:, None], glowing, painted)

    def haze(self, colour: Float32[np.ndarray, "pixels 3"]) -> None:
        """Fade everything but the sky into the haze."""
        air = self.city.atmosphere
        clear = np.exp(np.float32(-air.haze) * self.depth.astype(np.float32))
        clear[self.buffer.surface == SKY] = 1.0
        colour -= np.float32(air.horizon)
        colour *= clear[:, None]
        colour += np.float32(air.horizon)

    def bonnet(self, colour: Float32[np.ndarray, "pixels 3"]) -> None:
        """Paint the ego vehicle's bonnet with a sheen of sky."""
        chosen = np.flatnonzero(self.buffer.surface == BONNET)
        if len(chosen):
            fall = np.clip(self.down[chosen] * 2.2, 0, 1)[:, None]
            sheen = (1.1 - fall) * (0.45 - 0.5 * np.abs(self.right[chosen])[:, None])
            base = np.float32(self.city.bonnet_colour) * self.ambient
            colour[chosen] = base + self.reflection * 0.8 * np.maximum(sheen, 0)


def _surface_axes(
    geometry: FrameGeometry,
) -> tuple[Float[np.ndarray, "quads 4"], Float[np.ndarray, "quads 4"]]:
    """Return (axis, offset) rows that turn camera points into u and v of each quad."""
    corners = geometry.corners
    first = corners[:, 1] - corners[:, 0]
    first = first / (np.sqrt(row_dot(first, first))[:, None] + 1e-12)
    second = corners[:, 3] - corners[:, 0]
    second = second - row_dot(second, first)[:, None] * first
    second = second / (np.sqrt(row_dot(second, second))[:, None] + 1e-12)
    rows = []
    for axis in (first, second):
        rows.append(np.concatenate([axis, row_dot(axis, corners[:, 0])[:, None]], 1))
    return rows[0], rows[1]
