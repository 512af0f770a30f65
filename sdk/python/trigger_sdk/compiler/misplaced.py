"""Finds checkpoints in functions that are no tasks: no run can resume there, and reaching one is an error.

Works on a whole module, because nothing registers such a function.
"""

import ast
import linecache
import types
from collections.abc import Callable, Container, Iterator
from typing import Any

from trigger_sdk.compiler.names import Function, own_scope
from trigger_sdk.compiler.source import FunctionNode, parsed
from trigger_sdk.errors import Problem


def misplaced_checkpoints(
    module: types.ModuleType,
    checkpoint: Callable[..., Any],
    task: Callable[..., Any],
    known: Container[tuple[str, int]],
) -> Iterator[Problem]:
    """The checkpoints of a module that are in functions, but in no task. `known` has file and line of each function
    that was given to `task`, in whatever way."""
    file = module.__file__ or ""
    text = "".join(linecache.getlines(file))
    if "checkpoint" in text:
        yield from _Walk(module, file, checkpoint, task, known).within(parsed(text), None, frozenset())


class _Walk:
    def __init__(
        self,
        module: types.ModuleType,
        file: str,
        checkpoint: Callable[..., Any],
        task: Callable[..., Any],
        known: Container[tuple[str, int]],
    ) -> None:
        self._module = module
        self._file = file
        self._checkpoint = checkpoint
        self._task = task
        self._known = known

    def within(self, node: ast.AST, owner: FunctionNode | None, aliases: frozenset[str]) -> Iterator[Problem]:
        """The checkpoints below a node; `aliases` are the names that functions around it imported it under."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                if not self._is_task(child):
                    yield from self.within(child, child, aliases | _imported(child))
                continue
            if isinstance(child, ast.Call) and owner is not None and self._is_checkpoint(child.func, aliases):
                message = (
                    f"this checkpoint is in `{owner.name}`, which is no task, so no run could resume here: write it in "
                    f"the body of the function that has `@task`, or make the call of `{owner.name}` a step"
                )
                yield Problem(self._file, child.lineno, child.col_offset + 1, "checkpoint_outside_task", message)
            yield from self.within(child, owner, aliases)

    def _is_task(self, node: FunctionNode) -> bool:
        if (self._file, node.lineno) in self._known:
            return True
        called = [decorator.func for decorator in node.decorator_list if isinstance(decorator, ast.Call)]
        return any(self._value(function) is self._task for function in called)

    def _is_checkpoint(self, node: ast.expr, aliases: frozenset[str]) -> bool:
        if isinstance(node, ast.Name) and node.id in aliases:
            return True
        return self._value(node) is self._checkpoint

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Attribute):
            owner = self._value(node.value)
            return vars(owner).get(node.attr) if isinstance(owner, types.ModuleType) else None
        return vars(self._module).get(node.id) if isinstance(node, ast.Name) else None


def _imported(node: FunctionNode) -> frozenset[str]:
    return frozenset(
        alias.asname or alias.name
        for inner in own_scope(node.body)
        if isinstance(inner, ast.ImportFrom) and inner.module == "trigger_sdk"
        for alias in inner.names
        if alias.name == "checkpoint"
    )
