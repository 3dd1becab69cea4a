"""The main path, top to bottom: labels → first frame → z → motion → warp → refine."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from operator import index
from typing import Any, SupportsIndex, TypeVar

import torch
from torch import Tensor

from seg2vid.media.generated import GeneratedVideo
from seg2vid.media.given import GivenFrames, GivenMaps, GivenPicture, check_inputs, take_inputs
from seg2vid.media.passes import join_passes, play_back, show_progress
from seg2vid.models.control import Control
from seg2vid.models.layers import OBJECT_FACTOR, coarse_labels, count_rows, find_objects
from seg2vid.models.looks import check_same_kind
from seg2vid.models.pretrained import Pretrained
from seg2vid.session import Pace, Session, take_latent
from seg2vid.structures import Labels, Latent, Look, Motion, Objects, join_batch
from seg2vid.tools.errors import ModelError
from seg2vid.tools.seeds import Generators, Seeds, make_generators, seeded

Planes = TypeVar("Planes", Tensor, Tensor | None)
DEFAULT_SECONDS = 3
"""How long a video is where nobody says it."""


class Seg2VidPipeline(Pretrained):
    """A label map in, a moving scene out. Make one with ``from_pretrained``.

    The methods' arguments mean the same everywhere. ``label_map`` is a picture, a file's path or a
    Pillow image of any kind that ``seg2vid labels check`` knows, cropped and scaled to the model's
    size; or ids of the model's label space and 255 for void, as array, tensor or lists, whose
    height and width are multiples of 32. A list of them, or one axis more, is a batch.
    ``instance_map``, likewise, numbers its objects, ``objects`` does so on the coarse grid; 0 is
    none. ``num_frames`` counts the first frame too, by default ``default_frames``, three seconds; 1
    is the first frame alone. ``first_frame`` is a path or Pillow image, fitted like the label map;
    or floats in [0, 1] (batch, 3, height, width), returned bit-identical; or a callable that is
    given the label map (height, width) and returns one of these; without it one is painted. ``z``
    replaces the motion drawn from N(0, I). ``seed`` or ``generator`` (``generators``): one, or one
    for each sample, so that a sample is the same whatever stands beside it; one label map with
    several seeds gives a batch. ``resample`` names classes whose look is drawn again, from
    ``resample_seed``, while the others keep theirs. ``look`` is that of a photograph
    (``read_look``), of a video of the same map, or a mixture (``interpolate_looks``).
    ``frames_per_second`` (1 to 240) shows the same drive more or less smoothly, ``speed`` (0.01 to
    100) makes it slower or faster than real. ``scale`` (1 to 16) says how many times larger first
    frame and maps are than what depth and motion are seen in: a photo moves at its own size, and
    a first frame that is painted at 2 is sharper. ``control`` says how camera and objects are to
    move. ``loop`` drives there and back, so that the first frame may follow the
    last. ``progress`` shows a bar; by default for long videos on a terminal.
    """

    @property
    def default_frames(self) -> int:
        """How many frames a video has whose length nobody says."""
        return max(1, round(DEFAULT_SECONDS * self.frames_per_second))

    def __repr__(self) -> str:
        name = self.source.get("model", "untrained")
        passes = f"{self.num_frames} frames a pass at {self.frames_per_second:g} fps"
        place = f"{self.label_space.name}, on {self.device}"
        return f"Seg2VidPipeline({name!r}, {self.width}x{self.height}, {passes}, {place})"

    @torch.inference_mode()
    def __call__(
        self,
        label_map: GivenMaps,
        *,
        num_frames: SupportsIndex | None = None,
        instance_map: GivenMaps | None = None,
        first_frame: GivenFrames | None = None,
        z: Latent | None = None,
        seed: Seeds = None,
        generator: Generators = None,
        resample: Collection[str] = (),
        resample_seed: int = 0,
        look: Look | None = None,
        frames_per_second: float | int | None = None,
        speed: float | int = 1,
        scale: SupportsIndex = 1,
        control: Control | None = None,
        loop: bool = False,
        progress: bool | None = None,
    ) -> GeneratedVideo:
        """Generate a video of ``num_frames`` frames, any number.

        Raises ``MediaError`` for files that cannot be read, ``LabelMapError`` for maps and
        ``ModelError`` for other inputs that do not fit.
        """
        passes = self.stream(
            label_map,
            num_frames=num_frames,
            instance_map=instance_map,
            first_frame=first_frame,
            z=z,
            seed=seed,
            generator=generator,
            resample=resample,
            resample_seed=resample_seed,
            look=look,
            frames_per_second=frames_per_second,
            speed=speed,
            scale=scale,
            control=control,
            loop=loop,
        )
        total = self._count(num_frames, frames_per_second)
        if progress is None and total <= 2 * self.num_frames + 2:
            progress = False
        return join_passes(list(show_progress(passes, total, progress)))

    def stream(
        self,
        label_map: GivenMaps,
        *,
        num_frames: SupportsIndex | None = None,
        instance_map: GivenMaps | None = None,
        first_frame: GivenFrames | None = None,
        z: Latent | None = None,
        seed: Seeds = None,
        generator: Generators = None,
        resample: Collection[str] = (),
        resample_seed: int = 0,
        look: Look | None = None,
        frames_per_second: float | int | None = None,
        speed: float | int = 1,
        scale: SupportsIndex = 1,
        control: Control | None = None,
        loop: bool = False,
    ) -> Iterator[GeneratedVideo]:
        """Yield what ``__call__`` returns pass by pass: memory does not grow with length.

        That of a ``loop`` does: the way back shows the passes again.
        """
        total = self._count(num_frames, frames_per_second)
        session = self.start(
            label_map,
            instance_map=instance_map,
            first_frame=first_frame,
            z=z,
            seed=seed,
            generator=generator,
            resample=resample,
            resample_seed=resample_seed,
            look=look,
            frames_per_second=frames_per_second,
            speed=speed,
            scale=scale,
        )
        if control is not None:
            session.check(control)
        if loop:
            self._check_architecture("a loop")
            session.pace = replace(session.pace, loop=total)
        count = total // 2 if loop else total - 1
        if count == 0:
            yield session.first
            return
        passes: list[GeneratedVideo] = []
        while session.count < count:
            chunk = session.make_pass(count, control)
            yield chunk
            if loop:
                passes.append(chunk)
        yield from play_back(passes, total - 1 - count)

    @torch.inference_mode()
    def start(
        self,
        label_map: GivenMaps,
        *,
        instance_map: GivenMaps | None = None,
        first_frame: GivenFrames | None = None,
        z: Latent | None = None,
        seed: Seeds = None,
        generator: Generators = None,
        resample: Collection[str] = (),
        resample_seed: int = 0,
        look: Look | None = None,
        frames_per_second: float | int | None = None,
        speed: float | int = 1,
        scale: SupportsIndex = 1,
    ) -> Session:
        """Make the first frame, from which ``session.step(control)`` goes on frame by frame.

        Raises as ``__call__`` does.
        """
        factor = index(scale)
        rate = float(self.frames_per_second if frames_per_second is None else frames_per_second)
        self._check_pace(rate, speed, factor)
        # 1. Check inputs, put them on the device
        size = {"height": factor * self.height, "width": factor * self.width}
        inputs = take_inputs(label_map, instance_map, first_frame, space=self.label_space, **size)
        generators = make_generators(len(inputs.label_map), seed, generator)
        ids = _for_each(inputs.label_map, len(generators), self.device)
        numbers = _for_each(inputs.instance_map, len(generators), self.device)
        frame = _for_each(inputs.first_frame, len(generators), self.device)
        check_inputs(ids, numbers, frame, space=self.label_space, scale=factor)
        # 2. Which pixels belong together
        objects = self.find_objects(ids, numbers, factor)
        given = None if z is None else take_latent(self.animator, z, objects)
        # 3. Label map → first frame, unless the user brings one
        small = coarse_labels(ids, factor)
        worn = self.draw_look(small, objects, generators, resample, resample_seed, look)
        painted = frame is None
        if frame is None:
            with self.arithmetic():
                frame = self.first_frame(ids, objects, worn)
        # 4. z ~ N(0, I), unless the user brings one
        pairs = zip(torch.split(objects, 1), generators, strict=True)
        drawn = join_batch([self.animator.flow_decoder.draw(*pair) for pair in pairs])
        about: dict[str, Any] = dict(self.source)
        empty = (frame.new_zeros(len(frame), 0, n, *frame.shape[2:]) for n in (2, 2, 1, 1))
        first = GeneratedVideo(
            first_frame=frame,
            frames=frame.unsqueeze(1)[:, :0],
            label_map=ids,
            label_maps=ids.unsqueeze(1)[:, :0],
            motion=Motion(*empty),
            z=drawn if given is None else given,
            frames_per_second=rate,
            label_space=self.label_space.name,
            instance_map=numbers,
            instance_maps=None if numbers is None else numbers.unsqueeze(1)[:, :0],
            look=worn if painted else None,
            seeds=tuple(one.initial_seed() for one in generators),
            device=self.device.type,
            precision=self.computes_in,
            **about,
        )
        # 5. From there on, key by key and pass by pass: motion → warp → refine → labels
        pace = Pace(speed * self.frames_per_second / rate)
        how: Any = {"space": self.label_space, "pace": pace, "arithmetic": self.arithmetic}
        return Session(self.animator, first, objects, **how)

    def draw_look(
        self,
        label_map: Labels,
        objects: Objects,
        generators: Sequence[torch.Generator],
        resample: Collection[str] = (),
        resample_seed: int = 0,
        look: Look | None = None,
    ) -> Look:
        """Draw the look of each sample; classes named by ``resample`` get theirs from another seed.

        A ``look`` that is given replaces what it says. Raises ``LabelMapError`` for a class that
        the label space does not have and ``ModelError`` for a look of another model.
        """
        samples = zip(label_map.split(1), objects.split(1), generators, strict=True)
        drawn = join_batch([self.first_frame.draw(*sample) for sample in samples]).to(self.device)
        if look is not None:
            check_same_kind(look, drawn)
            given = look.map(lambda tensor: _for_each(tensor, len(objects), self.device))
            picks = [torch.Generator().manual_seed(one.initial_seed()) for one in generators]
            drawn = self.first_frame.wear(drawn, given, label_map, objects, picks)
        if not (classes := self.label_space.ids_of(resample)):
            return drawn
        # Seed and resample seed are 0 unless told otherwise: alike they would change nothing.
        dice = torch.Generator().manual_seed(seeded(resample_seed).initial_seed() ^ 0x5EED)
        other = self.first_frame.draw(label_map[:1], objects[:1], dice)
        return self.first_frame.exchange(drawn, other.to(self.device), classes, label_map, objects)

    @torch.inference_mode()
    def read_look(self, photo: GivenPicture, label_map: GivenMaps) -> Look:
        """Return the look of a ``photo``, light, weather and materials, to paint other maps with.

        A model that holds its encoder of looks sees it at once; of the others those that hold
        looks of their training pictures search these for the nearest, which takes as long as
        painting some hundred small pictures. Raises ``ModelError`` for a model with neither.
        """
        size = {"height": self.height, "width": self.width}
        inputs = take_inputs(label_map, None, photo, space=self.label_space, **size)
        ids = _for_each(inputs.label_map, 1, self.device)
        picture = _for_each(inputs.first_frame, 1, self.device)
        if picture is None or len(ids) != 1 or len(picture) != 1:
            raise ModelError("one photograph and its label map", got="others", fix="give one pair")
        check_inputs(ids, None, picture, space=self.label_space)
        objects = self.find_objects(ids, None)
        rows = self.first_frame.segments(ids, objects)
        with self.arithmetic():
            if self.appearance_encoder is not None:
                look = self.appearance_encoder(picture, ids, rows).mean
            else:
                look = self.first_frame.nearest_known(picture, ids, objects)
        # What is smaller than the encoder's pixels was not seen.
        is_there = count_rows(rows[:, 1::2, 1::2], look.segments.shape[1]) > 0
        kinds = torch.where(is_there, self.first_frame.kinds(ids, objects), -1)
        return replace(look.map(Tensor.float), kinds=kinds)

    def find_objects(
        self, label_map: Labels, instance_map: Labels | None, scale: int = 1
    ) -> Objects:
        """Number the foreground objects, as the networks see them: 0 is background."""
        things, cell = self.label_space.foreground_ids, OBJECT_FACTOR * scale
        return find_objects(label_map, instance_map, foreground=things, factor=cell)

    def _count(self, num_frames: SupportsIndex | None, rate: float | int | None) -> int:
        """Return the number of frames asked for; raise ``ModelError`` for none."""
        if num_frames is None:
            return max(1, round(DEFAULT_SECONDS * (rate or self.frames_per_second)))
        if (count := index(num_frames)) < 1:
            what, fix = "num_frames of at least 1", "the first frame counts: 1 is that one alone"
            raise ModelError(what, got=count, fix=fix)
        return count

    def _check_pace(self, rate: float | int, speed: float | int, scale: int) -> None:
        """Raise ``ModelError`` for a pace or scale that is out of range or cannot be had."""
        for name, value, low, high in (
            ("frames_per_second", rate, 1.0, 240.0),
            ("speed", speed, 0.01, 100.0),
            ("scale", scale, 1, 16),
        ):
            if not low <= value <= high:
                what, fix = f"{name} from {low:g} to {high:g}", "choose a value in that range"
                raise ModelError(what, got=value, fix=fix)
        if not scale == speed == 1 or rate != self.frames_per_second:
            self._check_architecture("another rate, speed or scale")

    def _check_architecture(self, wish: str) -> None:
        if self.config.architecture == "paper":
            what, fix = f"a model whose motion is a scene's, for {wish}", "leave it out"
            raise ModelError(what, got="the architecture paper", fix=fix)


def _for_each(given: Planes, count: int, device: torch.device) -> Planes:
    """Put a map or picture (any shape, batch first) on the device, a single one for each sample."""
    if given is None:
        return None
    given = given.to(device)
    return given.expand(count, *given.shape[1:]) if given.shape[0] == 1 else given
