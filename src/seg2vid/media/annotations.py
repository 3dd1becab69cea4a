"""What is known of a generated frame, in the units and formats that others read."""

from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from seg2vid.labels.convert import colourise, translate_ids
from seg2vid.labels.space import Ids, LabelSpace, get_label_space
from seg2vid.structures import Flow, Motion
from seg2vid.warp import backward_warp

DEPTH_UNITS = 256
"""Of depth files in a metre, as in KITTI's; 0 is unknown or sky, 65535 is 256 m or more."""

Plane = Float[Tensor, "*batch height width"]


def metres_of(inverse_depth: Plane) -> Plane:
    """Return depth along the camera's axis in metres, 0 where it is unknown or sky."""
    return torch.where(inverse_depth > 0, 1 / inverse_depth.clamp(min=1e-9), 0.0)


def depth_units(inverse_depth: Plane) -> Int[np.ndarray, "*batch height width"]:
    """Return depth as KITTI's files have it, in 16 bits."""
    units = (DEPTH_UNITS * metres_of(inverse_depth.double().cpu())).round().clamp(max=65535)
    return units.where(inverse_depth.cpu() <= 0, units.clamp(min=1)).int().numpy()


def camera_pose(
    forward: float, rightward: float, yaw: float, pitch: float
) -> Float[np.ndarray, "4 4"]:
    """Return the pose of a camera on its path: its points to those of the first camera.

    Axes are KITTI's, x right, y down, z forward. The camera turns right by ``yaw`` radians, then
    looks up by ``pitch``.
    """
    (sine, up), (cosine, level) = np.sin((yaw, pitch)), np.cos((yaw, pitch))
    turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    look = np.array([[1, 0, 0], [0, level, -up], [0, up, level]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn @ look, (rightward, 0, forward)
    return pose


def objects_in(
    label_maps: Int[np.ndarray, "*time height width"],
    instance_maps: Int[np.ndarray, "*time height width"],
    space: LabelSpace,
) -> list[tuple[int, int]]:
    """Return (class, number) of all objects, in order.

    A number that belongs to several classes is that of objects apart.
    """
    things = np.isin(label_maps, space.foreground_ids) & (instance_maps > 0)
    pairs = np.stack((label_maps[things], instance_maps[things]), -1)
    return [(int(kind), int(number)) for kind, number in np.unique(pairs, axis=0)]


def box_of(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """Return the box (x, y, width, height) around a mask with a pixel or more."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]


def boxes_in(ids: Ids, numbers: Ids, space: LabelSpace) -> list[dict[str, Any]]:
    """Return instance, class, box (x, y, width, height) and pixels of each object in a frame."""
    found = []
    for kind, number in objects_in(ids, numbers, space):
        mask = (ids == kind) & (numbers == number)
        facts = {"instance": number, "class": space.names[kind]}
        found.append({**facts, "box": box_of(mask), "pixels": int(mask.sum())})
    return found


def ade20k_colours(ids: Ids, space: LabelSpace) -> UInt8[np.ndarray, "height width 3"]:
    """Return a label map in the colours of ADE20K, which ControlNets read.

    Raises ``LabelMapError`` for classes that have no like there.
    """
    target = get_label_space("ade20k")
    return colourise(translate_ids(ids, space, target).ids, target)


def grey_of(inverse_depth: Plane, bounds: Sequence[float]) -> Plane:
    """Return inverse depth from 0, the lower of ``bounds`` or less, to 1; near is bright."""
    low, high = bounds
    return ((inverse_depth - low) / max(high - low, 1e-6)).clamp(0, 1)


def flow_between(before: Motion, after: Motion) -> Flow:
    """Return the flow from one frame to another, both read from the same first one.

    Each is the only frame of its motion. Where the former shows what the first frame does not, the
    two ways back tell how that moves.
    """
    back, further = before.backward_flow[:, 0], after.backward_flow[:, 0]
    seen = back + backward_warp(after.forward_flow[:, 0], back, mode="nearest")
    guess = back - backward_warp(further, back - further, mode="nearest")
    return torch.where(before.backward_visible[:, 0] > 0.5, seen, guess)


class Course:
    """How a video goes, frame by frame: which frame each is read from, and where its camera is."""

    def __init__(self, starts: Sequence[int] = ()) -> None:
        """``starts`` are the frames that passes start from; more may come."""
        self.starts = list(starts)
        self.references = [0]
        """For each frame, the one that it is read from."""
        self.poses = [np.eye(4)]
        """What takes points of each frame's camera to those of the first; axes are KITTI's."""
        self._shown = [0]
        self._before: Motion | None = None

    def go_on(self, number: int, path: Float[Tensor, "4"] | None) -> None:
        """Add frame ``number``, whose camera has gone as in ``ScenePaths`` since its reference."""
        reference = self.starts[bisect_left(self.starts, number) - 1] if number else 0
        self._shown.append(number)
        self.references.append(reference)
        if path is not None:
            self.poses.append(self.poses[reference] @ camera_pose(*path.tolist()))

    def flow_onward(self, motion: Motion, index: int | None) -> Float[Tensor, "2 height width"]:
        """Return the flow from the frame before to that added last, which is frame ``index`` of a
        pass; of the first frame (None) that to the next.
        """
        if index is None:
            flows = motion.forward_flow[0]
            return flows[0] if len(flows) else flows.new_zeros(flows.shape[1:])
        before, self._before = (
            self._before,
            motion.map(partial(torch.narrow, dim=1, start=index, length=1)),
        )
        if before is None or self.references[-1] == self._shown[-2]:
            return self._before.forward_flow[0, 0]
        if self.references[-2] == self._shown[-1]:
            return before.backward_flow[0, 0]  # on the way back, to the frame it is read from
        return flow_between(before, self._before)[0]
