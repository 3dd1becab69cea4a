"""Imports flow one way, and ``import seg2vid`` loads nothing heavy."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import seg2vid
from benchmarks.structure import in_circles, longest_chain, rooms_of


def lint(tree: Path) -> "subprocess.CompletedProcess[str]":
    """Run import-linter with the contracts of ``pyproject.toml`` on a checkout."""
    words = ["-c", "import sys; from importlinter.cli import lint_imports_command as run; run()"]
    command = [sys.executable, *words, str(tree / "pyproject.toml"), "--no-cache"]
    environment = {"PYTHONPATH": str(tree / "src"), "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=tree / "src", env=environment, capture_output=True, text=True, check=False
    )


def test_contracts_hold(repository: Path) -> None:
    result = lint(repository)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("warp.py", "from seg2vid.cli.main import main", "Imports flow one way"),
        ("structures.py", "from seg2vid.media import generated", "Imports flow one way"),
        ("labels/space.py", "from seg2vid.labels import doctor", "No circles inside a room"),
        ("models/animator.py", "from seg2vid.models.judges import i3d", "Generation needs nothing"),
        ("newroom.py", "X = 1", "Imports flow one way"),
    ],
)
def test_each_contract_can_break(
    file: str, line: str, contract: str, repository: Path, tmp_path: Path
) -> None:
    source = tmp_path / "src" / "seg2vid"
    skipped = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(repository / "src" / "seg2vid", source, ignore=skipped)
    shutil.copy(repository / "pyproject.toml", tmp_path)
    with (source / file).open("a") as text:
        text.write(f"\n{line}\n")
    result = lint(tmp_path)
    assert result.returncode == 1
    assert contract in result.stdout.partition("Broken contracts")[2]


def test_structure_counts_rooms_circles_and_chains() -> None:
    graph = {
        "cli.main": frozenset({"models.layers"}),
        "models.layers": frozenset({"tools.errors", "models.blocks"}),
        "models.blocks": frozenset({"models.layers"}),
        "tools.errors": frozenset[str](),
    }
    assert in_circles(graph) == ["models.blocks", "models.layers"]
    rooms = rooms_of(graph)
    assert rooms == {"cli": {"models"}, "models": {"tools"}, "tools": frozenset()}
    assert in_circles(rooms) == []
    assert longest_chain(rooms) == ["cli", "models", "tools"]


# What is loaded when.

HEAVY = ("torch", "numpy", "lightning", "av", "PIL", "einops", "yaml", "matplotlib")
REPORT = f"; import time; print(time.process_time(), *(m for m in {HEAVY} if m in sys.modules))"
HELP = """
try:
    main(["--help"])
except SystemExit:
    pass
"""


def seconds_and_heavy(code: str) -> tuple[float, list[str]]:
    """Run ``code`` in a fresh interpreter: its processor time, and the heavy packages it loaded."""
    command = [sys.executable, "-c", f"import sys\n{code}\nsys.stdout.flush(){REPORT}"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, *heavy = result.stdout.splitlines()[-1].split()
    return float(seconds), heavy


@pytest.mark.parametrize(
    "code",
    ["import seg2vid", f"from seg2vid.cli.main import main{HELP}"],
    ids=["import seg2vid", "seg2vid --help"],
)
def test_starts_without_heavy_packages(code: str) -> None:
    runs = [seconds_and_heavy(code) for _ in range(3)]
    fastest = min(seconds for seconds, _ in runs)
    print(f"{fastest:.2f} s of processor time")
    assert runs[0][1] == []
    assert fastest <= 0.3


def test_public_names_are_listed_and_unknown_ones_explained() -> None:
    assert set(seg2vid.__all__) <= set(dir(seg2vid))
    with pytest.raises(AttributeError, match="public names: Seg2VidPipeline"):
        _ = seg2vid.missing


def test_every_public_name_is_found() -> None:
    assert all(getattr(seg2vid, name) is not None for name in seg2vid.__all__)
