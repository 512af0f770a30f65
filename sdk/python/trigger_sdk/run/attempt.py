"""Runs one attempt of a task, from the payload's text to the output's."""

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from trigger_sdk.errors import CodecError, ResumeRefused
from trigger_sdk.run.context import ActiveRun, Runtime, Unstorable, activated
from trigger_sdk.run.plan import Plan
from trigger_sdk.run.step_results import StepResults
from trigger_sdk.run.stored import CHECKPOINT, STEP, StoredCheckpoint, resume_of
from trigger_sdk.values import codec
from trigger_sdk.values.annotations import is_computed
from trigger_sdk.values.schema import annotations_of, bind_payload, extra_name, parameters_of
from trigger_sdk.values.shapes import restore


class Runnable(Protocol):
    """The parts of a registered task that a run needs."""

    @property
    def id(self) -> str: ...
    @property
    def function(self) -> Callable[..., Any]: ...
    @property
    def plan(self) -> Plan | None: ...


def run_task(
    task: Runnable,
    payload: bytes,
    stored: Sequence[StoredCheckpoint],
    runtime: Runtime,
    *,
    lets_go: Callable[[], None] = lambda: None,
    run_async: Callable[[Coroutine[Any, Any, Any]], Any] | None = None,
) -> bytes:
    """Runs one attempt to its end; returns the encoded output.

    `lets_go` is called when `stored` has been read: it may be large, and is not needed while the task runs. `run_async`
    runs the coroutine of an async task to its end; without it, that is `asyncio.run`.

    Raises what the task raises, PayloadError, CodecError, or ResumeRefused if the checkpoints do not fit the code.
    """
    arguments = bind_payload(task.function, codec.parse_payload(payload))
    steps = StepResults((entry for entry in stored if entry.kind == STEP), _checkpoint_keys(task, stored))
    run = ActiveRun(task.id, task.plan, runtime, resume_of(stored), steps)
    lets_go()
    _fill(run, task, arguments)
    positional, named = _split(task.function, arguments)
    with activated(run):
        output = task.function(*positional, **named)
        if inspect.isawaitable(output):
            coroutine = output if inspect.iscoroutine(output) else _awaited(output)
            output = (run_async or _in_new_loop)(runtime.main_coroutine(coroutine))
    try:
        return codec.encode(output, annotation=annotations_of(task.function).get("return"))
    except CodecError as error:
        raise type(error)(error.path, f"the output: {error.message}") from None


def _checkpoint_keys(task: Runnable, stored: Sequence[StoredCheckpoint]) -> list[str]:
    points = task.plan.points if task.plan is not None else ()
    return [*(point.key for point in points), *(entry.key for entry in stored if entry.kind == CHECKPOINT)]


def _split(function: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Separates positional-only parameters: they cannot be given by name, nor one left out before another."""
    positional = {
        name: arguments.get(name, parameter.default)
        for name, parameter in parameters_of(function).items()
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY
    }
    return list(positional.values()), {name: arguments[name] for name in arguments if name not in positional}


def _in_new_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    # Every container imports this package, and asyncio takes longer to import than all of it.
    import asyncio

    return asyncio.run(coroutine)


async def _awaited(output: Any) -> Any:
    return await output


def _fill(run: ActiveRun, task: Runnable, arguments: Mapping[str, Any]) -> None:
    """What the first checkpoint compares with, recorded before the task can change anything."""
    plan = task.plan
    if plan is None:
        if run.resume is not None:
            message = f"the task {run.task_id} has no checkpoint {run.resume.key!r} to resume from"
            raise ResumeRefused(message, key=run.resume.key)
        return
    _note_payload(run, task.function, plan, arguments)
    if run.resume is None:
        return
    plan.point_of(run.resume)
    for name, value in run.resume.names.items():
        annotation = plan.annotation(name)
        run.restored[name] = restore(value, annotation, name)
        run.known[name] = codec.encode(run.restored[name], annotation=annotation, depth=1, at=(name,))


def _note_payload(run: ActiveRun, function: Callable[..., Any], plan: Plan, arguments: Mapping[str, Any]) -> None:
    parameters, extra = parameters_of(function), extra_name(function)
    given = {name: value for name, value in arguments.items() if name in parameters}
    if extra is not None:
        given[extra] = {name: value for name, value in arguments.items() if name not in parameters}
    for name, value in given.items():
        annotation = plan.annotation(name)
        text = codec.encode(value, annotation=annotation, depth=1, at=(name,))
        # No value has an empty text, so the first checkpoint carries what the next attempt could not read again.
        run.known[name] = b"" if is_computed(annotation) else text
    for name, parameter in parameters.items():
        if name not in given:
            try:
                run.known[name] = codec.encode(parameter.default, annotation=plan.annotation(name), depth=1)
            except CodecError:
                run.known[name] = Unstorable(parameter.default)
