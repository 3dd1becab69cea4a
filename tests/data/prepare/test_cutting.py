"""Windows of frames: which frames, in which order; cuts, black and repeated frames; memory."""

import gc
import weakref
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seg2vid.data.prepare.cutting import Dropped, Frame, SceneWatcher, Window, cut_windows
from seg2vid.data.recordings.recording import list_pictures
from seg2vid.labels.fit import fit_image
from seg2vid.media.pictures import read_image
from seg2vid.media.video import iterate_video

HEIGHT, WIDTH = 36, 64


def texture(seed: int, *, width: int = 640) -> np.ndarray:
    """A smooth random picture (36, width, 3): a scene to move a camera over."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, width // 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, HEIGHT), Image.Resampling.BICUBIC))


def pan(seed: int, count: int, *, speed: float = 3) -> list[Frame]:
    """Frames (36, 64, 3) of a camera that moves right by ``speed`` pixels each frame."""
    picture = texture(seed)
    places = [round(speed * time) for time in range(count)]
    return [np.ascontiguousarray(picture[:, place : place + WIDTH]) for place in places]


BLACK = np.full((HEIGHT, WIDTH, 3), 8, np.uint8)


def cut(frames: list[Frame], **options: object) -> tuple[list[list[int]], Dropped]:
    """The indices of every window, and what was left out."""
    dropped = Dropped()
    options.setdefault("length", 3)
    windows = list(cut_windows(iter(frames), dropped, **options))
    for window in windows:
        for index, frame in zip(window.indices, window.frames, strict=True):
            assert frame is frames[index], "the index is that of the frame"
    return [window.indices for window in windows], dropped


# Which frames.


@pytest.mark.parametrize(
    ("options", "windows", "short"),
    [
        ({}, [[0, 1, 2], [3, 4, 5], [6, 7, 8]], 2),
        ({"length": 5}, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]], 1),
        ({"step": 2}, [[0, 2, 4], [6, 8, 10]], 0),
        ({"step": 4}, [[0, 4, 8]], 0),
        ({"step": 5}, [[0, 5, 10]], 0),
        ({"step": 6}, [], 11),
        ({"length": 12}, [], 11),
        ({"stride": 4}, [[0, 1, 2], [4, 5, 6], [8, 9, 10]], 2),
        ({"stride": 2}, [[0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 7, 8], [8, 9, 10]], 0),
        ({"stride": 2, "step": 2}, [[0, 2, 4], [4, 6, 8]], 1),
        ({"stride": 1, "length": 10}, [list(range(10)), list(range(1, 11))], 0),
        ({"stride": 5, "step": 2, "length": 2}, [[0, 2]], 7),
    ],
)
def test_windows_take_every_step_th_frame_and_begin_every_stride_taken_frames(
    options: dict[str, int], windows: list[list[int]], short: int
) -> None:
    found, dropped = cut(pan(0, 11), **options)
    assert found == windows
    assert dropped == Dropped(short=short)


@given(
    count=st.integers(0, 40),
    length=st.integers(1, 6),
    step=st.integers(1, 3),
    stride=st.none() | st.integers(1, 7),
    labelled=st.frozensets(st.integers(0, 45), max_size=4),
    borders=st.lists(st.integers(0, 40), max_size=6, unique=True).map(sorted),
    only=st.booleans(),
)
def test_whatever_is_asked_windows_are_even_and_inside_one_span(
    count: int,
    length: int,
    step: int,
    stride: int | None,
    labelled: frozenset[int],
    borders: list[int],
    only: bool,
) -> None:
    spans = tuple(zip(borders[::2], borders[1::2], strict=False))
    dropped = Dropped()
    how = {"length": length, "step": step, "stride": stride}
    how |= {"labelled": labelled, "only_labelled": only, "spans": spans}
    found = list(cut_windows(STEADY[:count], dropped, **how))
    assert (dropped.black, dropped.repeated, dropped.cuts) == (0, 0, 0)
    for window in found:
        assert len(window.indices) == len(window.frames) == length
        assert {b - a for a, b in pairwise(window.indices)} <= {step}
        first, last = window.indices[0], window.indices[-1]
        assert any(low <= first <= last < high for low, high in spans or ((0, count),))
        assert not only or first in labelled
    starts = [window.indices[0] for window in found]
    assert starts == sorted(set(starts))
    if stride is None and not only:
        used = [index for window in found for index in window.indices]
        assert len(used) == len(set(used)), "windows do not overlap"
    for low, high in () if only else spans or ((0, count),):
        # The first labelled frame of a scene begins a window where one fits behind it.
        inside = [index for index in labelled if low <= index]
        if inside and min(inside) + (length - 1) * step < min(high, count):
            assert min(inside) in starts


STEADY = pan(3, 40)


def test_a_window_of_one_frame_is_a_frame() -> None:
    assert cut(pan(0, 3), length=1)[0] == [[0], [1], [2]]


def test_no_frames_give_no_windows() -> None:
    assert cut([]) == ([], Dropped())


# Cuts.


@pytest.mark.parametrize(("one", "other"), [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)])
def test_a_cut_ends_a_window_and_begins_the_next(one: int, other: int) -> None:
    windows, dropped = cut(pan(one, 7) + pan(other, 7))
    assert windows == [[0, 1, 2], [3, 4, 5], [7, 8, 9], [10, 11, 12]]
    assert dropped == Dropped(cuts=1, short=2)


def test_cuts_in_a_row_are_all_found() -> None:
    windows, dropped = cut(pan(0, 4) + pan(1, 2) + pan(2, 4) + pan(3, 3))
    assert windows == [[0, 1, 2], [6, 7, 8], [10, 11, 12]]
    assert dropped == Dropped(cuts=3, short=4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("speed", [1, 3, 6])
def test_a_camera_that_pans_makes_no_cut(seed: int, speed: int) -> None:
    windows, dropped = cut(pan(seed, 45, speed=speed), length=15)
    assert [len(window) for window in windows] == [15, 15, 15]
    assert dropped == Dropped()


def checks(shift: float) -> Frame:
    """Wide stripes in two colours, moved right by ``shift`` of their period."""
    across = (np.arange(WIDTH) / 32 + shift) % 1 < 0.5
    row = np.where(across[:, None], [220, 40, 40], [30, 60, 200]).astype(np.uint8)
    return np.repeat(row[None], HEIGHT, axis=0)


def test_a_fast_pan_with_the_same_colours_is_no_cut() -> None:
    # Every pixel changes much from frame to frame, but not the picture's colours.
    frames = [checks(0.25 * time) for time in range(12)]
    assert float(np.abs(frames[1].astype(float) - frames[0]).mean()) > 30
    assert cut(frames, length=4) == ([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]], Dropped())


def lit(level: float) -> Frame:
    """A plain picture of some brightness."""
    return np.full((HEIGHT, WIDTH, 3), round(level), np.uint8)


def test_steady_change_of_everything_is_no_cut_but_a_jump_is() -> None:
    # Differences of 12, 18, 30, 35 ...: a light that is turned up.
    levels = [20, 32, 50, 80, 115, 150, 185]
    assert cut([lit(level) for level in levels], length=7)[1] == Dropped()
    # The same difference, at once.
    assert cut([lit(level) for level in (50, 56, 62, 97, 103, 109)])[1] == Dropped(cuts=1)


def test_little_change_is_no_cut_even_in_other_colours() -> None:
    # 60 to 66 crosses a border of the histogram's bins, yet is a difference of 2 percent.
    assert cut([lit(60), lit(66), lit(60), lit(66)], length=4)[1] == Dropped()


def test_after_a_cut_the_former_motion_is_forgotten() -> None:
    # Less than a third of the last difference before the first cut makes the second.
    wild = [lit(level) for level in (20, 32, 50, 80, 115, 150, 185, 220)]
    windows, dropped = cut([*wild, lit(100), lit(104), lit(57), lit(61)], length=2)
    assert dropped == Dropped(cuts=2) and windows[-2:] == [[8, 9], [10, 11]]
    calm = [lit(100), lit(104), lit(108)]
    windows, dropped = cut([*calm, lit(200), lit(204), lit(208), lit(40), lit(44), lit(48)])
    assert windows == [[0, 1, 2], [3, 4, 5], [6, 7, 8]] and dropped == Dropped(cuts=2)


# Black and repeated frames.


def test_black_frames_are_dropped_and_end_a_scene() -> None:
    frames = [BLACK, *pan(0, 4), BLACK, BLACK, *pan(0, 5), BLACK]
    windows, dropped = cut(frames)
    assert windows == [[1, 2, 3], [7, 8, 9]]
    assert dropped == Dropped(black=4, short=3)


def test_a_dark_picture_with_one_light_is_not_black() -> None:
    night = BLACK.copy()
    night[8:16, 8:16] = 200
    assert SceneWatcher().look(night) == "new"
    assert SceneWatcher().look(np.full_like(BLACK, 10)) == "black"
    assert SceneWatcher().look(np.full_like(BLACK, 12)) == "new"


def test_repeated_frames_are_dropped_and_the_scene_goes_on() -> None:
    one, two, three, four = (frame.repeat(4, 0).repeat(4, 1) for frame in pan(0, 4))
    noise = np.random.default_rng(0).integers(-2, 3, two.shape)
    noisy = (two + noise).clip(0, 255).astype(np.uint8)
    frames = [one, one.copy(), two, two.copy(), noisy, three, four]
    windows, dropped = cut(frames, length=4)
    assert windows == [[0, 2, 5, 6]]
    assert dropped == Dropped(repeated=3)


def test_steps_count_the_frames_that_are_kept() -> None:
    frames = [frame for frame in pan(0, 6) for _ in range(2)]
    windows, dropped = cut(frames, length=3, step=2)
    assert windows == [[0, 4, 8]] and dropped == Dropped(repeated=6)


def test_slow_motion_adds_up_instead_of_vanishing() -> None:
    # Each frame is brighter by less than the threshold: every second or third one is kept.
    frames = [lit(100 + 0.5 * time) for time in range(40)]
    windows, dropped = cut(frames, length=2)
    kept = [index for window in windows for index in window]
    assert 10 <= len(kept) <= 20 and dropped.repeated + len(kept) + dropped.short == 40
    assert kept[-1] > 34


def test_a_standing_picture_gives_no_window() -> None:
    assert cut([texture(0)[:, :WIDTH]] * 9) == ([], Dropped(repeated=8, short=1))


def test_the_smallest_thing_that_moves_keeps_its_frame() -> None:
    still = texture(0)[:, :WIDTH].copy()
    moved = still.copy()
    moved[10:14, 10:14] = 255 - moved[10:14, 10:14] // 2
    assert cut([still, moved], length=2)[0] == [[0, 1]]


# Spans.


def test_a_window_never_crosses_the_border_of_a_span() -> None:
    windows, dropped = cut(pan(0, 20), spans=((1, 5), (5, 9), (12, 99)))
    assert windows == [[1, 2, 3], [5, 6, 7], [12, 13, 14], [15, 16, 17]]
    assert dropped == Dropped(short=4), "frames outside are not counted"


def test_a_span_that_begins_with_the_frame_before_it_begins_anew() -> None:
    one, two, three, four, five, six = pan(0, 6)
    frames = [one, two, two, three, four, five, six]
    assert cut(frames, spans=((0, 2), (2, 7))) == ([[2, 3, 4]], Dropped(short=4))
    assert cut(frames, spans=((0, 2), (2, 4), (4, 7)))[0] == [[4, 5, 6]]


def test_a_border_between_spans_is_no_cut() -> None:
    assert cut(pan(0, 3) + pan(1, 3), spans=((0, 3), (3, 6))) == ([[0, 1, 2], [3, 4, 5]], Dropped())


# Labelled frames.


def test_the_first_labelled_frame_of_a_scene_begins_a_window() -> None:
    assert cut(pan(0, 12), labelled=frozenset({7}))[0] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert cut(pan(0, 12), labelled=frozenset({5, 7}))[0] == [[2, 3, 4], [5, 6, 7], [8, 9, 10]]
    assert cut(pan(0, 12), labelled=frozenset({5}), step=2)[0] == [[5, 7, 9]]
    every = frozenset(range(12))
    assert cut(pan(0, 12), labelled=every)[0] == cut(pan(0, 12))[0]


def test_every_scene_has_its_own_first_labelled_frame() -> None:
    frames = pan(0, 6) + pan(1, 6) + [BLACK] + pan(2, 6)
    windows, dropped = cut(frames, labelled=frozenset({2, 3, 7, 15}))
    assert windows == [[2, 3, 4], [7, 8, 9], [15, 16, 17]] and dropped.cuts == 1
    windows, dropped = cut([BLACK, *pan(2, 8)], labelled=frozenset({4}))
    assert windows == [[1, 2, 3], [4, 5, 6]], "counted from the frame after the black one"
    windows, _ = cut(pan(0, 12), labelled=frozenset({2, 8}), spans=((0, 6), (6, 12)))
    assert windows == [[2, 3, 4], [8, 9, 10]]


def test_repeated_frames_before_the_first_labelled_one_do_not_shift_it() -> None:
    one, two, *others = pan(0, 9)
    frames = [one, one, two, *others]  # 0, 0, 1, 2, ... 8
    windows, _ = cut(frames, labelled=frozenset({6}))
    assert windows == [[0, 2, 3], [6, 7, 8]]
    windows, _ = cut(frames, labelled=frozenset({4}), stride=1)
    kept = [0, *range(2, 10)]
    assert windows == [kept[at : at + 3] for at in range(7)]


def test_windows_at_labelled_frames_only() -> None:
    labelled = frozenset({1, 2, 9, 10})
    windows, dropped = cut(pan(0, 12), labelled=labelled, only_labelled=True)
    assert windows == [[1, 2, 3], [2, 3, 4], [9, 10, 11]] and dropped.short == 5
    assert cut(pan(0, 12), only_labelled=True) == ([], Dropped(short=12))


# Memory.


def test_only_the_frames_of_open_windows_are_held() -> None:
    picture = texture(0)
    alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
    most = 0

    class Tracked(np.ndarray):
        """An array that can be counted; hashed by identity."""

        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            return self is other

    def frames() -> Iterator[Frame]:
        nonlocal most
        for time in range(300):
            frame = np.ascontiguousarray(picture[:, time : time + WIDTH]).view(Tracked)
            alive.add(frame)
            yield frame
            del frame
            most = max(most, len(alive))

    windows = 0
    gc.disable()
    try:
        for window in cut_windows(frames(), Dropped(), length=5, step=2):
            windows += 1
            assert len(window.frames) == 5
            del window
    finally:
        gc.enable()
    assert windows == 30 and 5 <= most <= 12


def test_windows_come_while_the_video_is_read() -> None:
    read = 0

    def frames() -> Iterator[Frame]:
        nonlocal read
        for frame in pan(0, 30):
            read += 1
            yield frame

    first: Window = next(cut_windows(frames(), Dropped(), length=4))
    assert first.indices == [0, 1, 2, 3] and first.place == 0 and read == 4


# Real videos.


def cuts_of(frames: Iterable[Frame]) -> list[int]:
    """The frames that follow a cut, at the size that clips have."""
    watcher = SceneWatcher()
    fitted = (fit_image(frame, height=128, width=256) for frame in frames)
    return [index for index, frame in enumerate(fitted) if watcher.look(frame) == "cut"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cuts"), [("bikes", [30, 76, 137, 187, 242]), ("nasa", [202])])
def test_real_cuts_are_found(shared_data: Path, name: str, cuts: list[int]) -> None:
    assert cuts_of(iterate_video(shared_data / "videos" / f"{name}.mp4")) == cuts


@pytest.mark.slow
def test_drives_have_no_cuts(shared_data: Path) -> None:
    folders = sorted(path for path in (shared_data / "driving_clips").iterdir() if path.is_dir())
    assert len(folders) == 30
    found = {path.name: cuts_of(map(read_image, list_pictures(path))) for path in folders}
    assert found == {path.name: [] for path in folders}
