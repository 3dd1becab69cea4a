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
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int, Integer
from PIL import Image
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from seg2vid.labels.convert import from_file_ids, to_file_ids
from seg2vid.labels.space import LabelSpace
from seg2vid.structures import Clip, Motion

Sample = dict[str, bytes]
"""File contents by what follows the key and its dot."""

JPEG_QUALITY = 95
"""With full colour resolution: 38 dB or more on the clips it was chosen on."""
MOTION_FILE = "motion.safetensors"
FLOWS = ("forward_flow", "backward_flow")
MASKS = ("forward_visible", "backward_visible")


def encode_clip(
    clip: Clip, space: LabelSpace, facts: Mapping[str, Any], *, lossless: bool = False
) -> Sample:
    """Turn a batch of one into the files of a sample; ``facts`` go into its json.

    Pictures are JPEG unless ``lossless``. Frames without label map are all void.
    """
    frames = torch.cat((clip.first_frame.unsqueeze(1), clip.frames), 1)[0]
    files: Sample = {}
    kind = "png" if lossless else "jpg"
    pixels = rearrange((frames * 255).round().byte(), "t c h w -> t h w c").numpy()
    for time, frame in enumerate(pixels):
        files[f"{time:02d}.{kind}"] = _picture(frame, kind)
    others = clip.label_maps
    if others is None:
        shape = (*clip.frames.shape[:2], *frames.shape[-2:])
        others = clip.label_map.new_full(shape, space.void_id)
    for time, ids in enumerate(_maps(clip.label_map, others)):
        files[f"{time:02d}.labels.png"] = _picture(to_file_ids(ids, space))
    if clip.instance_map is not None and clip.instance_maps is not None:
        for time, numbers in enumerate(_maps(clip.instance_map, clip.instance_maps)):
            files[f"{time:02d}.instances.png"] = _picture(numbers.astype(np.uint16))
    if clip.motion is not None:
        motion = {name: getattr(clip.motion, name)[0] for name in (*FLOWS, *MASKS)}
        stored = {n: t.half() if n in FLOWS else t.bool() for n, t in motion.items()}
        files[MOTION_FILE] = save_tensors({n: t.contiguous() for n, t in stored.items()})
    rate = {"frames_per_second": clip.frames_per_second}
    files["json"] = json.dumps({**rate, **facts}, sort_keys=True).encode()
    return files


def decode_clip(files: Mapping[str, bytes], space: LabelSpace) -> Clip:
    """Turn the files of a sample back into a batch of one."""
    pictures = _list_pictures(files)
    frames = np.stack([_read(files[name]) for name in pictures])
    video = rearrange(torch.from_numpy(frames), "t h w c -> 1 t c h w").float().div(255)
    label_maps = _read_maps(files, "labels", len(pictures))
    ids = np.stack([from_file_ids(values, space) for values in label_maps])
    labels = torch.from_numpy(ids).long().unsqueeze(0)
    instances = None
    if "00.instances.png" in files:
        numbers = np.stack(_read_maps(files, "instances", len(pictures)))
        instances = torch.from_numpy(numbers.astype(np.int64)).unsqueeze(0)
    return Clip(
        video[:, 0],
        video[:, 1:],
        labels[:, 0],
        label_maps=labels[:, 1:],
        instance_map=None if instances is None else instances[:, 0],
        instance_maps=None if instances is None else instances[:, 1:],
        motion=_read_motion(files),
        frames_per_second=float(json.loads(files["json"])["frames_per_second"]),
    )


def decode_still(files: Mapping[str, bytes], space: LabelSpace, time: int) -> Clip:
    """Read frame ``time`` alone (modulo the clip's length) as a clip without further frames."""
    pictures = _list_pictures(files)
    number, _, ending = pictures[time % len(pictures)].partition(".")
    kept = {"json": files["json"]}
    for kind in (ending, "labels.png", "instances.png"):
        if f"{number}.{kind}" in files:
            kept[f"00.{kind}"] = files[f"{number}.{kind}"]
    still = decode_clip(kept, space)
    return Clip(still.first_frame, still.frames, still.label_map, instance_map=still.instance_map)


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


def _maps(
    first: Int[Tensor, "1 height width"], others: Int[Tensor, "1 time height width"]
) -> Int[np.ndarray, "all_times height width"]:
    return torch.cat((first.unsqueeze(1), others), 1)[0].numpy()


def _list_pictures(files: Mapping[str, bytes]) -> list[str]:
    """Name the pictures in order of time: 99 comes before 100."""
    names = [name for name in files if re.fullmatch(r"\d+\.(jpg|png)", name)]
    return sorted(names, key=lambda name: int(name.partition(".")[0]))


def _picture(pixels: Integer[np.ndarray, "height width *rgb"], kind: str = "png") -> bytes:
    """Write pixels to the bytes of a picture file, ``jpg`` with full colour resolution."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if kind == "jpg":
        image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()


def _read(content: bytes) -> Integer[np.ndarray, "height width *rgb"]:
    return np.array(Image.open(io.BytesIO(content)))


def _read_maps(
    files: Mapping[str, bytes], kind: str, count: int
) -> list[Integer[np.ndarray, "height width"]]:
    names = [f"{time:02d}.{kind}.png" for time in range(count)]
    return [_read(files[name]) for name in names if name in files]


def _read_motion(files: Mapping[str, bytes]) -> Motion | None:
    if MOTION_FILE not in files:
        return None
    stored = load_tensors(files[MOTION_FILE])
    return Motion(**{name: stored[name].float().unsqueeze(0) for name in (*FLOWS, *MASKS)})
