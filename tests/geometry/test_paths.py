"""Rigid motions: signs, axes and pivots."""

import torch

from seg2vid.geometry.paths import rigid_motion
from seg2vid.structures import ScenePaths


def test_an_object_moves_in_the_axes_of_the_first_camera_and_turns_about_its_pivot() -> None:
    paths = ScenePaths(
        torch.zeros(1, 1, 4), torch.tensor([[[[2.0, 1.0, 0.3]]]]), torch.tensor([[[20.0, -4.0]]])
    )
    rigid = rigid_motion(paths)
    cosine, sine, right, ahead = (
        part[0, 1, 0] for part in (rigid.cosine, rigid.sine, rigid.rightward, rigid.forward)
    )
    x, z = -4.0, 20.0
    assert torch.isclose(cosine * x + sine * z + right, torch.tensor(-3.0))
    assert torch.isclose(cosine * z - sine * x + ahead, torch.tensor(22.0))
    # What lay a metre before the pivot lies to the right of where it would, after a right turn.
    x, z = -4.0, 21.0
    moved_x = cosine * x + sine * z + right
    assert moved_x > -3.0
