"""A street as a scene, for the tests of this room."""

import torch
from torch import Tensor

from seg2vid.geometry import MovedScene, Scene, move_scene, rays_of
from seg2vid.structures import Camera, ScenePaths

HEIGHT, WIDTH = 32, 64
CAMERA = Camera(torch.tensor([66.0]), torch.tensor([[31.0, 13.0]]))
GROUND = 1.4
"""Metres from the camera down to the ground."""


def drive(*poses: tuple[float, float, float, float]) -> ScenePaths:
    """The camera's poses (forward, rightward, yaw, pitch), and no objects."""
    return ScenePaths(
        torch.tensor(poses).unsqueeze(0), torch.zeros(1, 0, len(poses), 3), torch.zeros(1, 0, 2)
    )


def street() -> tuple[Tensor, Tensor]:
    """Inverse depth and surfaces of a ground plane, a wall at 20 m on the left, and sky."""
    rays = rays_of(CAMERA, HEIGHT, WIDTH).view(3, HEIGHT, WIDTH)
    ground = (rays[1] / GROUND).clamp(min=0)
    is_wall = (rays[0] < -0.1) & (rays[1] > -0.15) & (ground < 1 / 20)
    depth = torch.where(is_wall, 1 / 20, ground)
    surfaces = torch.where(is_wall, 2, (ground > 0).long())
    return depth.unsqueeze(0), surfaces.unsqueeze(0)


def move(paths: ScenePaths, **changes: Tensor) -> MovedScene:
    """Move the street; nothing in it is an object unless ``rows`` says so."""
    depth, surfaces = street()
    given = {"rows": torch.zeros_like(surfaces), "camera": CAMERA, "paths": paths} | changes
    return move_scene(Scene(depth, surfaces=surfaces, **given))
