"""The seam between task code and what runs it: the one active run of this process, and what it needs from outside.

The agent and `testing.run` implement `Runtime`; without an active run a task is a plain function. There is one run per
process, so a module global holds it: threads and event loops of the task see the same run.
"""

import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from trigger_sdk.run.digests import digest_of
from trigger_sdk.run.step_results import StepResults
from trigger_sdk.run.stored import Resume


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
        """The result of a step of which the attempt has received only the key."""

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None: ...

    def pause_seconds(self, seconds: float) -> float:
        """How long a step waits before its next try if its options say `seconds`."""

    def may_interrupt(self) -> bool:
        """Whether an exception may be raised into the main thread now."""

    def main_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """What asyncio will run: the coroutine itself, or one around it through which a stop reaches the task."""


class RunInfo(NamedTuple):
    """What a task may know about its own run."""

    id: str
    attempt_number: int
    task: str


class Unstorable(NamedTuple):
    """A parameter's default that the codec cannot write; it is restored as long as it stays the same object."""

    value: Any


class ActiveRun:
    """The run of this process. `known` is what a resume would restore for each name, as text.

    `plan` is that of the task's own function: a call of any other function is not part of resuming this run.
    """

    def __init__(self, task_id: str, plan: object, runtime: Runtime, resume: Resume | None, steps: StepResults) -> None:
        self.task_id = task_id
        self.plan = plan
        self.runtime = runtime
        self.resume = resume
        self.steps = steps
        self.restored: dict[str, Any] = {}
        self.known: dict[str, bytes | Unstorable] = {}
        self.is_entered = False


_active: ActiveRun | None = None


def active_run() -> ActiveRun | None:
    """The run that this process works on; None outside a run."""
    return _active


def current_run() -> RunInfo | None:
    """The id, attempt number and task of the run that this code belongs to; None in a direct call."""
    if _active is None:
        return None
    return RunInfo(_active.runtime.run_id, _active.runtime.attempt_number, _active.task_id)


def idempotency_key(name: str) -> str:
    """A key for other services that is the same in all attempts of this run, and differs from run to run.

    In a direct call it is different each time: two calls must not be taken for one.
    """
    scope = _active.runtime.idempotency_scope if _active is not None else os.urandom(16).hex()
    return digest_of(f"{scope}\0{name}")


@contextmanager
def activated(run: ActiveRun) -> Iterator[None]:
    """Makes this the run that the process works on; RuntimeError if there already is one."""
    global _active
    if _active is not None:
        raise RuntimeError(f"this process is already working on run {_active.runtime.run_id}")
    _active = run
    try:
        yield
    finally:
        _active = None
