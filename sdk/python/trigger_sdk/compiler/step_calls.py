"""Finds the calls of `step` in a task and its nested functions, with the loops around each. Does not judge them."""

import ast
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trigger_sdk.compiler.names import Comprehension, Function, children, local_names, own_scope
from trigger_sdk.compiler.source import FunctionNode, Source

Loop = ast.For | ast.AsyncFor | ast.While | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True)
class Scope:
    """A function with what its names mean: its own, those around it, and the names `step` was imported as inside."""

    node: FunctionNode
    local: frozenset[str]
    steps: frozenset[str]
    modules: frozenset[str]
    outer: "Scope | None" = None

    @classmethod
    def of(cls, node: FunctionNode, outer: "Scope | None" = None) -> "Scope":
        own = local_names(node)
        steps = set(outer.steps - own) if outer else set()
        modules = set(outer.modules - own) if outer else set()
        for inner in own_scope(node.body):
            if isinstance(inner, ast.ImportFrom) and inner.module in ("trigger_sdk", "trigger_sdk.steps"):
                steps |= {a.asname or a.name for a in inner.names if a.name == "step"}
            elif isinstance(inner, ast.Import):
                modules |= {a.asname or a.name for a in inner.names if a.name == "trigger_sdk"}
        local = own | outer.local if outer else frozenset(own)
        return cls(node, frozenset(local), frozenset(steps), frozenset(modules), outer)


@dataclass(frozen=True)
class Use:
    """One `step(key, function, …)`; `loops` are those around it in its own function, outermost first."""

    call: ast.Call
    statement: ast.stmt
    loops: tuple[Loop, ...]
    scope: Scope

    @property
    def key(self) -> object:
        """The literal key, None for a computed one."""
        return literal(self.call.args[0])


class StepCalls:
    """One walk over a task's syntax that knows the current scope, statement and loops."""

    def __init__(self, source: Source, step: Callable[..., Any]) -> None:
        self._source = source
        self._step = step
        self._found: list[Use] = []
        self.others: list[tuple[ast.Call, ast.stmt]] = []
        """Calls of `step` with fewer arguments than a key and a function, each with its statement."""

    def find(self) -> list[Use]:
        """The uses in source order."""
        self._found, self.others = [], []
        node = self._source.node
        scope = Scope.of(node)
        for statement in node.body:
            self._visit(statement, scope, statement, ())
        return sorted(self._found, key=lambda use: (use.call.lineno, use.call.col_offset))

    def _visit(self, node: ast.AST, scope: Scope, statement: ast.stmt, loops: tuple[Loop, ...]) -> None:
        if isinstance(node, ast.stmt):
            statement = node
        if isinstance(node, Function):
            around = [*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
            self._visit_all(around, scope, statement, loops)
            inner = Scope.of(node, scope)
            for part in node.body:
                self._visit(part, inner, part, ())
            return
        if isinstance(node, ast.Lambda):
            self._visit(node.body, scope, statement, ())
            return
        if isinstance(node, ast.Call) and self._is_step(scope, node.func):
            if len(node.args) > 1:
                self._found.append(Use(node, statement, loops, scope))
            else:
                self.others.append((node, statement))
        once, repeated = _parts(node)
        self._visit_all(once, scope, statement, loops)
        if repeated:
            assert isinstance(node, Loop)
            self._visit_all(repeated, scope, statement, (*loops, node))

    def _visit_all(self, nodes: list[Any], scope: Scope, statement: ast.stmt, loops: tuple[Loop, ...]) -> None:
        for node in nodes:
            self._visit(node, scope, statement, loops)

    def _is_step(self, scope: Scope, node: ast.expr) -> bool:
        """Whether an expression names `trigger_sdk.step`, under whatever alias."""
        if isinstance(node, ast.Name) and node.id in scope.steps:
            return True
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in scope.modules:
            return node.attr == "step"
        return value_of(self._source, scope, node) is self._step


def _parts(node: ast.AST) -> tuple[list[Any], list[Any]]:
    """The children of a node: those that run once with it, and those that run again in each round."""
    if isinstance(node, (ast.For, ast.AsyncFor)):
        return [node.iter, *node.orelse], [node.target, *node.body]
    if isinstance(node, ast.While):
        return list(node.orelse), [node.test, *node.body]
    if isinstance(node, Comprehension):
        first, *others = node.generators
        value = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        return [first.iter], [*first.ifs, *others, *value]
    return children(node), []


def value_of(source: Source, scope: Scope, node: ast.expr) -> Any:
    """The object that a name outside the task, or a module's attribute, refers to; None if it is not known."""
    if isinstance(node, ast.Attribute):
        owner = value_of(source, scope, node.value)
        return getattr(owner, node.attr, None) if isinstance(owner, types.ModuleType) else None
    if not isinstance(node, ast.Name) or node.id in scope.local:
        return None
    function = source.function
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name == node.id:
            try:
                return cell.cell_contents
            except ValueError:
                return None
    return function.__globals__.get(node.id)


def literal(node: ast.expr) -> object:
    """The value of a constant, or of an f-string without braces; None if it is computed."""
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) for part in node.values if isinstance(part, ast.Constant)]
        return "".join(parts) if len(parts) == len(node.values) else None
    return node.value if isinstance(node, ast.Constant) else None
