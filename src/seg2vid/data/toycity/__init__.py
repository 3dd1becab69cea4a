"""Toy city: an embedded street world with exact labels, depth, flow and visibility."""

from seg2vid.data.toycity.clip_file import load_clip, save_clip
from seg2vid.data.toycity.config import ToyCityClip, ToyCityConfig
from seg2vid.data.toycity.dataset import ToyCityDataset, write_dataset
from seg2vid.data.toycity.render import render_clip

__all__ = [
    "render_clip",
    "ToyCityClip",
    "ToyCityConfig",
    "ToyCityDataset",
    "load_clip",
    "save_clip",
    "write_dataset",
]
