"""Is what the models make worth training on? A segmenter and a flow network, with and without it.

    python benchmarks/value.py segmenter RUN --data STILLS     # STILLS: photos with human labels
    python benchmarks/value.py flow RUN                        # the toy city, nothing else

Both learn (a) from 200 real examples and (b) from those and what a model made of their label maps
alone, half of each batch, for equally many steps. The segmenter is judged on held-out photos, the
flow network on held-out clips of the toy city. Every pair of runs starts from the same weights. ±
is the standard deviation over seeds; the gain is that of pairs, with its 95 % interval (Student).
The same command goes on where it was stopped.
"""

import argparse
import itertools
import json
import math
import os
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from seg2vid.structures import Motion

REAL = 200
"""Real examples."""
NUM_FRAMES = 8
"""Frames that are made after each first one."""
HELD_OUT = 900_000
"""Seed of the first held-out clip of the toy city."""
ARMS = ("real", "real and made")


def table(output: Path, steps: int, figures: dict[str, bool]) -> str:
    """Return the means over seeds, and the gain of the pairs; ``figures``: is larger better?"""
    paths = sorted(output.glob(f"result_{steps}_*.json"))
    results = [json.loads(path.read_text()) for path in paths]
    lines = [
        f"| {steps} steps, {len(results)} seeds | {' | '.join(ARMS)} | gain |",
        "|---|--:|--:|--:|",
    ]
    for name, is_larger_better in figures.items():
        values = [[result[arm][name] for result in results] for arm in ARMS]
        gains = [(b - a) * (1 if is_larger_better else -1) for a, b in zip(*values, strict=True)]
        cells = [f"{statistics.mean(one):.3f} ± {deviation(one):.3f}" for one in values]
        mean, half = statistics.mean(gains), half_interval(gains)
        cells.append(f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def deviation(values: list[float]) -> float:
    """Return the standard deviation, nan of a single value."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def half_interval(values: list[float]) -> float:
    """Return half the width of the 95 % interval of the mean, by Student's t."""
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1)) * deviation(values) / math.sqrt(len(values))


def each_seed(options: argparse.Namespace, result_of: Callable[[str, int], dict]) -> None:
    """Train both arms with every seed whose result is missing."""
    for seed in options.seeds:
        path = options.output / f"result_{options.steps}_{seed}.json"
        if not path.exists():
            path.write_text(json.dumps({arm: result_of(arm, seed) for arm in ARMS}))


# A segmenter.


def make_stills(options: argparse.Namespace, real: Path, made: Path) -> None:
    """Link the real photos, and make from each of their label maps a scene, a third of it kept."""
    from PIL import Image

    from seg2vid.data.stills import StillFolder
    from seg2vid.labels.space import get_label_space
    from seg2vid.media.pictures import write_image
    from seg2vid.pipeline import Seg2VidPipeline

    photos = sorted((options.data / "train" / "photos").iterdir())
    chosen = photos[:: len(photos) // REAL][:REAL]
    for folder in (real, made):
        for part in ("photos", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
    for photo in chosen:
        labels = photo.parents[1] / "labels" / f"{photo.stem}.png"
        for path in (photo, labels):
            if not (link := real / path.parent.name / path.name).exists():
                link.symlink_to(path.resolve())
    pipe = Seg2VidPipeline.from_pretrained("street")
    source = StillFolder(real, get_label_space("cityscapes"), height=128, width=256)
    for number in tqdm(range(len(source)), unit="map", desc="making"):
        if (made / "labels" / f"{number:04d}_{NUM_FRAMES}.png").exists():
            continue
        clip = source.read(number)
        video = pipe(clip.label_map, num_frames=NUM_FRAMES + 1, seed=number)
        frames = torch.cat((video.first_frame.unsqueeze(1), video.frames), 1)[0]
        maps = torch.cat((video.label_map.unsqueeze(1), video.label_maps), 1)[0]
        for time in range(0, NUM_FRAMES + 1, 4):
            name = f"{number:04d}_{time}"
            pixels = frames[time].mul(255).round().byte().permute(1, 2, 0).numpy()
            write_image(made / "photos" / f"{name}.png", pixels)
            ids = maps[time].numpy()
            ids = np.where(ids == source.space.void_id, 255, ids).astype(np.uint8)
            Image.fromarray(ids).save(made / "labels" / f"{name}.png")


def segmenter(options: argparse.Namespace) -> str:
    """Train a small segmenter as ``seg2vid train segmenter`` does; score it on held-out photos."""
    from benchmarks.segmenter import confusion
    from seg2vid.data.stills import StillFolder
    from seg2vid.data.teachers.labels import BundledTeacher
    from seg2vid.labels.space import get_label_space
    from seg2vid.models.config import ModelConfig, SegmenterConfig
    from seg2vid.training.config import RunConfig, SegmenterTrainingConfig
    from seg2vid.training.recipes import make_stage
    from seg2vid.training.run import run

    real, made = options.output / "real", options.output / "made"
    make_stills(options, real, made)
    space = get_label_space("cityscapes")
    folders = [StillFolder(path, space, height=128, width=256) for path in (real, made)]
    photos = StillFolder(options.data / "val", space, height=128, width=256)
    model = ModelConfig(segmenter=SegmenterConfig(widths=(16, 8, 12, 16, 24, 32, 48)))

    def result_of(arm: str, seed: int) -> dict:
        training = SegmenterTrainingConfig(
            steps=options.steps,
            batch_size=8,
            warm_up=50,
            average_decay=0.98,
            pretrained=False,
            seed=seed,
        )
        sources = [(one, 1.0) for one in (folders[:1] if arm == "real" else folders)]
        output = options.output / f"{arm.replace(' ', '_')}_{options.steps}_{seed}"
        settings = RunConfig(sheet_every=0, measured_steps=0)
        torch.manual_seed(seed)
        weights = run(make_stage(training, model), sources, output, settings)
        teacher = BundledTeacher(weights, pixels=128 * 256)
        counts = confusion(teacher, photos, flip=False)
        both, all_of = counts.diagonal(), counts.sum(0) + counts.sum(1)
        scores = both[all_of > 0] / (all_of - both)[all_of > 0]
        return {"mean IoU": float(scores.mean()), "accuracy": float(both.sum() / counts.sum())}

    each_seed(options, result_of)
    return table(options.output, options.steps, {"mean IoU": True, "accuracy": True})


# A flow network.


class FlowNetwork(nn.Module):
    """A small network in the manner of FlowNetSimple (Dosovitskiy et al., ICCV 2015).

    Two pictures (N, 3, H, W) in [0, 1], H and W multiples of 32 → flow (N, 2, H, W) in pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (6, 24, 32, 48, 64, 96)
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, 2, 1),
                nn.LeakyReLU(0.1),
                nn.Conv2d(b, b, 3, 1, 1),
                nn.LeakyReLU(0.1),
            )
            for a, b in pairs
        )
        # Up to half the size.
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a + b, a, 3, 1, 1), nn.LeakyReLU(0.1)) for a, b in pairs[:0:-1]
        )
        self.flow = nn.Conv2d(widths[1], 2, 3, 1, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the flow from the first picture to the second."""
        features, skips = torch.cat((first, second), 1) * 2 - 1, []
        for down in self.down:
            features = down(features)
            skips.append(features)
        for up, skip in zip(self.up, skips[-2::-1], strict=True):
            larger = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = up(torch.cat((larger, skip), 1))
        flow = 10 * self.flow(features)
        return F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)


def pairs_of(frames: Tensor, motion: Motion, time: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return first frame, frame ``time`` and the flow between, as bytes and half floats."""
    first, later = frames[0, 0], frames[0, time]
    small = [picture.mul(255).round().byte() for picture in (first, later)]
    return *small, motion.forward_flow[0, time - 1].half()


def make_pairs(options: argparse.Namespace) -> dict[str, list[tuple[Tensor, Tensor, Tensor]]]:
    """Render real and held-out clips; make scenes of the real ones' label maps; keep pairs."""
    from seg2vid.data.clips import render_toycity
    from seg2vid.data.toycity.clip import ToyCityConfig
    from seg2vid.pipeline import Seg2VidPipeline

    path = options.output / "pairs.pt"
    if path.exists():
        return torch.load(path)
    config = ToyCityConfig(height=128, width=256, num_frames=NUM_FRAMES)
    pipe = Seg2VidPipeline.from_pretrained("toycity")
    pairs: dict[str, list] = {"real": [], "made": [], "held out": []}
    for number in tqdm(range(REAL), unit="clip", desc="making"):
        clip = render_toycity(number, config)
        frames = torch.cat((clip.first_frame.unsqueeze(1), clip.frames), 1)
        pairs["real"].append(pairs_of(frames, clip.motion, 1 + number % 3))
        for seed in (number, REAL + number, 2 * REAL + number):
            video = pipe(clip.label_map, instance_map=clip.instance_map, num_frames=5, seed=seed)
            frames = torch.cat((video.first_frame.unsqueeze(1), video.frames), 1)
            pairs["made"].append(pairs_of(frames, video.motion, 1 + seed % 3))
    for number in tqdm(range(options.held_out), unit="clip", desc="held out"):
        clip = render_toycity(HELD_OUT + number, config)
        frames = torch.cat((clip.first_frame.unsqueeze(1), clip.frames), 1)
        pairs["held out"].append(pairs_of(frames, clip.motion, 1 + number % 3))
    torch.save(pairs, path)
    return pairs


def batch_of(pairs: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Stack pairs as floats."""
    first, later, flow = (torch.stack(one).float() for one in zip(*pairs, strict=True))
    return first / 255, later / 255, flow


def flow(options: argparse.Namespace) -> str:
    """Train the flow network on its end-point error, score that of held-out clips."""
    pairs = make_pairs(options)
    still = torch.cat([batch_of([pair])[2].norm(dim=1).flatten() for pair in pairs["held out"]])

    def result_of(arm: str, seed: int) -> dict:
        torch.manual_seed(seed)
        dice = np.random.default_rng(seed)
        network = FlowNetwork()
        optimizer = torch.optim.AdamW(network.parameters(), lr=4e-4)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-4, total_steps=options.steps)
        for step in tqdm(range(options.steps), unit="step", desc=f"{arm}, seed {seed}"):
            kinds = ["real"] * 8 if arm == "real" else ["real"] * 4 + ["made"] * 4
            chosen = [pairs[kind][dice.integers(len(pairs[kind]))] for kind in kinds]
            first, later, truth = batch_of(chosen)
            if step % 2:  # mirrored
                first, later, truth = (one.flip(-1) for one in (first, later, truth))
                truth = truth * truth.new_tensor([-1, 1]).view(1, 2, 1, 1)
            gain = 0.8 + 0.4 * torch.rand(len(first), 3, 1, 1)
            error = (network(first * gain, later * gain) - truth).norm(dim=1).mean()
            optimizer.zero_grad()
            error.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            rate.step()
        errors = []
        with torch.inference_mode():
            for pair in pairs["held out"]:
                first, later, truth = batch_of([pair])
                errors.append((network(first, later) - truth).norm(dim=1).mean().item())
        return {"end-point error [px]": statistics.mean(errors)}

    each_seed(options, result_of)
    printed = table(options.output, options.steps, {"end-point error [px]": False})
    return f"{printed}\nno flow at all: {still.mean():.3f} px"


def main() -> None:
    """Make, train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("segmenter", "flow"))
    parser.add_argument("output", type=Path, help="folder of what is made and of the runs")
    parser.add_argument("--data", type=Path, help="folder with train/ and val/ photos and labels")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--held-out", type=int, default=64, help="clips to score flow on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    os.environ.setdefault("TQDM_MININTERVAL", "5")
    if options.what == "segmenter" and options.data is None:
        parser.error("a segmenter needs photos: --data STILLS")
    options.output.mkdir(parents=True, exist_ok=True)
    print(segmenter(options) if options.what == "segmenter" else flow(options))


if __name__ == "__main__":
    main()
