"""What ``--data`` names → sources of clips: clip folders, prepared datasets, photos, URLs."""

from collections.abc import Sequence
from pathlib import Path

from seg2vid.config import ModelConfig
from seg2vid.data.clips import ClipFolder, ClipSource
from seg2vid.data.prepared import INDEX, PreparedDataset, StreamedDataset, is_url
from seg2vid.data.stills import StillFolder
from seg2vid.errors import MediaError, expected
from seg2vid.labels import LabelSpace, get_label_space

WeightedSources = list[tuple[ClipSource, float]]
"""Sources and how often each is drawn from, in any unit."""


def open_training_data(
    places: Sequence[str], weights: Sequence[float], model: ModelConfig, *, split: str = "train"
) -> tuple[WeightedSources, LabelSpace]:
    """Open every place and return the sources and the label space that all of them share.

    A place is a folder that ``seg2vid prepare`` or ``seg2vid toycity`` wrote, a folder with
    ``photos`` and ``labels``, or the URL of a prepared dataset, which is then streamed. Without
    ``weights`` each counts as much as it has clips. Raises ``MediaError`` for a place that is none
    of these, for weights that do not fit and for label spaces that differ.
    """
    if not places:
        what, fix = "at least one place with clips", "name it with --data"
        raise MediaError(expected(what, got="none", fix=fix))
    if weights and (len(weights) != len(places) or min(weights) <= 0):
        what = f"a weight above 0 for each of {len(places)} datasets"
        got = ", ".join(map(str, weights))
        raise MediaError(expected(what, got=got, fix="give --data-weights in the order of --data"))
    cityscapes = get_label_space("cityscapes")
    opened: WeightedSources = []
    spaces: dict[str, LabelSpace] = {}
    for number, place in enumerate(places):
        source = _open(place, split, cityscapes, model)
        opened.append((source, weights[number] if weights else float(len(source))))
        spaces[place] = getattr(source, "space", cityscapes)
    first = spaces[places[0]]
    for place, space in spaces.items():
        if space.names != first.names:
            what, got = f"the label space of {places[0]}: {first.name}", f"{space.name} at {place}"
            fix = "train on datasets of one label space"
            raise MediaError(expected(what, got=got, fix=fix))
    return opened, first


def _open(place: str, split: str, cityscapes: LabelSpace, model: ModelConfig) -> ClipSource:
    """Open one place by what lies there."""
    if is_url(place):
        return StreamedDataset(place, split)
    path = Path(place)
    if path.name == INDEX or (path / INDEX).is_file():
        return PreparedDataset(path, split)
    if (path / "photos").is_dir():
        return StillFolder(path, cityscapes, height=model.height, width=model.width)
    if (path / "parts").is_dir():
        what, fix = f"a finished dataset at {place}", "run its `seg2vid prepare` command again"
        raise MediaError(expected(what, got="one that was begun", fix=fix))
    return ClipFolder(path)
