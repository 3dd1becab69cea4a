"""Distances of real clips from worse and worse copies: the copies, and that the distances rise."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from benchmarks import distortions
from benchmarks.distortions import (
    DISTORTIONS,
    METRICS,
    Distortion,
    Figures,
    Judges,
    RealClip,
    add_noise,
    blur,
    blur_matrix,
    draw_figures,
    freeze,
    halves,
    is_rising,
    judge_set,
    measure_all,
    read_clips,
    shuffle,
    shuffled_order,
    table,
)
from seg2vid.media.pictures import read_image
from seg2vid.models.judges.i3d import load_i3d
from seg2vid.models.judges.inception import InceptionOutput, load_inception

Frames = Float[Tensor, "batch time 3 height width"]
WAYS = pytest.mark.parametrize("way", DISTORTIONS, ids=[way.name for way in DISTORTIONS])
BLIND_TO_ORDER = ("FID", "KID")


def moving_clip(seed: int = 0) -> Frames:
    """A clip of 9 frames in the middle greys, each different."""
    return 0.3 + 0.4 * torch.rand(1, 9, 3, 16, 32, generator=torch.Generator().manual_seed(seed))


@WAYS
def test_level_zero_changes_nothing_and_every_level_something(way: Distortion) -> None:
    clip = moving_clip()
    torch.testing.assert_close(way.apply(clip, 0, 3), clip, rtol=0, atol=0)
    copies = [way.apply(clip, level, 3) for level in (0, *way.levels)]
    assert all(copy.shape == clip.shape for copy in copies)
    assert all(float((copy - clip).abs().mean()) > 1e-3 for copy in copies[1:])
    assert is_rising(way.levels)


@WAYS
def test_copies_repeat_with_their_seed_and_leave_the_clip_alone(way: Distortion) -> None:
    clip = moving_clip()
    before = clip.clone()
    level = way.levels[-1]
    assert torch.equal(way.apply(clip, level, 5), way.apply(clip, level, 5))
    assert torch.equal(clip, before)
    is_random = way.apply in (add_noise, shuffle)
    assert torch.equal(way.apply(clip, level, 5), way.apply(clip, level, 6)) != is_random


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 4.0, 9.0])
def test_blur_is_that_of_scipy_and_keeps_the_mean(sigma: float) -> None:
    clip = moving_clip()
    blurred = blur(clip, sigma)
    expected = clip.double().numpy()
    for axis in (-2, -1):  # "reflect" of SciPy is the mirror in which the last pixel shows twice
        expected = gaussian_filter1d(expected, sigma, axis, mode="reflect", truncate=4.0)
    np.testing.assert_allclose(blurred.numpy(), expected, rtol=0, atol=1e-6)
    means = [frames.mean((-2, -1)) for frames in (blurred, clip)]
    torch.testing.assert_close(means[0], means[1], rtol=0, atol=1e-6)


def test_blur_weights_add_to_one_both_ways() -> None:
    matrix = blur_matrix(12, 5.0)
    torch.testing.assert_close(matrix.sum(0), torch.ones(12).double())
    torch.testing.assert_close(matrix.sum(1), torch.ones(12).double())


def test_blur_takes_variance_away_level_by_level() -> None:
    deviations = [float(blur(moving_clip(), level).std()) for level in DISTORTIONS[0].levels]
    assert all(before > after for before, after in pairwise(deviations))


def test_noise_has_the_deviation_asked_for_and_stays_in_range() -> None:
    clip = torch.full((1, 9, 3, 64, 64), 0.5)
    for deviation in (0.02, 0.05, 0.1):
        noise = add_noise(clip, deviation, 1) - clip
        assert float(noise.std()) == pytest.approx(deviation, rel=0.01)
        assert abs(float(noise.mean())) < 0.01 * deviation
    assert not torch.equal(noise[:, 0], noise[:, 1]), "every frame has its own"
    strong = add_noise(clip, 5.0)
    assert (strong.min(), strong.max()) == (0, 1)


@pytest.mark.parametrize("count", [2, 4, 6, 9])
def test_shuffle_moves_a_run_of_frames_and_loses_none(count: int) -> None:
    for seed in range(20):
        order = shuffled_order(9, count, seed)
        assert sorted(order.tolist()) == list(range(9))
        moved = (order != torch.arange(9)).nonzero().flatten().tolist()
        assert moved == list(range(moved[0], moved[0] + count))
        clip = moving_clip(seed)
        assert torch.equal(shuffle(clip, count, seed), clip[:, order])


def test_shuffle_of_two_swaps_neighbours_anywhere_in_the_clip() -> None:
    orders = [shuffled_order(9, 2, seed).tolist() for seed in range(200)]
    assert len({tuple(order) for order in orders}) == 8


@pytest.mark.parametrize("count", [2, 4, 6, 8])
def test_frozen_motion_keeps_the_beginning_and_repeats_its_last_frame(count: int) -> None:
    clip = moving_clip()
    frozen = freeze(clip, count)
    kept = 9 - count
    assert torch.equal(frozen[:, :kept], clip[:, :kept])
    assert (frozen[:, kept:] == clip[:, kept - 1 : kept]).all()


class MeanJudge(nn.Module):
    """Stands in for both judges: features are means over parts of the picture, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def forward(self, frames: Float[Tensor, "*batch 3 height width"]) -> object:
        """Clips → features of all frames; pictures → output with features; counts pictures."""
        means = frames.unflatten(-1, (4, -1)).mean((-3, -1))
        if frames.dim() == 5:
            return means.flatten(1)
        self.looks += len(frames)
        return InceptionOutput(F.pad(means.flatten(1), (0, 2048 - 12)), None)


def stand_ins() -> Judges:
    """Judges that cost nothing."""
    return Judges(MeanJudge(), MeanJudge())  # type: ignore[arg-type]


def few_clips() -> list[RealClip]:
    """Six clips of three recordings."""
    return [RealClip(moving_clip(seed), seed // 2) for seed in range(6)]


def test_a_picture_is_looked_at_once_and_its_order_is_lost() -> None:
    judges, clip = stand_ins(), moving_clip()
    features = judges.judge_pictures(clip)
    assert torch.equal(judges.judge_pictures(shuffle(clip, 9, 1)), features)
    still = judges.judge_pictures(freeze(clip, 8))
    assert judges.inception.looks == 9
    assert still.shape == features.shape
    assert len(still.unique(dim=0)) == 1
    assert any(torch.equal(still[0], feature) for feature in features)


def test_halves_share_no_recording() -> None:
    clips, judges = few_clips(), stand_ins()
    real = judge_set(clips, judges, DISTORTIONS[0], 0)
    first, second = halves(clips, real)
    assert torch.equal(first["clips"], real["clips"][:4])
    assert torch.equal(second["clips"], real["clips"][4:])
    assert torch.equal(second["pictures"], judges.judge_pictures(clips[4].frames))
    assert len(first["pictures"]) == 18


def test_figures_have_a_column_for_every_level_and_tell_what_rises() -> None:
    figures = measure_all(few_clips(), stand_ins())
    assert figures.sizes == (6, 27)
    for way in DISTORTIONS:
        for metric in METRICS:
            assert len(figures.curves[way.name][metric]) == 1 + len(way.levels)
    shuffled = figures.curves["shuffled frames"]
    assert all(len(set(shuffled[metric])) == 1 for metric in BLIND_TO_ORDER)
    assert shuffled["FVD"][-1] > shuffled["FVD"][0] == pytest.approx(0, abs=1e-9)
    lines = table(figures).splitlines()
    assert len(lines) == 2 + 4 * 6 + 1
    assert {line.count("|") for line in lines} == {7}
    told = next(line for line in lines[15:] if "rises" in line)
    assert told.split("|")[5:7] == [" **no** ", " **no** "]


def test_the_command_prints_the_table_and_writes_the_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, value in (
        ("read_clips", few_clips()),
        ("load_i3d", MeanJudge()),
        ("load_inception", MeanJudge()),
    ):
        monkeypatch.setattr(distortions, name, lambda *_, value=value: value)
    output = tmp_path / "picture.png"
    command = ["distortions.py", "--data", "clips", "--judges", "judges", "-o", str(output)]
    monkeypatch.setattr("sys.argv", command)
    distortions.main()
    printed = capsys.readouterr().out
    assert printed.startswith("6 clips, 27 pictures\n")
    assert printed.endswith(table(measure_all(few_clips(), stand_ins())) + "\n")
    assert read_image(output).shape[1] == 1400


def test_rising_means_at_every_step() -> None:
    assert is_rising([0, 1, 1.5])
    assert not is_rising([0, 2, 1, 3])
    assert not is_rising([0, 0])


def test_the_picture_is_1400_pixels_wide_and_shows_both_judges() -> None:
    curves = {way.name: {"FVD": [0, 1, 2, 3, 4], "FID": [0] * 5} for way in DISTORTIONS}
    figures = Figures(curves, dict.fromkeys(METRICS, 2.0), (6, 27))
    picture = draw_figures(figures)
    assert picture.shape[1:] == (1400, 3)
    curves["blur"] = {"FVD": [0, 1, 2, 3, 3], "FID": [0] * 5}
    changed = (draw_figures(figures) != picture).any((0, 2)).nonzero()[0]
    assert 250 < changed.min() <= changed.max() < 350, "in the panel of blur, at its right"


@pytest.mark.slow
def test_real_clips_move_and_fill_their_recordings(shared_data: Path) -> None:
    clips = read_clips(shared_data / "driving_clips", 1)
    assert 20 < len(clips) == len({clip.recording for clip in clips}) < 30
    for clip in clips:
        assert clip.frames.shape == (1, 9, 3, 128, 256)
        assert (clip.frames[:, 1:] - clip.frames[:, :-1]).abs().mean() > 0.01


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_distances_of_twelve_real_clips_rise_with_every_level(shared_data: Path) -> None:
    clips = read_clips(shared_data / "driving_clips", 1)[::2][:12]
    assert len(clips) == 12
    judges = Judges(load_i3d(shared_data / "judges"), load_inception(shared_data / "judges"))
    figures = measure_all(clips, judges)
    for way in DISTORTIONS:
        curves = figures.curves[way.name]
        for metric in ("FVD", "FID"):
            assert curves[metric][0] == pytest.approx(0, abs=1e-6)
        assert is_rising(curves["FVD"]), (way.name, curves["FVD"])
        if way.apply is shuffle:
            for metric in BLIND_TO_ORDER:
                assert set(curves[metric]) == {curves[metric][0]}, "single frames have no order"
        else:
            assert is_rising(curves["FID"]), (way.name, curves["FID"])
