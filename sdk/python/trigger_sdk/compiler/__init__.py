"""Turns a function with checkpoints into one that can start behind any of them, by changing its code.

`compile_task`, `segments` and `hints` are what the rest of the package uses. The parts: `source` finds the function's
syntax, `points` its checkpoints, `names` and `flow` what is read and bound where, `check` refuses what would not
resume, `steps` wrong uses of steps, `rewrite` makes the new syntax, `plan` is what the new code asks at run time.
"""

import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trigger_sdk.compiler.check import Check, check_defaults
from trigger_sdk.compiler.hints import hints_of
from trigger_sdk.compiler.places import in_characters
from trigger_sdk.compiler.plan import Plan, PlanPoint
from trigger_sdk.compiler.points import Finder
from trigger_sdk.compiler.rewrite import PLAN, Rewriter
from trigger_sdk.compiler.segments import segments_of
from trigger_sdk.compiler.source import Source, SourceError, compile_node, source_of
from trigger_sdk.compiler.steps import check_steps, with_step_form
from trigger_sdk.errors import Problem, RegistrationError

__all__ = ["Plan", "PlanPoint", "Source", "SourceError", "compile_task", "hints", "segments", "source_of"]


def compile_task(source: Source, marker: Callable[..., Any], earlier: Sequence[Problem] = ()) -> Plan | None:
    """Checks the function and gives it code that can resume; None where it has no checkpoint (its code stays).

    `marker` is the `checkpoint` function that names in the source are compared with. Raises RegistrationError with all
    problems, in source order and with the `earlier` ones, and then changes nothing.
    """
    finder = _found(source, marker)
    problems: list[Problem] = [*earlier, *finder.problems, *check_defaults(source), *check_steps(source, finder)]
    if finder.points and not finder.problems:
        problems += Check(source, finder.points, finder.local_names).run()
    if problems:
        raise RegistrationError.of(_in_order(source, problems))
    if not finder.points:
        return None
    plan = Plan(source, finder.points)
    is_async = bool(source.function.__code__.co_flags & inspect.CO_COROUTINE)
    body = Rewriter(finder.points, is_async=is_async).body(source.node.body)
    with warnings.catch_warnings():
        # The first compilation has given the warnings of this source.
        warnings.simplefilter("ignore")
        code = compile_node(source, body)
    constants = tuple(plan if constant == PLAN else constant for constant in code.co_consts)
    source.function.__code__ = code.replace(co_consts=constants)
    return plan


def segments(source: Source, marker: Callable[..., Any]) -> list[str]:
    """The hashes of a function's segments, for its deployment; it may be compiled already."""
    return segments_of(source, _found(source, marker).points)


def hints(source: Source, marker: Callable[..., Any]) -> list[Problem]:
    """What a person may want to change in a function that the check has accepted."""
    return _in_order(source, hints_of(source, _found(source, marker)))


def _found(source: Source, marker: Callable[..., Any]) -> Finder:
    finder = Finder(source, marker)
    finder.run()
    return finder


def _in_order(source: Source, problems: Iterable[Problem]) -> list[Problem]:
    # A name may be lost for two reasons at once; one report is enough.
    found = {in_characters(source, with_step_form(source, problem)) for problem in problems}
    return sorted(found, key=lambda problem: (problem.line, problem.column, problem.code))
