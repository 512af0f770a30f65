"""The check at registration: would every resume point find what the code after it reads? Pure; it reports problems.

A task that passes resumes correctly or refuses loudly. Where the check cannot tell, it refuses.
"""

import ast
import builtins
import re
from collections.abc import Iterator, Sequence
from typing import Any

from trigger_sdk.compiler.flow import PARAMETER, SAVED, UNBOUND, Graph, Node, Origin
from trigger_sdk.compiler.names import Function, outer_names, own_scope, parameters, set_by_nested_functions
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
"""Context managers whose object holds work or data of the block so far: entered again, it would be empty."""
_HIDING = frozenset({"locals", "eval", "exec"})
_MUTABLE_CALLS = frozenset({"list", "dict", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter"})
_MUTABLE_NODES = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


class Check:
    """One function with its points. `run` yields the problems and fills in each point's `carries` and `needs`."""

    def __init__(self, source: Source, points: list[Point], local: set[str]) -> None:
        self.source = source
        self.points = points
        self.local = local
        self.parameters = {argument.arg for argument in parameters(source.node.args)}
        self.graph = Graph(source.node.body, local, self.parameters, points)
        self.restored = self.parameters | {name for point in points for name in point.binds}
        self.set_inside = local & set_by_nested_functions(source.node.body)

    def run(self) -> Iterator[Problem]:
        yield from self._hiding_calls()
        yield from self._outer_assignments()
        yield from self._deletions()
        for point in self.points:
            node = self.graph.node_of[point.statement]
            if node.before is None:
                yield self._problem(point.statement, "unreachable", "this checkpoint can never be reached")
                continue
            yield from self._lost_names(point, node)
            yield from self._reruns(point, node)
            yield from self._withs(point, node)
            self._fill(point, node)

    def _problem(self, node: Any, code: str, message: str) -> Problem:
        return self.source.problem(node, code, message)

    def _fill(self, point: Point, node: Node) -> None:
        facts = self.graph.facts_after(node)
        assert node.before is not None
        others = {name: origins for name, origins in node.before.items() if name not in point.binds}
        kept = {name for name, origins in others.items() if origins & {SAVED, PARAMETER}}
        # What some path leaves unsaved is read nowhere behind this point, or the check has refused it.
        point.carries = tuple(sorted(n for n in kept if others[n] <= {SAVED, PARAMETER, UNBOUND}))
        live = self.graph.live_after(node)
        later = {name for rerun in point.reruns for name in self.graph.node_of[rerun].names.all_reads}
        point.needs = tuple(sorted(n for n in {*live, *later} if facts.get(n) == frozenset({SAVED})))

    def _lost_names(self, point: Point, node: Node) -> Iterator[Problem]:
        facts = self.graph.facts_after(node)
        for name, line in sorted(self.graph.live_after(node).items(), key=lambda entry: (entry[1], entry[0])):
            origins = facts.get(name, frozenset())
            lost = self._lost(origins, point.reruns)
            if lost is not None:
                yield self._lost_problem(point, name, line, lost)
            elif name in self.set_inside and not origins <= {SAVED, PARAMETER}:
                # A nested function may have set it: the flow does not show when.
                yield self._lost_problem(point, name, line, None)

    @staticmethod
    def _lost(origins: frozenset[Origin], repeated: Sequence[ast.AST]) -> Node | None:
        """The first binding among the origins that a resume does not repeat."""
        for origin in sorted((o for o in origins if isinstance(o, Node)), key=lambda node: node.position):
            if origin.origin not in repeated:
                return origin
        return None

    def _lost_problem(self, point: Point, name: str, line: int, lost: Node | None) -> Problem:
        where = f"after resuming from '{point.key}' (line {point.line})"
        if lost is not None and name in self.parameters:
            message = (
                f"`{name}` is used on line {line} but what line {lost.line} bound to it would be lost {where}: "
                "save it, or bind it after the checkpoint"
            )
        else:
            message = (
                f"`{name}` is used on line {line} but would not exist {where}: "
                "save it, or create it after the checkpoint"
            )
        file = self.source.file
        return Problem(file, line, 1, "lost_name", message)

    def _reruns(self, point: Point, node: Node) -> Iterator[Problem]:
        facts = self.graph.facts_after(node)
        for origin in point.reruns:
            rerun = self.graph.node_of[origin]
            for name in sorted(rerun.names.binds):
                if SAVED in facts.get(name, ()):
                    yield self._conflict(point, rerun, name)
            for name, line in rerun.names.later.items():
                if (lost := self._lost(facts.get(name, frozenset()), point.reruns)) is not None:
                    yield self._lost_problem(point, name, line, lost)
            for name, line in rerun.names.reads.items():
                if SAVED in facts.get(name, ()) or name in self.set_inside:
                    yield from self._rebound(point, rerun, node, name)
                elif (lost := self._lost((rerun.before or {}).get(name, frozenset()), point.reruns)) is not None:
                    yield self._lost_problem(point, name, line, lost)

    def _conflict(self, point: Point, rerun: Node, name: str) -> Problem:
        message = (
            f"`{name}` is bound on line {rerun.line}, which runs again when resuming from '{point.key}' "
            f"(line {point.line}), and is saved too: give the saved value a name of its own"
        )
        return Problem(self.source.file, rerun.line, rerun.position[1] + 1, "rerun_saved", message)

    def _rebound(self, point: Point, rerun: Node, node: Node, name: str) -> Iterator[Problem]:
        where = None
        if name in self.set_inside:
            where = "a nested function"
        for other in self._between(rerun, node):
            if name in other.names.binds | other.names.unbinds:
                where = where or f"line {other.line}"
        if where is not None:
            message = (
                f"line {rerun.line} runs again when resuming from '{point.key}' (line {point.line}) and reads "
                f"`{name}`, which {where} binds anew: use another name there"
            )
            yield Problem(self.source.file, rerun.line, rerun.position[1] + 1, "rerun_rebound", message)

    def _withs(self, point: Point, node: Node) -> Iterator[Problem]:
        live = self.graph.live_after(node)
        for statement in point.enclosing:
            if not isinstance(statement, (ast.With, ast.AsyncWith)):
                continue
            last = max(item.context_expr.end_lineno or statement.lineno for item in statement.items)
            if re.search(_ESCAPE, self.source.comment_on(statement.lineno, last)):
                continue
            for item in statement.items:
                yield from self._with_item(point, node, item, live)

    def _with_item(self, point: Point, node: Node, item: ast.withitem, live: dict[str, int]) -> Iterator[Problem]:
        words = _words(item.context_expr)
        escape = "or mark the `with` with `# trigger: re-enter` if entering it anew is right"
        if _is_transaction(words):
            message = (
                f"`with {ast.unparse(item.context_expr)}` looks like a transaction around the checkpoint "
                f"'{point.key}': its rollback would undo work that resuming skips; "
                f"end it before the checkpoint, {escape}"
            )
            yield self._problem(item.context_expr, "transaction", message)
            return
        if words and words[-1] in _GATHERING:
            message = (
                f"`with {ast.unparse(item.context_expr)}` is entered anew when resuming from '{point.key}', without "
                f"what its block has done so far; end it before the checkpoint, {escape}"
            )
            yield self._problem(item.context_expr, "gathering_with", message)
            return
        bound = self.graph.node_of[item]
        for name in sorted(bound.names.binds & set(live)):
            used = [n.line for n in self._between(bound, node) if name in n.names.all_reads]
            if used:
                message = (
                    f"`{name}` is used on line {used[0]} before the checkpoint '{point.key}' and on line {live[name]} "
                    f"after it; resuming enters the `with` anew, so what it gathered would be gone: "
                    f"use a `with` on each side of the checkpoint, {escape}"
                )
                yield self._problem(item.context_expr, "with_state", message)

    def _between(self, first: Node, last: Node) -> Iterator[Node]:
        return (node for node in self.graph.nodes if first.position < node.position < last.position)

    def _hiding_calls(self) -> Iterator[Problem]:
        for node in ast.walk(ast.Module(body=self.source.node.body, type_ignores=[])):
            if (
                isinstance(node, ast.Call)
                and not node.args
                and not node.keywords
                and self._is_builtin(node.func, "vars")
            ):
                yield self._hidden(node.func, "vars")
            for name in _HIDING:
                if self._is_builtin(node, name):
                    yield self._hidden(node, name)

    def _is_builtin(self, node: ast.AST, name: str) -> bool:
        builtin = getattr(builtins, name)
        is_named = isinstance(node, ast.Name) and node.id == name and name not in self.local
        return is_named and self.source.function.__globals__.get(name, builtin) is builtin

    def _hidden(self, node: ast.AST, name: str) -> Problem:
        return self._problem(node, "hidden_names", f"`{name}` hides names: a task with checkpoints cannot use it")

    def _outer_assignments(self) -> Iterator[Problem]:
        declared = outer_names(self.source.node.body)
        last = max(point.statement.lineno for point in self.points)
        for node in own_scope(self.source.node.body):
            if not isinstance(node, ast.Name) or node.id not in declared or isinstance(node.ctx, ast.Load):
                continue
            if node.lineno < last:
                message = (
                    f"`{node.id}` is global or nonlocal and is assigned before a checkpoint: the assignment would be "
                    "missing after resuming; use a local name and save it, or assign after the last checkpoint"
                )
                yield self._problem(node, "outer_assignment", message)

    def _deletions(self) -> Iterator[Problem]:
        for node in own_scope(self.source.node.body):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del) and node.id in self.restored:
                message = f"`{node.id}` is restored when resuming and cannot be deleted: bind it to None instead"
                yield self._problem(node, "deleted_name", message)
            if isinstance(node, ast.ExceptHandler) and node.name in self.restored:
                message = (
                    f"`{node.name}` is restored when resuming, and `except … as {node.name}` deletes it: "
                    "use another name for the exception"
                )
                yield self._problem(node, "deleted_name", message)


def _is_transaction(words: list[str]) -> bool:
    lower = [word.lower() for word in words]
    return any(word in _TRANSACTION_WORDS or any(part in word for part in _TRANSACTION_PARTS) for word in lower)


def check_defaults(source: Source) -> Iterator[Problem]:
    """Mutable defaults of the task and of its nested functions."""
    message = (
        "a mutable default is shared between runs and lost between attempts: use None and create it in the function"
    )
    for function in ast.walk(source.node):
        if isinstance(function, (*Function, ast.Lambda)):
            for default in [*function.args.defaults, *function.args.kw_defaults]:
                if default is not None and _is_mutable(default):
                    yield source.problem(default, "mutable_default", message)


def _is_mutable(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        words = _words(node)
        return bool(words) and words[-1] in _MUTABLE_CALLS
    return isinstance(node, _MUTABLE_NODES)


def _words(node: ast.expr) -> list[str]:
    """`a.b.c(…)` as ["a", "b", "c"]; empty for anything else."""
    if isinstance(node, ast.Call):
        return _words(node.func)
    if isinstance(node, ast.Attribute):
        return [*_words(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else []
