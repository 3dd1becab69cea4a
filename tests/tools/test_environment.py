"""What is told of the code and the machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from seg2vid.tools.environment import describe_environment

TELL = "from seg2vid.tools.environment import peak_memory; print(peak_memory())"


def test_commit_is_that_of_the_code_and_empty_outside_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = describe_environment()["commit"]
    assert commit == "" or (len(commit.rstrip("+")) == 40 and int(commit.rstrip("+"), 16))
    monkeypatch.setattr("seg2vid.tools.environment.__file__", str(tmp_path / "environment.py"))
    assert describe_environment()["commit"] == ""
    monkeypatch.setenv("PATH", "")
    assert describe_environment()["commit"] == "", "nor without git"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is what the system counts")
def test_peak_memory_is_that_of_the_process_alone() -> None:
    ballast = bytearray(600_000_000)
    told = subprocess.run([sys.executable, "-c", TELL], capture_output=True, text=True, check=True)
    assert 5e6 < int(told.stdout) < 0.8 * len(ballast)
    more = TELL.replace("print", "held = bytearray(600_000_000); print")
    told = subprocess.run([sys.executable, "-c", more], capture_output=True, text=True, check=True)
    assert int(told.stdout) > len(ballast)
