"""What a page or script asks for: label map and wishes, and the command that makes the same."""

import io
import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image

from seg2vid.data.teachers.photos import segment_photo
from seg2vid.labels.fit import fit_image, fit_label_map
from seg2vid.labels.space import Ids
from seg2vid.media.generated import GeneratedVideo
from seg2vid.media.given import to_planes
from seg2vid.media.pictures import draw_label_map
from seg2vid.media.video import Frame
from seg2vid.models.control import POSE, Control, Pose, Wish
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Look
from seg2vid.tools.errors import MediaError
from seg2vid.tools.plain import build, parse_plain
from seg2vid.tools.ranges import LARGEST_SEED, ranged

MOST_FRAMES = 121
"""Of one video: ten seconds and the first."""
MOST_POSES = 200
LONGEST_WORD = 200
"""Letters of a class's or object's name, and of how it is to move."""


@dataclass(frozen=True)
class Wishes:
    """What may be wished for, beside the pictures; each as the option of ``seg2vid generate``."""

    frames: int = ranged(25, 1, MOST_FRAMES)
    """Frames of the video, the first one included."""
    seed: int = ranged(0, 0, LARGEST_SEED)
    """Another one is another future."""
    frames_per_second: float | None = ranged(None, 1, 60)
    """By default the model's."""
    speed: float = ranged(1.0, 0.01, 100)
    loop: bool = False
    """There and back."""
    camera: str | None = None
    """As in still, forward=8,turn=-3, x0.5."""
    move: dict[str, str] = field(default_factory=dict)
    """How classes and instances move, in the same words: {"car": "still", "person#3": "right=1"}"""
    paths: dict[str, tuple[Pose, ...]] = field(default_factory=dict)
    """Poses that an object, or the camera, goes through: [{"time": 0}, {"time": 2, "right": 3}]"""
    freeze: tuple[str, ...] = ()
    """Classes that stay where they are in the picture."""
    strength: float = ranged(1.0, 0, 1)
    resample: tuple[str, ...] = ()
    """Classes that are painted anew."""
    resample_seed: int = ranged(0, 0, LARGEST_SEED)
    background: bool = False
    """Wait until nobody else does."""

    @classmethod
    def read(cls, text: str) -> "Wishes":
        """Read JSON; raise ``MediaError`` for what is none, or out of range."""
        values = parse_plain(text, "wishes", is_json=True, error=MediaError, fix="see /api")
        wishes = build(cls, values, "wishes", error=MediaError, fix="see /api")
        wishes._check()
        return wishes

    def _check(self) -> None:
        """Raise ``MediaError`` for words that the command line would read as the name of a file,
        and for paths that are none.
        """
        words = [*self.move, *self.move.values(), *self.paths, *self.freeze, *self.resample]
        words += [self.camera or ""]
        for word in words:
            if len(word) > LONGEST_WORD or not word.isprintable():
                got = f"{len(word)} letters" if word.isprintable() else "others"
                raise MediaError(f"at most {LONGEST_WORD} letters", got=got, fix="shorten it")
        for name in {*self.move, *self.paths}:
            if "=" in name or name != name.strip() or not name:
                raise MediaError("the name of a class or object", got=name, fix="see /api")
        for words_of in (self.camera or "", *self.move.values()):
            if words_of.strip().endswith((".csv", ".yaml", ".yml")):
                what, fix = "how it is to move, in words", "write poses into paths, see /api"
                raise MediaError(what, got="the name of a file", fix=fix)
        if twice := sorted({*self.move} & {*self.paths}):
            what, fix = f"one wish for {twice[0]}", "leave one of them out"
            raise MediaError(what, got="words and a path", fix=fix)
        if self.camera is not None and "camera" in self.paths:
            what, fix = "one wish for the camera", "leave one of them out"
            raise MediaError(what, got="words and a path", fix=fix)
        for name, poses in self.paths.items():
            what, fix = f"2 to {MOST_POSES} poses for {name}, each later", "see /api"
            times = [pose.time for pose in poses]
            is_late = any(after <= before for before, after in pairwise(times))
            if is_late or not 2 <= len(poses) <= MOST_POSES:
                raise MediaError(what, got=times[:5], fix=fix)
            if not all(math.isfinite(number) for pose in poses for number in astuple(pose)):
                raise MediaError(f"finite poses for {name}", got="nan or inf", fix=fix)

    @property
    def control(self) -> Control | None:
        """What is wished of the motion; raises ``MediaError`` for words that are none."""
        if self.camera is None and not (self.move or self.paths or self.freeze):
            return None
        told = Control.read(
            camera=self.camera,
            move=[f"{name}={words}" for name, words in self.move.items()],
            freeze=self.freeze,
            strength=self.strength,
        )
        paths = {name: Wish(poses=poses) for name, poses in self.paths.items()}
        camera = paths.pop("camera", told.camera)
        return Control(camera, (*told.objects, *paths.items()), told.freeze, told.strength)

    @property
    def pose_files(self) -> dict[str, str]:
        """The name of the file that holds the poses of each path."""
        return {name: f"path_{number}.csv" for number, name in enumerate(self.paths, 1)}


@dataclass(frozen=True)
class LookPhoto:
    """A photo whose look is wanted: its pixels, and the file as it was sent."""

    pixels: Frame
    content: bytes
    ending: str


@dataclass(frozen=True)
class Scene:
    """All that a video is made from."""

    label_map: Ids
    instance_map: Ids | None
    first_frame: Frame | None
    look: LookPhoto | None
    wishes: Wishes

    def check(self, pipe: Seg2VidPipeline) -> None:
        """Raise ``Seg2VidError`` for what the pipeline would refuse, before it has its turn."""
        label_map, instance_map = self._maps()
        if (control := self.wishes.control) is not None:
            control.check(label_map, instance_map, pipe.label_space)
        pipe.label_space.ids_of(self.wishes.resample)
        if self.look is not None and self.first_frame is not None:
            what, fix = "a first frame or a photo to look like", "leave one of them out"
            raise MediaError(what, got="both", fix=fix)

    def _maps(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        numbers = None if self.instance_map is None else torch.from_numpy(self.instance_map)[None]
        return torch.from_numpy(self.label_map)[None], numbers

    def passes(self, pipe: Seg2VidPipeline) -> Iterator[GeneratedVideo]:
        """Yield the passes of the video."""
        wishes, (label_map, instance_map) = self.wishes, self._maps()
        first = None if self.first_frame is None else to_planes(self.first_frame)[None]
        yield from pipe.stream(
            label_map,
            instance_map=instance_map,
            num_frames=wishes.frames,
            first_frame=first,
            seed=wishes.seed,
            resample=wishes.resample,
            resample_seed=wishes.resample_seed,
            look=None if self.look is None else read_look(self.look.pixels, pipe),
            frames_per_second=wishes.frames_per_second,
            speed=wishes.speed,
            loop=wishes.loop,
            control=wishes.control,
        )


def read_look(photo: Frame, pipe: Seg2VidPipeline) -> Look:
    """Return the look of a photo, as ``seg2vid generate --look`` takes it."""
    size: dict[str, Any] = {"height": pipe.height, "width": pipe.width}
    space = pipe.label_space
    ids = fit_label_map(segment_photo(photo, space), **size, fill=space.void_id).ids
    return pipe.read_look(to_planes(fit_image(photo, **size)), torch.from_numpy(ids))


CALL = {
    "frames": "num_frames",
    "seed": "seed",
    "instances": "instance_map",
    "first-frame": "first_frame",
    "fps": "frames_per_second",
    "speed": "speed",
    "loop": "loop",
    "resample": "resample",
    "resample-seed": "resample_seed",
}
"""Arguments of the pipeline by the options of the command line."""
CONTROL = ("camera", "move", "freeze", "strength")
"""Options of the command line that are arguments of ``Control.read``."""


@dataclass(frozen=True)
class Recipe:
    """How others make the same video."""

    command: tuple[str, ...]
    """Words of the command line."""
    python: str
    """The same in Python."""
    files: dict[str, bytes]
    """What both read, by name."""

    @property
    def line(self) -> str:
        """The command as it is typed."""
        return shlex.join(self.command)

    @classmethod
    def of(cls, scene: Scene, pipe: Seg2VidPipeline) -> "Recipe":
        """Write down how ``scene`` is made."""
        wishes, model = scene.wishes, pipe.source.get("model", "")
        files = {"labels.png": png_of(draw_label_map(scene.label_map, pipe.label_space))}
        told: dict[str, Any] = {"frames": wishes.frames, "seed": wishes.seed}
        if scene.instance_map is not None:
            told["instances"] = "instances.png"
            numbers = scene.instance_map.astype(np.uint16)
            files["instances.png"] = png_of(Image.fromarray(numbers))
        if scene.first_frame is not None:
            told |= {"first-frame": "photo.png", "size": f"{pipe.width}x{pipe.height}"}
            files["photo.png"] = png_of(Image.fromarray(scene.first_frame))
        if scene.look is not None:
            told["look"] = f"look{scene.look.ending}"
            files[told["look"]] = scene.look.content
        if wishes.frames_per_second is not None:
            told["fps"] = wishes.frames_per_second
        if wishes.speed != 1:
            told["speed"] = wishes.speed
        if wishes.loop:
            told["loop"] = True
        if wishes.resample:
            told |= {"resample": wishes.resample, "resample-seed": wishes.resample_seed}
        paths = wishes.pose_files
        files |= {name: write_poses(wishes.paths[one]).encode() for one, name in paths.items()}
        if (camera := paths.pop("camera", wishes.camera)) is not None:
            told["camera"] = camera
        if moves := [f"{name}={how}" for name, how in (wishes.move | paths).items()]:
            told["move"] = moves
        if wishes.freeze:
            told["freeze"] = wishes.freeze
        if wishes.strength != 1:
            told["strength"] = wishes.strength
        words = ["seg2vid", "generate", "labels.png", "-o", "scene.mp4", "--model", model]
        for option, value in told.items():
            for one in value if isinstance(value, list) else [value]:
                text = ",".join(one) if isinstance(one, tuple) else str(one)
                words += [f"--{option}"] if one is True else [f"--{option}", text]
        return cls(tuple(words), _in_python(model, told), files)


def _in_python(model: str, told: dict[str, Any]) -> str:
    """Return the lines of Python for options of the command line."""
    imports, given = ["Seg2VidPipeline"], {CALL[one]: told[one] for one in told if one in CALL}
    before, after, lines = [], [], [f"pipe = Seg2VidPipeline.from_pretrained({_text(model)})"]
    if "look" in told:
        before = ["from pathlib import Path", ""]
        after = ["from seg2vid.media.pictures import read_image"]
        after += ["from seg2vid.studio.wishes import read_look"]
        lines += [f"look = read_look(read_image(Path({_text(told['look'])})), pipe)"]
    if wanted := {one: told[one] for one in CONTROL if one in told}:
        imports = ["Control", *imports]
        lines += [f"control = Control.read({_arguments(wanted)})"]
    words = ['"labels.png"', _arguments(given)]
    words += ["look=look"] * ("look" in told) + ["control=control"] * bool(wanted)
    lines += [f"video = pipe({', '.join(words)})", 'video.save("scene.mp4")']
    head = [*before, f"from seg2vid import {', '.join(imports)}", *after, ""]
    return "\n".join([*head, *lines]) + "\n"


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    is_plain = isinstance(value, bool | int | float)
    return repr(value) if is_plain else json.dumps(value, ensure_ascii=False)


def write_poses(poses: tuple[Pose, ...]) -> str:
    """Return a file of poses as CSV."""
    rows = [",".join(repr(float(value)) for value in astuple(pose)) for pose in poses]
    return "\n".join([",".join(POSE), *rows]) + "\n"


def png_of(image: Image.Image) -> bytes:
    """Return a picture as PNG."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
