"""Where a pipeline is cut: the networks, whose tensors are plain and of fixed size but the batch.

Everything between them stays in Python, or in the page's JavaScript: which pixels belong together,
the scene's geometry, warps, and what was painted where. So no graph reads a picture at places that
another one says (GridSample), which runtimes do slowly.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seg2vid.media.generated import GeneratedVideo
from seg2vid.models.depth import DepthNetwork
from seg2vid.models.first_frame import FirstFrame
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Labels, Look, Pictures
from seg2vid.tools.devices import exact_arithmetic
from seg2vid.tools.errors import ModelError

Tensors = tuple[Tensor, ...]
Run = Callable[[str, Tensors], Tensors]
"""Computes a box: its name and inputs → its outputs."""
Call = tuple[Tensors, Tensors]
"""What a box was given, and returned."""
Calls = dict[str, list[Call]]


@dataclass(frozen=True)
class Box:
    """One network as a graph: ``module`` maps tensors to tensors, batch first."""

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class _FirstFrameGraph(nn.Module):
    def __init__(self, first_frame: FirstFrame) -> None:
        super().__init__()
        self.first_frame = first_frame

    def forward(
        self,
        labels: Tensor,
        segments: Tensor,
        whole: Tensor,
        looks: Tensor,
        grain: Tensor | None = None,
    ) -> Tensor:
        return self.first_frame.paint(labels, segments, Look(whole, looks, grain))


class _DepthGraph(nn.Module):
    def __init__(self, depth: DepthNetwork) -> None:
        super().__init__()
        self.depth = depth

    def forward(self, picture: Tensor, labels: Tensor, feet: Tensor) -> Tensors:
        return self.depth.predict(picture, labels, feet)


def boxes_of(pipe: Seg2VidPipeline) -> dict[str, Box]:
    """Return the boxes of a pipeline by name.

    Raises ``ModelError`` for the paper's networks, whose layers warp within.
    """
    decoder = pipe.animator.flow_decoder
    if not isinstance(decoder, MotionDecoder):
        what, fix = "a model whose motion is a scene's", "export another, as toycity"
        raise ModelError(what, got="the architecture paper", fix=fix)
    grain = ("grain",) if pipe.config.first_frame.grain else ()
    boxes = {
        "first_frame": Box(
            _FirstFrameGraph(pipe.first_frame),
            ("labels", "segments", "whole", "looks", *grain),
            ("picture",),
        ),
        "depth": Box(
            _DepthGraph(decoder.depth),
            ("picture", "labels", "feet"),
            ("logarithm", "camera", "features"),
        ),
        "scene": Box(decoder.scene, ("features",), ("scene",)),
        "camera": Box(decoder.camera, ("seen",), ("knots",)),
        "objects": Box(decoder.objects, ("seen",), ("knots",)),
        "residual": Box(decoder.residual, ("seen",), ("flow",)),
    }
    if (refiner := pipe.animator.refiner) is not None:
        inputs = ("warped", "visible", "labels", "first_frame")
        boxes["refiner"] = Box(refiner, inputs, ("picture", "logits"))
    return boxes


class _Served(nn.Module):
    """Stands for a network that is computed elsewhere."""

    def __init__(self, name: str, run: Run) -> None:
        super().__init__()
        self.name, self.run = name, run

    def forward(self, *inputs: Tensor) -> Any:
        outputs = self.run(self.name, inputs)
        return outputs if len(outputs) > 1 else outputs[0]


class _ServedFirstFrame(FirstFrame):
    """Draws looks itself, and finds those of photographs; first frames are painted elsewhere."""

    def __init__(self, own: FirstFrame, run: Run) -> None:
        with torch.device("meta"):
            super().__init__(
                own.config,
                num_channels=own.num_channels,
                foreground=own.foreground,
                ground=own.ground,
            )
        self.load_state_dict(own.state_dict(), assign=True)
        self.run = run
        self.nearest_known = own.nearest_known  # type: ignore[method-assign]  # small pictures

    def paint(self, label_map: Labels, segments: Labels, look: Look, scale: int = 1) -> Pictures:
        if scale > 1:
            what, fix = "first frames of the size of the exported graphs", "leave the runtime out"
            raise ModelError(what, got=f"{scale} times that", fix=fix)
        grain = () if look.grain is None else (look.grain,)
        return self.run("first_frame", (label_map, segments, look.whole, look.segments, *grain))[0]


class _ServedDepth(DepthNetwork):
    def __init__(self, own: DepthNetwork, config: Any, run: Run) -> None:
        about: dict[str, Any] = {"sky": own.sky, "thin": own.thin, "ground": own.ground}
        with torch.device("meta"):
            super().__init__(config, num_channels=len(own.embedding.table), **about)
        self.load_state_dict(own.state_dict(), assign=True)
        self.run = run

    def predict(self, picture: Tensor, label_map: Tensor, feet: Tensor) -> Any:
        return self.run("depth", (picture, label_map, feet))


def serve(pipe: Seg2VidPipeline, run: Run) -> Seg2VidPipeline:
    """Return a pipeline like this one whose boxes are computed by ``run``."""
    boxes = boxes_of(pipe)
    served = copy.deepcopy(pipe)
    decoder = served.animator.flow_decoder
    assert isinstance(decoder, MotionDecoder)  # noqa: S101
    served.first_frame = _ServedFirstFrame(served.first_frame, run).eval()
    decoder.depth = _ServedDepth(decoder.depth, pipe.config.depth, run).eval()
    for name in boxes.keys() - {"first_frame", "depth"}:
        owner = served.animator if name == "refiner" else decoder
        setattr(owner, name, _Served(name, run))
    return served


@torch.inference_mode()
def record_calls(pipe: Seg2VidPipeline, label_maps: Labels) -> tuple[Calls, GeneratedVideo]:
    """Return what the boxes compute, in float32, while videos of label maps are made, and these.

    Every box is called, and with the whole batch at least once.
    """
    boxes = boxes_of(pipe)
    calls: Calls = {name: [] for name in boxes}

    def run(name: str, inputs: Tensors) -> Tensors:
        inputs = tuple(one.clone() for one in inputs)  # what it was may be written over
        outputs = boxes[name].module(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        calls[name].append((inputs, outputs))
        return outputs

    with exact_arithmetic():
        video = try_out(serve(pipe, run), label_maps)
        if "refiner" in boxes:
            # As if the right quarter had come into view: a video may hide nothing.
            visible = torch.ones_like(video.first_frame[:, :1])
            visible[..., -pipe.width // 4 :] = 0
            first = video.first_frame
            run("refiner", (first * visible, visible, video.label_map, first))
    return calls, video


def try_out(pipe: Seg2VidPipeline, label_maps: Labels) -> GeneratedVideo:
    """Make a video of one pass of each map, with seeds 0, 1, ..."""
    seeds = list(range(len(label_maps)))
    return pipe(label_maps, num_frames=pipe.num_frames + 1, seed=seeds)
