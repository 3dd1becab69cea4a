"""The picture of a training run: what is read from its logs, and where it lands in pixels."""

import csv
import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageColor

from seg2vid.tools.errors import MediaError
from seg2vid.training import curves as train_curves
from seg2vid.training.curves import COLOURS, draw_curves, smooth, write_curves
from seg2vid.training.logs import Curve, read_curves

BLUE, INK = (np.array(ImageColor.getrgb(colour)) for colour in (COLOURS[0], train_curves.INK))


def write_log(run: Path, version: int, rows: Iterable[Mapping[str, Any]], *, cut: int = 0) -> None:
    """Write a log as Lightning does, columns sorted; less its last ``cut`` bytes."""
    rows = list(rows)
    folder = run / "log" / f"version_{version}"
    folder.mkdir(parents=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({name for row in rows for name in row}))
        writer.writeheader()
        writer.writerows(rows)
    content = (folder / "metrics.csv").read_bytes()
    (folder / "metrics.csv").write_bytes(content[: len(content) - cut])


def losses(steps: Iterable[int], value: float = 1.0) -> list[dict[str, Any]]:
    return [{"step": step, "loss": value, "epoch": 0} for step in steps]


def line(values: Iterable[float], first: int = 1) -> Curve:
    return list(enumerate(map(float, values), first))


def near(picture: np.ndarray, colour: np.ndarray, tolerance: int = 60) -> np.ndarray:
    """The pixels of nearly one colour, ``height width``."""
    return np.abs(picture.astype(int) - colour).sum(axis=2) <= tolerance


def rows_of(picture: np.ndarray, colour: np.ndarray = BLUE) -> dict[int, float]:
    """The mean row of a colour's pixels, by column."""
    found = near(picture, colour)
    return {int(x): float(np.flatnonzero(found[:, x]).mean()) for x in np.flatnonzero(found.any(0))}


# Reading.


def test_versions_are_merged_and_what_a_resume_repeats_is_dropped(tmp_path: Path) -> None:
    write_log(tmp_path, 0, losses(range(1, 9)))
    write_log(tmp_path, 2, losses(range(5, 8), 2.0))
    write_log(tmp_path, 10, losses(range(7, 10), 3.0))
    curve = read_curves(tmp_path / "log")["loss"]
    assert [step for step, _ in curve] == list(range(1, 10))
    assert [value for _, value in curve] == [1.0] * 4 + [2.0] * 2 + [3.0] * 3


def test_a_resume_drops_later_rows_of_every_column(tmp_path: Path) -> None:
    old = [*losses(range(1, 7)), {"step": 6, "validation/LPIPS, posterior": 0.5}]
    write_log(tmp_path, 0, [*old, {"step": 3, "validation/LPIPS, posterior": 0.7}])
    write_log(tmp_path, 1, [{"step": step, "train/new": 1.5} for step in (4, 5)])
    curves = read_curves(tmp_path / "log")
    assert curves["loss"] == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert curves["validation/LPIPS, posterior"] == [(3, 0.7)]
    assert curves["train/new"] == [(4, 1.5), (5, 1.5)]
    assert set(curves) == {"loss", "validation/LPIPS, posterior", "train/new"}


@pytest.mark.parametrize("cut", range(3, 9))
def test_a_cut_line_is_dropped(tmp_path: Path, cut: int) -> None:
    write_log(tmp_path, 0, losses([1, 2, 3], 0.125), cut=cut)
    assert read_curves(tmp_path / "log")["loss"] == [(1, 0.125), (2, 0.125)]


def test_steps_ascend_and_cells_that_are_no_number_are_gaps(tmp_path: Path) -> None:
    rows = [{"step": step, "loss": loss} for step, loss in ((9, 9), ("2.0", 2), ("", 5), ("x", 6))]
    write_log(tmp_path, 0, [*rows, {"step": 4, "loss": "nan"}, {"step": 5, "loss": "inf"}])
    curve = read_curves(tmp_path / "log")["loss"]
    assert [step for step, _ in curve] == [2, 4, 5, 9] and curve[0] == (2, 2.0)
    assert math.isnan(curve[1][1]) and math.isinf(curve[2][1])


def test_nothing_to_read_is_nothing_drawn(tmp_path: Path) -> None:
    assert read_curves(tmp_path / "log") == {} and write_curves(tmp_path, title="x") is None
    write_log(tmp_path, 0, losses([1]), cut=5)
    (tmp_path / "log" / "version_1").mkdir()
    (tmp_path / "log" / "version_1" / "metrics.csv").touch()
    write_log(tmp_path, 2, [], cut=0)
    assert write_curves(tmp_path, title="x") is None
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


# Smoothing.


@pytest.mark.parametrize("width", [0, 1, 2, 7, 100])
def test_smoothing_keeps_a_constant_to_its_ends(width: int) -> None:
    assert smooth(line([3.0] * 20), width=width) == line([3.0] * 20)


def test_smoothing_keeps_a_ramp_inside_and_its_order_at_the_ends() -> None:
    curve = smooth(line(range(30)), width=5)
    values = [value for _, value in curve]
    assert values[2:-2] == pytest.approx(range(2, 28))
    assert (values[0], values[-1]) == (1.0, 28.0) and values == sorted(values)
    assert [step for step, _ in curve] == list(range(1, 31))


def test_smoothing_leaves_gaps_and_does_not_count_them() -> None:
    curve = smooth(line([1, 2, math.nan, 4, 1e20, 1, 1, 1]), width=3)
    values = [value for _, value in curve]
    assert math.isnan(values[2]) and values[:2] == [1.5, 1.5]
    assert values[-2:] == [1.0, 1.0], "a huge value is forgotten once it is out of the window"
    assert smooth([], width=3) == []
    assert math.isnan(smooth([(1, math.inf)], width=3)[0][1])


# Drawing.


def test_a_rising_curve_rises_over_the_whole_plot() -> None:
    places = rows_of(draw_curves({"loss": line(range(1, 101))}, title=""))
    columns = sorted(places)
    assert all(places[b] <= places[a] + 0.5 for a, b in pairwise(columns))
    assert places[columns[0]] - places[columns[-1]] > 120
    assert columns[-1] - columns[0] > 1250 and len(columns) > 1250


def test_a_gap_is_left_where_values_are_not_finite() -> None:
    values = np.ones(100)
    values[40:60] = [math.nan, math.inf] * 10
    columns = sorted(rows_of(draw_curves({"loss": line(values)}, title="")))
    start, *_, end = columns
    steps = np.diff(columns)
    assert (steps > 1).sum() == 1
    assert steps.max() == pytest.approx(0.21 * (end - start), rel=0.05)
    assert columns[int(steps.argmax())] - start == pytest.approx(0.39 * (end - start), rel=0.05)


@pytest.mark.parametrize(("largest", "straight"), [(90, False), (1000, True)])
def test_values_over_two_decades_are_drawn_on_a_logarithmic_axis(
    largest: float, straight: bool
) -> None:
    curve = line(np.geomspace(1, largest, 30))
    places = rows_of(draw_curves({"loss": curve}, title=""))
    columns = sorted(places)
    middle = places[columns[len(columns) // 2]]
    share = (places[columns[0]] - middle) / (places[columns[0]] - places[columns[-1]])
    assert (abs(share - 0.5) < 0.03) == straight, share


def test_values_that_are_not_positive_and_gradients_choose_their_axis() -> None:
    def choose(title: str, *values: float) -> bool:
        return train_curves._is_logarithmic(title, np.array(values, dtype=float))

    assert choose("total loss", 1, 101) and not choose("total loss", 1, 99)
    assert not choose("total loss", 0, 1000) and not choose("total loss", -1, -1000)
    assert not choose("total loss", math.nan) and choose("total loss", math.nan, 1, 101)
    assert choose(train_curves.GRADIENT, 0, 1, 4) and not choose(train_curves.GRADIENT, 0, 1, 2)


@pytest.mark.parametrize("best", [250, 500, 800])
def test_the_best_step_is_a_line_at_its_column(best: int) -> None:
    curves = {"validation/PSNR [dB]": [(step, 20 + step / 100) for step in range(0, 1001, 50)]}
    picture = draw_curves(curves, title="", best_step=best)
    columns = sorted(rows_of(picture))
    lines = np.flatnonzero(near(picture[140:], INK, 120).sum(axis=0) > 100)
    share = (lines.mean() - columns[0]) / (columns[-1] - columns[0])
    assert len(lines) <= 2 and share == pytest.approx(best / 1000, abs=0.005)
    for elsewhere in (draw_curves(curves, title=""), draw_curves(curves, title="", best_step=2000)):
        assert near(elsewhere[140:], INK, 120).sum(axis=0).max() < 100


def test_the_best_step_is_marked_in_validation_only() -> None:
    plain, marked = (
        draw_curves({"loss": line(range(9))}, title="", best_step=best) for best in (None, 4)
    )
    assert np.array_equal(plain, marked)


def test_measurements_have_markers_and_no_smoothing() -> None:
    values = [0.0, 1.0] * 60
    measured = draw_curves({"validation/x": line(values)}, title="")
    smoothed = draw_curves({"loss": line(values)}, title="")
    reach = [np.ptp(np.flatnonzero(near(p[110:], BLUE).any(axis=1))) for p in (measured, smoothed)]
    assert reach[0] > 2 * reach[1], "the mean of the second stays in the middle"
    few, many = (
        near(draw_curves({"validation/x": [(s, 1.0) for s in range(0, 101, gap)]}, title=""), BLUE)
        for gap in (50, 10)
    )
    assert many.sum() > few.sum()
    assert np.ptp(np.flatnonzero(few.any(axis=1))) >= 5, "a marker is taller than the line"


def test_figures_share_a_panel_up_to_a_comma_and_keep_their_unit() -> None:
    names = ["LPIPS, posterior", "LPIPS, first frame repeated", "end-point error, prior [px]",
             "end-point error, posterior [px]", "loss of a, b, c [m, s]", "PSNR"]  # fmt: skip
    curves = {f"validation/{name}": line([1.0]) for name in names}
    others = ["loss", "gradient/generator", "gradient/clips", "rate/generator", "train/a_b", "kl"]
    sections = train_curves._arrange(curves | {name: line([1.0]) for name in others})
    lines = {title: list(panel) for title, panel in sections["Validation"].items()}
    assert {title: sorted(names) for title, names in lines.items()} == {
        "LPIPS": ["first frame repeated", "posterior"], "PSNR": [""],
        "end-point error [px]": ["posterior", "prior"], "loss of a, b [m, s]": ["c"],
    }  # fmt: skip
    assert next(iter(sections["Training"])) == "total loss"
    assert sorted(sections["Training"]["gradient norm"]) == ["clips", "generator"]
    assert set(sections["Terms of the loss"]) == {"a b", "kl"}


def test_a_name_has_one_colour_in_all_panels_of_validation() -> None:
    panels = {"LPIPS": {"b": line([1]), "a": line([1])}, "PSNR": {"a": line([1])}}
    assert train_curves._colours(panels["PSNR"], panels)["a"] == COLOURS[1]
    many = {str(number): line([1]) for number in range(20)}
    sections = train_curves._arrange({f"gradient/{name}": curve for name, curve in many.items()})
    sizes = [len(panel) for panel in sections["Training"].values()]
    assert sizes == [8, 8, 4], "no panel has a colour twice"


@pytest.mark.parametrize(
    ("ends", "texts"),
    [
        ((0, 10_000), ["0", "2k", "4k", "6k", "8k", "10k"]),
        ((0, 20_000), ["0", "5k", "10k", "15k", "20k"]),
        ((-0.01, 0.21), ["0", "0.05", "0.1", "0.15", "0.2"]),
        ((0, 2.1e-4), ["0", "5e-5", "1e-4", "1.5e-4", "2e-4"]),
        ((0, 3), ["0", "1", "2", "3"]),
        ((-3e6, 3e6), ["-2M", "0", "2M"]),
    ],
)
def test_ticks_are_round(ends: tuple[float, float], texts: list[str]) -> None:
    found = [text for text in train_curves._ticks(*map(float, ends)).values() if text[-2:] != ".5"]
    assert found == texts


@pytest.mark.parametrize(
    ("ends", "texts"),
    [
        ((-2, 1), ["0.01", "0.1", "1", "10"]),
        ((-0.31, 0.1), ["0.5", "0.6", "0.7", "0.8", "0.9", "1"]),
        ((0, 2.4), ["1", "10", "100"]),
        ((-0.1, 1.1), ["1", "2", "5", "10"]),
    ],
)
def test_logarithmic_ticks_are_round(ends: tuple[float, float], texts: list[str]) -> None:
    assert list(train_curves._ticks(*map(float, ends), True).values()) == texts
    assert 2 <= len(train_curves._ticks(-12.0, 30.0, True)) <= 8


def test_thinning_keeps_extremes_and_long_gaps() -> None:
    rows = np.stack([np.arange(10_000.0), np.zeros(10_000)], axis=1)
    rows[5000, 1], rows[7001, 1], rows[2000:3000, 1] = 7.0, -7.0, np.nan
    thin = train_curves._thin(rows)
    assert len(thin) <= 1400 and (np.diff(thin[:, 0]) >= 0).all()
    assert np.nanmax(thin[:, 1]) == 7 and np.nanmin(thin[:, 1]) == -7
    missing = thin[np.isnan(thin[:, 1]), 0]
    assert 2000 <= missing.min() < 2030 and 2970 < missing.max() < 3000


ODD: dict[str, dict[str, Curve]] = {
    "nothing": {},
    "an empty curve": {"loss": []},
    "one step": {"loss": [(1, 2.0)], "validation/PSNR, a [dB]": [(1, 20.0)]},
    "step zero": {"loss": [(0, 0.0)]},
    "only gaps": {"loss": line([math.nan, math.inf]), "gradient/a": line([math.nan, 0.0])},
    "huge and tiny": {"loss": line([1e-30, 3e38, -1e-30]), "train/a": line([1e-38, 1e-38])},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_runs_are_drawn(name: str) -> None:
    picture = draw_curves(ODD[name], title="odd", best_step=1)
    assert picture.dtype == np.uint8 and picture.shape[1:] == (1400, 3)


def test_the_picture_grows_by_rows_of_panels() -> None:
    heights = [
        draw_curves({f"train/{n}": line([1.0]) for n in range(count)}, title="").shape[0]
        for count in (1, 3, 4, 6, 7)
    ]
    one, three, four, six, seven = heights
    assert one == three < four == six < seven and seven - six == six - three


# Writing.


def test_the_file_is_what_is_drawn_and_is_redrawn(tmp_path: Path) -> None:
    write_log(tmp_path, 0, losses(range(1, 5)))
    path = write_curves(tmp_path, title="a run", best_step=2)
    assert path == tmp_path / "curves.png"
    drawn = draw_curves(read_curves(tmp_path / "log"), title="a run", best_step=2)
    assert np.array_equal(np.asarray(Image.open(path)), drawn)
    write_log(tmp_path, 1, losses(range(5, 9), 4.0))
    write_curves(tmp_path, title="a run")
    assert not np.array_equal(np.asarray(Image.open(path)), drawn)


def test_the_file_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, 0, losses(range(1, 5)))
    (tmp_path / "curves.png").write_bytes(b"older")

    def fail(image: Image.Image, path: Path, *_: Any, **__: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(MediaError, match="no space left"):
        write_curves(tmp_path, title="x")
    assert (tmp_path / "curves.png").read_bytes() == b"older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "log"]
