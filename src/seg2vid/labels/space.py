"""What a label space is and how one is read: name, colour, raw ids and foreground of each class."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Integer, UInt8

from seg2vid.tools.errors import LabelMapError
from seg2vid.tools.plain import build, parse_plain, read_plain
from seg2vid.tools.ranges import ranged

Ids = Int[np.ndarray, "height width"]
Values = Integer[np.ndarray, "height width"]
"""What a file holds, before it is known what it means."""

Colour = tuple[int, int, int]
"""RGB: three numbers 0 ... 255."""
_BYTES = {"range": (0, 255)}


def bare_name(name: str) -> str:
    """Return a class's name without case and separators: what makes two names one."""
    return re.sub(r"[\s_-]+", "", name.casefold())


@dataclass(frozen=True)
class LabelClass:
    """One class of a label space (or its void)."""

    id: int
    """The id inside seg2vid: 0 ... number of classes - 1, void is the number of classes."""
    name: str
    colour: Colour = field(metadata=_BYTES)
    """RGB, each 0 ... 255."""
    raw_ids: tuple[int, ...] = ()
    """Ids in the dataset's original files; none where there is no second numbering."""
    foreground: bool = False
    """True for things that move by themselves: people, vehicles."""
    other_colours: tuple[Colour, ...] = field(default=(), metadata=_BYTES)
    """Further colours that are read as this class."""
    same_as: str = ""
    """What it is called in label spaces that have no class of its name, or their void."""


@dataclass(frozen=True)
class LabelSpace:
    """Ids, names and colours of the classes, and which are foreground."""

    name: str
    classes: tuple[LabelClass, ...]
    void: LabelClass
    file_value: int = ranged(255, 0, 255)
    """The value of void in files."""

    @property
    def void_id(self) -> int:
        """The id of void: the number of classes."""
        return len(self.classes)

    @property
    def num_channels(self) -> int:
        """Channels of a one-hot map: the classes and void."""
        return len(self.classes) + 1

    @property
    def channels(self) -> tuple[LabelClass, ...]:
        """The classes and, last, void."""
        return (*self.classes, self.void)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every channel, by id."""
        return tuple(channel.name for channel in self.channels)

    @property
    def colours(self) -> UInt8[np.ndarray, "channel 3"]:
        """RGB of every channel, by id."""
        return np.array([channel.colour for channel in self.channels], dtype=np.uint8)

    def ids_named(self, names: Collection[str]) -> tuple[int, ...]:
        """Return the ids of classes that have one of ``names`` or are the same as one that has.

        Names are those of ``bare_name``.
        """
        found = ({bare_name(label.name), bare_name(label.same_as)} for label in self.classes)
        return tuple(number for number, own in enumerate(found) if own & set(names))

    def ids_of(self, names: Collection[str]) -> list[int]:
        """Return the id of each name; raise ``LabelMapError`` for a name that no class has."""
        if unknown := sorted(set(names) - set(self.names)):
            what = f"classes of {self.name}: {', '.join(self.names)}"
            raise LabelMapError(what, got=unknown[0], fix="name one of them")
        return [self.names.index(name) for name in names]

    @property
    def foreground_ids(self) -> tuple[int, ...]:
        """Ids of the classes that move by themselves."""
        return tuple(label.id for label in self.classes if label.foreground)

    @property
    def raw_to_id(self) -> dict[int, int]:
        """The id of every raw id; empty where the space has no raw ids."""
        return {raw: channel.id for channel in self.channels for raw in channel.raw_ids}

    def to_dict(self) -> dict[str, Any]:
        """Return the space as plain values (what YAML files and checkpoints hold)."""

        def plain(channel: LabelClass) -> dict[str, Any]:
            values = dataclasses.asdict(channel)
            if not channel.same_as:
                del values["same_as"]
            lists = {"colour": list(channel.colour), "raw_ids": list(channel.raw_ids)}
            return values | lists | {"other_colours": list(map(list, channel.other_colours))}

        void = {**plain(self.void), "file_value": self.file_value}
        return {"name": self.name, "classes": list(map(plain, self.classes)), "void": void}

    @classmethod
    def from_dict(cls, values: Any, *, source: str = "the label space") -> "LabelSpace":
        """Build a space from plain values; raise ``LabelMapError`` naming ``source``."""
        entries = values.get("classes") if isinstance(values, Mapping) else None
        void = values.get("void") or {} if isinstance(values, Mapping) else {}
        if not isinstance(entries, list | tuple) or not entries or not isinstance(void, Mapping):
            raise _space_error(source, "none", "a name, a list `classes` and a mapping `void`")
        numbered = [
            {"id": index, **entry} if isinstance(entry, Mapping) else entry
            for index, entry in enumerate(entries)
        ]
        void = {"name": "void", "colour": [0, 0, 0], **void, "id": len(entries)}
        plain = {
            "name": values.get("name", "unnamed"),
            "classes": numbered,
            "file_value": void.pop("file_value", 255),
            "void": void,
        }
        space = build(cls, plain, source, error=LabelMapError, fix=_FIX)
        _check_classes(space, source)
        return space


_FIX = "write it like seg2vid/labels/spaces/cityscapes.yaml"


def _space_error(source: str, got: str, what: str) -> LabelMapError:
    return LabelMapError(f"{what} in {source}", got=got, fix=_FIX)


def _check_classes(space: LabelSpace, source: str) -> None:
    """Raise for an id, name, colour or raw id of two: a map could then not be read back."""
    channels = space.channels
    if len(channels) > 255:
        raise _space_error(source, f"{len(channels) - 1} classes", "at most 254 classes")
    for index, label in enumerate(space.classes):
        if label.id != index:
            what = f"ids 0, 1, 2 ... in order, each once (here {index})"
            raise _space_error(source, f"id {label.id} for class {label.name!r}", what)
    if space.file_value < space.void_id:
        what = f"a void `file_value` from {space.void_id} (above the class ids) to 255"
        raise _space_error(source, f"file_value {space.file_value}", what)
    kinds: dict[str, Iterable[tuple[LabelClass, object]]] = {
        "name": [(channel, channel.name) for channel in channels],
        "colour": [(c, colour) for c in channels for colour in (c.colour, *c.other_colours)],
        "raw id": [(channel, raw) for channel in channels for raw in channel.raw_ids],
    }
    for kind, pairs in kinds.items():
        owners: dict[object, str] = {}
        for channel, value in pairs:
            if value in owners:
                got = f"{kind} {value} of both {owners[value]!r} and {channel.name!r}"
                raise _space_error(source, got, f"every {kind} once")
            owners[value] = channel.name


def list_label_spaces() -> list[str]:
    """Return the names of the label spaces that come with the package."""
    folder = resources.files("seg2vid.labels") / "spaces"
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def get_label_space(name_or_path: str | Path) -> LabelSpace:
    """Return the space that ``name_or_path`` names: a bundled one or a YAML file.

    Raises ``LabelMapError`` where there is none.
    """
    if str(name_or_path) in list_label_spaces():
        return _bundled(str(name_or_path))
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        return load_label_space(path)
    what = f"a label space ({', '.join(list_label_spaces())}) or the path of a .yaml file"
    raise LabelMapError(what, got=repr(str(name_or_path)), fix="choose one of them")


@cache
def _bundled(name: str) -> LabelSpace:
    text = (resources.files("seg2vid.labels") / "spaces" / f"{name}.yaml").read_text("utf-8")
    return LabelSpace.from_dict(parse_plain(text, name), source=name)


def load_label_space(path: Path) -> LabelSpace:
    """Read a label space from a YAML file; raise ``LabelMapError`` saying what is wrong in it."""
    values = read_plain(path, "a label space file", error=LabelMapError)
    if isinstance(values, dict):
        values = {"name": path.stem, **values}
    return LabelSpace.from_dict(values, source=str(path))
