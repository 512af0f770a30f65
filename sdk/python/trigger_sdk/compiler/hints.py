"""Hints about checkpoints: code that works but costs more than needed. They never refuse; nothing depends on them."""

import ast
import itertools
from collections.abc import Iterator

from trigger_sdk.compiler.flow import Graph, Node
from trigger_sdk.compiler.names import names_in, parameters
from trigger_sdk.compiler.points import Finder, Point
from trigger_sdk.compiler.source import Source
from trigger_sdk.errors import Problem


def hints_of(source: Source, finder: Finder) -> Iterator[Problem]:
    """The hints of a function that the check has accepted."""
    if finder.points:
        yield from _unused_values(source, finder)
        yield from _empty_segments(source, finder)


def _unused_values(source: Source, finder: Finder) -> Iterator[Problem]:
    given = {argument.arg for argument in parameters(source.node.args)}
    graph = Graph(source.node.body, finder.local_names, given, finder.points)
    # Code that runs again on the way to a point reads what is saved, and nobody knows when a nested function is called.
    used = {name for node in graph.nodes for name in node.names.later}
    used |= {name for p in finder.points for rerun in p.reruns for name in graph.node_of[rerun].names.all_reads}
    for point in finder.points:
        for name in point.binds:
            if name not in used and not _is_read_behind(graph.node_of[point.statement], name):
                message = (
                    f"`{name}` is saved by '{point.key}' and nothing after it reads `{name}`: leave it out, "
                    "or save only what people want to see of it, as an entry under another name"
                )
                yield _hint(source, point.entries[name], "unused_value", message)


def _is_read_behind(point: Node, name: str) -> bool:
    """Whether a path from the point reads the name before it gets a new value; saving it again is not a read."""
    waiting, seen = list(point.after), {point}
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if name in _reads(node):
            return True
        waiting += node.raised
        if name not in node.names.binds:
            waiting += node.after
    return False


def _reads(node: Node) -> set[str]:
    if node.point is None:
        return set(node.names.reads)
    others = [value for name, value in node.point.entries.items() if name not in node.point.binds]
    return set(names_in(*others).all_reads)


def _empty_segments(source: Source, finder: Finder) -> Iterator[Problem]:
    point_of = {point.statement: point for point in finder.points}
    for block in _blocks(source.node):
        for first, second in itertools.pairwise(block):
            earlier, later = point_of.get(first), point_of.get(second)  # type: ignore[call-overload]
            if earlier is not None and later is not None:
                yield _hint(source, second, "empty_segment", _empty_message(earlier, later))


def _empty_message(earlier: Point, later: Point) -> str:
    return (
        f"nothing happens between the checkpoints '{earlier.key}' (line {earlier.line}) and '{later.key}', and each "
        "costs a write: save everything with one of them"
    )


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for inner in ast.walk(node):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(inner, field, None)
            if isinstance(block, list):
                yield block


def _hint(source: Source, node: ast.AST, code: str, message: str) -> Problem:
    return source.problem(node, code, message)._replace(severity="hint")
