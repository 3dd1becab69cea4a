"""What ``seg2vid segment`` does: photo → label map."""

import time
from collections.abc import Iterator

import numpy as np

from seg2vid.cli.options import Segment
from seg2vid.cli.outputs import check_apart, check_picture_place, check_replaced
from seg2vid.data.teachers.labels import get_label_teacher
from seg2vid.data.teachers.photos import label_photo
from seg2vid.labels.convert import colourise
from seg2vid.labels.flat_colours import find_flat_colours
from seg2vid.media.drawing import overlay as draw_overlay
from seg2vid.media.pictures import read_image, write_image, write_label_map


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
