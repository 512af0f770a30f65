"""Finds what plainly changes an object in place: `x.a = …`, `x["a"] = …`, `del x[0]`, `x.append(…)`.

Other calls may change it too; nobody can see that.
"""

import ast
import functools
from collections.abc import Iterator

from trigger_sdk.compiler.source import FunctionNode

_CHANGING = frozenset({
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "mount", "pop", "popitem", "push", "put",
    "put_nowait", "remove", "reverse", "setdefault", "sort", "update",
})  # fmt: skip


@functools.lru_cache(maxsize=8)
def changes(node: FunctionNode) -> list[tuple[str, ast.expr]]:
    """The names that are changed, each with the expression that changes it."""
    return [(name, inner) for inner, base in _changing(node) if (name := _root(base)) is not None]


def shown(change: ast.expr) -> str:
    """How to show a change in a message."""
    return f"{ast.unparse(change.func)}(…)" if isinstance(change, ast.Call) else f"{ast.unparse(change)} = …"


def _changing(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Attribute, ast.Subscript)) and not isinstance(inner.ctx, ast.Load):
            yield inner, inner.value
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr in _CHANGING:
            yield inner, inner.func.value


def _root(node: ast.expr) -> str | None:
    """The name that a chain of attributes and items begins with."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
