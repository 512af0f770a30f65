"""Finds the source of a function: its node in the parsed file, and the statement of the module around it.

The node comes from the whole file, so line numbers, enclosing scopes and private names are the compiler's own.
"""

import ast
import functools
import inspect
import itertools
import linecache
import opcode
import re
import tokenize
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trigger_sdk.compiler.names import Function
from trigger_sdk.errors import Problem

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
AGAIN, RE_ENTER = "again", "re-enter"
_MARK = re.compile(rf"#\s*trigger:\s*({AGAIN}|{RE_ENTER})\b")
_FUTURE_FLAGS = 0x1FE0000
"""Bits of `co_flags` that `from __future__` imports set (Include/cpython/code.h)."""


class SourceError(Exception):
    """The function cannot be read."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Source:
    """One function with its place: `top` is the module's statement that holds `node`."""

    function: types.FunctionType
    node: FunctionNode
    top: ast.stmt
    lines: tuple[str, ...]

    @functools.cached_property
    def marks(self) -> Mapping[int, str]:
        """The marks in the file's comments, by line."""
        return _marks(self.lines)

    @property
    def file(self) -> str:
        return self.function.__code__.co_filename

    def problem(self, node: Any, code: str, message: str) -> Problem:
        """A finding at any node that has a position."""
        return Problem(self.file, node.lineno, node.col_offset + 1, code, message)


def source_of(function: Callable[..., Any]) -> Source:
    """The source of a function, below decorators that keep `__wrapped__`. SourceError if there is none."""
    inner = inspect.unwrap(function)
    if not isinstance(inner, types.FunctionType):
        raise SourceError("not_a_function", f"a task must be a function, not {type(inner).__name__}: use def")
    code = inner.__code__
    if code.co_name == "<lambda>":
        raise SourceError("lambda", "a lambda cannot be a task: use def")
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename, inner.__globals__))
    if not text:
        raise SourceError(
            "no_source",
            f"the source of {code.co_qualname} is not available ({code.co_filename}): write the task in a file",
        )
    for top in parsed(text).body:
        if top.lineno <= code.co_firstlineno or isinstance(top, (*Function, ast.ClassDef)):
            for node in ast.walk(top) if (top.end_lineno or 0) >= code.co_firstlineno else ():
                if (
                    isinstance(node, Function)
                    and node.name == code.co_name
                    and _first_line(node) == code.co_firstlineno
                ):
                    return Source(inner, node, top, tuple(text.split("\n")))
    raise SourceError(
        "stale_source", f"{code.co_filename} has changed since {code.co_qualname} was loaded: import it again"
    )


def compile_node(source: Source, body: list[ast.stmt]) -> types.CodeType:
    """The code of the function with another body, compiled inside its real enclosing scopes."""
    original = source.function.__code__
    kept = source.node.body
    source.node.body = body
    try:
        module = ast.Module(body=[source.top], type_ignores=[])
        flags = original.co_flags & _FUTURE_FLAGS
        compiled = compile(module, original.co_filename, "exec", flags=flags, dont_inherit=True)
    finally:
        source.node.body = kept
    found = _find(compiled, original)
    if found is None or found.co_freevars != original.co_freevars:
        raise SourceError(
            "stale_source",
            f"{original.co_filename} has changed since {original.co_qualname} was loaded: import it again",
        )
    return _without_line(found) if body[0].lineno != original.co_firstlineno else found


def _without_line(code: types.CodeType) -> types.CodeType:
    """Removes the line of the code before the first statement: the compiler gives it the line of `def`.

    The table has an entry for each run of instructions. Only an entry's first byte has its high bit set: 4 bits of
    kind, 3 of length (Objects/locations.md in CPython).
    """
    table = code.co_linetable
    starts = [index for index, byte in enumerate(table) if byte & 0x80]
    entries = [table[first:last] for first, last in itertools.pairwise([*starts, len(table)])]
    entered = code.co_code[::2].index(_RESUME) + 1
    result: list[bytes] = []
    position = 0
    for number, entry in enumerate(entries):
        kind, length = entry[0] >> 3 & 15, (entry[0] & 7) + 1
        is_there = kind <= _ONE_LINE or (kind in _LONG and entry[1] == 0)
        if position >= entered and kind != _NO_LINE and not is_there:
            return code.replace(co_linetable=b"".join([*result, *entries[number:]]))
        kept = max(0, min(length, entered - position))
        if kept:
            result.append(bytes([entry[0] & ~7 | kept - 1]) + entry[1:])
        if length > kept:
            result.append(bytes([0x80 | _NO_LINE << 3 | length - kept - 1]))
        position += length
    return code


_ONE_LINE, _LONG, _NO_LINE = 10, (13, 14), 15
_RESUME = opcode.opmap["RESUME"]


def _find(code: types.CodeType, wanted: types.CodeType) -> types.CodeType | None:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            same_place = constant.co_firstlineno == wanted.co_firstlineno
            if same_place and constant.co_qualname == wanted.co_qualname:
                return constant
            if (found := _find(constant, wanted)) is not None:
                return found
    return None


@functools.lru_cache(maxsize=8)
def _marks(lines: tuple[str, ...]) -> Mapping[int, str]:
    """The marks of a file by line. Only comments count: a text may contain the same words."""
    if not any("trigger:" in line and _MARK.search(line) for line in lines):
        return {}
    reader = iter([f"{line}\n" for line in lines])
    return {
        token.start[0]: found[1]
        for token in tokenize.generate_tokens(lambda: next(reader, ""))
        if token.type == tokenize.COMMENT and (found := _MARK.search(token.string))
    }


@functools.lru_cache(maxsize=8)
def parsed(text: str) -> ast.Module:
    """The syntax of a file, cached for its next function."""
    return ast.parse(text)


def _first_line(node: FunctionNode) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
