"""Checkpoints that the paper's authors released, as weights of the paper's networks here.

The layers are the same. Theirs put the code before the picture where ours put it after, and the
picture before the code's share of each time; their flow has the other sign, their two masks the
other order, and convolutions before batch norm have biases, which are the same as lower means.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from seg2vid.labels.space import get_label_space
from seg2vid.models.animator import Animator
from seg2vid.models.checkpoint import Checkpoint, load_box, save_checkpoint
from seg2vid.models.config import ModelConfig, PaperConfig, preset
from seg2vid.models.judges.files import read_official
from seg2vid.models.paper import CODE_CHANNELS, REFINER_DOWN, REFINER_UP, PaperMotionEncoder
from seg2vid.tools.errors import ModelError

Weights = dict[str, Tensor]

BRANCHES = {"motion_net_bg": 0, "motion_net_fg": 1, "motion_net": 0}
"""Their motion encoders, by the place ours have."""
LEFT_OUT = ("vgg_net.", "floww.")
"""What their files hold besides the networks."""


def _layers() -> Iterator[tuple[str, str]]:
    """Yield (theirs, ours) of every layer, and of every batch norm."""
    decoder, refiner = "animator.flow_decoder", "animator.refiner"

    def block(theirs: str, ours: str, first: int = 0) -> Iterator[tuple[str, str]]:
        """A convolution with its batch norm, the ``first`` and the next of a chain."""
        return ((f"{theirs}.{first + i}", f"{ours}.{i}") for i in (0, 1))

    def up(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
        for i in (0, 1):
            yield from block(theirs, f"{ours}.{i}", 3 * i)

    yield "encoder.econv1.main.0", f"{decoder}.to_half.0"
    for number, size in enumerate(("quarter", "eighth", "sixteenth"), 2):
        yield from block(f"encoder.econv{number}.main", f"{decoder}.to_{size}")
    yield from (("fc", f"{decoder}.spread_code"), ("zconv.main.0", f"{decoder}.fuse.0"))
    yield from block("flow_decoder.dconv1.main", f"{decoder}.decode_sixteenth.0")
    steps = ("decode_sixteenth.1", "decode_eighth", "decode_quarter")
    for number, step in enumerate(steps, 2):
        yield from up(f"flow_decoder.dconv{number}.main", f"{decoder}.{step}")
    for number, size in enumerate(("quarter", "half"), 1):
        for i, part in enumerate(("conv", "bn")):
            yield f"flow_decoder.gateconv{number}.{part}", f"{decoder}.time_{size}.{i}"
    for theirs, ours in (
        ("flownext", "backward"),
        ("flowprev", "forward"),
        ("get_mask", "visible"),
    ):
        yield from up(f"{theirs}.main.0.main", f"{decoder}.{ours}_head.0")
        yield f"{theirs}.main.1", f"{decoder}.{ours}_head.1"
    for theirs, place in BRANCHES.items():
        ours = f"motion_encoder.encoders.{place}"
        yield from ((f"{theirs}.main.0", f"{ours}.body.0"), (f"{theirs}.main.14", f"{ours}.body.6"))
        for i in range(4):
            yield from block(f"{theirs}.main", f"{ours}.body.{i + 2}", 3 * i + 2)
        yield from ((f"{theirs}.fc1", f"{ours}.mean"), (f"{theirs}.fc2", f"{ours}.log_variance"))
    down, back = "refine_net.image_encoder", "refine_net.image_decoder"
    yield from (
        *block(f"{down}.c6", f"{refiner}.to_code"),
        (f"{back}.upc6.1", f"{refiner}.to_picture"),
    )
    yield from block(f"{back}.upc1", f"{refiner}.from_code")
    for side, name, first, chains in ((down, "down", 1, REFINER_DOWN), (back, "up", 2, REFINER_UP)):
        part = "c" if name == "down" else "upc"
        for i, chain in enumerate(chains):
            for j in range(len(chain)):
                theirs = f"{side}.{part}{i + first}.{j}.main"
                yield from block(theirs, f"{refiner}.{name}.{i}.{j}")


def convert_authors(path: Path, output: Path) -> ModelConfig:
    """Write the released checkpoint at ``path`` to ``output``; return the networks it is of.

    Size and rate, which it does not hold, are those of the paper: Cityscapes' for a model that
    sees labels, else UCF-101's. Raises ``ModelError`` for any other file.
    """
    stored = {name.removeprefix("module."): one for name, one in read_official(path).items()}
    stored = {name: one for name, one in stored.items() if not name.startswith(LEFT_OUT)}
    config, places = _config_of(stored, path), dict(_layers())
    own: Weights = {}
    for name, tensor in stored.items():
        layer, _, kind = name.rpartition(".")
        own[f"{places.get(layer, layer)}.{kind}"] = tensor.float()
    with torch.device("meta"):
        boxes: dict[str, nn.Module] = {
            "animator": Animator(config, num_channels=get_label_space("cityscapes").num_channels),
            "motion_encoder": PaperMotionEncoder(config),
        }
    wanted = {
        f"{box}.{name}": tensor.shape
        for box, one in boxes.items()
        for name, tensor in one.state_dict().items()
    }
    for name in [name for name in own if name.endswith(".0.bias") and name not in wanted]:
        if (norm := name.replace(".0.bias", ".1.running_mean")) in own:
            own[norm] = own[norm] - own.pop(name)
    lacking = [name for name in wanted if name.endswith("_tracked") and name not in own]
    own |= {name: torch.tensor(0) for name in lacking}
    shapes = {name: tensor.shape for name, tensor in own.items()}
    if wrong := sorted({name for name, _ in wanted.items() ^ shapes.items()}):
        raise _foreign(path, f"missing, unknown or of another shape {', '.join(wrong[:3])}")
    decoder = "animator.flow_decoder"
    fuse, first = f"{decoder}.fuse.0.weight", f"{decoder}.decode_sixteenth.0.0.weight"
    own[fuse] = own[fuse].roll(-CODE_CHANNELS, 1)
    own[first] = own[first].roll(16, 1)
    for kind in ("weight", "bias"):
        own[f"{decoder}.backward_head.1.{kind}"] *= -1
        own[f"{decoder}.visible_head.1.{kind}"] = own[f"{decoder}.visible_head.1.{kind}"].flip(0)
    for box, module in boxes.items():
        load_box(module.to_empty(device="cpu"), Checkpoint(config, own, {}), box)
    save_checkpoint(output, boxes, config, {"converted": path.name}, half=False)
    return config


def _foreign(path: Path, got: str) -> ModelError:
    what, fix = f"a checkpoint of the paper's authors at {path}", "take one that they released"
    return ModelError(what, got=got, fix=fix)


def _config_of(stored: Weights, path: Path) -> ModelConfig:
    """Return which of the paper's networks these are the weights of."""
    try:
        inputs = stored["encoder.econv1.main.0.weight"].shape[1]
        frames = stored["zconv.main.0.weight"].shape[0] // 16
        codes = [
            stored[f"{name}.fc1.weight"].shape[0]
            for name in BRANCHES
            if f"{name}.fc1.weight" in stored
        ]
    except (KeyError, IndexError):
        codes = []
    if not codes:
        raise _foreign(path, f"{', '.join(sorted(stored)[:3]) or 'nothing'} ...")
    if len(codes) == 1:
        codes = [codes[0] // 2, codes[0] - codes[0] // 2]
        base = replace(preset("paper"), semantics="joint") if inputs > 3 else preset("paper-ucf101")
    else:
        base = preset("paper")
    paper = PaperConfig(1 if inputs in (1, 21) else 3, codes[0], codes[1])
    space, refined = get_label_space("cityscapes").to_dict(), "refine_net.image_encoder.c6.0.weight"
    return replace(
        base, label_space=space, num_frames=frames, paper=paper, refinement=refined in stored
    )
