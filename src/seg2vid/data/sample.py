"""A clip as one WebDataset sample: small files whose names share a key, as they lie in a shard.

::

    KEY.00.jpg            first frame, then 01.jpg ... for the others (or png)
    KEY.00.labels.png     label map: class ids, 255 for void
    KEY.00.instances.png  object numbers, 16 bit, 0 = no object; all frames have one or none has
    KEY.motion.safetensors  flow in half precision and visibility, where they were kept
    KEY.json              frame rate, recording, start, figures of motion
"""

import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Integer, Shaped, UInt16
from PIL import Image
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from seg2vid.data.clips import clip_of
from seg2vid.labels.convert import from_file_ids, to_file_ids
from seg2vid.labels.space import LabelSpace
from seg2vid.media.pictures import MOST_PIXELS
from seg2vid.structures import Clip, Motion
from seg2vid.tools.errors import LabelMapError, MediaError

Sample = dict[str, bytes]
"""File contents by what follows the key and its dot."""

JPEG_QUALITY = 95
"""With full colour resolution: 38 dB or more on the clips it was chosen on."""
MOST_OBJECTS = 65_535
"""The largest number in a 16-bit file."""
MOTION_FILE = "motion.safetensors"
MOTION = {
    "forward_flow": torch.half,
    "backward_flow": torch.half,
    "forward_visible": torch.bool,
    "backward_visible": torch.bool,
}
"""What is stored of motion, and how."""


def encode_clip(
    clip: Clip, space: LabelSpace, facts: Mapping[str, Any], *, lossless: bool = False
) -> Sample:
    """Turn a batch of one into the files of a sample; ``facts`` go into its json.

    Pictures are JPEG unless ``lossless``. Frames without label map are all void.
    """
    files: Sample = {}
    kind = "png" if lossless else "jpg"
    pixels = (_all_times(clip.first_frame, clip.frames) * 255).round().astype(np.uint8)
    for time, frame in enumerate(rearrange(pixels, "t c h w -> t h w c")):
        files[f"{time:02d}.{kind}"] = _picture(frame, kind)
    others = clip.label_maps
    if others is None:
        shape = (*clip.frames.shape[:2], *clip.frames.shape[-2:])
        others = clip.label_map.new_full(shape, space.void_id)
    for time, ids in enumerate(_all_times(clip.label_map, others)):
        files[f"{time:02d}.labels.png"] = _picture(to_file_ids(ids, space))
    if clip.instance_map is not None and clip.instance_maps is not None:
        objects = _all_times(clip.instance_map, clip.instance_maps)
        for time, numbers in enumerate(_sixteen_bits(objects)):
            files[f"{time:02d}.instances.png"] = _picture(numbers)
    if clip.motion is not None:
        stored = {name: getattr(clip.motion, name)[0].to(kind) for name, kind in MOTION.items()}
        files[MOTION_FILE] = save_tensors({n: t.contiguous() for n, t in stored.items()})
    facts = {"frames_per_second": clip.frames_per_second, **facts}
    files["json"] = json.dumps(facts, sort_keys=True).encode()
    return files


def decode_clip(files: Mapping[str, bytes], space: LabelSpace, only: int | None = None) -> Clip:
    """Turn the files of a sample back into a batch of one.

    With ``only`` it is that frame (modulo the clip's length) alone, without further frames; no
    other is decoded. Raises ``MediaError`` for files that are missing, damaged or do not agree.
    """
    try:
        return _decode(files, space, only)
    except (MediaError, LabelMapError):
        raise
    except Exception as error:  # decoders of damaged files raise anything
        what, got = "the files of a whole sample", f"{type(error).__name__}: {error}"
        raise MediaError(what, got=got, fix="copy the dataset again") from None


def _decode(files: Mapping[str, bytes], space: LabelSpace, only: int | None) -> Clip:
    pictures = [match for name in files if (match := re.fullmatch(r"(\d+)\.(jpg|png)", name))]
    pictures.sort(key=lambda match: int(match[1]))  # 99 comes before 100
    if only is not None:
        pictures = [pictures[only % len(pictures)]]
    frames = _read([files[match[0]] for match in pictures])
    label_maps = _read([files[f"{match[1]}.labels.png"] for match in pictures])
    ids = np.stack([from_file_ids(values, space) for values in label_maps])
    names = [f"{match[1]}.instances.png" for match in pictures]
    objects = _read([files[name] for name in names]) if names[0] in files else None
    for maps in (ids, objects):
        if maps is not None and maps.shape != frames.shape[:3]:
            raise ValueError(f"maps of shape {maps.shape[1:]}, frames of {frames.shape[1:3]}")
    known: dict[str, Any] = {}
    if only is None:
        known["frames_per_second"] = float(json.loads(files["json"])["frames_per_second"])
        known["motion"] = _read_motion(files)
    return clip_of(
        torch.from_numpy(frames),
        torch.from_numpy(ids),
        None if objects is None else torch.from_numpy(objects),
        **known,
    )


def still_of(clip: Clip, time: int) -> Clip:
    """Return frame ``time`` (modulo the clip's length) alone, as a clip without further frames."""
    place = time % (clip.frames.shape[1] + 1)
    if place == 0 or clip.label_maps is None:
        frame, label_map, instance_map = clip.first_frame, clip.label_map, clip.instance_map
    else:
        frame, label_map = clip.frames[:, place - 1], clip.label_maps[:, place - 1]
        maps = clip.instance_maps
        instance_map = None if maps is None else maps[:, place - 1]
    return Clip(frame, clip.frames[:, :0], label_map, instance_map=instance_map)


def _all_times(
    first: Shaped[Tensor, "1 *any"], others: Shaped[Tensor, "1 time *any"]
) -> Shaped[np.ndarray, "all_times *any"]:
    return torch.cat((first.unsqueeze(1), others), 1)[0].numpy()


def _sixteen_bits(
    numbers: Integer[np.ndarray, "all_times height width"],
) -> UInt16[np.ndarray, "all_times height width"]:
    """Return object numbers as files hold them; those that do not fit are numbered anew."""
    if numbers.min() < 0 or numbers.max() > MOST_OBJECTS:
        found, places = np.unique(np.append(0, numbers), return_inverse=True)
        if len(found) > MOST_OBJECTS:
            what, fix = f"at most {MOST_OBJECTS} objects in a clip", "join some of them"
            raise MediaError(what, got=len(found) - 1, fix=fix)
        order = np.arange(len(found)) + 1
        order[found == 0] = 0
        numbers = order[places[1:]].reshape(numbers.shape)
    return numbers.astype(np.uint16)


def _picture(pixels: Integer[np.ndarray, "height width *rgb"], kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    how = {"quality": JPEG_QUALITY, "subsampling": 0} if kind == "jpg" else {}
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(buffer, "JPEG" if kind == "jpg" else "PNG", **how)
    return buffer.getvalue()


def _read(contents: Sequence[bytes]) -> Integer[np.ndarray, "time height width *rgb"]:
    images = [Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) for content in contents]
    for image in images:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"a picture of {image.width}x{image.height} pixels")
    return np.stack([np.array(image) for image in images])


def _read_motion(files: Mapping[str, bytes]) -> Motion | None:
    if MOTION_FILE not in files:
        return None
    stored = load_tensors(files[MOTION_FILE])
    return Motion(**{name: stored[name].float().unsqueeze(0) for name in MOTION})
