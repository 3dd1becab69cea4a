"""Toy city: an embedded street world with exact labels, depth, flow and visibility.

Lengths are metres, angles radians, times seconds. World axes: x east, y up, z north; a heading of 0
looks north and grows to the right. Bodies: x right, y up, z front. Camera: right, down, forward.
"""

from seg2vid.data.toycity.clip import ToyCityClip, ToyCityConfig, load_clip, save_clip
from seg2vid.data.toycity.dataset import write_dataset
from seg2vid.data.toycity.render import render_clip

__all__ = ["render_clip", "ToyCityClip", "ToyCityConfig", "load_clip", "save_clip", "write_dataset"]
