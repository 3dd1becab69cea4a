"""The folder of a training run: what is in it, and how it survives a kill or a full disk.

::

    RUN/
        config.yaml           the resolved configuration: `--recipe RUN/config.yaml` trains the same
        starts.json           every start: time, command, commit, versions, machine, forecast
        state.safetensors     all that is needed to go on; the one before it in state.older...
        model.safetensors     the weights to use, as they are now
        best.safetensors      the same at the best validation
        log/version_N/        CSV and TensorBoard logs of start N
        curves.png            losses, gradients and validation over all starts
        sheets/ videos/       pictures of the held-out clips, every so many steps
        diverged/             batch and state where a run had to stop
        summary.json          what it took and came to, once it is done
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seg2vid.tools.environment import describe_environment
from seg2vid.tools.errors import TrainingError
from seg2vid.tools.files import partial_files, replacing
from seg2vid.tools.plain import read_plain

FORMAT = "seg2vid-run-1"
Tensors = dict[str, Tensor]
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class RunState:
    """All that is needed to go on: tensors of the stage, and states of its optimisers."""

    tensors: Tensors
    optimizers: list[dict[str, Any]]
    notes: dict[str, Any]
    """Seconds trained so far, and other plain values."""


@contextmanager
def room_for(what: str, place: Path) -> Iterator[None]:
    """Turn the errors of a full disk into ``TrainingError``: what was there before still is."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        # The safetensors library gives no number: where it fails in writing, it is the disk.
        if isinstance(error, OSError) and error.errno not in FULL:
            raise
        fix = "free some space and give the same command again: the last whole state is still there"
        what = f"room on the disk for {what} in {place}"
        raise TrainingError(what, got=error, fix=fix) from None


def write_state(folder: Path, state: RunState) -> None:
    """Write ``state.safetensors`` whole or not at all; the one before becomes the older one."""
    tensors = dict(state.tensors)
    for number, optimizer in enumerate(state.optimizers):
        for index, values in optimizer["state"].items():
            tensors |= {f"optimizer.{number}.{index}.{name}": one for name, one in values.items()}
    groups = json.dumps([optimizer["param_groups"] for optimizer in state.optimizers])
    about = {"format": FORMAT, "optimizers": groups, "notes": json.dumps(state.notes)}
    path = folder / "state.safetensors"
    with replacing(path) as temporary, room_for("the state of the run", folder):
        save_tensors(tensors, temporary, about)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            path.replace(folder / "state.older.safetensors")


def save_tensors(tensors: Tensors, path: Path, about: dict[str, str] | None = None) -> None:
    """Write tensors of any shape and device to a safetensors file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, path, about)


def read_state(folder: Path) -> RunState | None:
    """Read the newest whole state, none for a new run; ``TrainingError`` where all are damaged."""
    paths = [folder / name for name in ("state.safetensors", "state.older.safetensors")]
    there = [path for path in paths if path.is_file()]
    for path in there:
        try:
            return _read_state(path)
        except (SafetensorError, OSError, LookupError, ValueError):
            continue
    if there:
        what, fix = f"a whole state in {folder}", "delete it to start anew, or fetch it again"
        raise TrainingError(what, got="a damaged file", fix=fix)
    return None


def _read_state(path: Path) -> RunState:
    with safe_open(path, "pt") as file:
        about = file.metadata() or {}
        if about.get("format") != FORMAT:
            raise ValueError(f"{path} is of format {about.get('format')}")
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if not all(one.isfinite().all() for one in found.values() if one.is_floating_point()):
        raise ValueError(f"{path} holds nan or inf")
    groups, notes = json.loads(about["optimizers"]), json.loads(about["notes"])
    if not isinstance(groups, list) or not isinstance(notes, dict):
        raise ValueError(f"{path} holds other metadata")
    optimizers: list[dict[str, Any]] = [{"state": {}, "param_groups": group} for group in groups]
    for name in [name for name in found if name.startswith("optimizer.")]:
        _, number, index, key = name.split(".")
        optimizers[int(number)]["state"].setdefault(int(index), {})[key] = found.pop(name)
    return RunState(found, optimizers, notes)


def claim(folder: Path, resolved: dict[str, Any], *, writes: bool = True) -> None:
    """Write the resolved configuration into the folder, or without ``writes`` only compare them.

    Raises ``TrainingError`` where the folder belongs to another one.
    """
    path, plain = folder / "config.yaml", json.loads(json.dumps(resolved))
    what, fix = "the configuration of a run", "choose another output folder to start anew"
    kept = path.exists()
    before = read_plain(path, what, error=TrainingError, fix=fix) if kept else plain
    if changed := sorted(name for name, *_ in differences(before, plain)):
        got = ", ".join(changed[:4]) + (" and more" if len(changed) > 4 else "")
        what = f"the configuration that {folder} was started with"
        fix = "give the same options to resume, or another output folder to start anew"
        raise TrainingError(what, got=f"another {got}", fix=fix)
    if writes:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100))


def differences(before: Any, after: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted name and both values of what differs between nested dictionaries."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before | after:
            dotted = f"{name}.{key}".lstrip(".")
            yield from differences(before.get(key), after.get(key), dotted)
    elif before != after:
        yield name, before, after


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; raise ``TrainingError`` where the disk is full."""
    with replacing(path) as temporary, room_for(path.name, path.parent):
        temporary.write_text(text, encoding="utf-8")


def note_start(folder: Path, **facts: Any) -> None:
    """Add this start to ``starts.json``: when, by which command, from which code, on what."""
    path = folder / "starts.json"
    what, fix = "a list of the starts of a run", "delete it, or choose another output folder"
    starts = read_plain(path, what, error=TrainingError, fix=fix) if path.exists() else []
    if not isinstance(starts, list):
        raise TrainingError(f"{what} in {path}", got=type(starts).__name__, fix=fix)
    starts.append({**describe_environment(), **facts})
    write_text(path, json.dumps(starts, indent=1) + "\n")


def check_room(folder: Path, needed: int) -> None:
    """Raise ``TrainingError`` where ``needed`` bytes would not fit on the disk."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        what = f"{needed / 2**20:.0f} MiB of room in {folder}"
        got, fix = f"{free / 2**20:.0f} MiB free", "free some space, or choose another place"
        raise TrainingError(what, got=got, fix=fix)


def sweep(folder: Path) -> None:
    """Delete what a killed start left half written, where a run has started before."""
    if not (folder / "config.yaml").is_file():
        return
    for place in (folder, *(folder / name for name in ("sheets", "videos", "diverged"))):
        halves = partial_files(place)
        # The names under which the safetensors library writes.
        halves += [
            path for path in place.glob(".tmp??????") if path.name[4:].isalnum() and path.is_file()
        ]
        for path in halves:
            path.unlink(missing_ok=True)
