"""The main path, top to bottom: labels → first frame → z → motion → warp → refine."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from operator import index
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, SupportsIndex, TypeVar

import torch
from torch import Tensor

from seg2vid.labels.space import LabelSpace
from seg2vid.media.generated import GeneratedVideo
from seg2vid.media.given import GivenFrames, GivenMaps, GivenPicture, take_inputs
from seg2vid.media.passes import join_passes, play_back, show_progress
from seg2vid.models.animator import Animator
from seg2vid.models.appearance_encoder import AppearanceEncoder
from seg2vid.models.cards import describe, prepare_card
from seg2vid.models.checkpoint import load_box, load_checkpoint, save_checkpoint
from seg2vid.models.config import ModelConfig
from seg2vid.models.control import Control
from seg2vid.models.first_frame import FirstFrame
from seg2vid.models.layers import OBJECT_FACTOR, coarse_labels, count_rows, find_objects
from seg2vid.models.looks import check_same_kind
from seg2vid.models.weights import (
    WEIGHTS_FILE,
    find_weights,
    is_restricted,
    read_card,
    read_licence,
)
from seg2vid.session import Pace, Session, take_latent
from seg2vid.structures import Labels, Latent, Look, Motion, Objects, Pictures, join_batch
from seg2vid.tools.computing import PrecisionName
from seg2vid.tools.devices import (
    check_compiler,
    choose_device,
    choose_precision,
    fast_arithmetic,
    precision_here,
)
from seg2vid.tools.errors import LabelMapError, ModelError
from seg2vid.tools.files import digest_of
from seg2vid.tools.hub import upload_folder
from seg2vid.tools.seeds import Generators, Seeds, make_generators, seeded

Planes = TypeVar("Planes", Tensor, Tensor | None)
Pipeline = TypeVar("Pipeline", bound="Seg2VidPipeline")
BOXES = ("first_frame", "animator")
DEFAULT_SECONDS = 3
"""How long a video is where nobody says it."""


class Seg2VidPipeline:
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
    100) makes it slower or faster than real. ``scale`` says how many times larger first frame and
    maps are than what the networks see: a photo moves at its own size. ``control`` says how camera
    and objects are to move. ``loop`` drives there and back, so that the first frame may follow the
    last. ``progress`` shows a bar; by default for long videos on a terminal.
    """

    def __init__(self, first_frame: FirstFrame, animator: Animator, config: ModelConfig) -> None:
        self.first_frame = first_frame.eval()
        self.animator = animator.eval()
        self.config = config
        self.label_space = LabelSpace.from_dict(config.label_space)
        self.height, self.width = config.height, config.width
        self.num_frames = config.num_frames
        self.frames_per_second = config.frames_per_second
        self.default_frames = max(1, round(DEFAULT_SECONDS * config.frames_per_second))
        self.device = torch.device("cpu")
        self.precision: PrecisionName = "auto"
        self.provenance: dict[str, Any] = {}
        self.source: dict[str, str] = {}
        self.card = ""
        self.motion_encoder_weights: dict[str, Tensor] = {}
        self.appearance_encoder: AppearanceEncoder | None = None

    @classmethod
    def from_config(cls: type[Pipeline], config: ModelConfig) -> Pipeline:
        """Build untrained networks from a ``config``."""
        space = LabelSpace.from_dict(config.label_space)
        channels, things = space.num_channels, space.foreground_ids
        first_frame = FirstFrame(config.first_frame, num_channels=channels, foreground=things)
        return cls(first_frame, Animator(config, num_channels=channels), config)

    @classmethod
    def from_pretrained(
        cls: type[Pipeline], name_or_path: str | Path, *, boxes: Sequence[str] = BOXES
    ) -> Pipeline:
        """Load ``name_or_path``: a bundled model's name, a folder, a file, or ``user/name`` (hub).

        Only ``boxes`` are loaded: weights of the motion stage alone hold no ``first_frame``.
        Raises ``ModelError`` for an unknown name or a file that does not fit.
        """
        path = find_weights(str(name_or_path))
        checkpoint = load_checkpoint(path)
        pipeline = cls.from_config(checkpoint.config)
        for box in boxes:
            load_box(getattr(pipeline, box), checkpoint, box)
        pipeline.provenance = checkpoint.provenance
        if is_restricted(licence := read_licence(path)):
            pipeline.provenance = {**checkpoint.provenance, "licence": licence}
        pipeline.source = {"model": str(name_or_path), "model_sha256": digest_of(path)}
        pipeline.card = read_card(path)
        weights = checkpoint.weights.items()
        encoder = {name: tensor for name, tensor in weights if name.startswith("motion_encoder.")}
        pipeline.motion_encoder_weights = encoder
        if any(name.startswith("appearance_encoder.") for name in checkpoint.weights):
            channels = pipeline.label_space.num_channels
            reader = AppearanceEncoder(checkpoint.config.first_frame, num_channels=channels)
            load_box(reader, checkpoint, "appearance_encoder")
            pipeline.appearance_encoder = reader.eval()
        return pipeline

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write ``model.safetensors``, configuration inside, into a folder; return its path."""
        path = Path(folder) / WEIGHTS_FILE
        boxes = {name: getattr(self, name) for name in BOXES}
        if self.appearance_encoder is not None:
            boxes["appearance_encoder"] = self.appearance_encoder
        # The motion encoder is not used here but goes along: evaluation needs it.
        others = self.motion_encoder_weights
        save_checkpoint(path, boxes, self.config, self.provenance, others=others)
        return path

    def push_to_hub(
        self,
        name: str,
        *,
        card: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        message: str = "Upload a model of seg2vid",
    ) -> str:
        """Upload the model to the Hugging Face hub as ``name``, USER/NAME; return its page.

        It is made where it is not there, ``private`` if asked, by a ``token`` that may write, or
        the one that is kept on this machine; ``message`` is what its history says. ``card`` is its
        text in Markdown, by default that of the model it was loaded from, else a short one; its
        licence is told to the hub too. ``from_pretrained(name)`` loads it. Raises ``ModelError``
        for no such name, no token or one that may not write, and no answer.
        """
        with TemporaryDirectory() as folder:
            weights = self.save_pretrained(folder)
            licence = read_licence(weights)
            text = card or self.card or describe(self.config, licence)
            weights.with_name("README.md").write_text(prepare_card(text, name, licence), "utf-8")
            how: dict[str, Any] = {"private": private, "token": token, "message": message}
            return upload_folder(Path(folder), name, **how)

    def __repr__(self) -> str:
        name = self.source.get("model", "untrained")
        passes = f"{self.num_frames} frames a pass at {self.frames_per_second:g} fps"
        place = f"{self.label_space.name}, on {self.device}"
        return f"Seg2VidPipeline({name!r}, {self.width}x{self.height}, {passes}, {place})"

    def to(
        self: Pipeline, device: str | torch.device, *, precision: PrecisionName | None = None
    ) -> Pipeline:
        """Move the networks to a device (``auto``, ``cpu``, ``cuda``, ``mps`` ...).

        Results are returned there. ``precision`` is what they compute in from then on: ``auto``,
        which a pipeline begins with, is bfloat16 where it is fast, else float32. Raises
        ``Seg2VidError`` for a device that is not there, and for what it cannot compute in.
        """
        self.device = choose_device(device)
        self.precision = self.precision if precision is None else precision
        choose_precision(self.precision, self.device)
        self.first_frame.to(self.device)
        self.animator.to(self.device)
        if self.appearance_encoder is not None:
            self.appearance_encoder.to(self.device)
        return self

    @property
    def computes_in(self) -> PrecisionName:
        """What the networks compute in here and now."""
        return precision_here(self.device, self.precision)

    def arithmetic(self) -> AbstractContextManager[Any]:
        """Let networks compute in that within the block."""
        return fast_arithmetic(self.device, self.precision)

    def compile(self: Pipeline) -> Pipeline:
        """Compile the networks where they are first used, which takes a minute or two.

        Raises ``Seg2VidError`` where there is no compiler. Results stay the same within rounding.
        """
        check_compiler()
        self.first_frame.compile()
        self.animator.compile_boxes()
        return self

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
        self.check_inputs(ids, numbers, frame, scale=factor)
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
        classes = self.label_space.ids_of(resample)
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
        self.check_inputs(ids, None, picture)
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

    def check_inputs(
        self,
        label_map: Labels,
        instance_map: Labels | None,
        first_frame: Pictures | None,
        scale: int = 1,
    ) -> None:
        """Raise ``LabelMapError`` or ``ModelError`` for inputs that do not fit."""
        height, width = label_map.shape[1:]
        if height % (32 * scale) or width % (32 * scale) or not label_map.numel():
            what = f"a label map whose width and height are multiples of {32 * scale}"
            fix = "give its path or Pillow image, which are fitted, or use labels.fit.fit_label_map"
            raise LabelMapError(what, got=f"{width}x{height}", fix=fix)
        low, high = int(label_map.min()), int(label_map.max())
        if low < 0 or high > self.label_space.void_id:
            what = f"ids 0 ... {self.label_space.void_id} of {self.label_space.name}"
            fix = "see what the map holds with: seg2vid labels check FILE"
            raise LabelMapError(what, got=f"{low} ... {high}", fix=fix)
        if instance_map is not None and instance_map.shape[1:] != label_map.shape[1:]:
            what = f"an instance map of the label map's size {width}x{height}"
            size = "x".join(map(str, instance_map.shape[:0:-1]))
            raise LabelMapError(what, got=size, fix="fit both in the same way")
        if first_frame is None and scale > 1:
            what, fix = "a first frame to show at a scale", "give a photo, or leave scale at 1"
            raise ModelError(what, got="none", fix=fix)
        if first_frame is None:
            return
        shape = (label_map.shape[0], 3, *label_map.shape[1:])
        if first_frame.shape != shape:
            what, got = f"a first frame of shape {shape}", tuple(first_frame.shape)
            raise ModelError(what, got=got, fix="fit it with seg2vid.labels.fit.fit_image")
        darkest, brightest = (float(bound) for bound in first_frame.detach().aminmax())
        if not 0 <= darkest <= brightest <= 1:
            got_range = f"{darkest:.3g} ... {brightest:.3g}"
            raise ModelError("colours in [0, 1]", got=got_range, fix="divide by 255")

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
