"""The types of a function's local names, as its source says them: from annotations, else from what a call returns.

They are evaluated on first use, because a class or a function that is named may be defined after the task.
"""

import ast
import types
import typing
from collections.abc import Callable
from typing import Any

from trigger_sdk.compiler.names import own_scope, parameters, set_by_nested_functions
from trigger_sdk.compiler.resolve import member, resolve, returned_by
from trigger_sdk.compiler.source import FunctionNode

_UNREAD = object()
_NAMED = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.MatchAs, ast.MatchStar, ast.ExceptHandler,
)  # fmt: skip
"""Syntax that binds its own `name`."""
_MAX_DEPTH = 8
"""How many names an answer may depend on."""


class LocalTypes:
    """The types of one function's names. `step` is `trigger_sdk.step`, whose calls return what their function does."""

    def __init__(self, function: types.FunctionType, node: FunctionNode, step: Callable[..., Any] | None) -> None:
        self._function = function
        self._node = node
        self._step = step
        self._extra = node.args.kwarg.arg if node.args.kwarg else None
        self._annotations = _annotations(node)
        self._values: dict[str, list[ast.expr]] | None = None
        self._known: dict[str, Any] = {}
        self._depth = 0

    def of(self, name: str) -> Any:
        """The evaluated annotation of a local name, else what its values are; None if neither is known."""
        found = self._known.get(name, _UNREAD)
        if found is _UNREAD:
            annotation = self._annotations.get(name)
            found = self._made(name) if annotation is None else evaluate(self._function, annotation)
            if found is not None and annotation is not None and name == self._extra:
                found = dict[str, found]  # type: ignore[valid-type]
            if self._depth == 0:
                self._known[name] = found
        return found

    def values_of(self, name: str) -> list[ast.expr]:
        """The values of a name that only plain assignments bind, and no annotation names; else none."""
        if self._values is None:
            self._values = _values(self._node)
        return [] if name in self._annotations else self._values.get(name, [])

    def of_value(self, value: ast.expr) -> Any:
        """The type of what an expression, such as `await load(order_id)`, gives; None if it is not known."""
        is_awaited = isinstance(value, ast.Await)
        call = value.value if isinstance(value, ast.Await) else value
        if not isinstance(call, ast.Call):
            return None
        called, owner = self._called(call.func)
        if called is not None and called is self._step:
            function = call.args[1] if len(call.args) > 1 else None
            called, owner = self._called(function) if function is not None else (None, None)
            if isinstance(called, type):
                return called
        return returned_by(called, owner, is_awaited=is_awaited)

    def _called(self, function: ast.expr) -> tuple[Any, Any]:
        """What is called, and what it is an attribute of."""
        owner = None
        if isinstance(function, ast.Attribute):
            owner = resolve(self._function, self._node, function.value)
            if owner is None and isinstance(function.value, ast.Name):
                kind = self.of(function.value.id)
                owner = kind if isinstance(kind, type) else None
            return member(owner, function.attr), owner
        return resolve(self._function, self._node, function), owner

    def _made(self, name: str) -> Any:
        """What all values of the name are, None aside."""
        given = self.values_of(name)
        values = [v for v in given if not (isinstance(v, ast.Constant) and v.value is None)]
        if not values or self._depth >= _MAX_DEPTH:
            return None
        self._depth += 1
        try:
            found = [self.of_value(value) for value in values]
        finally:
            self._depth -= 1
        if any(kind is None or kind != found[0] for kind in found):
            return None
        may_be_none = len(values) < len(given)
        return typing.Optional[found[0]] if may_be_none else found[0]  # noqa: UP045 - not every annotation has `|`


def evaluate(function: types.FunctionType, node: ast.expr) -> Any:
    """The value of an annotation of a local name; None if it cannot be evaluated."""
    scope: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            scope[name] = cell.cell_contents
        except ValueError:
            continue
    return evaluated_in(function.__globals__, scope, node)


def evaluated_in(names: dict[str, Any], scope: dict[str, Any], node: ast.expr) -> Any:
    try:
        while isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        found = eval(compile(ast.Expression(node), "<annotation>", "eval"), names, scope)  # noqa: S307
    except Exception:
        # Python itself never evaluates a local's annotation, so a wrong one is not the task's fault.
        return None
    return found


def _annotations(node: FunctionNode) -> dict[str, ast.expr]:
    found = {a.arg: a.annotation for a in parameters(node.args) if a.annotation is not None}
    for inner in own_scope(node.body):
        if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            found.setdefault(inner.target.id, inner.annotation)
    return found


def _values(node: FunctionNode) -> dict[str, list[ast.expr]]:
    """The values of the names that are bound by plain assignments alone."""
    found: dict[str, list[ast.expr]] = {}
    plain: set[ast.AST] = set()
    others = {argument.arg for argument in parameters(node.args)} | set_by_nested_functions(node.body)
    for inner in own_scope(node.body):
        targets = inner.targets if isinstance(inner, ast.Assign) else [getattr(inner, "target", None)]
        if isinstance(inner, (ast.Assign, ast.NamedExpr)) and isinstance(targets[0], ast.Name) and len(targets) == 1:
            plain.add(targets[0])
            found.setdefault(targets[0].id, []).append(inner.value)
    for inner in own_scope(node.body):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store) and inner not in plain:
            others.add(inner.id)
        elif isinstance(inner, _NAMED) and inner.name:
            others.add(inner.name)
        elif isinstance(inner, ast.MatchMapping) and inner.rest:
            others.add(inner.rest)
        elif isinstance(inner, (ast.Import, ast.ImportFrom)):
            others.update(alias.asname or alias.name.partition(".")[0] for alias in inner.names)
    return {name: values for name, values in found.items() if name not in others}
