"""Does what moves move as told? Displacements measured on finished frames against those commanded.

::

    python benchmarks/control.py --model toycity --judges JUDGES --clips 8

Clips of the toy city that nobody trains on (seeds from 900000), and first frames of the model with
``--paint``. One class at a time is told to go to the right while all else stands, then the camera
to drive or to turn; RAFT-small measures what moved, objects from frame to frame, and knows nothing
of the command. Commanded pixels follow from the command and the depth that the model sees. Printed:
R² and slope of measured against commanded, over objects; how far in pixels everything else moved,
against the command (leak); R² and slope of camera speed and turn; and what RAFT makes of objects of
the exact clips themselves.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from seg2vid.data.clips import render_toycity
from seg2vid.data.teachers.flow import RaftFlow
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.media.generated import GeneratedVideo
from seg2vid.models.control import Control
from seg2vid.models.layers import OBJECT_FACTOR
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Clip
from seg2vid.tools.devices import exact_arithmetic

FIRST_SEED = 900_000
SMALLEST = 60
"""Pixels of an object that RAFT can be asked about."""
LEAST, MOST = 1.0, 16.0
"""Pixels of a displacement that is measured: RAFT is wrong by tenths, and lost beyond (objects are
followed frame by frame, the camera is seen at once).
"""
SPEEDS = (-4.0, -2.0, 2.0, 4.0)
DRIVES = ((3.0, 0.0), (6.0, 0.0), (9.0, 0.0), (0.0, 10.0), (0.0, -20.0), (0.0, 15.0))
"""Metres and degrees a second."""
Pair = tuple[float, float]


def line(pairs: list[Pair]) -> tuple[float, float]:
    """Return R² and slope of the second of each pair against the first."""
    if len(pairs) < 3:
        return float("nan"), float("nan")
    first, second = zip(*pairs, strict=True)
    if len(set(first)) < 2 or len(set(second)) < 2:
        return float("nan"), float("nan")
    return statistics.correlation(first, second) ** 2, statistics.linear_regression(
        first, second
    ).slope


def generate(pipe: Seg2VidPipeline, clip: Clip, control: Control, *, paint: bool) -> GeneratedVideo:
    """Return one pass that moves as told."""
    return pipe(
        clip.label_map,
        instance_map=clip.instance_map,
        first_frame=None if paint else clip.first_frame,
        num_frames=pipe.num_frames + 1,
        control=control,
        seed=0,
    )


def measured(raft: RaftFlow, video: GeneratedVideo, time: int) -> Tensor:
    """Return the flow from the first frame to a later one, as RAFT sees it."""
    return raft.flow(video.first_frame, video.frames[:, time])[0]


def follow(raft: RaftFlow, video: GeneratedVideo, own: Tensor) -> Pair | None:
    """Return how far an object was to go to the right in pixels, and how far it went.

    Frame by frame: what RAFT sees from each to the next, a median over what shows the object, is
    summed until half of it is hidden. None where that is too little to measure.
    """
    told = video.motion.forward_flow[0, :, 0]
    shown = (video.motion.forward_visible[0, :, 0] > 0) & own
    frames = torch.cat((video.first_frame.unsqueeze(1), video.frames), 1)[0]
    went, found = 0.0, None
    region = own
    for time, then in enumerate(shown):
        if int(then.sum()) < int(own.sum()) / 2:
            break
        flow = raft.flow(frames[time : time + 1], frames[time + 1 : time + 2])
        went += float(flow[0, 0][region].median())
        commanded = float(told[time][then].median())
        if abs(commanded) >= LEAST:
            found = commanded, went
        source = video.motion.source[0, time]
        region = own.flatten()[source.clamp(min=0)] & (source >= 0)
    return found


def follow_exact(raft: RaftFlow, clip: Clip) -> Iterator[Pair]:
    """Yield the same of every object of an exact clip: what RAFT loses where nothing is generated.

    Objects that go farther than those that are told to are left out.
    """
    motion, maps = clip.motion, clip.instance_maps
    if motion is None or maps is None or clip.instance_map is None:
        return
    frames = torch.cat((clip.first_frame.unsqueeze(1), clip.frames), 1)[0]
    regions = torch.cat((clip.instance_map, maps[0]))
    flows = [raft.flow(*frames[time : time + 2].split(1))[0, 0] for time in range(len(maps[0]))]
    for number in clip.instance_map.unique().tolist():
        own = clip.instance_map[0] == number
        if not number or int(own.sum()) < SMALLEST:
            continue
        went, found = 0.0, None
        for time, flow in enumerate(flows):
            then = (motion.forward_visible[0, time, 0] > 0) & own
            if int(then.sum()) < int(own.sum()) / 2:
                break
            went += float(flow[regions[time] == number].median())
            found = float(motion.forward_flow[0, time, 0][then].median()), went
        if found is not None and LEAST <= abs(found[0]) <= MOST:
            yield found


def follow_camera(raft: RaftFlow, video: GeneratedVideo) -> float | None:
    """Return the share of the commanded flow that was measured, by least squares."""
    told = video.motion.forward_flow[0]
    shown = video.motion.forward_visible[0, :, 0] > 0
    for time in reversed(range(len(told))):
        length = told[time].norm(dim=0)
        if length[shown[time]].median() <= MOST / 2:
            near = shown[time] & (length > LEAST) & (length < MOST)
            seen = measured(raft, video, time)
            product = (told[time] * seen)[:, near].sum()
            return float(product / told[time][:, near].square().sum())
    return None


def objects_of(pipe: Seg2VidPipeline, clip: Clip) -> Iterator[tuple[str, Tensor]]:
    """Yield the class and the pixels of each object that is large enough."""
    space = pipe.label_space
    objects = pipe.find_objects(clip.label_map, clip.instance_map)
    fine = objects.repeat_interleave(OBJECT_FACTOR, 1).repeat_interleave(OBJECT_FACTOR, 2)
    things = torch.isin(clip.label_map, torch.tensor(space.foreground_ids))
    for number in range(1, int(objects.max()) + 1):
        own = ((fine == number) & things)[0]
        if int(own.sum()) >= SMALLEST:
            yield space.names[int(clip.label_map[0][own].mode().values)], own


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="toycity")
    parser.add_argument("--judges", required=True)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--paint", action="store_true", help="first frames of the model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipe, raft = Seg2VidPipeline.from_pretrained(options.model), RaftFlow(Path(options.judges))
    moved: dict[str, list[Pair]] = defaultdict(list)
    exact: list[Pair] = []
    leaks: list[float] = []
    camera: dict[str, list[Pair]] = defaultdict(list)
    size = ToyCityConfig(height=pipe.height, width=pipe.width, num_frames=pipe.num_frames)
    last = pipe.num_frames - 1
    for seed in range(FIRST_SEED, FIRST_SEED + options.clips):
        with torch.inference_mode(), exact_arithmetic():
            clip = render_toycity(seed, size)
            exact += follow_exact(raft, clip)
            found = list(objects_of(pipe, clip))
            for name in sorted({name for name, _ in found}):
                for speed in SPEEDS:
                    wish = Control.read(camera="still", move=["all=still", f"{name}=right:{speed}"])
                    video = generate(pipe, clip, wish, paint=options.paint)
                    commanded = []
                    for own_name, own in found:
                        if own_name == name:
                            pair = follow(raft, video, own)
                            if pair is not None:
                                moved[name].append(pair)
                                commanded.append(abs(pair[0]))
                    told, seen = video.motion.forward_flow[0, last], measured(raft, video, last)
                    still = told.norm(dim=0) < 0.05
                    if commanded:
                        leaks.append(float(seen.norm(dim=0)[still].median()) / max(commanded))
            for forward, turn in DRIVES:
                words = f"forward={forward},right=0,turn={turn}"
                wish = Control.read(camera=words, move=["all=still"])
                video = generate(pipe, clip, wish, paint=options.paint)
                share = follow_camera(raft, video)
                if share is None:
                    continue
                if forward and not turn:
                    camera["speed, m/s"].append((forward, share * forward))
                elif turn and not forward:
                    camera["turn, degrees/s"].append((turn, share * turn))
    print(f"{options.model}, {options.clips} clips, one pass of {pipe.num_frames} frames")
    for name, pairs in sorted(moved.items()):
        r2, slope = line(pairs)
        print(f"{name:>12}  {len(pairs):4d} objects  R² {r2:.3f}  slope {slope:.3f}")
    every = [pair for pairs in moved.values() for pair in pairs]
    r2, slope = line(every)
    print(f"{'all':>12}  {len(every):4d} objects  R² {r2:.3f}  slope {slope:.3f}")
    r2, slope = line(exact)
    print(f"{'exact clips':>12}  {len(exact):4d} objects  R² {r2:.3f}  slope {slope:.3f}")
    print(
        f"leak {statistics.mean(leaks):.3f} of the command (median {statistics.median(leaks):.3f})"
    )
    for name, pairs in camera.items():
        r2, slope = line(pairs)
        print(f"camera {name}: {len(pairs)} drives  R² {r2:.3f}  slope {slope:.3f}")


if __name__ == "__main__":
    main()
