"""Any folder: videos, and folders of frames with or without label maps, however deep.

::

    ROOT/
        label_space.yaml            optional: the classes of all label maps
        manifest.json               optional, beside what it tells of (below)
        any/depth/video.mp4         a recording
        any/depth/CLIP/             a recording: a folder that directly holds two pictures or more
            000000.jpg              a frame: any picture name, in order
            labels/000000.png       optional: its label map, of any kind the label doctor knows
            instances/000000.png    optional: its instance map
            label_space.yaml        optional: the classes of this clip

ROOT may itself be a folder of frames or a video. Without ``label_space.yaml`` the classes are those
of ``cityscapes``, or of ``object`` where the maps hold nothing but 0 and 1 (255 = void), or 0 and
255. The first and a middle map decide for the whole clip: one map alone may fit two numberings, and
neighbouring frames must not be read differently.

``manifest.json`` is a list of objects: ``{"name": "CLIP", "fps": 10, "licence": "...", "group":
"...", "split": "train", "labels_by": "..."}``; all but the name may be left out, other keys are not
read. Frames of a folder without ``fps`` are taken to be 25 a second.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seg2vid.data.recordings.recording import (
    DEFAULT_RATE,
    PICTURES,
    SPLITS,
    VIDEOS,
    Recording,
    list_pictures,
    match_maps,
    missing,
)
from seg2vid.labels.diagnosis import Encoding, Picture
from seg2vid.labels.doctor import diagnose
from seg2vid.labels.space import LabelSpace, get_label_space, load_label_space
from seg2vid.media.label_maps import read_picture
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import CONTROLS, EXTRAS
from seg2vid.tools.plain import read_plain

SPACE_FILE = "label_space.yaml"
MANIFEST = "manifest.json"
SIGNS: tuple[str, ...] = ()
"""None: any other folder, or a video, is one of these."""
BESIDE_FRAMES = frozenset({"instances", "photos", *EXTRAS})
"""Folders of pictures that are no frames: maps, photos, and what seg2vid writes beside a video."""
_FIELDS = {
    "fps": "frames_per_second",
    "licence": "licence",
    "group": "group",
    "split": "split",
    "labels_by": "labels_by",
}
"""Field of ``Recording`` for every key of the manifest but ``name``."""


def list_recordings(root: Path) -> list[Recording]:
    """List the videos and folders of frames in ``root``, by name: their path with ``_`` for all but
    letters, digits, ``_`` and ``-``.

    Raises ``MediaError`` where there is none or a manifest is wrong, ``LabelMapError`` where a
    label space is.
    """
    recordings = []
    names: set[str] = set()
    for place in sorted(_find(root)):
        recording = _read_recording(_unique_name(place, root, names), place, root)
        recordings.append(_add_manifest(recording, place))
    if not recordings:
        what = f"videos ({', '.join(VIDEOS)}) or folders of two pictures ({', '.join(PICTURES)})"
        raise missing(f"{what} or more", looked=f"{root} and below", layout="folder")
    return sorted(recordings, key=lambda recording: recording.name)


def _find(root: Path) -> Iterator[Path]:
    """Yield every video and every folder of frames; hidden folders are left alone."""
    if root.is_file() and root.suffix.lower() in VIDEOS:
        yield root
    for path, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in BESIDE_FRAMES and name[0] != "."]
        endings = [Path(name).suffix.lower() for name in files]
        if sum(ending in PICTURES for ending in endings) >= 2:
            yield Path(path)
        for name, ending in zip(files, endings, strict=True):
            if ending in VIDEOS and Path(name).stem not in CONTROLS:
                yield Path(path, name)


def _unique_name(place: Path, root: Path, names: set[str]) -> str:
    """Make a name of the path below ``root`` that can name files, and add it to ``names``."""
    path = Path(root.resolve().name) if place == root else place.relative_to(root)
    path = path if place.is_dir() else path.with_suffix("")
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", str(path))
    name, count = plain, 1
    # Names that differ only in case would be one file on some disks.
    while name.lower() in names:
        count += 1
        name = f"{plain}_{count}"
    names.add(name.lower())
    return name


def _read_recording(name: str, place: Path, root: Path) -> Recording:
    if not place.is_dir():
        return Recording(name, video=place)
    pictures = list_pictures(place)
    labels = match_maps(place / "labels", pictures)
    space, encoding = guess_labels(list(labels.values()), (place, root))
    return Recording(
        name,
        pictures=pictures,
        frames_per_second=DEFAULT_RATE,
        label_space=space,
        encoding=encoding,
        label_files=labels,
        instance_files=match_maps(place / "instances", pictures),
    )


def _add_manifest(recording: Recording, place: Path) -> Recording:
    path = place.parent / MANIFEST
    entries = _read_manifest(path) if path.is_file() else []
    said = next((entry for entry in entries if entry["name"] in {place.name, place.stem}), {})
    fields: dict[str, Any] = {_FIELDS[key]: said[key] for key in _FIELDS if said.get(key)}
    if "frames_per_second" in fields:
        rate = fields["frames_per_second"]
        if not isinstance(rate, int | float) or rate <= 0:
            raise _wrong(path, "frames per second above 0", f"fps {rate!r} of {place.name}")
        fields["frames_per_second"] = float(rate)
    if fields.get("split", "train") not in SPLITS:
        got = f"{fields['split']!r} of {place.name}"
        raise _wrong(path, f"a split out of {', '.join(SPLITS)}", got)
    return replace(recording, **fields)


def _read_manifest(path: Path) -> list[dict[str, Any]]:
    what = 'a list of objects with a "name"'
    entries = read_plain(path, what, error=MediaError, fix="repair it, or take it away")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries
    ):
        raise _wrong(path, what, "something else")
    return entries


def _wrong(path: Path, what: str, got: str) -> MediaError:
    return MediaError(f"{what} in {path}", got=got, fix="repair it, or take it away")


def guess_labels(
    maps: Sequence[Path], folders: Sequence[Path]
) -> tuple[LabelSpace | None, Encoding]:
    """Return label space and encoding of a clip's label maps; no space where there are no maps.

    The classes are those of the first ``label_space.yaml`` in ``folders``, else ``object`` for maps
    of 0 and 1 (255 = void) or of 0 and 255, else ``cityscapes``. Raises ``MediaError`` for a map
    that is no picture and ``LabelMapError`` for a wrong label space.
    """
    if not maps:
        return None, "auto"
    pictures = [read_picture(path) for path in (maps[0], maps[len(maps) // 2])]
    values = _values_in(pictures)
    files = [folder / SPACE_FILE for folder in folders if (folder / SPACE_FILE).is_file()]
    if files:
        space = load_label_space(files[0])
    elif values in ({0, 1}, {0, 255}, {0, 1, 255}):
        return get_label_space("object"), "train" if 1 in values else "raw"
    else:
        space = get_label_space("cityscapes")
    return space, _guess_encoding(pictures, values, space)


def _values_in(pictures: Sequence[Picture]) -> set[int]:
    """Return the values that occur; none where colours tell the class."""
    found: set[int] = set()
    for picture in pictures:
        # A palette that begins with black numbers its entries: masks, with black as background.
        is_coloured = picture.palette is not None and bool(picture.palette[0].any())
        if picture.pixels.ndim != 2 or is_coloured:
            return set()
        found |= {int(value) for value in np.unique(picture.pixels)}
    return found


def _guess_encoding(pictures: Sequence[Picture], values: set[int], space: LabelSpace) -> Encoding:
    """Choose by values that only one numbering has; else as the doctor does, if maps agree."""
    train, raw = {*range(space.num_channels), space.file_value}, set(space.raw_to_id)
    if values <= train and not values <= raw:
        return "train"
    if values <= raw | {space.file_value} and not values <= train:
        return "raw"
    kinds = {diagnose(picture, space=space).kind for picture in pictures}
    if kinds == {"train ids"}:
        return "train"
    return "raw" if kinds == {"raw ids"} else "auto"
