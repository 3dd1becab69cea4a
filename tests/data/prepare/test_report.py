"""The report of a dataset: complete, harmless, and on its own."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from seg2vid.data.prepare.report import MOST_PREVIEWS, write_report
from seg2vid.labels.space import get_label_space
from seg2vid.media.pictures import write_image

EVIL = "<script>alert('&')</script>"
SPACE = get_label_space("cityscapes")
DROPPED = {"black": 1, "repeated": 2, "cuts": 3, "short": 4, "unrelated": 5}


def recording(name: str, **other: Any) -> dict[str, Any]:
    return {
        "name": name, "split": "train", "clips": 4, "frames_per_second": 23.976, "step": 2,
        "error": None, "dropped": dict.fromkeys(DROPPED, 0), "licence": "CC0", "source": name,
        "labels": {"the dataset": 7},
    } | other  # fmt: skip


def make_index(recordings: list[dict[str, Any]], **other: Any) -> dict[str, Any]:
    shares = dict.fromkeys(SPACE.names, 0.0)
    return {
        "source": "films", "layout": "folder", "command": "seg2vid prepare films -o d",
        "version": "1", "label_space": SPACE.to_dict(), "label_teacher": "someone",
        "flow_teacher": "dis", "recordings": recordings,
        "clip": {"num_frames": 8, "width": 64, "height": 32},
        "counts": {"clips": {"train": 6, "val": 2}, "recordings": len(recordings), "unreadable": 1,
                   "dropped": DROPPED},
        "class_shares": {"train": shares | {"road": 0.75, "sky": 0.25},
                         "val": shares | {"road": 0.5, "car": 0.5}},
        "motion": {"measured": True, "pixels_per_frame_quantiles": {"0.05": 0.5, "0.50": 1.25},
                   "histogram_step": 0.25, "histogram": [0, 4, 0, 2], "visible_in_last_frame": 0.8},
    } | other  # fmt: skip


class Page(HTMLParser):
    """What a browser makes of the page: tags, open ones, and the texts of table rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self.open += [] if tag in {"meta", "img", "link", "br"} else [tag]
        self.rows += [[]] if tag == "tr" else []

    def handle_endtag(self, tag: str) -> None:
        # Items of a list and cells may be left open; nothing here is.
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.rows and {"td", "th"} & set(self.open):
            self.rows[-1].append(data)


def write(index: dict[str, Any], folder: Path) -> str:
    write_report(index, folder, folder / "report.html")
    return (folder / "report.html").read_text("utf-8")


def test_page_is_well_formed_and_needs_no_other_file(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", np.full((16, 64, 3), 90, np.uint8))
    text = write(make_index([recording("a"), recording("b")]), tmp_path)
    page = Page(text)
    assert page.open == [] and text.startswith("<!doctype html>")
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "base", "a"}
    assert "http" not in text and "url(" not in text and "@import" not in text
    sources = [given["src"] for _, given in page.tags if "src" in given]
    (content,) = (source.removeprefix("data:image/jpeg;base64,") for source in sources)
    assert base64.b64decode(content) == (tmp_path / "a.jpg").read_bytes()
    assert text.count("<figure>") == 1, "b has no preview"


def test_text_of_others_is_shown_and_never_run(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", np.zeros((16, 64, 3), np.uint8))
    space = SPACE.to_dict()
    first = make_index([recording("a")])
    name = SPACE.names[0]
    evil_space = space | {
        "classes": [c | {"name": EVIL} if c["name"] == name else c for c in space["classes"]]
    }
    shares = {
        split: {EVIL if key == name else key: value for key, value in values.items()}
        for split, values in first["class_shares"].items()
    }
    entry = recording("a", error=EVIL, licence=EVIL, labels={EVIL: 3}, source=EVIL)
    evil = make_index(
        [entry], source=EVIL, command=EVIL, label_teacher=EVIL, flow_teacher=EVIL,
        label_space=evil_space, class_shares=shares,
    )  # fmt: skip
    text = write(evil, tmp_path)
    assert "script" not in {tag for tag, _ in Page(text).tags}
    assert EVIL not in text
    # Title, command, teachers, licence, class, error, caption.
    assert text.count(str(escape(EVIL))) >= 7


def test_a_name_cannot_leave_its_attribute(tmp_path: Path) -> None:
    name = 'a" onload="x'
    write_image(tmp_path / f"{name}.jpg", np.zeros((16, 64, 3), np.uint8))
    page = Page(write(make_index([recording(name)]), tmp_path))
    (image,) = (given for tag, given in page.tags if tag == "img")
    assert set(image) == {"alt", "src"} and name in str(image["alt"])


def rows_of(index: dict[str, Any], folder: Path) -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in Page(write(index, folder)).rows if row}


def test_classes_are_a_histogram_of_those_that_occur(tmp_path: Path) -> None:
    index = make_index([recording("a")])
    rows = rows_of(index, tmp_path)
    assert rows["class"] == ["train", "val"]
    assert rows["road"] == ["75.00%", "50.00%"] and rows["car"] == ["0.00%", "50.00%"]
    assert rows["sky"] == ["25.00%", "0.00%"]
    text = write(index, tmp_path)
    assert "truck" not in rows and re.search(r"Absent: [^<]*truck", text)
    widths = re.findall(r"width:([\d.]+)%;background:rgb\((\d+), (\d+), (\d+)\)", text)
    assert [float(width) for width, *_ in widths] == [100, 33.3, 66.7]
    assert tuple(map(int, widths[0][1:])) == tuple(SPACE.colours[0])


def test_motion_is_a_histogram_of_speeds(tmp_path: Path) -> None:
    index = make_index([recording("a")])
    rows = rows_of(index, tmp_path)
    assert rows["0.25 … 0.50"] == ["4"] and rows["0.75 … 1.00"] == ["2"]
    assert "0.00 … 0.25" not in rows
    text = write(index, tmp_path)
    assert re.findall(r'"width:([\d.]+)%"', text) == ["100.0", "50.0"]
    assert "5%: 0.50, 50%: 1.25" in text and "shows 80% of the first" in text
    text = write(make_index([recording("a")], motion={"measured": False}), tmp_path)
    assert "<p>Not measured.</p>" in text and "…" not in text


def test_head_and_what_was_dropped(tmp_path: Path) -> None:
    recordings = [recording("a", licence="B"), recording("b"), recording("c")]
    text = write(make_index(recordings), tmp_path)
    assert "8 clips (6 train, 2 val) of 9 frames, 64x32, from 3 recordings" in text
    assert "(layout folder, 1 not or not wholly readable)" in text
    assert text.count("licence as stated: ") == 2
    assert "<pre>seg2vid prepare films -o d</pre>" in text
    for count, word in ((1, "black"), (2, "frames that repeat"), (3, "cuts"), (4, "frames in stre"),
                        (5, "clips whose last")):  # fmt: skip
        assert f"<li>{count} {word}" in text


def test_every_recording_has_a_line(tmp_path: Path) -> None:
    lost = recording("lost", error="no film", clips=0, split="train")
    cut = recording("cut", dropped=dict.fromkeys(DROPPED, 0) | {"cuts": 2, "short": 1}, split="val")
    rows = rows_of(make_index([lost, cut]), tmp_path)
    assert rows["lost"] == ["train", "0", "23.976", "2", "no film"]
    assert rows["cut"] == ["val", "4", "23.976", "2", "cuts 2, short 1"]


@pytest.mark.parametrize(("count", "shown"), [(60, 60), (61, 31), (150, 50)])
def test_previews_of_many_recordings_are_picked_evenly(
    tmp_path: Path, count: int, shown: int
) -> None:
    recordings = [recording(f"r{number:03d}") for number in range(count)]
    for entry in recordings:
        (tmp_path / f"{entry['name']}.jpg").write_bytes(b"picture")
    text = write(make_index(recordings), tmp_path)
    captions = re.findall(r"<figcaption>(r\d+) ", text)
    assert len(captions) == shown <= MOST_PREVIEWS
    assert captions == [entry["name"] for entry in recordings[:: -(-count // 60)]]
    assert "labels 7 by the dataset" in text
