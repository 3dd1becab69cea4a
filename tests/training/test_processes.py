"""Training in several processes, on several machines, and killed: the same weights in every case.

Where a test starts more than one process, a user would give, with the options of one process::

    seg2vid train motion ... --devices 2                      # one machine
    torchrun --nproc-per-node 2 -m seg2vid.cli.main train motion ... --devices 2

    export MASTER_ADDR=10.0.0.1 MASTER_PORT=29500             # two machines, on both of them;
    NODE_RANK=0 seg2vid train motion ... --nodes 2 --devices 1     # then this on the first
    NODE_RANK=1 seg2vid train motion ... --nodes 2 --devices 1     # and this on the second

    srun seg2vid train motion ... --nodes 2 --devices 1       # or let SLURM say who is who

The folder of the run must be the same one on all machines: all read the state when they resume.
"""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.utilities import rank_zero_only as other_rank_zero_only
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from seg2vid.data.clips import ClipFolder
from seg2vid.models.config import to_dict
from seg2vid.training import run as train
from seg2vid.training.curves import read_curves
from seg2vid.training.folder import read_state
from seg2vid.training.recipes import make_stage
from seg2vid.training.validation import average, measure, pick_clips
from tests.conftest import REPOSITORY
from tests.tiny import CONFIG, MOTION_TRAINING, QUIET, write_clips
from tests.training_process import TRAININGS, Job

STAGES = list(TRAININGS)
SETTINGS = {"devices": 2, "sheet_every": 4, "validate_every": 2, "validation_clips": 3}
LONGEST = 110
"""Seconds after which a process is taken to hang."""
OF_LAUNCHERS = ("RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_", "TORCHELASTIC", "SLURM")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), count=6)


class Process:
    """A command in a session of its own, so that nothing of it is left behind."""

    def __init__(self, words: Sequence[str], **variables: str) -> None:
        own = {k: v for k, v in os.environ.items() if not any(name in k for name in OF_LAUNCHERS)}
        path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
        own |= {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables}
        self.process = subprocess.Popen(
            [sys.executable, *words],
            cwd=REPOSITORY,
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self) -> tuple[int, str]:
        """Wait for it and all that it started; return its status and what it said of errors."""
        try:
            said = self.process.communicate(timeout=LONGEST)[1]
        finally:
            self.kill_all()
        return self.process.returncode, said

    def succeed(self) -> None:
        """Wait for it; fail where it did."""
        status, said = self.finish()
        assert status == 0 and "Traceback" not in said, said[-3000:]

    def kill_all(self) -> None:
        """Kill what is left of its session."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def start_job(job: Job, *launcher: str, **variables: str) -> Process:
    """Start a job, directly or by a launcher."""
    path = Path(f"{job.report}.json")
    path.write_text(json.dumps(asdict(job)))
    return Process([*launcher, "-m", "tests.training_process", str(path)], **variables)


def make_job(stage: str, clips: Path, folder: Path, **changes: Any) -> Job:
    job = Job(stage, str(clips), str(folder / "run"), str(folder / "report"), settings=SETTINGS)
    return replace(job, **changes)


def find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def name_node(node: int, port: int) -> dict[str, str]:
    return {"NODE_RANK": str(node), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def read_ranks(job: Job) -> list[dict[str, Tensor]]:
    """What each process ended with, but for batch norm's running figures.

    Those are of its own batches on a processor (on GPUs batch norm is synchronised): the first
    process's are handed to all at the next step, and are the ones that are saved.
    """
    found = [load_file(path) for path in sorted(Path(job.report).glob("rank_*.safetensors"))]
    return [{k: v for k, v in one.items() if ".running_" not in k} for one in found]


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def assert_same_state(first: Path, second: Path) -> None:
    """Weights to ship, weights to go on with, optimisers, and the log: equal to the last bit."""
    for name in ("model.safetensors", "best.safetensors", "state.safetensors"):
        assert (first / name).is_file() == (second / name).is_file(), name
        if (first / name).is_file():
            assert_same(load_file(first / name), load_file(second / name))
    before, after = read_state(first), read_state(second)
    assert before is not None and after is not None
    groups = [[one["param_groups"] for one in state.optimizers] for state in (before, after)]
    assert groups[0] == groups[1] and before.notes["step"] == after.notes["step"]
    assert read_log(first) == read_log(second)


def read_log(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve but the pace; a step that was taken twice counts as the last start had it."""
    return {k: v for k, v in read_curves(run / "log").items() if not k.startswith("pace")}


@pytest.fixture(scope="module", params=STAGES)
def pair(request: pytest.FixtureRequest, clips: Path, tmp_path_factory: Any) -> Job:
    """A finished run in two processes, started by Lightning.

    In the first-frame stage the discriminator joins at the second step, so that until then some
    parameters get no gradient.
    """
    job = make_job(request.param, clips, tmp_path_factory.mktemp("pair"))
    start_job(job).succeed()
    return job


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights(pair: Job) -> None:
    first, second = read_ranks(pair)
    assert int(first["step"]) == 4
    assert_same(first, second)
    state = read_state(Path(pair.output))
    assert state is not None
    assert_same(first, {k: v for k, v in state.tensors.items() if ".running_" not in k})
    if pair.stage == "first-frame":
        log = read_log(Path(pair.output))
        assert [step for step, _ in log["train/discriminator_real"]] == [3, 4]


@pytest.mark.slow
def test_torchrun_and_two_machines_train_the_same(pair: Job, clips: Path, tmp_path: Path) -> None:
    torchrun = make_job(pair.stage, clips, tmp_path / "torchrun")
    machines = make_job(pair.stage, clips, tmp_path / "machines")
    for job in (torchrun, machines):
        Path(job.report).parent.mkdir()
    start_job(
        torchrun, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"
    ).succeed()
    machines = replace(machines, settings=SETTINGS | {"nodes": 2, "devices": 1})
    port = find_free_port()
    both = [start_job(machines, **name_node(node, port)) for node in (0, 1)]
    for process in both:
        process.succeed()
    for job in (torchrun, machines):
        first, second = read_ranks(job)
        assert_same(first, second)
        assert_same_state(Path(job.output), Path(pair.output))


@pytest.mark.slow
def test_only_the_first_process_writes(pair: Job, clips: Path, tmp_path: Path) -> None:
    alone = make_job(pair.stage, clips, tmp_path, settings=SETTINGS | {"devices": 1})
    start_job(alone).succeed()
    listed = []
    for job in (alone, pair):
        files = (path for path in Path(job.output).rglob("*") if path.is_file())
        names = (path.relative_to(job.output).as_posix() for path in files)
        listed.append(sorted(re.sub(r"tfevents\..*", "tfevents", name) for name in names))
    assert listed[0] == listed[1]
    assert len(json.loads((Path(pair.output) / "starts.json").read_text())) == 1
    config = yaml.safe_load((Path(pair.output) / "config.yaml").read_text())
    assert config["data"]["processes"] == 2
    steps = [step for step, _ in read_log(Path(pair.output))["loss"]]
    assert steps == [1, 2, 3, 4], "each line of the log once"


@pytest.mark.slow
def test_two_processes_go_on_after_kill(pair: Job, clips: Path, tmp_path: Path) -> None:
    job = make_job(pair.stage, clips, tmp_path)
    began = time.monotonic()
    died = ("state.safetensors", "before", 3)
    status, _ = start_job(replace(job, die_at=died)).finish()
    assert status == -signal.SIGKILL
    assert time.monotonic() - began < LONGEST - 20, "the other process ends by itself"
    state = read_state(Path(job.output))
    assert state is not None and state.notes["step"] == 2
    start_job(job).succeed()
    assert_same_state(Path(job.output), Path(pair.output))


@pytest.mark.slow
def test_validation_of_two_processes_is_that_of_one(pair: Job, clips: Path) -> None:
    training = TRAININGS[pair.stage]
    stage = make_stage(training, CONFIG)
    state = read_state(Path(pair.output))
    assert state is not None
    stage.load_state_dict(state.tensors)
    count = SETTINGS["validation_clips"]
    picked = pick_clips([ClipFolder(clips)], count, stills=stage.stills)
    wanted = average([measure(stage, read()) for read in picked])
    log = read_log(Path(pair.output))
    found = {name: log[f"validation/{name}"][-1] for name in wanted}
    assert {step for step, _ in found.values()} == {4}
    # Only the order of the sum over clips differs.
    assert {name: value for name, (_, value) in found.items()} == pytest.approx(wanted, rel=1e-6)


COMPARABLE: dict[str, dict[str, Any]] = {
    # Left out: what is balanced over a batch (the discriminator by classes, the divergence by the
    # segments that are there), which for two halves is not the mean of both.
    "first-frame": {"kl": 0.0, "adversarial_start": 99, "prior_share": 0.0, "void_share": 0.0},
    # Likewise the terms over visible pixels of exact motion and over hidden pixels of labels.
    "motion": {
        "exact_motion": False,
        "labels": 0.0,
        "hint_share": 0.0,
        "frozen_norm": 1.0,
        "trained_frames": 3,
        "refined_frames": 3,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_train_as_one_with_twice_the_batch(
    stage: str, clips: Path, tmp_path: Path
) -> None:
    ends, norms = [], []
    changes = COMPARABLE[stage] | {"steps": 3, "learning_rate": 0.03, "decay_share": 0.0}
    for devices, size in ((1, 4), (2, 2)):
        folder = tmp_path / str(devices)
        folder.mkdir()
        job = make_job(stage, clips, folder, training=changes | {"batch_size": size})
        job = replace(job, settings={"devices": devices}, is_silent=True)
        start_job(job).succeed()
        ends.append(read_ranks(job)[-1])
        log = read_log(folder / "run")
        names = sorted(name for name in log if name.startswith("gradient"))
        norms.append([value for name in names for _, value in log[name]])
    training = replace(TRAININGS[stage], **changes)
    fresh = make_stage(training, CONFIG)
    begun = dict(fresh.named_parameters())
    moved = {name: ends[0][name] - begun[name].detach() for name in begun}
    apart = {name: ends[1][name] - ends[0][name] for name in begun}
    furthest, size = (max(float(v.abs().max()) for v in one.values()) for one in (apart, moved))
    assert size > 1e-2, "training has moved the weights"
    # Sums over four samples and over two and two differ in their last bit: measured 4e-5 and 7e-6.
    assert furthest < 4e-4 * size
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["motion"], indirect=True)
def test_machines_that_do_not_share_the_folder_are_refused(
    pair: Job, clips: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "first" / "run"
    shutil.copytree(pair.output, begun)
    (begun / "state.older.safetensors").replace(begun / "state.safetensors")
    settings = {"nodes": 2, "devices": 1}
    both = []
    port = find_free_port()
    for node, name in enumerate(("first", "second")):
        (tmp_path / name).mkdir(exist_ok=True)
        job = make_job(pair.stage, clips, tmp_path / name, settings=settings)
        both.append(start_job(job, **name_node(node, port)))
    for process in both:
        status, said = process.finish()
        assert status != 0
        assert "Expected the same state of the run in all processes; got 2 different" in said


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "torchrun": {
        "RANK": "{rank}",
        "LOCAL_RANK": "{rank}",
        "GROUP_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "none",
    },
    "SLURM": {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_PROCID": "{rank}",
        "SLURM_LOCALID": "{rank}",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "here",
    },
    "started by Lightning": {"LOCAL_RANK": "{rank}", "NODE_RANK": "0", "WORLD_SIZE": "2"},
    "two machines": {"NODE_RANK": "{rank}"},
}
"""What launchers tell each process."""


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("launcher", ENVIRONMENTS)
def test_only_the_first_process_touches_the_folder(
    launcher: str, rank: int, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if any(word in name for word in OF_LAUNCHERS):
            monkeypatch.delenv(name)
    for name, value in ENVIRONMENTS[launcher].items():
        monkeypatch.setenv(name, value.format(rank=rank))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    # The trainer notes its rank there for the whole process: given back after the test.
    for noted in (rank_zero_only, other_rank_zero_only):
        monkeypatch.setattr(noted, "rank", 0)
    met: list[Any] = []

    def fit(trainer: Any, stage: Any, loader: Any) -> None:
        batches = loader.dataset.batches
        met.append((trainer.global_rank, trainer.world_size, batches.rank, batches.world))
        stage.step.fill_(stage.training_config.steps)

    monkeypatch.setattr(lightning.Trainer, "fit", fit)
    nodes, devices = (2, 1) if launcher == "two machines" else (1, 2)
    settings = replace(QUIET, nodes=nodes, devices=devices)
    sources = [(ClipFolder(clips), 1.0)]
    train.run(make_stage(MOTION_TRAINING, CONFIG), sources, tmp_path / "run", settings)
    assert met == [(rank, 2, rank, 2)]
    written = sorted(path.name for path in (tmp_path / "run").rglob("*"))
    assert written == ([] if rank else ["config.yaml", "starts.json"])


LONG = {"steps": 12, "kl_warm_up": 4, "adversarial_start": 5}


def start_command(stage: str, clips: Path, run: Path, *, workers: int) -> Process:
    """Give the command that a user gives, with tiny networks named by a recipe."""
    base = TRAININGS[stage]
    changes = {name: value for name, value in LONG.items() if hasattr(base, name)}
    recipe = run.parent / f"{stage}.yaml"
    if not recipe.exists():
        told = {"stage": stage, "model": to_dict(CONFIG)}
        told |= {"training": to_dict(replace(base, **changes))}
        recipe.write_text(yaml.safe_dump(json.loads(json.dumps(told))))
    words = [
        "-m",
        "seg2vid.cli.main",
        "train",
        stage,
        "--recipe",
        recipe,
        "--data",
        clips,
        "-o",
        run,
    ]
    words += ["--validation", clips, "--validation-clips", 2, "--validate-every", 3]
    words += ["--save-every", 2, "--sheet-every", 0, "--log-every", 1, "--measured-steps", 0]
    return Process([str(word) for word in (*words, "--workers", workers)])


def steps_done(run: Path) -> int:
    try:
        with safe_open(run / "state.safetensors", "pt") as file:
            return int(json.loads(file.metadata()["notes"])["step"])
    except (FileNotFoundError, RuntimeError):
        return 0  # none yet, or this moment moved away for the next one


def assert_nothing_partial(run: Path) -> None:
    """Every file that has its name is whole."""
    for path in run.rglob("[!.]*.safetensors"):
        load_file(path)
    for path in run.rglob("[!.]*.json"):
        json.loads(path.read_text())


@pytest.fixture(scope="module", params=STAGES)
def whole(request: pytest.FixtureRequest, clips: Path, tmp_path_factory: Any) -> tuple[str, Path]:
    """A run of one process that nobody disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    start_command(request.param, clips, run, workers=0).succeed()
    return request.param, run


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_killed_command_given_again_ends_the_same(
    whole: tuple[str, Path], workers: int, clips: Path, tmp_path: Path
) -> None:
    stage, undisturbed = whole
    run = tmp_path / "run"
    moments = random.Random(f"{stage} {workers}")

    def is_saving() -> bool:
        """Say whether a file is being written, in which case it has another name."""
        return any(name.startswith(".") for name in os.listdir(run))

    deaths = 0
    for end in (4, 8):
        process = start_command(stage, clips, run, workers=workers)
        wait_for(process, lambda end=end: steps_done(run) >= end)
        if deaths:
            wait_for(process, is_saving)
        else:
            time.sleep(moments.uniform(0, 0.3))
        process.process.kill()
        status, _ = process.finish()
        deaths += status == -signal.SIGKILL
        assert_nothing_partial(run)
    assert deaths == 2, "the run was not over before it was killed"
    start_command(stage, clips, run, workers=workers).succeed()
    assert_same_state(undisturbed, run)
    left = [path.name for path in run.rglob(".*")]
    assert left == [], "what was half written is swept away"
    assert len(json.loads((run / "starts.json").read_text())) == 3


def wait_for(process: Process, is_true: Callable[[], bool]) -> None:
    """Wait until something is so, or the process has ended."""
    until = time.monotonic() + LONGEST
    while process.process.poll() is None and not is_true():
        if time.monotonic() > until:
            process.kill_all()
            raise TimeoutError("it did not come to that")
        time.sleep(0.0005)


@pytest.mark.slow
def test_killed_within_the_last_saving_ends_the_same(clips: Path, tmp_path: Path) -> None:
    def make(name: str, **changes: Any) -> Job:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return make_job("motion", clips, folder, training={"steps": 2}, **changes)

    whole = make("whole", settings={})
    start_job(whole).succeed()
    killed = make("killed", settings={"max_steps": 1})
    start_job(killed).succeed()
    moments = [
        ("model.safetensors", "before", 1),
        ("model.safetensors", "after", 1),
        ("state.older.safetensors", "after", 1),
        ("state.safetensors", "after", 1),
    ]
    for died in moments:
        killed = make("killed", settings={}, die_at=died)
        status, said = start_job(killed).finish()
        assert status == -signal.SIGKILL, (died, said[-2000:])
        assert_nothing_partial(Path(killed.output))
    start_job(make("killed", settings={})).succeed()
    assert_same_state(Path(whole.output), Path(killed.output))
    assert [path.name for path in Path(killed.output).rglob(".*")] == []
