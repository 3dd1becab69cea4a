"""Training with tiny real networks: runs, resumes exactly, says what is wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from seg2vid.data.clips import ClipFolder, ClipSource, TrainingBatches
from seg2vid.models.appearance_encoder import LookPosterior
from seg2vid.models.checkpoint import assemble, load_checkpoint
from seg2vid.models.first_frame import Look
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.errors import ModelError, TrainingError
from seg2vid.training import run as train
from seg2vid.training.config import FirstFrameTrainingConfig, MotionTrainingConfig, RunConfig
from seg2vid.training.first_frame import FirstFrameStage, hide_patches, mixing_mask
from seg2vid.training.folder import read_state
from seg2vid.training.keeper import RunKeeper
from seg2vid.training.losses import look_divergence
from seg2vid.training.motion import MotionStage, at_times, draw_hints
from seg2vid.training.recipes import make_stage
from seg2vid.training.stage import Stage
from seg2vid.training.validation import measure, write_samples
from tests.tiny import CONFIG, FIRST_FRAME_TRAINING, MOTION_TRAINING, QUIET, street_map, write_clips
from tests.training.test_folder import Rendered
from tests.training.test_stage import SMALL

Training = FirstFrameTrainingConfig | MotionTrainingConfig
TRAININGS: list[Training] = [FIRST_FRAME_TRAINING, MOTION_TRAINING]
CHOICES = [FIRST_FRAME_TRAINING, pytest.param(MOTION_TRAINING, marks=pytest.mark.slow)]
"""Of what the engine does alike for both, one is enough for the fast tests."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def source() -> Rendered:
    return Rendered()


def start(
    training: Training, source: ClipSource, output: Path, settings: RunConfig = QUIET
) -> Path:
    """Run, or go on with, a training of the smallest networks on the smallest clips."""
    return train.run(make_stage(training, SMALL), [(source, 1.0)], output, settings)


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the next run after so many steps, as if the power had gone: nothing more is written."""
    save: Callable[[RunKeeper, Stage], None] = RunKeeper.save

    def dying(keeper: RunKeeper, stage: Stage) -> None:
        if int(stage.step) > steps:
            raise RuntimeError("power cut")
        save(keeper, stage)

    monkeypatch.setattr(RunKeeper, "save", dying)


@pytest.mark.parametrize("training", CHOICES, ids=["first-frame", "motion"])
def test_killed_run_resumes_to_the_same_weights(
    training: Training, source: ClipSource, tmp_path: Path
) -> None:
    if isinstance(training, FirstFrameTrainingConfig):
        training = replace(training, adversarial_start=1)  # both optimisers have a state
    whole = load_checkpoint(start(training, source, tmp_path / "whole"))
    with pytest.MonkeyPatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(RuntimeError, match="power cut"):
            start(training, source, tmp_path / "killed")
    half = load_checkpoint(tmp_path / "killed" / "model.safetensors")
    assert half.provenance["steps_done"] == 2
    resumed = load_checkpoint(start(training, source, tmp_path / "killed"))
    assert resumed.provenance["steps_done"] == whole.provenance["steps_done"] == 4
    assert all(torch.equal(whole.weights[n], resumed.weights[n]) for n in whole.weights)
    assert any(not torch.equal(half.weights[n], whole.weights[n]) for n in whole.weights)


@pytest.mark.parametrize("training", CHOICES, ids=["first-frame", "motion"])
def test_run_leaves_weights_configuration_log_and_sheets(
    training: Training, source: ClipSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(QUIET, sheet_every=2)
    with caplog.at_level("INFO", logger="seg2vid.training.run"):
        path = start(training, source, tmp_path, settings)
    assert "steps  0 to 4" in caplog.text
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["training"]["steps"] == 4
    assert len(list((tmp_path / "sheets").glob("*.png"))) == 2
    assert load_checkpoint(path).config == SMALL
    before = path.stat().st_mtime_ns
    assert start(training, source, tmp_path) == path, "a finished run is not begun again"
    assert path.stat().st_mtime_ns == before


@pytest.mark.slow
def test_seed_decides_the_weights(source: ClipSource, tmp_path: Path) -> None:
    short = replace(MOTION_TRAINING, steps=1)
    one, same, other = (
        load_checkpoint(start(replace(short, seed=seed), source, tmp_path / name)).weights
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_what_a_kill_left_half_written_is_swept_away(source: ClipSource, tmp_path: Path) -> None:
    run, others = tmp_path / "run", {".tmp_notes", ".my.partial.tex", "thesis/.tmpA1b2C3"}
    (run / "sheets").mkdir(parents=True)
    (run / "thesis").mkdir()
    halves = {".state.99.partial.safetensors", ".tmpA1b2C3", "sheets/.a.99.partial.png"}
    for name in halves | others:
        (run / name).write_bytes(b"half")

    def hidden() -> set[str]:
        return {path.relative_to(run).as_posix() for path in run.rglob(".*")}

    start(replace(FIRST_FRAME_TRAINING, steps=1), source, run)
    assert hidden() == halves | others, "before the first start nothing in it was of a run"
    (run / "state.safetensors").unlink()
    start(replace(FIRST_FRAME_TRAINING, steps=1), source, run)
    assert hidden() == others


def test_other_options_for_the_same_folder_are_refused(source: ClipSource, tmp_path: Path) -> None:
    start(replace(FIRST_FRAME_TRAINING, steps=1), source, tmp_path)
    wanted = r"Expected the configuration .*another training.learning_rate; give the"
    with pytest.raises(TrainingError, match=wanted):
        start(replace(FIRST_FRAME_TRAINING, steps=1, learning_rate=1.0), source, tmp_path)


def test_missing_judges_and_unknown_preset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"alexnet_features.safetensors .*; got no such file"):
        make_stage(replace(MOTION_TRAINING, perceptual=1.0), SMALL, judges=tmp_path)
    with pytest.raises(ModelError, match="one of: geometry"):
        make_stage(MOTION_TRAINING, "enormous")


def test_judge_adds_the_perceptual_term_and_is_not_saved(
    clips: Path, tmp_path: Path, shared_data: Path
) -> None:
    short = replace(FIRST_FRAME_TRAINING, steps=1, perceptual=1.0)
    stage = make_stage(short, CONFIG, judges=shared_data / "judges")
    path = train.run(stage, [(ClipFolder(clips), 1.0)], tmp_path, QUIET)
    assert not any("perceptual" in name for name in load_checkpoint(path).weights)
    state = read_state(tmp_path)
    assert state is not None and not any("perceptual" in name for name in state.tensors)


def test_both_stages_assemble_to_a_model_that_generates(source: ClipSource, tmp_path: Path) -> None:
    parts = [
        start(replace(training, steps=1), source, tmp_path / str(number))
        for number, training in enumerate(TRAININGS)
    ]
    assemble(*parts, tmp_path / "model" / "model.safetensors")
    pipe = Seg2VidPipeline.from_pretrained(tmp_path / "model")
    assert pipe(street_map()[:, ::2, ::2], num_frames=4, seed=0).frames.shape[1] == 3
    assert set(pipe.provenance) == {"first_frame", "animator and motion_encoder"}
    # The motion of another run, the first frame of the model that was joined before.
    joined = tmp_path / "model" / "model.safetensors"
    again = tmp_path / "again" / "model.safetensors"
    assemble(joined, parts[1], again)
    assert load_checkpoint(again).provenance == load_checkpoint(joined).provenance
    with pytest.raises(
        ModelError, match=r"weights with animator and motion_encoder in .*; got none"
    ):
        assemble(parts[0], parts[0], tmp_path / "model.safetensors")


@pytest.mark.slow
def test_first_frame_learns_the_frame_it_sees(clips: Path) -> None:
    torch.manual_seed(0)
    config = replace(FIRST_FRAME_TRAINING, adversarial_start=1000, prior_share=0.0, void_share=0.0)
    stage = FirstFrameStage(CONFIG, config)
    batch = batches(ClipFolder(clips), stills=True)[0]
    optimiser = torch.optim.Adam(stage.parameters(), lr=1e-2)
    history = []
    for _ in range(30):
        loss = stage.compute_losses(batch)["reconstruction"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(float(loss.detach()))
    assert history[-1] < 0.6 * history[0]


@pytest.mark.slow
def test_motion_learns_the_clip_it_sees(clips: Path) -> None:
    torch.manual_seed(0)
    stage = MotionStage(CONFIG, replace(MOTION_TRAINING, hint_share=0.0))
    batch = batches(ClipFolder(clips), stills=False)[0]
    optimiser = torch.optim.Adam(stage.parameters(), lr=1e-2)
    history = []
    for _ in range(28):
        terms = stage.compute_losses(batch)
        optimiser.zero_grad()
        sum(terms.values(), torch.zeros(())).backward()
        optimiser.step()
        history.append(float(terms["flow"].detach()))
    assert sum(history[-5:]) < 0.7 * sum(history[:5])


def test_batch_norm_is_frozen_for_the_last_share_of_the_steps(source: ClipSource) -> None:
    torch.manual_seed(0)
    stage = MotionStage(SMALL, replace(MOTION_TRAINING, steps=4, frozen_norm=0.5)).train()
    clip = batches(source, stills=False)[0]
    norms = [m for m in stage.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    moved = []
    for step in range(4):
        stage.step.fill_(step)
        stage._set_modes()
        before = [norm.running_mean.clone() for norm in norms]
        stage.compute_losses(clip)
        pairs = zip(before, norms, strict=True)
        moved.append(any(not torch.equal(old, norm.running_mean) for old, norm in pairs))
    assert moved == [True, True, False, False]
    # Nothing else is switched: the refiner of the paper draws new noise while it is trained.
    assert stage.training and stage.animator.refiner.training


def batches(source: ClipSource, *, stills: bool) -> TrainingBatches:
    sources = [(source, 1.0)]
    return TrainingBatches(sources, batch_size=2, steps=1, start=0, seed=0, stills=stills)


def test_every_term_of_the_objective_reaches_its_network(source: ClipSource) -> None:
    stage = MotionStage(SMALL, MOTION_TRAINING)
    terms = stage.compute_losses(batches(source, stills=False)[0])
    assert set(terms) == {
        *("kl", "flow", "depth", "camera", "path", "objects", "drawn_paths", "residual"),
        *("refinement", "structure", "labels"),
    }
    sum(terms.values(), torch.zeros(())).backward()
    without = [name for name, p in stage.named_parameters() if p.grad is None]
    assert without == []


def test_clip_without_exact_motion_trains_by_the_papers_terms_alone(source: ClipSource) -> None:
    stage = MotionStage(SMALL, MOTION_TRAINING)
    clip = replace(batches(source, stills=False)[0], motion=None, label_maps=None, ego_motion=None)
    terms = stage.compute_losses(clip)
    assert "reconstruction" in terms
    assert not {"flow", "path", "labels"} & set(terms)
    terms["reconstruction"].backward()
    slope = stage.animator.flow_decoder.camera[-1].weight.grad
    assert slope is not None
    assert float(slope.abs().max()) > 0


def test_clips_may_be_longer_than_a_pass(source: ClipSource, tmp_path: Path) -> None:
    """Losses, sheet, video and validation take the frames of one pass."""
    stage = MotionStage(replace(SMALL, num_frames=2), MOTION_TRAINING)
    clip = batches(source, stills=False)[0]
    assert clip.frames.shape[1] == 3
    stage.eval()
    write_samples(stage, clip, tmp_path)
    figures = measure(stage, clip.sample(0))
    short = measure(stage, at_times(clip.sample(0), torch.arange(2)))
    assert figures == short
    assert torch.isfinite(torch.stack(list(stage.compute_losses(clip).values()))).all()


def test_hints_are_displacements_where_confident_and_nothing_elsewhere(source: ClipSource) -> None:
    clip = batches(source, stills=False)[0]
    assert clip.motion is not None
    objects = torch.zeros(2, 4, 8, dtype=torch.long)
    none = draw_hints(clip.motion, objects, share=0.0)
    assert float(none.abs().max()) == 0
    torch.manual_seed(3)
    seen = [draw_hints(clip.motion, objects, share=1.0) for _ in range(30)]
    shares = [float(hints[:, 2].mean()) for hints in seen]
    assert max(shares) > 0.4, "dense hints occur"
    assert 0 < min(share for share in shares if share > 0) < 0.3, "sparse hints occur"
    for hints in seen:
        silent = hints[:, 2:] == 0
        assert float((hints[:, :2] * silent).abs().max()) == 0
    dense = next(hints for hints in seen if bool((hints[0, 2] == 1).all()))
    exact = torch.nn.functional.avg_pool2d(clip.motion.forward_flow[:, -1], 8)
    torch.testing.assert_close(dense[0, :2], exact[0])


def test_hidden_patches_are_void_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    label_map = street_map().repeat(20, 1, 1)
    hidden = hide_patches(label_map, 19, 0.5)
    changed = hidden != label_map
    assert bool((hidden[changed] == 19).all())
    share = changed.flatten(1).any(1).float().mean()
    assert 0.2 < float(share) < 0.8
    assert torch.equal(hide_patches(label_map, 19, 0.0), label_map)


def test_mixing_mask_is_constant_over_each_class() -> None:
    torch.manual_seed(0)
    label_map = street_map()
    mask = mixing_mask(label_map)[:, 0]
    for class_id in label_map.unique():
        assert mask[label_map == class_id].unique().numel() == 1


def test_free_bits_of_a_look_lift_each_number_that_says_little() -> None:
    """Two numbers of the whole picture, two of segments; half of the segments are not there."""
    mean = Look(torch.tensor([[0.0, 2.0]]), torch.tensor([[[0.0, 2.0], [9.0, 9.0]]]))
    zeros = mean.map(torch.zeros_like)
    posterior = LookPosterior(mean, zeros, torch.tensor([[1.0, 0.0]]))
    assert float(look_divergence(posterior)) == pytest.approx(1 + 1)
    assert float(look_divergence(posterior, free_bits=0.5)) == pytest.approx(1.25 + 1.25)
