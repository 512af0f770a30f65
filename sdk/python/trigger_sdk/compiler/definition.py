"""Refuses functions that cannot be tasks because of where they are defined: methods, for which a run has no object."""

import ast
from typing import Any

from trigger_sdk.compiler.names import Function, parameters
from trigger_sdk.compiler.source import Source
from trigger_sdk.errors import Problem


def method_problem(source: Source, function: Any) -> Problem | None:
    """The problem of a task that is a method or a class method; None for any other function."""
    owner = _class_around(source)
    if owner is None:
        return None
    node = source.node
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    first, *others = [argument.arg for argument in parameters(node.args)] or [""]
    given = ", ".join(name for name in others)
    if isinstance(function, classmethod) or "classmethod" in decorators:
        message = (
            f"`{node.name}` is a class method, and a run has no class to call it on: put `@staticmethod` in the place "
            f"of `@classmethod`, above `@task`, leave out `{first or 'cls'}`, and write `{owner.name}` for it"
        )
    elif first in ("self", "cls") and "staticmethod" not in decorators:
        message = (
            f"`{node.name}` is a method, and a run has no object to call it on: make a function outside the class the "
            f"task, `def {node.name}({given}):`, which makes the object, calls it, and has the checkpoints"
        )
    else:
        return None
    return source.problem(node, "method", message)


def _class_around(source: Source) -> ast.ClassDef | None:
    waiting: list[ast.AST] = [source.top]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef) and source.node in node.body:
            return node
        if isinstance(node, (ast.ClassDef, ast.If, ast.Try, ast.With, *Function)):
            waiting += ast.iter_child_nodes(node)
    return None
