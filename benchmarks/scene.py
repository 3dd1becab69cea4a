"""How well a model sees the scene and keeps it: depth, camera path, sharpness over time.

::

    python benchmarks/scene.py --model toycity --clips 16

Clips of the toy city that nobody trains on (seeds from 900000), one thread, a minute or two:
depth, the camera after a pass of a clip that is shown, and the sharpness of frame 24, as
``evaluation/metrics/scene`` tells them. Models whose motion is no scene's have the last alone.
`seg2vid evaluate --protocol toycity-long` gives all of them with intervals, and more.
"""

import argparse
import statistics

import torch

from seg2vid.data.clips import render_toycity
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.evaluation.metrics.scene import depth_errors, path_errors, sharpness_by_frame
from seg2vid.models.depth import own_car
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Clip
from seg2vid.tools.devices import exact_arithmetic
from seg2vid.transfer import encode_motion
from seg2vid.warp import follow_passes

FIRST_SEED = 900_000
LONG = 24


def scene_figures(pipe: Seg2VidPipeline, clip: Clip) -> dict[str, float]:
    """Compare depth with the exact one, and the camera's path when the model is shown the clip."""
    decoder, count = pipe.animator.flow_decoder, pipe.num_frames
    depth = decoder.depth(clip.first_frame, clip.label_map)
    own = own_car(clip.label_map, pipe.label_space.void_id)
    relative, within = depth_errors(depth.inverse_depth, clip.inverse_depth, own)
    video = torch.cat((clip.first_frame.unsqueeze(1), clip.frames[:, :count]), 1)
    code = encode_motion(pipe, video, clip.label_map, instance_map=clip.instance_map)
    drive = decoder.drive(clip.first_frame, clip.label_map, code.z, code.objects)
    scene = drive.at(torch.arange(count, device=clip.frames.device))
    metres, degrees = path_errors(scene.paths.camera, clip.ego_motion[:, :count])
    return {
        "depth, AbsRel": float(relative),
        "depth, within 1.25": float(within),
        "horizon, px": float((depth.camera.centre - clip.camera.centre)[:, 1].abs()),
        "camera, m after a pass": float(metres[:, -1]),
        "camera, degrees": float(degrees[:, -1]),
    }


def sharpness(pipe: Seg2VidPipeline, clip: Clip) -> float:
    """Return the gradient energy of the last frame against that of a perfect reading."""
    video = pipe(
        clip.label_map,
        instance_map=clip.instance_map,
        first_frame=clip.first_frame,
        num_frames=LONG + 1,
        seed=0,
    )
    motion = follow_passes(video.motion, video.pass_starts)
    return float(sharpness_by_frame(video.first_frame, video.frames, motion)[:, -1])


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
                found |= scene_figures(pipe, clip)
            for name, value in found.items():
                figures.setdefault(name, []).append(value)
    for name, values in figures.items():
        print(
            f"{name:<28} {statistics.mean(values):8.3f}   median {statistics.median(values):8.3f}"
        )


if __name__ == "__main__":
    main()
