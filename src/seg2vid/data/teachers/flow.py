"""Teachers that measure the flow of real video: DIS and RAFT-small behind one interface."""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from seg2vid.data.teachers.teacher import FlowTeacher
from seg2vid.models.judges.raft_small import load_raft_small
from seg2vid.structures import Flow, Pictures
from seg2vid.tools.computing import Computing, PrecisionName
from seg2vid.tools.devices import choose_device, within_precision
from seg2vid.tools.environment import import_extra
from seg2vid.tools.errors import Seg2VidError

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are to the eye."""
TOGETHER = 8
"""Pairs that RAFT looks at in one pass: each holds 22 MB of correlations at 256x128."""


class DISFlow:
    """Dense inverse search (Kroeger et al., ECCV 2016), of OpenCV: 3 ms a pair at 256x128.

    Raises ``Seg2VidError`` where OpenCV is not installed.
    """

    name = "dis"

    def __init__(self) -> None:
        cv2 = import_extra("cv2", "train", "eval")
        self.search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def flow(self, first: Pictures, second: Pictures) -> Flow:
        """Return where each pixel of ``first`` lies in ``second``, in pixels."""
        luma = first.new_tensor(LUMA).view(3, 1, 1)
        greys = [
            ((pictures * luma).sum(1) * 255).round().clamp(0, 255).byte().cpu().numpy()
            for pictures in (first, second)
        ]
        flows = [self.search.calc(a, b, None) for a, b in zip(*greys, strict=True)]
        return rearrange(torch.from_numpy(np.stack(flows)), "b h w xy -> b xy h w").to(first.device)


class RaftFlow:
    """RAFT-small: fewer gross errors than DIS, a hundred times its cost.

    It looks at pictures enlarged ``scale`` times: 1 costs a quarter of 2 and is a fifth less exact.
    It computes on a ``device`` of its own or, without, on the pictures'.
    Raises ``ModelError`` where its weights are missing.
    """

    name = "raft"

    def __init__(
        self,
        judges: Path | None = None,
        *,
        scale: float = 2.0,
        device: torch.device | None = None,
        precision: PrecisionName = "auto",
    ) -> None:
        self.device, self.precision = device, precision
        self.network = load_raft_small(judges, scale=scale)

    @torch.no_grad()
    def flow(self, first: Pictures, second: Pictures) -> Flow:
        """Return where each pixel of ``first`` lies in ``second``, in pixels."""
        device = self.device or first.device
        network = self.network.to(device)
        pairs = zip(first.split(TOGETHER), second.split(TOGETHER), strict=True)
        with within_precision(self.precision):
            flows = [network(a.to(device), b.to(device)) for a, b in pairs]
        return torch.cat(flows).to(first.device)


TEACHERS = ("dis", "raft")


def get_flow_teacher(
    name: str, judges: Path | None = None, computing: Computing | None = None
) -> FlowTeacher:
    """Return the teacher ``dis`` or ``raft``, the latter with its weights from ``judges``.

    ``computing`` says where that computes, by default where pictures are. Raises ``Seg2VidError``
    for another name, and where what it needs is missing.
    """
    if name not in TEACHERS:
        what = f"a flow teacher, one of: {', '.join(TEACHERS)}"
        raise Seg2VidError(what, got=repr(name), fix="choose one of them")
    if name == "dis":
        return DISFlow()
    if computing is None:
        return RaftFlow(judges)
    device = choose_device(computing.device)
    return RaftFlow(judges, device=device, precision=computing.precision)
