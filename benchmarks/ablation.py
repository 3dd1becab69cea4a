"""What each idea of the paper is worth: variants trained equally long on the same toy-city clips.

    python benchmarks/ablation.py runs/ablation --judges JUDGES     # trains, evaluates, prints
    python benchmarks/ablation.py runs/ablation --only-table        # what is there so far

Our networks at 64 x 128, four frames a pass. ``--objective geometry`` (the default) learns from the
toy city's exact motion; ``--objective paper`` from pictures alone, with the authors' weights and
without VGG features; ``--objective coarse-to-fine`` compares that with what makes it learn. LPIPS
is never trained on. Every variant is trained with every seed; the same command goes on where it was
stopped. Figures are of held-out clips; ± is the standard deviation over seeds.
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


def render(folder: Path, clips: int) -> None:
    """Render the training clips, unless they are there."""
    from seg2vid.data.toycity.clip import ToyCityConfig
    from seg2vid.data.toycity.dataset import write_dataset

    config = ToyCityConfig(height=64, width=128, num_frames=4)
    write_dataset(folder, clips=clips, seed=0, config=config, workers=1, progress=True)


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
        get_protocol("toycity-v1"),
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


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, help="folder of clips, runs and reports")
    parser.add_argument("--judges", type=Path, default=None, help="folder of LPIPS weights")
    parser.add_argument(
        "--objective", choices=("geometry", "paper", "coarse-to-fine"), default="geometry"
    )
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--clips", type=int, default=600, help="training clips")
    parser.add_argument("--held-out", type=int, default=64, help="clips to evaluate on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only-table", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("TQDM_MININTERVAL", "5")
    if not options.only_table:
        render(options.output / "clips", options.clips)
        for seed in options.seeds:
            run(options, seed)
    print(table(options))


if __name__ == "__main__":
    main()
