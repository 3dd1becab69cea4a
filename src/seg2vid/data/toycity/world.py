"""Composes a city from a seed: weather, street plan, roadside, vehicles, people and riders."""

from dataclasses import replace

import numpy as np

from seg2vid.data.toycity.camera import sample_camera, sample_drive
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.data.toycity.inhabitants import PAINTS, Inhabitants
from seg2vid.data.toycity.roadside import Roadside
from seg2vid.data.toycity.scene import SceneBuilder
from seg2vid.data.toycity.shading import City, sample_atmosphere
from seg2vid.data.toycity.street import Occupancy, sample_layout


def build_city(seed: int, config: ToyCityConfig) -> City:
    """Return the city of a seed, ready to be rendered."""
    random = np.random.Generator(np.random.PCG64(seed))
    air, layout = sample_atmosphere(random), sample_layout(random)
    drive = sample_drive(layout, random)
    seconds = np.arange(config.num_frames + 1) / config.frames_per_second
    way = drive.way(seconds)
    camera = sample_camera(way, config, random)
    scene = SceneBuilder(len(seconds), air.shadow_shift(), air.shade())
    occupancy = Occupancy(len(seconds))
    # The middle of the camera's car is behind it.
    ahead = np.stack([np.sin(way.heading), 0.0 * way.heading, np.cos(way.heading)], 1)
    occupancy.claim(replace(way, position=way.position - 1.2 * ahead), 8.0, 2.0)
    site = (scene, layout, occupancy, random, air.lamps)
    Roadside(*site).fill()
    Inhabitants(*site, seconds, drive.speed).populate()
    words = {"weather": air.weather, "time_of_day": air.time_of_day}
    words |= {"street": layout.kind, "camera": drive.behaviour}
    colour = PAINTS[random.integers(len(PAINTS))]
    return City(scene.build(), layout, air, camera, colour, words)
