"""What can be seen of a video: each layer as one picture of all frames, one below the other."""

import io
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from seg2vid.labels.convert import colourise
from seg2vid.labels.space import LabelSpace
from seg2vid.media.drawing import colour_numbers, flow_to_colours
from seg2vid.media.extras import BRIGHT, to_pixels
from seg2vid.media.generated import GeneratedVideo
from seg2vid.media.video import Frame
from seg2vid.tools.errors import MediaError

LAYERS = {
    "frames": "the video",
    "labels": "the class of every pixel",
    "instances": "each object in a colour of its own",
    "depth": "near is bright",
    "flow": "where each pixel comes from: hue is direction, white is rest",
    "visible": "white where the first frame of the pass shows it too, black where it was painted",
    "source": "where in the first frame of the pass each pixel lies: red to the right, green down",
}
"""Each with what it shows."""
LOSSLESS = ("labels", "instances")
"""Layers that are sent as PNG: their colours mean something."""
QUALITY = 90


def draw(
    passes: Sequence[GeneratedVideo], layer: str, begin: int, end: int, space: LabelSpace
) -> bytes:
    """Return frames ``begin`` to before ``end`` as one picture, PNG or JPEG.

    0 is the first frame. Raises ``MediaError`` for a layer or frames that there are not.
    """
    count = 1 + sum(one.frames.shape[1] for one in passes)
    if layer not in LAYERS:
        raise MediaError(f"a layer: {', '.join(LAYERS)}", got=layer, fix="choose one of them")
    if not 0 <= begin < end <= count:
        what, fix = f"frames from 0 to {count}", "ask for those that are ready"
        raise MediaError(what, got=f"{begin} to {end}", fix=fix)
    pictures = [_draw(chunk, index, layer, space) for chunk, index in _places(passes, begin, end)]
    image, file = Image.fromarray(np.concatenate(pictures)), io.BytesIO()
    if layer in LOSSLESS:
        image.save(file, "PNG", compress_level=1)
    else:
        image.save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def media_type(layer: str) -> str:
    """Return what kind of file a layer is sent as."""
    return "image/png" if layer in LOSSLESS else "image/jpeg"


def _places(
    passes: Sequence[GeneratedVideo], begin: int, end: int
) -> Iterator[tuple[GeneratedVideo, int | None]]:
    """Yield the pass of each frame and its number there; None is the first frame of all."""
    if begin == 0:
        yield passes[0], None
    number = 0
    for chunk in passes:
        for index in range(chunk.frames.shape[1]):
            number += 1
            if begin <= number < end:
                yield chunk, index


def _draw(chunk: GeneratedVideo, index: int | None, layer: str, space: LabelSpace) -> Frame:
    frame = chunk.first_frame[0] if index is None else chunk.frames[0, index]
    height, width = frame.shape[1:]
    motion = chunk.motion
    if layer == "frames":
        return to_pixels(frame)
    if layer == "labels":
        ids = chunk.label_map[0] if index is None else chunk.label_maps[0, index]
        return colourise(ids.cpu().numpy(), space)
    if layer == "instances":
        maps = chunk.instance_map if index is None else chunk.instance_maps
        if maps is None:
            return np.zeros((height, width, 3), np.uint8)
        numbers = maps[0] if index is None else maps[0, index]
        return colour_numbers(numbers.cpu().numpy())
    if layer == "depth":
        planes = chunk.first_inverse_depth if index is None else motion.inverse_depth
        if planes is None:
            return np.zeros((height, width, 3), np.uint8)
        plane = (planes[0] if index is None else planes[0, index]) * BRIGHT
        return to_pixels(plane.sqrt().expand(3, -1, -1))
    if layer == "flow":
        if index is None:
            return np.full((height, width, 3), 255, np.uint8)
        # One scale for all passes: an eighth of the picture's width is fast.
        return to_pixels(flow_to_colours(motion.backward_flow[0, index], width / 8))
    if layer == "visible":
        if index is None:
            return np.full((height, width, 3), 255, np.uint8)
        return to_pixels(motion.backward_visible[0, index, 0].expand(3, -1, -1))
    if index is None or motion.source is None:
        places: Int[np.ndarray, "height width"] = np.arange(height * width).reshape(height, width)
        places = places if index is None else np.full_like(places, -1)
    else:
        places = motion.source[0, index].cpu().numpy()
    return _rainbow(height, width)[places]


@cache
def _rainbow(height: int, width: int) -> UInt8[np.ndarray, "colour 3"]:
    """Return a colour for each pixel of a picture by its row-major number, black for the last."""
    rows, columns = np.mgrid[:height, :width]
    red, green = columns * 255 // (width - 1), rows * 255 // (height - 1)
    colours = np.stack((red, green, np.full_like(red, 160)), -1).reshape(-1, 3)
    return np.concatenate((colours, np.zeros((1, 3)))).astype(np.uint8)
