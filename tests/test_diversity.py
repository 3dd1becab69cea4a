"""Futures that differ: what is drawn, what is kept, and that it differs more than the first."""

from pathlib import Path

import pytest
import torch

from seg2vid import Control, Seg2VidPipeline, pick_diverse
from seg2vid.cli import main as cli
from seg2vid.diversity import distances_of, draw_flows, farthest_points
from seg2vid.media.pictures import write_label_map
from seg2vid.tools.errors import ModelError
from tests.tiny import CONFIG, NUM_FRAMES, street_map

STREET = "examples/street.png"


@pytest.fixture(scope="module")
def pipe() -> Seg2VidPipeline:
    torch.manual_seed(0)
    return Seg2VidPipeline.from_config(CONFIG)


def test_the_farthest_points_are_chosen() -> None:
    places = torch.tensor([0.0, 1.0, 5.0, 9.0, 10.0, 4.0])
    distances = (places[:, None] - places).abs()
    assert sorted(farthest_points(distances, 2)) == [0, 4]
    assert sorted(farthest_points(distances, 3)) == [0, 2, 4]
    assert sorted(farthest_points(distances, 6)) == list(range(6))
    assert sorted(farthest_points(torch.zeros(3, 3), 3)) == [0, 1, 2], "all alike"


def test_what_is_compared_is_what_the_videos_do(pipe: Seg2VidPipeline) -> None:
    first = pipe(street_map(), num_frames=1, seed=5).first_frame
    for control in (None, Control.read(camera="forward=5")):
        given = {"first_frame": first, "control": control}
        flows = draw_flows(pipe, street_map(), [5, 6], **given)
        for flow, seed in zip(flows, (5, 6), strict=True):
            video = pipe(street_map(), num_frames=NUM_FRAMES + 1, seed=seed, **given)
            whole = video.motion.forward_flow[:, -1]
            coarse = torch.nn.functional.avg_pool2d(whole, 8)[0]
            torch.testing.assert_close(flow, coarse, atol=1e-3, rtol=1e-3)


def test_nothing_is_animated_to_choose(
    pipe: Seg2VidPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg2vid.models.key_frame.move_scene", None)
    seeds = pick_diverse(pipe, street_map(), 3, seed=10, draws=6)
    assert len(set(seeds)) == 3 and all(10 <= seed < 16 for seed in seeds)
    assert seeds == pick_diverse(pipe, street_map(), 3, seed=10, draws=6)
    with pytest.raises(ModelError, match="1 to 4 videos of 4 draws; got 5"):
        pick_diverse(pipe, street_map(), 5, draws=4)


def test_they_differ_more_than_consecutive_seeds() -> None:
    pipe, count = Seg2VidPipeline.from_pretrained("toycity"), 4
    distances = distances_of(draw_flows(pipe, STREET, range(8 * count)))
    chosen = farthest_points(distances, count)
    blocks = [list(range(first, first + count)) for first in range(0, 8 * count, count)]
    best, *others = (float(distances[one][:, one].sum()) for one in (chosen, *blocks))
    # Whether four seeds in a row are alike is luck: of eight such rows their mean counts.
    assert best > 1.25 * sum(others) / len(others)


def test_videos_are_made_of_the_chosen_seeds(
    pipe: Seg2VidPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = pipe.save_pretrained(tmp_path)
    write_label_map(tmp_path / "a.png", street_map()[0].numpy(), pipe.label_space)
    words = ["generate", str(tmp_path / "a.png"), "-o", str(tmp_path / "s.gif"), "--frames", "2"]
    words += ["--model", str(model), "--seed", "3"]
    assert cli.main([*words, "--diverse", "2"]) == 0
    again = Seg2VidPipeline.from_pretrained(str(model))
    wanted = pick_diverse(again, tmp_path / "a.png", 2, seed=3)
    said = capsys.readouterr().out
    assert f"seeds that move most differently: {wanted[0]}, {wanted[1]}" in said
    assert f"s_diverse2.gif (2 frames, seed {wanted[1]}," in said
    made = sorted(path.name for path in tmp_path.glob("*.gif"))
    assert made == ["s_diverse1.gif", "s_diverse2.gif"]
    assert cli.main([*words, "--diverse", "2", "--samples", "2"]) == 2
    assert "Expected --diverse or --samples; got both" in capsys.readouterr().err
