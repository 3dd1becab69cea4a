"""What the documents say is true: links lead somewhere, names exist, snippets run."""

import ast
import inspect
import json
import re
import runpy
import struct
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

import seg2vid
from seg2vid.cli.arguments import parse
from seg2vid.cli.main import VERBS
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.data.toycity.render import render_clip
from seg2vid.media.video import VideoWriter
from tests.test_readme import REPOSITORY, Block, blocks_of, commands_of, run, shortened

SOURCES = {
    str(path.relative_to(REPOSITORY / "src" / "seg2vid").with_suffix("")).replace("/", "."): path
    for path in sorted((REPOSITORY / "src" / "seg2vid").rglob("*.py"))
}
"""Files of the package by the names of their modules."""
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name_of(path: Path) -> str:
    """Path below the repository, for the names of the tests."""
    return str(path.relative_to(REPOSITORY))


# Links.


def anchors_of(text: str) -> set[str]:
    """Anchors that a page's headings make."""
    plain = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in plain}


def broken_links(page: Path) -> list[str]:
    """Links of a page to files or headings that do not exist; other sites are not visited."""
    broken = []
    for link in LINK.findall(page.read_text("utf-8")):
        target, _, anchor = link.partition("#")
        path = page.parent / target if target else page
        if re.match(r"[a-z]+:", link):
            continue
        is_missing = not path.exists()
        if is_missing or (anchor and anchor not in anchors_of(path.read_text("utf-8"))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One two\n[a](page.md) [b](#one-two) [c](#three) [d](missing.md) [e](https://x.y)"
    )
    assert broken_links(page) == ["#three", "missing.md"]


# Names in docs/paper_to_code.md.

DEFINITIONS = {
    module: {getattr(node, "name", "") for node in ast.parse(path.read_text("utf-8")).body}
    for module, path in SOURCES.items()
}
PAPER_TO_CODE = REPOSITORY / "docs" / "paper_to_code.md"


def is_defined(name: str) -> bool:
    """True if ``warp.backward_warp`` or the like is defined in the package."""
    module, _, item = name.rpartition(".")
    return item in DEFINITIONS.get(module, set())


def dotted_names(text: str) -> list[str]:
    """Names in code font that point into the package."""
    return re.findall(r"`((?:[a-z_]+\.)+\w+)`", text)


def test_names_of_the_paper_table_exist() -> None:
    names = dotted_names(PAPER_TO_CODE.read_text("utf-8"))
    assert names
    assert [name for name in names if not is_defined(name)] == []


def test_every_loss_is_in_the_paper_table() -> None:
    """A term nobody can find in the table is a term nobody can check against the paper."""
    losses = {
        f"{module}.{node.name}"
        for module in ("training.losses", "training.scene_losses")
        for node in ast.parse(SOURCES[module].read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and ast.unparse(node.returns or ast.Constant(None)) == "Scalar"
    }
    losses.remove("training.losses.mean_where")  # what losses are made of
    assert len(losses) > 20
    named = set(dotted_names(PAPER_TO_CODE.read_text("utf-8")))
    assert losses - named == set()


def test_missing_names_are_found() -> None:
    assert dotted_names("`warp.backward_warp` and `align_corners=True`") == ["warp.backward_warp"]
    assert is_defined("warp.backward_warp")
    assert not is_defined("warp.sideways_warp")


def test_the_python_api_is_what_the_code_says() -> None:
    made = runpy.run_path(str(REPOSITORY / "examples" / "make_api.py"))["page"]()
    page = (REPOSITORY / "docs" / "api.md").read_text("utf-8")
    assert page == made, "run: python examples/make_api.py"
    assert all(f"## {name}\n" in page for name in seg2vid.__all__ if name != "__version__")


def test_the_table_of_winners_is_what_the_reports_say() -> None:
    made = runpy.run_path(str(REPOSITORY / "examples" / "make_results.py"))
    page = (REPOSITORY / "docs" / "evaluation.md").read_text("utf-8")
    assert made["BLOCK"].findall(page) == [made["block"]()], "run: python examples/make_results.py"
    assert {f"({path.parent.name}/{path.name})" in page for path in made["newest"]()} == {True}


def test_the_readme_says_of_others_what_their_page_says() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    section = readme.partition("## Among others\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    page = (REPOSITORY / "docs" / "among_others.md").read_text("utf-8").splitlines()
    assert len(rows) >= 6 and set(rows) <= set(page)


def test_every_page_is_in_the_index() -> None:
    index = (REPOSITORY / "docs" / "README.md").read_text("utf-8")
    pages = {path.name for path in GUIDES} - {"README.md"}
    assert {name for name in pages if f"({name})" not in index} == set()


def test_the_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path / "docs")
    notebook = json.loads((REPOSITORY / "docs" / "first_scene.ipynb").read_text("utf-8"))
    names: dict[str, object] = {}
    cells = [one for one in notebook["cells"] if one["cell_type"] == "code"]
    assert cells and not any(one["outputs"] for one in cells)
    for cell in cells:
        exec("".join(cell["source"]), names)
    assert sorted(path.name for path in tmp_path.glob("docs/*")) == ["scene", "scene.mp4"]


# Blocks of code. A comment before one says why it is not run.

GUIDES = sorted((REPOSITORY / "docs").glob("*.md"))
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")


def is_run(text: str, block: Block) -> bool:
    """Whether no comment on the line before a block keeps it from being run."""
    return NOT_RUN.fullmatch(["", *text.splitlines()][block.line - 1]) is None


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_every_block_has_a_language(page: Path) -> None:
    blocks = blocks_of(page.read_text("utf-8"))
    assert {block.language for block in blocks} <= {"bash", "python", "text", "yaml"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_understood(page: Path) -> None:
    """Also those that are not run: their options exist and take such values."""
    blocks = [block for block in blocks_of(page.read_text("utf-8")) if block.language == "bash"]
    for words in (words for block in blocks for words in commands_of(block)):
        for start in (number for number, word in enumerate(words) if word == "seg2vid"):
            length = 2 if " ".join(words[start + 1 : start + 3]) in VERBS else 1
            name = " ".join(words[start + 1 : start + 1 + length])
            parse(name, VERBS[name][0], words[start + 1 + length :])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data.md", "training.md"])
def test_commands_of_the_guides_run(name: str, tmp_path: Path) -> None:
    (tmp_path / "VIDEOS").mkdir()
    frames = render_clip(0, ToyCityConfig(num_frames=18)).frames
    with VideoWriter(tmp_path / "VIDEOS" / "drive.mp4", frames_per_second=12.0) as writer:
        for frame in frames:
            writer.write(frame)
    text = (REPOSITORY / "docs" / name).read_text("utf-8")
    blocks = [one for one in blocks_of(text) if one.language == "bash" and is_run(text, one)]
    assert blocks
    for command in (words for block in blocks for words in commands_of(block)):
        run(shortened(command), tmp_path)


def test_a_reason_keeps_a_block_from_being_run() -> None:
    text = "<!-- not run: hours -->\n```bash\nls\n```\n<!-- not run: -->\n```bash\nls\n```\n"
    assert [is_run(text, block) for block in blocks_of(text)] == [False, True]


def run_snippets(text: str) -> int:
    """Run the Python blocks of a page in order, in one namespace; return how many there were."""
    namespace: dict[str, object] = {}
    every = [block for block in blocks_of(text) if block.language == "python"]
    blocks = [block for block in every if is_run(text, block)]
    for block in blocks:
        exec(compile(block.text, f"line {block.line}", "exec"), namespace)
    return len(blocks)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=name_of)
def test_snippets_run(page: Path) -> None:
    run_snippets(page.read_text("utf-8"))


def test_conventions_have_snippets() -> None:
    assert run_snippets((REPOSITORY / "docs" / "conventions.md").read_text("utf-8")) >= 5


def test_a_wrong_snippet_fails() -> None:
    with pytest.raises(AssertionError):
        run_snippets("```python\nassert 1 == 2\n```\n")


# Docstrings.


def public_callables() -> Iterator[tuple[str, Callable[..., object], str]]:
    """Yield (name, function, its docstring with its class's) for all of ``seg2vid.__all__``."""
    for name in seg2vid.__all__:
        value = getattr(seg2vid, name)
        if inspect.isfunction(value):
            yield name, value, inspect.getdoc(value) or ""
        elif inspect.isclass(value):
            about = inspect.getdoc(value) or ""
            for key, member in inspect.getmembers(value, inspect.isroutine):
                is_own = (getattr(member, "__module__", "") or "").startswith("seg2vid")
                if is_own and (not key.startswith("_") or key == "__call__"):
                    yield f"{name}.{key}", member, f"{inspect.getdoc(member) or ''}\n{about}"


def unmentioned(function: Callable[..., object], docstring: str) -> list[str]:
    """Parameters of a function that its docstring does not name."""
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    return [name for name in names if not re.search(rf"\b{name}\b", docstring)]


def test_public_functions_explain_every_argument() -> None:
    missing = {name: unmentioned(f, text) for name, f, text in public_callables()}
    assert {name: names for name, names in missing.items() if names} == {}


def test_unexplained_arguments_are_found() -> None:
    def move(frame: int, flow: int) -> None:
        """Move the frame."""

    assert unmentioned(move, move.__doc__ or "") == ["flow"]


# Figures and versions.

VERSION = r"\bseg2vid[- =]=?(\d+\.\d+\.\d+)"
"""The version of the package, as a page would name it."""


def count_parameters(path: Path) -> int:
    """Count the numbers in a safetensors file from its header."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    counts = []
    for entry in header.values():
        count = 1
        for extent in entry["shape"]:
            count *= extent
        counts.append(count)
    return sum(counts)


def bundled_parameters() -> float:
    """Millions of numbers in the bundled models."""
    folder = REPOSITORY / "src" / "seg2vid" / "models" / "weights"
    return sum(count_parameters(path) for path in folder.rglob("*.safetensors")) / 1e6


CLAIMS: dict[str, Callable[[], float]] = {
    r"([\d,]+) lines of (?:Python|code)": lambda: sum(
        len(path.read_text("utf-8").splitlines()) for path in SOURCES.values()
    ),
    r"([\d,]+) files of (?:Python|code)": lambda: len(SOURCES),
    r"([\d.]+) million parameters": bundled_parameters,
}
"""What a page may claim about the package, and the measurement that has to agree within 5 %."""


def wrong_claims(text: str) -> list[str]:
    """Claims of a page that the package does not bear out."""
    wrong = []
    for pattern, measure in CLAIMS.items():
        for match in re.finditer(pattern, text):
            claimed, measured = float(match[1].replace(",", "")), measure()
            if abs(claimed - measured) > 0.05 * measured:
                wrong.append(f"{match[0]!r}: measured {measured:g}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_claims_are_true(page: Path) -> None:
    assert wrong_claims(page.read_text("utf-8")) == []


def test_wrong_claims_are_found() -> None:
    assert len(wrong_claims("only 12 lines of Python in 1 files of code")) == 2


def test_parameters_are_counted(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {}, "w": {"shape": [2, 3]}, "b": {"shape": []}}).encode()
    path = tmp_path / "small.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert count_parameters(path) == 7


def test_street_is_what_its_script_draws(tmp_path: Path) -> None:
    target = tmp_path / "street.png"
    script = str(REPOSITORY / "examples" / "make_street.py")
    subprocess.run([sys.executable, script, str(target)], check=True, capture_output=True)
    for name in ("street_instances.png", "street.png"):
        drawn, committed = (
            Image.open(p) for p in (tmp_path / name, REPOSITORY / "examples" / name)
        )
        assert list(drawn.get_flattened_data()) == list(committed.get_flattened_data())
    assert committed.size == (512, 256)
    assert committed.getextrema()[1] <= 18


def test_version_and_date_are_the_same_everywhere() -> None:
    """Citation, changelog, whose newest release it is once there is one, and what pages name."""
    texts = [(REPOSITORY / name).read_text("utf-8") for name in ("CITATION.cff", "CHANGELOG.md")]
    assert f"\nversion: {seg2vid.__version__}\n" in texts[0]
    date = re.search(r"^date-released: (\d{4}-\d\d-\d\d)$", texts[0], re.MULTILINE)
    release = re.search(r"^## \[(\d.+)\] - (\S+)$", texts[1], re.MULTILINE)
    told = None if date is None else (seg2vid.__version__, date[1])
    assert (None if release is None else release.groups()) == told
    named = {version for page in PAGES for version in re.findall(VERSION, page.read_text("utf-8"))}
    assert named <= {seg2vid.__version__}


def test_constraints_pin_every_direct_dependency() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(line for extra in extras for line in extra)]
    pinned = re.findall(r"^([\w-]+)==", (REPOSITORY / "constraints.txt").read_text("utf-8"), re.M)
    names = {re.split(r"[\[<>=!~ ]", line)[0].lower() for line in wanted}
    assert names <= {name.lower() for name in pinned}
    assert "torchvision" not in names
