"""The models that come with the package, and where the weights of others are found."""

import re
from dataclasses import dataclass
from pathlib import Path

from seg2vid.tools.errors import ModelError

WEIGHTS_FILE = "model.safetensors"
FOLDER = Path(__file__).parent
SEGMENTER = "segmenter"
"""The bundled network that labels photos: found by its name, but no model that generates."""


@dataclass(frozen=True)
class ModelSummary:
    """One line of ``seg2vid models``."""

    name: str
    summary: str
    megabytes: float
    licence: str
    """Of the weights, as the card says it."""

    @property
    def is_free(self) -> bool:
        """Whether anything may be done with what it makes."""
        return "non-commercial" not in self.licence


def list_models() -> list[ModelSummary]:
    """Return the models that come with the package and generate."""
    models = []
    for weights in sorted(FOLDER.glob(f"*/{WEIGHTS_FILE}")):
        name, size = weights.parent.name, weights.stat().st_size / 1e6
        if name != SEGMENTER:
            card = (weights.parent / "README.md").read_text(encoding="utf-8")
            title = next(line for line in card.splitlines() if line.startswith("# "))
            licence = re.search(r"^\| licence \| (.+) \|$", card, re.MULTILINE)
            terms = licence[1] if licence else "unknown"
            models.append(ModelSummary(name, title.removeprefix("# "), size, terms))
    return models


def find_weights(name: str) -> Path:
    """Return the weight file of a bundled model, a folder or a file, or fetch it from the hub.

    Raises ``ModelError`` for a name that is none of these.
    """
    available = [model.name for model in list_models()]
    if name in (*available, SEGMENTER):
        return FOLDER / name / WEIGHTS_FILE
    path = Path(name)
    if path.is_dir():
        return path / WEIGHTS_FILE
    if path.is_file():
        return path
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _fetch(name)
    what = f"a model: {', '.join(available)}, a folder, a weight file or user/name on the hub"
    raise ModelError(what, got=repr(name), fix="see: seg2vid models")


def _fetch(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, WEIGHTS_FILE))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        got = f"no answer for {name!r} ({type(error).__name__})"
        fix = "check the name and the connection, or give a local folder"
        raise ModelError("a model on the hub or a folder", got=got, fix=fix) from error
