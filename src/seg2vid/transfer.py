"""Motion transfer: the motion of a real clip as a code, played on other first frames and mixed.

Paper Sec. 3.2 has the motion encoder in training alone; here it also serves who wants "move like
this clip". The background code says how the camera moves and fits any picture; a foreground code
belongs to an object and has to find its like in the new picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from seg2vid.media.generated import GeneratedVideo
from seg2vid.media.given import check_inputs
from seg2vid.models.checkpoint import Checkpoint, load_box
from seg2vid.models.control import Control
from seg2vid.models.latent_search import follow_camera, search_latent
from seg2vid.models.layers import MAX_OBJECTS, OBJECT_FACTOR, enlarge_labels, pool_rows, spread_rows
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.models.motion_encoder import build_motion_encoder
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Carrier, Labels, Latent, Objects, Pictures
from seg2vid.tools.errors import ModelError

Instances = Labels | None
GivenLabels = Int[Tensor, "maps map_height map_width"]
Codes = Float[Tensor, "row code"]
Places = Float[Tensor, "object 4"]

PARTS = ("background", "foreground")
FAR = 10.0
"""Added to the distance, in picture sizes, of an object of another class: its like comes first."""


@dataclass(frozen=True)
class MotionCode(Carrier):
    """The motion of a clip: a z near the mean of q(z | clip, labels), and whose its codes are."""

    z: Latent
    objects: Objects
    """Object number of every coarse cell, 0 = background."""
    label_map: Labels
    """Ids of the clip's first frame."""
    camera: Float[Tensor, "batch time 4"] | None = None
    """The camera's path in metres and radians, where motion is a scene's."""


@torch.inference_mode()
def encode_motion(
    pipeline: Seg2VidPipeline,
    clip: Float[Tensor, "batch every_frame 3 height width"],
    label_map: GivenLabels,
    *,
    instance_map: GivenLabels | None = None,
) -> MotionCode:
    """Encode the motion of a ``clip`` of RGB in [0, 1], its first frame included.

    Of a scene that is the mean of q(z | clip, labels), then searched for what decodes to the paths
    that ``Animator.track`` reads off the clip.

    ``label_map`` and ``instance_map`` are the first frame's. Frames after the ``num_frames`` of one
    pass are not looked at. Raises ``ModelError`` for a ``pipeline`` without motion encoder and for
    a clip that is too short or of another size than the model's, ``LabelMapError`` for foreign ids.
    """
    needed = pipeline.num_frames + 1
    size = (label_map.shape[0], pipeline.height, pipeline.width)
    if clip.shape[1] < needed:
        what, got = f"a clip of at least {needed} frames", f"{clip.shape[1]}"
        raise ModelError(what, got=got, fix="give more frames, or take fewer out")
    if (clip.shape[0], *clip.shape[3:]) != size or label_map.shape != size:
        what = f"clip and label map of {pipeline.width}x{pipeline.height}, one map for each clip"
        got = f"{tuple(clip.shape)} and {tuple(label_map.shape)}"
        raise ModelError(what, got=got, fix="fit both with seg2vid.labels.fit")
    clip = clip.to(pipeline.device)[:, :needed]
    label_map = label_map.to(pipeline.device)
    check_inputs(label_map, instance_map, None, space=pipeline.label_space)
    objects = pipeline.find_objects(label_map, instance_map)
    weights = pipeline.motion_encoder_weights
    if not weights:
        what, fix = "a model with its motion encoder", "assemble it from a whole motion run"
        raise ModelError(what, got="one that can only generate", fix=fix)
    encoder = build_motion_encoder(pipeline.config)
    load_box(encoder, Checkpoint(pipeline.config, weights, {}), "motion_encoder")
    encoder.to(pipeline.device).eval()
    pictures, animator = (clip[:, 0], clip[:, 1:], label_map), pipeline.animator
    apart = instance_map is not None
    seen = animator.look(clip[:, 0], label_map, objects, told_apart=apart)
    if seen is not None and pipeline.config.semantics == "split":
        objects = seen.objects
    paths = animator.track(*pictures, objects)
    posterior = encoder(*pictures, objects, *([paths] if paths else []))
    decoder = animator.flow_decoder
    if seen is None or paths is None or not isinstance(decoder, MotionDecoder):
        return MotionCode(posterior.mean, objects, label_map)
    z = search_latent(decoder, seen, posterior.mean, paths)
    return MotionCode(z, objects, label_map, paths.camera)


@torch.inference_mode()
def place_motion(
    pipeline: Seg2VidPipeline,
    code: MotionCode,
    label_map: Labels,
    *,
    instance_map: Instances = None,
    first_frame: Pictures | None = None,
) -> Latent:
    """Return the z with which another first frame moves like the clip that ``code`` is of.

    The background code stays or, with the ``first_frame`` (RGB in [0, 1]), becomes the one near it
    with which the camera drives the clip's path there, too. Each object of the new frame, told
    apart by ``label_map`` and ``instance_map``, takes the code of the clip's object that is nearest
    in the picture, one of its own class if there is one; where the clip had no objects, the mean of
    the prior. In the very scene of the clip all of z stays, as does that of a ``pipeline`` whose z
    is not bound to objects (the paper's, or without a split).
    """
    label_map = label_map.to(pipeline.device)
    instance_map = None if instance_map is None else instance_map.to(pipeline.device)
    objects = pipeline.find_objects(label_map, instance_map)
    z = code.z
    if _is_of(code, label_map):
        return z
    if z.foreground.shape[2:] != code.objects.shape[1:] or not z.foreground.shape[1]:
        return z
    things = pipeline.label_space.foreground_ids
    codes = pool_rows(z.foreground, code.objects, MAX_OBJECTS + 1)
    foreground = []
    for i, own in enumerate(codes):
        theirs = _describe(code.objects[i], code.label_map[i], things)
        foreground.append(_take_codes(own, theirs, _describe(objects[i], label_map[i], things)))
    z = Latent(z.background, spread_rows(torch.stack(foreground), objects))
    decoder = pipeline.animator.flow_decoder
    if first_frame is None or code.camera is None or not isinstance(decoder, MotionDecoder):
        return z
    given = first_frame.to(pipeline.device), label_map, objects
    seen = pipeline.animator.look(*given, told_apart=instance_map is not None)
    return z if seen is None else follow_camera(decoder, seen, z, code.camera)


def _is_of(code: MotionCode, label_map: Labels) -> bool:
    """Return whether a label map is that of the clip itself."""
    return torch.equal(code.label_map.to(label_map.device), label_map)


def _describe(
    objects: Int[Tensor, "coarse_height coarse_width"],
    label_map: Int[Tensor, "height width"],
    foreground: tuple[int, ...],
) -> Places:
    """Return (number, class, x, y) of every object, its middle in picture sizes."""
    height, width = objects.shape
    fine = enlarge_labels(objects, OBJECT_FACTOR)
    is_foreground = torch.isin(label_map, label_map.new_tensor(foreground))
    rows = []
    for number in range(1, int(objects.max()) + 1):
        y, x = torch.nonzero(objects == number, as_tuple=True)
        own = label_map[(fine == number) & is_foreground]
        if len(x) and len(own):
            middle_x, middle_y = (float(part.float().mean()) + 0.5 for part in (x, y))
            most = int(torch.mode(own).values)
            rows.append((number, most, middle_x / width, middle_y / height))
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def _take_codes(codes: Codes, theirs: Places, ours: Float[Tensor, "own_object 4"]) -> Codes:
    """Give each of our objects the code of its nearest like; 0 for all if there are none."""
    table = torch.zeros_like(codes)
    if len(theirs) and len(ours):
        distance = torch.cdist(ours[:, 2:], theirs[:, 2:])
        distance = distance + FAR * (ours[:, 1:2] != theirs[:, 1])
        table[ours[:, 0].long()] = codes[theirs[distance.argmin(1), 0].long()]
    return table


@torch.inference_mode()
def interpolate_codes(first: Latent, second: Latent, weight: float) -> Latent:
    """Return the z on the straight line from ``first`` (``weight`` 0) to ``second`` (1).

    Both must be of the same first frame: raises ``ModelError`` otherwise.
    """
    shapes = [(z.background.shape, z.foreground.shape) for z in (first, second)]
    if shapes[0] != shapes[1]:
        what, got = "two codes of one first frame", f"shapes {shapes[0]} and {shapes[1]}"
        raise ModelError(what, got=got, fix="bring both to it with place_motion")
    background = torch.lerp(first.background, second.background, weight)
    return Latent(background, torch.lerp(first.foreground, second.foreground, weight))


@torch.inference_mode()
def resample_code(
    pipeline: Seg2VidPipeline,
    z: Latent,
    label_map: Labels,
    part: str,
    *,
    instance_map: Instances = None,
    generator: torch.Generator | None = None,
) -> Latent:
    """Draw one ``part`` of ``z`` anew from N(0, I) and keep the other.

    ``label_map`` and ``instance_map`` say where the objects are, ``generator`` makes the draw
    repeatable. Raises ``ModelError`` for a part that the ``pipeline``'s z does not have.
    """
    if part not in PARTS:
        what = "a part of z: background or foreground"
        raise ModelError(what, got=repr(part), fix="name one of them")
    if part == "foreground" and pipeline.config.semantics != "split":
        what, got = "a model that encodes foreground apart", pipeline.config.semantics
        raise ModelError(what, got=got, fix="resample the background: it is all of z")
    objects = pipeline.find_objects(label_map, instance_map).to(pipeline.device)
    drawn = pipeline.animator.flow_decoder.draw(objects, generator)
    return replace(z, **{part: getattr(drawn, part)})


def play_motion(
    pipeline: Seg2VidPipeline,
    codes: Sequence[MotionCode],
    label_map: Labels,
    *,
    num_frames: int,
    instance_map: Instances = None,
    first_frame: Pictures | None = None,
    seed: int = 0,
    frames_per_second: float | None = None,
    speed: float = 1.0,
    scale: int = 1,
) -> Iterator[GeneratedVideo]:
    """Yield a video of ``num_frames`` frames; the n-th pass moves like ``codes[n]``.

    After the last code its motion goes on. ``first_frame`` in [0, 1] or, without, one painted from
    ``seed``; ``label_map``, ``instance_map``, ``frames_per_second``, ``speed`` and ``scale`` as in
    ``Seg2VidPipeline``. The clip's own scene moves as it did; elsewhere the motion is ``careful``,
    see ``Control``. Raises as the ``pipeline`` does.
    """
    rate = pipeline.frames_per_second if frames_per_second is None else frames_per_second
    per_pass = max(1, round(pipeline.num_frames * rate / (pipeline.frames_per_second * speed)))
    is_scene = isinstance(pipeline.animator.flow_decoder, MotionDecoder)
    seen = (..., slice(scale // 2, None, scale), slice(scale // 2, None, scale))
    session, control, look, last = None, None, None, num_frames - 1
    for code in codes:
        things = None if instance_map is None else instance_map[seen]
        if first_frame is None:
            painted = pipeline.start(
                label_map, instance_map=instance_map, seed=seed, scale=scale
            ).first
            first_frame, look = painted.first_frame, painted.look
        small = F.avg_pool2d(first_frame, scale)
        z = place_motion(pipeline, code, label_map[seen], instance_map=things, first_frame=small)
        if session is None:
            session = pipeline.start(
                label_map,
                instance_map=instance_map,
                first_frame=first_frame,
                z=z,
                seed=seed,
                frames_per_second=frames_per_second,
                speed=speed,
                scale=scale,
            )
            if is_scene and _is_of(code, label_map[seen]):
                # What happened in the clip itself is not to be mended.
                control = Control(careful=False)
        else:
            session.move_as(z)
        if last == 0:
            yield replace(session.first, look=look)
        stop = last if code is codes[-1] else min(last, session.count + per_pass)
        while session.count < stop:
            chunk = session.make_pass(stop, control)
            yield replace(chunk, look=look)
            first_frame, label_map = chunk.frames[:, -1], chunk.label_maps[:, -1]
            instance_map = None if chunk.instance_maps is None else chunk.instance_maps[:, -1]
        if session.count >= last:
            return
