"""Makes code for a function with checkpoints that can start after any of them, from its source alone.

The rest of the package uses `compile_task`, `segments` and `hints`. The parts: `source` finds the function's syntax,
`points` its checkpoints, `names` and `flow` what is read and bound where; `check` refuses what would not resume,
`steps` wrong uses of steps; `rewrite` makes the new syntax; `compiled` is the result. `run/plan.py` answers what that
code asks when it runs.
"""

import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trigger_sdk.compiler.arguments import check_step_arguments
from trigger_sdk.compiler.check import Check, check_defaults
from trigger_sdk.compiler.compiled import Compiled, ResumePoint
from trigger_sdk.compiler.hints import hints_of
from trigger_sdk.compiler.local_types import LocalTypes
from trigger_sdk.compiler.marks import check_marks
from trigger_sdk.compiler.places import in_characters
from trigger_sdk.compiler.points import Finder
from trigger_sdk.compiler.rewrite import Rewriter
from trigger_sdk.compiler.segments import segments_of
from trigger_sdk.compiler.source import Source, SourceError, compile_node, source_of
from trigger_sdk.compiler.step_calls import StepCalls
from trigger_sdk.compiler.steps import check_steps, with_step_form
from trigger_sdk.compiler.unstorable import unstorable_names
from trigger_sdk.errors import Problem, RegistrationError

__all__ = [
    "Compiled",
    "ResumePoint",
    "Source",
    "SourceError",
    "compile_task",
    "hints",
    "late_problems",
    "segments",
    "source_of",
]


def compile_task(
    source: Source, checkpoint: Callable[..., Any], step: Callable[..., Any], earlier: Sequence[Problem] = ()
) -> Compiled | None:
    """Checks the function and compiles code for it that can resume; None if it has no checkpoint.

    `checkpoint` and `step` are the functions that names in the source are compared with. Raises RegistrationError with
    all problems in source order, the `earlier` ones included.
    """
    finder = _found(source, checkpoint)
    problems: list[Problem] = [*earlier, *finder.problems, *check_defaults(source)]
    problems += [*check_marks(source, finder.made_again), *check_steps(source, finder, step)]
    if finder.points and not finder.problems:
        problems += Check(source, finder.points, finder.local_names, finder.made_again).run()
    if problems:
        raise RegistrationError.of(_in_order(source, problems))
    if not finder.points:
        return None
    is_async = bool(source.function.__code__.co_flags & inspect.CO_COROUTINE)
    body = Rewriter(finder.points, is_async=is_async).body(source.node.body)
    with warnings.catch_warnings():
        # The first compilation has already given this source's warnings.
        warnings.simplefilter("ignore")
        code = compile_node(source, body)
    return Compiled.of(source, finder.points, code, step)


def segments(source: Source, checkpoint: Callable[..., Any]) -> list[str]:
    """The hashes of a function's segments, for its deployment; the function may already be compiled."""
    return segments_of(source, _found(source, checkpoint).points)


def late_problems(source: Source, checkpoint: Callable[..., Any], step: Callable[..., Any]) -> list[Problem]:
    """What can be judged only when the task's whole module is loaded: types of saved names, arguments of steps."""
    known = LocalTypes(source.function, source.node, step)
    points = _found(source, checkpoint).points
    found = [*unstorable_names(source, points, known), *check_step_arguments(source, StepCalls(source, step))]
    return _in_order(source, found)


def hints(source: Source, checkpoint: Callable[..., Any]) -> list[Problem]:
    """What a person may want to improve in a function that the check has accepted."""
    return _in_order(source, hints_of(source, _found(source, checkpoint)))


def _found(source: Source, checkpoint: Callable[..., Any]) -> Finder:
    finder = Finder(source, checkpoint)
    finder.run()
    return finder


def _in_order(source: Source, problems: Iterable[Problem]) -> list[Problem]:
    # A name may be lost for two reasons at once; one report is enough.
    found = {in_characters(source, with_step_form(source, problem)) for problem in problems}
    return sorted(found, key=lambda problem: (problem.line, problem.column, problem.code))
