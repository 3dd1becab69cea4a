"""The report of an evaluation: complete, harmless, on its own, and loud where it must be."""

import copy
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from markupsafe import escape

from seg2vid.evaluation.report import charts
from seg2vid.evaluation.report.media import read_gallery
from seg2vid.evaluation.report.page import environment, render, write_evaluation_report
from seg2vid.evaluation.report.reading import (
    HUES,
    MOST_COLUMNS,
    Reading,
    frames_text,
    is_number,
    number_text,
)
from seg2vid.tools.errors import MediaError
from tests.evaluation_samples import make_report, write_strips

EVIL = "<script>alert('&')</script>\"><img src=x onerror=y>"
VOID = {"meta", "img", "link", "br", "input"}


class Page(HTMLParser):
    """What a browser makes of a page: its tags, what stays open, cells of rows, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self.open += [] if tag in VOID else [tag]
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        last = self.open.pop() if self.open else None
        if last != tag:
            self.wrong.append(f"</{tag}> closes <{last}>")

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self.open):
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def cells(self) -> list[list[str]]:
        """The rows as they are shown: spaces and line breaks count as one space."""
        return [[" ".join(cell.split()) for cell in row] for row in self.rows]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def write(report: dict[str, Any], folder: Path, *, has_strips: bool = True) -> Page:
    """The page of a report, with strips or without."""
    strips = folder / "strips"
    strips.mkdir(exist_ok=True)
    if has_strips:
        write_strips(report, strips, frames=3)
    write_evaluation_report(report, strips, folder / "report.html")
    return Page((folder / "report.html").read_text("utf-8"))


def macro(name: str, *arguments: Any) -> str:
    """What a macro of the tables writes."""
    return str(getattr(environment().get_template("tables.html").module, name)(*arguments))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return write(make_report(), tmp_path_factory.mktemp("report"))


def check_form(page: Page) -> None:
    """Every tag is closed in order, ids are unique, links within the page lead somewhere."""
    assert page.wrong == [] and page.open == []
    ids = [value for _, attributes in page.tags if (value := attributes.get("id"))]
    assert len(ids) == len(set(ids))
    links = [(a.get("href") or "").removeprefix("#") for a in page.all("a")]
    assert set(links) <= set(ids)


def test_page_is_well_formed(page: Page) -> None:
    check_form(page)


def test_page_stands_alone(page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "poster", "srcset", "action", "data"):
            value = attributes.get(name) or ""
            assert re.match(r"data:(video/mp4|image/jpeg);base64,|#|$", value), (tag, value[:50])
    assert "http" not in page.source and "@import" not in page.source
    assert not re.search(r"url\(", page.source)


def test_every_figure_is_on_the_page(page: Page) -> None:
    report = make_report()
    reading = Reading(report)
    cells = {cell for row in page.cells() for cell in row}
    for figure in report["figures"]:
        decimals = reading.decimals(figure["metric"])
        value = number_text(figure["value"], decimals)
        assert any(cell.startswith(value) for cell in cells), figure
        if figure["value"] is not None:
            ends = [number_text(figure[end], decimals) for end in ("low", "high")]
            assert any(cell.endswith(f"{ends[0]} … {ends[1]}") for cell in cells), figure


def test_every_curve_class_and_explanation_is_on_the_page(page: Page) -> None:
    report = make_report()
    assert len([svg for svg in page.all("svg") if svg.get("class") == "chart"]) == 3
    points = [use for use in page.all("use") if "opacity" not in (use.get("style") or "")]
    assert len(points) == sum(len(curve["values"]) for curve in report["curves"])
    assert len(page.all("use")) - len(points) == len(report["curves"])  # a band for each
    cells = {cell for row in page.cells() for cell in row}
    for curve in report["curves"]:
        assert {number_text(value, 4) for value in curve["values"]} <= cells
    for entry in report["classes"]:
        assert entry["class"] in cells
    for metric in report["metrics"]:
        assert metric["about"] in page.text


def test_provenance_and_cost_are_complete(page: Page) -> None:
    report = make_report()

    def leaves(value: object) -> list[str]:
        if isinstance(value, dict):
            return [leaf for inner in value.values() for leaf in leaves(inner)]
        return [str(value)] if isinstance(value, str) else []

    for text in leaves(report["provenance"]) + leaves(report["protocol"]):
        assert text in page.text
    assert "seg2vid evaluate" in page.text and "1.96 GiB" in page.text
    assert "612 s (10.2 minutes)" in page.text
    citation = page.text[page.text.index("How to cite") :]
    protocol = report["protocol"]
    for text in (protocol["name"], protocol["sha256"], report["provenance"]["commit"]):
        assert text in citation


def test_pictures_videos_tables_and_charts_have_words(page: Page) -> None:
    assert all(image.get("alt") for image in page.all("img"))
    assert all(video.get("aria-label") for video in page.all("video"))
    assert all(region.get("aria-label") for region in page.all("div") if region.get("role"))
    assert all(head.get("scope") in {"col", "row", "rowgroup"} for head in page.all("th"))
    for svg in page.all("svg"):
        assert svg.get("aria-label") or svg.get("aria-hidden") == "true"
    assert ("html", {"lang": "en"}) in page.tags


def test_ten_clips_play_muted_in_a_loop_and_have_sheets(page: Page) -> None:
    videos, images = page.all("video"), page.all("img")
    assert len(videos) == len(images) == 10
    assert all({"muted", "loop", "playsinline", "controls"} <= set(video) for video in videos)
    assert all("autoplay" not in video for video in videos)
    assert "prefers-reduced-motion" in page.source
    for heading in ("Best by LPIPS", "Worst by LPIPS", "Spread evenly over the rest by LPIPS"):
        assert heading in page.text


def test_summary_keeps_oracles_and_ceiling_apart(page: Page) -> None:
    rows = [row[0] for row in page.cells()[:6]]
    assert rows[0] == "candidate"
    assert rows[1].startswith("toycity evaluated") and rows[2].startswith("first frame repeated")
    assert rows[3].startswith("For orientation, not competing")
    assert rows[4].startswith("flow of two true frames") and "sees more" in rows[4]
    assert rows[5].startswith("the real clip ceiling")


def test_best_is_marked_among_those_that_compete_only() -> None:
    reading = Reading(make_report())
    metrics = {metric["key"]: metric for metric in reading.metrics()}
    # The oracle and the ceiling have lower LPIPS, but see more.
    assert reading.best(metrics["lpips"], "1-8") == {"model"}
    assert reading.best(metrics["mean_iou"], "1-8") == {"repeat"}
    assert reading.best(metrics["mean_iou"] | {"better": "neither"}, "1-8") == set()
    assert reading.best(metrics["fvd"], "1-4") == set()


def test_the_only_one_is_not_the_best() -> None:
    report = make_report()
    report["candidates"] = [c for c in report["candidates"] if c["key"] != "repeat"]
    reading = Reading(report)
    assert all(reading.best(metric, "1-8") == set() for metric in reading.metrics())
    assert 'class="number best"' not in macro("summary_table", reading)


def test_an_honest_run_has_no_alarm(tmp_path: Path) -> None:
    page = write(make_report(remarks=[], curves=[]), tmp_path, has_strips=False)
    assert page.all("aside") == []


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        (
            "protocol",
            {"changed": {"clips": "2 of 24"}},
            "Changed: clips: 2 of 24. These figures may",
        ),
        ("provenance", {"data_is_as_frozen": False}, "Other data than the protocol froze."),
        ("provenance", {"commit": "abc+"}, "Code with changes that were not committed."),
    ],
)
def test_what_a_reader_must_know_comes_first(
    part: str, change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    report = make_report(remarks=[], curves=[])
    report[part] |= change
    page = write(report, tmp_path, has_strips=False)
    assert len(page.all("aside")) == 1
    assert page.text.index(words) < page.text.index("Summary")


def test_remarks_come_first_and_changes_are_cited(tmp_path: Path) -> None:
    report = make_report(curves=[])
    report["protocol"]["changed"] = {"seeds": "1"}
    page = write(report, tmp_path, has_strips=False)
    assert page.text.index(report["remarks"][0]) < page.text.index("Summary")
    assert "not as frozen: seeds: 1" in page.text[page.text.index("How to cite") :]


def hostile(value: Any) -> Any:
    """The same report with markup in every text that is shown and not a key."""
    if isinstance(value, dict):
        kept = ("key", "role", "better", "group", "metric", "candidate", "task", "frames", "names")
        return {k: copy.deepcopy(v) if k in kept else hostile(v) for k, v in value.items()}
    if isinstance(value, list):
        return [hostile(entry) for entry in value]
    return value + EVIL if isinstance(value, str) else value


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    report = hostile(make_report(clips=2))
    evil = write(report, tmp_path)
    check_form(evil)
    assert len(evil.all("script")) == 1 and len(evil.all("img")) == 2
    assert not any("onerror" in attributes for _, attributes in evil.tags)
    assert evil.text.count(EVIL) > 50
    assert escape(report["candidates"][0]["title"]) in evil.source


def test_missing_values_are_dashes(tmp_path: Path) -> None:
    report = make_report()
    for figure in report["figures"]:
        figure |= {"value": None, "low": None, "high": None}
    for curve in report["curves"]:
        curve["values"] = [float("nan")] * len(curve["times"])
    for entry in report["classes"]:
        entry |= {"value": None, "low": None, "high": None, "share": None}
    report["clips"]["values"] = {}
    page = write(report, tmp_path)
    check_form(page)
    assert not any(re.search("nan|None|inf", cell) for row in page.cells() for cell in row[1:])
    assert page.all("use") == page.all("rect") == []
    assert {cell for row in page.cells() for cell in row if cell.startswith("–")} == {"–", "–1"}


@pytest.mark.parametrize("emptied", ["curves", "classes", "figures", "remarks"])
def test_empty_parts_are_said(emptied: str, tmp_path: Path) -> None:
    page = write(make_report(**{"curves": [], emptied: []}), tmp_path, has_strips=False)
    check_form(page)
    assert "None were kept." in page.text


def test_one_clip_is_enough(tmp_path: Path) -> None:
    report = make_report(clips=1)
    for figure in report["figures"]:
        figure |= {"low": None, "high": None, "count": 1}
    page = write(report, tmp_path)
    check_form(page)
    assert len(page.all("video")) == 1
    assert "beats first frame repeated on" in page.text and "of 1 clips" in page.text


def test_many_candidates_are_told_apart(tmp_path: Path) -> None:
    report = make_report(curves=[])
    for index in range(9):
        report["candidates"].append(report["candidates"][0] | {"key": f"o{index}", "role": "other"})
        report["figures"] += [
            figure | {"candidate": f"o{index}"}
            for figure in report["figures"]
            if figure["candidate"] == "model"
        ]
    page = write(report, tmp_path, has_strips=False)
    check_form(page)
    strokes = Reading(report).strokes
    assert len(strokes) == 13 and len(set(strokes.values())) == 13


def test_stills_are_pictures_without_videos(tmp_path: Path) -> None:
    report = make_report(clips=40, curves=[])
    report["protocol"] |= {"task": "stills", "num_frames": 0, "horizons": [0]}
    page = write(report, tmp_path)
    check_form(page)
    assert page.all("video") == page.all("script") == []
    assert len(page.all("img")) == 32


def test_clips_that_would_make_the_file_large_are_left_out_and_named(tmp_path: Path) -> None:
    report = make_report(clips=4, curves=[])
    write_strips(report, tmp_path, frames=2)
    gallery = read_gallery(report, tmp_path)
    clips = [clip for section in gallery.sections.values() for clip in section]
    size = sum(len(clip.sheet) + len(clip.video) for clip in clips)
    some = render(report, read_gallery(report, tmp_path, most_bytes=size // 2))
    assert len(clips) == 4 and gallery.left_out == []
    assert 0 < some.count("<video") < 4
    assert "Left out, to keep the file small: cityscapes_seq" in some
    assert "Left out" not in render(report, gallery)


def test_failure_leaves_the_older_report(tmp_path: Path) -> None:
    report = make_report(clips=1)
    write_strips(report, tmp_path)
    path = tmp_path / "report.html"
    path.write_text("older")
    report["protocol"]["height"] = 31
    with pytest.raises(MediaError, match="frames of 31 pixels"):
        write_evaluation_report(report, tmp_path, path)
    assert path.read_text() == "older"


# Numbers and words.


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(0.1391, 3, "0.139"), (-2.0, 1, "−2.0"), (-0.0001, 2, "0.00"), (812.4, 0, "812"),
     (None, 2, "–"), (float("nan"), 2, "–"), (float("inf"), 2, "–"), (3, 1, "3.0")],
)  # fmt: skip
def test_numbers(value: object, decimals: int, text: str) -> None:
    assert number_text(value, decimals) == text


@pytest.mark.parametrize(
    ("frames", "text"),
    [("1-8", "frames 1–8"), ("0", "frame 0"), ("1, 4, 8", "frames 1, 4, 8"), ("", "all frames"),
     ("every pair", "every pair")],
)  # fmt: skip
def test_frames_in_words(frames: str, text: str) -> None:
    assert frames_text(frames) == text


def test_longest_span_comes_last() -> None:
    report = make_report()
    lpips = next(f for f in report["figures"] if f["metric"] == "lpips")
    report["figures"] += [lpips | {"frames": f} for f in ("0", "1-24", "7, 9, 30")]
    assert Reading(report).frames_of("lpips") == ["0", "7, 9, 30", "1-4", "1-8", "1-24"]


@pytest.mark.parametrize(
    ("value", "half", "decimals"),
    [(0.139, 0.012, 3), (812.0, 90.0, 0), (21.4, 0.3, 2), (1e-7, 1e-8, 5),
     (0.139, None, 3), (812.0, None, 0), (0.0, None, 1)],
)  # fmt: skip
def test_decimals_follow_the_interval(value: float, half: float | None, decimals: int) -> None:
    ends = {"low": None, "high": None}
    if half is not None:
        ends = {"low": value - half, "high": value + half}
    figure = {"candidate": "a", "metric": "m", "frames": "0", "value": value, "count": 3} | ends
    assert Reading({"figures": [figure]}).decimals("m") == decimals


def test_summary_holds_no_more_than_fits_and_begins_with_the_known() -> None:
    report = make_report()
    for index in range(20):
        report["metrics"].insert(0, report["metrics"][-1] | {"key": f"new{index}"})
        report["figures"].append(report["figures"][0] | {"metric": f"new{index}"})
    keys = [metric["key"] for metric in Reading(report).main_metrics()]
    assert len(keys) == MOST_COLUMNS and {"lpips", "fvd", "psnr"} <= set(keys)


def test_remarks_are_written_once_and_marked() -> None:
    notes: list[str] = []
    figures = [{"value": 1, "remark": text} for text in ("few <clips>", "", "other", "few <clips>")]
    cells = [macro("cell_text", figure, 1, False, notes) for figure in figures]
    marks = [re.findall(r"<sup>(.)</sup>", cell) for cell in cells]
    assert marks == [["1"], [], ["2"], ["1"]] and notes == ["few <clips>", "other"]
    report = make_report()
    report["figures"][0]["remark"] = report["figures"][-1]["remark"] = "few <clips>"
    table = macro("group_table", Reading(report), "pictures", "Pictures")
    assert '<ol class="notes"><li>few &lt;clips&gt;</li></ol>' in table
    assert "<ol" not in macro("group_table", Reading(report), "labels", "Labels")


def test_cells_without_an_interval_show_none() -> None:
    cell = macro("cell_text", {"value": 1.25, "low": None, "high": None}, 2, True)
    assert cell == '<span class="value"><b>1.25</b></span>'


def test_counts_of_a_row_that_differ_are_a_range() -> None:
    report = make_report()
    next(f for f in report["figures"] if f["frames"] == "1-4")["count"] = 21
    rows = Page(macro("group_table", Reading(report), "pictures", "Pictures")).cells()
    counts = [row[-1] for row in rows if row[0].startswith("frames 1")]
    assert counts == ["21–24", "24", "24", "24"]


def test_unknown_groups_come_last_by_their_own_name() -> None:
    report = make_report()
    report["metrics"][0]["group"] = "new"
    assert list(Reading(report).groups())[-1] == "new"
    report["figures"] = []
    assert Reading(report).groups() == {}


def test_classes_are_ordered_by_share_and_drawn_to_one_scale() -> None:
    report = make_report()
    report["classes"].reverse()
    (found,) = Reading(report).class_tables()
    table = macro("class_table", Reading(report), found)
    rows = Page(table).cells()[1:]
    assert [row[0] for row in rows] == ["road", "building", "car", "person"]
    assert rows[0][1] == "33.0%"
    widths = [float(width) for width in re.findall(r'rect width="([\d.]+)"', table)]
    assert len(widths) == 16 and max(widths) == pytest.approx(100 / 1.1, abs=0.1)


# Bars and legends.


def bar(figure: dict[str, float | None], largest: float) -> ElementTree.Element:
    return ElementTree.fromstring(macro("bar", figure, largest, 1))


def test_bars_are_shares_of_the_largest() -> None:
    svg = bar({"value": 0.5, "low": 0.4, "high": 0.7}, 2.0)
    (rect,), (line,) = svg.iter("rect"), svg.iter("line")
    assert float(rect.get("width", "")) == 25
    assert (line.get("x1"), line.get("x2")) == ("20.0", "35.0")
    assert svg.get("aria-hidden") == "true"


@pytest.mark.parametrize("interval", [{}, {"low": None, "high": None}, {"low": 1.0, "high": None}])
def test_bars_without_an_interval_have_no_whisker(interval: dict[str, float | None]) -> None:
    assert list(bar({"value": 1.0} | interval, 1.0).iter("line")) == []


def test_bars_of_nothing_and_less() -> None:
    for value, largest in ((0.0, 0.0), (-1.0, 1.0)):
        (rect,) = bar({"value": value, "low": -2.0, "high": -0.5}, largest).iter("rect")
        assert float(rect.get("width", "")) == 0


def test_legend_names_and_draws_every_curve(page: Page) -> None:
    legend = page.source[page.source.index('<ul class="legend">') :]
    root = ElementTree.fromstring(legend[: legend.index("</ul>") + 5])
    titles = [candidate["title"] for candidate in Reading(make_report()).candidates]
    assert ["".join(item.itertext()).strip() for item in root.iter("li")] == titles
    dashes = [line.get("stroke-dasharray") for line in root.iter("line")]
    assert dashes == [None, "6 3", "2 3", "9 3 2 3"]
    assert "--hue0" in next(root.iter("line")).get("style", "")


# Colours.


STYLE = (Path(charts.__file__).parent / "style.css").read_text()


def test_every_hue_is_defined_for_light_and_dark() -> None:
    for hue in range(HUES):
        assert len(re.findall(rf"--hue{hue}: #[0-9a-f]{{6}}", STYLE)) == 2


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("place", "ground"), [(0, 1.0), (1, luminance("#121212"))])
def test_curves_stand_out_from_the_ground(place: int, ground: float) -> None:
    for hue in range(HUES):
        colour = luminance(re.findall(rf"--hue{hue}: (#[0-9a-f]{{6}})", STYLE)[place])
        bright, dark = max(colour, ground), min(colour, ground)
        assert (bright + 0.05) / (dark + 0.05) >= 3, f"hue {hue}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, True), (1.5, True), (None, False), (math.nan, False), (math.inf, False), ("1", False)],
)
def test_numbers_are_finite(value: object, expected: bool) -> None:
    assert is_number(value) is expected
