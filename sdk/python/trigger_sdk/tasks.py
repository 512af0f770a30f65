"""Registering tasks: the `task` decorator, the registry of this process, and `checkpoint` as the user writes it.

`task` returns the same function. If it has checkpoints, its code is changed so that it can resume after them.
"""

import ast
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from trigger_sdk.compiler import (
    ResumePoint,
    Source,
    SourceError,
    compile_task,
    hints,
    late_problems,
    segments,
    source_of,
)
from trigger_sdk.compiler.definition import method_problem
from trigger_sdk.compiler.misplaced import misplaced_checkpoints
from trigger_sdk.compiler.names import parameters
from trigger_sdk.compiler.places import column_of_instruction
from trigger_sdk.errors import CheckpointMisplaced, Problem, RegistrationError, TaskOptionError
from trigger_sdk.options import Retry, TaskOptions, check_options, check_task_id
from trigger_sdk.run.plan import Plan, install
from trigger_sdk.run.step_targets import targets_of
from trigger_sdk.steps import step
from trigger_sdk.values.schema import SignatureError, parameters_of, payload_schema

if TYPE_CHECKING:
    # Installed with every type checker, and not needed to run: these have defaults, which come with Python 3.13.
    import typing_extensions

    P = typing_extensions.ParamSpec("P", default=...)
    Out = typing_extensions.TypeVar("Out", default=Any)
else:
    from typing import ParamSpec

    P = ParamSpec("P")
    Out = TypeVar("Out")
_F = TypeVar("_F", bound=Callable[..., Any])


class Task(NamedTuple, Generic[P, Out]):
    """A registered task: what its function takes and returns. `plan` is None if the function has no checkpoint."""

    id: str
    function: Callable[P, Out]
    options: TaskOptions
    plan: Plan | None
    file: str
    line: int

    @property
    def points(self) -> tuple[ResumePoint, ...]:
        return self.plan.points if self.plan is not None else ()

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(inspect.unwrap(self.function))

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the payload; RegistrationError if an annotation cannot be read.

        Call it once the whole module is loaded: an annotation may name a class defined after the task.
        """
        try:
            return payload_schema(self.function)
        except SignatureError as error:
            raise RegistrationError.of([_parameter_problem(self._read(), error)]) from None

    def check_late(self) -> None:
        """What can be judged only once the whole module is loaded: RegistrationError has all problems."""
        problems = late_problems(self._read(), checkpoint, step)
        if problems:
            raise RegistrationError.of(problems)

    def hints(self) -> list[Problem]:
        """What works but costs more than it needs to. RegistrationError if the file changed since it was imported."""
        return hints(self._read(), checkpoint)

    def _read(self) -> Source:
        try:
            return source_of(self.function)
        except SourceError as error:
            raise RegistrationError(self.file, self.line, 1, error.code, str(error)) from None

    def describe(self) -> dict[str, Any]:
        """What a deployment stores about the task, as plain JSON."""
        return {
            "id": self.id,
            "file": self.file,
            "line": self.line,
            "doc": inspect.getdoc(self.function) or "",
            "is_async": self.is_async,
            "options": self.options.to_json(),
            "payload_schema": self.schema(),
            "resume_points": [
                {
                    "key": point.key,
                    "line": point.line,
                    "names": list(point.binds),
                    "data_keys": list(point.data_keys),
                    "needs": list(point.needs),
                    "again": list(point.again),
                }
                for point in self.points
            ],
            "segments": segments(self._read(), checkpoint),
        }


registry: dict[str, Task] = {}
"""The tasks that this process has imported, by id."""
_given: set[tuple[str, int]] = set()
"""File and line of each function that was given to `task`, accepted or not."""
_collected: list[Problem] | None = None


@contextmanager
def collected_problems() -> Iterator[list[Problem]]:
    """Inside it, the problems of a wrong task are collected, the task is left out, and the import continues."""
    global _collected
    before, _collected = _collected, []
    try:
        yield _collected
    finally:
        _collected = before


def task(
    id: str,  # noqa: A002 - the option's own name
    *,
    queue: str | None = None,
    max_concurrency: int | None = None,
    max_concurrency_total: int | None = None,
    concurrency_key: str | None = None,
    retry: Retry = Retry(),  # noqa: B008 - frozen
    max_duration: float | timedelta = 3600,
    memory: str | int = "512MB",
    retry_out_of_memory: str | int | None = None,
    disk: str | int = "2GB",
    cpus: float | None = None,
    warm_start: str = "fork",
    rate_limit: str | None = None,
    rate_limit_per_key: str | None = None,
    ttl: float | timedelta | None = None,
    schedule: Mapping[str, Any] | None = None,
) -> Callable[[_F], _F]:
    """Registers a function as the task `id`. Raises TaskOptionError for a wrong option, and RegistrationError with file
    and line for a function that could not resume, or for an id that another task has."""
    given = {name: value for name, value in locals().items() if name != "id"}
    # Something that is not a function has no place of its own: the line that decorates it is reported.
    place = _place(sys._getframe(1))  # noqa: SLF001
    options = None
    try:
        options = check_options(check_task_id(id), given)
    except TaskOptionError as error:
        if _collected is None:
            raise
        _collected.append(Problem(*place, "task_option", str(error)))

    def register(function: _F) -> _F:
        try:
            _register(id, function, options, place)
        except RegistrationError as error:
            if _collected is None:
                raise
            _collected.extend(error.problems)
        return function

    return register


def checkpoint(key: str, data: Mapping[str, Any] | None = None, /, **names: Any) -> Awaitable[None]:
    """Saves data under a key, as a statement of a task's own body; in `async def` it is awaited.

    Values under their own name (`order=order` or `{"order": order}`) are restored when a later attempt resumes.
    """
    # In a task's body this call is compiled into another: this code runs only where nothing can be saved.
    raise CheckpointMisplaced(
        f"the checkpoint {key!r} was reached outside a task's own body: "
        "write it as a statement of the function that has @task"
    )


def checkpoints_outside_tasks(module: ModuleType) -> list[Problem]:
    """The checkpoints of an imported module that no run could reach without an error."""
    return [*misplaced_checkpoints(module, checkpoint, task, _given)]


def _register(
    task_id: str, function: Callable[..., Any], options: TaskOptions | None, place: tuple[str, int, int]
) -> None:
    """Checks the function, and registers it if its options are right."""
    try:
        source = source_of(function)
        _given.add((source.file, source.node.lineno))
        if (wrong := method_problem(source, function)) is not None:
            raise RegistrationError.of([wrong])
        problems = [*_definition_problems(source, function)]
        known = registry.get(task_id) if options is not None else None
        if known is not None and (known.file, known.line) != (source.file, source.node.lineno):
            message = f"the task id {task_id!r} is already used by {known.file}:{known.line}: give it another"
            problems.append(source.problem(source.node, "duplicate_task", message))
        compiled = compile_task(source, checkpoint, step, problems)
    except SourceError as error:
        code = getattr(function, "__code__", None)
        file, line, column = (code.co_filename, code.co_firstlineno, 1) if code else place
        raise RegistrationError(file, line, column, error.code, str(error)) from None
    plan = install(compiled) if compiled is not None else None
    targets_of(source.file)
    if options is not None:
        registry[task_id] = Task(task_id, function, options, plan, source.file, source.node.lineno)


def _definition_problems(source: Source, function: Callable[..., Any]) -> Iterator[Problem]:
    if inspect.isgeneratorfunction(source.function) or inspect.isasyncgenfunction(source.function):
        yield source.problem(source.node, "generator", "a task cannot be a generator: return a value")
    try:
        parameters_of(function)
    except SignatureError as error:
        yield _parameter_problem(source, error)
    above = _decorator_above(source)
    if above is not None:
        message = f"`@{ast.unparse(above)}` is above `@task` and would not apply in runs: put it below"
        yield source.problem(above, "decorator_above_task", message)


def _parameter_problem(source: Source, error: SignatureError) -> Problem:
    named = [argument for argument in parameters(source.node.args) if argument.arg == error.name]
    return source.problem(named[0] if named else source.node, "parameter", str(error))


def _decorator_above(source: Source) -> ast.expr | None:
    """A decorator above `@task`: it would wrap what callers use, but not what runs use."""
    scope = source.function.__globals__
    above: list[ast.expr] = []
    for decorator in source.node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        found = scope.get(called.id) if isinstance(called, ast.Name) else None
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            found = getattr(scope.get(called.value.id), called.attr, None)
        if found is task:
            return above[0] if above else None
        if ast.unparse(decorator) != "staticmethod":
            above.append(decorator)
    return None


def _place(frame: FrameType) -> tuple[str, int, int]:
    """File, line and column of the call that a frame is in."""
    return frame.f_code.co_filename, frame.f_lineno, column_of_instruction(frame.f_code, frame.f_lasti)


__all__ = ["Retry", "Task", "TaskOptionError", "checkpoint", "registry", "task"]
