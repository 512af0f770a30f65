"""The seam between task code and what runs it: the one active run of this process, and what it needs from outside.

The agent and `testing.run` implement `Runtime`; without an active run a task is a plain function. There is one run per
process, so a module global holds it: threads and event loops of the task see the same run.
"""

import hashlib
import inspect
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from trigger_sdk import codec
from trigger_sdk.errors import CodecError, ResumeRefused
from trigger_sdk.schema import annotations_of, bind_payload, extra_name, parameters_of
from trigger_sdk.shapes import is_computed
from trigger_sdk.shapes import restore as restore_shape
from trigger_sdk.step_results import StepResults

if TYPE_CHECKING:
    from trigger_sdk.compiler import Plan
    from trigger_sdk.tasks import Task


CHECKPOINT, STEP = "checkpoint", "step"
"""The kinds of what a run stores. Only a checkpoint is a place to resume from."""


class Runtime(Protocol):
    """What an attempt needs from the process that runs it.

    `save_checkpoint` and `save_step` return when the data is durable and raise when it is refused; any thread may call
    them. `idempotency_scope` is the run's id, or the original's in a replay.
    """

    run_id: str
    attempt_number: int
    idempotency_scope: str

    def save_checkpoint(self, key: str, data: bytes, binds: list[str], carried: bytes | None) -> None: ...

    def save_step(self, key: str, data: bytes, duration_seconds: float) -> None: ...

    def load_step(self, key: str, index: int) -> bytes:
        """The result of a step that the attempt was only told the key of."""

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None: ...

    def pause_seconds(self, seconds: float) -> float:
        """How long a step waits before its next try where its options say `seconds`."""

    def may_interrupt(self) -> bool:
        """Whether an exception may be raised into the main thread now."""

    def main_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """What asyncio is to run: the coroutine itself, or one around it through which a stop reaches the task."""


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint or the result of a step as it was saved, by the codec of version `codec`.

    `binds` are the entries of `data` that are names, `carried` holds changed names. `data` is None for a step whose
    result has to be loaded.
    """

    key: str
    index: int
    data: bytes | None
    binds: Sequence[str]
    carried: bytes | None = None
    kind: str = CHECKPOINT
    codec: int = codec.VERSION


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

    def __init__(self, task: "Task", runtime: Runtime, stored: Sequence[StoredCheckpoint]) -> None:
        self.task = task
        self.runtime = runtime
        self.resume = restore(stored)
        self.steps = StepResults((entry for entry in stored if entry.kind == STEP), _checkpoint_keys(task, stored))
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
    """The last checkpoint by index, with the union of what all of them hold; later ones win. None for none.

    Raises ResumeRefused for data of a codec that this version does not know, steps included.
    """
    for entry in stored:
        if entry.codec != codec.VERSION:
            message = f"{entry.key!r} was stored by version {entry.codec} of the codec; this SDK reads {codec.VERSION}"
            raise ResumeRefused(message, key=entry.key)
    ordered = sorted((entry for entry in stored if entry.kind == CHECKPOINT), key=lambda entry: entry.index)
    names: dict[str, Any] = {}
    # The latest first: what a later checkpoint holds need not be read again from an earlier one.
    for checkpoint in reversed(ordered):
        if checkpoint.carried is not None:
            names = {**codec.decode(checkpoint.carried), **names}
        wanted = [name for name in checkpoint.binds if name not in names]
        data = codec.decode(checkpoint.data or b"") if wanted else {}
        for name in wanted:
            if name not in data:
                raise CodecError("$", f"the checkpoint {checkpoint.key!r} binds `{name}` but does not hold it")
            names[name] = data[name]
    return Resume(ordered[-1].key, names) if ordered else None


def _checkpoint_keys(task: "Task", stored: Sequence[StoredCheckpoint]) -> list[str]:
    return [*(point.key for point in task.points), *(entry.key for entry in stored if entry.kind == CHECKPOINT)]


def run_task(
    task: "Task",
    payload: bytes,
    stored: Sequence[StoredCheckpoint],
    runtime: Runtime,
    *,
    lets_go: Callable[[], None] = lambda: None,
) -> bytes:
    """Runs one attempt to its end; returns the encoded output.

    `lets_go` is called when `stored` has been read: it may be large, and is not needed while the task runs.

    Raises what the task raises, PayloadError, CodecError, or ResumeRefused where the checkpoints do not fit the code.
    """
    arguments = bind_payload(task.function, codec.parse_payload(payload))
    run = ActiveRun(task, runtime, stored)
    lets_go()
    _fill(run, arguments)
    positional, named = _split(task.function, arguments)
    with _activated(run):
        output = task.function(*positional, **named)
        if inspect.isawaitable(output):
            import asyncio

            output = asyncio.run(runtime.main_coroutine(_awaited(output)))
    try:
        return codec.encode(output, annotation=annotations_of(task.function).get("return"))
    except CodecError as error:
        raise type(error)(error.path, f"the output: {error.message}") from None


def _split(function: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Positional-only parameters cannot be given by name, and none of them be left out before another."""
    positional = {
        name: arguments.get(name, parameter.default)
        for name, parameter in parameters_of(function).items()
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY
    }
    return list(positional.values()), {name: arguments[name] for name in arguments if name not in positional}


async def _awaited(output: Any) -> Any:
    return await output


def _fill(run: ActiveRun, arguments: Mapping[str, Any]) -> None:
    """What the first checkpoint compares with, taken before the task can change anything."""
    plan = run.plan
    if plan is None:
        if run.resume is not None:
            message = f"the task {run.task.id} has no checkpoint {run.resume.key!r} to resume from"
            raise ResumeRefused(message, key=run.resume.key)
        return
    parameters, extra = parameters_of(run.task.function), extra_name(run.task.function)
    given = {name: value for name, value in arguments.items() if name in parameters}
    if extra is not None:
        given[extra] = {name: value for name, value in arguments.items() if name not in parameters}
    for name, value in given.items():
        annotation = plan.annotation(name)
        text = codec.encode(value, annotation=annotation, depth=1, at=(name,))
        # Empty is no value's text: the first checkpoint carries what the next attempt could not read again.
        run.known[name] = b"" if is_computed(annotation) else text
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
