"""A run's own process: takes the work, runs the task, reports the outcome, and ends.

Started in two ways: forked by an agent that has the code loaded already (`run`), or as a fresh interpreter that loads
it itself (`run_spawned`).
"""

import json
import os
import signal
from dataclasses import dataclass
from typing import Any, NoReturn

from trigger_sdk.agent import processes, surroundings
from trigger_sdk.agent.channel import Channel
from trigger_sdk.agent.failures import describe
from trigger_sdk.agent.interrupts import Interrupts
from trigger_sdk.agent.loader import load_tasks
from trigger_sdk.agent.runtime import AgentRuntime
from trigger_sdk.context import CHECKPOINT, StoredCheckpoint, run_task
from trigger_sdk.errors import AbortRun, PayloadError, ResumeRefused, RetryAfter
from trigger_sdk.tasks import registry
from trigger_sdk.wire import Frame, WireError

SETUP_DESCRIPTOR = 3
"""Where a fresh interpreter reads its setup (one line of JSON), and later the reason of a stop."""

_ENDS_THE_RUN = (AbortRun, PayloadError, ResumeRefused)
"""No later attempt of the same run could end otherwise."""


@dataclass(frozen=True, slots=True)
class Setup:
    socket_path: str
    tasks: str
    ticket: str
    folder: str | None
    is_container: bool
    agent: int


def run_spawned() -> NoReturn:
    """Reads the setup from its descriptor; a ticket on the command line could be read by every process of the node."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(SETUP_DESCRIPTOR, 1)
        if not byte:
            os._exit(surroundings.EXIT_NOT_STARTED)
        line += byte
    run(Setup(**json.loads(line)), SETUP_DESCRIPTOR, is_loaded=False)


def run(setup: Setup, orders: int, *, is_loaded: bool) -> NoReturn:
    """Never returns: whatever the task has left running in this process must not outlive the run."""
    interrupts = Interrupts(orders)
    interrupts.install()
    try:
        surroundings.settle(agent=setup.agent, folder=setup.folder, is_container=setup.is_container)
        channel = Channel(setup.socket_path, interrupts)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    except OSError as error:
        os.write(2, f"the run's process could not be set up: {error}\n".encode())
        os._exit(surroundings.EXIT_NOT_STARTED)
    _attempt(setup, channel, interrupts, is_loaded=is_loaded)
    channel.close()
    processes.flush_native_output()
    os._exit(0)


def _attempt(setup: Setup, channel: Channel, interrupts: Interrupts, *, is_loaded: bool) -> None:
    runtime: AgentRuntime | None = None
    failure: dict[str, Any] | None = None
    output = b""
    try:
        try:
            channel.send("ticket", ticket=setup.ticket)
            start, stored = _receive_work(channel)
            runtime = AgentRuntime(channel, start.header)
            runtime.capture_output()
            if not is_loaded:
                load_tasks(setup.tasks)
            output = _run_task(channel, runtime, start, stored)
        finally:
            interrupts.finish()
    except BaseException as error:  # whatever ends the task is its outcome, sys.exit() included
        failure = _failure(error, interrupts.reason)
    if runtime is not None:
        runtime.finish_output()
    if failure is None:
        channel.send("completed", output)
    else:
        channel.send("failed", **failure)
    # The failure of a run that is stopped changes nothing: it ends as its reason says.
    if runtime is not None and (failure is None or interrupts.reason is None):
        runtime.settle()


def _receive_work(channel: Channel) -> tuple[Frame, list[StoredCheckpoint]]:
    start = channel.receive()
    if start.type != "start":
        raise WireError(f"the worker sent {start.type!r} where 'start' was due")
    stored: list[StoredCheckpoint] = []
    while (frame := channel.receive()).type != "go":
        if frame.type != "stored":
            raise WireError(f"the worker sent {frame.type!r} where 'stored' or 'go' was due")
        data_bytes = frame.header["data_bytes"]
        stored.append(
            StoredCheckpoint(
                key=frame.header["key"],
                index=frame.header["index"],
                data=None if data_bytes is None else frame.body[:data_bytes],
                binds=list(frame.header["binds"]),
                carried=frame.body[data_bytes or 0 :] or None,
                kind=frame.header["kind"],
                codec=frame.header["codec"],
            )
        )
    return start, stored


def _run_task(channel: Channel, runtime: AgentRuntime, start: Frame, stored: list[StoredCheckpoint]) -> bytes:
    task = registry.get(start.header["task"])
    if task is None:
        raise LookupError(f"this deployment's code has no task {start.header['task']!r}")
    points = [entry.key for entry in stored if entry.kind == CHECKPOINT]
    channel.send("begun", resumed_from=points[-1] if points else None)
    return run_task(task, start.body, stored, runtime)


def _failure(error: BaseException, stop_reason: str | None) -> dict[str, Any]:
    return {
        "error": describe(error),
        "retry_after_seconds": error.seconds if isinstance(error, RetryAfter) else None,
        "is_abort": _ends_the_run(error),
        "stop_reason": stop_reason,
    }


def _ends_the_run(error: BaseException) -> bool:
    """Also where a group of asyncio tasks has wrapped it."""
    if isinstance(error, BaseExceptionGroup):
        return any(_ends_the_run(inner) for inner in error.exceptions)
    return isinstance(error, _ENDS_THE_RUN)
