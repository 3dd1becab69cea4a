"""The refiner's training on photographs: what a drive back hides, and what learns from it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from seg2vid.cli.main import main
from seg2vid.data.clips import render_toycity, stack
from seg2vid.data.sample import still_of
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.models.checkpoint import load_checkpoint
from seg2vid.models.config import to_dict
from seg2vid.models.weights import find_weights
from seg2vid.structures import Clip
from seg2vid.tools.errors import TrainingError
from seg2vid.training import run as train
from seg2vid.training.config import RefinerTrainingConfig
from seg2vid.training.fine_tune import inherit
from seg2vid.training.refiner import RefinerStage, Uncovered, _verdict
from seg2vid.training.validation import measure
from tests.evaluation_runs import write_model
from tests.models.test_paper import SMALL as PAPER
from tests.tiny import CONFIG, HEIGHT, QUIET, WIDTH, InMemory, write_clips

TRAINING = RefinerTrainingConfig(steps=4, batch_size=2, warm_up=1, perceptual=0.0, patch=0.0)


def stills(count: int = 2) -> list[Clip]:
    city = ToyCityConfig(height=HEIGHT, width=WIDTH, num_frames=1)
    return [still_of(render_toycity(seed, city), 0) for seed in range(count)]


@pytest.fixture
def photos() -> Clip:
    return stack(stills())


def stage_of(**changes: float) -> RefinerStage:
    torch.manual_seed(0)
    return RefinerStage(CONFIG, replace(TRAINING, **changes)).train()


def trained() -> RefinerStage:
    """A stage whose depth has seen streets: the bundled model, with a tiny stage's settings."""
    checkpoint = load_checkpoint(find_weights("toycity"))
    stage = RefinerStage(checkpoint.config, TRAINING)
    inherit(stage, checkpoint)
    return stage


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in module.state_dict().values()]


def test_what_is_still_seen_is_the_photograph_and_the_rest_is_not() -> None:
    city = ToyCityConfig(height=128, width=256, num_frames=1)
    clip = still_of(render_toycity(900_015, city), 0)
    stage = trained()
    given = stage.uncover(clip, torch.Generator().manual_seed(3))
    visible = given.visible[0, 0] > 0
    assert 0.02 < float((~visible).float().mean()) < 0.9
    off = (given.warped - clip.first_frame)[0].abs().mean(0)
    assert float(off[visible].mean()) < 0.02 < 0.05 < float(off[~visible].mean())
    assert torch.equal(given.label_map[0][visible], clip.label_map[0][visible])


@pytest.mark.parametrize(("seed", "hidden"), [(1, "left"), (3, "right")])
def test_a_turn_hides_a_strip_at_one_side(seed: int, hidden: str) -> None:
    """Driven back with a turn to the right, the photograph's left is out of sight."""
    city = ToyCityConfig(height=128, width=256, num_frames=1)
    clip, stage = still_of(render_toycity(900_001, city), 0), trained()
    stage.training_config = replace(TRAINING, turned_share=1.0, turn=0.5)
    visible = stage.uncover(clip, torch.Generator().manual_seed(seed)).visible[0, 0, 20:100]
    sides = {"left": visible[:, :4], "right": visible[:, -4:]}
    assert sides.pop(hidden).max() == 0
    assert sides.popitem()[1].min() == 1


def test_the_same_seed_hides_the_same(photos: Clip) -> None:
    stage = stage_of()
    given, again, other = (
        stage.uncover(photos, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(given.picture, again.picture) and torch.equal(given.visible, again.visible)
    assert not torch.equal(given.picture, other.picture)


def test_the_refiner_alone_learns_and_its_average_is_shipped(photos: Clip) -> None:
    stage = stage_of(average_decay=0.5)
    refiner = stage.animator.refiner
    assert refiner is not None
    rest = (stage.animator.flow_decoder, stage.motion_encoder)
    kept, before = [weights(module) for module in rest], weights(refiner)
    stage.take_turns(photos, stage.make_optimizers(), torch.Tensor.backward)
    for module, values in zip(rest, kept, strict=True):
        assert all(map(torch.equal, values, weights(module)))
    assert not all(map(torch.equal, before, weights(refiner)))
    assert stage.boxes()["animator"] is stage.average
    shipped = stage.average.refiner
    assert shipped is not None and not all(map(torch.equal, before, weights(shipped)))


def test_discriminator_and_refiner_take_turns(photos: Clip) -> None:
    stage = stage_of(patch=0.5)
    patches = stage.patch_discriminator
    assert patches is not None
    before = weights(patches.heads)
    terms = stage.take_turns(photos, stage.make_optimizers(), torch.Tensor.backward)
    assert {"patch", "refinement", "labels", "discriminator"} == set(terms)
    assert not all(map(torch.equal, before, weights(patches.heads)))
    assert all(parameter.requires_grad for parameter in patches.heads.parameters())


def test_a_verdict_is_of_what_was_painted() -> None:
    where = torch.zeros(1, 1, 8, 8)
    where[..., 4:] = 1
    logits = torch.zeros(1, 1, 4, 4)
    logits[..., :2], logits[..., 2:] = 100.0, 3.0
    assert float(_verdict([logits, logits], where)) == pytest.approx(3.0)
    assert float(_verdict([logits], torch.zeros_like(where))) == 0


def test_a_run_ends_the_same_after_a_stop(tmp_path: Path) -> None:
    sources = [(InMemory(stills(3)), 1.0)]

    def run(name: str, **more: int) -> Path:
        return train.run(
            stage_of(), sources, tmp_path / name, replace(QUIET, sheet_every=2, **more)
        )

    whole = load_checkpoint(run("whole"))
    run("parts", max_steps=2)
    parts = load_checkpoint(run("parts")).weights
    assert whole.weights.keys() == parts.keys()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.weights.items())
    assert {name.split(".")[0] for name in parts} == {"animator", "motion_encoder"}
    assert (tmp_path / "whole" / "sheets" / "step_000002.png").is_file()


def test_networks_without_a_scene_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"refines it by labels; got architecture paper, .*; u"):
        RefinerStage(PAPER, TRAINING)
    with pytest.raises(TrainingError, match=r"refinement False, semantics split, .*; use --preset"):
        RefinerStage(replace(CONFIG, refinement=False), TRAINING)
    with pytest.raises(TrainingError, match=r"refinement True, semantics none, classes road, .*;"):
        RefinerStage(replace(CONFIG, semantics="none"), TRAINING)


def test_a_perfect_refiner_has_no_error(photos: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, clip = stage_of(), photos.sample(0)
    real = torch.nn.functional.one_hot(clip.label_map, 20)[:, ::2, ::2].permute(0, 3, 1, 2).float()
    flat = clip.label_map[:, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2)
    # At half resolution a label is that of four pixels only where these are alike.
    given = Uncovered(
        clip.first_frame,
        clip.first_frame,
        clip.label_map,
        (flat != clip.label_map).unsqueeze(1) * 1.0,
    )
    assert float(given.visible.mean()) < 0.5
    monkeypatch.setattr(stage, "repaint", lambda *_: (given, clip.first_frame, real))
    assert measure(stage, clip) == {"L1, painted": 0, "label accuracy, painted": 1}
    monkeypatch.setattr(
        stage, "repaint", lambda *_: (given, clip.first_frame + 0.1, real.roll(1, 1))
    )
    found = measure(stage, clip)
    assert found["L1, painted"] == pytest.approx(0.1) and found["label accuracy, painted"] == 0


def test_a_refiner_is_trained_within_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips, model = write_clips(tmp_path / "clips"), write_model(tmp_path / "model")
    networks = {name: one for name, one in to_dict(CONFIG).items() if name != "label_space"}
    recipe = {"stage": "refiner", "model": networks, "training": {"batch_size": 2, "patch": 0.0}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe))
    words = ["--recipe", str(tmp_path / "own.yaml"), "--steps", "1", "--without-features", "true"]
    run, joined = tmp_path / "run", tmp_path / "joined"
    command = ["train", "refiner", "--data", str(clips), "-o", str(run), *words]
    assert main(command) == 2
    assert "the model whose refiner is trained; got no --start-from" in capsys.readouterr().err
    assert not run.exists()
    settings = ["--measured-steps", "0", "--validate-every", "0", "--sheet-every", "0"]
    assert main([*command, "--start-from", model, *settings]) == 0
    assert main(["assemble", model, str(run / "model.safetensors"), "-o", str(joined)]) == 0
    before, after = (load_checkpoint(find_weights(str(one))).weights for one in (model, joined))
    changed = {name for name, one in before.items() if not torch.equal(one, after[name])}
    assert changed and all(name.startswith("animator.refiner.") for name in changed)
