"""Futures that differ: many motions are drawn, which is cheap, and the most different are kept."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from seg2vid.geometry import scene_flow
from seg2vid.media.given import GivenMaps
from seg2vid.models.control import Control, steering
from seg2vid.models.key_frame import KeyFrame
from seg2vid.models.layers import OBJECT_FACTOR, coarse_labels
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Pictures
from seg2vid.tools.errors import ModelError

DRAWS = 8
"""Motions that are drawn for each that is kept."""

CoarseFlows = Float[Tensor, "draw 2 cell_height cell_width"]
Distances = Float[Tensor, "draw draw"]


@torch.inference_mode()
def pick_diverse(
    pipeline: Seg2VidPipeline,
    label_map: GivenMaps,
    count: int,
    *,
    instance_map: GivenMaps | None = None,
    first_frame: Pictures | None = None,
    scale: int = 1,
    control: Control | None = None,
    seed: int = 0,
    draws: int | None = None,
) -> list[int]:
    """Return ``count`` seeds whose videos move most differently, of ``draws`` from ``seed`` on.

    By default eight times ``count`` are drawn. None of their frames is made, only one first frame,
    from ``seed``, unless ``first_frame`` is given. ``label_map``, ``instance_map``, ``scale`` and
    ``control`` are the pipeline's, and what it raises is raised here.
    """
    draws = DRAWS * count if draws is None else draws
    if not 1 <= count <= draws:
        what, fix = f"1 to {draws} videos of {draws} draws", "draw more, or keep fewer"
        raise ModelError(what, got=count, fix=fix)
    flows = draw_flows(
        pipeline,
        label_map,
        range(seed, seed + draws),
        instance_map=instance_map,
        first_frame=first_frame,
        scale=scale,
        control=control,
    )
    return [seed + number for number in farthest_points(distances_of(flows), count)]


@torch.inference_mode()
def draw_flows(
    pipeline: Seg2VidPipeline,
    label_map: GivenMaps,
    seeds: Sequence[int],
    *,
    instance_map: GivenMaps | None = None,
    first_frame: Pictures | None = None,
    scale: int = 1,
    control: Control | None = None,
) -> CoarseFlows:
    """Return the forward flow of each seed after a pass, in pixels, on a grid of eighths."""
    begin = partial(pipeline, label_map, instance_map=instance_map, num_frames=1, scale=scale)
    if first_frame is None:
        first_frame = begin(seed=seeds[0]).first_frame
    still = begin(first_frame=first_frame, seed=list(seeds), control=control)
    frame, ids = F.avg_pool2d(still.first_frame[:1], scale), coarse_labels(still.label_map, scale)
    numbers = still.instance_map
    numbers = None if numbers is None else coarse_labels(numbers, scale)
    objects, flows = pipeline.find_objects(ids, numbers), []
    last = torch.tensor([pipeline.num_frames - 1], device=frame.device)
    for number in range(len(seeds)):
        one = slice(number, number + 1)
        steer = None
        if control is not None:
            maps = ids[one], None if numbers is None else numbers[one]
            steer = steering(control, pipeline.label_space, maps, 0.0, [0.0])
        z = still.z.sample(number)
        with pipeline.arithmetic():
            given = frame, ids[one], z, objects[one]
            apart = numbers is not None
            (key,) = pipeline.animator.begin(*given, steer=steer, told_apart=apart)
        if isinstance(key, KeyFrame):
            flow = scene_flow(key.drive.at(last))
        else:
            flow = key.show(last).motion.forward_flow
        flows.append(F.avg_pool2d(flow[:, 0].float(), OBJECT_FACTOR))
    return torch.cat(flows)


def distances_of(flows: CoarseFlows) -> Distances:
    """Return the mean distance in pixels between where two of them lead."""
    return torch.stack([(flows - one).norm(dim=1).mean((1, 2)) for one in flows])


def farthest_points(distances: Distances, count: int) -> list[int]:
    """Return the two points farthest apart, then again and again that farthest from all chosen."""
    chosen = [int(distances.amax(1).argmax())]
    while len(chosen) < count:
        nearest = distances[chosen].amin(0)
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
    return chosen
