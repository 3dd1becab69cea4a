"""Weather and time of day: sunlight, haze and the sky."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from seg2vid.data.toycity.noise import smooth_noise

Colour = Float32[np.ndarray, " 3"]


@dataclass(frozen=True)
class Atmosphere:
    """Light and air of one clip; colours are RGB 0 to 1."""

    weather: str
    """clear, cloudy, overcast, fog or rain."""
    time_of_day: str
    """day, dusk or night."""
    to_sun: Float[np.ndarray, " 3"]
    """Unit vector towards the sun in world axes."""
    sunlight: Colour
    """Light added to surfaces that face the sun."""
    ambient: Colour
    """Light from all directions."""
    zenith: Colour
    """Colour of the sky overhead."""
    horizon: Colour
    """Colour of the sky near the horizon, and of the haze."""
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
_CLOUD_LIGHT = {"day": (0.78, 1.0), "dusk": (0.45, 1.0), "night": (0.10, 0.6)}
"""Per time of day: brightness of clouds, and how much they hide the sky."""
_LAMPS = {"day": 0.0, "dusk": 0.6, "night": 1.0}


def sample_atmosphere(random: np.random.Generator) -> Atmosphere:
    """Draw weather and time of day."""
    weather = str(random.choice(list(_AIR), p=[0.34, 0.27, 0.23, 0.06, 0.10]))
    time_of_day = str(random.choice(list(_LIGHT), p=[0.78, 0.12, 0.10]))
    sun, around, haze, cloudiness, wetness = _AIR[weather]
    low, high = (0.35, 1.0) if time_of_day == "day" else (0.1, 0.25)
    elevation, azimuth = random.uniform(low, high), random.uniform(0, 2 * np.pi)
    flat, level = np.cos(elevation), random.uniform(0.85, 1.05)
    sunlight, ambient, zenith, horizon = np.array(_LIGHT[time_of_day], np.float32)
    brightness, cover = _CLOUD_LIGHT[time_of_day]
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
        haze=haze * float(random.uniform(0.7, 1.3)),
        cloudiness=cloudiness * float(random.uniform(0.7, 1.0)),
        wetness=wetness,
        lamps=_LAMPS[time_of_day],
    )


def paint_sky(
    atmosphere: Atmosphere, directions: Float[np.ndarray, "samples 3"]
) -> Float32[np.ndarray, "samples 3"]:
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
