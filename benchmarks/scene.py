"""How well a model sees the scene and keeps it: depth, camera path, sharpness over time.

::

    python benchmarks/scene.py --model toycity --clips 16

Clips of the toy city that nobody trains on (seeds from 900000), one thread, a minute or two:
depth, the camera after a pass of a clip that is shown, and the sharpness of frame 24, as
``evaluation/metrics/scene`` tells them; and how well cars are told apart without an instance map.
Models whose motion is no scene's have the sharpness alone.
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
from seg2vid.models.objects import rows_of
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Clip
from seg2vid.tools.devices import exact_arithmetic
from seg2vid.transfer import encode_motion
from seg2vid.warp import follow_passes

FIRST_SEED = 900_000
LONG = 24
LEAST = 150
"""Pixels of a car at least."""


def scene_figures(pipe: Seg2VidPipeline, clip: Clip) -> dict[str, float]:
    """Compare depth with the exact one, and the camera's path when the model is shown the clip."""
    decoder, count = pipe.animator.flow_decoder, pipe.num_frames
    depth = decoder.depth(clip.first_frame, clip.label_map)
    own = own_car(clip.label_map, pipe.label_space.void_id)
    relative, within = depth_errors(depth.inverse_depth, clip.inverse_depth, own)
    video = torch.cat((clip.first_frame.unsqueeze(1), clip.frames[:, :count]), 1)
    code = encode_motion(pipe, video, clip.label_map, instance_map=clip.instance_map)
    given = clip.first_frame, clip.label_map, code.z, code.objects
    drive = decoder.drive(*given, told_apart=True)
    scene = drive.at(torch.arange(count, device=clip.frames.device))
    metres, degrees = path_errors(scene.paths.camera, clip.ego_motion[:, :count])
    return {
        "depth, AbsRel": float(relative),
        "depth, within 1.25": float(within),
        "horizon, px": float((depth.camera.centre - clip.camera.centre)[:, 1].abs()),
        "camera, m after a pass": float(metres[:, -1]),
        "camera, degrees": float(degrees[:, -1]),
    }


def overlap(pipe: Seg2VidPipeline, clip: Clip) -> dict[str, list[float]]:
    """Return how far cars that labels alone tell apart are the instances: the best intersection
    over union for each of these, as connected areas and as the decoder parts them.
    """
    decoder, numbers = pipe.animator.flow_decoder, clip.instance_map
    areas = pipe.find_objects(clip.label_map, None)
    given = clip.first_frame, clip.label_map, areas
    rows = {
        "areas of cars, IoU": rows_of(areas, clip.label_map, pipe.label_space.foreground_ids),
        "cars told apart, IoU": decoder.look(*given).rows,
    }
    is_car = torch.isin(clip.label_map, torch.tensor(pipe.label_space.ids_named({"car"})))
    found: dict[str, list[float]] = {name: [] for name in rows}
    for number in numbers[is_car].unique():
        car = is_car & (numbers == number)
        if int(car.sum()) < LEAST:
            continue
        for name, one in rows.items():
            shares = [((one == row) & is_car, car) for row in one[car].unique() if row]
            ratios = [float((a & b).sum() / (a | b).sum()) for a, b in shares]
            found[name].append(max(ratios, default=0.0))
    return found


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
                for name, values in overlap(pipe, clip).items():
                    figures.setdefault(name, []).extend(values)
            for name, value in found.items():
                figures.setdefault(name, []).append(value)
    for name, values in figures.items():
        print(
            f"{name:<28} {statistics.mean(values):8.3f}   median {statistics.median(values):8.3f}"
        )


if __name__ == "__main__":
    main()
