"""What a result came from: time, command, commit, versions and machine; optional packages."""

import datetime
import importlib
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from seg2vid.tools.errors import Seg2VidError

PACKAGES = (
    *("seg2vid", "torch", "lightning", "torchmetrics", "numpy"),
    *("pillow", "av", "opencv-python-headless", "safetensors", "onnxruntime", "openvino"),
)


def describe_environment() -> dict[str, Any]:
    """Return time, command, commit, versions and machine."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": _git_commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def without_folders(words: Sequence[str]) -> list[str]:
    """Return a command that may be published: of absolute paths the last part alone."""
    return [f".../{Path(word).name}" if Path(word).is_absolute() else word for word in words]


def describe_machine() -> dict[str, Any]:
    """Return the processor's name, its cores and the memory in bytes (0 where unknown)."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        named = (line.partition(":")[2].strip() for line in lines if "model name" in line)
        name = next(named, name)
    memory = 0
    with suppress(ValueError, OSError, AttributeError):  # not on Windows
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"processor": name, "cores": os.cpu_count() or 1, "memory_bytes": memory}


def free_memory(device: torch.device) -> float:
    """Return the bytes that a new computation may take on a device, infinite if unknown."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = [float("inf")]
    with suppress(OSError, ValueError, IndexError):  # Linux; a container's own bound is no number
        text = Path("/proc/meminfo").read_text("utf-8")
        free.append(1024.0 * int(text.partition("MemAvailable:")[2].split()[0]))
        group = Path("/sys/fs/cgroup")
        limit, used = (group / f"memory.{name}" for name in ("max", "current"))
        free.append(float(int(limit.read_text()) - int(used.read_text())))
    return min(free)


def peak_memory() -> int:
    """Return the most memory, in bytes, that this process had: on its GPU if it uses one."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    with suppress(OSError, IndexError):  # Linux, whose getrusage begins with what the parent had
        told = Path("/proc/self/status").read_text("utf-8")
        return 1024 * int(told.partition("VmHWM:")[2].split()[0])
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def import_extra(package: str, *extras: str) -> Any:
    """Import a package that each of our ``extras`` brings; else raise ``Seg2VidError``."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        what = f"the extra {' or '.join(f'`{extra}`' for extra in extras)} to be installed"
        fix = " or ".join(f"pip install 'seg2vid[{extra}]'" for extra in extras)
        raise Seg2VidError(what, got=f"no {package} ({error})", fix=fix) from error


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git_commit() -> str:
    """Return the commit of the code, with ``+`` where files differ from it; empty outside git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    folder = Path(__file__).parent
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.check_output(
            command, cwd=folder, stderr=subprocess.DEVNULL, text=True, timeout=10
        ).strip()
    return ""
