"""What a user wants to move and how, in words, and a drive that obeys.

``Control.read`` reads the words of the command line; ``Control.steer`` changes the ways of camera
and objects that z decoded to. Where several wishes fit an object the narrowest wins: its instance,
then its class, then ``all``. What nobody wishes for moves as z says.
"""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from seg2vid.geometry import rates_of, way_of
from seg2vid.labels.space import LabelSpace
from seg2vid.models.drive import FINENESS, Drive
from seg2vid.structures import Labels
from seg2vid.tools.errors import LabelMapError, MediaError
from seg2vid.tools.files import check_regular
from seg2vid.tools.plain import build, read_plain

WORDS = ("forward", "right", "turn")
"""Metres a second ahead and to the right, degrees a second to the right."""
FASTEST = {"forward": 100.0, "right": 100.0, "turn": 360.0}
ALL = "all"
"""Every object that can move."""
LONGEST_FILE = 2**20
"""Letters of a file of poses that are read."""

Way = Float[Tensor, "*rest step unit"]


@dataclass(frozen=True)
class Pose:
    """Where something is at a time, since the first frame."""

    time: float
    """Seconds."""
    forward: float = 0.0
    """Metres, as the next."""
    right: float = 0.0
    turn: float = 0.0
    """Degrees to the right."""


POSE = tuple(one.name for one in fields(Pose))


@dataclass(frozen=True)
class PoseFile:
    """What a file of poses says."""

    poses: tuple[Pose, ...]


@dataclass(frozen=True)
class ControlFile:
    """What a file of wishes says: the words of the command line."""

    camera: str | None = None
    move: dict[str, str] = field(default_factory=dict)
    freeze: tuple[str, ...] = ()
    strength: float = 1.0
    careful: bool = True


@dataclass(frozen=True)
class Wish:
    """How something is to move; what is None stays as z says."""

    forward: float | None = None
    right: float | None = None
    turn: float | None = None
    share: float | None = None
    """Of what z says, instead of the three."""
    poses: tuple[Pose, ...] = ()
    """Instead: straight on between them, at rest before and after."""

    @classmethod
    def read(cls, text: str) -> "Wish":
        """Read ``still``, ``x0.5``, ``forward:8,turn=-3`` or the name of a file of poses.

        The file is CSV with the columns time, forward, right, turn, or a list of such mappings in
        YAML. Raises ``MediaError``.
        """
        if text == "still":
            return cls(0.0, 0.0, 0.0)
        if text.startswith("x") and (share := _number(text[1:])) is not None:
            return cls(share=share)
        if text.endswith((".csv", ".yaml", ".yml")):
            return cls(poses=_read_poses(Path(text)))
        given: dict[str, float] = {}
        for part in text.split(","):
            name, _, number = part.replace("=", ":", 1).partition(":")
            value = _number(number)
            if name.strip() not in WORDS or value is None or name.strip() in given:
                what = "still, x0.5, a file of poses, or any of forward:1,right:1,turn:1"
                raise MediaError(what, got=text, fix="say it in these words")
            if abs(value) > FASTEST[name.strip()]:
                what = f"{name.strip()} within {FASTEST[name.strip()]:g} a second"
                raise MediaError(what, got=number, fix="choose a number in that range")
            given[name.strip()] = value
        return cls(given.get("forward"), given.get("right"), given.get("turn"))

    def rate(self, rate: Way, begin: float, step: float) -> Way:
        """Return what becomes of a ``rate`` of (forward, right, turn, ...) at each step.

        Steps are of ``step`` seconds, from ``begin`` on.
        """
        if self.share is not None:
            return rate * self.share
        wanted = rate.clone()
        if self.poses:
            poses = rate.new_tensor([astuple(pose) for pose in self.poses])
            poses[:, 3] = poses[:, 3].deg2rad()
            times = begin + step * torch.arange(rate.shape[-2] + 1, device=rate.device)
            after = torch.searchsorted(poses[:, 0].contiguous(), times).clamp(1, len(poses) - 1)
            first, last = poses[after - 1], poses[after]
            share = ((times - first[:, 0]) / (last[:, 0] - first[:, 0])).clamp(0, 1)
            way = torch.lerp(first[:, 1:], last[:, 1:], share.unsqueeze(1))
            wanted[..., :3] = way.diff(dim=0) / step
        for index, name in enumerate(WORDS):
            if (value := getattr(self, name)) is not None:
                wanted[..., index] = math.radians(value) if name == "turn" else value
        return wanted


@dataclass(frozen=True)
class Control:
    """Wishes for the camera and for objects, and what is to stay where it is in the picture."""

    camera: Wish | None = None
    objects: tuple[tuple[str, Wish], ...] = ()
    """By class, instance (``car#26003``) or ``all``."""
    freeze: tuple[str, ...] = ()
    """Classes that neither camera nor z moves."""
    strength: float = 1.0
    """From 0, as z says, to 1, as wished."""
    careful: bool = True
    """What z says is mended where the camera would run into vehicles or people would fly."""

    @property
    def camera_stands(self) -> bool:
        """Whether the camera is to stand, whatever z says."""
        return self.strength == 1 and self.camera in (Wish(0.0, 0.0, 0.0), Wish(share=0.0))

    @classmethod
    def read(
        cls,
        *,
        camera: str | None = None,
        move: Sequence[str] = (),
        freeze: Sequence[str] = (),
        strength: float = 1.0,
        careful: bool = True,
    ) -> "Control":
        """Read the words of the command line.

        ``camera`` and what follows NAME= in each of ``move`` are texts for ``Wish.read``;
        ``freeze`` names classes that stay where they are in the picture; ``strength`` goes from
        0, as z says, to 1; without ``careful`` what z says is not mended. Raises ``MediaError``.
        """
        if not 0 <= strength <= 1:
            raise MediaError("a strength from 0 to 1", got=strength, fix="1 is as wished")
        wishes: dict[str, Wish] = {}
        for one in move:
            name, equals, words = one.partition("=")
            name = name.strip()
            if not equals or not name:
                what = "an object and its motion, as in car=still or person=right:1.2"
                raise MediaError(what, got=one, fix="write both with = between them")
            if name in wishes:
                what = f"one wish for {name}"
                raise MediaError(what, got=f"a second, {words}", fix="leave one of them out")
            wishes[name] = Wish.read(words.strip())
        return cls(
            None if camera is None else Wish.read(camera.strip()),
            tuple(wishes.items()),
            tuple(freeze),
            strength,
            careful,
        )

    @classmethod
    def read_file(cls, path: Path) -> "Control":
        """Read the YAML or JSON file at ``path``: move is a mapping, all else as in ``read``.

        Raises ``MediaError``.
        """
        values = read_plain(path, "wishes for the motion", error=MediaError)
        told = build(ControlFile, values, str(path), error=MediaError)
        move = [f"{name}={words}" for name, words in told.move.items()]
        return cls.read(**(vars(told) | {"move": move}))

    def check(self, label_map: Labels, instance_map: Labels | None, space: LabelSpace) -> None:
        """Raise ``LabelMapError`` for classes and instances that the maps do not have.

        ``label_map`` holds ids of ``space``, ``instance_map`` numbers its objects.
        """
        there = set(label_map.unique().tolist())
        movable = [space.names[id_] for id_ in space.foreground_ids if id_ in there]
        present = [name for id_, name in enumerate(space.names) if id_ in there]
        for name in self.freeze:
            if name not in present:
                what = f"a class of the label map: {', '.join(present)}"
                raise LabelMapError(what, got=name, fix="freeze one of them")
        for name, _ in self.objects:
            kind, _, number = name.partition("#")
            if kind not in (*movable, ALL) or (kind == ALL and number):
                there_are = ", ".join(movable) or "it has none"
                what = f"a class of the label map that can move: {there_are}"
                raise LabelMapError(what, got=name, fix=f"name one of them, or {ALL}")
            if number and (instance_map is None or not (instance_map == _whole(number)).any()):
                what = f"the number of an instance of the label map after {kind}#"
                raise LabelMapError(what, got=number, fix="give --instances, and one of its ids")
        if self.camera is not None and not space.ids_named({"road"}):
            what = f"a label space with a road for a camera that drives, unlike {space.name}"
            raise LabelMapError(what, got="wishes for the camera", fix="move objects instead")

    def steer(
        self,
        drive: Drive,
        label_map: Labels,
        instance_map: Labels | None,
        space: LabelSpace,
        *,
        begin: float,
        heading: float,
    ) -> Drive:
        """Return the drive of one sample as wished.

        ``begin`` is the time of its key frame in seconds, ``heading`` where the camera has turned
        by then, in radians. ``label_map``, with ids of ``space``, and ``instance_map`` are the key
        frame's, on the grid of the ``drive``. Without a ground an object's motion is one of pixels
        a second: to the right, and up for forward.
        """
        paths, step = drive.scene.paths, drive.step
        camera, objects, residual = paths.camera, paths.objects.clone(), drive.scene.residual

        def changed(way: Way, wish: Wish) -> Way:
            own = turned(way.diff(dim=-2) / step, heading)
            rate = torch.lerp(own, wish.rate(own, begin, step), self.strength)
            return F.pad(turned(rate, -heading).cumsum(-2) * step, (0, 0, 1, 0))

        if self.camera is not None and self.camera.poses:
            camera = changed(camera, self.camera)
        elif self.camera is not None:
            # It drives where it points.
            own = rates_of(camera, step)
            rate = torch.lerp(own, self.camera.rate(own, begin, step), self.strength)
            camera = way_of(rate, step)
        wishes = self._rows(drive.scene.rows, label_map, instance_map, space)
        for row, wish in wishes.items():
            objects[:, row - 1] = changed(objects[:, row - 1], wish)
            if not drive.has_ground and residual is not None:
                forward, right, _ = objects[:, row - 1, drive.num_frames * FINENESS].unbind(-1)
                pixels = torch.stack((right, -forward), -1)[:, None, :, None, None]
                residual = torch.where((drive.scene.rows == row)[:, None, None], pixels, residual)
        if drive.has_ground:
            objects = drive.keep_together(objects, wishes)
            paths = replace(paths, camera=camera, objects=objects)
        frozen = tuple(space.names.index(name) for name in self.freeze)
        scene = replace(drive.scene, paths=paths, residual=residual)
        return replace(drive, scene=scene, frozen=frozen).hold(label_map)

    def _rows(
        self, rows: Labels, label_map: Labels, instance_map: Labels | None, space: LabelSpace
    ) -> dict[int, Wish]:
        """Return the wish for each row of objects that one fits."""
        wishes, found = dict(self.objects), {}
        for row in rows.unique().tolist():
            is_row = rows == row
            name = space.names[int(label_map[is_row].mode().values)] if row else ALL
            names = [name, ALL]
            if instance_map is not None:
                names.insert(0, f"{name}#{int(instance_map[is_row].mode().values)}")
            fitting = [wishes[one] for one in names if one in wishes]
            if row and fitting:
                found[row] = fitting[0]
        return found


def steering(
    control: Control,
    space: LabelSpace,
    maps: tuple[Labels, Labels | None],
    begin: float,
    headings: list[float],
) -> Callable[[int, Drive], Drive]:
    """Return what changes the drive of each sample as wished; see ``Control.steer``.

    ``maps`` are label map and instance map; ``begin`` counts seconds of the video, ``headings`` are
    the cameras' turns by then (rad).
    """
    label_map, instance_map = maps

    def steer(number: int, drive: Drive) -> Drive:
        own = slice(number, number + 1)
        given = label_map[own], None if instance_map is None else instance_map[own], space
        return control.steer(drive, *given, begin=begin, heading=headings[number])

    return steer


def turned(rates: Way, angle: float) -> Way:
    """Return (forward, right, ...) in axes from which those of ``rates`` are turned right."""
    forward, right = rates[..., :2].unbind(-1)
    sine, cosine = math.sin(angle), math.cos(angle)
    ahead = torch.stack((cosine * forward - sine * right, sine * forward + cosine * right), -1)
    return torch.cat((ahead, rates[..., 2:]), -1)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else -1


def _read_poses(path: Path) -> tuple[Pose, ...]:
    what, fix = f"poses ({', '.join(POSE)}) in {path}", "see docs/control.md"
    if path.suffix == ".csv":
        check_regular(path, what)
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            told = file.read(LONGEST_FILE).splitlines()
        rows = [
            {name: _number(text or "") for name, text in row.items() if name is not None}
            for row in csv.DictReader(told)
        ]
    else:
        rows = read_plain(path, what, error=MediaError, fix=fix)
    poses = build(PoseFile, {"poses": rows}, str(path), error=MediaError, fix=fix).poses
    times = [pose.time for pose in poses]
    if len(poses) < 2 or any(after <= before for before, after in pairwise(times)):
        raise MediaError(f"{what}, two or more, each later than the last", got=times[:5], fix=fix)
    if not all(math.isfinite(number) for pose in poses for number in astuple(pose)):
        raise MediaError(f"finite {what}", got="nan or inf", fix=fix)
    return poses
