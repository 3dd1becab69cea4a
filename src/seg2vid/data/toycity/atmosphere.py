"""Weather and time of day: sunlight, haze and the sky."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from seg2vid.data.toycity.noise import smooth_noise

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Atmosphere:
    """Light and air of one clip; colours are RGB 0 to 1."""

    weather: str
    """clear, cloudy, overcast, fog or rain."""
    time_of_day: str
    """day, dusk or night."""
    to_sun: Triple
    """Unit vector towards the sun in world axes."""
    sunlight: Triple
    """Light added to surfaces that face the sun."""
    ambient: Triple
    """Light from all directions."""
    zenith: Triple
    """Colour of the sky overhead."""
    horizon: Triple
    """Colour of the sky near the horizon, and of the haze."""
    haze: float
    """Extinction per metre."""
    cloudiness: float
    """0 = blue sky, 1 = closed cloud."""
    wetness: float
    """0 = dry road, 1 = wet road."""

    @property
    def lamps_lit(self) -> float:
        """How bright lamps and windows glow, 0 to 1."""
        return {"day": 0.0, "dusk": 0.6, "night": 1.0}[self.time_of_day]

    def shadows(self) -> tuple[tuple[float, float], float]:
        """Return metres (x, z) that shadows fall per metre of height, and their darkness."""
        x, y, z = self.to_sun
        scale = -min(1.0 / max(y, 0.01), 2.5 / max(float(np.hypot(x, z)), 0.01))
        strength = max(self.sunlight) / (max(self.sunlight) + 1.6 * max(self.ambient))
        return (x * scale, z * scale), 1.05 * strength if self.time_of_day == "day" else 0.0


_AIR = {
    "clear": (0.90, 0.58, 0.0008, 0.40, 0.0),
    "cloudy": (0.66, 0.64, 0.0015, 0.75, 0.0),
    "overcast": (0.14, 0.90, 0.0025, 1.0, 0.0),
    "fog": (0.05, 0.85, 0.016, 1.0, 0.2),
    "rain": (0.04, 0.74, 0.006, 1.0, 1.0),
}
"""Per weather: sun strength, ambient strength, haze, cloudiness, wetness."""


def sample_atmosphere(random: np.random.Generator) -> Atmosphere:
    """Draw weather and time of day."""
    weather = str(random.choice(list(_AIR), p=[0.34, 0.27, 0.23, 0.06, 0.10]))
    time_of_day = str(random.choice(["day", "dusk", "night"], p=[0.78, 0.12, 0.10]))
    sun, ambient, haze, cloudiness, wetness = _AIR[weather]
    elevation = random.uniform(0.35, 1.0) if time_of_day == "day" else random.uniform(0.1, 0.25)
    azimuth = random.uniform(0, 2 * np.pi)
    flat = np.cos(elevation)
    to_sun = (flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth))
    grey = 0.5 * min(cloudiness, 1.0) ** 3
    level = random.uniform(0.85, 1.05)
    if time_of_day == "day":
        sunlight, air = (1.0, 0.95, 0.85), (0.95, 1.0, 1.06)
        zenith, horizon = (0.30, 0.50, 0.82), (0.80, 0.87, 0.93)
    elif time_of_day == "dusk":
        sunlight, air = (0.95, 0.55, 0.30), (0.80, 0.70, 0.78)
        zenith, horizon = (0.26, 0.30, 0.52), (0.93, 0.64, 0.45)
    else:
        sunlight, air = (0.10, 0.12, 0.18), (0.46, 0.50, 0.68)
        zenith, horizon = (0.03, 0.04, 0.10), (0.12, 0.13, 0.20)
        grey *= 0.6
    shade = 0.78 if time_of_day == "day" else 0.45 if time_of_day == "dusk" else 0.10
    return Atmosphere(
        weather=weather,
        time_of_day=time_of_day,
        to_sun=tuple(float(value) for value in to_sun),
        sunlight=_scale(sunlight, sun * level),
        ambient=_scale(air, ambient * level),
        zenith=_mix(zenith, (shade, shade, shade * 1.02), 1.7 * grey),
        horizon=_mix(horizon, (shade * 1.08, shade * 1.09, shade * 1.1), 1.7 * grey),
        haze=haze * random.uniform(0.7, 1.3),
        cloudiness=cloudiness * random.uniform(0.7, 1.0),
        wetness=wetness,
    )


def _scale(colour: Triple, factor: float) -> Triple:
    """Multiply a colour by a number."""
    return tuple(float(value * factor) for value in colour)


def _mix(first: Triple, second: Triple, amount: float) -> Triple:
    """Blend two colours; amount 0 = first, 1 = second."""
    amount = min(amount, 1.0)
    return tuple(float(a + (b - a) * amount) for a, b in zip(first, second, strict=True))


def paint_sky(
    atmosphere: Atmosphere, directions: Float[np.ndarray, "samples 3"]
) -> Float32[np.ndarray, "samples 3"]:
    """Return the sky colour (0 to 1) in the given world directions (any length)."""
    unit = directions / np.sqrt((directions**2).sum(1, keepdims=True))
    up = np.maximum(unit[:, 1], 0.0)
    blend = np.minimum(up * 2.2, 1.0)[:, None] ** 0.6
    colour = np.float32(atmosphere.horizon) * (1 - blend) + np.float32(atmosphere.zenith) * blend
    glow = np.maximum(unit @ np.array(atmosphere.to_sun), 0.0)
    strength = max(atmosphere.sunlight)
    sun = 0.35 * glow**12 + 1.2 * np.minimum(np.maximum(glow - 0.9986, 0.0) * 1200.0, 1.0)
    spread = 14.0 / (up + 0.09)
    cloud = smooth_noise(unit[:, 0] * spread + 40.0, unit[:, 2] * spread)
    cloud = 0.7 * cloud + 0.3 * smooth_noise(unit[:, 0] * spread * 3, unit[:, 2] * spread * 3)
    cover = np.clip((cloud + 1.4 * atmosphere.cloudiness - 0.75) * 2.5, 0.0, 1.0)
    cover *= np.minimum(up * 9.0, 1.0)
    light = np.float32(atmosphere.horizon) * (0.96 + 0.12 * cloud[:, None])
    colour = colour + (light - colour) * (0.8 * cover[:, None])
    sunlight = np.float32(atmosphere.sunlight)
    return (colour + (sun * strength * (1 - 0.7 * cover))[:, None] * sunlight).astype(np.float32)
