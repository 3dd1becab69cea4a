"""Annotated clips in the files of others: Cityscapes, KITTI flow, DAVIS and COCO.

Each layout writes the files of one clip and, when all clips are there, lists of them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from seg2vid.labels.space import LabelSpace
from seg2vid.media.annotations import box_of, objects_in
from seg2vid.media.drawing import colour_numbers
from seg2vid.media.pictures import write_image, write_kitti_flow, write_sixteen_bits
from seg2vid.tools.errors import LabelMapError
from seg2vid.tools.files import replacing

Part = Mapping[str, Any]
"""What is known of a clip that is made."""
CITY = "seg2vid"
UNKNOWN_OBJECT = 255
"""Of DAVIS: pixels that are not judged; here of all objects after the 254th."""


@dataclass(frozen=True)
class AnnotatedClip:
    """A generated clip with what is known of it, the first frame included."""

    number: int
    split: str
    space: LabelSpace
    pictures: UInt8[np.ndarray, "time height width 3"]
    label_maps: Int[np.ndarray, "time height width"]
    instance_maps: Int[np.ndarray, "time height width"]
    """0 is no object; a number may belong to several classes, which then are objects apart."""
    flow: Float[np.ndarray, "2 height width"]
    """From the first frame to the next."""
    is_visible: Bool[np.ndarray, "height width"]
    """The pixel of the first frame is seen in the next."""

    @property
    def name(self) -> str:
        """The number, in six digits."""
        return f"{self.number:06d}"

    def objects(self) -> list[tuple[int, int]]:
        """Return (class, number) of all objects of the clip, in order."""
        return objects_in(self.label_maps, self.instance_maps, self.space)

    def mask(self, one: tuple[int, int], time: int) -> Bool[np.ndarray, "height width"]:
        """Return where an object is at a time."""
        kind, number = one
        return (self.label_maps[time] == kind) & (self.instance_maps[time] == number)


class AnnotatedLayout:
    """How a layout is written; by default of any classes and without lists."""

    def check(self, space: LabelSpace) -> None:
        """Raise ``LabelMapError`` for classes that it cannot tell."""

    def write(self, root: Path, clip: AnnotatedClip) -> dict[str, Any]:
        """Write the files of a clip; return what the lists need to know of it."""
        raise NotImplementedError

    def finish(self, root: Path, space: LabelSpace, parts: Sequence[Path]) -> None:
        """Write the lists of all clips, each told by a JSON file."""


class Cityscapes(AnnotatedLayout):
    """``leftImg8bit_sequence`` with ``labelIds`` and ``instanceIds`` of every frame in gtFine."""

    def check(self, space: LabelSpace) -> None:
        """Raise ``LabelMapError`` for classes without raw ids."""
        without = [one.name for one in space.channels if max(one.raw_ids, default=-1) < 0]
        if without:
            what = "raw ids of all classes for the layout cityscapes"
            fix = "take a model of Cityscapes' classes, or another layout"
            raise LabelMapError(what, got=f"none of {without[0]} in {space.name}", fix=fix)

    def write(self, root: Path, clip: AnnotatedClip) -> dict[str, Any]:
        """Write frames, label maps and instance maps: raw id, or raw id * 1000 + number."""
        frames = root / "leftImg8bit_sequence" / clip.split / CITY
        maps = root / "gtFine" / clip.split / CITY
        for folder in (frames, maps):
            folder.mkdir(parents=True, exist_ok=True)
        # Of void's raw ids the first is -1, which no file can hold.
        raw = np.array([min(i for i in one.raw_ids if i >= 0) for one in clip.space.channels])
        counts: dict[int, int] = {}
        numbers = {}
        for one in clip.objects():
            numbers[one] = min(counts.get(one[0], 0), 999)
            counts[one[0]] = numbers[one] + 1
        for time, picture in enumerate(clip.pictures):
            stem = f"{CITY}_{clip.name}_{time:06d}"
            write_image(frames / f"{stem}_leftImg8bit.png", picture)
            ids = raw[clip.label_maps[time]]
            instances = ids.copy()
            for one, number in numbers.items():
                instances[clip.mask(one, time)] = raw[one[0]] * 1000 + number
            with replacing(maps / f"{stem}_gtFine_labelIds.png") as temporary:
                Image.fromarray(ids.astype(np.uint8)).save(temporary, "PNG")
            write_sixteen_bits(maps / f"{stem}_gtFine_instanceIds.png", instances)
        return {}


class KittiFlow(AnnotatedLayout):
    """A pair of frames a clip, and flow from the first to the second, as the devkit reads it."""

    def write(self, root: Path, clip: AnnotatedClip) -> dict[str, Any]:
        """Write both frames, the flow of all pixels (occ) and of those that stay seen (noc)."""
        folder = root / "training"
        for name in ("image_2", "flow_occ", "flow_noc"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for time, picture in enumerate(clip.pictures[:2]):
            write_image(folder / "image_2" / f"{clip.name}_{10 + time}.png", picture)
        everywhere = np.ones_like(clip.is_visible)
        for name, is_valid in (("occ", everywhere), ("noc", clip.is_visible)):
            write_kitti_flow(folder / f"flow_{name}" / f"{clip.name}_10.png", clip.flow, is_valid)
        return {}


class Davis(AnnotatedLayout):
    """JPEG frames and palette maps of object numbers, under the names of the 480p release."""

    def write(self, root: Path, clip: AnnotatedClip) -> dict[str, Any]:
        """Write frames and maps."""
        frames, maps = (root / kind / "480p" / clip.name for kind in ("JPEGImages", "Annotations"))
        for folder in (frames, maps):
            folder.mkdir(parents=True, exist_ok=True)
        palette = colour_numbers(np.arange(256)[None])[0]
        objects = clip.objects()
        for time, picture in enumerate(clip.pictures):
            write_image(frames / f"{time:05d}.jpg", picture)
            numbers = np.zeros(picture.shape[:2], np.uint8)
            for number, one in enumerate(objects, 1):
                numbers[clip.mask(one, time)] = min(number, UNKNOWN_OBJECT)
            image = Image.fromarray(numbers)
            image.putpalette(palette.tobytes())
            with replacing(maps / f"{time:05d}.png") as temporary:
                image.save(temporary, "PNG")
        return {}

    def finish(self, root: Path, space: LabelSpace, parts: Sequence[Path]) -> None:
        """Write the names of the clips of each split."""
        folder = root / "ImageSets" / "2017"
        folder.mkdir(parents=True, exist_ok=True)
        for split in ("train", "val"):
            names = [part["name"] for part in _read(parts) if part["split"] == split]
            with replacing(folder / f"{split}.txt") as temporary:
                temporary.write_text("".join(f"{name}\n" for name in names), "utf-8")


class Coco(AnnotatedLayout):
    """Frames and one JSON of boxes and masks (RLE) for each split."""

    def write(self, root: Path, clip: AnnotatedClip) -> dict[str, Any]:
        """Write the frames; return images and annotations, numbered when all are there."""
        (root / "images").mkdir(parents=True, exist_ok=True)
        height, width = clip.pictures.shape[1:3]
        objects, images = clip.objects(), []
        for time, picture in enumerate(clip.pictures):
            name = f"{clip.name}_{time:06d}.jpg"
            write_image(root / "images" / name, picture)
            image = {"file_name": name, "height": height, "width": width, "frame_index": time}
            masks = ((number, one, clip.mask(one, time)) for number, one in enumerate(objects, 1))
            found = [
                {"category_id": one[0] + 1, "track_id": number, "iscrowd": 0, **outline(mask)}
                for number, one, mask in masks
                if mask.any()
            ]
            images.append(image | {"annotations": found})
        return {"images": images}

    def finish(self, root: Path, space: LabelSpace, parts: Sequence[Path]) -> None:
        """Write instances_train.json and instances_val.json, clip by clip."""
        (root / "annotations").mkdir(exist_ok=True)
        categories = [
            {"id": id_ + 1, "name": space.names[id_], "supercategory": "object"}
            for id_ in space.foreground_ids
        ]
        for split in ("train", "val"):
            with (
                replacing(root / "annotations" / f"instances_{split}.json") as temporary,
                temporary.open("w", encoding="utf-8") as file,
            ):
                file.write(f'{{"categories": {json.dumps(categories)}')
                for name, entries in (("images", _images), ("annotations", _annotations)):
                    file.write(f', "{name}": [')
                    own = (part for part in _read(parts) if part["split"] == split)
                    texts = map(json.dumps, entries(own))
                    file.writelines(chain([next(texts, "")], (f",\n{text}" for text in texts)))
                    file.write("]")
                file.write("}\n")


LAYOUTS: dict[str, AnnotatedLayout] = {
    "cityscapes": Cityscapes(),
    "kitti-flow": KittiFlow(),
    "davis": Davis(),
    "coco": Coco(),
}


def _read(parts: Sequence[Path]) -> Iterator[Part]:
    for path in parts:
        part = json.loads(path.read_text("utf-8"))
        if part["error"] is None:
            yield part


def _images(parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
    for number, (part, image) in enumerate(_pairs(parts), 1):
        facts = {name: value for name, value in image.items() if name != "annotations"}
        yield {"id": number, "video_id": part["number"] + 1, **facts}


def _annotations(parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
    count = 0
    for number, (_, image) in enumerate(_pairs(parts), 1):
        for one in image["annotations"]:
            count += 1
            yield {"id": count, "image_id": number, **one}


def _pairs(parts: Iterable[Part]) -> Iterator[tuple[Part, Part]]:
    return ((part, image) for part in parts for image in part["images"])


def outline(mask: Bool[np.ndarray, "height width"]) -> dict[str, Any]:
    """Return COCO's area, box (x, y, width, height) and run lengths of a mask with a pixel or more.

    Runs go down the columns, 0 first; they are written as COCO's tools compress them.
    """
    flat = np.concatenate(([False], mask.flatten(order="F")))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate(([0], edges, [mask.size]))).tolist()
    return {
        "area": int(mask.sum()),
        "bbox": box_of(mask),
        "segmentation": {"size": list(mask.shape), "counts": _compressed(counts)},
    }


def _compressed(counts: Sequence[int]) -> str:
    """Write each count, from the fourth on less the last but one, in letters of five bits."""
    text = []
    for place, count in enumerate(counts):
        value, is_more = count - (counts[place - 2] if place > 2 else 0), True
        while is_more:
            bits = value & 31
            value >>= 5
            is_more = value != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * is_more))
    return "".join(text)
