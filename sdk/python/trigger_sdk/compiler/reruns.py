"""What runs again on the way to a resume point (`with` items, imports, nested functions, marked assignments): what it
needs, and whether running it again restores what was there. `check.py` finds which of the needed names are lost.
"""

import ast
from collections.abc import Iterator

from trigger_sdk.compiler.changes import changes, shown
from trigger_sdk.compiler.flow import SAVED, Graph, Node
from trigger_sdk.compiler.names import Function
from trigger_sdk.compiler.points import Point
from trigger_sdk.compiler.source import Source
from trigger_sdk.errors import Problem


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
        self.repeated = {node.origin for node in self.nodes}

    def problems(self) -> Iterator[Problem]:
        facts = self.graph.facts_after(self.node)
        for rerun in self.nodes:
            for name in sorted(rerun.names.binds):
                if SAVED in facts.get(name, ()):
                    yield self._conflict(rerun, name)
            for name in sorted(self.evaluated(rerun)):
                yield from self._rebound(rerun, name)
            if is_marked(rerun):
                yield from self._changed(rerun)

    def _needed(self) -> dict[str, int]:
        needed = dict(self.graph.live_after(self.node))
        waiting = [node for node in self.nodes if is_marked(node) or self._is_plain_function(node)]
        for rerun in self.nodes:
            if not is_marked(rerun):
                _add_reads(needed, rerun)
                if rerun not in waiting:
                    # Any code that was given the function or lambda may call it.
                    _merge(needed, rerun.names.later)
        is_changed = True
        while is_changed:
            is_changed = False
            for rerun in waiting:
                if rerun.names.binds & set(needed):
                    if is_marked(rerun):
                        _add_reads(needed, rerun)
                    _merge(needed, rerun.names.later)
                    waiting.remove(rerun)
                    is_changed = True
                    break
        self.nodes = [node for node in self.nodes if node not in waiting or not is_marked(node)]
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
        for other in [*own, *self.between(rerun)]:
            is_again = other is not rerun and other.origin in self.repeated
            if name in other.names.binds | other.names.unbinds and not is_again:
                where = where or f"line {other.line}"
        if where is not None:
            message = (
                f"line {rerun.line} runs again when resuming from '{self.point.key}' (line {self.point.line}) and "
                f"reads `{name}`, which {where} binds again: use another name there"
            )
            yield self._at(rerun, "rerun_rebound", message)

    def _changed(self, rerun: Node) -> Iterator[Problem]:
        """What the code does to a thing that is made again, before the point: the new one would lack it."""
        for name, node in changes(self.source.node):
            place = (node.lineno, node.col_offset)
            if name in rerun.names.binds and name in self.needed and rerun.position < place < self.node.position:
                message = (
                    f"`{shown(node)}` changes `{name}`, which line {rerun.line} makes again when resuming from "
                    f"'{self.point.key}' (line {self.point.line}), without this change: make and change it in one "
                    "function, and call that on the marked line"
                )
                yield self.source.problem(node, "again_changed", message)

    def between(self, first: Node) -> Iterator[Node]:
        return (node for node in self.graph.nodes if first.position < node.position < self.node.position)

    def _at(self, node: Node, code: str, message: str) -> Problem:
        return Problem(self.source.file, node.line, node.position[1] + 1, code, message)


def is_marked(node: Node) -> bool:
    """Whether what runs again is an assignment: it runs only for the points that need what it makes."""
    return isinstance(node.origin, (ast.Assign, ast.AnnAssign))


def _add_reads(needed: dict[str, int], rerun: Node) -> None:
    _merge(needed, rerun.names.reads)
    if isinstance(rerun.origin, Function) and not rerun.names.reads:
        return
    for handler in rerun.raised:
        # It may raise when it runs again, and then its handlers run.
        _merge(needed, handler.live)


def _merge(into: dict[str, int], found: dict[str, int]) -> None:
    for name, line in found.items():
        into[name] = min(line, into.get(name, line))
