"""Motion: by hand, by properties, and beside slow references."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from seg2vid.evaluation.metrics.motion import (
    consistency_error_by_frame,
    end_point_error_by_frame,
    flow_spread,
    hidden_average_precision,
    visibility_scores,
    warping_error,
)
from seg2vid.structures import Motion
from seg2vid.tools.errors import ModelError


def test_visibility_scores_by_hand() -> None:
    exact = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).view(1, 1, 1, 1, 6)
    said = torch.tensor([0.0, 0.5, 1.0, 0.2, 0.9, 0.7]).view(1, 1, 1, 1, 6)
    scores = visibility_scores(said, exact)
    assert scores.flatten().tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    said[..., 3] = 0.6
    scores = visibility_scores(said, exact)
    assert scores.flatten().tolist() == pytest.approx([1, 2 / 3, 0.8])


def test_visibility_scores_where_there_is_nothing_to_find() -> None:
    seen, hidden = torch.ones(1, 1, 1, 2, 2), torch.zeros(1, 1, 1, 2, 2)
    for said, exact, expected in (
        (seen, seen, [1, 1, 1]),
        (seen, hidden, [1, 0, 0]),
        (hidden, seen, [0, 1, 0]),
        (hidden, hidden, [1, 1, 1]),
    ):
        assert visibility_scores(said, exact).flatten().tolist() == expected


def test_f1_is_the_harmonic_mean_and_symmetric() -> None:
    said, exact = torch.rand(5, 2, 1, 6, 8), (torch.rand(5, 2, 1, 6, 8) > 0.2).float()
    precision, recall, f1 = visibility_scores(said, exact)
    torch.testing.assert_close(f1, 2 / (1 / precision + 1 / recall))
    assert torch.equal(visibility_scores(exact, said), torch.stack((recall, precision, f1)))


def test_f1_is_that_of_each_sample() -> None:
    exact, said = torch.ones(2, 1, 1, 2, 4), torch.ones(2, 1, 1, 2, 4)
    exact[0, ..., :2] = 0  # four pixels are hidden
    said[0, ..., 1:3] = 0.2  # four are said to be, two of them rightly
    assert visibility_scores(said, exact)[2].tolist() == [0.5, 1.0]


def test_average_precision_by_hand() -> None:
    exact = torch.tensor([0.0, 1.0, 0.0, 1.0]).view(1, 1, 1, 1, 4)
    ranked = torch.tensor([0.1, 0.2, 0.3, 0.9]).view(1, 1, 1, 1, 4)
    # The hidden ones come first and third: precision 1 and 2/3.
    assert float(hidden_average_precision(ranked, exact)) == pytest.approx((1 + 2 / 3) / 2)
    assert float(hidden_average_precision(exact, exact)) == 1
    # The cut does not matter: all above a half is as good.
    assert float(hidden_average_precision(0.6 + 0.4 * exact, exact)) == 1
    assert float(hidden_average_precision(ranked, torch.ones_like(exact))) == 1


def test_better_visibility_scores_higher() -> None:
    exact = (torch.rand(1, 1, 1, 40, 40) > 0.3).float()
    noise = torch.randn_like(exact)
    figures = [float(visibility_scores(exact + s * noise, exact)[2]) for s in (0, 0.3, 0.6, 1.2)]
    assert figures[0] == 1 and figures == sorted(figures, reverse=True)


def test_hidden_pixels_have_no_end_point_error() -> None:
    exact = torch.zeros(1, 1, 2, 1, 3)
    exact[0, 0, :, 0, 0] = torch.tensor([3.0, 4.0])
    exact[0, 0, 0, 0, 1] = 100.0
    visible = torch.tensor([1.0, 0.0, 1.0]).view(1, 1, 1, 1, 3)
    # Pixels 0 and 2 count: (5 + 0) / 2. Counting the hidden one would give 35.
    flow = torch.zeros_like(exact)
    by_frame = end_point_error_by_frame(flow, exact, visible)
    torch.testing.assert_close(by_frame, torch.tensor([[2.5]]))
    assert end_point_error_by_frame(flow, exact, torch.zeros_like(visible)).isnan().all()


def test_end_point_error_by_frame_by_hand() -> None:
    exact = torch.zeros(1, 3, 2, 1, 2)
    flow = torch.tensor([3.0, 4.0]).view(1, 1, 2, 1, 1) * torch.tensor([1.0, 2.0, 3.0]).view(
        1, 3, 1, 1, 1
    )
    visible = torch.ones(1, 3, 1, 1, 2)
    visible[:, 2] = 0
    error = end_point_error_by_frame(flow.expand_as(exact), exact, visible)
    assert error[0, :2].tolist() == [5.0, 10.0] and math.isnan(error[0, 2])


def test_consistent_flows_close_the_way() -> None:
    backward, seen = torch.zeros(1, 2, 2, 5, 9), torch.ones(1, 2, 1, 5, 9)
    backward[:, 0, 0], backward[:, 1, 0] = 2, 3
    error = consistency_error_by_frame(Motion(-backward, backward, seen, seen))
    assert float(error.max()) < 1e-5
    error = consistency_error_by_frame(Motion(backward, backward, seen, seen))
    assert error[0].tolist() == pytest.approx([4, 6], abs=1e-4)
    hidden = torch.zeros_like(seen)
    assert consistency_error_by_frame(Motion(backward, backward, hidden, hidden)).isnan().all()


def test_warping_error_follows_the_flow() -> None:
    """A pattern moves one pixel to the right a frame: frame t reads one pixel further left."""
    pattern = torch.rand(3, 5, 12)
    frames = torch.stack([pattern.roll(t, 2) for t in range(4)])[None]
    flow, visible = torch.zeros(1, 3, 2, 5, 12), torch.ones(1, 3, 1, 5, 12)
    flow[:, :, 0] = -1
    visible[..., 0] = 0
    assert float(warping_error(frames, flow, visible).max()) < 1e-10
    assert float(warping_error(frames, -flow, visible).min()) > 0.05, "the sign matters"
    assert float(warping_error(frames, torch.zeros_like(flow), visible).min()) > 0.05


def slow_warping_error(frames: Tensor, flow: Tensor, visible: Tensor) -> list[float]:
    """Whole pixels, one by one, inside the picture."""
    errors = []
    for pair in range(flow.shape[0]):
        total, count = 0.0, 0
        for y in range(flow.shape[2]):
            for x in range(flow.shape[3]):
                dx, dy = (int(v) for v in flow[pair, :, y, x])
                if visible[pair, 0, y, x]:
                    difference = frames[pair + 1, :, y, x] - frames[pair, :, y + dy, x + dx]
                    total, count = total + float(difference.square().mean()), count + 1
        errors.append(total / count)
    return errors


def test_warping_error_agrees_with_a_slow_reference() -> None:
    frames, flow = torch.rand(1, 3, 3, 6, 7), torch.zeros(1, 2, 2, 6, 7)
    flow[:, :, :, 1:-1, 1:-1] = torch.randint(-1, 2, (1, 2, 2, 4, 5)).float()
    visible = (torch.rand(1, 2, 1, 6, 7) > 0.3).float()
    expected = slow_warping_error(frames[0], flow[0], visible[0])
    assert warping_error(frames, flow, visible)[0].tolist() == pytest.approx(expected, rel=1e-4)


def test_warping_error_grows_with_flicker_and_is_nan_where_nothing_is_seen() -> None:
    still = torch.rand(1, 1, 3, 8, 8).expand(1, 4, 3, 8, 8)
    flow, visible = torch.zeros(1, 3, 2, 8, 8), torch.ones(1, 3, 1, 8, 8)
    noise = torch.randn(1, 4, 3, 8, 8)
    figures = [float(warping_error(still + s * noise, flow, visible).mean()) for s in (0, 0.1, 0.2)]
    assert figures[0] < 1e-10 and figures == sorted(figures)
    assert figures[1] == pytest.approx(2 * 0.1**2, rel=0.3), "two independent deviations of 0.1"
    assert warping_error(still, flow, torch.zeros_like(visible)).isnan().all()


def test_warping_error_wants_one_frame_more_than_flows() -> None:
    with pytest.raises(ModelError) as error:
        warping_error(
            torch.rand(1, 2, 3, 4, 4), torch.rand(1, 2, 2, 4, 4), torch.rand(1, 2, 1, 4, 4)
        )
    assert str(error.value) == (
        "Expected one frame more than flows between neighbours; got 2 frames and 2 flows; "
        "give the first frame with the others."
    )


def test_flow_spread_is_the_mean_over_pairs() -> None:
    flows = torch.randn(4, 3, 2, 5, 6)
    distances = [(a - b).square().sum(1).sqrt().mean((1, 2)) for a, b in combinations(flows, 2)]
    torch.testing.assert_close(flow_spread(flows), torch.stack(distances).mean(0))
    assert float(flow_spread(flows[:1].expand(3, -1, -1, -1, -1)).max()) == 0
    torch.testing.assert_close(flow_spread(3 * flows), 3 * flow_spread(flows))


def test_flow_spread_by_hand() -> None:
    flows = torch.zeros(2, 1, 2, 4, 4)
    flows[1, :, 0], flows[1, :, 1] = 3, 4
    assert flow_spread(flows).tolist() == [5.0]
    with pytest.raises(ModelError, match="at least two samples for a spread; got 1;"):
        flow_spread(flows[:1])
