"""Composes a city from a seed: street plan, plots, greenery, furniture and traffic."""

import numpy as np

from seg2vid.data.toycity.atmosphere import Atmosphere, sample_atmosphere
from seg2vid.data.toycity.config import ToyCityConfig
from seg2vid.data.toycity.ego import drive_ego
from seg2vid.data.toycity.inhabitants import populate
from seg2vid.data.toycity.layout import Crossing, StreetLayout
from seg2vid.data.toycity.roadside import build_roadside
from seg2vid.data.toycity.scene import SceneBuilder
from seg2vid.data.toycity.shading import City
from seg2vid.data.toycity.street_path import StreetPath
from seg2vid.data.toycity.traffic import Occupancy
from seg2vid.data.toycity.vehicles import CAR_COLOURS

VIEW_DISTANCE = 150.0


def build_city(seed: int, config: ToyCityConfig) -> City:
    """Return the city of a seed, ready to be rendered."""
    random = np.random.Generator(np.random.PCG64(seed))
    atmosphere = sample_atmosphere(random)
    layout = sample_layout(random)
    ego = drive_ego(layout, config, random)
    scene = SceneBuilder(config.num_frames + 1, *atmosphere.shadows())
    occupancy = Occupancy(config.num_frames + 1)
    occupancy.claim(ego.trajectory, 4.6, 2.0)
    build_roadside(scene, layout, atmosphere, occupancy, random)
    populate(scene, layout, ego, config, occupancy, random, atmosphere.lamps_lit)
    return City(
        scene=scene.build(),
        layout=layout,
        atmosphere=atmosphere,
        camera=ego.camera,
        bonnet_colour=CAR_COLOURS[random.integers(len(CAR_COLOURS))],
        description=_describe(atmosphere, layout, ego.behaviour),
    )


def _describe(atmosphere: Atmosphere, layout: StreetLayout, behaviour: str) -> dict[str, str]:
    """Return the clip's description in words."""
    return {
        "weather": atmosphere.weather,
        "time_of_day": atmosphere.time_of_day,
        "street": layout.kind,
        "camera": behaviour,
    }


_KINDS = ("residential", "avenue", "suburb", "commercial", "parkside")


def sample_layout(random: np.random.Generator) -> StreetLayout:
    """Draw a street plan."""
    kind = str(random.choice(_KINDS, p=[0.30, 0.22, 0.18, 0.18, 0.12]))
    lanes = 2 if kind == "avenue" and random.random() < 0.6 else 1
    rails = kind in ("avenue", "commercial") and random.random() < 0.35
    lane_width = float(random.uniform(2.9, 3.5)) + (0.2 if rails else 0.0)
    parking = 2.15 if random.random() < (0.5 if kind == "parkside" else 0.8) else 0.0
    half_width = lanes * lane_width + parking + (0.4 if parking == 0 else 0.0)
    verge = float(random.uniform(1.2, 2.2)) if random.random() < 0.35 else 0.0
    crossing = _sample_crossing(random)
    zebras = _sample_zebras(random, crossing)
    level = random.uniform(0.88, 1.08)
    warm = random.uniform(-0.03, 0.04)
    grass = random.uniform(0.85, 1.15)
    wide = kind in ("commercial", "avenue")
    return StreetLayout(
        kind=kind,
        path=_sample_path(random, crossing),
        half_width=half_width,
        lane_width=lane_width,
        lanes=lanes,
        parking_width=parking,
        pavement=float(random.uniform(3.4, 5.6) if wide else random.uniform(2.3, 3.8)),
        verge=verge,
        green_plots=_sample_green(kind, random),
        crossing=crossing,
        zebras=zebras,
        rails=(-0.5 * lane_width, 0.5 * lane_width) if rails else (),
        corner_radius=float(random.uniform(3.0, 5.5)),
        asphalt=float(random.uniform(0.28, 0.40)),
        paving=(0.56 * level + warm, 0.54 * level, 0.52 * level - warm),
        grass=(0.36 * grass, 0.45 * grass, 0.20 * grass),
        cobbles=kind == "residential" and bool(random.random() < 0.18),
    )


def _sample_green(kind: str, random: np.random.Generator) -> tuple[bool, bool]:
    """Draw whether the plots on the left and right are green."""
    chance = {"suburb": 0.85, "parkside": 1.0, "residential": 0.25}.get(kind, 0.08)
    left, right = random.random(2) < chance
    return bool(left), bool(right)


def _sample_crossing(random: np.random.Generator) -> Crossing | None:
    """Draw a junction, or none."""
    if random.random() < 0.42:
        return None
    near = random.random() < 0.28
    along = float(random.uniform(14.0, 19.0) if near else random.uniform(28.0, 75.0))
    form = random.random()
    return Crossing(
        along=along,
        half_width=float(random.uniform(3.4, 6.0)),
        left_arm=bool(form < 0.75 or form > 0.9),
        right_arm=bool(form < 0.6 or form > 0.75),
        main_ends=bool(form > 0.92),
    )


def _sample_path(random: np.random.Generator, crossing: Crossing | None) -> StreetPath:
    """Draw the centre line: straight, or with a bend (after the junction if there is one)."""
    if random.random() < 0.5 or (crossing is not None and crossing.main_ends):
        return StreetPath()
    sign = 1.0 if random.random() < 0.5 else -1.0
    radius = float(random.uniform(50.0, 160.0))
    first = float(random.uniform(-15.0, 25.0)) if crossing is None else crossing.along + 16.0
    angle = float(random.uniform(0.35, 1.1))
    return StreetPath(0.0, first, sign / radius, angle * radius)


def _sample_zebras(random: np.random.Generator, crossing: Crossing | None) -> tuple[float, ...]:
    """Draw where zebra crossings lie."""
    if crossing is not None:
        before = crossing.along - crossing.half_width - 4.2
        after = crossing.along + crossing.half_width + 4.2
        if random.random() < 0.5:
            return (before,) if crossing.main_ends else (before, after)
        return ()
    return (float(random.uniform(12.0, 45.0)),) if random.random() < 0.3 else ()
