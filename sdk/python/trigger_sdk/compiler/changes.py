"""Finds what plainly changes an object in place: `x.a = …`, `x["a"] = …`, `del x[0]`, `x.append(…)`.

Other calls may change it too; nobody can see that.
"""

import ast
from collections.abc import Iterator

from trigger_sdk.compiler.source import FunctionNode

_CHANGING = frozenset({
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "mount", "pop", "popitem", "push", "put",
    "put_nowait", "remove", "reverse", "setdefault", "sort", "update",
})  # fmt: skip


def changes(node: FunctionNode) -> Iterator[tuple[str, ast.expr, str]]:
    """The name that is changed, the expression that changes it, and how to show it."""
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Attribute, ast.Subscript)) and not isinstance(inner.ctx, ast.Load):
            name = _root(inner.value)
            if name is not None:
                yield name, inner, f"{ast.unparse(inner)} = …"
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr in _CHANGING:
            name = _root(inner.func.value)
            if name is not None:
                yield name, inner, f"{ast.unparse(inner.func)}(…)"


def _root(node: ast.expr) -> str | None:
    """The name that a chain of attributes and items begins with."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
