"""The street plan: which kind of ground lies where."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from seg2vid.data.toycity.street_path import PathCoordinates, StreetPath


@dataclass(frozen=True)
class Crossing:
    """A straight side street that crosses the main street at a right angle."""

    along: float
    """Distance along the main street of its centre line."""
    half_width: float
    """Half the width of its carriageway in metres."""
    left_arm: bool
    """Whether it goes on to the left."""
    right_arm: bool
    """Whether it goes on to the right."""
    main_ends: bool
    """Whether the main street ends here (a T junction)."""


@dataclass(frozen=True)
class StreetLayout:
    """Widths, markings and colours of one street; distances in metres."""

    kind: str
    """residential, avenue, suburb, commercial or parkside."""
    path: StreetPath
    """Centre line of the main street."""
    half_width: float
    """From the centre line to the kerb."""
    lane_width: float
    """Width of one driving lane."""
    lanes: int
    """Driving lanes per direction."""
    parking_width: float
    """Width of the parking strip along each kerb, 0 = none."""
    pavement: float
    """Width of the pavement."""
    verge: float
    """Width of the green strip between kerb and pavement, 0 = none."""
    green_plots: tuple[bool, bool]
    """Whether the ground behind the pavement is green, left and right."""
    crossing: Crossing | None = None
    """The junction, if any."""
    zebras: tuple[float, ...] = ()
    """Distances along the main street of zebra crossings."""
    rails: tuple[float, ...] = ()
    """Distances aside of tram tracks."""
    corner_radius: float = 4.0
    """Radius of the kerb at junctions."""
    asphalt: float = 0.33
    """Brightness of the carriageway."""
    paving: tuple[float, float, float] = (0.55, 0.53, 0.51)
    """Colour of the pavement."""
    grass: tuple[float, float, float] = (0.36, 0.45, 0.20)
    """Colour of the green strips."""
    cobbles: bool = field(default=False)
    """Whether the carriageway is cobbled."""

    @property
    def plot_line(self) -> float:
        """Distance from the centre line to the end of the pavement."""
        return self.half_width + self.verge + self.pavement

    def kerb_distance(
        self, place: PathCoordinates, x: Float[np.ndarray, "*p"], z: Float[np.ndarray, "*p"]
    ) -> Float[np.ndarray, "*p"]:
        """Return metres outside the nearest kerb; negative on the carriageway."""
        main = np.abs(place.aside) - self.half_width
        crossing = self.crossing
        if crossing is None:
            return main
        side = np.abs(place.along - crossing.along) - crossing.half_width
        if not crossing.left_arm:
            side = np.maximum(side, -place.aside)
        if not crossing.right_arm:
            side = np.maximum(side, place.aside)
        if crossing.main_ends:
            main = np.maximum(main, place.along - crossing.along)
        radius = self.corner_radius
        inner = np.hypot(np.maximum(radius - main, 0), np.maximum(radius - side, 0))
        return np.maximum(np.minimum(main, side), radius) - inner

    def in_junction(self, along: float, margin: float) -> bool:
        """Whether a place along the main street is within `margin` of the side street."""
        crossing = self.crossing
        return crossing is not None and (
            abs(along - crossing.along) < crossing.half_width + margin
            or (crossing.main_ends and along > crossing.along)
        )

    def free_kerb(self, along: float, side: int, margin: float) -> bool:
        """Whether the kerb on `side` (-1 left, 1 right) is unbroken around `along`."""
        crossing = self.crossing
        if crossing is None or not self.in_junction(along, margin):
            return True
        arm = crossing.right_arm if side > 0 else crossing.left_arm
        return not (arm or crossing.main_ends)
