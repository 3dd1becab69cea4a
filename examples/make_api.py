"""Write docs/api.md: every public name with its signature and what its docstring says.

python examples/make_api.py     # docs/api.md; a test holds it to what the code says
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import seg2vid

REPOSITORY = Path(__file__).resolve().parents[1]
HEAD = """# Python API

Every public name, as the code has it (made by `python examples/make_api.py`). Shapes are written
as `Float[Tensor, "batch 3 height width"]`; signs, units and axis orders are those of the
[conventions](conventions.md). Each name is imported from `seg2vid`.
"""
Definition = ast.FunctionDef | ast.ClassDef


def page() -> str:
    """Return the page in Markdown."""
    names = [name for name in seg2vid.__all__ if not name.startswith("_")]
    links = " · ".join(f"[{name}](#{name.lower()})" for name in names)
    parts = [HEAD, links + "\n"]
    for name in names:
        parts.append("\n".join(describe(getattr(seg2vid, name))) + "\n")
    return "\n".join(parts)


def definition(thing: Any) -> Definition:
    """Return how a class or function is written."""
    tree = ast.parse(inspect.getsource(sys.modules[thing.__module__]))
    kinds = ast.FunctionDef | ast.ClassDef
    (node,) = [one for one in tree.body if isinstance(one, kinds) and one.name == thing.__name__]
    return node


def describe(thing: Any) -> Iterator[str]:
    """Yield the lines on a class, with what it inherits, or on a function."""
    node = definition(thing)
    yield f"## {node.name}\n"
    if isinstance(node, ast.FunctionDef):
        yield from code(signature(node))
        yield text_of(node)
        return
    yield text_of(node)
    fields = list(fields_of(node))
    if fields:
        yield "\n| field | type | |\n|---|---|---|"
        yield from fields
    written = [definition(one) for one in thing.__mro__ if one.__module__.startswith("seg2vid")]
    methods = {
        one.name: one
        for body in reversed(written)
        for one in body.body
        if isinstance(one, ast.FunctionDef)
    }
    for method in methods.values():
        is_public = not method.name.startswith("_") or method.name == "__call__"
        if is_public and ast.get_docstring(method):
            yield f"\n### {node.name}.{method.name}\n"
            yield from code(signature(method))
            yield text_of(method)


def fields_of(node: ast.ClassDef) -> Iterator[str]:
    """Yield a row for each field of a dataclass, with what the string below it says."""
    for field, following in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if field.target.id.startswith("_"):
            continue
        told = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            told = plain(" ".join(str(following.value.value).split()))
        kind = ast.unparse(field.annotation).replace("|", "\\|")
        yield f"| `{field.target.id}` | `{kind}` | {told} |"


def signature(node: ast.FunctionDef) -> str:
    """Return a signature, an argument a line where it is long."""
    kinds = [one.id for one in node.decorator_list if isinstance(one, ast.Name)]
    lead = "".join(f"@{kind}\n" for kind in kinds if kind in ("property", "classmethod"))
    result = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    whole = f"{lead}def {node.name}({ast.unparse(node.args)}){result}"
    if len(whole.split("\n")[-1]) <= 96:
        return whole
    arguments = re.split(r", (?=\*?\w+(?::|,|=|$)|\*,)", ast.unparse(node.args))
    body = "".join(f"    {one},\n" for one in arguments)
    return f"{lead}def {node.name}(\n{body}){result}"


def code(text: str) -> Iterator[str]:
    """Yield a block; a signature is nothing to run."""
    yield from ("```text", text, "```\n")


def text_of(node: Definition) -> str:
    """Return a docstring as Markdown."""
    return plain(ast.get_docstring(node) or "")


def plain(text: str) -> str:
    """Turn code in a docstring into Markdown's."""
    return text.replace("``", "`")


if __name__ == "__main__":
    (REPOSITORY / "docs" / "api.md").write_text(page(), "utf-8")
