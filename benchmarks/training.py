"""Training steps per second of both stages, here and in another source tree, side by side.

    python benchmarks/training.py                                       # this tree, a few clips
    python benchmarks/training.py --before PATH/src --clips FOLDER --judges FOLDER
    python benchmarks/training.py --profile --judges FOLDER             # where a step's time goes

A step is losses, gradients and optimiser, of the default networks at 128x256 in batches of four,
with the first frame's discriminator heard and trained. Each tree has a worker process; they take
turns, step by step, so that a machine that slows down slows both. Medians after two steps of
warm-up.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parents[1] / "src"
BATCH = 4
WARM_UP = 2
BOXES = (
    "first_frame", "appearance_encoder", "discriminator",
    "motion_encoder", "animator.flow_decoder", "animator.refiner",
)  # fmt: skip


class Worker:
    """One stage of one tree, in the process that has that tree on its path."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        from typing import get_type_hints

        import torch

        from seg2vid.data.clips import ClipFolder, TrainingBatches
        from seg2vid.labels.space import get_label_space
        from seg2vid.models.config import ModelConfig
        from seg2vid.models.judges.perceptual import load_perceptual_networks
        from seg2vid.training.first_frame import FirstFrameStage
        from seg2vid.training.motion import MotionStage

        torch.set_num_threads(options.threads)
        torch.manual_seed(0)
        kind: Any = {"first frame": FirstFrameStage, "motion": MotionStage}[name]
        # Where the class of the settings lives differs from tree to tree.
        training = get_type_hints(kind.__init__)["training"]()
        config = ModelConfig(label_space=get_label_space("cityscapes").to_dict())
        self.networks = load_perceptual_networks(options.judges, perceptual=True, features=False)
        self.stage = kind(config, training, self.networks).to(options.device).train()
        self.networks.to(options.device)
        self.stage.step.fill_(getattr(training, "adversarial_start", 0))
        self.optimizers = self.stage.configure_optimizers()
        self.device, self.precision = options.device, options.precision
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.batches = TrainingBatches(
            [(ClipFolder(options.clips), 1.0)],
            batch_size=BATCH, steps=1_000, start=0, seed=0, stills=self.stage.stills,
        )  # fmt: skip
        if options.profile:
            self._watch()

    def clock(self) -> float:
        """Return the time in seconds at which the device is done."""
        import torch

        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    def step(self, number: int) -> dict[str, float]:
        """Take one step; return its seconds and, of a profile, those of its parts."""
        import torch

        self.spent.clear()
        batch = self._timed("data", lambda: self.batches[number].to(self.device))
        start = self.clock()
        torch.manual_seed(number)
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
            turns = self._turns(batch)
            for optimizer in self.optimizers:
                terms = self._timed("forward", lambda: next(turns))
                optimizer.zero_grad(set_to_none=True)
                loss = torch.stack(list(terms.values())).sum()
                self._timed("backward", loss.backward)
                parameters = [p for group in optimizer.param_groups for p in group["params"]]
                torch.nn.utils.clip_grad_norm_(parameters, 10.0)
                self._timed("optimiser", optimizer.step)
        return {**self.spent, "step": self.clock() - start}

    def _turns(self, batch: Any) -> Iterator[Any]:
        """Yield the terms of each optimiser in turn."""
        stage = self.stage
        if hasattr(stage, "turns"):
            yield from stage.turns(batch)
        elif not stage.stills:
            yield stage.compute_losses(batch)
        else:
            stage.discriminator.requires_grad_(False)
            painting = stage._paint(batch)
            yield painting.terms
            stage.discriminator.requires_grad_(True)
            yield stage._judge(batch.first_frame, painting.painted.detach(), painting.label_map)

    def _timed(self, what: str, function: Callable[[], Any]) -> Any:
        """Call ``function`` and note its seconds."""
        start = self.clock()
        result = function()
        self.spent[what] += self.clock() - start
        return result

    def _watch(self) -> None:
        """Note the seconds of every box and of the perceptual network, too."""
        modules = dict(self.stage.named_modules())
        watched = {f"  {name}": modules[name] for name in BOXES if name in modules}
        if self.networks.perceptual is not None:
            watched["  perceptual"] = self.networks.perceptual
        for name, module in watched.items():

            def before(*_: Any, name: str = name) -> None:
                self.spent[name] -= self.clock()

            def after(*_: Any, name: str = name) -> None:
                self.spent[name] += self.clock()

            module.register_forward_pre_hook(before)
            module.register_forward_hook(after)


def serve(name: str, options: argparse.Namespace) -> None:
    """Take a step for each number read, and write what it cost."""
    worker = Worker(name, options)
    for line in sys.stdin:
        print(json.dumps(worker.step(int(line))), flush=True)


def measure(
    name: str, trees: dict[str, Path], arguments: list[str], steps: int
) -> dict[str, dict[str, float]]:
    """Return the median seconds of a step and its parts, for each tree."""
    command = [sys.executable, __file__, *arguments, "--worker", name]
    workers: dict[str, Any] = {
        tree: subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(place)},
        )
        for tree, place in trees.items()
    }  # fmt: skip
    costs: dict[str, list[dict[str, float]]] = {tree: [] for tree in trees}
    for number in range(WARM_UP + steps):
        for tree, worker in workers.items():
            print(number, file=worker.stdin, flush=True)
            costs[tree].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    return {
        tree: {part: statistics.median(cost[part] for cost in found[WARM_UP:]) for part in found[0]}
        for tree, found in costs.items()
    }


def print_parts(costs: dict[str, dict[str, float]]) -> None:
    """Print the seconds of each part, forward passes of boxes and LPIPS below their sum."""
    for found in costs.values():
        inside = sum(seconds for part, seconds in found.items() if part.startswith("  "))
        found["  losses and the rest"] = found["forward"] - inside
    parts = next(iter(costs.values()))
    boxes = [part for part in parts if part.startswith("  ")]
    for part in ["data", "forward", *boxes, "backward", "optimiser"]:
        figures = "".join(f"{found[part]:10.3f}" for found in costs.values())
        print(f"    {part:<26}{figures} s")


def main() -> None:
    """Print the table, or serve as one of its workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="the folder src of another tree")
    parser.add_argument("--clips", type=Path, help="by default a few are rendered")
    parser.add_argument("--judges", type=Path, help="without it the perceptual terms are left out")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--profile", action="store_true", help="print the parts of a step, too")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options.worker, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments = sys.argv[1:]
        if options.clips is None:
            make = ["toycity", "--clips", "6", "--frames", "9", "-o", folder]
            subprocess.run(
                [sys.executable, "-m", "seg2vid.cli.main", *make], check=True,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(SOURCES)},
            )  # fmt: skip
            arguments += ["--clips", folder]
        trees = {"before": options.before} if options.before else {}
        trees["this tree"] = SOURCES
        print(f"128x256, batch of {BATCH}, {options.precision}, {options.device}")
        print("steps per second" + " " * 14 + "".join(f"{tree:>10}" for tree in trees))
        for name in ("first frame", "motion"):
            costs = measure(name, trees, arguments, options.steps)
            rates = [1 / found["step"] for found in costs.values()]
            ratio = f"   x {rates[-1] / rates[0]:.2f}" if options.before else ""
            print(f"  {name:<28}" + "".join(f"{rate:10.2f}" for rate in rates) + ratio, flush=True)
            if options.profile:
                print_parts(costs)


if __name__ == "__main__":
    main()
