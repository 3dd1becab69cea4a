"""What each idea of the paper is worth: variants trained equally long on the same toy-city clips.

    python benchmarks/ablation.py runs/ablation --judges JUDGES     # trains, evaluates, prints
    python benchmarks/ablation.py runs/ablation --only-table        # what is there so far

Our networks at 64 x 128, four frames a pass. ``--objective geometry`` (the default) learns from the
toy city's exact motion; ``--objective paper`` from pictures alone, with the authors' weights and
without VGG features; ``--objective coarse-to-fine`` compares that with what makes it learn. LPIPS
is never trained on. Every variant is trained with every seed; the same command goes on where it was
stopped. Figures are of held-out clips; ± is the standard deviation over seeds.

``--objective refiner`` asks another question: does the paper's own post-processing network gain by
seeing what was visible? It alone is trained, at 128 x 128 (it takes nothing smaller), by the
paper's terms of finished frames, on frames warped by the exact motion: at this budget the paper's
flow hides nothing yet that a mask could tell of.
"""

import argparse
import json
import os
import statistics
from dataclasses import replace
from pathlib import Path

HELD_OUT = 900_000
"""Seed of the first held-out clip."""
ROWS = {
    "flow error, posterior [px]": ("posterior", "epe_backward"),
    "flow error, prior [px]": ("model", "epe_backward"),
    "forward-backward error [px]": ("posterior", "consistency"),
    "visibility F1": ("posterior", "hidden_backward_f1"),
    "visibility average precision": ("posterior", "hidden_backward_average_precision"),
    "LPIPS, posterior": ("posterior", "lpips"),
    "LPIPS, prior": ("model", "lpips"),
    "label accuracy, posterior": ("posterior", "accuracy_moved"),
    "label accuracy, prior": ("model", "accuracy_moved"),
}
"""Candidate and metric of the evaluation behind each row."""


def variants(objective: str, steps: int, seed: int) -> dict:
    """Return (networks, training) of every variant by name."""
    from seg2vid.models.config import ModelConfig, MotionDecoderConfig
    from seg2vid.training.config import OBJECTIVES

    full = ModelConfig(height=64, width=128, num_frames=4)
    training = replace(
        OBJECTIVES["geometry" if objective == "geometry" else "paper"],
        steps=steps,
        seed=seed,
        batch_size=4,
        learning_rate=1e-3,
        features=0.0,
        perceptual=0.0,
        labels=0.2,
        kl_warm_up=0,
        hint_share=0.0,
        frozen_norm=0.0,
    )
    if objective == "coarse-to-fine":
        weaker = replace(training, kl=1e-4, grid_consistency=0.1, decay_share=0.0)
        return {
            "paper's terms": (full, training),
            "weaker priors": (full, weaker),
            "coarse to fine": (full, replace(weaker, coarse_to_fine=20.0)),
        }
    # One code for everything gets the numbers of both.
    one_code = MotionDecoderConfig(background_code=24)
    named = {
        "full": (full, training),
        "without labels": (replace(full, semantics="none", flow_decoder=one_code), training),
        "without split": (replace(full, semantics="joint", flow_decoder=one_code), training),
        "without refinement": (replace(full, refinement=False), training),
    }
    if objective == "paper":
        # With exact motion there is no such term: the flows of a scene agree by construction.
        named["without consistency"] = (full, replace(training, grid_consistency=0.0))
    return named


def slug(name: str) -> str:
    """Return the name of a variant's folders."""
    return name.replace(" ", "_").replace("'", "")


def render(folder: Path, clips: int, *, height: int = 64, seed: int = 0) -> None:
    """Render clips of 1 + 4 frames, 128 wide, unless they are there."""
    from seg2vid.data.toycity.clip import ToyCityConfig
    from seg2vid.data.toycity.dataset import write_dataset

    config = ToyCityConfig(height=height, width=128, num_frames=4)
    write_dataset(folder, clips=clips, seed=seed, config=config, workers=1, progress=True)


def run(options: argparse.Namespace, seed: int) -> None:
    """Train and evaluate every variant with one seed."""
    from seg2vid.data.clips import ClipFolder
    from seg2vid.evaluation.protocol import get_protocol
    from seg2vid.evaluation.run import run as evaluate
    from seg2vid.evaluation.work import Setup
    from seg2vid.training.config import RunConfig
    from seg2vid.training.recipes import make_stage
    from seg2vid.training.run import run as run_training

    protocol = replace(
        get_protocol("toycity-v2"),
        name="ablation",
        first_seed=HELD_OUT,
        clips=options.held_out,
        height=64,
        width=128,
        num_frames=4,
        horizons=(4,),
        samples=1,
        picture_times=(4,),
        warping_times=(4,),
        baselines=("truth", "repeat", "posterior"),
        data_sha256="",
        sha256="",
    )
    for name, (model, training) in variants(options.objective, options.steps, seed).items():
        folder = options.output / f"{slug(name)}_{seed}"
        if (folder / "report" / "report.json").exists():
            continue
        sources = [(ClipFolder(options.output / "clips"), 1.0)]
        settings = RunConfig(save_every=200)
        weights = run_training(make_stage(training, model), sources, folder, settings)
        setup = Setup(protocol, folder / "report", model=str(weights), judges=options.judges)
        for line in evaluate(setup, workers=1):
            print(line)


def table(options: argparse.Namespace) -> str:
    """Return the table in Markdown: a row for each figure, a column for each variant."""
    names = list(variants(options.objective, options.steps, 0))
    from seg2vid.evaluation.run import figure_of

    reports: dict[str, list[dict]] = {}
    for name in names:
        paths = sorted(options.output.glob(f"{slug(name)}_*/report/report.json"))
        reports[name] = [json.loads(path.read_text()) for path in paths]
    counts = ", ".join(f"{name} {len(found)}" for name, found in reports.items())
    lines = [
        "| figure | " + " | ".join(names) + " | standing still |",
        "|---|" + "---|" * (len(names) + 1),
    ]
    for title, (candidate, metric) in ROWS.items():
        cells = []
        for name in names:
            values = [figure_of(report, candidate, metric) for report in reports[name]]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            mean = statistics.mean(values) if values else float("nan")
            cells.append(f"{mean:.3f} ± {spread:.3f}")
        still = [figure_of(report, "repeat", metric) for report in reports[names[0]][:1]]
        cells.append(f"{still[0]:.3f}" if still else "")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\nRuns: {counts}.\n"


ARMS = {"sees the warped frame": False, "sees the mask too": True}
"""What the paper's refiner is shown, and the option behind it."""
ERRORS = ("L1, all", "L1, hidden", "L1, visible", "LPIPS")


def refine(options: argparse.Namespace, *, sees_mask: bool, seed: int) -> dict[str, float]:
    """Train the paper's refiner on exact motion; return its errors on the held-out clips."""
    import numpy as np
    import torch
    from tqdm import tqdm

    from seg2vid.data.clips import ClipFolder, stack
    from seg2vid.labels.space import get_label_space
    from seg2vid.models.animator import Animator
    from seg2vid.models.config import preset
    from seg2vid.models.judges.perceptual import load_perceptual_distance
    from seg2vid.training.config import OBJECTIVES
    from seg2vid.training.losses import fold, refinement_loss, similarity_loss

    model, weights = preset("paper"), OBJECTIVES["paper"]
    shown = replace(model.paper, refiner_sees_mask=sees_mask)
    space = get_label_space("cityscapes")
    model = replace(model, height=128, width=128, num_frames=4, paper=shown)
    model = replace(model, label_space=space.to_dict())
    train, held_out = (ClipFolder(options.output / name) for name in ("square", "square_held_out"))
    torch.manual_seed(seed)
    dice = np.random.default_rng(seed)
    animator = Animator(model, num_channels=space.num_channels)
    moments = (0.9, weights.second_momentum)
    rate = weights.learning_rate
    optimizer = torch.optim.Adam(animator.refiner.parameters(), lr=rate, betas=moments)
    arm = "with mask" if sees_mask else "without"
    for _ in tqdm(range(options.steps), unit="step", desc=f"{arm}, seed {seed}"):
        clip = stack([train.read(int(dice.integers(len(train)))) for _ in range(2)])
        with torch.autocast("cpu", torch.bfloat16):
            refined = animator.finish(clip.first_frame, clip.label_map, clip.motion).refined.float()
        near = refinement_loss(refined, clip.frames)
        alike = similarity_loss(refined, clip.frames)
        optimizer.zero_grad()
        (weights.refinement * near + weights.similarity * alike).backward()
        optimizer.step()
    animator.eval()
    distance = load_perceptual_distance(options.judges)
    totals, counts = dict.fromkeys(ERRORS, 0.0), dict.fromkeys(ERRORS, 0.0)
    with torch.inference_mode():
        for number in range(len(held_out)):
            clip = held_out.read(number)
            refined = animator.finish(clip.first_frame, clip.label_map, clip.motion).refined
            gap = (refined - clip.frames).abs().mean(2)
            visible = clip.motion.backward_visible[:, :, 0]
            masks = (torch.ones_like(visible), 1 - visible, visible)
            for name, mask in zip(ERRORS, masks, strict=False):
                totals[name] += float((gap * mask).sum())
                counts[name] += float(mask.sum())
            totals["LPIPS"] += float(distance(fold(refined), fold(clip.frames)).mean())
            counts["LPIPS"] += 1
    return {name: totals[name] / counts[name] for name in ERRORS}


def refiner(options: argparse.Namespace) -> str:
    """Train both arms with each seed whose result is missing; return the table."""
    render(options.output / "square", options.clips, height=128)
    render(options.output / "square_held_out", options.held_out, height=128, seed=HELD_OUT)
    results = []
    for seed in options.seeds:
        path = options.output / f"refiner_{options.steps}_{seed}.json"
        if not path.exists():
            arms = {arm: refine(options, sees_mask=seen, seed=seed) for arm, seen in ARMS.items()}
            path.write_text(json.dumps(arms))
        results.append(json.loads(path.read_text()))
    lines = [f"| {options.steps} steps | {' | '.join(ARMS)} |", "|---|" + "---|" * len(ARMS)]
    for name in ERRORS:
        cells = []
        for arm in ARMS:
            values = [result[arm][name] for result in results]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            cells.append(f"{statistics.mean(values):.4f} ± {spread:.4f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\nSeeds: {len(results)}.\n"


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, help="folder of clips, runs and reports")
    parser.add_argument("--judges", type=Path, default=None, help="folder of LPIPS weights")
    parser.add_argument(
        "--objective",
        choices=("geometry", "paper", "coarse-to-fine", "refiner"),
        default="geometry",
    )
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--clips", type=int, default=600, help="training clips")
    parser.add_argument("--held-out", type=int, default=64, help="clips to evaluate on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only-table", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("TQDM_MININTERVAL", "5")
    if options.objective == "refiner":
        print(refiner(options))
        return
    if not options.only_table:
        render(options.output / "clips", options.clips)
        for seed in options.seeds:
            run(options, seed)
    print(table(options))


if __name__ == "__main__":
    main()
