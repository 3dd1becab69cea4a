"""What ``--data`` names → sources of clips: clip folders, prepared datasets, photos, URLs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from seg2vid.data.clips import ClipFolder, ClipSource
from seg2vid.data.prepared import INDEX, PreparedDataset, StreamedDataset, is_url, read_index
from seg2vid.data.stills import StillFolder
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.models.config import ModelConfig
from seg2vid.tools.errors import MediaError

WeightedSources = list[tuple[ClipSource, float]]
"""Sources and how often each is drawn from, in any unit."""


def open_training_data(
    places: Sequence[str],
    weights: Sequence[float],
    model: ModelConfig,
    *,
    holds_out: bool = True,
    allow_pipe: bool = False,
) -> tuple[WeightedSources, LabelSpace]:
    """Open every place and return the sources and the label space that all of them share.

    A place is a folder that ``seg2vid prepare`` or ``seg2vid toycity`` wrote, a folder with
    ``photos`` and ``labels``, or the URL of a prepared dataset, which is then streamed. Without
    ``weights`` each counts as much as it has clips. With ``holds_out`` a folder of clips gives one
    of twenty to ``open_validation_data``; prepared datasets have a split of their own. A place
    ``pipe:COMMAND`` runs that command, which ``allow_pipe`` must allow. Raises ``MediaError`` for a
    place that is none of these, for weights that do not fit and for label spaces that differ.
    """
    if not places:
        what, fix = "at least one place with clips", "name it with --data"
        raise MediaError(what, got="none", fix=fix)
    if weights and (len(weights) != len(places) or min(weights) <= 0):
        what = f"a weight above 0 for each of {len(places)} datasets"
        got = ", ".join(map(str, weights))
        raise MediaError(what, got=got, fix="give --data-weights in the order of --data")
    opened: WeightedSources = []
    spaces: dict[str, LabelSpace] = {}
    for number, place in enumerate(places):
        clips: Literal["train", "all"] = "train" if holds_out else "all"
        source = _open(place, "train", model, clips=clips, allow_pipe=allow_pipe)
        opened.append((source, weights[number] if weights else float(len(source))))
        spaces[place] = getattr(source, "space", get_label_space("cityscapes"))
    first = spaces[places[0]]
    for place, space in spaces.items():
        if space.names != first.names:
            what, got = f"the label space of {places[0]}: {first.name}", f"{space.name} at {place}"
            fix = "train on datasets of one label space"
            raise MediaError(what, got=got, fix=fix)
    return opened, first


def open_validation_data(
    places: Sequence[str], model: ModelConfig, *, is_named: bool
) -> list[ClipSource]:
    """Open the held-out clips of every place that has some.

    Of a place that was named for validation (``is_named``) and has no split of its own, all of it
    is taken. Streams (URLs) give other clips each time, so they are left out. Raises ``MediaError``
    for a named place without clips.
    """
    found: list[ClipSource] = []
    for place in places:
        if is_url(place) or (not is_named and (Path(place) / "photos").is_dir()):
            continue
        has_index = Path(place).name == INDEX or (Path(place) / INDEX).is_file()
        if has_index and not is_named and not read_index(place)["counts"]["clips"].get("val"):
            continue
        source = _open(place, "val", model, clips="all" if is_named else "val")
        found += [source] if len(source) else []
    if is_named and not found:
        what, fix = "folders with clips for --validation", "prepare or copy them to a disk"
        raise MediaError(what, got=", ".join(places), fix=fix)
    return found


def _open(
    place: str,
    split: str,
    model: ModelConfig,
    *,
    clips: Literal["all", "train", "val"],
    allow_pipe: bool = False,
) -> ClipSource:
    """Open one place by what lies there; ``clips`` is the split of a folder of clips."""
    if is_url(place):
        return StreamedDataset(place, split, allow_pipe=allow_pipe)
    path = Path(place)
    if path.name == INDEX or (path / INDEX).is_file():
        return PreparedDataset(path, split)
    if (path / "photos").is_dir():
        space = get_label_space("cityscapes")
        return StillFolder(path, space, height=model.height, width=model.width)
    if (path / "parts").is_dir():
        what, fix = f"a finished dataset at {place}", "run its `seg2vid prepare` command again"
        raise MediaError(what, got="one that was begun", fix=fix)
    return ClipFolder(path, clips)
