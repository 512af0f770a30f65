"""The result of compiling a task's function: its code, and what is known about its resume points and names."""

import ast
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trigger_sdk.compiler.local_types import LocalTypes
from trigger_sdk.compiler.points import Point
from trigger_sdk.compiler.source import Source


class ResumePoint(NamedTuple):
    """One resume point, as the compiled code and a deployment know it.

    `needs` are the saved names that are read after it, `again` the names whose marked assignments a resume from it runs
    again, in order.
    """

    key: str
    line: int
    binds: tuple[str, ...]
    data_keys: tuple[str, ...]
    needs: tuple[str, ...]
    again: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compiled:
    """A function that the check has accepted, and the code with which it can resume; the function itself is unchanged.

    `local_types` are those of parameters and local names, `computed` the parameters whose default is not a literal,
    `extra_name` is the name of `**kwargs`. In the code's constants `rewrite.PLAN` stands for what it asks at run time.
    """

    function: types.FunctionType
    code: types.CodeType
    points: tuple[ResumePoint, ...]
    local_types: LocalTypes
    computed: frozenset[str]
    extra_name: str | None

    @classmethod
    def of(cls, source: Source, points: Sequence[Point], code: types.CodeType, step: Callable[..., Any]) -> "Compiled":
        arguments = source.node.args
        return cls(
            source.function,
            code,
            tuple(ResumePoint(p.key, p.line, p.binds, tuple(p.entries), p.needs, _made(p)) for p in points),
            LocalTypes(source.function, source.node, step),
            _computed_defaults(arguments),
            arguments.kwarg.arg if arguments.kwarg else None,
        )


def _made(point: Point) -> tuple[str, ...]:
    """The names that the marked assignments of a point bind, in source order."""
    nodes = [node for statement in point.again for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return tuple(dict.fromkeys(node.id for node in nodes if isinstance(node.ctx, ast.Store)))


def _computed_defaults(arguments: ast.arguments) -> frozenset[str]:
    """The parameters whose default is not a literal."""
    positional = [*arguments.posonlyargs, *arguments.args]
    given = [*zip(reversed(positional), reversed(arguments.defaults), strict=False)]
    given += [(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None]
    return frozenset(argument.arg for argument, default in given if not _is_literal(default))


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True
