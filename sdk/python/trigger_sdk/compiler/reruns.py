"""What runs again on the way to a resume point (`with` items, imports, nested functions): what it needs, and whether
running it again restores what was there. Says which names are needed; `check.py` finds those that are lost.
"""

import ast
import re
from collections.abc import Iterator

from trigger_sdk.compiler.flow import SAVED, Graph, Node
from trigger_sdk.compiler.names import Function
from trigger_sdk.compiler.points import Point
from trigger_sdk.compiler.source import Source
from trigger_sdk.errors import Problem

_ESCAPE = r"#\s*trigger:\s*re-enter\b"
_TRANSACTION_PARTS = ("atomic", "transaction", "savepoint")
_TRANSACTION_WORDS = frozenset({"begin", "begin_nested"})
_GATHERING = frozenset({
    "AsyncExitStack", "ExitStack", "NamedTemporaryFile", "ProcessPoolExecutor", "SpooledTemporaryFile", "TaskGroup",
    "TemporaryDirectory", "TemporaryFile", "ThreadPoolExecutor", "catch_warnings", "create_task_group", "open",
    "open_nursery",
})  # fmt: skip
"""Context managers whose object collects the block's work or data: entered again, it would be empty."""


class Reruns:
    """The statements that run again for one point. `needed` maps every name that they or the code after the point
    read to the first line that reads it."""

    def __init__(self, source: Source, graph: Graph, point: Point, set_inside: set[str]) -> None:
        self.source = source
        self.graph = graph
        self.point = point
        self.set_inside = set_inside
        self.node = graph.node_of[point.statement]
        self.nodes = [graph.node_of[origin] for origin in point.reruns]
        self.needed = self._needed()

    def problems(self) -> Iterator[Problem]:
        facts = self.graph.facts_after(self.node)
        for rerun in self.nodes:
            for name in sorted(rerun.names.binds):
                if SAVED in facts.get(name, ()):
                    yield self._conflict(rerun, name)
            for name in sorted(self.evaluated(rerun)):
                yield from self._rebound(rerun, name)
        for statement in self.point.enclosing:
            if isinstance(statement, (ast.With, ast.AsyncWith)):
                yield from self._with(statement)

    def _needed(self) -> dict[str, int]:
        needed = dict(self.graph.live_after(self.node))
        waiting = list(self.nodes)
        for rerun in self.nodes:
            _merge(needed, rerun.names.reads)
            if not self._is_plain_function(rerun):
                # Any code that was given the function or lambda may call it.
                _merge(needed, rerun.names.later)
                waiting.remove(rerun)
        is_changed = True
        while is_changed:
            is_changed = False
            for rerun in waiting:
                if rerun.names.binds & set(needed):
                    _merge(needed, rerun.names.later)
                    waiting.remove(rerun)
                    is_changed = True
                    break
        return needed

    @staticmethod
    def _is_plain_function(node: Node) -> bool:
        return isinstance(node.origin, Function) and not node.origin.decorator_list

    def evaluated(self, rerun: Node) -> set[str]:
        """The names whose values decide what the statement does when it runs, including names read by functions it may
        call."""
        found = set(rerun.names.reads)
        if not self._is_plain_function(rerun):
            found |= set(rerun.names.later)
        waiting = list(found)
        while waiting:
            name = waiting.pop()
            for node in self.graph.nodes:
                if name in node.names.binds and isinstance(node.origin, Function):
                    new = set(node.names.later) - found
                    found |= new
                    waiting += new
        return found

    def _conflict(self, rerun: Node, name: str) -> Problem:
        message = (
            f"`{name}` is bound on line {rerun.line}, which runs again when resuming from '{self.point.key}' "
            f"(line {self.point.line}), and is saved too: give the saved value its own name"
        )
        return self._at(rerun, "rerun_saved", message)

    def _rebound(self, rerun: Node, name: str) -> Iterator[Problem]:
        where = "a nested function" if name in self.set_inside else None
        own = [] if isinstance(rerun.origin, Function) else [rerun]
        for other in [*own, *self._between(rerun)]:
            is_again = other is not rerun and other.origin in self.point.reruns
            if name in other.names.binds | other.names.unbinds and not is_again:
                where = where or f"line {other.line}"
        if where is not None:
            message = (
                f"line {rerun.line} runs again when resuming from '{self.point.key}' (line {self.point.line}) and "
                f"reads `{name}`, which {where} binds again: use another name there"
            )
            yield self._at(rerun, "rerun_rebound", message)

    def _with(self, statement: ast.With | ast.AsyncWith) -> Iterator[Problem]:
        for item in statement.items:
            yield from self._target(item)
        last = max(item.context_expr.end_lineno or statement.lineno for item in statement.items)
        if not re.search(_ESCAPE, self.source.comment_on(statement.lineno, last)):
            for item in statement.items:
                yield from self._with_item(item)

    def _target(self, item: ast.withitem) -> Iterator[Problem]:
        for target in ast.walk(item.optional_vars) if item.optional_vars is not None else ():
            if isinstance(target, (ast.Attribute, ast.Subscript)):
                message = (
                    f"`{ast.unparse(target)}` is set again when resuming from '{self.point.key}' re-enters the `with`: "
                    "use a plain name after `as`"
                )
                yield self.source.problem(target, "with_target", message)

    def _with_item(self, item: ast.withitem) -> Iterator[Problem]:
        words = words_of(item.context_expr)
        key = self.point.key
        escape = "or mark the `with` with `# trigger: re-enter` if re-entering it is right"
        if _is_transaction(words):
            message = (
                f"`with {ast.unparse(item.context_expr)}` looks like a transaction around the checkpoint "
                f"'{key}': its rollback would undo work that resuming skips; "
                f"end it before the checkpoint, {escape}"
            )
            yield self.source.problem(item.context_expr, "transaction", message)
        elif words and words[-1] in _GATHERING:
            message = (
                f"`with {ast.unparse(item.context_expr)}` is re-entered when resuming from '{key}', without "
                f"what its block has done so far; end it before the checkpoint, {escape}"
            )
            yield self.source.problem(item.context_expr, "gathering_with", message)
        else:
            yield from self._state(item, escape)

    def _state(self, item: ast.withitem, escape: str) -> Iterator[Problem]:
        bound = self.graph.node_of[item]
        for name in sorted(bound.names.binds & set(self.needed)):
            used = [n.line for n in self._between(bound) if name in n.names.all_reads]
            # A nested function defined before the `with` may be called inside it.
            used += [n.line for n in self.graph.nodes if n.position < bound.position and name in n.names.later]
            if used:
                message = (
                    f"`{name}` is used on line {used[0]} before the checkpoint '{self.point.key}' and on line "
                    f"{self.needed[name]} after it; resuming re-enters the `with`, so what it gathered would be "
                    f"gone: use a `with` on each side of the checkpoint, {escape}"
                )
                yield self.source.problem(item.context_expr, "with_state", message)

    def _between(self, first: Node) -> Iterator[Node]:
        return (node for node in self.graph.nodes if first.position < node.position < self.node.position)

    def _at(self, node: Node, code: str, message: str) -> Problem:
        return Problem(self.source.file, node.line, node.position[1] + 1, code, message)


def words_of(node: ast.expr) -> list[str]:
    """`a.b.c(…)` as ["a", "b", "c"]; empty for anything else."""
    if isinstance(node, ast.Call):
        return words_of(node.func)
    if isinstance(node, ast.Attribute):
        return [*words_of(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else []


def _is_transaction(words: list[str]) -> bool:
    lower = [word.lower() for word in words]
    return any(word in _TRANSACTION_WORDS or any(part in word for part in _TRANSACTION_PARTS) for word in lower)


def _merge(into: dict[str, int], found: dict[str, int]) -> None:
    for name, line in found.items():
        into[name] = min(line, into.get(name, line))
