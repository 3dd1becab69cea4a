"""What travels between the boxes: label map, clip, latent and motion. Read this first.

Conventions (full page: ``docs/conventions.md``): ``time`` counts the frames *after* the first
frame, which is kept apart; pictures are RGB in [0, 1]; label maps hold integer ids; flow is in
pixels, order (dx, dy), always between the first frame and frame t; a mask is named by what 1 means.

These classes carry data and check shapes; everything that computes lives elsewhere.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

Pictures = Float[Tensor, "batch 3 height width"]
Frames = Float[Tensor, "batch time 3 height width"]
Labels = Int[Tensor, "batch height width"]
LabelFrames = Int[Tensor, "batch time height width"]
Features = Float[Tensor, "batch channel height width"]
Flow = Float[Tensor, "batch 2 height width"]
Mask = Float[Tensor, "batch 1 height width"]
Flows = Float[Tensor, "batch time 2 height width"]
Masks = Float[Tensor, "batch time 1 height width"]
Objects = Int[Tensor, "batch coarse_height coarse_width"]
Hints = Float[Tensor, "batch 3 coarse_height coarse_width"]
InverseDepth = Float[Tensor, "batch height width"]

CarrierType = TypeVar("CarrierType", bound="Carrier")


class Carrier:
    """Base of the carriers: moving between devices and slicing the batch, field by field."""

    def __init_subclass__(cls) -> None:
        # A dataclass writes a text of its own unless there is one: that would print every number.
        cls.__repr__ = cls.__dict__.get("__repr__", Carrier.__repr__)  # type: ignore[method-assign]

    def __repr__(self) -> str:
        values = ((one.name, getattr(self, one.name)) for one in dataclasses.fields(self))  # type: ignore[arg-type]
        told = ((name, v.shape if isinstance(v, Tensor) else v) for name, v in values)
        parts = (f"{name}={tuple(v) if isinstance(v, torch.Size) else v!r}" for name, v in told)
        return f"{type(self).__name__}({', '.join(parts)})"

    def map(self: CarrierType, function: Callable[[Tensor], Tensor]) -> CarrierType:
        """Return a copy with ``function`` applied to every tensor, nested carriers included."""
        return _combine([self], lambda tensors: function(tensors[0]))

    def to(self: CarrierType, device: torch.device | str) -> CarrierType:
        """Return a copy with every tensor on ``device``."""
        return self.map(lambda tensor: tensor.to(device))

    def sample(self: CarrierType, index: int) -> CarrierType:
        """Return sample ``index`` of the batch, as a batch of one."""
        return self.map(lambda tensor: tensor[index : index + 1])


def join_batch(carriers: Sequence[CarrierType]) -> CarrierType:
    """Join carriers of one kind along the batch axis, nested ones included."""
    return _combine(carriers, torch.cat)


def _combine(
    carriers: Sequence[CarrierType], function: Callable[[list[Tensor]], Tensor]
) -> CarrierType:
    """Make one carrier of several: each of its tensors is a function of theirs."""
    changes: dict[str, object] = {}
    for field in dataclasses.fields(carriers[0]):  # type: ignore[arg-type]
        values = [getattr(carrier, field.name) for carrier in carriers]
        if isinstance(values[0], Tensor):
            changes[field.name] = function(values)
        elif isinstance(values[0], Carrier):
            changes[field.name] = _combine(values, function)
    return dataclasses.replace(carriers[0], **changes)  # type: ignore[type-var]


@dataclass(frozen=True)
class Motion(Carrier):
    """Where pixels go: flow in pixels, order (dx, dy), between the first frame and frame t.

    ``backward_flow`` lives on the grid of frame t and says where to read in the first frame;
    ``forward_flow`` lives on the grid of the first frame and says where its pixels go. (Paper: W^b,
    W^f, O^b, O^f of Sec. 3.2; the authors' code swaps the two names.)
    """

    forward_flow: Flows
    backward_flow: Flows
    forward_visible: Masks
    """1 where this pixel of the first frame is still visible in frame t."""
    backward_visible: Masks
    """1 where this pixel of frame t was visible in the first frame."""
    camera_path: Float[Tensor, "batch time 4"] | None = None
    """As in ``ScenePaths``, where motion was made of one."""
    inverse_depth: Float[Tensor, "batch time height width"] | None = None
    """Of frame t, in 1/m, where motion was made of depth."""
    source: LabelFrames | None = None
    """Row-major index of the pixel of the first frame that frame t shows, -1 where none is."""


@dataclass(frozen=True)
class Camera(Carrier):
    """A pinhole camera of square pixels, level in the first frame."""

    focal_length: Float[Tensor, " batch"]
    """In pixels."""
    centre: Float[Tensor, "batch 2"]
    """Pixel (x, y) of the optical axis; y is the row of the horizon."""


@dataclass(frozen=True)
class ScenePaths(Carrier):
    """How camera and objects move over the ground, in metres and radians since the first frame.

    Axes are those of the first camera; angles are positive to the right, pitch is positive upwards.
    """

    camera: Float[Tensor, "batch time 4"]
    """Forward, rightward, yaw, pitch."""
    objects: Float[Tensor, "batch object time 3"]
    """Forward, rightward, turn about its own pivot."""
    pivots: Float[Tensor, "batch object 2"]
    """Forward and rightward place of each object's middle in the first frame."""


@dataclass(frozen=True)
class Clip(Carrier):
    """A real or toy clip: what every dataset yields and every loss and metric reads."""

    first_frame: Pictures
    frames: Frames
    label_map: Labels
    """Ids of the first frame, 0 ... number of classes (the last one is void)."""
    label_maps: LabelFrames | None = None
    instance_map: Labels | None = None
    instance_maps: LabelFrames | None = None
    motion: Motion | None = None
    """Exact motion, where the source knows it (toy city)."""
    ego_motion: Float[Tensor, "batch time 3"] | None = None
    """Forward and rightward metres, yaw in radians (positive turns right), from the first frame."""
    inverse_depth: InverseDepth | None = None
    """Of the first frame, in 1/m, 0 on the sky, where the source knows it."""
    camera: Camera | None = None
    """Of the first frame, where the source knows it."""
    frames_per_second: float = 12.0


@dataclass(frozen=True)
class Latent(Carrier):
    """The latent z of the motion: one code for the background, one per foreground object.

    The foreground code is spatial but constant over each object: all zero outside foreground
    objects.
    """

    background: Float[Tensor, "batch background_code"]
    foreground: Float[Tensor, "batch foreground_code coarse_height coarse_width"]


@dataclass(frozen=True)
class Look(Carrier):
    """The noise behind one first frame: the same look and map give the same picture."""

    whole: Float[Tensor, "batch global_noise"]
    """Describes the whole picture: weather and light."""
    segments: Float[Tensor, "batch segment segment_noise"]
    """One row for each class, then one for each foreground object."""
    grain: Float[Tensor, "batch tall wide"] | None = None
    """Noise of single pixels, which does not depend on segments; repeated over large pictures."""
    kinds: Int[Tensor, "batch segment"] | None = None
    """Of a photograph's look: the class of each row, -1 where it has none of that segment."""


@dataclass(frozen=True)
class Posterior(Carrier):
    """q(z | clip, labels): a diagonal Gaussian over each part of the latent (paper Sec. 3.2)."""

    mean: Latent
    log_variance: Latent
    objects: Objects
    """Object number of every coarse cell, 0 = background: cells of one object share one code."""


@dataclass(frozen=True)
class Animation(Carrier):
    """What flow_decoder → warp → refiner return for one pass, in training and generation."""

    motion: Motion
    warped: Frames
    """The first frame, warped by ``backward_flow``; meaningless where ``backward_visible`` is 0."""
    refined: Frames
    label_logits: Float[Tensor, "batch time class half_height half_width"] | None = None
    """Labels at half resolution, used where nothing was visible; the paper's refiner has none."""
    label_maps: LabelFrames | None = None
    """Labels of the finished frames, where they are made and not trained on."""
    owners: LabelFrames | None = None
    """A pixel (row-major index) of the first frame's object that a pixel was painted to show, -1
    elsewhere.
    """
