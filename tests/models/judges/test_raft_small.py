"""RAFT-small: its look-up against a slow loop, its weights against known motion."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from seg2vid.data.clips import render_toycity
from seg2vid.data.teachers.flow import DISFlow
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.models.judges.files import JUDGES
from seg2vid.models.judges.raft_small import (
    WEIGHTS,
    RaftSmall,
    correlation_pyramid,
    load_raft_small,
    look_up,
)
from seg2vid.tools.errors import ModelError
from seg2vid.warp import backward_warp


@pytest.fixture(scope="module")
def raft(shared_data: Path) -> RaftSmall:
    """RAFT-small with the authors' weights."""
    return load_raft_small(shared_data / "judges")


@cache
def texture() -> Float[Tensor, "1 3 160 320"]:
    """A picture with structure everywhere."""
    coarse = torch.rand(1, 3, 40, 80, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, (160, 320), mode="bicubic").clamp(0, 1)


def view(top: int, left: int, *, height: int = 96, width: int = 128) -> Float[Tensor, "1 3 _ _"]:
    """What a camera at this place sees of the texture."""
    return texture()[:, :, top : top + height, left : left + width]


# Parts, against slow statements of their formulas.


def test_correlation_is_the_scaled_product_of_every_pair_of_cells() -> None:
    first, second = torch.randn(2, 1, 5, 8, 16)
    pyramid = correlation_pyramid(first, second)
    assert [tuple(level.shape) for level in pyramid] == [
        (128, 1, 8 // factor, 16 // factor) for factor in (1, 2, 4, 8)
    ]
    y, x, v, u = 3, 7, 5, 9
    product = float(first[0, :, y, x] @ second[0, :, v, u]) / 5**0.5
    assert float(pyramid[0][y * 16 + x, 0, v, u]) == pytest.approx(product, abs=1e-5)
    block = pyramid[0][y * 16 + x, 0, 4:8, 8:12].mean()
    assert float(pyramid[2][y * 16 + x, 0, 1, 2]) == pytest.approx(float(block), abs=1e-5)


def slow_look_up(
    pyramid: list[Tensor], position: Float[Tensor, "batch 2 height width"]
) -> Float[Tensor, "batch cells height width"]:
    """The same by loops over cells, levels and offsets; bilinear by hand, 0 outside."""

    def read(grid: Float[Tensor, "height width"], x: float, y: float) -> float:
        total, left, top = 0.0, int(np.floor(x)), int(np.floor(y))
        for v, u in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            if 0 <= v < grid.shape[0] and 0 <= u < grid.shape[1]:
                total += float(grid[v, u]) * (1 - abs(x - u)) * (1 - abs(y - v))
        return total

    batch, _, height, width = position.shape
    found = torch.zeros(batch, 4 * 49, height, width)
    for index, (b, y, x) in enumerate(np.ndindex(batch, height, width)):
        cells = []
        for level, correlation in enumerate(pyramid):
            centre = position[b, :, y, x] / 2**level
            for dx in range(-3, 4):  # the slow index is x: the order the weights were trained in
                for dy in range(-3, 4):
                    at = (float(centre[0]) + dx, float(centre[1]) + dy)
                    cells.append(read(correlation[index, 0], *at))
        found[b, :, y, x] = torch.tensor(cells)
    return found


def test_look_up_is_the_loop_over_offsets() -> None:
    pyramid = [torch.randn(2 * 1 * 2, 1, 8 // factor, 16 // factor) for factor in (1, 2, 4, 8)]
    position = torch.rand(2, 2, 1, 2) * torch.tensor([17.0, 9.0]).view(2, 1, 1) - 1
    torch.testing.assert_close(
        look_up(pyramid, position), slow_look_up(pyramid, position), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_no_step_gives_no_flow() -> None:
    flow = RaftSmall(iterations=0)(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    assert flow.shape == (1, 2, 64, 64) and not flow.any()


@torch.no_grad()
@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("size", [(50, 70), (7, 9), (64, 128)])
def test_any_size_gives_flow_of_that_size(size: tuple[int, int]) -> None:
    network = RaftSmall(iterations=1).eval()
    first, second = torch.rand(2, 2, 3, *size)
    assert network(first, second).shape == (2, 2, *size)


# The weights.


def test_the_loader_uses_every_tensor_of_the_file(raft: RaftSmall, shared_data: Path) -> None:
    stored = load_file(shared_data / "judges" / WEIGHTS)
    loaded = raft.state_dict()
    assert set(loaded) == set(stored)
    assert all(torch.equal(loaded[name], stored[name]) for name in stored)
    assert not raft.training and not any(p.requires_grad for p in raft.parameters())
    assert sum(tensor.numel() for tensor in stored.values()) == 990_162


def test_missing_and_foreign_weights_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if its bytes were not pinned: the tensors are then what tells.
    monkeypatch.delitem(JUDGES, WEIGHTS)
    with pytest.raises(ModelError, match=rf"{WEIGHTS} in .*got no such file"):
        load_raft_small(tmp_path)
    save_file({"fnet.conv9.weight": torch.zeros(1)}, tmp_path / WEIGHTS)
    with pytest.raises(
        ModelError, match=r"tensors of RAFT-small in .*fnet\.conv1\.weight"
    ) as error:
        load_raft_small(tmp_path)
    assert "\n" not in str(error.value)


@torch.no_grad()
@pytest.mark.parametrize(("scale", "limit"), [(1.0, 0.6), (1.5, 0.3), (2.0, 0.15)])
def test_a_known_shift_is_found_in_pixels_of_the_picture(
    raft: RaftSmall, scale: float, limit: float
) -> None:
    # The camera goes left and up, so what is seen goes right by 5 and down by 2.
    raft.scale = scale
    try:
        flow = raft(view(20, 40), view(18, 35))
    finally:
        raft.scale = 2.0
    error = (flow - torch.tensor([5.0, 2.0]).view(2, 1, 1)).norm(dim=1)
    assert float(error.mean()) < limit


@torch.no_grad()
def test_equal_pictures_do_not_move(raft: RaftSmall) -> None:
    assert float(raft(view(20, 40), view(20, 40)).norm(dim=1).mean()) < 0.1


@torch.no_grad()
def test_pairs_of_a_batch_do_not_see_each_other(raft: RaftSmall) -> None:
    first, second = torch.cat((view(20, 40), view(8, 8))), torch.cat((view(18, 35), view(9, 10)))
    both = raft(first, second)
    torch.testing.assert_close(both[1:], raft(first[1:], second[1:]), rtol=0.01, atol=0.02)


@torch.no_grad()
def test_flow_of_the_toy_city_is_nearer_the_exact_one_than_dis(raft: RaftSmall) -> None:
    clip = render_toycity(5, ToyCityConfig(num_frames=1))
    exact, visible = clip.motion.backward_flow[:, 0], clip.motion.backward_visible[:, 0, 0] > 0.5
    errors = [
        float((teacher(clip.frames[:, 0], clip.first_frame) - exact).norm(dim=1)[visible].mean())
        for teacher in (raft, DISFlow().flow)
    ]
    assert errors[0] < 0.55 and errors[0] < 0.8 * errors[1]


@torch.no_grad()
def test_flow_of_real_frames_explains_the_change(raft: RaftSmall, shared_data: Path) -> None:
    clips = [shared_data / "driving_clips" / name for name in ("cityscapes_seq0", "kitti_0095")]
    paths = [sorted(clip.glob("*.jpg"))[8:11:2] for clip in clips]
    frames = torch.stack(
        [
            torch.from_numpy(np.stack([np.array(Image.open(path)) for path in pair]))
            for pair in paths
        ]
    )
    first, second = (frames.permute(1, 0, 4, 2, 3).float() / 255).unbind(0)
    unmoved, moved, dis = (
        float((backward_warp(second, flow) - first).abs().mean())
        for flow in (
            torch.zeros_like(first[:, :2]),
            raft(first, second),
            DISFlow().flow(first, second),
        )
    )
    assert moved < 0.7 * unmoved and moved < 1.25 * dis
