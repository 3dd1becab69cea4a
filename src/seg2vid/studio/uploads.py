"""Pictures that a client sent: checked, read in a folder of our own, and fitted to the canvas."""

import base64
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from seg2vid.data.teachers.photos import segment_photo
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.data.toycity.render import render_clip
from seg2vid.labels.convert import translate_ids
from seg2vid.labels.doctor import diagnose
from seg2vid.labels.fit import fit_image, fit_label_map
from seg2vid.labels.space import Ids, get_label_space
from seg2vid.media.given import check_proportions, size_text
from seg2vid.media.label_maps import label_maps_in, read_instance_map, read_label_map, read_picture
from seg2vid.media.pictures import READ_FORMATS, read_image
from seg2vid.media.video import Frame
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.studio.wishes import LookPhoto, Scene, Wishes, png_of
from seg2vid.tools.errors import LabelMapError, MediaError, Seg2VidError

Read = TypeVar("Read")
ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "AVIF": ".avif", "GIF": ".gif"}
ENDINGS |= {"BMP": ".bmp", "TIFF": ".tiff", "PPM": ".ppm", "JPEG2000": ".jp2", "MPO": ".jpg"}
NAMES = {
    "labels": "the label map",
    "instances": "the instance map",
    "first_frame": "the first frame",
    "look": "the photo to look like",
    "picture": "the picture",
}
"""What may be sent, and what it is called in messages: never by the name that a client gives."""
MOST_OBJECTS = 65535
_PACKAGE = Path(__file__).parents[1]
FOLDERS = (_PACKAGE / "studio" / "examples", _PACKAGE.parents[1] / "examples")
"""Where examples lie in an installed wheel, and in a clone."""
EXAMPLE = ("street.png", "street_instances.png")
"""Label map and instance map of the street that comes with the package."""
MOST_STREETS = 100
"""Label maps of a user's folder that a page offers."""


@dataclass(frozen=True)
class Canvas:
    """What a page paints on: ids, the numbers of objects, and perhaps the photo they lie on."""

    label_map: Ids
    instance_map: Ids
    photo: Frame | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return it for JSON: planes as base64 of bytes, and of 16 bits, low byte first."""
        height, width = self.label_map.shape
        photo = None
        if self.photo is not None:
            png = base64.b64encode(png_of(Image.fromarray(self.photo))).decode()
            photo = f"data:image/png;base64,{png}"
        return {
            "width": width,
            "height": height,
            "labels": base64.b64encode(self.label_map.astype(np.uint8).tobytes()).decode(),
            "instances": base64.b64encode(self.instance_map.astype("<u2").tobytes()).decode(),
            "photo": photo,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Uploads:
    """Reads what was sent for a model, in a folder of the server's own."""

    pipe: Seg2VidPipeline
    most_pixels: int
    folder: Path

    def _read(self, content: bytes, name: str, read: Callable[[Path], Read]) -> Read:
        """Read a picture by a function that takes a path; the file is removed at once.

        How large it claims to be is looked at first. Raises ``Seg2VidError`` in our own words.
        """
        what = NAMES[name]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(io.BytesIO(content), formats=READ_FORMATS) as image:
                    (width, height), form = image.size, image.format or ""
        except Image.DecompressionBombError:
            (width, height), form = (self.most_pixels + 1, 1), ""
        except Exception:  # decoders of damaged files raise anything
            got = "a file that is none, or damaged" if content else "an empty file (0 bytes)"
            fix = "export it again as PNG"
            raise MediaError(f"a picture as {what}", got=got, fix=fix) from None
        if width * height > self.most_pixels:
            limit = f"at most {self.most_pixels:,} pixels in {what}"
            raise MediaError(limit, got="more", fix="scale it down")
        with TemporaryDirectory(dir=self.folder) as folder:
            path = Path(folder) / f"{name}{ENDINGS.get(form, '')}"
            path.write_bytes(content)
            try:
                return read(path)
            except Seg2VidError as error:
                raise type(error)(str(error).replace(str(path), what)) from None

    def scene(self, files: Mapping[str, bytes], wishes: Wishes) -> tuple[Scene, list[str]]:
        """Return what a client wants to see, all of the model's size, and what was found.

        Raises ``Seg2VidError`` for pictures that are none, or do not fit together.
        """
        space = self.pipe.label_space
        size: dict[str, Any] = {"height": self.pipe.height, "width": self.pipe.width}
        if "labels" not in files:
            raise MediaError("a label map in the field labels", got="none", fix="see /api")
        found = self._read(
            files["labels"], "labels", lambda path: read_label_map(path, space=space)
        )
        numbers, first, look = found.diagnosis.instance_map, None, None
        notes = [f"{NAMES['labels']}: {found.diagnosis.summary}", *found.diagnosis.warnings]
        if "instances" in files:
            numbers = self._read(files["instances"], "instances", read_instance_map)
            if numbers.shape != found.ids.shape:
                what = f"an instance map of {size_text(found.ids.shape)}, like the labels"
                raise LabelMapError(what, got=size_text(numbers.shape), fix="send both at one size")
        if numbers is not None and not 0 <= int(numbers.min()) <= numbers.max() <= MOST_OBJECTS:
            what, got = f"objects numbered from 0 to {MOST_OBJECTS}", int(numbers.max())
            raise LabelMapError(what, got=got, fix="number them anew")
        if "first_frame" in files:
            pixels = self._read(files["first_frame"], "first_frame", read_image)
            check_proportions(pixels.shape[:2], found.ids.shape, NAMES["first_frame"])
            first = fit_image(pixels, **size)
        fitted = fit_label_map(found.ids, **size, fill=space.void_id)
        objects = None if numbers is None else fit_label_map(numbers, **size, fill=0).ids
        if (content := files.get("look")) is not None:
            seen = self._read(content, "look", lambda path: (read_image(path), path.suffix))
            look = LookPhoto(seen[0], content, seen[1])
        scene = Scene(fitted.ids, objects, first, look, wishes)
        scene.check(self.pipe)
        return scene, [*notes, fitted.sentence]

    def canvas(self, content: bytes) -> Canvas:
        """Return what a client may paint on, from a label map of any kind or a photo.

        A photo is labelled by the bundled segmenter. Raises ``Seg2VidError``.
        """
        space = self.pipe.label_space

        def read(path: Path) -> Canvas:
            picture = read_picture(path)
            found = diagnose(picture, space=space)
            notes = [f"{NAMES['picture']}: {found.summary}", *found.warnings]
            if found.ids is not None:
                return fit_canvas(found.ids, found.instance_map, self.pipe, None, notes)
            if found.kind != "photo":
                raise LabelMapError(f"{picture.name}: {found.problems[0]}")
            photo = read_image(path)
            notes = ["a photo: its classes were found by the segmenter; mend them"]
            return fit_canvas(segment_photo(photo, space), None, self.pipe, photo, notes)

        return self._read(content, "picture", read)


def fit_canvas(
    ids: Ids, numbers: Ids | None, pipe: Seg2VidPipeline, photo: Frame | None, notes: list[str]
) -> Canvas:
    """Bring planes to the size of the canvas, objects numbered from 1 on."""
    size: dict[str, Any] = {"height": pipe.height, "width": pipe.width}
    fitted = fit_label_map(ids, **size, fill=pipe.label_space.void_id)
    objects = np.zeros_like(fitted.ids)
    if numbers is not None:
        objects = number_anew(fit_label_map(numbers, **size, fill=0).ids)
    seen = None if photo is None else fit_image(photo, **size)
    return Canvas(fitted.ids, objects, seen, (*notes, fitted.sentence))


def number_anew(numbers: Ids) -> Ids:
    """Number objects 1, 2, 3 ...; 255 is left out, which files take for none."""
    _, inverse = np.unique(np.append(numbers.ravel(), 0), return_inverse=True)
    ranks = inverse[:-1].reshape(numbers.shape)
    return ranks + (ranks >= 255)


def draw_toy_city(seed: int, pipe: Seg2VidPipeline) -> Canvas:
    """Return the labels of a street of the toy city; raise ``LabelMapError`` for other classes."""
    clip = render_clip(seed, ToyCityConfig(height=pipe.height, width=pipe.width, num_frames=1))
    own = get_label_space("cityscapes")
    ids, _ = translate_ids(clip.label_maps[0].astype(np.int64), own, pipe.label_space)
    notes = [", ".join(f"{name}: {word}" for name, word in clip.description.items())]
    return fit_canvas(ids, clip.instance_maps[0].astype(np.int64), pipe, None, notes)


def find_streets(folder: Path | None) -> dict[str, tuple[Path, Path | None]]:
    """Return label map and instance map of the package's street and of a folder's, by name.

    Raises ``MediaError`` for a folder that holds none, or more than a list can.
    """
    paths = [next(one for place in FOLDERS if (one := place / file).exists()) for file in EXAMPLE]
    found: dict[str, tuple[Path, Path | None]] = {"street": (paths[0], paths[1])}
    maps = {} if folder is None else label_maps_in(folder)
    if len(maps) > MOST_STREETS:
        what, fix = f"at most {MOST_STREETS} label maps for --streets", "name another folder"
        raise MediaError(what, got=f"{len(maps)} in {folder}", fix=fix)
    for path, own in maps.items():
        name = path.stem.removesuffix("_labelIds").removesuffix("_gtFine")
        found[f"{name} (file)" if name in (*found, "empty", "toycity") else name] = path, own
    return found


def read_street(paths: tuple[Path, Path | None], pipe: Seg2VidPipeline) -> Canvas:
    """Return the labels and objects of a street that ``find_streets`` found."""
    labels, instances = paths
    space = get_label_space("cityscapes")
    found = read_label_map(labels, space=space)
    ids, _ = translate_ids(found.ids, space, pipe.label_space)
    numbers = None if instances is None else read_instance_map(instances)
    if numbers is not None and numbers.shape != ids.shape:
        what, fix = f"an instance map of the size of {labels}", "make both of one size"
        raise MediaError(what, got=f"{size_text(numbers.shape)} in {instances}", fix=fix)
    return fit_canvas(ids, numbers, pipe, None, [])
