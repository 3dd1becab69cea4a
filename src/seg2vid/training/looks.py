"""Known looks of a trained model, learned anew from pictures: theirs are what it paints about."""

import copy
from collections.abc import Iterator

import torch

from seg2vid.data.clips import ClipSource
from seg2vid.models.appearance_encoder import AppearanceEncoder
from seg2vid.models.looks import KnownLooks
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Clip
from seg2vid.tools.errors import ModelError


def learn_looks(pipe: Seg2VidPipeline, source: ClipSource, *, seed: int = 0) -> Iterator[int]:
    """Replace the looks that a model knows by those of the pictures of ``source``; yield how many
    pictures were seen after each.

    All are seen once, in an order that ``seed`` says, every other one with its instance map; of
    what there is more than the model has room for, the last stays. Raises ``ModelError`` for a
    model that knows no looks or lacks their encoder.
    """
    known, encoder = pipe.first_frame.known, pipe.appearance_encoder
    if known is None or encoder is None:
        what, fix = "a model that knows looks, with their encoder", "take another, as street"
        raise ModelError(what, got=repr(pipe), fix=fix)
    fresh = copy.deepcopy(known)
    for kept in (fresh.segments, fresh.areas, fresh.filled):
        kept.zero_()
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    for number, index in enumerate(order.tolist(), start=1):
        clip = source.read_still(index, number).to(pipe.device)
        with torch.no_grad():
            _learn_from(pipe, encoder, fresh, clip, with_instances=number % 2 == 1)
        yield number
    pipe.first_frame.known = fresh


def _learn_from(
    pipe: Seg2VidPipeline,
    encoder: AppearanceEncoder,
    known: KnownLooks,
    clip: Clip,
    *,
    with_instances: bool,
) -> None:
    objects = pipe.find_objects(clip.label_map, clip.instance_map if with_instances else None)
    rows = pipe.first_frame.segments(clip.label_map, objects)
    seen = encoder(clip.first_frame, clip.label_map, rows)
    spread = seen.log_variance.map(lambda one: (0.5 * one).exp())
    classes = pipe.first_frame.object_classes(clip.label_map, objects)
    known.learn(seen.mean, spread, seen.areas, classes)
