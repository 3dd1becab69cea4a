"""Figures of hand-made units: means, spans, counts, sets and classes in closed form."""

import json
import math
from dataclasses import replace
from functools import cached_property
from typing import Any

import pytest
import torch
from torch import Tensor

from seg2vid.evaluation.figures import build_figures, clip_values, json_number, make_curve, make_row
from seg2vid.evaluation.measure import Unit
from seg2vid.evaluation.metric_table import METRICS
from seg2vid.evaluation.metrics.frechet import inception_score, kernel_distance
from seg2vid.evaluation.metrics.intervals import Interval, interval_of_mean
from seg2vid.evaluation.protocol import Protocol
from seg2vid.evaluation.results import Results, span_of
from tests.evaluation_runs import TINY, still_protocol

NAN = math.nan
PROTOCOL = replace(TINY, enough={"fvd": 256, "kvd": 2, "fid": 2048, "inception_score": 5000})
CLIPS = 3


class Measured(Results):
    """Results whose figures are made once."""

    @cached_property
    def lists(self) -> dict[str, list[dict[str, Any]]]:
        """Figures, curves and classes."""
        return build_figures(self)


def results(
    model: list[Unit], truth: list[Unit] | None = None, protocol: Protocol = PROTOCOL
) -> Measured:
    """Results of a model and the real clips."""
    nothing: list[Unit] = [{"seconds": torch.tensor(0.0)} for _ in model]
    return Measured(protocol, {"truth": truth or nothing, "model": model})


def units(name: str, *values: Any) -> list[Unit]:
    """A unit for each value, which holds it under this name."""
    return [{name: torch.as_tensor(value, dtype=torch.float32)} for value in values]


def rows(
    found: Measured, metric: str, candidate: str = "model", kind: str = "figures"
) -> list[dict[str, Any]]:
    """The entries of a metric, in order."""
    entries = found.lists[kind]
    return [e for e in entries if (e["metric"], e["candidate"]) == (metric, candidate)]


def values(found: Measured, metric: str) -> dict[str, float]:
    """Values of a metric by frames."""
    return {row["frames"]: row["value"] for row in rows(found, metric)}


@pytest.fixture
def lpips() -> Measured:
    """Two samples at three times; the third clip is twice the second."""
    first = [[1.0, 2, 3], [3, 4, 8]]
    second = [[0.0, 0, 6], [0, 6, 0]]
    return results(units("lpips", first, second, [[0, 0, 12], [0, 12, 0]]))


def test_figures_are_means_over_samples_frames_and_clips(lpips: Measured) -> None:
    # Means of frames 1-2: 2.5, 1.5, 3; of 1-3: 3.5, 2, 4.
    assert values(lpips, "lpips") == pytest.approx({"1-2": 7 / 3, "1-3": 9.5 / 3})
    row = rows(lpips, "lpips")[0]
    interval = interval_of_mean(torch.tensor([2.5, 1.5, 3.0]), replicates=50)
    assert row == {
        "remark": "", "candidate": "model", "metric": "lpips", "frames": "1-2",
        "value": interval.value, "low": interval.low, "high": interval.high, "count": 3,
    }  # fmt: skip
    assert rows(lpips, "lpips", "truth") == []


def test_curves_are_means_frame_by_frame(lpips: Measured) -> None:
    (curve,) = rows(lpips, "lpips", kind="curves")
    assert curve["times"] == [1, 2, 3]
    assert curve["values"] == pytest.approx([2 / 3, (3 + 3 + 6) / 3, (5.5 + 3 + 6) / 3])
    bounds = zip(curve["lows"], curve["values"], curve["highs"], strict=True)
    assert all(low <= value <= high for low, value, high in bounds)


def test_clip_values_are_means_of_each_clip(lpips: Measured) -> None:
    found = clip_values(lpips)
    assert found == {
        "lpips 1-2": {"model": pytest.approx([2.5, 1.5, 3])},
        "lpips": {"model": pytest.approx([3.5, 2, 4])},
    }


def test_the_best_of_n_is_expected_over_all_choices(lpips: Measured) -> None:
    # Samples, means over frames: (2, 5), (2, 2), (4, 4).
    (row,) = rows(lpips, "best_of_n")
    assert row["value"] == pytest.approx((2 + 2 + 4) / 3)
    assert (row["frames"], row["remark"]) == ("1-3", "best of 2")
    (curve,) = rows(lpips, "best_of_n", kind="curves")
    assert curve["times"] == [1, 2]
    assert curve["values"] == pytest.approx([(3.5 + 2 + 4) / 3, 8 / 3])
    assert rows(results(units("lpips", [[1.0, 2, 3]])), "best_of_n") == []


def test_what_is_nan_is_left_out() -> None:
    found = results(
        units(
            "epe_backward",
            [[1.0, NAN, 3], [3, NAN, NAN]],
            [[NAN, NAN, NAN], [NAN, NAN, NAN]],
            [[4.0, 4, 4], [NAN, 6, 8]],
        )
    )
    # Means over samples: (2, nan, 3), none, (4, 5, 6); of frames 1-2: 2 and 4.5; 1-3: 2.5 and 5.
    assert values(found, "epe_backward") == pytest.approx({"1-2": 3.25, "1-3": 3.75})
    assert [row["count"] for row in rows(found, "epe_backward")] == [2, 2]
    assert clip_values(found)["epe_backward"]["model"] == [2.5, None, 5]
    (curve,) = rows(found, "epe_backward", kind="curves")
    assert curve["values"] == [3, 5, 4.5]
    assert curve["lows"][1] is None, "one clip alone has no interval"
    nothing = results(units("epe_backward", [[NAN] * 3], [[NAN] * 3]))
    row = rows(nothing, "epe_backward")[0]
    assert (row["value"], row["low"], row["count"]) == (None, None, 0)
    json.dumps(nothing.lists | clip_values(nothing), allow_nan=False)


def test_arrays_are_of_the_frames_that_they_are_measured_at() -> None:
    protocol = replace(PROTOCOL, warping_times=(1, 3))
    found = results(units("warping_error", [0.1, 0.3], [0.3, 0.7]), protocol=protocol)
    assert values(found, "warping_error") == pytest.approx({"1": 0.2, "1, 3": 0.35})
    assert list(clip_values(found)) == ["warping_error 1", "warping_error"]
    spread = results(units("flow_spread", [1.0, 2, 6], [3.0, 4, 8]))
    assert values(spread, "flow_spread") == {"1-2": 2.5, "1-3": 4}
    generation = replace(PROTOCOL, task="generation")
    found = results(units("psnr", [[40.0, 20, 30, 10]]), protocol=generation)
    assert values(found, "psnr") == {"0-2": 30, "0-3": 25}
    assert rows(found, "psnr", kind="curves")[0]["times"] == [0, 1, 2, 3]


def test_pairs_are_averaged() -> None:
    found = results(units("pairwise_lpips", [[1.0, 2, 3], [3, 4, 5], [5, 6, 7]]))
    assert values(found, "pairwise_lpips") == {"1-2": 3.5, "1-3": 4}


def test_a_figure_needs_all_clips() -> None:
    found = results([*units("psnr", [[1.0, 2, 3]]), {}])
    assert rows(found, "psnr") == [] and found.stacked("model", "psnr") is None


def test_time_taken_is_told_where_any_was() -> None:
    found = results(units("seconds", 2.0, 4.0))
    (row,) = rows(found, "seconds")
    assert (row["value"], row["frames"]) == (3, "0-3")
    assert rows(found, "seconds", "truth") == []


def test_hidden_pixels_have_four_scores_each_way() -> None:
    scores = torch.tensor([[0.1, 0.3], [0.2, 0.4], [0.5, 0.7], [0.6, 1.0]])
    model = [{"hidden_forward": scores, "hidden_backward": 1 - scores}] * 2
    found = results(model)
    for place, score in enumerate(("precision", "recall", "f1", "average_precision")):
        mean = float(scores[place].mean())
        (ahead,) = rows(found, f"hidden_forward_{score}")
        (back,) = rows(found, f"hidden_backward_{score}")
        assert (ahead["value"], back["value"]) == pytest.approx((mean, 1 - mean))
        assert ahead["frames"] == "1-3" and ahead["count"] == 2
        assert clip_values(found)[f"hidden_forward_{score}"]["model"] == pytest.approx([mean] * 2)


def confusion(*entries: tuple[int, int, int]) -> Tensor:
    """A matrix (19, 19) with counts at (truth, said)."""
    matrix = torch.zeros(19, 20)
    for truth, said, count in entries:
        matrix[truth, said] = count
    return matrix


def matrices(*by_time: Tensor) -> Tensor:
    return torch.stack(by_time)


@pytest.fixture
def labelled() -> Measured:
    """Two clips: the first is right at first, then wrong; the second knows class 1 alone."""
    right = confusion((0, 0, 8), (1, 1, 2))
    wrong = confusion((0, 0, 4), (0, 1, 4), (1, 1, 2))
    other = confusion((1, 1, 5), (1, 0, 5))
    return results(
        units("confusion_truth", matrices(right, right, wrong), matrices(other, other, other)),
        units("confusion_truth", matrices(right, right, right), matrices(right, right, right)),
    )


def test_labels_are_counted_over_all_clips_together(labelled: Measured) -> None:
    # Frames 1-2: 16 and 4 right of the first clip, 10 of 20 of the second: class 0 has
    # 16 / (16 + 10), class 1 14 / (14 + 10). A mean of clips would give another figure.
    found = values(labelled, "miou_truth")
    assert found["1-2"] == pytest.approx((16 / 26 + 14 / 24) / 2)
    # Frames 1-3: class 0 has 20 of 24 + 15 said wrongly; class 1 21 of 36 + 4.
    assert found["1-3"] == pytest.approx((20 / 39 + 21 / 40) / 2)
    assert values(labelled, "accuracy_truth") == pytest.approx({"1-2": 30 / 40, "1-3": 41 / 60})
    (curve,) = rows(labelled, "accuracy_truth", kind="curves")
    assert curve["values"] == pytest.approx([15 / 20, 15 / 20, 11 / 20])
    row = rows(labelled, "miou_truth", "truth")[0]
    assert (row["value"], row["low"], row["high"]) == (1, 1, 1)


def test_the_real_clip_is_compared_with_true_labels_alone() -> None:
    matrix = matrices(*[confusion((0, 0, 1))] * 3)
    every = {f"confusion_{kind}": matrix for kind in ("truth", "own", "moved")}
    found = results([every], [every])
    for kind in ("own", "moved"):
        assert rows(found, f"miou_{kind}") and not rows(found, f"miou_{kind}", "truth")
        assert not rows(found, f"miou_{kind}", "truth", kind="curves")
    assert rows(found, "miou_truth", "truth")


def test_classes_have_their_union_and_share(labelled: Measured) -> None:
    road, pavement = rows(labelled, "class_iou", kind="classes")
    assert (road["class"], pavement["class"]) == ("road", "sidewalk")
    assert road["value"] == pytest.approx(20 / 39) and road["share"] == pytest.approx(24 / 60)
    assert pavement["value"] == pytest.approx(21 / 40)
    assert road["count"] == 2 and road["low"] <= road["value"] <= road["high"]


def test_classes_have_the_mean_over_their_pixels() -> None:
    sums, counts = torch.zeros(2, 19), torch.zeros(2, 19)
    sums[:, 0], counts[:, 0] = torch.tensor([6.0, 2.0]), torch.tensor([10.0, 30.0])
    sums[1, 13], counts[1, 13] = 5, 10
    model: list[Unit] = [
        {"class_lpips_sum": s, "class_lpips_count": c} for s, c in zip(sums, counts, strict=True)
    ]
    road, car = rows(results(model), "class_lpips", kind="classes")
    assert (road["class"], car["class"]) == ("road", "car")
    assert (road["value"], road["share"]) == pytest.approx((8 / 40, 0.8))
    assert (car["value"], car["share"]) == pytest.approx((0.5, 0.2))
    assert car["low"] is not None, "replicates without a car are left out"


def sets(count: int, shift: float = 0.0) -> list[Unit]:
    """Features of so many clips: two horizons, two pictures."""
    generator = torch.Generator().manual_seed(4)
    return [
        {
            "i3d": torch.randn(2, 5, generator=generator) + shift,
            "inception": torch.randn(2, 6, generator=generator) + shift,
        }
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def shifted() -> Measured:
    """Eight clips whose features all lie two away from those of the real ones."""
    return results(sets(8, shift=2.0), sets(8))


def test_sets_that_are_shifted_are_that_far_apart(shifted: Measured) -> None:
    assert values(shifted, "fvd") == pytest.approx({"0-2": 5 * 4, "0-3": 5 * 4}, abs=1e-4)
    assert values(shifted, "fid") == pytest.approx({"1, 3": 6 * 4}, abs=1e-4)
    assert values(shifted, "fid_unbiased")["1, 3"] == pytest.approx(24, abs=1)
    equal = results(sets(8), sets(8))
    assert values(equal, "fvd") == pytest.approx({"0-2": 0, "0-3": 0}, abs=1e-6)
    flat = [torch.cat([u["inception"] for u in units_]) for units_ in (sets(8, 2.0), sets(8))]
    assert values(shifted, "kid")["1, 3"] == pytest.approx(float(kernel_distance(*flat)))
    row = rows(shifted, "fvd")[0]
    assert row["low"] < row["value"] < row["high"] and row["count"] == 8
    assert rows(shifted, "fvd_unbiased")[0]["low"] is None


def test_few_clips_are_said_to_be_few(shifted: Measured) -> None:
    remarks = {
        metric: rows(shifted, metric)[0]["remark"]
        for metric in ("fvd", "fvd_unbiased", "kvd", "fid", "fid_unbiased", "kid")
    }
    assert remarks == {
        "fvd": "indicative: 8 of 256 clips",
        "fvd_unbiased": "indicative: 8 of 256 clips",
        "kvd": "",
        "fid": "indicative: 16 of 2048 pictures",
        "fid_unbiased": "indicative: 16 of 2048 pictures",
        "kid": "",
    }


def test_real_halves_are_the_floor(shifted: Measured) -> None:
    floor = rows(shifted, "fvd", "truth")
    assert [row["frames"] for row in floor] == ["0-2", "0-3"]
    assert floor[0]["remark"] == "floor: 4 against the other 4 real ones"
    assert 0 < floor[0]["value"] < 20 and floor[0]["low"] is None
    assert rows(shifted, "fid", "truth")[0]["remark"] == "floor: 8 against the other 8 real ones"
    halves = [torch.cat([u["inception"] for u in sets(8)[start::2]]) for start in (0, 1)]
    assert rows(shifted, "kid", "truth")[0]["value"] == pytest.approx(
        float(kernel_distance(*halves))
    )
    assert rows(results(sets(3), sets(3)), "fvd", "truth") == [], "halves need four clips"


def test_one_clip_is_no_set() -> None:
    found = results(sets(1), sets(1))
    assert not {row["metric"] for row in found.lists["figures"]} & {"fvd", "fid", "kid"}
    two = build_figures(results(sets(2), sets(2)))
    assert {row["metric"] for row in two["figures"]} >= {"fvd", "fid", "kid"}
    json.dumps(two, allow_nan=False)


def test_the_inception_score_is_that_of_all_pictures() -> None:
    logits = [torch.eye(4)[[0, 1]] * 50, torch.eye(4)[[2, 3]] * 50]
    (row,) = rows(results(units("inception_logits", *logits)), "inception_score")
    assert row["value"] == pytest.approx(4) == float(inception_score(torch.cat(logits)))
    assert (row["frames"], row["remark"]) == ("1, 3", "indicative: 4 of 5000 pictures")


def test_single_pictures_have_figures_without_curves() -> None:
    protocol = still_protocol()
    model: list[Unit] = [
        {
            "lpips": torch.tensor([[0.2], [0.4]]),
            "confusion_truth": matrices(confusion((0, 0, 3), (0, 1, 1))),
            "inception": torch.rand(1, 6),
            "seconds": torch.tensor(1.0),
        }
        for _ in range(CLIPS)
    ]
    found = results(model, [{"inception": torch.rand(1, 6)}] * CLIPS, protocol)
    lists = found.lists
    assert values(found, "lpips") == pytest.approx({"0": 0.3})
    assert values(found, "accuracy_truth") == {"0": 0.75} and values(found, "seconds") == {"0": 1}
    assert {curve["metric"] for curve in lists["curves"]} == {"best_of_n"}
    assert list(clip_values(found)) == ["lpips"]


def test_sharpness_and_camera_are_those_of_the_frame_that_ends_a_span() -> None:
    for name in ("sharpness", "camera_distance", "camera_turn"):
        found = results(units(name, [[1.0, 0.8, 0.5], [1, 0.6, 0.3]], [[1.0, 0.9, NAN]] * 2))
        assert values(found, name) == pytest.approx({"2": 0.8, "3": 0.4})
        assert [row["count"] for row in rows(found, name)] == [2, 1]
        assert clip_values(found)[f"{name} 2"]["model"] == pytest.approx([0.7, 0.9])
        assert clip_values(found)[name]["model"] == [pytest.approx(0.4), None]
        (curve,) = rows(found, name, kind="curves")
        assert curve["times"] == [1, 2, 3]
        assert curve["values"] == pytest.approx([1, 0.8, 0.4])
    poles = results(units("pole_distance", [[0.5, NAN, 1.5]], [[1.0, 2.0, 3.0]]))
    assert values(poles, "pole_distance") == pytest.approx({"1-2": 1, "1-3": 1.5})


def test_numbers_of_a_clip_are_means_over_its_samples() -> None:
    model = [
        {
            "depth_error": torch.tensor([0.1, 0.3]) + clip,
            "depth_within": torch.tensor([0.9, 0.7]),
            "grid_peaks": torch.tensor([[1.0, 2, 3], [3, 4, 5]]) + clip,
        }
        for clip in range(2)
    ]
    found = results(model)
    expected = {
        "depth_error": 0.7,
        "depth_within": 0.8,
        "grid_2": 2.5,
        "grid_4": 3.5,
        "grid_8": 4.5,
    }
    for name, value in expected.items():
        assert values(found, name) == pytest.approx({"0": value})
        assert rows(found, name)[0]["low"] is not None
    assert clip_values(found)["depth_error"]["model"] == pytest.approx([0.2, 1.2])


def test_drawn_drives_are_compared_with_true_ones() -> None:
    """Two clips that drive 1 and 5 m/s; draws of 1, 2, 3 and 4: half of the truth is beyond."""
    model = units("speed", [1.0, 2.0], [3.0, 4.0])
    truth = units("speed", [1.0], [5.0])
    found = results(model, truth)
    (row,) = rows(found, "speed_ks")
    assert row["value"] == pytest.approx(0.5) and row["frames"] == "0-3" and row["count"] == 2
    assert row["low"] is not None and 0.8 < row["p"] <= 1
    assert row["remark"] == f"Kolmogorov-Smirnov, 4 drawn and 2 true: p = {row['p']:.2g}"
    assert values(found, "speed") == {"0-3": 2.5}
    assert rows(found, "speed", "truth")[0]["value"] == 3
    assert rows(found, "speed_ks", "truth") == rows(found, "turning_ks") == []
    many = results(units("speed", *[[9.0 + i] for i in range(20)]), truth * 10)
    assert rows(many, "speed_ks")[0]["p"] < 1e-6
    assert rows(results(model), "speed_ks") == [], "where nobody knows the true drives"


def test_detail_is_compared_with_the_real_photos_by_class() -> None:
    def unit(road: float, car: float, pixels: float) -> Unit:
        sums, counts = torch.zeros(19), torch.zeros(19)
        sums[0], sums[13] = road * pixels, car * pixels
        counts[0], counts[13] = pixels, pixels
        return {"class_gradient_sum": sums, "class_gradient_count": counts}

    found = results([unit(1, 6, 20), unit(3, 2, 20)], [unit(4, 4, 10), unit(4, 4, 10)])
    road, car = rows(found, "class_gradient", kind="classes")
    assert (road["class"], road["value"], road["share"]) == ("road", pytest.approx(0.5), 0.5)
    assert (car["class"], car["value"]) == ("car", pytest.approx(1))
    assert road["low"] == pytest.approx(0.25) and road["high"] == pytest.approx(0.75)
    assert values(found, "gradient_energy") == pytest.approx({"0": 0.75})
    assert rows(found, "gradient_energy", "truth") == []


def test_every_figure_is_in_the_table_of_metrics() -> None:
    matrix, counts = confusion((0, 0, 3)), torch.eye(19)[0]
    model = [
        unit
        | {name: torch.rand(2, 3) for name in ("psnr", "ssim", "ms_ssim", "lpips", "consistency")}
        | {f"hidden_{way}": torch.rand(4, 2) for way in ("forward", "backward")}
        | {f"confusion_{kind}": matrices(*[matrix] * 3) for kind in ("truth", "own", "moved")}
        | {"pairwise_lpips": torch.rand(1, 3), "warping_error": torch.rand(1)}
        | {"class_lpips_sum": counts, "class_lpips_count": counts}
        | {"seconds": torch.tensor(1.0), "inception_logits": torch.rand(2, 4)}
        | {"flow_spread": torch.rand(3), "epe_forward": torch.rand(2, 3)}
        | {name: torch.rand(2, 3) for name in ("sharpness", "pole_distance")}
        | {name: torch.rand(2, 3) for name in ("camera_distance", "camera_turn")}
        | {name: torch.rand(2) for name in ("depth_error", "depth_within", "speed", "turning")}
        | {"class_gradient_sum": counts, "class_gradient_count": counts}
        | {"grid_peaks": torch.rand(2, 3)}
        for unit in sets(4)
    ]
    lists = build_figures(results(model, model))
    for entries in lists.values():
        assert {entry["metric"] for entry in entries} <= set(METRICS)
    found = {e["metric"] for entries in lists.values() for e in entries}
    assert set(METRICS) - found == {"epe_backward"}
    json.dumps(lists, allow_nan=False)


def test_frames_are_written_as_spans_or_one_by_one() -> None:
    cases = {"1-8": range(1, 9), "1, 4, 8": (1, 4, 8), "0": (0,), "0-1": (0, 1), "": ()}
    assert {span_of(tuple(times)) for times in cases.values()} == set(cases)
    assert all(span_of(tuple(times)) == text for text, times in cases.items())


def test_numbers_that_are_none_become_none() -> None:
    assert [json_number(v) for v in (1.5, NAN, math.inf, -math.inf)] == [1.5, None, None, None]
    row = make_row(Interval(NAN, NAN, 2.0, 4), metric="fid", remark="why")
    assert row == {
        "remark": "why", "metric": "fid", "value": None, "low": None, "high": 2.0, "count": 4,
    }  # fmt: skip
    curve = make_curve([Interval(1.0, 0.5, NAN, 3)], (2,), metric="fid")
    assert curve == {
        "metric": "fid", "times": [2], "values": [1.0], "lows": [0.5], "highs": [None],
    }  # fmt: skip
