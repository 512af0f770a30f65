"""One attempt of a run in a test: what the task asks while it runs, and where the crash comes."""

import os
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn

from trigger_sdk.errors import CheckpointMisplaced
from trigger_sdk.run.attempt import run_task
from trigger_sdk.run.stored import CHECKPOINT, STEP, StoredCheckpoint
from trigger_sdk.tasks import Task
from trigger_sdk.testing.results import LogLine, Result
from trigger_sdk.values import codec


class SimulatedCrash(BaseException):
    """Ends an attempt that runs in the test's own process, at the checkpoint or step where it is to crash."""


@dataclass(frozen=True, slots=True)
class Crash:
    """Where an attempt crashes: at this checkpoint or step, right before it is stored or right after."""

    key: str
    is_before: bool = False

    def __str__(self) -> str:
        return f"{'before' if self.is_before else 'after'} {self.key!r}"


class Runtime:
    """Hands over what the task stores and logs, and dies at the crash; `die` does not return."""

    run_id = "run_test"
    idempotency_scope = "run_test"

    def __init__(
        self,
        result: Result,
        crash: Crash | None,
        *,
        save: Callable[[StoredCheckpoint], None],
        log: Callable[[LogLine], None],
        die: Callable[[str], NoReturn],
        may_interrupt: Callable[[], bool] = lambda: True,
    ) -> None:
        self.attempt_number = result.attempts
        self.has_crashed = False
        self.may_interrupt = may_interrupt
        self._lock = threading.Lock()
        self._count = len(result.stored)
        self._crash = crash
        self._keep, self._write, self._die = save, log, die
        self._process = os.getpid()

    def save_checkpoint(self, key: str, data: bytes, binds: list[str], carried: bytes | None) -> None:
        self._save(key, data, CHECKPOINT, tuple(binds), carried)

    def save_step(self, key: str, data: bytes, duration_seconds: float) -> None:
        self._save(key, data, STEP)

    def load_step(self, key: str, index: int) -> bytes:
        raise AssertionError("every stored result is already in memory here")

    def pause_seconds(self, seconds: float) -> float:
        return 0.0

    def _save(
        self, key: str, data: bytes, kind: str, binds: tuple[str, ...] = (), carried: bytes | None = None
    ) -> None:
        if os.getpid() != self._process:
            raise CheckpointMisplaced(f"{kind} {key!r} was reached in a process that the task forked")
        with self._lock:
            if self.has_crashed:
                # The task caught the crash and continued; a dead process saves nothing.
                raise SimulatedCrash(key)
            is_here = self._crash is not None and self._crash.key == key
            if is_here and self._crash is not None and self._crash.is_before:
                self._end(key)
            self._keep(StoredCheckpoint(key, self._count, data, binds, carried, kind))
            self._count += 1
            if is_here:
                self._end(key)

    def _end(self, key: str) -> NoReturn:
        self.has_crashed = True
        self._die(key)

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        self._write(LogLine(self.attempt_number, level, message, fields))

    def main_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        return coroutine


def attempt_here(task: Task, payload: bytes, result: Result, crash: Crash | None) -> bool:
    """Runs the attempt in this process; returns whether it crashed as asked."""

    def die(key: str) -> NoReturn:
        raise SimulatedCrash(key)

    runtime = Runtime(result, crash, save=result.stored.append, log=result.logs.append, die=die)
    try:
        output = run_task(task, payload, list(result.stored), runtime)
    except BaseException:
        if runtime.has_crashed:
            # A dead process raises nothing: this is the crash, or what the task made of it (a group, another error).
            return True
        raise
    result.output = codec.decode(output)
    return runtime.has_crashed
