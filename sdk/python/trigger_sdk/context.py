"""The seam between task code and what runs it: the one active run of this process, and what it needs from outside.

The agent and `testing.run` implement `Runtime`; without an active run a task is a plain function. There is one run per
process, so a module global holds it: threads and event loops of the task see the same run.
"""

import hashlib
import inspect
import os
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from trigger_sdk import codec
from trigger_sdk.errors import CodecError
from trigger_sdk.schema import annotations_of, bind_payload, extra_name, parameters_of
from trigger_sdk.shapes import restore as restore_shape

if TYPE_CHECKING:
    from trigger_sdk.compiler import Plan
    from trigger_sdk.tasks import Task


class Runtime(Protocol):
    """What an attempt needs from the process that runs it.

    `save_checkpoint` returns when the data is durable and raises when it is refused; async tasks call it from a thread.
    `idempotency_scope` is the run's id, or the original's in a replay.
    """

    run_id: str
    attempt_number: int
    idempotency_scope: str

    def save_checkpoint(self, key: str, data: bytes, binds: list[str], carried: bytes | None) -> None: ...

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None: ...

    def main_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """What asyncio is to run: the coroutine itself, or one around it through which a stop reaches the task."""


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint as it was saved: `binds` are the entries of `data` that are names, `carried` holds changed names."""

    key: str
    index: int
    data: bytes
    binds: Sequence[str]
    carried: bytes | None = None


class Resume(NamedTuple):
    """Where a run continues, and the decoded values of all names that its checkpoints hold."""

    key: str
    names: Mapping[str, Any]


class RunInfo(NamedTuple):
    """What a task may know of its own run."""

    id: str
    attempt_number: int
    task: str


class Unstorable(NamedTuple):
    """A parameter's default that the codec cannot write; it is restored as long as it is the same object."""

    value: Any


class ActiveRun:
    """The run of this process. `known` is what a resume would restore, as text, for each name."""

    def __init__(self, task: "Task", runtime: Runtime, resume: Resume | None) -> None:
        self.task = task
        self.runtime = runtime
        self.resume = resume
        self.restored: dict[str, Any] = {}
        self.known: dict[str, bytes | Unstorable] = {}
        self.is_entered = False

    @property
    def plan(self) -> "Plan | None":
        return self.task.plan


_active: ActiveRun | None = None


def active_run() -> ActiveRun | None:
    """The run that this process works on, None outside one."""
    return _active


def current_run() -> RunInfo | None:
    """The id, attempt number and task of the run that this code belongs to; None in a direct call."""
    if _active is None:
        return None
    return RunInfo(_active.runtime.run_id, _active.runtime.attempt_number, _active.task.id)


def idempotency_key(name: str) -> str:
    """A key for other services that is the same over all attempts of this run, and differs from run to run.

    In a direct call it is new each time: no two of them may be taken for one.
    """
    scope = _active.runtime.idempotency_scope if _active is not None else os.urandom(16).hex()
    return hashlib.sha256(f"{scope}\0{name}".encode()).hexdigest()


def restore(stored: Sequence[StoredCheckpoint]) -> Resume | None:
    """The last checkpoint by index, with the union of what all of them hold; later ones win. None for none."""
    ordered = sorted(stored, key=lambda checkpoint: checkpoint.index)
    names: dict[str, Any] = {}
    for checkpoint in ordered:
        data = codec.decode(checkpoint.data)
        for name in checkpoint.binds:
            if name not in data:
                raise CodecError("$", f"the checkpoint {checkpoint.key!r} binds `{name}` but does not hold it")
            names[name] = data[name]
        if checkpoint.carried is not None:
            names.update(codec.decode(checkpoint.carried))
    return Resume(ordered[-1].key, names) if ordered else None


def run_task(task: "Task", payload: bytes, stored: Sequence[StoredCheckpoint], runtime: Runtime) -> bytes:
    """Runs one attempt to its end; returns the encoded output.

    Raises what the task raises, PayloadError, CodecError, or ResumeRefused where the checkpoints do not fit the code.
    """
    arguments = bind_payload(task.function, codec.parse_payload(payload))
    run = ActiveRun(task, runtime, restore(stored))
    _fill(run, arguments)
    with _activated(run):
        output = task.function(**arguments)
        if inspect.isawaitable(output):
            import asyncio

            output = asyncio.run(runtime.main_coroutine(_awaited(output)))
    try:
        return codec.encode(output, annotation=annotations_of(task.function).get("return"))
    except CodecError as error:
        raise type(error)(error.path, f"the output: {error.message}") from None


async def _awaited(output: Any) -> Any:
    return await output


def _fill(run: ActiveRun, arguments: Mapping[str, Any]) -> None:
    """What the first checkpoint compares with, taken before the task can change anything."""
    plan = run.plan
    if plan is None:
        if run.resume is not None:
            from trigger_sdk.errors import ResumeRefused

            message = f"the task {run.task.id} has no checkpoint {run.resume.key!r} to resume from"
            raise ResumeRefused(message, key=run.resume.key)
        return
    parameters, extra = parameters_of(run.task.function), extra_name(run.task.function)
    given = {name: value for name, value in arguments.items() if name in parameters}
    if extra is not None:
        given[extra] = {name: value for name, value in arguments.items() if name not in parameters}
    for name, value in given.items():
        run.known[name] = codec.encode(value, annotation=plan.annotation(name), depth=1, at=(name,))
    for name, parameter in parameters.items():
        if name not in given:
            try:
                run.known[name] = codec.encode(parameter.default, annotation=plan.annotation(name), depth=1)
            except CodecError:
                run.known[name] = Unstorable(parameter.default)
    if run.resume is None:
        return
    plan.point_of(run.resume)
    for name, value in run.resume.names.items():
        annotation = plan.annotation(name)
        run.restored[name] = restore_shape(value, annotation, name)
        run.known[name] = codec.encode(run.restored[name], annotation=annotation, depth=1, at=(name,))


@contextmanager
def _activated(run: ActiveRun) -> Iterator[None]:
    global _active
    if _active is not None:
        raise RuntimeError(f"this process already works on run {_active.runtime.run_id}")
    _active = run
    try:
        yield
    finally:
        _active = None
