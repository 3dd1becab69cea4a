"""Datasets made on a Ray cluster: the same bytes as by processes, whatever becomes of a worker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seg2vid.data.annotated import work as annotated_work
from seg2vid.data.annotated.plan import make_job
from seg2vid.tools import ray_cluster
from seg2vid.tools.computing import Working
from seg2vid.tools.engines import open_engine
from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.processes import WorkerDied
from seg2vid.tools.ray_cluster import RayCluster
from tests.data.annotated.test_annotated import Deadly, asked, content, maps, model
from tests.data.prepare.test_processes import Command, long_films, undisturbed

__all__ = ["long_films", "maps", "model", "undisturbed"]

WORKER = b"ray::_Worker"

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra scale")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    message = r"^Expected the extra `scale` to be installed; got no ray .*seg2vid\[scale\]'\.$"
    with pytest.raises(Seg2VidError, match=message), open_engine(Working(engine="ray")):
        pass


def test_an_address_needs_the_engine() -> None:
    message = r"--ray-address with --engine ray; got --engine processes; add --engine ray"
    with pytest.raises(Seg2VidError, match=message), open_engine(Working(ray_address="a:1")):
        pass


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What stands for Ray in tests that start none."""
    fake = SimpleNamespace(is_initialized=lambda: False)
    monkeypatch.setattr(ray_cluster, "import_extra", lambda *_: fake)
    return fake


def test_reports_to_its_makers_are_off(no_ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    RayCluster(None, on_gpus=False)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_gpus_are_shared(no_ray: Any) -> None:
    no_ray.cluster_resources = lambda: {"CPU": 8.0, "GPU": 2.0}
    cluster = RayCluster(None, on_gpus=True)
    assert [cluster._share_of_gpu(workers) for workers in (1, 2, 3, 8)] == [1, 1, 0.5, 0.25]
    assert RayCluster(None, on_gpus=False)._share_of_gpu(8) == 0
    no_ray.cluster_resources = lambda: {"CPU": 8.0}
    with pytest.raises(Seg2VidError, match="a Ray cluster with GPUs, as here; got one without"):
        cluster._share_of_gpu(1)


def test_a_cluster_that_does_not_answer_is_one_line(no_ray: Any) -> None:
    def init(**how: Any) -> None:
        raise ConnectionError("nobody at\n" + how["address"])

    no_ray.init = init
    message = r"^Expected a Ray cluster at a:1; got nobody at; start it; one with a token needs"
    with pytest.raises(Seg2VidError, match=message):
        RayCluster("a:1", on_gpus=False).cores()


def test_a_machine_unlike_this_one_is_told(tmp_path: Path) -> None:
    worker = ray_cluster._Worker()
    with pytest.raises(Seg2VidError, match=r"seg2vid 0\.0 on all machines of the cluster; got"):
        worker.begin(tmp_path, "0.0", {})
    with pytest.raises(Seg2VidError, match=r"the folder .*nowhere on all machines .*; got none on"):
        worker.begin(tmp_path / "nowhere", ray_cluster.__version__, {})


def workers_of(process: subprocess.Popen[Any]) -> list[int]:
    """Return the workers of Ray among what a process started."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line, group = (place / "cmdline").read_bytes(), os.getsid(int(place.name))
        except (OSError, ProcessLookupError):
            continue
        if line.startswith(WORKER) and group == process.pid:
            found.append(int(place.name))
    return found


@pytest.mark.slow
@pytest.mark.timeout(500)
@needs_ray
def test_a_worker_that_is_killed_changes_nothing(maps: Path, model: Path, tmp_path: Path) -> None:
    """Two workers, one gets SIGKILL at work; its clip is made again."""

    def command(output: str, *more: str) -> list[str]:
        words = ["dataset", maps, "-o", tmp_path / output, "--layout", "cityscapes", "--count", 30]
        words += ["--frames", 3, "--model", model, "--workers", 2]
        return [sys.executable, "-m", "seg2vid", *map(str, words), *more]

    subprocess.run(command("whole"), check=True, capture_output=True)
    how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command("ray", "--engine", "ray"), **how, start_new_session=True)
    parts = tmp_path / "ray" / "parts"
    while process.poll() is None and len(list(parts.glob("*.json"))) < 3:
        time.sleep(0.02)
    before = workers_of(process)
    os.kill(before[0], signal.SIGKILL)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert len(before) == 2 and "30 clips" in output and "warning" not in output
    assert content(tmp_path / "ray") == content(tmp_path / "whole")
    assert not errors.strip(), "Ray says nothing"


@pytest.mark.slow
@pytest.mark.timeout(500)
@needs_ray
def test_ctrl_c_leaves_no_partial_file_and_the_run_goes_on(
    long_films: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    command = Command(long_films, tmp_path / "run", "--engine", "ray")
    command.wait_for(lambda: bool(command.parts()) and bool(command.parts(".*.partial*")))
    os.killpg(command.process.pid, signal.SIGINT)
    _, errors = command.end()
    assert command.process.returncode == 130
    assert errors.strip().endswith("seg2vid: stopped; no partial file is left"), errors
    command.wait_until_gone()
    assert [path for path in command.output.rglob("*") if ".partial" in path.name] == []
    done = len(command.parts())
    again = Command(long_films, tmp_path / "run", "--engine", "ray")
    output, errors = again.end()
    assert again.process.returncode == 0, errors
    assert done >= 1 and f"({done} done before)" in output
    assert content(again.output) == undisturbed


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Give the address of a cluster of two machines of one worker each."""
    with pytest.MonkeyPatch.context() as patch:
        # Read when Ray is imported, which nothing else does in this process.
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        for name, text in ray_cluster.TIME_TO_START.items():
            patch.setenv(name, text)
        from ray.cluster_utils import Cluster

        bare = {"num_cpus": 1, "include_dashboard": False}
        two = Cluster(initialize_head=True, head_node_args=bare)
        try:
            two.add_node(num_cpus=1)
            yield two.address
        finally:
            two.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(500)
@needs_ray
def test_shares_on_a_cluster_of_others_make_the_same_dataset(
    cluster: str, long_films: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    for share in ("2/2", "1/2"):
        more = ("--engine", "ray", "--ray-address", cluster, "--shard-of", share)
        command = Command(long_films, tmp_path / "run", *more)
        output, errors = command.end()
        assert command.process.returncode == 0, errors
        assert "with 2 processes" in output
    assert content(command.output) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(500)
@needs_ray
def test_a_clip_that_no_worker_survives_is_reported(
    cluster: str, maps: Path, model: Path, tmp_path: Path
) -> None:
    job, _ = make_job(asked(maps, model, tmp_path / "d", "davis"))
    job.parts.mkdir(parents=True)
    first, second, third = job.maps
    job = replace(job, maps=(first, Deadly(second), third))
    with open_engine(Working(engine="ray", ray_address=cluster)) as engine:
        assert engine.cores() == 2 and engine.threads(2) == 1
        with pytest.raises(WorkerDied) as death:
            engine.work(os._exit, [1], workers=1, done=lambda *_: None)
        assert death.value.at_work == [1]
        with pytest.raises(WorkerDied, match="processes that can start") as death:
            end: dict[str, Any] = {"begin": os._exit, "begin_with": (1,)}
            engine.work(abs, [1], workers=2, done=lambda *_: None, **end)
        assert not death.value.has_begun
        with pytest.raises(ZeroDivisionError):
            engine.work((1).__floordiv__, [0], workers=1, done=lambda *_: None)
        annotated_work.work(job, [0, 1, 2], 2, engine)
    parts = [json.loads(job.part(number).read_text()) for number in range(3)]
    assert [part["error"] is None for part in parts] == [True, False, True]
    assert "the process that made it ended, twice" in parts[1]["error"]
