"""The verb that writes a model's networks for other runtimes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seg2vid.cli.options import Export
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.data.toycity.render import render_clip
from seg2vid.export.graphs import export_model
from seg2vid.export.web import export_site
from seg2vid.labels.convert import translate_ids
from seg2vid.labels.fit import fit_label_map
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.media.label_maps import label_maps_in, read_label_map
from seg2vid.models.checkpoint import load_checkpoint
from seg2vid.models.weights import find_weights
from seg2vid.structures import Labels

CHECKED_SEEDS = (0, 1, 2)
"""Of the toy-city frames that graphs are checked with."""


def export(options: Export) -> Iterator[str]:
    """Write the graphs of a model; yield the error of each."""
    config = load_checkpoint(find_weights(options.model)).config
    space, size = LabelSpace.from_dict(config.label_space), (config.width, config.height)
    maps = read_maps(options.maps, space, size) if options.maps else toy_maps(space, size)
    weights = options.weights
    if weights == "auto":
        weights = "float16" if options.to == "web" else "float32"
    how: dict[str, Any] = {"weights": weights, "bound": options.bound}
    if options.to == "web":
        about = (options.model, options.output, maps)
        yield from export_site(*about, package=options.ort, **how)
        return
    label_maps = torch.stack(list(maps.values()))
    pairs = label_maps if len(label_maps) > 1 else label_maps.expand(2, -1, -1)
    yield from export_model(options.model, options.output, pairs, to=options.to, **how)
    yield f"wrote {options.output}"


def toy_maps(space: LabelSpace, size: tuple[int, int]) -> dict[str, Labels]:
    """Return label maps of toy-city frames by name, in the classes of a ``space``.

    Raises ``LabelMapError`` where that lacks classes of theirs.
    """
    width, height = size
    maps = {}
    for seed in CHECKED_SEEDS:
        clip = render_clip(seed, ToyCityConfig(height, width, 1))
        ids = clip.label_maps[0].astype(np.int64)
        ids, _ = translate_ids(ids, get_label_space("cityscapes"), space)
        maps[f"toy city {seed}"] = torch.from_numpy(ids)
    return maps


def read_maps(folder: Path, space: LabelSpace, size: tuple[int, int]) -> dict[str, Labels]:
    """Return the label maps in a folder by name, fitted to a size; raise ``MediaError`` without."""
    width, height = size
    maps = {}
    for place in label_maps_in(folder):
        ids = read_label_map(place, space=space).ids
        fitted = fit_label_map(ids, height=height, width=width, fill=space.void_id)
        maps[place.stem] = torch.from_numpy(fitted.ids)
    return maps
