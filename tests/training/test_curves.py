"""The picture of a training run: what is read from its logs, and what is drawn of it."""

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from seg2vid.tools.errors import MediaError
from seg2vid.training import curves as train_curves
from seg2vid.training.curves import COLOURS, INK, Curve, draw_curves, read_curves, write_curves


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


def panel(title: str, curves: Mapping[str, Curve], *, is_measured: bool = False) -> Axes:
    """The axes of one panel, drawn."""
    axes: Axes = Figure().subplots()
    colours = train_curves._colours(curves, {})
    train_curves._draw_panel(axes, title, curves, colours, is_measured)
    return axes


def dark(axes: Axes) -> Any:
    """The last line of a panel: a mean, or what was measured."""
    return axes.lines[-1]


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


def smooth(curve: Curve, *, width: int) -> Curve:
    """The running mean as a curve."""
    means = train_curves._running_mean(train_curves._to_rows(curve), width)[:, 1].tolist()
    return [(step, mean) for (step, _), mean in zip(curve, means, strict=True)]


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


def test_a_curve_is_drawn_pale_and_its_mean_dark() -> None:
    values = [0.0, 1.0] * 60
    axes = panel("total loss", {"": line(values)})
    pale, mean = axes.lines
    assert pale.get_alpha() == 0.3 and list(pale.get_ydata()) == values
    assert np.ptp(mean.get_ydata()[5:-5]) < 0.4, "the mean stays in the middle"
    assert mean.get_color() == pale.get_color() == COLOURS[0]


def test_a_gap_is_left_where_values_are_not_finite() -> None:
    values = np.ones(100)
    values[40:60] = [math.nan, math.inf] * 10
    found = np.isfinite(dark(panel("total loss", {"": line(values)})).get_ydata())
    assert np.array_equal(found, np.isfinite(values))


def test_values_over_two_decades_are_drawn_on_a_logarithmic_axis() -> None:
    for largest, scale in ((90, "linear"), (1000, "log")):
        axes = panel("total loss", {"": line(np.geomspace(1, largest, 30))})
        assert axes.get_yscale() == scale
        low, high = axes.get_ylim()
        assert low < 1 and largest < high < 2 * largest


def test_values_that_are_not_positive_and_gradients_choose_their_axis() -> None:
    def choose(title: str, *values: float) -> bool:
        return train_curves._is_logarithmic(title, np.array(values, dtype=float))

    assert choose("total loss", 1, 101) and not choose("total loss", 1, 99)
    assert not choose("total loss", 0, 1000) and not choose("total loss", -1, -1000)
    assert not choose("total loss", math.nan) and choose("total loss", math.nan, 1, 101)
    assert choose(train_curves.GRADIENT, 0, 1, 4) and not choose(train_curves.GRADIENT, 0, 1, 2)


def test_an_axis_leaves_single_spikes_out() -> None:
    values = np.ones(1000)
    values[500] = 1e6
    low, high = panel(
        "train", {"": [(s, 0.0 if s == 9 else v) for s, v in line(values)]}
    ).get_ylim()
    assert low < 1 and high < 1e5


def test_the_best_step_is_marked_in_validation_only() -> None:
    curves = {"validation/PSNR [dB]": [(step, 20 + step / 100) for step in range(0, 1001, 50)]}
    plain, marked, outside = (
        draw_curves(curves, title="", best_step=best) for best in (None, 250, 2000)
    )
    assert np.array_equal(plain, outside) and not np.array_equal(plain, marked)
    ink = np.array([int(INK[i : i + 2], 16) for i in (1, 3, 5)])
    columns = (np.abs(marked.astype(int) - ink).sum(2) < 60).sum(0)
    assert columns.max() > 100, "a line from top to bottom"
    plain, marked = (
        draw_curves({"loss": line(range(9))}, title="", best_step=best) for best in (None, 4)
    )
    assert np.array_equal(plain, marked)


def test_measurements_have_markers_and_no_smoothing() -> None:
    values = [0.0, 1.0] * 60
    axes = panel("x", {"": line(values)}, is_measured=True)
    assert len(axes.lines) == 1 and list(dark(axes).get_ydata()) == values
    assert dark(axes).get_marker() == "o"
    assert dark(panel("loss", {"": line([1.0])})).get_marker() == "o", "one step is seen, too"
    assert dark(panel("loss", {"": line(values)})).get_marker() == ""


def test_legend_tells_the_last_values() -> None:
    axes = panel("LPIPS", {"prior": line([2, 0.12345, math.nan]), "b": line([math.nan])})
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["prior  0.123", "b  no number"]


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
