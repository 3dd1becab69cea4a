"""Tests of what was painted once and is shown again."""

import torch

from seg2vid.geometry import Points, Scene, rays_of
from seg2vid.models.painted import Painted, recall
from seg2vid.structures import Camera, ScenePaths

HEIGHT, WIDTH = 24, 48
LEFT, RIGHT = 3, 4


def test_what_comes_near_keeps_its_own_colours_at_an_outline() -> None:
    """A wall at 8 m, one class red and one blue, seen from 5 m nearer: enlarged 2.7 times."""
    camera = Camera(torch.tensor([40.0]), torch.tensor([[23.5, 11.5]]))
    label_map = torch.where(torch.arange(WIDTH) < 26, LEFT, RIGHT).expand(1, HEIGHT, WIDTH)
    picture = torch.zeros(1, 3, HEIGHT, WIDTH)
    picture[:, 0], picture[:, 2] = (label_map == LEFT).float(), (label_map == RIGHT).float()
    pixels = torch.arange(HEIGHT * WIDTH)
    depth = torch.full((1, len(pixels)), 1 / 8)
    points = Points(torch.cat((rays_of(camera, HEIGHT, WIDTH)[0], depth)), torch.zeros_like(pixels))
    paths = ScenePaths(
        torch.tensor([[[5.0, 0.0, 0.0, 0.0]]]), torch.zeros(1, 0, 1, 3), torch.zeros(1, 0, 2)
    )
    rows = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.long)
    scene = Scene(depth.view(1, HEIGHT, WIDTH), rows, rows, camera, paths)
    hidden = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    blank = torch.zeros(3, HEIGHT, WIDTH)
    layers = [Painted(picture, label_map, points, pixels)]
    frame, labels, bare, _ = recall(layers, scene, 0, blank, rows[0] + 9, hidden)
    assert not bare.any() and set(labels.unique().tolist()) == {LEFT, RIGHT}
    red, _, blue = frame
    is_left = labels == LEFT
    assert (red[is_left] > 0.5).all() and (blue[~is_left] > 0.5).all()


def test_without_layers_all_stays_bare() -> None:
    frame, labels = torch.rand(3, 4, 6), torch.zeros(4, 6, dtype=torch.long)
    hidden = torch.rand(4, 6) < 0.5
    camera = Camera(torch.tensor([4.0]), torch.tensor([[2.5, 1.5]]))
    paths = ScenePaths(torch.zeros(1, 1, 4), torch.zeros(1, 0, 1, 3), torch.zeros(1, 0, 2))
    scene = Scene(torch.ones(1, 4, 6), labels[None], labels[None], camera, paths)
    same = recall([], scene, 0, frame, labels, hidden)
    given = (frame, labels, hidden, torch.zeros_like(labels))
    assert all(torch.equal(a, b) for a, b in zip(same, given, strict=True))
