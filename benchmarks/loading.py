"""Measures how fast clips are read from a prepared dataset, what training needs, and memory.

Everything in one run: reading one by one, streaming with 0, 1 and 2 workers, the clips per second
that a training step of motion takes on this machine, and the memory of the process
while 10,000 clips are read (the dataset again and again). Rates are medians over five parts.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from seg2vid.data.clips import TrainingBatches
from seg2vid.data.prepared import PreparedDataset, stream_clips
from seg2vid.labels.space import get_label_space
from seg2vid.models.config import ModelConfig
from seg2vid.structures import Clip
from seg2vid.training.config import MotionTrainingConfig, RunConfig
from seg2vid.training.cost import measure_cost
from seg2vid.training.motion import MotionStage


class Stream(IterableDataset[Clip]):
    """The dataset as a stream, again and again."""

    def __init__(self, place: Path, epochs: int) -> None:
        super().__init__()
        self.place, self.epochs = place, epochs

    def __iter__(self) -> Iterator[Clip]:
        """Yield the clips."""
        return chain.from_iterable(
            stream_clips(self.place, epoch=epoch, shuffle=64) for epoch in range(self.epochs)
        )


def rate(clips: Iterator[Clip], number: int, parts: int = 5) -> float:
    """Return clips per second: the median over equal parts, after a warm-up of one part."""
    each, rates = max(1, number // parts), []
    for part in range(parts + 1):
        start = time.perf_counter()
        taken = sum(1 for _ in islice(clips, each))
        if part and taken == each:
            rates.append(taken / (time.perf_counter() - start))
    return statistics.median(rates)


def resident() -> float:
    """Return the memory of this process in MB (Linux)."""
    text = Path("/proc/self/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def one_by_one(dataset: PreparedDataset) -> Iterator[Clip]:
    """Read clips in a scattered order, without end."""
    return (dataset.read(index * 7919 % len(dataset)) for index in count())


def need(dataset: PreparedDataset, batch_size: int, threads: int) -> float:
    """Return the clips per second that training motion takes (bf16 where the processor has it)."""
    torch.set_num_threads(threads)
    model = ModelConfig(label_space=get_label_space("cityscapes").to_dict())
    stage = MotionStage(model, MotionTrainingConfig(batch_size=batch_size))
    counts: dict[str, Any] = {"batch_size": batch_size, "steps": 1, "start": 0, "seed": 0}
    batches = TrainingBatches([(dataset, 1.0)], stills=False, **counts)
    settings = RunConfig(precision="bfloat16")
    cost = measure_cost(stage, batches, settings, [], device=torch.device("cpu"))
    return batch_size / cost["seconds_per_step"]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a prepared dataset")
    parser.add_argument("--clips", type=int, default=500, help="clips to time")
    parser.add_argument("--long", type=int, default=10_000, help="clips to watch memory over")
    parser.add_argument("--threads", type=int, default=2, help="threads of the training step")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = PreparedDataset(options.data)
    size = tuple(dataset.read(0).frames.shape[1:])
    shards = len(dataset.shards)
    print(f"{options.data}: {len(dataset)} clips in {shards} shards, frames {size}")
    print(f"read one by one        {rate(one_by_one(dataset), options.clips):8.1f} clips/s")
    for workers in (0, 1, 2):
        epochs = 2 + 2 * options.clips // len(dataset)
        loader = DataLoader(Stream(options.data, epochs), batch_size=None, num_workers=workers)
        speed = rate(iter(loader), options.clips)
        print(f"streamed, {workers} workers    {speed:8.1f} clips/s")
    memory = []
    for number, _ in enumerate(islice(one_by_one(dataset), options.long)):
        if number % max(1, options.long // 20) == 0:
            memory.append(resident())
    settled = memory[len(memory) // 4 :]
    print(
        f"memory over {options.long} clips: {settled[0]:.0f} MB after a quarter, "
        f"{settled[-1]:.0f} MB at the end, largest {max(settled):.0f} MB"
    )
    # Last, for training holds memory of its own.
    wanted = need(dataset, 4, options.threads)
    print(f"training takes         {wanted:8.1f} clips/s ({options.threads} threads)")


if __name__ == "__main__":
    main()
