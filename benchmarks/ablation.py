"""What each idea of the paper is worth: variants trained equally long on the same toy-city clips.

    python benchmarks/ablation.py runs/ablation --judges JUDGES     # trains, evaluates, prints
    python benchmarks/ablation.py runs/ablation --only-table        # what is there so far

Compact networks at 64 x 128, four frames a pass. ``--objective compact`` (the default) learns from
the toy city's exact motion; ``--objective paper`` from pictures alone, with the authors' weights
and without VGG features. LPIPS is never trained on. Every variant is trained with every seed; the
same command goes on where it was stopped. Figures are of held-out clips; ± is the standard
deviation over seeds.
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
    "flow error, posterior [px]": "end-point error backward, posterior [px]",
    "flow error, prior mean [px]": "end-point error backward, prior mean [px]",
    "forward-backward error [px]": "forward-backward error, posterior [px]",
    "visibility F1": "visibility F1 backward, posterior",
    "visibility average precision": "visibility average precision backward, posterior",
    "LPIPS, posterior": "LPIPS, posterior",
    "LPIPS, prior mean": "LPIPS, prior mean",
    "label accuracy t=4, posterior": "label accuracy t=4, posterior",
    "label accuracy t=4, prior mean": "label accuracy t=4, prior mean",
}


def variants(objective: str, steps: int, seed: int) -> dict:
    """Return (networks, training) of every variant by name."""
    from seg2vid.config import FlowDecoderConfig, ModelConfig
    from seg2vid.train_config import OBJECTIVES

    full = ModelConfig(height=64, width=128, num_frames=4)
    training = replace(
        OBJECTIVES[objective],
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
    # One code for everything gets the numbers of both.
    one_code = FlowDecoderConfig(background_code=24)
    return {
        "full": (full, training),
        "without labels": (replace(full, semantics="none", flow_decoder=one_code), training),
        "without split": (replace(full, semantics="joint", flow_decoder=one_code), training),
        "without consistency": (
            full,
            replace(training, consistency=0.0, grid_consistency=0.0),
        ),
        "without refinement": (replace(full, refinement=False), training),
    }


def render(folder: Path, clips: int) -> None:
    """Render the training clips, unless they are there."""
    from seg2vid.data.toycity import ToyCityConfig, write_dataset

    config = ToyCityConfig(height=64, width=128, num_frames=4)
    write_dataset(folder, clips=clips, seed=0, config=config, workers=1, progress=True)


def run(options: argparse.Namespace, seed: int) -> None:
    """Train and evaluate every variant with one seed."""
    from seg2vid import train
    from seg2vid.data.clips import ClipFolder
    from seg2vid.evaluate import evaluate, write_report
    from seg2vid.features import load_perceptual_distance
    from seg2vid.train_config import RunConfig

    judge = load_perceptual_distance(options.judges)
    for name, (model, training) in variants(options.objective, options.steps, seed).items():
        folder = options.output / f"{name.replace(' ', '_')}_{seed}"
        if (folder / "report.json").exists():
            continue
        sources = [(ClipFolder(options.output / "clips"), 1.0)]
        settings = RunConfig(save_every=200)
        weights = train.start(training, sources, folder, model=model, settings=settings)
        report = evaluate(str(weights), clips=options.held_out, seed=HELD_OUT, judge=judge)
        write_report(report, folder / "report.json")


def table(options: argparse.Namespace) -> str:
    """Return the table in Markdown: a row for each figure, a column for each variant."""
    names = list(variants(options.objective, options.steps, 0))
    figures: dict[str, list[dict[str, float]]] = {}
    for name in names:
        paths = sorted(options.output.glob(f"{name.replace(' ', '_')}_*/report.json"))
        figures[name] = [json.loads(path.read_text())["figures"] for path in paths]
    counts = ", ".join(f"{name} {len(found)}" for name, found in figures.items())
    lines = [
        "| figure | " + " | ".join(names) + " | standing still |",
        "|---|" + "---|" * (len(names) + 1),
    ]
    still = {
        "flow error": "end-point error backward, zero flow [px]",
        "LPIPS": "LPIPS, first frame repeated",
        "label accuracy": "label accuracy t=4, first frame repeated",
    }
    for title, key in ROWS.items():
        cells = []
        for name in names:
            values = [found[key] for found in figures[name]]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            mean = statistics.mean(values) if values else float("nan")
            cells.append(f"{mean:.3f} ± {spread:.3f}")
        base = next((key for start, key in still.items() if title.startswith(start)), None)
        found = figures[names[0]]
        cells.append(f"{found[0][base]:.3f}" if base and found else "")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\nRuns: {counts}.\n"


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, help="folder of clips, runs and reports")
    parser.add_argument("--judges", type=Path, default=None, help="folder of LPIPS weights")
    parser.add_argument("--objective", choices=("compact", "paper"), default="compact")
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
