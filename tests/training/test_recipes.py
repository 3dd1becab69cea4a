"""Recipes: every file in ``recipes/`` is read, builds its networks, and is run by its own words."""

import re
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from seg2vid.cli import main as cli
from seg2vid.models.checkpoint import load_checkpoint
from seg2vid.models.config import PAPER, PRESETS, PaperConfig
from seg2vid.tools.errors import ModelError
from seg2vid.training import recipes
from seg2vid.training.config import OBJECTIVES, PAPER_TRAINING, STAGE_NAMES
from seg2vid.training.recipes import read_recipe
from tests import tiny
from tests.conftest import REPOSITORY

KINDS = {name: kind for kind, name in STAGE_NAMES.items()}
RECIPES = sorted((REPOSITORY / "recipes").glob("*.yaml"))
CHANGES = {
    "ablation_without_labels": ("model", "semantics", "none"),
    "ablation_without_split": ("model", "semantics", "joint"),
    "ablation_without_refinement": ("model", "refinement", False),
    "ablation_without_consistency": ("training", "grid_consistency", 0.0),
    "authors_code": ("training", "kl_batch_sum", True),
}


def test_every_published_experiment_has_a_recipe() -> None:
    names = {path.stem for path in RECIPES}
    assert names >= {"cityscapes", "kitti_transfer", "kth", "ucf101", *CHANGES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_says_command_expectation_and_whether_it_was_run(path: Path) -> None:
    text = path.read_text("utf-8")
    stage = yaml.safe_load(text).get("stage", "motion")
    recipe = read_recipe(path, KINDS[stage])
    if stage == "motion":
        assert recipe.training.exact_motion is (recipe.model.architecture == "geometry")
    assert "to expect" in text.lower()
    assert re.search(r"not run|about \d+ minutes", text.replace("\n# ", " "), re.IGNORECASE)
    (command,) = re.findall(rf"^#   (seg2vid train {stage} .*)$", text, re.MULTILINE)
    words = shlex.split(command)
    assert words[words.index("--recipe") + 1] == f"recipes/{path.name}"
    assert {"--data", "-o"} < set(words)


def test_recipes_travel_in_the_wheel_and_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["recipes"] == str(recipes.FOLDERS[0].relative_to(recipes.FOLDERS[0].parents[1]))
    wanted = read_recipe(REPOSITORY / "recipes" / "kth.yaml")
    monkeypatch.chdir(tmp_path)
    assert read_recipe(Path("kth")) == read_recipe(Path("recipes/kth.yaml")) == wanted
    with pytest.raises(ModelError):
        read_recipe(Path("runs/kth.yaml"))


@pytest.mark.parametrize("name", CHANGES)
def test_ablation_recipe_differs_in_what_it_says(name: str) -> None:
    recipe = read_recipe(REPOSITORY / "recipes" / f"{name}.yaml")
    part, field, value = CHANGES[name]
    assert getattr(getattr(recipe, part), field) == value
    base = PAPER if part == "model" else PAPER_TRAINING
    assert getattr(base, field) != value


def test_cityscapes_is_the_paper_preset_and_objective() -> None:
    recipe = read_recipe(REPOSITORY / "recipes" / "cityscapes.yaml")
    assert recipe.model == PAPER and recipe.training == PAPER_TRAINING
    kth = read_recipe(REPOSITORY / "recipes" / "kth.yaml")
    assert kth.training.trained_frames == kth.model.num_frames == 15


@pytest.mark.parametrize("name", ["geometry", "paper", "paper-kth"])
def test_networks_are_trained_by_their_own_objective(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"preset: {name}\n")
    recipe = read_recipe(path)
    assert recipe.training == OBJECTIVES[recipe.model.architecture]


def test_quirks_are_off_unless_asked_for() -> None:
    for training in OBJECTIVES.values():
        assert not training.kl_batch_sum and not training.authors_smoothness
    assert not any(model.paper.repeat_row for model in PRESETS.values())
    quirks = read_recipe(REPOSITORY / "recipes" / "authors_code.yaml")
    assert quirks.model == replace(
        PAPER,
        paper=PaperConfig(repeat_row=True, padding="zeros", clamp=False, norm_each_time=True),
    )
    assert quirks.training == replace(
        PAPER_TRAINING,
        kl=0.1,
        kl_batch_sum=True,
        authors_smoothness=True,
        second_momentum=0.999,
        decay_share=0.0,
        gradient_clip=0.0,
    )


def test_recipe_trains_and_options_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = tiny.write_clips(tmp_path / "clips", count=1)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "preset: geometry\n"
        "model: {height: 64, width: 128, num_frames: 3, semantics: joint,"
        " motion_encoder: {width: 4}, refiner: {width: 4},"
        " depth: {widths: [4, 4, 6, 8, 8], blocks: 1},"
        " flow_decoder: {width: 4, background_code: 3}}\n"
        "objective: paper\n"
        "training: {steps: 9, batch_size: 1, features: 0, learning_rate: 0.5}\n"
    )
    words = ["train", "motion", "--recipe", recipe, "--data", clips, "-o", tmp_path / "run"]
    assert cli.main([*map(str, words), "--steps", "1", "--measured-steps", "0"]) == 0, (
        capsys.readouterr().err
    )
    checkpoint = load_checkpoint(tmp_path / "run" / "model.safetensors")
    assert checkpoint.config.semantics == "joint" and checkpoint.config.refiner.width == 4
    # What the recipe does not name stays as it is in the preset.
    assert checkpoint.config.flow_decoder.foreground_code == 8
    training = checkpoint.provenance["training"]
    assert (training["steps"], training["batch_size"]) == (1, 1)
    assert training["learning_rate"] == 0.5 and training["exact_motion"] is False
    assert torch.isfinite(checkpoint.weights["animator.refiner.to_picture.weight"]).all()


BAD = {
    "preset: paper\nsteps: 3": r"only stage, preset, model, objective, .*; got steps; see",
    "- 1": r"Expected a mapping in .*; got a list; see",
    "preset: [": r"a recipe in .*; got no YAML: ",
    "model: {architecture: flow}": "one of geometry, paper as architecture in .*; got 'flow'",
    "preset: huge": "a preset, one of: geometry, paper, .* got 'huge'",
    "objective: best": "an objective, one of: geometry, paper; got 'best'",
    "model: {colour: 3}": "only label_space, .*; got colour; correct it",
    "model: {refiner: {colour: 3}}": "only width as refiner in .*; got colour",
    "model: 3": "a mapping as model in .*; got a whole number",
    "training: {steps: many}": "a whole number as steps in .*; got text",
    "training: {kl_batch_sum: 1}": "true or false as kl_batch_sum in .*; got a whole number",
    "training: {steps: 2020-13-45}": "a recipe in .*; got no YAML: month must be in 1..12",
    "training: {learning_rate: .nan}": "a finite number as learning_rate in .*; got nan",
    "training: {batch_size: -3}": "batch_size in .* from 1 to 65536; got -3",
    "model: {width: '32'}": "a whole number as width in .*; got text",
    "model: {height: 1000000000}": "multiples of 32 up to 4096 in .*; got 256x1000000000",
    "model: {first_frame: {widths: [a]}}": r"a whole number as first_frame.widths\[0\] in",
    "stage: [1]": "text as stage in .*; got a list",
    "objective: [1]": "text as objective in .*; got a list",
    "preset: [1]": "text as preset in .*; got a list",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_recipe_says_what_is_wrong(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ModelError, match=BAD[text]):
        read_recipe(path)


def test_missing_recipe_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "motion", "--recipe", "no.yaml", "--data", str(tmp_path), "-o", "out"]
    assert cli.main(words) == 2
    line = capsys.readouterr().err
    assert "a recipe; got no file no.yaml" in line and line.count("\n") == 1


def test_clips_of_another_size_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = tiny.write_clips(tmp_path / "clips", count=1)
    words = ["train", "motion", "--data", str(clips), "-o", str(tmp_path / "run"), "--steps", "1"]
    assert cli.main([*words, "--batch-size", "1", "--without-features"]) == 2
    line = capsys.readouterr().err
    assert "clips of 256x128 with 8 frames after the first; got 128x64 with 3" in line
