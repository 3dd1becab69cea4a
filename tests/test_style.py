"""Every numeric gate of the house style holds for the package, and every gate can fail."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import gates
from tests.gates import GATES, Measurement, Source

SOURCES = gates.core_sources()
TESTS = gates.read_sources(gates.REPOSITORY / "tests")


def snippet(text: str, name: str = "snippet.py") -> list[Source]:
    """A package of one file."""
    return [Source(name, text)]


def report(name: str, measurement: Measurement) -> None:
    """Print the measured figure (``pytest -rA`` shows it); fail with the places that break it."""
    print(f"{name}: {measurement.figure}")
    assert not measurement.broken, f"{name}: {measurement.figure}\n" + "\n".join(measurement.broken)


@pytest.mark.parametrize("name", GATES)
def test_package_holds_gate(name: str) -> None:
    report(name, GATES[name](SOURCES))


def test_tests_are_nearly_as_long_as_the_package() -> None:
    report("tests per core line", gates.tests_per_core_line(SOURCES, TESTS))


LONG = "def f() -> None:\n" + "    x = 1\n" * 70
FORWARD = "def forward() -> None:\n" + "    x = 1\n" * 40
BLOCK = "".join(f"a{number} = {number}\n" for number in range(13))

BAD = {
    "core size": "x = 1\n" * 5001,
    "file length": "x = 1\n" * 351,
    "function length": LONG,
    "forward and __call__ length": FORWARD,
    "type hints": "def f(x, *rest, key=None, **more): ...",
    "docstrings": "class Public:\n    def method(self): ...",
    "shapes stated": "def f(x: Tensor) -> None:\n    '''Move it.'''",
    "positional returns": "def f() -> tuple[int, int, int]: ...",
    "asserts": "assert 1",
    "raises without a message": "raise ValueError",
    "prints": "def f() -> None:\n    print(1)",
    "star imports": "from os import *",
    "future annotations": "from __future__ import annotations",
    "import-time effects": "import torch\ntorch.backends.cudnn.benchmark = True",
    "duplicated blocks": BLOCK + "other = 1\n" + BLOCK,
}
GOOD = {
    "core size": "x = 1\n" * 5000,
    "file length": "x = 1\n" * 150,
    "function length": "def f() -> None:\n" + "    x = 1\n" * 11,
    "forward and __call__ length": "def forward() -> None:\n" + "    x = 1\n" * 39,
    "type hints": "class A:\n    def f(self, x: int, *rest: int, key: int = 1) -> None: ...",
    "docstrings": '"""Text."""\nclass A:\n    """Text."""\n    def __len__(self): ...',
    "shapes stated": "def f(x: Float[Tensor, 'batch 3']) -> int: ...",
    "positional returns": "def f() -> tuple[int, ...]:\n    return (1, 2, 3)",
    "asserts": "def f() -> None: ...",
    "raises without a message": "try:\n    x = 1\nexcept OSError:\n    raise",
    "prints": "def blueprint() -> None: ...",
    "star imports": "from os import path",
    "future annotations": "from typing import Any",
    "import-time effects": "if TYPE_CHECKING:\n    import a\nif __name__ == '__main__':\n    f()",
    "duplicated blocks": BLOCK[: BLOCK.index("a12")] + "other = 1\n" + BLOCK,
}


@pytest.mark.parametrize("name", GATES)
def test_gate_fails_on_a_bad_snippet(name: str) -> None:
    assert GATES[name](snippet(BAD[name])).broken


@pytest.mark.parametrize("name", GATES)
def test_gate_holds_on_a_good_snippet(name: str) -> None:
    assert GATES[name](snippet(GOOD[name])).broken == ()


def test_test_share_fails_on_untested_code() -> None:
    core, tests = snippet("x = 1\n" * 10), snippet("x = 1\n" * 7)
    assert gates.tests_per_core_line(core, tests).broken
    assert gates.tests_per_core_line(core, snippet("x = 1\n" * 8)).broken == ()


def test_core_size_counts_files() -> None:
    assert gates.core_size(snippet("x = 1") * 61).broken


def test_function_length_holds_median_and_ninth_decile() -> None:
    short, long = "def f() -> None:\n    x = 1\n", "def f() -> None:\n" + "    x = 1\n" * 45
    middling = "def f() -> None:\n" + "    x = 1\n" * 12
    assert "median" in gates.function_length(snippet(middling)).broken[0]
    assert gates.function_length(snippet(short * 9 + long)).broken == ()
    assert "decile" in gates.function_length(snippet(short * 8 + long * 2)).broken[0]


def test_type_hints_are_counted_per_argument() -> None:
    broken = gates.type_hints(snippet(BAD["type hints"])).broken
    assert [place.split()[-1] for place in broken] == ["x", "key", "rest", "more", "return"]


def test_static_methods_have_no_self() -> None:
    text = "class A:\n    @staticmethod\n    def f(x) -> None: ..."
    assert len(gates.type_hints(snippet(text)).broken) == 1


def test_docstrings_are_asked_of_module_class_method_and_call() -> None:
    text = "class A:\n    def f(self): ...\n    def __call__(self): ...\n    def _g(self): ..."
    assert len(gates.docstrings(snippet(text)).broken) == 4


@pytest.mark.parametrize(
    "text",
    [
        "def f(x: Tensor) -> None:\n    '''Move (batch, 2, height, width).'''",
        "def f(x: Tensor) -> None:\n    '''Move ``batch 2 height width``.'''",
        "def f(x: Tensor) -> None:\n    '''Move a tensor of any shape.'''",
        "def f(x: 'Float[Tensor, \"batch\"]') -> None: ...",
        "Frame = Float[Tensor, 'batch 3']\ndef f(x: Frame) -> Frame: ...",
        "def f(x: int) -> Motion: ...",
    ],
)
def test_shapes_may_be_stated_in_annotation_alias_or_docstring(text: str) -> None:
    assert gates.shapes(snippet(text)).broken == ()


@pytest.mark.parametrize(
    "text",
    [
        "def f(x: np.ndarray) -> None:\n    '''Move flow, order (dx, dy), in [0, 1].'''",
        "def f() -> list[torch.Tensor]: ...",
        "def f(x: 'Tensor | None') -> None: ...",
        "Frame = np.ndarray\ndef f(x: Frame) -> None: ...",
        "def f(x: Float[Tensor, 'batch'], y: Tensor) -> None: ...",
    ],
)
def test_shapes_left_open_are_found(text: str) -> None:
    assert gates.shapes(snippet(text)).broken


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    return 1, 2, 3",
        "Colour = tuple[int, int, int]\ndef f() -> Colour: ...",
        "def f() -> tuple[int, int, int] | None: ...",
    ],
)
def test_three_positional_values_are_found(text: str) -> None:
    assert gates.positional_returns(snippet(text)).broken


def test_positional_returns_ignore_inner_functions() -> None:
    text = "def f() -> int:\n    g = lambda: (1, 2, 3)\n    return 1"
    assert gates.positional_returns(snippet(text)).broken == ()


@pytest.mark.parametrize("text", ["raise ValueError()", "raise", "raise errors.LabelError"])
def test_silent_raises_are_found(text: str) -> None:
    assert gates.silent_raises(snippet(text)).broken


@pytest.mark.parametrize("text", ["raise ValueError('expected')", "raise error from None"])
def test_speaking_raises_pass(text: str) -> None:
    assert gates.silent_raises(snippet(text)).broken == ()


def test_only_the_command_line_prints() -> None:
    assert gates.prints(snippet(BAD["prints"], "src/seg2vid/cli.py")).broken == ()


@pytest.mark.parametrize(
    "text",
    [
        "torch.manual_seed(0)",
        "WEIGHTS = torch.load('weights')",
        "for x in y: pass",
        "try:\n    import a\nexcept ImportError:\n    a = None",
        "class A:\n    register(1)",
        "if TYPE_CHECKING:\n    x = 1",
        "os.environ['A'] = '1'",
    ],
)
def test_import_effects_are_found(text: str) -> None:
    assert gates.import_effects(snippet(text)).broken


@pytest.mark.parametrize(
    "text",
    ["LIMIT: int = 3\n'''Text.'''", "FOLDER = Path(__file__).parent", "PRESETS = {'a': Config(1)}"],
)
def test_constants_are_no_effects(text: str) -> None:
    assert gates.import_effects(snippet(text)).broken == ()


@pytest.mark.slow
def test_gates_print_a_table() -> None:
    command = [sys.executable, "-m", "tests.gates"]
    result = subprocess.run(
        command, cwd=gates.REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode in (0, 1), result.stderr
    assert all(name in result.stdout for name in GATES)


TEXT_ENDINGS = {".py", ".md", ".toml", ".yaml", ".txt", ".cff", ".html", ".js", ".css", ""}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|placeholder|for now)\b")
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|root|home|Users)/\w")


def tracked_texts() -> list[Path]:
    """Text files of the repository, less this one, which has to name what it looks for."""
    root = gates.REPOSITORY
    folders = [root / name for name in ("src", "tests", "docs", "examples", "benchmarks", ".ci")]
    paths = [*root.iterdir(), *(path for folder in folders for path in folder.rglob("*"))]
    texts = [path for path in paths if path.is_file() and path.suffix in TEXT_ENDINGS]
    return [p for p in texts if "__pycache__" not in p.parts and p != Path(__file__)]


@pytest.mark.parametrize("pattern", [UNFINISHED, MACHINE_PATH], ids=["unfinished", "machine path"])
def test_no_file_holds_unfinished_marks_or_machine_paths(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(gates.REPOSITORY)}:{number}: {line.strip()}"
        for path in tracked_texts()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_unfinished_marks_and_machine_paths_can_be_found() -> None:
    assert UNFINISHED.search("# TODO: later")
    assert MACHINE_PATH.search("open('/home/someone/file')")
    assert not MACHINE_PATH.search("see docs/work/log.md")


def test_no_test_is_skipped_by_mark() -> None:
    marks = [
        f"{source.name}:{node.lineno}"
        for source in TESTS
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "pytest.mark.skip"
    ]
    assert not marks, marks
