"""Hashes of a function's source, one for each segment between its resume points; they tell whether code has changed.

A segment ends with its checkpoint; the first begins with the parameters, the last is what follows all points. Only
what runs counts: no comments, layout, docstring or decorators, and not the functions that the task calls.
"""

import ast
from collections.abc import Iterable, Sequence

from trigger_sdk.compiler.points import Point
from trigger_sdk.compiler.source import Source

HASH_LENGTH = 16
"""Hex digits: 64 bits are plenty against chance, and nobody attacks their own task."""


def segments_of(source: Source, points: Sequence[Point]) -> list[str]:
    """One more hash than there are points, in source order. Changing any expression changes exactly one hash."""
    cutter = _Cutter(points)
    node = source.node
    returned = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    cutter.add(f"{_prefix(node)}def ({ast.unparse(node.args)}){returned}:")
    cutter.block(node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body)
    # Imported here because it is used once, when a task is deployed, and every container imports this package.
    import hashlib

    return [hashlib.sha256("\n".join(texts).encode()).hexdigest()[:HASH_LENGTH] for texts in cutter.segments]


class _Cutter:
    """Gathers the text of statements; a compound statement with points inside adds each header at its place."""

    def __init__(self, points: Iterable[Point]) -> None:
        self.segments: list[list[str]] = [[]]
        self._points = {point.statement for point in points}
        self._holders = {statement for point in points for statement in point.enclosing}

    def add(self, text: str) -> None:
        self.segments[-1].append(text)

    def block(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            if statement in self._holders:
                self._holder(statement)
                continue
            self.add(ast.unparse(statement))
            if statement in self._points:
                self.segments.append([])
        self.add("end")

    def _holder(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.If):
            self.add(f"if {ast.unparse(statement.test)}:")
            self.block(statement.body)
            self._part("else:", statement.orelse)
        elif isinstance(statement, (ast.With, ast.AsyncWith)):
            self.add(f"{_prefix(statement)}with {', '.join(ast.unparse(item) for item in statement.items)}:")
            self.block(statement.body)
        elif isinstance(statement, (ast.Try, ast.TryStar)):
            self.add("try:")
            self.block(statement.body)
            for handler in statement.handlers:
                self.add(ast.unparse(handler))
            self.add("end handlers")
            self._part("else:", statement.orelse)
            self._part("finally:", statement.finalbody)
        else:
            assert isinstance(statement, ast.Match)
            self.add(f"match {ast.unparse(statement.subject)}:")
            for case in statement.cases:
                guard = f" if {ast.unparse(case.guard)}" if case.guard is not None else ""
                self.add(f"case {ast.unparse(case.pattern)}{guard}:")
                self.block(case.body)
            self.add("end cases")

    def _part(self, header: str, statements: list[ast.stmt]) -> None:
        if statements:
            self.add(header)
            self.block(statements)


def _prefix(node: ast.stmt) -> str:
    return "async " if isinstance(node, (ast.AsyncFunctionDef, ast.AsyncWith)) else ""
