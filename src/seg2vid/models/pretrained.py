"""The networks of a pipeline: built, loaded, kept, shared, and moved to a device."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from torch import Tensor

from seg2vid.labels.space import LabelSpace
from seg2vid.models.animator import Animator
from seg2vid.models.appearance_encoder import AppearanceEncoder
from seg2vid.models.cards import describe, prepare_card
from seg2vid.models.checkpoint import load_box, load_checkpoint, save_checkpoint
from seg2vid.models.config import ModelConfig
from seg2vid.models.first_frame import FirstFrame
from seg2vid.models.motion_decoder import GROUND
from seg2vid.models.weights import (
    WEIGHTS_FILE,
    find_weights,
    is_restricted,
    read_card,
    read_licence,
)
from seg2vid.tools.computing import PrecisionName
from seg2vid.tools.devices import (
    check_compiler,
    choose_device,
    choose_precision,
    fast_arithmetic,
    precision_here,
)
from seg2vid.tools.files import digest_of
from seg2vid.tools.hub import upload_folder

Networks = TypeVar("Networks", bound="Pretrained")
BOXES = ("first_frame", "animator")


class Pretrained:
    """First frame and animator with their configuration and where they come from."""

    def __init__(self, first_frame: FirstFrame, animator: Animator, config: ModelConfig) -> None:
        self.first_frame = first_frame.eval()
        self.animator = animator.eval()
        self.config = config
        self.label_space = LabelSpace.from_dict(config.label_space)
        self.height, self.width = config.height, config.width
        self.num_frames = config.num_frames
        self.frames_per_second = config.frames_per_second
        self.device = torch.device("cpu")
        self.precision: PrecisionName = "auto"
        self.provenance: dict[str, Any] = {}
        self.source: dict[str, str] = {}
        self.card = ""
        self.motion_encoder_weights: dict[str, Tensor] = {}
        self.appearance_encoder: AppearanceEncoder | None = None

    @classmethod
    def from_config(cls: type[Networks], config: ModelConfig) -> Networks:
        """Build untrained networks from a ``config``."""
        space = LabelSpace.from_dict(config.label_space)
        channels = space.num_channels
        first_frame = FirstFrame(
            config.first_frame,
            num_channels=channels,
            foreground=space.foreground_ids,
            ground=space.ids_named(GROUND),
        )
        return cls(first_frame, Animator(config, num_channels=channels), config)

    @classmethod
    def from_pretrained(
        cls: type[Networks], name_or_path: str | Path, *, boxes: Sequence[str] = BOXES
    ) -> Networks:
        """Load ``name_or_path``: a bundled model's name, a folder, a file, or ``user/name`` (hub).

        Only ``boxes`` are loaded: weights of the motion stage alone hold no ``first_frame``.
        Raises ``ModelError`` for an unknown name or a file that does not fit.
        """
        path = find_weights(str(name_or_path))
        checkpoint = load_checkpoint(path)
        networks = cls.from_config(checkpoint.config)
        for box in boxes:
            load_box(getattr(networks, box), checkpoint, box)
        networks.provenance = checkpoint.provenance
        if is_restricted(licence := read_licence(path)):
            networks.provenance = {**checkpoint.provenance, "licence": licence}
        networks.source = {"model": str(name_or_path), "model_sha256": digest_of(path)}
        networks.card = read_card(path)
        weights = checkpoint.weights.items()
        encoder = {name: tensor for name, tensor in weights if name.startswith("motion_encoder.")}
        networks.motion_encoder_weights = encoder
        if any(name.startswith("appearance_encoder.") for name in checkpoint.weights):
            channels = networks.label_space.num_channels
            reader = AppearanceEncoder(checkpoint.config.first_frame, num_channels=channels)
            load_box(reader, checkpoint, "appearance_encoder")
            networks.appearance_encoder = reader.eval()
        return networks

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

    def to(
        self: Networks, device: str | torch.device, *, precision: PrecisionName | None = None
    ) -> Networks:
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

    def compile(self: Networks) -> Networks:
        """Compile the networks where they are first used, which takes a minute or two.

        Raises ``Seg2VidError`` where there is no compiler. Results stay the same within rounding.
        """
        check_compiler()
        self.first_frame.compile()
        self.animator.compile_boxes()
        return self
