"""The models that come with the package, and where the weights of others are found."""

import json
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import parent_process
from pathlib import Path

from seg2vid.tools.errors import ModelError
from seg2vid.tools.files import check_regular
from seg2vid.tools.hub import fetch_file

LOGGER = logging.getLogger(__name__)
NO_RESTRICTED = "SEG2VID_NO_RESTRICTED"
"""The environment variable that, set to anything but 0, refuses weights of restricted use."""
WEIGHTS_FILE = "model.safetensors"
FOLDER = Path(__file__).parent
_BUNDLED = {weights.parent.name for weights in FOLDER.glob(f"*/{WEIGHTS_FILE}")}
LONGEST_HEADER = 100_000_000
"""Bytes that safetensors allows to what a file tells of itself."""
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
        return not is_restricted(self.licence)


def is_restricted(licence: str) -> bool:
    """Return whether a licence forbids commercial use: in words, or by the letters NC in its id."""
    return bool(re.search(r"non-?commercial|\bnc\b", licence, re.IGNORECASE))


def refuses_restricted() -> bool:
    """Return whether weights of restricted use are refused in this environment."""
    return os.environ.get(NO_RESTRICTED, "") not in ("", "0")


def list_models() -> list[ModelSummary]:
    """Return the models that come with the package and generate."""
    names = sorted(weights.parent.name for weights in FOLDER.glob(f"*/{WEIGHTS_FILE}"))
    return [summarise(name) for name in names if name != SEGMENTER]


def summarise(name: str) -> ModelSummary:
    """Return what is told of a bundled network: ``SEGMENTER`` or one that generates."""
    weights = FOLDER / name / WEIGHTS_FILE
    card = weights.with_name("README.md").read_text("utf-8")
    title = next(line for line in card.splitlines() if line.startswith("# "))
    size, licence = weights.stat().st_size / 1e6, read_licence(weights)
    return ModelSummary(name, title.removeprefix("# "), size, licence)


def read_licence(weights: Path) -> str:
    """Return the licence that the card beside a weight file tells, ours or one of the hub.

    Without a card, a restriction of the weights it was made from holds for it too.
    """
    return licence_in(read_card(weights)) or _inherited(weights) or "unknown"


def read_card(weights: Path) -> str:
    """Return the text of the card beside a weight file, or "" where there is none to read."""
    with suppress(OSError, UnicodeDecodeError):
        return weights.with_name("README.md").read_text("utf-8")
    return ""


def licence_in(card: str) -> str:
    """Return the licence that the text of a ``card`` tells, the strictest of several, or ""."""
    told = re.findall(r"^\| licence \| (.+) \|$", card, re.MULTILINE)
    told += re.findall(r"^ *license(?:_name)?: *(.+)$", card, re.MULTILINE)
    return next(filter(is_restricted, told), next(iter(told), "")).replace("*", "")


def _inherited(weights: Path) -> str:
    """Return the restricted licence that the provenance in a weight file tells, if any."""
    left: list[object] = []
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        check_regular(weights, "a weight file", ModelError)
        with weights.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, LONGEST_HEADER)))
        left.append(json.loads(header["__metadata__"]["provenance"]))
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
            told = [str(value.get("licence", ""))]
            # What was fine-tuned before licences were noted tells a name alone.
            if isinstance(name := value.get("name"), str) and name in _BUNDLED:
                told.append(read_licence(FOLDER / name / WEIGHTS_FILE))
            if found := next(filter(is_restricted, told), ""):
                return found
    return ""


def default_model() -> str:
    """Return the model to use where none is named; ``ModelError`` where none may be used."""
    usable = [one.name for one in list_models() if one.is_free or not refuses_restricted()]
    if not usable:
        what, fix = "a model that comes with seg2vid", "name one with --model PATH"
        raise ModelError(what, got="none", fix=fix)
    return usable[0]


def find_weights(name: str) -> Path:
    """Return the weight file of a bundled model, a folder or a file, or fetch it from the hub.

    Says once if its use is restricted. Raises ``ModelError`` for a name that is none of these, and
    for restricted weights where ``NO_RESTRICTED`` is set.
    """
    path = _find(name)
    if is_restricted(licence := read_licence(path)):
        if refuses_restricted():
            what, fix = "weights free for any use", "take another model, see: seg2vid models"
            raise ModelError(what, got=f"{name}: {licence}", fix=fix)
        if parent_process() is None:
            _say_once(f"the weights of {name} are not free: {licence}")
    return path


@cache
def _say_once(line: str) -> None:
    LOGGER.warning(line)


def _find(name: str) -> Path:
    available = [model.name for model in list_models()]
    if name in (*available, SEGMENTER):
        return FOLDER / name / WEIGHTS_FILE
    path = Path(name)
    if path.is_dir():
        return path / WEIGHTS_FILE
    if path.exists():
        check_regular(path, "a weight file", ModelError)
        return path
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _fetch(name)
    what = f"a model: {', '.join(available)}, a folder, a weight file or user/name on the hub"
    raise ModelError(what, got=repr(name), fix="see: seg2vid models")


def _fetch(name: str) -> Path:
    with suppress(ModelError):
        fetch_file(name, "README.md")  # the card, for the licence; it lies beside the weights
    return fetch_file(name, WEIGHTS_FILE)
