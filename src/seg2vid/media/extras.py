"""The extras of a video: where each goes, what it shows and what exact data it holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from seg2vid.labels.convert import colourise
from seg2vid.labels.space import Ids, LabelSpace
from seg2vid.media.annotations import ade20k_colours, depth_units, grey_of
from seg2vid.media.drawing import colour_numbers, flow_to_colours, overlay
from seg2vid.media.pictures import write_flow, write_kitti_flow, write_label_map, write_sixteen_bits
from seg2vid.media.video import Frame, frame_rate, video_ending
from seg2vid.structures import Motion
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import EXTRAS, ONE_FILE, check_place

Plane = Float[Tensor, "height width"]

PARTS = {"depth": "inverse_depth", "source": "source", "poses": "camera_path"}
PARTS |= {"control-depth": "inverse_depth"}
"""The parts of a scene's motion by the extras that show them."""
SPACED = {"labels", "overlay", "boxes", "control-seg"}
"""Extras that need a label space."""
DATA_ALONE = ("labels", "instances", "depth", "source", "kitti_flow")
"""Extras whose data in a folder are what there is to see: no picture is drawn of them."""
FOLDER_ALONE = ("source", "kitti_flow")
"""Extras that are no pictures, nor one file."""
BRIGHT = 5.0
"""Metres at which depth is drawn white; four times as far it is half as bright."""


def to_pixels(
    frames: Float[Tensor, "*batch 3 height width"],
) -> UInt8[np.ndarray, "*batch height width 3"]:
    """Turn RGB in [0, 1] into 8-bit pixels, channels last; values outside are clipped."""
    pixels = (frames.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return rearrange(pixels, "... rgb h w -> ... h w rgb").cpu().numpy()


def output_paths(path: Path, extras: Sequence[str]) -> dict[str, Path]:
    """Return where frames and extras go; raise ``MediaError`` for an unknown extra or ending."""
    is_folder = video_ending(path) == ""
    for extra in extras:
        if extra not in EXTRAS:
            what = f"extras out of {', '.join(EXTRAS)}"
            fix = "choose among them; uncertainty is of several samples together"
            raise MediaError(what, got=repr(extra), fix=fix)
    for extra in () if is_folder else set(FOLDER_ALONE) & set(extras):
        what, fix = f"a folder for {extra}, which is no picture", "leave the ending out"
        raise MediaError(what, got=repr(path.name), fix=fix)
    places = {"frames": path}
    for extra in dict.fromkeys(extras):
        ending = ONE_FILE.get(extra, "" if is_folder else path.suffix)
        name = f"{extra}{ending}"
        places[extra] = path / name if is_folder else path.with_name(f"{path.stem}_{name}")
    return places


def check_output(path: Path, *, extras: Sequence[str], frames_per_second: float) -> None:
    """Raise ``MediaError`` for what ``VideoSink`` could not write, before any work is done."""
    frame_rate(frames_per_second, video_ending(path))
    for place in outer_paths(path, extras):
        check_place(place, is_folder=video_ending(path) == "")


def outer_paths(path: Path, extras: Sequence[str]) -> list[Path]:
    """Return the files that are written, or the one folder; raise as ``output_paths`` does."""
    places = output_paths(path, extras)
    return [path] if video_ending(path) == "" else list(places.values())


@dataclass(frozen=True)
class Moment:
    """A frame, and how its scene has moved since the frame that it is read from."""

    pixels: Frame
    label_map: Ids
    instance_map: Ids | None
    space: LabelSpace | None
    """Of the label map; without it what shows classes is not to be had."""
    motion: Motion
    index: int | None
    """The frame's place in the pass; None for the one that the pass starts from."""
    inverse_depth: Plane | None
    painted: Plane | None


@dataclass
class Scales:
    """What all pictures of a video are drawn with alike."""

    flow: float | None = None
    """Pixels of the most saturated colour."""
    grey: tuple[float, float] | None = None
    """Inverse depth of black and of white."""

    def settle(self, motion: Motion, first_inverse_depth: Tensor | None) -> None:
        """Choose what is still open by the first pass that has it."""
        if self.flow is None and motion.backward_flow.shape[1]:
            self.flow = max(float(motion.backward_flow[0].norm(dim=1).max()), 1.0)
        planes = motion.inverse_depth
        if self.grey is None and planes is not None and planes.numel():
            known = planes[0].flatten()
            if first_inverse_depth is not None:
                known = torch.cat((known, first_inverse_depth[0].flatten()))
            self.grey = (float(known.min()), float(known.max()))


def check_parts(extras: Sequence[str], motion: Motion, *, numbered: bool, marked: bool) -> None:
    """Raise ``MediaError`` for extras that a pass does not have.

    It may have objects that are ``numbered``, and what was painted ``marked``.
    """
    for extra in extras:
        if extra in ("instances", "boxes") and not numbered:
            what, fix = f"an instance map to move along, for {extra}", "give one"
            raise MediaError(what, got="none", fix=f"{fix}, or leave the extra out")
        if extra == "painted" and not marked:
            what, fix = "a video that tells what was painted", "leave the extra out"
            raise MediaError(what, got="none", fix=fix)
        if extra in PARTS and getattr(motion, PARTS[extra]) is None:
            what, fix = f"a model whose motion is a scene's, for {extra}", "take another"
            raise MediaError(what, got="one of free flow", fix=f"{fix}, or leave it out")


def draw_extra(name: str, moment: Moment, scales: Scales) -> Frame:
    """Draw an extra that is a picture, but for ``control-flow``; ``frames`` is the frame itself."""
    like, space = moment.pixels, moment.space
    if name == "frames":
        return like
    if name in ("labels", "overlay") and space is not None:
        colours = colourise(moment.label_map, space)
        return overlay(like, colours) if name == "overlay" else colours
    if name == "control-seg" and space is not None:
        return ade20k_colours(moment.label_map, space)
    if name == "instances" and moment.instance_map is not None:
        return colour_numbers(moment.instance_map)
    motion, index = moment.motion, moment.index
    if name in ("depth", "control-depth"):
        if (inverse := moment.inverse_depth) is None:
            return np.zeros_like(like)
        plane = (
            (inverse * BRIGHT).sqrt()
            if name == "depth"
            else grey_of(inverse, scales.grey or (0.0, 1.0))
        )
    elif index is None:
        return np.full_like(like, 0 if name == "painted" else 255)
    elif name == "flow":
        return to_pixels(flow_to_colours(motion.backward_flow[0, index], scales.flow))
    elif name == "painted" and moment.painted is not None:
        plane = moment.painted
    elif name == "forward_visible":
        plane = motion.forward_visible[0, index, 0]
    else:
        plane = motion.backward_visible[0, index, 0]
    return to_pixels(plane.expand(3, -1, -1))


def write_extra(name: str, stem: Path, moment: Moment) -> None:
    """Write the exact data of one frame to ``stem``, which lacks its ending.

    The first frame of a video has neither flow nor source.
    """
    motion, index, picture = moment.motion, moment.index, stem.with_suffix(".png")
    if name == "labels" and moment.space is not None:
        write_label_map(picture, moment.label_map, moment.space)
    elif name == "instances" and moment.instance_map is not None:
        write_sixteen_bits(picture, moment.instance_map)
    elif name == "depth":
        if moment.inverse_depth is not None:
            write_sixteen_bits(picture, depth_units(moment.inverse_depth))
    elif index is None:
        return
    elif name in ("flow", "kitti_flow"):
        for way in ("backward", "forward"):
            flow = getattr(motion, f"{way}_flow")[0, index]
            place = stem.with_name(f"{stem.name}_{way}")
            if name == "flow":
                write_flow(place.with_suffix(".flo"), flow)
                continue
            is_seen = getattr(motion, f"{way}_visible")[0, index, 0] > 0.5
            planes = flow.float().cpu().numpy(), is_seen.cpu().numpy()
            write_kitti_flow(place.with_suffix(".png"), *planes)
    elif motion.source is not None:
        np.save(stem.with_suffix(".npy"), motion.source[0, index].int().cpu().numpy())
