"""The report of an evaluation: complete, harmless, on its own, and loud where it must be."""

import copy
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from seg2vid.evaluation.report.gallery import gallery
from seg2vid.evaluation.report.page import write_evaluation_report
from seg2vid.evaluation.report.reading import Reading, frames_text, number_text
from seg2vid.evaluation.report.tables import (
    MOST_COLUMNS,
    Notes,
    class_tables,
    figure_cell,
    group_table,
    main_metrics,
    summary_table,
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
    cells = {cell for row in page.rows for cell in row}
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
    assert len(page.all("circle")) == sum(len(curve["values"]) for curve in report["curves"])
    cells = {cell for row in page.rows for cell in row}
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
    rows = [row[0] for row in page.rows[:6]]
    assert rows[0] == "candidate"
    assert rows[1].startswith("toycity judged") and rows[2].startswith("first frame repeated")
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
    assert 'class="number best"' not in summary_table(reading)


def test_an_honest_run_has_no_alarm(tmp_path: Path) -> None:
    page = write(make_report(remarks=[]), tmp_path, has_strips=False)
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
    report = make_report(remarks=[])
    report[part] |= change
    page = write(report, tmp_path, has_strips=False)
    assert len(page.all("aside")) == 1
    assert page.text.index(words) < page.text.index("Summary")


def test_remarks_come_first_and_changes_are_cited(tmp_path: Path) -> None:
    report = make_report()
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
    assert html.escape(report["candidates"][0]["title"]) in evil.source


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
    assert not any(re.search("nan|None|inf", cell) for row in page.rows for cell in row[1:])
    assert page.all("circle") == page.all("rect") == []
    assert {cell for row in page.rows for cell in row if cell.startswith("–")} == {"–", "–1"}


@pytest.mark.parametrize("emptied", ["curves", "classes", "figures", "remarks"])
def test_empty_parts_are_said(emptied: str, tmp_path: Path) -> None:
    page = write(make_report(**{emptied: []}), tmp_path, has_strips=False)
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
    report = make_report()
    for index in range(9):
        report["candidates"].append(report["candidates"][0] | {"key": f"o{index}", "role": "other"})
        report["figures"] += [
            figure | {"candidate": f"o{index}"}
            for figure in report["figures"]
            if figure["candidate"] == "model"
        ]
    page = write(report, tmp_path, has_strips=False)
    check_form(page)
    strokes = Reading(report).strokes()
    assert len(strokes) == 13 and len(set(strokes.values())) == 13


def test_stills_are_pictures_without_videos(tmp_path: Path) -> None:
    report = make_report(clips=40)
    report["protocol"] |= {"task": "stills", "num_frames": 0, "horizons": [0]}
    page = write(report, tmp_path)
    check_form(page)
    assert page.all("video") == page.all("script") == []
    assert len(page.all("img")) == 32


def test_clips_that_would_make_the_file_large_are_left_out_and_named(tmp_path: Path) -> None:
    report = make_report(clips=4)
    write_strips(report, tmp_path, frames=2)
    whole = "".join(gallery(Reading(report), tmp_path))
    some = "".join(gallery(Reading(report), tmp_path, most_bytes=len(whole) // 2))
    assert whole.count("<video") == 4 and "Left out" not in whole
    assert 0 < some.count("<video") < 4 and len(some) < len(whole) * 0.6
    assert "Left out, to keep the file small: cityscapes_seq" in some


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
    keys = [metric["key"] for metric in main_metrics(Reading(report))]
    assert len(keys) == MOST_COLUMNS and {"lpips", "fvd", "psnr"} <= set(keys)


def test_remarks_are_written_once_and_marked() -> None:
    notes = Notes()
    marks = [notes.mark(text) for text in ("few <clips>", "", "other", "few <clips>")]
    assert marks == ["<sup>1</sup>", "", "<sup>2</sup>", "<sup>1</sup>"]
    assert notes.lines() == '<ol class="notes"><li>few &lt;clips&gt;</li><li>other</li></ol>'
    assert Notes().lines() == ""


def test_cells_without_an_interval_show_none() -> None:
    cell = figure_cell({"value": 1.25, "low": None, "high": None}, 2, is_best=True)
    assert cell == '<td class="number best"><span class="value"><b>1.25</b></span></td>'


def test_counts_of_a_row_that_differ_are_a_range() -> None:
    report = make_report()
    next(f for f in report["figures"] if f["frames"] == "1-4")["count"] = 21
    rows = Page(group_table(Reading(report), "pictures")).rows
    counts = [row[-1] for row in rows if row[0].startswith("frames 1")]
    assert counts == ["21–24", "24", "24", "24"]
    assert group_table(Reading(report), "unknown") == ""


def test_classes_are_ordered_by_share_and_drawn_to_one_scale() -> None:
    report = make_report()
    report["classes"].reverse()
    (table,) = class_tables(Reading(report))
    rows = Page(table).rows[1:]
    assert [row[0] for row in rows] == ["road", "building", "car", "person"]
    assert rows[0][1] == "33.0%"
    widths = [float(width) for width in re.findall(r'rect width="([\d.]+)"', table)]
    assert len(widths) == 16 and max(widths) == pytest.approx(100 / 1.1, abs=0.1)
