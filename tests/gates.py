"""The numeric gates of the house style, measured with ``ast``: ``make gates`` prints the table.

Nothing of the package is imported, so this runs with any Python 3.11 and no installed packages.
``tests/test_style.py`` holds the package to every gate and shows that each can fail.
"""

import ast
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

Function = ast.FunctionDef | ast.AsyncFunctionDef

NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
"""Tokens that do not make a line one of code."""

SHAPED = {
    "Shaped",
    "Bool",
    "Key",
    "Num",
    "Inexact",
    "Float",
    "Float16",
    "Float32",
    "Float64",
    "BFloat16",
    "Complex",
    "Integer",
    "Int",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt",
    "UInt8",
    "UInt16",
}
"""Names of jaxtyping: ``Float[Tensor, "batch 3 height width"]`` states its shape."""
ARRAYS = {"Tensor", "ndarray", "NDArray", "ArrayLike"}
"""Types that carry no shape of their own."""
AXES = r"\b(?:batch|time|channels?|class(?:es)?|height|width|samples?|[BTCHWNKD])\b"
STATED = re.compile(
    rf"\([^()]*{AXES}[^()]*,[^()]*\)|\([^()]*,[^()]*{AXES}[^()]*\)"  # (batch, 2, height, width)
    rf"|`[^`]*{AXES} [^`]*{AXES}[^`]*`"  # ``batch 2 height width``
    r"|\b(?:any|same|equal|one) (?:shape|size)s?\b|\bshapes? of\b|\bscalars?\b",
)
"""How a docstring states a shape, where the annotation does not."""
EFFECTS = {
    "open",
    "print",
    "input",
    "exec",
    "eval",
    "mkdir",
    "unlink",
    "getenv",
    "system",
    "run",
    "Popen",
    "urlopen",
    "load",
    "safe_load",
    "load_file",
    "from_pretrained",
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "manual_seed",
    "set_num_threads",
    "basicConfig",
    "filterwarnings",
    "simplefilter",
}
"""Calls that may not compute a module constant: they touch something outside the module."""


@dataclass(frozen=True)
class Source:
    """One Python file: its name for messages, its text and its syntax tree."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """Number of lines, blank ones and comments included."""
        return len(self.text.splitlines())

    @cached_property
    def code_lines(self) -> int:
        """Number of lines of code: without blank lines, comments and docstrings."""
        documented: set[int] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", 0), str):
                documented |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        used: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in NO_CODE:
                used |= set(range(token.start[0], token.end[0] + 1))
        return len(used - documented)


@dataclass(frozen=True)
class Measurement:
    """What one gate found: a figure to print, and the places that break it (none: it holds)."""

    figure: str
    broken: tuple[str, ...]


def read_sources(folder: Path) -> list[Source]:
    """Read every Python file below ``folder``, in order of path."""
    paths = sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)
    return [Source(str(path.relative_to(REPOSITORY)), path.read_text("utf-8")) for path in paths]


@cache
def core_sources() -> list[Source]:
    """Read the package, once."""
    return read_sources(REPOSITORY / "src" / "seg2vid")


def functions_of(sources: Sequence[Source]) -> Iterator[tuple[str, Function, bool]]:
    """Yield (place, function, is it a method) for every function, nested ones included."""
    for source in sources:
        for parent in ast.walk(source.tree):
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, Function):
                    place = f"{source.name}:{node.lineno} {node.name}"
                    yield place, node, isinstance(parent, ast.ClassDef)


def length_of(function: Function) -> int:
    """Lines from ``def`` to the last line of the body, docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def arguments_of(function: Function, *, is_method: bool) -> list[ast.arg]:
    """Every argument a caller gives: ``self`` and ``cls`` left out."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    if is_method and "staticmethod" not in names_in(function.decorator_list):
        positional = positional[1:]
    extra = [argument for argument in (given.vararg, given.kwarg) if argument]
    return [*positional, *given.kwonlyargs, *extra]


def names_in(nodes: Sequence[ast.AST]) -> set[str]:
    """Every name and attribute name that occurs below ``nodes``."""
    found = set()
    for node in (child for root in nodes for child in ast.walk(root)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found


WORLD = "/data/toycity/"
"""The toy city is content, a world to be looked at; it is counted apart from the core."""
AROUND = re.compile(
    r"/(cli|cli_data|cli_training|__main__|arguments|generate|transfer|assemble|recipes|evaluate"
    r"|prepare|prepare_job|prepare_plan|prepare_work|report|segment|train_segmenter|fine_tune"
    r"|cli_evaluation|freezing|environment|judge_files|processes|run_folder|run_keeper|train"
    r"|train_(cost|curves|figures|forecast|logs|replay|samples|stages|stops|validation))\.py$"
    r"|/metrics/|/evaluation/|/models/(segmenter|raft_small|i3d|inception)\.py$|/data/\w+\.py$"
)
"""Verbs, adapters and the engine: what stands around the core and imports it.
``tests/test_layers.py`` holds that the rest is what the pipeline and the two stages need."""


def is_core(source: Source) -> bool:
    """Say whether pipeline or training need this file."""
    return WORLD not in source.name and not AROUND.search(source.name)


def core_size(sources: Sequence[Source], *, lines: int = 5000, files: int = 40) -> Measurement:
    """What pipeline and training need stays small enough to be read, in lines of code."""
    core = [source for source in sources if is_core(source)]
    world = [source for source in sources if WORLD in source.name]
    total, city, whole = (sum(s.code_lines for s in some) for some in (core, world, sources))
    broken = []
    if total > lines:
        broken.append(f"{total} lines of code, at most {lines}")
    if len(core) > files:
        broken.append(f"{len(core)} files, at most {files}")
    rest = len(sources) - len(core) - len(world)
    figure = f"{total} lines of code in {len(core)} files; verbs and adapters "
    figure += f"{whole - total - city} in {rest}; toy city {city} in {len(world)}; with docstrings "
    figure += f"and blank lines {sum(source.lines for source in sources)} in all"
    return Measurement(figure, tuple(broken))


def file_length(sources: Sequence[Source], *, median: int = 150, maximum: int = 350) -> Measurement:
    """No file is a wall of text."""
    lengths = [source.lines for source in sources]
    broken = [f"{s.name}: {s.lines} lines, at most {maximum}" for s in sources if s.lines > maximum]
    middle = statistics.median(lengths)
    if middle > median:
        broken.append(f"median {middle}, at most {median}")
    return Measurement(f"median {middle:g}, maximum {max(lengths)}", tuple(broken))


def function_length(
    sources: Sequence[Source], *, median: int = 12, most: int = 40, maximum: int = 70
) -> Measurement:
    """Functions are short: half of them within ``median`` lines, nine of ten within ``most``."""
    measured = [(length_of(node), place) for place, node, _ in functions_of(sources)]
    lengths = sorted(length for length, _ in measured)
    middle = statistics.median(lengths)
    ninth = lengths[max(0, -(-len(lengths) * 9 // 10) - 1)]
    broken = [f"{place}: {n} lines, at most {maximum}" for n, place in measured if n > maximum]
    if middle > median:
        broken.append(f"median {middle}, at most {median}")
    if ninth > most:
        broken.append(f"ninth decile {ninth}, at most {most}")
    return Measurement(f"median {middle:g}, p90 {ninth}, maximum {lengths[-1]}", tuple(broken))


def forward_length(sources: Sequence[Source], *, maximum: int = 40) -> Measurement:
    """``forward`` and ``__call__`` read like the figure."""
    measured = [
        (length_of(node), place)
        for place, node, _ in functions_of(sources)
        if node.name in ("forward", "__call__")
    ]
    broken = [f"{place}: {n} lines, at most {maximum}" for n, place in measured if n > maximum]
    longest = max((n for n, _ in measured), default=0)
    return Measurement(f"maximum {longest} of {len(measured)}", tuple(broken))


def type_hints(sources: Sequence[Source]) -> Measurement:
    """Every argument and every return is annotated."""
    total, broken = 0, []
    for place, node, is_method in functions_of(sources):
        arguments = arguments_of(node, is_method=is_method)
        total += len(arguments) + 1
        broken += [f"{place}: argument {a.arg}" for a in arguments if a.annotation is None]
        broken += [f"{place}: return"] if node.returns is None else []
    return Measurement(_percent(total - len(broken), total), tuple(broken))


def docstrings(sources: Sequence[Source]) -> Measurement:
    """Every module, public class and public function says what it is for."""
    total, broken = 0, []
    for source in sources:
        for place, node in _public(source.tree, source.name):
            total += 1
            if not (ast.get_docstring(node) or "").strip():
                broken.append(place)
    return Measurement(_percent(total - len(broken), total), tuple(broken))


def _public(
    node: ast.Module | ast.ClassDef, place: str
) -> Iterator[tuple[str, ast.Module | ast.ClassDef | Function]]:
    """Yield ``node`` and the public definitions below it; what is inside a function is private."""
    yield place, node
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _public(child, f"{place} {child.name}")
        elif isinstance(child, Function) and not _is_exempt(child):
            yield f"{place}:{child.lineno} {child.name}", child


def _is_exempt(function: Function) -> bool:
    """True for private functions, special methods but ``__call__``, setters and overload stubs."""
    is_private = function.name.startswith("_") and function.name != "__call__"
    return is_private or bool(names_in(function.decorator_list) & {"setter", "overload"})


def shapes(sources: Sequence[Source], *, share: float = 0.95) -> Measurement:
    """A function that takes or returns tensors or arrays states their shapes."""
    aliases = _aliases(sources)
    total, broken = 0, []
    for place, node, is_method in functions_of(sources):
        annotations = [a.annotation for a in arguments_of(node, is_method=is_method)]
        hints = [hint for hint in [*annotations, node.returns] if hint is not None]
        marks = [mark for hint in hints for mark in _array_marks(hint, aliases)]
        total += bool(marks)
        if marks and not all(marks) and not STATED.search(ast.get_docstring(node) or ""):
            broken.append(place)
    is_held = total - len(broken) >= share * total
    return Measurement(_percent(total - len(broken), total), () if is_held else tuple(broken))


def _aliases(sources: Sequence[Source]) -> dict[str, ast.expr]:
    """Type aliases of the modules: ``Frames = Float[Tensor, "..."]``."""
    found = {}
    for statement in (node for source in sources for node in source.tree.body):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            is_type = isinstance(statement.value, ast.Subscript | ast.Attribute | ast.BinOp)
            found |= {statement.targets[0].id: statement.value} if is_type else {}
    return found


def _array_marks(hint: ast.AST, aliases: dict[str, ast.expr]) -> Iterator[bool]:
    """Yield, for every array in an annotation, whether its shape is stated right there."""
    name = getattr(hint, "id", getattr(hint, "attr", None))
    if name in ARRAYS:
        yield False
    elif name in aliases:
        yield from _array_marks(aliases[name], {k: v for k, v in aliases.items() if k != name})
    elif isinstance(hint, ast.Constant) and isinstance(hint.value, str):
        yield from _array_marks(_parse_hint(hint.value), aliases)
    elif isinstance(hint, ast.Subscript) and names_in([hint.value]) & SHAPED:
        yield True
    else:
        for child in ast.iter_child_nodes(hint):
            yield from _array_marks(child, aliases)


def _parse_hint(text: str) -> ast.AST:
    """Parse a quoted annotation; text that is no expression carries no type."""
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        return ast.Constant(None)


def positional_returns(sources: Sequence[Source], *, maximum: int = 2) -> Measurement:
    """A function returns one or two values; more travel in a named carrier."""
    aliases, longest, broken = _aliases(sources), 0, []
    for place, node, _ in functions_of(sources):
        count = max(_tuple_size(node.returns, aliases), *_literal_sizes(node), 0)
        longest = max(longest, count)
        if count > maximum:
            broken.append(f"{place}: returns {count} values")
    return Measurement(f"maximum {longest}", tuple(broken))


def _tuple_size(hint: ast.expr | None, aliases: dict[str, ast.expr]) -> int:
    """Number of values in ``tuple[a, b, c]``; 0 for anything else, ``tuple[a, ...]`` included."""
    if isinstance(hint, ast.Name) and hint.id in aliases:
        return _tuple_size(aliases[hint.id], {})
    if isinstance(hint, ast.BinOp):
        return max(_tuple_size(hint.left, aliases), _tuple_size(hint.right, aliases))
    if not isinstance(hint, ast.Subscript) or not names_in([hint.value]) & {"tuple", "Tuple"}:
        return 0
    parts = hint.slice.elts if isinstance(hint.slice, ast.Tuple) else [hint.slice]
    is_open = any(isinstance(part, ast.Constant) and part.value is ... for part in parts)
    return 0 if is_open else len(parts)


def _literal_sizes(function: Function) -> list[int]:
    """Sizes of the returned literal tuples, unless the annotation is an open ``tuple[a, ...]``."""
    hint = ast.walk(function.returns) if function.returns is not None else ()
    if any(isinstance(part, ast.Constant) and part.value is ... for part in hint):
        return [0]
    returned = [node.value for node in _own_nodes(function) if isinstance(node, ast.Return)]
    return [len(value.elts) for value in returned if isinstance(value, ast.Tuple)] or [0]


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a function without entering the functions and classes inside it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, Function | ast.ClassDef | ast.Lambda):
            yield from _own_nodes(child)


def asserts(sources: Sequence[Source]) -> Measurement:
    """The library raises errors that speak; ``assert`` is for tests."""
    return _count(sources, lambda node: isinstance(node, ast.Assert))


def silent_raises(sources: Sequence[Source]) -> Measurement:
    """Every error carries a message; a plain ``raise`` only passes on one that has it already."""
    broken = []
    for source in sources:
        passing_on = {
            id(node)
            for handler in ast.walk(source.tree)
            if isinstance(handler, ast.ExceptHandler)
            for node in ast.walk(handler)
        }
        broken += [
            f"{source.name}:{node.lineno}"
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Raise)
            and _is_silent(node, is_inside_handler=id(node) in passing_on)
        ]
    return Measurement(str(len(broken)), tuple(broken))


def _is_silent(node: ast.Raise, *, is_inside_handler: bool) -> bool:
    """True where ``raise`` names no message."""
    if node.exc is None:
        return not is_inside_handler
    if isinstance(node.exc, ast.Call):
        return not node.exc.args and not node.exc.keywords
    name = getattr(node.exc, "id", getattr(node.exc, "attr", ""))
    return name[:1].isupper()


def prints(sources: Sequence[Source]) -> Measurement:
    """Only the command line prints."""
    library = [source for source in sources if not Path(source.name).name.startswith("cli")]
    return _count(library, lambda node: isinstance(node, ast.Call) and _called(node) == "print")


def star_imports(sources: Sequence[Source]) -> Measurement:
    """Every imported name is written out."""
    return _count(
        sources,
        lambda node: isinstance(node, ast.ImportFrom) and any(n.name == "*" for n in node.names),
    )


def future_annotations(sources: Sequence[Source]) -> Measurement:
    """``from __future__ import annotations`` would hide the shapes from jaxtyping."""
    return _count(
        sources,
        lambda node: isinstance(node, ast.ImportFrom) and node.module == "__future__",
    )


def import_effects(sources: Sequence[Source]) -> Measurement:
    """Importing a module defines names and does nothing else."""
    broken = []
    for source in sources:
        for statement in source.tree.body:
            bodies = statement.body if isinstance(statement, ast.ClassDef) else [statement]
            broken += [f"{source.name}:{s.lineno}" for s in bodies if not _is_definition(s)]
    return Measurement(str(len(broken)), tuple(broken))


def _is_definition(statement: ast.stmt) -> bool:
    """True for imports, definitions, constants, docstrings and the script guard."""
    if isinstance(statement, ast.If):
        test = ast.unparse(statement.test)
        is_guard = test == "__name__ == '__main__'"
        imports = all(isinstance(s, ast.Import | ast.ImportFrom) for s in statement.body)
        return not statement.orelse and (is_guard or (test.endswith("TYPE_CHECKING") and imports))
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        are_names = all(isinstance(target, ast.Name | ast.Tuple) for target in targets)
        return are_names and not any(
            isinstance(node, ast.Call) and _called(node) in EFFECTS for node in ast.walk(statement)
        )
    plain = Function | ast.ClassDef | ast.Import | ast.ImportFrom | ast.Pass
    return isinstance(statement, plain)


def tests_per_core_line(
    sources: Sequence[Source], tests: Sequence[Source], *, share: float = 0.8
) -> Measurement:
    """The tests are nearly as long as what they test."""
    core, test = (sum(source.code_lines for source in some) for some in (sources, tests))
    figure = f"{test} / {core} = {test / core:.2f}"
    return Measurement(figure, () if test >= share * core else (f"{figure}, at least {share}",))


def duplicated_blocks(sources: Sequence[Source], *, maximum: int = 12) -> Measurement:
    """No block of more than ``maximum`` lines occurs twice; blank lines do not count."""
    seen: dict[tuple[str, ...], str] = {}
    broken = []
    for source in sources:
        numbered = enumerate(source.text.splitlines(), start=1)
        lines = [(number, line.strip()) for number, line in numbered if line.strip()]
        for start in range(len(lines) - maximum):
            block = tuple(line for _, line in lines[start : start + maximum + 1])
            place = f"{source.name}:{lines[start][0]}"
            if seen.setdefault(block, place) != place:
                broken.append(f"{place} repeats {seen[block]}")
    return Measurement(str(len(broken)), tuple(broken))


def _count(sources: Sequence[Source], is_found: Callable[[ast.AST], bool]) -> Measurement:
    """Count the nodes that should not exist."""
    broken = [
        f"{source.name}:{getattr(node, 'lineno', 0)}"
        for source in sources
        for node in ast.walk(source.tree)
        if is_found(node)
    ]
    return Measurement(str(len(broken)), tuple(broken))


def _called(call: ast.Call) -> str:
    """The last name of what is called: ``read`` of ``path.read()``."""
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def _percent(part: int, whole: int) -> str:
    """Write a share as ``97.5 % of 200``."""
    return f"{100 * part / max(whole, 1):.1f} % of {whole}"


GATES: dict[str, Callable[[Sequence[Source]], Measurement]] = {
    "core size": core_size,
    "file length": file_length,
    "function length": function_length,
    "forward and __call__ length": forward_length,
    "type hints": type_hints,
    "docstrings": docstrings,
    "shapes stated": shapes,
    "positional returns": positional_returns,
    "asserts": asserts,
    "raises without a message": silent_raises,
    "prints": prints,
    "star imports": star_imports,
    "future annotations": future_annotations,
    "import-time effects": import_effects,
    "duplicated blocks": duplicated_blocks,
}


def main() -> int:
    """Print every gate with its figure; return 1 if one is broken."""
    sources = core_sources()
    measured = {name: gate(sources) for name, gate in GATES.items()}
    tests = read_sources(REPOSITORY / "tests")
    measured["tests per core line"] = tests_per_core_line(sources, tests)
    for name, measurement in measured.items():
        print(f"{'broken' if measurement.broken else 'holds':8}{name:30}{measurement.figure}")
        for place in measurement.broken:
            print(f"{'':10}{place}")
    return int(any(measurement.broken for measurement in measured.values()))


if __name__ == "__main__":
    sys.exit(main())
