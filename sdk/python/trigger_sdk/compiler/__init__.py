"""Turns a function with checkpoints into one that can start behind any of them, by changing its code.

`compile_task` is all that the rest of the package uses. The parts: `source` finds the function's syntax, `points` its
checkpoints, `names` and `flow` what is read and bound where, `check` refuses what would not resume, `rewrite` makes the
new syntax, `plan` is what the new code asks at run time.
"""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from trigger_sdk.compiler.check import Check, check_defaults
from trigger_sdk.compiler.plan import Plan, PlanPoint
from trigger_sdk.compiler.points import Finder
from trigger_sdk.compiler.rewrite import PLAN, Rewriter
from trigger_sdk.compiler.source import Source, SourceError, compile_node, source_of
from trigger_sdk.errors import Problem, RegistrationError

__all__ = ["Plan", "PlanPoint", "Source", "SourceError", "compile_task", "source_of"]


def compile_task(source: Source, marker: Callable[..., Any]) -> Plan | None:
    """Checks the function and gives it code that can resume; None where it has no checkpoint (its code stays).

    `marker` is the `checkpoint` function that names in the source are compared with. Raises RegistrationError with all
    problems, in source order, and then changes nothing.
    """
    finder = Finder(source, marker)
    finder.run()
    problems: list[Problem] = [*finder.problems, *check_defaults(source)]
    if finder.points and not problems:
        problems += Check(source, finder.points, finder.local_names).run()
    if problems:
        # A name may be lost for two reasons at once; one report is enough.
        raise RegistrationError.of(sorted(set(problems), key=lambda problem: (problem.line, problem.column)))
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
