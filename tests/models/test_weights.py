"""Licences of weights: told by the card beside them, and refused where that is wished."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from seg2vid.cli.main import main
from seg2vid.models import weights
from seg2vid.models.checkpoint import assemble, save_checkpoint
from seg2vid.models.config import to_dict
from seg2vid.models.weights import NO_RESTRICTED, SEGMENTER, find_weights, read_licence
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.errors import ModelError
from tests.evaluation_runs import write_model as write_whole_model
from tests.tiny import CONFIG, write_clips

CARDS = {
    "| licence | **non-commercial research use only**: photographs |": True,
    "---\nlicense: cc-by-nc-4.0\n---\n# A model": True,
    "license: Noncommercial": True,
    "license: apache-2.0": False,
    "| licence | Apache-2.0 |": False,
    "# no word of it": False,
}


def write_model(folder: Path, card: str | None) -> str:
    (folder / "model.safetensors").touch()
    if card is not None:
        (folder / "README.md").write_text(card)
    return str(folder)


@pytest.mark.parametrize("card", CARDS)
def test_the_card_beside_the_weights_tells_their_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: str
) -> None:
    name = write_model(tmp_path, card)
    monkeypatch.setenv(NO_RESTRICTED, "1")
    if not CARDS[card]:
        assert find_weights(name) == tmp_path / "model.safetensors"
        return
    with pytest.raises(ModelError, match=r"^Expected weights free for any use; got .*; take anoth"):
        find_weights(name)
    monkeypatch.setenv(NO_RESTRICTED, "0")
    assert find_weights(name) == tmp_path / "model.safetensors"


def test_without_a_card_nothing_is_known(tmp_path: Path) -> None:
    write_model(tmp_path, None)
    assert read_licence(tmp_path / "model.safetensors") == "unknown"


STREET = "non-commercial research use only: the first frame was trained on Cityscapes"


@pytest.mark.parametrize(
    ("provenance", "licence"),
    [
        ({"origin": {"name": "street"}}, STREET),
        ({"first_frame": {"origin": {"name": "street"}}, "animator": {}}, STREET),
        ({"origin": {"name": "runs/a", "licence": "cc-by-nc-4.0"}}, "cc-by-nc-4.0"),
        ({"origin": {"name": ["street"], "licence": None}}, "unknown"),
        ({"origin": {"name": "toycity"}}, "unknown"),
    ],
)
def test_what_is_made_of_restricted_weights_is_restricted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provenance: Any, licence: str
) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, {}, CONFIG, provenance, others={"animator.a": torch.zeros(1)})
    assert read_licence(path).startswith(licence)
    monkeypatch.setenv(NO_RESTRICTED, "1")
    if licence == "unknown":
        assert find_weights(str(path)) == path
        return
    with pytest.raises(ModelError, match="Expected weights free for any use"):
        find_weights(str(path))
    (tmp_path / "README.md").write_text("license: mit")
    assert find_weights(str(path)) == path, "who writes a card knows better"


def test_assembled_weights_keep_a_restriction(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_whole_model(tmp_path / name)
    first, second = (tmp_path / name / "model.safetensors" for name in ("a", "b"))
    assemble(first, second, tmp_path / "free" / "model.safetensors")
    assert read_licence(tmp_path / "free" / "model.safetensors") == "unknown"
    (tmp_path / "a" / "README.md").write_text("license: cc-by-nc-4.0")
    assemble(first, second, tmp_path / "bound" / "model.safetensors")
    assert read_licence(tmp_path / "bound" / "model.safetensors") == "cc-by-nc-4.0"


def test_a_restricted_model_that_is_saved_again_stays_restricted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_whole_model(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("license: cc-by-nc-4.0")
    saved = tmp_path / "model"
    for name in ("again", "and_again"):
        saved = Seg2VidPipeline.from_pretrained(saved).save_pretrained(tmp_path / name).parent
        assert read_licence(saved / "model.safetensors") == "cc-by-nc-4.0"
    weights._say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        Seg2VidPipeline.from_pretrained(saved)
    assert f"the weights of {saved} are not free: cc-by-nc-4.0" in caplog.text


def test_training_notes_the_restriction_of_what_it_begins_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clips(tmp_path / "clips", 2)
    write_whole_model(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("license: cc-by-nc-4.0")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"model": to_dict(CONFIG)}))
    seen: dict[str, Any] = {}
    monkeypatch.setattr("seg2vid.cli.training.run", lambda *_, origin: seen.update(origin))
    words = ["train", "motion", "--data", "clips", "--recipe", "own.yaml", "-o", "run"]
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--start-from", "model", "--perceptual", "0"]) == 0
    assert seen["name"] == "model" and seen["licence"] == "cc-by-nc-4.0"


def test_the_segmenter_is_refused_like_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NO_RESTRICTED, "1")
    assert find_weights("toycity").is_file()
    for name in (SEGMENTER, "street"):
        with pytest.raises(ModelError, match="got " + name):
            find_weights(name)


def test_restricted_weights_say_so_once(caplog: pytest.LogCaptureFixture) -> None:
    weights._say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            find_weights("street")
            find_weights("toycity")
    (line,) = caplog.messages
    assert line.startswith("the weights of street are not free: non-commercial research use only:")
