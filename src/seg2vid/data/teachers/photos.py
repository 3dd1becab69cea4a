"""Photos → label maps, by the bundled segmenter or another teacher."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

from seg2vid.data.teachers.labels import get_label_teacher
from seg2vid.data.teachers.teacher import LabelTeacher, label_clip
from seg2vid.geometry import dilate
from seg2vid.labels.space import Ids, LabelSpace
from seg2vid.media.given import to_planes
from seg2vid.media.video import Frame
from seg2vid.tools.computing import Computing
from seg2vid.tools.errors import MediaError

HANGING = {"pole", "polegroup", "trafficlight", "trafficsign"}
"""Classes that may hang in the sky; names as in ``LabelSpace.ids_named``."""
COMPARED_PIXELS = 1 << 20
"""Pixels at which the probabilities of all classes are compared: more would cost gigabytes."""


def label_photo(
    photo: Frame, teacher: LabelTeacher, *, min_confidence: float = 0.0
) -> tuple[Ids, Float[np.ndarray, "height width"]]:
    """Return the id of every pixel and the probability, 0 ... 1, of that class.

    Photo and mirror image count alike; of more than a million pixels a smaller picture is labelled.
    What floats in the sky is the sky, see ``clear_sky``; pixels no surer than ``min_confidence``
    are void.
    """
    height, width = photo.shape[:2]
    picture, scale = to_planes(photo)[None], math.sqrt(COMPARED_PIXELS / (height * width))
    if scale < 1:
        size = [max(1, round(side * scale)) for side in (height, width)]
        picture = F.interpolate(picture, size, mode="bilinear", antialias=True)
    ids, confidence = label_clip(teacher, picture, min_confidence=min_confidence)
    both = torch.stack((ids.float(), confidence), 1)
    whole = F.interpolate(both, (height, width), mode="nearest-exact")[0].numpy()
    return clear_sky(whole[0].astype(np.int64), teacher.space), whole[1]


def clear_sky(ids: Ids, space: LabelSpace) -> Ids:
    """Return a photo's ids with sky in place of what floats in it.

    That is all that no way leads to from the lower half of the picture but through the sky, except
    for lamps and signs, which may hang there, and what is void. What clouds and a glaring sun are
    taken for would come at the camera.
    """
    keeps = (*space.ids_named(HANGING), space.void_id)
    if not (sky := space.ids_named({"sky"})):
        return ids
    is_solid = torch.from_numpy(~np.isin(ids, sky))
    held = is_solid.clone()
    held[: len(ids) // 2] = False
    while not torch.equal(held, grown := dilate(held, 1, 1) & is_solid):
        held = grown
    return np.where((is_solid & ~held).numpy() & ~np.isin(ids, keeps), sky[0], ids)


def segment_photo(photo: Frame, space: LabelSpace, computing: Computing | None = None) -> Ids:
    """Label a photo with the bundled segmenter; raise ``MediaError`` for other classes."""
    teacher = get_label_teacher("segmenter", computing)
    if teacher.space.names != space.names:
        what = f"a model of the label space {teacher.space.name}, to label a photo for it"
        fix = "give the photo's label map: seg2vid animate PHOTO --labels MAP, or --look-labels MAP"
        raise MediaError(what, got=f"one of {space.name}", fix=fix)
    return label_photo(photo, teacher)[0]
