"""The structure of the package in figures: entries, files, lines, circles, chains.

    python benchmarks/structure.py                     of the working tree
    python benchmarks/structure.py --before 9828bc1    beside that of another commit

A room is a file or folder at the top of the package. An arrow means that a room imports another
one, inside functions too. The lazy front door ``seg2vid/__init__.py`` is left out, as are imports
for type checking alone.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
Graph = Mapping[str, frozenset[str]]


def import_graph(source: Path) -> Graph:
    """Map every module of ``source``/seg2vid to the modules it imports, by names below seg2vid."""
    import grimp

    sys.path.insert(0, str(source))
    try:
        graph = grimp.build_graph("seg2vid", exclude_type_checking_imports=True, cache_dir=None)
    finally:
        sys.path.remove(str(source))

    def short(name: str) -> str:
        return name.removeprefix("seg2vid.")

    return {
        short(module): frozenset(
            short(target)
            for target in graph.find_modules_directly_imported_by(module)
            if target != "seg2vid"
        )
        for module in graph.modules
        if module != "seg2vid"
    }


def rooms_of(graph: Graph) -> Graph:
    """Join the modules of each room: what remains are the arrows between rooms."""
    rooms: dict[str, frozenset[str]] = {}
    for module, targets in graph.items():
        room = module.split(".")[0]
        others = {target.split(".")[0] for target in targets} - {room}
        rooms[room] = rooms.get(room, frozenset()) | others
    return rooms


def in_circles(graph: Graph) -> list[str]:
    """Return the nodes that reach themselves."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            new = graph.get(waiting.pop(), frozenset()) - found
            found |= new
            waiting += new
        return found

    return sorted(node for node in graph if node in reached(node))


def longest_chain(graph: Graph) -> list[str]:
    """Return the longest path of arrows; nodes in circles are left out."""
    circular = set(in_circles(graph))

    @cache
    def chain(node: str) -> tuple[str, ...]:
        further = (chain(target) for target in graph.get(node, ()) if target not in circular)
        return (node, *max(further, key=len, default=()))

    return list(max((chain(node) for node in graph if node not in circular), key=len, default=()))


def count_lines(folder: Path, *endings: str) -> tuple[int, int]:
    """Return the number of files with one of the endings below ``folder``, and of their lines."""
    files = [path for path in folder.rglob("*") if path.suffix in endings and path.is_file()]
    return len(files), sum(len(path.read_text("utf-8").splitlines()) for path in files)


def measure(tree: Path) -> dict[str, object]:
    """Return every figure of a checkout by its title."""
    graph = import_graph(tree / "src")
    rooms = rooms_of(graph)
    package = tree / "src" / "seg2vid"
    source_files, source_lines = count_lines(package, ".py", ".html", ".css", ".js")
    test_files, test_lines = count_lines(tree / "tests", ".py")
    hidden = {"__pycache__", "__init__.py", "py.typed"}
    entries = [path.name for path in package.iterdir() if path.name not in hidden]
    modules, chain = in_circles(graph), longest_chain(rooms)
    return {
        "entries at the top": len(entries),
        "rooms with code": len(rooms),
        "arrows between rooms": sum(map(len, rooms.values())),
        "rooms in circles": " ".join(in_circles(rooms)) or "none",
        "modules in circles": " ".join(modules) or "none",
        "longest chain of rooms": f"{len(chain)}: {' → '.join(chain)}",
        "longest chain of modules": len(longest_chain(graph)),
        "source files": source_files,
        "source lines, templates and blank lines included": source_lines,
        "test files": test_files,
        "test lines": test_lines,
    }


def measure_commit(commit: str) -> dict[str, object]:
    """Measure a commit of this repository, in a process of its own: packages are imported once."""
    command = ["git", "-C", str(REPOSITORY), "archive", commit, "src", "tests"]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        words = [sys.executable, __file__, "--tree", folder, "--json"]
        found = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(found))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", help="commit to measure beside the working tree")
    parser.add_argument("--tree", type=Path, default=REPOSITORY, help="checkout to measure")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    after = measure(options.tree)
    if options.json:
        print(json.dumps(after))
        return
    before = measure_commit(options.before) if options.before else {}
    for title, value in after.items():
        was = f"{before[title]!s}  →  " if before else ""
        print(f"{title:<50}{was}{value}")


if __name__ == "__main__":
    main()
