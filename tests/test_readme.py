"""Every command and every line of Python in the README runs, as it stands there."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text("utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text("utf-8")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
SCRIPT = "from seg2vid.cli.main import main; raise SystemExit(main())"
"""What the installed command ``seg2vid`` runs."""
RUNNABLE = {"bash", "python"}
SHORTENED = {
    ("seg2vid", "prepare"): ["--workers", "1"],
    ("seg2vid", "toycity"): ["--clips", "2"],
    ("seg2vid", "evaluate"): ["--clips", "1"],
    ("seg2vid", "train"): [
        *("--steps", "1", "--batch-size", "1", "--measured-steps", "0", "--sheet-every", "0"),
        *("--validation-clips", "1"),
    ],
}
"""Options added to commands that would take minutes: the command itself is run as it stands."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text and the line it starts on."""

    language: str
    text: str
    line: int


def blocks_of(text: str) -> list[Block]:
    """Find the fenced blocks of a Markdown page."""
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 1)
        for match in FENCE.finditer(text)
    ]


def commands_of(block: Block) -> list[list[str]]:
    """Split a bash block into its commands, comments removed, continued lines joined."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def make_targets(makefile: str) -> set[str]:
    """Names of the targets a person may call."""
    return set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))


def shortened(command: list[str]) -> list[str]:
    """Add what keeps a long command within seconds; the judges' weights are not at hand."""
    if command[:2] == ["seg2vid", "train"] and "JUDGES" in command:
        place = command.index("JUDGES")
        command = [*command[: place - 1], "--without-features", *command[place + 1 :]]
    return [*command, *SHORTENED.get(tuple(command[:2]), [])]


def run(command: list[str], folder: Path) -> None:
    """Run a command in ``folder`` with this Python, and show its output if it fails."""
    paths = {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    if command[0] == "seg2vid":
        command = [sys.executable, "-c", SCRIPT, *command[1:]]
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        check=False,
    )
    shown = f"{shlex.join(command)}\n{result.stdout}{result.stderr}"
    print(shown)
    assert result.returncode == 0, shown


BLOCKS = blocks_of(README)
COMMANDS = [
    command for block in BLOCKS if block.language == "bash" for command in commands_of(block)
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder from which the README's paths reach the examples of the repository.

    The commands run in it in the README's order: a later one may use what an earlier one wrote.
    """
    folder = tmp_path_factory.mktemp("readme")
    (folder / "examples").symlink_to(REPOSITORY / "examples")
    return folder


def test_every_block_is_known() -> None:
    """A block without a language is a figure; any other language would go untested."""
    assert {block.language for block in BLOCKS} <= RUNNABLE | {""}
    assert {block.language for block in BLOCKS} >= RUNNABLE


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language == "python"],
    ids=lambda block: f"line {block.line}",
)
def test_python_runs(block: Block, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, for the reason below."""
    monkeypatch.chdir(workplace)
    exec(compile(block.text, f"README.md, line {block.line}", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(
    "command", [words for words in COMMANDS if words[0] != "make"], ids=shlex.join
)
def test_command_runs(command: list[str], workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not started anew, which would load PyTorch each time: ``main`` is what the program runs.

    The slow tests start every command as a program of its own.
    """
    from seg2vid.cli.main import main

    words = shortened(command)
    assert words[0] == "seg2vid"
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("sys.argv", words)
    assert main(words[1:]) == 0


@pytest.mark.slow
def test_commands_run_as_programs(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    for command in COMMANDS:
        if command[0] != "make":
            run(shortened(command), tmp_path)
    for block in BLOCKS:
        if block.language == "python":
            run([sys.executable, "-c", block.text], tmp_path)


@pytest.mark.parametrize(
    "command", [words for words in COMMANDS if words[0] == "make"], ids=shlex.join
)
def test_make_command_is_a_target(command: list[str]) -> None:
    assert set(command[1:]) <= make_targets(MAKEFILE)


def test_make_commands_in_prose_are_targets() -> None:
    named = set(re.findall(r"`make ([a-z-]+)`", README))
    assert named
    assert named <= make_targets(MAKEFILE)


def test_extras_in_prose_exist() -> None:
    named = set(re.findall(r"seg2vid\[(\w+)\]", README))
    assert named <= set(PROJECT["optional-dependencies"])


def test_script_is_what_the_tests_run() -> None:
    assert PROJECT["scripts"] == {"seg2vid": "seg2vid.cli.main:main"}


def test_demo_of_the_makefile_is_a_command_of_the_readme() -> None:
    """``make demo`` shows what the README teaches, with another output, each time anew."""
    demo = next(line for line in MAKEFILE.splitlines() if "generate examples/street.png" in line)
    taught = next(words for words in COMMANDS if words[:2] == ["seg2vid", "generate"])
    wanted = ["out/demo.mp4" if word == "street.mp4" else word for word in taught[2:]]
    assert shlex.split(demo)[3:] == [*wanted[1:], "--overwrite"]


def test_picture_and_python_come_first() -> None:
    lines = README.splitlines()
    assert any("docs/assets/demo.webp" in line for line in lines[:5])
    assert next(block.line for block in BLOCKS if block.language == "python") + 1 <= 20


# The reading itself can fail.


def test_commands_are_split_without_comments() -> None:
    block = Block("bash", "make demo   # a comment\n\nseg2vid generate \\\n  a.png\n", 1)
    assert commands_of(block) == [["make", "demo"], ["seg2vid", "generate", "a.png"]]


def test_blocks_know_their_language_and_line() -> None:
    assert blocks_of("text\n```bash\nls\n```\n") == [Block("bash", "ls\n", 2)]


def test_a_failing_command_is_reported_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="broken on purpose"):
        run([sys.executable, "-c", "raise SystemExit('broken on purpose')"], tmp_path)


def test_long_commands_are_only_lengthened() -> None:
    command = ["seg2vid", "train", "motion"]
    assert shortened(command)[:3] == command
    assert shortened(["seg2vid", "generate"]) == ["seg2vid", "generate"]
