"""Turns a surface buffer into a picture: light, textures, shadows, haze, soft edges."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8, UInt16

from seg2vid.data.toycity.atmosphere import Atmosphere, paint_sky
from seg2vid.data.toycity.camera import ToyCamera
from seg2vid.data.toycity.ground import GroundPoints, paint_ground, patch_light
from seg2vid.data.toycity.layout import StreetLayout
from seg2vid.data.toycity.materials import PAINTERS, SurfacePixels, leaf_value
from seg2vid.data.toycity.mesh import Material
from seg2vid.data.toycity.rasteriser import FrameGeometry, SurfaceBuffer, row_dot
from seg2vid.data.toycity.scene import BONNET, FIRST_QUAD, GROUND, SKY, Scene

Colours = Float[np.ndarray, "pixels 3"]
Chosen = Int[np.ndarray, " chosen"]


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
class ShadedFrame:
    """Picture and per-pixel ids of one frame."""

    picture: UInt8[np.ndarray, "height width 3"]
    labels: UInt8[np.ndarray, "height width"]
    instances: UInt16[np.ndarray, "height width"]


def shade_frame(
    city: City, geometry: FrameGeometry, buffer: SurfaceBuffer, frame: int
) -> ShadedFrame:
    """Return the picture, labels and instances of one rasterised frame."""
    surfaces, surface = city.scene.surfaces, buffer.surface
    shape = (city.camera.height, city.camera.width)
    labels = surfaces.label[surface]
    colour = np.zeros((len(surface), 3), np.float32)
    painter = _FramePainter(city, geometry, buffer, frame)
    painter.sky(colour, np.flatnonzero(surface == SKY))
    painter.ground(colour, labels, np.flatnonzero(surface == GROUND))
    num_planar = FIRST_QUAD + len(city.scene.quads)
    textured = (surface >= FIRST_QUAD) & (surface < num_planar)
    material = np.where(textured, surfaces.material[surface], -1)
    for kind, paint in PAINTERS.items():
        chosen = np.flatnonzero(material == kind)
        if len(chosen):
            colour[chosen] = paint(painter.quads(chosen))
    painter.ellipsoids(colour, np.flatnonzero(surface >= num_planar))
    painter.haze(colour)
    painter.bonnet(colour, np.flatnonzero(surface == BONNET))
    picture = _soften_edges(colour.reshape(*shape, 3), (surface * 32 + labels).reshape(shape))
    return ShadedFrame(
        (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8),
        labels.reshape(shape),
        surfaces.instance[surface].reshape(shape),
    )


def _soften_edges(
    picture: Float32[np.ndarray, "height width 3"], surface: Int[np.ndarray, "height width"]
) -> Float32[np.ndarray, "height width 3"]:
    """Blend pixels at the borders between surfaces with their four neighbours."""
    edge = np.zeros(surface.shape, bool)
    sideways, upwards = surface[:, 1:] != surface[:, :-1], surface[1:] != surface[:-1]
    edge[:, 1:] |= sideways
    edge[:, :-1] |= sideways
    edge[1:] |= upwards
    edge[:-1] |= upwards
    rows, columns = np.nonzero(edge)
    height, width = surface.shape
    flat = picture.reshape(-1, 3)
    total = flat[np.maximum(rows - 1, 0) * width + columns]
    total += flat[np.minimum(rows + 1, height - 1) * width + columns]
    total += flat[rows * width + np.maximum(columns - 1, 0)]
    total += flat[rows * width + np.minimum(columns + 1, width - 1)]
    softened, here = flat.copy(), rows * width + columns
    softened[here] = np.float32(0.52) * flat[here] + np.float32(0.12) * total
    return softened.reshape(picture.shape)


class _FramePainter:
    """Shared per-pixel values of one frame and the painters of each kind of surface."""

    def __init__(
        self, city: City, geometry: FrameGeometry, buffer: SurfaceBuffer, frame: int
    ) -> None:
        """Precompute rays, depth and the light on every quad."""
        self.city, self.geometry, self.buffer, self.frame = city, geometry, buffer, frame
        air = city.atmosphere
        self.right, self.down = city.camera.rays.astype(np.float32)
        self.depth = (1.0 / np.maximum(buffer.inverse_depth, 1e-5)).astype(np.float32)
        self.to_camera = city.camera.rotation(frame)
        self.reflection = np.float32(0.5) * (air.horizon + air.zenith)
        self.quad_light = self._light(geometry.normals)
        corners = geometry.corners
        along, up = corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]
        along = along / (np.sqrt(row_dot(along, along))[:, None] + 1e-12)
        up = up - row_dot(up, along)[:, None] * along
        up = up / (np.sqrt(row_dot(up, up))[:, None] + 1e-12)
        self.axes = np.stack([along, up, geometry.normals], 1).astype(np.float32)
        self.origins = np.einsum("nij,nj->in", self.axes, corners[:, 0]).astype(np.float32)

    def _light(self, normals: Colours) -> Colours:
        """Return the light on surfaces with the given camera-space normals."""
        air = self.city.atmosphere
        normals, sun = normals.astype(np.float32), (self.to_camera @ air.to_sun).astype(np.float32)
        facing = np.maximum(normals @ sun, 0)[:, None]
        return air.ambient * (0.80 - 0.20 * normals[:, 1:2]) + air.sunlight * facing

    def _rays(self, chosen: Chosen) -> Float[np.ndarray, "chosen 3"]:
        """Return the ray directions of the chosen pixels, shape `pixels 3`."""
        ones = np.ones(len(chosen), np.float32)
        return np.stack([self.right[chosen], self.down[chosen], ones], 1)

    def sky(self, colour: Colours, chosen: Chosen) -> None:
        """Paint the sky."""
        colour[chosen] = paint_sky(self.city.atmosphere, self._rays(chosen) @ self.to_camera)

    def ground(self, colour: Colours, labels: UInt8[np.ndarray, " pixels"], chosen: Chosen) -> None:
        """Paint the ground with shadows and pools of light, and set its labels."""
        city, camera, air = self.city, self.city.camera, self.city.atmosphere
        depth, aside = self.depth[chosen], self.right[chosen] * self.depth[chosen]
        heading, (east, north) = float(camera.headings[self.frame]), camera.positions[self.frame]
        sine, cosine = math.sin(heading), math.cos(heading)
        across = depth / camera.focal
        points = GroundPoints(
            float(east) + aside * cosine + depth * sine,
            float(north) + depth * cosine - aside * sine,
            across,
            across * depth / camera.elevation,
        )
        painted = paint_ground(city.layout, points)
        labels[chosen] = painted.label
        lit = painted.colour * (air.ambient * 0.95 + air.sunlight * max(float(air.to_sun[1]), 0.2))
        if air.wetness > 0:
            sheen = 0.28 * air.wetness * (painted.label == 0) * np.clip(depth / 40.0, 0.15, 1.0)
            lit += (air.horizon - lit) * sheen[:, None].astype(np.float32)
        shadow, glow = patch_light(city.scene, camera, self.frame)
        lit *= (1 + shadow[chosen])[:, None]
        if air.lamps > 0:
            lamp_light = np.array([1.0, 0.82, 0.5], np.float32)
            lit += painted.colour * lamp_light * glow[chosen][:, None]
        colour[chosen] = lit

    def quads(self, chosen: Chosen) -> SurfacePixels:
        """Gather what a painter needs for the chosen pixels of quads."""
        surface = self.buffer.surface[chosen]
        quad, depth = surface - FIRST_QUAD, self.depth[chosen]
        along, up, slant = np.einsum("nij,nj->in", self.axes[quad], self._rays(chosen))
        spread = 0.5 + 0.5 / np.maximum(np.abs(slant), 0.12)
        table = self.city.scene.surfaces
        return SurfacePixels(
            u=along * depth - self.origins[0][quad],
            v=up * depth - self.origins[1][quad],
            size=np.maximum(depth / self.city.camera.focal * spread, 1e-3),
            colour=table.colour[surface],
            second=table.second[surface],
            light=self.quad_light[quad],
            parameters=table.parameters[surface].T,
            lamps=self.city.atmosphere.lamps,
            sky=self.reflection,
        )

    def ellipsoids(self, colour: Colours, chosen: Chosen) -> None:
        """Paint ellipsoids: leaves with texture, lamps glowing, everything else plain."""
        surface, table = self.buffer.surface[chosen], self.city.scene.surfaces
        ball = surface - FIRST_QUAD - len(self.city.scene.quads)
        point, maps = self._rays(chosen) * self.depth[chosen, None], self.geometry.spheres[ball]
        unit = np.einsum("nij,nj->ni", maps, point - self.geometry.centres[ball])
        normal = np.einsum("nij,ni->nj", maps, unit)
        light = self._light(normal / (np.sqrt(row_dot(normal, normal))[:, None] + 1e-9))
        kind, seed = table.material[surface], table.parameters[surface, :1]
        value = np.ones(len(chosen), np.float32)
        leaves = np.flatnonzero(kind == Material.LEAVES)
        places = (unit * self.city.scene.radii[ball] + seed * 7)[leaves]
        value[leaves] = leaf_value(places, self.depth[chosen][leaves] / self.city.camera.focal)
        value[leaves] *= 0.70 + 0.30 * unit[leaves, 1]
        lit = np.maximum(seed, self.city.atmosphere.lamps) * (kind == Material.GLOW)[:, None]
        dark = np.where(
            kind[:, None] == Material.GLOW, table.second[surface], table.colour[surface]
        )
        shaded = dark * light * value[:, None] * (1 - lit)
        colour[chosen] = shaded + table.colour[surface] * lit

    def haze(self, colour: Colours) -> None:
        """Fade everything but the sky into the haze."""
        air = self.city.atmosphere
        clear = np.exp(-air.haze * self.depth)
        clear[self.buffer.surface == SKY] = 1.0
        colour -= air.horizon
        colour *= clear[:, None]
        colour += air.horizon

    def bonnet(self, colour: Colours, chosen: Chosen) -> None:
        """Paint the ego vehicle's bonnet with a sheen of sky."""
        fall = np.clip(self.down[chosen] * 2.2, 0, 1)
        sheen = np.maximum((1.1 - fall) * (0.36 - 0.4 * np.abs(self.right[chosen])), 0)
        base = np.array(self.city.bonnet_colour, np.float32) * self.city.atmosphere.ambient
        colour[chosen] = base + self.reflection * sheen[:, None]
