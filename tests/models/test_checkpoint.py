"""Weight files: what is written comes back, what is wrong is said, half a file is never left."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from seg2vid.models import checkpoint as checkpoint_module
from seg2vid.models.checkpoint import (
    FORMAT,
    Checkpoint,
    assemble,
    load_box,
    load_checkpoint,
    save_checkpoint,
)
from seg2vid.models.config import ModelConfig, RefinerConfig, to_dict
from seg2vid.models.first_frame import FirstFrame
from seg2vid.models.refiner import Refiner
from seg2vid.tools.errors import ModelError

CONFIG = ModelConfig(height=64, num_frames=3, refiner=RefinerConfig(width=4))
PROVENANCE = {"command": "seg2vid train", "steps": 7, "data": ["a", "b"]}


def refiner(width: int = 4) -> Refiner:
    """A tiny box with weights and running figures of its own."""
    box = Refiner(RefinerConfig(width=width), num_channels=5)
    for buffer in box.buffers():
        buffer.copy_(torch.rand(buffer.shape) * 100)
    return box


def saved(path: Path, *, half: bool = True) -> Refiner:
    """Write one box to ``path`` and return it."""
    box = refiner()
    save_checkpoint(path, {"refiner": box}, CONFIG, PROVENANCE, half=half)
    return box


def message(path: Path) -> str:
    """The text of the error that loading raises."""
    with pytest.raises(ModelError) as caught:
        load_checkpoint(path)
    return str(caught.value)


@pytest.mark.parametrize("half", [True, False])
def test_a_box_comes_back_as_it_was(tmp_path: Path, half: bool) -> None:
    box, again = saved(tmp_path / "model.safetensors", half=half), refiner()
    loaded = load_checkpoint(tmp_path / "model.safetensors")
    load_box(again, loaded, "refiner")
    assert loaded.config == CONFIG and loaded.provenance == PROVENANCE
    for name, tensor in box.state_dict().items():
        restored = again.state_dict()[name]
        assert restored.dtype == tensor.dtype
        torch.testing.assert_close(restored, tensor, rtol=1e-3 if half else 0, atol=0.001 * half)


def test_whole_numbers_are_not_halved(tmp_path: Path) -> None:
    counter = nn.BatchNorm2d(2)
    counter.num_batches_tracked.fill_(100_001)  # past what half precision can count
    save_checkpoint(tmp_path / "model.safetensors", {"norm": counter}, CONFIG, {})
    loaded = load_checkpoint(tmp_path / "model.safetensors")
    assert loaded.weights["norm.num_batches_tracked"] == 100_001


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    sizes = []
    for half in (True, False):
        saved(tmp_path / f"{half}.safetensors", half=half)
        sizes.append((tmp_path / f"{half}.safetensors").stat().st_size)
    assert sizes[0] < 0.75 * sizes[1]


def test_several_boxes_share_a_file(tmp_path: Path) -> None:
    boxes = {"one": nn.Linear(2, 3), "one_more": nn.Linear(3, 2)}
    save_checkpoint(tmp_path / "model.safetensors", boxes, CONFIG, {}, half=False)
    loaded = load_checkpoint(tmp_path / "model.safetensors")
    assert sorted({name.split(".")[0] for name in loaded.weights}) == ["one", "one_more"]
    again = nn.Linear(2, 3)
    load_box(again, loaded, "one")
    assert torch.equal(again.weight, boxes["one"].weight)


def test_saving_leaves_the_box_in_single_precision(tmp_path: Path) -> None:
    assert saved(tmp_path / "model.safetensors").enter.both.weight.dtype == torch.float32


def test_what_was_loaded_can_be_written_again(tmp_path: Path) -> None:
    saved(tmp_path / "model.safetensors")
    loaded = load_checkpoint(tmp_path / "model.safetensors")
    save_checkpoint(
        tmp_path / "copy.safetensors", {}, CONFIG, {"by": "hand"}, others=loaded.weights
    )
    copy = load_checkpoint(tmp_path / "copy.safetensors")
    assert copy.provenance == {"by": "hand"}
    assert all(torch.equal(copy.weights[name], loaded.weights[name]) for name in loaded.weights)


def test_folders_are_made(tmp_path: Path) -> None:
    saved(tmp_path / "deep" / "er" / "model.safetensors")
    assert [p.name for p in (tmp_path / "deep" / "er").iterdir()] == ["model.safetensors"]


# What is wrong is said: expected, got, what to do.


def test_negative_variances_are_refused_by_name(tmp_path: Path) -> None:
    norm, path = nn.BatchNorm2d(2), tmp_path / "model.safetensors"
    norm.running_var[1] = -1e-4  # finite, and its root is not
    save_checkpoint(path, {"norm": norm}, CONFIG, {})
    assert "; got a negative one in norm.running_var; " in message(path)


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.safetensors"
    assert message(path) == f"Expected a weight file at {path}; got no such file; check the path."


@pytest.mark.parametrize("content", [b"", b"not a weight file", b"\xff" * 200])
def test_a_file_that_is_no_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    text = message(path)
    assert text.startswith(f"Expected a safetensors file at {path}; got ")
    assert text.endswith("; fetch it again.")


def test_a_file_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    saved(path)
    path.write_bytes(path.read_bytes()[:-100])
    text = message(path)
    assert text.startswith(f"Expected a safetensors file at {path}; got ")
    assert text.endswith("; fetch it again.")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_safetensors_file_of_others(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata)
    found = None if metadata is None else "pt"
    text = message(path)
    assert text.startswith(f"Expected a file of format {FORMAT} at {path}; got format {found!r}; ")
    assert text.endswith("use a file that seg2vid itself saved.")


def test_a_configuration_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    config = json.dumps({**to_dict(CONFIG), "temperature": 1})
    save_file({"weight": torch.zeros(2)}, path, {"format": FORMAT, "config": config})
    assert "got temperature; update seg2vid" in message(path)


@pytest.mark.parametrize("box", ["animator", "segmenter"])
def test_motion_of_an_architecture_that_is_gone_is_refused(tmp_path: Path, box: str) -> None:
    path = tmp_path / "model.safetensors"
    config = json.dumps({**to_dict(CONFIG), "architecture": "compact"})
    save_file({f"{box}.weight": torch.zeros(2)}, path, {"format": FORMAT, "config": config})
    if box == "animator":
        wanted = f"Expected one of geometry, paper as architecture in {path}; got 'compact'; "
        assert message(path).startswith(wanted)
    else:
        assert load_checkpoint(path).config == CONFIG, "other boxes do not depend on it"


WRONG_CONFIGS = {
    '{"width": "256"}': "a whole number as width in .*; got text; fetch it again",
    '{"refinement": 1}': "true or false as refinement in .*; got a whole number",
    '{"first_frame": 3}': "a mapping as first_frame in .*; got a whole number",
    '{"depth": {"widths": 3}}': "a list as depth.widths in .*; got a whole number",
    '{"depth": {"widths": ["a"]}}': r"a whole number as depth.widths\[0\] in .*; got text",
    '{"label_space": 3}': "a mapping as label_space in .*; got a whole number",
    '{"frames_per_second": NaN}': "a finite number as frames_per_second in .*; got nan",
    '{"width": 1000000000}': "multiples of 32 up to 4096 in .*; got 1000000000x128; take such",
    '{"refiner": {"width": 1000000000}}': "sizes from 0 to 4096 in .*; got 1000000000; take a",
    '{"first_frame": {"more_blocks": [1000000000]}}': "sizes from 0 to 4096 in .*; got 1000000000",
}


@pytest.mark.parametrize("config", WRONG_CONFIGS)
def test_a_configuration_of_wrong_types_and_absurd_sizes(tmp_path: Path, config: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(2)}, path, {"format": FORMAT, "config": config})
    assert re.search(WRONG_CONFIGS[config], message(path)), message(path)


@pytest.mark.parametrize("config", [None, "{", "[1]", "3", "[" * 100_000])
def test_a_configuration_that_cannot_be_read(tmp_path: Path, config: str | None) -> None:
    path = tmp_path / "model.safetensors"
    metadata = {"format": FORMAT} | ({} if config is None else {"config": config})
    save_file({"weight": torch.zeros(2)}, path, metadata)
    text = message(path)
    assert text.startswith("Expected ") and str(path) in text and "; got " in text


def box_message(weights: dict[str, torch.Tensor]) -> str:
    """The text of the error that loading these weights into a linear layer raises."""
    with pytest.raises(ModelError) as caught:
        load_box(nn.Linear(2, 3), Checkpoint(CONFIG, weights, {}), "box")
    return str(caught.value)


def test_tensors_that_do_not_fit_are_named() -> None:
    right = {"box.weight": torch.zeros(3, 2), "box.bias": torch.zeros(3)}
    load_box(nn.Linear(2, 3), Checkpoint(CONFIG, right, {}), "box")
    cases = {
        "missing ['bias'], unexpected [], of another shape []": {"box.weight": torch.zeros(3, 2)},
        "missing [], unexpected ['scale'], of another shape []": right
        | {"box.scale": torch.zeros(1)},
        "missing [], unexpected [], of another shape ['weight']": right
        | {"box.weight": torch.zeros(2, 3)},
        "missing ['bias', 'weight'], unexpected [], of another shape []": {
            "boxes.weight": torch.zeros(3, 2)
        },
    }
    run = {"animator.refiner.weight": torch.zeros(3, 2), "motion_encoder.weight": torch.zeros(1)}
    assert box_message(run) == (
        "Expected weights of box; got those of animator, motion_encoder; join both stages: "
        "seg2vid assemble FIRST_FRAME_WEIGHTS MOTION_WEIGHTS -o MODEL."
    ), "a run of one stage is no whole model"
    for got, weights in cases.items():
        text = box_message(weights)
        assert text.startswith("Expected exactly the 2 tensors of box; got ")
        assert f"; got {got}; " in text and text.endswith("train or fetch it anew.")


def test_a_box_of_another_width_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path / "model.safetensors")
    wider = refiner(width=8)
    before = {name: tensor.clone() for name, tensor in wider.state_dict().items()}
    with pytest.raises(ModelError, match="of another shape"):
        load_box(wider, load_checkpoint(tmp_path / "model.safetensors"), "refiner")
    assert all(torch.equal(before[name], tensor) for name, tensor in wider.state_dict().items())


# Whole or not at all.


def interrupt(weights: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write the beginning of a file and give up, as a full disk or a key press does."""
    Path(path).write_bytes(b"half a file")
    raise KeyboardInterrupt


def test_an_interrupted_write_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_module, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    saved(path)
    before = path.read_bytes()
    monkeypatch.setattr(checkpoint_module, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        saved(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# Several stages, one file.


def stage_files(folder: Path, *, config: ModelConfig = CONFIG) -> list[Path]:
    """Two weight files as two stages of training write them."""
    paths = [folder / "first.safetensors", folder / "second.safetensors"]
    save_checkpoint(paths[0], {"first_frame": nn.Linear(2, 3)}, CONFIG, {"steps": 1}, half=False)
    boxes = {"animator": refiner(), "motion_encoder": nn.Linear(3, 2)}
    save_checkpoint(paths[1], boxes, config, {"steps": 2}, half=False)
    return paths


def test_stages_are_assembled_into_one_file(tmp_path: Path) -> None:
    paths = stage_files(tmp_path)
    assemble(*paths, tmp_path / "whole.safetensors")
    loaded = load_checkpoint(tmp_path / "whole.safetensors")
    assert loaded.config == CONFIG
    parts = [load_checkpoint(path).weights for path in paths]
    assert set(loaded.weights) == set(parts[0]) | set(parts[1])
    for name, tensor in (parts[0] | parts[1]).items():
        torch.testing.assert_close(loaded.weights[name], tensor, rtol=1e-3, atol=1e-3)
    provenance = {"first_frame": {"steps": 1}, "animator and motion_encoder": {"steps": 2}}
    assert loaded.provenance == provenance


def test_the_encoder_of_looks_goes_along_with_the_first_frame(tmp_path: Path) -> None:
    paths = stage_files(tmp_path)
    boxes = {"first_frame": nn.Linear(2, 3), "appearance_encoder": nn.Linear(3, 4)}
    save_checkpoint(paths[0], boxes, CONFIG, {"steps": 1})
    assemble(*paths, tmp_path / "whole.safetensors")
    loaded = load_checkpoint(tmp_path / "whole.safetensors")
    assert loaded.weights["appearance_encoder.weight"].shape == (4, 3)
    assert loaded.provenance["first_frame"] == {"steps": 1}


def test_stages_of_different_configurations_are_not_joined(tmp_path: Path) -> None:
    paths = stage_files(tmp_path, config=replace(CONFIG, height=96))
    with pytest.raises(ModelError) as caught:
        assemble(*paths, tmp_path / "whole.safetensors")
    text = str(caught.value)
    assert text.startswith(f"Expected parts of one configuration ({paths[0]}); got another in ")
    assert str(paths[1]) in text and text.endswith(": height; train both alike.")
    assert not (tmp_path / "whole.safetensors").exists()


def test_a_first_frame_brings_its_own_networks(tmp_path: Path) -> None:
    paths = stage_files(tmp_path)
    wider = replace(CONFIG, first_frame=replace(CONFIG.first_frame, widths=(6, 6, 8)))
    box = FirstFrame(wider.first_frame, num_channels=20, foreground=(11, 12))
    save_checkpoint(paths[0], {"first_frame": box}, wider, {})
    assemble(*paths, tmp_path / "whole.safetensors")
    loaded = load_checkpoint(tmp_path / "whole.safetensors")
    assert loaded.config == wider
    load_box(box, loaded, "first_frame")


def test_motion_may_have_other_frames_than_the_first_frame_was_trained_beside(
    tmp_path: Path,
) -> None:
    paths = stage_files(tmp_path, config=replace(CONFIG, num_frames=4))
    assemble(*paths, tmp_path / "whole.safetensors")
    assert load_checkpoint(tmp_path / "whole.safetensors").config.num_frames == 4


def test_a_stage_without_its_boxes_is_not_joined(tmp_path: Path) -> None:
    first, _ = stage_files(tmp_path)
    wanted = r"Expected weights with animator and motion_encoder in .*; got none of animator, "
    with pytest.raises(ModelError, match=wanted + r"motion_encoder; name the weights of a motion"):
        assemble(first, first, tmp_path / "whole.safetensors")


def test_only_the_boxes_of_its_role_are_taken_from_a_whole_model(tmp_path: Path) -> None:
    """A fine-tuned motion goes with the first frame of the model that it was tuned from."""
    paths = stage_files(tmp_path)
    assemble(*paths, tmp_path / "whole.safetensors")
    tuned = {"animator": refiner(), "motion_encoder": nn.Linear(3, 2)}
    save_checkpoint(tmp_path / "tuned.safetensors", tuned, CONFIG, {"steps": 3})
    assemble(tmp_path / "whole.safetensors", tmp_path / "tuned.safetensors", tmp_path / "b")
    again = load_checkpoint(tmp_path / "b")
    own = load_checkpoint(tmp_path / "tuned.safetensors").weights
    assert all(torch.equal(again.weights[name].float(), own[name]) for name in own)
    provenance = {"first_frame": {"steps": 1}, "animator and motion_encoder": {"steps": 3}}
    assert again.provenance == provenance


def test_boxes_that_were_not_built_are_passed_on(tmp_path: Path) -> None:
    others = {"discriminator.weight": torch.rand(2, 3)}
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, {"one": nn.Linear(2, 3)}, CONFIG, {}, half=False, others=others)
    loaded = load_checkpoint(path).weights
    assert torch.equal(loaded["discriminator.weight"], others["discriminator.weight"])
    assert set(loaded) == {"discriminator.weight", "one.weight", "one.bias"}


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(
    tmp_path: Path, value: float, half: bool
) -> None:
    box = refiner()
    name, tensor = next(pair for pair in box.state_dict().items() if pair[1].ndim == 4)
    tensor[0, 0, 0, 0] = value
    save_checkpoint(tmp_path / "model.safetensors", {"refiner": box}, CONFIG, {}, half=half)
    found = message(tmp_path / "model.safetensors")
    assert found.startswith("Expected finite weights in ") and found.count("\n") == 0
    assert f"; got nan or inf in refiner.{name}; " in found


def test_a_weight_past_half_precision_is_kept(tmp_path: Path) -> None:
    box = nn.BatchNorm2d(2)
    box.running_var.fill_(1e6)
    save_checkpoint(tmp_path / "model.safetensors", {"norm": box}, CONFIG, {})
    assert load_checkpoint(tmp_path / "model.safetensors").weights["norm.running_var"][0] == 1e6
