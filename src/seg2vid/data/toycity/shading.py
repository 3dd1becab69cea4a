"""Turns a surface buffer into a picture: weather, light, textures, shadows, haze, soft edges."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8, UInt16

from seg2vid.data.toycity.camera import ToyCamera
from seg2vid.data.toycity.ground import paint_ground, patch_light
from seg2vid.data.toycity.materials import PAINTERS, SurfacePixels, leaf_value, smooth_noise
from seg2vid.data.toycity.rasteriser import View, row_dot
from seg2vid.data.toycity.scene import BONNET, FIRST_QUAD, GROUND, SKY, Label, Material, Scene
from seg2vid.data.toycity.street import StreetLayout

Colour = Float32[np.ndarray, " 3"]
Colours = Float[np.ndarray, "pixels 3"]
Chosen = Int[np.ndarray, " chosen"]
Picture = Float32[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Atmosphere:
    """Light and air of one clip; colours are RGB 0 to 1."""

    weather: str
    time_of_day: str
    to_sun: Float[np.ndarray, " 3"]
    """Unit vector towards the sun in world axes."""
    sunlight: Colour
    """Light added to surfaces that face the sun."""
    ambient: Colour
    zenith: Colour
    horizon: Colour
    """Colour of the sky there, and of the haze."""
    haze: float
    """Extinction per metre."""
    cloudiness: float
    """0 = blue sky, 1 = closed cloud."""
    wetness: float
    """0 = dry road, 1 = wet road."""
    lamps: float
    """How bright lamps and windows glow, 0 to 1."""

    def shadow_shift(self) -> tuple[float, float]:
        """Return metres (x, z) that shadows fall per metre of height."""
        x, y, z = self.to_sun.tolist()
        scale = -min(1.0 / max(y, 0.01), 2.5 / max(float(np.hypot(x, z)), 0.01))
        return x * scale, z * scale

    def shade(self) -> float:
        """Return how much darker the ground is in the shadow, 0 to 1."""
        sun, around = float(self.sunlight.max()), float(self.ambient.max())
        return 1.05 * sun / (sun + 1.6 * around) if self.time_of_day == "day" else 0.0


_AIR = {
    "clear": (0.90, 0.58, 0.0008, 0.40, 0.0),
    "cloudy": (0.66, 0.64, 0.0015, 0.75, 0.0),
    "overcast": (0.14, 0.90, 0.0025, 1.0, 0.0),
    "fog": (0.05, 0.85, 0.016, 1.0, 0.2),
    "rain": (0.04, 0.74, 0.006, 1.0, 1.0),
}
"""Per weather: sun strength, ambient strength, haze, cloudiness, wetness."""
_LIGHT = {
    "day": ((1.0, 0.95, 0.85), (0.95, 1.0, 1.06), (0.30, 0.50, 0.82), (0.80, 0.87, 0.93)),
    "dusk": ((0.95, 0.55, 0.30), (0.98, 0.86, 0.92), (0.26, 0.30, 0.52), (0.93, 0.64, 0.45)),
    "night": ((0.10, 0.12, 0.18), (0.62, 0.66, 0.86), (0.03, 0.04, 0.10), (0.12, 0.13, 0.20)),
}
"""Per time of day: colours of sun, ambient light, zenith and horizon."""
_TIMES = {"day": (0.78, 1.0, 0.0), "dusk": (0.45, 1.0, 0.6), "night": (0.10, 0.6, 1.0)}
"""Per time of day: brightness of clouds, how much they hide the sky, and that of lamps."""


def sample_atmosphere(random: np.random.Generator) -> Atmosphere:
    """Draw weather and time of day."""
    weather = str(random.choice(list(_AIR), p=[0.34, 0.27, 0.23, 0.06, 0.10]))
    time_of_day = str(random.choice(list(_LIGHT), p=[0.78, 0.12, 0.10]))
    sun, around, haze, cloudiness, wetness = _AIR[weather]
    low, high = (0.35, 1.0) if time_of_day == "day" else (0.1, 0.25)
    elevation, azimuth = random.uniform(low, high), random.uniform(0, 2 * np.pi)
    flat, level = np.cos(elevation), random.uniform(0.85, 1.05)
    sunlight, ambient, zenith, horizon = np.array(_LIGHT[time_of_day], np.float32)
    brightness, cover, lamps = _TIMES[time_of_day]
    grey = np.float32(min(0.85 * cloudiness**3 * cover, 1.0))
    cloud = brightness * np.array([[1.0, 1.0, 1.02], [1.08, 1.09, 1.10]], np.float32)
    return Atmosphere(
        weather=weather,
        time_of_day=time_of_day,
        to_sun=np.array([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)]),
        sunlight=sunlight * np.float32(sun * level),
        ambient=ambient * np.float32(around * level),
        zenith=zenith + (cloud[0] - zenith) * grey,
        horizon=horizon + (cloud[1] - horizon) * grey,
        haze=haze * random.uniform(0.7, 1.3),
        cloudiness=cloudiness * random.uniform(0.7, 1.0),
        wetness=wetness,
        lamps=lamps,
    )


def paint_sky(atmosphere: Atmosphere, directions: Colours) -> Float32[np.ndarray, "pixels 3"]:
    """Return the sky colour (0 to 1) in the given world directions (any length)."""
    unit = directions / np.sqrt((directions**2).sum(1, keepdims=True))
    up = np.maximum(unit[:, 1], 0.0)
    blend = np.minimum(up * 2.2, 1.0)[:, None] ** 0.6
    colour = atmosphere.horizon * (1 - blend) + atmosphere.zenith * blend
    glow = np.maximum(unit @ atmosphere.to_sun, 0.0)
    sun = 0.35 * glow**12 + 1.2 * np.minimum(np.maximum(glow - 0.9986, 0.0) * 1200.0, 1.0)
    east, north = unit[:, [0, 2]].T * (14.0 / (up + 0.09))
    cloud = 0.7 * smooth_noise(east + 40.0, north) + 0.3 * smooth_noise(east * 3, north * 3)
    cover = np.clip((cloud + 1.4 * atmosphere.cloudiness - 0.75) * 2.5, 0.0, 1.0)
    cover = 0.8 * cover * np.minimum(up * 9.0, 1.0)
    light = atmosphere.horizon * (0.96 + 0.12 * cloud[:, None])
    colour = colour + (light - colour) * cover[:, None]
    shine = sun * atmosphere.sunlight.max() * (1 - 0.9 * cover)
    return (colour + shine[:, None] * atmosphere.sunlight).astype(np.float32)


@dataclass(frozen=True)
class City:
    """All that is drawn: scene, street plan, weather and camera."""

    scene: Scene
    layout: StreetLayout
    atmosphere: Atmosphere
    camera: ToyCamera
    bonnet_colour: tuple[float, float, float]
    description: dict[str, str]


def shade(
    city: City, view: View
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"], UInt16[np.ndarray, "h w"]]:
    """Return picture, labels and instances of one rasterised frame."""
    surfaces, surface = city.scene.surfaces, view.surface
    shape = (city.camera.height, city.camera.width)
    labels = surfaces.label[surface]
    colour = np.zeros((len(surface), 3), np.float32)
    painter = _FramePainter(city, view)
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
    return (
        (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8),
        labels.reshape(shape),
        surfaces.instance[surface].reshape(shape),
    )


def _soften_edges(picture: Picture, surface: Int[np.ndarray, "height width"]) -> Picture:
    """Blend pixels at the borders between surfaces with their four neighbours."""
    height, width = surface.shape
    neighbours = ((0, 1), (2, 1), (1, 0), (1, 2))
    padded, edge = np.pad(surface, 1, "edge"), np.zeros(surface.shape, bool)
    for down, right in neighbours:
        edge |= padded[down : down + height, right : right + width] != surface
    rows, columns = np.nonzero(edge)
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)), "edge")
    total = sum(padded[rows + down, columns + right] for down, right in neighbours)
    softened = picture.copy()
    softened[rows, columns] = np.float32(0.52) * picture[rows, columns] + np.float32(0.12) * total
    return softened


class _FramePainter:
    """Shared per-pixel values of one frame and the painters of each kind of surface."""

    def __init__(self, city: City, view: View) -> None:
        self.city, self.view, self.air = city, view, city.atmosphere
        self.right, self.down = city.camera.rays.astype(np.float32)
        self.depth = (1.0 / np.maximum(view.inverse_depth, 1e-5)).astype(np.float32)
        self.to_camera = city.camera.rotation(view.frame)
        self.reflection = np.float32(0.5) * (self.air.horizon + self.air.zenith)
        corners, normals = view.geometry.corners, view.geometry.normals
        self.quad_light = self._light(normals)
        along, up = corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]
        along = along / (np.sqrt(row_dot(along, along))[:, None] + 1e-12)
        up = up - row_dot(up, along)[:, None] * along
        up = up / (np.sqrt(row_dot(up, up))[:, None] + 1e-12)
        self.axes = np.stack([along, up, normals], 1).astype(np.float32)
        self.origins = np.einsum("nij,nj->in", self.axes, corners[:, 0]).astype(np.float32)

    def _light(self, normals: Colours) -> Colours:
        """Return the light on surfaces with the given camera-space normals."""
        air, normals = self.air, normals.astype(np.float32)
        sun = (self.to_camera @ air.to_sun).astype(np.float32)
        facing = np.maximum(normals @ sun, 0)[:, None]
        return air.ambient * (0.80 - 0.20 * normals[:, 1:2]) + air.sunlight * facing

    def _rays(self, chosen: Chosen) -> Float[np.ndarray, "chosen 3"]:
        ones = np.ones(len(chosen), np.float32)
        return np.stack([self.right[chosen], self.down[chosen], ones], 1)

    def sky(self, colour: Colours, chosen: Chosen) -> None:
        colour[chosen] = paint_sky(self.air, self._rays(chosen) @ self.to_camera)

    def ground(self, colour: Colours, labels: UInt8[np.ndarray, " pixels"], chosen: Chosen) -> None:
        """Paint the ground with shadows and pools of light, and set its labels."""
        camera, air, frame = self.city.camera, self.air, self.view.frame
        depth, aside = self.depth[chosen], self.right[chosen] * self.depth[chosen]
        heading, (east, north) = float(camera.headings[frame]), camera.positions[frame].tolist()
        sine, cosine, across = math.sin(heading), math.cos(heading), depth / camera.focal
        labels[chosen], unlit = paint_ground(
            self.city.layout,
            east + aside * cosine + depth * sine,
            north + depth * cosine - aside * sine,
            across,
            across * depth / camera.elevation,
        )
        lit = unlit * (air.ambient * 0.95 + air.sunlight * max(float(air.to_sun[1]), 0.2))
        if air.wetness > 0:
            wet = 0.28 * air.wetness * (labels[chosen] == Label.ROAD)
            sheen = wet * np.clip(depth / 40.0, 0.15, 1.0)
            lit += (air.horizon - lit) * sheen[:, None].astype(np.float32)
        shadow, glow = patch_light(self.city.scene, camera, frame)[:, chosen, None]
        lit *= 1 + shadow
        if air.lamps > 0:
            lit += unlit * np.array([1.0, 0.82, 0.5], np.float32) * glow
        colour[chosen] = lit

    def quads(self, chosen: Chosen) -> SurfacePixels:
        surface = self.view.surface[chosen]
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
            lamps=self.air.lamps,
            sky=self.reflection,
        )

    def ellipsoids(self, colour: Colours, chosen: Chosen) -> None:
        """Paint ellipsoids: leaves with texture, lamps glowing, everything else plain."""
        surface, table = self.view.surface[chosen], self.city.scene.surfaces
        geometry, ball = self.view.geometry, surface - FIRST_QUAD - len(self.city.scene.quads)
        point, maps = self._rays(chosen) * self.depth[chosen, None], geometry.spheres[ball]
        unit = np.einsum("nij,nj->ni", maps, point - geometry.centres[ball])
        normal = np.einsum("nij,ni->nj", maps, unit)
        light = self._light(normal / (np.sqrt(row_dot(normal, normal))[:, None] + 1e-9))
        kind, seed = table.material[surface], table.parameters[surface, :1]
        value = np.ones(len(chosen), np.float32)
        leaves = np.flatnonzero(kind == Material.LEAVES)
        places = (unit * self.city.scene.radii[ball] + seed * 7)[leaves]
        value[leaves] = leaf_value(places, self.depth[chosen][leaves] / self.city.camera.focal)
        value[leaves] *= 0.70 + 0.30 * unit[leaves, 1]
        glows = kind[:, None] == Material.GLOW
        lit = np.maximum(seed, self.air.lamps) * glows
        dark = np.where(glows, table.second[surface], table.colour[surface])
        shaded = dark * light * value[:, None] * (1 - lit)
        colour[chosen] = shaded + table.colour[surface] * lit

    def haze(self, colour: Colours) -> None:
        clear = np.exp(-self.air.haze * self.depth)
        clear[self.view.surface == SKY] = 1.0
        colour -= self.air.horizon
        colour *= clear[:, None]
        colour += self.air.horizon

    def bonnet(self, colour: Colours, chosen: Chosen) -> None:
        fall = np.clip(self.down[chosen] * 2.2, 0, 1)
        sheen = np.maximum((1.1 - fall) * (0.36 - 0.4 * np.abs(self.right[chosen])), 0)
        base = np.array(self.city.bonnet_colour, np.float32) * self.air.ambient
        colour[chosen] = base + self.reflection * sheen[:, None]
