"""Licences of weights: told by the card beside them, and refused where that is wished."""

import logging
from pathlib import Path

import pytest

from seg2vid.models import weights
from seg2vid.models.weights import NO_RESTRICTED, SEGMENTER, find_weights, read_licence
from seg2vid.tools.errors import ModelError

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
