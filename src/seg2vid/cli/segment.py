"""What ``seg2vid segment`` does: photo → label map; also how ``generate`` takes a photo."""

import math
import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8

from seg2vid.cli.options import Segment
from seg2vid.cli.outputs import check_apart, check_picture_place, check_replaced
from seg2vid.data.teachers.labels import get_label_teacher
from seg2vid.data.teachers.teacher import LabelTeacher, label_clip
from seg2vid.labels.convert import colourise
from seg2vid.labels.flat_colours import find_flat_colours
from seg2vid.labels.space import LabelSpace
from seg2vid.media.drawing import overlay as draw_overlay
from seg2vid.media.given import to_planes
from seg2vid.media.pictures import read_image, write_image, write_label_map
from seg2vid.tools.computing import Computing
from seg2vid.tools.errors import MediaError

Photo = UInt8[np.ndarray, "height width 3"]
LabelMap = Int[np.ndarray, "height width"]

MOST_PIXELS = 1 << 20
"""Pixels at which the probabilities of all classes are compared: more would cost gigabytes."""


def label_photo(
    photo: Photo, teacher: LabelTeacher, *, min_confidence: float = 0.0
) -> tuple[LabelMap, Float[np.ndarray, "height width"]]:
    """Return the id of every pixel and the probability, 0 ... 1, of that class.

    Photo and mirror image count alike; of more than a million pixels a smaller picture is labelled.
    Pixels no surer than ``min_confidence`` are void.
    """
    height, width = photo.shape[:2]
    picture, scale = to_planes(photo)[None], math.sqrt(MOST_PIXELS / (height * width))
    if scale < 1:
        size = [max(1, round(side * scale)) for side in (height, width)]
        picture = F.interpolate(picture, size, mode="bilinear", antialias=True)
    ids, confidence = label_clip(teacher, picture, min_confidence=min_confidence)
    both = torch.stack((ids.float(), confidence), 1)
    whole = F.interpolate(both, (height, width), mode="nearest-exact")[0].numpy()
    return whole[0].astype(np.int64), whole[1]


def segment_photo(photo: Photo, space: LabelSpace, computing: Computing | None = None) -> LabelMap:
    """Label a photo with the bundled segmenter; raise ``MediaError`` for other classes."""
    teacher = get_label_teacher("segmenter", computing)
    if teacher.space.names != space.names:
        what = f"a model of the label space {teacher.space.name}, to label a photo for it"
        fix = "give the photo's label map: seg2vid animate PHOTO --labels MAP, or --look-labels MAP"
        raise MediaError(what, got=f"one of {space.name}", fix=fix)
    return label_photo(photo, teacher)[0]


def segment(options: Segment) -> Iterator[str]:
    """Write the label map of a photo; yield what a person wants to know."""
    output, overlay, confidence = options.output, options.overlay, options.confidence
    check_picture_place(output, endings=(".png",))
    pictures = [path for path in (overlay, confidence) if path is not None]
    for path in pictures:
        check_picture_place(path)
    outputs = [output, *pictures]
    check_apart(outputs, [options.photo])
    pixels, teacher = read_image(options.photo), get_label_teacher(options.labels, options)
    check_replaced(outputs, overwrite=options.overwrite)
    if find_flat_colours(pixels, teacher.space, {}):
        yield f"warning: {options.photo} has few flat colours, as a drawing or a label map"
    start = time.perf_counter()
    ids, sure = label_photo(pixels, teacher, min_confidence=options.min_confidence)
    seconds = time.perf_counter() - start
    write_label_map(output, ids, teacher.space)
    height, width = ids.shape
    counts = np.bincount(ids.ravel(), minlength=teacher.space.num_channels)
    largest = [number for number in counts.argsort()[::-1][:5] if counts[number]]
    names = teacher.space.names
    shares = ", ".join(f"{names[number]} {counts[number] / ids.size:.0%}" for number in largest)
    yield f"{options.photo}: {width}x{height}, labelled by {teacher.name}: {shares}"
    yield f"wrote {output} ({seconds:.2f} s, mean confidence {sure.mean():.2f})"
    if overlay is not None:
        write_image(overlay, draw_overlay(pixels, colourise(ids, teacher.space)))
        yield f"wrote {overlay}"
    if confidence is not None:
        grey = np.rint(sure * 255).clip(0, 255).astype(np.uint8)
        write_image(confidence, np.repeat(grey[..., None], 3, axis=2))
        yield f"wrote {confidence}"
