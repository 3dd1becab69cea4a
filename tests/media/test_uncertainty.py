"""What several seeds differ in: against NumPy, in Python and in the files of the command line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seg2vid.cli import main as cli
from seg2vid.labels.space import get_label_space
from seg2vid.media.generated import GeneratedVideo
from seg2vid.media.pictures import read_image, write_label_map
from seg2vid.media.uncertainty import Spread, Uncertainty
from seg2vid.media.video import read_video
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.errors import MediaError
from tests.tiny import CONFIG, HEIGHT, WIDTH, street_map

SEEDS, FRAMES = (5, 6, 7, 8), 11
"""More frames than a pass has."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    Seg2VidPipeline.from_config(CONFIG).save_pretrained(place)
    write_label_map(place / "map.png", street_map()[0].numpy(), get_label_space("cityscapes"))
    return place


@pytest.fixture(scope="module")
def video(model: Path) -> GeneratedVideo:
    pipe = Seg2VidPipeline.from_pretrained(str(model))
    return pipe(street_map(), num_frames=FRAMES, seed=list(SEEDS))


def test_it_is_what_numpy_says(video: GeneratedVideo) -> None:
    found = video.uncertainty()
    frames = torch.cat((video.first_frame[:, None], video.frames), 1).double().numpy()
    labels = torch.cat((video.label_map[:, None], video.label_maps), 1).numpy()
    assert found.colour.shape == found.labels.shape == (FRAMES, HEIGHT, WIDTH)
    assert np.abs(found.colour.numpy() - frames.std(0).mean(1)).max() < 1e-6
    votes = np.stack([(labels == id_).sum(0) for id_ in range(20)])
    assert np.abs(found.labels.numpy() - (1 - votes.max(0) / len(SEEDS))).max() < 1e-6
    assert found.labels[0].max() == 0, "the label map is given"
    assert found.labels.max() > 0 and found.colour.max() > 0


def test_bounds_are_reached_and_agreement_is_nothing() -> None:
    spread = Spread()
    for number in range(4):
        frames = torch.full((1, 3, 1, 2), 0.3)
        frames[..., 0] = number % 2
        spread.add(frames, torch.tensor([[[number, 7]]]))
    found = spread.uncertainty()
    assert found.colour.tolist() == [[[0.5, 0.0]]] and found.labels.tolist() == [[[0.75, 0.0]]]


def test_one_sample_or_several_maps_are_refused(video: GeneratedVideo) -> None:
    with pytest.raises(MediaError, match=r"two samples or more for uncertainty; got 1; give sev"):
        video.sample(0).uncertainty()
    label_map = video.label_map.clone()
    label_map[1, 0, 0] = 0
    with pytest.raises(MediaError, match="samples of one label map for uncertainty; got several"):
        replace(video, label_map=label_map).uncertainty()


def run(model: Path, output: Path, *words: str) -> int:
    given = ["generate", model / "map.png", "--model", model, "-o", output]
    given += ["--frames", FRAMES, "--seed", SEEDS[0], *words]
    return cli.main([str(word) for word in given])


def test_the_command_writes_what_python_gives(
    model: Path, video: GeneratedVideo, tmp_path: Path
) -> None:
    more = ("--samples", str(len(SEEDS)), "--save", "uncertainty,labels")
    assert run(model, tmp_path / "s", *more) == 0
    names = {f"s_seed{seed}" for seed in SEEDS} | {"s_uncertainty"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert (tmp_path / "s_seed5" / "labels" / "000010.png").is_file()
    folder, expected = tmp_path / "s_uncertainty", video.uncertainty()
    about = json.loads((folder / "video.json").read_text("utf-8"))
    assert about["seeds"] == list(SEEDS) and about["frames"] == FRAMES
    for number in range(FRAMES):
        with np.load(folder / f"{number:06d}.npz") as read:
            for name in ("colour", "labels"):
                exact = getattr(expected, name)[number].numpy()
                assert read[name].dtype == np.float16
                # Samples of a batch are the same within rounding; labels may tip at an edge.
                assert np.abs(read[name] - exact).mean() < 1e-3
                white = {"colour": 0.5, "labels": 1.0}[name]
                shown = read_image(folder / name / f"{number:06d}.png")[..., 0] / 255 * white
                assert np.abs(shown - read[name]).max() < 0.003
    assert run(model, tmp_path / "s", *more, "--overwrite") == 0, "the folder is our own"
    (folder / "mine.txt").touch()
    assert run(model, tmp_path / "s", *more, "--overwrite") == 2


def test_previews_of_a_film_are_films(model: Path, tmp_path: Path) -> None:
    more = ("--samples", "2", "--save", "uncertainty", "--frames", "3")
    assert run(model, tmp_path / "s.mp4", *more) == 0
    names = {"s_seed5.mp4", "s_seed6.mp4", "s_uncertainty"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in ("colour", "labels"):
        film = read_video(tmp_path / "s_uncertainty" / f"{name}.mp4")
        assert film.shape == (3, HEIGHT, WIDTH, 3)
    assert run(model, tmp_path / "s.mp4", *more, "--overwrite") == 0


def test_one_sample_is_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, tmp_path / "s.mp4", "--save", "uncertainty") == 2
    message = "Expected several samples to --save uncertainty of; got 1; add --samples 8."
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_passes_of_all_seeds_go_side_by_side(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No video is kept: what is written at once is never more than a pass."""
    sizes = []
    write = "seg2vid.media.uncertainty.UncertaintySink.write"
    monkeypatch.setattr(write, lambda self, part: sizes.append(_count(self, part)))
    assert run(model, tmp_path / "s.mp4", "--samples", "2", "--save", "uncertainty") == 2
    assert sum(sizes) == FRAMES and max(sizes) <= CONFIG.num_frames + 1


def _count(sink: object, part: Uncertainty) -> int:
    return len(part.colour)
