"""Measures a segmenter on photos with human label maps: IoU of every class, and time per photo.

Run with ``--data ../shared/data/cityscapes_stills/val``; ``--labels FILE.onnx`` measures another.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from seg2vid.data.stills import StillFolder
from seg2vid.data.teachers.labels import get_label_teacher
from seg2vid.data.teachers.teacher import LabelTeacher


def confusion(teacher: LabelTeacher, stills: StillFolder, *, flip: bool) -> np.ndarray:
    """Return pixel counts (true class, predicted class), void left out."""
    classes = teacher.space.void_id
    counts = np.zeros((classes, classes), dtype=np.int64)
    for index in range(len(stills)):
        clip = stills.read(index)
        probabilities = teacher.probabilities(clip.first_frame)
        if flip:
            probabilities += teacher.probabilities(clip.first_frame.flip(-1)).flip(-1)
        predicted = probabilities.argmax(1).numpy().ravel()
        truth = clip.label_map.numpy().ravel()
        known = truth < classes
        pairs = truth[known] * classes + predicted[known]
        counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    return counts


def time_of_photo(teacher: LabelTeacher, stills: StillFolder, photos: int) -> float:
    """Return the median milliseconds from pixels to label map of one photo, warmed up."""
    pictures = [stills.read(index).first_frame for index in range(photos)]
    teacher.probabilities(pictures[0])
    seconds = []
    for picture in pictures:
        start = time.perf_counter()
        teacher.probabilities(picture).argmax(1)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/ and labels/")
    parser.add_argument(
        "--labels", default="segmenter", help="the segmenter: as in seg2vid segment"
    )
    parser.add_argument("--no-flip", action="store_true", help="do not look at the mirrored photo")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    teacher = get_label_teacher(options.labels)
    stills = StillFolder(options.data, teacher.space, height=128, width=256)
    counts = confusion(teacher, stills, flip=not options.no_flip)
    both = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - both
    print(f"{teacher.name} on {len(stills)} photos at 256x128, flip {not options.no_flip}")
    for name, common, either, truth in zip(
        teacher.space.names[:-1], both, union, counts.sum(1), strict=True
    ):
        print(
            f"  {name:<14} {common / max(either, 1):6.3f}   ({truth / counts.sum():.2%} of pixels)"
        )
    scores = both[union > 0] / union[union > 0]
    print(f"  {'mean IoU':<14} {scores.mean():6.3f}")
    print(f"  {'pixel accuracy':<14} {both.sum() / counts.sum():6.3f}")
    milliseconds = time_of_photo(teacher, stills, min(50, len(stills)))
    print(f"one photo, once, {options.threads} threads: {milliseconds:.1f} ms")


if __name__ == "__main__":
    main()
