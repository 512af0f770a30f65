"""The check at registration: would every resume point find what the code after it reads? Pure; it reports problems.

A task that passes resumes correctly or refuses loudly. If the check cannot tell, it refuses.
"""

import ast
import builtins
from collections.abc import Collection, Iterator
from typing import Any

from trigger_sdk.compiler.advice import SAVE, Advice
from trigger_sdk.compiler.flow import PARAMETER, SAVED, UNBOUND, Graph, Node, Origin
from trigger_sdk.compiler.names import (
    Function,
    deleting,
    outer_names,
    parameters,
    set_by_nested_functions,
    set_outside,
)
from trigger_sdk.compiler.places import column_of
from trigger_sdk.compiler.points import Point
from trigger_sdk.compiler.reruns import Reruns, is_marked
from trigger_sdk.compiler.source import Source
from trigger_sdk.compiler.things import words_of
from trigger_sdk.compiler.withs import check_withs
from trigger_sdk.errors import Problem

_HIDING = frozenset({"locals", "eval", "exec"})
_MUTABLE_CALLS = frozenset({"list", "dict", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter"})
_MUTABLE_NODES = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


class Check:
    """One function with its points. `run` yields the problems and fills in each point's `carries` and `needs`."""

    def __init__(self, source: Source, points: list[Point], local: set[str], marked: Collection[ast.stmt] = ()) -> None:
        self.source = source
        self.advice = Advice(source, marked, self._lost_with)
        self.points = points
        self.local = local
        self.parameters = {argument.arg for argument in parameters(source.node.args)}
        self.graph = Graph(source.node.body, local, self.parameters, points)
        self.restored = self.parameters | {name for point in points for name in point.binds}
        self.restored |= {name for statement in marked for name in self.graph.node_of[statement].names.binds}
        self.set_inside = local & set_by_nested_functions(source.node.body)

    def run(self) -> Iterator[Problem]:
        yield from self._hiding_calls()
        yield from self._outer_assignments()
        yield from self._deletions()
        explained: set[str] = set()
        for point in self.points:
            node = self.graph.node_of[point.statement]
            if node.before is None:
                yield self._problem(
                    point.statement,
                    "unreachable",
                    "this checkpoint can never be reached: remove it, or whatever ends the task before it",
                )
                continue
            reruns = Reruns(self.source, self.graph, point, self.set_inside)
            for name, (line, lost) in self._lost_names(point, node, reruns):
                if name in point.suspects:
                    explained.add(name)
                    yield point.suspects[name]
                elif name not in explained:
                    yield self._lost_problem(point, name, line, lost)
            yield from reruns.problems()
            yield from check_withs(reruns)
            self._fill(point, node, reruns)

    def _problem(self, node: Any, code: str, message: str) -> Problem:
        return self.source.problem(node, code, message)

    def _fill(self, point: Point, node: Node, reruns: Reruns) -> None:
        facts = self.graph.facts_after(node)
        assert node.before is not None
        others = {name: origins for name, origins in node.before.items() if name not in point.binds}
        kept = {name for name, origins in others.items() if origins & {SAVED, PARAMETER}}
        # A name that some path leaves unsaved is not read after this point, or the check has refused it.
        point.carries = tuple(sorted(n for n in kept if others[n] <= {SAVED, PARAMETER, UNBOUND}))
        point.again = tuple(n.origin for n in reruns.nodes if is_marked(n) and n.origin is not None)
        point.needs = tuple(sorted(n for n in reruns.needed if facts.get(n) == frozenset({SAVED})))

    def _lost_names(self, point: Point, node: Node, reruns: Reruns) -> Iterator[tuple[str, tuple[int, Node | None]]]:
        """The names that a resume would miss, each with the line that reads it and the first binding that is lost."""
        facts = self.graph.facts_after(node)
        for name, line in sorted(reruns.needed.items(), key=lambda entry: (entry[1], entry[0])):
            origins = facts.get(name, frozenset())
            lost = self._lost(origins, reruns.repeated)
            if lost is not None:
                yield name, (line, lost)
            elif name in self.set_inside and not origins <= {SAVED, PARAMETER}:
                # A nested function may have set it, and the flow does not show when.
                yield name, (line, None)
        for rerun in reruns.nodes:
            for name in sorted(reruns.evaluated(rerun)):
                # A later rerun may bind the name for the code that follows, but too late for this one.
                lost = self._lost((rerun.before or {}).get(name, frozenset()), reruns.repeated)
                if lost is not None and not facts.get(name, frozenset()) & {SAVED, PARAMETER}:
                    yield name, (rerun.names.reads.get(name, rerun.line), lost)

    def _lost_with(self, point: Point) -> set[str] | None:
        """The names that a point would lose; None if it has other problems."""
        reruns = Reruns(self.source, self.graph, point, self.set_inside)
        found = self._lost_names(point, self.graph.node_of[point.statement], reruns)
        lost = {name for name, _ in found}
        return None if any(reruns.problems()) else lost

    @staticmethod
    def _lost(origins: frozenset[Origin], repeated: Collection[ast.AST | None]) -> Node | None:
        """The first binding, among the origins, that a resume does not repeat."""
        for origin in sorted((o for o in origins if isinstance(o, Node)), key=lambda node: node.position):
            if origin.origin not in repeated:
                return origin
        return None

    def _lost_problem(self, point: Point, name: str, line: int, lost: Node | None) -> Problem:
        way = self.advice.way_out(point, name, lost)
        where = f"after resuming from '{point.key}' (line {point.line})"
        if lost is not None and name in self.parameters:
            message = (
                f"`{name}` is used on line {line} but its value from line {lost.line} would be lost {where}: "
                f"{'save it, or bind it after the checkpoint' if way == SAVE else way}"
            )
        else:
            message = f"`{name}` is used on line {line} but would not exist {where}: {way}"
        return Problem(self.source.file, line, column_of(self.source, name, line), "lost_name", message)

    def _hiding_calls(self) -> Iterator[Problem]:
        for node in ast.walk(ast.Module(body=self.source.node.body, type_ignores=[])):
            if (
                isinstance(node, ast.Call)
                and not node.args
                and not node.keywords
                and isinstance(node.func, ast.Name)
                and any(self._is_builtin(node.func, name) for name in ("vars", "dir"))
            ):
                yield self._hidden(node.func, node.func.id)
            for name in _HIDING:
                if self._is_builtin(node, name):
                    yield self._hidden(node, name)

    def _is_builtin(self, node: ast.AST, name: str) -> bool:
        builtin = getattr(builtins, name)
        is_named = isinstance(node, ast.Name) and node.id == name and name not in self.local
        return is_named and self.source.function.__globals__.get(name, builtin) is builtin

    def _hidden(self, node: ast.AST, name: str) -> Problem:
        return self._problem(
            node,
            "hidden_names",
            f"`{name}` hides which names are used, so a task with checkpoints cannot use it: write out the names",
        )

    def _outer_assignments(self) -> Iterator[Problem]:
        """Global and nonlocal names that are set, here or by a nested function, before a resume point."""
        declared = outer_names(self.source.node.body)
        free = set(self.source.function.__code__.co_freevars)
        for node in self.graph.nodes:
            names = node.outer & declared
            if isinstance(node.origin, (*Function, ast.ClassDef)):
                as_global, as_nonlocal = set_outside(node.origin)
                names |= as_global | as_nonlocal & free - self.local
            if names and self.graph.reaches_a_point(node):
                for name in sorted(names):
                    message = (
                        f"`{name}` is global or nonlocal and is assigned before a checkpoint: the assignment would be "
                        "missing after resuming; use a local name and save it, or assign after the last checkpoint"
                    )
                    yield Problem(self.source.file, node.line, node.position[1] + 1, "outer_assignment", message)

    def _deletions(self) -> Iterator[Problem]:
        for node in deleting(self.source.node.body):
            name = node.id if isinstance(node, ast.Name) else node.name
            if name not in self.restored:
                continue
            if isinstance(node, ast.Name):
                message = f"`{name}` is restored when resuming and cannot be deleted: bind it to None instead"
            else:
                message = (
                    f"`{name}` is restored when resuming, and `except … as {name}` deletes it: "
                    "use another name for the exception"
                )
            yield self._problem(node, "deleted_name", message)


def check_defaults(source: Source) -> Iterator[Problem]:
    """Mutable defaults of the task and of its nested functions, and parameters that Python renames."""
    message = (
        "a mutable default is shared between runs and lost between attempts: use None and create it in the function"
    )
    shared = _shared_defaults(source)
    for function in ast.walk(source.node):
        if isinstance(function, (*Function, ast.Lambda)):
            for default in [*function.args.defaults, *function.args.kw_defaults]:
                if default is not None and (_is_mutable(default) or default in shared):
                    yield source.problem(default, "mutable_default", message)
    for argument, name in zip(parameters(source.node.args), source.function.__code__.co_varnames, strict=False):
        if argument.arg != name:
            renamed = f"inside a class Python renames the parameter `{argument.arg}` to `{name}`: use one underscore"
            yield source.problem(argument, "private_parameter", renamed)


def _shared_defaults(source: Source) -> set[ast.expr]:
    """The task's defaults whose value can be changed in place, whatever expression made it."""
    function, arguments = source.function, source.node.args
    given = [*zip(arguments.defaults, function.__defaults__ or (), strict=False)]
    by_name = function.__kwdefaults__ or {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None and argument.arg in by_name:
            given.append((default, by_name[argument.arg]))
    return {default for default, value in given if isinstance(value, (list, dict, set, bytearray))}


def _is_mutable(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        words = words_of(node)
        return bool(words) and words[-1] in _MUTABLE_CALLS
    return isinstance(node, _MUTABLE_NODES)
