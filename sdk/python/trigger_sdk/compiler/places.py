"""Positions in a file as people count them: lines and characters from 1. Syntax nodes count bytes from 0."""

import ast
import functools
import itertools
import linecache
import types

from trigger_sdk.compiler.source import Source
from trigger_sdk.errors import Problem


def in_characters(source: Source, problem: Problem) -> Problem:
    """The problem with its byte column converted to the column an editor shows."""
    line = source.lines[problem.line - 1] if 0 < problem.line <= len(source.lines) else ""
    if line.isascii():
        return problem
    before = line.encode()[: problem.column - 1]
    return problem._replace(column=len(before.decode(errors="ignore")) + 1)


def column_of(source: Source, name: str, line: int) -> int:
    """The byte column, from 1, of the first read of a name on a line of the function; 1 if it is not found."""
    return _columns(source.node).get((name, line), (False, 0))[1] + 1


@functools.lru_cache(maxsize=8)
def _columns(node: ast.AST) -> dict[tuple[str, int], tuple[bool, int]]:
    """By name and line: whether the name is only a target there, and its first column."""
    columns: dict[tuple[str, int], tuple[bool, int]] = {}
    for name in ast.walk(node):
        if isinstance(name, ast.Name):
            # `total += 1` reads a name that appears only as a target.
            place = (not isinstance(name.ctx, ast.Load), name.col_offset)
            columns[name.id, name.lineno] = min(place, columns.get((name.id, name.lineno), place))
    return columns


def column_of_instruction(code: types.CodeType, offset: int) -> int:
    """The column in characters, from 1, of the expression that an instruction belongs to."""
    line, _, column, _ = next(itertools.islice(code.co_positions(), offset // 2, None), (None,) * 4)
    if line is None or column is None:
        # Python was told to omit columns (-X no_debug_ranges).
        return 1
    before = linecache.getline(code.co_filename, line).encode()[:column]
    return len(before.decode(errors="ignore")) + 1
