"""Imports flow one way, and ``import seg2vid`` loads nothing heavy."""

import ast
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache

import pytest

from tests.gates import Source, core_sources, is_core

LAYERS = (
    (
        *("errors", "structures", "config", "warp", "features", "judges", "judge_files"),
        *("weights", "seeds", "processes"),
    ),
    ("environment",),
    ("label_space", "label_fitting", "labels"),
    ("label_doctor", "files", "pictures", "drawing", "video", "media", "checkpoint"),
    ("models", "losses", "metrics"),
    ("data",),
    ("pipeline", "train_config", "train_stage", "train_first_frame", "train_motion"),
    (
        "train_segmenter",
        "train_stages",
        "fine_tune",
        "freezing",
        "run_folder",
        "train_logs",
        "train_curves",
    ),
    ("train_validation", "train_figures", "train_samples", "run_keeper"),
    ("train_cost", "train_forecast", "train_stops", "train", "train_replay"),
    ("generate", "transfer", "assemble", "recipes", "evaluation", "evaluate", "export", "studio"),
    ("report", "prepare", "prepare_job", "prepare_plan", "prepare_work", "segment"),
    ("arguments", "cli_data", "cli_evaluation", "cli_training", "cli", "__main__"),
)
"""The layers of the house, lowest first: imports stay in a layer or point to an earlier one."""
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}

EXCEPTIONS = {("structures", "media")}
"""``GeneratedVideo.save`` imports ``media`` inside the function: a courtesy to the caller."""

TRAIN_ONLY = {
    *("models.motion_encoder", "models.paper_motion_encoder"),
    *("models.appearance_encoder", "models.discriminator"),
    *("losses", "features", "judges"),
}
LONGEST_CHAIN = 8

Graph = Mapping[str, frozenset[str]]


def module_name(source: Source) -> str:
    """``models.layers`` for ``src/seg2vid/models/layers.py``; empty for the package itself."""
    parts = source.name.removeprefix("src/seg2vid/").removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(source: Source, module: str) -> set[str]:
    """Dotted names below ``seg2vid`` that a file imports anywhere, inside functions included."""
    names = set()
    is_package = source.name.endswith("__init__.py")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = f"seg2vid.{module}".rstrip(".").split(".")
                kept = len(parts) - node.level + int(is_package)
                base = ".".join([*parts[:kept], *([base] if base else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return {name.removeprefix("seg2vid.") for name in names if name.startswith("seg2vid.")}


def import_graph(sources: list[Source]) -> Graph:
    """Map every module to the modules it imports; the lazy front door ``seg2vid`` is left out.

    Importing ``models.layers`` from outside ``models`` also runs ``models/__init__.py``, so it
    counts as an import of ``models`` too.
    """
    by_name = {module_name(source): source for source in sources}
    graph = {}
    for module, source in by_name.items():
        found = set()
        for name in imported_names(source, module):
            parts = name.split(".")
            prefixes = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
            inside = {p for p in prefixes if module == p or module.startswith(f"{p}.")}
            found |= {prefix for prefix in prefixes if prefix in by_name} - inside
        graph[module] = frozenset(found - {module})
    return {module: targets for module, targets in graph.items() if module}


def without_exceptions(graph: Graph) -> Graph:
    """The graph less its documented exceptions."""
    return {m: frozenset(t for t in ts if (m, t) not in EXCEPTIONS) for m, ts in graph.items()}


def level_of(module: str) -> int:
    """Layer of a module; one without a layer counts as the lowest."""
    return LEVELS.get(module.split(".")[0], 0)


def upward_imports(graph: Graph) -> list[str]:
    """Imports that point to a higher layer."""
    return [
        f"{module} imports {target}"
        for module, targets in graph.items()
        for target in targets
        if level_of(module) < level_of(target)
    ]


def reachable(graph: Graph, start: str) -> set[str]:
    """Every module that importing ``start`` loads, at once or later."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for target in graph[waiting.pop()] - found:
            found.add(target)
            waiting.append(target)
    return found


def cycles(graph: Graph) -> list[str]:
    """Modules that reach themselves."""
    return [module for module in graph if module in reachable(graph, module)]


def longest_chain(graph: Graph) -> list[str]:
    """The longest path of imports in a graph without cycles."""

    @cache
    def chain(module: str) -> tuple[str, ...]:
        return (module, *max((chain(target) for target in graph[module]), key=len, default=()))

    return list(max((chain(module) for module in graph), key=len))


GRAPH = import_graph(core_sources())
DOWNWARD = without_exceptions(GRAPH)


def test_every_module_has_a_layer() -> None:
    unknown = {module.split(".")[0] for module in GRAPH} - set(LEVELS)
    assert not unknown, f"put {sorted(unknown)} into LAYERS, or remove the file"


def test_imports_point_down() -> None:
    assert upward_imports(DOWNWARD) == []


def test_no_cycles() -> None:
    assert cycles(DOWNWARD) == []


WORLD = "data.toycity"


CORE = {module_name(source) for source in core_sources() if is_core(source)} - {""}
"""What the pipeline and the two stages need."""


def merged(graph: Graph, part: Callable[[str], bool], name: str) -> Graph:
    """The graph with all modules of a part as one."""

    def new(module: str) -> str:
        return name if part(module) else module

    whole: dict[str, frozenset[str]] = {}
    for module, targets in graph.items():
        others = {new(target) for target in targets} - {new(module)}
        whole[new(module)] = whole.get(new(module), frozenset()) | others
    return whole


def inside(graph: Graph, part: Callable[[str], bool]) -> Graph:
    """The part of the graph that lies in a part of the modules."""
    return {m: frozenset(filter(part, targets)) for m, targets in graph.items() if part(m)}


def is_world(module: str) -> bool:
    """Say whether a module belongs to the toy city, a world of its own."""
    return f"{module}.".startswith(f"{WORLD}.")


def chains(graph: Graph, core: set[str]) -> list[list[str]]:
    """The longest chains in the toy city, in the core, and around it.

    The toy city is one step for both others. The core is one step for the verbs and adapters
    around it, whose readers know it as a whole.
    """
    outside = merged(graph, is_world, WORLD)
    # What the world's own front door imports is no step inside it.
    world = inside(graph, lambda module: is_world(module) and module != WORLD)
    own = core | {WORLD}
    around = merged(outside, own.__contains__, "core")
    return [longest_chain(part) for part in (world, inside(outside, own.__contains__), around)]


def test_longest_chains() -> None:
    for chain in chains(DOWNWARD, CORE):
        print(" ← ".join(reversed(chain)))
        assert len(chain) <= LONGEST_CHAIN, " → ".join(chain)


def test_chains_count_the_core_and_the_world_once_from_outside() -> None:
    graph = {
        "verb": frozenset({"adapter", "a"}),
        "adapter": frozenset({"a"}),
        "a": frozenset({f"{WORLD}.x", f"{WORLD}_like"}),
        f"{WORLD}_like": frozenset({"b"}),
        f"{WORLD}.x": frozenset({f"{WORLD}.y", "b"}),
        f"{WORLD}.y": frozenset(),
        "b": frozenset(),
    }
    world, core, around = chains(graph, {"a", "b", f"{WORLD}_like"})
    assert world == [f"{WORLD}.x", f"{WORLD}.y"]
    assert core in (["a", WORLD, "b"], ["a", f"{WORLD}_like", "b"])
    assert around == ["verb", "adapter", "core"]


def test_pipeline_never_reaches_what_only_training_needs() -> None:
    assert "pipeline" in DOWNWARD
    assert reachable(DOWNWARD, "pipeline") & TRAIN_ONLY == set()


def test_core_is_what_the_pipeline_and_the_stages_need() -> None:
    roots = ("pipeline", "train_first_frame", "train_motion")
    needed = {*roots}.union(*(reachable(GRAPH, root) for root in roots))
    counted = {module_name(source) for source in core_sources() if is_core(source)}
    inside = {module for module in needed if not module.startswith("data.toycity")}
    assert counted == inside | {""}


def test_train_never_imports_pipeline() -> None:
    training = [module for module in DOWNWARD if module.split("_")[0] == "train"]
    assert "train" in training
    assert not [module for module in training if "pipeline" in reachable(DOWNWARD, module)]


@pytest.mark.parametrize("importer", sorted({module for module, _ in EXCEPTIONS}))
def test_exceptions_are_inside_functions(importer: str) -> None:
    source = next(s for s in core_sources() if module_name(s) == importer)
    at_top = ast.Module(
        [node for node in source.tree.body if isinstance(node, ast.Import | ast.ImportFrom)], []
    )
    names = imported_names(Source(source.name, ast.unparse(at_top)), importer)
    assert not [name for name in names if (importer, name.split(".")[0]) in EXCEPTIONS]


# The checks themselves can fail.


def small_graph(**files: str) -> Graph:
    """The import graph of a package given as text; ``__`` in a name stands for a folder."""
    return import_graph(
        [Source(f"src/seg2vid/{name.replace('__', '/')}.py", text) for name, text in files.items()]
    )


def test_graph_sees_nested_relative_and_plain_imports() -> None:
    graph = small_graph(
        warp="",
        config="def f():\n    import seg2vid.warp",
        models__layers="from ..warp import backward_warp\nfrom seg2vid import config",
        models__refiner="from .layers import Block",
    )
    assert graph["config"] == {"warp"}
    assert graph["models.layers"] == {"warp", "config"}
    assert graph["models.refiner"] == {"models.layers"}


def test_upward_imports_are_found() -> None:
    graph = small_graph(warp="from seg2vid.cli import main", cli="import torch")
    assert upward_imports(graph) == ["warp imports cli"]


def test_cycles_are_found() -> None:
    graph = small_graph(warp="from seg2vid import labels", labels="import seg2vid.warp")
    assert sorted(cycles(graph)) == ["labels", "warp"]


def test_indirect_imports_are_found() -> None:
    graph = small_graph(
        pipeline="from seg2vid.models.animator import Animator",
        models__animator="from seg2vid.models import motion_encoder",
        models__motion_encoder="",
    )
    assert reachable(graph, "pipeline") & TRAIN_ONLY == {"models.motion_encoder"}


def test_longest_chain_is_counted_in_modules() -> None:
    graph = small_graph(a="from seg2vid import b", b="from seg2vid import c", c="")
    assert longest_chain(graph) == ["a", "b", "c"]


# What is loaded when.

HEAVY = ("torch", "numpy", "lightning", "av", "PIL", "einops")
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
    ["import seg2vid", f"from seg2vid.cli import main{HELP}"],
    ids=["import seg2vid", "seg2vid --help"],
)
def test_starts_without_heavy_packages(code: str) -> None:
    runs = [seconds_and_heavy(code) for _ in range(3)]
    fastest = min(seconds for seconds, _ in runs)
    print(f"{fastest:.2f} s of processor time")
    assert runs[0][1] == []
    assert fastest <= 0.3


def test_public_names_are_listed_and_unknown_ones_explained() -> None:
    import seg2vid

    assert set(seg2vid.__all__) <= set(dir(seg2vid))
    with pytest.raises(AttributeError, match="public names: Seg2VidPipeline"):
        _ = seg2vid.missing


def test_every_public_name_is_found() -> None:
    import seg2vid

    assert all(getattr(seg2vid, name) is not None for name in seg2vid.__all__)
