"""Registering tasks: the `task` decorator, the registry of this process, and `checkpoint` as the user writes it.

`task` gives back the same function. Where it has checkpoints, its code is changed so that it can resume behind them.
"""

import inspect
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from trigger_sdk.compiler import Plan, PlanPoint, Source, SourceError, compile_task, source_of
from trigger_sdk.errors import CheckpointMisplaced, RegistrationError, TaskOptionError
from trigger_sdk.options import Retry, TaskOptions, check_options, check_task_id
from trigger_sdk.schema import SignatureError, parameters_of, payload_schema

_F = TypeVar("_F", bound=Callable[..., Any])


class Task(NamedTuple):
    """A registered task. `plan` is None where the function has no checkpoint."""

    id: str
    function: Callable[..., Any]
    options: TaskOptions
    plan: Plan | None
    file: str
    line: int

    @property
    def points(self) -> tuple[PlanPoint, ...]:
        return self.plan.points if self.plan is not None else ()

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(inspect.unwrap(self.function))

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the payload; RegistrationError where an annotation cannot be read.

        Asked for when the module is loaded whole: an annotation may name a class that stands behind the task.
        """
        try:
            return payload_schema(self.function)
        except SignatureError as error:
            raise RegistrationError(self.file, self.line, 1, "parameter", str(error)) from None

    def describe(self) -> dict[str, Any]:
        """What a deployment stores of the task, as plain JSON."""
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
                }
                for point in self.points
            ],
        }


registry: dict[str, Task] = {}
"""The tasks that this process has imported, by id."""


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
    ttl: float | timedelta | None = None,
    schedule: Mapping[str, Any] | None = None,
) -> Callable[[_F], _F]:
    """Registers a function as the task `id`. Raises TaskOptionError for a wrong option, and RegistrationError with file
    and line for a function that could not resume, or for an id that another task has."""
    given = {name: value for name, value in locals().items() if name != "id"}
    task_id = check_task_id(id)
    options = check_options(task_id, given)

    def register(function: _F) -> _F:
        _register(task_id, function, options)
        return function

    return register


def checkpoint(key: str, data: Mapping[str, Any] | None = None, /, **names: Any) -> Awaitable[None]:
    """Saves data under a key at a statement of a task's own body; in `async def` it is awaited.

    Values under their own name (`order=order` or `{"order": order}`) are restored when a later attempt resumes.
    """
    # In a task's body this call is compiled to another: it is only reached where nothing can be saved.
    raise CheckpointMisplaced(
        f"the checkpoint {key!r} was reached outside a task's own body: "
        "write it as a statement of the function that has @task"
    )


def _register(task_id: str, function: Callable[..., Any], options: TaskOptions) -> None:
    try:
        source = source_of(function)
    except SourceError as error:
        code = getattr(function, "__code__", None)
        # What is no function has no place of its own: then the line that decorates it.
        caller = sys._getframe(2)  # noqa: SLF001
        file, line = (code.co_filename, code.co_firstlineno) if code else (caller.f_code.co_filename, caller.f_lineno)
        raise RegistrationError(file, line, 1, error.code, str(error)) from None
    _check_signature(source, function)
    _check_decorators(source)
    line = source.node.lineno
    known = registry.get(task_id)
    if known is not None and (known.file, known.line) != (source.file, line):
        message = f"the task id {task_id!r} is used already, by {known.file}:{known.line}"
        raise RegistrationError(source.file, line, 1, "duplicate_task", message)
    plan = _plan(source)
    registry[task_id] = Task(task_id, function, options, plan, source.file, line)


def _plan(source: Source) -> Plan | None:
    try:
        return compile_task(source, checkpoint)
    except SourceError as error:
        raise RegistrationError(source.file, source.node.lineno, 1, error.code, str(error)) from None


def _check_signature(source: Source, function: Callable[..., Any]) -> None:
    line = source.node.lineno
    if inspect.isgeneratorfunction(source.function) or inspect.isasyncgenfunction(source.function):
        raise RegistrationError(source.file, line, 1, "generator", "a task cannot be a generator: return a value")
    try:
        parameters_of(function)
    except SignatureError as error:
        raise RegistrationError(source.file, line, 1, "parameter", str(error)) from None


def _check_decorators(source: Source) -> None:
    """A decorator above `@task` would wrap what callers use, and not what the runs use."""
    import ast

    scope = source.function.__globals__
    above: list[ast.expr] = []
    for decorator in source.node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        found = scope.get(called.id) if isinstance(called, ast.Name) else None
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            found = getattr(scope.get(called.value.id), called.attr, None)
        if found is task:
            break
        if ast.unparse(decorator) != "staticmethod":
            above.append(decorator)
    else:
        return
    if above:
        message = f"`@{ast.unparse(above[0])}` stands above `@task` and would not run in runs: put it below"
        raise RegistrationError(source.file, above[0].lineno, 1, "decorator_above_task", message)


__all__ = ["Retry", "Task", "TaskOptionError", "checkpoint", "registry", "task"]
