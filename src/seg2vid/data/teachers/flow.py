"""Teachers that measure the flow of real video: DIS and RAFT-small behind one interface."""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from seg2vid.data.teachers.teacher import Flow, FlowTeacher, Pictures
from seg2vid.models.judges.raft_small import load_raft_small
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
    Raises ``ModelError`` where its weights are missing.
    """

    name = "raft"

    def __init__(self, judges: Path | None = None, *, scale: float = 2.0) -> None:
        self.network = load_raft_small(judges, scale=scale)

    @torch.no_grad()
    def flow(self, first: Pictures, second: Pictures) -> Flow:
        """Return where each pixel of ``first`` lies in ``second``, in pixels."""
        network = self.network.to(first.device)
        parts = [slice(start, start + TOGETHER) for start in range(0, len(first), TOGETHER)]
        return torch.cat([network(first[part], second[part]) for part in parts])


TEACHERS = ("dis", "raft")


def get_flow_teacher(name: str, judges: Path | None = None) -> FlowTeacher:
    """Return the teacher ``dis`` or ``raft``, the latter with its weights from ``judges``.

    Raises ``Seg2VidError`` for another name, and where what it needs is missing.
    """
    if name not in TEACHERS:
        what = f"a flow teacher, one of: {', '.join(TEACHERS)}"
        raise Seg2VidError(what, got=repr(name), fix="choose one of them")
    return DISFlow() if name == "dis" else RaftFlow(judges)
