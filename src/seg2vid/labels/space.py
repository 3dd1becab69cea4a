"""What a label space is and how one is read: name, colour, raw ids and foreground of each class."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Int, Integer, UInt8

from seg2vid.tools.errors import LabelMapError

Ids = Int[np.ndarray, "height width"]
Values = Integer[np.ndarray, "height width"]
"""What a file holds, before it is known what it means."""

Colour = tuple[int, ...]
"""RGB: three numbers 0 ... 255."""


@dataclass(frozen=True)
class LabelClass:
    """One class of a label space (or its void)."""

    id: int
    """The id inside seg2vid: 0 ... number of classes - 1, void is the number of classes."""
    name: str
    colour: Colour
    """RGB, each 0 ... 255."""
    raw_ids: tuple[int, ...] = ()
    """Ids in the dataset's original files; none where there is no second numbering."""
    foreground: bool = False
    """True for things that move by themselves: people, vehicles."""
    other_colours: tuple[Colour, ...] = ()
    """Further colours that are read as this class."""


@dataclass(frozen=True)
class LabelSpace:
    """Ids, names and colours of the classes, and which are foreground."""

    name: str
    classes: tuple[LabelClass, ...]
    void: LabelClass
    file_value: int = 255
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

    @property
    def foreground_ids(self) -> tuple[int, ...]:
        """Ids of the classes that move by themselves."""
        return tuple(label.id for label in self.classes if label.foreground)

    @property
    def background_ids(self) -> tuple[int, ...]:
        """Ids of all other classes, without void."""
        return tuple(label.id for label in self.classes if not label.foreground)

    @property
    def raw_to_id(self) -> dict[int, int]:
        """The id of every raw id; empty where the space has no raw ids."""
        return {raw: channel.id for channel in self.channels for raw in channel.raw_ids}

    def to_dict(self) -> dict[str, Any]:
        """Return the space as plain values (what YAML files and checkpoints hold)."""

        def plain(channel: LabelClass) -> dict[str, Any]:
            values = dataclasses.asdict(channel)
            lists = {"colour": list(channel.colour), "raw_ids": list(channel.raw_ids)}
            return values | lists | {"other_colours": list(map(list, channel.other_colours))}

        void = {**plain(self.void), "file_value": self.file_value}
        return {"name": self.name, "classes": list(map(plain, self.classes)), "void": void}

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, source: str = "the label space"
    ) -> "LabelSpace":
        """Build a space from plain values; raise ``LabelMapError`` naming ``source``."""
        entries = values.get("classes") if isinstance(values, Mapping) else None
        if not isinstance(entries, list) or not entries:
            raise _space_error(source, "no list `classes`", "a name and a list `classes`")
        classes = tuple(_read_class(entry, index, source) for index, entry in enumerate(entries))
        void_entry = {"name": "void", "colour": [0, 0, 0], **(values.get("void") or {})}
        void_entry["id"] = len(classes)
        file_value = void_entry.pop("file_value", 255)
        void = _read_class(void_entry, len(classes), source)
        _check_classes((*classes, void), source)
        if not isinstance(file_value, int) or not len(classes) <= file_value <= 255:
            what = f"a void `file_value` from {len(classes)} (above the class ids) to 255"
            raise _space_error(source, f"file_value {file_value!r}", what)
        return cls(str(values.get("name", "unnamed")), classes, void, file_value)


def _space_error(source: str, got: str, what: str) -> LabelMapError:
    fix = "write it like seg2vid/labels/spaces/cityscapes.yaml"
    return LabelMapError(f"{what} in {source}", got=got, fix=fix)


def _read_class(entry: Any, index: int, source: str) -> LabelClass:
    if not isinstance(entry, Mapping) or "name" not in entry:
        raise _space_error(source, repr(entry), f"a class with a name at place {index}")
    known = {field.name for field in dataclasses.fields(LabelClass)}
    if unknown := sorted(set(map(str, entry)) - known):
        what = f"only {', '.join(sorted(known))} for class {entry['name']!r}"
        raise _space_error(source, ", ".join(unknown), what)
    name = entry["name"]
    if entry.get("id", index) != index:
        what = f"ids 0, 1, 2 ... in order, each once (here {index})"
        raise _space_error(source, f"id {entry['id']!r} for class {name!r}", what)
    if "colour" not in entry:
        raise _space_error(source, "none", f"a colour [red, green, blue] for class {name!r}")
    raw_ids = entry.get("raw_ids") or []
    if not isinstance(raw_ids, list | tuple) or not all(isinstance(raw, int) for raw in raw_ids):
        raise _space_error(source, repr(raw_ids), f"a list of whole raw_ids for {name!r}")
    colours = [entry["colour"], *(entry.get("other_colours") or ())]
    first, *others = (_read_colour(colour, name, source) for colour in colours)
    foreground = bool(entry.get("foreground", False))
    return LabelClass(index, str(name), first, tuple(raw_ids), foreground, tuple(others))


def _read_colour(value: Any, name: str, source: str) -> Colour:
    is_triple = isinstance(value, list | tuple) and len(value) == 3
    if not is_triple or not all(isinstance(part, int) and 0 <= part <= 255 for part in value):
        what = f"a colour of three numbers 0 ... 255 for class {name!r}"
        raise _space_error(source, repr(value), what)
    return tuple(value)


def _check_classes(channels: tuple[LabelClass, ...], source: str) -> None:
    """Raise for a name, colour or raw id of two channels: a map could then not be read back."""
    if len(channels) > 255:
        raise _space_error(source, f"{len(channels) - 1} classes", "at most 254 classes")
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
    return LabelSpace.from_dict(yaml.safe_load(text), source=name)


def load_label_space(path: Path) -> LabelSpace:
    """Read a label space from a YAML file; raise ``LabelMapError`` saying what is wrong in it."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        what, got, fix = "a label space file", f"no file {path}", "check the path"
    except (OSError, UnicodeDecodeError) as error:
        what, got, fix = "a readable label space file", f"{path}: {error}", "check the file"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        what, got = f"YAML in {path}", f"{getattr(error, 'problem', error)}{place}"
        fix = "repair the file"
    else:
        if not isinstance(values, dict):
            raise _space_error(str(path), type(values).__name__, "a name and a list `classes`")
        return LabelSpace.from_dict({"name": path.stem, **values}, source=str(path))
    raise LabelMapError(what, got=got, fix=fix)
