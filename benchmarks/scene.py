"""How well a model sees the scene and keeps it: depth, camera path, sharpness over time.

::

    python benchmarks/scene.py --model toycity --clips 16

Clips of the toy city that nobody trains on (seeds from 900000), one thread. Depth: mean of
|d - d*| / d* and the share within a factor of 1.25, nearer than 60 m. Camera: metres and degrees
between the path's end and the exact one, shown the clip. Sharpness: gradient energy of frame 24,
where it is read from the first frame, against that of a perfect reading, enlargement included.
Models whose motion is no scene's have the last row alone.
"""

import argparse
import statistics

import torch
from torch import Tensor

from seg2vid.data.clips import render_toycity
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.models.depth import own_car
from seg2vid.models.layers import exact_arithmetic
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Clip
from seg2vid.transfer import encode_motion
from seg2vid.warp import backward_warp, follow_passes, reading_position

FIRST_SEED = 900_000
FARTHEST = 60.0
LONG = 24


def depth_figures(decoder: MotionDecoder, clip: Clip, void_id: int) -> dict[str, float]:
    """Compare predicted with exact depth of the first frame."""
    depth = decoder.depth(clip.first_frame, clip.label_map)
    near = (clip.inverse_depth > 1 / FARTHEST) & ~own_car(clip.label_map, void_id)
    exact, found = clip.inverse_depth[near], depth.inverse_depth[near].clamp(min=1e-4)
    ratio = exact / found  # of depths
    return {
        "depth, AbsRel": float((ratio - 1).abs().mean()),
        "depth, within 1.25": float((torch.maximum(ratio, 1 / ratio) < 1.25).float().mean()),
        "horizon, px": float((depth.camera.centre - clip.camera.centre)[:, 1].abs()),
    }


def path_figures(pipe: Seg2VidPipeline, clip: Clip) -> dict[str, float]:
    """Compare the camera's path with the exact one, when the model is shown the clip."""
    video = torch.cat((clip.first_frame.unsqueeze(1), clip.frames[:, : pipe.num_frames]), 1)
    code = encode_motion(pipe, video, clip.label_map, instance_map=clip.instance_map)
    scene = pipe.animator.flow_decoder.decode(
        clip.first_frame, clip.label_map, code.z, code.objects
    )
    error = scene.paths.camera[0, -1, :3] - clip.ego_motion[0, pipe.num_frames - 1]
    return {
        "camera, m after a pass": float(error[:2].norm()),
        "camera, degrees": float(error[2].abs().rad2deg()),
    }


def gradient(frame: Tensor) -> Tensor:
    """Steps of brightness to the right and down, (2, height - 1, width - 1)."""
    return torch.stack((frame.diff(dim=1)[:-1], frame.diff(dim=0)[:, :-1]))


def sharpness(pipe: Seg2VidPipeline, clip: Clip) -> float:
    """Return the gradient energy of the last frame against that of a perfect reading."""
    video = pipe(
        clip.label_map,
        instance_map=clip.instance_map,
        first_frame=clip.first_frame,
        num_frames=LONG,
        seed=0,
    )
    motion = follow_passes(video.motion, video.pass_starts)
    flow = motion.backward_flow[:, -1]
    # Steps of the place that is read: how a step in this frame looks in the first one.
    steps = torch.stack([gradient(place) for place in reading_position(flow)[0]], 1)
    before = gradient(clip.first_frame[0].mean(0)).unsqueeze(0)
    read = backward_warp(before, flow[:, :, :-1, :-1], mode="nearest")[0]
    perfect = torch.einsum("a h w, s a h w -> s h w", read, steps).square().sum(0)
    after = gradient(video.frames[0, -1].mean(0)).square().sum(0)
    shown = (motion.backward_visible[0, -1, 0, :-1, :-1] > 0.5) & (steps.abs().amax((0, 1)) < 1.5)
    return float(after[shown].mean() / perfect[shown].mean().clamp(min=1e-9))


def main() -> None:
    """Print each figure's mean over clips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="toycity")
    parser.add_argument("--clips", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipe = Seg2VidPipeline.from_pretrained(options.model, boxes=("animator",))
    decoder, figures = pipe.animator.flow_decoder, {}
    with torch.inference_mode(), exact_arithmetic():
        for seed in range(FIRST_SEED, FIRST_SEED + options.clips):
            clip = render_toycity(seed, ToyCityConfig(num_frames=LONG))
            found = {f"sharpness of frame {LONG}": sharpness(pipe, clip)}
            if isinstance(decoder, MotionDecoder):
                found |= depth_figures(decoder, clip, pipe.label_space.void_id)
                found |= path_figures(pipe, clip)
            for name, value in found.items():
                figures.setdefault(name, []).append(value)
    for name, values in figures.items():
        print(
            f"{name:<28} {statistics.mean(values):8.3f}   median {statistics.median(values):8.3f}"
        )


if __name__ == "__main__":
    main()
