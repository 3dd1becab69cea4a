"""Composes a city from a seed: weather, street plan, roadside and traffic."""

import numpy as np

from seg2vid.data.toycity.atmosphere import sample_atmosphere
from seg2vid.data.toycity.camera import drive_ego
from seg2vid.data.toycity.config import ToyCityConfig
from seg2vid.data.toycity.inhabitants import Inhabitants
from seg2vid.data.toycity.layout import SideStreet, StreetLayout, StreetPath
from seg2vid.data.toycity.mesh import Look
from seg2vid.data.toycity.roadside import Roadside
from seg2vid.data.toycity.scene import SceneBuilder
from seg2vid.data.toycity.shading import City
from seg2vid.data.toycity.traffic import Occupancy
from seg2vid.data.toycity.vehicles import PAINTS

_KINDS = ("residential", "avenue", "suburb", "commercial", "parkside")
_GREEN = {"suburb": 0.85, "parkside": 1.0, "residential": 0.25}
"""Chance that the ground behind the pavement is green, per kind of street."""


def build_city(seed: int, config: ToyCityConfig) -> City:
    """Return the city of a seed, ready to be rendered."""
    random = np.random.Generator(np.random.PCG64(seed))
    air, layout = sample_atmosphere(random), sample_layout(random)
    ego = drive_ego(layout, config, random)
    scene = SceneBuilder(len(ego.seconds), air.shadow_shift(), air.shade())
    occupancy = Occupancy(len(ego.seconds))
    occupancy.claim(ego.trajectory, 8.0, 2.0)
    Roadside(scene, layout, occupancy, random, air.lamps).fill()
    Inhabitants(scene, layout, occupancy, random, ego.seconds, ego.speed, air.lamps).populate()
    words = {
        "weather": air.weather,
        "time_of_day": air.time_of_day,
        "street": layout.kind,
        "camera": ego.behaviour,
    }
    colour = PAINTS[random.integers(len(PAINTS))]
    return City(scene.build(), layout, air, ego.camera, colour, words)


def sample_layout(random: np.random.Generator) -> StreetLayout:
    """Draw a street plan."""

    def draw(low: float, high: float) -> float:
        return float(random.uniform(low, high))

    kind = str(random.choice(_KINDS, p=[0.30, 0.22, 0.18, 0.18, 0.12]))
    lanes = 2 if kind == "avenue" and random.random() < 0.6 else 1
    crossing = _sample_crossing(random)
    ends = crossing is not None and crossing.main_ends
    rails = kind in ("avenue", "commercial") and not ends and random.random() < 0.38
    lane_width = draw(2.9, 3.5) + (0.2 if rails else 0.0)
    parking = 2.15 if random.random() < (0.5 if kind == "parkside" else 0.8) else 0.0
    warm = draw(-0.03, 0.04)
    red, green, blue = Look((0.56, 0.54, 0.52)).shaded(draw(0.88, 1.08)).colour
    left, right = random.random(2) < _GREEN.get(kind, 0.08)
    wide = kind in ("commercial", "avenue")
    return StreetLayout(
        kind=kind,
        path=_sample_path(random, crossing),
        half_width=lanes * lane_width + (parking or 0.4),
        lane_width=lane_width,
        lanes=lanes,
        parking_width=parking,
        pavement=draw(3.4, 5.6) if wide else draw(2.3, 3.8),
        verge=draw(1.2, 2.2) if random.random() < 0.35 else 0.0,
        green_plots=(bool(left), bool(right)),
        crossing=crossing,
        zebras=_sample_zebras(random, crossing),
        rails=(-0.5 * lane_width, 0.5 * lane_width) if rails else (),
        corner_radius=draw(3.0, 5.5),
        asphalt=draw(0.28, 0.40),
        paving=(red + warm, green, blue - warm),
        grass=Look((0.36, 0.45, 0.20)).shaded(draw(0.85, 1.15)).colour,
        cobbles=kind == "residential" and bool(random.random() < 0.18),
    )


def _sample_crossing(random: np.random.Generator) -> SideStreet | None:
    """Draw a junction, or none."""
    if random.random() < 0.42:
        return None
    near, form = random.random() < 0.28, random.random()
    return SideStreet(
        along=float(random.uniform(14.0, 19.0) if near else random.uniform(28.0, 75.0)),
        half_width=float(random.uniform(3.4, 6.0)),
        left_arm=bool(form < 0.75 or form > 0.9),
        right_arm=bool(form < 0.6 or form > 0.75),
        main_ends=bool(form > 0.92),
    )


def _sample_path(random: np.random.Generator, crossing: SideStreet | None) -> StreetPath:
    """Draw the centre line: straight, or with a bend (after the junction if there is one)."""
    if random.random() < 0.5 or (crossing is not None and crossing.main_ends):
        return StreetPath()
    sign = 1.0 if random.random() < 0.5 else -1.0
    radius, angle = float(random.uniform(50.0, 160.0)), float(random.uniform(0.35, 1.1))
    start = float(random.uniform(-15.0, 25.0)) if crossing is None else crossing.along + 16.0
    return StreetPath(0.0, start, sign / radius, angle * radius)


def _sample_zebras(random: np.random.Generator, crossing: SideStreet | None) -> tuple[float, ...]:
    """Draw where zebra crossings lie along the main street."""
    if crossing is None:
        return (float(random.uniform(12.0, 45.0)),) if random.random() < 0.3 else ()
    gap = crossing.half_width + 4.2
    if random.random() < 0.5:
        return ()
    return (
        (crossing.along - gap,)
        if crossing.main_ends
        else (crossing.along - gap, crossing.along + gap)
    )
