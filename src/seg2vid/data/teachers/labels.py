"""Teachers that label real video: our own network, ONNX files, models of the Hugging Face hub."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from seg2vid.data.teachers.teacher import LabelTeacher, Probabilities
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.models.checkpoint import load_box, load_checkpoint
from seg2vid.models.segmenter import MULTIPLE, Segmenter
from seg2vid.models.weights import WEIGHTS_FILE, find_weights
from seg2vid.structures import Pictures
from seg2vid.tools.computing import Computing, PrecisionName
from seg2vid.tools.devices import choose_device, choose_precision, fast_arithmetic
from seg2vid.tools.environment import import_extra
from seg2vid.tools.errors import ModelError, Seg2VidError
from seg2vid.tools.files import check_regular, digest_of
from seg2vid.tools.hub import fetch_file
from seg2vid.tools.plain import read_plain

SEGMENTER = "segmenter"
"""Name of the bundled network, and of the box in its file."""
WORKING_PIXELS = 192 * 384
"""What our network looks at: half again as wide and high as its training pictures, in which objects
were enlarged by up to two; two points of mean IoU better than their own size.
"""
HUB_MULTIPLE = 32
"""Height and width of what a hub's network is shown are multiples of this."""
USUAL_HEIGHT = 512
"""Height of what a hub's network is shown where its configuration names none."""

ALIASES = {
    "tree": "vegetation",
    "plant": "vegetation",
    "grass": "terrain",
    "earth": "terrain",
    "pavement": "sidewalk",
    "pedestrian": "person",
    "bicyclist": "rider",
    "bike": "bicycle",
    "motorbike": "motorcycle",
    "minibike": "motorcycle",
    "van": "car",
}
"""Other names, in lower case and without spaces, of classes of street scenes."""


class BundledTeacher:
    """Our own network: the bundled one, or a weight file or folder of ours.

    It looks at ``pixels`` pixels of a picture of any size, on a ``device`` of its own or, without,
    on the pictures'. Raises ``ModelError`` where there is none.
    """

    def __init__(
        self,
        folder_or_name: str | Path = SEGMENTER,
        *,
        pixels: int = WORKING_PIXELS,
        device: torch.device | None = None,
        precision: PrecisionName = "auto",
    ) -> None:
        self.pixels, self.device, self.precision = pixels, device, precision
        path = find_weights(str(folder_or_name))
        checkpoint = load_checkpoint(path)
        config = checkpoint.config
        label = path.parent.name if path.name == WEIGHTS_FILE else path.stem
        self.name = f"seg2vid/{label}:{digest_of(path)[:12]}"
        self.space = LabelSpace.from_dict(config.label_space)
        self.network = Segmenter(config.segmenter, num_classes=self.space.void_id)
        load_box(self.network, checkpoint, SEGMENTER)
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def probabilities(self, pictures: Pictures) -> Probabilities:
        """Return how likely each class is at each pixel, for RGB in [0, 1] of any size."""
        size = list(pictures.shape[2:])
        scale = math.sqrt(self.pixels / (size[0] * size[1]))
        working = [max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in size]
        shown = F.interpolate(pictures.float(), working, mode="bicubic", antialias=True)
        device = self.device or pictures.device
        with fast_arithmetic(device, self.precision):
            logits = self.network.to(device)(shown.clamp(0, 1).to(device))
        return _resize(logits.float().softmax(1), size).to(pictures.device)


class OnnxTeacher:
    """Any segmenter in a file: RGB in [0, 1] (1, 3, height, width) in, logits of 19 classes out.

    Raises ``ModelError`` for a file that is missing or no such network, and ``Seg2VidError``
    where onnxruntime is not installed.
    """

    def __init__(self, path: Path) -> None:
        check_regular(path, "a segmenter", ModelError)
        runtime = import_extra("onnxruntime", "label")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers = ["CPUExecutionProvider"]
        try:
            self.session = runtime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # onnxruntime's errors share no base with a name
            what = f"an ONNX network in {path}"
            raise ModelError(what, got=str(error), fix="export it again") from error
        self.name = f"onnx:{path.stem}:{digest_of(path)[:12]}"
        self.space = get_label_space("cityscapes")
        self.size = self._check(path)

    def _check(self, path: Path) -> list[int | None]:
        """Return height and width of its input, None where they are free."""
        inputs, output = self.session.get_inputs(), self.session.get_outputs()[0]
        shape = inputs[0].shape
        is_picture = len(inputs) == 1 and len(shape) == 4 and shape[1] == 3
        is_map = len(output.shape) == 4 and output.shape[1] == self.space.void_id
        if not (is_picture and is_map):
            logits = f"logits (1, {self.space.void_id}, height, width)"
            what = f"a segmenter in {path}: one input (1, 3, height, width), output {logits}"
            got = f"input {[entry.shape for entry in inputs]}, output {output.shape}"
            raise ModelError(what, got=got, fix="export the logits of such a network")
        # A size that is free has a name instead of a number.
        return [side if isinstance(side, int) else None for side in shape[2:]]

    def probabilities(self, pictures: Pictures) -> Probabilities:
        """Return how likely each class is at each pixel, for RGB in [0, 1] of any size."""
        size = list(pictures.shape[2:])
        wanted = [own or given for own, given in zip(self.size, size, strict=True)]
        shown = _resize(pictures.float(), wanted).cpu().numpy()
        entry, output = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name
        # One by one: many exported networks take a batch of one only.
        logits = [self.session.run([output], {entry: one[None]})[0] for one in shown]
        likely = torch.from_numpy(np.concatenate(logits)).float().softmax(1)
        return _resize(likely, size).to(pictures.device)


class HubTeacher:
    """A semantic segmenter of the Hugging Face hub or in a folder; its classes match by name.

    It computes on a ``device`` of its own or, without, on the pictures'. Raises ``ModelError``
    where it cannot be loaded or knows none of the classes, and ``Seg2VidError`` where transformers
    is not installed.
    """

    def __init__(
        self,
        id_or_folder: str | Path,
        *,
        device: torch.device | None = None,
        precision: PrecisionName = "auto",
    ) -> None:
        self.device, self.precision = device, precision
        transformers = import_extra("transformers", "label")
        source = str(id_or_folder)
        self.name = f"hf:{source}"
        self.space = get_label_space("cityscapes")
        values = _read_preprocessor(source)  # first: a wrong name is told at once
        try:
            network = transformers.AutoModelForSemanticSegmentation.from_pretrained(source)
        except (OSError, ValueError, KeyError) as error:
            what, fix = "a semantic segmenter on the hub or in a folder", "check the name"
            got = f"{source!r} ({str(error)[:200]})"
            raise ModelError(what, got=got, fix=fix) from error
        self.network = network.eval().requires_grad_(False)
        self.pairs = match_classes(network.config.id2label, self.space)
        self.height = _read_height(values.get("size"))
        normalised = values.get("do_normalize", True)
        mean = values["image_mean"] if normalised else [0.0] * 3
        deviation = values["image_std"] if normalised else [1.0] * 3
        self.mean, self.deviation = (torch.tensor(v).view(3, 1, 1) for v in (mean, deviation))

    @torch.no_grad()
    def probabilities(self, pictures: Pictures) -> Probabilities:
        """Return how likely each class is at each pixel, for RGB in [0, 1] of any size."""
        device, size = self.device or pictures.device, list(pictures.shape[2:])
        wanted = [self.height, self.height * size[1] / size[0]]
        shown = _resize(pictures, [max(1, round(s / HUB_MULTIPLE)) * HUB_MULTIPLE for s in wanted])
        shown = (shown.to(device) - self.mean.to(device)) / self.deviation.to(device)
        with fast_arithmetic(device, self.precision):
            logits = self.network.to(device)(pixel_values=shown).logits
        # Classes that the label space lacks are left out before the probabilities are made.
        likely = _resize(logits.float()[:, list(self.pairs)], size).softmax(1)
        targets = torch.tensor(list(self.pairs.values()), device=device)
        joined = likely.new_zeros(len(pictures), self.space.void_id, *size)
        return joined.index_add_(1, targets, likely).to(pictures.device)


def match_classes(names: Mapping[int, str], space: LabelSpace) -> dict[int, int]:
    """Map a network's class numbers to ids of ``space`` by name; several may share one id.

    "traffic_light", "Traffic Light" and "light, traffic light" are all the class "traffic light".
    Raises ``ModelError`` where no name matches.
    """
    ids = {_plain(label.name): label.id for label in space.classes}
    pairs = {}
    for number, name in names.items():
        plain = [_plain(part) for part in name.split(",")]
        known = [part for p in plain for part in (p, ALIASES.get(p, p)) if part in ids]
        if known:
            pairs[int(number)] = ids[known[0]]
    if not pairs:
        what = f"a network with classes of {space.name}: {', '.join(space.names[:4])} ..."
        got = ", ".join(list(names.values())[:4])
        raise ModelError(what, got=got, fix="use one trained for that label space")
    return pairs


def get_label_teacher(name: str, computing: Computing | None = None) -> LabelTeacher:
    """Return the teacher of this name.

    ``segmenter`` is the bundled one; else a path of an .onnx file, ``hf:ID_OR_FOLDER``, or a
    weight file or folder of ours. ``computing`` says where it computes, by default where pictures
    are; an .onnx file does on the processor. Raises ``Seg2VidError`` for anything else.
    """
    how: dict[str, Any] = {}
    if computing is not None:
        device = choose_device(computing.device)
        how = {"device": device, "precision": choose_precision(computing.precision, device)}
    if name.startswith("hf:"):
        return HubTeacher(name.removeprefix("hf:"), **how)
    if name.endswith(".onnx"):
        return OnnxTeacher(Path(name))
    if name == SEGMENTER or Path(name).exists():
        return BundledTeacher(name, **how)
    what = f"a label teacher: {SEGMENTER}, FILE.onnx, hf:NAME, or a weight file of seg2vid"
    raise Seg2VidError(what, got=repr(name), fix="choose one, or check the path")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _resize(
    maps: Float[Tensor, "batch channel height width"], size: list[int]
) -> Float[Tensor, "batch channel tall wide"]:
    """Scale smoothly; a sum of 1 over the channels stays 1."""
    if list(maps.shape[2:]) == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", antialias=True)


def _read_preprocessor(source: str) -> dict[str, Any]:
    """Read how pictures are to be prepared; only numbers are needed, not the hub's own code."""
    name, fix = "preprocessor_config.json", "save the network with its image processor"
    path = Path(source) / name
    file = path if Path(source).is_dir() else fetch_file(source, name)
    values: dict[str, Any] = read_plain(file, name, error=ModelError, fix=fix)
    if not isinstance(values, dict):
        raise ModelError(f"a mapping in {file}", got=repr(values), fix=fix)
    missing = [key for key in ("image_mean", "image_std") if key not in values]
    if values.get("do_normalize", True) and missing:
        what, got = f"image_mean and image_std in {name} of {source}", f"no {missing[0]}"
        raise ModelError(what, got=got, fix="save it with its image processor")
    return values


def _read_height(size: Any) -> int:
    if isinstance(size, Mapping):
        size = size.get("height") or size.get("shortest_edge")
    return int(size) if size else USUAL_HEIGHT
