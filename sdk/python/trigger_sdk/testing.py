"""Tests of tasks without a server: run one, crash it after a checkpoint or a step, and see it resume.

The crash is an exception that no `except Exception` catches: `with` and `finally` blocks run, unlike in a killed
process. Checkpoints go through their stored text, so a resume sees what a real one would.
"""

import inspect
import json
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from trigger_sdk.run.attempt import run_task
from trigger_sdk.run.stored import CHECKPOINT, STEP, StoredCheckpoint
from trigger_sdk.tasks import Task, registry
from trigger_sdk.values import codec


@dataclass(frozen=True, slots=True)
class LogLine:
    attempt: int
    level: str
    message: str
    fields: Mapping[str, Any]


@dataclass(slots=True)
class Result:
    """What a run did. `output` is what a caller would read; `resumed_from` is the key the last attempt started from."""

    output: Any = None
    attempts: int = 0
    resumed_from: str | None = None
    stored: list[StoredCheckpoint] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)

    @property
    def checkpoints(self) -> dict[str, Any]:
        """The decoded data of every checkpoint, by key."""
        return self._decoded(CHECKPOINT)

    @property
    def steps(self) -> dict[str, Any]:
        """The decoded result of every step that finished, by key."""
        return self._decoded(STEP)

    def _decoded(self, kind: str) -> dict[str, Any]:
        return {c.key: codec.decode(c.data) for c in self.stored if c.kind == kind and c.data is not None}

    @property
    def carried(self) -> dict[str, Any]:
        """The changed names that checkpoints carry, decoded, by key; only those that carry any."""
        return {c.key: codec.decode(c.carried) for c in self.stored if c.carried is not None}


class SimulatedCrash(BaseException):
    """Ends the attempt after the checkpoint or step that `crash_after` names."""


def run(
    function: Callable[..., Any],
    payload: Any = None,
    *,
    crash_after: str | None = None,
    resume: "Result | BaseException | None" = None,
) -> Result:
    """Runs a task as a worker would, and once more if `crash_after` names a checkpoint or a step to crash after.

    What the task raises is passed on unchanged, with the `Result` so far as its `trigger_result`; give that exception
    or a Result as `resume` to continue as the next attempt. LookupError if `crash_after` was never reached. The pauses
    between the tries of a step are skipped.
    Do not call it inside a running event loop: use `asyncio.to_thread(run, …)` there.
    """
    task = _task_of(function)
    text = json.dumps({} if payload is None else payload).encode()
    result = _continued(resume)
    if crash_after is not None and not _attempt(task, text, result, crash_after):
        saved = [entry.key for entry in result.stored]
        raise LookupError(f"{task.id} ended without saving {crash_after!r}; it saved {saved}")
    _attempt(task, text, result, None)
    return result


class _Runtime:
    """Keeps checkpoints in memory, as their stored text."""

    run_id = "run_test"
    idempotency_scope = "run_test"

    def __init__(self, result: Result, crash_after: str | None) -> None:
        self.attempt_number = result.attempts
        self.has_crashed = False
        self._lock = threading.Lock()
        self._result = result
        self._crash_after = crash_after

    def save_checkpoint(self, key: str, data: bytes, binds: list[str], carried: bytes | None) -> None:
        self._save(key, data, CHECKPOINT, tuple(binds), carried)

    def save_step(self, key: str, data: bytes, duration_seconds: float) -> None:
        self._save(key, data, STEP)

    def load_step(self, key: str, index: int) -> bytes:
        raise AssertionError("every stored result is already in memory here")

    def pause_seconds(self, seconds: float) -> float:
        return 0.0

    def may_interrupt(self) -> bool:
        return True

    def _save(
        self, key: str, data: bytes, kind: str, binds: tuple[str, ...] = (), carried: bytes | None = None
    ) -> None:
        with self._lock:
            if self.has_crashed:
                # The task caught the crash and continued; a dead process saves nothing.
                raise SimulatedCrash(key)
            stored = self._result.stored
            stored.append(StoredCheckpoint(key, len(stored), data, binds, carried, kind))
            if key == self._crash_after:
                self.has_crashed = True
                raise SimulatedCrash(key)

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        self._result.logs.append(LogLine(self.attempt_number, level, message, fields))

    def main_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        return coroutine


def _attempt(task: Task, payload: bytes, result: Result, crash_after: str | None) -> bool:
    """Runs one attempt; returns whether it crashed as asked."""
    result.attempts += 1
    points = [entry.key for entry in result.stored if entry.kind == CHECKPOINT]
    result.resumed_from = points[-1] if points else None
    runtime = _Runtime(result, crash_after)
    try:
        output = run_task(task, payload, list(result.stored), runtime)
    except BaseException as error:
        if runtime.has_crashed:
            # A dead process raises nothing: this is the crash, or what the task made of it (a group, another error).
            return True
        error.trigger_result = result  # type: ignore[attr-defined]
        raise
    result.output = codec.decode(output)
    return runtime.has_crashed


def _continued(resume: "Result | BaseException | None") -> Result:
    if resume is None:
        return Result()
    earlier = resume if isinstance(resume, Result) else getattr(resume, "trigger_result", None)
    if not isinstance(earlier, Result):
        raise TypeError(f"resume takes a Result or an exception that `run` passed on, not {resume!r}")
    return Result(None, earlier.attempts, None, list(earlier.stored), list(earlier.logs))


def _task_of(function: Callable[..., Any]) -> Task:
    for task in registry.values():
        if task.function is function or inspect.unwrap(task.function) is inspect.unwrap(function):
            return task
    raise LookupError(f"{getattr(function, '__qualname__', function)!s} is not a task: it needs @task(…)")
