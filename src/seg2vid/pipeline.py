"""The main path, top to bottom: labels → first frame → z → motion → warp → refine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.checkpoint import Checkpoint, load_box, load_checkpoint, save_checkpoint
from seg2vid.config import ModelConfig
from seg2vid.errors import LabelMapError, ModelError, expected
from seg2vid.labels import LabelSpace
from seg2vid.media import read_label_map
from seg2vid.models.animator import Animator, choose_labels
from seg2vid.models.first_frame import FirstFrame, Look
from seg2vid.models.hints import continue_latent, continue_motion
from seg2vid.models.layers import OBJECT_FACTOR, find_objects
from seg2vid.structures import Animation, GeneratedVideo, Latent, Motion
from seg2vid.warp import warp_labels

Pipeline = TypeVar("Pipeline", bound="Seg2VidPipeline")

WEIGHTS_FILE = "model.safetensors"

Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass(frozen=True)
class ModelSummary:
    """One line of ``seg2vid models``."""

    name: str
    summary: str
    megabytes: float


def list_models() -> list[ModelSummary]:
    """Return the models that come with the package."""
    models = []
    for folder in sorted(_bundled_folder().iterdir(), key=lambda entry: entry.name):
        weights = Path(str(folder)) / WEIGHTS_FILE
        if weights.is_file():
            card = (weights.parent / "README.md").read_text(encoding="utf-8")
            title = next(line for line in card.splitlines() if line.startswith("# "))
            size = weights.stat().st_size / 1e6
            models.append(ModelSummary(folder.name, title.removeprefix("# "), size))
    return models


def _bundled_folder() -> Path:
    """Return the folder of the bundled weights."""
    return Path(str(resources.files("seg2vid"))) / "weights"


class Seg2VidPipeline:
    """A label map in, a moving scene out. Make one with ``from_pretrained``."""

    def __init__(self, first_frame: FirstFrame, animator: Animator, config: ModelConfig) -> None:
        self.first_frame = first_frame.eval()
        self.animator = animator.eval()
        self.config = config
        self.label_space = LabelSpace.from_dict(config.label_space)
        self.height, self.width = config.height, config.width
        self.num_frames = config.num_frames
        self.frames_per_second = config.frames_per_second
        self.device = torch.device("cpu")

    @classmethod
    def from_config(cls: type[Pipeline], config: ModelConfig) -> Pipeline:
        """Build untrained networks from a configuration."""
        space = LabelSpace.from_dict(config.label_space)
        first_frame = FirstFrame(
            config.first_frame,
            num_channels=space.num_channels,
            foreground=space.foreground_ids,
        )
        return cls(first_frame, Animator(config, num_channels=space.num_channels), config)

    @classmethod
    def from_pretrained(cls: type[Pipeline], name_or_path: str | Path) -> Pipeline:
        """Load a bundled model by name, a folder or weight file by path, or ``user/name`` from the hub.

        Raises ``ModelError`` for an unknown name or a file that does not fit.
        """
        checkpoint = load_checkpoint(_find_weights(str(name_or_path)))
        pipeline = cls.from_config(checkpoint.config)
        load_box(pipeline.first_frame, checkpoint, "first_frame")
        load_box(pipeline.animator, checkpoint, "animator")
        pipeline.provenance = checkpoint.provenance
        return pipeline

    provenance: dict[str, Any] = {}  # noqa: RUF012 - replaced as a whole, never changed

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write ``model.safetensors``, configuration inside, into a folder; return the file's path."""
        path = Path(folder) / WEIGHTS_FILE
        boxes = {"first_frame": self.first_frame, "animator": self.animator}
        save_checkpoint(path, boxes, self.config, self.provenance)
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
        label_map: Int[Tensor, "batch height width"] | str | Path,
        *,
        num_frames: int | None = None,
        instance_map: Int[Tensor, "batch height width"] | None = None,
        first_frame: Float[Tensor, "batch 3 height width"] | None = None,
        z: Latent | None = None,
        seed: int | Sequence[int] | None = None,
        generator: Generators = None,
    ) -> GeneratedVideo:
        """Generate ``num_frames`` frames after the first one, any number; by default one pass.

        ``label_map`` holds ids of the model's label space (or is a file's path, fitted to the model's size);
        height and width are multiples of 32. ``first_frame`` in [0, 1] is returned bit-identical; without it
        one is painted. ``seed`` or ``generator``: one for all, or one for each sample of the batch, so that a
        sample looks the same whatever stands beside it. A single label map with several seeds gives a batch.
        Raises ``LabelMapError`` for maps and ``ModelError`` for frames and numbers that do not fit.
        """
        passes = list(
            self.stream(
                label_map,
                num_frames=num_frames,
                instance_map=instance_map,
                first_frame=first_frame,
                z=z,
                seed=seed,
                generator=generator,
            )
        )
        return join_passes(passes)

    @torch.inference_mode()
    def stream(
        self,
        label_map: Int[Tensor, "batch height width"] | str | Path,
        *,
        num_frames: int | None = None,
        instance_map: Int[Tensor, "batch height width"] | None = None,
        first_frame: Float[Tensor, "batch 3 height width"] | None = None,
        z: Latent | None = None,
        seed: int | Sequence[int] | None = None,
        generator: Generators = None,
    ) -> Iterator[GeneratedVideo]:
        """Yield the video pass by pass, arguments as in ``__call__``: memory does not grow with length."""
        # 1. Check inputs, put them on the device
        count = self.num_frames if num_frames is None else num_frames
        label_map = self._read(label_map)
        generators = _make_generators(label_map.shape[0], seed, generator)
        label_map = label_map.expand(len(generators), -1, -1).to(self.device)
        self.check_inputs(label_map, instance_map, first_frame, count)
        # 2. Which pixels belong together
        objects = self.find_objects(label_map, instance_map)
        # 3. Label map → first frame, unless the user brings one
        look = [self.first_frame.draw(1, g) for g in generators]
        drawn = [self.animator.flow_decoder.draw(o, g) for o, g in zip(objects.split(1), generators)]
        if first_frame is None:
            first_frame = self.first_frame(label_map, objects, _join(look).to(self.device))
        # 4. z ~ N(0, I), unless the user brings one
        z = _join(drawn) if z is None else z
        # 5. Pass by pass: motion → warp → refine → labels; the last frame starts the next pass
        state = _State(first_frame, label_map, instance_map, z, None)
        for start in range(0, max(count, 1), self.num_frames):
            chunk, state = self._one_pass(state, start, min(self.num_frames, count - start))
            yield chunk

    def check_inputs(
        self,
        label_map: Int[Tensor, "batch height width"],
        instance_map: Int[Tensor, "batch height width"] | None,
        first_frame: Float[Tensor, "batch 3 height width"] | None,
        num_frames: int,
    ) -> None:
        """Raise ``LabelMapError`` or ``ModelError`` for inputs that do not fit each other or the model."""
        height, width = label_map.shape[1:]
        if height % 32 or width % 32 or not label_map.numel():
            raise LabelMapError(
                expected(
                    "a label map whose width and height are multiples of 32",
                    got=f"{width}x{height}",
                    fix="fit it with seg2vid.labels.fit_label_map, or give its file's path",
                )
            )
        low, high = int(label_map.min()), int(label_map.max())
        if low < 0 or high > self.label_space.void_id:
            raise LabelMapError(
                expected(
                    f"ids 0 ... {self.label_space.void_id} of {self.label_space.name}",
                    got=f"{low} ... {high}",
                    fix="see what the map holds with: seg2vid labels check FILE",
                )
            )
        if num_frames < 0:
            raise ModelError(
                expected("0 or more frames after the first", got=num_frames, fix="ask for more")
            )
        if instance_map is not None and instance_map.shape[1:] != label_map.shape[1:]:
            size = "x".join(map(str, instance_map.shape[:0:-1]))
            fix = "fit both in the same way"
            what = f"an instance map of the label map's size {width}x{height}"
            raise LabelMapError(expected(what, got=size, fix=fix))
        self._check_first_frame(first_frame, label_map)

    def _check_first_frame(
        self,
        first_frame: Float[Tensor, "batch 3 height width"] | None,
        label_map: Int[Tensor, "batch height width"],
    ) -> None:
        """Raise ``ModelError`` for a first frame of another size or range."""
        if first_frame is None:
            return
        batch, height, width = label_map.shape
        if first_frame.shape != (batch, 3, height, width):
            raise ModelError(
                expected(
                    f"a first frame of shape {(batch, 3, height, width)}",
                    got=tuple(first_frame.shape),
                    fix="fit it as the label map was fitted: seg2vid.labels.fit_image",
                )
            )
        if not bool(((first_frame >= 0) & (first_frame <= 1)).all()):
            low, high = float(first_frame.min()), float(first_frame.max())
            raise ModelError(
                expected("colours in [0, 1]", got=f"{low:.3g} ... {high:.3g}", fix="divide by 255")
            )

    def find_objects(
        self,
        label_map: Int[Tensor, "batch height width"],
        instance_map: Int[Tensor, "batch height width"] | None,
    ) -> Int[Tensor, "batch coarse_height coarse_width"]:
        """Number the foreground objects, as the networks see them: 0 is background."""
        return find_objects(
            label_map,
            instance_map,
            foreground=self.label_space.foreground_ids,
            factor=OBJECT_FACTOR,
        )
