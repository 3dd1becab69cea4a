"""What can stop a run: told in one line, with what is needed to find the cause."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from seg2vid.tools.errors import DivergenceError, Seg2VidError, TrainingError, expected
from seg2vid.training.folder import write_text
from seg2vid.training.stage import Stage


@contextmanager
def told_in_one_line(stage: Stage, output: Path) -> Iterator[None]:
    """Turn what can stop a run into an error that says what happened and what to do."""
    try:
        yield
    except DivergenceError as error:
        kept = keep_evidence(output, stage, error)
        fix = (
            f"see `seg2vid train replay {output}` (batch and state are in {kept.name}/), then lower"
        )
        fix += " --learning-rate or raise --warm-up"
        text = str(error).rpartition("; ")[0] + f"; {fix}."
        raise DivergenceError(text, terms=error.terms, norm=error.norm) from None
    except Seg2VidError as error:
        if "Original Traceback" not in str(error):
            raise
        # From a process that reads clips: the last line is the error's own.
        last = str(error).strip().splitlines()[-1].partition(": ")[2]
        raise type(error)(last) from None
    except (MemoryError, RuntimeError) as error:
        words = ("out of memory", "can't allocate memory")
        if not isinstance(error, MemoryError) and not any(word in str(error) for word in words):
            raise
        fix = "lower --batch-size and raise --accumulate, or set --recompute true"
        text = expected("memory for a batch", got=str(error).splitlines()[0][:200], fix=fix)
        raise TrainingError(text) from None


def keep_evidence(output: Path, stage: Stage, error: DivergenceError) -> Path:
    """Write the batch, the state before the step and what was wrong into ``diverged/``, and return
    that folder. ``stage`` is as it was when ``error`` was raised; each process writes its batch.
    """
    folder = output / "diverged"
    folder.mkdir(exist_ok=True)
    rank = stage.global_rank
    tensors: dict[str, torch.Tensor] = {}

    def note(name: str, value: Any) -> None:
        """Collect the tensors of a carrier by dotted name."""
        if isinstance(value, torch.Tensor):
            tensors[name] = value.detach().cpu().contiguous()
        elif value is not None and hasattr(value, "map"):
            for key, part in vars(value).items():
                note(f"{name}.{key}".lstrip("."), part)

    note("", stage.batch)
    step = int(stage.step)
    about = {"step": step, "terms": error.terms, "gradient_norm": error.norm, "process": rank}
    save_file(tensors, folder / f"batch_{rank}.safetensors")
    if rank == 0:
        state = dict(stage.state_dict())
        save_file({k: v.cpu().contiguous() for k, v in state.items()}, folder / "state.safetensors")
    text = json.dumps(about, indent=1)
    write_text(folder / f"what_{rank}.json", text + "\n")
    return folder
