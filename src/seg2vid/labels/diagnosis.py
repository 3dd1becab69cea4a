"""A picture as it is stored, and what was found out about it as a label map."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from seg2vid.labels import convert
from seg2vid.labels.flat_colours import FlatColour
from seg2vid.labels.space import Ids, LabelSpace, Values
from seg2vid.tools.errors import expected

Kind = Literal[
    "train ids", "raw ids", "palette", "colours", "instance ids", "drawing", "photo", "unknown"
]
Encoding = Literal["auto", "train", "raw", "colour", "instance"]
Palette = Literal["known", "nearest"]
"""Which colours tell a class: those of a known label space alone, or those nearest to them too."""


@dataclass(frozen=True)
class Picture:
    """The pixels of a file as they are stored, and what the file says about them."""

    pixels: Values | UInt8[np.ndarray, "height width channel"]
    mode: str
    """Pillow's name of the pixel format: L, P, I;16, RGB, RGBA ..."""
    palette: UInt8[np.ndarray, "entry 3"] | None = None
    name: str = "FILE"
    """The path as the user wrote it, for the repair command; it may also tell the encoding."""
    is_jpeg: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """What a label map file is, what is wrong with it, and its ids where they can be told."""

    kind: Kind
    detail: str
    """How it was recognised, in a few words."""
    ids: Ids | None = None
    """Ids, void = number of classes; None when the file cannot be read as a label map."""
    instance_map: Ids | None = None
    class_shares: tuple[tuple[str, float], ...] = ()
    """Name and share of the pixels (0 ... 1) of every class that occurs, largest first."""
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Why it cannot be used: each says what was expected, what came and what to do."""
    colours: tuple[FlatColour, ...] = ()
    """The colours of a drawing, the largest first."""
    repair: str | None = None
    """The command that makes a plain map of train ids; None where no doubt would be removed."""

    @property
    def summary(self) -> str:
        """One line: what it is, its size and its largest classes."""
        if self.ids is None:
            return self.problems[0]
        height, width = self.ids.shape
        shares = convert.listed([f"{name} {share:.0%}" for name, share in self.class_shares], 4)
        return f"{self.kind} ({self.detail}), {width}x{height}: {shares}"


def photo_found(space: LabelSpace, got: str) -> Diagnosis:
    """Return the diagnosis of a picture that is no map of any kind."""
    fix = "give a label map (photos go to --first-frame), or name its classes with --label-space"
    what = f"ids or class colours of {space.name}"
    return unknown("no class colours", what, f"{got}, as in a photo", fix, kind="photo")


def unknown(detail: str, what: str, got: str, fix: str, *, kind: Kind = "unknown") -> Diagnosis:
    """Return the diagnosis of what cannot be read: what was expected, what came, what to do."""
    return Diagnosis(kind, detail, problems=(expected(what, got=got, fix=fix),))
