"""Flow teachers: signs, units and grids as the conventions say, and what failing ones say."""

import sys
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from seg2vid.data.teachers import flow as flow_teachers
from seg2vid.data.teachers.flow import TEACHERS, DISFlow, RaftFlow, get_flow_teacher
from seg2vid.data.teachers.teacher import FlowTeacher, measure_motion
from seg2vid.tools.errors import ModelError, Seg2VidError
from seg2vid.warp import backward_warp, warp_clip


@pytest.fixture(scope="module", params=TEACHERS)
def teacher(request: pytest.FixtureRequest) -> FlowTeacher:
    """Each teacher in turn; the second needs weights from outside."""
    if request.param == "dis":
        return get_flow_teacher("dis")
    return get_flow_teacher("raft", request.getfixturevalue("shared_data") / "judges")


@cache
def texture() -> Float[Tensor, "1 3 128 256"]:
    """A picture with structure everywhere."""
    coarse = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, (128, 256), mode="bicubic").clamp(0, 1)


def seen_from(left: int, top: int = 16) -> Float[Tensor, "1 3 96 160"]:
    """What a camera at this place sees of the texture."""
    return texture()[:, :, top : top + 96, left : left + 160]


INSIDE = (..., slice(16, -16), slice(16, -16))


def test_things_that_go_right_and_down_have_positive_flow(teacher: FlowTeacher) -> None:
    # The camera goes left by 5 and up by 2. Read the other way round, both signs would be minus.
    first, second = seen_from(40, 16), seen_from(35, 14)
    flow = teacher.flow(first, second)
    assert flow.shape == (1, 2, 96, 160) and flow.dtype == torch.float32
    dx, dy = flow[INSIDE].unbind(1)
    assert float((dx - 5).abs().max()) < 0.5 and float((dy - 2).abs().max()) < 0.5
    # On the grid of the first: it says where to read in the second.
    torch.testing.assert_close(
        backward_warp(second, flow)[INSIDE], first[INSIDE], rtol=0, atol=0.06
    )


def test_pairs_of_a_batch_are_measured_one_by_one(teacher: FlowTeacher) -> None:
    first = torch.cat((seen_from(40), seen_from(40)))
    second = torch.cat((seen_from(36), seen_from(44)))
    found = teacher.flow(first, second)[INSIDE][:, 0].mean((1, 2))
    torch.testing.assert_close(found, torch.tensor([4.0, -4.0]), rtol=0, atol=0.1)


def test_motion_follows_the_conventions(teacher: FlowTeacher) -> None:
    # Things go right by 4, then by 8 pixels.
    frames = torch.cat((seen_from(40), seen_from(36), seen_from(32)))
    motion = measure_motion(teacher, frames)
    assert motion.forward_flow.shape == motion.backward_flow.shape == (1, 2, 2, 96, 160)
    assert motion.backward_visible.shape == (1, 2, 1, 96, 160)
    forward, backward = (
        flow[INSIDE][:, :, 0].mean((0, 2, 3))
        for flow in (motion.forward_flow, motion.backward_flow)
    )
    torch.testing.assert_close(forward, torch.tensor([4.0, 8.0]), rtol=0, atol=0.1)
    torch.testing.assert_close(backward, torch.tensor([-4.0, -8.0]), rtol=0, atol=0.1)
    warped = warp_clip(frames[:1], motion.backward_flow)
    assert float((warped[0] - frames[1:])[INSIDE].abs().mean()) < 0.01
    # What came in at the left was not visible before, what left at the right no longer is.
    assert float(motion.backward_visible[INSIDE].mean()) > 0.97
    assert float(motion.backward_visible[0, 1, 0, 16:-16, :6].mean()) < 0.3
    assert float(motion.forward_visible[0, 1, 0, 16:-16, -6:].mean()) < 0.3
    assert float(motion.forward_visible[0, 1, 0, 16:-16, 8:14].mean()) > 0.9


def test_raft_measures_many_pairs_in_parts(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def measure(
        first: Float[Tensor, "batch 3 height width"], _second: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 2 height width"]:
        sizes.append(len(first))
        return first[:, :2]

    teacher = RaftFlow(shared_data / "judges")
    monkeypatch.setattr(teacher.network, "forward", measure)
    pictures = torch.rand(2 * flow_teachers.TOGETHER + 1, 3, 8, 8)
    assert torch.equal(teacher.flow(pictures, pictures), pictures[:, :2])
    assert sizes == [flow_teachers.TOGETHER] * 2 + [1]


def test_teachers_are_found_by_name(shared_data: Path) -> None:
    assert isinstance(get_flow_teacher("dis"), DISFlow)
    assert isinstance(get_flow_teacher("raft", shared_data / "judges"), RaftFlow)
    assert {get_flow_teacher(name, shared_data / "judges").name for name in TEACHERS} == {*TEACHERS}


def test_an_unknown_teacher_is_answered_with_the_known_ones() -> None:
    with pytest.raises(Seg2VidError, match=r"one of: dis, raft; got 'farneback'; choose"):
        get_flow_teacher("farneback")


def test_missing_opencv_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(
        Seg2VidError, match=r"the extra `train` or `eval` .* no cv2 .*'seg2vid\[train\]'"
    ):
        get_flow_teacher("dis")


def test_missing_weights_say_where_they_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"raft_small\.safetensors in .*--judges"):
        get_flow_teacher("raft", tmp_path)


def test_one_frame_has_no_motion() -> None:
    with pytest.raises(Seg2VidError, match="at least 2 frames to measure motion in; got 1"):
        measure_motion(DISFlow(), seen_from(40))
