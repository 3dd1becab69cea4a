"""Media of the report: the right clips, frames in order, videos that play, sheets that fit."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image, ImageFont

from seg2vid.evaluation.report.media import (
    GAP,
    HOLD,
    SHEET_WIDTH,
    TITLE_HEIGHT,
    choose_clips,
    fitting,
    read_strip,
    read_strips,
    sheet_bytes,
    side_by_side,
    stills_bytes,
    video_bytes,
)
from seg2vid.evaluation.report.reading import clip_values, main_metric
from seg2vid.media.pictures import write_image
from seg2vid.media.video import read_video
from seg2vid.tools.errors import MediaError
from tests.evaluation_samples import make_report, write_strips


def grey(
    *levels: int, height: int = 32, width: int = 64
) -> UInt8[np.ndarray, "time height width 3"]:
    """Frames of one grey level each."""
    frames = np.zeros((len(levels), height, width, 3), np.uint8)
    return frames + np.array(levels, np.uint8)[:, None, None, None]


def picture(content: bytes) -> UInt8[np.ndarray, "height width 3"]:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def folders(report: dict[str, Any], folder: Path) -> Path:
    """The folders of clips, empty: enough to choose among them."""
    for name in report["clips"]["names"]:
        (folder / name).mkdir()
    return folder


def test_strips_are_cut_from_top_to_bottom(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", grey(10, 20, 30).reshape(-1, 64, 3))
    frames = read_strip(tmp_path / "a.png", height=32)
    assert np.array_equal(frames, grey(10, 20, 30))


def test_half_a_frame_is_an_error(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", grey(10, 20)[:, :31].reshape(-1, 64, 3))
    message = (
        r"Expected frames of 32 pixels, one above the other; got .*a.png of 62 pixels in height"
    )
    with pytest.raises(MediaError, match=message):
        read_strip(tmp_path / "a.png", height=32)


def test_rows_begin_with_the_truth_and_skip_what_has_no_picture(tmp_path: Path) -> None:
    report = make_report(clips=1)
    write_strips(report, tmp_path)
    clip = report["clips"]["names"][0]
    (tmp_path / clip / "extrapolated.jpg").unlink()
    rows = read_strips(report, tmp_path, clip)
    assert list(rows) == ["the real clip", "toycity", "first frame repeated"]
    assert all(frames.shape == (9, 32, 64, 3) for frames in rows.values())


def test_equal_titles_do_not_hide_each_other(tmp_path: Path) -> None:
    report = make_report(clips=1)
    write_strips(report, tmp_path)
    for candidate in report["candidates"]:
        candidate["title"] = " same\ntitle "
    rows = read_strips(report, tmp_path, report["clips"]["names"][0])
    assert len(rows) == 4 and next(iter(rows)) == "same title"


def test_lpips_ranks_clips_where_it_is_there() -> None:
    report = make_report()
    assert (main_metric(report) or {})["key"] == "lpips"
    del report["clips"]["values"]["lpips"]
    assert (main_metric(report) or {})["key"] == "psnr"
    report["clips"]["values"]["psnr"]["model"] = [None] * 24
    assert main_metric(report) is None


@pytest.mark.parametrize(("key", "is_reversed"), [("lpips", False), ("psnr", True)])
def test_best_and_worst_go_by_the_direction_of_the_metric(
    key: str, is_reversed: bool, tmp_path: Path
) -> None:
    report = make_report(clips=12)
    report["clips"]["values"] = {key: {"model": [float(v) for v in range(12)]}}
    names = report["clips"]["names"]
    best, worst, spread = choose_clips(report, folders(report, tmp_path)).values()
    ranked = names[::-1] if is_reversed else names
    assert best == ranked[:3] and worst == ranked[:-4:-1]
    assert len(spread) == 4 and set(spread) < set(ranked[3:-3])


def test_stills_show_more(tmp_path: Path) -> None:
    report = make_report(clips=40)
    report["protocol"]["task"] = "stills"
    parts = choose_clips(report, folders(report, tmp_path))
    assert [len(names) for names in parts.values()] == [8, 8, 16]


def test_no_clip_is_shown_twice_however_few(tmp_path: Path) -> None:
    for count in range(1, 12):
        folder = tmp_path / str(count)
        folder.mkdir()
        report = make_report(clips=count)
        parts = choose_clips(report, folders(report, folder))
        shown = [name for names in parts.values() for name in names]
        assert len(shown) == len(set(shown)) == min(count, 10)


def test_clips_without_pictures_or_values_are_not_ranked(tmp_path: Path) -> None:
    report = make_report(clips=8)
    names = report["clips"]["names"]
    report["clips"]["values"]["lpips"]["model"][0] = None
    folders(report, tmp_path)
    (tmp_path / names[1]).rmdir()
    shown = [name for part in choose_clips(report, tmp_path).values() for name in part]
    assert names[0] not in shown and names[1] not in shown and len(shown) == 6
    report["clips"]["values"] = {}
    ((title, spread),) = choose_clips(report, tmp_path).items()
    assert title == "Spread evenly" and len(spread) == 4
    assert choose_clips(report, tmp_path / "missing") == {}


def test_values_are_found_by_clip() -> None:
    report = make_report(clips=3)
    report["clips"]["values"]["lpips"] = {"repeat": [1.0, None, 3.0]}
    names = report["clips"]["names"]
    assert clip_values(report, "lpips", ["model", "repeat"]) == dict(
        zip(names, [1.0, None, 3.0], strict=True)
    )
    assert clip_values(report, "lpips", ["model"]) == clip_values(report, "none", ["repeat"]) == {}


@pytest.mark.parametrize(
    ("count", "columns", "lines"), [(1, 1, 1), (2, 2, 1), (4, 2, 2), (5, 3, 2), (9, 3, 3)]
)
def test_candidates_stand_in_a_grid(count: int, columns: int, lines: int) -> None:
    rows = {f"c{index}": grey(20 * index + 20, 0) for index in range(count)}
    first, second = side_by_side(rows)
    width, height = 64 + GAP, 32 + TITLE_HEIGHT + GAP
    assert first.shape == (lines * height - GAP, columns * width - GAP, 3) == second.shape
    for index in range(count):
        left, top = index % columns * width, index // columns * height + TITLE_HEIGHT
        assert (first[top : top + 32, left : left + 64] == 20 * index + 20).all()
        assert (second[top : top + 32, left : left + 64] == 0).all()


def test_shorter_candidates_keep_their_last_frame() -> None:
    pictures = list(side_by_side({"long": grey(1, 2, 3), "short": grey(90)}))
    assert len(pictures) == 3
    assert (pictures[2][TITLE_HEIGHT:, 64 + GAP :] == 90).all()


def test_titles_are_shortened_to_their_frame() -> None:
    font = ImageFont.load_default(12)
    text = fitting("flow of two true frames, extrapolated", "  7", 120, font)
    assert text.endswith("…  7") and font.getlength(text) <= 120 - 6
    assert fitting("short", "  7", 120, font) == "short  7"
    assert fitting("name", "  7", 1, font) == "…  7"


def test_videos_hold_both_ends_and_keep_the_order(tmp_path: Path) -> None:
    levels = [20, 80, 140, 200]
    (tmp_path / "a.mp4").write_bytes(video_bytes({"only": grey(*levels)}))
    frames = read_video(tmp_path / "a.mp4")
    seen = frames[:, TITLE_HEIGHT + 8 : -8, 8:-8].mean(axis=(1, 2, 3))
    wanted = [20] * HOLD + levels + [200] * HOLD
    assert np.abs(seen - wanted).max() < 4


def test_sheets_have_a_row_for_each_candidate_and_nine_frames_at_most() -> None:
    rows = {"truth": grey(*range(0, 250, 10)), "model": grey(9)}
    sheet = picture(sheet_bytes(rows))
    assert sheet.shape[1] == 4 + 9 * (64 + 4)
    wide = picture(sheet_bytes({"truth": grey(*range(9), width=256, height=128)}))
    assert wide.shape[1] <= SHEET_WIDTH


def test_stills_are_one_picture_of_first_frames() -> None:
    sheet = picture(stills_bytes({"truth": grey(200, 0), "model": grey(50)}))
    assert abs(sheet[TITLE_HEIGHT + 10, 20].mean() - 200) < 4
    assert abs(sheet[TITLE_HEIGHT + 10, -20].mean() - 50) < 4
