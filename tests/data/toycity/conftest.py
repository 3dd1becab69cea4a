"""Cities and their clips, built and rendered once for all tests of this folder."""

import pytest

from seg2vid.data.toycity.clip import ToyCityClip, ToyCityConfig
from seg2vid.data.toycity.render import render_city
from seg2vid.data.toycity.shading import City
from seg2vid.data.toycity.world import build_city

CONFIG = ToyCityConfig(num_frames=3)


@pytest.fixture(scope="session")
def cities() -> dict[int, City]:
    """A few ordinary cities by seed, with all kinds of camera motion."""
    return {seed: build_city(seed, CONFIG) for seed in (0, 1, 15, 26)}


@pytest.fixture(scope="session")
def clips(cities: dict[int, City]) -> list[ToyCityClip]:
    """The clips of these cities."""
    return [render_city(city, seed, CONFIG) for seed, city in cities.items()]
