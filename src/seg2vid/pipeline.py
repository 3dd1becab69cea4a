"""The main path, top to bottom: labels → first frame → z → motion → warp → refine."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.labels.fit import fit_label_map
from seg2vid.labels.space import LabelSpace
from seg2vid.media.generated import GeneratedVideo, join_passes
from seg2vid.media.label_maps import read_label_map
from seg2vid.models.animator import Animator, choose_instances, choose_labels
from seg2vid.models.checkpoint import load_box, load_checkpoint, save_checkpoint
from seg2vid.models.config import ModelConfig
from seg2vid.models.first_frame import FirstFrame, Look
from seg2vid.models.hints import continue_latent, continue_motion
from seg2vid.models.layers import OBJECT_FACTOR, fast_arithmetic, find_objects
from seg2vid.models.motion_decoder import last_velocity
from seg2vid.models.weights import WEIGHTS_FILE, find_weights
from seg2vid.structures import Labels, Latent, Objects, join_batch
from seg2vid.tools.errors import LabelMapError, ModelError
from seg2vid.tools.seeds import Generators, Seeds, make_generators, seeded

Pipeline = TypeVar("Pipeline", bound="Seg2VidPipeline")
GivenLabels = Labels | str | Path
GivenInstances = Int[Tensor, "maps map_height map_width"] | None
GivenFrame = Float[Tensor, "pictures channel picture_height picture_width"] | None
BOXES = ("first_frame", "animator")


class Seg2VidPipeline:
    """A label map in, a moving scene out. Make one with ``from_pretrained``.

    The methods' arguments mean the same everywhere. ``label_map`` holds ids of the model's label
    space, or is a file's path: that is cropped and scaled to the model's size; height and width are
    multiples of 32. ``instance_map`` numbers its objects, ``objects`` does so on the coarse grid; 0
    is none. ``num_frames`` counts frames after the first one, by default one pass. ``first_frame``
    in [0, 1] is returned bit-identical; without it one is painted. ``z`` replaces the motion drawn
    from N(0, I). ``seed`` or ``generator`` (``generators``): one, or one for each sample, so that a
    sample is the same whatever stands beside it; one label map with several seeds gives a batch.
    ``resample`` names classes whose look is drawn again, from ``resample_seed``, while the others
    keep theirs.
    """

    def __init__(self, first_frame: FirstFrame, animator: Animator, config: ModelConfig) -> None:
        self.first_frame = first_frame.eval()
        self.animator = animator.eval()
        self.config = config
        self.label_space = LabelSpace.from_dict(config.label_space)
        self.height, self.width = config.height, config.width
        self.num_frames = config.num_frames
        self.frames_per_second = config.frames_per_second
        self.device = torch.device("cpu")
        self.provenance: dict[str, Any] = {}
        self.motion_encoder_weights: dict[str, Tensor] = {}

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
        checkpoint = load_checkpoint(find_weights(str(name_or_path)))
        pipeline = cls.from_config(checkpoint.config)
        for box in boxes:
            load_box(getattr(pipeline, box), checkpoint, box)
        pipeline.provenance = checkpoint.provenance
        weights = checkpoint.weights.items()
        encoder = {name: tensor for name, tensor in weights if name.startswith("motion_encoder.")}
        pipeline.motion_encoder_weights = encoder
        return pipeline

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write ``model.safetensors``, configuration inside, into a folder; return its path."""
        path = Path(folder) / WEIGHTS_FILE
        boxes = {name: getattr(self, name) for name in BOXES}
        # The motion encoder is not used here but goes along: evaluation needs it.
        others = self.motion_encoder_weights
        save_checkpoint(path, boxes, self.config, self.provenance, others=others)
        return path

    def to(self: Pipeline, device: str | torch.device) -> Pipeline:
        """Move the networks to a device; results are returned there."""
        self.device = torch.device(device)
        self.first_frame.to(self.device)
        self.animator.to(self.device)
        return self

    @torch.inference_mode()
    def __call__(
        self,
        label_map: GivenLabels,
        *,
        num_frames: int | None = None,
        instance_map: GivenInstances = None,
        first_frame: GivenFrame = None,
        z: Latent | None = None,
        seed: Seeds = None,
        generator: Generators = None,
        resample: Collection[str] = (),
        resample_seed: int = 0,
    ) -> GeneratedVideo:
        """Generate ``num_frames`` frames after the first one, any number; by default one pass.

        Raises ``LabelMapError`` for maps and ``ModelError`` for other inputs that do not fit.
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
        )
        return join_passes(list(passes))

    def stream(
        self,
        label_map: GivenLabels,
        *,
        num_frames: int | None = None,
        instance_map: GivenInstances = None,
        first_frame: GivenFrame = None,
        z: Latent | None = None,
        seed: Seeds = None,
        generator: Generators = None,
        resample: Collection[str] = (),
        resample_seed: int = 0,
    ) -> Iterator[GeneratedVideo]:
        """Yield what ``__call__`` returns pass by pass: memory does not grow with length."""
        count = self.num_frames if num_frames is None else num_frames
        # Inference mode is held around each pass, not around the yields: a caller's own code runs
        # between them.
        with torch.inference_mode():
            # 1. Check inputs, put them on the device
            ids = label_map if isinstance(label_map, Tensor) else self._read(Path(label_map))
            generators = make_generators(ids.shape[0], seed, generator)
            ids, instance_map, first_frame = (
                _for_each(given, len(generators), self.device)
                for given in (ids, instance_map, first_frame)
            )
            self.check_inputs(ids, instance_map, first_frame, count)
            # 2. Which pixels belong together
            objects = self.find_objects(ids, instance_map)
            # 3. Label map → first frame, unless the user brings one
            look = self.draw_look(ids, objects, generators, resample, resample_seed)
            with fast_arithmetic(self.device):
                frame = self.first_frame(ids, objects, look) if first_frame is None else first_frame
            # 4. z ~ N(0, I), unless the user brings one
            pairs = zip(torch.split(objects, 1), generators, strict=True)
            drawn = join_batch([self.animator.flow_decoder.draw(*pair) for pair in pairs])
            z, hints, velocity = drawn if z is None else z, None, None
        # 5. Pass by pass: motion → warp → refine → labels; sooner or later the last frame is the
        # key that the next ones start from
        per_key = self.animator.passes_per_key
        for number, start in enumerate(range(0, max(count, 1), self.num_frames)):
            shown, since_key = min(self.num_frames, count - start), number % per_key
            with torch.inference_mode():
                with fast_arithmetic(self.device):
                    animation = self.animator(
                        frame, ids, z, objects, hints, passes_ago=since_key, velocity=velocity
                    )
                motion, label_maps = animation.motion, choose_labels(ids, animation)
                instance_maps = None
                if instance_map is not None:
                    things = self.label_space.foreground_ids
                    instance_maps = choose_instances(instance_map, label_maps, animation, things)
                chunk = GeneratedVideo(
                    first_frame=frame,
                    frames=animation.refined[:, :shown],
                    label_map=ids,
                    label_maps=label_maps[:, :shown],
                    motion=motion.map(lambda tensor, shown=shown: tensor[:, :shown]),
                    z=z,
                    frames_per_second=self.frames_per_second,
                    label_space=self.label_space.name,
                    pass_starts=() if since_key else (start,),
                    instance_map=instance_map,
                    instance_maps=None if instance_maps is None else instance_maps[:, :shown],
                )
                if since_key == per_key - 1:
                    frame, ids = animation.refined[:, -1], label_maps[:, -1]
                    instance_map = None if instance_maps is None else instance_maps[:, -1]
                    objects = self.find_objects(ids, instance_map)
                    z = continue_latent(z, motion, objects)
                    if (path := motion.camera_path) is None:
                        hints = continue_motion(motion, objects)
                    else:
                        velocity = last_velocity(path, 1 / self.frames_per_second)
            yield chunk

    def draw_look(
        self,
        label_map: Labels,
        objects: Objects,
        generators: Sequence[torch.Generator],
        resample: Collection[str] = (),
        resample_seed: int = 0,
    ) -> Look:
        """Draw the look of each sample; classes named by ``resample`` get theirs from another seed.

        Raises ``LabelMapError`` for a class that the label space does not have.
        """
        samples = zip(label_map.split(1), objects.split(1), generators, strict=True)
        look = join_batch([self.first_frame.draw(*sample) for sample in samples]).to(self.device)
        names = self.label_space.names
        unknown = sorted(set(resample) - set(names))
        if unknown:
            what = f"classes of {self.label_space.name}: {', '.join(names)}"
            raise LabelMapError(what, got=unknown[0], fix="name one of them")
        dice = seeded(resample_seed)
        other = self.first_frame.draw(label_map[:1], objects[:1], dice)
        classes = [names.index(name) for name in resample]
        return self.first_frame.exchange(look, other.to(self.device), classes, label_map, objects)

    def _read(self, path: Path) -> Labels:
        """Read a label map, cropped and scaled to the model's size."""
        space, (height, width) = self.label_space, (self.height, self.width)
        ids = read_label_map(path, space=space).ids
        fitted = fit_label_map(ids, height=height, width=width, fill=space.void_id)
        return torch.from_numpy(fitted.ids).long().unsqueeze(0)

    def check_inputs(
        self,
        label_map: Labels,
        instance_map: GivenInstances,
        first_frame: GivenFrame,
        num_frames: int,
    ) -> None:
        """Raise ``LabelMapError`` or ``ModelError`` for inputs that do not fit."""
        height, width = label_map.shape[1:]
        if height % 32 or width % 32 or not label_map.numel():
            what = "a label map whose width and height are multiples of 32"
            fix = "fit it with seg2vid.labels.fit.fit_label_map, or give its file's path"
            raise LabelMapError(what, got=f"{width}x{height}", fix=fix)
        low, high = int(label_map.min()), int(label_map.max())
        if low < 0 or high > self.label_space.void_id:
            what = f"ids 0 ... {self.label_space.void_id} of {self.label_space.name}"
            fix = "see what the map holds with: seg2vid labels check FILE"
            raise LabelMapError(what, got=f"{low} ... {high}", fix=fix)
        if num_frames < 0:
            raise ModelError("0 or more frames after the first", got=num_frames, fix="ask for more")
        if instance_map is not None and instance_map.shape[1:] != label_map.shape[1:]:
            what = f"an instance map of the label map's size {width}x{height}"
            size = "x".join(map(str, instance_map.shape[:0:-1]))
            raise LabelMapError(what, got=size, fix="fit both in the same way")
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

    def find_objects(self, label_map: Labels, instance_map: Labels | None) -> Objects:
        """Number the foreground objects, as the networks see them: 0 is background."""
        things = self.label_space.foreground_ids
        return find_objects(label_map, instance_map, foreground=things, factor=OBJECT_FACTOR)


def _for_each(given: Tensor | None, count: int, device: torch.device) -> Any:
    """Put a map or picture (any shape, batch first) on the device, a single one for each sample."""
    if given is None:
        return None
    given = given.to(device)
    return given.expand(count, *given.shape[1:]) if given.shape[0] == 1 else given
