"""Sharing a model: up to a hub and down again, with its card; and what is said when that fails.

The hub is one on this machine, asked by the hub's own client.
"""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from seg2vid.models.weights import NO_RESTRICTED, find_weights, list_models, read_card, read_licence
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.errors import ModelError
from tests.hub import READER, TOKEN, Hub
from tests.tiny import CONFIG, street_map

# The hub's client hands files to its HTTP library in a way that this has renamed: theirs to change.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
NAME = "somebody/streets"


def send_to(address: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub's client speak with ``address`` alone, and keep what it fetches in ``folder``."""
    home = "huggingface_hub.constants"
    monkeypatch.setattr(f"{home}.ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(f"{home}.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(f"{home}.HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(f"{home}.HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.setattr(f"{home}.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(f"{home}.HF_HUB_OFFLINE", False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        send_to(server.address, tmp_path, monkeypatch)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def pipe() -> Seg2VidPipeline:
    return Seg2VidPipeline.from_config(CONFIG)


def nowhere() -> str:
    """Return an address at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def front_matter(card: str) -> dict[str, object]:
    """What the hub reads of a card."""
    start, lines, _ = card.split("---\n", 2)
    assert start == ""
    return dict(yaml.safe_load(lines))


def test_a_model_comes_back_as_it_was_sent(hub: Hub, pipe: Seg2VidPipeline) -> None:
    page = pipe.push_to_hub(NAME, token=TOKEN, message="First streets")
    assert page == f"{hub.address}/{NAME}" and hub.history == ["First streets"]
    assert sorted(hub.models[NAME]) == ["README.md", "model.safetensors"]
    card = hub.models[NAME]["README.md"].decode()
    about = front_matter(card)
    assert about["library_name"] == "seg2vid" and "license" not in about
    assert f'from_pretrained("{NAME}")' in card and "128x64, 3 frames a pass" in card
    back = Seg2VidPipeline.from_pretrained(NAME)
    assert back.config == CONFIG and back.card == card and back.source["model"] == NAME
    kept = {name: value.half().float() for name, value in pipe.animator.state_dict().items()}
    found = back.animator.state_dict()
    assert all(torch.equal(found[name], value.to(found[name])) for name, value in kept.items())
    assert back(street_map(), num_frames=2, seed=1).frames.shape == (1, 1, 3, 64, 128)


def test_what_is_sent_again_replaces_what_was_there(hub: Hub, pipe: Seg2VidPipeline) -> None:
    for card in ("# First", "# Second"):
        pipe.push_to_hub(NAME, card=card, token=TOKEN)
        assert card in Seg2VidPipeline.from_pretrained(NAME).card
    assert len(hub.history) == 2 and b"# First" not in hub.models[NAME]["README.md"]


def test_what_was_fetched_once_is_kept(
    hub: Hub, pipe: Seg2VidPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe.push_to_hub(NAME, card="license: cc-by-nc-4.0", token=TOKEN)
    fetched = find_weights(NAME)
    send_to(nowhere(), tmp_path, monkeypatch)
    assert find_weights(NAME) == fetched
    assert read_licence(fetched) == "cc-by-nc-4.0", "its card is kept, too"


def test_a_private_model_is_found_with_a_token_alone(
    hub: Hub, pipe: Seg2VidPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe.push_to_hub(NAME, private=True, token=TOKEN)
    assert hub.private == {NAME}
    with pytest.raises(ModelError, match=r"Repo.*NotFound"):
        find_weights(NAME)
    monkeypatch.setenv("HF_TOKEN", READER)
    assert find_weights(NAME).is_file()


def test_a_licence_goes_along(
    hub: Hub, pipe: Seg2VidPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the card, else that of what the weights were made from; restrictions hold there."""
    pipe.provenance = {"licence": "non-commercial research use only: photographs"}
    pipe.push_to_hub(NAME, card="# Mine, see [the data](../data.md)", token=TOKEN)
    about = front_matter(card := hub.models[NAME]["README.md"].decode())
    assert about["license"] == "other"
    assert about["license_name"] == "non-commercial-research-use-only"
    assert "# Mine, see the data\n" in card, "no link to a file that is not there"
    monkeypatch.setenv(NO_RESTRICTED, "1")
    with pytest.raises(ModelError, match="Expected weights free for any use"):
        Seg2VidPipeline.from_pretrained(NAME)
    own = "---\nlicense: cc-by-nc-4.0\n---\n# Mine"
    pipe.push_to_hub(NAME, card=own, token=TOKEN)
    assert hub.models[NAME]["README.md"].decode().startswith(own)
    with pytest.raises(ModelError, match=r"got somebody/streets: cc-by-nc-4\.0; take another"):
        find_weights(NAME)


@pytest.mark.slow
@pytest.mark.parametrize("model", [one.name for one in list_models()])
def test_a_bundled_model_comes_back_with_its_card(hub: Hub, model: str) -> None:
    sent = Seg2VidPipeline.from_pretrained(model)
    sent.push_to_hub(NAME, token=TOKEN)
    back = Seg2VidPipeline.from_pretrained(NAME)
    bundled = find_weights(model)
    title = read_card(bundled).splitlines()[0]
    assert title in back.card.splitlines() and "](../" not in back.card
    assert read_licence(find_weights(NAME)) == read_licence(bundled)
    assert (front_matter(back.card)["license"] == "apache-2.0") == (model == "toycity")
    one, other = (pipe(street_map().repeat(1, 2, 2), num_frames=2, seed=1) for pipe in (sent, back))
    assert torch.equal(one.first_frame, other.first_frame)
    assert torch.equal(one.frames, other.frames), "bit by bit"


REFUSED = {
    ("no model", TOKEN): "Expected a model of the hub, as in user/name; got 'no model'; check",
    (NAME, None): f"Expected a token of the hub that may write to {NAME!r}; got none; give token=",
    (NAME, READER): f"may write to {NAME!r}; got one that is refused (403); make one that may",
    (NAME, "hf_old"): f"may write to {NAME!r}; got one that is refused (401); make one that may",
}


@pytest.mark.parametrize(("name", "token"), REFUSED)
def test_what_cannot_be_sent(hub: Hub, pipe: Seg2VidPipeline, name: str, token: str | None) -> None:
    with pytest.raises(ModelError) as caught:
        pipe.push_to_hub(name, token=token)
    message = str(caught.value)
    assert REFUSED[name, token] in message and "\n" not in message
    assert hub.models == {} and (token or "hf_") not in message


def test_a_hub_that_fails_is_named(
    hub: Hub, pipe: Seg2VidPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.hub.Visit.place", lambda self, oid: {"oid": oid, "error": {}})
    with pytest.raises(ModelError, match=r"^Expected a hub that takes the model; got .*; check"):
        pipe.push_to_hub(NAME, token=TOKEN)


def test_without_a_network(
    pipe: Seg2VidPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_to(nowhere(), tmp_path, monkeypatch)
    with pytest.raises(ModelError) as caught:
        pipe.push_to_hub(NAME, token=TOKEN)
    message = str(caught.value)
    assert "got ConnectError for 'somebody/streets'; check the connection, or write" in message
    with pytest.raises(
        ModelError, match=r"got no answer for 'somebody/streets' .*; check the name"
    ):
        Seg2VidPipeline.from_pretrained(NAME)


def test_a_model_that_is_not_there(hub: Hub) -> None:
    with pytest.raises(ModelError, match=r"got no model.safetensors of 'a/b' \(Repo.*NotFound"):
        Seg2VidPipeline.from_pretrained("a/b")
    hub.models["a/b"] = {"README.md": b"# No weights"}
    with pytest.raises(ModelError, match=r"got no model.safetensors of 'a/b' \(.*EntryNotFound"):
        Seg2VidPipeline.from_pretrained("a/b")
