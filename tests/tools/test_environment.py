"""What is told of the machine."""

import subprocess
import sys

import pytest

TELL = "from seg2vid.tools.environment import peak_memory; print(peak_memory())"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is what the system counts")
def test_peak_memory_is_that_of_the_process_alone() -> None:
    ballast = bytearray(600_000_000)
    told = subprocess.run([sys.executable, "-c", TELL], capture_output=True, text=True, check=True)
    assert 5e6 < int(told.stdout) < 0.8 * len(ballast)
    more = TELL.replace("print", "held = bytearray(600_000_000); print")
    told = subprocess.run([sys.executable, "-c", more], capture_output=True, text=True, check=True)
    assert int(told.stdout) > len(ballast)
