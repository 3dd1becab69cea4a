"""Camera, depth and moved scenes: the only room that knows the pinhole. No weights.

A first frame with an inverse depth at every pixel is a scene. Its camera drives over the ground,
its objects move as rigid bodies, and all else follows: where each pixel goes (forward flow), what
each pixel of a later frame shows (backward flow and source pixel), and what is hidden.

Axes: x right, y down, z forward, in metres, of the first camera. The camera is level: it turns
about the vertical and may pitch. Inverse depth (1/m) is 0 on the sky, so nothing needs an infinity.
Around each pixel the surface is taken for a plane, whose inverse depth is affine in the picture:
planes are moved exactly, and the way back from a later frame is a homography in closed form
(Hartley & Zisserman, Multiple View Geometry, 2nd ed., Sec. 13.1).
"""

from seg2vid.geometry.fitting import fit_objects
from seg2vid.geometry.outlines import find_owners, owners_of
from seg2vid.geometry.paths import rates_of, way_of
from seg2vid.geometry.points import Points, lift_points, move_points, place_points
from seg2vid.geometry.rendering import move_scene, scene_flow, stands_before
from seg2vid.geometry.scene import MovedScene, Scene, enlarge_scene, rays_of
from seg2vid.geometry.sources import AROUND
from seg2vid.geometry.surroundings import dilate, fill_in_rows, pull_and_push

__all__ = [
    "AROUND",
    "MovedScene",
    "Points",
    "Scene",
    "dilate",
    "enlarge_scene",
    "fill_in_rows",
    "find_owners",
    "fit_objects",
    "lift_points",
    "move_points",
    "move_scene",
    "owners_of",
    "place_points",
    "pull_and_push",
    "rates_of",
    "rays_of",
    "scene_flow",
    "stands_before",
    "way_of",
]
