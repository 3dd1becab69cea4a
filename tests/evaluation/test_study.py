"""A preference study: a page that gives nothing away, answers of any kind, and exact statistics."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from seg2vid.evaluation import study as module
from seg2vid.evaluation.study import Item, Key, analyse, make_page, read_answers, sign_test, wilson
from seg2vid.tools.errors import MediaError, Seg2VidError
from tests.evaluation.test_video_pairs import write

KEY = Key(
    ("ours", "mocogan", "fg"),
    (Item(1, "a", True), Item(2, "a", False), Item(1, "b", False), Item(1, "c", True)),
)
GOOD = {
    "format": module.FORMAT,
    "session": "one",
    "key": KEY.encode(),
    "answers": [{"item": 0, "choice": "left"}, {"item": 2, "choice": "left"}],
}


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three models; each has videos that are no one else's."""
    for place, (model, names) in enumerate(
        {"ours": "abcd", "mocogan": "abcx", "fg": "dcba"}.items()
    ):
        for name in names:
            write(tmp_path / model / f"{name}_seed3", 60 * place + ord(name) % 8, count=3 + place)
    return [tmp_path / name for name in KEY.titles]


def make(folders: list[Path], path: Path, **changes: Any) -> tuple[dict[str, Any], str]:
    """Make a page; return what it shows and its whole text."""
    how = {"pairs": 3, "seed": 0, "frames_per_second": 8.0} | changes
    lines = list(make_page(folders, path, **how))
    assert lines[0] == "ours against mocogan: 3 of 3 pairs"
    text = path.read_text("utf-8")
    match = re.search(r'<script type="application/json" id="study">(.*?)</script>', text, re.S)
    assert match is not None
    return json.loads(match[1]), text


def key_of(shown: dict[str, Any], path: Path) -> Key:
    """The key of a page, as the analysis reads it."""
    path.write_text(json.dumps(GOOD | {"key": shown["key"]}))
    return read_answers(path)[1]


def test_a_page_is_whole_and_gives_nothing_away(folders: list[Path], tmp_path: Path) -> None:
    shown, text = make(folders, tmp_path / "study.html")
    assert len(shown["items"]) == 6 and len(shown["videos"]) == 12
    assert all(base64.b64decode(video)[4:8] == b"ftyp" for video in shown["videos"])
    visible = text.replace(shown["key"], "")
    assert not any(title in visible for title in (*KEY.titles, "_seed3", str(tmp_path)))
    assert not re.search(r"https?://|src=|href=", visible), "nothing is fetched"
    assert "default-src 'none'" in text and "{{" not in text
    assert all(key in text for key in ("ArrowLeft", "ArrowRight", "keydown"))


def test_pairs_come_in_random_order_on_random_sides(folders: list[Path], tmp_path: Path) -> None:
    keys = []
    for seed in (*range(8), 0):
        path = tmp_path / f"{seed}.html"
        keys.append(key_of(make(folders, path, seed=seed)[0], tmp_path / "answers.json"))
    assert keys[0] == keys[-1] and len({str(key) for key in keys}) == 8
    assert {item.first_is_left for key in keys for item in key.items} == {True, False}
    assert len({tuple(item.other for item in key.items) for key in keys}) > 3
    for key in keys:
        assert key.titles == KEY.titles
        clips = sorted((item.other, item.clip) for item in key.items)
        assert [clip for other, clip in clips if other == 1] == ["a", "b", "c"]
        assert len({clip for other, clip in clips if other == 2}) == 3


def test_sides_are_those_of_the_key_and_lengths_are_alike(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_text(pictures: Any, **_: Any) -> bytes:
        return f"{len(pictures)} of {pictures[0].max()}".encode()

    monkeypatch.setattr("seg2vid.evaluation.report.media.encode_video", as_text)
    shown, _ = make(folders, tmp_path / "study.html")
    key = key_of(shown, tmp_path / "answers.json")
    for item, numbers in zip(key.items, shown["items"], strict=True):
        own, theirs = (60 * place + ord(item.clip) % 8 for place in (0, item.other))
        expected = [f"3 of {grey}" for grey in (own, theirs)][:: 1 if item.first_is_left else -1]
        assert [base64.b64decode(shown["videos"][n]).decode() for n in numbers] == expected


def refused(folders: list[Path], path: Path) -> str:
    with pytest.raises(MediaError) as error:
        list(make_page(folders, path, pairs=9, seed=0, frames_per_second=8.0))
    assert not path.exists()
    return str(error.value)


def test_folders_that_do_not_fit_are_refused(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "study.html"
    assert "two folders or more, of different names; got ours;" in refused(folders[:1], page)
    assert "of different names; got ours, ours;" in refused([folders[0], folders[0]], page)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "loop" in refused([folders[0], loop], page)
    write(tmp_path / "strange" / "q", 0)
    assert "videos of the same names in" in refused([folders[0], tmp_path / "strange"], page)
    write(tmp_path / "small" / "a", 0, size=(16, 16))
    message = refused([folders[0], tmp_path / "small"], page)
    assert "videos of one size of a, or the eye sees which is which; got 64x32 and 16x16" in message
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    assert "more, in 1 pairs; take fewer --pairs" in refused(folders, page)


def write_answers(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps(GOOD | changes))
    return path


def test_answers_become_preferences(tmp_path: Path) -> None:
    one = write_answers(tmp_path / "one.json")
    every = [{"item": n, "choice": side} for n, side in enumerate(("right", "right", "right"))]
    two = write_answers(tmp_path / "two.json", session="two", answers=every)
    found, left, total = analyse([one, two])
    assert (left, total) == (2 / 5, 5)
    mocogan, fg = found
    # Clip a: for and against. Clip b: against and for. Nobody saw c.
    assert (mocogan.first, mocogan.second) == ("ours", "mocogan")
    assert (mocogan.answers, mocogan.clips) == (4, 2)
    assert (mocogan.share, mocogan.wins, mocogan.losses, mocogan.p) == (0.5, 0, 0, 1.0)
    assert (fg.second, fg.share, fg.wins, fg.losses, fg.p) == ("fg", 1.0, 1, 0, 1.0)


@pytest.mark.parametrize(("wins", "count"), [(0, 1), (1, 1), (7, 9), (23, 28), (250, 500)])
def test_intervals_and_tests_are_the_textbooks(wins: int, count: int) -> None:
    exact = binomtest(wins, count)
    interval = exact.proportion_ci(method="wilson")
    assert wilson(wins / count, count) == pytest.approx((interval.low, interval.high), abs=1e-6)
    assert sign_test(wins, count - wins) == pytest.approx(exact.pvalue, rel=1e-9)


def key(**changes: Any) -> str:
    plain = json.loads(base64.b64decode(KEY.encode())) | changes
    return base64.b64encode(json.dumps(plain).encode()).decode()


def pair(other: int) -> dict[str, Any]:
    return {"other": other, "clip": "a", "first_is_left": True}


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "other format": ({"format": "seg2vid-study-9"}, "one of seg2vid-study-1"),
    "no key": ({"key": "?"}, "the key of the answers"),
    "no base64": ({"key": "é"}, "the key of the answers"),
    "no JSON": ({"key": base64.b64encode(b"[").decode()}, "got no JSON"),
    "deep": ({"key": base64.b64encode(b"[" * 100_000).decode()}, "nested too deeply"),
    "other key": ({"key": base64.b64encode(b"3").decode()}, "a mapping in the key of"),
    "no such folder": ({"key": key(items=[pair(3)])}, "a folder of 3 in the key of"),
    "itself": ({"key": key(items=[pair(0)])}, "from 1 to 1000; got 0"),
    "no title": ({"key": key(titles=[])}, "a folder of 0 in the key of"),
    "no pair": ({"key": key(items=["a"])}, "a mapping as items[0]"),
    "no side": ({"answers": [{"item": 0, "choice": "both"}]}, "one of left, right"),
    "beyond": ({"answers": [{"item": 4, "choice": "left"}]}, "each of 4 pairs at most once in"),
    "before": ({"answers": [{"item": -1, "choice": "left"}]}, "item"),
    "twice": ({"answers": [{"item": 0, "choice": "left"}] * 2}, "at most once in"),
    "none": ({"answers": []}, "at least one answer; got none"),
    "no letter": ({"answers": "\ud800"}, "letters in the answers to a preference study"),
    "no list": ({"answers": 3}, "a list as answers"),
    "more": ({"extra": 1}, "only format, session, key, answers"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_answers_are_refused_in_a_line(tmp_path: Path, case: str) -> None:
    changes, message = HOSTILE[case]
    with pytest.raises(Seg2VidError) as error:
        analyse([write_answers(tmp_path / "answers.json", **changes)])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_no_answers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_answers(tmp_path / "answers.json")
    with pytest.raises(Seg2VidError, match=r"every sitting once; got those of .* again"):
        analyse([path, path])
    with pytest.raises(Seg2VidError, match="answers to a preference study; got no file"):
        analyse([tmp_path / "none.json"])
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Seg2VidError, match="got no JSON"):
        analyse([path])
    monkeypatch.setattr(module, "MOST_ANSWER_BYTES", 2)
    with pytest.raises(Seg2VidError, match="of more than 0 MiB"):
        analyse([path])
