"""Finds the resume points of a function, and refuses checkpoints where none can be.

Owns what a checkpoint statement may look like. Whether the names around it survive is `check.py`'s question.
"""

import ast
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from trigger_sdk.compiler.arguments import argument_mistake
from trigger_sdk.compiler.marks import binds_plain_names, is_made_again
from trigger_sdk.compiler.names import Comprehension, Function, children, local_names, own_scope
from trigger_sdk.compiler.source import Source
from trigger_sdk.errors import Problem
from trigger_sdk.values.strict_json import text_problem

KEY_MAX_LENGTH = 200
"""For checkpoints and steps alike, because they share their keys; in characters."""

_PLACES = {
    "loop": "a checkpoint cannot be in a loop: save once after the loop, with what it gathered",
    "handler": "a checkpoint cannot be in `except`: the exception in flight would be gone after resuming; "
    "record what happened in a variable and save after the `try`",
    "finally": "a checkpoint cannot be in `finally`: the exception in flight would be gone after resuming; "
    "save after the `try`",
    "nested": "a checkpoint cannot be in a nested function, lambda or class: save in the task's own body",
    "comprehension": "a checkpoint cannot be in a comprehension: save once after it, with what it gathered",
    "expression": 'a checkpoint must be its own statement, such as `checkpoint("fetched", order=order)`',
}


@dataclass(eq=False, repr=False)
class Point:
    """One resume point. `index` counts from 1 in source order; `enclosing` are the statements around it, outermost
    first; `reruns` are the imports, nested functions, `with` items and marked assignments that may run again on the way
    to it, `assigned` the assignments that a mark would make such. `suspects` says of names that are stored, but not
    restored, what to write if they are read later. The check fills in the last three: `again` are the
    marked assignments that the point needs."""

    index: int
    key: str
    statement: ast.Expr
    call: ast.Call
    entries: dict[str, ast.expr]
    binds: tuple[str, ...]
    enclosing: tuple[ast.stmt, ...]
    reruns: tuple[ast.AST, ...]
    assigned: tuple[ast.AST, ...] = ()
    again: tuple[ast.AST, ...] = ()
    suspects: dict[str, Problem] = field(default_factory=dict)
    carries: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def line(self) -> int:
        return self.statement.lineno


class Finder:
    """One pass over a function's body; `points` and `problems` hold the result."""

    def __init__(self, source: Source, marker: Callable[..., Any]) -> None:
        self.source = source
        self.marker = marker
        self.points: list[Point] = []
        self.problems: list[Problem] = []
        self.local_names = local_names(source.node)
        self.made_again: list[ast.stmt] = []
        self.aliases: set[str] = set()
        self.modules: set[str] = set()

    def run(self) -> None:
        node = self.source.node
        for statement in own_scope(node.body):
            if isinstance(statement, ast.ImportFrom) and statement.module == "trigger_sdk":
                self.aliases |= {a.asname or a.name for a in statement.names if a.name == "checkpoint"}
            elif isinstance(statement, ast.Import):
                self.modules |= {a.asname or a.name for a in statement.names if a.name == "trigger_sdk"}
        self._block(node.body, (), ())
        seen: dict[str, Point] = {}
        for point in self.points:
            first = seen.setdefault(point.key, point)
            if point.key and first is not point:
                message = (
                    f"the key {point.key!r} is already used on line {first.line}, and keys are unique in a run: "
                    "give it another"
                )
                self._problem(point.statement, "duplicate_key", message)

    def _problem(self, node: ast.AST, code: str, message: str) -> None:
        self.problems.append(self.source.problem(node, code, message))

    def _block(
        self, statements: Iterable[ast.stmt], enclosing: tuple[ast.stmt, ...], reruns: tuple[ast.AST, ...]
    ) -> None:
        for statement in statements:
            self._statement(statement, enclosing, reruns)
            if is_made_again(self.source, statement):
                self.made_again.append(statement)
            if binds_plain_names(statement) or isinstance(statement, (*Function, ast.Import, ast.ImportFrom)):
                reruns = (*reruns, statement)

    def _statement(self, statement: ast.stmt, enclosing: tuple[ast.stmt, ...], reruns: tuple[ast.AST, ...]) -> None:
        inside = (*enclosing, statement)
        if (call := self._checkpoint_call(statement)) is not None:
            assert isinstance(statement, ast.Expr)
            self._point(statement, call, enclosing, reruns)
        elif isinstance(statement, ast.If):
            self._refuse_in([statement.test], "expression")
            self._block(statement.body, inside, reruns)
            self._block(statement.orelse, inside, reruns)
        elif isinstance(statement, (ast.With, ast.AsyncWith)):
            self._refuse_in(statement.items, "expression")
            self._block(statement.body, inside, (*reruns, *statement.items))
        elif isinstance(statement, (ast.Try, ast.TryStar)):
            self._block(statement.body, inside, reruns)
            self._refuse_in(statement.handlers, "handler")
            self._block(statement.orelse, inside, reruns)
            self._refuse_in(statement.finalbody, "finally")
        elif isinstance(statement, ast.Match):
            self._refuse_in([statement.subject], "expression")
            for case in statement.cases:
                self._refuse_in([case.pattern, case.guard], "expression")
                self._block(case.body, inside, reruns)
        else:
            self._refuse_in([statement], "expression")

    def _refuse_in(self, nodes: Iterable[ast.AST | None], place: str) -> None:
        for node in nodes:
            if node is None:
                continue
            if isinstance(node, ast.expr) and self.is_checkpoint(node):
                self._problem(node, f"checkpoint_in_{place}", _PLACES[place])
            elif isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
                self._refuse_in(children(node), "loop")
            elif isinstance(node, (*Function, ast.Lambda, ast.ClassDef)):
                self._refuse_in(children(node), "nested")
            elif isinstance(node, Comprehension):
                self._refuse_in(children(node), "comprehension")
            else:
                self._refuse_in(children(node), place)

    def _checkpoint_call(self, statement: ast.stmt) -> ast.Call | None:
        """The call if the statement is a single checkpoint, awaited or not."""
        if not isinstance(statement, ast.Expr):
            return None
        value = statement.value.value if isinstance(statement.value, ast.Await) else statement.value
        return value if isinstance(value, ast.Call) and self.is_checkpoint(value.func) else None

    def is_checkpoint(self, node: ast.expr) -> bool:
        """Whether an expression names `trigger_sdk.checkpoint`, under whatever alias."""
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id in self.modules:
                return node.attr == "checkpoint"
            owner = self._resolve(node.value)
            return isinstance(owner, types.ModuleType) and getattr(owner, node.attr, None) is self.marker
        if isinstance(node, ast.Name):
            return node.id in self.aliases or self._resolve(node) is self.marker
        return False

    def _resolve(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Attribute):
            owner = self._resolve(node.value)
            return getattr(owner, node.attr, None) if isinstance(owner, types.ModuleType) else None
        if not isinstance(node, ast.Name) or node.id in self.local_names:
            return None
        function = self.source.function
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        if node.id in cells:
            try:
                return cells[node.id].cell_contents
            except ValueError:
                return None
        return function.__globals__.get(node.id)

    def _point(
        self, statement: ast.Expr, call: ast.Call, enclosing: tuple[ast.stmt, ...], reruns: tuple[ast.AST, ...]
    ) -> None:
        self._refuse_in([*call.args, *(keyword.value for keyword in call.keywords)], "expression")
        is_async = isinstance(self.source.node, ast.AsyncFunctionDef)
        if is_async and not isinstance(statement.value, ast.Await):
            self._problem(
                statement, "not_awaited", "in `async def` a checkpoint must be awaited: `await checkpoint(…)`"
            )
        mistake = argument_mistake(call, self.local_names)
        if mistake is not None:
            self._problem(call, "arguments", mistake)
            return
        key = self._key(call)
        entries = self._entries(call)
        suspects: dict[str, Problem] = {}
        binds = tuple(name for name, value in entries.items() if self._binds(name, value, suspects))
        unmarked = {r for r in reruns if isinstance(r, ast.stmt) and binds_plain_names(r) and r not in self.made_again}
        repeated = tuple(rerun for rerun in reruns if rerun not in unmarked)
        number = len(self.points) + 1
        assigned = tuple(unmarked)
        point = Point(number, key, statement, call, entries, binds, enclosing, repeated, assigned)
        point.suspects = suspects
        self.points.append(point)

    def _key(self, call: ast.Call) -> str:
        node = call.args[0] if call.args else None
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            self._problem(
                node or call,
                "key_not_literal",
                'the first argument of a checkpoint is its key, a literal text such as "order-fetched"',
            )
            return ""
        if not 0 < len(node.value) <= KEY_MAX_LENGTH:
            message = f"a checkpoint's key must have 1 to {KEY_MAX_LENGTH} characters, not {len(node.value)}: change it"
            self._problem(node, "key_length", message)
        elif problem := text_problem(node.value):
            self._problem(node, "key_text", f"the key {node.value!r}: {problem}; give it another")
        return node.value

    def _entries(self, call: ast.Call) -> dict[str, ast.expr]:
        entries: dict[str, ast.expr] = {}
        pairs: list[tuple[ast.expr | None, ast.expr]] = [
            (ast.copy_location(ast.Constant(keyword.arg), keyword.value) if keyword.arg else None, keyword.value)
            for keyword in call.keywords
        ]
        if len(call.args) == 2:
            data = call.args[1]
            if not isinstance(data, ast.Dict):
                message = 'a checkpoint\'s data must be written out as `{"name": name, …}`, so that its names are known'
                if isinstance(data, ast.Name) and data.id in self.local_names:
                    message += f"; `{data.id}={data.id}` saves `{data.id}` itself"
                self._problem(data, "computed_data", message)
                return entries
            pairs = [*zip(data.keys, data.values, strict=True), *pairs]
        for name_node, value in pairs:
            if name_node is None:
                self._problem(value, "unpacked_data", "`**` hides which names are saved: write out the names")
            elif not isinstance(name_node, ast.Constant) or not isinstance(name_node.value, str):
                self._problem(name_node, "computed_data", "a key of a checkpoint's data must be a literal text")
            elif name_node.value in entries:
                self._problem(
                    name_node,
                    "duplicate_name",
                    f"`{name_node.value}` is saved twice by this checkpoint: keep one of the entries",
                )
            else:
                entries[name_node.value] = value
        return entries

    def _binds(self, name: str, value: ast.expr, suspects: dict[str, Problem]) -> bool:
        """Whether an entry restores its name; if not, it may have been meant to."""
        is_local_value = isinstance(value, ast.Name) and value.id in self.local_names
        if isinstance(value, ast.Name) and value.id == name:
            return is_local_value
        if is_local_value:
            assert isinstance(value, ast.Name)
            message = f"`{value.id}` is saved under another name, {name!r}: write `{value.id}={value.id}`"
            suspects.setdefault(value.id, self.source.problem(value, "renamed", message))
        if name in self.local_names:
            message = f"{name!r} is a name of this function, saved with another value: assign it first, then save it"
            suspects[name] = self.source.problem(value, "other_value", message)
        return False
