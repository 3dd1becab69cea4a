"""What every test shares: one thread, fixed seeds, no deadline, and the way to the real data."""

import importlib
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings

# Before any module of ours: the hook that checks shapes makes Python compile whatever a checked
# module is the first to import anew, each time.
for heavy in ("lightning", "torchmetrics", "scipy.stats", "matplotlib.figure", "torch._dynamo"):
    importlib.import_module(heavy)

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile("seg2vid", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("seg2vid")


def pytest_configure(config: pytest.Config) -> None:
    """Run PyTorch on one thread, so that figures repeat and parallel workers do not fight."""
    torch.set_num_threads(1)


LONGEST = {
    *("test_readme.py", "test_run.py", "test_contributing.py", "test_keeper.py", "test_prepare.py"),
    *("test_fine_tune.py", "test_segmenter.py", "test_paper.py", "test_rendering.py"),
    *("test_candidates.py", "test_page.py", "test_work.py", "test_toycity.py"),
    *("test_devices.py", "test_session.py", "test_pipeline.py", "test_exports.py", "test_docs.py"),
    *("test_transfer.py", "test_serve.py", "test_graphs.py"),
}
WHOLE_RUNS = {
    *("test_readme.py", "test_run.py", "test_keeper.py", "test_fine_tune.py", "test_segmenter.py"),
    *("test_work.py", "test_page.py", "test_evaluation.py", "test_prepare.py", "test_failures.py"),
    *("test_training.py", "test_recipes.py", "test_golden_curves.py", "test_processes.py"),
    *("test_graphs.py", "test_web.py", "test_exports.py", "test_session.py", "test_devices.py"),
    *("test_refiner.py", "test_diversity.py"),
}
"""Files whose tests train, evaluate, prepare or play from end to end. They call thousands of times
what other files test with shapes checked; here the checks would take a third of the time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker is left alone with one."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="module", autouse=True)
def shape_checks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check shapes and types at run time, but for whole runs."""
    jaxtyping.config.update("jaxtyping_disable", request.path.name in WHOLE_RUNS)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Start every test from the same random state, whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def short_search(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search for a clip's motion from one beginning, in tests of what lies around the search.

    But not where other processes, which know nothing of this, are to find the same.
    """
    if request.path.name not in ("test_motion_tracker.py", "test_work.py"):
        tracker = "seg2vid.models.motion_tracker"
        monkeypatch.setattr(f"{tracker}.CAMERA_STARTS", ((5.0, 0.0),))
        monkeypatch.setattr(f"{tracker}.CAMERA_CHANGES", ((0.0, 0.0),))
        monkeypatch.setattr(f"{tracker}.OBJECT_STARTS", ((0.0, 0.0, 0.0),))


@pytest.fixture(scope="session")
def quick_bfloat16() -> Iterator[None]:
    """Convolve bfloat16 in float32 and round, as fast processors do.

    Where a processor is not made for it PyTorch takes a loop sixty times as slow.
    """
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        yield
        return

    library = torch.library.Library("aten", "IMPL")
    for name in ("_slow_conv2d_forward", "slow_conv3d_forward"):
        loop = torch.library.get_kernel(f"aten::{name}", "CPU")

        def convolve(keys: Any, features: torch.Tensor, *given: Any, loop: Any = loop) -> Any:
            if features.dtype != torch.bfloat16:
                return loop.call_boxed(keys, features, *given)
            weight, _, bias, stride, padding = given
            wide = (features.float(), weight.float(), None if bias is None else bias.float())
            exact = torch.mkldnn_convolution(*wide, padding, stride, [1] * len(stride), 1)
            return exact.to(features.dtype)

        with warnings.catch_warnings(action="ignore"):  # that a kernel is replaced: it is meant
            library.impl(name, convolve, "CPU", with_keyset=True)
    yield
    library._destroy()


@pytest.fixture(params=["float32", "bfloat16"])
def arithmetic(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, quick_bfloat16: None
) -> str:
    """Force what the processor would choose: both branches run on every machine."""
    is_fast = request.param == "bfloat16"
    monkeypatch.setattr("seg2vid.tools.devices.has_fast_bfloat16", lambda device: is_fast)
    return request.param


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real clips, label maps and judges, which lie beside the repository and are not part of it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real clips and judges in {folder}, which is absent")
    return folder
